//! The policy language: an acceptable-use policy as a file, and that file as types that cannot hold nonsense.
//!
//! A policy has rules; a rule binds classes of abuse to a clause and a ladder of steps. Every class is under at most one
//! rule. A policy may extend another: its rules replace those with the same id and take over the classes that they name;
//! its numbers replace those that they name. The presets in `presets/` are compiled in.
//!
//! Left out: what happens when (see [`crate::judge`]), and tenants' standing.

pub mod numbers;
mod read;
mod tenants;
pub mod thresholds;
mod thresholds_read;

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::class::Class;
use crate::decision::{Action, Scope, Until};
use crate::mailbox::Mailbox;
use crate::net::{Protocol, Target};
use crate::rate::Rate;
use crate::reader::ConfigErrors;
use crate::tenant::{Mode, Name, Tenant, TenantId};
use numbers::Tailoring;
pub use tenants::{check_tenants, parse_tenants};
use thresholds::{Endpoint, Thresholds};

/// A provider's acceptable-use policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Its name; clauses begin with it.
    pub name: Name,
    /// Its version; only moves forward.
    pub version: u32,
    /// The language of notices, as a BCP 47 tag.
    pub language: Name,
    /// How far it may go.
    pub mode: Mode,
    /// The detectors' numbers.
    pub thresholds: Thresholds,
    /// How they differ for some tenants.
    #[serde(default)]
    pub tailoring: Tailoring,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// Tenants to whom nothing is done, only told.
    pub protected_sources: BTreeSet<TenantId>,
    /// Destinations that are never blocked.
    pub protected_destinations: Vec<IpNet>,
    /// The node's own addresses. They are never blocked as destinations either; a tenant may have one of them, where tenants
    /// are users of the node.
    #[serde(default)]
    pub own_addresses: Vec<IpNet>,
    /// Destinations that every suspended tenant keeps.
    #[serde(default)]
    pub lifeline: Vec<IpNet>,
    /// How many tenants may be held without a person having looked.
    pub brakes: Brakes,
    /// Whether a server that is suspected to be an open relay is asked, and by whom for whom.
    #[serde(default)]
    pub relay_check: Option<RelayCheck>,
}

/// How a server that is suspected to be an open relay is asked whether it is one. Nothing is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayCheck {
    /// The sender that it is told: an address of the provider's.
    pub from: Mailbox,
    /// The recipient: likewise, at a domain that no tenant takes mail for.
    pub to: Mailbox,
}

/// How many tenants of a node may be held by decisions of policy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Brakes {
    /// Tenants newly held within a minute.
    pub measures_per_minute: u32,
    /// Tenants held at a time, as a share of the node's, 0 to 1.
    pub share_of_tenants: f64,
    /// Tenants that may be held at a time however few the node has.
    pub tenants_at_least: u32,
}

impl Default for Brakes {
    /// Five a minute, a tenth of the tenants or three.
    fn default() -> Self {
        Self { measures_per_minute: 5, share_of_tenants: 0.1, tenants_at_least: 3 }
    }
}

/// One rule: what breaks which clause, and how it is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Its key within the policy.
    pub id: Name,
    /// The clause, as `policy/clause`.
    pub clause: String,
    /// The classes that break it.
    pub on: BTreeSet<Class>,
    /// How far it may go; `None` leaves that to the policy.
    pub mode: Option<Mode>,
    /// An episode ends when nothing was seen for this long.
    pub quiet: Duration,
    /// A strike counts for this long.
    pub memory: Duration,
    /// After a step that is no measure, the next one is taken this long after it at the earliest.
    pub grace: Duration,
    /// The steps: the first strike takes the first, and so on; the last is taken for all that follow. Not empty.
    pub ladder: Vec<Step>,
}

/// One step of a ladder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// To which traffic.
    pub scope: ScopeRule,
    /// How much of it is let through; `None` but for a limit.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// Until when.
    pub until: Until,
}

