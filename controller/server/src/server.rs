//! The controller at work: database, writer, services, and a port.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reeve_audit::Signer;
use reeve_proto::MAX_MESSAGE_BYTES;
use reeve_proto::agent::v1::agent_service_server::AgentServiceServer;
use reeve_proto::agent::v1::enrolment_service_server::EnrolmentServiceServer;
use reeve_proto::operator::v1::approval_service_server::ApprovalServiceServer;
use reeve_proto::operator::v1::audit_service_server::AuditServiceServer;
use reeve_proto::status::v1::status_service_server::StatusServiceServer;
use reeve_telemetry::metrics::Endpoint;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

use crate::approval::ApprovalLayer;
use crate::audit::{self, AuditLayer};
use crate::auth::{Book, Gate, GateLayer, SECRETS_KEY, Vault, incoming};
use crate::clock;
use crate::complaints;
use crate::config::{self, Config};
use crate::console::{Guards, behind_gate, inside};
use crate::directory::Directory;
use crate::error::ControllerError;
use crate::events::Events;
use crate::export::Export;
use crate::files;
use crate::health::Health;
use crate::http::Http;
use crate::identity::Protection;
use crate::links::{self, Links};
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::pki;
use crate::refusal::ReasonLayer;
use crate::remedy;
use crate::retention;
use crate::services::pending::Pending;
use crate::services::status::Desk;
use crate::services::{self, House};
use crate::settings;
use crate::smtp::Smtp;
use crate::store::{Store, secrets};
use crate::streams::Streams;
use crate::tending;
use crate::web::Web;
use crate::writer::{Job, Task, Thread};

/// A peer that answers no keep-alive for this long is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// A request's headers are no longer than this, in bytes.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// The most streams of one connection at a time.
const MAX_STREAMS: u32 = 200;
/// A handshake takes no longer than this.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Streams that do not end by themselves are cut off this long after the controller was told to stop.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often it is looked whose measures have ended by their time.
const BEAT: Duration = Duration::from_secs(1);
/// How often peers are forgotten that have not asked lately.
const FORGET: Duration = Duration::from_secs(60);

/// A controller that has its port but does not serve yet.
#[derive(Debug)]
pub struct Controller {
    config: Config,
    listener: TcpListener,
    address: SocketAddr,
    endpoint: Option<Endpoint>,
    http: Option<Http>,
    links: Option<Web>,
    console: Option<Web>,
    smtp: Option<Smtp>,
}

