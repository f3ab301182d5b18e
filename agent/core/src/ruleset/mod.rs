//! The ruleset: what the kernel is to hold, as a typed value.
//!
//! The *skeleton* ([`Ruleset`]) is a table of sets, maps, chains and rules that look sources up. It is the same for
//! one tenant and ten thousand; measures are *elements* of its sets and maps ([`elements`]). It has two printers: [`text`] here, for
//! people, reviews and `nft -f`, and the netlink one in the shell.
//!
//! There are two tables ([`Family`]): `inet reeve` sees what the node routes and what its own processes send, `bridge reeve` what
//! it bridges. Both have the same sets, and the same rules but for what only the one can do: the first tells the sender
//! "administratively prohibited", at a bounded rate; the second lets through what a suspended tenant needs to keep its link. Rules go
//! by addresses and by names of interfaces, which need not exist yet, so that a tenant's port is held from its first packet.
//!
//! The suspended come first: nothing of theirs goes anywhere, but to the lifeline that they may have, or a resolver on the
//! internet would be their way out, and but for what keeps their link up. Where the policy says so, what others send to them is refused as
//! well (`cut`), so that these are told at once, but for what comes from the lifeline. What comes
//! from a suspended port with a source that is not its tenant's is dropped without a word, since an answer would go to
//! somebody else; so is what such a port sends to the node for it to route, which the table for bridged frames sees last. Behind
//! tags and tunnels that are not looked into there may be any source, so from the ports of those under some measure nothing is bridged that
//! is not plain IP or ARP. Of ports whose tenants are only to speak for themselves (`vetted_port`) what has another source than theirs is
//! dropped, or slowed. Of the others only those under some measure (`held`) go further: what is too much of the limited is dropped;
//! then protected destinations are let through, whatever a block says; then the blocked are refused.
//!
//! A limit is a named object that a map leads to, so each has its own rate and the skeleton none. Limits of *openings* are asked by
//! segments that open a connection and by all packets of protocols without connections; those of *calls* by
//! segments with something in them as well.
//!
//! Where the node has a *walled garden* ([`Garden`]), what opens plain HTTP from the suspended is led there, so that a person behind it
//! reads what happened: by address translation, on nodes alone that may load connection tracking. Nothing else of theirs goes on.
//!
//! Left out: the netdev family. Its chains bind to devices that must exist, know neither reject nor bridges' ports by name, and would
//! see nothing that these two do not (docs/adr/0008).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub mod elements;
pub mod garden;
pub mod local;
pub mod rendering;
pub mod text;

pub use elements::{Element, Elements, Hold, Lasting};
pub use garden::{Garden, GardenRule};
pub use local::{Local, LocalRule, OwnerSet};
pub use rendering::{Difference, Rendering, Setting};

/// The name of every table of ours. Nobody else's is ever touched.
pub const TABLE: &str = "reeve";

/// Sets have room for this many elements. A full one refuses, loudly, since only the agent adds to it.
pub const SET_SIZE: u32 = 65_535;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// One of our two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// What is routed through the node, and what it sends itself.
    Inet,
    /// What is bridged through it.
    Bridge,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Inet, Self::Bridge];

    /// Its name in nft.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Bridge => "bridge",
        }
    }
}

/// What of the limited is asked whether it is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pace {
    /// Every packet.
    Traffic,
    /// What opens a connection, and every packet of protocols without.
    Openings,
    /// Segments that carry something.
    Calls,
}

/// What of a packet is looked up, beside its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// Nothing.
    Source,
    /// Protocol and destination port.
    Port,
    /// Destination.
    Destination,
    /// Destination, protocol and port.
    Service,
}

