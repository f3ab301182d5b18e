//! Who is told what: notices made of decisions, of the ends of measures, and of what was used.
//!
//! Each is made once. A policy's decision makes its notices in the transaction that stores it, and is stored once; an operator's in that in which the
//! first node says that it has done it, for an order may fail, or be taken back before anybody carried it out. What is told of twice for other
//! reasons (a month's plan, by several nodes) has the same key.

use std::sync::Arc;

use reeve_policy::language::Policy;
use reeve_policy::notice::{Office, QUOTA_MARKS};
use reeve_policy::{
    Class, Decision, DecisionId, Month, NodeId, Notice, NoticeKind, TenantId, Timestamp, Usage, Violation,
};

use super::super::query::total;
use super::super::row::{Body, nanos, uncount};
use super::super::{Connection, StoreError};
use super::Effects;
use crate::events::What;

/// How many notices about a tenant are kept, and some more until they are next counted.
const KEPT_ABOUT_TENANT: i64 = 1_000;
/// Counting them costs as much as keeping one, so it is done once for so many.
const FORGET_EVERY: u64 = 16;

/// A measure that is over, of which somebody may have been told.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The decision that it carried out.
    pub decision: DecisionId,
    /// Whom it held.
    pub tenant: TenantId,
    /// Since when it is over.
    pub at: Timestamp,
}

/// Tells of a policy's decision that is new, or of an operator's that is carried out. The first upon a violation extends no other.
pub(super) async fn tell_decision(
    conn: &mut Connection,
    decision: &Decision,
    violation: Option<&Violation>,
    is_first: bool,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    if decision.mode == reeve_policy::Mode::Observe || (!is_first && extends_another(conn, decision).await?) {
        return Ok(());
    }
    let node = violation.map(|violation| &violation.node);
    let policy = effects.desk.policies.behind(conn, decision, node).await?;
    let notices = with_office(effects, &policy, |office| office.of_decision(decision, violation));
    keep(conn, notices, effects).await
}

