//! Network terms shared by detection, policy and enforcement.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A protocol by its number in the IP header (IANA "Assigned Internet Protocol Numbers"), or ARP, which has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Protocol {
    /// ICMP for IPv4 (RFC 792), number 1.
    Icmp,
    /// TCP (RFC 9293), number 6.
    Tcp,
    /// UDP (RFC 768), number 17.
    Udp,
    /// ICMP for IPv6 (RFC 4443), number 58.
    Icmpv6,
    /// SCTP (RFC 9260), number 132.
    Sctp,
    /// Any other IP protocol.
    Other(u8),
    /// Address resolution (RFC 826), below IP.
    Arp,
}

impl Protocol {
    /// From the number in an IP header.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Icmp,
            6 => Self::Tcp,
            17 => Self::Udp,
            58 => Self::Icmpv6,
            132 => Self::Sctp,
            other => Self::Other(other),
        }
    }

    /// The number in an IP header; ARP has none.
    #[must_use]
    pub const fn number(self) -> Option<u8> {
        match self {
            Self::Icmp => Some(1),
            Self::Tcp => Some(6),
            Self::Udp => Some(17),
            Self::Icmpv6 => Some(58),
            Self::Sctp => Some(132),
            Self::Other(number) => Some(number),
            Self::Arp => None,
        }
    }

    /// Whether the protocol has 16-bit ports.
    #[must_use]
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Sctp)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Icmp => f.write_str("icmp"),
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Icmpv6 => f.write_str("icmpv6"),
            Self::Sctp => f.write_str("sctp"),
            Self::Arp => f.write_str("arp"),
            Self::Other(number) => write!(f, "ip-{number}"),
        }
    }
}

/// A text that names no protocol.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no protocol; one of tcp, udp, sctp, icmp, icmpv6, arp or ip-NUMBER")]
pub struct ParseProtocolError(String);

impl FromStr for Protocol {
    type Err = ParseProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "icmp" => Self::Icmp,
            "tcp" => Self::Tcp,
            "udp" => Self::Udp,
            "icmpv6" => Self::Icmpv6,
            "sctp" => Self::Sctp,
            "arp" => Self::Arp,
            other => other
                .strip_prefix("ip-")
                .and_then(|number| number.parse().ok())
                .map(Self::from_number)
                .ok_or_else(|| ParseProtocolError(text.chars().take(32).collect()))?,
        })
    }
}

impl From<Protocol> for String {
    fn from(protocol: Protocol) -> Self {
        protocol.to_string()
    }
}

impl TryFrom<String> for Protocol {
    type Error = ParseProtocolError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// What an attempt is made at: a destination, a protocol and, where the protocol has them, a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The destination.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The destination port; `None` where the protocol has no ports.
    pub port: Option<u16>,
}

impl fmt::Display for Target {
    /// `203.0.113.7 tcp/22`, `2001:db8::1 icmpv6`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address, self.protocol)?;
        match self.port {
            Some(port) => write!(f, "/{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_name_and_comes_back() {
        for number in 0..=255_u8 {
            let protocol = Protocol::from_number(number);
            assert_eq!(protocol.number(), Some(number));
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
        }
        assert_eq!("arp".parse(), Ok(Protocol::Arp));
        assert!("TCP".parse::<Protocol>().is_err());
        assert!("ip-256".parse::<Protocol>().is_err());
    }
}
