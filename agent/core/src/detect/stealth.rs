//! `portscan.stealth`: probes that open nothing.
//!
//! **Measure.** Distinct targets of TCP packets that belong to no connection and that no honest stack sends: NULL, FIN
//! and XMAS, and tiny first fragments (RFC 1858), at once; ACK, Maimon and window probes where the peer never spoke, answers RST (RFC 9293,
//! section 3.10.7.1: what a closed port answers) or is said to be unreachable. And distinct IP protocols tried on one host.
//!
//! **Numbers.** 5 probes to distinct targets in 60 s; ACK and FIN/ACK 20; 8 IP protocols on one host.
//!
//! **Look-alikes that stay silent.** The last FIN or ACK of a connection that opened before the agent did: the peer answers. Of those
//! that nobody answers in the agent's first minute only such count as come from one port, above the well-known ones, on which nobody has
//! called: a scanner's probes have one source, connections have each their own, and a server's come from where it is called. A pool
//! that closes: FIN/ACK counts only with others from its port. A server
//! that closes connections idle for hours, whose clients are gone: their end comes from a port on which strangers call and goes
//! to ports above 1023. A tunnel end (GRE, ESP, IPIP): a few protocols, not eight.
//!
//! **Evasion.** Fewer than five probes a minute: [`super::slow`]. Probes within a connection are none. From the port of a service of the
//! tenant's own ACK probes pass, but for those below port 1024.

use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::language::thresholds::Stealth;
use reeve_policy::{Alert, Class, Outcome, Protocol, Target, TargetSeen, Timestamp};

use super::{Finding, count};
use crate::flow::ProbeKind;

#[derive(Clone, Copy, Debug)]
struct Probe {
    target: Target,
    kind: ProbeKind,
    /// The tenant's port, if the probe counts only together with others from it.
    only_from: Option<u16>,
    first: Timestamp,
    last: Timestamp,
}

/// The last distinct probes and IP protocols of one tenant.
#[derive(Debug, Default)]
pub struct Probes {
    probes: Vec<Probe>,
    protocols: Vec<Probe>,
}

impl Probes {
    /// The most probes that are held.
    pub const CAPACITY: usize = 64;
    /// The most protocols on hosts.
    pub const PROTOCOLS: usize = 24;

    /// Bytes that both take at most.
    pub const BYTES: usize = (Self::CAPACITY + Self::PROTOCOLS) * size_of::<Probe>();

    /// Takes a probe and judges.
    pub fn observe(
        &mut self,
        numbers: &Stealth,
        target: &Target,
        (kind, only_from): (ProbeKind, Option<u16>),
        opened: Timestamp,
        at: Timestamp,
    ) -> Option<Finding> {
        let probe = Probe { target: *target, kind, only_from, first: opened, last: opened };
        note(&mut self.probes, Self::CAPACITY, probe, at.minus(numbers.window));
        let certain = |probe: &&Probe| !is_weak(probe.kind);
        let sure = self.probes.iter().filter(certain).count();
        let counts = |probe: &&Probe| probe.only_from.is_none() || probe.only_from == only_from;
        let weak = self.probes.iter().filter(|probe| is_weak(probe.kind)).filter(counts).count();
        let (name, value, threshold) = if sure >= numbers.probes as usize {
            ("probes", sure, numbers.probes)
        } else if weak >= numbers.ack_probes as usize {
            ("ack_probes", weak, numbers.ack_probes)
        } else {
            return None;
        };
        let value = u32::try_from(value).expect("at most 64");
        Some(finding(&self.probes, (name, value, threshold), at))
    }

    /// Takes an attempt over a protocol other than TCP, UDP, SCTP and ICMP, and judges.
    pub fn observe_protocol(
        &mut self,
        numbers: &Stealth,
        target: &Target,
        opened: Timestamp,
        at: Timestamp,
    ) -> Option<Finding> {
        if !matches!(target.protocol, Protocol::Other(_)) {
            return None;
        }
        let probe =
            Probe { target: *target, kind: ProbeKind::Null, only_from: None, first: opened, last: opened };
        note(&mut self.protocols, Self::PROTOCOLS, probe, at.minus(numbers.window));
        let host: IpAddr = target.address;
        let on_host: Vec<Probe> =
            self.protocols.iter().filter(|probe| probe.target.address == host).copied().collect();
        let value = u32::try_from(on_host.len()).expect("at most 64");
        (value >= numbers.protocols).then(|| finding(&on_host, ("protocols", value, numbers.protocols), at))
    }

    /// When everything here is older than `window`, so that it may be dropped.
    pub(super) fn idle(&self, now: Timestamp, window: Duration) -> bool {
        self.probes.iter().chain(&self.protocols).all(|probe| now.since(probe.last) > window)
    }
}

