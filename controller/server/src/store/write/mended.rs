//! Whoever was told says that it is mended: what a rule lets go of after a silence is let go of when there was such a silence.
//!
//! Silence is what nodes do not tell. While a measure stands a node's detectors take nothing for evidence that the measure itself stops, so of that
//! what measures have stopped counts, whichever they are: any packet more is no silence. Of nodes that are not connected, or have not told what they
//! kept meanwhile, nothing is known, and nothing is lifted.
//!
//! Left out: what people ordered, what waits for a check or a payment, and rules that name no time: a person decides about these.

use std::collections::BTreeSet;
use std::time::Duration;

use reeve_policy::{
    Action, Class, Decision, DecisionId, Name, NodeHealth, NodeId, Order, OrderId, Origin, Timestamp, Until,
    Violation,
};

use super::super::cases::{CaseRow, EntryKind, held_by_case, one};
use super::super::row::{Body, name, nanos, time};
use super::super::{Connection, StoreError, audit};
use super::cases::{enter, is_said_enough, put};
use super::orders::{About, insert_for_all, nodes};
use super::{Effects, settle};
use crate::audit::{Also, Draft};
use crate::clock;

/// How many claims are looked at in one transaction.
const BATCH: i64 = 200;
/// How many of a tenant's violations are looked at, the newest.
const MOST: i64 = 1_000;
/// A claim that cannot be decided, since a node is away, is looked at again after this long.
const LATER: Duration = Duration::from_secs(10);
/// What is done by a link, in the audit log.
const ACT: &str = "/links/fixed/release";
/// In which role.
const ROLE: &str = "link";

/// Somebody says that it is mended.
#[derive(Clone, Debug)]
pub struct MendAsked {
    /// Of which case.
    pub case: Name,
    /// To whom the letter was written.
    pub by: String,
    /// From which address.
    pub from: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mended {
    /// Nothing stands that a silence ends: a person decides about the rest.
    Person,
    /// There was no silence yet.
    Seen {
        /// What was seen last.
        class: Option<Class>,
        /// When.
        at: Timestamp,
        /// How often in all.
        count: u64,
        /// When it is looked at again.
        again: Timestamp,
    },
    /// So many measures are let go of.
    LetGo(usize),
    /// As much was said of the case as is kept: nothing is done that is not written there.
    Full,
}

/// Looks at a case of which somebody says that it is mended; what is not over is looked at again by itself.
///
/// # Errors
/// Where the database fails.
pub async fn mend(
    conn: &mut Connection,
    asked: &MendAsked,
    effects: &mut Effects,
) -> Result<Mended, StoreError> {
    settle(conn, effects).await?;
    let case = one(conn, asked.case.as_str()).await?.filter(|case| case.sealed.is_none());
    let Some(mut case) = case else { return Ok(Mended::Person) };
    if is_said_enough(conn, case.id.as_str()).await? {
        return Ok(Mended::Full);
    }
    let Some(found) = look(conn, &case, effects).await? else {
        forget(conn, &case).await?;
        return Ok(Mended::Person);
    };
    if found.is_over(effects.now) {
        let count = let_go(conn, &mut case, &found, (&asked.by, &asked.from), effects).await?;
        return Ok(Mended::LetGo(count));
    }
    let again = found.next(effects.now);
    sqlx::query(
        "INSERT INTO claims (case_id, author, asked, seen, due) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (case_id) DO UPDATE SET author = excluded.author, asked = excluded.asked, \
         seen = excluded.seen, due = excluded.due",
    )
    .bind(case.id.as_str())
    .bind(asked.by.as_str())
    .bind(nanos(effects.now))
    .bind(nanos(found.last))
    .bind(nanos(again))
    .execute(conn)
    .await?;
    Ok(Mended::Seen { class: found.class, at: found.last, count: found.count, again })
}

/// Looks again at cases whose silence may be long enough, or of which more was seen; how many claims are over by that.
///
/// # Errors
/// Where the database fails.
pub async fn look_again(conn: &mut Connection, effects: &mut Effects) -> Result<u64, StoreError> {
    settle(conn, effects).await?;
    let due: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT c.case_id, c.author, c.seen FROM claims c WHERE c.due IS NOT NULL AND (c.due <= $1 OR EXISTS (\
         SELECT 1 FROM violations v WHERE v.case_id = c.case_id AND v.last_seen > c.seen)) \
         ORDER BY c.due, c.case_id LIMIT $2",
    )
    .bind(nanos(effects.now))
    .bind(BATCH)
    .fetch_all(&mut *conn)
    .await?;
    let mut over = 0;
    for (id, author, seen) in due {
        let Some(mut case) = one(conn, &id).await? else { continue };
        if case.sealed.is_some() {
            // Nothing comes by itself of what is said about it.
            forget(conn, &case).await?;
            continue;
        }
        let Some(found) = look(conn, &case, effects).await? else {
            // It ended by itself, or a person was faster.
            forget(conn, &case).await?;
            over += 1;
            continue;
        };
        if found.last > time(seen) {
            let told =
                format!("it was seen again, last at {}: what was said to be mended is not", found.last);
            say(conn, &mut case, &told, effects).await?;
            sqlx::query("UPDATE claims SET seen = $1, due = NULL WHERE case_id = $2")
                .bind(nanos(found.last))
                .bind(id)
                .execute(&mut *conn)
                .await?;
            over += 1;
        } else if found.is_over(effects.now) {
            let_go(conn, &mut case, &found, (&author, ""), effects).await?;
            over += 1;
        } else {
            sqlx::query("UPDATE claims SET due = $1 WHERE case_id = $2")
                .bind(nanos(found.next(effects.now)))
                .bind(id)
                .execute(&mut *conn)
                .await?;
        }
    }
    Ok(over)
}

