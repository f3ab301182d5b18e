//! What a decision is reckoned from, written down while everything that led to it is at hand.

use std::time::Duration;

use super::episode::Episode;
use crate::alert::{Alert, Metric};
use crate::class::Class;
use crate::exemption::Exemption;
use crate::language::conditions::Escalation;
use crate::language::numbers::{Number, Value};
use crate::language::thresholds::Thresholds;
use crate::language::{History, Policy, Rule, Step};
use crate::reckoning::{Before, Cause, Condition, HeldTo, Near, Otherwise, Reckoning, Whence, WhyNot};
use crate::tenant::{Mode, Profile, Tenant};

/// What is at hand when a step is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken<'a> {
    pub policy: &'a Policy,
    pub rule: &'a Rule,
    pub alert: &'a Alert,
    pub tenant: &'a Tenant,
    pub node_mode: Mode,
    pub index: usize,
    pub cause: Cause,
    pub is_softened: bool,
    pub spared: usize,
}

/// The reckoning of a step, before the episode takes note of it.
pub(super) fn reckon(taken: Taken<'_>, episode: &Episode) -> Reckoning {
    let Taken { policy, rule, alert, tenant, index, cause, .. } = taken;
    let held =
        Held::new(policy, alert, tenant, policy.escalation(&rule.id).map(|(_, escalation)| escalation));
    let history = History { strikes: episode.violation.strike, times: alert.times(), ..episode.history };
    let before = episode.last_step().map(|(step, at)| Before { step: number(step), at });
    let step = &rule.ladder[index];
    let observed_by = observed_by(&taken);
    let mut otherwise = held.otherwise();
    otherwise.extend(of_the_ladder(rule, &history, index, cause));
    if taken.is_softened {
        otherwise.push(Otherwise { condition: Condition::NotSoftened, step: Some(number(index)) });
    }
    if !observed_by.is_empty() && step.action.is_measure() {
        otherwise.push(Otherwise { condition: Condition::Enforced, step: Some(number(index)) });
    }
    let next = || rule.patience_ends(step, alert.at, &policy.calendar);
    Reckoning {
        class: alert.class,
        profile: tenant.profile,
        numbers: held.numbers(),
        window: held.window(),
        also: rule.also.clone(),
        history,
        faded: episode.faded,
        memory: rule.memory,
        ladder: rule.ladder.iter().map(Step::told).collect(),
        cause,
        before,
        next: (index + 1 < rule.ladder.len() && !taken.is_softened).then(next),
        observed_by,
        spared: u32::try_from(taken.spared).unwrap_or(u32::MAX),
        near: near(tenant, rule, alert),
        otherwise,
    }
}

/// So many exemptions are told of that nearly applied.
const MOST_NEAR: usize = 4;

/// The tenant's exemptions that did not excuse it: those from the same clause, and those from another that list the same targets.
fn near(tenant: &Tenant, rule: &Rule, alert: &Alert) -> Vec<Near> {
    let named = alert.targets.len();
    let judge = |exemption: &Exemption| {
        let listed = alert.targets.iter().filter(|seen| exemption.lists(&seen.target)).count();
        let covers =
            exemption.reaches(alert.class) && (!exemption.is_limited() || (named > 0 && listed == named));
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let is_from = exemption.is_from(rule);
        let why = match (exemption.from, exemption.until) {
            _ if !is_from && covers && exemption.is_in_force(alert.at) => WhyNot::OtherClause,
            _ if !is_from => return None,
            (_, Some(at)) if exemption.is_over(alert.at) => WhyNot::Over { at },
            (Some(at), _) if at > alert.at => WhyNot::NotYet { at },
            _ if !exemption.reaches(alert.class) => WhyNot::NoTargets,
            _ => WhyNot::NotListed { listed: count(listed), named: count(named) },
        };
        let would_do = match why {
            WhyNot::Over { .. } | WhyNot::NotYet { .. } | WhyNot::OtherClause => covers,
            WhyNot::NotListed { .. } | WhyNot::NoTargets => true,
        };
        Some(Near { exemption: exemption.to_string(), why, would_do })
    };
    let mut all: Vec<Near> = tenant.exemptions.iter().filter_map(judge).collect();
    all.sort_by_key(|one| one.why == WhyNot::OtherClause);
    all.truncate(MOST_NEAR);
    all
}

/// A step as people count them.
fn number(index: usize) -> u32 {
    u32::try_from(index + 1).expect("at most 16 steps")
}

