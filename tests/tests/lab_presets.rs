//! What the providers' policies come to, step by step, by real tools: a story for each preset. Those of open relays are in `lab_presets_relay.rs`.
//!
//! The stories extend a preset, and where its times are long they replace a rule by one that differs from it in times alone (`quiet`, `grace`,
//! `until`): what leads to which step is the preset's, and how long its times are is shown with time as an argument, for each rule of each
//! preset, in `policy/tests/ladders`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use reeve_tests::house::{House, TENANTS};
use reeve_tests::lab::addresses::{API_V4, OTHER_V4, SPEED_V4, VICTIM_V4, WEB_V4};
use reeve_tests::lab::mail::{MailNet, Manner, exchanger};
use reeve_tests::lab::{Lab, Namespace, Process, Program};
use reeve_tests::preset::{connects, decisions, events, extending};
use reeve_tests::wait::wait_until;
use serde_json::Value;

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
    import_all(house, &format!("{TENANTS}{of_bob}"));
}

/// A file of tenants, until the node knows them.
fn import_all(house: &House, tenants: &str) {
    let known = || {
        let log = house.agent().map(Process::stderr).unwrap_or_default();
        log.matches("tenants from the controller").count()
    };
    let (path, before) = (house.path("tenants.toml"), known());
    std::fs::write(&path, tenants).unwrap();
    house.reevectl(&["tenants", "import", &path.display().to_string()]).unwrap().success().unwrap();
    wait_until("the node to know the tenants", SOON, || Ok(known() > before)).unwrap();
}

fn word<'v>(one: &'v Value, key: &str) -> &'v str {
    one[key].as_str().unwrap_or_else(|| panic!("no {key} in {one:#}"))
}

/// The notices about a tenant, oldest first.
fn notices(house: &House, tenant: &str) -> Vec<Value> {
    let told = house.ask(&["notices", "--after", "0", "--tenant", tenant]).unwrap();
    told["notices"].as_array().unwrap().clone()
}

