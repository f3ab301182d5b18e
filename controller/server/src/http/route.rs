//! What is asked, by method and path, and the way to its answer.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::answer::{StatusJson, tagged, whole};
use super::problem::{Problem, Sent};
use super::{Body, Front, Peer, complaints, decisions, watch};
use crate::auth::{Caller, Presented, Refusal};
use crate::refusal::Reason;
use crate::services::status::{BATCH, Desk, Missing, Subject, TooMany, View, following};

/// The description of all this for programs.
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");
/// The largest request, in bytes: a thousand subjects of the longest kind fit twice.
const MAX_REQUEST: usize = 256 << 10;
/// So much of a larger one is read before it is refused.
const MAX_READ: usize = 8 << 20;
/// A request is whole within this time.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A place that can be asked.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    OpenApi,
    Tenant(String),
    Address(String),
    Interface(String, String),
    BatchGet,
    Watch,
}

impl Route {
    /// The place of a path; nothing where there is none.
    fn find(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v1/")?;
        match rest {
            "openapi.json" => return Some(Self::OpenApi),
            "status:batchGet" => return Some(Self::BatchGet),
            "status:watch" => return Some(Self::Watch),
            _ => {}
        }
        let parts: Vec<String> =
            rest.strip_prefix("status/")?.split('/').map(decoded).collect::<Option<_>>()?;
        match <[String; 2]>::try_from(parts) {
            Ok([kind, key]) => match kind.as_str() {
                "tenants" => Some(Self::Tenant(key)),
                "addresses" => Some(Self::Address(key)),
                _ => None,
            },
            Err(parts) => match <[String; 3]>::try_from(parts) {
                Ok([kind, node, interface]) if kind == "interfaces" => Some(Self::Interface(node, interface)),
                _ => None,
            },
        }
    }

    /// The methods that it knows, as `Allow` tells them.
    const fn methods(&self) -> &'static str {
        match self {
            Self::BatchGet => "POST",
            Self::Watch => "GET",
            Self::OpenApi | Self::Tenant(_) | Self::Address(_) | Self::Interface(..) => "GET, HEAD",
        }
    }

    fn subject(&self) -> Option<Result<Subject, Missing>> {
        match self {
            Self::Tenant(key) => Some(Subject::tenant(key)),
            Self::Address(address) => Some(Subject::address(address)),
            Self::Interface(node, interface) => Some(Subject::interface(&format!("{node}/{interface}"))),
            Self::OpenApi | Self::BatchGet | Self::Watch => None,
        }
    }
}

