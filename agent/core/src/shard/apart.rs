//! What a tenant may do to some targets: counted apart, so that it raises no alert and hides none.
//!
//! While an exemption for some targets holds, each set of classes that it is about has two sets of detectors beside the tenant's own: what is done
//! to listed targets goes to one, all else to the other, and what is about no target to both. Of those classes only these two are believed; the tenant's own
//! detectors go on counting everything, for all other classes.
//!
//! What is found among the listed is told like anything else: it names nothing but listed targets, and the judge excuses it. When the exemption
//! ends the tenant's own detectors go on from what was done to others, for what was permitted is not held against it later.
//!
//! It takes the memory of two more tenants for each set of classes, of those few who have such an exemption.

use std::net::IpAddr;
use std::sync::Arc;

use reeve_policy::language::thresholds::Thresholds;
use reeve_policy::language::{ClassSet, Excuses};
use reeve_policy::{Class, Target, Timestamp};

use super::{Shard, earlier};
use crate::detect::{Detectors, Finding};
use crate::flow::FlowEvent;
use crate::frame::VantageId;
use crate::packet::{Ip, Transport};
use crate::stream::StreamEvent;
use crate::topology::TenantIx;

/// A tenant's exemptions for some targets, and what is counted apart because of them.
#[derive(Debug)]
pub(super) struct Apart {
    excuses: Arc<Excuses>,
    pairs: Vec<Pair>,
    /// When an exemption next begins or ends.
    next_change: Option<Timestamp>,
}

/// The detectors of some classes.
#[derive(Debug)]
struct Pair {
    classes: ClassSet,
    listed: Box<Detectors>,
    others: Box<Detectors>,
}

impl Apart {
    fn new(excuses: Arc<Excuses>) -> Self {
        // Looked at before it is first asked.
        Self { excuses, pairs: Vec::new(), next_change: Some(Timestamp::EPOCH) }
    }

    /// Whether it is not the tenant's own detectors that are believed of a class.
    pub fn has(&self, class: Class) -> bool {
        self.pairs.iter().any(|pair| pair.classes.has(class))
    }

    /// Whether an attempt was permitted when it was made, by what has ended since.
    fn was_permitted(&self, event: &FlowEvent) -> bool {
        let (FlowEvent::Outcome { target, opened, .. } | FlowEvent::Probe { target, opened, .. }) = event
        else {
            return false;
        };
        let excused = self.excuses.excused(target, *opened);
        !excused.is_empty() && !self.pairs.iter().any(|pair| pair.classes.meets(excused))
    }

    /// Begins and ends what begins and ends; what the tenant's own detectors go on from, if one ended.
    fn turn(&mut self, at: Timestamp) -> Option<Box<Detectors>> {
        let sets = self.excuses.apart(at);
        let (kept, ended): (Vec<Pair>, Vec<Pair>) =
            self.pairs.drain(..).partition(|pair| sets.contains(&pair.classes));
        self.pairs = kept;
        for classes in sets {
            if !self.pairs.iter().any(|pair| pair.classes == classes) {
                self.pairs.push(Pair { classes, listed: Box::default(), others: Box::default() });
            }
        }
        self.next_change = self.excuses.next_change(at);
        ended.into_iter().next().map(|pair| pair.others)
    }

    pub fn each(&mut self, mut change: impl FnMut(&mut Detectors)) {
        for pair in &mut self.pairs {
            change(&mut pair.listed);
            change(&mut pair.others);
        }
    }

    pub fn forget(&mut self) {
        self.each(|detectors| *detectors = Detectors::default());
    }

    pub fn next_deadline(&self, numbers: &Thresholds) -> Option<Timestamp> {
        let both = self.pairs.iter().flat_map(|pair| [&pair.listed, &pair.others]);
        both.filter_map(|detectors| detectors.next_deadline(numbers)).min()
    }
}

/// Whom a packet came from, as a target; nobody where the host that it came from says nothing about whom it is about.
pub(super) fn origin(ip: &Ip<'_>) -> Option<Target> {
    let port = match &ip.transport {
        Transport::Icmp(_) => return None,
        Transport::Tcp(tcp) => Some(tcp.source_port),
        Transport::Udp(udp) => Some(udp.source_port),
        _ => None,
    };
    Some(Target { address: ip.source, protocol: ip.protocol, port })
}

/// To whom something was said, where the tenant began it.
pub(super) fn addressee(event: &StreamEvent) -> Option<Target> {
    let tcp = |address, port| Target { address, protocol: reeve_policy::Protocol::Tcp, port: Some(port) };
    match event {
        StreamEvent::Mail { is_client: false, .. } => None,
        StreamEvent::Mail { peer, port, .. }
        | StreamEvent::Call { peer, port, .. }
        | StreamEvent::Page { peer, port, .. } => Some(tcp(*peer, *port)),
        StreamEvent::Listed { target, .. } | StreamEvent::Login { target, .. } => Some(*target),
    }
}

/// At whom an attempt was, and when it was made.
pub(super) fn aim(event: &FlowEvent) -> (Option<Target>, Timestamp) {
    match event {
        FlowEvent::Outcome { target, opened, .. }
        | FlowEvent::Completed { target, opened, .. }
        | FlowEvent::Probe { target, opened, .. } => (Some(*target), *opened),
        FlowEvent::Stray { target, at, .. } | FlowEvent::Vouched { target, at, .. } => (Some(*target), *at),
        FlowEvent::Served { at, .. } => (None, *at),
    }
}

