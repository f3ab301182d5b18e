//! Judge tests: a script of alerts and releases, and the decisions that it must lead to.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::alert::{Metric, Outcome, TargetSeen, Window};
use crate::class::Class;
use crate::net::Protocol;

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + secs)
}

fn tenant(id: &str, mode: Option<Mode>) -> Tenant {
    Tenant { mode, ..Tenant::new(id.parse().unwrap()) }
}

fn alert(class: Class, secs: u64, host: u8, lost_percent: u64) -> Alert {
    let target = Target { address: [20, 0, 0, host].into(), protocol: Protocol::Tcp, port: Some(80) };
    Alert {
        class,
        tenant: "a".parse().unwrap(),
        at: at(secs),
        window: Window { start: at(secs), end: at(secs) },
        metrics: vec![Metric { name: "hosts".into(), value: 25.0, threshold: Some(25.0) }],
        confidence_percent: 95,
        targets: vec![TargetSeen { target, first: at(secs), last: at(secs), outcome: Outcome::Silent }],
        samples: Vec::new(),
        loss: Loss { received: 100 - lost_percent, dropped: lost_percent },
        is_suspicion: false,
    }
}

/// One step: a class at a second to a host with some loss; a release; or time alone.
enum Event {
    Scan(u64),
    LossyScan(u64),
    Flood(u64, u8),
    /// A scan that is only suspected.
    Suspicion(u64),
    /// Somebody asked, and it is none.
    Refuted(u64),
    Release(u64),
    /// What led to decisions until now was a false alarm.
    Forgive(u64),
    /// Somebody pauses, or ends it.
    Pause(u64, bool),
    /// What led to decisions until now is undone, with its strikes or without.
    Lift(u64, bool),
    Quiet(u64),
}
use Event::{Flood, Forgive, Lift, LossyScan, Pause, Quiet, Refuted, Release, Scan, Suspicion};

fn judge(policy: Policy, mode: Mode) -> Judge {
    Judge::new("n1".parse().unwrap(), mode, Arc::new(policy))
}

fn play(judge: &mut Judge, tenant: &Tenant, events: &[Event]) -> Vec<String> {
    let (mut told, mut decided) = (Vec::new(), BTreeSet::new());
    for event in events {
        let time = match event {
            Scan(secs)
            | LossyScan(secs)
            | Suspicion(secs)
            | Refuted(secs)
            | Flood(secs, _)
            | Release(secs)
            | Forgive(secs)
            | Pause(secs, _)
            | Lift(secs, _)
            | Quiet(secs) => at(*secs),
        };
        judge.handle_timeout(time);
        match event {
            Scan(secs) | LossyScan(secs) => {
                let lost = if matches!(event, LossyScan(_)) { 6 } else { 0 };
                let scan = alert(Class::PortscanHorizontal, *secs, 1, lost);
                judge.handle_alert(&scan, tenant, Occupancy::default());
            }
            Suspicion(secs) => {
                let suspicion = Alert { is_suspicion: true, ..alert(Class::PortscanHorizontal, *secs, 1, 0) };
                judge.handle_alert(&suspicion, tenant, Occupancy::default());
            }
            Flood(secs, host) => {
                judge.handle_alert(&alert(Class::FloodSyn, *secs, *host, 50), tenant, Occupancy::default());
            }
            Refuted(_) => judge.handle_refuted(&tenant.id, Class::PortscanHorizontal, time),
            Release(_) => {
                decided.clear();
                judge.handle_release(&tenant.id, time);
            }
            Forgive(_) => {
                let behind = std::mem::take(&mut decided).into_iter().map(|(_, id)| id).collect();
                judge.handle_forgive(&tenant.id, &behind);
                judge.handle_release(&tenant.id, time);
            }
            Pause(_, paused) => {
                judge.set_pause(paused.then(|| crate::pause::Pause::new("oncall", "look", time)));
            }
            Lift(_, strikes) => judge.handle_lift(&std::mem::take(&mut decided), *strikes, time),
            Quiet(_) => {}
        }
        while let Some(judgement) = judge.poll() {
            let secs = time.since(at(0)).as_secs();
            match judgement {
                Judgement::Decision(decision) => {
                    decided.extend(decision.violation.clone().map(|id| (decision.tenant.clone(), id)));
                    let soft = if decision.softened.is_some() { " softened" } else { "" };
                    told.push(format!(
                        "{secs} {} {} [{}]{soft}",
                        decision.action, decision.scope, decision.mode
                    ));
                }
                Judgement::Violation(violation) if violation.state != ViolationState::Open => {
                    let end = violation.closed.unwrap().since(at(0)).as_secs();
                    told.push(format!("{end} {} after {} alerts", violation.state.name(), violation.alerts));
                }
                Judgement::Violation(violation) if violation.alerts == 1 => {
                    told.push(format!("{secs} strike {} under {}", violation.strike, violation.clause));
                }
                Judgement::Violation(_) => {}
                Judgement::Excused(excused) => told.push(format!("{secs} {excused}")),
                Judgement::Braked(set) => told.push(format!("{secs} {set}")),
            }
        }
    }
    told
}

