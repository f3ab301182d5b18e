//! Tenants on the node itself: which number stands for which of them where the kernel tells by whose process a packet was sent.
//!
//! The kernel knows users and control groups, and a map in our table makes one number of them, which a packet bears while it is
//! looked at ([`Owner`]). A number is made of the tenant's key alone, so that it means the same before and after others come and
//! go, and in a replay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reeve_policy::{NodeId, Tenant, TenantId};

use crate::frame::Owner;

/// The numbers of those tenants that have processes on `node`. The order of `tenants` does not matter.
#[must_use]
pub fn owners(node: &NodeId, tenants: &[Arc<Tenant>]) -> BTreeMap<TenantId, Owner> {
    let here: BTreeSet<&TenantId> =
        tenants.iter().filter(|tenant| tenant.is_local_on(node)).map(|tenant| &tenant.id).collect();
    let (mut owners, mut taken) = (BTreeMap::new(), BTreeSet::from([0, Owner::MAILER.0]));
    for id in here {
        let mut number = hash(id.as_str());
        while !taken.insert(number) {
            number = number.wrapping_add(1);
        }
        owners.insert(id.clone(), Owner(number));
    }
    owners
}

/// FNV-1a with 32 bits: what is made of a name is to stay the same over versions of this program.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_tenants_whoever_else_is_there() {
        let node: NodeId = "n1".parse().unwrap();
        let tenant = |id: &str, user: &str| {
            let uids = vec![user.parse().unwrap()];
            Arc::new(Tenant { uids, ..Tenant::new(id.parse().unwrap()) })
        };
        let (a, b) = (tenant("a", "1001"), tenant("b", "n1:1002"));
        let (elsewhere, addressed) = (tenant("c", "n2:1003"), Arc::new(Tenant::new("d".parse().unwrap())));
        let all = owners(&node, &[Arc::clone(&b), elsewhere, addressed, Arc::clone(&a)]);
        assert_eq!(all.len(), 2);
        let alone = owners(&node, &[a]);
        let id: TenantId = "a".parse().unwrap();
        assert_eq!(all[&id], alone[&id]);
        assert_ne!(all[&id], all[&"b".parse().unwrap()]);
        assert!(all.values().all(|owner| owner.0 > Owner::MAILER.0));
    }
}
