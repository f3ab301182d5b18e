//! Why something could not be read, in words that whoever sent it understands.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest detail, in characters.
const MAX_DETAIL: usize = 200;

macro_rules! reasons {
    ($($variant:ident, $name:literal, $meaning:literal;)*) => {
        /// Why a report is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As it is stored and counted.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it says.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

// docs/reports.md has the same list; a test compares.
reasons! {
    Empty, "EMPTY", "there is nothing in it";
    TooLarge, "TOO_LARGE", "it is larger than what is read";
    TooMany, "TOO_MANY", "it holds more reports than are taken at once";
    NotMail, "NOT_MAIL", "it has no header of a mail";
    Encrypted, "ENCRYPTED", "it is encrypted or sealed, and nobody here can open it";
    NotOpened, "NOT_OPENED", "it is encrypted, and our key does not open it";
    NotJson, "NOT_JSON", "it is not JSON";
    NotXarf, "NOT_XARF", "it is JSON, but no report of XARF 3 or 4";
    FieldMissing, "FIELD_MISSING", "a field is missing without which it says nothing";
    NoSource, "NO_SOURCE", "it names no source address, host or URL";
    BadSource, "BAD_SOURCE", "the source is no address, host or URL";
    AbsurdSource, "ABSURD_SOURCE", "the source is an address that nothing can come from";
    SourceTooWide, "SOURCE_TOO_WIDE", "the source is a network so wide that it says nothing";
    BadTime, "BAD_TIME", "its time cannot be read";
    Future, "FUTURE", "its time is in the future";
}

impl Reason {
    /// A refusal for this reason, with what was found or where.
    #[must_use]
    pub fn with(self, detail: impl AsRef<str>) -> Refused {
        Refused { reason: self, detail: crate::words::line(detail.as_ref(), MAX_DETAIL) }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}{}{detail}", reason.meaning(), if detail.is_empty() { "" } else { ": " })]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// What was found, or where: one line of at most 200 characters without control characters; empty if the reason says it all.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_why_and_what_in_one_line() {
        let refused = Reason::NotJson.with("line 3 column 5\r\n\u{7}x");
        assert_eq!(refused.to_string(), "it is not JSON: line 3 column 5 x");
        assert_eq!(Reason::NoSource.with("").to_string(), "it names no source address, host or URL");
        assert_eq!(Reason::BadSource.with("x".repeat(5_000)).detail.chars().count(), MAX_DETAIL);
    }
}