fn check(events: &[Event], expect: &[&str]) {
    let mut judge = judge(Policy::preset("baseline").unwrap(), Mode::Enforce);
    assert_eq!(play(&mut judge, &tenant("a", None), events), expect);
}

#[test]
fn a_suspicion_is_no_strike_until_it_is_confirmed() {
    let only = ["0 strike 0 under baseline/portscan", "610 quiet after 2 alerts"];
    check(&[Suspicion(0), Suspicion(10), Quiet(700)], &only);
    check(
        &[Suspicion(0), Scan(10), Suspicion(20), Quiet(700)],
        &["0 strike 0 under baseline/portscan", "10 suspend all [enforce]", "620 quiet after 3 alerts"],
    );
    let mut judge = judge(Policy::preset("baseline").unwrap(), Mode::Enforce);
    let mut violation = None;
    for (secs, is_suspicion) in [(0, true), (10, false), (20, true)] {
        let one = Alert { is_suspicion, ..alert(Class::PortscanHorizontal, secs, 1, 0) };
        judge.handle_alert(&one, &tenant("a", None), Occupancy::default());
        while let Some(judgement) = judge.poll() {
            if let Judgement::Violation(told) = judgement {
                violation = Some(told);
            }
        }
    }
    let violation = violation.unwrap();
    assert_eq!((violation.strike, violation.opened, violation.evidence.at), (1, at(0), at(10)));
}

#[test]
fn what_is_refuted_is_closed_at_once_unless_it_is_certain() {
    check(
        &[Refuted(0), Suspicion(1), Refuted(5), Refuted(6), Quiet(700), Suspicion(800), Quiet(1_500)],
        &[
            "1 strike 0 under baseline/portscan",
            "5 quiet after 1 alerts",
            "800 strike 0 under baseline/portscan",
            "1400 quiet after 1 alerts",
        ],
    );
    check(
        &[Suspicion(0), Scan(10), Refuted(20), Quiet(700)],
        &["0 strike 0 under baseline/portscan", "10 suspend all [enforce]", "610 quiet after 2 alerts"],
    );
    let mut judge = judge(Policy::preset("baseline").unwrap(), Mode::Enforce);
    let alice = tenant("a", None);
    let suspicion = Alert { is_suspicion: true, ..alert(Class::PortscanHorizontal, 0, 1, 0) };
    judge.handle_alert(&suspicion, &alice, Occupancy::default());
    // Another tenant's, and another class's, are none of its business.
    judge.handle_refuted(&"b".parse().unwrap(), Class::PortscanHorizontal, at(1));
    judge.handle_refuted(&alice.id, Class::FloodSyn, at(1));
    assert!(judge.next_deadline().is_some());
    judge.handle_refuted(&alice.id, Class::PortscanHorizontal, at(2));
    assert_eq!(judge.next_deadline(), None, "it does not end a second time");
    let Some(Judgement::Violation(closed)) = std::iter::from_fn(|| judge.poll()).last() else {
        panic!("it was told");
    };
    assert_eq!((closed.state, closed.closed), (ViolationState::Quiet, Some(at(2))));
    let why = closed.evidence.metrics.last().map(|metric| metric.name.as_ref());
    assert_eq!(why, Some("refused_by_check"));
}

#[test]
fn an_episode_is_one_strike_and_one_decision() {
    check(
        &[Scan(0), Scan(10), Scan(20), Quiet(619), Quiet(620)],
        &["0 strike 1 under baseline/portscan", "0 suspend all [enforce]", "620 quiet after 3 alerts"],
    );
}

#[test]
fn a_release_closes_the_episode_and_the_next_one_is_another_strike() {
    check(
        &[Scan(0), Release(5), Scan(50)],
        &[
            "0 strike 1 under baseline/portscan",
            "0 suspend all [enforce]",
            "5 released after 1 alerts",
            "50 strike 2 under baseline/portscan",
            "50 suspend all [enforce]",
        ],
    );
}

#[test]
fn a_block_follows_the_flood_and_escalates_only_after_a_minute() {
    check(
        &[Flood(0, 1), Flood(10, 1), Flood(20, 2), Flood(30, 1), Flood(60, 1), Flood(70, 1)],
        &[
            "0 strike 1 under baseline/flood",
            "0 block to 20.0.0.1 [enforce]",
            "20 block to 20.0.0.2 [enforce]",
            "60 suspend all [enforce]",
        ],
    );
}

