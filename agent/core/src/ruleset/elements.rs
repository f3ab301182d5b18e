//! Elements: measures in force as members of the skeleton's sets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reeve_policy::rate::{Rate, Unit};
use reeve_policy::{
    Action, Decision, DecisionId, DesiredState, Measure, NodeId, Protocol, Scope, Tenant, TenantId, Timestamp,
};

use super::local::{Owned, OwnerSet};
use super::{CAPS, Pace, SetId, Shape, Version};

/// How long a measure without an end of its own stands in the kernel if nobody renews it.
pub const LEASE: Duration = Duration::from_secs(72 * 3_600);

/// A member of a set or map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// A destination that is always let through.
    Protected(IpNet),
    /// A source of the node's own that is nobody else's.
    Own(IpNet),
    /// A source of which everything is refused.
    Suspended(IpNet),
    /// A destination to which nothing is let, as its tenant is suspended.
    Cut(IpNet),
    /// An interface of which everything is dropped.
    SuspendedPort(Arc<str>),
    /// An interface of which only what can be read is bridged.
    HeldPort(Arc<str>),
    /// An interface of which it is asked whether the source is its tenant's.
    VettedPort(Arc<str>),
    /// A source that is.
    Vouched {
        /// The interface.
        port: Arc<str>,
        /// The source.
        source: IpNet,
    },
    /// An interface of which everything else is dropped.
    ForgedPort(Arc<str>),
    /// What leads from an interface to the limit of everything else.
    ForgedLimit(Arc<str>),
    /// An interface of which something else was too much; it only counts.
    ForgedLimited(Arc<str>),
    /// A destination that a suspended source keeps.
    Lifeline {
        /// The source.
        source: IpNet,
        /// The destination, of the same version.
        destination: IpNet,
    },
    /// A source of which something is refused or limited.
    Held(IpNet),
    /// A source that is let so many connections at a time.
    Cap {
        /// How many.
        most: u8,
        /// The source.
        source: IpNet,
    },
    /// Something of a source's of which that is so.
    Capped {
        /// The source.
        source: IpNet,
        /// The destination, of the same version; `None` for any.
        destination: Option<IpNet>,
        /// Protocol and port; `None` for any.
        service: Option<(Protocol, u16)>,
    },
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
        destination: IpNet,
    },
    /// A port of a source's destination.
    BlockedService {
        /// The source.
        source: IpNet,
        /// The destination, of the same version.
        destination: IpNet,
        /// TCP, UDP or SCTP.
        protocol: Protocol,
        /// The port.
        port: u16,
    },
    /// A source of which something was too much; it only counts.
    Limited(IpNet),
    /// Something of a source's that leads to a limit.
    Limit {
        /// Which packets are asked.
        pace: Pace,
        /// The source.
        source: IpNet,
        /// The destination, of the same version; `None` for any.
        destination: Option<IpNet>,
        /// Protocol and port; `None` for any.
        service: Option<(Protocol, u16)>,
    },
    /// A user of the node's, and the number of the tenant that it is.
    User {
        /// The user.
        uid: u32,
        /// The tenant's number.
        owner: u32,
    },
    /// A control group of the node's, and the number of the tenant that it is.
    Group {
        /// How deep it lies.
        depth: u8,
        /// Its id in the kernel.
        id: u64,
        /// The tenant's number.
        owner: u32,
    },
    /// A port where what is said is read.
    ReadPort(u16),
    /// Something of a tenant's on the node itself.
    Owned {
        /// The tenant's number.
        owner: u32,
        /// What.
        what: Owned,
    },
}

/// Whatever has an address.
pub(super) const EVERYWHERE: [IpNet; 2] = [
    IpNet::V4(ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::UNSPECIFIED, 0)),
    IpNet::V6(ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::UNSPECIFIED, 0)),
];

/// Sources that are never routed, by which IPv6 keeps its link.
const LINK_LOCAL: IpNet =
    IpNet::V6(ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10));

/// What an element that is no interface is keyed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'e> {
    /// The source; of a destination that is protected or cut, that.
    pub first: &'e IpNet,
    /// The destination, where it is part of the key.
    pub destination: Option<&'e IpNet>,
    /// Protocol and port, where they are.
    pub service: Option<(Protocol, u16)>,
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
    /// The rate of the limit that it leads to.
    pub rate: Option<Rate>,
}

/// All members of all sets.
pub type Elements = BTreeMap<Element, Hold>;

impl Hold {
    /// So long, for no decision yet.
    #[must_use]
    pub const fn new(lasting: Lasting) -> Self {
        Self { lasting, decisions: Vec::new(), rate: None }
    }

    /// The timeout that the kernel is to be given at `now`; `None` for none.
    #[must_use]
    pub fn timeout(&self, now: Timestamp) -> Option<Duration> {
        match self.lasting {
            Lasting::Until(end) => Some(end.since(now)),
            Lasting::Lease => Some(LEASE),
            Lasting::Always => None,
        }
    }