/// A set or map of the tables, by what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetId {
    /// Destinations that are always let through.
    Protected(Version),
    /// Sources of the node's own that are nobody else's.
    Own(Version),
    /// Sources of which everything is refused.
    Suspended(Version),
    /// Suspended destinations, to which nothing is let either.
    Cut(Version),
    /// Interfaces of which everything is dropped.
    SuspendedPort,
    /// Interfaces of which only what can be read is bridged.
    HeldPort,
    /// Interfaces of which it is asked whether the source is their tenant's.
    VettedPort,
    /// What is its tenant's of an interface.
    Vouched(Version),
    /// Interfaces of which everything else is dropped, counted.
    ForgedPort,
    /// The limits of everything else.
    ForgedLimit,
    /// What was too much of it, counted.
    ForgedLimited,
    /// A suspended source's destinations that it keeps.
    Lifeline(Version),
    /// Sources of which something is refused or limited.
    Held(Version),
    /// What of sources is let so many connections at a time, by what of it is looked up.
    Capped(Shape, Version),
    /// Sources that are let so many.
    Cap(u8, Version),
    /// Open connections of each source that is let so many, counted by the kernel's connection tracking.
    Open(u8, Version),
    /// A source's destination port.
    BlockedPort(Version),
    /// A source's destination.
    BlockedDestination(Version),
    /// A port of a source's destination.
    BlockedService(Version),
    /// What was too much of a source's, counted.
    Limited(Version),
    /// The limits.
    Limit(Pace, Shape, Version),
    /// One of those by tenants of the node itself.
    Owner(OwnerSet),
}

/// A part of a set's key, and of what a rule looks up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Source address.
    Source(Version),
    /// Destination address.
    Destination(Version),
    /// The protocol behind all headers of the network layer.
    Protocol,
    /// Destination port of TCP, UDP, SCTP.
    Port,
    /// The name of the interface that it came in by.
    Interface,
    /// The number of the tenant of the node itself whose process sent it: its mark.
    Owner,
    /// The user whose process sent it.
    User,
    /// The control group whose process sent it, so deep below the root.
    Group(u8),
    /// Source port of TCP.
    TcpSourcePort,
    /// Destination port of TCP.
    TcpDestinationPort,
}

/// What the members of a set have beside their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// Nothing.
    Plain,
    /// A timeout.
    Timed,
    /// A timeout and a counter.
    Counted,
    /// A timeout and the limit that they lead to.
    Limits,
    /// The number of a tenant.
    Owners,
    /// A timeout; rules take them away.
    Taken,
    /// Connections; rules bring them, and the kernel takes them away.
    Connections,
}

/// A set, or a map to limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Which.
    pub id: SetId,
    /// Its key.
    pub key: Vec<Field>,
    /// Whether its elements may be ranges.
    pub interval: bool,
    /// What its members have.
    pub members: Members,
}

/// What a rule does with a packet that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it through this table.
    Accept,
    /// Drop it.
    Drop,
    /// Go on in a chain and do not come back.
    Goto(ChainId),
    /// Go on in a chain and come back from its end.
    Jump(ChainId),
    /// Go back where this chain was called.
    Return,
}

/// What a host needs to keep its link, and cannot do much with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// ARP.
    Arp,
    /// An ICMPv6 message of neighbour discovery, by its type (RFC 4861).
    Neighbours(u8),
    /// A client's question to all DHCP servers of the link, by version (RFC 2131, RFC 8415).
    Dhcp(Version),
    /// What a DHCP server says to a client, by version, wherever it is sent.
    DhcpAnswer(Version),
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// If the packet's fields are in the set.
    Lookup {
        /// What is looked up.
        key: Vec<Field>,
        /// Where.
        set: SetId,
        /// What is done if it is there.
        verdict: Verdict,
    },
    /// If the packet's fields lead to a limit and are too much for it: count it by its source, and drop it.
    Limit {
        /// What is looked up.
        key: Vec<Field>,
        /// Where.
        map: SetId,
        /// Whether only packets are asked that carry something.
        is_loaded: bool,
        /// The source.
        source: Vec<Field>,
        /// Where it is counted.
        count: SetId,
    },
    /// If a TCP connection of a source of the set's would be one too many at a time: count it by its source, and drop it.
    Cap {
        /// How many there may be.
        most: u8,
        /// Of IPv4 addresses, or networks of IPv6 ([`HOST_BITS_6`]).
        version: Version,
    },
    /// Go back where this chain was called, with TCP that opens nothing.
    ReturnUnlessOpening,
    /// Drop what came in by an interface of the set and is neither plain IP, with at most one VLAN tag, nor ARP.
    DropUnreadable(SetId),
    /// Let what keeps a link up through this table, so often.
    Upkeep {
        /// What.
        what: Upkeep,
        /// Whether only between ports of bridges: in the table for what is routed, which the kernel may hand bridged packets.
        is_bridged: bool,
        /// Packets per second, over all tenants.
        per_second: u32,
        /// Packets at once.
        burst: u32,
    },
    /// Answer "administratively prohibited" (ICMP type 3 code 13, ICMPv6 type 1 code 1), at most so often; else go on.
    Reject {
        /// Answers per second, over all tenants.
        per_second: u32,
        /// Answers at once.
        burst: u32,
    },
    /// Whatever comes here.
    Always(Verdict),
    /// One of those about the walled garden.
    Garden(GardenRule),
    /// One of those about the node's own processes.
    Local(LocalRule),
}

