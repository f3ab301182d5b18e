//! Real tools, each taken for what it is: the table of tool, verdict and time. `--nocapture` shows it.
//!
//! Every tool runs in a home of its own on a node that observes, many at the same time, against an internet in which hosts refuse (20/8),
//! exist one in four (51/8), answer on a few ports only (104/8) or are not there at all (185/8); and each is bounded in count and time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::io::Write as _;
use std::time::Duration;

use reeve_tests::lab::Program;
use reeve_tests::street::{Expected, Row, run_table};

/// How many tools run at once, and how long each may at most.
const AT_ONCE: usize = 12;
const LONGEST: Duration = Duration::from_secs(30);

const SCAN: &[&str] = &["portscan."];
const STEALTH: &[&str] = &["portscan.stealth"];
/// Two hundred half-open connections a second to one host are a flood too, whatever they are for.
const FLOOD: &[&str] = &["flood.syn"];
const SPOOFED: &[&str] = &["spoof.source"];

const fn row(id: &'static str, line: &'static str, expected: Expected) -> Row {
    Row { id, line, expected, profile: "" }
}

const fn scan(id: &'static str, line: &'static str) -> Row {
    row(id, line, Expected::AnyBeside(SCAN, FLOOD))
}

const SCANS: &[Row] = &[
    // One host's ports, by every kind of probe.
    scan("nmap-sS-refused", "nmap -n -Pn -sS -p 1-300 --max-retries 0 20.66.@n.6"),
    scan("nmap-sS-filtered", "nmap -n -Pn -sS -p 1-200 --max-retries 0 104.66.@n.6"),
    scan("nmap-sS-dead", "nmap -n -Pn -sS -p 1-200 --max-retries 0 185.66.@n.6"),
    scan("nmap-sT", "nmap -n -Pn -sT -p 1-300 --max-retries 0 20.66.@n.6"),
    scan("nmap-sU", "nmap -n -Pn -sU -p 1-300 --max-retries 0 20.66.@n.6"),
    scan("nmap-sU-dead", "nmap -n -Pn -sU -p 1-200 --max-retries 0 185.66.@n.6"),
    row("nmap-sN", "nmap -n -Pn -sN -p 1-100 --max-retries 0 20.66.@n.6", Expected::AnyBeside(STEALTH, SCAN)),
    row("nmap-sF", "nmap -n -Pn -sF -p 1-100 --max-retries 0 20.66.@n.6", Expected::AnyBeside(STEALTH, SCAN)),
    row("nmap-sX", "nmap -n -Pn -sX -p 1-100 --max-retries 0 20.66.@n.6", Expected::AnyBeside(STEALTH, SCAN)),
    row("nmap-sM", "nmap -n -Pn -sM -p 1-100 --max-retries 0 20.66.@n.6", Expected::AnyBeside(STEALTH, SCAN)),
    row("nmap-sA", "nmap -n -Pn -sA -p 1-100 --max-retries 0 20.66.@n.6", Expected::AnyBeside(STEALTH, SCAN)),
    row("nmap-sW", "nmap -n -Pn -sW -p 1-100 --max-retries 0 20.66.@n.6", Expected::AnyBeside(STEALTH, SCAN)),
    row(
        "nmap-sO",
        "nmap -n -Pn -sO --max-retries 0 --max-rate 60 20.66.@n.6",
        Expected::AnyBeside(STEALTH, SCAN),
    ),
    scan("nmap-sY", "nmap -n -Pn -sY -p 1-200 --max-retries 0 20.66.@n.6"),
    // Many hosts.
    scan("nmap-sweep-22", "nmap -n -Pn -sS -p 22 --max-retries 0 51.7.@n.0/24"),
    scan("nmap-sweep-8443-refused", "nmap -n -Pn -sS -p 8443 --max-retries 0 20.9.@n.0/24"),
    scan(
        "nmap-sweep-80-all-answer",
        "nmap -n -Pn -sS -p 80 --max-retries 0 --max-rate 60 20.90.@n.0/24 20.91.@n.0/24",
    ),
    scan("nmap-sweep-udp-161", "nmap -n -Pn -sU -p 161 --max-retries 0 51.7.@n.0/24"),
    scan("nmap-sweep-sctp", "nmap -n -Pn -sY -p 2905 --max-retries 0 51.7.@n.0/24"),
    scan("nmap-block", "nmap -n -Pn -sS -p 22,23,80,443,3389 --max-retries 0 51.7.@n.0-40"),
    scan("nmap-sn", "nmap -n -sn --max-retries 0 51.7.@n.0/24"),
    scan("nmap-sn-echo", "nmap -n -sn -PE --max-retries 0 51.7.@n.0/24"),
    scan("nmap-sn-dead", "nmap -n -sn -PE --max-retries 0 185.7.@n.0/24"),
    scan("nmap-PR", "nmap -n -sn -PR --max-retries 0 45.10.@n.0/24"),
    // Patience and haste.
    scan("nmap-T2", "nmap -n -Pn -sS -T2 -p 1-60 --max-retries 0 20.66.@n.6"),
    scan("nmap-T3", "nmap -n -Pn -sS -T3 -p 1-200 --max-retries 0 20.66.@n.6"),
    scan("nmap-T4", "nmap -n -Pn -sS -T4 -p 1-500 --max-retries 0 20.66.@n.6"),
    scan("nmap-T5", "nmap -n -Pn -sS -T5 -p 1-1000 --max-retries 0 20.66.@n.6"),
    // IPv6.
    scan("nmap6-sS", "nmap -6 -n -Pn -sS -p 1-300 --max-retries 0 2001:db8:f000::@n:6"),
    scan("nmap6-sT", "nmap -6 -n -Pn -sT -p 1-300 --max-retries 0 2001:db8:f000::@n:6"),
    scan("nmap6-sU", "nmap -6 -n -Pn -sU -p 1-300 --max-retries 0 2001:db8:f000::@n:6"),
    row(
        "nmap6-sF",
        "nmap -6 -n -Pn -sF -p 1-100 --max-retries 0 2001:db8:f000::@n:6",
        Expected::AnyBeside(STEALTH, SCAN),
    ),
    scan("nmap6-sweep-22-dead", "nmap -6 -n -Pn -sS -p 22 --max-retries 0 2001:db8:fdea::@n:0/120"),
    scan("nmap6-sweep-8443", "nmap -6 -n -Pn -sS -p 8443 --max-retries 0 2001:db8:f000::@n:0/120"),
    scan("nmap6-sn", "nmap -6 -n -sn -PE --max-retries 0 2001:db8:fdea::@n:0/120"),
    scan("nmap6-neighbours", "nmap -6 -n -sn --max-retries 0 @net61000/120"),
    // Hiding.
    row(
        "nmap-decoys",
        "nmap -n -Pn -sS -D 45.10.200.7,45.10.201.9,45.10.202.4,ME -p 1-200 --max-retries 0 20.66.@n.6",
        Expected::AnyBeside(SCAN, SPOOFED),
    ),
    row(
        "nmap-decoys-own-link",
        "nmap -n -Pn -sS -D 45.10.@n.77,45.10.@n.78,ME -p 1-200 --max-retries 0 20.66.@n.6",
        Expected::AnyBeside(SCAN, SPOOFED),
    ),
    row(
        "nmap-foreign-source",
        "ip addr add 45.10.250.9/32 dev eth0; nmap -n -Pn -sS -S 45.10.250.9 -e eth0 -p 1-200 --max-retries 0 20.66.@n.6",
        Expected::Any(&["spoof.source", "portscan."]),
    ),
    scan("nmap-fragments", "nmap -n -Pn -sS -f -p 1-200 --max-retries 0 20.66.@n.6"),
    scan("nmap-fragments-16", "nmap -n -Pn -sS -ff -p 1-200 --max-retries 0 20.66.@n.6"),
    scan("nmap-source-port-53", "nmap -n -Pn -sS -g 53 -p 1-200 --max-retries 0 20.66.@n.6"),
    scan("nmap-sU-source-port-53", "nmap -n -Pn -sU -g 53 -p 1-300 --max-retries 0 20.66.@n.6"),
    scan("nmap-short-ttl", "nmap -n -Pn -sS --ttl 7 -p 1-200 --max-retries 0 20.66.@n.6"),
    scan("nmap-padded", "nmap -n -Pn -sS --data-length 48 -p 1-200 --max-retries 0 20.66.@n.6"),
    scan("nmap-badsum", "nmap -n -Pn -sS --badsum -p 1-200 --max-retries 0 20.66.@n.6"),
    scan("nmap-random-hosts", "nmap -n -Pn -sS -p 22,8443 --randomize-hosts --max-retries 0 51.7.@n.0/25"),
    scan("nmap-idle-flags", "nmap -n -Pn --scanflags SYNFIN -p 1-200 --max-retries 0 20.66.@n.6"),
    // Other scanners.
    scan(
        "masscan-22",
        "masscan 51.7.@n.0/24 51.8.@n.0/24 -p22 --rate 80 --wait 1 --seed 7 -e eth0 --adapter-ip @ip --adapter-mac @mac --router-mac @gwmac",
    ),
    scan(
        "masscan-ports",
        "masscan 20.66.@n.6 -p1-500 --rate 80 --wait 1 --seed 7 -e eth0 --adapter-ip @ip --adapter-mac @mac --router-mac @gwmac",
    ),
    scan(
        "masscan-block",
        "masscan 20.67.@n.0/26 -p21-29,8000-8009 --rate 80 --wait 1 --seed 7 -e eth0 --adapter-ip @ip --adapter-mac @mac --router-mac @gwmac",
    ),
    scan(
        "masscan-udp",
        "masscan 51.7.@n.0/24 51.8.@n.0/24 -pU:161 --rate 80 --wait 1 --seed 7 -e eth0 --adapter-ip @ip --adapter-mac @mac --router-mac @gwmac",
    ),
    scan(
        "masscan-slow",
        "masscan 51.7.@n.0/24 -p23 --rate 4 --wait 1 --seed 7 -e eth0 --adapter-ip @ip --adapter-mac @mac --router-mac @gwmac",
    ),
    scan(
        "zmap-443",
        "zmap -q -p 443 -r 80 -n 500 --seed=7 -i eth0 -S @ip -G @gwmac -c 2 -b /dev/null -o /dev/null 51.0.@n.0/22",
    ),
    scan(
        "zmap-udp-53",
        "zmap -q -M udp --probe-args=text:x -p 53 -r 80 -n 500 --seed=7 -i eth0 -S @ip -G @gwmac -c 2 -b /dev/null -o /dev/null 51.0.@n.0/22",
    ),
    scan(
        "zmap-echo",
        "zmap -q -M icmp_echoscan -r 80 -n 500 --seed=7 -i eth0 -S @ip -G @gwmac -c 2 -b /dev/null -o /dev/null 51.0.@n.0/22",
    ),
    scan("hping3-scan", "hping3 -S --scan 1-200 20.66.@n.6"),
    scan("hping3-ports", "hping3 -q -S -p ++1 -i u20000 -c 200 20.66.@n.6"),
    scan(
        "shell-connects",
        "for p in $(seq 1 80); do timeout 0.3 bash -c \"</dev/tcp/20.66.@n.6/$p\" 2>/dev/null; done",
    ),
    scan(
        "nc-sweep",
        "for h in $(seq 1 60); do timeout 0.2 bash -c \"</dev/tcp/185.4.@n.$h/445\" 2>/dev/null; done; true",
    ),
];

