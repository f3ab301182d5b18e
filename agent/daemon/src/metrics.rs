//! The agent's metrics, as handles that the threads set and the endpoint reads.
//!
//! No label names a tenant: there are thousands, and who did what is the controller's to tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use reeve_core::engine::{Engine, Output};
use reeve_core::packet::Malformed;
use reeve_policy::{DesiredState, MeasureCounters, Name, ViolationState};

use crate::blocklists::Health;

/// A label of one name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Action {
    action: &'static str,
    mode: &'static str,
    softened: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Measure {
    action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct List {
    list: String,
}

type Unsigned = Gauge<u64, AtomicU64>;

/// All metrics of an agent. Clones are the same metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    frames: Counter,
    frames_lost: Counter,
    malformed: Family<Reason, Counter>,
    unassigned: Counter,
    spoofed: Counter,
    leaked: Counter,
    bogon_dials: Counter,
    history_bytes: Unsigned,
    history_frames: Counter,
    history_frames_lost: Counter,
    history_behind: Unsigned,
    flows: Unsigned,
    flow_evictions: Counter,
    tenants: Unsigned,
    vantages: Unsigned,
    degraded: Unsigned,
    paused: Unsigned,
    brakes_set: Unsigned,
    alerts: Family<Class, Counter>,
    violations: Counter,
    decisions: Family<Action, Counter>,
    measures: Family<Measure, Unsigned>,
    stopped_packets: Unsigned,
    stopped_bytes: Unsigned,
    kernel_behind: Unsigned,
    streams: Unsigned,
    stream_evictions: Counter,
    set_fill: Gauge<f64, AtomicU64>,
    foreign_changes: Counter,
    journal_reports: Unsigned,
    journal_behind: Unsigned,
    spool_reports: Unsigned,
    spool_given_up: Counter,
    controller_linked: Unsigned,
    certificate_end: Unsigned,
    blocklist_entries: Family<List, Unsigned>,
    blocklist_age: Family<List, Gauge<f64, AtomicU64>>,
    blocklist_failing: Family<List, Unsigned>,
    blocklist_errors: Family<List, Counter>,
}

