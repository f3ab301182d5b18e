//! `reeve-swarm`: a fleet of simulated agents before a real controller, and who asks it meanwhile.
//!
//! The controller is the real binary in a process of its own, with certificates. Each agent is a connection of its own with TLS and a
//! certificate of its own, and keeps to the protocol: it numbers its reports, keeps them until they are acknowledged, sends them again
//! after an interruption, some of those that were acknowledged too, answers pings and orders. Some break off and come back.
//!
//! It fails where the database does not hold exactly what was sent, and prints what it measured. It does not simulate packets,
//! detection or kernels, nor a first sync of all tenants: agents come as those that have them.

mod agent;
mod chaos;
mod house;
mod inventory;
mod lookups;
mod pages;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Parser;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{PauseRequest, PauseTarget, ResumeRequest, pause_target};
use serde::Serialize;
use tokio::task::JoinSet;

use agent::{Fleet, Sent};
use house::{Engine, House, Stored};
use inventory::Inventory;

/// Agents that connect at a time: a handshake costs both sides a millisecond of a core.
const CONNECTING: usize = 64;
/// What was sent is acknowledged within this time.
const SETTLING: Duration = Duration::from_secs(60);

/// Plays a fleet before a controller, checks that nothing is lost or counted twice, and prints what it measured.
#[derive(Debug, Parser)]
#[command(name = "reeve-swarm", version)]
struct Cli {
    /// How many agents.
    #[arg(long, default_value_t = 10_000)]
    agents: u32,
    /// How many tenants.
    #[arg(long, default_value_t = 50_000)]
    tenants: u32,
    /// How many addresses each tenant has, the last of them an IPv6 prefix.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=200))]
    addresses: u32,
    /// Reports a second, of all agents together.
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seconds between the heartbeats of an agent.
    #[arg(long, default_value_t = 30)]
    heartbeat: u64,
    /// How many agents in a hundred break off once and come back.
    #[arg(long, default_value_t = 5)]
    reconnect: u32,
    /// What the controllers keep their state in.
    #[arg(long, value_enum, default_value = "sqlite")]
    engine: Engine,
    /// How many controllers; more than one share a PostgreSQL.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    controllers: u8,
    /// Kill a controller or the database about every so many seconds, in place of measuring: what was acknowledged is to be there
    /// once, and nobody is to be without an answer for long.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    kill: Option<u64>,
    /// Measure how fast the console's pages are with so many violations in the store, in place of the fleet.
    #[arg(long, value_name = "VIOLATIONS", conflicts_with = "kill", value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    pages: Option<u32>,
    /// Where `reeve-controller` is; beside this program if left out.
    #[arg(long, value_name = "FILE")]
    controller: Option<PathBuf>,
    /// One line of JSON in place of the table.
    #[arg(long)]
    json: bool,
}

