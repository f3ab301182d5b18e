//! A violation explained to people: what was measured against which number, what is on record, why it was this step of the ladder and no
//! other, and what would have changed that.
//!
//! All of it is what was written down when each decision was made ([`Reckoning`]); nothing is worked out anew, for by now policy, profile
//! and standing may be others.

use std::fmt;

use serde::Serialize;

use crate::decision::{Decision, DecisionId, Origin};
use crate::language::conditions::Escalation;
use crate::reader::{about, format_duration};
use crate::reckoning::{Cause, Condition, HeldTo, Near, Otherwise, Reckoning, Whence, WhyNot};
use crate::tenant::Mode;
use crate::violation::Violation;

/// A violation and its decisions, explained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation<'a> {
    /// What happened.
    pub violation: &'a Violation,
    /// Facts of it in words.
    pub told: Vec<Line>,
    /// Its decisions, oldest first.
    pub decisions: Vec<Explained<'a>>,
}

/// A decision, explained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explained<'a> {
    /// Which.
    pub decision: &'a DecisionId,
    /// What it came to, in words.
    pub what: String,
    /// What it was reckoned from; `None` where that was not told.
    pub reckoning: Option<&'a Reckoning>,
    /// That in words.
    pub told: Vec<Line>,
    /// What would have changed it, in words.
    pub otherwise: Vec<String>,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What it is about.
    pub about: &'static str,
    /// It.
    pub text: String,
}

