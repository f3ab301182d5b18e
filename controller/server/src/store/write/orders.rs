//! What operators order, and what nodes answer.

use reeve_policy::{
    Decision, DecisionId, Lift, Measure, Name, NodeId, Order, OrderId, PauseScope, PolicyVersion, TenantId,
    Timestamp, Until,
};

use super::super::read::liftable;
use super::super::row::{Body, name, nanos};
use super::super::{Connection, StoreError};
use super::reports::store_decision;
use super::{Effects, follow};

/// What was asked for, for requests that may come twice.
#[derive(Clone, Debug)]
pub struct Requested {
    /// The caller's key; empty for none.
    pub key: String,
    /// What the request says, to tell it from another one with the same key.
    pub meaning: String,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderTaken {
    /// It is ordered, now or when it was asked for before.
    Ordered {
        /// The order's key.
        id: OrderId,
        /// The decision that it carries out; for a release there is none.
        decision: Option<DecisionId>,
    },
    /// The key stands for another request.
    KeyInUse,
    /// There is no such tenant.
    UnknownTenant,
    /// There is no such node.
    UnknownNode,
}

/// What a policy did that is to be undone.
#[derive(Clone, Debug)]
pub struct LiftAsked {
    /// The order's key.
    pub id: OrderId,
    /// Which policy.
    pub policy: PolicyVersion,
    /// Since when.
    pub since: Timestamp,
    /// Only on this node.
    pub node: Option<NodeId>,
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The most measures to tell of.
    pub limit: usize,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct LiftTaken {
    /// The order.
    pub taken: OrderTaken,
    /// What stood then, and how many there were.
    pub measures: (Vec<(NodeId, Measure)>, u64),
}

/// Orders that what a policy did is undone, on every node or one.
///
/// # Errors
/// Where the database fails.
pub async fn lift(
    conn: &mut Connection,
    requested: &Requested,
    asked: &LiftAsked,
    effects: &mut Effects,
) -> Result<LiftTaken, StoreError> {
    let not_done = |taken| LiftTaken { taken, measures: (Vec::new(), 0) };
    if let Some(taken) = repeated(conn, requested).await? {
        return Ok(not_done(taken));
    }
    let mut nodes = nodes(conn).await?;
    if let Some(node) = &asked.node {
        nodes.retain(|known| known == node);
        if nodes.is_empty() {
            return Ok(not_done(OrderTaken::UnknownNode));
        }
    }
    let what = Lift::of(asked.policy.clone(), asked.since);
    let (standing, total) = liftable(conn, &what, asked.node.as_ref(), usize::MAX).await?;
    for (_, measure) in &standing {
        follow::take_back(conn, &measure.decision, effects.now).await?;
        effects.touched.insert(measure.decision.tenant.clone());
    }
    let measures = (standing.into_iter().take(asked.limit).collect(), total);
    let order = Order::Lift {
        id: asked.id.clone(),
        policy: asked.policy.clone(),
        since: asked.since,
        by: asked.by.clone(),
        reason: asked.reason.clone(),
    };
    for node in nodes {
        insert(conn, &node, &asked.id, &order, About::Node, effects).await?;
    }
    remember(conn, requested, &asked.id, None, effects.now).await?;
    Ok(LiftTaken { taken: OrderTaken::Ordered { id: asked.id.clone(), decision: None }, measures })
}

/// Orders that a node's brakes are released.
///
/// # Errors
/// Where the database fails.
pub async fn release_brakes(
    conn: &mut Connection,
    requested: &Requested,
    (id, node, by, reason): (&OrderId, &NodeId, &str, &str),
    effects: &mut Effects,
) -> Result<OrderTaken, StoreError> {
    if let Some(taken) = repeated(conn, requested).await? {
        return Ok(taken);
    }
    if !nodes(conn).await?.contains(node) {
        return Ok(OrderTaken::UnknownNode);
    }
    let order = Order::ReleaseBrakes { id: id.clone(), by: by.to_owned(), reason: reason.to_owned() };
    insert(conn, node, id, &order, About::Node, effects).await?;
    remember(conn, requested, id, None, effects.now).await?;
    Ok(OrderTaken::Ordered { id: id.clone(), decision: None })
}

/// Orders a suspension on every node.
///
/// # Errors
/// Where the database fails.
pub async fn suspend(
    conn: &mut Connection,
    requested: &Requested,
    decision: &Decision,
    effects: &mut Effects,
) -> Result<OrderTaken, StoreError> {
    if let Some(taken) = repeated(conn, requested).await? {
        return Ok(taken);
    }
    let nodes = nodes(conn).await?;
    let Some(id) = suspend_one(conn, &nodes, decision, effects).await? else {
        return Ok(OrderTaken::UnknownTenant);
    };
    remember(conn, requested, &id, Some(&decision.id), effects.now).await?;
    Ok(OrderTaken::Ordered { id, decision: Some(decision.id.clone()) })
}

/// The same for one of perhaps several, on all the nodes that there are. The order's key; `None` where there is no such tenant.
pub(super) async fn suspend_one(
    conn: &mut Connection,
    nodes: &[NodeId],
    decision: &Decision,
    effects: &mut Effects,
) -> Result<Option<OrderId>, StoreError> {
    if !is_tenant(conn, &decision.tenant).await? {
        return Ok(None);
    }
    let operator = match &decision.origin {
        reeve_policy::Origin::Operator { name } => name.as_str(),
        reeve_policy::Origin::Policy { .. } => "",
    };
    store_decision(conn, decision, Some(operator), effects).await?;
    let id = order_id(&decision.id);
    let order = Order::Impose { id: id.clone(), decision: Box::new(decision.clone()) };
    insert_for_all(conn, &id, &order, About::Tenant(&decision.tenant, Some(&decision.id)), effects.now)
        .await?;
    effects.ordered.extend(nodes.iter().cloned());
    Ok(Some(id))
}

/// What a release ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// Measures that stand, and orders that no node has answered.
    pub ended: u32,
    /// Strikes taken back.
    pub forgiven: u32,
}

/// What a payment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaidFor {
    /// Operators' decisions.
    pub decisions: u32,
    /// Measures that stand, and orders that no node has answered; those of a policy too.
    pub ended: u32,
}

