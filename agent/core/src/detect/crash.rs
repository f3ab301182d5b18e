//! `crash`: packets that are made to crash a stack.
//!
//! **Measure.** What no honest stack sends, told from headers alone: *land*, a packet from and to one address and port that is somebody else's
//! (CERT CA-1997-28); *ping of death*, a fragment that ends beyond the largest packet there is (CERT CA-1996-26); *teardrop*, fragments
//! of one packet that overlap (CERT CA-1997-28; forbidden by RFC 5722); a fragment that is not the last and not a multiple of eight bytes
//! long (RFC 791, section 3.2); fragmented IGMP; an IPv6 first fragment that ends before its transport header (RFC 7112); a TCP, UDP or ICMP header for which the packet has no room, or extension headers without end.
//!
//! **Numbers.** 1 packet; where a policy asks for more, within a minute.
//!
//! **Look-alikes that stay silent.** A capture that cut a packet short: lengths are those that headers say, and what was cut off is not
//! judged. Checksums are not looked at: offloads leave them blank. A bundle that the kernel will divide: its lengths are its own. A
//! fragment that comes twice, seen at two places or sent again: the same piece. A number that is used again: a first fragment
//! begins anew, and a packet that is whole is forgotten. A tenant that talks to itself. A packet with nothing in it: scans over IP
//! protocols send them, and no stack has fallen over one.
//!
//! **Evasion.** Pieces of one packet more than two seconds apart, or among more unfinished packets than are remembered. What is wrong in payload.

use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::language::thresholds::Crash;
use reeve_policy::{Class, Metric, Outcome, Protocol, TargetSeen, Timestamp};

use super::routing::is_for_all;
use super::{Finding, REPEAT};
use crate::flow::table::bits;
use crate::packet::ipv6::HONEST_EXTENSIONS;
use crate::packet::{Fragment, Ip, Piece, Transport};

/// Unfinished packets that are remembered, how many pieces of each, and for how long.
const PACKETS: usize = 16;
const PIECES: usize = 8;
const MEMORY: Duration = Duration::from_secs(2);

/// The largest packet (RFC 791, RFC 8200).
const MAX_LEN: u32 = 65_535;

const IGMP: Protocol = Protocol::Other(2);

/// The window of a policy that asks for more than one.
const WINDOW: Duration = Duration::from_secs(60);

/// A packet of which pieces have been seen.
#[derive(Clone, Copy, Debug)]
struct Unfinished {
    key: (u128, u128, u32, Protocol),
    at: Timestamp,
    /// From and to which byte, as many as there are.
    pieces: [(u32, u32); PIECES],
    count: u8,
    /// The end, once the last piece was seen.
    end: Option<u32>,
}

/// What is known of harmful packets.
#[derive(Debug, Default)]
pub struct Crashes {
    unfinished: Vec<Unfinished>,
    since: Timestamp,
    count: u32,
    last_alert: Option<Timestamp>,
}

impl Crashes {
    /// Bytes that it takes at most, beside the value itself.
    pub const RARE_BYTES: usize = PACKETS * size_of::<Unfinished>();

    /// Takes a packet of a kind that may be harmful. `is_own` says whether its destination is the tenant's own.
    pub fn handle_sent(
        &mut self,
        numbers: &Crash,
        ip: &Ip<'_>,
        is_own: bool,
        at: Timestamp,
        found: &mut Vec<Finding>,
    ) {
        let Some(what) = self.what(ip, is_own, at) else { return };
        if at.is_past(self.since, WINDOW) {
            (self.since, self.count) = (at, 0);
        }
        self.count += 1;
        if self.count < numbers.packets || self.last_alert.is_some_and(|last| !at.is_past(last, REPEAT)) {
            return;
        }
        self.last_alert = Some(at);
        let metric = |name: &'static str, threshold| Metric {
            name: name.into(),
            value: self.count.into(),
            threshold: Some(threshold),
        };
        let mut metrics = vec![metric("packets", numbers.packets.into())];
        metrics.push(Metric { name: what.into(), value: 1.0, threshold: None });
        found.push(Finding {
            class: Class::Crash,
            start: self.since,
            at,
            metrics,
            confidence_percent: 99,
            targets: vec![TargetSeen {
                target: ip.target(),
                first: self.since,
                last: at,
                outcome: Outcome::Unknown,
            }],
            is_suspicion: false,
        });
    }

    /// What a packet is called, if it is harmful.
    fn what(&mut self, ip: &Ip<'_>, is_own: bool, at: Timestamp) -> Option<&'static str> {
        if is_land(ip) && !is_own {
            return Some("land");
        }
        if let Transport::Malformed(_) = ip.transport {
            return (!is_empty(ip)).then_some("impossible_header");
        }
        if ip.extensions > HONEST_EXTENSIONS {
            return Some("endless_extensions");
        }
        if ip.fragment == Fragment::No {
            return None;
        }
        if is_headless(ip) {
            return Some("hidden_header");
        }
        if ip.protocol == IGMP {
            return Some("fragmented_igmp");
        }
        let piece = ip.piece()?;
        let end = piece.offset + piece.len;
        if end + piece.before > MAX_LEN {
            return Some("ping_of_death");
        }
        if piece.has_more && piece.len % 8 != 0 {
            return Some("uneven_fragment");
        }
        self.overlaps(ip, piece, at).then_some("overlapping_fragments")
    }

    /// Whether a piece lies over another one of the same packet.
    fn overlaps(&mut self, ip: &Ip<'_>, piece: Piece, at: Timestamp) -> bool {
        let key = (bits(ip.source), bits(ip.destination), piece.identification, ip.protocol);
        let (from, to) = (piece.offset, piece.offset + piece.len);
        self.unfinished.retain(|known| !at.is_past(known.at, MEMORY));
        let Some(place) = self.unfinished.iter().position(|known| known.key == key) else {
            if self.unfinished.len() == PACKETS {
                self.unfinished.remove(0);
            }
            let mut new = Unfinished { key, at, pieces: [(0, 0); PIECES], count: 0, end: None };
            new.add(from, to, piece.has_more);
            self.unfinished.push(new);
            return false;
        };
        let known = &mut self.unfinished[place];
        let pieces = &known.pieces[..usize::from(known.count)];
        if pieces.contains(&(from, to)) {
            if from == 0 {
                // The number is used again, or the packet is sent again.
                (known.count, known.end, known.at) = (0, None, at);
                known.add(from, to, piece.has_more);
            }
            return false;
        }
        let overlaps = pieces.iter().any(|&(start, end)| from < end && start < to);
        known.add(from, to, piece.has_more);
        if known.is_whole() || overlaps {
            self.unfinished.remove(place);
        }
        overlaps
    }
}

