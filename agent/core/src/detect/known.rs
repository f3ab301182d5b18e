//! Whom a tenant has had business with: targets that answered, so that their failures are no *first contacts*.
//!
//! A service that has been used and goes away is an outage and no scan, however many backends it had. Jung, Paxson, Berger and
//! Balakrishnan (2004) leave connections to hosts that were contacted before out of the test for the same reason. What is remembered is
//! a digest of host, protocol and port: a scanner that pings a host first has not met its ports.
//!
//! Bounded and deterministic: a table of sets of four, in which the one not heard from for longest makes room. What was
//! last heard of an hour ago is forgotten.
//!
//! **Evasion.** Whoever is answered by a target may scan it afterwards unseen, which tells him nothing new.

use reeve_policy::{Target, Timestamp};

use crate::flow::protocol_code;
use crate::flow::table::bits;
use crate::meter::hash;

/// How long a target is remembered after it last answered, in minutes.
const MEMORY_MINUTES: u64 = 60;
const SETS: usize = 64;
const WAYS: usize = 4;

/// The targets that answered lately.
#[derive(Debug, Default)]
pub struct Known {
    /// (digest, minute) each; the digest of nobody is 0.
    entries: Vec<(u32, u32)>,
    last: Option<Timestamp>,
}

impl Known {
    /// Bytes that a full table takes.
    pub const BYTES: usize = SETS * WAYS * size_of::<(u32, u32)>();

    /// Takes note that a target answered.
    pub fn note(&mut self, target: &Target, at: Timestamp) {
        if self.entries.is_empty() {
            self.entries.resize(SETS * WAYS, (0, 0));
        }
        self.last = self.last.max(Some(at));
        let (set, digest) = place(target);
        let ways = &mut self.entries[set..set + WAYS];
        let known = ways.iter().position(|(other, _)| *other == digest);
        let oldest = || ways.iter().enumerate().min_by_key(|(_, (_, minute))| *minute).map(|(way, _)| way);
        let way = known.or_else(oldest).expect("a set has four ways");
        ways[way] = (digest, minute(at));
    }

    /// Whether a target answered lately.
    #[must_use]
    pub fn has(&self, target: &Target, at: Timestamp) -> bool {
        let (set, digest) = place(target);
        let ways = self.entries.get(set..set + WAYS).unwrap_or(&[]);
        let is_it = |(other, then): &&(u32, u32)| {
            *other == digest && u64::from(minute(at).saturating_sub(*then)) <= MEMORY_MINUTES
        };
        ways.iter().find(is_it).is_some()
    }

    /// Whether nobody is remembered.
    #[must_use]
    pub fn is_idle(&self, now: Timestamp) -> bool {
        self.last.is_none_or(|last| now.since(last).as_secs() > (MEMORY_MINUTES + 1) * 60)
    }
}

/// Where a target's set begins, and what it is known by there.
fn place(target: &Target) -> (usize, u32) {
    let hash = mix(target);
    ((hash as usize % SETS) * WAYS, ((hash >> 32) as u32).max(1))
}

/// A number that tells targets apart. It is the same on every machine.
pub(in crate::detect) fn mix(target: &Target) -> u64 {
    let host = bits(target.address);
    let service = u64::from(target.port.unwrap_or(0)) << 8 | u64::from(protocol_code(target.protocol));
    hash::mix_all([(host >> 64) as u64, host as u64, service])
}

/// Minutes since the epoch; they fit for eight thousand years.
fn minute(at: Timestamp) -> u32 {
    u32::try_from(at.as_nanos() / 60_000_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_policy::Protocol;

    fn target(host: u16, port: u16) -> Target {
        let [high, low] = host.to_be_bytes();
        Target { address: [20, 0, high, low].into(), protocol: Protocol::Tcp, port: Some(port) }
    }

    #[test]
    fn a_target_is_known_for_an_hour_and_its_other_ports_are_not() {
        let (mut known, start) = (Known::default(), Timestamp::from_secs(60_000));
        let later = |secs: u64| Timestamp::from_secs(60_000 + secs);
        assert!(known.is_idle(start) && !known.has(&target(1, 80), start));
        known.note(&target(1, 80), start);
        for (port, secs, expect) in [(80, 0, true), (80, 3_600, true), (80, 3_700, false), (81, 0, false)] {
            assert_eq!(known.has(&target(1, port), later(secs)), expect, "{port} after {secs} s");
        }
        assert!(!known.is_idle(later(3_600)) && known.is_idle(later(3_700)));
    }

    #[test]
    fn a_full_table_keeps_to_its_room_and_to_the_newest() {
        let (mut known, start) = (Known::default(), Timestamp::from_secs(60_000));
        for host in 0..5_000 {
            known.note(&target(host, 80), Timestamp::from_secs(60_000 + u64::from(host)));
        }
        assert_eq!(known.entries.len() * size_of::<(u32, u32)>(), Known::BYTES);
        let now = Timestamp::from_secs(65_000);
        let remembered = (0..5_000).filter(|host| known.has(&target(*host, 80), now)).count();
        assert!((200..=256).contains(&remembered), "{remembered}");
        assert!((4_900..5_000).filter(|host| known.has(&target(*host, 80), now)).count() > 90);
        assert!(!known.has(&target(9_999, 80), start));
    }
}
