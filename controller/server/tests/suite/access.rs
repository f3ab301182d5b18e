//! Who may call what, asked of a running controller over real TLS.

use std::path::Path;
use std::time::Duration;

use crate::common::{self, Running, call};
use reeve_controller::auth::{Role, access};
use reeve_controller::pki::{self, Wanted};
use reeve_proto::operator::v1::access_service_client::AccessServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{
    CreateTokenRequest, ImportTenantsRequest, ListTokensRequest, RevokeTokenRequest, Role as WireRole,
    SuspendRequest, WatchRequest, WhoAmIRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

const WHO: &str = "/reeve.operator.v1.AccessService/WhoAmI";

fn initialised() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let people = [
        (Role::Admin, "root"),
        (Role::Operator, "oncall"),
        (Role::Viewer, "auditor"),
        (Role::Billing, "cash"),
        (Role::Status, "portal"),
    ];
    let wanted = Wanted {
        nodes: vec!["n1".parse().unwrap()],
        people: people.map(|(role, name)| (role, name.parse().unwrap())).to_vec(),
        ..Wanted::default()
    };
    pki::init(dir.path(), &wanted).unwrap();
    dir
}

async fn person(controller: &Running, dir: &Path, name: &str) -> Channel {
    controller.secure(dir, &dir.join("operators"), name).await
}

async fn token(admin: &Channel, name: &str, role: WireRole, from: &[&str]) -> Result<String, Status> {
    let request = CreateTokenRequest {
        name: name.to_owned(),
        role: role.into(),
        life: None,
        addresses: from.iter().map(ToString::to_string).collect(),
    };
    Ok(AccessServiceClient::new(admin.clone()).create_token(request).await?.into_inner().token)
}

