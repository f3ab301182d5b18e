//! Ladder tests: which step is taken by what is known of the tenant and of what it does, with time as an argument.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::alert::{Metric, Outcome, TargetSeen, Window};
use crate::decision::Until;
use crate::language::conditions::{Calendar, Grace, Repeat, Severe, Whose};
use crate::language::{Begin, ScopeRule};
use crate::net::Protocol;

const DAY: u64 = 86_400;

/// Tuesday, 24 November 2026, noon in UTC.
fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_795_521_600 + secs)
}

/// A flood of so many times its number, to a host.
fn flood(secs: u64, times: f64, host: [u8; 4]) -> Alert {
    let target = Target { address: host.into(), protocol: Protocol::Tcp, port: Some(80) };
    Alert {
        class: Class::FloodSyn,
        tenant: "a".parse().unwrap(),
        at: at(secs),
        window: Window { start: at(secs), end: at(secs) },
        metrics: vec![Metric {
            name: "packets_per_second".into(),
            value: 1_000.0 * times,
            threshold: Some(1_000.0),
        }],
        confidence_percent: 95,
        targets: vec![TargetSeen { target, first: at(secs), last: at(secs), outcome: Outcome::Silent }],
        samples: Vec::new(),
        loss: Loss::default(),
        is_suspicion: false,
    }
}

fn policy(lines: &str) -> Policy {
    let head = "[policy]\nname = \"x\"\nversion = 1\nmode = \"enforce\"\n";
    let rule = "[[rule]]\nid = \"flood\"\non = [\"flood.*\"]\n";
    Policy::parse("x.toml", &format!("{head}{rule}{lines}")).unwrap()
}

/// The steps that a ladder's words are told by, one word each.
const LADDER: &str = "ladder = [{ action = \"notify\" }, { action = \"limit\", rate = \"1/second\", until = \"1h\" }, \
                      { action = \"block\", until = \"1h\" }, { action = \"suspend\", until = \"released\" }]\n";

/// Floods at some seconds of some strength; what is decided, each as the second and the action.
fn play(policy: Policy, tenant: &Tenant, events: &[(u64, f64)]) -> Vec<String> {
    let mut judge = Judge::new("n1".parse().unwrap(), Mode::Enforce, Arc::new(policy));
    let mut told = Vec::new();
    for (secs, times) in events {
        judge.handle_timeout(at(*secs));
        judge.handle_alert(&flood(*secs, *times, [20, 0, 0, 1]), tenant, Occupancy::default());
        while let Some(judgement) = judge.poll() {
            if let Judgement::Decision(decision) = judgement {
                told.push(format!("{secs} {}", decision.action));
            }
        }
    }
    told
}

fn check(lines: &str, events: &[(u64, f64)], expect: &[&str]) {
    let tenant = Tenant::new("a".parse().unwrap());
    assert_eq!(play(policy(&format!("{lines}\n{LADDER}")), &tenant, events), expect, "{lines}");
}

#[test]
fn grave_abuse_leaves_steps_out_at_once_and_in_the_midst_of_an_episode() {
    check("", &[(0, 50.0)], &["0 notify"]);
    check("severe = { times = 10 }", &[(0, 9.9)], &["0 notify"]);
    check("severe = { times = 10 }", &[(0, 10.0)], &["0 suspend"]);
    check("severe = { times = 10, step = 3 }", &[(0, 10.0)], &["0 block"]);
    // It is told of, and becomes grave five seconds later.
    check("severe = { times = 10, step = 3 }", &[(0, 2.0), (5, 12.0), (6, 12.0)], &["0 notify", "5 block"]);
    // What is beyond that step already is not taken back.
    check("severe = { times = 10, step = 1 }", &[(0, 2.0), (700, 12.0)], &["0 notify", "700 limit"]);
}

#[test]
fn what_comes_again_soon_leaves_steps_out() {
    let lines = "repeat = { within = \"7d\", step = 3 }";
    check(lines, &[(0, 2.0), (6 * DAY, 2.0)], &["0 notify", "518400 block"]);
    check(lines, &[(0, 2.0), (8 * DAY, 2.0)], &["0 notify", "691200 limit"]);
    check("repeat = { within = \"7d\" }", &[(0, 2.0), (6 * DAY, 2.0)], &["0 notify", "518400 suspend"]);
}

