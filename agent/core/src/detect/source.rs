//! `spoof.source`: packets from addresses that are not the sender's.
//!
//! **Measure.** Packets within a minute whose source is neither the tenant's nor a leak (see
//! [`crate::topology::Topology::owner`]), where the link tells who sent them: what source address validation looks at
//! (BCP 38, RFC 2827). Judged [`PATIENCE`] after they are too many, because the network itself tells an honest address from a
//! forged one: answers to the honest one come back by the same port.
//!
//! **Numbers.** 20 packets in 60 s, whatever their sources and targets, so that a reflection attack is seen at its beginning.
//!
//! **Look-alikes that stay silent.** An address that is routed to the tenant and not in its settings (a floating or failover
//! address, a network of its own): packets to it are delivered to the tenant, before or within the patience, and so its /24
//! (IPv6: its /48) is excused. Private, shared and loopback sources that slip past a masquerading host or a tunnel, a family that the settings
//! leave out, a self-made IPv6 address in the link's network, an address within an hour of having been taken away: leaks,
//! counted and never held against anybody; likewise what a host that routes was handed for elsewhere just before and sends on, packet for packet
//! (the neighbour that handed it over is held to it at its own port), and what goes to another machine of the tenant's. What is another tenant's is never excused by what is delivered, since switches
//! flood.
//!
//! **Evasion.** Less than 20 packets a minute. A source in the /24 of something that reaches the port all the same. What is
//! forged within the tenant's own prefix hurts nobody else. Without hardware addresses, at an uplink or mirror, a foreign source is nobody's.

use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::language::thresholds::SpoofSource;
use reeve_policy::{Alert, Class, Metric, Outcome, Target, TargetSeen, Timestamp};

use super::{Finding, REPEAT, count};

/// Packets count this long.
pub const WINDOW: Duration = Duration::from_secs(60);
/// How long answers may take that would excuse a source: as long as an attempt waits.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// What was delivered excuses this long.
const ROUTED: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug)]
struct Forged {
    at: Timestamp,
    source: IpAddr,
    target: Target,
    /// Whether the source is another tenant's.
    is_assigned: bool,
}

/// The last packets of one tenant with foreign sources, and what is routed to it.
#[derive(Debug, Default)]
pub struct Sources {
    /// A ring once it is full.
    recent: Vec<Forged>,
    next: usize,
    /// Packets since `recent` was last empty, without those that were excused.
    total: u64,
    /// Networks to which packets were delivered, and when last.
    routed: Vec<(IpAddr, Timestamp)>,
    newest: Option<Timestamp>,
    due: Option<Timestamp>,
    last_alert: Option<Timestamp>,
}

impl Sources {
    /// The most packets that are remembered, and the highest number that a policy can ask for.
    pub const CAPACITY: usize = 128;
    /// The most networks that are known to be routed to a tenant.
    pub const ROUTED: usize = 64;

    /// Bytes that both take at most.
    pub const BYTES: usize =
        Self::CAPACITY * size_of::<Forged>() + Self::ROUTED * size_of::<(IpAddr, Timestamp)>();

    /// Takes a packet from `source`, which is not the tenant's.
    pub fn sent(
        &mut self,
        numbers: &SpoofSource,
        source: IpAddr,
        target: Target,
        is_assigned: bool,
        at: Timestamp,
    ) {
        if !is_assigned && self.is_routed(network(source), at) {
            return;
        }
        if self.newest.is_none_or(|newest| at.since(newest) > WINDOW) {
            self.recent.clear();
            (self.next, self.total) = (0, 0);
        }
        let forged = Forged { at, source, target, is_assigned };
        if self.recent.len() < Self::CAPACITY {
            self.recent.push(forged);
        } else {
            self.recent[self.next] = forged;
        }
        self.next = (self.next + 1) % Self::CAPACITY;
        (self.total, self.newest) = (self.total + 1, Some(at));
        if self.due.is_none() && self.recent.len() >= needed(numbers) && self.within(at) >= needed(numbers) {
            let quiet = self.last_alert.map_or(at, |last| last + REPEAT);
            self.due = Some((at + PATIENCE).max(quiet));
        }
    }

