//! A shard: one flow table, its tenants' detectors, and the way of a packet through them.
//!
//! All packets of a tenant reach one shard, in order, and a shard keeps to its tenants ([`Part`]). A shard knows neither policy nor measures, but for what the
//! measures hold back ([`Restrictions`]), so that it does not take our own doing for evidence.

mod apart;
mod counters;
mod delivered;
mod identity;
mod link;
mod part;
mod settings;
mod telling;
mod usage;
mod words;

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reeve_policy::language::thresholds::Thresholds;
use reeve_policy::{Alert, Loss, Outcome, Timestamp};

use crate::blocklist::Blocklists;
use crate::detect::quota::{Quota, Way};
use crate::detect::{Detectors, Finding, Home, horizontal};
use crate::flow::guard::OneWayGuard;
use crate::flow::{FlowEvent, Flows, Restrictions};
use crate::frame::{Frame, Owner, Passage, VantageId};
use crate::interest::{self, Interest};
use crate::packet::{self, Body, IcmpKind, Ip, Packet, Transport};
use crate::stream::{StreamEvent, Streams};
use crate::topology::{TenantIx, Topology, VantageKind};
pub use counters::ShardCounters;
use counters::VantageLoss;
pub use part::{Allotment, Hearing, Part};

/// What every packet asks for stands first.
#[derive(Debug)]
struct TenantState {
    detectors: Option<Box<Detectors>>,
    /// What measures hold back of what is seen.
    restrictions: Restrictions,
    /// The numbers it is held to; tenants with the same ones share them.
    numbers: Arc<Thresholds>,
    /// What it sent and received this month. It is never idle.
    usage: Quota,
    /// Weak probes that were sent before this may belong to connections that a measure broke.
    pardoned_until: Timestamp,
    home: Home,
    /// What they would hold back, where they are only played.
    pretended: Restrictions,
    /// Attempts at addresses that nobody can have.
    bogon_dials: u64,
    identity: identity::Known,
    /// What is counted apart, where it has exemptions for some targets.
    apart: Option<Box<apart::Apart>>,
}

impl TenantState {
    fn new(home: Home, numbers: Arc<Thresholds>) -> Self {
        let (restrictions, pretended) = <(Restrictions, Restrictions)>::default();
        let identity = identity::Known::default();
        let (usage, pardoned_until) = (Quota::default(), Timestamp::EPOCH);
        Self {
            detectors: None,
            restrictions,
            pretended,
            home,
            numbers,
            identity,
            usage,
            bogon_dials: 0,
            pardoned_until,
            apart: None,
        }
    }
}

/// One shard.
#[derive(Debug)]
pub struct Shard {
    topology: Arc<Topology>,
    /// Whose endpoints are those of every tenant's numbers.
    thresholds: Arc<Thresholds>,
    /// Addresses of the provider's.
    protected: Arc<[IpNet]>,
    /// What of bulk TCP rings keep a sample of; how large a one, each vantage says.
    interest: Interest,
    flows: Flows,
    streams: Streams,
    /// The connections of the mail server that customers share.
    post: Streams,
    tenants: Vec<TenantState>,
    active: Vec<TenantIx>,
    /// Which of how many this is.
    part: Part,
    /// Whether measures are only played: what is read went on its way before anybody thought of them.
    pretends: bool,
    /// Whether silence says something about the node rather than about tenants.
    is_degraded: bool,
    one_way: Vec<OneWayGuard>,
    /// By [`crate::frame::VantageId`].
    losses: Vec<VantageLoss>,
    now: Timestamp,
    /// Not later than the first deadline of any detector.
    detectors_due: Option<Timestamp>,
    next_idle_check: Timestamp,
    counters: ShardCounters,
    events: Vec<FlowEvent>,
    hearing: Hearing,
    kept: Vec<StreamEvent>,
    blocklists: Arc<Blocklists>,
    /// What the frame at hand began that is listed.
    listed: Option<StreamEvent>,
    next_sweep: Timestamp,
    next_post_sweep: Timestamp,
    /// What became of attempts, and whether their targets had answered the tenant before.
    outcomes: Vec<(TenantIx, Outcome, bool, Timestamp)>,
    findings: Vec<Finding>,
    /// Those of what is counted apart.
    apart_findings: Vec<Finding>,
    /// When an exemption next begins or ends.
    turn_due: Option<Timestamp>,
    alerts: Vec<Alert>,
}

/// Neighbour discovery (RFC 4861).
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// How often detectors of idle tenants are looked for, to be dropped.
const IDLE_CHECK: Duration = Duration::from_secs(10);

