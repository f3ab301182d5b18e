//! Limits, asked against seen: what the far side counts is what was asked for, whatever is offered beyond it.
//!
//! Each test lays several limits on one tenant, each on a port or a host of its own, offers far more to all of them at once, and prints
//! a table of what came through (`--nocapture`). What is counted begins with the first packet, so the burst is in it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on is to fail, and what was measured is to be seen"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reeve_tests::house::House;
use reeve_tests::lab::addresses::{API_V4, SPEED_V4, WEB_V4, WEB_V6};
use reeve_tests::lab::{Lab, Namespace, Process, Program, http2_clear_server};
use reeve_tests::wait::wait_until;

const SOON: Duration = Duration::from_secs(10);
const TOOL: Duration = Duration::from_secs(120);
/// How long limits by number are tried: a rate a minute needs one.
const MINUTE: Duration = Duration::from_secs(60);
/// How long limits by bytes are tried.
const STREAM_SECONDS: u32 = 20;

/// Nothing but operators' orders is to hold anybody.
const WATCH_ONLY: &str =
    "[policy]\nname = \"limits\"\nversion = 1\nextends = \"baseline\"\nmode = \"observe\"\n";

/// What one limit was asked for and what came through.
struct Row {
    what: String,
    asked: f64,
    seen: f64,
    /// How far seen may be from asked, as a share of it.
    from: f64,
    to: f64,
}

/// Prints a table, and then looks that every row is within its bounds.
fn judge(unit: &str, rows: &[Row]) {
    println!("\n{:<58} {:>12} {:>12} {:>7}", format!("limit ({unit})"), "asked", "seen", "ratio");
    for Row { what, asked, seen, .. } in rows {
        println!("{what:<58} {asked:>12.2} {seen:>12.2} {:>7.3}", seen / asked);
    }
    for Row { what, asked, seen, from, to } in rows {
        let ratio = seen / asked;
        assert!((*from..=*to).contains(&ratio), "{what}: {seen} of {asked}, not {from} to {to} times that");
    }
}

/// A house in which nobody is held but by order.
fn house() -> House {
    House::open_recorded(Lab::up().unwrap(), Some(WATCH_ONLY)).unwrap()
}

fn limit(house: &House, rate: &str, to: &[&str]) {
    let order = [&["limit", "alice", "--rate", rate], to, &["--reason", "test"]].concat();
    house.reevectl(&order).unwrap().success().unwrap();
}

/// Has the internet count what arrives, by the name of a counter and what it counts.
fn count(net: &Namespace, what: &[(String, String)]) {
    let (mut counters, mut rules) = (String::new(), String::new());
    for (name, matches) in what {
        counters += &format!("counter {name} {{ }}\n");
        rules += &format!("{matches} counter name {name}\n");
    }
    let hook = "type filter hook prerouting priority -400; policy accept;";
    net.nft(&format!("table inet seen {{\n{counters}chain arrived {{\n{hook}\n{rules}}}\n}}\n")).unwrap();
}

/// Packets and bytes (from the network header on) by counter.
fn counted(net: &Namespace) -> BTreeMap<String, (f64, f64)> {
    let listed = net.run(&["nft", "-j", "list", "counters", "table", "inet", "seen"], SOON).unwrap();
    let listed: serde_json::Value = serde_json::from_str(&listed.success().unwrap().stdout).unwrap();
    let all = listed["nftables"].as_array().unwrap().iter().filter_map(|entry| entry.get("counter"));
    all.map(|counter| {
        let number = |key: &str| counter[key].as_f64().unwrap();
        (counter["name"].as_str().unwrap().to_owned(), (number("packets"), number("bytes")))
    })
    .collect()
}

/// Takes connections on a port and closes them, until told to stop.
fn take_connections(net: &Namespace, port: u16, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let listener = net.enter(|| Ok(TcpListener::bind(("::", port))?)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            while listener.accept().is_ok() {}
            std::thread::sleep(Duration::from_millis(5));
        }
    })
}

