//! The flow table: a slab, an index into it, and two lists through it.
//!
//! A flow fills one cache line; its links, which only coming and going touch, lie apart.
//!
//! All room is named at the start and nothing grows beyond it. Room is shared fairly: a tenant may use what is
//! free, up to half of the table; when nothing is free, a tenant above its guaranteed share gives up its own oldest
//! flow, and one below it takes the oldest of the tenant that holds most. So a flood evicts its own flows only.
//!
//! An attempt that still waits for an answer is spared when its turn to be evicted comes, as long as its tenant has few such
//! ([`SPARED_MOST`]). Otherwise whoever opens more flows in 3 s than there is room for would never be seen to meet silence.
//!
//! Which flow is evicted never depends on the hash: lists keep the order of creation.

use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::FixedState;
use reeve_policy::{Protocol, Target, Timestamp};
use std::hash::{BuildHasher, Hash, Hasher};

use super::index::{ENTRY_BYTES, Index};
use super::{SILENCE, State, protocol_code};
use crate::topology::TenantIx;

/// No slot.
const NIL: u32 = u32::MAX;

/// How often idle flows are looked for, and over how many rounds the whole table is seen once.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const SWEEP_ROUNDS: usize = 16;

/// How many seconds an idle flow is kept, by state. A failed attempt is kept over TCP's retransmissions (RFC 6298: the
/// sixth comes 63 s after the first); an established connection for ten minutes, datagrams for two.
const KEEP_OVER: u32 = 65;
const KEEP_TCP: u32 = 600;
const KEEP_DATAGRAM: u32 = 120;

/// How many of a tenant's attempts at most outlive their turn until it is known what became of them: as many targets as a detector holds.
const SPARED_MOST: u32 = 512;

/// What tells one flow from another, seen from the tenant's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    // As bytes, so that a key is aligned to four and a flow fits its line.
    local: [u8; 16],
    remote: [u8; 16],
    local_port: u16,
    remote_port: u16,
    protocol: u8,
    /// Whose flow it is.
    pub tenant: TenantIx,
}

impl Hash for FlowKey {
    /// Whole words: it is done for every packet.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_be_bytes(self.local));
        state.write_u128(u128::from_be_bytes(self.remote));
        let ports = u64::from(self.local_port) << 16 | u64::from(self.remote_port);
        state.write_u128(u128::from(ports << 8 | u64::from(self.protocol)) << 32 | u128::from(self.tenant.0));
    }
}

impl FlowKey {
    /// The flow between a tenant's address and port and a peer's.
    #[must_use]
    pub fn new(tenant: TenantIx, protocol: Protocol, local: (IpAddr, u16), remote: (IpAddr, u16)) -> Self {
        Self {
            local: bits(local.0).to_be_bytes(),
            remote: bits(remote.0).to_be_bytes(),
            local_port: local.1,
            remote_port: remote.1,
            protocol: protocol_code(protocol),
            tenant,
        }
    }

    /// The target of the flow: its remote end.
    #[must_use]
    pub fn target(&self) -> Target {
        let protocol = Protocol::from_number(self.protocol);
        Target {
            address: address(u128::from_be_bytes(self.remote)),
            protocol,
            port: protocol.has_ports().then_some(self.remote_port),
        }
    }

    /// The remote end of the flow.
    #[must_use]
    pub fn remote(&self) -> (IpAddr, u16) {
        (address(u128::from_be_bytes(self.remote)), self.remote_port)
    }

    /// The tenant's own end of the flow.
    #[must_use]
    pub fn local(&self) -> (IpAddr, u16) {
        (address(u128::from_be_bytes(self.local)), self.local_port)
    }

    /// The tenant's port; 0 where the protocol has none.
    #[must_use]
    pub fn local_port(&self) -> u16 {
        self.local_port
    }

    pub(super) fn is_tcp(&self) -> bool {
        self.protocol == 6
    }
}

