//! Evasion: what is tried to stay unseen, and what comes of it. `docs/evasion.md` tells the same in words, and names these tests.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use reeve_core::engine::{Engine, EngineConfig, Output};
use reeve_core::stream::Streams;
use reeve_core::topology::{Vantage, VantageKind};
use reeve_core::{Frame, LinkType, Passage, VantageId};
use reeve_policy::language::Policy;
use reeve_policy::{Mode, Tenant, Timestamp};

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;
const PUSH: u8 = 0x18;
const RST: u8 = 0x14;

const ALICE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
/// Room for flows: small, so that a flood fills it.
const FLOW_BYTES: usize = 4 << 20;

/// A tenant's port, and what has been told of it.
struct Port {
    engine: Engine,
    now: Duration,
    told: Vec<(Duration, String)>,
}

/// One TCP packet.
#[derive(Clone, Copy)]
struct Probe {
    source: (IpAddr, u16),
    to: (IpAddr, u16),
    flags: u8,
    ttl: u8,
    /// The offset field of IPv4's header: fragments.
    fragment: u16,
    /// How much of the TCP header there is.
    header: usize,
    payload: usize,
}

impl Probe {
    fn new(source: (IpAddr, u16), to: (IpAddr, u16), flags: u8) -> Self {
        Self { source, to, flags, ttl: 64, fragment: 0, header: 20, payload: 0 }
    }

    fn bytes(self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.source.1.to_be_bytes());
        tcp.extend(self.to.1.to_be_bytes());
        tcp.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, self.flags, 4, 0, 0, 0, 0, 0]);
        tcp.truncate(self.header);
        tcp.extend(vec![b'x'; self.payload]);
        let mut bytes;
        match (self.source.0, self.to.0) {
            (IpAddr::V4(source), IpAddr::V4(to)) => {
                let len = (20 + tcp.len()) as u16;
                bytes = vec![0x45, 0, (len >> 8) as u8, len as u8, 0, 0];
                bytes.extend(self.fragment.to_be_bytes());
                bytes.extend([self.ttl, 6, 0, 0]);
                bytes.extend(source.octets().iter().chain(&to.octets()));
            }
            (IpAddr::V6(source), IpAddr::V6(to)) => {
                bytes = vec![0x60, 0, 0, 0, 0, tcp.len() as u8, 6, self.ttl];
                bytes.extend(source.octets().iter().chain(&to.octets()));
            }
            _ => panic!("both ends are of one version"),
        }
        bytes.extend(tcp);
        bytes
    }
}

impl Port {
    fn new() -> Self {
        Self::of(&[("alice", &["203.0.113.0/28", "2001:db8:10::/64"])])
    }

    /// A port of these tenants.
    fn of(tenants: &[(&str, &[&str])]) -> Self {
        let policy = Arc::new(Policy::preset("baseline").unwrap());
        let node = "n1".parse().unwrap();
        let config =
            EngineConfig { node, mode: Mode::Observe, policy, flow_bytes: FLOW_BYTES, seed: 3, shards: 1 };
        let mut engine = Engine::new(config);
        let tenant = |(id, addresses): &(&str, &[&str])| {
            Arc::new(Tenant {
                addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
                interfaces: vec!["n1/tap0".parse().unwrap()],
                ..Tenant::new(id.parse().unwrap())
            })
        };
        let vantage =
            Vantage { id: VantageId(0), interface: "tap0".into(), kind: VantageKind::Port, sampling: 1 };
        let tenants = tenants.iter().map(tenant).collect();
        engine.handle_topology(tenants, vec![vantage], at(Duration::ZERO));
        Self { engine, now: Duration::from_secs(100), told: Vec::new() }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.engine.handle_tick(at(self.now));
        self.listen();
    }

    fn listen(&mut self) {
        while let Some(output) = self.engine.poll() {
            if let Output::Alert(alert) = output {
                self.told.push((self.now, alert.class.to_string()));
            }
        }
    }

    fn frame(&mut self, passage: Passage, data: &[u8]) {
        let frame = Frame {
            at: at(self.now),
            vantage: VantageId(0),
            passage,
            owner: None,
            link: LinkType::RawIp,
            vlan: None,
            data,
            wire_len: data.len() as u32,
        };
        self.engine.handle_frame(&frame);
        self.listen();
    }

    /// An attempt, and what comes back of it a moment later.
    fn probe(&mut self, probe: Probe, answer: Option<u8>) {
        self.frame(Passage::In, &probe.bytes());
        if let Some(flags) = answer {
            self.now += Duration::from_micros(500);
            self.frame(Passage::Out, &Probe::new(probe.to, probe.source, flags).bytes());
        }
    }

