//! Alerts, made of what the detectors find.

use reeve_policy::{Alert, Class, Loss, Window};

use super::Shard;
use crate::detect::Finding;
use crate::flow::{FlowEvent, ProbeKind};
use crate::topology::TenantIx;

impl Shard {
    /// Whether an event is the tenant's peers forgetting connections while a measure held it.
    pub(super) fn is_pardoned(&self, event: &FlowEvent) -> bool {
        match event {
            FlowEvent::Probe { tenant, opened, kind: ProbeKind::Ack | ProbeKind::Maimon, .. } => {
                self.tenants.get(tenant.0 as usize).is_some_and(|state| *opened < state.pardoned_until)
            }
            _ => false,
        }
    }

    /// Makes alerts of the findings about `tenant`.
    pub(super) fn raise(&mut self, tenant: TenantIx) {
        if self.findings.is_empty() {
            return;
        }
        let mut findings = std::mem::take(&mut self.findings);
        for finding in findings.drain(..) {
            let alert = self.alert(tenant, finding);
            self.alerts.push(alert);
        }
        self.findings = findings;
    }

    pub(super) fn alert(&mut self, tenant: TenantIx, finding: Finding) -> Alert {
        let loss = self.loss_of(tenant, &Window { start: finding.start, end: finding.at });
        let window = Window { start: finding.start, end: finding.at };
        let topology = &self.topology;
        let is_own = |source| topology.by_address(source) == Some(tenant);
        let samples = self.tenants[tenant.0 as usize]
            .detectors
            .as_ref()
            // A month's traffic is in no few packets.
            .filter(|_| finding.class != Class::Quota)
            .map(|detectors| detectors.samples().about(finding.class, &finding.targets, is_own));
        Alert {
            class: finding.class,
            tenant: self.topology.tenant(tenant).id.clone(),
            at: finding.at,
            window,
            metrics: finding.metrics,
            confidence_percent: finding.confidence_percent,
            targets: finding.targets,
            samples: samples.unwrap_or_default(),
            loss,
            is_suspicion: finding.is_suspicion,
        }
    }

    /// What the capture lost where a tenant is seen: others' floods are not held for what is known of this one.
    pub(super) fn loss_of(&mut self, tenant: TenantIx, window: &Window) -> Loss {
        let mut sum = Loss::default();
        for vantage in self.topology.vantages() {
            if !self.topology.sees(vantage, tenant) {
                continue;
            }
            let Some(loss) = self.losses.get_mut(usize::from(vantage.id.0)) else { continue };
            loss.enter();
            let one = loss.meter.over(window);
            sum.received = sum.received.saturating_add(one.received);
            sum.dropped = sum.dropped.saturating_add(one.dropped);
        }
        sum
    }
}
