//! How pages show what several of them have: states, scopes, decisions, amounts, and what became of an order.
//!
//! Words are keys of `words/tenants.*.toml` under `shown`, and of `words/violations.*.toml` under `class`. Technical terms (`tcp/25`, names of rules and
//! clauses) are shown as policies have them, in no language.

use std::fmt::Display;

use axum::response::Response;
use data_encoding::HEXLOWER;
use reeve_proto::operator::v1::{CaseState, ExemptionState, NodeOrder, node_order};
use reeve_proto::status::v1::State;
use reeve_proto::types::v1::{self as types, Action, NoticeKind, ViolationState, origin, until};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::error::{Error, reason};
use crate::page::{Base, Flash, address};
use crate::session::Session;

/// A word with a colour: never the colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Badge {
    /// The key of its word.
    pub key: &'static str,
    /// How grave it is, as a class of the style sheet: `good`, `note`, `warn` or `bad`.
    pub tone: &'static str,
}

const fn badge(key: &'static str, tone: &'static str) -> Badge {
    Badge { key, tone }
}

/// Where a tenant stands.
pub(crate) const fn standing(state: State) -> Badge {
    match state {
        State::Unspecified => badge("shown.unknown", "note"),
        State::Clear => badge("shown.clear", "good"),
        State::Warned => badge("shown.warned", "warn"),
        State::Limited => badge("shown.limited", "warn"),
        State::Blocked => badge("shown.blocked", "bad"),
        State::Suspended => badge("shown.suspended", "bad"),
    }
}

/// Where a violation stands.
pub(crate) const fn violation(state: ViolationState) -> Badge {
    match state {
        ViolationState::Unspecified => badge("shown.unknown", "note"),
        ViolationState::Open => badge("shown.open", "bad"),
        ViolationState::Quiet => badge("shown.quiet", "note"),
        ViolationState::Released => badge("shown.released", "good"),
    }
}

/// Whose turn it is in a case.
pub(crate) const fn case(state: CaseState) -> Badge {
    match state {
        CaseState::Unspecified => badge("shown.unknown", "note"),
        CaseState::Open => badge("shown.case_open", "bad"),
        CaseState::Waiting => badge("shown.case_waiting", "warn"),
        CaseState::Closed => badge("shown.case_closed", "good"),
    }
}

/// Whether an exemption holds.
pub(crate) const fn exemption(state: ExemptionState) -> Badge {
    match state {
        ExemptionState::Unspecified => badge("shown.unknown", "note"),
        ExemptionState::Pending => badge("shown.exempt_pending", "note"),
        ExemptionState::InForce => badge("shown.exempt_in_force", "good"),
        ExemptionState::Over => badge("shown.exempt_over", "note"),
        ExemptionState::Revoked => badge("shown.exempt_revoked", "note"),
    }
}

/// What is done: the key of its word.
pub(crate) const fn action(action: Action) -> &'static str {
    match action {
        Action::Unspecified => "shown.unknown",
        Action::Observe => "shown.observe",
        Action::Notify => "shown.notify",
        Action::Block => "shown.block",
        Action::Suspend => "shown.suspend",
        Action::Limit => "shown.limit",
    }
}

/// What kind of notice it is: the key of its word.
pub(crate) const fn notice(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Unspecified => "shown.unknown",
        NoticeKind::Information => "shown.notice_information",
        NoticeKind::Warning => "shown.notice_warning",
        NoticeKind::Immediate => "shown.notice_immediate",
        NoticeKind::Final => "shown.notice_final",
        NoticeKind::Lifted => "shown.notice_lifted",
    }
}

/// Of which traffic, as policies write it; empty for none.
pub(crate) fn scope(scope: Option<&types::Scope>) -> String {
    let known = scope.cloned().and_then(|scope| reeve_policy::Scope::try_from(scope).ok());
    known.map(|scope| scope.to_string()).unwrap_or_default()
}

