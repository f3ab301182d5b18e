//! A node connects.

use std::collections::BTreeSet;

use reeve_policy::{Decision, DecisionId, NodeId, Timestamp};
use reeve_proto::session::Hello;

use super::super::row::{Body, count, name, nanos};
use super::super::{Connection, StoreError};
use super::orders::impose_on;
use super::pauses::order_pauses;
use super::reports::{Lift, lifted, stands};
use super::{Cursors, Effects, Refusal, cursors};

/// Why a measure ended that nobody reported lifted: the node connected without it.
pub(in super::super) const ABSENT: &str = "absent";

/// What the controller has of a node that connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// How far its epoch is stored.
    pub acknowledged: u64,
}

/// Takes a node's greeting: notes the node, brings its measures up to what it says is in force, and orders the
/// operators' suspensions that it does not hold.
///
/// # Errors
/// Where the database fails.
pub async fn greet(
    conn: &mut Connection,
    hello: &Hello,
    cursors: &mut Cursors,
    effects: &mut Effects,
) -> Result<Greeting, StoreError> {
    let node = &hello.node;
    sqlx::query(
        "INSERT INTO nodes (name, agent_version, first_seen, last_seen, tenants_version) VALUES ($1, $2, $3, $3, $4) \
         ON CONFLICT (name) DO UPDATE SET agent_version = excluded.agent_version, last_seen = excluded.last_seen, \
         tenants_version = excluded.tenants_version",
    )
    .bind(node.as_str())
    .bind(hello.agent_version.as_str())
    .bind(nanos(effects.now))
    .bind(count(hello.tenants_version))
    .execute(&mut *conn)
    .await?;
    let is_known = cursors.has(conn, node, hello.epoch).await?;
    if !is_known {
        cursors::begin(conn, node, hello.epoch, cursors, effects.now).await?;
    }
    super::super::policies::take(conn, node, &hello.policy, effects.now).await?;
    effects.desk.policies.forget_names();
    super::rollout::take_held(conn, hello).await?;
    take_measures(conn, hello, effects).await?;
    order_missing(conn, hello, !is_known, effects).await?;
    order_pauses(conn, hello, effects).await?;
    Ok(Greeting { acknowledged: cursors.of(conn, node, hello.epoch).await? })
}

/// Notes when a node was last heard of.
///
/// # Errors
/// Where the database fails.
pub async fn saw(conn: &mut Connection, node: &NodeId, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query("UPDATE nodes SET last_seen = $1 WHERE name = $2")
        .bind(nanos(now))
        .bind(node.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

/// What the node says is in force stands; what we thought stood there and it does not name was lifted unseen.
async fn take_measures(
    conn: &mut Connection,
    hello: &Hello,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let mut named = BTreeSet::new();
    for measure in &hello.measures {
        if measure.decision.mode != reeve_policy::Mode::Enforce {
            tracing::warn!(node = %hello.node, decision = %measure.decision.id, "{}", Refusal::NotEnforced);
            continue;
        }
        named.insert(measure.decision.id.clone());
        let known: Option<(Option<i64>,)> =
            sqlx::query_as("SELECT lifted FROM measures WHERE node = $1 AND decision = $2")
                .bind(hello.node.as_str())
                .bind(measure.decision.id.0.as_str())
                .fetch_optional(&mut *conn)
                .await?;
        match known {
            Some((None,)) => {}
            None => stands(conn, &hello.node, measure, measure.decision.at, effects).await?,
            // It stands although we held it for lifted: the node knows better, from now on.
            Some((Some(_),)) => stands(conn, &hello.node, measure, effects.now, effects).await?,
        }
    }
    let standing: Vec<(String, String, Option<i64>)> =
        sqlx::query_as("SELECT decision, tenant, expires FROM measures WHERE node = $1 AND lifted IS NULL")
            .bind(hello.node.as_str())
            .fetch_all(&mut *conn)
            .await?;
    for (decision, tenant, expires) in standing {
        let decision = DecisionId(name("decision", &decision)?);
        if named.contains(&decision) {
            continue;
        }
        let tenant = name("tenant", &tenant)?;
        let over = expires.filter(|expires| *expires <= nanos(effects.now));
        let lift = Lift {
            decision: &decision,
            tenant: &tenant,
            reason: if over.is_some() { "expired" } else { ABSENT },
            at: over.map_or(effects.now, super::super::row::time),
        };
        lifted(conn, &hello.node, lift, None, effects).await?;
    }
    Ok(())
}

/// Orders every operator's suspension in force that the node was never told of, and, for an agent that started
/// anew, those that it carried out before but does not hold any more.
async fn order_missing(
    conn: &mut Connection,
    hello: &Hello,
    started_anew: bool,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let rows: Vec<(Vec<u8>, Option<String>, Option<String>)> = sqlx::query_as(
        "SELECT d.body, o.id, o.state FROM decisions d \
         LEFT JOIN orders o ON o.node = $1 AND o.kind = 'impose' AND o.decision = d.id \
         WHERE d.operator IS NOT NULL AND d.released IS NULL AND (d.expires IS NULL OR d.expires > $2) \
         ORDER BY d.made, d.id",
    )
    .bind(hello.node.as_str())
    .bind(nanos(effects.now))
    .fetch_all(&mut *conn)
    .await?;
    for (body, order, state) in rows {
        let decision = Decision::decode(&body)?;
        let held = hello.measures.iter().any(|measure| measure.decision.id == decision.id);
        match (order, state.as_deref()) {
            (None, _) if !held => impose_on(conn, &hello.node, &decision, effects).await?,
            (Some(order), Some("done")) if started_anew && !held => {
                sqlx::query(
                    "UPDATE orders SET state = 'pending', answered = NULL WHERE node = $1 AND id = $2",
                )
                .bind(hello.node.as_str())
                .bind(order)
                .execute(&mut *conn)
                .await?;
            }
            _ => {}
        }
    }
    Ok(())
}
