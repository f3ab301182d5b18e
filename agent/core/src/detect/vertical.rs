//! `portscan.vertical`: many ports tried on one host.
//!
//! **Measure.** Distinct ports of one host, per protocol, whose outcome is known, in a sliding window, and the share of
//! them that did not answer; or distinct ports below 1024 over which nothing was said, whatever the answer: a scan of open ports knocks and
//! goes.
//!
//! **Numbers.** 20 ports in 60 s, 60 % unanswered; UDP twice that unless refused outright. 15 ports below 1024 (UDP: 30). Ten times that where the
//! host itself called the tenant in the last ten minutes, or where strangers call the port that the tries come from.
//!
//! **Look-alikes that stay silent.** Monitoring of all services of a host, a control panel that serves it: they talk with each. Passive FTP and
//! media streams: many high ports, which answer. A retried dead server: one port. Active FTP, and media by SIP or ICE, to a caller who names
//! closed ports of its own: it called; if it completed a connection, which nobody can in another's name, even more of it is a suspicion only. A
//! peer-to-peer node that is told of many peers behind one address ([`super::peers`]). Traceroute: its packets are no attempts. Replies to
//! somebody else's scan: answers are no attempts either.
//!
//! **Evasion.** Fewer than 20 ports a minute on each host: [`super::slow`]. Several hosts in turn: [`super::block`]. Open ports above
//! 1023 only, or open ports of which each is spoken with. Below 200 ports a minute, hosts that have called, or in whose name somebody did. Order,
//! source ports and addresses, decoys and fragments change nothing; tiny fragments are told by [`super::stealth`].

use reeve_policy::language::thresholds::Vertical;
use reeve_policy::{Class, Outcome, Protocol, Target, Timestamp};

use super::{Finding, count, share};
use crate::meter::targets::{Excuse, Group, TargetWindow};

/// What takes more ports to be a scan.
const LENIENT: Excuse = Excuse::PEER.or(Excuse::CALLER).or(Excuse::SPOKE);

/// How much more.
const LENIENCE: u32 = 10;

/// Judges the window after `target` got `outcome`.
#[must_use]
pub fn judge(
    window: &TargetWindow,
    numbers: &Vertical,
    target: &Target,
    (outcome, excuse): (Outcome, Excuse),
    at: Timestamp,
) -> Option<Finding> {
    // What is not yet, or never, known to have ended changes nothing.
    if !target.protocol.has_ports() || matches!(outcome, Outcome::Unknown | Outcome::Answered) {
        return None;
    }
    let group = Group::Host(target.address, target.protocol);
    // What has an excuse is counted together with what has none, and the other way round it is not.
    let (heeded, times) = if excuse.is_any(LENIENT) { (Excuse::NONE, LENIENCE) } else { (LENIENT, 1) };
    let tally = window.tally(group, at, numbers.window, heeded);
    let mostly_refused = f64::from(tally.refused) >= numbers.unanswered * f64::from(tally.targets);
    let weak = target.protocol == Protocol::Udp && !mostly_refused;
    let factor = times.saturating_mul(if weak { numbers.udp_factor } else { 1 });
    let needed = numbers.ports.saturating_mul(factor);
    let scan = tally.targets >= needed && tally.unanswered_share() >= numbers.unanswered;
    let low = numbers.low_ports > 0 && tally.idle_low_ports >= numbers.low_ports.saturating_mul(factor);
    if !scan && !low {
        return None;
    }
    let mut metrics = vec![count("ports", tally.targets, needed)];
    if low {
        metrics.push(count("low_ports", tally.idle_low_ports, numbers.low_ports.saturating_mul(factor)));
    }
    metrics.push(share("unanswered", tally.unanswered_share(), scan.then_some(numbers.unanswered)));
    if !scan {
        metrics.swap(0, 1);
    }
    Some(Finding {
        class: Class::PortscanVertical,
        start: tally.first.unwrap_or(at),
        at,
        metrics,
        confidence_percent: if scan { 95 } else { 80 },
        is_suspicion: excuse.is_any(Excuse::CALLER),
        targets: window.list(group, at, numbers.window, reeve_policy::Alert::MAX_TARGETS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Plays attempts at `ports` ports from `from` on of one host; whether the last raises it.
    fn check(protocol: Protocol, from: u16, ports: u16, step_ms: u64, outcomes: &[Outcome], expect: bool) {
        let (mut window, numbers) = (TargetWindow::default(), Vertical::default());
        let mut found = false;
        for number in 0..ports {
            let target = Target { address: [20, 0, 0, 1].into(), protocol, port: Some(from + number) };
            let at = Timestamp::from_secs(1_000) + Duration::from_millis(u64::from(number) * step_ms);
            let outcome = outcomes[usize::from(number) % outcomes.len()];
            window.record(&target, at, at, outcome, (numbers.window, numbers.window), Excuse::NONE);
            found |= judge(&window, &numbers, &target, (outcome, Excuse::NONE), at).is_some();
        }
        assert_eq!(found, expect, "{protocol} {from}+{ports} every {step_ms} ms, {outcomes:?}");
    }

    use Outcome::{Aborted, Empty, Productive, Refused, Silent};

    #[test]
    fn fires_at_the_threshold_and_not_below() {
        check(Protocol::Tcp, 2_000, 20, 50, &[Refused], true);
        check(Protocol::Tcp, 2_000, 19, 50, &[Refused], false);
        for knock in [Empty, Aborted] {
            check(Protocol::Tcp, 1, 15, 50, &[knock], true);
            check(Protocol::Tcp, 1, 14, 50, &[knock], false);
        }
        // Every other is spoken with.
        check(Protocol::Tcp, 1, 29, 50, &[Empty, Productive], true);
        check(Protocol::Tcp, 1, 28, 50, &[Empty, Productive], false);
        check(Protocol::Udp, 2_000, 40, 50, &[Silent], true);
        check(Protocol::Udp, 2_000, 20, 50, &[Refused], true);
    }

    #[test]
    fn patience_hides_it_from_this_window() {
        check(Protocol::Tcp, 2_000, 200, 3_200, &[Refused], false);
    }

    #[test]
    fn look_alikes_stay_silent() {
        check(Protocol::Tcp, 40_000, 300, 50, &[Productive], false);
        check(Protocol::Tcp, 1, 300, 50, &[Productive], false);
        check(Protocol::Udp, 33_434, 39, 50, &[Silent], false);
        check(Protocol::Icmp, 0, 100, 50, &[Silent], false);
    }
}
