//! Reeve's wire protocol, and the way between it and the vocabulary.
//!
//! [`agent`], [`status`], [`operator`] and [`types`] hold what the protocol files under `proto/` generate: the shape
//! of messages, clients and servers. Beside them stand conversions: `From` a domain value makes a message (clipped
//! to the bounds below, so that a sender never makes what a receiver refuses), `TryFrom` a message makes a domain
//! value or a [`WireError`] that names the field, what was found there and what is allowed. Nothing here panics on
//! any input: unknown enum values, missing fields, lists and texts over their bound are errors.
//!
//! Left out: connections, identity, who may call what (the daemons), and the order of messages on the stream,
//! beyond [`session`]'s types.

mod decision;
mod diagnostics;
mod error;
mod generated;
mod node_event;
mod notice;
mod order;
mod pause;
mod read;
mod reckoning;
mod relay;
mod report;
pub mod session;
mod standing;
mod tenant;
mod violation;

pub use error::WireError;
pub use generated::{DESCRIPTORS, agent, operator, status, types};
pub use read::{clip, duration, duration_to_wire, time, time_to_wire};

/// The longest text in a message, in bytes; names are shorter by their own rule.
pub const MAX_TEXT_BYTES: usize = 4096;
/// The most targets in an alert.
pub const MAX_TARGETS: usize = reeve_policy::Alert::MAX_TARGETS;
/// The most packet headers in an alert.
pub const MAX_SAMPLES: usize = reeve_policy::Alert::MAX_SAMPLES;
/// The most bytes of one packet's headers: IPv6 (40) with options, and TCP with all of its (60), fit twice over.
pub const MAX_HEADER_BYTES: usize = 256;
/// The most metrics in an alert.
pub const MAX_METRICS: usize = 64;
/// The most steps of a ladder that are told.
pub const MAX_STEPS: usize = reeve_policy::language::Rule::MAX_STEPS;
/// The most destinations in a scope.
pub const MAX_SCOPE_TARGETS: usize = 256;
/// The most addresses, interfaces or hardware addresses of one tenant.
pub const MAX_SELECTORS: usize = 4096;
/// The most tenants in one snapshot.
pub const MAX_TENANTS: usize = 1_000_000;
/// The most tenants in one message about what follows them.
pub const MAX_STANDINGS: usize = 4_096;
/// The most counters in one report.
pub const MAX_COUNTERS: usize = 16_384;
/// The most tallies of usage in one report.
pub const MAX_USAGE: usize = 16_384;
/// The most measures in a greeting.
pub const MAX_MEASURES: usize = 65_536;
/// The longest policy, written out, that an agent tells, in bytes.
pub const MAX_POLICY_BYTES: usize = 512 << 10;
/// The largest message, in bytes, that clients and servers take: a snapshot of half a million tenants fits.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;
