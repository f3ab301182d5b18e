//! Who looks: a cookie that holds the token of a session of the controller's.

use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use reeve_proto::operator::v1::WhoAmIRequest;

use crate::api::Api;
use crate::error::{Error, reason};
use crate::page::{self, Base, Flash};
use crate::{App, From, forms};

/// What a token of a session begins with; no other token is taken from a cookie.
const SESSION: &str = "reeve_session_";
/// The longest token that is looked at.
const MAX_TOKEN: usize = 256;

/// Who was found to be signed in, for the page of an error.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(pub Arc<OnceLock<Base>>);

/// Somebody who is signed in, and their request.
#[derive(Clone)]
pub(crate) struct Session {
    app: App,
    api: Api,
    base: Base,
    name: String,
}

/// The name of a cookie: over TLS one that no other host can set.
pub(crate) fn cookie_name(app: &App, name: &str) -> String {
    if app.is_secure() { format!("__Host-{name}") } else { name.to_owned() }
}

/// A cookie for the whole console, until the browser is closed or for `seconds`.
pub(crate) fn cookie(app: &App, name: &str, value: &str, seconds: Option<u32>) -> Option<HeaderValue> {
    let secure = if app.is_secure() { "; Secure" } else { "" };
    let age = seconds.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
    let name = cookie_name(app, name);
    HeaderValue::from_str(&format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{age}")).ok()
}

/// What a cookie holds.
pub(crate) fn read_cookie(app: &App, headers: &HeaderMap, name: &str) -> Option<String> {
    let name = cookie_name(app, name);
    let all = headers.get_all(header::COOKIE);
    let mut pairs = all.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    let found = pairs.find_map(|pair| pair.trim().split_once('=').filter(|(key, _)| *key == name));
    found.map(|(_, value)| value.to_owned())
}

/// The session's token that a browser shows.
pub(crate) fn token_of(app: &App, headers: &HeaderMap) -> Option<String> {
    read_cookie(app, headers, "reeve").filter(|token| token.starts_with(SESSION) && token.len() <= MAX_TOKEN)
}

/// From which address a request comes.
pub(crate) fn from_of(parts: &Parts) -> From {
    let nobody = From(std::net::Ipv4Addr::UNSPECIFIED.into());
    parts.extensions.get::<From>().copied().unwrap_or(nobody)
}

impl FromRequestParts<App> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let next = match parts.method {
            Method::GET => parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            _ => String::new(),
        };
        let sign_in = || Error::SignIn(next.clone());
        let token = token_of(app, &parts.headers).ok_or_else(sign_in)?;
        let From(from) = from_of(parts);
        let api = Api::new(app.transport.clone(), Some(&token), from).ok_or_else(sign_in)?;
        let who = api.access().who_am_i(WhoAmIRequest {}).await;
        let who = who.map_err(|status| match Error::from(status) {
            Error::SignIn(_) => sign_in(),
            other => other,
        })?;
        let who = who.into_inner();
        let role = who.role();
        let base = Base::of(app, &parts.headers, &who.name, role, forms::mark(&token), parts.uri.path());
        // Should the page come to nothing, what is said of that keeps the way to the others.
        if let Some(seen) = parts.extensions.get::<Seen>() {
            _ = seen.0.set(base.clone());
        }
        Ok(Self { app: app.clone(), api, base, name: who.name })
    }
}

impl Session {
    /// The services, in the name of whoever is signed in.
    pub const fn api(&self) -> &Api {
        &self.api
    }

    /// What every page begins with: `page` is the place in the navigation, such as `nodes`.
    pub fn base(&self, page: &'static str) -> Base {
        let mut base = self.base.clone();
        base.place = page;
        base
    }

    /// Their name, as the log has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Leads back to a page after an act, and tells there what came of it: the words of `key`, what the controller said against it, or that it waits for a
    /// second person.
    pub fn done<T>(
        &self,
        came: Result<T, tonic::Status>,
        back: &str,
        key: &'static str,
    ) -> Result<Response, Error> {
        let flash = match came {
            Ok(_) => Flash { is_wrong: false, text: self.base.t(key).to_owned() },
            Err(status) if reason(&status) == "APPROVAL_NEEDED" => {
                Flash { is_wrong: false, text: format!("{} {}", self.base.t("act.waits"), status.message()) }
            }
            Err(status) => match Error::from(status) {
                Error::Refused(status) => Flash {
                    is_wrong: true,
                    text: format!("{} {}", self.base.t("act.refused"), status.message()),
                },
                other => return Err(other),
            },
        };
        Ok(self.back(back, &flash))
    }

    /// Leads to a page and says something there.
    pub fn back(&self, to: &str, flash: &Flash) -> Response {
        let mut response = Redirect::to(to).into_response();
        page::put_flash(&self.app, response.headers_mut(), flash);
        response
    }
}
