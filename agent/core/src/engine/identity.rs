//! Who says that it is somebody else, and what only looks so: whole frames through the engine.

use reeve_policy::language::Policy;
use reeve_policy::{Action, DecisionId, Origin, Protocol, Scope, Until};

use super::*;
use crate::frame::{LinkType, Passage};
use crate::topology::VantageKind;

const ALICE: &str = "203.0.113.10";
const ALICE_6: &str = "2001:db8:10::10";
const BOB: &str = "203.0.113.11";
const GATEWAY: &str = "203.0.113.1";
const GATEWAY_6: &str = "2001:db8:10::1";
const OUTSIDE: &str = "20.1.1.1";
/// Hardware addresses, by their last byte.
const ALICES: u8 = 10;
const CAROLS: u8 = 12;
const ROUTERS: u8 = 1;

const TAP: u16 = 0;
const UPLINK: u16 = 2;
const MIRROR: u16 = 3;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos((1_700_000_000_000 + millis) * 1_000_000)
}

fn tenant(id: &str, addresses: &[&str], interface: Option<&str>, mac: Option<u8>) -> Arc<Tenant> {
    Arc::new(Tenant {
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        interfaces: interface.map(|name| format!("n1/{name}").parse().unwrap()).into_iter().collect(),
        macs: mac.map(|last| [2, 0, 0, 0, 0, last].into()).into_iter().collect(),
        ..Tenant::new(id.parse().unwrap())
    })
}

fn tenants() -> Vec<Arc<Tenant>> {
    vec![
        tenant(
            "alice",
            &["203.0.113.10/32", "2001:db8:10::10/128", "203.0.113.20/32", "2001:db8:77::/64"],
            Some("tap0"),
            None,
        ),
        tenant("bob", &["203.0.113.11/32", "2001:db8:10::11/128", "172.20.0.5/32"], Some("tap1"), None),
        tenant("carol", &["203.0.113.12/32"], None, Some(CAROLS)),
    ]
}

fn vantages() -> Vec<Vantage> {
    let kinds = [VantageKind::Port, VantageKind::Port, VantageKind::Uplink, VantageKind::Mirror];
    let names = ["tap0", "tap1", "up", "span"];
    kinds
        .into_iter()
        .zip(names)
        .zip(0..)
        .map(|((kind, name), id)| Vantage { id: VantageId(id), interface: name.into(), kind, sampling: 1 })
        .collect()
}

fn engine() -> Engine {
    engine_in(Mode::Observe)
}

fn engine_in(mode: Mode) -> Engine {
    let mut policy = Policy::preset("baseline").unwrap();
    for protected in
        ["203.0.113.1/32", "2001:db8:10::1/128", "2001:db8:77::1/128", "172.17.0.1/32", "fe80::1/128"]
    {
        policy.protected_destinations.push(protected.parse().unwrap());
    }
    let mut engine = Engine::new(EngineConfig {
        node: "n1".parse().unwrap(),
        mode,
        policy: Arc::new(policy),
        flow_bytes: 1 << 20,
        seed: 3,
        shards: 2,
    });
    engine.handle_topology(tenants(), vantages(), at(0));
    engine
}

/// Frames at one vantage, a second before the next, and what they come to.
struct Scene {
    engine: Engine,
    vantage: u16,
    passage: Passage,
    millis: u64,
}

impl Scene {
    fn new(vantage: u16, passage: Passage) -> Self {
        Self { engine: engine(), vantage, passage, millis: 1_000 }
    }

    fn see(&mut self, passage: Passage, data: &[u8]) {
        self.engine.handle_frame(&Frame {
            at: at(self.millis),
            vantage: VantageId(self.vantage),
            passage,
            owner: None,
            link: LinkType::Ethernet,
            vlan: None,
            data,
            wire_len: data.len() as u32,
        });
        self.millis += 125;
    }

    fn send(&mut self, data: &[u8]) {
        self.see(self.passage, data);
    }

