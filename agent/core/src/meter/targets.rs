//! Distinct targets over a sliding window.
//!
//! A target is counted once, however often it is tried, with the best that became of it. The window is a ring of
//! columns, one per field, so that a count is a pass over a few dense arrays: at several hundred targets that is quicker than
//! keeping counters in step with evictions, and it cannot go wrong.
//!
//! When it is full the oldest target that answered makes room, and only if none has, the oldest of all; the window is then
//! shorter than its time says, which can hide a scan behind several hundred other unanswered targets, and invents none. That
//! answered ones made room is remembered by port ([`Pushed`]), so that a busy tenant's share of failures is not overstated.
//!
//! Times are held in milliseconds modulo 2^32, seven weeks: a note that is not renewed for just so long could count once more.
//!
//! Each target carries what excuses it ([`Excuse`]); whoever counts says which excuses it heeds.

mod pushed;
mod terms;

use std::time::Duration;

use reeve_policy::{Outcome, Protocol, Target, TargetSeen, Timestamp};

use super::hash::{digest, fold};
use crate::flow::protocol_code;
use crate::flow::table::{address, bits};
use pushed::Pushed;
pub use terms::{Crowd, Excuse, Group, Noted, Tally, Version};

/// Of one /64 so many answered targets count, and so many more for each there that did not answer: a thousand addresses of one machine
/// are no thousand friends.
const FRIENDS_A_NET: u32 = 16;
/// See [`FRIENDS_A_NET`].
const FRIENDS_A_MISS: u32 = 4;

/// A window over at most `CAPACITY` distinct targets.
#[derive(Debug, Default)]
pub struct TargetWindow {
    /// A digest of each address, so that a look for a host is over few cache lines.
    digests: Vec<u16>,
    addresses: Vec<u128>,
    ports: Vec<u16>,
    protocols: Vec<u8>,
    excuses: Vec<Excuse>,
    outcomes: Vec<Outcome>,
    firsts: Vec<u32>,
    lasts: Vec<u32>,
    /// Entries, old ones too, that count as refused or silent, and as answered without a word.
    unanswered: u32,
    mute: u32,
    /// Entries at ports that intruders love.
    loved: usize,
    next: usize,
    evictions: u64,
    pushed: Pushed,
}

/// A target that is tried again after this long was come back to; before that it is a retransmission.
const COME_BACK_MILLIS: u32 = 4_000;

impl TargetWindow {
    /// The most targets that are held.
    pub const CAPACITY: usize = 456;

    /// So many of them at ports that intruders love keep their places while others fill the rest.
    const LOVED_MAX: usize = Self::CAPACITY / 4;

    /// Bytes that a full window takes.
    pub const BYTES: usize = Self::CAPACITY * (2 + 16 + 2 + 1 + 1 + 1 + 4 + 4);

    /// Takes note of what became of `target`. `window` says which older notes still stand, `counted` which of them counts are over.
    pub fn record(
        &mut self,
        target: &Target,
        opened: Timestamp,
        at: Timestamp,
        outcome: Outcome,
        (window, counted): (Duration, Duration),
        excuse: Excuse,
    ) -> Noted {
        let (host, port, protocol) =
            (bits(target.address), target.port.unwrap_or(0), protocol_code(target.protocol));
        let (now, opened) = (millis(at), millis(opened));
        if let Some(index) = self.position(host, port, protocol) {
            let current = now.wrapping_sub(self.lasts[index]) <= span(window);
            let before = current.then_some(self.outcomes[index]);
            self.set_outcome(index, before.map_or(outcome, |before| better(before, outcome)));
            self.set_excuse(index, excuse);
            if !current {
                self.firsts[index] = opened;
            }
            // The younger of the two.
            if now.wrapping_sub(opened) < now.wrapping_sub(self.lasts[index]) {
                self.lasts[index] = opened;
            }
            return Noted { before };
        }
        if self.addresses.len() < Self::CAPACITY {
            self.digests.push(digest(host));
            self.addresses.push(host);
            self.ports.push(port);
            self.protocols.push(protocol);
            self.excuses.push(Excuse::NONE);
            self.outcomes.push(Outcome::Unknown);
            self.firsts.push(opened);
            self.lasts.push(opened);
            self.set_outcome(self.addresses.len() - 1, outcome);
            self.set_excuse(self.addresses.len() - 1, excuse);
            return Noted { before: None };
        }
        let index = self.victim(now, span(counted));
        if now.wrapping_sub(self.lasts[index]) <= span(counted) {
            self.evictions += 1;
            if !self.outcomes[index].is_unanswered() && !self.is_crowded_net(index) {
                let is_six = Version::of_bits(self.addresses[index]) == Version::Six;
                self.pushed.add((self.protocols[index], self.ports[index], is_six), at);
            }
        }
        self.digests[index] = digest(host);
        self.addresses[index] = host;
        self.ports[index] = port;
        self.protocols[index] = protocol;
        self.set_excuse(index, excuse);
        self.set_outcome(index, outcome);
        self.firsts[index] = opened;
        self.lasts[index] = opened;
        Noted { before: None }
    }

