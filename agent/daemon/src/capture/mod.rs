//! Capture: where frames come from.
//!
//! Purpose: one way of taking frames from the kernel, as the node sees them now. A [`Source`]
//! hands frames to a closure, borrowed from where they lie, so that nothing is copied on the way to the core.
//!
//! Model: [`set::RingSet`] reads live interfaces through kernel rings ([`ring`]) on a time scale that does not
//! step ([`clock`]); [`local::LocalSource`] what the node's own processes send. Both are driven by one thread that polls.
//!
//! Left out: parsing, ownership and everything else that gives a frame meaning (`reeve-core`), which
//! interfaces are to be watched (configuration, and [`crate::links`]), and capture files (`reeve-replay`).

use std::io;
use std::time::Duration;

use reeve_core::{Frame, VantageId};
use reeve_policy::Loss;

pub mod clock;
pub mod local;
pub mod ring;
pub mod set;

pub use clock::Clock;
pub use local::LocalSource;
pub use ring::{RingOptions, RingStatistics};
pub use set::{RingSet, ring_bytes_each};

/// Something that frames come from.
pub trait Source {
    /// Delivers waiting frames to `sink` in order, waiting up to `wait` for the first one.
    ///
    /// One call delivers a bounded batch, so that the caller's own deadlines are kept; it may return earlier
    /// than `wait` without a frame. Between vantages the order is not by time.
    ///
    /// # Errors
    /// [`CaptureError::InterfaceGone`] tells of one vantage that ended; others go on, and so may the caller.
    /// Any other error ends the source: later calls yield [`Progress::Ended`].
    fn poll(&mut self, wait: Duration, sink: &mut dyn FnMut(Frame<'_>)) -> Result<Progress, CaptureError>;

    /// What reached the sink and what the kernel dropped before, per vantage, since the last call.
    fn loss(&mut self) -> Vec<(VantageId, Loss)>;
}

/// What a call of [`Source::poll`] brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many frames; none where all that came was of no account.
    Frames(usize),
    /// Nothing yet.
    Idle,
    /// Nothing, and nothing will come.
    Ended,
}

/// Why frames cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The name is nobody's, in the network namespace of the calling thread.
    #[error("there is no interface `{interface}`")]
    NoInterface {
        /// The name asked for.
        interface: String,
    },
    /// The process may not open packet sockets.
    #[error("the kernel does not permit capturing on `{interface}`: CAP_NET_RAW is missing")]
    NotPermitted {
        /// The interface asked for.
        interface: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The interface was removed, or moved to another network namespace.
    #[error("interface `{interface}` went away")]
    InterfaceGone {
        /// The vantage that it was.
        vantage: VantageId,
        /// Its name when it was added.
        interface: String,
    },
    /// The interface speaks a link layer that is not supported.
    #[error("interface `{interface}` has hardware type {hardware}; Ethernet and bare IP are supported")]
    UnsupportedHardware {
        /// The interface asked for.
        interface: String,
        /// `ARPHRD_*` of `linux/if_arp.h`.
        hardware: u16,
    },
    /// The vantage has a ring already.
    #[error("vantage {} is being watched already", vantage.0)]
    VantageTaken {
        /// The vantage.
        vantage: VantageId,
    },
    /// A system call failed.
    #[error("{call} failed for interface `{interface}`")]
    System {
        /// What was called.
        call: &'static str,
        /// For which interface; `*` where for none in particular.
        interface: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}