/// A chain of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainId {
    /// What the node forwards.
    Forward,
    /// What comes to the node itself, to be routed or not.
    Input,
    /// What the node itself sends.
    Output,
    /// What comes from the suspended.
    Suspended,
    /// What others send to the suspended, where that is cut.
    Cut,
    /// What comes from a suspended port and cannot be answered.
    Unheard,
    /// What comes from a port of which only its tenant's own sources pass.
    Forged,
    /// What opens a connection where there may be only so many at a time.
    Caps,
    /// What may open a connection, and be one too many.
    Openings,
    /// What comes from somebody else under some measure.
    Held,
    /// What is refused.
    Refuse,
    /// What opens a connection from anywhere, before it is routed.
    Prerouting,
    /// What does from the suspended.
    Walled,
    /// What arrives for the node's own processes, to be logged.
    LocalInput,
    /// What they send.
    LocalOutput,
    /// What may be a tenant's of it.
    Owned,
    /// How much of that is logged.
    OwnerLogged,
    /// What comes from suspended ones.
    OwnerSuspended,
    /// What comes from others under some measure.
    OwnerHeld,
    /// What may open a connection, and be one too many.
    OwnerOpenings,
    /// What is refused to them.
    OwnerRefuse,
    /// What the shared mail server sends.
    Mailer,
    /// Of that, what names a sender while senders are looked at.
    MailSenders,
}

/// A chain with its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Which.
    pub id: ChainId,
    /// How far its place on the hook of its name is from that of ordinary filters; `None` for a chain that is only gone to.
    pub priority: Option<i32>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// What there is on some nodes only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// The node's own processes, if they are perhaps tenants'.
    pub local: Option<Local>,
    /// Whether the kernel's connection tracking is used; what asks it loads it.
    pub conntrack: bool,
    /// Where plain HTTP of the suspended is led; nowhere without connection tracking.
    pub garden: Garden,
}

impl From<Option<Local>> for Extras {
    fn from(local: Option<Local>) -> Self {
        Self { local, ..Self::default() }
    }
}

/// The skeleton of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// Which table.
    pub family: Family,
    /// Its sets and maps.
    pub sets: Vec<Set>,
    /// Its chains; those that are gone to come first.
    pub chains: Vec<Chain>,
}

/// Before the `filter` priority, so that a provider's own accept rules there do not come first.
const PRIORITY: i32 = -10;
/// Refusals that are answered: enough for people to see why nothing works, too few to be of use to anybody.
const REJECTS_PER_SECOND: u32 = 100;
const REJECTS_BURST: u32 = 50;
/// A segment longer than this, from its IP header on, carries something: a bare acknowledgment has at most 72 bytes, but for
/// rare options.
pub const LOADED_ABOVE: u32 = 80;
/// So many bits of an IPv6 address a host may choose by itself (RFC 4291, section 2.5.1): connections are counted by the rest.
pub const HOST_BITS_6: u8 = 64;
/// The numbers of connections at a time that sources may be let.
pub const CAPS: [u8; reeve_policy::language::Step::MAX_CONNECTIONS as usize] = [1, 2, 3, 4];
/// ICMPv6 types of router solicitation, neighbour solicitation and neighbour advertisement.
const NEIGHBOURS: [u8; 3] = [133, 135, 136];
/// The hop limit of neighbour discovery, which no router leaves (RFC 4861, section 6.1.1).
pub const LINK_HOPS: u8 = 255;
/// Messages that keep a link up are shorter than this, from their IP header on; they are not to carry anything.
pub const UPKEEP_BELOW: u32 = 129;

impl Version {
    const BOTH: [Self; 2] = [Self::V4, Self::V6];

    const fn digit(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }
}

