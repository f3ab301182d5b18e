//! Node events: what operators must hear of a node that is about no tenant's violation.
//!
//! An event is what happened at a time, of a kind, with one line for people. Left out: how often one of a kind is told (the
//! agent's), and what stands at the moment, which the health sample says.

use serde::{Deserialize, Serialize};

use crate::pause::line;
use crate::time::Timestamp;

/// Something that operators must hear of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEvent {
    /// When.
    pub at: Timestamp,
    /// What.
    // A report that holds an event is told apart by `kind`.
    #[serde(rename = "event")]
    pub kind: NodeEventKind,
    /// One line for people; perhaps empty.
    pub detail: String,
}

impl NodeEvent {
    /// The longest line, in bytes.
    pub const MAX_DETAIL: usize = 500;

    /// An event; its line is cut to its bound, and what would steer a terminal is replaced.
    #[must_use]
    pub fn new(at: Timestamp, kind: NodeEventKind, detail: &str) -> Self {
        Self { at, kind, detail: line(detail, Self::MAX_DETAIL) }
    }

    /// Whether it tells what somebody did, or would have had done to them, who is among these tenants.
    pub fn names(&self, is_meant: impl Fn(&str) -> bool) -> bool {
        let is_about_tenants = matches!(self.kind, NodeEventKind::Braked | NodeEventKind::Excused);
        let is_apart = |letter: char| !letter.is_ascii_alphanumeric() && !"._-".contains(letter);
        is_about_tenants && self.detail.split(is_apart).any(is_meant)
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident = $name:literal,)*) => {
        /// What can happen on a node.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum NodeEventKind {
            $($(#[doc = $doc])* $kind,)*
        }

        impl NodeEventKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The word in tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}

kinds! {
    /// Somebody else changed our tables, and it was mended.
    RulesetChanged = "ruleset-changed",
    /// Answers to several tenants collapsed: silence is no evidence.
    Degraded = "degraded",
    /// Answers are back: silence is evidence again.
    DegradedOver = "degraded-over",
    /// The disk does not take the journal.
    JournalBehind = "journal-behind",
    /// The disk takes it again.
    JournalBack = "journal-back",
    /// No interface is watched.
    CaptureBlind = "capture-blind",
    /// An interface is watched again.
    CaptureBack = "capture-back",
    /// The capture loses more than may be counted by.
    CaptureLoss = "capture-loss",
    /// A brake held a measure back.
    Braked = "braked",
    /// A person ended what policy does by itself.
    Paused = "paused",
    /// Policy acts by itself again.
    Resumed = "resumed",
    /// A person undid what policy did.
    Lifted = "lifted",
    /// What would break a rule was done by a written permission.
    Excused = "excused",
    /// A written permission ends soon, or has ended.
    ExemptionEnds = "exemption-ends",
    /// The brakes hold new measures back until a person releases them.
    BrakesSet = "brakes-set",
    /// A person released the brakes.
    BrakesReleased = "brakes-released",
    /// A tenant's mail server was asked whether it is an open relay.
    RelayChecked = "relay-checked",
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    #[test]
    fn the_words_are_those_in_json_and_a_report_of_one_is_read_back() {
        for kind in NodeEventKind::ALL {
            assert_eq!(serde_json::to_string(kind).unwrap(), format!("\"{}\"", kind.name()));
        }
        let event =
            NodeEvent::new(Timestamp::from_secs(1), NodeEventKind::Braked, &"\u{1b}[31mx".repeat(200));
        assert!(event.detail.len() <= NodeEvent::MAX_DETAIL && !event.detail.contains('\u{1b}'));
        let report = Report::Event(event);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