#[test]
fn who_is_known_for_it_gets_no_second_chance() {
    let mut tenant = Tenant::new("a".parse().unwrap());
    let policy = policy(&format!("known_offender = \"last\"\n{LADDER}"));
    assert_eq!(play(policy.clone(), &tenant, &[(0, 2.0)]), ["0 notify"]);
    tenant.known_offender.insert(Class::Spam);
    assert_eq!(play(policy.clone(), &tenant, &[(0, 2.0)]), ["0 notify"]);
    tenant.known_offender.insert(Class::FloodSyn);
    assert_eq!(play(policy, &tenant, &[(0, 2.0)]), ["0 suspend"]);
}

#[test]
fn strikes_fade_one_by_one() {
    let strikes = [(0, 2.0), (DAY, 2.0), (2 * DAY, 2.0)];
    let three = ["0 notify", "86400 limit", "172800 block"];
    check("", &strikes, &three);
    let after = |days: u64, expect: &str| {
        let mut events = strikes.to_vec();
        events.push((days * DAY, 2.0));
        let told = format!("{} {expect}", days * DAY);
        let expect: Vec<&str> = three.into_iter().chain([told.as_str()]).collect();
        check("decay = \"30d\"", &events, &expect);
    };
    after(31, "suspend");
    after(33, "block");
    after(63, "limit");
    after(93, "notify");
    // What has faded does not come back with the next strike.
    check(
        "decay = \"30d\"",
        &[(0, 2.0), (DAY, 2.0), (2 * DAY, 2.0), (93 * DAY, 2.0), (94 * DAY, 2.0)],
        &["0 notify", "86400 limit", "172800 block", "8035200 notify", "8121600 limit"],
    );
}

#[test]
fn there_is_time_to_mend_it_by_rule_by_step_and_in_working_days() {
    let goes_on = |seconds: &[u64]| seconds.iter().map(|secs| (*secs, 2.0)).collect::<Vec<_>>();
    // An episode stays open as long as it is seen within ten minutes.
    let each = goes_on(&(0..=8).map(|number| number * 500).collect::<Vec<_>>());
    check("grace = \"1h\"", &each, &["0 notify", "4000 limit"]);
    let ladder =
        "ladder = [{ action = \"notify\", grace = \"20m\" }, { action = \"suspend\", until = \"released\" }]";
    let tenant = Tenant::new("a".parse().unwrap());
    assert_eq!(play(policy(ladder), &tenant, &each), ["0 notify", "1500 suspend"]);
    // Two working days from Tuesday noon are over at midnight after Thursday: 60 hours later.
    let days = "quiet = \"3d\"\ngrace = \"2 working days\"";
    check(days, &goes_on(&[0, 216_000 - 1, 216_000]), &["0 notify", "216000 limit"]);
    let holiday = "quiet = \"4d\"\ngrace = \"2 working days\"\n";
    let calendar = "[calendar]\nholidays = [\"2026-11-25\"]\nutc_offset = \"+01:00\"\n";
    let policy = policy(&format!("{holiday}{LADDER}{calendar}"));
    assert_eq!(
        play(policy, &tenant, &goes_on(&[0, 216_000, 298_800 - 1, 298_800])),
        ["0 notify", "298800 limit"]
    );
}

#[test]
fn a_notice_may_come_before_all_else() {
    let ladder = "notice_first = true\nladder = [{ action = \"suspend\", until = \"released\" }]";
    let tenant = Tenant::new("a".parse().unwrap());
    assert_eq!(
        play(policy(ladder), &tenant, &[(0, 2.0), (599, 2.0), (600, 2.0)]),
        ["0 notify", "600 suspend"]
    );
    assert_eq!(play(policy(ladder), &tenant, &[(0, 2.0), (DAY, 2.0)]), ["0 notify", "86400 suspend"]);
}

