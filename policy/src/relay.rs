//! What came of asking a tenant's mail server whether it is an open relay.
//!
//! Left out: the question itself (`reeve-relay-check`), and when it is put (the engine).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::tenant::TenantId;
use crate::time::Timestamp;
use crate::violation::CheckVerdict;

/// A mail server's answer, as somebody got it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayAnswer {
    /// The server.
    pub server: IpAddr,
    /// What it said.
    pub verdict: CheckVerdict,
    /// Whether whoever asked is a stranger to it.
    pub is_outside: bool,
}

/// What a tenant's mail server said when it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayChecked {
    /// Whose.
    pub tenant: TenantId,
    /// What it said, and to whom.
    pub answer: RelayAnswer,
    /// The operator who asked, or had it asked; empty where the node did so by itself.
    #[serde(default)]
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl RelayAnswer {
    /// Whether it says that the server is no open relay, or not any more: a stranger was refused.
    #[must_use]
    pub fn is_mended(&self) -> bool {
        self.verdict == CheckVerdict::Refused && self.is_outside
    }

    /// Whether it says that the server is an open relay: a stranger was let in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.verdict == CheckVerdict::Accepted && self.is_outside
    }

    /// What it comes to, in a few words.
    #[must_use]
    pub const fn sentence(&self) -> &'static str {
        match (self.verdict, self.is_outside) {
            (CheckVerdict::Accepted, true) => "still an open relay",
            (CheckVerdict::Accepted, false) => {
                "takes strangers' mail for others from an address that it may trust"
            }
            (CheckVerdict::Refused, true) => "closed: refuses strangers' mail for others",
            (CheckVerdict::Refused, false) => "refuses, asked from an address that it may know",
            (CheckVerdict::Deferred, _) => "asks to come again later",
            (CheckVerdict::Unclear, _) => "did not answer the question",
            (CheckVerdict::Unreachable, _) => "did not answer",
            (CheckVerdict::NotAsked, _) => "was not asked",
        }
    }
}

impl RelayChecked {
    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let by = if self.by.is_empty() { String::new() } else { format!(" (asked by {})", self.by) };
        format!("{}: mail server {} {}{by}", self.tenant, self.answer.server, self.answer.sentence())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_strangers_answer_says_something() {
        let answer =
            |verdict, is_outside| RelayAnswer { server: [203, 0, 113, 10].into(), verdict, is_outside };
        assert!(answer(CheckVerdict::Refused, true).is_mended());
        assert!(!answer(CheckVerdict::Refused, false).is_mended());
        assert!(answer(CheckVerdict::Accepted, true).is_open());
        assert!(!answer(CheckVerdict::Accepted, false).is_open());
        for verdict in [CheckVerdict::Deferred, CheckVerdict::Unclear, CheckVerdict::Unreachable] {
            let answer = answer(verdict, true);
            assert!(!answer.is_open() && !answer.is_mended(), "{verdict:?}");
        }
        let checked = RelayChecked {
            tenant: "alice".parse().unwrap(),
            answer: answer(CheckVerdict::Accepted, true),
            by: "oncall".into(),
            at: Timestamp::from_secs(1),
        };
        assert_eq!(checked.line(), "alice: mail server 203.0.113.10 still an open relay (asked by oncall)");
    }
}
