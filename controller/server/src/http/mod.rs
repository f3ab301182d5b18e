//! Where tenants stand, as JSON over HTTP: what `StatusService` tells, for programs that speak no gRPC; and [`complaints`], which they hand in.
//!
//! A port of its own with the controller's certificate, HTTP/1.1 and HTTP/2. Who calls is known as it is there, by the same
//! gate: by a client certificate of the controller's authority, or by a token. Paths are matched in [`route`], what is answered is made in [`answer`] and
//! described for programs in docs/openapi.json, which is served as it is; every error is a [`problem`] (RFC 9457).
//!
//! Bounds: connections, the size of a request, and the time in which a peer is to say something are limited; questions are
//! counted together with those over gRPC. Connections are entered where those of gRPC are (`auth::Connections`), so what is revoked is
//! cut here, too, whatever it was following. Left out: anything else that changes something; complaints go to the service that takes them over gRPC,
//! behind the same log.

mod answer;
mod complaints;
mod decisions;
mod problem;
mod route;
mod watch;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use reeve_console::Transport;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_stream::StreamExt as _;
use tonic::transport::server::Connected as _;

use crate::auth::{self, Gate, Guarded, incoming};
use crate::config::Credentials;
use crate::error::ControllerError;
use crate::services::status::Desk;

/// How many connections there may be; more wait until one ends. Those that have shown nothing are fewer, so they keep nobody out.
const CONNECTIONS: usize = 4_096;
/// A peer shakes hands, and sends the head of a request, within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// A peer that answers no keep-alive for this long is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Requests at a time on one connection of HTTP/2.
const STREAMS: u32 = 128;

type Body = BoxBody<Bytes, Infallible>;

/// The port for HTTP, taken but not served yet.
pub(crate) struct Http {
    listener: TcpListener,
    address: SocketAddr,
    acceptor: Option<TlsAcceptor>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Who lets in, and who answers.
#[derive(Clone, Debug)]
struct Front {
    desk: Desk,
    gate: Gate,
    /// The services, behind all but the gate.
    services: Transport,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
struct Peer {
    /// The connection, which is cut when what it showed is revoked.
    conn: auth::Peer,
    /// The certificate that it showed, which our authority signed.
    certificate: Option<CertificateDer<'static>>,
}

impl Http {
    /// Takes the port.
    ///
    /// # Errors
    /// When it cannot be had, or the certificates cannot be used.
    pub async fn bind(
        listen: SocketAddr,
        credentials: Option<&Credentials>,
    ) -> Result<Self, ControllerError> {
        let acceptor = credentials.map(acceptor).transpose()?;
        let failed = |source| ControllerError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, acceptor })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for as long as it is polled.
    pub async fn serve(self, desk: Desk, gate: Gate, services: Transport) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let coming = incoming(self.listener, gate.book().connections().clone());
        let mut coming = std::pin::pin!(coming);
        let front = Front { desk, gate, services };
        while let Some(come) = coming.next().await {
            let Ok(stream) = come else { continue };
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            let (acceptor, front) = (self.acceptor.clone(), front.clone());
            tokio::spawn(async move {
                connection(stream, acceptor, front).await;
                drop(place);
            });
        }
    }
}

async fn connection(stream: Guarded, acceptor: Option<TlsAcceptor>, front: Front) {
    let conn = stream.connect_info();
    let Some(acceptor) = acceptor else {
        return requests(stream, Peer { conn, certificate: None }, front).await;
    };
    let from = conn.address();
    match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates();
            let certificate = shown.and_then(|shown| shown.first()).map(|first| first.clone().into_owned());
            requests(stream, Peer { conn, certificate }, front).await;
        }
        Ok(Err(error)) => tracing::debug!(%from, %error, "no handshake"),
        Err(_) => tracing::debug!(%from, "no handshake in time"),
    }
}

async fn requests<S>(stream: S, peer: Peer, desk: Front)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = service_fn(move |request: Request<Incoming>| {
        let (peer, desk) = (peer.clone(), desk.clone());
        async move { Ok::<Response<Body>, Infallible>(route::answer(request, &peer, &desk).await) }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(64 << 10);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(16 << 10);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), answer).await {
        tracing::debug!(%error, "a connection ended");
    }
}

fn acceptor(credentials: &Credentials) -> Result<TlsAcceptor, ControllerError> {
    let unusable = |what: String| ControllerError::Tls { detail: what };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&credentials.certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&credentials.key).map_err(|error| unusable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&credentials.ca) {
        let root = root.map_err(|error| unusable(error.to_string()))?;
        roots.add(root).map_err(|error| unusable(error.to_string()))?;
    }
    let provider = Arc::new(ring::default_provider());
    // Who shows no certificate is told so in HTTP's own words, and may show a token where there are any.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| unusable(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
