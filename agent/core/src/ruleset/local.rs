//! The node's own processes: tenants that are users or control groups of it.
//!
//! Where a node has such tenants the table for what is routed has more: two chains at the hooks where its own processes' packets leave and
//! arrive, before all else that looks at marks. There a map makes the tenant's number of user or group
//! ([`crate::topology::local`]), which the packet bears as its mark while it is looked at, and no longer: packets that have a mark
//! already are left alone, and those that were given one lose it at the end. So the sets are keyed by one number whatever the
//! tenant is told by, and `socket cgroupv2`, whose depth a rule must name, costs one map and one rule a depth.
//!
//! What the tenants' processes send is logged to a netlink group, cut off behind what is read of it, and so is what arrives that may answer
//! them. Then come the same steps as for addresses: the suspended are refused but for their lifeline, of the held what is too much is dropped,
//! protected destinations are let through and the blocked are refused. *Refused* is a reset for TCP, since the program that waits hears of that
//! at once, and of an ICMP message only with the next retransmission.
//!
//! What stays on the machine is not looked at.
//!
//! **Mail.** What the shared mail server sends to port 25 is logged whole. While mail of some tenant is held back, a segment that begins with `MAIL ` waits:
//! it is dropped until the agent has read whose it is, and let the connection's next one pass (`mail_passed`) or cut the
//! connection (`mail_cut`). TCP sends it again by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reeve_policy::rate::Unit;
use reeve_policy::{Action, DesiredState, Measure, NodeId, Protocol, Scope, Tenant, TenantId, Timestamp};

use super::elements::{Asked, EVERYWHERE, Hold, Lasting, Room, Spared, reaches, without_overlaps};
use super::{
    Chain, ChainId, Element, Elements, Field, Members, Pace, Rule, Set, SetId, Shape, Verdict, Version,
};
use crate::frame::Owner;
use crate::topology::local::owners;

/// What there is of it on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// The netlink group that is logged to.
    pub group: u16,
    /// How much of a packet is logged.
    pub snap_len: u32,
    /// How much of one whose payload is read.
    pub read_len: u32,
    /// Whether a mail server is shared.
    pub has_mailer: bool,
}

/// A set or map by the numbers of tenants, or that leads to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnerSet {
    /// Users to numbers.
    User,
    /// Control groups so deep to numbers.
    Group(u8),
    /// Ports where what is said is read.
    ReadPort,
    /// Those of whom everything is refused.
    Suspended,
    /// Those of whom something is refused or limited.
    Held,
    /// Destinations that a suspended one keeps.
    Lifeline(Version),
    /// Ports.
    BlockedPort,
    /// Destinations.
    BlockedDestination(Version),
    /// Ports of destinations.
    BlockedService(Version),
    /// What was too much, counted.
    Limited,
    /// The limits; those that name no destination are for both versions.
    Limit(Pace, Shape, Option<Version>),
    /// The mail server, while some tenant's mail is held back.
    MailWeighed,
    /// Connections whose next command that names a sender is let through.
    MailPassed(Version),
    /// Connections that are cut.
    MailCut(Version),
}

/// What is held of a tenant on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owned {
    /// Everything.
    Suspended,
    /// Something.
    Held,
    /// Something was too much; it only counts.
    Limited,
    /// A destination that it keeps.
    Lifeline(IpNet),
    /// A port, a destination, or a port of a destination.
    Blocked {
        /// The destination; `None` for any.
        destination: Option<IpNet>,
        /// Protocol and port; `None` for any.
        service: Option<(Protocol, u16)>,
    },
    /// What leads to a limit.
    Limit {
        /// Which packets are asked.
        pace: Pace,
        /// The destination; `None` for any.
        destination: Option<IpNet>,
        /// Protocol and port; `None` for any.
        service: Option<(Protocol, u16)>,
    },
    /// Senders of mail are looked at.
    Weighed,
}

