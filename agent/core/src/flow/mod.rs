//! Flows: what became of what a tenant tried.
//!
//! An *attempt* is the first packet from a tenant to a destination, protocol and port with no live flow. Its
//! *outcome* is what detection counts: answered or not, and whether the tenant had anything to say. The table in
//! [`table`] is bounded, and its room is shared so that a tenant's flood evicts that tenant's own flows only.
//!
//! The rules that keep innocent traffic innocent live here:
//! - Retransmissions are the same attempt. Answers (SYN-ACK, RST, echo replies, ICMP errors) are never attempts, so
//!   a host that is being scanned or flooded is not taken for a scanner.
//! - Flows met in the middle are adopted if the peer speaks too; out-of-state packets count as probes only when
//!   the peer refuses them or says nothing. Silence within [`MIDSTREAM_GRACE`] after the start is told as *early*, for it
//!   may be that of a connection that opened before.
//! - A flood cannot hide what became of its first packets by pushing them out (see [`table`]).
//! - An attempt that meets one of our own measures says nothing about the tenant ([`Restrictions`]).
//! - Multicast, broadcast and link-local destinations are no targets.
//! - Where answers to several tenants collapse at once, silence is no evidence ([`guard`]).
//!
//! Left out: reassembly, NAT, and whose a packet is (see [`crate::topology`]).

mod contacts;
mod datagram;
pub mod guard;
mod index;
mod restrict;
pub mod table;
mod tcp;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::{Outcome, Protocol, Target, Timestamp};

use crate::packet::{Ip, Transport};
use crate::topology::TenantIx;
pub use contacts::Called;
use contacts::Contacts;
pub use restrict::{Held, Restrictions};
use table::{Flow, FlowKey, FlowTable};

/// An attempt with no answer after this long is silent. TCP's first retransmissions come at 1 s and 3 s (RFC 6298).
pub const SILENCE: Duration = Duration::from_secs(3);

/// Out-of-state packets that nobody answers are weak evidence until this long after the start or a tenant's arrival:
/// they may belong to connections that opened before anybody watched.
pub const MIDSTREAM_GRACE: Duration = Duration::from_secs(60);

/// Odd TCP packets that open nothing and belong to no connection (nmap's names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// No flag at all.
    Null,
    /// FIN alone; a real close carries ACK.
    Fin,
    /// FIN, PSH and URG, or another set without SYN, RST and ACK.
    Xmas,
    /// FIN and ACK outside any connection.
    Maimon,
    /// ACK alone outside any connection; a window scan looks the same.
    Ack,
    /// SYN and ACK from a port that nobody calls.
    SynAck,
    /// A first fragment too small for its transport header: something to hide from filters.
    Tiny,
}

impl ProbeKind {
    /// Whether honest stacks send it too, though not so.
    #[must_use]
    pub const fn is_weak(self) -> bool {
        matches!(self, Self::Ack | Self::Maimon | Self::SynAck)
    }
}

