//! Suspension and release, looked at from the internet: not one packet, then all of them again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::time::{Duration, Instant};

use reeve_tests::house::House;
use reeve_tests::lab::addresses::{ALICE, BOB, INTERNET_INTERFACE, VICTIM_V4, WEB_V4, WEB_V6};
use reeve_tests::lab::{Lab, Sniffer};

const TOOL: Duration = Duration::from_secs(60);

/// Everything that alice can think of, over both versions: none of it may succeed or come through.
fn try_everything(house: &House) {
    let (v4, v6) = (WEB_V4.to_string(), WEB_V6.to_string());
    let tries: [&[&str]; 7] = [
        &["curl", "--silent", "--max-time", "1", &format!("http://{v4}/")],
        &["curl", "--silent", "--max-time", "1", &format!("http://[{v6}]/")],
        &["ping", "-c", "5", "-i", "0.2", "-W", "1", &v4],
        &["ping", "-6", "-c", "5", "-i", "0.2", "-W", "1", &v6],
        &["hping3", "-q", "--udp", "-p", "53", "-i", "u2000", "-c", "200", &v4],
        &["hping3", "-q", "-S", "-p", "80", "-i", "u2000", "-c", "200", &v4],
        &["hping3", "-q", "-S", "--frag", "-d", "64", "-p", "80", "-i", "u2000", "-c", "50", &v4],
    ];
    for argv in tries {
        house.lab.alice.run(argv, TOOL).unwrap();
    }
    // With sources that are not hers: it still comes in by her port.
    for source in ["198.51.100.9", "20.1.1.1", "203.0.113.138"] {
        let argv = ["hping3", "-q", "-S", "-a", source, "-p", "80", "-i", "u2000", "-c", "50", &v4];
        house.lab.alice.run(&argv, TOOL).unwrap();
    }
}

#[test]
fn a_scanner_is_cut_off_and_comes_back_when_released() {
    let house = House::open(Lab::up().unwrap()).unwrap();
    let victim = VICTIM_V4.to_string();
    let argv = ["nmap", "-n", "-Pn", "-sS", "-p", "1-300", "--max-retries", "0", &victim];
    house.lab.alice.run(&argv, TOOL).unwrap();
    house.wait_for_state("alice", "suspended", Duration::from_secs(5)).unwrap();
    for subject in ["alice", "203.0.113.10", "2001:db8:10::10", "2001:db8:10::ffff", "rt/tap1"] {
        let status = house.status(subject).unwrap();
        assert_eq!((status.tenant.as_str(), status.state.as_str()), ("alice", "suspended"), "{subject}");
        assert_eq!(
            (status.clause.as_str(), status.until.as_str()),
            ("baseline/portscan", "released"),
            "{subject}"
        );
        assert!(!status.since.is_empty() && status.reason.contains("portscan"), "{status:?}");
    }

    // Why, as the agent wrote it down and the controller kept it.
    let scan = house.violations().unwrap().into_iter().find(|one| one.tenant == "alice").unwrap();
    let told = house.ask(&["explain", &scan.id]).unwrap();
    let reckoning = &told["decisions"][0]["reckoning"];
    assert_eq!((&reckoning["cause"], &reckoning["history"]["strikes"]), (&"strikes".into(), &1.into()));
    assert_eq!(reckoning["numbers"][0]["from"], "detector", "{told}");
    let limit = format!("limit {}", reckoning["numbers"][0]["limit"].as_f64().unwrap());
    let text = house.reevectl(&["explain", &scan.id]).unwrap().stdout;
    assert!(text.contains(&limit) && text.contains("what would have changed it"), "{text}");

    let spoofed = ["198.51.100.9", "20.1.1.1", "203.0.113.138"].map(|text| text.parse().unwrap());
    let sources = [&ALICE[..], &spoofed].concat();
    let witness = Sniffer::start(&house.lab.net, INTERNET_INTERFACE, &sources).unwrap();
    try_everything(&house);
    assert_eq!(witness.count(&sources).unwrap(), 0, "{:?}", witness.headers().unwrap().first());
    // The witness sees: bob's page is fetched, and comes by.
    let bob = Sniffer::start(&house.lab.net, INTERNET_INTERFACE, &BOB).unwrap();
    let url = format!("http://{WEB_V4}/");
    house.lab.bob.run(&["curl", "--silent", "--max-time", "2", &url], TOOL).unwrap().success().unwrap();
    assert!(bob.count(&BOB).unwrap() > 0);

    let began = Instant::now();
    house.reevectl(&["release", "alice", "--reason", "reinstalled"]).unwrap().success().unwrap();
    house.lab.alice.run(&["curl", "--silent", "--max-time", "2", &url], TOOL).unwrap().success().unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "back after {took:?}");
    let url = format!("http://[{WEB_V6}]/");
    house.lab.alice.run(&["curl", "--silent", "--max-time", "2", &url], TOOL).unwrap().success().unwrap();
    assert_eq!(house.status("alice").unwrap().state, "clear");
}

