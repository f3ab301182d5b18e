//! Writing reports of what was found.
//!
//! Each [`Class`] has a type of XARF 4 ([`xarf_type`]); docs/reports.md lists them, with those for which XARF has none and what is used
//! instead. What nobody here knows is left out rather than made up: senders and subjects of mail are never kept, so they are never told.

mod arf;
mod xarf;

use std::fmt::Write as _;
use std::net::IpAddr;

use reeve_policy::{Class, Protocol, Target, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::words;

pub use arf::arf;
pub use xarf::{XarfType, xarf, xarf_type};

/// Targets that are named in a report.
const MAX_TARGETS: usize = 32;
/// Numbers that are named in a report.
const MAX_COUNTS: usize = 64;

/// Whom a report is from, or on behalf of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// The organization.
    pub org: String,
    /// The mailbox that answers go to.
    pub email: String,
    /// Its domain.
    pub domain: String,
}

/// A target, and when it was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What was tried.
    pub target: Target,
    /// The first time.
    pub first: Timestamp,
    /// The last time.
    pub last: Timestamp,
}

/// What is known of a violation, as far as it is told to others.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The violation's key. Reports about one violation have one id.
    pub id: String,
    /// What was found.
    pub class: Class,
    /// The clause that it breaks, as `policy/clause`; empty if none is told.
    pub clause: String,
    /// Who did it. A forged source is nobody's; this is whose port it came from.
    pub source: IpAddr,
    /// Its port, where there is one: of several the first.
    pub source_port: Option<u16>,
    /// What it was done with.
    pub protocol: Protocol,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// How sure the detector is, 0 to 100.
    pub confidence_percent: u8,
    /// What was measured, by the names of the alert's numbers.
    pub counts: Vec<(String, f64)>,
    /// Targets, those that weigh most first.
    pub targets: Vec<Seen>,
    /// What happened, in words.
    pub summary: String,
    /// The envelope sender of the mail, if somebody knows it: detectors do not keep it.
    pub mail_from: Option<String>,
    /// Who sends the report.
    pub reporter: Contact,
    /// On whose behalf, if it is not for oneself.
    pub on_behalf_of: Option<Contact>,
}

impl Facts {
    fn count(&self, names: &[&str]) -> Option<f64> {
        let named = |name: &&str| self.counts.iter().find(|(own, _)| own == name).map(|(_, value)| *value);
        names.iter().find_map(named).filter(|value| value.is_finite() && *value >= 1.0)
    }

    /// The evidence in words: what happened, what was measured, what was tried.
    fn evidence(&self) -> String {
        let mut text = words::lines(&self.summary, 2_000);
        let _ = write!(text, "\n\nSource: {}", self.source);
        if let Some(port) = self.source_port {
            let _ = write!(text, " port {port}");
        }
        let _ = write!(
            text,
            "\nClass: {}\nFirst seen: {}\nLast seen: {}",
            self.class, self.first_seen, self.last_seen
        );
        if !self.clause.is_empty() {
            let _ = write!(text, "\nClause: {}", words::line(&self.clause, 200));
        }
        for (name, value) in self.counts.iter().take(MAX_COUNTS) {
            let _ = write!(text, "\n{}: {value}", words::line(name, 80));
        }
        for seen in self.targets.iter().take(MAX_TARGETS) {
            let _ = write!(text, "\nTarget: {} from {} to {}", seen.target, seen.first, seen.last);
        }
        text.push('\n');
        text
    }

    /// A UUID that is the same for the same violation and reporter, so that a report which is sent again is known as the same.
    ///
    /// XARF asks for version 4, which is made of random bits; these are of a hash instead. RFC 9562 has version 8 for that, which those
    /// who check for 4 would refuse, and nobody can tell the bits of a hash from random ones.
    fn uuid(&self) -> String {
        let mut hash = Sha256::new();
        for text in ["reeve-report-v1", &self.id, &self.reporter.domain] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = data_encoding::HEXLOWER.encode(&bytes);
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}