impl Metrics {
    /// A registry with all of them, each named `reeve_agent_...`.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        let mut registry = Registry::with_prefix("reeve_agent");
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The agent's version", Info::new(version));
        let help = "The share of the fullest set of the ruleset that is taken, 0 to 1";
        registry.register("set_fill_ratio", help, self.set_fill.clone());
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        counter("frames", "Frames that the capture handed over", &self.frames);
        counter("frames_lost", "Frames that the kernel had no room for", &self.frames_lost);
        counter("packets_unassigned", "Packets of none of the tenants", &self.unassigned);
        counter("packets_spoofed", "Packets with a source that is another's, or nobody's", &self.spoofed);
        counter(
            "packets_leaked",
            "Packets with a source that slipped out, such as a private one",
            &self.leaked,
        );
        let help =
            "Attempts of tenants with public addresses at private and reserved ones, which nobody answered";
        counter("bogon_dials", help, &self.bogon_dials);
        counter("history_frames", "Frames that were written into the history", &self.history_frames);
        let help = "Frames that are missing in the history: the disk took nothing, or was too slow";
        counter("history_frames_lost", help, &self.history_frames_lost);
        counter("flow_evictions", "Flows that were given up for want of room", &self.flow_evictions);
        let help = "Connections of mail and to endpoints that were given up for want of room";
        counter("stream_evictions", help, &self.stream_evictions);
        counter("violations", "Violations that opened", &self.violations);
        counter("foreign_changes", "Times that somebody else changed our table", &self.foreign_changes);
        counter("spool_given_up", "Reports that were given up for want of room", &self.spool_given_up);
        let mut gauge = |name: &str, help: &str, gauge: &Unsigned| {
            registry.register(name, help, gauge.clone());
        };
        gauge("history_bytes", "Bytes that the history takes on disk", &self.history_bytes);
        gauge("history_behind", "1 while the history cannot be written", &self.history_behind);
        gauge("flows", "Flows in the table", &self.flows);
        gauge("streams", "Connections of mail and to endpoints that are followed", &self.streams);
        gauge("tenants", "Tenants of this node", &self.tenants);
        gauge("vantages", "Interfaces that are watched", &self.vantages);
        gauge(
            "degraded",
            "1 while silence is no evidence, because answers to several tenants collapsed",
            &self.degraded,
        );
        gauge(
            "brakes_set",
            "1 while policy holds nobody else until a person releases the brakes",
            &self.brakes_set,
        );
        gauge("paused", "1 while a person has ended what policy does by itself", &self.paused);
        gauge("stopped_packets", "Packets that the measures in force have stopped", &self.stopped_packets);
        gauge("stopped_bytes", "Bytes that the measures in force have stopped", &self.stopped_bytes);
        gauge("kernel_behind", "1 while the kernel does not hold what is desired", &self.kernel_behind);
        gauge(
            "journal_reports",
            "Reports in the journal that the controller does not have",
            &self.journal_reports,
        );
        gauge("journal_behind", "1 while the journal cannot be written", &self.journal_behind);
        gauge("spool_reports", "Reports that wait for the controller", &self.spool_reports);
        gauge("controller_linked", "1 while the controller is connected", &self.controller_linked);
        gauge(
            "certificate_end_timestamp_seconds",
            "When the certificate ends that the controller is shown, in seconds since 1970; 0 where there is none",
            &self.certificate_end,
        );
        self.begin();
        registry.register("malformed", "Frames that were malformed", self.malformed.clone());
        registry.register("alerts", "Alerts of the detectors", self.alerts.clone());
        registry.register("decisions", "Decisions of policy and of operators", self.decisions.clone());
        registry.register("measures", "Measures in force", self.measures.clone());
        let help = "Entries of each blocklist that are in force";
        registry.register("blocklist_entries", help, self.blocklist_entries.clone());
        let help = "Seconds since each blocklist's file was last taken over; +Inf if it never was";
        registry.register("blocklist_age_seconds", help, self.blocklist_age.clone());
        let help = "1 while the file cannot be read, or more than a tenth of its lines";
        registry.register("blocklist_failing", help, self.blocklist_failing.clone());
        let help = "Times that a blocklist's file could not be read, or more than a tenth of its lines";
        registry.register("blocklist_errors", help, self.blocklist_errors.clone());
        Arc::new(registry)
    }

    /// Counts begin at zero: of a series that comes with its first event Prometheus sees no increase, and so not the first of anything.
    fn begin(&self) {
        for class in reeve_policy::Class::ALL {
            drop(self.alerts.get_or_create(&Class { class: class.name() }));
        }
        for action in ["observe", "notify", "limit", "block", "suspend"] {
            for (mode, softened) in
                [("observe", "no"), ("observe", "yes"), ("enforce", "no"), ("enforce", "yes")]
            {
                drop(self.decisions.get_or_create(&Action { action, mode, softened }));
            }
        }
        for reason in Malformed::ALL {
            drop(self.malformed.get_or_create(&Reason { reason: reason.name() }));
        }
    }

    /// Why the agent cannot do its work, as `/readyz` tells it; nothing while it can. A controller that is away is none: the agent
    /// decides by itself.
    #[must_use]
    pub fn troubles(&self) -> Vec<&'static str> {
        let told = [
            (&self.kernel_behind, "the kernel does not hold what is desired"),
            (&self.journal_behind, "the journal cannot be written"),
        ];
        told.into_iter().filter(|(gauge, _)| gauge.get() != 0).map(|(_, words)| words).collect()
    }

    /// Takes note of what the engine has counted.
    pub(crate) fn see_engine(&self, engine: &Engine, lost: u64, tenants: usize) {
        let (counters, shards) = (engine.counters(), engine.shards());
        set(&self.frames, counters.frames);
        set(&self.frames_lost, lost);
        set(&self.unassigned, counters.unassigned);
        set(&self.spoofed, counters.spoofed);
        set(&self.leaked, counters.leaked);
        set(&self.bogon_dials, counters.bogon_dials);
        for (reason, &count) in Malformed::ALL.iter().zip(&counters.malformed) {
            set(&self.malformed.get_or_create(&Reason { reason: reason.name() }), count);
        }
        self.flows.set(shards.iter().map(|shard| shard.flows().len() as u64).sum());
        set(&self.flow_evictions, shards.iter().map(|shard| shard.flows().evictions()).sum());
        self.streams.set(shards.iter().map(|shard| shard.streams().len() as u64).sum());
        set(&self.stream_evictions, shards.iter().map(|shard| shard.streams().evictions()).sum());
        self.degraded.set(shards.is_degraded().into());
        self.brakes_set.set(engine.standing().brakes().is_some().into());
        self.tenants.set(tenants as u64);
        self.vantages.set(engine.topology().vantages().len() as u64);
    }

    /// Takes note of how the history goes.
    pub(crate) fn see_history(&self, status: &reeve_replay::history::Status) {
        self.history_bytes.set(status.bytes);
        set(&self.history_frames, status.frames);
        set(&self.history_frames_lost, status.lost);
        self.history_behind.set((!status.failing.is_empty()).into());
    }

    /// Takes note of what came out of the engine.
    pub(crate) fn see_output(&self, output: &Output) {
        match output {
            Output::Alert(alert) => {
                self.alerts.get_or_create(&Class { class: alert.class.name() }).inc();
            }
            Output::Violation(violation) => {
                let is_new = violation.alerts == 1 && violation.state == ViolationState::Open;
                self.violations.inc_by(is_new.into());
            }
            Output::Decision(decision) => {
                let softened = if decision.softened.is_some() { "yes" } else { "no" };
                let (action, mode) = (decision.action.name(), decision.mode.name());
                self.decisions.get_or_create(&Action { action, mode, softened }).inc();
            }
            Output::Imposed(_)
            | Output::Excused(_)
            | Output::BrakesSet(_)
            | Output::Lifted { .. }
            | Output::CheckRelay { .. }
            | Output::RelayChecked(_)
            | Output::Degraded { .. } => {}
        }
    }

    /// Takes note whether somebody has paused the node.
    pub(crate) fn see_pause(&self, is_paused: bool) {
        self.paused.set(is_paused.into());
    }

    /// Takes note of what the kernel is to hold, and whether it does.
    pub(crate) fn see_kernel(&self, desired: &DesiredState, is_behind: bool) {
        self.kernel_behind.set(is_behind.into());
        for action in ["limit", "block", "suspend"] {
            let measures = desired.measures.values();
            let count = measures.filter(|measure| measure.decision.action.name() == action).count();
            self.measures.get_or_create(&Measure { action }).set(count as u64);
        }
    }

    /// Takes note of how full the fullest set is.
    pub(crate) fn see_fill(&self, share: f64) {
        self.set_fill.set(share);
    }

    /// Takes note of what the measures in force have stopped.
    pub(crate) fn see_counters<'a>(&self, counters: impl Iterator<Item = &'a MeasureCounters>) {
        let sums = counters.fold((0_u64, 0_u64), |(packets, bytes), one| {
            (packets.saturating_add(one.packets), bytes.saturating_add(one.bytes))
        });
        self.stopped_packets.set(sums.0);
        self.stopped_bytes.set(sums.1);
    }

    /// Takes note that somebody else changed our table.
    pub(crate) fn see_foreign_change(&self) {
        self.foreign_changes.inc();
    }

    /// Takes note of the journal.
    pub(crate) fn see_journal(&self, reports: usize, is_behind: bool) {
        self.journal_reports.set(reports as u64);
        self.journal_behind.set(is_behind.into());
    }

    /// Takes note of the spool.
    pub(crate) fn see_spool(&self, reports: usize, given_up: u64) {
        self.spool_reports.set(reports as u64);
        set(&self.spool_given_up, given_up);
    }

    /// Takes note that a blocklist is in the settings no longer.
    pub(crate) fn forget_blocklist(&self, name: &Name) {
        let label = List { list: name.to_string() };
        self.blocklist_entries.remove(&label);
        self.blocklist_age.remove(&label);
        self.blocklist_failing.remove(&label);
        self.blocklist_errors.remove(&label);
    }

    /// Takes note of how the blocklists fare.
    pub(crate) fn see_blocklists<'a>(&self, lists: impl Iterator<Item = &'a Health>, now: SystemTime) {
        for health in lists {
            let label = List { list: health.name.to_string() };
            self.blocklist_entries.get_or_create(&label).set(health.entries as u64);
            let age = health.read.map(|read| now.duration_since(read).unwrap_or_default().as_secs_f64());
            self.blocklist_age.get_or_create(&label).set(age.unwrap_or(f64::INFINITY));
            self.blocklist_failing.get_or_create(&label).set(health.is_failing.into());
            set(&self.blocklist_errors.get_or_create(&label), health.errors);
        }
    }

    /// Takes note of when the certificate ends, in seconds since the epoch.
    pub(crate) fn see_certificate(&self, end: u64) {
        self.certificate_end.set(end);
    }

    /// Takes note of the link.
    pub(crate) fn see_link(&self, is_linked: bool) {
        self.controller_linked.set(is_linked.into());
    }
}

