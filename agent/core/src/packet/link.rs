//! Link headers: Ethernet with VLAN tags, LLC/SNAP and PPPoE; Linux "cooked" captures; BSD loopback; none.

use macaddr::MacAddr6;

use super::{Body, Malformed, Packet, arp, ipv4, ipv6};
use crate::frame::LinkType;

/// EtherTypes (IANA "IEEE 802 Numbers").
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const PPPOE_SESSION: u16 = 0x8864;
/// 802.1Q, 802.1ad, and the value that was used for double tagging before it.
const VLAN_TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// Tags beyond this are not looked behind.
const MAX_TAGS: usize = 4;
/// Below this an EtherType is an IEEE 802.3 length.
const MIN_ETHERTYPE: u16 = 0x0600;
/// LLC with a SNAP header of the "encapsulated Ethernet" kind (RFC 1042).
const SNAP: [u8; 6] = [0xaa, 0xaa, 0x03, 0, 0, 0];
/// PPP protocol numbers for IPv4 and IPv6 (RFC 1332, RFC 5072).
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;

/// Parses a frame from its link header on.
pub(super) fn parse(link: LinkType, data: &[u8], wire_len: u32) -> Result<Packet<'_>, Malformed> {
    match link {
        LinkType::Ethernet => ethernet(data, wire_len),
        LinkType::RawIp => {
            let body = match data.first().ok_or(Malformed::IpHeader)? >> 4 {
                4 => ipv4::parse(data, wire_len)?,
                6 => ipv6::parse(data, wire_len)?,
                _ => return Err(Malformed::IpHeader),
            };
            Ok(bare(body))
        }
        LinkType::Null => null(data, wire_len),
        LinkType::LinuxSll => {
            let header: &[u8; 16] = data.first_chunk().ok_or(Malformed::Link)?;
            let mac = (header[4..6] == [0, 6]).then(|| mac(&header[6..12]));
            cooked(mac, u16::from_be_bytes([header[14], header[15]]), &data[16..], wire_len, 16)
        }
        LinkType::LinuxSll2 => {
            let header: &[u8; 20] = data.first_chunk().ok_or(Malformed::Link)?;
            let mac = (header[11] == 6).then(|| mac(&header[12..18]));
            cooked(mac, u16::from_be_bytes([header[0], header[1]]), &data[20..], wire_len, 20)
        }
    }
}

fn ethernet(data: &[u8], wire_len: u32) -> Result<Packet<'_>, Malformed> {
    let header: &[u8; 14] = data.first_chunk().ok_or(Malformed::Link)?;
    let mut kind = u16::from_be_bytes([header[12], header[13]]);
    let mut start = 14;
    let mut vlan = None;
    for _ in 0..MAX_TAGS {
        if !VLAN_TAGS.contains(&kind) {
            break;
        }
        let tag: &[u8; 4] = data[start..].first_chunk().ok_or(Malformed::Link)?;
        vlan = vlan.or(Some(u16::from_be_bytes([tag[0], tag[1]]) & 0x0fff));
        kind = u16::from_be_bytes([tag[2], tag[3]]);
        start += 4;
    }
    if kind < MIN_ETHERTYPE {
        match data[start..].first_chunk::<8>() {
            Some(llc) if llc[..6] == SNAP => {
                kind = u16::from_be_bytes([llc[6], llc[7]]);
                start += 8;
            }
            _ => kind = 0,
        }
    }
    if kind == PPPOE_SESSION {
        let header: &[u8; 8] = data[start..].first_chunk().ok_or(Malformed::Link)?;
        match u16::from_be_bytes([header[6], header[7]]) {
            PPP_IPV4 => (kind, start) = (IPV4, start + 8),
            PPP_IPV6 => (kind, start) = (IPV6, start + 8),
            _ => {}
        }
    }
    let body = body(kind, &data[start..], wire_len.saturating_sub(start as u32))?;
    Ok(Packet { source_mac: Some(mac(&header[6..12])), destination_mac: Some(mac(&header[..6])), vlan, body })
}

fn cooked(
    source_mac: Option<MacAddr6>,
    kind: u16,
    rest: &[u8],
    wire_len: u32,
    header_len: u32,
) -> Result<Packet<'_>, Malformed> {
    let body = body(kind, rest, wire_len.saturating_sub(header_len))?;
    Ok(Packet { source_mac, destination_mac: None, vlan: None, body })
}

/// The family is in the byte order of the machine that wrote the capture; no family is a multiple of 65536.
fn null(data: &[u8], wire_len: u32) -> Result<Packet<'_>, Malformed> {
    let header: &[u8; 4] = data.first_chunk().ok_or(Malformed::Link)?;
    let family = u32::from_be_bytes(*header).min(u32::from_le_bytes(*header));
    let (rest, wire_len) = (&data[4..], wire_len.saturating_sub(4));
    Ok(bare(match family {
        2 => ipv4::parse(rest, wire_len)?,
        // Linux, NetBSD and OpenBSD, FreeBSD, macOS.
        10 | 24 | 28 | 30 => ipv6::parse(rest, wire_len)?,
        _ => return Err(Malformed::Family),
    }))
}

fn body(kind: u16, rest: &[u8], wire_len: u32) -> Result<Body<'_>, Malformed> {
    match kind {
        IPV4 => ipv4::parse(rest, wire_len),
        IPV6 => ipv6::parse(rest, wire_len),
        ARP => arp::parse(rest),
        other => Ok(Body::Other(other)),
    }
}

fn bare(body: Body<'_>) -> Packet<'_> {
    Packet { source_mac: None, destination_mac: None, vlan: None, body }
}

/// From six bytes.
fn mac(bytes: &[u8]) -> MacAddr6 {
    let mut six = [0; 6];
    six.copy_from_slice(bytes);
    six.into()
}
