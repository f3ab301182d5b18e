//! The same tests as in `sqlite.rs`, on PostgreSQL: `common` sees whose program it is in.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod common;
mod suite;
