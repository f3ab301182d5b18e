//! Forms that only a page of the same session can have sent.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use axum::{Form, RequestExt as _};
use data_encoding::BASE64URL_NOPAD;
use ring::{digest, hmac};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::App;
use crate::error::Error;
use crate::session::token_of;

/// The field of a form by which it is known for one of this session's.
pub(crate) const FIELD: &str = "csrf";

/// What forms of a session carry: it tells nothing of the token that it is made of, and nobody makes it without that.
pub(crate) fn mark(token: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    BASE64URL_NOPAD.encode(hmac::sign(&key, b"a form of Reeve's console").as_ref())
}

fn is_mark(token: &str, mark: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    let Ok(mark) = BASE64URL_NOPAD.decode(mark.as_bytes()) else { return false };
    hmac::verify(&key, b"a form of Reeve's console", &mark).is_ok()
}

/// Whether a browser says that a request comes from one of our own pages, or says nothing.
pub(crate) fn is_from_here(app: &App, headers: &HeaderMap) -> bool {
    let said = |name| headers.get(name).map(|value: &axum::http::HeaderValue| value.to_str().unwrap_or("?"));
    let is_site = said(header::HeaderName::from_static("sec-fetch-site"))
        .is_none_or(|site| site == "same-origin" || site == "none");
    is_site && said(header::ORIGIN).is_none_or(|origin| origin == app.settings.url)
}

#[derive(Deserialize)]
struct Marked<T> {
    #[serde(default)]
    csrf: String,
    #[serde(flatten)]
    form: T,
}

/// A form that was sent by a page of this session. All its fields are texts: `Option<String>`, or `String` with `#[serde(default)]`.
#[derive(Clone, Debug)]
pub(crate) struct Signed<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest<App> for Signed<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self, Error> {
        let token = token_of(app, request.headers()).ok_or_else(|| Error::SignIn(String::new()))?;
        if !is_from_here(app, request.headers()) {
            return Err(Error::Forged);
        }
        let form: Result<Form<Marked<T>>, _> = request.extract().await;
        let Form(Marked { csrf, form }) = form.map_err(|error| Error::Form(error.body_text()))?;
        if is_mark(&token, &csrf) { Ok(Self(form)) } else { Err(Error::Forged) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_session_and_nobody_makes_it_up() {
        let own = mark("reeve_session_one");
        assert!(is_mark("reeve_session_one", &own));
        assert!(!is_mark("reeve_session_two", &own));
        assert!(!is_mark("reeve_session_one", ""));
        assert!(!own.contains("reeve_session"));
    }
}
