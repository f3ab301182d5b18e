//! Pauses: what an operator ended, on every node or one, and that each node is told.
//!
//! What is paused stands in a table of its own. Orders carry it to the nodes; one of the same scope makes void those before it
//! that were not carried out. A node that connects says which pauses it holds, and is ordered what differs: so one that was
//! away, is new, or lost its state is as the others.

use std::collections::BTreeMap;

use reeve_policy::{NodeId, Order, OrderId, Pause, PauseScope, Timestamp};
use reeve_proto::session::Hello;

use super::super::query::Select;
use super::super::row::{name, nanos, time};
use super::super::{Connection, StoreError};
use super::Effects;
use super::orders::{About, OrderTaken, Requested, insert, insert_for_all, nodes, remember, repeated};

/// What an operator pauses or resumes: the fleet or one node.
pub type Target = Option<NodeId>;

/// Who pauses or resumes what, and why.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The order's key.
    pub id: OrderId,
    /// What: a node, or the whole fleet.
    pub target: Target,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Whether the measures that policy made are lifted; of no meaning to the end of a pause.
    pub lift: bool,
}

/// A pause in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PauseRow {
    /// The order that carries it to the nodes.
    pub order: OrderId,
    /// The pause.
    pub pause: Pause,
    /// Whether the measures that policy made were lifted.
    pub lift: bool,
}

/// Which nodes a target is, and in what scope; `None` where there is no such node.
async fn reach(
    conn: &mut Connection,
    target: &Target,
) -> Result<Option<(PauseScope, Vec<NodeId>)>, StoreError> {
    let all = nodes(conn).await?;
    Ok(match target {
        None => Some((PauseScope::Fleet, all)),
        Some(node) => all.contains(node).then(|| (PauseScope::Node, vec![node.clone()])),
    })
}

/// Orders a pause.
///
/// # Errors
/// Where the database fails.
pub async fn pause(
    conn: &mut Connection,
    requested: &Requested,
    asked: &Asked,
    effects: &mut Effects,
) -> Result<OrderTaken, StoreError> {
    if let Some(taken) = repeated(conn, requested).await? {
        return Ok(taken);
    }
    let Some((scope, nodes)) = reach(conn, &asked.target).await? else { return Ok(OrderTaken::UnknownNode) };
    let pause = Pause::new(&asked.by, &asked.reason, effects.now);
    sqlx::query(
        "INSERT INTO pauses (node, order_id, operator, reason, since, lift) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (node) DO UPDATE SET order_id = excluded.order_id, operator = excluded.operator, \
         reason = excluded.reason, since = excluded.since, lift = excluded.lift",
    )
    .bind(key(&asked.target))
    .bind(asked.id.0.as_str())
    .bind(pause.by.as_str())
    .bind(pause.reason.as_str())
    .bind(nanos(pause.at))
    .bind(i64::from(asked.lift))
    .execute(&mut *conn)
    .await?;
    let order = Order::Pause { id: asked.id.clone(), scope, pause, lift: asked.lift };
    give_all(conn, nodes, scope, &order, effects).await?;
    remember(conn, requested, &asked.id, None, effects.now).await?;
    Ok(OrderTaken::Ordered { id: asked.id.clone(), decision: None })
}

/// Orders the end of a pause; where there is none, the nodes are told all the same. Whether there was one, of a request that is new.
///
/// # Errors
/// Where the database fails.
pub async fn resume(
    conn: &mut Connection,
    requested: &Requested,
    asked: &Asked,
    effects: &mut Effects,
) -> Result<(OrderTaken, Option<bool>), StoreError> {
    if let Some(taken) = repeated(conn, requested).await? {
        return Ok((taken, None));
    }
    let Some((scope, nodes)) = reach(conn, &asked.target).await? else {
        return Ok((OrderTaken::UnknownNode, None));
    };
    let ended = sqlx::query("DELETE FROM pauses WHERE node = $1")
        .bind(key(&asked.target))
        .execute(&mut *conn)
        .await?;
    let (by, reason) = (asked.by.clone(), asked.reason.clone());
    let order = Order::Resume { id: asked.id.clone(), scope, by, reason };
    give_all(conn, nodes, scope, &order, effects).await?;
    remember(conn, requested, &asked.id, None, effects.now).await?;
    let taken = OrderTaken::Ordered { id: asked.id.clone(), decision: None };
    Ok((taken, Some(ended.rows_affected() > 0)))
}

