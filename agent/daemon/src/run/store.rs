//! What the keeper writes down: to the journal first, then to the controller.

use std::sync::{Arc, mpsc};

use reeve_core::detect::quota::Tally;
use reeve_policy::{NodeEvent, NodeEventKind, Report, Tenant};

use super::Reports;
use crate::capture::Clock;
use crate::control::spool::Spool;
use crate::metrics::Metrics;
use crate::state::cases::Cases;
use crate::state::journal::{Journal, Memory};
use crate::state::pause::ControllerPauses;
use crate::state::{Roster, StateError, StateFolder};

/// What is on disk when the agent begins.
pub(super) struct Kept {
    /// The journal, to go on writing.
    pub journal: Journal,
    /// What it holds.
    pub memory: Memory,
    /// The version of the tenants.
    pub tenants_version: u64,
    /// The controller's pauses.
    pub pauses: ControllerPauses,
    /// The last violations, where there is no controller.
    pub cases: Cases,
}

/// The journal, and the way to the controller behind it.
pub(super) struct Store {
    folder: StateFolder,
    journal: Journal,
    reports: Reports,
    /// Reports that need not be kept any more.
    finished: mpsc::Receiver<Vec<u64>>,
    /// What the disk did not take yet.
    unsaved: Vec<(u64, Report)>,
    /// What the journal holds, or is to hold when the disk takes it.
    memory: Memory,
    is_behind: bool,
    /// The version of the tenants on disk.
    tenants_version: u64,
    /// The controller's pauses on disk.
    pauses: ControllerPauses,
    /// Those that the disk did not take yet.
    unsaved_pauses: Option<ControllerPauses>,
    /// What tenants have sent and received, as it was told.
    usage: Vec<Tally>,
    is_usage_behind: bool,
    /// The last violations: without a controller nobody else keeps them.
    cases: Cases,
    /// Whether they are to be written, and whether that failed.
    are_cases_new: bool,
    are_cases_behind: bool,
    /// What is to be told of the disk itself.
    news: Vec<NodeEvent>,
    clock: Clock,
    metrics: Metrics,
}

impl Store {
    pub fn new(
        folder: StateFolder,
        kept: Kept,
        reports: Reports,
        finished: mpsc::Receiver<Vec<u64>>,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        let Kept { journal, memory, tenants_version, pauses, cases } = kept;
        Self {
            folder,
            journal,
            reports,
            finished,
            unsaved: Vec::new(),
            memory,
            is_behind: false,
            tenants_version,
            pauses,
            unsaved_pauses: None,
            usage: Vec::new(),
            is_usage_behind: false,
            cases,
            are_cases_new: false,
            are_cases_behind: false,
            news: Vec::new(),
            clock,
            metrics,
        }
    }

    /// Writes down what happened and what it led to, then tells the controller. Where the disk fails it is told all the
    /// same, and written when the disk takes it again.
    pub fn keep(&mut self, happened: Vec<Report>, memory: Memory) {
        // Without a controller nobody would ever say that a report has arrived.
        let happened = if self.reports.is_any() {
            happened
        } else {
            for report in &happened {
                self.are_cases_new |= self.cases.take(report);
            }
            Vec::new()
        };
        let told: Vec<(u64, Report)> =
            happened.into_iter().map(|report| (self.journal.next_id(), report)).collect();
        if told.is_empty() && !self.is_behind && memory == self.memory {
            return;
        }
        self.memory = memory;
        self.unsaved.extend(told.iter().cloned());
        self.write();
        for (key, report) in told {
            if let Report::Violation(violation) = &report
                && !self.is_behind
            {
                tracing::debug!(tenant = %violation.tenant, violation = %violation.id, "kept in the journal");
            }
            self.reports.send_kept(key, report);
        }
    }

    /// Writes down and tells something that operators must hear of the node.
    pub fn note(&mut self, event: NodeEvent) {
        self.keep(vec![Report::Event(event)], self.memory.clone());
    }

    /// Tells what is of no use later.
    pub fn tell(&self, report: Report) {
        self.reports.send(report);
    }