/// A rule of these chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalRule {
    /// Let through what does not leave the machine.
    AcceptLoopback {
        /// Whether it has arrived, or is to leave.
        has_arrived: bool,
    },
    /// A packet without a mark goes on in a chain and comes back.
    JumpUnmarked(ChainId),
    /// Makes the number of a map's the packet's mark.
    Mark(OwnerSet),
    /// Goes on in a chain with what the mail server sends.
    JumpMailer(ChainId),
    /// Goes back with a packet that still has no mark.
    ReturnUnmarked,
    /// Takes the mark away.
    Unmark,
    /// Logs so much.
    Log {
        /// The netlink group.
        group: u16,
        /// Bytes, from the IP header on.
        len: u32,
        /// Of which.
        what: Logged,
    },
    /// Answers TCP with a reset, at most so often; else goes on.
    Reset {
        /// Answers per second, over all tenants.
        per_second: u32,
        /// Answers at once.
        burst: u32,
    },
    /// Goes on in a chain with a segment to port 25 that begins by naming a sender, if that is looked at.
    JumpSenders(ChainId),
    /// Lets one packet of such a connection go back.
    PassOnce(Version),
}

/// Which packets are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logged {
    /// All.
    All,
    /// To ports where what is said is read; then the chain is left.
    ToReadPorts,
    /// To port 25.
    ToMailPort,
    /// From ports where what is said is read, over TCP; then the chain is left.
    FromReadPorts,
    /// What opens, refuses or closes a TCP connection with a port that people may have.
    TcpEnds,
    /// Datagrams to such a port.
    Datagrams,
    /// What is neither TCP nor UDP.
    Others,
}

/// Ports below this are the system's (`ip_unprivileged_port_start`).
pub const FIRST_PORT: u16 = 1_024;
/// The first word of a segment that names a sender (RFC 5321, section 3.3).
pub const NAMES_SENDER: &[u8; 5] = b"MAIL ";
/// Where servers take mail from others (RFC 5321).
pub const MAIL_PORT: u16 = 25;
/// Before connection tracking, and before all that gives packets marks.
pub const OUTPUT_PRIORITY: i32 = RAW - 10;
/// `NF_IP_PRI_RAW`.
pub const RAW: i32 = -300;
/// Behind what takes translated addresses back.
const INPUT_PRIORITY: i32 = -10;
/// Refusals reach only processes of the machine itself.
const RESETS_PER_SECOND: u32 = 1_000;
const RESETS_BURST: u32 = 500;
/// Depths of control groups that are told apart.
const DEPTHS: [u8; reeve_policy::local::GROUP_DEPTH_MAX] = [1, 2, 3, 4];

