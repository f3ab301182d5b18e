//! Whose packet it is: tenants, vantages, and the rules that bind the one to the other.
//!
//! On a *port* the interface tells: what comes in there was sent by the port's tenant whatever the source address says,
//! and a source that is not the tenant's is spoofed. Where several tenants share a port, the hardware address tells, then
//! the source address. On an *uplink* the hardware address tells where it is some tenant's (bridged), else the
//! address (longest prefix); what nobody owns is passing through. Tenants with a watched port are left out there. On a *mirror*, and in a capture of unknown direction, addresses tell on both sides.
//!
//! Of what the node's own processes send and get the kernel tells whose it is ([`local`]); whoever has processes on the node is judged by these
//! alone, since its addresses there are everybody's.
//!
//! A topology is a value: it is built whole, shared, and replaced by the next version. Invariant, kept by whoever builds
//! the tenants ([`reeve_policy::language::check_tenants`]): no address, interface or MAC belongs to two of them.

pub mod local;

use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ipnet::IpNet;
use macaddr::MacAddr6;
use reeve_policy::{NodeId, Tenant, TenantId};
use serde::{Deserialize, Serialize};

use crate::detect::horizontal::is_bogon;
use crate::frame::{Owner as ProcessOwner, Passage, VantageId};
use crate::packet::{Body, Packet};

type Map<K, V> = HashMap<K, V, FixedState>;

/// A tenant's place in [`Topology::tenants`]. It stays the same over topologies for as long as the tenant is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TenantIx(pub u32);

/// What an interface is to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VantageKind {
    /// A tenant's port: a tap or veth. What comes *in* there is what the tenant sends.
    Port,
    /// The way out. What goes *out* there is what tenants send.
    Uplink,
    /// A mirror of other machines' traffic, or a capture.
    Mirror,
    /// What the node's own processes send and get, with whose they are.
    Local,
}

/// An interface that is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vantage {
    /// Its key.
    pub id: VantageId,
    /// The interface.
    pub interface: Arc<str>,
    /// What it is to the node.
    pub kind: VantageKind,
    /// Of what the interest filter samples, one packet in this many is seen. At least 1.
    pub sampling: u32,
}

/// Whose a packet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attribution {
    /// The tenant that sent it.
    pub sender: Option<TenantIx>,
    /// The tenant that it is for.
    pub receiver: Option<TenantIx>,
    /// Its source is not its sender's.
    pub spoofed: bool,
    /// Its destination is not its receiver's: it was routed to it all the same, or flooded.
    pub astray: bool,
    /// The link tells who sent it, and not an address that anybody may write.
    pub by_link: bool,
}

/// Whose an address is that a tenant used or claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Its own.
    Own,
    /// Another tenant's.
    Tenant,
    /// One that nobody can have on the internet, or that the settings may well have left out: it slipped out.
    Leak,
    /// Nobody's that is known here.
    Nobody,
}

/// Prefixes of one address family, by length, longest first.
#[derive(Clone, Debug)]
struct Prefixes {
    /// The length of an address.
    width: u8,
    by_len: Vec<(u8, Map<u128, TenantIx>)>,
    /// A bit for each value of the [`HINT_BITS`] before the [`Prefixes::hinted`]th under which there is a prefix. Most
    /// addresses that go by are those of the rest of the world, and end here.
    hints: Box<[u64; 1 << (HINT_BITS - 6)]>,
}

/// See [`Prefixes::hints`].
const HINT_BITS: u8 = 12;

impl Prefixes {
    fn new(width: u8) -> Self {
        Self { width, by_len: Vec::new(), hints: Box::new([0; 1 << (HINT_BITS - 6)]) }
    }

    /// How many of an address' first bits the hints look at the end of: an IPv4 network's, and what a site has of IPv6.
    const fn hinted(&self) -> u8 {
        if self.width == 32 { 12 } else { 32 }
    }

    #[inline]
    fn hint(&self, address: u128) -> usize {
        (address >> (self.width - self.hinted())) as usize % (1 << HINT_BITS)
    }

