//! What reports change and is not written yet: it is before anybody else looks, many rows with one statement.
//!
//! Where the database is on the other side of a connection, each statement costs a way there and back, and a transaction of hundreds of reports
//! is bound by nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use reeve_policy::evidence::MAX_KEPT;
use reeve_policy::{
    Alert, Class, Decision, DecisionId, Name, NodeEvent, NodeId, Notice, TenantId, Timestamp, Violation,
    ViolationId,
};

use super::super::cases::CaseState;
use super::super::query::{Select, write_rows, write_rows_returning};
use super::super::read::TOGETHER;
use super::super::row::{Body, nanos, uncount};
use super::super::{Connection, StoreError, share};
use super::cases::NewCase;
use super::seen::{Seen, Stood};
use super::{Effects, deliveries, notices, reports};
use crate::events::What;

/// When a case was last added to is known to so much.
const NEWS: Duration = Duration::from_secs(3_600);

/// The rows to be written, by table.
#[derive(Debug, Default)]
pub struct Unwritten {
    pub(super) violations: BTreeMap<ViolationId, ViolationRow>,
    /// Whether violations are held against their tenants.
    pub(super) counts: BTreeMap<ViolationId, bool>,
    pub(super) decisions: Vec<DecisionRow>,
    pub(super) cases: Vec<NewCase>,
    /// The cases that something was added to.
    pub(super) news: BTreeSet<Name>,
    pub(super) measures: BTreeMap<(NodeId, DecisionId), Stood>,
    /// What each node says of how it fares, and its version.
    pub(super) health: BTreeMap<NodeId, (String, Vec<u8>)>,
    evidence: BTreeMap<EvidenceKey, EvidenceRow>,
    let_go: BTreeMap<(DecisionId, NodeId), Timestamp>,
    events: Vec<(NodeId, NodeEvent)>,
    notices: Vec<Notice>,
    heard: BTreeSet<NodeId>,
    /// By which stream of which controller each is connected.
    up: BTreeMap<NodeId, (String, u64)>,
}

/// A violation, when its alert was raised, and of which class it is.
type EvidenceKey = (ViolationId, Timestamp, Class);

/// The decision that an alert is behind, and the alert.
type EvidenceRow = (Option<DecisionId>, Vec<u8>);

/// A violation as it is stored.
#[derive(Debug)]
pub(super) struct ViolationRow {
    node: NodeId,
    tenant: TenantId,
    state: &'static str,
    opened: Timestamp,
    last_seen: Timestamp,
    closed: Option<Timestamp>,
    rule: Name,
    strike: u32,
    body: Vec<u8>,
    case: Option<Name>,
}

impl ViolationRow {
    /// The row of a violation, what it is as it is stored, and its case.
    pub fn of(violation: &Violation, body: Vec<u8>, case: Option<Name>) -> Self {
        Self {
            node: violation.node.clone(),
            tenant: violation.tenant.clone(),
            state: violation.state.name(),
            opened: violation.opened,
            last_seen: violation.last_seen,
            closed: violation.closed,
            rule: violation.rule.clone(),
            strike: violation.strike,
            body,
            case,
        }
    }
}

/// A decision as it is stored.
#[derive(Debug)]
pub(super) struct DecisionRow {
    pub id: DecisionId,
    tenant: TenantId,
    violation: Option<ViolationId>,
    made: Timestamp,
    expires: Option<Timestamp>,
    operator: Option<String>,
    class: Option<Class>,
    body: Vec<u8>,
    case: Option<Name>,
}

impl DecisionRow {
    /// The row of a decision: who gave it to this controller, of what it is, and its case where it is upon no violation.
    pub fn of(decision: &Decision, operator: Option<&str>, class: Option<Class>, case: Option<Name>) -> Self {
        Self {
            id: decision.id.clone(),
            tenant: decision.tenant.clone(),
            violation: decision.violation.clone(),
            made: decision.at,
            expires: decision.until.expiry(decision.at),
            operator: operator.map(str::to_owned),
            class,
            body: decision.encode(),
            case,
        }
    }
}

impl Unwritten {
    /// Nothing.
    pub(super) const fn new() -> Self {
        Self {
            violations: BTreeMap::new(),
            counts: BTreeMap::new(),
            decisions: Vec::new(),
            cases: Vec::new(),
            news: BTreeSet::new(),
            measures: BTreeMap::new(),
            health: BTreeMap::new(),
            evidence: BTreeMap::new(),
            let_go: BTreeMap::new(),
            events: Vec::new(),
            notices: Vec::new(),
            heard: BTreeSet::new(),
            up: BTreeMap::new(),
        }
    }