/// What stands of a case that a silence ends, and what is known of that.
struct Found {
    decisions: BTreeSet<DecisionId>,
    /// The longest silence that is asked for.
    silence: Duration,
    class: Option<Class>,
    last: Timestamp,
    count: u64,
    /// Whether a node that holds the tenant, or saw it last, is not connected, or has not told yet how it was for so long.
    is_unheard: bool,
}

impl Found {
    fn is_over(&self, now: Timestamp) -> bool {
        !self.is_unheard && self.last + self.silence <= now
    }

    /// When it is to be looked at again.
    fn next(&self, now: Timestamp) -> Timestamp {
        let due = self.last + self.silence;
        if due <= now { now + LATER } else { due }
    }
}

async fn look(
    conn: &mut Connection,
    case: &CaseRow,
    effects: &mut Effects,
) -> Result<Option<Found>, StoreError> {
    let rows: Vec<(Vec<u8>, Option<String>, i64)> = sqlx::query_as(
        "SELECT v.body, v.case_id, CASE WHEN c.sealed_since IS NULL THEN 0 ELSE 1 END FROM violations v \
         LEFT JOIN cases c ON c.id = v.case_id WHERE v.tenant = $1 ORDER BY v.last_seen DESC LIMIT $2",
    )
    .bind(case.tenant.as_str())
    .bind(MOST)
    .fetch_all(&mut *conn)
    .await?;
    let (mut own, mut others): (Vec<Violation>, Vec<(Violation, bool)>) = (Vec::new(), Vec::new());
    for (body, of, is_sealed) in rows {
        let violation = Violation::decode(&body)?;
        if of.as_deref() == Some(case.id.as_str()) {
            own.push(violation);
        } else {
            others.push((violation, is_sealed > 0));
        }
    }
    let classes: BTreeSet<Class> = own.iter().map(|violation| violation.evidence.class).collect();
    // The same class may be under another clause where it harms somebody else: it is not silent then.
    others.retain(|(violation, _)| classes.contains(&violation.evidence.class));
    // Of what is sealed nobody is told when it was seen, nor is anything let go of while it may go on: a person decides. So it is, too, where
    // nothing of the case is among the newest.
    if others.iter().any(|(_, is_sealed)| *is_sealed) {
        return Ok(None);
    }
    let others = others.iter().map(|(violation, _)| violation);
    let Some(newest) = own.iter().chain(others).max_by_key(|violation| violation.last_seen) else {
        return Ok(None);
    };
    let mut found = Found {
        decisions: BTreeSet::new(),
        silence: Duration::ZERO,
        class: own.first().map(|violation| violation.evidence.class),
        last: newest.last_seen,
        count: own.iter().fold(0, |sum, violation| violation.alerts.saturating_add(sum)),
        is_unheard: false,
    };
    let mut concerned: BTreeSet<NodeId> =
        own.iter().filter(|one| one.closed.is_none()).map(|one| one.node.clone()).collect();
    // Whatever stops the tenant's traffic hides the rest of it, be it of another case, an operator's, or until an invoice is paid.
    let (grown,): (Option<i64>,) =
        sqlx::query_as("SELECT max(grown) FROM measures WHERE tenant = $1 AND lifted IS NULL")
            .bind(case.tenant.as_str())
            .fetch_one(&mut *conn)
            .await?;
    found.last = grown.map_or(found.last, |grown| found.last.max(time(grown)));
    for (node, body) in held_by_case(conn, case.id.as_str(), effects.now).await? {
        let decision = Decision::decode(&body)?;
        let Some(silence) = silence_of(conn, case, &decision, effects).await? else { continue };
        if found.decisions.len() < Order::MAX_LET_GO {
            found.decisions.insert(decision.id);
        }
        found.silence = found.silence.max(silence);
        concerned.insert(name("node", &node)?);
    }
    for node in concerned {
        let here: Option<(Option<Vec<u8>>,)> = sqlx::query_as(
            "SELECT n.health FROM presence p JOIN nodes n ON n.name = p.node WHERE p.node = $1 AND n.told > p.since",
        )
        .bind(node.as_str())
        .fetch_optional(&mut *conn)
        .await?;
        // How it fares a node tells behind all that it had to tell until then, so one that comes back is heard when it has told what it kept. Both
        // times are by its own clock.
        let health = here.and_then(|(health,)| health).and_then(|body| NodeHealth::decode(&body).ok());
        let is_heard = health.is_some_and(|health| health.at >= newest.last_seen + found.silence);
        found.is_unheard |= !is_heard;
    }
    Ok((!found.decisions.is_empty()).then_some(found))
}