    fn insert(&mut self, prefix: u128, len: u8, tenant: TenantIx) {
        if len < self.hinted() {
            self.hints.fill(u64::MAX);
        } else {
            let hint = self.hint(prefix);
            self.hints[hint / 64] |= 1 << (hint % 64);
        }
        let place = self.by_len.partition_point(|(other, _)| *other > len);
        if self.by_len.get(place).is_none_or(|(other, _)| *other != len) {
            self.by_len.insert(place, (len, Map::default()));
        }
        // The first one keeps a prefix that two claim; whoever builds the tenants has refused that before.
        self.by_len[place].1.entry(prefix).or_insert(tenant);
    }

    #[inline]
    fn find(&self, address: u128) -> Option<TenantIx> {
        let hint = self.hint(address);
        if self.hints[hint / 64] >> (hint % 64) & 1 == 0 { None } else { self.look(address) }
    }

    fn look(&self, address: u128) -> Option<TenantIx> {
        self.by_len.iter().find_map(|(len, map)| map.get(&masked(address, *len, self.width)).copied())
    }
}

fn masked(address: u128, len: u8, width: u8) -> u128 {
    match width - len {
        128 => 0,
        low => address >> low << low,
    }
}

/// What a port knows of its tenants.
#[derive(Clone, Debug, Default)]
struct Port {
    tenants: Vec<TenantIx>,
}

/// Tenants and vantages of one node.
#[derive(Clone, Debug)]
pub struct Topology {
    version: u64,
    tenants: Vec<Arc<Tenant>>,
    by_id: Map<TenantId, TenantIx>,
    v4: Prefixes,
    v6: Prefixes,
    by_mac: Map<MacAddr6, TenantIx>,
    vantages: Vec<Vantage>,
    /// By [`VantageId`].
    ports: Vec<Port>,
    /// By [`TenantIx`]: whether one of the watched ports is its, or processes that are watched. Then it is judged there, and
    /// nowhere else.
    has_port: Vec<bool>,
    /// Whose the node's own processes are.
    by_owner: Map<ProcessOwner, TenantIx>,
    /// By [`TenantIx`]: whether some of them are its.
    is_local: Vec<bool>,
    /// By [`TenantIx`]: whether it is placed on other nodes alone, and ports or processes are watched here. What leaves this node with its
    /// source was sent by somebody else.
    is_elsewhere: Vec<bool>,
}

impl Topology {
    /// The topology of `node`. Interfaces of other nodes in the tenants' selectors do not count here.
    #[must_use]
    pub fn new(version: u64, node: &NodeId, tenants: Vec<Arc<Tenant>>, vantages: Vec<Vantage>) -> Self {
        let slots = vantages.iter().map(|vantage| usize::from(vantage.id.0) + 1).max().unwrap_or(0);
        let mut topology = Self {
            version,
            tenants: Vec::new(),
            by_id: Map::default(),
            v4: Prefixes::new(32),
            v6: Prefixes::new(128),
            by_mac: Map::default(),
            vantages,
            ports: vec![Port::default(); slots],
            has_port: vec![false; tenants.len()],
            by_owner: Map::default(),
            is_local: vec![false; tenants.len()],
            is_elsewhere: vec![false; tenants.len()],
        };
        for (index, tenant) in tenants.iter().enumerate() {
            topology.add(node, TenantIx(u32::try_from(index).expect("tenants fit 32 bits")), tenant);
        }
        if topology.vantages.iter().any(|vantage| vantage.kind == VantageKind::Local) {
            for (id, owner) in local::owners(node, &tenants) {
                if let Some(&ix) = topology.by_id.get(&id) {
                    topology.by_owner.insert(owner, ix);
                    topology.has_port[ix.0 as usize] = true;
                    topology.is_local[ix.0 as usize] = true;
                }
            }
        }
        if topology.vantages.iter().any(|one| matches!(one.kind, VantageKind::Port | VantageKind::Local)) {
            topology.is_elsewhere = tenants.iter().map(|tenant| !tenant.may_be_on(node)).collect();
        }
        topology.tenants = tenants;
        topology
    }

