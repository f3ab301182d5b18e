//! What is over is forgotten after a time, a little at once, so that nobody waits for it.
//!
//! Nothing goes that is still needed: violations that are open, or that a person holds, alone or with their case; what any measure that stands rests on; decisions
//! in force; orders that wait. Of what counts against a tenant the strike stays longer than the evidence, since policies remember
//! strikes. Times of violations are their nodes'.

use std::time::Duration;

use reeve_policy::{Month, Timestamp, Violation};

use super::super::exemptions::KEPT;
use super::super::row::{Body, name, nanos};
use super::super::{Connection, StoreError};
use super::Effects;

/// How many rows of each kind go in one transaction.
const BATCH: i64 = 200;
/// The last month can be asked for until the next is over: for how long tenants were suspended; and what was told of its plan, which is told
/// once as long as that is there.
const MONTHS: Duration = Duration::from_secs(62 * 24 * 60 * 60);

/// Until when what is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// What was over before is forgotten.
    pub over: Timestamp,
    /// Strikes, sums of traffic by month, and who had which address, from before.
    pub strikes: Timestamp,
}

/// Forgets some of what is older. How many rows went, and whether there is more.
///
/// # Errors
/// Where the database fails.
pub async fn retain(
    conn: &mut Connection,
    limits: &Limits,
    effects: &mut Effects,
) -> Result<(u64, bool), StoreError> {
    let (over, now) = (nanos(limits.over), nanos(effects.now));
    let mut counts = Vec::new();
    counts.push(forget_violations(conn, limits, effects).await?);
    counts.push(prune_strikes(conn, limits, effects).await?);
    let months = nanos(limits.over.min(effects.now.minus(MONTHS)));
    for (statement, over) in [(MEASURES, months), (ORDERS, over), (DECISIONS, over)] {
        let done = sqlx::query(statement).bind(over).bind(now).bind(BATCH).execute(&mut *conn).await?;
        counts.push(done.rows_affected());
    }
    let done = sqlx::query(NOTICES).bind(over).bind(months).bind(BATCH).execute(&mut *conn).await?;
    counts.push(done.rows_affected());
    for statement in [EVENTS, REQUESTS] {
        let done = sqlx::query(statement).bind(over).bind(BATCH).execute(&mut *conn).await?;
        counts.push(done.rows_affected());
    }
    let done = sqlx::query(HOLDERS).bind(nanos(limits.strikes)).bind(BATCH).execute(&mut *conn).await?;
    counts.push(done.rows_affected());
    let grants = nanos(limits.over.min(effects.now.minus(KEPT)));
    let done = sqlx::query(EXEMPTIONS).bind(grants).bind(BATCH).execute(&mut *conn).await?;
    counts.push(done.rows_affected());
    let done = sqlx::query(USAGE)
        .bind(Month::of(limits.strikes).to_string())
        .bind(BATCH)
        .execute(&mut *conn)
        .await?;
    counts.push(done.rows_affected());
    let is_full = |count: &u64| i64::try_from(*count).is_ok_and(|count| count >= BATCH);
    let done = sqlx::query(COMPLAINTS).bind(over).bind(BATCH).execute(&mut *conn).await?;
    counts.push(done.rows_affected());
    // All closed cases are looked at: once, when what may rest on them is gone.
    if !counts.iter().any(is_full) {
        let done = sqlx::query(CASES).bind(over).bind(BATCH).execute(&mut *conn).await?;
        counts.push(done.rows_affected());
    }
    let is_more = counts.iter().any(is_full);
    Ok((counts.iter().sum(), is_more))
}

async fn forget_violations(
    conn: &mut Connection,
    limits: &Limits,
    effects: &mut Effects,
) -> Result<u64, StoreError> {
    let gone: Vec<(String,)> = sqlx::query_as(
        "DELETE FROM violations WHERE id IN (SELECT v.id FROM violations v WHERE v.state <> 'open' AND v.last_seen < $1 \
         AND (coalesce(v.counts, 0) = 0 OR v.last_seen < $2) \
         AND NOT EXISTS (SELECT 1 FROM evidence_holds h WHERE h.violation = v.id) \
         AND NOT EXISTS (SELECT 1 FROM cases c WHERE c.id = v.case_id AND c.held_by IS NOT NULL) \
         AND NOT EXISTS (SELECT 1 FROM decisions d JOIN measures m ON m.decision = d.id \
         WHERE d.violation = v.id AND (m.lifted IS NULL OR m.lifted >= $1)) \
         ORDER BY v.last_seen LIMIT $3) RETURNING tenant",
    )
    .bind(nanos(limits.over))
    .bind(nanos(limits.strikes))
    .bind(BATCH)
    .fetch_all(conn)
    .await?;
    for (tenant,) in &gone {
        effects.touched.insert(name("tenant", tenant)?);
    }
    Ok(gone.len() as u64)
}

