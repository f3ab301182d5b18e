//! The agent at work: three threads and what passes between them.
//!
//! ```text
//! rings, links ─▶ sensor (capture, engine) ──Task──▶ keeper (kernel, then journal)
//!                   ▲        │                          │
//!                 orders   health                  reports, results
//!                   │        ▼                          ▼
//!                 control link (tokio) ◀──────────────────  ⇄ controller
//! ```
//!
//! The sensor never waits for the kernel's ruleset or a disk; the keeper never makes the sensor lose a frame. What happened is
//! told to the controller by the keeper, after the kernel was read back and it is in the journal. Each channel has one reader.
//!
//! A fourth thread looks for the node's own pause ([`pause`]).
//!
//! Left out: what is decided (the core), and how it gets into the kernel ([`crate::enforce`]).

mod asking;
mod choice;
mod keeper;
mod news;
mod pause;
pub(crate) mod processes;
mod sensor;
mod service;
mod store;
mod usage;
mod watch;

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;

use reeve_core::blocklist::Blocklists;
use reeve_core::detect::quota::Tally;
use reeve_core::engine::{EngineConfig, MailWord};
use reeve_core::topology::VantageKind;
use reeve_policy::language::Policy;
use reeve_policy::{Mode, Order, OrderResult, Pause, Report, Timestamp};
use reeve_telemetry::metrics::Endpoint;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc as async_mpsc, oneshot};

use crate::blocklists::{self, Wanted};
use crate::capture::{CaptureError, Clock};
use crate::config::{self, ConfigError, Loaded};
use crate::control::{Controller, Greeting, LinkError, Told};
use crate::enforce::{EnforceError, Enforcer, Ownership};
use crate::links::LinksError;
use crate::metrics::Metrics;
use crate::node;
use crate::record::RecordError;
use crate::state::pause::{ControllerPauses, LocalPause};
use crate::state::{StateError, StateFolder, assigned};

use choice::Choice;
use keeper::Keeper;
use pause::Pauses;
use sensor::Sensor;
use service::Pulse;
use store::{Kept, Store};
use usage::Accounts;

