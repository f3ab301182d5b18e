//! Longest prefix match.
//!
//! One hash map for each prefix length in use, asked from the longest to the shortest: providers use few lengths,
//! so a look-up costs two or three probes whatever the number of tenants. Addresses are whole in the key; IPv4 and
//! IPv6 never meet. A clone shares everything with its original, and a change to either costs what it changes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Map;

/// Prefixes and what they lead to.
#[derive(Clone, Debug)]
pub(super) struct PrefixMap<T> {
    /// By length, the longest first.
    v4: Vec<(u8, Map<u32, T>)>,
    v6: Vec<(u8, Map<u128, T>)>,
}

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        Self { v4: Vec::new(), v6: Vec::new() }
    }
}

impl<T: Clone> PrefixMap<T> {
    /// Lets `prefix` lead to `value`, in place of what it led to before. Bits past the prefix's length do not count.
    pub(super) fn insert(&mut self, prefix: IpNet, value: T) {
        match prefix.trunc() {
            IpNet::V4(net) => insert(&mut self.v4, net.prefix_len(), net.network().to_bits(), value),
            IpNet::V6(net) => insert(&mut self.v6, net.prefix_len(), net.network().to_bits(), value),
        }
    }

    /// Lets `prefix` lead nowhere, if what it leads to is meant.
    pub(super) fn remove(&mut self, prefix: IpNet, is_meant: impl Fn(&T) -> bool) {
        match prefix.trunc() {
            IpNet::V4(net) => remove(&mut self.v4, net.prefix_len(), net.network().to_bits(), is_meant),
            IpNet::V6(net) => remove(&mut self.v6, net.prefix_len(), net.network().to_bits(), is_meant),
        }
    }

    /// What the longest prefix that holds `address` leads to. An IPv4 address written as IPv6 counts as IPv4.
    pub(super) fn longest_match(&self, address: IpAddr) -> Option<&T> {
        self.matches(address).next().map(|(_, value)| value)
    }

    /// What every prefix that holds `address` leads to, with its length; the longest first.
    pub(super) fn matches(&self, address: IpAddr) -> impl Iterator<Item = (u8, &T)> {
        let (v4, v6) = match address.to_canonical() {
            IpAddr::V4(address) => (Some(address.to_bits()), None),
            IpAddr::V6(address) => (None, Some(address.to_bits())),
        };
        let of_v4 = v4.into_iter().flat_map(|bits| {
            self.v4.iter().filter_map(move |(length, prefixes)| {
                let mask = u32::MAX.checked_shl(32 - u32::from(*length)).unwrap_or(0);
                prefixes.get(&(bits & mask)).map(|value| (*length, value))
            })
        });
        let of_v6 = v6.into_iter().flat_map(|bits| {
            self.v6.iter().filter_map(move |(length, prefixes)| {
                let mask = u128::MAX.checked_shl(128 - u32::from(*length)).unwrap_or(0);
                prefixes.get(&(bits & mask)).map(|value| (*length, value))
            })
        });
        of_v4.chain(of_v6)
    }
}

fn insert<K, T>(family: &mut Vec<(u8, Map<K, T>)>, length: u8, bits: K, value: T)
where
    K: Copy + Eq + std::hash::Hash,
    T: Clone,
{
    let place = family.partition_point(|(other, _)| *other > length);
    if family.get(place).is_none_or(|(other, _)| *other != length) {
        family.insert(place, (length, Map::default()));
    }
    family[place].1.insert(bits, value);
}

fn remove<K, T>(family: &mut Vec<(u8, Map<K, T>)>, length: u8, bits: K, is_meant: impl Fn(&T) -> bool)
where
    K: Copy + Eq + std::hash::Hash,
    T: Clone,
{
    let Some(place) = family.iter().position(|(other, _)| *other == length) else { return };
    let prefixes = &mut family[place].1;
    if prefixes.get(&bits).is_some_and(is_meant) {
        prefixes.remove(&bits);
    }
    // A length that is not in use any more is not asked any more.
    if prefixes.is_empty() {
        family.remove(place);
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
        check(&[("0.0.0.0/0", 1)], "192.0.2.1", Some(1));
        check(&[], "192.0.2.1", None);
    }

    #[test]
    fn what_is_removed_uncovers_what_lies_behind_and_leaves_the_clone_as_it_was() {
        let mut map = PrefixMap::default();
        for (prefix, value) in [("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("2001:db8::/32", 3)] {
            map.insert(prefix.parse().unwrap(), value);
        }
        let before = map.clone();
        let (v4, v6) = ("10.1.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        // Somebody else's is not taken away.
        map.remove("10.1.0.0/16".parse().unwrap(), |value| *value == 9);
        assert_eq!(map.longest_match(v4), Some(&2));
        map.remove("10.1.0.0/16".parse().unwrap(), |value| *value == 2);
        map.remove("2001:db8::/32".parse().unwrap(), |_| true);
        assert_eq!((map.longest_match(v4), map.longest_match(v6)), (Some(&1), None));
        assert_eq!((before.longest_match(v4), before.longest_match(v6)), (Some(&2), Some(&3)));
    }
}
