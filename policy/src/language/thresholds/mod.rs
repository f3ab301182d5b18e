//! The numbers that detectors compare against, with the defaults of the `baseline` preset: a file for each family.

mod call;
mod flood;
mod identity;
mod login;
mod mail;
mod scan;

use serde::{Deserialize, Serialize};

pub use call::{ApiBurst, Crawl, Endpoint, EndpointKind, Host, ParseHostError};
pub use flood::{
    FloodAmplify, FloodConnect, FloodFrag, FloodIcmp, FloodOther, FloodSyn, FloodTcp, FloodUdp, FloodVolume,
    UdpStream,
};
pub use identity::{Claims, Crash, Malware, Quota, SpoofRouting, SpoofSource};
pub use login::Bruteforce;
pub use mail::{Mailbomb, Relay, Spam};
pub use scan::{Horizontal, Slow, Stealth, Vertical};

/// All numbers, by class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// `portscan.horizontal`.
    #[serde(default)]
    pub horizontal: Horizontal,
    /// `portscan.vertical`.
    #[serde(default)]
    pub vertical: Vertical,
    /// `portscan.slow`.
    #[serde(default)]
    pub slow: Slow,
    /// `portscan.stealth`.
    #[serde(default)]
    pub stealth: Stealth,
    /// `flood.syn`.
    #[serde(default)]
    pub flood_syn: FloodSyn,
    /// `flood.tcp`.
    #[serde(default)]
    pub flood_tcp: FloodTcp,
    /// `flood.connect`.
    #[serde(default)]
    pub flood_connect: FloodConnect,
    /// `flood.udp`.
    #[serde(default)]
    pub flood_udp: FloodUdp,
    /// `flood.icmp`.
    #[serde(default)]
    pub flood_icmp: FloodIcmp,
    /// `flood.frag`.
    #[serde(default)]
    pub flood_frag: FloodFrag,
    /// `flood.other`.
    #[serde(default)]
    pub flood_other: FloodOther,
    /// `flood.volume`.
    #[serde(default)]
    pub flood_volume: FloodVolume,
    /// `flood.amplify`.
    #[serde(default)]
    pub flood_amplify: FloodAmplify,
    /// `udp_stream`.
    #[serde(default)]
    pub udp_stream: UdpStream,
    /// `crash`.
    #[serde(default)]
    pub crash: Crash,
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
    /// `crawl`.
    #[serde(default)]
    pub crawl: Crawl,
    /// `bruteforce`.
    #[serde(default)]
    pub bruteforce: Bruteforce,
    /// `spoof.source`.
    #[serde(default)]
    pub spoof_source: SpoofSource,
    /// `spoof.arp`.
    #[serde(default)]
    pub spoof_arp: Claims,
    /// `spoof.nd`.
    #[serde(default)]
    pub spoof_nd: Claims,
    /// `spoof.routing`.
    #[serde(default)]
    pub spoof_routing: SpoofRouting,
    /// `malware`.
    #[serde(default)]
    pub malware: Malware,
    /// `quota`.
    #[serde(default)]
    pub quota: Quota,
    /// The endpoints that `api_burst` is about.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
}