/// Why the agent cannot work.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Capture cannot begin.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The interfaces cannot be listed.
    #[error(transparent)]
    Links(#[from] LinksError),
    /// Another agent keeps the table of this network.
    #[error("another agent is running in this network")]
    AlreadyRunning,
    /// None of the interfaces is there, and none is waited for.
    #[error("none of these interfaces is there: {0}")]
    NoInterface(String),
    /// The kernel does not take the ruleset.
    #[error(transparent)]
    Enforce(#[from] EnforceError),
    /// The state cannot be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// The controller's side cannot be set up.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The metrics' port is in use, or its address is not this machine's.
    #[error("metrics at {address}: {source}")]
    Metrics {
        /// Where.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The record cannot be begun.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The system refused a thread, a signal handler or a descriptor.
    #[error("{what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}

/// Where the engine's input and output are to be written down.
#[derive(Clone, Debug)]
pub struct Record {
    /// The file.
    pub path: std::path::PathBuf,
    /// The most bytes that it may have.
    pub limit: u64,
}

/// What the sensor is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// An order of the controller's.
    Order(Box<Order>),
    /// The node's own pause is another now, or none.
    LocalPause(Option<LocalPause>),
    /// Somebody on the node releases the brakes.
    ReleaseBrakes(Pause),
    /// Other blocklists.
    Blocklists(Arc<Blocklists>),
    /// A mail server was asked, and this came of it.
    RelayChecked(asking::Answer),
    /// Settings that were read anew.
    Reload(Box<Loaded>),
    /// The end.
    Stop,
}

/// What the keeper is told.
#[derive(Debug)]
pub(crate) enum Task {
    /// What is desired has changed.
    Change(Box<keeper::Change>),
    /// What is to become of connections of the shared mail server's.
    Mail(Vec<MailWord>),
    /// What tenants have sent and received.
    Usage(Vec<Tally>),
    /// The end.
    Stop,
}

/// Where reports go; nowhere without a controller.
#[derive(Clone, Debug)]
pub(crate) struct Reports(Option<async_mpsc::UnboundedSender<Told>>);

impl Reports {
    /// Tells the controller, if there is one, what is of no use later. The link reads at once and has the bounds.
    pub fn send(&self, report: Report) {
        self.tell((None, report));
    }

    /// The same for what is kept in the journal until it has arrived.
    pub fn send_kept(&self, key: u64, report: Report) {
        self.tell((Some(key), report));
    }

    /// Whether there is a controller.
    pub fn is_any(&self) -> bool {
        self.0.is_some()
    }

    fn tell(&self, told: Told) {
        if let Some(sender) = &self.0 {
            // The link is gone only when the agent ends.
            let _ = sender.send(told);
        }
    }
}

/// Runs the agent until it is told to stop.
///
/// # Errors
/// What keeps it from beginning, and what later leaves it without purpose: no capture at all.
pub async fn run(
    config_path: &std::path::Path,
    mut loaded: Loaded,
    record: Option<&Record>,
    ownership: Ownership,
) -> Result<(), RunError> {
    let clock = Clock::start();
    let folder = StateFolder::open(&loaded.settings.state_dir)?;
    let mut left = folder.load()?;
    let (choice, chosen) = Choice::begin(loaded, left.assignment);
    loaded = chosen;
    // As it is on every node that has it: without what this one lives by.
    let written = Arc::clone(&loaded.policy);
    add_lifelines(&mut loaded);
    let settings = loaded.settings.clone();
    if settings.controller.is_none() && left.pauses != ControllerPauses::default() {
        // Nobody could ever end them.
        tracing::warn!("a pause of a controller's is not heeded: the settings name no controller");
        left.pauses = ControllerPauses::default();
    }
    for trouble in &left.troubles {
        tracing::error!("what the last run left is damaged: {trouble}");
    }
    let (command_sender, commands) = mpsc::channel();
    let (task_sender, tasks) = mpsc::channel();
    let (report_sender, reports) = async_mpsc::unbounded_channel();
    let (result_sender, results) = async_mpsc::unbounded_channel();
    let reports_out = Reports(settings.controller.as_ref().map(|_| report_sender));

    let enforcer = open_enforcer(&settings, ownership)?;
    if !left.unsent.is_empty() {
        tracing::info!(
            reports = left.unsent.len(),
            "the controller has not had these of the last run; they are sent"
        );
    }
    for (key, report) in left.unsent {
        reports_out.send_kept(key, report);
    }
    let metrics = Metrics::default();
    let endpoint = match settings.metrics {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let (finished_sender, finished) = mpsc::channel();
    let store = Store::new(
        folder,
        Kept {
            journal: left.journal,
            memory: left.memory.clone(),
            tenants_version: left.roster.version,
            pauses: left.pauses.clone(),
            cases: left.cases.clone(),
        },
        reports_out.clone(),
        finished,
        clock,
        metrics.clone(),
    );
    let mut pulse = Pulse::new();
    let (ready_sender, ready) = oneshot::channel();
    let keeper = Keeper::new(enforcer, store, &loaded, clock, result_sender, ready_sender, metrics.clone());
    let greeting = keeper.greeting();
    greeting.set_policy(&written, choice.held(&written));
    let first_lists = wanted_lists(&loaded);
    let mut sensor = Sensor::new(loaded, clock, reports_out, task_sender.clone(), record, metrics.clone())?;
    sensor.set_greeting(greeting.clone());
    sensor.set_asker(asking::Asker::start(command_sender.clone()));
    let pauses = Pauses { local: left.local_pause.clone(), controller: left.pauses };
    let accounts = Accounts::restore(left.usage, clock.now());
    sensor.restore(left.memory, left.roster, accounts, pauses, clock.now());

    let _only = claim_network()?;
    let (keeper_beat, sensor_beat) = (pulse.beat(), pulse.beat());
    let keeper = spawn("reeve-keeper", move || keeper.run(&tasks, &keeper_beat))?;
    let (ended_sender, ended) = oneshot::channel();
    let sensor = spawn("reeve-sensor", move || {
        let result = sensor.run(&commands, &sensor_beat);
        let _ = ended_sender.send(());
        result
    })?;
    // It ends with the process; nothing waits for it.
    let (state_dir, pause_commands) = (settings.state_dir.clone(), command_sender.clone());
    spawn("reeve-pause", move || pause::follow(state_dir, left.local_pause, pause_commands))?;
    let list_commands = command_sender.clone();
    let (wanted_sender, wanted) = mpsc::channel();
    let list_metrics = metrics.clone();
    spawn("reeve-lists", move || {
        blocklists::run(&wanted, first_lists, &list_metrics, |lists| {
            list_commands.send(Command::Blocklists(lists)).is_ok()
        });
    })?;
    if let Some(endpoint) = endpoint {
        let own = metrics.clone();
        tokio::spawn(endpoint.serve(metrics.registry(), || {}, move || own.troubles()));
    }
    let streams =
        Streams { reports, results, greeting, finished: finished_sender, metrics, lists: wanted_sender };
    let life = Life { ended, ready, pulse };
    let running = Running { settings: &settings, policy: written, choice };
    let outcome = serve(config_path, running, &command_sender, streams, life).await;
    let _ = command_sender.send(Command::Stop);
    let sensed = join(sensor);
    let _ = task_sender.send(Task::Stop);
    join(keeper);
    outcome?;
    sensed
}

struct Streams {
    reports: async_mpsc::UnboundedReceiver<Told>,
    results: async_mpsc::UnboundedReceiver<OrderResult>,
    greeting: Greeting,
    finished: mpsc::Sender<Vec<u64>>,
    metrics: Metrics,
    lists: mpsc::Sender<Wanted>,
}

/// By what the node runs.
struct Running<'r> {
    settings: &'r config::Settings,
    /// The policy in force, without what the node lives by.
    policy: Arc<Policy>,
    choice: Choice,
}

impl Running<'_> {
    /// Has settings and a policy come into force, and the controller told.
    fn enter(&mut self, mut loaded: Loaded, streams: &Outlets, commands: &mpsc::Sender<Command>) {
        loaded.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
        self.policy = Arc::clone(&loaded.policy);
        streams.greeting.set_policy(&self.policy, self.choice.held(&self.policy));
        add_lifelines(&mut loaded);
        let _ = streams.lists.send(wanted_lists(&loaded));
        let _ = commands.send(Command::Reload(Box::new(loaded)));
    }
}

/// Whom a change of the policy concerns, beside the sensor.
struct Outlets {
    greeting: Greeting,
    lists: mpsc::Sender<Wanted>,
}

/// What is known of the threads that do the work.
struct Life {
    /// Told when the sensor ends.
    ended: oneshot::Receiver<()>,
    /// Told when the measures of the last run have been laid down.
    ready: oneshot::Receiver<()>,
    pulse: Pulse,
}

/// Talks to the controller and listens to signals until the end.
async fn serve(
    config_path: &std::path::Path,
    mut running: Running<'_>,
    commands: &mpsc::Sender<Command>,
    streams: Streams,
    mut life: Life,
) -> Result<(), RunError> {
    let failed = |what| move |source| RunError::System { what, source };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed("signal handler"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed("signal handler"))?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed("signal handler"))?;
    let outlets = Outlets { greeting: streams.greeting, lists: streams.lists };
    let (lay, mut laid) = tokio::sync::watch::channel(false);
    // The latest is all that matters.
    let (assign, mut assignments) = tokio::sync::watch::channel(assigned::none());
    let link = match &running.settings.controller {
        Some(controller) => {
            let controller = Controller::new(controller, running.settings.node.clone())?;
            let orders = commands.clone();
            let deliver = move |order| {
                match order {
                    // One that is told again may be answered otherwise since.
                    Order::Policy(assignment) => {
                        _ = assign.send_if_modified(|last| {
                            let is_due = assignment.number >= last.number;
                            if is_due {
                                *last = assignment;
                            }
                            is_due
                        })
                    }
                    // Whoever reads is gone only when the agent ends.
                    order => _ = orders.send(Command::Order(Box::new(order))),
                }
            };
            let greeting = outlets.greeting.clone();
            Some(tokio::spawn(async move {
                // A greeting names what stands. Before the last run's measures have been laid down it would name none, and the controller would take
                // everybody for let go.
                let _ = laid.wait_for(|laid| *laid).await;
                controller
                    .run(
                        greeting,
                        streams.reports,
                        streams.results,
                        streams.finished,
                        streams.metrics,
                        deliver,
                    )
                    .await;
            }))
        }
        None => None,
    };
    let patience = service::watchdog();
    let mut feeding = tokio::time::interval(patience.unwrap_or(NO_WATCHDOG) / 3);
    let mut is_ready = false;
    let why = loop {
        tokio::select! {
            told = &mut life.ready, if !is_ready => {
                is_ready = true;
                lay.send_replace(true);
                if told.is_ok() {
                    service::ready();
                }
            }
            _ = feeding.tick() => {
                if patience.is_some_and(|patience| life.pulse.is_alive(patience / 2)) {
                    service::alive();
                }
            }
            _ = terminate.recv() => break "SIGTERM",
            _ = interrupt.recv() => break "SIGINT",
            _ = &mut life.ended => break "the sensor ended",
            Ok(()) = assignments.changed() => {
                let assignment = assignments.borrow_and_update().clone();
                match running.choice.decide(assignment) {
                    Some(loaded) => running.enter(loaded, &outlets, commands),
                    // Refused, or late: what is told of it may be something else now, the policy is not.
                    None => {
                        let held = running.choice.held(&running.policy);
                        outlets.greeting.set_policy(&running.policy, held);
                    }
                }
            }
            _ = hangup.recv() => {
                service::reloading();
                let read = config::load(config_path).map_err(|error| error.to_string());
                match read.and_then(|base| running.choice.reload(base)) {
                    Ok(loaded) => {
                        if let Some(step_back) = loaded.policy.step_back(&running.policy) {
                            tracing::warn!("{step_back}");
                        }
                        running.enter(loaded, &outlets, commands);
                    }
                    Err(error) => {
                        tracing::error!(%error, "the settings are as before: the new ones cannot be used");
                    }
                }
                service::ready();
            }
        }
    };
    service::stopping();
    tracing::info!(why, "stopping; measures stand until their time");
    if let Some(link) = link {
        link.abort();
    }
    Ok(())
}

