//! Who says that it is somebody else: what a shard sees of that, before the detectors judge it.
//!
//! Sources and claims mean something only where the link tells who spoke: on a tenant's port, or where a frame still has
//! the tenant's hardware address. A capture of a port whose directions are not known is read the same way once the tenant
//! has been seen to speak from an address of its own: then its hardware address is known.
//!
//! What excuses is kept here as well, as long as the tenant is known: addresses that were taken from it within the last
//! hour ([`RENUMBERED`]), and where it heard others' addresses to be ([`Heard`]).

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use macaddr::MacAddr6;
use reeve_policy::Timestamp;
use reeve_policy::language::thresholds::FloodOther;

use super::delivered::Delivered;
use super::{Shard, earlier, wake};
use crate::detect::Finding;
use crate::detect::claims::Heard;
use crate::detect::horizontal::is_bogon;
use crate::detect::identity::Sign;
use crate::detect::noise::Noise;
use crate::detect::routing::{self, Speech, is_for_all, is_link_local};
use crate::frame::{Frame, Passage};
use crate::packet::neighbour::{self, Neighbour};
use crate::packet::{Arp, Ip, Packet, Transport, vrrp};
use crate::topology::{Attribution, Owner, TenantIx, VantageKind};

/// How long a tenant may go on to use an address that was taken from it: leases and connections last.
const RENUMBERED: Duration = Duration::from_secs(3_600);
/// The most prefixes of before that are remembered of a tenant.
const MAX_FORMER: usize = 32;

/// What is known of one tenant on its link.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Prefixes that it had, and until when that excuses.
    former: Vec<(IpNet, Timestamp)>,
    heard: Heard,
    delivered: Delivered,
    noise: Noise,
    /// The hardware address that it spoke from with an address of its own, where only that tells directions.
    mac: Option<MacAddr6>,
}

impl Known {
    /// Takes note that the tenant has other addresses from now on.
    pub fn renumber(&mut self, before: &[IpNet], after: &[IpNet], now: Timestamp) {
        if before == after {
            return;
        }
        self.former.retain(|(prefix, until)| *until > now && !after.contains(prefix));
        let gone = before.iter().filter(|prefix| !after.contains(prefix));
        self.former.extend(gone.map(|prefix| (*prefix, now + RENUMBERED)));
        let surplus = self.former.len().saturating_sub(MAX_FORMER);
        self.former.drain(..surplus);
    }

    /// Gives back room.
    pub fn drop_old(&mut self, now: Timestamp) {
        self.delivered.drop_old(now);
        self.noise.drop_old(now);
    }

    fn had(&self, address: IpAddr, at: Timestamp) -> bool {
        self.former.iter().any(|(prefix, until)| at < *until && prefix.contains(&address))
    }
}

impl Shard {
    /// Corrects whose a packet is by what is known of the tenant's hardware address, where a capture does not tell directions.
    pub(super) fn recognise(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet<'_>,
        who: Attribution,
    ) -> Attribution {
        if frame.passage != Passage::Unknown {
            return who;
        }
        let Some((tenant, state)) = self.captured_port(frame) else { return who };
        if who.sender == Some(tenant) && !who.spoofed {
            state.identity.mac = packet.source_mac;
            return Attribution { by_link: packet.source_mac.is_some(), ..who };
        }
        let Some(mac) = state.identity.mac else { return who };
        if packet.source_mac == Some(mac) && who.receiver.is_none() {
            // Link-local and group traffic too: whose it is does not stand in its addresses.
            return Attribution { sender: Some(tenant), by_link: true, ..who };
        }
        let is_to_it = packet.destination_mac == Some(mac);
        match who {
            Attribution { spoofed: true, .. } if is_to_it => {
                Attribution { receiver: Some(tenant), astray: true, ..Attribution::default() }
            }
            // Another machine's, that a switch has sent everywhere.
            Attribution { spoofed: true, .. } => Attribution::default(),
            who => who,
        }
    }

    /// The tenant of the port that a capture without directions was taken at.
    #[inline]
    fn captured_port(&mut self, frame: &Frame<'_>) -> Option<(TenantIx, &mut super::TenantState)> {
        let is_port = self.topology.vantage(frame.vantage)?.kind == VantageKind::Port;
        let tenant = self.topology.lone_tenant(frame.vantage).filter(|_| is_port)?;
        Some((tenant, self.tenants.get_mut(tenant.0 as usize)?))
    }

