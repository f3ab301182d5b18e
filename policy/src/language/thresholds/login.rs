//! Numbers of refused logins.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Numbers of `bruteforce`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bruteforce {
    /// Refused logins at one service within `window`.
    pub refusals: u32,
    /// Distinct hosts that refused `refusals_each` logins or more within `window`.
    pub hosts: u32,
    /// Refused logins at each of those.
    pub refusals_each: u32,
    /// The sliding window.
    pub window: Duration,
}

impl Default for Bruteforce {
    fn default() -> Self {
        Self { refusals: 30, hosts: 10, refusals_each: 3, window: Duration::from_secs(300) }
    }
}
