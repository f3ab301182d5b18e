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
    /// Messages of like size within an hour, to at least `alike_sites` domains (where those are sealed: servers).
    pub alike_messages: u32,
    /// See `alike_messages`.
    pub alike_sites: u32,
    /// Messages from nobody, as bounces are, within an hour, if they are at least half of all: told as a suspicion.
    pub bounces_per_hour: u32,
}

impl Default for Spam {
    fn default() -> Self {
        Self {
            messages_per_minute: 60,
            messages_per_hour: 500,
            exchangers: 30,
            rejected: 0.2,
            alike_messages: 100,
            alike_sites: 40,
            bounces_per_hour: 100,
        }
    }
}

/// Numbers of `spam.mailbomb`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mailbomb {
    /// Messages to one recipient within `window`.
    pub messages: u32,
    /// Messages to one domain within `window`, where they are for few recipients or mostly refused.
    pub site_messages: u32,
    /// The window.
    pub window: Duration,
}

impl Default for Mailbomb {
    fn default() -> Self {
        Self { messages: 100, site_messages: 500, window: Duration::from_secs(600) }
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
    /// Where either side is encrypted: messages that were followed by one of like size. A suspicion only.
    pub sealed_messages: u32,
    /// The window.
    pub window: Duration,
}

impl Default for Relay {
    fn default() -> Self {
        Self { messages: 3, domains: 3, next_hops: 3, sealed_messages: 8, window: Duration::from_secs(3_600) }
    }
}