    /// Carries out these decisions as well; of two rates the stricter counts, and names the limit.
    fn serve(&mut self, decisions: Vec<DecisionId>, rate: Option<Rate>) {
        let is_stricter =
            |(new, old): (Rate, Rate)| (new.interval(), old.burst) > (old.interval(), new.burst);
        if rate.zip(self.rate).is_some_and(is_stricter) {
            self.rate = rate;
            self.decisions.splice(0..0, decisions);
        } else {
            self.decisions.extend(decisions);
        }
    }

    /// The name of the limit that `element` leads to, if it leads to one: its decision's, so that all of a tenant's addresses
    /// share it, and what it asks.
    #[must_use]
    pub fn object(&self, element: &Element) -> Option<String> {
        let letter = match element {
            Element::Limit { pace, .. } | Element::Owned { what: Owned::Limit { pace, .. }, .. } => {
                match pace {
                    Pace::Traffic => 't',
                    Pace::Openings => 'n',
                    Pace::Calls => 'c',
                }
            }
            Element::ForgedLimit(_) => 'f',
            _ => return None,
        };
        Some(format!("{letter}-{}", self.decisions.first()?))
    }
}

/// The limits that `elements` lead to, by name.
#[must_use]
pub fn objects(elements: &Elements) -> BTreeMap<String, Rate> {
    let object = |(element, hold): (&Element, &Hold)| Some((hold.object(element)?, hold.rate?));
    elements.iter().filter_map(object).collect()
}

/// What elements have in common that differ in their destination alone: their set, tenant, source and service. Only such may overlap.
pub(super) type Kin = (SetId, u32, Option<IpNet>, Option<(Protocol, u16)>);

impl Element {
    /// Its kin and its destination, if it has one.
    pub(super) fn kin(&self) -> Option<(Kin, IpNet)> {
        let (owner, first, destination, service) = match self {
            of_port if of_port.port().is_some() => return None,
            Self::User { .. } | Self::Group { .. } | Self::ReadPort(_) => return None,
            Self::Owned { owner, what } => {
                let (destination, service) = what.place();
                (*owner, None, destination, service)
            }
            other => {
                let place = other.place();
                (0, Some(*place.first), place.destination, place.service)
            }
        };
        Some(((self.set(), owner, first, service), *destination?))
    }

    /// The set or map that it is a member of.
    #[must_use]
    pub fn set(&self) -> SetId {
        match self {
            Self::Protected(net) => SetId::Protected(version(net)),
            Self::Own(net) => SetId::Own(version(net)),
            Self::Suspended(net) => SetId::Suspended(version(net)),
            Self::Cut(net) => SetId::Cut(version(net)),
            Self::SuspendedPort(_) => SetId::SuspendedPort,
            Self::HeldPort(_) => SetId::HeldPort,
            Self::VettedPort(_) => SetId::VettedPort,
            Self::Vouched { source, .. } => SetId::Vouched(version(source)),
            Self::ForgedPort(_) => SetId::ForgedPort,
            Self::ForgedLimit(_) => SetId::ForgedLimit,
            Self::ForgedLimited(_) => SetId::ForgedLimited,
            Self::Lifeline { source, .. } => SetId::Lifeline(version(source)),
            Self::Held(net) => SetId::Held(version(net)),
            Self::Cap { most, source } => SetId::Cap(*most, version(source)),
            Self::Capped { source, destination, service } => {
                SetId::Capped(shape(destination.as_ref(), *service), version(source))
            }
            Self::BlockedPort { source, .. } => SetId::BlockedPort(version(source)),
            Self::BlockedDestination { source, .. } => SetId::BlockedDestination(version(source)),
            Self::BlockedService { source, .. } => SetId::BlockedService(version(source)),
            Self::Limited(net) => SetId::Limited(version(net)),
            Self::Limit { pace, source, destination, service } => {
                SetId::Limit(*pace, shape(destination.as_ref(), *service), version(source))
            }
            Self::User { .. } => SetId::Owner(OwnerSet::User),
            Self::Group { depth, .. } => SetId::Owner(OwnerSet::Group(*depth)),
            Self::ReadPort(_) => SetId::Owner(OwnerSet::ReadPort),
            Self::Owned { what, .. } => SetId::Owner(what.set()),
        }
    }

    /// The interface that it is, or is of.
    #[must_use]
    pub fn port(&self) -> Option<&str> {
        match self {
            Self::SuspendedPort(name)
            | Self::HeldPort(name)
            | Self::VettedPort(name)
            | Self::Vouched { port: name, .. }
            | Self::ForgedPort(name)
            | Self::ForgedLimit(name)
            | Self::ForgedLimited(name) => Some(name),
            _ => None,
        }
    }

