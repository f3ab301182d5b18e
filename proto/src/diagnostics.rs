//! What is wrong with a policy, as details of the error that refuses it.
//!
//! An error of gRPC carries a `google.rpc.Status` in its details, and that any messages; clients of every language know how to unpack it.

use prost::Message;
use reeve_policy::reader::{ConfigError, ConfigErrors};

use crate::generated::operator::v1::{PolicyDiagnostic, PolicyDiagnostics};

/// The most bytes of one text, and of all: details travel in headers, of which clients take 16 KiB.
const MAX_TEXT: usize = 768;
const MAX_BYTES: usize = 6 << 10;
/// The type of what is told, as `google.protobuf.Any` names it.
const TYPE: &str = "type.googleapis.com/reeve.operator.v1.PolicyDiagnostics";

/// The type of the reason beside it.
const INFO_TYPE: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// `google.rpc.ErrorInfo`, as far as it is told here.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
}

/// `google.rpc.Status`, of <https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto>.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

impl From<&ConfigErrors> for PolicyDiagnostics {
    fn from(errors: &ConfigErrors) -> Self {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let short = |text: &str| text[..text.floor_char_boundary(MAX_TEXT)].to_owned();
        let one = |error: &ConfigError| PolicyDiagnostic {
            file: short(&error.file),
            line: number(error.line),
            column: number(error.column),
            key: short(&error.key),
            found: short(&error.found),
            allowed: short(&error.allowed),
            excerpt: short(&error.source),
        };
        let mut bytes = 0;
        let fits = |told: &PolicyDiagnostic| {
            bytes += told.encoded_len();
            bytes <= MAX_BYTES
        };
        Self { diagnostics: errors.0.iter().map(one).take_while(fits).collect() }
    }
}

impl From<PolicyDiagnostics> for ConfigErrors {
    fn from(told: PolicyDiagnostics) -> Self {
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let one = |told: PolicyDiagnostic| ConfigError {
            file: told.file,
            line: number(told.line),
            column: number(told.column),
            key: told.key,
            found: told.found,
            allowed: told.allowed,
            source: told.excerpt,
        };
        Self(told.diagnostics.into_iter().map(one).collect())
    }
}

impl PolicyDiagnostics {
    /// The error that refuses a source, for a reason of a domain's that programs go by.
    #[must_use]
    pub fn refusal(&self, message: &str, reason: &str, domain: &str) -> tonic::Status {
        let code = tonic::Code::InvalidArgument;
        let info = ErrorInfo { reason: reason.to_owned(), domain: domain.to_owned() };
        let details = vec![
            prost_types::Any { type_url: INFO_TYPE.to_owned(), value: info.encode_to_vec() },
            prost_types::Any { type_url: TYPE.to_owned(), value: self.encode_to_vec() },
        ];
        let status = RpcStatus { code: code.into(), message: message.to_owned(), details };
        tonic::Status::with_details(code, message, status.encode_to_vec().into())
    }

    /// What an error carries of it, if anything.
    #[must_use]
    pub fn of(status: &tonic::Status) -> Option<Self> {
        let details = RpcStatus::decode(status.details()).ok()?.details;
        let detail = details.iter().find(|detail| detail.type_url == TYPE)?;
        Self::decode(detail.value.as_slice()).ok().filter(|told| !told.diagnostics.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_comes_back_as_it_was() {
        let error = ConfigError {
            file: "p.toml".into(),
            line: 10,
            column: 4,
            key: "rule[1].ladder".into(),
            found: "a list".into(),
            allowed: "steps".into(),
            source: "ladder = []".into(),
        };
        let errors = ConfigErrors(vec![error]);
        let status = PolicyDiagnostics::from(&errors).refusal("no policy", "WHY", "here");
        assert_eq!((status.code(), status.message()), (tonic::Code::InvalidArgument, "no policy"));
        assert_eq!(ConfigErrors::from(PolicyDiagnostics::of(&status).unwrap()), errors);
    }

    #[test]
    fn many_mistakes_fit_into_headers_and_one_is_always_told() {
        let long = || "x".repeat(100_000);
        let error = ConfigError {
            file: long(),
            line: usize::MAX,
            column: usize::MAX,
            key: long(),
            found: long(),
            allowed: long(),
            source: long(),
        };
        let told = PolicyDiagnostics::from(&ConfigErrors(vec![error; 1_000]));
        assert_eq!(told.diagnostics.len(), 1);
        assert!(told.refusal("no policy", "WHY", "here").details().len() <= MAX_BYTES + 200);
    }

    #[test]
    fn what_is_no_such_detail_is_none() {
        for bytes in [&b""[..], b"\xff\xff\xff", b"\x08\x03"] {
            let status = tonic::Status::with_details(tonic::Code::InvalidArgument, "", bytes.to_vec().into());
            assert_eq!(PolicyDiagnostics::of(&status), None);
        }
    }
}
