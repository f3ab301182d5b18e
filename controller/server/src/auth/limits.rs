//! How often whom is answered.
//!
//! Everybody has a rate of their own, so nobody takes another's. What is refused (wrong tokens) counts against the address that
//! it came from, and nothing that is right is ever refused for it: whoever shares the address is not locked out. A token is 256
//! random bits; what this saves is work and log lines, not secrets.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use reeve_policy::Name;

use super::caller::{Caller, Role, Shown};
use super::connections::home;

/// Calls a second of somebody who reads and orders; ten times as many at once.
const OF_PEOPLE: NonZeroU32 = NonZeroU32::new(200).unwrap();
/// Look-ups a second of a portal or of billing.
const OF_PORTALS: NonZeroU32 = NonZeroU32::new(50_000).unwrap();
/// Of those, acts, each of which is two lines of the record for ever; ten times as many at once.
const ACTS_OF_PORTALS: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// Calls a second of a node, which needs one stream.
const OF_NODES: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// Refusals a second of one address before they are told nothing but that.
const FAILURES: NonZeroU32 = NonZeroU32::new(5).unwrap();
const FAILURES_AT_ONCE: NonZeroU32 = NonZeroU32::new(50).unwrap();
/// From so many callers on, those who have been silent are forgotten.
const MANY: usize = 16_384;

type Key = (Shown, Role, Name);

/// The rates.
#[derive(Debug)]
pub(super) struct Limits {
    people: DefaultKeyedRateLimiter<Key>,
    portals: DefaultKeyedRateLimiter<Key>,
    acts: DefaultKeyedRateLimiter<Key>,
    nodes: DefaultKeyedRateLimiter<Key>,
    /// By 16 bits of a keyed hash of the address: at most so many entries, whoever comes. Two addresses that share one share no
    /// more than how soon their wrong tokens are answered curtly.
    failures: DefaultKeyedRateLimiter<u16>,
    hasher: RandomState,
}

impl Default for Limits {
    fn default() -> Self {
        let of = |rate: NonZeroU32| {
            RateLimiter::keyed(Quota::per_second(rate).allow_burst(rate.saturating_mul(TEN)))
        };
        Self {
            people: of(OF_PEOPLE),
            portals: of(OF_PORTALS),
            acts: of(ACTS_OF_PORTALS),
            nodes: of(OF_NODES),
            failures: RateLimiter::keyed(Quota::per_second(FAILURES).allow_burst(FAILURES_AT_ONCE)),
            hasher: RandomState::new(),
        }
    }
}

const TEN: NonZeroU32 = NonZeroU32::new(10).unwrap();

impl Limits {
    /// Whether a caller is answered now, who asks for an act or looks something up.
    pub fn take(&self, caller: &Caller, is_act: bool) -> bool {
        let limiter = match caller.role {
            // Strangers may enrol, and pay for what fails.
            Role::Stranger => return true,
            Role::Node => &self.nodes,
            Role::Status | Role::Billing if is_act => &self.acts,
            Role::Status | Role::Billing => &self.portals,
            Role::Viewer | Role::Operator | Role::Admin => &self.people,
        };
        if limiter.len() > MANY {
            limiter.retain_recent();
        }
        limiter.check_key(&(caller.shown, caller.role, caller.name.clone())).is_ok()
    }

    /// Takes note of a refusal; whether there were too many from there.
    pub fn fail(&self, from: Option<IpAddr>) -> bool {
        let Some(from) = from else { return false };
        let key = self.hasher.hash_one(home(from)) & u64::from(u16::MAX);
        self.failures.check_key(&u16::try_from(key).unwrap_or_default()).is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str) -> Caller {
        Caller {
            shown: Shown::Token,
            role: Role::Operator,
            name: name.parse().unwrap(),
            owner: None,
            from: None,
            began: None,
        }
    }

    #[test]
    fn nobody_takes_anothers_rate() {
        let limits = Limits::default();
        let answered = (0..10_000).filter(|_| limits.take(&caller("greedy"), false)).count();
        assert!((2_000..9_000).contains(&answered), "{answered}");
        assert!(limits.take(&caller("other"), false));
    }

    #[test]
    fn refusals_are_counted_by_address_in_bounded_memory() {
        let limits = Limits::default();
        let from = |number: u32| Some(IpAddr::from(std::net::Ipv4Addr::from_bits(number)));
        let curt = (0..100).filter(|_| limits.fail(from(1))).count();
        assert!((45..=50).contains(&curt), "{curt}");
        (0..200_000).for_each(|number| _ = limits.fail(from(number)));
        assert!(limits.failures.len() <= 65_536);
    }
}
