//! What stands before all pages: headers that keep browsers from harm, and the page of an error.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::App;
use crate::error::{Error, Failure};
use crate::page::{self, Base, address};
use crate::session::Seen;

/// What htmx says of the requests that it makes, and which page it is on.
const FRAGMENT: HeaderName = HeaderName::from_static("hx-request");
const CURRENT: HeaderName = HeaderName::from_static("hx-current-url");
/// Where htmx is to lead the whole page.
const LEAD: HeaderName = HeaderName::from_static("hx-redirect");

/// What browsers may load and whom they may send to: nothing but us, and no script that stands in a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // Nothing to other sites. With `no-referrer` browsers would not say of our own forms where they come from, either (`Origin: null`).
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// Renders errors, and dresses every answer.
pub(crate) async fn dress(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let headers = request.headers().clone();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let seen = Seen::default();
    request.extensions_mut().insert(seen.clone());
    let mut response = next.run(request).await;
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        let base = seen.0.get().cloned().unwrap_or_else(|| Base::stranger(&app, &headers));
        response = told(base, &response, &failure);
    }
    if headers.contains_key(FRAGMENT) && is_sign_in(&response) {
        response = led_away(&app, &headers);
    }
    dress_up(&app, &mut response, &path);
    if method == Method::GET && is_page(&response) {
        page::forget_flash(&app, &headers, response.headers_mut());
    }
    response
}

/// Whether nobody is signed in any more.
fn is_sign_in(response: &Response) -> bool {
    let to = response.headers().get(header::LOCATION);
    response.status() == StatusCode::SEE_OTHER && to.is_some_and(|to| to.as_bytes().starts_with(b"/sign-in"))
}

/// The sign-in page is not to stand within another page that a script has a part of renewed: the whole page goes there, and afterwards back to where it was.
/// What was seen before is gone with it.
fn led_away(app: &App, headers: &HeaderMap) -> Response {
    let current = headers.get(CURRENT).and_then(|url| url.to_str().ok());
    let path = current.and_then(|url| url.strip_prefix(app.settings.url.as_str())).unwrap_or_default();
    let mut response = StatusCode::NO_CONTENT.into_response();
    let to = HeaderValue::from_str(&address("/sign-in", &[], &[("next", path)]));
    response.headers_mut().insert(LEAD, to.unwrap_or(HeaderValue::from_static("/sign-in")));
    response
}

fn is_page(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
}

fn dress_up(app: &App, response: &mut Response, path: &str) {
    let is_asset = path.starts_with("/assets/") && response.status().is_success();
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if app.is_secure() {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    // What somebody saw is not to be seen by the next who sits there.
    if !is_asset {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

fn told(base: Base, response: &Response, failure: &Failure) -> Response {
    let mut told = page::html(&page::Trouble { base, key: failure.key, detail: &failure.detail });
    *told.status_mut() = response.status();
    told
}

/// There is no such page.
pub(crate) async fn nowhere() -> Response<Body> {
    Error::Nowhere.into_response()
}
