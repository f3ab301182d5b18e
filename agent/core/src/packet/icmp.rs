//! ICMP (RFC 792 and RFC 950) and ICMPv6 (RFC 4443, RFC 4861), and the headers that their errors quote.

use std::net::Ipv4Addr;

use reeve_policy::Protocol;

use super::transport::Read;
use super::{Icmp, IcmpKind, Quoted, Transport, ipv6};

/// How much of a neighbour discovery message counts as header: as much as the addresses, the flags and the options that are read.
/// None of it is payload (RFC 4861, section 4).
const MAX_NEIGHBOUR: usize = 64;

/// "Fragmentation needed" among the codes of "destination unreachable" (RFC 1191).
const FRAGMENTATION_NEEDED: u8 = 4;

/// Extended echo (RFC 8335), and node information (RFC 4620): whoever is there answers.
const EXTENDED_ECHO: u8 = 42;
const EXTENDED_REPLY: u8 = 43;
const EXTENDED_ECHO_V6: u8 = 160;
const EXTENDED_REPLY_V6: u8 = 161;
const NODE_QUERY: u8 = 139;
const NODE_ANSWER: u8 = 140;

/// How much of a quoted packet is looked at: an IPv6 header with two extensions and the ports behind them. A record keeps what
/// is read of that ([`super::headers_len`]), so that its replay sees what was seen.
const QUOTED: usize = 72;

/// Reads at least eight captured bytes.
pub(super) fn parse_v4(captured: &[u8]) -> Read<'_> {
    parse(captured, |icmp_type, code| match (icmp_type, code) {
        (8 | 13 | 15 | 17 | EXTENDED_ECHO, _) => IcmpKind::Request,
        (0 | 14 | 16 | 18 | EXTENDED_REPLY, _) => IcmpKind::Reply,
        (3, FRAGMENTATION_NEEDED) => IcmpKind::PacketTooBig,
        (3 | 4, _) => IcmpKind::Unreachable,
        (11, _) => IcmpKind::TimeExceeded,
        (12, _) => IcmpKind::OtherError,
        (9 | 10, _) => IcmpKind::Neighbour,
        _ => IcmpKind::Other,
    })
}

/// Reads at least eight captured bytes.
pub(super) fn parse_v6(captured: &[u8]) -> Read<'_> {
    parse(captured, |icmp_type, _| match icmp_type {
        128 | NODE_QUERY | EXTENDED_ECHO_V6 => IcmpKind::Request,
        129 | NODE_ANSWER | EXTENDED_REPLY_V6 => IcmpKind::Reply,
        1 => IcmpKind::Unreachable,
        2 => IcmpKind::PacketTooBig,
        3 => IcmpKind::TimeExceeded,
        4 => IcmpKind::OtherError,
        130..=137 | 141..=143 | 148 | 149 | 151..=153 => IcmpKind::Neighbour,
        _ => IcmpKind::Other,
    })
}

fn parse(captured: &[u8], kind_of: impl Fn(u8, u8) -> IcmpKind) -> Read<'_> {
    let Some(b) = captured.first_chunk::<8>() else {
        return Read { transport: Transport::Absent, header_len: 0, segments: 1 };
    };
    let kind = kind_of(b[0], b[1]);
    let is_error = matches!(
        kind,
        IcmpKind::Unreachable | IcmpKind::TimeExceeded | IcmpKind::PacketTooBig | IcmpKind::OtherError
    );
    let identifier = match kind {
        IcmpKind::Request | IcmpKind::Reply => u16::from_be_bytes([b[4], b[5]]),
        _ => 0,
    };
    let quoted = if is_error { quoted(&captured[8..captured.len().min(8 + QUOTED)]) } else { None };
    let header_len = if kind == IcmpKind::Neighbour { captured.len().min(MAX_NEIGHBOUR) } else { 8 };
    let body_len = u8::try_from(header_len - 8).expect("at most 56");
    let transport = Transport::Icmp(Icmp { kind, icmp_type: b[0], code: b[1], identifier, quoted, body_len });
    Read { transport, header_len, segments: 1 }
}

/// Reads the quoted packet's headers; `None` where not even its addresses and protocol are there.
fn quoted(inner: &[u8]) -> Option<Quoted> {
    let (source, destination, number, rest) = match inner.first()? >> 4 {
        4 => {
            let b: &[u8; 20] = inner.first_chunk()?;
            let header_len = usize::from(b[0] & 0x0f) * 4;
            let later = u16::from_be_bytes([b[6], b[7]]) & 0x1fff != 0;
            let rest = if later || header_len < 20 { &[] } else { inner.get(header_len..).unwrap_or(&[]) };
            let source = Ipv4Addr::new(b[12], b[13], b[14], b[15]);
            let destination = Ipv4Addr::new(b[16], b[17], b[18], b[19]);
            (source.into(), destination.into(), b[9], rest)
        }
        6 => {
            let b: &[u8; 40] = inner.first_chunk()?;
            let chain = ipv6::walk(inner, 40, b[6], u32::MAX).ok()?;
            let known = !chain.is_cut && chain.fragment != super::Fragment::Later;
            let rest = if known { inner.get(chain.end..).unwrap_or(&[]) } else { &[] };
            let (source, destination) = (ipv6::address(&b[8..24]), ipv6::address(&b[24..40]));
            (source.into(), destination.into(), chain.next, rest)
        }
        _ => return None,
    };
    let protocol = Protocol::from_number(number);
    let (source_port, destination_port) = match (protocol, rest) {
        (Protocol::Icmp | Protocol::Icmpv6, [_, _, _, _, high, low, ..]) => {
            (u16::from_be_bytes([*high, *low]), 0)
        }
        (_, [a, b, c, d, ..]) if protocol.has_ports() => {
            (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))
        }
        _ => (0, 0),
    };
    Some(Quoted { source, destination, protocol, source_port, destination_port })
}
