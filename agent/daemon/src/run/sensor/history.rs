//! The history: what is kept so that policies can be tried on it. It is a help, not a duty: the agent goes on without.

use reeve_core::engine::EngineConfig;
use reeve_policy::{NodeEvent, NodeEventKind, Timestamp};
use reeve_replay::history::Historian;

use super::Sensor;
use crate::config::Loaded;

/// The history that the settings ask for, if they do and it can be kept.
pub(super) fn open(loaded: &Loaded, config: &EngineConfig, now: Timestamp) -> Option<Historian> {
    let limits = loaded.settings.history?;
    let folder = loaded.settings.history_dir();
    match Historian::open(&folder, limits, config.clone(), now) {
        Ok(historian) => {
            tracing::info!(folder = %folder.display(), bytes = limits.max_bytes, "a history is kept");
            Some(historian)
        }
        Err(error) => {
            tracing::error!(%error, "no history is kept");
            None
        }
    }
}

impl Sensor {
    /// Tells when the history is no longer written, and when it is again.
    pub(super) fn look_at_history(&mut self) {
        let Some(status) = self.core.history() else { return };
        self.metrics.see_history(&status);
        let fails = !status.failing.is_empty();
        if fails == self.history_fails {
            return;
        }
        self.history_fails = fails;
        let now = self.clock.now();
        if fails {
            let detail = format!("the history is not written: {}; nothing else is affected", status.failing);
            self.tell_event(NodeEvent::new(now, NodeEventKind::Degraded, &detail));
        } else {
            let detail = format!("the history is written again; {} frames are missing in it", status.lost);
            self.tell_event(NodeEvent::new(now, NodeEventKind::DegradedOver, &detail));
        }
    }
}
