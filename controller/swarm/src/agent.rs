//! A simulated agent: a stream, reports that are kept until they are acknowledged, and orders that are carried out at once.
//!
//! What it tells is what an agent tells of an incident: a violation, what was decided, that the measure stands, something for operators,
//! that the measure is lifted, that the violation is closed; and then of the next one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use reeve_policy::{
    Action, Alert, Class, Decision, DecisionId, LiftReason, Loss, Measure, MeasureCounters, Mode, NodeEvent,
    NodeEventKind, NodeHealth, NodeId, Order, OrderId, OrderResult, Origin, PauseScope, Report, Scope,
    TenantId, Timestamp, Until, Violation, ViolationId, ViolationState, Window,
};
use reeve_proto::agent::v1::agent_service_client::AgentServiceClient;
use reeve_proto::agent::v1::{ConnectRequest, ConnectResponse};
use reeve_proto::session::{Down, Hello, ProtocolVersion, Up};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant as TokioInstant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

use crate::Cli;
use crate::house::House;
use crate::inventory::Inventory;

/// Reports that were acknowledged and are sent again all the same after an interruption, as when the acknowledgement was lost.
const KEPT: usize = 3;
/// Between attempts to find a controller, from the first to the last: shorter than an agent's, as these are not kept waiting on purpose.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(1);
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// So much is told of why a connection broke, or was not made.
const WHY: usize = 120;
/// Steps of an incident.
const STEPS: u64 = 6;

/// What all agents share.
pub struct Fleet {
    pub inventory: Inventory,
    /// Of each agent, the way to each controller.
    endpoints: Vec<Vec<Endpoint>>,
    version: u64,
    /// Between two reports, and two heartbeats, of one agent.
    every: Duration,
    heartbeat: Duration,
    seconds: u64,
    reconnect: u32,
    /// Whether controllers are killed: then a connection that breaks is made again, wherever it can be.
    is_rough: bool,
    phase: watch::Sender<Phase>,
    pub connected: AtomicU64,
    pub sent: AtomicU64,
    pub resent: AtomicU64,
    pub reconnected: AtomicU64,
    /// Orders that arrived, each once.
    pub orders: AtomicU64,
    /// Versions of the tenants that arrived.
    pub versions: AtomicU64,
    /// Microseconds from a report until its acknowledgement.
    latencies: Mutex<Vec<u32>>,
    /// From when until when agents were without a controller.
    gaps: Mutex<Vec<(Instant, Instant)>>,
    /// Of each agent, how far it has sent, and how far that is acknowledged.
    progress: Vec<(AtomicU64, AtomicU64)>,
    /// Of each agent, what it is at.
    state: Vec<Mutex<String>>,
    /// Why connections broke, or were not made, and how often.
    whys: Mutex<BTreeMap<String, u32>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Reporting,
    Settling,
}

/// What was sent, or is stored: how many of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub violations: u64,
    pub closed: u64,
    pub decisions: u64,
    pub measures: u64,
    pub lifted: u64,
    pub events: u64,
    pub reports: u64,
}

impl Sent {
    pub fn add(&mut self, other: &Self) {
        self.violations += other.violations;
        self.closed += other.closed;
        self.decisions += other.decisions;
        self.measures += other.measures;
        self.lifted += other.lifted;
        self.events += other.events;
        self.reports += other.reports;
    }
}