#[test]
fn an_operator_suspends_for_a_time_and_unknown_tenants_are_told() {
    let house = House::open(Lab::up().unwrap()).unwrap();
    house.reevectl(&["suspend", "bob", "--reason", "unpaid", "--for", "3s"]).unwrap().success().unwrap();
    let status = house.status("bob").unwrap();
    assert_eq!((status.state.as_str(), status.reason.as_str()), ("suspended", "unpaid"));
    assert!(status.until.ends_with('Z'), "{status:?}");
    let url = format!("http://{WEB_V4}/");
    let curl = ["curl", "--silent", "--max-time", "1", url.as_str()];
    assert!(!house.lab.bob.run(&curl, TOOL).unwrap().status.success());
    house.wait_for_state("bob", "clear", Duration::from_secs(10)).unwrap();
    house.lab.bob.run(&curl, TOOL).unwrap().success().unwrap();
    for argv in [["status", "carol"], ["release", "carol"], ["status", "192.0.2.200"]] {
        let finished = house.reevectl(&argv).unwrap();
        assert_eq!(finished.code(), Some(3), "{argv:?}: {}", finished.text());
    }
}

#[test]
fn measures_outlive_a_killed_agent_and_a_controller_that_is_away() {
    let mut house = House::open(Lab::up().unwrap()).unwrap();
    house.reevectl(&["suspend", "alice", "--reason", "test"]).unwrap().success().unwrap();
    house.kill_agent().unwrap();
    let url = format!("http://{WEB_V4}/");
    let curl = ["curl", "--silent", "--max-time", "1", url.as_str()];
    assert!(!house.lab.alice.run(&curl, TOOL).unwrap().status.success());
    house.start_agent().unwrap();
    assert!(!house.lab.alice.run(&curl, TOOL).unwrap().status.success());
    assert_eq!(house.status("alice").unwrap().state, "suspended");

    // With the controller away the agent decides alone, and tells when it is back.
    house.reevectl(&["release", "alice"]).unwrap().success().unwrap();
    house.stop_controller().unwrap();
    let victim = VICTIM_V4.to_string();
    let argv = ["nmap", "-n", "-Pn", "-sS", "-p", "1-300", "--max-retries", "0", &victim];
    house.lab.alice.run(&argv, TOOL).unwrap();
    assert!(!house.lab.alice.run(&curl, TOOL).unwrap().status.success());
    house.start_controller().unwrap();
    // The greeting says at once what stands in the kernel; what led to it follows.
    house.wait_for_state("alice", "suspended", Duration::from_secs(60)).unwrap();
    house.wait_for_violation("alice", "portscan.vertical", Duration::from_secs(10)).unwrap();
    assert_eq!(house.violations().unwrap().iter().filter(|violation| violation.state == "open").count(), 1);
}
