//! What the presets answer to what: for each rule of each of them, alerts with their times, and the decisions that they must lead to.
//!
//! The data is in `ladders/PRESET.txt`, a line a case: `RULE | alerts | decisions`, each `;` after the other. An alert is `TIME CLASS`, or
//! `FROM..TO/STEP CLASS` for many; behind the class may stand ` xTIMES` (so many times its number), ` @own` (done to the provider's own
//! hosts) or ` @NAME` (a call to that endpoint). `known` alone says that the tenant is known for it. A decision is what is decided of that
//! tenant, or of the `parent` above it, with the time at which it is. Times are spans since Tuesday, 24 November 2026, noon in UTC.
//!
//! The data is complete: each rule has cases, each step of it is taken in one of them, and there is no condition that could be left out
//! of a rule without one of its cases coming to something else.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reeve_policy::judge::{Judge, Judgement, Occupancy};
use reeve_policy::language::{Policy, Rule};
use reeve_policy::reader::{format_duration, parse_duration};
use reeve_policy::{
    Alert, Class, Decision, Loss, Metric, Mode, Origin, Outcome, Protocol, Target, TargetSeen, Tenant,
    Timestamp, Until, Window,
};

/// The data of each preset.
const TABLES: [(&str, &str); 6] = [
    ("baseline", include_str!("ladders/baseline.txt")),
    ("anycloud", include_str!("ladders/anycloud.txt")),
    ("cloudprovider", include_str!("ladders/cloudprovider.txt")),
    ("extin", include_str!("ladders/extin.txt")),
    ("intermax", include_str!("ladders/intermax.txt")),
    ("oxygis", include_str!("ladders/oxygis.txt")),
];

/// The reseller above the tenant.
const PARENT: &str = "reseller";

/// What a provider adds to a preset: its networks and what is not to be called in bursts.
const PLACE: &str = r#"
[networks]
own = ["203.0.113.0/24"]

[[endpoint]]
name = "calls"
addresses = ["198.51.100.1/32"]
ports = [443]

[[endpoint]]
name = "accounts"
kind = "signup"
addresses = ["198.51.100.2"]
ports = [443]
"#;

/// A line of a table.
struct Case<'t> {
    line: usize,
    rule: &'t str,
    is_known: bool,
    alerts: Vec<(u64, Alert)>,
    expect: Vec<&'t str>,
}

fn start() -> Timestamp {
    Timestamp::from_secs(1_795_521_600)
}

fn seconds(text: &str) -> u64 {
    parse_duration(text).unwrap_or_else(|| panic!("{text} is no time")).as_secs()
}

fn cases(table: &str) -> Vec<Case<'_>> {
    let is_case = |(_, line): &(usize, &str)| !line.trim().is_empty() && !line.starts_with('#');
    table.lines().enumerate().filter(is_case).map(|(number, line)| case(number + 1, line)).collect()
}

fn case(line: usize, text: &str) -> Case<'_> {
    let parts: Vec<&str> = text.split('|').map(str::trim).collect();
    let [rule, alerts, expect] = parts[..] else { panic!("line {line}: RULE | alerts | decisions") };
    let list = |text: &'_ str| {
        text.split(';').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    };
    let events: Vec<String> = list(alerts);
    let is_known = events.iter().any(|event| event == "known");
    let mut alerts: Vec<(u64, Alert)> =
        events.iter().filter(|event| *event != "known").flat_map(|event| parsed(event)).collect();
    alerts.sort_by_key(|(secs, _)| *secs);
    let expect = expect.split(';').map(str::trim).filter(|part| !part.is_empty()).collect();
    Case { line, rule, is_known, alerts, expect }
}

/// An event's alerts.
fn parsed(event: &str) -> Vec<(u64, Alert)> {
    let mut words = event.split_whitespace();
    let (time, class) = (words.next().unwrap(), words.next().unwrap_or_else(|| panic!("{event}: no class")));
    let class: Class = class.parse().unwrap();
    let (mut times, mut place) = (1.0, "");
    for word in words {
        match (word.strip_prefix('x'), word.strip_prefix('@')) {
            (Some(number), _) => times = number.parse().unwrap(),
            (_, Some(name)) => place = name,
            _ => panic!("{event}: {word}"),
        }
    }
    let at: Vec<u64> = match time.split_once("..") {
        None => vec![seconds(time)],
        Some((from, rest)) => {
            let (to, step) = rest.split_once('/').unwrap();
            (seconds(from)..=seconds(to)).step_by(usize::try_from(seconds(step)).unwrap()).collect()
        }
    };
    at.into_iter().map(|secs| (secs, alert(class, secs, times, place))).collect()
}

