//! The engine: shard, judge and ledger strung together, driven by one totally ordered input.
//!
//! The shell hands in frames, losses, ticks, orders and configuration, each with its time; out come alerts,
//! violations, decisions and changes of the desired state. Nothing else goes in: the same input gives the same output,
//! byte for byte, live and in replay.
//!
//! **Time.** Before an input at `t` every deadline up to `t` is fired, on a grid of [`TICK`], in a fixed order: shard,
//! judge, ledger, checks. What a deadline yields carries the deadline's time. Inputs that come late count as of the newest time.

#[cfg(test)]
mod asking;
mod checks;
#[cfg(test)]
mod exempt;
mod follow;
#[cfg(test)]
mod following;
#[cfg(test)]
mod identity;
mod input;
#[cfg(test)]
mod listed;
mod mended;
mod post;
mod recheck;
#[cfg(test)]
mod scans;
#[cfg(test)]
mod shards;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod usage;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use reeve_policy::judge::{BrakesSet, Excused, Judge, Judgement, Occupancy, Standing};
use reeve_policy::language::Policy;
use reeve_policy::{
    Alert, Class, Decision, DecisionId, DesiredState, Lift, LiftReason, Measure, Mode, Name, NodeId, Origin,
    Pause, RelayChecked, Tenant, TenantId, Timestamp, Violation,
};

use serde::{Deserialize, Serialize};

use checks::Checks;
use follow::Told;
pub use input::Input;
pub use mended::Unasked;
pub use post::MailWord;
use post::Post;
use recheck::Rechecks;

use crate::blocklist::Blocklists;
use crate::detect::quota::Tally;
use crate::flow::Restrictions;
use crate::flow::table::FLOW_BYTES;
use crate::frame::{Frame, VantageId};
use crate::ledger::{Ledger, LedgerEvent};
use crate::shard::{Hearing, ShardCounters};
use crate::shards::Shards;
use crate::stream::StreamEvent;
use crate::topology::{Topology, Vantage};

/// Deadlines are fired on this grid.
pub const TICK: Duration = Duration::from_millis(100);

/// Room for flows if nothing else is asked for: 64 MiB.
pub const DEFAULT_FLOW_BYTES: usize = 64 << 20;

/// What an engine is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineConfig {
    /// The node.
    pub node: NodeId,
    /// How far the node may go.
    pub mode: Mode,
    /// The policy.
    pub policy: Arc<Policy>,
    /// Room for flows in bytes.
    pub flow_bytes: usize,
    /// Spreads hashes. It never shows in the output.
    pub seed: u64,
    /// Among how many shards the tenants are divided. It never shows in the output either, as long as there is room for flows.
    #[serde(default = "one")]
    pub shards: u32,
}

const fn one() -> u32 {
    1
}

/// What comes out of the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A detector saw something.
    Alert(Alert),
    /// A violation opened, changed or closed.
    Violation(Violation),
    /// Something was done that would break a rule, and is permitted in writing.
    Excused(Excused),
    /// The brakes are set: nobody else is newly held until a person releases them.
    BrakesSet(BrakesSet),
    /// Policy, or an operator, ordered something.
    Decision(Decision),
    /// A measure is to stand in the kernel.
    Imposed(Measure),
    /// A measure is to stand no more.
    Lifted {
        /// The measure.
        measure: Measure,
        /// Why.
        reason: LiftReason,
        /// Since when.
        at: Timestamp,
    },
    /// A tenant's mail server is to be asked whether it is an open relay. Live, somebody does; a replay asks nobody.
    CheckRelay {
        /// Whose.
        tenant: TenantId,
        /// The server's address.
        server: std::net::IpAddr,
        /// Since when.
        at: Timestamp,
    },
    /// A tenant's mail server was asked, and this came of it.
    RelayChecked(RelayChecked),
    /// Silence is no evidence from now on, because answers to several tenants collapsed or the node lost its way to the
    /// outside; or is again.
    Degraded {
        /// Whether it is no evidence.
        degraded: bool,
        /// Since when.
        at: Timestamp,
    },
}

/// The engine of one node.
#[derive(Debug)]
pub struct Engine {
    shards: Shards,
    judge: Judge,
    ledger: Ledger,
    checks: Checks,
    rechecks: Rechecks,
    post: Post,
    topology: Arc<Topology>,
    node: NodeId,
    now: Timestamp,
    /// The first deadline of judge, ledger and checks.
    slow_due: Option<Timestamp>,
    /// What other nodes did to tenants, as it was told last.
    told: Told,
    degraded: bool,
    outputs: VecDeque<Output>,
}

