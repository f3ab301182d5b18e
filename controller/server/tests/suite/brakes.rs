//! Pauses, lifts and node events at the controller in this process: what is ordered whom, and what is kept.

use std::time::Duration;

use crate::common::{Agent, Running};
use reeve_policy::judge::BrakesSet;
use reeve_policy::{
    Action, Alert, Class, Decision, DecisionId, Loss, Measure, Mode, NodeEvent, NodeEventKind, Order, Origin,
    Pause, PauseScope, Report, Scope, Timestamp, Until, Violation, ViolationId, ViolationState, Window,
};
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{
    LiftRequest, ListEventsRequest, ListNodesRequest, ListViolationsRequest, PauseRequest, PauseTarget,
    ReleaseBrakesRequest, ResumeRequest, WatchRequest, node_order, pause_target, watch_response,
};
use reeve_proto::session::ProtocolVersion;
use reeve_proto::time_to_wire;
use tonic::Code;
use tonic::transport::Channel;

type Client = OperatorServiceClient<Channel>;

const FLEET: pause_target::Target = pause_target::Target::Fleet(true);

fn node(name: &str) -> pause_target::Target {
    pause_target::Target::Node(name.to_owned())
}

fn target(target: pause_target::Target) -> Option<PauseTarget> {
    Some(PauseTarget { target: Some(target) })
}

async fn pause(client: &Client, what: pause_target::Target) -> Result<String, tonic::Status> {
    let request = PauseRequest { target: target(what), reason: "look".into(), ..Default::default() };
    Ok(client.clone().pause(request).await?.into_inner().order)
}

async fn resume(client: &Client, what: pause_target::Target) -> reeve_proto::operator::v1::ResumeResponse {
    let request = ResumeRequest { target: target(what), ..Default::default() };
    client.clone().resume(request).await.unwrap().into_inner()
}

