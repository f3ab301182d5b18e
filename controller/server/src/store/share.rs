//! Several controllers on one database: their order, what they tell each other, and who is there.
//!
//! Each writing transaction begins by counting up one row, `commit`. Whoever does waits for the one before it to be over, so
//! transactions follow each other as if there were one writer, on every engine that locks rows or finds conflicts; and numbers
//! become visible in their order: who sees number *n* sees all that was written up to it. What a commit changed lies in `changes` under its number,
//! in that transaction. So a controller has only to read on from the last number that it knows; a notification says no more than that there is something,
//! and one that is lost is made up for by looking now and then.
//!
//! A controller counts its beats. One whose count stands still for some time, by the clock of whoever looks, is gone, and its
//! nodes with it. No two machines' clocks are compared.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use reeve_policy::{
    Decision, DecisionId, LiftReason, Measure, MeasureCounters, NodeEvent, NodeId, Notice, OrderId, TenantId,
    Timestamp, Violation,
};

use super::query::{Select, write_rows_returning};
use super::row::{Body, count, name, nanos, time, uncount};
use super::write::Effects;
use super::{Connection, OrderRow, StoreError};
use crate::events::What;

/// How many commits' changes are kept: so far behind a controller may be, before it reads everything anew.
const KEPT: i64 = 20_000;
/// So many changes are read at once.
const PAGE: i64 = 2_000;
/// The channel of notifications.
pub(super) const CHANNEL: &str = "reeve";

/// What a commit changed.
#[derive(Debug, Default)]
pub struct Change {
    /// Which controller's it was.
    pub controller: String,
    /// When, by its clock.
    pub at: Timestamp,
    /// Tenants whose standing may be another.
    pub touched: BTreeSet<TenantId>,
    /// Nodes that have new orders.
    pub ordered: BTreeSet<NodeId>,
    /// Whether the tenants are others.
    pub tenants_changed: bool,
    /// Whether what is paused is something else.
    pub pauses_changed: bool,
    /// Whether somebody else may call.
    pub access_changed: bool,
    /// Whether nodes are to run another policy.
    pub rollout_changed: bool,
    /// What happened.
    pub events: Vec<What>,
}

/// What a controller has not heard of yet.
#[derive(Debug)]
pub enum Heard {
    /// These, up to a number.
    Changes(Vec<Change>, u64),
    /// More than is kept, up to a number: everything is to be read anew.
    TooMuch(u64),
}

/// Takes the next number; until the transaction is over nobody else has one.
///
/// # Errors
/// Where the database fails.
pub async fn number(conn: &mut Connection) -> Result<u64, StoreError> {
    let (number,): (i64,) =
        sqlx::query_as("UPDATE meta SET value = value + 1 WHERE key = 'commit' RETURNING value")
            .fetch_one(conn)
            .await?;
    Ok(uncount(number))
}

/// The number of the last commit.
///
/// # Errors
/// Where the database fails.
pub async fn last(conn: &mut Connection) -> Result<u64, StoreError> {
    let (number,): (i64,) =
        sqlx::query_as("SELECT value FROM meta WHERE key = 'commit'").fetch_one(conn).await?;
    Ok(uncount(number))
}

/// What was changed by commits after `seen`.
///
/// # Errors
/// Where the database fails.
pub async fn since(conn: &mut Connection, seen: u64) -> Result<Heard, StoreError> {
    let up_to = last(conn).await?;
    let mut changes = Vec::new();
    let mut after = count(seen);
    loop {
        let rows: Vec<(i64, String, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT number, controller, at, body FROM changes WHERE number > $1 AND number <= $2 ORDER BY number LIMIT $3",
        )
        .bind(after)
        .bind(count(up_to))
        .bind(PAGE)
        .fetch_all(&mut *conn)
        .await?;
        let is_last = rows.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        for (number, controller, at, body) in rows {
            after = number;
            changes.push(decode(controller, time(at), &body)?);
        }
        if is_last {
            break;
        }
    }
    // After the changes: what is forgotten between the two questions is not missed.
    let (forgotten,): (i64,) =
        sqlx::query_as("SELECT value FROM meta WHERE key = 'changes_forgotten'").fetch_one(conn).await?;
    Ok(if uncount(forgotten) > seen { Heard::TooMuch(up_to) } else { Heard::Changes(changes, up_to) })
}

/// Notes what a commit changed, for the others; whether there was anything.
///
/// # Errors
/// Where the database fails.
pub async fn tell(
    conn: &mut Connection,
    number: u64,
    controller: &str,
    effects: &Effects,
) -> Result<bool, StoreError> {
    let body = encode(effects);
    if body.is_empty() {
        return Ok(false);
    }
    sqlx::query("INSERT INTO changes (number, controller, at, body) VALUES ($1, $2, $3, $4)")
        .bind(count(number))
        .bind(controller)
        .bind(nanos(effects.now))
        .bind(body)
        .execute(&mut *conn)
        .await?;
    Ok(true)
}