impl Engine {
    /// An engine without tenants.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        let topology = Arc::new(Topology::new(0, &config.node, Vec::new(), Vec::new()));
        let capacity = config.flow_bytes / FLOW_BYTES;
        Self {
            shards: Shards::new(&topology, &config.policy, capacity, config.seed, config.shards),
            judge: Judge::new(config.node.clone(), config.mode, config.policy),
            ledger: Ledger::default(),
            checks: Checks::default(),
            rechecks: Rechecks::default(),
            post: Post::default(),
            topology,
            node: config.node,
            now: Timestamp::EPOCH,
            slow_due: None,
            told: Told::default(),
            degraded: false,
            outputs: VecDeque::new(),
        }
    }

    /// Measures are only played from now on, as in the replay of a capture: none of them held back what is in it. What the capture shows
    /// counts as it is, and of what goes on where a measure would have stopped it, a suspicion is told and no further step taken.
    pub fn pretend_measures(&mut self) {
        self.shards.pretend();
    }

    /// Says what was really held back of tenants' traffic, where measures are only played: in a history, what ran then had measures of its own,
    /// and what they stopped is no evidence.
    pub fn set_held(&mut self, held: BTreeMap<TenantId, Restrictions>) {
        self.shards.set_held(held);
    }

    /// What measures in force hold back, by tenant.
    #[must_use]
    pub fn restrictions(&self) -> BTreeMap<TenantId, Restrictions> {
        self.ledger.restrictions().into_iter().map(|(tenant, held)| (tenant.clone(), held)).collect()
    }

    /// Goes on from what an earlier run left: measures in force and strikes.
    pub fn restore(&mut self, desired: DesiredState, standing: Standing) {
        self.ledger = Ledger::restore(desired);
        self.judge.restore(standing);
        self.after_ledger_change();
    }

    /// Goes on from what tenants used before, of those who are here. Of two counts of a month the greater holds.
    pub fn restore_usage(&mut self, tallies: &[Tally]) {
        self.shards.restore_usage(tallies);
    }

    /// What every tenant has sent and received this month, and in the last one before in which it did.
    #[must_use]
    pub fn usage(&self) -> Vec<Tally> {
        self.shards.usage()
    }

    /// The next output, oldest first.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What the kernel is to hold.
    #[must_use]
    pub fn desired(&self) -> &DesiredState {
        self.ledger.desired()
    }

    /// Strikes and open episodes.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        self.judge.standing()
    }

    /// Whose is what.
    #[must_use]
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// The shards, to look at.
    #[must_use]
    pub fn shards(&self) -> &Shards {
        &self.shards
    }

    /// What has been counted.
    #[must_use]
    pub fn counters(&self) -> ShardCounters {
        self.shards.counters()
    }

    /// Takes another set of tenants and vantages. Tenants that stay keep their state; measures of those that are gone
    /// are lifted.
    pub fn handle_topology(&mut self, tenants: Vec<Arc<Tenant>>, vantages: Vec<Vantage>, at: Timestamp) {
        self.advance(at);
        let tenants = arrange(self.topology.tenants(), tenants);
        let version = self.topology.version() + 1;
        let before = Arc::clone(&self.topology);
        self.topology = Arc::new(Topology::new(version, &self.node, tenants, vantages));
        self.shards.set_topology(&self.topology, self.now);
        self.post.set_topology(&self.topology);
        let topology = Arc::clone(&self.topology);
        self.judge.set_families(topology.tenants().iter());
        let present = |id: &TenantId| topology.index_of(id).is_some_and(|ix| is_present(topology.tenant(ix)));
        let events = self.ledger.lift_departed(present);
        self.publish(events);
        self.let_go_moved(&before);
        self.after_ledger_change();
        self.watch_all();
    }

    /// Takes another policy or mode.
    pub fn handle_policy(&mut self, policy: Arc<Policy>, mode: Mode, at: Timestamp) {
        self.advance(at);
        self.shards.set_thresholds(&policy);
        self.judge.set_policy(policy);
        self.judge.set_node_mode(mode);
        self.drain();
        self.follow_all();
        self.watch_all();
    }

    /// Reads a frame.
    pub fn handle_frame(&mut self, frame: &Frame<'_>) {
        if self.first_deadline().is_some_and(|first| first <= frame.at) {
            self.advance(frame.at);
        }
        self.now = self.now.max(frame.at);
        self.shards.handle_frame(frame);
        if frame.owner.is_some() {
            self.post.weigh(frame, &self.topology, self.ledger.desired());
        }
        if self.shards.has_alerts() || self.degraded != self.shards.is_degraded() {
            self.take_alerts();
        }
    }

    /// What is to become of connections of the shared mail server's, since this was last asked.
    pub fn take_mail(&mut self) -> Vec<MailWord> {
        self.post.take()
    }

    /// Takes note that the node has lost its way to the outside, or has it again.
    pub fn handle_upstream(&mut self, is_up: bool, at: Timestamp) {
        self.advance(at);
        self.shards.set_cut_off(!is_up);
        self.take_alerts();
    }

    /// Goes on with other blocklists. That is no input of a record's: what is found on them is.
    pub fn set_blocklists(&mut self, blocklists: &Arc<Blocklists>) {
        self.shards.set_blocklists(blocklists);
    }

    /// Says how words in connections are heard from now on.
    pub fn set_hearing(&mut self, hearing: Hearing) {
        self.shards.set_hearing(hearing);
    }

    /// What was heard in the last frame, for a record; see [`Hearing::Keeps`].
    pub fn take_said(&mut self) -> Vec<StreamEvent> {
        self.shards.take_said()
    }

    /// Takes what was heard in the frame before, by an engine that could read it.
    pub fn handle_said(&mut self, said: Vec<StreamEvent>, at: Timestamp) {
        // No time passes: it belongs to the frame.
        self.shards.handle_said(&said, at);
        self.take_alerts();
    }

    /// Takes note of frames that the capture lost at a vantage.
    pub fn handle_loss(&mut self, at: Timestamp, vantage: VantageId, dropped: u64) {
        self.advance(at);
        self.shards.handle_loss(at, vantage, dropped);
    }

    /// Lets time pass.
    pub fn handle_tick(&mut self, now: Timestamp) {
        self.advance(now);
    }

    /// Carries out an operator's order to do something to a tenant.
    pub fn handle_impose(&mut self, decision: &Decision, at: Timestamp) {
        self.advance(at);
        if let Some(event) = self.ledger.handle_decision(decision) {
            self.outputs.push_back(Output::Decision(decision.clone()));
            self.publish(vec![event]);
        }
    }

    /// Carries out an operator's order to let a tenant go: its measures are lifted, its episodes closed, and what the
    /// detectors held against it is forgotten, so that it starts afresh and is not taken back for what it did before.
    /// If it is to `forgive`, the strikes of what it ends are taken back.
    pub fn handle_release(&mut self, tenant: &TenantId, forgive: bool, at: Timestamp) {
        self.advance(at);
        if forgive {
            let measures = self.ledger.desired().measures.values();
            let of_tenant = measures.map(|one| &one.decision).filter(|one| one.tenant == *tenant);
            let behind = of_tenant.filter_map(|one| one.violation.clone()).collect();
            self.judge.handle_forgive(tenant, &behind);
        }
        if let Some(ix) = self.topology.index_of(tenant) {
            self.shards.forget(ix);
        }
        self.checks.forget(tenant);
        self.judge.handle_release(tenant, self.now);
        self.drain();
        let events = self.ledger.lift(tenant, LiftReason::Released);
        self.publish(events);
    }

    /// Carries out an operator's order to take back strikes of a tenant that were given until `before`. What holds it stays.
    pub fn handle_forgive(
        &mut self,
        tenant: &TenantId,
        rule: Option<&Name>,
        before: Timestamp,
        at: Timestamp,
    ) {
        self.advance(at);
        self.judge.handle_pardon(tenant, rule, before);
    }

    /// A person has looked at those who are held: the brakes are released, and as many again may be held before they are set once more.
    pub fn handle_release_brakes(&mut self, at: Timestamp) {
        self.advance(at);
        let held = self.held_by_policy().len();
        self.judge.handle_release_brakes(held);
    }

    /// Lets a tenant go of what these decisions of a policy hold, since it is mended: the episodes behind them are closed, for what is seen of
    /// it later is to be answered anew. Strikes stay, and so does whatever else holds the tenant.
    pub fn handle_let_go(&mut self, tenant: &TenantId, decisions: &BTreeSet<DecisionId>, at: Timestamp) {
        self.advance(at);
        let is_meant = |decision: &Decision| {
            let is_policys = matches!(decision.origin, Origin::Policy { .. });
            decision.tenant == *tenant && is_policys && decisions.contains(&decision.id)
        };
        let measures = self.ledger.desired().measures.values().map(|measure| &measure.decision);
        let behind: BTreeSet<_> = measures
            .filter(|decision| is_meant(decision))
            .filter_map(|decision| Some((tenant.clone(), decision.violation.clone()?)))
            .collect();
        if !behind.is_empty()
            && let Some(ix) = self.topology.index_of(tenant)
        {
            // It is not taken back for what it did before. What is not counted by long windows was silent for as long as they are.
            self.shards.restart(ix);
        }
        self.judge.handle_lift(&behind, false, self.now);
        self.drain();
        let events = self.ledger.lift_meant(is_meant);
        self.publish(events);
    }

    /// Takes note that an invoice is paid: what holds the tenant until then is lifted, and nothing else.
    pub fn handle_paid(&mut self, tenant: &TenantId, at: Timestamp) {
        self.advance(at);
        let events = self.ledger.lift_paid(tenant);
        self.publish(events);
    }

    /// Policy takes no new measure while somebody has paused it; what stands, stands.
    pub fn handle_pause(&mut self, paused: Option<Pause>, at: Timestamp) {
        self.advance(at);
        self.judge.set_pause(paused);
        self.follow_all();
    }

    /// Undoes what policy did: the measures are lifted, the episodes behind them closed, and what the detectors held
    /// against their tenants is forgotten, as with a release. What people ordered stays.
    pub fn handle_lift(&mut self, lift: &Lift, at: Timestamp) {
        self.advance(at);
        let measures = self.ledger.desired().measures.values();
        let decisions: Vec<&Decision> =
            measures.map(|measure| &measure.decision).filter(|decision| lift.takes(decision)).collect();
        for decision in &decisions {
            if let Some(ix) = self.topology.index_of(&decision.tenant) {
                self.shards.forget(ix);
            }
        }
        let behind = |decision: &&Decision| Some((decision.tenant.clone(), decision.violation.clone()?));
        let violations = decisions.iter().filter_map(behind).collect();
        self.judge.handle_lift(&violations, lift.strikes, self.now);
        self.drain();
        let events = self.ledger.lift_policy(lift);
        self.publish(events);
    }

    /// When there is next something to do without input.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.due()
    }

    fn due(&self) -> Option<Timestamp> {
        self.first_deadline().map(on_grid)
    }

    #[inline]
    fn first_deadline(&self) -> Option<Timestamp> {
        match (self.shards.next_deadline(), self.slow_due) {
            (Some(shard), Some(slow)) => Some(shard.min(slow)),
            (one, other) => one.or(other),
        }
    }

    /// Fires every deadline up to `to`, in order.
    fn advance(&mut self, to: Timestamp) {
        while let Some(due) = self.due() {
            // A deadline that was set while time stood beyond it is fired at once.
            let at = due.max(on_grid(self.now));
            if at > to {
                break;
            }
            self.now = at;
            self.shards.handle_timeout(at);
            self.take_alerts();
            self.judge.handle_timeout(at);
            self.drain();
            let events = self.ledger.handle_timeout(at);
            self.publish(events);
            self.ask_again(at);
            self.refresh_slow_due();
        }
        self.now = self.now.max(to);
    }

    fn take_alerts(&mut self) {
        for alert in self.shards.take_alerts() {
            self.take_alert(alert);
        }
        if self.degraded != self.shards.is_degraded() {
            self.degraded = !self.degraded;
            self.outputs.push_back(Output::Degraded { degraded: self.degraded, at: self.now });
        }
    }

    fn take_alert(&mut self, alert: Alert) {
        let Some(ix) = self.topology.index_of(&alert.tenant) else {
            self.outputs.push_back(Output::Alert(alert));
            return;
        };
        let tenant = Arc::clone(self.topology.tenant(ix));
        let of_relay = self.shards.mail_server(ix).filter(|_| alert.class == Class::SmtpRelay);
        let server = of_relay.filter(|_| alert.is_suspicion);
        // What was asked and is no open relay is not suspected again at once.
        if !server.is_some_and(|server| self.checks.is_refuted(&tenant.id, server, self.now)) {
            let occupancy = self.occupancy(&tenant.id);
            if !self.judge.handle_alert(&alert, &tenant, occupancy) {
                return self.drain();
            }
            if let Some(server) = of_relay {
                self.judge.note_server(&tenant.id, server);
            }
        }
        let asked = server.filter(|_| self.judge.may_ask(alert.class, &tenant));
        let asked = asked.filter(|server| self.checks.suspect(&alert, *server, self.now));
        self.outputs.push_back(Output::Alert(alert));
        self.drain();
        while let Some(escalated) = self.judge.poll_escalated() {
            let occupancy = self.occupancy(&escalated.alert.tenant);
            self.judge.handle_escalated(&escalated, occupancy);
            self.drain();
        }
        if let Some(server) = asked {
            self.outputs.push_back(Output::CheckRelay { tenant: tenant.id.clone(), server, at: self.now });
        }
    }

    /// How many tenants decisions of policy hold, not those of people.
    fn occupancy(&self, tenant: &TenantId) -> Occupancy {
        let held = self.held_by_policy();
        let tenants =
            self.topology.tenants().iter().filter(|tenant| tenant.may_be_told_on(&self.node)).count();
        Occupancy { tenants, held: held.len(), is_held: held.contains(tenant) }
    }

    fn held_by_policy(&self) -> BTreeSet<&TenantId> {
        let by_policy = |measure: &&Measure| matches!(measure.decision.origin, Origin::Policy { .. });
        let measures = self.ledger.desired().measures.values().filter(by_policy);
        measures.map(|measure| &measure.decision.tenant).collect()
    }

    /// Passes on what the judge has said.
    fn drain(&mut self) {
        let mut relaying = BTreeSet::new();
        while let Some(judgement) = self.judge.poll() {
            match judgement {
                Judgement::Violation(violation) => {
                    if violation.evidence.class == Class::SmtpRelay {
                        relaying.insert(violation.tenant.clone());
                    }
                    self.outputs.push_back(Output::Violation(violation));
                }
                Judgement::Braked(set) => self.outputs.push_back(Output::BrakesSet(set)),
                Judgement::Excused(excused) => self.outputs.push_back(Output::Excused(excused)),
                Judgement::Decision(decision) => {
                    let event = self.ledger.handle_decision(&decision);
                    self.outputs.push_back(Output::Decision(decision));
                    self.publish(event.into_iter().collect());
                }
            }
        }
        for tenant in &relaying {
            self.watch(tenant);
        }
        self.refresh_slow_due();
    }

    fn publish(&mut self, events: Vec<LedgerEvent>) {
        if events.is_empty() {
            return;
        }
        let mut held = BTreeSet::new();
        for event in events {
            self.note_lifted(&event);
            let (LedgerEvent::Imposed(measure) | LedgerEvent::Lifted(measure, _)) = &event;
            if self.is_checkable(measure) {
                held.insert(measure.decision.tenant.clone());
            }
            self.outputs.push_back(match event {
                LedgerEvent::Imposed(measure) => Output::Imposed(measure),
                LedgerEvent::Lifted(measure, reason) => Output::Lifted { measure, reason, at: self.now },
            });
        }
        for tenant in &held {
            self.watch(tenant);
        }
        self.after_ledger_change();
    }

    fn after_ledger_change(&mut self) {
        let held = self.restrictions();
        self.shards.set_restrictions(held);
        self.refresh_slow_due();
    }

    fn refresh_slow_due(&mut self) {
        let all = [
            self.judge.next_deadline(),
            self.ledger.next_deadline(),
            self.checks.next_deadline(),
            self.rechecks.next_deadline(),
        ];
        self.slow_due = all.into_iter().flatten().min();
    }
}

