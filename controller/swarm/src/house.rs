//! The controller's process, its certificates, and what it has on disk in the end.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use reeve_cluster::Cluster;
use reeve_controller::auth::Role;
use reeve_controller::pki::{self, Wanted};
use reeve_controller::store::FILE_NAME;
use sqlx::{AnyConnection, Connection as _, Row as _};
use tokio::process::{Child, Command};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::agent::Sent;

/// The operator who asks and orders.
const OPERATOR: &str = "swarm";
/// Who lets people in.
const ADMIN: &str = "root";
/// The portal that asks where tenants stand.
const PORTAL: &str = "portal";
/// The controller listens within this time.
const LISTENING: Duration = Duration::from_secs(30);

/// The engines that a controller's state may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// A file of the controller's own.
    Sqlite,
    /// A server of PostgreSQL, started for this and gone with it.
    Postgres,
}

/// A controller in a process of its own.
struct Controller {
    dir: PathBuf,
    address: SocketAddr,
    http: SocketAddr,
    child: Mutex<Option<Child>>,
}

/// Controllers in processes of their own, and the database behind them.
pub struct House {
    program: PathBuf,
    _dir: tempfile::TempDir,
    /// Where the keys are.
    home: PathBuf,
    /// Where the first controller's console is.
    console: SocketAddr,
    controllers: Vec<Controller>,
    /// The server and the database's URL, where there is one.
    cluster: Option<(Cluster, String)>,
    authority: Issuer<'static, KeyPair>,
    ca: String,
    /// All agents have one key: what is measured is not how it is made.
    key: KeyPair,
}

/// What the database holds in the end.
#[derive(Debug)]
pub struct Stored {
    pub sent: Sent,
    pub refused: u64,
}

