//! Orders: what a controller tells its agents, and what they answer.
//!
//! An order keeps its key however often it is sent, so an agent that was away when it was given carries it out
//! once. Left out: who may give one (the controller's roles) and how it travels (`reeve-proto`).

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::decision::{Decision, DecisionId, Origin};
use crate::language::Policy;
use crate::pause::{Pause, PauseScope};
use crate::reader::ConfigErrors;
use crate::relay::RelayAnswer;
use crate::report::PolicyVersion;
use crate::standing::TenantStanding;
use crate::tenant::{Name, Tenant, TenantId};
use crate::time::Timestamp;

/// The key of an order: unique over the fleet, sortable by time. One order to many nodes has one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(pub Name);

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Which policy a node is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Only grows: whoever has decided on one takes none with a number that is not above.
    pub number: u64,
    /// The policy; `None` for that of the node's own settings.
    pub policy: Option<AssignedPolicy>,
}

/// A policy as it was uploaded to a controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedPolicy {
    /// Its name and version.
    pub version: PolicyVersion,
    /// Its text, which whoever runs it compiles.
    pub source: String,
}

impl AssignedPolicy {
    /// Compiles it.
    ///
    /// # Errors
    /// All that is wrong with it, with places: what is new to this build is. And where it is not the policy that it is told to be.
    pub fn compile(&self) -> Result<Policy, AssignedError> {
        let policy = Policy::parse(&self.version.to_string(), &self.source)?;
        if policy.name == self.version.name && policy.version == self.version.version {
            return Ok(policy);
        }
        let found = PolicyVersion { name: policy.name, version: policy.version };
        Err(AssignedError::Other { told: self.version.clone(), found })
    }
}

/// Why an assigned policy cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignedError {
    /// It is no policy, or one that this build does not understand.
    #[error("this build cannot read it: {0}")]
    Unsound(#[from] ConfigErrors),
    /// It is another one than it is told to be.
    #[error("found policy {found}; allowed: {told}, as it is told to be")]
    Other {
        /// What it is told to be.
        told: PolicyVersion,
        /// What it is.
        found: PolicyVersion,
    },
}

/// What a controller tells an agent to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Order {
    /// These are the tenants, all of them. It is not answered; the agent's next greeting tells the version.
    Tenants {
        /// Only moves forward: an agent ignores a version that is not above the one it has.
        version: u64,
        /// Every tenant of the fleet.
        tenants: Vec<Tenant>,
    },
    /// What became of the tenants since a version. It is not answered.
    TenantsChanged {
        /// Whoever has this version, or one between it and the next, has the next with what follows; others greet anew.
        from: u64,
        /// The version that this leads to; only moves forward.
        version: u64,
        /// Those that are new, or others than before.
        changed: Vec<Tenant>,
        /// Those that are gone.
        removed: Vec<TenantId>,
    },
    /// What follows tenants from node to node. It is not answered: each tenant's is whole, and is told again to whoever connects.
    Standings {
        /// Tenant by tenant.
        standings: Vec<TenantStanding>,
    },
    /// Run this policy. It is not answered: the agent greets anew with what became of it.
    Policy(Assignment),
    /// Carry out an operator's decision. Its mode is `enforce` and its origin an operator.
    Impose {
        /// The order's key.
        id: OrderId,
        /// The decision.
        decision: Box<Decision>,
    },
    /// Lift every measure that holds the tenant, whoever ordered it, but for an operator's until an invoice is paid; and close its episodes.
    Release {
        /// The order's key.
        id: OrderId,
        /// Whom to let go.
        tenant: TenantId,
        /// The operator who ordered it.
        by: String,
        /// Why, in the operator's words; perhaps empty.
        reason: String,
        /// Whether the strikes of what it ends are taken back: it was a false alarm.
        #[serde(default)]
        forgive: bool,
    },
    /// Whoever was told says that it is mended, and nothing of it was seen since: lift what these decisions of a policy hold, and close the
    /// episodes behind them. Strikes stay, and so does whatever else holds the tenant.
    LetGo {
        /// The order's key.
        id: OrderId,
        /// Whom.
        tenant: TenantId,
        /// What was decided, at most [`Order::MAX_LET_GO`].
        decisions: BTreeSet<DecisionId>,
        /// Who said so.
        by: String,
        /// Why.
        reason: String,
    },
    /// An invoice is paid: lift what holds the tenant until then, and nothing else.
    Paid {
        /// The order's key.
        id: OrderId,
        /// Whose.
        tenant: TenantId,
        /// The operator who told of it.
        by: String,
        /// A note, in the operator's words; perhaps empty.
        reason: String,
    },
    /// Take no new measure by policy until told otherwise.
    Pause {
        /// The order's key.
        id: OrderId,
        /// Whether the whole fleet is paused or this node. Each stands for itself, and takes the place of the one before.
        scope: PauseScope,
        /// Who paused, why and when.
        pause: Pause,
        /// Whether the measures that policy made are lifted too.
        lift: bool,
    },
    /// The end of a pause.
    Resume {
        /// The order's key.
        id: OrderId,
        /// Of which.
        scope: PauseScope,
        /// The operator who ordered it.
        by: String,
        /// Why, in the operator's words; perhaps empty.
        reason: String,
    },
    /// Ask the tenant's mail server now whether it is an open relay, or take an operator's answer to that.
    Verify {
        /// The order's key.
        id: OrderId,
        /// Whose.
        tenant: TenantId,
        /// The operator who ordered it.
        by: String,
        /// What the operator was told who has asked from elsewhere; `None` has the node ask.
        answer: Option<RelayAnswer>,
    },
    /// Undo what a policy did.
    Lift {
        /// The order's key.
        id: OrderId,
        /// The policy.
        policy: PolicyVersion,
        /// Measures that were decided before this stay.
        since: Timestamp,
        /// The operator who ordered it.
        by: String,
        /// Why, in the operator's words; perhaps empty.
        reason: String,
    },
    /// Take a tenant's strikes back. What holds it stays, and its open episodes stay open.
    Forgive {
        /// The order's key.
        id: OrderId,
        /// Whose.
        tenant: TenantId,
        /// Only those under this rule; `None` for all.
        rule: Option<Name>,
        /// Those of episodes that opened until then: an order may wait for its node.
        before: Timestamp,
        /// The operator who ordered it.
        by: String,
        /// Why, in the operator's words; perhaps empty.
        reason: String,
    },
    /// Release the brakes: a person has looked at those who are held.
    ReleaseBrakes {
        /// The order's key.
        id: OrderId,
        /// The operator who ordered it.
        by: String,
        /// Why, in the operator's words; perhaps empty.
        reason: String,
    },
}

