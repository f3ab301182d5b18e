//! What the controller tells of its health, and of its services; what is wrong is really so.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{Agent, IS_ON_POSTGRES, Running, alice, import, share};
use reeve_cluster::Cluster;
use reeve_controller::auth::Role;
use reeve_controller::pki::{self, Wanted};
use reeve_proto::status::v1::status_service_client::StatusServiceClient;
use reeve_proto::status::v1::{GetStatusRequest, get_status_request::Subject};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

const OPERATOR: &str = "reeve.operator.v1.OperatorService";
const STATUS: &str = "reeve.status.v1.StatusService";
const ALL: [&str; 7] = [
    "",
    "reeve.agent.v1.AgentService",
    "reeve.agent.v1.EnrolmentService",
    "reeve.operator.v1.AccessService",
    "reeve.operator.v1.AuditService",
    OPERATOR,
    STATUS,
];
const PATIENCE: Duration = Duration::from_secs(60);

async fn check(channel: &Channel, service: &str) -> Result<ServingStatus, Status> {
    let request = HealthCheckRequest { service: service.into() };
    Ok(HealthClient::new(channel.clone()).check(request).await?.into_inner().status())
}

/// Waits until the whole is told to be well, or not.
async fn until(channel: &Channel, status: ServingStatus) {
    let end = Instant::now() + PATIENCE;
    while check(channel, "").await.unwrap() != status {
        assert!(Instant::now() < end, "{status:?} in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The names of the services that the controller tells.
async fn services(channel: &Channel) -> Result<BTreeSet<String>, Status> {
    let asked = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel.clone());
    let mut told = client.server_reflection_info(tokio_stream::once(asked)).await?.into_inner();
    match told.message().await?.unwrap().message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => {
            Ok(list.service.into_iter().map(|one| one.name).collect())
        }
        other => panic!("{other:?}"),
    }
}

fn with_certificates(dir: &Path) {
    let wanted = Wanted {
        nodes: vec!["n1".parse().unwrap()],
        people: vec![(Role::Viewer, "auditor".parse().unwrap())],
        ..Wanted::default()
    };
    pki::init(dir, &wanted).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_known_may_ask_and_readers_are_told_the_services() {
    let dir = tempfile::tempdir().unwrap();
    with_certificates(dir.path());
    let controller = Running::start(dir.path()).await;
    let node = controller.secure(dir.path(), &dir.path().join("nodes"), "n1").await;
    let viewer = controller.secure(dir.path(), &dir.path().join("operators"), "auditor").await;
    for service in ALL {
        for channel in [&node, &viewer] {
            assert_eq!(check(channel, service).await.unwrap(), ServingStatus::Serving, "{service}");
        }
    }
    assert_eq!(check(&node, "reeve.Nothing").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(controller.beside_metrics("/readyz").await, (200, "ok\n".to_owned()));

    let told = services(&viewer).await.unwrap();
    let missing: Vec<_> = ALL.iter().filter(|name| !name.is_empty() && !told.contains(**name)).collect();
    assert!(missing.is_empty() && told.contains("grpc.health.v1.Health"), "{missing:?} of {told:?}");

    let stranger = controller.bare(dir.path()).await;
    assert_eq!(check(&stranger, "").await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(services(&stranger).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(services(&node).await.unwrap_err().code(), Code::PermissionDenied);
    controller.stop().await;

    // The services can be kept to oneself.
    let settings = dir.path().join("controller.toml");
    let before = std::fs::read_to_string(&settings).unwrap_or_default();
    std::fs::write(&settings, format!("{before}\n[access]\nreflection = false\n")).unwrap();
    let controller = Running::start(dir.path()).await;
    let viewer = controller.secure(dir.path(), &dir.path().join("operators"), "auditor").await;
    assert_eq!(services(&viewer).await.unwrap_err().code(), Code::Unimplemented);
    assert_eq!(check(&viewer, "").await.unwrap(), ServingStatus::Serving);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_is_told_that_the_controller_stops() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let mut watched = Vec::new();
    for service in ["", STATUS] {
        let request = HealthCheckRequest { service: service.into() };
        let mut told = HealthClient::new(channel.clone()).watch(request).await.unwrap().into_inner();
        assert_eq!(told.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        watched.push(told);
    }
    let stopping = tokio::spawn(controller.stop());
    for told in &mut watched {
        let next = tokio::time::timeout(PATIENCE, told.message()).await.unwrap();
        assert_eq!(next.unwrap().unwrap().status(), ServingStatus::NotServing);
    }
    stopping.await.unwrap();
}

/// What is told while the database is away: everything but status is not served, and that is from memory.
async fn away(controller: &Running, channel: &Channel, words: &[&str]) {
    until(channel, ServingStatus::NotServing).await;
    assert_eq!(check(channel, OPERATOR).await.unwrap(), ServingStatus::NotServing);
    assert_eq!(check(channel, STATUS).await.unwrap(), ServingStatus::Serving);
    let request = GetStatusRequest { subject: Some(Subject::Tenant("alice".into())) };
    let status = StatusServiceClient::new(channel.clone()).get_status(request).await.unwrap();
    assert_eq!(status.into_inner().tenant, "alice");
    let (code, told) = controller.beside_metrics("/readyz").await;
    assert_eq!(code, 503, "{told}");
    assert!(words.iter().any(|words| told.contains(words)), "{told}");
    assert_eq!(controller.beside_metrics("/healthz").await.0, 200, "it need not be restarted");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_it_says_so_and_then_that_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = IS_ON_POSTGRES.then(|| {
        // Its own: the other tests need theirs.
        let server = Cluster::start().unwrap();
        share(dir.path(), &server.database().unwrap());
        server
    });
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice()], true).await;
    until(&channel, ServingStatus::Serving).await;
    // It goes with its last owner, so it is only lent.
    if let Some(server) = &server {
        server.crash().unwrap();
        away(&controller, &channel, &["takes no changes", "does not answer"]).await;
        server.resume().unwrap();
    } else {
        // The file is taken away, and put back.
        let (path, aside) = (dir.path().join("reeve.db"), dir.path().join("aside"));
        std::fs::rename(&path, &aside).unwrap();
        away(&controller, &channel, &["does not answer"]).await;
        std::fs::rename(&aside, &path).unwrap();
        until(&channel, ServingStatus::Serving).await;

        // Somebody else holds the lock for writing for longer than is waited.
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
        let mut other = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
        let greeted = tokio::spawn(Agent::greet(channel.clone(), "n1", 1));
        away(&controller, &channel, &["takes no changes", "does not end"]).await;
        let refused = greeted.await.unwrap();
        assert!(refused.is_err(), "nothing is acknowledged that is not stored");
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    }
    until(&channel, ServingStatus::Serving).await;
    assert_eq!(controller.beside_metrics("/readyz").await, (200, "ok\n".to_owned()));
    Agent::greet(channel, "n1", 1).await.unwrap();
    controller.stop().await;
}
