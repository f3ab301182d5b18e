//! The whole way of a suspected open relay: suspected, asked, and what its answer leads to.

use reeve_policy::{CheckVerdict, ViolationState};

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
    let (tenant, by) = ("alice".parse().unwrap(), String::new());
    Input::RelayChecked { tenant, verdict, is_outside, server: None, by, at: at(millis) }
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
            Output::BrakesSet(set) => set.to_string(),
            Output::Imposed(_) => "imposed".to_owned(),
            Output::Lifted { reason, .. } => format!("lifted: {}", reason.name()),
            Output::CheckRelay { server, .. } => format!("ask {server}"),
            Output::RelayChecked(checked) => checked.answer.verdict.name().to_owned(),
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
    let is_told = verdict != CheckVerdict::NotAsked;
    let expect: Vec<&str> =
        is_told.then(|| verdict.name()).into_iter().chain(expect.iter().copied()).collect();
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
    let [Output::RelayChecked(_), Output::Violation(violation)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((violation.state, violation.strike), (ViolationState::Quiet, 0));
    let why = violation.evidence.metrics.last().map(|metric| metric.name.as_ref());
    assert_eq!(why, Some("refused_by_check"));
    // An hour on it is asked again, since it may be another by now; nothing is held against it meanwhile.
    let told = words(&play(&mut engine, relay(2 * HOUR, ALICE)));
    assert!(told.contains(&"ask 203.0.113.10".to_owned()), "{told:?}");
    assert!(!told.iter().any(|word| word.starts_with("violation")), "{told:?}");
    let told = words(&play(&mut engine, [answer(2 * HOUR + 200_000, CheckVerdict::Unreachable, true)]));
    assert_eq!(told, ["unreachable"]);
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
    assert_eq!(words(&play(&mut engine, [answer(111_000, CheckVerdict::Accepted, true)])), ["accepted"]);
}

/// A certain violation is not closed by a later refusal: what was seen was seen.
#[test]
fn a_refusal_takes_back_no_strike() {
    let mut engine = engine(Mode::Enforce, policy(ASKS));
    play(&mut engine, relay(1_000, ALICE));
    play(&mut engine, [answer(110_000, CheckVerdict::Accepted, true)]);
    assert_eq!(words(&play(&mut engine, [answer(120_000, CheckVerdict::Refused, true)])), ["refused"]);
    assert_eq!(engine.desired().measures.len(), 1);
}

/// Rules on nothing but open relays, as presets have them.
fn relay_rule(ladder: &str) -> Arc<Policy> {
    let rule = "[[rule]]\nid = \"relay\"\non = [\"smtp_relay\"]\n";
    policy(&format!("{ASKS}{rule}ladder = [{ladder}]\n"))
}

const BLOCK: &str = "{ action = \"block\", scope = \"tcp/25\", until = \"verified\" }";
const WARN: &str = "{ action = \"notify\", grace = \"2h\" }";
const MINUTE: u64 = 60_000;

/// An engine whose alice was found out at 110 s, and what was told of it.
fn found(policy: Arc<Policy>) -> (Engine, Vec<String>) {
    let mut engine = engine(Mode::Enforce, policy);
    play(&mut engine, relay(1_000, ALICE));
    let told = words(&play(&mut engine, [answer(110_000, CheckVerdict::Accepted, true)]));
    (engine, told)
}

/// Lets time go by, minute by minute, and answers each question so a second later; what is told, with the minute.
fn pass(engine: &mut Engine, minutes: std::ops::Range<u64>, verdict: CheckVerdict) -> Vec<(u64, String)> {
    let mut told = Vec::new();
    for minute in minutes {
        let outputs = play(engine, [Input::Tick { at: at(minute * MINUTE) }]);
        let is_asked = outputs.iter().any(|output| matches!(output, Output::CheckRelay { .. }));
        let answered = is_asked.then(|| answer(minute * MINUTE + 1_000, verdict, true));
        let all = [words(&outputs), words(&play(engine, answered))].concat();
        told.extend(all.into_iter().map(|word| (minute, word)));
    }
    told
}

fn told(words: &[(u64, String)]) -> Vec<(u64, &str)> {
    words.iter().map(|(minute, word)| (*minute, word.as_str())).collect()
}

