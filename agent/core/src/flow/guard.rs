//! When silence says something about the network rather than about the tenant.
//!
//! *Degraded*: an upstream outage turns every tenant's traffic into unanswered attempts. When answers to
//! [`COLLAPSED_TENANTS`] tenants, each of which was being answered a moment ago, stop together, silence is no
//! evidence until one of them is answered again. In an outage what answered before falls silent too, resolvers first of all, and
//! fewer are answered than are not (some speak with hosts on this side of it): tenants who only try what is new to them, or while
//! most others are answered, do not make one.
//!
//! *One-way*: a vantage that sees what tenants send and never anything that comes back (asymmetric routing, a
//! mirror of one direction) cannot tell outcomes; after [`ONE_WAY_AFTER`] of that, silence there is none either.

use std::time::Duration;

use reeve_policy::{Outcome, Timestamp};

/// This many tenants must lose their answers together.
pub const COLLAPSED_TENANTS: usize = 3;

/// A tenant that had at least this many answers in the last minute is one that answers can collapse for.
const ANSWERS_BEFORE: u32 = 5;

/// At least this many attempts in a row without an answer make a collapse.
const SILENT_IN_A_ROW: u32 = 3;

/// A collapse older than this is no part of the same outage.
const TOGETHER: Duration = Duration::from_secs(10);

/// How long a vantage must have been one-way before that is said.
pub const ONE_WAY_AFTER: Duration = Duration::from_secs(60);

/// A tenant that was answered less than this ago has its way out. An attempt is silent after three seconds, so the last answers are
/// older than that when an outage is first seen.
const JUST_NOW: Duration = Duration::from_secs(2);

/// How long answers are remembered.
const MEMORY: Duration = Duration::from_secs(60);

/// How one tenant's attempts have been faring.
#[derive(Clone, Copy, Debug, Default)]
struct Fortune {
    answers: u32,
    answers_since: Timestamp,
    last_answer: Timestamp,
    silent_in_a_row: u32,
    last_silent: Timestamp,
    /// Whether something that answered before was among those.
    has_lost_a_friend: bool,
}

/// Watches outcomes over all tenants of a shard for the signature of an outage.
#[derive(Debug, Default)]
pub struct OutageGuard {
    fortunes: Vec<Fortune>,
    degraded: bool,
}

impl OutageGuard {
    /// For `tenants` tenants.
    #[must_use]
    pub fn new(tenants: usize) -> Self {
        Self { fortunes: vec![Fortune::default(); tenants], ..Self::default() }
    }

    /// Watches `tenants` tenants from now on.
    pub fn set_tenants(&mut self, tenants: usize) {
        self.fortunes.resize(tenants, Fortune::default());
    }

    /// Whether answers have collapsed.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// Takes note of an outcome; `true` if that changed whether the node is degraded. `is_friend` says whether the target had answered
    /// that tenant before.
    pub fn observe(&mut self, tenant: usize, (outcome, is_friend): (Outcome, bool), at: Timestamp) -> bool {
        let Some(fortune) = self.fortunes.get_mut(tenant) else { return false };
        match outcome {
            Outcome::Answered | Outcome::Productive | Outcome::Refused => {
                if at.since(fortune.answers_since) > MEMORY {
                    (fortune.answers, fortune.answers_since) = (0, at);
                }
                fortune.answers = fortune.answers.saturating_add(1);
                let is_back = fortune.has_collapsed(at);
                (fortune.silent_in_a_row, fortune.has_lost_a_friend) = (0, false);
                fortune.last_answer = at;
                let is_over = self.degraded && (is_back || !self.is_outage(at));
                self.degraded &= !is_over;
                is_over
            }
            Outcome::Silent | Outcome::Unknown => {
                fortune.silent_in_a_row = fortune.silent_in_a_row.saturating_add(1);
                fortune.last_silent = at;
                fortune.has_lost_a_friend |= is_friend;
                if self.degraded || !fortune.has_collapsed(at) {
                    return false;
                }
                self.degraded = self.is_outage(at);
                self.degraded
            }
            Outcome::Aborted | Outcome::Empty => false,
        }
    }

