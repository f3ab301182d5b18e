//! What the providers' policies come to, step by step, by real tools: a story for each preset. Those of open relays are in `lab_presets_relay.rs`.
//!
//! The stories extend a preset, and where its times are long they replace a rule by one that differs from it in times alone (`quiet`, `grace`,
//! `until`): what leads to which step is the preset's, and how long its times are is shown with time as an argument, for each rule of each
//! preset, in `policy/tests/ladders`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::net::Ipv4Addr;
use std::time::Duration;

use reeve_tests::house::{House, TENANTS};
use reeve_tests::lab::addresses::{API_V4, OTHER_V4, VICTIM_V4, WEB_V4};
use reeve_tests::lab::mail::{MailNet, Manner, exchanger};
use reeve_tests::lab::{Lab, Namespace, Process, Program};
use reeve_tests::preset::{decisions, events, extending};
use reeve_tests::wait::wait_until;

const TOOL: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(40);

fn open(policy: &str) -> House {
    House::open_recorded(Lab::up().unwrap(), Some(policy)).unwrap()
}

/// Scans ports of a host.
fn scan(from: &Namespace, host: Ipv4Addr, ports: &str) {
    scan_by("-sS", from, host, ports);
}

fn scan_by(kind: &str, from: &Namespace, host: Ipv4Addr, ports: &str) {
    let host = host.to_string();
    let argv = ["nmap", "-n", "-Pn", kind, "-p", ports, "--max-retries", "0", &host];
    from.run(&argv, TOOL).unwrap();
}

/// Sends mail to sixty exchangers until it is stopped.
fn bot(house: &House, from: &Namespace, recipient: &str) -> Process {
    let servers: Vec<String> = (0..60).map(|place| exchanger(Manner::Takes, place).to_string()).collect();
    let mut arguments = vec!["--recipient", recipient, "--threads", "4", "--patience", "2", "--server"];
    arguments.extend(servers.iter().map(String::as_str));
    arguments.extend(["--messages", "1000", "--seconds", "30"]);
    Program::MailSend.spawn(&house.lab, from, &arguments).unwrap()
}

/// Waits until a tenant stands so under a clause, and gives the violation.
fn wait_for(house: &House, tenant: &str, state: &str, clause: &str) -> String {
    let held = || {
        let status = house.status(tenant)?;
        Ok((status.state == state && status.clause == clause).then_some(status.violation))
    };
    let what = format!("{tenant} to be {state} under {clause}");
    let found = reeve_tests::wait::wait_for(&what, SOON, held);
    found.unwrap_or_else(|error| panic!("{error:#}\n{}", house.last_words())).0
}

/// Waits until a violation is over, so that what comes next is another strike.
fn wait_for_quiet(house: &House, violation: &str) {
    let is_quiet = || {
        let told = house.ask(&["violations", "show", violation])?;
        Ok(told["violation"]["state"] == "quiet")
    };
    wait_until("the violation to be over", SOON, is_quiet).unwrap();
}

/// Lets a tenant go, and waits until it has gone.
fn release(house: &House, tenant: &str) {
    house.reevectl(&["release", tenant]).unwrap().success().unwrap();
    house.wait_for_state(tenant, "clear", SOON).unwrap();
}

/// The tenants with more in bob's entry, until the node knows of it.
fn import(house: &House, of_bob: &str) {
    let known = || {
        let log = house.agent().map(Process::stderr).unwrap_or_default();
        log.matches("tenants from the controller").count()
    };
    let (path, before) = (house.path("tenants.toml"), known());
    std::fs::write(&path, format!("{TENANTS}{of_bob}")).unwrap();
    house.reevectl(&["tenants", "import", &path.display().to_string()]).unwrap().success().unwrap();
    wait_until("the node to know the tenants", SOON, || Ok(known() > before)).unwrap();
}

fn reaches_the_web(from: &Namespace) -> bool {
    let url = format!("http://{WEB_V4}/");
    let argv = ["curl", "--silent", "--output", "/dev/null", "--max-time", "4", &url];
    from.run(&argv, TOOL).unwrap().status.success()
}

#[test]
fn baseline_suspends_a_scanner_until_released() {
    let mut house = open(&extending("baseline", ""));
    scan(&house.lab.alice, VICTIM_V4, "1-300");
    let violation = wait_for(&house, "alice", "suspended", "baseline/portscan");
    assert_eq!(decisions(&house, &violation).unwrap(), ["suspend all until released"]);
    assert!(!reaches_the_web(&house.lab.alice) && reaches_the_web(&house.lab.bob));
    release(&house, "alice");
    assert!(reaches_the_web(&house.lab.alice));
    house.close_and_replay(&[]).unwrap();
}

/// Extin's rule on spam with shorter times.
const EXTIN_SPAM: &str = r#"
[[rule]]
id = "spam"
clause = "extin/spam"
on = ["spam.*"]
memory = "36500d"
known_offender = "last"
quiet = "4s"
ladder = [
  { action = "limit", scope = "tcp/25", rate = "10/minute", until = "8s", grace = "1h", notice = "warning" },
  { action = "suspend", scope = "all", until = "released", notice = "final" },
]
"#;

