//! `spoof.routing`: what only routers and servers of the provider may say on a tenant's port.
//!
//! **Measure.** Packets, where the link tells who sent them, of routing protocols to their groups or to a protected address: OSPF
//! (RFC 2328, RFC 5340), EIGRP (RFC 7868), RIP and RIPng (RFC 2453, RFC 2080), HSRP (RFC 2281) and GLBP; VRRP for
//! addresses of others (RFC 9568); router advertisements (RFC 4861; what RFC 6105 guards against); answers of DHCP
//! servers (RFC 2131, RFC 8415; what DHCP snooping refuses), from whatever port; redirects in the name of a protected address or of another tenant's
//! (RFC 792; RFC 4861, section 8.1); and messages to neighbours whose kind is hidden in a later fragment (RFC 6980 forbids them). And connections
//! to port 179 of a protected address, such as a gateway: BGP (RFC 4271).
//!
//! **Numbers.** 1 packet within a minute. BGP is a suspicion only: whether it was agreed upon cannot be seen on the wire. So is a redirect from
//! an address that was heard to be a neighbour's.
//!
//! **Look-alikes that stay silent.** DHCP clients and relays; a service that answers whoever asks it in a gateway's name from a router's port: routers speak
//! from the port that they speak to, and an answer to a datagram that came just before is nobody's own word; redirects in a host's own name, as whoever
//! forwards sends them; VRRP and CARP for the tenant's own addresses; BGP with anybody but
//! the provider; RIP and OSPF numbers sent to far hosts, which are scans or reflection and told as such; everything on a link behind the tenant, which
//! does not come by its port; what a mirror shows, where a router may well be the tenant.
//!
//! **Evasion.** Tunnels; IS-IS and spanning tree, which are no IP. A gateway's link-local address that is not among the protected ones.

use std::net::IpAddr;

use reeve_policy::language::thresholds::SpoofRouting;
use reeve_policy::{Class, Metric, Protocol, Target, Timestamp};

use super::claims::Minute;
use super::{Finding, count};
use crate::packet::neighbour::{self, Neighbour};
use crate::packet::{Ip, TcpFlags, Transport, vrrp};

const OSPF: u8 = 89;
const EIGRP: u8 = 88;
const RIP: u16 = 520;
const RIPNG: u16 = 521;
const HSRP: u16 = 1985;
const HSRP_V6: u16 = 2029;
const GLBP: u16 = 3222;
const DHCP: (u16, u16) = (67, 68);
const DHCPV6: (u16, u16) = (547, 546);
const BGP: u16 = 179;
/// "Redirect" of RFC 792.
const REDIRECT: u8 = 5;
/// What is said to neighbours has this hop limit, and no other is listened to (RFC 4861).
const HOP_LIMIT: u8 = 255;

