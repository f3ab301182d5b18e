//! Questions to the database.

use std::collections::BTreeMap;
use std::sync::Arc;

use reeve_policy::notice::{Explained, Office};
use reeve_policy::{
    Action, Alert, Class, Decision, DecisionId, Dossier, Evidence, Lift, Measure, MeasureCounters, Month,
    NodeEvent, NodeHealth, NodeId, Notice, Order, OrderId, Pause, RelayChecked, Tenant, TenantId, Timestamp,
    Violation, ViolationId, ViolationState,
};

use super::query::{Select, total};
use super::row::{Body, count, name, nanos, time, uncount};
use super::seals::{self, OF_VIOLATIONS, Sight, of_notices};
use super::write::Desk;
use super::write::pauses;
use super::{Connection, Policies, Store, StoreError};
use crate::directory::{Held, Paused, Records, Rollout, Snapshot, Standing, Standings, Tenants};
use crate::listing::Plan;

/// So many tenants that are other than before are read by themselves; of more, all are.
const OTHERS: i64 = 4_096;

/// Of how many tenants one statement asks.
pub(super) const TOGETHER: usize = 128;

/// Which violations to list.
#[derive(Clone, Debug)]
pub(crate) struct ViolationFilter {
    /// Only of this tenant.
    pub tenant: Option<TenantId>,
    /// Only in this state.
    pub state: Option<ViolationState>,
    /// Only those that went on at this time or later.
    pub since: Option<Timestamp>,
    /// Whether those of cases that are sealed as well.
    pub sight: Sight,
    /// Which page.
    pub plan: Plan,
}

/// Which node events to list.
#[derive(Clone, Debug)]
pub(crate) struct EventFilter {
    /// Only of this node.
    pub node: Option<NodeId>,
    /// Only those at this time or later.
    pub since: Option<Timestamp>,
    /// Which page.
    pub plan: Plan,
}

/// Which notices to list.
#[derive(Clone, Debug)]
pub(crate) struct NoticeFilter {
    /// Only about this tenant, or to it.
    pub tenant: Option<TenantId>,
    /// Only to this one.
    pub recipient: Option<TenantId>,
    /// Only those with a number above: oldest first.
    pub after: Option<i64>,
    /// Whether those about cases that are sealed as well.
    pub sight: Sight,
    /// Which page.
    pub plan: Plan,
}

/// A notice as it is stored.
#[derive(Clone, Debug)]
pub struct NoticeRow {
    /// Grows with every notice.
    pub number: u64,
    /// The notice.
    pub notice: Notice,
    /// When it was made.
    pub made: Timestamp,
}

/// Which usage to list.
#[derive(Clone, Debug)]
pub(crate) struct UsageFilter {
    /// Of this month.
    pub month: Month,
    /// Only of this tenant.
    pub tenant: Option<TenantId>,
    /// Which page.
    pub plan: Plan,
}

/// What a tenant used in a month, over all nodes.
#[derive(Clone, Debug)]
pub struct UsageRow {
    /// The tenant.
    pub tenant: TenantId,
    /// Bytes to it.
    pub received: u64,
    /// Bytes from it.
    pub sent: u64,
    /// How many nodes told of it.
    pub nodes: u32,
    /// When the last of it was told.
    pub updated: Timestamp,
}

/// A node event as it is stored.
#[derive(Clone, Debug)]
pub struct EventRow {
    /// Grows with every event.
    pub id: i64,
    /// The node.
    pub node: NodeId,
    /// The event.
    pub event: NodeEvent,
    /// When the controller learnt of it.
    pub received: Timestamp,
}

/// A node as it is stored.
#[derive(Clone, Debug)]
pub struct NodeRow {
    /// Its name.
    pub name: NodeId,
    /// Its agent's version.
    pub agent_version: String,
    /// When it was last heard of.
    pub last_seen: Timestamp,
    /// The version of the tenants that it had when it last connected.
    pub tenants_version: u64,
    /// Reports that could not be read.
    pub reports_refused: u64,
    /// How it fares.
    pub health: Option<NodeHealth>,
    /// Orders without an answer.
    pub orders_pending: u64,
}

