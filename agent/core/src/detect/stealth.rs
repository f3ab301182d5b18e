//! `portscan.stealth`: probes that open nothing.
//!
//! **Measure.** Distinct targets of TCP packets that belong to no connection and that no honest stack sends: NULL, FIN
//! and XMAS, and tiny first fragments (RFC 1858), at once; ACK, Maimon and window probes where the peer never spoke, answers RST (RFC 9293,
//! section 3.10.7.1: what a closed port answers) or is said to be unreachable; so a SYN-ACK from a port that nobody calls, which asks who is
//! there as well (a suspicion only where nothing comes back). And distinct IP protocols tried on one host.
//!
//! **Numbers.** 5 probes to distinct targets in 60 s; ACK, FIN/ACK and SYN-ACK 20; 8 IP protocols on one host.
//!
//! **Look-alikes that stay silent.** The last FIN or ACK of a connection that opened before the agent did: the peer answers. Of those
//! that nobody answers in the agent's first minute only such count as come from one port, above the well-known ones, on which nobody has
//! called: a scanner's probes have one source, connections have each their own, and a server's come from where it is called. A pool
//! that closes: FIN/ACK counts only with others from its port. A server
//! whose clients are gone, as its keepalives find after hours (RFC 9293, section 3.8.4): what comes from a port that took calls today or
//! yesterday counts only with others at the same port of other hosts, for clients have ports of their own. A server that is flooded from
//! forged addresses: it was called, or flows of its callers had to be given up. A tunnel end (GRE, ESP, IPIP): a few protocols, not eight.
//!
//! **Evasion.** Fewer than five probes a minute: [`super::slow`]. Probes within a connection are none. From the port of a service of the
//! tenant's own ACK probes pass, but for those at one port of many hosts. RST probes are not told from answers. In the minute after a
//! measure was lifted, FIN/ACK, and ACK sweeps over hosts, may be of connections that the measure broke: they count from then on only.
//! Twenty ports of one host are a scan at once.

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
    company: Company,
    first: Timestamp,
    last: Timestamp,
}

/// Together with which others a weak probe counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// All.
    All,
    /// Those from the same port of the tenant's.
    From(u16),
    /// Those at the same port of other hosts.
    Port,
    /// Those at the same host.
    Host,
    /// All, for a suspicion only.
    Doubted,
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
        (kind, company): (ProbeKind, Company),
        opened: Timestamp,
        at: Timestamp,
    ) -> Option<Finding> {
        let probe = Probe { target: *target, kind, company, first: opened, last: opened };
        note(&mut self.probes, Self::CAPACITY, probe, at.minus(numbers.window));
        let sure = self.probes.iter().filter(|probe| !probe.kind.is_weak()).count();
        let counts = |probe: &&Probe| match probe.company {
            Company::All => true,
            Company::From(_) => probe.company == company,
            Company::Port => probe.target.port == target.port,
            Company::Host => probe.target.address == target.address,
            Company::Doubted => false,
        };
        let all_weak = || self.probes.iter().filter(|probe| probe.kind.is_weak());
        let weak = all_weak().filter(counts).count();
        let doubted = all_weak().filter(|probe| probe.company == Company::Doubted).count();
        let is_suspicion = sure < numbers.probes as usize && weak < numbers.ack_probes as usize;
        let weak = if is_suspicion { weak + doubted } else { weak };
        let (name, value, threshold) = if sure >= numbers.probes as usize {
            ("probes", sure, numbers.probes)
        } else if weak >= numbers.ack_probes as usize {
            ("ack_probes", weak, numbers.ack_probes)
        } else {
            return None;
        };
        let value = u32::try_from(value).expect("at most 64");
        let found = finding(&self.probes, (name, value, threshold), at);
        Some(Finding { is_suspicion, ..found })
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
        let probe = Probe {
            target: *target,
            kind: ProbeKind::Null,
            company: Company::All,
            first: opened,
            last: opened,
        };
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

fn note(probes: &mut Vec<Probe>, most: usize, new: Probe, horizon: Timestamp) {
    probes.retain(|probe| probe.last >= horizon);
    if let Some(known) = probes.iter_mut().find(|probe| probe.target == new.target) {
        known.last = known.last.max(new.last);
        if !new.kind.is_weak() || new.company == Company::All {
            (known.kind, known.company) = (new.kind, new.company);
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
            found |= state
                .observe(&numbers, &target(number, Protocol::Tcp), (kind, Company::All), at, at)
                .is_some();
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
    fn the_greatest_numbers_that_a_policy_may_have_are_reached() {
        let numbers = Stealth { probes: 64, ack_probes: 64, protocols: 24, ..Stealth::default() };
        let at = Timestamp::from_secs(1_000);
        for kind in [ProbeKind::Xmas, ProbeKind::Ack] {
            let mut state = Probes::default();
            let mut found = (0..64).map(|port| {
                state.observe(&numbers, &target(port, Protocol::Tcp), (kind, Company::All), at, at).is_some()
            });
            assert!(found.by_ref().take(63).all(|found| !found) && found.next() == Some(true), "{kind:?}");
        }
        let mut state = Probes::default();
        let mut found = (100..124).map(|number| {
            state.observe_protocol(&numbers, &target(0, Protocol::Other(number)), at, at).is_some()
        });
        assert!(found.by_ref().take(23).all(|found| !found) && found.next() == Some(true));
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
                let from = (ProbeKind::Ack, Company::From(40_000 + number % ports));
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
            let probe = (ProbeKind::Fin, Company::All);
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