impl Controller {
    /// Takes the port.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn bind(config: Config) -> Result<Self, ControllerError> {
        let listen = config.listen;
        let failed = |source| ControllerError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let links = match &config.settings.links {
            Some(settings) => Some(Web::bind(settings).await?),
            None => None,
        };
        if let (Some(web), Some(settings)) = (&links, &config.settings.links) {
            tracing::info!(address = %web.address(), url = settings.url, "who follows a link of a notice is answered");
        }
        let console = match &config.settings.console {
            Some(settings) => Some(Web::bind(settings).await?),
            None => None,
        };
        if let (Some(web), Some(settings)) = (&console, &config.settings.console) {
            tracing::info!(address = %web.address(), url = settings.url, "the console is served");
        }
        let smtp = match config.settings.complaints.smtp {
            Some(listen) => Some(Smtp::bind(listen).await?),
            None => None,
        };
        if let Some(smtp) = &smtp {
            tracing::info!(address = %smtp.address(), "complaints are taken by SMTP");
        }
        Ok(Self { config, listener, address, endpoint: None, http: None, links, console, smtp })
    }

    /// Tells Prometheus its metrics at `listen`, too, and where that is: the port is the real one where 0 was asked for.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub async fn with_metrics(self, listen: SocketAddr) -> Result<(Self, SocketAddr), ControllerError> {
        let failed = |source| ControllerError::Listen { listen, source };
        let endpoint = Endpoint::bind(listen).await.map_err(failed)?;
        let address = endpoint.address().map_err(failed)?;
        tracing::info!(%address, "metrics are at /metrics");
        Ok((Self { endpoint: Some(endpoint), ..self }, address))
    }

    /// Tells where tenants stand over HTTP at `listen`, too, and where that is: the port is the real one where 0 was asked for.
    ///
    /// # Errors
    /// When the port cannot be had, or is to be reached from elsewhere without certificates.
    pub async fn with_http(self, listen: SocketAddr) -> Result<(Self, SocketAddr), ControllerError> {
        let credentials = self.config.credentials.as_ref();
        if credentials.is_none() && !listen.ip().is_loopback() {
            return Err(ControllerError::Unprotected { listen, dir: self.config.dir.clone() });
        }
        let http = Http::bind(listen, credentials).await?;
        let address = http.address();
        tracing::info!(%address, "status over HTTP is at /v1/status, its description at /v1/openapi.json");
        Ok((Self { http: Some(http), ..self }, address))
    }

    /// Where whoever follows a link of a notice is answered.
    #[must_use]
    pub fn links_address(&self) -> Option<SocketAddr> {
        self.links.as_ref().map(Web::address)
    }

    /// Where people's browsers are answered.
    #[must_use]
    pub fn console_address(&self) -> Option<SocketAddr> {
        self.console.as_ref().map(Web::address)
    }

    /// Where complaints come by SMTP.
    #[must_use]
    pub fn smtp_address(&self) -> Option<SocketAddr> {
        self.smtp.as_ref().map(Smtp::address)
    }

    /// Where it listens; the port is the real one where 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`; `ready` is called when it begins to.
    ///
    /// # Errors
    /// When the database or the certificates cannot be used.
    pub async fn serve(
        self,
        stop: impl Future<Output = ()> + Send,
        ready: impl FnOnce(),
    ) -> Result<(), ControllerError> {
        let protection = self.config.protection();
        let _only = claim_folder(&self.config.dir)?;
        let (store, mut writing) = Store::open(&self.config.settings.database, &self.config.dir).await?;
        tracing::info!(database = store.place(), "the database is open");
        let pages = secrets::pages(writing.connection().await?).await?;
        let signer = Arc::new(Signer::open(&self.config.dir.join(audit::KEY))?);
        let vault = Arc::new(Vault::open(&self.config.dir)?);
        if !secrets::is_own(writing.connection().await?, &vault.fingerprint()).await? {
            let key = self.config.dir.join(SECRETS_KEY);
            tracing::error!(
                key = %key.display(),
                "ANOTHER KEY has encrypted what is secret in this database: second factors are not known here, and what waits for a \
                 second person is not taken. Copy secrets.key from a folder that has the right one, and restart (docs/database.md)"
            );
        }
        let (directory, events, streams) =
            (Arc::new(Directory::default()), Events::default(), Streams::default());
        let book = Book::default();
        let gate = Gate::new(protection, book.clone(), self.config.settings.access.allow.clone())
            .with_idle(self.config.settings.sessions.idle);
        let channels = self.config.settings.outbox.channels();
        let (task, writer) = Task::new(
            writing,
            Arc::clone(&directory),
            events.clone(),
            streams.clone(),
            book.clone(),
            channels,
        )
        .await?;
        let (health, pulse) = (Health::new().await, task.pulse());
        let listening = tokio::spawn(task.listen());
        let writing = Thread::start(task).map_err(ControllerError::Thread)?;
        let leaving = writer.clone();
        let keeping = tokio::spawn(retention::keep(self.config.settings.retention, writer.clone()));
        let tending = tokio::spawn(tending::keep(self.config.settings.cases.quiet, writer.clone()));
        let metrics = Metrics::default();
        if let Some(credentials) = &self.config.credentials {
            let path = self.config.dir.join(pki::SERVER);
            metrics.see_certificate(config::expiry(&path, &credentials.certificate)?);
        }
        let watching = self.endpoint.map(|endpoint| {
            let (directory, streams, metrics) = (Arc::clone(&directory), streams.clone(), metrics.clone());
            let counting = tokio::spawn(metrics.clone().count(events.clone()));
            let looking = tokio::spawn(metrics.clone().look(store.clone(), streams.clone()));
            let registry = metrics.registry();
            let (connections, seen) = (book.connections().clone(), health.clone());
            let refresh = move || {
                metrics.refresh(&directory, &streams, clock::now());
                metrics.see_connections(connections.count());
                metrics.see_health(seen.troubles().is_empty());
            };
            let health = health.clone();
            [counting, looking, tokio::spawn(endpoint.serve(registry, refresh, move || health.troubles()))]
        });
        let sealing = tokio::spawn(audit::keep_sealed(writer.clone(), Arc::clone(&signer)));
        let recording = AuditLayer(writer.clone());
        let looking_after = health.clone().keep(store.clone(), writer.clone(), pulse);
        let ending = {
            let directory = Arc::clone(&directory);
            async move {
                let mut beat = tokio::time::interval(BEAT);
                loop {
                    beat.tick().await;
                    directory.expire(clock::now());
                }
            }
        };
        let house = House {
            protection,
            vault: Arc::clone(&vault),
            door: Arc::default(),
            sessions: self.config.settings.sessions,
            book,
            gate: gate.clone(),
            access: Arc::new(self.config.signing()),
            directory,
            store: store.clone(),
            pending: Pending::start(store.clone()),
            writer,
            events,
            streams,
            metrics,
            pages,
            reporter: self.config.settings.reports.clone().map(Arc::new),
        };
        let approving = ApprovalLayer {
            house: house.clone(),
            vault: Arc::clone(&vault),
            settings: self.config.settings.approval.clone().map(Arc::new),
        };
        let base = self.config.settings.links.as_ref().map(|links| links.url.clone());
        let links = base.map(|base| Links::new(Arc::clone(&vault), base));
        let hands = (store.clone(), house.writer.clone(), house.events.clone());
        let outbox = Outbox::new(&self.config.settings.outbox, links.clone(), hands)?;
        let desk = Desk::new(house.clone());
        let mut beside =
            vec![tokio::spawn(ending), tokio::spawn(forget_peers(desk.clone())), tokio::spawn(looking_after)];
        beside.push(tokio::spawn(services::person::keep_seen(house.clone())));
        let directory = Arc::clone(&house.directory);
        beside.push(tokio::spawn(remedy::keep(directory, store.clone(), house.writer.clone())));
        for sink in self.config.settings.events.clone() {
            let export = Export::new(
                sink,
                (&house.events, house.door.listen()),
                Arc::clone(&house.directory),
                store.clone(),
                house.metrics.clone(),
            )?;
            beside.push(tokio::spawn(export.run()));
        }
        beside.extend(outbox.map(|outbox| tokio::spawn(outbox.run())));
        let complaints = self.config.settings.complaints.clone();
        if let Some(smtp) = self.smtp {
            let taking =
                complaints::take_mail(smtp, complaints.clone(), house.writer.clone(), house.metrics.clone());
            beside.push(tokio::spawn(taking));
        }
        beside.push(tokio::spawn(complaints::keep(complaints, house.writer.clone())));
        if let (Some(web), Some(links)) = (self.links, links) {
            let desk = links::Desk::new(house.clone(), links, &self.config.settings.complaints);
            beside.push(tokio::spawn(web.serve(links::router(desk.clone()))));
            beside.push(tokio::spawn(forget_followers(desk)));
        }
        beside.extend(watching.into_iter().flatten());
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .http2_max_header_list_size(Some(MAX_HEADER_BYTES))
            .max_concurrent_streams(Some(MAX_STREAMS));
        if let Some(credentials) = &self.config.credentials {
            let tls = ServerTlsConfig::new()
                .identity(Identity::from_pem(&credentials.certificate, &credentials.key))
                .client_ca_root(Certificate::from_pem(&credentials.ca))
                // Programs show a token instead. Whoever shows nothing is refused at the gate.
                .client_auth_optional(true)
                .timeout(HANDSHAKE);
            server = server.tls_config(tls)?;
        }
        let connections = house.book.connections().clone();
        let sweeping = tokio::spawn(connections.clone().sweep());
        let reflection = self.config.settings.access.reflection.then(reflection).transpose()?;
        announce(self.address, protection);
        ready();
        let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
        let guards =
            Guards { gate: GateLayer(gate.clone()), audit: recording.clone(), approval: approving.clone() };
        let routes = routes(
            &house,
            &self.config.settings.complaints,
            &vault,
            signer,
            desk.clone(),
            &health,
            reflection,
        );
        let services = behind_gate(recording.clone(), approving.clone(), routes.clone());
        beside.extend(self.http.map(|http| tokio::spawn(http.serve(desk, gate.clone(), services))));
        if let (Some(web), Some(settings)) = (self.console, &self.config.settings.console) {
            let settings = reeve_console::Settings { url: settings.url.clone() };
            let console = reeve_console::router(settings, inside(guards, routes.clone()));
            beside.push(tokio::spawn(web.serve(console)));
        }
        let serving = server
            .layer(ReasonLayer)
            .layer(GateLayer(gate))
            .layer(recording)
            .layer(approving)
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming(self.listener, connections), async move {
                stop.await;
                health.stop().await;
                let _ = stopping.send(());
            });
        // Agents' streams never end by themselves.
        let farewell = async {
            let _ = stopped.await;
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            result = serving => result?,
            () = farewell => {}
        }
        sealing.abort();
        sweeping.abort();
        beside.iter().for_each(tokio::task::JoinHandle::abort);
        listening.abort();
        keeping.abort();
        tending.abort();
        // The others need not wait until we are taken for gone.
        let _ = tokio::time::timeout(FAREWELL, leaving.ask(|reply| Job::Leave { reply })).await;
        store.close().await;
        // Sessions hold the way to the writer; what they hand over now is not acknowledged and comes again.
        writing.stop().await;
        Ok(())
    }
}

