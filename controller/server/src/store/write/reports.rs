//! What agents report.

use std::collections::BTreeMap;
use std::sync::Arc;

use reeve_policy::{
    Action, Decision, DecisionId, LiftReason, Measure, MeasureCounters, Mode, Name, NodeEvent, NodeEventKind,
    NodeHealth, NodeId, Origin, Report, TenantId, Timestamp, Until, Violation, ViolationState,
};

use super::super::row::{Body, count, nanos};
use super::super::{Connection, StoreError};
use super::seen::{Known, Stood};
use super::unwritten::{self, DecisionRow};
use super::{Effects, Ended, cases, evidence, follow, notices, relay, usage};
use crate::events::What;

/// How many events of a node are kept, and some more until they are next counted.
const EVENTS_KEPT: i64 = 10_000;
/// Finding the oldest costs a walk past all that are kept, so it is done once for so many events.
const FORGET_EVENTS_EVERY: i64 = 100;
/// So many ends of exemptions are remembered.
const WARNINGS_KEPT: i64 = 10_000;

/// Why a readable report was thrown away all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is another node's to report, or nobody's: a violation seen elsewhere, an operator's decision never given.
    #[error("it is not this node's to report")]
    OtherNode,
    /// It is about a tenant that cannot be on the node.
    #[error("the tenant is not on this node")]
    OtherTenant,
    /// A greeting names more measures of which nothing was known than are taken at once.
    #[error("it is one of too many that are new at once")]
    TooMany,
    /// A measure that is only to be observed cannot stand in a kernel.
    #[error("a decision that is only to be observed cannot stand in a kernel")]
    NotEnforced,
    /// A clause is POLICY/CLAUSE, of two names: longer ones are in no policy, and in no key of a database.
    #[error("it names no clause")]
    NoClause,
}

fn is_clause(text: &str) -> bool {
    let is_name = |part: &str| part.parse::<Name>().is_ok();
    text.split_once('/').is_some_and(|(policy, clause)| is_name(policy) && is_name(clause))
}

