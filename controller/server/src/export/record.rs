//! What happened, in the terms of log servers: one flat record, whichever form it is sent in.
//!
//! Nothing private is in it beyond what notices tell: no targets, no samples, no words of operators, and of what an act asked for nothing.

use reeve_audit::Entry;
use reeve_policy::{Action, Decision, Mode, Origin, Scope, Timestamp, Violation};

use crate::auth::Failed;
use crate::events::{Event, What};

/// The longest text of a field, in letters.
const MAX_TEXT: usize = 256;

/// How bad it is, as both forms can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Informational,
    Low,
    Medium,
    High,
}

/// Of which kind it is, in the words of OCSF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// A violation, or what was decided upon one: created, updated, closed (1 to 3).
    Finding { activity: u8, uid: String },
    /// A measure: isolated or restored (1, 3), by a decision.
    Remediation { activity: u8, decision: String },
    /// Somebody logged in, or was not let in.
    SignIn { is_failed: bool },
    /// An act, or a look at what is recorded.
    Call,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// When the controller learnt of it.
    pub at: Timestamp,
    /// The same at every controller, and of nothing else.
    pub uid: String,
    /// As watchers' metrics name it, or `audit`.
    pub kind: &'static str,
    pub sort: Sort,
    /// One line.
    pub title: String,
    pub severity: Severity,
    pub tenant: String,
    pub node: String,
    pub clause: String,
    /// What was seen: a detector's class.
    pub class: String,
    pub action: String,
    pub scope: String,
    pub outcome: String,
    /// Who did it, in which role, and from where.
    pub who: String,
    pub role: String,
    pub from: String,
}

impl Record {
    fn new(at: Timestamp, kind: &'static str, uid: &str, sort: Sort) -> Self {
        Self {
            at,
            uid: format!("{kind}/{uid}"),
            kind,
            sort,
            title: String::new(),
            severity: Severity::Informational,
            tenant: String::new(),
            node: String::new(),
            clause: String::new(),
            class: String::new(),
            action: String::new(),
            scope: String::new(),
            outcome: String::new(),
            who: String::new(),
            role: String::new(),
            from: String::new(),
        }
    }

    /// Of an event; nothing of what log servers are not told.
    pub fn of_event(event: &Event) -> Option<Self> {
        let at = event.at;
        match &event.what {
            What::ViolationOpened(violation) => Some(seen(at, "violation_opened", 1, violation)),
            What::ViolationClosed(violation) => Some(seen(at, "violation_closed", 3, violation)),
            What::Decided(decision) => {
                let uid = match &decision.violation {
                    Some(violation) => violation.to_string(),
                    None => decision.id.to_string(),
                };
                let activity = if decision.violation.is_some() { 2 } else { 1 };
                let sort = Sort::Finding { activity, uid };
                let record = Self::new(at, "decided", decision.id.0.as_str(), sort);
                let title = format!("{} was decided for {}", decision.action, decision.tenant);
                let outcome = if decision.mode == Mode::Observe { "observed" } else { "" };
                Some(Self { title, outcome: outcome.to_owned(), ..record }.with(decision))
            }
            What::MeasureStands { node, measure } => {
                let decision = &measure.decision;
                let sort = Sort::Remediation { activity: 1, decision: decision.id.to_string() };
                let record = Self::new(at, "measure_stands", &format!("{node}/{}", decision.id), sort);
                let title = format!("{} of {} stands", decision.action, decision.tenant);
                Some(
                    Self { title, node: node.to_string(), outcome: "stands".into(), ..record }.with(decision),
                )
            }
            What::MeasureLifted { node, decision, tenant, reason, .. } => {
                let sort = Sort::Remediation { activity: 3, decision: decision.to_string() };
                let record = Self::new(at, "measure_lifted", &format!("{node}/{decision}"), sort);
                let title = format!("a measure against {tenant} ended");
                let outcome = (*reason).to_owned();
                Some(Self { title, node: node.to_string(), tenant: tenant.to_string(), outcome, ..record })
            }
            What::NodeUp { .. }
            | What::NodeDown { .. }
            | What::OrderAnswered { .. }
            | What::Notice { .. }
            | What::NodeEvent { .. } => None,
        }
    }

