//! What stands on blocklists: found live, and in a replay that knows no list.

use reeve_policy::Class;
use reeve_policy::language::Policy;

use super::*;
use crate::blocklist::{Blocklist, ListKind};
use crate::frame::{LinkType, Passage};
use crate::topology::VantageKind;

const ALICE: [u8; 4] = [203, 0, 113, 10];

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos((1_700_000_000_000 + millis) * 1_000_000)
}

fn engine(hearing: Hearing) -> Engine {
    let mut engine = Engine::new(EngineConfig {
        node: "n1".parse().unwrap(),
        mode: Mode::Enforce,
        policy: Arc::new(Policy::preset("baseline").unwrap()),
        flow_bytes: 1 << 20,
        seed: 3,
        shards: 3,
    });
    let alice = Tenant {
        addresses: vec!["203.0.113.10/32".parse().unwrap()],
        interfaces: vec!["n1/tap0".parse().unwrap()],
        ..Tenant::new("alice".parse().unwrap())
    };
    let vantage =
        Vantage { id: VantageId(0), interface: "tap0".into(), kind: VantageKind::Port, sampling: 1 };
    engine.handle_topology(vec![Arc::new(alice)], vec![vantage], at(0));
    engine.set_hearing(hearing);
    engine
}

fn lists(kind: ListKind) -> Arc<Blocklists> {
    let list = Blocklist::read("drop".parse().unwrap(), kind, b"20.6.6.0/24\n", &[]).list;
    Arc::new(Blocklists::new(vec![list]))
}

/// A TCP segment without payload, or a UDP datagram.
fn packet(protocol: u8, source: ([u8; 4], u16), destination: ([u8; 4], u16), flags: u8) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0];
    bytes.extend(source.0);
    bytes.extend(destination.0);
    bytes.extend(source.1.to_be_bytes());
    bytes.extend(destination.1.to_be_bytes());
    bytes.extend(if protocol == 17 { [0, 20, 0, 0, 0, 0, 0, 0] } else { [0; 8] });
    bytes.extend([0x50, flags, 4, 0, 0, 0, 0, 0]);
    bytes
}

/// Who opens it, at which host of the listed network (or another) and port, and whether the other end answers.
#[derive(Clone, Copy)]
struct Dial {
    is_ours: bool,
    peer: ([u8; 4], u16),
    protocol: u8,
    is_answered: bool,
}

fn frames(dials: &[Dial]) -> Vec<(u64, Passage, Vec<u8>)> {
    let mut frames = Vec::new();
    for (number, dial) in dials.iter().enumerate() {
        let (millis, own) = (1_000 + number as u64 * 1_000, (ALICE, 40_000 + number as u16));
        let (to, from) =
            (packet(dial.protocol, own, dial.peer, 0x02), packet(dial.protocol, dial.peer, own, 0x02));
        if dial.is_ours {
            frames.push((millis, Passage::In, to));
            let back = packet(dial.protocol, dial.peer, own, 0x12);
            frames.extend(dial.is_answered.then_some((millis + 20, Passage::Out, back)));
        } else {
            frames.push((millis, Passage::Out, from));
            frames.push((millis + 20, Passage::In, packet(dial.protocol, own, dial.peer, 0x12)));
        }
    }
    frames
}

fn play(engine: &mut Engine, dials: &[Dial], mut said: impl FnMut(&mut Engine, usize)) -> Vec<Output> {
    for (number, (millis, passage, data)) in frames(dials).iter().enumerate() {
        engine.handle_frame(&Frame {
            at: at(*millis),
            vantage: VantageId(0),
            passage: *passage,
            owner: None,
            link: LinkType::RawIp,
            vlan: None,
            data,
            wire_len: data.len() as u32,
        });
        said(engine, number);
    }
    engine.handle_tick(at(1_000 + dials.len() as u64 * 1_000 + 10_000));
    std::iter::from_fn(|| engine.poll()).collect()
}

#[track_caller]
fn check(kind: ListKind, dials: &[Dial], is_told: bool) {
    let mut live = engine(Hearing::Keeps);
    live.set_blocklists(&lists(kind));
    let mut record: Vec<Vec<StreamEvent>> = Vec::new();
    let lived = play(&mut live, dials, |engine, _| record.push(engine.take_said()));
    let alerts = || {
        lived.iter().filter_map(|output| if let Output::Alert(alert) = output { Some(alert) } else { None })
    };
    assert_eq!(alerts().any(|alert| alert.class == Class::Malware), is_told, "{lived:?}");
    assert!(alerts().all(|alert| alert.metrics.iter().any(|metric| metric.name == "on_list_drop")));
    let mut replay = engine(Hearing::Told);
    let replayed = play(&mut replay, dials, |engine, number| {
        let said = std::mem::take(&mut record[number]);
        if !said.is_empty() {
            engine.handle_said(said, Timestamp::EPOCH);
        }
    });
    assert_eq!(lived, replayed, "a replay without lists gives the same");
}

const LISTED: Dial = Dial { is_ours: true, peer: ([20, 6, 6, 6], 443), protocol: 6, is_answered: true };

#[test]
fn one_that_answers_is_told_and_its_replay_needs_no_list() {
    check(ListKind::Networks, &[LISTED], true);
    check(ListKind::Networks, &[Dial { protocol: 17, peer: ([20, 6, 6, 6], 9_999), ..LISTED }], true);
}

#[test]
fn silence_takes_five() {
    let silent = |host| Dial { peer: ([20, 6, 6, host], 443), is_answered: false, ..LISTED };
    let all: Vec<Dial> = (0..5).map(silent).collect();
    check(ListKind::Networks, &all[..4], false);
    check(ListKind::Networks, &all, true);
    check(ListKind::Networks, &[all[0]; 9], false);
}

#[test]
fn what_is_not_the_tenants_doing_is_not_told() {
    check(ListKind::Networks, &[Dial { peer: ([20, 6, 7, 6], 443), ..LISTED }], false);
    check(ListKind::Hosts, &[Dial { is_ours: false, ..LISTED }], false);
    let question = Dial { protocol: 17, peer: ([20, 6, 6, 6], 53), ..LISTED };
    check(ListKind::Networks, &[question], false);
    check(ListKind::Hosts, &[question], true);
}
