//! Noise on the tenant's own link, reported as `flood.other` and suspected only.
//!
//! **Abuse.** Address resolution by the thousand, which every neighbour must hear; a switch's table of hardware addresses filled (macof), so that it
//! sends everything everywhere; a DHCP server's addresses used up (dhcpstarv, yersinia).
//!
//! **Measure.** In a second: ARP messages and neighbour solicitations, whomever they ask for. In a minute: distinct hardware addresses
//! that frames of one tenant's port come from, and requests to DHCP servers.
//!
//! **Numbers.** 1,000 messages in a second; 1,000 hardware addresses or 300 requests in a minute. Each is told once a minute.
//!
//! **Look-alikes that stay silent.** A host with some hundred containers or virtual machines of its own on the link, each with a hardware address
//! that asks for an address when it starts; gateways that ask for their neighbours again. What sweeps the link is told by `portscan.horizontal`.
//!
//! **Evasion.** Below the numbers. Other protocols of the link alone: spanning tree, LLDP.

use std::time::Duration;

use macaddr::MacAddr6;
use reeve_policy::language::thresholds::FloodOther;
use reeve_policy::{Class, Metric, Timestamp};

use super::Finding;
use crate::meter::hash;

const MINUTE: Duration = Duration::from_secs(60);
/// Each hardware address sets one bit. Of a thousand, some sixty share one with another.
const BITS: usize = 8_192;

/// What was heard of one tenant on its link.
#[derive(Debug, Default)]
pub struct Noise {
    second: u64,
    messages: u64,
    minute: u64,
    requests: u64,
    addresses: u64,
    last_mac: Option<MacAddr6>,
    /// Made for those who have more than one hardware address.
    seen: Option<Box<[u64; BITS / 64]>>,
    told: Option<Timestamp>,
}

impl Noise {
    /// Takes a message that asks where an address is.
    pub fn resolved(&mut self, numbers: &FloodOther, at: Timestamp) -> Option<Finding> {
        let second = at.as_nanos() / 1_000_000_000;
        if self.second != second {
            (self.second, self.messages) = (second, 0);
        }
        self.messages += 1;
        let (value, limit) = (self.messages, numbers.link_messages_per_second);
        self.tell(("link_messages", value, limit), Duration::from_secs(1), at)
    }

    /// Takes a request to DHCP servers.
    pub fn requested(&mut self, numbers: &FloodOther, at: Timestamp) -> Option<Finding> {
        self.begin(at);
        self.requests += 1;
        self.tell(("dhcp_requests", self.requests, numbers.dhcp_requests_per_minute), MINUTE, at)
    }

    /// Takes the hardware address that a frame came from. Cheap while it is the last one's.
    #[inline]
    pub fn came_from(&mut self, numbers: &FloodOther, mac: MacAddr6, at: Timestamp) -> Option<Finding> {
        if self.last_mac == Some(mac) {
            return None;
        }
        let is_first = self.last_mac.replace(mac).is_none();
        if is_first {
            return None;
        }
        self.begin(at);
        let bit = spread(mac) % BITS;
        let seen = self.seen.get_or_insert_with(|| Box::new([0; BITS / 64]));
        let (word, mask) = (&mut seen[bit / 64], 1 << (bit % 64));
        if *word & mask != 0 {
            return None;
        }
        *word |= mask;
        self.addresses += 1;
        self.tell(("hardware_addresses", self.addresses, numbers.hardware_addresses_per_minute), MINUTE, at)
    }

    /// Begins to count anew with each minute.
    fn begin(&mut self, at: Timestamp) {
        let minute = at.as_nanos() / 60_000_000_000;
        if self.minute != minute {
            (self.minute, self.requests, self.addresses) = (minute, 0, 0);
            self.seen = None;
        }
    }

    /// Gives back the room of a minute that is over.
    pub fn drop_old(&mut self, now: Timestamp) {
        if self.seen.is_some() {
            self.begin(now);
        }
    }

    fn tell(
        &mut self,
        (name, value, limit): (&'static str, u64, u64),
        window: Duration,
        at: Timestamp,
    ) -> Option<Finding> {
        if value < limit || self.told.is_some_and(|told| !at.is_past(told, MINUTE)) {
            return None;
        }
        self.told = Some(at);
        Some(Finding {
            class: Class::FloodOther,
            start: at.minus(window),
            at,
            metrics: vec![Metric { name: name.into(), value: value as f64, threshold: Some(limit as f64) }],
            confidence_percent: 70,
            is_suspicion: true,
            targets: Vec::new(),
        })
    }
}

fn spread(mac: MacAddr6) -> usize {
    hash::mix(mac.as_bytes().iter().fold(0, |number, byte| number << 8 | u64::from(*byte))) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does something so many times, so many microseconds apart; how often it is told.
    #[track_caller]
    fn check(
        take: impl Fn(&mut Noise, u32, Timestamp) -> Option<Finding>,
        (times, gap_us): (u32, u64),
        expect: usize,
    ) {
        let mut noise = Noise::default();
        let at =
            |number: u32| Timestamp::from_secs(6_000) + Duration::from_micros(u64::from(number) * gap_us);
        let told: Vec<Finding> =
            (0..times).filter_map(|number| take(&mut noise, number, at(number))).collect();
        assert_eq!(told.len(), expect, "{times} every {gap_us} us");
        assert!(told.iter().all(|finding| finding.is_suspicion));
    }

    fn mac(number: u32) -> MacAddr6 {
        let [a, b, c, d] = number.to_be_bytes();
        [2, 0, a, b, c, d].into()
    }

    #[test]
    fn each_is_told_at_its_number_and_once_a_minute() {
        let numbers = FloodOther::default();
        let resolved = |noise: &mut Noise, _, at| noise.resolved(&numbers, at);
        check(resolved, (1_000, 100), 1);
        check(resolved, (999, 100), 0);
        check(resolved, (100_000, 100), 1);
        check(resolved, (61_000 * 2, 500), 2);
        let requested = |noise: &mut Noise, _, at| noise.requested(&numbers, at);
        check(requested, (300, 100_000), 1);
        check(requested, (299, 100_000), 0);
        let came = |noise: &mut Noise, number, at| noise.came_from(&numbers, mac(number), at);
        check(came, (1_200, 1_000), 1);
        check(came, (1_000, 1_000), 0);
    }

    #[test]
    fn patience_stays_below_it() {
        let numbers = FloodOther::default();
        check(|noise, _, at| noise.resolved(&numbers, at), (100_000, 1_100), 0);
        check(|noise, number, at| noise.came_from(&numbers, mac(number), at), (5_000, 70_000), 0);
    }

    #[test]
    fn a_few_hundred_machines_of_ones_own_are_none() {
        let numbers = FloodOther::default();
        check(|noise, number, at| noise.came_from(&numbers, mac(number % 400), at), (200_000, 100), 0);
        check(|noise, _, at| noise.requested(&numbers, at), (200, 1_000), 0);
    }

    #[test]
    fn what_is_remembered_does_not_grow() {
        let (mut noise, numbers) = (Noise::default(), FloodOther::default());
        for number in 0..1_000_000 {
            noise.came_from(&numbers, mac(number), Timestamp::from_secs(6_000));
        }
        assert!(noise.addresses <= BITS as u64);
    }
}