/// Listens where Prometheus reads.
async fn bind(address: std::net::SocketAddr) -> Result<Endpoint, RunError> {
    let bound = Endpoint::bind(address).await;
    let endpoint = bound.map_err(|source| RunError::Metrics { address, source })?;
    tracing::info!(%address, "metrics are at /metrics");
    Ok(endpoint)
}

/// Two agents in one network would fight over one table. A name in the abstract namespace of Unix sockets belongs to the
/// network namespace, and is given back by the kernel when the process ends, however it does.
fn claim_network() -> Result<std::os::unix::net::UnixDatagram, RunError> {
    use std::os::linux::net::SocketAddrExt as _;
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => RunError::AlreadyRunning,
        _ => RunError::System { what: "the name of the agent in this network", source },
    };
    let name = std::os::unix::net::SocketAddr::from_abstract_name(b"reeve-agent").map_err(failed)?;
    std::os::unix::net::UnixDatagram::bind_addr(&name).map_err(failed)
}

/// The blocklists of the settings, with what must never stand on one.
fn wanted_lists(loaded: &Loaded) -> Wanted {
    let policy = &loaded.policy;
    let spared = policy.protected_destinations.iter().chain(&policy.own_addresses).copied().collect();
    Wanted { lists: loaded.settings.blocklists.clone(), spared }
}

