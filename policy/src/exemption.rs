//! Exemptions: what a tenant may do though a clause forbids it, because somebody gave it in writing.
//!
//! An exemption names the clause, the written permission, for which targets it is, and how long. It stands in the tenant's entry, or was granted
//! by an operator through the controller, which then says so ([`Exemption::id`]).
//!
//! **Where it holds.** What a tenant does to listed targets is excused *where it is counted*: it goes to detectors of its own, so that
//! it raises no alert, and what is done to others is counted as if nothing else had happened. An alert says only its top targets, so the policy
//! alone could not tell a scan of a thousand permitted hosts and twenty others from one of permitted hosts. What is found among the excused
//! meets the policy as an alert of nothing but listed targets, and becomes a line on record in place of a violation
//! ([`crate::judge::Excused`]). An exemption without targets and ports excuses all that the clause's rules are on; there is nothing to count apart.
//! [`crate::language::Excuses`] is what of it counting needs to know.
//!
//! Some classes are about no target, or not about those that they name: forged sources, claims, and the month's traffic. One that is for some
//! targets excuses nothing of them.
//!
//! Left out: who may grant one (the controller's roles), and what happens to measures that stand when it begins: an operator releases.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::class::Class;
use crate::language::Rule;
use crate::net::Target;
use crate::pause::is_plain;
use crate::tenant::Name;
use crate::time::Timestamp;

/// What an exemption is from: one clause, or all of a policy's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ClausePattern {
    policy: Name,
    /// `None` for all of them.
    clause: Option<Name>,
}

impl ClausePattern {
    /// How it is written.
    pub const SYNTAX: &str = "POLICY/CLAUSE, or POLICY/* for every clause of a policy";

    /// Whether a clause, as `policy/clause`, is meant.
    #[must_use]
    pub fn matches(&self, clause: &str) -> bool {
        clause.split_once('/').is_some_and(|(policy, id)| {
            self.policy.as_str() == policy && self.clause.as_ref().is_none_or(|clause| clause.as_str() == id)
        })
    }
}

/// A text that names no clause.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no clause: write {syntax}", syntax = ClausePattern::SYNTAX)]
pub struct ParseClauseError(String);

impl FromStr for ClausePattern {
    type Err = ParseClauseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseClauseError(text.chars().take(130).collect());
        let (policy, clause) = text.split_once('/').ok_or_else(bad)?;
        let policy = policy.parse().map_err(|_| bad())?;
        let clause = if clause == "*" { None } else { Some(clause.parse().map_err(|_| bad())?) };
        Ok(Self { policy, clause })
    }
}

impl fmt::Display for ClausePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.clause {
            Some(clause) => write!(f, "{}/{clause}", self.policy),
            None => write!(f, "{}/*", self.policy),
        }
    }
}

impl From<ClausePattern> for String {
    fn from(pattern: ClausePattern) -> Self {
        pattern.to_string()
    }
}

impl TryFrom<String> for ClausePattern {
    type Error = ParseClauseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Something that a tenant may do though a clause forbids it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exemption {
    /// The controller's key, if an operator granted it; `None` for one that stands in the tenant's entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Name>,
    /// From what: rules with this clause, or which serve it as well.
    pub clause: ClausePattern,
    /// Whom it may be done to; whoever it is if there are none.
    #[serde(default)]
    pub targets: Vec<IpNet>,
    /// On which ports; on any if there are none.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// The written permission.
    pub reference: String,
    /// Since when; `None` for always.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// When it ends; `None` where it holds until it is taken back.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

impl Exemption {
    /// The most of one tenant's.
    pub const MAX: usize = 32;
    /// The most targets of one. Each packet of a tenant with an exemption asks for them.
    pub const MAX_TARGETS: usize = 256;
    /// The most ports of one.
    pub const MAX_PORTS: usize = 64;
    /// The longest reference, in bytes.
    pub const MAX_REFERENCE: usize = 200;
    /// What is said in place of an end, where it holds until it is taken back.
    pub const REVOKED: &str = "revoked";
    /// So long before its end it is warned of.
    pub const WARNING: Duration = Duration::from_secs(7 * 86_400);

    /// Whether it holds at `at`.
    #[must_use]
    pub fn is_in_force(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && !self.is_over(at)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self, at: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= at)
    }

    /// Whether it holds and will end within [`Exemption::WARNING`].
    #[must_use]
    pub fn ends_soon(&self, at: Timestamp) -> bool {
        self.is_in_force(at) && self.until.is_some_and(|until| until <= at + Self::WARNING)
    }

    /// Whether it is for some targets or ports only.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        !(self.targets.is_empty() && self.ports.is_empty())
    }

