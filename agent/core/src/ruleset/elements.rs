//! Elements: measures in force as members of the skeleton's sets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reeve_policy::{
    Action, DecisionId, DesiredState, Measure, NodeId, Protocol, Scope, Tenant, TenantId, Timestamp,
};

use super::{SetId, Version};

/// How long a measure without an end of its own stands in the kernel if nobody renews it.
pub const LEASE: Duration = Duration::from_secs(72 * 3_600);

/// A member of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// A destination that is always let through.
    Protected(IpNet),
    /// A source of which everything is refused.
    Suspended(IpNet),
    /// An interface of which everything is dropped.
    SuspendedPort(Arc<str>),
    /// A source's destination port.
    BlockedPort {
        /// The source.
        source: IpNet,
        /// TCP, UDP or SCTP.
        protocol: Protocol,
        /// The port.
        port: u16,
    },
    /// A source's destination.
    BlockedDestination {
        /// The source.
        source: IpNet,
        /// The destination, of the same version.
        destination: IpAddr,
    },
    /// A port of a source's destination.
    BlockedService {
        /// The source.
        source: IpNet,
        /// The destination, of the same version.
        destination: IpAddr,
        /// TCP, UDP or SCTP.
        protocol: Protocol,
        /// The port.
        port: u16,
    },
}

/// How long an element is to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lasting {
    /// Until then.
    Until(Timestamp),
    /// Until somebody lifts it: a lease of [`LEASE`] in the kernel, renewed while the agent lives.
    Lease,
    /// For as long as the table.
    Always,
}

/// Why and how long an element stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// How long.
    pub lasting: Lasting,
    /// The decisions that it carries out; what it counts is theirs.
    pub decisions: Vec<DecisionId>,
}

/// All members of all sets.
pub type Elements = BTreeMap<Element, Hold>;

impl Hold {
    /// The timeout that the kernel is to be given at `now`; `None` for none.
    #[must_use]
    pub fn timeout(&self, now: Timestamp) -> Option<Duration> {
        match self.lasting {
            Lasting::Until(end) => Some(end.since(now)),
            Lasting::Lease => Some(LEASE),
            Lasting::Always => None,
        }
    }
}

impl Element {
    /// The set that it is a member of.
    #[must_use]
    pub fn set(&self) -> SetId {
        match self {
            Self::Protected(net) => SetId::Protected(version(net)),
            Self::Suspended(net) => SetId::Suspended(version(net)),
            Self::SuspendedPort(_) => SetId::SuspendedPort,
            Self::BlockedPort { source, .. } => SetId::BlockedPort(version(source)),
            Self::BlockedDestination { source, .. } => SetId::BlockedDestination(version(source)),
            Self::BlockedService { source, .. } => SetId::BlockedService(version(source)),
        }
    }
}

fn version(net: &IpNet) -> Version {
    match net {
        IpNet::V4(_) => Version::V4,
        IpNet::V6(_) => Version::V6,
    }
}

/// The elements that carry `desired` out on `node` at `now`, beside the protected destinations. A measure of a tenant that
/// is not among `tenants` has none, and neither has one whose time is over. A port that several tenants share is not
/// held for one of them: its addresses are.
#[must_use]
pub fn elements(
    desired: &DesiredState,
    node: &NodeId,
    tenants: &[Arc<Tenant>],
    protected: &[IpNet],
    now: Timestamp,
) -> Elements {
    let by_id: BTreeMap<&TenantId, &Tenant> = tenants.iter().map(|tenant| (&tenant.id, &**tenant)).collect();
    let mut owners: BTreeMap<&str, u32> = BTreeMap::new();
    for selector in tenants.iter().flat_map(|tenant| &tenant.interfaces).filter(|port| port.node == *node) {
        *owners.entry(&selector.interface).or_default() += 1;
    }
    let owned_alone = |interface: &str| owners.get(interface) == Some(&1);
    let mut all = Elements::new();
    for prefix in IpNet::aggregate(&protected.to_vec()) {
        all.insert(Element::Protected(prefix), Hold { lasting: Lasting::Always, decisions: Vec::new() });
    }
    for measure in desired.measures.values() {
        if measure.expires.is_some_and(|end| end <= now) {
            continue;
        }
        if let Some(tenant) = by_id.get(&measure.decision.tenant) {
            let lasting = measure.expires.map_or(Lasting::Lease, Lasting::Until);
            for element in of_measure(measure, tenant, node, owned_alone) {
                let hold = all.entry(element).or_insert_with(|| Hold { lasting, decisions: Vec::new() });
                hold.lasting = hold.lasting.max(lasting);
                hold.decisions.push(measure.decision.id.clone());
            }
        }
    }
    all
}

fn of_measure(
    measure: &Measure,
    tenant: &Tenant,
    node: &NodeId,
    owned_alone: impl Fn(&str) -> bool,
) -> Vec<Element> {
    // One tenant's prefixes may lie within each other; a set's members may not.
    let sources = IpNet::aggregate(&tenant.addresses);
    match (measure.decision.action, &measure.decision.scope) {
        (Action::Suspend, _) | (Action::Block, Scope::All) => {
            let here = tenant.interfaces.iter().filter(|selector| selector.node == *node);
            let ports = here.filter(|selector| owned_alone(&selector.interface));
            let ports = ports.map(|selector| Element::SuspendedPort(Arc::clone(&selector.interface)));
            sources.iter().copied().map(Element::Suspended).chain(ports).collect()
        }
        (Action::Block, Scope::Port { protocol, port }) => {
            let of = |&source: &IpNet| Element::BlockedPort { source, protocol: *protocol, port: *port };
            sources.iter().map(of).collect()
        }
        (Action::Block, Scope::Destinations { addresses }) => pairs(&sources, addresses.iter().copied())
            .map(|(source, destination)| Element::BlockedDestination { source, destination })
            .collect(),
        (Action::Block, Scope::DestinationPorts { targets }) => {
            let service = |target: &reeve_policy::Target| {
                let of = |(source, destination)| {
                    let port = target.port?;
                    Some(Element::BlockedService { source, destination, protocol: target.protocol, port })
                };
                pairs(&sources, std::iter::once(target.address)).filter_map(of).collect::<Vec<_>>()
            };
            targets.iter().flat_map(service).collect()
        }
        (Action::Observe | Action::Notify | Action::Limit, _) | (_, Scope::Endpoint { .. }) => Vec::new(),
    }
}