    fn add(&mut self, node: &NodeId, ix: TenantIx, tenant: &Tenant) {
        self.by_id.insert(tenant.id.clone(), ix);
        for prefix in &tenant.addresses {
            match prefix {
                IpNet::V4(net) => self.v4.insert(u32::from(net.network()).into(), net.prefix_len(), ix),
                IpNet::V6(net) => self.v6.insert(u128::from(net.network()), net.prefix_len(), ix),
            }
        }
        for &mac in &tenant.macs {
            self.by_mac.entry(mac).or_insert(ix);
        }
        for selector in tenant.interfaces.iter().filter(|selector| selector.node == *node) {
            for vantage in &self.vantages {
                if vantage.interface == selector.interface {
                    self.ports[usize::from(vantage.id.0)].tenants.push(ix);
                    self.has_port[ix.0 as usize] |= vantage.kind == VantageKind::Port;
                }
            }
        }
    }

    /// Grows with every topology of an engine.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All tenants, by [`TenantIx`].
    #[must_use]
    pub fn tenants(&self) -> &[Arc<Tenant>] {
        &self.tenants
    }

    /// The tenant at a place of this topology.
    ///
    /// # Panics
    /// For a place of another topology with more tenants.
    #[must_use]
    pub fn tenant(&self, ix: TenantIx) -> &Arc<Tenant> {
        &self.tenants[ix.0 as usize]
    }

    /// The place of a tenant.
    #[must_use]
    pub fn index_of(&self, id: &TenantId) -> Option<TenantIx> {
        self.by_id.get(id).copied()
    }

    /// Whose an address is.
    #[inline]
    #[must_use]
    pub fn by_address(&self, address: IpAddr) -> Option<TenantIx> {
        match address {
            IpAddr::V4(v4) => self.v4.find(u32::from(v4).into()),
            IpAddr::V6(v6) => self.v6.find(v6.into()),
        }
    }

    /// Whether a tenant has processes on the node itself, and they are watched.
    #[must_use]
    pub fn is_local(&self, ix: TenantIx) -> bool {
        self.is_local[ix.0 as usize]
    }

    /// The interfaces that are watched.
    #[must_use]
    pub fn vantages(&self) -> &[Vantage] {
        &self.vantages
    }

    /// The vantage of a key.
    #[must_use]
    pub fn vantage(&self, id: VantageId) -> Option<&Vantage> {
        // Keys are given out in order, so this is a look at the right place in all but odd cases.
        match self.vantages.get(usize::from(id.0)) {
            Some(vantage) if vantage.id == id => Some(vantage),
            _ => self.vantages.iter().find(|vantage| vantage.id == id),
        }
    }

    /// Whether a tenant's packets are seen at a vantage.
    #[must_use]
    pub fn sees(&self, vantage: &Vantage, tenant: TenantIx) -> bool {
        if vantage.kind == VantageKind::Local {
            return self.is_local(tenant);
        }
        match self.ports.get(usize::from(vantage.id.0)).map(|port| port.tenants.as_slice()) {
            _ if self.is_seen_at_port(tenant) => {
                self.ports.get(usize::from(vantage.id.0)).is_some_and(|port| port.tenants.contains(&tenant))
            }
            Some([]) | None => true,
            Some(_) => vantage.kind != VantageKind::Port,
        }
    }

