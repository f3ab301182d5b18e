//! The sensor: frames, news of interfaces and orders into the engine; what comes out to the keeper and the controller.

mod brakes;
mod exemptions;
mod history;
mod impose;
mod log;
mod verify;

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use reeve_core::engine::{Engine, Input, Output};
use reeve_policy::judge::BRAKE;
use reeve_policy::language::check_tenants;
use reeve_policy::{
    CheckVerdict, DesiredState, Lift, LiftReason, Loss, Measure, Mode, Name, NodeEvent, NodeEventKind,
    NodeHealth, Order, OrderFailure, OrderId, Pause, PolicyVersion, Report, Tenant, TenantId, Timestamp,
};

pub(super) use log::behind;
use log::{log, log_notices};

use super::asking::{Answer, Asker};
use super::keeper::{Change, Lifted};
use super::news::News;
use super::pause::Pauses;
use super::service::Beat;
use super::usage::Accounts;
use super::watch::{Watch, local_vantage};
use super::{Command, Record, Reports, RunError, Task, engine_config, engine_time};
use crate::capture::{CaptureError, Clock, LocalSource, RingSet, Source};
use crate::config::Loaded;
use crate::control::Greeting;
use crate::metrics::Metrics;
use crate::record::Recorded;
use crate::state::Roster;
use crate::state::journal::Memory;

/// How long the sensor waits for frames before it looks at anything else.
const WAIT: Duration = Duration::from_millis(20);
/// How often losses are asked for and time is told.
const TICK: Duration = Duration::from_millis(50);
/// How often what tenants use is written down and told.
const USAGE_EVERY: Duration = Duration::from_secs(60);
/// How often the node's health is told.
const HEALTH_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Sensor {
    core: Recorded,
    loaded: Loaded,
    clock: Clock,
    rings: RingSet,
    /// The log of the node's own processes.
    local: Option<LocalSource>,
    watch: Watch,
    reports: Reports,
    keeper: mpsc::Sender<Task>,
    /// The tenants in force, and the controller's version of them; 0 for the local file's.
    tenants: Vec<Arc<Tenant>>,
    tenants_version: u64,
    /// What tenants have sent and received.
    accounts: Accounts,
    dropped: u64,
    has_way_out: bool,
    /// Frames received and dropped when the share of the lost was last looked at.
    losses: Loss,
    is_blind: bool,
    /// Whether it was told that the history is not written.
    history_fails: bool,
    pauses: Pauses,
    /// The one that the engine was told of.
    paused: Option<Pause>,
    news: News,
    /// When the last event was told of those that may happen to several tenants at once.
    last_apart: Timestamp,
    /// Exemptions of whose end was told.
    ending: exemptions::Ending,
    /// Order results that wait for the kernel.
    awaiting: Vec<OrderId>,
    /// Those that wait for the disk.
    awaiting_disk: Vec<OrderId>,
    imposed: Vec<Measure>,
    lifted: Vec<Lifted>,
    /// What happened, to be kept and told.
    happened: Vec<Report>,
    changed: bool,
    metrics: Metrics,
    /// Who asks mail servers, if anybody does.
    asker: Option<Asker>,
    greeting: Greeting,
    /// Which operator has a tenant's mail server asked.
    verifying: BTreeMap<TenantId, String>,
}

