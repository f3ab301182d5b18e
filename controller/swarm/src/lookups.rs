//! Who asks where tenants stand while the swarm reports: in process, over gRPC and over HTTP, and a thousand at a time.
//!
//! Each asker has an address of this machine of its own, as portals have: the controller bounds what one address may ask.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use reeve_controller::directory::{Directory, Snapshot, Tenants};
use reeve_proto::status::v1::get_status_request::Subject;
use reeve_proto::status::v1::status_service_client::StatusServiceClient;
use reeve_proto::status::v1::{BatchGetStatusRequest, GetStatusRequest};
use serde::Serialize;
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::house::House;
use crate::inventory::Inventory;

/// Who ask at a time, over gRPC and HTTP.
const ASKERS: u32 = 16;
/// Subjects of one batch.
const BATCH: usize = 1_000;

/// How fast one way is.
#[derive(Debug, Serialize)]
pub struct Speed {
    pub way: &'static str,
    /// Look-ups a second; each subject of a batch is one.
    pub per_s: f64,
    /// Of one call.
    pub p50_us: f64,
    pub p99_us: f64,
    pub target_per_s: Option<f64>,
}

/// Numbers without an order that a cache could guess.
struct Scattered(u32);

impl Scattered {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((u64::from(self.0) * u64::from(bound)) >> 32) as u32
    }

    fn subject(&mut self, inventory: Inventory) -> Subject {
        let tenant = self.below(inventory.tenants);
        match self.below(3) {
            0 => Subject::Tenant(inventory.id(tenant).to_string()),
            1 => Subject::Address(inventory.address(tenant, self.below(inventory.addresses)).to_string()),
            _ => Subject::Interface(inventory.interface(tenant)),
        }
    }
}

pub async fn all(house: &House, inventory: Inventory, each: Duration) -> anyhow::Result<Vec<Speed>> {
    let in_process = tokio::task::spawn_blocking(move || in_process(inventory, each)).await?;
    let mut askers = Vec::new();
    for number in 0..ASKERS {
        let client = StatusServiceClient::new(house.portal(address(number)).await?);
        askers.push((client, Scattered(number)));
    }
    let over_grpc = measure(askers, each, move |(mut client, mut any)| async move {
        let subject = Some(any.subject(inventory));
        client.get_status(GetStatusRequest { subject }).await?;
        Ok((client, any))
    });
    let over_grpc = speed("over gRPC", over_grpc.await?, 1, Some(20_000.0));
    let mut askers = Vec::new();
    for number in 0..ASKERS {
        askers.push((http(house, address(number + ASKERS)).await?, Scattered(number)));
    }
    let over_http = measure(askers, each, move |(mut sender, mut any)| async move {
        let path = match any.subject(inventory) {
            Subject::Tenant(id) => format!("/v1/status/tenants/{id}"),
            Subject::Address(address) => format!("/v1/status/addresses/{address}"),
            Subject::Interface(name) => format!("/v1/status/interfaces/{name}"),
        };
        sender.ready().await?;
        let request = Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        ensure!(answer.status() == 200, "{}", answer.status());
        answer.into_body().collect().await?;
        Ok((sender, any))
    });
    let over_http = speed("over HTTP/1.1", over_http.await?, 1, None);
    // As many as the share of each lasts: the bound is on subjects.
    let mut askers = Vec::new();
    for number in 0..ASKERS / 4 {
        let client = StatusServiceClient::new(house.portal(address(number + 2 * ASKERS)).await?);
        askers.push((client, Scattered(number), 0));
    }
    let batches = measure(askers, each, move |(mut client, mut any, asked)| async move {
        if asked == 10 {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let subjects = (0..BATCH).map(|_| GetStatusRequest { subject: Some(any.subject(inventory)) });
        let request = BatchGetStatusRequest { subjects: subjects.collect() };
        let answers = client.batch_get_status(request).await?.into_inner().answers;
        ensure!(answers.len() == BATCH, "{} answers", answers.len());
        Ok((client, any, asked + 1))
    });
    let (mut batches, _) = batches.await?;
    batches.sort_unstable();
    // Four at a time, each as long as it took: the askers wait for their share, not for the controller.
    let busy = batches.iter().map(|micros| f64::from(*micros)).sum::<f64>() / 4.0;
    let in_batches = Speed {
        way: "by 1,000 over gRPC",
        per_s: batches.len() as f64 * BATCH as f64 / (busy / 1e6),
        p50_us: quantile(&batches, 0.5),
        p99_us: quantile(&batches, 0.99),
        target_per_s: None,
    };
    Ok(vec![in_process, over_grpc, over_http, in_batches])
}

fn address(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 1, 1).to_bits() + number).into()
}

