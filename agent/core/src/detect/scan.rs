//! The scans of one tenant: what the flow stage tells, handed to each test that it concerns.
//!
//! The windows of [`super::horizontal`], [`super::vertical`] and [`super::block`] are over a minute, [`super::walk`] over ten,
//! [`super::slow`] over a day; [`super::stealth`] takes what opens nothing and [`super::link`] what never leaves the link.
//! [`super::peers`] and [`super::known`] say what is no evidence. A test whose class has just been told is not asked again, so that a
//! fast scan costs little once it is found.
//!
//! What only some tenants need is made when they first do.

use std::net::IpAddr;

use reeve_policy::language::thresholds::Thresholds;
use reeve_policy::{Class, Outcome, Protocol, Target, Timestamp};

use super::block::Block;
use super::known::Known;
use super::link::{self, Link};
use super::peers::Peers;
use super::slow::Slow;
use super::stealth::Company;
use super::walk::{self, Walk};
use super::{Finding, Home, horizontal, stealth, vertical};
use crate::flow::{Called, FlowEvent, ProbeKind};
use crate::meter::targets::{Excuse, TargetWindow, Version, is_mute};

/// From here on ports are given to clients (Linux' default; RFC 6335 begins later): a server seldom listens there.
const EPHEMERAL: u16 = 32_768;

/// All that is known of a tenant's scanning.
#[derive(Debug, Default)]
pub struct Scans {
    connections: TargetWindow,
    datagrams: TargetWindow,
    probes: stealth::Probes,
    /// One for each version of IP; and of blocks one for TCP and one for UDP in each.
    walks: [Walk; 2],
    blocks: [[Block; 2]; 2],
    peers: Peers,
    known: Known,
    slow: Option<Box<Slow>>,
    link: Option<Box<Link>>,
}

/// An attempt and what became of it.
#[derive(Clone, Copy, Debug)]
struct Attempt<'t> {
    target: &'t Target,
    local_port: u16,
    opened: Timestamp,
    at: Timestamp,
    outcome: Outcome,
}

impl Scans {
    /// Bytes that it takes besides itself.
    pub const BYTES: usize = 2 * TargetWindow::BYTES + stealth::Probes::BYTES + Peers::BYTES + Known::BYTES;

    /// What beside that only those take whose dials fail for hours, or who ask for neighbours.
    pub const RARE_BYTES: usize = Slow::BYTES + Link::BYTES;

    /// Takes what the flow stage tells. `is_told` says which classes have just been told.
    pub fn handle(
        &mut self,
        numbers: &Thresholds,
        event: &FlowEvent,
        home: Home,
        is_told: impl Fn(Class) -> bool,
        found: &mut Vec<Finding>,
    ) {
        match event {
            FlowEvent::Outcome { target, local_port, opened, at, outcome, called, .. } => {
                let (local_port, opened, at, outcome) = (*local_port, *opened, *at, *outcome);
                let attempt = Attempt { target, local_port, opened, at, outcome };
                self.outcome(numbers, (attempt, *called), home, is_told, found);
            }
            FlowEvent::Probe {
                target,
                opened,
                at,
                kind,
                local_port,
                is_early,
                is_refused,
                is_served,
                ..
            } => {
                let outcome = if *is_refused { Outcome::Refused } else { Outcome::Silent };
                let attempt = Attempt { target, local_port: *local_port, opened: *opened, at: *at, outcome };
                self.probe(numbers, attempt, (*kind, *is_early, *is_served), home, is_told, found);
            }
            FlowEvent::Served { peer, protocol, local_port, at, .. } => {
                self.peers.served(*protocol, *local_port, *peer, *at);
            }
            FlowEvent::Completed { .. } | FlowEvent::Stray { .. } | FlowEvent::Vouched { .. } => {}
        }
    }

    /// Whether `target` has answered lately.
    #[must_use]
    pub fn knows(&self, target: &Target, at: Timestamp) -> bool {
        self.known.has(target, at)
    }

    /// Takes a probe that may be of a connection which a measure broke. A client's old connections lead to a few ports of a host; a server's
    /// lead from where it is called to wherever its clients are.
    pub fn pardoned(&mut self, numbers: &Thresholds, event: &FlowEvent) -> Option<Finding> {
        let FlowEvent::Probe { target, opened, at, kind: ProbeKind::Ack, local_port, .. } = event else {
            return None;
        };
        let is_to_client = *local_port < EPHEMERAL && target.port.is_none_or(|port| port >= 1024);
        if is_to_client || self.peers.callers(Protocol::Tcp, *local_port, *at) > 0 {
            return None;
        }
        self.probes.observe(&numbers.stealth, target, (ProbeKind::Ack, Company::Host), *opened, *at)
    }

    /// Takes a request for a neighbour on the link.
    pub fn asked(&mut self, numbers: &Thresholds, neighbour: IpAddr, at: Timestamp) {
        self.link.get_or_insert_default().asked(&numbers.horizontal, neighbour, at);
    }