impl Shard {
    /// The shard for its part of the tenants of `topology`, with room for `flow_capacity` flows.
    #[must_use]
    pub fn new(
        topology: Arc<Topology>,
        allotment: &Allotment,
        flow_capacity: usize,
        seed: u64,
        part: Part,
    ) -> Self {
        let flows = Flows::new(flow_capacity, topology.tenants().len(), seed);
        let mut shard = Self {
            topology: Arc::clone(&topology),
            thresholds: Arc::clone(&allotment.common),
            protected: Arc::clone(&allotment.protected),
            interest: Interest::of(1, &allotment.common.endpoints),
            flows,
            streams: Streams::new(seed),
            post: Streams::new(seed),
            tenants: Vec::new(),
            active: Vec::new(),
            part,
            pretends: false,
            is_degraded: false,
            one_way: Vec::new(),
            losses: Vec::new(),
            now: Timestamp::EPOCH,
            detectors_due: None,
            next_idle_check: Timestamp::EPOCH,
            counters: ShardCounters::default(),
            events: Vec::new(),
            hearing: Hearing::Reads,
            kept: Vec::new(),
            blocklists: Arc::default(),
            listed: None,
            next_sweep: Timestamp::EPOCH,
            next_post_sweep: Timestamp::EPOCH,
            outcomes: Vec::new(),
            findings: Vec::new(),
            apart_findings: Vec::new(),
            turn_due: None,
            alerts: Vec::new(),
        };
        shard.streams.set_endpoints(&shard.thresholds.endpoints);
        shard.set_topology(topology, allotment, Timestamp::EPOCH);
        shard
    }

    /// A tenant's server that last took mail which may be for others.
    #[must_use]
    pub fn mail_server(&self, tenant: TenantIx) -> Option<std::net::IpAddr> {
        self.tenants.get(tenant.0 as usize)?.detectors.as_ref()?.mail_server()
    }

    /// What has been counted.
    #[must_use]
    pub fn counters(&self) -> &ShardCounters {
        &self.counters
    }

    /// How many attempts of a tenant's were at addresses that nobody can have, though it has public ones itself: a leak to be told of.
    #[must_use]
    pub fn bogon_dials(&self, tenant: TenantIx) -> u64 {
        self.tenants.get(tenant.0 as usize).map_or(0, |state| state.bogon_dials)
    }

    /// The flow stage, to look at.
    #[must_use]
    pub fn flows(&self) -> &Flows {
        &self.flows
    }

    /// The connections whose words are read, to look at.
    #[must_use]
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Says whether silence is that of the node from now on, and not its tenants'.
    pub fn set_degraded(&mut self, is_degraded: bool) {
        self.is_degraded = is_degraded;
        self.flows.set_silence_counts(self.silence_counts());
    }

    /// Whether silence is evidence.
    fn silence_counts(&self) -> bool {
        !self.is_degraded && self.one_way_vantages().next().is_none()
    }

    /// Whether there are outcomes or alerts to take.
    #[inline]
    #[must_use]
    pub fn has_something_to_tell(&self) -> bool {
        !self.outcomes.is_empty() || !self.alerts.is_empty()
    }

