//! Resellers: what their customers do again and again is told to whoever is above them.
//!
//! A violation is answered on whoever commits it, be it a reseller's customer: that is the smallest scope that stops it. A rule may say from how many
//! strikes, of how many of a reseller's customers, it is held against the reseller as well ([`Escalation`]). That opens an episode of the reseller's own, with a
//! strike and a ladder of its own, whose measures hold the reseller's addresses. **Its other customers are never held for it**: they did nothing,
//! and what the customer does is stopped already. To close down all of a reseller's customers takes a person.
//!
//! What stands on record of it has the rule's key with `.parent` behind it, so that what the reseller does itself is another matter.
//!
//! One level: a reseller's own parent hears nothing of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Judge, Occupancy};
use crate::alert::{Alert, Metric};
use crate::language::Rule;
use crate::language::conditions::Escalation;
use crate::tenant::{Name, Tenant, TenantId};

/// Who is above whom.
#[derive(Debug, Default)]
pub(super) struct Families {
    by_parent: BTreeMap<TenantId, Family>,
}

#[derive(Debug)]
struct Family {
    parent: Arc<Tenant>,
    children: Vec<TenantId>,
}

/// Something that is to be held against a reseller, for what its customers did.
#[derive(Clone, Debug, PartialEq)]
pub struct Escalated {
    /// What: of the customer's alert, with the numbers of strikes and customers.
    pub alert: Alert,
    rule: Name,
}

/// What stands on record against a reseller under a rule, for what its customers did.
fn key(rule: &Name) -> Option<Name> {
    format!("{rule}{}", Escalation::SUFFIX).parse().ok()
}

impl Judge {
    /// Takes note of who is above whom. Whoever is above somebody and is no tenant is nobody who can be answered.
    pub fn set_families<'t>(&mut self, tenants: impl Iterator<Item = &'t Arc<Tenant>> + Clone) {
        let by_id: BTreeMap<&TenantId, &Arc<Tenant>> =
            tenants.clone().map(|tenant| (&tenant.id, tenant)).collect();
        let mut by_parent: BTreeMap<TenantId, Family> = BTreeMap::new();
        for child in tenants {
            let parent = child.parent.as_ref().filter(|parent| **parent != child.id);
            let Some(parent) = parent.and_then(|parent| by_id.get(parent)) else { continue };
            let family = by_parent
                .entry(parent.id.clone())
                .or_insert_with(|| Family { parent: Arc::clone(parent), children: Vec::new() });
            family.children.push(child.id.clone());
        }
        self.families = Families { by_parent };
    }

    /// What is to be held against a reseller next. Whoever asks says how many are held by then.
    pub fn poll_escalated(&mut self) -> Option<Escalated> {
        self.escalated.pop_front()
    }

    /// Holds against a reseller what its customers did. `occupancy` is the reseller's.
    pub fn handle_escalated(&mut self, escalated: &Escalated, occupancy: Occupancy) {
        let policy = Arc::clone(&self.policy);
        let Some(rule) = policy.rules.iter().find(|rule| rule.id == escalated.rule) else { return };
        let (Some(parent), Some(id)) = (&rule.parent, key(&rule.id)) else { return };
        let Some(family) = self.families.by_parent.get(&escalated.alert.tenant) else { return };
        let tenant = Arc::clone(&family.parent);
        let rule = Rule {
            id,
            ladder: parent.ladder.clone(),
            severe: None,
            repeat: None,
            known_offender: None,
            parent: None,
            ..rule.clone()
        };
        self.hold_by(&policy, &rule, &escalated.alert, &tenant, occupancy);
    }

    /// Takes note of a strike of a tenant's; if it is one too many of a reseller's customers, it is held against the reseller.
    pub(super) fn escalate(&mut self, rule: &Rule, alert: &Alert, tenant: &Tenant) {
        let (Some(escalation), Some(parent)) = (&rule.parent, &tenant.parent) else { return };
        let Some(family) = self.families.by_parent.get(parent) else { return };
        let since = alert.at.minus(escalation.within);
        let strikes = family.children.iter().map(|child| {
            let record = self.standing.records.get(child).and_then(|rules| rules.get(&rule.id));
            record.map_or(0, |record| record.counted().iter().filter(|strike| **strike >= since).count())
        });
        let (mut all, mut children) = (0_u32, 0_u32);
        for strikes in strikes.filter(|strikes| *strikes > 0) {
            all = all.saturating_add(u32::try_from(strikes).unwrap_or(u32::MAX));
            children += 1;
        }
        if all < escalation.violations || children < escalation.children {
            return;
        }
        let metric = |name: &'static str, value: u32, threshold: u32| Metric {
            name: name.into(),
            value: value.into(),
            threshold: Some(threshold.into()),
        };
        let mut alert = alert.clone();
        alert.tenant = parent.clone();
        alert.samples.clear();
        alert.metrics = vec![
            metric(Escalation::COUNTED, all, escalation.violations),
            metric("customers", children, escalation.children),
        ];
        self.escalated.push_back(Escalated { alert, rule: rule.id.clone() });
    }
}
