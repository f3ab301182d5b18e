//! Sweeps of the tenant's own link: ARP requests and IPv6 neighbour solicitations, reported as `portscan.horizontal`.
//!
//! **Abuse.** Asking for every address of the link to see which neighbours there are, as arp-scan, netdiscover and nmap do, and as the
//! stack of whoever scans neighbours does.
//!
//! **Measure.** Distinct neighbours asked for in a sliding window that have not answered a second after (RFC 1122, section 2.3.2.1, has
//! hosts ask once a second at most), and their share. Of a solicitation the multicast group tells the last three bytes of
//! the address (RFC 4861, section 4.3; RFC 4291, section 2.7.1).
//!
//! **Numbers.** 50 neighbours in 60 s, 60 % of which did not answer.
//!
//! **Look-alikes that stay silent.** A dead neighbour asked for again and again: one. Gateways and monitoring: their neighbours answer.
//! Probes for an address of one's own (RFC 5227, duplicate address detection): a few.
//!
//! **Evasion.** Slower than 50 a minute.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use reeve_policy::language::thresholds::Horizontal;
use reeve_policy::{Alert, Class, Outcome, Protocol, Target, TargetSeen, Timestamp};

use super::{Finding, count, share};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
struct Asked {
    neighbour: IpAddr,
    first: Timestamp,
    last: Timestamp,
    is_answered: bool,
}

/// The neighbours that one tenant asked for last.
#[derive(Debug, Default)]
pub struct Link {
    asked: VecDeque<Asked>,
    /// When the newest are to be judged, if they are many enough.
    due: Option<Timestamp>,
}

impl Link {
    /// The most neighbours that are held.
    pub const CAPACITY: usize = 120;

    /// Bytes that it takes when full.
    pub const BYTES: usize = size_of::<Self>() + Self::CAPACITY * size_of::<Asked>();

    /// Takes a request for a neighbour.
    pub fn asked(&mut self, numbers: &Horizontal, neighbour: IpAddr, at: Timestamp) {
        let horizon = at.minus(numbers.window);
        if let Some(known) = self.asked.iter_mut().find(|asked| asked.neighbour == neighbour) {
            if known.last < horizon {
                (known.first, known.is_answered) = (at, false);
            }
            known.last = at;
        } else {
            if self.asked.len() == Self::CAPACITY {
                self.asked.pop_front();
            }
            self.asked.push_back(Asked { neighbour, first: at, last: at, is_answered: false });
        }
        if self.due.is_none() && self.asked.len() >= numbers.link_hosts as usize {
            self.due = Some(at + PATIENCE);
        }
    }

    /// Takes a neighbour's answer.
    pub fn answered(&mut self, neighbour: IpAddr) {
        if let Some(known) = self.asked.iter_mut().find(|asked| asked.neighbour == neighbour) {
            known.is_answered = true;
        }
    }

    /// When [`Link::handle_timeout`] next has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.due
    }

    /// Judges those whose time to answer is over.
    pub fn handle_timeout(&mut self, numbers: &Horizontal, now: Timestamp) -> Option<Finding> {
        if self.due.is_none_or(|due| due > now) {
            return None;
        }
        let horizon = now.minus(numbers.window);
        // Some were asked for after this was due; they come next.
        let newest = self.asked.iter().map(|asked| asked.last).max().filter(|last| *last + PATIENCE > now);
        self.due = newest.map(|last| last + PATIENCE);
        let counts = |asked: &&Asked| asked.last >= horizon && asked.first + PATIENCE <= now;
        let (answered, silent): (Vec<Asked>, Vec<Asked>) =
            self.asked.iter().filter(counts).partition(|asked| asked.is_answered);
        let unanswered = silent.len() as f64 / (answered.len() + silent.len()).max(1) as f64;
        if silent.len() < numbers.link_hosts as usize || unanswered < numbers.unanswered {
            return None;
        }
        let hosts = u32::try_from(answered.len() + silent.len()).expect("at most 120");
        Some(Finding {
            class: Class::PortscanHorizontal,
            start: silent.iter().map(|asked| asked.first).min().unwrap_or(now),
            at: now,
            metrics: vec![
                count("link_hosts", hosts, numbers.link_hosts),
                share("unanswered", unanswered, Some(numbers.unanswered)),
            ],
            confidence_percent: 90,
            is_suspicion: false,
            targets: silent.iter().take(Alert::MAX_TARGETS).map(Asked::seen).collect(),
        })
    }

    /// Whether nothing here matters any more.
    #[must_use]
    pub fn is_idle(&self, now: Timestamp, window: Duration) -> bool {
        self.asked.iter().all(|asked| now.since(asked.last) > window)
    }
}

impl Asked {
    fn seen(&self) -> TargetSeen {
        let protocol = if self.neighbour.is_ipv4() { Protocol::Arp } else { Protocol::Icmpv6 };
        let target = Target { address: self.neighbour, protocol, port: None };
        TargetSeen { target, first: self.first, last: self.last, outcome: Outcome::Silent }
    }
}

/// The group that is asked for the neighbour with an address: its solicited-node multicast address.
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for `hosts` neighbours, `step_ms` apart, of whom every `answering`th answers; whether it is found.
    fn check(hosts: u16, step_ms: u64, answering: u16, expect: bool) {
        let (mut link, numbers) = (Link::default(), Horizontal::default());
        let mut is_found = false;
        for number in 0..hosts {
            let at = Timestamp::from_secs(1_000) + Duration::from_millis(u64::from(number) * step_ms);
            is_found |= link.handle_timeout(&numbers, at).is_some();
            let [high, low] = number.to_be_bytes();
            let neighbour = [10, 0, high, low].into();
            link.asked(&numbers, neighbour, at);
            if answering > 0 && number % answering == 0 {
                link.answered(neighbour);
            }
            assert!(link.asked.len() <= Link::CAPACITY);
        }
        while let Some(due) = link.next_deadline() {
            is_found |= link.handle_timeout(&numbers, due).is_some();
        }
        assert_eq!(is_found, expect, "{hosts} neighbours every {step_ms} ms, each {answering}th answers");
    }

    #[test]
    fn fires_at_the_threshold_and_not_below() {
        check(50, 1, 0, true);
        check(49, 1, 0, false);
        check(254, 100, 8, true);
    }

    #[test]
    fn patience_hides_it_from_this_window() {
        check(254, 1_300, 0, false);
    }

    #[test]
    fn neighbours_that_answer_are_no_sweep() {
        check(254, 10, 1, false);
        check(254, 10, 2, false);
    }

    #[test]
    fn a_dead_neighbour_is_one_however_often_it_is_asked_for() {
        let (mut link, numbers) = (Link::default(), Horizontal::default());
        for second in 0..500 {
            link.asked(&numbers, [10, 0, 0, 1].into(), Timestamp::from_secs(1_000 + second));
        }
        assert_eq!((link.asked.len(), link.next_deadline()), (1, None));
    }

    #[test]
    fn a_full_table_forgets_the_oldest() {
        check(5_000, 1, 0, true);
    }

    #[test]
    fn a_solicitation_goes_to_its_group() {
        let address: Ipv6Addr = "2001:db8::12:3456".parse().unwrap();
        assert_eq!(solicited_node(address), "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap());
    }
}
