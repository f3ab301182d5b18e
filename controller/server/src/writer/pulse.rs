//! How the writer fares, as it says itself; for whoever watches over the controller.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How the writer fares. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pulse(Arc<Mutex<Beat>>);

#[derive(Debug, Default)]
struct Beat {
    /// Since when it is at one transaction, with all its attempts.
    busy: Option<Instant>,
    /// Whether the last thing that it did with the database failed, and not for the sake of one job.
    is_failing: bool,
}

impl Pulse {
    /// A transaction begins.
    pub fn begin(&self) {
        self.lock().busy = Some(Instant::now());
    }

    /// It ended, and the database took it or did not.
    pub fn end(&self, is_good: bool) {
        *self.lock() = Beat { busy: None, is_failing: !is_good };
    }

    /// The database was asked outside a transaction, and answered or did not.
    pub fn see(&self, is_good: bool) {
        self.lock().is_failing = !is_good;
    }

    /// Whether the database took nothing when it was last tried.
    pub fn is_failing(&self) -> bool {
        self.lock().is_failing
    }

    /// Whether it is at one transaction for longer than `patience`.
    pub fn is_stuck(&self, patience: Duration) -> bool {
        self.lock().busy.is_some_and(|since| since.elapsed() > patience)
    }

    fn lock(&self) -> MutexGuard<'_, Beat> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
