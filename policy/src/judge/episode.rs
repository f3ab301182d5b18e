//! One open episode, and which step is due in it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::MAX_DECISIONS;
use crate::alert::Alert;
use crate::decision::Decision;
use crate::language::conditions::Calendar;
use crate::language::{History, Rule, ScopeRule};
use crate::net::{Protocol, Target};
use crate::reckoning::Cause;
use crate::tenant::{Mode, Name};
use crate::time::Timestamp;
use crate::violation::{Violation, ViolationState};

/// What the measures of the step at hand reach.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reach {
    /// Nothing yet.
    #[default]
    Nothing,
    /// All that the class is about.
    Whole,
    /// Some destinations.
    Addresses(BTreeSet<IpAddr>),
    /// Some ports of some destinations.
    Targets(BTreeSet<Target>),
    /// Some protected endpoints.
    Endpoints(BTreeSet<Name>),
}

/// An open episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Episode {
    pub violation: Violation,
    /// What was known of the tenant when it became a strike, but for which strike it is.
    #[serde(default)]
    pub history: History,
    /// How many strikes ceased to count when it became one.
    #[serde(default)]
    pub faded: u32,
    /// When it is over if nothing more is seen.
    pub quiet_at: Timestamp,
    /// How many decisions it has led to.
    pub decisions: u32,
    /// Whether the last of them was milder than the ladder says.
    pub was_softened: bool,
    /// Whether that was because the step had nothing to aim at.
    was_aimless: bool,
    /// The step that was taken last, counted from 0, and when.
    step: Option<(usize, Timestamp)>,
    /// When the step's measure ends by itself.
    expires: Option<Timestamp>,
    mode: Mode,
    reach: Reach,
}

impl Episode {
    pub fn open(violation: Violation, quiet_at: Timestamp) -> Self {
        Self {
            violation,
            history: History::default(),
            faded: 0,
            quiet_at,
            decisions: 0,
            was_softened: false,
            was_aimless: false,
            step: None,
            expires: None,
            mode: Mode::Observe,
            reach: Reach::Nothing,
        }
    }

    /// Takes an alert into the episode.
    pub fn see(&mut self, alert: &Alert) {
        self.violation.alerts = self.violation.alerts.saturating_add(1);
        self.violation.last_seen = self.violation.last_seen.max(alert.at);
        // What is known for certain is not put in the shade by what is only suspected.
        if !alert.is_suspicion || self.violation.evidence.is_suspicion {
            self.violation.evidence = alert.clone();
        }
    }

    /// The violation as it stands at its end.
    pub fn close(mut self, at: Timestamp, state: ViolationState) -> Violation {
        self.violation.closed = Some(at);
        self.violation.state = state;
        self.violation
    }

    /// The step that was taken last, counted from 0, and when.
    pub fn last_step(&self) -> Option<(usize, Timestamp)> {
        self.step
    }

    /// Which step is to be taken now that `alert` was seen, if any, and what makes it that one.
    pub fn step_due(
        &self,
        rule: &Rule,
        calendar: &Calendar,
        alert: &Alert,
        mode: Mode,
    ) -> Option<(usize, Cause)> {
        if self.decisions >= MAX_DECISIONS {
            return None;
        }
        let last = rule.ladder.len() - 1;
        let times = alert.times();
        let Some((taken, at)) = self.step else {
            let strikes = self.violation.strike;
            let (step, begin) = rule.first_step(&History { strikes, times, ..self.history });
            return Some((step, begin.into()));
        };
        // A policy that came in between may have a shorter ladder.
        let taken = taken.min(last);
        let step = &rule.ladder[taken];
        if let Some(severe) = rule.severe_step(times).filter(|severe| *severe > taken) {
            return Some((severe, Cause::Worsened));
        }
        if self.was_softened {
            // A step that has nothing to aim at stops nothing, however often it is taken.
            let goes_on = self.was_aimless && taken < last && alert.at.since(at) >= Rule::AFTER_MEASURE;
            return Some(if goes_on {
                (taken + 1, Cause::NothingToAimAt)
            } else {
                (taken, Cause::TriedAgain)
            });
        }
        if taken < last && alert.at >= rule.patience_ends(step, at, calendar) {
            return Some((taken + 1, Cause::WentOn));
        }
        let again = match () {
            () if self.expires.is_some_and(|end| end <= alert.at) => Cause::RanOut,
            () if mode > self.mode => Cause::MayActNow,
            () if self.misses(alert, step.scope) => Cause::Elsewhere,
            () => return None,
        };
        step.action.is_measure().then_some((taken, again))
    }