    /// An alert is kept beside its violation: what opened it first, and then the decision takes the alert for its own.
    pub(super) fn put_evidence(
        &mut self,
        violation: &ViolationId,
        alert: &Alert,
        decision: Option<&DecisionId>,
    ) {
        let row = self.evidence.entry((violation.clone(), alert.at, alert.class)).or_default();
        if row.0.is_none() {
            *row = (decision.cloned(), alert.encode());
        }
    }

    /// A node let go what was decided by policy.
    pub(super) fn put_let_go(&mut self, node: &NodeId, decision: &DecisionId, at: Timestamp) {
        self.let_go.entry((decision.clone(), node.clone())).or_insert(at);
    }

    /// Something happened on a node; it is told unless it is known.
    pub(super) fn put_event(&mut self, node: &NodeId, event: &NodeEvent) {
        self.events.push((node.clone(), event.clone()));
    }

    /// Somebody is told something, unless that is known.
    pub(super) fn put_notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }
}

/// A node was heard of.
pub fn hear(node: &NodeId, effects: &mut Effects) {
    effects.seen.unwritten.heard.insert(node.clone());
}

/// A node is connected by this stream of a controller, whichever it was connected by before.
pub fn up(node: &NodeId, (controller, stream): (&str, u64), effects: &mut Effects) {
    let up = &mut effects.seen.unwritten.up;
    if up.get(node).is_none_or(|(_, known)| *known < stream) {
        up.insert(node.clone(), (controller.to_owned(), stream));
    }
}

/// Writes what is not written, and forgets what is kept of it: somebody else is about to look, or to change it.
///
/// # Errors
/// Where the database fails.
pub async fn settle(conn: &mut Connection, effects: &mut Effects) -> Result<(), StoreError> {
    write(conn, effects).await?;
    effects.seen = Seen::new();
    Ok(())
}

/// Writes what is not written.
///
/// # Errors
/// Where the database fails.
pub(super) async fn write(conn: &mut Connection, effects: &mut Effects) -> Result<(), StoreError> {
    let Unwritten {
        violations,
        counts,
        decisions,
        cases,
        news,
        measures,
        health,
        evidence,
        let_go,
        events,
        notices,
        heard,
        up,
    } = std::mem::take(&mut effects.seen.unwritten);
    write_cases(conn, &cases, effects.now).await?;
    write_news(conn, &news, &cases, effects.now).await?;
    write_violations(conn, violations.into_iter().collect()).await?;
    write_counts(conn, &counts).await?;
    write_decisions(conn, &decisions).await?;
    write_evidence(conn, evidence).await?;
    write_measures(conn, measures.into_iter().collect()).await?;
    write_let_go(conn, let_go.into_iter().collect()).await?;
    write_health(conn, health.into_iter().collect(), effects.now).await?;
    write_heard(conn, heard.into_iter().collect(), effects.now).await?;
    let up: Vec<_> = up.into_iter().collect();
    effects
        .events
        .extend(share::up(conn, &up, effects.now).await?.into_iter().map(|node| What::NodeUp { node }));
    write_events(conn, events, effects).await?;
    write_notices(conn, notices, effects).await
}

async fn write_cases(conn: &mut Connection, rows: &[NewCase], now: Timestamp) -> Result<(), StoreError> {
    let values = |query: &mut Select, row: &NewCase| {
        query.push_bind(row.id.as_str()).and(row.tenant.as_str()).and(row.clause.as_str());
        query.and(CaseState::Open.name()).and(nanos(now)).and(nanos(now));
    };
    write_rows(conn, "INSERT INTO cases (id, tenant, clause, state, opened, updated)", rows, values, "").await
}

