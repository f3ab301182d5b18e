//! Re-checks: whose mail server is asked again, because something stands against it that a check may end or must decide.
//!
//! Watched is a tenant that a measure of a rule on open relays holds, or one that such a rule has warned ([`reeve_policy::judge::Warning`]). It is
//! asked every `recheck` of the policy's, and when its warning's deadline comes, whatever the hour. The node asks [`NODE_PER_HOUR`] times an
//! hour for this, apart from what it asks about suspicions; who finds no room, or was put off, is asked after [`AGAIN`].
//!
//! What an answer leads to is the engine's part: a refusal lifts what stands `until = "verified"`, an acceptance has the next step taken when
//! the warning's time is over, and everything else leaves it as it is.
//!
//! Left out: nothing of this is kept over a restart. What stands is known from the ledger and the judge, and is asked about soon after.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::{TenantId, Timestamp};

use super::checks::TENANTS_MAX;

/// A node asks again so many times an hour at most.
const NODE_PER_HOUR: usize = 120;
const HOUR: Duration = Duration::from_secs(3_600);
/// Who could not be asked, or asked for patience, is asked after this, if not sooner.
const AGAIN: Duration = Duration::from_secs(900);
/// An operator has a tenant asked so often at most.
const BY_HAND: Duration = Duration::from_secs(20);

/// A tenant that is asked again.
#[derive(Debug)]
struct Watched {
    server: Option<IpAddr>,
    /// When it is asked next.
    next: Timestamp,
    /// When its warning is over, until it was asked then.
    deadline: Option<Timestamp>,
}

/// Why a tenant is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// Since when.
    pub since: Timestamp,
    /// When its warning is over, if it is one.
    pub deadline: Option<Timestamp>,
}

/// The tenants that are asked again.
#[derive(Debug, Default)]
pub(super) struct Rechecks {
    watched: BTreeMap<TenantId, Watched>,
    asked: VecDeque<Timestamp>,
    /// When an operator last had somebody asked.
    by_hand: BTreeMap<TenantId, Timestamp>,
}

impl Rechecks {
    /// Watches a tenant, every `every`, for as long as there is a cause.
    pub fn watch(
        &mut self,
        tenant: &TenantId,
        cause: Option<Cause>,
        server: Option<IpAddr>,
        every: Duration,
        now: Timestamp,
    ) {
        let Some(cause) = cause else {
            self.watched.remove(tenant);
            return;
        };
        if let Some(watched) = self.watched.get_mut(tenant) {
            watched.server = server.or(watched.server);
            // One that is over already was asked about, or is about to be.
            if cause.deadline.is_none_or(|deadline| deadline > now) {
                watched.deadline = cause.deadline;
            }
            watched.next = watched.deadline.map_or(watched.next, |deadline| watched.next.min(deadline));
        } else if self.watched.len() < TENANTS_MAX {
            let regular = (cause.since + every).max(now);
            let next = cause.deadline.map_or(regular, |deadline| regular.min(deadline.max(now)));
            self.watched.insert(tenant.clone(), Watched { server, next, deadline: cause.deadline });
        }
    }

    /// Those who are watched.
    pub fn tenants(&self) -> Vec<TenantId> {
        self.watched.keys().cloned().collect()
    }

    /// When [`Rechecks::due`] next has something to tell.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.watched.values().map(|watched| watched.next).min()
    }

    /// Whom to ask at `now`. Who may not be asked by then (`may_be`: somebody has paused, the tenant is not here) is looked at again later.
    pub fn due(
        &mut self,
        now: Timestamp,
        every: Duration,
        may_be: impl Fn(&TenantId) -> bool,
    ) -> Vec<(TenantId, IpAddr)> {
        let mut due = Vec::new();
        for (tenant, watched) in &mut self.watched {
            if watched.next > now {
                continue;
            }
            let server = watched.server.filter(|_| may_be(tenant));
            let Some(server) = server.filter(|_| has_room(&mut self.asked, now)) else {
                watched.next = now + AGAIN.min(every);
                continue;
            };
            self.asked.push_back(now);
            watched.deadline = watched.deadline.filter(|deadline| *deadline > now);
            let regular = now + every;
            watched.next = watched.deadline.map_or(regular, |deadline| regular.min(deadline));
            due.push((tenant.clone(), server));
        }
        due
    }

    /// A tenant that was asked was put off, or was not asked after all.
    pub fn put_off(&mut self, tenant: &TenantId, every: Duration, now: Timestamp) {
        if let Some(watched) = self.watched.get_mut(tenant) {
            watched.next = watched.next.min(now + AGAIN.min(every));
        }
    }

    /// Whether an operator may have a tenant asked at `now`.
    pub fn may_by_hand(&self, tenant: &TenantId, now: Timestamp) -> bool {
        self.by_hand.get(tenant).is_none_or(|asked| now.is_past(*asked, BY_HAND))
    }

    /// Takes note that an operator had a tenant asked.
    pub fn by_hand(&mut self, tenant: &TenantId, now: Timestamp) {
        self.by_hand.retain(|_, asked| !now.is_past(*asked, BY_HAND));
        if self.by_hand.len() < TENANTS_MAX {
            self.by_hand.insert(tenant.clone(), now);
        }
    }
}

