//! A port for browsers of people outside: HTTP/1.1 and HTTP/2, with a certificate that browsers know, or behind a proxy that has one.
//!
//! Bounds: connections in all and of one network, the size of a head, and the time in which a peer is to say something. What is served is an axum router; whoever
//! it is that asks is among the request's extensions ([`From`]).

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tower_service::Service as _;

use crate::auth::network;
use crate::error::ControllerError;
use crate::settings::Web as Settings;

/// How many connections there may be; more wait until one ends.
const CONNECTIONS: usize = 1_024;
/// How many of one network; a proxy that is trusted has no such bound.
const CONNECTIONS_OF_NETWORK: usize = 64;
/// A peer shakes hands, and sends the head of a request, within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two requests a connection may be silent for this long; before the first for no longer than [`PATIENCE`].
const IDLE: Duration = Duration::from_secs(90);
/// What somebody sends is read, and answered, within this time.
const ACT: Duration = Duration::from_secs(120);
/// A connection ends after this time, whatever is asked on it.
const LONGEST: Duration = Duration::from_secs(3_600);
/// Requests at a time on one connection of HTTP/2.
const STREAMS: u32 = 32;

/// Whose request it is: the peer's address, or what a proxy that is trusted says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct From(pub IpAddr);

/// The port, taken but not served yet.
#[derive(Debug)]
pub(crate) struct Web {
    listener: TcpListener,
    address: SocketAddr,
    front: Front,
}

#[derive(Clone)]
struct Front {
    acceptor: Option<TlsAcceptor>,
    proxies: Arc<Vec<IpNet>>,
    open: Arc<Mutex<HashMap<IpNet, usize>>>,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("proxies", &self.proxies).finish_non_exhaustive()
    }
}

impl Web {
    /// Takes the port.
    ///
    /// # Errors
    /// When it cannot be had, or the certificate cannot be used.
    pub async fn bind(settings: &Settings) -> Result<Self, ControllerError> {
        let acceptor = settings.certificate.as_ref().map(|(chain, key)| acceptor(chain, key)).transpose()?;
        let listen = settings.listen;
        let failed = |source| ControllerError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let front = Front { acceptor, proxies: Arc::new(settings.proxies.clone()), open: Arc::default() };
        Ok(Self { listener, address, front })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for as long as it is polled.
    pub async fn serve(self, router: Router) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            let (stream, from) = match self.listener.accept().await {
                Ok(come) => come,
                Err(error) => {
                    // No more files: whoever waits waits until one is closed.
                    tracing::debug!(%error, "nobody can be let in");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (front, router) = (self.front.clone(), router.clone());
            let Some(counted) = front.enter(from.ip()) else { continue };
            tokio::spawn(async move {
                let _ = tokio::time::timeout(LONGEST, front.connection(stream, from.ip(), router)).await;
                drop((place, counted));
            });
        }
    }
}

/// A connection of a network, counted until it is dropped.
struct Counted(Arc<Mutex<HashMap<IpNet, usize>>>, IpNet);

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.1);
            }
        }
    }
}

impl Front {
    fn is_proxy(&self, from: IpAddr) -> bool {
        self.proxies.iter().any(|proxy| proxy.contains(&from.to_canonical()))
    }

    /// A place for a connection of this address; none where its network has enough.
    fn enter(&self, from: IpAddr) -> Option<Counted> {
        let network = network(from);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(network).or_default();
        if *count >= CONNECTIONS_OF_NETWORK && !self.is_proxy(from) {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Counted(Arc::clone(&self.open), network))
    }

