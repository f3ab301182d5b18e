//! The layer that holds acts up. It stands behind the audit log, which so has what was asked for, and before the services.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::Full;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Bytes, Service};
use tower_layer::Layer;

use super::rules::{self, Known, Rule, Takes};
use super::{Asked, EXPIRES, KEY, MAX_BODY, new_id};
use crate::audit::{self, request};
use crate::auth::{Caller, Vault};
use crate::clock;
use crate::refusal::Reason;
use crate::services::{House, unwritable};
use crate::settings::Approval;
use crate::store::approvals::Kept;
use crate::writer::Job;

/// Before a message stand a flag and four bytes of its length (gRPC over HTTP/2).
pub(crate) const PREFIX: usize = 5;

/// Holds acts up before whatever it is laid on.
#[derive(Clone, Debug)]
pub(crate) struct ApprovalLayer {
    pub house: House,
    pub vault: Arc<Vault>,
    /// Which acts; none without.
    pub settings: Option<Arc<Approval>>,
}

impl<S> Layer<S> for ApprovalLayer {
    type Service = Held<S>;

    fn layer(&self, inner: S) -> Held<S> {
        Held { layer: self.clone(), inner }
    }
}

/// A service whose acts may be held up.
#[derive(Clone, Debug)]
pub(crate) struct Held<S> {
    layer: ApprovalLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Held<S>
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
        let rule = rules::rule(request.uri().path());
        let Some(settings) = self.layer.settings.clone().filter(|_| rule != Rule::Never) else {
            return Box::pin(self.inner.call(request));
        };
        // The one that was found ready is the one to be called.
        let other = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, other);
        let layer = self.layer.clone();
        Box::pin(async move {
            match layer.weigh(&settings, rule, request).await {
                Ok(request) => inner.call(request).await,
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

impl ApprovalLayer {
    /// The request, if it is to be carried out now.
    async fn weigh(
        &self,
        settings: &Approval,
        rule: Rule,
        request: Request<Body>,
    ) -> Result<Request<Body>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let (head, body) = request.into_parts();
        let bytes = audit::whole(head.uri.path(), body).await?;
        let message = whole(&bytes)?;
        let now = clock::now();
        let takes = {
            let snapshot = self.house.directory.snapshot();
            let known = Known { settings, snapshot: &snapshot, book: &self.house.book, now };
            known.weigh(rule, message, &caller)
        };
        let why = match takes {
            Takes::Nobody => None,
            Takes::Second(why) => Some(why),
            Takes::Counted(count, why) => {
                let counted = self.house.writer.ask(|reply| Job::Count { count: Box::new(count), reply });
                (!counted.await.map_err(unwritable)?).then_some(why)
            }
        };
        match why {
            None => Ok(Request::from_parts(head, Body::new(Full::<Bytes>::new(bytes)))),
            Some(why) => Err(self.keep(settings, head.uri.path(), message, &caller, why).await),
        }
    }

    /// Keeps an act until somebody else has looked at it; what whoever asked is told.
    async fn keep(
        &self,
        settings: &Approval,
        method: &str,
        message: &[u8],
        caller: &Caller,
        rule: String,
    ) -> Status {
        if message.len() > MAX_BODY {
            return Status::resource_exhausted(format!(
                "{rule}, which takes a second person, and of such requests at most {MAX_BODY} bytes are kept: ask in parts"
            ));
        }
        let Some(owner) = caller.owner.clone() else {
            return Status::failed_precondition(format!(
                "{rule}, which takes a second person; but whose token {} is nobody knows: make it anew",
                caller.name
            ));
        };
        let now = clock::now();
        let Ok(id) = new_id(now) else { return Status::internal("the system has no randomness") };
        let said = request::read(method, message);
        let asked = Asked {
            id,
            method: method.to_owned(),
            body: message.to_vec(),
            subject: said.subject,
            asked: said.asked,
            reason: said.reason,
            rule,
            who: caller.name.clone(),
            owner,
            role: caller.role,
            shown: caller.shown,
            began: caller.began,
            address: caller.from.map(|from| from.to_string()).unwrap_or_default(),
            at: now,
            expires: now + settings.expires,
        };
        let (seal, rule) = (asked.seal(&self.vault), asked.rule.clone());
        let kept = self.house.writer.ask(|reply| Job::Keep { asked: Box::new(asked), seal, reply }).await;
        match kept.map_err(unwritable) {
            Ok(Kept::Waits { id, expires }) => {
                tracing::warn!(%caller, method, id, rule, "an act waits for a second person");
                waits(&rule, &id, &expires.to_string())
            }
            Ok(Kept::Full) => Status::resource_exhausted(format!(
                "{rule}, which takes a second person, and too many acts wait for one: reevectl approvals"
            )),
            Err(status) => status,
        }
    }
}

/// What whoever asked is told: nothing was done, so it is an error to a program that knows of no approvals.
fn waits(rule: &str, id: &str, expires: &str) -> Status {
    let text = format!(
        "not done yet: {rule}, which takes a second person; it waits as {id} until {expires}, for somebody else: reevectl approve {id}"
    );
    let about = [("approval", id.to_owned()), ("expires", expires.to_owned())];
    let mut status = Reason::ApprovalNeeded.about(text, about);
    for (key, value) in [(KEY, id), (EXPIRES, expires)] {
        if let Ok(value) = value.parse() {
            status.metadata_mut().insert(key, value);
        }
    }
    status
}

/// The one message of a call, which the service behind would read: neither packed nor more than one.
fn whole(bytes: &[u8]) -> Result<&[u8], Status> {
    let told = bytes.get(1..PREFIX).and_then(|length| <[u8; 4]>::try_from(length).ok());
    let length = told.map_or(0, u32::from_be_bytes) as usize;
    match bytes.get(PREFIX..) {
        Some(message) if bytes[0] == 0 && message.len() == length => Ok(message),
        _ => Err(Status::invalid_argument("one message that is not compressed is expected")),
    }
}

/// A message as it is sent.
pub(crate) fn framed(message: &[u8]) -> Body {
    let mut bytes = Vec::with_capacity(PREFIX + message.len());
    bytes.push(0);
    bytes.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(message);
    Body::new(Full::<Bytes>::new(bytes.into()))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn one_plain_message_is_read_and_nothing_else() {
        let bytes = framed(b"abc").collect().await.unwrap().to_bytes();
        assert_eq!(whole(&bytes).unwrap(), b"abc");
        for bad in [&b""[..], b"\0", b"\0\0\0\0\x01", b"\x01\0\0\0\x01a", b"\0\0\0\0\x01a\0\0\0\0\x01b"] {
            assert_eq!(whole(bad).unwrap_err().code(), Code::InvalidArgument, "{bad:?}");
        }
        assert_eq!(whole(b"\0\0\0\0\0").unwrap(), b"");
    }

    #[test]
    fn who_asked_is_told_the_key_also_without_reading_the_text() {
        let told = waits("x", "A1", "2026-01-01T00:00:00Z");
        assert_eq!(told.metadata().get(KEY).unwrap(), "A1");
        assert!(told.message().contains("not done yet") && told.message().contains("reevectl approve A1"));
    }
}