    /// Reads an ARP message.
    #[inline(never)]
    pub(super) fn resolved(
        &mut self,
        frame: &Frame<'_>,
        who: &Attribution,
        packet: &Packet<'_>,
        arp: &Arp,
        at: Timestamp,
    ) {
        let (mut sender, mut receiver) = (who.sender.filter(|_| who.by_link), who.receiver);
        if frame.passage == Passage::Unknown
            && let Some((tenant, state)) = self.captured_port(frame)
            && let Some(mac) = state.identity.mac
        {
            let is_its = packet.source_mac == Some(mac);
            (sender, receiver) = (is_its.then_some(tenant), (!is_its).then_some(tenant));
        }
        if let Some(sender) = sender.filter(|ix| self.part.owns(*ix)) {
            self.suspect(sender, |noise, numbers| noise.resolved(numbers, at));
            self.came_from(sender, packet, at);
        }
        // Whoever asks from no address only looks whether one is taken (RFC 5227).
        if arp.sender.is_unspecified() {
            return;
        }
        let (address, mac) = (arp.sender.into(), arp.sender_mac);
        if let Some(sender) = sender.filter(|ix| self.part.owns(*ix)) {
            self.claimed(sender, address, mac, at);
        }
        if let Some(receiver) = receiver.filter(|ix| self.part.owns(*ix)) {
            self.heard(receiver, address, mac, at);
        }
    }

    /// Looks at what a tenant sent for signs that it says it is somebody else.
    #[inline(never)]
    pub(super) fn identify(
        &mut self,
        sender: TenantIx,
        who: &Attribution,
        packet: &Packet<'_>,
        ip: &Ip<'_>,
        (passage, at): (Passage, Timestamp),
    ) {
        if who.spoofed {
            self.disguised(sender, ip, passage, at);
        }
        if !who.by_link {
            return;
        }
        self.came_from(sender, packet, at);
        if routing::is_dhcp_request(ip) {
            self.suspect(sender, |noise, numbers| noise.requested(numbers, at));
        }
        if let Transport::Icmp(_) = ip.transport
            && let Some(Neighbour::Claim { address, mac }) = neighbour::read(ip)
            && let Some(mac) = mac.or(packet.source_mac)
        {
            self.claimed(sender, address.into(), mac, at);
        }
        if let Some(speech) = Speech::of(ip)
            && let Some(speech) = self.forbidden(sender, speech, packet, ip, at)
        {
            self.sign(sender, Sign::Said(speech, ip.target()), at);
        }
    }

    /// Takes note of the hardware address of what a tenant sent.
    #[inline]
    pub(super) fn came_from(&mut self, sender: TenantIx, packet: &Packet<'_>, at: Timestamp) {
        if let Some(mac) = packet.source_mac {
            self.suspect(sender, |noise, numbers| noise.came_from(numbers, mac, at));
        }
    }

    /// Takes a frame of no protocol that is read: only whence it comes.
    #[inline(never)]
    pub(super) fn other(&mut self, frame: &Frame<'_>, packet: &Packet<'_>, at: Timestamp) {
        let is_sent = frame.passage == Passage::In;
        if let Some((sender, _)) = self.captured_port(frame).filter(|_| is_sent)
            && self.part.owns(sender)
        {
            self.came_from(sender, packet, at);
        }
    }

    /// Tells what a tenant's noise on its link comes to.
    #[inline]
    pub(super) fn suspect(
        &mut self,
        sender: TenantIx,
        judge: impl FnOnce(&mut Noise, &FloodOther) -> Option<Finding>,
    ) {
        let state = &mut self.tenants[sender.0 as usize];
        if let Some(finding) = judge(&mut state.identity.noise, &state.numbers.flood_other)
            && !state.restrictions.is_total()
        {
            self.findings.push(finding);
            self.raise(sender);
        }
    }

