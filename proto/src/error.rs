//! What is wrong with a message.

use std::borrow::Cow;
use std::fmt;

/// A field that holds what it must not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: found {found}, allowed is {allowed}")]
pub struct WireError {
    /// The way to the field from the message's root, such as `evidence.targets[3].address`.
    pub field: String,
    /// What was found, shortened.
    pub found: String,
    /// What is allowed.
    pub allowed: Cow<'static, str>,
}

impl WireError {
    /// The most of a found text that is repeated, in characters.
    const FOUND_CHARS: usize = 80;

    /// `found` stands in `field`, where only `allowed` may.
    #[must_use]
    pub fn new(field: &str, found: impl fmt::Display, allowed: impl Into<Cow<'static, str>>) -> Self {
        let found = found.to_string();
        let mut short: String = found.chars().take(Self::FOUND_CHARS).collect();
        if short.len() < found.len() {
            short.push('…');
        }
        Self { field: field.to_owned(), found: short, allowed: allowed.into() }
    }

    /// A field that must be there is not.
    #[must_use]
    pub fn missing(field: &str) -> Self {
        Self::new(field, "nothing", "a value")
    }

    /// The same error seen from the message that holds the one at fault in `field`.
    #[must_use]
    pub fn within(mut self, field: impl fmt::Display) -> Self {
        self.field = format!("{field}.{}", self.field);
        self
    }
}