/// Which traffic a step is about, before it is known what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScopeRule {
    /// Everything.
    All,
    /// One destination port.
    Port(Protocol, u16),
    /// The destinations that were seen.
    Destinations,
    /// The ports of the destinations that were seen.
    DestinationPorts,
    /// The protected endpoint that was called.
    Endpoint,
}

impl Rule {
    /// Ten minutes.
    pub const DEFAULT_QUIET: Duration = Duration::from_secs(600);
    /// Half a year.
    pub const DEFAULT_MEMORY: Duration = Duration::from_secs(180 * 86_400);
    /// Ten minutes.
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(600);
    /// After a measure, the next step is taken this long after it at the earliest, if the abuse goes on.
    pub const AFTER_MEASURE: Duration = Duration::from_secs(60);
    /// The most steps of a ladder.
    pub const MAX_STEPS: usize = 16;

    /// The step that is taken first at the `strike`-th strike, counted from 1.
    #[must_use]
    pub fn first_step(&self, strike: u32) -> usize {
        let strike = usize::try_from(strike.max(1)).unwrap_or(usize::MAX);
        strike.min(self.ladder.len()).saturating_sub(1)
    }
}

impl ScopeRule {
    /// Whether it is about the destinations that were seen.
    #[must_use]
    pub const fn is_by_target(self) -> bool {
        matches!(self, Self::Destinations | Self::DestinationPorts | Self::Endpoint)
    }

    /// The scope for what was seen. `Destinations` without any target means everything the class is about is unknown, so
    /// nothing. `endpoints` are those that are protected; the first target tells which of them is meant. One that is known by name
    /// only, or was called over QUIC, is held where it was seen.
    #[must_use]
    pub fn resolve(self, targets: &[Target], endpoints: &[Endpoint]) -> Scope {
        match self {
            Self::All => Scope::All,
            Self::Port(protocol, port) => Scope::Port { protocol, port },
            Self::Destinations => {
                let addresses: BTreeSet<_> = targets.iter().map(|target| target.address).collect();
                Scope::Destinations { addresses: addresses.into_iter().collect() }
            }
            Self::DestinationPorts => {
                let targets: BTreeSet<_> =
                    targets.iter().filter(|target| target.port.is_some()).copied().collect();
                Scope::DestinationPorts { targets: targets.into_iter().collect() }
            }
            Self::Endpoint => {
                let at = |target: &Target| {
                    let port = target.port.filter(|_| target.protocol == Protocol::Tcp)?;
                    endpoints.iter().find(|endpoint| endpoint.is_at(target.address, port))
                };
                match targets.iter().find_map(at) {
                    Some(endpoint) => Scope::Endpoint {
                        name: endpoint.name.clone(),
                        addresses: endpoint.addresses.clone(),
                        ports: endpoint.ports.clone(),
                    },
                    None => Self::DestinationPorts.resolve(targets, endpoints),
                }
            }
        }
    }
}

impl Policy {
    /// The names of the policies that are compiled in.
    pub const PRESETS: [(&str, &str); 1] = [("baseline", include_str!("../../presets/baseline.toml"))];

    /// The policy of a file.
    ///
    /// # Errors
    /// All that is wrong with it, with places.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigErrors> {
        read::parse(file, text)
    }

    /// A policy that is compiled in; `None` for a name that none has.
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        let (name, text) = Self::PRESETS.iter().find(|(preset, _)| *preset == name)?;
        Some(Self::parse(name, text).expect("presets are sound; a test reads each"))
    }

    /// Whether nothing is to be done to a tenant: it is named, or an address of its own is never to be cut off. (The node's
    /// own address within a tenant's prefix is not the tenant's.)
    #[must_use]
    pub fn protects(&self, tenant: &Tenant) -> bool {
        let is_kept =
            |prefix: &IpNet| self.protected_destinations.iter().any(|protected| protected.contains(prefix));
        self.protected_sources.contains(&tenant.id) || tenant.addresses.iter().any(is_kept)
    }

    /// The rule that `class` breaks.
    #[must_use]
    pub fn rule_for(&self, class: Class) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.on.contains(&class))
    }

    /// The rule of a key.
    #[must_use]
    pub fn rule(&self, id: &Name) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == *id)
    }
}