#[test]
fn rules_may_protect_the_provider_in_another_way_than_others() {
    let step = |action: &str| format!("ladder = [{{ action = \"{action}\", until = \"1h\" }}]\n");
    let text = format!(
        "[policy]\nname = \"x\"\nversion = 1\nmode = \"enforce\"\n[networks]\nown = [\"203.0.113.0/24\"]\n\
         [[rule]]\nid = \"ours\"\ntarget = \"own\"\non = [\"flood.*\"]\n{}\
         [[rule]]\nid = \"others\"\ntarget = \"third-party\"\non = [\"flood.syn\"]\n{}\
         [[rule]]\nid = \"rest\"\non = [\"flood.*\"]\n{}",
        step("suspend"),
        step("block"),
        step("notify")
    );
    let policy = Policy::parse("x.toml", &text).unwrap();
    let target = |host: [u8; 4]| Target { address: host.into(), protocol: Protocol::Udp, port: Some(53) };
    let rule = |class, targets: &[Target]| {
        let mut alert = Alert { class, ..flood(0, 2.0, [20, 0, 0, 1]) };
        let seen = alert.targets[0].clone();
        alert.targets = targets.iter().map(|target| TargetSeen { target: *target, ..seen.clone() }).collect();
        policy.rule_against(&alert).map(|rule| rule.id.to_string()).unwrap_or_default()
    };
    let (own, other) = (target([203, 0, 113, 9]), target([20, 0, 0, 1]));
    assert_eq!(rule(Class::FloodSyn, &[own]), "ours");
    assert_eq!(rule(Class::FloodSyn, &[other, own]), "ours");
    assert_eq!(rule(Class::FloodSyn, &[other]), "others");
    assert_eq!(rule(Class::FloodSyn, &[]), "others");
    assert_eq!(rule(Class::FloodUdp, &[other]), "rest");
    assert_eq!(rule(Class::Spam, &[other]), "");
    assert_eq!(policy.rule_for(Class::FloodSyn).map(|rule| rule.id.as_str()), Some("rest"));
    assert_eq!(policy.rule(&"ours".parse().unwrap()).unwrap().target, Some(Whose::Own));
}

#[test]
fn rules_may_be_for_endpoints_of_a_kind() {
    let step = "ladder = [{ action = \"block\", scope = \"endpoint\", until = \"1h\" }]\n";
    let endpoint = |name: &str, kind: &str| {
        format!(
            "[[endpoint]]\nname = \"{name}\"\nkind = \"{kind}\"\nhosts = [\"{name}.example\"]\nports = [443]\n"
        )
    };
    let rule =
        |id: &str, line: &str| format!("[[rule]]\nid = \"{id}\"\non = [\"api_burst\"]\n{line}\n{step}");
    let text = format!(
        "[policy]\nname = \"x\"\nversion = 1\nextends = \"baseline\"\n{}{}{}{}",
        rule("all", ""),
        rule("accounts", "kind = \"signup\""),
        endpoint("shop", "signup"),
        endpoint("calls", "api")
    );
    let policy = Policy::parse("x.toml", &text).unwrap();
    let rule = |endpoint: &str| {
        let mut alert = Alert { class: Class::ApiBurst, ..flood(0, 2.0, [20, 0, 0, 1]) };
        let name = format!("{}{endpoint}", Alert::CALLS_AT);
        alert.metrics.push(Metric { name: name.into(), value: 9.0, threshold: None });
        policy.rule_against(&alert).map(|rule| rule.id.to_string()).unwrap_or_default()
    };
    assert_eq!([rule("shop"), rule("calls"), rule("gone")], ["accounts", "all", "all"]);
    // A policy that extends this one, and answers for accounts alone, leaves the rest where it was.
    assert_eq!(policy.rule_for(Class::ApiBurst).map(|rule| rule.id.as_str()), Some("all"));
}

#[test]
fn nothing_is_held_against_who_was_given_time_before_that_is_over() {
    // Seen again eleven and forty minutes after the notice, with an hour to mend it: no strike of its own. After the hour, it is.
    let minutes = |number: u64| (number * 60, 2.0);
    let hour = "grace = \"1h\"";
    check(hour, &[minutes(0), minutes(11), minutes(40)], &["0 notify"]);
    check(hour, &[minutes(0), minutes(11), minutes(61)], &["0 notify", "3660 limit"]);
    check(hour, &[minutes(0), minutes(40), minutes(59), minutes(60)], &["0 notify", "3600 limit"]);
    // Seen at the end of the hour it is the same episode; a day later it is the second strike.
    check(hour, &[minutes(0), minutes(1_440)], &["0 notify", "86400 limit"]);
    // From Friday to Tuesday.
    let days = "grace = \"2 working days\"";
    let friday = 3 * DAY;
    check(
        days,
        &[(friday, 2.0), (friday + 3 * DAY, 2.0), (friday + 4 * DAY + 43_199, 2.0)],
        &["259200 notify"],
    );
    check(days, &[(friday, 2.0), (friday + 4 * DAY + 43_200, 2.0)], &["259200 notify", "648000 limit"]);
    // A measure promises nothing: who goes on when it has been quiet is there again.
    check("severe = { times = 2, step = 2 }\n", &[minutes(0), minutes(11)], &["0 limit", "660 limit"]);
}

