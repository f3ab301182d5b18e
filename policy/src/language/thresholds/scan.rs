//! Numbers of the scans.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Numbers of `portscan.horizontal`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Horizontal {
    /// Distinct hosts on one port within `window`.
    pub hosts: u32,
    /// The sliding window.
    pub window: Duration,
    /// The share of them, 0 to 1, that must not have answered.
    pub unanswered: f64,
    /// UDP silence is weak evidence: this many times the hosts.
    pub udp_factor: u32,
    /// Hosts that all answer make a scan from this many on, if the tenant says nothing to them.
    pub wide_hosts: u32,
    /// Ports that intruders love.
    pub intruder_ports: Vec<u16>,
    /// Hosts on one of those.
    pub intruder_hosts: u32,
    /// Ports that only peer-to-peer software uses.
    pub peer_ports: Vec<u16>,
    /// Hosts on one of those.
    pub peer_hosts: u32,
}

impl Default for Horizontal {
    fn default() -> Self {
        Self {
            hosts: 25,
            window: Duration::from_secs(60),
            unanswered: 0.6,
            udp_factor: 2,
            wide_hosts: 250,
            intruder_ports: vec![22, 23, 445, 1433, 2323, 3389, 5900, 6379],
            intruder_hosts: 15,
            peer_ports: vec![4001, 6881, 6882, 6883, 6884, 6885, 6886, 6887, 6888, 6889, 8333, 18080, 30303],
            peer_hosts: 400,
        }
    }
}

/// Numbers of `portscan.vertical`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vertical {
    /// Distinct ports on one host within `window`.
    pub ports: u32,
    /// Distinct ports below 1024 on one host, whatever the answer.
    pub low_ports: u32,
    /// The sliding window.
    pub window: Duration,
    /// The share of `ports`, 0 to 1, that must not have answered.
    pub unanswered: f64,
    /// UDP silence is weak evidence: this many times the ports.
    pub udp_factor: u32,
}

impl Default for Vertical {
    fn default() -> Self {
        Self { ports: 20, low_ports: 15, window: Duration::from_secs(60), unanswered: 0.6, udp_factor: 2 }
    }
}

/// Numbers of `portscan.slow`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slow {
    /// Distinct targets within an hour.
    pub targets_per_hour: u32,
    /// Distinct targets within a day.
    pub targets_per_day: u32,
    /// The share of them, 0 to 1, that must not have answered.
    pub unanswered: f64,
}

impl Default for Slow {
    fn default() -> Self {
        Self { targets_per_hour: 60, targets_per_day: 150, unanswered: 0.8 }
    }
}

/// Numbers of `portscan.stealth`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stealth {
    /// NULL, FIN, XMAS probes to distinct targets within `window`.
    pub probes: u32,
    /// ACK, Maimon and window probes.
    pub ack_probes: u32,
    /// Distinct IP protocols on one host.
    pub protocols: u32,
    /// The sliding window.
    pub window: Duration,
}

impl Default for Stealth {
    fn default() -> Self {
        Self { probes: 5, ack_probes: 20, protocols: 8, window: Duration::from_secs(60) }
    }
}
