//! All shards of a node, as one: what a frame, a deadline or an order is to each of them, and what is known over all of them.
//!
//! However many there are, the same comes out, in the same order: alerts of one moment are in the order of their tenants, and whether
//! silence is evidence is decided over the outcomes of all. Each reads every frame it is handed and keeps to its own tenants, so a shell
//! may hand each only what concerns it.
//!
//! Left out: threads. Where one core is not enough, each shard gets its ring and its thread, and this is where they meet.

use std::collections::BTreeMap;
use std::sync::Arc;

use reeve_policy::language::numbers::Numbers;
use reeve_policy::language::{Excuses, Policy};
use reeve_policy::{Alert, Outcome, TenantId, Timestamp};

use crate::blocklist::Blocklists;
use crate::detect::quota::Tally;
use crate::flow::Restrictions;
use crate::flow::guard::OutageGuard;
use crate::frame::{Frame, VantageId};
use crate::shard::{Allotment, Hearing, Part, Shard, ShardCounters};
use crate::stream::StreamEvent;
use crate::topology::{TenantIx, Topology};

/// The shards of a node.
#[derive(Debug)]
pub struct Shards {
    shards: Vec<Shard>,
    topology: Arc<Topology>,
    numbers: Numbers,
    policy: Arc<Policy>,
    outage: OutageGuard,
    /// Whether the node has lost its way to the outside.
    is_cut_off: bool,
    alerts: Vec<Alert>,
    outcomes: Vec<(TenantIx, Outcome, bool, Timestamp)>,
}

impl Shards {
    /// So many shards, at least one, with room for `flow_capacity` flows together.
    #[must_use]
    pub fn new(
        topology: &Arc<Topology>,
        policy: &Arc<Policy>,
        flow_capacity: usize,
        seed: u64,
        number: u32,
    ) -> Self {
        let of = number.max(1);
        let mut numbers = Numbers::new(policy);
        let allotment = allot(&mut numbers, policy, topology);
        let shard = |number| {
            let capacity = flow_capacity / of as usize;
            Shard::new(Arc::clone(topology), &allotment, capacity, seed, Part { number, of })
        };
        Self {
            shards: (0..of).map(shard).collect(),
            topology: Arc::clone(topology),
            numbers,
            policy: Arc::clone(policy),
            outage: OutageGuard::new(topology.tenants().len()),
            is_cut_off: false,
            alerts: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// Each of them, to look at.
    pub fn iter(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter()
    }

    /// What all have counted.
    #[must_use]
    pub fn counters(&self) -> ShardCounters {
        self.shards.iter().fold(ShardCounters::default(), |sum, shard| sum.plus(shard.counters()))
    }

    /// Whether silence says something about the node rather than about tenants.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.outage.is_degraded() || self.is_cut_off
    }

    /// See [`Shard::set_topology`].
    pub fn set_topology(&mut self, topology: &Arc<Topology>, now: Timestamp) {
        self.topology = Arc::clone(topology);
        self.outage.set_tenants(topology.tenants().len());
        self.numbers.keep(topology.tenants().iter());
        let allotment = allot(&mut self.numbers, &self.policy, topology);
        self.shards.iter_mut().for_each(|shard| shard.set_topology(Arc::clone(topology), &allotment, now));
    }

    /// See [`Shard::set_thresholds`].
    pub fn set_thresholds(&mut self, policy: &Arc<Policy>) {
        self.numbers = Numbers::new(policy);
        self.policy = Arc::clone(policy);
        let allotment = allot(&mut self.numbers, policy, &self.topology);
        self.shards.iter_mut().for_each(|shard| shard.set_thresholds(&allotment));
    }

    /// Says what measures hold back of each tenant's traffic from now on.
    pub fn set_restrictions(&mut self, held: BTreeMap<TenantId, Restrictions>) {
        self.restrict(held, Shard::set_restrictions);
    }

    /// See [`Shard::set_held`].
    pub fn set_held(&mut self, held: BTreeMap<TenantId, Restrictions>) {
        self.restrict(held, Shard::set_held);
    }

    fn restrict(
        &mut self,
        mut held: BTreeMap<TenantId, Restrictions>,
        set: fn(&mut Shard, TenantIx, Restrictions),
    ) {
        for (index, tenant) in self.topology.tenants().iter().enumerate() {
            let ix = TenantIx(u32::try_from(index).expect("tenants fit 32 bits"));
            let shard = ix.0 as usize % self.shards.len();
            set(&mut self.shards[shard], ix, held.remove(&tenant.id).unwrap_or_default());
        }
    }

    /// See [`Shard::pretend`].
    pub fn pretend(&mut self) {
        self.shards.iter_mut().for_each(Shard::pretend);
    }

    /// See [`Shard::mail_server`].
    #[must_use]
    pub fn mail_server(&self, tenant: TenantIx) -> Option<std::net::IpAddr> {
        self.shards.iter().find_map(|shard| shard.mail_server(tenant))
    }

    /// See [`Shard::forget_passing`].
    pub fn forget_passing(&mut self, tenant: TenantIx) {
        self.shards.iter_mut().for_each(|shard| shard.forget_passing(tenant));
    }

    /// See [`Shard::restart`].
    pub fn restart(&mut self, tenant: TenantIx) {
        self.shards.iter_mut().for_each(|shard| shard.restart(tenant));
    }

    /// See [`Shard::forget`].
    pub fn forget(&mut self, tenant: TenantIx) {
        self.shards.iter_mut().for_each(|shard| shard.forget(tenant));
    }

    /// Says whether the node has lost its way to the outside.
    pub fn set_cut_off(&mut self, is_cut_off: bool) {
        self.is_cut_off = is_cut_off;
        self.spread_degraded();
    }

    /// See [`Shard::set_blocklists`].
    pub fn set_blocklists(&mut self, blocklists: &Arc<Blocklists>) {
        self.shards.iter_mut().for_each(|shard| shard.set_blocklists(Arc::clone(blocklists)));
    }

    /// What every tenant has used, in the order of the tenants.
    #[must_use]
    pub fn usage(&self) -> Vec<Tally> {
        let all = (0..self.topology.tenants().len())
            .map(|index| TenantIx(u32::try_from(index).expect("tenants fit 32 bits")));
        all.flat_map(|ix| self.shards[ix.0 as usize % self.shards.len()].usage(ix)).collect()
    }

    /// Goes on from what was counted before, of those tenants who are here.
    pub fn restore_usage(&mut self, tallies: &[Tally]) {
        for tally in tallies {
            if let Some(ix) = self.topology.index_of(&tally.usage.tenant) {
                self.shards.iter_mut().for_each(|shard| shard.restore_usage(ix, tally));
            }
        }
    }

    /// See [`Shard::set_hearing`].
    pub fn set_hearing(&mut self, hearing: Hearing) {
        self.shards.iter_mut().for_each(|shard| shard.set_hearing(hearing));
    }

    /// See [`Shard::take_said`].
    pub fn take_said(&mut self) -> Vec<StreamEvent> {
        self.shards.iter_mut().flat_map(Shard::take_said).collect()
    }

    /// See [`Shard::handle_said`].
    pub fn handle_said(&mut self, said: &[StreamEvent], at: Timestamp) {
        self.shards.iter_mut().for_each(|shard| shard.handle_said(said.to_vec(), at));
        self.gather();
    }

    /// See [`Shard::handle_loss`].
    pub fn handle_loss(&mut self, at: Timestamp, vantage: VantageId, dropped: u64) {
        self.shards.iter_mut().for_each(|shard| shard.handle_loss(at, vantage, dropped));
    }

    /// See [`Shard::handle_frame`].
    pub fn handle_frame(&mut self, frame: &Frame<'_>) {
        self.shards.iter_mut().for_each(|shard| shard.handle_frame(frame));
        self.gather();
    }

    /// See [`Shard::next_deadline`].
    #[inline]
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.shards.iter().filter_map(Shard::next_deadline).min()
    }

