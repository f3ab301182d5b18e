//! Brakes: how many tenants may be measured at once without a person having looked.
//!
//! A mistake, in a policy or in a detector, hits many tenants at once; abuse seldom does. So only so many tenants are newly held
//! in a minute, and only so large a share of a node's at any time. Beyond that a measure becomes a notice that says so. A
//! tenant that is held already may be held harder, and what an operator orders is not counted.
//!
//! **Until whom.** The brake by the minute only slows down, and lets go by itself. The one by the share is *set* until a person releases it
//! ([`Latch`]): so many are held only if something is wrong, and as their measures run out others would follow, slice by slice, with nobody
//! looking. Whoever releases it has looked at those who are held: as many again may be held before it is set once more.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::language::Brakes;
use crate::time::Timestamp;

/// How the reason begins where a brake softened a decision.
pub const BRAKE: &str = "brake: ";

/// The span that [`Brakes::measures_per_minute`] is about.
const MINUTE: Duration = Duration::from_secs(60);

/// How many of a node's tenants are held by decisions of policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Tenants of the node.
    pub tenants: usize,
    /// Of those, held.
    pub held: usize,
    /// Whether the one that is to be judged is among them.
    pub is_held: bool,
}

/// The brakes as they are set: nobody else is newly held until a person releases them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrakesSet {
    /// Since when.
    pub at: Timestamp,
    /// Why: how many were held.
    pub why: String,
}

impl fmt::Display for BrakesSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (since {})", self.why, self.at)
    }
}

/// What of the brakes outlasts a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Latch {
    /// Whether they are set.
    pub set: Option<BrakesSet>,
    /// How many of those who are held a person has looked at: so many do not count.
    #[serde(default)]
    pub looked_at: usize,
}

impl Latch {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// A person has looked at those who are held: as many again may be.
    pub fn release(&mut self, held: usize) {
        *self = Self { set: None, looked_at: held };
    }
}

/// When tenants were newly held, in the last minute.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Timestamp>);

impl Recent {
    /// Why nobody else is to be held at `at`, if nobody is.
    pub fn brake(
        &mut self,
        latch: &mut Latch,
        brakes: &Brakes,
        occupancy: Occupancy,
        at: Timestamp,
    ) -> Option<String> {
        // Whoever was let go since has made no room for others.
        latch.looked_at = latch.looked_at.min(occupancy.held);
        if occupancy.is_held {
            return None;
        }
        if let Some(set) = &latch.set {
            return Some(format!("{BRAKE}{set}; an operator releases them"));
        }
        while self.0.front().is_some_and(|first| at.since(*first) >= MINUTE) {
            self.0.pop_front();
        }
        if self.0.len() >= brakes.measures_per_minute as usize {
            let allowed = brakes.measures_per_minute;
            return Some(format!(
                "{BRAKE}{} tenants were held in the last minute (limit {allowed})",
                self.0.len()
            ));
        }
        if occupancy.held < allowed(brakes, occupancy.tenants).saturating_add(latch.looked_at) {
            return None;
        }
        let known = match latch.looked_at {
            0 => String::new(),
            known => format!(", beside {known} of whom a person knows"),
        };
        let why = format!(
            "{} of the node's {} tenants are held (limit {}{known})",
            occupancy.held,
            occupancy.tenants,
            allowed(brakes, occupancy.tenants)
        );
        latch.set = Some(BrakesSet { at, why: why.clone() });
        Some(format!("{BRAKE}{why}; an operator releases them"))
    }

    /// Takes note of a measure.
    pub fn held(&mut self, occupancy: Occupancy, at: Timestamp) {
        if !occupancy.is_held {
            self.0.push_back(at);
        }
    }
}

/// How many of a node's tenants may be held.
fn allowed(brakes: &Brakes, tenants: usize) -> usize {
    let share = (tenants as f64 * brakes.share_of_tenants) as usize;
    share.max(brakes.tenants_at_least as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds a tenant at each of these seconds if the brakes let it; which were held.
    fn check(brakes: Brakes, tenants: usize, is_held: bool, seconds: &[u64], expect: &[u64]) {
        let (mut recent, mut latch, mut held) = (Recent::default(), Latch::default(), Vec::new());
        for &second in seconds {
            let (at, occupancy) =
                (Timestamp::from_secs(1_000 + second), Occupancy { tenants, held: held.len(), is_held });
            if recent.brake(&mut latch, &brakes, occupancy, at).is_none() {
                recent.held(occupancy, at);
                held.push(second);
            }
        }
        assert_eq!(held, expect);
    }

    #[test]
    fn what_is_set_by_the_share_stays_until_a_person_releases_it() {
        let brakes = Brakes { measures_per_minute: 9, share_of_tenants: 0.1, tenants_at_least: 3 };
        let (mut recent, mut latch) = (Recent::default(), Latch::default());
        let mut ask = |latch: &mut Latch, held, second| {
            let occupancy = Occupancy { tenants: 20, held, is_held: false };
            recent.brake(latch, &brakes, occupancy, Timestamp::from_secs(second))
        };
        assert_eq!(ask(&mut latch, 2, 0), None);
        let why = ask(&mut latch, 3, 1).unwrap();
        assert_eq!(why, "brake: 3 of the node's 20 tenants are held (limit 3); an operator releases them");
        // Nobody is held any more; nobody has looked either.
        assert!(ask(&mut latch, 0, 100_000).unwrap().contains("(since 1970-01-01T00:00:01Z)"));
        latch.release(3);
        assert_eq!(ask(&mut latch, 3, 100_001), None);
        assert_eq!(ask(&mut latch, 5, 100_002), None);
        assert!(ask(&mut latch, 6, 100_003).is_some() && latch.set.is_some());
        latch.release(6);
        // Of those four were let go: the room is not others'.
        assert_eq!(ask(&mut latch, 2, 100_004), None);
        assert!(ask(&mut latch, 5, 100_005).is_some());
    }

    #[test]
    fn so_many_a_minute_and_so_large_a_share() {
        let brakes = Brakes { measures_per_minute: 2, share_of_tenants: 0.1, tenants_at_least: 3 };
        check(brakes, 1_000, false, &[0, 1, 2, 59, 60, 61, 62], &[0, 1, 60, 61]);
        check(brakes, 1_000, true, &[0, 1, 2, 3], &[0, 1, 2, 3]);
        check(brakes, 10, false, &[0, 100, 200, 300, 400], &[0, 100, 200]);
        check(brakes, 40, false, &[0, 100, 200, 300, 400], &[0, 100, 200, 300]);
        check(Brakes { measures_per_minute: 0, ..brakes }, 40, false, &[0, 100], &[]);
    }
}
