//! The messages of the agents' stream as domain values.
//!
//! A report that cannot be read still has its number, so that the controller can throw it away and go on: sent
//! again it would be as unreadable, and a stream that broke upon it would break for ever.

use reeve_policy::{
    LiftReason, Measure, NodeEventKind, NodeId, Order, OrderId, OrderResult, PauseScope, PolicyVersion,
    Report, Scope,
};

use crate::error::WireError;
use crate::generated::agent::v1 as wire;
use crate::generated::agent::v1::connect_request::Message as Sent;
use crate::generated::agent::v1::connect_response::Message as Answered;
use crate::generated::types::v1 as types;
use crate::pause::pause_scope;
use crate::read::{clip, list, message, parsed, required, text};
use crate::{MAX_MEASURES, MAX_POLICY_BYTES, MAX_TEXT_BYTES};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolVersion {
    /// Another major version is refused.
    pub major: u32,
    /// A minor version only adds.
    pub minor: u32,
}

impl ProtocolVersion {
    /// What this build speaks.
    pub const CURRENT: Self = Self { major: 1, minor: 9 };

    /// Whether a peer of this version can read an order; one that cannot would break the stream upon it, or do more than it was told.
    #[must_use]
    pub fn knows(self, order: &Order) -> bool {
        match order {
            Order::Impose { decision, .. } if decision.scope == Scope::Forged => self.minor >= 5,
            Order::Tenants { .. } | Order::Impose { .. } | Order::Release { .. } => true,
            Order::TenantsChanged { .. } => self.minor >= 6,
            Order::LetGo { .. } => self.minor >= 9,
            Order::Forgive { .. } => self.minor >= 8,
            Order::Policy(_) => self.minor >= 7,
            Order::Standings { .. } => self.minor >= 5,
            Order::ReleaseBrakes { .. } => self.minor >= 4,
            Order::Pause { .. } | Order::Resume { .. } | Order::Lift { .. } => self.minor >= 1,
            Order::Verify { .. } => self.minor >= 4,
            Order::Paid { .. } => self.minor >= 4,
        }
    }

    /// Whether a peer of this version can read a report; one that cannot would throw it away and count it as unreadable.
    #[must_use]
    pub const fn knows_report(self, report: &Report) -> bool {
        match report {
            Report::Usage { .. } => self.minor >= 2,
            Report::Event(event) => self.minor >= 4 || (event.kind as u32) < NodeEventKind::Excused as u32,
            Report::RelayChecked(_) => self.minor >= 4,
            _ => true,
        }
    }

    /// A report in the words that a peer of this version knows.
    #[must_use]
    pub fn worded(self, mut report: Report) -> Report {
        if let Report::Lifted { reason: reason @ LiftReason::Verified, .. } = &mut report
            && self.minor < 4
        {
            *reason = LiftReason::Released;
        }
        report
    }

    /// Whether the two can talk.
    #[must_use]
    pub const fn is_compatible(self, other: Self) -> bool {
        self.major == other.major
    }
}

impl std::fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Who connects, and what it has.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    /// The node.
    pub node: NodeId,
    /// The agent's version.
    pub agent_version: String,
    /// The protocol that it speaks.
    pub protocol: ProtocolVersion,
    /// Names this life of the agent's spool.
    pub epoch: u64,
    /// The version of the tenants that it has; 0 for none from a controller.
    pub tenants_version: u64,
    /// Every measure that stands in its kernel.
    pub measures: Vec<Measure>,
    /// The controller's pauses that it holds, with the orders that they came by.
    pub pauses: Vec<(PauseScope, OrderId)>,
    /// The policy in force, written out; empty if it is not told.
    pub policy: String,
    /// Which policy that is, and what became of those that a controller assigned; `None` from an agent that takes none.
    pub policy_held: Option<PolicyHeld>,
}

/// Which policy a node runs, and what became of the last one that a controller assigned to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyHeld {
    /// The number of the last assignment that it has decided on; 0 for none.
    pub assignment: u64,
    /// What it runs.
    pub running: PolicyVersion,
    /// Whether a controller assigned that; else it is the one of its own settings.
    pub is_assigned: bool,
    /// Why it refused the last assignment; empty if it did not.
    pub refused: String,
}

impl PolicyHeld {
    /// The policy of a controller's that it runs, if any.
    #[must_use]
    pub fn assigned(&self) -> Option<&PolicyVersion> {
        Some(&self.running).filter(|_| self.is_assigned)
    }
}

impl From<&PolicyHeld> for wire::PolicyHeld {
    fn from(held: &PolicyHeld) -> Self {
        Self {
            assignment: held.assignment,
            name: held.running.name.to_string(),
            policy_version: held.running.version,
            assigned: held.is_assigned,
            refused: clip(&held.refused),
        }
    }
}

impl TryFrom<wire::PolicyHeld> for PolicyHeld {
    type Error = WireError;

    fn try_from(held: wire::PolicyHeld) -> Result<Self, WireError> {
        let running = PolicyVersion { name: parsed("name", &held.name)?, version: held.policy_version };
        Ok(Self {
            assignment: held.assignment,
            running,
            is_assigned: held.assigned,
            refused: text("refused", held.refused)?,
        })
    }
}

/// Who answers, and what it has of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The controller's version.
    pub controller_version: String,
    /// The protocol that it speaks.
    pub protocol: ProtocolVersion,
    /// The highest number of the epoch that is on its disk; 0 for none.
    pub acknowledged: u64,
}

