//! What goes to the busiest destinations, to the busiest networks, and in all, second by second.
//!
//! A full table gives up the destination with the least traffic. Estimates are never above the truth: what is evicted starts
//! again from nothing, so a small flow among very many others can hide, and none is ever invented. What is spread over
//! more destinations than the table holds is seen in their network's count, and in the count of all.

use std::net::IpAddr;

use reeve_policy::Timestamp;

use super::hash::class_bit;
use super::keyed::Keyed;
use super::tally::{Limit, Pace, Second, Tally};
use crate::flow::table::{address, bits};

/// How long the prefixes are that destinations are summed up by: a /24, and a site's /48 (RFC 6177).
const NET_V4_BITS: u32 = 24;
const NET_V6_BITS: u32 = 48;

/// What is known of a destination beside its count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// The destination port of the first packet of the second; 0 where there are none.
    pub port: u16,
    /// The tenant's port of that packet.
    pub local_port: u16,
    /// Whether the second held packets between other ports too.
    pub is_mixed: bool,
    /// The length of all its packets; 0 where they differ.
    pub length: u16,
    /// Which of 64 classes of destination ports were seen, a bit each.
    ports: u64,
    /// Since when one pair of ports has been used, without a flood.
    pub steady_since: Timestamp,
    /// Packets of the second between ports that the other side speaks on as well, and which of 64 classes of pairs these were.
    pub vouched: u32,
    pairs: u64,
}

impl Traits {
    /// Whether it went to very many ports, as a scan does: half of 64 classes takes some forty-five distinct ones.
    #[must_use]
    pub const fn is_scattered(&self) -> bool {
        self.ports.count_ones() >= 32
    }

    /// Whether there were ports of a class (see [`port_class`]).
    #[must_use]
    pub const fn went_to(&self, class: u64) -> bool {
        self.ports & class != 0
    }

    /// Whether there were no ports but of these classes.
    #[must_use]
    pub const fn went_only_to(&self, classes: u64) -> bool {
        self.ports & !classes == 0
    }

    /// Not more than the number of pairs of ports that were vouched for.
    #[must_use]
    pub const fn vouched_pairs(&self) -> u32 {
        self.pairs.count_ones()
    }

    fn note(&mut self, (local_port, port): (u16, u16), length: u16, at: Timestamp, is_new: bool) {
        if is_new {
            if (self.local_port, self.port) != (local_port, port) || self.is_mixed {
                self.steady_since = at;
            }
            let steady_since = self.steady_since;
            *self = Self { port, local_port, length, steady_since, ..Self::default() };
        } else {
            self.is_mixed |= (self.local_port, self.port) != (local_port, port);
            if self.length != length {
                self.length = 0;
            }
        }
        self.ports |= port_class(port);
    }
}

/// The bit of one of 64 classes of ports.
#[must_use]
pub const fn port_class(port: u16) -> u64 {
    class_bit(port as u64)
}

/// What is known of one destination, or of one network.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    tally: Tally,
    traits: Traits,
}

/// The busiest of something, by key.
type Table<const CAPACITY: usize> = Keyed<Entry, CAPACITY>;

/// Whoever has sent fewer packets in a second does not stand out.
const LIGHT: (bool, u64) = (false, 8);

/// What goes to `key`, from `at` on.
#[inline]
fn entry<const CAPACITY: usize>(table: &mut Table<CAPACITY>, key: u128, at: Timestamp) -> &mut Entry {
    table.find_or_make(key, Entry::default, LIGHT, |entry| entry.tally.weight(at))
}

fn due<const CAPACITY: usize>(table: &Table<CAPACITY>) -> Option<Timestamp> {
    table.iter().map(|(_, entry)| entry.tally.due()).min()
}

/// The first whose second is to be judged: its place, its key, the second, and what else is known of it.
fn take_ready<const CAPACITY: usize>(
    table: &mut Table<CAPACITY>,
    now: Timestamp,
) -> Option<(usize, u128, Second, Traits)> {
    let mut all = table.iter_mut().enumerate();
    all.find_map(|(index, (key, entry))| Some((index, key, entry.tally.take_ready(now)?, entry.traits)))
}