impl Pace {
    /// Which limits there are of it: a call is always one to a service.
    const fn shapes(self) -> &'static [Shape] {
        match self {
            Self::Traffic | Self::Openings => {
                &[Shape::Source, Shape::Port, Shape::Destination, Shape::Service]
            }
            Self::Calls => &[Shape::Service],
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Traffic => "limit",
            Self::Openings => "limit_new",
            Self::Calls => "limit_call",
        }
    }
}

impl Shape {
    const fn name(self) -> &'static str {
        match self {
            Self::Source => "",
            Self::Port => "_port",
            Self::Destination => "_dst",
            Self::Service => "_dst_port",
        }
    }

    fn key(self, version: Version) -> Vec<Field> {
        use Field::{Destination, Port, Protocol, Source};
        match self {
            Self::Source => vec![Source(version)],
            Self::Port => vec![Source(version), Protocol, Port],
            Self::Destination => vec![Source(version), Destination(version)],
            Self::Service => vec![Source(version), Destination(version), Protocol, Port],
        }
    }
}

impl SetId {
    /// Every set and map, in the tables' order.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let both = |make: fn(Version) -> Self| Version::BOTH.map(make);
        let mut all = Vec::new();
        all.extend(both(Self::Protected));
        all.extend(both(Self::Own));
        all.extend(both(Self::Suspended));
        all.extend(both(Self::Cut));
        all.extend([Self::SuspendedPort, Self::HeldPort, Self::VettedPort]);
        all.extend(both(Self::Vouched));
        all.extend([Self::ForgedPort, Self::ForgedLimit, Self::ForgedLimited]);
        all.extend(both(Self::Lifeline));
        all.extend(both(Self::Held));
        all.extend(both(Self::BlockedPort));
        all.extend(both(Self::BlockedDestination));
        all.extend(both(Self::BlockedService));
        all.extend(both(Self::Limited));
        for pace in [Pace::Traffic, Pace::Openings, Pace::Calls] {
            for shape in pace.shapes() {
                all.extend(Version::BOTH.map(|version| Self::Limit(pace, *shape, version)));
            }
        }
        all
    }

    /// How many elements it has room for. A range in a set with one field is two members, which older kernels count as such.
    #[must_use]
    pub fn capacity(self) -> u32 {
        let is_of_ranges = self.has_ranges() && self.key().len() == 1;
        if is_of_ranges { SET_SIZE / 2 } else { SET_SIZE }
    }

    /// Whether one of our tables has it: the bridge's sees no processes.
    #[must_use]
    pub fn is_in(self, family: Family) -> bool {
        family == Family::Inet || !(self.needs_conntrack() || matches!(self, Self::Owner(_)))
    }

    /// Whether it is there only where the kernel's connection tracking is used.
    #[must_use]
    pub const fn needs_conntrack(self) -> bool {
        matches!(self, Self::Capped(..) | Self::Cap(..) | Self::Open(..))
    }

    /// Whether its members are connections, which come and go without being measures.
    #[must_use]
    pub const fn is_of_connections(self) -> bool {
        match self {
            Self::Owner(set) => set.is_of_connections(),
            Self::Open(..) => true,
            _ => false,
        }
    }

    /// Whether its elements may be ranges.
    #[must_use]
    pub fn has_ranges(self) -> bool {
        match self {
            Self::Owner(set) => set.has_ranges(),
            Self::Open(..) => false,
            _ => !self.is_of_ports(),
        }
    }

    /// Whether it is keyed by names of interfaces.
    #[must_use]
    pub const fn is_of_ports(self) -> bool {
        matches!(
            self,
            Self::SuspendedPort
                | Self::HeldPort
                | Self::VettedPort
                | Self::ForgedPort
                | Self::ForgedLimit
                | Self::ForgedLimited
        )
    }

    /// Its name in the kernel.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Protected(version) => format!("protected{}", version.digit()),
            Self::Own(version) => format!("own{}", version.digit()),
            Self::Suspended(version) => format!("suspended{}", version.digit()),
            Self::Cut(version) => format!("cut{}", version.digit()),
            Self::SuspendedPort => "suspended_port".to_owned(),
            Self::HeldPort => "held_port".to_owned(),
            Self::VettedPort => "vetted_port".to_owned(),
            Self::Vouched(version) => format!("vouched{}", version.digit()),
            Self::ForgedPort => "forged_port".to_owned(),
            Self::ForgedLimit => "forged_limit".to_owned(),
            Self::ForgedLimited => "forged_limited".to_owned(),
            Self::Lifeline(version) => format!("lifeline{}", version.digit()),
            Self::Held(version) => format!("held{}", version.digit()),
            Self::Capped(shape, version) => format!("capped{}{}", shape.name(), version.digit()),
            Self::Cap(most, version) => format!("cap{most}_{}", version.digit()),
            Self::Open(most, version) => format!("open{most}_{}", version.digit()),
            Self::BlockedPort(version) => format!("blocked_port{}", version.digit()),
            Self::BlockedDestination(version) => format!("blocked_dst{}", version.digit()),
            Self::BlockedService(version) => format!("blocked_dst_port{}", version.digit()),
            Self::Limited(version) => format!("limited{}", version.digit()),
            Self::Limit(pace, shape, version) => {
                format!("{}{}{}", pace.name(), shape.name(), version.digit())
            }
            Self::Owner(set) => set.name(),
        }
    }

    /// What it is keyed by.
    #[must_use]
    pub fn key(self) -> Vec<Field> {
        match self {
            Self::Protected(version) | Self::Cut(version) => vec![Field::Destination(version)],
            Self::Own(version) | Self::Suspended(version) | Self::Held(version) | Self::Limited(version) => {
                Shape::Source.key(version)
            }
            Self::SuspendedPort
            | Self::HeldPort
            | Self::VettedPort
            | Self::ForgedPort
            | Self::ForgedLimit
            | Self::ForgedLimited => vec![Field::Interface],
            Self::Vouched(version) => vec![Field::Interface, Field::Source(version)],
            Self::Capped(shape, version) => shape.key(version),
            Self::Cap(_, version) | Self::Open(_, version) => Shape::Source.key(version),
            Self::BlockedPort(version) => Shape::Port.key(version),
            Self::BlockedDestination(version) | Self::Lifeline(version) => Shape::Destination.key(version),
            Self::BlockedService(version) => Shape::Service.key(version),
            Self::Limit(_, shape, version) => shape.key(version),
            Self::Owner(set) => set.key(),
        }
    }

    const fn members(self) -> Members {
        match self {
            Self::Protected(_) | Self::Own(_) => Members::Plain,
            Self::Held(_) | Self::HeldPort | Self::VettedPort | Self::Vouched(_) | Self::Lifeline(_) => {
                Members::Timed
            }
            Self::Capped(..) | Self::Cap(..) => Members::Timed,
            Self::Open(..) => Members::Connections,
            Self::Limit(..) | Self::ForgedLimit => Members::Limits,
            Self::Owner(set) => set.members(),
            _ => Members::Counted,
        }
    }
}