#[test]
fn the_second_episode_begins_on_the_second_step() {
    check(
        &[Flood(0, 1), Flood(1_000, 1)],
        &[
            "0 strike 1 under baseline/flood",
            "0 block to 20.0.0.1 [enforce]",
            "600 quiet after 1 alerts",
            "1000 strike 2 under baseline/flood",
            "1000 suspend all [enforce]",
        ],
    );
}

#[test]
fn strikes_are_forgotten_after_their_memory() {
    let after = 181 * 86_400;
    check(
        &[Flood(0, 1), Flood(after, 1)],
        &[
            "0 strike 1 under baseline/flood",
            "0 block to 20.0.0.1 [enforce]",
            "600 quiet after 1 alerts",
            &format!("{after} strike 1 under baseline/flood"),
            &format!("{after} block to 20.0.0.1 [enforce]"),
        ],
    );
}

#[test]
fn lost_frames_soften_counts_but_not_rates_and_the_step_is_taken_when_they_end() {
    check(
        &[LossyScan(0), LossyScan(10), Scan(20), Flood(30, 1)],
        &[
            "0 strike 1 under baseline/portscan",
            "0 notify all [enforce] softened",
            "20 suspend all [enforce]",
            "30 strike 1 under baseline/flood",
            "30 block to 20.0.0.1 [enforce]",
        ],
    );
}

#[test]
fn while_paused_nothing_new_is_done_and_the_step_is_taken_when_it_ends() {
    check(
        &[
            Flood(0, 1),
            Pause(1, true),
            Scan(2),
            Scan(10),
            Flood(60, 1),
            Flood(70, 2),
            Pause(80, false),
            Flood(90, 1),
        ],
        &[
            "0 strike 1 under baseline/flood",
            "0 block to 20.0.0.1 [enforce]",
            "2 strike 1 under baseline/portscan",
            "2 notify all [enforce] softened",
            "60 notify all [enforce] softened",
            "90 suspend all [enforce]",
        ],
    );
    let mut judge = judge(Policy::preset("baseline").unwrap(), Mode::Enforce);
    judge.set_pause(Some(crate::pause::Pause::new("oncall", "look", at(1))));
    judge.handle_alert(&alert(Class::PortscanHorizontal, 5, 1, 0), &tenant("a", None), Occupancy::default());
    let softened = std::iter::from_fn(|| judge.poll()).find_map(|judgement| match judgement {
        Judgement::Decision(decision) => decision.softened,
        _ => None,
    });
    assert_eq!(softened.unwrap(), "paused by oncall since 2023-11-14T22:13:21Z: look");
}

#[test]
fn what_is_only_observed_is_decided_in_a_pause_as_ever() {
    let mut judge = judge(Policy::preset("baseline").unwrap(), Mode::Observe);
    let told = play(&mut judge, &tenant("a", None), &[Pause(0, true), Scan(1)]);
    assert_eq!(told[1], "1 suspend all [observe]");
}

#[test]
fn what_is_undone_closes_the_episode_and_may_take_its_strike_back() {
    let flood = |strikes| vec![Flood(0, 1), Lift(5, strikes), Flood(50, 1)];
    let begin =
        ["0 strike 1 under baseline/flood", "0 block to 20.0.0.1 [enforce]", "5 released after 1 alerts"];
    let again = ["50 strike 1 under baseline/flood", "50 block to 20.0.0.1 [enforce]"];
    check(&flood(true), &[&begin[..], &again].concat());
    let second = ["50 strike 2 under baseline/flood", "50 suspend all [enforce]"];
    check(&flood(false), &[&begin[..], &second].concat());
    // An episode that is over has its strike taken back all the same.
    check(
        &[Flood(0, 1), Quiet(700), Lift(800, true), Flood(900, 1)],
        &[
            begin[0],
            begin[1],
            "600 quiet after 1 alerts",
            "900 strike 1 under baseline/flood",
            "900 block to 20.0.0.1 [enforce]",
        ],
    );
}

