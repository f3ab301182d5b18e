//! `portscan.horizontal`: one port tried on many hosts.
//!
//! **Measure.** Distinct hosts on one port whose outcome is known, in a sliding window, and the share of them that
//! did not answer (refused or silent). Counting distinct *failed* first contacts rather than packets is the measure of
//! Jung, Paxson, Berger and Balakrishnan, "Fast Portscan Detection Using Sequential Hypothesis Testing" (2004).
//!
//! **Numbers.** 25 hosts in 60 s, 60 % unanswered; on ports that intruders love fewer (15), on ports of peer-to-peer
//! software many more (400). UDP silence is weak (many services never answer a stranger), so UDP takes twice the hosts
//! unless they refuse outright, and so do other IP protocols. Where every host answers over TCP, it is a scan only when it is wide (250
//! hosts, 100 on a loved port), says nothing, does not come back and had no business with them in the hour before. The profile `monitoring` is
//! free of that.
//! What ICMP asks (echo, timestamp, mask) and a lone ACK is one kind of probe, since host discovery mixes them: hosts are counted.
//!
//! **Look-alikes that stay silent.** Load balancers, monitoring that talks with what it watches, or knocks at few services or again and again, mail servers and resolvers: their peers answer. A
//! crawler with some dead links: the share stays low. A pool of backends that was in use and died: no first contacts
//! ([`super::known`]). A server that dials back those who have completed connections to it (ident, callbacks). Peer-to-peer nodes: one local socket, scattered ports, strangers who call back ([`super::peers`]). Dials to private, shared (RFC 6598) and reserved addresses, which
//! misconfigured peer-to-peer nodes make by the thousand, are not counted for tenants that have public addresses.
//!
//! **Evasion.** Order, fragments, source ports, hop limits, and source addresses, own or borrowed (decoys), change nothing: targets are counted
//! by tenant. Slower than 25 hosts a minute: [`super::walk`] and [`super::slow`]. Over many ports with few hosts each:
//! [`super::block`]. Good traffic helps where its targets are as many, as fresh, and on the same port; old friends do not, nor those in the
//! other version of IP, nor many addresses of one IPv6 /64.

use std::net::IpAddr;

use reeve_policy::language::thresholds::Horizontal;
use reeve_policy::{Class, Outcome, Protocol, Target, Timestamp};

use super::{Finding, count, share};
use crate::meter::targets::{Excuse, Group, TargetWindow, Version};

/// Judges the window after `target` got `outcome`.
#[must_use]
pub fn judge(
    window: &TargetWindow,
    numbers: &Horizontal,
    target: &Target,
    (outcome, excuse): (Outcome, Excuse),
    at: Timestamp,
) -> Option<Finding> {
    // What is not yet, or never, known to have ended changes nothing.
    if matches!(outcome, Outcome::Unknown | Outcome::Answered) {
        return None;
    }
    // Most tenants never come near a threshold; then nothing need be counted.
    let ((unanswered, mute), (least, key)) = (window.bounds(), base_hosts(numbers, target, excuse));
    let (wide_least, wide_key) = match key {
        "intruder_hosts" => (numbers.wide_intruder_hosts, "wide_intruder_hosts"),
        _ if numbers.wide_hosts == 0 => (0, "wide_hosts"),
        _ => (numbers.wide_hosts.max(least), "wide_hosts"),
    };
    let wide_least = if wide_least == 0 { u32::MAX } else { wide_least };
    if f64::from(unanswered) < numbers.unanswered * f64::from(least) && unanswered + mute < wide_least {
        return None;
    }
    // A node's own dials are counted together with those of others at the same port.
    let heeded = if excuse.is_any(Excuse::PEER) { HEEDED } else { HEEDED.or(Excuse::PEER) };
    let group = Group::Port(target.protocol, target.port, Version::of(target.address));
    let tally = window.tally(group, at, numbers.window, heeded);
    let needed = hosts_needed(numbers, (least, target.protocol), tally.refused, tally.targets);
    let scan = tally.targets >= needed && tally.unanswered_share() >= numbers.unanswered;
    let idle = tally.mute_once + tally.unanswered;
    let wide = target.protocol == Protocol::Tcp
        && idle >= wide_least
        && f64::from(idle) >= numbers.unanswered * f64::from(tally.targets);
    if !scan && !wide {
        return None;
    }
    // The number goes by the policy's key, so that one knows which to tune.
    let (threshold, key) = if scan { (needed, key) } else { (wide_least, wide_key) };
    Some(Finding {
        class: Class::PortscanHorizontal,
        start: tally.first.unwrap_or(at),
        at,
        metrics: vec![
            count(key, tally.targets, threshold),
            share("unanswered", tally.unanswered_share(), scan.then_some(numbers.unanswered)),
        ],
        confidence_percent: if scan { 95 } else { 80 },
        is_suspicion: false,
        targets: window.list(group, at, numbers.window, reeve_policy::Alert::MAX_TARGETS),
    })
}

/// What is no first contact, what nobody can have, and who called before.
const HEEDED: Excuse = Excuse::LEAK.or(Excuse::KNOWN).or(Excuse::CALLER);

