//! Numbers that fit a tenant: a policy's, times the factors of the tenant's profile, with what is said of that tenant alone.
//!
//! **Precedence**, the later over the earlier: the detectors' defaults; the extended policy's numbers; `[thresholds]` and the
//! rules' `thresholds`; times the factors of `[profile.NAME]` (of the extended policy, class by class replaced by the policy's
//! own) and those of `[tenant."ID"]`; `[profile.NAME.thresholds]`; `[tenant."ID".thresholds]`. The last two replace, and no factor
//! multiplies them.
//!
//! A factor multiplies the counts and rates of a class, not its windows, shares and lists. A number that grows beyond what its
//! detector can count is never reached: the class is silent for such tenants.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::thresholds::Thresholds;
use super::{Policy, thresholds_read};
use crate::class::Class;
use crate::reader::{Section, format_duration};
use crate::tenant::{Profile, Tenant, TenantId};

/// A number's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// A whole number.
    Count(u64),
    /// A number with a point in it.
    Number(f64),
    /// A time.
    Span(Duration),
    /// Port numbers.
    Ports(Vec<u16>),
}

impl fmt::Display for Value {
    /// As it stands in a file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(number) => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Span(span) => write!(f, "\"{}\"", format_duration(*span)),
            Self::Ports(ports) => {
                let all: Vec<String> = ports.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", all.join(", "))
            }
        }
    }
}

/// One number of a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    /// Its key in a policy.
    pub key: &'static str,
    /// What it is.
    pub value: Value,
    /// What it may be.
    pub allowed: String,
    /// Whether a profile's factor multiplies it.
    pub scales: bool,
    /// The most that its detector can count, for whole numbers.
    pub most: Option<u64>,
}

impl Number {
    /// Whether it has grown beyond what can be counted.
    #[must_use]
    pub fn is_out_of_reach(&self) -> bool {
        matches!((&self.value, self.most), (Value::Count(number), Some(most)) if *number > most)
    }
}

impl Thresholds {
    /// The numbers of a class, in the order of their importance.
    #[must_use]
    pub fn list(&self, class: Class) -> Vec<Number> {
        thresholds_read::list(class, self)
    }
}

/// What a policy says of profiles and of tenants.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tailoring {
    /// By how much the numbers of a class are multiplied for tenants with a profile.
    pub profiles: BTreeMap<Profile, BTreeMap<Class, f64>>,
    /// Numbers that tenants with a profile have instead, by key.
    #[serde(default)]
    pub instead: BTreeMap<Profile, Own>,
    /// Numbers of a tenant's own, by key.
    pub tenants: BTreeMap<TenantId, Own>,
    /// By how much the numbers of a class are multiplied for one tenant, beside what its profile says.
    #[serde(default)]
    pub tenant_factors: BTreeMap<TenantId, BTreeMap<Class, f64>>,
}

/// Numbers that replace others, by class and key.
pub type Own = BTreeMap<Class, BTreeMap<String, Value>>;

/// Tenants with numbers of their own take memory each.
const MAX_TENANTS: usize = 4_096;
/// A factor below would make an alert of anything, one above none of everything.
const FACTOR: std::ops::RangeInclusive<f64> = 0.01..=1_000_000.0;

impl Tailoring {
    /// Reads `[profile.NAME]` and `[tenant."ID".thresholds]` of `root`, over what is there. `numbers` are the policy's.
    pub(super) fn read(&mut self, root: &Section<'_, '_>, numbers: &Thresholds) {
        if let Some(all) = root.section("profile") {
            for (word, profile) in Profile::ALL {
                if let Some(section) = all.section(word) {
                    section.is_a("factors");
                    own_numbers(&section, numbers, self.instead.entry(profile).or_default());
                    factors(&section, self.profiles.entry(profile).or_default());
                }
            }
            all.finish();
        }
        self.read_tenants(root, numbers);
        self.drop_empty();
    }

    fn read_tenants(&mut self, root: &Section<'_, '_>, numbers: &Thresholds) {
        let Some(all) = root.section("tenant") else { return };
        for id in all.free_keys() {
            let Some(section) = all.section(&id) else { continue };
            section.is_a("factors");
            match id.parse::<TenantId>() {
                Ok(tenant) => {
                    own_numbers(&section, numbers, self.tenants.entry(tenant.clone()).or_default());
                    factors(&section, self.tenant_factors.entry(tenant).or_default());
                }
                Err(_) => all.reject(&id, "the key of a tenant"),
            }
        }
        if self.tenants.len() > MAX_TENANTS {
            root.reject("tenant", "at most 4096 tenants with numbers of their own");
        }
        all.finish();
    }
}

