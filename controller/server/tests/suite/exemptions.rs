//! Exemptions that operators grant: nodes are told, imports leave them, and they end.

use crate::common::{self, Agent, Running, alice, call, import};
use reeve_controller::auth::Role;
use reeve_controller::pki::{self, Wanted};
use reeve_policy::Order;
use reeve_proto::operator::v1::audit_service_client::AuditServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::standing_service_client::StandingServiceClient;
use reeve_proto::operator::v1::{
    CreateExemptionRequest, ExemptionState, GetStandingRequest, GetStandingResponse, GrantedExemption,
    ImportTenantsRequest, ListAuditRequest, ListExemptionsRequest, RevokeExemptionRequest, SuspendRequest,
};
use reeve_proto::session::Down;
use reeve_proto::status::v1::State;
use reeve_proto::types::v1::{Exemption, Tenant};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

fn permission(clause: &str, reference: &str) -> Exemption {
    Exemption {
        clause: clause.into(),
        targets: vec!["198.51.100.0/24".into()],
        ports: vec![22],
        reference: reference.into(),
        ..Default::default()
    }
}

/// Until it is taken back.
fn asked(reference: &str) -> CreateExemptionRequest {
    CreateExemptionRequest {
        tenant: "alice".into(),
        exemption: Some(permission("p/scan", reference)),
        until_revoked: true,
        reason: "tests her own hosts".into(),
        idempotency_key: String::new(),
    }
}

async fn grant(channel: &Channel, request: CreateExemptionRequest) -> Result<GrantedExemption, Status> {
    let answer = StandingServiceClient::new(channel.clone()).create_exemption(request).await?;
    Ok(answer.into_inner().exemption.unwrap())
}

async fn revoke(channel: &Channel, id: &str) -> Result<GrantedExemption, Status> {
    let request = RevokeExemptionRequest { id: id.into(), reason: "the letter was forged".into() };
    let answer = StandingServiceClient::new(channel.clone()).revoke_exemption(request).await?;
    Ok(answer.into_inner().exemption.unwrap())
}

async fn list(channel: &Channel, request: ListExemptionsRequest) -> Vec<GrantedExemption> {
    let answer = StandingServiceClient::new(channel.clone()).list_exemptions(request).await.unwrap();
    answer.into_inner().exemptions
}

async fn standing(channel: &Channel, tenant: &str) -> Result<GetStandingResponse, Status> {
    let request = GetStandingRequest { tenant: tenant.into() };
    Ok(StandingServiceClient::new(channel.clone()).get_standing(request).await?.into_inner())
}

fn id(granted: &GrantedExemption) -> &str {
    &granted.exemption.as_ref().unwrap().id
}

fn reason(refused: &Status) -> String {
    refused.get_error_details().error_info().unwrap().reason.clone()
}

