//! A policy from the controller on a real node: staged, enforced, rolled back, refused, and kept while the controller is away.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::time::Duration;

use reeve_tests::house::{House, READY, binary, text};
use reeve_tests::lab::addresses::VICTIM_V4;
use reeve_tests::lab::{Lab, Namespace};
use reeve_tests::wait::{wait_for, wait_until};
use serde_json::Value;

const TOOL: Duration = Duration::from_secs(60);

const WARN: &str = "{ action = \"notify\" }";
const SUSPEND: &str = "{ action = \"suspend\", until = \"released\" }";
/// What this node protects beside what any policy does.
const PROTECTED: &str = "\n[protected]\ndestinations = [\"198.18.7.7\"]\n";

/// A policy with one step for scans.
fn policy(name: &str, version: u32, step: &str) -> String {
    format!(
        "[policy]\nname = \"{name}\"\nversion = {version}\nextends = \"extin\"\n\n\
         [[rule]]\nid = \"portscan\"\non = [\"portscan.*\"]\nquiet = \"2s\"\nladder = [{step}]\n"
    )
}

/// Uploads a policy of ours and stages it to the node.
fn stage(house: &House, version: u32, policy: &str) {
    let (file, place) = (house.path("ours.toml"), format!("ours@{version}"));
    std::fs::write(&file, policy).unwrap();
    house.reevectl(&["policy", "upload", text(&file)]).unwrap().success().unwrap();
    house.reevectl(&["policy", "stage", &place, "--node", "rt"]).unwrap().success().unwrap();
}

/// What is told of the node, once it is so far.
#[track_caller]
fn wait_for_progress(house: &House, progress: &str) -> Value {
    let told = wait_for(&format!("the node to be {progress}"), READY, || {
        // Its exit code says that somebody is not so far; what it prints is whole.
        let printed = house.reevectl(&["--json", "policy", "rollout"])?.stdout;
        let rollout: Value = serde_json::from_str(&printed)?;
        Ok(Some(rollout["nodes"][0].clone()).filter(|node| node["progress"] == progress))
    });
    told.unwrap_or_else(|error| panic!("{error:#}\n{}", house.last_words())).0
}

fn running(node: &Value) -> String {
    format!("{}@{}", node["running"]["name"].as_str().unwrap(), node["running"]["policy_version"])
}

fn scan(from: &Namespace, ports: &str) {
    let victim = VICTIM_V4.to_string();
    from.run(&["nmap", "-n", "-Pn", "-sS", "-p", ports, "--max-retries", "0", &victim], TOOL).unwrap();
}

#[test]
fn a_policy_is_staged_enforced_rolled_back_and_kept_while_the_controller_is_away() {
    let mut house = House::open_assigned(Lab::up().unwrap(), &policy("own", 1, WARN), PROTECTED).unwrap();
    assert_eq!(running(&wait_for_progress(&house, "own")), "own@1");

    // Staged, it is enforced.
    stage(&house, 1, &policy("ours", 1, SUSPEND));
    assert_eq!(running(&wait_for_progress(&house, "running")), "ours@1");
    scan(&house.lab.alice, "1-60");
    house.wait_for_state("alice", "suspended", READY).unwrap();
    let back = house.reevectl(&["policy", "diff", "ours@1", text(&house.path("policy.toml"))]).unwrap();
    assert!(back.stdout.contains("name: \"ours\" -> \"own\""), "{back:?}");

    // Rolled back, the node runs what its settings name; what the other did stands until it is lifted.
    house.reevectl(&["policy", "rollback", "--reason", "too hard"]).unwrap().success().unwrap();
    assert_eq!(running(&wait_for_progress(&house, "own")), "own@1");
    assert_eq!(house.status("alice").unwrap().state, "suspended");
    house.reevectl(&["lift", "--policy", "ours@1", "--since", "1h"]).unwrap().success().unwrap();
    house.wait_for_state("alice", "clear", READY).unwrap();
    scan(&house.lab.alice, "100-160");
    house.wait_for_state("alice", "warned", READY).unwrap();

    // What is aimed at something that this node protects it refuses, and goes on.
    stage(&house, 2, &policy("ours", 2, SUSPEND));
    assert_eq!(running(&wait_for_progress(&house, "running")), "ours@2");
    let aimed = "[[endpoint]]\nname = \"api\"\naddresses = [\"198.18.7.7\"]\nports = [443]\n\
                 [[rule]]\nid = \"calls\"\non = [\"api_burst\"]\nladder = [{ action = \"block\", scope = \"endpoint\", until = \"1h\" }]\n";
    stage(&house, 3, &(policy("ours", 3, WARN) + aimed));
    let refused = wait_for_progress(&house, "refused");
    assert_eq!(running(&refused), "ours@2");
    assert!(refused["detail"].as_str().unwrap().contains("which is within 198.18.7.7/32"), "{refused}");

    // Without the controller it begins with what it took last.
    house.kill_controller().unwrap();
    house.stop_agent().unwrap();
    let (program, config, record) =
        (binary("reeve-agent").unwrap(), house.path("agent.toml"), house.path("alone"));
    let argv = [text(&program), "run", "--config", text(&config), "--record", text(&record)];
    let agent = house.lab.rt.spawn(&argv).unwrap();
    wait_until("the agent to watch", READY, || Ok(agent.stderr().contains("watching"))).unwrap();
    scan(&house.lab.bob, "1-60");
    wait_until("bob to be cut off", READY, || Ok(house.lab.rt.ruleset()?.contains("203.0.113.138")))
        .unwrap_or_else(|error| panic!("{error:#}\n{}", agent.last_lines(40)));
    house.start_controller().unwrap();
    // It is asked again, and refuses again.
    assert_eq!(running(&wait_for_progress(&house, "refused")), "ours@2");
    agent.terminate(READY).unwrap().success().unwrap();

    // Each change of the policy is in the records: elsewhere the same comes out.
    house.check_parity().unwrap();
    let argv = [text(&program), "replay", "--recorded", "--json", text(&record)];
    let replayed = house.lab.rt.run(&argv, TOOL).unwrap().success().unwrap().stdout;
    let end: Value = serde_json::from_str(replayed.lines().last().unwrap()).unwrap();
    assert_eq!(end["played"]["beyond"], 0, "{end}");
}
