//! Rules of a policy, read.

use std::collections::BTreeSet;
use std::time::Duration;

use super::conditions::{Escalation, Grace, Repeat, Severe, Whose};
use super::thresholds::{EndpointKind, Thresholds};
use super::{Rule, ScopeRule, Step, notices, thresholds_read};
use crate::class::Class;
use crate::decision::{Action, Until};
use crate::net::Protocol;
use crate::rate::{Rate, Unit};
use crate::reader::{Section, parse_duration};
use crate::tenant::{Mode, Name};

pub(super) const NAME: &str = "a name: 1 to 64 letters, digits, `.`, `_` or `-`, the first a letter or digit";
const CLAUSE: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}/[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";
pub(super) const MODES: [(&str, Mode); 2] = [("observe", Mode::Observe), ("enforce", Mode::Enforce)];

pub(super) fn rules(root: &Section<'_, '_>, policy: Option<&Name>, thresholds: &mut Thresholds) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for section in root.sections("rule") {
        let rule = rule(&section, policy, thresholds);
        if let Some(rule) = rule {
            if rules.iter().any(|other| other.id == rule.id) {
                section.reject("id", "an id that no rule above has");
            }
            let is_alike = |other: &&Rule| (other.target, other.kind) == (rule.target, rule.kind);
            let clashes = |other: &&Rule| is_alike(other) && !other.on.is_disjoint(&rule.on);
            if let Some(other) = rules.iter().find(clashes) {
                let both: Vec<&str> = other.on.intersection(&rule.on).map(|class| class.name()).collect();
                let allowed =
                    format!("classes that are not under rule `{}` already: {}", other.id, both.join(", "));
                section.reject("on", &allowed);
            }
            rules.push(rule);
        }
        section.finish();
    }
    rules
}

/// Lets `own` rules replace those with the same id, and take their classes from the others. A rule that protects some, or is for endpoints
/// of some kind, leaves the others to those for all.
pub(super) fn override_rules(rules: &mut Vec<Rule>, own: Vec<Rule>) {
    for inherited in rules.iter_mut() {
        let (target, kind) = (inherited.target, inherited.kind);
        let takes_over = |rule: &&Rule| {
            (rule.target.is_none() || rule.target == target) && (rule.kind.is_none() || rule.kind == kind)
        };
        for rule in own.iter().filter(takes_over) {
            inherited.on.retain(|class| !rule.on.contains(class));
        }
    }
    for rule in own {
        match rules.iter_mut().find(|other| other.id == rule.id) {
            Some(place) => *place = rule,
            None => rules.push(rule),
        }
    }
    rules.retain(|rule| !rule.on.is_empty());
}

fn rule(section: &Section<'_, '_>, policy: Option<&Name>, thresholds: &mut Thresholds) -> Option<Rule> {
    let id: Option<Name> = section.required("id", NAME);
    let clause = clause(section, policy, id.as_ref());
    let on = subject(section);
    let mode = section.one_of("mode", &MODES);
    let quiet = section.duration("quiet").unwrap_or(Rule::DEFAULT_QUIET);
    let memory = section.duration("memory").unwrap_or(Rule::DEFAULT_MEMORY);
    let grace = grace(section).unwrap_or(Rule::DEFAULT_GRACE);
    if quiet.is_zero() {
        section.reject("quiet", "a time above zero");
    }
    let decay = section.duration("decay");
    if decay.is_some_and(|decay| decay.is_zero()) {
        section.reject("decay", "a time above zero");
    }
    let release_after_silence = silence(section, quiet, on.as_ref());
    if let Some(numbers) = section.section("thresholds") {
        thresholds_read::read(&numbers, thresholds);
    }
    let target =
        section.one_of("target", &[Whose::Own, Whose::ThirdParty].map(|whose| (whose.name(), whose)));
    let kind = kind(section, on.as_ref());
    let notice_first = section.boolean("notice_first").unwrap_or(false);
    let ladder = ladder(section, on.as_ref(), notice_first);
    let steps = ladder.as_ref().map_or(0, Vec::len);
    let also = also(section);
    let severe = severe(section, steps);
    let repeat = repeat(section, steps);
    let known_offender = step_number(section, "known_offender", steps);
    let parent = parent(section);
    if parent.is_some()
        && id.as_ref().is_some_and(|id| format!("{id}{}", Escalation::SUFFIX).len() > Name::MAX_LEN)
    {
        section.reject("id", "at most 57 characters for a rule with `parent`");
    }
    let tell = notices::tell(section);
    Some(Rule {
        id: id?,
        clause: clause?,
        also,
        target,
        kind,
        on: on?,
        mode,
        quiet,
        memory,
        decay,
        release_after_silence,
        severe,
        repeat,
        known_offender,
        parent,
        grace,
        tell,
        ladder: ladder?,
    })
}

