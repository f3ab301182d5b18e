//! Classes of abuse: what a detector can say it saw.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A class of abuse, named as policies and reports name it. Each has exactly one detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Class {
    /// One port tried on many hosts.
    PortscanHorizontal,
    /// Many ports tried on one host.
    PortscanVertical,
    /// Either, patiently: few targets a minute, over hours.
    PortscanSlow,
    /// Probes that open nothing: NULL, FIN, XMAS, Maimon, ACK, and scans over IP protocols.
    PortscanStealth,
    /// Connection requests to one host that are hardly ever completed.
    FloodSyn,
    /// TCP outside any connection at a high rate: ACK, FIN, RST, odd flags.
    FloodTcp,
    /// Completed connections to one service at a high rate that carry nothing.
    FloodConnect,
    /// One-sided UDP at a high rate.
    FloodUdp,
    /// ICMP to one destination at a high rate.
    FloodIcmp,
    /// Fragments at a high rate.
    FloodFrag,
    /// Other IP protocols, or extension headers, at a high rate.
    FloodOther,
    /// More bytes a second, one-sided, than the plan allows.
    FloodVolume,
    /// Large answers to small requests from forged sources: a reflector.
    FloodAmplify,
    /// One-sided UDP at a high rate that looks like telemetry or media: one steady pair of ports.
    UdpStream,
    /// Packets that are made to crash a stack: land, ping of death, overlapping fragments.
    Crash,
    /// Mail in bulk: too many messages, or too many exchangers.
    Spam,
    /// Very many messages to one recipient.
    SpamMailbomb,
    /// Mail from outside for others that goes out again.
    SmtpRelay,
    /// Calls to a protected endpoint above its rate, in parallel, or without a pause.
    ApiBurst,
    /// Pages of one site fetched at a high rate, in their breadth.
    Crawl,
    /// Logins that are refused again and again.
    Bruteforce,
    /// Packets from addresses that are not the sender's.
    SpoofSource,
    /// ARP that claims another's address.
    SpoofArp,
    /// Neighbour discovery that claims another's address.
    SpoofNd,
    /// What only routers and servers of the provider may say: routing protocols, router advertisements, DHCP answers.
    SpoofRouting,
    /// Traffic to destinations on imported blocklists.
    Malware,
    /// More traffic in a month than the plan includes.
    Quota,
}

impl Class {
    /// Every class, in the order reports list them.
    pub const ALL: [Self; 27] = [
        Self::PortscanHorizontal,
        Self::PortscanVertical,
        Self::PortscanSlow,
        Self::PortscanStealth,
        Self::FloodSyn,
        Self::FloodTcp,
        Self::FloodConnect,
        Self::FloodUdp,
        Self::FloodIcmp,
        Self::FloodFrag,
        Self::FloodOther,
        Self::FloodVolume,
        Self::FloodAmplify,
        Self::UdpStream,
        Self::Crash,
        Self::Spam,
        Self::SpamMailbomb,
        Self::SmtpRelay,
        Self::ApiBurst,
        Self::Crawl,
        Self::Bruteforce,
        Self::SpoofSource,
        Self::SpoofArp,
        Self::SpoofNd,
        Self::SpoofRouting,
        Self::Malware,
        Self::Quota,
    ];

    /// The dotted name: family first.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PortscanHorizontal => "portscan.horizontal",
            Self::PortscanVertical => "portscan.vertical",
            Self::PortscanSlow => "portscan.slow",
            Self::PortscanStealth => "portscan.stealth",
            Self::FloodSyn => "flood.syn",
            Self::FloodTcp => "flood.tcp",
            Self::FloodConnect => "flood.connect",
            Self::FloodUdp => "flood.udp",
            Self::FloodIcmp => "flood.icmp",
            Self::FloodFrag => "flood.frag",
            Self::FloodOther => "flood.other",
            Self::FloodVolume => "flood.volume",
            Self::FloodAmplify => "flood.amplify",
            Self::UdpStream => "udp_stream",
            Self::Crash => "crash",
            Self::Spam => "spam",
            Self::SpamMailbomb => "spam.mailbomb",
            Self::SmtpRelay => "smtp_relay",
            Self::ApiBurst => "api_burst",
            Self::Crawl => "crawl",
            Self::Bruteforce => "bruteforce",
            Self::SpoofSource => "spoof.source",
            Self::SpoofArp => "spoof.arp",
            Self::SpoofNd => "spoof.nd",
            Self::SpoofRouting => "spoof.routing",
            Self::Malware => "malware",
            Self::Quota => "quota",
        }
    }

    /// The part before the dot: `portscan`, `flood`.
    #[must_use]
    pub fn family(self) -> &'static str {
        self.name().split('.').next().expect("split yields at least one part")
    }

    /// Whether the evidence is a count of distinct targets and their outcomes, which lost frames can falsify,
    /// rather than a rate, which they can only make look smaller.
    #[must_use]
    pub const fn counts_distinct(self) -> bool {
        matches!(
            self,
            Self::PortscanHorizontal | Self::PortscanVertical | Self::PortscanSlow | Self::PortscanStealth
        )
    }

    /// Whether its numbers were counted over the alert's window, so that they mean nothing without its length.
    #[must_use]
    pub const fn counts_over_window(self) -> bool {
        self.counts_distinct()
            || matches!(
                self,
                Self::Spam
                    | Self::SpamMailbomb
                    | Self::SmtpRelay
                    | Self::Bruteforce
                    | Self::Malware
                    | Self::SpoofSource
            )
    }

    /// Whatever names classes: each family, and each class.
    pub(crate) fn patterns() -> impl Iterator<Item = String> {
        let mut families: Vec<&str> = Self::ALL.iter().map(|class| class.family()).collect();
        families.dedup();
        let families = families.into_iter().map(|family| format!("{family}.*"));
        families.chain(Self::ALL.iter().map(|class| class.name().to_owned()))
    }

    /// The classes that `pattern` names: a class by name, or a family as `portscan.*`. Empty if it names none.
    #[must_use]
    pub fn matching(pattern: &str) -> Vec<Self> {
        let family = pattern.strip_suffix(".*");
        Self::ALL
            .into_iter()
            .filter(|class| class.name() == pattern || Some(class.family()) == family)
            .collect()
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no class.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no class of abuse")]
pub struct ParseClassError(String);

impl FromStr for Class {
    type Err = ParseClassError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|class| class.name() == text)
            .ok_or_else(|| ParseClassError(text.chars().take(64).collect()))
    }
}

impl From<Class> for String {
    fn from(class: Class) -> Self {
        class.name().to_owned()
    }
}

impl TryFrom<String> for Class {
    type Error = ParseClassError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_families_expand() {
        for class in Class::ALL {
            assert_eq!(class.name().parse(), Ok(class));
        }
        assert_eq!(Class::matching("portscan.*").len(), 4);
        assert_eq!(Class::matching("flood.syn"), [Class::FloodSyn]);
        assert_eq!(Class::matching("spam.*"), [Class::Spam, Class::SpamMailbomb]);
        assert_eq!(Class::matching("spam"), [Class::Spam]);
        assert!(Class::matching("flood").is_empty());
        assert!(Class::matching("*").is_empty());
    }
}
