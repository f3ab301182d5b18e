//! What tells a peer-to-peer node from a scanner.
//!
//! A node of BitTorrent, IPFS, Ethereum or Bitcoin dials hundreds of hosts that are gone, and so is what hosting customers are
//! wrongly accused of most. Three things set it apart, after Karagiannis, Broido, Faloutsos and claffy, "Transport Layer
//! Identification of P2P Traffic" (2004):
//! - *Scattered remote ports.* Every peer has a port of its own. That needs no module: all counts of scans are over ports that
//!   several hosts share, or over one host.
//! - *Known ports.* Ports that only such software uses have much higher numbers (`peer_ports`).
//! - *Reciprocity.* Strangers call the node, on the port that it dials from (one socket for all, as in every DHT) or on the same
//!   port that it dials (its network's default). This module counts those strangers: distinct hosts that called a local port and
//!   were answered, in the last ten to twenty minutes.
//!
//! **Numbers.** Five strangers. An attempt from such a port, or at the same port elsewhere, counts against `peer_hosts` (400 in 60 s) and
//! neither in the sequential test nor among slow scans.
//!
//! **Limits.** Services have strangers too, so reciprocity excuses nothing below port 1024, on ports that intruders love, or on
//! the ports of web servers and proxies: a Redis server that was broken into and looks for others like it is a scanner.
//!
//! **Evasion.** A scanner that runs a node and scans for its peers' port alone is taken for that node, up to 400 hosts a minute.

use std::net::IpAddr;

use reeve_policy::{Protocol, Timestamp};

use crate::flow::protocol_code;
use crate::flow::table::bits;
use crate::meter::hash::class_bit;

/// Strangers that make a port one of a node's.
const STRANGERS: u32 = 5;

/// Callers are remembered for this period and the one before.
const PERIOD_SECONDS: u64 = 600;

/// Services with strangers of their own, above the well-known ports: proxies and web servers.
const SERVICE_PORTS: [u16; 16] =
    [1080, 3000, 3128, 5000, 8000, 8008, 8080, 8081, 8088, 8090, 8443, 8880, 8888, 9000, 9090, 9443];

/// One local port, and who called it.
#[derive(Clone, Copy, Debug)]
struct Socket {
    port: u16,
    protocol: u8,
    /// Which of 64 classes of hosts called in this period, a bit each, and in the one before.
    callers: [u64; 2],
    period: u64,
}

/// The local ports that strangers call.
#[derive(Debug, Default)]
pub struct Peers {
    sockets: Vec<Socket>,
}

impl Peers {
    /// The most local ports that are held.
    pub const CAPACITY: usize = 16;

    /// Bytes that they take.
    pub const BYTES: usize = Self::CAPACITY * size_of::<Socket>();

    /// Takes note that the tenant answered a stranger's call.
    pub fn served(&mut self, protocol: Protocol, local_port: u16, peer: IpAddr, at: Timestamp) {
        let (code, now) = (protocol_code(protocol), period(at));
        let place = self.position(code, local_port).unwrap_or_else(|| self.make(code, local_port, now));
        let socket = &mut self.sockets[place];
        socket.turn(now);
        let host = bits(peer);
        let folded = (host >> 64) as u64 ^ host as u64;
        socket.callers[0] |= class_bit(folded);
    }

    /// Whether an attempt is that of a node: strangers call the port that it comes from, or the same port that it goes to.
    #[must_use]
    pub fn excuse(
        &self,
        protocol: Protocol,
        (local_port, remote_port): (u16, u16),
        intruder_ports: &[u16],
        at: Timestamp,
    ) -> bool {
        if self.sockets.is_empty()
            || remote_port < 1024
            || SERVICE_PORTS.contains(&remote_port)
            || intruder_ports.contains(&remote_port)
        {
            return false;
        }
        let has_strangers = |port| self.callers(protocol, port, at) >= STRANGERS;
        has_strangers(local_port) || has_strangers(remote_port)
    }