/// Whether honest stacks send it too, though not so.
pub(super) const fn is_weak(kind: ProbeKind) -> bool {
    matches!(kind, ProbeKind::Ack | ProbeKind::Maimon)
}

fn note(probes: &mut Vec<Probe>, most: usize, new: Probe, horizon: Timestamp) {
    probes.retain(|probe| probe.last >= horizon);
    if let Some(known) = probes.iter_mut().find(|probe| probe.target == new.target) {
        known.last = known.last.max(new.last);
        if !is_weak(new.kind) || new.only_from.is_none() {
            (known.kind, known.only_from) = (new.kind, new.only_from);
        }
        return;
    }
    if probes.len() == most {
        probes.remove(0);
    }
    probes.push(new);
}

fn finding(probes: &[Probe], (name, value, threshold): (&'static str, u32, u32), at: Timestamp) -> Finding {
    let seen = |probe: &Probe| TargetSeen {
        target: probe.target,
        first: probe.first,
        last: probe.last,
        outcome: Outcome::Unknown,
    };
    Finding {
        class: Class::PortscanStealth,
        start: probes.iter().map(|probe| probe.first).min().unwrap_or(at),
        at,
        metrics: vec![count(name, value, threshold)],
        confidence_percent: 95,
        is_suspicion: false,
        targets: probes.iter().rev().take(Alert::MAX_TARGETS).map(seen).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(number: u16, protocol: Protocol) -> Target {
        let port = protocol.has_ports().then_some(number);
        Target { address: [20, 0, 0, 1].into(), protocol, port }
    }

    /// Plays `probes` probes of `kind` at distinct ports, `step_ms` apart; whether any raises it.
    fn check(kind: ProbeKind, probes: u16, step_ms: u64, expect: bool) {
        let (mut state, numbers) = (Probes::default(), Stealth::default());
        let mut found = false;
        for number in 0..probes {
            let at = Timestamp::from_secs(1_000) + Duration::from_millis(u64::from(number) * step_ms);
            found |= state.observe(&numbers, &target(number, Protocol::Tcp), (kind, None), at, at).is_some();
            assert!(state.probes.len() <= Probes::CAPACITY);
        }
        assert_eq!(found, expect, "{probes} {kind:?} every {step_ms} ms");
    }

    #[test]
    fn fires_at_the_threshold_and_not_below() {
        for kind in [ProbeKind::Null, ProbeKind::Fin, ProbeKind::Xmas] {
            check(kind, 5, 100, true);
            check(kind, 4, 100, false);
        }
        for kind in [ProbeKind::Ack, ProbeKind::Maimon] {
            check(kind, 20, 100, true);
            check(kind, 19, 100, false);
        }
    }

    #[test]
    fn patience_hides_it_and_memory_is_bounded() {
        check(ProbeKind::Fin, 100, 15_100, false);
        check(ProbeKind::Ack, 5_000, 1, true);
    }

    #[test]
    fn what_may_be_the_end_of_a_connection_counts_with_others_from_its_port_alone() {
        for (ports, expect) in [(1, true), (2, false), (20, false)] {
            let (mut state, numbers) = (Probes::default(), Stealth::default());
            let at = Timestamp::from_secs(1_000);
            let found = (0..20).any(|number| {
                let from = (ProbeKind::Ack, Some(40_000 + number % ports));
                state.observe(&numbers, &target(number, Protocol::Tcp), from, at, at).is_some()
            });
            assert_eq!(found, expect, "{ports} source ports");
        }
    }

    #[test]
    fn the_same_target_again_is_one_probe() {
        let (mut state, numbers) = (Probes::default(), Stealth::default());
        for second in 0..50 {
            let at = Timestamp::from_secs(1_000 + second);
            let probe = (ProbeKind::Fin, None);
            assert_eq!(state.observe(&numbers, &target(1, Protocol::Tcp), probe, at, at), None);
        }
    }

    #[test]
    fn eight_protocols_on_one_host_are_a_scan_and_a_tunnel_is_none() {
        let (mut state, numbers) = (Probes::default(), Stealth::default());
        let at = Timestamp::from_secs(1_000);
        let mut findings = (90..98)
            .map(|number| state.observe_protocol(&numbers, &target(0, Protocol::Other(number)), at, at));
        assert!(findings.by_ref().take(7).all(|finding| finding.is_none()));
        assert!(findings.next().unwrap().is_some());
        assert_eq!(state.observe_protocol(&numbers, &target(0, Protocol::Tcp), at, at), None);
    }
}
