//! The keeper: makes the kernel hold what is desired, remembers it on disk, and then tells.
//!
//! The kernel comes first: a disk that is full or slow holds no measure up. Killed between the two, the agent takes the measure
//! away when it comes back, having told nobody of it, and decides again if the abuse goes on.
//!
//! Changes that come while one is being applied are taken together. What the kernel refused is tried again every second;
//! an order is answered when the kernel was read back, a measure is told as standing not before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use reeve_core::engine::MailWord;
use reeve_core::ruleset::elements::{Manner, Spared};
use reeve_core::ruleset::local::WEIGHED_STEP;
use reeve_core::ruleset::{Rendering, Setting};
use reeve_policy::judge::Standing;
use reeve_policy::{
    DecisionId, DesiredState, LiftReason, Measure, MeasureCounters, NodeEventKind, NodeId, OrderFailure,
    OrderId, OrderResult, Report, Scope, Tenant, Timestamp,
};
use tokio::sync::{mpsc as async_mpsc, oneshot};

use super::Task;
use super::news::News;
use super::processes::Processes;
use super::sensor::behind;
use super::service::Beat;
use super::store::Store;
use crate::capture::Clock;
use crate::config::Loaded;
use crate::control::Greeting;
use crate::enforce::{EnforceError, Enforcer};
use crate::metrics::Metrics;
use crate::node::{self, Lifelines};
use crate::state::journal::Memory;
use crate::state::pause::ControllerPauses;

/// Why a measure does not stand although the kernel took everything.
const UNHELD: &str = "the tenant has no address, no port of its own, no user and no control group by which this node could hold it";
/// The same of what a tenant forges.
const NO_PORT: &str = "the tenant has no port on this node that is its alone, or no address of its own, by which this node could tell what is forged";

/// How often it is asked whether anybody changed a ruleset. The question costs some microseconds; looking costs more and has
/// its own bound.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often what failed is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How often counters are told, and the node's own addresses are read.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// When so much of a set is taken, people are told.
const ALARM_SHARE: f64 = 0.9;

/// A measure that is to stand no more.
#[derive(Clone, Debug)]
pub(crate) struct Lifted {
    pub measure: Measure,
    pub reason: LiftReason,
    pub at: Timestamp,
}

/// What is desired, and what is new in it.
#[derive(Debug)]
pub(crate) struct Change {
    pub at: Timestamp,
    pub desired: DesiredState,
    pub standing: Standing,
    pub tenants: Vec<Arc<Tenant>>,
    pub tenants_version: u64,
    pub protected: Vec<IpNet>,
    pub lifeline: Vec<IpNet>,
    /// Whether what others send to suspended tenants is refused as well.
    pub cuts_inbound: bool,
    pub imposed: Vec<Measure>,
    pub lifted: Vec<Lifted>,
    pub orders: Vec<OrderId>,
    /// Orders that are done when the pauses are on disk.
    pub paused: Vec<OrderId>,
    /// The controller's pauses.
    pub pauses: ControllerPauses,
    pub refused: Vec<(OrderId, OrderFailure)>,
    /// Violations and decisions, in the order in which they came about.
    pub happened: Vec<Report>,
}

impl Change {
    fn none(at: Timestamp) -> Self {
        Self {
            at,
            desired: DesiredState::default(),
            standing: Standing::default(),
            tenants: Vec::new(),
            tenants_version: 0,
            protected: Vec::new(),
            lifeline: Vec::new(),
            cuts_inbound: false,
            imposed: Vec::new(),
            lifted: Vec::new(),
            orders: Vec::new(),
            paused: Vec::new(),
            pauses: ControllerPauses::default(),
            refused: Vec::new(),
            happened: Vec::new(),
        }
    }