    /// A connection in which something is said.
    fn converse(&mut self, source: (IpAddr, u16), to: (IpAddr, u16)) {
        self.probe(Probe::new(source, to, SYN), Some(SYN_ACK));
        self.probe(Probe::new(source, to, ACK), None);
        self.probe(Probe { payload: 100, ..Probe::new(source, to, PUSH) }, Some(ACK));
        self.frame(Passage::Out, &Probe { payload: 100, ..Probe::new(to, source, PUSH) }.bytes());
    }

    fn classes(&self) -> BTreeSet<&str> {
        self.told.iter().map(|(_, class)| class.as_str()).collect()
    }
}

fn at(time: Duration) -> Timestamp {
    Timestamp::from_secs(1_700_000_000) + time
}

fn host(number: u32) -> IpAddr {
    Ipv4Addr::from(0x1400_0000 + number).into()
}

/// Probes of `make`, `pause` apart, until one of `classes` is told; how many that took.
fn check(
    pause: Duration,
    answer: Option<u8>,
    most: u32,
    classes: &[&str],
    make: impl Fn(u32) -> Probe,
) -> u32 {
    let mut port = Port::new();
    let is_told = |port: &Port| port.classes().iter().any(|class| classes.contains(class));
    for number in 0..most {
        port.probe(make(number), answer);
        port.pass(pause);
        if is_told(&port) {
            return number + 1;
        }
    }
    port.pass(Duration::from_secs(10));
    assert!(is_told(&port), "{most} probes told {:?}, not {classes:?}", port.classes());
    most
}

const VERTICAL: &[&str] = &["portscan.vertical"];
const HORIZONTAL: &[&str] = &["portscan.horizontal"];
const BRISK: Duration = Duration::from_millis(200);

fn to_port(number: u32) -> (IpAddr, u16) {
    (host(1), 2_000 + number as u16)
}

#[test]
fn foreign_sources_of_decoys_hide_no_scan() {
    // Four packets of five bear another's address. The port says whose they are.
    let decoys = |number: u32| {
        let source =
            if number.is_multiple_of(5) { ALICE } else { Ipv4Addr::from(0x2d0a_0000 + number % 5).into() };
        Probe::new((source, 40_000), to_port(number / 5), SYN)
    };
    check(BRISK, None, 300, &["portscan.vertical", "spoof.source"], decoys);
}

#[test]
fn the_source_port_hides_nothing() {
    for port in [53, 80, 443, 123, 22] {
        check(BRISK, Some(RST), 40, VERTICAL, |number| Probe::new((ALICE, port), to_port(number), SYN));
        let sweep = |number| Probe::new((ALICE, port), (host(number), 22), SYN);
        check(BRISK, None, 60, HORIZONTAL, sweep);
    }
    // Another one each time neither.
    let each = |number: u32| Probe::new((ALICE, 30_000 + number as u16), to_port(number), SYN);
    check(BRISK, Some(RST), 40, VERTICAL, each);
}

#[test]
fn a_time_to_live_hides_nothing() {
    // Probes that die on the way tell nobody anything, and are attempts all the same.
    for ttl in [1, 3, 255] {
        let short = |number| Probe { ttl, ..Probe::new((ALICE, 40_000), to_port(number), SYN) };
        check(BRISK, None, 60, VERTICAL, short);
    }
}

#[test]
fn fragments_hide_nothing() {
    // The first fragment holds the ports and not the flags (RFC 1858), the second the rest.
    let tiny = |number: u32| Probe {
        fragment: 0x2000,
        header: 8,
        ..Probe::new((ALICE, 40_000), to_port(number), SYN)
    };
    check(BRISK, None, 80, &["portscan.vertical", "portscan.stealth", "crash"], tiny);
    // A whole header in a packet that says more are to come.
    let first = |number: u32| Probe {
        fragment: 0x2000,
        payload: 4,
        ..Probe::new((ALICE, 40_000), to_port(number), SYN)
    };
    check(BRISK, Some(RST), 60, VERTICAL, first);
}

#[test]
fn addresses_of_one_prefix_are_one_tenant() {
    let rotating = |number: u32| {
        let source = IpAddr::V4(Ipv4Addr::new(203, 0, 113, (number % 14) as u8 + 1));
        Probe::new((source, 40_000), to_port(number), SYN)
    };
    check(BRISK, Some(RST), 40, VERTICAL, rotating);
    let rotating6 = |number: u32| {
        let source = Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 7, number as u16).into();
        let to = Ipv6Addr::new(0x2001, 0xdb8, 0xf000, 0, 0, 0, 0, number as u16).into();
        Probe::new((source, 40_000), (to, 22), SYN)
    };
    check(BRISK, None, 60, HORIZONTAL, rotating6);
}

