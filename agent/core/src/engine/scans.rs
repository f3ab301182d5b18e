//! Scans and what looks like them, as frames through the whole engine: hosting tenants' everyday traffic stays silent, and a scanner
//! gains nothing by its tricks.

mod callers;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use reeve_policy::language::Policy;
use reeve_policy::{Alert, Class, Mode, Profile, Tenant, Timestamp};

use super::{Engine, EngineConfig, Output};
use crate::frame::{Frame, LinkType, Passage, VantageId};
use crate::topology::{Vantage, VantageKind};

const ME: [u8; 4] = [203, 0, 113, 10];
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Silent,
    Refused,
    /// Answered, and something is said.
    Used,
    /// Answered, and the tenant goes away without a word.
    Mute,
}
use Fate::{Mute, Refused, Silent, Used};

/// Frames with their milliseconds; whether the tenant sent them.
#[derive(Clone, Default)]
struct Traffic(Vec<(u64, bool, Vec<u8>)>);

/// A host far away, by number; neighbours in number are not neighbours in address.
fn host(number: u32) -> [u8; 4] {
    let [_, b, c, d] = number.wrapping_mul(0x9e37_79b1).to_be_bytes();
    [20 + (number % 60) as u8, b, c, d]
}

fn ip(protocol: u8, from: [u8; 4], to: [u8; 4], body: &[u8]) -> Vec<u8> {
    fragment(protocol, from, to, [0, 0], body)
}

fn fragment(protocol: u8, from: [u8; 4], to: [u8; 4], offset: [u8; 2], body: &[u8]) -> Vec<u8> {
    let len = (20 + body.len()) as u16;
    let mut bytes = vec![0x45, 0];
    bytes.extend(len.to_be_bytes());
    bytes.extend([0, 0, offset[0], offset[1], 64, protocol, 0, 0]);
    bytes.extend(from.iter().chain(&to));
    bytes.extend(body);
    bytes
}

