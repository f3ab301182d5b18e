//! VRRP (RFC 9568, and RFC 3768 before it): which addresses an advertisement claims for a group of routers.
//!
//! CARP, which pfSense and the BSDs speak under the same number, does not say which addresses it is about; it is told apart
//! and claims nothing here.

use std::net::{IpAddr, Ipv4Addr};

use reeve_policy::Protocol;

use super::{Ip, ipv6};

/// Its protocol number, by IANA.
pub const PROTOCOL: u8 = 112;
/// So much of a message counts as header: eight bytes and the first addresses.
pub(super) const MAX_LEN: usize = 72;
/// A CARP message: version 2, seven words of authentication, 36 bytes (OpenBSD, `netinet/ip_carp.h`).
const CARP_LEN: u32 = 36;
/// What was forwarded is no neighbour's (RFC 9568, section 5.1.1.3).
const HOP_LIMIT: u8 = 255;

/// The addresses that an advertisement claims, as far as they were captured; none where it is none.
pub fn claims<'a>(ip: &Ip<'a>) -> impl Iterator<Item = IpAddr> + use<'a> {
    let (is_v6, message) =
        message(ip).map_or((false, &[] as &[u8]), |message| (ip.source.is_ipv6(), message));
    let width = if is_v6 { 16 } else { 4 };
    let count = message.get(3).map_or(0, |count| usize::from(*count));
    message.get(8..).unwrap_or(&[]).chunks_exact(width).take(count).map(move |bytes| {
        if is_v6 {
            ipv6::address(bytes).into()
        } else {
            Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()
        }
    })
}

fn message<'a>(ip: &Ip<'a>) -> Option<&'a [u8]> {
    if ip.protocol != Protocol::Other(PROTOCOL) || ip.ttl != HOP_LIMIT {
        return None;
    }
    let start = match ip.source {
        IpAddr::V4(_) => usize::from(ip.headers.first()? & 0x0f) * 4,
        IpAddr::V6(_) if ip.extensions == 0 => 40,
        IpAddr::V6(_) => return None,
    };
    let message = ip.headers.get(start..)?;
    let (kind, count) = (*message.first()?, *message.get(3)?);
    let is_carp =
        kind == 0x21 && count == 7 && ip.length.saturating_sub(u32::try_from(start).ok()?) == CARP_LEN;
    (matches!(kind, 0x21 | 0x31) && !is_carp).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::LinkType;
    use crate::packet::{Body, parse};

    fn check(hops: u8, message: &[u8], expect: &[&str]) {
        let mut bytes = vec![
            0x45,
            0,
            0,
            20 + message.len() as u8,
            0,
            0,
            0,
            0,
            hops,
            112,
            0,
            0,
            203,
            0,
            113,
            10,
            224,
            0,
            0,
            18,
        ];
        bytes.extend(message);
        let packet = parse(LinkType::RawIp, &bytes, bytes.len() as u32).unwrap();
        let Body::Ip(ip) = packet.body else { panic!("no packet") };
        let told: Vec<String> = claims(&ip).map(|address| address.to_string()).collect();
        assert_eq!(told, expect);
    }

    #[test]
    fn addresses_are_read_and_carp_has_none() {
        let addresses = [203, 0, 113, 20, 203, 0, 113, 21];
        let with = |head: [u8; 8], rest: &[u8]| [&head, rest].concat();
        check(255, &with([0x21, 5, 100, 2, 0, 1, 0, 0], &addresses), &["203.0.113.20", "203.0.113.21"]);
        check(255, &with([0x31, 5, 100, 1, 0, 1, 0, 0], &addresses), &["203.0.113.20"]);
        check(255, &with([0x31, 5, 100, 200, 0, 1, 0, 0], &addresses[..7]), &["203.0.113.20"]);
        check(64, &with([0x21, 5, 100, 2, 0, 1, 0, 0], &addresses), &[]);
        check(255, &with([0x21, 5, 100, 7, 0, 1, 0, 0], &[203; 28]), &[]);
        check(255, &[0x21, 5], &[]);
        check(255, &[], &[]);
    }
}