/// What was measured. Times are in milliseconds unless they say otherwise, memory in MiB.
#[derive(Debug, Default, Serialize)]
struct Figures {
    agents: u32,
    tenants: u32,
    prefixes: u64,
    import_ms: u64,
    connect_s: f64,
    memory_idle_mib: u64,
    memory_mib: u64,
    memory_peak_mib: u64,
    cpu_cores: f64,
    reports: u64,
    reports_per_s: f64,
    resent: u64,
    reconnected: u64,
    stored: u64,
    acknowledged_p50_ms: f64,
    acknowledged_p99_ms: f64,
    pause_reached_all_ms: u64,
    resume_reached_all_ms: u64,
    tenant_reached_all_ms: Option<u64>,
    lookups: Vec<lookups::Speed>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let printed = runtime.map_err(anyhow::Error::from).and_then(|runtime| match (cli.kill, cli.pages) {
        (Some(every), _) => runtime.block_on(rough(&cli, Duration::from_secs(every))),
        (_, Some(violations)) => runtime.block_on(look(&cli, violations)),
        _ => runtime.block_on(play(&cli)).and_then(|figures| print(&figures, cli.json)),
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "reeve-swarm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Has every agent connect; what each has sent when it ends.
async fn connect(fleet: &Arc<Fleet>, agents: u32) -> anyhow::Result<JoinSet<anyhow::Result<Sent>>> {
    let mut living = JoinSet::new();
    let room = Arc::new(tokio::sync::Semaphore::new(CONNECTING));
    for number in 0..agents {
        living.spawn(agent::live(number, Arc::clone(fleet), Arc::clone(&room)));
    }
    until("every agent is connected", Duration::from_secs(600), || {
        fleet.connected.load(Relaxed) == u64::from(agents)
    })
    .await?;
    Ok(living)
}

/// Lets the agents end when all is acknowledged, and the controllers behind them; what was sent and what is on disk.
async fn settle(
    house: &House,
    fleet: &Fleet,
    mut agents: JoinSet<anyhow::Result<Sent>>,
) -> anyhow::Result<(Sent, Stored)> {
    fleet.end();
    let mut sent = Sent::default();
    let settled = tokio::time::timeout(SETTLING, async {
        while let Some(one) = agents.join_next().await {
            sent.add(&one.context("an agent's task failed")??);
        }
        anyhow::Ok(())
    });
    let settled = settled.await;
    settled.with_context(|| format!("not everything was acknowledged in time; {}", fleet.waiting()))??;
    house.stop().await?;
    Ok((sent, house.stored().await?))
}

/// What was sent is on disk, once.
fn ensure_once(sent: &Sent, stored: &Stored) -> anyhow::Result<()> {
    ensure!(stored.refused == 0, "{} reports were refused", stored.refused);
    ensure!(*sent == stored.sent, "sent {sent:?}, but the database holds {:?}", stored.sent);
    Ok(())
}

async fn play(cli: &Cli) -> anyhow::Result<Figures> {
    let inventory = Inventory { tenants: cli.tenants, addresses: cli.addresses, nodes: cli.agents };
    let mut figures = Figures {
        agents: cli.agents,
        tenants: cli.tenants,
        prefixes: u64::from(cli.tenants) * u64::from(cli.addresses),
        ..Figures::default()
    };
    let house = House::start(cli.controller.as_deref(), cli.engine, cli.controllers.into()).await?;
    let operator = house.operator(0).await?;
    let began = Instant::now();
    let version = inventory.import(&operator).await?;
    figures.import_ms = millis(began.elapsed());

    let fleet = Arc::new(Fleet::new(cli, inventory, version, &house)?);
    let began = Instant::now();
    let agents = connect(&fleet, cli.agents).await?;
    figures.connect_s = began.elapsed().as_secs_f64();
    figures.memory_idle_mib = house.memory()?.0;

    // The agents report; meanwhile others ask, and the fleet is told something.
    let (cpu, began, before) = (house.cpu_seconds()?, Instant::now(), fleet.sent.load(Relaxed));
    fleet.begin();
    let end = tokio::time::Instant::now() + Duration::from_secs(cli.seconds);
    tokio::time::sleep(Duration::from_secs(cli.seconds.min(20) / 4)).await;
    (figures.pause_reached_all_ms, figures.resume_reached_all_ms) =
        pause(&operator, &fleet, cli.agents).await?;
    figures.tenant_reached_all_ms = inventory.change_one(&operator, &fleet).await?;
    // Of the rest a part without questions, so that what the agents cost is known.
    let left = end.saturating_duration_since(tokio::time::Instant::now());
    tokio::time::sleep(left / 3).await;
    let took = began.elapsed().as_secs_f64();
    figures.cpu_cores = (house.cpu_seconds()? - cpu) / took;
    figures.reports_per_s = (fleet.sent.load(Relaxed) - before) as f64 / took;
    let each = end.saturating_duration_since(tokio::time::Instant::now()) / 4;
    figures.lookups = lookups::all(&house, inventory, each).await?;
    tokio::time::sleep_until(end).await;
    (figures.memory_mib, figures.memory_peak_mib) = house.memory()?;

    let (sent, stored) = settle(&house, &fleet, agents).await?;
    ensure_once(&sent, &stored)?;
    let latencies = fleet.latencies();
    Ok(Figures {
        reports: fleet.sent.load(Relaxed),
        resent: fleet.resent.load(Relaxed),
        reconnected: fleet.reconnected.load(Relaxed),
        stored: sent.reports,
        acknowledged_p50_ms: lookups::quantile(&latencies, 0.5) / 1_000.0,
        acknowledged_p99_ms: lookups::quantile(&latencies, 0.99) / 1_000.0,
        ..figures
    })
}

/// Asks for the console's pages.
async fn look(cli: &Cli, violations: u32) -> anyhow::Result<()> {
    let inventory = Inventory { tenants: cli.tenants, addresses: cli.addresses, nodes: cli.agents };
    let house = House::start(cli.controller.as_deref(), cli.engine, 1).await?;
    let speeds = pages::measure(&house, inventory, violations).await?;
    house.stop().await?;
    pages::print(&speeds)
}

/// The longest that an agent may be without an answer while a controller lives.
const LONGEST_GAP: Duration = Duration::from_secs(5);
/// A person acts so often while controllers are killed: ten minutes of it are fewer acts than agents.
const ACT_EVERY: Duration = Duration::from_millis(350);

/// Kills controllers and the database while agents report and a person acts, and checks what is on disk then.
async fn rough(cli: &Cli, every: Duration) -> anyhow::Result<()> {
    let inventory = Inventory { tenants: cli.tenants, addresses: cli.addresses, nodes: cli.agents };
    ensure!(
        cli.engine == Engine::Postgres && cli.controllers > 1,
        "--kill takes --engine postgres and several --controllers"
    );
    let house = Arc::new(House::start(cli.controller.as_deref(), cli.engine, cli.controllers.into()).await?);
    let version = inventory.import(&house.operator(0).await?).await?;
    let fleet = Arc::new(Fleet::new(cli, inventory, version, &house)?);
    let agents = connect(&fleet, cli.agents).await?;
    fleet.begin();
    let (end, log) = (Instant::now() + Duration::from_secs(cli.seconds), Arc::default());
    let killing = tokio::spawn(chaos::kill(Arc::clone(&house), every, end, Arc::clone(&log)));
    let acts = chaos::act(Arc::clone(&house), inventory, ACT_EVERY, end).await?;
    killing.await??;
    let (sent, stored) = settle(&house, &fleet, agents).await?;
    let (orders, ids) = house.pauses().await?;
    let log = log.lock().unwrap_or_else(PoisonError::into_inner);
    let mut gaps: Vec<Duration> = fleet.gaps().into_iter().map(|gap| log.unexcused(gap)).collect();
    gaps.sort_unstable();
    let longest = gaps.last().copied().unwrap_or_default();
    let median = gaps.get(gaps.len() / 2).copied().unwrap_or_default();
    let mut out = std::io::stdout().lock();
    for (why, times) in fleet.whys() {
        writeln!(out, "{times:7} times: {why}")?;
    }
    writeln!(out, "killed: controllers {} times, the database {} times", log.controllers, log.database)?;
    writeln!(
        out,
        "reports: {} sent, {} sent twice, {} stored",
        sent.reports,
        fleet.resent.load(Relaxed),
        stored.sent.reports
    )?;
    writeln!(out, "acts: {acts} acknowledged, {ids} stored, on {orders} nodes")?;
    writeln!(
        out,
        "agents without a controller while one lived: {} times, {:.1} s at the median, {:.1} s at the most",
        gaps.len(),
        median.as_secs_f64(),
        longest.as_secs_f64()
    )?;
    ensure_once(&sent, &stored)?;
    ensure!(acts == ids && acts == orders, "{acts} acts were acknowledged");
    ensure!(longest <= LONGEST_GAP, "an agent was without an answer for {longest:?}");
    ensure!(log.controllers > 0, "nothing was killed: more --seconds");
    Ok(())
}

/// Pauses the fleet and resumes it; how long until each had reached every agent.
async fn pause(
    operator: &tonic::transport::Channel,
    fleet: &Fleet,
    agents: u32,
) -> anyhow::Result<(u64, u64)> {
    let mut client = OperatorServiceClient::new(operator.clone());
    let target = || Some(PauseTarget { target: Some(pause_target::Target::Fleet(true)) });
    let mut times = [0; 2];
    for (place, time) in times.iter_mut().enumerate() {
        let (began, before) = (Instant::now(), fleet.orders.load(Relaxed));
        if place == 0 {
            client
                .pause(PauseRequest { target: target(), reason: "swarm".into(), ..Default::default() })
                .await?;
        } else {
            client
                .resume(ResumeRequest { target: target(), reason: "swarm".into(), ..Default::default() })
                .await?;
        }
        // Those that are away for a moment get it when they are back; it is they who are waited for, too.
        let all = before + u64::from(agents);
        until("an order reached every agent", Duration::from_secs(60), || fleet.orders.load(Relaxed) >= all)
            .await?;
        *time = millis(began.elapsed());
    }
    Ok((times[0], times[1]))
}

/// Waits until something is so.
async fn until(what: &str, patience: Duration, is_so: impl Fn() -> bool) -> anyhow::Result<()> {
    let waited = tokio::time::timeout(patience, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.with_context(|| format!("it took longer than {patience:?} until {what}"))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn print(figures: &Figures, is_json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if is_json {
        return Ok(writeln!(out, "{}", serde_json::to_string(figures)?)?);
    }
    let mut line = |what: &str, seen: String, target: &str, is_reached: Option<bool>| {
        let verdict = is_reached.map_or("", |reached| if reached { "reached" } else { "SHORT" });
        let text = format!("{what:<58}  {seen:<40}  {target:<22}  {verdict}");
        writeln!(out, "{}", text.trim_end())
    };
    line("figure", "measured".into(), "target", None)?;
    let fleet =
        format!("{} tenants, {} prefixes, {} ms", figures.tenants, figures.prefixes, figures.import_ms);
    line("inventory imported", fleet, "", None)?;
    let connected = format!("{} streams, TLS, in {:.1} s", figures.agents, figures.connect_s);
    line("agents connected", connected, "10,000 streams", Some(figures.agents >= 10_000))?;
    let memory =
        format!("{} / {} / {} MiB", figures.memory_idle_mib, figures.memory_mib, figures.memory_peak_mib);
    line("controller's memory: idle, at the end, peak", memory, "", None)?;
    line("controller's processor while agents report", format!("{:.2} cores", figures.cpu_cores), "", None)?;
    let reports =
        format!("{:.0}/s; {} stored, {} sent twice", figures.reports_per_s, figures.stored, figures.resent);
    line("reports", reports, "no loss, no doubles", Some(true))?;
    line("agents that broke off and came back", figures.reconnected.to_string(), "", None)?;
    let times =
        format!("p50 {:.1} ms, p99 {:.1} ms", figures.acknowledged_p50_ms, figures.acknowledged_p99_ms);
    line("report until it is acknowledged, on disk", times, "", None)?;
    let reached = [("pause", figures.pause_reached_all_ms), ("resume", figures.resume_reached_all_ms)];
    let tenant = figures.tenant_reached_all_ms.map(|time| ("another tenant", time));
    for (what, time) in reached.into_iter().chain(tenant) {
        line(&format!("{what}: until every agent has it"), format!("{time} ms"), "2 s", Some(time <= 2_000))?;
    }
    for one in &figures.lookups {
        let seen = format!("{:.0}/s; p50 {:.1} µs, p99 {:.1} µs", one.per_s, one.p50_us, one.p99_us);
        let (target, reached) = match one.target_per_s {
            Some(target) => {
                (format!("{target:.0}/s, p99 5 ms"), Some(one.per_s >= target && one.p99_us <= 5_000.0))
            }
            None => (String::new(), None),
        };
        line(&format!("look-ups {}", one.way), seen, &target, reached)?;
    }
    Ok(())
}
