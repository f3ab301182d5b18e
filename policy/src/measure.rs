//! Measures: decisions as they stand in the kernel, and the whole of them as one value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decision::{Decision, DecisionId};
use crate::time::Timestamp;

/// A decision that is to stand in the kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The decision that it carries out. Its mode is `enforce` and its action a measure.
    pub decision: Decision,
    /// When it ends by itself; `None` until someone releases it.
    ///
    /// In the kernel the latter is a lease that the agent renews, so that a dead agent holds nobody for ever.
    pub expires: Option<Timestamp>,
}

/// Why a measure was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LiftReason {
    /// Its time was over.
    Expired,
    /// A person released it.
    Released,
    /// The tenant is not on this node any more.
    Departed,
    /// A check found what it was about mended.
    Verified,
}

impl LiftReason {
    /// The word in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Released => "released",
            Self::Departed => "departed",
            Self::Verified => "verified",
        }
    }
}

/// What a measure has stopped so far, as the kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasureCounters {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the network header on.
    pub bytes: u64,
}

/// All measures that are to stand on a node: the one value that is rendered, applied, read back and compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DesiredState {
    /// Grows with every change on this node; never goes back.
    pub version: u64,
    /// The measures by the decision that they carry out.
    pub measures: BTreeMap<DecisionId, Measure>,
}