/// All services of gRPC.
fn routes(
    house: &House,
    complaints: &settings::Complaints,
    vault: &Arc<Vault>,
    signer: Arc<Signer>,
    desk: Desk,
    health: &Health,
    reflection: Option<ServerReflectionServer<impl ServerReflection>>,
) -> Routes {
    let mut routes = Routes::builder();
    routes.add_service(HealthServer::new(health.service()));
    reflection.into_iter().for_each(|reflection| _ = routes.add_service(reflection));
    let agents = AgentServiceServer::new(services::agent::Service(house.clone()));
    routes.add_service(
        agents.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES),
    );
    let enrolment = EnrolmentServiceServer::new(services::enrolment::Service(house.clone()));
    routes.add_service(enrolment.max_decoding_message_size(services::enrolment::MAX_MESSAGE_BYTES));
    routes.add_service(services::access_server(house));
    let vault = Arc::clone(vault);
    routes
        .add_service(ApprovalServiceServer::new(services::approval::Service { house: house.clone(), vault }));
    routes.add_service(services::person_server(house));
    routes.add_service(AuditServiceServer::new(services::audit::Service {
        house: house.clone(),
        signer: Arc::clone(&signer),
    }));
    routes.add_service(services::policy_server(house));
    routes.add_service(services::standing_server(house));
    routes.add_service(services::case_server(house, &signer));
    routes.add_service(services::complaint_server(house, complaints.clone()));
    routes.add_service(StatusServiceServer::new(services::status::Service(desk)));
    routes.add_service(services::operator_server(house));
    routes.routes()
}

