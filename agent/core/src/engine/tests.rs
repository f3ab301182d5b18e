//! Engine tests: frames in, the whole way, outputs out; and that time passing in other steps changes nothing.

use proptest::prelude::*;
use reeve_policy::{Action, Decision, DecisionId, Origin, Profile, Scope, Until, ViolationState};

use super::*;
use crate::frame::{LinkType, Passage};
use crate::topology::VantageKind;

const ALICE: [u8; 4] = [203, 0, 113, 10];
const START: u64 = 1_700_000_000_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos((START + millis) * 1_000_000)
}

fn tenants() -> Vec<Arc<Tenant>> {
    ["203.0.113.10/32", "203.0.113.138/32"]
        .iter()
        .zip(["alice", "bob"])
        .enumerate()
        .map(|(port, (address, id))| {
            Arc::new(Tenant {
                addresses: vec![address.parse().unwrap()],
                interfaces: vec![format!("n1/tap{port}").parse().unwrap()],
                ..Tenant::new(id.parse().unwrap())
            })
        })
        .collect()
}

fn engine(mode: Mode) -> Engine {
    let policy = Arc::new(Policy::preset("baseline").unwrap());
    let mut engine = Engine::new(EngineConfig {
        node: "n1".parse().unwrap(),
        mode,
        policy,
        flow_bytes: 1 << 20,
        seed: 3,
        shards: 1,
    });
    let vantages = (0..2)
        .map(|id| Vantage {
            id: VantageId(id),
            interface: format!("tap{id}").into(),
            kind: VantageKind::Port,
            sampling: 1,
        })
        .collect();
    engine.handle_topology(tenants(), vantages, at(0));
    engine
}

/// A TCP segment without payload.
fn segment(source: ([u8; 4], u16), destination: ([u8; 4], u16), flags: u8) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    bytes.extend(source.0);
    bytes.extend(destination.0);
    bytes.extend(source.1.to_be_bytes());
    bytes.extend(destination.1.to_be_bytes());
    bytes.extend([0; 8]);
    bytes.extend([0x50, flags, 4, 0, 0, 0, 0, 0]);
    bytes
}

/// Something that goes into the engine, with its time in milliseconds.
#[derive(Clone, Debug)]
enum Input {
    /// Alice's SYN to a host and port, and whether it is refused a millisecond later.
    Try(u64, u8, u16, bool),
    /// An operator's release of alice.
    Release(u64),
    /// Time alone.
    Tick(u64),
}

fn feed(engine: &mut Engine, input: &Input) {
    let mut frame = |millis, passage, data: &[u8]| {
        engine.handle_frame(&Frame {
            at: at(millis),
            vantage: VantageId(0),
            passage,
            owner: None,
            link: LinkType::RawIp,
            vlan: None,
            data,
            wire_len: data.len() as u32,
        });
    };
    match *input {
        Input::Try(millis, host, port, refused) => {
            let peer = ([20, 0, 0, host], port);
            frame(millis, Passage::In, &segment((ALICE, 40_000), peer, 0x02));
            if refused {
                frame(millis + 1, Passage::Out, &segment(peer, (ALICE, 40_000), 0x14));
            }
        }
        Input::Release(millis) => engine.handle_release(&"alice".parse().unwrap(), false, at(millis)),
        Input::Tick(millis) => engine.handle_tick(at(millis)),
    }
}

fn play(engine: &mut Engine, inputs: &[Input]) -> Vec<Output> {
    let mut outputs = Vec::new();
    for input in inputs {
        feed(engine, input);
        outputs.extend(std::iter::from_fn(|| engine.poll()));
    }
    outputs
}

