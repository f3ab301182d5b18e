//! What is about one engine or both, about several controllers, or about the door before any engine, and not to be played on
//! each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]
#![allow(clippy::print_stdout, reason = "what was measured is told")]

#[path = "../common/mod.rs"]
mod common;

mod attacks;
mod copies;
mod crypto;
mod engines;
mod several;
