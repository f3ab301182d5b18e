//! The numbers that detectors compare against, with the defaults of the `baseline` preset.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::tenant::Name;

/// All numbers, by class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// `portscan.horizontal`.
    pub horizontal: Horizontal,
    /// `portscan.vertical`.
    pub vertical: Vertical,
    /// `portscan.stealth`.
    pub stealth: Stealth,
    /// `flood.syn`.
    pub flood_syn: FloodSyn,
    /// `flood.udp`.
    pub flood_udp: FloodUdp,
    /// `flood.icmp`.
    pub flood_icmp: FloodIcmp,
    /// `spam`.
    #[serde(default)]
    pub spam: Spam,
    /// `spam.mailbomb`.
    #[serde(default)]
    pub mailbomb: Mailbomb,
    /// `smtp_relay`.
    #[serde(default)]
    pub relay: Relay,
    /// `api_burst`, where an endpoint has no numbers of its own.
    #[serde(default)]
    pub api: ApiBurst,
    /// The endpoints that `api_burst` is about.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
}

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

/// Numbers of `flood.syn`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloodSyn {
    /// Connection requests per second to one host.
    pub packets_per_second: u64,
    /// The share, 0 to 1, of completed ones below which they are a flood.
    pub completed: f64,
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

/// Numbers of `flood.icmp`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloodIcmp {
    /// Packets per second to one destination.
    pub packets_per_second: u64,
    /// For how many seconds in a row.
    pub seconds: u32,
}

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

/// Numbers of `spam.mailbomb`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mailbomb {
    /// Messages to one recipient within `window`.
    pub messages: u32,
    /// The window.
    pub window: Duration,
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

/// Numbers of `api_burst`, for one tenant and endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiBurst {
    /// Calls per second that are in order.
    pub calls_per_second: f64,
    /// Calls that may come at once after a pause.
    pub burst: u32,
    /// Calls in flight that are in order.
    pub in_flight: u32,
    /// For how long more than `in_flight` may be.
    pub in_flight_window: Duration,
    /// For how long calls may go on without a pause of ten seconds.
    pub continuous: Duration,
}

/// A protected endpoint: TCP services that are not to be called in bursts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// What people call it.
    pub name: Name,
    /// Where it is.
    pub addresses: Vec<IpNet>,
    /// Its ports.
    pub ports: Vec<u16>,
    /// Its numbers.
    pub numbers: ApiBurst,
}

impl Endpoint {
    /// Whether a TCP port of an address is the endpoint's.
    #[must_use]
    pub fn is_at(&self, address: std::net::IpAddr, port: u16) -> bool {
        self.ports.contains(&port) && self.addresses.iter().any(|prefix| prefix.contains(&address))
    }
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
impl Default for Mailbomb {
    fn default() -> Self {
        Self { messages: 100, window: Duration::from_secs(600) }
    }
}
impl Default for Relay {
    fn default() -> Self {
        Self { messages: 3, domains: 3, next_hops: 3, window: Duration::from_secs(3_600) }
    }
}
impl Default for ApiBurst {
    fn default() -> Self {
        Self {
            calls_per_second: 1.0,
            burst: 10,
            in_flight: 1,
            in_flight_window: Duration::from_secs(5),
            continuous: Duration::from_secs(600),
        }
    }
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
impl Default for Vertical {
    fn default() -> Self {
        Self { ports: 20, low_ports: 15, window: Duration::from_secs(60), unanswered: 0.6, udp_factor: 2 }
    }
}
impl Default for Stealth {
    fn default() -> Self {
        Self { probes: 5, ack_probes: 20, protocols: 8, window: Duration::from_secs(60) }
    }
}
impl Default for FloodSyn {
    fn default() -> Self {
        Self { packets_per_second: 200, completed: 0.10 }
    }
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
impl Default for FloodIcmp {
    fn default() -> Self {
        Self { packets_per_second: 100, seconds: 2 }
    }
}