    /// What it is keyed by.
    ///
    /// # Panics
    /// For an interface, and for what is of the node's own processes.
    #[must_use]
    pub fn place(&self) -> Place<'_> {
        let one = |first| Place { first, destination: None, service: None };
        match self {
            Self::Protected(net)
            | Self::Own(net)
            | Self::Suspended(net)
            | Self::Cut(net)
            | Self::Held(net)
            | Self::Cap { source: net, .. }
            | Self::Limited(net) => one(net),
            Self::SuspendedPort(name)
            | Self::HeldPort(name)
            | Self::VettedPort(name)
            | Self::Vouched { port: name, .. }
            | Self::ForgedPort(name)
            | Self::ForgedLimit(name)
            | Self::ForgedLimited(name) => panic!("{name} is an interface"),
            Self::User { .. } | Self::Group { .. } | Self::ReadPort(_) | Self::Owned { .. } => {
                panic!("{self:?} is by no address")
            }
            Self::Lifeline { source, destination } | Self::BlockedDestination { source, destination } => {
                Place { destination: Some(destination), ..one(source) }
            }
            Self::BlockedPort { source, protocol, port } => {
                Place { service: Some((*protocol, *port)), ..one(source) }
            }
            Self::BlockedService { source, destination, protocol, port } => {
                Place { first: source, destination: Some(destination), service: Some((*protocol, *port)) }
            }
            Self::Limit { source, destination, service, .. }
            | Self::Capped { source, destination, service } => {
                Place { first: source, destination: destination.as_ref(), service: *service }
            }
        }
    }
}

fn shape(destination: Option<&IpNet>, service: Option<(Protocol, u16)>) -> Shape {
    match (destination, service) {
        (None, None) => Shape::Source,
        (None, Some(_)) => Shape::Port,
        (Some(_), None) => Shape::Destination,
        (Some(_), Some(_)) => Shape::Service,
    }
}

fn version(net: &IpNet) -> Version {
    match net {
        IpNet::V4(_) => Version::V4,
        IpNet::V6(_) => Version::V6,
    }
}

/// What is spared whatever is decided.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spared<'s> {
    /// Destinations that no block reaches.
    pub protected: &'s [IpNet],
    /// The node's own addresses.
    pub own: &'s [IpNet],
    /// Destinations that every suspended tenant keeps.
    pub lifeline: &'s [IpNet],
    /// How measures are carried out.
    pub manner: Manner,
}

/// How measures are carried out on a node, as far as that is not the same everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Whether there are sets for connections at a time: else what would be in them is left out.
    pub counts_connections: bool,
    /// Whether what others send to a suspended tenant is refused as well.
    pub cuts_inbound: bool,
}

/// The elements that carry `desired` out on `node` at `now`, beside the protected destinations. A measure of a tenant that
/// is not among `tenants` has none, and neither has one whose time is over, or for which a set has no room: one that is too
/// large is not to keep the others from standing. A port that several tenants share is not
/// held for one of them: its addresses are. Of two limits of the same thing the stricter counts.
///
/// This is all of them at once; [`super::Rendering`] comes to the same step by step.
#[must_use]
pub fn elements(
    desired: &DesiredState,
    node: &NodeId,
    tenants: &[Arc<Tenant>],
    spared: Spared<'_>,
    now: Timestamp,
) -> Elements {
    let places = Places::of(node, tenants);
    let mut all = always(tenants, spared);
    let mut room = Room::default();
    for measure in desired.measures.values() {
        if measure.expires.is_some_and(|end| end <= now) {
            continue;
        }
        let part = places.part(measure, spared.lifeline, spared.manner);
        if room.take(part.iter().map(|one| &one.element)) {
            part.iter().for_each(|one| one.enter(&mut all, &measure.decision));
        }
    }
    without_overlaps(all)
}

/// What stands whatever is decided: the protected destinations and the node's own addresses.
pub(super) fn always(tenants: &[Arc<Tenant>], spared: Spared<'_>) -> Elements {
    let mut all = Elements::new();
    let both: Vec<IpNet> = spared.protected.iter().chain(spared.own).copied().collect();
    for prefix in IpNet::aggregate(&both) {
        all.insert(Element::Protected(prefix), Hold::new(Lasting::Always));
    }
    // An address that the node has for a tenant is the tenant's, unless the node speaks from it itself.
    let is_let = |own: &&IpNet| tenants.iter().any(|tenant| tenant.addresses.contains(own));
    let own = spared.own.iter().filter(|own| spared.protected.contains(own) || !is_let(own));
    for prefix in IpNet::aggregate(&own.copied().collect()) {
        all.insert(Element::Own(prefix), Hold::new(Lasting::Always));
    }
    all
}

/// An element that a measure asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) element: Element,
    pub(super) lasting: Lasting,
    /// Whether it carries the decision out; the others lead to such ones, or spare somebody, and count nothing.
    pub(super) is_own: bool,
}

impl Asked {
    /// Enters it, for a decision.
    pub(super) fn enter(&self, all: &mut Elements, decision: &Decision) {
        if self.is_own {
            return enter(all, self.element.clone(), self.lasting, decision);
        }
        let hold = all.entry(self.element.clone()).or_insert_with(|| Hold::new(self.lasting));
        hold.lasting = hold.lasting.max(self.lasting);
    }
}

/// Which tenants there are, and by which ports of a node.
#[derive(Clone, Debug)]
pub(super) struct Places {
    node: NodeId,
    tenants: BTreeMap<TenantId, Arc<Tenant>>,
    /// How many tenants have a port.
    ports: BTreeMap<Arc<str>, u32>,
}