    /// Goes on to `newer`, keeping what has not been told yet.
    fn merge(&mut self, mut newer: Self) {
        let untold = std::mem::replace(self, Self::none(newer.at));
        self.imposed = untold.imposed.into_iter().chain(std::mem::take(&mut newer.imposed)).collect();
        self.lifted = untold.lifted.into_iter().chain(std::mem::take(&mut newer.lifted)).collect();
        self.orders = untold.orders.into_iter().chain(std::mem::take(&mut newer.orders)).collect();
        self.paused = untold.paused.into_iter().chain(std::mem::take(&mut newer.paused)).collect();
        self.refused = untold.refused.into_iter().chain(std::mem::take(&mut newer.refused)).collect();
        self.happened = untold.happened.into_iter().chain(std::mem::take(&mut newer.happened)).collect();
        self.desired = newer.desired;
        self.standing = newer.standing;
        self.tenants = newer.tenants;
        self.tenants_version = newer.tenants_version;
        self.protected = newer.protected;
        self.lifeline = newer.lifeline;
        self.cuts_inbound = newer.cuts_inbound;
        self.pauses = newer.pauses;
    }
}

pub(super) struct Keeper {
    enforcer: Option<Enforcer>,
    is_installed: bool,
    /// What the kernel is to hold, as elements.
    rendering: Rendering,
    /// Whether the kernel was told all that came of it so far.
    is_following: bool,
    store: Store,
    node: NodeId,
    clock: Clock,
    results: async_mpsc::UnboundedSender<OrderResult>,
    greeting: Greeting,
    current: Change,
    /// Whether the kernel is still to be told.
    is_behind: bool,
    /// What is known of the node's own processes, if they are watched.
    local: Option<Processes>,
    /// Whether connections at a time are counted.
    is_capping: bool,
    /// When the kernel was last told that senders of mail are looked at, if they are.
    weighed: Option<Timestamp>,
    /// The controller's addresses.
    peers: Vec<IpNet>,
    lifelines: Lifelines,
    /// Whether it was told that a set is nearly full.
    is_nearly_full: bool,
    /// What was last logged as failing, so that it is not logged every second.
    complaint: Option<String>,
    /// Who is to be told when the kernel has been told for the first time.
    ready: Option<oneshot::Sender<()>>,
    metrics: Metrics,
    news: News,
}

impl Keeper {
    pub fn new(
        enforcer: Option<Enforcer>,
        store: Store,
        loaded: &Loaded,
        clock: Clock,
        results: async_mpsc::UnboundedSender<OrderResult>,
        ready: oneshot::Sender<()>,
        metrics: Metrics,
    ) -> Self {
        let peers = node::controllers(loaded.settings.controller.as_ref());
        let (greeting, mut current) = (Greeting::default(), Change::none(clock.now()));
        current.pauses = store.pauses().clone();
        greeting.set_pauses(current.pauses.held());
        Self {
            enforcer,
            is_installed: false,
            rendering: Rendering::default(),
            is_following: false,
            is_capping: loaded.settings.conntrack,
            store,
            node: loaded.settings.node.clone(),
            clock,
            results,
            greeting,
            current,
            is_behind: false,
            local: Processes::of(loaded),
            weighed: None,
            lifelines: node::lifelines(&peers),
            peers,
            is_nearly_full: false,
            complaint: None,
            ready: Some(ready),
            metrics,
            news: News::default(),
        }
    }

    /// What a newly connected controller is told.
    pub fn greeting(&self) -> Greeting {
        self.greeting.clone()
    }

