//! The policy language: an acceptable-use policy as a file, and that file as types that cannot hold nonsense.
//!
//! A policy has rules; a rule binds classes of abuse to a clause and a ladder of steps. Every class is under at most one
//! rule, but for rules that protect different people ([`Whose`]), or are for endpoints of different kinds. A policy may extend another: its rules replace those with the same id and take over the classes that they name;
//! its numbers replace those that they name. The presets in `presets/` are compiled in.
//!
//! Left out: what happens when (see [`crate::judge`]), and tenants' standing.

pub mod conditions;
mod excuses;
pub mod notices;
pub mod numbers;
mod read;
mod rules_read;
mod tenants;
mod tenants_diff;
mod tenants_local;
#[cfg(test)]
mod tests;
pub mod thresholds;
mod thresholds_read;
mod written;

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::alert::{Alert, TargetSeen};
use crate::class::Class;
use crate::decision::{Action, Scope, Until};
use crate::mailbox::Mailbox;
use crate::net::{Protocol, Target};
use crate::notice::NoticeKind;
use crate::rate::Rate;
use crate::reader::ConfigErrors;
use crate::tenant::{Mode, Name, Tenant, TenantId};
use crate::time::Timestamp;
pub use conditions::Grace;
use conditions::{Calendar, Escalation, Repeat, Severe, Whose};
pub use excuses::{ClassSet, Excuses};
use notices::{NoticeSettings, Tell};
use numbers::Tailoring;
pub use read::policy_schema;
pub use tenants::{
    TenantsFormat, check_tenants, parse_tenants, parse_tenants_as, parse_tenants_from, tenants_schema,
};
pub use tenants_diff::{TenantDifference, tenant_differences};
use thresholds::{Endpoint, EndpointKind, Thresholds};
pub use written::Difference;
pub(crate) use written::at_a_time;

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
    /// The provider's own networks, which some clauses protect in another way than everybody else's.
    #[serde(default)]
    pub own_networks: Vec<IpNet>,
    /// Destinations that every suspended tenant keeps.
    #[serde(default)]
    pub lifeline: Vec<IpNet>,
    /// What a suspension does beside holding back what the tenant sends.
    #[serde(default)]
    pub suspension: Suspension,
    /// How many tenants may be held without a person having looked.
    pub brakes: Brakes,
    /// Whether a server that is suspected to be an open relay is asked, and by whom for whom.
    #[serde(default)]
    pub relay_check: Option<RelayCheck>,
    /// On which days people work.
    #[serde(default)]
    pub calendar: Calendar,
    /// Who is told, and in which words.
    #[serde(default)]
    pub notices: NoticeSettings,
}

/// What a suspension does beside holding back what the tenant sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// What becomes of what others send to the tenant.
    pub inbound: Inbound,
}

impl Suspension {
    /// Whether what others send to the tenant is refused.
    #[must_use]
    pub fn cuts_inbound(self) -> bool {
        self.inbound == Inbound::Cut
    }
}

/// What becomes of what others send to a suspended tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inbound {
    /// It arrives; answers do not leave.
    #[default]
    Keep,
    /// It is refused on its way, but for what comes from the lifeline or keeps the link up.
    Cut,
}

impl Inbound {
    /// The word in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Cut => "cut",
        }
    }
}

/// How a server that is suspected to be an open relay is asked whether it is one. Nothing is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayCheck {
    /// The sender that it is told: an address of the provider's.
    pub from: Mailbox,
    /// The recipient: likewise, at a domain that no tenant takes mail for.
    pub to: Mailbox,
    /// How often it is asked again while a measure stands against it that a check may end, or a warning runs.
    #[serde(default = "RelayCheck::default_recheck")]
    pub recheck: Duration,
}

impl RelayCheck {
    /// Half an hour.
    pub const DEFAULT_RECHECK: Duration = Duration::from_secs(1_800);