/// Whether the node may ask once more.
fn has_room(asked: &mut VecDeque<Timestamp>, now: Timestamp) -> bool {
    while asked.front().is_some_and(|asked| now.is_past(*asked, HOUR)) {
        asked.pop_front();
    }
    asked.len() < NODE_PER_HOUR
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 10));
    const EVERY: Duration = Duration::from_secs(1_800);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(100_000 + seconds)
    }

    fn alice() -> TenantId {
        "alice".parse().unwrap()
    }

    /// When alice is asked within `seconds`, looked at every second.
    fn asked(rechecks: &mut Rechecks, seconds: std::ops::RangeInclusive<u64>) -> Vec<u64> {
        seconds.filter(|second| !rechecks.due(at(*second), EVERY, |_| true).is_empty()).collect()
    }

    #[test]
    fn a_measure_is_asked_about_again_and_again_until_it_is_gone() {
        let mut rechecks = Rechecks::default();
        let cause = Cause { since: at(0), deadline: None };
        rechecks.watch(&alice(), Some(cause), Some(SERVER), EVERY, at(0));
        assert_eq!(asked(&mut rechecks, 0..=6_000), [1_800, 3_600, 5_400]);
        rechecks.watch(&alice(), None, None, EVERY, at(6_000));
        assert_eq!((asked(&mut rechecks, 6_000..=9_000), rechecks.next_deadline()), (vec![], None));
    }

    #[test]
    fn a_warning_is_asked_about_at_its_deadline_at_latest() {
        let mut rechecks = Rechecks::default();
        let cause = |deadline| Some(Cause { since: at(0), deadline: Some(at(deadline)) });
        rechecks.watch(&alice(), cause(600), Some(SERVER), EVERY, at(0));
        assert_eq!(asked(&mut rechecks, 0..=3_000), [600, 2_400]);
        let mut rechecks = Rechecks::default();
        rechecks.watch(&alice(), cause(4_000), Some(SERVER), EVERY, at(0));
        // It is told again and again of the same.
        rechecks.watch(&alice(), cause(4_000), None, EVERY, at(100));
        assert_eq!(asked(&mut rechecks, 101..=5_000), [1_800, 3_600, 4_000]);
    }

    #[test]
    fn who_stood_there_before_a_restart_is_asked_soon_after_it() {
        let mut rechecks = Rechecks::default();
        let cause = Cause { since: at(0), deadline: Some(at(500)) };
        rechecks.watch(&alice(), Some(cause), Some(SERVER), EVERY, at(50_000));
        assert_eq!(asked(&mut rechecks, 50_000..=51_000), [50_000]);
    }

    #[test]
    fn who_is_put_off_is_asked_earlier_and_nobody_who_may_not_be() {
        let mut rechecks = Rechecks::default();
        let cause = Cause { since: at(0), deadline: None };
        rechecks.watch(&alice(), Some(cause), Some(SERVER), EVERY, at(0));
        assert_eq!(asked(&mut rechecks, 0..=1_800), [1_800]);
        rechecks.put_off(&alice(), EVERY, at(1_810));
        assert_eq!(asked(&mut rechecks, 1_811..=3_000), [2_710]);
        assert!(rechecks.due(at(4_510), EVERY, |_| false).is_empty());
        assert_eq!(asked(&mut rechecks, 4_511..=5_500), [5_410]);
    }

    #[test]
    fn nobody_is_asked_whose_server_is_not_known_and_a_node_asks_so_often() {
        let mut rechecks = Rechecks::default();
        let cause = Cause { since: at(0), deadline: None };
        rechecks.watch(&alice(), Some(cause), None, EVERY, at(0));
        assert!(asked(&mut rechecks, 0..=2_000).is_empty());
        for number in 0..1_000 {
            let tenant = format!("t{number}").parse().unwrap();
            rechecks.watch(&tenant, Some(cause), Some(SERVER), EVERY, at(0));
        }
        assert_eq!(rechecks.watched.len(), TENANTS_MAX);
        assert_eq!(rechecks.due(at(1_800), EVERY, |_| true).len(), NODE_PER_HOUR);
        assert!(rechecks.due(at(3_000), EVERY, |_| true).is_empty());
    }

    #[test]
    fn an_operator_has_it_asked_so_often() {
        let mut rechecks = Rechecks::default();
        assert!(rechecks.may_by_hand(&alice(), at(0)));
        rechecks.by_hand(&alice(), at(0));
        assert!(!rechecks.may_by_hand(&alice(), at(19)) && rechecks.may_by_hand(&alice(), at(20)));
        assert!(rechecks.may_by_hand(&"bob".parse().unwrap(), at(1)));
    }
}