    /// Whether it is full, so that what is new pushes out what was there.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.addresses.len() == Self::CAPACITY
    }

    /// Whether any other port of the target's host was tried in the `window` that ends at `at`.
    #[must_use]
    pub fn knows_host(&self, target: &Target, at: Timestamp, window: Duration) -> bool {
        let mut known = false;
        self.each(Group::Host(target.address, target.protocol), at, window, |index| {
            known |= self.ports[index] != target.port.unwrap_or(0);
        });
        known
    }

    /// Upper bounds of [`Tally::unanswered`] and [`Tally::mute`] of any group, known without counting.
    #[must_use]
    pub fn bounds(&self) -> (u32, u32) {
        (self.unanswered, self.mute)
    }

    /// What `group` comes to in the `window` that ends at `at`, for one who heeds `heeded`.
    #[must_use]
    pub fn tally(&self, group: Group, at: Timestamp, window: Duration, heeded: Excuse) -> Tally {
        let mut tally = Tally::default();
        let horizon = at.minus(window);
        // Networks of IPv6, each with whether it answered below it; nothing is allocated for IPv4.
        let mut nets = Vec::new();
        self.each(group, at, window, |index| {
            let outcome = self.outcomes[index];
            if outcome == Outcome::Unknown || self.excuses[index].excuses(outcome, heeded) {
                return;
            }
            tally.targets += 1;
            tally.unanswered += u32::from(outcome.is_unanswered());
            tally.refused += u32::from(outcome == Outcome::Refused);
            tally.mute += u32::from(is_mute(outcome));
            let is_once = self.lasts[index].wrapping_sub(self.firsts[index]) < COME_BACK_MILLIS;
            let is_new = !self.excuses[index].is_any(Excuse::KNOWN);
            tally.mute_once += u32::from(is_mute(outcome) && is_once && is_new);
            tally.idle_low_ports += u32::from(self.ports[index] < 1024 && outcome != Outcome::Productive);
            // Of one that was tried before the window, only its last time is within.
            let first = time(self.firsts[index], at).max(horizon);
            tally.first = Some(tally.first.map_or(first, |before| before.min(first)));
            if !is_mute(outcome) && Version::of_bits(self.addresses[index]) == Version::Six {
                nets.push(self.addresses[index] >> 64 << 1 | u128::from(!outcome.is_unanswered()));
            }
        });
        if let Group::Port(protocol, port, version) = group {
            tally.targets -= too_many_friends(&mut nets);
            if self.is_full() {
                let (protocol, port) = (protocol_code(protocol), port.unwrap_or(0));
                tally.targets += self.pushed.sum_of((protocol, version), |other| other != port, at);
            }
        }
        tally
    }

    /// The targets of `protocol` on ports that at least `sharing` hosts were tried on, but for those that are left out.
    #[must_use]
    pub fn crowd(
        &self,
        (protocol, version): (Protocol, Version),
        (at, window, heeded): (Timestamp, Duration, Excuse),
        sharing: usize,
        is_left_out: impl Fn(u16) -> bool,
    ) -> Crowd {
        let mut found = [0; Self::CAPACITY];
        let found =
            self.crowded((protocol, version), (at, window, heeded), sharing, &is_left_out, &mut found);
        let mut crowd = Crowd::default();
        let horizon = at.minus(window);
        for key in found.iter_mut() {
            let index = (*key & 0xffff) as usize;
            let outcome = self.outcomes[index];
            crowd.targets += 1;
            crowd.unanswered += u32::from(outcome.is_unanswered());
            crowd.refused += u32::from(outcome == Outcome::Refused);
            let first = time(self.firsts[index], at).max(horizon);
            crowd.first = Some(crowd.first.map_or(first, |before| before.min(first)));
            // Sorted by host next; of a host, what answered first.
            *key =
                fold(self.addresses[index]) << 16 | u64::from(outcome.is_unanswered()) << 15 | *key & 0x7fff;
        }
        if self.addresses.len() == Self::CAPACITY {
            let pushed = self.pushed.sum_of((protocol_code(protocol), version), &is_left_out, at);
            (crowd.targets, crowd.hosts) = (crowd.targets + pushed, pushed);
        }
        found.sort_unstable();
        for host in found.chunk_by(|one, other| one >> 16 == other >> 16) {
            crowd.hosts += 1;
            crowd.unanswered_hosts += u32::from(host[0] & 0x8000 != 0);
        }
        crowd
    }

    /// The targets of such a crowd, as [`TargetWindow::list`] puts them.
    #[must_use]
    pub fn list_crowd(
        &self,
        (protocol, version): (Protocol, Version),
        (at, window, heeded): (Timestamp, Duration, Excuse),
        sharing: usize,
        is_left_out: impl Fn(u16) -> bool,
        most: usize,
    ) -> Vec<TargetSeen> {
        let mut found = [0; Self::CAPACITY];
        let found = self.crowded((protocol, version), (at, window, heeded), sharing, is_left_out, &mut found);
        self.sorted(found.iter().map(|key| self.seen((key & 0xffff) as usize, at)).collect(), most)
    }

    /// The places of a crowd's targets, each below its port, in the order of ports.
    fn crowded<'f>(
        &self,
        (protocol, version): (Protocol, Version),
        (at, window, heeded): (Timestamp, Duration, Excuse),
        sharing: usize,
        is_left_out: impl Fn(u16) -> bool,
        found: &'f mut [u64; Self::CAPACITY],
    ) -> &'f mut [u64] {
        let (code, now, window) = (protocol_code(protocol), millis(at), span(window));
        let mut len = 0;
        for (index, &last) in self.lasts.iter().enumerate() {
            let outcome = self.outcomes[index];
            if now.wrapping_sub(last) <= window
                && self.protocols[index] == code
                && outcome != Outcome::Unknown
                && version.counts(self.addresses[index])
                && !self.excuses[index].excuses(outcome, heeded)
            {
                found[len] = u64::from(self.ports[index]) << 16 | index as u64;
                len += 1;
            }
        }
        found[..len].sort_unstable();
        let mut kept = 0;
        let mut from = 0;
        while from < len {
            let port = found[from] >> 16;
            let run = found[from..len].iter().take_while(|key| **key >> 16 == port).count();
            if run >= sharing && !is_left_out(port as u16) {
                found.copy_within(from..from + run, kept);
                kept += run;
            }
            from += run;
        }
        &mut found[..kept]
    }

    /// The targets of `group`, unanswered ones first, then in the order in which they were first tried.
    #[must_use]
    pub fn list(&self, group: Group, at: Timestamp, window: Duration, most: usize) -> Vec<TargetSeen> {
        let mut seen = Vec::new();
        self.each(group, at, window, |index| seen.push(self.seen(index, at)));
        self.sorted(seen, most)
    }

    fn seen(&self, index: usize, at: Timestamp) -> TargetSeen {
        let protocol = Protocol::from_number(self.protocols[index]);
        let port = protocol.has_ports().then_some(self.ports[index]);
        TargetSeen {
            target: Target { address: address(self.addresses[index]), protocol, port },
            first: time(self.firsts[index], at),
            last: time(self.lasts[index], at),
            outcome: self.outcomes[index],
        }
    }

    fn sorted(&self, mut seen: Vec<TargetSeen>, most: usize) -> Vec<TargetSeen> {
        seen.sort_by_key(|entry| (!entry.outcome.is_unanswered(), entry.first, entry.target));
        seen.truncate(most);
        seen
    }

    /// How many targets had to make room while they still counted.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Who makes room: the oldest of those that answered, so that nobody hides a scan behind connections to a friend; else
    /// the oldest of all, by turns.
    ///
    /// What is still counted at a loved port keeps its place, or whoever scans there could push it out with dials at ports of no
    /// meaning; there is room for much more than makes a scan.
    fn victim(&mut self, now: u32, counted: u32) -> usize {
        if self.unanswered as usize == self.outcomes.len() {
            let spares = self.loved <= Self::LOVED_MAX;
            let keeps = |index: usize| {
                spares
                    && self.excuses[index].is_any(Excuse::LOVED)
                    && now.wrapping_sub(self.lasts[index]) <= counted
            };
            // At most a quarter of them keep theirs.
            let from = self.next;
            let index = (from..from + Self::CAPACITY)
                .map(|index| index % Self::CAPACITY)
                .find(|&index| !keeps(index));
            let index = index.unwrap_or(from);
            self.next = (index + 1) % Self::CAPACITY;
            return index;
        }
        let answered = self.outcomes.iter().enumerate().filter(|(_, outcome)| !outcome.is_unanswered());
        if let Some((index, _)) = answered.min_by_key(|(index, _)| !now.wrapping_sub(self.lasts[*index])) {
            return index;
        }
        let index = self.next;
        self.next = (self.next + 1) % Self::CAPACITY;
        index
    }

    fn position(&self, host: u128, port: u16, protocol: u8) -> Option<usize> {
        let wanted = digest(host);
        let alike = self.digests.iter().enumerate().filter(|&(_, &other)| other == wanted);
        alike.map(|(index, _)| index).find(|&index| {
            self.ports[index] == port && self.protocols[index] == protocol && self.addresses[index] == host
        })
    }

    fn set_excuse(&mut self, index: usize, excuse: Excuse) {
        let before = std::mem::replace(&mut self.excuses[index], excuse);
        self.loved += usize::from(excuse.is_any(Excuse::LOVED));
        self.loved -= usize::from(before.is_any(Excuse::LOVED));
    }

    /// Whether more answered targets of an address's /64 are held than count.
    fn is_crowded_net(&self, index: usize) -> bool {
        let address = self.addresses[index];
        if Version::of_bits(address) == Version::Four {
            return false;
        }
        let same = self.addresses.iter().zip(&self.outcomes);
        let same = same.filter(|(other, outcome)| **other >> 64 == address >> 64 && !outcome.is_unanswered());
        same.count() > FRIENDS_A_NET as usize
    }

    fn set_outcome(&mut self, index: usize, outcome: Outcome) {
        let before = std::mem::replace(&mut self.outcomes[index], outcome);
        self.unanswered += u32::from(outcome.is_unanswered());
        self.unanswered -= u32::from(before.is_unanswered());
        self.mute += u32::from(is_mute(outcome));
        self.mute -= u32::from(is_mute(before));
    }

    fn each(&self, group: Group, at: Timestamp, window: Duration, mut visit: impl FnMut(usize)) {
        let (now, window) = (millis(at), span(window));
        match group {
            Group::Port(protocol, port, version) => {
                let (code, port) = (protocol_code(protocol), port.unwrap_or(0));
                for (index, (&other, &other_code)) in self.ports.iter().zip(&self.protocols).enumerate() {
                    if other == port
                        && other_code == code
                        && now.wrapping_sub(self.lasts[index]) <= window
                        && version.counts(self.addresses[index])
                    {
                        visit(index);
                    }
                }
            }
            Group::Host(host, protocol) => {
                let (host, code) = (bits(host), protocol_code(protocol));
                let wanted = digest(host);
                for (index, &other) in self.digests.iter().enumerate() {
                    if other == wanted
                        && self.addresses[index] == host
                        && self.protocols[index] == code
                        && now.wrapping_sub(self.lasts[index]) <= window
                    {
                        visit(index);
                    }
                }
            }
        }
    }
}

