//! Values put into texts: what a decision, an alert and a tenant come to in the words of a language.
//!
//! Times are those of the provider's calendar, numbers have no signs that languages read differently.

use std::time::Duration;

use super::NoticeKind;
use super::template::Values;
use super::texts::{BILLING, MANUAL, Texts};
use crate::alert::Alert;
use crate::decision::{Action, Decision, Origin, Scope, Until};
use crate::language::conditions::Escalation;
use crate::language::{Policy, Rule, Step};
use crate::rate::{Rate, Unit};
use crate::tenant::{Name, Tenant, TenantId};
use crate::time::Timestamp;
use crate::usage::Usage;

/// Addresses and targets that are named.
const EXAMPLES: usize = 3;

/// Which words the numbers of an alert go with.
const WHAT: &[(&str, &str)] = &[
    ("hosts", "hosts"),
    ("intruder_hosts", "hosts"),
    ("peer_hosts", "hosts"),
    ("wide_hosts", "hosts"),
    ("wide_intruder_hosts", "hosts"),
    ("walk_hosts", "hosts"),
    ("link_hosts", "hosts"),
    ("block_targets", "targets"),
    ("targets", "targets"),
    ("targets_per_hour", "targets"),
    ("targets_per_day", "targets"),
    ("ports", "ports"),
    ("low_ports", "ports"),
    ("packets", "packets"),
    ("ack_probes", "packets"),
    ("probes", "packets"),
    ("packets_per_second", "packets_per_second"),
    ("total_packets_per_second", "packets_per_second"),
    ("network_packets_per_second", "packets_per_second"),
    ("bits_per_second", "bits_per_second"),
    ("connections_per_second", "connections_per_second"),
    ("messages", "messages"),
    ("messages_per_minute", "messages"),
    ("messages_per_hour", "messages"),
    ("alike_messages", "messages"),
    ("sealed_messages", "messages"),
    ("site_messages", "messages"),
    ("exchangers", "servers"),
    ("refusals", "refusals"),
    ("in_flight", "calls"),
    ("signups", "calls"),
    ("calls_per_second", "calls_per_second"),
    ("requests_per_second", "requests_per_second"),
];

/// Why a tenant stands where it stands, for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The language of the words.
    pub language: Name,
    /// What happened, and what was done.
    pub reason: String,
    /// What lifts it; empty where nothing is held back.
    pub lifted_by: String,
}

/// The words of a language, for a tenant.
#[derive(Clone, Copy)]
pub(super) struct Words<'w> {
    pub texts: &'w Texts,
    pub policy: &'w Policy,
    pub about: &'w TenantId,
    pub tenant: Option<&'w Tenant>,
}

/// What a notice is about.
pub(super) struct About<'d> {
    pub decision: &'d Decision,
    /// Whose words: a class, a family of them, or what a person decided.
    pub subject: &'static str,
    pub step: Option<(&'d Rule, &'d Step)>,
    pub kind: NoticeKind,
    /// Whether it is for the reseller above the tenant.
    pub for_parent: bool,
    /// Whether it is held against the tenant for what its customers did.
    pub for_customers: bool,
}