/// Orders a release on every node, takes back the operators' decisions about the tenant, and makes void the
/// suspensions that nodes have not carried out yet. What it ends, of a request that is new.
///
/// # Errors
/// Where the database fails.
pub async fn release(
    conn: &mut Connection,
    requested: &Requested,
    what: ReleaseOne<'_>,
    effects: &mut Effects,
) -> Result<(OrderTaken, Option<Released>), StoreError> {
    if let Some(taken) = repeated(conn, requested).await? {
        return Ok((taken, None));
    }
    let nodes = nodes(conn).await?;
    let Some(released) = release_one(conn, &nodes, what, effects).await? else {
        return Ok((OrderTaken::UnknownTenant, None));
    };
    let (id, ..) = what;
    remember(conn, requested, id, None, effects.now).await?;
    Ok((OrderTaken::Ordered { id: id.clone(), decision: None }, Some(released)))
}

/// A release: its order's key, whom, who asks, why, and whether strikes are taken back.
pub(super) type ReleaseOne<'a> = (&'a OrderId, &'a TenantId, &'a str, &'a str, bool);

/// The same for one of perhaps several, on all the nodes that there are. What it ends; `None` where there is no such tenant.
pub(super) async fn release_one(
    conn: &mut Connection,
    nodes: &[NodeId],
    (id, tenant, by, reason, forgive): ReleaseOne<'_>,
    effects: &mut Effects,
) -> Result<Option<Released>, StoreError> {
    if !is_tenant(conn, tenant).await? && !is_held(conn, tenant).await? {
        return Ok(None);
    }
    let ended = ends(conn, tenant, ends_by_release, effects.now).await?;
    let forgiven = if forgive { follow::forgive(conn, tenant).await? } else { 0 };
    take_back(conn, tenant, ends_by_release, effects.now).await?;
    effects.touched.insert(tenant.clone());
    let order = Order::Release {
        id: id.clone(),
        tenant: tenant.clone(),
        by: by.to_owned(),
        reason: reason.to_owned(),
        forgive,
    };
    insert_for_all(conn, id, &order, About::Tenant(tenant, None), effects.now).await?;
    effects.ordered.extend(nodes.iter().cloned());
    Ok(Some(Released { ended, forgiven }))
}