impl Unfinished {
    fn add(&mut self, from: u32, to: u32, has_more: bool) {
        // Of a packet in very many pieces the last ones are compared.
        let place = usize::from(self.count) % PIECES;
        if usize::from(self.count) < PIECES {
            self.count += 1;
        } else {
            self.pieces.rotate_left(1);
        }
        let place = if usize::from(self.count) == PIECES { PIECES - 1 } else { place };
        self.pieces[place] = (from, to);
        if !has_more {
            self.end = Some(to);
        }
    }

    fn is_whole(&self) -> bool {
        let pieces = &self.pieces[..usize::from(self.count)];
        let covered: u32 = pieces.iter().map(|(from, to)| to - from).sum();
        self.end.is_some_and(|end| covered >= end)
    }
}

/// Whether a packet comes from and goes to one address, and one port where there are ports.
fn is_land(ip: &Ip<'_>) -> bool {
    let is_one_port = match &ip.transport {
        Transport::Tcp(tcp) => tcp.source_port == tcp.destination_port,
        Transport::Udp(udp) => udp.source_port == udp.destination_port,
        Transport::Icmp(_) => true,
        _ => false,
    };
    ip.source == ip.destination && is_one_port && is_somebody(ip.source)
}

fn is_somebody(address: IpAddr) -> bool {
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast())
}

/// Whether a first fragment hides its whole transport header behind extension headers. IPv4 has a room of its own for options, and what
/// it leaves out there is a probe only.
fn is_headless(ip: &Ip<'_>) -> bool {
    ip.source.is_ipv6()
        && matches!(ip.transport, Transport::Tiny { source_port: 0, destination_port: 0 })
        && !is_for_all(ip.destination)
}

/// Whether a packet is of a kind that [`Crashes`] looks at: cheap, for it is asked of every one.
#[inline]
#[must_use]
pub fn may_be_harmful(ip: &Ip<'_>) -> bool {
    ip.fragment != Fragment::No
        || ip.source == ip.destination
        || matches!(ip.transport, Transport::Malformed(_))
        || ip.extensions > HONEST_EXTENSIONS
}

/// Whether nothing follows the network header.
fn is_empty(ip: &Ip<'_>) -> bool {
    let network = match (ip.destination, ip.headers.first()) {
        (IpAddr::V4(_), Some(first)) => u32::from(first & 0x0f) * 4,
        _ => 40,
    };
    ip.length <= network
}

#[cfg(test)]
mod tests {
    use super::super::flood::tests::{Stage, time, wrap};
    use super::*;

    const VICTIM: &str = "20.0.0.1";
    const TENANT: &str = "203.0.113.10";

    /// Plays packets a millisecond apart; what they are called, each once.
    fn check(packets: &[Vec<u8>], expect: &[&str]) {
        let mut stage = Stage::new();
        for (number, packet) in packets.iter().enumerate() {
            stage.packet(number as u64 * 1_000, true, packet);
        }
        stage.classes();
        let crashes = stage.alerts.iter().filter(|alert| alert.class == Class::Crash);
        let names: Vec<&str> = crashes.map(|alert| alert.metrics[1].name.as_ref()).collect();
        assert_eq!(names, expect, "{packets:x?}");
    }

    fn packet(source: &str, protocol: u8, body: &[u8]) -> Vec<u8> {
        wrap(source.parse().unwrap(), VICTIM.parse().unwrap(), protocol, body)
    }