/// Orders a node that connects what differs between the pauses that it holds and those in force.
pub(super) async fn order_pauses(
    conn: &mut Connection,
    hello: &Hello,
    in_force: &BTreeMap<Target, PauseRow>,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let node = &hello.node;
    for scope in PauseScope::ALL {
        let held = hello.pauses.iter().find(|(held, _)| *held == scope).map(|(_, order)| order);
        let target = match scope {
            PauseScope::Fleet => None,
            PauseScope::Node => Some(node.clone()),
        };
        match (in_force.get(&target), held) {
            (Some(row), held) if held != Some(&row.order) => {
                let (id, pause) = (row.order.clone(), row.pause.clone());
                let order = Order::Pause { id, scope, pause, lift: row.lift };
                give(conn, node, scope, &order, effects).await?;
            }
            (None, Some(held)) if !is_resumed_soon(conn, node, scope).await? => {
                // The pause is not ours any more, as when the database was brought back from a copy.
                let id = OrderId(format!("{held}.end").parse().unwrap_or_else(|_| held.0.clone()));
                let by = "the controller, which knows of no pause".to_owned();
                let order = Order::Resume { id, scope, by, reason: String::new() };
                give(conn, node, scope, &order, effects).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// See [`give`]: to whom the scope is about, and whoever watches is told. A fleet takes three statements however large it is.
async fn give_all(
    conn: &mut Connection,
    nodes: Vec<NodeId>,
    scope: PauseScope,
    order: &Order,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    effects.pauses_changed = true;
    if scope == PauseScope::Node {
        for node in &nodes {
            give(conn, node, scope, order, effects).await?;
        }
        return Ok(());
    }
    let Some(id) = order.id() else { return Ok(()) };
    sqlx::query(
        "UPDATE orders SET state = 'superseded', answered = $1 WHERE scope = $2 AND state = 'pending' AND id <> $3",
    )
    .bind(nanos(effects.now))
    .bind(scope.name())
    .bind(id.0.as_str())
    .execute(&mut *conn)
    .await?;
    sqlx::query("UPDATE orders SET state = 'pending', answered = NULL, detail = '' WHERE id = $1")
        .bind(id.0.as_str())
        .execute(&mut *conn)
        .await?;
    insert_for_all(conn, id, order, About::Pause(scope), effects.now).await?;
    effects.ordered.extend(nodes);
    Ok(())
}

/// Gives a node an order of a scope, in the place of those that it has not carried out. One that it was given before, and
/// does not hold to, is given again.
async fn give(
    conn: &mut Connection,
    node: &NodeId,
    scope: PauseScope,
    order: &Order,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let Some(id) = order.id() else { return Ok(()) };
    sqlx::query(
        "UPDATE orders SET state = 'superseded', answered = $1 \
         WHERE node = $2 AND scope = $3 AND state = 'pending' AND id <> $4",
    )
    .bind(nanos(effects.now))
    .bind(node.as_str())
    .bind(scope.name())
    .bind(id.0.as_str())
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "UPDATE orders SET state = 'pending', answered = NULL, detail = '' WHERE node = $1 AND id = $2",
    )
    .bind(node.as_str())
    .bind(id.0.as_str())
    .execute(&mut *conn)
    .await?;
    insert(conn, node, id, order, About::Pause(scope), effects).await
}

async fn is_resumed_soon(
    conn: &mut Connection,
    node: &NodeId,
    scope: PauseScope,
) -> Result<bool, StoreError> {
    let row: Option<(i64,)> = sqlx::query_as(
        "SELECT 1 FROM orders WHERE node = $1 AND scope = $2 AND kind = 'resume' AND state = 'pending' LIMIT 1",
    )
    .bind(node.as_str())
    .bind(scope.name())
    .fetch_optional(conn)
    .await?;
    Ok(row.is_some())
}

/// The pauses in force: the fleet's, which is no node's, and single nodes', of all or of some.
///
/// # Errors
/// Where the database fails.
pub async fn pauses(
    conn: &mut Connection,
    nodes: Option<&[&NodeId]>,
) -> Result<BTreeMap<Target, PauseRow>, StoreError> {
    type Row = (String, String, String, String, i64, i64);
    let mut query = Select::new("SELECT node, order_id, operator, reason, since, lift FROM pauses");
    if let Some(nodes) = nodes {
        let fleet_and_nodes: Vec<&str> =
            [""].into_iter().chain(nodes.iter().map(|node| node.as_str())).collect();
        query.push(" WHERE node IN ").push_list(fleet_and_nodes.into_iter());
    }
    let rows: Vec<Row> = query.fetch_all(conn).await?;
    rows.into_iter()
        .map(|(node, order, by, reason, since, lift)| {
            let target = if node.is_empty() { None } else { Some(name("node", &node)?) };
            let since: Timestamp = time(since);
            let pause = Pause::new(&by, &reason, since);
            Ok((target, PauseRow { order: OrderId(name("order", &order)?), pause, lift: lift != 0 }))
        })
        .collect()
}

fn key(target: &Target) -> &str {
    target.as_ref().map_or("", |node| node.as_str())
}
