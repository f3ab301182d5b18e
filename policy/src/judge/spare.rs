//! Protected destinations, taken out of what a measure is to hold back.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::decision::Scope;
use crate::language::Policy;

/// A scope without what is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spared {
    /// What is left of it.
    pub scope: Scope,
    /// What was taken out, in the scope's order.
    pub taken: Vec<IpNet>,
}

impl Spared {
    /// Whether nothing is left of a scope that names destinations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.scope {
            Scope::Destinations { addresses } => addresses.is_empty(),
            Scope::Endpoint { addresses, .. } => addresses.is_empty(),
            Scope::DestinationPorts { targets } => targets.is_empty(),
            Scope::All | Scope::Port { .. } | Scope::Forged => false,
        }
    }

    /// What was taken out, in words: a few of them by name.
    #[must_use]
    pub fn told(&self) -> String {
        const NAMED: usize = 4;
        let plain = |net: &IpNet| {
            if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
        };
        let mut names: Vec<String> = self.taken.iter().map(plain).collect();
        names.dedup();
        let verb = if names.len() == 1 { "is" } else { "are" };
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!("{}{more} {verb} protected", names.join(", "))
    }
}

impl Policy {
    /// Takes out of a scope what nothing is done to: protected destinations, the node's own addresses, and what is within every
    /// host, which no tenant's traffic goes to.
    #[must_use]
    pub fn spare(&self, scope: Scope) -> Spared {
        let all = || self.protected_destinations.iter().chain(&self.own_addresses);
        let is_free = |address: IpAddr| {
            !address.is_loopback()
                && !address.is_unspecified()
                && !all().any(|prefix| prefix.contains(&address))
        };
        let mut taken = Vec::new();
        let mut keep = |is_kept: bool, net: IpNet| {
            if !is_kept {
                taken.push(net);
            }
            is_kept
        };
        let scope = match scope {
            Scope::Destinations { mut addresses } => {
                addresses.retain(|address| keep(is_free(*address), (*address).into()));
                Scope::Destinations { addresses }
            }
            Scope::Endpoint { name, mut addresses, ports } => {
                let is_free =
                    |prefix: &IpNet| !all().any(|other| other.contains(prefix) || prefix.contains(other));
                addresses.retain(|prefix| keep(is_free(prefix), *prefix));
                Scope::Endpoint { name, addresses, ports }
            }
            Scope::DestinationPorts { mut targets } => {
                targets.retain(|target| keep(is_free(target.address), target.address.into()));
                Scope::DestinationPorts { targets }
            }
            other => other,
        };
        Spared { scope, taken }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Protocol, Target};

    fn addresses(all: &[&str]) -> Vec<IpAddr> {
        all.iter().map(|address| address.parse().unwrap()).collect()
    }

    fn policy() -> Policy {
        let mut policy = Policy::preset("baseline").unwrap();
        policy.protected_destinations =
            vec!["198.51.100.0/24".parse().unwrap(), "2001:db8::53/128".parse().unwrap()];
        policy.own_addresses = vec!["203.0.113.1/32".parse().unwrap()];
        policy
    }

    #[test]
    fn what_is_protected_is_taken_out_and_named() {
        let all = [
            "127.0.0.1",
            "198.51.100.7",
            "198.51.100.8",
            "203.0.113.1",
            "203.0.113.2",
            "::1",
            "2001:db8::53",
        ];
        let spared = policy().spare(Scope::Destinations { addresses: addresses(&all) });
        assert_eq!(spared.scope, Scope::Destinations { addresses: addresses(&["203.0.113.2"]) });
        assert!(!spared.is_empty());
        assert_eq!(
            spared.told(),
            "127.0.0.1, 198.51.100.7, 198.51.100.8, 203.0.113.1 and 2 more are protected"
        );
        let target = |address: &str| Target {
            address: address.parse().unwrap(),
            protocol: Protocol::Tcp,
            port: Some(443),
        };
        let spared = policy().spare(Scope::DestinationPorts { targets: vec![target("2001:db8::53")] });
        assert!(spared.is_empty());
        assert_eq!(spared.told(), "2001:db8::53 is protected");
    }

    #[test]
    fn an_endpoint_is_spared_by_whole_prefixes_and_what_names_no_destination_stays() {
        let endpoint = |addresses: &[&str]| Scope::Endpoint {
            name: "api".parse().unwrap(),
            addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
            ports: vec![443],
        };
        let spared = policy().spare(endpoint(&["203.0.113.0/24", "192.0.2.0/24"]));
        assert_eq!(
            (spared.scope.clone(), spared.told().as_str()),
            (endpoint(&["192.0.2.0/24"]), "203.0.113.0/24 is protected")
        );
        for scope in [Scope::All, Scope::Forged, Scope::Port { protocol: Protocol::Tcp, port: 25 }] {
            let spared = policy().spare(scope.clone());
            assert!(spared.scope == scope && spared.taken.is_empty() && !spared.is_empty());
        }
    }
}
