//! What our own measures already hold back, so that it is not taken for evidence.
//!
//! A mail server that retries against our block of port 25 meets silence of our making. Its attempts are *blocked*: they tell
//! that it goes on, and nothing else. Of what is *limited* nobody can tell which attempts were let through, so there an answer is
//! one and silence means nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use reeve_policy::{Action, Measure, Protocol, Scope, Target};

/// What measures do to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing.
    Free,
    /// It may have been dropped.
    Limited,
    /// It was dropped.
    Blocked,
}

/// Some of a tenant's traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Traffic {
    all: bool,
    ports: BTreeSet<(Protocol, u16)>,
    destinations: BTreeSet<IpAddr>,
    targets: BTreeSet<Target>,
    endpoints: Vec<(Vec<IpNet>, Vec<u16>)>,
    /// What has somebody else's source, of which nothing is ever taken for an attempt of the tenant's own.
    forged: bool,
}

impl Traffic {
    fn add(&mut self, scope: &Scope) {
        match scope {
            Scope::All => self.all = true,
            Scope::Port { protocol, port } => {
                self.ports.insert((*protocol, *port));
            }
            Scope::Destinations { addresses } => self.destinations.extend(addresses),
            Scope::DestinationPorts { targets } => self.targets.extend(targets),
            Scope::Endpoint { addresses, ports, .. } => {
                self.endpoints.push((addresses.clone(), ports.clone()))
            }
            Scope::Forged => self.forged = true,
        }
    }

    fn holds(&self, target: &Target) -> bool {
        self.all
            || self.destinations.contains(&target.address)
            || self.targets.contains(target)
            || self.holds_service(target)
    }

    /// Whether a port, or an endpoint, is meant, rather than a destination that was seen.
    fn holds_service(&self, target: &Target) -> bool {
        let Some(port) = target.port else { return false };
        let at_endpoint = |(addresses, ports): &(Vec<IpNet>, Vec<u16>)| {
            target.protocol == Protocol::Tcp
                && ports.contains(&port)
                && addresses.iter().any(|prefix| prefix.contains(&target.address))
        };
        self.ports.contains(&(target.protocol, port)) || self.endpoints.iter().any(at_endpoint)
    }
}

/// The traffic of one tenant that measures in force hold back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// Of hardly any tenant there is something, and every packet asks.
    held: Option<Box<HeldBack>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct HeldBack {
    blocked: Traffic,
    limited: Traffic,
}

impl Restrictions {
    /// The restrictions that `measures` of one tenant make together.
    #[must_use]
    pub fn of<'a>(measures: impl Iterator<Item = &'a Measure>) -> Self {
        let mut all = Self::default();
        for decision in measures.map(|measure| &measure.decision) {
            match decision.action {
                Action::Observe | Action::Notify => {}
                Action::Suspend => all.begin().blocked.all = true,
                Action::Block => all.begin().blocked.add(&decision.scope),
                Action::Limit => all.begin().limited.add(&decision.scope),
            }
        }
        all
    }

    fn begin(&mut self) -> &mut HeldBack {
        self.held.get_or_insert_default()
    }

    /// Whether nothing is held back.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.held.is_none()
    }

    /// Whether everything is held back.
    #[inline]
    #[must_use]
    pub fn is_total(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.blocked.all)
    }

    /// Whether what has somebody else's source goes nowhere.
    #[must_use]
    pub fn hold_forged(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.blocked.forged)
    }

    /// What measures do to an attempt at `target`.
    #[must_use]
    pub fn held(&self, target: &Target) -> Held {
        match &self.held {
            Some(held) if held.blocked.holds(target) => Held::Blocked,
            Some(held) if held.limited.holds(target) => Held::Limited,
            _ => Held::Free,
        }
    }

    /// Whether the rate of attempts at `target`, and how many of them are answered, still means something. Where a flood's own
    /// destination is blocked it tells that the flood goes on; where a service is closed, or slowed, its absent answers are our doing.
    #[must_use]
    pub fn leave_rate(&self, target: &Target) -> bool {
        let stops = |held: &HeldBack| held.limited.holds(target) || held.blocked.holds_service(target);
        !self.held.as_ref().is_some_and(|held| stops(held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_what_is_slowed_and_what_is_free() {
        let target = |last: u8, port: u16| Target {
            address: [20, 0, 0, last].into(),
            protocol: Protocol::Tcp,
            port: Some(port),
        };
        let mut back = HeldBack::default();
        back.blocked.add(&Scope::Port { protocol: Protocol::Tcp, port: 25 });
        back.blocked.add(&Scope::Destinations { addresses: vec![[20, 0, 0, 1].into()] });
        let addresses = vec!["20.0.0.2/31".parse().unwrap()];
        back.limited.add(&Scope::Endpoint { name: "api".parse().unwrap(), addresses, ports: vec![443] });
        let held = Restrictions { held: Some(Box::new(back)) };
        for (last, port, expect, rate) in [
            (9, 25, Held::Blocked, false),
            (1, 80, Held::Blocked, true),
            (3, 443, Held::Limited, false),
            (3, 80, Held::Free, true),
            (4, 443, Held::Free, true),
        ] {
            assert_eq!(
                (held.held(&target(last, port)), held.leave_rate(&target(last, port))),
                (expect, rate)
            );
        }
    }
}
