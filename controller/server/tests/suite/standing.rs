//! What follows tenants from node to node, over the wire: who is told of what, and what is taken back.

use crate::common::{Agent, Running};
use reeve_policy::{
    Action, Alert, Class, Decision, DecisionId, LiftReason, Loss, Measure, MeasureCounters, Mode, Order,
    Origin, Report, Scope, TenantStanding, Timestamp, Until, Usage, Violation, ViolationId, ViolationState,
    Window,
};
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::standing_service_client::StandingServiceClient;
use reeve_proto::operator::v1::{
    ForgiveStrikesRequest, ForgiveStrikesResponse, GetStandingRequest, GetStandingResponse,
    ImportTenantsRequest, ListNodesRequest, ListUsageRequest, ListViolationsRequest, ReleaseRequest,
};
use reeve_proto::session::{Down, ProtocolVersion};
use reeve_proto::status::v1::status_service_client::StatusServiceClient;
use reeve_proto::status::v1::{GetStatusRequest, State, get_status_request::Subject};
use reeve_proto::types;
use tonic::transport::Channel;

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + secs)
}

fn violation(node: &str, opened: u64, strike: u32, closed: Option<u64>) -> Violation {
    let (node, tenant, rule) = (node.parse().unwrap(), "alice".parse().unwrap(), "scan".parse().unwrap());
    Violation {
        id: ViolationId::new(&node, &tenant, &rule, at(opened)),
        node,
        rule,
        clause: "p/scan".into(),
        opened: at(opened),
        last_seen: at(opened),
        closed: closed.map(at),
        state: if closed.is_some() { ViolationState::Quiet } else { ViolationState::Open },
        strike,
        alerts: 1,
        evidence: Alert {
            class: Class::PortscanVertical,
            tenant: tenant.clone(),
            at: at(opened),
            window: Window { start: at(opened), end: at(opened) },
            metrics: Vec::new(),
            confidence_percent: 90,
            targets: Vec::new(),
            samples: Vec::new(),
            loss: Loss::default(),
            is_suspicion: false,
        },
        tenant,
    }
}

fn decision(violation: &Violation, mode: Mode) -> Decision {
    Decision {
        id: DecisionId(format!("{}.1", violation.id).parse().unwrap()),
        tenant: violation.tenant.clone(),
        violation: Some(violation.id.clone()),
        clause: violation.clause.clone(),
        origin: Origin::Policy {
            policy: "p".parse().unwrap(),
            version: 1,
            rule: violation.rule.clone(),
            step: 1,
        },
        action: Action::Suspend,
        scope: Scope::All,
        rate: None,
        until: Until::Released,
        at: violation.opened,
        mode,
        reason: String::new(),
        connections: None,
        softened: None,
        reckoning: None,
    }
}

fn standing(decision: &Decision) -> Report {
    let measure = Measure { decision: decision.clone(), expires: None };
    Report::Standing { measure, at: decision.at }
}

fn lifted(decision: &Decision, reason: LiftReason) -> Report {
    let (tenant, counters) = (decision.tenant.clone(), MeasureCounters::default());
    Report::Lifted { decision: decision.id.clone(), tenant, reason, at: at(90), counters }
}

/// Alice behind a port of a node.
async fn place(channel: &Channel, node: &str) {
    place_at(channel, &[node]).await;
}

/// Alice behind a port of each of these nodes; known by her address alone without any.
async fn place_at(channel: &Channel, nodes: &[&str]) {
    let tenant = types::v1::Tenant {
        id: "alice".into(),
        addresses: vec!["203.0.113.10/32".into()],
        interfaces: nodes.iter().map(|node| format!("{node}/tap0")).collect(),
        ..Default::default()
    };
    let request = ImportTenantsRequest { tenants: vec![tenant], method: 2, ..Default::default() };
    OperatorServiceClient::new(channel.clone()).import_tenants(request).await.unwrap();
}

/// What the agent is told of alice next.
async fn told(agent: &mut Agent) -> TenantStanding {
    loop {
        if let Down::Order(Order::Standings { standings }) = agent.next().await.unwrap() {
            return standings.into_iter().next().unwrap();
        }
    }
}

fn numbers(told: &TenantStanding) -> (Vec<u32>, Vec<&DecisionId>) {
    let strikes = told.strikes.iter().map(|strike| strike.number).collect();
    (strikes, told.decisions.iter().map(|decision| &decision.id).collect())
}

