//! Why a frame could not be read.

use std::fmt;

/// Reasons, to be counted. None of them is ever more than a count: whoever sends such a frame gets no answer here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Malformed {
    /// The link header is not whole.
    Link,
    /// The link header names an address family that does not exist.
    Family,
    /// An ARP message is not whole.
    Arp,
    /// An IP header is not whole, or is not of the version that the link header says.
    IpHeader,
    /// An IPv4 header length below 20 bytes or beyond the packet.
    Ipv4HeaderLength,
    /// An IP length that is shorter than the headers or longer than the frame.
    IpLength,
    /// An IPv6 extension header that does not end within the packet.
    Ipv6Extension,
    /// More IPv6 extension headers than are walked (see `ipv6::MAX_EXTENSIONS`).
    Ipv6Extensions,
    /// A TCP header that is not whole, or with a data offset below 20 bytes or beyond the packet.
    Tcp,
    /// A UDP header that is not whole, or with a length below 8 bytes or beyond the packet.
    Udp,
    /// An ICMP or ICMPv6 header that is not whole.
    Icmp,
    /// An SCTP header that is not whole.
    Sctp,
}

impl Malformed {
    /// Every reason, in the order of [`Malformed::index`].
    pub const ALL: [Self; 12] = [
        Self::Link,
        Self::Family,
        Self::Arp,
        Self::IpHeader,
        Self::Ipv4HeaderLength,
        Self::IpLength,
        Self::Ipv6Extension,
        Self::Ipv6Extensions,
        Self::Tcp,
        Self::Udp,
        Self::Icmp,
        Self::Sctp,
    ];

    /// The place in [`Malformed::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Link => "link-header",
            Self::Family => "address-family",
            Self::Arp => "arp",
            Self::IpHeader => "ip-header",
            Self::Ipv4HeaderLength => "ipv4-header-length",
            Self::IpLength => "ip-length",
            Self::Ipv6Extension => "ipv6-extension",
            Self::Ipv6Extensions => "ipv6-extensions",
            Self::Tcp => "tcp-header",
            Self::Udp => "udp-header",
            Self::Icmp => "icmp-header",
            Self::Sctp => "sctp-header",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_place() {
        for (place, reason) in Malformed::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), place);
        }
    }
}
