//! Connections to the controller, one after the other.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use reeve_policy::{NodeId, Order, OrderResult, Report};
use reeve_proto::MAX_MESSAGE_BYTES;
use reeve_proto::agent::v1::agent_service_client::AgentServiceClient;
use reeve_proto::agent::v1::{ConnectRequest, ConnectResponse};
use reeve_proto::session::{Down, Hello, ProtocolVersion, Up};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::results::{Arrival, Results};
use super::spool::Spool;
use super::{Greeting, Has, LinkError, identity};
use crate::config::ControllerSettings;
use crate::metrics::Metrics;

/// Patience between attempts: doubled from the first to the last, with some chance in it so that a fleet does not come
/// back in step.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// A connection that held this long was a good one: patience begins anew.
const GOOD_AFTER: Duration = Duration::from_secs(60);
/// One that held this long was worth something: the next attempt is not made late.
const FAIR_AFTER: Duration = Duration::from_secs(5);
const FAIR_PAUSE: Duration = Duration::from_secs(2);
/// A controller that says nothing for this long, keep-alives included, is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// The controller answers a greeting at once.
const WELCOME_PATIENCE: Duration = Duration::from_secs(10);
/// Messages between us and the transport.
const WINDOW: usize = 64;

/// The way to the controller.
#[derive(Debug)]
pub struct Controller {
    settings: ControllerSettings,
    /// The controllers' addresses, in the order in which this node tries them, and which of them is in use.
    round: Round,
    endpoint: Endpoint,
    /// Over which the next certificate is asked for.
    channel: Option<Channel>,
    /// Whether the last attempt at that failed.
    renewal_failed: bool,
    node: NodeId,
    /// Names this life of the spool.
    epoch: u64,
    spool: Spool,
    results: Results,
    /// A ping that is to be answered.
    ping: Option<u64>,
    told_dropped: u64,
    /// What the controller speaks; before it has said so, what we do.
    protocol: ProtocolVersion,
    /// Whom to tell which reports need not be kept any more.
    finished: Option<std::sync::mpsc::Sender<Vec<u64>>>,
    metrics: Metrics,
}

/// A report, with its key in the journal if it is kept there.
pub type Told = (Option<u64>, Report);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    Connect(String),
    #[error("{0}")]
    Status(String),
    #[error("the controller closed the stream")]
    Closed,
    #[error("the controller did not answer the greeting within {} s", WELCOME_PATIENCE.as_secs())]
    NoWelcome,
    #[error("the controller speaks protocol {theirs}, this agent {ours}")]
    Version { ours: ProtocolVersion, theirs: ProtocolVersion },
    #[error("an unreadable message: {0}")]
    Unreadable(#[from] reeve_proto::WireError),
    #[error("what the agent has is something else than the controller was told: it is greeted anew")]
    Policy,
    #[error("the certificate is renewed: the controller is greeted anew, with it")]
    Renewed,
    #[error("the agent stops")]
    Stopping,
}

impl Broken {
    /// Whether the connection was let go on purpose, which is no failure.
    const fn is_on_purpose(&self) -> bool {
        matches!(self, Self::Policy | Self::Renewed)
    }
}

/// How long to wait before the next attempt.
#[derive(Debug)]
struct Patience(Duration);

impl Patience {
    const fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    /// A connection held for so long.
    fn held(&mut self, lasted: Duration) {
        if lasted >= GOOD_AFTER {
            self.0 = FIRST_PAUSE;
        } else if lasted >= FAIR_AFTER {
            self.0 = self.0.min(FAIR_PAUSE);
        }
    }

    /// What to wait now; the next time it is longer.
    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LAST_PAUSE);
        pause
    }
}

/// The controllers' addresses, tried one after the other. Which is the first differs from node to node, so that a fleet spreads over
/// its controllers, and is the same each time for one node.
#[derive(Debug)]
struct Round {
    addresses: Vec<String>,
    current: usize,
    /// How many failed one after the other.
    failed: usize,
}

impl Round {
    /// `addresses` are one at least.
    fn new(addresses: &[String], node: &NodeId) -> Self {
        // FNV-1a: the same in every version of the agent.
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = node.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, mix);
        let first = usize::try_from(hash % addresses.len().max(1) as u64).unwrap_or_default();
        Self { addresses: addresses.to_vec(), current: first, failed: 0 }
    }

    fn address(&self) -> &str {
        &self.addresses[self.current]
    }

    /// Goes on to the next after a connection that held for so long and failed; whether there is one that was not asked since the last pause.
    fn next(&mut self, lasted: Duration) -> bool {
        self.current = (self.current + 1) % self.addresses.len();
        self.failed = if lasted >= FAIR_AFTER { 1 } else { self.failed + 1 };
        !self.failed.is_multiple_of(self.addresses.len())
    }
}

