//! The netlink printer: ruleset and elements as messages to the kernel, and back.
//!
//! [`print`] writes, [`read`] reads, [`socket`] carries, [`object`] wraps libnftnl. Why libnftnl's raw layer and neither the
//! `nft` tool nor the safe crates: docs/adr/0003.

mod garden;
mod local;
pub mod object;
pub mod print;
pub mod read;
pub mod socket;

pub use socket::{Batch, NetlinkError, Questions, Socket};