/// Whether a decision only extends to further targets what the same step upon the same violation holds already.
async fn extends_another(conn: &mut Connection, decision: &Decision) -> Result<bool, StoreError> {
    let Some(violation) = decision.violation.as_ref().filter(|_| decision.action.is_measure()) else {
        return Ok(false);
    };
    let standing: Vec<(Vec<u8>,)> = sqlx::query_as(
        "SELECT d.body FROM decisions d JOIN measures m ON m.decision = d.id \
         WHERE d.violation = $1 AND d.id <> $2 AND m.lifted IS NULL AND (m.expires IS NULL OR m.expires > $3)",
    )
    .bind(violation.as_name().as_str())
    .bind(decision.id.0.as_str())
    .bind(nanos(decision.at))
    .fetch_all(conn)
    .await?;
    for (body,) in standing {
        if Decision::decode(&body)?.origin == decision.origin {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Tells of the measures that ended in a transaction: once for each violation, or order, of which nothing stands any more.
///
/// # Errors
/// Where the database fails.
pub async fn tell_ends(conn: &mut Connection, effects: &mut Effects) -> Result<(), StoreError> {
    for ended in std::mem::take(&mut effects.ended) {
        tell_end(conn, &ended, effects).await?;
    }
    Ok(())
}

async fn tell_end(conn: &mut Connection, ended: &Ended, effects: &mut Effects) -> Result<(), StoreError> {
    let row: Option<(Option<String>,)> = sqlx::query_as("SELECT violation FROM decisions WHERE id = $1")
        .bind(ended.decision.0.as_str())
        .fetch_optional(&mut *conn)
        .await?;
    let violation = row.and_then(|(violation,)| violation).unwrap_or_default();
    let standing: Vec<(String, Option<String>)> = sqlx::query_as(
        "SELECT m.decision, d.violation FROM measures m LEFT JOIN decisions d ON d.id = m.decision \
         WHERE m.tenant = $1 AND m.lifted IS NULL AND (m.expires IS NULL OR m.expires > $2)",
    )
    .bind(ended.tenant.as_str())
    .bind(nanos(ended.at))
    .fetch_all(&mut *conn)
    .await?;
    let is_same = |(decision, behind): &(String, Option<String>)| {
        *decision == ended.decision.0.as_str()
            || (!violation.is_empty() && behind.as_deref() == Some(violation.as_str()))
    };
    if standing.iter().any(is_same) {
        return Ok(());
    }
    // Whoever was told of it, is told of its end: of the last of them, where several follow each other.
    let told: Option<(Vec<u8>, Option<String>)> = sqlx::query_as(
        "SELECT d.body, d.class FROM notices n JOIN decisions d ON d.id = n.decision \
         WHERE n.kind <> 'lifted' AND (n.decision = $1 OR ($2 <> '' AND n.violation = $2)) \
         AND EXISTS (SELECT 1 FROM measures m WHERE m.decision = d.id) ORDER BY n.number DESC LIMIT 1",
    )
    .bind(ended.decision.0.as_str())
    .bind(violation.as_str())
    .fetch_optional(&mut *conn)
    .await?;
    let Some((body, class)) = told else { return Ok(()) };
    let decision = Decision::decode(&body)?;
    let recipients: Vec<(String,)> =
        sqlx::query_as("SELECT recipient FROM notices WHERE decision = $1 AND kind <> 'lifted'")
            .bind(decision.id.0.as_str())
            .fetch_all(&mut *conn)
            .await?;
    let policy = effects.desk.policies.behind(conn, &decision, None).await?;
    let class = class.and_then(|class| class.parse::<Class>().ok());
    let mut notices = with_office(effects, &policy, |office| {
        office.of_end(&decision, class, ended.at, !standing.is_empty())
    });
    notices.retain(|notice| recipients.iter().any(|(known,)| known == notice.recipient.as_str()));
    keep(conn, notices, effects).await
}

/// Tells when a part of a month's plan is used up, over all nodes.
pub(super) async fn tell_usage(
    conn: &mut Connection,
    node: &NodeId,
    tenant: &TenantId,
    month: Month,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let own = effects.desk.people.by_id(tenant).map(|tenant| tenant.quota_bytes);
    // Of one that is not a customer any more nobody is told.
    let Some(own) = own else { return Ok(()) };
    let policy = effects.desk.policies.latest(conn, Some(node)).await?;
    let limit = own.unwrap_or(policy.thresholds.quota.bytes_per_month);
    if limit == 0 {
        return Ok(());
    }
    let (received, sent): (i64, i64) = sqlx::query_as(concat!(
        "SELECT ",
        total!("bytes_in"),
        ", ",
        total!("bytes_out"),
        " FROM usage WHERE month = $1 AND tenant = $2"
    ))
    .bind(month.to_string())
    .bind(tenant.as_str())
    .fetch_one(&mut *conn)
    .await?;
    let usage = Usage { tenant: tenant.clone(), month, received: uncount(received), sent: uncount(sent) };
    let total = u128::from(usage.received) + u128::from(usage.sent);
    // One leap over several is told as the last.
    let is_used = |mark: &&u8| total * 100 >= u128::from(limit) * u128::from(**mark);
    let Some(mark) = QUOTA_MARKS.iter().rev().find(is_used) else { return Ok(()) };
    let at = effects.now;
    let notices = with_office(effects, &policy, |office| office.of_usage(&usage, *mark, limit, at));
    keep(conn, notices, effects).await
}

fn with_office<T>(effects: &Effects, policy: &Arc<Policy>, make: impl FnOnce(Office<'_>) -> T) -> T {
    let people = Arc::clone(&effects.desk.people);
    let find = |id: &TenantId| people.by_id(id).map(|tenant| &**tenant);
    make(Office { policy, tenants: &find })
}

/// Keeps notices that are new, and forgets the oldest about the tenant.
async fn keep(conn: &mut Connection, notices: Vec<Notice>, effects: &mut Effects) -> Result<(), StoreError> {
    for notice in notices {
        if notice.kind == NoticeKind::None {
            continue;
        }
        let kept: Option<(i64,)> = sqlx::query_as(
            "INSERT INTO notices (id, recipient, tenant, decision, violation, kind, made, body) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING RETURNING number",
        )
        .bind(notice.id.0.as_str())
        .bind(notice.recipient.as_str())
        .bind(notice.tenant.as_str())
        .bind(notice.decision.as_ref().map(|id| id.0.as_str()))
        .bind(notice.violation.as_ref().map(|id| id.as_name().as_str()))
        .bind(notice.kind.name())
        .bind(nanos(effects.now))
        .bind(notice.encode())
        .fetch_optional(&mut *conn)
        .await?;
        let Some((number,)) = kept else { continue };
        let number = uncount(number);
        effects.events.push(What::Notice { number, notice: Arc::new(notice.clone()) });
        if !number.is_multiple_of(FORGET_EVERY) {
            continue;
        }
        sqlx::query(
            "DELETE FROM notices WHERE tenant = $1 AND number <= \
             (SELECT number FROM notices WHERE tenant = $1 ORDER BY number DESC LIMIT 1 OFFSET $2)",
        )
        .bind(notice.tenant.as_str())
        .bind(KEPT_ABOUT_TENANT)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}
