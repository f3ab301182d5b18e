//! What a tenant may do by an exemption, as frames through the whole engine.

use reeve_policy::{Class, Exemption};

use super::*;
use crate::frame::{LinkType, Passage};
use crate::topology::VantageKind;

const ALICE: [u8; 4] = [203, 0, 113, 10];
const SYN: u8 = 0x02;
const RST_ACK: u8 = 0x14;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos((1_700_000_000_000 + millis) * 1_000_000)
}

/// 20.0.0.0/24 is permitted under a clause until then.
fn exemption(clause: &str, until: Option<u64>) -> Exemption {
    Exemption {
        id: None,
        clause: clause.parse().unwrap(),
        targets: vec!["20.0.0.0/24".parse().unwrap()],
        ports: Vec::new(),
        reference: "letter of 3 May".into(),
        from: None,
        until: until.map(at),
    }
}

fn engine(exemptions: Vec<Exemption>, shards: u32) -> Engine {
    let mut engine = Engine::new(EngineConfig {
        node: "n1".parse().unwrap(),
        mode: Mode::Enforce,
        policy: Arc::new(Policy::preset("baseline").unwrap()),
        flow_bytes: 4 << 20,
        seed: 3,
        shards,
    });
    take_exemptions(&mut engine, exemptions, at(0));
    engine
}

fn take_exemptions(engine: &mut Engine, exemptions: Vec<Exemption>, at: Timestamp) {
    let tenant = |id: &str, address: &str, exemptions| {
        Arc::new(Tenant {
            addresses: vec![address.parse().unwrap()],
            interfaces: vec!["n1/tap0".parse().unwrap()],
            exemptions,
            ..Tenant::new(id.parse().unwrap())
        })
    };
    let tenants =
        vec![tenant("bob", "203.0.113.11/32", vec![]), tenant("alice", "203.0.113.10/32", exemptions)];
    let vantage =
        Vantage { id: VantageId(0), interface: "tap0".into(), kind: VantageKind::Port, sampling: 1 };
    engine.handle_topology(tenants, vec![vantage], at);
}

fn segment(source: ([u8; 4], u16), destination: ([u8; 4], u16), flags: u8) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    bytes.extend(source.0);
    bytes.extend(destination.0);
    bytes.extend(source.1.to_be_bytes());
    bytes.extend(destination.1.to_be_bytes());
    bytes.extend([0; 8]);
    bytes.extend([0x50, flags, 4, 0, 0, 0, 0, 0]);
    bytes
}

/// Tries port 80 of a host, in vain.
fn dial(engine: &mut Engine, millis: u64, host: [u8; 4]) {
    dial_from(engine, ALICE, millis, host);
}

fn dial_from(engine: &mut Engine, me: [u8; 4], millis: u64, host: [u8; 4]) {
    // Each from a port of its own: what is tried again from the same is one attempt.
    let (me, peer) = ((me, 1_024 + (millis / 50 % 60_000) as u16), (host, 80));
    for (millis, passage, data) in [
        (millis, Passage::In, segment(me, peer, SYN)),
        (millis + 1, Passage::Out, segment(peer, me, RST_ACK)),
    ] {
        let (vantage, link, wire_len) = (VantageId(0), LinkType::RawIp, data.len() as u32);
        engine.handle_frame(&Frame {
            at: at(millis),
            vantage,
            passage,
            owner: None,
            link,
            vlan: None,
            data: &data,
            wire_len,
        });
    }
}

/// A scan at a number of hosts of each network, 50 ms apart, the others spread among the listed.
fn scan(engine: &mut Engine, from: u64, listed: u8, others: u8) {
    let all = u64::from(listed) + u64::from(others);
    let (mut listed_done, mut others_done) = (0_u8, 0_u8);
    for number in 0..all {
        let is_other = u64::from(others_done) * all < number * u64::from(others) || listed_done == listed;
        let host = if is_other && others_done < others {
            others_done += 1;
            [30, 0, 0, others_done]
        } else {
            listed_done += 1;
            [20, 0, 0, listed_done]
        };
        dial(engine, from + number * 50, host);
    }
    engine.handle_tick(at(from + all * 50 + 5_000));
}

/// One word an output, without numbers.
fn words(engine: &mut Engine) -> Vec<String> {
    let word = |output| match output {
        Output::Alert(alert) => format!("{} {}", alert.class, alert.targets[0].target.address),
        Output::Excused(excused) => format!("excused {}: {}", excused.class, excused.by[0].reference),
        Output::Violation(violation) => format!("violation {}", violation.state.name()),
        Output::Decision(decision) => decision.action.to_string(),
        Output::Imposed(_) => "imposed".to_owned(),
        output => format!("{output:?}"),
    };
    std::iter::from_fn(|| engine.poll()).map(word).collect()
}

#[test]
fn a_scan_of_listed_targets_is_told_once_as_permitted_and_held_against_nobody() {
    let mut engine = engine(vec![exemption("baseline/portscan", None)], 1);
    scan(&mut engine, 1_000, 250, 0);
    scan(&mut engine, 60_000, 250, 10);
    assert_eq!(words(&mut engine), ["excused portscan.horizontal: letter of 3 May"]);
    assert!(engine.desired().measures.is_empty());
    // An episode later it is told again.
    engine.handle_tick(at(900_000));
    scan(&mut engine, 900_000, 100, 0);
    assert_eq!(words(&mut engine), ["excused portscan.horizontal: letter of 3 May"]);
}

