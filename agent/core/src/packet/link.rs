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
const fn is_vlan_tag(kind: u16) -> bool {
    matches!(kind, 0x8100 | 0x88a8 | 0x9100)
}
/// Tags beyond this are not looked behind.
const MAX_TAGS: usize = 4;
/// Below this an EtherType is an IEEE 802.3 length.
const MIN_ETHERTYPE: u16 = 0x0600;
/// LLC with a SNAP header of the "encapsulated Ethernet" kind (RFC 1042).
const SNAP: [u8; 6] = [0xaa, 0xaa, 0x03, 0, 0, 0];
/// PPP protocol numbers for IPv4 and IPv6 (RFC 1332, RFC 5072).
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;

/// What a link header says.
#[derive(Clone, Copy)]
struct Header {
    source_mac: Option<MacAddr6>,
    destination_mac: Option<MacAddr6>,
    vlan: Option<u16>,
    /// The EtherType of what stands behind it.
    kind: u16,
    /// Its own length.
    len: usize,
}

/// Parses a frame from its link header on.
#[inline]
pub(super) fn parse(link: LinkType, data: &[u8], wire_len: u32) -> Result<Packet<'_>, Malformed> {
    let Header { source_mac, destination_mac, vlan, kind, len } = header(link, data)?;
    let (rest, wire_len) = (&data[len..], wire_len.saturating_sub(len as u32));
    let body = match kind {
        IPV4 => Body::Ip(ipv4::parse(rest, wire_len)?),
        IPV6 => Body::Ip(ipv6::parse(rest, wire_len)?),
        ARP => arp::parse(rest)?,
        other => Body::Other(other),
    };
    Ok(Packet { source_mac, destination_mac, vlan, body })
}

#[inline]
fn header(link: LinkType, data: &[u8]) -> Result<Header, Malformed> {
    match link {
        LinkType::Ethernet => ethernet(data),
        LinkType::RawIp => {
            let kind = match data.first().ok_or(Malformed::IpHeader)? >> 4 {
                4 => IPV4,
                6 => IPV6,
                _ => return Err(Malformed::IpHeader),
            };
            Ok(bare(kind, 0))
        }
        LinkType::Null => null(data),
        LinkType::LinuxSll => {
            let header: &[u8; 16] = data.first_chunk().ok_or(Malformed::Link)?;
            let source_mac = (header[4..6] == [0, 6]).then(|| mac(&header[6..12]));
            Ok(Header { source_mac, ..bare(u16::from_be_bytes([header[14], header[15]]), 16) })
        }
        LinkType::LinuxSll2 => {
            let header: &[u8; 20] = data.first_chunk().ok_or(Malformed::Link)?;
            let source_mac = (header[11] == 6).then(|| mac(&header[12..18]));
            Ok(Header { source_mac, ..bare(u16::from_be_bytes([header[0], header[1]]), 20) })
        }
    }
}

#[inline]
fn ethernet(data: &[u8]) -> Result<Header, Malformed> {
    let header: &[u8; 14] = data.first_chunk().ok_or(Malformed::Link)?;
    let mut kind = u16::from_be_bytes([header[12], header[13]]);
    let mut len = 14;
    let mut vlan = None;
    for _ in 0..MAX_TAGS {
        if !is_vlan_tag(kind) {
            break;
        }
        let tag: &[u8; 4] = data[len..].first_chunk().ok_or(Malformed::Link)?;
        vlan = vlan.or(Some(u16::from_be_bytes([tag[0], tag[1]]) & 0x0fff));
        kind = u16::from_be_bytes([tag[2], tag[3]]);
        len += 4;
    }
    if kind < MIN_ETHERTYPE {
        match data[len..].first_chunk::<8>() {
            Some(llc) if llc[..6] == SNAP => {
                kind = u16::from_be_bytes([llc[6], llc[7]]);
                len += 8;
            }
            _ => kind = 0,
        }
    }
    if kind == PPPOE_SESSION {
        let header: &[u8; 8] = data[len..].first_chunk().ok_or(Malformed::Link)?;
        match u16::from_be_bytes([header[6], header[7]]) {
            PPP_IPV4 => (kind, len) = (IPV4, len + 8),
            PPP_IPV6 => (kind, len) = (IPV6, len + 8),
            _ => {}
        }
    }
    Ok(Header {
        source_mac: Some(mac(&header[6..12])),
        destination_mac: Some(mac(&header[..6])),
        vlan,
        kind,
        len,
    })
}

/// The family is in the byte order of the machine that wrote the capture; no family is a multiple of 65536.
fn null(data: &[u8]) -> Result<Header, Malformed> {
    let header: &[u8; 4] = data.first_chunk().ok_or(Malformed::Link)?;
    match u32::from_be_bytes(*header).min(u32::from_le_bytes(*header)) {
        2 => Ok(bare(IPV4, 4)),
        // Linux, NetBSD and OpenBSD, FreeBSD, macOS.
        10 | 24 | 28 | 30 => Ok(bare(IPV6, 4)),
        _ => Err(Malformed::Family),
    }
}

const fn bare(kind: u16, len: usize) -> Header {
    Header { source_mac: None, destination_mac: None, vlan: None, kind, len }
}

/// From six bytes.
fn mac(bytes: &[u8]) -> MacAddr6 {
    let mut six = [0; 6];
    six.copy_from_slice(bytes);
    six.into()
}