/// What the flow stage tells the detectors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FlowEvent {
    /// The outcome of an attempt became known, or better known: `Answered` is followed by what became of it.
    Outcome {
        /// Whose attempt.
        tenant: TenantIx,
        /// At what.
        target: Target,
        /// From which port of the tenant's; 0 where there are none.
        local_port: u16,
        /// When its first packet was sent.
        opened: Timestamp,
        /// The packet or deadline that decided it.
        at: Timestamp,
        /// The outcome.
        outcome: Outcome,
        /// If it is a failure, whether the target had called the tenant before.
        called: Called,
    },
    /// The tenant's side of an attempt was completed: a handshake that was gone through with. Once an attempt.
    Completed {
        /// Whose attempt.
        tenant: TenantIx,
        /// At what.
        target: Target,
        /// When its first packet was sent.
        opened: Timestamp,
        /// The packet that completed it.
        at: Timestamp,
    },
    /// A TCP packet that opens nothing and belongs to no connection that the peer has spoken in.
    Stray {
        /// Whose.
        tenant: TenantIx,
        /// At what.
        target: Target,
        /// When.
        at: Timestamp,
        /// How many, in wire segments.
        packets: u32,
        /// Whether it is what a host answers others with: RST or SYN-ACK.
        is_answer: bool,
    },
    /// The peer has spoken in a connection that was met in the middle: what seemed stray was not.
    Vouched {
        /// Whose.
        tenant: TenantIx,
        /// At what.
        target: Target,
        /// When.
        at: Timestamp,
        /// How many packets had seemed stray.
        packets: u32,
    },
    /// A packet outside any flow that no honest stack sends.
    Probe {
        /// Whose.
        tenant: TenantIx,
        /// At what.
        target: Target,
        /// When the probe was sent.
        opened: Timestamp,
        /// When it was known to be one.
        at: Timestamp,
        /// Which kind.
        kind: ProbeKind,
        /// From which port of the tenant's.
        local_port: u16,
        /// Whether nobody answered it and it was sent soon after the start, so that it may be the end of a connection that
        /// opened before.
        is_early: bool,
        /// Whether somebody refused it.
        is_refused: bool,
        /// Whether its port is that of a service of the tenant's.
        is_served: bool,
    },
    /// Somebody called the tenant, and the tenant answered.
    Served {
        /// Who was called.
        tenant: TenantIx,
        /// Who called.
        peer: IpAddr,
        /// By which protocol.
        protocol: Protocol,
        /// On which port of the tenant's.
        local_port: u16,
        /// When the tenant answered.
        at: Timestamp,
    },
}

impl FlowEvent {
    /// When it was known.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Outcome { at, .. }
            | Self::Completed { at, .. }
            | Self::Stray { at, .. }
            | Self::Vouched { at, .. }
            | Self::Probe { at, .. }
            | Self::Served { at, .. } => *at,
        }
    }
}

/// Where a flow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The tenant's first packet is out; nothing came back yet.
    Tried,
    /// The peer answered; the tenant has said nothing yet.
    Answered,
    /// The peer answered and the tenant said something. Final for datagrams, and until the close for TCP.
    Productive,
    /// The attempt failed or is over; kept so that retransmissions and late answers find it.
    Over,
    /// The peer began, and the tenant has not answered yet.
    Called,
    /// The peer began and was answered, or both sides were met in the middle.
    Adopted,
    /// TCP data from the tenant, met in the middle while that is no wonder yet; the peer has not spoken.
    Unheard,
    /// TCP from the tenant without a beginning; the peer has not spoken.
    Midstream(ProbeKind),
    /// The attempt met a measure of ours.
    Blocked,
}

/// The flow stage: a bounded table and the rules that read packets against it.
#[derive(Debug)]
pub struct Flows {
    table: FlowTable,
    contacts: Contacts,
    /// Since when out-of-state packets have been watched, for every tenant alike.
    started: Option<Timestamp>,
    /// Whether silence is evidence at the moment.
    silence_counts: bool,
}

/// One packet of a tenant's, seen from the tenant's side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub tenant: TenantIx,
    pub at: Timestamp,
    pub key: FlowKey,
    pub held: Held,
    /// How many packets it is, in wire segments.
    pub packets: u32,
}

impl Seen {
    /// Whether it met a measure that stopped it.
    fn is_blocked(&self) -> bool {
        self.held == Held::Blocked
    }

    /// What to tell of a packet that is a probe whatever comes back.
    fn probe(&self, kind: ProbeKind) -> FlowEvent {
        FlowEvent::Probe {
            tenant: self.tenant,
            target: self.key.target(),
            opened: self.at,
            at: self.at,
            kind,
            local_port: self.key.local_port(),
            is_early: false,
            is_refused: false,
            is_served: false,
        }
    }

    /// How an attempt begins, and whether its silence is to be noticed.
    fn attempt(&self) -> (State, bool) {
        match self.held {
            Held::Free => (State::Tried, true),
            Held::Limited => (State::Tried, false),
            Held::Blocked => (State::Blocked, false),
        }
    }
}

impl Flows {
    /// A table for at most `capacity` flows of `tenants` tenants. `seed` spreads the hash; it never shows.
    #[must_use]
    pub fn new(capacity: usize, tenants: usize, seed: u64) -> Self {
        let table = FlowTable::new(capacity, tenants, seed);
        Self { table, contacts: Contacts::new(tenants, seed), started: None, silence_counts: true }
    }

