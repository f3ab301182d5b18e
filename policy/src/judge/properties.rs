//! What must hold whatever happens: the brakes are never exceeded, and an exemption never makes anything harsher. And resellers, and several
//! rules at once.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::alert::{Metric, Outcome, TargetSeen, Window};
use crate::exemption::Exemption;
use crate::language::Brakes;
use crate::net::Protocol;

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_795_521_600 + secs)
}

/// Something found about a tenant, many times its number, done to a host.
fn found(class: Class, tenant: &str, secs: u64, times: f64, hosts: &[u8]) -> Alert {
    let target =
        |host: &u8| Target { address: [20, 0, 0, *host].into(), protocol: Protocol::Tcp, port: Some(80) };
    let seen = |target| TargetSeen { target, first: at(secs), last: at(secs), outcome: Outcome::Silent };
    Alert {
        class,
        tenant: tenant.parse().unwrap(),
        at: at(secs),
        window: Window { start: at(secs), end: at(secs) },
        metrics: vec![Metric { name: "hosts".into(), value: 25.0 * times, threshold: Some(25.0) }],
        confidence_percent: 95,
        targets: hosts.iter().map(target).map(seen).collect(),
        samples: Vec::new(),
        loss: Loss::default(),
        is_suspicion: false,
    }
}

fn policy(lines: &str) -> Policy {
    Policy::parse("x.toml", &format!("[policy]\nname = \"x\"\nversion = 1\nmode = \"enforce\"\n{lines}"))
        .unwrap()
}

/// A judge with a ledger of its own, as a node has.
struct Node {
    judge: Judge,
    tenants: Vec<Arc<Tenant>>,
    /// In force: whom, since when, and its end.
    held: Vec<(Decision, Option<Timestamp>)>,
    told: Vec<Decision>,
    violations: Vec<Violation>,
    brakes: Vec<BrakesSet>,
    /// When tenants were newly held.
    newly: Vec<Timestamp>,
}

impl Node {
    fn new(policy: Policy, tenants: Vec<Tenant>) -> Self {
        let tenants: Vec<Arc<Tenant>> = tenants.into_iter().map(Arc::new).collect();
        let mut judge = Judge::new("n1".parse().unwrap(), Mode::Enforce, Arc::new(policy));
        judge.set_families(tenants.iter());
        let (held, told, newly) = (Vec::new(), Vec::new(), Vec::new());
        Self { judge, tenants, held, told, violations: Vec::new(), brakes: Vec::new(), newly }
    }

    fn occupancy(&self, tenant: &TenantId) -> Occupancy {
        let held: BTreeSet<&TenantId> = self.held.iter().map(|(decision, _)| &decision.tenant).collect();
        Occupancy { tenants: self.tenants.len(), held: held.len(), is_held: held.contains(tenant) }
    }

    fn pass(&mut self, now: Timestamp) {
        self.held.retain(|(_, end)| end.is_none_or(|end| end > now));
        self.judge.handle_timeout(now);
    }