    fn is_outage(&self, at: Timestamp) -> bool {
        let collapsed = self.fortunes.iter().filter(|fortune| fortune.has_collapsed(at)).count();
        let answered = |fortune: &&Fortune| fortune.answers > 0 && !at.is_past(fortune.last_answer, JUST_NOW);
        collapsed >= COLLAPSED_TENANTS && collapsed > self.fortunes.iter().filter(answered).count()
    }
}

impl Fortune {
    /// Whether the tenant was being answered a moment ago, and is not now.
    fn has_collapsed(&self, at: Timestamp) -> bool {
        self.silent_in_a_row >= SILENT_IN_A_ROW
            && self.has_lost_a_friend
            && self.answers >= ANSWERS_BEFORE
            && at.since(self.answers_since) <= 2 * MEMORY
            && at.since(self.last_silent) <= TOGETHER
    }
}

/// Watches one vantage for traffic in one direction only.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneWayGuard {
    first_sent: Option<Timestamp>,
    received: bool,
}

impl OneWayGuard {
    /// A packet that a tenant sent was seen.
    pub fn sent(&mut self, at: Timestamp) {
        self.first_sent.get_or_insert(at);
    }

    /// A packet to a tenant was seen.
    pub fn received(&mut self) {
        self.received = true;
    }

    /// Whether only one direction has been seen for long enough to say so.
    #[must_use]
    pub fn is_one_way(&self, now: Timestamp) -> bool {
        !self.received && self.first_sent.is_some_and(|first| now.is_past(first, ONE_WAY_AFTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_000 + secs)
    }

    /// Plays (tenant, outcome, times) at second `secs`, at targets that answered before, and tells whether the node is degraded afterwards.
    fn check(script: &[(usize, Outcome, u32, u64)], expect: bool) {
        check_targets(script, true, expect);
    }

    fn check_targets(script: &[(usize, Outcome, u32, u64)], are_friends: bool, expect: bool) {
        let mut guard = OutageGuard::new(6);
        for &(tenant, outcome, times, secs) in script {
            for _ in 0..times {
                guard.observe(tenant, (outcome, are_friends), at(secs));
            }
        }
        assert_eq!(guard.is_degraded(), expect);
    }

    #[test]
    fn three_tenants_that_lose_their_answers_are_an_outage() {
        use Outcome::{Answered, Silent};
        let before = [(0, Answered, 9, 0), (1, Answered, 9, 0), (2, Answered, 9, 0)];
        let all = [before.as_slice(), &[(0, Silent, 3, 5), (1, Silent, 3, 6), (2, Silent, 3, 7)]].concat();
        check(&all, true);
        check(&[all.as_slice(), &[(1, Answered, 1, 9)]].concat(), false);
        // Three who are answered and then scan, though nothing that they knew is gone; and while as many others are answered.
        check_targets(&all, false, false);
        let others = [(3, Answered, 1, 6), (4, Answered, 1, 6), (5, Answered, 1, 6)];
        check(&[&all[..5], &others, &[(2, Silent, 3, 7)]].concat(), false);
        // One has somebody to speak with on this side of the break, and goes on to.
        check(&[all.as_slice(), &others[..1]].concat(), true);
        check(&[&all[..5], &others[..1], &[(2, Silent, 3, 7)]].concat(), true);
        // Two are not enough, nor three that were never answered, nor three at different times.
        check(&all[..5], false);
        check(&[(0, Silent, 9, 5), (1, Silent, 9, 5), (2, Silent, 9, 5)], false);
        check(
            &[before.as_slice(), &[(0, Silent, 3, 5), (1, Silent, 3, 6), (2, Silent, 3, 40)]].concat(),
            false,
        );
    }

    #[test]
    fn a_vantage_that_never_hears_back_is_one_way_after_a_minute() {
        let mut guard = OneWayGuard::default();
        assert!(!guard.is_one_way(at(500)));
        guard.sent(at(0));
        assert!(!guard.is_one_way(at(59)));
        assert!(guard.is_one_way(at(60)));
        guard.received();
        assert!(!guard.is_one_way(at(500)));
    }
}