/// What services there are, in their own words.
fn reflection() -> Result<ServerReflectionServer<impl ServerReflection>, ControllerError> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(reeve_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| ControllerError::Reflection { detail: error.to_string() })
}

/// Whoever asked once is not remembered for ever.
async fn forget_peers(desk: Desk) {
    let mut beat = tokio::time::interval(FORGET);
    loop {
        beat.tick().await;
        desk.forget_peers();
    }
}

/// Nor is whoever followed a link.
async fn forget_followers(desk: links::Desk) {
    let mut beat = tokio::time::interval(FORGET);
    loop {
        beat.tick().await;
        desk.forget();
    }
}

/// Two controllers on one file would each be deaf to the other's agents. Those that share a database on a server have a folder each.
/// Takes a folder for this process alone, for as long as the file is open.
///
/// # Errors
/// Where another one has it.
pub fn claim_folder(dir: &std::path::Path) -> Result<std::fs::File, ControllerError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    const NO_LINK: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let path = dir.join("lock");
    let failed = |source| ControllerError::File { path: path.clone(), source };
    let lock = match files::make(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::OpenOptions::new().write(true).custom_flags(NO_LINK).open(&path)
        }
        made => made,
    };
    let lock = lock.map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(ControllerError::InUse { path: dir.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn announce(address: SocketAddr, protection: Protection) {
    match protection {
        Protection::Certificates => tracing::info!(%address, "listening; peers show certificates"),
        Protection::LoopbackOnly => {
            tracing::warn!(
                "THERE ARE NO CERTIFICATES: everybody on this machine may suspend and release tenants"
            );
            tracing::warn!("make them with `reeve-controller init`, and restart");
            tracing::info!(%address, "listening; unprotected, this machine only");
        }
    }
}