/// One word an output, with its time in milliseconds.
fn words(outputs: &[Output]) -> Vec<String> {
    let millis = |time: Timestamp| time.as_nanos() / 1_000_000 - START;
    let word = |output: &Output| match output {
        Output::Alert(alert) => format!("{} {}", millis(alert.at), alert.class),
        Output::Violation(violation) => format!("violation {}", violation.state.name()),
        Output::Decision(decision) => format!("{} {}", decision.action, decision.mode),
        Output::Excused(excused) => excused.to_string(),
        Output::BrakesSet(set) => set.to_string(),
        Output::Imposed(_) => "imposed".to_owned(),
        Output::Lifted { reason, at, .. } => format!("{} lifted: {}", millis(*at), reason.name()),
        Output::CheckRelay { tenant, .. } => format!("check relay {tenant}"),
        Output::RelayChecked(checked) => format!("relay checked {}", checked.tenant),
        Output::Degraded { degraded, .. } => format!("degraded {degraded}"),
    };
    outputs.iter().map(word).collect()
}

/// Forty ports of one host, a hundred milliseconds apart.
fn scan(from: u64, refused: bool) -> Vec<Input> {
    (0..40).map(|number| Input::Try(from + u64::from(number) * 100, 1, 2_000 + number, refused)).collect()
}

#[test]
fn a_scan_goes_the_whole_way_to_a_measure() {
    let mut engine = engine(Mode::Enforce);
    let outputs = play(&mut engine, &scan(1_000, true));
    // The twentieth refusal decides; what comes after meets the measure and says nothing new.
    assert_eq!(words(&outputs), ["2901 portscan.vertical", "violation open", "suspend enforce", "imposed"]);
    let Output::Alert(alert) = &outputs[0] else { panic!("no alert first") };
    assert_eq!(alert.targets.len(), 20);
    assert!(!alert.samples.is_empty() && alert.samples.iter().all(|sample| sample.headers.len() == 40));
    assert_eq!(engine.desired().measures.len(), 1);
}

#[test]
fn silence_decides_at_its_deadline_on_the_grid() {
    let mut engine = engine(Mode::Enforce);
    let mut inputs = scan(1_050, false);
    inputs.push(Input::Tick(20_000));
    // The twentieth attempt was at 2,950 ms; three seconds later it is silent.
    assert_eq!(words(&play(&mut engine, &inputs))[0], "6000 portscan.vertical");
}

#[test]
fn observing_decides_the_same_and_imposes_nothing() {
    let mut engine = engine(Mode::Observe);
    let told = words(&play(&mut engine, &scan(1_000, true)));
    assert_eq!(told[..3], ["2901 portscan.vertical", "violation open", "suspend observe"]);
    assert!(!told.contains(&"imposed".to_owned()));
    assert!(engine.desired().measures.is_empty());
}

#[test]
fn a_released_tenant_starts_afresh() {
    let mut engine = engine(Mode::Enforce);
    play(&mut engine, &scan(1_000, true));
    let told = words(&play(&mut engine, &[Input::Release(6_000)]));
    assert_eq!(told, ["violation released", "6000 lifted: released"]);
    // Nineteen more refusals are not enough, though the old ones are within the window.
    let few: Vec<Input> = scan(7_000, true).into_iter().take(19).collect();
    assert_eq!(words(&play(&mut engine, &few)), Vec::<String>::new());
    let last = Input::Try(9_500, 1, 3_000, true);
    assert_eq!(words(&play(&mut engine, &[last]))[0], "9501 portscan.vertical");
}

