//! Brakes: how many tenants may be measured at once without a person having looked.
//!
//! A mistake, in a policy or in a detector, hits many tenants at once; abuse seldom does. So only so many tenants are newly held
//! in a minute, and only so large a share of a node's at any time. Beyond that a measure becomes a notice that says so. A
//! tenant that is held already may be held harder, and what an operator orders is not counted.

use std::collections::VecDeque;
use std::time::Duration;

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

/// When tenants were newly held, in the last minute.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Timestamp>);

impl Recent {
    /// Why nobody else is to be held at `at`, if nobody is.
    pub fn brake(&mut self, brakes: &Brakes, occupancy: Occupancy, at: Timestamp) -> Option<String> {
        if occupancy.is_held {
            return None;
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
        let share = (occupancy.tenants as f64 * brakes.share_of_tenants) as usize;
        let allowed = share.max(brakes.tenants_at_least as usize);
        (occupancy.held >= allowed).then(|| {
            format!(
                "{BRAKE}{} of the node's {} tenants are held (limit {allowed})",
                occupancy.held, occupancy.tenants
            )
        })
    }

    /// Takes note of a measure.
    pub fn held(&mut self, occupancy: Occupancy, at: Timestamp) {
        if !occupancy.is_held {
            self.0.push_back(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds a tenant at each of these seconds if the brakes let it; which were held.
    fn check(brakes: Brakes, tenants: usize, is_held: bool, seconds: &[u64], expect: &[u64]) {
        let (mut recent, mut held) = (Recent::default(), Vec::new());
        for &second in seconds {
            let (at, occupancy) =
                (Timestamp::from_secs(1_000 + second), Occupancy { tenants, held: held.len(), is_held });
            if recent.brake(&brakes, occupancy, at).is_none() {
                recent.held(occupancy, at);
                held.push(second);
            }
        }
        assert_eq!(held, expect);
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
