//! Scans and floods by real tools: the right tenant is named in time, and nobody else; the other goes on undisturbed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::collections::BTreeSet;
use std::time::Duration;

use reeve_tests::house::{House, Violation};
use reeve_tests::lab::addresses::{ALICE, INTERNET_INTERFACE, SPEED_V4, VICTIM_V4};
use reeve_tests::lab::{Header, Lab, Process, Sniffer, Visitor};

/// How soon after the threshold was crossed a tenant must be named.
const NAMED_WITHIN: Duration = Duration::from_secs(2);
/// An attempt that nobody answers is silent after this long; that is when its outcome crosses a threshold.
const SILENCE: Duration = Duration::from_secs(3);

/// Bob's honest work: pages, and a download until the end of the test.
struct Bob {
    pages: Visitor,
    download: Process,
    _server: Process,
}

impl Bob {
    fn at_work(house: &House) -> Self {
        let server = house.lab.iperf3_server().unwrap();
        let speed = SPEED_V4.to_string();
        let argv = ["iperf3", "--client", &speed, "--time", "300", "--bitrate", "20M"];
        let download = house.lab.bob.spawn(&argv).unwrap();
        Self { pages: Visitor::start(&house.lab.bob).unwrap(), download, _server: server }
    }

    fn noticed_nothing(mut self, house: &House) {
        let pages = self.pages.report();
        assert!(pages.answered > 0 && pages.failures.is_empty(), "{pages:?}");
        assert!(self.download.is_running().unwrap(), "{}", self.download.last_lines(10));
        let of_bob: Vec<Violation> =
            house.violations().unwrap().into_iter().filter(|violation| violation.tenant != "alice").collect();
        assert!(of_bob.is_empty(), "{of_bob:?}");
        assert_eq!(house.status("bob").unwrap().state, "clear");
    }
}

/// Lets alice run a tool, and expects her to be named for `class` in time. `crossed` says of the packets that the internet
/// saw of her when the threshold was crossed; what was dropped on the way came after that.
fn check(house: &House, argv: &[&str], class: &str, crossed: impl Fn(&[Header]) -> Option<Duration>) {
    let witness = Sniffer::start(&house.lab.net, INTERNET_INTERFACE, &ALICE).unwrap();
    let tool = house.lab.alice.spawn(argv).unwrap();
    let violation = house.wait_for_violation("alice", class, Duration::from_secs(20)).unwrap();
    let headers = witness.headers().unwrap();
    let crossed = crossed(&headers).unwrap_or_else(|| panic!("{argv:?} never crossed its threshold"));
    let late = violation.opened.saturating_sub(crossed);
    assert!(late <= NAMED_WITHIN, "{argv:?}: named {late:?} after the threshold was crossed");
    drop(tool);
    house.reevectl(&["release", "alice"]).unwrap().success().unwrap();
    house.wait_for_state("alice", "clear", Duration::from_secs(5)).unwrap();
}

/// When the `count`-th distinct target was tried, by what `key` says of a header.
fn nth<K: Ord>(headers: &[Header], count: usize, key: impl Fn(&Header) -> Option<K>) -> Option<Duration> {
    let mut seen = BTreeSet::new();
    headers.iter().find_map(|header| (seen.insert(key(header)?) && seen.len() == count).then_some(header.at))
}

/// The end of the first second, counted from its first packet, with `count` packets of `protocol` to the victim.
fn first_full_second(headers: &[Header], count: usize, protocol: u8) -> Option<Duration> {
    let times: Vec<Duration> = headers
        .iter()
        .filter(|header| header.protocol == protocol && header.destination == VICTIM_V4)
        .map(|header| header.at)
        .collect();
    let full = times.windows(count).find(|window| window[count - 1] - window[0] <= Duration::from_secs(1));
    full.map(|window| window[0] + Duration::from_secs(1))
}

const SYN: u8 = 0x02;

#[test]
fn scans_are_named_for_what_they_are() {
    let mut house = House::open(Lab::up().unwrap()).unwrap();
    let bob = Bob::at_work(&house);
    let victim = VICTIM_V4.to_string();
    let ports =
        |headers: &[Header]| nth(headers, 15, |header| (header.flags & SYN != 0).then_some(header.port));
    let common = ["-n", "-Pn", "--max-retries", "0", "-p", "1-300"];
    let nmap = |kind: &'static str| [&["nmap", kind], &common[..], &[victim.as_str()]].concat();
    check(&house, &nmap("-sS"), "portscan.vertical", ports);
    check(&house, &nmap("-sT"), "portscan.vertical", ports);
    let probes =
        |headers: &[Header]| nth(headers, 5, |header| (header.flags & 0x3f == 0x01).then_some(header.port));
    check(&house, &nmap("-sF"), "portscan.stealth", probes);
    // A sweep of a /24 in which one address of four exists: silence tells after its time.
    let sweep = ["nmap", "-n", "-Pn", "-sS", "-p", "8443", "--max-retries", "0", "51.7.7.0/24"];
    check(&house, &sweep, "portscan.horizontal", |headers| {
        nth(headers, 25, |header| (header.flags & SYN != 0).then_some(header.destination))
            .map(|at| at + SILENCE)
    });
    bob.noticed_nothing(&house);
    house.check_parity().unwrap();
}

#[test]
fn floods_are_named_for_what_they_are() {
    let mut house = House::open(Lab::up().unwrap()).unwrap();
    let bob = Bob::at_work(&house);
    let victim = VICTIM_V4.to_string();
    // Each ends by itself: a bounded number of packets, a fixed distance apart.
    let syn = ["hping3", "-q", "-S", "-p", "80", "-i", "u2000", "-c", "4000", victim.as_str()];
    check(&house, &syn, "flood.syn", |headers| first_full_second(headers, 200, 6));
    // Port 9 drops what comes, as a flooded host does: the lab's internet refuses it, so the refusals are held back.
    house.lab.net.nft("add rule inet internet input ip daddr 20.66.6.6 udp dport 9 drop").unwrap();
    let udp = ["hping3", "-q", "--udp", "-p", "9", "-i", "u500", "-c", "16000", victim.as_str()];
    check(&house, &udp, "flood.udp", |headers| first_full_second(headers, 1_000, 17));
    let icmp = ["hping3", "-q", "--icmp", "-i", "u4000", "-c", "2500", victim.as_str()];
    check(&house, &icmp, "flood.icmp", |headers| {
        first_full_second(headers, 100, 1).map(|at| at + Duration::from_secs(1))
    });
    bob.noticed_nothing(&house);
    house.check_parity().unwrap();
}
