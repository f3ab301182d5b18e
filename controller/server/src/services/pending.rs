//! The orders that wait for nodes, read for many streams at a time.
//!
//! An order to the fleet wakes every stream at once, and each asks what waits for its node. One task takes the questions that have come in
//! together into one statement, so ten thousand streams cost some dozens of statements in place of ten thousand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reeve_policy::{NodeId, Order};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::store::{OUTAGE, Store, StoreError};
use crate::writer::WriteError;

/// How many questions one statement answers.
const BATCH: usize = 256;
/// How many questions may wait; those who have more wait with them.
const QUEUE: usize = 1_024;

/// How long is waited between attempts, while the database is away.
const AGAIN: Duration = Duration::from_millis(250);

type Answer = Result<Vec<Order>, Arc<StoreError>>;

/// The way to the task. It ends when the last way to it is gone.
#[derive(Clone, Debug)]
pub(crate) struct Pending(mpsc::Sender<(NodeId, oneshot::Sender<Answer>)>);

impl Pending {
    /// Starts the task.
    pub fn start(store: Store) -> Self {
        let (sender, questions) = mpsc::channel(QUEUE);
        tokio::spawn(answer(store, questions));
        Self(sender)
    }

    /// The orders that wait for a node, in the order that they were given: all that were on disk when this was called.
    ///
    /// # Errors
    /// Where the database fails, or the controller stops.
    pub async fn of(&self, node: &NodeId) -> Result<Vec<Order>, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.0.send((node.clone(), reply)).await.map_err(|_| WriteError::Stopping)?;
        answer.await.map_err(|_| WriteError::Stopping)?.map_err(WriteError::Store)
    }
}

async fn answer(store: Store, mut questions: mpsc::Receiver<(NodeId, oneshot::Sender<Answer>)>) {
    let mut waiting = Vec::with_capacity(BATCH);
    // Since when the database has been away.
    let mut away = None;
    while questions.recv_many(&mut waiting, BATCH).await > 0 {
        let nodes: Vec<NodeId> = waiting.iter().map(|(node, _)| node.clone()).collect();
        let found = patiently(&store, &nodes, &mut away).await.map(by_node).map_err(Arc::new);
        for (node, reply) in waiting.drain(..) {
            // A stream that ended does not wait for it; two of one node, while one takes over, both do.
            let _ = reply.send(match &found {
                Ok(found) => Ok(found.get(&node).cloned().unwrap_or_default()),
                Err(error) => Err(Arc::clone(error)),
            });
        }
    }
}

/// What waits for these nodes; streams outlast a database that is away for a moment.
async fn patiently(
    store: &Store,
    nodes: &[NodeId],
    away: &mut Option<Instant>,
) -> Result<Vec<(NodeId, Order)>, StoreError> {
    loop {
        let error = match store.orders_pending(nodes).await {
            Ok(found) => {
                *away = None;
                return Ok(found);
            }
            Err(error) => error,
        };
        if !error.is_disconnected() || away.get_or_insert_with(Instant::now).elapsed() >= OUTAGE {
            return Err(error);
        }
        tracing::debug!(%error, "what waits for nodes is read again");
        tokio::time::sleep(AGAIN).await;
    }
}

fn by_node(found: Vec<(NodeId, Order)>) -> BTreeMap<NodeId, Vec<Order>> {
    let mut all: BTreeMap<NodeId, Vec<Order>> = BTreeMap::new();
    for (node, order) in found {
        all.entry(node).or_default().push(order);
    }
    all
}
