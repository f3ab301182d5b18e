//! However many shards there are, the same comes out.

use std::sync::Arc;

use proptest::prelude::*;
use reeve_policy::language::Policy;
use reeve_policy::{Mode, Tenant, Timestamp};

use super::{Engine, EngineConfig, Output};
use crate::frame::{Frame, LinkType, Passage, VantageId};
use crate::topology::{Vantage, VantageKind};

const TENANTS: u8 = 7;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos(1_700_000_000_000_000_000 + millis * 1_000_000)
}

fn engine(shards: u32) -> Engine {
    let policy = Arc::new(Policy::preset("baseline").unwrap());
    let node = "n1".parse().unwrap();
    let config = EngineConfig { node, mode: Mode::Enforce, policy, flow_bytes: 64 << 20, seed: 3, shards };
    let mut engine = Engine::new(config);
    let tenant = |number: u8| {
        let id = format!("t{number}").parse().unwrap();
        let addresses = vec![format!("203.0.113.{number}/32").parse().unwrap()];
        Arc::new(Tenant { addresses, ..Tenant::new(id) })
    };
    let vantage =
        Vantage { id: VantageId(0), interface: "up0".into(), kind: VantageKind::Mirror, sampling: 1 };
    engine.handle_topology((0..TENANTS).map(tenant).collect(), vec![vantage], at(0));
    engine
}

/// What one of the tenants does, or what is done to it.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// SYNs to so many ports of a host, which are refused, answered or met with silence.
    Ports(u8, u16, Option<u8>),
    /// SYNs to one port of so many hosts.
    Hosts(u8, Option<u8>),
    /// A second of UDP.
    Flood(u8),
    /// A tenant speaks with another one.
    Among(u8),
    /// Mail to so many exchangers.
    Mail(u8),
    /// Probes with odd flags to so many ports of a host.
    Odd(u8, u8),
    /// Echo requests to so many hosts, each answered or not.
    Echo(u8, bool),
    /// Logins at a host, so many, that are refused by what it says.
    Logins(u8),
    /// Packets with sources that are not the tenant's.
    Forged(u8),
    /// So many answers to each small question that comes.
    Reflect(u8),
    /// Fragments at a rate.
    Fragments(u8),
    /// A pause in milliseconds.
    Pause(u32),
}

fn packet(
    protocol: u8,
    from: ([u8; 4], u16),
    to: ([u8; 4], u16),
    flags: u8,
    sequence: u32,
    payload: &[u8],
) -> Vec<u8> {
    let header = if protocol == 6 { 20 } else { 8 };
    let len = 20 + header + payload.len();
    let mut bytes = vec![0x45, 0, (len >> 8) as u8, len as u8, 0, 0, 0, 0, 64, protocol, 0, 0];
    bytes.extend(from.0.iter().chain(&to.0));
    bytes.extend(from.1.to_be_bytes());
    bytes.extend(to.1.to_be_bytes());
    if protocol == 6 {
        bytes.extend(sequence.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0]);
    } else {
        bytes.extend(((8 + payload.len()) as u16).to_be_bytes());
        bytes.extend([0, 0]);
    }
    bytes.extend(payload);
    bytes
}

/// An echo request (8) or reply (0).
fn echo(kind: u8, from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0];
    bytes.extend(from.iter().chain(&to));
    bytes.extend([kind, 0, 0, 0, 0, 9, 0, 1]);
    bytes
}

/// The packets of a tenant's deed, with the milliseconds after its beginning.
fn packets(tenant: u8, deed: Deed) -> Vec<(u64, Vec<u8>)> {
    let me = [203, 0, 113, tenant];
    let mut all = Vec::new();
    let mut attempt = |millis: u64, to: ([u8; 4], u16), answer: Option<u8>| {
        let from = (me, 40_000 + (millis % 20_000) as u16);
        all.push((millis, packet(6, from, to, 0x02, 0, b"")));
        if let Some(flags) = answer {
            all.push((millis + 1, packet(6, to, from, flags, 0, b"")));
        }
    };
    match deed {
        Deed::Ports(host, number, answer) => {
            (0..number).for_each(|port| attempt(u64::from(port) * 3, ([20, 0, 0, host], 1 + port), answer));
        }
        Deed::Hosts(number, answer) => {
            (0..number).for_each(|host| attempt(u64::from(host) * 5, ([20, 1, 0, host], 22), answer));
        }
        Deed::Flood(host) => {
            for millis in 0..1_200 {
                all.push((millis, packet(17, (me, 9), ([20, 2, 0, host], 9), 0, 0, b"x")));
            }
        }
        Deed::Among(other) => {
            let peer = ([203, 0, 113, other % TENANTS], 80);
            (0..40).for_each(|number| attempt(number * 4, (peer.0, 80 + number as u16), Some(0x14)));
        }
        Deed::Mail(number) => {
            for host in 0..number {
                let (from, to) = ((me, 41_000 + u16::from(host)), ([34, 0, 0, host], 25));
                let millis = u64::from(host) * 20;
                all.push((millis, packet(6, from, to, 0x02, 0, b"")));
                all.push((millis + 1, packet(6, to, from, 0x12, 0, b"")));
                all.push((millis + 2, packet(6, to, from, 0x18, 1, b"220 mx\r\n")));
                all.push((millis + 3, packet(6, from, to, 0x18, 1, b"RCPT TO:<a@b.example>\r\n")));
                all.push((millis + 4, packet(6, to, from, 0x18, 9, b"250 ok\r\n")));
            }
        }
        Deed::Odd(host, ports) => {
            for port in 0..ports {
                let to = ([20, 3, 0, host], 100 + u16::from(port));
                all.push((u64::from(port) * 9, packet(6, (me, 42_000), to, 0x29, 0, b"")));
            }
        }
        Deed::Echo(hosts, is_answered) => {
            for host in 0..hosts {
                let (to, millis) = ([20, 4, 0, host], u64::from(host) * 11);
                all.push((millis, echo(8, me, to)));
                if is_answered {
                    all.push((millis + 1, echo(0, to, me)));
                }
            }
        }
        Deed::Logins(number) => {
            for login in 0..number {
                let (from, to) = ((me, 43_000 + u16::from(login)), ([34, 1, 0, 21], 21));
                let millis = u64::from(login) * 30;
                all.push((millis, packet(6, from, to, 0x02, 0, b"")));
                all.push((millis + 1, packet(6, to, from, 0x12, 0, b"")));
                all.push((millis + 2, packet(6, to, from, 0x18, 1, b"220 files\r\n")));
                all.push((millis + 3, packet(6, from, to, 0x18, 1, b"USER a\r\nPASS b\r\n")));
                all.push((millis + 4, packet(6, to, from, 0x18, 12, b"331 ok\r\n530 no\r\n")));
                all.push((millis + 5, packet(6, to, from, 0x11, 30, b"")));
            }
        }
        Deed::Forged(number) => {
            for forged in 0..number {
                let from = ([198, 18, 0, forged], 44_000);
                all.push((u64::from(forged) * 7, packet(6, from, ([20, 5, 0, 1], 80), 0x02, 0, b"")));
            }
        }
        Deed::Reflect(answers) => {
            for millis in (0..4_000).step_by(20) {
                let (service, asker) = ((me, 11_211), ([20, 6, 0, 1], 4_000));
                all.push((millis, packet(17, asker, service, 0, 0, b"stats")));
                for _ in 0..answers {
                    all.push((millis + 1, packet(17, service, asker, 0, 0, &[b'x'; 700])));
                }
            }
        }
        Deed::Fragments(host) => {
            for millis in 0..1_300 {
                let mut fragment = packet(17, (me, 9), ([20, 7, 0, host], 9), 0, 0, b"xxxxxxxx");
                fragment[7] = 4;
                all.push((millis, fragment));
            }
        }
        Deed::Pause(_) => {}
    }
    all
}

