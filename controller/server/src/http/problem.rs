//! Errors as `application/problem+json` (RFC 9457).

use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::Body;
use super::answer::whole;
use crate::refusal::Reason;
use crate::services::status::{Missing, TooMany};

/// The media type of a problem.
pub(super) const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Why there is no answer. The problem's type is `about:blank`: the status says what kind it is, and the title is the status's own.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    reason: Reason,
    /// The methods that are allowed, for 405.
    allow: Option<&'static str>,
}

/// A problem as it is sent.
#[derive(Debug, Serialize)]
pub(super) struct Sent<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    reason: &'static str,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let reason = match status {
            StatusCode::UNAUTHORIZED => Reason::CredentialsUnknown,
            StatusCode::FORBIDDEN => Reason::NotAllowed,
            StatusCode::NOT_FOUND => Reason::ResourceNotFound,
            StatusCode::METHOD_NOT_ALLOWED => Reason::MethodUnknown,
            StatusCode::TOO_MANY_REQUESTS => Reason::TooManyCalls,
            StatusCode::PAYLOAD_TOO_LARGE => Reason::LimitReached,
            StatusCode::REQUEST_TIMEOUT => Reason::DeadlineExceeded,
            status if status.is_server_error() => Reason::Internal,
            _ => Reason::InvalidRequest,
        };
        Self { status, detail: detail.into(), reason, allow: None }
    }

    /// The same for another reason, by which programs go (`crate::refusal`).
    pub fn because(self, reason: Reason) -> Self {
        Self { reason, ..self }
    }

    pub fn method(allow: &'static str, found: &str) -> Self {
        let found: String = found.chars().take(20).collect();
        let detail = format!("the method is {found}; {allow} are allowed");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    pub fn media_type(found: &str, taken: &str) -> Self {
        let found: String = found.chars().take(60).collect();
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the content type is `{found}`; {taken}"))
    }

    pub fn sent(&self) -> Sent<'_> {
        let title = self.status.canonical_reason().unwrap_or("Error");
        Sent {
            r#type: "about:blank",
            title,
            status: self.status.as_u16(),
            detail: &self.detail,
            reason: self.reason.as_str(),
        }
    }

    pub fn response(&self) -> Response<Body> {
        let text = serde_json::to_vec(&self.sent()).unwrap_or_default();
        let mut response = Response::new(whole(text));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, MEDIA_TYPE);
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"reeve\""));
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<Missing> for Problem {
    fn from(missing: Missing) -> Self {
        let (status, reason) = match &missing {
            Missing::Unsound(_) => (StatusCode::BAD_REQUEST, Reason::InvalidField),
            Missing::Nobody(subject) => (StatusCode::NOT_FOUND, subject.absence()),
        };
        Self::new(status, missing.to_string()).because(reason)
    }
}

/// What a service says against a call.
impl From<Status> for Problem {
    fn from(refused: Status) -> Self {
        let status = match refused.code() {
            Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => StatusCode::CONFLICT,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::DeadlineExceeded => StatusCode::REQUEST_TIMEOUT,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let problem = Self::new(status, refused.message());
        let details = refused.get_error_details();
        let named = details.error_info().map(|info| info.reason.as_str());
        let reason = Reason::ALL.iter().find(|reason| Some(reason.as_str()) == named);
        reason.map_or(problem.clone(), |reason| problem.because(*reason))
    }
}

impl From<TooMany> for Problem {
    fn from(TooMany: TooMany) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too many questions; ask again in a second")
    }
}
