//! Distinct targets over a sliding window.
//!
//! A target is counted once, however often it is tried, with the best that became of it. The window is a ring of
//! columns, one per field, so that a count is a pass over a few dense arrays: at several hundred targets that is quicker than
//! keeping counters in step with evictions, and it cannot go wrong.
//!
//! When it is full the oldest target that answered makes room, and only if none has, the oldest of all; the window is then
//! shorter than its time says, which can hide a scan behind several hundred other unanswered targets, and invents none.

use std::time::Duration;

use reeve_policy::{Outcome, Protocol, Target, TargetSeen, Timestamp};

use crate::flow::protocol_code;
use crate::flow::table::{address, bits};

/// Which targets a count is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// One port of one protocol, on any host.
    Port(Protocol, Option<u16>),
    /// One host, any port of one protocol.
    Host(std::net::IpAddr, Protocol),
}

/// What a group of targets comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Distinct targets whose outcome is known.
    pub targets: u32,
    /// Of those, refused or silent.
    pub unanswered: u32,
    /// Of those, refused outright.
    pub refused: u32,
    /// Of those, answered, but the tenant said nothing: empty or aborted.
    pub mute: u32,
    /// Of those, with a port below 1024.
    pub low_ports: u32,
    /// When the first of them was tried.
    pub first: Option<Timestamp>,
}

impl Tally {
    /// The share of targets that did not answer, 0 to 1.
    #[must_use]
    pub fn unanswered_share(&self) -> f64 {
        if self.targets == 0 { 0.0 } else { f64::from(self.unanswered) / f64::from(self.targets) }
    }
}

/// A window over at most `CAPACITY` distinct targets.
#[derive(Debug, Default)]
pub struct TargetWindow {
    /// A digest of each address, so that a look for a host is over few cache lines.
    digests: Vec<u16>,
    addresses: Vec<u128>,
    ports: Vec<u16>,
    protocols: Vec<u8>,
    outcomes: Vec<Outcome>,
    firsts: Vec<Timestamp>,
    lasts: Vec<Timestamp>,
    /// Entries, old ones too, that count as refused or silent, and as answered without a word.
    unanswered: u32,
    mute: u32,
    next: usize,
    evictions: u64,
}

impl TargetWindow {
    /// The most targets that are held.
    pub const CAPACITY: usize = 480;

    /// Bytes that a full window takes.
    pub const BYTES: usize = Self::CAPACITY * (2 + 16 + 2 + 1 + 1 + 8 + 8);

    /// Takes note of what became of `target`. `window` says which older notes still stand.
    pub fn record(
        &mut self,
        target: &Target,
        opened: Timestamp,
        at: Timestamp,
        outcome: Outcome,
        window: Duration,
    ) {
        let (host, port, protocol) =
            (bits(target.address), target.port.unwrap_or(0), protocol_code(target.protocol));
        let horizon = at.minus(window);
        if let Some(index) = self.position(host, port, protocol) {
            let current = self.lasts[index] >= horizon;
            let outcome = if current { better(self.outcomes[index], outcome) } else { outcome };
            self.set_outcome(index, outcome);
            if !current {
                self.firsts[index] = opened;
            }
            self.lasts[index] = self.lasts[index].max(opened);
            return;
        }
        if self.addresses.len() < Self::CAPACITY {
            self.digests.push(digest(host));
            self.addresses.push(host);
            self.ports.push(port);
            self.protocols.push(protocol);
            self.outcomes.push(Outcome::Unknown);
            self.firsts.push(opened);
            self.lasts.push(opened);
            self.set_outcome(self.addresses.len() - 1, outcome);
            return;
        }
        let index = self.victim();
        if self.lasts[index] >= horizon {
            self.evictions += 1;
        }
        self.digests[index] = digest(host);
        self.addresses[index] = host;
        self.ports[index] = port;
        self.protocols[index] = protocol;
        self.set_outcome(index, outcome);
        self.firsts[index] = opened;
        self.lasts[index] = opened;
    }

    /// Upper bounds of [`Tally::unanswered`] and [`Tally::mute`] of any group, known without counting.
    #[must_use]
    pub fn bounds(&self) -> (u32, u32) {
        (self.unanswered, self.mute)
    }

    /// What `group` comes to in the `window` that ends at `at`.
    #[must_use]
    pub fn tally(&self, group: Group, at: Timestamp, window: Duration) -> Tally {
        let mut tally = Tally::default();
        self.each(group, at, window, |index| {
            let outcome = self.outcomes[index];
            if outcome == Outcome::Unknown {
                return;
            }
            tally.targets += 1;
            tally.unanswered += u32::from(outcome.is_unanswered());
            tally.refused += u32::from(outcome == Outcome::Refused);
            tally.mute += u32::from(is_mute(outcome));
            tally.low_ports += u32::from(self.ports[index] < 1024);
            tally.first = Some(tally.first.map_or(self.firsts[index], |first| first.min(self.firsts[index])));
        });
        tally
    }