/// After which silence a decision is let go of; `None` where a person decides.
async fn silence_of(
    conn: &mut Connection,
    case: &CaseRow,
    decision: &Decision,
    effects: &mut Effects,
) -> Result<Option<Duration>, StoreError> {
    let Origin::Policy { rule, .. } = &decision.origin else { return Ok(None) };
    let is_meant = decision.tenant == case.tenant
        && !matches!(decision.until, Until::Paid | Until::Verified)
        && !matches!(decision.action, Action::Observe | Action::Notify);
    if !is_meant {
        return Ok(None);
    }
    let policy = effects.desk.policies.clone().behind(conn, decision, None).await?;
    Ok(policy.rules.iter().find(|one| one.id == *rule).and_then(|rule| rule.release_after_silence))
}

/// Lets go of what was found, in the name of whoever said that it is mended. How many decisions it is.
async fn let_go(
    conn: &mut Connection,
    case: &mut CaseRow,
    found: &Found,
    (by, from): (&str, &str),
    effects: &mut Effects,
) -> Result<usize, StoreError> {
    let count = found.decisions.len();
    let reason = format!(
        "{by} says that it is mended, and nothing was seen since {}: {count} of the case's measures {} lifted",
        found.last,
        if count == 1 { "is" } else { "are" }
    );
    for decision in &found.decisions {
        sqlx::query(
            "UPDATE decisions SET released = $1 WHERE id = $2 AND operator IS NULL AND released IS NULL",
        )
        .bind(nanos(effects.now))
        .bind(decision.0.as_str())
        .execute(&mut *conn)
        .await?;
    }
    let id = OrderId(clock::key_of('O', effects.now));
    let order = Order::LetGo {
        id: id.clone(),
        tenant: case.tenant.clone(),
        decisions: found.decisions.clone(),
        by: by.to_owned(),
        reason: reason.clone(),
    };
    insert_for_all(conn, &id, &order, About::Tenant(&case.tenant, None), effects.now).await?;
    effects.ordered.extend(nodes(conn).await?);
    effects.touched.insert(case.tenant.clone());
    let draft = Draft {
        who: by.to_owned(),
        role: ROLE.to_owned(),
        from: from.to_owned(),
        act: ACT.to_owned(),
        subject: format!("tenant/{}", case.tenant),
        asked: format!("{{\"case\":\"{}\",\"order\":\"{id}\"}}", case.id),
        reason: reason.clone(),
        ..Draft::default()
    };
    let also = [Also { subject: format!("case/{}", case.id), reason: reason.clone() }];
    audit::enter_all(conn, &draft, &also, effects.now).await?;
    say(conn, case, &reason, effects).await?;
    forget(conn, case).await?;
    Ok(count)
}

/// Something is written down on a case, by the controller.
async fn say(
    conn: &mut Connection,
    case: &mut CaseRow,
    text: &str,
    effects: &Effects,
) -> Result<(), StoreError> {
    case.updated = effects.now;
    enter(conn, case, (EntryKind::Note, "", text)).await?;
    put(conn, case).await
}

async fn forget(conn: &mut Connection, case: &CaseRow) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM claims WHERE case_id = $1").bind(case.id.as_str()).execute(conn).await?;
    Ok(())
}
