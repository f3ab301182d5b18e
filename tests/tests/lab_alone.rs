//! Left alone: the controller is gone while an attack goes on, and customers who do nothing wrong are left in peace.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::{Duration, Instant};

use reeve_tests::house::House;
use reeve_tests::lab::addresses::{DEAD_V4, OTHER_V4, SPEED_V4, VICTIM_V4, WEB_V4, WEB_V6};
use reeve_tests::lab::{Lab, Process, Visitor};
use reeve_tests::wait::wait_until;

const TOOL: Duration = Duration::from_secs(60);

/// For how many seconds: few in every run, `./dev soak` says more.
fn seconds(variable: &str, short: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

#[test]
fn without_a_controller_the_agent_goes_on_and_afterwards_all_is_there() {
    let mut house = House::open(Lab::up().unwrap()).unwrap();
    house.kill_agent().unwrap();
    house.agent_log = "info,reeve_agent=debug";
    house.start_agent().unwrap();
    house.kill_controller().unwrap();
    let end = Instant::now() + Duration::from_secs(seconds("REEVE_ALONE_SECONDS", 8));
    let victim = VICTIM_V4.to_string();
    let (mut attacks, mut is_held) = (0, false);
    while Instant::now() < end {
        let scan = [
            "nmap",
            "-n",
            "-Pn",
            "-sS",
            "-p",
            "1-300",
            "--max-retries",
            "0",
            "--host-timeout",
            "5s",
            &victim,
        ];
        house.lab.alice.run(&scan, TOOL).unwrap();
        let flood = ["hping3", "-q", "--udp", "-p", "9", "-i", "u400", "-c", "4000", &victim];
        house.lab.bob.run(&flood, TOOL).unwrap();
        attacks += 1;
        let ruleset = house.lab.rt.ruleset().unwrap();
        // Once held, they stay so.
        let held = ruleset.contains("203.0.113.10") && ruleset.contains("203.0.113.138");
        assert!(held || !is_held, "a measure went");
        is_held |= held;
    }
    assert!(is_held, "{}", house.last_words());
    house.start_controller().unwrap();
    house.wait_for_state("alice", "suspended", Duration::from_secs(60)).unwrap();
    // A flood that goes on for a minute in spite of its block leads to the next step.
    wait_until("bob to be held", Duration::from_secs(60), || {
        Ok(["blocked", "suspended"].contains(&house.status("bob")?.state.as_str()))
    })
    .unwrap();
    let log = house.agent().unwrap().stderr();
    let key = |line: &str| Some(line.split_once(" violation=")?.1.split_whitespace().next()?.to_owned());
    let kept: BTreeSet<String> =
        log.lines().filter(|line| line.contains("kept in the journal")).filter_map(key).collect();
    assert!(kept.len() >= 2, "{kept:?}");
    wait_until("the controller to have what was kept", Duration::from_secs(20), || {
        let known = house.violations()?;
        let ids: BTreeSet<&String> = known.iter().map(|violation| &violation.id).collect();
        Ok(ids.len() == known.len() && kept.iter().all(|id| ids.contains(id)))
    })
    .unwrap();
    let outputs = house.check_parity().unwrap();
    assert!(outputs > 0);
    let _ = writeln!(
        std::io::stderr(),
        "{attacks} rounds of attacks alone, {} violations, all at the controller",
        kept.len()
    );
}

/// Runs a line of shell in a loop until it is dropped with its namespace.
fn again(namespace: &reeve_tests::lab::Namespace, line: &str) -> Process {
    namespace.spawn(&["sh", "-c", &format!("while :; do {line}; done")]).unwrap()
}

#[test]
fn customers_who_do_nothing_wrong_are_left_in_peace() {
    let house = House::open(Lab::up().unwrap()).unwrap();
    let _speed = house.lab.iperf3_server().unwrap();
    let (alice, bob) = (&house.lab.alice, &house.lab.bob);
    let (v4, v6, other) = (WEB_V4.to_string(), WEB_V6.to_string(), OTHER_V4.to_string());
    let (dead, speed) = (DEAD_V4.to_string(), SPEED_V4.to_string());
    let curl = "curl --silent --output /dev/null --max-time 3";
    let visitors = [Visitor::start(alice).unwrap(), Visitor::start(bob).unwrap()];
    let mut loops = vec![
        // A page with a dozen of things on it, over both versions.
        again(alice, &format!("{curl} -Z http://{v4}/[1-12] http://[{v6}]/[1-6]; sleep 2")),
        // Bulk both ways, and a call.
        again(
            alice,
            &format!("iperf3 -c {speed} -t 2 -b 50M >/dev/null; iperf3 -c {speed} -t 2 -R -b 50M >/dev/null"),
        ),
        again(bob, &format!("iperf3 -c {speed} -u -b 2M -l 200 --bidir -t 3 >/dev/null; sleep 1")),
        // Monitoring, and a server that is down and asked again and again.
        again(
            bob,
            &format!("ping -c 3 -i 0.3 {other} >/dev/null; ping -6 -c 3 -i 0.3 {v6} >/dev/null; sleep 1"),
        ),
        again(bob, &format!("{curl} --connect-timeout 1 http://{dead}/; sleep 1")),
        // Health checks of a good number of backends, four a second.
        again(bob, &format!("for n in $(seq 1 100); do {curl} http://20.91.1.$n:8080/; sleep 0.25; done")),
        // Logins that get as far as the banner.
        again(
            alice,
            &format!("ssh-keyscan -T 1 {other} >/dev/null 2>&1 || {curl} http://{other}:22/; sleep 3"),
        ),
    ];
    let length = Duration::from_secs(seconds("REEVE_BENIGN_SECONDS", 15));
    let end = Instant::now() + length;
    while Instant::now() < end {
        for one in &mut loops {
            assert!(one.is_running().unwrap(), "{}", one.last_lines(5));
        }
        assert!(house.violations().unwrap().is_empty(), "{:#?}", house.violations().unwrap());
        std::thread::sleep(Duration::from_millis(500).min(end.saturating_duration_since(Instant::now())));
    }
    drop(loops);
    // What is still open has had its time to be silent.
    std::thread::sleep(Duration::from_secs(4));
    let log = house.agent().unwrap().stderr();
    let alerts: Vec<&str> =
        log.lines().filter(|line| line.contains("portscan.") || line.contains("flood.")).collect();
    assert!(alerts.is_empty(), "{alerts:#?}");
    assert!(house.violations().unwrap().is_empty());
    for (tenant, visitor) in ["alice", "bob"].into_iter().zip(&visitors) {
        assert_eq!(house.status(tenant).unwrap().state, "clear");
        assert!(visitor.report().answered > 20, "{:?}", visitor.report());
    }
    let _ = writeln!(std::io::stderr(), "{} s of ordinary traffic, no alert", length.as_secs());
}
