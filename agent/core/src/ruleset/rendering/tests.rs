use std::time::Duration;

use proptest::prelude::*;
use reeve_policy::local::{GroupSelector, UserSelector};
use reeve_policy::{Action, Decision, Mode, Origin, Protocol, Scope, Target, Until};

use super::*;

const START: u64 = 1_000_000;

fn tenants() -> Vec<Arc<Tenant>> {
    let tenant = |id: &str, addresses: &[&str], interfaces: &[&str]| Tenant {
        addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
        interfaces: interfaces.iter().map(|port| port.parse().unwrap()).collect(),
        ..Tenant::new(id.parse().unwrap())
    };
    // Prefixes within each other, halves that come to another's whole, a port that two share, and nothing at all.
    let mut all = vec![
        tenant("a", &["203.0.113.0/25", "203.0.113.7/32", "2001:db8:10::/48"], &["n1/tap0", "n1/shared"]),
        tenant("b", &["198.51.100.0/25", "198.51.100.128/25"], &["n1/shared"]),
        tenant("c", &["198.51.100.0/24"], &["n1/tap3", "n2/tap0"]),
        tenant("d", &[], &[]),
    ];
    all[0].lifeline = vec!["192.0.2.53/32".parse().unwrap()];
    let mut site = tenant("e", &[], &[]);
    site.uids = vec!["1001".parse::<UserSelector>().unwrap(), "2000-2003".parse().unwrap()];
    site.cgroups = vec!["hosting.slice/e".parse::<GroupSelector>().unwrap()];
    site.mail_domains = vec!["e.example".parse().unwrap()];
    all.push(site);
    all.into_iter().map(Arc::new).collect()
}

fn here() -> Here {
    Here {
        groups: [("hosting.slice/e".into(), 77)].into(),
        mailers: vec![100],
        read_ports: vec![25, 587],
        first_user: 1_000,
    }
}

fn scope() -> impl Strategy<Value = Scope> {
    let target = |last: u8, port| Target {
        address: [20, 80, 7, last].into(),
        protocol: Protocol::Tcp,
        port: Some(port),
    };
    let endpoint = |net: &str, ports: &[u16]| Scope::Endpoint {
        name: "api".parse().unwrap(),
        addresses: vec![net.parse().unwrap(), "2001:db8:f000::/64".parse().unwrap()],
        ports: ports.to_vec(),
    };
    prop_oneof![
        Just(Scope::All),
        Just(Scope::Forged),
        Just(Scope::Port { protocol: Protocol::Tcp, port: 25 }),
        Just(Scope::Port { protocol: Protocol::Udp, port: 53 }),
        prop::sample::subsequence(vec![1_u8, 2, 3], 1..=3).prop_map(|last| Scope::Destinations {
            addresses: last.into_iter().map(|last| [20, 80, 7, last].into()).collect()
        }),
        prop::sample::subsequence(vec![1_u8, 2, 3], 1..=3).prop_map(move |last| Scope::DestinationPorts {
            targets: last.into_iter().map(|last| target(last, 443)).collect()
        }),
        // Within one another, and beside.
        Just(endpoint("20.80.7.0/24", &[443, 8443])),
        Just(endpoint("20.80.7.0/30", &[443])),
        Just(endpoint("20.80.7.2/32", &[443])),
    ]
}

/// A measure by its number, tenant, action, scope and time.
fn measure() -> impl Strategy<Value = (u8, usize, Action, Scope, &'static str, Option<u64>)> {
    let action = prop_oneof![Just(Action::Limit), Just(Action::Block), Just(Action::Suspend)];
    let rate = prop::sample::select(vec![
        "10/minute",
        "1/second",
        "1/second burst 1",
        "50 packets/second",
        "1 mbytes/second",
        "1 calls/second",
    ]);
    (0_u8..12, 0_usize..6, action, scope(), rate, prop::option::of(1_u64..60))
}