#[test]
fn good_traffic_beside_it_hides_no_scan() {
    // One good connection for each probe, to web servers: they are another port's, or another host's.
    for is_sweep in [true, false] {
        let mut port = Port::new();
        for number in 0..60 {
            port.converse((ALICE, 20_000 + number as u16), (host(9_000 + number % 40), 443));
            let to = if is_sweep { (host(number), 22) } else { to_port(number) };
            port.probe(Probe::new((ALICE, 40_000), to, SYN), None);
            port.pass(BRISK);
        }
        port.pass(Duration::from_secs(5));
        let class = if is_sweep { "portscan.horizontal" } else { "portscan.vertical" };
        assert!(port.classes().contains(class), "{:?}", port.classes());
    }
}

#[test]
fn good_traffic_on_its_own_port_hides_a_scan_only_if_it_is_as_much_and_always_new() {
    // One good host for two that are tried; and as many as those, but always the same ten.
    for (each, fresh) in [(2, true), (1, false)] {
        let mut port = Port::new();
        for number in 0..120 {
            if number % each == 0 {
                let good = host(9_000 + if fresh { number } else { number % 10 });
                port.converse((ALICE, 20_000 + number as u16), (good, 22));
            }
            port.probe(Probe::new((ALICE, 40_000), (host(number), 22), SYN), None);
            port.pass(BRISK);
        }
        port.pass(Duration::from_secs(5));
        assert!(port.classes().contains("portscan.horizontal"), "{each} {fresh}: {:?}", port.classes());
    }
}

#[test]
fn who_shares_a_scan_with_another_tenant_is_named_for_his_half() {
    let bob: IpAddr = Ipv4Addr::new(203, 0, 113, 34).into();
    let mut port = Port::of(&[("alice", &["203.0.113.0/28"]), ("bob", &["203.0.113.32/28"])]);
    for number in 0..120 {
        let source = if number % 2 == 0 { ALICE } else { bob };
        port.probe(Probe::new((source, 40_000), to_port(number), SYN), Some(RST));
        port.pass(BRISK);
    }
    let named = port.told.iter().filter(|(_, class)| class == "portscan.vertical").count();
    assert!(named >= 2, "both: {:?}", port.told);
}

#[test]
fn patience_only_delays() {
    // As nmap paces it: a probe in 0.4 seconds, in 15, in 300.
    for (name, pause, most) in [("T2", 400, 60), ("T1", 15_000, 100), ("T0", 300_000, 300)] {
        let pause = Duration::from_millis(pause);
        let scans = ["portscan.vertical", "portscan.slow"];
        let ports = |number| Probe::new((ALICE, 40_000 + number as u16), to_port(number), SYN);
        let refused = check(pause, Some(RST), most, &scans, ports);
        let silent = check(pause, None, most, &scans, ports);
        let sweeps = ["portscan.horizontal", "portscan.slow"];
        let hosts = |number| Probe::new((ALICE, 40_000 + number as u16), (host(number * 7), 22), SYN);
        let sweep = check(pause, None, most, &sweeps, hosts);
        println!("nmap -{name}: {refused} refused ports, {silent} silent ones, {sweep} hosts");
    }
}

#[test]
fn a_million_forged_sources_grow_nothing() {
    let mut port = Port::new();
    let mut random = 0x2545_f491_u32;
    let mut most = 0;
    for number in 0..1_000_000_u32 {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        let source = (Ipv4Addr::from(random).into(), 1_024 | random as u16);
        // Half of them at one web server, half anywhere, mail and web alike.
        let to = if number % 2 == 0 {
            (host(1), 80)
        } else {
            (host(random >> 8), [25, 80, 443][number as usize % 3])
        };
        port.now += Duration::from_micros(2);
        port.frame(Passage::In, &Probe::new(source, to, SYN).bytes());
        if number % 4_096 == 0 {
            let shard = port.engine.shards().iter().next().unwrap();
            most = most.max(shard.flows().len());
            assert!(shard.streams().len() <= Streams::CAPACITY);
        }
    }
    port.pass(Duration::from_secs(10));
    let shard = port.engine.shards().iter().next().unwrap();
    assert!(most * 64 <= FLOW_BYTES, "{most} flows in {FLOW_BYTES} bytes");
    assert!(shard.flows().evictions() > 500_000, "{} evictions", shard.flows().evictions());
    // What nobody on the internet can have is a leak.
    let counters = port.engine.counters();
    assert!(counters.spoofed + counters.leaked > 900_000, "{} and {}", counters.spoofed, counters.leaked);
    assert!(port.classes().iter().any(|class| class.starts_with("flood.") || *class == "spoof.source"));
    // Some hundreds of alerts at most, however long it goes on.
    assert!(port.told.len() < 200, "{} alerts", port.told.len());
}
