//! Neighbour discovery (RFC 4861): which address a message binds to which hardware address.
//!
//! Left out: what a binding means, and whether its sender may say so; prefixes and parameters of router advertisements.

use std::net::{IpAddr, Ipv6Addr};

use macaddr::MacAddr6;

use super::{Ip, Transport, ipv6};

/// ICMPv6 types (RFC 4861, section 4).
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
/// Options: the sender's hardware address, and that of the address asked for.
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
/// What was forwarded is no neighbour's: receivers take nothing with another hop limit.
const HOP_LIMIT: u8 = 255;
/// Options are looked through up to here. Each takes eight bytes at least.
const MAX_OPTIONS: usize = 8;

/// What a message of neighbour discovery says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// A router says that it is one.
    Router,
    /// A router says that there is a better way.
    Redirect,
    /// An address is at a hardware address: an advertisement, or what a question says of who asks. `mac` is `None` where an
    /// advertisement leaves it to the frame.
    Claim {
        /// The address.
        address: Ipv6Addr,
        /// Where it is said to be.
        mac: Option<MacAddr6>,
    },
}

/// Reads a packet; `None` where it binds nothing, or no receiver would take it.
#[must_use]
pub fn read(ip: &Ip<'_>) -> Option<Neighbour> {
    let Transport::Icmp(icmp) = &ip.transport else { return None };
    let (IpAddr::V6(source), HOP_LIMIT, 0) = (ip.source, ip.ttl, icmp.code) else { return None };
    let message = ip.headers.get(ip.headers.len().checked_sub(8 + usize::from(icmp.body_len))?..)?;
    let asker = |options: usize| {
        // A question from nowhere asks whether an address is taken (RFC 4862, section 5.4.2): it claims nothing.
        let mac = option(message.get(options..)?, SOURCE_LINK_LAYER)?;
        (!source.is_unspecified()).then_some(Neighbour::Claim { address: source, mac: Some(mac) })
    };
    match icmp.icmp_type {
        ROUTER_ADVERTISEMENT => Some(Neighbour::Router),
        REDIRECT => Some(Neighbour::Redirect),
        ROUTER_SOLICITATION => asker(8),
        NEIGHBOUR_SOLICITATION => asker(24),
        NEIGHBOUR_ADVERTISEMENT => {
            let address = ipv6::address(message.get(8..24)?);
            let mac = message.get(24..).and_then(|options| option(options, TARGET_LINK_LAYER));
            Some(Neighbour::Claim { address, mac })
        }
        _ => None,
    }
}

/// The hardware address in the option of a kind.
fn option(mut options: &[u8], kind: u8) -> Option<MacAddr6> {
    for _ in 0..MAX_OPTIONS {
        let [found, len, ..] = *options else { return None };
        // An option without length makes the message void (RFC 4861, section 4.6).
        let len = usize::from(len) * 8;
        if len == 0 {
            return None;
        }
        if found == kind {
            let six: [u8; 6] = *options.get(2..)?.first_chunk()?;
            return Some(six.into());
        }
        options = options.get(len..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::LinkType;
    use crate::packet::{Body, parse};

    const ME: &str = "2001:db8::1";

    /// A message of `kind` from `source` with `body` behind the first eight bytes.
    fn message(kind: u8, hops: u8, source: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 8 + body.len() as u8, 58, hops];
        bytes.extend(source.parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend("ff02::1".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend([kind, 0, 0, 0, 0x20, 0, 0, 0]);
        bytes.extend(body);
        bytes
    }

    fn check(bytes: &[u8], expect: Option<Neighbour>) {
        let packet = parse(LinkType::RawIp, bytes, bytes.len() as u32).unwrap();
        let Body::Ip(ip) = packet.body else { panic!("no packet") };
        assert_eq!(read(&ip), expect, "{bytes:02x?}");
    }

    fn target(options: &[u8]) -> Vec<u8> {
        let mut body = ME.parse::<Ipv6Addr>().unwrap().octets().to_vec();
        body.extend(options);
        body
    }

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

    fn claim(address: &str, with_mac: bool) -> Option<Neighbour> {
        Some(Neighbour::Claim { address: address.parse().unwrap(), mac: with_mac.then(|| MAC.into()) })
    }

    #[test]
    fn advertisements_and_askers_bind() {
        check(&message(136, 255, "fe80::9", &target(&[2, 1, 2, 0, 0, 0, 0, 7])), claim(ME, true));
        check(&message(136, 255, "fe80::9", &target(&[])), claim(ME, false));
        check(
            &message(136, 255, "fe80::9", &target(&[14, 1, 0, 0, 0, 0, 0, 0, 2, 1, 2, 0, 0, 0, 0, 7])),
            claim(ME, true),
        );
        check(&message(135, 255, "fe80::9", &target(&[1, 1, 2, 0, 0, 0, 0, 7])), claim("fe80::9", true));
        check(&message(133, 255, "fe80::9", &[1, 1, 2, 0, 0, 0, 0, 7]), claim("fe80::9", true));
        check(&message(134, 255, "fe80::9", &[0; 8]), Some(Neighbour::Router));
        check(&message(137, 255, "fe80::9", &[0; 32]), Some(Neighbour::Redirect));
        check(&message(137, 64, "fe80::9", &[0; 32]), None);
    }

    #[test]
    fn what_nobody_would_take_binds_nothing() {
        // Duplicate address detection, and a question without the asker's hardware address.
        check(&message(135, 255, "::", &target(&[])), None);
        check(&message(135, 255, "fe80::9", &target(&[])), None);
        // From beyond a router; options without length or cut off; no room for a target.
        check(&message(136, 64, "fe80::9", &target(&[2, 1, 2, 0, 0, 0, 0, 7])), None);
        check(&message(136, 255, "fe80::9", &target(&[2, 0, 2, 0, 0, 0, 0, 7])), claim(ME, false));
        check(&message(135, 255, "fe80::9", &target(&[1, 1, 2, 0])), None);
        check(&message(136, 255, "fe80::9", &[1, 2, 3]), None);
        check(&message(128, 255, "fe80::9", &target(&[])), None);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        for kind in 130..=140 {
            for len in 0..90_usize {
                for fill in [0_u8, 1, 2, 0x7f, 0xff] {
                    let bytes = message(kind, 255, "fe80::9", &vec![fill; len]);
                    let whole = parse(LinkType::RawIp, &bytes, bytes.len() as u32);
                    if let Ok(Body::Ip(ip)) = whole.map(|packet| packet.body) {
                        let _ = read(&ip);
                    }
                }
            }
        }
    }
}
