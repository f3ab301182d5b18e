//! What follows tenants from node to node: read together for who is told, and taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reeve_policy::{Decision, Mode, Name, NodeId, Origin, TenantId, TenantStanding, Timestamp};

use super::super::query::Select;
use super::super::read::TOGETHER;
use super::super::row::{Body, name, nanos, time, uncount};
use super::super::{Connection, StoreError};
use super::Effects;
use super::reports::Behind;
use crate::directory::{Record, Strike};

/// The most strikes of one tenant that are looked at; agents remember fewer for each rule.
const STRIKES: i64 = 1_024;
/// The most decisions of one tenant that are looked at: more than are told.
const DECISIONS: i64 = 2 * TenantStanding::MAX_DECISIONS as i64;

/// What follows some tenants, as the transaction leaves it, by tenant: of those whom nothing follows, nothing.
///
/// # Errors
/// Where the database fails.
pub async fn records(
    conn: &mut Connection,
    tenants: &[&TenantId],
    now: Timestamp,
) -> Result<BTreeMap<TenantId, Record>, StoreError> {
    let mut all: BTreeMap<TenantId, Record> = BTreeMap::new();
    for some in tenants.chunks(TOGETHER) {
        for (tenant, strike) in strikes(conn, some).await? {
            all.entry(tenant).or_default().strikes.push(strike);
        }
        for (decision, gone) in decisions(conn, some, now).await? {
            all.entry(decision.tenant.clone()).or_default().decisions.push((decision, gone));
        }
    }
    Ok(all)
}

/// The tenants that something follows.
///
/// # Errors
/// Where the database fails.
pub async fn followed(conn: &mut Connection, now: Timestamp) -> Result<Vec<TenantId>, StoreError> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT tenant FROM violations WHERE counts = 1 UNION SELECT d.tenant FROM decisions d \
         JOIN measures m ON m.decision = d.id \
         WHERE d.operator IS NULL AND d.released IS NULL AND (d.expires IS NULL OR d.expires > $1)",
    )
    .bind(nanos(now))
    .fetch_all(conn)
    .await?;
    rows.iter().map(|(tenant,)| name("tenant", tenant)).collect()
}

/// The latest strikes of each, oldest first.
async fn strikes(
    conn: &mut Connection,
    tenants: &[&TenantId],
) -> Result<Vec<(TenantId, Strike)>, StoreError> {
    let mut query = Select::new(
        "SELECT tenant, node, rule, opened, closed, strike FROM (SELECT id, tenant, node, rule, opened, closed, strike, \
         row_number() OVER (PARTITION BY tenant ORDER BY opened DESC, id DESC) AS place FROM violations \
         WHERE counts = 1 AND strike > 0 AND rule IS NOT NULL AND tenant IN ",
    );
    query.push_list(tenants.iter().map(|tenant| tenant.as_str())).push(") AS latest WHERE place <= ");
    query.push_bind(STRIKES).push(" ORDER BY opened, id");
    let rows: Vec<(String, String, String, i64, Option<i64>, i64)> = query.fetch_all(conn).await?;
    rows.into_iter()
        .map(|(tenant, node, rule, opened, closed, strike)| {
            let strike = Strike {
                node: name("node", &node)?,
                rule: name("rule", &rule)?,
                opened: time(opened),
                closed: closed.map(time),
                number: u32::try_from(uncount(strike)).unwrap_or(u32::MAX),
            };
            Ok((name("tenant", &tenant)?, strike))
        })
        .collect()
}

/// The decisions by policy upon what counts that a node carried out and that are not over, of each tenant the newest first: they stand somewhere, or stood
/// where the tenant has left, or where the node has lost its memory.
async fn decisions(
    conn: &mut Connection,
    tenants: &[&TenantId],
    now: Timestamp,
) -> Result<Vec<(Decision, BTreeSet<NodeId>)>, StoreError> {
    let mut query = Select::new(
        "SELECT id, body FROM (SELECT d.id, d.body, d.made, \
         row_number() OVER (PARTITION BY d.tenant ORDER BY d.made DESC, d.id DESC) AS place FROM decisions d \
         WHERE d.operator IS NULL AND d.released IS NULL AND EXISTS (SELECT 1 FROM measures m WHERE m.decision = d.id \
         AND (m.lifted IS NULL OR m.lift_reason IN ('departed', 'absent'))) \
         AND EXISTS (SELECT 1 FROM violations v WHERE v.id = d.violation AND v.tenant = d.tenant AND v.counts = 1) \
         AND (d.expires IS NULL OR d.expires > ",
    );
    query.push_bind(nanos(now)).push(") AND d.tenant IN ");
    query.push_list(tenants.iter().map(|tenant| tenant.as_str())).push(") AS latest WHERE place <= ");
    query.push_bind(DECISIONS).push(" ORDER BY made DESC, id DESC");
    let rows: Vec<(String, Vec<u8>)> = query.fetch_all(&mut *conn).await?;
    let mut found = Vec::new();
    for (_, body) in rows {
        let decision = Decision { reckoning: None, ..Decision::decode(&body)? };
        if matches!(decision.origin, Origin::Policy { .. }) {
            found.push((decision, BTreeSet::new()));
        }
    }
    for some in found.chunks_mut(TOGETHER) {
        let mut query = Select::new(
            "SELECT decision, node FROM measures WHERE lift_reason IN ('expired', 'released', 'verified') AND decision IN ",
        );
        query.push_list(some.iter().map(|(decision, _)| decision.id.0.as_str()));
        let gone: Vec<(String, String)> = query.fetch_all(&mut *conn).await?;
        let mut by_decision: BTreeMap<String, BTreeSet<NodeId>> = BTreeMap::new();
        for (decision, node) in gone {
            by_decision.entry(decision).or_default().insert(name("node", &node)?);
        }
        for (decision, nodes) in some {
            *nodes = by_decision.remove(decision.id.0.as_str()).unwrap_or_default();
        }
    }
    Ok(found)
}