    /// A piece of a datagram: its number, where it begins in bytes, how long it is, and whether others follow.
    fn piece(number: u8, offset: u16, len: usize, has_more: bool) -> Vec<u8> {
        let mut body = vec![0; len];
        if offset == 0 && len >= 8 {
            body[..6].copy_from_slice(&[0x13, 0x88, 0, 53, 0x20, 0]);
        }
        let mut bytes = packet(TENANT, 17, &body);
        bytes[5] = number;
        let field = (offset / 8) | if has_more { 0x2000 } else { 0 };
        bytes[6..8].copy_from_slice(&field.to_be_bytes());
        bytes
    }

    fn segment(ports: (u16, u16), offset: u8) -> Vec<u8> {
        let mut body = vec![0; 20];
        body[..2].copy_from_slice(&ports.0.to_be_bytes());
        body[2..4].copy_from_slice(&ports.1.to_be_bytes());
        (body[12], body[13]) = (offset, 2);
        body
    }

    #[test]
    fn each_is_told_at_the_first() {
        check(&[packet(VICTIM, 6, &segment((139, 139), 0x50))], &["land"]);
        check(&[packet(TENANT, 6, &segment((139, 139), 0x20))], &["impossible_header"]);
        check(&[packet(TENANT, 6, &segment((139, 139), 0xf0))], &["impossible_header"]);
        check(&[piece(1, 65_528, 40, false)], &["ping_of_death"]);
        check(&[piece(1, 0, 36, true)], &["uneven_fragment"]);
        check(&[piece(1, 0, 40, true), piece(1, 24, 4, false)], &["overlapping_fragments"]);
        check(&[piece(1, 24, 8, false), piece(1, 0, 40, true)], &["overlapping_fragments"]);
        let mut igmp = packet(TENANT, 2, &[0; 1_000]);
        igmp[6] = 0x20;
        check(&[igmp], &["fragmented_igmp"]);
    }

    #[test]
    fn a_network_of_the_sixth_version_has_them_too() {
        let (source, victim) = ("2001:db8:10::10".parse().unwrap(), "2001:db8:99::1".parse().unwrap());
        let fragment = |offset: u16, len: usize, has_more: bool| {
            let mut body = vec![17, 0];
            body.extend((offset | u16::from(has_more)).to_be_bytes());
            body.extend([0, 0, 0, 9]);
            body.resize(8 + len, 0);
            wrap(source, victim, 44, &body)
        };
        check(&[fragment(0, 64, true), fragment(48, 32, false)], &["overlapping_fragments"]);
        check(&[fragment(65_528, 16, false)], &["ping_of_death"]);
        check(&[fragment(0, 64, true), fragment(64, 32, false)], &[]);
        check(&[fragment(0, 0, true)], &["hidden_header"]);
        check(&[fragment(0, 8, true)], &[]);
    }

    #[test]
    fn honest_packets_are_left_alone() {
        // An IP protocol scan: nothing in it.
        let empty: Vec<Vec<u8>> = [1, 2, 6, 17, 58, 132].map(|protocol| packet(TENANT, protocol, &[])).into();
        check(&empty, &[]);
        // To itself; a whole datagram in pieces, some of them twice, and its number used again for a longer one.
        check(&[wrap(TENANT.parse().unwrap(), TENANT.parse().unwrap(), 6, &segment((80, 80), 0x50))], &[]);
        let first = [piece(1, 0, 1_480, true), piece(1, 1_480, 500, false)];
        check(&[&first[..], &first[..], &first[..1]].concat(), &[]);
        let longer = [piece(1, 0, 1_480, true), piece(1, 1_480, 1_480, true), piece(1, 2_960, 8, false)];
        check(&[&first[..], &longer[..], &first[..]].concat(), &[]);
        // The end of the first was lost.
        check(&[&first[..1], &longer[..]].concat(), &[]);
        // The largest packet there is.
        check(&[piece(1, 65_120, 395, false)], &[]);
        // A capture that cut the packet short.
        let mut stage = Stage::new();
        stage.packet(0, true, &packet(TENANT, 6, &[segment((1, 2), 0xa0), vec![0; 200]].concat()));
        assert_eq!(stage.classes(), []);
    }

    #[test]
    fn few_are_remembered_and_not_for_long() {
        let apart = |gap: u64, expect: &[Class]| {
            let mut stage = Stage::new();
            stage.packet(0, true, &piece(1, 0, 40, true));
            stage.packet(gap, true, &piece(1, 24, 8, false));
            assert_eq!(stage.classes(), expect);
        };
        apart(1_900_000, &[Class::Crash]);
        apart(2_000_000, &[]);
        let mut crashes = Crashes::default();
        for number in 0..=255 {
            let data = piece(number, 0, 40, true);
            let parsed =
                crate::packet::parse(crate::frame::LinkType::RawIp, &data, data.len() as u32).unwrap();
            let crate::packet::Body::Ip(ip) = &parsed.body else { panic!("no IP") };
            let mut found = Vec::new();
            crashes.handle_sent(&Crash::default(), ip, false, time(0), &mut found);
            assert!(found.is_empty());
        }
        assert_eq!(crashes.unfinished.len(), PACKETS);
    }
}