impl Controller {
    /// Sets the way up; nothing is sent yet.
    ///
    /// # Errors
    /// When a credential cannot be read, or the address cannot be used.
    pub fn new(settings: &ControllerSettings, node: NodeId) -> Result<Self, LinkError> {
        let round = Round::new(&settings.addresses, &node);
        for address in &settings.addresses {
            endpoint(settings, address)?;
        }
        let endpoint = endpoint(settings, round.address())?;
        // A fresh hasher is keyed at random.
        let epoch = std::hash::RandomState::new().build_hasher().finish();
        let spool = Spool::new(Spool::CAPACITY);
        Ok(Self {
            settings: settings.clone(),
            round,
            endpoint,
            channel: None,
            renewal_failed: false,
            node,
            epoch,
            spool,
            results: Results::default(),
            ping: None,
            told_dropped: 0,
            protocol: ProtocolVersion::CURRENT,
            finished: None,
            metrics: Metrics::default(),
        })
    }

    /// Talks to the controller for as long as the agent lives. `finished` is told which reports need not be kept any more.
    pub async fn run(
        mut self,
        greeting: Greeting,
        mut reports: mpsc::UnboundedReceiver<Told>,
        mut results: mpsc::UnboundedReceiver<OrderResult>,
        finished: std::sync::mpsc::Sender<Vec<u64>>,
        metrics: Metrics,
        deliver: impl Fn(Order) + Send,
    ) {
        self.finished = Some(finished);
        self.metrics = metrics;
        let mut patience = Patience::new();
        // What is wrong with each, told once for as long as it is.
        let mut complaints = BTreeMap::new();
        loop {
            let began = Instant::now();
            let broken = self.connect(&greeting, &mut reports, &mut results, &deliver).await;
            self.metrics.see_link(false);
            if matches!(broken, Broken::Stopping) {
                return;
            }
            let address = self.round.address().to_owned();
            if broken.is_on_purpose() {
                tracing::info!(controller = address, "{broken}");
                continue;
            }
            let told = broken.to_string();
            if complaints.get(&address) != Some(&told) {
                let waiting = self.spool.len();
                tracing::warn!(controller = address, waiting, "no link to the controller: {told}");
                complaints.insert(address, told);
            }
            let lasted = began.elapsed();
            patience.held(lasted);
            // The others are asked at once; only when all were is there a pause.
            let is_asked_at_once = self.round.next(lasted);
            let pause = if is_asked_at_once { Duration::ZERO } else { patience.next() };
            let end = Instant::now() + jittered(pause);
            // Reports and results keep coming while nobody listens.
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(end) => break,
                    report = reports.recv() => match report {
                        Some(report) => self.take(report),
                        None => return,
                    },
                    Some(result) = results.recv() => self.results.finish(result),
                }
            }
        }
    }

    async fn connect(
        &mut self,
        greeting: &Greeting,
        reports: &mut mpsc::UnboundedReceiver<Told>,
        results: &mut mpsc::UnboundedReceiver<OrderResult>,
        deliver: &(impl Fn(Order) + Send),
    ) -> Broken {
        match self.open(greeting).await {
            Ok((sender, mut answers)) => {
                match self.talk(&sender, &mut answers, reports, results, greeting, deliver).await {
                    Ok(never) => match never {},
                    Err(broken) => broken,
                }
            }
            Err(broken) => broken,
        }
    }

    /// Connects, greets, and is welcomed.
    async fn open(
        &mut self,
        greeting: &Greeting,
    ) -> Result<(mpsc::Sender<ConnectRequest>, Streaming<ConnectResponse>), Broken> {
        // What is in the files now: a certificate that was renewed, or replaced by hand. Where they cannot be read, what was before.
        match endpoint(&self.settings, self.round.address()) {
            Ok(endpoint) => self.endpoint = endpoint,
            Err(error) => tracing::warn!(%error, "the credentials cannot be read anew"),
        }
        self.metrics.see_certificate(identity::end(&self.settings).unwrap_or(0));
        // The endpoint's own patience ends with the TCP connection; a handshake may hang too.
        let connecting = tokio::time::timeout(WELCOME_PATIENCE, self.endpoint.connect());
        let connected = connecting.await.map_err(|_| Broken::Connect("no handshake in time".to_owned()))?;
        let channel: Channel = connected.map_err(|error| Broken::Connect(chain(&error)))?;
        self.channel = Some(channel.clone());
        let mut client = AgentServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let (sender, receiver) = mpsc::channel(WINDOW);
        let Has { tenants_version, measures, pauses, policy, policy_held } = greeting.get();
        let hello = Hello {
            node: self.node.clone(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: ProtocolVersion::CURRENT,
            epoch: self.epoch,
            tenants_version,
            measures,
            pauses,
            policy: policy.to_string(),
            policy_held,
        };
        sender.send((&Up::Hello(hello)).into()).await.map_err(|_| Broken::Closed)?;
        let opening = client.connect(ReceiverStream::new(receiver));
        let opened = tokio::time::timeout(WELCOME_PATIENCE, opening).await.map_err(|_| Broken::NoWelcome)?;
        let mut answers = opened.map_err(status)?.into_inner();
        let first = tokio::time::timeout(WELCOME_PATIENCE, next(&mut answers));
        match first.await.map_err(|_| Broken::NoWelcome)?? {
            Down::Welcome(welcome) if ProtocolVersion::CURRENT.is_compatible(welcome.protocol) => {
                tracing::info!(
                    controller = self.round.address(),
                    version = welcome.controller_version,
                    "linked to the controller"
                );
                self.metrics.see_link(true);
                self.protocol = welcome.protocol;
                self.spool.acknowledge(welcome.acknowledged);
                self.spool.retain(|report| welcome.protocol.knows_report(report));
                self.tell_finished();
                self.spool.rewind();
                self.results.rewind();
                Ok((sender, answers))
            }
            Down::Welcome(welcome) => {
                Err(Broken::Version { ours: ProtocolVersion::CURRENT, theirs: welcome.protocol })
            }
            Down::Ack(_) | Down::Order(_) | Down::Ping(_) => Err(Broken::NoWelcome),
        }
    }

    async fn talk(
        &mut self,
        sender: &mpsc::Sender<ConnectRequest>,
        answers: &mut Streaming<ConnectResponse>,
        reports: &mut mpsc::UnboundedReceiver<Told>,
        results: &mut mpsc::UnboundedReceiver<OrderResult>,
        greeting: &Greeting,
        deliver: &(impl Fn(Order) + Send),
    ) -> Result<std::convert::Infallible, Broken> {
        let mut renewing = Box::pin(renewing(&self.settings, self.channel.clone(), self.renewal_failed));
        loop {
            let has_unsent = self.ping.is_some() || self.spool.has_unsent() || self.results.has_unsent();
            tokio::select! {
                answer = next(answers) => self.handle(answer?, deliver),
                report = reports.recv() => match report {
                    Some(report) => self.take(report),
                    None => return Err(Broken::Stopping),
                },
                Some(result) = results.recv() => self.results.finish(result),
                () = greeting.changed() => return Err(Broken::Policy),
                renewed = &mut renewing => {
                    self.renewal_failed = renewed.is_err();
                    match renewed {
                        Ok(()) => return Err(Broken::Renewed),
                        Err(error) => tracing::warn!(%error, "the certificate could not be renewed; it is tried again"),
                    }
                    renewing = Box::pin(self::renewing(&self.settings, self.channel.clone(), true));
                }
                room = sender.reserve(), if has_unsent => {
                    let room = room.map_err(|_| Broken::Closed)?;
                    if let Some(up) = self.next_up() {
                        room.send((&up).into());
                    }
                }
            }
        }
    }

    /// Answers to orders go before reports: somebody waits for them.
    fn next_up(&mut self) -> Option<Up> {
        if let Some(nonce) = self.ping.take() {
            return Some(Up::Pong(nonce));
        }
        if let Some(result) = self.results.next_to_send() {
            return Some(Up::OrderResult(result));
        }
        let (sequence, report) = self.spool.next_to_send()?;
        Some(Up::Report { sequence, report: Ok(Box::new(self.protocol.worded(report))) })
    }

    fn handle(&mut self, down: Down, deliver: &impl Fn(Order)) {
        match down {
            Down::Ack(sequence) => {
                self.spool.acknowledge(sequence);
                self.tell_finished();
            }
            Down::Ping(nonce) => self.ping = Some(nonce),
            Down::Order(order) => {
                let arrival = order.id().map_or(Arrival::New, |id| self.results.arrive(id));
                if arrival == Arrival::New {
                    deliver(order);
                }
            }
            Down::Welcome(_) => tracing::debug!("a second welcome"),
        }
    }

    fn take(&mut self, (key, report): Told) {
        if !self.protocol.knows_report(&report) {
            return;
        }
        self.spool.push(key, report);
        self.tell_finished();
        let dropped = self.spool.dropped();
        // Once for the first, then for each power of two.
        if dropped > self.told_dropped && dropped.is_power_of_two() {
            tracing::error!(dropped, "reports were given up: the controller has been away for too long");
            self.told_dropped = dropped;
        }
    }

    fn tell_finished(&mut self) {
        self.metrics.see_spool(self.spool.len(), self.spool.dropped());
        let keys = self.spool.take_finished();
        if let Some(finished) = self.finished.as_ref().filter(|_| !keys.is_empty()) {
            // Nobody keeps anything when the agent ends.
            let _ = finished.send(keys);
        }
    }
}