/// Tells the other controllers, when the transaction is over, that there is something to read.
///
/// # Errors
/// Where the database fails, and where the engine has no notifications.
pub async fn notify(conn: &mut Connection) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(conn).await?;
    Ok(())
}

/// Forgets changes that everybody has had time to read.
///
/// # Errors
/// Where the database fails.
pub async fn forget(conn: &mut Connection) -> Result<(), StoreError> {
    let up_to = count(last(conn).await?).saturating_sub(KEPT);
    if up_to <= 0 {
        return Ok(());
    }
    sqlx::query("DELETE FROM changes WHERE number <= $1").bind(up_to).execute(&mut *conn).await?;
    sqlx::query("UPDATE meta SET value = $1 WHERE key = 'changes_forgotten' AND value < $1")
        .bind(up_to)
        .execute(conn)
        .await?;
    Ok(())
}

/// Counts a controller's beat; whether it was known, which it is not when it is new or the others took it for gone.
///
/// # Errors
/// Where the database fails.
pub async fn beat(conn: &mut Connection, controller: &str) -> Result<bool, StoreError> {
    let done = sqlx::query("UPDATE controllers SET beat = beat + 1 WHERE id = $1")
        .bind(controller)
        .execute(&mut *conn)
        .await?;
    if done.rows_affected() > 0 {
        return Ok(true);
    }
    sqlx::query("INSERT INTO controllers (id, beat) VALUES ($1, 0) ON CONFLICT (id) DO NOTHING")
        .bind(controller)
        .execute(conn)
        .await?;
    Ok(false)
}

/// The controllers and their beats.
///
/// # Errors
/// Where the database fails.
pub async fn beats(conn: &mut Connection) -> Result<BTreeMap<String, i64>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT id, beat FROM controllers").fetch_all(conn).await?;
    Ok(rows.into_iter().collect())
}

/// Takes a controller for gone, or says goodbye, unless it has gone on beating: its nodes are not connected any more. Whether it was there.
///
/// # Errors
/// Where the database fails.
pub async fn bury(
    conn: &mut Connection,
    controller: &str,
    beat: Option<i64>,
    effects: &mut Effects,
) -> Result<bool, StoreError> {
    let done = sqlx::query("DELETE FROM controllers WHERE id = $1 AND ($2 < 0 OR beat = $2)")
        .bind(controller)
        .bind(beat.unwrap_or(-1))
        .execute(&mut *conn)
        .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let gone: Vec<(String,)> = sqlx::query_as("DELETE FROM presence WHERE controller = $1 RETURNING node")
        .bind(controller)
        .fetch_all(conn)
        .await?;
    for (node,) in gone {
        let reason = "its controller is gone".to_owned();
        effects.events.push(What::NodeDown { node: name("node", &node)?, reason });
    }
    Ok(true)
}

/// Forgets every controller, where there is only this one.
///
/// # Errors
/// Where the database fails.
pub async fn alone(conn: &mut Connection) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM presence").execute(&mut *conn).await?;
    sqlx::query("DELETE FROM controllers").execute(conn).await?;
    Ok(())
}

/// Nodes are connected by these streams of controllers, whichever they were connected by before. Those of which that is new.
///
/// # Errors
/// Where the database fails.
pub(super) async fn up(
    conn: &mut Connection,
    streams: &[(NodeId, (String, u64))],
    now: Timestamp,
) -> Result<Vec<NodeId>, StoreError> {
    let values = |query: &mut Select, (node, (controller, stream)): &(NodeId, (String, u64))| {
        query.push_bind(node.as_str()).and(controller.as_str()).and(count(*stream)).and(nanos(now));
    };
    let new: Vec<(String,)> = write_rows_returning(
        conn,
        "INSERT INTO presence (node, controller, stream, since)",
        streams,
        values,
        " ON CONFLICT (node) DO UPDATE SET controller = excluded.controller, stream = excluded.stream, since = excluded.since \
         WHERE presence.controller <> excluded.controller OR presence.stream < excluded.stream RETURNING node",
    )
    .await?;
    new.iter().map(|(node,)| name("node", node)).collect()
}

/// A stream has ended; the node is down unless another one is its by now.
///
/// # Errors
/// Where the database fails.
pub async fn down(
    conn: &mut Connection,
    node: &NodeId,
    (controller, stream): (&str, u64),
    reason: &str,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let done = sqlx::query("DELETE FROM presence WHERE node = $1 AND controller = $2 AND stream = $3")
        .bind(node.as_str())
        .bind(controller)
        .bind(count(stream))
        .execute(conn)
        .await?;
    if done.rows_affected() > 0 {
        effects.events.push(What::NodeDown { node: node.clone(), reason: reason.to_owned() });
    }
    Ok(())
}

