//! What the running agent tells of itself beside its metrics.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::probe::PATIENCE;

/// The longest answer that is read: the metrics of an agent have some ten KiB.
const MOST: u64 = 1 << 20;

/// What a running agent tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Told {
    /// Why it cannot do its work, a line each; nothing while it can.
    pub troubles: Vec<String>,
    /// Frames that it was handed.
    pub frames: f64,
    /// Frames that the kernel had no room for.
    pub lost: f64,
    /// The share of the fullest set that is taken, 0 to 1.
    pub set_fill: f64,
    /// Reports that wait for the controller.
    pub waiting: f64,
    /// Reports that were given up.
    pub given_up: f64,
}

/// Asks the agent that tells its metrics at `listen`.
pub(super) fn ask(listen: SocketAddr) -> io::Result<Told> {
    let (status, troubles) = get(listen, "/readyz")?;
    let troubles = match status {
        200 => Vec::new(),
        503 => troubles.lines().map(str::to_owned).collect(),
        other => return Err(io::Error::other(format!("it answers /readyz with {other}"))),
    };
    let (status, metrics) = get(listen, "/metrics")?;
    if status != 200 {
        return Err(io::Error::other(format!("it answers /metrics with {status}")));
    }
    let value = |name: &str| {
        let own = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<f64>().ok();
        metrics.lines().find_map(own).unwrap_or(0.0)
    };
    Ok(Told {
        troubles,
        frames: value("reeve_agent_frames_total"),
        lost: value("reeve_agent_frames_lost_total"),
        set_fill: value("reeve_agent_set_fill_ratio"),
        waiting: value("reeve_agent_spool_reports"),
        given_up: value("reeve_agent_spool_given_up_total"),
    })
}

/// The status and the text of an answer.
fn get(listen: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    // Who listens on all addresses is asked on this machine's own.
    let mut at = listen;
    if at.ip().is_unspecified() {
        at.set_ip(match at {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: reeve-agent\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.take(MOST).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let nonsense = || io::Error::other("it does not speak HTTP");
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(nonsense)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(nonsense)?;
    Ok((status, body.to_owned()))
}