    /// Takes note that a packet to `destination`, which is not the tenant's, was delivered to it.
    pub fn delivered(&mut self, destination: IpAddr, at: Timestamp) {
        let network = network(destination);
        if let Some((_, last)) = self.routed.iter_mut().find(|(known, _)| *known == network) {
            *last = at;
        } else if self.routed.len() < Self::ROUTED {
            self.routed.push((network, at));
        } else if let Some(oldest) = self.routed.iter_mut().min_by_key(|(_, last)| *last) {
            *oldest = (network, at);
        }
        if self.recent.iter().any(|one| !one.is_assigned && self::network(one.source) == network) {
            let oldest = if self.recent.len() < Self::CAPACITY { 0 } else { self.next };
            self.recent.rotate_left(oldest);
            self.recent.retain(|one| one.is_assigned || self::network(one.source) != network);
            self.next = self.recent.len() % Self::CAPACITY;
            self.total = self.recent.len() as u64;
        }
    }

    /// When [`Sources::handle_timeout`] next has something to do.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<Timestamp> {
        self.due
    }

    /// Judges what has not been excused.
    pub fn handle_timeout(&mut self, numbers: &SpoofSource, now: Timestamp) -> Option<Finding> {
        let due = self.due.filter(|due| *due <= now)?;
        self.due = None;
        // What came before the last alert has been told.
        let is_new = self.newest > self.last_alert;
        let (start, packets) = (due.minus(WINDOW + PATIENCE), self.within(due.minus(PATIENCE)));
        if packets < needed(numbers) || !is_new {
            return None;
        }
        self.last_alert = Some(now);
        let mut recent: Vec<&Forged> = self.recent.iter().filter(|one| one.at >= start).collect();
        recent.sort_by_key(|one| one.at);
        let mut sources: Vec<IpAddr> = recent.iter().map(|one| one.source).collect();
        sources.sort_unstable();
        sources.dedup();
        let inform = |name: &'static str, value: usize| Metric {
            name: name.into(),
            value: value as f64,
            threshold: None,
        };
        let total =
            u32::try_from(self.total).unwrap_or(u32::MAX).max(u32::try_from(packets).unwrap_or(u32::MAX));
        Some(Finding {
            class: Class::SpoofSource,
            start: recent.first().map_or(now, |one| one.at),
            at: now,
            metrics: vec![count("packets", total, numbers.packets), inform("sources", sources.len())],
            confidence_percent: 95,
            is_suspicion: false,
            targets: targets(&recent),
        })
    }

    /// Whether nothing here matters any more.
    #[must_use]
    pub fn is_idle(&self, now: Timestamp) -> bool {
        self.due.is_none()
            && self.newest.is_none_or(|newest| now.since(newest) > WINDOW + REPEAT)
            && self.routed.iter().all(|(_, last)| now.since(*last) > ROUTED)
    }

    fn is_routed(&self, network: IpAddr, at: Timestamp) -> bool {
        self.routed.iter().any(|(known, last)| *known == network && at.since(*last) <= ROUTED)
    }

    /// How many of those that are remembered lie within the window that ends at `at`.
    fn within(&self, at: Timestamp) -> usize {
        let start = at.minus(WINDOW);
        self.recent.iter().filter(|one| one.at >= start).count()
    }
}

/// More than is remembered is never reached.
fn needed(numbers: &SpoofSource) -> usize {
    numbers.packets as usize
}

/// The network that is taken for routed as a whole.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => std::net::Ipv4Addr::from(u32::from(v4) & 0xffff_ff00).into(),
        IpAddr::V6(v6) => std::net::Ipv6Addr::from(u128::from(v6) >> 80 << 80).into(),
    }
}

