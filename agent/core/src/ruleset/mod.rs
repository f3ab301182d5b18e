//! The ruleset: what the kernel is to hold, as a typed value.
//!
//! The *skeleton* ([`Ruleset`]) is a table of sets, chains and rules that look sources up in the sets. It is the same for
//! one tenant and ten thousand; measures are *elements* of its sets ([`elements`]). It has two printers: [`text`] here, for
//! people, reviews and `nft -f`, and the netlink one in the shell.
//!
//! The suspended come first: nothing of theirs goes anywhere, or a resolver on the internet would be their way out. Then
//! protected destinations are let through, whatever a block says; then the blocked are refused. Refusing tells the sender "administratively
//! prohibited", at a bounded rate; what comes from a suspended port with a source that is not its tenant's is dropped
//! without a word, since the answer would go to somebody else.
//!
//! Left out: the netdev and bridge families (bridged traffic) and the output hook (the node's own users).

pub mod elements;
pub mod text;

pub use elements::{Element, Elements, Hold, Lasting};

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

/// A set of the table, by what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetId {
    /// Destinations that are always let through.
    Protected(Version),
    /// Sources of which everything is refused.
    Suspended(Version),
    /// Interfaces of which everything is dropped.
    SuspendedPort,
    /// A source's destination port.
    BlockedPort(Version),
    /// A source's destination.
    BlockedDestination(Version),
    /// A port of a source's destination.
    BlockedService(Version),
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
}

/// A set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Which.
    pub id: SetId,
    /// Its key.
    pub key: Vec<Field>,
    /// Whether its elements may be ranges.
    pub interval: bool,
    /// Whether its elements have timeouts and counters; protected destinations have neither.
    pub timed: bool,
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
    /// Answer "administratively prohibited" (ICMP type 3 code 13, ICMPv6 type 1 code 1), at most so often; else go on.
    Reject {
        /// Answers per second, over all tenants.
        per_second: u32,
        /// Answers at once.
        burst: u32,
    },
    /// Whatever comes here.
    Always(Verdict),
}

/// A chain of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainId {
    /// What the node forwards.
    Forward,
    /// What is refused.
    Refuse,
}

/// A chain with its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Which.
    pub id: ChainId,
    /// Its priority on the hook of its name; `None` for a chain that is only gone to.
    pub priority: Option<i32>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// The skeleton: table `inet reeve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// Its sets.
    pub sets: Vec<Set>,
    /// Its chains; those that are gone to come first.
    pub chains: Vec<Chain>,
}

/// Before the `filter` priority (0), so that a provider's own accept rules there do not come first.
const PRIORITY: i32 = -10;
/// Refusals that are answered: enough for people to see why nothing works, too few to be of use to anybody.
const REJECTS_PER_SECOND: u32 = 100;
const REJECTS_BURST: u32 = 50;

impl Version {
    const BOTH: [Self; 2] = [Self::V4, Self::V6];

    const fn digit(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }
}

impl SetId {
    /// Every set, in the table's order.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let both = |make: fn(Version) -> Self| Version::BOTH.map(make);
        let mut all = Vec::new();
        all.extend(both(Self::Protected));
        all.extend(both(Self::Suspended));
        all.push(Self::SuspendedPort);
        all.extend(both(Self::BlockedPort));
        all.extend(both(Self::BlockedDestination));
        all.extend(both(Self::BlockedService));
        all
    }

    /// Its name in the kernel.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Protected(version) => format!("protected{}", version.digit()),
            Self::Suspended(version) => format!("suspended{}", version.digit()),
            Self::SuspendedPort => "suspended_port".to_owned(),
            Self::BlockedPort(version) => format!("blocked_port{}", version.digit()),
            Self::BlockedDestination(version) => format!("blocked_dst{}", version.digit()),
            Self::BlockedService(version) => format!("blocked_dst_port{}", version.digit()),
        }
    }

    /// What it is keyed by.
    #[must_use]
    pub fn key(self) -> Vec<Field> {
        use Field::{Destination, Interface, Port, Protocol, Source};
        match self {
            Self::Protected(version) => vec![Destination(version)],
            Self::Suspended(version) => vec![Source(version)],
            Self::SuspendedPort => vec![Interface],
            Self::BlockedPort(version) => vec![Source(version), Protocol, Port],
            Self::BlockedDestination(version) => vec![Source(version), Destination(version)],
            Self::BlockedService(version) => vec![Source(version), Destination(version), Protocol, Port],
        }
    }
}

impl ChainId {
    /// Its name in the kernel.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Refuse => "refuse",
        }
    }
}

impl Default for Ruleset {
    fn default() -> Self {
        Self::new()
    }
}

impl Ruleset {
    /// The skeleton.
    #[must_use]
    pub fn new() -> Self {
        let set = |id: SetId| Set {
            id,
            key: id.key(),
            interval: id != SetId::SuspendedPort,
            timed: !matches!(id, SetId::Protected(_)),
        };
        let rule = |set: SetId, verdict| Rule::Lookup { key: set.key(), set, verdict };
        let refuse = Verdict::Goto(ChainId::Refuse);
        let mut forward = Vec::new();
        let both =
            |make: fn(Version) -> SetId, verdict| Version::BOTH.map(|version| rule(make(version), verdict));
        forward.extend(both(SetId::Suspended, refuse));
        forward.push(rule(SetId::SuspendedPort, Verdict::Drop));
        forward.extend(both(SetId::Protected, Verdict::Accept));
        forward.extend(both(SetId::BlockedPort, refuse));
        forward.extend(both(SetId::BlockedDestination, refuse));
        forward.extend(both(SetId::BlockedService, refuse));
        let reject = Rule::Reject { per_second: REJECTS_PER_SECOND, burst: REJECTS_BURST };
        Self {
            sets: SetId::all().into_iter().map(set).collect(),
            chains: vec![
                Chain {
                    id: ChainId::Refuse,
                    priority: None,
                    rules: vec![reject, Rule::Always(Verdict::Drop)],
                },
                Chain { id: ChainId::Forward, priority: Some(PRIORITY), rules: forward },
            ],
        }
    }
}
