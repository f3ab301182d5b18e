//! Packets: frames parsed once, checked once, then only read.
//!
//! Each header has a file of its own. Lengths are checked at the door; what comes out cannot be out of bounds.
//! Parsing never fails on a *short capture* as long as the headers are there: lengths come from the headers, and
//! payload slices hold what was captured. Malformed input is an error with a reason, to be counted.
//!
//! Left out: reassembly (fragments are told apart, not put together), checksums (offloads leave them blank on
//! a node's own interfaces), and anything above the transport header.

mod arp;
mod icmp;
mod ipv4;
pub mod ipv6;
mod link;
mod malformed;
pub mod neighbour;
#[cfg(test)]
mod tests;
mod transport;
pub mod vrrp;

use std::net::IpAddr;

use macaddr::MacAddr6;
use reeve_policy::{Protocol, Target};

use crate::frame::LinkType;
pub use malformed::Malformed;

/// Parses a frame of which `data` was captured and that was `wire_len` bytes long on the wire.
///
/// # Errors
/// The first thing that is wrong with its link or IP header. What is wrong behind that stands in [`Ip::transport`]. A capture
/// that is merely cut short is no error: what it cut off is absent.
pub fn parse(link: LinkType, data: &[u8], wire_len: u32) -> Result<Packet<'_>, Malformed> {
    link::parse(link, data, wire_len.max(u32::try_from(data.len()).unwrap_or(u32::MAX)))
}

/// How many of a frame's first bytes are headers: the fewest of which parsing tells the same, but for payload.
///
/// What it takes to tell is kept, and nothing behind it: of ICMP errors the quoted headers up to the ports, of SCTP the first chunk's type,
/// of what cannot be parsed the bytes by which that is known.
#[must_use]
pub fn headers_len(link: LinkType, data: &[u8], wire_len: u32) -> usize {
    /// What it takes to tell is not longer, where the headers themselves do not say how long they are.
    const MOST: usize = 512;
    let parsed = parse(link, data, wire_len);
    let first = match &parsed {
        Ok(Packet { body: Body::Ip(ip), .. }) => {
            let end = ip.headers.as_ptr_range().end.addr() - data.as_ptr().addr();
            match ip.transport {
                Transport::Icmp(icmp) if icmp.quoted.is_some() => end,
                Transport::Malformed(_) => end,
                Transport::Sctp(_) => return (end + 1).min(data.len()),
                _ => return end,
            }
        }
        _ => 0,
    };
    let most = data.len().min(first + MOST);
    let wire_len = wire_len.max(u32::try_from(data.len()).unwrap_or(u32::MAX));
    (first..most).find(|len| parse(link, &data[..*len], wire_len) == parsed).unwrap_or(most)
}

/// A parsed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Ethernet (or cooked) source address, where the link has one.
    pub source_mac: Option<MacAddr6>,
    /// Ethernet destination address, where the link has one.
    pub destination_mac: Option<MacAddr6>,
    /// The outermost VLAN id within the frame's bytes.
    pub vlan: Option<u16>,
    /// What the frame carries.
    pub body: Body<'a>,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// IPv4 or IPv6.
    Ip(Ip<'a>),
    /// ARP for IPv4 over Ethernet (RFC 826).
    Arp(Arp),
    /// Anything else, by EtherType; 0 where an IEEE 802.3 length stands in its place.
    Other(u16),
}

/// An ARP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 1 is a request, 2 a reply.
    pub operation: u16,
    /// Who claims to speak.
    pub sender_mac: MacAddr6,
    /// The address that the sender claims.
    pub sender: std::net::Ipv4Addr,
    /// Whom it asks for, or answers.
    pub target: std::net::Ipv4Addr,
}

/// Whether an IP packet is a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// A whole packet.
    No,
    /// The first fragment: it has the transport header.
    First,
    /// A later fragment: it has none.
    Later,
}

/// An IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// The protocol after all extension headers.
    pub protocol: Protocol,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Whether it is a fragment.
    pub fragment: Fragment,
    /// How many IPv6 extension headers, or whether (1) IPv4 options, stand before the transport header.
    pub extensions: u8,
    /// The length of the packet in bytes from the IP header on, as the header says (or, where it says 0 as the
    /// kernel's big segments do, as the wire length says).
    pub length: u32,
    /// How many packets this was or will be on the wire: a GSO or GRO bundle is many. At least 1.
    pub segments: u32,
    /// The bytes from the IP header to the end of the transport header, as evidence.
    pub headers: &'a [u8],
    /// The transport header.
    pub transport: Transport<'a>,
}

/// Where a fragment belongs in the packet that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What all fragments of the packet have in common.
    pub identification: u32,
    /// Its first byte, counted from the end of the headers that every fragment has.
    pub offset: u32,
    /// Its bytes, as the headers say.
    pub len: u32,
    /// The bytes of the headers that count towards a packet's length: IPv4's own.
    pub before: u32,
    /// Whether others follow.
    pub has_more: bool,
}

