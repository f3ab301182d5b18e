//! Numbers of refused logins.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Numbers of `bruteforce`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bruteforce {
    /// Refused logins at one service within `window`, each with other credentials than those shortly before.
    pub refusals: u32,
    /// Distinct hosts that refused `refusals_each` such logins or more within `window`.
    pub hosts: u32,
    /// Refused logins at each of those.
    pub refusals_each: u32,
    /// Refused logins at one service within `window`, whatever the credentials: a program that repeats itself.
    #[serde(default = "refusals_same")]
    pub refusals_same: u32,
    /// Short sessions in TLS of one shape at one service within `window`, which alone are only suspected.
    #[serde(default = "sessions_alike")]
    pub sessions_alike: u32,
    /// The sliding window.
    pub window: Duration,
}

fn refusals_same() -> u32 {
    Bruteforce::default().refusals_same
}

fn sessions_alike() -> u32 {
    Bruteforce::default().sessions_alike
}

impl Default for Bruteforce {
    fn default() -> Self {
        Self {
            refusals: 30,
            hosts: 10,
            refusals_each: 3,
            refusals_same: 300,
            sessions_alike: 100,
            window: Duration::from_secs(300),
        }
    }
}