    /// Writes the controller's tenants down if they are new.
    pub fn keep_tenants(&mut self, version: u64, tenants: &[Arc<Tenant>]) {
        if version == self.tenants_version || version == 0 {
            return;
        }
        let tenants = tenants.iter().map(|tenant| Tenant::clone(tenant)).collect();
        match self.folder.store(&Roster::new(version, tenants)) {
            Ok(()) => self.tenants_version = version,
            // A run that begins without them is sent them again.
            Err(error) => tracing::error!(%error, "the tenants cannot be stored"),
        }
    }

    /// Writes the controller's pauses down if they are new; it is tried again until the disk takes them.
    ///
    /// # Errors
    /// When the disk does not take them.
    pub fn keep_pauses(&mut self, pauses: &ControllerPauses) -> Result<(), StateError> {
        if *pauses == self.pauses {
            self.unsaved_pauses = None;
            return Ok(());
        }
        match self.folder.store_pauses(pauses) {
            Ok(()) => {
                self.pauses = pauses.clone();
                self.unsaved_pauses = None;
                Ok(())
            }
            Err(error) => {
                self.unsaved_pauses = Some(pauses.clone());
                Err(error)
            }
        }
    }

    /// Writes down what tenants have sent and received, and tells it. The next minute's takes its place: what the disk does not
    /// take is not tried again before.
    pub fn keep_usage(&mut self, tallies: Vec<Tally>) {
        if tallies == self.usage && !self.is_usage_behind {
            return;
        }
        match self.folder.store_usage(&tallies) {
            Ok(()) => self.is_usage_behind = false,
            Err(error) => {
                if !std::mem::replace(&mut self.is_usage_behind, true) {
                    tracing::error!(%error, "what tenants use cannot be stored; it is counted and told all the same");
                }
            }
        }
        for part in tallies.chunks(reeve_proto::MAX_USAGE) {
            let tallies = part.iter().map(|tally| tally.usage.clone()).collect();
            self.reports.send(Report::Usage { tallies });
        }
        self.usage = tallies;
    }

    /// Writes the last violations down if there is something new. It is no loss but to whoever reads them.
    pub fn keep_cases(&mut self) {
        if !self.are_cases_new {
            return;
        }
        match self.folder.store_cases(&self.cases) {
            Ok(()) => (self.are_cases_new, self.are_cases_behind) = (false, false),
            Err(error) => {
                if !std::mem::replace(&mut self.are_cases_behind, true) {
                    tracing::error!(%error, "the last violations cannot be stored; they are in the log all the same");
                }
            }
        }
    }

    /// The controller's pauses that are on disk.
    pub fn pauses(&self) -> &ControllerPauses {
        &self.pauses
    }

    /// Writes what the disk did not take before.
    pub fn try_again(&mut self) {
        self.forget_finished();
        if self.is_behind {
            self.write();
        }
        if let Some(pauses) = self.unsaved_pauses.take() {
            // What keeps it from being written was told when it first did.
            let _ = self.keep_pauses(&pauses);
        }
        self.keep_cases();
        for event in std::mem::take(&mut self.news) {
            self.note(event);
        }
        self.metrics.see_journal(self.journal.len(), self.is_behind);
    }

    fn write(&mut self) {
        self.forget_finished();
        match self.journal.append(&self.unsaved, &self.memory) {
            Ok(()) => {
                self.unsaved.clear();
                if std::mem::take(&mut self.is_behind) {
                    tracing::info!("the journal is written again");
                    self.tell_of_disk(NodeEventKind::JournalBack, "the journal is written again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_behind, true) {
                    tracing::error!(
                        %error, "the journal cannot be written; measures stand and reports are sent all the same"
                    );
                    self.tell_of_disk(NodeEventKind::JournalBehind, &error.to_string());
                }
                // The link holds no more than that either.
                let surplus = self.unsaved.len().saturating_sub(Spool::CAPACITY);
                self.unsaved.drain(..surplus);
            }
        }
    }

    /// It is told with what comes next, and kept when the disk takes it.
    fn tell_of_disk(&mut self, kind: NodeEventKind, detail: &str) {
        self.news.push(NodeEvent::new(self.clock.now(), kind, detail));
    }

    fn forget_finished(&mut self) {
        while let Ok(keys) = self.finished.try_recv() {
            self.journal.finish(&keys);
            if !self.unsaved.is_empty() {
                self.unsaved.retain(|(key, _)| !keys.contains(key));
            }
        }
    }
}
