//! Before a policy is enforced: what an agent kept of real traffic, and whom other policies would have hit.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::time::Duration;

use reeve_tests::house::House;
use reeve_tests::lab::Lab;
use reeve_tests::lab::addresses::{VICTIM_V4, WEB_V4};
use serde_json::Value;

const TOOL: Duration = Duration::from_secs(60);

/// A policy with another number of ports that make a scan.
fn policy(house: &House, name: &str, ports: u32) -> String {
    let text = format!(
        "[policy]\nname = \"{name}\"\nversion = 1\nextends = \"baseline\"\n\
         [thresholds.\"portscan.vertical\"]\nports = {ports}\nlow_ports = {ports}\n\
         [thresholds.\"portscan.slow\"]\ntargets_per_hour = 400\ntargets_per_day = 400\n"
    );
    let path = house.path(&format!("{name}.toml"));
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// What a trial on the history says, and its exit code.
fn tried(house: &House, candidate: &str, more: &[&str]) -> (Value, Option<i32>) {
    let config = house.path("agent.toml").display().to_string();
    let argv = ["try", candidate, "--history", "1h", "--json", "--config", &config];
    let finished = house.reeve_agent(&[&argv[..], more].concat()).unwrap();
    (serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}")), finished.code())
}

/// Who is listed there, and for what.
fn listed(trial: &Value, list: &str) -> Vec<String> {
    let name = |change: &Value| {
        format!("{} {}", change["tenant"].as_str().unwrap(), change["family"].as_str().unwrap())
    };
    trial[list].as_array().unwrap().iter().map(name).collect()
}

#[test]
fn a_stricter_and_a_laxer_policy_are_tried_on_what_really_happened() {
    let mut house = House::open_in_mode(Lab::up().unwrap(), "observe").unwrap();
    house.stop_agent().unwrap();
    let settings = house.path("agent.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, format!("{text}\n[history]\nkeep = \"1d\"\nmax_bytes = 67108864\n")).unwrap();
    house.start_agent().unwrap();
    let (victim, web) = (VICTIM_V4.to_string(), format!("http://{WEB_V4}/"));
    let scan = |ports: &'static str| {
        ["nmap", "-n", "-Pn", "-sS", "-p", ports, "--max-retries", "0", "--disable-arp-ping"]
    };
    // Bob looks at a few ports and fetches pages, Alice scans.
    house.lab.bob.run(&[&scan("8001-8010")[..], &[&victim]].concat(), TOOL).unwrap();
    for _ in 0..5 {
        let fetch = ["curl", "--silent", "--max-time", "5", "--output", "/dev/null", &web];
        house.lab.bob.run(&fetch, TOOL).unwrap();
    }
    house.lab.alice.run(&[&scan("1-100")[..], &[&victim]].concat(), TOOL).unwrap();
    house.wait_for_violation("alice", "portscan.vertical", TOOL).unwrap();
    house.stop_agent().unwrap();

    let (same, code) = tried(&house, "baseline", &[]);
    assert_eq!((code, &same["same"]), (Some(0), &Value::from(1)), "{same}");
    assert_eq!(same["against"]["name"], "baseline", "what ran then");
    assert!(same["frames"].as_u64().unwrap() > 200, "{same}");

    let (lax, code) = tried(&house, &policy(&house, "lax", 400), &[]);
    assert_eq!((code, listed(&lax, "no_longer")), (Some(1), vec!["alice portscan".to_owned()]), "{lax}");
    assert!(listed(&lax, "newly").is_empty() && listed(&lax, "differently").is_empty(), "{lax}");

    let strict = policy(&house, "strict", 6);
    let (told, code) = tried(&house, &strict, &[]);
    assert_eq!((code, listed(&told, "newly")), (Some(1), vec!["bob portscan".to_owned()]), "{told}");
    assert!(listed(&told, "no_longer").is_empty(), "{told}");
    let hit = &told["newly"][0]["after"];
    assert_eq!(hit["clauses"], serde_json::json!(["baseline/portscan"]), "{hit}");
    let (told, _) = tried(&house, &strict, &["--against", &policy(&house, "lax", 400)]);
    assert_eq!(listed(&told, "newly"), ["alice portscan", "bob portscan"], "{told}");
    // Nobody was told of what was only tried.
    let tenants: Vec<String> = house.violations().unwrap().into_iter().map(|one| one.tenant).collect();
    assert!(tenants.iter().all(|tenant| tenant == "alice"), "{tenants:?}");
}
