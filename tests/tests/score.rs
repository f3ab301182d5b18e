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
        .arg("--fail-below")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/data/marks.toml"))
        .arg("--json")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let score: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = score["rows"].as_array().unwrap();
    let false_alarms: Vec<&Value> = rows.iter().filter(|row| row["verdict"] == "false-alarm").collect();
    assert!(false_alarms.is_empty(), "{false_alarms:#?}");
    assert_eq!(score["summary"]["false_alarms"], 0);
    let amiss =
        |row: &&Value| ["missed", "wrong-class", "suspected"].iter().any(|word| row["verdict"] == *word);
    let amiss: Vec<&Value> = rows.iter().filter(amiss).collect();
    assert!(output.status.success(), "{told}{amiss:#?}");
    assert!(score["summary"]["found"].as_u64().unwrap() > 0);
    // Time and attempts are measured for whatever is found.
    let found = rows.iter().filter(|row| row["verdict"] == "found");
    found.for_each(|row| assert!(row["detect_s"].as_f64().is_some_and(|secs| secs >= 0.0), "{row}"));
}