impl OwnerSet {
    /// Every set and map.
    #[must_use]
    pub fn all(local: Local) -> Vec<Self> {
        let both = |make: fn(Version) -> Self| Version::BOTH.map(make);
        let mut all = vec![Self::User];
        all.extend(DEPTHS.map(Self::Group));
        all.extend([Self::ReadPort, Self::Suspended, Self::Held]);
        all.extend(both(Self::Lifeline));
        all.push(Self::BlockedPort);
        all.extend(both(Self::BlockedDestination));
        all.extend(both(Self::BlockedService));
        all.push(Self::Limited);
        for pace in [Pace::Traffic, Pace::Openings, Pace::Calls] {
            all.extend(pace.shapes().iter().flat_map(|shape| of_shape(pace, *shape)));
        }
        if local.has_mailer {
            all.push(Self::MailWeighed);
            all.extend(both(Self::MailPassed));
            all.extend(both(Self::MailCut));
        }
        all
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::User => "owner_user".to_owned(),
            Self::Group(depth) => format!("owner_group{depth}"),
            Self::ReadPort => "read_port".to_owned(),
            Self::Suspended => "owner_suspended".to_owned(),
            Self::Held => "owner_held".to_owned(),
            Self::Lifeline(version) => format!("owner_lifeline{}", version.digit()),
            Self::BlockedPort => "owner_blocked_port".to_owned(),
            Self::BlockedDestination(version) => format!("owner_blocked_dst{}", version.digit()),
            Self::BlockedService(version) => format!("owner_blocked_dst_port{}", version.digit()),
            Self::Limited => "owner_limited".to_owned(),
            Self::Limit(pace, shape, version) => {
                let digit = version.map(|version| version.digit().to_string()).unwrap_or_default();
                format!("owner_{}{}{digit}", pace.name(), shape.name())
            }
            Self::MailWeighed => "mail_weighed".to_owned(),
            Self::MailPassed(version) => format!("mail_passed{}", version.digit()),
            Self::MailCut(version) => format!("mail_cut{}", version.digit()),
        }
    }

    /// What it is keyed by.
    #[must_use]
    pub fn key(self) -> Vec<Field> {
        use Field::{Destination, Port, Protocol, Source, TcpDestinationPort, TcpSourcePort};
        match self {
            Self::User => vec![Field::User],
            Self::Group(depth) => vec![Field::Group(depth)],
            Self::ReadPort => vec![Port],
            Self::Suspended | Self::Held | Self::Limited | Self::MailWeighed => vec![Field::Owner],
            Self::BlockedPort => vec![Field::Owner, Protocol, Port],
            Self::Lifeline(version) | Self::BlockedDestination(version) => {
                vec![Field::Owner, Destination(version)]
            }
            Self::BlockedService(version) => vec![Field::Owner, Destination(version), Protocol, Port],
            Self::Limit(_, shape, version) => {
                let (source, rest) = (Field::Owner, shape.key(version.unwrap_or(Version::V4)));
                std::iter::once(source).chain(rest.into_iter().skip(1)).collect()
            }
            Self::MailPassed(version) | Self::MailCut(version) => {
                vec![Source(version), TcpSourcePort, Destination(version), TcpDestinationPort]
            }
        }
    }

    pub(super) const fn members(self) -> Members {
        match self {
            Self::User | Self::Group(_) => Members::Owners,
            Self::ReadPort => Members::Plain,
            Self::Held | Self::Lifeline(_) | Self::MailCut(_) => Members::Timed,
            Self::MailPassed(_) => Members::Taken,
            Self::Limit(..) => Members::Limits,
            _ => Members::Counted,
        }
    }

    /// Whether its elements may be ranges: where there are destinations among other things.
    pub(super) fn has_ranges(self) -> bool {
        !self.is_of_connections() && self.key().len() > 1
    }

    /// Whether its members are connections, which come and go without being measures.
    #[must_use]
    pub const fn is_of_connections(self) -> bool {
        matches!(self, Self::MailPassed(_) | Self::MailCut(_))
    }
}

fn of_shape(pace: Pace, shape: Shape) -> Vec<OwnerSet> {
    match shape {
        Shape::Source | Shape::Port => vec![OwnerSet::Limit(pace, shape, None)],
        Shape::Destination | Shape::Service => {
            Version::BOTH.map(|version| OwnerSet::Limit(pace, shape, Some(version))).to_vec()
        }
    }
}

fn version(net: &IpNet) -> Version {
    match net {
        IpNet::V4(_) => Version::V4,
        IpNet::V6(_) => Version::V6,
    }
}

impl Owned {
    pub(super) fn set(&self) -> OwnerSet {
        match self {
            Self::Suspended => OwnerSet::Suspended,
            Self::Held => OwnerSet::Held,
            Self::Limited => OwnerSet::Limited,
            Self::Weighed => OwnerSet::MailWeighed,
            Self::Lifeline(net) => OwnerSet::Lifeline(version(net)),
            Self::Blocked { destination: None, service: None } => OwnerSet::Suspended,
            Self::Blocked { destination: None, service: Some(_) } => OwnerSet::BlockedPort,
            Self::Blocked { destination: Some(net), service: None } => {
                OwnerSet::BlockedDestination(version(net))
            }
            Self::Blocked { destination: Some(net), service: Some(_) } => {
                OwnerSet::BlockedService(version(net))
            }
            Self::Limit { pace, destination, service } => {
                let shape = match (destination, service) {
                    (None, None) => Shape::Source,
                    (None, Some(_)) => Shape::Port,
                    (Some(_), None) => Shape::Destination,
                    (Some(_), Some(_)) => Shape::Service,
                };
                OwnerSet::Limit(*pace, shape, destination.as_ref().map(version))
            }
        }
    }

