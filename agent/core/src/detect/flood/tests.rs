//! Floods through the whole engine, and what looks like them.

mod outage;

use std::net::IpAddr;
use std::sync::Arc;

use reeve_policy::language::Policy;
use reeve_policy::{Action, Alert, Class, Decision, Mode, Scope, Tenant, Timestamp};

use crate::engine::{Engine, EngineConfig, Output};
use crate::frame::{Frame, LinkType, Passage, VantageId};
use crate::topology::{Vantage, VantageKind};

const TENANT: &str = "203.0.113.10";
const TENANT_6: &str = "2001:db8:10::10";

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = 0x12;
const RST: u8 = 0x04;
const FIN_ACK: u8 = 0x11;

/// An engine with one tenant on a port, and the time in microseconds.
pub(crate) struct Stage {
    engine: Engine,
    pub alerts: Vec<Alert>,
    decisions: Vec<Decision>,
    now: u64,
}

impl Stage {
    pub fn new() -> Self {
        Self::with_sampling(1)
    }

    fn with_sampling(sampling: u32) -> Self {
        Self::with(sampling, Mode::Observe)
    }

    fn with(sampling: u32, mode: Mode) -> Self {
        let mut engine = Engine::new(EngineConfig {
            node: "n1".parse().unwrap(),
            mode,
            policy: Arc::new(Policy::preset("baseline").unwrap()),
            flow_bytes: 16 << 20,
            seed: 3,
            shards: 1,
        });
        let tenant = Tenant {
            addresses: vec!["203.0.113.10/32".parse().unwrap(), "2001:db8:10::/64".parse().unwrap()],
            interfaces: vec!["n1/tap0".parse().unwrap()],
            ..Tenant::new("alice".parse().unwrap())
        };
        let vantage =
            Vantage { id: VantageId(0), interface: "tap0".into(), kind: VantageKind::Port, sampling };
        engine.handle_topology(vec![Arc::new(tenant)], vec![vantage], time(0));
        Self { engine, alerts: Vec::new(), decisions: Vec::new(), now: 0 }
    }

    /// A packet of the tenant's, or one to it.
    pub fn packet(&mut self, micros: u64, is_sent: bool, data: &[u8]) {
        self.now = self.now.max(micros);
        self.engine.handle_frame(&Frame {
            at: time(micros),
            vantage: VantageId(0),
            passage: if is_sent { Passage::In } else { Passage::Out },
            owner: None,
            link: LinkType::RawIp,
            vlan: None,
            data: &data[..data.len().min(128)],
            wire_len: data.len() as u32,
        });
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Alert(alert) => self.alerts.push(alert),
                Output::Decision(decision) => self.decisions.push(decision),
                _ => {}
            }
        }
    }

    /// What was alerted by five seconds later: each class once.
    pub fn classes(&mut self) -> Vec<Class> {
        self.engine.handle_tick(time(self.now + 5_000_000));
        self.collect();
        let mut classes: Vec<Class> = self.alerts.iter().map(|alert| alert.class).collect();
        classes.sort();
        classes.dedup();
        classes
    }

    fn first(&self, class: Class) -> &Alert {
        self.alerts.iter().find(|alert| alert.class == class).expect("it was told")
    }
}

pub(crate) fn time(micros: u64) -> Timestamp {
    Timestamp::from_nanos(1_700_000_000_000_000_000 + micros * 1_000)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An IP packet around `body`.
pub(crate) fn wrap(source: IpAddr, destination: IpAddr, protocol: u8, body: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let length = (20 + body.len()) as u16;
            let mut bytes = vec![0x45, 0];
            bytes.extend(length.to_be_bytes());
            bytes.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes.extend(body);
            bytes
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut bytes = vec![0x60, 0, 0, 0];
            bytes.extend((body.len() as u16).to_be_bytes());
            bytes.extend([protocol, 64]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes.extend(body);
            bytes
        }
        _ => panic!("two families"),
    }
}