    fn deliver(&mut self, data: &[u8]) {
        let other = match self.passage {
            Passage::In => Passage::Out,
            Passage::Out => Passage::In,
            Passage::Unknown => Passage::Unknown,
        };
        self.see(other, data);
    }

    /// The alerts: tenant and class, with "?" behind what is suspected only.
    #[track_caller]
    fn expect(mut self, expect: &[&str]) {
        self.engine.handle_tick(at(self.millis + 20_000));
        let mut told: Vec<String> = Vec::new();
        while let Some(output) = self.engine.poll() {
            if let Output::Alert(alert) = output {
                let doubt = if alert.is_suspicion { "?" } else { "" };
                told.push(format!("{} {}{doubt}", alert.tenant, alert.class));
            }
        }
        told.dedup();
        assert_eq!(told, expect);
    }
}

fn ethernet(from: u8, to: u8, kind: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = if to == 0xff { vec![0xff; 6] } else { vec![2, 0, 0, 0, 0, to] };
    frame.extend([2, 0, 0, 0, 0, from]);
    frame.extend(kind.to_be_bytes());
    frame.extend(body);
    frame
}

fn packet(from: u8, to: u8, protocol: u8, (source, destination): (&str, &str), body: &[u8]) -> Vec<u8> {
    match (source.parse().unwrap(), destination.parse().unwrap()) {
        (std::net::IpAddr::V4(source), std::net::IpAddr::V4(destination)) => {
            let mut bytes = vec![0x45, 0, 0, 20 + body.len() as u8, 0, 0, 0, 0, 255, protocol, 0, 0];
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes.extend(body);
            ethernet(from, to, 0x0800, &bytes)
        }
        (std::net::IpAddr::V6(source), std::net::IpAddr::V6(destination)) => {
            let mut bytes = vec![0x60, 0, 0, 0, 0, body.len() as u8, protocol, 255];
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes.extend(body);
            ethernet(from, to, 0x86dd, &bytes)
        }
        _ => panic!("two families"),
    }
}

fn udp(from: u8, to: u8, ends: (&str, &str), ports: (u16, u16)) -> Vec<u8> {
    let body = [&ports.0.to_be_bytes()[..], &ports.1.to_be_bytes(), &[0, 12, 0, 0, 1, 2, 3, 4]].concat();
    packet(from, to, 17, ends, &body)
}

fn arp(operation: u8, from: u8, sender: &str, target: &str) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, from];
    body.extend(sender.parse::<std::net::Ipv4Addr>().unwrap().octets());
    body.extend([0; 6]);
    body.extend(target.parse::<std::net::Ipv4Addr>().unwrap().octets());
    ethernet(from, 0xff, 0x0806, &body)
}

/// Neighbour discovery of `kind` about `target`, with the sender's hardware address.
fn neighbour(kind: u8, from: u8, source: &str, target: &str) -> Vec<u8> {
    let mut body = vec![kind, 0, 0, 0, 0x20, 0, 0, 0];
    body.extend(target.parse::<std::net::Ipv6Addr>().unwrap().octets());
    body.extend([if kind == 136 { 2 } else { 1 }, 1, 2, 0, 0, 0, 0, from]);
    packet(from, 0xff, 58, (source, "ff02::1"), &body)
}

/// Sixty packets from each of `sources` in turn to a host outside, at a port.
#[track_caller]
fn check_sources(sources: &[&str], expect: &[&str]) {
    let mut scene = Scene::new(TAP, Passage::In);
    for number in 0..60 {
        scene.send(&udp(ALICES, ROUTERS, (sources[number % sources.len()], OUTSIDE), (4_000, 53)));
    }
    scene.expect(expect);
}

#[test]
fn forged_sources_are_told_on_a_port() {
    check_sources(&["8.8.8.8"], &["alice spoof.source"]);
    check_sources(&[BOB], &["alice spoof.source"]);
    check_sources(&["8.8.8.8", "9.9.9.9", "1.2.3.4"], &["alice spoof.source"]);
    check_sources(&[ALICE, ALICE, "8.8.8.8"], &["alice spoof.source"]);
    check_sources(&[ALICE, ALICE, ALICE, "8.8.8.8"], &[]);
}