/// Over what a second was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// One destination.
    Host(IpAddr),
    /// The network that this address is the first of.
    Net(IpAddr),
    /// All together.
    All,
}

/// A second that is to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Over what.
    pub reach: Reach,
    /// The counts.
    pub second: Second,
    /// What else is known of a single destination.
    pub traits: Traits,
    index: usize,
}

/// From how much on a second is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To one destination.
    pub host: Limit,
    /// To one network.
    pub net: Limit,
    /// In all.
    pub all: Limit,
}

/// A packet, as far as rates go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub at: Timestamp,
    /// The tenant's port and the destination's; zeros where there are none.
    pub ports: (u16, u16),
    /// Wire segments.
    pub packets: u64,
    /// Bytes, from the network header on.
    pub bytes: u64,
}

/// The traffic of one kind of one tenant.
#[derive(Debug)]
pub struct Rates {
    hosts: Table<{ Rates::HOSTS }>,
    nets: Table<{ Rates::NETS }>,
    all: Tally,
    pace: Pace,
    /// Not later than the first time when something is to be judged.
    due: Timestamp,
}

impl Rates {
    /// The most destinations that are held.
    pub const HOSTS: usize = 24;
    /// The most networks that are held.
    pub const NETS: usize = 8;

    /// Bytes that full tables take, beside the value itself.
    pub const BYTES: usize = Table::<{ Self::HOSTS }>::BYTES + Table::<{ Self::NETS }>::BYTES;