/// Cases that something was added to, but for those that are new. What goes on under one goes on for hours, and is told by its story: to know it by the hour is
/// enough, and spares a row with every report.
async fn write_news(
    conn: &mut Connection,
    cases: &BTreeSet<Name>,
    new: &[NewCase],
    now: Timestamp,
) -> Result<(), StoreError> {
    let new: BTreeSet<&Name> = new.iter().map(|case| &case.id).collect();
    let ids: Vec<&str> = cases.iter().filter(|id| !new.contains(id)).map(Name::as_str).collect();
    for some in ids.chunks(TOGETHER) {
        let mut query = Select::new("UPDATE cases SET updated = ");
        query.push_bind(nanos(now)).push(" WHERE updated < ").push_bind(nanos(now.minus(NEWS)));
        query.push(" AND id IN ").push_list(some.iter().copied());
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

async fn write_violations(
    conn: &mut Connection,
    rows: Vec<(ViolationId, ViolationRow)>,
) -> Result<(), StoreError> {
    let values = |query: &mut Select, (id, row): &(ViolationId, ViolationRow)| {
        query.push_bind(id.as_name().as_str()).and(row.node.as_str()).and(row.tenant.as_str());
        query.and(row.state).and(nanos(row.opened)).and(nanos(row.last_seen)).and(row.closed.map(nanos));
        query.and(row.rule.as_str()).and(i64::from(row.strike)).and(row.body.as_slice());
        query.and(row.case.as_ref().map(Name::as_str));
    };
    write_rows(
        conn,
        "INSERT INTO violations (id, node, tenant, state, opened, last_seen, closed, rule, strike, body, case_id)",
        &rows,
        values,
        " ON CONFLICT (id) DO UPDATE SET state = excluded.state, last_seen = excluded.last_seen, \
         closed = excluded.closed, rule = excluded.rule, strike = excluded.strike, body = excluded.body, pruned = NULL",
    )
    .await
}

async fn write_counts(conn: &mut Connection, counts: &BTreeMap<ViolationId, bool>) -> Result<(), StoreError> {
    for wanted in [false, true] {
        let alike = counts.iter().filter(|(_, counts)| **counts == wanted);
        let ids: Vec<&str> = alike.map(|(id, _)| id.as_name().as_str()).collect();
        for some in ids.chunks(TOGETHER) {
            let mut query = Select::new("UPDATE violations SET counts = ");
            query.push_bind(i64::from(wanted)).push(" WHERE id IN ").push_list(some.iter().copied());
            query.execute(&mut *conn).await?;
        }
    }
    Ok(())
}

async fn write_decisions(conn: &mut Connection, rows: &[DecisionRow]) -> Result<(), StoreError> {
    let values = |query: &mut Select, row: &DecisionRow| {
        query.push_bind(row.id.0.as_str()).and(row.tenant.as_str());
        query.and(row.violation.as_ref().map(|id| id.as_name().as_str())).and(nanos(row.made));
        query.and(row.expires.map(nanos)).and(row.operator.as_deref());
        query.and(row.class.map(Class::name)).and(row.body.as_slice());
        query.and(row.case.as_ref().map(Name::as_str));
    };
    write_rows(
        conn,
        "INSERT INTO decisions (id, tenant, violation, made, expires, operator, class, body, case_id)",
        rows,
        values,
        "",
    )
    .await
}

/// So many alerts of a violation are kept, counted by what is stored: of each violation one row is written at a time.
async fn write_evidence(
    conn: &mut Connection,
    rows: BTreeMap<EvidenceKey, EvidenceRow>,
) -> Result<(), StoreError> {
    let mut turns: Vec<Vec<(EvidenceKey, EvidenceRow)>> = Vec::new();
    let mut turn = 0;
    for (key, row) in rows {
        let is_same = turn > 0 && turns[turn - 1].last().is_some_and(|((before, ..), _)| *before == key.0);
        turn = if is_same { turn + 1 } else { 1 };
        if turns.len() < turn {
            turns.push(Vec::new());
        }
        turns[turn - 1].push((key, row));
    }
    let values = |query: &mut Select, (key, row): &(EvidenceKey, EvidenceRow)| {
        let ((violation, raised, class), (decision, body)) = (key, row);
        query.push_bind(violation.as_name().as_str()).and(nanos(*raised)).and(class.name());
        query.and(decision.as_ref().map(|id| id.0.as_str())).and(body.as_slice());
        query.and(i64::try_from(MAX_KEPT).unwrap_or(i64::MAX));
    };
    for rows in turns {
        write_rows(
            conn,
            "INSERT INTO evidence (violation, raised, class, decision, body) \
             SELECT column1, column2, column3, column4, column5 FROM (",
            &rows,
            values,
            ") AS fresh WHERE (SELECT count(*) FROM evidence e WHERE e.violation = column1) < column6 \
             OR EXISTS (SELECT 1 FROM evidence e WHERE e.violation = column1 AND e.raised = column2 AND e.class = column3) \
             ON CONFLICT (violation, raised, class) DO UPDATE SET decision = excluded.decision, body = excluded.body \
             WHERE evidence.decision IS NULL AND excluded.decision IS NOT NULL",
        )
        .await?;
    }
    Ok(())
}

async fn write_measures(
    conn: &mut Connection,
    rows: Vec<((NodeId, DecisionId), Stood)>,
) -> Result<(), StoreError> {
    let values = |query: &mut Select, ((node, decision), row): &((NodeId, DecisionId), Stood)| {
        query.push_bind(node.as_str()).and(decision.0.as_str()).and(row.tenant.as_str()).and(row.since);
        query.and(row.expires).and(row.lifted).and(row.lift_reason.as_deref());
        query
            .and(row.packets)
            .and(row.bytes)
            .and(row.grown)
            .and(i64::from(row.suspends))
            .and(row.body.as_slice());
    };
    write_rows(
        conn,
        "INSERT INTO measures (node, decision, tenant, since, expires, lifted, lift_reason, packets, bytes, grown, suspends, body)",
        &rows,
        values,
        " ON CONFLICT (node, decision) DO UPDATE SET since = excluded.since, expires = excluded.expires, \
         lifted = excluded.lifted, lift_reason = excluded.lift_reason, packets = excluded.packets, \
         bytes = excluded.bytes, grown = excluded.grown, body = excluded.body",
    )
    .await
}

/// Decisions by policy that nodes let go before their time are over everywhere, if it was that node's own or nobody else holds it. What asks for
/// nothing in words of its own keeps the engine from walking an index of all that is not over.
async fn write_let_go(
    conn: &mut Connection,
    rows: Vec<((DecisionId, NodeId), Timestamp)>,
) -> Result<(), StoreError> {
    let values = |query: &mut Select, ((decision, node), at): &((DecisionId, NodeId), Timestamp)| {
        query.push_bind(decision.0.as_str()).and(node.as_str()).and(nanos(*at));
    };
    write_rows(
        conn,
        "UPDATE decisions SET released = column3 FROM (",
        &rows,
        values,
        ") AS fresh WHERE decisions.id = column1 AND operator IS NULL AND coalesce(released, 0) = 0 AND (\
         EXISTS (SELECT 1 FROM violations v WHERE v.id = decisions.violation AND v.node = column2) \
         OR NOT EXISTS (SELECT 1 FROM measures m WHERE m.decision = column1 AND coalesce(m.lifted, 0) = 0))",
    )
    .await
}

async fn write_health(
    conn: &mut Connection,
    rows: Vec<(NodeId, (String, Vec<u8>))>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let values = |query: &mut Select, (node, (version, health)): &(NodeId, (String, Vec<u8>))| {
        query.push_bind(node.as_str()).and(version.as_str()).and(health.as_slice()).and(nanos(now));
    };
    write_rows(
        conn,
        "UPDATE nodes SET agent_version = column2, health = column3, last_seen = column4, told = column4 FROM (",
        &rows,
        values,
        ") AS fresh WHERE nodes.name = column1",
    )
    .await
}

async fn write_heard(conn: &mut Connection, nodes: Vec<NodeId>, now: Timestamp) -> Result<(), StoreError> {
    for some in nodes.chunks(TOGETHER) {
        let mut query = Select::new("UPDATE nodes SET last_seen = ");
        query.push_bind(nanos(now)).push(" WHERE name IN ").push_list(some.iter().map(|node| node.as_str()));
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

/// Tells of those that are new.
async fn write_events(
    conn: &mut Connection,
    rows: Vec<(NodeId, NodeEvent)>,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let now = nanos(effects.now);
    let values = |query: &mut Select, (node, event): &(NodeId, NodeEvent)| {
        query
            .push_bind(node.as_str())
            .and(nanos(event.at))
            .and(event.kind.name())
            .and(now)
            .and(event.encode());
    };
    let new: Vec<(i64, String, i64, String)> = write_rows_returning(
        conn,
        "INSERT INTO node_events (node, at, kind, received, body)",
        &rows,
        values,
        " ON CONFLICT DO NOTHING RETURNING id, node, at, kind",
    )
    .await?;
    let mut new: BTreeMap<(String, i64, String), i64> =
        new.into_iter().map(|(id, node, at, kind)| ((node, at, kind), id)).collect();
    for (node, event) in rows {
        let key = (node.to_string(), nanos(event.at), event.kind.name().to_owned());
        let Some(id) = new.remove(&key) else { continue };
        reports::forget_events(conn, &node, id).await?;
        effects.events.push(What::NodeEvent { node, event: Arc::new(event) });
    }
    Ok(())
}

/// Tells of those that are new, and forgets the oldest about the same tenants.
async fn write_notices(
    conn: &mut Connection,
    rows: Vec<Notice>,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let now = nanos(effects.now);
    let values = |query: &mut Select, notice: &Notice| {
        query.push_bind(notice.id.0.as_str()).and(notice.recipient.as_str()).and(notice.tenant.as_str());
        query.and(notice.decision.as_ref().map(|id| id.0.as_str()));
        query.and(notice.violation.as_ref().map(|id| id.as_name().as_str()));
        query.and(notice.kind.name()).and(now).and(notice.encode());
    };
    let new: Vec<(String, i64)> = write_rows_returning(
        conn,
        "INSERT INTO notices (id, recipient, tenant, decision, violation, kind, made, body)",
        &rows,
        values,
        " ON CONFLICT (id) DO NOTHING RETURNING id, number",
    )
    .await?;
    let mut new: BTreeMap<String, u64> = new.into_iter().map(|(id, number)| (id, uncount(number))).collect();
    for notice in rows {
        let Some(number) = new.remove(notice.id.0.as_str()) else { continue };
        deliveries::put(conn, number, &notice, effects).await?;
        notices::forget(conn, &notice.tenant, number).await?;
        effects.events.push(What::Notice { number, notice: Arc::new(notice) });
    }
    Ok(())
}
