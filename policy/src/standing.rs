//! What follows a tenant from node to node: its strikes, and the decisions by policy that are in force.
//!
//! Each node judges by itself, and the controller knows what all of them saw. It tells each node of the tenants that are on it, and of those that may
//! be anywhere; so a tenant that moves, or that is seen by several nodes, begins nowhere as a stranger, and a node decides alone while the
//! controller is away.
//!
//! Left out: known offences and exemptions, which are the tenant's own ([`crate::Tenant`]) and known to every node; counting
//! (`judge/elsewhere.rs`); who is told of whom (the controller).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decision::Decision;
use crate::tenant::{Name, TenantId};
use crate::time::Timestamp;

/// An episode that other nodes saw: one strike, however many of them saw it at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrikeElsewhere {
    /// Under which rule.
    pub rule: Name,
    /// Since when.
    pub opened: Timestamp,
    /// Until when; `None` while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Timestamp>,
    /// Which strike it was, counted from 1: those before it that no longer counted are left out.
    pub number: u32,
}

impl StrikeElsewhere {
    /// One that is not told to be closed is taken for over after this: whoever saw it may be gone.
    const OPEN_AT_MOST: Duration = Duration::from_secs(86_400);

    /// Whether what is seen at `at` belongs to it.
    #[must_use]
    pub fn covers(&self, at: Timestamp) -> bool {
        self.opened <= at && at <= self.closed.unwrap_or(self.opened + Self::OPEN_AT_MOST)
    }
}

/// What follows one tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantStanding {
    /// The tenant.
    pub tenant: TenantId,
    /// What other nodes saw, all of it: takes the place of what was told before.
    pub strikes: Vec<StrikeElsewhere>,
    /// The decisions by policy that are in force, on whatever node they were made; none of a tenant that is known by addresses alone,
    /// of which any node may be mistaken.
    pub decisions: Vec<Decision>,
}

impl TenantStanding {
    /// The most strikes of one tenant that are told.
    pub const MAX_STRIKES: usize = 1_024;
    /// The most decisions of one tenant that are told, the newest of them.
    pub const MAX_DECISIONS: usize = 32;
}
