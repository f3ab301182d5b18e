//! A protected service: who calls it in a crowd is slowed down to the policy's rate there and nowhere else, who calls it as agreed is left alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reeve_tests::house::House;
use reeve_tests::lab::addresses::{API_V4, SLOW_API_V4};
use reeve_tests::lab::{Lab, Namespace, Process, Program, Visitor, http2_clear_server, http2_server};

const TOOL: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);

/// The baseline with three protected services.
const POLICY: &str = "\
[policy]
name = \"services\"
version = 1
extends = \"baseline\"
mode = \"enforce\"

[[endpoint]]
name = \"orders\"
addresses = [\"20.90.0.1/32\"]
ports = [8090]
calls_per_second = 5
burst = 20
in_flight = 8
in_flight_window = \"2s\"

[[endpoint]]
name = \"prices\"
addresses = [\"20.90.0.2/32\"]
ports = [8090]
calls_per_second = 1
burst = 10

[[endpoint]]
name = \"accounts\"
addresses = [\"20.90.0.2/32\"]
ports = [8443, 8444]
calls_per_second = 1
burst = 10
";

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// The requests that the service counted at an address in a span of time.
fn requests(service: &Process, address: &str, from: Duration, to: Duration) -> usize {
    let is_one = |line: &&str| {
        let at = line.strip_prefix(address).and_then(|rest| rest.trim().parse().ok());
        at.is_some_and(|at: f64| (from.as_secs_f64()..to.as_secs_f64()).contains(&at))
    };
    service.stdout().lines().filter(is_one).count()
}

#[test]
fn a_crowd_of_calls_is_slowed_down_to_the_rate() {
    let mut house = House::open_recorded(Lab::up().unwrap(), Some(POLICY)).unwrap();
    let service = Program::HttpService.serve(&house.lab).unwrap();
    let (pages, address) = (Visitor::start(&house.lab.alice).unwrap(), API_V4.to_string());
    let url = format!("http://{address}:8090/");
    let began = now();
    let wrk = house.lab.alice.spawn(&["wrk", "-t1", "-c50", "-d14s", "--timeout", "2s", &url]).unwrap();
    let (status, _) = house.wait_for_state("alice", "limited", SOON).unwrap();
    let stands = now();
    assert_eq!(
        (status.clause.as_str(), status.scope.as_str()),
        ("baseline/api", "endpoint orders"),
        "{status:?}"
    );
    house.wait_for_violation("alice", "api_burst", SOON).unwrap();
    let told = wrk.finish(TOOL).unwrap().success().unwrap().stdout;
    let before = requests(&service, &address, began, stands);
    // What the service had been asked already it goes on with for a moment.
    let from = stands + Duration::from_millis(500);
    let after = requests(&service, &address, from, from + Duration::from_secs(10));
    println!("{before} requests until the limit stood, {after} in the ten seconds after\n{told}");
    assert!(before >= 20, "{before} requests before the limit");
    // One a second, and ten at once.
    assert!((1..=30).contains(&after), "{after} requests in ten seconds");
    let pages = pages.report();
    assert!(pages.answered > 0 && pages.failures.is_empty(), "{pages:?}");
    let violations = house.violations().unwrap();
    assert_eq!(violations.len(), 1, "{violations:#?}");
    let played = house.close_and_replay(&[]).unwrap();
    assert_eq!(played.alerts(), ["api_burst"]);
}

#[test]
fn steady_callers_stay_unnoticed() {
    let mut house = House::open_recorded(Lab::up().unwrap(), Some(POLICY)).unwrap();
    let service = Program::HttpService.serve(&house.lab).unwrap();
    let address = SLOW_API_V4.to_string();
    let began = now();
    let (alice, bob) = (&house.lab.alice, &house.lab.bob);
    let python = |namespace, scheme: &str, port, connections| {
        let arguments = [scheme, address.as_str(), port, "20", "1", connections];
        Program::HttpSteady.spawn(&house.lab, namespace, &arguments).unwrap()
    };
    let script = "for call in $(seq 20); do
        curl --silent --fail --insecure --output /dev/null --max-time 2 \"$1\" || exit 1; echo answered; sleep 1
        done";
    let curl = |namespace: &Namespace, scheme, port| {
        let url = format!("{scheme}://{address}:{port}/");
        namespace.spawn(&["sh", "-c", script, "sh", &url]).unwrap()
    };
    // One connection for all calls, or one for each; in the clear, and with TLS, whose handshakes are no calls.
    let pythons = [python(alice, "http", "8090", "one"), python(bob, "https", "8443", "each")];
    let curls = [curl(bob, "http", "8090"), curl(alice, "https", "8443")];
    for client in pythons {
        assert_eq!(client.finish(TOOL).unwrap().success().unwrap().stdout.trim(), "answered 20");
    }
    for client in curls {
        assert_eq!(client.finish(TOOL).unwrap().success().unwrap().stdout.lines().count(), 20);
    }
    assert_eq!(requests(&service, &address, began, now()), 80);
    for tenant in ["alice", "bob"] {
        assert_eq!(house.status(tenant).unwrap().state, "clear");
    }
    assert!(house.violations().unwrap().is_empty());
    let played = house.close_and_replay(&[]).unwrap();
    assert_eq!(played.count("alert"), 0, "{:?}", played.alerts());
}

#[test]
fn downloads_over_http2_are_a_call_each() {
    // With frames as long as a real node bundles them.
    let mut house = House::open_recorded(Lab::up_with_offloads().unwrap(), Some(POLICY)).unwrap();
    let files = house.path("files");
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("image"), vec![b'x'; 10_000_000]).unwrap();
    let _server = http2_server(&house.lab, &files, 8444).unwrap();
    let url = format!("https://{SLOW_API_V4}:8444/image");
    for _ in 0..3 {
        let argv = ["nghttp", "--verbose", "--no-verify-peer", "--null-out", &url];
        let told = house.lab.alice.run(&argv, TOOL).unwrap().success().unwrap().stdout;
        let updates = told.matches("send WINDOW_UPDATE").count();
        // Otherwise this says nothing.
        assert!(updates > 100 && told.contains(":status: 200"), "{updates} updates");
    }
    assert_eq!(house.status("alice").unwrap().state, "clear");
    let played = house.close_and_replay(&[]).unwrap();
    assert_eq!(played.count("alert"), 0, "{:?}", played.alerts());
}

/// Services that speak differently, one that is known by its name only, and one of which another path is meant.
const LANGUAGES: &str = "\
[policy]
name = \"languages\"
version = 1
extends = \"baseline\"
mode = \"observe\"

[[endpoint]]
name = \"plain\"
addresses = [\"20.90.0.1/32\"]
ports = [8090]
calls_per_second = 5
burst = 20

[[endpoint]]
name = \"sealed\"
addresses = [\"20.90.0.1/32\"]
ports = [8443]
calls_per_second = 5
burst = 20

[[endpoint]]
name = \"sealed-http2\"
addresses = [\"20.90.0.1/32\"]
ports = [8444]
calls_per_second = 5
burst = 20

[[endpoint]]
name = \"clear-http2\"
addresses = [\"20.90.0.1/32\"]
ports = [8445]
paths = [\"/ima\"]
calls_per_second = 5
burst = 20

[[endpoint]]
name = \"other-path\"
addresses = [\"20.90.0.2/32\"]
ports = [8445]
paths = [\"/v1/\"]
calls_per_second = 5
burst = 20

[[endpoint]]
name = \"by-name\"
hosts = [\"*.api.example\"]
ports = [8444, 8445]
calls_per_second = 1
burst = 5
";

#[test]
fn calls_are_told_in_whatever_is_spoken() {
    let mut house = House::open_recorded(Lab::up().unwrap(), Some(LANGUAGES)).unwrap();
    let _service = Program::HttpService.serve(&house.lab).unwrap();
    let files = house.path("files");
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("image"), vec![b'x'; 2_000]).unwrap();
    let _sealed = http2_server(&house.lab, &files, 8444).unwrap();
    let _clear = http2_clear_server(&house.lab, &files, 8445).unwrap();
    let (alice, bob) = (&house.lab.alice, &house.lab.bob);
    let run = |namespace: &Namespace, line: &str| {
        let done = namespace.run(&["sh", "-c", line], TOOL).unwrap().success().unwrap();
        println!("{line}\n{}", done.stdout.lines().take(12).collect::<Vec<_>>().join("\n"));
    };
    run(alice, "wrk -t1 -c4 -d3s --timeout 2s http://20.90.0.1:8090/");
    run(alice, "ab -q -n 150 -c 10 -H 'Connection: close' https://20.90.0.1:8443/");
    run(alice, "h2load -n 300 -c 2 -m 10 https://20.90.0.1:8444/image");
    run(alice, "h2load -n 300 -c 2 -m 10 http://20.90.0.1:8445/image");
    run(alice, "h2load -n 300 -c 2 -m 10 http://20.90.0.2:8445/image");
    // A name that TLS says when it begins, at an address that nobody told of, and in the clear; another name there means nothing.
    let by_name = |name: &str, scheme, port, times| {
        let script = format!(
            "for call in $(seq {times}); do curl --silent --fail --insecure --output /dev/null --max-time 2 \
             --http2-prior-knowledge --resolve {name}:{port}:20.99.1.2 {scheme}://{name}:{port}/image || exit 1; done"
        );
        bob.run(&["sh", "-c", &script], TOOL).unwrap().success().unwrap();
    };
    by_name("www.example", "https", 8444, 15);
    by_name("v1.api.example", "https", 8444, 15);
    by_name("v2.api.example", "http", 8445, 15);
    house.wait_for_violation("alice", "api_burst", SOON).unwrap();
    house.wait_for_violation("bob", "api_burst", SOON).unwrap();
    let played = house.close_and_replay(&[]).unwrap();
    let told = |event: &serde_json::Value| -> Vec<String> {
        let metrics = event.pointer("/alert/metrics").or_else(|| event.get("metrics"));
        let names = metrics.and_then(serde_json::Value::as_array).into_iter().flatten();
        names
            .filter_map(|metric| metric["name"].as_str()?.strip_prefix("calls_at_").map(str::to_owned))
            .collect()
    };
    let told: BTreeSet<String> = played.events.iter().flat_map(told).collect();
    assert_eq!(Vec::from_iter(told), ["by-name", "clear-http2", "plain", "sealed", "sealed-http2"]);
}
