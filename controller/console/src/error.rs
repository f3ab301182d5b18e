//! What goes wrong, as whoever looks is told.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::page::address;

/// Why a page cannot be shown.
#[derive(Clone, Debug)]
pub(crate) enum Error {
    /// Nobody is signed in; where to go after that.
    SignIn(String),
    /// A form that did not come from a page of this session.
    Forged,
    /// There is no such page.
    Nowhere,
    /// A form without a field, or with one that is not understood; which.
    Form(String),
    /// The controller refuses.
    Refused(tonic::Status),
}

impl std::convert::From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        // Its session ended meanwhile.
        if status.code() == Code::Unauthenticated {
            Self::SignIn(String::new())
        } else {
            Self::Refused(status)
        }
    }
}

/// What a page of an error says; rendered by [`crate::front::dress`], which knows the language.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The key of its words.
    pub key: &'static str,
    /// In the controller's words; empty for none.
    pub detail: String,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, key, detail) = match self {
            Self::SignIn(next) => {
                let query: &[(&str, &str)] = &[("next", &next)];
                return Redirect::to(&address("/sign-in", &[], if next.is_empty() { &[] } else { query }))
                    .into_response();
            }
            Self::Forged => (StatusCode::FORBIDDEN, "error.forged", String::new()),
            Self::Nowhere => (StatusCode::NOT_FOUND, "error.nowhere", String::new()),
            Self::Form(detail) => (StatusCode::BAD_REQUEST, "error.form", detail),
            Self::Refused(status) => {
                let (code, key) = match status.code() {
                    Code::NotFound => (StatusCode::NOT_FOUND, "error.not_found"),
                    Code::PermissionDenied => (StatusCode::FORBIDDEN, "error.not_allowed"),
                    Code::InvalidArgument | Code::OutOfRange => (StatusCode::BAD_REQUEST, "error.form"),
                    Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => {
                        (StatusCode::CONFLICT, "error.conflict")
                    }
                    Code::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, "error.too_fast"),
                    Code::Unavailable | Code::DeadlineExceeded => {
                        (StatusCode::SERVICE_UNAVAILABLE, "error.unavailable")
                    }
                    _ => (StatusCode::INTERNAL_SERVER_ERROR, "error.internal"),
                };
                (code, key, status.message().to_owned())
            }
        };
        let mut response = status.into_response();
        response.extensions_mut().insert(Failure { key, detail });
        response
    }
}

/// The reason of a refusal that a program can act on, such as `APPROVAL_NEEDED`; empty for none.
pub(crate) fn reason(status: &tonic::Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}