/// Strikes to be taken back.
#[derive(Clone, Debug)]
pub struct ForgiveAsked {
    /// The order's key.
    pub id: OrderId,
    /// Whose.
    pub tenant: TenantId,
    /// Only those under this rule.
    pub rule: Option<Name>,
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Takes a tenant's strikes back, and orders every node to. How many the controller knew of, of a request that is new.
///
/// # Errors
/// Where the database fails.
pub async fn forgive(
    conn: &mut Connection,
    requested: &Requested,
    asked: &ForgiveAsked,
    effects: &mut Effects,
) -> Result<(OrderTaken, Option<u32>), StoreError> {
    if let Some(taken) = repeated(conn, requested).await? {
        return Ok((taken, None));
    }
    let ForgiveAsked { id, tenant, rule, by, reason } = asked.clone();
    if !is_tenant(conn, &tenant).await? && !is_held(conn, &tenant).await? {
        return Ok((OrderTaken::UnknownTenant, None));
    }
    let forgiven = follow::pardon(conn, &tenant, rule.as_ref(), None).await?;
    effects.touched.insert(tenant.clone());
    // What was seen a moment ago may be of later, by the clock of whoever saw it.
    let before = effects.now + follow::SKEW;
    let order = Order::Forgive { id: id.clone(), tenant: tenant.clone(), rule, before, by, reason };
    insert_for_all(conn, &id, &order, About::Tenant(&tenant, None), effects.now).await?;
    effects.ordered.extend(nodes(conn).await?);
    remember(conn, requested, &id, None, effects.now).await?;
    Ok((OrderTaken::Ordered { id, decision: None }, Some(forgiven)))
}

/// Orders on every node that what holds a tenant until an invoice is paid is lifted, and takes back the operators' decisions behind it; what
/// else holds the tenant stays. What it ends, of a request that is new.
///
/// # Errors
/// Where the database fails.
pub async fn paid(
    conn: &mut Connection,
    requested: &Requested,
    (id, tenant, by, reason): (&OrderId, &TenantId, &str, &str),
    effects: &mut Effects,
) -> Result<(OrderTaken, Option<PaidFor>), StoreError> {
    if let Some(taken) = repeated(conn, requested).await? {
        return Ok((taken, None));
    }
    if !is_tenant(conn, tenant).await? && !is_held(conn, tenant).await? {
        return Ok((OrderTaken::UnknownTenant, None));
    }
    let ended = ends(conn, tenant, ends_when_paid, effects.now).await?;
    let decisions = take_back(conn, tenant, ends_when_paid, effects.now).await?;
    effects.touched.insert(tenant.clone());
    let (by, reason) = (by.to_owned(), reason.to_owned());
    let order = Order::Paid { id: id.clone(), tenant: tenant.clone(), by, reason };
    for node in nodes(conn).await? {
        insert(conn, &node, id, &order, About::Tenant(tenant, None), effects).await?;
    }
    remember(conn, requested, id, None, effects.now).await?;
    let taken = OrderTaken::Ordered { id: id.clone(), decision: None };
    Ok((taken, Some(PaidFor { decisions, ended })))
}

/// How many decisions about a tenant that are of this kind stand on some node, or are still to be carried out there.
async fn ends(
    conn: &mut Connection,
    tenant: &TenantId,
    is_meant: fn(&Decision) -> bool,
    now: Timestamp,
) -> Result<u32, StoreError> {
    let rows: Vec<(Vec<u8>,)> = sqlx::query_as(
        "SELECT d.body FROM decisions d WHERE d.tenant = $1 AND (EXISTS (SELECT 1 FROM measures m \
         WHERE m.decision = d.id AND m.lifted IS NULL AND (m.expires IS NULL OR m.expires > $2)) \
         OR EXISTS (SELECT 1 FROM orders o WHERE o.decision = d.id AND o.state = 'pending'))",
    )
    .bind(tenant.as_str())
    .bind(nanos(now))
    .fetch_all(conn)
    .await?;
    let mut ended = 0;
    for (body,) in rows {
        ended += u32::from(is_meant(&Decision::decode(&body)?));
    }
    Ok(ended)
}

/// A release leaves an operator's suspension until an invoice is paid.
pub(super) fn ends_by_release(decision: &Decision) -> bool {
    !decision.is_billing()
}

/// A payment ends what waits for it.
pub(super) fn ends_when_paid(decision: &Decision) -> bool {
    decision.until == Until::Paid
}

/// Takes back the decisions about a tenant that are of this kind, and makes void what nodes have not carried out yet. How many
/// operators' decisions those were.
async fn take_back(
    conn: &mut Connection,
    tenant: &TenantId,
    is_meant: fn(&Decision) -> bool,
    now: Timestamp,
) -> Result<u32, StoreError> {
    let given: Vec<(String, Option<String>, Vec<u8>)> = sqlx::query_as(
        "SELECT id, operator, body FROM decisions WHERE tenant = $1 AND released IS NULL \
         AND (expires IS NULL OR expires > $2)",
    )
    .bind(tenant.as_str())
    .bind(nanos(now))
    .fetch_all(&mut *conn)
    .await?;
    let mut taken = 0;
    for (id, operator, body) in given {
        if !is_meant(&Decision::decode(&body)?) {
            continue;
        }
        sqlx::query("UPDATE decisions SET released = $1 WHERE id = $2")
            .bind(nanos(now))
            .bind(id)
            .execute(&mut *conn)
            .await?;
        taken += u32::from(operator.is_some());
    }
    let pending: Vec<(String, String, Vec<u8>)> =
        sqlx::query_as("SELECT node, id, body FROM orders WHERE tenant = $1 AND state = 'pending'")
            .bind(tenant.as_str())
            .fetch_all(&mut *conn)
            .await?;
    for (node, id, body) in pending {
        // What lets a tenant go is not made void: it may be meant for something else.
        let is_void = match Order::decode(&body)? {
            Order::Impose { decision, .. } => is_meant(&decision),
            _ => false,
        };
        if is_void {
            sqlx::query("UPDATE orders SET state = 'superseded', answered = $1 WHERE node = $2 AND id = $3")
                .bind(nanos(now))
                .bind(node)
                .bind(id)
                .execute(&mut *conn)
                .await?;
        }
    }
    Ok(taken)
}

/// The key of the order that imposes a decision: it is the same whenever and to whomever it is given.
fn order_id(decision: &DecisionId) -> OrderId {
    OrderId(decision.0.clone())
}

/// Orders one node to carry out an operator's decision.
pub(super) async fn impose_on(
    conn: &mut Connection,
    node: &NodeId,
    decision: &Decision,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let id = order_id(&decision.id);
    let order = Order::Impose { id: id.clone(), decision: Box::new(decision.clone()) };
    insert(conn, node, &id, &order, About::Tenant(&decision.tenant, Some(&decision.id)), effects).await
}

/// What an order is about, as far as orders are searched for.
#[derive(Clone, Copy, Debug)]
pub(super) enum About<'a> {
    /// A tenant, and perhaps a decision.
    Tenant(&'a TenantId, Option<&'a DecisionId>),
    /// A pause.
    Pause(PauseScope),
    /// A whole node.
    Node,
}

