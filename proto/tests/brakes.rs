//! Orders that end or undo what policy did, pauses and node events: there and back, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use reeve_policy::judge::BrakesSet;
use reeve_policy::{
    Action, Decision, DecisionId, Exemption, Mode, NodeEvent, NodeEventKind, NodeHealth, Order, OrderId,
    Origin, Pause, PauseScope, PolicyVersion, Protocol, Report, Scope, Tenant, Timestamp, Until, Usage,
};
use reeve_proto::session::{Hello, PolicyHeld, ProtocolVersion};
use reeve_proto::{agent, types};

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn id(text: &str) -> OrderId {
    OrderId(text.parse().unwrap())
}

fn orders() -> Vec<Order> {
    let pause = Pause::new("oncall", "look", at(1));
    let policy = PolicyVersion { name: "example".parse().unwrap(), version: 3 };
    let (by, reason) = ("oncall".to_owned(), String::new());
    vec![
        Order::Pause { id: id("O1"), scope: PauseScope::Fleet, pause, lift: true },
        Order::Resume { id: id("O2"), scope: PauseScope::Node, by: by.clone(), reason: reason.clone() },
        Order::Forgive {
            id: id("O5"),
            tenant: "a".parse().unwrap(),
            rule: Some("scan".parse().unwrap()),
            before: at(9),
            by: by.clone(),
            reason: reason.clone(),
        },
        Order::ReleaseBrakes { id: id("O4"), by: by.clone(), reason: reason.clone() },
        Order::Lift { id: id("O3"), policy, since: at(2), by, reason },
    ]
}

#[test]
fn orders_come_back_as_they_were() {
    for order in orders() {
        let wire = agent::v1::Order::from(&order);
        assert_eq!(Order::try_from(wire).unwrap(), order);
        assert!(ProtocolVersion::CURRENT.knows(&order), "{}", order.name());
        assert!(!ProtocolVersion { major: 1, minor: 0 }.knows(&order), "{}", order.name());
    }
}

#[test]
fn who_knows_no_strikes_to_be_taken_back_is_not_told_to() {
    let forgive = orders().into_iter().find(|order| matches!(order, Order::Forgive { .. })).unwrap();
    let speaks = |minor| ProtocolVersion { major: 1, minor }.knows(&forgive);
    assert!(speaks(8) && !speaks(7));
}

#[test]
fn what_is_forged_is_held_by_who_knows_how_and_told_to_others_as_everything() {
    let decision = |scope| Decision {
        id: DecisionId("O5".parse().unwrap()),
        tenant: "alice".parse().unwrap(),
        violation: None,
        clause: String::new(),
        origin: Origin::Operator { name: "oncall".into() },
        action: Action::Block,
        scope,
        rate: None,
        until: Until::Released,
        at: at(2),
        mode: Mode::Enforce,
        reason: String::new(),
        connections: None,
        softened: None,
        reckoning: None,
    };
    for (scope, is_known) in
        [(Scope::Forged, false), (Scope::Port { protocol: Protocol::Tcp, port: 25 }, true)]
    {
        let order = Order::Impose { id: id("O5"), decision: Box::new(decision(scope)) };
        assert_eq!(Order::try_from(agent::v1::Order::from(&order)).unwrap(), order);
        assert!(ProtocolVersion::CURRENT.knows(&order));
        assert_eq!(ProtocolVersion { major: 1, minor: 4 }.knows(&order), is_known);
    }
}

#[test]
fn a_release_says_whether_it_forgives_and_one_of_before_does_not() {
    let paid = Order::Paid {
        id: id("O9"),
        tenant: "a".parse().unwrap(),
        by: "billing".into(),
        reason: "invoice 12".into(),
    };
    assert_eq!(Order::try_from(agent::v1::Order::from(&paid)).unwrap(), paid);
    assert!(ProtocolVersion::CURRENT.knows(&paid) && !ProtocolVersion { major: 1, minor: 3 }.knows(&paid));
    let let_go = Order::LetGo {
        id: id("O8"),
        tenant: "a".parse().unwrap(),
        decisions: ["D1", "D2"].map(|id| reeve_policy::DecisionId(id.parse().unwrap())).into(),
        by: "a".into(),
        reason: "silent".into(),
    };
    assert_eq!(Order::try_from(agent::v1::Order::from(&let_go)).unwrap(), let_go);
    assert!(
        !ProtocolVersion { major: 1, minor: 8 }.knows(&let_go),
        "it would let go of all, or break the stream"
    );
    let release = |forgive| Order::Release {
        id: id("O4"),
        tenant: "alice".parse().unwrap(),
        by: "oncall".to_owned(),
        reason: String::new(),
        forgive,
    };
    for order in [release(false), release(true)] {
        assert_eq!(Order::try_from(agent::v1::Order::from(&order)).unwrap(), order);
        assert!(
            ProtocolVersion { major: 1, minor: 0 }.knows(&order),
            "whoever does not know it lets go all the same"
        );
    }
}

