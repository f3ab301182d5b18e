//! What the node must never cut off: itself, its gateways and its resolvers.
//!
//! Read from the kernel (`/proc/net/route`, `/proc/net/ipv6_route`), from the interfaces, and from `resolv.conf`. What
//! cannot be read is left out and told; the settings' `[protected] destinations` is there for what this cannot know.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::config::ControllerSettings;

/// Addresses by which the node lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifelines {
    /// Its gateways and resolvers, and the addresses that it speaks from itself.
    pub vital: BTreeSet<IpNet>,
    /// All of its own addresses. Some may be tenants', where tenants are users of the node.
    pub own: BTreeSet<IpNet>,
}

/// Hosts that are nowhere (RFC 5737, RFC 3849): the way to them is the way to anywhere.
const ANYWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// Where resolvers stand; the second has those behind the stub of systemd-resolved.
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// Reads them. `peers` are hosts that the node must reach, such as its controller.
#[must_use]
pub fn lifelines(peers: &[IpNet]) -> Lifelines {
    let own = pnet_datalink::interfaces().into_iter().flat_map(|interface| interface.ips).map(|net| net.ip());
    let gateways = gateways_v4(&head_of("/proc/net/route"))
        .into_iter()
        .chain(gateways_v6(&head_of("/proc/net/ipv6_route")));
    let gateways: BTreeSet<IpAddr> = gateways.filter(is_worth_protecting).collect();
    let resolvers: BTreeSet<IpAddr> =
        RESOLVERS.iter().flat_map(|path| resolvers(&head_of(path))).filter(is_worth_protecting).collect();
    let reached =
        gateways.iter().chain(&resolvers).copied().chain(peers.iter().map(IpNet::addr)).chain(ANYWHERE);
    let sources: Vec<IpAddr> = reached.filter_map(source_towards).collect();
    let nets = |addresses: &mut dyn Iterator<Item = IpAddr>| {
        addresses.filter(is_worth_protecting).map(IpNet::from).collect()
    };
    Lifelines {
        vital: nets(&mut gateways.into_iter().chain(resolvers).chain(sources)),
        own: nets(&mut { own }),
    }
}

/// The interfaces by which there is a gateway.
#[must_use]
pub fn ways_out() -> BTreeSet<String> {
    ways_out_of(&head_of("/proc/net/route"), &head_of("/proc/net/ipv6_route"))
}

/// The first part of a file. The kernel lists default routes first, and a router may have a million others.
fn head_of(path: &str) -> String {
    use std::io::Read as _;
    const MOST_BYTES: u64 = 256 * 1_024;
    let mut bytes = Vec::new();
    // What cannot be read is as if it were not there.
    let _ = std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `RTF_GATEWAY` and `RTF_REJECT` of linux/route.h.
const ROUTE_GATEWAY: u32 = 0x2;
const ROUTE_REJECT: u32 = 0x200;

fn ways_out_of(v4: &str, v6: &str) -> BTreeSet<String> {
    let leads_out = |flags: &str| {
        u32::from_str_radix(flags, 16)
            .is_ok_and(|flags| flags & (ROUTE_GATEWAY | ROUTE_REJECT) == ROUTE_GATEWAY)
    };
    let of_v4 = v4.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns.get(3).is_some_and(|flags| leads_out(flags)).then(|| columns[0].to_owned())
    });
    let of_v6 = v6.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns
            .get(8)
            .is_some_and(|flags| leads_out(flags))
            .then(|| (*columns.last().unwrap_or(&"")).to_owned())
    });
    of_v4.chain(of_v6).filter(|name| !name.is_empty()).collect()
}

