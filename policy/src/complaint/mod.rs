//! What was seen, in plain English sentences that can be pasted into a mail to a customer: when, who, what, how much beside what is
//! allowed, to whom, how it was seen, and what the sensor lost meanwhile.
//!
//! Only numbers that crossed their limit are told with it; what else was measured stays in the alert. [`deed`] has a sentence for each
//! class, [`numbers`] how numbers read.

mod deed;
mod numbers;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use crate::alert::{Alert, Outcome, TargetSeen};
use crate::class::Class;
use crate::net::Protocol;
use crate::time::Timestamp;
use numbers::percent;

/// Targets and sources that are named.
const EXAMPLES: usize = 3;

impl Alert {
    /// The sentences. `name` is what the customer is called; without one its key stands for it.
    #[must_use]
    pub fn complaint(&self, name: Option<&str>) -> String {
        let name = name.filter(|name| !name.is_empty()).unwrap_or(self.tenant.as_str());
        let mut text = format!("{} UTC: {}", self.span(), self.subject(name));
        // A plan of which much is used up is nothing to be suspected of.
        if self.is_suspicion && self.class != Class::Quota {
            text.push_str(" is suspected to have");
        }
        let _ = write!(text, " {}.{}", self.deed(), self.forgery());
        text.push_str(&self.examples());
        // What a month came to is no matter of single packets, and no sensor watched all of it.
        if self.class != Class::Quota {
            let _ = write!(text, " {}; {}.", self.how_seen(), self.lost());
        }
        text
    }

    /// `2026-11-21 14:03:10–14:03:58`.
    fn span(&self) -> String {
        let ((from_day, from), (to_day, to)) =
            (day_and_time(self.window.start), day_and_time(self.window.end));
        match (from_day == to_day, from == to) {
            (true, true) => format!("{from_day} {from}"),
            (true, false) => format!("{from_day} {from}–{to}"),
            (false, _) => format!("{from_day} {from} – {to_day} {to}"),
        }
    }

    /// The customer, and those of its own addresses that did it, if samples tell. What is forged is nobody's.
    fn subject(&self, name: &str) -> String {
        let own = self.sources();
        if own.is_empty() {
            return format!("customer {name}");
        }
        match own.len().saturating_sub(EXAMPLES) {
            0 => format!("{} (customer {name})", list(&own)),
            more => format!("{} and {more} more (customer {name})", commas(&own[..EXAMPLES])),
        }
    }

    /// ` The source addresses were forged, for example 192.0.2.1.`: whose they are had no part in it.
    fn forgery(&self) -> String {
        let forged = self.forged_sources();
        if forged.is_empty() {
            return String::new();
        }
        let named = commas(&forged[..forged.len().min(EXAMPLES)]);
        match (self.class, self.sources().is_empty()) {
            // The sentence itself says that they are.
            (Class::SpoofSource, _) => format!(" Forged addresses were for example {named}."),
            (_, true) => format!(" The source addresses were forged, for example {named}."),
            (_, false) => format!(" Some of the source addresses were forged, for example {named}."),
        }
    }

    /// ` For example 198.51.100.7 at 14:03:12 (no answer).`, unless the sentence says it already.
    fn examples(&self) -> String {
        let targets = &self.targets;
        let all_same =
            |key: fn(&TargetSeen) -> Key| targets.windows(2).all(|two| key(&two[0]) == key(&two[1]));
        let one_address = all_same(|seen| (Some(seen.target.address), None));
        let one_port = all_same(|seen| (None, Some((seen.target.protocol, seen.target.port))));
        // A single victim stands in the sentence itself, where the class has a place for it.
        let is_said = match self.class.family() {
            "flood" | "udp_stream" | "crash" | "portscan" | "spoof" => one_address && one_port,
            _ => false,
        };
        if targets.is_empty() || is_said || self.class == Class::Quota {
            return String::new();
        }
        let mut named: Vec<(String, String)> = Vec::new();
        for seen in targets {
            let what = match (one_address, one_port) {
                (true, false) if self.has_victim() => port(seen),
                (_, true) if self.names_port() => seen.target.address.to_string(),
                _ => format!("{} {}", seen.target.address, port(seen)).trim_end().to_owned(),
            };
            if named.iter().all(|(known, _)| *known != what) {
                named.push((what, format!(" at {}{}", day_and_time(seen.last).1, self.outcome(seen))));
            }
            if named.len() == EXAMPLES {
                break;
            }
        }
        let named: Vec<String> = named.into_iter().map(|(what, rest)| what + &rest).collect();
        format!(" For example {}.", named.join(", "))
    }

    /// How an attempt ended, where that is known and matters.
    fn outcome(&self, seen: &TargetSeen) -> &'static str {
        if !matches!(self.class.family(), "portscan" | "malware") {
            return "";
        }
        match seen.outcome {
            Outcome::Silent => " (no answer)",
            Outcome::Refused => " (refused)",
            Outcome::Answered | Outcome::Productive | Outcome::Empty | Outcome::Aborted => " (answered)",
            Outcome::Unknown => "",
        }
    }

    fn how_seen(&self) -> &'static str {
        match self.class {
            Class::Spam
            | Class::SpamMailbomb
            | Class::SmtpRelay
            | Class::ApiBurst
            | Class::Crawl
            | Class::Bruteforce => "Seen in packet headers and protocol commands, no content was kept",
            _ => "Seen in packet headers only",
        }
    }

    fn lost(&self) -> String {
        match self.loss.share() {
            0.0 => "the sensor lost no packets".to_owned(),
            share => format!("the sensor lost {} of the packets in that time", percent(share)),
        }
    }
}

type Key = (Option<IpAddr>, Option<(Protocol, Option<u16>)>);

/// `TCP port 22`, `IP protocol 47`; nothing for what has no ports and is known by its class.
fn port(seen: &TargetSeen) -> String {
    match (seen.target.protocol, seen.target.port) {
        (protocol, Some(port)) => format!("{} port {port}", capital(protocol)),
        (Protocol::Other(number), None) => format!("IP protocol {number}"),
        (_, None) => String::new(),
    }
}

fn capital(protocol: Protocol) -> String {
    match protocol {
        Protocol::Other(number) => format!("IP protocol {number}"),
        Protocol::Icmpv6 => "ICMPv6".to_owned(),
        known => known.to_string().to_uppercase(),
    }
}

fn commas<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// `a`, `a and b`, `a, b and c`.
fn list<T: ToString>(items: &[T]) -> String {
    match items {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {}", commas(rest), last.to_string()),
        all => commas(all),
    }
}

/// What is different among the targets, in order.
fn distinct<T: Ord>(targets: &[TargetSeen], key: impl Fn(&TargetSeen) -> Option<T>) -> Vec<T> {
    targets.iter().filter_map(key).collect::<BTreeSet<T>>().into_iter().collect()
}

/// The day and the time of day, to the second.
fn day_and_time(at: Timestamp) -> (String, String) {
    let text = at.floor_to(Duration::from_secs(1)).to_string();
    match text.trim_end_matches('Z').split_once('T') {
        Some((day, time)) => (day.to_owned(), time.to_owned()),
        None => (text, String::new()),
    }
}
