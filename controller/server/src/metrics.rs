//! The controller's metrics. No label names a tenant or a node: who stands where is asked of the services.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use reeve_policy::Timestamp;
use tokio::sync::broadcast::error::RecvError;

use crate::clock;
use crate::directory::{Directory, State};
use crate::events::{Events, What};
use crate::store::Store;
use crate::streams::Streams;

/// How often it is looked up what waits.
const LOOK: Duration = Duration::from_secs(15);
/// A node that has been away for longer is most likely not to come back.
const WEEK: Duration = Duration::from_secs(7 * 86_400);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stands {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Became {
    outcome: &'static str,
}

type Unsigned = Gauge<u64, AtomicU64>;

/// All metrics of a controller. Clones are the same metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    ready: Unsigned,
    certificate_end: Unsigned,
    connections: Unsigned,
    connections_pending: Unsigned,
    nodes: Unsigned,
    nodes_away: Unsigned,
    orders_waiting: Unsigned,
    orders_waiting_since: Unsigned,
    approvals_waiting: Unsigned,
    complaints_waiting: Family<Stands, Unsigned>,
    complaints_waiting_since: Unsigned,
    complaint_mails: Family<Became, Counter>,
    complaint_mail_sessions: Gauge,
    deliveries_pending: Unsigned,
    deliveries_pending_since: Unsigned,
    deliveries_dead: Unsigned,
    nodes_paused: Unsigned,
    fleet_paused: Unsigned,
    tenants: Unsigned,
    standing: Family<Stands, Unsigned>,
    events: Family<Kind, Counter>,
    events_missed: Counter,
    exported: Counter,
    export_dropped: Counter,
    lookups: Counter,
    lookups_refused: Counter,
}

