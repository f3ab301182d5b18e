//! Policies that were uploaded, and which of them nodes are to run: read.

use std::sync::Arc;

use reeve_policy::language::Policy;
use reeve_policy::{AssignedPolicy, NodeId, PolicyVersion, Timestamp};

use super::row::{name, time, uncount};
use super::{Connection, Store, StoreError};
use crate::directory::{Rollout, Share, Staged};

/// So many texts of one name and version are told.
const MAX_TEXTS: i64 = 4;

/// A policy that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedRow {
    /// Its name and version.
    pub version: PolicyVersion,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Who ordered what holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActRow {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What a node told when it last connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignmentRow {
    /// The node.
    pub node: NodeId,
    /// The minor version that its agent speaks; `None` where it has not connected since that is asked.
    pub protocol: Option<u32>,
    /// The last assignment that it decided on.
    pub decided: u64,
    /// What it runs.
    pub running: Option<PolicyVersion>,
    /// Whether a controller assigned that.
    pub is_assigned: bool,
    /// Why it refused; empty if it did not.
    pub refused: String,
}

/// A version that is there whole or not at all.
pub(super) fn version(of: Option<String>, number: Option<i64>) -> Result<Option<PolicyVersion>, StoreError> {
    let (Some(of), Some(number)) = (of, number) else { return Ok(None) };
    let wrong = || StoreError::Body { kind: "policy's version", detail: format!("{of}@{number}") };
    let version = u32::try_from(number).map_err(|_| wrong())?;
    Ok(Some(PolicyVersion { name: name("policy", &of)?, version }))
}

/// A policy's text.
///
/// # Errors
/// Where the database fails.
pub async fn source(conn: &mut Connection, of: &PolicyVersion) -> Result<Option<String>, StoreError> {
    let row: Option<(String,)> =
        sqlx::query_as("SELECT source FROM uploaded_policies WHERE name = $1 AND version = $2")
            .bind(of.name.as_str())
            .bind(i64::from(of.version))
            .fetch_optional(conn)
            .await?;
    Ok(row.map(|(source,)| source))
}

impl Store {
    /// The texts that there are under a policy's name and version: the one that was uploaded, or those that nodes told of, or the one that is
    /// compiled in.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn policy_texts(&self, of: &PolicyVersion) -> Result<Vec<String>, StoreError> {
        let mut conn = self.readers.acquire().await?;
        if let Some(uploaded) = source(&mut conn, of).await? {
            return Ok(vec![uploaded]);
        }
        let told: Vec<(String,)> =
            sqlx::query_as("SELECT body FROM policies WHERE name = $1 AND version = $2 ORDER BY id LIMIT $3")
                .bind(of.name.as_str())
                .bind(i64::from(of.version))
                .bind(MAX_TEXTS)
                .fetch_all(&mut *conn)
                .await?;
        if !told.is_empty() {
            return Ok(told.into_iter().map(|(body,)| body).collect());
        }
        let is_it = |name: &str| {
            name == of.name.as_str()
                && Policy::preset(name).is_some_and(|preset| preset.version == of.version)
        };
        let preset = Policy::PRESETS.iter().find(|(name, _)| is_it(name));
        Ok(preset.map(|(_, text)| (*text).to_owned()).into_iter().collect())
    }
}

/// The hash of a policy's text that was deleted.
///
/// # Errors
/// Where the database fails.
pub(super) async fn deleted(conn: &mut Connection, of: &PolicyVersion) -> Result<Option<String>, StoreError> {
    let row: Option<(String,)> =
        sqlx::query_as("SELECT hash FROM deleted_policies WHERE name = $1 AND version = $2")
            .bind(of.name.as_str())
            .bind(i64::from(of.version))
            .fetch_optional(conn)
            .await?;
    Ok(row.map(|(hash,)| hash))
}

type ActColumns =
    (i64, Option<String>, Option<i64>, Option<i64>, Option<String>, Option<i64>, Option<i64>, Option<String>);

/// An act, as it is stored.
#[derive(Clone, Debug, Default)]
pub(super) struct Act {
    pub number: u64,
    pub active: Option<PolicyVersion>,
    /// The act that made active what was so before.
    pub previous: Option<i64>,
    pub staged: Option<(PolicyVersion, Share)>,
}