#[test]
fn extin_warns_a_spammer_once_and_nobody_else() {
    let mut house = open(&extending("extin", EXTIN_SPAM));
    let _net = MailNet::start(&house.lab, &[]).unwrap();
    // Bob is known for it.
    import(&house, "known_offender = [\"spam.*\"]\n");
    let spam = |from| bot(&house, from, "victim{n}@d{n}.example");

    // The first burst: one warning, and a limit.
    let burst = spam(&house.lab.alice);
    let first = wait_for(&house, "alice", "limited", "extin/spam");
    drop(burst);
    assert!(reaches_the_web(&house.lab.alice), "nothing but mail is held");
    wait_for_quiet(&house, &first);
    house.wait_for_state("alice", "clear", SOON).unwrap();
    assert_eq!(decisions(&house, &first).unwrap(), ["limit tcp/25"]);
    // The second: closed.
    let burst = spam(&house.lab.alice);
    let second = wait_for(&house, "alice", "suspended", "extin/spam");
    drop(burst);
    assert_ne!(first, second);
    assert_eq!(decisions(&house, &second).unwrap(), ["suspend all until released"]);
    assert!(!reaches_the_web(&house.lab.alice));
    release(&house, "alice");

    // A known spammer: closed at once.
    let burst = spam(&house.lab.bob);
    let known = wait_for(&house, "bob", "suspended", "extin/spam");
    drop(burst);
    assert_eq!(decisions(&house, &known).unwrap(), ["suspend all until released"]);

    // A scan: suspended at once, and no time ends it.
    scan(&house.lab.alice, VICTIM_V4, "1-300");
    let scanned = wait_for(&house, "alice", "suspended", "extin/portscan");
    assert_eq!(decisions(&house, &scanned).unwrap(), ["suspend all until released"]);
    release(&house, "alice");
    assert!(reaches_the_web(&house.lab.alice));
    house.close_and_replay(&["victim"]).unwrap();
}

/// any.cloud's rule on scans, the violations of which are over sooner.
const ANYCLOUD_SCAN: &str = r#"
[[rule]]
id = "scan"
clause = "anycloud/22.1.ix"
also = ["anycloud/22.1.v", "anycloud/22.1.ii"]
on = ["portscan.*"]
quiet = "3s"
ladder = [
  { action = "block", scope = "dst", until = "24h" },
  { action = "suspend", scope = "all", until = "released" },
]
"#;

#[test]
fn anycloud_blocks_what_is_scanned_and_suspends_on_repeat() {
    let mut house = open(&extending("anycloud", ANYCLOUD_SCAN));
    scan(&house.lab.alice, VICTIM_V4, "1-300");
    let first = wait_for(&house, "alice", "blocked", "anycloud/22.1.ix");
    assert!(reaches_the_web(&house.lab.alice), "the host that was scanned is blocked, and nothing else");
    wait_for_quiet(&house, &first);
    assert_eq!(decisions(&house, &first).unwrap(), ["block destinations"]);
    // Another host, and another kind of scan: one of the same kind within a minute would be told as the same.
    scan_by("-sF", &house.lab.alice, OTHER_V4, "1-300");
    let second = wait_for(&house, "alice", "suspended", "anycloud/22.1.ix");
    assert_eq!(decisions(&house, &second).unwrap(), ["suspend all until released"]);
    assert!(!reaches_the_web(&house.lab.alice));
    release(&house, "alice");

    // Billing suspends by the same way, and lets go when it was paid.
    let reason = ["--reason", "invoice 4711 is not paid", "--clause", "anycloud/15.5"];
    house.reevectl(&[&["suspend", "bob"][..], &reason].concat()).unwrap().success().unwrap();
    let status = house.wait_for_state("bob", "suspended", SOON).unwrap().0;
    assert_eq!((status.clause.as_str(), status.until.as_str()), ("anycloud/15.5", "released"), "{status:?}");
    assert!(!reaches_the_web(&house.lab.bob));
    release(&house, "bob");
    assert!(reaches_the_web(&house.lab.bob));
    house.close_and_replay(&[]).unwrap();
}

/// Oxygis with a service of its own, and its rule on calls with shorter times.
const OXYGIS: &str = r#"
[networks]
own = ["20.66.6.0/24"]

[[endpoint]]
name = "orders"
addresses = ["20.90.0.1/32"]
ports = [8090]
calls_per_second = 5
burst = 20

[[rule]]
id = "api"
clause = "oxygis/api"
also = ["oxygis/automation", "oxygis/consequence"]
on = ["api_burst"]
notice_first = true
grace = "4s"
severe = { times = 50, step = 2 }
ladder = [
  { action = "limit", scope = "endpoint", rate = "1 calls/second burst 1", connections = 1, until = "20s", grace = "16s" },
  { action = "block", scope = "endpoint", until = "24h" },
]
"#;