    /// Whose a packet is that was seen at `vantage`, by or for a process of `owner`'s where that is known.
    #[must_use]
    pub fn attribute(
        &self,
        vantage: VantageId,
        passage: Passage,
        owner: Option<ProcessOwner>,
        packet: &Packet<'_>,
    ) -> Attribution {
        let Some(seen_at) = self.vantage(vantage) else { return Attribution::default() };
        let (source, destination) = match &packet.body {
            Body::Ip(ip) => (ip.source, ip.destination),
            Body::Arp(arp) => (arp.sender.into(), arp.target.into()),
            Body::Other(_) => return Attribution::default(),
        };
        match (seen_at.kind, passage) {
            (VantageKind::Port, Passage::In) => {
                let sender = self.of_port(vantage, packet.source_mac, source);
                let spoofed = sender.is_some_and(|ix| self.is_foreign(ix, source));
                let by_link = sender.is_some()
                    && (self.lone_tenant(vantage).is_some() || self.by_mac(packet.source_mac) == sender);
                Attribution { sender, spoofed, by_link, ..Attribution::default() }
            }
            (VantageKind::Port, Passage::Out) => {
                let receiver = self.of_port(vantage, packet.destination_mac, destination);
                let astray = receiver.is_some_and(|ix| self.is_foreign(ix, destination));
                Attribution { receiver, astray, ..Attribution::default() }
            }
            (VantageKind::Port, Passage::Unknown) => match packet.body {
                Body::Arp(_) => Attribution::default(),
                _ => self.of_capture(vantage, source, destination),
            },
            (VantageKind::Uplink, Passage::Out) => {
                // Where a frame still has its sender's hardware address, that is harder to lie about than an address: nobody
                // is to be blamed for what a neighbour sends in their name.
                let by_mac = self.by_mac(packet.source_mac);
                let is_here = |ix: &TenantIx| !self.is_seen_at_port(*ix) && !self.is_elsewhere[ix.0 as usize];
                let sender = by_mac.or_else(|| self.by_address(source)).filter(is_here);
                let spoofed = sender.is_some_and(|ix| self.is_foreign(ix, source));
                let by_link = sender.is_some() && by_mac.is_some();
                Attribution { sender, spoofed, by_link, ..Attribution::default() }
            }
            (VantageKind::Uplink, Passage::In) => {
                let by_address = self.by_address(destination);
                let receiver = by_address
                    .or_else(|| self.by_mac(packet.destination_mac))
                    .filter(|ix| !self.is_seen_at_port(*ix));
                let astray =
                    receiver.is_some_and(|ix| by_address.is_none() && self.is_foreign(ix, destination));
                Attribution { receiver, astray, ..Attribution::default() }
            }
            (VantageKind::Local, passage) => {
                let whose = owner.and_then(|owner| self.by_owner.get(&owner)).copied();
                let (sender, receiver) = if passage == Passage::In { (None, whose) } else { (whose, None) };
                Attribution { sender, receiver, ..Attribution::default() }
            }
            (VantageKind::Mirror, _) | (VantageKind::Uplink, Passage::Unknown) => Attribution {
                sender: self.by_address(source),
                receiver: self.by_address(destination),
                ..Attribution::default()
            },
        }
    }

    fn by_mac(&self, mac: Option<MacAddr6>) -> Option<TenantIx> {
        self.by_mac.get(&mac?).copied()
    }