fn alert(class: Class, secs: u64, times: f64, place: &str) -> Alert {
    let at = start() + Duration::from_secs(secs);
    let metric =
        |name: &str, value: f64, threshold| Metric { name: name.to_owned().into(), value, threshold };
    let (first, address): (&str, [u8; 4]) = match place {
        "accounts" => ("signups", [198, 51, 100, 2]),
        "calls" => ("calls_per_second", [198, 51, 100, 1]),
        "own" => ("number", [203, 0, 113, 9]),
        "" => ("number", [20, 0, 0, 1]),
        other => panic!("@{other}"),
    };
    let mut metrics = vec![metric(first, 1_000.0 * times, Some(1_000.0))];
    if class == Class::ApiBurst {
        metrics.push(metric(&format!("calls_at_{place}"), 1_000.0, None));
    }
    let port = match class.family() {
        "spam" | "smtp_relay" => 25,
        "api_burst" => 443,
        _ => 80,
    };
    let target = Target { address: address.into(), protocol: Protocol::Tcp, port: Some(port) };
    let seen = TargetSeen { target, first: at, last: at, outcome: Outcome::Silent };
    let has_targets = !matches!(class, Class::Quota | Class::FloodVolume);
    Alert {
        class,
        tenant: "a".parse().unwrap(),
        at,
        window: Window { start: at, end: at },
        metrics,
        confidence_percent: 95,
        targets: if has_targets { vec![seen] } else { Vec::new() },
        samples: Vec::new(),
        loss: Loss::default(),
        is_suspicion: false,
    }
}

/// A preset as a provider has it.
fn preset(name: &str) -> Policy {
    let head = format!("[policy]\nname = \"{name}\"\nversion = 1\nextends = \"{name}\"\n");
    Policy::parse("here.toml", &format!("{head}{PLACE}")).unwrap()
}

/// What is decided in a case.
fn play(policy: &Arc<Policy>, case: &Case<'_>) -> Vec<Decision> {
    let mut judge = Judge::new("n1".parse().unwrap(), Mode::Enforce, Arc::clone(policy));
    let mut tenant = Tenant::new("a".parse().unwrap());
    if case.is_known {
        tenant.known_offender = case.alerts.iter().map(|(_, alert)| alert.class).collect();
    }
    tenant.parent = Some(PARENT.parse().unwrap());
    let family = [Arc::new(tenant.clone()), Arc::new(Tenant::new(PARENT.parse().unwrap()))];
    judge.set_families(family.iter());
    let mut decisions = Vec::new();
    for (_, alert) in &case.alerts {
        judge.handle_timeout(alert.at);
        judge.handle_alert(alert, &tenant, Occupancy::default());
        while let Some(escalated) = judge.poll_escalated() {
            judge.handle_escalated(&escalated, Occupancy::default());
        }
        while let Some(judgement) = judge.poll() {
            if let Judgement::Decision(decision) = judgement {
                decisions.push(decision);
            }
        }
    }
    decisions
}

fn told(decision: &Decision) -> String {
    let at = match decision.at.since(start()) {
        Duration::ZERO => "0s".to_owned(),
        span => format_duration(span),
    };
    let rate = decision.rate.map_or_else(String::new, |rate| format!(" at {rate}"));
    let until = match decision.until {
        Until::After(span) => format_duration(span),
        Until::Released => "released".into(),
        Until::Verified => "verified".into(),
        Until::Paid => "paid".into(),
        Until::MonthEnd => "month".into(),
    };
    let until = if decision.action.is_measure() { format!(" until {until}") } else { String::new() };
    let softened = decision.softened.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    let scope = if decision.action.is_measure() { format!(" {}", decision.scope) } else { String::new() };
    let whom = if decision.tenant.as_str() == PARENT { " parent" } else { "" };
    format!("{at}{whom} {}{scope}{rate}{until}{softened}", decision.action)
}

fn outcome(policy: &Arc<Policy>, case: &Case<'_>) -> Vec<String> {
    play(policy, case).iter().map(told).collect()
}

fn step_of(decision: &Decision) -> (String, usize) {
    let Origin::Policy { rule, step, .. } = &decision.origin else { panic!("{:?}", decision.origin) };
    (rule.to_string(), usize::try_from(*step).unwrap())
}

