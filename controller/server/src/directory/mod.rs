//! Who is who and where they stand, in memory.
//!
//! A [`Snapshot`] is published whole ([`Directory`]): a look-up takes no lock, asks no disk, and never sees half of a
//! change. The writer publishes one after each commit that touched anything in it. Snapshots share what is the same in
//! them, down to parts of their maps, so one costs what changed, not how many tenants there are. Only tenants that something
//! is held against have a [`Standing`]. What changed is numbered ([`Changes`]), for those who follow it.

mod changes;
mod prefix;
mod record;
mod rollout;
mod standing;
mod tenants;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use reeve_policy::{NodeId, Pause, Tenant, TenantId, Timestamp};

use crate::store::Sight;
pub use changes::{Changes, Missed, Token};
pub use record::{Record, Records, Strike};
pub use rollout::{Rollout, Share, Staged};
pub use standing::{Held, Hold, Standing, State, Status, veiled};
pub use tenants::Tenants;

/// A map of which clones are cheap: they share what is the same in both.
pub type Map<K, V> =
    imbl::GenericHashMap<K, V, foldhash::quality::RandomState, imbl::shared_ptr::DefaultSharedPtr>;
/// What is held against tenants; one that nothing is held against is missing.
pub type Standings = Map<TenantId, Arc<Standing>>;

/// Who is who and where they stand, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The tenants.
    pub tenants: Arc<Tenants>,
    /// What is held against them.
    pub standings: Standings,
    /// What follows tenants from node to node.
    pub records: Arc<Records>,
    /// Where policy takes no new measure.
    pub paused: Arc<Paused>,
    /// Which policy each node is to run.
    pub rollout: Arc<Rollout>,
}

/// Where policy takes no new measure, because a person said so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paused {
    /// Who paused the whole fleet.
    pub fleet: Option<Pause>,
    /// Who paused single nodes from the controller, be it that they know it yet or not.
    pub ordered: BTreeMap<NodeId, Pause>,
    /// What the nodes told last, whoever paused them.
    pub nodes: BTreeMap<NodeId, Pause>,
}

impl Paused {
    /// The nodes that are paused where a tenant is; one without interfaces may be anywhere.
    pub fn around<'a>(&'a self, tenant: &'a Tenant) -> impl Iterator<Item = (&'a NodeId, &'a Pause)> {
        let is_there = |node: &NodeId| {
            tenant.interfaces.is_empty() || tenant.interfaces.iter().any(|selector| selector.node == *node)
        };
        self.nodes.iter().filter(move |(node, _)| is_there(node))
    }
}

impl Snapshot {
    /// Whether what rests on this clause is sealed of a tenant.
    #[must_use]
    pub fn is_sealed(&self, tenant: &TenantId, clause: &str) -> bool {
        self.standings.get(tenant).is_some_and(|standing| standing.is_sealed(clause))
    }

    /// Where a tenant stands at `now`, as it is told to whoever has this sight.
    #[must_use]
    pub fn seen_status(&self, tenant: &TenantId, sight: Sight, now: Timestamp) -> Status {
        let Some(standing) = self.standings.get(tenant) else { return Status::clear() };
        match sight {
            Sight::Whole => standing.status(now),
            Sight::Unsealed => standing.unsealed().status(now),
        }
    }

    /// Where a tenant stands at `now`.
    #[must_use]
    pub fn status(&self, tenant: &TenantId, now: Timestamp) -> Status {
        self.seen_status(tenant, Sight::Whole, now)
    }
}

/// The snapshot of now, and what changed lately.
#[derive(Debug, Default)]
pub struct Directory {
    current: ArcSwap<Snapshot>,
    changes: Changes,
}

impl Directory {
    /// The snapshot of now; it stays as it is while it is looked at.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The same for a look-up that is over at once: nothing is counted, so that look-ups on several cores do not wait for each
    /// other's caches. Not to be held while waiting for anything.
    #[must_use]
    pub fn glance(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// What changed lately.
    #[must_use]
    pub const fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Swaps it, and tells whoever follows changes of the tenants in `touched`.
    pub fn publish(&self, snapshot: Snapshot, touched: impl IntoIterator<Item = TenantId>) {
        let next_end = |id: &TenantId| snapshot.standings.get(id)?.next_end(Timestamp::EPOCH);
        let touched = touched.into_iter().map(|id| (id.clone(), next_end(&id))).collect();
        self.current.store(Arc::new(snapshot));
        // After the swap: who is told of a change finds it in the snapshot.
        self.changes.note(touched);
    }

    /// Swaps it for one of which it is not known what is other than before: whoever follows changes begins anew.
    pub fn replace(&self, snapshot: Snapshot) {
        let next_end = |standing: &Arc<Standing>| standing.next_end(Timestamp::EPOCH);
        let held = snapshot.standings.iter().map(|(id, standing)| (id.clone(), next_end(standing))).collect();
        self.current.store(Arc::new(snapshot));
        self.changes.begin_anew(held);
    }

    /// Tells whoever follows changes of tenants whose measures ended by their time since it was called last: the kernel takes
    /// a measure away at its time, whether or not the node can tell us so.
    pub fn expire(&self, now: Timestamp) {
        let snapshot = self.snapshot();
        self.changes.expire(now, |id| snapshot.standings.get(id)?.next_end(now));
    }
}
