//! Who sends with senders that are not its own is stopped from doing just that: what is forged goes nowhere, and its own traffic goes on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use reeve_tests::house::{House, TENANTS};
use reeve_tests::lab::addresses::{BOB_V4, BOB_V6, INTERNET_INTERFACE, VICTIM_V4, WEB_V4, WEB_V6};
use reeve_tests::lab::{Header, Lab, Namespace, Process, Shape, Sniffer};
use reeve_tests::preset::{decisions, extending};
use reeve_tests::wait::wait_until;

const TOOL: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);
/// A source of the internet's, one of alice's network that is nobody's, and bob's own.
const FORGED_V4: [Ipv4Addr; 3] = [Ipv4Addr::new(198, 51, 100, 9), Ipv4Addr::new(203, 0, 113, 77), BOB_V4];
const FORGED_V6: [Ipv6Addr; 2] = [Ipv6Addr::new(0x2001, 0xdb8, 0xf000, 0x99, 0, 0, 0, 9), BOB_V6];
const ICMPV6: u8 = 58;
/// How many packets of each are sent.
const PACKETS: usize = 40;

fn forged() -> Vec<IpAddr> {
    FORGED_V4.map(IpAddr::V4).into_iter().chain(FORGED_V6.map(IpAddr::V6)).collect()
}

/// Sends with each source that is not hers: over IPv4 by hping3, over IPv6 by ping with addresses that she gives herself.
fn forge(alice: &Namespace) {
    let (to, count) = (VICTIM_V4.to_string(), PACKETS.to_string());
    for source in FORGED_V4 {
        let source = source.to_string();
        let argv = ["hping3", "-q", "-S", "-a", &source, "-p", "80", "-i", "u5000", "-c", &count, &to];
        alice.run(&argv, TOOL).unwrap();
    }
    let to = WEB_V6.to_string();
    for source in FORGED_V6 {
        let source = source.to_string();
        alice.ip(&format!("addr add {source}/128 dev eth0 nodad\n")).unwrap();
        let argv = ["ping", "-6", "-q", "-I", &source, "-c", &count, "-i", "0.01", "-W", "1", &to];
        alice.run(&argv, TOOL).unwrap();
        alice.ip(&format!("addr del {source}/128 dev eth0\n")).unwrap();
    }
}

/// What of alice's forging comes by in the internet, a packet of bob's own behind it. Questions for neighbours on the link
/// itself, which is never taken from anybody and which no router passes on, do not count.
fn comes_by(house: &House) -> Vec<Header> {
    let own = Ipv4Addr::new(203, 0, 113, 139);
    house.lab.bob.ip(&format!("addr add {own}/25 dev eth0\n")).unwrap();
    let witness = Sniffer::start(&house.lab.net, INTERNET_INTERFACE, &[forged(), vec![own.into()]].concat());
    let witness = witness.unwrap();
    forge(&house.lab.alice);
    let to = WEB_V4.to_string();
    let ping = ["ping", "-q", "-I", &own.to_string(), "-c", "3", "-W", "1", &to];
    wait_until("bob to be heard", SOON, || {
        house.lab.bob.run(&ping, TOOL)?;
        Ok(witness.count(&[own.into()])? > 0)
    })
    .unwrap();
    house.lab.bob.ip(&format!("addr del {own}/25 dev eth0\n")).unwrap();
    let mut seen = witness.headers().unwrap();
    let is_of_the_link = |header: &Header| match header.destination {
        IpAddr::V4(_) => false,
        IpAddr::V6(to) => header.protocol == ICMPV6 && (to.is_unicast_link_local() || to.is_multicast()),
    };
    seen.retain(|header| forged().contains(&header.source) && !is_of_the_link(header));
    seen
}

/// Over both versions, with the neighbours forgotten before: her link stays hers.
fn reaches_the_web(tenant: &Namespace) -> bool {
    for version in ["-4", "-6"] {
        tenant.run(&["ip", version, "neigh", "flush", "dev", "eth0"], TOOL).unwrap();
    }
    [format!("http://{WEB_V4}/"), format!("http://[{WEB_V6}]/")].iter().all(|url| {
        let argv = ["curl", "--silent", "--output", "/dev/null", "--max-time", "4", url];
        // A question for a neighbour that is lost on a busy machine is asked again.
        (0..3).any(|_| tenant.run(&argv, TOOL).unwrap().status.success())
    })
}