#[test]
fn what_is_done_to_others_beside_it_is_told_and_names_nobody_else() {
    let mut all = Vec::new();
    for shards in [1, 2, 3] {
        let mut engine = engine(vec![exemption("baseline/*", None)], shards);
        scan(&mut engine, 1_000, 250, 28);
        let outputs: Vec<Output> = std::iter::from_fn(|| engine.poll()).collect();
        let alerts: Vec<&Alert> = outputs
            .iter()
            .filter_map(|output| match output {
                Output::Alert(alert) => Some(alert),
                _ => None,
            })
            .collect();
        assert!(!alerts.is_empty() && alerts.iter().all(|alert| alert.class == Class::PortscanHorizontal));
        for alert in &alerts {
            assert!(alert.targets.iter().all(|seen| seen.target.address.to_string().starts_with("30.")));
            // As many as without the others, and no more.
            assert!(alert.metrics[0].value <= 28.0, "{}", alert.summary());
        }
        assert!(outputs.iter().any(|output| matches!(output, Output::Imposed(_))));
        all.push(outputs);
    }
    assert!(all.iter().all(|outputs| *outputs == all[0]), "however tenants are divided");
}

#[test]
fn without_an_exemption_the_same_is_a_violation() {
    for exemptions in
        [vec![], vec![exemption("baseline/flood", None)], vec![exemption("other/portscan", None)]]
    {
        let mut engine = engine(exemptions, 1);
        scan(&mut engine, 1_000, 40, 0);
        let told = words(&mut engine);
        assert!(told[0].starts_with("portscan.horizontal 20.0.0.") && told.contains(&"imposed".to_owned()));
    }
}

#[test]
fn what_has_ended_excuses_nothing_from_then_on_and_what_was_permitted_is_not_held_against_it() {
    let until = 20_000;
    let mut engine = engine(vec![exemption("baseline/portscan", Some(until))], 1);
    scan(&mut engine, 1_000, 200, 8);
    assert_eq!(words(&mut engine), ["excused portscan.horizontal: letter of 3 May"]);
    // Beside eight others that were tried before, which count.
    for number in 0..3 {
        dial(&mut engine, until + 1_000 + number * 50, [20, 0, 0, 220 + number as u8]);
    }
    assert_eq!(words(&mut engine), [] as [&str; 0]);
    for number in 0..30 {
        dial(&mut engine, until + 2_000 + number * 50, [20, 0, 0, 100 + number as u8]);
    }
    let told = words(&mut engine);
    assert!(told[0].starts_with("portscan.horizontal"), "{told:?}");
    assert!(told.contains(&"imposed".to_owned()));
}

#[test]
fn what_is_revoked_ends_at_once_and_what_is_granted_begins_at_once() {
    let mut engine = engine(vec![], 1);
    scan(&mut engine, 1_000, 10, 0);
    take_exemptions(&mut engine, vec![exemption("baseline/portscan", None)], at(8_000));
    scan(&mut engine, 9_000, 200, 0);
    assert_eq!(words(&mut engine), ["excused portscan.horizontal: letter of 3 May"]);
    take_exemptions(&mut engine, vec![], at(30_000));
    scan(&mut engine, 31_000, 60, 0);
    assert!(words(&mut engine).contains(&"imposed".to_owned()));
}

#[test]
fn a_permitted_scanner_may_not_flood_what_it_may_scan() {
    let mut engine = engine(vec![exemption("baseline/portscan", None)], 1);
    let host = ([20, 0, 0, 1], 80);
    for number in 0..4_000_u64 {
        let data = segment((ALICE, 1_024 + number as u16), host, SYN);
        let (vantage, link, wire_len) = (VantageId(0), LinkType::RawIp, data.len() as u32);
        let (at, passage) = (at(1_000 + number), Passage::In);
        engine.handle_frame(&Frame {
            at,
            vantage,
            passage,
            owner: None,
            link,
            vlan: None,
            data: &data,
            wire_len,
        });
    }
    engine.handle_tick(at(10_000));
    let told = words(&mut engine);
    assert!(told[0].starts_with("flood.syn 20.0.0.1") && told.contains(&"imposed".to_owned()), "{told:?}");
}

#[test]
fn brakes_that_are_set_hold_nobody_else_until_a_person_releases_them() {
    let mut engine = engine(vec![], 1);
    let mut policy = Policy::preset("baseline").unwrap();
    policy.brakes =
        reeve_policy::language::Brakes { measures_per_minute: 9, share_of_tenants: 0.0, tenants_at_least: 1 };
    engine.handle_policy(Arc::new(policy), Mode::Enforce, at(0));
    let bob = [203, 0, 113, 11];
    let scan = |engine: &mut Engine, me, from: u64| {
        (0..40).for_each(|number| dial_from(engine, me, from + number * 50, [30, 0, 0, number as u8 + 1]));
        engine.handle_tick(at(from + 7_000));
    };
    scan(&mut engine, ALICE, 1_000);
    scan(&mut engine, bob, 100_000);
    assert_eq!(engine.desired().measures.len(), 1);
    let set = engine.standing().brakes().cloned().unwrap();
    let told: Vec<Output> = std::iter::from_fn(|| engine.poll()).collect();
    assert_eq!(told.iter().filter(|output| **output == Output::BrakesSet(set.clone())).count(), 1);
    // Alice is let go, which releases nothing.
    engine.handle_release(&"alice".parse().unwrap(), false, at(200_000));
    scan(&mut engine, bob, 201_000);
    assert!(engine.desired().measures.is_empty() && engine.standing().brakes() == Some(&set));
    engine.handle(Input::ReleaseBrakes { at: at(300_000) });
    assert_eq!(engine.standing().brakes(), None);
    scan(&mut engine, bob, 301_000);
    assert_eq!(engine.desired().measures.len(), 1);
}