impl Sensor {
    pub fn new(
        loaded: Loaded,
        clock: Clock,
        reports: Reports,
        keeper: mpsc::Sender<Task>,
        record: Option<&Record>,
        metrics: Metrics,
    ) -> Result<Self, RunError> {
        let failed = |source| RunError::System { what: "epoll", source };
        let mut rings = RingSet::new(clock).map_err(failed)?;
        let local = match &loaded.settings.local {
            Some(local) => {
                let id = local_vantage().id;
                let copy = local.ruleset().read_len;
                let source = LocalSource::open(local.group, copy, id, clock)?;
                rings.wake_for(&source).map_err(failed)?;
                tracing::info!(group = local.group, "watching the node's own processes");
                Some(source)
            }
            None => None,
        };
        let mut watch = Watch::new(&loaded)?;
        watch.open_all(&mut rings)?;
        let missing = watch.missing();
        if watch.vantages().is_empty() && !watch.has_wildcards() {
            return Err(RunError::NoInterface(missing.join(", ")));
        }
        for name in missing {
            tracing::warn!(interface = name, "there is no such interface; it will be watched when it comes");
        }
        warn_if_blind(&watch);
        // Only spreads hashes; a tenant cannot guess it, and it never shows.
        let seed = clock.now().as_nanos() ^ u64::from(std::process::id()) << 32;
        let config = engine_config(&loaded, seed);
        let historian = history::open(&loaded, &config, clock.now());
        let mut core = match record {
            Some(record) => Recorded::recording(config, &record.path, record.limit)?,
            None => Recorded::new(config),
        };
        if let Some(historian) = historian {
            core.keep_history(historian);
        }
        let tenants: Vec<Arc<Tenant>> = loaded.tenants.iter().cloned().map(Arc::new).collect();
        Ok(Self {
            core,
            loaded,
            clock,
            rings,
            local,
            watch,
            reports,
            keeper,
            tenants,
            tenants_version: 0,
            accounts: Accounts::default(),
            dropped: 0,
            has_way_out: true,
            losses: Loss { received: 0, dropped: 0 },
            is_blind: false,
            history_fails: false,
            pauses: Pauses::default(),
            paused: None,
            news: News::default(),
            last_apart: Timestamp::EPOCH,
            ending: exemptions::Ending::default(),
            awaiting: Vec::new(),
            awaiting_disk: Vec::new(),
            imposed: Vec::new(),
            lifted: Vec::new(),
            happened: Vec::new(),
            changed: true,
            metrics,
            asker: None,
            greeting: Greeting::default(),
            verifying: BTreeMap::new(),
        })
    }

    /// Says who asks mail servers whether they are open relays.
    /// By what a controller is greeted anew.
    pub fn set_greeting(&mut self, greeting: Greeting) {
        self.greeting = greeting;
    }

    pub fn set_asker(&mut self, asker: Asker) {
        self.asker = Some(asker);
    }

    /// Goes on from what an earlier run left.
    pub fn restore(
        &mut self,
        memory: Memory,
        roster: Roster,
        accounts: Accounts,
        pauses: Pauses,
        now: Timestamp,
    ) {
        self.accounts = accounts;
        if self.loaded.settings.controller.is_some() && roster.version > 0 {
            self.tenants = roster.tenants.into_iter().map(Arc::new).collect();
            self.tenants_version = roster.version;
        }
        if self.loaded.settings.mode == Mode::Enforce {
            self.imposed.extend(memory.desired.measures.values().cloned());
            self.core.handle(Input::Restore { desired: memory.desired, standing: memory.standing });
        } else {
            for measure in memory.desired.measures.into_values() {
                self.lifted.push(Lifted { measure, reason: LiftReason::Released, at: now });
            }
            self.core.handle(Input::Restore { desired: DesiredState::default(), standing: memory.standing });
        }
        self.set_topology(now);
        self.restore_pauses(pauses, now);
    }