/// Where alice stands.
async fn stands(channel: &Channel) -> GetStandingResponse {
    let request = GetStandingRequest { tenant: "alice".into() };
    StandingServiceClient::new(channel.clone()).get_standing(request).await.unwrap().into_inner()
}

async fn refused(channel: &Channel) -> Vec<u64> {
    let answer =
        OperatorServiceClient::new(channel.clone()).list_nodes(ListNodesRequest::default()).await.unwrap();
    answer.into_inner().nodes.iter().map(|node| node.reports_refused).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn strikes_and_decisions_are_told_where_the_tenant_comes_and_taken_back_by_a_release() {
    let dir = tempfile::tempdir().unwrap();
    let mut controller = Running::start(dir.path()).await;
    let mut channel = controller.plain().await;
    place(&channel, "n1").await;
    let (mut first, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let (mut second, _) = Agent::greet(channel.clone(), "n2", 2).await.unwrap();
    // One that was only observed, one that is over, and one that holds her until she is released.
    let (watched, over, open) =
        (violation("n1", 1, 1, Some(2)), violation("n1", 10, 1, Some(20)), violation("n1", 30, 2, None));
    let held = decision(&open, Mode::Enforce);
    let reports = [
        Report::Violation(watched.clone()),
        Report::Decision(decision(&watched, Mode::Observe)),
        Report::Violation(over.clone()),
        Report::Decision(decision(&over, Mode::Enforce)),
        Report::Violation(open.clone()),
        Report::Decision(held.clone()),
        standing(&held),
    ];
    for (number, report) in (1..).zip(reports) {
        first.report(number, report).await;
    }
    first.acknowledged(7).await;
    let here = stands(&channel).await;
    assert_eq!((here.state(), here.holds.len()), (reeve_proto::status::v1::State::Suspended, 1));
    assert_eq!(here.holds[0].nodes, ["n1"]);
    let [scans] = &here.strikes[..] else { panic!("{here:?}") };
    let episodes: Vec<_> =
        scans.episodes.iter().map(|one| (one.node.as_str(), one.number, one.close_time.is_some())).collect();
    assert_eq!((scans.rule.as_str(), scans.strikes), ("scan", 2), "what was only observed is none");
    assert_eq!(episodes, [("n1", 1, true), ("n1", 2, false)]);

    // She moves; an older agent on the same node would be told nothing.
    place(&channel, "n2").await;
    let here = told(&mut second).await;
    assert_eq!(numbers(&here), (vec![1, 2], vec![&held.id]));
    assert_eq!(here.strikes[0].closed, Some(at(20)));
    assert_eq!(here.decisions[0], held);
    let old = ProtocolVersion { major: 1, minor: 4 };
    let (mut older, _) = Agent::greet_with(channel.clone(), "n2", 3, old, Vec::new()).await.unwrap();
    loop {
        match older.next().await.unwrap() {
            Down::Order(Order::Tenants { .. }) => {}
            Down::Order(Order::Standings { .. }) => panic!("it cannot read that"),
            _ => break,
        }
        if tokio::time::timeout(std::time::Duration::from_millis(300), older.down.message()).await.is_err() {
            break;
        }
    }
    drop(older);

    // The new node holds her by a decision that it was told, and by none that it makes up.
    let (mut second, _) = Agent::greet(channel.clone(), "n2", 4).await.unwrap();
    first.report(8, lifted(&held, LiftReason::Departed)).await;
    first.acknowledged(8).await;
    second.report(1, standing(&held)).await;
    let forged = Decision { action: Action::Block, ..held.clone() };
    second.report(2, standing(&forged)).await;
    second.acknowledged(2).await;
    assert_eq!(refused(&channel).await, [0, 1]);

    // All of it is there after a restart.
    drop((first, second));
    controller.stop().await;
    controller = Running::start(dir.path()).await;
    channel = controller.plain().await;
    let (mut second, _) = Agent::greet(channel.clone(), "n2", 4).await.unwrap();
    assert_eq!(numbers(&told(&mut second).await), (vec![1, 2], vec![&held.id]));

    // A false alarm: what holds her is over, and the strike behind it gone; the one before stays.
    let request = ReleaseRequest {
        tenant: "alice".into(),
        reason: "false alarm".into(),
        forgive: true,
        ..Default::default()
    };
    OperatorServiceClient::new(channel.clone()).release(request).await.unwrap();
    assert_eq!(numbers(&told(&mut second).await), (vec![1], vec![]));
    assert_eq!(stands(&channel).await.strikes[0].strikes, 1);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_lets_go_is_over_everywhere_if_it_was_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    place_at(&channel, &["n1", "n2", "n3"]).await;
    let (mut first, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let (mut second, _) = Agent::greet(channel.clone(), "n2", 2).await.unwrap();
    let open = violation("n1", 30, 1, None);
    let held = decision(&open, Mode::Enforce);
    let reports = [Report::Violation(open.clone()), Report::Decision(held.clone()), standing(&held)];
    for (number, report) in (1..).zip(reports) {
        first.report(number, report).await;
    }
    first.acknowledged(3).await;
    loop {
        // The strike may come before what was done about it stands.
        let here = told(&mut second).await;
        if !here.decisions.is_empty() {
            assert_eq!(numbers(&here), (vec![1], vec![&held.id]));
            break;
        }
    }
    second.report(1, standing(&held)).await;
    second.acknowledged(1).await;
    // A person on the second node lets her go there: it is not held up to that node again, and stands on the first.
    second.report(2, lifted(&held, LiftReason::Released)).await;
    assert_eq!(numbers(&told(&mut second).await), (vec![1], vec![]));
    let (mut third, _) = Agent::greet(channel.clone(), "n3", 3).await.unwrap();
    assert_eq!(numbers(&told(&mut third).await), (vec![1], vec![&held.id]));
    first.report(4, lifted(&held, LiftReason::Verified)).await;
    assert_eq!(numbers(&told(&mut third).await), (vec![1], vec![]));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_believed_about_tenants_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    place(&channel, "n1").await;
    let (mut stranger, _) = Agent::greet(channel.clone(), "n9", 1).await.unwrap();
    let made_up = violation("n9", 10, 9, None);
    let held = decision(&made_up, Mode::Enforce);
    let unseen = decision(&violation("n9", 11, 9, None), Mode::Enforce);
    let reports = [
        Report::Violation(made_up.clone()),
        Report::Decision(held.clone()),
        standing(&held),
        Report::Decision(unseen.clone()),
        standing(&unseen),
    ];
    for (number, report) in (1..).zip(reports) {
        stranger.report(number, report).await;
    }
    stranger.acknowledged(5).await;
    let (mut home, _) = Agent::greet(channel.clone(), "n1", 2).await.unwrap();
    // By a clock that is ahead.
    let ahead = violation("n1", u64::from(u32::MAX), 1, None);
    let (own, here) = (violation("n1", 30, 1, None), decision(&violation("n1", 30, 1, None), Mode::Enforce));
    let reports = [
        Report::Violation(ahead.clone()),
        Report::Decision(decision(&ahead, Mode::Enforce)),
        Report::Violation(own),
        Report::Decision(here.clone()),
        standing(&here),
    ];
    for (number, report) in (1..).zip(reports) {
        home.report(number, report).await;
    }
    home.acknowledged(5).await;
    // She moves: her new node hears of what her old one saw and did, and of nothing else.
    place(&channel, "n2").await;
    let (mut second, _) = Agent::greet(channel.clone(), "n2", 3).await.unwrap();
    assert_eq!(numbers(&told(&mut second).await), (vec![1], vec![&here.id]));
    // Known by her address alone, strikes are hers anywhere, and what holds her holds her where she was seen.
    place_at(&channel, &[]).await;
    let (mut third, _) = Agent::greet(channel.clone(), "n3", 4).await.unwrap();
    assert_eq!(numbers(&told(&mut third).await), (vec![1], vec![]));
    controller.stop().await;
}

fn used(received: u64) -> Report {
    let (tenant, month) = ("alice".parse().unwrap(), "2026-11".parse().unwrap());
    Report::Usage { tallies: vec![Usage { tenant, month, received, sent: 0 }] }
}

/// What alice received, over all nodes.
async fn received(channel: &Channel) -> u64 {
    let request = ListUsageRequest { month: "2026-11".into(), ..Default::default() };
    let answer = OperatorServiceClient::new(channel.clone()).list_usage(request).await.unwrap();
    answer.into_inner().entries.iter().map(|entry| entry.bytes_in).sum()
}

/// Whether a suspension of hers stands somewhere.
async fn is_suspended(channel: &Channel) -> bool {
    let request = GetStatusRequest { subject: Some(Subject::Tenant("alice".into())) };
    let answer = StatusServiceClient::new(channel.clone()).get_status(request).await.unwrap();
    answer.into_inner().state() == State::Suspended
}

async fn violations(channel: &Channel) -> Vec<String> {
    let request = ListViolationsRequest::default();
    let answer = OperatorServiceClient::new(channel.clone()).list_violations(request).await.unwrap();
    answer.into_inner().violations.into_iter().map(|violation| violation.tenant).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_says_of_tenants_that_are_elsewhere_is_thrown_away_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    place(&channel, "n1").await;
    let (mut stranger, _) = Agent::greet(channel.clone(), "n9", 1).await.unwrap();
    let made_up = violation("n9", 10, 1, None);
    let held = decision(&made_up, Mode::Enforce);
    let reports =
        [Report::Violation(made_up.clone()), Report::Decision(held.clone()), standing(&held), used(1_000)];
    for (number, report) in (1..).zip(reports) {
        stranger.report(number, report).await;
    }
    stranger.acknowledged(4).await;
    assert_eq!(refused(&channel).await, [4]);
    // Nor is it taken for being there already when the node connects.
    let named = Measure { decision: held, expires: None };
    let (mut stranger, _) = Agent::greet_naming(channel.clone(), "n9", 2, vec![named]).await.unwrap();
    assert_eq!(refused(&channel).await, [5]);
    assert_eq!((is_suspended(&channel).await, received(&channel).await), (false, 0));
    assert!(violations(&channel).await.is_empty());

    // Of whom this controller knows nothing a node may tell; nobody else is meant by it afterwards, wherever they may be.
    place_at(&channel, &[]).await;
    let bob = Violation { tenant: "bob".parse().unwrap(), ..made_up.clone() };
    stranger.report(1, Report::Violation(bob.clone())).await;
    stranger.acknowledged(1).await;
    assert_eq!((violations(&channel).await, refused(&channel).await), (vec!["bob".to_owned()], vec![5]));
    let hers = decision(&made_up, Mode::Enforce);
    let reports = [Report::Violation(made_up), Report::Decision(hers.clone()), standing(&hers)];
    for (number, report) in (2..).zip(reports) {
        stranger.report(number, report).await;
    }
    stranger.acknowledged(4).await;
    assert_eq!((violations(&channel).await, refused(&channel).await), (vec!["bob".to_owned()], vec![8]));
    assert!(!is_suspended(&channel).await);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_told_before_the_tenant_moved_away_it_may_tell_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    place(&channel, "n1").await;
    let (mut home, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let seen = violation("n1", 10, 1, None);
    let held = decision(&seen, Mode::Enforce);
    let reports = [Report::Violation(seen), Report::Decision(held.clone()), standing(&held), used(1_000)];
    for (number, report) in (1..).zip(reports) {
        home.report(number, report).await;
    }
    home.acknowledged(4).await;
    place(&channel, "n2").await;
    // It connects anew, still holding her, and tells the rest.
    let named = Measure { decision: held.clone(), expires: None };
    let (mut home, _) = Agent::greet_naming(channel.clone(), "n1", 2, vec![named]).await.unwrap();
    assert!(is_suspended(&channel).await);
    let reports = [
        standing(&held),
        used(3_000),
        Report::Violation(violation("n1", 10, 1, Some(60))),
        lifted(&held, LiftReason::Departed),
    ];
    for (number, report) in (1..).zip(reports) {
        home.report(number, report).await;
    }
    home.acknowledged(4).await;
    assert_eq!((is_suspended(&channel).await, received(&channel).await), (false, 3_000));
    assert_eq!(refused(&channel).await, [0]);
    let request = ListViolationsRequest::default();
    let told = OperatorServiceClient::new(channel.clone()).list_violations(request).await.unwrap();
    assert!(told.into_inner().violations[0].close_time.is_some());
    // What is new is not hers any more.
    home.report(5, Report::Violation(violation("n1", 80, 2, None))).await;
    home.acknowledged(5).await;
    assert_eq!((violations(&channel).await.len(), refused(&channel).await), (1, vec![1]));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_long_greeting_no_more_is_taken_at_once_than_others_can_wait_for() {
    const TAKEN: u64 = 4_096;
    const MORE: u64 = 10;
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let named = |number: u64| {
        let decision = decision(&violation("n1", number, 1, None), Mode::Enforce);
        Measure { decision, expires: None }
    };
    let all: Vec<Measure> = (0..TAKEN + MORE).map(named).collect();
    let (first, _) = Agent::greet_naming(channel.clone(), "n1", 1, all.clone()).await.unwrap();
    assert_eq!(refused(&channel).await, [MORE]);
    drop(first);
    // What was taken is known, so the rest has its turn.
    let (_second, _) = Agent::greet_naming(channel.clone(), "n1", 1, all).await.unwrap();
    assert_eq!(refused(&channel).await, [MORE]);
    controller.stop().await;
}

async fn forgive(channel: &Channel, rule: &str, key: &str) -> Result<ForgiveStrikesResponse, tonic::Status> {
    let request = ForgiveStrikesRequest {
        tenant: "alice".into(),
        rule: rule.into(),
        reason: "the rule was wrong".into(),
        idempotency_key: key.into(),
        wait: false,
    };
    Ok(StandingServiceClient::new(channel.clone()).forgive_strikes(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn old_strikes_are_taken_back_on_every_node_and_what_holds_the_tenant_stays() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    assert_eq!(forgive(&channel, "", "").await.unwrap_err().code(), tonic::Code::NotFound);
    place_at(&channel, &["n1", "n2"]).await;
    let (mut first, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let (mut second, _) = Agent::greet(channel.clone(), "n2", 2).await.unwrap();
    let (over, open) = (violation("n1", 10, 1, Some(20)), violation("n1", 30, 2, None));
    let held = decision(&open, Mode::Enforce);
    let reports = [
        Report::Violation(over.clone()),
        Report::Decision(decision(&over, Mode::Enforce)),
        Report::Violation(open.clone()),
        Report::Decision(held.clone()),
        standing(&held),
    ];
    for (number, report) in (1..).zip(reports) {
        first.report(number, report).await;
    }
    first.acknowledged(5).await;
    // Under another rule there is nothing; a text that is no rule's is refused.
    assert_eq!(forgive(&channel, "spam", "").await.unwrap().forgiven, Some(0));
    assert_eq!(forgive(&channel, "no rule", "").await.unwrap_err().code(), tonic::Code::InvalidArgument);
    assert_eq!(stands(&channel).await.strikes[0].strikes, 2);
    assert!(
        matches!(first.order().await, Order::Forgive { rule: Some(rule), .. } if rule.as_str() == "spam")
    );
    second.order().await;

    let done = forgive(&channel, "scan", "k").await.unwrap();
    assert_eq!((done.forgiven, done.nodes.len()), (Some(2), 2));
    let again = forgive(&channel, "scan", "k").await.unwrap();
    assert_eq!((again.order, again.forgiven), (done.order, None), "asked for twice, ordered once");
    let order = first.order().await;
    let Order::Forgive { tenant, before, by, reason, .. } = &order else { panic!("{order:?}") };
    let told = (tenant.as_str(), by.as_str(), reason.as_str());
    assert_eq!(told, ("alice", "local", "the rule was wrong"));
    assert!(*before > at(100));
    let here = stands(&channel).await;
    assert!(here.strikes.is_empty() && here.holds.len() == 1, "{here:?}");
    // The other node is told of no strike any more, by whatever it was told before.
    second.order().await;
    place(&channel, "n2").await;
    drop(second);
    let (mut second, _) = Agent::greet(channel.clone(), "n2", 3).await.unwrap();
    assert!(matches!(second.order().await, Order::Forgive { .. }), "what was not answered is sent again");
    assert_eq!(stands(&channel).await.strikes.len(), 0);

    // What a node tells only now, and was to take back, counts no more once it has.
    place(&channel, "n1").await;
    let late = violation("n1", 5, 1, Some(6));
    first.report(6, Report::Violation(late.clone())).await;
    first.report(7, Report::Decision(decision(&late, Mode::Enforce))).await;
    first.acknowledged(7).await;
    assert_eq!(stands(&channel).await.strikes[0].strikes, 1);
    first.done(&order).await;
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while !stands(&channel).await.strikes.is_empty() {
        assert!(tokio::time::Instant::now() < end);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    controller.stop().await;
}