    /// The tenant of a port that is one tenant's alone.
    #[must_use]
    pub fn lone_tenant(&self, vantage: VantageId) -> Option<TenantIx> {
        match self.ports.get(usize::from(vantage.0))?.tenants.as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// Whose an address is that tenant `ix` used as its source, or claimed.
    ///
    /// Private and other addresses that nobody has on the internet slip out of container hosts and tunnels; they are
    /// another's only where the tenant itself lives beside them. A family in which the tenant has nothing was left out of
    /// its settings, and in IPv6 a host makes addresses of its own within the link's prefix (RFC 4862).
    #[must_use]
    pub fn owner(&self, ix: TenantIx, address: IpAddr) -> Owner {
        let own = &self.tenant(ix).addresses;
        match self.by_address(address) {
            Some(owner) if owner == ix => Owner::Own,
            Some(_) if !is_bogon(address) || self.is_beside(ix, address) => Owner::Tenant,
            _ if is_bogon(address) || !is_global(address) => Owner::Leak,
            _ if !own.iter().any(|prefix| prefix.addr().is_ipv4() == address.is_ipv4()) => Owner::Leak,
            _ if address.is_ipv6() && self.is_beside(ix, address) => Owner::Leak,
            _ => Owner::Nobody,
        }
    }

    /// Whether the tenant has an address in the same network, as far as that can be told: 16 bits of IPv4, 64 of IPv6.
    #[must_use]
    pub fn is_beside(&self, ix: TenantIx, address: IpAddr) -> bool {
        self.tenant(ix).addresses.iter().any(|prefix| match (prefix.addr(), address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => own.octets()[..2] == other.octets()[..2],
            (IpAddr::V6(own), IpAddr::V6(other)) => own.octets()[..8] == other.octets()[..8],
            _ => false,
        })
    }

    /// Which tenant of a port a packet belongs to, by the address on the tenant's side.
    fn of_port(&self, vantage: VantageId, mac: Option<MacAddr6>, address: IpAddr) -> Option<TenantIx> {
        match self.ports.get(usize::from(vantage.0))?.tenants.as_slice() {
            [only] => Some(*only),
            [] => {
                // A port that no selector names: the addresses behind it are somebody's, perhaps.
                let by_mac = || mac.and_then(|mac| self.by_mac.get(&mac).copied());
                self.by_address(address).or_else(by_mac)
            }
            several => {
                let here = |ix: TenantIx| several.contains(&ix).then_some(ix);
                let by_mac = mac.and_then(|mac| self.by_mac.get(&mac).copied()).and_then(here);
                by_mac.or_else(|| self.by_address(address).and_then(here))
            }
        }
    }

    /// A capture taken at a port says nothing about direction: the tenant's side is told by the addresses.
    fn of_capture(&self, vantage: VantageId, source: IpAddr, destination: IpAddr) -> Attribution {
        let here = |ix: &TenantIx| {
            self.ports.get(usize::from(vantage.0)).is_some_and(|port| port.tenants.contains(ix))
        };
        let sender = self.by_address(source).filter(here);
        let receiver = self.by_address(destination).filter(here);
        if sender.is_some() || receiver.is_some() {
            // Between two addresses of one tenant nothing leaves it.
            let receiver = receiver.filter(|_| sender.is_none());
            return Attribution { sender, receiver, ..Attribution::default() };
        }
        // What is for everybody on the link may well be from anybody on it.
        let for_all = match destination {
            IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_multicast(),
        };
        let behind = if for_all { None } else { self.of_port(vantage, None, source) };
        let sender = behind.filter(|&ix| self.is_foreign(ix, source));
        Attribution { sender, spoofed: sender.is_some(), ..Attribution::default() }
    }

    /// Whether a tenant is judged at a port of its own: an uplink would see the same packets again, and there anybody may
    /// forge its addresses.
    fn is_seen_at_port(&self, ix: TenantIx) -> bool {
        self.has_port.get(ix.0 as usize).copied().unwrap_or(false)
    }

    /// Whether `source` is not the tenant's. Stacks that have no address yet, or speak on their link only, are excused;
    /// so is a tenant that is told by interface or hardware address alone.
    #[must_use]
    pub fn is_foreign(&self, ix: TenantIx, source: IpAddr) -> bool {
        let own_business = match source {
            IpAddr::V4(v4) => v4.is_unspecified() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unspecified() || v6.is_unicast_link_local(),
        };
        let has_addresses = !self.tenant(ix).addresses.is_empty();
        !own_business && has_addresses && self.by_address(source) != Some(ix)
    }
}

/// Whether an address can be a host's at all, beyond those that [`is_bogon`] knows: not multicast, and in IPv6 neither the
/// old site-local ones (RFC 3879) nor those that stand for IPv4 within a machine or a translator (RFC 4291, RFC 6052).
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_multicast() && !v4.is_unspecified(),
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::LinkType;
    use crate::packet;

    fn tenant(id: &str, addresses: &[&str], interfaces: &[&str], macs: &[u8]) -> Arc<Tenant> {
        Arc::new(Tenant {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            interfaces: interfaces.iter().map(|text| text.parse().unwrap()).collect(),
            macs: macs.iter().map(|&last| [2, 0, 0, 0, 0, last].into()).collect(),
            ..Tenant::new(id.parse().unwrap())
        })
    }

    fn topology() -> Topology {
        let vantage = |id, interface: &str, kind| Vantage {
            id: VantageId(id),
            interface: interface.into(),
            kind,
            sampling: 16,
        };
        Topology::new(
            1,
            &"n1".parse().unwrap(),
            vec![
                tenant("a", &["203.0.113.0/28", "2001:db8:a::/48"], &["n1/tap-a"], &[]),
                tenant("b", &["203.0.113.8/32"], &["n1/shared", "n2/tap-a"], &[11]),
                tenant("c", &["203.0.113.16/28"], &["n1/shared"], &[12]),
                tenant("d", &["203.0.113.64/26"], &[], &[14]),
                tenant("e", &["203.0.113.128/25"], &["n2/tap-e"], &[]),
            ],
            vec![
                vantage(0, "tap-a", VantageKind::Port),
                vantage(1, "shared", VantageKind::Port),
                vantage(2, "up", VantageKind::Uplink),
                vantage(3, "span", VantageKind::Mirror),
                vantage(4, "tap-new", VantageKind::Port),
            ],
        )
    }

