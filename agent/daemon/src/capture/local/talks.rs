//! Who speaks with whom: whose an arriving packet is, which the kernel does not say.
//!
//! An answer comes from where something was sent, to the port that it was sent from. That is remembered of each tenant, of its own room: who opens very
//! many connections forgets its own oldest, and nobody else's. Calls are the exception: a port that a tenant has answered from is its
//! service, and whoever calls there calls it.
//!
//! Left out: the first call of a service, whose owner nobody knows yet. Its answer is let go with it, since without the call it would look like
//! somebody who answers what nobody asked.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use reeve_core::Owner;
use reeve_core::packet::{Icmp, Ip, TcpFlags, Transport};
use reeve_policy::{Protocol, Timestamp};

/// How many talks are remembered of all tenants, of which each has its share, ...
const TALKS: usize = 65_536;
/// ... at least and at most so many.
const EACH_LEAST: usize = 64;
const EACH_MOST: usize = 8_192;
/// A socket for datagrams that has sent nothing for so long may be another's.
const DATAGRAM_IDLE: Duration = Duration::from_secs(30);
/// A service that answers nobody for so long may be another's.
const SERVICE_IDLE: Duration = Duration::from_secs(600);

/// One end with the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Talk {
    protocol: Protocol,
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
}

/// Whose a port is, by when it last sent from there.
type Ports = HashMap<u16, (Owner, Timestamp)>;

#[derive(Debug, Default)]
pub(super) struct Talks {
    exact: HashMap<Talk, Owner>,
    /// Each one's, oldest first.
    order: HashMap<Owner, VecDeque<Talk>>,
    /// Ports of services over TCP.
    services: Ports,
    /// Ports that datagrams are sent from.
    datagrams: Ports,
}

impl Talks {
    /// Takes note of what a tenant's process sends; whether it is to be looked at further.
    pub fn sent(&mut self, owner: Owner, ip: &Ip<'_>, at: Timestamp) -> bool {
        let Some((from, to)) = ports(ip) else { return true };
        match &ip.transport {
            Transport::Tcp(tcp) if tcp.flags.all(TcpFlags::SYN | TcpFlags::ACK) => {
                // What it answers was its own if the port was known to be.
                let known = self.services.insert(from, (owner, at));
                self.note(owner, Talk::new(ip, from, to));
                return known.is_some_and(|(before, last)| before == owner && at.since(last) <= SERVICE_IDLE);
            }
            Transport::Udp(_) => {
                self.datagrams.insert(from, (owner, at));
            }
            _ => {}
        }
        self.note(owner, Talk::new(ip, from, to));
        true
    }

    fn note(&mut self, owner: Owner, talk: Talk) {
        if self.exact.insert(talk, owner) == Some(owner) {
            return;
        }
        let each = (TALKS / (self.order.len() + 1)).clamp(EACH_LEAST, EACH_MOST);
        let order = self.order.entry(owner).or_default();
        order.push_back(talk);
        while order.len() > each {
            let oldest = order.pop_front();
            if let Some(talk) = oldest.filter(|talk| self.exact.get(talk) == Some(&owner)) {
                self.exact.remove(&talk);
            }
        }
    }

    /// Whose a packet is that arrives.
    pub fn owner_of(&self, ip: &Ip<'_>, at: Timestamp) -> Option<Owner> {
        if let Transport::Icmp(Icmp { quoted: Some(quoted), .. }) = &ip.transport {
            let (from, to) = (quoted.source_port, quoted.destination_port);
            let talk = Talk {
                protocol: quoted.protocol,
                local: (quoted.source, if quoted.protocol.has_ports() { from } else { 0 }),
                remote: (quoted.destination, if quoted.protocol.has_ports() { to } else { 0 }),
            };
            return self.exact.get(&talk).copied();
        }
        let (from, to) = ports(ip)?;
        let talk = Talk { protocol: ip.protocol, local: (ip.destination, to), remote: (ip.source, from) };
        if let Some(owner) = self.exact.get(&talk) {
            return Some(*owner);
        }
        let lately = |ports: &Ports, idle| {
            ports.get(&to).filter(|(_, last)| at.since(*last) <= idle).map(|(owner, _)| *owner)
        };
        match &ip.transport {
            Transport::Tcp(tcp) if tcp.flags.any(TcpFlags::SYN) && !tcp.flags.any(TcpFlags::ACK) => {
                lately(&self.services, SERVICE_IDLE)
            }
            Transport::Udp(_) => lately(&self.datagrams, DATAGRAM_IDLE),
            _ => None,
        }
    }
}

impl Talk {
    /// Of what is sent.
    fn new(ip: &Ip<'_>, from: u16, to: u16) -> Self {
        Self { protocol: ip.protocol, local: (ip.source, from), remote: (ip.destination, to) }
    }
}

/// Source and destination port, 0 where there are none; `None` where they are not to be had.
fn ports(ip: &Ip<'_>) -> Option<(u16, u16)> {
    match &ip.transport {
        Transport::Tcp(tcp) => Some((tcp.source_port, tcp.destination_port)),
        Transport::Udp(udp) => Some((udp.source_port, udp.destination_port)),
        Transport::Sctp(sctp) => Some((sctp.source_port, sctp.destination_port)),
        Transport::Tiny { source_port, destination_port } => Some((*source_port, *destination_port)),
        _ if ip.protocol.has_ports() => None,
        _ => Some((0, 0)),
    }
}