/// Which scope an order pauses or resumes.
fn scope(order: &Order) -> (&'static str, PauseScope) {
    match order {
        Order::Pause { scope, .. } => ("pause", *scope),
        Order::Resume { scope, .. } => ("resume", *scope),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleets_pause_reaches_those_that_are_there_away_and_new() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let client = OperatorServiceClient::new(channel.clone());
    let (mut here, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    drop(Agent::greet(channel.clone(), "n2", 1).await.unwrap());
    let id = pause(&client, FLEET).await.unwrap();
    let order = here.order().await;
    assert_eq!((scope(&order), order.id().unwrap().to_string()), (("pause", PauseScope::Fleet), id.clone()));
    here.done(&order).await;
    let Order::Pause { pause: told, lift: false, .. } = &order else { panic!("{order:?}") };
    assert_eq!(told.reason, "look");
    let is_stored = async {
        while client.clone().list_nodes(ListNodesRequest::default()).await.unwrap().into_inner().nodes[0]
            .orders_pending
            > 0
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), is_stored).await.unwrap();
    // Over a restart of the controller: the one that was away, one that is new, and one that holds it already.
    drop(here);
    controller.stop().await;
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let client = OperatorServiceClient::new(channel.clone());
    for name in ["n2", "n3"] {
        let (mut agent, _) = Agent::greet(channel.clone(), name, 2).await.unwrap();
        let order = agent.order().await;
        assert_eq!(order.id().unwrap().to_string(), id, "{name}");
        agent.done(&order).await;
    }
    let held = vec![(PauseScope::Fleet, id.parse().map(reeve_policy::OrderId).unwrap())];
    let (mut holds, _) =
        Agent::greet_with(channel.clone(), "n1", 2, ProtocolVersion::CURRENT, held.clone()).await.unwrap();
    let nodes = client.clone().list_nodes(ListNodesRequest::default()).await.unwrap().into_inner();
    assert_eq!(nodes.fleet_pause.unwrap().reason, "look");
    // The next that n1 hears is the end: the pause was not ordered again.
    resume(&client, FLEET).await;
    let end = holds.order().await;
    assert_eq!(scope(&end), ("resume", PauseScope::Fleet));
    // One that says it is paused when nobody paused is told so.
    drop(holds);
    let (mut stray, _) =
        Agent::greet_with(channel.clone(), "n4", 1, ProtocolVersion::CURRENT, held).await.unwrap();
    assert_eq!(scope(&stray.order().await), ("resume", PauseScope::Fleet));
    assert!(
        client
            .clone()
            .list_nodes(ListNodesRequest::default())
            .await
            .unwrap()
            .into_inner()
            .fleet_pause
            .is_none()
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_pause_and_the_fleets_are_apart() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let client = OperatorServiceClient::new(channel.clone());
    for (what, code) in
        [(node("n9"), Code::NotFound), (pause_target::Target::Fleet(false), Code::InvalidArgument)]
    {
        assert_eq!(pause(&client, what).await.unwrap_err().code(), code);
    }
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    pause(&client, FLEET).await.unwrap();
    pause(&client, node("n1")).await.unwrap();
    let (first, second) = (agent.order().await, agent.order().await);
    assert_eq!((scope(&first), scope(&second)), (("pause", PauseScope::Fleet), ("pause", PauseScope::Node)));
    let health = |paused: Option<Pause>| {
        Report::Health(reeve_policy::NodeHealth {
            at: Timestamp::from_secs(1),
            mode: Mode::Enforce,
            policy: None,
            tenants: 0,
            measures: 0,
            vantages: 1,
            frames_received: 0,
            frames_dropped: 0,
            malformed: 0,
            flows: 0,
            evictions: 0,
            agent_version: String::new(),
            paused,
            brakes: None,
        })
    };
    let told = Pause::new("oncall", "look", Timestamp::from_secs(7));
    agent.report(1, health(Some(told))).await;
    agent.acknowledged(1).await;
    let nodes = client.clone().list_nodes(ListNodesRequest::default()).await.unwrap().into_inner();
    let known = &nodes.nodes[0];
    assert_eq!(known.health.as_ref().unwrap().paused.as_ref().unwrap().by, "oncall");
    assert_eq!(known.pause.as_ref().unwrap().reason, "look");
    let still = resume(&client, node("n1")).await.still_paused;
    assert_eq!(still[0].node, "n1", "by the fleet");
    assert_eq!(scope(&agent.order().await), ("resume", PauseScope::Node));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_waits_for_an_agent_that_can_read_it_and_only_the_last_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let client = OperatorServiceClient::new(channel.clone());
    let old = ProtocolVersion { major: 1, minor: 0 };
    let (mut agent, _) = Agent::greet_with(channel.clone(), "n1", 1, old, Vec::new()).await.unwrap();
    let request = PauseRequest { target: target(FLEET), ..Default::default() };
    let first = client.clone().pause(request.clone()).await.unwrap().into_inner();
    assert_ne!(first.nodes[0].state(), node_order::State::Done);
    // It hears of nothing but what it can read, and the stream goes on.
    agent.report(1, event(1, "x")).await;
    agent.acknowledged(1).await;
    drop(agent);
    let last = pause(&client, FLEET).await.unwrap();
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 2).await.unwrap();
    assert_eq!(agent.order().await.id().unwrap().to_string(), last);
    controller.stop().await;
}

fn event(secs: u64, detail: &str) -> Report {
    Report::Event(NodeEvent::new(Timestamp::from_secs(secs), NodeEventKind::RulesetChanged, detail))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_exemption_is_told_once_however_many_nodes_tell_it() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let ends = |secs, detail: &str| {
        Report::Event(NodeEvent::new(Timestamp::from_secs(secs), NodeEventKind::ExemptionEnds, detail))
    };
    for (node, at) in [("n1", 5), ("n2", 9)] {
        let (mut agent, _) = Agent::greet(channel.clone(), node, 1).await.unwrap();
        agent.report(1, ends(at, "an exemption of a ends soon")).await;
        agent.report(2, ends(at + 1, "an exemption of a has ended")).await;
        agent.acknowledged(2).await;
    }
    let mut client = OperatorServiceClient::new(channel);
    let page = client.list_events(ListEventsRequest::default()).await.unwrap().into_inner();
    let told: Vec<(String, String)> =
        page.events.into_iter().map(|entry| (entry.node, entry.event.unwrap().detail)).collect();
    let of_n1 = |detail: &str| ("n1".to_owned(), detail.to_owned());
    assert_eq!(told, [of_n1("an exemption of a has ended"), of_n1("an exemption of a ends soon")]);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_kept_once_and_only_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let mut client = OperatorServiceClient::new(channel.clone());
    let mut watched = client.watch(WatchRequest::default()).await.unwrap().into_inner();
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    agent.report(1, event(1, "first")).await;
    agent.acknowledged(1).await;
    // Told again by another life of the spool.
    drop(agent);
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 2).await.unwrap();
    agent.report(1, event(1, "first")).await;
    agent.report(2, event(2, "second")).await;
    agent.acknowledged(2).await;
    let told = async {
        let mut told = Vec::new();
        while told.len() < 2 {
            let message = watched.message().await.unwrap().unwrap();
            if let Some(watch_response::Event::NodeEvent(entry)) = message.event {
                told.push(entry.event.unwrap().detail);
            }
        }
        told
    };
    let told = tokio::time::timeout(Duration::from_secs(10), told).await.unwrap();
    assert_eq!(told, ["first", "second"]);
    let list = |request: ListEventsRequest| {
        let mut client = client.clone();
        async move {
            let page = client.list_events(request).await.unwrap().into_inner();
            let details = page.events.into_iter().map(|entry| entry.event.unwrap().detail);
            (details.collect::<Vec<_>>(), page.next_page_token)
        }
    };
    assert_eq!(list(ListEventsRequest::default()).await.0, ["second", "first"]);
    let since = Some(time_to_wire(Timestamp::from_secs(2)));
    assert_eq!(list(ListEventsRequest { since, ..Default::default() }).await.0, ["second"]);
    assert!(list(ListEventsRequest { node: "n2".into(), ..Default::default() }).await.0.is_empty());
    let (page, token) = list(ListEventsRequest { page_size: 1, ..Default::default() }).await;
    assert_eq!(page, ["second"]);
    assert_eq!(list(ListEventsRequest { page_token: token, ..Default::default() }).await.0, ["first"]);

    // The oldest are forgotten now and then.
    for number in 3..=10_112 {
        agent.report(number, event(number, "more")).await;
    }
    agent.acknowledged(10_112).await;
    let (mut all, mut page_token) = (0, String::new());
    loop {
        let (page, next) =
            list(ListEventsRequest { page_size: 1_000, page_token, ..Default::default() }).await;
        all += page.len();
        assert!(!page.contains(&"first".to_owned()));
        page_token = next;
        if page_token.is_empty() {
            break;
        }
    }
    assert!((10_000..=10_100).contains(&all), "{all}");
    controller.stop().await;
}

