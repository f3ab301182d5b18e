//! Attacks on a running controller, each over real sockets and real TLS, and each shown to fail. Bounded in count and time.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{Agent, Running, call};
use reeve_controller::auth::{MAX_PENDING_OF_ADDRESS, PATIENCE, Role};
use reeve_controller::pki::{self, Wanted};
use reeve_policy::{Loss, Report, Timestamp, Violation, ViolationId, ViolationState, Window};
use reeve_proto::agent::v1::agent_service_client::AgentServiceClient;
use reeve_proto::agent::v1::enrolment_service_client::EnrolmentServiceClient;
use reeve_proto::agent::v1::{ConnectRequest, EnrollRequest, RenewRequest, connect_request};
use reeve_proto::operator::v1::access_service_client::AccessServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{
    CreateEnrolmentTokenRequest, CreateTokenRequest, ImportTenantsRequest, ListNodesRequest,
    ListTenantsRequest, ListViolationsRequest, RevokeRequest, RevokeTokenRequest, Role as WireRole,
    SuspendRequest, WatchRequest, revoke_request,
};
use reeve_proto::session::{Hello, ProtocolVersion, Up};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

const WHO: &str = "/reeve.operator.v1.AccessService/WhoAmI";
const SUSPEND: &str = "/reeve.operator.v1.OperatorService/Suspend";
const LIST: &str = "/reeve.operator.v1.OperatorService/ListNodes";

fn init(dir: &Path) {
    let wanted = Wanted {
        nodes: ["n1", "n2"].map(|name| name.parse().unwrap()).to_vec(),
        people: [(Role::Admin, "root"), (Role::Operator, "oncall")]
            .map(|(role, name)| (role, name.parse().unwrap()))
            .to_vec(),
        ..Wanted::default()
    };
    pki::init(dir, &wanted).unwrap();
}

/// A controller with certificates, and its folder.
async fn house() -> (tempfile::TempDir, Running) {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let controller = Running::start(dir.path()).await;
    (dir, controller)
}

async fn person(controller: &Running, dir: &Path, name: &str) -> Channel {
    controller.secure(dir, &dir.join("operators"), name).await
}

async fn node(controller: &Running, dir: &Path, name: &str) -> Channel {
    controller.secure(dir, &dir.join("nodes"), name).await
}

/// A channel that does not connect before it is used: the handshake's end is told by the first call.
fn lazy(controller: &Running, dir: &Path, identity: Option<(&str, &str)>) -> Channel {
    let ca = std::fs::read(dir.join("ca.crt")).unwrap();
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    if let Some((certificate, key)) = identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let endpoint = Endpoint::from_shared(format!("https://{}", controller.address)).unwrap();
    endpoint.connect_timeout(Duration::from_secs(10)).tls_config(tls).unwrap().connect_lazy()
}

/// A key, and a request for a certificate for it.
fn request() -> (String, Vec<u8>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::new(Vec::new()).unwrap().serialize_request(&key).unwrap();
    (key.serialize_pem(), request.der().to_vec())
}

async fn enrolment_token(admin: &Channel, node: &str) -> String {
    let request = CreateEnrolmentTokenRequest { node: node.to_owned(), life: None };
    AccessServiceClient::new(admin.clone()).create_enrolment_token(request).await.unwrap().into_inner().token
}

/// Enrols; the certificate and the key.
async fn enrol(channel: &Channel, token: &str) -> Result<(String, String), Status> {
    let (key, certificate_request) = request();
    let request = EnrollRequest { token: token.to_owned(), certificate_request };
    let answer = EnrolmentServiceClient::new(channel.clone()).enroll(request).await?.into_inner();
    Ok((answer.certificate, key))
}

async fn token(admin: &Channel, name: &str, role: WireRole) -> String {
    let request =
        CreateTokenRequest { name: name.to_owned(), role: role.into(), life: None, addresses: Vec::new() };
    AccessServiceClient::new(admin.clone()).create_token(request).await.unwrap().into_inner().token
}

async fn revoke_node(admin: &Channel, node: &str) -> u32 {
    let request = RevokeRequest {
        subject: Some(revoke_request::Subject::Node(node.to_owned())),
        reason: "stolen".to_owned(),
    };
    AccessServiceClient::new(admin.clone()).revoke(request).await.unwrap().into_inner().connections_cut
}