/// The way to the controller, with the credentials that are in the files.
fn endpoint(settings: &ControllerSettings, address: &str) -> Result<Endpoint, LinkError> {
    let bad = |error: tonic::transport::Error| LinkError::Address {
        address: address.to_owned(),
        reason: chain(&error),
    };
    let endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(bad)?
        .connect_timeout(CONNECT_PATIENCE)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    match identity::read(settings)? {
        Some(tls) => endpoint.tls_config(tls).map_err(bad),
        None => Ok(endpoint),
    }
}

/// Renews the certificate when it is time; never ends where there is none.
fn renewing(
    settings: &ControllerSettings,
    channel: Option<Channel>,
    has_failed: bool,
) -> impl Future<Output = Result<(), String>> + Send + use<> {
    let (wait, settings) = (identity::renewal(settings, has_failed), settings.clone());
    async move {
        let (Some(wait), Some(channel)) = (wait, channel) else { return std::future::pending().await };
        tokio::time::sleep(wait).await;
        identity::renew(settings, channel).await
    }
}

async fn next(answers: &mut Streaming<ConnectResponse>) -> Result<Down, Broken> {
    match answers.message().await {
        Ok(Some(response)) => Ok(Down::try_from(response)?),
        Ok(None) => Err(Broken::Closed),
        Err(error) => Err(status(error)),
    }
}