/// A class in words, with its name where nobody has words for it.
pub(crate) fn class(base: &Base, name: &str) -> String {
    if name.is_empty() {
        return base.t("shown.unknown").to_owned();
    }
    let key = CLASSES.iter().find(|key| key.strip_prefix("class.") == Some(name));
    key.map_or_else(|| name.to_owned(), |key| base.t(key).to_owned())
}

/// The classes that there are words for.
pub(crate) const CLASSES: [&str; 27] = [
    "class.portscan.horizontal",
    "class.portscan.vertical",
    "class.portscan.slow",
    "class.portscan.stealth",
    "class.flood.syn",
    "class.flood.tcp",
    "class.flood.connect",
    "class.flood.udp",
    "class.flood.icmp",
    "class.flood.frag",
    "class.flood.other",
    "class.flood.volume",
    "class.flood.amplify",
    "class.udp_stream",
    "class.crash",
    "class.spam",
    "class.spam.mailbomb",
    "class.smtp_relay",
    "class.api_burst",
    "class.crawl",
    "class.bruteforce",
    "class.spoof.source",
    "class.spoof.arp",
    "class.spoof.nd",
    "class.spoof.routing",
    "class.malware",
    "class.quota",
];

/// A decision as a row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decided {
    /// Its key.
    pub id: String,
    /// What is done and to which traffic, in words.
    pub what: String,
    /// Until when, in words.
    pub until: String,
    /// Whether it is only told.
    pub is_observed: bool,
    /// Why it is milder than the ladder says; empty if it is not.
    pub softened: String,
    /// Why.
    pub reason: String,
    /// Who ordered it.
    pub by: String,
    /// Where that stands: the policy's page; empty for a person.
    pub by_href: String,
    /// The violation that it answers; empty for none.
    pub violation: String,
    /// The clause; may be empty.
    pub clause: String,
    /// When it was made.
    pub time: Option<prost_types::Timestamp>,
}

/// A decision in words.
pub(crate) fn decided(base: &Base, decision: &types::Decision) -> Decided {
    let (by, by_href) = origin(base, decision);
    Decided {
        id: decision.id.clone(),
        what: what(base, decision.action(), decision.scope.as_ref(), &decision.rate),
        until: until(base, decision),
        is_observed: decision.mode() == types::Mode::Observe,
        softened: decision.softened.clone().unwrap_or_default(),
        reason: decision.reason.clone(),
        by,
        by_href,
        violation: decision.violation.clone(),
        clause: decision.clause.clone(),
        time: decision.time,
    }
}

/// What is done to which traffic, such as `limited to 10/minute: tcp/25`.
pub(crate) fn what(base: &Base, does: Action, of: Option<&types::Scope>, rate: &str) -> String {
    let (word, of) = (base.t(action(does)), scope(of));
    let rate = if rate.is_empty() { String::new() } else { format!(" {rate}") };
    // Of all traffic nothing more is to be said.
    if of.is_empty() || (of == "all" && does == Action::Suspend) {
        return format!("{word}{rate}");
    }
    format!("{word}{rate}: {of}")
}

/// Who ordered a decision, and where the policy that did is shown.
fn origin(base: &Base, decision: &types::Decision) -> (String, String) {
    match decision.origin.as_ref().and_then(|origin| origin.origin.as_ref()) {
        None => (base.t("shown.unknown").to_owned(), String::new()),
        Some(origin::Origin::Operator(person)) => (person.name.clone(), String::new()),
        Some(origin::Origin::Policy(policy)) => {
            let version = policy.version.to_string();
            let told =
                base.fill("shown.by_policy", &[&policy.policy, &policy.version, &policy.rule, &policy.step]);
            let query = [("rule", policy.rule.as_str())];
            (told, address("/policies", &[&policy.policy, &version], &query))
        }
    }
}