/// What a decision came to on one node.
#[derive(Clone, Debug)]
pub struct MeasureRow {
    /// The node.
    pub node: NodeId,
    /// The decision.
    pub decision: DecisionId,
    /// Since when it stood.
    pub since: Timestamp,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
    /// When it was lifted.
    pub lifted: Option<Timestamp>,
    /// Why.
    pub lift_reason: Option<String>,
    /// What it stopped.
    pub counters: MeasureCounters,
}

/// What became of an order on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRow {
    /// The node.
    pub node: NodeId,
    /// `pending`, `done`, `failed` or `superseded`.
    pub state: String,
    /// Why it failed.
    pub detail: String,
}

/// What a decision came to on a node: node, decision, since, until, lifted when and why, packets and bytes.
pub(super) type MeasureColumns = (String, String, i64, Option<i64>, Option<i64>, Option<String>, i64, i64);

pub(super) fn measure_row(columns: MeasureColumns) -> Result<MeasureRow, StoreError> {
    let (node, decision, since, expires, lifted, lift_reason, packets, bytes) = columns;
    Ok(MeasureRow {
        node: name("node", &node)?,
        decision: DecisionId(name("decision", &decision)?),
        since: time(since),
        expires: expires.map(time),
        lifted: lifted.map(time),
        lift_reason,
        counters: MeasureCounters { packets: uncount(packets), bytes: uncount(bytes) },
    })
}

/// What waits, and who was there lately.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// How many orders no node has answered.
    pub orders: u64,
    /// When the first of them was given.
    pub first: Option<Timestamp>,
    /// How many acts wait for a second person.
    pub approvals: u64,
    /// How many complaints wait for a person whose matter they are.
    pub unmatched: u64,
    /// And how many that could not be read.
    pub unreadable: u64,
    /// When the first of them came.
    pub first_complaint: Option<Timestamp>,
    /// The nodes that were there.
    pub nodes: Vec<NodeId>,
}

impl OrderRow {
    /// Whether the node has yet to answer.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.state == "pending"
    }
}

/// Where some tenants stand, by tenant: of those that nothing holds, nothing.
pub(super) async fn standings(
    conn: &mut Connection,
    tenants: &[&TenantId],
    desk: &Desk,
) -> Result<BTreeMap<TenantId, Standing>, StoreError> {
    type Classed<T> = Vec<(T, Option<Class>)>;
    type Row = (String, String, i64, Vec<u8>, Option<String>);
    let mut all: BTreeMap<TenantId, (Classed<Held>, Classed<Decision>)> = BTreeMap::new();
    let class_of = |class: Option<String>| class.and_then(|class| class.parse().ok());
    for some in tenants.chunks(TOGETHER) {
        let mut query = Select::new(
            "SELECT m.tenant, m.node, m.since, m.body, d.class FROM measures m LEFT JOIN decisions d ON d.id = m.decision \
             WHERE m.lifted IS NULL AND m.tenant IN ",
        );
        query.push_list(some.iter().map(|tenant| tenant.as_str())).push(" ORDER BY m.node, m.decision");
        for (tenant, node, since, body, class) in query.fetch_all::<Row>(&mut *conn).await? {
            let held = Held { node: name("node", &node)?, measure: Body::decode(&body)?, since: time(since) };
            all.entry(name("tenant", &tenant)?).or_default().0.push((held, class_of(class)));
        }
        let mut query = Select::new(
            "SELECT v.tenant, d.body, d.class FROM violations v JOIN decisions d ON d.violation = v.id \
             WHERE v.state = 'open' AND v.tenant IN ",
        );
        query.push_list(some.iter().map(|tenant| tenant.as_str())).push(" ORDER BY d.made, d.id");
        let rows: Vec<(String, Vec<u8>, Option<String>)> = query.fetch_all(&mut *conn).await?;
        for (tenant, body, class) in rows {
            let decision = Decision::decode(&body)?;
            if decision.action > Action::Observe {
                all.entry(name("tenant", &tenant)?).or_default().1.push((decision, class_of(class)));
            }
        }
    }
    let mut seals = seals::seals(conn, Some(tenants)).await?;
    let mut standings = BTreeMap::new();
    for (tenant, (held, decided)) in all {
        let mut words = BTreeMap::new();
        let standing =
            held.iter().map(|(held, class)| (&held.measure.decision, *class, held.measure.expires));
        for (decision, class, ends) in
            standing.chain(decided.iter().map(|(decision, class)| (decision, *class, None)))
        {
            if !words.contains_key(&decision.id) {
                words.insert(decision.id.clone(), explained(conn, decision, class, ends, desk).await?);
            }
        }
        let held = held.into_iter().map(|(held, _)| held).collect();
        let decided = decided.into_iter().map(|(decision, _)| decision).collect();
        let sealed = seals.remove(&tenant).unwrap_or_default();
        standings.insert(tenant, Standing { held, decided, words, sealed });
    }
    // Of those that nothing holds yet.
    for (tenant, sealed) in seals {
        standings.insert(tenant, Standing { sealed, ..Standing::default() });
    }
    Ok(standings)
}

