//! The sequential test: scans that are few, mixed or spread, found as soon as the odds allow.
//!
//! **Abuse.** `portscan.horizontal`, where no window fills: fifteen hosts of a small network, three ports in turn, a scan over ten
//! minutes.
//!
//! **Measure.** Jung, Paxson, Berger and Balakrishnan, "Fast Portscan Detection Using Sequential Hypothesis Testing" (2004): each first
//! contact of a host over TCP is a step of a walk, up if it failed and down if it was answered, by the logarithm of how much likelier a
//! scanner is to see that. At the upper bound the tenant is a scanner, at the lower one it is not and the walk begins anew.
//!
//! **Numbers.** The paper's: honest contacts are answered in 80 %, a scanner's in 20 %; of scanners 99 % are to be found. False alarms 1
//! in a million, not 1 in 100: these are customers. That makes ten failures without an answer between. Then at least 14 hosts in ten
//! minutes, 60 % of which did not answer, must be on ports that three hosts share. Ten minutes after it began a walk expires. What
//! began less than twenty seconds ago is left to the windows: it may be a start, at which the dead come first by chance.
//!
//! **Why windows as well.** The walk is quick about whoever fails nearly always, and blind to UDP and to a scanner that finds half of
//! its targets alive; it counts hosts, so a vertical scan is one step. Windows count targets, of every protocol, whatever the order, and
//! their numbers can be told to a customer. The walk fires first on few hosts, on several ports and below the windows' pace; the window on
//! one loved port (15 hosts) and on whatever is not TCP.
//!
//! **Look-alikes that stay silent.** A dead upstream retried: one host. A balancer that starts, a tenth of
//! its backends down: by the time that is asked the others have answered. A broken resolver that dials a dozen stale backends: twelve hosts.
//! A pool that was in use and died: no first contacts ([`super::known`]). Happy eyeballs: for each address that fails another answers.
//! Peer-to-peer: scattered ports, `peer_ports` and reciprocity ([`super::peers`]). An outage: silence is unknown then
//! ([`crate::flow::guard`]).
//!
//! **Evasion.** One answered first contact for each that fails keeps the walk where it is; that takes as many fresh friends as targets.

use std::time::Duration;

use reeve_policy::language::thresholds::Horizontal;
use reeve_policy::{Alert, Class, Protocol, Timestamp};

use super::{Finding, count, share};
use crate::meter::targets::{Excuse, TargetWindow, Version};

/// Steps up to the verdict of scanning, and down to that of not: ln(.99 / 1e-6) / ln 4 and ln(.01 / (1 - 1e-6)) / ln 4, since a
/// step is worth ln(.8 / .2) either way.
const UPPER: i32 = 10;
const LOWER: i32 = -4;

/// How long a walk, and what is known of its hosts, lasts.
pub const EXPIRY: Duration = Duration::from_secs(600);

/// What is younger than this is judged by windows alone.
const SETTLED: Duration = Duration::from_secs(20);

/// So many failures pass unjudged in a full window.
const PAUSE: u32 = 16;

/// How many hosts share a port that counts.
const SHARING: usize = 3;

/// One tenant's walk.
#[derive(Debug, Default)]
pub struct Walk {
    position: i32,
    since: Timestamp,
    /// So many failures more cannot be enough.
    too_few: u32,
    /// Before this it is too young to be judged.
    not_before: Timestamp,
}

impl Walk {
    /// Takes what became of a first contact, and tells whether the walk stands at its upper bound.
    pub fn step(&mut self, is_answered: bool, at: Timestamp) -> bool {
        if at.since(self.since) > EXPIRY {
            *self = Self { since: at, ..Self::default() };
        }
        self.position += if is_answered { -1 } else { 1 };
        self.position = self.position.min(UPPER);
        if self.position <= LOWER {
            *self = Self { since: at, ..Self::default() };
        }
        self.position == UPPER && !is_answered
    }

    /// A failure turned out to be an answer that came late.
    pub fn take_back(&mut self) {
        self.position = (self.position - 2).max(LOWER + 1);
    }

    /// Judges at the upper bound, over the connections of the last ten minutes. `heeded` excuses are no evidence.
    pub fn judge(
        &mut self,
        window: &TargetWindow,
        numbers: &Horizontal,
        (version, heeded): (Version, Excuse),
        at: Timestamp,
    ) -> Option<Finding> {
        if self.too_few > 0 {
            self.too_few -= 1;
            return None;
        }
        if at < self.not_before {
            return None;
        }
        // Where everything new pushes out something, to look costs most and changes least.
        let pause = if window.is_full() { PAUSE } else { 0 };
        let over = (at, EXPIRY, heeded);
        let is_peer = |port| numbers.peer_ports.contains(&port);
        let crowd = window.crowd((Protocol::Tcp, version), over, SHARING, is_peer);
        if crowd.hosts < numbers.walk_hosts {
            // A host more can make a port one that three share, and bring three hosts in.
            self.too_few = ((numbers.walk_hosts - crowd.hosts - 1) / 3).max(pause);
            return None;
        }
        let unanswered = f64::from(crowd.unanswered_hosts) / f64::from(crowd.hosts);
        let settled = crowd.first.map_or(at, |first| first + SETTLED);
        if unanswered < numbers.unanswered || at < settled {
            (self.too_few, self.not_before) = (pause, settled);
            return None;
        }
        *self = Self { since: at, ..Self::default() };
        Some(Finding {
            class: Class::PortscanHorizontal,
            start: crowd.first.unwrap_or(at),
            at,
            metrics: vec![
                count("walk_hosts", crowd.hosts, numbers.walk_hosts),
                share("unanswered", unanswered, Some(numbers.unanswered)),
            ],
            confidence_percent: 90,
            is_suspicion: false,
            targets: window.list_crowd((Protocol::Tcp, version), over, SHARING, is_peer, Alert::MAX_TARGETS),
        })
    }

