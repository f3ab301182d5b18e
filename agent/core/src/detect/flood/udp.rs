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
//! ten times the room. Beyond that it is told as `udp_stream`, which the baseline slows and never stops.
//!
//! **Evasion.** Below the rates; looking like a stream: then below ten times the rates. Random ports, forged sources, many hosts of one
//! network, and fragments do not help.

use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::language::thresholds::{FloodUdp, UdpStream};
use reeve_policy::{Class, Protocol, Timestamp};

use super::{NET_SHARE, Terms, Told, in_a_second, is_enough, judge, packet_rate, part, rate};
use crate::detect::{Finding, share};
use crate::meter::rates::{Limits, Rates, Reach, Ready, Sent};
use crate::meter::tally::{Limit, PATIENCE, Pace};

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

/// What is known of UDP.
#[derive(Debug)]
pub struct Udp(Rates);

impl Default for Udp {
    fn default() -> Self {
        Self(Rates::new(Pace::Answers(PATIENCE)))
    }
}

impl Udp {
    /// A packet went out.
    #[inline]
    pub fn sent(&mut self, numbers: &FloodUdp, destination: IpAddr, sent: Sent) {
        let FloodUdp { packets_per_second: host, total_packets_per_second: total, .. } = *numbers;
        let limits = Limits {
            host: Limit { packets: host, bytes: numbers.bits_per_second / 8 },
            net: Limit::packets((total / NET_SHARE).max(host)),
            all: Limit::packets(total),
        };
        self.0.sent(destination, sent, &limits);
    }

    /// Packets came in.
    #[inline]
    pub fn received(&mut self, source: IpAddr, packets: u64) {
        self.0.answered(source, packets);
    }

    /// When there is something to judge.
    #[must_use]
    pub const fn due(&self) -> Timestamp {
        self.0.due()
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
                Reach::Host(_) if is_stream(ready, stream) => {
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
        judge(&mut self.0, &TERMS, now, found, over);
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
        traits.steady_since != Timestamp::EPOCH && ready.second.start.since(traits.steady_since) >= STEADY;
    !traits.is_mixed && (stream.ports.contains(&traits.port) || MEDIA.contains(&traits.length) || is_steady)
}

/// Whether bulk between one pair of ports is acknowledged, be it rarely.
fn is_acknowledged(ready: &Ready) -> bool {
    let second = &ready.second;
    matches!(ready.reach, Reach::Host(_))
        && !ready.traits.is_mixed
        && second.bytes >= second.sent.saturating_mul(BULK_BYTES)
        && second.answered >= BULK_ANSWERS.max(second.sent / BULK_PACKETS_PER_ANSWER)
}