/// Answers a request; whatever is wrong with it is an answer, too.
pub(super) async fn answer(request: Request<Incoming>, peer: &Peer, front: &Front) -> Response<Body> {
    let (head, body) = request.into_parts();
    let is_head = head.method == Method::HEAD;
    let responded = if head.uri.path() == complaints::PATH {
        complaints::respond(&head, body, peer, front).await
    } else {
        let body = match head.method {
            Method::GET | Method::HEAD => Ok(Bytes::new()),
            _ => read(body, MAX_REQUEST).await,
        };
        match decisions::Place::find(head.uri.path()) {
            Some(place) => decisions::respond(place, &head, peer, front).await,
            None => respond(&head, body, peer, front),
        }
    };
    let mut response = responded.unwrap_or_else(|problem| problem.response());
    if is_head {
        // The transport of HTTP/2 would send the body all the same, which no client expects (RFC 9110, 9.3.2).
        let body = std::mem::replace(response.body_mut(), whole(Bytes::new()));
        if let Some(length) = body.size_hint().exact() {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
    }
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

fn respond(
    head: &Parts,
    body: Result<Bytes, Problem>,
    peer: &Peer,
    front: &Front,
) -> Result<Response<Body>, Problem> {
    let none = || {
        Problem::new(
            StatusCode::NOT_FOUND,
            "there is nothing at this path; /v1/openapi.json tells what there is",
        )
    };
    let route = Route::find(head.uri.path()).ok_or_else(none)?;
    let allowed = route.methods();
    if !allowed.split(", ").any(|method| method == head.method.as_str()) {
        return Err(Problem::method(allowed, head.method.as_str()));
    }
    if route == Route::OpenApi {
        return Ok(tagged(Bytes::from_static(OPENAPI.as_bytes()), JSON, &head.headers));
    }
    let (caller, desk) = (admitted(front, peer, &route, &head.headers)?, &front.desk);
    let view = View::of(caller.role);
    if let Some(subject) = route.subject() {
        desk.admit(Some(peer.conn.address().ip()), 1)?;
        let status = desk.look_up(&subject?, view)?;
        return Ok(tagged(json(&StatusJson::new(status, view)), JSON, &head.headers));
    }
    if head.method == Method::POST {
        return batch(head, body, peer, desk, view);
    }
    desk.admit(Some(peer.conn.address().ip()), 1)?;
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let Query { resume, tenants } = query(head.uri.query().unwrap_or_default())
        .ok_or_else(|| bad("the query is not percent-encoded UTF-8".to_owned()))?;
    // What an EventSource sends when it comes back is newer than the address that it was given.
    let last = head.headers.get("last-event-id").map(|last| last.to_str().unwrap_or("?").to_owned());
    let following = following(&last.unwrap_or(resume), &tenants, view).map_err(bad)?;
    let busy =
        |TooMany| Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many watch already; ask again later");
    Ok(watch::events(desk.follow(following, &caller).map_err(busy)?, view))
}

/// The whole of a request of at most so many bytes. What is too large is read to its end all the same, up to a bound: to many clients an answer that
/// comes before they have said everything is an error of the transport.
pub(super) async fn read(mut body: Incoming, most: usize) -> Result<Bytes, Problem> {
    let mut kept = Vec::new();
    let mut seen = 0;
    let reading = tokio::time::timeout(PATIENCE, async {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return Err(Problem::new(StatusCode::BAD_REQUEST, "the request broke off"));
            };
            let Some(data) = frame.data_ref() else { continue };
            seen += data.len();
            if seen <= most {
                kept.extend_from_slice(data);
            } else if seen > MAX_READ {
                break;
            }
        }
        Ok(())
    });
    let late = || Problem::new(StatusCode::REQUEST_TIMEOUT, "the request did not come whole within 10 s");
    reading.await.map_err(|_| late())??;
    if seen > most {
        let detail = format!("the request is larger than {most} bytes");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(kept.into())
}

/// Who calls, if they may.
fn admitted(front: &Front, peer: &Peer, route: &Route, headers: &HeaderMap) -> Result<Caller, Problem> {
    // What may be asked over gRPC may be asked here, and nothing else.
    let method = match route {
        Route::BatchGet => "/reeve.status.v1.StatusService/BatchGetStatus",
        Route::Watch => "/reeve.status.v1.StatusService/WatchStatus",
        _ => "/reeve.status.v1.StatusService/GetStatus",
    };
    admitted_by(front, peer, method, headers.get(AUTHORIZATION).map(HeaderValue::as_bytes))
}

/// Who calls, if they may call this method, and show this besides a certificate.
pub(super) fn admitted_by(
    front: &Front,
    peer: &Peer,
    method: &str,
    authorization: Option<&[u8]>,
) -> Result<Caller, Problem> {
    let presented = Presented {
        peer: Some(&peer.conn),
        from: Some(peer.conn.address().ip()),
        certificate: peer.certificate.as_deref(),
        authorization,
    };
    front.gate.admit(method, &presented).map_err(|refusal| {
        let (detail, reason) = (refusal.to_string(), Reason::from(&refusal));
        let status = match refusal {
            Refusal::Nothing
            | Refusal::NotBearer
            | Refusal::UnknownToken
            | Refusal::UnknownSession
            | Refusal::EndedSession { .. }
            | Refusal::Expired { .. }
            | Refusal::RevokedCertificate { .. }
            | Refusal::EndedCertificate { .. }
            | Refusal::RevokedToken { .. } => StatusCode::UNAUTHORIZED,
            Refusal::TooManyShown | Refusal::TooFast | Refusal::TooManyFailures => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Refusal::NoMethod | Refusal::Elsewhere { .. } | Refusal::NamesNobody | Refusal::Role { .. } => {
                StatusCode::FORBIDDEN
            }
        };
        Problem::new(status, detail).because(reason)
    })
}

/// What the body is said to be, without its parameters.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    said.split(';').next().unwrap_or_default().trim()
}

/// Many questions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchRequest {
    subjects: Vec<BatchSubject>,
}

/// One of them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BatchSubject {
    Tenant(String),
    Address(String),
    Interface(String),
}