/// By which controller each node is connected.
///
/// # Errors
/// Where the database fails.
pub async fn presence(conn: &mut Connection) -> Result<BTreeMap<NodeId, String>, StoreError> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT node, controller FROM presence").fetch_all(conn).await?;
    rows.into_iter().map(|(node, controller)| Ok((name("node", &node)?, controller))).collect()
}

/// A change as it is stored. Of events, whole messages are kept as everywhere.
#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(string, repeated, tag = "1")]
    touched: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    ordered: Vec<String>,
    #[prost(bool, tag = "3")]
    tenants_changed: bool,
    #[prost(bool, tag = "4")]
    pauses_changed: bool,
    #[prost(bool, tag = "6")]
    access_changed: bool,
    #[prost(bool, tag = "7")]
    rollout_changed: bool,
    #[prost(message, repeated, tag = "5")]
    events: Vec<Happened>,
}

#[derive(Clone, PartialEq, Message)]
struct Happened {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    node: String,
    #[prost(string, tag = "3")]
    tenant: String,
    #[prost(string, tag = "4")]
    key: String,
    /// A reason, a state: what it came to.
    #[prost(string, tag = "5")]
    word: String,
    #[prost(string, tag = "6")]
    detail: String,
    #[prost(uint64, tag = "7")]
    first: u64,
    #[prost(uint64, tag = "8")]
    second: u64,
    #[prost(bytes = "vec", tag = "9")]
    body: Vec<u8>,
}

fn encode(effects: &Effects) -> Vec<u8> {
    let wire = Wire {
        touched: effects.touched.iter().map(ToString::to_string).collect(),
        ordered: effects.ordered.iter().map(ToString::to_string).collect(),
        tenants_changed: effects.tenants_changed,
        pauses_changed: effects.pauses_changed || !effects.pauses_told.is_empty(),
        access_changed: effects.access_changed,
        rollout_changed: effects.rollout_changed,
        events: effects.events.iter().map(happened).collect(),
    };
    wire.encode_to_vec()
}

fn happened(what: &What) -> Happened {
    let of = |kind: &str| Happened { kind: kind.to_owned(), ..Happened::default() };
    match what {
        What::ViolationOpened(violation) => Happened { body: violation.encode(), ..of("opened") },
        What::ViolationClosed(violation) => Happened { body: violation.encode(), ..of("closed") },
        What::Decided(decision) => Happened { body: decision.encode(), ..of("decided") },
        What::MeasureStands { node, measure } => {
            Happened { node: node.to_string(), body: measure.encode(), ..of("stands") }
        }
        What::MeasureLifted { node, decision, tenant, reason, counters } => Happened {
            node: node.to_string(),
            key: decision.to_string(),
            tenant: tenant.to_string(),
            word: (*reason).to_owned(),
            first: counters.packets,
            second: counters.bytes,
            ..of("lifted")
        },
        What::NodeUp { node } => Happened { node: node.to_string(), ..of("up") },
        What::NodeDown { node, reason } => {
            Happened { node: node.to_string(), detail: reason.clone(), ..of("down") }
        }
        What::OrderAnswered { order, kind, tenant, row } => Happened {
            node: row.node.to_string(),
            key: order.to_string(),
            tenant: tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            word: format!("{kind} {}", row.state),
            detail: row.detail.clone(),
            ..of("answered")
        },
        What::Notice { number, notice } => Happened { first: *number, body: notice.encode(), ..of("notice") },
        What::NodeEvent { node, event } => {
            Happened { node: node.to_string(), body: event.encode(), ..of("event") }
        }
    }
}

fn decode(controller: String, at: Timestamp, body: &[u8]) -> Result<Change, StoreError> {
    let wrong = |detail: String| StoreError::Body { kind: "change", detail };
    let wire = Wire::decode(body).map_err(|error| wrong(error.to_string()))?;
    let mut events = Vec::new();
    for happened in &wire.events {
        // One of a newer controller's kind is not ours to tell.
        events.extend(what(happened)?);
    }
    Ok(Change {
        controller,
        at,
        touched: names(&wire.touched)?,
        ordered: names(&wire.ordered)?,
        tenants_changed: wire.tenants_changed,
        pauses_changed: wire.pauses_changed,
        access_changed: wire.access_changed,
        rollout_changed: wire.rollout_changed,
        events,
    })
}

/// Keys of tenants or of nodes.
fn names(texts: &[String]) -> Result<BTreeSet<reeve_policy::Name>, StoreError> {
    texts.iter().map(|text| name("change", text)).collect()
}

