//! `spoof.routing`: what only routers and servers of the provider may say on a tenant's port.
//!
//! **Measure.** Packets, where the link tells who sent them, of routing protocols to their groups or to a protected address: OSPF
//! (RFC 2328, RFC 5340), EIGRP (RFC 7868), RIP and RIPng (RFC 2453, RFC 2080), HSRP (RFC 2281) and GLBP; VRRP for
//! addresses of others (RFC 9568); router advertisements (RFC 4861; what RFC 6105 guards against); answers of DHCP
//! servers (RFC 2131, RFC 8415; what DHCP snooping refuses). And connections to port 179 of a protected address, such as a gateway: BGP (RFC 4271).
//!
//! **Numbers.** 1 packet within a minute. BGP is a suspicion only: whether it was agreed upon cannot be seen on the wire.
//!
//! **Look-alikes that stay silent.** DHCP clients and relays; VRRP and CARP for the tenant's own addresses; BGP with anybody but
//! the provider; RIP and OSPF numbers sent to far hosts, which are scans or reflection and told as such; everything on a link behind the tenant, which
//! does not come by its port; what a mirror shows, where a router may well be the tenant.
//!
//! **Evasion.** Tunnels; IS-IS and spanning tree, which are no IP.

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
}

impl Speech {
    /// What a packet says; `None` for nearly all.
    #[must_use]
    pub fn of(ip: &Ip<'_>) -> Option<Self> {
        match &ip.transport {
            Transport::Udp(udp) => match (udp.source_port, udp.destination_port) {
                DHCP => Some(Self::Dhcp("dhcp_answers")),
                DHCPV6 => Some(Self::Dhcp("dhcpv6_answers")),
                (_, RIP) => Some(Self::Routing("rip")),
                (_, RIPNG) => Some(Self::Routing("ripng")),
                (_, HSRP | HSRP_V6) => Some(Self::Routing("hsrp")),
                (_, GLBP) => Some(Self::Routing("glbp")),
                _ => None,
            },
            Transport::Tcp(tcp) => {
                let opens = tcp.flags.0 & (TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST) == TcpFlags::SYN;
                (opens && tcp.destination_port == BGP).then_some(Self::Bgp)
            }
            Transport::Icmp(_) => {
                matches!(neighbour::read(ip), Some(Neighbour::Router)).then_some(Self::Router)
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
        }
    }
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
    let minute = if speech == Speech::Bgp { &mut alone } else { minute };
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
        confidence_percent: if speech == Speech::Bgp { 50 } else { 95 },
        is_suspicion: speech == Speech::Bgp,
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
