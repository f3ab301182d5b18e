//! Signing in and out, and setting an account up.

use askama::Template;
use axum::Router;
use axum::extract::{Form, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use reeve_proto::operator::v1::{BeginSetUpRequest, FinishSetUpRequest, LoginRequest, LogoutRequest};
use serde::Deserialize;
use tonic::Code;

use crate::App;
use crate::api::Api;
use crate::error::Error;
use crate::forms::{Signed, is_from_here};
use crate::page::{self, Base};
use crate::session::{Session, cookie, from_of};

/// Where it is.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/sign-in", get(ask).post(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/set-up", get(begin).post(set_up))
        .route("/language", post(language))
        .route("/zone", post(zone))
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    base: Base,
    name: &'a str,
    next: &'a str,
    trouble: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Next {
    next: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Login {
    name: String,
    password: String,
    code: String,
    next: String,
}

/// Only within the console: a path, and none that a browser takes for another host's.
fn within(next: &str) -> &str {
    let is_path =
        next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n', '\t']);
    if is_path { next } else { "/" }
}

async fn ask(State(app): State<App>, headers: HeaderMap, Query(Next { next }): Query<Next>) -> Response {
    let base = Base::stranger(&app, &headers);
    page::html(&SignIn { base, name: "", next: within(&next), trouble: String::new() })
}

/// Calls that nobody signed in for, from a browser at the request's address; refused where another site sent it.
fn stranger(app: &App, request: Request) -> Result<(Api, Base, Request), Error> {
    let (parts, body) = request.into_parts();
    if !is_from_here(app, &parts.headers) {
        return Err(Error::Forged);
    }
    let crate::From(from) = from_of(&parts);
    let api = Api::new(app.transport.clone(), None, from).ok_or(Error::Forged)?;
    let base = Base::stranger(app, &parts.headers);
    Ok((api, base, Request::from_parts(parts, body)))
}

async fn form<T: serde::de::DeserializeOwned + 'static>(request: Request) -> Result<T, Error> {
    use axum::RequestExt as _;
    let read: Result<Form<T>, _> = request.extract().await;
    read.map(|Form(form)| form).map_err(|error| Error::Form(error.body_text()))
}

/// Each sign-in begins a session of its own: a cookie that somebody put there before is of no use.
async fn sign_in(State(app): State<App>, request: Request) -> Result<Response, Error> {
    let (api, base, request) = stranger(&app, request)?;
    let Login { name, password, code, next } = form(request).await?;
    let asked = LoginRequest { name: name.trim().to_owned(), password, code: code.trim().to_owned() };
    match api.people().login(asked).await {
        Ok(answer) => {
            let token = answer.into_inner().token;
            let mut response = Redirect::to(within(&next)).into_response();
            let kept = cookie(&app, "reeve", &token, None).ok_or_else(|| Error::Form("token".to_owned()))?;
            response.headers_mut().append(header::SET_COOKIE, kept);
            Ok(response)
        }
        Err(status) => {
            let trouble = match status.code() {
                Code::Unauthenticated => base.t("sign_in.wrong").to_owned(),
                _ => status.message().to_owned(),
            };
            let mut response = page::html(&SignIn { base, name: name.trim(), next: within(&next), trouble });
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            Ok(response)
        }
    }
}

#[derive(Debug, Default, Deserialize)]
struct Nothing {}

/// Ends the session; one that is over already is forgotten all the same.
async fn sign_out(
    State(app): State<App>,
    session: Session,
    Signed(Nothing {}): Signed<Nothing>,
) -> Result<Response, Error> {
    let ended = session.api().people().logout(LogoutRequest {}).await;
    if let Err(status) = ended
        && status.code() != Code::Unauthenticated
    {
        return Err(status.into());
    }
    let mut response = Redirect::to("/sign-in").into_response();
    response.headers_mut().extend(cookie(&app, "reeve", "", Some(0)).map(|kept| (header::SET_COOKIE, kept)));
    Ok(response)
}

#[derive(Template)]
#[template(path = "set_up.html")]
struct SetUp {
    base: Base,
    invitation: String,
    secret: String,
    uri: String,
    /// Whose account it is.
    name: String,
    /// The same as a picture, to be held before a telephone; empty where there is none.
    picture: String,
    codes: Vec<String>,
    trouble: String,
}

impl SetUp {
    const fn new(base: Base) -> Self {
        Self {
            base,
            invitation: String::new(),
            secret: String::new(),
            uri: String::new(),
            name: String::new(),
            picture: String::new(),
            codes: Vec::new(),
            trouble: String::new(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Account {
    invitation: String,
    password: String,
    code: String,
}

/// A text as a QR code (ISO/IEC 18004), an element in which nothing is foreign; empty where it is too long for one.
fn picture(text: &str) -> String {
    use qrcode::render::svg;
    let Ok(code) = qrcode::QrCode::with_error_correction_level(text, qrcode::EcLevel::M) else {
        return String::new();
    };
    let drawn = code.render::<svg::Color<'_>>().min_dimensions(200, 200).build();
    drawn.find("<svg").map(|at| drawn[at..].to_owned()).unwrap_or_default()
}

async fn begin(State(app): State<App>, headers: HeaderMap) -> Response {
    page::html(&SetUp::new(Base::stranger(&app, &headers)))
}

/// Shows the secret of the second factor to whoever has the invitation; and with a password and a code, sets the account up.
async fn set_up(State(app): State<App>, request: Request) -> Result<Response, Error> {
    let (api, base, request) = stranger(&app, request)?;
    let Account { invitation, password, code } = form(request).await?;
    let invitation = invitation.trim().to_owned();
    let mut page = SetUp::new(base);
    if !code.is_empty() {
        let asked =
            FinishSetUpRequest { invitation: invitation.clone(), password, code: code.trim().to_owned() };
        match api.people().finish_set_up(asked).await {
            Ok(done) => {
                page.codes = done.into_inner().recovery_codes;
                return Ok(page::html(&page));
            }
            Err(status) => page.trouble = status.message().to_owned(),
        }
    }
    match api.people().begin_set_up(BeginSetUpRequest { invitation: invitation.clone() }).await {
        Ok(answer) => {
            let answer = answer.into_inner();
            page.picture = picture(&answer.uri);
            (page.invitation, page.secret, page.uri, page.name) =
                (invitation, answer.secret, answer.uri, answer.name);
        }
        Err(status) => page.trouble = status.message().to_owned(),
    }
    let is_wrong = !page.trouble.is_empty();
    let mut response = page::html(&page);
    if is_wrong {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Chosen {
    language: String,
    zone: String,
    back: String,
}

/// Which language somebody reads is no secret and no act: anybody may choose.
async fn language(State(app): State<App>, request: Request) -> Result<Response, Error> {
    let (_, _, request) = stranger(&app, request)?;
    let Chosen { language, back, .. } = form(request).await?;
    let mut response = Redirect::to(within(&back)).into_response();
    response
        .headers_mut()
        .extend(page::keep_language(&app, &language).map(|kept| (header::SET_COOKIE, kept)));
    Ok(response)
}

/// The browser's time zone, which a script tells.
async fn zone(State(app): State<App>, request: Request) -> Result<Response, Error> {
    let (_, _, request) = stranger(&app, request)?;
    let Chosen { zone, .. } = form(request).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().extend(page::keep_zone(&app, &zone).map(|kept| (header::SET_COOKIE, kept)));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_to_another_host() {
        for bad in
            ["//evil.example", "https://evil.example/", "/\\evil.example", "evil", "", "/\t/evil.example"]
        {
            assert_eq!(within(bad), "/", "{bad}");
        }
        assert_eq!(within("/tenants?q=a"), "/tenants?q=a");
    }
}
