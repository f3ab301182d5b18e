//! Alerts, made of what the detectors find.

use reeve_policy::{Alert, Class, Loss, Window};

use super::Shard;
use crate::detect::{Finding, leave_what_bears_out};
use crate::flow::{FlowEvent, Held};
use crate::topology::TenantIx;

/// A flood towards what a measure stops goes on in spite of it from so many times its number on.
const HELD_FACTOR: f64 = 4.0;

impl Shard {
    /// Whether an event is the tenant's peers forgetting connections while a measure held it.
    pub(super) fn is_pardoned(&self, event: &FlowEvent) -> bool {
        match event {
            FlowEvent::Probe { tenant, opened, kind, .. } if kind.is_weak() => {
                self.tenants.get(tenant.0 as usize).is_some_and(|state| *opened < state.pardoned_until)
            }
            _ => false,
        }
    }

    /// Whether a finding tells no more than that a tenant goes on towards what a measure stops: then it is told, and leads to nothing
    /// further. Nobody suffers from it, and of the absence of answers the measure is the cause. Only a flood that is several times as fast as a
    /// flood need be goes on in spite of the measure, rather than being tried again.
    fn is_held(&self, tenant: TenantIx, finding: &Finding) -> bool {
        let state = &self.tenants[tenant.0 as usize];
        let in_force = if self.pretends { &state.pretended } else { &state.restrictions };
        if in_force.is_empty() {
            return false;
        }
        let targets = &finding.targets;
        let is_aimed =
            !targets.is_empty() && targets.iter().all(|seen| in_force.held(&seen.target) == Held::Blocked);
        match finding.class.family() {
            // That it goes on reaches nobody, however much it is: whoever is to be held harder is when it happens again.
            _ if finding.class == Class::SpoofSource => in_force.hold_forged(),
            // Forged sources, claims and packets that crash are abuse whoever they reach; what was used up is.
            "spoof" | "crash" | "quota" => false,
            "flood" if !in_force.is_total() => is_aimed && !is_several_times(finding),
            "flood" => self.pretends,
            // Live, the flow stage has seen to it.
            _ => self.pretends && (is_aimed || in_force.is_total()),
        }
    }

    /// Makes alerts of the findings about `tenant`.
    #[inline]
    pub(super) fn raise(&mut self, tenant: TenantIx) {
        if !self.findings.is_empty() || !self.apart_findings.is_empty() {
            self.believe(tenant);
            self.make_alerts(tenant);
        }
    }

    #[inline(never)]
    fn make_alerts(&mut self, tenant: TenantIx) {
        let mut findings = std::mem::take(&mut self.findings);
        for mut finding in findings.drain(..) {
            leave_what_bears_out(&mut finding);
            finding.is_suspicion |= self.is_held(tenant, &finding);
            let alert = self.alert(tenant, finding);
            self.alerts.push(alert);
        }
        self.findings = findings;
    }

    pub(super) fn alert(&mut self, tenant: TenantIx, finding: Finding) -> Alert {
        let loss = self.loss_of(tenant, &Window { start: finding.start, end: finding.at });
        let window = Window { start: finding.start, end: finding.at };
        let topology = &self.topology;
        let is_foreign = |source| topology.is_foreign(tenant, source);
        let samples = self.tenants[tenant.0 as usize]
            .detectors
            .as_ref()
            // A month's traffic is in no few packets.
            .filter(|_| finding.class != Class::Quota)
            .map(|detectors| detectors.samples().about(finding.class, &finding.targets, is_foreign));
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

/// Whether the number that a flood is told by is [`HELD_FACTOR`] times its threshold.
fn is_several_times(finding: &Finding) -> bool {
    finding.metrics.first().is_some_and(|metric| {
        metric.threshold.is_some_and(|threshold| metric.value >= threshold * HELD_FACTOR)
    })
}
