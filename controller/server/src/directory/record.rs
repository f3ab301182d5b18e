//! What follows tenants from node to node, as nodes are told it.
//!
//! Each node is told what the others saw of a tenant. Episodes of one rule that overlap in time are one strike, whoever saw
//! them. What a node let go by itself is not told to it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reeve_policy::{Decision, Name, NodeId, StrikeElsewhere, Tenant, TenantId, TenantStanding, Timestamp};

use super::{Map, Tenants};

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

    /// How many strikes count by rule: episodes that overlap are one, whoever saw them.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&Name, usize> {
        self.merged().into_iter().map(|(rule, merged)| (rule, merged.len())).collect()
    }

    /// What others than `node` saw first.
    fn elsewhere(&self, node: &NodeId) -> Vec<StrikeElsewhere> {
        let all = self.merged().into_values().flat_map(|merged| {
            let others: Vec<_> = merged.into_iter().filter(|(first, _)| *first != node).collect();
            let skipped = others.len().saturating_sub(reeve_policy::judge::MAX_STRIKES);
            others.into_iter().skip(skipped).map(|(_, strike)| strike)
        });
        all.take(TenantStanding::MAX_STRIKES).collect()
    }

    /// The strikes by rule, each with the node that saw it first.
    fn merged(&self) -> BTreeMap<&Name, Vec<(&NodeId, StrikeElsewhere)>> {
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
        by_rule
    }
}

/// What follows all tenants, with the order in which it changed. A clone shares what is the same in both.
#[derive(Clone, Debug, Default)]
pub struct Records {
    last: u64,
    by_tenant: Map<TenantId, (u64, Arc<Record>)>,
    /// The tenants that may be on any node, by their last change.
    anywhere: imbl::OrdMap<u64, TenantId>,
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

    /// Takes what follows a tenant now, of which `tenants` say where it may be. One that nothing follows any more is told so as long as
    /// the controller runs.
    pub fn set(&mut self, tenants: &Tenants, id: TenantId, record: Record) {
        self.last += 1;
        if tenants.by_id(&id).is_some_and(|tenant| tenant.nodes().is_none()) {
            self.anywhere.insert(self.last, id.clone());
        }
        if let Some((before, _)) = self.by_tenant.insert(id, (self.last, Arc::new(record))) {
            self.anywhere.remove(&before);
        }
    }

    /// A tenant is another now, and may be elsewhere: who is there is told what follows it, as if that were new.
    pub fn place_anew(&mut self, tenants: &Tenants, id: &TenantId) {
        if let Some(record) = self.get(id).cloned() {
            self.set(tenants, id.clone(), Arc::unwrap_or_clone(record));
        }
    }

    /// The same for all tenants.
    pub fn place_all_anew(&mut self, tenants: &Tenants) {
        let all: Vec<TenantId> = self.by_tenant.keys().cloned().collect();
        all.iter().for_each(|id| self.place_anew(tenants, id));
    }

    /// What is there `now`, numbered on from here: whoever was told up to a number is told what has become different.
    #[must_use]
    pub fn renewed(&self, tenants: &Tenants, now: &Self) -> Self {
        let mut next = self.clone();
        for (tenant, (_, record)) in &now.by_tenant {
            if self.get(tenant).is_none_or(|before| before != record) {
                next.set(tenants, tenant.clone(), Record::clone(record));
            }
        }
        for tenant in self.by_tenant.keys().filter(|tenant| now.get(tenant).is_none()) {
            next.set(tenants, tenant.clone(), Record::default());
        }
        next
    }

