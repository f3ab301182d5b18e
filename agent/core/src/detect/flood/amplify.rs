//! `flood.amplify`: a tenant used as a reflector.
//!
//! **Measure.** Of UDP that others asked for (the peer sent first): bytes out a second to one target, and to one network, against bytes in from there; and
//! that the requests are all alike. Whoever forges a victim's address sends the one request that yields most, again and again; a client asks for
//! this and for that. After Rossow, "Amplification Hell" (NDSS 2014), who lists the protocols and their factors.
//!
//! **Numbers.** Bytes out at least 5 times bytes in, 500 kbit/s or 200 packets/s, three seconds in a row, or, by pulses, twice as many of any twenty seconds, whoever
//! the victims are; at most 8 distinct lengths of requests (2 of SNMP and of games). Of services that are not known to be abused, the requests must also come from sixteen or more ports at once, as nobody's
//! conversation does.
//!
//! **Look-alikes that stay silent.** Authoritative name servers and time servers: many are answered, each little. A resolver that asks one name server
//! much: names differ in length. Games, VPNs, QUIC, media: one pair of ports, on ports that are not known; WireGuard hides on known ones, and
//! pads all it says to sixteens. TFTP downloads: acknowledged at the port that sends. What the tenant asks itself, from a high port that happens to be
//! a known one: the tenant spoke first.
//!
//! **Evasion.** Requests of many lengths; below the rates; fewer seconds than six of twenty; victims that are spread over many networks. Large answers in fragments count wholly.

use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::language::thresholds::FloodAmplify;
use reeve_policy::{Class, Metric, Protocol, Timestamp};

use super::{Terms, Told, judge_counted, part, rate};
use crate::detect::Finding;
use crate::flow::table::bits;
use crate::meter::keyed::Keyed;
use crate::meter::rates::{Limits, Rates, Reach, Ready, Sent, net_of, port_class};
use crate::meter::tally::{Limit, Pace, SECOND};
use crate::packet::{Ip, Udp};

/// At most so many distinct lengths of requests are alike.
const ALIKE: u32 = 8;
/// The same where a client's own requests are nearly alike, too: walks through SNMP, and games.
const STRICTLY_ALIKE: u32 = 2;
const STRICT_PORTS: [u16; 10] = [161, 26_000, 27_005, 27_015, 27_016, 27_017, 27_018, 27_019, 27_020, 27_960];

/// Of services that are not known, requests come from at least so many ports.
const ASKING_PORTS: u32 = 16;

/// TFTP answers from another port than it is asked at (RFC 1350).
const TFTP: u16 = 69;

/// For how long a request is remembered, and how long lengths are put together.
const MEMORY: Duration = Duration::from_secs(10);
const GENERATION: Duration = Duration::from_secs(4);

/// Over how long seconds are counted that are not in a row, and how many times as many there must be.
const PULSES: Duration = Duration::from_secs(20);
const PULSES_FACTOR: u32 = 2;
/// So many of them can be told apart; a policy that asks for more seconds gets those in a row only.
const PULSES_MAX: usize = 32;

/// When seconds were over, whoever got what was in them.
#[derive(Clone, Copy, Debug)]
struct Pulses {
    seconds: [Timestamp; PULSES_MAX],
    next: usize,
}

impl Pulses {
    /// Takes note that the second from `start` on was over, and tells how many of late were.
    fn note(&mut self, start: Timestamp) -> u32 {
        // Of one moment there may be several seconds: a host's, and its network's.
        let is_apart = |other: &Timestamp| {
            let (early, late) = (start.min(*other), start.max(*other));
            *other == Timestamp::EPOCH || late.is_past(early, SECOND)
        };
        if self.seconds.iter().all(is_apart) {
            self.seconds[self.next] = start;
            self.next = (self.next + 1) % PULSES_MAX;
        }
        let late = |other: &&Timestamp| **other != Timestamp::EPOCH && !start.is_past(**other, PULSES);
        u32::try_from(self.seconds.iter().filter(late).count()).expect("at most 32")
    }
}

