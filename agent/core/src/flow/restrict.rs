//! What our own measures already hold back, so that it is not taken for evidence.
//!
//! A mail server that retries against our block of port 25 meets silence of our making. Its attempts are
//! *blocked*: they tell that it goes on, and nothing else.

use std::collections::BTreeSet;
use std::net::IpAddr;

use reeve_policy::{Action, Measure, Protocol, Scope, Target};

/// The traffic of one tenant that measures in force hold back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    all: bool,
    ports: BTreeSet<(Protocol, u16)>,
    destinations: BTreeSet<IpAddr>,
    targets: BTreeSet<Target>,
}

impl Restrictions {
    /// The restrictions that `measures` of one tenant make together.
    #[must_use]
    pub fn of<'a>(measures: impl Iterator<Item = &'a Measure>) -> Self {
        let mut held = Self::default();
        for decision in measures.map(|measure| &measure.decision) {
            match (&decision.action, &decision.scope) {
                (Action::Observe | Action::Notify, _) => {}
                (Action::Suspend, _) | (Action::Block, Scope::All) => held.all = true,
                (Action::Block, Scope::Port { protocol, port }) => {
                    held.ports.insert((*protocol, *port));
                }
                (Action::Block, Scope::Destinations { addresses }) => held.destinations.extend(addresses),
                (Action::Block, Scope::DestinationPorts { targets }) => held.targets.extend(targets),
            }
        }
        held
    }

    /// Whether nothing is held back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && self.ports.is_empty() && self.destinations.is_empty() && self.targets.is_empty()
    }

    /// Whether everything is held back.
    #[must_use]
    pub fn is_total(&self) -> bool {
        self.all
    }

    /// Whether an attempt at `target` meets a measure.
    #[must_use]
    pub fn cover(&self, target: &Target) -> bool {
        self.all
            || self.destinations.contains(&target.address)
            || self.targets.contains(target)
            || target.port.is_some_and(|port| self.ports.contains(&(target.protocol, port)))
    }
}
