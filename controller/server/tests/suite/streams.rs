//! The controller in this process, spoken to as agents and operators do, over real sockets and real TLS.

use crate::common::{self, Agent, Running};
use reeve_controller::auth::Role;
use reeve_controller::pki::{self, Wanted};
use reeve_policy::{Loss, OrderResult, Report, Timestamp, Violation, ViolationId, ViolationState, Window};
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{
    ImportTenantsRequest, ListNodesRequest, ListViolationsRequest, ReleaseRequest, SuspendRequest, node_order,
};
use reeve_proto::session::{Down, ProtocolVersion, Up};
use reeve_proto::status::v1::status_service_client::StatusServiceClient;
use reeve_proto::status::v1::{GetStatusRequest, State, get_status_request::Subject};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

fn violation(tenant: &str, secs: u64) -> Report {
    let at = Timestamp::from_secs(secs);
    let (node, tenant, rule) = ("n1".parse().unwrap(), tenant.parse().unwrap(), "portscan".parse().unwrap());
    Report::Violation(Violation {
        id: ViolationId::new(&node, &tenant, &rule, at),
        node,
        tenant: tenant.clone(),
        rule,
        clause: "p/c".into(),
        opened: at,
        last_seen: at,
        closed: None,
        state: ViolationState::Open,
        strike: 1,
        alerts: 1,
        evidence: reeve_policy::Alert {
            class: reeve_policy::Class::PortscanVertical,
            tenant,
            at,
            window: Window { start: at, end: at },
            metrics: Vec::new(),
            confidence_percent: 90,
            targets: Vec::new(),
            samples: Vec::new(),
            loss: Loss::default(),
            is_suspicion: false,
        },
    })
}

async fn violations(channel: &Channel) -> usize {
    let mut client = OperatorServiceClient::new(channel.clone());
    client.list_violations(ListViolationsRequest::default()).await.unwrap().into_inner().violations.len()
}

async fn import(channel: &Channel) {
    let tenant = reeve_proto::types::v1::Tenant {
        id: "alice".into(),
        addresses: vec!["203.0.113.0/28".into(), "2001:db8::/48".into()],
        interfaces: vec!["n1/tap0".into()],
        ..Default::default()
    };
    let mut client = OperatorServiceClient::new(channel.clone());
    let request = ImportTenantsRequest { tenants: vec![tenant], method: 2, ..Default::default() };
    assert_eq!(client.import_tenants(request).await.unwrap().into_inner().added, 1);
}