#[test]
fn oxygis_asks_callers_first_then_slows_them_down_then_closes_the_endpoint() {
    let settings = "\n[enforcement]\nconntrack = true\n";
    let mut house = House::open_with(Lab::up().unwrap(), &extending("oxygis", OXYGIS), settings).unwrap();
    let _service = Program::HttpService.serve(&house.lab).unwrap();
    let (alice, url) = (&house.lab.alice, format!("http://{API_V4}:8090/"));
    let burst = || alice.spawn(&["wrk", "-t1", "-c2", "-d60s", "--timeout", "2s", &url]).unwrap();
    let calls = burst();
    let violation = wait_for(&house, "alice", "warned", "oxygis/api");
    // Still bursting when there was time to mend it.
    wait_for(&house, "alice", "limited", "oxygis/api");
    drop(calls);
    // One call a second, by the tool's own account. A slow machine makes it slower, never faster.
    let argv = ["wrk", "-t1", "-c4", "-d12s", "--timeout", "12s", &url];
    let calls = alice.spawn(&argv).unwrap();
    // Of the four that it opens one is answered; the others' calls come from nobody.
    let established = || {
        let argv = ["ss", "-H", "-t", "-n", "state", "established", "dport", "=", ":8090"];
        alice.run(&argv, TOOL).unwrap().success().unwrap().stdout
    };
    wait_until("one connection to stand", SOON, || Ok(established().lines().count() == 1)).unwrap();
    for round in 0..20 {
        let connections = established();
        assert!(connections.lines().count() <= 1, "{round}: {connections}");
        std::thread::sleep(Duration::from_millis(250));
    }
    let told = calls.finish(TOOL).unwrap().success().unwrap().stdout;
    println!("{told}");
    let line = told.lines().find(|line| line.starts_with("Requests/sec")).unwrap();
    let rate: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("{line}");
    assert!(rate > 0.0 && rate <= 1.4, "{told}");
    // Again, when the limit has ended: closed.
    let calls = burst();
    wait_for(&house, "alice", "blocked", "oxygis/api");
    drop(calls);
    assert_eq!(
        decisions(&house, &violation).unwrap(),
        ["notify all", "limit endpoint orders", "block endpoint orders"]
    );
    let argv = ["curl", "--silent", "--output", "/dev/null", "--max-time", "3", &url];
    assert!(!alice.run(&argv, TOOL).unwrap().status.success(), "the endpoint is closed");
    assert!(reaches_the_web(alice), "and nothing else");
    house.close_and_replay(&[]).unwrap();
}

#[test]
fn oxygis_suspends_a_grave_flood_and_lets_a_permitted_scanner_scan_what_is_listed() {
    let mut house = open(&extending("oxygis", OXYGIS));
    let permission = "\n[[tenant.exemption]]\nclause = \"oxygis/illegal-scan\"\ntargets = [\"20.66.6.0/24\"]\n\
                      reference = \"letter of 3 May\"\nuntil = \"revoked\"\n";
    import(&house, permission);
    let excused = || Ok(!events(&house, "excused")?.is_empty());
    wait_until("the permission to be known and used", SOON, || {
        scan(&house.lab.bob, VICTIM_V4, "1-100");
        excused()
    })
    .unwrap();
    assert_eq!(house.status("bob").unwrap().state, "clear", "the listed host may be scanned");
    scan(&house.lab.bob, OTHER_V4, "1-300");
    wait_for(&house, "bob", "blocked", "oxygis/attack");

    // Ten times its number is serious.
    let victim = VICTIM_V4.to_string();
    let flood = ["hping3", "-q", "--icmp", "-i", "u200", "-c", "60000", &victim];
    let flood = house.lab.alice.spawn(&flood).unwrap();
    let violation = wait_for(&house, "alice", "suspended", "oxygis/flood");
    drop(flood);
    let last = decisions(&house, &violation).unwrap().pop();
    assert_eq!(last.as_deref(), Some("suspend all until released"));
    assert!(!reaches_the_web(&house.lab.alice));
    house.close_and_replay(&[]).unwrap();
}

#[test]
fn cloud_provider_closes_port_25_to_a_mail_bomb() {
    let mut house = open(&extending("cloudprovider", ""));
    let _net = MailNet::start(&house.lab, &[]).unwrap();
    let bomb = bot(&house, &house.lab.alice, "victim@d0.example");
    let violation = wait_for(&house, "alice", "blocked", "cloudprovider/10.4");
    drop(bomb);
    assert_eq!(decisions(&house, &violation).unwrap(), ["block tcp/25"]);
    let server = exchanger(Manner::Takes, 0).to_string();
    let knock = ["nc", "-z", "-w", "2", server.as_str(), "25"];
    assert!(!house.lab.alice.run(&knock, TOOL).unwrap().status.success());
    assert!(reaches_the_web(&house.lab.alice));
    house.close_and_replay(&["victim"]).unwrap();
}