impl Shard {
    /// Says what of a tenant's exemptions is counted apart from now on.
    pub(super) fn set_excuses(&mut self, index: usize, excuses: Option<Arc<Excuses>>) {
        let state = &mut self.tenants[index];
        match (&mut state.apart, excuses) {
            (Some(apart), Some(excuses)) if apart.excuses != excuses => {
                (apart.excuses, apart.next_change) = (excuses, Some(Timestamp::EPOCH));
            }
            (Some(_), Some(_)) => {}
            (apart @ None, Some(excuses)) => *apart = Some(Box::new(Apart::new(excuses))),
            (apart, None) => {
                if let Some(pair) = apart.take().and_then(|mut apart| apart.pairs.pop())
                    && state.detectors.is_some()
                {
                    state.detectors = Some(pair.others);
                }
            }
        }
    }

    /// Looks when the next exemption begins or ends.
    pub(super) fn refresh_turn(&mut self) {
        let of = |state: &super::TenantState| state.apart.as_ref().and_then(|apart| apart.next_change);
        self.turn_due = self.tenants.iter().filter_map(of).min();
    }

    /// Begins and ends the exemptions that begin and end by `at`.
    #[inline]
    pub(super) fn turn(&mut self, at: Timestamp) {
        if self.turn_due.is_some_and(|due| due <= at) {
            self.turn_all(at);
        }
    }

    #[inline(never)]
    fn turn_all(&mut self, at: Timestamp) {
        for state in &mut self.tenants {
            let Some(apart) = state.apart.as_mut().filter(|apart| apart.next_change <= Some(at)) else {
                continue;
            };
            if apart.next_change.is_some()
                && let Some(others) = apart.turn(at)
                && state.detectors.is_some()
            {
                state.detectors = Some(others);
            }
        }
        self.refresh_turn();
    }

    /// Whether an attempt was permitted when it was made: then it is held against nobody.
    pub(super) fn was_permitted(&self, tenant: TenantIx, event: &FlowEvent) -> bool {
        let state = self.tenants.get(tenant.0 as usize);
        state.and_then(|state| state.apart.as_ref()).is_some_and(|apart| apart.was_permitted(event))
    }

    /// Tells what the tenant's own detectors were told to those that count apart, by whom it was done to when.
    #[inline]
    pub(super) fn count_apart(
        &mut self,
        tenant: TenantIx,
        (target, tried): (Option<Target>, Timestamp),
        tell: impl FnMut(&mut Detectors, &Thresholds, &mut Vec<Finding>),
    ) {
        if self.tenants[tenant.0 as usize].apart.is_some() {
            self.tell_apart(tenant, target, tried, tell);
        }
    }

    #[inline(never)]
    fn tell_apart(
        &mut self,
        tenant: TenantIx,
        target: Option<Target>,
        tried: Timestamp,
        mut tell: impl FnMut(&mut Detectors, &Thresholds, &mut Vec<Finding>),
    ) {
        let (state, now) = (&mut self.tenants[tenant.0 as usize], self.now);
        let Some(apart) = &mut state.apart else { return };
        let excused = target.map(|target| apart.excuses.excused(&target, tried));
        for pair in &mut apart.pairs {
            let is_listed = excused.map(|excused| excused.meets(pair.classes));
            let from = self.apart_findings.len();
            for (detectors, is_meant) in
                [(&mut pair.listed, is_listed != Some(false)), (&mut pair.others, is_listed != Some(true))]
            {
                if !is_meant {
                    continue;
                }
                if detectors.is_idle(&state.numbers, now) {
                    **detectors = Detectors::default();
                }
                tell(detectors, &state.numbers, &mut self.apart_findings);
                self.detectors_due = earlier(self.detectors_due, detectors.next_deadline(&state.numbers));
            }
            keep(&mut self.apart_findings, from, pair.classes);
        }
    }

    /// Tells of a packet that the tenant sent.
    #[inline(never)]
    pub(super) fn sent_apart(&mut self, tenant: TenantIx, packet: (&Ip<'_>, u32, bool), at: Timestamp) {
        let restrictions = self.tenants[tenant.0 as usize].restrictions.clone();
        self.tell_apart(tenant, Some(packet.0.target()), at, |detectors, numbers, found| {
            detectors.handle_sent(numbers, &restrictions, packet, at, found);
        });
    }

    /// Tells of a packet that reached the tenant.
    pub(super) fn answered_apart(
        &mut self,
        tenant: TenantIx,
        (ip, weight): (&Ip<'_>, u32),
        at: Timestamp,
        vantage: VantageId,
    ) {
        if self.tenants[tenant.0 as usize].apart.is_some() {
            let sampling = self.topology.vantage(vantage).map_or(1, |one| one.sampling);
            self.tell_apart(tenant, origin(ip), at, |detectors, numbers, _| {
                detectors.handle_received(numbers, (ip, weight), at);
                detectors.handle_answer(ip, || sampling);
            });
        }
    }

    /// Tells of a neighbour that answered.
    pub(super) fn found_neighbour(&mut self, tenant: TenantIx, neighbour: IpAddr, at: Timestamp) {
        if let Some(detectors) = &mut self.tenants[tenant.0 as usize].detectors {
            detectors.handle_neighbour(neighbour);
        }
        self.count_apart(tenant, (None, at), |detectors, _, _| detectors.handle_neighbour(neighbour));
    }

    /// Takes what the tenant's own detectors are not believed of out of what they found, and puts in what those say that count apart.
    pub(super) fn believe(&mut self, tenant: TenantIx) {
        if let Some(apart) = &self.tenants[tenant.0 as usize].apart {
            self.findings.retain(|finding| !apart.has(finding.class));
            self.findings.append(&mut self.apart_findings);
        }
    }
}

/// Leaves of what was found since `from` only what is of these classes.
fn keep(findings: &mut Vec<Finding>, from: usize, classes: ClassSet) {
    let mut place = 0;
    findings.retain(|finding| {
        place += 1;
        place <= from || classes.has(finding.class)
    });
}