/// What an agent sends.
#[derive(Clone, Debug, PartialEq)]
pub enum Up {
    /// First and only first.
    Hello(Hello),
    /// A report with its number; the report may be unreadable.
    Report {
        /// Its number.
        sequence: u64,
        /// The report.
        report: Result<Box<Report>, WireError>,
    },
    /// What became of an order.
    OrderResult(OrderResult),
    /// The answer to a ping.
    Pong(u64),
}

/// What a controller sends.
#[derive(Clone, Debug, PartialEq)]
pub enum Down {
    /// First and only first.
    Welcome(Welcome),
    /// Every report up to this number is on disk.
    Ack(u64),
    /// Something to do.
    Order(Order),
    /// Asks for a pong.
    Ping(u64),
}

impl From<ProtocolVersion> for wire::ProtocolVersion {
    fn from(version: ProtocolVersion) -> Self {
        Self { major: version.major, minor: version.minor }
    }
}

impl From<wire::ProtocolVersion> for ProtocolVersion {
    fn from(version: wire::ProtocolVersion) -> Self {
        Self { major: version.major, minor: version.minor }
    }
}

impl From<&Hello> for wire::Hello {
    fn from(hello: &Hello) -> Self {
        Self {
            node: hello.node.to_string(),
            agent_version: clip(&hello.agent_version),
            protocol_version: Some(hello.protocol.into()),
            epoch: hello.epoch,
            tenants_version: hello.tenants_version,
            measures: hello.measures.iter().take(MAX_MEASURES).map(Into::into).collect(),
            pauses: hello
                .pauses
                .iter()
                .map(|(scope, order)| wire::HeldPause {
                    scope: types::PauseScope::from(*scope).into(),
                    order: order.to_string(),
                })
                .collect(),
            policy: Some(&hello.policy)
                .filter(|text| text.len() <= MAX_POLICY_BYTES)
                .cloned()
                .unwrap_or_default(),
            policy_held: hello.policy_held.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<wire::Hello> for Hello {
    type Error = WireError;

    fn try_from(hello: wire::Hello) -> Result<Self, WireError> {
        Ok(Self {
            node: parsed("node", &hello.node)?,
            agent_version: text("agent_version", hello.agent_version)?,
            protocol: required("protocol_version", hello.protocol_version)?.into(),
            epoch: hello.epoch,
            tenants_version: hello.tenants_version,
            measures: list("measures", hello.measures, MAX_MEASURES, Measure::try_from)?,
            pauses: list("pauses", hello.pauses, PauseScope::ALL.len(), |held| {
                Ok((pause_scope("scope", held.scope)?, OrderId(parsed("order", &held.order)?)))
            })?,
            // A policy beyond all measure is none that words can be taken from; the node is greeted all the same.
            policy: Some(hello.policy).filter(|text| text.len() <= MAX_POLICY_BYTES).unwrap_or_default(),
            policy_held: hello.policy_held.map(|held| message("policy_held", Some(held))).transpose()?,
        })
    }
}

impl From<&Up> for wire::ConnectRequest {
    /// An unreadable report is sent as an empty one; only tests have one to send.
    fn from(up: &Up) -> Self {
        let message = match up {
            Up::Hello(hello) => Sent::Hello(hello.into()),
            Up::Report { sequence, report } => Sent::Report(wire::SequencedReport {
                sequence: *sequence,
                report: report.as_deref().ok().map(Into::into),
            }),
            Up::OrderResult(result) => Sent::OrderResult(result.into()),
            Up::Pong(nonce) => Sent::Pong(wire::Pong { nonce: *nonce }),
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<wire::ConnectRequest> for Up {
    type Error = WireError;

    fn try_from(request: wire::ConnectRequest) -> Result<Self, WireError> {
        Ok(match required("message", request.message)? {
            Sent::Hello(hello) => Self::Hello(Hello::try_from(hello).map_err(|error| error.within("hello"))?),
            Sent::Report(numbered) => Self::Report {
                sequence: numbered.sequence,
                report: required("report", numbered.report).and_then(Report::try_from).map(Box::new),
            },
            Sent::OrderResult(result) => Self::OrderResult(
                OrderResult::try_from(result).map_err(|error| error.within("order_result"))?,
            ),
            Sent::Pong(pong) => Self::Pong(pong.nonce),
        })
    }
}

impl From<&Down> for wire::ConnectResponse {
    fn from(down: &Down) -> Self {
        let message = match down {
            Down::Welcome(welcome) => Answered::Welcome(wire::Welcome {
                controller_version: clip(&welcome.controller_version),
                protocol_version: Some(welcome.protocol.into()),
                acknowledged_sequence: welcome.acknowledged,
            }),
            Down::Ack(sequence) => Answered::Ack(wire::Ack { sequence: *sequence }),
            Down::Order(order) => Answered::Order(order.into()),
            Down::Ping(nonce) => Answered::Ping(wire::Ping { nonce: *nonce }),
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<wire::ConnectResponse> for Down {
    type Error = WireError;

    fn try_from(response: wire::ConnectResponse) -> Result<Self, WireError> {
        Ok(match required("message", response.message)? {
            Answered::Welcome(welcome) => Self::Welcome(Welcome {
                controller_version: text("welcome.controller_version", welcome.controller_version)?,
                protocol: required("welcome.protocol_version", welcome.protocol_version)?.into(),
                acknowledged: welcome.acknowledged_sequence,
            }),
            Answered::Ack(ack) => Self::Ack(ack.sequence),
            Answered::Order(order) => {
                Self::Order(Order::try_from(order).map_err(|error| error.within("order"))?)
            }
            Answered::Ping(ping) => Self::Ping(ping.nonce),
        })
    }
}

// A version string longer than a text may be would make every greeting fail.
const _: () = assert!(env!("CARGO_PKG_VERSION").len() < MAX_TEXT_BYTES);
