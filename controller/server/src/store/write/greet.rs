//! A node connects.

use std::collections::{BTreeMap, BTreeSet};

use reeve_policy::{Decision, DecisionId, Measure, Mode, NodeId};
use reeve_proto::session::Hello;

use super::super::query::{Select, write_rows};
use super::super::read::TOGETHER;
use super::super::row::{Body, count, name, nanos};
use super::super::{Connection, StoreError};
use super::orders::impose_on;
use super::pauses::{PauseRow, Target, order_pauses};
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

/// Takes the greetings of some nodes, each of which is there once: notes the nodes, brings their measures up to what they say is in force, and orders
/// the operators' suspensions that they do not hold.
///
/// # Errors
/// Where the database fails.
pub async fn greet(
    conn: &mut Connection,
    hellos: &[&Hello],
    cursors: &mut Cursors,
    effects: &mut Effects,
) -> Result<Vec<Greeting>, StoreError> {
    let now = nanos(effects.now);
    let values = |query: &mut Select, hello: &&Hello| {
        query.push_bind(hello.node.as_str()).and(hello.agent_version.as_str()).and(now).and(now);
        query.and(count(hello.tenants_version));
    };
    write_rows(
        conn,
        "INSERT INTO nodes (name, agent_version, first_seen, last_seen, tenants_version)",
        hellos,
        values,
        " ON CONFLICT (name) DO UPDATE SET agent_version = excluded.agent_version, last_seen = excluded.last_seen, \
         tenants_version = excluded.tenants_version",
    )
    .await?;
    super::rollout::take_held(conn, hellos).await?;
    cursors.read(conn, hellos.iter().map(|hello| &hello.node)).await?;
    let mut greetings = Vec::with_capacity(hellos.len());
    for some in hellos.chunks(TOGETHER) {
        let around = Around::read(conn, some, effects).await?;
        for hello in some {
            let node = &hello.node;
            let is_known = cursors.has(conn, node, hello.epoch).await?;
            if !is_known {
                cursors::begin(conn, node, hello.epoch, cursors, effects.now).await?;
            }
            super::super::policies::take(conn, node, &hello.policy, effects.now).await?;
            effects.desk.policies.forget_names();
            take_measures(conn, hello, &around, effects).await?;
            order_missing(conn, hello, !is_known, &around, effects).await?;
            order_pauses(conn, hello, &around.pauses, effects).await?;
            greetings.push(Greeting { acknowledged: cursors.of(conn, node, hello.epoch).await? });
        }
    }
    Ok(greetings)
}

/// A measure that stands: the decision, the tenant, and when it ends by itself.
type Standing = (String, String, Option<i64>);

/// What is kept of nodes that greet.
struct Around {
    /// What stands on each.
    standing: BTreeMap<String, Vec<Standing>>,
    /// The operators' suspensions in force, oldest first.
    imposed: Vec<Decision>,
    /// The orders that carried them to the nodes, by node and decision: the order's key, and where it stands.
    carried: BTreeMap<(String, String), (String, String)>,
    pauses: BTreeMap<Target, PauseRow>,
}

impl Around {
    async fn read(conn: &mut Connection, hellos: &[&Hello], effects: &Effects) -> Result<Self, StoreError> {
        let nodes = || hellos.iter().map(|hello| hello.node.as_str());
        let mut query = Select::new(
            "SELECT node, decision, tenant, expires FROM measures WHERE lifted IS NULL AND node IN ",
        );
        query.push_list(nodes());
        let mut standing: BTreeMap<String, Vec<Standing>> = BTreeMap::new();
        let rows: Vec<(String, String, String, Option<i64>)> = query.fetch_all(&mut *conn).await?;
        for (node, decision, tenant, expires) in rows {
            standing.entry(node).or_default().push((decision, tenant, expires));
        }
        let imposed: Vec<(Vec<u8>,)> = sqlx::query_as(
            "SELECT body FROM decisions WHERE operator IS NOT NULL AND released IS NULL \
             AND (expires IS NULL OR expires > $1) ORDER BY made, id",
        )
        .bind(nanos(effects.now))
        .fetch_all(&mut *conn)
        .await?;
        let imposed: Vec<Decision> =
            imposed.iter().map(|(body,)| Decision::decode(body)).collect::<Result<_, _>>()?;
        let mut carried = BTreeMap::new();
        if !imposed.is_empty() {
            let mut query = Select::new(
                "SELECT node, decision, id, state FROM orders WHERE kind = 'impose' AND decision IS NOT NULL AND node IN ",
            );
            query.push_list(nodes());
            let rows: Vec<(String, String, String, String)> = query.fetch_all(&mut *conn).await?;
            carried
                .extend(rows.into_iter().map(|(node, decision, id, state)| ((node, decision), (id, state))));
        }
        let nodes: Vec<&NodeId> = hellos.iter().map(|hello| &hello.node).collect();
        let pauses = super::pauses(conn, Some(&nodes)).await?;
        Ok(Self { standing, imposed, carried, pauses })
    }
}

/// What the node says is in force stands, as far as it is believed; what we thought stood there and it does not name was lifted unseen.
async fn take_measures(
    conn: &mut Connection,
    hello: &Hello,
    around: &Around,
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
    // What came to stand by this greeting is named in it.
    for (decision, tenant, expires) in around.standing.get(hello.node.as_str()).into_iter().flatten() {
        let decision = DecisionId(name("decision", decision)?);
        if named.contains(&decision) {
            continue;
        }
        let tenant = name("tenant", tenant)?;
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
    around: &Around,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let all_held: BTreeSet<&DecisionId> = hello.measures.iter().map(|measure| &measure.decision.id).collect();
    for decision in around.imposed.iter().filter(|decision| !all_held.contains(&decision.id)) {
        let key = (hello.node.to_string(), decision.id.to_string());
        match around.carried.get(&key) {
            None => impose_on(conn, &hello.node, decision, effects).await?,
            Some((order, state)) if started_anew && state == "done" => {
                sqlx::query(
                    "UPDATE orders SET state = 'pending', answered = NULL WHERE node = $1 AND id = $2",
                )
                .bind(hello.node.as_str())
                .bind(order.as_str())
                .execute(&mut *conn)
                .await?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}