/// What ends a decision.
fn until(base: &Base, decision: &types::Decision) -> String {
    let is_measure = matches!(decision.action(), Action::Block | Action::Suspend | Action::Limit);
    if !is_measure {
        return String::new();
    }
    match decision.until.as_ref().and_then(|until| until.until.as_ref()) {
        None => String::new(),
        Some(until::Until::Released(_)) => base.t("shown.until_released").to_owned(),
        Some(until::Until::Verified(_)) => base.t("shown.until_verified").to_owned(),
        Some(until::Until::Paid(_)) => base.t("shown.until_paid").to_owned(),
        Some(until::Until::After(span)) => base.fill("shown.until_after", &[&span_of(span.seconds)]),
    }
}

/// A span in the largest units that say it, such as `2 d 3 h`; letters that all our languages read.
pub(crate) fn span_of(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let pair = |many: i64, unit: &str, fewer: i64, lesser: &str| match fewer {
        0 => format!("{many} {unit}"),
        fewer => format!("{many} {unit} {fewer} {lesser}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => pair(minutes, "min", seconds % 60, "s"),
        (0, hours, minutes) => pair(hours, "h", minutes, "min"),
        (days, hours, _) => pair(days, "d", hours, "h"),
    }
}

/// An amount of bytes in decimal units, as plans are sold.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let mut amount = count as f64;
    let mut unit = "B";
    for larger in UNITS {
        if amount < 1_000.0 {
            break;
        }
        amount /= 1_000.0;
        unit = larger;
    }
    if unit == "B" { format!("{count} B") } else { format!("{amount:.1} {unit}") }
}

/// A measured number: whole where it is whole, else with two digits.
pub(crate) fn number(value: f64) -> String {
    ((value * 100.0).round() / 100.0).to_string()
}

/// Where a clause leads: to the policy that has it.
pub(crate) fn clause_href(clause: &str) -> String {
    if clause.is_empty() { String::new() } else { address("/clauses", &[], &[("of", clause)]) }
}

/// [`Base::fill`] with one value, for templates.
pub(crate) fn fill1(base: &Base, key: &str, one: impl Display) -> String {
    base.fill(key, &[&one])
}

/// [`Base::fill`] with two values, for templates.
pub(crate) fn fill2(base: &Base, key: &str, one: impl Display, two: impl Display) -> String {
    base.fill(key, &[&one, &two])
}

/// [`Base::fill`] with three values, for templates.
pub(crate) fn fill3(
    base: &Base,
    key: &str,
    one: impl Display,
    two: impl Display,
    three: impl Display,
) -> String {
    base.fill(key, &[&one, &two, &three])
}

/// A key for one act, so that what is sent twice is done once.
pub(crate) fn fresh_key() -> String {
    let mut bytes = [0_u8; 16];
    // Without randomness there is no key, and what is sent twice is done twice.
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => format!("console-{}", HEXLOWER.encode(&bytes)),
        Err(_) => String::new(),
    }
}

/// What became of an order on the nodes: how many did it, how many get it later, and whose answer was no.
pub(crate) fn ordered(base: &Base, nodes: &[NodeOrder]) -> String {
    if nodes.is_empty() {
        return base.t("shown.order_nowhere").to_owned();
    }
    let count = |state| nodes.iter().filter(|node| node.state() == state).count();
    let mut parts = Vec::new();
    let mut tell = |key: &'static str, many: usize| {
        if many > 0 {
            parts.push(base.fill(key, &[&many]));
        }
    };
    tell("shown.order_done", count(node_order::State::Done));
    tell("shown.order_sent", count(node_order::State::Sent));
    tell("shown.order_stored", count(node_order::State::Stored));
    tell("shown.order_superseded", count(node_order::State::Superseded));
    let failed: Vec<String> = nodes
        .iter()
        .filter(|node| node.state() == node_order::State::Failed)
        .take(3)
        .map(|node| format!("{}: {}", node.node, node.detail))
        .collect();
    if !failed.is_empty() {
        let many = count(node_order::State::Failed);
        parts.push(base.fill("shown.order_failed", &[&many, &failed.join("; ")]));
    }
    parts.join(" ")
}