#[test]
fn what_is_mended_is_let_go_of_and_nothing_else_and_its_strike_stays() {
    let mut engine = engine(Mode::Enforce);
    play(&mut engine, &scan(1_000, true));
    let held: Vec<_> = engine.desired().measures.values().cloned().collect();
    let [measure] = held.as_slice() else { panic!("{held:?}") };
    let by_hand = Decision {
        id: DecisionId("by-hand".parse().unwrap()),
        violation: None,
        origin: reeve_policy::Origin::Operator { name: "oncall".into() },
        ..measure.decision.clone()
    };
    engine.handle_impose(&by_hand, at(6_000));
    let let_go = |engine: &mut Engine, tenant: &str, ids: &[&DecisionId], millis| {
        let decisions = ids.iter().copied().cloned().collect();
        engine.handle(super::Input::LetGo { tenant: tenant.parse().unwrap(), decisions, at: at(millis) });
        words(&std::iter::from_fn(|| engine.poll()).collect::<Vec<_>>())
    };
    while engine.poll().is_some() {}
    // Not another tenant's, not what a person ordered, not what was decided otherwise.
    let other = DecisionId("another".parse().unwrap());
    assert!(let_go(&mut engine, "bob", &[&measure.decision.id], 7_000).is_empty());
    assert!(let_go(&mut engine, "alice", &[&by_hand.id, &other], 7_100).is_empty());
    let told = let_go(&mut engine, "alice", &[&measure.decision.id, &by_hand.id], 7_200);
    assert_eq!(told, ["violation released", "7200 lifted: released"]);
    assert_eq!(engine.desired().measures.keys().collect::<Vec<_>>(), [&by_hand.id]);
    // What holds her by hand is lifted too; then she does it again, and it is her second strike.
    engine.handle_release(&"alice".parse().unwrap(), false, at(7_300));
    let outputs = play(&mut engine, &scan(900_000, true));
    let strike = outputs.iter().find_map(|output| match output {
        Output::Violation(violation) => Some(violation.strike),
        _ => None,
    });
    assert_eq!(strike, Some(2));
}

#[test]
fn a_forgiven_tenant_has_no_strike_though_its_episode_is_long_over() {
    let strike_after = |forgive: bool| {
        let mut engine = engine(Mode::Enforce);
        play(&mut engine, &scan(1_000, true));
        // Twenty minutes later the episode is quiet, and the suspension stands.
        let told = words(&play(&mut engine, &[Input::Tick(1_200_000)]));
        assert!(told.contains(&"violation quiet".to_owned()), "{told:?}");
        engine.handle_release(&"alice".parse().unwrap(), forgive, at(1_200_100));
        let outputs = play(&mut engine, &scan(1_300_000, true));
        let strike = outputs.iter().find_map(|output| match output {
            Output::Violation(violation) => Some(violation.strike),
            _ => None,
        });
        strike.unwrap()
    };
    assert_eq!((strike_after(false), strike_after(true)), (2, 1));
}

#[test]
fn strikes_that_are_taken_back_leave_what_holds_the_tenant() {
    let mut engine = engine(Mode::Enforce);
    play(&mut engine, &scan(1_000, true));
    let held = engine.desired().measures.len();
    assert_eq!(held, 1);
    let (tenant, rule) = ("alice".parse().unwrap(), None);
    engine.handle(super::Input::Forgive { tenant, rule, before: at(1_200_000), at: at(1_200_000) });
    assert_eq!(engine.desired().measures.len(), held);
    // What holds her is lifted by a release, which leaves strikes: there is none left.
    engine.handle_release(&"alice".parse().unwrap(), false, at(1_200_100));
    let outputs = play(&mut engine, &scan(1_300_000, true));
    let strike = outputs.iter().find_map(|output| match output {
        Output::Violation(violation) => Some(violation.strike),
        _ => None,
    });
    assert_eq!(strike, Some(1));
}

/// Whether forty refused ports of one host are a scan of alice's.
fn check_profile(policy: &str, profile: Profile, expect: bool) {
    let head = "[policy]\nname = \"p\"\nversion = 1\nextends = \"baseline\"\n";
    let tailored = Arc::new(Policy::parse("p.toml", &format!("{head}{policy}")).unwrap());
    let with = |profile| {
        let mut tenants = tenants();
        tenants[0] = Arc::new(Tenant { profile, ..Tenant::clone(&tenants[0]) });
        tenants
    };
    // Numbers come with the policy, with the tenants, or with what the tenants turn into.
    for order in 0..3 {
        let mut engine = engine(Mode::Enforce);
        let vantages = engine.topology().vantages().to_vec();
        let before = if order == 2 { Profile::None } else { profile };
        if order == 0 {
            engine.handle_policy(Arc::clone(&tailored), Mode::Enforce, at(1));
        }
        engine.handle_topology(with(before), vantages.clone(), at(2));
        engine.handle_policy(Arc::clone(&tailored), Mode::Enforce, at(3));
        engine.handle_topology(with(profile), vantages, at(4));
        let told = words(&play(&mut engine, &scan(1_000, true)));
        let is_told = told.iter().any(|word| word.contains("portscan"));
        assert_eq!(is_told, expect, "{policy} {profile:?} in order {order}: {told:?}");
    }
}

