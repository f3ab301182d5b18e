//! Numbers of the floods, and of reflectors.

use serde::{Deserialize, Serialize};

/// Numbers of `flood.syn`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloodSyn {
    /// Connection requests per second to one host.
    pub packets_per_second: u64,
    /// The share, 0 to 1, of completed ones below which they are a flood.
    pub completed: f64,
}

impl Default for FloodSyn {
    fn default() -> Self {
        Self { packets_per_second: 200, completed: 0.10 }
    }
}

/// Numbers of `flood.tcp`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloodTcp {
    /// Packets per second outside any connection, to one host.
    pub packets_per_second: u64,
}

impl Default for FloodTcp {
    fn default() -> Self {
        Self { packets_per_second: 500 }
    }
}

/// Numbers of `flood.connect`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloodConnect {
    /// Completed connections per second to one service.
    pub connections_per_second: u64,
}

impl Default for FloodConnect {
    fn default() -> Self {
        Self { connections_per_second: 200 }
    }
}

/// Numbers of `flood.udp`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloodUdp {
    /// Packets per second to one host.
    pub packets_per_second: u64,
    /// Bits per second to one host.
    pub bits_per_second: u64,
    /// The share, 0 to 1, of answers to packets below which they are one-sided.
    pub answered: f64,
    /// Packets per second to all hosts together.
    pub total_packets_per_second: u64,
}

impl Default for FloodUdp {
    fn default() -> Self {
        Self {
            packets_per_second: 1_000,
            bits_per_second: 50_000_000,
            answered: 0.02,
            total_packets_per_second: 20_000,
        }
    }
}

/// Numbers of `flood.icmp`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloodIcmp {
    /// Packets per second to one destination.
    pub packets_per_second: u64,
    /// For how many seconds in a row.
    pub seconds: u32,
}

impl Default for FloodIcmp {
    fn default() -> Self {
        Self { packets_per_second: 100, seconds: 2 }
    }
}

/// Numbers of `flood.frag`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloodFrag {
    /// Fragments per second to one host.
    pub packets_per_second: u64,
}

impl Default for FloodFrag {
    fn default() -> Self {
        Self { packets_per_second: 1_000 }
    }
}

/// Numbers of `flood.other`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloodOther {
    /// Packets per second of other protocols, or with extension headers, to one host.
    pub packets_per_second: u64,
}

impl Default for FloodOther {
    fn default() -> Self {
        Self { packets_per_second: 1_000 }
    }
}

/// Numbers of `flood.volume`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloodVolume {
    /// Bits per second in all, one-sided.
    pub bits_per_second: u64,
    /// For how many seconds in a row.
    pub seconds: u32,
}

impl Default for FloodVolume {
    fn default() -> Self {
        Self { bits_per_second: 1_000_000_000, seconds: 10 }
    }
}

/// Numbers of `flood.amplify`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloodAmplify {
    /// Bytes out for each byte in.
    pub factor: f64,
    /// Bits per second to one target.
    pub bits_per_second: u64,
    /// Packets per second to one target.
    pub packets_per_second: u64,
    /// For how many seconds in a row.
    pub seconds: u32,
}

impl Default for FloodAmplify {
    fn default() -> Self {
        Self { factor: 5.0, bits_per_second: 500_000, packets_per_second: 200, seconds: 3 }
    }
}
