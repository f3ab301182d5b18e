//! Who is told what: notices made of decisions, of the ends of measures, and of what was used.
//!
//! Each is made once. A policy's decision makes its notices in the transaction that stores it, and is stored once; an operator's in that in which the
//! first node says that it has done it, for an order may fail, or be taken back before anybody carried it out. What is told of twice for other
//! reasons (a month's plan, by several nodes) has the same key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reeve_policy::language::Policy;
use reeve_policy::notice::{Office, QUOTA_MARKS};
use reeve_policy::{
    Class, Decision, DecisionId, Month, NodeId, Notice, NoticeKind, TenantId, Timestamp, Usage, Violation,
};

use super::super::query::{Select, total};
use super::super::read::TOGETHER;
use super::super::row::{Body, nanos, uncount};
use super::super::{Connection, StoreError};
use super::{Effects, is_sealed, unwritten};

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
    if decision.mode == reeve_policy::Mode::Observe
        || (!is_first && extends_another(conn, decision, effects).await?)
    {
        return Ok(());
    }
    // Of what is sealed nobody is told, then or later.
    if is_sealed(conn, &decision.tenant, &decision.clause, effects).await? {
        return Ok(());
    }
    let node = violation.map(|violation| &violation.node);
    let policy = effects.desk.policies.behind(conn, decision, node).await?;
    let notices = with_office(effects, &policy, |office| office.of_decision(decision, violation));
    keep(notices, effects);
    Ok(())
}

/// Whether a decision only extends to further targets what the same step upon the same violation holds already.
async fn extends_another(
    conn: &mut Connection,
    decision: &Decision,
    effects: &mut Effects,
) -> Result<bool, StoreError> {
    let Some(violation) = decision.violation.as_ref().filter(|_| decision.action.is_measure()) else {
        return Ok(false);
    };
    unwritten::write(conn, effects).await?;
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
    let ended = std::mem::take(&mut effects.ended);
    unwritten::write(conn, effects).await?;
    for some in ended.chunks(TOGETHER) {
        let around = Around::read(conn, some).await?;
        for ended in some {
            tell_end(conn, ended, &around, effects).await?;
        }
    }
    unwritten::write(conn, effects).await
}

/// What stands: the decision, the violation behind it, and when it ends by itself.
type Standing = (String, Option<String>, Option<i64>);

/// What there is around measures that ended.
struct Around {
    /// The violations that decisions are upon.
    upon: BTreeMap<String, String>,
    /// What stands of each tenant.
    standing: BTreeMap<String, Vec<Standing>>,
    /// Of what people were told, oldest first.
    told: Vec<Told>,
}

/// Somebody was told of a decision that was carried out.
struct Told {
    number: i64,
    decision: String,
    violation: Option<String>,
    recipient: String,
    body: Vec<u8>,
    class: Option<String>,
}

impl Around {
    async fn read(conn: &mut Connection, ended: &[Ended]) -> Result<Self, StoreError> {
        let decisions = || ended.iter().map(|ended| ended.decision.0.as_str());
        let mut query =
            Select::new("SELECT id, violation FROM decisions WHERE violation IS NOT NULL AND id IN ");
        query.push_list(decisions());
        let upon: BTreeMap<String, String> = query.fetch_all(&mut *conn).await?.into_iter().collect();
        let mut query = Select::new(
            "SELECT m.tenant, m.decision, d.violation, m.expires FROM measures m \
             LEFT JOIN decisions d ON d.id = m.decision WHERE m.lifted IS NULL AND m.tenant IN ",
        );
        query.push_list(ended.iter().map(|ended| ended.tenant.as_str()));
        let rows: Vec<(String, String, Option<String>, Option<i64>)> = query.fetch_all(&mut *conn).await?;
        let mut standing: BTreeMap<String, Vec<Standing>> = BTreeMap::new();
        for (tenant, decision, violation, expires) in rows {
            standing.entry(tenant).or_default().push((decision, violation, expires));
        }
        let violations: BTreeSet<&str> = upon.values().map(String::as_str).collect();
        let mut told = Told::read(conn, "n.decision", decisions()).await?;
        told.append(&mut Told::read(conn, "n.violation", violations.into_iter()).await?);
        told.sort_by_key(|told| told.number);
        told.dedup_by_key(|told| told.number);
        Ok(Self { upon, standing, told })
    }
}