impl ChainId {
    /// Its name in the kernel.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Input => "input",
            Self::Output => "output",
            Self::Suspended => "suspended",
            Self::Cut => "cut",
            Self::Unheard => "unheard",
            Self::Forged => "forged",
            Self::Caps => "caps",
            Self::Openings => "openings",
            Self::Held => "held",
            Self::Refuse => "refuse",
            Self::Prerouting => "prerouting",
            Self::Walled => "walled",
            Self::LocalInput => "local_input",
            Self::LocalOutput => "local_output",
            Self::Owned => "owned",
            Self::OwnerLogged => "owner_logged",
            Self::OwnerSuspended => "owner_suspended",
            Self::OwnerHeld => "owner_held",
            Self::OwnerOpenings => "owner_openings",
            Self::OwnerRefuse => "owner_refuse",
            Self::Mailer => "mailer",
            Self::MailSenders => "mail_senders",
        }
    }

    /// The name of the hook that a chain stands at which is not only gone to.
    #[must_use]
    pub const fn hook(self) -> &'static str {
        match self {
            Self::LocalInput => "input",
            Self::LocalOutput => "output",
            _ => self.name(),
        }
    }
}

impl Upkeep {
    /// What of it has an IP header.
    fn above_the_link() -> impl Iterator<Item = Self> {
        NEIGHBOURS.map(Self::Neighbours).into_iter().chain(Version::BOTH.map(Self::Dhcp))
    }

