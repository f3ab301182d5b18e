//! The policies by which, and in whose words, people are told of what was decided: those that were uploaded here, and those that nodes have, as
//! they tell them when they connect.
//!
//! What a node tells may be anything, so words of its own reach only those of whom it decides: the text that this controller holds itself
//! under a name and version goes before any node's, and the text of the node that decided before another node's.
//!
//! Those that were read are kept in memory; reading one again costs more than all the words in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reeve_policy::language::Policy;
use reeve_policy::{Decision, NodeId, Origin, PolicyVersion, Timestamp};

use super::row::nanos;
use super::{Connection, StoreError, rollout};

/// How many policies are remembered of a node.
const KEPT_OF_NODE: i64 = 4;
/// How many are kept in memory.
const IN_MEMORY: usize = 64;
/// What is there without any node: words of our own, to the tenant alone.
const STAND_IN: &str = "baseline";

/// Policies that were read.
#[derive(Clone, Debug, Default)]
pub struct Policies(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    /// By their key in the database; `None` for one that could not be read.
    read: BTreeMap<i64, Option<Arc<Policy>>>,
    /// Those that are compiled in, by name.
    presets: BTreeMap<String, Arc<Policy>>,
    /// Those that were uploaded, by name and version: the text under these is always the same.
    uploaded: BTreeMap<(String, u32), Option<Arc<Policy>>>,
    /// What there is under a name and a version, as far as a transaction has asked.
    named: BTreeMap<(String, u32), Named>,
    /// What is active in the rollout, if a transaction has asked.
    active: Option<Option<PolicyVersion>>,
}

/// What there is under one name and version.
#[derive(Clone, Copy, Debug)]
enum Named {
    Nothing,
    /// It was uploaded; what nodes have does not matter.
    Uploaded,
    One(i64),
    /// Texts that differ, though their names and versions do not.
    Several,
}

/// Takes note of the policy that a node tells of.
///
/// # Errors
/// Where the database fails.
pub(super) async fn take(
    conn: &mut Connection,
    node: &NodeId,
    text: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    if text.is_empty() {
        return Ok(());
    }
    let known: Option<(i64,)> = sqlx::query_as("SELECT id FROM policies WHERE body = $1 LIMIT 1")
        .bind(text)
        .fetch_optional(&mut *conn)
        .await?;
    let id = match known {
        Some((id,)) => id,
        None => {
            let policy = match Policy::parse("policy", text) {
                Ok(policy) => policy,
                Err(error) => {
                    // One from a newer agent may say what this controller does not know.
                    tracing::warn!(%node, %error, "the node's policy cannot be read: its notices are in words of ours");
                    return Ok(());
                }
            };
            let (id,): (i64,) =
                sqlx::query_as("INSERT INTO policies (name, version, body) VALUES ($1, $2, $3) RETURNING id")
                    .bind(policy.name.as_str())
                    .bind(i64::from(policy.version))
                    .bind(text)
                    .fetch_one(&mut *conn)
                    .await?;
            id
        }
    };
    sqlx::query(
        "INSERT INTO node_policies (node, policy, told) VALUES ($1, $2, $3) \
         ON CONFLICT (node, policy) DO UPDATE SET told = excluded.told",
    )
    .bind(node.as_str())
    .bind(id)
    .bind(nanos(now))
    .execute(&mut *conn)
    .await?;
    let forgotten = sqlx::query(
        "DELETE FROM node_policies WHERE node = $1 AND policy NOT IN \
         (SELECT policy FROM node_policies WHERE node = $1 ORDER BY told DESC, policy DESC LIMIT $2)",
    )
    .bind(node.as_str())
    .bind(KEPT_OF_NODE)
    .execute(&mut *conn)
    .await?;
    if forgotten.rows_affected() > 0 {
        sqlx::query("DELETE FROM policies WHERE id NOT IN (SELECT policy FROM node_policies)")
            .execute(conn)
            .await?;
    }
    Ok(())
}

impl Policies {
    /// Reads each again when it is needed next.
    pub(crate) fn forget(&self) {
        *self.memory() = Memory::default();
    }

    /// Asks again what there is when that is needed next: another transaction begins, a node told of a policy, or one was uploaded, deleted or
    /// made active.
    pub(crate) fn forget_names(&self) {
        let memory = &mut *self.memory();
        memory.named.clear();
        memory.active = None;
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The policy that a decision was made by, as it was uploaded here, or else as the node that made it told it, or where its measures stand, or
    /// another one; for a person's, and where nobody told of it, the [`Self::latest`].
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn behind(
        &self,
        conn: &mut Connection,
        decision: &Decision,
        node: Option<&NodeId>,
    ) -> Result<Arc<Policy>, StoreError> {
        if let Origin::Policy { policy, version, .. } = &decision.origin {
            let version = PolicyVersion { name: policy.clone(), version: *version };
            let found = match self.named(conn, &version).await? {
                Named::Nothing => None,
                Named::Uploaded => self.uploaded(conn, &version).await?,
                Named::One(id) => self.read(conn, id).await?,
                Named::Several => match told_last(conn, &version, decision, node).await? {
                    Some(id) => self.read(conn, id).await?,
                    None => None,
                },
            };
            if let Some(found) = found {
                return Ok(found);
            }
            let version = version.version;
            if let Some(preset) = self.preset(policy.as_str()).filter(|preset| preset.version == version) {
                return Ok(preset);
            }
        }
        self.latest(conn, node).await
    }

    /// The policy that this node told of last; of no node in particular, or of one that told none, the active one of the rollout; without one,
    /// what any node told of last.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn latest(
        &self,
        conn: &mut Connection,
        node: Option<&NodeId>,
    ) -> Result<Arc<Policy>, StoreError> {
        let found: Option<(i64, String)> = sqlx::query_as(
            "SELECT policy, node FROM node_policies ORDER BY (node = $1) DESC, told DESC, policy DESC LIMIT 1",
        )
        .bind(node.map_or("", |node| node.as_str()))
        .fetch_optional(&mut *conn)
        .await?;
        let is_own =
            node.is_some_and(|node| found.as_ref().is_some_and(|(_, teller)| teller == node.as_str()));
        if !is_own && let Some(active) = self.active(conn).await? {
            return Ok(active);
        }
        let known = match found {
            Some((id, _)) => self.read(conn, id).await?,
            None => None,
        };
        Ok(known.unwrap_or_else(|| self.preset(STAND_IN).expect("it is compiled in")))
    }