impl Places {
    pub(super) fn of(node: &NodeId, tenants: &[Arc<Tenant>]) -> Self {
        let mut ports: BTreeMap<Arc<str>, u32> = BTreeMap::new();
        for selector in tenants.iter().flat_map(|tenant| &tenant.interfaces).filter(|port| port.node == *node)
        {
            *ports.entry(Arc::clone(&selector.interface)).or_default() += 1;
        }
        let tenants = tenants.iter().map(|tenant| (tenant.id.clone(), Arc::clone(tenant))).collect();
        Self { node: node.clone(), tenants, ports }
    }

    /// What a measure asks for, in the order in which it is entered; nothing where its tenant is not known.
    pub(super) fn part(&self, measure: &Measure, lifeline: &[IpNet], manner: Manner) -> Vec<Asked> {
        let Some(tenant) = self.tenants.get(&measure.decision.tenant) else { return Vec::new() };
        let lasting = measure.expires.map_or(Lasting::Lease, Lasting::Until);
        // One tenant's prefixes may lie within each other; a set's members may not.
        let sources = IpNet::aggregate(&tenant.addresses);
        let here = tenant.interfaces.iter().filter(|selector| selector.node == self.node);
        let owned_alone = |port: &&Arc<str>| self.ports.get(*port) == Some(&1);
        let ports: Vec<Arc<str>> =
            here.map(|selector| &selector.interface).filter(owned_alone).map(Arc::clone).collect();
        let own = of_measure(measure, &sources, &ports);
        let others = beside(measure, tenant, &sources, &ports, (lifeline, manner));
        let asked = |is_own| move |element| Asked { element, lasting, is_own };
        own.into_iter().map(asked(true)).chain(others.into_iter().map(asked(false))).collect()
    }
}

/// How much of each set is taken.
#[derive(Debug, Default)]
pub(super) struct Room(BTreeMap<SetId, u32>);

impl Room {
    /// Takes room for all of these, or for none if one of the sets has not enough.
    pub(super) fn take<'e>(&mut self, elements: impl Iterator<Item = &'e Element>) -> bool {
        let mut taken = BTreeMap::<SetId, u32>::new();
        for element in elements {
            *taken.entry(element.set()).or_default() += 1;
        }
        let has_room = |(set, number): (&SetId, &u32)| {
            self.0.get(set).copied().unwrap_or_default().saturating_add(*number) <= set.capacity()
        };
        if !taken.iter().all(has_room) {
            return false;
        }
        for (set, number) in taken {
            *self.0.entry(set).or_default() += number;
        }
        true
    }
}

/// Takes out what lies within another element of the same set, for the kernel takes no members that overlap. The wider one
/// serves its decisions; when that ends, the narrower is there again.
pub(super) fn without_overlaps(mut all: Elements) -> Elements {
    let mut alike: BTreeMap<Kin, Vec<(IpNet, Element)>> = BTreeMap::new();
    for element in all.keys() {
        if let Some((kin, destination)) = element.kin() {
            alike.entry(kin).or_default().push((destination, element.clone()));
        }
    }
    for members in alike.values().filter(|members| members.len() > 1) {
        let is_wide = |net: &IpNet| net.prefix_len() < net.max_prefix_len();
        for (outer, serving) in members.iter().filter(|(net, _)| is_wide(net)) {
            for (_, element) in members.iter().filter(|(net, _)| net != outer && outer.contains(net)) {
                let served = all.remove(element);
                if let Some((hold, served)) = all.get_mut(serving).zip(served) {
                    hold.serve(served.decisions, served.rate);
                }
            }
        }
    }
    all
}

/// Enters an element of a decision's.
pub(super) fn enter(all: &mut Elements, element: Element, lasting: Lasting, decision: &Decision) {
    let is_limit = matches!(
        element,
        Element::Limit { .. } | Element::ForgedLimit(_) | Element::Owned { what: Owned::Limit { .. }, .. }
    );
    let rate = decision.rate.filter(|_| is_limit);
    let hold = all.entry(element).or_insert_with(|| Hold { rate, ..Hold::new(lasting) });
    hold.lasting = hold.lasting.max(lasting);
    hold.serve(vec![decision.id.clone()], rate);
}

fn of_measure(measure: &Measure, sources: &[IpNet], ports: &[Arc<str>]) -> Vec<Element> {
    let decision = &measure.decision;
    match (decision.action, &decision.scope) {
        (Action::Suspend, _) | (Action::Block, Scope::All) => {
            let ports = ports.iter().cloned().map(Element::SuspendedPort);
            sources.iter().copied().map(Element::Suspended).chain(ports).collect()
        }
        // Without a port, or an address to be told by, nobody could say what is forged.
        (Action::Block | Action::Limit, Scope::Forged) if sources.is_empty() => Vec::new(),
        (Action::Block, Scope::Forged) => ports.iter().cloned().map(Element::ForgedPort).collect(),
        (Action::Limit, Scope::Forged) => {
            let limits = ports.iter().cloned().map(Element::ForgedLimit);
            limits.chain(ports.iter().cloned().map(Element::ForgedLimited)).collect()
        }
        (Action::Block, scope) => reaches(scope, sources).map(|reach| reach.blocked()).collect(),
        (Action::Limit, scope) => {
            let Some(rate) = decision.rate else { return Vec::new() };
            let paces: &[Pace] = match rate.unit {
                Unit::Connections => &[Pace::Openings],
                Unit::Packets | Unit::Bytes => &[Pace::Traffic],
                Unit::Calls => &[Pace::Openings, Pace::Calls],
            };
            let limits = reaches(scope, sources).flat_map(|reach| {
                // A call is always one to a service.
                let is_apt = move |pace: &&Pace| **pace != Pace::Calls || reach.is_service();
                paces.iter().filter(is_apt).map(move |pace| reach.limited(*pace))
            });
            limits.chain(sources.iter().copied().map(Element::Limited)).collect()
        }
        (Action::Observe | Action::Notify, _) => Vec::new(),
    }
}