#[test]
fn what_stands_until_verified_is_asked_about_and_lifted_when_it_is_closed() {
    let (mut engine, before) = found(relay_rule(BLOCK));
    assert_eq!(before[1..], ["certain smtp_relay", "violation open strike 1", "block tcp/25", "imposed"]);
    // Still open: it stays, is said so, and no step further.
    let words = pass(&mut engine, 3..60, CheckVerdict::Accepted);
    let expect = [(12, "violation quiet strike 1"), (32, "ask 203.0.113.10"), (32, "accepted")];
    assert_eq!(told(&words), expect);
    // No answer, or one that puts it off: it stays as well.
    let words = pass(&mut engine, 60..64, CheckVerdict::Unreachable);
    assert_eq!(told(&words), [(62, "ask 203.0.113.10"), (62, "unreachable")]);
    let words = pass(&mut engine, 64..94, CheckVerdict::Deferred);
    assert_eq!(told(&words), [(92, "ask 203.0.113.10"), (92, "deferred")]);
    assert_eq!(engine.desired().measures.len(), 1);
    // Who puts it off is asked sooner.
    let words = pass(&mut engine, 94..300, CheckVerdict::Refused);
    assert_eq!(told(&words), [(108, "ask 203.0.113.10"), (108, "refused"), (108, "lifted: verified")]);
    assert!(engine.desired().measures.is_empty());
    // The strike stays: what comes again is the second.
    let words = words_of(&mut engine, relay(20 * HOUR, [203, 0, 113, 11]));
    assert!(words.contains(&"ask 203.0.113.11".to_owned()), "{words:?}");
    let words = words_of(&mut engine, [answer(20 * HOUR + 200_000, CheckVerdict::Accepted, true)]);
    assert!(words.contains(&"violation open strike 2".to_owned()), "{words:?}");
}

fn words_of(engine: &mut Engine, inputs: impl IntoIterator<Item = Input>) -> Vec<String> {
    words(&play(engine, inputs))
}

#[test]
fn a_refusal_lifts_only_for_a_stranger_and_of_the_server_that_is_meant() {
    let (mut engine, _) = found(relay_rule(BLOCK));
    let asked = |millis, is_outside, server: [u8; 4]| Input::RelayChecked {
        tenant: "alice".parse().unwrap(),
        verdict: CheckVerdict::Refused,
        is_outside,
        server: Some(server.into()),
        by: "oncall".into(),
        at: at(millis),
    };
    assert_eq!(words_of(&mut engine, [asked(120_000, false, ALICE)]), ["refused"]);
    assert_eq!(words_of(&mut engine, [asked(121_000, true, [203, 0, 113, 11])]), ["refused"]);
    assert_eq!(engine.desired().measures.len(), 1);
    let outputs = play(&mut engine, [asked(122_000, true, ALICE)]);
    assert_eq!(words(&outputs), ["refused", "violation quiet strike 1", "lifted: verified"]);
    assert!(matches!(&outputs[0], Output::RelayChecked(checked) if checked.by == "oncall"));
    let why = outputs.iter().find_map(|output| match output {
        Output::Violation(violation) => violation.evidence.metrics.last().map(|metric| metric.name.clone()),
        _ => None,
    });
    assert_eq!(why.as_deref(), Some("refused_by_check"));
}

#[test]
fn what_stands_until_released_is_asked_about_and_stays() {
    let suspend = "{ action = \"suspend\", scope = \"all\", until = \"released\" }";
    let (mut engine, _) = found(relay_rule(suspend));
    let words = pass(&mut engine, 3..40, CheckVerdict::Refused);
    let expect = [(12, "violation quiet strike 1"), (32, "ask 203.0.113.10"), (32, "refused")];
    assert_eq!(told(&words), expect);
    assert_eq!(engine.desired().measures.len(), 1);
    let release = Input::Release { tenant: "alice".parse().unwrap(), forgive: false, at: at(41 * MINUTE) };
    assert_eq!(words_of(&mut engine, [release]), ["lifted: released"]);
    assert!(pass(&mut engine, 42..200, CheckVerdict::Refused).is_empty(), "nobody is asked any more");
}

#[test]
fn who_is_warned_and_closes_it_in_time_is_let_be() {
    let (mut engine, before) = found(relay_rule(&format!("{WARN}, {BLOCK}")));
    assert_eq!(before[1..], ["certain smtp_relay", "violation open strike 1", "notify all"]);
    let words = pass(&mut engine, 3..40, CheckVerdict::Accepted);
    let still = [(32, "ask 203.0.113.10"), (32, "accepted")];
    assert_eq!(
        told(&words),
        [&still[..], &[(32, "certain smtp_relay"), (32, "violation open strike 1")]].concat()
    );
    let words = pass(&mut engine, 40..400, CheckVerdict::Refused);
    let expect = [(62, "ask 203.0.113.10"), (62, "refused"), (62, "violation quiet strike 1")];
    assert_eq!(told(&words), expect);
}

