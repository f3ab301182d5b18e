//! A controller in this process, and an agent's end of a stream, for tests.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use reeve_cluster::Cluster;
use reeve_controller::config::Config;
use reeve_controller::server::Controller;
use reeve_controller::settings;
use reeve_controller::store::Store;
use reeve_policy::{OrderId, OrderResult, PauseScope, Report, Timestamp};
use reeve_proto::agent::v1::agent_service_client::AgentServiceClient;
use reeve_proto::agent::v1::{ConnectRequest, ConnectResponse};
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{ImportTenantsRequest, ReleaseRequest, SuspendRequest};
use reeve_proto::session::{Down, Hello, PolicyHeld, ProtocolVersion, Up};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

const PATIENCE: Duration = Duration::from_secs(10);

/// A controller on a thread of its own, as the binary has it.
pub struct Running {
    pub address: SocketAddr,
    pub http: SocketAddr,
    pub metrics: SocketAddr,
    pub links: Option<SocketAddr>,
    pub console: Option<SocketAddr>,
    pub smtp: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: std::thread::JoinHandle<()>,
}

/// Whether these are the tests of `postgres.rs`, which plays all the others once more.
pub const IS_ON_POSTGRES: bool = matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"postgres");

/// Gives a folder a database on a server, if that is what is tested.
fn settle(dir: &Path) {
    if IS_ON_POSTGRES && !dir.join(settings::FILE_NAME).exists() {
        share(dir, &Cluster::of_this_process().database().unwrap());
    }
}

/// Settings of a controller besides its database.
pub fn set(dir: &Path, text: &str) {
    settle(dir);
    let path = dir.join(settings::FILE_NAME);
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    std::fs::write(path, format!("{before}{text}")).unwrap();
}

/// Sets a folder's controller on this database.
pub fn share(dir: &Path, url: &str) {
    std::fs::write(dir.join(settings::FILE_NAME), format!("[database]\nurl = \"{url}\"\n")).unwrap();
}

/// Does something to the database of a folder whose controller does not run; how many rows it was about.
pub async fn execute(dir: &Path, statement: &'static str) -> u64 {
    try_execute(dir, statement).await.unwrap()
}

/// The same, or what the database says against it.
pub async fn try_execute(dir: &Path, statement: &'static str) -> Result<u64, String> {
    let settings = settings::Settings::load(dir).unwrap();
    let (store, mut writing) = Store::open(&settings.database, dir).await.unwrap();
    let done = sqlx::query(statement).execute(writing.connection().await.unwrap()).await;
    store.close().await;
    writing.close().await;
    done.map(|done| done.rows_affected()).map_err(|error| error.to_string())
}

impl Running {
    pub async fn start(dir: &Path) -> Self {
        settle(dir);
        let config = Config::load(dir, "127.0.0.1:0".parse().unwrap()).unwrap();
        let (told, address) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let controller = Controller::bind(config).await.unwrap();
                let (controller, http) = controller.with_http("127.0.0.1:0".parse().unwrap()).await.unwrap();
                let (controller, metrics) =
                    controller.with_metrics("127.0.0.1:0".parse().unwrap()).await.unwrap();
                let (links, console) = (controller.links_address(), controller.console_address());
                let smtp = controller.smtp_address();
                told.send((controller.address(), http, metrics, links, console, smtp)).unwrap();
                controller.serve(async { _ = stopped.await }, || ()).await.unwrap();
            });
        });
        let (address, http, metrics, links, console, smtp) = address.await.unwrap();
        Self { address, http, metrics, links, console, smtp, stop: Some(stop), thread }
    }

    pub async fn stop(mut self) {
        drop(self.stop.take());
        tokio::task::spawn_blocking(|| self.thread.join().unwrap()).await.unwrap();
    }

    /// What is told at a path beside the metrics: its status and text.
    pub async fn beside_metrics(&self, path: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(self.metrics).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub async fn plain(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    /// A channel with the certificate `nodes/NAME` or `operators/NAME` of one folder and the authority of another.
    pub async fn secure(&self, authority: &Path, own: &Path, who: &str) -> Channel {
        let read = |path: std::path::PathBuf| std::fs::read(path).unwrap();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(authority.join("ca.crt"))))
            .identity(Identity::from_pem(
                read(own.join(format!("{who}.crt"))),
                read(own.join(format!("{who}.key"))),
            ));
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await.unwrap()
    }

    /// A channel over TLS without a certificate of its own.
    pub async fn bare(&self, authority: &Path) -> Channel {
        let ca = std::fs::read(authority.join("ca.crt")).unwrap();
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await.unwrap()
    }
}

