//! What follows a tenant from node to node, in the engine: it holds where the tenant is, and lets go where it was.

use reeve_policy::{Action, Decision, DecisionId, Origin, Scope, TenantStanding, Until};

use super::*;
use crate::topology::VantageKind;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos((1_700_000_000_000 + millis) * 1_000_000)
}

/// Alice behind a port of `node`, at `address`.
fn alice(node: &str, address: &str) -> Vec<Arc<Tenant>> {
    vec![Arc::new(Tenant {
        addresses: vec![address.parse().unwrap()],
        interfaces: vec![format!("{node}/tap0").parse().unwrap()],
        ..Tenant::new("alice".parse().unwrap())
    })]
}

fn vantages() -> Vec<Vantage> {
    vec![Vantage { id: VantageId(0), interface: "tap0".into(), kind: VantageKind::Port, sampling: 1 }]
}

fn engine(node: &str) -> Engine {
    let mut policy = Policy::preset("baseline").unwrap();
    policy.mode = Mode::Enforce;
    Engine::new(EngineConfig {
        node: node.parse().unwrap(),
        mode: Mode::Enforce,
        policy: Arc::new(policy),
        flow_bytes: 1 << 20,
        seed: 3,
        shards: 1,
    })
}

fn decision(id: &str, until: Until) -> Decision {
    Decision {
        id: DecisionId(id.parse().unwrap()),
        tenant: "alice".parse().unwrap(),
        violation: None,
        clause: "baseline/portscan".into(),
        origin: Origin::Policy {
            policy: "baseline".parse().unwrap(),
            version: 1,
            rule: "portscan".parse().unwrap(),
            step: 1,
        },
        action: Action::Suspend,
        scope: Scope::All,
        rate: None,
        until,
        at: at(0),
        mode: Mode::Enforce,
        reason: String::new(),
        connections: None,
        softened: None,
        reckoning: None,
    }
}

fn tell(engine: &mut Engine, decisions: &[Decision], millis: u64) {
    let (tenant, decisions) = ("alice".parse().unwrap(), decisions.to_vec());
    engine.handle_standing(TenantStanding { tenant, strikes: Vec::new(), decisions }, at(millis));
}

/// What was imposed and lifted since, as `+ID` and `-ID REASON`.
fn moved(engine: &mut Engine) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(output) = engine.poll() {
        match output {
            Output::Imposed(measure) => all.push(format!("+{}", measure.decision.id)),
            Output::Lifted { measure, reason, .. } => {
                all.push(format!("-{} {}", measure.decision.id, reason.name()));
            }
            _ => {}
        }
    }
    all
}

#[test]
fn it_holds_where_the_tenant_comes_and_is_let_go_where_it_leaves() {
    let (mut there, mut here) = (engine("n1"), engine("n2"));
    for engine in [&mut there, &mut here] {
        engine.handle_topology(alice("n1", "203.0.113.10/32"), vantages(), at(0));
    }
    let suspended = decision("d.1", Until::Released);
    tell(&mut there, std::slice::from_ref(&suspended), 10);
    tell(&mut here, std::slice::from_ref(&suspended), 10);
    assert_eq!((moved(&mut there), moved(&mut here)), (vec!["+d.1".into()], vec![]), "only where it is");
    // Another address on the same node changes nothing.
    there.handle_topology(alice("n1", "203.0.113.77/32"), vantages(), at(20));
    assert_eq!(moved(&mut there), Vec::<String>::new());
    for engine in [&mut there, &mut here] {
        engine.handle_topology(alice("n2", "203.0.113.77/32"), vantages(), at(30));
    }
    tell(&mut here, std::slice::from_ref(&suspended), 40);
    assert_eq!((moved(&mut there), moved(&mut here)), (vec!["-d.1 departed".into()], vec!["+d.1".into()]));
    assert_eq!(here.desired().measures[&suspended.id].decision, suspended, "as it was decided");
    // And back: what was told of before it left is not believed; what is told now is.
    there.handle_topology(alice("n1", "203.0.113.77/32"), vantages(), at(50));
    assert_eq!(moved(&mut there), Vec::<String>::new());
    tell(&mut there, &[suspended], 60);
    assert_eq!(moved(&mut there), ["+d.1"]);
}