#[test]
fn what_is_forged_and_dropped_leads_to_nothing_further() {
    for (scope, expect) in [
        (Scope::Forged, &["alice spoof.source?"] as &[&str]),
        // What the policy itself then does has the same effect.
        (Scope::Port { protocol: Protocol::Tcp, port: 25 }, &["alice spoof.source", "alice spoof.source?"]),
    ] {
        let mut scene = Scene { engine: engine_in(Mode::Enforce), ..Scene::new(TAP, Passage::In) };
        let decision = Decision {
            id: DecisionId("O1".parse().unwrap()),
            tenant: "alice".parse().unwrap(),
            violation: None,
            clause: String::new(),
            origin: Origin::Operator { name: "oncall".into() },
            action: Action::Block,
            scope,
            rate: None,
            until: Until::Released,
            at: at(1_000),
            mode: Mode::Enforce,
            reason: String::new(),
            connections: None,
            softened: None,
            reckoning: None,
        };
        scene.engine.handle_impose(&decision, at(1_000));
        for _ in 0..60 {
            scene.send(&udp(ALICES, ROUTERS, ("8.8.8.8", OUTSIDE), (4_000, 53)));
        }
        scene.expect(expect);
    }
}

#[test]
fn what_slips_out_is_nobodys_crime() {
    for leak in ["10.0.0.7", "172.17.0.2", "192.168.1.5", "100.64.3.3", "127.0.0.1", "169.254.7.7", "0.0.0.0"]
    {
        check_sources(&[leak], &[]);
    }
    // Bob is assigned that one; alice lives nowhere near it.
    check_sources(&["172.20.0.5"], &[]);
    for (leak, to) in [
        ("fd00::7", "2001:db8:f::1"),
        ("fe80::7", "ff02::16"),
        ("2001:db8:10:0:5054:ff:fe00:1", "2001:db8:f::1"),
        ("::", "ff02::16"),
        // Group traffic goes no further than the link.
        ("2001:db8:77::1", "ff02::fb"),
    ] {
        let mut scene = Scene::new(TAP, Passage::In);
        (0..60).for_each(|_| scene.send(&packet(ALICES, 0xff, 17, (leak, to), &[0; 8])));
        scene.expect(&[]);
    }
}

#[test]
fn a_family_that_the_settings_leave_out_is_not_forged() {
    let mut scene = Scene::new(UPLINK, Passage::Out);
    (0..60).for_each(|_| scene.send(&packet(CAROLS, ROUTERS, 17, ("2a00::1", "2001:db8:f::1"), &[0; 8])));
    scene.expect(&[]);
}

#[test]
fn what_is_routed_to_a_tenant_may_answer() {
    let mut scene = Scene::new(TAP, Passage::In);
    for number in 0..60 {
        let floating = format!("198.51.100.{}", number % 9);
        scene.deliver(&udp(ROUTERS, ALICES, (OUTSIDE, &floating), (4_000, 53)));
        scene.send(&udp(ALICES, ROUTERS, (&floating, OUTSIDE), (53, 4_000)));
    }
    scene.expect(&[]);
    // What a switch floods excuses nobody who forges another tenant's.
    let mut scene = Scene::new(TAP, Passage::In);
    for _ in 0..60 {
        scene.deliver(&udp(ROUTERS, 11, (OUTSIDE, BOB), (4_000, 53)));
        scene.send(&udp(ALICES, ROUTERS, (BOB, OUTSIDE), (53, 4_000)));
    }
    scene.expect(&["alice spoof.source"]);
}

#[test]
fn an_address_that_was_just_taken_away_may_still_be_spoken_from() {
    for (millis, expect) in [(60_000, &[] as &[&str]), (3_700_000, &["alice spoof.source"])] {
        let mut scene = Scene::new(TAP, Passage::In);
        let mut all = tenants();
        Arc::make_mut(&mut all[0]).addresses.retain(|prefix| prefix.to_string() != "203.0.113.20/32");
        Arc::make_mut(&mut all[1]).addresses.push("203.0.113.20/32".parse().unwrap());
        scene.engine.handle_topology(all, vantages(), at(1_000));
        scene.millis += millis;
        for _ in 0..60 {
            scene.send(&udp(ALICES, ROUTERS, ("203.0.113.20", OUTSIDE), (4_000, 53)));
        }
        scene.expect(expect);
    }
}