    /// Works until told to stop.
    pub fn run(mut self, tasks: &mpsc::Receiver<Task>, beat: &Beat) {
        let (mut looked, mut told, mut tried) = (Instant::now(), Instant::now(), Instant::now());
        loop {
            beat.now();
            let patience = LOOK_EVERY.saturating_sub(looked.elapsed());
            let mut is_over = false;
            let mut is_new = false;
            match tasks.recv_timeout(patience) {
                Ok(Task::Change(change)) => {
                    self.current.merge(*change);
                    is_new = true;
                    while let Ok(task) = tasks.try_recv() {
                        match task {
                            Task::Change(change) => self.current.merge(*change),
                            Task::Usage(tallies) => self.store.keep_usage(tallies),
                            Task::Mail(words) => self.pass_mail(&words),
                            Task::Stop => is_over = true,
                        }
                    }
                }
                Ok(Task::Usage(tallies)) => self.store.keep_usage(tallies),
                Ok(Task::Mail(words)) => self.pass_mail(&words),
                Ok(Task::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => is_over = true,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            if is_new {
                self.is_behind = true;
                self.settle();
            }
            if is_over {
                self.store.keep_cases();
                return;
            }
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                if tried.elapsed() >= RETRY_EVERY {
                    tried = Instant::now();
                    self.try_again();
                }
                self.look();
                if told.elapsed() >= TELL_EVERY {
                    told = Instant::now();
                    self.tell_counters();
                    self.refresh_lifelines();
                }
            }
        }
    }

    /// Brings the kernel, then the disk, up to what is desired, and tells.
    fn settle(&mut self) {
        let counters = self.counters_before_lifting();
        let applied = self.apply();
        self.is_behind = applied.is_err();
        self.metrics.see_kernel(&self.current.desired, self.is_behind);
        let mut happened = std::mem::take(&mut self.current.happened);
        let unheld = self.unheld();
        if applied.is_ok() {
            happened.extend(self.done(&unheld, &counters));
        }
        let (desired, standing) = (self.current.desired.clone(), self.current.standing.clone());
        self.store.keep(happened, Memory { desired, standing });
        self.store.keep_tenants(self.current.tenants_version, &self.current.tenants);
        self.keep_pauses();
        for (id, failure) in std::mem::take(&mut self.current.refused) {
            self.answer(id, Err(failure));
        }
        match applied {
            Ok(()) => self.answer_orders(&unheld),
            Err(error) => {
                let detail = error.to_string();
                for id in std::mem::take(&mut self.current.orders) {
                    self.answer(id, Err(OrderFailure::Kernel { detail: detail.clone() }));
                }
                self.complain("the kernel does not hold what is desired; trying again", &detail);
            }
        }
        // An agent that the kernel refuses still sees and tells: it is up, and complains.
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(());
        }
    }

    fn apply(&mut self) -> Result<(), EnforceError> {
        let Some(enforcer) = &mut self.enforcer else { return Ok(()) };
        let now = self.clock.now();
        let Lifelines { vital, own } = &self.lifelines;
        let protected: Vec<IpNet> = self.current.protected.iter().chain(vital).copied().collect();
        let own: Vec<IpNet> = own.iter().copied().collect();
        let manner = Manner { counts_connections: self.is_capping, cuts_inbound: self.current.cuts_inbound };
        let spared = Spared { protected: &protected, own: &own, lifeline: &self.current.lifeline, manner };
        let (desired, tenants) = (&self.current.desired, &self.current.tenants);
        if let Some(local) = &mut self.local {
            local.look(&self.node, tenants);
        }
        let here = self.local.as_ref().map(Processes::here);
        let setting = Setting { node: &self.node, tenants, spared, here };
        let difference = self.rendering.update(desired, setting, now);
        let told = if !self.is_installed {
            enforcer.install(self.rendering.elements().clone(), now)
        } else if self.is_following {
            enforcer.change(&difference, now)
        } else {
            enforcer.apply(self.rendering.elements(), now)
        };
        self.is_following = told.is_ok();
        told?;
        self.is_installed = true;
        self.weighed = enforcer.weighs_mail().then_some(now);
        if let Some((set, share)) = enforcer.fullest() {
            self.metrics.see_fill(share);
            if share >= ALARM_SHARE && !std::mem::replace(&mut self.is_nearly_full, true) {
                tracing::error!(
                    set = set.name(),
                    percent = (share * 100.0) as u32,
                    "a set is nearly full: measures beyond it would not stand"
                );
            } else if share < ALARM_SHARE {
                self.is_nearly_full = false;
            }
        }
        if self.complaint.take().is_some() {
            tracing::info!("the kernel holds what is desired again");
        }
        Ok(())
    }

