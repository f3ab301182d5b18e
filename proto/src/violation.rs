//! Violations and the alerts behind them.

use std::borrow::Cow;

use reeve_policy::{
    Alert, HeaderSample, Loss, Metric, Name, Outcome, Target, TargetSeen, Violation, ViolationId,
    ViolationState, Window,
};

use crate::error::WireError;
use crate::generated::types::v1 as wire;
use crate::read::{
    choice, clip, list, message, parsed, port, required, text, time, time_or_none, time_to_wire,
};
use crate::{MAX_HEADER_BYTES, MAX_METRICS, MAX_SAMPLES, MAX_TARGETS};

impl From<&Target> for wire::Target {
    fn from(target: &Target) -> Self {
        Self {
            address: target.address.to_string(),
            protocol: target.protocol.to_string(),
            port: target.port.map(u32::from),
        }
    }
}

impl TryFrom<wire::Target> for Target {
    type Error = WireError;

    fn try_from(target: wire::Target) -> Result<Self, WireError> {
        Ok(Self {
            address: parsed("address", &target.address)?,
            protocol: parsed("protocol", &target.protocol)?,
            port: target.port.map(|value| port("port", value)).transpose()?,
        })
    }
}

impl From<Outcome> for wire::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Answered => Self::Answered,
            Outcome::Productive => Self::Productive,
            Outcome::Empty => Self::Empty,
            Outcome::Aborted => Self::Aborted,
            Outcome::Refused => Self::Refused,
            Outcome::Silent => Self::Silent,
            Outcome::Unknown => Self::Unknown,
        }
    }
}

fn outcome(field: &str, value: i32) -> Result<Outcome, WireError> {
    choice(field, value, "1 (answered) to 7 (unknown)", |outcome| {
        Some(match outcome {
            wire::Outcome::Unspecified => return None,
            wire::Outcome::Answered => Outcome::Answered,
            wire::Outcome::Productive => Outcome::Productive,
            wire::Outcome::Empty => Outcome::Empty,
            wire::Outcome::Aborted => Outcome::Aborted,
            wire::Outcome::Refused => Outcome::Refused,
            wire::Outcome::Silent => Outcome::Silent,
            wire::Outcome::Unknown => Outcome::Unknown,
        })
    })
}

impl From<&TargetSeen> for wire::TargetSeen {
    fn from(seen: &TargetSeen) -> Self {
        Self {
            target: Some((&seen.target).into()),
            first_time: Some(time_to_wire(seen.first)),
            last_time: Some(time_to_wire(seen.last)),
            outcome: wire::Outcome::from(seen.outcome).into(),
        }
    }
}

impl TryFrom<wire::TargetSeen> for TargetSeen {
    type Error = WireError;

    fn try_from(seen: wire::TargetSeen) -> Result<Self, WireError> {
        Ok(Self {
            target: message("target", seen.target)?,
            first: time("first_time", seen.first_time)?,
            last: time("last_time", seen.last_time)?,
            outcome: outcome("outcome", seen.outcome)?,
        })
    }
}

impl From<&Metric> for wire::Metric {
    fn from(metric: &Metric) -> Self {
        Self { name: clip(&metric.name), value: metric.value, threshold: metric.threshold }
    }
}

impl TryFrom<wire::Metric> for Metric {
    type Error = WireError;

    fn try_from(metric: wire::Metric) -> Result<Self, WireError> {
        Ok(Self {
            name: Cow::Owned(text("name", metric.name)?),
            value: metric.value,
            threshold: metric.threshold,
        })
    }
}

impl From<&HeaderSample> for wire::HeaderSample {
    fn from(sample: &HeaderSample) -> Self {
        Self {
            time: Some(time_to_wire(sample.at)),
            wire_bytes: sample.wire_len,
            headers: sample.headers.iter().copied().take(MAX_HEADER_BYTES).collect(),
            forged: sample.is_forged,
        }
    }
}

impl TryFrom<wire::HeaderSample> for HeaderSample {
    type Error = WireError;

    fn try_from(sample: wire::HeaderSample) -> Result<Self, WireError> {
        if sample.headers.len() > MAX_HEADER_BYTES {
            let found = format_args!("{} bytes", sample.headers.len()).to_string();
            return Err(WireError::new("headers", found, format!("at most {MAX_HEADER_BYTES} bytes")));
        }
        Ok(Self {
            at: time("time", sample.time)?,
            wire_len: sample.wire_bytes,
            headers: sample.headers,
            is_forged: sample.forged,
        })
    }
}