fn play(shards: u32, deeds: &[(u8, Deed)]) -> Vec<Output> {
    let (mut engine, mut outputs, mut now) = (engine(shards), Vec::new(), 1_000);
    // Deeds of one round go on at the same time.
    for round in deeds.chunks(3) {
        let mut frames: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut longest = 0;
        for (tenant, deed) in round {
            if let Deed::Pause(millis) = deed {
                longest = longest.max(u64::from(*millis));
            }
            frames.extend(
                packets(tenant % TENANTS, *deed).into_iter().map(|(after, data)| (now + after, data)),
            );
        }
        frames.sort_by_key(|(millis, _)| *millis);
        for (millis, data) in &frames {
            engine.handle_frame(&Frame {
                at: at(*millis),
                vantage: VantageId(0),
                passage: Passage::Unknown,
                owner: None,
                link: LinkType::RawIp,
                vlan: None,
                data,
                wire_len: data.len() as u32,
            });
            outputs.extend(std::iter::from_fn(|| engine.poll()));
        }
        now = frames.last().map_or(now, |(millis, _)| *millis).max(now + longest) + 1;
        engine.handle_tick(at(now));
        outputs.extend(std::iter::from_fn(|| engine.poll()));
    }
    engine.handle_tick(at(now + 10_000));
    outputs.extend(std::iter::from_fn(|| engine.poll()));
    outputs
}

fn deed() -> impl Strategy<Value = Deed> {
    let answer = prop_oneof![Just(None), Just(Some(0x14_u8)), Just(Some(0x12_u8))];
    prop_oneof![
        (any::<u8>(), 5_u16..60, answer.clone())
            .prop_map(|(host, ports, answer)| Deed::Ports(host, ports, answer)),
        (5_u8..60, answer).prop_map(|(hosts, answer)| Deed::Hosts(hosts, answer)),
        any::<u8>().prop_map(Deed::Flood),
        any::<u8>().prop_map(Deed::Among),
        (5_u8..50).prop_map(Deed::Mail),
        (any::<u8>(), 3_u8..40).prop_map(|(host, ports)| Deed::Odd(host, ports)),
        (5_u8..80, any::<bool>()).prop_map(|(hosts, is_answered)| Deed::Echo(hosts, is_answered)),
        (5_u8..60).prop_map(Deed::Logins),
        (5_u8..60).prop_map(Deed::Forged),
        (1_u8..8).prop_map(Deed::Reflect),
        any::<u8>().prop_map(Deed::Fragments),
        (0_u32..90_000).prop_map(Deed::Pause),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_shard_equals_several(deeds in prop::collection::vec((0_u8..TENANTS, deed()), 3..24), shards in 2_u32..9) {
        let (one, several) = (play(1, &deeds), play(shards, &deeds));
        for (number, (one, several)) in one.iter().zip(&several).enumerate() {
            prop_assert_eq!(one, several, "output {}", number);
        }
        prop_assert_eq!(one.len(), several.len());
    }
}

#[test]
fn there_is_something_to_compare() {
    let deeds = [
        (0, Deed::Ports(1, 40, None)),
        (3, Deed::Hosts(40, Some(0x14))),
        (5, Deed::Mail(40)),
        (1, Deed::Pause(5_000)),
    ];
    let outputs = play(3, &deeds);
    let alerts: std::collections::BTreeSet<String> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Alert(alert) => Some(format!("{} {}", alert.tenant, alert.class)),
            _ => None,
        })
        .collect();
    assert_eq!(alerts.len(), 3, "{alerts:?}");
}