    /// See [`Shard::handle_timeout`].
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.shards.iter_mut().for_each(|shard| shard.handle_timeout(now));
        self.gather();
    }

    /// Whether there are alerts to take.
    #[inline]
    #[must_use]
    pub fn has_alerts(&self) -> bool {
        !self.alerts.is_empty()
    }

    /// The alerts since this was last asked, in their order.
    pub fn take_alerts(&mut self) -> Vec<Alert> {
        std::mem::take(&mut self.alerts)
    }

    /// Puts together what the shards have to tell of one moment. Of most frames they have nothing to tell.
    #[inline]
    fn gather(&mut self) {
        if self.shards.iter().any(Shard::has_something_to_tell) {
            self.put_together();
        }
    }

    fn put_together(&mut self) {
        let from = self.alerts.len();
        let was_degraded = self.is_degraded();
        let mut outcomes = std::mem::take(&mut self.outcomes);
        for shard in &mut self.shards {
            self.alerts.extend(shard.take_alerts());
            outcomes.extend(shard.take_outcomes());
        }
        if self.alerts.len() > from + 1 {
            let topology = &self.topology;
            self.alerts[from..].sort_by_key(|alert| topology.index_of(&alert.tenant));
        }
        outcomes.sort_by_key(|(tenant, ..)| *tenant);
        for (tenant, outcome, is_friend, at) in outcomes.drain(..) {
            self.outage.observe(tenant.0 as usize, (outcome, is_friend), at);
        }
        self.outcomes = outcomes;
        if self.is_degraded() != was_degraded {
            self.spread_degraded();
        }
    }

    fn spread_degraded(&mut self) {
        let is_degraded = self.is_degraded();
        self.shards.iter_mut().for_each(|shard| shard.set_degraded(is_degraded));
    }
}

/// Each tenant's numbers, and what of its exemptions is counted apart.
fn allot(numbers: &mut Numbers, policy: &Policy, topology: &Topology) -> Allotment {
    let by_tenant = topology.tenants().iter().map(|tenant| numbers.of(tenant)).collect();
    let excuses = topology.tenants().iter().map(|tenant| Excuses::of(policy, tenant).map(Arc::new)).collect();
    Allotment { common: Arc::clone(numbers.common()), by_tenant, excuses, protected: numbers.protected() }
}
