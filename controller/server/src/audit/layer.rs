//! The log before the services of gRPC. It stands behind the gate, which says who calls.

use std::convert::Infallible;
use std::task::{Context, Poll};

use http_body_util::Full;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Bytes, Service};
use tonic::{Code, Status};
use tower_layer::Layer;

use super::{Draft, Kind, Outcome, body, enter, enter_all, kind, request};
use crate::approval::{self, PREFIX};
use crate::auth::Caller;
use crate::services::unwritable;
use crate::writer::Writer;

/// Of a longer refusal no more is entered than its beginning.
const REFUSAL_MAX: usize = 1_000;

/// Enters calls before whatever it is laid on.
#[derive(Clone, Debug)]
pub(crate) struct AuditLayer(pub Writer);

impl<S> Layer<S> for AuditLayer {
    type Service = Audited<S>;

    fn layer(&self, inner: S) -> Audited<S> {
        Audited { writer: self.0.clone(), inner }
    }
}

/// A service whose calls are entered.
#[derive(Clone, Debug)]
pub(crate) struct Audited<S> {
    writer: Writer,
    inner: S,
}

impl<S> Service<Request<Body>> for Audited<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let kind = kind(request.uri().path());
        if kind == Kind::Plain {
            return Box::pin(self.inner.call(request));
        }
        // The one that was found ready is the one to be called.
        let other = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, other);
        let writer = self.writer.clone();
        Box::pin(async move {
            Ok(audited(writer, inner, request, kind, "").await.unwrap_or_else(|refused| refused.into_http()))
        })
    }
}

/// Enters a call before it is made, and an act's outcome behind it. `approved` says who approved the act, of one that waited for that.
pub(crate) async fn audited<S>(
    writer: Writer,
    mut inner: S,
    request: Request<Body>,
    kind: Kind,
    approved: &str,
) -> Result<Response<Body>, Status>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send,
{
    let caller = Caller::of(request.extensions())?.clone();
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let bytes = body::whole(&path, body).await?;
    let request::Said { subject, asked, reason, also } =
        request::read(&path, bytes.get(PREFIX..).unwrap_or_default());
    let draft = Draft {
        who: caller.name.to_string(),
        role: caller.role.to_string(),
        from: caller.from.map(|from| from.to_string()).unwrap_or_default(),
        act: path.rsplit('/').next().unwrap_or_default().to_owned(),
        subject,
        asked,
        reason,
        outcome: format!("asked{approved}"),
    };
    let number = enter_all(&writer, draft.clone(), also).await.map_err(unwritable)?;
    let request = Request::from_parts(head, Body::new(Full::<Bytes>::new(bytes)));
    let answer = inner.call(request).await.unwrap_or_else(|never| match never {});
    if kind == Kind::Act {
        // An error of a call with one answer is told in the headers.
        let outcome = match Status::from_header_map(answer.headers()) {
            Some(status) if status.metadata().contains_key(approval::KEY) => waiting(&status),
            Some(status) if status.code() != Code::Ok => {
                format!("refused: {:?}: {}", status.code(), request::cut(status.message(), REFUSAL_MAX))
            }
            _ => match answer.extensions().get::<Outcome>() {
                Some(Outcome(outcome)) => format!("{outcome}{approved}"),
                None => format!("done{approved}"),
            },
        };
        let behind = Draft { asked: format!("{{\"of\":{number}}}"), reason: String::new(), outcome, ..draft };
        if let Err(error) = enter(&writer, behind).await {
            // It is done, and that it was asked for is on the record.
            tracing::error!(%error, number, "what came of an act could not be entered in the audit log");
        }
    }
    Ok(answer)
}

/// Of an act that takes a second person.
fn waiting(status: &Status) -> String {
    let told = |key| status.metadata().get(key).and_then(|value| value.to_str().ok()).unwrap_or_default();
    format!("waits for a second person: approval {} until {}", told(approval::KEY), told(approval::EXPIRES))
}