/// Counts so many reports that could not be taken.
///
/// # Errors
/// Where the database fails.
pub async fn refuse(conn: &mut Connection, node: &NodeId, reports: i64) -> Result<(), StoreError> {
    sqlx::query("UPDATE nodes SET reports_refused = reports_refused + $1 WHERE name = $2")
        .bind(reports)
        .bind(node.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

/// Stores one report, or tells why not.
///
/// # Errors
/// Where the database fails.
pub async fn report(
    conn: &mut Connection,
    node: &NodeId,
    report: &Report,
    effects: &mut Effects,
) -> Result<Result<(), Refusal>, StoreError> {
    let clause = match report {
        Report::Violation(violation) => violation.clause.as_str(),
        Report::Decision(decision) => decision.clause.as_str(),
        Report::Standing { measure, .. } => measure.decision.clause.as_str(),
        _ => "",
    };
    if !clause.is_empty() && !is_clause(clause) {
        return Ok(Err(Refusal::NoClause));
    }
    match report {
        Report::Violation(violation) if violation.node != *node => return Ok(Err(Refusal::OtherNode)),
        Report::Standing { measure, .. } if measure.decision.mode != Mode::Enforce => {
            return Ok(Err(Refusal::NotEnforced));
        }
        Report::Violation(violation) => return store_violation(conn, violation, effects).await,
        Report::Decision(decision) => {
            let behind = behind(conn, decision, effects).await?;
            if !is_own(conn, node, decision, behind.as_ref()).await? {
                return Ok(Err(Refusal::OtherNode));
            }
            if !is_there(conn, node, decision, effects).await? {
                return Ok(Err(Refusal::OtherTenant));
            }
            store_decision_behind(conn, decision, None, behind.as_ref(), effects).await?;
            if let Some(behind) = behind {
                evidence::keep_behind(decision, &behind.violation, effects);
            }
        }
        Report::Standing { measure, at } => {
            return stands(conn, node, measure, *at, effects).await;
        }
        Report::Lifted { decision, tenant, reason, at, counters } => {
            let lift = Lift { decision, tenant, reason: reason.name(), at: *at };
            lifted(conn, node, lift, Some(*counters), effects).await?;
        }
        Report::Counters(counters) => count_up(conn, node, counters, effects).await?,
        Report::Health(health) => store_health(conn, node, health, effects).await?,
        Report::Usage { tallies } => return usage::store(conn, node, tallies, effects).await,
        Report::RelayChecked(checked) => relay::checked(conn, node, checked, effects).await?,
        Report::Event(event) => store_event(conn, node, event, effects).await?,
    }
    Ok(Ok(()))
}

/// Stores a violation of whoever reports it: a new one if its tenant can be there, and what became of one that is known wherever the tenant is now.
async fn store_violation(
    conn: &mut Connection,
    violation: &Violation,
    effects: &mut Effects,
) -> Result<Result<(), Refusal>, StoreError> {
    let known = effects.seen.violation(conn, &violation.id).await?;
    let open = violation.state == ViolationState::Open;
    let opens = known.is_none();
    let closes = !open && known.as_ref().is_none_or(|known| known.state == ViolationState::Open.name());
    if opens && !follow::may_tell(effects, &violation.node, &violation.tenant) {
        return Ok(Err(Refusal::OtherTenant));
    }
    if let Some(Known { node, tenant, state, .. }) = &known {
        // An episode is never another tenant's than it was: what was decided upon it would be that tenant's too.
        if *tenant != violation.tenant {
            return Ok(Err(Refusal::OtherTenant));
        }
        // A closed episode stays closed: a report from before the order that closed it changes nothing.
        let stale = open && state != ViolationState::Open.name();
        if stale || *node != violation.node {
            return Ok(Ok(()));
        }
    }
    evidence::keep_opening(conn, violation, known.as_ref(), effects).await?;
    let (node, tenant) = (violation.node.clone(), violation.tenant.clone());
    let case = match &known {
        Some(known) => known.case.clone(),
        None => Some(cases::file(conn, &tenant, &violation.clause, effects).await?),
    };
    if closes && let Some(case) = &case {
        effects.seen.unwritten.news.insert(case.clone());
    }
    let (state, counts) = (violation.state.name().to_owned(), known.and_then(|known| known.counts));
    let body = violation.encode();
    let now = Known { node, tenant, state, counts, body, has_evidence: true, case };
    effects.seen.put_violation(violation, now);
    if opens || closes {
        effects.touched.insert(violation.tenant.clone());
    }
    if opens {
        effects.events.push(What::ViolationOpened(Arc::new(violation.clone())));
    }
    if closes {
        effects.events.push(What::ViolationClosed(Arc::new(violation.clone())));
    }
    Ok(Ok(()))
}

/// What is stored of the violation that a decision is upon.
#[derive(Debug)]
pub(super) struct Behind {
    pub violation: Violation,
    /// Whether it is held against the tenant; `None` until something was decided.
    pub counts: Option<bool>,
    /// The case that it belongs to.
    pub case: Option<Name>,
}

/// Reads the violation behind a decision; `None` where there is none, or none that is known.
async fn behind(
    conn: &mut Connection,
    decision: &Decision,
    effects: &mut Effects,
) -> Result<Option<Behind>, StoreError> {
    let Some(id) = &decision.violation else { return Ok(None) };
    let known = effects.seen.violation(conn, id).await?;
    let behind = known.map(|Known { body, counts, case, .. }| {
        Ok(Behind { violation: Violation::decode(&body)?, counts, case })
    });
    behind.transpose()
}

/// Whether a decision is this node's to report: one upon a violation of its own, or an operator's that this controller
/// gave. What a node makes up about another's violation, or in an operator's name, is refused.
async fn is_own(
    conn: &mut Connection,
    node: &NodeId,
    decision: &Decision,
    behind: Option<&Behind>,
) -> Result<bool, StoreError> {
    if let Origin::Operator { .. } = decision.origin {
        let given: Option<(Vec<u8>,)> =
            sqlx::query_as("SELECT body FROM decisions WHERE id = $1 AND operator IS NOT NULL")
                .bind(decision.id.0.as_str())
                .fetch_optional(&mut *conn)
                .await?;
        return Ok(given.is_some_and(|(body,)| body == decision.encode()));
    }
    let is_upon =
        |Behind { violation, .. }: &Behind| violation.node == *node && violation.tenant == decision.tenant;
    // The report of the violation may have had to make room in a full spool.
    Ok(decision.violation.is_some() && behind.is_none_or(is_upon))
}

/// Whether the tenant of a decision can be on this node, or the node held it by this decision before the tenant moved away. Operators'
/// decisions are ordered everywhere.
async fn is_there(
    conn: &mut Connection,
    node: &NodeId,
    decision: &Decision,
    effects: &mut Effects,
) -> Result<bool, StoreError> {
    let is_operators = matches!(decision.origin, Origin::Operator { .. });
    if is_operators || follow::may_tell(effects, node, &decision.tenant) {
        return Ok(true);
    }
    let known = effects.seen.measure(conn, node, &decision.id).await?;
    Ok(known.is_some_and(|known| known.tenant == decision.tenant.as_str()))
}

/// Stores a decision unless it is known: decisions never change. `operator` is who gave it to this controller; whatever a
/// node says of a decision's origin, it is never ordered on other nodes for that.
pub(super) async fn store_decision(
    conn: &mut Connection,
    decision: &Decision,
    operator: Option<&str>,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let behind = behind(conn, decision, effects).await?;
    store_decision_behind(conn, decision, operator, behind.as_ref(), effects).await?;
    unwritten::write(conn, effects).await
}

async fn store_decision_behind(
    conn: &mut Connection,
    decision: &Decision,
    operator: Option<&str>,
    behind: Option<&Behind>,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    if effects.seen.has_decision(conn, &decision.id).await? {
        return Ok(());
    }
    let violation = behind.map(|behind| &behind.violation);
    let class = violation.map(|violation| violation.evidence.class);
    let case = match behind {
        Some(behind) => {
            effects.seen.unwritten.news.extend(behind.case.clone());
            None
        }
        None if is_of_case(decision) => {
            Some(cases::file(conn, &decision.tenant, &decision.clause, effects).await?)
        }
        None => None,
    };
    effects.seen.put_decision(DecisionRow::of(decision, operator, class, case));
    // Before anything is decided upon a violation it says nothing of whether it counts.
    let is_first = behind.is_some_and(|Behind { violation, counts, .. }| {
        counts.is_none() && violation.tenant == decision.tenant
    });
    if let Some(behind) = behind {
        follow::note_counts(decision, behind, effects);
    }
    effects.touched.insert(decision.tenant.clone());
    effects.events.push(What::Decided(Arc::new(decision.clone())));
    // What an operator orders may fail or never be carried out: of that is told when a node has done it.
    if !matches!(decision.origin, Origin::Operator { .. }) {
        notices::tell_decision(conn, decision, violation, is_first, effects).await?;
    }
    Ok(())
}

/// Whether what an operator imposes is a case: it is by a clause, and not for an invoice.
fn is_of_case(decision: &Decision) -> bool {
    decision.violation.is_none() && !decision.clause.is_empty() && decision.until != Until::Paid
}

/// Whether a node ever carried a decision out.
async fn was_done(
    conn: &mut Connection,
    decision: &Decision,
    effects: &mut Effects,
) -> Result<bool, StoreError> {
    unwritten::write(conn, effects).await?;
    let row: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM measures WHERE decision = $1 LIMIT 1")
        .bind(decision.id.0.as_str())
        .fetch_optional(conn)
        .await?;
    Ok(row.is_some())
}

/// Notes that a measure stands on a node since `at`, unless it was lifted there since, or tells why that is not believed: it carries out neither
/// what the node decided nor what it was told, or holds whom it cannot hold.
pub(super) async fn stands(
    conn: &mut Connection,
    node: &NodeId,
    measure: &Measure,
    at: Timestamp,
    effects: &mut Effects,
) -> Result<Result<(), Refusal>, StoreError> {
    let decision = &measure.decision;
    let behind = behind(conn, decision, effects).await?;
    if !is_own(conn, node, decision, behind.as_ref()).await? {
        unwritten::write(conn, effects).await?;
        if !follow::is_told(conn, decision).await? {
            return Ok(Err(Refusal::OtherNode));
        }
    }
    if !is_there(conn, node, decision, effects).await? {
        return Ok(Err(Refusal::OtherTenant));
    }
    stands_behind(conn, node, (measure, at), behind.as_ref(), effects).await?;
    Ok(Ok(()))
}

/// The same, of one that is believed. Of an operator's decision is told when it first stands.
pub(super) async fn stands_behind(
    conn: &mut Connection,
    node: &NodeId,
    (measure, at): (&Measure, Timestamp),
    behind: Option<&Behind>,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    store_decision_behind(conn, &measure.decision, None, behind, effects).await?;
    let known = effects.seen.measure(conn, node, &measure.decision.id).await?;
    let lifted = known.as_ref().and_then(|known| known.lifted);
    if lifted.is_some_and(|lifted| lifted >= nanos(at)) {
        return Ok(());
    }
    let is_operators = matches!(measure.decision.origin, Origin::Operator { .. });
    if is_operators && !was_done(conn, &measure.decision, effects).await? {
        notices::tell_decision(conn, &measure.decision, None, false, effects).await?;
    }
    let is_new = known.as_ref().is_none_or(|known| known.lifted.is_some());
    let tenant = measure.decision.tenant.to_string();
    let (tenant, since, packets, bytes, grown) = match known {
        // It has stood since the earliest time that it is said to.
        Some(known) if known.lifted.is_none() => {
            (known.tenant, known.since.min(nanos(at)), known.packets, known.bytes, known.grown)
        }
        Some(known) => (known.tenant, nanos(at), known.packets, known.bytes, known.grown),
        None => (tenant, nanos(at), 0, 0, None),
    };
    let (expires, body) = (measure.expires.map(nanos), measure.encode());
    let suspends = measure.decision.action == Action::Suspend;
    let (lifted, lift_reason) = (None, None);
    let stood = Stood { tenant, since, expires, lifted, lift_reason, packets, bytes, grown, suspends, body };
    effects.seen.put_measure(node, &measure.decision.id, stood);
    effects.touched.insert(measure.decision.tenant.clone());
    if is_new {
        effects.events.push(What::MeasureStands { node: node.clone(), measure: Arc::new(measure.clone()) });
    }
    Ok(())
}

/// Which measure was lifted, why and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lift<'a> {
    pub decision: &'a DecisionId,
    pub tenant: &'a TenantId,
    /// A [`LiftReason`]'s name, or `absent`.
    pub reason: &'static str,
    pub at: Timestamp,
}

/// Notes that a measure stands no longer on a node.
pub(super) async fn lifted(
    conn: &mut Connection,
    node: &NodeId,
    lift: Lift<'_>,
    counters: Option<MeasureCounters>,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let known = effects.seen.measure(conn, node, lift.decision).await?;
    let Some(known) = known.filter(|known| known.tenant == lift.tenant.as_str()) else { return Ok(()) };
    let before = known.lifted;
    let counted = counters
        .map_or((known.packets, known.bytes), |counters| (count(counters.packets), count(counters.bytes)));
    let stood = Stood {
        lifted: Some(before.unwrap_or(nanos(lift.at))),
        lift_reason: Some(lift.reason.to_owned()),
        packets: counted.0,
        bytes: counted.1,
        ..known
    };
    effects.seen.put_measure(node, lift.decision, stood);
    if [LiftReason::Released, LiftReason::Verified].map(LiftReason::name).contains(&lift.reason) {
        effects.seen.unwritten.put_let_go(node, lift.decision, lift.at);
    }
    if before.is_none() {
        effects.touched.insert(lift.tenant.clone());
        // Of one that moved to another node, or that a node lost, nothing is over.
        let over = [LiftReason::Expired, LiftReason::Released, LiftReason::Verified].map(LiftReason::name);
        if over.contains(&lift.reason) {
            let (decision, tenant) = (lift.decision.clone(), lift.tenant.clone());
            effects.ended.push(Ended { decision, tenant, at: lift.at });
        }
        effects.events.push(What::MeasureLifted {
            node: node.clone(),
            decision: lift.decision.clone(),
            tenant: lift.tenant.clone(),
            reason: lift.reason,
            counters: MeasureCounters {
                packets: counted.0.cast_unsigned(),
                bytes: counted.1.cast_unsigned(),
            },
        });
    }
    Ok(())
}

/// Lifts what stands of one tenant on a node since `at` or longer, as far as a release or a payment `ends` it.
pub(super) async fn lift_all(
    conn: &mut Connection,
    node: &NodeId,
    tenant: &TenantId,
    at: Timestamp,
    ends: fn(&Decision) -> bool,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let standing: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT decision, body FROM measures WHERE node = $1 AND tenant = $2 AND lifted IS NULL AND since <= $3",
    )
    .bind(node.as_str())
    .bind(tenant.as_str())
    .bind(nanos(at))
    .fetch_all(&mut *conn)
    .await?;
    for (decision, body) in standing {
        if !ends(&Measure::decode(&body)?.decision) {
            continue;
        }
        let decision = DecisionId(super::super::row::name("decision", &decision)?);
        let lift = Lift { decision: &decision, tenant, reason: LiftReason::Released.name(), at };
        lifted(conn, node, lift, None, effects).await?;
    }
    Ok(())
}

