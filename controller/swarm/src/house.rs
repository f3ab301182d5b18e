//! The controller's process, its certificates, and what it has on disk in the end.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use reeve_controller::auth::Role;
use reeve_controller::pki::{self, Wanted};
use reeve_controller::store::FILE_NAME;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Row as _};
use tokio::process::{Child, Command};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::agent::Sent;

/// The operator who asks and orders.
const OPERATOR: &str = "swarm";
/// The controller listens within this time.
const LISTENING: Duration = Duration::from_secs(30);

/// A controller in a process of its own.
pub struct House {
    pub dir: tempfile::TempDir,
    pub address: SocketAddr,
    pub http: SocketAddr,
    child: Child,
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
    pub async fn start(program: Option<&Path>) -> anyhow::Result<Self> {
        let program = match program {
            Some(program) => program.to_owned(),
            None => beside()?,
        };
        let dir = tempfile::tempdir()?;
        let wanted = Wanted { people: vec![(Role::Operator, OPERATOR.parse()?)], ..Wanted::default() };
        pki::init(dir.path(), &wanted)?;
        let read = |name: &str| fs::read_to_string(dir.path().join(name));
        let ca = read(pki::CA)?;
        let authority = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&read(pki::CA_KEY)?)?)?;
        let (address, http) = (free()?, free()?);
        let child = Command::new(&program)
            .args([
                "run",
                "--log",
                "warn",
                "--listen",
                &address.to_string(),
                "--http",
                &http.to_string(),
                "--dir",
            ])
            .arg(dir.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| program.display().to_string())?;
        let house = Self { dir, address, http, child, authority, ca, key: KeyPair::generate()? };
        let listens = async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LISTENING, listens).await.context("the controller does not listen")?;
        Ok(house)
    }

    /// The authority, and the operator's certificate and key, in PEM.
    pub fn operators_files(&self) -> anyhow::Result<(String, String, String)> {
        let read = |kind| fs::read_to_string(self.dir.path().join(format!("operators/{OPERATOR}.{kind}")));
        Ok((self.ca.clone(), read("crt")?, read("key")?))
    }

    /// A channel of the operator's, from one address of this machine or any.
    pub async fn operator(&self, from: Option<IpAddr>) -> anyhow::Result<Channel> {
        let (ca, certificate, key) = self.operators_files()?;
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .identity(Identity::from_pem(certificate, key));
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address))?.tls_config(tls)?;
        Ok(endpoint.local_address(from).tcp_nodelay(true).connect().await?)
    }

    /// What a node connects with.
    pub fn node(&self, name: &str) -> anyhow::Result<Endpoint> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.subject_alt_names = vec![SanType::URI(format!("reeve://node/{name}").try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&self.key, &self.authority)?;
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca))
            .identity(Identity::from_pem(certificate.pem(), self.key.serialize_pem()));
        Ok(Endpoint::from_shared(format!("https://{}", self.address))?.tls_config(tls)?)
    }

    fn proc(&self, file: &str) -> anyhow::Result<String> {
        let pid = self.child.id().context("the controller ended")?;
        Ok(fs::read_to_string(format!("/proc/{pid}/{file}"))?)
    }

    /// What it has in memory now, and the most that it ever had, in MiB.
    pub fn memory(&self) -> anyhow::Result<(u64, u64)> {
        let status = self.proc("status")?;
        let kib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        Ok((kib("VmRSS") / 1_024, kib("VmHWM") / 1_024))
    }

    /// User and system time so far. The kernel counts in hundredths of a second wherever this runs (`USER_HZ`).
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = self.proc("stat")?;
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks =
            |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        Ok((ticks(11) + ticks(12)) / 100.0)
    }

    /// Stops it as a service manager does.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let pid = self.child.id().context("the controller ended")?;
        Command::new("kill").arg(pid.to_string()).status().await?;
        let ended = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
        let status = ended.context("the controller does not stop")??;
        ensure!(status.success(), "the controller ended with {status}");
        Ok(())
    }

    /// What is on disk.
    pub async fn stored(&self) -> anyhow::Result<Stored> {
        let options = SqliteConnectOptions::new().filename(self.dir.path().join(FILE_NAME));
        let mut conn = options.connect().await?;
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM violations), (SELECT count(*) FROM violations WHERE state <> 'open'), \
             (SELECT count(*) FROM decisions), (SELECT count(*) FROM measures), \
             (SELECT count(*) FROM measures WHERE lifted IS NOT NULL), (SELECT count(*) FROM node_events), \
             (SELECT coalesce(sum(sequence), 0) FROM cursors), (SELECT coalesce(sum(reports_refused), 0) FROM nodes)",
        )
        .fetch_one(&mut conn)
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