#[test]
fn the_reason_that_is_told_is_the_plainest_of_those_that_lead_there() {
    let rule = policy(&format!(
        "severe = {{ times = 10 }}\nrepeat = {{ within = \"1d\", step = 2 }}\nknown_offender = 3\n{LADDER}"
    ))
    .rules
    .remove(0);
    let history = History { strikes: 1, ..History::default() };
    assert_eq!(rule.first_step(&history), (0, Begin::Strikes));
    let soon = History { since_last: Some(Duration::from_secs(9)), strikes: 2, ..history };
    assert_eq!(rule.first_step(&soon), (1, Begin::Strikes));
    assert_eq!(rule.first_step(&History { is_known_offender: true, ..soon }), (2, Begin::KnownOffender));
    assert_eq!(rule.first_step(&History { times: 10.0, ..soon }), (3, Begin::Severe));
    assert_eq!(rule.first_step(&History { strikes: 9, times: 10.0, ..soon }), (3, Begin::Strikes));
}

prop_compose! {
    fn any_rule()(
        steps in prop::collection::vec(0_usize..5, 1..8),
        severe in prop::option::of((1.0_f64..100.0, 0_usize..8)),
        repeat in prop::option::of((1_u64..1_000, 0_usize..8)),
        known_offender in prop::option::of(0_usize..8),
        decay in prop::option::of(1_u64..1_000),
    ) -> Rule {
        let actions = [Action::Observe, Action::Notify, Action::Limit, Action::Block, Action::Suspend];
        let mut rule = policy(LADDER).rules.remove(0);
        rule.ladder = steps
            .into_iter()
            .map(|action| Step {
                action: actions[action],
                scope: ScopeRule::All,
                rate: None,
                connections: None,
                until: Until::Released,
                grace: None,
                notice: None,
                tell: None,
            })
            .collect();
        rule.severe = severe.map(|(times, step)| Severe { times, step });
        rule.repeat = repeat.map(|(within, step)| Repeat { within: Duration::from_secs(within), step });
        rule.known_offender = known_offender;
        rule.decay = decay.map(Duration::from_secs);
        rule
    }
}

prop_compose! {
    fn any_history()(
        strikes in 1_u32..12,
        since_last in prop::option::of(0_u64..2_000),
        is_known_offender in any::<bool>(),
        times in 0.0_f64..200.0,
    ) -> History {
        History { strikes, since_last: since_last.map(Duration::from_secs), is_known_offender, times }
    }
}

proptest! {
    #[test]
    fn a_stronger_history_never_begins_lower(rule in any_rule(), history in any_history(), more in any_history()) {
        let stronger = History {
            strikes: history.strikes.max(more.strikes),
            since_last: history.since_last.into_iter().chain(more.since_last).min(),
            is_known_offender: history.is_known_offender || more.is_known_offender,
            times: history.times.max(more.times),
        };
        let (step, _) = rule.first_step(&history);
        prop_assert!(step < rule.ladder.len());
        prop_assert!(rule.first_step(&stronger).0 >= step);
    }

    #[test]
    fn the_longer_nothing_happened_the_fewer_strikes_are_left(
        rule in any_rule(), strikes in 0_usize..20, secs in 0_u64..5_000, more in 0_u64..5_000,
    ) {
        let left = |secs: u64| rule.after_decay(strikes, Some(at(0)), at(secs));
        prop_assert!(left(secs) <= strikes);
        prop_assert!(left(secs + more) <= left(secs));
        prop_assert_eq!(left(0), strikes);
    }

    #[test]
    fn patience_never_ends_before_it_began(secs in 0_u64..400 * DAY, days in 1_u16..30, holiday in 20_781_i64..21_000) {
        let calendar = Calendar { holidays: [holiday].into(), ..Calendar::default() };
        let end = Grace::WorkingDays(days).end(at(secs), &calendar);
        prop_assert!(end >= at(secs + u64::from(days - 1) * DAY));
        prop_assert!(end <= at(secs + (u64::from(days) * 2 + 5) * DAY));
    }
}
