//! Why a call is refused, in words that a program can act on.
//!
//! Every error carries `google.rpc.ErrorInfo` (AIP-193): a reason of [`Reason::ALL`], the domain `reeve` and what it is about. An error about
//! a field of the request carries `google.rpc.BadRequest` beside it. Services say a reason where a program would do one thing or another by
//! it; for all others the layer here derives it from the status, so that there is no error without one whoever wrote the service. Texts
//! of errors about a field begin with its name, as everywhere in this house.
//!
//! docs/errors.md lists them all; a test compares. What a stream ends with after its first answer is left as it is: it has no headers any more.

use std::collections::HashMap;
use std::convert::Infallible;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower_layer::Layer;

use crate::auth::Refusal;

/// Whose reasons they are.
pub const DOMAIN: &str = "reeve";

macro_rules! reasons {
    ($($variant:ident, $name:literal, $code:ident, $meaning:literal;)*) => {
        /// Why a call is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As it is sent.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The code of errors for this reason.
            #[must_use]
            pub const fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)* }
            }

            /// What it says.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

reasons! {
    InvalidField, "INVALID_FIELD", InvalidArgument, "a field of the request holds what it must not";
    InvalidRequest, "INVALID_REQUEST", InvalidArgument, "the request as a whole is not sound";
    InvalidPageToken, "INVALID_PAGE_TOKEN", InvalidArgument, "the page token is none of this list's, or belongs to another question";
    InvalidFilter, "INVALID_FILTER", InvalidArgument, "the filter cannot be read";
    InvalidOrder, "INVALID_ORDER", InvalidArgument, "the order is none that the list has";
    InvalidReadMask, "INVALID_READ_MASK", InvalidArgument, "the mask names a field that there is not";
    TenantsClash, "TENANTS_CLASH", InvalidArgument, "two tenants claim the same id, address, port, MAC, user or control group";
    PolicyUnsound, "POLICY_UNSOUND", InvalidArgument, "the source is no policy; `reeve.operator.v1.PolicyDiagnostics` among the details says where and why";
    TenantNotFound, "TENANT_NOT_FOUND", NotFound, "there is no such tenant";
    NodeNotFound, "NODE_NOT_FOUND", NotFound, "there is no such node";
    ViolationNotFound, "VIOLATION_NOT_FOUND", NotFound, "there is no such violation";
    ExemptionNotFound, "EXEMPTION_NOT_FOUND", NotFound, "there is no such exemption that operators granted";
    DeliveryNotFound, "DELIVERY_NOT_FOUND", NotFound, "there is no such delivery";
    ComplaintNotFound, "COMPLAINT_NOT_FOUND", NotFound, "there is no such complaint";
    CaseNotFound, "CASE_NOT_FOUND", NotFound, "there is no such case";
    SubjectNotFound, "SUBJECT_NOT_FOUND", NotFound, "nobody has this address or interface";
    ResourceNotFound, "RESOURCE_NOT_FOUND", NotFound, "there is no such thing";
    RequestKeyReused, "REQUEST_KEY_REUSED", AlreadyExists, "the key of the request stands for another request";
    ResourceExists, "RESOURCE_EXISTS", AlreadyExists, "there is one already";
    ApprovalNeeded, "APPROVAL_NEEDED", FailedPrecondition, "it is not done yet, and waits for a second person";
    TenantsHeld, "TENANTS_HELD", FailedPrecondition, "measures hold tenants that would be forgotten";
    PolicyInUse, "POLICY_IN_USE", FailedPrecondition, "nodes run the policy, are to run it, or would by a rollback";
    TooManyExemptions, "TOO_MANY_EXEMPTIONS", FailedPrecondition, "operators have granted the tenant as many exemptions as one may have";
    DeliverySent, "DELIVERY_SENT", FailedPrecondition, "it was sent, and would be sent twice";
    DeliveryNowhere, "DELIVERY_NOWHERE", FailedPrecondition, "there is no address to send it to";
    CaseGoesOn, "CASE_GOES_ON", FailedPrecondition, "a violation of the case is open, or a measure stands";
    PreconditionFailed, "PRECONDITION_FAILED", FailedPrecondition, "the controller is not in a state to do it";
    LoginFailed, "LOGIN_FAILED", Unauthenticated, "the name, the password or the code is wrong, or the code was used before";
    CredentialsMissing, "CREDENTIALS_MISSING", Unauthenticated, "neither certificate nor token was shown";
    CredentialsUnknown, "CREDENTIALS_UNKNOWN", Unauthenticated, "what was shown is not known";
    CredentialsExpired, "CREDENTIALS_EXPIRED", Unauthenticated, "what was shown has ended";
    CredentialsRevoked, "CREDENTIALS_REVOKED", Unauthenticated, "what was shown was revoked";
    RoleNotAllowed, "ROLE_NOT_ALLOWED", PermissionDenied, "the caller's role may not do that";
    AddressNotAllowed, "ADDRESS_NOT_ALLOWED", PermissionDenied, "the caller is not taken from this address";
    NotAllowed, "NOT_ALLOWED", PermissionDenied, "the caller may not do that";
    LoginWait, "LOGIN_WAIT", ResourceExhausted, "too many failed under this name from this network";
    TooManyCalls, "TOO_MANY_CALLS", ResourceExhausted, "more calls than are answered; ask again in a second";
    LimitReached, "LIMIT_REACHED", ResourceExhausted, "a limit is reached";
    MethodUnknown, "METHOD_UNKNOWN", Unimplemented, "there is no such method";
    ControllerStopping, "CONTROLLER_STOPPING", Unavailable, "the controller stops; ask again, or ask another one";
    DatabaseUnavailable, "DATABASE_UNAVAILABLE", Unavailable, "the database failed; nothing was done";
    Unavailable, "UNAVAILABLE", Unavailable, "it cannot be done now; ask again";
    Aborted, "ABORTED", Aborted, "something newer came in between";
    Cancelled, "CANCELLED", Cancelled, "the caller ended the call";
    DeadlineExceeded, "DEADLINE_EXCEEDED", DeadlineExceeded, "the call took longer than the caller waits";
    OutOfRange, "OUT_OF_RANGE", OutOfRange, "it lies behind the end of what there is";
    DataLost, "DATA_LOST", DataLoss, "what was stored cannot be read";
    Internal, "INTERNAL", Internal, "the controller failed; its log tells more";
}

