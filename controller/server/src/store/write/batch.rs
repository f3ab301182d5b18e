//! What operators order for several tenants in one step.
//!
//! Who there is gets what was ordered, whoever else there is not: the whole is one transaction, and one tenant that nobody knows takes no
//! other with it. What became of each is kept with the request's key, so that a batch that comes twice is answered as it was.

use reeve_policy::{Decision, OrderId, TenantId};

use super::super::row::name;
use super::super::{Connection, StoreError};
use super::Effects;
use super::orders::{OrderTaken, Released, Requested, nodes, release_one, remember, repeated, suspend_one};

/// What stands in the place of an order for a tenant that there was not.
const NOBODY: &str = "-";
/// What stands in the place of the one order of other requests.
const BATCH: &str = "batch";

/// A release of one of several.
#[derive(Clone, Debug)]
pub struct ReleaseAsked {
    /// The order's key.
    pub id: OrderId,
    /// Whom.
    pub tenant: TenantId,
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Whether strikes are taken back.
    pub forgive: bool,
}

/// What became of one request of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The order; `None` where there is no such tenant.
    pub order: Option<OrderId>,
    /// What a release that is new ends.
    pub released: Option<Released>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchTaken {
    /// Each as it says, in the batch's order, now or when it was asked for before.
    Parts(Vec<Part>),
    /// The key stands for another request.
    KeyInUse,
}

/// Orders suspensions on every node.
///
/// # Errors
/// Where the database fails.
pub async fn suspend_all(
    conn: &mut Connection,
    requested: &Requested,
    decisions: &[Decision],
    effects: &mut Effects,
) -> Result<BatchTaken, StoreError> {
    if let Some(taken) = repeated_all(conn, requested).await? {
        return Ok(taken);
    }
    let nodes = nodes(conn).await?;
    let mut parts = Vec::with_capacity(decisions.len());
    for decision in decisions {
        let order = suspend_one(conn, &nodes, decision, effects).await?;
        parts.push(Part { order, released: None });
    }
    remember_all(conn, requested, &parts, effects).await?;
    Ok(BatchTaken::Parts(parts))
}

/// Orders releases on every node.
///
/// # Errors
/// Where the database fails.
pub async fn release_all(
    conn: &mut Connection,
    requested: &Requested,
    releases: &[ReleaseAsked],
    effects: &mut Effects,
) -> Result<BatchTaken, StoreError> {
    if let Some(taken) = repeated_all(conn, requested).await? {
        return Ok(taken);
    }
    let nodes = nodes(conn).await?;
    let mut parts = Vec::with_capacity(releases.len());
    for ReleaseAsked { id, tenant, by, reason, forgive } in releases {
        let what = (id, tenant, by.as_str(), reason.as_str(), *forgive);
        let released = release_one(conn, &nodes, what, effects).await?;
        parts.push(Part { order: released.map(|_| id.clone()), released });
    }
    remember_all(conn, requested, &parts, effects).await?;
    Ok(BatchTaken::Parts(parts))
}

/// What was ordered under the same key before.
async fn repeated_all(
    conn: &mut Connection,
    requested: &Requested,
) -> Result<Option<BatchTaken>, StoreError> {
    match repeated(conn, requested).await? {
        None => return Ok(None),
        Some(OrderTaken::Ordered { .. }) => {}
        Some(_) => return Ok(Some(BatchTaken::KeyInUse)),
    }
    let (parts,): (String,) = sqlx::query_as("SELECT parts FROM requests WHERE key = $1")
        .bind(requested.key.as_str())
        .fetch_one(conn)
        .await?;
    let part = |text: &str| {
        let order = match text {
            NOBODY => None,
            id => Some(OrderId(name("order", id)?)),
        };
        Ok(Part { order, released: None })
    };
    parts.split(' ').map(part).collect::<Result<_, StoreError>>().map(|parts| Some(BatchTaken::Parts(parts)))
}

async fn remember_all(
    conn: &mut Connection,
    requested: &Requested,
    parts: &[Part],
    effects: &Effects,
) -> Result<(), StoreError> {
    if requested.key.is_empty() {
        return Ok(());
    }
    let orders: Vec<&str> =
        parts.iter().map(|part| part.order.as_ref().map_or(NOBODY, |id| id.0.as_str())).collect();
    let key = OrderId(name("order", BATCH)?);
    remember(conn, requested, &key, None, effects.now).await?;
    sqlx::query("UPDATE requests SET parts = $1 WHERE key = $2")
        .bind(orders.join(" "))
        .bind(requested.key.as_str())
        .execute(conn)
        .await?;
    Ok(())
}