impl Fleet {
    pub fn new(cli: &Cli, inventory: Inventory, version: u64, house: &House) -> anyhow::Result<Self> {
        let endpoints = (0..cli.agents)
            .map(|number| house.node(Inventory::node(number).as_str(), Inventory::home(number)));
        Ok(Self {
            inventory,
            endpoints: endpoints.collect::<Result<_, _>>()?,
            version,
            every: Duration::from_secs_f64(f64::from(cli.agents) / f64::from(cli.rate.max(1))),
            heartbeat: Duration::from_secs(cli.heartbeat.max(1)),
            seconds: cli.seconds,
            reconnect: cli.reconnect,
            is_rough: cli.kill.is_some(),
            gaps: Mutex::default(),
            progress: (0..cli.agents).map(|_| Default::default()).collect(),
            whys: Mutex::default(),
            state: (0..cli.agents).map(|_| Mutex::default()).collect(),
            phase: watch::Sender::new(Phase::Connecting),
            connected: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            resent: AtomicU64::new(0),
            reconnected: AtomicU64::new(0),
            orders: AtomicU64::new(0),
            versions: AtomicU64::new(0),
            latencies: Mutex::default(),
        })
    }

    /// Lets the agents report.
    pub fn begin(&self) {
        self.phase.send_replace(Phase::Reporting);
    }

    /// Lets them send nothing new, and end when all is acknowledged.
    pub fn end(&self) {
        self.phase.send_replace(Phase::Settling);
    }