/// Adds what the node lives by to what is never cut off.
fn add_lifelines(loaded: &mut Loaded) {
    let policy = Arc::make_mut(&mut loaded.policy);
    let peers = node::controllers(loaded.settings.controller.as_ref());
    let node::Lifelines { vital, own } = node::lifelines(&peers);
    policy.protected_destinations.extend(peers);
    policy.protected_destinations.extend(vital);
    policy.own_addresses.extend(own);
}

/// Only a node that may act has anything to do with the kernel's ruleset; one that observes takes away what an earlier
/// run that might have acted left.
///
/// Where the node's own processes are watched it takes our table to see them.
fn open_enforcer(settings: &config::Settings, ownership: Ownership) -> Result<Option<Enforcer>, RunError> {
    let extras = settings.extras();
    match settings.mode {
        Mode::Observe if extras.local.is_some() => Ok(Some(Enforcer::open_with(ownership, extras)?)),
        Mode::Enforce => {
            let mut enforcer = Enforcer::open_with(ownership, extras)?;
            // Asking takes the same capability as changing, so what is missing is told before anything begins.
            enforcer.is_installed()?;
            Ok(Some(enforcer))
        }
        Mode::Observe => {
            if let Err(error) = clear_leftovers() {
                tracing::debug!(%error, "the ruleset could not be looked at; observing needs none");
            }
            Ok(None)
        }
    }
}

fn clear_leftovers() -> Result<(), EnforceError> {
    let mut enforcer = Enforcer::open(Ownership::Auto)?;
    if enforcer.is_installed()? {
        tracing::warn!("this node is only to observe: the measures of an earlier run are taken away");
        enforcer.clear()?;
    }
    Ok(())
}

/// What the engine is made of by these settings.
fn engine_config(loaded: &Loaded, seed: u64) -> EngineConfig {
    EngineConfig {
        node: loaded.settings.node.clone(),
        mode: loaded.settings.mode,
        policy: Arc::clone(&loaded.policy),
        flow_bytes: (loaded.settings.limits.flow_mib as usize) << 20,
        seed,
        shards: 1,
    }
}

fn spawn<T: Send + 'static>(
    name: &'static str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<thread::JoinHandle<T>, RunError> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned.map_err(|source| RunError::System { what: "a thread", source })
}

/// A panic in a thread that holds firewall state ends the process (`panic = "abort"`); in tests it goes on here.
fn join<T>(thread: thread::JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// How often nothing is done where no service manager waits for a sign of life.
const NO_WATCHDOG: std::time::Duration = std::time::Duration::from_secs(3_600);

/// What a kind of vantage is called.
fn kind_name(kind: VantageKind) -> &'static str {
    match kind {
        VantageKind::Port => "port",
        VantageKind::Uplink => "uplink",
        VantageKind::Mirror => "mirror",
        VantageKind::Local => "local",
    }
}

/// Live, the engine is told the time a little late, so that frames still in a ring come before the deadlines behind them.
pub(crate) const LAG: std::time::Duration =
    std::time::Duration::from_millis(crate::capture::ring::RETIRE_MS as u64 + 20);

/// The engine's time at `now`.
pub(crate) fn engine_time(now: Timestamp) -> Timestamp {
    now.minus(LAG)
}