/// What was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// A routing protocol to its group, or to a neighbour.
    Routing(&'static str),
    /// A VRRP advertisement, for whose addresses see [`vrrp::claims`].
    Vrrp,
    /// A router advertisement.
    Router,
    /// A DHCP server's answer.
    Dhcp(&'static str),
    /// A connection of BGP.
    Bgp,
    /// A redirect, IPv4's or IPv6's.
    Redirect,
    /// A redirect from an address that another was heard to have, who is not known.
    OthersRedirect,
    /// A message to neighbours whose kind is hidden behind a fragment.
    Hidden,
}

impl Speech {
    /// What a packet says; `None` for nearly all.
    #[must_use]
    pub fn of(ip: &Ip<'_>) -> Option<Self> {
        match &ip.transport {
            Transport::Udp(udp) => {
                let name = match (udp.source_port, udp.destination_port) {
                    DHCP => return Some(Self::Dhcp("dhcp_answers")),
                    DHCPV6 => return Some(Self::Dhcp("dhcpv6_answers")),
                    // Clients do not look where an answer comes from, but at what it is.
                    (_, port) if port == DHCP.1 => {
                        return is_boot_reply(udp.payload).then_some(Self::Dhcp("dhcp_answers"));
                    }
                    (_, port) if port == DHCPV6.1 => {
                        let is_near = is_for_all(ip.destination) || is_link_local(ip.destination);
                        let is_answer = is_near && is_dhcpv6_answer(udp.payload);
                        return is_answer.then_some(Self::Dhcp("dhcpv6_answers"));
                    }
                    (_, RIP) => "rip",
                    (_, RIPNG) => "ripng",
                    (_, HSRP | HSRP_V6) => "hsrp",
                    (_, GLBP) => "glbp",
                    _ => return None,
                };
                // Routers speak to each other from the port that they speak to (RFC 2453, section 3.9; RFC 2281). From any other it
                // is an answer to whoever asked from there.
                let is_routers = udp.source_port == udp.destination_port || is_for_all(ip.destination);
                is_routers.then_some(Self::Routing(name))
            }
            Transport::Tcp(tcp) => {
                let opens = tcp.flags.0 & (TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST) == TcpFlags::SYN;
                (opens && tcp.destination_port == BGP).then_some(Self::Bgp)
            }
            Transport::Icmp(icmp) if ip.protocol == Protocol::Icmp => {
                (icmp.icmp_type == REDIRECT).then_some(Self::Redirect)
            }
            Transport::Icmp(_) => match neighbour::read(ip)? {
                Neighbour::Router => Some(Self::Router),
                Neighbour::Redirect => Some(Self::Redirect),
                Neighbour::Claim { .. } => None,
            },
            Transport::Tiny { .. } => {
                let is_near = is_for_all(ip.destination) || is_link_local(ip.destination);
                (ip.protocol == Protocol::Icmpv6 && ip.ttl == HOP_LIMIT && is_near).then_some(Self::Hidden)
            }
            Transport::Other => match ip.protocol {
                Protocol::Other(OSPF) => Some(Self::Routing("ospf")),
                Protocol::Other(EIGRP) => Some(Self::Routing("eigrp")),
                Protocol::Other(vrrp::PROTOCOL) => Some(Self::Vrrp),
                _ => None,
            },
            _ => None,
        }
    }

    /// The name of the number that tells of it.
    const fn name(self) -> &'static str {
        match self {
            Self::Routing(name) | Self::Dhcp(name) => name,
            Self::Vrrp => "vrrp",
            Self::Router => "router_advertisements",
            Self::Bgp => "bgp",
            Self::Redirect | Self::OthersRedirect => "redirects",
            Self::Hidden => "fragmented_discovery",
        }
    }

    /// Whether it is only suspected to be another's to say.
    const fn is_doubtful(self) -> bool {
        matches!(self, Self::Bgp | Self::OthersRedirect)
    }
}

/// The two ports of a datagram, its sender's first, an answer to which may be a [`Speech`] of those who are asked.
#[must_use]
pub fn asks(ip: &Ip<'_>) -> Option<(u16, u16)> {
    let Transport::Udp(udp) = &ip.transport else { return None };
    let may = matches!(udp.source_port, RIP | RIPNG | HSRP | HSRP_V6 | GLBP)
        || udp.source_port == DHCP.1
        || udp.source_port == DHCPV6.1;
    (may && !is_for_all(ip.destination)).then_some((udp.source_port, udp.destination_port))
}

/// Whether a datagram asks DHCP servers for something.
#[must_use]
pub fn is_dhcp_request(ip: &Ip<'_>) -> bool {
    let Transport::Udp(udp) = &ip.transport else { return false };
    let ports = (udp.destination_port, udp.source_port);
    ports == DHCP || ports == DHCPV6
}

/// Whether a message is a server's (RFC 951: operation 2, then the kind of hardware and how long its addresses are, which is Ethernet's
/// here).
const fn is_boot_reply(payload: &[u8]) -> bool {
    matches!(payload, [2, 1, 6, ..])
}

