//! The stop button, what it leaves and what it takes away, and what operators hear of a node, on real packets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use reeve_tests::house::House;
use reeve_tests::lab::Lab;
use reeve_tests::lab::addresses::{VICTIM_V4, WEB_V4};
use reeve_tests::wait::{wait_for, wait_until};
use serde_json::Value;

const TOOL: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);

/// Ports that were not tried before are scanned: alice's abuse goes on.
fn scan(house: &House, ports: &str) {
    let victim = VICTIM_V4.to_string();
    let argv = ["nmap", "-n", "-Pn", "-sS", "-p", ports, "--max-retries", "0", &victim];
    house.lab.alice.run(&argv, TOOL).unwrap();
}

fn settings(house: &House) -> String {
    house.path("agent.toml").display().to_string()
}

/// Who has paused the node, as its health says; empty for nobody.
fn paused_by(house: &House) -> String {
    let nodes = house.ask(&["nodes"]).unwrap();
    nodes["nodes"][0]["health"]["paused"]["by"].as_str().unwrap_or_default().to_owned()
}

fn wait_for_pause(house: &House, by: &str) {
    wait_until(&format!("the node to be paused by `{by}`"), SOON, || Ok(paused_by(house) == by))
        .unwrap_or_else(|error| panic!("{error:#}\n{}", house.last_words()));
}

/// Why alice's newest violation was answered mildly, if it was.
fn softened(house: &House) -> Option<String> {
    let violation = house.violations().unwrap().into_iter().find(|violation| violation.tenant == "alice")?;
    let answer = house.ask(&["violations", "show", &violation.id]).unwrap();
    let decisions = answer["decisions"].as_array().unwrap().clone();
    decisions.last()?["softened"].as_str().map(str::to_owned)
}

fn wait_for_softened(house: &House, why: &str) {
    let look = || Ok(softened(house).filter(|text| text.contains(why)));
    wait_for(&format!("a decision softened by `{why}`"), SOON, look)
        .unwrap_or_else(|error| panic!("{error:#}\n{:?}\n{}", softened(house), house.last_words()));
}