    /// Lets connections of the shared mail server's go on, or cuts them.
    fn pass_mail(&mut self, words: &[MailWord]) {
        let Some(enforcer) = self.enforcer.as_mut().filter(|_| self.is_installed) else { return };
        let cut = words.iter().filter(|word| !word.passes).count();
        if cut > 0 {
            tracing::debug!(cut, "connections with mail of tenants who may send none are cut");
        }
        if let Err(error) = enforcer.pass_mail(words) {
            // What waits comes again, and is decided again.
            self.complain("mail that waits cannot be let go on", &error.to_string());
        }
    }

    /// What the kernel holds since this change, and what it holds no more.
    fn done(
        &mut self,
        unheld: &BTreeSet<DecisionId>,
        counters: &BTreeMap<DecisionId, MeasureCounters>,
    ) -> Vec<Report> {
        let at = self.clock.now();
        let mut reports = Vec::new();
        for measure in std::mem::take(&mut self.current.imposed) {
            let id = &measure.decision.id;
            if unheld.contains(id) {
                tracing::error!(
                    tenant = %measure.decision.tenant, violation = behind(&measure.decision), decision = %id,
                    "NOT ENFORCED: {}", why_unheld(&measure.decision.scope)
                );
            } else if self.current.desired.measures.contains_key(id) {
                if let Some(most) = measure.decision.connections.filter(|_| !self.is_capping) {
                    tracing::warn!(
                        tenant = %measure.decision.tenant, decision = %id,
                        "held to its rate alone, not to {most} connections at a time: that takes conntrack = true under [enforcement]"
                    );
                }
                reports.push(Report::Standing { measure, at });
            }
        }
        for Lifted { measure, reason, at } in std::mem::take(&mut self.current.lifted) {
            let violation = measure.decision.violation;
            let decision = measure.decision.id;
            let counters = counters.get(&decision).copied().unwrap_or_default();
            let tenant = measure.decision.tenant;
            tracing::info!(
                %tenant, violation = violation.as_ref().map(tracing::field::display), %decision,
                packets = counters.packets, "what the measure stopped"
            );
            reports.push(Report::Lifted { decision, tenant, reason, at, counters });
        }
        reports
    }

    /// Puts the controller's pauses on disk and answers the orders that they came by. One that is not on disk is in force
    /// all the same, but would not outlast the agent.
    fn keep_pauses(&mut self) {
        let kept = self.store.keep_pauses(&self.current.pauses);
        self.greeting.set_pauses(self.store.pauses().held());
        let result = kept.map_err(|error| {
            tracing::error!(%error, "the controller's pauses cannot be stored; they are in force all the same");
            OrderFailure::State { detail: error.to_string() }
        });
        for id in std::mem::take(&mut self.current.paused) {
            self.answer(id, result.clone());
        }
        if let Err(failure) = result {
            // A pause that lifts waits for the kernel; it is not done either.
            let holds: Vec<OrderId> =
                self.current.pauses.held().into_iter().map(|(_, order)| order).collect();
            let (failed, others) =
                std::mem::take(&mut self.current.orders).into_iter().partition(|id| holds.contains(id));
            self.current.orders = others;
            let failed: Vec<OrderId> = failed;
            failed.into_iter().for_each(|id| self.answer(id, Err(failure.clone())));
        }
    }

    fn answer_orders(&mut self, unheld: &BTreeSet<DecisionId>) {
        let stands = |measure: &&Measure| !unheld.contains(&measure.decision.id);
        let measures = self.current.desired.measures.values().filter(stands).cloned().collect();
        self.greeting.set(self.current.tenants_version, measures);
        for id in std::mem::take(&mut self.current.orders) {
            // An order to impose has its decision's key.
            let result = if unheld.contains(&DecisionId(id.0.clone())) {
                let measure = self.current.desired.measures.get(&DecisionId(id.0.clone()));
                let why = measure.map_or(UNHELD, |measure| why_unheld(&measure.decision.scope));
                Err(OrderFailure::Kernel { detail: why.to_owned() })
            } else {
                Ok(())
            };
            self.answer(id, result);
        }
    }

