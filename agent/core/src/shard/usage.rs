//! What tenants send and receive in a month ([`crate::detect::quota`]).

use reeve_policy::Timestamp;

use super::Shard;
use crate::detect::quota::{Tally, Way};
use crate::frame::Frame;
use crate::topology::TenantIx;

impl Shard {
    /// What a tenant has used this month, and in the last one before in which it used any.
    pub fn usage(&self, tenant: TenantIx) -> impl Iterator<Item = Tally> + '_ {
        let id = &self.topology.tenant(tenant).id;
        self.tenants.get(tenant.0 as usize).into_iter().flat_map(|state| state.usage.tallies(id))
    }

    /// Goes on from what was counted of a tenant before.
    pub fn restore_usage(&mut self, tenant: TenantIx, tally: &Tally) {
        if let Some(state) = self.tenants.get_mut(tenant.0 as usize).filter(|_| self.part.owns(tenant)) {
            state.usage.restore(tally);
        }
    }

    /// Says what each tenant's plan includes: its own quota goes before the policy's.
    pub(super) fn set_quotas(&mut self) {
        for (state, tenant) in self.tenants.iter_mut().zip(self.topology.tenants()) {
            let limit = tenant.quota_bytes.unwrap_or(state.numbers.quota.bytes_per_month);
            state.usage.set_limit(limit);
        }
    }

    /// Counts a frame that stands for `weight` of its kind for those whom it concerns. What is from or for a suspended tenant
    /// reaches nobody, and is not put to its account.
    pub(super) fn use_up(
        &mut self,
        whom: [(Option<TenantIx>, Way); 2],
        frame: &Frame<'_>,
        weight: u32,
        at: Timestamp,
    ) {
        // A record holds the greater of the two, and its frames are cut.
        let len = frame.wire_len.max(u32::try_from(frame.data.len()).unwrap_or(u32::MAX));
        let bytes = u64::from(len) * u64::from(weight);
        for (tenant, way) in whom.into_iter().filter_map(|(tenant, way)| Some((tenant?, way))) {
            let state = &mut self.tenants[tenant.0 as usize];
            if state.restrictions.is_total() {
                continue;
            }
            if let Some(finding) = state.usage.count(way, bytes, at) {
                self.findings.push(finding);
                self.raise(tenant);
            }
        }
    }
}
