//! The ways to log servers and files.

use std::future::poll_fn;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::error::ControllerError;
use crate::outbox::client_tls;
use crate::settings::{Place, Sink};

/// A connection is made, and takes a message, within this time.
const PATIENCE: Duration = Duration::from_secs(10);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The way to one of them. A connection is kept while it holds.
pub(super) struct Sender {
    to: Place,
    tls: Option<TlsConnector>,
    open: Option<Box<dyn Stream>>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("to", &self.to).finish_non_exhaustive()
    }
}

impl Sender {
    pub fn new(sink: &Sink) -> Result<Self, ControllerError> {
        let tls = match &sink.to {
            Place::Tls(..) => Some(TlsConnector::from(Arc::new(client_tls(sink.ca_file.as_deref())?))),
            _ => None,
        };
        Ok(Self { to: sink.to.clone(), tls, open: None })
    }

    /// Whether what could not be sent is lost, as everything may be over this way.
    pub const fn is_lossy(&self) -> bool {
        matches!(self.to, Place::Udp(..))
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &str) -> io::Result<()> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "nothing was taken within 10 s");
        let sent = tokio::time::timeout(PATIENCE, self.try_send(message)).await.map_err(late).flatten();
        if sent.is_err() {
            // Half a message may be in it.
            self.open = None;
        }
        sent
    }

    async fn try_send(&mut self, message: &str) -> io::Result<()> {
        match &self.to {
            Place::Udp(host, port) => {
                let to = tokio::net::lookup_host((host.as_str(), *port)).await?.next();
                let to = to.ok_or_else(|| io::Error::other("the host has no address"))?;
                let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                UdpSocket::bind(from).await?.send_to(message.as_bytes(), to).await.map(drop)
            }
            Place::Socket(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.send_to(message.as_bytes(), path).await.map(drop)
            }
            Place::File(path) => {
                let (path, line) = (path.clone(), format!("{message}\n"));
                tokio::task::spawn_blocking(move || append(path, &line)).await.map_err(io::Error::other)?
            }
            Place::Tcp(host, port) | Place::Tls(host, port) => {
                let mut open = self.open.take();
                if let Some(stream) = &mut open
                    && !is_open(stream).await
                {
                    open = None;
                }
                let mut stream = match open {
                    Some(stream) => stream,
                    None => connect(host, *port, self.tls.as_ref()).await?,
                };
                // Octets are counted (RFC 6587, 3.4.1, and RFC 5425, 4.3).
                let framed = format!("{} {message}", message.len());
                stream.write_all(framed.as_bytes()).await?;
                stream.flush().await?;
                self.open = Some(stream);
                Ok(())
            }
        }
    }
}

async fn connect(host: &str, port: u16, tls: Option<&TlsConnector>) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(tls.connect(name, stream).await?))
}

/// Whether the other end has not hung up: what is written then is lost without an error.
async fn is_open(stream: &mut Box<dyn Stream>) -> bool {
    let mut room = [0; 512];
    poll_fn(|context| {
        let mut read = ReadBuf::new(&mut room);
        // Log servers say nothing; what one says is let go.
        Poll::Ready(match Pin::new(&mut **stream).poll_read(context, &mut read) {
            Poll::Pending => true,
            Poll::Ready(Ok(())) => !read.filled().is_empty(),
            Poll::Ready(Err(_)) => false,
        })
    })
    .await
}

/// Adds a line to a file, which may be moved away at any time: it is opened anew for each. One that is not there is made for its owner alone.
fn append(path: PathBuf, line: &str) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    // One write: whoever reads along sees lines.
    file.write_all(line.as_bytes())
}