/// An address as a number; IPv4 as its IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2).
#[must_use]
pub fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address that [`bits`] made a number of.
#[must_use]
pub fn address(bits: u128) -> IpAddr {
    IpAddr::V6(bits.into()).to_canonical()
}

/// One flow.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Flow {
    /// Who and what.
    pub key: FlowKey,
    /// The attempt's first packet, or the first packet met.
    pub opened: Timestamp,
    /// TCP: the sequence number of the tenant's SYN. Where there was none and the peer has not spoken, how many packets the tenant
    /// has sent.
    pub(super) isn: u32,
    /// The second of the last packet either way; [`FREE`] in a slot that is free.
    last: u32,
    pub(super) state: State,
    /// Whether the peer sent its SYN-ACK again: the handshake was not completed. Where there was no handshake, whether the peer
    /// refused to know of any.
    pub(super) answered_again: bool,
    /// What else is known of a connection: [`COMPLETED`], [`AWAITED`], and below them ([`COUNT`]) how many packets the tenant has sent
    /// since the attempt, where nothing but a refusal came back.
    pub(super) marks: u8,
    /// Whether it stands in the list of attempts that wait for an answer.
    waiting: Waiting,
}

/// The tenant has completed the handshake.
pub(super) const COMPLETED: u8 = 0x80;
/// The peer began and was answered, and is yet to complete the handshake.
pub(super) const AWAITED: u8 = 0x40;
/// The bits that count packets; they stop at their end.
pub(super) const COUNT: u8 = 0x3f;

/// Whether an attempt waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    No,
    Yes,
    /// It was spared from eviction until it waits no more.
    Spared,
}

/// In a free slot, so that the sweep passes over it.
const FREE: u32 = 0;

const _: () = assert!(size_of::<Flow>() == 64);

impl Flow {
    /// Takes note of a packet of the flow's; tells whether it is the first in its second.
    pub(super) fn touch(&mut self, at: Timestamp) -> bool {
        let before = std::mem::replace(&mut self.last, seconds(at).max(1));
        before != self.last
    }
}

/// Whole seconds since the epoch; they fit until 2106.
pub(crate) fn seconds(at: Timestamp) -> u32 {
    u32::try_from(at.as_nanos() / 1_000_000_000).unwrap_or(u32::MAX)
}

/// Where a flow stands in the lists.
#[derive(Clone, Copy, Debug)]
struct Links {
    newer: u32,
    older: u32,
    waiting_next: u32,
    waiting_previous: u32,
}

const UNLINKED: Links = Links { newer: NIL, older: NIL, waiting_next: NIL, waiting_previous: NIL };

/// One tenant's flows in order of creation.
#[derive(Clone, Copy, Debug)]
struct Share {
    oldest: u32,
    newest: u32,
    count: u32,
    /// How many of them were spared.
    spared: u32,
    /// The second in which one was last given up for want of room.
    evicted: u32,
}

const NO_FLOWS: Share = Share { oldest: NIL, newest: NIL, count: 0, spared: 0, evicted: 0 };

/// A bounded table of flows.
#[derive(Debug)]
pub struct FlowTable {
    flows: Vec<Flow>,
    links: Vec<Links>,
    free: Vec<u32>,
    index: Index,
    /// The slot that was last found.
    recent: u32,
    hasher: FixedState,
    shares: Vec<Share>,
    guaranteed: u32,
    most: u32,
    capacity: usize,
    /// The tenant last found to hold most.
    hog: u32,
    waiting_first: u32,
    waiting_last: u32,
    hand: usize,
    next_sweep: Option<Timestamp>,
    evictions: u64,
    attempts: u64,
}

impl FlowTable {
    /// A table for `capacity` flows of `tenants` tenants.
    #[must_use]
    pub fn new(capacity: usize, tenants: usize, seed: u64) -> Self {
        let capacity = capacity.clamp(16, NIL as usize - 1);
        let mut table = Self {
            flows: Vec::with_capacity(capacity),
            links: Vec::with_capacity(capacity),
            free: Vec::new(),
            index: Index::new(capacity),
            recent: NIL,
            hasher: FixedState::with_seed(seed),
            shares: Vec::new(),
            guaranteed: 1,
            most: 1,
            capacity,
            hog: 0,
            waiting_first: NIL,
            waiting_last: NIL,
            hand: 0,
            next_sweep: None,
            evictions: 0,
            attempts: 0,
        };
        table.set_tenants(tenants);
        table
    }