#[cfg(test)]
mod tests {
    use reeve_core::LinkType;
    use reeve_core::packet::{self, Body};

    use super::*;

    const NODE: [u8; 4] = [203, 0, 113, 1];
    const A: Owner = Owner(10);
    const B: Owner = Owner(11);

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_000 + secs)
    }

    /// A packet of TCP (flags) or UDP (no flags) in IPv4.
    fn bytes(from: ([u8; 4], u16), to: ([u8; 4], u16), flags: Option<u8>) -> Vec<u8> {
        let (protocol, len) = if flags.is_some() { (6, 40) } else { (17, 28) };
        let mut bytes = vec![0x45, 0, 0, len, 0, 0, 0, 0, 64, protocol, 0, 0];
        bytes.extend(from.0);
        bytes.extend(to.0);
        bytes.extend(from.1.to_be_bytes());
        bytes.extend(to.1.to_be_bytes());
        match flags {
            Some(flags) => bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]),
            None => bytes.extend([0, 8, 0, 0]),
        }
        bytes
    }

    fn with_ip<T>(bytes: &[u8], work: impl FnOnce(&Ip<'_>) -> T) -> T {
        let packet = packet::parse(LinkType::RawIp, bytes, bytes.len() as u32).unwrap();
        let Body::Ip(ip) = &packet.body else { panic!("it is IP") };
        work(ip)
    }

    fn host(number: u32) -> [u8; 4] {
        (0x1400_0000 + number).to_be_bytes()
    }

    fn sends(talks: &mut Talks, owner: Owner, port: u16, to: ([u8; 4], u16), flags: Option<u8>) -> bool {
        with_ip(&bytes((NODE, port), to, flags), |ip| talks.sent(owner, ip, at(0)))
    }

    fn arrives(
        talks: &Talks,
        from: ([u8; 4], u16),
        port: u16,
        flags: Option<u8>,
        secs: u64,
    ) -> Option<Owner> {
        with_ip(&bytes(from, (NODE, port), flags), |ip| talks.owner_of(ip, at(secs)))
    }

    const SYN: Option<u8> = Some(TcpFlags::SYN);
    const SYN_ACK: Option<u8> = Some(TcpFlags::SYN | TcpFlags::ACK);
    const RST: Option<u8> = Some(TcpFlags::RST | TcpFlags::ACK);

    #[test]
    fn an_answer_is_whoevers_who_asked_though_another_uses_the_same_port() {
        let mut talks = Talks::default();
        assert!(sends(&mut talks, A, 40_000, (host(1), 80), SYN));
        assert!(sends(&mut talks, B, 40_000, (host(2), 80), SYN));
        assert_eq!(arrives(&talks, (host(1), 80), 40_000, SYN_ACK, 0), Some(A));
        assert_eq!(arrives(&talks, (host(2), 80), 40_000, RST, 0), Some(B));
        assert_eq!(arrives(&talks, (host(3), 80), 40_000, SYN_ACK, 0), None, "nobody asked it");
        assert_eq!(arrives(&talks, (host(1), 81), 40_000, SYN_ACK, 0), None);
        assert_eq!(arrives(&talks, (host(1), 80), 40_001, SYN, 0), None);
    }

    #[test]
    fn who_asks_very_many_forgets_its_own() {
        let mut talks = Talks::default();
        assert!(sends(&mut talks, B, 50_000, (host(0), 443), SYN));
        for number in 1..100_000 {
            sends(&mut talks, A, 40_000, (host(number), 22), SYN);
        }
        assert_eq!(arrives(&talks, (host(0), 443), 50_000, SYN_ACK, 0), Some(B));
        assert_eq!(arrives(&talks, (host(99_999), 22), 40_000, RST, 0), Some(A));
        assert_eq!(arrives(&talks, (host(1), 22), 40_000, RST, 0), None);
        assert!(talks.exact.len() <= EACH_MOST + 1);
    }

    #[test]
    fn a_service_is_its_owners_from_its_first_answer_on() {
        let mut talks = Talks::default();
        assert_eq!(arrives(&talks, (host(1), 50_000), 8_080, SYN, 0), None);
        assert!(!sends(&mut talks, A, 8_080, (host(1), 50_000), SYN_ACK), "nobody saw the call");
        assert_eq!(arrives(&talks, (host(2), 50_000), 8_080, SYN, 0), Some(A));
        assert!(sends(&mut talks, A, 8_080, (host(2), 50_000), SYN_ACK));
        assert_eq!(arrives(&talks, (host(3), 50_000), 8_080, SYN, 601), None, "long ago");
    }

    #[test]
    fn a_socket_for_datagrams_takes_them_from_anybody_for_a_while() {
        let mut talks = Talks::default();
        assert!(sends(&mut talks, A, 5_000, (host(1), 53), None));
        assert_eq!(arrives(&talks, (host(1), 53), 5_000, None, 3_000), Some(A));
        assert_eq!(arrives(&talks, (host(2), 53), 5_000, None, 30), Some(A));
        assert_eq!(arrives(&talks, (host(2), 53), 5_000, None, 31), None);
    }
}