    /// An Ethernet frame from the MAC that ends in `mac`, and back to the same.
    fn frame(mac: u8, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, mac, 2, 0, 0, 0, 0, mac];
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend([8, 0, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 99, 0, 0]);
                frame.extend(source.octets());
                frame.extend(destination.octets());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 99, 64]);
                frame.extend(source.octets());
                frame.extend(destination.octets());
            }
            _ => panic!("two families"),
        }
        frame
    }

    /// Whose is a packet, as "sender>receiver", with "!" where it is spoofed.
    fn check(vantage: u16, passage: Passage, mac: u8, (source, destination): (&str, &str), expect: &str) {
        let topology = topology();
        let bytes = frame(mac, source.parse().unwrap(), destination.parse().unwrap());
        let packet = packet::parse(LinkType::Ethernet, &bytes, bytes.len() as u32).unwrap();
        let who = topology.attribute(VantageId(vantage), passage, None, &packet);
        let name = |ix: Option<TenantIx>| ix.map_or(String::new(), |ix| topology.tenant(ix).id.to_string());
        let bang = if who.spoofed { "!" } else { "" };
        let told = format!("{}>{}{bang}", name(who.sender), name(who.receiver));
        assert_eq!(told, expect, "{source} to {destination} at {vantage}");
    }

    const OUT: &str = "20.0.0.1";

    #[test]
    fn on_a_port_the_interface_tells() {
        use Passage::{In, Out};
        check(0, In, 1, ("203.0.113.1", OUT), "a>");
        check(0, In, 1, ("198.51.100.1", OUT), "a>!");
        check(0, In, 1, ("203.0.113.8", OUT), "a>!");
        check(0, In, 1, ("0.0.0.0", "255.255.255.255"), "a>");
        check(0, In, 1, ("fe80::1", "ff02::1"), "a>");
        check(0, In, 1, ("2001:db8:a:1::9", "2001:db8:f000::1"), "a>");
        check(0, In, 1, ("2001:db8:b::9", "2001:db8:f000::1"), "a>!");
        check(0, Out, 1, (OUT, "203.0.113.1"), ">a");
    }

    #[test]
    fn on_a_shared_port_the_hardware_address_tells_and_then_the_source() {
        use Passage::{In, Out};
        check(1, In, 11, ("203.0.113.8", OUT), "b>");
        check(1, In, 12, ("203.0.113.8", OUT), "c>!");
        check(1, In, 99, ("203.0.113.17", OUT), "c>");
        check(1, In, 99, ("203.0.113.1", OUT), ">");
        check(1, Out, 99, (OUT, "203.0.113.8"), ">b");
    }

    #[test]
    fn on_an_uplink_hardware_address_and_prefix_tell_and_ports_come_first() {
        use Passage::{In, Out};
        check(2, Out, 99, ("203.0.113.70", OUT), "d>");
        check(2, Out, 14, ("198.51.100.1", OUT), "d>!");
        check(2, Out, 14, ("203.0.113.130", OUT), "d>!");
        check(2, Out, 99, ("198.51.100.1", OUT), ">");
        check(2, In, 99, (OUT, "203.0.113.130"), ">e");
        check(2, In, 99, ("203.0.113.70", "203.0.113.130"), ">e");
        // One whose port is on another node did not send it through this one, whatever it bears.
        check(2, Out, 99, ("203.0.113.130", OUT), ">");
        // Those who have a watched port are judged there alone.
        check(2, Out, 99, ("203.0.113.9", OUT), ">");
        check(2, Out, 11, ("203.0.113.130", OUT), ">");
        check(2, In, 99, (OUT, "203.0.113.17"), ">");
    }

    #[test]
    fn a_mirror_and_a_capture_are_told_by_addresses() {
        use Passage::{In, Unknown};
        check(3, In, 99, ("203.0.113.8", "203.0.113.9"), "b>a");
        check(0, Unknown, 99, ("203.0.113.1", OUT), "a>");
        check(0, Unknown, 99, (OUT, "203.0.113.1"), ">a");
        check(0, Unknown, 99, (OUT, "20.0.0.2"), "a>!");
        check(0, Unknown, 99, (OUT, "224.0.0.251"), ">");
        check(0, Unknown, 99, ("203.0.113.1", "203.0.113.2"), "a>");
    }

    #[test]
    fn foreign_addresses_are_told_apart() {
        let topology = topology();
        let owner = |id: &str, address: &str| {
            topology.owner(topology.index_of(&id.parse().unwrap()).unwrap(), address.parse().unwrap())
        };
        assert_eq!(owner("a", "203.0.113.1"), Owner::Own);
        assert_eq!(owner("a", "203.0.113.8"), Owner::Tenant);
        assert_eq!(owner("a", "8.8.8.8"), Owner::Nobody);
        for leak in ["10.0.0.1", "172.17.0.2", "100.64.0.1", "127.0.0.1", "0.0.0.0", "224.0.0.1", "240.0.0.1"]
        {
            assert_eq!(owner("a", leak), Owner::Leak, "{leak}");
        }
        for leak in [
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::",
            "::1",
            "64:ff9b::808:808",
            "2001:0:1::1",
            "2001:db8:a::1:1",
        ] {
            assert_ne!(owner("a", leak), Owner::Nobody, "{leak}");
        }
        assert_eq!(owner("a", "2a00::1"), Owner::Nobody);
        // Of one that has no IPv6 in the settings, nothing can be said; but another's is another's.
        assert_eq!(owner("d", "2a00::1"), Owner::Leak);
        assert_eq!(owner("d", "2001:db8:a::5"), Owner::Tenant);
    }

    #[test]
    fn of_the_nodes_own_processes_the_kernel_tells_and_no_address() {
        let node: NodeId = "n1".parse().unwrap();
        let user = |id: &str, uid: &str, addresses: &[&str]| {
            let uids = vec![uid.parse().unwrap()];
            Arc::new(Tenant { uids, ..Tenant::clone(&tenant(id, addresses, &[], &[])) })
        };
        let tenants = vec![user("u", "1001", &["203.0.113.1/32"]), user("v", "1002", &[])];
        let vantage = |id, kind| Vantage { id: VantageId(id), interface: "x".into(), kind, sampling: 1 };
        let vantages = vec![vantage(0, VantageKind::Uplink), vantage(1, VantageKind::Local)];
        let owners = local::owners(&node, &tenants);
        let topology = Topology::new(1, &node, tenants, vantages);
        let told = |vantage, passage, owner: Option<&str>| {
            let owner = owner.map(|id| owners[&id.parse::<TenantId>().unwrap()]);
            let bytes = frame(1, "203.0.113.1".parse().unwrap(), "203.0.113.1".parse().unwrap());
            let packet = packet::parse(LinkType::Ethernet, &bytes, bytes.len() as u32).unwrap();
            let who = topology.attribute(VantageId(vantage), passage, owner, &packet);
            assert!(!who.spoofed && !who.astray);
            [who.sender, who.receiver].map(|ix| ix.map(|ix| topology.tenant(ix).id.to_string()))
        };
        let some = |id: &str| Some(id.to_owned());
        assert_eq!(told(1, Passage::Out, Some("u")), [some("u"), None]);
        assert_eq!(told(1, Passage::Out, Some("v")), [some("v"), None]);
        assert_eq!(told(1, Passage::In, Some("v")), [None, some("v")]);
        assert_eq!(told(1, Passage::Out, None), [None, None], "others' at the same address");
        assert_eq!(told(0, Passage::Out, None), [None, None], "it is seen once");
        let (u, v) = (TenantIx(0), TenantIx(1));
        assert!([u, v].iter().all(|ix| topology.sees(&topology.vantages()[1], *ix)));
        assert!([u, v].iter().all(|ix| !topology.sees(&topology.vantages()[0], *ix)));
    }

    #[test]
    fn a_port_that_nobody_is_named_for_is_told_by_address() {
        check(4, Passage::In, 99, ("203.0.113.17", OUT), "c>");
        check(4, Passage::In, 11, ("198.51.100.1", OUT), "b>!");
        check(4, Passage::In, 99, ("198.51.100.1", OUT), ">");
    }
}
