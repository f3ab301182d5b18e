//! The form as a page: labels that belong to their fields, what is wrong said beside the field and on top, and everything that was filled in
//! still there. It works without scripts, and has none.

use askama::Template;
use axum::Router;
use axum::extract::rejection::FormRejection;
use axum::extract::{DefaultBodyLimit, Extension, Form as Sent, State};
use axum::http::StatusCode;
use axum::http::header::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use reeve_reports::Kind;

use super::words::FormWords;
use super::{Filled, MAX_ABOUT, MAX_TEXT, NotTaken, Wrong, take};
use crate::clock;
use crate::links::desk::{Desk, Refused};
use crate::links::page::{asked, html, refuse};
use crate::links::{Words, kinds};
use crate::web::From;

/// What a form may take, with all that stands for one letter in it, and its other fields.
const MAX_BODY: usize = 16 * (MAX_TEXT + MAX_ABOUT);

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    language: &'static str,
    words: &'static FormWords,
    /// What became of it, if it was taken.
    number: Option<u64>,
    /// Something that is no field's.
    trouble: &'static str,
    wrong: Vec<Wrong>,
    filled: &'a Filled,
    token: String,
    is_told: bool,
}

impl Page<'_> {
    fn kinds(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let language = self.language;
        kinds::OFFERED.into_iter().map(move |kind: Kind| (kind.name(), kinds::name(language, kind)))
    }

    /// How a field is mended; empty where it is sound.
    fn wrong(&self, field: &str) -> &'static str {
        let is_it = |wrong: &&Wrong| name(**wrong) == field;
        self.wrong.iter().find(is_it).map_or("", |wrong| self.words.wrong(*wrong))
    }

    /// What is wrong, with the field that it is about.
    fn all_wrong(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.wrong.iter().map(|wrong| (name(*wrong), self.words.wrong(*wrong)))
    }
}

/// The field that something is wrong with.
const fn name(wrong: Wrong) -> &'static str {
    match wrong {
        Wrong::About => "about",
        Wrong::Kind => "kind",
        Wrong::Time => "date",
        Wrong::Text => "text",
        Wrong::Email => "email",
        Wrong::Token => "send",
        Wrong::Trap => "homepage",
    }
}

/// Where it is.
pub(in crate::links) fn routes() -> Router<Desk> {
    let here = get(show).post(send).fallback(wrong_method);
    Router::new().route("/report", here.layer(DefaultBodyLimit::max(MAX_BODY)))
}

async fn show(
    State(desk): State<Desk>,
    Extension(From(from)): Extension<From>,
    headers: HeaderMap,
) -> Response {
    match desk.admit(from) {
        Ok(()) => answer(&desk, &headers, StatusCode::OK, &Filled::default(), Shown::default()),
        Err(refused) => refuse(&headers, refused),
    }
}

async fn send(
    State(desk): State<Desk>,
    Extension(From(from)): Extension<From>,
    headers: HeaderMap,
    sent: Result<Sent<Filled>, FormRejection>,
) -> Response {
    if let Err(refused) = desk.admit(from) {
        return refuse(&headers, refused);
    }
    let Some(form) = desk.form() else { return refuse(&headers, Refused::Unknown) };
    let words = FormWords::of(asked(&headers).language);
    let filled = match sent {
        Ok(Sent(filled)) => filled,
        Err(refused) => {
            let status = refused.status();
            let trouble =
                if status == StatusCode::PAYLOAD_TOO_LARGE { words.too_large } else { words.wrong_method };
            let shown = Shown { trouble, ..Shown::default() };
            return answer(&desk, &headers, status, &Filled::default(), shown);
        }
    };
    match take(&desk, form, &filled, asked(&headers).language, from).await {
        Ok(number) => {
            let shown = Shown { number: Some(number), ..Shown::default() };
            answer(&desk, &headers, StatusCode::OK, &Filled::default(), shown)
        }
        Err(NotTaken::Wrong(wrong)) => {
            let shown = Shown { wrong, ..Shown::default() };
            answer(&desk, &headers, StatusCode::UNPROCESSABLE_ENTITY, &filled, shown)
        }
        // What was written is not lost with it.
        Err(NotTaken::Refused(Refused::TooOften)) => {
            let shown = Shown { trouble: asked(&headers).too_often, ..Shown::default() };
            answer(&desk, &headers, StatusCode::TOO_MANY_REQUESTS, &filled, shown)
        }
        Err(NotTaken::Refused(_)) => {
            let shown = Shown { trouble: asked(&headers).not_now, ..Shown::default() };
            answer(&desk, &headers, StatusCode::SERVICE_UNAVAILABLE, &filled, shown)
        }
    }
}

async fn wrong_method(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    let trouble = FormWords::of(asked(&headers).language).wrong_method;
    let shown = Shown { trouble, ..Shown::default() };
    answer(&desk, &headers, StatusCode::METHOD_NOT_ALLOWED, &Filled::default(), shown)
}

/// What a page says beside the form.
#[derive(Default)]
struct Shown {
    number: Option<u64>,
    trouble: &'static str,
    wrong: Vec<Wrong>,
}

fn answer(desk: &Desk, headers: &HeaderMap, status: StatusCode, filled: &Filled, shown: Shown) -> Response {
    let words: &'static Words = asked(headers);
    let Some(form) = desk.form() else { return refuse(headers, Refused::Unknown) };
    let page = Page {
        language: words.language,
        words: FormWords::of(words.language),
        number: shown.number,
        trouble: shown.trouble,
        wrong: shown.wrong,
        filled,
        token: form.token(clock::now()),
        is_told: form.settings.acknowledge,
    };
    // It is written into memory: nothing of it can fail.
    html(status, words.language, page.render().unwrap_or_default())
}