impl From<&Alert> for wire::Alert {
    fn from(alert: &Alert) -> Self {
        // Of too many samples the oldest go: the newest show what goes on.
        let late = alert.samples.len().saturating_sub(MAX_SAMPLES);
        Self {
            class: alert.class.name().to_owned(),
            tenant: alert.tenant.to_string(),
            time: Some(time_to_wire(alert.at)),
            window_start_time: Some(time_to_wire(alert.window.start)),
            window_end_time: Some(time_to_wire(alert.window.end)),
            metrics: alert.metrics.iter().take(MAX_METRICS).map(Into::into).collect(),
            confidence_percent: alert.confidence_percent.min(100).into(),
            targets: alert.targets.iter().take(MAX_TARGETS).map(Into::into).collect(),
            samples: alert.samples[late..].iter().map(Into::into).collect(),
            loss: Some(wire::Loss { received: alert.loss.received, dropped: alert.loss.dropped }),
            suspicion: alert.is_suspicion,
        }
    }
}

impl TryFrom<wire::Alert> for Alert {
    type Error = WireError;

    fn try_from(alert: wire::Alert) -> Result<Self, WireError> {
        let percent = alert.confidence_percent;
        let loss = required("loss", alert.loss)?;
        Ok(Self {
            class: parsed("class", &alert.class)?,
            tenant: parsed("tenant", &alert.tenant)?,
            at: time("time", alert.time)?,
            window: Window {
                start: time("window_start_time", alert.window_start_time)?,
                end: time("window_end_time", alert.window_end_time)?,
            },
            metrics: list("metrics", alert.metrics, MAX_METRICS, Metric::try_from)?,
            confidence_percent: u8::try_from(percent)
                .ok()
                .filter(|percent| *percent <= 100)
                .ok_or_else(|| WireError::new("confidence_percent", percent, "0 to 100"))?,
            targets: list("targets", alert.targets, MAX_TARGETS, TargetSeen::try_from)?,
            samples: list("samples", alert.samples, MAX_SAMPLES, HeaderSample::try_from)?,
            loss: Loss { received: loss.received, dropped: loss.dropped },
            is_suspicion: alert.suspicion,
        })
    }
}

impl From<ViolationState> for wire::ViolationState {
    fn from(state: ViolationState) -> Self {
        match state {
            ViolationState::Open => Self::Open,
            ViolationState::Quiet => Self::Quiet,
            ViolationState::Released => Self::Released,
        }
    }
}

fn state(field: &str, value: i32) -> Result<ViolationState, WireError> {
    choice(field, value, "1 (open), 2 (quiet) or 3 (released)", |state| match state {
        wire::ViolationState::Unspecified => None,
        wire::ViolationState::Open => Some(ViolationState::Open),
        wire::ViolationState::Quiet => Some(ViolationState::Quiet),
        wire::ViolationState::Released => Some(ViolationState::Released),
    })
}

impl From<&Violation> for wire::Violation {
    fn from(violation: &Violation) -> Self {
        Self {
            id: violation.id.to_string(),
            node: violation.node.to_string(),
            tenant: violation.tenant.to_string(),
            rule: violation.rule.to_string(),
            clause: clip(&violation.clause),
            open_time: Some(time_to_wire(violation.opened)),
            last_seen_time: Some(time_to_wire(violation.last_seen)),
            close_time: violation.closed.map(time_to_wire),
            state: wire::ViolationState::from(violation.state).into(),
            strike: violation.strike,
            alerts: violation.alerts,
            evidence: Some((&violation.evidence).into()),
        }
    }
}

impl TryFrom<wire::Violation> for Violation {
    type Error = WireError;

    fn try_from(violation: wire::Violation) -> Result<Self, WireError> {
        Ok(Self {
            id: ViolationId::from(parsed::<Name>("id", &violation.id)?),
            node: parsed("node", &violation.node)?,
            tenant: parsed("tenant", &violation.tenant)?,
            rule: parsed("rule", &violation.rule)?,
            clause: text("clause", violation.clause)?,
            opened: time("open_time", violation.open_time)?,
            last_seen: time("last_seen_time", violation.last_seen_time)?,
            closed: time_or_none("close_time", violation.close_time)?,
            state: state("state", violation.state)?,
            strike: violation.strike,
            alerts: violation.alerts,
            evidence: message("evidence", violation.evidence)?,
        })
    }
}