    /// Takes note of what reached a tenant that it may pass on, or answer in a way that looks like a router's word. Cheap, for it is asked
    /// of every packet.
    #[inline]
    pub(super) fn note_delivered(
        &mut self,
        receiver: TenantIx,
        astray: bool,
        (ip, weight): (&Ip<'_>, u32),
        at: Timestamp,
    ) {
        if astray && !is_for_all(ip.destination) {
            let packets = ip.segments.saturating_mul(weight);
            self.tenants[receiver.0 as usize].identity.delivered.handed_over(ip, packets, at);
        }
        if let Some(ports) = routing::asks(ip) {
            self.tenants[receiver.0 as usize].identity.delivered.asked(ip.source, ports, at);
        }
    }

    /// Whether a packet with a foreign source is one that the sender was handed for elsewhere and passes on.
    #[inline(never)]
    pub(super) fn passes_on(&mut self, sender: TenantIx, ip: &Ip<'_>, at: Timestamp) -> bool {
        let passes_on = self.tenants[sender.0 as usize].identity.delivered.passes_on(ip, at);
        self.counters.leaked += u64::from(passes_on);
        passes_on
    }

    /// Looks at what reached a tenant for what excuses it, and for where others' addresses are.
    #[inline(never)]
    pub(super) fn met(
        &mut self,
        receiver: TenantIx,
        astray: bool,
        packet: &Packet<'_>,
        ip: &Ip<'_>,
        at: Timestamp,
    ) {
        let is_group = packet.destination_mac.is_some_and(|mac| mac.is_multicast());
        if astray && !is_group && self.topology.owner(receiver, ip.destination) == Owner::Nobody {
            self.sign(receiver, Sign::Delivered(ip.destination), at);
        }
        let said = match neighbour::read(ip) {
            Some(Neighbour::Claim { address, mac }) => Some((address.into(), mac)),
            Some(Neighbour::Router) => Some((ip.source, None)),
            Some(Neighbour::Redirect) | None => None,
        };
        if let Some((address, mac)) = said
            && let Some(mac) = mac.or(packet.source_mac)
        {
            self.heard(receiver, address, mac, at);
        }
    }

    /// Takes a packet whose source is not its sender's.
    fn disguised(&mut self, sender: TenantIx, ip: &Ip<'_>, passage: Passage, at: Timestamp) {
        let owner = self.topology.owner(sender, ip.source);
        let had = self.tenants[sender.0 as usize].identity.had(ip.source, at);
        match owner {
            Owner::Own => {}
            _ if had => self.counters.leaked += 1,
            // What is for everybody on the link goes no further; a loop behind the tenant sends back what it heard.
            _ if is_for_all(ip.destination) => self.counters.leaked += 1,
            // A load balancer hands its other machines what came for their common address as it came.
            _ if self.is_its(sender, ip.destination) => self.counters.leaked += 1,
            Owner::Leak => self.counters.leaked += 1,
            Owner::Tenant | Owner::Nobody => {
                self.counters.spoofed += 1;
                // Where directions are not known, this may as well have been delivered.
                if passage == Passage::Unknown {
                    self.sign(sender, Sign::Delivered(ip.destination), at);
                }
                let target = ip.target();
                let is_assigned = owner == Owner::Tenant;
                self.sign(sender, Sign::Forged { source: ip.source, target, is_assigned }, at);
            }
        }
    }

    /// Takes a claim: the tenant says that an address is at a hardware address.
    fn claimed(&mut self, sender: TenantIx, address: IpAddr, mac: MacAddr6, at: Timestamp) {
        let is_its = self.is_its(sender, address);
        let state = &mut self.tenants[sender.0 as usize];
        if is_its || state.identity.had(address, at) || state.identity.heard.is_known(address, mac, at) {
            return;
        }
        if self.is_anothers(sender, address) {
            self.sign(sender, Sign::Claimed(address), at);
        } else if let Some((turns, since)) =
            self.tenants[sender.0 as usize].identity.heard.claim(address, mac, at)
        {
            self.sign(sender, Sign::Contested(address, turns, since), at);
        }
    }

    /// Takes note of where others say an address is.
    fn heard(&mut self, receiver: TenantIx, address: IpAddr, mac: MacAddr6, at: Timestamp) {
        if !self.is_its(receiver, address) {
            self.tenants[receiver.0 as usize].identity.heard.hear(address, mac, at);
        }
    }

    /// Whether an address is another tenant's or the provider's, as far as the tenant is concerned.
    fn is_anothers(&self, tenant: TenantIx, address: IpAddr) -> bool {
        match self.topology.owner(tenant, address) {
            Owner::Own => !self.is_its(tenant, address),
            Owner::Tenant => true,
            Owner::Leak if is_link_local(address) => self.is_protected_by_name(address),
            // The node's bridges for containers have the addresses that everybody's have.
            Owner::Leak if is_bogon(address) && !self.topology.is_beside(tenant, address) => false,
            Owner::Leak | Owner::Nobody => self.is_protected(address),
        }
    }

    /// Whether an address is the tenant's to speak for. What is protected within its prefix is not: the gateway of a /64 that it
    /// has whole.
    fn is_its(&self, tenant: TenantIx, address: IpAddr) -> bool {
        if self.topology.owner(tenant, address) != Owner::Own {
            return false;
        }
        let lens = |prefixes: &[IpNet]| {
            prefixes.iter().filter(|prefix| prefix.contains(&address)).map(IpNet::prefix_len).max()
        };
        lens(&self.protected) <= lens(&self.topology.tenant(tenant).addresses)
    }

    fn is_protected(&self, address: IpAddr) -> bool {
        self.protected.iter().any(|prefix| prefix.contains(&address))
    }

    /// Whether a link-local address is protected as such: many links have it, and who protects them all means no gateway's.
    fn is_protected_by_name(&self, address: IpAddr) -> bool {
        self.protected.iter().any(|prefix| prefix.addr() == address && prefix.prefix_len() == 128)
    }

    /// What was said, if it is not the tenant's to say; less certain where it is not known whose.
    fn forbidden(
        &self,
        sender: TenantIx,
        speech: Speech,
        packet: &Packet<'_>,
        ip: &Ip<'_>,
        at: Timestamp,
    ) -> Option<Speech> {
        let to = ip.destination;
        let is_its = || self.is_its(sender, to);
        let known = &self.tenants[sender.0 as usize].identity;
        // What a loop behind the tenant sends back has the router's own hardware address.
        let is_loop = || packet.source_mac.is_some_and(|mac| known.heard.is_known(ip.source, mac, at));
        let is_forbidden = match speech {
            Speech::Routing(_) => {
                is_for_all(to) || (self.is_protected(to) && !is_its() && !is_answer(known, ip, at))
            }
            Speech::Bgp => self.is_protected(to) && !is_its(),
            Speech::Dhcp(_) => !is_its() && !is_answer(known, ip, at),
            Speech::Vrrp => {
                let had = |address| known.had(address, at);
                vrrp::claims(ip).any(|address| self.is_anothers(sender, address) && !had(address))
            }
            Speech::Router | Speech::Hidden => !is_loop(),
            Speech::Redirect | Speech::OthersRedirect if self.is_anothers(sender, ip.source) => {
                !is_loop() && !known.had(ip.source, at)
            }
            Speech::Redirect | Speech::OthersRedirect => {
                let is_others =
                    packet.source_mac.is_some_and(|mac| known.heard.is_elsewhere(ip.source, mac, at));
                return (is_others && !self.is_its(sender, ip.source)).then_some(Speech::OthersRedirect);
            }
        };
        is_forbidden.then_some(speech)
    }

    /// Hands a sign to the tenant's detectors.
    fn sign(&mut self, tenant: TenantIx, sign: Sign, at: Timestamp) {
        let state = &mut self.tenants[tenant.0 as usize];
        // What a suspended tenant says reaches nobody.
        if state.restrictions.is_total() {
            return;
        }
        let detectors = wake(&mut state.detectors, &mut self.active, tenant, &state.numbers, at);
        detectors.handle_sign(&state.numbers, sign, at, &mut self.findings);
        self.detectors_due = earlier(self.detectors_due, detectors.next_deadline(&state.numbers));
        self.raise(tenant);
    }
}

/// Whether a datagram answers one that came just before: its receiver chose both ports, and anybody may have written who it is.
fn is_answer(known: &Known, ip: &Ip<'_>, at: Timestamp) -> bool {
    match &ip.transport {
        Transport::Udp(udp) => {
            known.delivered.answers(ip.destination, (udp.source_port, udp.destination_port), at)
        }
        _ => false,
    }
}