    /// No traffic yet.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self {
            hosts: Table::default(),
            nets: Table::default(),
            all: Tally::default(),
            pace,
            due: Timestamp::from_nanos(u64::MAX),
        }
    }

    /// Adds what the tenant sent.
    pub fn sent(&mut self, destination: IpAddr, sent: Sent, limits: &Limits) {
        let Sent { at, ports, packets, bytes } = sent;
        let key = bits(destination);
        let host = entry(&mut self.hosts, key, at);
        let is_new = host.tally.add(at, packets, bytes, limits.host, self.pace);
        self.due = self.due.min(host.tally.due());
        // What counts for several packets is as long as they are together, and says nothing of each.
        let length = if packets == 1 { u16::try_from(bytes).unwrap_or(0) } else { 0 };
        // A later fragment has no ports and changes nothing about those of the others.
        if ports != (0, 0) {
            host.traits.note(ports, length, at, is_new);
        }
        let net = &mut entry(&mut self.nets, net_of(key), at).tally;
        net.add(at, packets, bytes, limits.net, self.pace);
        self.due = self.due.min(net.due());
        self.all.add(at, packets, bytes, limits.all, self.pace);
        self.due = self.due.min(self.all.due());
    }

    /// Says that what was just added went between ports that the other side speaks on as well.
    pub fn vouch(&mut self, ports: (u16, u16), packets: u64) {
        let Some(Entry { traits, .. }) = self.hosts.recent_mut() else { return };
        traits.vouched = traits.vouched.saturating_add(u32::try_from(packets).unwrap_or(u32::MAX));
        let pair = u64::from(ports.0) << 16 | u64::from(ports.1);
        traits.pairs |= class_bit(pair);
    }

    /// Whether anything was sent to `host` in the second that is now, or the one before.
    #[must_use]
    pub fn has_sent_to(&self, host: IpAddr, now: Timestamp) -> bool {
        self.hosts.find(bits(host)).is_some_and(|host| host.tally.recent(now).0 > 0)
    }

    /// Adds what speaks for the traffic, as it comes.
    pub fn answered(&mut self, source: IpAddr, number: u64) {
        let key = bits(source);
        if let Some(host) = self.hosts.find_mut(key) {
            host.tally.answer(number);
        }
        if let Some(net) = self.nets.find_mut(net_of(key)) {
            net.tally.answer(number);
        }
        self.all.answer(number);
    }

    /// Adds what speaks for something that was sent at `sent`.
    pub fn answered_to(&mut self, destination: IpAddr, sent: Timestamp, number: u64) {
        let key = bits(destination);
        if let Some(host) = self.hosts.find_mut(key) {
            host.tally.answer_to(sent, number);
        }
        if let Some(net) = self.nets.find_mut(net_of(key)) {
            net.tally.answer_to(sent, number);
        }
        self.all.answer_to(sent, number);
    }

    /// Takes back what turned out not to be what it seemed.
    pub fn take_back(&mut self, destination: IpAddr, packets: u64) {
        let key = bits(destination);
        if let Some(host) = self.hosts.find_mut(key) {
            host.tally.take_back(packets);
        }
        if let Some(net) = self.nets.find_mut(net_of(key)) {
            net.tally.take_back(packets);
        }
        self.all.take_back(packets);
    }

    /// When something is to be judged; may be too early.
    #[must_use]
    pub const fn due(&self) -> Timestamp {
        self.due
    }

    /// A second whose time has come: hosts before networks, each in the order in which they were first seen.
    pub fn take_ready(&mut self, now: Timestamp) -> Option<Ready> {
        if self.due > now {
            return None;
        }
        if let Some((index, key, second, traits)) = take_ready(&mut self.hosts, now) {
            return Some(Ready { reach: Reach::Host(address(key)), second, traits, index });
        }
        if let Some((index, key, second, _)) = take_ready(&mut self.nets, now) {
            return Some(Ready { reach: Reach::Net(address(key)), second, traits: Traits::default(), index });
        }
        if let Some(second) = self.all.take_ready(now) {
            return Some(Ready { reach: Reach::All, second, traits: Traits::default(), index: 0 });
        }
        let first = [due(&self.hosts), due(&self.nets)].into_iter().flatten().min();
        self.due = first.map_or(self.all.due(), |first| first.min(self.all.due()));
        None
    }

    /// The count that a second was taken from.
    pub fn tally_mut(&mut self, ready: &Ready) -> &mut Tally {
        match ready.reach {
            Reach::Host(_) => &mut self.hosts.at_mut(ready.index).tally,
            Reach::Net(_) => &mut self.nets.at_mut(ready.index).tally,
            Reach::All => &mut self.all,
        }
    }

    /// Begins to count anew for how long one pair of ports has been used.
    pub fn unsteady(&mut self, ready: &Ready, at: Timestamp) {
        if let Reach::Host(_) = ready.reach {
            self.hosts.at_mut(ready.index).traits.steady_since = at;
        }
    }

    /// Whether a destination within `reach` was told of less than `pause` ago.
    #[must_use]
    pub fn was_host_told(&self, reach: Reach, now: Timestamp, pause: std::time::Duration) -> bool {
        self.within(reach).any(|(_, host)| host.tally.was_told(now, pause))
    }

    /// What of the traffic within `reach` went to destinations that were found to be nothing by themselves, and what spoke
    /// for that.
    #[must_use]
    pub fn cleared(&self, reach: Reach, now: Timestamp) -> (u64, u64) {
        self.within(reach)
            .map(|(_, host)| &host.tally)
            .filter(|tally| tally.was_cleared(now))
            .map(|tally| tally.recent(now))
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// The destinations within `reach` that are held, those with the most traffic first, and what they got together.
    #[must_use]
    pub fn busiest(&self, reach: Reach, now: Timestamp) -> (Vec<(IpAddr, u16)>, u64) {
        let mut busy: Vec<(u64, (IpAddr, u16))> = self
            .within(reach)
            .filter(|(_, host)| !host.tally.was_cleared(now))
            .map(|(key, host)| (host.tally.recent(now).0, (address(key), host.traits.port)))
            .filter(|(sent, _)| *sent > 0)
            .collect();
        // The sort is stable: of two with as much, the one that stands first.
        busy.sort_by_key(|(sent, _)| std::cmp::Reverse(*sent));
        let sum = busy.iter().map(|(sent, _)| sent).sum();
        (busy.into_iter().map(|(_, place)| place).collect(), sum)
    }

    /// How many destinations and networks had to make room.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.hosts.evictions() + self.nets.evictions()
    }

    fn within(&self, reach: Reach) -> impl Iterator<Item = (u128, &Entry)> {
        self.hosts.iter().filter(move |(key, _)| match reach {
            Reach::Host(address) => *key == bits(address),
            Reach::Net(net) => net_of(*key) == bits(net),
            Reach::All => true,
        })
    }
}