/// The kinds of events that the controller has, newest first.
fn events(house: &House) -> Vec<String> {
    let list = house.ask(&["events", "--node", "rt", "--since", "1h"]).unwrap();
    let events = list["events"].as_array().unwrap();
    events.iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

fn wait_for_event(house: &House, kind: &str) {
    wait_until(&format!("the event {kind}"), SOON, || Ok(events(house).iter().any(|other| other == kind)))
        .unwrap_or_else(|error| panic!("{error:#}\n{:?}\n{}", events(house), house.last_words()));
}

#[test]
fn the_nodes_own_stop_button_stops_survives_and_lifts() {
    let mut house = House::open(Lab::up().unwrap()).unwrap();
    let config = settings(&house);
    let record = house.path("record").display().to_string();
    house.stop_agent().unwrap();
    house.agent_arguments = vec!["--record".to_owned(), record.clone()];
    house.start_agent().unwrap();

    // Noticed by the running agent; nothing new is done, and an operator's order is.
    let pressed = house.reeve_agent(&["pause", "--reason", "look first", "--config", &config]).unwrap();
    assert!(pressed.success().unwrap().stdout.contains("the running agent notices"));
    wait_until("the pause", SOON, || Ok(!paused_by(&house).is_empty())).unwrap();
    assert!(paused_by(&house).ends_with("on the node"));
    scan(&house, "1-300");
    wait_for_softened(&house, "look first");
    assert_eq!(house.status("alice").unwrap().state, "warned");
    house.reevectl(&["suspend", "bob", "--reason", "unpaid"]).unwrap().success().unwrap();
    let table = house.reevectl(&["nodes"]).unwrap().success().unwrap().stdout;
    assert!(table.contains("enforce, PAUSED") && table.contains("look first"), "{table}");
    let status = house.reevectl(&["status", "alice"]).unwrap().success().unwrap().stdout;
    assert!(status.contains("look first"), "{status}");

    // What ran is played again to the same outputs, the pause with it.
    house.stop_agent().unwrap();
    let replayed =
        house.reeve_agent(&["replay", "--recorded", "--json", &record]).unwrap().success().unwrap();
    assert!(replayed.stdout.contains("paused by"));
    // It outlasts the agent, and ends with none running; the abuse is still seen.
    house.agent_arguments.clear();
    house.start_agent().unwrap();
    scan(&house, "301-600");
    assert_eq!(house.status("alice").unwrap().state, "warned");
    house.stop_agent().unwrap();
    assert!(
        house
            .reeve_agent(&["resume", "--config", &config])
            .unwrap()
            .success()
            .unwrap()
            .stdout
            .contains("resumed")
    );
    house.start_agent().unwrap();
    wait_for_pause(&house, "");
    scan(&house, "601-900");
    house.wait_for_state("alice", "suspended", SOON).unwrap();

    // Whoever presses it, the file belongs to whom the state does.
    let (other, text) = (house.path("other"), std::fs::read_to_string(&config).unwrap());
    std::fs::create_dir(&other).unwrap();
    std::os::unix::fs::chown(&other, Some(65_534), Some(65_534)).unwrap();
    let elsewhere = house.path("other.toml").display().to_string();
    std::fs::write(&elsewhere, text.replace("agent-state", "other")).unwrap();
    house.reeve_agent(&["pause", "--config", &elsewhere]).unwrap().success().unwrap();
    let owner = std::fs::metadata(other.join("pause.json")).unwrap();
    assert_eq!((owner.uid(), owner.mode() & 0o777), (65_534, 0o600));

    // With no agent running the button lifts by itself what policy did, and leaves what people did.
    house.stop_agent().unwrap();
    assert!(house.lab.rt.ruleset().unwrap().contains("203.0.113.10"));
    let pressed = house.reeve_agent(&["pause", "--lift", "--config", &config]).unwrap().success().unwrap();
    assert!(pressed.stdout.contains("1 measure lifted"), "{}", pressed.stdout);
    let ruleset = house.lab.rt.ruleset().unwrap();
    assert!(!ruleset.contains("203.0.113.10") && ruleset.contains("203.0.113.138"), "{ruleset}");
    house.start_agent().unwrap();
    wait_until("alice to be let go", SOON, || Ok(house.status("alice").unwrap().state == "clear")).unwrap();
    assert_eq!(house.status("bob").unwrap().state, "suspended");
    wait_for_event(&house, "paused");
}

#[test]
fn the_controllers_stop_button_is_apart_from_the_nodes_own() {
    let mut house = House::open(Lab::up().unwrap()).unwrap();
    let config = settings(&house);
    scan(&house, "1-300");
    house.wait_for_state("alice", "suspended", SOON).unwrap();
    house.reevectl(&["suspend", "bob", "--reason", "unpaid"]).unwrap().success().unwrap();
    assert_eq!(house.reevectl(&["pause", "--node", "nobody"]).unwrap().code(), Some(3));

    // It lifts what policy did, closes the episode, and leaves what an operator did.
    let done = house.reevectl(&["pause", "--fleet", "--lift", "--reason", "wrong policy"]).unwrap();
    assert!(done.success().unwrap().stdout.contains("the fleet: paused on rt"));
    assert_eq!(house.status("alice").unwrap().state, "clear");
    assert_eq!(house.status("bob").unwrap().state, "suspended");
    assert!(house.violations().unwrap().iter().all(|violation| violation.state == "released"));
    let url = format!("http://{WEB_V4}/");
    let curl = ["curl", "--silent", "--max-time", "2", url.as_str()];
    house.lab.alice.run(&curl, TOOL).unwrap().success().unwrap();
    scan(&house, "301-600");
    wait_for_softened(&house, "wrong policy");
    wait_for_pause(&house, "oncall");
    for (address, metric) in [
        (reeve_tests::house::METRICS, "reeve_controller_nodes_paused 1"),
        (reeve_tests::house::METRICS, "reeve_controller_fleet_paused 1"),
    ] {
        let url = format!("http://{address}/metrics");
        let told = house.lab.rt.run(&["curl", "--silent", &url], TOOL).unwrap().success().unwrap();
        assert!(told.stdout.contains(metric), "{}", told.stdout);
    }

    // Both are paused; each ends for itself, and the controller's outlasts the agent without the controller.
    house.reeve_agent(&["pause", "--config", &config]).unwrap().success().unwrap();
    house.kill_agent().unwrap();
    house.start_agent().unwrap();
    house.reevectl(&["resume", "--fleet"]).unwrap().success().unwrap();
    wait_until("the node's own pause to be left", SOON, || Ok(paused_by(&house).ends_with("on the node")))
        .unwrap();
    house.reeve_agent(&["resume", "--config", &config]).unwrap().success().unwrap();
    wait_for_pause(&house, "");
    scan(&house, "601-900");
    house.wait_for_state("alice", "suspended", SOON).unwrap();

    // A node that was away is paused when it comes back.
    house.kill_agent().unwrap();
    let stored = house.reevectl(&["pause", "--node", "rt", "--reason", "later"]).unwrap();
    assert_eq!(stored.code(), Some(4), "{}", stored.text());
    house.start_agent().unwrap();
    wait_for_pause(&house, "oncall");
    wait_for_event(&house, "resumed");
    wait_for_event(&house, "lifted");
}

#[test]
fn what_a_policy_did_is_undone_and_operators_hear_of_the_node() {
    let mut house = House::open(Lab::up().unwrap()).unwrap();
    // A table that belongs to the agent cannot be touched by others, where the kernel knows how.
    house.stop_agent().unwrap();
    house.agent_arguments = ["--ownership", "plain", "--log-format", "json"].map(str::to_owned).to_vec();
    house.start_agent().unwrap();
    scan(&house, "1-300");
    house.wait_for_state("alice", "suspended", SOON).unwrap();
    house.reevectl(&["suspend", "bob", "--reason", "unpaid"]).unwrap().success().unwrap();
    let policy = ["lift", "--policy", "baseline@1", "--since", "1h"];
    let ask = |more: &[&str]| house.ask(&[&policy, more].concat()).unwrap();
    let would = ask(&["--dry-run"]);
    assert_eq!((would["total"].as_u64(), would["order"].is_null()), (Some(1), true), "{would}");
    assert_eq!(would["measures"][0]["measure"]["decision"]["tenant"], Value::from("alice"));
    assert_eq!(house.status("alice").unwrap().state, "suspended");
    // Of another version nothing is lifted.
    let other = house.ask(&["lift", "--policy", "baseline@9", "--since", "1h"]).unwrap();
    assert_eq!((other["total"].as_u64(), other["nodes"][0]["state"].as_str()), (Some(0), Some("done")));
    assert_eq!(house.status("alice").unwrap().state, "suspended");
    let done = ask(&["--reason", "a mistake"]);
    assert_eq!((done["total"].as_u64(), done["nodes"][0]["state"].as_str()), (Some(1), Some("done")));
    assert_eq!(house.status("alice").unwrap().state, "clear");
    assert_eq!(house.status("bob").unwrap().state, "suspended");
    assert_eq!(ask(&[])["total"].as_u64(), Some(0), "once");
    // Its strike is taken back: the next one is the first again.
    scan(&house, "301-600");
    house.wait_for_state("alice", "suspended", SOON).unwrap();
    let all = house.ask(&["violations", "--tenant", "alice", "--state", "open"]).unwrap();
    assert_eq!(all["violations"][0]["strike"].as_u64(), Some(1), "{all}");

    // Every line of the log that is about a tenant has it as a field, and the violation where there is one.
    let log = house.agent().unwrap().stderr();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let about = |what: &str| {
        let is_it = |line: &&Value| {
            line["message"]
                .as_str()
                .or(line["fields"]["message"].as_str())
                .is_some_and(|text| text.starts_with(what))
        };
        let found = lines.iter().find(is_it).unwrap_or_else(|| panic!("no `{what}` in {log}"));
        let fields = if found["fields"].is_object() { &found["fields"] } else { found };
        (fields["tenant"].as_str().unwrap_or_default().to_owned(), fields["violation"].is_string())
    };
    for (what, has_violation) in [
        ("portscan.vertical", false),
        ("violation open", true),
        ("suspend all: portscan", true),
        ("suspend lifted", true),
        ("what the measure stopped", true),
    ] {
        assert_eq!(about(what), ("alice".to_owned(), has_violation), "{what}");
    }
    assert_eq!(about("suspend all: unpaid"), ("bob".to_owned(), false));

    // Somebody else empties the ruleset; the watcher is told at once, and it is kept.
    let program = reeve_tests::house::binary("reevectl").unwrap();
    let dir = house.path("controller").display().to_string();
    let watching = house
        .lab
        .rt
        .spawn(&[
            reeve_tests::house::text(&program),
            "--controller",
            "https://127.0.0.1:7443",
            "--dir",
            &dir,
            "--as",
            "oncall",
            "watch",
        ])
        .unwrap();
    wait_until("the watcher to hear of the change", SOON, || {
        house.lab.rt.nft("flush ruleset")?;
        Ok(watching.stdout().contains("ruleset-changed"))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", house.last_words()));
    wait_for_event(&house, "ruleset-changed");
    wait_for_event(&house, "lifted");
}

#[test]
fn operators_hear_of_a_brake_and_of_a_node_that_sees_nothing() {
    let mut house = House::open(Lab::up().unwrap()).unwrap();
    house.stop_agent().unwrap();
    let policy = "[policy]\nname = \"cautious\"\nversion = 1\nextends = \"baseline\"\nmode = \"enforce\"\n\n\
                  [brakes]\nmeasures_per_minute = 0\n";
    std::fs::write(house.path("cautious.toml"), policy).unwrap();
    let text = std::fs::read_to_string(house.path("agent.toml")).unwrap();
    std::fs::write(
        house.path("agent.toml"),
        text.replace("\"baseline\"", "\"cautious.toml\"") + "\n[metrics]\nlisten = \"127.0.0.1:9464\"\n",
    )
    .unwrap();
    house.start_agent().unwrap();
    scan(&house, "1-300");
    wait_for_softened(&house, "brake");
    wait_for_event(&house, "braked");
    let told = || {
        let argv = ["curl", "--silent", "http://127.0.0.1:9464/metrics"];
        house.lab.rt.run(&argv, TOOL).unwrap().success().unwrap().stdout
    };
    assert!(told().contains("\nreeve_agent_paused 0\n"), "{}", told());
    house.reevectl(&["pause", "--node", "rt"]).unwrap().success().unwrap();
    assert!(told().contains("\nreeve_agent_paused 1\n"), "{}", told());
    for port in ["tap1", "tap2"] {
        house.lab.rt.run(&["ip", "link", "del", port], TOOL).unwrap().success().unwrap();
    }
    wait_for_event(&house, "capture-blind");
    house.lab.rt.run(&["ip", "link", "add", "tap1", "type", "veth", "peer", "name", "far1"], TOOL).unwrap();
    wait_for_event(&house, "capture-back");
}
