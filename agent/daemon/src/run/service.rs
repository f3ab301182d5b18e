//! The service manager's side: readiness, reload, stop, and the watchdog (`sd_notify(3)`). Without a service manager all of
//! it does nothing.
//!
//! The watchdog is fed only while both threads that do the work go round: an agent that captures and does not enforce, or the
//! other way, is to be started anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// When threads last went round.
#[derive(Debug)]
pub(super) struct Pulse {
    start: Instant,
    beats: Vec<Arc<AtomicU64>>,
}

/// A thread's part in a [`Pulse`].
#[derive(Clone, Debug)]
pub(super) struct Beat {
    start: Instant,
    at: Arc<AtomicU64>,
}

impl Pulse {
    pub fn new() -> Self {
        Self { start: Instant::now(), beats: Vec::new() }
    }

    /// A part for one more thread.
    pub fn beat(&mut self) -> Beat {
        let at = Arc::new(AtomicU64::new(0));
        self.beats.push(Arc::clone(&at));
        Beat { start: self.start, at }
    }

    /// Whether every thread went round within `patience`.
    pub fn is_alive(&self, patience: Duration) -> bool {
        let now = millis(self.start);
        let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.beats.iter().all(|beat| now.saturating_sub(beat.load(Ordering::Relaxed)) <= patience)
    }
}

impl Beat {
    /// The thread goes round.
    pub fn now(&self) {
        self.at.store(millis(self.start), Ordering::Relaxed);
    }
}

fn millis(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// How long the service manager waits for a sign of life, if it waits for one.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero())
}

pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_that_stands_still_is_enough() {
        let mut pulse = Pulse::new();
        let (one, other) = (pulse.beat(), pulse.beat());
        assert!(pulse.is_alive(Duration::from_secs(60)));
        std::thread::sleep(Duration::from_millis(30));
        one.now();
        assert!(!pulse.is_alive(Duration::from_millis(15)));
        other.now();
        assert!(pulse.is_alive(Duration::from_secs(60)));
    }
}
