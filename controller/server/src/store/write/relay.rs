//! What mail servers say that are asked whether they are open relays, and operators who have them asked.

use reeve_policy::{NodeEvent, NodeEventKind, NodeId, Order, OrderId, RelayAnswer, RelayChecked, TenantId};

use super::super::row::{Body, nanos};
use super::super::{Connection, StoreError};
use super::orders::{About, insert, is_tenant, nodes, remember, repeated};
use super::{Effects, OrderTaken, Requested, follow, reports};

/// An operator has a tenant's mail server asked, or was told by it.
#[derive(Clone, Debug)]
pub struct VerifyAsked {
    /// The order's key.
    pub id: OrderId,
    /// Whose.
    pub tenant: TenantId,
    /// Who asks.
    pub by: String,
    /// What the operator was told.
    pub answer: Option<RelayAnswer>,
}

/// Orders on every node that a tenant's mail server is asked; those that know none of its do not.
///
/// # Errors
/// Where the database fails.
pub async fn verify(
    conn: &mut Connection,
    requested: &Requested,
    asked: &VerifyAsked,
    effects: &mut Effects,
) -> Result<OrderTaken, StoreError> {
    if let Some(taken) = repeated(conn, requested).await? {
        return Ok(taken);
    }
    if !is_tenant(conn, &asked.tenant).await? {
        return Ok(OrderTaken::UnknownTenant);
    }
    let VerifyAsked { id, tenant, by, answer } = asked.clone();
    let order = Order::Verify { id: id.clone(), tenant: tenant.clone(), by, answer };
    for node in nodes(conn).await? {
        insert(conn, &node, &id, &order, About::Tenant(&tenant, None), effects).await?;
    }
    remember(conn, requested, &id, None, effects.now).await?;
    Ok(OrderTaken::Ordered { id, decision: None })
}

/// Keeps what a mail server said, unless something later is known, and tells it as an event of the node's.
pub(super) async fn checked(
    conn: &mut Connection,
    node: &NodeId,
    checked: &RelayChecked,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    // Operators release by what is kept; one from a clock ahead could never be replaced.
    if !follow::is_believed(effects, node, &checked.tenant) || checked.at > effects.now + follow::SKEW {
        return Ok(());
    }
    let done = sqlx::query(
        "INSERT INTO relay_checks (tenant, at, received, body) VALUES ($1, $2, $3, $4) ON CONFLICT (tenant) DO UPDATE SET \
         at = excluded.at, received = excluded.received, body = excluded.body WHERE excluded.at > relay_checks.at",
    )
    .bind(checked.tenant.as_str())
    .bind(nanos(checked.at))
    .bind(nanos(effects.now))
    .bind(checked.encode())
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(());
    }
    let event = NodeEvent::new(checked.at, NodeEventKind::RelayChecked, &checked.line());
    reports::store_event(conn, node, &event, effects).await
}