impl Reason {
    /// Refuses for this reason. A text about a field begins with its name and a colon.
    #[must_use]
    pub fn status(self, text: impl Into<String>) -> Status {
        self.about(text, [])
    }

    /// The same, saying what it is about, by the names that docs/errors.md has.
    #[must_use]
    pub fn about<const N: usize>(
        self,
        text: impl Into<String>,
        about: [(&'static str, String); N],
    ) -> Status {
        let text = text.into();
        let details = self.details(&text, about);
        Status::with_error_details(self.code(), text, details)
    }

    fn details<const N: usize>(self, text: &str, about: [(&'static str, String); N]) -> ErrorDetails {
        let about: HashMap<String, String> =
            about.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut details = ErrorDetails::with_error_info(self.as_str(), DOMAIN, about);
        if self.code() == Code::InvalidArgument
            && let Some((field, wrong)) = field(text)
        {
            details.add_bad_request_violation(field, wrong);
        }
        details
    }

    /// Why a status that says no reason refuses.
    fn of(status: &Status) -> Option<Self> {
        Some(match status.code() {
            Code::Ok => return None,
            Code::InvalidArgument if field(status.message()).is_some() => Self::InvalidField,
            Code::InvalidArgument => Self::InvalidRequest,
            Code::NotFound => Self::ResourceNotFound,
            Code::AlreadyExists => Self::ResourceExists,
            Code::FailedPrecondition => Self::PreconditionFailed,
            Code::Unauthenticated => Self::CredentialsUnknown,
            Code::PermissionDenied => Self::NotAllowed,
            Code::ResourceExhausted => Self::LimitReached,
            Code::Unimplemented => Self::MethodUnknown,
            Code::Unavailable => Self::Unavailable,
            Code::Aborted => Self::Aborted,
            Code::Cancelled => Self::Cancelled,
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::OutOfRange => Self::OutOfRange,
            Code::DataLoss => Self::DataLost,
            Code::Internal | Code::Unknown => Self::Internal,
        })
    }
}

impl From<&Refusal> for Reason {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::NoMethod => Self::MethodUnknown,
            Refusal::Nothing => Self::CredentialsMissing,
            Refusal::Expired { .. }
            | Refusal::UnknownSession
            | Refusal::EndedSession { .. }
            | Refusal::EndedCertificate { .. } => Self::CredentialsExpired,
            Refusal::RevokedToken { .. } | Refusal::RevokedCertificate { .. } => Self::CredentialsRevoked,
            Refusal::Elsewhere { .. } => Self::AddressNotAllowed,
            Refusal::Role { .. } => Self::RoleNotAllowed,
            Refusal::TooFast | Refusal::TooManyFailures => Self::TooManyCalls,
            other => Self::of(&Status::from(other.clone())).unwrap_or(Self::NotAllowed),
        }
    }
}

/// The field that a text is about, and what is wrong with it: `tenants[3].id: ...`.
fn field(text: &str) -> Option<(&str, &str)> {
    let (field, wrong) = text.split_once(": ")?;
    let is_path = field.bytes().all(|byte| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.' | b'[' | b']')
    });
    let begins = field.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    (is_path && begins).then_some((field, wrong))
}

/// An error with its reason, if it has none yet.
fn complete(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    let Some(reason) = Reason::of(&status) else { return status };
    let details = reason.details(status.message(), []);
    let (code, text, metadata) = (status.code(), status.message().to_owned(), status.metadata().clone());
    Status::with_error_details_and_metadata(code, text, details, metadata)
}

/// Sees to it that no error leaves without a reason.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReasonLayer;

impl<S> Layer<S> for ReasonLayer {
    type Service = Reasoned<S>;