/// Waits until the notices about a tenant are these, as `RECIPIENT LANGUAGE KIND`. Traffic is told of once a minute.
fn wait_for_told(house: &House, tenant: &str, expect: &[&str]) {
    let told = || {
        let line = |one: &Value| ["recipient", "language", "kind"].map(|key| word(one, key)).join(" ");
        notices(house, tenant).iter().map(line).collect::<Vec<_>>()
    };
    wait_until(&format!("{expect:?} to be told"), Duration::from_secs(120), || Ok(told() == expect))
        .unwrap_or_else(|error| panic!("{error:#}\n{:?}\n{}", told(), house.last_words()));
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

/// Extin's rule on spam with shorter times; the limit lasts longer than the ten seconds in which a detector tells the same but once, for a
/// burst is over in two.
const EXTIN_SPAM: &str = r#"
[[rule]]
id = "spam"
clause = "extin/spam"
on = ["spam.*"]
memory = "36500d"
known_offender = "last"
quiet = "4s"
ladder = [
  { action = "limit", scope = "tcp/25", rate = "10/minute", until = "12s", grace = "1h", notice = "warning" },
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

    house.close_and_replay(&[]).unwrap();
}

/// What holds a tenant, and until when: `CAUSE UNTIL` each.
fn holds(house: &House, tenant: &str) -> Vec<String> {
    let status = house.ask(&["status", tenant]).unwrap();
    let line = |hold: &Value| format!("{} {}", word(hold, "cause"), word(hold, "until"));
    let mut all: Vec<String> = status["holds"].as_array().unwrap().iter().map(line).collect();
    all.sort_unstable();
    all
}

#[test]
fn anycloud_suspends_who_does_not_pay_beside_abuse_and_each_is_lifted_by_itself() {
    let mut house = open(&extending("anycloud", ""));
    let order = |house: &House, arguments: &[&str]| {
        house.reevectl(arguments).unwrap().success().unwrap();
    };
    let unpaid = ["--until", "paid", "--reason", "invoice 4711 is not paid", "--clause", "anycloud/15.5"];
    order(&house, &[&["suspend", "bob"][..], &unpaid].concat());
    let status = house.wait_for_state("bob", "suspended", SOON).unwrap().0;
    assert_eq!((status.clause.as_str(), status.until.as_str()), ("anycloud/15.5", "paid"), "{status:?}");
    assert!(!reaches_the_web(&house.lab.bob) && reaches_the_web(&house.lab.alice));
    // He is told why, in the provider's language, and what opens it again.
    let told = notices(&house, "bob");
    let [notice] = &told[..] else { panic!("{told:#?}") };
    assert_eq!((word(notice, "recipient"), word(notice, "language")), ("bob", "da"), "{notice}");
    let text = word(notice, "text");
    assert!(text.contains("anycloud/15.5") && text.contains("Betal venligst"), "{text}");
    order(&house, &["paid", "bob", "--reason", "invoice 4711"]);
    house.wait_for_state("bob", "clear", SOON).unwrap();
    assert!(reaches_the_web(&house.lab.bob));

    // Beside abuse: alice floods a host, for which she is suspended, and does not pay.
    let victim = VICTIM_V4.to_string();
    let flood = ["hping3", "-q", "--icmp", "-i", "u200", "-c", "60000", &victim];
    let flood = house.lab.alice.spawn(&flood).unwrap();
    let violation = wait_for(&house, "alice", "suspended", "anycloud/22.1.vi");
    drop(flood);
    assert_eq!(decisions(&house, &violation).unwrap(), ["suspend all until released"]);
    order(&house, &[&["suspend", "alice"][..], &unpaid].concat());
    assert_eq!(holds(&house, "alice"), ["abuse released", "billing paid"]);
    // What she did is forgiven; what she owes is not.
    order(&house, &["release", "alice", "--reason", "reinstalled"]);
    assert_eq!(holds(&house, "alice"), ["billing paid"]);
    assert!(!reaches_the_web(&house.lab.alice));
    order(&house, &["paid", "alice"]);
    house.wait_for_state("alice", "clear", SOON).unwrap();
    assert!(holds(&house, "alice").is_empty() && reaches_the_web(&house.lab.alice));
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
    // It comes four seconds after the first call at the earliest, and stands for twenty: on a slow machine it may be over too soon.
    let began = Instant::now();
    let is_limited = || began.elapsed() < Duration::from_secs(23);
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
        if !is_limited() {
            break;
        }
        assert!(connections.lines().count() <= 1, "{round}: {connections}");
        std::thread::sleep(Duration::from_millis(250));
    }
    let told = calls.finish(TOOL).unwrap().success().unwrap().stdout;
    println!("{told}");
    let line = told.lines().find(|line| line.starts_with("Requests/sec")).unwrap();
    let rate: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("{line}");
    assert!(rate > 0.0 && (rate <= 1.4 || !is_limited()), "{told}");
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
fn oxygis_lets_a_permitted_scanner_scan_what_is_listed_and_nothing_else_of_its_own() {
    let mut house = open(&extending("oxygis", OXYGIS));
    // Sixteen of the 256 addresses that the policy calls the provider's own.
    let permission = "\n[[tenant.exemption]]\nclause = \"oxygis/illegal-scan\"\ntargets = [\"20.66.6.0/28\"]\n\
                      reference = \"letter of 3 May\"\nuntil = \"revoked\"\n";
    import(&house, permission);
    let bob = &house.lab.bob;
    let sweep = |hosts: &str, ports: &str| {
        let argv = ["nmap", "-n", "-Pn", "-sS", "-p", ports, "--max-retries", "0", hosts];
        bob.run(&argv, TOOL).unwrap();
    };
    let reaches = |host: &str| {
        let url = format!("http://{host}/");
        let argv = ["curl", "--silent", "--output", "/dev/null", "--max-time", "4", &url];
        bob.run(&argv, TOOL).unwrap().status.success()
    };

    // Those, many ports of one and one port of all: excused, and nothing happens.
    sweep("20.66.6.6", "1-300");
    sweep("20.66.6.0/28", "1-40");
    wait_until("the permission to be used", SOON, || Ok(!events(&house, "excused")?.is_empty())).unwrap();
    let excused = events(&house, "excused").unwrap();
    assert!(excused.iter().all(|line| line.contains("letter of 3 May")), "{excused:?}");
    assert!(house.violations().unwrap().is_empty(), "{:?}", house.violations());
    assert_eq!(house.status("bob").unwrap().state, "clear");
    assert!(reaches("20.66.6.6") && reaches("20.66.6.40"));

    // One port of those and of others of the provider's: the others are held against him, and they alone are closed to him.
    sweep("20.66.6.0-63", "81");
    let violation = wait_for(&house, "bob", "blocked", "oxygis/illegal-scan");
    assert_eq!(decisions(&house, &violation).unwrap(), ["block destinations"]);
    let told = house.ask(&["violations", "show", &violation]).unwrap();
    let targets = told["violation"]["evidence"]["targets"].as_array().unwrap();
    let named: Vec<Ipv4Addr> =
        targets.iter().map(|seen| word(&seen["target"], "address").parse().unwrap()).collect();
    println!("{named:?}");
    let is_unlisted = |host: &Ipv4Addr| host.octets()[..3] == [20, 66, 6] && host.octets()[3] >= 16;
    assert!(!named.is_empty() && named.iter().all(is_unlisted), "{told:#}");
    assert!(reaches("20.66.6.6") && !reaches(&named[0].to_string()) && reaches_the_web(bob));

    // Somebody else's is another clause.
    scan(bob, OTHER_V4, "1-300");
    wait_for(&house, "bob", "blocked", "oxygis/attack");
    house.close_and_replay(&[]).unwrap();
}

#[test]
fn oxygis_suspends_a_grave_flood() {
    let mut house = open(&extending("oxygis", OXYGIS));
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

/// Alice, and bob with a plan of 40 MB a month: customers of a reseller who reads English.
const RESOLD: &str = "parent = \"reseller\"\nquota_bytes = 40_000_000\n\
    [[tenant]]\nid = \"reseller\"\nlanguage = \"en\"\naddresses = []\n";

#[test]
fn cloud_provider_closes_port_25_to_a_mail_bomb_and_tells_of_the_plan_at_80_and_100_percent() {
    let mut house = open(&extending("cloudprovider", ""));
    let _net = MailNet::start(&house.lab, &[]).unwrap();
    let _server = house.lab.iperf3_server().unwrap();
    let of_alice = "mail_domains = [\"alice.example\"]\n";
    let tenants = TENANTS.replace(of_alice, &format!("{of_alice}parent = \"reseller\"\n"));
    import_all(&house, &format!("{tenants}{RESOLD}"));
    let speed = SPEED_V4.to_string();
    let upload = |bytes| {
        let argv = ["iperf3", "--client", &speed, "--bitrate", "50M", "--bytes", bytes];
        house.lab.bob.run(&argv, TOOL).unwrap().success().unwrap();
    };

    // Nine tenths of the plan: what harms nobody is told to the reseller alone.
    upload("33000000");
    wait_for_told(&house, "bob", &["reseller en information"]);
    // `Bob B.V.: 91 % of this month's traffic is used`.
    let percent = |number: usize| -> u32 {
        let told = notices(&house, "bob");
        let subject = word(&told[number], "subject").strip_prefix("Bob B.V.: ").unwrap();
        subject.strip_suffix(" % of this month's traffic is used").unwrap().parse().unwrap()
    };
    assert!((80..100).contains(&percent(0)), "{}", percent(0));

    // A mail bomb: port 25 is closed at once, and as it harms others, customer and reseller both hear of it.
    let is_open = |from| connects(from, exchanger(Manner::Takes, 0), 25).unwrap();
    assert!(is_open(&house.lab.alice));
    let bomb = bot(&house, &house.lab.alice, "victim@d0.example");
    let violation = wait_for(&house, "alice", "blocked", "cloudprovider/10.4");
    drop(bomb);
    assert_eq!(decisions(&house, &violation).unwrap(), ["block tcp/25"]);
    assert!(!is_open(&house.lab.alice) && is_open(&house.lab.bob), "the reseller's other customer's is open");
    assert!(reaches_the_web(&house.lab.alice));
    wait_for_told(&house, "alice", &["alice nl immediate", "reseller en immediate"]);
    let told = notices(&house, "alice");
    let (hers, resellers) = (word(&told[0], "text"), word(&told[1], "text"));
    assert!(hers.contains("cloudprovider/10.4") && hers.contains("Alice's Shop"), "{hers}");
    assert!(resellers.contains("cloudprovider/10.4") && resellers.contains("Alice's Shop"), "{resellers}");
    assert!(!hers.contains("klant bij u") && resellers.contains("customer of yours"), "{hers}\n{resellers}");

    // The whole plan: told again, and nothing is held.
    upload("10000000");
    wait_for_told(&house, "bob", &["reseller en information"; 2]);
    assert!(percent(1) >= 100, "{}", percent(1));
    assert!(reaches_the_web(&house.lab.bob) && holds(&house, "bob").is_empty());
    house.close_and_replay(&["victim"]).unwrap();
}