    /// The active one of the rollout.
    async fn active(&self, conn: &mut Connection) -> Result<Option<Arc<Policy>>, StoreError> {
        let known = self.memory().active.clone();
        let active = match known {
            Some(known) => known,
            None => {
                let active = rollout::act(conn, None).await?.and_then(|act| act.active);
                self.memory().active = Some(active.clone());
                active
            }
        };
        match active {
            Some(version) => self.uploaded(conn, &version).await,
            None => Ok(None),
        }
    }

    /// One that was uploaded; `None` if it was not, or cannot be read.
    async fn uploaded(
        &self,
        conn: &mut Connection,
        of: &PolicyVersion,
    ) -> Result<Option<Arc<Policy>>, StoreError> {
        let key = (of.name.to_string(), of.version);
        if let Some(known) = self.memory().uploaded.get(&key) {
            return Ok(known.clone());
        }
        let Some(text) = rollout::source(conn, of).await? else { return Ok(None) };
        let policy = Policy::parse("policy", &text).ok().map(Arc::new);
        let uploaded = &mut self.memory().uploaded;
        if uploaded.len() >= IN_MEMORY {
            uploaded.clear();
        }
        uploaded.insert(key, policy.clone());
        Ok(policy)
    }

    /// One that is compiled in, read once.
    fn preset(&self, name: &str) -> Option<Arc<Policy>> {
        let mut memory = self.memory();
        if let Some(known) = memory.presets.get(name) {
            return Some(Arc::clone(known));
        }
        let preset = Arc::new(Policy::preset(name)?);
        memory.presets.insert(name.to_owned(), Arc::clone(&preset));
        Some(preset)
    }

    async fn named(&self, conn: &mut Connection, of: &PolicyVersion) -> Result<Named, StoreError> {
        let key = (of.name.to_string(), of.version);
        if let Some(known) = self.memory().named.get(&key) {
            return Ok(*known);
        }
        let named = if self.uploaded(conn, of).await?.is_some() {
            Named::Uploaded
        } else {
            let found: Vec<(i64,)> =
                sqlx::query_as("SELECT id FROM policies WHERE name = $1 AND version = $2 LIMIT 2")
                    .bind(of.name.as_str())
                    .bind(i64::from(of.version))
                    .fetch_all(conn)
                    .await?;
            match found.as_slice() {
                [] => Named::Nothing,
                [(id,)] => Named::One(*id),
                _ => Named::Several,
            }
        };
        let mut memory = self.memory();
        // A node may tell of any number of names.
        if memory.named.len() < IN_MEMORY {
            memory.named.insert(key, named);
        }
        Ok(named)
    }

    async fn read(&self, conn: &mut Connection, id: i64) -> Result<Option<Arc<Policy>>, StoreError> {
        if let Some(known) = self.memory().read.get(&id) {
            return Ok(known.clone());
        }
        let row: Option<(String,)> =
            sqlx::query_as("SELECT body FROM policies WHERE id = $1").bind(id).fetch_optional(conn).await?;
        let policy = row.and_then(|(body,)| Policy::parse("policy", &body).ok()).map(Arc::new);
        let read = &mut self.memory().read;
        if read.len() >= IN_MEMORY {
            read.clear();
        }
        read.insert(id, policy.clone());
        Ok(policy)
    }
}

/// Of texts that differ though their names and versions do not, the one that the node that decided told, or else one where its measures stand, or
/// that was told of last.
async fn told_last(
    conn: &mut Connection,
    of: &PolicyVersion,
    decision: &Decision,
    node: Option<&NodeId>,
) -> Result<Option<i64>, StoreError> {
    let found: Option<(i64,)> = sqlx::query_as(
        "SELECT p.id FROM policies p JOIN node_policies n ON n.policy = p.id WHERE p.name = $1 AND p.version = $2 \
         ORDER BY (n.node = $3) DESC, (n.node IN (SELECT v.node FROM violations v WHERE v.id = $4)) DESC, \
         (n.node IN (SELECT m.node FROM measures m WHERE m.decision = $5 AND m.lifted IS NULL)) DESC, \
         n.told DESC, p.id DESC LIMIT 1",
    )
    .bind(of.name.as_str())
    .bind(i64::from(of.version))
    .bind(node.map_or("", |node| node.as_str()))
    .bind(decision.violation.as_ref().map_or("", |id| id.as_name().as_str()))
    .bind(decision.id.0.as_str())
    .fetch_optional(conn)
    .await?;
    Ok(found.map(|(id,)| id))
}