#[test]
fn at_an_uplink_only_a_known_hardware_address_is_blamed() {
    for (mac, expect) in [(CAROLS, &["carol spoof.source"] as &[&str]), (ROUTERS, &[])] {
        let mut scene = Scene::new(UPLINK, Passage::Out);
        (0..60).for_each(|_| scene.send(&udp(mac, 99, ("8.8.8.8", OUTSIDE), (4_000, 53))));
        scene.expect(expect);
    }
    let mut scene = Scene::new(MIRROR, Passage::Unknown);
    (0..60).for_each(|_| scene.send(&udp(CAROLS, 99, ("8.8.8.8", OUTSIDE), (4_000, 53))));
    scene.expect(&[]);
}

#[test]
fn a_capture_without_directions_is_read_by_who_answers_whom() {
    // A reflection attack: the victim never answers, the resolvers' answers go elsewhere.
    let mut scene = Scene::new(TAP, Passage::Unknown);
    for number in 0..60 {
        scene.send(&udp(ALICES, ROUTERS, ("8.8.8.8", &format!("20.1.1.{number}")), (4_000, 53)));
    }
    scene.expect(&["alice spoof.source"]);
    // A floating address that serves: both directions are foreign.
    let mut scene = Scene::new(TAP, Passage::Unknown);
    for _ in 0..60 {
        scene.send(&udp(ROUTERS, ALICES, (OUTSIDE, "8.8.8.8"), (4_000, 53)));
        scene.send(&udp(ALICES, ROUTERS, ("8.8.8.8", OUTSIDE), (53, 4_000)));
    }
    scene.expect(&[]);
    // Other machines', flooded by a switch.
    let mut scene = Scene::new(TAP, Passage::Unknown);
    scene.send(&udp(ALICES, ROUTERS, (ALICE, OUTSIDE), (4_000, 53)));
    (0..60).for_each(|_| scene.send(&udp(77, 78, ("8.8.8.8", "9.9.9.9"), (4_000, 53))));
    scene.expect(&[]);
}

/// One frame of alice's, and whether it is told.
#[track_caller]
fn check_one(data: &[u8], expect: &[&str]) {
    let mut scene = Scene::new(TAP, Passage::In);
    scene.send(data);
    scene.expect(expect);
    // In a capture without directions the same is known once alice has spoken, and nobody is blamed before.
    let mut scene = Scene::new(TAP, Passage::Unknown);
    scene.send(&udp(ALICES, ROUTERS, (ALICE, OUTSIDE), (4_000, 53)));
    scene.send(data);
    scene.expect(expect);
    let mut scene = Scene::new(TAP, Passage::Out);
    scene.send(data);
    scene.expect(&[]);
}