/// What one peer, or one network, asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    local_port: u16,
    /// How often it asked.
    requests: u32,
    is_known: bool,
    /// The peer answers where TFTP sends from.
    is_dialogue: bool,
    /// All payloads, either way, are padded to sixteens, in this generation and the one before.
    padded: [bool; 2],
    last: Timestamp,
    since: Timestamp,
    /// Which of 64 classes of lengths, and of the peer's ports, were seen in this generation and the one before.
    lengths: [u64; 2],
    ports: [u64; 2],
}

impl Asked {
    fn new(at: Timestamp) -> Self {
        Self {
            local_port: 0,
            requests: 0,
            is_known: false,
            is_dialogue: false,
            padded: [true; 2],
            last: at,
            since: at,
            lengths: [0; 2],
            ports: [0; 2],
        }
    }

    fn take(&mut self, numbers: &FloodAmplify, udp: &Udp<'_>, at: Timestamp) {
        let local_port = udp.destination_port;
        if at.is_past(self.last, MEMORY) {
            *self = Self::new(at);
        }
        if at.is_past(self.since, GENERATION) {
            (self.lengths, self.ports, self.padded) =
                ([0, self.lengths[0]], [0, self.ports[0]], [true, self.padded[0]]);
            self.since = at;
        }
        self.last = at;
        self.requests = self.requests.saturating_add(1);
        if self.local_port == TFTP && local_port != TFTP {
            self.is_dialogue = true;
            return;
        }
        if self.local_port != local_port {
            (self.local_port, self.is_known) = (local_port, numbers.ports.contains(&local_port));
        }
        self.lengths[0] |= 1 << (udp.payload_len % 64);
        self.ports[0] |= port_class(udp.source_port);
        self.padded[0] &= udp.payload_len.is_multiple_of(16);
    }

    /// Whether this is how a reflector is asked.
    fn is_reflection(&self) -> bool {
        let lengths = (self.lengths[0] | self.lengths[1]).count_ones();
        let ports = (self.ports[0] | self.ports[1]).count_ones();
        let alike = if STRICT_PORTS.contains(&self.local_port) { STRICTLY_ALIKE } else { ALIKE };
        let is_tunnel = self.padded == [true; 2] && ports == 1;
        lengths <= alike && !self.is_dialogue && !is_tunnel && (self.is_known || ports >= ASKING_PORTS)
    }
}

/// What others ask a tenant for.
#[derive(Debug)]
pub struct Amplify {
    answers: Rates,
    hosts: Keyed<Asked, { Rates::HOSTS }>,
    nets: Keyed<Asked, { Rates::NETS }>,
    pulses: Pulses,
}

impl Default for Amplify {
    fn default() -> Self {
        let pulses = Pulses { seconds: [Timestamp::EPOCH; PULSES_MAX], next: 0 };
        Self { answers: Rates::new(Pace::Sustained), hosts: Keyed::default(), nets: Keyed::default(), pulses }
    }
}

/// Whether a packet to this port of the tenant's may ask a service for something, rather than answer the tenant. `has_spoken` says
/// whether the tenant has just sent something to that peer.
#[must_use]
pub fn may_be_asked(
    numbers: &FloodAmplify,
    (local_port, peer_port): (u16, u16),
    has_spoken: impl FnOnce() -> bool,
) -> bool {
    // What the tenant asks itself goes out from a high port, and is answered from these; a few high ports are services'.
    local_port < 32_768
        || !matches!(peer_port, 53 | 123 | 443)
        || (is_high_service(numbers, local_port) && !has_spoken())
}

/// Whether a port of the tenant's is a known service's, though clients ask from there as well.
#[must_use]
pub fn is_high_service(numbers: &FloodAmplify, local_port: u16) -> bool {
    local_port >= 32_768 && numbers.ports.contains(&local_port)
}

impl Amplify {
    /// Bytes that it takes at most.
    pub const BYTES: usize = size_of::<Self>()
        + Rates::BYTES
        + Keyed::<Asked, { Rates::HOSTS }>::BYTES
        + Keyed::<Asked, { Rates::NETS }>::BYTES;