    /// Measures that came to no element: there is nothing by which the kernel could tell the tenant's packets.
    fn unheld(&self) -> BTreeSet<DecisionId> {
        if self.enforcer.is_some() { self.rendering.unheld().clone() } else { BTreeSet::new() }
    }

    fn answer(&self, id: OrderId, result: Result<(), OrderFailure>) {
        let at = self.clock.now();
        // Without a link nobody waits for an answer.
        let _ = self.results.send(OrderResult { id, at, result });
    }

    fn counters_before_lifting(&mut self) -> BTreeMap<DecisionId, MeasureCounters> {
        match &mut self.enforcer {
            Some(enforcer) if !self.current.lifted.is_empty() => {
                let lifted = self.current.lifted.iter().map(|lifted| &lifted.measure.decision.id);
                enforcer.counters_of(&lifted.collect::<Vec<_>>()).unwrap_or_default()
            }
            _ => BTreeMap::new(),
        }
    }

    /// Tries again what the disk or the kernel refused.
    fn try_again(&mut self) {
        self.store.try_again();
        let tenants = &self.current.tenants;
        if self.is_installed && self.local.as_mut().is_some_and(|local| local.look(&self.node, tenants)) {
            tracing::info!("control groups of tenants were made, or made anew");
            self.is_behind = true;
        }
        // Others' mail is not to wait for an agent that is no more, so that is to be said again and again.
        let now = self.clock.now();
        if self.is_installed
            && self.weighed.is_some_and(|told| now.floor_to(WEIGHED_STEP) > told.floor_to(WEIGHED_STEP))
        {
            self.is_behind = true;
        }
        if self.is_behind {
            self.settle();
        }
    }

    /// Looks whether the kernel still holds what it was told, and renews leases.
    fn look(&mut self) {
        let now = self.clock.now();
        let Some(enforcer) = &mut self.enforcer else { return };
        if !self.is_installed || self.is_behind {
            return;
        }
        let looked = enforcer.check(now).and_then(|tampering| enforcer.renew(now).map(|()| tampering));
        match looked {
            Ok(None) => {}
            Ok(Some(found)) => {
                self.metrics.see_foreign_change();
                tracing::error!(
                    missing = found.missing,
                    surplus = found.surplus,
                    skeleton = found.skeleton,
                    "somebody changed our tables; they are mended"
                );
                let detail = format!(
                    "{} missing, {} added{}; mended",
                    found.missing,
                    found.surplus,
                    if found.skeleton { ", chains, rules or sets changed" } else { "" }
                );
                let kind = NodeEventKind::RulesetChanged;
                if let Some(event) = self.news.tell(Instant::now(), now, kind, &detail) {
                    self.store.note(event);
                }
            }
            Err(error) => self.complain("the kernel's ruleset cannot be kept", &error.to_string()),
        }
    }

    fn tell_counters(&mut self) {
        let Some(enforcer) = &mut self.enforcer else { return };
        match enforcer.counters() {
            Ok(counters) => {
                self.metrics.see_counters(counters.values());
                // A message has room for so many; each part is told for itself.
                let all: Vec<_> = counters.into_iter().collect();
                for part in all.chunks(reeve_proto::MAX_COUNTERS) {
                    self.store.tell(Report::Counters(part.iter().cloned().collect()));
                }
            }
            Err(error) => self.complain("counters cannot be read", &error.to_string()),
        }
    }

    fn refresh_lifelines(&mut self) {
        let lifelines = node::lifelines(&self.peers);
        if lifelines != self.lifelines {
            tracing::info!("the node's own addresses, gateways or resolvers have changed");
            self.lifelines = lifelines;
            self.settle();
        }
    }

    fn complain(&mut self, what: &str, detail: &str) {
        let complaint = format!("{what}: {detail}");
        if self.complaint.as_ref() != Some(&complaint) {
            tracing::error!("{complaint}");
            self.complaint = Some(complaint);
        }
    }
}

fn why_unheld(scope: &Scope) -> &'static str {
    if *scope == Scope::Forged { NO_PORT } else { UNHELD }
}
