//! The metrics endpoint: `GET /metrics` in OpenMetrics text, for Prometheus; and for whoever restarts and balances, `/healthz`, which says
//! that the daemon runs, and `/readyz`, which says whether it can do its work, or why not (503).
//!
//! Whoever may connect may read; it is bound where the operator says. A few slow readers cannot hold it up: connections are
//! bounded in number and time.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Readers at a time; more wait.
const READERS: usize = 8;
/// How long a reader may take.
const PATIENCE: Duration = Duration::from_secs(10);
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// An endpoint that listens.
#[derive(Debug)]
pub struct Endpoint {
    listener: TcpListener,
}

impl Endpoint {
    /// Listens at `address`.
    ///
    /// # Errors
    /// When the port is in use, or the address is not this machine's.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await? })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers for as long as it is polled. `refresh` is called before metrics are told; `troubles` says why the daemon cannot do its
    /// work, in words that anybody may read, and nothing while it can.
    pub async fn serve(
        self,
        registry: Arc<Registry>,
        refresh: impl Fn() + Send + Sync + 'static,
        troubles: impl Fn() -> Vec<&'static str> + Send + Sync + 'static,
    ) {
        let (places, told) = (Arc::new(Semaphore::new(READERS)), Arc::new((refresh, troubles)));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: there is no use in going round at once.
                    tracing::warn!(%error, "a reader of the metrics could not be accepted");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            let (registry, told) = (Arc::clone(&registry), Arc::clone(&told));
            tokio::spawn(async move {
                let answer = hyper::service::service_fn(move |request| {
                    let (refresh, troubles) = &*told;
                    let answer = answer(&request, &registry, refresh, troubles);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), answer);
                // A reader that goes away, or says nothing, is its own affair.
                let _ = tokio::time::timeout(PATIENCE, connection).await;
                drop(place);
            });
        }
    }
}

fn answer(
    request: &Request<Incoming>,
    registry: &Registry,
    refresh: impl Fn(),
    troubles: impl Fn() -> Vec<&'static str>,
) -> Response<Full<Bytes>> {
    let plain = |status, text: &'static str| said(status, text.to_owned());
    let path = request.uri().path();
    if !["/metrics", "/healthz", "/readyz"].contains(&path) {
        return plain(StatusCode::NOT_FOUND, "metrics are at /metrics; there are /healthz and /readyz\n");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "this can only be read\n");
    }
    if path == "/healthz" {
        return plain(StatusCode::OK, "ok\n");
    }
    if path == "/readyz" {
        return match troubles().as_slice() {
            [] => plain(StatusCode::OK, "ok\n"),
            all => said(StatusCode::SERVICE_UNAVAILABLE, all.join("\n") + "\n"),
        };
    }
    refresh();
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, registry).is_err() {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n");
    }
    let mut response = Response::new(Full::from(text));
    response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
    response
}

fn said(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_are_told_and_nothing_else() {
        let counter = Counter::<u64>::default();
        let mut registry = Registry::with_prefix("test");
        registry.register("things", "Things that happened", counter.clone());
        let endpoint = Endpoint::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = endpoint.address().unwrap();
        let refresh = move || {
            counter.inc();
        };
        let is_behind = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = Arc::clone(&is_behind);
        let troubles = move || {
            if seen.load(std::sync::atomic::Ordering::Relaxed) {
                vec!["the disk is full"]
            } else {
                Vec::new()
            }
        };
        let serving = tokio::spawn(endpoint.serve(Arc::new(registry), refresh, troubles));
        // Readers that say nothing hold nobody up, as long as there are few.
        let _silent = TcpStream::connect(address).await.unwrap();
        let told = ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(told.starts_with("HTTP/1.1 200") && told.contains("test_things_total 1\n"), "{told}");
        let told = ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(told.contains("test_things_total 2\n") && told.ends_with("# EOF\n"), "{told}");
        for (path, is_behind_now, expected) in [
            ("healthz", false, "HTTP/1.1 200"),
            ("readyz", false, "HTTP/1.1 200"),
            ("healthz", true, "HTTP/1.1 200"),
            ("readyz", true, "HTTP/1.1 503"),
        ] {
            is_behind.store(is_behind_now, std::sync::atomic::Ordering::Relaxed);
            let told = ask(address, &format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            let words = if expected.ends_with("503") { "the disk is full\n" } else { "ok\n" };
            assert!(told.starts_with(expected) && told.ends_with(words), "{path}: {told}");
        }
        let told = ask(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(told.starts_with("HTTP/1.1 404"), "{told}");
        let told = ask(address, "POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(told.starts_with("HTTP/1.1 405"), "{told}");
        assert!(ask(address, "rubbish\r\n\r\n").await.starts_with("HTTP/1.1 400"));
        serving.abort();
    }
}