/// What becomes of a call of `path` with an empty message, showing a token if there is one.
pub async fn call(channel: &Channel, path: &str, token: Option<&str>) -> Result<(), tonic::Status> {
    let mut request = tonic::Request::new(());
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = tonic::codegen::http::uri::PathAndQuery::try_from(path).unwrap();
    // Also a method with one answer can be called so: what matters is how it begins.
    let answered = tokio::time::timeout(PATIENCE, client.server_streaming(request, path, codec));
    answered.await.expect("an answer in time").map(drop)
}

/// An agent's end of a stream.
pub struct Agent {
    pub up: mpsc::Sender<ConnectRequest>,
    pub down: Streaming<ConnectResponse>,
}

impl Agent {
    /// Connects and is welcomed; how far the controller has the epoch.
    pub async fn greet(channel: Channel, node: &str, epoch: u64) -> Result<(Self, u64), tonic::Status> {
        Self::greet_by(channel, node, epoch, "").await
    }

    /// The same, telling the policy in force.
    pub async fn greet_by(
        channel: Channel,
        node: &str,
        epoch: u64,
        policy: &str,
    ) -> Result<(Self, u64), tonic::Status> {
        let protocol = ProtocolVersion::CURRENT;
        Self::greet_whole(channel, node, epoch, (protocol, Vec::new(), policy.to_owned()), 0).await
    }

    /// The same, with a version of the protocol and the controller's pauses that it holds.
    pub async fn greet_with(
        channel: Channel,
        node: &str,
        epoch: u64,
        protocol: ProtocolVersion,
        pauses: Vec<(PauseScope, OrderId)>,
    ) -> Result<(Self, u64), tonic::Status> {
        Self::greet_whole(channel, node, epoch, (protocol, pauses, String::new()), 0).await
    }

    /// The same, with a version of the tenants.
    pub async fn greet_having(
        channel: Channel,
        node: &str,
        epoch: u64,
        tenants_version: u64,
    ) -> Result<(Self, u64), tonic::Status> {
        let told = (ProtocolVersion::CURRENT, Vec::new(), String::new());
        Self::greet_whole(channel, node, epoch, told, tenants_version).await
    }

    async fn greet_whole(
        channel: Channel,
        node: &str,
        epoch: u64,
        (protocol, pauses, policy): (ProtocolVersion, Vec<(PauseScope, OrderId)>, String),
        tenants_version: u64,
    ) -> Result<(Self, u64), tonic::Status> {
        let hello = Hello {
            node: node.parse().unwrap(),
            agent_version: "test".into(),
            protocol,
            epoch,
            tenants_version,
            measures: Vec::new(),
            pauses,
            policy,
            policy_held: None,
        };
        Self::greet_hello(channel, hello).await
    }

    /// The same, telling which policy it runs and what became of the last that was assigned.
    pub async fn greet_holding(
        channel: Channel,
        node: &str,
        protocol: ProtocolVersion,
        held: Option<PolicyHeld>,
    ) -> Result<Self, tonic::Status> {
        let hello = Hello {
            node: node.parse().unwrap(),
            agent_version: "test".into(),
            protocol,
            epoch: 1,
            tenants_version: 0,
            measures: Vec::new(),
            pauses: Vec::new(),
            policy: String::new(),
            policy_held: held,
        };
        Ok(Self::greet_hello(channel, hello).await?.0)
    }

    /// The same, telling what stands there.
    pub async fn greet_naming(
        channel: Channel,
        node: &str,
        epoch: u64,
        measures: Vec<reeve_policy::Measure>,
    ) -> Result<(Self, u64), tonic::Status> {
        let hello = Hello {
            node: node.parse().unwrap(),
            agent_version: "test".into(),
            protocol: ProtocolVersion::CURRENT,
            epoch,
            tenants_version: 0,
            measures,
            pauses: Vec::new(),
            policy: String::new(),
            policy_held: None,
        };
        Self::greet_hello(channel, hello).await
    }

