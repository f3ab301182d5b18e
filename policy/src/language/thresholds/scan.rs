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
    /// Hosts that all answer make a scan from this many on, if the tenant says nothing to them, does not come back and had no business with
    /// them before; 0: never.
    pub wide_hosts: u32,
    /// The same on ports that intruders love; 0: never.
    pub wide_intruder_hosts: u32,
    /// Distinct hosts and ports together, where several hosts are tried on each port: a block.
    pub block_targets: u32,
    /// The fewest hosts for which the sequential test may decide.
    pub walk_hosts: u32,
    /// Neighbours on the tenant's link that are asked for and do not answer.
    pub link_hosts: u32,
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
            wide_intruder_hosts: 100,
            block_targets: 60,
            walk_hosts: 14,
            link_hosts: 50,
            // SSH, Telnet, Windows, databases, Docker, SIP, ADB, VNC, WinRM, Redis, TR-069, MikroTik, Elasticsearch, memcached,
            // MongoDB, and routers' weak spots.
            intruder_ports: vec![
                22, 23, 135, 139, 445, 1433, 1521, 2222, 2323, 2375, 3306, 3389, 5060, 5432, 5555, 5900,
                5985, 6379, 7547, 8291, 9200, 11211, 27017, 37215, 52869,
            ],
            intruder_hosts: 15,
            // IPFS, eDonkey, Gnutella, BitTorrent, Litecoin, Lightning, Bitcoin, Monero, Syncthing, Cosmos, Storj,
            // Ethereum, Polkadot.
            peer_ports: vec![
                4001, 4662, 4672, 6346, 6347, 6881, 6882, 6883, 6884, 6885, 6886, 6887, 6888, 6889, 6969,
                8333, 8999, 9333, 9735, 18080, 18333, 22000, 26656, 28967, 30301, 30303, 30304, 30333, 51413,
            ],
            peer_hosts: 400,
        }
    }
}

/// Numbers of `portscan.vertical`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vertical {
    /// Distinct ports on one host within `window`.
    pub ports: u32,
    /// Distinct ports below 1024 on one host, answered or not, over which nothing was said; 0: never.
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
    /// Distinct targets within an hour, on one port or on one host.
    pub targets_per_hour: u32,
    /// Distinct targets within a day.
    pub targets_per_day: u32,
    /// The share of them, 0 to 1, that must not have answered.
    pub unanswered: f64,
    /// UDP silence is weak evidence: this many times the targets.
    pub udp_factor: u32,
}

impl Default for Slow {
    fn default() -> Self {
        Self { targets_per_hour: 60, targets_per_day: 150, unanswered: 0.8, udp_factor: 2 }
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