    /// The targets of `group`, unanswered ones first, then in the order in which they were first tried.
    #[must_use]
    pub fn list(&self, group: Group, at: Timestamp, window: Duration, most: usize) -> Vec<TargetSeen> {
        let mut seen = Vec::new();
        self.each(group, at, window, |index| {
            let protocol = Protocol::from_number(self.protocols[index]);
            let port = protocol.has_ports().then_some(self.ports[index]);
            seen.push(TargetSeen {
                target: Target { address: address(self.addresses[index]), protocol, port },
                first: self.firsts[index],
                last: self.lasts[index],
                outcome: self.outcomes[index],
            });
        });
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
    fn victim(&mut self) -> usize {
        let answered = self.outcomes.iter().enumerate().filter(|(_, outcome)| !outcome.is_unanswered());
        if let Some((index, _)) = answered.min_by_key(|(index, _)| self.lasts[*index]) {
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

    fn set_outcome(&mut self, index: usize, outcome: Outcome) {
        let before = std::mem::replace(&mut self.outcomes[index], outcome);
        self.unanswered += u32::from(outcome.is_unanswered());
        self.unanswered -= u32::from(before.is_unanswered());
        self.mute += u32::from(is_mute(outcome));
        self.mute -= u32::from(is_mute(before));
    }

    fn each(&self, group: Group, at: Timestamp, window: Duration, mut visit: impl FnMut(usize)) {
        let horizon = at.minus(window);
        match group {
            Group::Port(protocol, port) => {
                let (code, port) = (protocol_code(protocol), port.unwrap_or(0));
                for (index, (&other, &other_code)) in self.ports.iter().zip(&self.protocols).enumerate() {
                    if other == port && other_code == code && self.lasts[index] >= horizon {
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
                        && self.lasts[index] >= horizon
                    {
                        visit(index);
                    }
                }
            }
        }
    }
}

fn is_mute(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Empty | Outcome::Aborted)
}

/// Few bits of an address that tell most addresses apart. Whoever makes them alike makes only the look longer.
fn digest(host: u128) -> u16 {
    let folded = (host >> 64) as u64 ^ (host as u64).rotate_left(32);
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16
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

    /// Records (host, port, outcome, millis) and expects (targets, unanswered) of `group` at `millis`.
    fn check(script: &[(u16, u16, Outcome, u64)], group: Group, millis: u64, expect: (u32, u32)) {
        let mut window = TargetWindow::default();
        for &(host, port, outcome, when) in script {
            window.record(&target(host, port), at(when), at(when), outcome, MINUTE);
        }
        let tally = window.tally(group, at(millis), MINUTE);
        assert_eq!((tally.targets, tally.unanswered), expect, "{script:?}");
    }

    #[test]
    fn a_target_counts_once_with_the_best_that_became_of_it() {
        use Outcome::{Aborted, Answered, Productive, Refused, Silent, Unknown};
        let port = Group::Port(Protocol::Tcp, Some(22));
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
        let port = Group::Port(Protocol::Tcp, Some(22));
        check(&[(1, 22, Silent, 0)], port, 60_000, (1, 1));
        check(&[(1, 22, Silent, 0)], port, 60_001, (0, 0));
        check(&[(1, 22, Productive, 0), (1, 22, Silent, 70_000)], port, 70_000, (1, 1));
    }

    #[test]
    fn a_full_window_drops_the_oldest_and_counts_it() {
        let mut window = TargetWindow::default();
        for host in 0..TargetWindow::CAPACITY as u16 + 10 {
            window.record(&target(host, 80), at(host.into()), at(host.into()), Outcome::Silent, MINUTE);
        }
        let tally = window.tally(Group::Port(Protocol::Tcp, Some(80)), at(1_000), MINUTE);
        assert_eq!(tally.targets as usize, TargetWindow::CAPACITY);
        assert_eq!(window.evictions(), 10);
        assert_eq!(tally.first, Some(at(10)));
        assert!(window.addresses.capacity() <= 2 * TargetWindow::CAPACITY);
    }

    #[test]
    fn the_list_puts_the_unanswered_first() {
        let mut window = TargetWindow::default();
        for (host, outcome) in [(1, Outcome::Productive), (2, Outcome::Silent), (3, Outcome::Refused)] {
            window.record(&target(host, 80), at(host.into()), at(host.into()), outcome, MINUTE);
        }
        let hosts: Vec<_> = window
            .list(Group::Port(Protocol::Tcp, Some(80)), at(9), MINUTE, 2)
            .into_iter()
            .map(|seen| seen.target)
            .collect();
        assert_eq!(hosts, [target(2, 80), target(3, 80)]);
    }
}
