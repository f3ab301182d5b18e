//! The whole way of a suspected open relay: suspected, asked, and what its answer leads to.

use reeve_policy::ViolationState;

use super::*;
use crate::stream::smtp::MailEvent;
use crate::topology::VantageKind;

const ALICE: [u8; 4] = [203, 0, 113, 10];
const HOUR: u64 = 3_600_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos((1_700_000_000_000 + millis) * 1_000_000)
}

fn policy(rest: &str) -> Arc<Policy> {
    let head = "[policy]\nname = \"p\"\nversion = 1\nextends = \"baseline\"\n";
    Arc::new(Policy::parse("p.toml", &format!("{head}{rest}")).unwrap())
}

const ASKS: &str =
    "[relay_check]\nenabled = true\nfrom = \"probe@asker.example\"\nto = \"probe@elsewhere.example\"\n";

fn tenants() -> Vec<Arc<Tenant>> {
    vec![Arc::new(Tenant {
        addresses: vec!["203.0.113.0/28".parse().unwrap()],
        interfaces: vec!["n1/tap0".parse().unwrap()],
        ..Tenant::new("alice".parse().unwrap())
    })]
}

fn engine(mode: Mode, policy: Arc<Policy>) -> Engine {
    let mut engine = Engine::new(EngineConfig {
        node: "n1".parse().unwrap(),
        mode,
        policy,
        flow_bytes: 1 << 20,
        seed: 3,
        shards: 3,
    });
    let vantage =
        Vantage { id: VantageId(0), interface: "tap0".into(), kind: VantageKind::Port, sampling: 1 };
    engine.handle_topology(tenants(), vec![vantage], at(0));
    engine
}

/// Ten messages that nobody can read pass through a server of alice's from `millis` on; the last at 96 s, with which they are suspected.
fn relay(millis: u64, server: [u8; 4]) -> Vec<Input> {
    let mut inputs = Vec::new();
    for place in 0..10_u32 {
        let millis = millis + u64::from(place) * 10_000;
        let size = 700 + place.wrapping_mul(2_654_435_761) % 9_000;
        let mail = |is_client, peer: [u8; 4], size| StreamEvent::Mail {
            tenant: crate::topology::TenantIx(0),
            local: server.into(),
            peer: peer.into(),
            port: 25,
            is_client,
            event: MailEvent::SealedMessage { size },
        };
        let hop = [20, 0, 0, 10 + (place % 5) as u8];
        for (at_millis, said) in
            [(millis, mail(false, [198, 51, 100, 7], size)), (millis + 700, mail(true, hop, size + 260))]
        {
            inputs.push(Input::Tick { at: at(at_millis) });
            inputs.push(Input::Said { said: vec![said], at: at(at_millis) });
        }
    }
    inputs
}

fn answer(millis: u64, verdict: CheckVerdict, is_outside: bool) -> Input {
    Input::RelayChecked { tenant: "alice".parse().unwrap(), verdict, is_outside, at: at(millis) }
}

fn play(engine: &mut Engine, inputs: impl IntoIterator<Item = Input>) -> Vec<Output> {
    let mut outputs = Vec::new();
    for input in inputs {
        engine.handle(input);
        outputs.extend(std::iter::from_fn(|| engine.poll()));
    }
    outputs
}

/// What is told, in words; what has been told before of a violation is not repeated.
fn words(outputs: &[Output]) -> Vec<String> {
    let mut words: Vec<String> = outputs
        .iter()
        .map(|output| match output {
            Output::Alert(alert) if alert.is_suspicion => format!("suspected {}", alert.class),
            Output::Alert(alert) => format!("certain {}", alert.class),
            Output::Violation(violation) => {
                format!("violation {} strike {}", violation.state.name(), violation.strike)
            }
            Output::Decision(decision) => format!("{} {}", decision.action, decision.scope),
            Output::Excused(excused) => excused.to_string(),
            Output::Imposed(_) => "imposed".to_owned(),
            Output::Lifted { reason, .. } => format!("lifted: {}", reason.name()),
            Output::CheckRelay { server, .. } => format!("ask {server}"),
            Output::Degraded { .. } => "degraded".to_owned(),
        })
        .collect();
    words.dedup();
    words
}

