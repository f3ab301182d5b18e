//! Numbers of the mail classes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Numbers of `spam`. A message to several recipients counts once for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spam {
    /// Messages within a minute.
    pub messages_per_minute: u32,
    /// Messages within an hour.
    pub messages_per_hour: u32,
    /// Distinct mail exchangers within ten minutes.
    pub exchangers: u32,
    /// The share of recipients, 0 to 1, whose refusal halves the numbers above.
    pub rejected: f64,
    /// A tenant with the profile `mail` may do this many times as much.
    pub mail_factor: u32,
}

impl Default for Spam {
    fn default() -> Self {
        Self {
            messages_per_minute: 60,
            messages_per_hour: 500,
            exchangers: 30,
            rejected: 0.2,
            mail_factor: 10,
        }
    }
}

/// Numbers of `spam.mailbomb`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mailbomb {
    /// Messages to one recipient within `window`.
    pub messages: u32,
    /// The window.
    pub window: Duration,
}

impl Default for Mailbomb {
    fn default() -> Self {
        Self { messages: 100, window: Duration::from_secs(600) }
    }
}

/// Numbers of `smtp_relay`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relay {
    /// Messages that came in and went out again within `window`.
    pub messages: u32,
    /// Recipient domains that they were for.
    pub domains: u32,
    /// Exchangers that they went to.
    pub next_hops: u32,
    /// The window.
    pub window: Duration,
}

impl Default for Relay {
    fn default() -> Self {
        Self { messages: 3, domains: 3, next_hops: 3, window: Duration::from_secs(3_600) }
    }
}