    async fn connection(&self, stream: tokio::net::TcpStream, from: IpAddr, router: Router) {
        let Some(acceptor) = &self.acceptor else {
            return self.requests(stream, from, router).await;
        };
        match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.requests(stream, from, router).await,
            Ok(Err(error)) => tracing::debug!(%from, %error, "no handshake"),
            Err(_) => tracing::debug!(%from, "no handshake in time"),
        }
    }

    async fn requests<S>(&self, stream: S, from: IpAddr, router: Router)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let work = Arc::new(Work::default());
        let at_work = Arc::clone(&work);
        let answer = service_fn(move |mut request: Request<Incoming>| {
            let busy = Busy::begin(&at_work);
            let mut router = router.clone();
            let asks = self.whose(from, &request);
            request.extensions_mut().insert(asks);
            request.extensions_mut().insert(reeve_console::From(asks.0.to_canonical()));
            async move {
                let is_look = matches!(*request.method(), Method::GET | Method::HEAD);
                let answer = router.call(request.map(Body::new));
                let answer: Result<Response<Body>, Infallible> = if is_look {
                    answer.await
                } else {
                    // Whoever sends a letter a minute is not waited for.
                    tokio::time::timeout(ACT, answer).await.unwrap_or_else(|_| Ok(late()))
                };
                // It is busy until all of the answer is taken.
                answer.map(|answer| {
                    answer.map(|body| {
                        Body::new(body.map_frame(move |frame| {
                            let _busy = &busy;
                            frame
                        }))
                    })
                })
            }
        });
        let mut server = auto::Builder::new(TokioExecutor::new());
        server.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(64 << 10);
        server
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PATIENCE)
            .keep_alive_timeout(PATIENCE)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(16 << 10);
        tokio::select! {
            end = server.serve_connection(TokioIo::new(stream), answer) => if let Err(error) = end {
                tracing::debug!(%error, "a connection ended");
            },
            () = work.is_idle() => tracing::debug!(%from, "a connection was idle"),
        }
    }

    /// Whose request it is: of a proxy that is trusted, the last address that it added.
    fn whose<B>(&self, from: IpAddr, request: &Request<B>) -> From {
        let said = || {
            let all = request.headers().get_all("x-forwarded-for");
            let last = all.iter().next_back()?.to_str().ok()?.rsplit(',').next()?;
            last.trim().parse::<IpAddr>().ok()
        };
        From(if self.is_proxy(from) { said().unwrap_or(from) } else { from })
    }
}

/// What goes on on a connection.
#[derive(Debug)]
struct Work {
    /// Requests that are answered.
    running: AtomicUsize,
    /// Since when nothing is, and whether anything ever was.
    since: Mutex<(Instant, bool)>,
}

impl Default for Work {
    fn default() -> Self {
        Self { running: AtomicUsize::new(0), since: Mutex::new((Instant::now(), false)) }
    }
}

impl Work {
    /// Waits until nothing has gone on for too long. The library that speaks HTTP waits for the first bytes for ever.
    async fn is_idle(&self) {
        loop {
            let (since, was_asked) = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
            let end = since + if was_asked { IDLE } else { PATIENCE };
            let is_running = self.running.load(Ordering::SeqCst) > 0;
            if !is_running && end <= Instant::now() {
                return;
            }
            let next = if is_running { Instant::now() + PATIENCE } else { end };
            tokio::time::sleep_until(next).await;
        }
    }
}

/// A request that is answered, until all of the answer is taken.
#[derive(Debug)]
struct Busy(Arc<Work>);

impl Busy {
    fn begin(work: &Arc<Work>) -> Self {
        work.running.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(work))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), true);
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn late() -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::REQUEST_TIMEOUT;
    answer
}

fn acceptor(chain: &Path, key: &Path) -> Result<TlsAcceptor, ControllerError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| ControllerError::File { path: path.to_owned(), source })
    };
    let unusable = |path: &Path, error: &dyn std::fmt::Display| ControllerError::Tls {
        detail: format!("{}: {error}", path.display()),
    };
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(chain)?)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(chain, &error))?;
    let secret = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| unusable(key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(chain, &error))?
        .with_no_client_auth()
        .with_single_cert(certificates, secret)
        .map_err(|error| unusable(chain, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
