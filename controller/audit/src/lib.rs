//! The audit log: who did what, from where and why, as a chain in which no link can be changed, taken out or put in quietly.
//!
//! Each [`Link`] holds the hash of the one before it, and its own over that and everything it says ([`Entry::hash`]). Whoever alters
//! one must alter all that follow, and the [`Checkpoint`]s that were signed over them, of which copies are elsewhere by then. What is
//! written out ([`Line`], one JSON object a line) can be verified without the controller: [`Verify`] reads it line by line in
//! bounded memory and names the first thing that does not fit.
//!
//! What this cannot tell: whether the newest entries are missing, behind the last checkpoint that somebody else has; so checkpoints
//! are worth what is done with them. Left out: where the chain is kept, and who may read it (the controller).

use std::fmt;
use std::str::FromStr;

use reeve_policy::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

pub mod bundle;
mod sign;
mod verify;

pub use sign::{Checkpoint, KeyError, PublicKey, Signer};
pub use verify::{Broken, Verified, Verify};

/// What every hash of an entry begins with, so that it is one of nothing else.
const DOMAIN: &[u8] = b"reeve-audit-entry-v1";

/// The longest text of an entry, in bytes; longer ones are cut when they are entered.
pub const MAX_TEXT: usize = 16 << 10;

/// A SHA-256 hash (FIPS 180-4), written in hex.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What stands before the first link: nothing.
    pub const START: Self = Self([0; 32]);
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a text is no hash or key of so many bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found {found:?}; allowed: {digits} hexadecimal digits")]
pub struct HexError {
    found: String,
    digits: usize,
}

/// Reads hex of exactly `N` bytes.
pub(crate) fn unhex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let wrong = || HexError { found: text.chars().take(80).collect(), digits: 2 * N };
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
    }
    Ok(bytes)
}

impl FromStr for Hash {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        unhex(text).map(Self)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What one act was, or one look at evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The place in the chain, from 1 on, without gaps.
    pub number: u64,
    /// When it was entered.
    pub at: Timestamp,
    /// Who: an operator's or a program's name.
    pub who: String,
    /// In which role.
    pub role: String,
    /// From which address.
    pub from: String,
    /// What was done, such as `Suspend`.
    pub act: String,
    /// To whom or what, such as `tenant/t-1`; may be empty.
    pub subject: String,
    /// What was asked for, as JSON; never a secret.
    pub asked: String,
    /// Why, in the words of who did it; may be empty.
    pub reason: String,
    /// What came of it: `done`, or why not.
    pub outcome: String,
}

impl Entry {
    /// The hash of this entry behind a link with the hash `before`.
    ///
    /// SHA-256 over a word of its own, `before`, number and nanoseconds as eight bytes each (big endian), and each text behind its
    /// length in eight bytes, in the order of the fields.
    #[must_use]
    pub fn hash(&self, before: &Hash) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(DOMAIN);
        hasher.update(before.0);
        hasher.update(self.number.to_be_bytes());
        hasher.update(self.at.as_nanos().to_be_bytes());
        for text in self.texts() {
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        }
        Hash(hasher.finalize().into())
    }

    fn texts(&self) -> [&str; 8] {
        let Self { number: _, at: _, who, role, from, act, subject, asked, reason, outcome } = self;
        [who, role, from, act, subject, asked, reason, outcome]
    }

    /// Makes it the next link behind one with the hash `before`. Texts longer than [`MAX_TEXT`] are cut.
    #[must_use]
    pub fn link(mut self, before: Hash) -> Link {
        let Self { number: _, at: _, who, role, from, act, subject, asked, reason, outcome } = &mut self;
        for text in [who, role, from, act, subject, asked, reason, outcome] {
            text.truncate(text.floor_char_boundary(MAX_TEXT));
        }
        let hash = self.hash(&before);
        Link { entry: self, before, hash }
    }
}

/// An entry in its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What it says.
    #[serde(flatten)]
    pub entry: Entry,
    /// The hash of the link before it.
    pub before: Hash,
    /// Its own.
    pub hash: Hash,
}

/// A line of what is written out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A link.
    Entry(Link),
    /// A checkpoint over the links before it.
    Checkpoint(Checkpoint),
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn entry(number: u64, subject: &str) -> Entry {
        Entry {
            number,
            at: Timestamp::from_nanos(1_700_000_000_123_456_789 + number),
            who: "ann".into(),
            role: "operator".into(),
            from: "192.0.2.7".into(),
            act: "Suspend".into(),
            subject: subject.into(),
            asked: "{\"reason\":\"spam\"}".into(),
            reason: "spam".into(),
            outcome: "done".into(),
        }
    }

    /// A chain of so many.
    pub(crate) fn chain(length: u64) -> Vec<Link> {
        let mut before = Hash::START;
        (1..=length)
            .map(|number| {
                let link = entry(number, &format!("tenant/{number}")).link(before);
                before = link.hash;
                link
            })
            .collect()
    }

    #[test]
    fn a_hash_is_what_it_was() {
        // Held against `sha256sum` over the bytes that the documentation names.
        let mut bytes = Vec::from(*b"reeve-audit-entry-v1");
        bytes.extend([0; 32]);
        bytes.extend(1_u64.to_be_bytes());
        bytes.extend(1_700_000_000_123_456_790_u64.to_be_bytes());
        for text in
            ["ann", "operator", "192.0.2.7", "Suspend", "tenant/1", "{\"reason\":\"spam\"}", "spam", "done"]
        {
            bytes.extend((text.len() as u64).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        let expect = ring::digest::digest(&ring::digest::SHA256, &bytes);
        assert_eq!(chain(1)[0].hash.0, expect.as_ref());
    }

    #[test]
    fn lines_are_read_as_they_are_written() {
        for link in chain(3) {
            let text = serde_json::to_string(&Line::Entry(link.clone())).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), Line::Entry(link));
        }
        assert!("00".parse::<Hash>().is_err() && "zz".repeat(32).parse::<Hash>().is_err());
        let multibyte = "\u{e9}".repeat(32);
        assert_eq!(multibyte.len(), 64);
        assert!(multibyte.parse::<Hash>().is_err());
    }

    proptest! {
        /// What moves from one text to the next is another entry.
        #[test]
        fn no_two_entries_hash_alike(one in prop::collection::vec(".{0,5}", 8), other in prop::collection::vec(".{0,5}", 8)) {
            let entry = |texts: &[String]| Entry {
                number: 1,
                at: Timestamp::EPOCH,
                who: texts[0].clone(),
                role: texts[1].clone(),
                from: texts[2].clone(),
                act: texts[3].clone(),
                subject: texts[4].clone(),
                asked: texts[5].clone(),
                reason: texts[6].clone(),
                outcome: texts[7].clone(),
            };
            let (first, second) = (entry(&one).hash(&Hash::START), entry(&other).hash(&Hash::START));
            prop_assert_eq!(first == second, one == other);
        }
    }

    #[test]
    fn long_texts_are_cut_before_they_are_hashed() {
        let mut long = entry(1, "x");
        long.reason = "\u{e9}".repeat(MAX_TEXT);
        let link = long.link(Hash::START);
        assert!(link.entry.reason.len() <= MAX_TEXT);
        assert_eq!(link.entry.hash(&link.before), link.hash);
    }
}