#[test]
fn events_and_pauses_come_back_as_they_were() {
    for kind in NodeEventKind::ALL {
        let report = Report::Event(NodeEvent::new(at(1), *kind, "x"));
        assert_eq!(Report::try_from(agent::v1::Report::from(&report)).unwrap(), report);
    }
    let health = NodeHealth {
        at: at(1),
        mode: Mode::Enforce,
        policy: None,
        tenants: 1,
        measures: 2,
        vantages: 3,
        frames_received: 4,
        frames_dropped: 5,
        malformed: 6,
        flows: 7,
        evictions: 8,
        agent_version: "1".into(),
        paused: Some(Pause::new("root", "", at(9))),
        brakes: Some(BrakesSet { at: at(3), why: "4 of 20".into() }),
    };
    assert_eq!(NodeHealth::try_from(agent::v1::NodeHealth::from(&health)).unwrap(), health);
    let hello = Hello {
        node: "n1".parse().unwrap(),
        agent_version: "1".into(),
        protocol: ProtocolVersion::CURRENT,
        epoch: 1,
        tenants_version: 0,
        measures: Vec::new(),
        pauses: vec![(PauseScope::Fleet, id("O1")), (PauseScope::Node, id("O2"))],
        policy: "[policy]".into(),
        policy_held: Some(PolicyHeld {
            assignment: u64::MAX,
            running: PolicyVersion { name: "extin".parse().unwrap(), version: 4 },
            is_assigned: true,
            refused: "no".into(),
        }),
    };
    assert_eq!(Hello::try_from(agent::v1::Hello::from(&hello)).unwrap(), hello);
}

#[test]
fn usage_comes_back_as_it_was_and_only_who_knows_it_is_told() {
    let usage = |tenant: &str| Usage {
        tenant: tenant.parse().unwrap(),
        month: "2026-11".parse().unwrap(),
        received: u64::MAX,
        sent: 7,
    };
    let report = Report::Usage { tallies: vec![usage("a"), usage("b")] };
    let wire = agent::v1::Report::from(&report);
    assert_eq!(Report::try_from(wire.clone()).unwrap(), report);
    assert!(ProtocolVersion::CURRENT.knows_report(&report));
    assert!(!ProtocolVersion { major: 1, minor: 1 }.knows_report(&report));
    let Some(agent::v1::report::Report::Usage(mut message)) = wire.report else { panic!("no usage") };
    message.tallies[1].month = "2026-13".into();
    let wrong = agent::v1::Report { report: Some(agent::v1::report::Report::Usage(message)) };
    let error = Report::try_from(wrong).unwrap_err().to_string();
    assert!(error.contains("usage.tallies") && error.contains("month"), "{error}");
    let exemption = Exemption {
        id: Some("x1".parse().unwrap()),
        clause: "x/*".parse().unwrap(),
        targets: vec!["198.51.100.0/24".parse().unwrap()],
        ports: vec![22, 65_535],
        reference: "letter".into(),
        from: Some(Timestamp::from_secs(1)),
        until: Some(Timestamp::from_secs(2)),
    };
    let exemptions = vec![Exemption { id: None, from: None, until: None, ..exemption.clone() }, exemption];
    let tenant = Tenant { quota_bytes: Some(0), exemptions, ..Tenant::new("a".parse().unwrap()) };
    assert_eq!(Tenant::try_from(types::v1::Tenant::from(&tenant)).unwrap(), tenant);
}

#[test]
fn what_a_peer_makes_up_is_refused_or_made_harmless() {
    let time = Some(reeve_proto::time_to_wire(at(1)));
    let event = |kind, detail: &str| types::v1::NodeEvent { time, kind, detail: detail.to_owned() };
    assert!(NodeEvent::try_from(event(0, "")).is_err());
    assert!(NodeEvent::try_from(event(99, "")).is_err());
    assert!(NodeEvent::try_from(event(1, &"x".repeat(10_000))).is_err());
    let told = NodeEvent::try_from(event(1, &"\u{1b}]0;x\u{7}".repeat(200))).unwrap();
    assert!(told.detail.len() <= NodeEvent::MAX_DETAIL && !told.detail.contains(['\u{1b}', '\u{7}']));
    let order = agent::v1::order::Pause { id: "O1".into(), scope: 0, pause: None, lift: false };
    let order = agent::v1::Order { order: Some(agent::v1::order::Order::Pause(order)) };
    let error = Order::try_from(order).unwrap_err().to_string();
    assert!(error.contains("pause.scope"), "{error}");
}
