//! Another policy while the agent runs: a broken one leaves the one in force as it is, a good one goes on from measures and strikes, and a
//! replay of the record comes to what ran live.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::time::Duration;

use reeve_tests::house::{READY, TENANTS, binary, text};
use reeve_tests::lab::addresses::{ALICE_PORT, BOB_PORT, VICTIM_V4};
use reeve_tests::lab::{Lab, Namespace, Process};
use reeve_tests::wait::wait_until;
use serde_json::Value;

const TOOL: Duration = Duration::from_secs(60);

/// A policy with a ladder for scans. Its episodes and its patience are short, so that the test is.
fn policy(version: u32, ladder: &str) -> String {
    format!(
        "[policy]\nname = \"ours\"\nversion = {version}\nextends = \"extin\"\n\n\
         [[rule]]\nid = \"portscan\"\non = [\"portscan.*\"]\nquiet = \"2s\"\ngrace = \"2s\"\nladder = [{ladder}]\n"
    )
}

const WARN: &str = "{ action = \"notify\" }";
const SUSPEND: &str = "{ action = \"suspend\", until = \"released\" }";

/// Waits until the agent has said something.
#[track_caller]
fn hear(agent: &Process, words: &str) {
    let said = || Ok((agent.stdout() + &agent.stderr()).contains(words));
    wait_until(words, READY, said).unwrap_or_else(|error| panic!("{error}\n{}", agent.last_lines(40)));
}

/// Tries ports of hosts.
fn scan(from: &Namespace, ports: &str, hosts: &str) {
    let nmap = ["nmap", "-n", "-Pn", "-sS", "-p", ports, "--max-retries", "0", hosts];
    from.run(&nmap, TOOL).unwrap();
}

#[test]
fn a_broken_policy_leaves_the_one_in_force_and_a_good_one_keeps_what_was() {
    let lab = Lab::up().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let settings = format!(
        "node = \"rt\"\nmode = \"enforce\"\npolicy = \"ours.toml\"\ntenants = \"tenants.toml\"\nstate_dir = \"state\"\n\n\
         [[vantage]]\nkind = \"port\"\ninterfaces = [\"{ALICE_PORT}\", \"{BOB_PORT}\"]\n"
    );
    std::fs::write(path("agent.toml"), settings).unwrap();
    std::fs::write(path("tenants.toml"), TENANTS).unwrap();
    std::fs::write(path("ours.toml"), policy(1, &format!("{WARN}, {SUSPEND}"))).unwrap();
    let (program, config, record) = (binary("reeve-agent").unwrap(), path("agent.toml"), path("record"));
    let argv = [text(&program), "run", "--config", text(&config), "--record", text(&record)];
    let agent = lab.rt.spawn(&argv).unwrap();
    wait_until("the table", READY, || Ok(lab.rt.ruleset()?.contains("table inet reeve"))).unwrap();
    let is_cut = |address: &str| Ok(lab.rt.ruleset()?.contains(address));

    // The first strike is warned of, and its episode ends.
    let victim = VICTIM_V4.to_string();
    scan(&lab.alice, "1-60", &victim);
    hear(&agent, "notify all");
    hear(&agent, "violation quiet");
    assert!(!is_cut("203.0.113.10").unwrap());

    // Broken: it says where and why, and goes on by the first version, from the first strike.
    std::fs::write(path("ours.toml"), policy(2, "{ action = \"ban\" }")).unwrap();
    agent.signal(libc::SIGHUP).unwrap();
    hear(&agent, "the settings are as before");
    hear(
        &agent,
        "ours.toml:11:22: `rule[1].ladder[1].action`: found \"ban\"; allowed: observe, notify, limit, block, suspend",
    );
    scan(&lab.alice, "8443", "51.7.7.0/24");
    wait_until("alice to be cut off", READY, || is_cut("203.0.113.10"))
        .unwrap_or_else(|error| panic!("{error}\n{}", agent.last_lines(40)));

    // A good one: the measure stands, and the next scan is answered by it.
    std::fs::write(path("ours.toml"), policy(3, SUSPEND)).unwrap();
    agent.signal(libc::SIGHUP).unwrap();
    hear(&agent, "the settings were read anew");
    assert!(is_cut("203.0.113.10").unwrap(), "a measure outlives the policy that it is from");
    assert!(!is_cut("203.0.113.138").unwrap());
    scan(&lab.bob, "1-60", &victim);
    wait_until("bob to be cut off", READY, || is_cut("203.0.113.138"))
        .unwrap_or_else(|error| panic!("{error}\n{}", agent.last_lines(40)));

    // Back, and otherwise without another version: it is done, and told.
    std::fs::write(path("ours.toml"), policy(2, SUSPEND)).unwrap();
    agent.signal(libc::SIGHUP).unwrap();
    hear(&agent, "policy ours has version 2, and version 3 ran until now");
    std::fs::write(path("ours.toml"), policy(2, WARN)).unwrap();
    agent.signal(libc::SIGHUP).unwrap();
    hear(&agent, "policy ours is not what it was and has version 2 as before");
    agent.terminate(READY).unwrap().success().unwrap();

    // The other policy is in the record: elsewhere the same comes out.
    let replayed =
        lab.rt.run(&[text(&program), "replay", "--recorded", "--json", text(&record)], TOOL).unwrap();
    let said = replayed.success().unwrap().stdout;
    let events: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let played = &events.last().unwrap()["played"];
    assert_eq!((&played["beyond"], &played["is_cut"]), (&Value::from(0), &Value::from(false)), "{played}");
    assert_eq!(played["equal"], Value::from(events.len() - 1));
    let versions: Vec<u64> = events
        .iter()
        .filter(|event| event["event"] == "decision")
        .map(|event| event["origin"]["version"].as_u64().unwrap_or_else(|| panic!("{event}")))
        .collect();
    assert_eq!(versions, [1, 1, 3], "by which version each was decided");
}
