//! Usage: what goes on a tenant's account, whatever the shards and however runs follow each other.

use std::sync::Arc;

use reeve_policy::language::Policy;
use reeve_policy::{Action, Class, Decision, DecisionId, Mode, Origin, Scope, Tenant, Timestamp, Until};

use super::{Engine, EngineConfig, Input, Output};
use crate::detect::quota::Tally;
use crate::frame::{Frame, LinkType, Passage, VantageId};
use crate::topology::{Vantage, VantageKind};

/// Half a minute before a month ends.
fn at(millis: u64) -> Timestamp {
    let start: Timestamp = "2026-11-30T23:59:30Z".parse().unwrap();
    start + std::time::Duration::from_millis(millis)
}

fn tenant(id: &str, address: &str, quota_bytes: Option<u64>) -> Arc<Tenant> {
    let addresses = vec![address.parse().unwrap()];
    Arc::new(Tenant { addresses, quota_bytes, ..Tenant::new(id.parse().unwrap()) })
}

fn topology(tenants: &[Arc<Tenant>], sampling: u32) -> Input {
    let vantage = Vantage { id: VantageId(0), interface: "up0".into(), kind: VantageKind::Mirror, sampling };
    Input::Topology { tenants: tenants.to_vec(), vantages: vec![vantage], at: at(0) }
}

/// Tenants `a` with 100,000 bytes of its own and `b` with the policy's 50,000.
fn engine(shards: u32, sampling: u32) -> Engine {
    let text = "[policy]\nname = \"p\"\nversion = 1\nextends = \"baseline\"\nmode = \"enforce\"\n\
                [thresholds.quota]\nbytes_per_month = 50_000\n";
    let policy = Arc::new(Policy::parse("p.toml", text).unwrap());
    let node = "n1".parse().unwrap();
    let config = EngineConfig { node, mode: Mode::Enforce, policy, flow_bytes: 1 << 20, seed: 3, shards };
    let mut engine = Engine::new(config);
    engine.handle(topology(&tenants(), sampling));
    engine
}

fn tenants() -> Vec<Arc<Tenant>> {
    vec![tenant("a", "203.0.113.1/32", Some(100_000)), tenant("b", "203.0.113.2/32", None)]
}

const A: [u8; 4] = [203, 0, 113, 1];
const B: [u8; 4] = [203, 0, 113, 2];
const PEER: [u8; 4] = [20, 0, 0, 1];

/// A packet whose frame had `wire_len` bytes: a datagram, or bulk TCP.
fn send(engine: &mut Engine, millis: u64, is_tcp: bool, from: [u8; 4], to: [u8; 4], wire_len: u32) {
    let protocol = if is_tcp { 6 } else { 17 };
    let mut data = vec![0x45, 0, (wire_len >> 8) as u8, wire_len as u8, 0, 0, 0, 0, 64, protocol, 0, 0];
    data.extend(from.iter().chain(&to));
    // Ports, and for TCP an acknowledgment that carries something.
    data.extend([0x9c, 0x40, 0x1f, 0x90]);
    if is_tcp {
        data.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 4, 0, 0, 0, 0, 0]);
    } else {
        data.extend([((wire_len - 20) >> 8) as u8, (wire_len - 20) as u8, 0, 0]);
    }
    let link = LinkType::RawIp;
    engine.handle_frame(&Frame {
        at: at(millis),
        vantage: VantageId(0),
        passage: Passage::Unknown,
        owner: None,
        link,
        vlan: None,
        data: &data,
        wire_len,
    });
}

/// Each account as `tenant month in out told`.
fn accounts(engine: &Engine) -> Vec<String> {
    let line = |Tally { usage, told }: Tally| {
        format!("{} {} {} {} {told}", usage.tenant, usage.month, usage.received, usage.sent)
    };
    engine.usage().into_iter().map(line).collect()
}

/// What is told of quotas: tenant, percent, whether it is a suspicion.
fn told(engine: &mut Engine) -> Vec<(String, u64, bool)> {
    let alert = |output| match output {
        Output::Alert(alert) if alert.class == Class::Quota => {
            assert!(alert.samples.is_empty());
            let percent = alert.metrics.iter().find(|metric| metric.name == "percent").unwrap().value;
            Some((alert.tenant.to_string(), percent as u64, alert.is_suspicion))
        }
        _ => None,
    };
    std::iter::from_fn(|| engine.poll()).filter_map(alert).collect()
}

#[test]
fn bytes_go_on_the_account_of_both_ends() {
    for shards in [1, 2, 3] {
        let mut engine = engine(shards, 1);
        send(&mut engine, 1, false, A, PEER, 1_000);
        send(&mut engine, 2, true, PEER, A, 500);
        send(&mut engine, 3, false, A, B, 100);
        send(&mut engine, 4, false, PEER, [203, 0, 113, 9], 100);
        assert_eq!(accounts(&engine), ["a 2026-11 500 1100 0", "b 2026-11 100 0 0"], "{shards}");
    }
}

#[test]
fn bulk_counts_for_as_many_as_it_stands_for() {
    let mut engine = engine(1, 16);
    send(&mut engine, 1, true, A, PEER, 1_500);
    send(&mut engine, 2, false, A, PEER, 700);
    assert_eq!(accounts(&engine), ["a 2026-11 0 24700 0"]);
}