/// An act by its number, or the last.
pub(super) async fn act(conn: &mut Connection, number: Option<i64>) -> Result<Option<Act>, StoreError> {
    let row: Option<ActColumns> = sqlx::query_as(
        "SELECT number, active_name, active_version, previous, staged_name, staged_version, percent, nodes FROM policy_acts \
         WHERE number = $1 OR $1 < 0 ORDER BY number DESC LIMIT 1",
    )
    .bind(number.unwrap_or(-1))
    .fetch_optional(conn)
    .await?;
    let Some((number, active, active_version, previous, staged, staged_version, percent, nodes)) = row else {
        return Ok(None);
    };
    let share = || -> Result<Share, StoreError> {
        Ok(match percent {
            Some(percent) => Share::Percent(u8::try_from(percent).unwrap_or(0)),
            None => {
                let nodes = nodes.unwrap_or_default();
                Share::Nodes(
                    nodes.split_whitespace().map(|node| name("node", node)).collect::<Result<_, _>>()?,
                )
            }
        })
    };
    let staged = match version(staged, staged_version)? {
        Some(version) => Some((version, share()?)),
        None => None,
    };
    let active = version(active, active_version)?;
    Ok(Some(Act { number: uncount(number), active, previous, staged }))
}

/// What is assigned; what is the same as what is `known` is shared with it.
///
/// # Errors
/// Where the database fails.
pub async fn rollout(conn: &mut Connection, known: &Rollout) -> Result<Rollout, StoreError> {
    let Some(act) = act(conn, None).await? else { return Ok(Rollout::default()) };
    if act.number == known.number {
        return Ok(known.clone());
    }
    let mut rollout = Rollout { number: act.number, ..Rollout::default() };
    if let Some(version) = act.active {
        rollout.active = Some(assigned(conn, version).await?);
    }
    if let Some((version, share)) = act.staged {
        rollout.staged = Some(Staged { policy: assigned(conn, version).await?, share });
    }
    Ok(rollout)
}

async fn assigned(conn: &mut Connection, version: PolicyVersion) -> Result<Arc<AssignedPolicy>, StoreError> {
    let missing =
        || StoreError::Body { kind: "policy", detail: format!("{version} is assigned and not there") };
    let source = source(conn, &version).await?.ok_or_else(missing)?;
    Ok(Arc::new(AssignedPolicy { version, source }))
}

type AssignmentColumns =
    (String, Option<i64>, Option<i64>, Option<String>, Option<i64>, Option<i64>, Option<String>);

impl Store {
    /// The policies that were uploaded, by name and then newest version first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn uploaded(&self) -> Result<Vec<UploadedRow>, StoreError> {
        let rows: Vec<(String, i64, i64, String, String)> = sqlx::query_as(
            "SELECT name, version, uploaded, uploaded_by, reason FROM uploaded_policies ORDER BY name, version DESC",
        )
        .fetch_all(&self.readers)
        .await?;
        let mut all = Vec::with_capacity(rows.len());
        for (of, number, at, by, reason) in rows {
            if let Some(version) = version(Some(of), Some(number))? {
                all.push(UploadedRow { version, at: time(at), by, reason });
            }
        }
        Ok(all)
    }

    /// One of them, and its text.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn uploaded_policy(
        &self,
        of: &PolicyVersion,
    ) -> Result<Option<(UploadedRow, String)>, StoreError> {
        let row: Option<(i64, String, String, String)> = sqlx::query_as(
            "SELECT uploaded, uploaded_by, reason, source FROM uploaded_policies WHERE name = $1 AND version = $2",
        )
        .bind(of.name.as_str())
        .bind(i64::from(of.version))
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.map(|(at, by, reason, source)| {
            (UploadedRow { version: of.clone(), at: time(at), by, reason }, source)
        }))
    }

    /// Whether a policy was deleted that had another text than this under the same name and version.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn is_spent(&self, of: &PolicyVersion, text: &str) -> Result<bool, StoreError> {
        let mut conn = self.readers.acquire().await?;
        let hash = deleted(&mut conn, of).await?;
        Ok(hash.is_some_and(|hash| hash != super::write::text_hash(text)))
    }

    /// Who ordered what holds, by its number.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn policy_act(&self, number: u64) -> Result<Option<ActRow>, StoreError> {
        let row: Option<(i64, String, String)> =
            sqlx::query_as("SELECT at, author, reason FROM policy_acts WHERE number = $1")
                .bind(super::row::count(number))
                .fetch_optional(&self.readers)
                .await?;
        Ok(row.map(|(at, by, reason)| ActRow { at: time(at), by, reason }))
    }

    /// What every node that is known told, by name.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn assignments(&self) -> Result<Vec<AssignmentRow>, StoreError> {
        let rows: Vec<AssignmentColumns> = sqlx::query_as(
            "SELECT n.name, a.protocol, a.assignment, a.name, a.version, a.is_assigned, a.refused \
             FROM nodes n LEFT JOIN node_assignments a ON a.node = n.name ORDER BY n.name",
        )
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|(node, protocol, decided, of, number, is_assigned, refused)| {
                Ok(AssignmentRow {
                    node: name("node", &node)?,
                    protocol: protocol.and_then(|minor| u32::try_from(minor).ok()),
                    decided: decided.map_or(0, uncount),
                    running: version(of, number)?,
                    is_assigned: is_assigned == Some(1),
                    refused: refused.unwrap_or_default(),
                })
            })
            .collect()
    }
}