#[test]
fn who_is_warned_and_does_not_close_it_is_blocked_at_the_deadline() {
    let (mut engine, _) = found(relay_rule(&format!("{WARN}, {BLOCK}")));
    let words = pass(&mut engine, 3..130, CheckVerdict::Accepted);
    let asked: Vec<u64> =
        words.iter().filter(|(_, word)| word.starts_with("ask")).map(|(at, _)| *at).collect();
    // Every half hour, and at 7310 s when the warning is over.
    assert_eq!(asked, [32, 62, 92, 122]);
    let imposed: Vec<u64> = words.iter().filter(|(_, word)| word == "imposed").map(|(at, _)| *at).collect();
    assert_eq!(imposed, [122]);
    let measure = engine.desired().measures.values().next().unwrap();
    assert_eq!(measure.decision.until, reeve_policy::Until::Verified);
    // Closed after that, it is lifted.
    let words = pass(&mut engine, 130..200, CheckVerdict::Refused);
    assert!(words.contains(&(152, "lifted: verified".to_owned())), "{words:?}");
}

#[test]
fn a_warning_that_nobody_answers_to_is_let_be_after_its_deadline() {
    let (mut engine, _) = found(relay_rule(&format!("{WARN}, {BLOCK}")));
    let words = pass(&mut engine, 3..400, CheckVerdict::Unreachable);
    assert_eq!(words.last(), Some(&(152, "violation quiet strike 1".to_owned())), "{words:?}");
    assert!(engine.desired().measures.is_empty());
}

#[test]
fn what_stands_is_asked_about_after_a_restart_and_under_another_policy() {
    let (before, _) = found(relay_rule(BLOCK));
    let mut engine = engine(Mode::Enforce, relay_rule(BLOCK));
    let restore = Input::Restore { desired: before.desired().clone(), standing: before.standing().clone() };
    let vantage =
        Vantage { id: VantageId(0), interface: "tap0".into(), kind: VantageKind::Port, sampling: 1 };
    let topology = Input::Topology { tenants: tenants(), vantages: vec![vantage], at: at(5 * HOUR) };
    let mut told = words_of(&mut engine, [restore, topology]);
    told.extend(words_of(&mut engine, [Input::Tick { at: at(5 * HOUR + 1_000) }]));
    assert!(told.contains(&"ask 203.0.113.10".to_owned()), "{told:?}");
    // A policy that asks nobody ends it, one that does begins anew.
    let other = |policy, millis| Input::Policy { policy, mode: Mode::Enforce, at: at(millis) };
    play(&mut engine, [other(policy(""), 5 * HOUR + 2_000)]);
    assert!(words_of(&mut engine, [Input::Tick { at: at(9 * HOUR) }]).is_empty());
    play(&mut engine, [other(policy(ASKS), 9 * HOUR + 1_000)]);
    let told = words_of(&mut engine, [Input::Tick { at: at(9 * HOUR + 2_000) }]);
    assert_eq!(told, ["ask 203.0.113.10"]);
    let told = words_of(&mut engine, [answer(9 * HOUR + 3_000, CheckVerdict::Refused, true)]);
    assert_eq!(told, ["refused", "lifted: verified"]);
}

#[test]
fn nobody_is_asked_again_while_somebody_has_paused_but_for_an_operator() {
    let (mut engine, _) = found(relay_rule(BLOCK));
    let pause = Input::Pause { paused: Some(Pause::new("oncall", "", at(111_000))), at: at(111_000) };
    play(&mut engine, [pause]);
    let words = pass(&mut engine, 3..200, CheckVerdict::Refused);
    assert_eq!(told(&words), [(12, "violation quiet strike 1")]);
    let verify = |millis| Input::Verify { tenant: "alice".parse().unwrap(), at: at(millis) };
    assert_eq!(words_of(&mut engine, [verify(4 * HOUR)]), ["ask 203.0.113.10"]);
    assert_eq!(engine.may_verify(&"alice".parse().unwrap(), at(4 * HOUR + 1_000)), Err(Unasked::TooSoon));
    assert!(words_of(&mut engine, [verify(4 * HOUR + 1_000)]).is_empty());
    let told = words_of(&mut engine, [answer(4 * HOUR + 2_000, CheckVerdict::Refused, true)]);
    assert_eq!(told, ["refused", "lifted: verified"]);
    let nobody = "bob".parse().unwrap();
    assert_eq!(engine.may_verify(&nobody, at(5 * HOUR)), Err(Unasked::NoServer));
}
