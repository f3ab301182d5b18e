//! A steady, harmless customer: one short web request after another, and a note of every one that failed.
//!
//! Model: a thread in a tenant's namespace fetches a page four times a second, alternately over IPv4 and IPv6, each time over a new
//! connection. It is what tells whether the innocent tenant noticed anything. Four a second stays far below what any clause is about.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::addresses::{WEB_V4, WEB_V6};
use super::namespace::Namespace;
use super::sys;

/// The pause between two requests.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long a request may take. A lost SYN is sent again after a second: that is a break already, and counts as one.
const PATIENCE: Duration = Duration::from_millis(900);

/// What a visitor has seen.
#[derive(Clone, Debug, Default)]
pub struct VisitorReport {
    /// Requests that were answered.
    pub answered: u32,
    /// Requests that were not, each with what happened.
    pub failures: Vec<String>,
    /// The slowest answer.
    pub slowest: Duration,
}

/// A running visitor; it stops when dropped.
#[derive(Debug)]
pub struct Visitor {
    report: Arc<Mutex<VisitorReport>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Visitor {
    /// Sends a visitor out of a namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn start(namespace: &Namespace) -> anyhow::Result<Self> {
        let report = Arc::<Mutex<VisitorReport>>::default();
        let (stop, stopped) = channel();
        let (ready, is_ready) = channel();
        let (door, written) = (namespace.open()?, Arc::clone(&report));
        let thread = std::thread::Builder::new().name("lab-visitor".to_owned()).spawn(move || {
            let entered = sys::enter_network_namespace(door.as_fd());
            let inside = entered.is_ok();
            if ready.send(entered).is_err() || !inside {
                return;
            }
            for address in [IpAddr::V4(WEB_V4), IpAddr::V6(WEB_V6)].into_iter().cycle() {
                let outcome = visit(address);
                written.lock().unwrap_or_else(PoisonError::into_inner).note(address, outcome);
                if stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        let visitor = Self { report, stop: Some(stop), thread: Some(thread) };
        is_ready.recv()??;
        Ok(visitor)
    }

    /// What was seen so far.
    #[must_use]
    pub fn report(&self) -> VisitorReport {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl VisitorReport {
    fn note(&mut self, address: IpAddr, outcome: anyhow::Result<Duration>) {
        match outcome {
            Ok(took) => {
                self.answered += 1;
                self.slowest = self.slowest.max(took);
            }
            Err(error) => self.failures.push(format!("{address}: {error:#}")),
        }
    }
}

/// Fetches one page and gives how long that took.
fn visit(address: IpAddr) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let mut server = TcpStream::connect_timeout(&SocketAddr::new(address, 80), PATIENCE)?;
    server.set_read_timeout(Some(PATIENCE))?;
    server.write_all(b"GET / HTTP/1.1\r\nHost: steady.example\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    server.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 200 ") {
        bail!("answered {:?}", answer.lines().next().unwrap_or_default());
    }
    Ok(start.elapsed())
}
