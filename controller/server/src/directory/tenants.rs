//! Every tenant, and whose an address or interface is.
//!
//! A newer version shares with the older one all that did not change, so that an import of one tenant costs one tenant, whatever the
//! number of others; and it remembers what the last few versions changed, so that nodes that have one of them are told the difference.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use reeve_policy::{InterfaceSelector, NodeId, Tenant, TenantId};

use super::Map;
use super::prefix::PrefixMap;

/// How many versions back it is remembered what changed.
const VERSIONS_KEPT: usize = 64;
/// The most tenants of whom it is remembered that a version changed them; a version that changed more is told whole.
const CHANGES_KEPT: usize = 4_096;

/// Every tenant, and whose an address or interface is.
#[derive(Clone, Debug, Default)]
pub struct Tenants {
    version: u64,
    by_id: Map<TenantId, Arc<Tenant>>,
    in_order: imbl::OrdMap<TenantId, Arc<Tenant>>,
    by_prefix: PrefixMap<Arc<Tenant>>,
    by_interface: Map<InterfaceSelector, Arc<Tenant>>,
    /// Those that are placed on nodes, by node.
    by_node: Map<NodeId, imbl::OrdSet<TenantId>>,
    /// What the last versions changed, oldest first: the version before, and whom it changed, added or removed.
    changes: VecDeque<Arc<Change>>,
}

#[derive(Debug)]
struct Change {
    from: u64,
    whom: BTreeSet<TenantId>,
}

impl Tenants {
    /// The tenants of `version`.
    #[must_use]
    pub fn new(version: u64, tenants: impl IntoIterator<Item = Tenant>) -> Self {
        let mut made = Self { version, ..Self::default() };
        tenants.into_iter().for_each(|tenant| made.insert(tenant));
        made
    }

    /// The tenants of a later `version`, in which some are new or others than before and some are gone. All of them together
    /// are disjoint (`reeve_policy::language::check_tenants`).
    #[must_use]
    pub fn with(&self, version: u64, changed: Vec<Tenant>, removed: &[TenantId]) -> Self {
        let mut made = self.clone();
        made.version = version;
        let whom: BTreeSet<TenantId> =
            changed.iter().map(|tenant| &tenant.id).chain(removed).cloned().collect();
        // First everything that is gone: an address may go from one to another.
        whom.iter().for_each(|id| made.remove(id));
        changed.into_iter().for_each(|tenant| made.insert(tenant));
        if whom.len() > CHANGES_KEPT {
            made.changes.clear();
        } else {
            made.changes.push_back(Arc::new(Change { from: self.version, whom }));
            while made.changes.len() > VERSIONS_KEPT {
                made.changes.pop_front();
            }
        }
        made
    }

    /// The tenants of a later `version`, of which these are all. What is the same stays the same in memory.
    #[must_use]
    pub fn becoming(&self, version: u64, all: Vec<Tenant>) -> Self {
        if self.version == 0 {
            return Self::new(version, all);
        }
        let ids: BTreeSet<&TenantId> = all.iter().map(|tenant| &tenant.id).collect();
        let removed: Vec<TenantId> = self.in_order.keys().filter(|id| !ids.contains(id)).cloned().collect();
        let is_other = |tenant: &Tenant| self.by_id(&tenant.id).is_none_or(|known| **known != *tenant);
        self.with(version, all.into_iter().filter(is_other).collect(), &removed)
    }

    fn insert(&mut self, tenant: Tenant) {
        let tenant = Arc::new(tenant);
        for prefix in &tenant.addresses {
            self.by_prefix.insert(*prefix, Arc::clone(&tenant));
        }
        for interface in &tenant.interfaces {
            self.by_interface.insert(interface.clone(), Arc::clone(&tenant));
        }
        for node in tenant.nodes().into_iter().flatten() {
            match self.by_node.get_mut(node) {
                Some(there) => _ = there.insert(tenant.id.clone()),
                None => _ = self.by_node.insert(node.clone(), imbl::OrdSet::unit(tenant.id.clone())),
            }
        }
        self.by_id.insert(tenant.id.clone(), Arc::clone(&tenant));
        self.in_order.insert(tenant.id.clone(), tenant);
    }

