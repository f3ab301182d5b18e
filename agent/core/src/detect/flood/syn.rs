//! `flood.syn`: connection requests that are hardly ever gone through with.
//!
//! **Measure.** SYN packets in a second to one host, one network and in all, against the handshakes among them that the tenant
//! *completed*: its own acknowledgment, data or close, and not the peer's SYN-ACK (RFC 9293, section 3.5; RFC 4987 on the attack). So a
//! flood at an open port is told as one at a silent host is, from the first second on.
//!
//! **Numbers.** 200 SYN/s to one host with under 10 % completed; 5,000/s in all, and a quarter of that to one /24 or /48.
//!
//! **Look-alikes that stay silent.** Load tests and connection pools: they complete. A host that is being flooded sends SYN-ACK and
//! RST by the thousand: those are no SYN. A fast port scan of one host is a scan (`portscan.vertical`) and no flood as well, unless
//! it is ten times as fast as a flood need be. **A service that dies** under a proxy or a client that goes on asking: where the tenant had
//! business with that very port in the last quarter of an hour, requests that are refused or ignored are a flood only beyond five times the
//! connections a second, averaged over ten seconds, in which something was said; and beyond the number as ever. Where SYN-ACKs
//! come back, nothing is excused.
//!
//! **Evasion.** Completing a tenth: then `flood.connect` sees it if nothing is said. Below the rates. Keeping a service busy for a while with a
//! fifth of the rate, if it is silent to the flood: then beyond five times that. Forged sources and random
//! ports change nothing on a tenant's own port: the rates are the port's.

use std::net::IpAddr;

use reeve_policy::language::thresholds::FloodSyn;
use reeve_policy::{Class, Protocol, Timestamp};

use super::upstream::Upstreams;
use super::{Terms, Told, in_a_second, is_enough, judge, limits, packet_rate, part};
use crate::detect::{Finding, share};
use crate::meter::rates::{Rates, Reach, Ready, Sent};
use crate::meter::tally::{PATIENCE, Pace};

/// One SYN to each of many ports is a scan, until it is this many times as fast as a flood need be.
const SCAN_FACTOR: u64 = 10;

const TERMS: Terms = Terms { seconds: 1, at_once: u64::MAX, confidence_percent: 95 };

/// What is known of connection requests.
#[derive(Debug)]
pub struct Syn(Rates);

impl Default for Syn {
    fn default() -> Self {
        Self(Rates::new(Pace::Answers(PATIENCE)))
    }
}

impl Syn {
    /// A SYN went out.
    #[inline]
    pub fn sent(&mut self, numbers: &FloodSyn, destination: IpAddr, sent: Sent) {
        let limits = limits(numbers.packets_per_second, numbers.total_packets_per_second);
        self.0.sent(destination, sent, &limits);
    }

    /// Handshakes that began at `opened` were gone through with.
    pub fn completed(&mut self, destination: IpAddr, opened: Timestamp, number: u64) {
        self.0.answered_to(destination, opened, number);
    }

    /// When there is something to judge.
    #[must_use]
    pub const fn due(&self) -> Timestamp {
        self.0.due()
    }

    /// Judges what is ready.
    pub fn judge(
        &mut self,
        numbers: &FloodSyn,
        upstreams: &Upstreams,
        now: Timestamp,
        found: &mut Vec<Finding>,
    ) {
        let (number, total) = (numbers.packets_per_second, numbers.total_packets_per_second);
        let over = |ready: &Ready| {
            let host = match ready.reach {
                Reach::Host(address) => upstreams.requests(ready, address, number, now),
                _ => number,
            };
            let ready = if host > number { &in_a_second(ready, now) } else { ready };
            let is_scan = matches!(ready.reach, Reach::Host(_))
                && ready.traits.is_scattered()
                && ready.second.sent < number.saturating_mul(SCAN_FACTOR);
            let completed = part(ready.second.answered, ready.second.basis);
            let is_over = is_enough(ready, host, total) && completed < numbers.completed && !is_scan;
            is_over.then(|| Told {
                class: Class::FloodSyn,
                protocol: Protocol::Tcp,
                metrics: vec![
                    packet_rate(ready, host, total),
                    share("completed", completed, Some(numbers.completed)),
                ],
            })
        };
        judge(&mut self.0, &TERMS, now, found, over);
    }
}