/// For how long nothing is to be seen until whoever says that it is mended is let go. An episode is over before that.
fn silence(section: &Section<'_, '_>, quiet: Duration, on: Option<&BTreeSet<Class>>) -> Option<Duration> {
    const KEY: &str = "release_after_silence";
    let silence = section.duration(KEY)?;
    if silence < quiet || silence > Rule::MAX_SILENCE {
        section.reject(
            KEY,
            "a time such as \"30m\": not below the rule's `quiet` (10m without it), at most 30d",
        );
    }
    let is_asked_or_counted = |class: &Class| matches!(class, Class::SmtpRelay | Class::Quota);
    if on.is_some_and(|on| on.iter().any(is_asked_or_counted)) {
        section.reject(
            KEY,
            "nothing where the rule is on smtp_relay, which is asked, or on quota, which a month ends",
        );
    }
    Some(silence)
}

/// Only calls are to endpoints.
fn kind(section: &Section<'_, '_>, on: Option<&BTreeSet<Class>>) -> Option<EndpointKind> {
    let kind = section.one_of("kind", &EndpointKind::ALL)?;
    if on.is_some_and(|on| on.iter().any(|class| *class != Class::ApiBurst)) {
        section.reject("kind", "a kind of endpoints only where the rule is on nothing but api_burst");
    }
    Some(kind)
}

fn grace(section: &Section<'_, '_>) -> Option<Grace> {
    section.looks_like("grace", Grace::PATTERN, Grace::SYNTAX);
    let text = section.text("grace")?;
    let grace = Grace::parse(text);
    if grace.is_none() {
        section.reject("grace", Grace::SYNTAX);
    }
    grace
}

fn severe(section: &Section<'_, '_>, steps: usize) -> Option<Severe> {
    let severe = section.section("severe")?;
    if !severe.has("times") {
        severe.reject("times", "a number from 1 to 1000000: so many times the number that it is found by");
    }
    let times = severe.float("times", 1.0..=1e6);
    let step = step_number(&severe, "step", steps).unwrap_or(steps.saturating_sub(1));
    severe.finish();
    Some(Severe { times: times?, step })
}

fn repeat(section: &Section<'_, '_>, steps: usize) -> Option<Repeat> {
    let repeat = section.section("repeat")?;
    if !repeat.has("within") {
        repeat.reject("within", "a time such as \"30d\"");
    }
    let within = repeat.duration("within");
    let step = step_number(&repeat, "step", steps).unwrap_or(steps.saturating_sub(1));
    repeat.finish();
    Some(Repeat { within: within?, step })
}