/// Every source with every destination of its version.
fn pairs(
    sources: &[IpNet],
    destinations: impl Iterator<Item = IpAddr>,
) -> impl Iterator<Item = (IpNet, IpAddr)> {
    destinations.flat_map(move |destination| {
        let same = move |source: &&IpNet| source.addr().is_ipv4() == destination.is_ipv4();
        sources.iter().filter(same).map(move |source| (*source, destination))
    })
}

#[cfg(test)]
mod tests {
    use reeve_policy::{Decision, Mode, Origin, Target, Until};

    use super::*;

    fn measure(id: &str, action: Action, scope: Scope, until: Until) -> Measure {
        let decision = Decision {
            id: DecisionId(id.parse().unwrap()),
            tenant: "a".parse().unwrap(),
            violation: None,
            clause: String::new(),
            origin: Origin::Operator { name: "oncall".into() },
            action,
            scope,
            rate: None,
            until,
            at: Timestamp::from_secs(100),
            mode: Mode::Enforce,
            reason: String::new(),
            softened: None,
        };
        Measure { expires: until.expiry(decision.at), decision }
    }

    fn check(measures: &[Measure], expect: &[&str]) {
        let mut desired = DesiredState::default();
        desired.measures.extend(measures.iter().map(|m| (m.decision.id.clone(), m.clone())));
        let tenant = Tenant {
            addresses: ["203.0.113.0/25", "203.0.113.7/32", "2001:db8:10::/48"]
                .map(|n| n.parse().unwrap())
                .to_vec(),
            interfaces: ["n1/tap0", "n1/shared", "n2/tap9"].map(|n| n.parse().unwrap()).to_vec(),
            ..Tenant::new("a".parse().unwrap())
        };
        let other = Tenant {
            id: "b".parse().unwrap(),
            addresses: vec!["203.0.113.200/32".parse().unwrap()],
            interfaces: vec!["n1/shared".parse().unwrap()],
            ..tenant.clone()
        };
        let tenants = [Arc::new(tenant), Arc::new(other)];
        let all = elements(&desired, &"n1".parse().unwrap(), &tenants, &[], Timestamp::from_secs(200));
        let told: Vec<String> = all
            .iter()
            .map(|(element, hold)| {
                let ids: Vec<String> = hold.decisions.iter().map(ToString::to_string).collect();
                format!("{element:?} {:?} {}", hold.lasting, ids.join("+"))
            })
            .collect();
        assert_eq!(told, expect);
    }

    const HOUR: Until = Until::After(Duration::from_secs(3_600));

    #[test]
    fn a_suspension_holds_every_address_and_port_on_this_node() {
        check(
            &[measure("m", Action::Suspend, Scope::All, Until::Released)],
            &[
                "Suspended(203.0.113.0/25) Lease m",
                "Suspended(2001:db8:10::/48) Lease m",
                "SuspendedPort(\"tap0\") Lease m",
            ],
        );
    }

    #[test]
    fn the_longer_measure_wins_and_what_is_over_is_gone() {
        let short = measure("m1", Action::Suspend, Scope::All, Until::After(Duration::from_secs(300)));
        let long = measure("m2", Action::Suspend, Scope::All, HOUR);
        let over = measure("m3", Action::Suspend, Scope::All, Until::After(Duration::from_secs(100)));
        let end = Lasting::Until(Timestamp::from_secs(3_700));
        check(
            &[short, long, over],
            &[
                &format!("Suspended(203.0.113.0/25) {end:?} m1+m2"),
                &format!("Suspended(2001:db8:10::/48) {end:?} m1+m2"),
                &format!("SuspendedPort(\"tap0\") {end:?} m1+m2"),
            ],
        );
    }

    #[test]
    fn blocks_pair_addresses_of_one_version() {
        let addresses = vec!["20.0.0.1".parse().unwrap(), "2001:db8:f000::1".parse().unwrap()];
        check(
            &[measure("m", Action::Block, Scope::Destinations { addresses }, Until::Released)],
            &[
                "BlockedDestination { source: 203.0.113.0/25, destination: 20.0.0.1 } Lease m",
                "BlockedDestination { source: 2001:db8:10::/48, destination: 2001:db8:f000::1 } Lease m",
            ],
        );
        let targets =
            vec![Target { address: "20.0.0.1".parse().unwrap(), protocol: Protocol::Udp, port: Some(53) }];
        check(
            &[measure("m", Action::Block, Scope::DestinationPorts { targets }, Until::Released)],
            &[
                "BlockedService { source: 203.0.113.0/25, destination: 20.0.0.1, protocol: Udp, port: 53 } Lease m",
            ],
        );
        check(
            &[measure(
                "m",
                Action::Block,
                Scope::Port { protocol: Protocol::Tcp, port: 25 },
                Until::Released,
            )],
            &[
                "BlockedPort { source: 203.0.113.0/25, protocol: Tcp, port: 25 } Lease m",
                "BlockedPort { source: 2001:db8:10::/48, protocol: Tcp, port: 25 } Lease m",
            ],
        );
    }
}