    /// Ports of the client and of the server, and the address of all servers of the link.
    #[must_use]
    pub const fn dhcp(version: Version) -> (u16, u16, IpAddr) {
        match version {
            Version::V4 => (68, 67, IpAddr::V4(Ipv4Addr::BROADCAST)),
            Version::V6 => (546, 547, IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2))),
        }
    }
}

fn upkeep(what: Upkeep, is_bridged: bool) -> Rule {
    Rule::Upkeep { what, is_bridged, per_second: REJECTS_PER_SECOND, burst: REJECTS_BURST }
}

fn lookup(set: SetId, verdict: Verdict) -> Rule {
    Rule::Lookup { key: set.key(), set, verdict }
}

fn both(make: fn(Version) -> SetId, verdict: Verdict) -> [Rule; 2] {
    Version::BOTH.map(|version| lookup(make(version), verdict))
}

fn limits(pace: Pace) -> impl Iterator<Item = Rule> {
    let of = move |shape: &Shape, version| {
        let (map, count) = (SetId::Limit(pace, *shape, version), SetId::Limited(version));
        Rule::Limit { key: map.key(), map, is_loaded: pace == Pace::Calls, source: count.key(), count }
    };
    pace.shapes().iter().flat_map(move |shape| Version::BOTH.map(|version| of(shape, version)))
}

impl Ruleset {
    /// The skeleton of one table.
    #[must_use]
    pub fn new(family: Family) -> Self {
        let set = |id: SetId| Set { id, key: id.key(), interval: id.has_ranges(), members: id.members() };
        let refuse = Verdict::Goto(ChainId::Refuse);
        let chain = |id, priority, rules| Chain { id, priority, rules };

        let mut last = vec![Rule::Always(Verdict::Drop)];
        if family == Family::Inet {
            last.insert(0, Rule::Reject { per_second: REJECTS_PER_SECOND, burst: REJECTS_BURST });
        }

        let keep_up = |what| upkeep(what, family == Family::Inet);
        let mut suspended = both(SetId::Lifeline, Verdict::Accept).to_vec();
        suspended.extend(Upkeep::above_the_link().map(keep_up));
        suspended.push(Rule::Always(refuse));

        // Whom a suspended tenant may reach may reach it.
        let mut cut = both(SetId::Protected, Verdict::Return).to_vec();
        cut.extend(Version::BOTH.map(|version| Rule::Lookup {
            key: vec![Field::Destination(version), Field::Source(version)],
            set: SetId::Lifeline(version),
            verdict: Verdict::Return,
        }));
        cut.extend(NEIGHBOURS.map(Upkeep::Neighbours).map(keep_up));
        cut.extend(Version::BOTH.map(Upkeep::DhcpAnswer).map(keep_up));
        cut.push(Rule::Always(refuse));

        let mut unheard = Vec::new();
        unheard.extend((family == Family::Bridge).then(|| keep_up(Upkeep::Arp)));
        unheard.extend(Upkeep::above_the_link().map(keep_up));
        unheard.push(Rule::Always(Verdict::Drop));

        let mut forged = both(SetId::Vouched, Verdict::Return).to_vec();
        forged.extend((family == Family::Bridge).then(|| keep_up(Upkeep::Arp)));
        forged.extend(Upkeep::above_the_link().map(keep_up));
        forged.push(Rule::Limit {
            key: SetId::ForgedLimit.key(),
            map: SetId::ForgedLimit,
            is_loaded: false,
            source: SetId::ForgedLimited.key(),
            count: SetId::ForgedLimited,
        });
        forged.push(lookup(SetId::ForgedPort, Verdict::Drop));

        let mut openings = vec![Rule::ReturnUnlessOpening];
        openings.extend(limits(Pace::Openings));

        let mut held = Vec::new();
        held.extend(limits(Pace::Traffic));
        held.extend(limits(Pace::Calls));
        held.push(Rule::Always(Verdict::Jump(ChainId::Openings)));
        held.extend(both(SetId::Protected, Verdict::Accept));
        held.extend(both(SetId::BlockedPort, refuse));
        held.extend(both(SetId::BlockedDestination, refuse));
        held.extend(both(SetId::BlockedService, refuse));

        let unheard_port = || lookup(SetId::SuspendedPort, Verdict::Goto(ChainId::Unheard));
        let vetted_port = || lookup(SetId::VettedPort, Verdict::Jump(ChainId::Forged));
        let sources = |is_port_known: bool| {
            let mut rules = Vec::new();
            rules.extend(both(SetId::Suspended, Verdict::Goto(ChainId::Suspended)));
            rules.extend(is_port_known.then(unheard_port));
            rules.extend(is_port_known.then(vetted_port));
            // What the node itself sends arrives.
            let cut = is_port_known.then(|| both(SetId::Cut, Verdict::Jump(ChainId::Cut)));
            rules.extend(cut.into_iter().flatten());
            rules.extend(both(SetId::Held, Verdict::Goto(ChainId::Held)));
            rules
        };
        let mut chains = vec![
            chain(ChainId::Refuse, None, last),
            chain(ChainId::Suspended, None, suspended),
            chain(ChainId::Cut, None, cut),
            chain(ChainId::Unheard, None, unheard),
            chain(ChainId::Forged, None, forged),
            chain(ChainId::Openings, None, openings),
            chain(ChainId::Held, None, held),
        ];
        match family {
            Family::Inet => {
                chains.push(chain(ChainId::Forward, Some(PRIORITY), sources(true)));
                // A tenant's prefix may have an address of the node in it, which is not the tenant's.
                let mut rules = both(SetId::Own, Verdict::Accept).to_vec();
                rules.extend(sources(false));
                chains.push(chain(ChainId::Output, Some(PRIORITY), rules));
            }
            Family::Bridge => {
                // What has its tenant's source is answered where it is routed, and what is for the node goes nowhere.
                let mut rules = both(SetId::Suspended, Verdict::Accept).to_vec();
                rules.extend(Version::BOTH.map(|version| Rule::Lookup {
                    key: vec![Field::Destination(version)],
                    set: SetId::Own(version),
                    verdict: Verdict::Accept,
                }));
                rules.push(unheard_port());
                rules.push(vetted_port());
                chains.push(chain(ChainId::Input, Some(PRIORITY), rules));
                let mut rules = vec![Rule::DropUnreadable(SetId::HeldPort)];
                rules.extend(sources(true));
                chains.push(chain(ChainId::Forward, Some(PRIORITY), rules));
            }
        }
        Self { family, sets: SetId::all().into_iter().map(set).collect(), chains }
    }