#[derive(Clone, Debug)]
enum Step {
    Impose((u8, usize, Action, Scope, &'static str, Option<u64>)),
    Lift(u8),
    /// Time goes on by so many seconds, or back.
    Wait(u64),
    GoBack,
    /// The tenants are others: so many of them.
    Tenants(usize),
    Spare(bool),
    /// Whether the node's own processes are watched.
    Watch(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => measure().prop_map(Step::Impose),
        4 => (0_u8..12).prop_map(Step::Lift),
        3 => (0_u64..30).prop_map(Step::Wait),
        1 => Just(Step::GoBack),
        1 => (2_usize..6).prop_map(Step::Tenants),
        1 => any::<bool>().prop_map(Step::Spare),
        1 => any::<bool>().prop_map(Step::Watch),
    ]
}

fn imposed(
    number: u8,
    tenant: usize,
    action: Action,
    scope: Scope,
    rate: &str,
    at: Timestamp,
    lasts: Option<u64>,
) -> Measure {
    let tenant = ["a", "b", "c", "d", "e", "nobody"][tenant];
    let until = lasts.map_or(Until::Released, |secs| Until::After(Duration::from_secs(secs)));
    let decision = Decision {
        id: DecisionId(format!("m{number}").parse().unwrap()),
        tenant: tenant.parse().unwrap(),
        violation: None,
        clause: String::new(),
        origin: Origin::Operator { name: "oncall".into() },
        action,
        scope,
        rate: (action == Action::Limit).then(|| rate.parse().unwrap()),
        until,
        at,
        mode: Mode::Enforce,
        reason: String::new(),
        connections: None,
        softened: None,
        reckoning: None,
    };
    Measure { expires: until.expiry(at), decision }
}

/// Everything that the elements come from.
struct World {
    desired: DesiredState,
    all_tenants: Vec<Arc<Tenant>>,
    tenants: usize,
    is_spared: bool,
    is_watched: bool,
    now: Timestamp,
}

impl World {
    fn go(&mut self, step: Step) {
        match step {
            // The same number again is the same decision with another time: it is renewed, or another one altogether.
            Step::Impose((number, tenant, action, scope, rate, lasts)) => {
                let measure = imposed(number, tenant, action, scope, rate, self.now, lasts);
                self.desired.measures.insert(measure.decision.id.clone(), measure);
            }
            Step::Lift(number) => {
                self.desired.measures.remove(&DecisionId(format!("m{number}").parse().unwrap()));
            }
            Step::Wait(secs) => self.now += Duration::from_secs(secs),
            Step::GoBack => self.now = self.now.minus(Duration::from_secs(7)),
            Step::Tenants(number) => self.tenants = number.min(self.all_tenants.len()),
            Step::Spare(is_spared) => self.is_spared = is_spared,
            Step::Watch(is_watched) => self.is_watched = is_watched,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Step by step or at once: the same elements, and each difference leads from the ones before to the ones after.
    #[test]
    fn steps_come_to_what_all_at_once_comes_to(steps in prop::collection::vec(step(), 1..40)) {
        let (node, here) = ("n1".parse().unwrap(), here());
        let nets = |texts: &[&str]| texts.iter().map(|net| net.parse().unwrap()).collect::<Vec<IpNet>>();
        let (protected, own) = (nets(&["192.0.2.0/28"]), nets(&["203.0.113.1/32", "192.0.2.9/32"]));
        let lifeline = nets(&["192.0.2.80/32", "2001:db8:80::/64"]);
        let manner = Manner { counts_connections: true, cuts_inbound: true };
        let mut world = World {
            desired: DesiredState::default(),
            all_tenants: tenants(),
            tenants: 5,
            is_spared: true,
            is_watched: true,
            now: Timestamp::from_secs(START),
        };
        let (mut rendering, mut followed) = (Rendering::default(), Elements::new());
        for step in steps {
            world.go(step.clone());
            let spared = if world.is_spared {
                Spared { protected: &protected, own: &own, lifeline: &lifeline, manner }
            } else {
                Spared::default()
            };
            let setting = Setting {
                node: &node,
                tenants: &world.all_tenants[..world.tenants],
                spared,
                here: world.is_watched.then_some(&here),
            };
            let difference = rendering.update(&world.desired, setting, world.now);
            let whole = all(&world.desired, setting, world.now);
            prop_assert_eq!(rendering.elements(), &whole, "after {:?}", step);
            difference.apply(&mut followed);
            prop_assert_eq!(&followed, &whole, "the difference after {:?}", step);
            let held: BTreeSet<&DecisionId> = whole.values().flat_map(|hold| &hold.decisions).collect();
            let unheld = world.desired.measures.keys().filter(|id| !held.contains(id));
            prop_assert!(rendering.unheld().iter().eq(unheld), "unheld after {:?}", step);
        }
    }
}

fn setting<'s>(node: &'s NodeId, tenants: &'s [Arc<Tenant>]) -> Setting<'s> {
    Setting { node, tenants, spared: Spared::default(), here: None }
}

#[test]
fn one_that_goes_leaves_what_another_asks_for() {
    let (node, tenants, now) = ("n1".parse().unwrap(), tenants(), Timestamp::from_secs(START));
    let mut desired = DesiredState::default();
    let scope = Scope::Port { protocol: Protocol::Tcp, port: 25 };
    for number in [1, 2] {
        let measure = imposed(number, 0, Action::Limit, scope.clone(), "10/minute", now, None);
        desired.measures.insert(measure.decision.id.clone(), measure);
    }
    let mut rendering = Rendering::default();
    rendering.update(&desired, setting(&node, &tenants), now);
    desired.measures.pop_last();
    let difference = rendering.update(&desired, setting(&node, &tenants), now);
    assert!(difference.gone.is_empty(), "{difference:?}");
    // Only what served both is other now, and nothing that merely leads to it.
    let is_of_decisions = |element: &Element| matches!(element, Element::Limit { .. } | Element::Limited(_));
    assert!(difference.changed.keys().all(is_of_decisions), "{difference:?}");
    assert_eq!(difference.changed.len(), 4);
}

#[test]
fn one_among_a_thousand_changes_its_own_elements_alone() {
    let node = "n1".parse().unwrap();
    let tenants: Vec<Arc<Tenant>> = (0..10_000_u32)
        .map(|number| {
            let address = std::net::IpAddr::from(std::net::Ipv4Addr::from(0x0b00_0000 + number));
            let id = format!("t{number}").parse().unwrap();
            Arc::new(Tenant { addresses: vec![address.into()], ..Tenant::new(id) })
        })
        .collect();
    let now = Timestamp::from_secs(START);
    let mut desired = DesiredState::default();
    let impose = |number: usize, desired: &mut DesiredState| {
        let mut measure = imposed(0, 0, Action::Suspend, Scope::All, "", now, None);
        measure.decision.id = DecisionId(format!("m{number}").parse().unwrap());
        measure.decision.tenant = tenants[number].id.clone();
        desired.measures.insert(measure.decision.id.clone(), measure);
    };
    (0..1_000).for_each(|number| impose(number, &mut desired));
    let mut rendering = Rendering::default();
    assert_eq!(rendering.update(&desired, setting(&node, &tenants), now).changed.len(), 1_000);
    impose(5_000, &mut desired);
    let difference = rendering.update(&desired, setting(&node, &tenants), now);
    assert_eq!((difference.gone.len(), difference.changed.len()), (0, 1));
}

#[test]
fn what_finds_no_room_stands_when_there_is_some() {
    let (node, now) = ("n1".parse().unwrap(), Timestamp::from_secs(START));
    // No two of them make a larger prefix.
    let addresses = (0..512_u32)
        .map(|number| std::net::IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + number * 2)).into())
        .collect();
    let tenants = [Arc::new(Tenant { addresses, ..Tenant::new("a".parse().unwrap()) })];
    let destinations = |count: u8| Scope::Destinations {
        addresses: (0..count).map(|last| [20, 0, 0, last].into()).collect(),
    };
    let mut desired = DesiredState::default();
    let mut rendering = Rendering::default();
    let mut check = |desired: &DesiredState, unheld: &[&str]| {
        rendering.update(desired, setting(&node, &tenants), now);
        assert_eq!(rendering.elements(), &all(desired, setting(&node, &tenants), now));
        let told: Vec<String> = rendering.unheld().iter().map(ToString::to_string).collect();
        assert_eq!(told, unheld);
    };
    // 60 times 512 have room, 120 times have none beside them.
    for (number, count) in [(1, 60), (2, 120), (3, 5)] {
        let measure = imposed(number, 0, Action::Block, destinations(count), "", now, None);
        desired.measures.insert(measure.decision.id.clone(), measure);
    }
    check(&desired, &["m2"]);
    desired.measures.pop_first();
    check(&desired, &[]);
    desired.measures.pop_first();
    check(&desired, &[]);
}