/// Connects again and again from where it is called, with so little patience that nobody's wait is what is measured.
fn connect_on_and_on(to: IpAddr, port: u16, until: Instant) {
    while Instant::now() < until {
        let _ = TcpStream::connect_timeout(&SocketAddr::new(to, port), Duration::from_millis(100));
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn connections_are_as_many_as_asked() {
    let house = house();
    let (alice, net) = (&house.lab.alice, &house.lab.net);
    // Port, rate, how many a minute, how many connect at once.
    let by_loop: [(u16, &str, f64, usize, IpAddr); 4] = [
        (5_001, "1/second", 60.0, 2, WEB_V4.into()),
        (5_002, "1/second", 60.0, 2, WEB_V6.into()),
        (5_003, "10/minute", 10.0, 2, WEB_V4.into()),
        (5_004, "100/second", 6_000.0, 20, WEB_V4.into()),
    ];
    // Of SYNs by hping3 the same.
    let by_hping: [(u16, &str, f64, &str); 3] = [
        (5_011, "1/second", 60.0, "u50000"),
        (5_012, "10/minute", 10.0, "u50000"),
        (5_013, "100/second", 6_000.0, "u3000"),
    ];
    let ports = || by_loop.iter().map(|row| (row.0, row.1)).chain(by_hping.iter().map(|row| (row.0, row.1)));
    let opens = |port| (format!("p{port}"), format!("tcp dport {port} tcp flags & (syn | ack) == syn"));
    count(net, &ports().map(|(port, _)| opens(port)).collect::<Vec<_>>());
    let stop = Arc::new(AtomicBool::new(false));
    let takers: Vec<_> = by_loop.iter().map(|row| take_connections(net, row.0, &stop)).collect();
    for (port, rate) in ports() {
        limit(&house, rate, &["--port", &format!("tcp/{port}")]);
    }
    let (began, target) = (Instant::now(), WEB_V4.to_string());
    let hpings: Vec<Process> = by_hping
        .iter()
        .map(|(port, _, _, every)| {
            let argv = ["timeout", "60", "hping3", "-q", "-S", "-p", &port.to_string(), "-i", every, &target];
            alice.spawn(&argv).unwrap()
        })
        .collect();
    std::thread::scope(|scope| {
        for (port, _, _, threads, to) in by_loop {
            for _ in 0..threads {
                scope.spawn(move || {
                    alice
                        .enter(|| {
                            connect_on_and_on(to, port, began + MINUTE);
                            Ok(())
                        })
                        .unwrap();
                });
            }
        }
    });
    for hping in hpings {
        hping.finish(SOON).unwrap();
    }
    let seen = counted(net);
    stop.store(true, Ordering::Relaxed);
    takers.into_iter().for_each(|taker| taker.join().unwrap());
    let row = |tool: &str, port: u16, rate: &str, asked| {
        let what = format!("{rate}, {tool}");
        Row { what, asked, seen: seen[&format!("p{port}")].0, from: 0.9, to: 1.1 }
    };
    let mut rows: Vec<Row> = Vec::new();
    rows.extend(by_loop.iter().map(|(port, rate, asked, _, to)| {
        row(if to.is_ipv4() { "connect, IPv4" } else { "connect, IPv6" }, *port, rate, *asked)
    }));
    rows.extend(by_hping.iter().map(|(port, rate, asked, _)| row("hping3", *port, rate, *asked)));
    judge("connections in a minute", &rows);
}

#[test]
fn streams_are_as_fast_as_asked() {
    let house = house();
    let (alice, net) = (&house.lab.alice, &house.lab.net);
    // Mbit/s by port: of UDP twice as much is offered, TCP finds out for itself.
    let rates = [(1.0, 5_201, 5_211), (10.0, 5_202, 5_212), (100.0, 5_203, 5_213)];
    let (mut counters, target) = (Vec::new(), SPEED_V4.to_string());
    let (mut servers, mut clients) = (Vec::new(), Vec::new());
    for (mbits, udp, tcp) in rates {
        let rate = format!("{} bytes/second", (mbits * 125_000.0) as u32);
        for (protocol, port) in [("udp", udp), ("tcp", tcp)] {
            limit(&house, &rate, &["--port", &format!("{protocol}/{port}")]);
            counters.push((format!("{protocol}{port}"), format!("{protocol} dport {port}")));
            servers.push(net.spawn(&["iperf3", "-s", "-1", "-B", &target, "-p", &port.to_string()]).unwrap());
        }
    }
    count(net, &counters);
    let listening = |port: u16| net.enter(|| Ok(TcpListener::bind((SPEED_V4, port)).is_err()));
    for port in rates.iter().flat_map(|(_, udp, tcp)| [*udp, *tcp]) {
        wait_until("iperf3 to listen", SOON, || listening(port)).unwrap();
    }
    let seconds = STREAM_SECONDS.to_string();
    for (mbits, udp, tcp) in rates {
        let (udp, tcp, offered) = (udp.to_string(), tcp.to_string(), format!("{}M", mbits * 1.5));
        let base = ["iperf3", "-c", &target, "-t", &seconds, "-J"];
        let by_udp = [&base[..], &["-p", &udp, "-u", "-b", &offered, "-l", "1400"]].concat();
        let by_tcp = [&base[..], &["-p", &tcp]].concat();
        clients.push((mbits, alice.spawn(&by_udp).unwrap(), alice.spawn(&by_tcp).unwrap()));
    }
    let (mut rows, mut goodput) = (Vec::new(), Vec::new());
    for (mbits, by_udp, by_tcp) in clients {
        by_udp.finish(TOOL).unwrap().success().unwrap();
        goodput.push((mbits, by_tcp.finish(TOOL).unwrap()));
    }
    let seen = counted(net);
    for (mbits, udp, tcp) in rates {
        let per_second = |name: String| seen[&name].1 * 8.0 / 1e6 / f64::from(STREAM_SECONDS);
        let row = |what, seen, from, to| Row { what, asked: mbits, seen, from, to };
        rows.push(row(format!("{mbits} Mbit/s, UDP on the wire"), per_second(format!("udp{udp}")), 0.9, 1.1));
        rows.push(row(format!("{mbits} Mbit/s, TCP on the wire"), per_second(format!("tcp{tcp}")), 0.7, 1.1));
    }
    for (mbits, told) in goodput {
        let told: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
        let seen = told["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or_default() / 1e6;
        rows.push(Row {
            what: format!("{mbits} Mbit/s, TCP by iperf3's own count"),
            asked: mbits,
            seen,
            from: 0.7,
            to: 1.1,
        });
    }
    judge("Mbit/s", &rows);
}

/// The requests that the service counted at an address.
fn requests(service: &Process, address: &str) -> usize {
    let is_at = |line: &&str| line.split_once(' ').is_some_and(|(at, _)| at == address);
    service.stdout().lines().filter(is_at).count()
}

#[test]
fn calls_are_as_many_as_asked() {
    let house = house();
    let alice = &house.lab.alice;
    let service = Program::HttpService.serve(&house.lab).unwrap();
    let ab = |rest: &[&str], url: &str| -> Vec<String> {
        let base = ["ab", "-q", "-t", "60", "-n", "1000000", "-s", "60"];
        base.iter().chain(rest).chain(&[url]).map(|word| (*word).to_owned()).collect()
    };
    let sh = |script: &str, url: &str| -> Vec<String> {
        ["timeout", "60", "sh", "-c", script, "sh", url].map(str::to_owned).to_vec()
    };
    let curl = "while :; do curl --silent --output /dev/null --max-time 10 \"$1\"; done";
    let one = "one call a connection";
    let kept = "keep-alive";
    // Rate, calls a minute, what kind of client, its name, its command line, how far it may be off.
    type Command<'c> = &'c dyn Fn(&str) -> Vec<String>;
    let wrk = |connections: &'static str| {
        move |url: &str| -> Vec<String> {
            ["wrk", "-t1", "-c", connections, "-d60s", "--timeout", "10s", url].map(str::to_owned).to_vec()
        }
    };
    let (wrk_1, wrk_4) = (wrk("1"), wrk("4"));
    let cases: [(&str, f64, &str, &str, Command<'_>, f64, f64); 9] = [
        ("1 calls/second", 60.0, one, "ab -c4", &|url| ab(&["-c", "4"], url), 0.9, 1.1),
        ("1 calls/second", 60.0, one, "curl", &|url| sh(curl, url), 0.9, 1.1),
        ("10 calls/second", 600.0, one, "ab -c20", &|url| ab(&["-c", "20"], url), 0.9, 1.1),
        ("1 calls/second", 60.0, kept, "ab -k -c1", &|url| ab(&["-k", "-c", "1"], url), 0.8, 1.2),
        ("1 calls/second", 60.0, kept, "wrk -c1", &wrk_1, 0.8, 1.2),
        ("1 calls/second", 60.0, kept, "wrk -c4", &wrk_4, 0.8, 1.2),
        ("10 calls/second", 600.0, kept, "wrk -c4", &wrk_4, 0.8, 1.2),
        ("10 calls/minute", 10.0, kept, "wrk -c1", &wrk_1, 0.8, 1.2),
        ("1 calls/second burst 10", 60.0, kept, "wrk -c4", &wrk_4, 0.8, 1.2),
    ];
    let address = |number: usize| {
        let [a, b, c, d] = API_V4.octets();
        std::net::Ipv4Addr::from([a, b, c, d + u8::try_from(number).unwrap()]).to_string()
    };
    for (number, (rate, ..)) in cases.iter().enumerate() {
        limit(&house, rate, &["--port", "tcp/8090", "--to", &address(number)]);
    }
    let clients: Vec<Process> = cases
        .iter()
        .enumerate()
        .map(|(number, case)| {
            let argv = (case.4)(&format!("http://{}:8090/", address(number)));
            alice.spawn(&argv.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
        })
        .collect();
    for client in clients {
        client.finish(TOOL).unwrap();
    }
    let rows: Vec<Row> = cases
        .iter()
        .enumerate()
        .map(|(number, (rate, asked, kind, tool, _, from, to))| Row {
            what: format!("{rate}, {kind}, {tool}"),
            asked: *asked,
            seen: requests(&service, &address(number)) as f64,
            from: *from,
            to: *to,
        })
        .collect();
    judge("calls in a minute", &rows);
}

/// A protected service whose callers are slowed down, and closed out if that does not help them.
const LADDER: &str = "\
[policy]
name = \"ladder\"
version = 1
extends = \"baseline\"
mode = \"enforce\"

[[endpoint]]
name = \"orders\"
addresses = [\"20.90.0.1/32\"]
ports = [8445]
calls_per_second = 1
burst = 10

[[rule]]
id = \"api\"
clause = \"ladder/api\"
on = [\"api_burst\"]
ladder = [
  { action = \"limit\", scope = \"endpoint\", rate = \"1 calls/second\", until = \"1h\", grace = \"5s\" },
  { action = \"block\", scope = \"endpoint\", until = \"1h\" },
]
";

#[test]
fn who_sends_many_calls_in_one_segment_is_closed_out() {
    let mut house = House::open_recorded(Lab::up().unwrap(), Some(LADDER)).unwrap();
    let files = house.path("files");
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("order"), b"{}").unwrap();
    let _server = http2_clear_server(&house.lab, &files, 8445).unwrap();
    let url = format!("http://{API_V4}:8445/order");
    let began = Instant::now();
    // Bounded by time and not by calls: a million of them is over in five seconds where nothing holds them yet.
    let argv = ["h2load", "-D", "60", "-c", "1", "-m", "100", &url];
    let client = house.lab.alice.spawn(&argv).unwrap();
    let (limited, _) = house.wait_for_state("alice", "limited", SOON).unwrap();
    let limited_after = began.elapsed();
    assert_eq!((limited.clause.as_str(), limited.scope.as_str()), ("ladder/api", "endpoint orders"));
    let (blocked, _) = house.wait_for_state("alice", "blocked", 3 * SOON).unwrap();
    println!(
        "\nh2load, 100 calls at a time over one connection: limited after {:.1} s, closed out after {:.1} s",
        limited_after.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    assert_eq!((blocked.clause.as_str(), blocked.scope.as_str()), ("ladder/api", "endpoint orders"));
    // One episode, two steps of it.
    let violations = house.violations().unwrap();
    assert_eq!(violations.len(), 1, "{violations:#?}");
    // Nothing of the service is to be had any more, and all else is.
    let fetch = |url: &str| {
        let argv =
            ["curl", "--silent", "--http2-prior-knowledge", "--max-time", "2", "--output", "/dev/null", url];
        house.lab.alice.run(&argv, TOOL).unwrap().code()
    };
    assert_ne!(fetch(&url), Some(0));
    assert_eq!(fetch(&url.replace("20.90.0.1", "20.90.0.2")), Some(0));
    client.terminate(SOON).unwrap();
    let played = house.close_and_replay(&[]).unwrap();
    assert!(played.alerts().iter().all(|class| class == "api_burst"), "{:?}", played.alerts());
}