impl Tailoring {
    /// Whether anything is said of a profile.
    pub(crate) fn speaks_of(&self, profile: Profile) -> bool {
        self.profiles.contains_key(&profile) || self.instead.contains_key(&profile)
    }

    /// A table in which nothing stands says nothing.
    fn drop_empty(&mut self) {
        self.profiles.retain(|_, factors| !factors.is_empty());
        self.instead.retain(|_, own| !own.is_empty());
        self.tenants.retain(|_, own| !own.is_empty());
        self.tenant_factors.retain(|_, factors| !factors.is_empty());
    }

    /// Whether anything is said of a tenant alone.
    fn has_own(&self, tenant: &TenantId) -> bool {
        self.tenants.contains_key(tenant) || self.tenant_factors.contains_key(tenant)
    }
}

fn factors(section: &Section<'_, '_>, factors: &mut BTreeMap<Class, f64>) {
    let mut take = |pattern: &str| {
        if let Some(factor) = section.float(pattern, FACTOR) {
            factors.extend(Class::matching(pattern).into_iter().map(|class| (class, factor)));
        }
    };
    // A class's own factor goes before its family's, wherever it stands.
    let mut families: Vec<&str> = Class::ALL.iter().map(|class| class.family()).collect();
    families.dedup();
    families.iter().map(|family| format!("{family}.*")).for_each(|pattern| {
        if Class::matching(&pattern).len() > 1 {
            take(&pattern);
        }
    });
    Class::ALL.iter().for_each(|class| take(class.name()));
    thresholds_read::unquoted_class(section);
    section.finish();
}

fn own_numbers(section: &Section<'_, '_>, numbers: &Thresholds, own: &mut Own) {
    if let Some(written) = section.section("thresholds") {
        let mut scratch = numbers.clone();
        thresholds_read::read(&written, &mut scratch);
        for class in Class::ALL.into_iter().filter(|class| written.has(class.name())) {
            let Some(table) = written.section(class.name()) else { continue };
            let named = scratch.list(class).into_iter().filter(|number| table.has(number.key));
            own.entry(class).or_default().extend(named.map(|number| (number.key.to_owned(), number.value)));
        }
    }
}

/// A profile, and a tenant if the policy speaks of it alone.
type MadeFor = (Profile, Option<TenantId>);

/// A policy's numbers for each tenant, made once and shared by those for whom they are the same.
#[derive(Clone, Debug)]
pub struct Numbers {
    policy: Arc<Policy>,
    common: Arc<Thresholds>,
    /// Those that differ, with what they were made for.
    made: Vec<(MadeFor, Arc<Thresholds>)>,
}

impl Numbers {
    /// The numbers of a policy.
    #[must_use]
    pub fn new(policy: &Arc<Policy>) -> Self {
        let common = Arc::new(policy.thresholds.clone());
        Self { policy: Arc::clone(policy), common, made: Vec::new() }
    }

    /// Those of whoever nothing is known.
    #[must_use]
    pub fn common(&self) -> &Arc<Thresholds> {
        &self.common
    }

    /// Those of a tenant.
    #[must_use]
    pub fn of(&mut self, tenant: &Tenant) -> Arc<Thresholds> {
        let tailoring = &self.policy.tailoring;
        let is_own = tailoring.has_own(&tenant.id);
        if !tailoring.speaks_of(tenant.profile) && !is_own {
            return Arc::clone(&self.common);
        }
        let key = (tenant.profile, is_own.then(|| tenant.id.clone()));
        if let Some((_, made)) = self.made.iter().find(|(made_for, _)| *made_for == key) {
            return Arc::clone(made);
        }
        let numbers = self.policy.thresholds_for(tenant.profile, Some(&tenant.id));
        let known =
            self.made.iter().map(|(_, made)| made).chain([&self.common]).find(|made| ***made == numbers);
        let numbers = known.map_or_else(|| Arc::new(numbers), Arc::clone);
        self.made.push((key, Arc::clone(&numbers)));
        numbers
    }

    /// Addresses of the provider's that no tenant may claim: gateways and whatever else is never cut off, and the node's own.
    #[must_use]
    pub fn protected(&self) -> Arc<[IpNet]> {
        self.policy.protected_destinations.iter().chain(&self.policy.own_addresses).copied().collect()
    }