/// `parent = { violations = 3, children = 2, within = "30d", ladder = [...] }`.
fn parent(section: &Section<'_, '_>) -> Option<Escalation> {
    let parent = section.section("parent")?;
    let number = |key| parent.integer(key, 1..=10_000).and_then(|number| u32::try_from(number).ok());
    let (violations, children) = (number("violations"), number("children"));
    if violations.is_none() && children.is_none() && !parent.has("violations") && !parent.has("children") {
        parent.reject("violations", "a number from 1 to 10000: so many violations of a reseller's customers; or `children`, of so many of them");
    }
    if !parent.has("within") {
        parent.reject("within", "a time such as \"30d\"");
    }
    let within = parent.duration("within");
    let ladder = ladder(&parent, None, false);
    for (place, step) in parent.sections("ladder").iter().zip(ladder.iter().flatten()) {
        if step.scope.is_by_target() {
            place.reject("scope", "all, or a port like tcp/25: the destinations are those of the reseller's customer, who is held already");
        }
        if step.scope == ScopeRule::Forged {
            place
                .reject("scope", "all, or a port like tcp/25: the reseller forged nothing, its customer did");
        }
        if step.until == Until::Verified {
            place.reject("until", "\"released\", \"paid\" or a time: a reseller's servers are not asked");
        }
    }
    parent.finish();
    let ladder = ladder.filter(|ladder| !ladder.is_empty())?;
    Some(Escalation {
        violations: violations.unwrap_or(1),
        children: children.unwrap_or(1),
        within: within?,
        ladder,
    })
}

/// A step of the ladder, as a number from 1 on or as `"last"`; counted from 0.
fn step_number(section: &Section<'_, '_>, key: &str, steps: usize) -> Option<usize> {
    let steps = steps.max(1);
    section.looks_like(key, "^last$", "\"last\", or the number of a step");
    if section.is_text(key) {
        if section.text(key) == Some("last") {
            return Some(steps - 1);
        }
        section.reject(key, "\"last\", or the number of a step of the ladder, from 1 on");
        return None;
    }
    let number = section.integer(key, 1..=steps as u64)?;
    usize::try_from(number).ok().map(|number| number - 1)
}

fn also(section: &Section<'_, '_>) -> Vec<String> {
    let allowed = "a list of POLICY/CLAUSE, both of them names";
    section.looks_like("also", CLAUSE, "POLICY/CLAUSE");
    let clauses: Vec<String> = section.parsed_list("also", allowed).unwrap_or_default();
    for (index, clause) in clauses.iter().enumerate() {
        if !is_clause(clause) {
            section.reject_item("also", index, allowed);
        }
    }
    clauses
}

fn is_clause(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(policy, clause)| policy.parse::<Name>().is_ok() && clause.parse::<Name>().is_ok())
}

/// `policy/clause`; left out, the rule's id stands for the clause.
fn clause(section: &Section<'_, '_>, policy: Option<&Name>, id: Option<&Name>) -> Option<String> {
    section.looks_like("clause", CLAUSE, "POLICY/CLAUSE; left out, the policy's name and the rule's id");
    let Some(text) = section.text("clause") else {
        return Some(format!("{}/{}", policy?, id?));
    };
    if !is_clause(text) {
        section.reject("clause", "POLICY/CLAUSE, both of them names");
        return None;
    }
    Some(text.to_owned())
}

fn known_classes() -> String {
    let all: Vec<&str> = Class::ALL.iter().map(|class| class.name()).collect();
    format!("a class or a family of them: portscan.*, flood.*, spam.*, {}", all.join(", "))
}

/// What a rule is on: something.
fn subject(section: &Section<'_, '_>) -> Option<BTreeSet<Class>> {
    if !section.has("on") {
        section.reject("on", &format!("a list: {}", known_classes()));
        return None;
    }
    if section.parsed_list::<String>("on", &known_classes())?.is_empty() {
        section.reject("on", &known_classes());
    }
    Some(classes(section, "on"))
}

/// Classes, each by itself or with its family.
pub(super) fn classes(section: &Section<'_, '_>, key: &str) -> BTreeSet<Class> {
    section.is_among(key, Class::patterns());
    let patterns: Vec<String> = section.parsed_list(key, &known_classes()).unwrap_or_default();
    let mut classes = BTreeSet::new();
    for (index, pattern) in patterns.iter().enumerate() {
        let matching = Class::matching(pattern);
        if matching.is_empty() {
            section.reject_item(key, index, &known_classes());
        }
        classes.extend(matching);
    }
    classes
}