    fn layer(&self, inner: S) -> Reasoned<S> {
        Reasoned { inner }
    }
}

/// A service whose errors have reasons.
#[derive(Clone, Debug)]
pub(crate) struct Reasoned<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Reasoned<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await.unwrap_or_else(|never| match never {});
            // An error before the first answer stands in the headers, and there is nothing behind them.
            Ok(match Status::from_header_map(answer.headers()) {
                Some(status) if status.code() != Code::Ok && status.details().is_empty() => {
                    tracing::debug!(method = path, code = ?status.code(), "an error is given its reason");
                    complete(status).into_http()
                }
                _ => answer,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_lists_every_reason_with_its_code_and_meaning() {
        let document = include_str!("../../../docs/errors.md");
        for reason in Reason::ALL {
            let code: String = format!("{:?}", reason.code())
                .char_indices()
                .flat_map(|(at, letter)| {
                    let gap = (at > 0 && letter.is_ascii_uppercase()).then_some('_');
                    gap.into_iter().chain([letter.to_ascii_uppercase()])
                })
                .collect();
            let row = format!("| `{}` | `{code}` | {} |", reason.as_str(), reason.meaning());
            assert!(document.contains(&row), "docs/errors.md lacks: {row}");
        }
        let rows = document.lines().filter(|line| line.starts_with("| `"));
        assert_eq!(rows.count(), Reason::ALL.len(), "docs/errors.md lists what there is not");
        let names: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for name in names {
            // AIP-193: at most 63 characters of [A-Z][A-Z0-9_]+[A-Z0-9].
            assert!(name.len() <= 63 && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'));
        }
    }

    #[test]
    fn what_says_no_reason_is_given_one_and_what_does_keeps_it() {
        let info = |status: &Status| {
            let details = status.get_error_details();
            let info = details.error_info().expect("a reason").clone();
            assert_eq!(info.domain, DOMAIN);
            let fields = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
            let fields: Vec<(String, String)> =
                fields.into_iter().map(|one| (one.field, one.description)).collect();
            (info.reason, fields)
        };
        let (reason, fields) = info(&complete(Status::invalid_argument("tenants[3].id: empty")));
        assert_eq!(reason, "INVALID_FIELD");
        assert_eq!(fields, [("tenants[3].id".to_owned(), "empty".to_owned())]);
        let (reason, fields) = info(&complete(Status::invalid_argument("Two things: both wrong")));
        assert_eq!((reason.as_str(), fields.len()), ("INVALID_REQUEST", 0));
        for code in (1..=16).map(Code::from_i32) {
            let status = complete(Status::new(code, "why"));
            assert_eq!((status.code(), status.message()), (code, "why"));
            let (reason, _) = info(&status);
            assert!(Reason::ALL.iter().any(|known| known.as_str() == reason), "{reason}");
        }
        let said = Reason::TenantNotFound.about("there is no tenant a", [("tenant", "a".into())]);
        let said = complete(said);
        assert_eq!(info(&said).0, "TENANT_NOT_FOUND");
        assert_eq!(said.get_error_details().error_info().unwrap().metadata["tenant"], "a");
        assert!(complete(Status::ok("")).details().is_empty());
    }
}