async fn count_up(
    conn: &mut Connection,
    node: &NodeId,
    counters: &BTreeMap<DecisionId, MeasureCounters>,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    for (decision, counters) in counters {
        let known = effects.seen.measure(conn, node, decision).await?;
        let Some(known) = known.filter(|known| known.lifted.is_none()) else { continue };
        let (packets, bytes) = (count(counters.packets), count(counters.bytes));
        // A counter that is less than before has begun anew, with whatever it has counted since.
        let has_grown = packets > known.packets || (packets > 0 && packets < known.packets);
        let grown = if has_grown { Some(nanos(effects.now)) } else { known.grown };
        effects.seen.put_measure(node, decision, Stood { packets, bytes, grown, ..known });
    }
    Ok(())
}

async fn store_health(
    conn: &mut Connection,
    node: &NodeId,
    health: &NodeHealth,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    // What cannot be read back is as good as nothing.
    let before = effects.seen.health(conn, node).await?.and_then(|body| NodeHealth::decode(&body).ok());
    if before.and_then(|before| before.paused) != health.paused {
        effects.pauses_told.insert(node.clone(), health.paused.clone());
    }
    effects.seen.put_health(node, &health.agent_version, health.encode());
    Ok(())
}

/// Stores an event unless it is known.
pub(super) async fn store_event(
    conn: &mut Connection,
    node: &NodeId,
    event: &NodeEvent,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    if event.kind == NodeEventKind::ExemptionEnds && !is_first_warning(conn, event).await? {
        return Ok(());
    }
    effects.seen.unwritten.put_event(node, event);
    Ok(())
}