    /// What changed after change number `after` of the tenants that may be on a node. It costs what is on the node, and what changed of
    /// those that may be anywhere, however many others there are.
    pub fn since<'a>(
        &'a self,
        after: u64,
        tenants: &'a Tenants,
        node: &'a NodeId,
    ) -> impl Iterator<Item = (&'a Arc<Tenant>, &'a Arc<Record>)> {
        let placed = tenants.placed_on(node).filter_map(move |tenant| {
            let (changed, record) = self.by_tenant.get(&tenant.id)?;
            (*changed > after).then_some((tenant, record))
        });
        let anywhere =
            self.anywhere.range(after + 1..).filter_map(|(_, id)| Some((tenants.by_id(id)?, self.get(id)?)));
        placed.chain(anywhere)
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

    /// Some that are anywhere, and one that is on n1.
    fn people() -> Tenants {
        let mut all: Vec<Tenant> =
            ["same", "other", "gone", "new", "a", "b"].map(|id| Tenant::new(id.parse().unwrap())).into();
        all[5].interfaces.push("n1/tap0".parse().unwrap());
        Tenants::new(1, all)
    }

    fn told(records: &Records, people: &Tenants, after: u64, node: &str) -> Vec<(String, Record)> {
        let node = node.parse().unwrap();
        let told = records.since(after, people, &node);
        let mut told: Vec<_> =
            told.map(|(tenant, record)| (tenant.id.to_string(), Record::clone(record))).collect();
        told.sort_by(|(one, _), (other, _)| one.cmp(other));
        told
    }

    #[test]
    fn what_is_read_anew_is_numbered_on() {
        let people = people();
        let record =
            |opened| Record { strikes: vec![strike("a", "scan", opened, None, 1)], decisions: Vec::new() };
        let (mut before, mut now) = (Records::default(), Records::default());
        for (tenant, opened) in [("same", 1), ("other", 2), ("gone", 3)] {
            before.set(&people, tenant.parse().unwrap(), record(opened));
        }
        for (tenant, opened) in [("same", 1), ("other", 20), ("new", 4)] {
            now.set(&people, tenant.parse().unwrap(), record(opened));
        }
        let next = before.renewed(&people, &now);
        let told = told(&next, &people, before.last(), "n1");
        let expected = [("gone", Record::default()), ("new", record(4)), ("other", record(20))];
        assert_eq!(told, expected.map(|(tenant, record)| (tenant.to_owned(), record)));
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
    fn only_what_changed_is_told_again_and_only_where_the_tenant_may_be() {
        let people = people();
        let names = |records: &Records, people: &Tenants, after: u64, node: &str| -> Vec<String> {
            told(records, people, after, node).into_iter().map(|(tenant, _)| tenant).collect()
        };
        let mut records = Records::default();
        let (a, b): (TenantId, TenantId) = ("a".parse().unwrap(), "b".parse().unwrap());
        records.set(&people, a.clone(), Record::default());
        records.set(&people, b.clone(), Record::default());
        let seen = records.last();
        let struck = Record { strikes: vec![strike("n", "scan", 1, None, 1)], decisions: Vec::new() };
        records.set(&people, a.clone(), struck);
        assert_eq!(names(&records, &people, seen, "n1"), ["a"]);
        assert_eq!(names(&records, &people, 0, "n1"), ["a", "b"]);
        assert_eq!(names(&records, &people, 0, "n2"), ["a"]);
        assert!(names(&records, &people, records.last(), "n1").is_empty());
        // The one goes to another node, the other is on one from now on.
        let moved = |id: &TenantId, to: &str| Tenant {
            interfaces: vec![to.parse().unwrap()],
            ..Tenant::new(id.clone())
        };
        let later = people.with(2, vec![moved(&a, "n1/tap1"), moved(&b, "n2/tap0")], &[]);
        let seen = records.last();
        [&a, &b].into_iter().for_each(|id| records.place_anew(&later, id));
        assert_eq!(names(&records, &later, seen, "n1"), ["a"]);
        assert_eq!(names(&records, &later, seen, "n2"), ["b"]);
        records.place_all_anew(&people);
        assert_eq!(names(&records, &people, 0, "n2"), ["a"]);
    }
}
