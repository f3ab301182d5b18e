//! `flood.udp`: one-sided UDP at a high rate; and `udp_stream`, where that is what telemetry and media look like.
//!
//! **Measure.** Packets and bytes in a second to one host, one network and in all, against the UDP packets that come back from there. Later
//! fragments count with the first.
//!
//! **Numbers.** 1,000 packets/s or 50 Mbit/s to one host with under 2 % answered; 20,000 packets/s in all, and a quarter of that to one /24
//! or /48. A stream: 10,000 packets/s or 200 Mbit/s.
//!
//! **Look-alikes that stay silent.** QUIC, VPNs, games and calls: the other side speaks too. Where large packets go between one pair of ports, one
//! answer to two thousand will do, if there are two: bulk QUIC and WireGuard are acknowledged that rarely. *Streams*: a
//! collector (statsd, syslog, sFlow, NetFlow) and a listener of media answer nothing and are no victims. One pair of ports, and a port of telemetry, or
//! the length of seven MPEG transport packets (ISO 13818-1; plain and in RTP), or a minute without having been a flood, makes one, and gives it
//! ten times the room. *Several streams* to one host, such as the cameras that a recorder fetches, have that room together, if the
//! other side speaks on each pair of ports, or on the next (RTCP, RFC 3550, sections 6.2 and 11; who fetches from behind a translator
//! says something there before), and none is a flood by itself. Beyond that it is told as `udp_stream`, which the baseline slows and never stops.
//!
//! **Evasion.** Below the rates; looking like a stream: then below ten times the rates. Somebody elsewhere who forges answers in the victim's
//! name: two a second excuse bulk, and one in ten seconds a stream. Random ports, forged sources, many hosts of one network, and fragments do
//! not help.

use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::language::thresholds::{FloodUdp, UdpStream};
use reeve_policy::{Class, Protocol, Target, Timestamp};

use super::{NET_SHARE, Terms, Told, in_a_second, is_enough, judge, packet_rate, part, rate};
use crate::detect::known::mix;
use crate::detect::{Finding, share};
use crate::flow::table::seconds;
use crate::meter::rates::{Limits, Rates, Reach, Ready, Sent};
use crate::meter::tally::{Limit, PATIENCE, Pace, SECOND};

/// One pair of ports that has been in use for this long, and was no flood, is a stream.
const STEADY: Duration = Duration::from_secs(60);

/// Payloads of seven MPEG transport packets, plain and in RTP, and the headers of UDP over either version of IP.
const MEDIA: [u16; 4] = [1_316 + 28, 1_328 + 28, 1_316 + 48, 1_328 + 48];

/// On one pair of ports, packets of at least this many bytes are bulk; at least this many answers, and one for this many packets,
/// acknowledge it.
const BULK_BYTES: u64 = 1_000;
const BULK_ANSWERS: u64 = 2;
const BULK_PACKETS_PER_ANSWER: u64 = 2_000;

const TERMS: Terms = Terms { seconds: 1, at_once: u64::MAX, confidence_percent: 95 };

/// Several streams to one host: nearly all packets are on ports that are spoken on, and there are at most so many pairs.
const VOUCHED: f64 = 0.95;
const STREAMS_MAX: u32 = 32;

/// What is known of UDP.
#[derive(Debug)]
pub struct Udp {
    rates: Rates,
    heard: Heard,
    /// What was asked of `heard` last.
    last: (IpAddr, (u16, u16), Timestamp, bool),
}

impl Default for Udp {
    fn default() -> Self {
        let nobody = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        Self {
            rates: Rates::new(Pace::Answers(PATIENCE)),
            heard: Heard::default(),
            last: (nobody, (0, 0), Timestamp::EPOCH, false),
        }
    }
}

/// On which pairs of ports others have spoken lately. A pair that falls on another's place takes it.
#[derive(Debug, Default)]
struct Heard(Vec<(u32, u32)>);

impl Heard {
    const PLACES: usize = 256;
    const BYTES: usize = Self::PLACES * size_of::<(u32, u32)>();
    /// Reports come every five seconds on average, and up to half as late again (RFC 3550, section 6.2); one may be lost.
    const MEMORY_SECS: u32 = 15;

    fn note(&mut self, peer: IpAddr, ports: (u16, u16), at: Timestamp) {
        if self.0.is_empty() {
            self.0.resize(Self::PLACES, (0, 0));
        }
        let (place, digest) = Self::place(peer, ports);
        self.0[place] = (digest, seconds(at));
    }

    /// Whether there was something on these ports, or on those of their RTCP.
    fn has(&self, peer: IpAddr, (peer_port, local_port): (u16, u16), at: Timestamp) -> bool {
        let is_known = |ports| {
            let (place, digest) = Self::place(peer, ports);
            self.0.get(place).is_some_and(|&(other, then)| {
                other == digest && seconds(at).wrapping_sub(then) <= Self::MEMORY_SECS
            })
        };
        let is_even = peer_port % 2 == 0 && local_port % 2 == 0;
        is_known((peer_port, local_port)) || (is_even && is_known((peer_port + 1, local_port + 1)))
    }