/// Of violations that count, and are over, the evidence goes: whom the tenant did it to, and the headers of packets.
async fn prune_strikes(
    conn: &mut Connection,
    limits: &Limits,
    effects: &mut Effects,
) -> Result<u64, StoreError> {
    let old: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT v.id, v.body FROM violations v WHERE v.pruned IS NULL AND v.state <> 'open' AND v.last_seen < $1 \
         AND NOT EXISTS (SELECT 1 FROM evidence_holds h WHERE h.violation = v.id) \
         AND NOT EXISTS (SELECT 1 FROM cases c WHERE c.id = v.case_id AND c.held_by IS NOT NULL) \
         AND NOT EXISTS (SELECT 1 FROM decisions d JOIN measures m ON m.decision = d.id \
         WHERE d.violation = v.id AND (m.lifted IS NULL OR m.lifted >= $1)) \
         ORDER BY v.last_seen LIMIT $2",
    )
    .bind(nanos(limits.over))
    .bind(BATCH)
    .fetch_all(&mut *conn)
    .await?;
    for (id, body) in &old {
        let mut violation = Violation::decode(body)?;
        violation.evidence.targets.clear();
        violation.evidence.samples.clear();
        sqlx::query("UPDATE violations SET body = $1, pruned = $2 WHERE id = $3")
            .bind(violation.encode())
            .bind(nanos(effects.now))
            .bind(id.as_str())
            .execute(&mut *conn)
            .await?;
        sqlx::query("DELETE FROM evidence WHERE violation = $1")
            .bind(id.as_str())
            .execute(&mut *conn)
            .await?;
    }
    Ok(old.len() as u64)
}

/// Lifted long ago, and not to be taken up again where the tenant comes next. Those behind a violation that is kept are kept.
const MEASURES: &str = "DELETE FROM measures WHERE (node, decision) IN (SELECT m.node, m.decision FROM measures m \
     LEFT JOIN decisions d ON d.id = m.decision WHERE m.lifted < $1 \
     AND (m.lift_reason NOT IN ('departed', 'absent') OR d.id IS NULL OR d.released IS NOT NULL OR d.expires < $2) \
     AND NOT EXISTS (SELECT 1 FROM violations v WHERE v.id = d.violation) \
     AND NOT EXISTS (SELECT 1 FROM cases c WHERE c.id = d.case_id AND c.held_by IS NOT NULL) LIMIT $3)";

/// Answered long ago. By the one that imposed a decision in force, or a pause, is known that a node was told of it.
const ORDERS: &str = "DELETE FROM orders WHERE (node, id) IN (SELECT o.node, o.id FROM orders o \
     WHERE o.state <> 'pending' AND o.answered < $1 \
     AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.id = o.decision AND d.released IS NULL \
     AND (d.expires IS NULL OR d.expires > $2)) \
     AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.order_id = o.id) LIMIT $3)";

/// Upon nothing that is kept, carried out nowhere; an operator's when it is over.
const DECISIONS: &str = "DELETE FROM decisions WHERE id IN (SELECT d.id FROM decisions d WHERE d.made < $1 \
     AND (d.operator IS NULL OR d.released < $1 OR (d.expires < $1 AND d.expires < $2)) \
     AND NOT EXISTS (SELECT 1 FROM violations v WHERE v.id = d.violation) \
     AND NOT EXISTS (SELECT 1 FROM measures m WHERE m.decision = d.id) \
     AND NOT EXISTS (SELECT 1 FROM orders o WHERE o.decision = d.id) \
     AND NOT EXISTS (SELECT 1 FROM cases c WHERE c.id = d.case_id AND c.held_by IS NOT NULL) LIMIT $3)";

/// Whoever was told of a measure that stands is told of its end.
const NOTICES: &str = "DELETE FROM notices WHERE number IN (SELECT n.number FROM notices n WHERE n.made < $1 \
     AND (n.decision IS NOT NULL OR n.made < $2) \
     AND NOT EXISTS (SELECT 1 FROM deliveries q WHERE q.notice = n.number AND q.state = 'pending') \
     AND NOT EXISTS (SELECT 1 FROM measures m WHERE m.decision = n.decision AND m.lifted IS NULL) \
     AND NOT EXISTS (SELECT 1 FROM evidence_holds h WHERE h.violation = n.violation) \
     AND NOT EXISTS (SELECT 1 FROM violations v JOIN cases c ON c.id = v.case_id WHERE v.id = n.violation AND c.held_by IS NOT NULL) \
     AND NOT EXISTS (SELECT 1 FROM decisions d JOIN cases c ON c.id = d.case_id WHERE d.id = n.decision AND c.held_by IS NOT NULL) \
     LIMIT $3)";

/// Of which nothing is to be done, and those whose case is gone. What waits for a person stays.
const COMPLAINTS: &str = "DELETE FROM complaints WHERE number IN (SELECT p.number FROM complaints p WHERE p.updated < $1 \
     AND (p.state = 'dismissed' OR (p.state = 'filed' AND p.case_id IS NULL)) LIMIT $2)";

/// Closed long ago, kept by nobody, and nothing of it is kept.
const CASES: &str = "DELETE FROM cases WHERE id IN (SELECT c.id FROM cases c WHERE c.closed < $1 AND c.held_by IS NULL \
     AND NOT EXISTS (SELECT 1 FROM violations v WHERE v.case_id = c.id) \
     AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.case_id = c.id) LIMIT $2)";

const EVENTS: &str =
    "DELETE FROM node_events WHERE id IN (SELECT e.id FROM node_events e WHERE e.received < $1 LIMIT $2)";

/// Of times of which no strike is kept either.
const HOLDERS: &str = "DELETE FROM holders WHERE (prefix, until) IN (SELECT h.prefix, h.until FROM holders h WHERE h.until < $1 LIMIT $2)";

const REQUESTS: &str =
    "DELETE FROM requests WHERE key IN (SELECT r.key FROM requests r WHERE r.created < $1 LIMIT $2)";

/// Over or taken back long ago.
const EXEMPTIONS: &str = "DELETE FROM exemptions WHERE id IN (SELECT e.id FROM exemptions e \
     WHERE e.revoked < $1 OR e.ends < $1 LIMIT $2)";

const USAGE: &str = "DELETE FROM usage WHERE (node, tenant, month) IN \
     (SELECT u.node, u.tenant, u.month FROM usage u WHERE u.month < $1 LIMIT $2)";
