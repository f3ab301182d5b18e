//! `spoof.arp` and `spoof.nd`: claims for addresses of others on the local link.
//!
//! **Measure.** Messages of address resolution (RFC 826) and neighbour discovery (RFC 4861) in which a tenant binds an address
//! to a hardware address, and the address is another tenant's or a protected one: the gateway's, the node's. Requests bind
//! too, since whoever hears them learns. That is what dynamic ARP inspection and RFC 6620 refuse.
//!
//! An address that nobody is known to have is another's if another speaks for it in turn: then it is a suspicion,
//! because two machines that take over an address from each other look the same.
//!
//! **Numbers.** 1 within a minute. The suspicion takes [`CONTESTED`] turns.
//!
//! **Look-alikes that stay silent.** Whoever asks whether an address is taken, from no address (RFC 5227, RFC 4862); VRRP,
//! keepalived and floating addresses that are the tenant's; proxy ARP and proxy ND for its own prefix; private addresses that slip out of
//! containers, and those that it had until just now; what a loop behind the tenant sends back: that binds the address to
//! where it is, as was heard before.
//!
//! A link-local address is another's where it is itself among the protected destinations, as the gateway's `fe80::1` may be: nobody else knows on
//! how many links it is whose.
//!
//! **Evasion.** A hardware address is taken from the port's one tenant or not at all: on a port of several, who forges both is not known.

use std::net::IpAddr;
use std::time::Duration;

use macaddr::MacAddr6;
use reeve_policy::language::thresholds::Claims as Numbers;
use reeve_policy::{Alert, Class, Outcome, Protocol, Target, TargetSeen, Timestamp};

use super::{Finding, count};
use crate::meter::sliding::Sliding;
use crate::meter::tally::SECOND;

/// Turns that two take in speaking for one address, within [`Heard::KEPT`], before it is a suspicion.
pub const CONTESTED: u32 = 3;

/// Things of one kind within a minute, and what they were about.
#[derive(Debug, Default)]
pub struct Minute {
    counts: Sliding<60>,
    seen: Vec<TargetSeen>,
    newest: Timestamp,
}

impl Minute {
    /// How long things count.
    pub const WINDOW: Duration = Duration::from_secs(60);

    /// Bytes that one takes beside itself.
    pub const BYTES: usize = Alert::MAX_TARGETS * size_of::<TargetSeen>();

    /// Adds one; how many there are now.
    pub fn add(&mut self, target: Target, at: Timestamp) -> u32 {
        self.counts.add(at, SECOND, 1);
        self.newest = at;
        let start = at.minus(Self::WINDOW);
        self.seen.retain(|seen| seen.last >= start);
        match self.seen.iter_mut().find(|seen| seen.target == target) {
            Some(seen) => seen.last = at,
            None => {
                if self.seen.len() == Alert::MAX_TARGETS {
                    self.seen.remove(0);
                }
                self.seen.push(TargetSeen { target, first: at, last: at, outcome: Outcome::Unknown });
            }
        }
        self.counts.sum(at, SECOND)
    }

    /// What they were about, and since when.
    #[must_use]
    pub fn seen(&self) -> (&[TargetSeen], Timestamp) {
        (&self.seen, self.seen.iter().map(|seen| seen.first).min().unwrap_or(self.newest))
    }

    /// Whether nothing here matters any more.
    #[must_use]
    pub fn is_idle(&self, now: Timestamp) -> bool {
        now.since(self.newest) > Self::WINDOW
    }
}

/// Takes a claim for `address`, which is another's, and judges.
pub fn judge(minute: &mut Minute, numbers: &Numbers, address: IpAddr, at: Timestamp) -> Option<Finding> {
    let class = if address.is_ipv4() { Class::SpoofArp } else { Class::SpoofNd };
    let value = minute.add(Target { address, protocol: protocol(address), port: None }, at);
    let (seen, start) = minute.seen();
    (value >= numbers.claims).then(|| Finding {
        class,
        start,
        at,
        metrics: vec![count("claims", value, numbers.claims)],
        confidence_percent: 95,
        is_suspicion: false,
        targets: seen.to_vec(),
    })
}

/// The suspicion that the tenant and another speak for `address` in turn.
#[must_use]
pub fn contested(address: IpAddr, turns: u32, (start, at): (Timestamp, Timestamp)) -> Finding {
    let target = Target { address, protocol: protocol(address), port: None };
    Finding {
        class: if address.is_ipv4() { Class::SpoofArp } else { Class::SpoofNd },
        start,
        at,
        metrics: vec![count("contested", turns, CONTESTED)],
        confidence_percent: 60,
        is_suspicion: true,
        targets: vec![TargetSeen { target, first: start, last: at, outcome: Outcome::Unknown }],
    }
}

const fn protocol(address: IpAddr) -> Protocol {
    if address.is_ipv4() { Protocol::Arp } else { Protocol::Icmpv6 }
}

/// An address of others, and where it was heard to be.
#[derive(Clone, Copy, Debug)]
struct Binding {
    address: IpAddr,
    mac: MacAddr6,
    last: Timestamp,
    /// Since when the tenant has claimed it, and in how many turns.
    since: Timestamp,
    turns: u32,
    /// Whether the tenant was the last to speak for it.
    is_claimed: bool,
}