impl Told {
    async fn read(
        conn: &mut Connection,
        by: &'static str,
        keys: impl ExactSizeIterator<Item = &str>,
    ) -> Result<Vec<Self>, StoreError> {
        if keys.len() == 0 {
            return Ok(Vec::new());
        }
        let mut query = Select::new(
            "SELECT n.number, n.decision, n.violation, n.recipient, d.body, d.class FROM notices n \
             JOIN decisions d ON d.id = n.decision WHERE n.kind <> 'lifted' \
             AND (SELECT m.node FROM measures m WHERE m.decision = d.id LIMIT 1) IS NOT NULL AND ",
        );
        query.push(by).push(" IN ").push_list(keys);
        type Row = (i64, String, Option<String>, String, Vec<u8>, Option<String>);
        let rows: Vec<Row> = query.fetch_all(conn).await?;
        let told = rows.into_iter().map(|(number, decision, violation, recipient, body, class)| Self {
            number,
            decision,
            violation,
            recipient,
            body,
            class,
        });
        Ok(told.collect())
    }
}

async fn tell_end(
    conn: &mut Connection,
    ended: &Ended,
    around: &Around,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let decision = ended.decision.0.as_str();
    let violation = around.upon.get(decision);
    let is_about =
        |of: &str, upon: Option<&String>| of == decision || (violation.is_some() && upon == violation);
    let standing = around.standing.get(ended.tenant.as_str()).into_iter().flatten();
    let standing = standing.filter(|(.., expires)| expires.is_none_or(|expires| expires > nanos(ended.at)));
    let standing: Vec<_> = standing.collect();
    if standing.iter().any(|(of, upon, _)| is_about(of, upon.as_ref())) {
        return Ok(());
    }
    // Whoever was told of it, is told of its end: of the last of them, where several follow each other.
    let mut told = around.told.iter().rev();
    let Some(last) = told.find(|told| is_about(&told.decision, told.violation.as_ref())) else {
        return Ok(());
    };
    let decision = Decision::decode(&last.body)?;
    if is_sealed(conn, &decision.tenant, &decision.clause, effects).await? {
        return Ok(());
    }
    let recipients: BTreeSet<&str> = around
        .told
        .iter()
        .filter(|told| told.decision == last.decision)
        .map(|told| told.recipient.as_str())
        .collect();
    let policy = effects.desk.policies.behind(conn, &decision, None).await?;
    let class = last.class.as_ref().and_then(|class| class.parse::<Class>().ok());
    let mut notices = with_office(effects, &policy, |office| {
        office.of_end(&decision, class, ended.at, !standing.is_empty())
    });
    notices.retain(|notice| recipients.contains(notice.recipient.as_str()));
    keep(notices, effects);
    Ok(())
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
    keep(notices, effects);
    Ok(())
}

fn with_office<T>(effects: &Effects, policy: &Arc<Policy>, make: impl FnOnce(Office<'_>) -> T) -> T {
    let people = Arc::clone(&effects.desk.people);
    let find = |id: &TenantId| people.by_id(id).map(|tenant| &**tenant);
    make(Office { policy, tenants: &find })
}

/// Keeps notices that are new.
fn keep(notices: Vec<Notice>, effects: &mut Effects) {
    for notice in notices.into_iter().filter(|notice| notice.kind != NoticeKind::None) {
        effects.seen.unwritten.put_notice(notice);
    }
}

/// Forgets the oldest notices about a tenant, of which the last has this number.
pub(super) async fn forget(conn: &mut Connection, tenant: &TenantId, number: u64) -> Result<(), StoreError> {
    if !number.is_multiple_of(FORGET_EVERY) {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM notices WHERE tenant = $1 AND number <= \
         (SELECT number FROM notices WHERE tenant = $1 ORDER BY number DESC LIMIT 1 OFFSET $2) \
         AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.notice = notices.number AND d.state = 'pending') \
         AND NOT EXISTS (SELECT 1 FROM evidence_holds h WHERE h.violation = notices.violation) \
         AND NOT EXISTS (SELECT 1 FROM violations v JOIN cases c ON c.id = v.case_id \
         WHERE v.id = notices.violation AND c.held_by IS NOT NULL) \
         AND NOT EXISTS (SELECT 1 FROM decisions d JOIN cases c ON c.id = d.case_id \
         WHERE d.id = notices.decision AND c.held_by IS NOT NULL)",
    )
    .bind(tenant.as_str())
    .bind(KEPT_ABOUT_TENANT)
    .execute(conn)
    .await?;
    Ok(())
}