    /// Begins anew.
    pub fn restart(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_policy::{Outcome, Target};

    /// Plays first contacts at (port of each in turn), with outcomes in turn, `step_ms` apart; the host at which it is found.
    fn found(hosts: u16, ports: &[u16], outcomes: &[Outcome], step_ms: u64) -> Option<u16> {
        let (mut walk, mut window, numbers) =
            (Walk::default(), TargetWindow::default(), Horizontal::default());
        (0..hosts).find(|&host| {
            let [high, low] = host.to_be_bytes();
            let port = if ports.is_empty() { 10_000 + host } else { ports[usize::from(host) % ports.len()] };
            let target =
                Target { address: [20, 0, high, low].into(), protocol: Protocol::Tcp, port: Some(port) };
            let at = Timestamp::from_secs(1_000) + Duration::from_millis(u64::from(host) * step_ms);
            let outcome = outcomes[usize::from(host) % outcomes.len()];
            window.record(&target, at, at, outcome, (EXPIRY, EXPIRY), Excuse::NONE);
            walk.step(!outcome.is_unanswered(), at)
                && walk.judge(&window, &numbers, (Version::Four, Excuse::NONE), at).is_some()
        })
    }

    fn check(hosts: u16, ports: &[u16], outcomes: &[Outcome], step_ms: u64, expect: Option<u16>) {
        assert_eq!(
            found(hosts, ports, outcomes, step_ms),
            expect,
            "{hosts} {ports:?} {outcomes:?} {step_ms}"
        );
    }

    use Outcome::{Answered, Refused, Silent};

    #[test]
    fn the_bounds_are_those_of_the_paper() {
        let (honest, scanner, found, wronged) = (0.8_f64, 0.2_f64, 0.99_f64, 1e-6_f64);
        let step = (honest / scanner).ln();
        let down = ((1.0 - scanner) / (1.0 - honest)).ln();
        assert!((down - step).abs() < 1e-9, "both steps are of one size");
        assert_eq!(UPPER, ((found / wronged).ln() / step).ceil() as i32);
        assert_eq!(LOWER, (((1.0 - found) / (1.0 - wronged)).ln() / step).floor() as i32);
    }

    #[test]
    fn fires_at_the_fourteenth_host_and_not_before() {
        check(14, &[8_080], &[Refused], 1_600, Some(13));
        check(13, &[8_080], &[Refused], 1_600, None);
        // The faster ones are the windows'.
        check(24, &[8_080], &[Refused], 800, None);
        // Three ports in turn, none of which has many hosts.
        check(20, &[80, 8_080, 8_443], &[Silent], 2_000, Some(13));
    }

    #[test]
    fn slow_and_mixed_scans_are_seen_as_far_as_the_odds_go() {
        check(40, &[8_080], &[Silent], 40_000, Some(13));
        // Slower than ten in ten minutes.
        check(40, &[8_080], &[Silent], 70_000, None);
        check(100, &[8_080], &[Silent, Silent, Silent, Answered], 2_000, Some(17));
        check(400, &[8_080], &[Silent, Answered], 100, None);
    }

    #[test]
    fn look_alikes_stay_silent() {
        // A balancer whose first twenty backends are down.
        let (mut walk, at) =
            (Walk::default(), |millis: u64| Timestamp::from_nanos(1_000_000_000_000 + millis * 1_000_000));
        for backend in 0..200 {
            walk.step(backend >= 20, at(backend * 20));
        }
        assert!(walk.position <= 0, "{}", walk.position);
        // A dozen stale backends; a swarm, each peer on a port of its own; a crawler with dead links.
        check(12, &[5_000], &[Refused], 2_000, None);
        check(300, &[], &[Silent, Silent, Silent, Silent, Answered], 50, None);
        check(400, &[6_881, 30_303], &[Silent], 50, None);
        check(400, &[443], &[Answered, Answered, Silent], 50, None);
    }

    #[test]
    fn a_verdict_and_time_begin_it_anew() {
        let mut walk = Walk::default();
        let at = |secs: u64| Timestamp::from_secs(1_000 + secs);
        assert!(!(0..9).any(|second| walk.step(false, at(second))));
        assert!(walk.step(false, at(9)));
        assert!(!walk.step(false, at(700)), "expired");
        (0..6).for_each(|_| assert!(!walk.step(true, at(701))));
        assert!(walk.position > LOWER);
        walk.take_back();
        assert!(walk.position > LOWER);
    }

    #[test]
    fn a_full_window_is_judged_by_what_it_holds() {
        check(5_000, &[], &[Silent], 10, None);
    }
}