#[test]
fn a_tenant_is_held_to_its_own_numbers() {
    let (factor, own) =
        ("[profile.p2p]\n\"portscan.*\" = 10\n", "[tenant.alice.thresholds.\"portscan.vertical\"]\n");
    check_profile(factor, Profile::None, true);
    check_profile(factor, Profile::P2p, false);
    check_profile(&format!("{factor}{own}ports = 30\n"), Profile::P2p, true);
    check_profile(&format!("{own}ports = 300\n").replace("alice", "bob"), Profile::None, true);
    check_profile(&format!("{own}ports = 300\n"), Profile::None, false);
}

#[test]
fn a_pause_takes_no_new_measure_and_leaves_what_stands() {
    let mut engine = engine(Mode::Enforce);
    engine.handle_pause(Some(Pause::new("oncall", "", at(500))), at(500));
    let told = words(&play(&mut engine, &scan(1_000, true)));
    assert_eq!(told[..3], ["2901 portscan.vertical", "violation open", "notify enforce"]);
    assert!(engine.desired().measures.is_empty());
    engine.handle_pause(None, at(6_000));
    let told = words(&play(&mut engine, &scan(80_000, true)));
    assert!(told.contains(&"imposed".to_owned()), "{told:?}");
    engine.handle_pause(Some(Pause::new("oncall", "", at(140_000))), at(140_000));
    assert_eq!(engine.desired().measures.len(), 1);
    engine.handle_lift(&Lift::ALL, at(141_000));
    let outputs: Vec<Output> = std::iter::from_fn(|| engine.poll()).collect();
    assert_eq!(words(&outputs), ["violation released", "141000 lifted: released"]);
    engine.handle_lift(&Lift::ALL, at(142_000));
    assert_eq!(engine.poll(), None, "once");
}

#[test]
fn a_restarted_engine_holds_what_it_held() {
    let mut first = engine(Mode::Enforce);
    play(&mut first, &scan(1_000, true));
    let mut second = engine(Mode::Enforce);
    second.restore(first.desired().clone(), first.standing().clone());
    assert_eq!(
        words(&play(&mut second, &scan(10_000, true))),
        Vec::<String>::new(),
        "what is held back is no evidence"
    );
    let told = words(&play(&mut second, &[Input::Tick(10 * 60_000 + 20_000)]));
    assert_eq!(told, ["violation quiet"]);
    assert_eq!(second.desired().measures.len(), 1);
}

#[test]
fn a_tenant_that_leaves_takes_its_measures_along() {
    let mut engine = engine(Mode::Enforce);
    play(&mut engine, &scan(1_000, true));
    let bob = vec![Arc::clone(&tenants()[1])];
    engine.handle_topology(bob, engine.topology().vantages().to_vec(), at(6_000));
    let outputs: Vec<Output> = std::iter::from_fn(|| engine.poll()).collect();
    assert_eq!(words(&outputs), ["6000 lifted: departed"]);
}

#[test]
fn an_operators_measure_ends_at_its_time() {
    let mut engine = engine(Mode::Enforce);
    let decision = Decision {
        id: DecisionId("O1".parse().unwrap()),
        tenant: "bob".parse().unwrap(),
        violation: None,
        clause: String::new(),
        origin: Origin::Operator { name: "oncall".into() },
        action: Action::Suspend,
        scope: Scope::All,
        rate: None,
        until: Until::After(Duration::from_secs(5)),
        at: at(1_000),
        mode: Mode::Enforce,
        reason: "unpaid".into(),
        connections: None,
        softened: None,
        reckoning: None,
    };
    engine.handle_impose(&decision, at(1_000));
    let told = words(&play(&mut engine, &[Input::Tick(5_999), Input::Tick(60_000)]));
    assert_eq!(told, ["suspend enforce", "imposed", "6000 lifted: expired"]);
}

