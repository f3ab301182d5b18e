//! Who is who and where they stand, in memory.
//!
//! A [`Snapshot`] is made whole and swapped whole ([`Directory`]): a look-up takes no lock but for copying a
//! pointer, asks no disk, and never sees half of a change. The writer publishes one after each commit that touched
//! anything in it. Tenants change seldom and are shared between snapshots; only tenants that something is held
//! against have a [`Standing`].

mod prefix;
mod record;
mod standing;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use reeve_policy::{InterfaceSelector, NodeId, Pause, Tenant, TenantId, Timestamp};

use prefix::PrefixMap;
pub use record::{Record, Records, Strike};
pub use standing::{Held, Hold, Standing, State, Status};

/// Every tenant, and whose an address or interface is.
#[derive(Debug, Default)]
pub struct Tenants {
    version: u64,
    by_id: BTreeMap<TenantId, Arc<Tenant>>,
    by_prefix: PrefixMap<Arc<Tenant>>,
    by_interface: HashMap<InterfaceSelector, Arc<Tenant>>,
}

impl Tenants {
    /// The tenants of `version`.
    #[must_use]
    pub fn new(version: u64, tenants: impl IntoIterator<Item = Tenant>) -> Self {
        let mut made = Self { version, ..Self::default() };
        for tenant in tenants.into_iter().map(Arc::new) {
            for prefix in &tenant.addresses {
                made.by_prefix.insert(*prefix, Arc::clone(&tenant));
            }
            for interface in &tenant.interfaces {
                made.by_interface.insert(interface.clone(), Arc::clone(&tenant));
            }
            made.by_id.insert(tenant.id.clone(), tenant);
        }
        made
    }

    /// The version, as agents get it; 0 before the first import.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Whose this key is.
    #[must_use]
    pub fn by_id(&self, id: &TenantId) -> Option<&Arc<Tenant>> {
        self.by_id.get(id)
    }

    /// Whose this address is: the longest prefix that holds it decides.
    #[must_use]
    pub fn by_address(&self, address: IpAddr) -> Option<&Arc<Tenant>> {
        self.by_prefix.longest_match(address)
    }

    /// Whose this interface is.
    #[must_use]
    pub fn by_interface(&self, interface: &InterfaceSelector) -> Option<&Arc<Tenant>> {
        self.by_interface.get(interface)
    }

    /// All of them by key.
    #[must_use]
    pub const fn all(&self) -> &BTreeMap<TenantId, Arc<Tenant>> {
        &self.by_id
    }
}

/// Who is who and where they stand, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The tenants.
    pub tenants: Arc<Tenants>,
    /// What is held against them; a tenant that nothing is held against is missing.
    pub standings: HashMap<TenantId, Arc<Standing>>,
    /// What follows tenants from node to node.
    pub records: Arc<Records>,
    /// Where policy takes no new measure.
    pub paused: Arc<Paused>,
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
    /// Where a tenant stands at `now`.
    #[must_use]
    pub fn status(&self, tenant: &TenantId, now: Timestamp) -> Status {
        self.standings.get(tenant).map_or_else(Status::clear, |standing| standing.status(now))
    }
}

/// The snapshot of now.
#[derive(Debug, Default)]
pub struct Directory {
    current: RwLock<Arc<Snapshot>>,
}

impl Directory {
    /// The snapshot of now; it stays as it is while it is looked at.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        // A poisoned lock holds a whole snapshot all the same: it is only ever swapped.
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Swaps it.
    pub fn publish(&self, snapshot: Snapshot) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }
}