    /// The outcomes since this was last asked, for whoever looks over all shards.
    pub fn take_outcomes(&mut self) -> std::vec::Drain<'_, (TenantIx, Outcome, bool, Timestamp)> {
        self.outcomes.drain(..)
    }

    /// The vantages that see one direction only, by index.
    pub fn one_way_vantages(&self) -> impl Iterator<Item = usize> {
        self.one_way
            .iter()
            .enumerate()
            .filter(|(_, guard)| guard.is_one_way(self.now))
            .map(|(index, _)| index)
    }

    /// The alerts since this was last asked, oldest first.
    pub fn take_alerts(&mut self) -> std::vec::Drain<'_, Alert> {
        self.alerts.drain(..)
    }

    /// Takes note of what the capture lost at a vantage up to `at`.
    pub fn handle_loss(&mut self, at: Timestamp, vantage: VantageId, dropped: u64) {
        let at = at.max(self.now);
        if let Some(loss) = self.losses.get_mut(usize::from(vantage.0)) {
            loss.enter();
            loss.meter.record(at, Loss { received: 0, dropped });
        }
    }

    /// Reads a frame. Deadlines up to its time have been fired before (see [`crate::engine::Engine`]).
    pub fn handle_frame(&mut self, frame: &Frame<'_>) {
        // What is of no tenant is counted once.
        let counts = u64::from(self.part.number == 0);
        self.counters.frames += counts;
        if frame.at < self.now {
            self.counters.behind += counts;
        }
        let at = frame.at.max(self.now);
        self.now = at;
        self.turn(at);
        if let Some(loss) = self.losses.get_mut(usize::from(frame.vantage.0)) {
            loss.receive(at);
        }
        // It is large, and stays where it was made.
        let parsed = packet::parse(frame.link, frame.data, frame.wire_len);
        let packet = match &parsed {
            Ok(packet) => packet,
            Err(reason) => {
                self.counters.malformed[reason.index()] += counts;
                return;
            }
        };
        let ip = match &packet.body {
            Body::Ip(ip) => ip,
            Body::Arp(arp) => {
                let who = self.topology.attribute(frame.vantage, frame.passage, frame.owner, packet);
                self.resolved(frame, &who, packet, arp, at);
                return self.swept(&who, arp, at);
            }
            Body::Other(_) => return self.other(frame, packet, at),
        };
        if let Transport::Malformed(reason) = ip.transport {
            self.counters.malformed[reason.index()] += counts;
        }
        let who = self.topology.attribute(frame.vantage, frame.passage, frame.owner, packet);
        if frame.owner == Some(Owner::MAILER) {
            return self.post(frame, ip, at);
        }
        let who = self.recognise(frame, packet, who);
        if who.sender.is_none() && who.receiver.is_none() {
            self.counters.unassigned += counts;
            return;
        }
        // Which directions a vantage sees is the same for all shards.
        if who.sender.is_some() {
            self.hear(frame, at, true);
        }
        if who.receiver.is_some() {
            self.hear(frame, at, false);
        }
        let part = self.part;
        let (sender, receiver) =
            (who.sender.filter(|ix| part.owns(*ix)), who.receiver.filter(|ix| part.owns(*ix)));
        let weight = self.weight(frame.vantage, packet);
        self.use_up([(sender, Way::Out), (receiver, Way::In)], frame, weight, at);
        // What is only passed on is whoever's it was handed by, whom it is held against elsewhere.
        let sender = sender.filter(|ix| !(who.spoofed && self.passes_on(*ix, ip, at)));
        if let Some(sender) = sender {
            if let Transport::Icmp(icmp) = &ip.transport
                && (icmp.kind, icmp.icmp_type) == (IcmpKind::Neighbour, NEIGHBOUR_SOLICITATION)
                && !ip.source.is_unspecified()
                && ip.destination.is_multicast()
            {
                if who.by_link {
                    self.suspect(sender, |noise, numbers| noise.resolved(numbers, at));
                }
                self.ask(sender, ip.destination, at);
            }
            let is_own = ip.source == ip.destination && self.topology.by_address(ip.source) == Some(sender);
            self.sent(sender, who.spoofed, (ip, weight, is_own), at, frame);
            if who.spoofed || who.by_link {
                self.identify(sender, &who, packet, ip, (frame.passage, at));
            }
        }
        if let Some(receiver) = receiver {
            self.note_delivered(receiver, who.astray, (ip, weight), at);
            if who.astray || matches!(ip.transport, Transport::Icmp(_)) {
                self.met(receiver, who.astray, packet, ip, at);
            }
            self.received(receiver, (ip, weight), at, frame);
        }
        if self.hearing != Hearing::Told {
            self.overhear((sender, receiver), ip, at, frame.vantage);
        }
    }

    /// How many packets like this one went by for each that is seen: a vantage's interest filter keeps a sample of bulk TCP.
    fn weight(&self, vantage: VantageId, packet: &Packet<'_>) -> u32 {
        match self.topology.vantage(vantage) {
            Some(vantage) if vantage.sampling > 1 && interest::is_bulk(packet, &self.interest) => {
                vantage.sampling
            }
            _ => 1,
        }
    }

    /// Takes what another shard heard in the frame before.
    pub fn handle_said(&mut self, said: Vec<StreamEvent>, at: Timestamp) {
        let at = at.max(self.now);
        self.turn(at);
        self.listen(said, at);
    }

    /// Goes on with other blocklists. A record does not say which: it says what stood on them when it was looked for.
    pub fn set_blocklists(&mut self, blocklists: Arc<Blocklists>) {
        self.blocklists = blocklists;
    }

    /// Says how words are heard from now on.
    pub fn set_hearing(&mut self, hearing: Hearing) {
        self.hearing = hearing;
    }

    /// What was heard in the last frame, where that is kept.
    pub fn take_said(&mut self) -> Vec<StreamEvent> {
        std::mem::take(&mut self.kept)
    }

    /// When [`Shard::handle_timeout`] next has something to do; never later than that.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        earlier(self.flows.next_deadline(), self.detectors_due)
    }

    /// Does what is due at `now`: silent attempts first, then the seconds that are over, tenant by tenant.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.turn(self.now);
        self.flows.set_silence_counts(self.silence_counts());
        let mut events = std::mem::take(&mut self.events);
        self.flows.handle_timeout(now, &mut events);
        self.dispatch(&events, 1);
        events.clear();
        self.events = events;
        self.active.sort_unstable();
        let hears = self.one_way_vantages().next().is_none();
        for index in 0..self.active.len() {
            let ix = self.active[index];
            let state = &mut self.tenants[ix.0 as usize];
            if let Some(detectors) = &mut state.detectors {
                detectors.handle_timeout(&state.numbers, hears, now, &mut self.findings);
                self.count_apart(ix, (None, now), |detectors, numbers, found| {
                    detectors.handle_timeout(numbers, hears, now, found);
                });
                self.raise(ix);
            }
        }
        if now >= self.next_idle_check {
            self.drop_idle(now);
            self.next_idle_check = now + IDLE_CHECK;
        }
        let due = |ix: &TenantIx| {
            let state = &self.tenants[ix.0 as usize];
            let apart = state.apart.as_ref().and_then(|apart| apart.next_deadline(&state.numbers));
            earlier(state.detectors.as_ref()?.next_deadline(&state.numbers), apart)
        };
        self.detectors_due = self.active.iter().filter_map(due).min();
    }

    fn sent(
        &mut self,
        sender: TenantIx,
        spoofed: bool,
        (ip, weight, is_own): (&Ip<'_>, u32, bool),
        at: Timestamp,
        frame: &Frame<'_>,
    ) {
        let state = &mut self.tenants[sender.0 as usize];
        // What a suspended tenant still sends reaches nobody. It tells that the abuse goes on, which the measure's own
        // counters tell too, and it is no evidence of anything else.
        if !state.restrictions.is_total() {
            let detectors = wake(&mut state.detectors, &mut self.active, sender, &state.numbers, at);
            let packet = (ip, weight, is_own);
            detectors.handle_sent(&state.numbers, &state.restrictions, packet, at, &mut self.findings);
            self.detectors_due = earlier(self.detectors_due, detectors.floods_due());
            if state.apart.is_some() {
                self.sent_apart(sender, packet, at);
            }
        }
        let state = &mut self.tenants[sender.0 as usize];
        let (mut is_loose, mut is_first) = (spoofed, spoofed);
        let mut events = std::mem::take(&mut self.events);
        // Live, the port says who sent it, and its answers come back by that port: whatever source it scans from, it
        // scans. A capture without directions cannot tell that from others' traffic.
        if !spoofed || frame.passage != Passage::Unknown {
            let weighed = Ip { segments: ip.segments.saturating_mul(weight), ..*ip };
            let ip = if weight > 1 { &weighed } else { ip };
            let attempts = self.flows.attempts();
            self.flows.handle_sent(sender, ip, at, &state.restrictions, &mut events);
            is_loose |= events.iter().any(|event| matches!(event, FlowEvent::Stray { is_answer: false, .. }));
            is_first = self.flows.attempts() != attempts;
            if is_first && self.hearing != Hearing::Told && !self.blocklists.is_empty() {
                self.listed = self.look_up(sender, ip);
            }
        }
        // Before anything is told of it.
        let state = &mut self.tenants[sender.0 as usize];
        if let Some(detectors) = state.detectors.as_mut().filter(|_| !state.restrictions.is_total()) {
            detectors.keep_headers(ip, is_loose, is_first, at);
        }
        self.dispatch(&events, weight);
        events.clear();
        self.events = events;
        self.raise(sender);
    }

    fn received(
        &mut self,
        receiver: TenantIx,
        (ip, weight): (&Ip<'_>, u32),
        at: Timestamp,
        frame: &Frame<'_>,
    ) {
        if let Transport::Icmp(icmp) = &ip.transport
            && (icmp.kind, icmp.icmp_type) == (IcmpKind::Neighbour, NEIGHBOUR_ADVERTISEMENT)
        {
            self.found_neighbour(receiver, ip.source, at);
        }
        let state = &mut self.tenants[receiver.0 as usize];
        if let Some(detectors) = &mut state.detectors {
            detectors.handle_received(&state.numbers, (ip, weight), at);
            let sampling = || self.topology.vantage(frame.vantage).map_or(1, |one| one.sampling);
            detectors.handle_answer(ip, sampling);
        }
        self.answered_apart(receiver, (ip, weight), at, frame.vantage);
        let mut events = std::mem::take(&mut self.events);
        self.flows.handle_received(receiver, ip, at, &mut events);
        self.dispatch(&events, weight);
        events.clear();
        self.events = events;
    }

    /// Tells the vantage's guard which direction was seen. On a tenant's port one direction alone means nothing: a
    /// tenant may well shout at hosts that never answer.
    fn hear(&mut self, frame: &Frame<'_>, at: Timestamp, sent: bool) {
        let Some(guard) = self.one_way.get_mut(usize::from(frame.vantage.0)) else { return };
        match self.topology.vantage(frame.vantage) {
            Some(vantage) if vantage.kind == VantageKind::Uplink && sent => guard.sent(at),
            _ => guard.received(),
        }
    }

    /// Tells the detectors what the flow stage told, of a packet that stands for `weight` like it.
    fn dispatch(&mut self, events: &[FlowEvent], weight: u32) {
        for event in events {
            let tenant = match event {
                FlowEvent::Outcome { tenant, target, outcome, at, .. } => {
                    let state = self.tenants.get(tenant.0 as usize);
                    let detectors = state.and_then(|state| state.detectors.as_ref());
                    let is_friend = matches!(outcome, Outcome::Silent | Outcome::Unknown)
                        && detectors.is_some_and(|detectors| detectors.knows(target, *at));
                    self.outcomes.push((*tenant, *outcome, is_friend, *at));
                    *tenant
                }
                FlowEvent::Completed { tenant, .. }
                | FlowEvent::Stray { tenant, .. }
                | FlowEvent::Vouched { tenant, .. }
                | FlowEvent::Probe { tenant, .. }
                | FlowEvent::Served { tenant, .. } => *tenant,
            };
            let is_pardoned = self.is_pardoned(event);
            if self.was_permitted(tenant, event) {
                continue;
            }
            let Some(state) = self.tenants.get_mut(tenant.0 as usize) else { continue };
            if let FlowEvent::Outcome { target, outcome, .. } = event
                && outcome.is_unanswered()
                && state.home == Home::Public
                && horizontal::is_bogon(target.address)
            {
                state.bogon_dials += 1;
                self.counters.bogon_dials += 1;
            }
            // What meets a limit of ours, or reaches nobody at all, is broken by us.
            if let FlowEvent::Stray { target, .. } = event
                && (state.restrictions.is_total() || !state.restrictions.leave_rate(target))
            {
                continue;
            }
            let home = state.home;
            let detectors = wake(&mut state.detectors, &mut self.active, tenant, &state.numbers, event.at());
            let tell = |detectors: &mut Detectors, numbers: &Thresholds, found: &mut Vec<Finding>| {
                if is_pardoned {
                    detectors.handle_pardoned(numbers, event, found);
                } else {
                    detectors.handle_flow(numbers, (event, weight), home, found);
                }
            };
            tell(detectors, &state.numbers, &mut self.findings);
            self.detectors_due = earlier(self.detectors_due, detectors.floods_due());
            self.count_apart(tenant, apart::aim(event), tell);
            self.raise(tenant);
        }
    }

    fn drop_idle(&mut self, now: Timestamp) {
        self.tenants.iter_mut().for_each(|state| state.identity.drop_old(now));
        let tenants = &mut self.tenants;
        self.active.retain(|ix| {
            let state = &mut tenants[ix.0 as usize];
            let numbers = &state.numbers;
            let idle = state.detectors.as_ref().is_none_or(|detectors| detectors.is_idle(numbers, now));
            if idle {
                state.detectors = None;
            }
            !idle
        });
    }
}

/// The first of two deadlines.
fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A tenant's detectors, made anew if there are none or nothing in them matters any more: when the idle are dropped is not to be
/// seen.
#[inline]
fn wake<'s>(
    detectors: &'s mut Option<Box<Detectors>>,
    active: &mut Vec<TenantIx>,
    tenant: TenantIx,
    thresholds: &Thresholds,
    at: Timestamp,
) -> &'s mut Detectors {
    let detectors = detectors.get_or_insert_with(|| {
        active.push(tenant);
        Box::default()
    });
    if detectors.is_idle(thresholds, at) {
        **detectors = Detectors::default();
    }
    detectors
}