    /// Takes a neighbour's answer.
    pub fn answered(&mut self, neighbour: IpAddr) {
        if let Some(link) = &mut self.link {
            link.answered(neighbour);
            if let IpAddr::V6(address) = neighbour {
                link.answered(link::solicited_node(address).into());
            }
        }
    }

    /// When [`Scans::handle_timeout`] next has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.link.as_ref().and_then(|link| link.next_deadline())
    }

    /// Judges the neighbours whose time to answer is over.
    pub fn handle_timeout(&mut self, numbers: &Thresholds, now: Timestamp) -> Option<Finding> {
        self.link.as_mut().and_then(|link| link.handle_timeout(&numbers.horizontal, now))
    }

    /// Begins to count anew where windows are longer than the time after which a ladder goes on.
    pub fn restart(&mut self) {
        self.slow = None;
        self.walks.iter_mut().for_each(Walk::restart);
    }

    /// Whether what is kept for longer than a window matters no more.
    #[must_use]
    pub fn is_idle(&self, numbers: &Thresholds, now: Timestamp) -> bool {
        self.probes.idle(now, numbers.stealth.window)
            && self.peers.is_idle(now)
            && self.known.is_idle(now)
            && self.slow.as_ref().is_none_or(|slow| slow.is_idle(now))
            && self.link.as_ref().is_none_or(|link| link.is_idle(now, numbers.horizontal.window))
    }

    fn outcome(
        &mut self,
        numbers: &Thresholds,
        (attempt, called): (Attempt<'_>, Called),
        home: Home,
        is_told: impl Fn(Class) -> bool,
        found: &mut Vec<Finding>,
    ) {
        let Attempt { target, opened, at, outcome, .. } = attempt;
        if matches!(target.protocol, Protocol::Other(_)) {
            found.extend(self.probes.observe_protocol(&numbers.stealth, target, opened, at));
        }
        let excuse = self.excuse(numbers, &attempt, home).or(as_caller(called));
        if outcome == Outcome::Productive {
            self.known.note(target, at);
        }
        let is_connection = matches!(target.protocol, Protocol::Tcp | Protocol::Sctp);
        let window = if is_connection { &mut self.connections } else { &mut self.datagrams };
        let counted = numbers.horizontal.window.max(numbers.vertical.window);
        let noted = window.record(target, opened, at, outcome, (counted.max(walk::EXPIRY), counted), excuse);
        if !is_told(Class::PortscanVertical) {
            found.extend(vertical::judge(window, &numbers.vertical, target, (outcome, excuse), at));
        }
        if excuse.is_any(Excuse::LEAK) {
            return;
        }
        if !is_told(Class::PortscanHorizontal) {
            found.extend(horizontal::judge(window, &numbers.horizontal, target, (outcome, excuse), at));
            self.together(numbers, &attempt, excuse, noted.before, found);
        }
        self.patiently(numbers, &attempt, excuse, is_told, found);
    }

    /// The tests over several ports: blocks, and the sequential one.
    fn together(
        &mut self,
        numbers: &Thresholds,
        attempt: &Attempt<'_>,
        excuse: Excuse,
        before: Option<Outcome>,
        found: &mut Vec<Finding>,
    ) {
        let Attempt { target, at, outcome, .. } = *attempt;
        let is_first_failure = outcome.is_unanswered() && before.is_none_or(|before| !before.is_unanswered());
        let is_peer = target.port.is_some_and(|port| is_peer_port(numbers, port));
        if is_peer || excuse.is_any(HEEDED) {
            return;
        }
        let version = Version::of(target.address);
        let (walk, blocks) = (&mut self.walks[version as usize], &mut self.blocks[version as usize]);
        let (window, block) = match target.protocol {
            Protocol::Tcp => (&self.connections, &mut blocks[0]),
            Protocol::Udp => (&self.datagrams, &mut blocks[1]),
            _ => return,
        };
        if is_first_failure {
            found.extend(block.judge(window, &numbers.horizontal, (target.protocol, version), HEEDED, at));
        }
        if target.protocol != Protocol::Tcp {
            return;
        }
        let is_answered = outcome == Outcome::Answered;
        match before {
            // It had been taken for silent.
            Some(before) if before.is_unanswered() && is_answered => walk.take_back(),
            Some(_) => {}
            None if !is_answered && !outcome.is_unanswered() => {}
            None if window.knows_host(target, at, walk::EXPIRY) => {}
            None => {
                if walk.step(is_answered, at) {
                    found.extend(walk.judge(window, &numbers.horizontal, (version, HEEDED), at));
                }
                // Whoever has a broken IPv6 is answered over IPv4.
                if is_answered && version == Version::Four {
                    self.walks[Version::Six as usize].step(true, at);
                }
            }
        }
    }

    /// The test over hours. What is fast, and found, is not slow as well.
    fn patiently(
        &mut self,
        numbers: &Thresholds,
        attempt: &Attempt<'_>,
        excuse: Excuse,
        is_told: impl Fn(Class) -> bool,
        found: &mut Vec<Finding>,
    ) {
        let Attempt { target, opened, at, outcome, .. } = *attempt;
        match outcome {
            Outcome::Answered | Outcome::Productive => {
                self.slow.get_or_insert_default().answered(target, at);
            }
            Outcome::Silent | Outcome::Refused => {
                let is_peer = target.port.is_some_and(|port| is_peer_port(numbers, port));
                let is_fast = is_told(Class::PortscanHorizontal) || is_told(Class::PortscanVertical);
                if !is_peer && !is_fast && !excuse.is_any(HEEDED) {
                    let slow = self.slow.get_or_insert_default();
                    found.extend(slow.missed(&numbers.slow, target, outcome, opened, at));
                }
            }
            Outcome::Empty | Outcome::Aborted | Outcome::Unknown => {}
        }
    }

    fn probe(
        &mut self,
        numbers: &Thresholds,
        attempt: Attempt<'_>,
        (kind, is_early, is_served): (ProbeKind, bool, bool),
        home: Home,
        is_told: impl Fn(Class) -> bool,
        found: &mut Vec<Finding>,
    ) {
        let Attempt { target, local_port, opened, at, outcome } = attempt;
        let is_doubtful = kind.is_weak() && is_early;
        if is_doubtful && (is_served || local_port < 1024) {
            return;
        }
        let is_silent = outcome == Outcome::Silent;
        let company = match kind {
            // A peer-to-peer node dials, and is dialled, from the one port that its peers use as well.
            _ if kind.is_weak()
                && is_served
                && target.port.is_some_and(|port| is_peer_port(numbers, port)) =>
            {
                return;
            }
            // The end of a client's connection to a service of the tenant's; clients have ports of their own.
            _ if kind.is_weak() && is_served => Company::Port,
            // Nobody need answer, and a call may have come another way.
            ProbeKind::SynAck if is_silent => Company::Doubted,
            // Pools close many connections at once, whose other ends may have forgotten them; each has a port of its own.
            _ if is_doubtful || kind == ProbeKind::Maimon => Company::From(local_port),
            _ => Company::All,
        };
        found.extend(self.probes.observe(&numbers.stealth, target, (kind, company), opened, at));
        if is_doubtful || matches!(company, Company::Port | Company::Doubted) {
            return;
        }
        let is_leak = home == Home::Public && horizontal::is_bogon(target.address);
        if kind == ProbeKind::Ack && !is_leak && !is_told(Class::PortscanHorizontal) {
            self.host_probe(numbers, target.address, opened, at, outcome, found);
        }
        self.patiently(numbers, &attempt, Excuse::NONE, is_told, found);
    }

    /// A lone ACK asks whether a host is there, as an echo request does.
    fn host_probe(
        &mut self,
        numbers: &Thresholds,
        address: IpAddr,
        opened: Timestamp,
        at: Timestamp,
        outcome: Outcome,
        found: &mut Vec<Finding>,
    ) {
        let protocol = if address.is_ipv4() { Protocol::Icmp } else { Protocol::Icmpv6 };
        let target = Target { address, protocol, port: None };
        let counted = numbers.horizontal.window.max(numbers.vertical.window);
        let lasting = counted.max(walk::EXPIRY);
        self.datagrams.record(&target, opened, at, outcome, (lasting, counted), Excuse::NONE);
        let judged = (outcome, Excuse::NONE);
        found.extend(horizontal::judge(&self.datagrams, &numbers.horizontal, &target, judged, at));
    }

    fn excuse(&self, numbers: &Thresholds, attempt: &Attempt<'_>, home: Home) -> Excuse {
        let Attempt { target, local_port, at, outcome, .. } = *attempt;
        let mut excuse = Excuse::NONE;
        if home == Home::Public && horizontal::is_bogon(target.address) {
            excuse = excuse.or(Excuse::LEAK);
        }
        if (outcome.is_unanswered() || is_mute(outcome)) && self.known.has(target, at) {
            excuse = excuse.or(Excuse::KNOWN);
        }
        if let Some(remote_port) = target.port {
            if outcome.is_unanswered() && numbers.horizontal.intruder_ports.contains(&remote_port) {
                excuse = excuse.or(Excuse::LOVED);
            }
            let ports = (local_port, remote_port);
            if self.peers.excuse(target.protocol, ports, &numbers.horizontal.intruder_ports, at) {
                excuse = excuse.or(Excuse::PEER);
            }
        }
        excuse
    }
}

/// What is no evidence for the tests that are not about one port alone.
const HEEDED: Excuse = Excuse::LEAK.or(Excuse::KNOWN).or(Excuse::PEER).or(Excuse::CALLER);

/// What it excuses that a host called before.
const fn as_caller(called: Called) -> Excuse {
    match called {
        Called::No => Excuse::NONE,
        Called::Spoke => Excuse::SPOKE,
        Called::Connected => Excuse::CALLER,
    }
}

fn is_peer_port(numbers: &Thresholds, port: u16) -> bool {
    numbers.horizontal.peer_ports.contains(&port)
}