    fn place(peer: IpAddr, ports: (u16, u16)) -> (usize, u32) {
        let target = Target { address: peer, protocol: Protocol::Udp, port: Some(ports.0) };
        let hash = (mix(&target) ^ u64::from(ports.1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((hash >> 56) as usize % Self::PLACES, hash as u32 | 1)
    }
}

impl Udp {
    /// Bytes that it takes at most beside the rates.
    pub const BYTES: usize = Heard::BYTES;

    /// A packet went out.
    #[inline]
    pub fn sent(&mut self, numbers: &FloodUdp, destination: IpAddr, sent: Sent) {
        let FloodUdp { packets_per_second: host, total_packets_per_second: total, .. } = *numbers;
        let limits = Limits {
            host: Limit { packets: host, bytes: numbers.bits_per_second.div_ceil(8) },
            net: Limit::packets((total / NET_SHARE).max(host)),
            all: Limit::packets(total),
        };
        self.rates.sent(destination, sent, &limits);
        if !self.heard.0.is_empty() && sent.ports != (0, 0) && self.is_vouched(destination, sent) {
            self.rates.vouch(sent.ports, sent.packets);
        }
    }

    /// Packets came in, from the first port to the second; zeros where there are none.
    #[inline]
    pub fn received(&mut self, source: IpAddr, ports: (u16, u16), packets: u64, at: Timestamp) {
        self.rates.answered(source, packets);
        if ports != (0, 0) {
            self.heard.note(source, ports, at);
        }
    }

    /// Whether the tenant has just sent something to `peer`.
    #[must_use]
    pub fn has_spoken_to(&self, peer: IpAddr, now: Timestamp) -> bool {
        self.rates.has_sent_to(peer, now)
    }

    /// Whether the other side speaks on the ports of a packet too. It is looked up once for a run of packets.
    fn is_vouched(&mut self, peer: IpAddr, sent: Sent) -> bool {
        let (last_peer, last_ports, since, is_vouched) = self.last;
        let is_same = last_ports == sent.ports && last_peer == peer;
        if is_same && !sent.at.is_past(since, SECOND / 4) {
            return is_vouched;
        }
        let is_vouched = self.heard.has(peer, (sent.ports.1, sent.ports.0), sent.at);
        self.last = (peer, sent.ports, sent.at, is_vouched);
        is_vouched
    }

    /// When there is something to judge.
    #[must_use]
    pub const fn due(&self) -> Timestamp {
        self.rates.due()
    }

    /// Judges what is ready.
    pub fn judge(
        &mut self,
        numbers: &FloodUdp,
        stream: &UdpStream,
        now: Timestamp,
        found: &mut Vec<Finding>,
    ) {
        let over = |ready: &Ready| {
            let answered = part(ready.second.answered, ready.second.sent);
            if answered >= numbers.answered || is_acknowledged(ready) {
                return None;
            }
            let mut told = match ready.reach {
                Reach::Host(_) if is_stream(ready, stream) || are_streams(ready, numbers) => {
                    let limits = (stream.packets_per_second, stream.bits_per_second);
                    told(Class::UdpStream, &in_a_second(ready, now), limits)
                }
                Reach::Host(_) => {
                    told(Class::FloodUdp, ready, (numbers.packets_per_second, numbers.bits_per_second))
                }
                _ => told_in_all(ready, numbers),
            }?;
            told.metrics.push(share("answered", answered, Some(numbers.answered)));
            Some(told)
        };
        judge(&mut self.rates, &TERMS, now, found, over);
    }
}

/// What one host gets, beside either limit: the one that was reached comes first.
fn told(class: Class, ready: &Ready, (packets, most_bits): (u64, u64)) -> Option<Told> {
    let bits = ready.second.bytes.saturating_mul(8);
    let is_many = ready.second.sent >= packets;
    if !is_many && bits < most_bits {
        return None;
    }
    let mut metrics = vec![
        rate("packets_per_second", ready.second.sent, packets),
        rate("bits_per_second", bits, most_bits),
    ];
    if !is_many {
        metrics.swap(0, 1);
    }
    Some(Told { class, protocol: Protocol::Udp, metrics })
}

fn told_in_all(ready: &Ready, numbers: &FloodUdp) -> Option<Told> {
    let (host, total) = (numbers.packets_per_second, numbers.total_packets_per_second);
    let metrics = || vec![packet_rate(ready, host, total)];
    let is_over = is_enough(ready, host, total);
    is_over.then(|| Told { class: Class::FloodUdp, protocol: Protocol::Udp, metrics: metrics() })
}

/// Whether it is what telemetry and media look like.
fn is_stream(ready: &Ready, stream: &UdpStream) -> bool {
    let traits = &ready.traits;
    let is_steady =
        traits.steady_since != Timestamp::EPOCH && ready.second.start.is_past(traits.steady_since, STEADY);
    !traits.is_mixed && (stream.ports.contains(&traits.port) || MEDIA.contains(&traits.length) || is_steady)
}

/// Whether it is several streams, on all of which the other side speaks now and then.
fn are_streams(ready: &Ready, numbers: &FloodUdp) -> bool {
    let (second, traits) = (&ready.second, &ready.traits);
    let pairs = traits.vouched_pairs();
    // A whole second's worth for each: none is a flood by itself.
    let room = u64::from(pairs).saturating_mul(numbers.packets_per_second);
    let room_bits = u64::from(pairs).saturating_mul(numbers.bits_per_second);
    traits.is_mixed
        && (2..=STREAMS_MAX).contains(&pairs)
        && part(traits.vouched.into(), second.sent) >= VOUCHED
        && second.sent < room
        && second.bytes.saturating_mul(8) < room_bits
}

/// Whether bulk between one pair of ports is acknowledged, be it rarely.
fn is_acknowledged(ready: &Ready) -> bool {
    let second = &ready.second;
    matches!(ready.reach, Reach::Host(_))
        && !ready.traits.is_mixed
        && second.bytes >= second.sent.saturating_mul(BULK_BYTES)
        && second.answered >= BULK_ANSWERS.max(second.sent / BULK_PACKETS_PER_ANSWER)
}
