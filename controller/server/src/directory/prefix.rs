//! Longest prefix match.
//!
//! One hash map for each prefix length in use, asked from the longest to the shortest: providers use few lengths,
//! so a look-up costs two or three probes whatever the number of tenants. Addresses are whole in the key; IPv4 and
//! IPv6 never meet.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

/// Prefixes and what they lead to.
#[derive(Debug)]
pub(super) struct PrefixMap<T> {
    v4: BTreeMap<u8, HashMap<IpNet, T>>,
    v6: BTreeMap<u8, HashMap<IpNet, T>>,
}

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        Self { v4: BTreeMap::new(), v6: BTreeMap::new() }
    }
}

impl<T> PrefixMap<T> {
    /// Lets `prefix` lead to `value`, in place of what it led to before. Bits past the prefix's length do not count.
    pub(super) fn insert(&mut self, prefix: IpNet, value: T) {
        let family = if prefix.addr().is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        family.entry(prefix.prefix_len()).or_default().insert(prefix.trunc(), value);
    }

    /// What the longest prefix that holds `address` leads to. An IPv4 address written as IPv6 counts as IPv4.
    pub(super) fn longest_match(&self, address: IpAddr) -> Option<&T> {
        let address = address.to_canonical();
        let family = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        family.iter().rev().find_map(|(length, prefixes)| {
            let prefix = IpNet::new(address, *length).ok()?.trunc();
            prefixes.get(&prefix)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(prefixes: &[(&str, u32)], address: &str, expected: Option<u32>) {
        let mut map = PrefixMap::default();
        for (prefix, value) in prefixes {
            map.insert(prefix.parse().unwrap(), *value);
        }
        assert_eq!(map.longest_match(address.parse().unwrap()).copied(), expected, "{address}");
    }

    #[test]
    fn the_longest_prefix_decides() {
        let nested =
            [("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("10.1.2.3/32", 3), ("2001:db8::/32", 4), ("::/0", 5)];
        check(&nested, "10.9.9.9", Some(1));
        check(&nested, "10.1.9.9", Some(2));
        check(&nested, "10.1.2.3", Some(3));
        check(&nested, "11.0.0.1", None);
        check(&nested, "2001:db8:ffff::1", Some(4));
        check(&nested, "2001:db9::", Some(5));
        check(&nested, "::ffff:10.1.2.3", Some(3));
        check(&[("192.0.2.77/24", 1)], "192.0.2.1", Some(1));
        check(&[], "192.0.2.1", None);
    }
}