#[test]
fn each_rule_of_each_preset_answers_as_its_provider_says() {
    let mut wrong = Vec::new();
    for (name, table) in TABLES {
        let policy = Arc::new(preset(name));
        for case in cases(table) {
            let decisions = play(&policy, &case);
            let line = case.line;
            if outcome(&policy, &case) != case.expect {
                wrong.push(format!("{name}.txt:{line}: {}", outcome(&policy, &case).join("; ")));
            }
            let rule =
                policy.rule(&case.rule.parse().unwrap()).unwrap_or_else(|| panic!("{name}.txt:{line}"));
            for decision in decisions.iter().filter(|decision| decision.softened.is_none()) {
                let (by, _) = step_of(decision);
                assert_eq!(by.trim_end_matches(".parent"), case.rule, "{name}.txt:{line}");
                assert_eq!(decision.clause, rule.clause, "{name}.txt:{line}");
            }
        }
    }
    assert!(wrong.is_empty(), "otherwise decided:\n{}", wrong.join("\n"));
}

#[test]
fn each_preset_has_a_table_and_each_step_of_each_rule_is_taken_in_it() {
    let with_tables: BTreeSet<&str> = TABLES.iter().map(|(name, _)| *name).collect();
    assert_eq!(with_tables, Policy::PRESETS.iter().map(|(name, _)| *name).collect());
    for (name, table) in TABLES {
        let policy = Arc::new(preset(name));
        let all = cases(table);
        let taken: BTreeSet<(String, usize)> =
            all.iter().flat_map(|case| play(&policy, case)).map(|decision| step_of(&decision)).collect();
        let seen: BTreeSet<Class> =
            all.iter().flat_map(|case| &case.alerts).map(|(_, alert)| alert.class).collect();
        for rule in &policy.rules {
            for step in 1..=rule.ladder.len() {
                let key = (rule.id.to_string(), step);
                assert!(taken.contains(&key), "{name}: no case takes step {step} of rule `{}`", rule.id);
            }
        }
        for class in Class::ALL {
            assert!(seen.contains(&class), "{name}: no case has `{class}`");
        }
    }
}

/// A rule without one of its conditions, with what it is called.
type Lesser = (&'static str, fn(&mut Rule) -> bool);

/// What can be taken from a rule. Each says whether there was anything to take.
const LESS: [Lesser; 9] = [
    ("severe", |rule| rule.severe.take().is_some()),
    ("repeat", |rule| rule.repeat.take().is_some()),
    ("known_offender", |rule| rule.known_offender.take().is_some()),
    ("parent", |rule| rule.parent.take().is_some()),
    ("decay", |rule| rule.decay.take().is_some()),
    ("memory", |rule| std::mem::replace(&mut rule.memory, Rule::DEFAULT_MEMORY) != Rule::DEFAULT_MEMORY),
    ("quiet", |rule| std::mem::replace(&mut rule.quiet, Rule::DEFAULT_QUIET) != Rule::DEFAULT_QUIET),
    ("grace", |rule| std::mem::replace(&mut rule.grace, Rule::DEFAULT_GRACE) != Rule::DEFAULT_GRACE),
    ("grace of a step", |rule| {
        let taken = rule.ladder.iter_mut().filter_map(|step| step.grace.take());
        taken.count() > 0
    }),
];

#[test]
fn no_condition_of_a_preset_could_be_left_out_unnoticed() {
    for (name, table) in TABLES {
        let policy = preset(name);
        let all = cases(table);
        for (place, rule) in policy.rules.iter().enumerate() {
            for (what, take) in LESS {
                let mut without = policy.clone();
                if !take(&mut without.rules[place]) {
                    continue;
                }
                let without = Arc::new(without);
                let mut own = all.iter().filter(|case| case.rule == rule.id.as_str());
                let shows = own.any(|case| outcome(&without, case) != case.expect);
                assert!(shows, "{name}: no case of rule `{}` shows its `{what}`", rule.id);
            }
        }
    }
}

#[test]
fn presets_have_the_numbers_of_baseline() {
    let baseline = Policy::preset("baseline").unwrap();
    for (name, _) in Policy::PRESETS {
        let policy = Policy::preset(name).unwrap();
        for class in Class::ALL {
            assert_eq!(policy.thresholds.list(class), baseline.thresholds.list(class), "{name}: {class}");
        }
        assert_eq!(policy.tailoring, baseline.tailoring, "{name}");
        assert_eq!(policy.brakes, baseline.brakes, "{name}");
        assert_eq!(policy.mode, Mode::Enforce, "{name}");
    }
}
