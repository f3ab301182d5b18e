//! Everything that a controller does on either engine: `sqlite.rs` and `postgres.rs` play all of it, each on its own.

mod access;
mod acknowledgements;
mod approvals;
mod audit;
mod batch;
mod billing;
mod brakes;
mod bundle;
mod cases;
mod complaints;
mod console;
mod decisions;
mod doctor;
mod encrypted;
mod errors;
mod evidence;
mod exemptions;
mod export;
mod forms;
mod health;
mod holders;
mod http;
mod lists;
mod maildir;
mod mended;
mod notices;
mod outbox;
mod people;
mod policies;
mod reports;
mod retention;
mod samples;
mod sealed;
mod smtp;
mod standing;
mod status;
mod streams;
mod suspensions;
mod tenants;
mod usage;

#[test]
fn no_file_of_tests_is_left_out() {
    let own = include_str!("mod.rs");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(name == "mod" || own.contains(&format!("mod {name};")), "{name} is not played");
    }
}