async fn state(channel: &Channel, subject: Subject) -> Result<State, tonic::Status> {
    let mut client = StatusServiceClient::new(channel.clone());
    let answer = client.get_status(GetStatusRequest { subject: Some(subject) }).await?;
    Ok(answer.into_inner().state())
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_stored_once_however_often_they_come() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let (mut agent, acknowledged) = Agent::greet(channel.clone(), "n1", 7).await.unwrap();
    assert_eq!(acknowledged, 0);
    for number in 1..=5 {
        agent.report(number, violation("alice", 1_000 + number)).await;
    }
    agent.acknowledged(5).await;
    // The same again, as after a lost acknowledgement, and one more.
    for number in 3..=6 {
        agent.report(number, violation("alice", 1_000 + number)).await;
    }
    agent.acknowledged(6).await;
    assert_eq!(violations(&channel).await, 6);
    drop(agent);
    controller.stop().await;

    // Another controller on the same database knows how far it came.
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let (_agent, acknowledged) = Agent::greet(channel.clone(), "n1", 7).await.unwrap();
    assert_eq!(acknowledged, 6);
    assert_eq!(violations(&channel).await, 6);
    let (_newer, acknowledged) = Agent::greet(channel, "n1", 8).await.unwrap();
    assert_eq!(acknowledged, 0, "another life of the spool");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_report_is_counted_and_does_not_hold_up_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let empty = Up::Report { sequence: 1, report: Err(reeve_proto::WireError::missing("report")) };
    agent.up.send((&empty).into()).await.unwrap();
    agent.report(2, violation("alice", 1_000)).await;
    agent.acknowledged(2).await;
    assert_eq!(violations(&channel).await, 1);
    let nodes = OperatorServiceClient::new(channel)
        .list_nodes(ListNodesRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!((nodes.nodes[0].reports_refused, nodes.nodes[0].connected, nodes.protected), (1, true, false));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_to_the_node_and_its_answer_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel).await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let request = SuspendRequest {
        tenant: "alice".into(),
        reason: "unpaid".into(),
        idempotency_key: "k1".into(),
        wait: true,
        ..Default::default()
    };
    let mut client = OperatorServiceClient::new(channel.clone());
    let asked = {
        let request = request.clone();
        tokio::spawn(async move { client.suspend(request).await })
    };
    let order = agent.order().await;
    assert_eq!(
        state(&channel, Subject::Tenant("alice".into())).await.unwrap(),
        State::Clear,
        "not before it is done"
    );
    let result = OrderResult {
        id: order.id().unwrap().clone(),
        at: Timestamp::from_secs(2_000_000_000),
        result: Ok(()),
    };
    agent.up.send((&Up::OrderResult(result)).into()).await.unwrap();
    let answer = asked.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.nodes[0].state(), node_order::State::Done);
    for subject in [
        Subject::Tenant("alice".into()),
        Subject::Address("203.0.113.9".into()),
        Subject::Address("2001:db8::9".into()),
        Subject::Interface("n1/tap0".into()),
    ] {
        assert_eq!(state(&channel, subject).await.unwrap(), State::Suspended);
    }
    // The same request again is the same order; another one with its key is refused.
    let mut client = OperatorServiceClient::new(channel.clone());
    assert_eq!(client.suspend(request.clone()).await.unwrap().into_inner().order, answer.order);
    let other = SuspendRequest { reason: "other".into(), ..request };
    assert_eq!(client.suspend(other).await.unwrap_err().code(), Code::AlreadyExists);
    let release = ReleaseRequest { tenant: "alice".into(), ..Default::default() };
    let stored = client.release(release).await.unwrap().into_inner();
    assert_eq!(stored.nodes[0].state(), node_order::State::Sent);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let code = |result: Result<State, tonic::Status>| result.unwrap_err().code();
    assert_eq!(code(state(&channel, Subject::Tenant("nobody".into())).await), Code::NotFound);
    assert_eq!(code(state(&channel, Subject::Address("192.0.2.1".into())).await), Code::NotFound);
    assert_eq!(code(state(&channel, Subject::Address("here".into())).await), Code::InvalidArgument);
    let mut client = OperatorServiceClient::new(channel.clone());
    let without_reason = SuspendRequest { tenant: "alice".into(), ..Default::default() };
    assert_eq!(client.suspend(without_reason).await.unwrap_err().code(), Code::InvalidArgument);
    let tenant = |id: &str| reeve_proto::types::v1::Tenant {
        id: id.into(),
        addresses: vec!["203.0.113.1".into()],
        ..Default::default()
    };
    let clash =
        ImportTenantsRequest { tenants: vec![tenant("a"), tenant("b")], method: 1, ..Default::default() };
    assert_eq!(client.import_tenants(clash).await.unwrap_err().code(), Code::InvalidArgument);
    // A newer stream of the same node takes over.
    let (mut first, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let (_second, _) = Agent::greet(channel, "n1", 1).await.unwrap();
    let ended = loop {
        match first.next().await {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Aborted);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_say_who_may_do_what() {
    let (dir, foreign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let wanted = Wanted {
        nodes: vec!["n1".parse().unwrap()],
        people: vec![(Role::Operator, "oncall".parse().unwrap())],
        ..Wanted::default()
    };
    for folder in [dir.path(), foreign.path()] {
        pki::init(folder, &wanted).unwrap();
    }
    let controller = Running::start(dir.path()).await;
    let operator = controller.secure(dir.path(), &dir.path().join("operators"), "oncall").await;
    let node = controller.secure(dir.path(), &dir.path().join("nodes"), "n1").await;
    import(&operator).await;
    assert_eq!(state(&operator, Subject::Tenant("alice".into())).await.unwrap(), State::Clear);

    // A node is no operator, an operator no node, and a node no other node.
    let status = state(&node, Subject::Tenant("alice".into())).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let mut client = OperatorServiceClient::new(node.clone());
    let suspend = SuspendRequest { tenant: "alice".into(), reason: "x".into(), ..Default::default() };
    assert_eq!(client.suspend(suspend).await.unwrap_err().code(), Code::PermissionDenied);
    assert!(
        Agent::greet(operator, "n1", 1).await.is_err_and(|status| status.code() == Code::PermissionDenied)
    );
    assert!(
        Agent::greet(node.clone(), "n2", 1)
            .await
            .is_err_and(|status| status.code() == Code::PermissionDenied)
    );
    assert!(Agent::greet(node, "n1", 1).await.is_ok());

    // Another authority's certificate, and none at all, get nowhere.
    let stranger = controller.secure(dir.path(), &foreign.path().join("operators"), "oncall").await;
    assert!(state(&stranger, Subject::Tenant("alice".into())).await.is_err());
    let plain = Endpoint::from_shared(format!("http://{}", controller.address)).unwrap().connect().await;
    if let Ok(plain) = plain {
        assert!(state(&plain, Subject::Tenant("alice".into())).await.is_err());
    }
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_tenants_is_told_what_changed_and_others_all_of_them() {
    use reeve_policy::Order;
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let tenant = |id: &str, name: &str| reeve_proto::types::v1::Tenant {
        id: id.into(),
        name: name.into(),
        ..Default::default()
    };
    common::import(&channel, vec![tenant("a", ""), tenant("b", ""), tenant("c", "")], true).await;
    let told = async |agent: &mut Agent| loop {
        match agent.next().await.unwrap() {
            Down::Order(Order::Tenants { version, tenants }) => {
                break (0, version, tenants.iter().map(|one| one.id.to_string()).collect(), vec![]);
            }
            Down::Order(Order::TenantsChanged { from, version, changed, removed }) => {
                let ids = changed.iter().map(|one| one.id.to_string()).collect();
                break (from, version, ids, removed.iter().map(ToString::to_string).collect());
            }
            _ => {}
        }
    };
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let old = ProtocolVersion { minor: 5, ..ProtocolVersion::CURRENT };
    let (mut older, _) = Agent::greet_with(channel.clone(), "n2", 1, old, Vec::new()).await.unwrap();
    let all: (u64, u64, Vec<String>, Vec<String>) = told(&mut agent).await;
    assert_eq!((all.0, all.2.as_slice()), (0, &["a", "b", "c"].map(String::from)[..]));
    assert_eq!(told(&mut older).await, all);

    common::import(&channel, vec![tenant("b", "Bob"), tenant("d", "")], false).await;
    let change = told(&mut agent).await;
    assert_eq!(
        (change.0, change.2.as_slice(), change.3.len()),
        (all.1, &["b", "d"].map(String::from)[..], 0)
    );
    // An agent of before does not know changes.
    let whole = told(&mut older).await;
    assert_eq!((whole.0, whole.1, whole.2.len()), (0, change.1, 4));

    common::import(&channel, vec![tenant("b", "Bob"), tenant("d", "")], true).await;
    let gone = told(&mut agent).await;
    assert_eq!((gone.0, gone.2.len(), gone.3), (change.1, 0, vec!["a".to_owned(), "c".to_owned()]));
    // Who was away is told both changes at once; who has what is not known, all.
    for (version, expected) in
        [(all.1, (all.1, vec!["b", "d"], vec!["a", "c"])), (77, (0, vec!["b", "d"], vec![]))]
    {
        let (mut back, _) = Agent::greet_having(channel.clone(), "n1", 1, version).await.unwrap();
        let (from, now, changed, removed): (u64, u64, Vec<String>, Vec<String>) = told(&mut back).await;
        let texts = |all: Vec<&str>| all.into_iter().map(String::from).collect::<Vec<_>>();
        assert_eq!((from, now, changed, removed), (expected.0, gone.1, texts(expected.1), texts(expected.2)));
    }
    controller.stop().await;
}
