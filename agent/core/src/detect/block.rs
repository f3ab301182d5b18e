//! Block scans: some hosts by some ports, reported as `portscan.horizontal`.
//!
//! **Abuse.** A scan of several ports of several hosts, in any order, with few hosts to a port and few ports to a host, so that neither
//! of the plain counts is reached.
//!
//! **Measure.** Distinct targets (host and port) on ports that at least three hosts were tried on, in a sliding window, and the share of
//! them that did not answer. That hosts share ports is the low port entropy which Lakhina, Crovella and Diot, "Mining Anomalies Using
//! Traffic Feature Distributions" (2005), tell scans by.
//!
//! **Numbers.** 60 targets in 60 s, 60 % of which did not answer; UDP twice that, on ports below 10,000, unless most refuse.
//!
//! **Look-alikes that stay silent.** Peer-to-peer: each peer has a port of its own, and the common ones are `peer_ports`. Callers that
//! try many relays over UDP (Skype, games): relays have high ports, and UDP silence proves little. A dead
//! cluster that was in use before: no first contacts. Health checks: they are answered. Happy eyeballs: every other answers.
//!
//! **Evasion.** A port for each pair of hosts; fewer than 60 targets a minute (the sequential test and `portscan.slow` see those).

use reeve_policy::language::thresholds::Horizontal;
use reeve_policy::{Alert, Class, Metric, Protocol, Timestamp};

use super::{Finding, count, share};
use crate::meter::targets::{Excuse, TargetWindow, Version};

const SHARING: usize = 3;

/// So many failures pass unjudged in a full window that holds enough of them, and is no block.
const PAUSE: u32 = 8;

/// From here on UDP silence is that of relays and peers as well as of services.
const RELAY_PORTS: u16 = 10_000;

/// One tenant's block test, for one kind of transport.
#[derive(Debug, Default)]
pub struct Block {
    /// So many failures more cannot be enough.
    too_few: u32,
}

impl Block {
    /// Judges the window after a first failure at a target of `protocol`. `heeded` excuses are no evidence.
    pub fn judge(
        &mut self,
        window: &TargetWindow,
        numbers: &Horizontal,
        (protocol, version): (Protocol, Version),
        heeded: Excuse,
        at: Timestamp,
    ) -> Option<Finding> {
        if self.too_few > 0 {
            self.too_few -= 1;
            return None;
        }
        let least = (numbers.unanswered * f64::from(numbers.block_targets)).ceil() as u32;
        if window.bounds().0 < least {
            return None;
        }
        let over = (at, numbers.window, heeded);
        let is_peer = |port| numbers.peer_ports.contains(&port);
        let mut crowd = window.crowd((protocol, version), over, SHARING, is_peer);
        let is_refused = f64::from(crowd.refused) >= numbers.unanswered * f64::from(crowd.targets);
        let is_weak = protocol == Protocol::Udp && !is_refused;
        let is_left_out = |port| is_peer(port) || (is_weak && port >= RELAY_PORTS);
        if is_weak {
            crowd = window.crowd((protocol, version), over, SHARING, is_left_out);
        }
        let needed = numbers.block_targets.saturating_mul(if is_weak { numbers.udp_factor } else { 1 });
        if crowd.unanswered < least {
            // A failure more can make a port one that three hosts share, and bring three targets in.
            self.too_few = (least - crowd.unanswered - 1) / 3;
        } else if window.is_full() {
            // Where everything new pushes out something, to look costs most and changes least.
            self.too_few = PAUSE;
        }
        let unanswered = f64::from(crowd.unanswered) / f64::from(crowd.targets.max(1));
        (crowd.targets >= needed && unanswered >= numbers.unanswered).then(|| Finding {
            class: Class::PortscanHorizontal,
            start: crowd.first.unwrap_or(at),
            at,
            metrics: vec![
                count("block_targets", crowd.targets, needed),
                share("unanswered", unanswered, Some(numbers.unanswered)),
                Metric { name: "hosts".into(), value: crowd.hosts.into(), threshold: None },
            ],
            confidence_percent: 90,
            is_suspicion: false,
            targets: window.list_crowd((protocol, version), over, SHARING, is_left_out, Alert::MAX_TARGETS),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use reeve_policy::{Outcome, Target};

    /// Plays `targets` attempts at `hosts` hosts by turns, each round on the next port, `step_ms` apart; with no `hosts`, each at a
    /// host and port of its own.
    fn check(protocol: Protocol, hosts: u16, targets: u16, step_ms: u64, outcomes: &[Outcome], expect: bool) {
        check_at(protocol, 7_000, hosts, targets, step_ms, outcomes, expect);
    }

    fn check_at(
        protocol: Protocol,
        from: u16,
        hosts: u16,
        targets: u16,
        step_ms: u64,
        outcomes: &[Outcome],
        expect: bool,
    ) {
        let (mut block, mut window, numbers) =
            (Block::default(), TargetWindow::default(), Horizontal::default());
        let mut is_found = false;
        for number in 0..targets {
            let (host, port) = match hosts {
                0 => (number, 20_000 + number * 3),
                _ => (number % hosts, from + number / hosts),
            };
            let [high, low] = host.to_be_bytes();
            let target = Target { address: [20, 0, high, low].into(), protocol, port: Some(port) };
            let at = Timestamp::from_secs(1_000) + Duration::from_millis(u64::from(number) * step_ms);
            let outcome = outcomes[usize::from(number) % outcomes.len()];
            window.record(&target, at, at, outcome, (numbers.window, numbers.window), Excuse::NONE);
            if outcome.is_unanswered() {
                is_found |=
                    block.judge(&window, &numbers, (protocol, Version::Four), Excuse::NONE, at).is_some();
            }
        }
        assert_eq!(is_found, expect, "{protocol} {hosts} hosts, {targets} every {step_ms} ms, {outcomes:?}");
    }

    use Outcome::{Productive, Refused, Silent};

    #[test]
    fn fires_at_the_threshold_and_not_below() {
        check(Protocol::Tcp, 10, 60, 100, &[Silent], true);
        check(Protocol::Tcp, 10, 59, 100, &[Silent], false);
        check(Protocol::Tcp, 6, 60, 100, &[Productive, Refused, Refused], true);
        check(Protocol::Udp, 10, 119, 100, &[Silent], false);
        check(Protocol::Udp, 10, 120, 100, &[Silent], true);
        check(Protocol::Udp, 10, 60, 100, &[Refused], true);
    }

    #[test]
    fn patience_hides_it_from_this_window() {
        check(Protocol::Tcp, 10, 400, 1_100, &[Silent], false);
    }

    #[test]
    fn look_alikes_stay_silent() {
        check(Protocol::Tcp, 0, 400, 50, &[Silent, Silent, Silent, Productive], false);
        check(Protocol::Tcp, 20, 400, 50, &[Productive, Silent], false);
        check(Protocol::Tcp, 2, 400, 50, &[Silent], false);
        check_at(Protocol::Udp, 40_000, 20, 400, 50, &[Silent], false);
    }

    #[test]
    fn a_full_window_is_judged_by_what_it_holds() {
        check(Protocol::Tcp, 0, 9_000, 5, &[Silent], false);
        check(Protocol::Tcp, 300, 9_000, 5, &[Silent], true);
    }
}
