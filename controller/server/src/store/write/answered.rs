//! Nodes answer orders.

use std::sync::Arc;

use reeve_policy::{
    Decision, Lift, Measure, NodeId, Order, OrderFailure, OrderResult, TenantId, Timestamp, Violation,
    ViolationState,
};

use super::super::read::liftable;
use super::super::row::{Body, nanos};
use super::super::{Connection, OrderRow, StoreError};
use super::orders::{ends_by_release, ends_when_paid};
use super::reports::{Lift as Lifting, lift_all, lifted, stands_behind};
use super::{Answers, Effects, follow, settle};
use crate::events::What;

/// Takes a node's answer. A measure imposed stands; a tenant released is held by nothing there and has no open
/// episode. Reports say the same with counters, before or after.
///
/// # Errors
/// Where the database fails.
pub async fn order_result(
    conn: &mut Connection,
    node: &NodeId,
    result: &OrderResult,
    answers: &mut Answers,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let Some((before, body)) = answers.given(conn, node, &result.id).await? else {
        tracing::warn!(%node, order = %result.id, "a node answered an order that it was never given");
        return Ok(());
    };
    let (state, detail) = match &result.result {
        Ok(()) => ("done", String::new()),
        Err(failure) => ("failed", OrderFailure::to_string(failure)),
    };
    if before == state {
        return Ok(());
    }
    let order = Order::decode(&body)?;
    answers.put(node, &result.id, state, &detail);
    if !matches!(order, Order::Pause { lift: false, .. } | Order::Resume { .. }) {
        settle(conn, effects).await?;
    }
    let tenant = match &order {
        Order::Tenants { .. } | Order::TenantsChanged { .. } | Order::Standings { .. } | Order::Policy(_) => {
            return Ok(());
        }
        Order::Impose { decision, .. } => {
            if result.result.is_ok() {
                let measure = Measure {
                    expires: decision.until.expiry(decision.at),
                    decision: Decision::clone(decision),
                };
                stands_behind(conn, node, (&measure, result.at), None, effects).await?;
            }
            Some(decision.tenant.clone())
        }
        Order::Release { tenant, .. } => {
            if result.result.is_ok() {
                lift_all(conn, node, tenant, result.at, ends_by_release, effects).await?;
                close_open(conn, node, tenant, result.at, effects).await?;
            }
            Some(tenant.clone())
        }
        Order::LetGo { tenant, decisions, .. } => {
            if result.result.is_ok() {
                let all = standing(conn, node, tenant).await?;
                let meant = all.iter().filter(|measure| decisions.contains(&measure.decision.id));
                lift_each(conn, node, meant, result.at, effects).await?;
            }
            Some(tenant.clone())
        }
        Order::Forgive { tenant, rule, before, .. } => {
            if result.result.is_ok() {
                // A node that was away may have told of some since that the order takes back.
                let until = (*before).min(result.at);
                follow::pardon(conn, tenant, rule.as_ref(), Some((node, until))).await?;
                effects.touched.insert(tenant.clone());
            }
            Some(tenant.clone())
        }
        Order::Verify { tenant, .. } => Some(tenant.clone()),
        Order::Paid { tenant, .. } => {
            if result.result.is_ok() {
                lift_all(conn, node, tenant, result.at, ends_when_paid, effects).await?;
            }
            Some(tenant.clone())
        }
        Order::Pause { lift, .. } => {
            if result.result.is_ok() && *lift {
                lift_policy(conn, node, &Lift::ALL, result.at, effects).await?;
            }
            None
        }
        Order::Resume { .. } | Order::ReleaseBrakes { .. } => None,
        Order::Lift { policy, since, .. } => {
            if result.result.is_ok() {
                lift_policy(conn, node, &Lift::of(policy.clone(), *since), result.at, effects).await?;
            }
            None
        }
    };
    let row = OrderRow { node: node.clone(), state: state.to_owned(), detail };
    let kind = order.name();
    effects.events.push(What::OrderAnswered { order: result.id.clone(), kind, tenant, row });
    Ok(())
}

/// What policy did on a node until `at` is undone there: the measures stand no longer, and the episodes behind them are closed.
async fn lift_policy(
    conn: &mut Connection,
    node: &NodeId,
    lift: &Lift,
    at: Timestamp,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let (standing, _) = liftable(conn, lift, Some(node), usize::MAX).await?;
    let meant = standing.iter().map(|(_, measure)| measure).filter(|measure| measure.decision.at <= at);
    lift_each(conn, node, meant, at, effects).await
}

/// What stands of a tenant on a node.
async fn standing(
    conn: &mut Connection,
    node: &NodeId,
    tenant: &TenantId,
) -> Result<Vec<Measure>, StoreError> {
    let rows: Vec<(Vec<u8>,)> =
        sqlx::query_as("SELECT body FROM measures WHERE node = $1 AND tenant = $2 AND lifted IS NULL")
            .bind(node.as_str())
            .bind(tenant.as_str())
            .fetch_all(conn)
            .await?;
    rows.into_iter().map(|(body,)| Measure::decode(&body)).collect()
}

/// These measures stand no longer on a node, and the episodes behind them are closed.
async fn lift_each<'m>(
    conn: &mut Connection,
    node: &NodeId,
    measures: impl Iterator<Item = &'m Measure>,
    at: Timestamp,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    for measure in measures {
        let (decision, tenant) = (&measure.decision.id, &measure.decision.tenant);
        let lifting = Lifting { decision, tenant, reason: reeve_policy::LiftReason::Released.name(), at };
        lifted(conn, node, lifting, None, effects).await?;
        let Some(violation) = &measure.decision.violation else { continue };
        let open: Option<(Vec<u8>,)> =
            sqlx::query_as("SELECT body FROM violations WHERE id = $1 AND state = 'open' AND node = $2")
                .bind(violation.as_name().as_str())
                .bind(node.as_str())
                .fetch_optional(&mut *conn)
                .await?;
        if let Some((body,)) = open {
            close(conn, Violation::decode(&body)?, at, effects).await?;
        }
    }
    Ok(())
}

/// Closes the tenant's episodes on one node that were open at `at`.
async fn close_open(
    conn: &mut Connection,
    node: &NodeId,
    tenant: &TenantId,
    at: Timestamp,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let open: Vec<(Vec<u8>,)> = sqlx::query_as(
        "SELECT body FROM violations WHERE tenant = $1 AND state = 'open' AND node = $2 AND opened <= $3",
    )
    .bind(tenant.as_str())
    .bind(node.as_str())
    .bind(nanos(at))
    .fetch_all(&mut *conn)
    .await?;
    for (body,) in open {
        close(conn, Violation::decode(&body)?, at, effects).await?;
    }
    Ok(())
}

/// Closes an episode as released.
async fn close(
    conn: &mut Connection,
    mut violation: Violation,
    at: Timestamp,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    violation.state = ViolationState::Released;
    violation.closed = Some(at);
    sqlx::query("UPDATE violations SET state = $1, closed = $2, body = $3 WHERE id = $4")
        .bind(violation.state.name())
        .bind(nanos(at))
        .bind(violation.encode())
        .bind(violation.id.as_name().as_str())
        .execute(conn)
        .await?;
    effects.touched.insert(violation.tenant.clone());
    effects.events.push(What::ViolationClosed(Arc::new(violation)));
    Ok(())
}