impl<'a> Explanation<'a> {
    /// Explains a violation by its decisions.
    #[must_use]
    pub fn new(violation: &'a Violation, decisions: &'a [Decision]) -> Self {
        let mut decisions: Vec<&Decision> = decisions.iter().collect();
        decisions.sort_by_key(|decision| (decision.at, number(decision)));
        let also = decisions.iter().find_map(|one| one.reckoning.as_ref()).map(|one| one.also.as_slice());
        let told = facts(violation, also.unwrap_or_default(), decisions.is_empty());
        Self { violation, told, decisions: decisions.into_iter().map(explained).collect() }
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        lines(f, "", &self.told)?;
        for one in &self.decisions {
            writeln!(f, "\ndecision {}: {}", one.decision, one.what)?;
            lines(f, "  ", &one.told)?;
            if !one.otherwise.is_empty() {
                writeln!(f, "  what would have changed it")?;
            }
            one.otherwise.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        Ok(())
    }
}

fn lines(f: &mut fmt::Formatter<'_>, indent: &str, lines: &[Line]) -> fmt::Result {
    lines.iter().try_for_each(|line| writeln!(f, "{indent}{:<9}  {}", line.about, line.text))
}

/// Decisions of one moment come in the order of their numbers.
fn number(decision: &Decision) -> u32 {
    decision.id.0.as_str().rsplit('.').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn facts(violation: &Violation, also: &[String], is_undecided: bool) -> Vec<Line> {
    let line = |about, text| Line { about, text };
    let mut all = vec![
        line("violation", violation.id.to_string()),
        line("tenant", format!("{} on {}", violation.tenant, violation.node)),
        line("rule", format!("{}, clause {}{}", rule(violation), violation.clause, also_of(also))),
        line(
            "strike",
            match violation.is_suspicion() {
                true => "none: it is only suspected".to_owned(),
                false => format!("{}, {}", violation.strike, violation.state.name()),
            },
        ),
        line("latest", violation.evidence.summary()),
    ];
    if is_undecided {
        let why = match violation.is_suspicion() {
            true => "nothing: a suspicion is told, and leads to no step until something confirms it",
            false => "nothing is on record",
        };
        all.push(line("decided", why.to_owned()));
    }
    all
}

/// `spam.parent, held against the reseller for what its customers did by rule spam`.
fn rule(violation: &Violation) -> String {
    let key = &violation.rule;
    match Escalation::rule_behind(key).filter(|_| is_of_customers(violation)) {
        Some(behind) => {
            format!("{key}, held against the reseller for what its customers did by rule {behind}")
        }
        None => key.to_string(),
    }
}

/// Whether it was counted over customers. A rule may have a key of that form that is about nobody but whom it says.
fn is_of_customers(violation: &Violation) -> bool {
    violation.evidence.metrics.iter().any(|metric| metric.name == Escalation::COUNTED)
}

fn also_of(also: &[String]) -> String {
    if also.is_empty() { String::new() } else { format!("; also {}", also.join(", ")) }
}

fn explained(decision: &Decision) -> Explained<'_> {
    let what = format!("{} ({})", in_words(decision), decision.at);
    let reckoning = decision.reckoning.as_deref();
    let mut told = Vec::new();
    let mut say = |about, text| told.push(Line { about, text });
    match (&decision.origin, reckoning) {
        (Origin::Operator { name }, _) => say("ordered", format!("by {name}: {}", decision.reason)),
        (_, None) => say("why", format!("{}; the agent did not tell more", decision.reason)),
        (Origin::Policy { policy, version, step, .. }, Some(reckoning)) => {
            say("policy", format!("{policy}@{version}"));
            numbers(reckoning).into_iter().for_each(|text| say("number", text));
            say("standing", standing(reckoning));
            say("step", why(reckoning, *step));
            if let Some(softened) = &decision.softened {
                say("softened", format!("{} instead: {softened}", decision.action));
            }
            if !reckoning.observed_by.is_empty() {
                say("mode", format!("only told: {} observes", listed(&reckoning.observed_by)));
            }
            if reckoning.spared > 0 {
                say("spared", format!("{} protected destinations were taken out of it", reckoning.spared));
            }
            reckoning.near.iter().for_each(|near| say("exemption", nearly(near)));
            if let Some(next) = reckoning.next {
                let step = step_of(reckoning, step + 1);
                say("next", format!("{step}, if it goes on, from {next} at the earliest"));
            }
        }
    }
    let otherwise = reckoning.map(otherwise).unwrap_or_default();
    Explained { decision: &decision.id, what, reckoning, told, otherwise }
}

/// What a decision comes to, in words: `block tcp/25 for 1h`.
#[must_use]
pub fn in_words(decision: &Decision) -> String {
    let until = if decision.action.is_measure() { format!(" {}", decision.until) } else { String::new() };
    let rate = decision.rate.map(|rate| format!(" at {rate}")).unwrap_or_default();
    let whom = if decision.action.is_measure() { format!(" {}", decision.scope) } else { String::new() };
    let observed = if decision.mode == Mode::Observe { ", observed only" } else { "" };
    let at_once = decision.connections.map(crate::language::at_a_time).unwrap_or_default();
    format!("{}{whom}{rate}{at_once}{until}{observed}", decision.action)
}

fn listed(all: &[String]) -> String {
    match all {
        [] => String::new(),
        [only] => format!("the {only}"),
        [first @ .., last] => format!("the {} and the {last}", first.join(", the ")),
    }
}

fn numbers(reckoning: &Reckoning) -> Vec<String> {
    let times = Some(reckoning.history.times).filter(|times| *times > 1.0);
    let each = reckoning.numbers.iter().enumerate().map(|(place, one)| {
        let times = times.filter(|_| place == 0);
        let times = times.map(|times| format!(", {} times it", round(times))).unwrap_or_default();
        let within = if place == 0 { window(reckoning, &one.name) } else { String::new() };
        let (name, seen, limit) = (one.name.replace('_', " "), round(one.seen), round(one.limit));
        format!(
            "{}: {name} {seen}{within}, limit {limit}{times}: {}",
            reckoning.class,
            whence(one, reckoning)
        )
    });
    each.collect()
}

/// `in 60 s`, where a number means nothing without it.
fn window(reckoning: &Reckoning, name: &str) -> String {
    let seconds = reckoning.window.as_secs_f64();
    let has_it = seconds == 0.0 || name.contains("per_");
    match has_it {
        true => String::new(),
        // What is counted over days is asked for in days.
        false if seconds >= 86_400.0 => format!(" in {}", format_duration(reckoning.window)),
        false => format!(" in {} s", round(seconds)),
    }
}

fn whence(held: &HeldTo, reckoning: &Reckoning) -> String {
    let common = held.common.map(|common| format!(" (the policy's is {})", round(common)));
    let common = common.unwrap_or_default();
    match held.from {
        Whence::Detector => "the detector's default".to_owned(),
        Whence::Policy => "the policy's".to_owned(),
        Whence::Profile => format!("of profile {}{common}", reckoning.profile.name()),
        Whence::Tenant => format!("the tenant's own{common}"),
        Whence::Made => "made by the detector of its numbers".to_owned(),
    }
}

fn standing(reckoning: &Reckoning) -> String {
    let history = &reckoning.history;
    let mut text = format!("strike {} within {}", history.strikes, format_duration(reckoning.memory));
    if let Some(since) = history.since_last {
        text += &format!(", {} after the one before", about(since));
    }
    match reckoning.faded {
        0 => {}
        1 => text += "; one before no longer counts",
        many => text += &format!("; {many} before no longer count"),
    }
    let known = if history.is_known_offender { "known for it" } else { "not known for it" };
    format!("{text}; {known}")
}

/// What a step of the ladder does: `limit dst at 10/minute for 15m`.
fn told(reckoning: &Reckoning, step: u32) -> Option<&String> {
    usize::try_from(step).ok().and_then(|step| reckoning.ladder.get(step.checked_sub(1)?))
}

/// `step 2, limit dst at 10/minute for 15m`.
fn step_of(reckoning: &Reckoning, step: u32) -> String {
    told(reckoning, step).map_or_else(|| format!("step {step}"), |told| format!("step {step}, {told}"))
}

fn why(reckoning: &Reckoning, step: u32) -> String {
    let history = &reckoning.history;
    let steps = reckoning.ladder.len();
    let before = reckoning.before.map(|before| format!("step {} at {}", before.step, before.at));
    let before = before.unwrap_or_else(|| "the step before".to_owned());
    let times = round(history.times);
    let cause = match reckoning.cause {
        Cause::Strikes if history.strikes > step => format!("the last, for strike {} too", history.strikes),
        Cause::Strikes => format!("for strike {}", history.strikes),
        Cause::Repeat => "for it happened again soon".to_owned(),
        Cause::KnownOffender => format!("for the tenant is known for {}", reckoning.class),
        Cause::Severe => format!("for it is grave: {times} times the limit"),
        Cause::Worsened => format!("for it became grave after {before}: {times} times the limit"),
        Cause::WentOn => format!("for it went on after {before}, whose patience was over"),
        Cause::RanOut => format!("again, for the measure of {before} ran out and it went on"),
        Cause::Elsewhere => format!("again, for it went on where {before} does not reach"),
        Cause::MayActNow => format!("again, for {before} was only told and may be carried out now"),
        Cause::TriedAgain => format!("tried again, for {before} was softened and it went on"),
        Cause::NothingToAimAt => format!("for {before} had nothing to aim at"),
    };
    let does = told(reckoning, step).cloned().unwrap_or_else(|| format!("step {step}"));
    format!("{step} of {steps}: {does}, {cause}")
}

fn otherwise(reckoning: &Reckoning) -> Vec<String> {
    let all = reckoning.otherwise.iter().map(|one| unless(reckoning, one));
    all.chain(reckoning.near.iter().filter_map(excusing)).collect()
}

/// An exemption that nearly applied, and why it did not.
fn nearly(near: &Near) -> String {
    let why = match near.why {
        WhyNot::Over { at } => format!("it had ended at {at}"),
        WhyNot::NotYet { at } => format!("it begins at {at}"),
        WhyNot::NotListed { listed, named } => format!("it lists {listed} of the {named} targets named"),
        WhyNot::NoTargets => "it is for some targets, and this is about none".to_owned(),
        WhyNot::OtherClause => "it is from another clause".to_owned(),
    };
    format!("{} did not apply: {why}", near.exemption)
}

/// What of an exemption would have excused all of it.
fn excusing(near: &Near) -> Option<String> {
    let how = match near.why {
        WhyNot::Over { .. } => "had it not ended",
        WhyNot::NotYet { .. } => "had it begun",
        WhyNot::NotListed { .. } => "had it listed all of its targets",
        WhyNot::NoTargets => "had it been for whatever target",
        WhyNot::OtherClause => "had it been from this clause",
    };
    near.would_do.then(|| format!("the exemption {}: {how}, nothing", near.exemption))
}

fn unless(reckoning: &Reckoning, one: &Otherwise) -> String {
    let held = reckoning.numbers.first();
    let name = held.map(|held| held.name.replace('_', " ")).unwrap_or_default();
    let limit = held.map(|held| held.limit).unwrap_or_default();
    let within = held.map(|held| window(reckoning, &held.name)).unwrap_or_default();
    let step = one.step.map(|step| step_of(reckoning, step));
    let or_nothing = step.clone().unwrap_or_else(|| "no other step".to_owned());
    let carried_out = || format!("{}, carried out", step.clone().unwrap_or_default());
    match one.condition {
        Condition::Below => format!("{name} below {}{within}: nothing by this number", round(limit)),
        Condition::Profile { profile, limit: 0.0 } => {
            format!("profile {}, which does not ask for {name}: nothing by this number", profile.name())
        }
        Condition::Profile { profile, limit } => {
            format!("profile {}, whose limit is {}: nothing by this number", profile.name(), round(limit))
        }
        Condition::FirstStrike => format!("as a first strike: {or_nothing}"),
        Condition::NotSoon { within } => {
            format!("more than {} after the strike before: {or_nothing}", format_duration(within))
        }
        Condition::NotKnown => format!("not being known for it: {or_nothing}"),
        Condition::Milder { times } => format!("less than {} times the limit: {or_nothing}", round(times)),
        Condition::Graver { times } => format!("{} times the limit or more: {or_nothing}", round(times)),
        Condition::Ended => "had it ended before: no further step".to_owned(),
        Condition::NotSoftened => format!("had nothing softened it: {}", carried_out()),
        Condition::Enforced => format!("had everybody let it be enforced: {}", carried_out()),
        Condition::NextStrike => format!("the next strike begins at {or_nothing}, or higher"),
    }
}

/// To two digits behind the point.
fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests;