const FLOODS: &[Row] = &[
    row("hping3-syn", "hping3 -q -S -p 80 -i u2000 -c 4000 20.66.@n.6", Expected::Any(&["flood.syn"])),
    row(
        "hping3-syn-random-sources",
        "hping3 -q -S -p 80 --rand-source -i u2000 -c 4000 20.66.@n.6",
        Expected::Any(&["spoof.source", "flood.syn"]),
    ),
    row(
        "hping3-ack",
        "hping3 -q -A -p 80 -i u1000 -c 8000 20.66.@n.6",
        Expected::AnyBeside(&["flood.tcp"], STEALTH),
    ),
    row(
        "hping3-fin",
        "hping3 -q -F -p 80 -i u1000 -c 8000 20.66.@n.6",
        Expected::AnyBeside(&["flood.tcp"], STEALTH),
    ),
    row(
        "hping3-ack-random-sources",
        "hping3 -q -A -p 80 --rand-source -i u1000 -c 8000 20.66.@n.6",
        Expected::AnyBeside(&["spoof.source", "flood.tcp"], STEALTH),
    ),
    row("hping3-udp", "hping3 -q --udp -p 9 -i u200 -c 25000 185.66.@n.6", Expected::Any(&["flood.udp"])),
    row(
        "hping3-udp-random-sources",
        "hping3 -q --udp -p 9 --rand-source -i u200 -c 25000 185.66.@n.6",
        Expected::Any(&["spoof.source", "flood.udp"]),
    ),
    row("hping3-icmp", "hping3 -q --icmp -i u4000 -c 2500 20.66.@n.6", Expected::Any(&["flood.icmp"])),
    row(
        "hping3-icmp-random-sources",
        "hping3 -q --icmp --rand-source -i u4000 -c 2500 20.66.@n.6",
        Expected::Any(&["spoof.source", "flood.icmp"]),
    ),
    row(
        "hping3-fragments",
        "hping3 -q --udp -p 9 -d 1200 -f -m 400 -i u1500 -c 5000 185.66.@n.6",
        Expected::Any(&["flood.frag", "flood.udp"]),
    ),
    row(
        "hping3-protocol-47",
        "hping3 -q --rawip --ipproto 47 -i u500 -c 14000 185.66.@n.6",
        Expected::Any(&["flood.other"]),
    ),
    row(
        "hping3-land",
        "hping3 -q -S -a 20.66.@n.6 -p 80 -s 80 -k -c 30 -i u20000 20.66.@n.6",
        Expected::Any(&["crash", "spoof.source"]),
    ),
    row("reflector", "python3 reflector 11211 1200 8 20", Expected::Any(&["flood.amplify"])),
];