    /// What it is keyed by beside the tenant.
    #[must_use]
    pub fn place(&self) -> (Option<&IpNet>, Option<(Protocol, u16)>) {
        match self {
            Self::Suspended | Self::Held | Self::Limited | Self::Weighed => (None, None),
            Self::Lifeline(net) => (Some(net), None),
            Self::Blocked { destination, service } | Self::Limit { destination, service, .. } => {
                (destination.as_ref(), *service)
            }
        }
    }
}

/// The sets of these chains.
pub(super) fn sets(local: Local) -> impl Iterator<Item = Set> {
    let set = |id: OwnerSet| Set {
        id: SetId::Owner(id),
        key: id.key(),
        interval: id.has_ranges(),
        members: id.members(),
    };
    OwnerSet::all(local).into_iter().map(set)
}

fn lookup(set: OwnerSet, verdict: Verdict) -> Rule {
    Rule::Lookup { key: set.key(), set: SetId::Owner(set), verdict }
}

fn both(make: fn(Version) -> OwnerSet, verdict: Verdict) -> [Rule; 2] {
    Version::BOTH.map(|version| lookup(make(version), verdict))
}

fn limits(pace: Pace) -> impl Iterator<Item = Rule> {
    let (source, count) = (OwnerSet::Limited.key(), SetId::Owner(OwnerSet::Limited));
    pace.shapes().iter().flat_map(move |shape| of_shape(pace, *shape)).map(move |map| Rule::Limit {
        key: map.key(),
        map: SetId::Owner(map),
        is_loaded: pace == Pace::Calls,
        source: source.clone(),
        count,
    })
}

/// The chains, those that are gone to first.
pub(super) fn chains(local: Local) -> Vec<Chain> {
    let chain = |id, priority, rules| Chain { id, priority, rules };
    let log = |len, what| Rule::Local(LocalRule::Log { group: local.group, len, what });
    let refuse = Verdict::Goto(ChainId::OwnerRefuse);
    let reset = LocalRule::Reset { per_second: RESETS_PER_SECOND, burst: RESETS_BURST };

    let refused = vec![
        Rule::Local(reset),
        Rule::Reject { per_second: RESETS_PER_SECOND, burst: RESETS_BURST },
        Rule::Always(Verdict::Drop),
    ];
    let mut suspended = both(OwnerSet::Lifeline, Verdict::Return).to_vec();
    suspended.push(Rule::Always(refuse));
    let mut openings = vec![Rule::ReturnUnlessOpening];
    openings.extend(limits(Pace::Openings));
    let mut held = Vec::new();
    held.extend(limits(Pace::Traffic));
    held.extend(limits(Pace::Calls));
    held.push(Rule::Always(Verdict::Jump(ChainId::OwnerOpenings)));
    held.extend(super::both(SetId::Protected, Verdict::Return));
    held.push(lookup(OwnerSet::BlockedPort, refuse));
    held.extend(both(OwnerSet::BlockedDestination, refuse));
    held.extend(both(OwnerSet::BlockedService, refuse));

    let mut owned = vec![Rule::Local(LocalRule::Mark(OwnerSet::User))];
    owned.extend(DEPTHS.map(|depth| Rule::Local(LocalRule::Mark(OwnerSet::Group(depth)))));
    owned.push(Rule::Local(LocalRule::ReturnUnmarked));
    if local.has_mailer {
        owned.push(Rule::Local(LocalRule::JumpMailer(ChainId::Mailer)));
        owned.push(Rule::Local(LocalRule::ReturnUnmarked));
    }
    owned.push(Rule::Always(Verdict::Jump(ChainId::OwnerLogged)));
    owned.push(lookup(OwnerSet::Suspended, Verdict::Jump(ChainId::OwnerSuspended)));
    owned.push(lookup(OwnerSet::Held, Verdict::Jump(ChainId::OwnerHeld)));
    owned.push(Rule::Local(LocalRule::Unmark));

    let mut chains = vec![
        chain(ChainId::OwnerRefuse, None, refused),
        chain(ChainId::OwnerSuspended, None, suspended),
        chain(ChainId::OwnerOpenings, None, openings),
        chain(ChainId::OwnerHeld, None, held),
        chain(
            ChainId::OwnerLogged,
            None,
            vec![log(local.read_len, Logged::ToReadPorts), log(local.snap_len, Logged::All)],
        ),
    ];
    if local.has_mailer {
        let mut weighed = Version::BOTH.map(|version| Rule::Local(LocalRule::PassOnce(version))).to_vec();
        weighed.push(Rule::Always(Verdict::Drop));
        chains.push(chain(ChainId::MailSenders, None, weighed));
        let mut mailer = vec![log(local.read_len, Logged::ToMailPort)];
        mailer.extend(both(OwnerSet::MailCut, refuse));
        mailer.push(Rule::Local(LocalRule::JumpSenders(ChainId::MailSenders)));
        mailer.push(Rule::Local(LocalRule::Unmark));
        chains.push(chain(ChainId::Mailer, None, mailer));
    }
    chains.push(chain(ChainId::Owned, None, owned));
    chains.push(chain(
        ChainId::LocalOutput,
        Some(OUTPUT_PRIORITY),
        vec![
            Rule::Local(LocalRule::AcceptLoopback { has_arrived: false }),
            Rule::Local(LocalRule::JumpUnmarked(ChainId::Owned)),
        ],
    ));
    chains.push(chain(
        ChainId::LocalInput,
        Some(INPUT_PRIORITY),
        vec![
            Rule::Local(LocalRule::AcceptLoopback { has_arrived: true }),
            log(local.read_len, Logged::FromReadPorts),
            log(local.snap_len, Logged::TcpEnds),
            log(local.snap_len, Logged::Datagrams),
            log(local.snap_len, Logged::Others),
        ],
    ));
    chains
}