fn story(shape: Shape) {
    let policy = extending("baseline", "");
    let mut house = House::open_recorded(Lab::up_shaped(shape).unwrap(), Some(&policy)).unwrap();
    forge(&house.lab.alice);
    house.wait_for_state("alice", "blocked", SOON).unwrap();
    let status = house.status("alice").unwrap();
    assert_eq!(status.clause, "baseline/spoof", "{status:?}");
    let told = decisions(&house, &status.violation).unwrap();
    assert_eq!(told, ["block forged"]);

    assert_eq!(comes_by(&house), [], "{shape:?}");
    assert!(reaches_the_web(&house.lab.alice), "{shape:?}: her own traffic goes on");
    assert!(reaches_the_web(&house.lab.bob), "{shape:?}: bob is not held for his name");
    // She is told which of it is held, and that the rest is not.
    let explained = house.reevectl(&["status", "alice"]).unwrap().success().unwrap().stdout;
    assert!(explained.contains("forged"), "{explained}");
    // What was dropped was counted, and led to nothing harsher.
    assert_eq!(decisions(&house, &status.violation).unwrap().len(), 1);
    assert_eq!(house.status("alice").unwrap().state, "blocked");

    house.reevectl(&["release", "alice", "--reason", "test"]).unwrap().success().unwrap();
    let all = forged().len() * PACKETS;
    let came = comes_by(&house).len();
    assert!(came > all / 2, "{shape:?}: {came} of {all} come by where nothing is held");
    house.close_and_replay(&[]).unwrap();
}

#[test]
fn what_is_routed() {
    story(Shape::Routed);
}

#[test]
fn what_is_routed_by_a_bridge() {
    story(Shape::Gateway);
}

#[test]
fn what_is_bridged() {
    story(Shape::Bridged { netfilter: false });
}

#[test]
fn what_is_bridged_and_handed_to_the_routed_hooks_as_well() {
    story(Shape::Bridged { netfilter: true });
}

#[test]
fn an_operator_holds_or_slows_what_is_forged_and_is_told_where_nothing_could_be() {
    let house = House::open_in_mode(Lab::up().unwrap(), "enforce").unwrap();
    // Carol is known by her address at the uplink alone.
    let tenants = format!("{TENANTS}\n[[tenant]]\nid = \"carol\"\naddresses = [\"203.0.113.200/32\"]\n");
    let (path, known) = (house.path("tenants.toml"), || {
        let log = house.agent().map(Process::stderr).unwrap_or_default();
        log.matches("tenants from the controller").count()
    });
    let before = known();
    std::fs::write(&path, tenants).unwrap();
    house.reevectl(&["tenants", "import", &path.display().to_string()]).unwrap().success().unwrap();
    wait_until("the node to know the tenants", SOON, || Ok(known() > before)).unwrap();

    let refused = house.reevectl(&["block", "carol", "--forged", "--reason", "test"]).unwrap();
    assert_ne!(refused.code(), Some(0));
    assert!(refused.text().contains("no port on this node that is its alone"), "{}", refused.text());

    house.reevectl(&["block", "alice", "--forged", "--reason", "test"]).unwrap().success().unwrap();
    assert_eq!(comes_by(&house), []);
    assert!(reaches_the_web(&house.lab.alice));
    house.reevectl(&["release", "alice", "--reason", "test"]).unwrap().success().unwrap();

    let rate = "5 packets/second burst 5";
    let limit = ["limit", "alice", "--forged", "--rate", rate, "--reason", "test"];
    house.reevectl(&limit).unwrap().success().unwrap();
    let (came, all) = (comes_by(&house).len(), forged().len() * PACKETS);
    assert!((5..all / 2).contains(&came), "{came} of {all}");
    assert!(reaches_the_web(&house.lab.alice));
    let wrong = ["limit", "bob", "--forged", "--rate", "10/minute", "--reason", "test"];
    let refused = house.reevectl(&wrong).unwrap();
    assert!(refused.text().contains("packets or bytes"), "{}", refused.text());
}
