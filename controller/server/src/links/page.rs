//! Pages for those that follow links, in their language; and the same in plain text for those that ask for no HTML.

use askama::Template;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Extension, Form, Path, State};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde::Deserialize;

use super::desk::{Answer, Desk, MAX_STATEMENT, Matter, Refused};
use super::{What, Words, form};
use crate::store::Claim;
use crate::web::From;

/// What a statement may take, with all that stands for one letter in a form.
const MAX_BODY: usize = 16 * MAX_STATEMENT;
/// Nothing but our own style, and our own forms; nobody else may show the page in theirs.
const CONTENT_SECURITY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", CONTENT_SECURITY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    // The address is the key.
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("x-robots-tag", "noindex, nofollow"),
];
const STYLE: &str = include_str!("../../templates/links.css");

#[derive(Template)]
#[template(path = "links.html")]
struct Page<'a> {
    words: &'static Words,
    title: &'a str,
    answer: String,
    is_wrong: bool,
    matter: Option<Shown<'a>>,
}

/// What is shown of a matter: what the letter said, and where it stands.
struct Shown<'a> {
    case: &'a str,
    paragraphs: Vec<&'a str>,
    standing: &'static str,
    is_relay: bool,
    can_fix: bool,
}

#[derive(Debug, Deserialize)]
struct Statement {
    #[serde(default)]
    text: String,
}

/// The pages.
pub(super) fn router(desk: Desk) -> Router {
    let form = if desk.form().is_some() { form::routes() } else { Router::new() };
    Router::new()
        .route("/n/{token}/fixed", get(look).post(fixed))
        .route("/n/{token}/statement", get(look).post(statement))
        .route("/style.css", get(style))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .merge(form)
        .with_state(desk)
}

async fn look(
    State(desk): State<Desk>,
    Path(token): Path<String>,
    Extension(From(from)): Extension<From>,
    headers: HeaderMap,
) -> Response {
    match desk.look(&token, from).await {
        Ok(matter) => tell(&headers, Some(&matter), None),
        Err(refused) => refuse(&headers, refused),
    }
}

async fn fixed(
    State(desk): State<Desk>,
    Path(token): Path<String>,
    Extension(From(from)): Extension<From>,
    headers: HeaderMap,
    _: Bytes,
) -> Response {
    match desk.fixed(&token, from).await {
        Ok((matter, answer)) => tell(&headers, Some(&matter), Some(answer)),
        Err(refused) => refuse(&headers, refused),
    }
}

async fn statement(
    State(desk): State<Desk>,
    Path(token): Path<String>,
    Extension(From(from)): Extension<From>,
    headers: HeaderMap,
    form: Result<Form<Statement>, axum::extract::rejection::FormRejection>,
) -> Response {
    // What is no form says nothing.
    let text = form.map(|Form(statement)| statement.text).unwrap_or_default();
    match desk.statement(&token, &text, from).await {
        Ok((matter, answer)) => tell(&headers, Some(&matter), Some(answer)),
        Err(refused) => refuse(&headers, refused),
    }
}

