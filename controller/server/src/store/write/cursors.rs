//! How far nodes' reports are stored: read for a whole transaction at a time, and written once at its end.

use std::collections::{BTreeMap, BTreeSet};

use reeve_policy::{NodeId, Timestamp};

use super::super::query::{Select, write_rows};
use super::super::read::TOGETHER;
use super::super::row::{count, epoch, name, nanos};
use super::super::{Connection, StoreError};

/// How many lives of a node's spool are remembered. One is enough while an agent keeps its spool; more cost nothing.
const EPOCHS_KEPT: i64 = 8;

/// A node, and a life of its spool.
type Life = (NodeId, u64);

/// How far some nodes are stored, as a transaction goes on.
#[derive(Debug, Default)]
pub struct Cursors {
    read: BTreeSet<NodeId>,
    known: BTreeMap<Life, u64>,
    moved: BTreeSet<Life>,
}

impl Cursors {
    /// Reads those of the nodes that reports came from.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn read(
        &mut self,
        conn: &mut Connection,
        nodes: impl Iterator<Item = &NodeId>,
    ) -> Result<(), StoreError> {
        let nodes: BTreeSet<&NodeId> = nodes.filter(|node| !self.read.contains(*node)).collect();
        let nodes: Vec<&NodeId> = nodes.into_iter().collect();
        for some in nodes.chunks(TOGETHER) {
            let mut query = Select::new("SELECT node, epoch, sequence FROM cursors WHERE node IN ");
            query.push_list(some.iter().map(|node| node.as_str()));
            let rows: Vec<(String, i64, i64)> = query.fetch_all(&mut *conn).await?;
            for (node, life, sequence) in rows {
                let life = (name("node", &node)?, life.cast_unsigned());
                self.known.entry(life).or_insert(sequence.cast_unsigned());
            }
        }
        self.read.extend(nodes.into_iter().cloned());
        Ok(())
    }

    /// How far an epoch is stored, 0 for one that is new; of a node that was not read, whatever it is in the database.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn of(&mut self, conn: &mut Connection, node: &NodeId, life: u64) -> Result<u64, StoreError> {
        self.read(conn, std::iter::once(node)).await?;
        Ok(self.known.get(&(node.clone(), life)).copied().unwrap_or(0))
    }

    /// Whether an epoch has a cursor.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn has(&mut self, conn: &mut Connection, node: &NodeId, life: u64) -> Result<bool, StoreError> {
        self.read(conn, std::iter::once(node)).await?;
        Ok(self.known.contains_key(&(node.clone(), life)))
    }

    /// An epoch is stored up to there; never less far than before.
    pub fn advance(&mut self, node: &NodeId, life: u64, sequence: u64) {
        let key = (node.clone(), life);
        let known = self.known.entry(key.clone()).or_default();
        *known = sequence.max(*known);
        self.moved.insert(key);
    }

    /// Writes what has moved.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn write(&mut self, conn: &mut Connection, now: Timestamp) -> Result<(), StoreError> {
        let moved: Vec<Life> = std::mem::take(&mut self.moved).into_iter().collect();
        let values = |query: &mut Select, life: &Life| {
            let sequence = self.known.get(life).copied().unwrap_or(0);
            query.push_bind(life.0.as_str()).and(epoch(life.1)).and(count(sequence)).and(nanos(now));
        };
        write_rows(
            conn,
            "INSERT INTO cursors (node, epoch, sequence, updated)",
            &moved,
            values,
            " ON CONFLICT (node, epoch) DO UPDATE SET updated = excluded.updated, \
             sequence = CASE WHEN excluded.sequence > cursors.sequence THEN excluded.sequence ELSE cursors.sequence END",
        )
        .await
    }
}

/// Begins an epoch of a node, and forgets the oldest of them.
///
/// # Errors
/// Where the database fails.
pub(super) async fn begin(
    conn: &mut Connection,
    node: &NodeId,
    life: u64,
    cursors: &mut Cursors,
    now: Timestamp,
) -> Result<(), StoreError> {
    cursors.advance(node, life, 0);
    cursors.write(conn, now).await?;
    sqlx::query(
        "DELETE FROM cursors WHERE node = $1 AND epoch NOT IN \
         (SELECT epoch FROM cursors WHERE node = $1 ORDER BY updated DESC LIMIT $2)",
    )
    .bind(node.as_str())
    .bind(EPOCHS_KEPT)
    .execute(conn)
    .await?;
    Ok(())
}