#[test]
fn claims_for_others_addresses_are_told() {
    for operation in [1, 2] {
        check_one(&arp(operation, ALICES, GATEWAY, BOB), &["alice spoof.arp"]);
        check_one(&arp(operation, ALICES, BOB, BOB), &["alice spoof.arp"]);
        check_one(&arp(operation, ALICES, ALICE, GATEWAY), &[]);
        check_one(&arp(operation, ALICES, "203.0.113.20", "203.0.113.20"), &[]);
        check_one(&arp(operation, ALICES, "0.0.0.0", BOB), &[]);
        check_one(&arp(operation, ALICES, "203.0.113.99", GATEWAY), &[]);
        // The node has a bridge for containers, and alice too.
        check_one(&arp(operation, ALICES, "172.17.0.1", GATEWAY), &[]);
    }
    check_one(&neighbour(136, ALICES, "fe80::a", GATEWAY_6), &["alice spoof.nd"]);
    check_one(&neighbour(136, ALICES, "fe80::a", "2001:db8:10::11"), &["alice spoof.nd"]);
    check_one(&neighbour(135, ALICES, GATEWAY_6, "2001:db8:10::11"), &["alice spoof.nd"]);
    // The gateway of a prefix that is the tenant's as a whole is the provider's all the same.
    check_one(&neighbour(136, ALICES, "fe80::a", "2001:db8:77::1"), &["alice spoof.nd"]);
    check_one(&neighbour(136, ALICES, "fe80::a", "2001:db8:77::2"), &[]);
    check_one(&neighbour(136, ALICES, "fe80::a", ALICE_6), &[]);
    check_one(&neighbour(136, ALICES, "fe80::a", "fe80::a"), &[]);
    check_one(&neighbour(135, ALICES, "::", "2001:db8:10::11"), &[]);
    check_one(&neighbour(135, ALICES, ALICE_6, GATEWAY_6), &[]);
    // A link-local address is another's where it is named.
    check_one(&neighbour(136, ALICES, "fe80::1", "fe80::1"), &["alice spoof.nd"]);
    check_one(&neighbour(136, ALICES, "fe80::1:1", "fe80::1:1"), &[]);
}

#[test]
fn who_protects_all_link_local_addresses_names_no_gateway() {
    let mut scene = Scene::new(TAP, Passage::In);
    let mut policy = Policy::preset("baseline").unwrap();
    policy.protected_destinations.push("fe80::/10".parse().unwrap());
    scene.engine.handle_policy(Arc::new(policy), Mode::Observe, at(1_000));
    scene.send(&neighbour(136, ALICES, "fe80::a", "fe80::a"));
    scene.expect(&[]);
}

/// What is delivered and what alice then sends.
#[track_caller]
fn check_answer(delivered: &[u8], sent: &[u8], expect: &[&str]) {
    let mut scene = Scene::new(TAP, Passage::In);
    scene.deliver(delivered);
    scene.send(sent);
    scene.expect(expect);
    let mut scene = Scene::new(TAP, Passage::Unknown);
    scene.send(&udp(ALICES, ROUTERS, (ALICE, OUTSIDE), (4_000, 53)));
    scene.send(delivered);
    scene.send(sent);
    scene.expect(expect);
}

#[test]
fn whoever_is_asked_in_a_gateways_name_says_nothing_of_its_own() {
    for port in [520, 521, 1985, 2029, 3222] {
        for own in [53, port] {
            let asked = udp(ROUTERS, ALICES, (GATEWAY, ALICE), (port, own));
            check_answer(&asked, &udp(ALICES, ROUTERS, (ALICE, GATEWAY), (own, port)), &[]);
        }
        // It was asked from elsewhere, or something else, and speaks as routers do.
        let own_word = udp(ALICES, ROUTERS, (ALICE, GATEWAY), (port, port));
        check_answer(
            &udp(ROUTERS, ALICES, (OUTSIDE, ALICE), (port, port)),
            &own_word,
            &["alice spoof.routing"],
        );
        check_answer(
            &udp(ROUTERS, ALICES, (GATEWAY, ALICE), (port, 53)),
            &own_word,
            &["alice spoof.routing"],
        );
    }
    let asked = udp(ROUTERS, ALICES, (OUTSIDE, ALICE), (68, 67));
    check_answer(&asked, &udp(ALICES, ROUTERS, (ALICE, OUTSIDE), (67, 68)), &[]);
    check_answer(&asked, &udp(ALICES, 0xff, (ALICE, "255.255.255.255"), (67, 68)), &["alice spoof.routing"]);
    // An answer is one for a moment only.
    let mut scene = Scene::new(TAP, Passage::In);
    scene.deliver(&udp(ROUTERS, ALICES, (GATEWAY, ALICE), (520, 520)));
    scene.millis += 3_000;
    scene.send(&udp(ALICES, ROUTERS, (ALICE, GATEWAY), (520, 520)));
    scene.expect(&["alice spoof.routing"]);
}

