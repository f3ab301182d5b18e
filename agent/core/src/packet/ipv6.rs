//! IPv6 and its extension headers (RFC 8200).

use std::net::Ipv6Addr;

use reeve_policy::Protocol;

use super::{Fragment, Ip, Malformed, Piece, Transport, transport};

/// Extension header numbers (IANA "IPv6 Extension Header Types") that say how long they are.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

/// RFC 8200 has at most six of them in a packet, one of them twice, and yet hosts (Linux among them) walk as far as a packet goes and
/// serve what follows. So must whoever wants to know what was asked: a packet of 1,500 bytes holds 180 of them.
pub(super) const MAX_EXTENSIONS: u8 = u8::MAX;

/// More than this no honest packet has; a way to make every reader walk far.
pub const HONEST_EXTENSIONS: u8 = 16;

pub(super) fn parse(data: &[u8], wire_len: u32) -> Result<Ip<'_>, Malformed> {
    let b: &[u8; 40] = data.first_chunk().ok_or(Malformed::IpHeader)?;
    if b[0] >> 4 != 6 {
        return Err(Malformed::IpHeader);
    }
    // Zero means a jumbogram (RFC 2675); the kernel's big segments look so, with or without the option.
    let length = match u16::from_be_bytes([b[4], b[5]]) {
        0 if b[6] == HOP_BY_HOP || wire_len > 40 + u32::from(u16::MAX) => wire_len,
        said => 40 + u32::from(said),
    };
    if length > wire_len {
        return Err(Malformed::IpLength);
    }
    let captured = &data[..data.len().min(length as usize)];
    let (source, destination) = (address(&b[8..24]).into(), address(&b[24..40]).into());
    let chain = match walk(captured, 40, b[6], length) {
        Ok(chain) => chain,
        Err((reason, end)) => {
            return Ok(Ip {
                source,
                destination,
                protocol: Protocol::from_number(b[6]),
                ttl: b[7],
                fragment: Fragment::No,
                extensions: MAX_EXTENSIONS,
                length,
                segments: 1,
                // Up to the extension at which it broke, so that a record of headers breaks at the same one.
                headers: &captured[..(end + 8).min(captured.len())],
                transport: Transport::Malformed(reason),
            });
        }
    };
    let protocol = Protocol::from_number(chain.next);
    let rest = length.saturating_sub(chain.end as u32);
    let fragment = if chain.is_cut { Fragment::Later } else { chain.fragment };
    let read = transport::parse(protocol, fragment, captured.get(chain.end..), rest);
    let header_end = (chain.end + read.header_len).min(captured.len());
    Ok(Ip {
        source,
        destination,
        protocol,
        ttl: b[7],
        fragment: chain.fragment,
        extensions: chain.count,
        length,
        segments: read.segments,
        headers: &captured[..header_end],
        transport: read.transport,
    })
}

/// Where the extension headers end.
pub(super) struct Chain {
    /// The protocol behind them.
    pub next: u8,
    /// Where that begins, counted from the IPv6 header.
    pub end: usize,
    pub fragment: Fragment,
    pub count: u8,
    /// The capture ends within them; what follows is not known.
    pub is_cut: bool,
}

/// Walks the extension headers of `packet`, of which `length` bytes were on the wire, from `start` on. Where it breaks it tells the place of
/// the extension that is wrong.
pub(super) fn walk(packet: &[u8], start: usize, first: u8, length: u32) -> Result<Chain, (Malformed, usize)> {
    let mut chain = Chain { next: first, end: start, fragment: Fragment::No, count: 0, is_cut: false };
    while is_extension(chain.next) {
        if chain.count == MAX_EXTENSIONS {
            return Err((Malformed::Ipv6Extensions, chain.end));
        }
        if chain.end as u64 + 8 > u64::from(length) {
            return Err((Malformed::Ipv6Extension, chain.end));
        }
        let Some(header) = packet.get(chain.end..).and_then(|rest| rest.first_chunk::<8>()) else {
            chain.is_cut = true;
            return Ok(chain);
        };
        let place = chain.end;
        chain.end += match chain.next {
            FRAGMENT => {
                let offset = u16::from_be_bytes([header[2], header[3]]);
                // An "atomic" fragment (RFC 6946) is a whole packet.
                chain.fragment = match (offset & 0xfff8, offset & 1) {
                    (0, 0) => Fragment::No,
                    (0, _) => Fragment::First,
                    _ => Fragment::Later,
                };
                8
            }
            AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        chain.next = header[0];
        chain.count += 1;
        if chain.end as u64 > u64::from(length) {
            return Err((Malformed::Ipv6Extension, place));
        }
        // What follows a later fragment's header is the middle of something.
        if chain.fragment == Fragment::Later {
            break;
        }
    }
    Ok(chain)
}

/// Where the fragment belongs that begins with `headers` and is `length` bytes long.
pub(super) fn piece(headers: &[u8], length: u32) -> Option<Piece> {
    let (mut next, mut end) = (*headers.get(6)?, 40);
    for _ in 0..MAX_EXTENSIONS {
        let header: &[u8; 8] = headers.get(end..)?.first_chunk()?;
        match next {
            FRAGMENT => {
                let offset = u16::from_be_bytes([header[2], header[3]]);
                return Some(Piece {
                    identification: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
                    offset: u32::from(offset & 0xfff8),
                    len: length.checked_sub(u32::try_from(end).ok()? + 8)?,
                    // The headers before are not counted (RFC 8200, section 4.5, and section 3 on the payload's length).
                    before: 0,
                    has_more: offset & 1 != 0,
                });
            }
            AUTHENTICATION => end += (usize::from(header[1]) + 2) * 4,
            _ if is_extension(next) => end += (usize::from(header[1]) + 1) * 8,
            _ => return None,
        }
        next = header[0];
    }
    None
}

const fn is_extension(number: u8) -> bool {
    matches!(
        number,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS | MOBILITY | HIP | SHIM6
    )
}

/// From sixteen bytes.
pub(super) fn address(bytes: &[u8]) -> Ipv6Addr {
    let mut sixteen = [0; 16];
    sixteen.copy_from_slice(bytes);
    sixteen.into()
}
