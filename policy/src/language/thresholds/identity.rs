//! Numbers of forged sources and claims, of harmful packets and destinations, and of the month's traffic.

use serde::{Deserialize, Serialize};

/// Numbers of `crash`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crash {
    /// Packets that no honest stack sends, within a minute.
    pub packets: u32,
}

impl Default for Crash {
    fn default() -> Self {
        Self { packets: 1 }
    }
}

/// Numbers of `spoof.source`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpoofSource {
    /// Packets from addresses that are not the sender's, within a minute.
    pub packets: u32,
}

impl Default for SpoofSource {
    fn default() -> Self {
        Self { packets: 20 }
    }
}

/// Numbers of `spoof.arp` and `spoof.nd`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// Claims of another's address within a minute.
    pub claims: u32,
}

impl Default for Claims {
    fn default() -> Self {
        Self { claims: 1 }
    }
}

/// Numbers of `spoof.routing`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpoofRouting {
    /// Packets within a minute that only routers and servers of the provider may send.
    pub packets: u32,
}

impl Default for SpoofRouting {
    fn default() -> Self {
        Self { packets: 1 }
    }
}

/// Numbers of `malware`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Malware {
    /// Distinct listed destinations that answered, within an hour.
    pub answered: u32,
    /// Distinct listed destinations that did not, within an hour.
    pub silent: u32,
}

impl Default for Malware {
    fn default() -> Self {
        Self { answered: 1, silent: 5 }
    }
}

/// Numbers of `quota`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quota {
    /// Bytes in and out in a calendar month (UTC); 0 is no limit.
    pub bytes_per_month: u64,
}