    /// Forgets those of tenants that are none of `tenants` any more.
    pub fn keep<'t>(&mut self, tenants: impl Iterator<Item = &'t Arc<Tenant>>) {
        let tailoring = &self.policy.tailoring;
        let present: Vec<_> = tenants.filter(|tenant| tailoring.has_own(&tenant.id)).collect();
        self.made.retain(|((profile, id), _)| {
            let is_it = |tenant: &&Arc<Tenant>| Some(&tenant.id) == id.as_ref() && tenant.profile == *profile;
            id.is_none() || present.iter().any(is_it)
        });
    }
}

impl Policy {
    /// The numbers for a tenant, or for any with a profile.
    #[must_use]
    pub fn thresholds_for(&self, profile: Profile, tenant: Option<&TenantId>) -> Thresholds {
        let mut numbers = self.thresholds.clone();
        let by_profile = self.tailoring.profiles.get(&profile);
        let by_tenant = tenant.and_then(|id| self.tailoring.tenant_factors.get(id));
        for class in Class::ALL {
            let of =
                |factors: Option<&BTreeMap<Class, f64>>| factors.and_then(|all| all.get(&class)).copied();
            let (by_profile, by_tenant) = (of(by_profile), of(by_tenant));
            if by_profile.is_some() || by_tenant.is_some() {
                let factor = by_profile.unwrap_or(1.0) * by_tenant.unwrap_or(1.0);
                thresholds_read::scale(class, factor, &mut numbers);
            }
        }
        for (class, values) in self.tailoring.instead.get(&profile).into_iter().flatten() {
            thresholds_read::put(*class, values, &mut numbers);
        }
        for (class, values) in tenant.and_then(|id| self.tailoring.tenants.get(id)).into_iter().flatten() {
            thresholds_read::put(*class, values, &mut numbers);
        }
        numbers
    }