/// Whether a message is an ADVERTISE, REPLY or RECONFIGURE (RFC 8415, section 7.3).
const fn is_dhcpv6_answer(payload: &[u8]) -> bool {
    matches!(payload, [2 | 7 | 10, ..])
}

/// Whether an address is one of IPv6 that holds on the link alone.
#[must_use]
pub const fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Whether a destination is a group's or everybody's, which no router passes on here.
#[must_use]
pub fn is_for_all(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}

/// Takes what a tenant said to `target` and may not have said, and judges.
pub fn judge(
    minute: &mut Minute,
    numbers: &SpoofRouting,
    speech: Speech,
    target: Target,
    at: Timestamp,
) -> Option<Finding> {
    // What is only suspected does not help anything else over its number.
    let mut alone = Minute::default();
    let minute = if speech.is_doubtful() { &mut alone } else { minute };
    let value = minute.add(target, at);
    let (seen, start) = minute.seen();
    (value >= numbers.packets).then(|| Finding {
        class: Class::SpoofRouting,
        start,
        at,
        metrics: vec![
            count("packets", value, numbers.packets),
            Metric { name: speech.name().into(), value: 1.0, threshold: None },
        ],
        confidence_percent: if speech.is_doubtful() { 50 } else { 95 },
        is_suspicion: speech.is_doubtful(),
        targets: seen.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::LinkType;
    use crate::packet::{Body, parse};

    /// An IPv4 packet of `protocol` whose transport header begins with two ports.
    fn check(protocol: u8, ports: (u16, u16), expect: Option<Speech>) {
        let mut bytes = vec![0x45, 0, 0, 60, 0, 0, 0, 0, 1, protocol, 0, 0, 203, 0, 113, 10, 224, 0, 0, 5];
        bytes.extend(ports.0.to_be_bytes());
        bytes.extend(ports.1.to_be_bytes());
        let rest: &[u8] =
            if protocol == 17 { &[0, 40, 0, 0] } else { &[0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0] };
        bytes.extend(rest);
        bytes.resize(60, 0);
        let packet = parse(LinkType::RawIp, &bytes, 60).unwrap();
        let Body::Ip(ip) = packet.body else { panic!("no packet") };
        assert_eq!(Speech::of(&ip), expect, "{protocol} {ports:?}");
    }

    #[test]
    fn each_is_told_by_its_number() {
        check(89, (0, 0), Some(Speech::Routing("ospf")));
        check(88, (0, 0), Some(Speech::Routing("eigrp")));
        check(112, (0, 0), Some(Speech::Vrrp));
        check(17, (67, 68), Some(Speech::Dhcp("dhcp_answers")));
        check(17, (547, 546), Some(Speech::Dhcp("dhcpv6_answers")));
        check(17, (520, 520), Some(Speech::Routing("rip")));
        check(17, (40_000, 520), Some(Speech::Routing("rip")));
        check(17, (1985, 1985), Some(Speech::Routing("hsrp")));
        check(6, (40_000, 179), Some(Speech::Bgp));
    }

    #[test]
    fn clients_relays_and_answers_are_none() {
        check(17, (68, 67), None);
        check(17, (67, 67), None);
        check(17, (546, 547), None);
        check(17, (53, 5_353), None);
        check(6, (179, 40_000), None);
        check(47, (0, 0), None);
    }

    #[test]
    fn one_is_enough_and_bgp_is_suspected_only() {
        let target = Target { address: [224, 0, 0, 5].into(), protocol: Protocol::Other(89), port: None };
        for (packets, speech, expect) in [
            (1, Speech::Routing("ospf"), Some(false)),
            (1, Speech::Bgp, Some(true)),
            (2, Speech::Routing("ospf"), None),
        ] {
            let numbers = SpoofRouting { packets };
            let finding = judge(&mut Minute::default(), &numbers, speech, target, Timestamp::from_secs(9));
            assert_eq!(finding.map(|finding| finding.is_suspicion), expect);
        }
    }
}