/// Lets each asker ask one question after the other; what each took in microseconds, and how long all of them asked.
async fn measure<A, F>(
    askers: Vec<A>,
    time: Duration,
    ask: impl Fn(A) -> F + Clone + Send + 'static,
) -> anyhow::Result<(Vec<u32>, Duration)>
where
    A: Send + 'static,
    F: Future<Output = anyhow::Result<A>> + Send,
{
    let began = Instant::now();
    let end = tokio::time::Instant::now() + time;
    let tasks = askers.into_iter().map(|mut asker| {
        let ask = ask.clone();
        tokio::spawn(async move {
            let mut took = Vec::new();
            loop {
                let began = Instant::now();
                match tokio::time::timeout_at(end, ask(asker)).await {
                    Ok(again) => asker = again?,
                    Err(_) => return anyhow::Ok(took),
                }
                took.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    Ok((all, began.elapsed()))
}

fn speed(way: &'static str, (mut took, time): (Vec<u32>, Duration), of: usize, target: Option<f64>) -> Speed {
    took.sort_unstable();
    Speed {
        way,
        per_s: (took.len() * of) as f64 / time.as_secs_f64(),
        p50_us: quantile(&took, 0.5),
        p99_us: quantile(&took, 0.99),
        target_per_s: target,
    }
}

/// A quantile of sorted values; 0 of none.
pub fn quantile(sorted: &[u32], share: f64) -> f64 {
    let place = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(place).map_or(0.0, |value| f64::from(*value))
}

/// The directory as the controller has it, in this process: what a look-up costs beside what brings the question.
fn in_process(inventory: Inventory, time: Duration) -> Speed {
    let tenants = (0..inventory.tenants).map(|tenant| inventory.tenant(tenant));
    let directory = Directory::default();
    let snapshot = Snapshot { tenants: Arc::new(Tenants::new(1, tenants)), ..Snapshot::default() };
    directory.publish(snapshot, None);
    let (now, mut any) = (reeve_policy::Timestamp::from_secs(1), Scattered(7));
    let addresses: Vec<IpAddr> = (0..1 << 20)
        .map(|_| inventory.address(any.below(inventory.tenants), any.below(inventory.addresses)))
        .collect();
    let (began, mut took, mut asked) = (Instant::now(), Vec::new(), 0_usize);
    let mut around = addresses.iter().cycle();
    // One in 64 is timed alone: a clock costs as much as what it would measure.
    while began.elapsed() < time {
        for place in 0..64 {
            let Some(address) = around.next() else { break };
            let single = (place == 0).then(Instant::now);
            let snapshot = directory.glance();
            let state =
                snapshot.tenants.by_address(*address).map(|tenant| snapshot.status(&tenant.id, now).state);
            std::hint::black_box(state);
            if let Some(began) = single {
                took.push(u32::try_from(began.elapsed().as_nanos()).unwrap_or(u32::MAX));
            }
            asked += 1;
        }
    }
    let time = began.elapsed();
    took.sort_unstable();
    Speed {
        way: "in process, by address, one thread",
        per_s: asked as f64 / time.as_secs_f64(),
        p50_us: quantile(&took, 0.5) / 1_000.0,
        p99_us: quantile(&took, 0.99) / 1_000.0,
        target_per_s: Some(100_000.0),
    }
}

/// A connection of HTTP/1.1 that is kept.
async fn http(house: &House, from: IpAddr) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
    let (ca, certificate, key) = house.portals_files()?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes())?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.as_bytes())?,
        )?;
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    let stream = socket.connect(house.http()).await.context("the port for HTTP")?;
    stream.set_nodelay(true)?;
    let stream =
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost")?, stream).await?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