    /// The same with what there is on some nodes only.
    #[must_use]
    pub fn with_local(family: Family, extras: impl Into<Extras>) -> Self {
        let Extras { local, conntrack, garden } = extras.into();
        let mut ruleset = Self::new(family);
        if conntrack && family == Family::Inet {
            ruleset.add_caps();
            garden::add(&mut ruleset, garden);
        }
        if let Some(local) = local.filter(|_| family == Family::Inet) {
            ruleset.sets.extend(local::sets(local));
            ruleset.chains.extend(local::chains(local));
        }
        ruleset
    }

    /// Lets sources open so many connections at a time.
    fn add_caps(&mut self) {
        let set = |id: SetId| Set { id, key: id.key(), interval: id.has_ranges(), members: id.members() };
        let (mut sets, mut caps) = (Vec::new(), Vec::new());
        for most in CAPS {
            sets.extend(Version::BOTH.map(|version| SetId::Cap(most, version)));
            sets.extend(Version::BOTH.map(|version| SetId::Open(most, version)));
            caps.extend(Version::BOTH.map(|version| Rule::Cap { most, version }));
        }
        let of = |shape: Shape| Version::BOTH.map(|version| SetId::Capped(shape, version));
        let capped: Vec<SetId> =
            [Shape::Port, Shape::Destination, Shape::Service].into_iter().flat_map(of).collect();
        let jumps = capped.iter().map(|set| lookup(*set, Verdict::Jump(ChainId::Caps)));
        // Before the limits: what is one too many is not to use up what others may open.
        if let Some(place) = self.chains.iter().position(|chain| chain.id == ChainId::Openings) {
            self.chains[place].rules.splice(1..1, jumps);
            self.chains.insert(place, Chain { id: ChainId::Caps, priority: None, rules: caps });
        }
        self.sets.extend(sets.into_iter().chain(capped).map(set));
    }

    /// The number of a set among its table's, from 1 on.
    #[must_use]
    pub fn number(&self, set: SetId) -> u32 {
        let place = self.sets.iter().position(|other| other.id == set);
        place.map_or(0, |place| u32::try_from(place + 1).expect("sets are few"))
    }
}
