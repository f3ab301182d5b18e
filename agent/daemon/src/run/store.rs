//! What the keeper writes down: to the journal first, then to the controller.

use std::sync::{Arc, mpsc};

use reeve_policy::{Report, Tenant};

use super::Reports;
use crate::control::spool::Spool;
use crate::metrics::Metrics;
use crate::state::journal::{Journal, Memory};
use crate::state::{Roster, StateFolder};

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
    metrics: Metrics,
}

impl Store {
    pub fn new(
        folder: StateFolder,
        journal: Journal,
        memory: Memory,
        tenants_version: u64,
        reports: Reports,
        finished: mpsc::Receiver<Vec<u64>>,
        metrics: Metrics,
    ) -> Self {
        Self {
            folder,
            journal,
            reports,
            finished,
            unsaved: Vec::new(),
            memory,
            is_behind: false,
            tenants_version,
            metrics,
        }
    }

    /// Writes down what happened and what it led to, then tells the controller. Where the disk fails it is told all the
    /// same, and written when the disk takes it again.
    pub fn keep(&mut self, happened: Vec<Report>, memory: Memory) {
        // Without a controller nobody would ever say that a report has arrived.
        let happened = if self.reports.is_any() { happened } else { Vec::new() };
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
                tracing::debug!(tenant = %violation.tenant, id = %violation.id, "kept in the journal");
            }
            self.reports.send_kept(key, report);
        }
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

    /// Writes what the disk did not take before.
    pub fn try_again(&mut self) {
        self.forget_finished();
        if self.is_behind {
            self.write();
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
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_behind, true) {
                    tracing::error!(
                        %error, "the journal cannot be written; measures stand and reports are sent all the same"
                    );
                }
                // The link holds no more than that either.
                let surplus = self.unsaved.len().saturating_sub(Spool::CAPACITY);
                self.unsaved.drain(..surplus);
            }
        }
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