async fn style() -> Response {
    let mut answer = ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response();
    answer.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

async fn unknown(headers: HeaderMap) -> Response {
    refuse(&headers, Refused::Unknown)
}

fn tell(headers: &HeaderMap, matter: Option<&Matter>, answer: Option<Answer>) -> Response {
    let language = matter.map_or("", |matter| matter.notice.notice.language.as_str());
    let words = Words::of(language);
    let before = matter.and_then(|matter| matter.claim).filter(|_| answer.is_none());
    let said = match (answer, before) {
        (Some(answer), _) => in_words(words, answer),
        (None, Some(Claim::Waits(again))) => format!("{} {again}.", words.waits),
        (None, Some(Claim::Over(last))) => format!("{} {last}.", words.seen_again),
        (None, None) => String::new(),
    };
    let shown = matter.map(|matter| Shown {
        case: matter.case.id.as_str(),
        paragraphs: matter.notice.notice.text.split("\n\n").collect(),
        standing: match matter.goes_on {
            // What was mended a moment ago may stand for another.
            _ if matches!(answer, Some(Answer::Mended | Answer::LetGo)) => "",
            (_, 1..) => words.stands,
            (1.., 0) => words.open,
            (0, 0) => words.over,
        },
        is_relay: matter.is_relay(),
        can_fix: matter.ways().contains(&What::Fixed),
    });
    let title = matter.map_or(words.title_wrong, |matter| matter.notice.notice.subject.as_str());
    let is_wrong = matches!(
        answer,
        Some(Answer::StillOpen | Answer::StillSeen(_) | Answer::TooLoud(..) | Answer::Unclear)
    );
    let page = Page { words, title, answer: said, is_wrong, matter: shown };
    respond(headers, StatusCode::OK, &page)
}

/// The words for whoever asks with these headers.
pub(super) fn asked(headers: &HeaderMap) -> &'static Words {
    let asked = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    Words::accepted(asked.unwrap_or_default())
}

pub(super) fn refuse(headers: &HeaderMap, refused: Refused) -> Response {
    let words = asked(headers);
    let (status, text) = match refused {
        Refused::Unknown => (StatusCode::NOT_FOUND, words.wrong_link),
        Refused::TooOften => (StatusCode::TOO_MANY_REQUESTS, words.too_often),
        Refused::Unsound => (StatusCode::UNPROCESSABLE_ENTITY, words.wrong_statement),
        Refused::NotNow => (StatusCode::SERVICE_UNAVAILABLE, words.not_now),
    };
    let page =
        Page { words, title: words.title_wrong, answer: text.to_owned(), is_wrong: true, matter: None };
    respond(headers, status, &page)
}

fn in_words(words: &'static Words, answer: Answer) -> String {
    match answer {
        Answer::Mended => words.mended.to_owned(),
        Answer::StillOpen => words.still_open.to_owned(),
        Answer::Unclear => words.no_answer.to_owned(),
        Answer::Noted => words.noted.to_owned(),
        Answer::StillSeen(at) => format!("{} {at}.", words.still_seen),
        Answer::TooLoud(class, at, count, again) => {
            let class = class.map_or_else(String::new, |class| format!(" {class},"));
            let seen = format!("{} {at}:{class} {count} {}.", words.still_seen, words.so_often);
            format!("{seen} {} {again}.", words.look_again)
        }
        Answer::LetGo => words.let_go.to_owned(),
        Answer::Taken => words.statement_taken.to_owned(),
    }
}

fn respond(headers: &HeaderMap, status: StatusCode, page: &Page<'_>) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (kind, body) = if accept.contains("text/html") {
        // It is written into memory: nothing of it can fail.
        ("text/html; charset=utf-8", page.render().unwrap_or_default())
    } else {
        ("text/plain; charset=utf-8", plain(page))
    };
    dressed(status, page.words.language, kind, body)
}

/// A page that is there already, in a language.
pub(super) fn html(status: StatusCode, language: &'static str, body: String) -> Response {
    dressed(status, language, "text/html; charset=utf-8", body)
}

fn dressed(status: StatusCode, language: &'static str, kind: &'static str, body: String) -> Response {
    let mut answer = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
    for (name, value) in HEADERS {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer.headers_mut().insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language));
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Language"));
    answer
}

fn plain(page: &Page<'_>) -> String {
    let mut text = format!("{}\n", page.title);
    if !page.answer.is_empty() {
        text.push_str(&format!("\n{}\n", page.answer));
    }
    if let Some(matter) = &page.matter {
        if !matter.standing.is_empty() {
            text.push_str(&format!("\n{}\n", matter.standing));
        }
        text.push_str(&format!("\n{} {}\n", page.words.case, matter.case));
    }
    text
}