impl<'a> About<'a> {
    /// As its columns: tenant, decision and scope.
    fn columns(self) -> (Option<&'a str>, Option<&'a str>, Option<&'static str>) {
        match self {
            Self::Tenant(tenant, decision) => {
                (Some(tenant.as_str()), decision.map(|decision| decision.0.as_str()), None)
            }
            Self::Pause(scope) => (None, None, Some(scope.name())),
            Self::Node => (None, None, None),
        }
    }
}

pub(super) async fn insert(
    conn: &mut Connection,
    node: &NodeId,
    id: &OrderId,
    order: &Order,
    about: About<'_>,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let (tenant, decision, scope) = about.columns();
    sqlx::query(
        "INSERT INTO orders (node, id, kind, tenant, decision, scope, created, state, body) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', $8) ON CONFLICT DO NOTHING",
    )
    .bind(node.as_str())
    .bind(id.0.as_str())
    .bind(order.name())
    .bind(tenant)
    .bind(decision)
    .bind(scope)
    .bind(nanos(effects.now))
    .bind(order.encode())
    .execute(conn)
    .await?;
    effects.ordered.insert(node.clone());
    Ok(())
}

/// Gives every node an order, in one statement however many there are.
pub(super) async fn insert_for_all(
    conn: &mut Connection,
    id: &OrderId,
    order: &Order,
    about: About<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (tenant, decision, scope) = about.columns();
    // SQLite takes the conflict clause for one of a join without the condition.
    sqlx::query(
        "INSERT INTO orders (node, id, kind, tenant, decision, scope, created, state, body) \
         SELECT name, $1, $2, $3, $4, $5, $6, 'pending', $7 FROM nodes WHERE TRUE ON CONFLICT DO NOTHING",
    )
    .bind(id.0.as_str())
    .bind(order.name())
    .bind(tenant)
    .bind(decision)
    .bind(scope)
    .bind(nanos(now))
    .bind(order.encode())
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn nodes(conn: &mut Connection) -> Result<Vec<NodeId>, StoreError> {
    let rows: Vec<(String,)> = sqlx::query_as("SELECT name FROM nodes ORDER BY name").fetch_all(conn).await?;
    rows.iter().map(|(node,)| name("node", node)).collect()
}

pub(super) async fn is_tenant(conn: &mut Connection, tenant: &TenantId) -> Result<bool, StoreError> {
    let row: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM tenants WHERE id = $1")
        .bind(tenant.as_str())
        .fetch_optional(conn)
        .await?;
    Ok(row.is_some())
}

/// Whether something still holds a tenant that is not in the inventory any more: it can be let go all the same.
async fn is_held(conn: &mut Connection, tenant: &TenantId) -> Result<bool, StoreError> {
    let row: Option<(i64,)> =
        sqlx::query_as("SELECT 1 FROM measures WHERE tenant = $1 AND lifted IS NULL LIMIT 1")
            .bind(tenant.as_str())
            .fetch_optional(conn)
            .await?;
    Ok(row.is_some())
}

/// What was ordered under the same key before.
pub(super) async fn repeated(
    conn: &mut Connection,
    requested: &Requested,
) -> Result<Option<OrderTaken>, StoreError> {
    if requested.key.is_empty() {
        return Ok(None);
    }
    let row: Option<(String, String, String)> =
        sqlx::query_as("SELECT meaning, order_id, decision FROM requests WHERE key = $1")
            .bind(requested.key.as_str())
            .fetch_optional(conn)
            .await?;
    let Some((meaning, id, decision)) = row else { return Ok(None) };
    if meaning != requested.meaning {
        return Ok(Some(OrderTaken::KeyInUse));
    }
    let decision = if decision.is_empty() { None } else { Some(DecisionId(name("decision", &decision)?)) };
    Ok(Some(OrderTaken::Ordered { id: OrderId(name("order", &id)?), decision }))
}

pub(super) async fn remember(
    conn: &mut Connection,
    requested: &Requested,
    id: &OrderId,
    decision: Option<&DecisionId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if requested.key.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO requests (key, meaning, order_id, decision, created) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(requested.key.as_str())
    .bind(requested.meaning.as_str())
    .bind(id.0.as_str())
    .bind(decision.map_or("", |decision| decision.0.as_str()))
    .bind(nanos(now))
    .execute(conn)
    .await?;
    Ok(())
}