/// How many answered targets are more than count, given the networks of all, each with whether it answered below it.
fn too_many_friends(nets: &mut [u128]) -> u32 {
    nets.sort_unstable();
    let over = |net: &[u128]| {
        let answered = net.iter().filter(|key| **key & 1 == 1).count() as u32;
        let missed = net.len() as u32 - answered;
        answered.saturating_sub(FRIENDS_A_NET + FRIENDS_A_MISS * missed)
    };
    nets.chunk_by(|one, other| one >> 1 == other >> 1).map(over).sum()
}

/// Milliseconds since the epoch, modulo 2^32.
fn millis(at: Timestamp) -> u32 {
    (at.as_nanos() / 1_000_000) as u32
}

/// The time, not after `at`, that comes to so many milliseconds.
fn time(millis_then: u32, at: Timestamp) -> Timestamp {
    let age = millis(at).wrapping_sub(millis_then);
    Timestamp::from_nanos((at.as_nanos() / 1_000_000).saturating_sub(age.into()) * 1_000_000)
}

fn span(window: Duration) -> u32 {
    u32::try_from(window.as_millis()).unwrap_or(u32::MAX)
}

/// Whether it was answered and nothing was said.
pub fn is_mute(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Empty | Outcome::Aborted)
}

/// What is known of a target after one more outcome: the better one, but `Answered` only until the end is known.
fn better(known: Outcome, new: Outcome) -> Outcome {
    let rank = |outcome| match outcome {
        Outcome::Productive => 6,
        Outcome::Empty => 5,
        Outcome::Aborted => 4,
        Outcome::Answered => 3,
        Outcome::Refused => 2,
        Outcome::Silent => 1,
        Outcome::Unknown => 0,
    };
    if rank(new) >= rank(known) { new } else { known }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn target(host: u16, port: u16) -> Target {
        let [high, low] = host.to_be_bytes();
        Target { address: [20, 0, high, low].into(), protocol: Protocol::Tcp, port: Some(port) }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000_000 + millis * 1_000_000)
    }

    fn record(window: &mut TargetWindow, (host, port): (u16, u16), when: u64, outcome: Outcome) {
        window.record(&target(host, port), at(when), at(when), outcome, (MINUTE, MINUTE), Excuse::NONE);
    }

    /// Records (host, port, outcome, millis) and expects (targets, unanswered) of `group` at `millis`.
    fn check(script: &[(u16, u16, Outcome, u64)], group: Group, millis: u64, expect: (u32, u32)) {
        let mut window = TargetWindow::default();
        for &(host, port, outcome, when) in script {
            record(&mut window, (host, port), when, outcome);
        }
        let tally = window.tally(group, at(millis), MINUTE, Excuse::NONE);
        assert_eq!((tally.targets, tally.unanswered), expect, "{script:?}");
    }

    #[test]
    fn a_target_counts_once_with_the_best_that_became_of_it() {
        use Outcome::{Aborted, Answered, Productive, Refused, Silent, Unknown};
        let port = Group::Port(Protocol::Tcp, Some(22), Version::Four);
        check(&[], port, 0, (0, 0));
        check(&[(1, 22, Silent, 0), (1, 22, Silent, 5), (2, 22, Refused, 6)], port, 10, (2, 2));
        check(&[(1, 22, Silent, 0), (1, 22, Productive, 5)], port, 10, (1, 0));
        check(&[(1, 22, Productive, 0), (1, 22, Refused, 5)], port, 10, (1, 0));
        check(&[(1, 22, Answered, 0), (1, 22, Aborted, 5)], port, 10, (1, 0));
        check(&[(1, 22, Unknown, 0)], port, 10, (0, 0));
        check(&[(1, 22, Silent, 0), (1, 23, Silent, 0)], port, 10, (1, 1));
        check(
            &[(1, 22, Silent, 0), (1, 23, Silent, 0), (2, 23, Silent, 0)],
            Group::Host(target(1, 0).address, Protocol::Tcp),
            10,
            (2, 2),
        );
    }

    #[test]
    fn old_targets_leave_and_come_back_afresh() {
        use Outcome::{Productive, Silent};
        let port = Group::Port(Protocol::Tcp, Some(22), Version::Four);
        check(&[(1, 22, Silent, 0)], port, 60_000, (1, 1));
        check(&[(1, 22, Silent, 0)], port, 60_001, (0, 0));
        check(&[(1, 22, Productive, 0), (1, 22, Silent, 70_000)], port, 70_000, (1, 1));
    }

    #[test]
    fn a_full_window_drops_the_oldest_and_counts_it() {
        let mut window = TargetWindow::default();
        for host in 0..TargetWindow::CAPACITY as u16 + 10 {
            record(&mut window, (host, 80), host.into(), Outcome::Silent);
        }
        let tally = window.tally(
            Group::Port(Protocol::Tcp, Some(80), Version::Four),
            at(1_000),
            MINUTE,
            Excuse::NONE,
        );
        assert_eq!(tally.targets as usize, TargetWindow::CAPACITY);
        assert_eq!(window.evictions(), 10);
        assert_eq!(tally.first, Some(at(10)));
        assert!(window.addresses.capacity() <= 2 * TargetWindow::CAPACITY);
    }

    #[test]
    fn the_list_puts_the_unanswered_first() {
        let mut window = TargetWindow::default();
        for (host, outcome) in [(1, Outcome::Productive), (2, Outcome::Silent), (3, Outcome::Refused)] {
            record(&mut window, (host, 80), host.into(), outcome);
        }
        let hosts: Vec<_> = window
            .list(Group::Port(Protocol::Tcp, Some(80), Version::Four), at(9), MINUTE, 2)
            .into_iter()
            .map(|seen| seen.target)
            .collect();
        assert_eq!(hosts, [target(2, 80), target(3, 80)]);
    }

    #[test]
    fn what_answered_and_made_room_still_counts_on_its_port() {
        let mut window = TargetWindow::default();
        for host in 0..2_000_u16 {
            let outcome = if host % 5 == 0 { Outcome::Silent } else { Outcome::Productive };
            record(&mut window, (host, 25), u64::from(host) * 20, outcome);
        }
        let tally = window.tally(
            Group::Port(Protocol::Tcp, Some(25), Version::Four),
            at(40_000),
            MINUTE,
            Excuse::NONE,
        );
        assert_eq!((tally.targets, tally.unanswered), (2_000, 400));
        let other = window.tally(
            Group::Port(Protocol::Tcp, Some(80), Version::Four),
            at(40_000),
            MINUTE,
            Excuse::NONE,
        );
        assert_eq!(other.targets, 0);
    }

    #[test]
    fn a_crowd_is_of_ports_that_hosts_share() {
        use Outcome::{Productive, Silent};
        let mut window = TargetWindow::default();
        for host in 0..10 {
            // Four hosts on each of two ports, one of which answers on one; every tenth on a port of its own.
            record(&mut window, (host, 1_000 + host), 0, Silent);
            if host < 4 {
                record(&mut window, (host, 80), 1, if host == 0 { Productive } else { Silent });
                record(&mut window, (host, 6_881), 2, Silent);
            }
        }
        let over = (at(10), MINUTE, Excuse::NONE);
        let crowd = window.crowd((Protocol::Tcp, Version::Four), over, 3, |port| port == 6_881);
        assert_eq!((crowd.targets, crowd.unanswered, crowd.hosts, crowd.unanswered_hosts), (4, 3, 4, 3));
        assert_eq!(window.crowd((Protocol::Tcp, Version::Four), over, 3, |_| false).targets, 8);
        assert_eq!(window.crowd((Protocol::Udp, Version::Four), over, 3, |_| false), Crowd::default());
        assert_eq!(
            window.list_crowd((Protocol::Tcp, Version::Four), over, 3, |port| port == 6_881, 2).len(),
            2
        );
    }

    #[test]
    fn an_excuse_is_heeded_by_those_who_ask_for_it() {
        let mut window = TargetWindow::default();
        for (host, outcome, excuse) in [
            (1, Outcome::Silent, Excuse::KNOWN),
            (2, Outcome::Productive, Excuse::KNOWN),
            (3, Outcome::Silent, Excuse::LEAK),
            (4, Outcome::Productive, Excuse::PEER),
        ] {
            window.record(&target(host, 80), at(0), at(0), outcome, (MINUTE, MINUTE), excuse);
        }
        let tally = |heeded| {
            window.tally(Group::Port(Protocol::Tcp, Some(80), Version::Four), at(9), MINUTE, heeded).targets
        };
        assert_eq!(tally(Excuse::NONE), 4);
        assert_eq!(tally(Excuse::KNOWN), 3);
        assert_eq!(tally(Excuse::KNOWN.or(Excuse::LEAK).or(Excuse::PEER)), 1);
    }

    fn six(net: u16, host: u16) -> Target {
        let address = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, host);
        Target { address: address.into(), protocol: Protocol::Tcp, port: Some(22) }
    }

    /// Plays `missed` targets of IPv4, and of IPv6 as many as are said: in how many networks, how many hosts of each, and whether they
    /// answer. What the port comes to, of the version: targets and unanswered ones.
    fn check_versions(missed: u8, nets: &[(u16, u16, bool)], version: Version, expect: (u32, u32)) {
        let mut window = TargetWindow::default();
        let mut record = |target: &Target, outcome| {
            window.record(target, at(1), at(1), outcome, (MINUTE, MINUTE), Excuse::NONE);
        };
        for host in 0..missed {
            let target = Target { address: [20, 0, 0, host].into(), protocol: Protocol::Tcp, port: Some(22) };
            record(&target, Outcome::Silent);
        }
        for &(net, hosts, answers) in nets {
            let outcome = if answers { Outcome::Productive } else { Outcome::Silent };
            (0..hosts).for_each(|host| record(&six(net, host + 1_000 * u16::from(answers)), outcome));
        }
        let tally = window.tally(Group::Port(Protocol::Tcp, Some(22), version), at(2), MINUTE, Excuse::NONE);
        assert_eq!((tally.targets, tally.unanswered), expect, "{missed} {nets:?}");
    }

    #[test]
    fn who_falls_back_to_ipv4_scans_nothing() {
        let mut window = TargetWindow::default();
        for host in 0..30 {
            let fallback =
                Target { address: [20, 0, 0, host].into(), protocol: Protocol::Tcp, port: Some(22) };
            for (target, outcome) in
                [(six(1, u16::from(host)), Outcome::Silent), (fallback, Outcome::Productive)]
            {
                window.record(&target, at(1), at(1), outcome, (MINUTE, MINUTE), Excuse::NONE);
            }
        }
        for (version, expect) in [(Version::Six, (60, 30)), (Version::Four, (30, 0))] {
            let group = Group::Port(Protocol::Tcp, Some(22), version);
            let tally = window.tally(group, at(2), MINUTE, Excuse::NONE);
            assert_eq!((tally.targets, tally.unanswered), expect, "{version:?}");
        }
    }

    #[test]
    fn friends_of_ipv6_excuse_nothing_of_ipv4_and_a_machines_addresses_are_few_friends() {
        check_versions(30, &[(1, 100, true)], Version::Four, (30, 30));
        // Of one network sixteen count, and four for each there that is silent.
        check_versions(0, &[(1, 10, true), (2, 10, true), (3, 30, false)], Version::Six, (50, 30));
        check_versions(0, &[(1, 100, true), (3, 30, false)], Version::Six, (46, 30));
        check_versions(0, &[(1, 100, true), (1, 10, false)], Version::Six, (66, 10));
        check_versions(0, &[(1, 60, true), (1, 30, false)], Version::Six, (90, 30));
    }

    #[test]
    fn noise_does_not_push_out_what_was_tried_at_loved_ports() {
        let mut window = TargetWindow::default();
        for number in 0..6_000_u32 {
            let [_, _, high, low] = number.to_be_bytes();
            let is_loved = number % 61 == 0;
            let port = if is_loved { 3_389 } else { 10_000 + number as u16 };
            let target =
                Target { address: [20, 0, high, low].into(), protocol: Protocol::Tcp, port: Some(port) };
            let excuse = if is_loved { Excuse::LOVED } else { Excuse::NONE };
            window.record(&target, at(1), at(1), Outcome::Silent, (MINUTE, MINUTE), excuse);
        }
        let group = Group::Port(Protocol::Tcp, Some(3_389), Version::Four);
        assert_eq!(window.tally(group, at(2), MINUTE, Excuse::NONE).targets, 99);
        assert_eq!(window.addresses.len(), TargetWindow::CAPACITY);
        // More of them than are spared make room like others.
        for number in 0..2_000_u32 {
            let [_, _, high, low] = number.to_be_bytes();
            let target =
                Target { address: [21, 0, high, low].into(), protocol: Protocol::Tcp, port: Some(23) };
            window.record(&target, at(2), at(2), Outcome::Silent, (MINUTE, MINUTE), Excuse::LOVED);
        }
        assert_eq!((window.addresses.len(), window.loved), (TargetWindow::CAPACITY, TargetWindow::CAPACITY));
    }
}