    /// Whether a target is one of those that it is for.
    #[must_use]
    pub fn lists(&self, target: &Target) -> bool {
        let is_host = self.targets.is_empty() || self.targets.iter().any(|net| net.contains(&target.address));
        let is_port = self.ports.is_empty() || target.port.is_some_and(|port| self.ports.contains(&port));
        is_host && is_port
    }

    /// Whether it is from what a rule forbids.
    #[must_use]
    pub fn is_from(&self, rule: &Rule) -> bool {
        self.clause.matches(&rule.clause) || rule.also.iter().any(|clause| self.clause.matches(clause))
    }

    /// Whether it can excuse something of this class: not where it is for some targets and the class is about none.
    #[must_use]
    pub fn reaches(&self, class: Class) -> bool {
        !self.is_limited() || is_about_targets(class)
    }

    /// Whether a text can be the reference of one.
    #[must_use]
    pub fn is_reference(text: &str) -> bool {
        let is_written = !text.trim().is_empty() && text.len() <= Self::MAX_REFERENCE;
        is_written && text.chars().all(is_plain)
    }

    /// A day, as `2026-12-31`, or a point in time (RFC 3339); a day is all of it, in UTC, so that what ends with a day ends at its midnight.
    #[must_use]
    pub fn parse_time(text: &str, is_end: bool) -> Option<Timestamp> {
        const DAY: Duration = Duration::from_secs(86_400);
        if text.len() != "2026-12-31".len() {
            return text.parse().ok();
        }
        let begins: Timestamp = format!("{text}T00:00:00Z").parse().ok()?;
        Some(if is_end { begins + DAY } else { begins })
    }

    /// What [`Exemption::parse_time`] reads as this time: a day where it begins or ends with one, or else the point in time.
    #[must_use]
    pub fn tell_time(time: Timestamp, is_end: bool) -> String {
        const SECOND: Duration = Duration::from_secs(1);
        let within = if is_end { time.minus(SECOND) } else { time };
        let mut text = within.to_string();
        text.truncate("2026-12-31".len());
        if Self::parse_time(&text, is_end) == Some(time) { text } else { time.to_string() }
    }
}

impl fmt::Display for Exemption {
    /// One line: from what, for whom, by what, how long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.clause)?;
        match self.targets.as_slice() {
            [] => {}
            [only] => write!(f, " to {only}")?,
            [first, rest @ ..] => write!(f, " to {first} and {} more", rest.len())?,
        }
        match self.ports.as_slice() {
            [] => {}
            [only] => write!(f, " on port {only}")?,
            ports => write!(f, " on {} ports", ports.len())?,
        }
        write!(f, ", by {}", self.reference)?;
        if let Some(from) = self.from {
            write!(f, ", from {}", Self::tell_time(from, false))?;
        }
        match self.until {
            Some(until) => write!(f, ", until {}", Self::tell_time(until, true)),
            None => f.write_str(", until it is revoked"),
        }
    }
}

