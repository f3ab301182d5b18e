//! Violations: episodes in which a tenant breaks a clause.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::alert::Alert;
use crate::tenant::{Name, NodeId, TenantId};
use crate::time::Timestamp;

/// The key of a violation: unique over the fleet, sortable by time, the same when replayed.
///
/// 26 characters in Crockford's base 32 in the manner of a ULID: 48 bits of milliseconds since the epoch, then 80
/// bits of a hash over node, tenant, rule and opening time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ViolationId(Name);

impl ViolationId {
    /// The key of the episode that opened at `opened`.
    #[must_use]
    pub fn new(node: &NodeId, tenant: &TenantId, rule: &Name, opened: Timestamp) -> Self {
        const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        // FNV-1a over 128 bits (RFC 9923): not a secret, only a spread that is the same everywhere.
        let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        let stamp = opened.as_nanos().to_be_bytes();
        for part in [node.as_str().as_bytes(), tenant.as_str().as_bytes(), rule.as_str().as_bytes(), &stamp] {
            for &byte in part.iter().chain(&[0_u8]) {
                hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
            }
        }
        let millis = u128::from(opened.as_nanos() / 1_000_000) & ((1 << 48) - 1);
        let value = millis << 80 | hash & ((1 << 80) - 1);
        let digit = |place: u32| char::from(DIGITS[(value >> (5 * place) & 31) as usize]);
        let text: String = (0..26).rev().map(digit).collect();
        Self(text.parse().expect("26 letters and digits are a name"))
    }

    /// The key as a name.
    #[must_use]
    pub fn as_name(&self) -> &Name {
        &self.0
    }
}

impl From<Name> for ViolationId {
    fn from(name: Name) -> Self {
        Self(name)
    }
}

impl fmt::Display for ViolationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a mail server said to the question whether it would take a stranger's mail for somebody elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckVerdict {
    /// It would: it is an open relay to whoever asked.
    Accepted,
    /// It would not.
    Refused,
    /// Not now: it asks to come again.
    Deferred,
    /// It took or turned away whoever asked before the question, or cannot be understood.
    Unclear,
    /// There was no answer.
    Unreachable,
    /// It was not asked: too many others waited.
    NotAsked,
}

impl CheckVerdict {
    /// The word in logs and for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Deferred => "deferred",
            Self::Unclear => "unclear",
            Self::Unreachable => "unreachable",
            Self::NotAsked => "not-asked",
        }
    }
}

/// Where an episode stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ViolationState {
    /// Abuse was seen within the rule's quiet time.
    Open,
    /// Nothing was seen for the rule's quiet time.
    Quiet,
    /// An operator released the tenant.
    Released,
}

impl ViolationState {
    /// The word in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Quiet => "quiet",
            Self::Released => "released",
        }
    }
}

/// An episode of one tenant under one rule. It counts as one strike, however many alerts it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// Its key.
    pub id: ViolationId,
    /// Where it was seen.
    pub node: NodeId,
    /// Who.
    pub tenant: TenantId,
    /// The rule that it breaks.
    pub rule: Name,
    /// The clause behind the rule, as `policy/clause`.
    pub clause: String,
    /// When the first alert was raised.
    pub opened: Timestamp,
    /// When the last alert was raised.
    pub last_seen: Timestamp,
    /// When it was closed.
    pub closed: Option<Timestamp>,
    /// Where it stands.
    pub state: ViolationState,
    /// Which strike it is within the rule's memory, counted from 1; 0 while it is only suspected.
    pub strike: u32,
    /// How many alerts it holds.
    pub alerts: u64,
    /// The newest alert, as evidence. What decisions rest on is kept beside it, by a [`crate::Dossier`].
    pub evidence: Alert,
}

impl Violation {
    /// Whether nothing confirms it yet: people are told, and it is no strike.
    #[must_use]
    pub const fn is_suspicion(&self) -> bool {
        self.evidence.is_suspicion
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_time_and_repeat_in_replay() {
        let (node, rule) = ("n1".parse().unwrap(), "portscan".parse().unwrap());
        let key = |tenant: &str, secs| {
            ViolationId::new(&node, &tenant.parse().unwrap(), &rule, Timestamp::from_secs(secs)).to_string()
        };
        assert_eq!(key("a", 1_700_000_000), key("a", 1_700_000_000));
        assert_ne!(key("a", 1_700_000_000), key("b", 1_700_000_000));
        assert!(key("z", 1_700_000_000) < key("a", 1_700_000_001));
        assert_eq!(key("a", 0).len(), 26);
    }
}