/// What the agent is told next of alice's exemptions, by their references.
async fn told(agent: &mut Agent) -> Vec<String> {
    loop {
        let tenants = match agent.next().await.unwrap() {
            Down::Order(Order::Tenants { tenants, .. }) => tenants,
            Down::Order(Order::TenantsChanged { changed, .. }) => changed,
            _ => continue,
        };
        if let Some(alice) = tenants.iter().find(|tenant| tenant.id.as_str() == "alice") {
            return alice.exemptions.iter().map(|one| one.reference.clone()).collect();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_ordered_and_is_not_carried_out_is_told_of_its_tenant() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice()], true).await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let suspend = SuspendRequest { tenant: "alice".into(), reason: "unpaid".into(), ..Default::default() };
    OperatorServiceClient::new(channel.clone()).suspend(suspend).await.unwrap();
    let order = agent.order().await;
    let waiting = standing(&channel, "alice").await.unwrap().waiting_orders;
    let [one] = &waiting[..] else { panic!("{waiting:?}") };
    assert_eq!((one.node.as_str(), one.kind.as_str()), ("n1", "impose"));
    assert_eq!(one.order, order.id().unwrap().to_string());
    assert_eq!(one.decision.as_ref().unwrap().reason, "unpaid");
    agent.done(&order).await;
    while !standing(&channel, "alice").await.unwrap().waiting_orders.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_reaches_nodes_outlives_imports_and_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let own = Exemption { targets: vec![], ports: vec![], ..permission("p/*", "her contract") };
    let with_own = Tenant { exemptions: vec![own], ..alice() };
    import(&channel, vec![with_own.clone()], true).await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    assert_eq!(told(&mut agent).await, ["her contract"]);

    let granted = grant(&channel, asked("letter 7")).await.unwrap();
    assert_eq!((granted.state(), granted.granted_by.as_str()), (ExemptionState::InForce, "local"));
    assert_eq!(told(&mut agent).await, ["her contract", "letter 7"]);
    let here = standing(&channel, "alice").await.unwrap();
    assert_eq!((here.state(), here.strikes.len(), here.holds.len()), (State::Clear, 0, 0));
    let ids: Vec<bool> =
        here.exemptions.iter().map(|one| one.exemption.as_ref().unwrap().id.is_empty()).collect();
    assert_eq!(ids, [true, false]);

    // The same import again changes nothing, and another one leaves the grant, whatever it says of it.
    let mut client = OperatorServiceClient::new(channel.clone());
    let whole = |tenants| ImportTenantsRequest { tenants, method: 1, ..Default::default() };
    let same = client.import_tenants(whole(vec![with_own])).await.unwrap().into_inner();
    assert_eq!((same.unchanged, same.changes.len()), (1, 0), "{same:?}");
    let stale = Exemption { id: "E1".into(), ..permission("p/*", "made up") };
    let other = Tenant { exemptions: vec![stale], name: "Alice B.V.".into(), ..alice() };
    let changed = client.import_tenants(whole(vec![other])).await.unwrap().into_inner();
    let fields: Vec<&str> = changed.changes[0].fields.iter().map(|field| field.field.as_str()).collect();
    assert_eq!(fields, ["name", "exemption"], "her own one is gone, and that alone");
    assert_eq!(told(&mut agent).await, ["letter 7"]);

    // Who is taken away and comes back has it still, also after a restart.
    let bob = Tenant { id: "bob".into(), addresses: vec!["192.0.2.1/32".into()], ..Default::default() };
    import(&channel, vec![bob], true).await;
    assert_eq!(standing(&channel, "alice").await.unwrap_err().code(), Code::NotFound);
    import(&channel, vec![alice()], false).await;
    assert_eq!(told(&mut agent).await, ["letter 7"]);
    drop(agent);
    controller.stop().await;
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 2).await.unwrap();
    assert_eq!(told(&mut agent).await, ["letter 7"]);

    let revoked = revoke(&channel, id(&granted)).await.unwrap();
    assert_eq!((revoked.state(), revoked.revoked_by.as_str()), (ExemptionState::Revoked, "local"));
    assert_eq!(told(&mut agent).await, Vec::<String>::new());
    assert_eq!(revoke(&channel, id(&granted)).await.unwrap(), revoked, "once more is no error");
    assert!(list(&channel, ListExemptionsRequest::default()).await.is_empty());
    let all = ListExemptionsRequest { include_over: true, tenant: "alice".into(), ..Default::default() };
    assert_eq!(list(&channel, all).await, [revoked]);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_twice_grants_once() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice()], true).await;
    let request = CreateExemptionRequest { idempotency_key: "k".into(), ..asked("letter 7") };
    let first = grant(&channel, request.clone()).await.unwrap();
    assert_eq!(grant(&channel, request.clone()).await.unwrap(), first);
    let other = CreateExemptionRequest { exemption: asked("letter 8").exemption, ..request };
    let refused = grant(&channel, other).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::AlreadyExists, "REQUEST_KEY_REUSED".into()));
    assert_eq!(list(&channel, ListExemptionsRequest::default()).await, [first]);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sound_is_refused_with_the_field() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice()], true).await;
    let with = |exemption: Exemption| CreateExemptionRequest { exemption: Some(exemption), ..asked("") };
    let at = |seconds: i64| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let good = || permission("p/scan", "letter 7");
    let over = Exemption { until: at(1_000_000_000), ..good() };
    for (request, field) in [
        (CreateExemptionRequest { tenant: "no such/name".into(), ..asked("x") }, "tenant"),
        (CreateExemptionRequest { exemption: None, ..asked("x") }, "exemption"),
        (CreateExemptionRequest { reason: " ".into(), ..asked("x") }, "reason"),
        (CreateExemptionRequest { until_revoked: false, ..asked("x") }, "exemption.until"),
        (CreateExemptionRequest { until_revoked: false, ..with(over.clone()) }, "exemption.until"),
        (with(over), "until_revoked"),
        (with(Exemption { id: "E1".into(), ..good() }), "exemption.id"),
        (with(permission("scan", "x")), "exemption.clause"),
        (with(permission("p/", "x")), "exemption.clause"),
        (with(permission("p/scan", " ")), "exemption.reference"),
        (with(Exemption { ports: vec![70_000], ..good() }), "exemption.ports[0].port"),
        (with(Exemption { targets: vec!["here".into()], ..good() }), "exemption.targets[0]"),
        (with(Exemption { from: at(9_000_000_000), until: at(8_000_000_000), ..good() }), "exemption.until"),
    ] {
        let refused = grant(&channel, request.clone()).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused)), (Code::InvalidArgument, "INVALID_FIELD".into()));
        let details = refused.get_error_details();
        let told = &details.bad_request().unwrap().field_violations[0].field;
        assert!(told == field || field.starts_with(told.as_str()), "{refused} is about {told}, not {field}");
    }
    let nobody = CreateExemptionRequest { tenant: "nobody".into(), ..asked("x") };
    let refused = grant(&channel, nobody).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::NotFound, "TENANT_NOT_FOUND".into()));
    let refused = revoke(&channel, "E1").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::NotFound, "EXEMPTION_NOT_FOUND".into()));
    assert_eq!(revoke(&channel, "").await.unwrap_err().code(), Code::InvalidArgument);

    // As many as one may have, and no more until one is taken back; page by page.
    let mut first = None;
    for number in 0..32 {
        let granted = grant(&channel, asked(&format!("letter {number}"))).await.unwrap();
        first.get_or_insert(granted);
    }
    let refused = grant(&channel, asked("one more")).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::FailedPrecondition, "TOO_MANY_EXEMPTIONS".into()));
    let mut client = StandingServiceClient::new(channel.clone());
    let (mut pages, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListExemptionsRequest { page_size: 20, page_token, ..Default::default() };
        let page = client.list_exemptions(request).await.unwrap().into_inner();
        pages.push(page.exemptions.len());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, [20, 12]);
    revoke(&channel, id(&first.unwrap())).await.unwrap();
    grant(&channel, asked("one more")).await.unwrap();
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_over_goes_with_the_tenant_for_a_while_and_is_told_as_over() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice()], true).await;
    let soon = reeve_policy::Timestamp::EPOCH
        + std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap()
        + std::time::Duration::from_millis(1_500);
    let until = Some(reeve_proto::time_to_wire(soon));
    let exemption = Some(Exemption { until, ..permission("p/scan", "letter 7") });
    let request = CreateExemptionRequest { exemption, until_revoked: false, ..asked("") };
    let granted = grant(&channel, request).await.unwrap();
    assert_eq!(granted.state(), ExemptionState::InForce);
    let later = Exemption {
        from: Some(prost_types::Timestamp { seconds: 9_000_000_000, nanos: 0 }),
        ..permission("p/scan", "letter 8")
    };
    let request = CreateExemptionRequest { exemption: Some(later), ..asked("") };
    assert_eq!(grant(&channel, request).await.unwrap().state(), ExemptionState::Pending);
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while list(&channel, ListExemptionsRequest::default()).await.len() == 2 {
        assert!(tokio::time::Instant::now() < end);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let states: Vec<_> =
        standing(&channel, "alice").await.unwrap().exemptions.iter().map(|one| one.state()).collect();
    assert_eq!(states, [ExemptionState::Over, ExemptionState::Pending]);

    // Long after its end no version of the tenants has it any more.
    controller.stop().await;
    let age = "UPDATE exemptions SET ends = ends - 2678400000000000 WHERE ends IS NOT NULL";
    assert_eq!(common::execute(dir.path(), age).await, 1);
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    assert_eq!(told(&mut agent).await, ["letter 8"]);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_grants_is_on_record_and_viewers_only_read() {
    let dir = tempfile::tempdir().unwrap();
    let people = [
        (Role::Admin, "root"),
        (Role::Operator, "oncall"),
        (Role::Viewer, "reader"),
        (Role::Billing, "till"),
    ];
    let people = people.map(|(role, name)| (role, name.parse().unwrap())).to_vec();
    pki::init(dir.path(), &Wanted { people, ..Wanted::default() }).unwrap();
    let controller = Running::start(dir.path()).await;
    let folder = dir.path().join("operators");
    let oncall = controller.secure(dir.path(), &folder, "oncall").await;
    let reader = controller.secure(dir.path(), &folder, "reader").await;
    let till = controller.secure(dir.path(), &folder, "till").await;
    let root = controller.secure(dir.path(), &folder, "root").await;
    import(&oncall, vec![alice()], true).await;
    let granted = grant(&oncall, asked("letter 7")).await.unwrap();
    assert_eq!(granted.granted_by, "oncall");
    let refused = grant(&reader, asked("letter 8")).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::PermissionDenied, "ROLE_NOT_ALLOWED".into()));
    assert_eq!(revoke(&reader, id(&granted)).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(list(&reader, ListExemptionsRequest::default()).await, std::slice::from_ref(&granted));
    assert_eq!(standing(&reader, "alice").await.unwrap().exemptions.len(), 1);
    for method in ["CreateExemption", "ListExemptions", "RevokeExemption", "GetStanding"] {
        let path = format!("/reeve.operator.v1.StandingService/{method}");
        assert_eq!(call(&till, &path, None).await.unwrap_err().code(), Code::PermissionDenied, "{method}");
    }
    revoke(&root, id(&granted)).await.unwrap();

    let answer = AuditServiceClient::new(root).list_audit(ListAuditRequest::default()).await.unwrap();
    let mut entries = answer.into_inner().entries;
    entries.retain(|entry| entry.act.contains("Exemption") && !entry.reason.is_empty());
    let lines: Vec<String> = entries
        .iter()
        .rev()
        .map(|entry| format!("{} {} {}", entry.who, entry.subject, entry.reason))
        .collect();
    let revoked = format!("root exemption/{} the letter was forged", id(&granted));
    assert_eq!(lines, ["oncall tenant/alice tests her own hosts".to_owned(), revoked]);
    assert!(entries.last().unwrap().asked.contains("letter 7"), "{entries:?}");
    controller.stop().await;
}
