//! What was just delivered to a tenant that it may well pass on or answer, so that this is not held against it.
//!
//! A host that routes (containers, a VPN, a firewall with one leg) sends back by its port what a neighbour hands it for elsewhere, with the
//! neighbour's source; and a service answers a datagram whose source anybody may have written. Neither is the tenant's own word.
//!
//! What was delivered is counted by who is said to have sent it to whom, in a table of fixed size: two that share a place share what is
//! in it, so nothing is forgotten however much comes, and at worst a packet too many is excused. Whoever passes on is excused as many packets as were
//! delivered within [`KEPT`], and no more.
//!
//! Left out: what is passed on under another address, or in other fragments than it came in.

use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::Timestamp;

use crate::flow::table::bits;
use crate::meter::hash;
use crate::packet::Ip;

/// How long a packet may stay within the tenant: queues are emptied in less.
const KEPT: Duration = Duration::from_secs(2);
/// Places of the table.
const PLACES: usize = 256;

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    last: Timestamp,
    packets: u32,
}

/// What was delivered to one tenant within the last moments. It takes no room for those to whom nothing like this comes.
#[derive(Debug, Default)]
pub(super) struct Delivered(Option<Box<[Place; PLACES]>>);

impl Delivered {
    /// Takes note of packets for elsewhere.
    pub fn handed_over(&mut self, ip: &Ip<'_>, packets: u32, at: Timestamp) {
        self.add(way(ip), packets, at);
    }

    /// Whether the tenant only passes on what it was handed: then one less is left.
    pub fn passes_on(&mut self, ip: &Ip<'_>, at: Timestamp) -> bool {
        let Some(place) = self.0.as_mut().map(|places| &mut places[way(ip)]) else { return false };
        let is_left = place.packets > 0 && at.since(place.last) <= KEPT;
        if is_left {
            place.packets -= 1;
        }
        is_left
    }

    /// Takes note that the tenant was asked from a port to one of its own.
    pub fn asked(&mut self, by: IpAddr, (from, to): (u16, u16), at: Timestamp) {
        self.add(question(by, from, to), 1, at);
    }

    /// Whether what the tenant sends answers whom it goes to.
    pub fn answers(&self, to: IpAddr, (from, port): (u16, u16), at: Timestamp) -> bool {
        self.0.as_ref().is_some_and(|places| {
            let place = &places[question(to, port, from)];
            place.packets > 0 && at.since(place.last) <= KEPT
        })
    }

    /// Whether nothing was delivered lately, so that the room is given back.
    pub fn drop_old(&mut self, now: Timestamp) {
        if self.0.as_ref().is_some_and(|places| places.iter().all(|place| now.since(place.last) > KEPT)) {
            self.0 = None;
        }
    }

    fn add(&mut self, place: usize, packets: u32, at: Timestamp) {
        let place = &mut self.0.get_or_insert_with(|| Box::new([Place::default(); PLACES]))[place];
        if at.since(place.last) > KEPT {
            place.packets = 0;
        }
        (place.last, place.packets) = (at, place.packets.saturating_add(packets));
    }
}

/// The place of a packet's way.
fn way(ip: &Ip<'_>) -> usize {
    let protocol = u128::from(ip.protocol.number().unwrap_or(0));
    place([bits(ip.source), bits(ip.destination), protocol])
}

/// The place of a question from an address and port to a port.
fn question(by: IpAddr, from: u16, to: u16) -> usize {
    place([bits(by), 1 << 64, u128::from(from) << 16 | u128::from(to)])
}

fn place(words: [u128; 3]) -> usize {
    let halves = words.into_iter().flat_map(|word| [(word >> 64) as u64, word as u64]);
    hash::mix_all(halves) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos((1_000_000 + millis) * 1_000_000)
    }

    const ASKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));

    #[test]
    fn an_answer_is_one_for_a_moment_and_to_whoever_asked() {
        let mut delivered = Delivered::default();
        assert!(!delivered.answers(ASKER, (53, 520), at(0)));
        delivered.asked(ASKER, (520, 53), at(0));
        for (from, port, millis, expect) in
            [(53, 520, 1, true), (53, 520, 2_000, true), (53, 520, 2_001, false), (53, 521, 1, false)]
        {
            assert_eq!(delivered.answers(ASKER, (from, port), at(millis)), expect, "{from} {port} {millis}");
        }
        delivered.drop_old(at(2_000));
        assert!(delivered.0.is_some());
        delivered.drop_old(at(2_001));
        assert!(delivered.0.is_none());
    }

    #[test]
    fn however_many_ask_none_is_forgotten() {
        let mut delivered = Delivered::default();
        for host in 0..100_000_u32 {
            delivered.asked(IpAddr::from(host.to_be_bytes()), (68, 67), at(0));
        }
        delivered.asked(ASKER, (68, 67), at(0));
        assert!(delivered.answers(ASKER, (67, 68), at(1)));
    }
}
