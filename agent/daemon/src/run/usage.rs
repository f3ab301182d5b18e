//! The accounts: what tenants have sent and received, beyond what the engine holds of them.
//!
//! The engine counts those who are here. Who leaves the node and comes back within a month goes on where he was, and a month that
//! is over stays for some days, so that a controller that is away then still learns how it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reeve_core::detect::quota::Tally;
use reeve_policy::{Month, TenantId, Timestamp};

/// How long a month is remembered after its end.
const CLOSED_FOR: Duration = Duration::from_secs(7 * 86_400);

/// What each tenant has used in each month that still matters.
#[derive(Debug, Default)]
pub(super) struct Accounts(BTreeMap<(TenantId, Month), Tally>);

impl Accounts {
    /// Those that an earlier run left. A month that has not begun yet is a clock's mistake: it would keep what is counted from now
    /// on from ever coming to a month of its own.
    pub fn restore(left: Vec<Tally>, now: Timestamp) -> Self {
        let (good, early): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|tally| tally.usage.month <= Month::of(now));
        if !early.is_empty() {
            tracing::error!(
                tallies = early.len(), %now,
                "what was counted in months to come is let go: the clock is wrong, or was"
            );
        }
        let mut accounts = Self::default();
        accounts.take(good, now);
        accounts
    }

    /// Takes over what the engine has counted, and lets go what is long over.
    pub fn take(&mut self, tallies: Vec<Tally>, now: Timestamp) {
        self.0.extend(
            tallies.into_iter().map(|tally| ((tally.usage.tenant.clone(), tally.usage.month), tally)),
        );
        self.0.retain(|(_, month), _| now <= month.end() + CLOSED_FOR);
    }

    /// What there is of tenants, the older first.
    pub fn of(&self, tenants: &BTreeSet<&TenantId>) -> Vec<Tally> {
        let is_asked = |tally: &&Tally| tenants.contains(&tally.usage.tenant);
        self.0.values().filter(is_asked).cloned().collect()
    }

    /// All of them, by tenant and month.
    pub fn all(&self) -> Vec<Tally> {
        self.0.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use reeve_policy::Usage;

    use super::*;

    fn tally(tenant: &str, month: &str, received: u64) -> Tally {
        let usage =
            Usage { tenant: tenant.parse().unwrap(), month: month.parse().unwrap(), received, sent: 1 };
        Tally { usage, told: 0 }
    }

    #[test]
    fn who_left_is_remembered_until_the_month_is_long_over() {
        let day = |text: &str| format!("{text}T12:00:00Z").parse::<Timestamp>().unwrap();
        let left = vec![tally("a", "2026-10", 1), tally("a", "2026-11", 2), tally("b", "2026-12", 3)];
        let mut accounts = Accounts::restore(left, day("2026-11-07"));
        assert_eq!(accounts.all(), [tally("a", "2026-10", 1), tally("a", "2026-11", 2)], "no month to come");
        accounts.take(vec![tally("a", "2026-11", 5), tally("c", "2026-11", 6)], day("2026-11-09"));
        assert_eq!(accounts.all(), [tally("a", "2026-11", 5), tally("c", "2026-11", 6)]);
        accounts.take(Vec::new(), day("2026-12-07"));
        assert_eq!(accounts.of(&[&"c".parse().unwrap()].into()), [tally("c", "2026-11", 6)]);
        accounts.take(Vec::new(), day("2026-12-09"));
        assert!(accounts.all().is_empty());
    }
}