    /// How many strangers called a local port, as far as 64 classes tell them apart.
    #[must_use]
    pub fn callers(&self, protocol: Protocol, local_port: u16, at: Timestamp) -> u32 {
        let Some(place) = self.position(protocol_code(protocol), local_port) else { return 0 };
        let mut socket = self.sockets[place];
        socket.turn(period(at));
        (socket.callers[0] | socket.callers[1]).count_ones()
    }

    /// Whether nobody who called is remembered.
    #[must_use]
    pub fn is_idle(&self, now: Timestamp) -> bool {
        self.sockets.iter().all(|socket| period(now) > socket.period + 1)
    }

    fn position(&self, protocol: u8, port: u16) -> Option<usize> {
        self.sockets.iter().position(|socket| socket.port == port && socket.protocol == protocol)
    }

    /// Room for another port: where nobody has called for longest, and of those, where fewest did.
    fn make(&mut self, protocol: u8, port: u16, now: u64) -> usize {
        let socket = Socket { port, protocol, callers: [0; 2], period: now };
        if self.sockets.len() < Self::CAPACITY {
            self.sockets.push(socket);
            return self.sockets.len() - 1;
        }
        let count = |socket: &Socket| (socket.callers[0] | socket.callers[1]).count_ones();
        let oldest = self.sockets.iter().enumerate().min_by_key(|(_, socket)| (socket.period, count(socket)));
        let place = oldest.map_or(0, |(place, _)| place);
        self.sockets[place] = socket;
        place
    }
}

impl Socket {
    fn turn(&mut self, now: u64) {
        match now.saturating_sub(self.period) {
            0 => return,
            1 => self.callers = [0, self.callers[0]],
            _ => self.callers = [0; 2],
        }
        self.period = now;
    }
}

fn period(at: Timestamp) -> u64 {
    at.as_nanos() / (PERIOD_SECONDS * 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(60_000 + secs)
    }

    /// So many strangers call local port 30311; whether an attempt between two ports is a node's after `secs`.
    fn check(strangers: u8, ports: (u16, u16), secs: u64, expect: bool) {
        let mut peers = Peers::default();
        for host in 0..strangers {
            // Hosts of networks far apart, as strangers are.
            let peer = [host.wrapping_mul(37), host, 1, host.wrapping_mul(11)];
            peers.served(Protocol::Tcp, 30_311, peer.into(), at(0));
            peers.served(Protocol::Tcp, 30_311, peer.into(), at(1));
        }
        let told = peers.excuse(Protocol::Tcp, ports, &[6_379], at(secs));
        assert_eq!(told, expect, "{strangers} strangers, {ports:?}, after {secs} s");
        assert!(!peers.excuse(Protocol::Udp, ports, &[6_379], at(secs)));
    }

    #[test]
    fn strangers_excuse_what_comes_from_their_port_or_goes_to_the_same() {
        check(9, (30_311, 40_123), 5, true);
        check(9, (50_000, 30_311), 5, true);
        check(9, (50_000, 30_312), 5, false);
        check(2, (30_311, 40_123), 5, false);
        check(9, (30_311, 40_123), 1_300, false);
    }

    #[test]
    fn nothing_excuses_the_ports_of_services_and_intruders() {
        for port in [22, 443, 6_379, 8_080] {
            check(9, (30_311, port), 5, false);
        }
    }

    #[test]
    fn the_table_is_bounded_and_keeps_where_most_call() {
        let mut peers = Peers::default();
        for host in 0..20_u8 {
            peers.served(Protocol::Udp, 6_881, [host.wrapping_mul(37), host, 9, 9].into(), at(0));
        }
        for port in 0..500 {
            peers.served(Protocol::Udp, 10_000 + port, [9, 9, 9, 9].into(), at(1));
        }
        assert_eq!(peers.sockets.len(), Peers::CAPACITY);
        assert!(peers.callers(Protocol::Udp, 6_881, at(2)) >= STRANGERS);
        assert!(!peers.is_idle(at(2)) && peers.is_idle(at(3_000)));
    }
}
