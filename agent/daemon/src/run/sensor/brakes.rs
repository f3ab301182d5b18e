//! The sensor's part in ending and undoing what policy did, and in telling operators what they must hear of the node.

use std::time::{Duration, Instant};

use reeve_core::engine::Input;
use reeve_policy::{
    HeldPause, Lift, Loss, NodeEvent, NodeEventKind, OrderId, Pause, PauseScope, Report, Timestamp,
};

use super::{HEALTH_EVERY, Sensor};
use crate::run::engine_time;
use crate::run::pause::Pauses;
use crate::state::pause::LocalPause;

impl Sensor {
    /// Goes on paused, if an earlier run was or somebody paused since.
    pub(super) fn restore_pauses(&mut self, pauses: Pauses, now: Timestamp) {
        // A pause that began while no agent ran is told now; one that was told before is known by its time.
        let begun: Vec<Pause> = [pauses.local.as_ref().map(|local| local.pause.clone())]
            .into_iter()
            .chain(
                [&pauses.controller.fleet, &pauses.controller.node]
                    .map(|held| Some(held.as_ref()?.pause.clone())),
            )
            .flatten()
            .collect();
        let lifts = pauses.local.as_ref().is_some_and(|local| local.lift);
        self.pauses = pauses;
        self.set_pause(now);
        for pause in begun {
            tracing::warn!("{pause}: policy takes no new measure");
            self.tell_event(NodeEvent::new(pause.at, NodeEventKind::Paused, &pause.to_string()));
        }
        if lifts {
            self.lift(&Lift::ALL, "the node's own pause", now);
        }
    }

    /// The controller pauses.
    pub(super) fn take_pause(
        &mut self,
        id: OrderId,
        scope: PauseScope,
        pause: Pause,
        lift: bool,
        now: Timestamp,
    ) {
        tracing::warn!(order = %id, scope = scope.name(), "{pause}: policy takes no new measure");
        self.tell_event(NodeEvent::new(
            pause.at,
            NodeEventKind::Paused,
            &format!("{} {pause}", scope.name()),
        ));
        let by = format!("{}, who paused", pause.by);
        *self.pauses.controller.of(scope) = Some(HeldPause { order: id.clone(), pause });
        self.set_pause(now);
        if lift {
            self.lift(&Lift::ALL, &by, now);
            self.awaiting.push(id);
        } else {
            self.awaiting_disk.push(id);
        }
        self.changed = true;
    }

    /// The controller ends a pause of its own.
    pub(super) fn take_resume(
        &mut self,
        id: OrderId,
        scope: PauseScope,
        by: &str,
        reason: &str,
        now: Timestamp,
    ) {
        tracing::warn!(order = %id, scope = scope.name(), by, reason, "a pause ends");
        let held = self.pauses.controller.of(scope).take();
        self.set_pause(now);
        if held.is_some() {
            self.tell_resumed(&format!("the {}'s pause ended by {by}", scope.name()), reason, now);
        }
        self.awaiting_disk.push(id);
        self.changed = true;
    }

    /// The node's own pause is another now, or none.
    pub(super) fn take_local_pause(&mut self, pause: Option<LocalPause>) {
        let now = self.clock.now();
        let lifts = pause.as_ref().is_some_and(|pause| pause.lift);
        self.pauses.local.clone_from(&pause);
        self.set_pause(now);
        match pause {
            Some(LocalPause { pause, .. }) => {
                tracing::warn!("{pause}: policy takes no new measure");
                self.tell_event(NodeEvent::new(pause.at, NodeEventKind::Paused, &pause.to_string()));
            }
            None => {
                tracing::warn!("the node's own pause ends");
                self.tell_resumed("the node's own pause ended", "", now);
            }
        }
        if lifts {
            self.lift(&Lift::ALL, "the node's own pause", now);
        }
    }

    /// A person has looked at those who are held.
    pub(super) fn release_brakes(&mut self, by: &str, reason: &str) {
        let now = self.clock.now();
        let was =
            self.engine().standing().brakes().map_or("they were not set".to_owned(), ToString::to_string);
        tracing::warn!(by, reason, "the brakes are released: {was}");
        self.core.handle(Input::ReleaseBrakes { at: engine_time(now) });
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        self.tell_apart(now, NodeEventKind::BrakesReleased, &format!("by {by}{why}; {was}"));
        self.changed = true;
        self.tell_health();
    }

    /// Tells the engine who has paused the node, if that is another than before.
    fn set_pause(&mut self, now: Timestamp) {
        let paused = self.pauses.in_force().cloned();
        if paused == self.paused {
            return;
        }
        self.paused.clone_from(&paused);
        self.metrics.see_pause(paused.is_some());
        self.core.handle(Input::Pause { paused, at: engine_time(now) });
        self.tell_health();
    }

    fn tell_resumed(&mut self, what: &str, reason: &str, now: Timestamp) {
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let still = match &self.paused {
            Some(pause) => format!("; still {pause}"),
            None => String::new(),
        };
        self.tell_event(NodeEvent::new(now, NodeEventKind::Resumed, &format!("{what}{why}{still}")));
    }

    /// Undoes what policy did.
    pub(super) fn lift(&mut self, lift: &Lift, by: &str, now: Timestamp) {
        let before = self.engine().desired().measures.len();
        self.core.handle(Input::Lift { lift: lift.clone(), at: engine_time(now) });
        let lifted = before.saturating_sub(self.engine().desired().measures.len());
        if lifted > 0 {
            let what = lift.policy.as_ref().map_or_else(String::new, |policy| {
                format!(" of policy {} v{} since {}", policy.name, policy.version, lift.since)
            });
            let measures = if lifted == 1 { "measure" } else { "measures" };
            let detail = format!("{lifted} {measures}{what}, by {by}");
            self.tell_event(NodeEvent::new(now, NodeEventKind::Lifted, &detail));
        }
    }

    /// Tells operators something of the node, with what happened.
    pub(super) fn tell_event(&mut self, event: NodeEvent) {
        self.happened.push(Report::Event(event));
        self.changed = true;
    }

    /// The same of what may happen to several tenants at once: an event is known by its time and kind, so each has a time of its own.
    pub(super) fn tell_apart(&mut self, at: Timestamp, kind: NodeEventKind, detail: &str) {
        self.last_apart = at.max(self.last_apart + Duration::from_nanos(1));
        self.tell_event(NodeEvent::new(self.last_apart, kind, detail));
    }

    /// The same, at most once a minute of a kind.
    pub(super) fn tell_seldom(&mut self, at: Timestamp, kind: NodeEventKind, detail: &str) {
        if let Some(event) = self.news.tell(Instant::now(), at, kind, detail) {
            self.tell_event(event);
        }
    }

    /// Tells when the capture lost more than may be counted by since this was last asked.
    pub(super) fn look_at_losses(&mut self) {
        let total = Loss { received: self.engine().counters().frames, dropped: self.dropped };
        let since = Loss {
            received: total.received.saturating_sub(self.losses.received),
            dropped: total.dropped.saturating_sub(self.losses.dropped),
        };
        self.losses = total;
        if since.share() > Loss::HONEST_SHARE {
            let detail = format!(
                "{:.0} % of the frames were lost in {} s ({} of {})",
                since.share() * 100.0,
                HEALTH_EVERY.as_secs(),
                since.dropped,
                since.dropped + since.received
            );
            self.tell_seldom(self.clock.now(), NodeEventKind::CaptureLoss, &detail);
        }
    }
}
