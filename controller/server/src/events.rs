//! What happens, told to whoever watches.
//!
//! Events are published after the commit that they come from. A watcher that is too slow loses the oldest and is
//! told how many.

use std::sync::Arc;

use reeve_policy::{
    Decision, DecisionId, Measure, MeasureCounters, NodeEvent, NodeId, Notice, OrderId, TenantId, Timestamp,
    Violation,
};
use tokio::sync::broadcast;

use crate::store::OrderRow;

/// How many events a watcher may lag behind.
const CAPACITY: usize = 4096;

/// Something happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When the controller learnt of it.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// A violation was opened.
    ViolationOpened(Arc<Violation>),
    /// A violation was closed.
    ViolationClosed(Arc<Violation>),
    /// Something was decided.
    Decided(Arc<Decision>),
    /// A measure stands.
    MeasureStands {
        /// On this node.
        node: NodeId,
        /// The measure.
        measure: Arc<Measure>,
    },
    /// A measure stands no longer.
    MeasureLifted {
        /// On this node.
        node: NodeId,
        /// The decision that it carried out.
        decision: DecisionId,
        /// Whom it held.
        tenant: TenantId,
        /// Why: a lift reason's name, or `absent`.
        reason: &'static str,
        /// What it had stopped.
        counters: MeasureCounters,
    },
    /// A node connected.
    NodeUp {
        /// The node.
        node: NodeId,
    },
    /// A node's stream ended.
    NodeDown {
        /// The node.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// A node answered an order.
    OrderAnswered {
        /// The order.
        order: OrderId,
        /// What was ordered: an order's name.
        kind: &'static str,
        /// Whom it is about; nobody alone where it is about a whole node.
        tenant: Option<TenantId>,
        /// What became of it.
        row: OrderRow,
    },
    /// Somebody is told something.
    Notice {
        /// Its number.
        number: u64,
        /// The notice.
        notice: Arc<Notice>,
    },
    /// Something happened on a node.
    NodeEvent {
        /// The node.
        node: NodeId,
        /// What.
        event: Arc<NodeEvent>,
    },
}

impl What {
    /// Whom it is about; `None` for what is about a node.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::ViolationOpened(violation) | Self::ViolationClosed(violation) => Some(&violation.tenant),
            Self::Decided(decision) => Some(&decision.tenant),
            Self::MeasureStands { measure, .. } => Some(&measure.decision.tenant),
            Self::MeasureLifted { tenant, .. } => Some(tenant),
            Self::OrderAnswered { tenant, .. } => tenant.as_ref(),
            Self::Notice { notice, .. } => Some(&notice.tenant),
            Self::NodeUp { .. } | Self::NodeDown { .. } | Self::NodeEvent { .. } => None,
        }
    }
}

/// Where events are published.
#[derive(Clone, Debug)]
pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }
}

impl Events {
    /// Tells whoever watches; nobody may.
    pub fn publish(&self, event: Event) {
        // An error means that nobody listens, which is no fault.
        let _ = self.0.send(event);
    }

    /// From now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