fn observed_by(taken: &Taken<'_>) -> Vec<String> {
    let all = [
        ("node", Some(taken.node_mode)),
        ("policy", Some(taken.policy.mode)),
        ("rule", taken.rule.mode),
        ("tenant", taken.tenant.mode),
    ];
    let observes = all.into_iter().filter(|(_, mode)| *mode == Some(Mode::Observe));
    observes.map(|(who, _)| who.to_owned()).collect()
}

/// What the ladder would have come to if one thing that is known were otherwise.
fn of_the_ladder(rule: &Rule, history: &History, index: usize, cause: Cause) -> Vec<Otherwise> {
    let mut all = Vec::new();
    if cause == Cause::Worsened {
        let times = rule.severe.map_or(0.0, |severe| severe.times);
        all.push(Otherwise { condition: Condition::Milder { times }, step: None });
    } else if !cause.is_beginning() {
        all.push(Otherwise { condition: Condition::Ended, step: None });
    }
    let mut unless = |condition, history: History| {
        let (step, _) = rule.first_step(&history);
        if step != index {
            all.push(Otherwise { condition, step: Some(number(step)) });
        }
    };
    if cause.is_beginning() {
        if history.strikes > 1 {
            unless(Condition::FirstStrike, History { strikes: 1, since_last: None, ..*history });
        }
        if let Some(repeat) = rule.repeat {
            unless(Condition::NotSoon { within: repeat.within }, History { since_last: None, ..*history });
        }
        unless(Condition::NotKnown, History { is_known_offender: false, ..*history });
        if let Some(severe) = rule.severe.filter(|severe| history.times >= severe.times) {
            unless(Condition::Milder { times: severe.times }, History { times: 0.0, ..*history });
        }
    }
    if let Some(severe) = rule.severe.filter(|severe| history.times < severe.times && severe.step > index) {
        all.push(Otherwise {
            condition: Condition::Graver { times: severe.times },
            step: Some(number(severe.step.min(rule.ladder.len() - 1))),
        });
    }
    // The next one comes later than this, so what is told of it is the least.
    let next =
        History { strikes: history.strikes.saturating_add(1), since_last: None, times: 0.0, ..*history };
    let (step, _) = rule.first_step(&next);
    all.push(Otherwise { condition: Condition::NextStrike, step: Some(number(step)) });
    all
}

/// Where among a class's numbers one stands: in its own list, or in that of an endpoint.
type Place = (Option<usize>, usize);

/// An alert's numbers beside those that the tenant is held to.
struct Held<'a> {
    policy: &'a Policy,
    alert: &'a Alert,
    tenant: &'a Tenant,
    own: Thresholds,
    /// The endpoint that was called, if one was.
    endpoint: Option<usize>,
    /// What it is counted by where it is held against a reseller: the numbers are the rule's then, not the detector's.
    escalation: Option<&'a Escalation>,
}

impl<'a> Held<'a> {
    fn new(
        policy: &'a Policy,
        alert: &'a Alert,
        tenant: &'a Tenant,
        escalation: Option<&'a Escalation>,
    ) -> Self {
        let own = policy.thresholds_for(tenant.profile, Some(&tenant.id));
        let at = |index: &usize| {
            let is_at = |seen: &crate::alert::TargetSeen| {
                seen.target.port.is_some_and(|port| own.endpoints[*index].is_at(seen.target.address, port))
            };
            alert.targets.iter().any(is_at)
        };
        let endpoint = (0..own.endpoints.len()).find(at).filter(|_| alert.class == Class::ApiBurst);
        Self { policy, alert, tenant, own, endpoint, escalation }
    }

    fn numbers(&self) -> Vec<HeldTo> {
        let crossed = self.alert.metrics.iter().filter_map(|metric| Some((metric, metric.threshold?)));
        crossed.map(|(metric, limit)| self.held_to(metric, limit)).collect()
    }

