//! Policies that were uploaded are deleted.
//!
//! Of a policy that is deleted stays the hash of its text: a name and version stand for one text for good, since decisions are told by them and
//! nodes keep what they took. The same text may come back, another one under its name and version may not.

use data_encoding::HEXLOWER;
use reeve_policy::PolicyVersion;
use ring::digest::{SHA256, digest};

use super::super::rollout::{Act, act, source};
use super::super::row::nanos;
use super::super::{Connection, StoreError};
use super::Effects;

/// The most nodes that a refusal names.
const NAMED: i64 = 20;

/// A policy to be deleted.
#[derive(Clone, Debug)]
pub struct DeleteAsked {
    /// Its name and version.
    pub version: PolicyVersion,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What became of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteTaken {
    /// It is gone.
    Deleted,
    /// There is no such policy.
    NoPolicy,
    /// Nodes are to run it.
    Active,
    /// Some are.
    Staged,
    /// They would be, by a rollback.
    Before,
    /// These run it still, as they told.
    Runs(Vec<String>),
}

/// Deletes a policy that nothing rests on.
///
/// # Errors
/// Where the database fails.
pub async fn delete_policy(
    conn: &mut Connection,
    asked: &DeleteAsked,
    effects: &Effects,
) -> Result<DeleteTaken, StoreError> {
    let version = &asked.version;
    let Some(text) = source(conn, version).await? else { return Ok(DeleteTaken::NoPolicy) };
    let last = act(conn, None).await?.unwrap_or_default();
    if last.active.as_ref() == Some(version) {
        return Ok(DeleteTaken::Active);
    }
    if last.staged.as_ref().is_some_and(|(staged, _)| staged == version) {
        return Ok(DeleteTaken::Staged);
    }
    if before(conn, &last).await?.active.as_ref() == Some(version) {
        return Ok(DeleteTaken::Before);
    }
    let running: Vec<(String,)> = sqlx::query_as(
        "SELECT node FROM node_assignments WHERE is_assigned = 1 AND name = $1 AND version = $2 ORDER BY node LIMIT $3",
    )
    .bind(version.name.as_str())
    .bind(i64::from(version.version))
    .bind(NAMED)
    .fetch_all(&mut *conn)
    .await?;
    if !running.is_empty() {
        return Ok(DeleteTaken::Runs(running.into_iter().map(|(node,)| node).collect()));
    }
    sqlx::query(
        "INSERT INTO deleted_policies (name, version, hash, deleted, deleted_by, reason) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (name, version) DO UPDATE SET deleted = excluded.deleted, deleted_by = excluded.deleted_by, \
         reason = excluded.reason",
    )
    .bind(version.name.as_str())
    .bind(i64::from(version.version))
    .bind(hash(&text))
    .bind(nanos(effects.now))
    .bind(asked.by.as_str())
    .bind(asked.reason.as_str())
    .execute(&mut *conn)
    .await?;
    sqlx::query("DELETE FROM uploaded_policies WHERE name = $1 AND version = $2")
        .bind(version.name.as_str())
        .bind(i64::from(version.version))
        .execute(conn)
        .await?;
    effects.desk.policies.forget_names();
    Ok(DeleteTaken::Deleted)
}

/// What was active before what an act has active, and is there still: what was deleted since is passed over.
pub(super) async fn before(conn: &mut Connection, of: &Act) -> Result<Act, StoreError> {
    let mut previous = of.previous;
    while let Some(number) = previous {
        let Some(found) = act(conn, Some(number)).await? else { break };
        let is_there = match &found.active {
            Some(version) => source(conn, version).await?.is_some(),
            None => true,
        };
        if is_there {
            return Ok(found);
        }
        previous = found.previous;
    }
    Ok(Act::default())
}

/// A text's hash, as it is kept of what was deleted.
pub(in super::super) fn hash(text: &str) -> String {
    HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref())
}