/// What one tenant could hear on its link: where others' addresses are.
#[derive(Debug, Default)]
pub struct Heard(Vec<Binding>);

impl Heard {
    /// The most addresses that are remembered.
    pub const CAPACITY: usize = 16;
    /// How long each is.
    pub const KEPT: Duration = Duration::from_secs(600);

    /// Takes note that others were heard to say where an address is.
    pub fn hear(&mut self, address: IpAddr, mac: MacAddr6, at: Timestamp) {
        if let Some(known) = self.0.iter_mut().find(|known| known.address == address) {
            (known.mac, known.last, known.is_claimed) = (mac, at, false);
            return;
        }
        if self.0.len() == Self::CAPACITY
            && let Some(oldest) = (0..self.0.len()).min_by_key(|place| self.0[*place].last)
        {
            self.0.remove(oldest);
        }
        self.0.push(Binding { address, mac, last: at, since: at, turns: 0, is_claimed: false });
    }

    /// Whether the tenant only repeats what it heard.
    #[must_use]
    pub fn is_known(&self, address: IpAddr, mac: MacAddr6, at: Timestamp) -> bool {
        self.0
            .iter()
            .any(|known| known.address == address && known.mac == mac && at.since(known.last) <= Self::KEPT)
    }

    /// Whether others were heard to have the address, at another hardware address.
    #[must_use]
    pub fn is_elsewhere(&self, address: IpAddr, mac: MacAddr6, at: Timestamp) -> bool {
        self.0
            .iter()
            .any(|known| known.address == address && known.mac != mac && at.since(known.last) <= Self::KEPT)
    }

    /// Takes a claim of the tenant's for an address that nobody is known to have. How often it and another have
    /// taken turns, and since when, if this is one more and they are enough.
    pub fn claim(&mut self, address: IpAddr, mac: MacAddr6, at: Timestamp) -> Option<(u32, Timestamp)> {
        let known = self.0.iter_mut().find(|known| {
            known.address == address && known.mac != mac && at.since(known.last) <= Self::KEPT
        })?;
        if known.is_claimed {
            return None;
        }
        if known.turns == 0 || at.since(known.since) > Self::KEPT {
            (known.since, known.turns) = (at, 0);
        }
        known.turns += 1;
        known.is_claimed = true;
        (known.turns >= CONTESTED).then_some((known.turns, known.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_000 + secs)
    }

    fn mac(last: u8) -> MacAddr6 {
        [2, 0, 0, 0, 0, last].into()
    }

    #[track_caller]
    fn check(threshold: u32, claims: &[(u64, &str)], expect: &[usize]) {
        let (mut minute, numbers) = (Minute::default(), Numbers { claims: threshold });
        let told: Vec<usize> = claims
            .iter()
            .enumerate()
            .filter(|(_, (secs, address))| {
                judge(&mut minute, &numbers, address.parse().unwrap(), at(*secs)).is_some()
            })
            .map(|(place, _)| place)
            .collect();
        assert_eq!(told, expect);
    }

    #[test]
    fn one_is_enough_or_as_many_as_the_policy_says() {
        check(1, &[(0, "203.0.113.1")], &[0]);
        check(3, &[(0, "203.0.113.1"), (10, "203.0.113.1"), (20, "203.0.113.2")], &[2]);
        // Patience does not pay beyond a minute.
        check(3, &[(0, "2001:db8::1"), (40, "2001:db8::1"), (80, "2001:db8::1")], &[]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut minute, mut heard) = (Minute::default(), Heard::default());
        for number in 0..=255_u8 {
            let finding = judge(&mut minute, &Numbers::default(), [10, 0, 0, number].into(), at(0)).unwrap();
            assert!(finding.targets.len() <= Alert::MAX_TARGETS);
            heard.hear([10, 0, 0, number].into(), mac(1), at(number.into()));
        }
        assert_eq!(heard.0.len(), Heard::CAPACITY);
        assert!(heard.is_known([10, 0, 0, 255].into(), mac(1), at(255)));
        assert!(!heard.is_known([10, 0, 0, 255].into(), mac(1), at(255 + 601)));
        assert!(!minute.is_idle(at(60)) && minute.is_idle(at(61)));
    }

    #[test]
    fn taking_over_is_no_quarrel_and_taking_turns_is() {
        let (mut heard, address) = (Heard::default(), IpAddr::from([203, 0, 113, 1]));
        assert_eq!(heard.claim(address, mac(9), at(0)), None);
        heard.hear(address, mac(1), at(1));
        // A failover says it five times.
        for secs in 2..7 {
            assert_eq!(heard.claim(address, mac(9), at(secs)), None);
        }
        heard.hear(address, mac(1), at(8));
        assert_eq!(heard.claim(address, mac(9), at(9)), None);
        heard.hear(address, mac(1), at(10));
        assert_eq!(heard.claim(address, mac(9), at(11)), Some((3, at(2))));
        assert_eq!(heard.claim(address, mac(1), at(12)), None);
    }
}