    async fn greet_hello(channel: Channel, hello: Hello) -> Result<(Self, u64), tonic::Status> {
        let (up, receiver) = mpsc::channel(64);
        up.send((&Up::Hello(hello)).into()).await.unwrap();
        let mut client = AgentServiceClient::new(channel);
        let down = client.connect(ReceiverStream::new(receiver)).await?.into_inner();
        let mut agent = Self { up, down };
        match agent.next().await? {
            Down::Welcome(welcome) => Ok((agent, welcome.acknowledged)),
            other => panic!("{other:?} instead of a welcome"),
        }
    }

    pub async fn next(&mut self) -> Result<Down, tonic::Status> {
        let message =
            tokio::time::timeout(PATIENCE, self.down.message()).await.expect("an answer in time")?;
        Ok(Down::try_from(message.expect("the stream goes on")).unwrap())
    }

    pub async fn report(&self, sequence: u64, report: Report) {
        self.up.send((&Up::Report { sequence, report: Ok(Box::new(report)) }).into()).await.unwrap();
    }

    /// Reads until everything up to `sequence` is acknowledged.
    pub async fn acknowledged(&mut self, sequence: u64) {
        loop {
            if let Down::Ack(number) = self.next().await.unwrap()
                && number >= sequence
            {
                return;
            }
        }
    }

    /// The next order about a tenant.
    pub async fn order(&mut self) -> reeve_policy::Order {
        loop {
            match self.next().await.unwrap() {
                Down::Order(order) if order.id().is_some() => return order,
                _ => {}
            }
        }
    }

    /// The next policy that is assigned.
    pub async fn assignment(&mut self) -> reeve_policy::Assignment {
        loop {
            if let Down::Order(reeve_policy::Order::Policy(assignment)) = self.next().await.unwrap() {
                return assignment;
            }
        }
    }

    /// Suspends a tenant as an operator does, and carries it out.
    pub async fn suspend(&mut self, channel: &Channel, tenant: &str) {
        let mut client = OperatorServiceClient::new(channel.clone());
        let request = SuspendRequest {
            tenant: tenant.into(),
            reason: "30 hosts on port 22".into(),
            wait: true,
            ..Default::default()
        };
        let asked = tokio::spawn(async move { client.suspend(request).await });
        let order = self.order().await;
        self.done(&order).await;
        asked.await.unwrap().unwrap();
    }

    /// Releases a tenant likewise.
    pub async fn release(&mut self, channel: &Channel, tenant: &str) {
        let mut client = OperatorServiceClient::new(channel.clone());
        let request = ReleaseRequest { tenant: tenant.into(), wait: true, ..Default::default() };
        let asked = tokio::spawn(async move { client.release(request).await });
        let order = self.order().await;
        self.done(&order).await;
        asked.await.unwrap().unwrap();
    }

    /// Says that an order is done.
    pub async fn done(&self, order: &reeve_policy::Order) {
        self.answer(order, Ok(())).await;
    }

    /// Says what became of an order.
    pub async fn answer(&self, order: &reeve_policy::Order, result: Result<(), reeve_policy::OrderFailure>) {
        let id = order.id().unwrap().clone();
        let result = OrderResult { id, at: Timestamp::from_secs(2_000_000_000), result };
        self.up.send((&Up::OrderResult(result)).into()).await.unwrap();
    }
}

/// Imports tenants beside those that are there, or in place of them.
pub async fn import(channel: &Channel, tenants: Vec<reeve_proto::types::v1::Tenant>, is_whole: bool) {
    let mut client = OperatorServiceClient::new(channel.clone());
    let method = if is_whole { 1 } else { 2 };
    client.import_tenants(ImportTenantsRequest { tenants, method, ..Default::default() }).await.unwrap();
}

/// Alice with a prefix of each family and a port.
pub fn alice() -> reeve_proto::types::v1::Tenant {
    reeve_proto::types::v1::Tenant {
        id: "alice".into(),
        name: "Alice".into(),
        addresses: vec!["203.0.113.0/28".into(), "2001:db8::/48".into()],
        interfaces: vec!["n1/tap0".into()],
        ..Default::default()
    }
}