    fn held_to(&self, metric: &Metric, limit: f64) -> HeldTo {
        let name = metric.name.to_string();
        let seen = metric.value;
        if self.escalation.is_some() {
            return HeldTo { name, seen, limit, from: Whence::Policy, common: None };
        }
        let plan = self.tenant.quota_bytes.filter(|_| self.alert.class == Class::Quota);
        if plan.is_some_and(|bytes| bytes as f64 == limit) {
            return HeldTo { name, seen, limit, from: Whence::Tenant, common: None };
        }
        let Some(place) = self.place(metric, limit) else {
            return HeldTo { name, seen, limit, from: Whence::Made, common: None };
        };
        let (own, common) = (self.at(&self.own, place), self.at(&self.policy.thresholds, place));
        let default = Thresholds::default();
        let default = list(&default, self.alert.class, None).into_iter().nth(place.1);
        let from = match () {
            () if self.is_tenants(own.as_ref(), common.as_ref()) => Whence::Tenant,
            () if own.as_ref().map(|one| &one.value) != common.as_ref().map(|one| &one.value) => {
                Whence::Profile
            }
            () if common.as_ref().map(|one| &one.value) != default.as_ref().map(|one| &one.value) => {
                Whence::Policy
            }
            () => Whence::Detector,
        };
        let common = common.and_then(|one| plain(&one.value)).filter(|common| *common != limit);
        HeldTo { name, seen, limit, from, common }
    }

    /// Whether a number is said of the tenant alone.
    fn is_tenants(&self, own: Option<&Number>, common: Option<&Number>) -> bool {
        let (Some(own), Some(common)) = (own, common) else { return false };
        let tailoring = &self.policy.tailoring;
        let class = self.alert.class;
        let replaced = tailoring.tenants.get(&self.tenant.id).and_then(|all| all.get(&class));
        let factor = tailoring.tenant_factors.get(&self.tenant.id).and_then(|all| all.get(&class));
        replaced.is_some_and(|all| all.contains_key(own.key))
            || (factor.is_some() && own.scales && own.value != common.value)
    }

    /// Where the limit of a metric stands: under its own name, or else wherever the same number stands.
    fn place(&self, metric: &Metric, limit: f64) -> Option<Place> {
        let listed = list(&self.own, self.alert.class, self.endpoint);
        let is_limit = |number: &Number| plain(&number.value) == Some(limit);
        let by_name = listed.iter().position(|number| number.key == metric.name && is_limit(number));
        let index = by_name.or_else(|| listed.iter().position(is_limit))?;
        Some((self.endpoint, index))
    }

    fn at(&self, numbers: &Thresholds, (endpoint, index): Place) -> Option<Number> {
        list(numbers, self.alert.class, endpoint).into_iter().nth(index)
    }

    /// The time in which the class counts: what its numbers say, or else what the alert speaks of.
    fn window(&self) -> Duration {
        if let Some(escalation) = self.escalation {
            return escalation.within;
        }
        if !self.alert.class.counts_over_window() {
            return Duration::ZERO;
        }
        let listed = list(&self.own, self.alert.class, None);
        let window = listed.into_iter().find(|number| number.key == "window").map(|number| number.value);
        match window {
            Some(Value::Span(span)) => span,
            _ => self.alert.window.end.since(self.alert.window.start),
        }
    }

    /// What would have been nothing: less of it, and other profiles.
    fn otherwise(&self) -> Vec<Otherwise> {
        let Some((metric, limit)) =
            self.alert.metrics.first().and_then(|metric| Some((metric, metric.threshold?)))
        else {
            return Vec::new();
        };
        let mut all = Vec::new();
        if metric.value >= limit {
            all.push(Otherwise { condition: Condition::Below, step: None });
        }
        // Whom a rule is held against has no profile's numbers.
        if self.escalation.is_some() {
            return all;
        }
        let Some(place) = self.place(metric, limit) else { return all };
        for (_, profile) in Profile::ALL {
            if profile == self.tenant.profile || !self.policy.tailoring.speaks_of(profile) {
                continue;
            }
            let numbers = self.policy.thresholds_for(profile, Some(&self.tenant.id));
            let with = self.at(&numbers, place).and_then(|number| plain(&number.value));
            // Nought is "never".
            if let Some(limit) = with.filter(|with| *with > metric.value || *with == 0.0) {
                all.push(Otherwise { condition: Condition::Profile { profile, limit }, step: None });
            }
        }
        all
    }
}

/// The numbers of a class, or those of an endpoint.
fn list(numbers: &Thresholds, class: Class, endpoint: Option<usize>) -> Vec<Number> {
    match endpoint.and_then(|index| numbers.endpoints.get(index)) {
        Some(endpoint) => endpoint.list(),
        None => numbers.list(class),
    }
}

fn plain(value: &Value) -> Option<f64> {
    match value {
        Value::Count(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        Value::Span(span) => Some(span.as_secs_f64()),
        Value::Ports(_) => None,
    }
}