    const fn default_recheck() -> Duration {
        Self::DEFAULT_RECHECK
    }
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
    /// Other clauses that it serves as well.
    #[serde(default)]
    pub also: Vec<String>,
    /// Against whom it protects; `None` for whoever it is.
    #[serde(default)]
    pub target: Option<Whose>,
    /// Of calls, those to endpoints of which kind it is about; `None` for whichever it is.
    #[serde(default)]
    pub kind: Option<EndpointKind>,
    /// The classes that break it.
    pub on: BTreeSet<Class>,
    /// How far it may go; `None` leaves that to the policy.
    pub mode: Option<Mode>,
    /// An episode ends when nothing was seen for this long.
    pub quiet: Duration,
    /// A strike counts for this long.
    pub memory: Duration,
    /// Each time this long goes by without another, one strike less counts.
    #[serde(default)]
    pub decay: Option<Duration>,
    /// Whoever is told may say that it is mended: then its measures are let go of when nothing of it was seen for this long. `None`: a person
    /// decides.
    #[serde(default)]
    pub release_after_silence: Option<Duration>,
    /// From when on abuse is so grave that steps are left out.
    #[serde(default)]
    pub severe: Option<Severe>,
    /// How soon it must happen again for steps to be left out.
    #[serde(default)]
    pub repeat: Option<Repeat>,
    /// The step that a known offender's first strike takes, counted from 0.
    #[serde(default)]
    pub known_offender: Option<usize>,
    /// From when on it is held against whoever is above the tenant; `None` for never.
    #[serde(default)]
    pub parent: Option<Escalation>,
    /// After a step that is no measure, the next one is taken when this is over at the earliest.
    pub grace: Grace,
    /// Who is told; `None` leaves that to the policy.
    #[serde(default)]
    pub tell: Option<Tell>,
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
    /// How many TCP connections at a time, 1 to [`Step::MAX_CONNECTIONS`], of a limit; `None` for any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u8>,
    /// Until when.
    pub until: Until,
    /// When the next step is taken at the earliest; `None` leaves that to the rule, or to [`Rule::AFTER_MEASURE`].
    #[serde(default)]
    pub grace: Option<Grace>,
    /// What kind of notice is given; `None` leaves that to the action.
    #[serde(default)]
    pub notice: Option<NoticeKind>,
    /// Who is told; `None` leaves that to the rule.
    #[serde(default)]
    pub tell: Option<Tell>,
}

/// What is known of a tenant when a step is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Strikes that count, with the one at hand. At least 1.
    pub strikes: u32,
    /// How long after the one before it came, if there was one.
    pub since_last: Option<Duration>,
    /// Whether the tenant is known for this.
    pub is_known_offender: bool,
    /// How many times the number that it was found by.
    pub times: f64,
}

/// Why a ladder is not begun at its foot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Begin {
    /// It is the step of this many strikes.
    Strikes,
    /// It happened again soon.
    Repeat,
    /// The tenant is known for it.
    KnownOffender,
    /// It is grave.
    Severe,
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
    /// What has a source that is not the tenant's.
    Forged,
}

impl Step {
    /// The most connections at a time that a limit may be to: the kernel needs rules for each number.
    pub const MAX_CONNECTIONS: u8 = 4;
}

impl Rule {
    /// Ten minutes.
    pub const DEFAULT_QUIET: Duration = Duration::from_secs(600);
    /// The longest silence after which measures are let go of.
    pub const MAX_SILENCE: Duration = Duration::from_secs(30 * 86_400);
    /// Half a year.
    pub const DEFAULT_MEMORY: Duration = Duration::from_secs(180 * 86_400);
    /// Ten minutes.
    pub const DEFAULT_GRACE: Grace = Grace::Span(Duration::from_secs(600));
    /// After a measure, the next step is taken this long after it at the earliest, if the abuse goes on.
    pub const AFTER_MEASURE: Duration = Duration::from_secs(60);
    /// The most steps of a ladder.
    pub const MAX_STEPS: usize = 16;

    /// The step that is taken first, counted from 0, and what made it that one: the highest of all that apply.
    #[must_use]
    pub fn first_step(&self, history: &History) -> (usize, Begin) {
        let strikes = usize::try_from(history.strikes.max(1)).unwrap_or(usize::MAX);
        let by_strikes = (strikes - 1, Begin::Strikes);
        let is_soon =
            |repeat: &Repeat| history.since_last.is_some_and(|since_last| since_last <= repeat.within);
        let by_repeat = self.repeat.filter(is_soon).map(|repeat| (repeat.step, Begin::Repeat));
        let known = self.known_offender.filter(|_| history.is_known_offender);
        let by_name = known.map(|step| (step, Begin::KnownOffender));
        let by_gravity = self.severe_step(history.times).map(|step| (step, Begin::Severe));
        let last = self.ladder.len().saturating_sub(1);
        // Of several reasons for one step the plainest is told.
        let all = [Some(by_strikes), by_repeat, by_name, by_gravity].into_iter().flatten();
        let capped = all.map(|(step, begin)| (step.min(last), begin));
        capped.max_by_key(|(step, begin)| (*step, std::cmp::Reverse(*begin))).unwrap_or(by_strikes)
    }

    /// The step at which abuse of so many times its number begins, if that is grave.
    #[must_use]
    pub fn severe_step(&self, times: f64) -> Option<usize> {
        self.severe
            .filter(|severe| times >= severe.times)
            .map(|severe| severe.step.min(self.ladder.len() - 1))
    }

    /// How many of `strikes` still count at `at`, the last of which came before that at `last`.
    #[must_use]
    pub fn after_decay(&self, strikes: usize, last: Option<Timestamp>, at: Timestamp) -> usize {
        let (Some(decay), Some(last)) = (self.decay.filter(|decay| !decay.is_zero()), last) else {
            return strikes;
        };
        let gone = at.since(last).as_nanos() / decay.as_nanos();
        strikes.saturating_sub(usize::try_from(gone).unwrap_or(usize::MAX))
    }