    /// The tenants with numbers of their own that are none of `tenants`: probably slips.
    #[must_use]
    pub fn unknown_tenants(&self, tenants: &[Tenant]) -> Vec<&TenantId> {
        let is_known = |id: &&TenantId| tenants.iter().any(|tenant| tenant.id == **id);
        self.tailoring.tenants.keys().filter(|id| !is_known(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "[policy]\nname = \"p\"\nversion = 1\nextends = \"baseline\"\n";

    fn policy(text: &str) -> Arc<Policy> {
        Arc::new(Policy::parse("p.toml", &format!("{HEAD}{text}")).unwrap())
    }

    fn tenant(id: &str, profile: Profile) -> Tenant {
        Tenant { profile, ..Tenant::new(id.parse().unwrap()) }
    }

    /// What is wrong with a policy, a line an error.
    fn check(text: &str, expect: &[&str]) {
        let told: Vec<String> = match Policy::parse("p.toml", &format!("{HEAD}{text}")) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.0.iter().map(|e| e.to_string().replace("p.toml:", "")).collect(),
        };
        assert_eq!(told.len(), expect.len(), "{text}\n{told:#?}");
        for (told, expect) in told.iter().zip(expect) {
            assert!(told.starts_with(expect), "{told}\nis not\n{expect}");
        }
    }

    #[test]
    fn a_factor_multiplies_counts_and_rates_and_nothing_else() {
        let policy =
            policy("[profile.web]\n\"portscan.*\" = 10\n\"portscan.slow\" = 3\n\"flood.icmp\" = 0.001e2");
        let (plain, web) = (&policy.thresholds, policy.thresholds_for(Profile::Web, None));
        assert_eq!(web.horizontal.hosts, plain.horizontal.hosts * 10);
        assert_eq!(web.horizontal.window, plain.horizontal.window);
        assert_eq!(web.horizontal.unanswered, plain.horizontal.unanswered);
        assert_eq!(web.horizontal.udp_factor, plain.horizontal.udp_factor);
        assert_eq!(web.horizontal.peer_ports, plain.horizontal.peer_ports);
        assert_eq!(web.slow.targets_per_hour, plain.slow.targets_per_hour * 3);
        assert_eq!(web.flood_icmp.packets_per_second, plain.flood_icmp.packets_per_second / 10);
        assert_eq!(web.flood_icmp.seconds, plain.flood_icmp.seconds);
        assert_eq!(web.flood_syn, plain.flood_syn);
        assert_eq!(policy.thresholds_for(Profile::None, None), *plain);
    }

    #[test]
    fn a_tenants_own_numbers_come_last_and_reach_every_endpoint() {
        let policy = policy(
            "[profile.web]\n\"api_burst\" = 4\n\"portscan.horizontal\" = 2\n\
             [[endpoint]]\nname = \"a\"\naddresses = [\"192.0.2.1/32\"]\nports = [443]\ncalls_per_second = 0.5\n\
             [tenant.\"t-1\".thresholds.\"portscan.horizontal\"]\nhosts = 50\n\
             [tenant.t-1.thresholds.api_burst]\nburst = 7\n",
        );
        let own = policy.thresholds_for(Profile::Web, Some(&"t-1".parse().unwrap()));
        assert_eq!((own.horizontal.hosts, own.horizontal.intruder_hosts), (50, 30));
        assert_eq!((own.endpoints[0].numbers.burst, own.endpoints[0].numbers.calls_per_second), (7, 2.0));
        let other = policy.thresholds_for(Profile::Web, Some(&"t-2".parse().unwrap()));
        assert_eq!((other.horizontal.hosts, other.endpoints[0].numbers.burst), (50, 40));
        assert_eq!(policy.unknown_tenants(&[tenant("t-2", Profile::Web)]), [&"t-1".parse().unwrap()]);
        assert!(policy.unknown_tenants(&[tenant("t-1", Profile::Web)]).is_empty());
    }

    #[test]
    fn a_tenant_may_have_factors_of_its_own() {
        let policy = policy(
            "[profile.web]\n\"portscan.*\" = 2\n[tenant.\"t-1\"]\n\"portscan.*\" = 3\n\"portscan.slow\" = 0.5\n\
             [tenant.t-1.thresholds.\"portscan.vertical\"]\nports = 33\n",
        );
        let plain = &policy.thresholds;
        let own = |profile| policy.thresholds_for(profile, Some(&"t-1".parse().unwrap()));
        assert_eq!(own(Profile::None).horizontal.hosts, plain.horizontal.hosts * 3);
        assert_eq!(own(Profile::Web).horizontal.hosts, plain.horizontal.hosts * 6);
        assert_eq!(own(Profile::Web).slow, plain.slow);
        let vertical = own(Profile::Web).vertical;
        assert_eq!((vertical.ports, vertical.low_ports), (33, plain.vertical.low_ports * 6));
        assert_eq!(policy.thresholds_for(Profile::None, Some(&"t-2".parse().unwrap())), *plain);
        let policy = Arc::new(policy);
        let mut numbers = Numbers::new(&policy);
        assert_eq!(numbers.of(&tenant("t-1", Profile::None)).horizontal, own_of(&policy));
        assert!(Arc::ptr_eq(&numbers.of(&tenant("t-2", Profile::None)), numbers.common()));
    }

    fn own_of(policy: &Policy) -> crate::language::thresholds::Horizontal {
        policy.thresholds_for(Profile::None, Some(&"t-1".parse().unwrap())).horizontal
    }

    #[test]
    fn who_watches_may_find_everything_there_and_nothing_else() {
        let policy = Policy::preset("baseline").unwrap();
        let (plain, watching) = (&policy.thresholds, policy.thresholds_for(Profile::Monitoring, None));
        let horizontal = &watching.horizontal;
        assert_eq!(
            (horizontal.wide_hosts, horizontal.wide_intruder_hosts, watching.vertical.low_ports),
            (0, 0, 0)
        );
        assert_eq!(
            (horizontal.hosts, watching.vertical.ports),
            (plain.horizontal.hosts, plain.vertical.ports)
        );
        // Nought is "never", and stays so.
        let own = self::policy("[tenant.a]\n\"portscan.*\" = 9\n");
        assert_eq!(
            own.thresholds_for(Profile::Monitoring, Some(&"a".parse().unwrap())).vertical.low_ports,
            0
        );
    }

    #[test]
    fn a_profile_may_have_other_numbers_instead() {
        let policy = policy(
            "[profile.web]\n\"portscan.*\" = 2\n[profile.web.thresholds.\"portscan.horizontal\"]\nhosts = 9\n",
        );
        let web = policy.thresholds_for(Profile::Web, None);
        assert_eq!((web.horizontal.hosts, web.horizontal.intruder_hosts), (9, 30));
        let federation = policy.thresholds_for(Profile::Federation, None);
        assert!(federation.horizontal.peer_ports.contains(&443));
        assert_eq!(federation.horizontal.intruder_hosts, policy.thresholds.horizontal.intruder_hosts);
    }

    #[test]
    fn tenants_share_numbers_that_are_the_same() {
        let policy = policy("[profile.web]\n\"spam\" = 2\n[tenant.a.thresholds.spam]\nexchangers = 9\n");
        let mut numbers = Numbers::new(&policy);
        let (b, c) = (numbers.of(&tenant("b", Profile::Web)), numbers.of(&tenant("c", Profile::Web)));
        assert!(Arc::ptr_eq(&b, &c));
        let plain = numbers.of(&tenant("d", Profile::None));
        assert!(Arc::ptr_eq(&plain, numbers.common()));
        let a = numbers.of(&tenant("a", Profile::None));
        assert_eq!(a.spam.exchangers, 9);
        let tenants = [Arc::new(tenant("a", Profile::None))];
        numbers.keep(tenants.iter());
        assert!(Arc::ptr_eq(&a, &numbers.of(&tenants[0])));
        numbers.keep([].iter());
        assert!(!Arc::ptr_eq(&a, &numbers.of(&tenants[0])));
    }

    #[test]
    fn a_policys_factors_replace_those_of_what_it_extends_class_by_class() {
        let base = Policy::preset("baseline").unwrap();
        let (class, factor) = base.tailoring.profiles[&Profile::P2p].iter().next().unwrap();
        let policy = policy("[profile.p2p]\nquota = 3\n");
        let factors = &policy.tailoring.profiles[&Profile::P2p];
        assert_eq!((factors.get(class), factors.get(&Class::Quota)), (Some(factor), Some(&3.0)));
    }

    #[test]
    fn every_class_lists_its_numbers_and_says_what_cannot_be_reached() {
        let numbers = Thresholds::default();
        for class in Class::ALL {
            let listed = numbers.list(class);
            assert!(!listed.is_empty(), "{class}");
            assert!(listed.iter().all(|number| !number.is_out_of_reach()), "{class}: {listed:?}");
        }
        let policy = policy("[profile.web]\n\"portscan.horizontal\" = 1000");
        let web = policy.thresholds_for(Profile::Web, None);
        assert!(web.list(Class::PortscanHorizontal)[0].is_out_of_reach());
    }

    #[test]
    fn slips_are_told_with_their_place() {
        check(
            "[profile.web]\n\"portscan\" = 2",
            &["6:1: `profile.web.portscan`: found a key that is not known"],
        );
        check("[profile.web]\nspam = 0", &["6:8: `profile.web.spam`: found 0; allowed: a number from 0.01"]);
        check("[profile.post]\n", &["5:10: `profile.post`: found a key that is not known; allowed: crawler"]);
        check(
            "[tenant.a.thresholds.\"portscan.horizontal\"]\nhosts = 0",
            &[
                "6:9: `tenant.a.thresholds.\"portscan.horizontal\".hosts`: found 0; allowed: a whole number from 1",
            ],
        );
        check(
            "[tenant.a.thresholds.\"portscan.horizontal\"]\nhost = 9",
            &["6:1: `tenant.a.thresholds.\"portscan.horizontal\".host`: found a key that is not known"],
        );
        let quote = |place: &str, class: &str| {
            format!(
                "{place}: found a key that is not known; allowed: the name of a class in quotes, such as \"{class}\""
            )
        };
        check(
            "[thresholds.portscan.horizontal]\nhosts = 9",
            &[&quote("5:13: `thresholds.portscan`", "portscan.horizontal")],
        );
        check("[profile.web]\nflood.syn = 9", &[&quote("6:1: `profile.web.flood`", "flood.syn")]);
        check(
            "[tenant.a.thresholds.spoof.arp]\nclaims = 9",
            &[&quote("5:22: `tenant.a.thresholds.spoof`", "spoof.source")],
        );
        check(
            "[thresholds.\"portscan.*\"]\nhosts = 9",
            &[
                "5:13: `thresholds.\"portscan.*\"`: found a key that is not known; allowed: one class at a time",
            ],
        );
        for window in ["60", "\"2h\"", "\"soon\""] {
            let told = format!(
                "6:10: `thresholds.\"portscan.vertical\".window`: found {window}; allowed: a time from \"1s\" to \"10m\""
            );
            check(&format!("[thresholds.\"portscan.vertical\"]\nwindow = {window}"), &[&told]);
        }
        for (key, most) in [("probes", 64), ("ack_probes", 64), ("protocols", 24)] {
            let told = format!("found {}; allowed: a whole number from 1 to {most}", most + 1);
            let place = format!("6:{}: `thresholds.\"portscan.stealth\".{key}`: ", key.len() + 4);
            check(&format!("[thresholds.\"portscan.stealth\"]\n{key} = {}", most + 1), &[&(place + &told)]);
        }
        check("[tenant.a]\nhosts = 9", &["6:1: `tenant.a.hosts`: found a key that is not known"]);
        check("[tenant.\"a b\"]\n", &["5:"]);
    }
}
