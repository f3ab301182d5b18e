//! What follows tenants from node to node, as nodes are told it.
//!
//! Each node is told what the others saw of a tenant. Episodes of one rule that overlap in time are one strike, whoever saw
//! them. What a node let go by itself is not told to it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reeve_policy::{Decision, Name, NodeId, StrikeElsewhere, Tenant, TenantId, TenantStanding, Timestamp};

use super::Map;

/// An episode that is held against a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strike {
    /// Who saw it.
    pub node: NodeId,
    /// Under which rule.
    pub rule: Name,
    /// Since when.
    pub opened: Timestamp,
    /// Until when; `None` while it is open.
    pub closed: Option<Timestamp>,
    /// Which strike it was on that node.
    pub number: u32,
}

/// What follows one tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// What is held against it, oldest first.
    pub strikes: Vec<Strike>,
    /// The decisions by policy that are in force somewhere, or were where it has left, newest first; and the nodes that let them go.
    pub decisions: Vec<(Decision, BTreeSet<NodeId>)>,
}

impl Record {
    /// Whether nothing follows it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.strikes.is_empty() && self.decisions.is_empty()
    }

    /// What a node is told of it at `now`. Measures follow a tenant to where its ports, users and control groups are. One that is known by
    /// addresses alone is held where it was seen: whoever forges its addresses before one node is to have it cut off there at most.
    #[must_use]
    pub fn told(&self, tenant: &Tenant, node: &NodeId, now: Timestamp) -> TenantStanding {
        let is_in_force =
            |decision: &Decision| decision.until.expiry(decision.at).is_none_or(|end| now < end);
        let all = self.decisions.iter().filter(|_| tenant.is_placed());
        let decisions = all.filter(|(decision, gone)| is_in_force(decision) && !gone.contains(node));
        TenantStanding {
            tenant: tenant.id.clone(),
            strikes: self.elsewhere(node),
            decisions: decisions
                .map(|(decision, _)| decision.clone())
                .take(TenantStanding::MAX_DECISIONS)
                .collect(),
        }
    }

    /// What others than `node` saw first.
    fn elsewhere(&self, node: &NodeId) -> Vec<StrikeElsewhere> {
        let mut by_rule: BTreeMap<&Name, Vec<(&NodeId, StrikeElsewhere)>> = BTreeMap::new();
        for strike in &self.strikes {
            let merged = by_rule.entry(&strike.rule).or_default();
            if let Some((_, last)) = merged.last_mut().filter(|(_, last)| last.covers(strike.opened)) {
                last.closed = last.closed.zip(strike.closed).map(|(one, other)| one.max(other));
                last.number = last.number.max(strike.number);
                continue;
            }
            let Strike { rule, opened, closed, number, .. } = strike.clone();
            merged.push((&strike.node, StrikeElsewhere { rule, opened, closed, number }));
        }
        let all = by_rule.into_values().flat_map(|merged| {
            let others: Vec<_> = merged.into_iter().filter(|(first, _)| *first != node).collect();
            let skipped = others.len().saturating_sub(reeve_policy::judge::MAX_STRIKES);
            others.into_iter().skip(skipped).map(|(_, strike)| strike)
        });
        all.take(TenantStanding::MAX_STRIKES).collect()
    }
}

/// What follows all tenants, with the order in which it changed. A clone shares what is the same in both.
#[derive(Clone, Debug, Default)]
pub struct Records {
    last: u64,
    by_tenant: Map<TenantId, (u64, Arc<Record>)>,
    by_change: imbl::OrdMap<u64, TenantId>,
}

impl Records {
    /// The number of the last change; it only grows.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// What follows one tenant.
    #[must_use]
    pub fn get(&self, tenant: &TenantId) -> Option<&Arc<Record>> {
        self.by_tenant.get(tenant).map(|(_, record)| record)
    }

    /// Takes what follows a tenant now. One that nothing follows any more is told so as long as the controller runs.
    pub fn set(&mut self, tenant: TenantId, record: Record) {
        self.last += 1;
        self.by_change.insert(self.last, tenant.clone());
        if let Some((before, _)) = self.by_tenant.insert(tenant, (self.last, Arc::new(record))) {
            self.by_change.remove(&before);
        }
    }

    /// What is there `now`, numbered on from here: whoever was told up to a number is told what has become different.
    #[must_use]
    pub fn renewed(&self, now: &Self) -> Self {
        let mut next = self.clone();
        for (tenant, (_, record)) in &now.by_tenant {
            if self.get(tenant).is_none_or(|before| before != record) {
                next.set(tenant.clone(), Record::clone(record));
            }
        }
        for tenant in self.by_tenant.keys().filter(|tenant| now.get(tenant).is_none()) {
            next.set(tenant.clone(), Record::default());
        }
        next
    }

