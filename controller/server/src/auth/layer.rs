//! The gate before the services of gRPC.

use std::convert::Infallible;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::http::{Request, Response, header};
use tonic::codegen::{BoxFuture, Service};
use tonic::transport::server::TlsConnectInfo;
use tower_layer::Layer;

use super::caller::Caller;
use super::connections::Peer;
use super::gate::{Gate, Presented, Refusal};
use crate::refusal::Reason;

/// Puts a gate before whatever it is laid on.
#[derive(Clone, Debug)]
pub(crate) struct GateLayer(pub Gate);

impl<S> Layer<S> for GateLayer {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { gate: self.0.clone(), inner }
    }
}

/// A service behind a gate.
#[derive(Clone, Debug)]
pub(crate) struct Gated<S> {
    gate: Gate,
    inner: S,
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match admit(&self.gate, &request) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Box::pin(self.inner.call(request))
            }
            Err(refusal) => {
                tracing::debug!(method = request.uri().path(), %refusal, "a call was refused");
                let answer = Reason::from(&refusal).status(refusal.to_string()).into_http();
                Box::pin(std::future::ready(Ok(answer)))
            }
        }
    }
}

fn admit(gate: &Gate, request: &Request<Body>) -> Result<Caller, Refusal> {
    let extensions = request.extensions();
    let secured = extensions.get::<TlsConnectInfo<Peer>>();
    let peer = secured.map(TlsConnectInfo::get_ref).or_else(|| extensions.get::<Peer>());
    let certificates = secured.and_then(TlsConnectInfo::peer_certs);
    let presented = Presented {
        peer,
        // The console calls without a connection, for a browser at this address.
        from: peer
            .map(|peer| peer.address().ip())
            .or_else(|| extensions.get::<reeve_console::From>().map(|reeve_console::From(address)| *address)),
        certificate: certificates.as_deref().and_then(|all| all.first()).map(AsRef::as_ref),
        authorization: request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes()),
    };
    gate.admit(request.uri().path(), &presented)
}
