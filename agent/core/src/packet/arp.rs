//! ARP for IPv4 over Ethernet (RFC 826). Other kinds are told as their EtherType.

use std::net::Ipv4Addr;

use super::{Arp, Body, Malformed};

/// Hardware type Ethernet, protocol type IPv4, lengths 6 and 4.
const IPV4_OVER_ETHERNET: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ETHERTYPE: u16 = 0x0806;

pub(super) fn parse(data: &[u8]) -> Result<Body<'_>, Malformed> {
    let kind: &[u8; 6] = data.first_chunk().ok_or(Malformed::Arp)?;
    if *kind != IPV4_OVER_ETHERNET {
        return Ok(Body::Other(ETHERTYPE));
    }
    let b: &[u8; 28] = data.first_chunk().ok_or(Malformed::Arp)?;
    Ok(Body::Arp(Arp {
        operation: u16::from_be_bytes([b[6], b[7]]),
        sender_mac: [b[8], b[9], b[10], b[11], b[12], b[13]].into(),
        sender: Ipv4Addr::new(b[14], b[15], b[16], b[17]),
        target: Ipv4Addr::new(b[24], b[25], b[26], b[27]),
    }))
}