/// What leads to a measure's elements, or spares somebody: it counts nothing.
fn beside(
    measure: &Measure,
    tenant: &Tenant,
    sources: &[IpNet],
    ports: &[Arc<str>],
    (lifeline, manner): (&[IpNet], Manner),
) -> Vec<Element> {
    match (measure.decision.action, &measure.decision.scope) {
        (Action::Suspend, _) | (Action::Block, Scope::All) => {
            // Not of the tenant's own doing, so it counts for no decision.
            let is_cut = manner.cuts_inbound && measure.decision.action == Action::Suspend;
            let kept: Vec<IpNet> = lifeline.iter().chain(&tenant.lifeline).copied().collect();
            pairs(sources, IpNet::aggregate(&kept).into_iter())
                .map(|(source, destination)| Element::Lifeline { source, destination })
                .chain(sources.iter().filter(|_| is_cut).copied().map(Element::Cut))
                .collect()
        }
        (Action::Block | Action::Limit, Scope::Forged) if sources.is_empty() => Vec::new(),
        (Action::Block | Action::Limit, Scope::Forged) => {
            let own: Vec<IpNet> = sources.iter().copied().chain([LINK_LOCAL]).collect();
            let own = IpNet::aggregate(&own);
            let of_port = |port: &Arc<str>| {
                let asked = [Element::VettedPort(Arc::clone(port)), Element::HeldPort(Arc::clone(port))];
                let vouched =
                    own.iter().map(|source| Element::Vouched { port: Arc::clone(port), source: *source });
                asked.into_iter().chain(vouched).collect::<Vec<_>>()
            };
            ports.iter().flat_map(of_port).collect()
        }
        (Action::Block | Action::Limit, scope) => {
            let ports = ports.iter().cloned().map(Element::HeldPort);
            let mut all: Vec<Element> = sources.iter().copied().map(Element::Held).chain(ports).collect();
            let most = measure.decision.connections.filter(|most| CAPS.contains(most));
            let is_counted = manner.counts_connections && measure.decision.action == Action::Limit;
            if let Some(most) = most.filter(|_| is_counted) {
                all.extend(sources.iter().map(|source| Element::Cap { most, source: *source }));
                all.extend(reaches(scope, sources).map(Reach::capped));
            }
            all
        }
        (Action::Observe | Action::Notify, _) => Vec::new(),
    }
}

/// One source and what of its traffic a scope reaches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    source: IpNet,
    pub(super) destination: Option<IpNet>,
    pub(super) service: Option<(Protocol, u16)>,
}

impl Reach {
    fn is_service(self) -> bool {
        self.destination.is_some() && self.service.is_some()
    }

    fn blocked(self) -> Element {
        let source = self.source;
        match (self.destination, self.service) {
            (None, None) => Element::Suspended(source),
            (None, Some((protocol, port))) => Element::BlockedPort { source, protocol, port },
            (Some(destination), None) => Element::BlockedDestination { source, destination },
            (Some(destination), Some((protocol, port))) => {
                Element::BlockedService { source, destination, protocol, port }
            }
        }
    }

    fn capped(self) -> Element {
        let Self { source, destination, service } = self;
        Element::Capped { source, destination, service }
    }

    fn limited(self, pace: Pace) -> Element {
        let Self { source, destination, service } = self;
        Element::Limit { pace, source, destination, service }
    }
}

/// What of each source's traffic a scope reaches.
pub(super) fn reaches(scope: &Scope, sources: &[IpNet]) -> impl Iterator<Item = Reach> {
    let to = |services: Vec<Option<(Protocol, u16)>>, destinations: Vec<IpNet>| -> Vec<Reach> {
        pairs(sources, destinations.into_iter())
            .flat_map(|(source, destination)| {
                let of = move |service| Reach { source, destination: Some(destination), service };
                services.clone().into_iter().map(of)
            })
            .collect()
    };
    let from = |service| -> Vec<Reach> {
        sources.iter().map(|source| Reach { source: *source, destination: None, service }).collect()
    };
    let all = match scope {
        Scope::All => from(None),
        // It goes by ports.
        Scope::Forged => Vec::new(),
        Scope::Port { protocol, port } => from(Some((*protocol, *port))),
        Scope::Destinations { addresses } => {
            to(vec![None], addresses.iter().copied().map(IpNet::from).collect())
        }
        Scope::DestinationPorts { targets } => targets
            .iter()
            .filter_map(|target| Some((target.address, (target.protocol, target.port?))))
            .flat_map(|(address, service)| to(vec![Some(service)], vec![address.into()]))
            .collect(),
        Scope::Endpoint { addresses, ports, .. } => {
            to(ports.iter().map(|port| Some((Protocol::Tcp, *port))).collect(), IpNet::aggregate(addresses))
        }
    };
    all.into_iter()
}

