//! What is kept of the violations, decisions and measures that reports are about: looked up for all reports of a transaction at once, and
//! kept up with what they change. Whoever changes it otherwise has it forgotten.

use std::collections::{BTreeMap, BTreeSet};

use reeve_policy::{Decision, DecisionId, NodeId, Report, TenantId, ViolationId};

use super::super::query::Select;
use super::super::read::TOGETHER;
use super::super::row::name;
use super::super::{Connection, StoreError};

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
}

/// What is kept of a measure on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stood {
    pub tenant: String,
    pub lifted: Option<i64>,
    pub packets: i64,
    pub bytes: i64,
}

/// What was looked up; `None` where nothing is kept.
#[derive(Debug, Default)]
pub struct Seen {
    violations: BTreeMap<ViolationId, Option<Known>>,
    measures: BTreeMap<(NodeId, DecisionId), Option<Stood>>,
    /// Those that are stored; of others nothing is known.
    decisions: BTreeSet<DecisionId>,
}

type KnownRow = (String, String, String, String, Option<i64>, Vec<u8>, i64);
type StoodRow = (String, String, String, Option<i64>, i64, i64);

const VIOLATIONS: &str = "SELECT id, node, tenant, state, counts, body, CAST(CASE WHEN EXISTS (\
    SELECT 1 FROM evidence e WHERE e.violation = violations.id) THEN 1 ELSE 0 END AS BIGINT) FROM violations WHERE id IN ";
const MEASURES: &str = "SELECT node, decision, tenant, lifted, packets, bytes FROM measures WHERE node IN ";

impl Seen {
    /// Nothing was looked up yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { violations: BTreeMap::new(), measures: BTreeMap::new(), decisions: BTreeSet::new() }
    }

    /// Forgets everything: somebody else may change it.
    pub fn clear(&mut self) {
        *self = Self::new();
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
        let mut decisions: BTreeSet<&DecisionId> = BTreeSet::new();
        for (node, report) in reports {
            let mut upon = |decision: &'r Decision| {
                violations.extend(&decision.violation);
                decisions.insert(&decision.id);
            };
            match report {
                Report::Violation(violation) => _ = violations.insert(&violation.id),
                Report::Decision(decision) => upon(decision),
                Report::Standing { measure, .. } => {
                    upon(&measure.decision);
                    measures.insert((node, &measure.decision.id));
                }
                Report::Lifted { decision, .. } => _ = measures.insert((node, decision)),
                _ => {}
            }
        }
        self.read_violations(conn, &violations.into_iter().collect::<Vec<_>>()).await?;
        self.read_measures(conn, &measures.into_iter().collect::<Vec<_>>()).await?;
        let decisions: Vec<&DecisionId> = decisions.into_iter().collect();
        for some in decisions.chunks(TOGETHER) {
            let mut query = Select::new("SELECT id FROM decisions WHERE id IN ");
            query.push_list(some.iter().map(|id| id.0.as_str()));
            for (id,) in query.fetch_all::<(String,)>(&mut *conn).await? {
                self.decisions.insert(DecisionId(name("decision", &id)?));
            }
        }
        Ok(())
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
            let mut query = Select::new(MEASURES);
            // Not by decision alone: one for the fleet stands on all of it.
            query.push_list(some.iter().map(|(node, _)| node.as_str())).push(" AND decision IN ");
            query.push_list(some.iter().map(|(_, id)| id.0.as_str()));
            let mut found = BTreeMap::new();
            for (node, decision, tenant, lifted, packets, bytes) in
                query.fetch_all::<StoodRow>(&mut *conn).await?
            {
                found.insert((node, decision), Stood { tenant, lifted, packets, bytes });
            }
            for (node, id) in some {
                let stood = found.remove(&(node.to_string(), id.0.to_string()));
                self.measures.insert(((*node).clone(), (*id).clone()), stood);
            }
        }
        Ok(())
    }

    /// What is kept of a violation; of one that was not looked up, as it is on disk.
    pub(super) async fn violation(
        &self,
        conn: &mut Connection,
        id: &ViolationId,
    ) -> Result<Option<Known>, StoreError> {
        if let Some(known) = self.violations.get(id) {
            return Ok(known.clone());
        }
        let mut query = Select::new(VIOLATIONS);
        query.push_list(std::iter::once(id.as_name().as_str()));
        query.fetch_all::<KnownRow>(conn).await?.pop().map(known).transpose()
    }

    /// What is kept of a measure, likewise.
    pub(super) async fn measure(
        &self,
        conn: &mut Connection,
        node: &NodeId,
        id: &DecisionId,
    ) -> Result<Option<Stood>, StoreError> {
        if let Some(stood) = self.measures.get(&(node.clone(), id.clone())) {
            return Ok(stood.clone());
        }
        let row: Option<(String, Option<i64>, i64, i64)> = sqlx::query_as(
            "SELECT tenant, lifted, packets, bytes FROM measures WHERE node = $1 AND decision = $2",
        )
        .bind(node.as_str())
        .bind(id.0.as_str())
        .fetch_optional(conn)
        .await?;
        Ok(row.map(|(tenant, lifted, packets, bytes)| Stood { tenant, lifted, packets, bytes }))
    }

    /// Whether it is known that a decision is stored.
    pub(super) fn has_decision(&self, id: &DecisionId) -> bool {
        self.decisions.contains(id)
    }

    /// A violation was written.
    pub(super) fn put_violation(&mut self, id: &ViolationId, known: Known) {
        if let Some(kept) = self.violations.get_mut(id) {
            *kept = Some(known);
        }
    }

    /// A violation is held against its tenant, or is not.
    pub(super) fn count(&mut self, id: &ViolationId, counts: bool) {
        if let Some(Some(known)) = self.violations.get_mut(id) {
            known.counts = Some(counts);
        }
    }

    /// A measure was written.
    pub(super) fn put_measure(&mut self, node: &NodeId, id: &DecisionId, stood: Stood) {
        if let Some(kept) = self.measures.get_mut(&(node.clone(), id.clone())) {
            *kept = Some(stood);
        }
    }

    /// A measure that stands has stopped so much.
    pub(super) fn count_up(&mut self, node: &NodeId, id: &DecisionId, (packets, bytes): (i64, i64)) {
        if let Some(Some(stood)) = self.measures.get_mut(&(node.clone(), id.clone()))
            && stood.lifted.is_none()
        {
            (stood.packets, stood.bytes) = (packets, bytes);
        }
    }

    /// A decision is stored.
    pub(super) fn put_decision(&mut self, id: &DecisionId) {
        self.decisions.insert(id.clone());
    }
}

fn known((_, node, tenant, state, counts, body, kept): KnownRow) -> Result<Known, StoreError> {
    Ok(Known {
        node: name("node", &node)?,
        tenant: name("tenant", &tenant)?,
        state,
        counts: counts.map(|counts| counts != 0),
        body,
        has_evidence: kept != 0,
    })
}