    /// Of an entry of the audit log.
    pub fn of_entry(entry: &Entry) -> Self {
        let is_sign_in = entry.act.rsplit('/').next() == Some("Login");
        let sort = if is_sign_in { Sort::SignIn { is_failed: false } } else { Sort::Call };
        let record = Self::new(entry.at, "audit", &entry.number.to_string(), sort);
        Self {
            title: if is_sign_in {
                "somebody logged in".to_owned()
            } else {
                format!("act {}", clip(&entry.act))
            },
            severity: Severity::Low,
            tenant: entry.subject.strip_prefix("tenant/").map(clip).unwrap_or_default(),
            node: entry.subject.strip_prefix("node/").map(clip).unwrap_or_default(),
            action: clip(&entry.act),
            outcome: clip(&entry.outcome),
            who: clip(&entry.who),
            role: clip(&entry.role),
            from: clip(&entry.from),
            ..record
        }
    }

    /// Of somebody who was not let in.
    pub fn of_failed(failed: &Failed) -> Self {
        let sort = Sort::SignIn { is_failed: true };
        Self {
            title: "somebody failed to log in".to_owned(),
            severity: Severity::Medium,
            outcome: if failed.is_held_off { "held-off" } else { "failed" }.to_owned(),
            action: "Login".to_owned(),
            who: failed.account.as_ref().map(ToString::to_string).unwrap_or_default(),
            from: failed.from.map(|from| from.to_string()).unwrap_or_default(),
            ..Self::new(
                failed.at,
                "login_failed",
                &format!("{}-{}", failed.at.as_nanos(), failed.number),
                sort,
            )
        }
    }

    fn with(self, decision: &Decision) -> Self {
        let severity = match decision.action {
            _ if decision.mode == Mode::Observe => Severity::Informational,
            Action::Observe | Action::Notify => Severity::Low,
            Action::Limit | Action::Block => Severity::Medium,
            Action::Suspend => Severity::High,
        };
        // Targets are third parties.
        let scope = match &decision.scope {
            scope @ (Scope::All | Scope::Port { .. }) => scope.to_string(),
            _ => "some destinations".to_owned(),
        };
        let who = match &decision.origin {
            Origin::Operator { name } => clip(name),
            Origin::Policy { .. } => String::new(),
        };
        let (tenant, clause) = (decision.tenant.to_string(), clip(&decision.clause));
        Self { severity, tenant, clause, scope, who, action: decision.action.to_string(), ..self }
    }
}

fn seen(at: Timestamp, kind: &'static str, activity: u8, violation: &Violation) -> Record {
    let uid = violation.id.to_string();
    let sort = Sort::Finding { activity, uid: uid.clone() };
    let verb = if activity == 3 { "ended" } else { "began" };
    Record {
        title: format!("{} of {} {verb}", violation.evidence.class, violation.tenant),
        severity: if activity == 3 { Severity::Informational } else { Severity::Medium },
        tenant: violation.tenant.to_string(),
        node: violation.node.to_string(),
        clause: clip(&violation.clause),
        class: violation.evidence.class.to_string(),
        ..Record::new(at, kind, &uid, sort)
    }
}

fn clip(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An entry that somebody wrote who wants to write more than that.
    pub fn hostile() -> Entry {
        let text = "x|y\\z=\"]\r\n<0>1 - - CEF:0|a|b\u{202e}\u{1b}[31m é";
        Entry {
            number: 7,
            at: Timestamp::from_nanos(1_700_000_000_123_456_789),
            who: text.into(),
            role: "operator".into(),
            from: "192.0.2.1".into(),
            act: text.into(),
            subject: format!("tenant/{text}"),
            asked: "secret".into(),
            reason: "secret".into(),
            outcome: "done".into(),
        }
    }

    #[test]
    fn what_was_asked_for_and_why_stays_here() {
        let record = Record::of_entry(&hostile());
        assert!(!format!("{record:?}").contains("secret"));
        assert_eq!((record.uid.as_str(), &record.sort), ("audit/7", &Sort::Call));
        let login = Record::of_entry(&Entry { act: "Login".into(), ..hostile() });
        assert_eq!(login.sort, Sort::SignIn { is_failed: false });
        let long = Record::of_entry(&Entry { who: "é".repeat(10_000), ..hostile() });
        assert_eq!(long.who.chars().count(), MAX_TEXT);
    }
}
