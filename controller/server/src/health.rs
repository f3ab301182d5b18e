//! Whether the controller can do its work, as whoever balances, watches or restarts it asks: `grpc.health.v1.Health`, and
//! `/readyz` beside the metrics.
//!
//! It serves while the database can be read and written. Where it cannot, and when the controller stops, everything is told to be not
//! serving, but for `StatusService`, which answers from memory what it knew last, for as long as the controller runs.
//!
//! Left out: what is wrong in detail. Whoever may connect may ask; the log tells the rest.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use reeve_proto::status::v1::status_service_server::SERVICE_NAME as STATUS;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};

use crate::auth::access::METHODS;
use crate::store::Store;
use crate::writer::{Job, Pulse, Writer};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);
/// The database answers, and a transaction ends, within this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// What our own services are called.
const OURS: &str = "reeve.";

/// Why the controller cannot do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It was told to stop.
    Stopping,
    /// Nothing will be written any more.
    WriterStopped,
    /// A transaction does not end.
    WriterStuck,
    /// The database does not take what is written.
    NotWritten,
    /// The database does not answer.
    NotRead,
}

impl Trouble {
    /// In words, for whoever may connect.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopping => "the controller stops",
            Self::WriterStopped => "the writer has stopped",
            Self::WriterStuck => "a transaction does not end",
            Self::NotWritten => "the database takes no changes",
            Self::NotRead => "the database does not answer",
        }
    }
}

/// What is told of the controller's health. Clones tell the same.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    reporter: HealthReporter,
    troubles: Arc<ArcSwap<Vec<Trouble>>>,
    is_stopping: Arc<AtomicBool>,
}

impl Health {
    /// Of a controller that was just found able to serve.
    pub async fn new() -> Self {
        let health =
            Self { reporter: HealthReporter::new(), troubles: Arc::default(), is_stopping: Arc::default() };
        health.report(ServingStatus::Serving, ServingStatus::Serving).await;
        health
    }

    /// The service that tells it.
    pub fn service(&self) -> HealthService {
        HealthService::from_health_reporter(self.reporter.clone())
    }

    /// Why the controller cannot do its work; nothing while it can.
    pub fn troubles(&self) -> Vec<&'static str> {
        self.troubles.load().iter().map(|trouble| trouble.as_str()).collect()
    }

    /// Looks after it, for as long as it is polled.
    pub async fn keep(self, store: Store, writer: Writer, pulse: Pulse) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let troubles = look(&store, &writer, &pulse).await;
            self.tell(troubles).await;
        }
    }

    /// The controller was told to stop. Nothing that is found later changes what is told then.
    pub async fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.troubles.store(Arc::new(vec![Trouble::Stopping]));
        self.report(ServingStatus::NotServing, ServingStatus::NotServing).await;
    }

    async fn tell(&self, troubles: Vec<Trouble>) {
        let before = self.troubles.load_full();
        if self.is_stopping.load(Ordering::Acquire) || *before == troubles {
            return;
        }
        match troubles.as_slice() {
            [] => tracing::info!("the controller can do its work again"),
            all => all.iter().for_each(|trouble| {
                tracing::error!(trouble = trouble.as_str(), "the controller cannot do its work");
            }),
        }
        let of = |is_good| if is_good { ServingStatus::Serving } else { ServingStatus::NotServing };
        let is_dead = troubles.contains(&Trouble::WriterStopped);
        let (of_database, of_memory) = (of(troubles.is_empty()), of(!is_dead));
        self.troubles.store(Arc::new(troubles));
        self.report(of_database, of_memory).await;
        if self.is_stopping.load(Ordering::Acquire) {
            // It was told to stop in between.
            self.stop().await;
        }
    }

    /// Watchers are told of changes alone.
    async fn report(&self, of_database: ServingStatus, of_memory: ServingStatus) {
        for service in services() {
            let status = if service == STATUS { of_memory } else { of_database };
            self.reporter.set_service_status(service, status).await;
        }
    }
}

/// What there is; an empty name stands for the whole.
fn services() -> BTreeSet<&'static str> {
    let of_methods = METHODS.iter().filter_map(|(path, _)| path.strip_prefix('/')?.split('/').next());
    of_methods.filter(|service| service.starts_with(OURS)).chain([""]).collect()
}

/// What is wrong now.
async fn look(store: &Store, writer: &Writer, pulse: &Pulse) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    if writer.is_gone() {
        troubles.push(Trouble::WriterStopped);
    } else if pulse.is_failing() {
        // With nobody served nothing may come that would show that it goes again.
        let tried = writer.ask(|reply| Job::Probe { reply });
        if !matches!(tokio::time::timeout(PATIENCE, tried).await, Ok(Ok(()))) {
            troubles.push(Trouble::NotWritten);
        }
    } else if pulse.is_stuck(PATIENCE) {
        troubles.push(Trouble::WriterStuck);
    }
    if !matches!(tokio::time::timeout(PATIENCE, store.reach()).await, Ok(Ok(()))) {
        troubles.push(Trouble::NotRead);
    }
    troubles
}
