//! Policies are uploaded, and assigned to nodes.

use std::collections::BTreeSet;

use reeve_policy::{NodeId, PolicyVersion};
use reeve_proto::session::Hello;

use super::super::query::{Select, write_rows};
use super::super::rollout::{Act, act, deleted, source};
use super::super::row::{count, nanos, uncount};
use super::super::{Connection, StoreError};
use super::{Effects, delete};
use crate::directory::Share;

/// The most policies that are kept.
const MAX_POLICIES: i64 = 4_096;
/// A node that tells of an assignment which is so far beyond all that we know of is not believed: it could use the numbers up.
const BELIEVED: u64 = 1_000_000;

/// A policy to be kept.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its name and version.
    pub version: PolicyVersion,
    /// Its text.
    pub source: String,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What became of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadTaken {
    /// It is kept.
    Stored,
    /// It was there.
    Known,
    /// Another one has its name and version.
    Differs,
    /// There are too many.
    Full,
}

/// What nodes are to run from now on.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Some this one.
    Stage(PolicyVersion, Share),
    /// All this one.
    Activate(PolicyVersion),
    /// What they were before; of an act, or of the last.
    Rollback(Option<u64>),
}

/// An order about it.
#[derive(Clone, Debug)]
pub struct RolloutAsked {
    /// What.
    pub wanted: Wanted,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What became of such an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloutTaken {
    /// It holds from now on, under this number.
    Done {
        /// The number.
        number: u64,
        /// What is active.
        active: Option<PolicyVersion>,
    },
    /// There is no such policy.
    NoPolicy,
    /// There are no such nodes.
    NoNodes(BTreeSet<NodeId>),
    /// It is active on all nodes already.
    IsActive,
    /// A later version of it is active.
    Older(PolicyVersion),
    /// There is nothing to go back from.
    Nothing,
    /// Something else was ordered since.
    Moved(u64),
}

/// Keeps a policy.
///
/// # Errors
/// Where the database fails.
pub async fn upload(
    conn: &mut Connection,
    asked: &Upload,
    effects: &Effects,
) -> Result<UploadTaken, StoreError> {
    if let Some(known) = source(conn, &asked.version).await? {
        return Ok(if known == asked.source { UploadTaken::Known } else { UploadTaken::Differs });
    }
    if deleted(conn, &asked.version).await?.is_some_and(|hash| hash != delete::hash(&asked.source)) {
        return Ok(UploadTaken::Differs);
    }
    let (kept,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM uploaded_policies").fetch_one(&mut *conn).await?;
    if kept >= MAX_POLICIES {
        return Ok(UploadTaken::Full);
    }
    sqlx::query(
        "INSERT INTO uploaded_policies (name, version, source, uploaded, uploaded_by, reason) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(asked.version.name.as_str())
    .bind(i64::from(asked.version.version))
    .bind(asked.source.as_str())
    .bind(nanos(effects.now))
    .bind(asked.by.as_str())
    .bind(asked.reason.as_str())
    .execute(conn)
    .await?;
    effects.desk.policies.forget_names();
    Ok(UploadTaken::Stored)
}

/// Does what is asked for.
///
/// # Errors
/// Where the database fails.
pub async fn roll_out(
    conn: &mut Connection,
    asked: &RolloutAsked,
    effects: &mut Effects,
) -> Result<RolloutTaken, StoreError> {
    let last = act(conn, None).await?.unwrap_or_default();
    let is_older = |wanted: &PolicyVersion| {
        last.active.clone().filter(|active| active.name == wanted.name && active.version > wanted.version)
    };
    let (kind, next) = match &asked.wanted {
        Wanted::Stage(policy, _) | Wanted::Activate(policy) if source(conn, policy).await?.is_none() => {
            return Ok(RolloutTaken::NoPolicy);
        }
        Wanted::Stage(policy, _) if last.active.as_ref() == Some(policy) => {
            return Ok(RolloutTaken::IsActive);
        }
        Wanted::Activate(policy) if last.active.as_ref() == Some(policy) && last.staged.is_none() => {
            return Ok(RolloutTaken::Done { number: last.number, active: last.active });
        }
        Wanted::Stage(policy, _) | Wanted::Activate(policy) if is_older(policy).is_some() => {
            return Ok(is_older(policy).map_or(RolloutTaken::NoPolicy, RolloutTaken::Older));
        }
        Wanted::Stage(policy, share) => {
            let unknown = unknown(conn, share).await?;
            if !unknown.is_empty() {
                return Ok(RolloutTaken::NoNodes(unknown));
            }
            let staged = Some((policy.clone(), share.clone()));
            if last.staged == staged {
                return Ok(RolloutTaken::Done { number: last.number, active: last.active });
            }
            ("stage", Act { staged, ..last.clone() })
        }
        // What is active already stays so by the act that made it so.
        Wanted::Activate(policy) if last.active.as_ref() == Some(policy) => {
            ("activate", Act { staged: None, ..last.clone() })
        }
        Wanted::Activate(policy) => {
            let previous = last.active.is_some().then_some(count(last.number));
            ("activate", Act { active: Some(policy.clone()), previous, staged: None, ..Act::default() })
        }
        Wanted::Rollback(Some(meant)) if *meant != last.number => {
            return Ok(RolloutTaken::Moved(last.number));
        }
        Wanted::Rollback(_) if last.staged.is_some() => ("rollback", Act { staged: None, ..last.clone() }),
        Wanted::Rollback(_) if last.active.is_none() => return Ok(RolloutTaken::Nothing),
        Wanted::Rollback(_) => ("rollback", Act { staged: None, ..delete::before(conn, &last).await? }),
    };
    let number = next_number(conn, last.number).await?;
    store(conn, kind, &Act { number, ..next.clone() }, asked, effects).await?;
    effects.desk.policies.forget_names();
    effects.rollout_changed = true;
    Ok(RolloutTaken::Done { number, active: next.active })
}

/// Above every number that was ever given, by this database or by the one that a copy was made of: nodes told us.
async fn next_number(conn: &mut Connection, last: u64) -> Result<u64, StoreError> {
    let (told,): (i64,) =
        sqlx::query_as("SELECT coalesce(max(assignment), 0) FROM node_assignments WHERE assignment <= $1")
            .bind(count(last.saturating_add(BELIEVED)))
            .fetch_one(conn)
            .await?;
    Ok(last.max(uncount(told)) + 1)
}

/// The nodes of a share that are not known.
async fn unknown(conn: &mut Connection, share: &Share) -> Result<BTreeSet<NodeId>, StoreError> {
    let Share::Nodes(nodes) = share else { return Ok(BTreeSet::new()) };
    let known: Vec<(String,)> = sqlx::query_as("SELECT name FROM nodes").fetch_all(conn).await?;
    let known: BTreeSet<&str> = known.iter().map(|(name,)| name.as_str()).collect();
    Ok(nodes.iter().filter(|node| !known.contains(node.as_str())).cloned().collect())
}

async fn store(
    conn: &mut Connection,
    kind: &str,
    act: &Act,
    asked: &RolloutAsked,
    effects: &Effects,
) -> Result<(), StoreError> {
    let name = |version: &PolicyVersion| version.name.to_string();
    let number = |version: &PolicyVersion| i64::from(version.version);
    let staged = act.staged.as_ref().map(|(version, _)| version);
    let (percent, nodes) = match &act.staged {
        None => (None, None),
        Some((_, Share::Percent(percent))) => (Some(i64::from(*percent)), None),
        Some((_, Share::Nodes(nodes))) => {
            let nodes: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
            (None, Some(nodes.join(" ")))
        }
    };
    sqlx::query(
        "INSERT INTO policy_acts (number, kind, active_name, active_version, previous, staged_name, staged_version, percent, \
         nodes, at, author, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(count(act.number))
    .bind(kind)
    .bind(act.active.as_ref().map(name))
    .bind(act.active.as_ref().map(number))
    .bind(act.previous)
    .bind(staged.map(name))
    .bind(staged.map(number))
    .bind(percent)
    .bind(nodes)
    .bind(nanos(effects.now))
    .bind(asked.by.as_str())
    .bind(asked.reason.as_str())
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes what nodes that connect tell of the policies that were assigned to them.
///
/// # Errors
/// Where the database fails.
pub(super) async fn take_held(conn: &mut Connection, hellos: &[&Hello]) -> Result<(), StoreError> {
    for hello in hellos {
        let Some(held) = hello.policy_held.as_ref().filter(|held| !held.refused.is_empty()) else { continue };
        let (assignment, refused) = (held.assignment, &held.refused);
        tracing::warn!(node = %hello.node, assignment, refused, "a node refused its policy");
    }
    let values = |query: &mut Select, hello: &&Hello| {
        let held = hello.policy_held.as_ref();
        query.push_bind(hello.node.as_str()).and(i64::from(hello.protocol.minor));
        query.and(held.map_or(0, |held| count(held.assignment)));
        query.and(held.map(|held| held.running.name.to_string()));
        query.and(held.map(|held| i64::from(held.running.version)));
        query.and(i64::from(held.is_some_and(|held| held.is_assigned)));
        query.and(held.map_or("", |held| held.refused.as_str()));
    };
    write_rows(
        conn,
        "INSERT INTO node_assignments (node, protocol, assignment, name, version, is_assigned, refused)",
        hellos,
        values,
        " ON CONFLICT (node) DO UPDATE SET protocol = excluded.protocol, assignment = excluded.assignment, \
         name = excluded.name, version = excluded.version, is_assigned = excluded.is_assigned, refused = excluded.refused",
    )
    .await
}
