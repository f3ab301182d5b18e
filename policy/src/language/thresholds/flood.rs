//! Numbers of the floods, and of reflectors.

use serde::{Deserialize, Serialize};

/// Numbers of `flood.syn`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FloodSyn {
    /// Connection requests per second to one host.
    pub packets_per_second: u64,
    /// The share, 0 to 1, of completed ones below which they are a flood.
    pub completed: f64,
    /// Packets per second to all hosts together; to one network (a /24, a /48) a quarter of that.
    pub total_packets_per_second: u64,
}

impl Default for FloodSyn {
    fn default() -> Self {
        Self { packets_per_second: 200, completed: 0.10, total_packets_per_second: 5_000 }
    }
}

/// Numbers of `flood.tcp`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FloodTcp {
    /// Packets per second outside any connection, to one host.
    pub packets_per_second: u64,
    /// Packets per second to all hosts together; to one network (a /24, a /48) a quarter of that.
    pub total_packets_per_second: u64,
}

impl Default for FloodTcp {
    fn default() -> Self {
        Self { packets_per_second: 500, total_packets_per_second: 5_000 }
    }
}

/// Numbers of `flood.connect`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FloodConnect {
    /// Completed connections per second to one service.
    pub connections_per_second: u64,
    /// The share, 0 to 1, of those in which the tenant said something below which they are a flood.
    pub carried: f64,
}

impl Default for FloodConnect {
    fn default() -> Self {
        Self { connections_per_second: 200, carried: 0.10 }
    }
}

/// Numbers of `flood.udp`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FloodUdp {
    /// Packets per second to one host.
    pub packets_per_second: u64,
    /// Bits per second to one host.
    pub bits_per_second: u64,
    /// The share, 0 to 1, of answers to packets below which they are one-sided.
    pub answered: f64,
    /// Packets per second to all hosts together; to one network (a /24, a /48) a quarter of that.
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
#[serde(default)]
pub struct FloodIcmp {
    /// Packets per second to one destination.
    pub packets_per_second: u64,
    /// For how many seconds in a row.
    pub seconds: u32,
    /// Packets per second to all hosts together; to one network (a /24, a /48) a quarter of that.
    pub total_packets_per_second: u64,
}

impl Default for FloodIcmp {
    fn default() -> Self {
        Self { packets_per_second: 100, seconds: 2, total_packets_per_second: 5_000 }
    }
}

/// Numbers of `flood.frag`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FloodFrag {
    /// Fragments per second to one host.
    pub packets_per_second: u64,
    /// The share, 0 to 1, of packets from there to packets sent below which they are one-sided.
    pub answered: f64,
    /// Packets per second to all hosts together; to one network (a /24, a /48) a quarter of that.
    pub total_packets_per_second: u64,
}

impl Default for FloodFrag {
    fn default() -> Self {
        Self { packets_per_second: 1_000, answered: 0.02, total_packets_per_second: 10_000 }
    }
}

/// Numbers of `flood.other`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FloodOther {
    /// Packets per second of other protocols, or with extension headers, to one host.
    pub packets_per_second: u64,
    /// The share, 0 to 1, of packets from there to packets sent below which they are one-sided.
    pub answered: f64,
    /// Packets per second to all hosts together; to one network (a /24, a /48) a quarter of that.
    pub total_packets_per_second: u64,
    /// ARP messages and neighbour solicitations per second. Suspected only, as the next two are.
    pub link_messages_per_second: u64,
    /// Distinct hardware addresses per minute that frames of one port come from.
    pub hardware_addresses_per_minute: u64,
    /// Requests to DHCP servers per minute.
    pub dhcp_requests_per_minute: u64,
}

impl Default for FloodOther {
    fn default() -> Self {
        Self {
            packets_per_second: 1_000,
            answered: 0.02,
            total_packets_per_second: 10_000,
            link_messages_per_second: 1_000,
            hardware_addresses_per_minute: 1_000,
            dhcp_requests_per_minute: 300,
        }
    }
}

/// Numbers of `flood.volume`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FloodVolume {
    /// Bits per second in all, one-sided.
    pub bits_per_second: u64,
    /// For how many seconds in a row.
    pub seconds: u32,
    /// The share, 0 to 1, of packets received to packets sent below which they are one-sided. TCP acknowledges one in a few
    /// hundred at the least; 1 counts whatever is sent.
    pub answered: f64,
}

impl Default for FloodVolume {
    fn default() -> Self {
        Self { bits_per_second: 1_000_000_000, seconds: 10, answered: 0.002 }
    }
}

/// Numbers of `flood.amplify`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FloodAmplify {
    /// Bytes out for each byte in.
    pub factor: f64,
    /// Bits per second to one target.
    pub bits_per_second: u64,
    /// Packets per second to one target.
    pub packets_per_second: u64,
    /// For how many seconds in a row.
    pub seconds: u32,
    /// Ports of services that are known to answer much to whoever asks.
    pub ports: Vec<u16>,
}

impl Default for FloodAmplify {
    fn default() -> Self {
        Self {
            factor: 5.0,
            bits_per_second: 500_000,
            packets_per_second: 200,
            seconds: 3,
            // Echo, daytime, QOTD, CharGEN, DNS, TFTP, portmap, NTP, NetBIOS, SNMP, CLDAP, SLP, RIP, IPMI, SQL Server's browser, Citrix, SSDP, Apple
            // remote desktop, WS-Discovery, SIP, Sentinel, mDNS, CoAP, Ubiquiti, TP-240, memcached, VxWorks, Quake, Steam, Quake 3,
            // Lantronix, Plex, Jenkins, video recorders, BACnet.
            ports: vec![
                7, 13, 17, 19, 53, 69, 111, 123, 137, 161, 389, 427, 520, 623, 1434, 1604, 1900, 3283, 3702,
                5060, 5093, 5353, 5683, 10_001, 10_074, 11_211, 17_185, 26_000, 27_005, 27_015, 27_016,
                27_017, 27_018, 27_019, 27_020, 27_960, 30_718, 32_414, 33_848, 37_810, 47_808,
            ],
        }
    }
}

/// Numbers of `udp_stream`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UdpStream {
    /// Packets per second of one steady pair of ports.
    pub packets_per_second: u64,
    /// Bits per second of one.
    pub bits_per_second: u64,
    /// Ports of services that are told much and answer nothing.
    pub ports: Vec<u16>,
}

impl Default for UdpStream {
    fn default() -> Self {
        Self {
            packets_per_second: 10_000,
            bits_per_second: 200_000_000,
            // SNMP traps, syslog (and where it is moved to), NetFlow, VXLAN, IPFIX, sFlow, Jaeger, statsd, NetFlow again, GELF, collectd.
            ports: vec![
                162, 514, 2055, 2056, 4739, 4789, 5140, 6343, 6831, 6832, 8089, 8125, 8126, 9555, 9995, 9996,
                12_201, 25_826,
            ],
        }
    }
}