    /// Tells whether silence is evidence from now on: not while the node is degraded.
    pub fn set_silence_counts(&mut self, counts: bool) {
        self.silence_counts = counts;
    }

    /// Shares the room among `tenants` tenants from now on.
    pub fn set_tenants(&mut self, tenants: usize) {
        self.table.set_tenants(tenants);
        self.contacts.set_tenants(tenants);
    }

    /// Forgets every flow of a tenant, and who called it.
    pub fn forget(&mut self, tenant: TenantIx) {
        self.table.forget(tenant);
        self.contacts.forget(tenant);
    }

    /// How many flows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// How many attempts have begun of which an answer is waited for.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.table.attempts()
    }

    /// How many live flows were given up for want of room.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.table.evictions()
    }

    /// Reads a packet that `tenant` sent, from an address of its own.
    pub fn handle_sent(
        &mut self,
        tenant: TenantIx,
        ip: &Ip<'_>,
        at: Timestamp,
        restrictions: &Restrictions,
        events: &mut Vec<FlowEvent>,
    ) {
        let started = *self.started.get_or_insert(at);
        if !is_target(ip.destination) {
            return;
        }
        let Some(key) = sent_key(tenant, ip) else { return };
        let held = if restrictions.is_empty() { Held::Free } else { restrictions.held(&key.target()) };
        let seen = Seen { tenant, at, key, held, packets: ip.segments };
        let from = events.len();
        match &ip.transport {
            Transport::Tcp(tcp) => {
                let grace_over = at.is_past(started, MIDSTREAM_GRACE);
                tcp::sent((&mut self.table, &self.contacts), seen, tcp, grace_over, events);
            }
            Transport::Tiny { .. } if !seen.is_blocked() => {
                events.push(seen.probe(ProbeKind::Tiny));
            }
            Transport::Tiny { .. } => {}
            _ => datagram::sent((&mut self.table, &self.contacts), seen, ip, events),
        }
        self.complete(&mut events[from..]);
    }

    /// Reads a packet that reached `tenant`.
    pub fn handle_received(
        &mut self,
        tenant: TenantIx,
        ip: &Ip<'_>,
        at: Timestamp,
        events: &mut Vec<FlowEvent>,
    ) {
        self.started.get_or_insert(at);
        let from = events.len();
        if let Transport::Icmp(icmp) = &ip.transport
            && let Some(quoted) = icmp.quoted
        {
            datagram::error(&mut self.table, (tenant, self.silence_counts), icmp.kind, &quoted, at, events);
            return self.complete(&mut events[from..]);
        }
        if let Transport::Tiny { source_port: 0, destination_port: 0 } = ip.transport {
            return;
        }
        let Some(key) = received_key(tenant, ip) else { return };
        let seen = Seen { tenant, at, key, held: Held::Free, packets: ip.segments };
        match &ip.transport {
            Transport::Tcp(tcp) => tcp::received((&mut self.table, &mut self.contacts), seen, tcp, events),
            _ => datagram::received((&mut self.table, &mut self.contacts), seen, ip, events),
        }
        self.complete(&mut events[from..]);
    }

    /// When [`Flows::handle_timeout`] next has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.table.next_deadline()
    }

    /// Ends what is due at `now`: silent attempts in the order in which they were made, then idle flows.
    pub fn handle_timeout(&mut self, now: Timestamp, events: &mut Vec<FlowEvent>) {
        let started = self.started.unwrap_or(now);
        let from = events.len();
        while let Some(slot) = self.table.pop_silent(now) {
            let flow = self.table.get(slot);
            let opened = flow.opened;
            match flow.state {
                State::Tried => {
                    let outcome = if self.silence_counts { Outcome::Silent } else { Outcome::Unknown };
                    events.push(flow.outcome(outcome, now));
                    self.table.get_mut(slot).state = State::Over;
                }
                State::Midstream(kind) if kind.is_weak() && self.silence_counts => {
                    let is_early = !opened.is_past(started, MIDSTREAM_GRACE);
                    events.push(flow.probe(kind, now, is_early, false));
                }
                _ => {}
            }
        }
        self.table.sweep(now);
        self.complete(&mut events[from..]);
    }

    /// Adds to what is told what is known of the tenant's callers, and takes note of those whom it answered.
    fn complete(&mut self, events: &mut [FlowEvent]) {
        for event in events {
            match event {
                FlowEvent::Outcome { tenant, target, at, outcome, called, .. } if outcome.is_unanswered() => {
                    *called = self.contacts.called(*tenant, target.address, *at);
                }
                FlowEvent::Probe { tenant, at, local_port, is_served, .. } => {
                    *is_served = self.contacts.has_served(*tenant, *local_port, *at);
                }
                FlowEvent::Served { tenant, peer, protocol, local_port, at } => {
                    self.contacts.note_served((*tenant, *protocol), (*peer, *local_port), *at);
                }
                _ => {}
            }
        }
    }
}