/// Why a tenant stands where a decision leaves it, in its own language.
async fn explained(
    conn: &mut Connection,
    decision: &Decision,
    class: Option<Class>,
    ends: Option<Timestamp>,
    desk: &Desk,
) -> Result<Explained, StoreError> {
    let policy = desk.policies.behind(conn, decision, None).await?;
    let find = |id: &TenantId| desk.people.by_id(id).map(|tenant| &**tenant);
    Ok(Office { policy: &policy, tenants: &find }.explain(decision, class, ends))
}

/// Every tenant, with the version of them and what operators granted them. What is as in those that are `known` is not made anew, and not even read where nothing changed.
pub(super) async fn tenants(conn: &mut Connection, known: &Arc<Tenants>) -> Result<Arc<Tenants>, StoreError> {
    let version: Option<(i64,)> = sqlx::query_as("SELECT value FROM meta WHERE key = 'tenants_version'")
        .fetch_optional(&mut *conn)
        .await?;
    let version = version.map_or(0, |(version,)| uncount(version));
    if version == known.version() {
        return Ok(Arc::clone(known));
    }
    if known.version() > 0
        && let Some(next) = tenants_since(conn, known, version).await?
    {
        return Ok(Arc::new(next));
    }
    let bodies: Vec<(Vec<u8>,)> =
        sqlx::query_as("SELECT body FROM tenants ORDER BY id").fetch_all(&mut *conn).await?;
    let mut all = bodies.iter().map(|(body,)| Tenant::decode(body)).collect::<Result<Vec<_>, _>>()?;
    super::exemptions::put_in(conn, &mut all, version).await?;
    Ok(Arc::new(known.becoming(version, all)))
}

/// The tenants of a later version, of which no more is read than what is other; `None` where that is not known, or is too much.
async fn tenants_since(
    conn: &mut Connection,
    known: &Tenants,
    version: u64,
) -> Result<Option<Tenants>, StoreError> {
    let rows: Vec<(String, i64, Option<Vec<u8>>)> = sqlx::query_as(
        "SELECT v.id, v.version, t.body FROM tenant_versions v LEFT JOIN tenants t ON t.id = v.id \
         WHERE v.version > $1 LIMIT $2",
    )
    .bind(count(known.version()))
    .bind(OTHERS + 1)
    .fetch_all(&mut *conn)
    .await?;
    let is_told = rows.iter().any(|(_, changed, _)| uncount(*changed) == version);
    if !is_told || rows.len() > OTHERS as usize {
        return Ok(None);
    }
    let (mut changed, mut removed) = (Vec::new(), Vec::new());
    for (id, _, body) in rows {
        match body {
            Some(body) => changed.push(Tenant::decode(&body)?),
            None => removed.push(name("tenant", &id)?),
        }
    }
    super::exemptions::put_in(conn, &mut changed, version).await?;
    Ok(Some(known.with(version, changed, &removed)))
}

