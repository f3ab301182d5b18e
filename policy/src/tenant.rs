//! Tenants: whom a packet belongs to, and who is answerable for it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use macaddr::MacAddr6;
use serde::{Deserialize, Serialize};

use crate::class::Class;
use crate::exemption::Exemption;
use crate::local::{GroupSelector, UserSelector};
use crate::mailbox::Mailbox;

/// A short name used as a key: 1 to 64 of `a-z A-Z 0-9 . _ -`, beginning with a letter or digit.
///
/// It is safe in file names, nft comments, URLs and log lines, and cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Name(Arc<str>);

impl Name {
    /// The longest a name may be, in bytes.
    pub const MAX_LEN: usize = 64;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that cannot be a name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` cannot be a name: 1 to 64 letters, digits, `.`, `_` or `-`, the first a letter or digit")]
pub struct ParseNameError(String);

impl FromStr for Name {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let good = text.len() <= Self::MAX_LEN
            && text.bytes().all(allowed)
            && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        if good { Ok(Self(text.into())) } else { Err(ParseNameError(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl TryFrom<String> for Name {
    type Error = ParseNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The key of a tenant.
pub type TenantId = Name;

/// The key of a node: one machine that runs one agent.
pub type NodeId = Name;

/// How far Reeve may go. The mildest mode that applies wins: node, policy, rule and tenant are all asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Recognise, decide and report what would have been done; touch nothing.
    #[default]
    Observe,
    /// Carry decisions out.
    Enforce,
}

impl Mode {
    /// The word in settings and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A network interface on a node, as `node/ifname`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct InterfaceSelector {
    /// The node.
    pub node: NodeId,
    /// The interface's name there: 1 to 15 bytes without `/` or white space (Linux `IFNAMSIZ`).
    pub interface: Arc<str>,
}

/// A text that is no `node/ifname`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no interface: write NODE/IFNAME, the interface's name being 1 to 15 characters")]
pub struct ParseInterfaceError(String);

impl FromStr for InterfaceSelector {
    type Err = ParseInterfaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseInterfaceError(text.chars().take(96).collect());
        let (node, interface) = text.split_once('/').ok_or_else(bad)?;
        let node = node.parse().map_err(|_| bad())?;
        // The kernel refuses these names too: net/core/dev.c, dev_valid_name().
        let good = (1..=15).contains(&interface.len())
            && interface.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':')
            && interface != "."
            && interface != "..";
        if good { Ok(Self { node, interface: interface.into() }) } else { Err(bad()) }
    }
}

impl fmt::Display for InterfaceSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.interface)
    }
}

impl From<InterfaceSelector> for String {
    fn from(selector: InterfaceSelector) -> Self {
        selector.to_string()
    }
}

impl TryFrom<String> for InterfaceSelector {
    type Error = ParseInterfaceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A customer of the provider, and how its packets are told from others'.
///
/// Invariant kept by whoever builds a set of tenants: no address, interface, MAC, user or control group belongs to two of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its key.
    pub id: TenantId,
    /// What people call it; empty if nobody does.
    #[serde(default)]
    pub name: String,
    /// The reseller above it, if any.
    #[serde(default)]
    pub parent: Option<TenantId>,
    /// The addresses assigned to it. For IPv6 the assigned prefix.
    #[serde(default)]
    pub addresses: Vec<IpNet>,
    /// The interfaces that are its ports.
    #[serde(default)]
    pub interfaces: Vec<InterfaceSelector>,
    /// The hardware addresses that are its.
    #[serde(default)]
    pub macs: Vec<MacAddr6>,
    /// The users of a node whose own processes are its, where many share an address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uids: Vec<UserSelector>,
    /// The control groups of a node whose processes are its.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cgroups: Vec<GroupSelector>,
    /// Whether its users may be among the system's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub system_users: bool,
    /// The most that may be done to it; `None` leaves that to node and policy.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Destinations that it keeps when it is suspended: its owner's, to log in from.
    #[serde(default)]
    pub lifeline: Vec<IpNet>,
    /// What it is expected to do.
    #[serde(default)]
    pub profile: Profile,
    /// Domains whose mail it takes in, with all below them.
    #[serde(default)]
    pub mail_domains: Vec<Domain>,
    /// Domains whose mail it takes in to pass it on, as a secondary exchanger does, with all below them.
    #[serde(default)]
    pub relay_domains: Vec<Domain>,
    /// Who may send through its mail server without logging in, such as its office: no stranger's mail is passed on then.
    #[serde(default)]
    pub mail_clients: Vec<IpNet>,
    /// Classes of abuse that it is known for, here or from elsewhere: a policy may give it no second chance there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub known_offender: BTreeSet<Class>,
    /// Bytes in and out in a calendar month that its plan includes; 0 for no limit, `None` leaves that to the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// The language in which it is written to, as a BCP 47 tag; `None` leaves that to the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Name>,
    /// Where it is written to; the controller's alone, no agent is told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<Mailbox>,
    /// What it may do though a clause forbids it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exemptions: Vec<Exemption>,
}

impl Tenant {
    /// The most addresses of mail at which it is told.
    pub const MAX_CONTACTS: usize = 8;

    /// Whether there is anything by which its packets could be told, on some node.
    #[must_use]
    pub fn has_selectors(&self) -> bool {
        let has_link = !(self.addresses.is_empty() && self.interfaces.is_empty() && self.macs.is_empty());
        has_link || !(self.uids.is_empty() && self.cgroups.is_empty())
    }

    /// Takes away all by which its packets are told.
    pub fn clear_selectors(&mut self) {
        (self.addresses, self.interfaces, self.macs) = (Vec::new(), Vec::new(), Vec::new());
        (self.uids, self.cgroups) = (Vec::new(), Vec::new());
    }

    /// Whether processes of `node` itself are its.
    #[must_use]
    pub fn is_local_on(&self, node: &NodeId) -> bool {
        self.uids.iter().any(|users| users.is_on(node)) || self.cgroups.iter().any(|group| group.is_on(node))
    }

    /// Whether its ports, users or control groups say on which nodes it is; one that is known by addresses alone may be anywhere.
    #[must_use]
    pub fn is_placed(&self) -> bool {
        !(self.interfaces.is_empty() && self.uids.is_empty() && self.cgroups.is_empty())
    }

    /// Whether one of its ports, users or control groups is on `node`.
    #[must_use]
    pub fn is_placed_on(&self, node: &NodeId) -> bool {
        self.interfaces.iter().any(|selector| selector.node == *node) || self.is_local_on(node)
    }

    /// The nodes that it may be on, where its ports, users and control groups say so; `None` where it may be on any.
    #[must_use]
    pub fn nodes(&self) -> Option<BTreeSet<&NodeId>> {
        let ports = self.interfaces.iter().map(|selector| Some(&selector.node));
        let users = self.uids.iter().map(|users| users.node.as_ref());
        let groups = self.cgroups.iter().map(|group| group.node.as_ref());
        let all: Option<BTreeSet<&NodeId>> = ports.chain(users).chain(groups).collect();
        all.filter(|_| self.is_placed())
    }

    /// Whether it may be on `node`.
    #[must_use]
    pub fn may_be_on(&self, node: &NodeId) -> bool {
        self.is_placed_on(node) || !self.is_placed()
    }

    /// Whether there is anything by which its packets could be told on `node`, and it may be there.
    #[must_use]
    pub fn may_be_told_on(&self, node: &NodeId) -> bool {
        self.has_selectors() && self.may_be_on(node)
    }

    /// A tenant of which nothing is known but its key.
    #[must_use]
    pub fn new(id: TenantId) -> Self {
        Self {
            id,
            name: String::new(),
            parent: None,
            addresses: Vec::new(),
            interfaces: Vec::new(),
            macs: Vec::new(),
            uids: Vec::new(),
            cgroups: Vec::new(),
            system_users: false,
            mode: None,
            lifeline: Vec::new(),
            profile: Profile::None,
            mail_domains: Vec::new(),
            relay_domains: Vec::new(),
            mail_clients: Vec::new(),
            known_offender: BTreeSet::new(),
            quota_bytes: None,
            language: None,
            contacts: Vec::new(),
            exemptions: Vec::new(),
        }
    }
}

/// What a tenant is expected to do, so that doing it is no abuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Nothing in particular.
    #[default]
    None,
    /// Web sites and applications.
    Web,
    /// Mail in volume: a mailing service, or a mail server for many.
    Mail,
    /// A node of a peer-to-peer network.
    P2p,
    /// Fetching pages of many sites.
    Crawler,
    /// Scanning with permission.
    Scanner,
    /// A server that speaks with many others of its kind, of which some are always gone: Matrix, XMPP, Mastodon.
    Federation,
    /// Watching whether other hosts' services are there.
    Monitoring,
}

impl Profile {
    /// Every profile by its word.
    pub const ALL: [(&'static str, Self); 8] = [
        ("none", Self::None),
        ("web", Self::Web),
        ("mail", Self::Mail),
        ("p2p", Self::P2p),
        ("crawler", Self::Crawler),
        ("scanner", Self::Scanner),
        ("federation", Self::Federation),
        ("monitoring", Self::Monitoring),
    ];

    /// The word in files and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        let is_it = |(_, profile): &&(&'static str, Self)| *profile == self;
        Self::ALL.iter().find(is_it).map_or("none", |(name, _)| name)
    }
}

/// A domain name in lower case, without a dot at its end: 1 to 253 bytes in labels of 1 to 63 (RFC 1035).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Domain(Arc<str>);

impl Domain {
    /// The domain as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is no domain name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no domain name")]
pub struct ParseDomainError(String);

impl FromStr for Domain {
    type Err = ParseDomainError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let good_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || byte >= 0x80)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let good = lower.len() <= 253 && lower.split('.').all(good_label);
        if good { Ok(Self(lower.into())) } else { Err(ParseDomainError(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> Self {
        domain.0.as_ref().to_owned()
    }
}

impl TryFrom<String> for Domain {
    type Error = ParseDomainError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_keys() {
        for good in ["a", "t-1001", "Acme.B_V", &"x".repeat(64)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", ".", "a b", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn domains_are_in_lower_case() {
        assert_eq!("Mail.Example.".parse::<Domain>().unwrap().as_str(), "mail.example");
        for bad in ["", ".", "a..b", "-a.example", "a b", "user@a.example", &"x".repeat(64)] {
            assert!(bad.parse::<Domain>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn interfaces_name_their_node() {
        let tap: InterfaceSelector = "hv-07/tap10.2".parse().unwrap();
        assert_eq!((tap.node.as_str(), &*tap.interface), ("hv-07", "tap10.2"));
        assert_eq!(tap.to_string(), "hv-07/tap10.2");
        for bad in ["tap10", "hv/", "/tap", "hv/sixteen-bytes-xx", "hv/a b", "hv/a/b", "hv/a:b", "hv/.."] {
            assert!(bad.parse::<InterfaceSelector>().is_err(), "{bad:?}");
        }
    }
}
