//! The controller's clock. Only the shell has one; what reckons with time takes it as an argument.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{SystemTime, UNIX_EPOCH};

use reeve_policy::{Name, Timestamp};

/// What time it is, by the system's clock; the epoch if that is before 1970.
#[must_use]
pub fn now() -> Timestamp {
    let span = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::EPOCH + span
}

/// A key that begins with a letter, sorts by time, and is short enough to be said.
pub(crate) fn short_key_of(letter: char, now: Timestamp) -> Name {
    let random = u64::from(std::hash::RandomState::new().build_hasher().finish() as u32);
    format!("{letter}{:011X}{random:08X}", now.as_nanos() / 1_000_000)
        .parse()
        .expect("digits and letters are a name")
}

/// A key that begins with a letter and sorts by time: milliseconds, and chance.
pub(crate) fn key_of(letter: char, now: Timestamp) -> Name {
    // A fresh hasher is keyed at random.
    let random = std::hash::RandomState::new().build_hasher().finish();
    format!("{letter}{:012X}{random:016X}", now.as_nanos() / 1_000_000)
        .parse()
        .expect("digits and letters are a name")
}
