//! Which nodes are connected, and how to wake the task that serves each.
//!
//! A node has one stream: a newer one takes over and the older is told to end, be it at this controller or at another one
//! on the same database.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reeve_policy::{NodeId, Tenant};
use tokio::sync::{Notify, oneshot};

/// The connected nodes. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Streams(Arc<Mutex<Registry>>);

#[derive(Debug, Default)]
struct Registry {
    by_node: HashMap<NodeId, Entry>,
    /// Nodes that are connected to other controllers.
    elsewhere: HashSet<NodeId>,
    last: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    wake: Arc<Notify>,
    /// Dropped, or sent to, when a newer stream takes over.
    _end: oneshot::Sender<()>,
}

/// A stream's place among the connected. When it is dropped the node is no longer connected by it.
#[derive(Debug)]
pub struct Place {
    streams: Streams,
    node: NodeId,
    number: u64,
    /// Notified when there may be something to send.
    pub wake: Arc<Notify>,
    /// Ends when a newer stream has taken over.
    pub taken_over: oneshot::Receiver<()>,
}

impl Streams {
    /// Enters a stream; an older one of the same node is told to end.
    #[must_use]
    pub fn enter(&self, node: &NodeId) -> Place {
        let mut registry = self.lock();
        registry.last += 1;
        let (number, wake) = (registry.last, Arc::new(Notify::new()));
        let (end, taken_over) = oneshot::channel();
        registry.by_node.insert(node.clone(), Entry { number, wake: Arc::clone(&wake), _end: end });
        Place { streams: self.clone(), node: node.clone(), number, wake, taken_over }
    }

    /// Whether a node is connected, here or elsewhere.
    #[must_use]
    pub fn is_connected(&self, node: &NodeId) -> bool {
        let registry = self.lock();
        registry.by_node.contains_key(node) || registry.elsewhere.contains(node)
    }

    /// The nodes that are connected here, and the numbers of their streams.
    #[must_use]
    pub fn own(&self) -> Vec<(NodeId, u64)> {
        self.lock().by_node.iter().map(|(node, entry)| (node.clone(), entry.number)).collect()
    }

    /// These nodes and no others are connected elsewhere.
    pub fn connected_elsewhere(&self, nodes: impl IntoIterator<Item = NodeId>) {
        let mut registry = self.lock();
        registry.elsewhere = nodes.into_iter().collect();
        let Registry { by_node, elsewhere, .. } = &mut *registry;
        by_node.retain(|node, _| !elsewhere.contains(node));
    }

    /// A node has connected elsewhere: a stream of it here is told to end.
    pub fn taken_elsewhere(&self, node: &NodeId) {
        let mut registry = self.lock();
        registry.elsewhere.insert(node.clone());
        registry.by_node.remove(node);
    }

    /// A node is not connected elsewhere any more.
    pub fn gone_elsewhere(&self, node: &NodeId) {
        self.lock().elsewhere.remove(node);
    }

    /// How many nodes are connected here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().by_node.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells a node's stream that there may be something to send.
    pub fn wake(&self, node: &NodeId) {
        if let Some(entry) = self.lock().by_node.get(node) {
            entry.wake.notify_one();
        }
    }

    /// Tells the streams of the nodes where a tenant may be so. One that has its places costs no more than these, however many
    /// nodes there are.
    pub fn wake_around(&self, tenant: &Tenant) {
        let registry = self.lock();
        match tenant.nodes() {
            Some(nodes) => {
                let there = nodes.into_iter().filter_map(|node| registry.by_node.get(node));
                there.for_each(|entry| entry.wake.notify_one());
            }
            None => registry.by_node.values().for_each(|entry| entry.wake.notify_one()),
        }
    }

    /// Tells every stream so.
    pub fn wake_all(&self) {
        self.lock().by_node.values().for_each(|entry| entry.wake.notify_one());
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Which of the controller's streams it is; a later one has a higher number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Whether this is still the node's stream.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.streams.lock().by_node.get(&self.node).is_some_and(|entry| entry.number == self.number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut registry = self.streams.lock();
        if registry.by_node.get(&self.node).is_some_and(|entry| entry.number == self.number) {
            registry.by_node.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_stream_takes_over_and_the_older_ones_end_does_not_disconnect() {
        let (streams, node) = (Streams::default(), "n1".parse().unwrap());
        let mut first = streams.enter(&node);
        assert!(first.taken_over.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        let second = streams.enter(&node);
        assert!(
            first.taken_over.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed)
        );
        assert!(!first.is_current() && second.is_current());
        drop(first);
        assert!(streams.is_connected(&node));
        drop(second);
        assert!(!streams.is_connected(&node));
    }

    #[test]
    fn a_stream_at_another_controller_takes_over_as_well() {
        let (streams, node) = (Streams::default(), "n1".parse().unwrap());
        let mut here = streams.enter(&node);
        streams.taken_elsewhere(&node);
        assert!(here.taken_over.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert!(!here.is_current() && streams.is_connected(&node) && streams.own().is_empty());
        drop(here);
        assert!(streams.is_connected(&node));
        streams.gone_elsewhere(&node);
        assert!(!streams.is_connected(&node));
        let here = streams.enter(&node);
        streams.connected_elsewhere(["n2".parse().unwrap()]);
        assert!(here.is_current() && streams.is_connected(&"n2".parse().unwrap()));
        streams.connected_elsewhere([node.clone()]);
        assert!(!here.is_current() && streams.is_connected(&node));
    }
}
