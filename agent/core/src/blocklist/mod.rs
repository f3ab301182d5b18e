//! Blocklists: addresses that somebody holds for harmful, imported from files.
//!
//! Each list is two sorted arrays of ranges that neither touch nor overlap, one a family: 8 bytes a range of IPv4, 32 of IPv6, found by
//! halving. A million prefixes take at most 8 MB (32 MB). They are looked up once an attempt, not once a packet.
//!
//! What is listed is said in a record by the verdict on each attempt ([`crate::stream::StreamEvent::Listed`]) and not by the lists: a
//! replay needs neither the files nor what they held then.
//!
//! Left out: files, and when they are read again.

mod read;

use std::net::IpAddr;

use ipnet::IpNet;
use reeve_policy::{Name, Protocol, Target};
use serde::{Deserialize, Serialize};

pub use read::{BadLine, Reading, Refusal};

/// What is on a list, and so what it means to dial it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListKind {
    /// Networks of bad repute. Resolvers, mail servers and monitoring come by there on behalf of others.
    #[default]
    Networks,
    /// Hosts that only malware has to do with, such as those that command it.
    Hosts,
}

impl ListKind {
    /// Every kind by its word.
    pub const ALL: [(&'static str, Self); 2] = [("networks", Self::Networks), ("hosts", Self::Hosts)];
}

/// One list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocklist {
    name: Name,
    kind: ListKind,
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Blocklist {
    /// The list of a file's text. `spared` are prefixes that are never listed: what contains one, or lies in one, is refused.
    #[must_use]
    pub fn read(name: Name, kind: ListKind, text: &[u8], spared: &[IpNet]) -> Reading {
        read::read(name, kind, text, spared)
    }

    /// What alerts call it.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// How many ranges it came to.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether nothing is on it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes its ranges take.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        size_of_val(&*self.v4) + size_of_val(&*self.v6)
    }

    /// Whether an address is on it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => holds(&self.v4, v4.into()),
            IpAddr::V6(v6) => holds(&self.v6, v6.into()),
        }
    }

    /// Whether an attempt at `target` counts if it is on this list.
    fn is_about(&self, target: &Target) -> bool {
        // Names are resolved, mail is returned and hosts are looked for because others ask for it.
        let on_behalf = matches!(target.protocol, Protocol::Icmp | Protocol::Icmpv6)
            || matches!(target.port, Some(25 | 53 | 123 | 853));
        self.kind == ListKind::Hosts || !on_behalf
    }
}

/// All lists, in the order of the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocklists(Vec<Blocklist>);

impl Blocklists {
    /// The most lists.
    pub const MAX: usize = 32;

    /// These, up to [`Blocklists::MAX`].
    #[must_use]
    pub fn new(mut lists: Vec<Blocklist>) -> Self {
        lists.truncate(Self::MAX);
        Self(lists)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Blocklist> {
        self.0.iter()
    }

    /// Whether nothing is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Blocklist::is_empty)
    }

    /// The first list by which an attempt at `target` is one at something harmful.
    #[must_use]
    pub fn find(&self, target: &Target) -> Option<&Name> {
        let is_on = |list: &&Blocklist| list.is_about(target) && list.contains(target.address);
        self.0.iter().find(is_on).map(Blocklist::name)
    }
}

/// Whether a number lies in one of the ranges, which are sorted by their beginnings.
fn holds<N: Copy + Ord>(ranges: &[(N, N)], number: N) -> bool {
    let beyond = ranges.partition_point(|(start, _)| *start <= number);
    beyond.checked_sub(1).is_some_and(|place| number <= ranges[place].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(kind: ListKind, text: &str) -> Blocklist {
        Blocklist::read("drop".parse().unwrap(), kind, text.as_bytes(), &[]).list
    }

    #[test]
    fn a_range_holds_its_ends_and_no_more() {
        let list = list(ListKind::Hosts, "20.0.0.0/30\n20.0.0.8-20.0.0.9\n2a00::/32\n2a01::5");
        for (address, expect) in [
            ("19.255.255.255", false),
            ("20.0.0.0", true),
            ("20.0.0.3", true),
            ("20.0.0.4", false),
            ("20.0.0.8", true),
            ("20.0.0.9", true),
            ("20.0.0.10", false),
            ("255.255.255.255", false),
            ("0.0.0.0", false),
            ("2a00::", true),
            ("2a00:0:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("2a00:1::", false),
            ("2a01::5", true),
            ("::", false),
        ] {
            assert_eq!(list.contains(address.parse().unwrap()), expect, "{address}");
        }
    }

    #[test]
    fn what_servers_do_for_others_counts_for_hosts_only() {
        let lists = |kind| Blocklists::new(vec![list(kind, "20.0.0.0/24")]);
        for (protocol, port, networks) in [
            (Protocol::Tcp, Some(443), true),
            (Protocol::Udp, Some(6_881), true),
            (Protocol::Udp, Some(53), false),
            (Protocol::Tcp, Some(25), false),
            (Protocol::Icmp, None, false),
        ] {
            let target = Target { address: [20, 0, 0, 7].into(), protocol, port };
            assert_eq!(lists(ListKind::Networks).find(&target).is_some(), networks, "{target}");
            assert!(lists(ListKind::Hosts).find(&target).is_some());
        }
    }

    #[test]
    fn a_million_prefixes_stay_small() {
        // Apart from each other, so that none can be put together.
        let mut text = String::with_capacity(20 << 20);
        for number in 0..1_000_000_u32 {
            let address = std::net::Ipv4Addr::from(0x1000_0000 + number * 512);
            text.push_str(&format!("{address}/24\n"));
        }
        let list = list(ListKind::Networks, &text);
        assert_eq!((list.len(), list.bytes()), (1_000_000, 8_000_000));
        assert!(list.contains([16, 0, 2, 255].into()) && !list.contains([16, 0, 3, 0].into()));
    }
}