    fn remove(&mut self, id: &TenantId) {
        self.in_order.remove(id);
        let Some(tenant) = self.by_id.remove(id) else { return };
        for prefix in &tenant.addresses {
            self.by_prefix.remove(*prefix, |owner| owner.id == *id);
        }
        for interface in &tenant.interfaces {
            if self.by_interface.get(interface).is_some_and(|owner| owner.id == *id) {
                self.by_interface.remove(interface);
            }
        }
        for node in tenant.nodes().into_iter().flatten() {
            let is_deserted = self.by_node.get_mut(node).is_some_and(|there| {
                there.remove(id);
                there.is_empty()
            });
            if is_deserted {
                self.by_node.remove(node);
            }
        }
    }

    /// The version, as agents get it; 0 before the first import.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Whose this key is.
    #[must_use]
    pub fn by_id(&self, id: &TenantId) -> Option<&Arc<Tenant>> {
        self.by_id.get(id)
    }

    /// Whose this address is: the longest prefix that holds it decides.
    #[must_use]
    pub fn by_address(&self, address: IpAddr) -> Option<&Arc<Tenant>> {
        self.by_prefix.longest_match(address)
    }

    /// All who have a prefix that holds this address, by its length; the longest decides.
    pub fn holding(&self, address: IpAddr) -> impl Iterator<Item = (u8, &Arc<Tenant>)> {
        self.by_prefix.matches(address)
    }

    /// Whose this interface is.
    #[must_use]
    pub fn by_interface(&self, interface: &InterfaceSelector) -> Option<&Arc<Tenant>> {
        self.by_interface.get(interface)
    }

    /// Those that are placed on a node, by key; not those that may be anywhere.
    pub fn placed_on(&self, node: &NodeId) -> impl Iterator<Item = &Arc<Tenant>> {
        self.by_node.get(node).into_iter().flatten().filter_map(|id| self.by_id(id))
    }

    /// All of them by key.
    #[must_use]
    pub const fn all(&self) -> &imbl::OrdMap<TenantId, Arc<Tenant>> {
        &self.in_order
    }

    /// Whom the versions after `version` changed, added or removed; `None` where that is too long ago to know.
    #[must_use]
    pub fn changed_since(&self, version: u64) -> Option<BTreeSet<&TenantId>> {
        if version == self.version {
            return Some(BTreeSet::new());
        }
        let first = self.changes.iter().position(|change| change.from == version)?;
        Some(self.changes.range(first..).flat_map(|change| &change.whom).collect())
    }

