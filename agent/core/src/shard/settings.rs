//! What a shard is told from outside: who the tenants are, their numbers, and what measures hold back.

use std::sync::Arc;

use reeve_policy::{Tenant, Timestamp};

use super::apart::Apart;
use super::counters::VantageLoss;
use super::part::Allotment;
use super::{Shard, TenantState};
use crate::detect::{Detectors, Home, horizontal};
use crate::flow::guard::OneWayGuard;
use crate::flow::{MIDSTREAM_GRACE, Restrictions};
use crate::interest::Interest;
use crate::stream::smtp::{OwnDomains, Senders};
use crate::topology::{TenantIx, Topology};

impl Shard {
    /// Goes on with another topology. A tenant that keeps its index keeps its state; one whose id at an index is new
    /// starts afresh.
    pub fn set_topology(&mut self, topology: Arc<Topology>, allotment: &Allotment, now: Timestamp) {
        for (index, tenant) in topology.tenants().iter().enumerate() {
            let ix = TenantIx(u32::try_from(index).expect("tenants fit 32 bits"));
            let public = tenant.addresses.iter().any(|prefix| !horizontal::is_bogon(prefix.addr()));
            let home = if public { Home::Public } else { Home::Private };
            let known = self.topology.tenants().get(index).is_some_and(|before| before.id == tenant.id);
            match self.tenants.get_mut(index) {
                Some(state) if known => {
                    (state.home, state.numbers) = (home, allotment.of(index));
                    let before = &self.topology.tenants()[index].addresses;
                    state.identity.renumber(before, &tenant.addresses, now);
                }
                Some(state) => {
                    *state = TenantState::new(home, allotment.of(index));
                    self.active.retain(|&active| active != ix);
                    self.flows.forget(ix);
                    self.streams.forget(ix);
                }
                None => self.tenants.push(TenantState::new(home, allotment.of(index))),
            }
            self.set_excuses(index, allotment.excuses(index));
        }
        self.refresh_turn();
        self.flows.set_tenants(topology.tenants().len());
        let own =
            |tenant: &Arc<Tenant>| Arc::new(OwnDomains::new(&tenant.mail_domains, &tenant.relay_domains));
        self.streams.set_tenants(topology.tenants().iter().map(own).collect());
        self.post.set_tenants(vec![Arc::default()]);
        self.post.set_senders(Arc::new(Senders::of(&topology)));
        let vantages = topology.vantages().iter().map(|vantage| usize::from(vantage.id.0) + 1).max();
        self.one_way.resize(vantages.unwrap_or(0), OneWayGuard::default());
        self.losses.resize_with(vantages.unwrap_or(0), VantageLoss::default);
        self.topology = topology;
        self.set_quotas();
    }

    /// Goes on with other numbers.
    pub fn set_thresholds(&mut self, allotment: &Allotment) {
        let thresholds = Arc::clone(&allotment.common);
        if self.thresholds.endpoints != thresholds.endpoints {
            self.interest = Interest::of(1, &thresholds.endpoints);
            self.streams.set_endpoints(&thresholds.endpoints);
            for detectors in self.tenants.iter_mut().filter_map(|state| state.detectors.as_mut()) {
                detectors.forget_calls();
            }
            let apart = self.tenants.iter_mut().filter_map(|state| state.apart.as_mut());
            apart.for_each(|apart| apart.each(Detectors::forget_calls));
        }
        self.thresholds = thresholds;
        self.protected = Arc::clone(&allotment.protected);
        for (index, state) in self.tenants.iter_mut().enumerate() {
            state.numbers = allotment.of(index);
        }
        (0..self.tenants.len()).for_each(|index| self.set_excuses(index, allotment.excuses(index)));
        self.refresh_turn();
        self.set_quotas();
    }

    /// Says what measures hold back of a tenant's traffic from now on.
    pub fn set_restrictions(&mut self, tenant: TenantIx, restrictions: Restrictions) {
        if !self.pretends {
            return self.set_held(tenant, restrictions);
        }
        if let Some(state) = self.tenants.get_mut(tenant.0 as usize) {
            restart_for(&restrictions, &state.pretended, (&mut state.detectors, &mut state.apart));
            state.pretended = restrictions;
        }
    }

    /// Says what is really held back, whether measures of one's own are only played or not.
    pub fn set_held(&mut self, tenant: TenantIx, restrictions: Restrictions) {
        if let Some(state) = self.tenants.get_mut(tenant.0 as usize) {
            if restrictions.is_empty() && !state.restrictions.is_empty() {
                state.pardoned_until = self.now + MIDSTREAM_GRACE;
            }
            restart_for(&restrictions, &state.restrictions, (&mut state.detectors, &mut state.apart));
            state.restrictions = restrictions;
        }
    }

    /// Measures are only played from now on: what is read is a capture, in which they held nothing back.
    pub fn pretend(&mut self) {
        self.pretends = true;
    }

    /// Forgets what mail a tenant passed on: its server was closed since.
    pub fn forget_passing(&mut self, tenant: TenantIx) {
        let state = self.tenants.get_mut(tenant.0 as usize);
        if let Some(detectors) = state.and_then(|state| state.detectors.as_mut()) {
            detectors.forget_passing();
        }
    }

    /// Begins to count anew what a tenant does, where it is counted for long.
    pub fn restart(&mut self, tenant: TenantIx) {
        if let Some(state) = self.tenants.get_mut(tenant.0 as usize) {
            restart((&mut state.detectors, &mut state.apart));
        }
    }

    /// Forgets what a tenant did; its measures stay known.
    pub fn forget(&mut self, tenant: TenantIx) {
        if let Some(state) = self.tenants.get_mut(tenant.0 as usize) {
            state.detectors = None;
            state.apart.iter_mut().for_each(|apart| apart.forget());
            self.active.retain(|&active| active != tenant);
            self.flows.forget(tenant);
            self.streams.forget(tenant);
        }
    }
}

/// What led to a measure is not to lead to the next one as well.
fn restart_for(
    now: &Restrictions,
    before: &Restrictions,
    all: (&mut Option<Box<Detectors>>, &mut Option<Box<Apart>>),
) {
    if !now.is_empty() && now != before {
        restart(all);
    }
}

fn restart((detectors, apart): (&mut Option<Box<Detectors>>, &mut Option<Box<Apart>>)) {
    if let Some(detectors) = detectors {
        detectors.restart();
        apart.iter_mut().for_each(|apart| apart.each(Detectors::restart));
    }
}