const SUSPECTED: [&str; 3] = ["suspected smtp_relay", "violation open strike 0", "ask 203.0.113.10"];

/// Who is suspected and answers this; what comes of it.
fn check(verdict: CheckVerdict, is_outside: bool, expect: &[&str]) {
    let mut engine = engine(Mode::Enforce, policy(ASKS));
    let told = words(&play(&mut engine, relay(1_000, ALICE)));
    assert_eq!(told[..3], ["suspected smtp_relay", "violation open strike 0", "ask 203.0.113.10"]);
    assert_eq!(told.iter().filter(|word| word.starts_with("ask")).count(), 1, "{told:?}");
    let told = words(&play(&mut engine, [answer(110_000, verdict, is_outside)]));
    assert_eq!(told, expect, "{verdict:?} {is_outside}");
}

#[test]
fn the_answer_decides() {
    let confirmed = ["certain smtp_relay", "violation open strike 1", "block tcp/25", "imposed"];
    check(CheckVerdict::Accepted, true, &confirmed);
    check(CheckVerdict::Accepted, false, &[]);
    for is_outside in [true, false] {
        check(CheckVerdict::Refused, is_outside, &["violation quiet strike 0"]);
        for verdict in
            [CheckVerdict::Deferred, CheckVerdict::Unclear, CheckVerdict::Unreachable, CheckVerdict::NotAsked]
        {
            check(verdict, is_outside, &[]);
        }
    }
}

#[test]
fn what_is_confirmed_says_by_what_and_is_a_strike_as_of_its_beginning() {
    let mut engine = engine(Mode::Enforce, policy(ASKS));
    let before = play(&mut engine, relay(1_000, ALICE));
    let opened = before.iter().find_map(|output| match output {
        Output::Violation(violation) => Some(violation.clone()),
        _ => None,
    });
    let opened = opened.expect("it was suspected");
    let after = play(&mut engine, [answer(110_000, CheckVerdict::Accepted, true)]);
    let Some(Output::Violation(violation)) =
        after.iter().find(|output| matches!(output, Output::Violation(_)))
    else {
        panic!("no violation: {after:?}");
    };
    assert_eq!((&violation.id, violation.opened), (&opened.id, opened.opened));
    let evidence = &violation.evidence;
    assert_eq!(
        (evidence.at, evidence.is_suspicion, evidence.metrics[0].name.as_ref()),
        (at(110_000), false, "accepted_by_check")
    );
    assert!(!evidence.targets.is_empty(), "where it passed mail on to");
    assert_eq!(engine.desired().measures.len(), 1);
}