    /// A request, perhaps, came in.
    pub fn received(&mut self, numbers: &FloodAmplify, ip: &Ip<'_>, udp: &Udp<'_>, at: Timestamp) {
        let local_port = udp.destination_port;
        let key = bits(ip.source);
        if local_port >= 32_768 && !numbers.ports.contains(&local_port) && self.hosts.position(key).is_none()
        {
            return;
        }
        asked(&mut self.hosts, key, at).take(numbers, udp, at);
        asked(&mut self.nets, net_of(key), at).take(numbers, udp, at);
        self.answers.answered(ip.source, u64::from(ip.length));
    }

    /// UDP went out.
    pub fn sent(&mut self, numbers: &FloodAmplify, destination: IpAddr, sent: Sent) {
        let Some(asked) = self.hosts.find_mut(bits(destination)) else { return };
        let is_answer = sent.ports == (0, 0) || asked.local_port == sent.ports.0 || asked.local_port == TFTP;
        if !is_answer || sent.at.is_past(asked.last, MEMORY) {
            return;
        }
        if sent.ports != (0, 0) {
            let headers = if destination.is_ipv4() { 28 } else { 48 };
            asked.padded[0] &= sent.bytes.saturating_sub(headers).is_multiple_of(16);
        }
        let limit = Limit { packets: numbers.packets_per_second, bytes: numbers.bits_per_second.div_ceil(8) };
        let limits = Limits { host: limit, net: limit, all: Limit::packets(u64::MAX) };
        self.answers.sent(destination, sent, &limits);
    }

    /// When there is something to judge.
    #[must_use]
    pub const fn due(&self) -> Timestamp {
        self.answers.due()
    }

    /// Judges what is ready.
    pub fn judge(&mut self, numbers: &FloodAmplify, now: Timestamp, found: &mut Vec<Finding>) {
        let terms = Terms { seconds: numbers.seconds, at_once: u64::MAX, confidence_percent: 90 };
        let (hosts, nets, pulses) = (&self.hosts, &self.nets, &mut self.pulses);
        let pulses_needed = numbers.seconds.saturating_mul(PULSES_FACTOR);
        let asked = |ready: &Ready| match ready.reach {
            Reach::Host(host) => hosts.find(bits(host)),
            Reach::Net(net) => nets.find(bits(net)),
            Reach::All => None,
        };
        let over = |ready: &Ready| {
            let factor = part(ready.second.bytes, ready.second.answered.max(1));
            let is_over = factor >= numbers.factor && asked(ready).is_some_and(Asked::is_reflection);
            let bits = ready.second.bytes.saturating_mul(8);
            if !is_over {
                return None;
            }
            let count = pulses.note(ready.second.start);
            let told = Told {
                class: Class::FloodAmplify,
                protocol: Protocol::Udp,
                metrics: vec![
                    rate("bits_per_second", bits, numbers.bits_per_second),
                    rate("packets_per_second", ready.second.sent, numbers.packets_per_second),
                    Metric { name: "factor".into(), value: factor, threshold: Some(numbers.factor) },
                ],
            };
            Some((told, Some(count).filter(|count| *count >= pulses_needed)))
        };
        judge_counted(&mut self.answers, &terms, now, found, over);
    }

    /// A peer that spoke first was answered.
    pub fn served(&mut self, peer: IpAddr, at: Timestamp) {
        asked(&mut self.hosts, bits(peer), at);
    }

    /// Whether `peer` has asked for something before.
    #[must_use]
    pub fn knows(&self, peer: IpAddr) -> bool {
        self.hosts.position(bits(peer)).is_some()
    }
}

/// What `key` asked for. Whoever asked once, or long ago, makes room for another.
#[inline]
fn asked<const CAPACITY: usize>(all: &mut Keyed<Asked, CAPACITY>, key: u128, at: Timestamp) -> &mut Asked {
    let counts = (true, Timestamp::EPOCH);
    all.find_or_make(
        key,
        || Asked::new(at),
        counts,
        |asked| (asked.requests > 1 && !at.is_past(asked.last, MEMORY), asked.last),
    )
}