    fn alert(&mut self, alert: &Alert) {
        self.pass(alert.at);
        let tenant = self.tenants.iter().find(|tenant| tenant.id == alert.tenant).cloned().unwrap();
        let occupancy = self.occupancy(&tenant.id);
        self.judge.handle_alert(alert, &tenant, occupancy);
        self.drain();
        while let Some(escalated) = self.judge.poll_escalated() {
            let occupancy = self.occupancy(&escalated.alert.tenant);
            self.judge.handle_escalated(&escalated, occupancy);
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(judgement) = self.judge.poll() {
            match judgement {
                Judgement::Decision(decision) => {
                    if decision.action.is_measure() && decision.mode == Mode::Enforce {
                        if !self.occupancy(&decision.tenant).is_held {
                            self.newly.push(decision.at);
                        }
                        self.held.push((decision.clone(), decision.until.expiry(decision.at)));
                    }
                    self.told.push(decision);
                }
                Judgement::Violation(violation) => self.violations.push(violation),
                Judgement::Braked(set) => self.brakes.push(set),
                Judgement::Excused(_) => {}
            }
        }
    }

    fn release(&mut self, tenant: &TenantId, now: Timestamp) {
        self.held.retain(|(decision, _)| decision.tenant != *tenant);
        self.judge.handle_release(tenant, now);
        self.drain();
    }

    fn words(&self) -> Vec<String> {
        let word =
            |decision: &Decision| format!("{} {} {}", decision.tenant, decision.action, decision.scope);
        self.told.iter().map(word).collect()
    }
}

/// A step in the life of a node.
#[derive(Clone, Debug)]
enum Event {
    Alert { tenant: usize, class: usize, times: f64 },
    Release { tenant: usize },
    ReleaseBrakes,
    Pause(bool),
    Restart,
}

fn any_step() -> impl Strategy<Value = (u64, Event)> {
    let alert = (0_usize..40, 0_usize..4, 1.0_f64..20.0);
    let step = prop_oneof![
        12 => alert.prop_map(|(tenant, class, times)| Event::Alert { tenant, class, times }),
        2 => (0_usize..40).prop_map(|tenant| Event::Release { tenant }),
        1 => Just(Event::ReleaseBrakes),
        1 => any::<bool>().prop_map(Event::Pause),
        1 => Just(Event::Restart),
    ];
    let wait = prop_oneof![8 => 0_u64..20, 2 => 20_u64..120, 1 => 120_u64..20_000];
    (wait, step)
}

const LADDERS: &str = "[[rule]]\nid = \"scan\"\non = [\"portscan.*\"]\nsevere = { times = 9 }\n\
    parent = { violations = 2, within = \"1d\", ladder = [{ action = \"suspend\", until = \"2h\" }] }\n\
    ladder = [{ action = \"notify\" }, { action = \"block\", until = \"10m\" }, { action = \"suspend\", until = \"1h\" }]\n\
    [[rule]]\nid = \"flood\"\non = [\"flood.*\"]\nladder = [{ action = \"limit\", rate = \"1/second\", until = \"5m\" }, \
    { action = \"suspend\", until = \"released\" }]\n\
    [[rule]]\nid = \"spam\"\non = [\"spam\"]\nladder = [{ action = \"block\", scope = \"tcp/25\", until = \"1h\" }]\n";
const CLASSES: [Class; 4] = [Class::PortscanHorizontal, Class::FloodSyn, Class::Spam, Class::PortscanSlow];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_brakes_are_never_exceeded_whatever_happens(
        steps in prop::collection::vec(any_step(), 1..160),
        (a_minute, share, least) in (0_u32..8, 0.0_f64..0.5, 0_u32..6),
        number in 1_usize..40,
    ) {
        let policy = policy(&format!(
            "[brakes]\nmeasures_per_minute = {a_minute}\nshare_of_tenants = {share}\ntenants_at_least = {least}\n{LADDERS}"
        ));
        let brakes: Brakes = policy.brakes;
        let tenants = (0..number).map(|place| Tenant {
            parent: (place % 4 == 1).then(|| format!("t{}", place - 1).parse().unwrap()),
            ..Tenant::new(format!("t{place}").parse().unwrap())
        });
        let mut node = Node::new(policy.clone(), tenants.collect());
        let limit = ((number as f64 * brakes.share_of_tenants) as usize).max(least as usize);
        let (mut now, mut looked_at) = (0, 0);
        for (wait, step) in steps {
            now += wait;
            node.pass(at(now));
            let before = node.occupancy(&"nobody".parse().unwrap()).held;
            looked_at = looked_at.min(before);
            let (newly, was_set) = (node.newly.len(), node.judge.standing().brakes().is_some());
            match step {
                Event::Alert { tenant, class, times } => {
                    let tenant = format!("t{}", tenant % number);
                    node.alert(&found(CLASSES[class], &tenant, now, times, &[1]));
                }
                Event::Release { tenant } => {
                    node.release(&format!("t{}", tenant % number).parse().unwrap(), at(now));
                }
                Event::ReleaseBrakes => {
                    node.judge.handle_release_brakes(before);
                    looked_at = before;
                }
                Event::Pause(paused) => {
                    node.judge.set_pause(paused.then(|| Pause::new("oncall", "", at(now))));
                }
                Event::Restart => {
                    let kept = serde_json::to_string(node.judge.standing()).unwrap();
                    let mut judge = Judge::new("n1".parse().unwrap(), Mode::Enforce, Arc::new(policy.clone()));
                    judge.restore(serde_json::from_str(&kept).unwrap());
                    judge.set_families(node.tenants.iter());
                    node.judge = judge;
                    // The brake by the minute begins anew with the agent.
                    node.newly.clear();
                    continue;
                }
            }
            let new = node.newly.len() - newly;
            let held = node.occupancy(&"nobody".parse().unwrap()).held;
            prop_assert!(new == 0 || !was_set, "held while the brakes were set");
            prop_assert!(new == 0 || held <= limit + looked_at, "{held} held of {number}, limit {limit}");
            for (place, end) in node.newly.iter().enumerate() {
                let within = node.newly[..=place].iter().filter(|one| end.since(**one) < Duration::from_secs(60));
                prop_assert!(within.count() <= a_minute as usize);
            }
        }
    }

