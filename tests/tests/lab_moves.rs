//! A tenant moves to another node, or is given another address: what is held against it comes along.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::time::Duration;

use reeve_tests::house::{House, Neighbour};
use reeve_tests::lab::Lab;
use reeve_tests::lab::addresses::{VICTIM_V4, WEB_V4};
use reeve_tests::preset::decisions;
use reeve_tests::wait::wait_until;

const TOOL: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);

/// First a block that ends soon, then a suspension; an episode is over when nothing was seen for two seconds.
const POLICY: &str = "[policy]\nname = \"moves\"\nversion = 1\nextends = \"baseline\"\nmode = \"enforce\"\n\
    [[rule]]\nid = \"scan\"\nclause = \"moves/scan\"\non = [\"portscan.*\"]\nquiet = \"2s\"\nladder = [\n\
    { action = \"block\", scope = \"tcp/2323\", until = \"3s\" },\n\
    { action = \"suspend\", scope = \"all\", until = \"released\" },\n]\n";

/// Alice behind `port`, with another address beside hers if she has one.
fn place(house: &House, port: &str, address: &str) {
    let file = house.path("placed.toml").display().to_string();
    let bob = "[[tenant]]\nid = \"bob\"\naddresses = [\"203.0.113.138\", \"2001:db8:20::/64\"]\ninterfaces = [\"rt/tap2\"]\n";
    let alice = format!(
        "[[tenant]]\nid = \"alice\"\naddresses = [\"{address}\", \"2001:db8:10::/64\"]\ninterfaces = [\"{port}\"]\n"
    );
    std::fs::write(&file, format!("{alice}{bob}")).unwrap();
    house.reevectl(&["tenants", "import", &file]).unwrap().success().unwrap();
}

fn scan(house: &House, ports: &str) {
    let victim = VICTIM_V4.to_string();
    let argv = ["nmap", "-n", "-Pn", "-sS", "-p", ports, "--max-retries", "0", &victim];
    house.lab.alice.run(&argv, TOOL).unwrap();
}

fn wait_until_quiet(house: &House) {
    wait_until("the episode to be over", SOON, || {
        Ok(house.violations()?.iter().all(|violation| violation.state != "open"))
    })
    .unwrap();
}

fn fetch(house: &House) -> bool {
    let url = format!("http://{WEB_V4}/");
    house.lab.alice.run(&["curl", "--silent", "--max-time", "2", &url], TOOL).unwrap().status.success()
}

/// The numbers of the strikes of all violations, oldest first, with where they were seen.
fn strikes(house: &House) -> Vec<(String, u64)> {
    let told = house.ask(&["violations", "--limit", "100"]).unwrap();
    let mut all: Vec<_> = told["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["node"].as_str().unwrap().to_owned(), one["strike"].as_u64().unwrap()))
        .collect();
    all.reverse();
    all
}

#[test]
fn strikes_and_a_suspension_follow_a_tenant_to_another_node() {
    let mut house = House::open_recorded(Lab::up().unwrap(), Some(POLICY)).unwrap();
    let mut neighbour = Neighbour::open(&house).unwrap();
    let words =
        |house: &House, neighbour: &Neighbour| format!("{}\n{}", house.last_words(), neighbour.last_words());

    // Strike one on the first node.
    scan(&house, "1-300");
    let first = house.wait_for_violation("alice", "portscan.vertical", SOON).unwrap();
    assert_eq!(decisions(&house, &first.id).unwrap(), ["block tcp/2323"]);
    wait_until_quiet(&house);

    // She moves; the second scan takes the second step there, though that node never saw the first.
    neighbour.take_alice(&house).unwrap();
    place(&house, "rt9/tap9", "203.0.113.10");
    assert!(fetch(&house), "{}", words(&house, &neighbour));
    neighbour.wait_until_told().unwrap();
    // It decides by itself: the controller is away.
    neighbour.set_line(false);
    scan(&house, "301-600");
    wait_until("her new node to suspend her", SOON, || Ok(!fetch(&house))).unwrap();
    assert_ne!(house.status("alice").unwrap().state, "suspended", "nobody can tell yet");
    neighbour.set_line(true);
    house.wait_for_state("alice", "suspended", TOOL).unwrap();
    house.wait_for_violation("alice", "portscan.vertical", SOON).unwrap();
    assert_eq!(strikes(&house), [("rt".into(), 1), ("rt9".into(), 2)], "{}", words(&house, &neighbour));
    assert!(!fetch(&house));
    house.reevectl(&["release", "alice", "--reason", "reinstalled"]).unwrap().success().unwrap();
    house.wait_for_state("alice", "clear", SOON).unwrap();
    assert!(fetch(&house));

    let rt9 = neighbour.check_parity(&house).unwrap();
    house.close_and_replay(&[]).unwrap();
    assert!(rt9 > 0);
}

#[test]
fn who_is_suspended_until_released_is_so_on_its_new_node_and_at_its_new_address() {
    let policy = POLICY.replace("{ action = \"block\", scope = \"tcp/2323\", until = \"3s\" },\n", "");
    let mut house = House::open_recorded(Lab::up().unwrap(), Some(&policy)).unwrap();
    let mut neighbour = Neighbour::open(&house).unwrap();
    scan(&house, "1-300");
    let (before, _) = house.wait_for_state("alice", "suspended", SOON).unwrap();
    assert!(!fetch(&house));

    // Another address on the same node: she is still told by her port and held by the new address too.
    place(&house, "rt/tap1", "203.0.113.11");
    house
        .lab
        .alice
        .ip("addr add 203.0.113.11/25 dev eth0\nroute replace default via 203.0.113.1 src 203.0.113.11\n")
        .unwrap();
    wait_until("the new address to be held", SOON, || Ok(house.lab.rt.ruleset()?.contains("203.0.113.11")))
        .unwrap();
    assert!(!fetch(&house));
    assert_eq!(house.status("203.0.113.11").unwrap().clause, before.clause);

    // Another node: held there by the same decision, and let go here.
    place(&house, "rt9/tap9", "203.0.113.10");
    neighbour.take_alice(&house).unwrap();
    wait_until("the second node alone to hold her", SOON, || {
        let status = house.ask(&["status", "alice"])?;
        Ok(status["nodes"] == serde_json::json!(["rt9"]))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", house.last_words(), neighbour.last_words()));
    let after = house.status("alice").unwrap();
    assert_eq!(
        (&after.clause, &after.until, after.state.as_str()),
        (&before.clause, &before.until, "suspended")
    );
    assert!(!fetch(&house));
    let scan = house.violations().unwrap().into_iter().find(|one| one.tenant == "alice").unwrap();
    let told = house.ask(&["violations", "show", &scan.id]).unwrap();
    assert_eq!(told["decisions"].as_array().unwrap().len(), 1, "{told}");
    let ends: Vec<_> =
        told["measures"].as_array().unwrap().iter().map(|one| (&one["node"], &one["lift_reason"])).collect();
    assert!(ends.contains(&(&"rt".into(), &"departed".into())), "{ends:?}");
    assert!(!house.lab.rt.ruleset().unwrap().contains("203.0.113.10"), "nothing of her is left here");

    // Nobody is told twice, and a release lets her go there.
    house.reevectl(&["release", "alice", "--reason", "reinstalled"]).unwrap().success().unwrap();
    house.wait_for_state("alice", "clear", SOON).unwrap();
    assert!(fetch(&house));
    let rt9 = neighbour.check_parity(&house).unwrap();
    house.close_and_replay(&[]).unwrap();
    assert!(rt9 > 0);
}