    /// From when until when agents were without a controller, where that was not of their own doing.
    pub fn gaps(&self) -> Vec<(Instant, Instant)> {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Of whom something is not acknowledged: how many, and the first of them.
    pub fn waiting(&self) -> String {
        const SHOWN: usize = 8;
        let behind = self.progress.iter().enumerate().filter_map(|(number, (sent, acknowledged))| {
            let (sent, acknowledged) = (sent.load(Relaxed), acknowledged.load(Relaxed));
            let state = || self.state[number].lock().unwrap_or_else(PoisonError::into_inner).clone();
            (acknowledged < sent).then(|| format!("node-{number} {acknowledged} of {sent}, {}", state()))
        });
        let all: Vec<String> = behind.collect();
        format!(
            "{} agents wait: {}",
            all.len(),
            all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ")
        )
    }

    /// Why connections broke, or were not made, and how often.
    pub fn whys(&self) -> BTreeMap<String, u32> {
        self.whys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn latencies(&self) -> Vec<u32> {
        let mut all = self.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.sort_unstable();
        all
    }
}

/// One agent, over all its connections.
struct Agent {
    number: u32,
    node: NodeId,
    fleet: Arc<Fleet>,
    version: u64,
    sequence: u64,
    /// What is not acknowledged, and the last of what is, oldest first.
    spool: VecDeque<(u64, ConnectRequest, Instant)>,
    acknowledged: u64,
    sent: Sent,
    /// What operators paused, and what stands, as its next greeting tells.
    pauses: BTreeMap<PauseScope, OrderId>,
    measures: BTreeMap<DecisionId, Measure>,
    incident: Option<(Violation, Decision)>,
    seen: std::collections::BTreeSet<String>,
}

/// A connection.
struct Line {
    up: mpsc::Sender<ConnectRequest>,
    down: Streaming<ConnectResponse>,
}

/// Lives until all that it sent is acknowledged; what that was.
pub async fn live(number: u32, fleet: Arc<Fleet>, room: Arc<Semaphore>) -> anyhow::Result<Sent> {
    let node = Inventory::node(number);
    let mut phase = fleet.phase.subscribe();
    let mut agent = Agent {
        number,
        node,
        version: fleet.version,
        fleet: Arc::clone(&fleet),
        sequence: 0,
        spool: VecDeque::new(),
        acknowledged: 0,
        sent: Sent::default(),
        pauses: BTreeMap::new(),
        measures: BTreeMap::new(),
        incident: None,
        seen: std::collections::BTreeSet::new(),
    };
    let mut line = {
        let _place = room.acquire().await?;
        agent.connect(0).await?
    };
    fleet.connected.fetch_add(1, Relaxed);
    // Spread over the time, as a fleet's are.
    let share = |time: Duration| time.mul_f64(f64::from(number % 1_009) / 1_009.0);
    let mut report = tokio::time::interval_at(TokioInstant::now() + share(fleet.every), fleet.every);
    let mut heartbeat =
        tokio::time::interval_at(TokioInstant::now() + share(fleet.heartbeat), fleet.heartbeat);
    let breaks = number % 100 < fleet.reconnect;
    let mut break_at = None;
    loop {
        let now = *phase.borrow_and_update();
        if now == Phase::Settling && agent.acknowledged == agent.sequence {
            agent.sent.reports = agent.sequence;
            return Ok(agent.sent);
        }
        if now == Phase::Reporting && breaks && break_at.is_none() {
            let after = Duration::from_secs(fleet.seconds).mul_f64(0.2 + f64::from(number % 997) / 1_994.0);
            break_at = Some(TokioInstant::now() + after);
        }
        let is_broken = tokio::select! {
            message = line.down.message() => match message {
                Ok(Some(message)) => agent.take(message, &line).await?,
                broken if fleet.is_rough => {
                    agent.note(format!("broken: {broken:?}"));
                    line = agent.connect_again().await;
                    false
                }
                broken => {
                    broken.context("the controller ended the stream")?;
                    bail!("the controller hung up on {}", agent.node)
                }
            },
            _ = report.tick(), if now == Phase::Reporting => agent.report(&line).await?,
            _ = heartbeat.tick(), if now != Phase::Settling => agent.beat(&line).await?,
            () = sleep_until(break_at.unwrap_or_else(TokioInstant::now)), if break_at.is_some() && fleet.reconnected.load(Relaxed) < u64::MAX && !agent.has_broken() => true,
            changed = phase.changed() => { changed?; false }
        };
        if is_broken {
            drop(line);
            agent.seen.insert("broke off".into());
            fleet.reconnected.fetch_add(1, Relaxed);
            line = if fleet.is_rough { agent.connect_again().await } else { agent.connect(0).await? };
        }
    }
}

impl Agent {
    fn has_broken(&self) -> bool {
        self.seen.contains("broke off")
    }

    /// Takes note of how it fares with its connection.
    fn note(&self, state: String) {
        let why = state.split_once("connects: ").map_or(state.as_str(), |(_, why)| why);
        let why: String = why.chars().take(WHY).collect();
        *self.fleet.whys.lock().unwrap_or_else(PoisonError::into_inner).entry(why).or_insert(0) += 1;
        *self.fleet.state[self.number as usize].lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Connects to whichever controller takes it, as an agent does that knows them all: a short pause when none did.
    async fn connect_again(&mut self) -> Line {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            for number in 0..self.fleet.endpoints[self.number as usize].len() {
                let connecting = tokio::time::timeout(CONNECT_PATIENCE, self.connect(number));
                match connecting.await {
                    Ok(Ok(line)) => {
                        let mut gaps = self.fleet.gaps.lock().unwrap_or_else(PoisonError::into_inner);
                        gaps.push((began, Instant::now()));
                        self.note(format!("connected to {number} behind its own"));
                        return line;
                    }
                    Ok(Err(error)) => self.note(format!("{error:#}")),
                    Err(_) => self.note("no answer in time".to_owned()),
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Connects to the controller that is so many behind its first and is welcomed, and sends again what was not acknowledged, and some of
    /// what was.
    async fn connect(&mut self, after: usize) -> anyhow::Result<Line> {
        let endpoints = &self.fleet.endpoints[self.number as usize];
        let endpoint = &endpoints[(self.number as usize + after) % endpoints.len()];
        let channel = endpoint.connect().await.with_context(|| format!("{} connects", self.node))?;
        let (up, receiver) = mpsc::channel(16);
        let hello = Hello {
            node: self.node.clone(),
            agent_version: "swarm".into(),
            protocol: ProtocolVersion::CURRENT,
            epoch: 1 + u64::from(self.number),
            tenants_version: self.version,
            measures: self.measures.values().cloned().collect(),
            pauses: self.pauses.iter().map(|(scope, order)| (*scope, order.clone())).collect(),
            policy: String::new(),
            policy_held: None,
        };
        up.send((&Up::Hello(hello)).into()).await?;
        let mut client = AgentServiceClient::new(channel);
        let mut down = client.connect(ReceiverStream::new(receiver)).await?.into_inner();
        let first = down.message().await?.context("the controller hung up")?;
        let Down::Welcome(welcome) = Down::try_from(first)? else { bail!("no welcome") };
        if welcome.acknowledged < self.acknowledged {
            bail!(
                "{}: {} was acknowledged, and {} is on disk",
                self.node,
                self.acknowledged,
                welcome.acknowledged
            );
        }
        self.acknowledge(welcome.acknowledged);
        let line = Line { up, down };
        let kept: Vec<ConnectRequest> = self.spool.iter().map(|(_, request, _)| request.clone()).collect();
        for request in kept {
            self.fleet.resent.fetch_add(1, Relaxed);
            line.up.send(request).await?;
        }
        Ok(line)
    }

    /// Takes a message; whether the line broke.
    async fn take(&mut self, message: ConnectResponse, line: &Line) -> anyhow::Result<bool> {
        match Down::try_from(message)? {
            Down::Welcome(_) => bail!("a second welcome"),
            Down::Ack(number) => self.acknowledge(number),
            Down::Ping(nonce) => self.answer(Up::Pong(nonce), line).await?,
            Down::Order(Order::Tenants { version, .. } | Order::TenantsChanged { version, .. }) => {
                self.version = self.version.max(version);
                self.fleet.versions.fetch_add(1, Relaxed);
            }
            Down::Order(order) => {
                match &order {
                    Order::Pause { id, scope, .. } => _ = self.pauses.insert(*scope, id.clone()),
                    Order::Resume { scope, .. } => _ = self.pauses.remove(scope),
                    _ => {}
                }
                if let Some(id) = order.id() {
                    if self.seen.insert(id.to_string()) {
                        self.fleet.orders.fetch_add(1, Relaxed);
                    }
                    let result = OrderResult { id: id.clone(), at: now(), result: Ok(()) };
                    self.answer(Up::OrderResult(result), line).await?;
                }
            }
        }
        Ok(false)
    }

    fn acknowledge(&mut self, number: u64) {
        let before = self.acknowledged;
        self.acknowledged = before.max(number);
        self.fleet.progress[self.number as usize].1.store(self.acknowledged, Relaxed);
        let newly = self.spool.iter().filter(|(sequence, ..)| (before + 1..=number).contains(sequence));
        let micros = newly.map(|(.., at)| u32::try_from(at.elapsed().as_micros()).unwrap_or(u32::MAX));
        self.fleet.latencies.lock().unwrap_or_else(PoisonError::into_inner).extend(micros);
        while self.spool.get(KEPT).is_some_and(|(sequence, ..)| *sequence <= self.acknowledged) {
            self.spool.pop_front();
        }
    }

    async fn answer(&self, up: Up, line: &Line) -> anyhow::Result<()> {
        match line.up.send((&up).into()).await {
            Err(_) if self.fleet.is_rough => Ok(()),
            sent => Ok(sent?),
        }
    }

    async fn send(&mut self, report: Report, line: &Line) -> anyhow::Result<()> {
        self.sequence += 1;
        self.fleet.progress[self.number as usize].0.store(self.sequence, Relaxed);
        let up = Up::Report { sequence: self.sequence, report: Ok(Box::new(report)) };
        let request = ConnectRequest::from(&up);
        self.spool.push_back((self.sequence, request.clone(), Instant::now()));
        self.fleet.sent.fetch_add(1, Relaxed);
        // On a line that broke it is sent again: what came down it tells so.
        match line.up.send(request).await {
            Err(_) if self.fleet.is_rough => Ok(()),
            sent => Ok(sent?),
        }
    }

    async fn beat(&mut self, line: &Line) -> anyhow::Result<bool> {
        let health = NodeHealth {
            at: now(),
            mode: Mode::Enforce,
            policy: None,
            tenants: 5,
            measures: self.measures.len() as u64,
            vantages: 5,
            frames_received: self.sequence * 1_000,
            frames_dropped: 0,
            malformed: 0,
            flows: 1_000,
            evictions: 0,
            agent_version: "swarm".into(),
            paused: None,
            brakes: None,
        };
        self.send(Report::Health(health), line).await?;
        Ok(false)
    }

    /// The next step of an incident.
    async fn report(&mut self, line: &Line) -> anyhow::Result<bool> {
        let step = (self.sent.violations
            + self.sent.decisions
            + self.sent.measures
            + self.sent.events
            + self.sent.lifted
            + self.sent.closed)
            % STEPS;
        let (violation, decision) = match self.incident.take() {
            Some(incident) => incident,
            None => incident(
                &self.node,
                self.fleet.inventory.tenant_on(self.number, self.sent.violations as u32),
                now(),
            ),
        };
        let report = match step {
            0 => {
                self.sent.violations += 1;
                Report::Violation(violation.clone())
            }
            1 => {
                self.sent.decisions += 1;
                Report::Decision(decision.clone())
            }
            2 => {
                self.sent.measures += 1;
                let measure = Measure { decision: decision.clone(), expires: None };
                self.measures.insert(decision.id.clone(), measure.clone());
                Report::Standing { measure, at: now() }
            }
            3 => {
                self.sent.events += 1;
                Report::Event(NodeEvent { at: now(), kind: NodeEventKind::ALL[0], detail: "swarm".into() })
            }
            4 => {
                self.sent.lifted += 1;
                self.measures.remove(&decision.id);
                Report::Lifted {
                    decision: decision.id.clone(),
                    tenant: decision.tenant.clone(),
                    reason: LiftReason::Released,
                    at: now(),
                    counters: MeasureCounters { packets: 10, bytes: 600 },
                }
            }
            _ => {
                self.sent.closed += 1;
                let closed =
                    Violation { state: ViolationState::Quiet, closed: Some(now()), ..violation.clone() };
                Report::Violation(closed)
            }
        };
        if step + 1 < STEPS {
            self.incident = Some((violation, decision));
        }
        self.send(report, line).await?;
        Ok(false)
    }
}

/// A violation that opens, and what is decided about it.
pub fn incident(node: &NodeId, tenant: TenantId, at: Timestamp) -> (Violation, Decision) {
    let rule = "portscan".parse().expect("letters");
    let id = ViolationId::new(node, &tenant, &rule, at);
    let evidence = Alert {
        class: Class::PortscanHorizontal,
        tenant: tenant.clone(),
        at,
        window: Window { start: at, end: at },
        metrics: Vec::new(),
        confidence_percent: 95,
        targets: Vec::new(),
        samples: Vec::new(),
        loss: Loss::default(),
        is_suspicion: false,
    };
    let violation = Violation {
        id: id.clone(),
        node: node.clone(),
        tenant: tenant.clone(),
        rule,
        clause: "baseline/portscan".into(),
        opened: at,
        last_seen: at,
        closed: None,
        state: ViolationState::Open,
        strike: 1,
        alerts: 1,
        evidence,
    };
    let decision = Decision {
        id: DecisionId(format!("{node}.{}", at.as_nanos()).parse().expect("letters and digits")),
        tenant,
        violation: Some(id),
        clause: "baseline/portscan".into(),
        origin: Origin::Policy {
            policy: "baseline".parse().expect("letters"),
            version: 1,
            rule: "portscan".parse().expect("letters"),
            step: 1,
        },
        action: Action::Block,
        scope: Scope::All,
        rate: None,
        connections: None,
        until: Until::Released,
        at,
        mode: Mode::Enforce,
        reason: "25 hosts on port 22".into(),
        softened: None,
        reckoning: None,
    };
    (violation, decision)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
