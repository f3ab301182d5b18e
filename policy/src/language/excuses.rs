//! What a tenant's exemptions excuse by a policy: whole alerts for the judge, and targets class by class for whoever counts.

use std::cmp::Ordering;

use ipnet::IpNet;

use super::conditions::Whose;
use super::thresholds::EndpointKind;
use super::{Policy, Rule, Step};
use crate::alert::Alert;
use crate::class::Class;
use crate::decision::Action;
use crate::exemption::Exemption;
use crate::net::Target;
use crate::tenant::{Tenant, TenantId};
use crate::time::Timestamp;

/// Some classes of abuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassSet(u64);

// A bit each.
const _: () = assert!(Class::ALL.len() <= 64);

impl ClassSet {
    /// Whether it is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a class is among them.
    #[must_use]
    pub const fn has(self, class: Class) -> bool {
        self.0 & 1 << class as u32 != 0
    }

    /// Those of both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a class is in both.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl FromIterator<Class> for ClassSet {
    fn from_iter<I: IntoIterator<Item = Class>>(classes: I) -> Self {
        Self(classes.into_iter().fold(0, |bits, class| bits | 1 << class as u32))
    }
}

/// An exemption, and of which classes it excuses what is done to the provider's networks and to others.
#[derive(Clone, Debug, PartialEq)]
struct Excuse {
    exemption: Exemption,
    own: ClassSet,
    others: ClassSet,
}

/// What of a tenant's exemptions is for some targets only, and is therefore counted apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Excuses {
    excuses: Vec<Excuse>,
    own_networks: Vec<IpNet>,
}

impl Excuses {
    /// Those of a tenant; `None` where none of its exemptions asks for it.
    #[must_use]
    pub fn of(policy: &Policy, tenant: &Tenant) -> Option<Self> {
        let excuse = |exemption: &Exemption| {
            let excused = |whose| {
                let is_excused = |class: &Class| {
                    // At some kind of endpoint; at which, the judge looks.
                    let kinds = [
                        None,
                        Some(EndpointKind::Api),
                        Some(EndpointKind::Signup),
                        Some(EndpointKind::Login),
                    ];
                    let rules = kinds.into_iter().filter_map(|kind| policy.rule_on(*class, whose, kind));
                    exemption.reaches(*class) && rules.into_iter().any(|rule| exemption.is_from(rule))
                };
                Class::ALL.into_iter().filter(is_excused).collect::<ClassSet>()
            };
            let (own, others) = (excused(Whose::Own), excused(Whose::ThirdParty));
            // What is excused whoever it is done to is nothing to count apart.
            let is_apart = exemption.is_limited() || own != others;
            let is_any = !own.is_empty() || !others.is_empty();
            (is_apart && is_any).then(|| Excuse { exemption: exemption.clone(), own, others })
        };
        let excuses: Vec<Excuse> = tenant.exemptions.iter().filter_map(excuse).collect();
        (!excuses.is_empty()).then(|| Self { excuses, own_networks: policy.own_networks.clone() })
    }

    /// Sets of classes that are to be counted apart at `at`: what is done to listed targets by one, and what is done to all others by another.
    /// Those of two exemptions that share a class are one.
    #[must_use]
    pub fn apart(&self, at: Timestamp) -> Vec<ClassSet> {
        let mut all: Vec<ClassSet> = Vec::new();
        for excuse in self.excuses.iter().filter(|excuse| excuse.exemption.is_in_force(at)) {
            let mut set = excuse.own.or(excuse.others);
            all.retain(|other| {
                let meets = other.meets(set);
                if meets {
                    set = set.or(*other);
                }
                !meets
            });
            all.push(set);
        }
        all.sort_unstable();
        all
    }

    /// Of which classes what is done to a target at `at` is excused.
    #[must_use]
    pub fn excused(&self, target: &Target, at: Timestamp) -> ClassSet {
        let mut set = ClassSet::default();
        let is_own = self.own_networks.iter().any(|net| net.contains(&target.address));
        for excuse in &self.excuses {
            if excuse.exemption.is_in_force(at) && excuse.exemption.lists(target) {
                set = set.or(if is_own { excuse.own } else { excuse.others });
            }
        }
        set
    }

    /// When an exemption next begins or ends.
    #[must_use]
    pub fn next_change(&self, at: Timestamp) -> Option<Timestamp> {
        let both = |excuse: &Excuse| [excuse.exemption.from, excuse.exemption.until];
        self.excuses.iter().flat_map(both).flatten().filter(|time| *time > at).min()
    }
}

