//! A node connects.

use std::collections::{BTreeMap, BTreeSet};

use reeve_policy::{Decision, DecisionId, Measure, Mode, NodeId, Timestamp};
use reeve_proto::session::Hello;

use super::super::query::Select;
use super::super::read::TOGETHER;
use super::super::row::{Body, count, name, nanos};
use super::super::{Connection, StoreError};
use super::orders::impose_on;
use super::pauses::order_pauses;
use super::reports::{Lift, lifted, refuse, stands};
use super::{Cursors, Effects, Refusal, cursors};

/// Why a measure ended that nobody reported lifted: the node connected without it.
pub(in super::super) const ABSENT: &str = "absent";

/// So many measures of which nothing was known are taken of one greeting: each costs several statements, and the writer waits for all. An agent that
/// holds more has them taken at its next greetings; what is known to stand already is not counted.
const NEW_MEASURES: usize = 4_096;

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

/// What the node says is in force stands, as far as it is believed; what we thought stood there and it does not name was lifted unseen.
async fn take_measures(
    conn: &mut Connection,
    hello: &Hello,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let mut named = BTreeSet::new();
    let (mut new, mut refused) = (0_usize, 0_i64);
    for some in hello.measures.chunks(TOGETHER) {
        let known = known(conn, &hello.node, some).await?;
        for measure in some {
            let id = &measure.decision.id;
            let at = match known.get(id.0.as_str()) {
                _ if measure.decision.mode != Mode::Enforce => Err(Refusal::NotEnforced),
                // It is known to stand, and nothing that we have of it changes.
                Some(None) => {
                    named.insert(id.clone());
                    continue;
                }
                _ if new >= NEW_MEASURES => Err(Refusal::TooMany),
                None => Ok(measure.decision.at),
                // It stands although we held it for lifted: the node knows better, from now on.
                Some(Some(_)) => Ok(effects.now),
            };
            let taken = match at {
                Ok(at) => {
                    new += 1;
                    stands(conn, &hello.node, measure, at, effects).await?
                }
                Err(refusal) => Err(refusal),
            };
            match taken {
                Ok(()) => _ = named.insert(id.clone()),
                Err(refusal) => {
                    refused += 1;
                    tracing::debug!(node = %hello.node, decision = %id, %refusal, "a measure was not taken");
                }
            }
        }
    }
    if refused > 0 {
        tracing::warn!(node = %hello.node, refused, "measures that the node says stand there were not taken");
        refuse(conn, &hello.node, refused).await?;
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

/// Which of these measures are known of a node, and when those were lifted that were.
async fn known(
    conn: &mut Connection,
    node: &NodeId,
    some: &[Measure],
) -> Result<BTreeMap<String, Option<i64>>, StoreError> {
    let mut query = Select::new("SELECT decision, lifted FROM measures WHERE node = ");
    query.push_bind(node.as_str()).push(" AND decision IN ");
    query.push_list(some.iter().map(|measure| measure.decision.id.0.as_str()));
    let rows: Vec<(String, Option<i64>)> = query.fetch_all(conn).await?;
    Ok(rows.into_iter().collect())
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
    let all_held: BTreeSet<&DecisionId> = hello.measures.iter().map(|measure| &measure.decision.id).collect();
    for (body, order, state) in rows {
        let decision = Decision::decode(&body)?;
        let held = all_held.contains(&decision.id);
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