#[test]
fn a_release_leaves_the_strike_unless_it_was_a_false_alarm() {
    let first = ["0 strike 1 under baseline/flood", "0 block to 20.0.0.1 [enforce]"];
    let ended = ["5 released after 1 alerts"];
    let second = ["50 strike 2 under baseline/flood", "50 suspend all [enforce]"];
    let again = ["50 strike 1 under baseline/flood", "50 block to 20.0.0.1 [enforce]"];
    check(&[Flood(0, 1), Release(5), Flood(50, 1)], &[&first[..], &ended, &second].concat());
    check(&[Flood(0, 1), Forgive(5), Flood(50, 1)], &[&first[..], &ended, &again].concat());
    // The episode is over long before somebody looks; an older strike, behind which nothing stands, is not forgiven.
    check(
        &[Flood(0, 1), Release(5), Flood(50, 1), Quiet(700), Forgive(800), Flood(900, 1)],
        &[
            first[0],
            first[1],
            ended[0],
            second[0],
            second[1],
            "650 quiet after 1 alerts",
            "900 strike 2 under baseline/flood",
            "900 suspend all [enforce]",
        ],
    );
}

#[test]
fn the_mildest_mode_applies_and_a_harsher_one_is_caught_up_with() {
    let baseline = || Policy::preset("baseline").unwrap();
    let first =
        |policy, node, mode| play(&mut judge(policy, node), &tenant("a", mode), &[Scan(0)])[1].clone();
    assert_eq!(first(baseline(), Mode::Observe, None), "0 suspend all [observe]");
    assert_eq!(first(baseline(), Mode::Enforce, Some(Mode::Observe)), "0 suspend all [observe]");
    assert_eq!(
        first(Policy { mode: Mode::Observe, ..baseline() }, Mode::Enforce, None),
        "0 suspend all [observe]"
    );

    let mut judge = judge(baseline(), Mode::Observe);
    play(&mut judge, &tenant("a", None), &[Scan(0)]);
    judge.set_node_mode(Mode::Enforce);
    assert_eq!(play(&mut judge, &tenant("a", None), &[Scan(10), Scan(20)]), ["10 suspend all [enforce]"]);
}

#[test]
fn the_protected_are_spared() {
    let mut policy = Policy::preset("baseline").unwrap();
    policy.protected_destinations = vec!["20.0.0.1/32".parse().unwrap()];
    let told =
        play(&mut judge(policy.clone(), Mode::Enforce), &tenant("a", None), &[Flood(0, 1), Flood(10, 2)]);
    assert_eq!(told[1..], ["0 notify nothing [enforce] softened", "10 block to 20.0.0.2 [enforce]"]);
    policy.protected_sources.insert("a".parse().unwrap());
    let told = play(&mut judge(policy, Mode::Enforce), &tenant("a", None), &[Scan(0), Scan(100)]);
    assert_eq!(told[1..], ["0 notify all [enforce] softened"]);
}

#[test]
fn the_record_survives_being_written_down() {
    let mut first = judge(Policy::preset("baseline").unwrap(), Mode::Enforce);
    play(&mut first, &tenant("a", None), &[Flood(0, 1)]);
    let text = serde_json::to_string(first.standing()).unwrap();
    let mut second = judge(Policy::preset("baseline").unwrap(), Mode::Enforce);
    second.restore(serde_json::from_str(&text).unwrap());
    assert_eq!(second.standing(), first.standing());
    let told = play(&mut second, &tenant("a", None), &[Flood(10, 1), Quiet(610)]);
    assert_eq!(told, ["610 quiet after 2 alerts"]);
}

#[test]
fn the_record_is_bounded() {
    let mut judge = judge(Policy::preset("baseline").unwrap(), Mode::Observe);
    let mut one = alert(Class::FloodSyn, 0, 1, 0);
    for number in 0..=Judge::CAPACITY {
        one.tenant = format!("t{number}").parse().unwrap();
        one.at = at(number as u64 / 100);
        judge.handle_alert(&one, &tenant(one.tenant.as_str(), None), Occupancy::default());
        while judge.poll().is_some() {}
    }
    assert_eq!(judge.standing().len(), Judge::CAPACITY);
    assert_eq!(judge.quiet_at.len(), Judge::CAPACITY);
    assert!(!judge.standing().records.contains_key(&"t0".parse::<TenantId>().unwrap()));
}

proptest! {
    /// A stronger history never gives a milder first step, and an episode never takes a step back.
    #[test]
    fn ladders_only_go_up(gaps in prop::collection::vec(1_u64..2_000, 1..40)) {
        let mut judge = judge(Policy::preset("baseline").unwrap(), Mode::Enforce);
        let (mut secs, mut last) = (0, None);
        for gap in gaps {
            secs += gap;
            judge.handle_timeout(at(secs));
            judge.handle_alert(&alert(Class::FloodSyn, secs, 1, 0), &tenant("a", None), Occupancy::default());
            while let Some(judgement) = judge.poll() {
                let Judgement::Decision(decision) = judgement else { continue };
                prop_assert!(last.is_none_or(|last| decision.action >= last));
                last = Some(decision.action);
            }
        }
        prop_assert!(Duration::from_secs(secs) >= Duration::from_secs(1));
    }
}
