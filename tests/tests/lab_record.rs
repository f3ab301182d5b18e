//! Parity: what an agent wrote down live is replayed to the same outputs, byte for byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::time::Duration;

use reeve_tests::house::House;
use reeve_tests::lab::Lab;
use reeve_tests::lab::addresses::VICTIM_V4;
use serde_json::Value;

const TOOL: Duration = Duration::from_secs(60);

/// Replays a record and returns what the end says of it, and how many events of each kind there were.
fn replay(house: &House, record: &str) -> (Value, Vec<String>) {
    let finished = house.reeve_agent(&["replay", "--recorded", "--json", record]).unwrap().success().unwrap();
    let mut events: Vec<Value> =
        finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let end = events.pop().unwrap();
    let kinds = events.iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect();
    (end["played"].clone(), kinds)
}

#[test]
fn what_ran_live_is_replayed_byte_for_byte() {
    let mut house = House::open(Lab::up().unwrap()).unwrap();
    let victim = VICTIM_V4.to_string();
    let scan = ["nmap", "-n", "-Pn", "-sS", "-p", "1-300", "--max-retries", "0", victim.as_str()];
    let sweep = ["nmap", "-n", "-Pn", "-sS", "-p", "8443", "--max-retries", "0", "51.7.7.0/24"];
    // The third run goes on from the second's measure.
    for (run, ends_suspended) in [false, true, true].into_iter().enumerate() {
        house.stop_agent().unwrap();
        let record = house.path(&format!("record-{run}")).display().to_string();
        house.agent_arguments = vec!["--record".to_owned(), record.clone()];
        house.start_agent().unwrap();
        house.lab.alice.run(&scan, TOOL).unwrap();
        house.wait_for_state("alice", "suspended", TOOL).unwrap();
        house.reevectl(&["release", "alice"]).unwrap().success().unwrap();
        // Silence decides of a sweep, three seconds after.
        house.lab.bob.run(&sweep, TOOL).unwrap();
        house.wait_for_state("bob", "suspended", TOOL).unwrap();
        if !ends_suspended {
            house.reevectl(&["release", "bob"]).unwrap().success().unwrap();
        }
        house.stop_agent().unwrap();
        let (played, kinds) = replay(&house, &record);
        assert_eq!(
            (&played["beyond"], &played["is_cut"]),
            (&Value::from(0), &Value::from(false)),
            "{played}"
        );
        assert_eq!(played["equal"], Value::from(kinds.len()));
        for kind in ["alert", "violation", "decision", "imposed", "lifted"] {
            assert!(kinds.iter().any(|other| other == kind), "no {kind} in run {run}: {kinds:?}");
        }
        house.agent_arguments.clear();
        house.start_agent().unwrap();
    }
}
