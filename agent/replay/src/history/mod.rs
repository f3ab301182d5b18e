//! History: what went into an engine over the last days, kept compactly on disk so that another policy can be tried on it.
//!
//! Kept is what a record keeps (`run --record`): the headers of the frames that the capture let through, what was read in payload as the
//! numbers and hashes that it became, and orders, tenants and policies as they came in, all in the order of the engine's input. From that any
//! policy can be played, by whatever numbers, and the one that ran comes to what it came to live. Less, such as outcomes of attempts, would not
//! do: floods are judged by packets, and what a measure holds back shows in the flow stage. No payload is kept.
//!
//! **Form.** Segments, each a file: a line that says what it is, and blocks ([`block`]), compressed, with a checksum each. Every segment
//! begins with a [`Start`]: all that an engine takes to go on from there but what its detectors held, so that older segments can be removed.
//! A block that is torn, as by a kill, ends its segment; what stands before it is played.
//!
//! **Bounds.** The oldest segments go when the folder would take more than it may, or when they are older than asked for. A thread of its own compresses and
//! writes ([`writer`]); when it cannot follow, or the disk takes nothing, what is lost is counted, and the history goes on with a new segment.

pub mod block;
mod keep;
mod read;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reeve_core::detect::quota::Tally;
use reeve_core::engine::EngineConfig;
use reeve_core::topology::Vantage;
use reeve_policy::judge::Standing;
use reeve_policy::{DesiredState, Tenant, Timestamp};
use serde::{Deserialize, Serialize};

pub use keep::Historian;
pub use read::{Event, History, Segment};
pub use writer::Status;

/// What a segment begins with.
const MAGIC: &[u8] = b"reeve-history 1\n";
/// How segments' names end.
const SUFFIX: &str = ".history";

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For how long.
    pub keep: Duration,
    /// In how many bytes, over all segments; at least [`Limits::LEAST_BYTES`].
    pub max_bytes: u64,
}

impl Limits {
    /// Less is not worth it: a segment begins with all tenants and the policy.
    pub const LEAST_BYTES: u64 = 16 << 20;

    /// How long a segment may become, in bytes: so that its removal takes a small part of the whole.
    const fn segment(&self) -> u64 {
        let part = self.max_bytes / 16;
        if part > 64 << 20 { 64 << 20 } else { part }
    }
}

impl Default for Limits {
    /// A week, in 4 GiB.
    fn default() -> Self {
        Self { keep: Duration::from_secs(7 * 86_400), max_bytes: 4 << 30 }
    }
}

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The system refused.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// There is none in this folder of this time.
    #[error("{path}: no history{since}: is [history] in the settings?", path = path.display(), since = since.map_or(String::new(), |since| format!(" since {since}")))]
    Nothing {
        /// The folder.
        path: PathBuf,
        /// Of what time one was asked for.
        since: Option<Timestamp>,
    },
    /// A block is whole by its checksum, and yet holds what it cannot.
    #[error("{path}: {reason}", path = path.display())]
    Unreadable {
        /// The segment.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// All that an engine takes to go on from somewhere, but what its detectors and flows held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The engine's making, with the policy and mode that hold by now.
    pub config: EngineConfig,
    /// Measures in force.
    pub desired: DesiredState,
    /// Strikes and open episodes.
    pub standing: Standing,
    /// What tenants have used.
    pub usage: Vec<Tally>,
    /// The tenants, in the order of their places.
    pub tenants: Vec<Arc<Tenant>>,
    /// The vantages.
    pub vantages: Vec<Vantage>,
    /// Whether the node has a way to the outside.
    pub is_up: bool,
    /// When.
    pub at: Timestamp,
    /// Whether the agent has just begun, so that there was nothing before.
    pub is_first: bool,
    /// Frames that are missing since the segment before.
    pub lost: u64,
}
