//! The internet's small services: a web server and a login banner on every address that exists.
//!
//! Model: a few threads per port wait in `accept`, each serves one connection at a time and closes it. Ports 80 and 8080
//! answer any request with one line; port 22 shows a banner as an SSH server does and says no more. Left out:
//! keep-alive, and clients that are slower than a second.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;

use super::namespace::Namespace;
use super::sys;

/// How many connections to one port are served at the same time.
const THREADS_PER_PORT: usize = 4;
/// How soon a thread notices that it is to stop.
const STOP_CHECK: Duration = Duration::from_millis(100);
/// The longest a client may take to say something.
const CLIENT_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum Service {
    Web,
    Banner,
}

const SERVICES: [(u16, Service); 3] = [(22, Service::Banner), (80, Service::Web), (8080, Service::Web)];

/// The services, running until this is dropped.
#[derive(Debug)]
pub struct Responder {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Responder {
    /// Starts the services in a namespace. They listen on the unspecified address, so links may come later.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub fn start(namespace: &Namespace) -> anyhow::Result<Self> {
        let mut responder = Self { stop: Arc::default(), served: Arc::default(), threads: Vec::new() };
        for (port, service) in SERVICES {
            let listener = namespace.enter(|| {
                TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                    .with_context(|| format!("cannot listen on {port}"))
            })?;
            sys::set_receive_timeout(listener.as_fd(), STOP_CHECK)?;
            for _ in 0..THREADS_PER_PORT {
                responder.add_thread(listener.try_clone()?, service)?;
            }
        }
        Ok(responder)
    }

    /// How many connections were accepted.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    fn add_thread(&mut self, listener: TcpListener, service: Service) -> anyhow::Result<()> {
        let (stop, served) = (Arc::clone(&self.stop), Arc::clone(&self.served));
        let thread = std::thread::Builder::new().name("lab-responder".to_owned()).spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if let Ok((client, _)) = listener.accept() {
                    served.fetch_add(1, Ordering::Relaxed);
                    // A client that breaks off, as scanners do, is nothing to report.
                    let _ = serve(client, service);
                }
            }
        })?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(mut client: TcpStream, service: Service) -> std::io::Result<()> {
    client.set_read_timeout(Some(CLIENT_PATIENCE))?;
    match service {
        Service::Banner => {
            client.write_all(b"SSH-2.0-OpenSSH_9.2\r\n")?;
            read_until_end(&mut client, b"\n")?;
        }
        Service::Web => {
            if read_until_end(&mut client, b"\r\n\r\n")? {
                let body = format!("hello from {}\n", client.local_addr()?.ip().to_canonical());
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close";
                write!(client, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
            }
        }
    }
    client.shutdown(Shutdown::Write)?;
    Ok(())
}

/// Reads until `end` was said (true), or the client closed, fell silent or said too much (false).
fn read_until_end(client: &mut TcpStream, end: &[u8]) -> std::io::Result<bool> {
    let mut said = Vec::new();
    let mut buffer = [0; 1024];
    while said.len() < 16_384 {
        match client.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(len) => said.extend_from_slice(buffer.get(..len).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        if said.windows(end.len()).any(|window| window == end) {
            return Ok(true);
        }
    }
    Ok(false)
}
