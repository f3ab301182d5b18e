//! Decisions: what policy, or a person, orders to be done to a tenant.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::net::{Protocol, Target};
use crate::rate::Rate;
use crate::reader::format_duration;
use crate::reckoning::Reckoning;
use crate::tenant::{Mode, Name, TenantId};
use crate::time::Timestamp;
use crate::usage::Month;
use crate::violation::ViolationId;

/// What is done. Ordered by harshness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Write it down.
    Observe,
    /// Tell the people concerned.
    Notify,
    /// Let so much of the tenant's traffic through and drop the rest.
    Limit,
    /// Drop one class of the tenant's traffic.
    Block,
    /// Drop all of it.
    Suspend,
}

impl Action {
    /// The word in policies and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Notify => "notify",
            Self::Limit => "limit",
            Self::Block => "block",
            Self::Suspend => "suspend",
        }
    }

    /// Whether it changes what the kernel lets through.
    #[must_use]
    pub const fn is_measure(self) -> bool {
        matches!(self, Self::Limit | Self::Block | Self::Suspend)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which of the tenant's traffic a decision is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Scope {
    /// Everything it sends.
    All,
    /// One destination port, wherever.
    Port {
        /// TCP, UDP or SCTP.
        protocol: Protocol,
        /// The port.
        port: u16,
    },
    /// Some destinations, whatever the port. Sorted, without doubles.
    Destinations {
        /// The destinations.
        addresses: Vec<IpAddr>,
    },
    /// Some ports of some destinations. Sorted, without doubles; each has a port.
    DestinationPorts {
        /// The targets.
        targets: Vec<Target>,
    },
    /// A protected endpoint, over TCP.
    Endpoint {
        /// What the policy calls it.
        name: Name,
        /// Where it is.
        addresses: Vec<IpNet>,
        /// Its ports.
        ports: Vec<u16>,
    },
    /// What it sends with a source that is not its own, by ports that it has alone.
    Forged,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
            match items {
                [] => f.write_str("nothing"),
                [only] => write!(f, "to {only}"),
                [first, rest @ ..] => write!(f, "to {first} and {} more", rest.len()),
            }
        }
        match self {
            Self::All => f.write_str("all"),
            Self::Port { protocol, port } => write!(f, "{protocol}/{port}"),
            Self::Destinations { addresses } => list(f, addresses),
            Self::DestinationPorts { targets } => list(f, targets),
            Self::Endpoint { name, .. } => write!(f, "endpoint {name}"),
            Self::Forged => f.write_str("forged"),
        }
    }
}

/// What ends a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// This long after it was made.
    After(Duration),
    /// An operator releases it.
    Released,
    /// A check finds that it was mended, or an operator releases it.
    Verified,
    /// The bill is paid, as the provider's billing says, or an operator releases it.
    Paid,
    /// The calendar month (UTC) ends, as of a plan that is used up. A policy's word only: a decision says how long that is.
    MonthEnd,
}

impl Until {
    /// When it ends by itself, for a decision made at `at`; `None` where it takes a person.
    #[must_use]
    pub fn expiry(self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::After(span) => Some(at + span),
            Self::MonthEnd => Some(Month::of(at).end()),
            Self::Released | Self::Verified | Self::Paid => None,
        }
    }

    /// The same for a decision made at `at`, in words that every peer knows.
    #[must_use]
    pub fn settled(self, at: Timestamp) -> Self {
        match self {
            // The kernel's timeouts begin at a second.
            Self::MonthEnd => {
                Self::After(Month::of(at).end().since(at).max(std::time::Duration::from_secs(1)))
            }
            other => other,
        }
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(span) => write!(f, "for {}", format_duration(*span)),
            Self::Released => f.write_str("until released"),
            Self::Verified => f.write_str("until checked and found mended"),
            Self::Paid => f.write_str("until paid"),
            Self::MonthEnd => f.write_str("until the month ends"),
        }
    }
}

/// Who ordered it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Origin {
    /// A step of a policy's rule.
    Policy {
        /// The policy's name.
        policy: Name,
        /// Its version.
        version: u32,
        /// The rule's id.
        rule: Name,
        /// The step on the ladder, counted from 1.
        step: u32,
    },
    /// A person, through the controller or on the node.
    Operator {
        /// Who.
        name: String,
    },
}

/// The key of a decision: unique over the fleet, sortable by time.
///
/// For a policy's decision it is the violation's key, a dot and the number of the decision within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DecisionId(pub Name);

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Decision {
    /// Whether it is an operator's until an invoice is paid: it stands beside whatever a tenant did, and ends for itself.
    #[must_use]
    pub fn is_billing(&self) -> bool {
        self.until == Until::Paid && matches!(self.origin, Origin::Operator { .. })
    }
}

/// What is to be done to a tenant, why, and until when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Its key.
    pub id: DecisionId,
    /// To whom.
    pub tenant: TenantId,
    /// The violation that it answers; `None` for an operator's own act.
    pub violation: Option<ViolationId>,
    /// The clause that it rests on, as `policy/clause`; for an operator's act what the operator gave, perhaps empty.
    pub clause: String,
    /// Who ordered it.
    pub origin: Origin,
    /// What.
    pub action: Action,
    /// Of which traffic.
    pub scope: Scope,
    /// How much of it is let through; `None` but for a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How many TCP connections at a time are let through beside; `None` for any number. Of a limit only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u8>,
    /// Until when.
    pub until: Until,
    /// When it was made.
    pub at: Timestamp,
    /// Whether it is carried out, or only told.
    pub mode: Mode,
    /// One line for people: what was seen, with the numbers; or the operator's reason.
    pub reason: String,
    /// Why it is milder than the ladder says, if it is: capture loss, a protected address.
    pub softened: Option<String>,
    /// What it was reckoned from; `None` for what people order, and from agents that did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reckoning: Option<Box<Reckoning>>,
}
