//! Reeve's pure core: everything from a frame's bytes to the text of the ruleset.
//!
//! The way of the data, one module a station: [`frame`] → [`packet`] → [`topology`] (whose is it) → `flow`
//! (attempts and outcomes) and `stream` (what is said in mail and API connections) → `detect` (alerts) → `reeve_policy` (violations, decisions) → `ledger` (desired
//! state) → `ruleset` (what the kernel is to hold). `engine` strings them together.
//!
//! The crate has no clock, no I/O, no threads, no randomness and no `unsafe`: time is an argument, and the same
//! input gives the same output, byte for byte.

#![forbid(unsafe_code)]

pub mod blocklist;
pub mod detect;
pub mod engine;
pub mod flow;
pub mod frame;
pub mod interest;
pub mod ledger;
pub mod meter;
pub mod packet;
pub mod ruleset;
pub mod shard;
pub mod shards;
pub mod stream;
pub mod topology;

pub use frame::{Frame, LinkType, Owner, Passage, VantageId};
