//! One's own account: who one is, where one is signed in, and what the browser keeps of one's choices.

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use reeve_proto::operator::v1::{
    ListSessionsRequest, RevokeSessionRequest, Session as WireSession, WhoAmIRequest,
};
use serde::Deserialize;

use crate::App;
use crate::error::Error;
use crate::forms::Signed;
use crate::page::{self, Base, address};
use crate::session::Session;

/// Where it is.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/account", get(show))
        .route("/account/sessions/{id}/end", post(end))
        .route("/account/keys", post(keys))
}

#[derive(Template)]
#[template(path = "account.html")]
struct Account {
    base: Base,
    /// From where one calls, as the controller sees it.
    address: String,
    sessions: Vec<WireSession>,
}

async fn show(session: Session) -> Result<Response, Error> {
    let who = session.api().access().who_am_i(WhoAmIRequest {}).await?.into_inner();
    let all = session.api().people().list_sessions(ListSessionsRequest {}).await?.into_inner().sessions;
    // Administrators are told everybody's.
    let sessions = all.into_iter().filter(|one| one.person == session.name()).collect();
    Ok(page::html(&Account { base: session.base(""), address: who.address, sessions }))
}

#[derive(Debug, Default, Deserialize)]
struct Nothing {}

async fn end(
    session: Session,
    Path(id): Path<String>,
    Signed(Nothing {}): Signed<Nothing>,
) -> Result<Response, Error> {
    let came = session.api().people().revoke_session(RevokeSessionRequest { id }).await;
    session.done(came, &address("/account", &[], &[]), "account.is_ended")
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Keys {
    off: String,
}

/// Single letters as keys are in the way of who dictates: they can be turned off (WCAG 2.1.4).
async fn keys(
    State(app): State<App>,
    _session: Session,
    Signed(Keys { off }): Signed<Keys>,
) -> Result<Response, Error> {
    let mut response = Redirect::to("/account").into_response();
    let kept = page::keep_keys(&app, !off.is_empty());
    response.headers_mut().extend(kept.map(|kept| (header::SET_COOKIE, kept)));
    Ok(response)
}
