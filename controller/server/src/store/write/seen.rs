//! What is kept of what reports are about: looked up for all reports of a transaction at once, and kept up with what they change, which is
//! written later ([`Unwritten`]). Whoever reads or changes it otherwise has it written before, and forgotten.

use std::collections::{BTreeMap, BTreeSet};

use reeve_policy::{Decision, DecisionId, Name, NodeId, Report, TenantId, Violation, ViolationId};

use super::super::query::Select;
use super::super::read::TOGETHER;
use super::super::row::name;
use super::super::{Connection, StoreError};
use super::cases::NewCase;
use super::unwritten::{DecisionRow, Unwritten, ViolationRow};

/// What is kept of a violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub node: NodeId,
    pub tenant: TenantId,
    pub state: String,
    /// Whether it is held against the tenant; `None` until something was decided.
    pub counts: Option<bool>,
    pub body: Vec<u8>,
    /// Whether an alert is kept beside it.
    pub has_evidence: bool,
    /// The case that it belongs to; `None` of one from before there were cases.
    pub case: Option<Name>,
}

/// What is kept of a measure on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stood {
    pub tenant: String,
    pub since: i64,
    pub expires: Option<i64>,
    pub lifted: Option<i64>,
    pub lift_reason: Option<String>,
    pub packets: i64,
    pub bytes: i64,
    /// When it was last told, by our clock, that it has stopped more than before.
    pub grown: Option<i64>,
    /// Whether it is a suspension: written once, for what a decision does stays. Of one that is read back that is not looked at.
    pub suspends: bool,
    pub body: Vec<u8>,
}

/// What was looked up or put; `None` where nothing is kept.
#[derive(Debug, Default)]
pub struct Seen {
    violations: BTreeMap<ViolationId, Option<Known>>,
    measures: BTreeMap<(NodeId, DecisionId), Option<Stood>>,
    /// Whether they are stored.
    decisions: BTreeMap<DecisionId, bool>,
    /// The cases of tenants and clauses that are not closed.
    cases: BTreeMap<(TenantId, String), Option<Name>>,
    /// What nodes last said of how they fare.
    health: BTreeMap<NodeId, Option<Vec<u8>>>,
    /// What of it is not written. All that is in there is in here, too.
    pub(super) unwritten: Unwritten,
}

type KnownRow = (String, String, String, String, Option<i64>, Vec<u8>, i64, Option<String>);
type StoodRow =
    (String, String, String, i64, Option<i64>, Option<i64>, Option<String>, i64, i64, Option<i64>, Vec<u8>);

/// Not whether there is any: that may be answered by reading the evidence of everybody.
const VIOLATIONS: &str = "SELECT id, node, tenant, state, counts, body, \
    (SELECT count(*) FROM evidence e WHERE e.violation = violations.id), case_id FROM violations WHERE id IN ";

/// About how much a report is, as [`Seen::read`] looks it up.
pub fn subjects(report: &Report) -> usize {
    match report {
        Report::Counters(counters) => counters.len(),
        Report::Standing { .. } => 3,
        _ => 1,
    }
}

