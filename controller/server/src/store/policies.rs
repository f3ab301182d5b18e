//! The policies that nodes have, as they tell them when they connect: by them, and in their words, people are told of what was decided.
//!
//! Those that were read are kept in memory; reading one again costs more than all the words in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reeve_policy::language::Policy;
use reeve_policy::{Decision, NodeId, Origin, Timestamp};

use super::row::nanos;
use super::{Connection, StoreError};

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
    /// What nodes have under a name and a version, as far as a transaction has asked.
    named: BTreeMap<(String, u32), Named>,
}

/// What nodes have under one name and version.
#[derive(Clone, Copy, Debug)]
enum Named {
    Nothing,
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

    /// Asks again what nodes have when that is needed next: another transaction begins, or a node told of a policy.
    pub(crate) fn forget_names(&self) {
        self.memory().named.clear();
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The policy that a decision was made by, as the node that made it told it, or another one; for a person's, and where nobody told of it, the
    /// one that was told of last.
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
            let id = match self.named(conn, policy.as_str(), *version).await? {
                Named::Nothing => None,
                Named::One(id) => Some(id),
                Named::Several => told_last(conn, policy.as_str(), *version, node).await?,
            };
            if let Some(id) = id
                && let Some(policy) = self.read(conn, id).await?
            {
                return Ok(policy);
            }
            if let Some(preset) = self.preset(policy.as_str()).filter(|preset| preset.version == *version) {
                return Ok(preset);
            }
        }
        self.latest(conn, node).await
    }

    /// The policy that a node told of last, or that any did.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn latest(
        &self,
        conn: &mut Connection,
        node: Option<&NodeId>,
    ) -> Result<Arc<Policy>, StoreError> {
        let found: Option<(i64,)> = sqlx::query_as(
            "SELECT policy FROM node_policies ORDER BY (node = $1) DESC, told DESC, policy DESC LIMIT 1",
        )
        .bind(node.map_or("", |node| node.as_str()))
        .fetch_optional(&mut *conn)
        .await?;
        let known = match found {
            Some((id,)) => self.read(conn, id).await?,
            None => None,
        };
        Ok(known.unwrap_or_else(|| self.preset(STAND_IN).expect("it is compiled in")))
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

    async fn named(&self, conn: &mut Connection, name: &str, version: u32) -> Result<Named, StoreError> {
        let key = (name.to_owned(), version);
        if let Some(known) = self.memory().named.get(&key) {
            return Ok(*known);
        }
        let found: Vec<(i64,)> =
            sqlx::query_as("SELECT id FROM policies WHERE name = $1 AND version = $2 LIMIT 2")
                .bind(name)
                .bind(i64::from(version))
                .fetch_all(conn)
                .await?;
        let named = match found.as_slice() {
            [] => Named::Nothing,
            [(id,)] => Named::One(*id),
            _ => Named::Several,
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

/// Of texts that differ though their names and versions do not, the one that a node told of, or that was told of last.
async fn told_last(
    conn: &mut Connection,
    name: &str,
    version: u32,
    node: Option<&NodeId>,
) -> Result<Option<i64>, StoreError> {
    let found: Option<(i64,)> = sqlx::query_as(
        "SELECT p.id FROM policies p JOIN node_policies n ON n.policy = p.id \
         WHERE p.name = $1 AND p.version = $2 ORDER BY (n.node = $3) DESC, n.told DESC, p.id DESC LIMIT 1",
    )
    .bind(name)
    .bind(i64::from(version))
    .bind(node.map_or("", |node| node.as_str()))
    .fetch_optional(conn)
    .await?;
    Ok(found.map(|(id,)| id))
}