/// The steps. `notice_first` puts a notice before them.
fn ladder(section: &Section<'_, '_>, on: Option<&BTreeSet<Class>>, notice_first: bool) -> Option<Vec<Step>> {
    let allowed = "a list of 1 to 16 steps like { action = \"suspend\", until = \"released\" }";
    if !section.has("ladder") {
        section.reject("ladder", allowed);
        return None;
    }
    let sections = section.sections("ladder");
    let notice = Step {
        action: Action::Notify,
        scope: ScopeRule::All,
        rate: None,
        connections: None,
        until: Until::Released,
        grace: None,
        notice: None,
        tell: None,
    };
    let own = sections.iter().filter_map(|section| step(section, on));
    let steps: Vec<Step> = notice_first.then_some(notice).into_iter().chain(own).collect();
    if sections.is_empty() || steps.len() > Rule::MAX_STEPS {
        section.reject("ladder", allowed);
    }
    Some(steps)
}

fn step(section: &Section<'_, '_>, on: Option<&BTreeSet<Class>>) -> Option<Step> {
    section.is_a("step");
    let actions = [Action::Observe, Action::Notify, Action::Limit, Action::Block, Action::Suspend];
    if !section.has("action") {
        section.reject("action", "observe, notify, limit, block, suspend");
    }
    let action = section.one_of("action", &actions.map(|action| (action.name(), action)));
    let scope = scope(section, action, on);
    let rate = rate(section, action, scope);
    let connections = connections(section, action, scope);
    let until = until(section, action, on);
    let grace = grace(section);
    let (notice, tell) = (notices::kind(section), notices::tell(section));
    section.finish();
    Some(Step {
        action: action?,
        scope: scope?,
        rate: rate?,
        connections,
        until: until?,
        grace,
        notice,
        tell,
    })
}

/// How many connections at a time a limit of connections or calls is to beside its rate.
fn connections(section: &Section<'_, '_>, action: Option<Action>, scope: Option<ScopeRule>) -> Option<u8> {
    let number = section.integer("connections", 1..=u64::from(Step::MAX_CONNECTIONS))?;
    let is_apt = scope.is_none_or(|scope| !matches!(scope, ScopeRule::All | ScopeRule::Forged));
    if action.is_some_and(|action| action != Action::Limit) || !is_apt {
        section.reject(
            "connections",
            "nothing: only a limit to a port, to destinations or to an endpoint is to so many at a time",
        );
    }
    u8::try_from(number).ok()
}

/// A limit has a rate and nothing else has.
fn rate(section: &Section<'_, '_>, action: Option<Action>, scope: Option<ScopeRule>) -> Option<Option<Rate>> {
    let rate: Option<Rate> = section.parsed("rate", Rate::SYNTAX);
    match (action, rate) {
        (Some(Action::Limit), None) => {
            if !section.has("rate") {
                section.reject("rate", Rate::SYNTAX);
            }
            None
        }
        (Some(Action::Limit), Some(rate)) => {
            let is_counted = matches!(rate.unit, Unit::Packets | Unit::Bytes);
            if scope == Some(ScopeRule::Forged) && !is_counted {
                section.reject(
                    "rate",
                    "packets or bytes: what has a forged source is no connection of anybody's",
                );
            } else if rate.unit == Unit::Calls && scope.is_some_and(|scope| scope != ScopeRule::Endpoint) {
                section.reject("rate", "connections, packets or bytes; calls go with the scope `endpoint`");
            }
            Some(Some(rate))
        }
        (_, Some(_)) => {
            section.reject("rate", "nothing: only a limit has a rate");
            None
        }
        (_, None) => Some(None),
    }
}