/// Forgets the oldest events of a node, of which the last has this number.
pub(super) async fn forget_events(
    conn: &mut Connection,
    node: &NodeId,
    number: i64,
) -> Result<(), StoreError> {
    if number % FORGET_EVENTS_EVERY != 0 {
        return Ok(());
    }
    let last: Option<(i64, String)> = sqlx::query_as(
        "SELECT at, kind FROM node_events WHERE node = $1 ORDER BY at DESC, kind DESC LIMIT 1 OFFSET $2",
    )
    .bind(node.as_str())
    .bind(EVENTS_KEPT)
    .fetch_optional(&mut *conn)
    .await?;
    if let Some((at, kind)) = last {
        sqlx::query("DELETE FROM node_events WHERE node = $1 AND (at, kind) <= ($2, $3)")
            .bind(node.as_str())
            .bind(at)
            .bind(kind)
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// Whether the end of an exemption is told of for the first time: every node that has the tenant tells of it, in the same words.
async fn is_first_warning(conn: &mut Connection, event: &NodeEvent) -> Result<bool, StoreError> {
    sqlx::query(
        "DELETE FROM exemption_warnings WHERE (at, detail) <= \
         (SELECT at, detail FROM exemption_warnings ORDER BY at DESC, detail DESC LIMIT 1 OFFSET $1)",
    )
    .bind(WARNINGS_KEPT)
    .execute(&mut *conn)
    .await?;
    let done =
        sqlx::query("INSERT INTO exemption_warnings (detail, at) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(event.detail.as_str())
            .bind(nanos(event.at))
            .execute(conn)
            .await?;
    Ok(done.rows_affected() > 0)
}
