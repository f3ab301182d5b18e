//! The sensor's part in exemptions: who may do so until when is told before it ends, while there is time for another letter.
//!
//! Nodes that have their tenants from a controller each have all of them, and each says it: the controller keeps the first.

use std::collections::BTreeSet;

use reeve_policy::{NodeEventKind, TenantId, Timestamp};

use super::Sensor;

/// Exemptions of which was told that they end soon, or have ended: whose, by which reference, when, and whether they have.
#[derive(Debug, Default)]
pub(super) struct Ending(BTreeSet<(TenantId, String, Timestamp, bool)>);

impl Sensor {
    /// Tells which exemptions end within a week, and which have ended.
    pub(super) fn look_at_exemptions(&mut self) {
        let now = self.clock.now();
        let mut all = BTreeSet::new();
        let mut told = Vec::new();
        for tenant in &self.tenants {
            for exemption in &tenant.exemptions {
                let Some(until) = exemption.until else { continue };
                let is_over = exemption.is_over(now);
                if !is_over && !exemption.ends_soon(now) {
                    continue;
                }
                let key = (tenant.id.clone(), exemption.reference.clone(), until, is_over);
                if !self.ending.0.contains(&key) {
                    let word = if is_over { "has ended" } else { "ends soon" };
                    told.push(format!("an exemption of {} {word}: {exemption}", tenant.id));
                }
                all.insert(key);
            }
        }
        self.ending.0 = all;
        for detail in told {
            tracing::warn!("{detail}");
            self.tell_apart(now, NodeEventKind::ExemptionEnds, &detail);
        }
    }
}