/// Every source with every destination of its version.
fn pairs(
    sources: &[IpNet],
    destinations: impl Iterator<Item = IpNet>,
) -> impl Iterator<Item = (IpNet, IpNet)> {
    destinations.flat_map(move |destination| {
        let same = move |source: &&IpNet| version(source) == version(&destination);
        sources.iter().filter(same).map(move |source| (*source, destination))
    })
}

#[cfg(test)]
mod tests {
    use reeve_policy::{Mode, Origin, Target, Until};

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
            connections: None,
            softened: None,
            reckoning: None,
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
        let manner = Manner { counts_connections: true, ..Manner::default() };
        let spared = Spared { lifeline: &["198.51.100.7/32".parse().unwrap()], manner, ..Spared::default() };
        let all = elements(&desired, &"n1".parse().unwrap(), &tenants, spared, Timestamp::from_secs(200));
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
                "Lifeline { source: 203.0.113.0/25, destination: 198.51.100.7/32 } Lease ",
            ],
        );
    }

    #[test]
    fn where_inbound_is_cut_a_suspension_holds_its_addresses_as_destinations_too() {
        let addresses = ["203.0.113.7/32", "2001:db8:10::/48"].map(|net| net.parse().unwrap()).to_vec();
        let tenants = [Arc::new(Tenant { addresses, ..Tenant::new("a".parse().unwrap()) })];
        let both = ["203.0.113.7/32", "2001:db8:10::/48"];
        for (action, cuts_inbound, expect) in [
            (Action::Suspend, false, &[][..]),
            (Action::Suspend, true, &both),
            // That is about what the tenant sends.
            (Action::Block, true, &[]),
        ] {
            let held = measure("m", action, Scope::All, Until::Released);
            let desired = DesiredState {
                version: 1,
                measures: [(held.decision.id.clone(), held)].into_iter().collect(),
            };
            let manner = Manner { cuts_inbound, ..Manner::default() };
            let spared = Spared { manner, ..Spared::default() };
            let all = elements(&desired, &"n1".parse().unwrap(), &tenants, spared, Timestamp::from_secs(200));
            let cut: Vec<String> = all
                .iter()
                .filter_map(|(element, hold)| match element {
                    Element::Cut(net) => {
                        assert_eq!((hold.lasting, hold.decisions.len()), (Lasting::Lease, 0));
                        Some(net.to_string())
                    }
                    _ => None,
                })
                .collect();
            assert_eq!(cut, expect);
        }
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
                &format!("Lifeline {{ source: 203.0.113.0/25, destination: 198.51.100.7/32 }} {end:?} "),
            ],
        );
    }

    #[test]
    fn blocks_pair_addresses_of_one_version() {
        let addresses = vec!["20.0.0.1".parse().unwrap(), "2001:db8:f000::1".parse().unwrap()];
        check(
            &[measure("m", Action::Block, Scope::Destinations { addresses }, Until::Released)],
            &[
                "HeldPort(\"tap0\") Lease ",
                "Held(203.0.113.0/25) Lease ",
                "Held(2001:db8:10::/48) Lease ",
                "BlockedDestination { source: 203.0.113.0/25, destination: 20.0.0.1/32 } Lease m",
                "BlockedDestination { source: 2001:db8:10::/48, destination: 2001:db8:f000::1/128 } Lease m",
            ],
        );
        let targets =
            vec![Target { address: "20.0.0.1".parse().unwrap(), protocol: Protocol::Udp, port: Some(53) }];
        check(
            &[measure("m", Action::Block, Scope::DestinationPorts { targets }, Until::Released)],
            &[
                "HeldPort(\"tap0\") Lease ",
                "Held(203.0.113.0/25) Lease ",
                "Held(2001:db8:10::/48) Lease ",
                "BlockedService { source: 203.0.113.0/25, destination: 20.0.0.1/32, protocol: Udp, port: 53 } Lease m",
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
                "HeldPort(\"tap0\") Lease ",
                "Held(203.0.113.0/25) Lease ",
                "Held(2001:db8:10::/48) Lease ",
                "BlockedPort { source: 203.0.113.0/25, protocol: Tcp, port: 25 } Lease m",
                "BlockedPort { source: 2001:db8:10::/48, protocol: Tcp, port: 25 } Lease m",
            ],
        );
    }

    fn limited(id: &str, scope: Scope, rate: &str) -> Measure {
        let mut limit = measure(id, Action::Limit, scope, HOUR);
        limit.decision.rate = Some(rate.parse().unwrap());
        limit
    }

    #[test]
    fn so_many_connections_at_a_time_are_asked_beside_the_rate() {
        let endpoint = Scope::Endpoint {
            name: "api".parse().unwrap(),
            addresses: vec!["20.80.7.7/32".parse().unwrap()],
            ports: vec![443],
        };
        let mut limit = limited("m", endpoint, "1/second burst 1");
        limit.decision.connections = Some(1);
        let end = Lasting::Until(Timestamp::from_secs(3_700));
        let to = "source: 203.0.113.0/25, destination: Some(20.80.7.7/32), service: Some((Tcp, 443))";
        check(
            &[limit],
            &[
                &format!("HeldPort(\"tap0\") {end:?} "),
                &format!("Held(203.0.113.0/25) {end:?} "),
                &format!("Held(2001:db8:10::/48) {end:?} "),
                &format!("Cap {{ most: 1, source: 203.0.113.0/25 }} {end:?} "),
                &format!("Cap {{ most: 1, source: 2001:db8:10::/48 }} {end:?} "),
                &format!("Capped {{ {to} }} {end:?} "),
                &format!("Limited(203.0.113.0/25) {end:?} m"),
                &format!("Limited(2001:db8:10::/48) {end:?} m"),
                &format!("Limit {{ pace: Openings, {to} }} {end:?} m"),
            ],
        );
    }

    #[test]
    fn what_is_forged_is_held_by_ports_that_are_one_tenants_alone() {
        let vouched = [
            "VettedPort(\"tap0\") Lease ",
            "Vouched { port: \"tap0\", source: 203.0.113.0/25 } Lease ",
            "Vouched { port: \"tap0\", source: 2001:db8:10::/48 } Lease ",
            "Vouched { port: \"tap0\", source: fe80::/10 } Lease ",
        ];
        let held = ["HeldPort(\"tap0\") Lease "];
        check(
            &[measure("m", Action::Block, Scope::Forged, Until::Released)],
            &[&held[..], &vouched, &["ForgedPort(\"tap0\") Lease m"]].concat(),
        );
        let mut limit = measure("m", Action::Limit, Scope::Forged, Until::Released);
        limit.decision.rate = Some("10 packets/second".parse().unwrap());
        let limited = ["ForgedLimit(\"tap0\") Lease m", "ForgedLimited(\"tap0\") Lease m"];
        check(&[limit], &[&held[..], &vouched, &limited].concat());
    }

    #[test]
    fn what_is_forged_cannot_be_told_without_a_port_or_an_address() {
        let forged = measure("m", Action::Block, Scope::Forged, Until::Released);
        let desired = DesiredState {
            version: 1,
            measures: [(forged.decision.id.clone(), forged)].into_iter().collect(),
        };
        let address = vec!["203.0.113.7/32".parse().unwrap()];
        let port = vec!["n1/tap0".parse().unwrap()];
        for (addresses, interfaces) in [(address, Vec::new()), (Vec::new(), port)] {
            let tenant = Tenant { addresses, interfaces, ..Tenant::new("a".parse().unwrap()) };
            let (node, tenants) = ("n1".parse().unwrap(), [Arc::new(tenant)]);
            let now = Timestamp::from_secs(200);
            assert!(elements(&desired, &node, &tenants, Spared::default(), now).is_empty());
        }
    }

    #[test]
    fn limits_lead_to_an_object_each_and_the_stricter_counts() {
        let port = || Scope::Port { protocol: Protocol::Tcp, port: 25 };
        let end = Lasting::Until(Timestamp::from_secs(3_700));
        for (first, second, strict) in
            [("10/minute", "1/minute", "m2+m1"), ("1/minute", "10/minute", "m1+m2")]
        {
            check(
                &[limited("m1", port(), first), limited("m2", port(), second)],
                &[
                    &format!("HeldPort(\"tap0\") {end:?} "),
                    &format!("Held(203.0.113.0/25) {end:?} "),
                    &format!("Held(2001:db8:10::/48) {end:?} "),
                    &format!("Limited(203.0.113.0/25) {end:?} m1+m2"),
                    &format!("Limited(2001:db8:10::/48) {end:?} m1+m2"),
                    &format!(
                        "Limit {{ pace: Openings, source: 203.0.113.0/25, destination: None, service: Some((Tcp, 25)) }} {end:?} {strict}"
                    ),
                    &format!(
                        "Limit {{ pace: Openings, source: 2001:db8:10::/48, destination: None, service: Some((Tcp, 25)) }} {end:?} {strict}"
                    ),
                ],
            );
        }
    }

    #[test]
    fn what_lies_within_another_is_served_by_it() {
        let endpoint = Scope::Endpoint {
            name: "api".parse().unwrap(),
            addresses: vec!["20.80.7.0/24".parse().unwrap()],
            ports: vec![443],
        };
        let target =
            |last| Target { address: [20, 80, last, 7].into(), protocol: Protocol::Tcp, port: Some(443) };
        let targets = Scope::DestinationPorts { targets: vec![target(7), target(8)] };
        check(
            &[
                measure("m", Action::Block, endpoint, HOUR),
                measure("n", Action::Block, targets, Until::Released),
            ],
            &[
                "HeldPort(\"tap0\") Lease ",
                "Held(203.0.113.0/25) Lease ",
                "Held(2001:db8:10::/48) Lease ",
                "BlockedService { source: 203.0.113.0/25, destination: 20.80.7.0/24, protocol: Tcp, port: 443 } Until(Timestamp(3700000000000)) m+n",
                "BlockedService { source: 203.0.113.0/25, destination: 20.80.8.7/32, protocol: Tcp, port: 443 } Lease n",
            ],
        );
    }

    #[test]
    fn a_stricter_limit_within_a_wider_one_is_not_lost() {
        let endpoint = |addresses: &[&str]| Scope::Endpoint {
            name: "api".parse().unwrap(),
            addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
            ports: vec![443],
        };
        let end = Lasting::Until(Timestamp::from_secs(3_700));
        for (wide, narrow, told) in [("10/minute", "1/minute", "n+m"), ("1/minute", "10/minute", "m+n")] {
            let limits = [
                limited("m", endpoint(&["20.80.7.0/24"]), wide),
                limited("n", endpoint(&["20.80.7.7/32"]), narrow),
            ];
            let to = "source: 203.0.113.0/25, destination: Some(20.80.7.0/24), service: Some((Tcp, 443))";
            check(
                &limits,
                &[
                    &format!("HeldPort(\"tap0\") {end:?} "),
                    &format!("Held(203.0.113.0/25) {end:?} "),
                    &format!("Held(2001:db8:10::/48) {end:?} "),
                    &format!("Limited(203.0.113.0/25) {end:?} m+n"),
                    &format!("Limited(2001:db8:10::/48) {end:?} m+n"),
                    &format!("Limit {{ pace: Openings, {to} }} {end:?} {told}"),
                ],
            );
        }
    }

    #[test]
    fn calls_are_limited_by_openings_and_by_segments() {
        let endpoint = Scope::Endpoint {
            name: "api".parse().unwrap(),
            addresses: vec!["20.80.7.7/32".parse().unwrap()],
            ports: vec![443],
        };
        let end = Lasting::Until(Timestamp::from_secs(3_700));
        let to = "source: 203.0.113.0/25, destination: Some(20.80.7.7/32), service: Some((Tcp, 443))";
        check(
            &[limited("m", endpoint, "1 calls/second")],
            &[
                &format!("HeldPort(\"tap0\") {end:?} "),
                &format!("Held(203.0.113.0/25) {end:?} "),
                &format!("Held(2001:db8:10::/48) {end:?} "),
                &format!("Limited(203.0.113.0/25) {end:?} m"),
                &format!("Limited(2001:db8:10::/48) {end:?} m"),
                &format!("Limit {{ pace: Openings, {to} }} {end:?} m"),
                &format!("Limit {{ pace: Calls, {to} }} {end:?} m"),
            ],
        );
    }

    #[test]
    fn an_address_of_the_node_is_a_tenants_where_it_is_let() {
        let tenant = Tenant {
            addresses: vec!["203.0.113.10/32".parse().unwrap(), "203.0.114.0/24".parse().unwrap()],
            ..Tenant::new("a".parse().unwrap())
        };
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        let own = nets(&["203.0.113.10/32", "203.0.114.1/32", "192.0.2.9/32"]);
        for (protected, expect) in [
            (nets(&[]), vec!["192.0.2.9/32", "203.0.114.1/32"]),
            (nets(&["203.0.113.10/32"]), vec!["192.0.2.9/32", "203.0.113.10/32", "203.0.114.1/32"]),
        ] {
            let spared = Spared { protected: &protected, own: &own, ..Spared::default() };
            let tenants = [Arc::new(tenant.clone())];
            let all = elements(
                &DesiredState::default(),
                &"n1".parse().unwrap(),
                &tenants,
                spared,
                Timestamp::from_secs(200),
            );
            let told: Vec<String> = all
                .keys()
                .filter_map(|element| match element {
                    Element::Own(net) => Some(net.to_string()),
                    _ => None,
                })
                .collect();
            assert_eq!(told, expect);
        }
    }

    #[test]
    fn a_measure_that_is_too_large_does_not_keep_others_from_standing() {
        let mut desired = DesiredState::default();
        let targets = (0..=255_u8).map(|last| std::net::IpAddr::from([20, 0, 0, last])).collect();
        let large = measure("a", Action::Block, Scope::Destinations { addresses: targets }, HOUR);
        let small = measure("b", Action::Suspend, Scope::All, HOUR);
        for measure in [large, small] {
            desired.measures.insert(measure.decision.id.clone(), measure);
        }
        // No two of them make a larger prefix.
        let addresses = (0..512_u32)
            .map(|number| {
                IpNet::from(std::net::IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + number * 2)))
            })
            .collect();
        let tenant = Arc::new(Tenant { addresses, ..Tenant::new("a".parse().unwrap()) });
        let all = elements(
            &desired,
            &"n1".parse().unwrap(),
            &[tenant],
            Spared::default(),
            Timestamp::from_secs(200),
        );
        assert_eq!(all.len(), 512);
        assert!(all.values().all(|hold| hold.decisions == [DecisionId("b".parse().unwrap())]));
    }
}