#[test]
fn what_is_refuted_is_closed_and_not_suspected_for_a_day_but_for_another_server() {
    let mut engine = engine(Mode::Enforce, policy(ASKS));
    play(&mut engine, relay(1_000, ALICE));
    let told = play(&mut engine, [answer(110_000, CheckVerdict::Refused, true)]);
    let [Output::Violation(violation)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((violation.state, violation.strike), (ViolationState::Quiet, 0));
    let why = violation.evidence.metrics.last().map(|metric| metric.name.as_ref());
    assert_eq!(why, Some("refused_by_check"));
    // An hour on it is asked again, since it may be another by now; nothing is held against it meanwhile.
    let told = words(&play(&mut engine, relay(2 * HOUR, ALICE)));
    assert!(told.contains(&"ask 203.0.113.10".to_owned()), "{told:?}");
    assert!(!told.iter().any(|word| word.starts_with("violation")), "{told:?}");
    let told = words(&play(&mut engine, [answer(2 * HOUR + 200_000, CheckVerdict::Unreachable, true)]));
    assert!(told.is_empty(), "{told:?}");
    let told = words(&play(&mut engine, relay(4 * HOUR, [203, 0, 113, 11])));
    assert!(told.contains(&"violation open strike 0".to_owned()), "{told:?}");
    assert!(told.contains(&"ask 203.0.113.11".to_owned()), "{told:?}");
}

#[test]
fn nobody_is_asked_unless_the_policy_says_so_and_may_act() {
    let is_asked = |mut engine: Engine, first: Option<Input>| {
        let told = words(&play(&mut engine, first.into_iter().chain(relay(1_000, ALICE))));
        assert_eq!(told[..2], SUSPECTED[..2]);
        told.iter().any(|word| word.starts_with("ask"))
    };
    let pause = Input::Pause { paused: Some(Pause::new("oncall", "", at(10))), at: at(10) };
    assert!(is_asked(engine(Mode::Enforce, policy(ASKS)), None));
    assert!(!is_asked(engine(Mode::Enforce, policy(ASKS)), Some(pause)));
    assert!(!is_asked(engine(Mode::Observe, policy(ASKS)), None));
    assert!(!is_asked(engine(Mode::Enforce, policy("")), None));
    let off = policy(&ASKS.replace("true", "false"));
    assert!(!is_asked(engine(Mode::Enforce, off), None));
    let observing = policy(&format!("mode = \"observe\"\n{ASKS}"));
    assert!(!is_asked(engine(Mode::Enforce, observing), None));
}

#[test]
fn who_is_put_off_or_was_not_asked_is_asked_in_a_quarter_of_an_hour_unless_paused() {
    let tick = |millis| Input::Tick { at: at(millis) };
    for verdict in [CheckVerdict::Deferred, CheckVerdict::NotAsked] {
        let mut engine = engine(Mode::Enforce, policy(ASKS));
        play(&mut engine, relay(1_000, ALICE));
        play(&mut engine, [answer(110_000, verdict, true)]);
        assert!(words(&play(&mut engine, [tick(1_009_900)])).iter().all(|word| !word.starts_with("ask")));
        assert_eq!(words(&play(&mut engine, [tick(1_010_000)])), ["ask 203.0.113.10"]);
        let told = words(&play(&mut engine, [answer(1_011_000, CheckVerdict::Accepted, true)]));
        assert!(told.contains(&"imposed".to_owned()), "{told:?}");
    }
    let mut engine = engine(Mode::Enforce, policy(ASKS));
    play(&mut engine, relay(1_000, ALICE));
    play(&mut engine, [answer(110_000, CheckVerdict::Deferred, true)]);
    let pause = Input::Pause { paused: Some(Pause::new("oncall", "", at(111_000))), at: at(111_000) };
    let told = words(&play(&mut engine, [pause, tick(2 * HOUR)]));
    assert!(told.iter().all(|word| !word.starts_with("ask")), "{told:?}");
}

#[test]
fn an_answer_that_nobody_waits_for_changes_nothing() {
    let mut engine = engine(Mode::Enforce, policy(ASKS));
    assert!(play(&mut engine, [answer(1_000, CheckVerdict::Accepted, true)]).is_empty());
    play(&mut engine, relay(2_000, ALICE));
    let release = Input::Release { tenant: "alice".parse().unwrap(), forgive: false, at: at(110_000) };
    play(&mut engine, [release]);
    assert!(play(&mut engine, [answer(111_000, CheckVerdict::Accepted, true)]).is_empty());
}

/// A certain violation is not closed by a later refusal: what was seen was seen.
#[test]
fn a_refusal_takes_back_no_strike() {
    let mut engine = engine(Mode::Enforce, policy(ASKS));
    play(&mut engine, relay(1_000, ALICE));
    play(&mut engine, [answer(110_000, CheckVerdict::Accepted, true)]);
    assert!(play(&mut engine, [answer(120_000, CheckVerdict::Refused, true)]).is_empty());
    assert_eq!(engine.desired().measures.len(), 1);
}