/// A node's clock may be ahead of ours by this.
pub(super) const SKEW: Duration = Duration::from_secs(300);

/// Whether a node is believed in what is told to others of a tenant: it may be there. What a node says of somebody else's tenant (a stolen
/// certificate, packets forged in the tenant's name) is that node's own affair.
pub(super) fn is_believed(effects: &Effects, node: &NodeId, tenant: &TenantId) -> bool {
    effects.desk.people.by_id(tenant).is_some_and(|tenant| tenant.may_be_told_on(node))
}

/// Whether anything new that a node says of a tenant is taken at all: not of one that this controller knows to be elsewhere. Agents may have
/// tenants of their own, of whom nothing is known here; what is said of those no other node is told (`is_believed`).
pub(super) fn may_tell(effects: &Effects, node: &NodeId, tenant: &TenantId) -> bool {
    effects.desk.people.by_id(tenant).is_none_or(|tenant| tenant.may_be_on(node))
}

/// Takes note whether a violation is held against the tenant: what is first decided upon it says so.
pub(super) fn note_counts(
    decision: &Decision,
    Behind { violation, counts, .. }: &Behind,
    effects: &mut Effects,
) {
    if counts.is_some() || violation.tenant != decision.tenant {
        return;
    }
    let is_believed =
        is_believed(effects, &violation.node, &decision.tenant) && violation.opened <= effects.now + SKEW;
    effects.seen.count(&violation.id, decision.mode == Mode::Enforce && is_believed);
}

/// Takes back the strikes of a tenant's open episodes and of those behind the measures that stand. How many.
pub(super) async fn forgive(conn: &mut Connection, tenant: &TenantId) -> Result<u32, StoreError> {
    let done = sqlx::query(
        "UPDATE violations SET counts = 0 WHERE tenant = $1 AND counts = 1 AND (state = 'open' OR id IN (\
         SELECT d.violation FROM measures m JOIN decisions d ON d.id = m.decision \
         WHERE m.tenant = $1 AND m.lifted IS NULL AND d.violation IS NOT NULL))",
    )
    .bind(tenant.as_str())
    .execute(conn)
    .await?;
    Ok(u32::try_from(done.rows_affected()).unwrap_or(u32::MAX))
}

/// Takes back a tenant's strikes, under one rule or under all; of one node's those given `until` then. How many.
pub(super) async fn pardon(
    conn: &mut Connection,
    tenant: &TenantId,
    rule: Option<&Name>,
    node: Option<(&NodeId, Timestamp)>,
) -> Result<u32, StoreError> {
    let done = sqlx::query(
        "UPDATE violations SET counts = 0 WHERE tenant = $1 AND counts = 1 AND ($2 = '' OR rule = $2) \
         AND ($3 = '' OR (node = $3 AND opened <= $4))",
    )
    .bind(tenant.as_str())
    .bind(rule.map_or("", Name::as_str))
    .bind(node.map_or("", |(node, _)| node.as_str()))
    .bind(node.map_or(0, |(_, until)| nanos(until)))
    .execute(conn)
    .await?;
    Ok(u32::try_from(done.rows_affected()).unwrap_or(u32::MAX))
}

/// A person takes a decision by policy back, with the strike behind it.
pub(super) async fn take_back(
    conn: &mut Connection,
    decision: &Decision,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE decisions SET released = $1 WHERE id = $2 AND operator IS NULL AND released IS NULL")
        .bind(nanos(now))
        .bind(decision.id.0.as_str())
        .execute(&mut *conn)
        .await?;
    if let Some(violation) = &decision.violation {
        sqlx::query("UPDATE violations SET counts = 0 WHERE id = $1")
            .bind(violation.as_name().as_str())
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// Whether a decision is one that this controller told nodes of: what stands on a node by it is no other node's secret.
pub(super) async fn is_told(conn: &mut Connection, decision: &Decision) -> Result<bool, StoreError> {
    let row: Option<(Vec<u8>,)> =
        sqlx::query_as("SELECT body FROM decisions WHERE id = $1 AND operator IS NULL")
            .bind(decision.id.0.as_str())
            .fetch_optional(conn)
            .await?;
    let Some((body,)) = row else { return Ok(false) };
    let known = Decision { reckoning: None, ..Decision::decode(&body)? };
    Ok(known == Decision { reckoning: None, ..decision.clone() })
}
