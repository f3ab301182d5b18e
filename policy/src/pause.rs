//! Pauses: a person has ended what the machine does by itself, until a person says otherwise.
//!
//! While a node is paused, policy takes no new measure there: what would be one is a notice that says who paused. Whoever
//! pauses the fleet, one node from the controller, or the node itself, does so apart from the others: the node is paused
//! while any of them is.
//!
//! Left out: who may pause (the controller's roles, the owner of the state folder), and how a pause is kept.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::order::OrderId;
use crate::time::Timestamp;

/// The longest reason of a person's, in bytes.
pub const MAX_REASON: usize = 1_000;
/// The longest name of a person, in bytes.
const MAX_BY: usize = 200;

/// Who ended what the machine does by itself, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The person.
    pub by: String,
    /// Why, in that person's words; perhaps empty.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

impl Pause {
    /// A pause; texts are cut to their bounds, and what would steer a terminal is replaced.
    #[must_use]
    pub fn new(by: &str, reason: &str, at: Timestamp) -> Self {
        Self { by: line(by, MAX_BY), reason: line(reason, MAX_REASON), at }
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "paused by {} since {}", self.by, self.at)?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, ": {}", self.reason) }
    }
}

/// What a controller's pause is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PauseScope {
    /// Every node, those that come later too.
    Fleet,
    /// This node.
    Node,
}

impl PauseScope {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Fleet, Self::Node];

    /// The word in logs and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::Node => "node",
        }
    }
}

/// A controller's pause as a node holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPause {
    /// The order that it came by.
    pub order: OrderId,
    /// The pause.
    pub pause: Pause,
}

/// Text on one line of at most `max` bytes, in which nothing steers a terminal.
pub(crate) fn line(text: &str, max: usize) -> String {
    let plain: String =
        text.chars().map(|c| if is_plain(c) { c } else { char::REPLACEMENT_CHARACTER }).collect();
    plain[..plain.floor_char_boundary(max)].to_owned()
}

/// Whether a character only shows: no control, and none that turns the direction of what follows (Unicode's
/// bidirectional formatting, UAX 9).
#[must_use]
pub fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_steer_nothing() {
        let pause = Pause::new("oncall\u{1b}[2J", &"ä".repeat(MAX_REASON), Timestamp::from_secs(0));
        assert_eq!((pause.by.as_str(), pause.reason.len()), ("oncall\u{fffd}[2J", MAX_REASON));
        assert!(!is_plain('\u{202e}') && !is_plain('\n') && !is_plain('\u{9b}') && is_plain('é'));
        let pause = Pause::new("oncall", "", Timestamp::from_secs(0));
        assert_eq!(pause.to_string(), "paused by oncall since 1970-01-01T00:00:00Z");
    }
}