fn code(result: Result<(), Status>) -> Code {
    result.err().map_or(Code::Ok, |status| status.code())
}

/// Waits until something holds, and says how long that took.
async fn until(what: &str, patience: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < patience, "{what}: not within {patience:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_or_a_token_nothing_is_answered() {
    let (dir, controller) = house().await;
    let bare = lazy(&controller, dir.path(), None);
    for path in [WHO, SUSPEND, LIST, "/reeve.agent.v1.AgentService/Connect", "/x.Y/Z"] {
        assert_eq!(code(call(&bare, path, None).await), Code::Unauthenticated, "{path}");
    }
    let plain = Endpoint::from_shared(format!("http://{}", controller.address)).unwrap().connect_lazy();
    assert_ne!(code(call(&plain, WHO, None).await), Code::Ok, "without TLS");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authoritys_certificate_does_not_pass_the_handshake() {
    let (dir, controller) = house().await;
    let foreign = tempfile::tempdir().unwrap();
    init(foreign.path());
    for (folder, name) in [("operators", "root"), ("nodes", "n1")] {
        let read = |end: &str| {
            std::fs::read_to_string(foreign.path().join(folder).join(format!("{name}.{end}"))).unwrap()
        };
        let stranger = lazy(&controller, dir.path(), Some((&read("crt"), &read("key"))));
        let refused = call(&stranger, WHO, None).await.unwrap_err();
        assert!(matches!(refused.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{refused:?}");
    }
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_does_not_pass_and_a_stream_does_not_outlive_its_own() {
    let (dir, controller) = house().await;
    let authority = pki::Authority::load(dir.path()).unwrap();
    let sign = |life| {
        let (key, request) = request();
        let (name, now) = ("n1".parse().unwrap(), reeve_controller::clock::now());
        (authority.sign(&request, Role::Node, &name, now, Duration::from_secs(life)).unwrap(), key)
    };
    let (certificate, key) = sign(4);
    let channel = lazy(&controller, dir.path(), Some((&certificate, &key)));
    let (mut agent, _) = Agent::greet(channel, "n1", 1).await.unwrap();
    let began = Instant::now();
    while agent.next().await.is_ok() {}
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    let late = lazy(&controller, dir.path(), Some((&certificate, &key)));
    let refused = code(call(&late, "/reeve.agent.v1.EnrolmentService/Renew", None).await);
    assert!(!matches!(refused, Code::Ok | Code::InvalidArgument), "{refused:?}");
    // The same with one that holds gets as far as its empty request.
    let (certificate, key) = sign(600);
    let good = lazy(&controller, dir.path(), Some((&certificate, &key)));
    assert_eq!(
        code(call(&good, "/reeve.agent.v1.EnrolmentService/Renew", None).await),
        Code::InvalidArgument
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_a_node_ends_its_stream_at_once_and_lasts() {
    let (dir, controller) = house().await;
    let admin = person(&controller, dir.path(), "root").await;
    let (n1, n2) = (node(&controller, dir.path(), "n1").await, node(&controller, dir.path(), "n2").await);
    let (mut first, _) = Agent::greet(n1, "n1", 1).await.unwrap();
    let (second, _) = Agent::greet(n2, "n2", 1).await.unwrap();
    let waiting = enrolment_token(&admin, "n1").await;
    let began = Instant::now();
    assert_eq!(revoke_node(&admin, "n1").await, 1);
    let ended = tokio::time::timeout(Duration::from_secs(5), async { while first.next().await.is_ok() {} });
    ended.await.expect("the stream ends");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let connected = async |name: &str| {
        let mut client = OperatorServiceClient::new(admin.clone());
        let nodes = client.list_nodes(ListNodesRequest::default()).await.unwrap().into_inner().nodes;
        nodes.iter().any(|node| node.name == name && node.connected)
    };
    until("n1 to be away", Duration::from_secs(5), async || !connected("n1").await).await;
    assert!(connected("n2").await, "nobody else is touched");

    // It is not taken again: by a stream, by a renewal, by the enrolment token that waited, and not after a restart.
    let refused = |controller: &Running| lazy_node(controller, dir.path(), "n1");
    assert_eq!(
        Agent::greet(refused(&controller), "n1", 1).await.err().unwrap().code(),
        Code::Unauthenticated
    );
    let renewal = EnrolmentServiceClient::new(refused(&controller))
        .renew(RenewRequest { certificate_request: request().1 })
        .await;
    assert_eq!(renewal.unwrap_err().code(), Code::Unauthenticated);
    let bare = lazy(&controller, dir.path(), None);
    assert_eq!(enrol(&bare, &waiting).await.unwrap_err().code(), Code::Unauthenticated);
    drop((first, second));
    controller.stop().await;
    let controller = Running::start(dir.path()).await;
    assert_eq!(
        Agent::greet(refused(&controller), "n1", 1).await.err().unwrap().code(),
        Code::Unauthenticated
    );

    // It is back with another enrolment.
    let admin = person(&controller, dir.path(), "root").await;
    let fresh = enrolment_token(&admin, "n1").await;
    let (certificate, key) = enrol(&lazy(&controller, dir.path(), None), &fresh).await.unwrap();
    let channel = lazy(&controller, dir.path(), Some((&certificate, &key)));
    assert!(Agent::greet(channel, "n1", 1).await.is_ok());
    controller.stop().await;
}

fn lazy_node(controller: &Running, dir: &Path, name: &str) -> Channel {
    let read = |end: &str| std::fs::read_to_string(dir.join("nodes").join(format!("{name}.{end}"))).unwrap();
    lazy(controller, dir, Some((&read("crt"), &read("key"))))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_revoked_certificate_was_renewed_to_is_revoked_too() {
    let (dir, controller) = house().await;
    let admin = person(&controller, dir.path(), "root").await;
    let bare = lazy(&controller, dir.path(), None);
    let (certificate, key) = enrol(&bare, &enrolment_token(&admin, "n7").await).await.unwrap();
    let channel = lazy(&controller, dir.path(), Some((&certificate, &key)));
    let (next_key, certificate_request) = request();
    let renewed = EnrolmentServiceClient::new(channel).renew(RenewRequest { certificate_request }).await;
    let renewed = renewed.unwrap().into_inner().certificate;
    let next = || lazy(&controller, dir.path(), Some((&renewed, &next_key)));
    assert!(Agent::greet(next(), "n7", 1).await.is_ok());
    revoke_node(&admin, "n7").await;
    assert_eq!(Agent::greet(next(), "n7", 1).await.err().unwrap().code(), Code::Unauthenticated);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_a_token_or_a_person_ends_what_they_watch() {
    let (dir, controller) = house().await;
    let admin = person(&controller, dir.path(), "root").await;
    let bare = controller.bare(dir.path()).await;
    let shown = token(&admin, "watcher", WireRole::Viewer).await;
    let mut watch = Request::new(WatchRequest::default());
    watch.metadata_mut().insert("authorization", format!("Bearer {shown}").parse().unwrap());
    let mut by_token = OperatorServiceClient::new(bare).watch(watch).await.unwrap().into_inner();
    let oncall = person(&controller, dir.path(), "oncall").await;
    let mut by_person =
        OperatorServiceClient::new(oncall).watch(WatchRequest::default()).await.unwrap().into_inner();
    let mut access = AccessServiceClient::new(admin.clone());
    access.revoke_token(RevokeTokenRequest { name: "watcher".to_owned() }).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), by_token.message()).await.expect("it ends");
    assert!(ended.is_err());
    let subject = Some(revoke_request::Subject::Person("oncall".to_owned()));
    access.revoke(RevokeRequest { subject, reason: String::new() }).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), by_person.message()).await.expect("it ends");
    assert!(ended.is_err());
    assert!(call(&admin, WHO, None).await.is_ok(), "nobody else is touched");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_certificate_is_of_no_use_at_the_operators_door() {
    let (dir, controller) = house().await;
    let admin = person(&controller, dir.path(), "root").await;
    import(&admin, "alice", "n2/tap0").await;
    let stolen = node(&controller, dir.path(), "n1").await;
    let suspend = SuspendRequest { tenant: "alice".into(), reason: "x".into(), ..Default::default() };
    let mut operator = OperatorServiceClient::new(stolen.clone());
    assert_eq!(operator.suspend(suspend).await.unwrap_err().code(), Code::PermissionDenied);
    let list = operator.list_tenants(ListTenantsRequest::default()).await;
    assert_eq!(list.unwrap_err().code(), Code::PermissionDenied);
    for path in ["/reeve.status.v1.StatusService/GetStatus", WHO, LIST] {
        assert_eq!(code(call(&stolen, path, None).await), Code::PermissionDenied, "{path}");
    }
    // Nor as another node.
    let other = Agent::greet(stolen.clone(), "n2", 1).await.err().unwrap();
    assert_eq!(other.code(), Code::PermissionDenied);
    // Nor can it make itself one: the name of a renewed certificate is its own, whatever the request asks for.
    let key = rcgen::KeyPair::generate().unwrap();
    let mut asked = rcgen::CertificateParams::new(vec!["n2".to_owned()]).unwrap();
    asked.subject_alt_names = vec![rcgen::SanType::URI("reeve://admin/root".try_into().unwrap())];
    asked.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate_request = asked.serialize_request(&key).unwrap().der().to_vec();
    let renewed = EnrolmentServiceClient::new(stolen).renew(RenewRequest { certificate_request }).await;
    let renewed = renewed.unwrap().into_inner().certificate;
    let (_, pem) = x509_parser::pem::parse_x509_pem(renewed.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    assert!(!certificate.is_ca());
    let holder = reeve_controller::identity::read(&pem.contents).unwrap();
    assert_eq!((holder.role, holder.name.as_str()), (Role::Node, "n1"));
    controller.stop().await;
}

async fn import(channel: &Channel, id: &str, interface: &str) {
    let tenant = reeve_proto::types::v1::Tenant {
        id: id.into(),
        interfaces: vec![interface.into()],
        ..Default::default()
    };
    let request = ImportTenantsRequest { tenants: vec![tenant], method: 2, ..Default::default() };
    OperatorServiceClient::new(channel.clone()).import_tenants(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_lesser_role_does_no_more_than_its_role() {
    let (dir, controller) = house().await;
    let admin = person(&controller, dir.path(), "root").await;
    let bare = controller.bare(dir.path()).await;
    for (name, role, may_list) in
        [("s", WireRole::Status, false), ("b", WireRole::Billing, false), ("v", WireRole::Viewer, true)]
    {
        let shown = token(&admin, name, role).await;
        assert_eq!(code(call(&bare, LIST, Some(&shown)).await) == Code::Ok, may_list, "{name}");
        for path in [
            SUSPEND,
            "/reeve.operator.v1.OperatorService/Release",
            "/reeve.operator.v1.OperatorService/Pause",
            "/reeve.operator.v1.AccessService/CreateToken",
            "/reeve.operator.v1.AccessService/Revoke",
            "/reeve.agent.v1.AgentService/Connect",
        ] {
            assert_eq!(code(call(&bare, path, Some(&shown)).await), Code::PermissionDenied, "{name}: {path}");
        }
        // Shown with a greater certificate it is still the token that counts.
        assert_eq!(code(call(&admin, SUSPEND, Some(&shown)).await), Code::PermissionDenied, "{name}");
    }
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_token_is_good_once_and_for_its_node_alone() {
    let (dir, controller) = house().await;
    let admin = person(&controller, dir.path(), "root").await;
    let bare = lazy(&controller, dir.path(), None);
    let first = enrolment_token(&admin, "n9").await;
    // Ten at a time: one comes through.
    let all = (0..10).map(|_| {
        let (bare, first) = (bare.clone(), first.clone());
        tokio::spawn(async move { enrol(&bare, &first).await })
    });
    let mut enrolled = Vec::new();
    for one in all.collect::<Vec<_>>() {
        enrolled.extend(one.await.unwrap().ok());
    }
    assert_eq!(enrolled.len(), 1);
    assert_eq!(enrol(&bare, &first).await.unwrap_err().code(), Code::Unauthenticated);
    let (certificate, key) = &enrolled[0];
    let channel = lazy(&controller, dir.path(), Some((certificate, key)));
    let other = Agent::greet(channel.clone(), "n1", 1).await.err().unwrap();
    assert_eq!(other.code(), Code::PermissionDenied);
    assert!(Agent::greet(channel, "n9", 1).await.is_ok());
    // A newer one takes the place of one that was not used, and neither is a token for anything else.
    let (older, newer) = (enrolment_token(&admin, "n9").await, enrolment_token(&admin, "n9").await);
    assert_eq!(enrol(&bare, &older).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(code(call(&bare, LIST, Some(&newer)).await), Code::Unauthenticated);
    // What is wrong with the request does not spend it.
    let unsound = EnrollRequest { token: newer.clone(), certificate_request: vec![0x30; 100] };
    let refused = EnrolmentServiceClient::new(bare.clone()).enroll(unsound).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(enrol(&bare, &newer).await.is_ok());
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_by_the_hundred_keep_nobody_else_out() {
    let (dir, controller) = house().await;
    let admin = person(&controller, dir.path(), "root").await;
    let shown = token(&admin, "good", WireRole::Viewer).await;
    let bare = controller.bare(dir.path()).await;
    let mut curt = 0;
    for number in 0..300 {
        let refused = code(call(&bare, WHO, Some(&format!("reeve_{number}"))).await);
        assert!(matches!(refused, Code::Unauthenticated | Code::ResourceExhausted), "{refused:?}");
        curt += usize::from(refused == Code::ResourceExhausted);
    }
    assert!(curt > 0, "the flood is answered curtly");
    assert!(
        call(&bare, WHO, Some(&shown)).await.is_ok(),
        "who shares the address, and the connection, gets in"
    );
    assert!(call(&admin, WHO, None).await.is_ok());
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_and_malformed_messages_are_refused_and_harm_nobody() {
    let (dir, controller) = house().await;
    let admin = person(&controller, dir.path(), "root").await;
    // A stranger's message is small, or none.
    let bare = lazy(&controller, dir.path(), None);
    let large = EnrollRequest { token: "x".repeat(1 << 20), certificate_request: Vec::new() };
    let refused = EnrolmentServiceClient::new(bare.clone()).enroll(large).await.unwrap_err();
    assert!(matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted), "{refused:?}");
    // Headers, too.
    let long = format!("reeve_{}", "x".repeat(64 << 10));
    assert_ne!(code(call(&bare, WHO, Some(&long)).await), Code::Ok);
    // Bytes that are no TLS, no HTTP, no gRPC.
    for number in 0..64_u8 {
        let mut stream = TcpStream::connect(controller.address).await.unwrap();
        let noise: Vec<u8> = (0..2_000_u32).map(|at| (at as u8).wrapping_mul(number | 1) ^ number).collect();
        // It may hang up before it has read it all.
        let _ = stream.write_all(&noise).await;
    }
    // A message that says it is longer than it is, and one that says it is longer than any.
    for (name, body) in [("short", vec![0, 0, 0, 0, 9, 1]), ("endless", vec![0, 255, 255, 255, 255, 1])] {
        let refused = raw(&admin, SUSPEND, body).await;
        assert_ne!(refused, Code::Ok, "{name}");
    }
    assert_eq!(raw(&admin, SUSPEND, [&[0, 0, 0, 0, 4][..], &[0xff; 4]].concat()).await, Code::Internal);
    assert!(call(&admin, WHO, None).await.is_ok());
    controller.stop().await;
}

/// Calls with a body that is not made by gRPC.
async fn raw(channel: &Channel, path: &str, body: Vec<u8>) -> Code {
    use tonic::codegen::{Body as _, Service as _, http};
    let mut channel = channel.clone();
    std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(http_body_util::Full::from(body)))
        .unwrap();
    let Ok(answer) = channel.call(request).await else { return Code::Unavailable };
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return status.code();
    }
    let mut body = std::pin::pin!(answer.into_body());
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
        if let Some(status) = frame.ok().and_then(|frame| Status::from_header_map(frame.trailers_ref()?)) {
            return status.code();
        }
    }
    Code::Ok
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_read_slowly_hold_up_nobody_and_can_be_cut() {
    let (dir, controller) = house().await;
    let admin = person(&controller, dir.path(), "root").await;
    let slow = node(&controller, dir.path(), "n1").await;
    // A stream that nobody reads, and watchers that do not either.
    let (agent, _) = Agent::greet(slow, "n1", 1).await.unwrap();
    let mut watchers = Vec::new();
    for _ in 0..20 {
        let watcher = person(&controller, dir.path(), "oncall").await;
        watchers.push(OperatorServiceClient::new(watcher).watch(WatchRequest::default()).await.unwrap());
    }
    let began = Instant::now();
    for round in 0..30 {
        // Each import is told to every stream, with all tenants.
        for number in 0..10 {
            import(&admin, &format!("t{round}-{number}"), &format!("n1/tap{round}-{number}")).await;
        }
        assert!(call(&admin, LIST, None).await.is_ok());
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(revoke_node(&admin, "n1").await, 1);
    let nodes = async || {
        let mut client = OperatorServiceClient::new(admin.clone());
        client.list_nodes(ListNodesRequest::default()).await.unwrap().into_inner().nodes
    };
    until("the slow node to be away", Duration::from_secs(5), async || !nodes().await[0].connected).await;
    drop((agent, watchers));
    controller.stop().await;
}

/// One end of a connection that says as little as it can.
async fn half_open(controller: &Running, kind: usize) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(controller.address).await.ok()?;
    // Nothing, or how a handshake begins (RFC 8446, 5.1: a record of 512 bytes, of which one comes).
    if kind % 2 == 1 {
        let _ = stream.write_all(&[0x16, 3, 1, 2, 0, 1]).await;
    }
    Some(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_half_open_connections_keep_nobody_out_and_go_by_themselves() {
    const ALL: usize = 10_000;
    let (dir, controller) = house().await;
    let admin = person(&controller, dir.path(), "root").await;
    let held = node(&controller, dir.path(), "n1").await;
    let (mut agent, _) = Agent::greet(held, "n1", 1).await.unwrap();
    let mut open = Vec::with_capacity(ALL);
    let began = Instant::now();
    for number in 0..ALL {
        // Those that were cut are let go, so that this side does not run out of files before the other.
        if open.len() >= 2_000 {
            open.drain(..1_000);
        }
        open.extend(half_open(&controller, number).await);
        assert!(began.elapsed() < Duration::from_secs(120), "{number} after {:?}", began.elapsed());
        if number % 1_000 == 999 {
            // In the middle of it, from the same address: somebody new, and who was there.
            let asked = Instant::now();
            let fresh = person(&controller, dir.path(), "oncall").await;
            assert!(call(&fresh, WHO, None).await.is_ok());
            assert!(call(&admin, WHO, None).await.is_ok());
            assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        }
    }
    agent.report(1, violation()).await;
    agent.acknowledged(1).await;
    // The most that are kept are far fewer, and those go when their time is over.
    let count = async |open: &mut Vec<TcpStream>| {
        let mut alive = 0;
        for stream in open {
            let mut byte = [0];
            let read = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut byte)).await;
            alive += usize::from(read.is_err());
        }
        alive
    };
    let alive = count(&mut open).await;
    assert!(alive <= MAX_PENDING_OF_ADDRESS, "{alive} are kept");
    tokio::time::sleep(PATIENCE + Duration::from_secs(2)).await;
    assert_eq!(count(&mut open).await, 0);
    assert!(call(&admin, WHO, None).await.is_ok());
    controller.stop().await;
}

fn violation() -> Report {
    let at = Timestamp::from_secs(1_000);
    let (node, tenant, rule) = ("n1".parse().unwrap(), "alice".parse().unwrap(), "portscan".parse().unwrap());
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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sql_or_a_header_or_a_path_is_a_text_or_refused() {
    let (dir, controller) = house().await;
    let admin = person(&controller, dir.path(), "root").await;
    import(&admin, "alice", "n1/tap0").await;
    let mut operator = OperatorServiceClient::new(admin.clone());
    let mut access = AccessServiceClient::new(admin.clone());
    for evil in [
        "x'; DROP TABLE tenants; --",
        "x' OR '1'='1",
        "\"; DELETE FROM api_tokens; --",
        "x\r\nauthorization: Bearer y",
        "x\r\n\r\nHTTP/1.1 200 OK",
        "../../../../etc/passwd",
        "..",
        "/etc/shadow",
        "a/../../b",
        "x\0y",
        "%2e%2e%2f",
        "$1",
    ] {
        // Whatever is a key is refused.
        let refused = [
            operator
                .list_tenants(ListTenantsRequest { tenant: evil.into(), ..Default::default() })
                .await
                .err(),
            operator
                .list_tenants(ListTenantsRequest { page_token: evil.into(), ..Default::default() })
                .await
                .err(),
            operator
                .list_violations(ListViolationsRequest { tenant: evil.into(), ..Default::default() })
                .await
                .err(),
            operator
                .list_violations(ListViolationsRequest { page_token: evil.into(), ..Default::default() })
                .await
                .err(),
            operator
                .suspend(SuspendRequest { tenant: evil.into(), reason: "x".into(), ..Default::default() })
                .await
                .err(),
            access
                .create_enrolment_token(CreateEnrolmentTokenRequest { node: evil.into(), life: None })
                .await
                .err(),
            access.revoke_token(RevokeTokenRequest { name: evil.into() }).await.err(),
            access
                .revoke(RevokeRequest {
                    subject: Some(revoke_request::Subject::Node(evil.into())),
                    reason: String::new(),
                })
                .await
                .err(),
            access
                .create_token(CreateTokenRequest {
                    name: evil.into(),
                    role: WireRole::Viewer.into(),
                    ..Default::default()
                })
                .await
                .err(),
        ];
        for (place, refused) in refused.into_iter().enumerate() {
            let refused = refused.unwrap_or_else(|| panic!("{evil:?} was taken at place {place}"));
            assert_eq!(refused.code(), Code::InvalidArgument, "{evil:?} at place {place}: {refused:?}");
            assert!(refused.metadata().get("authorization").is_none(), "no header came of it");
        }
        assert!(evil.parse::<reeve_policy::Name>().is_err(), "no name, so no file's either");
        // What is a text comes back as it was, or is refused; either way it is no statement.
        let reason = evil.to_owned();
        let key = format!("k{}", evil.len());
        let suspend =
            SuspendRequest { tenant: "alice".into(), reason, idempotency_key: key, ..Default::default() };
        if let Err(refused) = operator.suspend(suspend).await {
            assert!(
                matches!(refused.code(), Code::InvalidArgument | Code::AlreadyExists),
                "{evil:?}: {refused:?}"
            );
        }
    }
    let tenants = operator.list_tenants(ListTenantsRequest::default()).await.unwrap().into_inner().tenants;
    assert_eq!(tenants.len(), 1);
    assert!(!dir.path().join("nodes/..crt").exists());
    controller.stop().await;
}

/// A controller of its own process, without certificates; what it logs goes to a file.
struct Logging(std::process::Child);

impl Drop for Logging {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_say_is_never_a_line_of_the_log_of_its_own() {
    let forged = "2026-01-01T00:00:00.000000Z  INFO a tenant was released tenant=alice";
    let evil = format!("x\r\n{forged}\n\u{1b}[2J\u{9b}0m");
    for format in ["text", "json"] {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let _controller = Logging(
            std::process::Command::new(env!("CARGO_BIN_EXE_reeve-controller"))
                .args([
                    "run",
                    "--log",
                    "debug",
                    "--log-format",
                    format,
                    "--listen",
                    &format!("127.0.0.1:{port}"),
                ])
                .arg("--dir")
                .arg(dir.path())
                .stderr(std::fs::File::create(&log).unwrap())
                .spawn()
                .unwrap(),
        );
        let read = || std::fs::read_to_string(&log).unwrap();
        until("it listens", PATIENCE, async || read().contains("listening")).await;
        let channel =
            Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect().await.unwrap();

        // The version of an agent, and a report that cannot be read, whose words are in what is said against it.
        let (up, receiver) = tokio::sync::mpsc::channel(8);
        let hello = Hello {
            node: "n1".parse().unwrap(),
            agent_version: evil.clone(),
            protocol: ProtocolVersion::CURRENT,
            epoch: 1,
            tenants_version: 0,
            measures: Vec::new(),
            pauses: Vec::new(),
            policy: String::new(),
            policy_held: None,
        };
        up.send((&Up::Hello(hello)).into()).await.unwrap();
        let mut report = ConnectRequest::from(&Up::Report { sequence: 1, report: Ok(Box::new(violation())) });
        if let Some(connect_request::Message::Report(sequenced)) = &mut report.message
            && let Some(reeve_proto::agent::v1::Report {
                report: Some(reeve_proto::agent::v1::report::Report::Violation(found)),
            }) = &mut sequenced.report
        {
            found.tenant = evil.clone();
        }
        up.send(report).await.unwrap();
        let mut agent = AgentServiceClient::new(channel.clone());
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let _down = agent.connect(stream).await.unwrap();
        until("the report is thrown away", PATIENCE, async || read().contains("thrown away")).await;
        // What people say: a name, a reason.
        let mut operator = OperatorServiceClient::new(channel.clone());
        let suspend = SuspendRequest { tenant: evil.clone(), reason: evil.clone(), ..Default::default() };
        assert_eq!(operator.suspend(suspend).await.unwrap_err().code(), Code::InvalidArgument);
        let mut access = AccessServiceClient::new(channel.clone());
        let subject = Some(revoke_request::Subject::Node("n1".into()));
        let _ = access.revoke(RevokeRequest { subject, reason: evil.clone() }).await;

        let text = read();
        assert!(
            text.contains("a tenant was released"),
            "it is logged what was said, or nothing is tried here: {text}"
        );
        for line in text.lines() {
            assert!(!line.starts_with(forged), "forged: {text}");
            if format == "json" {
                assert!(
                    serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line.is_object()),
                    "{line}"
                );
            } else {
                assert!(line.starts_with("20") && !line.contains(char::is_control), "{line:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_a_path_is_no_file_and_what_is_said_is_no_header() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    import(&controller.plain().await, "alice", "n1/tap0").await;
    let ask = async |request: String| {
        let mut stream = TcpStream::connect(controller.http).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it ends").unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    };
    let get =
        |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{more}Connection: close\r\n\r\n");
    assert_eq!(ask(get("/v1/status/tenants/alice", "")).await.0, 200);
    for path in [
        "/../../../../etc/passwd",
        "/v1/../controller.toml",
        "/v1/openapi.json/../../reeve.db",
        "/v1/status/tenants/..%2f..%2f..%2fetc%2fpasswd",
        "/v1/status/tenants/%2e%2e",
        "/v1/status/interfaces/n1/..%2f..%2freeve.db",
        "/v1/status/tenants/alice%00.json",
        "//etc/passwd",
        "/reeve.db",
    ] {
        let (status, answer) = ask(get(path, "")).await;
        assert!(
            [400, 404].contains(&status) && !answer.contains("root:") && !answer.contains("SQLite"),
            "{path}: {answer}"
        );
    }
    let lines = "%0d%0aSet-Cookie:%20a=b%0d%0a%0d%0aHTTP/1.1%20200%20OK";
    for (path, more) in [
        (format!("/v1/status/tenants/alice{lines}"), String::new()),
        (format!("/v1/status/addresses/{lines}"), String::new()),
        (format!("/v1/status:watch?resume={lines}"), String::new()),
        (format!("/v1/status:watch?tenant={lines}"), String::new()),
        (format!("/{lines}"), String::new()),
        ("/v1/status:watch".to_owned(), "Last-Event-ID: x%0d%0aSet-Cookie: a=b\r\n".to_owned()),
        // A bare carriage return is in no header.
        ("/v1/status/tenants/alice".to_owned(), "If-None-Match: \"x\rSet-Cookie: a=b\"\r\n".to_owned()),
        // Of two lengths neither is believed.
        ("/v1/status:batchGet".to_owned(), "Content-Length: 1\r\nContent-Length: 2\r\n".to_owned()),
    ] {
        let (status, answer) = ask(get(&path, &more)).await;
        let head = answer.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
        assert!((400..500).contains(&status) && !head.contains("set-cookie"), "{path} {more:?}: {answer}");
        let answers = answer.lines().filter(|line| line.starts_with("HTTP/1.1 ")).count();
        assert_eq!(answers, 1, "{path}: {answer}");
    }
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_has_an_allow_list_is_taken_from_there_alone() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let settings =
        "[access.allow]\nadmin = [\"192.0.2.0/24\", \"2001:db8::/32\"]\noperator = [\"127.0.0.1\"]\n";
    std::fs::write(dir.path().join("controller.toml"), settings).unwrap();
    let controller = Running::start(dir.path()).await;
    let admin = person(&controller, dir.path(), "root").await;
    let operator = person(&controller, dir.path(), "oncall").await;
    assert_eq!(code(call(&admin, WHO, None).await), Code::PermissionDenied);
    assert!(call(&operator, WHO, None).await.is_ok());
    let agent = node(&controller, dir.path(), "n1").await;
    assert!(Agent::greet(agent, "n1", 1).await.is_ok(), "a role without a list comes from everywhere");
    controller.stop().await;
}