fn what(happened: &Happened) -> Result<Option<What>, StoreError> {
    let node = || -> Result<NodeId, StoreError> { name("node", &happened.node) };
    Ok(Some(match happened.kind.as_str() {
        "opened" => What::ViolationOpened(Violation::decode(&happened.body)?.into()),
        "closed" => What::ViolationClosed(Violation::decode(&happened.body)?.into()),
        "decided" => What::Decided(Decision::decode(&happened.body)?.into()),
        "stands" => What::MeasureStands { node: node()?, measure: Measure::decode(&happened.body)?.into() },
        "lifted" => What::MeasureLifted {
            node: node()?,
            decision: DecisionId(name("decision", &happened.key)?),
            tenant: name("tenant", &happened.tenant)?,
            reason: reason(&happened.word),
            counters: MeasureCounters { packets: happened.first, bytes: happened.second },
        },
        "up" => What::NodeUp { node: node()? },
        "down" => What::NodeDown { node: node()?, reason: happened.detail.clone() },
        "answered" => {
            let (kind, state) = happened.word.split_once(' ').unwrap_or_default();
            let Some(kind) = kind_of(kind) else { return Ok(None) };
            let tenant = Some(&happened.tenant).filter(|tenant| !tenant.is_empty());
            What::OrderAnswered {
                order: OrderId(name("order", &happened.key)?),
                kind,
                tenant: tenant.map(|tenant| name("tenant", tenant)).transpose()?,
                row: OrderRow { node: node()?, state: state.to_owned(), detail: happened.detail.clone() },
            }
        }
        "notice" => What::Notice { number: happened.first, notice: Notice::decode(&happened.body)?.into() },
        "event" => What::NodeEvent { node: node()?, event: NodeEvent::decode(&happened.body)?.into() },
        _ => return Ok(None),
    }))
}

/// The names of orders and of reasons for lifting, which events hold as fixed words.
const KINDS: [&str; 8] = ["impose", "release", "paid", "pause", "resume", "verify", "lift", "release-brakes"];

fn kind_of(text: &str) -> Option<&'static str> {
    KINDS.into_iter().find(|kind| *kind == text)
}

fn reason(text: &str) -> &'static str {
    let known = [LiftReason::Expired, LiftReason::Released, LiftReason::Departed, LiftReason::Verified];
    known.map(LiftReason::name).into_iter().find(|reason| *reason == text).unwrap_or(super::write::ABSENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::write::Desk;

    fn check(events: Vec<What>) {
        let mut effects = Effects::new(Timestamp::from_secs(7), Desk::default());
        effects.events = events;
        effects.touched.insert("t".parse().unwrap());
        effects.ordered.insert("n".parse().unwrap());
        effects.tenants_changed = true;
        effects.rollout_changed = true;
        let change = decode("c".into(), Timestamp::from_secs(7), &encode(&effects)).unwrap();
        assert_eq!(format!("{:?}", change.events), format!("{:?}", effects.events));
        assert_eq!((change.touched, change.ordered), (effects.touched, effects.ordered));
        assert!(change.tenants_changed && change.rollout_changed && !change.pauses_changed);
    }

    #[test]
    fn what_happened_is_told_to_others_as_it_was() {
        let node: NodeId = "n".parse().unwrap();
        let row = |state: &str| OrderRow { node: node.clone(), state: state.into(), detail: "why".into() };
        let mut events = vec![
            What::NodeUp { node: node.clone() },
            What::NodeDown { node: node.clone(), reason: "gone".into() },
        ];
        for reason in ["expired", "released", "departed", "verified", "absent"] {
            let counters = MeasureCounters { packets: u64::MAX, bytes: 2 };
            let decision = DecisionId("d".parse().unwrap());
            events.push(What::MeasureLifted {
                node: node.clone(),
                decision,
                tenant: "t".parse().unwrap(),
                reason,
                counters,
            });
        }
        for (kind, tenant) in KINDS.into_iter().zip([None, Some("t".parse().unwrap())].into_iter().cycle()) {
            let order = OrderId("o".parse().unwrap());
            events.push(What::OrderAnswered { order, kind, tenant, row: row("failed") });
        }
        check(events);
    }

    #[test]
    fn what_a_newer_controller_tells_is_left_out_and_nonsense_is_an_error() {
        let wire =
            Wire { events: vec![Happened { kind: "new".into(), ..Happened::default() }], ..Wire::default() };
        let change = decode("c".into(), Timestamp::EPOCH, &wire.encode_to_vec()).unwrap();
        assert!(change.events.is_empty());
        assert!(decode("c".into(), Timestamp::EPOCH, &[0xff; 9]).is_err());
    }
}
