//! Which endpoint a call is for: by its address, by the name that the client says, by its path.
//!
//! An endpoint with addresses is there and nowhere else, whatever name is said: who calls it under a wrong one calls it. Names tell
//! apart endpoints that share an address. One without addresses is wherever its name is said, on its ports.

use std::net::IpAddr;

use reeve_policy::language::thresholds::{Endpoint, EndpointKind};

use crate::meter::rates::port_class;

/// What is known of a connection to some port of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It goes to no endpoint.
    Away,
    /// It goes to this one, whatever is said in it.
    Certain(usize),
    /// What is said in it will tell. Whether it goes to the address of one.
    Open { is_at: bool },
}

/// What is known of a call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked<'a> {
    /// The name that was said.
    pub host: Option<&'a [u8]>,
    /// The path that was asked for.
    pub path: Option<&'a [u8]>,
    /// Whether something is sent to it, rather than asked of it.
    pub is_sending: Option<bool>,
}

/// The endpoints.
#[derive(Debug, Default)]
pub(super) struct Sites {
    endpoints: Vec<Endpoint>,
    /// The classes of their ports.
    ports: u64,
}

impl Sites {
    pub fn new(endpoints: &[Endpoint]) -> Self {
        let ports = endpoints.iter().flat_map(|endpoint| &endpoint.ports);
        let ports = ports.fold(0, |classes, port| classes | port_class(*port));
        Self { endpoints: endpoints.to_vec(), ports }
    }

    /// All of them, in their order.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Whether there may be an endpoint on a port, somewhere. Every packet asks.
    #[inline]
    pub const fn may_be_at(&self, port: u16) -> bool {
        self.ports & port_class(port) != 0
    }

    /// What a connection to `port` of `address` may be.
    pub fn look(&self, (address, port): (IpAddr, u16)) -> Look {
        let (mut only, mut number, mut is_at) = (0, 0, false);
        for (place, endpoint) in self.candidates((address, port)) {
            (only, number) = (place, number + 1);
            is_at |= !endpoint.is_by_name();
        }
        match self.endpoints.get(only) {
            _ if number == 0 => Look::Away,
            Some(one) if number == 1 && is_at && one.paths.is_empty() && one.kind == EndpointKind::Api => {
                Look::Certain(only)
            }
            _ => Look::Open { is_at },
        }
    }

    /// The endpoint that a call is for.
    pub fn find(&self, remote: (IpAddr, u16), asked: Asked<'_>) -> Option<usize> {
        let host = asked.host.map(bare_host);
        let is_meant = |endpoint: &Endpoint| {
            asked.path.is_none_or(|path| endpoint.is_for(path))
                && !(endpoint.kind.is_for_sending() && asked.is_sending == Some(false))
        };
        let (mut is_named, mut nameless, mut named) = (false, None, None);
        for (place, endpoint) in self.candidates(remote) {
            let is_called = host.is_some_and(|host| endpoint.is_called(host));
            is_named |= is_called;
            if !is_meant(endpoint) {
                continue;
            }
            if is_called {
                return Some(place);
            }
            if !endpoint.is_by_name() {
                let by_address = if endpoint.hosts.is_empty() { &mut nameless } else { &mut named };
                by_address.get_or_insert(place);
            }
        }
        nameless.or(named.filter(|_| !is_named))
    }

    /// Whether there is an endpoint that a call under this name may be for, whatever its path.
    pub fn may_be(&self, remote: (IpAddr, u16), host: Option<&[u8]>) -> bool {
        self.find(remote, Asked { host, ..Asked::default() }).is_some()
    }

    fn candidates(&self, (address, port): (IpAddr, u16)) -> impl Iterator<Item = (usize, &Endpoint)> {
        self.endpoints.iter().enumerate().filter(move |(_, endpoint)| {
            endpoint.is_at(address, port) || (endpoint.is_by_name() && endpoint.ports.contains(&port))
        })
    }
}

/// A host without its port.
fn bare_host(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|byte| *byte == b':') {
        // An address of IPv6 stands in brackets.
        Some(colon) if !host.ends_with(b"]") => &host[..colon],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_policy::language::thresholds::ApiBurst;

    fn endpoint(addresses: &[&str], hosts: &[&str], paths: &[&str], kind: EndpointKind) -> Endpoint {
        Endpoint {
            name: "api".parse().unwrap(),
            kind,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            hosts: hosts.iter().map(|text| text.parse().unwrap()).collect(),
            ports: vec![80, 443],
            paths: paths.iter().map(|text| (*text).to_owned()).collect(),
            numbers: ApiBurst::default(),
        }
    }

    #[test]
    fn an_address_a_name_and_a_path_tell() {
        use EndpointKind::{Api, Signup};
        let at = |last: u8, port: u16| (IpAddr::from([20, 0, 0, last]), port);
        let sites = Sites::new(&[
            endpoint(&["20.0.0.1/32"], &[], &[], Api),
            endpoint(&["20.0.0.2/32"], &["a.example"], &[], Api),
            endpoint(&["20.0.0.2/32"], &["b.example"], &["/v1/"], Api),
            endpoint(&[], &["*.c.example"], &[], Api),
            endpoint(&["20.0.0.3/32"], &[], &[], Signup),
        ]);
        assert_eq!(sites.look(at(1, 22)), Look::Away);
        assert_eq!(sites.look(at(2, 80)), Look::Open { is_at: true });
        assert_eq!(sites.look(at(9, 80)), Look::Open { is_at: false });
        assert_eq!(Sites::new(&sites.endpoints()[..1]).look(at(1, 80)), Look::Certain(0));
        assert_eq!(Sites::new(&sites.endpoints()[4..]).look(at(3, 80)), Look::Open { is_at: true });
        let find = |last, host: &str, path: &'static str, is_sending| {
            let known = |text: &'static str| (!text.is_empty()).then_some(text.as_bytes());
            let asked =
                Asked { host: (!host.is_empty()).then_some(host.as_bytes()), path: known(path), is_sending };
            sites.find(at(last, 80), asked)
        };
        assert_eq!(find(1, "x.example", "/", None), Some(0));
        assert_eq!(find(1, "v1.c.example:80", "/", None), Some(3));
        assert_eq!(find(2, "a.example", "/", None), Some(1));
        assert_eq!(find(2, "b.example", "/v1/x", None), Some(2));
        assert_eq!(find(2, "b.example", "", None), Some(2));
        // Another path there is not its neighbour's, a name that nobody has is the first's.
        assert_eq!(find(2, "b.example", "/v2/x", None), None);
        assert_eq!(find(2, "other.example", "/v2/x", None), Some(1));
        assert_eq!(find(2, "20.0.0.2:80", "/", None), Some(1));
        assert_eq!(find(9, "v1.c.example", "/", None), Some(3));
        assert_eq!(find(9, "c.example", "/", None), None);
        assert_eq!(find(9, "", "/", None), None);
        assert_eq!(find(3, "", "/", Some(true)), Some(4));
        assert_eq!(find(3, "", "/", Some(false)), None);
        assert_eq!(bare_host(b"[2001:db8::1]:80"), b"[2001:db8::1]");
        assert_eq!(bare_host(b"[2001:db8::1]"), b"[2001:db8::1]");
    }
}