/// Whether a class is about the targets that its alerts name.
const fn is_about_targets(class: Class) -> bool {
    !matches!(
        class,
        Class::SpoofSource | Class::SpoofArp | Class::SpoofNd | Class::SpoofRouting | Class::Quota
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Protocol;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn exemption(from: Option<&str>, until: Option<&str>) -> Exemption {
        let time = |text: Option<&str>, is_end| text.map(|text| Exemption::parse_time(text, is_end).unwrap());
        Exemption {
            id: None,
            clause: "x/scan".parse().unwrap(),
            targets: vec!["203.0.113.0/24".parse().unwrap()],
            ports: Vec::new(),
            reference: "ticket 4711".into(),
            from: time(from, false),
            until: time(until, true),
        }
    }

    #[test]
    fn a_clause_or_all_of_a_policys_are_meant() {
        let pattern = |text: &str| text.parse::<ClausePattern>();
        for bad in ["", "x", "x/", "/scan", "x/y/z", "*/*", "x/sc*", "x /y"] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
        let (one, all) = (pattern("x/scan").unwrap(), pattern("x/*").unwrap());
        for (clause, expect) in
            [("x/scan", (true, true)), ("x/flood", (false, true)), ("y/scan", (false, false))]
        {
            assert_eq!((one.matches(clause), all.matches(clause)), expect, "{clause}");
        }
        assert_eq!((one.to_string(), all.to_string()), ("x/scan".into(), "x/*".into()));
    }

    #[test]
    fn it_holds_from_its_beginning_up_to_its_end() {
        let days = exemption(Some("2026-11-24"), Some("2026-12-31"));
        for (time, holds, soon) in [
            ("2026-11-23T23:59:59Z", false, false),
            ("2026-11-24T00:00:00Z", true, false),
            ("2026-12-24T23:59:59Z", true, false),
            ("2026-12-25T00:00:00Z", true, true),
            ("2026-12-31T23:59:59.999999999Z", true, true),
            ("2027-01-01T00:00:00Z", false, false),
        ] {
            assert_eq!((days.is_in_force(at(time)), days.ends_soon(at(time))), (holds, soon), "{time}");
        }
        let for_ever = exemption(None, None);
        assert!(for_ever.is_in_force(Timestamp::EPOCH) && for_ever.is_in_force(at("2200-01-01T00:00:00Z")));
        assert!(!for_ever.ends_soon(at("2200-01-01T00:00:00Z")));
        let hour = exemption(None, Some("2026-12-31T12:00:00+01:00"));
        assert_eq!(hour.until, Some(at("2026-12-31T11:00:00Z")));
        for bad in ["", "2026-13-01", "tomorrow", "2026-12-31T12:00", "1969-12-31", "01-12-2026"] {
            assert_eq!(Exemption::parse_time(bad, true), None, "{bad}");
        }
    }

    #[test]
    fn only_what_is_listed_is_meant() {
        let mut one = exemption(None, None);
        let target = |host: [u8; 4], port| Target { address: host.into(), protocol: Protocol::Tcp, port };
        assert!(one.lists(&target([203, 0, 113, 9], Some(22))) && one.lists(&target([203, 0, 113, 9], None)));
        assert!(!one.lists(&target([203, 0, 114, 9], Some(22))));
        one.ports = vec![80, 443];
        assert!(one.lists(&target([203, 0, 113, 9], Some(443))));
        assert!(
            !one.lists(&target([203, 0, 113, 9], Some(22))) && !one.lists(&target([203, 0, 113, 9], None))
        );
        one.targets.clear();
        assert!(one.lists(&target([198, 51, 100, 1], Some(80))) && one.is_limited());
        assert!(one.reaches(Class::PortscanSlow) && !one.reaches(Class::SpoofArp));
        one.ports.clear();
        assert!(!one.is_limited() && one.reaches(Class::SpoofArp));
    }

    #[test]
    fn it_is_told_in_one_line() {
        assert_eq!(
            exemption(None, Some("2026-12-31")).to_string(),
            "x/scan to 203.0.113.0/24, by ticket 4711, until 2026-12-31"
        );
        assert!(!Exemption::is_reference(" ") && !Exemption::is_reference("a\u{1b}b"));
        assert!(Exemption::is_reference("letter of 3 May, J. Jansen"));
    }
}
