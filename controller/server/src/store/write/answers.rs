//! Nodes' answers to orders: looked up and written many at a time, as an order to the fleet is answered by all of it at once.

use std::collections::{BTreeMap, BTreeSet};

use reeve_policy::{NodeId, OrderId, OrderResult, Timestamp};

use super::super::query::{Select, write_rows};
use super::super::read::TOGETHER;
use super::super::row::{name, nanos};
use super::super::{Connection, StoreError};

/// What is kept of an order to a node: where it stands, and itself.
pub(super) type Given = (String, Vec<u8>);

/// What became of an order: its state, and why it failed.
type Outcome = (&'static str, String);

/// The orders that nodes answer in a transaction.
#[derive(Debug, Default)]
pub struct Answers {
    /// As they are on disk, with what is still to be written of them; `None` where there is no such order.
    known: BTreeMap<(NodeId, OrderId), Option<Given>>,
    /// What is to be written.
    unwritten: BTreeMap<(NodeId, OrderId), Outcome>,
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
            let mut query = Select::new("SELECT o.node, o.id, o.state, o.body FROM ");
            query.push_pairs(some.iter().map(|(node, id)| (node.as_str(), id.0.as_str())));
            query.push(" JOIN orders o ON o.node = column1 AND o.id = column2");
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
        self.unwritten.insert((node.clone(), id.clone()), (state, detail.to_owned()));
    }

    /// Writes what is not written yet, and forgets what was read: somebody else is about to change it.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn write(&mut self, conn: &mut Connection, now: Timestamp) -> Result<(), StoreError> {
        self.known.clear();
        let rows: Vec<_> = std::mem::take(&mut self.unwritten).into_iter().collect();
        let values = |query: &mut Select, ((node, id), (state, detail)): &((NodeId, OrderId), Outcome)| {
            query
                .push_bind(node.as_str())
                .and(id.0.as_str())
                .and(*state)
                .and(detail.as_str())
                .and(nanos(now));
        };
        write_rows(
            conn,
            "UPDATE orders SET state = column3, detail = column4, answered = column5 FROM (",
            &rows,
            values,
            ") AS fresh WHERE orders.node = column1 AND orders.id = column2",
        )
        .await
    }
}
