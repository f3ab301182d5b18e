//! What a shard is given: which tenants, by which numbers, and whether it reads what is said.

use std::sync::Arc;

use ipnet::IpNet;
use reeve_policy::language::Excuses;
use reeve_policy::language::thresholds::Thresholds;

use crate::topology::TenantIx;

/// What the detectors' numbers are, for each tenant of a topology.
#[derive(Clone, Debug)]
pub struct Allotment {
    /// Those of whoever nothing is known.
    pub common: Arc<Thresholds>,
    /// By [`TenantIx`].
    pub by_tenant: Vec<Arc<Thresholds>>,
    /// What of their exemptions is counted apart, by [`TenantIx`].
    pub excuses: Vec<Option<Arc<Excuses>>>,
    /// Addresses of the provider's that no tenant may claim.
    pub protected: Arc<[IpNet]>,
}

impl Allotment {
    pub(super) fn of(&self, index: usize) -> Arc<Thresholds> {
        Arc::clone(self.by_tenant.get(index).unwrap_or(&self.common))
    }

    pub(super) fn excuses(&self, index: usize) -> Option<Arc<Excuses>> {
        self.excuses.get(index).cloned().flatten()
    }
}

/// Which of how many shards one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 0 on.
    pub number: u32,
    /// How many there are.
    pub of: u32,
}

impl Part {
    /// The one that owns everybody.
    pub const WHOLE: Self = Self { number: 0, of: 1 };

    /// Whether a tenant is this one's.
    #[inline]
    #[must_use]
    pub const fn owns(self, tenant: TenantIx) -> bool {
        // A division is not for nothing, and most nodes have one shard.
        self.of == 1 || tenant.0 % self.of == self.number
    }
}

/// How a shard comes to know what is said in the connections that it follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hearing {
    /// It reads payload.
    #[default]
    Reads,
    /// It reads payload, and keeps what it read for a record.
    Keeps,
    /// It is told, as a replay of a record is, which holds no payload.
    Told,
}