impl Metrics {
    /// A registry with all of them, each named `reeve_controller_...`.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        let mut registry = Registry::with_prefix("reeve_controller");
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The controller's version", Info::new(version));
        let help = "1 while the controller can do its work: the database can be read and written";
        registry.register("ready", help, self.ready.clone());
        let help = "When the controller's certificate ends, in seconds since 1970; 0 where it has none";
        registry.register("certificate_end_timestamp_seconds", help, self.certificate_end.clone());
        registry.register("connections", "Connections, of gRPC and HTTP", self.connections.clone());
        let help = "Connections that have not shown who they are";
        registry.register("connections_pending", help, self.connections_pending.clone());
        registry.register("nodes_connected", "Nodes that are connected", self.nodes.clone());
        let help = "Nodes that were connected within a week, and now are to no controller";
        registry.register("nodes_away", help, self.nodes_away.clone());
        let help = "Orders that their node has not carried out yet";
        registry.register("orders_waiting", help, self.orders_waiting.clone());
        let help =
            "When the first of the orders that wait was given, in seconds since 1970; 0 where none waits";
        registry.register("orders_waiting_since_timestamp_seconds", help, self.orders_waiting_since.clone());
        let help = "Acts that wait for a second person";
        registry.register("approvals_waiting", help, self.approvals_waiting.clone());
        let help = "Complaints that wait for a person";
        registry.register("complaints_waiting", help, self.complaints_waiting.clone());
        let help =
            "When the first of the complaints that wait came, in seconds since 1970; 0 where none waits";
        registry.register(
            "complaints_waiting_since_timestamp_seconds",
            help,
            self.complaints_waiting_since.clone(),
        );
        let help = "What became of mail that came by SMTP";
        registry.register("complaint_mails", help, self.complaint_mails.clone());
        let help = "Sessions of SMTP in which mail comes";
        registry.register("complaint_mail_sessions", help, self.complaint_mail_sessions.clone());
        let help = "Notices that are still to be sent, by mail, webhook or file";
        registry.register("deliveries_pending", help, self.deliveries_pending.clone());
        let help = "Since when the first of them is to be sent, in seconds since 1970; 0 where there is none";
        registry.register(
            "deliveries_pending_since_timestamp_seconds",
            help,
            self.deliveries_pending_since.clone(),
        );
        let help = "Notices that could not be sent, or had nowhere to go, and are not tried any more";
        registry.register("deliveries_dead", help, self.deliveries_dead.clone());
        let help = "Nodes that told last that a person has ended what policy does by itself";
        registry.register("nodes_paused", help, self.nodes_paused.clone());
        let help = "1 while an operator has paused the whole fleet";
        registry.register("fleet_paused", help, self.fleet_paused.clone());
        registry.register("tenants", "Tenants in the inventory", self.tenants.clone());
        registry.register("tenants_standing", "Tenants something is held against", self.standing.clone());
        // Counts begin at zero: of a series that comes with its first event Prometheus sees no increase, and so not the first of anything.
        for kind in KINDS {
            drop(self.events.get_or_create(&Kind { kind }));
        }
        registry.register("events", "What happened, as watchers are told", self.events.clone());
        registry.register(
            "events_missed",
            "Events that were not counted in time",
            self.events_missed.clone(),
        );
        let help = "Events and entries that log servers and files were told";
        registry.register("exported", help, self.exported.clone());
        let help = "Events that a log server or file was too slow for, or that were lost on the way";
        registry.register("export_dropped", help, self.export_dropped.clone());
        registry.register("status_lookups", "Look-ups of a tenant's status", self.lookups.clone());
        let help = "Look-ups of a tenant's status that came too fast";
        registry.register("status_lookups_refused", help, self.lookups_refused.clone());
        Arc::new(registry)
    }

    /// Brings what can be seen at any time up to `now`.
    pub fn refresh(&self, directory: &Directory, streams: &Streams, now: Timestamp) {
        let snapshot = directory.snapshot();
        self.nodes.set(streams.len() as u64);
        self.nodes_paused.set(snapshot.paused.nodes.len() as u64);
        self.fleet_paused.set(snapshot.paused.fleet.is_some().into());
        self.tenants.set(snapshot.tenants.len() as u64);
        let (mut warned, mut limited, mut blocked, mut suspended) = (0, 0, 0, 0);
        for standing in snapshot.standings.values() {
            match standing.status(now).state {
                State::Clear => {}
                State::Warned => warned += 1,
                State::Limited => limited += 1,
                State::Blocked => blocked += 1,
                State::Suspended => suspended += 1,
            }
        }
        for (state, count) in
            [("warned", warned), ("limited", limited), ("blocked", blocked), ("suspended", suspended)]
        {
            self.standing.get_or_create(&Stands { state }).set(count);
        }
    }

    /// Takes note whether the controller can do its work.
    pub(crate) fn see_health(&self, is_ready: bool) {
        self.ready.set(is_ready.into());
    }

    /// Takes note of when the certificate ends that the controller shows.
    pub(crate) fn see_certificate(&self, ends: Timestamp) {
        self.certificate_end.set(ends.as_nanos() / 1_000_000_000);
    }

    /// Takes note of how many connections there are, and how many of them are pending.
    pub(crate) fn see_connections(&self, (all, pending): (usize, usize)) {
        self.connections.set(all as u64);
        self.connections_pending.set(pending as u64);
    }

    /// Looks up what waits, now and then, for as long as it is polled.
    pub(crate) async fn look(self, store: Store, streams: Streams) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = clock::now();
            match store.waiting(now, now.minus(WEEK)).await {
                Ok(waiting) => {
                    let away = waiting.nodes.iter().filter(|node| !streams.is_connected(node)).count();
                    self.nodes_away.set(away as u64);
                    self.orders_waiting.set(waiting.orders);
                    let since = waiting.first.map_or(0, |first| first.as_nanos() / 1_000_000_000);
                    self.orders_waiting_since.set(since);
                    self.approvals_waiting.set(waiting.approvals);
                    for (state, count) in
                        [("unmatched", waiting.unmatched), ("unreadable", waiting.unreadable)]
                    {
                        self.complaints_waiting.get_or_create(&Stands { state }).set(count);
                    }
                    let since = waiting.first_complaint.map_or(0, |first| first.as_nanos() / 1_000_000_000);
                    self.complaints_waiting_since.set(since);
                }
                // That the database is away is told by itself.
                Err(error) => tracing::debug!(%error, "what waits cannot be looked up"),
            }
            if let Ok(backlog) = store.backlog().await {
                self.deliveries_pending.set(backlog.pending);
                let since = backlog.oldest.map_or(0, |oldest| oldest.as_nanos() / 1_000_000_000);
                self.deliveries_pending_since.set(since);
                self.deliveries_dead.set(backlog.dead);
            }
        }
    }

    /// Counts events for as long as it is polled.
    pub async fn count(self, events: Events) {
        let mut receiver = events.subscribe();
        loop {
            match receiver.recv().await {
                Ok(event) => {
                    let kind = kind(&event.what);
                    self.events.get_or_create(&Kind { kind }).inc();
                }
                Err(RecvError::Lagged(missed)) => {
                    self.events_missed.inc_by(missed);
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Takes note that a log server or file was told something.
    pub(crate) fn see_exported(&self) {
        self.exported.inc();
    }

    /// Takes note of what was not told.
    pub(crate) fn see_dropped(&self, count: u64) {
        self.export_dropped.inc_by(count);
    }

    /// Takes note of what became of mails, or of whoever brought them.
    pub(crate) fn see_mails(&self, outcome: &'static str, count: u64) {
        self.complaint_mails.get_or_create(&Became { outcome }).inc_by(count);
    }

    /// Takes note of sessions of SMTP that begin or end.
    pub(crate) fn see_mail_sessions(&self, more: i64) {
        self.complaint_mail_sessions.inc_by(more);
    }

    /// Takes note of look-ups, and whether they were answered.
    pub(crate) fn see_lookups(&self, count: u32, are_answered: bool) {
        let counter = if are_answered { &self.lookups } else { &self.lookups_refused };
        counter.inc_by(count.into());
    }
}

/// What [`kind`] says.
const KINDS: [&str; 10] = [
    "violation_opened",
    "violation_closed",
    "decided",
    "measure_stands",
    "measure_lifted",
    "node_up",
    "node_down",
    "order_answered",
    "node_event",
    "notice",
];

const fn kind(what: &What) -> &'static str {
    match what {
        What::ViolationOpened(_) => "violation_opened",
        What::ViolationClosed(_) => "violation_closed",
        What::Decided(_) => "decided",
        What::MeasureStands { .. } => "measure_stands",
        What::MeasureLifted { .. } => "measure_lifted",
        What::NodeUp { .. } => "node_up",
        What::NodeDown { .. } => "node_down",
        What::OrderAnswered { .. } => "order_answered",
        What::NodeEvent { .. } => "node_event",
        What::Notice { .. } => "notice",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_every_metric_and_no_other() {
        let metrics = Metrics::default();
        drop(metrics.standing.get_or_create(&Stands { state: "warned" }));
        drop(metrics.complaints_waiting.get_or_create(&Stands { state: "unmatched" }));
        metrics.see_mails("stored", 1);
        let document = include_str!("../../../docs/monitoring.md");
        let wrong = reeve_telemetry::listed::compare(&metrics.registry(), "reeve_controller_", document);
        assert_eq!(wrong, Vec::<String>::new());
    }
}