fn segment(ports: (u16, u16), flags: u8, (sequence, acknowledgment): (u32, u32), payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(acknowledgment.to_be_bytes());
    bytes.extend([0x50, flags, 4, 0, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

impl Traffic {
    fn tcp(&mut self, millis: u64, local_port: u16, to: [u8; 4], port: u16, fate: Fate) {
        self.tcp_from(millis, (ME, local_port), to, port, fate);
    }

    fn tcp_from(
        &mut self,
        millis: u64,
        (me, local_port): ([u8; 4], u16),
        to: [u8; 4],
        port: u16,
        fate: Fate,
    ) {
        let isn = (millis as u32).wrapping_mul(7_919);
        let sent =
            |flags, numbers, data: &[u8]| ip(6, me, to, &segment((local_port, port), flags, numbers, data));
        let back =
            |flags, numbers, data: &[u8]| ip(6, to, me, &segment((port, local_port), flags, numbers, data));
        self.0.push((millis, true, sent(SYN, (isn, 0), b"")));
        match fate {
            Silent => {}
            Refused => self.0.push((millis + 20, false, back(RST | ACK, (0, isn + 1), b""))),
            Used => {
                self.0.push((millis + 20, false, back(SYN | ACK, (9, isn + 1), b"")));
                self.0.push((millis + 21, true, sent(ACK, (isn + 1, 10), b"")));
                self.0.push((millis + 22, true, sent(0x18, (isn + 1, 10), b"hello")));
                self.0.push((millis + 42, false, back(0x18, (10, isn + 6), b"hello")));
            }
            Mute => {
                self.0.push((millis + 20, false, back(SYN | ACK, (9, isn + 1), b"")));
                self.0.push((millis + 21, true, sent(RST | ACK, (isn + 1, 10), b"")));
            }
        }
    }

    /// Somebody calls a port of the tenant's and is served.
    fn called(&mut self, millis: u64, from: [u8; 4], local_port: u16) {
        let theirs = 30_000 + (millis % 30_000) as u16;
        let sent = |flags, numbers| ip(6, ME, from, &segment((local_port, theirs), flags, numbers, b""));
        self.0.push((millis, false, ip(6, from, ME, &segment((theirs, local_port), SYN, (5, 0), b""))));
        self.0.push((millis + 1, true, sent(SYN | ACK, (9, 6))));
        self.0.push((
            millis + 21,
            false,
            ip(6, from, ME, &segment((theirs, local_port), 0x18, (6, 10), b"GET")),
        ));
        self.0.push((millis + 22, true, sent(ACK, (10, 9))));
    }

    fn udp(&mut self, millis: u64, local_port: u16, to: [u8; 4], port: u16, fate: Fate) {
        let datagram = |from: u16, to: u16| {
            let mut bytes = Vec::new();
            [from, to, 18, 0].iter().for_each(|word| bytes.extend(word.to_be_bytes()));
            bytes.extend([0; 10]);
            bytes
        };
        let sent = ip(17, ME, to, &datagram(local_port, port));
        match fate {
            Silent | Mute => {}
            Refused => {
                let mut error = vec![3, 3, 0, 0, 0, 0, 0, 0];
                error.extend(&sent[..28]);
                self.0.push((millis + 20, false, ip(1, to, ME, &error)));
            }
            Used => self.0.push((millis + 20, false, ip(17, to, ME, &datagram(port, local_port)))),
        }
        self.0.push((millis, true, sent));
    }

    /// A datagram from a stranger, which the tenant answers.
    fn called_udp(&mut self, millis: u64, from: [u8; 4], port: u16, local_port: u16) {
        let datagram = |from: u16, to: u16| {
            let mut bytes = Vec::new();
            [from, to, 8, 0].iter().for_each(|word| bytes.extend(word.to_be_bytes()));
            bytes
        };
        self.0.push((millis, false, ip(17, from, ME, &datagram(port, local_port))));
        self.0.push((millis + 1, true, ip(17, ME, from, &datagram(local_port, port))));
    }

    fn echo(&mut self, millis: u64, to: [u8; 4], kind: u8, fate: Fate) {
        self.0.push((millis, true, ip(1, ME, to, &[kind, 0, 0, 0, 0, 1, 0, 1])));
        if fate == Used {
            let reply = if kind == 8 { 0 } else { kind + 1 };
            self.0.push((millis + 20, false, ip(1, to, ME, &[reply, 0, 0, 0, 0, 1, 0, 1])));
        }
    }

    /// A packet of the tenant's, as it is.
    fn raw(&mut self, millis: u64, bytes: Vec<u8>) {
        self.0.push((millis, true, bytes));
    }

    /// Plays it on the tenant's port; the classes that are alerted, each with the second of its first alert.
    fn play(self) -> Vec<(String, u64)> {
        let mut seen = BTreeSet::new();
        // The packets of a scan that goes on beside thousands of other dials are pushed out before it is told.
        let is_crowded = self.0.len() > 2_000;
        self.alerts(Profile::None)
            .into_iter()
            .inspect(|alert| {
                let is_scan = alert.class.family() == "portscan";
                assert!(!is_scan || (1..=32).contains(&alert.targets.len()), "{}", alert.summary());
                assert!(is_crowded || !alert.samples.is_empty(), "no headers: {}", alert.summary());
            })
            .filter(|alert| seen.insert(alert.class))
            .map(|alert| (alert.class.to_string(), (alert.at.as_nanos() - at(0).as_nanos()) / 1_000_000_000))
            .collect()
    }

    /// All alerts about a tenant with a profile.
    fn alerts(mut self, profile: Profile) -> Vec<Alert> {
        let policy = Arc::new(Policy::preset("baseline").unwrap());
        let mut engine = Engine::new(EngineConfig {
            node: "n1".parse().unwrap(),
            mode: Mode::Observe,
            policy,
            flow_bytes: 8 << 20,
            seed: 3,
            shards: 1,
        });
        let tenant = Tenant {
            addresses: vec!["203.0.113.0/28".parse().unwrap(), "2001:db8:a::/48".parse().unwrap()],
            interfaces: vec!["n1/tap0".parse().unwrap()],
            profile,
            ..Tenant::new("alice".parse().unwrap())
        };
        let vantage =
            Vantage { id: VantageId(0), interface: "tap0".into(), kind: VantageKind::Port, sampling: 1 };
        engine.handle_topology(vec![Arc::new(tenant)], vec![vantage], at(0));
        self.0.sort_by_key(|(millis, ..)| *millis);
        let end = self.0.last().map_or(0, |(millis, ..)| *millis) + 5_000;
        for (millis, is_sent, data) in &self.0 {
            engine.handle_frame(&Frame {
                at: at(*millis),
                vantage: VantageId(0),
                passage: if *is_sent { Passage::In } else { Passage::Out },
                owner: None,
                link: LinkType::RawIp,
                vlan: None,
                data,
                wire_len: data.len() as u32,
            });
        }
        engine.handle_tick(at(end));
        let alert = |output| match output {
            Output::Alert(alert) => Some(alert),
            _ => None,
        };
        std::iter::from_fn(|| engine.poll()).filter_map(alert).collect()
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos((1_700_000_000_000 + millis) * 1_000_000)
}

#[track_caller]
fn check(traffic: Traffic, expect: &[(&str, u64)]) {
    let expect: Vec<(String, u64)> =
        expect.iter().map(|(class, second)| ((*class).to_owned(), *second)).collect();
    assert_eq!(traffic.play(), expect);
}

#[track_caller]
fn check_silent(name: &str, build: impl FnOnce(&mut Traffic)) {
    let mut traffic = Traffic::default();
    build(&mut traffic);
    assert_eq!(traffic.play(), [], "{name}");
}

/// Whether what is built alerts one of the scans, as it should.
#[track_caller]
fn check_found(name: &str, build: impl FnOnce(&mut Traffic)) {
    let mut traffic = Traffic::default();
    build(&mut traffic);
    let told = traffic.play();
    assert!(told.iter().any(|(class, _)| class.starts_with("portscan.")), "{name}: {told:?}");
}

#[test]
fn everyday_servers_are_no_scanners() {
    check_silent("resolver", |traffic| {
        for number in 0..3_000_u32 {
            let server = host(number % 400);
            let fate = if number % 400 < 20 { Silent } else { Used };
            traffic.udp(u64::from(number) * 20, 1_024 + (number * 7 % 60_000) as u16, server, 53, fate);
        }
    });
    check_silent("mail server with dead exchangers", |traffic| {
        for number in 0..600_u32 {
            let fate = if number % 4 == 0 { Silent } else { Used };
            traffic.tcp(u64::from(number) * 100, 33_000 + number as u16, host(number), 25, fate);
        }
    });
    check_silent("a busy crawler with dead links", |traffic| {
        for number in 0..6_000_u32 {
            let fate = [Silent, Used, Used, Refused, Used][number as usize % 5];
            traffic.tcp(u64::from(number) * 10, 2_000 + number as u16, host(number), 443, fate);
        }
    });
    check_silent("monitoring of 200 hosts", |traffic| {
        for round in 0..6_u64 {
            for number in 0..200_u32 {
                let when = round * 10_000 + u64::from(number) * 50;
                traffic.tcp(
                    when,
                    20_000 + (when / 10) as u16,
                    host(number),
                    22,
                    if number < 90 { Mute } else { Used },
                );
                traffic.echo(when + 5, host(number), 8, Used);
            }
        }
    });
    check_silent("health checks of 200 backends", |traffic| {
        for round in 0..12_u64 {
            for number in 0..200_u32 {
                let when = round * 5_000 + u64::from(number) * 20;
                traffic.tcp(when, 20_000 + (when / 7) as u16, host(number), 8_080, Mute);
            }
        }
    });
    check_silent("time servers", |traffic| {
        for number in 0..200_u32 {
            let fate = if number % 9 == 0 { Silent } else { Used };
            traffic.udp(u64::from(number) * 300, 123, host(number % 40), 123, fate);
        }
    });
    check_silent("passive FTP", |traffic| {
        traffic.tcp(0, 40_000, host(1), 21, Used);
        for number in 0..300_u16 {
            traffic.tcp(100 + u64::from(number) * 150, 40_001 + number, host(1), 50_000 + number * 13, Used);
        }
    });
}

#[test]
fn what_died_is_no_scan() {
    check_silent("a dead upstream retried", |traffic| {
        for number in 0..2_000_u64 {
            traffic.tcp(number * 30, 10_000 + number as u16, host(1), 5_432, Refused);
        }
    });
    check_silent("a pool of 150 backends that dies", |traffic| {
        for number in 0..150_u32 {
            traffic.tcp(u64::from(number) * 50, 10_000 + number as u16, host(number), 6_379, Used);
        }
        for number in 0..1_500_u32 {
            let when = 20_000 + u64::from(number) * 30;
            traffic.tcp(when, 20_000 + number as u16, host(number % 150), 6_379, Silent);
        }
    });
    check_silent("a dozen stale backends", |traffic| {
        for number in 0..240_u32 {
            traffic.tcp(u64::from(number) * 400, 10_000 + number as u16, host(number % 12), 8_080, Silent);
        }
    });
    check_silent("fifty containers that start before their services", |traffic| {
        let services = [5_432, 6_379, 9_092, 9_093, 2_379, 4_222];
        for container in 0..50_u64 {
            for attempt in 0..4 {
                for (number, port) in services.into_iter().enumerate() {
                    let when = container * 40 + attempt * 2_000 + number as u64;
                    let local = 10_000 + (container * 24 + attempt * 6 + number as u64) as u16;
                    traffic.tcp(when, local, host(number as u32), port, Refused);
                }
            }
        }
    });
    check_silent("happy eyeballs", |traffic| {
        for number in 0..200_u32 {
            let when = u64::from(number / 10) * 2_000 + u64::from(number % 10);
            // Of each site one address is dead and another answers.
            traffic.tcp(when, 10_000 + number as u16, host(number), 443, Silent);
            traffic.tcp(when + 250, 20_000 + number as u16, host(1_000 + number), 443, Used);
        }
    });
}

#[test]
fn federation_with_many_dead_peers_is_no_slow_scan() {
    check_silent("federation", |traffic| {
        for number in 0..4_000_u32 {
            // Two in five are gone for good; those who live call as well.
            let peer = number % 900;
            let fate = if peer % 5 < 2 { Silent } else { Used };
            traffic.tcp(
                u64::from(number) * 1_300,
                10_000 + (number % 50_000) as u16,
                host(peer),
                8_448,
                fate,
            );
            if fate == Used {
                traffic.called(u64::from(number) * 1_300 + 500, host(peer), 8_448);
            }
        }
    });
}

/// A swarm as a client meets it: each peer on a port of its own, most of them gone, many on their software's usual port.
fn swarm(traffic: &mut Traffic, millis: u64, local_port: u16) {
    for number in 0..millis / 100 {
        let (when, peer) = (number * 100, number as u32);
        let fate = [Silent, Silent, Refused, Silent, Used][peer as usize % 5];
        let port = match peer % 6 {
            0 => 6_881,
            1 => 51_413,
            _ => 10_000 + (peer.wrapping_mul(7_919) % 50_000) as u16,
        };
        traffic.tcp(when, 20_000 + (number % 30_000) as u16, host(peer), port, fate);
        traffic.udp(when + 30, local_port, host(5_000 + peer), port, fate);
        if number % 10 == 0 {
            traffic.called(when + 50, host(9_000 + peer), local_port);
            traffic.called_udp(when + 60, host(12_000 + peer), 10_000 + peer as u16, local_port);
        }
    }
}

#[test]
fn peer_to_peer_nodes_are_no_scanners_from_whatever_port() {
    for local_port in [6_881, 443, 23_456] {
        check_silent("a swarm", |traffic| swarm(traffic, 90_000, local_port));
    }
    check_silent("a chain's node on the usual port", |traffic| {
        for number in 0..1_200_u32 {
            let fate = if number % 8 == 0 { Used } else { Silent };
            let when = u64::from(number) * 300;
            traffic.tcp(when, 20_000 + number as u16, host(number), 30_303, fate);
            traffic.udp(when + 9, 30_303, host(number), 30_303, fate);
        }
    });
    check_silent("a chain's node on a port of its own, once strangers have called", |traffic| {
        for number in 0..20 {
            traffic.called(u64::from(number) * 200, host(50_000 + number), 19_444);
        }
        for number in 0..1_200_u32 {
            let fate = if number % 8 == 0 { Used } else { Silent };
            let when = 5_000 + u64::from(number) * 300;
            traffic.tcp(when, 20_000 + number as u16, host(number), 19_444, fate);
            if number % 20 == 0 {
                traffic.called(when + 50, host(60_000 + number), 19_444);
            }
        }
    });
    check_silent("peers on private networks", |traffic| {
        for number in 0..600_u32 {
            let [_, _, c, d] = number.to_be_bytes();
            traffic.tcp(u64::from(number) * 50, 20_000 + number as u16, [10, 7, c, d], 4_001, Silent);
            traffic.tcp(u64::from(number) * 50, 21_000 + number as u16, [192, 168, c, d], 8_080, Silent);
        }
    });
}

#[test]
fn a_scan_by_a_tenant_with_a_node_is_found() {
    let mut traffic = Traffic::default();
    swarm(&mut traffic, 90_000, 6_881);
    for number in 0..40_u32 {
        traffic.tcp(30_000 + u64::from(number) * 200, 55_555, host(80_000 + number), 8_080, Silent);
    }
    // The walk is led up by the node's own dials already, so it needs no more than its least number of hosts.
    assert_eq!(traffic.play().first().map(|(class, _)| class.as_str()), Some("portscan.horizontal"));
    let mut patient = Traffic::default();
    swarm(&mut patient, 1_800_000, 6_881);
    for number in 0..100_u32 {
        patient.tcp(u64::from(number) * 15_000 + 7, 55_555, host(80_000 + number), 23, Refused);
    }
    assert!(patient.play().iter().any(|(class, _)| class.starts_with("portscan.")));
}

#[test]
fn thresholds_are_crossed_in_their_tick() {
    let mut refused = Traffic::default();
    (0..40_u32).for_each(|number| refused.tcp(u64::from(number) * 1_000, 40_000, host(number), 23, Refused));
    // The fifteenth host of a port that intruders love.
    check(refused, &[("portscan.horizontal", 14)]);
    let mut patient = Traffic::default();
    (0..40_u32).for_each(|number| patient.tcp(u64::from(number) * 2_500, 40_000, host(number), 80, Refused));
    // The fourteenth host, by the sequential test: no window sees more than 24 of these.
    check(patient, &[("portscan.horizontal", 32)]);
    let mut silent = Traffic::default();
    (0..40_u32).for_each(|number| silent.udp(u64::from(number) * 1_000, 40_000, host(number), 161, Refused));
    check(silent, &[("portscan.horizontal", 24)]);
}

#[test]
fn patient_scans_are_found() {
    let mut traffic = Traffic::default();
    // nmap -T1: a probe every 15 s, at one host's ports in no order.
    for number in 0..100_u32 {
        let port = 1 + (number.wrapping_mul(40_503) % 65_535) as u16;
        traffic.tcp(u64::from(number) * 15_000, 40_000, host(1), port, Silent);
    }
    // The sixtieth probe goes out at 885 s and is silent three seconds later.
    check(traffic, &[("portscan.slow", 888)]);
    let mut traffic = Traffic::default();
    for number in 0..100_u32 {
        let port = 1 + (number.wrapping_mul(40_503) % 65_535) as u16;
        traffic.tcp(u64::from(number) * 1_000, 40_000, host(1), port, Silent);
    }
    check(traffic, &[("portscan.vertical", 22)]);
    let mut stealthy = Traffic::default();
    for number in 0..100_u16 {
        let probe = segment((40_000, 1_000 + number), 0x01, (7, 0), b"");
        stealthy.raw(u64::from(number) * 16_000, ip(6, ME, host(1), &probe));
    }
    check(stealthy, &[("portscan.slow", 944)]);
}

#[test]
fn what_asks_whether_hosts_are_there_is_counted_by_host() {
    check_found("echo", |traffic| {
        (0..40).for_each(|number| traffic.echo(u64::from(number) * 50, host(number), 8, Silent));
    });
    check_found("timestamp and mask by turns", |traffic| {
        (0..40).for_each(|number| {
            traffic.echo(u64::from(number) * 50, host(number), if number % 2 == 0 { 13 } else { 17 }, Silent);
        });
    });
    check_found("echo and lone ACK by turns", |traffic| {
        traffic.echo(0, host(9_999), 8, Used);
        for number in 0..40_u32 {
            let (when, to) = (70_000 + u64::from(number) * 50, host(number));
            if number % 2 == 0 {
                traffic.echo(when, to, 8, Silent);
            } else {
                traffic.raw(when, ip(6, ME, to, &segment((40_000 + number as u16, 80), ACK, (7, 7), b"")));
            }
        }
    });
    check_silent("a few that are gone", |traffic| {
        (0..24).for_each(|number| traffic.echo(u64::from(number) * 50, host(number), 8, Silent));
    });
}

#[test]
fn every_transport_is_swept_alike() {
    check_found("SCTP", |traffic| {
        for number in 0..40_u32 {
            let chunk = if number % 2 == 0 { 1 } else { 10 };
            let body = [0x9c, 0x40, 0x0b, 0x59, 0, 0, 0, 0, 0, 0, 0, 0, chunk, 0, 0, 4];
            traffic.raw(u64::from(number) * 50, ip(132, ME, host(number), &body));
        }
    });
    check_found("another protocol", |traffic| {
        (0..60).for_each(|number| traffic.raw(u64::from(number) * 50, ip(47, ME, host(number), &[0; 8])));
    });
    check_found("all protocols of a host", |traffic| {
        (90..110).for_each(|number| traffic.raw(u64::from(number) * 50, ip(number, ME, host(1), &[0; 8])));
    });
    check_found("a block, shuffled", |traffic| {
        for number in 0..120_u32 {
            let mixed = number.wrapping_mul(77) % 120;
            let (to, port) = (host(mixed % 10), 7_000 + (mixed / 10) as u16);
            traffic.tcp(u64::from(number) * 200, 40_000 + number as u16, to, port, Refused);
        }
    });
}

#[test]
fn a_scan_of_probes_is_found_from_its_first_second_on() {
    check_found("ACK, nobody answers", |traffic| {
        for number in 0..40_u16 {
            let probe = segment((40_000, 1 + number), ACK, (7, 7), b"");
            traffic.raw(u64::from(number) * 10, ip(6, ME, host(1), &probe));
        }
    });
    check_found("ACK, a filter answers", |traffic| {
        for number in 0..40_u16 {
            let probe = ip(6, ME, host(1), &segment((40_000 + number, 1 + number), ACK, (7, 7), b""));
            let mut error = vec![3, 13, 0, 0, 0, 0, 0, 0];
            error.extend(&probe[..28]);
            traffic.raw(u64::from(number) * 10, probe);
            traffic.0.push((u64::from(number) * 10 + 5, false, ip(1, [20, 9, 9, 9], ME, &error)));
        }
    });
    check_silent("connections of before that end", |traffic| {
        for number in 0..60_u32 {
            // Each from a port of its own, to a server that is not there any more.
            let end = segment((30_000 + number as u16, 443), 0x11, (7, 7), b"");
            traffic.raw(u64::from(number) * 10, ip(6, ME, host(number), &end));
        }
    });
    check_silent("a server whose idle clients are gone", |traffic| {
        (0..10).for_each(|number| traffic.called(u64::from(number) * 100, host(5_000 + number), 8_443));
        for number in 0..200_u32 {
            let end = segment((8_443, 30_000 + number as u16), 0x11, (7, 7), b"");
            traffic.raw(70_000 + u64::from(number), ip(6, ME, host(number), &end));
        }
    });
}

#[test]
fn tricks_gain_a_scanner_nothing() {
    check_found("decoys: the same probes from others' addresses", |traffic| {
        for number in 0..40_u32 {
            for decoy in [ME, [198, 51, 100, 7], [198, 51, 100, 8]] {
                let fate = if decoy == ME { Refused } else { Silent };
                traffic.tcp_from(
                    u64::from(number) * 50,
                    (decoy, 40_000),
                    host(1),
                    1_000 + number as u16,
                    fate,
                );
            }
        }
    });
    check_found("addresses of one's own by turns", |traffic| {
        for number in 0..40_u32 {
            let me = [203, 0, 113, (number % 14) as u8 + 1];
            traffic.tcp_from(u64::from(number) * 50, (me, 40_000), host(number), 8_080, Silent);
        }
    });
    check_found("the port of a name server as source, and odd hop limits", |traffic| {
        (0..20)
            .for_each(|number| traffic.called_udp(u64::from(number) * 10, host(7_000 + number), 5_353, 53));
        for number in 0..80_u32 {
            let before = traffic.0.len();
            traffic.udp(5_000 + u64::from(number) * 50, 53, host(number), 161, Silent);
            traffic.0[before..].iter_mut().for_each(|(_, _, data)| data[8] = 1 + (number % 200) as u8);
        }
    });
    check_found("tiny fragments", |traffic| {
        for number in 0..40_u16 {
            let probe = segment((40_000, 1_000 + number), SYN, (7, 0), b"");
            let when = u64::from(number) * 10;
            traffic.raw(when, fragment(6, ME, host(1), [0x20, 0], &probe[..8]));
            traffic.raw(when + 1, fragment(6, ME, host(1), [0x20, 1], &probe[8..16]));
            traffic.raw(when + 2, fragment(6, ME, host(1), [0, 2], &probe[16..]));
        }
    });
    check_found("good traffic to old friends, one to one", |traffic| {
        for number in 0..60_u32 {
            traffic.tcp(
                u64::from(number) * 100,
                30_000 + number as u16,
                host(90_000 + number % 8),
                8_080,
                Used,
            );
            traffic.tcp(u64::from(number) * 100 + 50, 40_000, host(number), 8_080, Silent);
        }
    });
    // What it costs to stay unseen: as many fresh friends as targets, on the same port.
    check_silent("good traffic to fresh friends, one to one", |traffic| {
        for number in 0..60_u32 {
            traffic.tcp(u64::from(number) * 100, 30_000 + number as u16, host(90_000 + number), 8_080, Used);
            traffic.tcp(u64::from(number) * 100 + 50, 40_000, host(number), 8_080, Silent);
        }
    });
}

#[test]
fn rotating_addresses_of_a_prefix_are_one_tenant() {
    let mut traffic = Traffic::default();
    for number in 0..40_u16 {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 20, 6, 64];
        let [high, low] = number.to_be_bytes();
        bytes.extend([0x20, 1, 0x0d, 0xb8, 0, 0x0a, 0, 0, high, low, 1, 2, 3, 4, 5, low]);
        bytes.extend([0x2a, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low]);
        bytes.extend(segment((40_000, 8_080), SYN, (7, 0), b""));
        traffic.raw(u64::from(number) * 50, bytes);
    }
    assert_eq!(traffic.play().first().map(|(class, _)| class.as_str()), Some("portscan.horizontal"));
}

#[test]
fn a_flood_of_attempts_does_not_hide_what_becomes_of_them() {
    // Two hundred thousand hosts within a second: many times what the table has room for.
    let mut traffic = Traffic::default();
    for number in 0..200_000_u32 {
        let to = Ipv4Addr::from_bits(0x1400_0000 + number).octets();
        traffic.tcp(u64::from(number) / 200, 40_000, to, 23, Silent);
    }
    assert!(traffic.play().iter().any(|(class, second)| class == "portscan.horizontal" && *second <= 3));
}

/// Plays a packet of a busy web server's between any two of what is built; the first alert of `class` shows packets of the tenant's, all of
/// which went to `port`.
#[track_caller]
fn check_shown(class: Class, port: u16, build: impl FnOnce(&mut Traffic)) {
    let mut traffic = Traffic::default();
    build(&mut traffic);
    let last = traffic.0.iter().map(|(millis, ..)| *millis).max().unwrap();
    (0..last / 20).for_each(|number| traffic.called(number * 20, host(40_000 + number as u32), 443));
    let alerts = traffic.alerts(Profile::None);
    let alert = alerts.iter().find(|alert| alert.class == class).unwrap_or_else(|| panic!("{class}"));
    assert_eq!(alert.sources(), [std::net::IpAddr::from(ME)], "{}", alert.summary());
    let is_to = |sample: &reeve_policy::HeaderSample| sample.target().unwrap().port == Some(port);
    assert!(alert.samples.len() >= 5 && alert.samples.iter().all(is_to), "{class}: {:?}", alert.samples);
}

#[test]
fn packets_that_only_acknowledge_are_shown_where_they_are_the_abuse() {
    let ack = |to, port| ip(6, ME, to, &segment((50_000, port), ACK, (7, 9), b""));
    let rst = |from, port| ip(6, from, ME, &segment((port, 50_000), RST, (9, 0), b""));
    check_shown(Class::PortscanStealth, 22, |traffic| {
        for number in 0..40 {
            let when = 70_000 + u64::from(number) * 50;
            traffic.raw(when, ack(host(number), 22));
            traffic.0.push((when + 9, false, rst(host(number), 22)));
        }
    });
    // Nobody answers, and it takes hours.
    check_shown(Class::PortscanSlow, 22, |traffic| {
        (0..70).for_each(|number| traffic.raw(70_000 + u64::from(number) * 20_000, ack(host(number), 22)));
    });
    check_shown(Class::PortscanHorizontal, 80, |traffic| {
        for number in 0..80 {
            let to = host(number);
            traffic.raw(70_000 + u64::from(number) * 5, ack(to, 80));
            traffic.0.push((70_003 + u64::from(number) * 5, false, rst(to, 80)));
        }
    });
    check_shown(Class::FloodTcp, 80, |traffic| {
        (0..4_000).for_each(|number| traffic.raw(70_000 + number / 2, ack(host(1), 80)));
    });
}

/// So many hosts tried on a port in half a minute, and so many ports of one host.
fn rounds(hosts: u32, port: u16, ports: u16, fate: Fate) -> Traffic {
    let mut traffic = Traffic::default();
    for number in 0..hosts {
        traffic.tcp(u64::from(number) * 100, 20_000 + number as u16, host(number), port, fate);
    }
    (0..ports).for_each(|number| traffic.tcp(u64::from(number) * 900, 45_000, host(9_999), 1 + number, fate));
    traffic
}

#[test]
fn what_watches_services_may_be_told_from_a_scanner() {
    let check = |profile, traffic: Traffic, expect: &[Class]| {
        let told: BTreeSet<Class> = traffic.alerts(profile).iter().map(|alert| alert.class).collect();
        assert_eq!(told, expect.iter().copied().collect(), "{profile:?}");
    };
    let (wide, tall) = (Class::PortscanHorizontal, Class::PortscanVertical);
    // All services of a host, each spoken with: nobody's business.
    check(Profile::None, rounds(0, 0, 40, Used), &[]);
    check(Profile::None, rounds(0, 0, 15, Mute), &[tall]);
    check(Profile::None, rounds(110, 22, 0, Mute), &[wide]);
    for traffic in [rounds(0, 0, 40, Mute), rounds(110, 22, 0, Mute), rounds(470, 443, 0, Mute)] {
        check(Profile::Monitoring, traffic, &[]);
    }
    // What does not answer is a scan all the same.
    check(Profile::Monitoring, rounds(0, 0, 20, Refused), &[tall]);
    check(Profile::Monitoring, rounds(40, 8_080, 0, Silent), &[wide]);
    // Whom one had business with, one may look for.
    let mut traffic = rounds(110, 22, 0, Used);
    traffic.0.extend(
        rounds(110, 22, 0, Mute).0.into_iter().map(|(millis, sent, data)| (900_000 + millis, sent, data)),
    );
    check(Profile::None, traffic, &[]);
}
