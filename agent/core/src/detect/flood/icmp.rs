//! `flood.icmp`: ICMP and ICMPv6 at a high rate.
//!
//! **Measure.** Messages in a second to one destination, one network and in all, for some seconds in a row. Requests have no excuse to one
//! destination. Replies, errors and neighbour discovery do: the other side may have asked for them, by packets of whatever kind (RFC 792,
//! RFC 4443), which are counted against them.
//!
//! **Numbers.** 100/s to one destination for two seconds; or 10,000 within one second (a hundred times the number for one destination), however
//! short the burst: then the alert names that number, and no seconds. Requests also 5,000/s in all with under half of them answered, and a quarter
//! of that to one /24 or /48.
//!
//! **Look-alikes that stay silent.** Monitoring pings: a few a second each, and answered. A host that is pinged, scanned or flooded answers as
//! often as it is asked. A ping of many fragments is one message.
//!
//! **Evasion.** Below the rates; bursts that are over within a second and hold fewer than 10,000 messages.

use std::net::IpAddr;

use reeve_policy::language::thresholds::FloodIcmp;
use reeve_policy::{Class, Protocol, Timestamp};

use super::{NEVER, Terms, Told, is_enough, judge, limits, packet_rate, part};
use crate::detect::Finding;
use crate::meter::rates::{Limits, Rates, Reach, Ready, Sent};
use crate::meter::tally::{Limit, Pace};
use crate::packet::{IcmpKind, Ip};

/// From this share on, what came from there is what is answered; and requests that are answered are monitoring.
const PROVOKED: f64 = 0.5;

/// So many times the number is no burst that might end.
const AT_ONCE: u64 = 100;

/// What is known of ICMP.
#[derive(Debug)]
pub struct Icmps {
    requests: Rates,
    others: Option<Box<Rates>>,
}

impl Default for Icmps {
    fn default() -> Self {
        Self { requests: Rates::new(Pace::Sustained), others: None }
    }
}

impl Icmps {
    /// A message went out.
    pub fn sent(&mut self, numbers: &FloodIcmp, ip: &Ip<'_>, kind: IcmpKind, sent: Sent) {
        let limits = limits(numbers.packets_per_second, numbers.total_packets_per_second);
        if kind == IcmpKind::Request {
            self.requests.sent(ip.destination, sent, &limits);
        } else {
            let never = Limit::packets(u64::MAX);
            let others = self.others.get_or_insert_with(|| Box::new(Rates::new(Pace::Sustained)));
            others.sent(ip.destination, sent, &Limits { net: never, all: never, ..limits });
        }
    }

    /// A message came in.
    pub fn received(&mut self, source: IpAddr, is_reply: bool, packets: u64) {
        if is_reply {
            self.requests.answered(source, packets);
        }
    }

    /// Something came that may be answered by ICMP.
    #[inline]
    pub fn provoked(&mut self, source: IpAddr, packets: u64) {
        if let Some(others) = &mut self.others {
            others.answered(source, packets);
        }
    }

    /// When there is something to judge.
    #[must_use]
    pub fn due(&self) -> Timestamp {
        self.requests.due().min(self.others.as_ref().map_or(NEVER, |others| others.due()))
    }

    /// Judges what is ready.
    pub fn judge(&mut self, numbers: &FloodIcmp, now: Timestamp, found: &mut Vec<Finding>) {
        let (host, total) = (numbers.packets_per_second, numbers.total_packets_per_second);
        let terms =
            Terms { seconds: numbers.seconds, at_once: host.saturating_mul(AT_ONCE), confidence_percent: 95 };
        let told = |ready: &Ready| Told {
            class: Class::FloodIcmp,
            protocol: Protocol::Icmp,
            metrics: vec![packet_rate(ready, host, total)],
        };
        let is_enough = |ready: &Ready| is_enough(ready, host, total);
        let is_unanswered = |ready: &Ready| part(ready.second.answered, ready.second.sent) < PROVOKED;
        let is_flood = |ready: &Ready| ready.reach != Reach::All || is_unanswered(ready);
        let over = |ready: &Ready| (is_enough(ready) && is_flood(ready)).then(|| told(ready));
        judge(&mut self.requests, &terms, now, found, over);
        if let Some(others) = &mut self.others {
            let over = |ready: &Ready| (is_enough(ready) && is_unanswered(ready)).then(|| told(ready));
            judge(others, &terms, now, found, over);
        }
    }
}