#[test]
fn loss_softens_what_was_counted() {
    let mut engine = engine(Mode::Enforce);
    let half: Vec<Input> = scan(1_000, true).into_iter().take(10).collect();
    play(&mut engine, &half);
    engine.handle_loss(at(2_050), VantageId(1), 1_000);
    engine.handle_loss(at(2_050), VantageId(0), 100);
    let rest: Vec<Input> = scan(1_000, true).into_iter().skip(11).take(12).collect();
    let outputs = play(&mut engine, &rest);
    let decision = outputs.iter().find_map(|output| match output {
        Output::Decision(decision) => Some(decision),
        _ => None,
    });
    let decision = decision.expect("twenty refusals are a scan all the same");
    assert_eq!(decision.action, Action::Notify);
    assert!(decision.softened.as_ref().is_some_and(|why| why.contains("lost")));
    let is_open =
        |output: &Output| matches!(output, Output::Violation(one) if one.state == ViolationState::Open);
    assert!(outputs.iter().any(is_open));
}

/// Attempts at a few hosts and ports over two minutes, in order.
fn attempts() -> impl Strategy<Value = Vec<Input>> {
    prop::collection::vec((0_u64..120_000, 0_u8..40, 0_u16..60, any::<bool>()), 0..300).prop_map(|mut all| {
        all.sort_by_key(|(millis, ..)| *millis);
        all.into_iter().map(|(millis, host, port, refused)| Input::Try(millis, host, port, refused)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Live, time is told every 50 ms; in replay, by the frames alone. The outputs are the same.
    #[test]
    fn telling_the_time_in_other_steps_changes_nothing(attempts in attempts(), step in 7_u64..400) {
        let mut replay = engine(Mode::Enforce);
        let mut inputs = attempts.clone();
        inputs.push(Input::Tick(130_000));
        let by_frames = play(&mut replay, &inputs);
        let mut live = engine(Mode::Enforce);
        let mut by_clock = Vec::new();
        let mut told = 0;
        for input in &inputs {
            let (Input::Try(millis, ..) | Input::Release(millis) | Input::Tick(millis)) = input;
            while told + step <= *millis {
                told += step;
                by_clock.extend(play(&mut live, &[Input::Tick(told)]));
            }
            by_clock.extend(play(&mut live, std::slice::from_ref(input)));
        }
        prop_assert_eq!(words(&by_frames), words(&by_clock));
        prop_assert_eq!(by_frames, by_clock);
        prop_assert_eq!(replay.desired(), live.desired());
    }
}

/// Ten tenants behind one port scan one after the other, each refused; who is suspended.
fn check_brakes(apart_millis: u64, restores: bool, expect: &[&str]) {
    let policy = Arc::new(Policy::preset("baseline").unwrap());
    let config = EngineConfig {
        node: "n1".parse().unwrap(),
        mode: Mode::Enforce,
        policy,
        flow_bytes: 1 << 20,
        seed: 3,
        shards: 1,
    };
    let all: Vec<Arc<Tenant>> = (0..10_u8)
        .map(|number| {
            let mut tenant = Tenant::clone(&tenants()[0]);
            tenant.id = format!("t{number}").parse().unwrap();
            tenant.addresses = vec![format!("203.0.113.{number}/32").parse().unwrap()];
            tenant.interfaces.clear();
            Arc::new(tenant)
        })
        .collect();
    let vantage =
        Vantage { id: VantageId(0), interface: "tap0".into(), kind: VantageKind::Port, sampling: 1 };
    let mut engine = Engine::new(config.clone());
    engine.handle_topology(all.clone(), vec![vantage.clone()], at(0));
    let mut suspended = Vec::new();
    for number in 0..10_u8 {
        let own = [203, 0, 113, number];
        for port in 0..25_u16 {
            let millis = 1_000 + u64::from(number) * apart_millis + u64::from(port) * 10;
            for (passage, data, later) in [
                (Passage::In, segment((own, 40_000), ([20, 0, 0, 1], 2_000 + port), 0x02), 0),
                (Passage::Out, segment(([20, 0, 0, 1], 2_000 + port), (own, 40_000), 0x14), 1),
            ] {
                engine.handle_frame(&Frame {
                    at: at(millis + later),
                    vantage: VantageId(0),
                    passage,
                    owner: None,
                    link: LinkType::RawIp,
                    vlan: None,
                    data: &data,
                    wire_len: data.len() as u32,
                });
            }
        }
        while let Some(output) = engine.poll() {
            if let Output::Imposed(measure) = &output {
                suspended.push(measure.decision.tenant.to_string());
            }
        }
        if restores && number == 1 {
            // Measures of an earlier run count too.
            let (desired, standing) = (engine.desired().clone(), engine.standing().clone());
            engine = Engine::new(config.clone());
            engine.restore(desired, standing);
            engine.handle_topology(all.clone(), vec![vantage.clone()], at(1_500 + apart_millis));
        }
    }
    assert_eq!(suspended, expect);
}

#[test]
fn no_more_than_a_few_tenants_of_a_node_are_held_at_a_time() {
    check_brakes(1_000, false, &["t0", "t1", "t2"]);
    check_brakes(100_000, false, &["t0", "t1", "t2"]);
    check_brakes(1_000, true, &["t0", "t1", "t2"]);
}

/// A bare ACK of alice's from her port to a port of a host, and the RST to it.
fn ack_probe(engine: &mut Engine, millis: u64, local_port: u16, peer: ([u8; 4], u16)) {
    let refused = (Passage::Out, segment(peer, (ALICE, local_port), 0x04), 1);
    for (passage, data, later) in [(Passage::In, segment((ALICE, local_port), peer, 0x10), 0), refused] {
        engine.handle_frame(&Frame {
            at: at(millis + later),
            vantage: VantageId(0),
            passage,
            owner: None,
            link: LinkType::RawIp,
            vlan: None,
            data: &data,
            wire_len: data.len() as u32,
        });
    }
}

/// Sends sixty bare ACKs within a minute of a release; whether that is told.
fn check_after_release(probe: impl Fn(u16) -> (u16, ([u8; 4], u16)), expect: bool) {
    let mut engine = engine(Mode::Enforce);
    play(&mut engine, &scan(70_000, true));
    play(&mut engine, &[Input::Release(80_000)]);
    for number in 0..60 {
        let (local_port, peer) = probe(number);
        ack_probe(&mut engine, 81_000 + u64::from(number) * 20, local_port, peer);
    }
    let told = words(&play(&mut engine, &[Input::Tick(90_000)]));
    assert_eq!(told.iter().any(|word| word.contains("portscan.stealth")), expect, "{told:?}");
}

#[test]
fn ports_of_one_host_are_scanned_at_once_after_a_release_and_broken_connections_are_none() {
    const PEER: [u8; 4] = [20, 0, 0, 7];
    // From one port, as nmap does, and from a port each.
    check_after_release(|number| (45_000, (PEER, 2_000 + number)), true);
    check_after_release(|number| (45_000 + number, (PEER, 2_000 + number)), true);
    // From the port of a service, to well-known ones.
    check_after_release(|number| (443, (PEER, 20 + number)), true);
    // A client's connections: many hosts, few ports of each, some of them often.
    check_after_release(|number| (45_000 + number, ([20, 0, 1, number as u8], 443)), false);
    check_after_release(|number| (45_000 + number, (PEER, 8_000 + number % 12)), false);
    // A server's, to the many ports of a proxy.
    check_after_release(|number| (8_443, (PEER, 40_000 + number)), false);
}
