//! The labelled captures, judged by the binary that operators have.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on is to fail, and a skipped one to say so"
)]

use std::path::PathBuf;
use std::process::Command;

use reeve_tests::house::binary;
use serde_json::Value;

/// What is looked for so far, and the share of it that must be found at least.
const CLASSES: [&str; 5] = ["portscan", "flood", "spam", "smtp_relay", "api_burst"];
const FOUND_SHARE: f64 = 0.85;

#[test]
fn abuse_is_found_and_nobody_is_accused_wrongly() {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus"));
    let corpus = std::env::var_os("REEVE_CORPUS").map_or(beside, PathBuf::from);
    let manifest = corpus.join("manifest.csv");
    if !manifest.exists() {
        assert!(std::env::var_os("REEVE_REQUIRE_CORPUS").is_none(), "{} is not there", manifest.display());
        eprintln!("SKIPPED: {} is not there; set REEVE_CORPUS", manifest.display());
        return;
    }
    let output = Command::new(binary("reeve-agent").unwrap())
        .arg("score")
        .arg(&manifest)
        .arg("--policy")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/data/corpus.toml"))
        .arg("--json")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let score: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = score["rows"].as_array().unwrap();
    let false_alarms: Vec<&Value> = rows.iter().filter(|row| row["verdict"] == "false-alarm").collect();
    assert!(false_alarms.is_empty(), "{false_alarms:#?}");
    assert_eq!(score["summary"]["false_alarms"], 0);
    let of_ours = |row: &&Value| CLASSES.iter().any(|class| row["class"] == *class);
    let must: Vec<&Value> = rows.iter().filter(of_ours).filter(|row| row["expectation"] == "must").collect();
    let found = must.iter().filter(|row| row["verdict"] == "found").count();
    assert!(!must.is_empty());
    assert!(found as f64 >= FOUND_SHARE * must.len() as f64, "{found} of {}", must.len());
}