fn tcp_body(ports: (u16, u16), flags: u8, (sequence, acknowledgment): (u32, u32), payload: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(acknowledgment.to_be_bytes());
    bytes.extend([0x50, flags, 4, 0, 0, 0, 0, 0]);
    bytes.resize(20 + payload, 0);
    bytes
}

/// A TCP segment of the tenant's to a peer.
fn tcp(peer: &str, ports: (u16, u16), flags: u8, payload: usize) -> Vec<u8> {
    let body = tcp_body(ports, flags, (100, 200), payload);
    let source = if ip(peer).is_ipv4() { TENANT } else { TENANT_6 };
    wrap(ip(source), ip(peer), 6, &body)
}

/// A TCP segment of a peer's to the tenant; `ports` are the tenant's and the peer's.
fn tcp_in(peer: &str, ports: (u16, u16), flags: u8) -> Vec<u8> {
    wrap(ip(peer), ip(TENANT), 6, &tcp_body((ports.1, ports.0), flags, (200, 101), 0))
}

fn udp_body(ports: (u16, u16), payload: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend(((8 + payload) as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.resize(8 + payload, 0);
    bytes
}

/// A datagram of the tenant's.
fn udp(peer: &str, ports: (u16, u16), payload: usize) -> Vec<u8> {
    wrap(ip(TENANT), ip(peer), 17, &udp_body(ports, payload))
}

/// A datagram to the tenant; `ports` are the tenant's and the peer's.
fn udp_in(peer: &str, ports: (u16, u16), payload: usize) -> Vec<u8> {
    wrap(ip(peer), ip(TENANT), 17, &udp_body((ports.1, ports.0), payload))
}

fn icmp(peer: &str, icmp_type: u8) -> Vec<u8> {
    let source = if ip(peer).is_ipv4() { TENANT } else { TENANT_6 };
    let protocol = if ip(peer).is_ipv4() { 1 } else { 58 };
    wrap(ip(source), ip(peer), protocol, &[icmp_type, 0, 0, 0, 0, 7, 0, 1])
}

/// `rate` packets a second for `seconds`, of what `packet` makes of each number; the classes that are told.
fn check(rate: u64, seconds: f64, packet: impl Fn(u64) -> Vec<u8>, expect: &[Class]) -> Stage {
    let mut stage = Stage::new();
    for number in 0..(rate as f64 * seconds).ceil() as u64 {
        stage.packet(number * 1_000_000 / rate, true, &packet(number));
    }
    assert_eq!(stage.classes(), expect, "{rate}/s");
    stage
}

/// The same, where each packet is followed by what comes back.
fn check_both(
    rate: u64,
    seconds: f64,
    packets: impl Fn(u64) -> Vec<(u64, bool, Vec<u8>)>,
    expect: &[Class],
) -> Stage {
    let mut all = Vec::new();
    for number in 0..(rate as f64 * seconds).ceil() as u64 {
        let begin = number * 1_000_000 / rate;
        all.extend(packets(number).into_iter().map(|(after, is_sent, data)| (begin + after, is_sent, data)));
    }
    all.sort_by_key(|(at, ..)| *at);
    let mut stage = Stage::new();
    for (at, is_sent, data) in all {
        stage.packet(at, is_sent, &data);
    }
    assert_eq!(stage.classes(), expect, "{rate}/s");
    stage
}

const HOST: &str = "20.0.0.1";

fn high(number: u64) -> u16 {
    40_000 + (number % 20_000) as u16
}

fn some_host(number: u64) -> String {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        "{}.{}.{}.{}",
        20 + (mixed >> 8) % 80,
        (mixed >> 16) % 256,
        (mixed >> 24) % 256,
        1 + (mixed >> 32) % 250
    )
}

#[test]
fn every_flood_is_told_at_its_number_and_not_below() {
    use Class::{FloodIcmp, FloodOther, FloodTcp, FloodUdp};
    let syn = |number| tcp(HOST, (high(number), 80), SYN, 0);
    check(200, 1.0, syn, &[Class::FloodSyn]);
    check(195, 3.0, syn, &[]);
    let ack = |number| tcp(HOST, (high(number), 443), ACK, 0);
    check(500, 1.0, ack, &[FloodTcp]);
    check(490, 3.0, ack, &[]);
    let datagram = |number| udp(HOST, (high(number), 53), 100);
    check(1_000, 1.0, datagram, &[FloodUdp]);
    check(980, 3.0, datagram, &[]);
    // Bundles of nine, which are nine packets each on the wire.
    let bundle = |number| udp(HOST, (high(number), 53), 12_472);
    check(112, 1.0, bundle, &[FloodUdp]);
    check(105, 3.0, bundle, &[]);
    check(105, 2.1, |_| icmp(HOST, 8), &[FloodIcmp]);
    check(5_000, 1.0, |_| icmp(HOST, 8), &[]);
    check(95, 4.0, |_| icmp(HOST, 8), &[]);
    let gre = |_| wrap(ip(TENANT), ip(HOST), 47, &[0; 64]);
    check(1_000, 1.0, gre, &[FloodOther]);
    check(980, 3.0, gre, &[]);
}

#[test]
fn an_alert_comes_half_a_second_after_the_number_where_answers_are_waited_for() {
    let stage = check(10_000, 2.0, |number| tcp(HOST, (high(number), 80), SYN, 0), &[Class::FloodSyn]);
    let alert = stage.first(Class::FloodSyn);
    // The two-hundredth SYN is sent 19.9 ms after the first.
    assert_eq!(alert.at, time(600_000));
    assert_eq!(alert.window.start, time(0));
    assert_eq!(alert.targets[0].target.to_string(), "20.0.0.1 tcp/80");
    assert_eq!(
        (alert.metrics[0].name.as_ref(), alert.metrics[0].threshold),
        ("packets_per_second", Some(200.0))
    );
    // What is to last for two seconds is told when they are over.
    let stage = check(1_000, 2.5, |_| icmp(HOST, 8), &[Class::FloodIcmp]);
    assert_eq!(stage.first(Class::FloodIcmp).at, time(2_000_000));
}

#[test]
fn a_flood_at_an_open_port_is_told_by_what_is_never_completed() {
    // The SYN-ACK comes; the tenant says nothing, or resets as a raw socket's kernel does.
    let held_open = |number| {
        let ports = (high(number), 80);
        vec![(0, true, tcp(HOST, ports, SYN, 0)), (300, false, tcp_in(HOST, ports, SYN_ACK))]
    };
    check_both(1_000, 1.5, held_open, &[Class::FloodSyn]);
    let reset = |number| {
        let mut packets = held_open(number);
        packets.push((350, true, tcp(HOST, (high(number), 80), RST, 0)));
        packets
    };
    check_both(1_000, 1.5, reset, &[Class::FloodSyn]);
}

#[test]
fn connections_that_say_something_are_no_flood_and_those_that_say_nothing_are_another() {
    let connection = |payload: usize, delay: u64| {
        move |number| {
            let ports = (high(number), 80);
            let mut ack = tcp(HOST, ports, ACK, 0);
            ack[24..28].copy_from_slice(&101_u32.to_be_bytes());
            let mut last = tcp(HOST, ports, if payload > 0 { 0x18 } else { FIN_ACK }, payload);
            last[24..28].copy_from_slice(&101_u32.to_be_bytes());
            vec![
                (0, true, tcp(HOST, ports, SYN, 0)),
                (delay, false, tcp_in(HOST, ports, SYN_ACK)),
                (delay + 10, true, ack),
                (2 * delay, true, last),
            ]
        }
    };
    check_both(2_000, 3.0, connection(300, 400_000), &[]);
    check_both(190, 5.0, connection(0, 1_000), &[]);
    let stage = check_both(210, 2.0, connection(0, 1_000), &[Class::FloodConnect]);
    let alert = stage.first(Class::FloodConnect);
    assert_eq!(alert.targets[0].target.to_string(), "20.0.0.1 tcp/80");
}

#[test]
fn neither_forged_sources_nor_random_ports_nor_many_hosts_hide_a_flood() {
    let forged = |body: fn(u64) -> (u8, Vec<u8>)| {
        move |number| {
            let (protocol, body) = body(number);
            wrap(ip(&some_host(number)), ip(HOST), protocol, &body)
        }
    };
    check(
        5_000,
        1.5,
        forged(|number| (6, tcp_body((high(number), 80), SYN, (1, 0), 0))),
        &[Class::FloodSyn, Class::SpoofSource],
    );
    check(
        5_000,
        1.5,
        forged(|number| (6, tcp_body((high(number), 80), 0x18, (1, 1), 500))),
        &[Class::FloodTcp, Class::SpoofSource],
    );
    check(
        5_000,
        1.5,
        forged(|number| (17, udp_body((high(number), 80), 30))),
        &[Class::FloodUdp, Class::SpoofSource],
    );
    check(5_000, 2.5, forged(|_| (1, vec![8, 0, 0, 0, 0, 7, 0, 1])), &[Class::FloodIcmp, Class::SpoofSource]);
    // Every port of a host in turn, as no scan is in a hurry to.
    let ports = |number: u64| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16;
    let stage = check_both(
        5_000,
        1.5,
        |number| vec![(0, true, tcp(HOST, (1_234, ports(number)), SYN, 0))],
        &[Class::PortscanVertical, Class::FloodSyn],
    );
    assert!(stage.first(Class::FloodSyn).at < time(1_100_000));
    check(
        5_000,
        1.5,
        move |number| udp(HOST, (1_234, ports(number)), 30),
        &[Class::PortscanVertical, Class::FloodUdp],
    );
}

#[test]
fn carpet_bombing_is_seen_in_the_network_and_in_all() {
    // Twenty-four a second to each of 250 hosts.
    let within = |number: u64| format!("20.0.0.{}", 1 + number % 250);
    let told = |stage: &mut Stage| stage.alerts.iter().map(|alert| alert.class).collect::<Vec<_>>();
    for (class, packet) in [
        (
            Class::FloodUdp,
            Box::new(|number| udp(&within(number), (high(number), 80), 30)) as Box<dyn Fn(u64) -> Vec<u8>>,
        ),
        (Class::FloodSyn, Box::new(|number| tcp(&within(number), (high(number), 80), SYN, 0))),
        (Class::FloodTcp, Box::new(|number| tcp(&within(number), (high(number), 80), ACK, 0))),
        (Class::FloodIcmp, Box::new(|number| icmp(&within(number), 8))),
        (Class::FloodOther, Box::new(|number| wrap(ip(TENANT), ip(&within(number)), 47, &[0; 40]))),
    ] {
        let mut stage = Stage::new();
        for number in 0..18_000 {
            stage.packet(number * 1_000_000 / 6_000, true, &packet(number));
        }
        assert!(told(&mut stage).contains(&class), "{class}: {:?}", told(&mut stage));
        assert_eq!(stage.first(class).metrics[0].name, "network_packets_per_second");
    }
    let mut stage = Stage::new();
    for number in 0..50_000 {
        stage.packet(number * 1_000_000 / 25_000, true, &udp(&some_host(number), (high(number), 80), 30));
    }
    assert!(stage.classes().contains(&Class::FloodUdp));
    assert_eq!(stage.first(Class::FloodUdp).metrics[0].name, "total_packets_per_second");
    assert!(stage.first(Class::FloodUdp).targets.is_empty(), "nobody stands out");
}

#[test]
fn what_answers_scans_and_floods_is_no_flood() {
    // SYN floods from one host and from everywhere, at open and closed ports.
    for flags in [SYN_ACK, 0x14] {
        let from_one = |number: u64| {
            let ports = (80, high(number));
            vec![(0, false, tcp_in(HOST, ports, SYN)), (10, true, tcp(HOST, ports, flags, 0))]
        };
        check_both(5_000, 3.0, from_one, &[]);
        let from_all = |number: u64| {
            let (host, ports) = (some_host(number), (80, high(number)));
            vec![(0, false, tcp_in(&host, ports, SYN)), (10, true, tcp(&host, ports, flags, 0))]
        };
        check_both(5_000, 3.0, from_all, &[]);
    }
    // Pings, and datagrams at closed ports.
    let pinged = |_| {
        vec![(0, false, wrap(ip(HOST), ip(TENANT), 1, &[8, 0, 0, 0, 0, 7, 0, 1])), (10, true, icmp(HOST, 0))]
    };
    check_both(2_000, 3.0, pinged, &[]);
    let closed = |number| vec![(0, false, udp_in(HOST, (9, high(number)), 10)), (10, true, icmp(HOST, 3))];
    check_both(2_000, 3.0, closed, &[]);
    // The same without a cause is a flood.
    check(600, 2.0, |number| tcp(HOST, (80, high(number)), 0x14, 0), &[Class::FloodTcp]);
    check(600, 2.0, |number| tcp(HOST, (80, high(number)), SYN_ACK, 0), &[Class::FloodTcp]);
    check(200, 2.5, |_| icmp(HOST, 3), &[Class::FloodIcmp]);
    check(200, 2.5, |_| icmp(HOST, 0), &[Class::FloodIcmp]);
}

#[test]
fn connections_met_in_the_middle_are_no_flood() {
    // Five thousand of a load balancer's, all to one server, in the first second.
    let pool = |number| {
        let ports = (high(number), 8_080);
        vec![(0, true, tcp(HOST, ports, 0x18, 400)), (20_000, false, tcp_in(HOST, ports, ACK))]
    };
    check_both(5_000, 1.5, pool, &[]);
    // One upload at line rate, of which the ring keeps one packet in sixteen, both ways.
    let mut stage = Stage::with_sampling(16);
    for number in 0..30_000 {
        stage.packet(number * 100, true, &tcp(HOST, (40_000, 443), ACK, 1_448));
        if number % 40 == 39 {
            let mut ack = tcp_in(HOST, (40_000, 443), ACK);
            // With a timestamp, as modern stacks send it.
            ack[32] = 0x80;
            ack.extend([1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0]);
            ack[3] += 12;
            stage.packet(number * 100 + 50, false, &ack);
        }
    }
    assert_eq!(stage.classes(), []);
}

#[test]
fn udp_that_is_answered_is_no_flood() {
    // QUIC, a tunnel, a call; and bulk that is acknowledged forty times a second.
    let quic = |number: u64| {
        let mut packets = vec![(0, true, udp(HOST, (50_000, 443), 1_200))];
        if number.is_multiple_of(10) {
            packets.push((20_000, false, udp_in(HOST, (50_000, 443), 30)));
        }
        packets
    };
    check_both(20_000, 2.5, quic, &[]);
    let rarely = |number: u64| {
        let mut packets = vec![(0, true, udp(HOST, (50_000, 443), 1_400))];
        if number.is_multiple_of(500) {
            packets.push((20_000, false, udp_in(HOST, (50_000, 443), 30)));
        }
        packets
    };
    check_both(25_000, 2.5, rarely, &[]);
    // A few answers do not excuse small packets from everywhere.
    let few = |number: u64| {
        let mut packets = vec![(0, true, udp(HOST, (high(number), 53), 40))];
        if number.is_multiple_of(100) {
            packets.push((1_000, false, udp_in(HOST, (high(number), 53), 40)));
        }
        packets
    };
    check_both(5_000, 2.0, few, &[Class::FloodUdp]);
}

#[test]
fn telemetry_and_media_have_more_room_and_are_told_as_what_they_are() {
    let statsd = |_| udp(HOST, (50_000, 8_125), 200);
    check(5_000, 3.0, statsd, &[]);
    let stage = check(12_000, 2.0, statsd, &[Class::UdpStream]);
    assert_eq!(stage.first(Class::UdpStream).metrics[0].threshold, Some(10_000.0));
    let iptv = |_| udp(HOST, (50_000, 5_000), 1_316);
    check(4_800, 3.0, iptv, &[]);
    // From ever new ports it is a flood, at any port.
    check(5_000, 1.5, |number| udp(HOST, (high(number), 8_125), 200), &[Class::FloodUdp]);
    // One pair of ports for a minute, before it grew.
    let mut stage = Stage::new();
    for number in 0..65_000_u64 {
        stage.packet(number * 1_000_000 / 900, true, &udp(HOST, (50_000, 7_777), 300));
    }
    let begin = 65_000 * 1_000_000 / 900;
    for number in 0..9_000 {
        stage.packet(begin + number * 1_000_000 / 3_000, true, &udp(HOST, (50_000, 7_777), 300));
    }
    assert_eq!(stage.classes(), []);
    // What has been a flood does not become a stream by going on.
    let mut stage = Stage::new();
    for number in 0..88_000_u64 {
        stage.packet(number * 1_000_000 / 1_100, true, &udp(HOST, (50_000, 7_777), 300));
    }
    assert_eq!(stage.classes(), [Class::FloodUdp]);
    assert!(stage.alerts.iter().any(|alert| alert.at > time(70_000_000)));
}

/// So many streams of 300 packets a second to one recorder, on each of which it reports every `report_secs`.
fn streams(number: u16, report_secs: u64, seconds: u64, rate: u64) -> Vec<Class> {
    let mut stage = Stage::new();
    for packet in 0..rate * seconds {
        let micros = packet * 1_000_000 / rate;
        for stream in 0..number {
            let (local, peer) = (6_000 + 2 * stream, 50_000 + 2 * stream);
            if report_secs > 0 && packet % (report_secs * rate) == 0 {
                stage.packet(micros, false, &udp_in(HOST, (local + 1, peer + 1), 60));
            }
            stage.packet(micros, true, &udp(HOST, (local, peer), 1_380));
        }
    }
    stage.classes()
}

#[test]
fn several_streams_that_are_reported_on_are_no_flood() {
    assert_eq!(streams(4, 5, 12, 300), []);
    assert_eq!(streams(30, 5, 3, 300), []);
    // Nobody reports; each is a flood by itself; too many; together more than any stream may have.
    assert_eq!(streams(4, 0, 2, 300), [Class::FloodUdp]);
    assert_eq!(streams(4, 5, 2, 1_100), [Class::FloodUdp]);
    assert!(streams(80, 5, 2, 50).contains(&Class::FloodUdp));
    assert_eq!(streams(30, 5, 2, 600), [Class::UdpStream]);
}

#[test]
fn tunnels_that_speak_both_ways_are_no_flood() {
    for protocol in [47, 50, 4] {
        let tunnel = |number: u64| {
            let mut packets = vec![(0, true, wrap(ip(TENANT), ip(HOST), protocol, &[0; 100]))];
            if number.is_multiple_of(20) {
                packets.push((5_000, false, wrap(ip(HOST), ip(TENANT), protocol, &[0; 60])));
            }
            packets
        };
        check_both(10_000, 2.0, tunnel, &[]);
    }
}

#[test]
fn fragments_and_extension_headers_are_counted() {
    let fragment = |number: u64| {
        let mut packet = wrap(ip(TENANT), ip(HOST), 17, &udp_body((5_000, 53), 600));
        packet[4..6].copy_from_slice(&(number as u16).to_be_bytes());
        packet[6] = 0x20;
        // Its datagram is longer than the first piece.
        packet[24..26].copy_from_slice(&2_000_u16.to_be_bytes());
        packet
    };
    check(1_050, 2.0, fragment, &[Class::FloodUdp, Class::FloodFrag]);
    // A hop-by-hop header before ICMPv6.
    let extended = |_| {
        let body = [58, 0, 1, 4, 0, 0, 0, 0, 135, 0, 0, 0, 0, 0, 0, 0];
        wrap(ip(TENANT_6), ip("2001:db8:99::1"), 0, &body)
    };
    let mut stage = check(1_100, 1.0, extended, &[Class::FloodOther]);
    assert!(stage.classes().contains(&Class::FloodOther));
}

#[test]
fn volume_counts_what_the_sample_stands_for_and_leaves_acknowledged_bulk_alone() {
    // A gigabit of TCP, of which one packet in sixteen is seen: 5,800 bundles of 1,448 bytes a second.
    let upload = |acknowledged: bool| {
        let mut stage = Stage::with_sampling(16);
        for number in 0..6_000_u64 * 11 {
            let at = number * 1_000_000 / 6_000;
            stage.packet(at, true, &tcp(HOST, (40_000, 443), ACK, 1_448));
            // One in forty-four, all of them seen.
            if acknowledged && number % 3 == 0 {
                stage.packet(at + 10, false, &tcp_in(HOST, (40_000, 443), ACK));
            }
        }
        stage.classes()
    };
    assert_eq!(upload(true), []);
    assert!(upload(false).contains(&Class::FloodVolume));
}

/// Requests of `lengths` to a port of the tenant's, each answered by `answers` datagrams.
fn reflect(
    rate: u64,
    seconds: f64,
    (port, peer_port): (u16, impl Fn(u64) -> u16),
    length: impl Fn(u64) -> usize,
    (answers, answer): (u64, usize),
    expect: &[Class],
) {
    let dialogue = |number: u64| {
        let ports = (port, peer_port(number));
        let mut packets = vec![(0, false, udp_in(HOST, ports, length(number)))];
        packets.extend((0..answers).map(|more| (100 + more, true, udp(HOST, ports, answer))));
        packets
    };
    check_both(rate, seconds, dialogue, expect);
}

#[test]
fn a_reflector_is_told_after_three_seconds() {
    let found = [Class::FloodAmplify];
    let ports = |_| 80;
    reflect(210, 3.3, (53, ports), |_| 40, (1, 1_200), &found);
    reflect(210, 1.9, (53, ports), |_| 40, (1, 1_200), &[]);
    // As many packets, and not as large; as large, and not as many.
    reflect(210, 5.0, (53, ports), |_| 40, (1, 100), &[]);
    reflect(40, 5.0, (53, ports), |_| 40, (1, 1_200), &[]);
    reflect(20, 4.0, (123, ports), |_| 8, (20, 468), &found);
    reflect(5, 4.0, (11_211, ports), |_| 15, (45, 1_400), &found);
    reflect(60, 4.0, (1_900, high), |_| 94, (8, 320), &found);
    reflect(100, 4.0, (389, ports), |_| 52, (2, 1_400), &found);
    reflect(100, 4.0, (161, ports), |_| 60, (1, 1_400), &found);
    reflect(250, 4.0, (19, ports), |_| 1, (1, 500), &found);
    // A service that nobody knows, asked from ever new ports.
    reflect(250, 4.0, (9_876, high), |_| 12, (1, 900), &found);
}

#[test]
fn servers_that_answer_those_who_ask_are_no_reflectors() {
    let names = |number: u64| 25 + (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % 40;
    // A busy resolver; a walk through SNMP; a game; a tunnel on a port of its own and on that of DNS; a download by TFTP.
    reflect(400, 5.0, (53, high), names, (1, 1_200), &[]);
    reflect(300, 5.0, (161, |_| 50_000), |number| 80 + (number % 6) as usize, (1, 1_400), &[]);
    reflect(100, 5.0, (27_015, |_| 27_005), names, (2, 800), &[]);
    reflect(1_000, 5.0, (51_820, |_| 51_820), |_| 96, (3, 1_440), &[]);
    reflect(1_000, 5.0, (53, |_| 51_820), |_| 96, (3, 1_440), &[]);
    let tftp = |number: u64| {
        let mut packets = Vec::new();
        if number == 0 {
            packets.push((0, false, udp_in(HOST, (69, 3_000), 20)));
        }
        packets.push((100, true, udp(HOST, (34_567, 3_000), 1_432)));
        packets.push((300, false, udp_in(HOST, (34_567, 3_000), 4)));
        packets
    };
    check_both(500, 5.0, tftp, &[]);
    // A name server: many are answered, each little.
    let many = |number: u64| {
        let host = format!("20.{}.{}.9", number % 37, number % 251);
        vec![
            (0, false, udp_in(&host, (53, high(number)), 40)),
            (50, true, udp(&host, (53, high(number)), 1_200)),
        ]
    };
    check_both(3_000, 5.0, many, &[]);
}

#[test]
fn reflection_over_one_network_is_told_too() {
    let spread = |number: u64| {
        let host = format!("20.0.0.{}", 1 + number % 200);
        vec![(0, false, udp_in(&host, (53, 80), 40)), (50, true, udp(&host, (53, 80), 1_200))]
    };
    check_both(2_000, 5.0, spread, &[Class::FloodAmplify]);
}

#[test]
fn services_on_high_ports_reflect_and_clients_on_them_do_not() {
    for peer_port in [53, 443, 5_555] {
        reflect(300, 4.0, (37_810, move |_| peer_port), |_| 60, (1, 900), &[Class::FloodAmplify]);
    }
    // An upload by QUIC, from a port that happens to be one of those: the tenant spoke first.
    let upload = |number: u64| {
        let mut packets = vec![(0, true, udp(HOST, (37_810, 443), 1_400))];
        if number % 4 == 3 {
            packets.push((500, false, udp_in(HOST, (37_810, 443), 30 + number as usize % 2)));
        }
        packets
    };
    check_both(900, 5.0, upload, &[]);
}

/// Reflection by turns: `on` seconds of each `of` are at a host of the network that is the pulse's own.
fn pulses(on: u64, of: u64, seconds: u64) -> Vec<Class> {
    let mut stage = Stage::new();
    for number in 0..seconds * 300 {
        let second = number / 300;
        if second % of < on {
            let host = format!("20.0.{}.9", second / of % 2);
            let micros = number * 1_000_000 / 300;
            stage.packet(micros, false, &udp_in(&host, (123, high(number)), 8));
            stage.packet(micros + 50, true, &udp(&host, (123, high(number)), 468));
        }
    }
    stage.classes()
}

#[test]
fn pulses_at_one_victim_after_another_are_counted_together() {
    assert_eq!(pulses(2, 2, 12), [Class::FloodAmplify]);
    assert_eq!(pulses(2, 5, 30), [Class::FloodAmplify]);
    assert_eq!(pulses(1, 6, 30), []);
}

#[test]
fn a_name_server_that_is_asked_in_a_victims_name_is_never_suspended() {
    let mut stage = Stage::new();
    for number in 0..60_u64 * 1_000 {
        let (micros, ports) = (number * 1_000_000 / 60, (53, high(number)));
        stage.packet(micros, false, &udp_in(HOST, ports, 30));
        stage.packet(micros + 500, true, &udp(HOST, ports, 1_100));
    }
    assert_eq!(stage.classes(), [Class::FloodAmplify]);
    // It goes on for a quarter of an hour and more: held back, and held back again when that has run out.
    let actions: Vec<_> = stage.decisions.iter().map(|decision| decision.action).collect();
    assert!(actions.len() >= 2 && actions.iter().all(|action| *action == Action::Block), "{actions:?}");
    let aims = |scope: &Scope| *scope == Scope::Destinations { addresses: vec![ip(HOST)] };
    assert!(stage.decisions.iter().all(|decision| aims(&decision.scope)));
}