/// A neighbour hands alice packets for elsewhere, each of which she sends `times`; `source` is whose they are said to be.
#[track_caller]
fn check_forwarder(source: &str, to: &str, times: usize, expect: &[&str]) {
    for passage in [Passage::In, Passage::Unknown] {
        let mut scene = Scene::new(TAP, passage);
        scene.send(&udp(ALICES, ROUTERS, (ALICE, OUTSIDE), (4_000, 53)));
        for number in 0..60 {
            // All of them are in her queue at times.
            let burst = if number % 20 == 0 { 20 } else { 0 };
            (0..burst).for_each(|_| scene.deliver(&udp(77, ALICES, (source, to), (4_000, 9))));
            scene.millis -= 120;
            (0..times).for_each(|_| scene.send(&udp(ALICES, ROUTERS, (source, to), (4_000, 9))));
        }
        scene.expect(expect);
    }
}

#[test]
fn what_a_neighbour_has_forwarded_is_not_the_forwarders() {
    check_forwarder(BOB, OUTSIDE, 1, &[]);
    check_forwarder("8.8.8.8", OUTSIDE, 1, &[]);
    // More than was handed over, and what was never.
    check_forwarder(BOB, OUTSIDE, 2, &["alice spoof.source"]);
    let mut scene = Scene::new(TAP, Passage::In);
    for _ in 0..60 {
        scene.deliver(&udp(77, ALICES, (BOB, OUTSIDE), (4_000, 9)));
        scene.send(&udp(ALICES, ROUTERS, (BOB, "20.1.1.2"), (4_000, 9)));
    }
    scene.expect(&["alice spoof.source"]);
    // A balancer's other machines have their common address too.
    check_sources_to("203.0.113.20", "8.8.8.8", &[]);
}

/// A scan that a neighbour sends through alice's host is told of the neighbour alone.
#[test]
fn a_scan_through_a_forwarder_is_the_neighbours() {
    let mut scene = Scene::new(TAP, Passage::In);
    for number in 0..120 {
        let host = format!("20.2.{}.{}", number / 50, 1 + number % 50);
        let body = [&40_000_u16.to_be_bytes()[..], &[0, 22], &[0; 8], &[0x50, 2, 4, 0, 0, 0, 0, 0]].concat();
        let probe = |from, to| packet(from, to, 6, (BOB, &host), &body);
        (scene.vantage, scene.passage) = (1, Passage::In);
        scene.send(&probe(11, ALICES));
        (scene.vantage, scene.passage) = (TAP, Passage::In);
        scene.deliver(&probe(11, ALICES));
        scene.send(&probe(ALICES, ROUTERS));
    }
    scene.expect(&["bob portscan.horizontal"]);
}

#[track_caller]
fn check_sources_to(to: &str, source: &str, expect: &[&str]) {
    let mut scene = Scene::new(TAP, Passage::In);
    (0..60).for_each(|_| scene.send(&udp(ALICES, ROUTERS, (source, to), (4_000, 53))));
    scene.expect(expect);
}

#[test]
fn redirects_in_anothers_name_are_told() {
    let redirect_4 = |source| {
        packet(ALICES, ROUTERS, 1, (source, "203.0.113.13"), &[[5, 1, 0, 0].as_slice(), &[0; 32]].concat())
    };
    check_one(&redirect_4(GATEWAY), &["alice spoof.routing"]);
    check_one(&redirect_4(BOB), &["alice spoof.routing"]);
    check_one(&redirect_4(ALICE), &[]);
    let redirect_6 = |from, source| {
        packet(from, ALICES, 58, (source, "fe80::b"), &[[137, 0, 0, 0].as_slice(), &[0; 36]].concat())
    };
    check_one(&redirect_6(ALICES, "fe80::1"), &["alice spoof.routing"]);
    check_one(&redirect_6(ALICES, "fe80::a"), &[]);
    // A router that nobody named is known by what it says; anybody may have said it.
    for (sender, expect) in [(ROUTERS, &["alice spoof.routing?"] as &[&str]), (ALICES, &[])] {
        let mut scene = Scene::new(TAP, Passage::In);
        scene.deliver(&neighbour(134, sender, "fe80::7", "::"));
        scene.send(&redirect_6(ALICES, "fe80::7"));
        scene.expect(expect);
    }
    // A loop.
    let mut scene = Scene::new(TAP, Passage::In);
    scene.deliver(&neighbour(134, ROUTERS, "fe80::1", "::"));
    scene.send(&redirect_6(ROUTERS, "fe80::1"));
    scene.expect(&[]);
}