#[test]
fn the_tenants_own_plan_goes_before_the_policys_and_a_month_begins_anew() {
    let mut engine = engine(2, 1);
    let pump = |engine: &mut Engine, millis: u64, from| {
        (0..60).for_each(|n| send(engine, millis + n * 100, false, from, PEER, 1_000));
    };
    pump(&mut engine, 0, A);
    pump(&mut engine, 10_000, B);
    assert_eq!(told(&mut engine), [("b".to_owned(), 80, true), ("b".to_owned(), 100, false)]);
    // Some of this falls into December.
    pump(&mut engine, 28_000, A);
    assert_eq!(told(&mut engine), [("a".to_owned(), 80, true)]);
    let expect = ["a 2026-11 0 80000 80", "a 2026-12 0 40000 0", "b 2026-11 0 60000 100"];
    assert_eq!(accounts(&engine), expect);
}

#[test]
fn a_used_up_plan_is_a_notice_and_no_measure() {
    let mut engine = engine(1, 1);
    (0..60).for_each(|n| send(&mut engine, n, false, PEER, B, 1_000));
    let outputs: Vec<Output> = std::iter::from_fn(|| engine.poll()).collect();
    let decisions = outputs.iter().filter_map(|output| match output {
        Output::Decision(decision) => Some(decision.action.name()),
        _ => None,
    });
    assert_eq!(decisions.collect::<Vec<_>>(), ["notify"]);
    assert!(engine.desired().measures.is_empty());
}

#[test]
fn what_a_run_before_counted_goes_on() {
    let mut first = engine(1, 1);
    (0..45).for_each(|n| send(&mut first, n, false, PEER, B, 1_000));
    assert_eq!(told(&mut first), [("b".to_owned(), 80, true)]);
    let mut second = engine(3, 1);
    second.handle(Input::Usage { tallies: first.usage() });
    assert_eq!(accounts(&second), accounts(&first));
    (0..10).for_each(|n| send(&mut second, 100 + n, false, PEER, B, 1_000));
    assert_eq!(told(&mut second), [("b".to_owned(), 100, false)]);
    // A tenant that is not here keeps nothing; one that comes back is given what is remembered.
    let kept = second.usage();
    second.handle(topology(&[tenant("c", "203.0.113.3/32", None)], 1));
    second.handle(topology(&tenants(), 1));
    second.handle(Input::Usage { tallies: kept });
    assert_eq!(accounts(&second), ["b 2026-11 55000 0 100"]);
    second.handle_tick(at(1_000));
    assert_eq!(told(&mut second), []);
}

#[test]
fn what_reaches_nobody_is_on_no_account() {
    let mut engine = engine(1, 1);
    send(&mut engine, 1, false, A, PEER, 1_000);
    let decision = Decision {
        id: DecisionId("D1".parse().unwrap()),
        violation: None,
        tenant: "a".parse().unwrap(),
        at: at(2),
        action: Action::Suspend,
        scope: Scope::All,
        rate: None,
        until: Until::Released,
        mode: Mode::Enforce,
        connections: None,
        softened: None,
        reckoning: None,
        origin: Origin::Operator { name: "ops".into() },
        clause: String::new(),
        reason: String::new(),
    };
    engine.handle_impose(&decision, at(2));
    send(&mut engine, 3, false, A, PEER, 1_000);
    send(&mut engine, 4, false, PEER, A, 1_000);
    engine.handle_release(&"a".parse().unwrap(), false, at(5));
    send(&mut engine, 6, false, PEER, A, 40);
    assert_eq!(accounts(&engine), ["a 2026-11 40 1000 0"], "a release does not clear the account");
}

#[test]
fn a_capped_plan_is_limited_until_the_month_ends_also_after_a_restart() {
    let text = "[policy]\nname = \"p\"\nversion = 1\nextends = \"baseline\"\nmode = \"enforce\"\n\
                [[rule]]\nid = \"quota\"\non = [\"quota\"]\n\
                ladder = [{ action = \"limit\", scope = \"all\", rate = \"100 kbytes/second\", until = \"month\" }]\n";
    let policy = Arc::new(Policy::parse("p.toml", text).unwrap());
    let capped = || {
        let node = "n1".parse().unwrap();
        let mode = Mode::Enforce;
        let policy = Arc::clone(&policy);
        let mut engine =
            Engine::new(EngineConfig { node, mode, policy, flow_bytes: 1 << 20, seed: 3, shards: 2 });
        engine.handle(topology(&tenants(), 1));
        engine
    };
    let mut first = capped();
    (0..81).for_each(|n| send(&mut first, n, false, A, PEER, 1_000));
    assert!(first.desired().measures.is_empty(), "at 80 % it is only told");
    assert_eq!(told(&mut first), [("a".to_owned(), 80, true)]);
    (81..120).for_each(|n| send(&mut first, n, false, A, PEER, 1_000));
    let held = |engine: &Engine| -> Vec<(String, Option<String>)> {
        let measures = engine.desired().measures.values();
        let line = |one: &reeve_policy::Measure| {
            (one.decision.action.to_string(), one.expires.map(|end| end.to_string()))
        };
        measures.map(line).collect()
    };
    let limited = [("limit".to_owned(), Some("2026-12-01T00:00:00Z".to_owned()))];
    assert_eq!(held(&first), limited);
    let mut second = capped();
    second.restore(first.desired().clone(), first.standing().clone());
    second.handle(Input::Usage { tallies: first.usage() });
    (0..10).for_each(|n| send(&mut second, 1_000 + n, false, A, PEER, 1_000));
    second.handle_tick(at(29_900));
    assert_eq!((told(&mut second), held(&second)), (vec![], limited.to_vec()));
    second.handle_tick(at(30_000));
    assert!(held(&second).is_empty(), "the next month begins open");
}