impl House {
    /// Starts so many controllers; more than one takes a server that they share.
    pub async fn start(program: Option<&Path>, engine: Engine, controllers: usize) -> anyhow::Result<Self> {
        ensure!(
            controllers == 1 || engine == Engine::Postgres,
            "several controllers share a PostgreSQL: --engine postgres"
        );
        let program = match program {
            Some(program) => program.to_owned(),
            None => beside()?,
        };
        let dir = tempfile::tempdir()?;
        let home = dir.path().join("0");
        let people = vec![
            (Role::Operator, OPERATOR.parse()?),
            (Role::Status, PORTAL.parse()?),
            (Role::Admin, ADMIN.parse()?),
        ];
        let wanted = Wanted { people, ..Wanted::default() };
        pki::init(&home, &wanted)?;
        let mut settings = String::new();
        let cluster = match engine {
            Engine::Sqlite => None,
            Engine::Postgres => {
                let cluster = Cluster::start().context("PostgreSQL (Debian: postgresql-15)")?;
                let url = cluster.database()?;
                settings = format!("[database]\nurl = \"{url}\"\n");
                Some((cluster, url))
            }
        };
        let console = free()?;
        if controllers == 1 {
            let url = format!("http://localhost:{}", console.port());
            settings += &format!("[console]\nlisten = \"{console}\"\nurl = \"{url}\"\n");
        }
        fs::write(home.join("controller.toml"), settings)?;
        let read = |name: &str| fs::read_to_string(home.join(name));
        let ca = read(pki::CA)?;
        let authority = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&read(pki::CA_KEY)?)?)?;
        let mut all = Vec::new();
        for number in 0..controllers {
            let own = dir.path().join(number.to_string());
            if number > 0 {
                let copied = Command::new("cp").arg("-a").args([&home, &own]).status().await?;
                ensure!(copied.success(), "the controller's folder cannot be copied");
            }
            all.push(Controller { dir: own, address: free()?, http: free()?, child: Mutex::default() });
        }
        let key = KeyPair::generate()?;
        let house = Self { program, _dir: dir, home, console, controllers: all, cluster, authority, ca, key };
        for number in 0..controllers {
            house.run(number).await?;
        }
        Ok(house)
    }

    /// Starts a controller, or starts it again; it listens when this returns.
    pub async fn run(&self, number: usize) -> anyhow::Result<()> {
        let controller = &self.controllers[number];
        let child = Command::new(&self.program)
            .args(["run", "--log", "warn", "--listen", &controller.address.to_string()])
            .args(["--http", &controller.http.to_string(), "--dir"])
            .arg(&controller.dir)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        *controller.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        let listens = async {
            while tokio::net::TcpStream::connect(controller.address).await.is_err() {
                ensure!(self.pid(number).is_ok(), "the controller ended");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        tokio::time::timeout(LISTENING, listens).await.context("the controller does not listen")?
    }

    /// Kills a controller: no goodbye.
    pub async fn kill(&self, number: usize) -> anyhow::Result<()> {
        let child = self.controllers[number].child.lock().unwrap_or_else(PoisonError::into_inner).take();
        child.context("the controller does not run")?.kill().await.map_err(Into::into)
    }

    /// How many controllers there are.
    pub fn controllers(&self) -> usize {
        self.controllers.len()
    }

    /// The server of the database, where there is one.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref().map(|(cluster, _)| cluster)
    }

    /// Where the first controller's console is, where there is one controller.
    pub fn console(&self) -> SocketAddr {
        self.console
    }

    /// A channel of an administrator's to the first controller.
    pub async fn administrator(&self) -> anyhow::Result<Channel> {
        self.channel(ADMIN, 0, None).await
    }

    /// Where the first controller answers over HTTP.
    pub fn http(&self) -> SocketAddr {
        self.controllers[0].http
    }

    /// The authority, and the portal's certificate and key, in PEM.
    pub fn portals_files(&self) -> anyhow::Result<(String, String, String)> {
        self.files_of(PORTAL)
    }

    fn files_of(&self, name: &str) -> anyhow::Result<(String, String, String)> {
        let read = |kind| fs::read_to_string(self.home.join(format!("operators/{name}.{kind}")));
        Ok((self.ca.clone(), read("crt")?, read("key")?))
    }

    /// A channel of the operator's to one of the controllers.
    pub async fn operator(&self, number: usize) -> anyhow::Result<Channel> {
        self.channel(OPERATOR, number, None).await
    }

    /// A channel of the portal's to the first controller, from one address of this machine.
    pub async fn portal(&self, from: IpAddr) -> anyhow::Result<Channel> {
        self.channel(PORTAL, 0, Some(from)).await
    }

    async fn channel(&self, name: &str, number: usize, from: Option<IpAddr>) -> anyhow::Result<Channel> {
        let (ca, certificate, key) = self.files_of(name)?;
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .identity(Identity::from_pem(certificate, key));
        let address = self.controllers[number].address;
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?;
        Ok(endpoint.local_address(from).tcp_nodelay(true).connect().await?)
    }

    /// What a node connects to each of the controllers with, from an address of this machine of its own: the controller bounds how many of one
    /// address may be at their greetings at once.
    pub fn node(&self, name: &str, from: IpAddr) -> anyhow::Result<Vec<Endpoint>> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.subject_alt_names = vec![SanType::URI(format!("reeve://node/{name}").try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&self.key, &self.authority)?;
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca))
            .identity(Identity::from_pem(certificate.pem(), self.key.serialize_pem()));
        let each = self.controllers.iter().map(|controller| format!("https://{}", controller.address));
        each.map(|address| {
            Ok(Endpoint::from_shared(address)?.tls_config(tls.clone())?.local_address(Some(from)))
        })
        .collect()
    }

    fn pid(&self, number: usize) -> anyhow::Result<u32> {
        let mut child = self.controllers[number].child.lock().unwrap_or_else(PoisonError::into_inner);
        let child = child.as_mut().context("the controller does not run")?;
        ensure!(child.try_wait()?.is_none(), "the controller ended");
        child.id().context("the controller ended")
    }

    fn proc(&self, number: usize, file: &str) -> anyhow::Result<String> {
        Ok(fs::read_to_string(format!("/proc/{}/{file}", self.pid(number)?))?)
    }

    /// What the controllers have in memory now, and the most that they ever had, in MiB.
    pub fn memory(&self) -> anyhow::Result<(u64, u64)> {
        let (mut now, mut most) = (0, 0);
        for number in 0..self.controllers.len() {
            let status = self.proc(number, "status")?;
            let kib = |key: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
                line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
            };
            now += kib("VmRSS") / 1_024;
            most += kib("VmHWM") / 1_024;
        }
        Ok((now, most))
    }

    /// User and system time of the controllers so far. The kernel counts in hundredths of a second wherever this runs (`USER_HZ`).
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let mut all = 0.0;
        for number in 0..self.controllers.len() {
            let stat = self.proc(number, "stat")?;
            let fields: Vec<&str> =
                stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
            let ticks =
                |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
            all += (ticks(11) + ticks(12)) / 100.0;
        }
        Ok(all)
    }

    /// Stops the controllers as a service manager does.
    pub async fn stop(&self) -> anyhow::Result<()> {
        for (number, controller) in self.controllers.iter().enumerate() {
            let pid = self.pid(number)?;
            let child = controller.child.lock().unwrap_or_else(PoisonError::into_inner).take();
            let mut child = child.context("the controller does not run")?;
            Command::new("kill").arg(pid.to_string()).status().await?;
            let ended = tokio::time::timeout(Duration::from_secs(20), child.wait()).await;
            let status = ended.context("the controller does not stop")??;
            ensure!(status.success(), "the controller ended with {status}");
        }
        Ok(())
    }

    /// The database as it is on disk.
    pub async fn database(&self) -> anyhow::Result<AnyConnection> {
        sqlx::any::install_default_drivers();
        let url = match &self.cluster {
            Some((_, url)) => url.clone(),
            None => format!("sqlite://{}", self.home.join(FILE_NAME).display()),
        };
        Ok(AnyConnection::connect(&url).await?)
    }

    /// What is on disk.
    pub async fn stored(&self) -> anyhow::Result<Stored> {
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM violations), (SELECT count(*) FROM violations WHERE state <> 'open'), \
             (SELECT count(*) FROM decisions), (SELECT count(*) FROM measures), \
             (SELECT count(*) FROM measures WHERE lifted IS NOT NULL), (SELECT count(*) FROM node_events), \
             (SELECT CAST(coalesce(sum(sequence), 0) AS BIGINT) FROM cursors), \
             (SELECT CAST(coalesce(sum(reports_refused), 0) AS BIGINT) FROM nodes)",
        )
        .fetch_one(&mut self.database().await?)
        .await?;
        let count = |place: usize| u64::try_from(row.get::<i64, _>(place)).unwrap_or(u64::MAX);
        let sent = Sent {
            violations: count(0),
            closed: count(1),
            decisions: count(2),
            measures: count(3),
            lifted: count(4),
            events: count(5),
            reports: count(6),
        };
        Ok(Stored { sent, refused: count(7) })
    }

    /// How many nodes were ordered a pause of their own, and by how many orders.
    pub async fn pauses(&self) -> anyhow::Result<(u64, u64)> {
        let row = sqlx::query(
            "SELECT count(*), count(DISTINCT id) FROM orders WHERE kind = 'pause' AND scope = 'node'",
        )
        .fetch_one(&mut self.database().await?)
        .await?;
        let count = |place: usize| u64::try_from(row.get::<i64, _>(place)).unwrap_or(u64::MAX);
        Ok((count(0), count(1)))
    }
}

/// A port that is free now.
fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn beside() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let program = own.with_file_name("reeve-controller");
    ensure!(program.exists(), "{} is not there: build it, or name it by --controller", program.display());
    Ok(program)
}