    /// Whether a tenant or one of those it belongs to is among `changed`: then what it reads of itself may have other words.
    #[must_use]
    pub fn is_concerned(&self, id: &TenantId, changed: &BTreeSet<TenantId>) -> bool {
        // Circles are no inventory's, but what is not checked here does not hang here either.
        const GENERATIONS: usize = 16;
        let mut next = Some(id);
        for _ in 0..GENERATIONS {
            let Some(id) = next else { return false };
            if changed.contains(id) {
                return true;
            }
            next = self.by_id(id).and_then(|tenant| tenant.parent.as_ref());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str, addresses: &[&str], interfaces: &[&str]) -> Tenant {
        Tenant {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            interfaces: interfaces.iter().map(|text| text.parse().unwrap()).collect(),
            ..Tenant::new(id.parse().unwrap())
        }
    }

    fn owner(tenants: &Tenants, address: &str) -> Option<String> {
        tenants.by_address(address.parse().unwrap()).map(|tenant| tenant.id.to_string())
    }

    #[test]
    fn a_change_is_the_same_as_making_all_anew() {
        let all = [
            tenant("a", &["192.0.2.0/25"], &["n1/tap0"]),
            tenant("b", &["192.0.2.128/25", "2001:db8:b::/48"], &["n1/tap1"]),
            tenant("c", &["198.51.100.7/32"], &[]),
        ];
        let before = Tenants::new(1, all);
        // An address and a port go from one to another, one is gone, one is new.
        let changed = vec![
            tenant("a", &["192.0.2.0/25", "192.0.2.128/25"], &["n1/tap1"]),
            tenant("b", &["2001:db8:b::/48"], &["n2/tap0"]),
            tenant("d", &["203.0.113.0/24"], &[]),
        ];
        let after = before.with(2, changed.clone(), &["c".parse().unwrap()]);
        let anew = Tenants::new(2, changed);
        for address in
            ["192.0.2.1", "192.0.2.200", "2001:db8:b::1", "198.51.100.7", "203.0.113.9", "10.0.0.1"]
        {
            assert_eq!(owner(&after, address), owner(&anew, address), "{address}");
        }
        for interface in ["n1/tap0", "n1/tap1", "n2/tap0"] {
            let interface = interface.parse().unwrap();
            assert_eq!(after.by_interface(&interface), anew.by_interface(&interface), "{interface}");
        }
        assert_eq!(after.all(), anew.all());
        for (node, there) in [("n1", vec!["a"]), ("n2", vec!["b"]), ("n3", vec![])] {
            let on = |tenants: &Tenants| -> Vec<String> {
                tenants.placed_on(&node.parse().unwrap()).map(|tenant| tenant.id.to_string()).collect()
            };
            assert_eq!(
                (on(&after), on(&anew)),
                (there.iter().map(ToString::to_string).collect(), on(&anew)),
                "{node}"
            );
        }
        assert_eq!((after.len(), after.version()), (3, 2));
        let same = before.becoming(2, anew.all().values().map(|tenant| Tenant::clone(tenant)).collect());
        assert_eq!((same.all(), same.changed_since(1)), (after.all(), after.changed_since(1)));
        assert_eq!(owner(&same, "192.0.2.200"), owner(&anew, "192.0.2.200"));
        // What is looked at stays as it is.
        assert_eq!(owner(&before, "192.0.2.200").as_deref(), Some("b"));
        assert_eq!(owner(&before, "198.51.100.7").as_deref(), Some("c"));
    }

    #[test]
    fn what_changed_is_remembered_for_a_while() {
        let mut tenants = Tenants::new(1, [tenant("a", &[], &[]), tenant("b", &[], &[])]);
        tenants = tenants.with(2, vec![tenant("a", &["192.0.2.1/32"], &[])], &[]);
        tenants = tenants.with(5, vec![], &["b".parse().unwrap()]);
        let since = |version| {
            tenants.changed_since(version).map(|all| all.iter().map(|id| id.as_str()).collect::<Vec<_>>())
        };
        assert_eq!(since(1), Some(vec!["a", "b"]));
        assert_eq!(since(2), Some(vec!["b"]));
        assert_eq!(since(5), Some(vec![]));
        assert_eq!((since(0), since(3), since(6)), (None, None, None));
        for version in 6..6 + VERSIONS_KEPT as u64 {
            tenants = tenants.with(version, vec![tenant("a", &[], &[])], &[]);
        }
        assert!(tenants.changed_since(2).is_none() && tenants.changed_since(5).is_some());
        let many = (0..=CHANGES_KEPT).map(|number| tenant(&format!("t{number}"), &[], &[]));
        assert!(tenants.with(1_000, many.collect(), &[]).changed_since(tenants.version()).is_none());
    }

    #[test]
    fn a_change_of_whom_it_belongs_to_concerns_a_tenant() {
        let child = Tenant { parent: Some("reseller".parse().unwrap()), ..tenant("child", &[], &[]) };
        let tenants = Tenants::new(1, [tenant("reseller", &[], &[]), child, tenant("other", &[], &[])]);
        let changed = BTreeSet::from(["reseller".parse().unwrap()]);
        let is = |id: &str| tenants.is_concerned(&id.parse().unwrap(), &changed);
        assert!(is("reseller") && is("child") && !is("other"));
    }
}