/// Everything that is kept in memory, as it is on disk.
pub(crate) async fn snapshot(conn: &mut Connection, policies: &Policies) -> Result<Snapshot, StoreError> {
    let people = tenants(conn, &Arc::default()).await?;
    let desk = Desk { people: Arc::clone(&people), policies: policies.clone(), channels: Arc::default() };
    let held_against: Vec<(String,)> = sqlx::query_as(
        "SELECT tenant FROM measures WHERE lifted IS NULL UNION SELECT tenant FROM violations WHERE state = 'open' \
         UNION SELECT tenant FROM cases WHERE sealed_since IS NOT NULL AND state <> 'closed'",
    )
    .fetch_all(&mut *conn)
    .await?;
    let held_against: Vec<TenantId> =
        held_against.iter().map(|(tenant,)| name("tenant", tenant)).collect::<Result<_, _>>()?;
    let mut all = Standings::default();
    for (tenant, standing) in standings(conn, &held_against.iter().collect::<Vec<_>>(), &desk).await? {
        if !standing.is_empty() {
            all.insert(tenant, Arc::new(standing));
        }
    }
    let paused = Arc::new(paused(conn).await?);
    let rollout = Arc::new(super::rollout::rollout(conn, &Rollout::default()).await?);
    let now = crate::clock::now();
    let mut records = Records::default();
    let followed = super::write::followed(conn, now).await?;
    for (tenant, record) in super::write::records(conn, &followed.iter().collect::<Vec<_>>(), now).await? {
        records.set(&people, tenant, record);
    }
    Ok(Snapshot { tenants: people, standings: all, records: Arc::new(records), paused, rollout })
}

/// Where policy takes no new measure.
pub(super) async fn paused(conn: &mut Connection) -> Result<Paused, StoreError> {
    let (fleet, ordered) = ordered_pauses(conn).await?;
    let mut paused = Paused { fleet, ordered, ..Paused::default() };
    let told: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT name, health FROM nodes WHERE health IS NOT NULL").fetch_all(conn).await?;
    for (node, health) in told {
        if let Some(pause) = NodeHealth::decode(&health)?.paused {
            paused.nodes.insert(name("node", &node)?, pause);
        }
    }
    Ok(paused)
}

/// What operators paused: the fleet, and single nodes.
pub(super) async fn ordered_pauses(
    conn: &mut Connection,
) -> Result<(Option<Pause>, BTreeMap<NodeId, Pause>), StoreError> {
    let (mut fleet, mut ordered) = (None, BTreeMap::new());
    for (target, row) in pauses(conn, None).await? {
        match target {
            None => fleet = Some(row.pause),
            Some(node) => _ = ordered.insert(node, row.pause),
        }
    }
    Ok((fleet, ordered))
}

/// The measures that stand and that a lift would take, by node and decision; at most `limit` of them, and how many there are.
pub(super) async fn liftable(
    conn: &mut Connection,
    lift: &Lift,
    node: Option<&NodeId>,
    limit: usize,
) -> Result<(Vec<(NodeId, Measure)>, u64), StoreError> {
    let mut query = Select::new("SELECT m.node, m.body FROM measures m WHERE m.lifted IS NULL");
    if let Some(node) = node {
        query.push(" AND m.node = ").push_bind(node.as_str());
    }
    query.push(" ORDER BY m.node, m.decision");
    let rows: Vec<(String, Vec<u8>)> = query.fetch_all(conn).await?;
    let (mut found, mut total) = (Vec::new(), 0);
    for (node, body) in rows {
        let measure = Measure::decode(&body)?;
        if lift.takes(&measure.decision) {
            total += 1;
            if found.len() < limit {
                found.push((name("node", &node)?, measure));
            }
        }
    }
    Ok((found, total))
}