/// The targets, those that were sent most first.
fn targets(recent: &[&Forged]) -> Vec<TargetSeen> {
    let mut seen: Vec<(usize, TargetSeen)> = Vec::new();
    for one in recent {
        match seen.iter_mut().find(|(_, seen)| seen.target == one.target) {
            Some((number, seen)) => {
                *number += 1;
                seen.last = one.at;
            }
            None => {
                let fresh =
                    TargetSeen { target: one.target, first: one.at, last: one.at, outcome: Outcome::Unknown };
                seen.push((1, fresh));
            }
        }
    }
    seen.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    seen.into_iter().map(|(_, seen)| seen).take(Alert::MAX_TARGETS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_policy::Protocol;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000_000 + millis * 1_000_000)
    }

    fn source(number: u32) -> IpAddr {
        let [_, a, b, c] = number.to_be_bytes();
        [20 + a, b, c, 7].into()
    }

    fn target(last: u8) -> Target {
        Target { address: [30, 0, 0, last].into(), protocol: Protocol::Udp, port: Some(53) }
    }

    /// Sends `packets`, `step_ms` apart, from `sources` sources in turn, then lets time pass; how many alerts there were.
    fn play(sources: &mut Sources, packets: u32, step_ms: u64, number: u32) -> Vec<Finding> {
        let (numbers, mut found) = (SpoofSource::default(), Vec::new());
        for packet in 0..packets {
            let now = at(u64::from(packet) * step_ms);
            while let Some(due) = sources.next_deadline().filter(|due| *due <= now) {
                found.extend(sources.handle_timeout(&numbers, due));
            }
            sources.sent(&numbers, source(packet % number), target((packet % 40) as u8), false, now);
        }
        if let Some(due) = sources.next_deadline() {
            found.extend(sources.handle_timeout(&numbers, due));
        }
        found
    }

    #[track_caller]
    fn check(packets: u32, step_ms: u64, sources: u32, expect: usize) {
        assert_eq!(play(&mut Sources::default(), packets, step_ms, sources).len(), expect);
    }

    #[test]
    fn twenty_packets_in_a_minute_and_not_nineteen() {
        check(20, 50, 1, 1);
        check(19, 50, 1, 0);
        check(20, 3_000, 1, 1);
        check(20, 3_200, 1, 0);
        check(20, 1, 20, 1);
    }

    #[test]
    fn slow_ones_are_added_up_and_told_again_while_they_go_on() {
        check(320, 125, 1, 5);
        let found = play(&mut Sources::default(), 40, 1_500, 40);
        assert_eq!((found[0].metrics[0].value, found[0].metrics[1].value), (21.0, 21.0));
    }

    #[test]
    fn a_flood_from_anywhere_names_what_it_hits() {
        let mut sources = Sources::default();
        let found = play(&mut sources, 50_000, 0, 50_000);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].metrics[0].value, 50_000.0);
        assert_eq!(found[0].targets.len(), Alert::MAX_TARGETS);
        assert_eq!(sources.recent.len(), Sources::CAPACITY);
    }

    #[test]
    fn what_is_routed_to_the_tenant_is_not_forged() {
        let numbers = SpoofSource::default();
        for is_assigned in [false, true] {
            let mut sources = Sources::default();
            // Two hundred at once, before the first answer can be back.
            for number in 0..200 {
                sources.sent(
                    &numbers,
                    [198, 51, 100, number].into(),
                    target(1),
                    is_assigned,
                    at(number.into()),
                );
            }
            sources.delivered([198, 51, 100, 9].into(), at(400));
            let due = sources.next_deadline().expect("it is to be looked at");
            assert_eq!(
                sources.handle_timeout(&numbers, due).is_some(),
                is_assigned,
                "floods excuse no tenant's"
            );
            assert_eq!(sources.recent.is_empty(), !is_assigned);
        }
    }

    #[test]
    fn what_is_known_to_be_routed_is_bounded_and_forgotten() {
        let (mut sources, numbers) = (Sources::default(), SpoofSource::default());
        for number in 0..1_000 {
            sources.delivered(source(number), at(number.into()));
        }
        assert_eq!(sources.routed.len(), Sources::ROUTED);
        sources.sent(&numbers, source(999), target(1), false, at(2_000));
        assert!(sources.recent.is_empty());
        sources.sent(&numbers, source(0), target(1), false, at(2_000));
        assert_eq!(sources.recent.len(), 1);
        assert!(!sources.is_idle(at(100_000)) && sources.is_idle(at(2_000 + 601_000)));
    }
}