/// What the node knows of its own processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// The ids of control groups that are there, by path.
    pub groups: BTreeMap<Arc<str>, u64>,
    /// The users that the shared mail server runs as.
    pub mailers: Vec<u32>,
    /// Ports where what is said is read.
    pub read_ports: Vec<u16>,
    /// Users below this are nobody's, unless the tenant's entry says so.
    pub first_user: u32,
}

/// The elements that say whose the node's own processes are, and that carry `desired` out on them. As with addresses, a measure
/// whose time is over has none, nor one for which there is no room.
#[must_use]
pub fn elements(
    desired: &DesiredState,
    node: &NodeId,
    tenants: &[Arc<Tenant>],
    spared: Spared<'_>,
    here: &Here,
    now: Timestamp,
) -> Elements {
    let owned = OwnedBy::of(node, tenants);
    let mut all = always(node, tenants, here);
    let mut room = Room::default();
    for measure in desired.measures.values() {
        if measure.expires.is_some_and(|end| end <= now) {
            continue;
        }
        let part = owned.part(measure, !here.mailers.is_empty(), spared.lifeline, now);
        if room.take(part.iter().map(|one| &one.element)) {
            part.iter().for_each(|one| one.enter(&mut all, &measure.decision));
        }
    }
    without_overlaps(all)
}

/// What stands whatever is decided: whose the users and control groups are, and the ports where what is said is read.
pub(super) fn always(node: &NodeId, tenants: &[Arc<Tenant>], here: &Here) -> Elements {
    let owners = owners(node, tenants);
    let by_id: BTreeMap<&TenantId, &Tenant> = tenants.iter().map(|tenant| (&tenant.id, &**tenant)).collect();
    let mut all = Elements::new();
    let mut always = |element| {
        all.insert(element, Hold::new(Lasting::Always));
    };
    here.read_ports.iter().for_each(|port| always(Element::ReadPort(*port)));
    let mut users = BTreeMap::new();
    for (id, owner) in &owners {
        let tenant = by_id[id];
        for selector in tenant.uids.iter().filter(|selector| selector.is_on(node)) {
            let is_known = |uid: &u32| *uid >= here.first_user || tenant.system_users;
            users.extend((selector.first..=selector.last).filter(is_known).map(|uid| (uid, *owner)));
        }
        for selector in tenant.cgroups.iter().filter(|selector| selector.is_on(node)) {
            if let Some(&id) = here.groups.get(&selector.path) {
                let depth = u8::try_from(selector.depth()).unwrap_or(u8::MAX);
                always(Element::Group { depth, id, owner: owner.0 });
            }
        }
    }
    users.extend(here.mailers.iter().map(|uid| (*uid, Owner::MAILER)));
    users.into_iter().for_each(|(uid, owner)| always(Element::User { uid, owner: owner.0 }));
    all
}