/// What tools do in honest hands.
const HONEST: &[Row] = &[
    row("nmap-own-server", "nmap -n -Pn -sV -p 22,80,443,8080 --max-retries 0 20.66.@n.6", Expected::Silence),
    row("ping-a-minute", "ping -q -i 0.2 -c 100 20.66.@n.6", Expected::Silence),
    row("ping-dead", "ping -q -i 0.5 -c 40 185.66.@n.6", Expected::Silence),
    row(
        "traceroute-like",
        "for t in $(seq 1 25); do ping -q -t $t -c 1 -W 1 185.66.@n.6; done; true",
        Expected::Silence,
    ),
    row(
        "an-api-call-a-second",
        "for i in $(seq 1 25); do curl -s -o /dev/null http://20.90.0.1:8080/v1/$i; sleep 1; done",
        Expected::Silence,
    ),
    row(
        "curl-many-on-one",
        "for i in $(seq 1 20); do curl -s -o /dev/null -Z 'http://20.80.@n.7/[1-8]'; sleep 0.5; done",
        Expected::Silence,
    ),
    row(
        "monitor-60-hosts",
        "for i in 1 2; do for h in $(seq 1 60); do curl -s -o /dev/null -m 2 http://20.92.@n.$h:8080/; done; done",
        Expected::Silence,
    ),
    row(
        "dead-upstream",
        "for i in $(seq 1 25); do curl -s -m 1 http://185.7.@n.7:5432/; sleep 0.2; done; true",
        Expected::Silence,
    ),
    row(
        "refused-upstream",
        "for i in $(seq 1 60); do curl -s http://20.66.@n.7:5432/; sleep 0.3; done; true",
        Expected::Silence,
    ),
];

