#![allow(clippy::unwrap_used, clippy::duplicate_mod, reason = "each file of tests brings what all share")]
//! Everything that the other files test, once more, on PostgreSQL: `common` sees whose binary it is in.

#[path = "access.rs"]
mod access;
#[path = "approvals.rs"]
mod approvals;
#[path = "audit.rs"]
mod audit;
#[path = "batch.rs"]
mod batch;
#[path = "brakes.rs"]
mod brakes;
#[path = "doctor.rs"]
mod doctor;
#[path = "errors.rs"]
mod errors;
#[path = "evidence.rs"]
mod evidence;
#[path = "exemptions.rs"]
mod exemptions;
#[path = "health.rs"]
mod health;
#[path = "http.rs"]
mod http;
#[path = "lists.rs"]
mod lists;
#[path = "notices.rs"]
mod notices;
#[path = "people.rs"]
mod people;
#[path = "policies.rs"]
mod policies;
#[path = "retention.rs"]
mod retention;
#[path = "standing.rs"]
mod standing;
#[path = "status.rs"]
mod status;
#[path = "streams.rs"]
mod streams;
#[path = "suspensions.rs"]
mod suspensions;
#[path = "tenants.rs"]
mod tenants;
#[path = "usage.rs"]
mod usage;

/// What is about one engine, about several controllers, or about the door before any engine, and not to be played on both.
const APART: [&str; 5] = ["postgres", "copies", "engines", "several", "attacks"];

#[test]
fn no_file_of_tests_is_left_out() {
    let own = include_str!("postgres.rs");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_file() && !APART.contains(&name.as_str()) {
            assert!(own.contains(&format!("mod {name};")), "{name} is not played on PostgreSQL");
        }
    }
}