/// The tenants that are on a node by their processes, and their numbers.
#[derive(Clone, Debug)]
pub(super) struct OwnedBy(BTreeMap<TenantId, (Owner, Arc<Tenant>)>);

impl OwnedBy {
    pub(super) fn of(node: &NodeId, tenants: &[Arc<Tenant>]) -> Self {
        let owners = owners(node, tenants);
        let owner =
            |tenant: &Arc<Tenant>| Some((tenant.id.clone(), (*owners.get(&tenant.id)?, Arc::clone(tenant))));
        Self(tenants.iter().filter_map(owner).collect())
    }

    /// What a measure asks for at `now`, in the order in which it is entered; nothing where its tenant is not among them.
    pub(super) fn part(
        &self,
        measure: &Measure,
        has_mailer: bool,
        lifeline: &[IpNet],
        now: Timestamp,
    ) -> Vec<Asked> {
        let Some((owner, tenant)) = self.0.get(&measure.decision.tenant) else { return Vec::new() };
        let lasting = measure.expires.map_or(Lasting::Lease, Lasting::Until);
        let own = of_measure(measure, tenant, *owner, has_mailer).into_iter().map(|element| {
            let is_weighed = matches!(element, Element::Owned { what: Owned::Weighed, .. });
            let lasting = if is_weighed { Lasting::Until(weighed_until(measure, now)) } else { lasting };
            Asked { element, lasting, is_own: true }
        });
        let others = beside(measure, tenant, *owner, lifeline);
        own.chain(others.into_iter().map(|element| Asked { element, lasting, is_own: false })).collect()
    }
}

/// How long commands that name a sender wait if no agent is there that reads them: others' mail is among them. The agent looks anew each
/// [`WEIGHED_STEP`].
fn weighed_until(measure: &Measure, now: Timestamp) -> Timestamp {
    let end = now.floor_to(WEIGHED_STEP) + WEIGHED_STEP * 3;
    measure.expires.map_or(end, |expires| expires.min(end))
}

/// So often what is [`Owned::Weighed`] is to be renewed.
pub const WEIGHED_STEP: Duration = Duration::from_secs(20);

fn of_measure(measure: &Measure, tenant: &Tenant, owner: Owner, has_mailer: bool) -> Vec<Element> {
    let decision = &measure.decision;
    let mut what: Vec<Owned> = Vec::new();
    match (decision.action, &decision.scope) {
        (Action::Suspend, _) | (Action::Block, Scope::All) => what.push(Owned::Suspended),
        // A process has no port, and only those with capabilities could forge anything.
        (_, Scope::Forged) => return Vec::new(),
        (Action::Block, scope) => {
            what.extend(reaches(scope, &EVERYWHERE).map(|reach| {
                let (destination, service) = (reach.destination, reach.service);
                Owned::Blocked { destination, service }
            }));
        }
        (Action::Limit, scope) => {
            let Some(rate) = decision.rate else { return Vec::new() };
            let paces: &[Pace] = match rate.unit {
                Unit::Connections => &[Pace::Openings],
                Unit::Packets | Unit::Bytes => &[Pace::Traffic],
                Unit::Calls => &[Pace::Openings, Pace::Calls],
            };
            for reach in reaches(scope, &EVERYWHERE) {
                let (destination, service) = (reach.destination, reach.service);
                let is_apt =
                    |pace: &&Pace| **pace != Pace::Calls || (destination.is_some() && service.is_some());
                what.extend(paces.iter().filter(is_apt).map(|&pace| Owned::Limit {
                    pace,
                    destination,
                    service,
                }));
            }
            what.push(Owned::Limited);
        }
        (Action::Observe | Action::Notify, _) => {}
    }
    what.sort_unstable();
    what.dedup();
    let mut all: Vec<Element> =
        what.into_iter().map(|what| Element::Owned { owner: owner.0, what }).collect();
    let sends_mail = has_mailer && !tenant.mail_domains.is_empty();
    if !all.is_empty() && sends_mail && reaches_mail(&decision.scope, decision.action) {
        all.push(Element::Owned { owner: Owner::MAILER.0, what: Owned::Weighed });
    }
    all
}

