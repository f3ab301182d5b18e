//! Who spoke to a tenant lately, and which of its ports have served.
//!
//! A flow is found by both its ends. What answers from another address or port than it was asked at is not: a TFTP server answers
//! from a fresh port (RFC 1350, section 4), a daemon on all addresses of a host from whichever the route gives. So who sent a
//! datagram is remembered by its own end alone, and what goes back there is an answer. Whoever completed a connection to the tenant
//! is remembered too, for servers dial those who call (active FTP, ident, a callback); a forged call completes none. And ports that
//! served stay known for a day or two: their peers may vanish, and keepalives find that out after hours (RFC 9293, section 3.8.4).
//!
//! Everything is exact, in the order in which it came, and bounded by tenant: what is oldest goes first.

use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::fast::FixedState;
use reeve_policy::{Protocol, Timestamp};

use super::index::Index;
use super::table::{FlowKey, bits, seconds};
use crate::topology::TenantIx;

/// For how many seconds whoever spoke is remembered.
const KEEP: u32 = 600;

/// Ends that are remembered of those who sent datagrams, and hosts of those who called.
const ENDS_MOST: usize = 2_048;
const CALLERS_MOST: usize = 512;

/// Room to begin with; it doubles while what would go is not yet old.
const FIRST: usize = 32;

/// What a caller did, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Called {
    /// Nothing that is remembered.
    #[default]
    No,
    /// It sent datagrams and was answered; it may have been somebody else in its name.
    Spoke,
    /// It completed a connection.
    Connected,
}

/// What is remembered of every tenant's callers.
#[derive(Debug)]
pub(super) struct Contacts {
    hasher: FixedState,
    tenants: Vec<Contact>,
}

/// One tenant's. Most have few of them.
#[derive(Debug, Default)]
struct Contact {
    ends: Option<Box<Recent>>,
    spoke: Option<Box<Recent>>,
    connected: Option<Box<Recent>>,
    served: Option<Box<Served>>,
}

impl Contacts {
    /// For `tenants` tenants. `seed` spreads the hash; it never shows.
    pub(super) fn new(tenants: usize, seed: u64) -> Self {
        let mut contacts = Self { hasher: FixedState::with_seed(seed), tenants: Vec::new() };
        contacts.set_tenants(tenants);
        contacts
    }

    /// Makes room for `tenants` tenants.
    pub(super) fn set_tenants(&mut self, tenants: usize) {
        if self.tenants.len() < tenants {
            self.tenants.resize_with(tenants, Contact::default);
        }
    }

    /// Forgets what is remembered of a tenant's.
    pub(super) fn forget(&mut self, tenant: TenantIx) {
        if let Some(contact) = self.tenants.get_mut(tenant.0 as usize) {
            *contact = Contact::default();
        }
    }

    /// The remote end of a flow has sent the tenant a datagram.
    pub(super) fn note_datagram(&mut self, key: &FlowKey, at: Timestamp) {
        let hash = self.hasher.hash_one(key.remote());
        note(self.contact(key.tenant).map(|contact| &mut contact.ends), (hash, at), ENDS_MOST);
    }

    /// Whether the remote end of a flow has sent a datagram lately, wherever to.
    pub(super) fn has_sent(&self, key: &FlowKey, at: Timestamp) -> bool {
        let ends = self.tenants.get(key.tenant.0 as usize).and_then(|contact| contact.ends.as_ref());
        ends.is_some_and(|ends| ends.has(self.hasher.hash_one(key.remote()), at))
    }

    /// A call to a port of the tenant's was answered.
    pub(super) fn note_served(
        &mut self,
        (tenant, protocol): (TenantIx, Protocol),
        (peer, local_port): (IpAddr, u16),
        at: Timestamp,
    ) {
        let hash = self.hash(peer);
        let contact = self.contact(tenant);
        if protocol == Protocol::Tcp {
            if let Some(contact) = contact {
                contact.served.get_or_insert_with(Served::new).note(local_port, at);
            }
        } else {
            note(contact.map(|contact| &mut contact.spoke), (hash, at), CALLERS_MOST);
        }
    }