/// The fewest hosts that can be a scan of this port, and the policy's key for that.
fn base_hosts(numbers: &Horizontal, target: &Target, excuse: Excuse) -> (u32, &'static str) {
    match target.port {
        _ if excuse.is_any(Excuse::PEER) => (numbers.peer_hosts, "peer_hosts"),
        Some(port) if numbers.peer_ports.contains(&port) => (numbers.peer_hosts, "peer_hosts"),
        Some(port) if numbers.intruder_ports.contains(&port) => (numbers.intruder_hosts, "intruder_hosts"),
        _ => (numbers.hosts, "hosts"),
    }
}

fn hosts_needed(numbers: &Horizontal, (base, protocol): (u32, Protocol), refused: u32, targets: u32) -> u32 {
    let mostly_refused = f64::from(refused) >= numbers.unanswered * f64::from(targets);
    let is_weak = matches!(protocol, Protocol::Udp | Protocol::Other(_));
    match is_weak && !mostly_refused {
        // A node asks hundreds of peers a minute that have long gone, and their silence says nothing at all.
        true if base >= numbers.peer_hosts => u32::MAX,
        true => base.saturating_mul(numbers.udp_factor),
        false => base,
    }
}

/// Whether nobody on the internet can have this address, so that a dial to it is a leak and not a scan: private (RFC
/// 1918), shared (RFC 6598), loopback, link-local, documentation, benchmarking and reserved (RFC 6890), unique local (RFC 4193).
///
/// Documentation prefixes are left out: they never occur on a real network, and test networks are made of them.
#[must_use]
pub fn is_bogon(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (18..20).contains(&b))
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Plays `hosts` attempts at one port, `step_ms` apart, with the outcomes in turn; whether the last raises it.
    fn check(protocol: Protocol, port: u16, hosts: u32, step_ms: u64, outcomes: &[Outcome], expect: bool) {
        let (mut window, numbers) = (TargetWindow::default(), Horizontal::default());
        let mut found = false;
        for number in 0..hosts {
            let [_, _, high, low] = number.to_be_bytes();
            let target = Target { address: [20, 0, high, low].into(), protocol, port: Some(port) };
            let at = Timestamp::from_secs(1_000) + Duration::from_millis(u64::from(number) * step_ms);
            let outcome = outcomes[number as usize % outcomes.len()];
            window.record(&target, at, at, outcome, (numbers.window, numbers.window), Excuse::NONE);
            found |= judge(&window, &numbers, &target, (outcome, Excuse::NONE), at).is_some();
        }
        assert_eq!(found, expect, "{protocol}/{port} {hosts} hosts every {step_ms} ms, {outcomes:?}");
    }

    use Outcome::{Aborted, Productive, Refused, Silent};

    #[test]
    fn fires_at_the_threshold_and_not_below() {
        check(Protocol::Tcp, 80, 25, 100, &[Silent], true);
        check(Protocol::Tcp, 80, 24, 100, &[Silent], false);
        check(Protocol::Tcp, 80, 25, 100, &[Refused, Silent, Productive, Silent, Productive], true);
        check(Protocol::Tcp, 23, 15, 100, &[Refused], true);
        check(Protocol::Tcp, 23, 14, 100, &[Refused], false);
    }

    #[test]
    fn slow_and_split_scans_are_for_other_detectors() {
        check(Protocol::Tcp, 80, 500, 2_600, &[Silent], false);
    }

    #[test]
    fn look_alikes_stay_silent() {
        check(Protocol::Tcp, 443, 500, 50, &[Productive, Productive, Silent], false);
        check(Protocol::Tcp, 30303, 399, 100, &[Silent], false);
        check(Protocol::Udp, 30303, 470, 20, &[Silent, Silent, Productive], false);
        check(Protocol::Udp, 30303, 470, 20, &[Refused], true);
        check(Protocol::Udp, 53, 49, 100, &[Silent], false);
        check(Protocol::Tcp, 443, 249, 10, &[Aborted], false);
    }

    #[test]
    fn udp_needs_refusals_or_twice_the_hosts_and_wide_scans_are_seen() {
        check(Protocol::Udp, 161, 50, 100, &[Silent], true);
        check(Protocol::Udp, 161, 25, 100, &[Refused], true);
        check(Protocol::Tcp, 443, 250, 10, &[Aborted], true);
        check(Protocol::Tcp, 22, 100, 50, &[Aborted], true);
        check(Protocol::Tcp, 22, 99, 50, &[Aborted], false);
        check(Protocol::Tcp, 30303, 400, 100, &[Silent], true);
    }

    #[test]
    fn bogons_are_told() {
        for text in
            ["10.1.2.3", "192.168.1.1", "100.64.0.1", "198.18.0.1", "240.0.0.1", "fd00::1", "169.254.1.1"]
        {
            assert!(is_bogon(text.parse().unwrap()), "{text}");
        }
        for text in ["8.8.8.8", "100.128.0.1", "198.20.0.1", "203.0.113.9", "2001:db8::1", "2a00::1"] {
            assert!(!is_bogon(text.parse().unwrap()), "{text}");
        }
    }
}
