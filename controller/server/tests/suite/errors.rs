//! Every error says why in a way that a program can act on: over gRPC in the status details, over HTTP in the problem.

use crate::common::{Agent, Running, alice, call, import};
use reeve_controller::auth::Role;
use reeve_controller::auth::access;
use reeve_controller::pki::{self, Wanted};
use reeve_controller::refusal::{DOMAIN, Reason};
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{
    GetViolationRequest, ImportTenantsRequest, ListViolationsRequest, PauseRequest, PauseTarget,
    ReleaseRequest, SuspendRequest, pause_target,
};
use reeve_proto::status::v1::GetStatusRequest;
use reeve_proto::status::v1::get_status_request::Subject;
use reeve_proto::status::v1::status_service_client::StatusServiceClient;
use reeve_proto::types::v1::Tenant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The reason, what it is about, and the fields that are wrong.
fn told(status: &Status) -> (Reason, Vec<(String, String)>, Vec<String>) {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no reason: {status:?}"));
    assert_eq!(info.domain, DOMAIN);
    let reason = Reason::ALL.iter().find(|reason| reason.as_str() == info.reason);
    let reason = *reason.unwrap_or_else(|| panic!("{} is in no list", info.reason));
    assert_eq!(reason.code(), status.code(), "{status:?}");
    let about = info.metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let fields = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    (reason, about, fields.into_iter().map(|one| one.field).collect())
}

#[tokio::test]
async fn what_programs_act_on_has_a_reason_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice()], true).await;
    let mut client = OperatorServiceClient::new(channel.clone());
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];

    let nobody = SuspendRequest { tenant: "nobody".into(), reason: "x".into(), ..Default::default() };
    let error = client.suspend(nobody).await.unwrap_err();
    assert_eq!(told(&error), (Reason::TenantNotFound, pair("tenant", "nobody"), vec![]));
    let error =
        client.suspend(SuspendRequest { tenant: "a b".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!(told(&error), (Reason::InvalidField, vec![], vec!["tenant".into()]));
    let error = client.get_violation(GetViolationRequest { id: "01X".into() }).await.unwrap_err();
    assert_eq!(told(&error), (Reason::ViolationNotFound, pair("violation", "01X"), vec![]));
    let target = Some(PauseTarget { target: Some(pause_target::Target::Node("n9".into())) });
    let error = client.pause(PauseRequest { target, ..Default::default() }).await.unwrap_err();
    assert_eq!(told(&error), (Reason::NodeNotFound, pair("node", "n9"), vec![]));
    let error = client
        .list_violations(ListViolationsRequest { page_size: -1, ..Default::default() })
        .await
        .unwrap_err();
    assert_eq!(told(&error), (Reason::InvalidField, vec![], vec!["page_size".into()]));

    let release = |reason: &str| ReleaseRequest {
        tenant: "alice".into(),
        reason: reason.into(),
        idempotency_key: "k".into(),
        ..Default::default()
    };
    client.release(release("one")).await.unwrap();
    let error = client.release(release("another")).await.unwrap_err();
    assert_eq!(told(&error).0, Reason::RequestKeyReused);

    let clash = Tenant { id: "bob".into(), addresses: vec!["203.0.113.1/32".into()], ..Tenant::default() };
    let request = ImportTenantsRequest { tenants: vec![clash], method: 2, ..Default::default() };
    assert_eq!(told(&client.import_tenants(request).await.unwrap_err()).0, Reason::TenantsClash);
    let bad = Tenant { id: "bob".into(), addresses: vec!["203.0.113.1/99".into()], ..Tenant::default() };
    let request = ImportTenantsRequest { tenants: vec![bad], method: 2, ..Default::default() };
    let (reason, _, fields) = told(&client.import_tenants(request).await.unwrap_err());
    assert_eq!((reason, fields), (Reason::InvalidField, vec!["tenants[0].addresses[0]".to_owned()]));
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    agent.suspend(&channel, "alice").await;
    let request = ImportTenantsRequest { method: 1, ..Default::default() };
    let error = client.import_tenants(request).await.unwrap_err();
    assert_eq!(told(&error), (Reason::TenantsHeld, pair("tenants", "alice"), vec![]));

    let mut status = StatusServiceClient::new(channel);
    let mut ask = async |subject| {
        let request = GetStatusRequest { subject };
        told(&status.get_status(request).await.unwrap_err())
    };
    assert_eq!(
        ask(Some(Subject::Tenant("x".into()))).await,
        (Reason::TenantNotFound, pair("subject", "x"), vec![])
    );
    let address = "2001:db8:7::1";
    let expect = (Reason::SubjectNotFound, pair("subject", address), vec![]);
    assert_eq!(ask(Some(Subject::Address(address.into()))).await, expect);
    assert_eq!(ask(None).await.0, Reason::InvalidRequest);
    controller.stop().await;
}

#[tokio::test]
async fn whatever_is_called_by_whomever_no_error_is_without_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let name = |text: &str| text.parse().unwrap();
    let people = vec![(Role::Operator, name("op")), (Role::Viewer, name("look"))];
    pki::init(dir.path(), &Wanted { hosts: vec![], nodes: vec![name("n1")], people }).unwrap();
    let controller = Running::start(dir.path()).await;
    let channels = [
        ("stranger", controller.bare(dir.path()).await),
        ("node", controller.secure(dir.path(), dir.path(), "nodes/n1").await),
        ("viewer", controller.secure(dir.path(), dir.path(), "operators/look").await),
        ("operator", controller.secure(dir.path(), dir.path(), "operators/op").await),
    ];
    let unknown = call(&channels[0].1, "/reeve.operator.v1.OperatorService/ListNodes", Some("reeve_x")).await;
    assert_eq!(told(&unknown.unwrap_err()).0, Reason::CredentialsUnknown);
    // Who is refused fifty times at once is told no more than that.
    let (mut refused, mut strangers) = (0, 0);
    let is_open = |path: &str| {
        access::METHODS.iter().any(|(open, roles)| *open == path && roles.contains(Role::Stranger))
    };
    let methods = access::METHODS.iter().map(|(path, _)| *path).filter(|path| path.starts_with("/reeve."));
    for path in methods.chain(["/reeve.operator.v1.OperatorService/Nothing", "/nothing.Service/At"]) {
        for (who, channel) in &channels {
            // What is open on a stream does not end by itself.
            if path.ends_with("/Connect") || path.contains("/Watch") {
                continue;
            }
            if let Err(status) = call(channel, path, None).await {
                let (reason, ..) = told(&status);
                refused += 1;
                match *who {
                    // Who enrols or logs in has something else to show.
                    "stranger" if !is_open(path) => {
                        strangers += 1;
                        let said = (reason, status.code());
                        let is_curt =
                            strangers > 40 && said == (Reason::TooManyCalls, Code::ResourceExhausted);
                        let missing = (Reason::CredentialsMissing, Code::Unauthenticated);
                        assert!(is_curt || said == missing, "{path}: {said:?}");
                    }
                    "viewer" if path.ends_with("/Suspend") => assert_eq!(reason, Reason::RoleNotAllowed),
                    "operator" if path.contains("/Nothing") => assert_eq!(reason, Reason::MethodUnknown),
                    _ => {}
                }
            }
        }
    }
    assert!(refused > 60, "{refused}");
    controller.stop().await;
}
