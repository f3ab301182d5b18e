//! What others send to a suspended tenant: kept it arrives and is not answered, cut it is refused on its way. Its lifeline may reach it
//! either way, and its release brings everybody back.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::time::Duration;

use reeve_tests::house::House;
use reeve_tests::lab::addresses::{ALICE_V4, ALICE_V6, OTHER_V4, TENANT_INTERFACE, WEB_V4, WEB_V6};
use reeve_tests::lab::{Lab, Shape, Sniffer};
use reeve_tests::preset::extending;
use reeve_tests::wait::wait_until;

const TOOL: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(20);
/// The addresses of the internet that alice's owner comes from.
const OWNER: [&str; 2] = ["20.99.1.2", "2001:db8:f000::81"];
const LIFELINE: &str = "[protected]\nlifeline = [\"20.99.1.2/32\", \"2001:db8:f000::81/128\"]\n";
/// What curl ends with: all is well, nobody can be reached, the time is over.
const SERVED: Option<i32> = Some(0);
const REFUSED: Option<i32> = Some(7);
const TIMED_OUT: Option<i32> = Some(28);

/// What curl says of alice's pages over IPv4 and IPv6, from these addresses of the internet.
fn visits(house: &House, from: [&str; 2]) -> [(Option<i32>, String); 2] {
    let pages = [format!("http://{ALICE_V4}:8080/"), format!("http://[{ALICE_V6}]:8080/")];
    [0, 1].map(|version| {
        let (from, page) = (from[version], pages[version].as_str());
        let argv = ["curl", "-sS", "-o", "/dev/null", "--max-time", "3", "--interface", from, page];
        let finished = house.lab.net.run(&argv, TOOL).unwrap();
        (finished.code(), finished.text())
    })
}

fn codes(told: &[(Option<i32>, String); 2]) -> [Option<i32>; 2] {
    [told[0].0, told[1].0]
}

fn story(shape: Shape, inbound: &str) {
    assert_eq!(OWNER[0], OTHER_V4.to_string());
    let policy = extending("baseline", &format!("{LIFELINE}\n[suspension]\ninbound = \"{inbound}\""));
    let house = House::open_recorded(Lab::up_shaped(shape).unwrap(), Some(&policy)).unwrap();
    let _server = house.lab.alice.spawn(&["python3", "-m", "http.server", "--bind", "::", "8080"]).unwrap();
    let (v4, v6) = (WEB_V4.to_string(), WEB_V6.to_string());
    // A program may only speak from an address of IPv6 that there is.
    let hosts = [v6.as_str(), OWNER[1]].map(|host| format!("addr add {host}/128 dev lo nodad\n"));
    house.lab.net.ip(&hosts.concat()).unwrap();
    let visitor = [v4.as_str(), v6.as_str()];
    let is_served = || Ok(codes(&visits(&house, visitor)) == [SERVED; 2]);
    wait_until("alice's pages to be served", SOON, is_served)
        .unwrap_or_else(|error| panic!("{error}: {:?}", visits(&house, visitor)));

    house.reevectl(&["suspend", "alice", "--reason", "test"]).unwrap().success().unwrap();
    let sources = [WEB_V4.into(), WEB_V6.into()];
    let witness = Sniffer::start(&house.lab.alice, TENANT_INTERFACE, &sources).unwrap();
    let told = visits(&house, visitor);
    let came = sources.map(|source| witness.count(&[source]).unwrap());
    let what = format!("{shape:?}, {inbound}: {told:?}, {came:?} packets");
    if inbound == "keep" {
        assert!(came.iter().all(|count| *count > 0), "it arrives: {what}");
        assert_eq!(codes(&told), [TIMED_OUT; 2], "nobody answers: {what}");
    } else {
        assert_eq!(came, [0, 0], "nothing arrives: {what}");
        // Only where the node is a router can it say so.
        let expect = if shape == Shape::Routed { REFUSED } else { TIMED_OUT };
        assert_eq!(codes(&told), [expect; 2], "{what}");
    }
    let told = visits(&house, OWNER);
    assert_eq!(codes(&told), [SERVED; 2], "the lifeline goes both ways: {shape:?}, {inbound}, {told:?}");

    house.reevectl(&["release", "alice", "--reason", "test"]).unwrap().success().unwrap();
    let told = visits(&house, visitor);
    assert_eq!(codes(&told), [SERVED; 2], "{shape:?}, {inbound}: {told:?}");
}

#[test]
fn what_is_routed_to_a_suspended_tenant_arrives_where_it_is_kept() {
    story(Shape::Routed, "keep");
}

#[test]
fn what_is_routed_to_a_suspended_tenant_is_refused_where_it_is_cut() {
    story(Shape::Routed, "cut");
}

#[test]
fn what_is_bridged_to_a_suspended_tenant_arrives_where_it_is_kept() {
    story(Shape::Bridged { netfilter: false }, "keep");
}

#[test]
fn what_is_bridged_to_a_suspended_tenant_is_dropped_where_it_is_cut() {
    story(Shape::Bridged { netfilter: false }, "cut");
}

#[test]
fn what_is_bridged_and_handed_to_the_routed_hooks_too_is_dropped_where_it_is_cut() {
    story(Shape::Bridged { netfilter: true }, "cut");
}