#[test]
fn what_is_told_no_more_is_over_and_what_is_over_does_not_come_back() {
    let mut engine = engine("n2");
    engine.handle_topology(alice("n2", "203.0.113.10/32"), vantages(), at(0));
    let hour = decision("d.1", Until::After(std::time::Duration::from_secs(3_600)));
    let released = decision("d.2", Until::Released);
    tell(&mut engine, &[hour.clone(), released.clone()], 10);
    assert_eq!(moved(&mut engine), ["+d.1", "+d.2"]);
    tell(&mut engine, std::slice::from_ref(&hour), 20);
    assert_eq!(moved(&mut engine), ["-d.2 released"]);
    // Restored, it is still known for a decision from elsewhere.
    let (desired, standing) = (engine.desired().clone(), engine.standing().clone());
    let mut again = self::engine("n2");
    again.restore(desired, standing);
    again.handle_topology(alice("n2", "203.0.113.10/32"), vantages(), at(30));
    tell(&mut again, &[], 40);
    assert_eq!(moved(&mut again), ["-d.1 released"]);
    // One that has ended by its time is not raised by a message that was long on its way.
    engine.handle_tick(at(3_600_000));
    assert_eq!(moved(&mut engine), ["-d.1 expired"]);
    tell(&mut engine, &[hour], 3_600_010);
    // A release here is not undone by what was told before it.
    tell(&mut engine, &[released], 3_600_020);
    assert_eq!(moved(&mut engine), ["+d.2"]);
    engine.handle_release(&"alice".parse().unwrap(), false, at(3_600_030));
    engine.handle_topology(alice("n2", "203.0.113.11/32"), vantages(), at(3_600_040));
    assert_eq!(moved(&mut engine), ["-d.2 released"]);
}

#[test]
fn a_pause_holds_it_back_until_it_ends_and_an_operators_order_stays() {
    let mut engine = engine("n2");
    engine.handle_topology(alice("n2", "203.0.113.10/32"), vantages(), at(0));
    engine.handle_pause(Some(Pause::new("oncall", "", at(1))), at(1));
    tell(&mut engine, &[decision("d.1", Until::Released)], 10);
    assert_eq!(moved(&mut engine), Vec::<String>::new());
    engine.handle_pause(None, at(20));
    assert_eq!(moved(&mut engine), ["+d.1"]);
    let ordered =
        Decision { origin: Origin::Operator { name: "oncall".into() }, ..decision("o.1", Until::Released) };
    engine.handle_impose(&ordered, at(30));
    engine.handle_topology(alice("n1", "203.0.113.10/32"), vantages(), at(40));
    assert_eq!(moved(&mut engine), ["+o.1", "-d.1 departed"]);
}

#[test]
fn one_that_is_known_by_addresses_alone_is_held_wherever_it_may_be() {
    let mut engine = engine("n2");
    let anywhere = |address: &str| {
        let mut tenant = Tenant::clone(&alice("n1", address)[0]);
        tenant.interfaces.clear();
        vec![Arc::new(tenant)]
    };
    engine.handle_topology(anywhere("203.0.113.10/32"), vantages(), at(0));
    tell(&mut engine, &[decision("d.1", Until::Released)], 10);
    assert_eq!(moved(&mut engine), ["+d.1"]);
    engine.handle_topology(anywhere("203.0.113.11/32"), vantages(), at(20));
    assert_eq!(moved(&mut engine), Vec::<String>::new());
    engine.handle_topology(Vec::new(), vantages(), at(30));
    assert_eq!(moved(&mut engine), ["-d.1 departed"]);
}