    /// Whether connections to a port of the tenant's were taken in the last days.
    pub(super) fn has_served(&self, tenant: TenantIx, port: u16, at: Timestamp) -> bool {
        let served = self.tenants.get(tenant.0 as usize).and_then(|contact| contact.served.as_ref());
        served.is_some_and(|served| served.has(port, at))
    }

    /// The remote end of a flow has completed a connection to the tenant.
    pub(super) fn note_connected(&mut self, key: &FlowKey, at: Timestamp) {
        let hash = self.hash(key.remote().0);
        note(self.contact(key.tenant).map(|contact| &mut contact.connected), (hash, at), CALLERS_MOST);
    }

    /// What a host did lately towards the tenant.
    pub(super) fn called(&self, tenant: TenantIx, host: IpAddr, at: Timestamp) -> Called {
        let Some(contact) = self.tenants.get(tenant.0 as usize) else { return Called::No };
        let has = |recent: &Option<Box<Recent>>| {
            recent.as_ref().is_some_and(|recent| recent.has(self.hash(host), at))
        };
        if has(&contact.connected) {
            Called::Connected
        } else if has(&contact.spoke) {
            Called::Spoke
        } else {
            Called::No
        }
    }

    fn contact(&mut self, tenant: TenantIx) -> Option<&mut Contact> {
        self.tenants.get_mut(tenant.0 as usize)
    }

    fn hash(&self, host: IpAddr) -> u64 {
        self.hasher.hash_one(bits(host))
    }
}

fn note(recent: Option<&mut Option<Box<Recent>>>, (hash, at): (u64, Timestamp), most: usize) {
    if let Some(recent) = recent {
        recent.get_or_insert_with(|| Box::new(Recent::new())).note(hash, at, most);
    }
}

/// The last that came, each once, in the order in which they last came.
#[derive(Debug)]
struct Recent {
    /// The hash, and the second in which it last came; 0 where it came again later.
    entries: Vec<(u64, u32)>,
    index: Index,
    room: usize,
    next: usize,
}

impl Recent {
    fn new() -> Self {
        Self { entries: Vec::new(), index: Index::new(FIRST), room: FIRST, next: 0 }
    }

    fn note(&mut self, hash: u64, at: Timestamp, most: usize) {
        let now = seconds(at).max(1);
        if let Some(slot) = self.find(hash) {
            let last = &mut self.entries[slot as usize].1;
            if *last == now {
                return;
            }
            *last = 0;
            self.index.remove(hash, slot);
        }
        if self.entries.len() == self.room && self.room < most {
            let (_, oldest) = self.entries[self.next];
            if oldest.saturating_add(KEEP) > now {
                self.grow();
            }
        }
        let slot = u32::try_from(self.next).expect("room fits 32 bits");
        match self.entries.get_mut(self.next) {
            Some(entry) => {
                let (before, last) = std::mem::replace(entry, (hash, now));
                if last != 0 {
                    self.index.remove(before, slot);
                }
            }
            None => self.entries.push((hash, now)),
        }
        self.index.insert(hash, slot);
        self.next = (self.next + 1) % self.room;
    }

    fn has(&self, hash: u64, at: Timestamp) -> bool {
        let is_late = |slot: u32| self.entries[slot as usize].1.saturating_add(KEEP) < seconds(at);
        self.find(hash).is_some_and(|slot| !is_late(slot))
    }

    fn find(&self, hash: u64) -> Option<u32> {
        self.index.find(hash, |slot| self.entries[slot as usize].0 == hash)
    }

    /// Doubles the room of a full table.
    fn grow(&mut self) {
        self.entries.rotate_left(self.next);
        self.entries.retain(|&(_, last)| last != 0);
        self.room *= 2;
        self.index = Index::new(self.room);
        for (slot, &(hash, _)) in (0..).zip(&self.entries) {
            self.index.insert(hash, slot);
        }
        self.next = self.entries.len();
    }
}

/// The ports at which calls were taken today and yesterday, a bit each.
#[derive(Debug)]
struct Served {
    days: [[u64; 1_024]; 2],
    today: u64,
}