    /// Whether somebody who asks can tell that it was mended.
    #[must_use]
    pub fn is_checkable(&self) -> bool {
        self.on.iter().all(|class| *class == Class::SmtpRelay) && !self.on.is_empty()
    }

    /// When the step after `step`, which was taken at `taken`, may be taken.
    #[must_use]
    pub fn patience_ends(&self, step: &Step, taken: Timestamp, calendar: &Calendar) -> Timestamp {
        let usual = if step.action.is_measure() { Grace::Span(Self::AFTER_MEASURE) } else { self.grace };
        step.grace.unwrap_or(usual).end(taken, calendar)
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
            Self::Forged => Scope::Forged,
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
    pub const PRESETS: [(&str, &str); 6] = [
        ("baseline", include_str!("../../presets/baseline.toml")),
        ("anycloud", include_str!("../../presets/anycloud.toml")),
        ("cloudprovider", include_str!("../../presets/cloudprovider.toml")),
        ("extin", include_str!("../../presets/extin.toml")),
        ("intermax", include_str!("../../presets/intermax.toml")),
        ("oxygis", include_str!("../../presets/oxygis.toml")),
    ];

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

    /// The rule that `class` breaks, whoever it was done to: where there are several, the one for everybody, or the first.
    #[must_use]
    pub fn rule_for(&self, class: Class) -> Option<&Rule> {
        let all = || self.rules.iter().filter(|rule| rule.on.contains(&class));
        all().find(|rule| rule.target.is_none() && rule.kind.is_none()).or_else(|| all().next())
    }

    /// The rule that an alert breaks. What was done to one of the provider's own hosts is under the rule that protects those, if there is
    /// one, whatever else was done; and a call under the rule for endpoints of that kind, before the one for all.
    #[must_use]
    pub fn rule_against(&self, alert: &Alert) -> Option<&Rule> {
        let is_own =
            |seen: &TargetSeen| self.own_networks.iter().any(|net| net.contains(&seen.target.address));
        let whose = if alert.targets.iter().any(is_own) { Whose::Own } else { Whose::ThirdParty };
        let kind = self.kind_of(alert);
        self.rule_on(alert.class, whose, kind)
    }

    /// The kind of the endpoint that was called.
    fn kind_of(&self, alert: &Alert) -> Option<EndpointKind> {
        let name = alert.endpoint()?;
        let called = self.thresholds.endpoints.iter().find(|endpoint| endpoint.name.as_str() == name);
        called.map(|endpoint| endpoint.kind)
    }

    /// The rule that `class` breaks when it is done to one of these, at an endpoint of a kind or elsewhere.
    fn rule_on(&self, class: Class, whose: Whose, kind: Option<EndpointKind>) -> Option<&Rule> {
        let is_meant = |rule: &&Rule| {
            rule.on.contains(&class)
                && rule.target.is_none_or(|target| target == whose)
                && rule.kind.is_none_or(|meant| Some(meant) == kind)
        };
        self.rules.iter().filter(is_meant).max_by_key(|rule| (rule.target.is_some(), rule.kind.is_some()))
    }

    /// The rules that protect the provider's own networks while it is not said which those are.
    pub fn rules_without_networks(&self) -> impl Iterator<Item = &Rule> {
        let is_idle = |rule: &&Rule| rule.target == Some(Whose::Own) && self.own_networks.is_empty();
        self.rules.iter().filter(is_idle)
    }

    /// The rules with a step that lets so many connections at a time through, and how many the fewest are.
    pub fn rules_with_connections(&self) -> impl Iterator<Item = (&Rule, u8)> {
        self.rules.iter().filter_map(|rule| {
            let parents = rule.parent.iter().flat_map(|parent| &parent.ladder);
            let fewest = rule.ladder.iter().chain(parents).filter_map(|step| step.connections).min();
            fewest.map(|fewest| (rule, fewest))
        })
    }

    /// The rule of a key.
    #[must_use]
    pub fn rule(&self, id: &Name) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == *id)
    }

    /// The rule that is behind a key, and the ladder: what is held against a reseller is so by its customers' rule and the reseller's own steps.
    #[must_use]
    pub fn behind(&self, id: &Name) -> Option<(&Rule, &[Step])> {
        if let Some(rule) = self.rule(id) {
            return Some((rule, &rule.ladder));
        }
        let (rule, escalation) = self.escalation(id)?;
        Some((rule, &escalation.ladder))
    }

    /// The rule behind a key that is about a reseller, and from when on it is held against it; `None` for every other key.
    #[must_use]
    pub fn escalation(&self, id: &Name) -> Option<(&Rule, &Escalation)> {
        if self.rule(id).is_some() {
            return None;
        }
        let rule = self.rule(&Escalation::rule_behind(id)?)?;
        Some((rule, rule.parent.as_ref()?))
    }
}
