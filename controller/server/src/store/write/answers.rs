//! Nodes' answers to orders: looked up and written many at a time, as an order to the fleet is answered by all of it at once.

use std::collections::{BTreeMap, BTreeSet};

use reeve_policy::{NodeId, OrderId, OrderResult, Timestamp};

use super::super::query::Select;
use super::super::read::TOGETHER;
use super::super::row::{name, nanos};
use super::super::{Connection, StoreError};

/// What is kept of an order to a node: where it stands, and itself.
pub(super) type Given = (String, Vec<u8>);

/// What became of an order: its state, and why it failed.
type Outcome = (OrderId, &'static str, String);

/// The orders that nodes answer in a transaction.
#[derive(Debug, Default)]
pub struct Answers {
    /// As they are on disk, with what is still to be written of them; `None` where there is no such order.
    known: BTreeMap<(NodeId, OrderId), Option<Given>>,
    /// What is to be written, with the nodes of which it is true.
    unwritten: BTreeMap<Outcome, Vec<NodeId>>,
}

impl Answers {
    /// Looks the orders up that these nodes answer.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn read(
        &mut self,
        conn: &mut Connection,
        answers: impl Iterator<Item = (&NodeId, &OrderResult)>,
    ) -> Result<(), StoreError> {
        let all: BTreeSet<(&NodeId, &OrderId)> = answers.map(|(node, result)| (node, &result.id)).collect();
        let all: Vec<(&NodeId, &OrderId)> = all.into_iter().collect();
        for some in all.chunks(TOGETHER) {
            let ids: BTreeSet<&str> = some.iter().map(|(_, id)| id.0.as_str()).collect();
            let nodes: BTreeSet<&str> = some.iter().map(|(node, _)| node.as_str()).collect();
            let mut query = Select::new("SELECT node, id, state, body FROM orders WHERE node IN ");
            query.push_list(nodes.into_iter()).push(" AND id IN ").push_list(ids.into_iter());
            let rows: Vec<(String, String, String, Vec<u8>)> = query.fetch_all(&mut *conn).await?;
            for (node, id) in some {
                self.known.entry(((*node).clone(), (*id).clone())).or_default();
            }
            for (node, id, state, body) in rows {
                let key = (name("node", &node)?, OrderId(name("order", &id)?));
                self.known.insert(key, Some((state, body)));
            }
        }
        Ok(())
    }

    /// An order as a node was given it; `None` if it was not.
    pub(super) async fn given(
        &mut self,
        conn: &mut Connection,
        node: &NodeId,
        id: &OrderId,
    ) -> Result<Option<Given>, StoreError> {
        if let Some(known) = self.known.get(&(node.clone(), id.clone())) {
            return Ok(known.clone());
        }
        let row: Option<Given> = sqlx::query_as("SELECT state, body FROM orders WHERE node = $1 AND id = $2")
            .bind(node.as_str())
            .bind(id.0.as_str())
            .fetch_optional(conn)
            .await?;
        self.known.insert((node.clone(), id.clone()), row.clone());
        Ok(row)
    }

    /// Takes note of what became of an order, to be written before anybody else looks at it.
    pub(super) fn put(&mut self, node: &NodeId, id: &OrderId, state: &'static str, detail: &str) {
        if let Some(Some((known, _))) = self.known.get_mut(&(node.clone(), id.clone())) {
            state.clone_into(known);
        }
        let outcome = (id.clone(), state, detail.to_owned());
        self.unwritten.entry(outcome).or_default().push(node.clone());
    }

    /// Writes what is not written yet, and forgets what was read: somebody else is about to change it.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn write(&mut self, conn: &mut Connection, now: Timestamp) -> Result<(), StoreError> {
        self.known.clear();
        for ((id, state, detail), nodes) in std::mem::take(&mut self.unwritten) {
            for some in nodes.chunks(TOGETHER) {
                let mut query = Select::new("UPDATE orders SET state = ");
                query.push_bind(state).push(", answered = ").push_bind(nanos(now));
                query.push(", detail = ").push_bind(detail.as_str());
                query.push(" WHERE id = ").push_bind(id.0.as_str()).push(" AND node IN ");
                query.push_list(some.iter().map(|node| node.as_str()));
                query.execute(&mut *conn).await?;
            }
        }
        Ok(())
    }
}
