//! Operators' decisions about tenants: carried out as they are, or refused with the reason.

use reeve_core::engine::Input;
use reeve_policy::language::Policy;
use reeve_policy::{Decision, Mode, OrderFailure, OrderId, Scope, Tenant, Timestamp};

use super::{Sensor, behind, engine_time};

impl Sensor {
    /// Carries out an operator's decision, or answers why not.
    pub(super) fn impose(&mut self, id: OrderId, decision: Box<Decision>, now: Timestamp) {
        if let Some(failure) = self.refusal(&decision) {
            return self.refuse(id, &decision.tenant, failure, now);
        }
        tracing::info!(
            tenant = %decision.tenant, violation = behind(&decision), order = %id, action = %decision.action,
            "an operator's order"
        );
        self.core.handle(Input::Impose { decision, at: engine_time(now) });
        self.awaiting.push(id);
        self.changed = true;
    }

    /// Why an operator's decision is not carried out here, if it is not.
    fn refusal(&self, decision: &Decision) -> Option<OrderFailure> {
        let topology = self.engine().topology();
        let Some(ix) = topology.index_of(&decision.tenant) else {
            return Some(OrderFailure::UnknownTenant);
        };
        judge(&self.loaded.policy, self.loaded.settings.mode, topology.tenant(ix), &decision.scope)
    }
}

/// Why nothing is done to a tenant by a node in a mode, or not to all of a scope. A part of an order would leave the operator, and
/// whoever is told of it, with another measure than was ordered.
fn judge(policy: &Policy, node: Mode, tenant: &Tenant, scope: &Scope) -> Option<OrderFailure> {
    if node == Mode::Observe {
        return Some(OrderFailure::ObserveOnly);
    }
    if tenant.mode == Some(Mode::Observe) {
        return Some(OrderFailure::TenantObserved);
    }
    if policy.protects(tenant) {
        return Some(OrderFailure::Protected);
    }
    let spared = policy.spare(scope.clone());
    if spared.taken.is_empty() {
        return None;
    }
    let rest =
        if spared.is_empty() { "" } else { "; nothing was done to the others: order it for them alone" };
    Some(OrderFailure::ProtectedDestinations { detail: format!("{}{rest}", spared.told()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(policy: &Policy, node: Mode, tenant: &Tenant, destinations: &[&str]) -> String {
        let scope = if destinations.is_empty() {
            Scope::All
        } else {
            let addresses = destinations.iter().map(|address| address.parse().unwrap()).collect();
            Scope::Destinations { addresses }
        };
        judge(policy, node, tenant, &scope).map_or_else(String::new, |failure| failure.to_string())
    }

    #[test]
    fn who_observes_and_what_is_protected_is_told_apart() {
        let mut policy = Policy::preset("baseline").unwrap();
        policy.protected_destinations = vec!["198.51.100.53/32".parse().unwrap()];
        policy.own_addresses = vec!["203.0.113.1/32".parse().unwrap(), "2001:db8::1/128".parse().unwrap()];
        let mut tenant = Tenant::new("a".parse().unwrap());
        tenant.addresses = vec!["203.0.113.10/32".parse().unwrap()];
        for (destinations, expected) in [
            (&[][..], ""),
            (&["192.0.2.7", "2001:db8::7"], ""),
            (&["203.0.113.1"], "203.0.113.1 is protected"),
            (&["2001:db8::1"], "2001:db8::1 is protected"),
            (&["127.0.0.1"], "127.0.0.1 is protected"),
            (&["198.51.100.53", "203.0.113.1"], "198.51.100.53, 203.0.113.1 are protected"),
            (
                &["192.0.2.7", "203.0.113.1"],
                "203.0.113.1 is protected; nothing was done to the others: order it for them alone",
            ),
        ] {
            assert_eq!(told(&policy, Mode::Enforce, &tenant, destinations), expected, "{destinations:?}");
        }
        assert_eq!(told(&policy, Mode::Observe, &tenant, &["203.0.113.1"]), "the node only observes");
        tenant.mode = Some(Mode::Observe);
        assert_eq!(told(&policy, Mode::Observe, &tenant, &[]), "the node only observes");
        assert_eq!(told(&policy, Mode::Enforce, &tenant, &[]), "the tenant is only observed");
        tenant.mode = None;
        policy.protected_sources.insert(tenant.id.clone());
        assert_eq!(told(&policy, Mode::Enforce, &tenant, &[]), "the tenant is protected");
    }
}