#[test]
fn answers_of_servers_are_told_by_what_they_say() {
    let said = |ports: (u16, u16), ends, first: [u8; 4]| {
        let body = [&ports.0.to_be_bytes()[..], &ports.1.to_be_bytes(), &[0, 12, 0, 0], &first].concat();
        packet(ALICES, 0xff, 17, ends, &body)
    };
    let all = (ALICE, "255.255.255.255");
    check_one(&said((1_067, 68), all, [2, 1, 6, 0]), &["alice spoof.routing"]);
    check_one(&said((1_067, 68), all, [1, 1, 6, 0]), &[]);
    check_one(&said((53, 68), (ALICE, OUTSIDE), [2, 1, 0x81, 0x80]), &[]);
    check_one(&said((1_547, 546), ("fe80::a", "fe80::b"), [2, 0, 0, 1]), &["alice spoof.routing"]);
    check_one(&said((1_547, 546), ("fe80::a", "fe80::b"), [1, 0, 0, 1]), &[]);
    check_one(&said((53, 546), (ALICE_6, "2001:db8:f::1"), [2, 0, 0x81, 0x80]), &[]);
}

#[test]
fn what_is_hidden_from_those_who_guard_is_told() {
    let first = |next: u8, to: &str, rest: &[u8]| {
        let body = [&[60, 0, 0, 1, 0, 0, 0, 7, next, 0, 1, 4, 0, 0, 0, 0], rest].concat();
        packet(ALICES, 0xff, 44, ("fe80::a", to), &body)
    };
    check_one(&first(58, "ff02::1", &[]), &["alice spoof.routing"]);
    check_one(&first(58, "ff02::1", &[134, 0, 0, 0, 0, 0, 0, 0]), &["alice spoof.routing"]);
    // A scan whose ports nobody is to see.
    let mut scene = Scene::new(TAP, Passage::In);
    for host in 1..=9 {
        let body = [60, 0, 0, 1, 0, 0, 0, host, 6, 0, 1, 4, 0, 0, 0, 0];
        scene.send(&packet(ALICES, ROUTERS, 44, (ALICE_6, &format!("2001:db8:f::{host}")), &body));
    }
    scene.expect(&["alice crash", "alice portscan.stealth"]);
    // A long ping to the group.
    check_one(&first(58, "ff02::1", &[128, 0, 0, 0, 0, 0, 0, 0]), &[]);
}

#[test]
fn a_loop_behind_a_tenant_claims_nothing() {
    let mut scene = Scene::new(TAP, Passage::In);
    scene.deliver(&arp(1, ROUTERS, GATEWAY, ALICE));
    scene.send(&arp(1, ROUTERS, GATEWAY, ALICE));
    scene.deliver(&neighbour(134, ROUTERS, "fe80::1", "::"));
    scene.send(&neighbour(134, ROUTERS, "fe80::1", "::"));
    scene.expect(&[]);
    let mut scene = Scene::new(TAP, Passage::In);
    scene.deliver(&arp(1, ROUTERS, GATEWAY, ALICE));
    scene.send(&arp(1, ALICES, GATEWAY, ALICE));
    scene.expect(&["alice spoof.arp"]);
}

#[test]
fn an_address_that_two_quarrel_over_is_suspected() {
    let mut scene = Scene::new(TAP, Passage::In);
    for _ in 0..5 {
        scene.deliver(&arp(1, ROUTERS, "203.0.113.99", ALICE));
        (0..3).for_each(|_| scene.send(&arp(2, ALICES, "203.0.113.99", BOB)));
    }
    scene.expect(&["alice spoof.arp?"]);
}