/// The address that the node speaks from to reach another. Nothing is sent: the kernel only looks up the way.
fn source_towards(address: IpAddr) -> Option<IpAddr> {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = std::net::UdpSocket::bind((any, 0)).ok()?;
    // Port 9 discards (RFC 863).
    socket.connect((address, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The addresses of a URL's host. A name that cannot be resolved now has none; the link will say so.
#[must_use]
pub fn addresses_of(url: &str) -> Vec<IpNet> {
    use std::net::ToSocketAddrs;
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/');
    let with_port = if authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        authority.to_owned()
    } else {
        format!("{authority}:443")
    };
    let addresses = with_port.to_socket_addrs().into_iter().flatten().map(|address| address.ip());
    addresses.filter(is_worth_protecting).map(IpNet::from).collect()
}

/// The addresses of every controller of the settings.
#[must_use]
pub fn controllers(settings: Option<&ControllerSettings>) -> Vec<IpNet> {
    settings.iter().flat_map(|settings| &settings.addresses).flat_map(|url| addresses_of(url)).collect()
}

/// Loopback and link-local addresses are never forwarded.
fn is_worth_protecting(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_unspecified() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unspecified() && !v6.is_unicast_link_local(),
    }
}

/// The second column is the destination, the third the gateway and the eighth the mask, in hexadecimal as the processor stores them.
fn gateways_v4(table: &str) -> Vec<IpAddr> {
    let route = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let number = |column: usize| u32::from_str_radix(columns.get(column)?, 16).ok();
        let gateway = IpAddr::V4(Ipv4Addr::from(number(2)?.to_ne_bytes()));
        Some((gateway, number(1) == Some(0) && number(7).unwrap_or_default() == 0))
    };
    gateways(table.lines().skip(1).filter_map(route))
}

/// The first column is the destination, the second its length and the fifth the gateway, in hexadecimal as it is on the wire.
fn gateways_v6(table: &str) -> Vec<IpAddr> {
    let route = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let gateway = IpAddr::V6(Ipv6Addr::from(u128::from_str_radix(columns.get(4)?, 16).ok()?));
        let is_default = columns[0].bytes().all(|digit| digit == b'0') && columns[1] == "00";
        Some((gateway, is_default))
    };
    gateways(table.lines().filter_map(route))
}

/// The gateways of default routes. The gateway of another may be a tenant, to whom a prefix is routed; only where there is no
/// default route, as on a router that has all of the internet's, are they all taken.
fn gateways(routes: impl Iterator<Item = (IpAddr, bool)>) -> Vec<IpAddr> {
    let routes: Vec<(IpAddr, bool)> = routes.filter(|(gateway, _)| !gateway.is_unspecified()).collect();
    let has_default = routes.iter().any(|(_, is_default)| *is_default);
    routes
        .into_iter()
        .filter(|(_, is_default)| *is_default || !has_default)
        .map(|(gateway, _)| gateway)
        .collect()
}

fn resolvers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| line.trim().strip_prefix("nameserver")?.split_whitespace().next()?.parse().ok();
    text.lines().filter_map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_and_resolvers_are_read() {
        let v4 = "Iface\tDestination\tGateway \tFlags\neth0\t00000000\t0101A8C0\t0003\neth0\t0001A8C0\t00000000\t0001\n";
        let expected: IpAddr =
            if cfg!(target_endian = "little") { "192.168.1.1" } else { "1.1.168.192" }.parse().unwrap();
        assert_eq!(gateways_v4(v4)[0], expected);
        let v6 = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 20010db8000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n";
        assert_eq!(gateways_v6(v6), ["2001:db8::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(
            resolvers("# x\nnameserver 192.0.2.53\noptions edns0\n nameserver fe80::1%eth0\n"),
            ["192.0.2.53".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(gateways_v4("rubbish\nx y z\n"), Vec::<IpAddr>::new());
        // A tenant is the gateway of what is routed to it, and nothing that the node lives by.
        let to_tenant = "eth1\t0002A8C0\t0202A8C0\t0003\t0\t0\t0\t00FFFFFF\n";
        assert_eq!(gateways_v4(&format!("{v4}{to_tenant}")), [expected]);
        assert_eq!(gateways_v4(&format!("head\n{to_tenant}")).len(), 1);
        let v6_to_tenant = "20010db8002000000000000000000000 30 00000000000000000000000000000000 00 20010db8000000000000000000000002 00000400 00000001 00000000 00000003 eth1\n";
        assert_eq!(gateways_v6(&format!("{v6_to_tenant}{v6}")), ["2001:db8::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(ways_out_of(v4, v6), BTreeSet::from(["eth0".to_owned()]));
        let only_v6 = v6.replace("eth0", "eth1");
        assert_eq!(ways_out_of("rubbish\nx y z\n", &only_v6), BTreeSet::from(["eth1".to_owned()]));
    }

    #[test]
    fn the_node_knows_its_own_addresses() {
        let Lifelines { vital, own } = lifelines(&[]);
        assert!(vital.iter().chain(&own).all(|net| is_worth_protecting(&net.addr())));
        assert_eq!(source_towards(Ipv4Addr::LOCALHOST.into()), Some(Ipv4Addr::LOCALHOST.into()));
    }
}