/// Sets a counter to what was counted elsewhere; it never goes back.
fn set(counter: &Counter, value: u64) {
    counter.inner().fetch_max(value, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_every_metric_and_no_other() {
        let metrics = Metrics::default();
        drop(metrics.measures.get_or_create(&Measure { action: "limit" }));
        let list = List { list: "drop".to_owned() };
        drop(metrics.blocklist_entries.get_or_create(&list));
        drop(metrics.blocklist_age.get_or_create(&list));
        drop(metrics.blocklist_failing.get_or_create(&list));
        drop(metrics.blocklist_errors.get_or_create(&list));
        let document = include_str!("../../../docs/monitoring.md");
        let wrong = reeve_telemetry::listed::compare(&metrics.registry(), "reeve_agent_", document);
        assert_eq!(wrong, Vec::<String>::new());
    }

    #[test]
    fn it_is_not_ready_while_the_kernel_or_the_journal_is_behind() {
        let metrics = Metrics::default();
        assert!(metrics.troubles().is_empty());
        metrics.see_journal(0, true);
        assert_eq!(metrics.troubles(), ["the journal cannot be written"]);
        metrics.see_kernel(&DesiredState::default(), true);
        assert_eq!(metrics.troubles().len(), 2);
        metrics.see_journal(0, false);
        metrics.see_kernel(&DesiredState::default(), false);
        assert!(metrics.troubles().is_empty());
    }
}
