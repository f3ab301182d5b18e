//! What stands behind an IP header: TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260); ICMP has its own file.
//!
//! `captured` is what the capture holds of the IP payload, `None` where it ends before; `length` is how long the payload
//! was on the wire. A header that the capture cut off is absent; one for which the packet had no room is malformed.

use reeve_policy::Protocol;

use super::{Fragment, Malformed, Sctp, Tcp, TcpFlags, Transport, Udp, icmp, vrrp};

/// Ports of DHCP clients (RFC 2131, section 4.1; RFC 8415, section 7.2), and how much of what they are sent counts as header: which
/// kind of message it is stands in its first bytes, and nobody's name or address.
const fn is_dhcp_client(port: u16) -> bool {
    matches!(port, 68 | 546)
}
const DHCP_KIND: usize = 4;

/// Payload bytes of a full TCP segment on Ethernet with timestamps, and of a full UDP datagram.
const TCP_SEGMENT: u32 = 1448;
const UDP_SEGMENT: u32 = 1472;

pub(super) struct Read<'a> {
    pub transport: Transport<'a>,
    pub header_len: usize,
    pub segments: u32,
}

const NOTHING: Read<'static> = Read { transport: Transport::Absent, header_len: 0, segments: 1 };

/// Reads what is there; what cannot be is told as such.
#[inline]
pub(super) fn parse(
    protocol: Protocol,
    fragment: Fragment,
    captured: Option<&[u8]>,
    length: u32,
) -> Read<'_> {
    let malformed = |reason| Read { transport: Transport::Malformed(reason), ..NOTHING };
    read(protocol, fragment, captured, length).unwrap_or_else(malformed)
}

#[inline]
fn read(
    protocol: Protocol,
    fragment: Fragment,
    captured: Option<&[u8]>,
    length: u32,
) -> Result<Read<'_>, Malformed> {
    if fragment == Fragment::Later {
        return Ok(NOTHING);
    }
    let captured = captured.unwrap_or(&[]);
    // The first fragment of a scan that hides in tiny fragments has part of a header only.
    let whole = fragment == Fragment::No;
    let room = |needed: u32, reason| {
        if length >= needed {
            Ok(captured.len() >= needed as usize)
        } else if whole {
            Err(reason)
        } else {
            Ok(false)
        }
    };
    match protocol {
        Protocol::Tcp if room(20, Malformed::Tcp)? => tcp(captured, length),
        Protocol::Udp if room(8, Malformed::Udp)? => udp(captured, length, whole),
        Protocol::Sctp if room(12, Malformed::Sctp)? => Ok(sctp(captured)),
        Protocol::Icmp if room(8, Malformed::Icmp)? => Ok(icmp::parse_v4(captured)),
        Protocol::Icmpv6 if room(8, Malformed::Icmp)? => Ok(icmp::parse_v6(captured)),
        Protocol::Tcp if fragment == Fragment::First && length < 20 => Ok(tiny(captured, length)),
        Protocol::Udp | Protocol::Icmp | Protocol::Icmpv6 if fragment == Fragment::First && length < 8 => {
            Ok(tiny(captured, length))
        }
        // Which addresses it claims stands in no other place, and nothing in it is anybody's payload.
        Protocol::Other(vrrp::PROTOCOL) => Ok(Read {
            transport: Transport::Other,
            header_len: captured.len().min(vrrp::MAX_LEN),
            segments: 1,
        }),
        Protocol::Other(_) | Protocol::Arp => Ok(Read { transport: Transport::Other, ..NOTHING }),
        _ => Ok(NOTHING),
    }
}

fn tiny(captured: &[u8], length: u32) -> Read<'_> {
    let Some(b) = captured.first_chunk::<4>() else {
        let hidden = Transport::Tiny { source_port: 0, destination_port: 0 };
        return if length < 4 { Read { transport: hidden, ..NOTHING } } else { NOTHING };
    };
    let (source_port, destination_port) =
        (u16::from_be_bytes([b[0], b[1]]), u16::from_be_bytes([b[2], b[3]]));
    Read { transport: Transport::Tiny { source_port, destination_port }, header_len: 4, segments: 1 }
}

#[inline]
fn tcp(captured: &[u8], length: u32) -> Result<Read<'_>, Malformed> {
    let Some(b) = captured.first_chunk::<20>() else { return Ok(NOTHING) };
    let header_len = usize::from(b[12] >> 4) * 4;
    if header_len < 20 || header_len as u32 > length {
        return Err(Malformed::Tcp);
    }
    let payload_len = length - header_len as u32;
    let transport = Transport::Tcp(Tcp {
        source_port: u16::from_be_bytes([b[0], b[1]]),
        destination_port: u16::from_be_bytes([b[2], b[3]]),
        sequence: u32::from_be_bytes([b[4], b[5], b[6], b[7]]),
        acknowledgment: u32::from_be_bytes([b[8], b[9], b[10], b[11]]),
        flags: TcpFlags(b[13]),
        window: u16::from_be_bytes([b[14], b[15]]),
        has_options: header_len > 20,
        payload_len,
        payload: captured.get(header_len..).unwrap_or(&[]),
    });
    Ok(Read { transport, header_len, segments: payload_len.div_ceil(TCP_SEGMENT).max(1) })
}

#[inline]
fn udp(captured: &[u8], length: u32, whole: bool) -> Result<Read<'_>, Malformed> {
    let Some(b) = captured.first_chunk::<8>() else { return Ok(NOTHING) };
    // Zero means "to the end of the packet" in a jumbogram (RFC 2675); offloads leave it in big bundles too.
    let said = match u32::from(u16::from_be_bytes([b[4], b[5]])) {
        0 => length,
        said => said,
    };
    if said < 8 || (whole && said > length) {
        return Err(Malformed::Udp);
    }
    let here = said.min(length) - 8;
    let transport = Transport::Udp(Udp {
        source_port: u16::from_be_bytes([b[0], b[1]]),
        destination_port: u16::from_be_bytes([b[2], b[3]]),
        payload_len: here,
        payload: &captured[8..captured.len().min(8 + here as usize)],
    });
    let is_to_client = is_dhcp_client(u16::from_be_bytes([b[2], b[3]]));
    let header_len = if is_to_client { captured.len().min(8 + DHCP_KIND) } else { 8 };
    Ok(Read { transport, header_len, segments: here.div_ceil(UDP_SEGMENT).max(1) })
}

fn sctp(captured: &[u8]) -> Read<'_> {
    let Some(b) = captured.first_chunk::<12>() else { return NOTHING };
    let transport = Transport::Sctp(Sctp {
        source_port: u16::from_be_bytes([b[0], b[1]]),
        destination_port: u16::from_be_bytes([b[2], b[3]]),
        first_chunk: captured.get(12).copied().unwrap_or(255),
    });
    Read { transport, header_len: 12, segments: 1 }
}
