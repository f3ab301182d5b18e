//! The control link: the agent's side of the stream to its controller.
//!
//! Reports wait in a [`spool`] until the controller says that they are on its disk; after a break they are sent again, and
//! nothing is told twice. Orders are carried out once, however often they come: what became of the last ones is
//! remembered. Without a controller the agent goes on alone, and the link tries again with growing patience.
//!
//! Left out: what reports mean, and carrying orders out (the sensor and the keeper do).

pub mod enrol;
mod identity;
mod link;
mod results;
pub mod spool;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use reeve_policy::language::Policy;
use reeve_policy::{Measure, OrderId, PauseScope};
use reeve_proto::session::PolicyHeld;
use tokio::sync::Notify;

pub use link::{Controller, Told};

/// Why the link cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A certificate or key cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Credential {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds no certificate or key in PEM.
    #[error("{path}: found no PEM block `{expected}`", path = path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The address or the credentials cannot be used.
    #[error("controller {address}: {reason}")]
    Address {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
}

/// What the agent has, as a controller is told when it is connected to. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Greeting(Arc<Mutex<Has>>, Arc<Notify>);

/// What the agent has.
#[derive(Clone, Debug, Default)]
pub struct Has {
    /// The version of the tenants in force.
    pub tenants_version: u64,
    /// The measures that stand in the kernel.
    pub measures: Vec<Measure>,
    /// The controller's pauses that are on disk.
    pub pauses: Vec<(PauseScope, OrderId)>,
    /// The policy in force, written out.
    pub policy: Arc<str>,
    /// Which one that is, and what became of the last that was assigned.
    pub policy_held: Option<PolicyHeld>,
}

impl Greeting {
    /// Takes note of the version of the tenants in force and of the measures that stand in the kernel.
    pub fn set(&self, tenants_version: u64, measures: Vec<Measure>) {
        let mut has = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (has.tenants_version, has.measures) = (tenants_version, measures);
    }

    /// Takes note of the controller's pauses that are on disk.
    pub fn set_pauses(&self, pauses: Vec<(PauseScope, OrderId)>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pauses = pauses;
    }

    /// Takes note of the policy in force, and of what became of the last that was assigned. A controller that is connected is greeted anew
    /// with it.
    pub fn set_policy(&self, policy: &Policy, held: PolicyHeld) {
        let written: Arc<str> = policy.written().into();
        let mut has = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut has.policy, written);
        let held_before = has.policy_held.replace(held);
        if !before.is_empty() && (before != has.policy || held_before != has.policy_held) {
            self.1.notify_one();
        }
    }

    /// Lets a controller that is connected be greeted anew: what it told does not fit what the agent has.
    pub fn again(&self) {
        self.1.notify_one();
    }

    /// Waits until a controller is to be greeted anew.
    pub async fn changed(&self) {
        self.1.notified().await;
    }

    /// What was last noted.
    #[must_use]
    pub fn get(&self) -> Has {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