impl Flow {
    /// What to tell of what became of it.
    fn outcome(&self, outcome: Outcome, at: Timestamp) -> FlowEvent {
        let (tenant, target, local_port) = (self.key.tenant, self.key.target(), self.key.local_port());
        let called = Called::No;
        FlowEvent::Outcome { tenant, target, local_port, opened: self.opened, at, outcome, called }
    }

    /// What to tell of a flow that turned out to be a probe.
    fn probe(&self, kind: ProbeKind, at: Timestamp, is_early: bool, is_refused: bool) -> FlowEvent {
        FlowEvent::Probe {
            tenant: self.key.tenant,
            target: self.key.target(),
            opened: self.opened,
            at,
            kind,
            local_port: self.key.local_port(),
            is_early,
            is_refused,
            is_served: false,
        }
    }

    /// What to tell once the tenant has answered a call.
    fn served(&self, at: Timestamp) -> FlowEvent {
        let Target { address: peer, protocol, .. } = self.key.target();
        FlowEvent::Served { tenant: self.key.tenant, peer, protocol, local_port: self.key.local_port(), at }
    }
}

/// Whether an address can be a target: a single host beyond the local link.
#[must_use]
pub fn is_target(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_unspecified()
                || v4.is_loopback()
                || v4.is_link_local())
        }
        IpAddr::V6(v6) => {
            !(v6.is_multicast() || v6.is_unspecified() || v6.is_loopback() || v6.is_unicast_link_local())
        }
    }
}

/// The key of the flow that a sent packet belongs to.
fn sent_key(tenant: TenantIx, ip: &Ip<'_>) -> Option<FlowKey> {
    let (local_port, remote_port) = ports(ip)?;
    Some(FlowKey::new(tenant, ip.protocol, (ip.source, local_port), (ip.destination, remote_port)))
}

/// The key of the flow that a received packet belongs to.
fn received_key(tenant: TenantIx, ip: &Ip<'_>) -> Option<FlowKey> {
    let (remote_port, local_port) = ports(ip)?;
    Some(FlowKey::new(tenant, ip.protocol, (ip.destination, local_port), (ip.source, remote_port)))
}

/// Source and destination port; zeros for protocols without; `None` where the header is not there.
fn ports(ip: &Ip<'_>) -> Option<(u16, u16)> {
    match &ip.transport {
        Transport::Tcp(tcp) => Some((tcp.source_port, tcp.destination_port)),
        Transport::Udp(udp) => Some((udp.source_port, udp.destination_port)),
        Transport::Sctp(sctp) => Some((sctp.source_port, sctp.destination_port)),
        Transport::Icmp(_) => Some((0, 0)),
        Transport::Tiny { source_port, destination_port } => Some((*source_port, *destination_port)),
        Transport::Other => (!ip.protocol.has_ports()).then_some((0, 0)),
        Transport::Absent | Transport::Malformed(_) => None,
    }
}

/// The protocol by which flows are told apart: one for both versions of ICMP would lose the family.
pub(crate) const fn protocol_code(protocol: Protocol) -> u8 {
    match protocol.number() {
        Some(number) => number,
        // ARP opens no flows; 255 is reserved by IANA and never carried.
        None => 255,
    }
}