    /// Shares the room among `tenants` tenants from now on. What they hold already they keep.
    pub fn set_tenants(&mut self, tenants: usize) {
        let tenants = tenants.max(1);
        let guaranteed = (self.capacity / (2 * tenants)).max(1);
        let most = if tenants == 1 { self.capacity } else { (self.capacity / 2).max(guaranteed) };
        self.guaranteed = u32::try_from(guaranteed).unwrap_or(NIL);
        self.most = u32::try_from(most).unwrap_or(NIL);
        if self.shares.len() < tenants {
            self.shares.resize(tenants, NO_FLOWS);
        }
    }

    /// Forgets every flow of a tenant.
    pub fn forget(&mut self, tenant: TenantIx) {
        while let Some(share) = self.shares.get(tenant.0 as usize)
            && share.oldest != NIL
        {
            self.remove(share.oldest);
        }
    }

    /// How many flows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len() - self.free.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many live flows were given up for want of room.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// How often an answer has begun to be waited for.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.attempts
    }

    /// The slot of a flow, unless it has been idle for too long at `at`: when the sweep comes by is not to be seen.
    #[must_use]
    pub fn find(&mut self, key: &FlowKey, at: Timestamp) -> Option<u32> {
        let flows = &self.flows;
        // Packets come in trains: often it is the flow of the last one.
        let found = match flows.get(self.recent as usize) {
            Some(flow) if flow.key == *key && flow.last != FREE => Some(self.recent),
            _ => self.index.find(self.hasher.hash_one(key), |slot| flows[slot as usize].key == *key),
        };
        let slot = found?;
        if is_over(&self.flows[slot as usize], at) {
            self.remove(slot);
            return None;
        }
        self.recent = slot;
        Some(slot)
    }

    /// Whether a flow of the tenant's was given up so lately that packets of it may still be sent again.
    #[must_use]
    pub(super) fn gives_up(&self, tenant: TenantIx, at: Timestamp) -> bool {
        let share = self.shares.get(tenant.0 as usize);
        share
            .is_some_and(|share| share.evicted != 0 && share.evicted.saturating_add(KEEP_OVER) >= seconds(at))
    }

    /// Whether a tenant has room left for what matters little.
    #[must_use]
    pub(super) fn has_room(&self, tenant: TenantIx) -> bool {
        self.shares.get(tenant.0 as usize).is_none_or(|share| share.count < self.most / 2)
    }

    /// The flow in a slot.
    #[must_use]
    pub fn get(&self, slot: u32) -> &Flow {
        &self.flows[slot as usize]
    }

    /// The flow in a slot, to change.
    pub fn get_mut(&mut self, slot: u32) -> &mut Flow {
        &mut self.flows[slot as usize]
    }

    /// Adds a flow that is not in the table. `waits` says whether its silence is to be noticed.
    pub(super) fn insert(&mut self, key: FlowKey, at: Timestamp, state: State, isn: u32, waits: bool) -> u32 {
        let tenant = key.tenant.0 as usize;
        if tenant >= self.shares.len() {
            self.shares.resize(tenant + 1, NO_FLOWS);
        }
        self.make_room(tenant, at);
        let mut flow = Flow {
            key,
            opened: at,
            isn,
            last: FREE,
            state,
            answered_again: false,
            marks: 0,
            waiting: Waiting::No,
        };
        flow.touch(at);
        let slot = match self.free.pop() {
            Some(slot) => {
                (self.flows[slot as usize], self.links[slot as usize]) = (flow, UNLINKED);
                slot
            }
            None => {
                self.flows.push(flow);
                self.links.push(UNLINKED);
                u32::try_from(self.flows.len() - 1).expect("capacity fits 32 bits")
            }
        };
        let (flows, hasher) = (&self.flows, &self.hasher);
        self.index.reserve(|slot| hasher.hash_one(flows[slot as usize].key));
        self.index.insert(self.hasher.hash_one(key), slot);
        self.link(slot, tenant);
        if waits {
            self.wait(slot);
        }
        self.next_sweep.get_or_insert(at + SWEEP_EVERY);
        slot
    }

    /// Begins a finished flow anew, as a new attempt: a port that is used again.
    pub(super) fn reopen(&mut self, slot: u32, at: Timestamp, state: State, isn: u32, waits: bool) {
        let tenant = self.flows[slot as usize].key.tenant.0 as usize;
        self.stop_waiting(slot);
        self.unlink(slot, tenant);
        let flow = &mut self.flows[slot as usize];
        (flow.opened, flow.state, flow.isn) = (at, state, isn);
        (flow.answered_again, flow.marks) = (false, 0);
        flow.touch(at);
        self.link(slot, tenant);
        if waits {
            self.wait(slot);
        }
    }

    /// The oldest attempt whose time for an answer ran out by `now`; it waits no more.
    pub fn pop_silent(&mut self, now: Timestamp) -> Option<u32> {
        let slot = self.waiting_first;
        if slot == NIL || self.flows[slot as usize].opened + SILENCE > now {
            return None;
        }
        self.stop_waiting(slot);
        Some(slot)
    }

    /// Takes a flow from the list of those that wait for an answer.
    pub(super) fn stop_waiting(&mut self, slot: u32) {
        let flow = &mut self.flows[slot as usize];
        match std::mem::replace(&mut flow.waiting, Waiting::No) {
            Waiting::No => return,
            Waiting::Yes => {}
            Waiting::Spared => self.shares[flow.key.tenant.0 as usize].spared -= 1,
        }
        let Links { waiting_previous: previous, waiting_next: next, .. } = self.links[slot as usize];
        match previous {
            NIL => self.waiting_first = next,
            _ => self.links[previous as usize].waiting_next = next,
        }
        match next {
            NIL => self.waiting_last = previous,
            _ => self.links[next as usize].waiting_previous = previous,
        }
        let links = &mut self.links[slot as usize];
        (links.waiting_previous, links.waiting_next) = (NIL, NIL);
    }

    /// When there is next something to end.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let silent =
            (self.waiting_first != NIL).then(|| self.flows[self.waiting_first as usize].opened + SILENCE);
        match (silent, self.next_sweep) {
            (Some(silent), Some(sweep)) => Some(silent.min(sweep)),
            (one, other) => one.or(other),
        }
    }

    /// Forgets some of the flows that have been idle too long, if it is time.
    pub fn sweep(&mut self, now: Timestamp) {
        let Some(due) = self.next_sweep else { return };
        if due > now {
            return;
        }
        let steps = self.flows.len().div_ceil(SWEEP_ROUNDS);
        for _ in 0..steps {
            if self.hand >= self.flows.len() {
                self.hand = 0;
            }
            let slot = u32::try_from(self.hand).expect("capacity fits 32 bits");
            self.hand += 1;
            let flow = &self.flows[slot as usize];
            if flow.last != FREE && is_over(flow, now) {
                self.remove(slot);
            }
        }
        self.next_sweep = (!self.is_empty()).then(|| now + SWEEP_EVERY);
    }

    /// Makes sure that there is a slot for a flow of `tenant`.
    fn make_room(&mut self, tenant: usize, at: Timestamp) {
        let count = self.shares[tenant].count;
        if count >= self.most {
            self.evict_oldest(tenant, at);
        } else if self.len() >= self.capacity {
            let victim = if count >= self.guaranteed { tenant } else { self.largest() };
            self.evict_oldest(victim, at);
        }
    }

    /// A tenant that holds more than its guaranteed share. There is one whenever the table is full.
    fn largest(&mut self) -> usize {
        if self.shares[self.hog as usize].count <= self.guaranteed {
            let by_count = |&(index, share): &(usize, &Share)| (share.count, std::cmp::Reverse(index));
            let most = self.shares.iter().enumerate().max_by_key(by_count);
            self.hog = most.map_or(0, |(index, _)| u32::try_from(index).expect("tenants fit 32 bits"));
        }
        self.hog as usize
    }

    fn evict_oldest(&mut self, tenant: usize, at: Timestamp) {
        // Each turn spares one more or comes to one that is not spared; once all are, the oldest goes.
        for _ in 0..=2 * SPARED_MOST {
            let oldest = self.shares[tenant].oldest;
            if oldest == NIL || !self.spare(oldest, tenant) {
                break;
            }
        }
        let oldest = self.shares[tenant].oldest;
        if oldest != NIL {
            self.remove(oldest);
            self.evictions += 1;
            self.shares[tenant].evicted = seconds(at).max(1);
        }
    }

    /// Puts a flow's turn off, if it waits for an answer and may be spared; tells whether it did.
    fn spare(&mut self, slot: u32, tenant: usize) -> bool {
        let flow = &mut self.flows[slot as usize];
        if flow.waiting == Waiting::No || self.shares[tenant].count <= 4 * SPARED_MOST {
            return false;
        }
        if flow.waiting != Waiting::Spared {
            if self.shares[tenant].spared >= SPARED_MOST {
                return false;
            }
            flow.waiting = Waiting::Spared;
            self.shares[tenant].spared += 1;
        }
        self.unlink(slot, tenant);
        self.link(slot, tenant);
        true
    }

    fn remove(&mut self, slot: u32) {
        let key = self.flows[slot as usize].key;
        self.index.remove(self.hasher.hash_one(key), slot);
        self.stop_waiting(slot);
        self.unlink(slot, key.tenant.0 as usize);
        self.flows[slot as usize].last = FREE;
        self.free.push(slot);
    }

    fn link(&mut self, slot: u32, tenant: usize) {
        let newest = self.shares[tenant].newest;
        match newest {
            NIL => self.shares[tenant].oldest = slot,
            _ => self.links[newest as usize].newer = slot,
        }
        let links = &mut self.links[slot as usize];
        (links.older, links.newer) = (newest, NIL);
        self.shares[tenant].newest = slot;
        self.shares[tenant].count += 1;
    }

    fn unlink(&mut self, slot: u32, tenant: usize) {
        let Links { older, newer, .. } = self.links[slot as usize];
        match older {
            NIL => self.shares[tenant].oldest = newer,
            _ => self.links[older as usize].newer = newer,
        }
        match newer {
            NIL => self.shares[tenant].newest = older,
            _ => self.links[newer as usize].older = older,
        }
        self.shares[tenant].count -= 1;
    }

    fn wait(&mut self, slot: u32) {
        self.attempts += 1;
        match self.waiting_last {
            NIL => self.waiting_first = slot,
            last => self.links[last as usize].waiting_next = slot,
        }
        let last = self.waiting_last;
        self.flows[slot as usize].waiting = Waiting::Yes;
        let links = &mut self.links[slot as usize];
        (links.waiting_previous, links.waiting_next) = (last, NIL);
        self.waiting_last = slot;
    }
}

/// Whether a flow has been idle for too long at `at`.
fn is_over(flow: &Flow, at: Timestamp) -> bool {
    flow.last.saturating_add(keep(flow)) <= seconds(at)
}

/// For how many seconds a flow is kept after its last packet.
fn keep(flow: &Flow) -> u32 {
    match flow.state {
        State::Tried | State::Over | State::Midstream(_) | State::Blocked => KEEP_OVER,
        _ if flow.key.is_tcp() => KEEP_TCP,
        _ => KEEP_DATAGRAM,
    }
}

/// Bytes that one flow costs: its slot, its links, its place among the free ones and in the index.
pub const FLOW_BYTES: usize = size_of::<Flow>() + size_of::<Links>() + size_of::<u32>() + ENTRY_BYTES;