    /// Works until told to stop.
    pub fn run(mut self, commands: &mpsc::Receiver<Command>, beat: &Beat) -> Result<(), RunError> {
        let (mut ticked, mut told, mut counted) = (Instant::now(), Instant::now(), Instant::now());
        self.tell_health();
        loop {
            beat.now();
            self.capture()?;
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.tick()?;
            }
            if told.elapsed() >= HEALTH_EVERY {
                told = Instant::now();
                self.look_at_losses();
                self.look_at_history();
                self.look_at_exemptions();
                self.tell_health();
            }
            if counted.elapsed() >= USAGE_EVERY {
                counted = Instant::now();
                self.keep_usage();
            }
            loop {
                match commands.try_recv() {
                    Ok(Command::Order(order)) => self.handle_order(*order),
                    Ok(Command::LocalPause(pause)) => self.take_local_pause(pause),
                    Ok(Command::ReleaseBrakes(person)) => self.release_brakes(&person.by, &person.reason),
                    Ok(Command::Blocklists(lists)) => self.core.set_blocklists(&lists),
                    Ok(Command::RelayChecked(answer)) => self.take_answer(answer),
                    Ok(Command::Reload(loaded)) => self.reload(*loaded)?,
                    Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => {
                        self.pass_on();
                        self.keep_usage();
                        return Ok(());
                    }
                    Err(mpsc::TryRecvError::Empty) => break,
                }
            }
            self.pass_on();
        }
    }

    fn capture(&mut self) -> Result<(), RunError> {
        let core = &mut self.core;
        if let Some(local) = &mut self.local {
            local.poll(Duration::ZERO, &mut |frame| core.handle_frame(&frame))?;
            // They wait in the kernel for it.
            let words = core.take_mail();
            if !words.is_empty() {
                let _ = self.keeper.send(Task::Mail(words));
            }
        }
        match self.rings.poll(WAIT, &mut |frame| core.handle_frame(&frame)) {
            Ok(_) => Ok(()),
            Err(CaptureError::InterfaceGone { vantage, interface }) => {
                tracing::info!(interface, "the interface went away");
                if self.watch.lost(vantage) {
                    self.set_topology(self.clock.now());
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn tick(&mut self) -> Result<(), RunError> {
        let now = self.clock.now();
        let mut all_dropped = 0;
        let local = self.local.as_mut().map(Source::loss).unwrap_or_default();
        for (vantage, loss) in self.rings.loss().into_iter().chain(local) {
            all_dropped += loss.dropped;
            self.core.handle(Input::Loss { vantage, dropped: loss.dropped, at: engine_time(now) });
        }
        if all_dropped > 0 {
            self.dropped += all_dropped;
            tracing::warn!(dropped = all_dropped, "frames were lost: a ring had no room");
        }
        self.core.handle(Input::Tick { at: engine_time(now) });
        self.metrics.see_engine(self.core.engine(), self.dropped, self.tenants.len());
        if self.watch.follow(&mut self.rings)? {
            self.set_topology(now);
        }
        self.look_out(now);
        Ok(())
    }

    /// Tells the engine when the node loses its way to the outside, and when it has it again.
    fn look_out(&mut self, now: Timestamp) {
        let is_up = self.watch.has_way_out();
        if is_up != self.has_way_out {
            self.has_way_out = is_up;
            self.core.handle(Input::Upstream { is_up, at: engine_time(now) });
        }
    }

    fn set_topology(&mut self, now: Timestamp) {
        let (tenants, vantages) = (self.tenants.clone(), self.watch.vantages());
        if vantages.is_empty() != self.is_blind {
            self.is_blind = !self.is_blind;
            let (kind, detail) = if self.is_blind {
                (
                    NodeEventKind::CaptureBlind,
                    "nothing is watched: no interface has a name that the settings give",
                )
            } else {
                (NodeEventKind::CaptureBack, "an interface is watched again")
            };
            self.tell_event(NodeEvent::new(now, kind, detail));
        }
        // The engine forgets who is gone as soon as somebody else takes the place.
        self.accounts.take(self.engine().usage(), now);
        let before = Arc::clone(self.engine().topology());
        self.core.handle(Input::Topology { tenants, vantages, at: engine_time(now) });
        let new = self.tenants.iter().map(|tenant| &tenant.id).filter(|id| before.index_of(id).is_none());
        let tallies = self.accounts.of(&new.collect());
        if !tallies.is_empty() {
            self.core.handle(Input::Usage { tallies });
        }
        self.changed = true;
    }

    /// Has it written down what tenants have sent and received, and told.
    fn keep_usage(&mut self) {
        self.accounts.take(self.engine().usage(), self.clock.now());
        let _ = self.keeper.send(Task::Usage(self.accounts.all()));
    }

    fn reload(&mut self, loaded: Loaded) -> Result<(), RunError> {
        let (new, old) = (&loaded.settings, &self.loaded.settings);
        for (key, changed) in [
            ("node", new.node != old.node),
            ("mode", new.mode != old.mode),
            ("state_dir", new.state_dir != old.state_dir),
            ("controller", new.controller != old.controller),
            ("limits", new.limits != old.limits),
            ("local", new.local != old.local),
            ("enforcement", (new.conntrack, new.garden) != (old.conntrack, old.garden)),
            ("history", new.history != old.history),
            ("metrics", new.metrics != old.metrics),
        ] {
            if changed {
                tracing::warn!(
                    key,
                    "a change of this takes a restart; the rest of the settings is taken over"
                );
            }
        }
        let (node, mode) = (self.loaded.settings.node.clone(), self.loaded.settings.mode);
        self.loaded = loaded;
        (self.loaded.settings.node, self.loaded.settings.mode) = (node, mode);
        if self.tenants_version == 0 {
            self.tenants = self.loaded.tenants.iter().cloned().map(Arc::new).collect();
        }
        let now = self.clock.now();
        let policy = Arc::clone(&self.loaded.policy);
        self.core.handle(Input::Policy { policy, mode, at: engine_time(now) });
        self.watch.set_settings(&self.loaded, &mut self.rings);
        self.watch.open_all(&mut self.rings)?;
        warn_if_blind(&self.watch);
        self.set_topology(now);
        tracing::info!("the settings were read anew");
        Ok(())
    }

    fn handle_order(&mut self, order: Order) {
        let now = self.clock.now();
        match order {
            Order::Tenants { version, tenants } => self.take_tenants(version, tenants, now),
            Order::TenantsChanged { from, version, changed, removed } => {
                if from > self.tenants_version {
                    tracing::warn!(
                        from,
                        has = self.tenants_version,
                        "a change of tenants without those before"
                    );
                    self.greeting.again();
                    return;
                }
                // By key, as the controller tells all of them.
                let mut all: BTreeMap<TenantId, Tenant> =
                    self.tenants.iter().map(|tenant| (tenant.id.clone(), Tenant::clone(tenant))).collect();
                removed.iter().for_each(|id| _ = all.remove(id));
                all.extend(changed.into_iter().map(|tenant| (tenant.id.clone(), tenant)));
                self.take_tenants(version, all.into_values().collect(), now);
            }
            // It is decided on beside the link, and comes as a reload.
            Order::Policy(_) => {}
            Order::Standings { standings } => {
                tracing::debug!(tenants = standings.len(), "what follows tenants, from the controller");
                for standing in standings {
                    let standing = Box::new(standing);
                    self.core.handle(Input::Standing { standing, at: engine_time(now) });
                }
                self.changed = true;
            }
            Order::Impose { id, decision } => self.impose(id, decision, now),
            Order::Release { id, tenant, by, reason, forgive } => {
                tracing::info!(order = %id, %tenant, by, reason, strikes_taken_back = forgive, "an operator lets the tenant go");
                self.core.handle(Input::Release { tenant, forgive, at: engine_time(now) });
                self.awaiting.push(id);
                self.changed = true;
            }
            Order::LetGo { id, tenant, decisions, by, reason } => {
                tracing::info!(order = %id, %tenant, by, reason, decisions = decisions.len(), "what is mended is let go of");
                self.core.handle(Input::LetGo { tenant, decisions, at: engine_time(now) });
                self.awaiting.push(id);
                self.changed = true;
            }
            Order::Verify { id, tenant, by, answer } => self.verify(id, tenant, by, answer, now),
            Order::Paid { id, tenant, by, reason } => {
                tracing::info!(order = %id, %tenant, by, reason, "an invoice is paid: what holds the tenant until then is lifted");
                self.core.handle(Input::Paid { tenant, at: engine_time(now) });
                self.awaiting.push(id);
                self.changed = true;
            }
            Order::Pause { id, scope, pause, lift } => self.take_pause(id, scope, pause, lift, now),
            Order::Resume { id, scope, by, reason } => self.take_resume(id, scope, &by, &reason, now),
            Order::Forgive { id, tenant, rule, before, by, reason } => {
                let under = rule.as_ref().map_or("every rule", Name::as_str);
                tracing::info!(order = %id, %tenant, under, %before, by, reason, "an operator takes strikes back");
                self.core.handle(Input::Forgive { tenant, rule, before, at: engine_time(now) });
                self.awaiting.push(id);
                self.changed = true;
            }
            Order::ReleaseBrakes { id, by, reason } => {
                self.release_brakes(&by, &reason);
                self.awaiting.push(id);
            }
            Order::Lift { id, policy, since, by, reason } => {
                tracing::warn!(
                    order = %id, policy = %policy.name, version = policy.version, %since, by, reason,
                    "an operator undoes what the policy did"
                );
                self.lift(&Lift::of(policy, since), &by, now);
                self.awaiting.push(id);
                self.changed = true;
            }
        }
    }

    fn refuse(&mut self, id: OrderId, tenant: &TenantId, failure: OrderFailure, now: Timestamp) {
        tracing::warn!(%tenant, order = %id, %failure, "an order is not carried out");
        let mut change = self.change(now);
        change.refused.push((id, failure));
        let _ = self.keeper.send(Task::Change(Box::new(change)));
    }

    fn take_tenants(&mut self, version: u64, tenants: Vec<Tenant>, now: Timestamp) {
        if version <= self.tenants_version {
            return;
        }
        let disarmed_before = self.loaded.policy.covered_tenants(self.tenants.iter().map(AsRef::as_ref));
        if let Err(clash) = check_tenants(&tenants) {
            tracing::error!(version, %clash, "the controller's tenants are not sound; those before stay");
            return;
        }
        tracing::info!(version, tenants = tenants.len(), "tenants from the controller");
        let disarmed = self.loaded.policy.covered_tenants(&tenants);
        let is_new = |told: &&String| disarmed_before.as_ref() != Some(*told);
        if let Some(told) = disarmed.as_ref().filter(is_new) {
            tracing::warn!("{told}");
        }
        self.tenants = tenants.into_iter().map(Arc::new).collect();
        self.tenants_version = version;
        self.set_topology(now);
    }

    /// Hands on what the engine said.
    fn pass_on(&mut self) {
        while let Some(output) = self.core.poll() {
            log(&output);
            if !self.reports.is_any() {
                log_notices(&output, &self.loaded.policy, &self.tenants);
            }
            self.metrics.see_output(&output);
            match output {
                Output::Alert(_) => {}
                Output::CheckRelay { tenant, server, .. } => self.ask(tenant, server),
                Output::RelayChecked(checked) => {
                    self.changed = true;
                    self.happened.push(Report::RelayChecked(checked));
                }
                Output::Degraded { degraded, at } => {
                    let (kind, detail) = if degraded {
                        (
                            NodeEventKind::Degraded,
                            "answers to several tenants collapsed together: silence is no evidence",
                        )
                    } else {
                        (NodeEventKind::DegradedOver, "answers are back; silence is evidence again")
                    };
                    self.tell_event(NodeEvent::new(at, kind, detail));
                }
                Output::Violation(violation) => {
                    self.changed = true;
                    self.happened.push(Report::Violation(violation));
                }
                Output::Decision(decision) => {
                    self.changed = true;
                    if let Some(why) = decision.softened.as_ref().filter(|why| why.starts_with(BRAKE)) {
                        let detail = format!("{} was not measured: {why}", decision.tenant);
                        self.tell_seldom(decision.at, NodeEventKind::Braked, &detail);
                    }
                    self.happened.push(Report::Decision(decision));
                }
                Output::BrakesSet(set) => {
                    let detail =
                        format!("policy holds nobody else until a person releases them: {}", set.why);
                    self.tell_event(NodeEvent::new(set.at, NodeEventKind::BrakesSet, &detail));
                    self.tell_health();
                }
                Output::Excused(excused) => {
                    self.tell_apart(excused.at, NodeEventKind::Excused, &excused.to_string());
                }
                Output::Imposed(measure) => {
                    self.changed = true;
                    self.imposed.push(measure);
                }
                Output::Lifted { measure, reason, at } => {
                    self.changed = true;
                    self.lifted.push(Lifted { measure, reason, at });
                }
            }
        }
        if self.changed {
            let change = self.change(self.clock.now());
            self.changed = false;
            let _ = self.keeper.send(Task::Change(Box::new(change)));
        }
    }

    /// Has a tenant's mail server asked whether it is an open relay. Nobody waits for the answer here.
    fn ask(&mut self, tenant: TenantId, server: std::net::IpAddr) {
        let own: Vec<std::net::IpAddr> =
            self.loaded.policy.own_addresses.iter().map(ipnet::IpNet::addr).collect();
        let known = self.tenants.iter().find(|known| known.id == tenant);
        let is_asked = match (&self.asker, &self.loaded.policy.relay_check, known) {
            (Some(asker), Some(check), Some(known)) => {
                asker.ask(&tenant, server, check, &known.addresses, &own)
            }
            _ => false,
        };
        if !is_asked {
            let verdict = CheckVerdict::NotAsked;
            self.take_answer(Answer { tenant, verdict, is_outside: false, server: None });
        }
    }

    fn take_answer(&mut self, Answer { tenant, verdict, is_outside, server }: Answer) {
        let by = self.verifying.remove(&tenant).unwrap_or_default();
        self.take_checked(tenant, verdict, is_outside, server, by);
    }

    /// Everything that is desired now, with what is new in it.
    fn change(&mut self, at: Timestamp) -> Change {
        Change {
            at,
            desired: self.engine().desired().clone(),
            standing: self.engine().standing().clone(),
            tenants: self.tenants.clone(),
            tenants_version: self.tenants_version,
            protected: self.loaded.policy.protected_destinations.clone(),
            lifeline: self.loaded.policy.lifeline.clone(),
            cuts_inbound: self.loaded.policy.suspension.cuts_inbound(),
            imposed: std::mem::take(&mut self.imposed),
            lifted: std::mem::take(&mut self.lifted),
            orders: std::mem::take(&mut self.awaiting),
            paused: std::mem::take(&mut self.awaiting_disk),
            pauses: self.pauses.controller.clone(),
            refused: Vec::new(),
            happened: std::mem::take(&mut self.happened),
        }
    }

    fn engine(&self) -> &Engine {
        self.core.engine()
    }

    fn tell_health(&self) {
        let (counters, shards) = (self.engine().counters(), self.engine().shards());
        self.reports.send(Report::Health(NodeHealth {
            at: self.clock.now(),
            mode: self.loaded.settings.mode,
            policy: Some(PolicyVersion {
                name: self.loaded.policy.name.clone(),
                version: self.loaded.policy.version,
            }),
            tenants: self.tenants.len() as u64,
            measures: self.engine().desired().measures.len() as u64,
            vantages: self.watch.vantages().len() as u64,
            frames_received: counters.frames,
            frames_dropped: self.dropped,
            malformed: counters.malformed.iter().sum(),
            flows: shards.iter().map(|shard| shard.flows().len() as u64).sum(),
            evictions: shards.iter().map(|shard| shard.flows().evictions()).sum(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            paused: self.paused.clone(),
            brakes: self.engine().standing().brakes().cloned(),
        }));
    }
}

/// A node that watches nothing looks like one on which nothing happens.
fn warn_if_blind(watch: &Watch) {
    if watch.vantages().is_empty() {
        tracing::warn!("NOTHING IS WATCHED: no interface has a name that the settings give; waiting for one");
    }
}