/// Whether mail may be among what a measure is about.
fn reaches_mail(scope: &Scope, action: Action) -> bool {
    match scope {
        _ if action == Action::Suspend => true,
        Scope::All | Scope::Destinations { .. } => true,
        Scope::Port { protocol, port } => (*protocol, *port) == (Protocol::Tcp, MAIL_PORT),
        Scope::DestinationPorts { targets } => targets.iter().any(|target| target.port == Some(MAIL_PORT)),
        Scope::Endpoint { .. } | Scope::Forged => false,
    }
}

fn beside(measure: &Measure, tenant: &Tenant, owner: Owner, lifeline: &[IpNet]) -> Vec<Element> {
    let owner = owner.0;
    match (measure.decision.action, &measure.decision.scope) {
        (Action::Suspend, _) | (Action::Block, Scope::All) => {
            let kept: Vec<IpNet> = lifeline.iter().chain(&tenant.lifeline).copied().collect();
            let kept = IpNet::aggregate(&kept).into_iter().map(Owned::Lifeline);
            kept.map(|what| Element::Owned { owner, what }).collect()
        }
        (_, Scope::Forged) => Vec::new(),
        (Action::Block | Action::Limit, _) => vec![Element::Owned { owner, what: Owned::Held }],
        (Action::Observe | Action::Notify, _) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use reeve_policy::{Decision, DecisionId, Mode, Origin, Until};

    use super::super::{Family, Ruleset, text};
    use super::*;

    const LOCAL: Local = Local { group: 30, snap_len: 128, read_len: 2_048, has_mailer: true };

    #[test]
    fn the_skeleton_of_a_node_with_users_reads_as_nft_writes_it() {
        let ruleset = Ruleset::with_local(Family::Inet, Some(LOCAL));
        let (plain, known) = (Ruleset::new(Family::Inet), ruleset.clone());
        let sets = known.sets.into_iter().filter(|set| !plain.sets.contains(set)).collect();
        let chains = known.chains.into_iter().filter(|chain| !plain.chains.contains(chain)).collect();
        let more = Ruleset { family: Family::Inet, sets, chains };
        insta::assert_snapshot!(text::print(&more, &Elements::new(), Timestamp::EPOCH));
    }

    fn measure(id: &str, action: Action, scope: Scope, rate: Option<&str>) -> Measure {
        let decision = Decision {
            id: DecisionId(id.parse().unwrap()),
            tenant: "a".parse().unwrap(),
            violation: None,
            clause: String::new(),
            origin: Origin::Operator { name: "oncall".into() },
            action,
            scope,
            rate: rate.map(|rate| rate.parse().unwrap()),
            until: Until::After(Duration::from_secs(3_600)),
            at: Timestamp::from_secs(100),
            mode: Mode::Enforce,
            reason: String::new(),
            connections: None,
            softened: None,
            reckoning: None,
        };
        Measure { expires: decision.until.expiry(decision.at), decision }
    }

    /// The elements of a's measures beside those that say who is who.
    fn check(measures: &[Measure], mail_domains: &[&str], expect: &[&str]) {
        let mut desired = DesiredState::default();
        desired.measures.extend(measures.iter().map(|one| (one.decision.id.clone(), one.clone())));
        let tenant = |id: &str, users: &[&str]| Tenant {
            uids: users.iter().map(|user| user.parse().unwrap()).collect(),
            cgroups: vec![format!("hosting.slice/{id}").parse().unwrap()],
            mail_domains: mail_domains.iter().map(|domain| domain.parse().unwrap()).collect(),
            ..Tenant::new(id.parse().unwrap())
        };
        let node: NodeId = "n1".parse().unwrap();
        let tenants = [Arc::new(tenant("a", &["1001-1002", "999"])), Arc::new(tenant("b", &["n2:1003"]))];
        let a = owners(&node, &tenants)[&"a".parse().unwrap()].0;
        let here = Here {
            groups: BTreeMap::from([("hosting.slice/a".into(), 77)]),
            mailers: vec![104],
            read_ports: vec![25],
            first_user: 1_000,
        };
        let spared = Spared { lifeline: &["198.51.100.7/32".parse().unwrap()], ..Spared::default() };
        let all = elements(&desired, &node, &tenants, spared, &here, Timestamp::from_secs(200));
        let told: Vec<String> = all
            .iter()
            .map(|(element, hold)| {
                let ids: Vec<String> = hold.decisions.iter().map(ToString::to_string).collect();
                let told = format!("{element:?} {}", ids.join("+"));
                told.replace(&format!("owner: {a}"), "a").replace("owner: 1", "mailer").trim_end().to_owned()
            })
            .collect();
        let who = [
            "User { uid: 104, mailer }",
            "User { uid: 1001, a }",
            "User { uid: 1002, a }",
            "Group { depth: 2, id: 77, a }",
            "ReadPort(25)",
        ];
        assert_eq!(told, [&who, expect].concat());
    }

    #[test]
    fn measures_are_by_the_tenants_number() {
        check(&[], &[], &[]);
        check(
            &[measure("m", Action::Suspend, Scope::All, None)],
            &[],
            &["Owned { a, what: Suspended } m", "Owned { a, what: Lifeline(198.51.100.7/32) }"],
        );
        let smtp = || Scope::Port { protocol: Protocol::Tcp, port: 25 };
        check(
            &[measure("m", Action::Block, smtp(), None)],
            &[],
            &[
                "Owned { a, what: Held }",
                "Owned { a, what: Blocked { destination: None, service: Some((Tcp, 25)) } } m",
            ],
        );
        let addresses = vec!["20.0.0.1".parse().unwrap(), "2001:db8:f000::1".parse().unwrap()];
        check(
            &[measure("m", Action::Block, Scope::Destinations { addresses }, None)],
            &[],
            &[
                "Owned { a, what: Held }",
                "Owned { a, what: Blocked { destination: Some(20.0.0.1/32), service: None } } m",
                "Owned { a, what: Blocked { destination: Some(2001:db8:f000::1/128), service: None } } m",
            ],
        );
        check(
            &[measure("m", Action::Limit, Scope::All, Some("10/minute"))],
            &[],
            &[
                "Owned { a, what: Held }",
                "Owned { a, what: Limited } m",
                "Owned { a, what: Limit { pace: Openings, destination: None, service: None } } m",
            ],
        );
    }

    #[test]
    fn senders_are_looked_at_while_mail_of_somebody_is_held_back() {
        let smtp = || Scope::Port { protocol: Protocol::Tcp, port: 25 };
        let other = Scope::Port { protocol: Protocol::Tcp, port: 22 };
        check(
            &[
                measure("m", Action::Block, smtp(), None),
                measure("n", Action::Limit, smtp(), Some("1/minute")),
            ],
            &["a.example"],
            &[
                "Owned { mailer, what: Weighed } m+n",
                "Owned { a, what: Held }",
                "Owned { a, what: Limited } n",
                "Owned { a, what: Blocked { destination: None, service: Some((Tcp, 25)) } } m",
                "Owned { a, what: Limit { pace: Openings, destination: None, service: Some((Tcp, 25)) } } n",
            ],
        );
        check(
            &[measure("m", Action::Block, other, None)],
            &["a.example"],
            &[
                "Owned { a, what: Held }",
                "Owned { a, what: Blocked { destination: None, service: Some((Tcp, 22)) } } m",
            ],
        );
    }
}
