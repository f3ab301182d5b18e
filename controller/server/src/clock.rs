//! The controller's clock. Only the shell has one; what reckons with time takes it as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use reeve_policy::Timestamp;

/// What time it is, by the system's clock; the epoch if that is before 1970.
#[must_use]
pub fn now() -> Timestamp {
    let span = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::EPOCH + span
}