impl Ip<'_> {
    /// Where a fragment belongs; `None` for a whole packet. Read from its headers when asked for, for few are fragments.
    #[must_use]
    pub fn piece(&self) -> Option<Piece> {
        match (self.fragment, self.source) {
            (Fragment::No, _) => None,
            (_, IpAddr::V4(_)) => ipv4::piece(self.headers, self.length),
            (_, IpAddr::V6(_)) => ipv6::piece(self.headers, self.length),
        }
    }

    /// Whither it goes.
    #[must_use]
    pub fn target(&self) -> Target {
        let port = match &self.transport {
            Transport::Tcp(tcp) => Some(tcp.destination_port),
            Transport::Udp(udp) => Some(udp.destination_port),
            Transport::Sctp(sctp) => Some(sctp.destination_port),
            Transport::Tiny { destination_port, .. } => Some(*destination_port).filter(|port| *port != 0),
            Transport::Icmp(_) | Transport::Malformed(_) | Transport::Other | Transport::Absent => None,
        };
        Target { address: self.destination, protocol: self.protocol, port }
    }
}

/// The transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport<'a> {
    /// TCP.
    Tcp(Tcp<'a>),
    /// UDP.
    Udp(Udp<'a>),
    /// ICMP or ICMPv6; [`Ip::protocol`] tells which.
    Icmp(Icmp),
    /// SCTP.
    Sctp(Sctp),
    /// A first fragment with the ports of TCP and not the rest of its header, or behind IPv6 extension headers with nothing of the
    /// transport header at all, which no honest stack sends (RFC 1858, RFC 7112). Ports that it hides are 0.
    Tiny {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
    },
    /// A transport or extension header that cannot be. Routers forward such a packet all the same, so it is somebody's.
    Malformed(Malformed),
    /// A protocol without a parser here.
    Other,
    /// None: a later fragment, or a header cut off by the capture's snap length.
    Absent,
}

/// A TCP header (RFC 9293).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp<'a> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number; meaningless without the ACK flag.
    pub acknowledgment: u32,
    /// The flags.
    pub flags: TcpFlags,
    /// The window as sent, not scaled.
    pub window: u16,
    /// Whether the header carries options.
    pub has_options: bool,
    /// How many payload bytes the packet has.
    pub payload_len: u32,
    /// The payload bytes that were captured.
    pub payload: &'a [u8],
}

/// TCP flags, the low eight bits of bytes 12 and 13.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Resets it.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;

    /// The six flags of the original standard, without the two of RFC 3168, which do not change a packet's role.
    #[must_use]
    pub const fn classic(self) -> u8 {
        self.0 & 0x3f
    }

    /// Whether any of `mask` is set.
    #[must_use]
    pub const fn any(self, mask: u8) -> bool {
        self.0 & mask != 0
    }

    /// Whether all of `mask` are set.
    #[must_use]
    pub const fn all(self, mask: u8) -> bool {
        self.0 & mask == mask
    }
}

/// A UDP header (RFC 768).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// How many payload bytes the datagram has.
    pub payload_len: u32,
    /// The payload bytes that were captured.
    pub payload: &'a [u8],
}

/// An ICMP or ICMPv6 header (RFC 792, RFC 4443).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// What the message is.
    pub kind: IcmpKind,
    /// Type as sent.
    pub icmp_type: u8,
    /// Code as sent.
    pub code: u8,
    /// Identifier of an echo; 0 otherwise.
    pub identifier: u16,
    /// The packet that an error speaks of, as far as it was quoted and captured.
    pub quoted: Option<Quoted>,
    /// How many bytes behind the first eight are in [`Ip::headers`]: those of neighbour discovery, which is all header.
    pub body_len: u8,
}

/// What an ICMP message is, over both versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpKind {
    /// Echo request, or another request of the same kind (timestamp, address mask, extended echo, node information).
    Request,
    /// The answer to one.
    Reply,
    /// Destination unreachable, prohibited codes included; and source quench.
    Unreachable,
    /// Time exceeded: a router on the way, as traceroute wants it.
    TimeExceeded,
    /// Packet too big, or IPv4's "fragmentation needed": part of path MTU discovery, not a refusal.
    PacketTooBig,
    /// Any other error that quotes a packet.
    OtherError,
    /// Neighbour discovery, router discovery, multicast listener messages: the local link's own business.
    Neighbour,
    /// Anything else.
    Other,
}

/// The headers that an ICMP error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Source of the packet that the error is about.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its source port (or ICMP identifier), where quoted.
    pub source_port: u16,
    /// Its destination port, where quoted; 0 otherwise.
    pub destination_port: u16,
}

/// An SCTP header (RFC 9260).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sctp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// The type of the first chunk: 1 INIT, 2 INIT ACK, 6 ABORT, ... 255 where none was captured.
    pub first_chunk: u8,
}