#[derive(Debug, Serialize)]
struct BatchAnswer<'a> {
    answers: Vec<OneAnswer<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum OneAnswer<'a> {
    Status(Box<StatusJson>),
    Problem(Sent<'a>),
}

fn batch(
    head: &Parts,
    body: Result<Bytes, Problem>,
    peer: &Peer,
    desk: &Desk,
    view: View,
) -> Result<Response<Body>, Problem> {
    if !media_type(&head.headers).eq_ignore_ascii_case("application/json") {
        return Err(Problem::media_type(media_type(&head.headers), "application/json is taken"));
    }
    let body = body?;
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let asked: BatchRequest = serde_json::from_slice(&body)
        .map_err(|error| bad(format!("the request is not as described: {error}")))?;
    let count = asked.subjects.len();
    if !(1..=BATCH).contains(&count) {
        return Err(bad(format!("subjects: {count}; 1 to {BATCH} are allowed")));
    }
    desk.admit(Some(peer.conn.address().ip()), count)?;
    let subjects = asked.subjects.iter().map(|subject| match subject {
        BatchSubject::Tenant(key) => Subject::tenant(key),
        BatchSubject::Address(address) => Subject::address(address),
        BatchSubject::Interface(name) => Subject::interface(name),
    });
    let found = desk.look_up_all(subjects, view);
    let found: Vec<Result<_, Problem>> = found.into_iter().map(|one| one.map_err(Problem::from)).collect();
    let answers = found.iter().map(|one| match one {
        Ok(status) => OneAnswer::Status(Box::new(StatusJson::new(status.clone(), view))),
        Err(problem) => OneAnswer::Problem(problem.sent()),
    });
    let mut response = Response::new(whole(json(&BatchAnswer { answers: answers.collect() })));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(hyper::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

pub(super) fn json<T: Serialize>(value: &T) -> Bytes {
    // Texts and numbers: there is nothing in it that JSON cannot say.
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// What stands behind the question mark.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    resume: String,
    tenants: Vec<String>,
}

/// Reads a query; nothing where it is none. What is not known is left alone.
fn query(text: &str) -> Option<Query> {
    let mut found = Query::default();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decoded(key)?, decoded(value)?);
        match key.as_str() {
            "resume" => found.resume = value,
            "tenant" => found.tenants.push(value),
            _ => {}
        }
    }
    Some(found)
}

/// A text without its percent-encoding (RFC 3986, 2.1).
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |digit: Option<u8>| char::from(digit?).to_digit(16);
        match byte {
            b'%' => bytes.push(u8::try_from(hex(rest.next())? * 16 + hex(rest.next())?).ok()?),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_say_and_nowhere_else() {
        let check = |path: &str, expected: Option<Route>| assert_eq!(Route::find(path), expected, "{path}");
        check("/v1/status/tenants/a.b-c", Some(Route::Tenant("a.b-c".into())));
        check("/v1/status/addresses/2001:db8::1", Some(Route::Address("2001:db8::1".into())));
        check("/v1/status/addresses/2001%3adb8%3A%3A1", Some(Route::Address("2001:db8::1".into())));
        check("/v1/status/interfaces/n1/eth0.7%40x", Some(Route::Interface("n1".into(), "eth0.7@x".into())));
        check("/v1/status:batchGet", Some(Route::BatchGet));
        check("/v1/status:watch", Some(Route::Watch));
        check("/v1/openapi.json", Some(Route::OpenApi));
        for nowhere in [
            "/",
            "",
            "/v1",
            "/v1/status",
            "/v1/status/",
            "/v1/status/tenants",
            "/v1/status/nodes/n1",
            "/v1/status/tenants/a/b",
            "/v1/status/interfaces/n1",
            "/v2/status/tenants/a",
            "/v1/status/tenants/%ff",
            "/v1/status/tenants/%4",
            "/v1/status/tenants/%zz",
            "/v1/openapi.json/",
            "/v1/status:batchget",
        ] {
            check(nowhere, None);
        }
    }

    #[test]
    fn queries_are_read_or_refused() {
        let found = query("resume=1-2&tenant=a&tenant=b%2Ec&other=1").unwrap();
        assert_eq!(found, Query { resume: "1-2".into(), tenants: vec!["a".into(), "b.c".into()] });
        assert_eq!(query(""), Some(Query::default()));
        assert_eq!(query("resume=%ff"), None);
    }
}