    /// Dates and what comes soon are left out: where what came first is excused, what counts came later, and is forgotten later.
    #[test]
    fn an_exemption_never_makes_anything_harsher(
        steps in prop::collection::vec((0_u64..1_500, 0_usize..4, 1.0_f64..20.0, prop::collection::vec(1_u8..9, 1..4)), 1..60),
        listed in 1_u8..9,
        until in prop::option::of(0_u64..40_000),
        clause in prop_oneof![Just("x/scan"), Just("x/*"), Just("x/flood"), Just("y/scan")],
        is_known in any::<bool>(),
    ) {
        let plain = Tenant {
            known_offender: is_known.then_some(Class::PortscanSlow).into_iter().collect(),
            ..Tenant::new("a".parse().unwrap())
        };
        let exempt = Tenant {
            exemptions: vec![Exemption {
                id: None,
                clause: clause.parse().unwrap(),
                targets: (1..=listed).map(|host| std::net::IpAddr::from([20, 0, 0, host]).into()).collect(),
                ports: Vec::new(),
                reference: "letter".into(),
                from: None,
                until: until.map(at),
            }],
            ..plain.clone()
        };
        let lines = format!("[brakes]\nmeasures_per_minute = 1000\n{LADDERS}");
        let (mut without, mut with) = (Node::new(policy(&lines), vec![plain]), Node::new(policy(&lines), vec![exempt]));
        let mut now = 0;
        for (wait, class, times, hosts) in steps {
            now += wait;
            let alert = found(CLASSES[class], "a", now, times, &hosts);
            without.alert(&alert);
            with.alert(&alert);
            let harshest = |node: &Node, rule: &str| {
                let of = |decision: &&Decision| decision.clause == format!("x/{rule}");
                node.told.iter().filter(of).map(|decision| decision.action).max()
            };
            for rule in ["scan", "flood", "spam"] {
                prop_assert!(harshest(&with, rule) <= harshest(&without, rule), "{rule} at {now}");
                let strikes = |node: &Node| {
                    let record = node.judge.standing.records.get("a".parse::<Name>().as_ref().unwrap());
                    record.and_then(|rules| rules.get(rule.parse::<Name>().as_ref().unwrap())).map_or(0, |one| one.strikes.len())
                };
                prop_assert!(strikes(&with) <= strikes(&without), "{rule} at {now}");
            }
            // Nobody who is excused is named.
            let is_excused = clause.starts_with("x/") && until.is_none_or(|until| now < until);
            if let Some(violation) = with.violations.last().filter(|one| is_excused && one.last_seen == at(now)) {
                let rule = violation.rule.as_str();
                let names = violation.evidence.targets.iter().any(|seen| {
                    (1..=listed).any(|host| seen.target.address == std::net::IpAddr::from([20, 0, 0, host]))
                });
                let is_from = clause == "x/*" || clause == violation.clause;
                prop_assert!(!(names && is_from), "{rule} names who is excused");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever else its customers did before, a reseller is answered no milder.
    #[test]
    fn a_reseller_with_more_behind_it_is_never_answered_milder(
        steps in prop::collection::vec((0_u64..4_000, 0_usize..3), 1..20),
        more in prop::collection::vec((0_u64..4_000, 0_usize..3), 0..10),
        (violations, children) in (1_u32..5, 1_u32..4),
    ) {
        let lines = format!(
            "[brakes]\nmeasures_per_minute = 1000\nshare_of_tenants = 1.0\n[[rule]]\nid = \"scan\"\non = [\"portscan.*\"]\n\
             parent = {{ violations = {violations}, children = {children}, within = \"30d\", ladder = [\
             {{ action = \"notify\" }}, {{ action = \"block\", scope = \"tcp/25\", until = \"1h\" }}, \
             {{ action = \"suspend\", until = \"released\" }}] }}\nladder = [{{ action = \"notify\" }}]\n"
        );
        let family = || {
            let child = |id: &str| Tenant { parent: Some("r".parse().unwrap()), ..Tenant::new(id.parse().unwrap()) };
            vec![Tenant::new("r".parse().unwrap()), child("c0"), child("c1"), child("c2")]
        };
        let harshest = |before: &[(u64, usize)]| {
            let mut node = Node::new(policy(&lines), family());
            let mut now = 0;
            for (wait, child) in before.iter().chain(&steps) {
                now += wait + 700;
                node.alert(&found(Class::PortscanSlow, &format!("c{child}"), now, 1.0, &[1]));
            }
            node.told.iter().filter(|one| one.tenant.as_str() == "r").map(|one| one.action).max()
        };
        prop_assert!(harshest(&more) >= harshest(&[]));
    }
}

#[test]
fn brakes_that_are_set_are_told_once_and_outlast_a_restart() {
    let lines =
        format!("[brakes]\nmeasures_per_minute = 9\ntenants_at_least = 1\nshare_of_tenants = 0.0\n{LADDERS}");
    let tenants = ["a", "b", "c"].map(|id| Tenant::new(id.parse().unwrap()));
    let mut node = Node::new(policy(&lines), tenants.to_vec());
    for (tenant, secs) in [("a", 0), ("b", 1), ("b", 100), ("c", 200)] {
        node.alert(&found(Class::Spam, tenant, secs, 1.0, &[1]));
    }
    assert_eq!(node.words(), ["a block tcp/25", "b notify tcp/25", "c notify tcp/25"]);
    assert_eq!(node.brakes.len(), 1);
    assert_eq!(node.brakes[0].at, at(1));
    let kept = serde_json::to_string(node.judge.standing()).unwrap();
    let read: Standing = serde_json::from_str(&kept).unwrap();
    assert_eq!((&read, read.brakes()), (node.judge.standing(), Some(&node.brakes[0])));
    // Until a person has looked; the step is taken when the abuse is seen again.
    node.judge.handle_release_brakes(1);
    node.alert(&found(Class::Spam, "b", 300, 1.0, &[1]));
    assert_eq!(node.words().last().unwrap(), "b block tcp/25");
    // What was kept before there were brakes to be released is read.
    let old: Standing = serde_json::from_str("{}").unwrap();
    assert!(old.is_empty() && old.brakes().is_none());
}

#[test]
fn a_reseller_answers_for_what_comes_from_several_of_its_customers_or_again() {
    let rule = |parent: &str| {
        format!(
            "[[rule]]\nid = \"scan\"\non = [\"portscan.*\"]\nparent = {{ {parent}, within = \"30d\", ladder = [\
            {{ action = \"notify\" }}, {{ action = \"suspend\", until = \"released\" }}] }}\n\
            ladder = [{{ action = \"suspend\", until = \"1h\" }}]\n"
        )
    };
    let of = |id: &str, parent: Option<&str>| Tenant {
        parent: parent.map(|parent| parent.parse().unwrap()),
        ..Tenant::new(id.parse().unwrap())
    };
    let family = || {
        vec![
            of("r", None),
            of("a", Some("r")),
            of("b", Some("r")),
            of("other", None),
            of("lost", Some("gone")),
            of("own", Some("own")),
        ]
    };
    let play = |parent: &str, events: &[(&str, u64)]| {
        let mut node = Node::new(policy(&rule(parent)), family());
        events
            .iter()
            .for_each(|(tenant, secs)| node.alert(&found(Class::PortscanSlow, tenant, *secs, 1.0, &[1])));
        let word = |decision: &Decision| format!("{} {}", decision.tenant, decision.action);
        node.told.iter().map(word).collect::<Vec<_>>()
    };
    const DAY: u64 = 86_400;
    // One customer, however often, where several are asked for.
    assert_eq!(
        play("children = 2", &[("a", 0), ("a", DAY), ("other", DAY + 1)]),
        ["a suspend", "a suspend", "other suspend"]
    );
    // The second one; and a third strike brings the next step. Nobody else's customer is touched.
    assert_eq!(
        play("children = 2", &[("a", 0), ("b", DAY), ("b", 2 * DAY)]),
        ["a suspend", "b suspend", "r notify", "b suspend", "r suspend"]
    );
    assert_eq!(play("violations = 2", &[("a", 0), ("a", DAY)]), ["a suspend", "a suspend", "r notify"]);
    // Too long ago.
    assert_eq!(play("violations = 2", &[("a", 0), ("a", 31 * DAY)]), ["a suspend", "a suspend"]);
    // Who is above nobody knows, or is above itself.
    assert_eq!(play("violations = 1", &[("lost", 0), ("own", 1)]), ["lost suspend", "own suspend"]);
    // What the reseller does itself is another matter.
    let mut node = Node::new(policy(&rule("violations = 1")), family());
    node.alert(&found(Class::PortscanSlow, "a", 0, 1.0, &[1]));
    node.alert(&found(Class::PortscanSlow, "r", 5, 1.0, &[1]));
    assert_eq!(node.words(), ["a suspend all", "r notify all", "r suspend all"]);
    let rules: BTreeSet<String> =
        node.violations.iter().map(|one| format!("{} {}", one.tenant, one.rule)).collect();
    assert_eq!(rules.into_iter().collect::<Vec<_>>(), ["a scan", "r scan", "r scan.parent"]);
    let numbers: Vec<String> = node.violations.iter().map(|one| one.evidence.summary()).collect();
    assert!(
        numbers[1].contains("violations of customers 1 (limit 1), customers 1 (limit 1)"),
        "{}",
        numbers[1]
    );
}

#[test]
fn several_rules_at_once_are_all_on_record_and_each_is_lifted_by_itself() {
    let mut node = Node::new(policy(LADDERS), vec![Tenant::new("a".parse().unwrap())]);
    for (class, times) in [(Class::FloodSyn, 1.0), (Class::Spam, 1.0), (Class::PortscanSlow, 10.0)] {
        node.alert(&found(class, "a", 0, times, &[1]));
    }
    assert_eq!(node.words(), ["a limit to 20.0.0.1", "a block tcp/25", "a suspend all"]);
    assert_eq!(node.judge.standing().len(), 3);
    // What led to the suspension is taken back: the others' episodes stay open, and go on where they were.
    let scan = node.told[2].violation.clone().unwrap();
    node.judge.handle_lift(&BTreeSet::from([("a".parse().unwrap(), scan)]), true, at(1));
    node.drain();
    let closed = node.violations.iter().filter(|one| one.state == ViolationState::Released).count();
    assert_eq!(closed, 1);
    node.alert(&found(Class::FloodSyn, "a", 70, 1.0, &[1]));
    assert_eq!(node.words().last().unwrap(), "a suspend all");
    assert_eq!(node.told.last().unwrap().clause, "x/flood");
}

#[test]
fn a_tenant_that_is_renumbered_keeps_its_standing() {
    let mut node = Node::new(policy(LADDERS), vec![Tenant::new("a".parse().unwrap())]);
    node.alert(&found(Class::FloodSyn, "a", 0, 1.0, &[1]));
    let moved = Tenant {
        addresses: vec!["203.0.113.77/32".parse().unwrap()],
        interfaces: vec!["n1/tap9".parse().unwrap()],
        ..Tenant::new("a".parse().unwrap())
    };
    node.tenants = vec![Arc::new(moved)];
    node.judge.set_families(node.tenants.iter());
    // The episode goes on, and an hour later it is the second strike.
    node.alert(&found(Class::FloodSyn, "a", 30, 1.0, &[1]));
    assert_eq!(node.told.len(), 1);
    node.alert(&found(Class::FloodSyn, "a", 3_600, 1.0, &[1]));
    assert_eq!(node.words().last().unwrap(), "a suspend all");
    assert_eq!(node.violations.last().unwrap().strike, 2);
}