impl Order {
    /// The most decisions that one order lets go of.
    pub const MAX_LET_GO: usize = 256;

    /// The order's key; a snapshot of the tenants has a version instead, and what follows them needs none.
    #[must_use]
    pub const fn id(&self) -> Option<&OrderId> {
        match self {
            Self::Tenants { .. } | Self::TenantsChanged { .. } | Self::Standings { .. } | Self::Policy(_) => {
                None
            }
            Self::Impose { id, .. }
            | Self::Release { id, .. }
            | Self::LetGo { id, .. }
            | Self::Paid { id, .. }
            | Self::Pause { id, .. }
            | Self::Resume { id, .. }
            | Self::Verify { id, .. }
            | Self::Lift { id, .. }
            | Self::Forgive { id, .. }
            | Self::ReleaseBrakes { id, .. } => Some(id),
        }
    }

    /// The word in logs and tables.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Tenants { .. } => "tenants",
            Self::TenantsChanged { .. } => "tenants-changed",
            Self::Standings { .. } => "standings",
            Self::Policy(_) => "policy",
            Self::Impose { .. } => "impose",
            // To whoever lists orders it is a release, of less.
            Self::Release { .. } | Self::LetGo { .. } => "release",
            Self::Paid { .. } => "paid",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::Verify { .. } => "verify",
            Self::Lift { .. } => "lift",
            Self::Forgive { .. } => "forgive",
            Self::ReleaseBrakes { .. } => "release-brakes",
        }
    }
}

/// Which of the measures that policy made are to be lifted. Those that a person ordered never are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lift {
    /// By which policy; `None` for any.
    pub policy: Option<PolicyVersion>,
    /// Decided at this time or later.
    pub since: Timestamp,
    /// Whether the strikes of the violations behind them are taken back.
    pub strikes: bool,
}

impl Lift {
    /// All that policy did: what a pause may lift. Strikes stay.
    pub const ALL: Self = Self { policy: None, since: Timestamp::EPOCH, strikes: false };

    /// What one version of a policy did since then, strikes and all.
    #[must_use]
    pub const fn of(policy: PolicyVersion, since: Timestamp) -> Self {
        Self { policy: Some(policy), since, strikes: true }
    }

    /// Whether a decision is among them.
    #[must_use]
    pub fn takes(&self, decision: &Decision) -> bool {
        let Origin::Policy { policy, version, .. } = &decision.origin else { return false };
        let by_it =
            self.policy.as_ref().is_none_or(|wanted| wanted.name == *policy && wanted.version == *version);
        by_it && decision.at >= self.since
    }
}

/// What became of an order on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderResult {
    /// The order's key.
    pub id: OrderId,
    /// When it was done, or given up.
    pub at: Timestamp,
    /// Done (for a measure: it was read back from the kernel), or why not.
    pub result: Result<(), OrderFailure>,
}

/// Why an agent did not carry out an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum OrderFailure {
    /// The node knows no such tenant.
    #[error("the node knows no such tenant")]
    UnknownTenant,
    /// The node is only to observe.
    #[error("the node only observes")]
    ObserveOnly,
    /// The tenant is only to be observed, on a node that does more.
    #[error("the tenant is only observed")]
    TenantObserved,
    /// The tenant is on the list of those who are never measured.
    #[error("the tenant is protected")]
    Protected,
    /// Nothing is done to some of the destinations, whoever orders it.
    #[error("{detail}")]
    ProtectedDestinations {
        /// Which they are, as `203.0.113.1 is protected`.
        detail: String,
    },
    /// The kernel did not take the change, or did not show it when read back.
    #[error("the kernel refused: {detail}")]
    Kernel {
        /// What the kernel said.
        detail: String,
    },
    /// The agent could not make its state durable.
    #[error("the agent could not store it: {detail}")]
    State {
        /// What the file system said.
        detail: String,
    },
    /// The tenant's mail server is not asked.
    #[error("{detail}")]
    NotAsked {
        /// Why.
        detail: String,
    },
    /// The agent does not know orders of this kind.
    #[error("the agent does not know this kind of order")]
    Unsupported,
}
