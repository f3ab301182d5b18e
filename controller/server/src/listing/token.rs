//! Tokens of pages: where a page ended, sealed, so that a token that nobody gave is told from one that was.
//!
//! The key is the database's: every controller on it takes the others' tokens, and its own after a restart.

use data_encoding::BASE64URL_NOPAD;
use prost::Message;
use ring::hmac;
use sha2::{Digest as _, Sha256};

use super::Value;

/// The longest token that is looked at.
const MAX: usize = 2_000;
/// So many bytes of the seal are kept.
const SEAL: usize = 16;

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// What the list is ordered by, if that is not its key.
    pub order: Option<Value>,
    /// The key.
    pub key: Value,
}

/// A cursor as it lies in a token.
#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(bytes = "vec", tag = "1")]
    question: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    order: Option<WireValue>,
    #[prost(message, optional, tag = "3")]
    key: Option<WireValue>,
}

#[derive(Clone, PartialEq, Message)]
struct WireValue {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(sint64, tag = "2")]
    number: i64,
}

impl From<&Value> for WireValue {
    fn from(value: &Value) -> Self {
        match value {
            Value::Text(text) => Self { text: Some(text.clone()), number: 0 },
            Value::Number(number) => Self { text: None, number: *number },
        }
    }
}

impl From<WireValue> for Value {
    fn from(wire: WireValue) -> Self {
        wire.text.map_or(Self::Number(wire.number), Self::Text)
    }
}

/// What a question is known by: tokens hold for the same one alone.
pub(super) fn question(parts: &[&str]) -> [u8; 8] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut short = [0; 8];
    short.copy_from_slice(&digest[..8]);
    short
}

/// Seals tokens and opens them. Clones are the same.
#[derive(Clone, Debug)]
pub struct Pages(hmac::Key);

impl Pages {
    /// With this key.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    pub(super) fn seal(&self, cursor: &Cursor, question: [u8; 8]) -> String {
        let wire = Wire {
            question: question.to_vec(),
            order: cursor.order.as_ref().map(Into::into),
            key: Some((&cursor.key).into()),
        };
        let mut bytes = wire.encode_to_vec();
        let seal = hmac::sign(&self.0, &bytes);
        bytes.extend_from_slice(&seal.as_ref()[..SEAL]);
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// The cursor of a token that was given for this question.
    pub(super) fn open(&self, token: &str, question: [u8; 8]) -> Option<Cursor> {
        if token.len() > MAX {
            return None;
        }
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
        let (body, seal) = bytes.split_at_checked(bytes.len().checked_sub(SEAL)?)?;
        // How long this takes tells nothing that helps: whoever forges one reads no more than they may anyway.
        if hmac::sign(&self.0, body).as_ref().get(..SEAL)? != seal {
            return None;
        }
        let wire = Wire::decode(body).ok()?;
        if wire.question != question {
            return None;
        }
        Some(Cursor { order: wire.order.map(Into::into), key: wire.key?.into() })
    }
}