    /// What changed after change number `after`, oldest first.
    pub fn since(&self, after: u64) -> impl Iterator<Item = (&TenantId, &Arc<Record>)> {
        let changed = self.by_change.range(after + 1..).map(|(_, tenant)| tenant);
        changed.filter_map(|tenant| Some((tenant, self.get(tenant)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strike(node: &str, rule: &str, opened: u64, closed: Option<u64>, number: u32) -> Strike {
        Strike {
            node: node.parse().unwrap(),
            rule: rule.parse().unwrap(),
            opened: Timestamp::from_secs(opened),
            closed: closed.map(Timestamp::from_secs),
            number,
        }
    }

    /// What `node` is told: rule, opened, closed and number of each strike.
    fn check(strikes: Vec<Strike>, node: &str, expected: &[(&str, u64, Option<u64>, u32)]) {
        let record = Record { strikes, decisions: Vec::new() };
        let tenant = Tenant::new("t".parse().unwrap());
        let told = record.told(&tenant, &node.parse().unwrap(), Timestamp::from_secs(1_000));
        let secs = |at: Timestamp| at.as_nanos() / 1_000_000_000;
        let told: Vec<_> = told
            .strikes
            .iter()
            .map(|one| (one.rule.as_str(), secs(one.opened), one.closed.map(secs), one.number))
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_read_anew_is_numbered_on() {
        let record =
            |opened| Record { strikes: vec![strike("a", "scan", opened, None, 1)], decisions: Vec::new() };
        let (mut before, mut now) = (Records::default(), Records::default());
        for (tenant, opened) in [("same", 1), ("other", 2), ("gone", 3)] {
            before.set(tenant.parse().unwrap(), record(opened));
        }
        for (tenant, opened) in [("same", 1), ("other", 20), ("new", 4)] {
            now.set(tenant.parse().unwrap(), record(opened));
        }
        let next = before.renewed(&now);
        let mut told: Vec<_> = next
            .since(before.last())
            .map(|(tenant, record)| (tenant.as_str(), record.strikes.first().map(|strike| strike.opened)))
            .collect();
        told.sort();
        let at = |secs| Some(Timestamp::from_secs(secs));
        assert_eq!(told, [("gone", None), ("new", at(4)), ("other", at(20))]);
        assert_eq!(next.last(), before.last() + 3);
    }

    #[test]
    fn each_node_is_told_what_the_others_saw() {
        let all = vec![
            strike("a", "scan", 10, Some(20), 1),
            strike("b", "scan", 30, None, 2),
            strike("a", "spam", 35, None, 1),
        ];
        check(all.clone(), "a", &[("scan", 30, None, 2)]);
        check(all.clone(), "b", &[("scan", 10, Some(20), 1), ("spam", 35, None, 1)]);
        check(all, "c", &[("scan", 10, Some(20), 1), ("scan", 30, None, 2), ("spam", 35, None, 1)]);
    }

    #[test]
    fn episodes_that_overlap_are_one_strike_of_whoever_saw_it_first() {
        let all = vec![
            strike("a", "scan", 10, Some(20), 1),
            strike("b", "scan", 15, Some(40), 1),
            strike("c", "scan", 40, Some(50), 1),
            strike("a", "scan", 60, Some(70), 2),
        ];
        check(all.clone(), "a", &[]);
        check(all.clone(), "b", &[("scan", 10, Some(50), 1), ("scan", 60, Some(70), 2)]);
        check(all, "c", &[("scan", 10, Some(50), 1), ("scan", 60, Some(70), 2)]);
        let open = vec![strike("a", "scan", 10, None, 1), strike("b", "scan", 15, Some(40), 1)];
        check(open, "b", &[("scan", 10, None, 1)]);
    }

    #[test]
    fn only_what_changed_is_told_again() {
        let mut records = Records::default();
        let (a, b): (TenantId, TenantId) = ("a".parse().unwrap(), "b".parse().unwrap());
        records.set(a.clone(), Record::default());
        records.set(b.clone(), Record::default());
        let seen = records.last();
        records
            .set(a.clone(), Record { strikes: vec![strike("n", "scan", 1, None, 1)], decisions: Vec::new() });
        assert_eq!(records.since(seen).map(|(tenant, _)| tenant).collect::<Vec<_>>(), [&a]);
        assert_eq!(records.since(0).map(|(tenant, _)| tenant).collect::<Vec<_>>(), [&b, &a]);
        assert_eq!(records.since(records.last()).count(), 0);
    }
}