const SCOPES: &str = "all (to suspend or limit); dst, dst:port, targets, endpoint, forged, or a port like tcp/25 (to block or limit)";

fn scope(
    section: &Section<'_, '_>,
    action: Option<Action>,
    on: Option<&BTreeSet<Class>>,
) -> Option<ScopeRule> {
    const PATTERN: &str = "^(all|dst|targets|dst:port|endpoint|forged|[a-z0-9-]+/[0-9]{1,5})$";
    section.looks_like("scope", PATTERN, SCOPES);
    let Some(text) = section.text("scope") else {
        // Without a word, the mildest scope that stops the abuse.
        let is_by_target = matches!(action, Some(Action::Block | Action::Limit));
        return Some(if is_by_target { ScopeRule::Destinations } else { ScopeRule::All });
    };
    let scope = match text {
        "all" => Some(ScopeRule::All),
        "dst" | "targets" => Some(ScopeRule::Destinations),
        "dst:port" => Some(ScopeRule::DestinationPorts),
        "endpoint" => Some(ScopeRule::Endpoint),
        "forged" => Some(ScopeRule::Forged),
        other => other.split_once('/').and_then(|(protocol, port)| {
            let protocol: Protocol = protocol.parse().ok()?;
            let port = port.parse().ok().filter(|port| *port > 0)?;
            protocol.has_ports().then_some(ScopeRule::Port(protocol, port))
        }),
    };
    let scope = match (action, scope) {
        // A suspension is of everything, and a block of everything is a suspension.
        (Some(Action::Suspend), Some(scope)) if scope != ScopeRule::All => None,
        (Some(Action::Block), Some(ScopeRule::All)) => None,
        // Of claims and of what a tenant does under its own name it would stop nothing.
        (_, Some(ScopeRule::Forged)) if !on.is_none_or(|on| on.iter().all(|class| may_be_forged(*class))) => {
            let allowed = "forged only where the rule is on nothing but spoof.source, flood.* and crash: what else is seen has the tenant's own source";
            section.reject("scope", allowed);
            return None;
        }
        (_, scope) => scope,
    };
    if scope.is_none() {
        section.reject("scope", SCOPES);
    }
    scope
}

/// Whether what the class sees may have a source that is not the tenant's.
fn may_be_forged(class: Class) -> bool {
    matches!(class, Class::SpoofSource | Class::Crash) || class.family() == "flood"
}

fn until(section: &Section<'_, '_>, action: Option<Action>, on: Option<&BTreeSet<Class>>) -> Option<Until> {
    let is_only = |wanted: Class| on.is_none_or(|on| on.iter().all(|class| *class == wanted));
    let allowed =
        "\"released\", \"verified\", \"paid\", \"month\", or a time from \"1s\" on, such as \"15m\"";
    section.looks_like("until", "^(released|verified|paid|month|[0-9]+(ms|s|m|h|d))$", allowed);
    let Some(text) = section.text("until") else {
        return match action {
            Some(action) if action.is_measure() => {
                section.reject("until", allowed);
                None
            }
            _ => Some(Until::Released),
        };
    };
    let until = match text {
        "released" => Some(Until::Released),
        "verified" if !is_only(Class::SmtpRelay) => {
            let allowed = "\"verified\" only where the rule is on nothing but smtp_relay: nothing else can be checked from outside";
            section.reject("until", allowed);
            return None;
        }
        "verified" => Some(Until::Verified),
        "paid" => Some(Until::Paid),
        "month" if !is_only(Class::Quota) => {
            let allowed =
                "\"month\" only where the rule is on nothing but quota: nothing else goes by months";
            section.reject("until", allowed);
            return None;
        }
        "month" => Some(Until::MonthEnd),
        // The kernel's timeouts and people's patience both begin at a second.
        other => parse_duration(other).filter(|span| span.as_secs() >= 1).map(Until::After),
    };
    if until.is_none() {
        section.reject("until", allowed);
    }
    until
}