/// The first point of the grid that is not before `at`.
fn on_grid(at: Timestamp) -> Timestamp {
    let floor = at.floor_to(TICK);
    if floor == at { at } else { floor + TICK }
}

/// Whether a tenant is here, rather than only keeping its place.
fn is_present(tenant: &Tenant) -> bool {
    tenant.has_selectors()
}

/// Puts tenants in an order that leaves those that stay where they are. The place of one that is gone goes to a new
/// one, or keeps the departed one's id without anything that could be attributed to it.
fn arrange(before: &[Arc<Tenant>], now: Vec<Arc<Tenant>>) -> Vec<Arc<Tenant>> {
    let mut coming: BTreeMap<TenantId, Arc<Tenant>> =
        now.into_iter().map(|tenant| (tenant.id.clone(), tenant)).collect();
    let mut places: Vec<Option<Arc<Tenant>>> =
        before.iter().map(|tenant| coming.remove(&tenant.id)).collect();
    let mut coming = coming.into_values();
    for (place, departed) in places.iter_mut().zip(before) {
        if place.is_none() {
            *place = coming.next().or_else(|| {
                let mut ghost = Tenant::clone(departed);
                ghost.clear_selectors();
                Some(Arc::new(ghost))
            });
        }
    }
    places.into_iter().flatten().chain(coming).collect()
}