/// Leads back after an act upon nodes: what came of it there, in words.
pub(crate) fn told<T>(
    session: &Session,
    came: Result<tonic::Response<T>, tonic::Status>,
    back: &str,
    told: impl FnOnce(&Base, &T) -> String,
) -> Result<Response, Error> {
    match came {
        Ok(answer) => {
            let base = session.base("");
            Ok(session.back(back, &Flash { is_wrong: false, text: told(&base, answer.get_ref()) }))
        }
        // The words of a refusal are the same for all acts.
        Err(status) => session.done(Err::<(), _>(status), back, "shown.done"),
    }
}

/// Whether a call was refused because there is no such thing.
pub(crate) fn is_missing(status: &tonic::Status) -> bool {
    status.code() == tonic::Code::NotFound && !reason(status).is_empty()
}

/// A text of a filter as docs/lists.md has it: in quotes, with what would end it escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

/// Comparisons that all hold.
#[derive(Debug, Default)]
pub(crate) struct Filter(Vec<String>);

impl Filter {
    /// One more, where its value is not empty.
    pub fn text(&mut self, field: &str, value: &str) {
        if !value.is_empty() {
            self.0.push(format!("{field} = {}", quoted(value)));
        }
    }

    /// One more, as it is.
    pub fn also(&mut self, comparison: impl Display) {
        self.0.push(comparison.to_string());
    }

    /// In the grammar of docs/lists.md.
    pub fn written(&self) -> String {
        self.0.join(" AND ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_amounts_read_at_a_glance() {
        let spans =
            [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3_600, "1 h"), (90_061, "1 d 1 h"), (-5, "0 s")];
        for (seconds, expect) in spans {
            assert_eq!(span_of(seconds), expect);
        }
        for (count, expect) in [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (u64::MAX, "18.4 EB")] {
            assert_eq!(bytes(count), expect);
        }
        assert_eq!(number(20.0), "20");
        assert_eq!(number(1.239), "1.24");
    }

    #[test]
    fn a_text_in_a_filter_ends_where_it_ends() {
        let mut filter = Filter::default();
        filter.text("tenant", "a\" OR id != \"\\");
        filter.text("node", "");
        filter.also("state = open");
        assert_eq!(filter.written(), "tenant = \"a\\\" OR id != \\\"\\\\\" AND state = open");
    }

    #[test]
    fn every_class_has_words() {
        use std::collections::BTreeSet;
        let classes: BTreeSet<&str> = CLASSES.iter().filter_map(|key| key.strip_prefix("class.")).collect();
        assert_eq!(classes.len(), CLASSES.len());
        for class in &classes {
            assert!(class.parse::<reeve_policy::Class>().is_ok(), "{class}");
        }
    }

    #[test]
    fn words_that_are_filled_in_templates_are_there() {
        let words = crate::words::Words::of(None, None);
        let templates = [
            include_str!("../templates/tenants.html"),
            include_str!("../templates/tenants_bulk.html"),
            include_str!("../templates/tenants_done.html"),
            include_str!("../templates/tenant.html"),
            include_str!("../templates/tenant_act.html"),
            include_str!("../templates/violations.html"),
            include_str!("../templates/violation.html"),
        ];
        for (places, call) in [(1, "fill1(base, \""), (2, "fill2(base, \""), (3, "fill3(base, \"")] {
            for key in templates.iter().flat_map(|text| text.split(call).skip(1)) {
                let key = key.split('"').next().unwrap();
                assert_eq!(words.t(key).matches("{}").count(), places, "{key}");
            }
        }
        for key in CLASSES {
            assert_ne!(words.t(key), key, "{key} has no words");
        }
    }

    #[test]
    fn keys_of_acts_differ() {
        assert_ne!(fresh_key(), fresh_key());
        assert!(fresh_key().len() < 200);
    }
}