/// The endpoint that the honest API client calls.
const POLICY: &str = "
[policy]
name = \"street\"
version = 1
extends = \"baseline\"

[[endpoint]]
name = \"api\"
addresses = [\"20.90.0.1/32\"]
ports = [8080]
";

#[test]
fn each_tool_is_taken_for_what_it_is() {
    let rows = [FLOODS, SCANS, HONEST].concat();
    let only = std::env::var("REEVE_ROWS").unwrap_or_default();
    let rows: Vec<Row> =
        rows.into_iter().filter(|row| only.split(',').any(|only| row.id.contains(only))).collect();
    let (table, wrong) = run_table(&rows, Some(POLICY), AT_ONCE, LONGEST, |street| {
        let path = Program::Reflector.path(&street.lab)?;
        std::os::unix::fs::symlink(path, street.lab.dir().join("reflector"))?;
        let reflectors = street.homes.iter().filter(|home| home.id == "reflector");
        let ask = |home: &reeve_tests::street::Home| {
            let address = home.v4().to_string();
            // Floods are the first of the table, so it asks while the reflector is there, and a little longer.
            Program::Asker.spawn(
                &street.lab,
                &street.lab.net,
                &["198.51.100.66", &address, "11211", "60", "40"],
            )
        };
        reflectors.map(ask).collect()
    })
    .unwrap();
    let _ = write!(std::io::stderr(), "{table}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A probe in 0.4 seconds in every run; in `./dev soak` one in fifteen, which takes twenty minutes.
#[test]
fn patience_hides_no_scan() {
    let patience = std::env::var("REEVE_PATIENCE").unwrap_or_else(|_| "T2:28".to_owned());
    let (timing, seconds) = patience.split_once(':').unwrap();
    let line = |what: &str, ports: &str, to: &str| -> &'static str {
        format!("nmap -n -Pn {what} -{timing} --max-retries 0 -p {ports} {to}").leak()
    };
    let rows = [
        scan("patient-refused", line("-sS", "1-70", "20.66.@n.6")),
        scan("patient-silent", line("-sS", "2001-2070", "185.66.@n.6")),
        scan("patient-hosts", line("-sS", "22", "185.7.@n.1-70")),
        scan("patient-hosts-v6", line("-6 -sS", "22", "2001:db8:fdea::@n:0/121")),
        scan("patient-connects", line("-sT", "1-70", "20.66.@n.6")),
        scan("patient-udp", line("-sU", "1-70", "20.66.@n.6")),
    ];
    let longest = Duration::from_secs(seconds.parse().unwrap());
    let (table, wrong) = run_table(&rows, None, rows.len(), longest, |_| Ok(Vec::new())).unwrap();
    let _ = write!(std::io::stderr(), "{table}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