fn showing<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_may_call_what_the_table_says_and_nothing_else() {
    let dir = initialised();
    let controller = Running::start(dir.path()).await;
    let admin = person(&controller, dir.path(), "root").await;
    let bare = controller.bare(dir.path()).await;
    let node = controller.secure(dir.path(), &dir.path().join("nodes"), "n1").await;
    let mut callers = vec![(Role::Node, node, None)];
    for (role, wire, name) in [
        (Role::Status, WireRole::Status, "portal"),
        (Role::Billing, WireRole::Billing, "cash"),
        (Role::Viewer, WireRole::Viewer, "auditor"),
        (Role::Operator, WireRole::Operator, "oncall"),
        (Role::Admin, WireRole::Admin, "root"),
    ] {
        callers.push((role, person(&controller, dir.path(), name).await, None));
        callers.push((role, bare.clone(), Some(token(&admin, name, wire, &[]).await.unwrap())));
    }
    for (role, channel, token) in &callers {
        for (path, roles) in access::METHODS.iter().filter(|(path, _)| path.starts_with("/reeve.")) {
            let answer = call(channel, path, token.as_deref()).await;
            let is_at_gate = |status: &Status| status.message().contains("may not call");
            let code = answer.as_ref().err().map(Status::code);
            // An empty enrolment token, invitation or name is no good one, which is for the service to say.
            let says = ["/Enroll", "/BeginSetUp", "/FinishSetUp", "/Login"];
            let is_unknown =
                code == Some(Code::Unauthenticated) && !says.iter().any(|method| path.ends_with(method));
            let is_refused = is_unknown || answer.as_ref().is_err_and(is_at_gate);
            let shown = if token.is_some() { "token" } else { "certificate" };
            assert_eq!(!is_refused, roles.contains(*role), "{role} by {shown}: {path}: {code:?}");
        }
        let unknown = call(channel, "/reeve.operator.v1.OperatorService/Nothing", token.as_deref()).await;
        assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented);
    }
    // Who shows nothing is not even told what there is; and who does so for every method, as here, is told nothing but that after a while.
    let mut curt = 0;
    let unlisted = ["/reeve.x/Y"];
    for path in access::METHODS
        .iter()
        .map(|(path, _)| *path)
        .filter(|path| path.starts_with("/reeve."))
        .chain(unlisted)
    {
        match call(&bare, path, None).await.unwrap_err().code() {
            Code::Unauthenticated => {}
            Code::ResourceExhausted => curt += 1,
            other => panic!("{path}: {other:?}"),
        }
    }
    assert!(curt < access::METHODS.len() / 2, "{curt} were not told why");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_told_once_kept_as_a_hash_and_ends_at_once() {
    let dir = initialised();
    let controller = Running::start(dir.path()).await;
    let admin = person(&controller, dir.path(), "root").await;
    let bare = controller.bare(dir.path()).await;
    let shown = token(&admin, "bridge", WireRole::Viewer, &[]).await.unwrap();
    assert_eq!(token(&admin, "bridge", WireRole::Viewer, &[]).await.unwrap_err().code(), Code::AlreadyExists);
    let who = AccessServiceClient::new(bare.clone()).who_am_i(showing(&shown, WhoAmIRequest {})).await;
    let who = who.unwrap().into_inner();
    assert_eq!(
        (who.name.as_str(), who.role(), who.shown.as_str()),
        ("token.bridge", WireRole::Viewer, "token")
    );
    assert_eq!(who.address, "127.0.0.1");

    // A lesser token goes before a greater certificate.
    let lesser = call(&admin, "/reeve.operator.v1.AccessService/ListTokens", Some(&shown)).await;
    assert_eq!(lesser.unwrap_err().code(), Code::PermissionDenied);

    // Nearly right is wrong.
    for wrong in [&shown[..shown.len() - 1], &format!("{shown}A"), &shown.to_lowercase(), "reeve_", "x y"] {
        assert_eq!(call(&bare, WHO, Some(wrong)).await.unwrap_err().code(), Code::Unauthenticated, "{wrong}");
    }

    // It outlives the controller, and only as a hash.
    controller.stop().await;
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let secret = &shown.as_bytes()[6..];
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{}", path.display());
        }
    }
    let controller = Running::start(dir.path()).await;
    let (admin, bare) = (person(&controller, dir.path(), "root").await, controller.bare(dir.path()).await);
    assert!(call(&bare, WHO, Some(&shown)).await.is_ok());

    let mut access = AccessServiceClient::new(admin.clone());
    let revoke = RevokeTokenRequest { name: "bridge".to_owned() };
    assert!(access.revoke_token(revoke.clone()).await.is_ok());
    assert_eq!(call(&bare, WHO, Some(&shown)).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(access.revoke_token(revoke).await.unwrap_err().code(), Code::NotFound);
    // Its name is free again, and both are listed.
    token(&admin, "bridge", WireRole::Status, &[]).await.unwrap();
    let listed = access.list_tokens(ListTokensRequest {}).await.unwrap().into_inner().tokens;
    let listed: Vec<_> = listed.iter().map(|token| (token.role(), token.revoke_time.is_some())).collect();
    assert_eq!(listed, [(WireRole::Status, false), (WireRole::Viewer, true)]);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_taken_from_its_addresses_and_until_its_end_alone() {
    let dir = initialised();
    let controller = Running::start(dir.path()).await;
    let admin = person(&controller, dir.path(), "root").await;
    let bare = controller.bare(dir.path()).await;
    let here = token(&admin, "here", WireRole::Viewer, &["127.0.0.0/8", "::1"]).await.unwrap();
    let there = token(&admin, "there", WireRole::Viewer, &["192.0.2.0/24", "2001:db8::/32"]).await.unwrap();
    assert!(call(&bare, WHO, Some(&here)).await.is_ok());
    assert_eq!(call(&bare, WHO, Some(&there)).await.unwrap_err().code(), Code::PermissionDenied);
    for (name, addresses, life) in [
        ("../x", vec![], 3_600),
        ("", vec![], 3_600),
        ("x'; DROP TABLE api_tokens; --", vec![], 3_600),
        ("x", vec!["everywhere".to_owned()], 3_600),
        ("x", vec!["192.0.2.0/33".to_owned()], 3_600),
        ("x", vec!["192.0.2.1".to_owned(); 65], 3_600),
        ("x", vec![], 59),
        ("x", vec![], 732 * 86_400),
    ] {
        let life = prost_types::Duration { seconds: life, nanos: 0 };
        let (name, role) = (name.to_owned(), WireRole::Viewer.into());
        let request = CreateTokenRequest { name, role, life: Some(life), addresses };
        let made = AccessServiceClient::new(admin.clone()).create_token(request.clone()).await;
        assert_eq!(made.unwrap_err().code(), Code::InvalidArgument, "{request:?}");
    }
    controller.stop().await;

    // What is over is over: the end is moved to the past, as no clock can be here.
    let ended = "UPDATE api_tokens SET expires = 1 WHERE name = 'here'";
    assert_eq!(common::execute(dir.path(), ended).await, 1);
    let controller = Running::start(dir.path()).await;
    let refused = call(&controller.bare(dir.path()).await, WHO, Some(&here)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("ended"), "{}", refused.message());
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_followed_with_a_token_ends_with_it() {
    let dir = initialised();
    let controller = Running::start(dir.path()).await;
    let admin = person(&controller, dir.path(), "root").await;
    let shown = token(&admin, "screen", WireRole::Viewer, &[]).await.unwrap();
    controller.stop().await;
    // So short a life no token is given; time passes.
    let end = reeve_controller::clock::now() + Duration::from_secs(10);
    let set = format!("UPDATE api_tokens SET expires = {}", end.as_nanos()).leak();
    assert_eq!(common::execute(dir.path(), set).await, 1);
    let controller = Running::start(dir.path()).await;
    let admin = person(&controller, dir.path(), "root").await;
    let other = person(&controller, dir.path(), "auditor").await;
    let mut others = OperatorServiceClient::new(other);
    let mut others = others.watch(WatchRequest::default()).await.unwrap().into_inner();
    let mut client = OperatorServiceClient::new(admin);
    let mut followed = client.watch(showing(&shown, WatchRequest::default())).await.unwrap().into_inner();
    let cut = async { while followed.message().await.is_ok_and(|told| told.is_some()) {} };
    tokio::time::timeout(Duration::from_secs(15), cut).await.expect("it ends with the token");
    assert!(reeve_controller::clock::now() >= end, "and not before");
    let goes_on = tokio::time::timeout(Duration::from_millis(200), others.message()).await;
    assert!(goes_on.is_err() || goes_on.unwrap().is_ok(), "nobody else's does");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn billing_suspends_until_an_invoice_is_paid_and_not_otherwise() {
    let dir = initialised();
    let controller = Running::start(dir.path()).await;
    let admin = person(&controller, dir.path(), "root").await;
    let billing = person(&controller, dir.path(), "cash").await;
    let tenant = reeve_proto::types::v1::Tenant {
        id: "alice".into(),
        addresses: vec!["203.0.113.0/28".into()],
        ..Default::default()
    };
    let import = ImportTenantsRequest { tenants: vec![tenant], method: 2, ..Default::default() };
    OperatorServiceClient::new(admin.clone()).import_tenants(import).await.unwrap();
    let suspend = |until_paid| SuspendRequest {
        tenant: "alice".into(),
        reason: "x".into(),
        until_paid,
        ..Default::default()
    };
    let mut client = OperatorServiceClient::new(billing);
    assert_eq!(client.suspend(suspend(false)).await.unwrap_err().code(), Code::PermissionDenied);
    assert!(client.suspend(suspend(true)).await.is_ok());
    assert!(OperatorServiceClient::new(admin).suspend(suspend(false)).await.is_ok());
    controller.stop().await;
}