impl Seen {
    /// Nothing was looked up yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            violations: BTreeMap::new(),
            measures: BTreeMap::new(),
            decisions: BTreeMap::new(),
            cases: BTreeMap::new(),
            health: BTreeMap::new(),
            unwritten: Unwritten::new(),
        }
    }

    /// Looks up what these reports are about.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn read<'r>(
        &mut self,
        conn: &mut Connection,
        reports: impl Iterator<Item = (&'r NodeId, &'r Report)>,
    ) -> Result<(), StoreError> {
        let (mut violations, mut measures) = (BTreeSet::new(), BTreeSet::new());
        let mut told = Vec::new();
        let (mut decisions, mut nodes) = (BTreeSet::new(), BTreeSet::new());
        for (node, report) in reports {
            let mut upon = |decision: &'r Decision| {
                violations.extend(&decision.violation);
                decisions.insert(&decision.id);
            };
            match report {
                Report::Violation(violation) => {
                    violations.insert(&violation.id);
                    told.push(violation);
                }
                Report::Decision(decision) => upon(decision),
                Report::Standing { measure, .. } => {
                    upon(&measure.decision);
                    measures.insert((node, &measure.decision.id));
                }
                Report::Lifted { decision, .. } => _ = measures.insert((node, decision)),
                Report::Counters(counters) => measures.extend(counters.keys().map(|id| (node, id))),
                Report::Health(_) => _ = nodes.insert(node),
                _ => {}
            }
        }
        violations.retain(|id| !self.violations.contains_key(*id));
        decisions.retain(|id| !self.decisions.contains_key(*id));
        nodes.retain(|node| !self.health.contains_key(*node));
        measures
            .retain(|(node, id)| !self.measures.contains_key(&(NodeId::clone(node), DecisionId::clone(id))));
        self.read_violations(conn, &violations.into_iter().collect::<Vec<_>>()).await?;
        // One that is known has its case.
        told.retain(|violation| self.violations.get(&violation.id).is_none_or(Option::is_none));
        let cases = told.into_iter().map(|violation| (&violation.tenant, violation.clause.as_str()));
        self.read_cases(conn, &cases.collect::<BTreeSet<_>>()).await?;
        self.read_measures(conn, &measures.into_iter().collect::<Vec<_>>()).await?;
        self.read_decisions(conn, &decisions.into_iter().collect::<Vec<_>>()).await?;
        self.read_health(conn, &nodes.into_iter().collect::<Vec<_>>()).await
    }

    async fn read_violations(
        &mut self,
        conn: &mut Connection,
        ids: &[&ViolationId],
    ) -> Result<(), StoreError> {
        for some in ids.chunks(TOGETHER) {
            let mut query = Select::new(VIOLATIONS);
            query.push_list(some.iter().map(|id| id.as_name().as_str()));
            let mut found = BTreeMap::new();
            for row in query.fetch_all::<KnownRow>(&mut *conn).await? {
                found.insert(row.0.clone(), known(row)?);
            }
            for id in some {
                self.violations.insert((*id).clone(), found.remove(id.as_name().as_str()));
            }
        }
        Ok(())
    }

    async fn read_measures(
        &mut self,
        conn: &mut Connection,
        keys: &[(&NodeId, &DecisionId)],
    ) -> Result<(), StoreError> {
        for some in keys.chunks(TOGETHER) {
            let mut query = Select::new(
                "SELECT m.node, m.decision, m.tenant, m.since, m.expires, m.lifted, m.lift_reason, m.packets, m.bytes, m.grown, m.body FROM ",
            );
            query.push_pairs(some.iter().map(|(node, id)| (node.as_str(), id.0.as_str())));
            query.push(" JOIN measures m ON m.node = column1 AND m.decision = column2");
            let mut found = BTreeMap::new();
            for row in query.fetch_all::<StoodRow>(&mut *conn).await? {
                let (
                    node,
                    decision,
                    tenant,
                    since,
                    expires,
                    lifted,
                    lift_reason,
                    packets,
                    bytes,
                    grown,
                    body,
                ) = row;
                let stood = Stood {
                    tenant,
                    since,
                    expires,
                    lifted,
                    lift_reason,
                    packets,
                    bytes,
                    grown,
                    suspends: true,
                    body,
                };
                found.insert((node, decision), stood);
            }
            for (node, id) in some {
                let stood = found.remove(&(node.to_string(), id.0.to_string()));
                self.measures.insert((NodeId::clone(node), DecisionId::clone(id)), stood);
            }
        }
        Ok(())
    }

    async fn read_cases(
        &mut self,
        conn: &mut Connection,
        keys: &BTreeSet<(&TenantId, &str)>,
    ) -> Result<(), StoreError> {
        let is_new = |(tenant, clause): &(&TenantId, &str)| {
            !self.cases.contains_key(&(TenantId::clone(tenant), (*clause).to_owned()))
        };
        let keys: Vec<(&TenantId, &str)> = keys.iter().copied().filter(is_new).collect();
        for some in keys.chunks(TOGETHER) {
            let mut query = Select::new("SELECT c.tenant, c.clause, c.id FROM ");
            query.push_pairs(some.iter().map(|(tenant, clause)| (tenant.as_str(), *clause)));
            query.push(" JOIN cases c ON c.tenant = column1 AND c.clause = column2 AND c.state <> 'closed'");
            for (tenant, clause) in some {
                self.cases.insert((TenantId::clone(tenant), (*clause).to_owned()), None);
            }
            for (tenant, clause, id) in query.fetch_all::<(String, String, String)>(&mut *conn).await? {
                self.cases.insert((name("tenant", &tenant)?, clause), Some(name("case", &id)?));
            }
        }
        Ok(())
    }

    /// The case of a tenant and a clause that is not closed.
    pub(super) async fn case(
        &mut self,
        conn: &mut Connection,
        tenant: &TenantId,
        clause: &str,
    ) -> Result<Option<Name>, StoreError> {
        self.read_cases(conn, &BTreeSet::from([(tenant, clause)])).await?;
        Ok(self.cases.get(&(tenant.clone(), clause.to_owned())).cloned().flatten())
    }

    /// A case is opened.
    pub(super) fn put_case(&mut self, case: NewCase) {
        self.cases.insert((case.tenant.clone(), case.clause.clone()), Some(case.id.clone()));
        self.unwritten.cases.push(case);
    }

    async fn read_decisions(&mut self, conn: &mut Connection, ids: &[&DecisionId]) -> Result<(), StoreError> {
        for some in ids.chunks(TOGETHER) {
            let mut query = Select::new("SELECT id FROM decisions WHERE id IN ");
            query.push_list(some.iter().map(|id| id.0.as_str()));
            self.decisions.extend(some.iter().map(|id| (DecisionId::clone(id), false)));
            for (id,) in query.fetch_all::<(String,)>(&mut *conn).await? {
                self.decisions.insert(DecisionId(name("decision", &id)?), true);
            }
        }
        Ok(())
    }

    async fn read_health(&mut self, conn: &mut Connection, nodes: &[&NodeId]) -> Result<(), StoreError> {
        for some in nodes.chunks(TOGETHER) {
            let mut query = Select::new("SELECT name, health FROM nodes WHERE name IN ");
            query.push_list(some.iter().map(|node| node.as_str()));
            self.health.extend(some.iter().map(|node| (NodeId::clone(node), None)));
            for (node, health) in query.fetch_all::<(String, Option<Vec<u8>>)>(&mut *conn).await? {
                self.health.insert(name("node", &node)?, health);
            }
        }
        Ok(())
    }

    /// What is kept of a violation.
    pub(super) async fn violation(
        &mut self,
        conn: &mut Connection,
        id: &ViolationId,
    ) -> Result<Option<Known>, StoreError> {
        if !self.violations.contains_key(id) {
            self.read_violations(conn, &[id]).await?;
        }
        Ok(self.violations.get(id).cloned().flatten())
    }

    /// What is kept of a measure on a node.
    pub(super) async fn measure(
        &mut self,
        conn: &mut Connection,
        node: &NodeId,
        id: &DecisionId,
    ) -> Result<Option<Stood>, StoreError> {
        let key = (node.clone(), id.clone());
        if !self.measures.contains_key(&key) {
            self.read_measures(conn, &[(node, id)]).await?;
        }
        Ok(self.measures.get(&key).cloned().flatten())
    }

    /// Whether a decision is stored.
    pub(super) async fn has_decision(
        &mut self,
        conn: &mut Connection,
        id: &DecisionId,
    ) -> Result<bool, StoreError> {
        if !self.decisions.contains_key(id) {
            self.read_decisions(conn, &[id]).await?;
        }
        Ok(self.decisions.get(id).is_some_and(|is_stored| *is_stored))
    }

    /// What a node last said of how it fares.
    pub(super) async fn health(
        &mut self,
        conn: &mut Connection,
        node: &NodeId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.health.contains_key(node) {
            self.read_health(conn, &[node]).await?;
        }
        Ok(self.health.get(node).cloned().flatten())
    }

    /// A violation is another now.
    pub(super) fn put_violation(&mut self, violation: &Violation, known: Known) {
        let row = ViolationRow::of(violation, known.body.clone(), known.case.clone());
        self.unwritten.violations.insert(violation.id.clone(), row);
        self.violations.insert(violation.id.clone(), Some(known));
    }

    /// A violation, one that was looked up, is held against its tenant, or is not.
    pub(super) fn count(&mut self, id: &ViolationId, counts: bool) {
        if let Some(Some(known)) = self.violations.get_mut(id) {
            known.counts = Some(counts);
            self.unwritten.counts.insert(id.clone(), counts);
        }
    }

    /// A measure is another now.
    pub(super) fn put_measure(&mut self, node: &NodeId, id: &DecisionId, stood: Stood) {
        let key = (node.clone(), id.clone());
        self.unwritten.measures.insert(key.clone(), stood.clone());
        self.measures.insert(key, Some(stood));
    }

    /// There is a new decision.
    pub(super) fn put_decision(&mut self, row: DecisionRow) {
        self.decisions.insert(row.id.clone(), true);
        self.unwritten.decisions.push(row);
    }

    /// A node says how it fares.
    pub(super) fn put_health(&mut self, node: &NodeId, agent_version: &str, body: Vec<u8>) {
        self.unwritten.health.insert(node.clone(), (agent_version.to_owned(), body.clone()));
        self.health.insert(node.clone(), Some(body));
    }
}

fn known((_, node, tenant, state, counts, body, kept, case): KnownRow) -> Result<Known, StoreError> {
    Ok(Known {
        node: name("node", &node)?,
        tenant: name("tenant", &tenant)?,
        state,
        counts: counts.map(|counts| counts != 0),
        body,
        has_evidence: kept != 0,
        case: case.map(|id| name("case", &id)).transpose()?,
    })
}
