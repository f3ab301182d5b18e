//! IPv4 (RFC 791).

use std::net::Ipv4Addr;

use reeve_policy::Protocol;

use super::{Fragment, Ip, Malformed, Piece, transport};

#[inline]
pub(super) fn parse(data: &[u8], wire_len: u32) -> Result<Ip<'_>, Malformed> {
    let b: &[u8; 20] = data.first_chunk().ok_or(Malformed::IpHeader)?;
    if b[0] >> 4 != 4 {
        return Err(Malformed::IpHeader);
    }
    let header_len = usize::from(b[0] & 0x0f) * 4;
    // Offloads leave 0 where a segment is too big for 16 bits.
    let length = match u16::from_be_bytes([b[2], b[3]]) {
        0 => wire_len,
        said => u32::from(said),
    };
    if header_len < 20 || header_len as u32 > length {
        return Err(Malformed::Ipv4HeaderLength);
    }
    if length > wire_len {
        return Err(Malformed::IpLength);
    }
    let offset = u16::from_be_bytes([b[6], b[7]]);
    let fragment = match (offset & 0x1fff, offset & 0x2000 != 0) {
        (0, false) => Fragment::No,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    };
    let protocol = Protocol::from_number(b[9]);
    // Link padding stands behind the packet; a snapped capture has less than all of it.
    let captured = &data[..data.len().min(length as usize)];
    let read = transport::parse(protocol, fragment, captured.get(header_len..), length - header_len as u32);
    let header_end = (header_len + read.header_len).min(captured.len());
    Ok(Ip {
        source: Ipv4Addr::new(b[12], b[13], b[14], b[15]).into(),
        destination: Ipv4Addr::new(b[16], b[17], b[18], b[19]).into(),
        protocol,
        ttl: b[8],
        fragment,
        extensions: u8::from(header_len > 20),
        length,
        segments: read.segments,
        headers: &captured[..header_end],
        transport: read.transport,
    })
}

/// Where the fragment belongs that begins with `headers` and is `length` bytes long.
pub(super) fn piece(headers: &[u8], length: u32) -> Option<Piece> {
    let b: &[u8; 20] = headers.first_chunk()?;
    let header_len = u32::from(b[0] & 0x0f) * 4;
    let offset = u16::from_be_bytes([b[6], b[7]]);
    Some(Piece {
        identification: u16::from_be_bytes([b[4], b[5]]).into(),
        offset: u32::from(offset & 0x1fff) * 8,
        len: length.checked_sub(header_len)?,
        before: header_len,
        has_more: offset & 0x2000 != 0,
    })
}
