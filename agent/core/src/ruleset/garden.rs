//! The walled garden: the provider's page to which plain HTTP of the suspended is led.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::{Chain, ChainId, Field, Rule, Ruleset, SetId, Verdict, Version, both};

/// Where the page is, by version of IP. Nothing is led anywhere of the other one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Garden {
    /// Over IPv4.
    pub v4: Option<SocketAddrV4>,
    /// Over IPv6.
    pub v6: Option<SocketAddrV6>,
}

/// A rule about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GardenRule {
    /// Lead what opens plain HTTP there, so many a second over all tenants.
    Lead(SocketAddr),
    /// Let in what goes there, so many packets a second over all tenants.
    Enter(SocketAddr),
    /// Let back what it answers.
    Answer(SocketAddr),
}

/// Where plain HTTP is asked for (RFC 9110, section 4.2.1). HTTPS is never led: the page would have no certificate for it.
pub const HTTP_PORT: u16 = 80;
/// What is led there, and what goes there, at most: who is suspended for a flood is not to flood the page with it.
pub const LED_PER_SECOND: u32 = 100;
/// See [`LED_PER_SECOND`].
pub const LED_BURST: u32 = 50;
/// See [`LED_PER_SECOND`].
pub const PACKETS_PER_SECOND: u32 = 1_000;
/// See [`LED_PER_SECOND`].
pub const PACKETS_BURST: u32 = 500;
/// `NF_IP_PRI_NAT_DST`.
pub const DSTNAT: i32 = -100;
/// Behind the provider's own translations: of a connection that one of them takes, this one is not asked.
const PRIORITY: i32 = DSTNAT + 10;

impl Garden {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }

    /// Its places.
    pub fn places(self) -> impl Iterator<Item = SocketAddr> {
        self.v4.map(SocketAddr::V4).into_iter().chain(self.v6.map(SocketAddr::V6))
    }

    /// Its addresses.
    pub fn addresses(self) -> impl Iterator<Item = IpAddr> {
        self.places().map(|place| place.ip())
    }
}

impl GardenRule {
    /// The version of IP that it is about.
    #[must_use]
    pub const fn version(self) -> Version {
        match self {
            Self::Lead(SocketAddr::V4(_))
            | Self::Enter(SocketAddr::V4(_))
            | Self::Answer(SocketAddr::V4(_)) => Version::V4,
            _ => Version::V6,
        }
    }
}

/// Adds what leads there to the table of what is routed.
pub(super) fn add(ruleset: &mut Ruleset, garden: Garden) {
    if garden.is_empty() {
        return;
    }
    let rules =
        |make: fn(SocketAddr) -> GardenRule| garden.places().map(move |place| Rule::Garden(make(place)));
    // What the node itself serves, and what they keep anyway, they reach as ever.
    let mut walled: Vec<Rule> = Version::BOTH
        .map(|version| Rule::Lookup {
            key: vec![Field::Destination(version)],
            set: SetId::Own(version),
            verdict: Verdict::Return,
        })
        .into();
    walled.extend(both(SetId::Lifeline, Verdict::Return));
    walled.extend(rules(GardenRule::Lead));
    let prerouting = both(SetId::Suspended, Verdict::Goto(ChainId::Walled)).into();
    for chain in &mut ruleset.chains {
        match chain.id {
            ChainId::Suspended => _ = chain.rules.splice(0..0, rules(GardenRule::Enter)),
            ChainId::Cut => _ = chain.rules.splice(0..0, rules(GardenRule::Answer)),
            _ => {}
        }
    }
    ruleset.chains.insert(0, Chain { id: ChainId::Walled, priority: None, rules: walled });
    ruleset.chains.push(Chain { id: ChainId::Prerouting, priority: Some(PRIORITY), rules: prerouting });
}