    /// Until when there is time to mend it: after a step that is no measure, when there is another.
    pub fn promised(&self, rule: &Rule, calendar: &Calendar) -> Option<Timestamp> {
        let (taken, at) = self.step.filter(|_| !self.was_softened)?;
        let step = rule.ladder.get(taken).filter(|step| !step.action.is_measure())?;
        (taken + 1 < rule.ladder.len()).then(|| rule.patience_ends(step, at, calendar))
    }

    /// Whether step `index` comes after the one that was taken last.
    pub fn is_beyond(&self, index: usize) -> bool {
        self.step.is_some_and(|(taken, _)| index > taken)
    }

    /// The warning that runs: the step that was taken is no measure, and another comes after it.
    pub fn warning(&self, rule: &Rule, calendar: &Calendar) -> Option<super::Warning> {
        let (taken, at) = self.step?;
        let last = rule.ladder.len() - 1;
        let step = rule.ladder.get(taken).filter(|step| taken < last && !step.action.is_measure())?;
        let runs = self.mode == Mode::Enforce && !self.was_softened;
        runs.then(|| super::Warning { at, deadline: rule.patience_ends(step, at, calendar) })
    }

    /// Takes note of a decision by step `index`, which reaches `reach`.
    pub fn took(&mut self, index: usize, decision: &Decision, reach: Reach, is_aimless: bool) {
        let softened = decision.softened.is_some();
        if !softened {
            let ran_out = self.expires.is_some_and(|end| end <= decision.at);
            let goes_on =
                self.step.is_some_and(|(step, _)| step == index) && !ran_out && self.mode == decision.mode;
            match (goes_on, &mut self.reach, reach) {
                (true, Reach::Addresses(known), Reach::Addresses(more)) => known.extend(more),
                (true, Reach::Targets(known), Reach::Targets(more)) => known.extend(more),
                (true, Reach::Endpoints(known), Reach::Endpoints(more)) => known.extend(more),
                (_, known, reach) => *known = reach,
            }
            // The patience of a step that goes on runs from its beginning.
            if !goes_on {
                self.step = Some((index, decision.at));
            }
            let ends = decision.until.expiry(decision.at);
            self.expires = if decision.action.is_measure() { ends } else { None };
            self.mode = decision.mode;
        } else if self.step.is_none() || self.is_beyond(index) {
            self.step = Some((index, decision.at));
        }
        self.was_softened = softened;
        self.was_aimless = softened && is_aimless;
    }

    /// Whether the alert is about something that the step's measures do not reach.
    fn misses(&self, alert: &Alert, scope: ScopeRule) -> bool {
        let mut seen = alert.targets.iter().map(|seen| seen.target);
        match (&self.reach, scope) {
            (Reach::Addresses(known), ScopeRule::Destinations) => {
                seen.any(|target| !known.contains(&target.address))
            }
            // An endpoint as such is held over TCP only.
            (Reach::Endpoints(_), ScopeRule::Endpoint) => seen.any(|target| target.protocol != Protocol::Tcp),
            (Reach::Targets(known), ScopeRule::DestinationPorts | ScopeRule::Endpoint) => {
                seen.any(|target| target.port.is_some() && !known.contains(&target))
            }
            _ => false,
        }
    }
}