impl Words<'_> {
    /// Subject and text of what was decided.
    pub fn decided(&self, about: &About<'_>, evidence: Option<&Alert>) -> (String, String) {
        let decision = about.decision;
        let is_by_person = matches!(about.subject, BILLING | MANUAL);
        let mut parts = self.opening(about.for_parent);
        parts.push(self.happened(about.subject, about.for_customers));
        parts.extend(evidence.and_then(|alert| self.customers(alert)));
        match evidence {
            Some(alert) => parts.push(self.say("frame", "facts", &[("facts", self.facts(alert))])),
            // The reason is for the customer to read.
            None if is_by_person && !decision.reason.is_empty() => {
                parts.push(self.say("frame", "staff", &[("reason", decision.reason.clone())]));
            }
            None => {}
        }
        parts.push(self.did(decision));
        parts.extend(self.until(decision, decision.until.expiry(decision.at)));
        parts.extend(self.what_next(about));
        let help = self.help(about.subject);
        parts.push(match about.for_customers {
            true => self.say("frame", "customers_do", &[("do", help)]),
            false => help,
        });
        if about.kind == NoticeKind::Final {
            parts.push(self.say("frame", "final", &[]));
        }
        let also = about.step.map(|(rule, _)| rule.also.clone()).unwrap_or_default();
        parts.extend(self.closing(&decision.clause, &also, Some(reference(decision))));
        // A plan that is used up is told with how much of it is.
        let percent = evidence.and_then(|alert| alert.metrics.iter().find(|metric| metric.name == "percent"));
        let subject = match percent.filter(|_| about.subject == "quota" && !decision.action.is_measure()) {
            Some(percent) => self.say("subject", "quota", &[("percent", whole(percent.value))]),
            None => self.subject(about),
        };
        (subject, parts.join("\n\n"))
    }

    /// Subject and text of the end of it.
    pub fn ended(&self, about: &About<'_>, at: Timestamp, still_held: bool) -> (String, String) {
        let mut parts = self.opening(about.for_parent);
        let short = self.texts.word("short", about.subject);
        parts.push(self.say("frame", "lifted", &[("short", short), ("time", self.moment(at))]));
        if still_held {
            parts.push(self.say("frame", "still_held", &[]));
        }
        parts.extend(self.closing("", &[], Some(reference(about.decision))));
        (self.subject(about), parts.join("\n\n"))
    }

    /// Subject and text of what was used of a month's plan.
    pub fn quota(
        &self,
        usage: &Usage,
        mark: u8,
        limit: u64,
        rule: Option<&Rule>,
        for_parent: bool,
    ) -> (String, String) {
        let total = usage.received.saturating_add(usage.sent);
        let percent = u128::from(total) * 100 / u128::from(limit.max(1));
        let percent = percent.max(mark.into()).to_string();
        let subject = self.say("subject", "quota", &[("percent", percent.clone())]);
        let mut parts = self.opening(for_parent);
        parts.push(self.texts.word("happened", "quota"));
        let facts = [("used", bytes(total)), ("limit", bytes(limit)), ("percent", percent)];
        let facts = self.say("frame", "quota", &facts);
        parts.push(self.say("frame", "facts", &[("facts", facts)]));
        // When it is used up, what is done is a matter of what the policy decides then.
        if mark < 100 {
            parts.push(self.texts.word("did", "notify"));
        }
        parts.push(self.help("quota"));
        let (clause, also) =
            rule.map(|rule| (rule.clause.as_str(), rule.also.as_slice())).unwrap_or_default();
        parts.extend(self.closing(clause, also, None));
        (subject, parts.join("\n\n"))
    }

    pub fn explain(
        &self,
        language: Name,
        decision: &Decision,
        (subject, for_customers): (&str, bool),
        ends: Option<Timestamp>,
    ) -> Explained {
        let staff = match subject {
            BILLING | MANUAL if !decision.reason.is_empty() => {
                self.say("frame", "staff", &[("reason", decision.reason.clone())])
            }
            _ => String::new(),
        };
        let reason = [self.happened(subject, for_customers), staff, self.did(decision)];
        let reason = reason.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        Explained { language, reason, lifted_by: self.until(decision, ends).unwrap_or_default() }
    }

    fn opening(&self, for_parent: bool) -> Vec<String> {
        let mut parts = vec![self.say("frame", "opening", &[])];
        if for_parent {
            parts.push(self.say("frame", "parent", &[]));
        }
        parts
    }

    fn closing(&self, clause: &str, also: &[String], reference: Option<String>) -> Vec<String> {
        let mut parts = Vec::new();
        if !clause.is_empty() {
            let all: Vec<&str> = std::iter::once(clause).chain(also.iter().map(String::as_str)).collect();
            parts.push(self.say("frame", "clause", &[("clause", all.join(", "))]));
        }
        parts.extend(reference.map(|reference| self.say("frame", "reference", &[("reference", reference)])));
        parts.push(self.say("frame", "privacy", &[]));
        parts.push(self.say("frame", "closing", &[]));
        if !self.policy.notices.contact.is_empty() {
            parts.push(self.say("frame", "contact", &[]));
        }
        if !self.policy.notices.provider.is_empty() {
            parts.push(self.say("frame", "signature", &[]));
        }
        parts
    }

    fn subject(&self, about: &About<'_>) -> String {
        let short = self.texts.word("short", about.subject);
        let did_short = self.texts.word("did_short", about.decision.action.name());
        let values = [("short", short), ("did_short", did_short), ("reference", reference(about.decision))];
        self.say("subject", about.kind.name(), &values)
    }

    /// What happened, by the tenant itself or by customers of its own.
    fn happened(&self, subject: &str, for_customers: bool) -> String {
        if !for_customers {
            return self.texts.word("happened", subject);
        }
        self.say("frame", "customers", &[("short", self.texts.word("short", subject))])
    }

    /// How many violations of how many customers an alert is about, if it is about a reseller's.
    fn customers(&self, alert: &Alert) -> Option<String> {
        let number =
            |name| alert.metrics.iter().find(|metric| metric.name == name).map(|metric| whole(metric.value));
        let values = [("count", number(Escalation::COUNTED)?), ("customers", number("customers")?)];
        Some(self.say("frame", "customers_number", &values))
    }

    fn help(&self, subject: &str) -> String {
        self.say("do", subject, &[])
    }

    /// What was done.
    fn did(&self, decision: &Decision) -> String {
        let what = match (decision.action, &decision.scope) {
            (Action::Suspend, _) if self.policy.suspension.cuts_inbound() => "_cut".to_owned(),
            (Action::Observe | Action::Notify | Action::Suspend, _) => String::new(),
            (_, Scope::All) => "_all".to_owned(),
            (_, Scope::Port { .. }) => "_port".to_owned(),
            (_, Scope::Destinations { .. } | Scope::DestinationPorts { .. }) => "_targets".to_owned(),
            (_, Scope::Endpoint { .. }) => "_endpoint".to_owned(),
            (_, Scope::Forged) => "_forged".to_owned(),
        };
        let (mut port, mut targets, mut endpoint) = (String::new(), String::new(), String::new());
        match &decision.scope {
            Scope::All | Scope::Forged => {}
            Scope::Port { protocol, port: number } => port = format!("{protocol}/{number}"),
            Scope::Destinations { addresses } => targets = some(addresses),
            Scope::DestinationPorts { targets: all } => targets = some(all),
            Scope::Endpoint { name, .. } => endpoint = name.to_string(),
        }
        let mut rate = decision.rate.map(|rate| self.rate(rate)).unwrap_or_default();
        if let Some(connections) = decision.connections {
            rate = self.say("frame", "at_a_time", &[("rate", rate), ("count", connections.to_string())]);
        }
        let values = [("port", port), ("targets", targets), ("endpoint", endpoint), ("rate", rate)];
        self.say("did", &format!("{}{what}", decision.action), &values)
    }

    /// What ends a measure; `None` for what is none.
    fn until(&self, decision: &Decision, ends: Option<Timestamp>) -> Option<String> {
        if !decision.action.is_measure() {
            return None;
        }
        Some(match (ends, decision.until) {
            (Some(end), _) => self.say("until", "after", &[("time", self.moment(end))]),
            (None, Until::Verified) => self.say("until", "verified", &[]),
            (None, Until::Paid) => self.say("until", "paid", &[]),
            (None, Until::Released | Until::After(_) | Until::MonthEnd) => self.say("until", "released", &[]),
        })
    }

    /// What comes if it goes on, and how long there is to mend it.
    fn what_next(&self, about: &About<'_>) -> Option<String> {
        let (rule, step) = about.step.filter(|_| about.decision.softened.is_none())?;
        let Origin::Policy { rule: key, step: number, .. } = &about.decision.origin else { return None };
        let (_, ladder) = self.policy.behind(key)?;
        // Counted from 1: the one after it has its number here.
        let after =
            ladder.get(usize::try_from(*number).ok()?).filter(|after| after.action > Action::Observe)?;
        let next = self.texts.word("next", after.action.name());
        if step.action.is_measure() {
            return Some(self.say("until", "next", &[("next", next)]));
        }
        let deadline = rule.patience_ends(step, about.decision.at, &self.policy.calendar);
        // A deadline that a reader cannot keep is none.
        if deadline.since(about.decision.at) < Duration::from_secs(3_600) {
            return Some(self.say("until", "next", &[("next", next)]));
        }
        Some(self.say("until", "grace", &[("deadline", self.moment(deadline)), ("next", next)]))
    }

    /// When, how much, and to whom.
    fn facts(&self, alert: &Alert) -> String {
        let (from, to) = (self.moment(alert.window.start), self.moment(alert.window.end));
        let mut facts =
            vec![if from == to { from } else { self.say("frame", "span", &[("from", from), ("to", to)]) }];
        let metric = |name: &str| alert.metrics.iter().find(|metric| metric.name == name);
        if let (Some(used), true) = (metric("bytes"), alert.class == crate::class::Class::Quota) {
            let limit = used.threshold.unwrap_or(used.value);
            let percent = metric("percent").map(|metric| whole(metric.value)).unwrap_or_default();
            let values =
                [("used", bytes(used.value as u64)), ("limit", bytes(limit as u64)), ("percent", percent)];
            return self.say("frame", "quota", &values);
        }
        if let Some(found_by) = alert.metrics.first()
            && let Some((_, what)) = WHAT.iter().find(|(name, _)| *name == found_by.name)
        {
            let (count, what) = (whole(found_by.value), self.texts.word("what", what));
            facts.push(match found_by.threshold {
                Some(limit) => {
                    self.say("frame", "number", &[("count", count), ("what", what), ("limit", whole(limit))])
                }
                None => self.say("frame", "number_alone", &[("count", count), ("what", what)]),
            });
        }
        let mut targets: Vec<_> = alert.targets.iter().map(|seen| seen.target).collect();
        let mut seen = std::collections::BTreeSet::new();
        targets.retain(|target| seen.insert(*target));
        if !targets.is_empty() {
            facts.push(self.say("frame", "targets", &[("targets", some(&targets))]));
        }
        facts.join("; ")
    }

    fn rate(&self, rate: Rate) -> String {
        let unit = match rate.unit {
            Unit::Connections => "connections",
            Unit::Packets => "packets",
            Unit::Calls => "calls",
            Unit::Bytes => "bytes",
        };
        let per = match rate.seconds {
            ..60 => "second",
            60..3_600 => "minute",
            3_600..86_400 => "hour",
            _ => "day",
        };
        let values = [
            ("count", whole(rate.amount.into())),
            ("unit", self.texts.word("unit", unit)),
            ("per", self.texts.word("per", per)),
        ];
        self.say("frame", "rate", &values)
    }

    /// `2026-11-21 15:03 +01:00`, by the provider's calendar.
    fn moment(&self, at: Timestamp) -> String {
        let offset = i64::from(self.policy.calendar.offset_seconds);
        let seconds = i64::try_from(at.as_nanos() / 1_000_000_000).unwrap_or(i64::MAX);
        let local = u64::try_from(seconds.saturating_add(offset)).unwrap_or(0);
        let text = Timestamp::from_secs(local - local % 60).to_string();
        let text = text.trim_end_matches(":00Z").replacen('T', " ", 1);
        match (offset, offset.abs() / 60) {
            (0, _) => format!("{text} UTC"),
            (_, minutes) => {
                let sign = if offset < 0 { '-' } else { '+' };
                format!("{text} {sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
        }
    }

    fn say(&self, group: &str, key: &str, values: &[(&'static str, String)]) -> String {
        let mut all: Values = values.iter().cloned().collect();
        let name = self.tenant.map(|tenant| tenant.name.trim()).filter(|name| !name.is_empty());
        all.insert("tenant", name.unwrap_or(self.about.as_str()).to_owned());
        let addresses = self.tenant.map(|tenant| some(&tenant.addresses)).filter(|text| !text.is_empty());
        all.insert("addresses", addresses.unwrap_or_else(|| self.about.to_string()));
        all.insert("provider", self.policy.notices.provider.clone());
        all.insert("contact", self.policy.notices.contact.clone());
        self.texts.say(group, key, &all)
    }
}

/// What a customer refers to.
fn reference(decision: &Decision) -> String {
    decision.violation.as_ref().map_or_else(|| decision.id.to_string(), ToString::to_string)
}

/// `a, b, c (+2)`.
fn some<T: ToString>(items: &[T]) -> String {
    let named: Vec<String> = items.iter().take(EXAMPLES).map(ToString::to_string).collect();
    let more = items.len().saturating_sub(EXAMPLES);
    let more = if more > 0 { format!(" (+{more})") } else { String::new() };
    named.join(", ") + &more
}

/// A whole number with spaces between thousands, as every language reads it.
fn whole(value: f64) -> String {
    let digits = value.max(0.0).round().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && digits.len() > 4 && (digits.len() - place).is_multiple_of(3) {
            // It is not to be broken over lines.
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

/// In units of a thousand, as traffic is sold, without a point in it.
fn bytes(number: u64) -> String {
    let (mut value, mut unit) = (number as f64, "B");
    for next in ["kB", "MB", "GB", "TB", "PB"] {
        if value < 10_000.0 {
            break;
        }
        (value, unit) = (value / 1_000.0, next);
    }
    format!("{} {unit}", whole(value))
}
