//! Alerts: what a detector saw, with evidence fit to be shown.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::class::Class;
use crate::net::Target;
use crate::tenant::TenantId;
use crate::time::Timestamp;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Answered, and not yet over or nothing further known.
    Answered,
    /// Answered, and the originator said something.
    Productive,
    /// Answered, but the originator said nothing before the close.
    Empty,
    /// A TCP SYN-ACK met with a RST.
    Aborted,
    /// A RST, or an ICMP "unreachable" or "prohibited".
    Refused,
    /// No answer within 3 s.
    Silent,
    /// Lost sight of: an evicted flow, lost frames, a start in the middle.
    Unknown,
}

impl Outcome {
    /// Whether this counts as "not answered": refused or silent. Aborted and empty are only weak evidence of it.
    #[must_use]
    pub const fn is_unanswered(self) -> bool {
        matches!(self, Self::Refused | Self::Silent)
    }

    /// The word used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Productive => "productive",
            Self::Empty => "empty",
            Self::Aborted => "aborted",
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The stretch of time that an alert speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The first observation in it.
    pub start: Timestamp,
    /// The observation or deadline that raised the alert.
    pub end: Timestamp,
}

/// One measured number beside the number that it crossed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// What was measured, in the words of the policy key: `hosts`, `unanswered`, `packets_per_second`.
    pub name: Cow<'static, str>,
    /// What was seen.
    pub value: f64,
    /// What the policy allows; `None` where the number only informs.
    pub threshold: Option<f64>,
}

/// One of the targets behind an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetSeen {
    /// The target.
    pub target: Target,
    /// When the tenant first tried it in the window.
    pub first: Timestamp,
    /// When the tenant last tried it in the window.
    pub last: Timestamp,
    /// How the attempt ended, as far as known then.
    pub outcome: Outcome,
}

/// The headers of one packet, kept as evidence. Payload is never in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderSample {
    /// When it was seen.
    pub at: Timestamp,
    /// Its length on the wire in bytes, from the network header on; that of a bundle where the sensor saw one.
    pub wire_len: u32,
    /// From the network header to the end of the transport header.
    pub headers: Vec<u8>,
    /// Whether its source address was none of the tenant's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_forged: bool,
}

/// How much of what the kernel saw reached the detectors, in an alert's window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Frames that reached the detectors.
    pub received: u64,
    /// Frames that the ring had no room for.
    pub dropped: u64,
}

impl Loss {
    /// Above this share of lost frames nothing harsher than a rate limit is decided on distinct-count evidence.
    pub const HONEST_SHARE: f64 = 0.05;

    /// The share that was lost, 0 to 1; 0 where nothing was seen.
    #[must_use]
    pub fn share(self) -> f64 {
        match self.received.saturating_add(self.dropped) {
            0 => 0.0,
            all => self.dropped as f64 / all as f64,
        }
    }
}

/// What a detector saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The class of abuse.
    pub class: Class,
    /// Who did it.
    pub tenant: TenantId,
    /// The observation or deadline that raised it.
    pub at: Timestamp,
    /// The time it speaks of.
    pub window: Window,
    /// The numbers, with their thresholds. The first is the one that the class is named for.
    pub metrics: Vec<Metric>,
    /// How sure the detector is, in percent.
    pub confidence_percent: u8,
    /// The targets, at most [`Alert::MAX_TARGETS`], those that weigh most first.
    pub targets: Vec<TargetSeen>,
    /// The last packet headers of what it is about, at most [`Alert::MAX_SAMPLES`], oldest first.
    pub samples: Vec<HeaderSample>,
    /// Capture loss in the window.
    pub loss: Loss,
    /// Whether it is a suspicion only: told to people, no strike, and never a reason for a measure until an alert of the
    /// same rule confirms it.
    #[serde(default)]
    pub is_suspicion: bool,
}

impl Alert {
    /// How the name of the number begins that says which endpoint was called.
    pub const CALLS_AT: &str = "calls_at_";

    /// The most targets that an alert carries.
    pub const MAX_TARGETS: usize = 32;
    /// The most packet headers that an alert carries.
    pub const MAX_SAMPLES: usize = 64;

    /// How many times the number by which it was found what was seen is; 0 where it was not found by a number.
    #[must_use]
    pub fn times(&self) -> f64 {
        let found_by = self.metrics.first().and_then(|metric| Some((metric.value, metric.threshold?)));
        found_by.filter(|(_, threshold)| *threshold > 0.0).map_or(0.0, |(value, threshold)| value / threshold)
    }

    /// What the policy calls the endpoint that was called, where the alert is about calls.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.metrics.iter().find_map(|metric| metric.name.strip_prefix(Self::CALLS_AT))
    }

    /// One line for people: the numbers, over which time, at what.
    #[must_use]
    pub fn summary(&self) -> String {
        use fmt::Write as _;
        let mut text = format!("{}{}:", if self.is_suspicion { "suspected " } else { "" }, self.class);
        for (number, metric) in self.metrics.iter().enumerate() {
            let separator = if number == 0 { "" } else { "," };
            // Writing to a String cannot fail.
            let _ = write!(text, "{separator} {} {}", metric.name.replace('_', " "), round(metric.value));
            if let Some(threshold) = metric.threshold {
                let _ = write!(text, " (limit {})", round(threshold));
            }
        }
        // A rate has its time in it.
        if self.class.counts_over_window() {
            let seconds = self.window.end.since(self.window.start).as_secs_f64();
            let _ = write!(text, " in {} s", round(seconds));
        }
        match self.targets.as_slice() {
            [] => {}
            [only] => {
                let _ = write!(text, ", to {}", only.target);
            }
            [first, rest @ ..] => {
                let _ = write!(text, ", to {} and {} more", first.target, rest.len());
            }
        }
        text
    }
}

/// To two digits behind the point.
fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
