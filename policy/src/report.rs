//! Reports: what an agent tells its controller.
//!
//! Each is either an upsert by key (violation, decision, measure) or a whole state that replaces the one before
//! (counters, health), so that a report that arrives twice, or after a newer one was dropped, does no harm.
//!
//! Left out: sequence numbers and acknowledgement, which belong to the stream (`reeve-proto`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decision::{Decision, DecisionId};
use crate::event::NodeEvent;
use crate::judge::BrakesSet;
use crate::measure::{LiftReason, Measure, MeasureCounters};
use crate::pause::Pause;
use crate::relay::RelayChecked;
use crate::tenant::{Mode, Name, TenantId};
use crate::time::Timestamp;
use crate::usage::Usage;
use crate::violation::Violation;

/// One thing that an agent tells its controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Report {
    /// An episode opened, grew or closed. Replaces what was told under the same key.
    Violation(Violation),
    /// Something was decided, be it only to observe.
    Decision(Decision),
    /// A measure stands in the kernel: read back, not only asked for.
    Standing {
        /// The measure.
        measure: Measure,
        /// Since when.
        at: Timestamp,
    },
    /// A measure stands no longer.
    Lifted {
        /// The decision that it carried out.
        decision: DecisionId,
        /// Whom it held.
        tenant: TenantId,
        /// Why it was taken away.
        reason: LiftReason,
        /// When.
        at: Timestamp,
        /// What it had stopped in all.
        counters: MeasureCounters,
    },
    /// What the measures in force have stopped since they stand.
    Counters(BTreeMap<DecisionId, MeasureCounters>),
    /// How the agent fares.
    Health(NodeHealth),
    /// Something that operators must hear of. Known again by its time and kind.
    Event(NodeEvent),
    /// A tenant's mail server was asked whether it is an open relay. Of two the later holds.
    RelayChecked(RelayChecked),
    /// What tenants sent and received, by month. Of two of the same tenant and month the greater numbers hold.
    Usage {
        /// What each used.
        tallies: Vec<Usage>,
    },
}

impl Report {
    /// The word in logs and counters.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Violation(_) => "violation",
            Self::Decision(_) => "decision",
            Self::Standing { .. } => "standing",
            Self::Lifted { .. } => "lifted",
            Self::Counters(_) => "counters",
            Self::Health(_) => "health",
            Self::Event(_) => "event",
            Self::RelayChecked(_) => "relay-checked",
            Self::Usage { .. } => "usage",
        }
    }
}

/// How an agent fares: a sample, replaced by the next one. Counts run since the agent's start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHealth {
    /// When the sample was taken.
    pub at: Timestamp,
    /// How far the node may go.
    pub mode: Mode,
    /// The policy in force; `None` where none is loaded.
    pub policy: Option<PolicyVersion>,
    /// The tenants that the node knows.
    pub tenants: u64,
    /// The measures in force.
    pub measures: u64,
    /// The interfaces that are being watched.
    pub vantages: u64,
    /// Frames that reached the detectors.
    pub frames_received: u64,
    /// Frames that the ring had no room for.
    pub frames_dropped: u64,
    /// Frames that could not be parsed.
    pub malformed: u64,
    /// Flows being followed.
    pub flows: u64,
    /// Entries pushed out of full tables.
    pub evictions: u64,
    /// The agent's version.
    pub agent_version: String,
    /// Who has paused the node longest, if anybody has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// Since when and why the brakes are set, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brakes: Option<BrakesSet>,
}

/// A policy by name and version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// The policy's name.
    pub name: Name,
    /// Its version.
    pub version: u32,
}

impl std::fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}
