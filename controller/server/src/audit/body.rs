//! A call's message, read whole before it is entered: no longer than its method needs, and not for ever.
//!
//! The log stands before the services, so their own bounds come too late: whoever may call anything at all could have as much
//! memory as they ask for.

use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use reeve_proto::MAX_MESSAGE_BYTES;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;

use crate::approval::PREFIX;
use crate::services::{MAX_BATCH, MAX_POLICY_MESSAGE_BYTES};

/// The longest message of most acts.
const USUAL: usize = 64 << 10;
/// The same of one request of a batch.
const OF_BATCH: usize = 4 << 10;
/// A message that holds complaints, and its format beside it.
const MAX_COMPLAINTS_BYTES: usize = crate::complaints::MAX_MESSAGE + 64;
/// How long a message may take to come, and a whole inventory.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_OF_IMPORT: Duration = Duration::from_secs(120);

/// The longest message of a method.
fn most(method: &str) -> (usize, Duration) {
    let (service, name) = method.rsplit_once('/').unwrap_or_default();
    match name {
        "ImportTenants" => (MAX_MESSAGE_BYTES, PATIENCE_OF_IMPORT),
        "BatchSuspend" | "BatchRelease" => (MAX_BATCH * OF_BATCH, PATIENCE),
        "SubmitComplaints" => (MAX_COMPLAINTS_BYTES, PATIENCE),
        _ if service.ends_with(".PolicyService") => (MAX_POLICY_MESSAGE_BYTES, PATIENCE),
        _ => (USUAL, PATIENCE),
    }
}

/// Reads the body of a call of a method.
///
/// # Errors
/// Where it is too long or takes too long.
pub(crate) async fn whole(method: &str, body: Body) -> Result<Bytes, Status> {
    let (most, patience) = most(method);
    within(body, most, patience).await
}

async fn within(body: Body, most: usize, patience: Duration) -> Result<Bytes, Status> {
    let body = tokio::time::timeout(patience, Limited::new(body, most + PREFIX).collect()).await;
    let body = body
        .map_err(|_| Status::deadline_exceeded(format!("a message comes within {} s", patience.as_secs())))?;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Status::resource_exhausted(format!("a message of this method has at most {most} bytes"))
        } else {
            Status::cancelled("the request ended before its message")
        }
    })?;
    Ok(body.to_bytes())
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tonic::Code;

    use super::*;

    const SUSPEND: &str = "/reeve.operator.v1.OperatorService/Suspend";
    const IMPORT: &str = "/reeve.operator.v1.OperatorService/ImportTenants";

    #[tokio::test]
    async fn a_message_is_as_long_as_its_method_needs() {
        let body = |length: usize| Body::new(Full::<Bytes>::new(vec![0; length].into()));
        assert_eq!(whole(SUSPEND, body(USUAL + PREFIX)).await.unwrap().len(), USUAL + PREFIX);
        assert!(whole("/reeve.operator.v1.ComplaintService/SubmitComplaints", body(1 << 20)).await.is_ok());
        let status = whole(SUSPEND, body(USUAL + PREFIX + 1)).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(whole(IMPORT, body(32 << 20)).await.is_ok());
        for method in ["", "/", "nothing"] {
            assert!(whole(method, body(USUAL * 2)).await.is_err(), "{method}");
        }
    }

    #[tokio::test]
    async fn a_message_that_never_ends_is_not_waited_for() {
        // Its other end stays open and says nothing.
        let never = tokio_stream::pending::<Result<hyper::body::Frame<Bytes>, Status>>();
        let body = Body::new(http_body_util::StreamBody::new(never));
        let status = within(body, USUAL, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
}