impl Served {
    fn new() -> Box<Self> {
        Box::new(Self { days: [[0; 1_024]; 2], today: 0 })
    }

    fn note(&mut self, port: u16, at: Timestamp) {
        let today = day(at);
        match today.saturating_sub(self.today) {
            0 => {}
            1 => self.days = [[0; 1_024], self.days[0]],
            _ => self.days = [[0; 1_024]; 2],
        }
        self.today = self.today.max(today);
        self.days[0][usize::from(port / 64)] |= 1 << (port % 64);
    }

    fn has(&self, port: u16, at: Timestamp) -> bool {
        let is_set = |day: usize| self.days[day][usize::from(port / 64)] >> (port % 64) & 1 == 1;
        match day(at).saturating_sub(self.today) {
            0 => is_set(0) || is_set(1),
            1 => is_set(0),
            _ => false,
        }
    }
}

fn day(at: Timestamp) -> u64 {
    at.as_nanos() / (86_400 * 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ME: TenantIx = TenantIx(0);

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(86_400 * 1_000 + secs)
    }

    fn key(host: u32, port: u16) -> FlowKey {
        let host = std::net::Ipv4Addr::from_bits(0x1400_0000 + host);
        FlowKey::new(ME, Protocol::Udp, ([203, 0, 113, 1].into(), 69), (host.into(), port))
    }

    #[test]
    fn an_end_is_remembered_for_ten_minutes_and_nobody_else() {
        let mut contacts = Contacts::new(1, 7);
        contacts.note_datagram(&key(1, 4_444), at(0));
        for (host, port, secs, expect) in [
            (1, 4_444, 0, true),
            (1, 4_444, 600, true),
            (1, 4_444, 601, false),
            (1, 4_445, 0, false),
            (2, 4_444, 0, false),
        ] {
            assert_eq!(contacts.has_sent(&key(host, port), at(secs)), expect, "{host} {port} {secs}");
        }
        contacts.forget(ME);
        assert!(!contacts.has_sent(&key(1, 4_444), at(0)));
    }

    #[test]
    fn room_is_bounded_and_the_last_come_stay() {
        let mut contacts = Contacts::new(1, 7);
        contacts.note_datagram(&key(9_999_999, 1), at(0));
        for host in 0..50_000_u32 {
            let when = at(0) + Duration::from_millis(host.into());
            contacts.note_datagram(&key(host, 1), when);
            if host % 1_000 == 0 {
                contacts.note_datagram(&key(9_999_999, 1), when);
            }
        }
        let ends = contacts.tenants[0].ends.as_ref().unwrap();
        assert_eq!((ends.entries.len(), ends.room), (ENDS_MOST, ENDS_MOST));
        let known = (0..50_000).filter(|&host| contacts.has_sent(&key(host, 1), at(50))).collect::<Vec<_>>();
        assert!(known.len() >= ENDS_MOST - 4 && known[0] >= 50_000 - ENDS_MOST as u32, "{}", known.len());
        assert!(contacts.has_sent(&key(9_999_999, 1), at(50)), "whoever comes again stays");
    }

    #[test]
    fn quiet_tenants_cost_little() {
        let mut contacts = Contacts::new(1, 7);
        for host in 0..500_u32 {
            contacts.note_datagram(&key(host, 1), at(u64::from(host) * 40));
        }
        assert_eq!(contacts.tenants[0].ends.as_ref().unwrap().room, FIRST);
    }

    #[test]
    fn a_port_has_served_until_the_end_of_the_next_day() {
        let mut contacts = Contacts::new(1, 7);
        contacts.note_served((ME, Protocol::Tcp), ([20, 0, 0, 1].into(), 22), at(86_000));
        for (secs, expect) in [(86_000, true), (86_400 + 7_200, true), (2 * 86_400, false)] {
            assert_eq!(contacts.has_served(ME, 22, at(secs)), expect, "{secs}");
        }
        assert!(!contacts.has_served(ME, 23, at(86_000)));
    }
}