/// The first address of the network of `key`.
#[must_use]
pub const fn net_of(key: u128) -> u128 {
    // IPv4 stands in the mapped range (RFC 4291, section 2.5.5.2).
    let len = if key >> 32 == 0xffff { 96 + NET_V4_BITS } else { NET_V6_BITS };
    key & (u128::MAX << (128 - len))
}

#[cfg(test)]
mod tests {
    use super::super::tally::PATIENCE;
    use super::*;

    const LIMITS: Limits =
        Limits { host: Limit::packets(10), net: Limit::packets(40), all: Limit::packets(100) };

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000_000 + millis * 1_000_000)
    }

    fn sent(millis: u64, packets: u64) -> Sent {
        Sent { at: at(millis), ports: (1, 2), packets, bytes: packets }
    }

    fn rates() -> Rates {
        Rates::new(Pace::Answers(PATIENCE))
    }

    #[test]
    fn hosts_networks_and_all_are_judged_each_by_its_own_limit() {
        let mut rates = rates();
        for host in 0..30_u8 {
            rates.sent([20, 0, 0, host].into(), sent(host.into(), 2), &LIMITS);
        }
        rates.sent([30, 0, 0, 1].into(), sent(40, 60), &LIMITS);
        let all: Vec<Ready> = std::iter::from_fn(|| rates.take_ready(at(700))).collect();
        let told: Vec<(Reach, u64)> = all.iter().map(|ready| (ready.reach, ready.second.sent)).collect();
        let (net, other) = ([20, 0, 0, 0].into(), [30, 0, 0, 0].into());
        assert_eq!(
            told,
            [
                (Reach::Host([30, 0, 0, 1].into()), 60),
                (Reach::Net(net), 60),
                (Reach::Net(other), 60),
                (Reach::All, 120)
            ]
        );
        assert_eq!(rates.take_ready(at(9_000)), None);
        assert_eq!(rates.due(), Timestamp::from_nanos(u64::MAX));
    }

    #[test]
    fn a_full_table_gives_up_the_least() {
        let mut rates = rates();
        for host in 0..=Rates::HOSTS as u8 {
            rates.sent([20, 0, 0, host].into(), sent(0, if host == 5 { 1 } else { 9 }), &LIMITS);
        }
        assert_eq!(rates.evictions(), 1);
        assert_eq!(rates.hosts.position(bits([20, 0, 0, 5].into())), None);
        assert_eq!(rates.hosts.iter().count(), Rates::HOSTS);
    }

    #[test]
    fn networks_are_a_24_and_a_48() {
        for (address, net) in [("20.1.2.3", "20.1.2.0"), ("2001:db8:1:2::3", "2001:db8:1::")] {
            assert_eq!(
                super::address(net_of(bits(address.parse().unwrap()))),
                net.parse::<IpAddr>().unwrap()
            );
        }
    }

    #[test]
    fn one_pair_of_ports_is_known_for_how_long() {
        let mut rates = rates();
        let host: IpAddr = [20, 0, 0, 1].into();
        for (millis, ports) in [(0, (1, 2)), (1_000, (1, 2)), (2_000, (1, 3)), (3_000, (1, 3))] {
            rates.sent(host, Sent { ports, ..sent(millis, 1) }, &LIMITS);
        }
        assert_eq!(rates.hosts.at_mut(0).traits.steady_since, at(2_000));
        assert!(!rates.hosts.at_mut(0).traits.is_mixed);
        rates.sent(host, Sent { ports: (2, 3), ..sent(3_100, 1) }, &LIMITS);
        assert!(rates.hosts.at_mut(0).traits.is_mixed);
    }
}