/// What was seen of a violation.
#[derive(Clone, Debug)]
pub(crate) struct SeenOf {
    /// Which.
    pub violation: ViolationId,
    /// Where.
    pub node: NodeId,
    /// The alerts that are kept.
    pub alerts: Vec<Alert>,
}

impl Store {
    /// Every node by name.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        type Row = (String, String, i64, i64, i64, Option<Vec<u8>>, i64);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT name, agent_version, last_seen, tenants_version, reports_refused, health, \
             (SELECT count(*) FROM orders WHERE node = name AND state = 'pending') FROM nodes ORDER BY name",
        )
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|(node, agent_version, last_seen, version, refused, health, pending)| {
                Ok(NodeRow {
                    name: name("node", &node)?,
                    agent_version,
                    last_seen: time(last_seen),
                    tenants_version: uncount(version),
                    reports_refused: uncount(refused),
                    health: health.map(|body| NodeHealth::decode(&body)).transpose()?,
                    orders_pending: uncount(pending),
                })
            })
            .collect()
    }

    /// What happened on nodes, what was told last first.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn events(&self, filter: &EventFilter) -> Result<Vec<EventRow>, StoreError> {
        let mut query = Select::new("SELECT id, node, received, body FROM node_events WHERE 1 = 1");
        if let Some(node) = &filter.node {
            query.push(" AND node = ").push_bind(node.as_str());
        }
        if let Some(since) = filter.since {
            query.push(" AND at >= ").push_bind(nanos(since));
        }
        query.page(&filter.plan);
        let rows: Vec<(i64, String, i64, Vec<u8>)> = query.fetch_all(&self.readers).await?;
        rows.into_iter()
            .map(|(id, node, received, body)| {
                let event = NodeEvent::decode(&body)?;
                Ok(EventRow { id, node: name("node", &node)?, event, received: time(received) })
            })
            .collect()
    }

    /// Who was told what: oldest first after a number, or newest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn notices(&self, filter: &NoticeFilter) -> Result<Vec<NoticeRow>, StoreError> {
        let mut query = Select::new("SELECT number, made, body FROM notices WHERE 1 = 1");
        if let Some(tenant) = &filter.tenant {
            query.push(" AND (tenant = ").push_bind(tenant.as_str());
            query.push(" OR recipient = ").push_bind(tenant.as_str()).push(")");
        }
        if let Some(recipient) = &filter.recipient {
            query.push(" AND recipient = ").push_bind(recipient.as_str());
        }
        if let Some(after) = filter.after {
            query.push(" AND number > ").push_bind(after);
        }
        filter.sight.narrow(&mut query, of_notices!("notices"));
        query.page(&filter.plan);
        let rows: Vec<(i64, i64, Vec<u8>)> = query.fetch_all(&self.readers).await?;
        let row = |(number, made, body): (i64, i64, Vec<u8>)| {
            Ok(NoticeRow { number: uncount(number), notice: Notice::decode(&body)?, made: time(made) })
        };
        rows.into_iter().map(row).collect()
    }

    /// What tenants used in a month, by their keys.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn usage(&self, filter: &UsageFilter) -> Result<Vec<UsageRow>, StoreError> {
        let mut query = Select::new(concat!(
            "SELECT tenant, bytes_in, bytes_out, nodes, updated FROM (SELECT tenant, ",
            total!("bytes_in"),
            " AS bytes_in, ",
            total!("bytes_out"),
            " AS bytes_out, count(*) AS nodes, max(updated) AS updated FROM usage WHERE month = "
        ));
        query.push_bind(filter.month.to_string());
        if let Some(tenant) = &filter.tenant {
            query.push(" AND tenant = ").push_bind(tenant.as_str());
        }
        query.push(" GROUP BY tenant) sums WHERE 1 = 1").page(&filter.plan);
        let rows: Vec<(String, i64, i64, i64, i64)> = query.fetch_all(&self.readers).await?;
        rows.into_iter()
            .map(|(tenant, received, sent, nodes, updated)| {
                Ok(UsageRow {
                    tenant: name("tenant", &tenant)?,
                    received: uncount(received),
                    sent: uncount(sent),
                    nodes: u32::try_from(nodes).unwrap_or(u32::MAX),
                    updated: time(updated),
                })
            })
            .collect()
    }

    /// Whether a node has ever connected.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn is_node(&self, node: &NodeId) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM nodes WHERE name = $1")
            .bind(node.as_str())
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.is_some())
    }

    /// What a lift would take now: at most `limit` of the measures that stand, and how many there are.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn liftable(
        &self,
        lift: &Lift,
        node: Option<&NodeId>,
        limit: usize,
    ) -> Result<(Vec<(NodeId, Measure)>, u64), StoreError> {
        let mut reader = self.readers.acquire().await?;
        liftable(&mut reader, lift, node, limit).await
    }

    /// Violations, newest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn violations(&self, filter: &ViolationFilter) -> Result<Vec<Violation>, StoreError> {
        let mut query = Select::new("SELECT body FROM violations WHERE 1 = 1");
        if let Some(tenant) = &filter.tenant {
            query.push(" AND tenant = ").push_bind(tenant.as_str());
        }
        if let Some(state) = filter.state {
            query.push(" AND state = ").push_bind(state.name());
        }
        if let Some(since) = filter.since {
            query.push(" AND last_seen >= ").push_bind(nanos(since));
        }
        filter.sight.narrow(&mut query, OF_VIOLATIONS);
        query.page(&filter.plan);
        let rows: Vec<(Vec<u8>,)> = query.fetch_all(&self.readers).await?;
        rows.iter().map(|(body,)| Violation::decode(body)).collect()
    }

    /// The newest violations that were seen since `since`, at most so many, and the alerts that are kept of each, what opened it among them; and
    /// whether there were more.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn seen_since(
        &self,
        since: Timestamp,
        most: usize,
        sight: Sight,
    ) -> Result<(Vec<SeenOf>, bool), StoreError> {
        let limit = i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1);
        let mut query = Select::new("SELECT body FROM violations WHERE last_seen >= ");
        query.push_bind(nanos(since));
        sight.narrow(&mut query, OF_VIOLATIONS);
        query.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
        let rows: Vec<(Vec<u8>,)> = query.fetch_all(&self.readers).await?;
        let is_cut = rows.len() > most;
        let mut all: BTreeMap<String, SeenOf> = BTreeMap::new();
        for (body,) in rows.iter().take(most) {
            let violation = Violation::decode(body)?;
            let alerts = vec![violation.evidence.clone()];
            all.insert(
                violation.id.to_string(),
                SeenOf { node: violation.node, violation: violation.id, alerts },
            );
        }
        let ids: Vec<String> = all.keys().cloned().collect();
        for some in ids.chunks(TOGETHER) {
            let mut query = Select::new("SELECT violation, body FROM evidence WHERE violation IN ");
            query.push_list(some.iter().map(String::as_str));
            let rows: Vec<(String, Vec<u8>)> = query.fetch_all(&self.readers).await?;
            for (violation, body) in rows {
                let alert = Alert::decode(&body)?;
                if let Some(of) = all.get_mut(&violation)
                    && !of.alerts.iter().any(|known| (known.at, known.class) == (alert.at, alert.class))
                {
                    of.alerts.push(alert);
                }
            }
        }
        Ok((all.into_values().collect(), is_cut))
    }

    /// One violation with its evidence.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn violation(&self, id: &ViolationId) -> Result<Option<Violation>, StoreError> {
        let row: Option<(Vec<u8>,)> = sqlx::query_as("SELECT body FROM violations WHERE id = $1")
            .bind(id.as_name().as_str())
            .fetch_optional(&self.readers)
            .await?;
        row.map(|(body,)| Violation::decode(&body)).transpose()
    }

    /// What is kept of the evidence of a violation, oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn dossier(&self, id: &ViolationId) -> Result<Option<Dossier>, StoreError> {
        let Some(violation) = self.violation(id).await? else { return Ok(None) };
        let rows: Vec<(Option<String>, Vec<u8>)> =
            sqlx::query_as("SELECT decision, body FROM evidence WHERE violation = $1 ORDER BY raised, class")
                .bind(id.as_name().as_str())
                .fetch_all(&self.readers)
                .await?;
        let kept = rows.into_iter().map(|(decision, body)| {
            let decision = decision.map(|text| name("decision", &text).map(DecisionId)).transpose()?;
            Ok(Evidence { decision, alert: Alert::decode(&body)? })
        });
        Ok(Some(Dossier::from_kept(violation, kept.collect::<Result<_, StoreError>>()?)))
    }

    /// Who keeps a violation past its time, why, and since when.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn hold(&self, id: &ViolationId) -> Result<Option<(String, String, Timestamp)>, StoreError> {
        let row: Option<(String, String, i64)> =
            sqlx::query_as("SELECT operator, reason, since FROM evidence_holds WHERE violation = $1")
                .bind(id.as_name().as_str())
                .fetch_optional(&self.readers)
                .await?;
        Ok(row.map(|(operator, reason, since)| (operator, reason, time(since))))
    }

    /// What a tenant's mail server said when it was last asked whether it is an open relay, and when the controller learnt of it.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn relay_check(
        &self,
        tenant: &TenantId,
    ) -> Result<Option<(RelayChecked, Timestamp)>, StoreError> {
        let row: Option<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT received, body FROM relay_checks WHERE tenant = $1")
                .bind(tenant.as_str())
                .fetch_optional(&self.readers)
                .await?;
        row.map(|(received, body)| Ok((RelayChecked::decode(&body)?, time(received)))).transpose()
    }

    /// What was decided upon a violation, oldest first, and what came of it.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn answers(&self, id: &ViolationId) -> Result<(Vec<Decision>, Vec<MeasureRow>), StoreError> {
        let decisions: Vec<(Vec<u8>,)> =
            sqlx::query_as("SELECT body FROM decisions WHERE violation = $1 ORDER BY made, id")
                .bind(id.as_name().as_str())
                .fetch_all(&self.readers)
                .await?;
        let measures: Vec<MeasureColumns> = sqlx::query_as(
            "SELECT m.node, m.decision, m.since, m.expires, m.lifted, m.lift_reason, m.packets, m.bytes \
             FROM decisions d JOIN measures m ON m.decision = d.id WHERE d.violation = $1 ORDER BY m.since, m.node",
        )
        .bind(id.as_name().as_str())
        .fetch_all(&self.readers)
        .await?;
        Ok((
            decisions.iter().map(|(body,)| Decision::decode(body)).collect::<Result<_, _>>()?,
            measures.into_iter().map(measure_row).collect::<Result<_, StoreError>>()?,
        ))
    }

    /// The orders that these nodes have not answered, oldest first of each.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn orders_pending(&self, nodes: &[NodeId]) -> Result<Vec<(NodeId, Order)>, StoreError> {
        let mut query = Select::new("SELECT node, body FROM orders WHERE state = 'pending' AND node IN ");
        query.push_list(nodes.iter().map(|node| node.as_str())).push(" ORDER BY node, created, id");
        let rows: Vec<(String, Vec<u8>)> = query.fetch_all(&self.readers).await?;
        rows.iter().map(|(node, body)| Ok((name("node", node)?, Order::decode(body)?))).collect()
    }

    /// What waits, and who was there since `since`.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn waiting(&self, now: Timestamp, since: Timestamp) -> Result<Waiting, StoreError> {
        let (orders, first): (i64, i64) =
            sqlx::query_as("SELECT count(*), coalesce(min(created), 0) FROM orders WHERE state = 'pending'")
                .fetch_one(&self.readers)
                .await?;
        let (approvals,): (i64,) =
            sqlx::query_as("SELECT count(*) FROM approvals WHERE state = 'pending' AND expires > $1")
                .bind(nanos(now))
                .fetch_one(&self.readers)
                .await?;
        // At the most as many as are kept until somebody looks.
        let complaints: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT state, count(*), min(received) FROM complaints WHERE state IN ('unmatched', 'unreadable') GROUP BY state",
        )
        .fetch_all(&self.readers)
        .await?;
        let of = |name: &str| {
            let found = complaints.iter().find(|(state, ..)| state == name);
            found.map_or(0, |(_, count, _)| uncount(*count))
        };
        let nodes: Vec<(String,)> = sqlx::query_as("SELECT name FROM nodes WHERE last_seen >= $1")
            .bind(nanos(since))
            .fetch_all(&self.readers)
            .await?;
        Ok(Waiting {
            orders: uncount(orders),
            first: (orders > 0).then(|| time(first)),
            approvals: uncount(approvals),
            unmatched: of("unmatched"),
            unreadable: of("unreadable"),
            first_complaint: complaints.iter().map(|(.., first)| time(*first)).min(),
            nodes: nodes.iter().map(|(node,)| name("node", node)).collect::<Result<_, _>>()?,
        })
    }

    /// The orders about a tenant that nodes have not answered, oldest first, no more than `limit`: of each the node, its kind, itself, and when it
    /// was given.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn orders_about(
        &self,
        tenant: &TenantId,
        limit: u32,
    ) -> Result<Vec<(NodeId, String, Order, Timestamp)>, StoreError> {
        let rows: Vec<(String, String, Vec<u8>, i64)> = sqlx::query_as(
            "SELECT node, kind, body, created FROM orders WHERE tenant = $1 AND state = 'pending' \
             ORDER BY created, node, id LIMIT $2",
        )
        .bind(tenant.as_str())
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        let read = |(node, kind, body, created): (String, String, Vec<u8>, i64)| {
            Ok((name("node", &node)?, kind, Order::decode(&body)?, time(created)))
        };
        rows.into_iter().map(read).collect()
    }

    /// How many of these orders no node has answered yet, by node.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn orders_unanswered(&self, orders: &[OrderId]) -> Result<BTreeMap<NodeId, u64>, StoreError> {
        let mut query =
            Select::new("SELECT node, count(*) FROM orders WHERE state = 'pending' AND id IN (''");
        for id in orders {
            query.push(", ").push_bind(id.0.as_str());
        }
        query.push(") GROUP BY node");
        let rows: Vec<(String, i64)> = query.fetch_all(&self.readers).await?;
        rows.iter().map(|(node, left)| Ok((name("node", node)?, uncount(*left)))).collect()
    }

    /// What became of an order, by node.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn order(&self, id: &OrderId) -> Result<BTreeMap<NodeId, OrderRow>, StoreError> {
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("SELECT node, state, detail FROM orders WHERE id = $1")
                .bind(id.0.as_str())
                .fetch_all(&self.readers)
                .await?;
        rows.into_iter()
            .map(|(node, state, detail)| {
                let node = name("node", &node)?;
                Ok((node.clone(), OrderRow { node, state, detail }))
            })
            .collect()
    }
}