#[test]
fn what_only_routers_say_is_told() {
    let to = |group: &'static str| (ALICE, group);
    check_one(&packet(ALICES, 0xff, 89, to("224.0.0.5"), &[0; 24]), &["alice spoof.routing"]);
    check_one(&packet(ALICES, 0xff, 88, to("224.0.0.10"), &[0; 24]), &["alice spoof.routing"]);
    check_one(&udp(ALICES, 0xff, to("224.0.0.9"), (520, 520)), &["alice spoof.routing"]);
    check_one(&udp(ALICES, 0xff, to("224.0.0.2"), (1985, 1985)), &["alice spoof.routing"]);
    check_one(&udp(ALICES, 0xff, to("255.255.255.255"), (67, 68)), &["alice spoof.routing"]);
    check_one(&udp(ALICES, 0xff, ("fe80::a", "fe80::b"), (547, 546)), &["alice spoof.routing"]);
    check_one(&neighbour(134, ALICES, "fe80::a", "::"), &["alice spoof.routing"]);
    let vrrp = |address: [u8; 4]| [&[0x31, 5, 100, 1, 0, 1, 0, 0], &address[..]].concat();
    check_one(
        &packet(ALICES, 0xff, 112, to("224.0.0.18"), &vrrp([203, 0, 113, 1])),
        &["alice spoof.routing"],
    );
    let bgp = |to| {
        let body =
            [&40_000_u16.to_be_bytes()[..], &179_u16.to_be_bytes(), &[0; 8], &[0x50, 2, 4, 0, 0, 0, 0, 0]];
        packet(ALICES, ROUTERS, 6, (ALICE, to), &body.concat())
    };
    check_one(&bgp(GATEWAY), &["alice spoof.routing?"]);
    // The same from honest customers.
    check_one(&bgp(OUTSIDE), &[]);
    check_one(&packet(ALICES, 0xff, 112, to("224.0.0.18"), &vrrp([203, 0, 113, 20])), &[]);
    check_one(&udp(ALICES, 0xff, ("0.0.0.0", "255.255.255.255"), (68, 67)), &[]);
    check_one(&packet(ALICES, ROUTERS, 89, (ALICE, OUTSIDE), &[0; 24]), &[]);
    check_one(&udp(ALICES, ROUTERS, (ALICE, OUTSIDE), (40_000, 520)), &[]);
    // On a mirror the tenant may be a router.
    let mut scene = Scene::new(MIRROR, Passage::Unknown);
    scene.send(&packet(ALICES, 0xff, 89, to("224.0.0.5"), &[0; 24]));
    scene.send(&udp(ALICES, 0xff, to("255.255.255.255"), (67, 68)));
    scene.send(&arp(2, ALICES, GATEWAY, BOB));
    scene.expect(&[]);
}

/// What is sent a thousand times and more in a second, each in its turn.
#[track_caller]
fn check_noise(number: u32, frame: impl Fn(u32) -> Vec<u8>, expect: &[&str]) {
    let mut scene = Scene::new(TAP, Passage::In);
    // From the beginning of a minute on.
    scene.millis = 40_000;
    for each in 0..number {
        scene.see(Passage::In, &frame(each));
        scene.millis -= if each % 2 == 0 { 125 } else { 124 };
    }
    scene.expect(expect);
}

#[test]
fn noise_on_the_link_is_suspected() {
    let suspected = &["alice flood.other?"] as &[&str];
    check_noise(3_100, |_| arp(1, ALICES, ALICE, GATEWAY), suspected);
    let of_machine = |each: u32| {
        let mut frame = ethernet(ALICES, 0xff, 0x88b5, &[0; 46]);
        frame[7..11].copy_from_slice(&each.to_be_bytes());
        frame
    };
    check_noise(1_500, of_machine, suspected);
    check_noise(1_500, |each| of_machine(each % 300), &[]);
    let request = |_| udp(ALICES, 0xff, ("0.0.0.0", "255.255.255.255"), (68, 67));
    check_noise(400, request, suspected);
    check_noise(200, request, &[]);
}