fn status(status: tonic::Status) -> Broken {
    let cause = status.source().map(|cause| format!(" ({})", chain(cause))).unwrap_or_default();
    Broken::Status(format!("{}: {}{cause}", status.code(), status.message()))
}

/// An error with everything that caused it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Between half of `pause` and all of it.
fn jittered(pause: Duration) -> Duration {
    let random = std::hash::RandomState::new().build_hasher().finish();
    pause / 2 + pause.mul_f64((random % 1_000) as f64 / 2_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_by_failures_and_shrinks_by_what_held() {
        let mut patience = Patience::new();
        assert_eq!(patience.next(), FIRST_PAUSE);
        patience.held(Duration::from_secs(1));
        assert_eq!(patience.next(), FIRST_PAUSE * 2);
        for _ in 0..20 {
            assert!(patience.next() <= LAST_PAUSE);
        }
        assert_eq!(patience.next(), LAST_PAUSE);
        patience.held(FAIR_AFTER);
        assert_eq!(patience.next(), FAIR_PAUSE);
        patience.held(GOOD_AFTER);
        assert_eq!(patience.next(), FIRST_PAUSE);
        assert!(Broken::Policy.is_on_purpose() && !Broken::NoWelcome.is_on_purpose());
    }

    #[test]
    fn all_controllers_are_asked_before_there_is_a_pause() {
        let all = ["a", "b", "c"].map(str::to_owned);
        let mut firsts = std::collections::BTreeSet::new();
        for number in 0..30 {
            let node: NodeId = format!("node-{number}").parse().unwrap();
            let mut round = Round::new(&all, &node);
            firsts.insert(round.address().to_owned());
            let asked: Vec<bool> = (0..6).map(|_| round.next(Duration::ZERO)).collect();
            assert_eq!(asked, [true, true, false, true, true, false]);
            assert_eq!(round.address(), Round::new(&all, &node).address());
        }
        assert_eq!(firsts.len(), all.len());
        // One that held is followed by the others at once, whatever failed before.
        let mut round = Round::new(&all, &"n".parse().unwrap());
        assert!(round.next(Duration::ZERO) && round.next(Duration::ZERO));
        assert!(round.next(FAIR_AFTER) && round.next(Duration::ZERO) && !round.next(Duration::ZERO));
        // Who has but one waits each time.
        let mut round = Round::new(&all[..1], &"n".parse().unwrap());
        assert!(!round.next(Duration::ZERO) && !round.next(GOOD_AFTER));
    }
}