/// A violation of alice on n1 that opened then, and the measure that a version of a policy answered it with.
pub(super) fn answered(secs: u64, version: u32) -> [Report; 3] {
    let at = Timestamp::from_secs(secs);
    let (node, tenant, rule) = ("n1".parse().unwrap(), "alice".parse().unwrap(), "portscan".parse().unwrap());
    let violation = Violation {
        id: ViolationId::new(&node, &tenant, &rule, at),
        node,
        tenant: tenant.clone(),
        rule: rule.clone(),
        clause: "p/c".into(),
        opened: at,
        last_seen: at,
        closed: None,
        state: ViolationState::Open,
        strike: 1,
        alerts: 1,
        evidence: Alert {
            class: Class::PortscanVertical,
            tenant: tenant.clone(),
            at,
            window: Window { start: at, end: at },
            metrics: Vec::new(),
            confidence_percent: 90,
            targets: Vec::new(),
            samples: Vec::new(),
            loss: Loss::default(),
            is_suspicion: false,
        },
    };
    let decision = Decision {
        id: DecisionId(format!("{}.1", violation.id).parse().unwrap()),
        tenant,
        violation: Some(violation.id.clone()),
        clause: "p/c".into(),
        origin: Origin::Policy { policy: "p".parse().unwrap(), version, rule, step: 1 },
        action: Action::Suspend,
        scope: Scope::All,
        rate: None,
        until: Until::Released,
        at,
        mode: Mode::Enforce,
        reason: "scan".into(),
        connections: None,
        softened: None,
        reckoning: None,
    };
    let measure = Measure { decision: decision.clone(), expires: None };
    [Report::Violation(violation), Report::Decision(decision), Report::Standing { measure, at }]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_did_is_listed_and_lifted() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let mut client = OperatorServiceClient::new(channel.clone());
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let reports = [answered(1_000, 2), answered(2_000, 1), answered(3_000, 2)].into_iter().flatten();
    for (number, report) in (1..).zip(reports) {
        agent.report(number, report).await;
    }
    agent.acknowledged(9).await;
    let request = |dry_run| LiftRequest {
        policy: "p".into(),
        policy_version: 2,
        since: Some(time_to_wire(Timestamp::from_secs(2_000))),
        dry_run,
        ..Default::default()
    };
    let would = client.lift(request(true)).await.unwrap().into_inner();
    assert_eq!((would.total, would.order.as_str(), would.nodes.len()), (1, "", 0));
    let open = |client: &Client| {
        let mut client = client.clone();
        async move {
            let all = client.list_violations(ListViolationsRequest { state: 1, ..Default::default() }).await;
            all.unwrap().into_inner().violations.len()
        }
    };
    assert_eq!(open(&client).await, 3, "nothing was done");
    let mut waiting = client.clone();
    let asked = tokio::spawn(async move { waiting.lift(LiftRequest { wait: true, ..request(false) }).await });
    let order = agent.order().await;
    assert!(matches!(&order, Order::Lift { policy, since, .. }
        if policy.version == 2 && *since == Timestamp::from_secs(2_000)));
    agent.done(&order).await;
    let done = asked.await.unwrap().unwrap().into_inner();
    assert_eq!((done.total, done.nodes[0].state()), (1, node_order::State::Done));
    assert_eq!(open(&client).await, 2);
    assert_eq!(client.lift(request(true)).await.unwrap().into_inner().total, 0);
    let elsewhere = LiftRequest { node: "n9".into(), ..request(true) };
    assert_eq!(client.lift(elsewhere).await.unwrap_err().code(), Code::NotFound);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_releases_a_nodes_brakes_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let client: Client = OperatorServiceClient::new(channel.clone());
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let set = BrakesSet { at: Timestamp::from_secs(7), why: "3 of the node's 20 tenants are held".into() };
    let health = |brakes: Option<BrakesSet>| {
        Report::Health(reeve_policy::NodeHealth {
            at: Timestamp::from_secs(1),
            mode: Mode::Enforce,
            policy: None,
            tenants: 20,
            measures: 3,
            vantages: 1,
            frames_received: 0,
            frames_dropped: 0,
            malformed: 0,
            flows: 0,
            evictions: 0,
            agent_version: String::new(),
            paused: None,
            brakes,
        })
    };
    let told = NodeEvent::new(Timestamp::from_secs(7), NodeEventKind::BrakesSet, &set.why);
    agent.report(1, Report::Event(told.clone())).await;
    agent.report(2, health(Some(set.clone()))).await;
    agent.acknowledged(2).await;
    let nodes = client.clone().list_nodes(ListNodesRequest::default()).await.unwrap().into_inner();
    let known = nodes.nodes[0].health.clone().unwrap();
    assert_eq!((known.brakes_set_time, known.brakes_set_reason), (Some(time_to_wire(set.at)), set.why));
    let request = |node: &str| ReleaseBrakesRequest {
        node: node.into(),
        reason: "all of them scanned".into(),
        wait: true,
        ..Default::default()
    };
    assert_eq!(client.clone().release_brakes(request("n9")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.clone().release_brakes(request("")).await.unwrap_err().code(), Code::InvalidArgument);
    let mut waiting = client.clone();
    let asked = tokio::spawn(async move { waiting.release_brakes(request("n1")).await });
    let order = agent.order().await;
    assert!(matches!(&order, Order::ReleaseBrakes { reason, .. } if reason == "all of them scanned"));
    agent.done(&order).await;
    let done = asked.await.unwrap().unwrap().into_inner();
    assert_eq!(done.nodes[0].state(), node_order::State::Done);
    controller.stop().await;
}
