//! The controller with the database that comes with it. One program holds all these tests: each links everything that the
//! controller is made of.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod common;
mod suite;