impl Policy {
    /// The exemption that excuses what an alert tells of a target, or of nobody who could be named.
    fn excuse_of<'t>(
        &self,
        alert: &Alert,
        tenant: &'t Tenant,
        target: Option<&Target>,
    ) -> Option<&'t Exemption> {
        let is_own = |target: &Target| self.own_networks.iter().any(|net| net.contains(&target.address));
        let kind = self.kind_of(alert);
        tenant.exemptions.iter().find(|exemption| {
            let is_from =
                |whose| self.rule_on(alert.class, whose, kind).is_some_and(|rule| exemption.is_from(rule));
            let excuses = |target: &Target| {
                let whose = if is_own(target) { Whose::Own } else { Whose::ThirdParty };
                is_from(whose) && exemption.lists(target)
            };
            let is_it = match target {
                Some(target) => excuses(target),
                None => !exemption.is_limited() && is_from(Whose::Own) && is_from(Whose::ThirdParty),
            };
            is_it && exemption.is_in_force(alert.at) && exemption.reaches(alert.class)
        })
    }

    /// Protected destinations within tenants' prefixes, in words: to cut off the tenant would cut those off too.
    #[must_use]
    pub fn protected_within<'t>(&self, tenants: impl IntoIterator<Item = &'t Tenant>) -> Vec<String> {
        let mut all = Vec::new();
        for tenant in tenants {
            for prefix in &tenant.addresses {
                let is_within = |one: &&IpNet| prefix.contains(*one) && *one != prefix;
                if let Some(protected) = self.protected_destinations.iter().find(is_within) {
                    all.push(format!(
                        "{protected}, which is protected, lies within {prefix} of tenant `{}`: a suspension would cut it off too; give the tenant prefixes without it",
                        tenant.id
                    ));
                }
            }
        }
        all
    }

    /// Rules whose measures would be aimed at protected destinations, in words: endpoints that are protected, and nothing at which is ever
    /// blocked, while a rule on calls to them would block them. A limit is no block.
    #[must_use]
    pub fn aims_at_protected(&self) -> Vec<String> {
        let mut all = Vec::new();
        for endpoint in &self.thresholds.endpoints {
            let overlaps = |net: &&IpNet| {
                endpoint.addresses.iter().any(|address| net.contains(address) || address.contains(*net))
            };
            let Some(protected) = self.protected_destinations.iter().find(overlaps) else { continue };
            let is_on_calls = |rule: &&Rule| {
                rule.on.contains(&Class::ApiBurst) && rule.kind.is_none_or(|kind| kind == endpoint.kind)
            };
            let blocks = |step: &Step| step.action == Action::Block && step.scope.is_by_target();
            for rule in self.rules.iter().filter(is_on_calls) {
                let parents = rule.parent.iter().flat_map(|parent| &parent.ladder);
                if !rule.ladder.iter().chain(parents).any(blocks) {
                    continue;
                }
                all.push(format!(
                    "rule `{}` blocks calls to the endpoint `{}`, which is within {protected}, and that is protected: limit them, or take it out of \
                     [protected] `destinations`",
                    rule.id, endpoint.name
                ));
            }
        }
        all
    }

    /// Why this is not the next version of the policy that ran until now, in words; `None` where it is, is the same, or has another name.
    #[must_use]
    pub fn step_back(&self, running: &Self) -> Option<String> {
        if self.name != running.name || self == running {
            return None;
        }
        let (name, version, before) = (&self.name, self.version, running.version);
        match version.cmp(&before) {
            Ordering::Greater => None,
            Ordering::Equal => Some(format!(
                "policy {name} is not what it was and has version {version} as before: give it a higher one, or what was decided by which of \
                 the two cannot be told apart"
            )),
            Ordering::Less => Some(format!(
                "policy {name} has version {version}, and version {before} ran until now: versions only move forward; to go back, give the older \
                 rules a higher version"
            )),
        }
    }

    /// Tenants that nothing is done to since a protected destination covers an address of theirs, in words. Those whom `sources` names
    /// are meant to be.
    #[must_use]
    pub fn covered_tenants<'t>(&self, tenants: impl IntoIterator<Item = &'t Tenant>) -> Option<String> {
        const NAMED: usize = 3;
        let (mut names, mut nets, mut more) = (Vec::new(), Vec::new(), 0_usize);
        let open = |tenant: &&Tenant| !self.protected_sources.contains(&tenant.id);
        for tenant in tenants.into_iter().filter(open) {
            let covers = |net: &&IpNet| tenant.addresses.iter().any(|address| net.contains(address));
            let Some(net) = self.protected_destinations.iter().find(covers) else { continue };
            if names.len() < NAMED {
                names.push(format!("`{}`", tenant.id));
            } else {
                more += 1;
            }
            if nets.len() < NAMED && !nets.contains(net) {
                nets.push(*net);
            }
        }
        let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
        let (first, second) = match (names.len() + more, more) {
            (0, _) => return None,
            (1, _) => ("tenant", String::new()),
            (_, 0) => ("tenants", String::new()),
            _ => ("tenants", format!(" and {more} more")),
        };
        Some(format!(
            "nothing is done to {first} {}{second}, only told: [protected] `destinations` cover their addresses ({}); leave those out, or name the \
             tenants in `sources` if that is meant",
            names.join(", "),
            nets.join(", ")
        ))
    }

    /// What tenants' exemptions are from that this policy does not forbid, or cannot excuse for some targets only: a slip, in words.
    #[must_use]
    pub fn idle_exemptions(&self, tenants: &[Tenant]) -> Vec<String> {
        let all =
            tenants.iter().flat_map(|tenant| tenant.exemptions.iter().map(move |one| (&tenant.id, one)));
        let why = |(tenant, exemption): (&TenantId, &Exemption)| {
            let rules = self.rules.iter().filter(|rule| exemption.is_from(rule));
            let mut classes = rules.flat_map(|rule| &rule.on).peekable();
            let clause = &exemption.clause;
            if classes.peek().is_none() {
                return Some(format!(
                    "an exemption of `{tenant}` excuses nothing: policy {} has no rule with the clause {clause}",
                    self.name
                ));
            }
            let is_idle = !classes.any(|class| exemption.reaches(*class));
            is_idle.then(|| format!("an exemption of `{tenant}` excuses nothing: what breaks {clause} is done to no targets; leave `targets` and `ports` out"))
        };
        all.filter_map(why).collect()
    }

    /// Those targets of an alert which no exemption excuses, and the exemptions that excuse the others. Where an alert names no target,
    /// only one for whoever it is done to excuses it.
    #[must_use]
    pub fn excused<'t>(&self, alert: &Alert, tenant: &'t Tenant) -> (Vec<Target>, Vec<&'t Exemption>) {
        let (mut left, mut by) = (Vec::new(), Vec::<&Exemption>::new());
        if tenant.exemptions.is_empty() {
            return (left, by);
        }
        let mut note = |exemption: &'t Exemption| {
            if !by.iter().any(|known| std::ptr::eq(*known, exemption)) {
                by.push(exemption);
            }
        };
        for seen in &alert.targets {
            match self.excuse_of(alert, tenant, Some(&seen.target)) {
                Some(exemption) => note(exemption),
                None => left.push(seen.target),
            }
        }
        if alert.targets.is_empty() {
            self.excuse_of(alert, tenant, None).into_iter().for_each(note);
        }
        (left, by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Loss, Outcome, TargetSeen, Window};
    use crate::net::Protocol;

    const POLICY: &str = "[policy]\nname = \"x\"\nversion = 1\n[networks]\nown = [\"198.51.100.0/24\"]\n\
        [[rule]]\nid = \"ours\"\ntarget = \"own\"\non = [\"portscan.*\"]\nladder = [{ action = \"notify\" }]\n\
        [[rule]]\nid = \"scan\"\nalso = [\"x/attack\"]\non = [\"portscan.*\"]\nladder = [{ action = \"notify\" }]\n\
        [[rule]]\nid = \"flood\"\nalso = [\"x/attack\"]\non = [\"flood.*\"]\nladder = [{ action = \"notify\" }]\n\
        [[rule]]\nid = \"spoof\"\non = [\"spoof.*\"]\nladder = [{ action = \"notify\" }]\n";

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_795_521_600 + secs)
    }

    fn exemption(clause: &str, targets: &[&str], until: Option<u64>) -> Exemption {
        Exemption {
            id: None,
            clause: clause.parse().unwrap(),
            targets: targets.iter().map(|net| net.parse().unwrap()).collect(),
            ports: Vec::new(),
            reference: "r".into(),
            from: None,
            until: until.map(at),
        }
    }

    /// For each exemption a policy's classes that are counted apart at 0 s, by the first of each.
    fn excuses(exemptions: Vec<Exemption>) -> Option<Excuses> {
        let policy = Policy::parse("x.toml", POLICY).unwrap();
        let mut tenant = Tenant::new("a".parse().unwrap());
        tenant.exemptions = exemptions;
        Excuses::of(&policy, &tenant)
    }

    fn target(host: [u8; 4]) -> Target {
        Target { address: host.into(), protocol: Protocol::Tcp, port: Some(80) }
    }

    const OWN: [u8; 4] = [198, 51, 100, 7];
    const OTHER: [u8; 4] = [203, 0, 113, 7];

    #[test]
    fn what_is_for_some_targets_is_counted_apart() {
        assert_eq!(excuses(vec![]), None);
        // Everything of a rule, whoever it is done to.
        assert_eq!(excuses(vec![exemption("x/flood", &[], None)]), None);
        // Nothing that the policy knows.
        assert_eq!(excuses(vec![exemption("y/flood", &["203.0.113.0/24"], None)]), None);
        // Some targets of what is about none.
        assert_eq!(excuses(vec![exemption("x/spoof", &["203.0.113.0/24"], None)]), None);
        // A rule that protects the provider is one for some targets.
        let ours = excuses(vec![exemption("x/ours", &[], None)]).unwrap();
        assert!(ours.excused(&target(OWN), at(0)).has(Class::PortscanSlow));
        assert!(ours.excused(&target(OTHER), at(0)).is_empty());
        // By a clause that two rules serve as well.
        let attack = excuses(vec![exemption("x/attack", &["203.0.113.0/24"], None)]).unwrap();
        let set = attack.excused(&target(OTHER), at(0));
        assert!(set.has(Class::PortscanSlow) && set.has(Class::FloodSyn) && !set.has(Class::SpoofArp));
        assert!(attack.excused(&target([20, 0, 0, 1]), at(0)).is_empty());
    }

    #[test]
    fn each_set_of_classes_is_apart_while_its_exemption_holds() {
        let scan = exemption("x/scan", &["203.0.113.0/24"], Some(10));
        let flood = exemption("x/flood", &["20.0.0.0/24"], None);
        let both = excuses(vec![scan.clone(), flood.clone()]).unwrap();
        assert_eq!(both.apart(at(0)).len(), 2);
        assert_eq!(both.next_change(at(0)), Some(at(10)));
        assert_eq!((both.apart(at(10)).len(), both.next_change(at(10))), (1, None));
        assert!(both.excused(&target(OTHER), at(10)).is_empty());
        let all = exemption("x/*", &["20.0.1.0/24"], None);
        assert_eq!(excuses(vec![scan, flood, all]).unwrap().apart(at(0)).len(), 1);
    }

    #[test]
    fn an_exemption_that_excuses_nothing_is_told() {
        let policy = Policy::parse("x.toml", POLICY).unwrap();
        let mut tenant = Tenant::new("a".parse().unwrap());
        tenant.exemptions = vec![
            exemption("x/scan", &["203.0.113.0/24"], None),
            exemption("x/scam", &[], None),
            exemption("x/spoof", &["203.0.113.0/24"], None),
            exemption("x/spoof", &[], None),
        ];
        let told = policy.idle_exemptions(&[tenant]);
        assert_eq!(told.len(), 2);
        assert!(told[0].ends_with("policy x has no rule with the clause x/scam"), "{}", told[0]);
        assert!(told[1].contains("x/spoof is done to no targets"), "{}", told[1]);
    }

    #[test]
    fn a_policy_that_would_hit_what_is_protected_is_refused_or_told() {
        let lines = |scope: &str, own: &str| {
            format!(
                "[policy]\nname = \"y\"\nversion = 1\n[networks]\nown = [\"{own}\"]\n[protected]\ndestinations = \
                 [\"198.51.100.0/24\"]\n[[rule]]\nid = \"ours\"\ntarget = \"own\"\non = [\"portscan.*\"]\n\
                 ladder = [{{ action = \"notify\" }}, {{ action = \"limit\", scope = \"{scope}\", rate = \"1/second\", until = \"1h\" }}]\n"
            )
        };
        let refused = Policy::parse("y.toml", &lines("dst", "198.51.100.0/25")).unwrap_err().to_string();
        assert!(
            refused.contains("y.toml:12:10: `rule[1].ladder`")
                && refused.contains("to which nothing is blocked"),
            "{refused}"
        );
        let policy = Policy::parse("y.toml", &lines("all", "198.51.100.0/25")).unwrap();
        assert!(Policy::parse("y.toml", &lines("dst", "203.0.113.0/24")).is_ok());
        let mut tenant = Tenant::new("a".parse().unwrap());
        tenant.addresses = vec!["198.51.100.7/32".parse().unwrap(), "198.51.0.0/16".parse().unwrap()];
        let told = policy.protected_within(&[tenant]);
        assert_eq!(told.len(), 1);
        assert!(
            told[0]
                .starts_with("198.51.100.0/24, which is protected, lies within 198.51.0.0/16 of tenant `a`")
        );
    }

    #[test]
    fn a_policy_that_goes_back_or_changes_without_a_new_version_is_told() {
        let version = |version: u32, clause: &str| {
            let text = POLICY.replacen("version = 1", &format!("version = {version}"), 1);
            Policy::parse("x.toml", &text.replacen("x/attack", clause, 1)).unwrap()
        };
        let running = version(3, "x/attack");
        for (next, begins) in [
            (version(3, "x/attack"), None),
            (version(4, "x/other"), None),
            (Policy { name: "y".parse().unwrap(), ..version(1, "x/other") }, None),
            (version(3, "x/other"), Some("policy x is not what it was and has version 3 as before: ")),
            (version(2, "x/attack"), Some("policy x has version 2, and version 3 ran until now: ")),
        ] {
            let told = next.step_back(&running);
            assert_eq!(told.is_some(), begins.is_some(), "{told:?}");
            assert!(told.is_none_or(|told| told.starts_with(begins.unwrap())));
        }
    }

    #[test]
    fn tenants_that_a_protected_destination_disarms_are_told() {
        let mut policy = Policy::parse("x.toml", POLICY).unwrap();
        policy.protected_destinations =
            vec!["198.51.100.0/24".parse().unwrap(), "2001:db8:1::/48".parse().unwrap()];
        let tenant = |id: usize, prefix: &str| {
            let mut tenant = Tenant::new(format!("t-{id}").parse().unwrap());
            tenant.addresses = vec!["192.0.2.0/28".parse().unwrap(), prefix.parse().unwrap()];
            tenant
        };
        let free = [tenant(1, "203.0.113.1/32"), tenant(2, "198.51.0.0/16")];
        assert_eq!(policy.covered_tenants(&free), None);
        assert!(!policy.protects(&free[1]));
        // Equal counts as well, and one address is enough.
        let one = [tenant(3, "198.51.100.0/24")];
        assert_eq!(
            policy.covered_tenants(&one).unwrap(),
            "nothing is done to tenant `t-3`, only told: [protected] `destinations` cover their addresses (198.51.100.0/24); leave those out, \
             or name the tenants in `sources` if that is meant"
        );
        let mut many: Vec<Tenant> = (10..20).map(|id| tenant(id, "198.51.100.7/32")).collect();
        many[1] = tenant(11, "2001:db8:1:2::/64");
        let told = policy.covered_tenants(&many).unwrap();
        let begins = "nothing is done to tenants `t-10`, `t-11`, `t-12` and 7 more, only told: ";
        assert!(told.starts_with(begins) && told.contains("(198.51.100.0/24, 2001:db8:1::/48)"), "{told}");
        policy.protected_sources.insert(one[0].id.clone());
        assert_eq!(policy.covered_tenants(&one), None, "it is meant");
    }

    #[test]
    fn an_alert_is_excused_target_by_target() {
        let policy = Policy::parse("x.toml", POLICY).unwrap();
        let mut tenant = Tenant::new("a".parse().unwrap());
        tenant.exemptions = vec![
            exemption("x/scan", &["203.0.113.0/24"], Some(10)),
            exemption("x/spoof", &[], None),
            exemption("x/flood", &["203.0.113.0/24"], None),
        ];
        let ask = |class, targets: &[Target], secs| {
            let at = at(secs);
            let seen = |target: &Target| TargetSeen {
                target: *target,
                first: at,
                last: at,
                outcome: Outcome::Silent,
            };
            let alert = Alert {
                class,
                tenant: tenant.id.clone(),
                at,
                window: Window { start: at, end: at },
                metrics: Vec::new(),
                confidence_percent: 95,
                targets: targets.iter().map(seen).collect(),
                samples: Vec::new(),
                loss: Loss::default(),
                is_suspicion: false,
            };
            let (left, by) = policy.excused(&alert, &tenant);
            (left.len(), by.iter().map(|one| one.clause.to_string()).collect::<Vec<_>>())
        };
        let (listed, other) = (target(OTHER), target([20, 0, 0, 1]));
        assert_eq!(ask(Class::PortscanSlow, &[listed, listed], 0), (0, vec!["x/scan".into()]));
        assert_eq!(ask(Class::PortscanSlow, &[listed, other], 0), (1, vec!["x/scan".into()]));
        assert_eq!(ask(Class::PortscanSlow, &[listed], 10), (1, vec![]));
        assert_eq!(ask(Class::FloodSyn, &[], 0), (0, vec![]));
        assert_eq!(ask(Class::SpoofArp, &[], 0), (0, vec!["x/spoof".into()]));
        assert_eq!(ask(Class::SpoofArp, &[other], 0), (0, vec!["x/spoof".into()]));
    }
}
