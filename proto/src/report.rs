//! Reports and health.

use std::collections::BTreeMap;

use reeve_policy::judge::BrakesSet;
use reeve_policy::{
    Decision, DecisionId, MeasureCounters, NodeEvent, NodeHealth, Pause, PolicyVersion, RelayChecked, Report,
    Usage, Violation,
};

use crate::decision::lift_reason;
use crate::error::WireError;
use crate::generated::agent::v1 as wire;
use crate::generated::agent::v1::report::usage::Tally;
use crate::generated::agent::v1::report::{Counters, Lifted, Report as Kind, Standing};
use crate::generated::types::v1 as types;
use crate::read::{clip, list, message, parsed, parsed_or_none, required, text, time, time_to_wire};
use crate::tenant::mode;
use crate::{MAX_COUNTERS, MAX_USAGE};

impl From<&Report> for wire::Report {
    fn from(report: &Report) -> Self {
        let kind = match report {
            Report::Violation(violation) => Kind::Violation(violation.into()),
            Report::Decision(decision) => Kind::Decision(decision.into()),
            Report::Standing { measure, at } => {
                Kind::Standing(Standing { measure: Some(measure.into()), time: Some(time_to_wire(*at)) })
            }
            Report::Lifted { decision, tenant, reason, at, counters } => Kind::Lifted(Lifted {
                decision: decision.to_string(),
                tenant: tenant.to_string(),
                reason: types::LiftReason::from(*reason).into(),
                time: Some(time_to_wire(*at)),
                counters: Some((*counters).into()),
            }),
            Report::Counters(counters) => Kind::Counters(Counters {
                by_decision: counters
                    .iter()
                    .take(MAX_COUNTERS)
                    .map(|(decision, counters)| (decision.to_string(), (*counters).into()))
                    .collect(),
            }),
            Report::Health(health) => Kind::Health(health.into()),
            Report::Event(event) => Kind::Event(event.into()),
            Report::RelayChecked(checked) => Kind::RelayChecked(checked.into()),
            Report::Usage { tallies } => Kind::Usage(wire::report::Usage {
                tallies: tallies.iter().take(MAX_USAGE).map(Into::into).collect(),
            }),
        };
        Self { report: Some(kind) }
    }
}

impl TryFrom<wire::Report> for Report {
    type Error = WireError;

    fn try_from(report: wire::Report) -> Result<Self, WireError> {
        Ok(match required("report", report.report)? {
            Kind::Violation(violation) => {
                Self::Violation(Violation::try_from(violation).map_err(|error| error.within("violation"))?)
            }
            Kind::Decision(decision) => {
                Self::Decision(Decision::try_from(decision).map_err(|error| error.within("decision"))?)
            }
            Kind::Standing(standing) => Self::Standing {
                measure: message("standing.measure", standing.measure)?,
                at: time("standing.time", standing.time)?,
            },
            Kind::Lifted(lifted) => Self::Lifted {
                decision: DecisionId(parsed("lifted.decision", &lifted.decision)?),
                tenant: parsed("lifted.tenant", &lifted.tenant)?,
                reason: lift_reason("lifted.reason", lifted.reason)?,
                at: time("lifted.time", lifted.time)?,
                counters: required("lifted.counters", lifted.counters)?.into(),
            },
            Kind::Counters(counters) => Self::Counters(read_counters(counters)?),
            Kind::Health(health) => {
                Self::Health(NodeHealth::try_from(health).map_err(|error| error.within("health"))?)
            }
            Kind::Usage(usage) => {
                Self::Usage { tallies: list("usage.tallies", usage.tallies, MAX_USAGE, Usage::try_from)? }
            }
            Kind::RelayChecked(checked) => Self::RelayChecked(
                RelayChecked::try_from(checked).map_err(|error| error.within("relay_checked"))?,
            ),
            Kind::Event(event) => {
                Self::Event(NodeEvent::try_from(event).map_err(|error| error.within("event"))?)
            }
        })
    }
}

fn read_counters(counters: Counters) -> Result<BTreeMap<DecisionId, MeasureCounters>, WireError> {
    let field = "counters.by_decision";
    if counters.by_decision.len() > MAX_COUNTERS {
        let found = format!("{} entries", counters.by_decision.len());
        return Err(WireError::new(field, found, format!("at most {MAX_COUNTERS} entries")));
    }
    counters
        .by_decision
        .into_iter()
        .map(|(decision, counters)| Ok((DecisionId(parsed(field, &decision)?), counters.into())))
        .collect()
}

impl From<&Usage> for Tally {
    fn from(usage: &Usage) -> Self {
        Self {
            tenant: usage.tenant.to_string(),
            month: usage.month.to_string(),
            bytes_in: usage.received,
            bytes_out: usage.sent,
        }
    }
}

impl TryFrom<Tally> for Usage {
    type Error = WireError;

    fn try_from(tally: Tally) -> Result<Self, WireError> {
        Ok(Self {
            tenant: parsed("tenant", &tally.tenant)?,
            month: parsed("month", &tally.month)?,
            received: tally.bytes_in,
            sent: tally.bytes_out,
        })
    }
}

impl From<&NodeHealth> for wire::NodeHealth {
    fn from(health: &NodeHealth) -> Self {
        Self {
            time: Some(time_to_wire(health.at)),
            mode: types::Mode::from(health.mode).into(),
            policy: health.policy.as_ref().map(|policy| policy.name.to_string()).unwrap_or_default(),
            policy_version: health.policy.as_ref().map_or(0, |policy| policy.version),
            tenants: health.tenants,
            measures: health.measures,
            vantages: health.vantages,
            frames_received: health.frames_received,
            frames_dropped: health.frames_dropped,
            malformed: health.malformed,
            flows: health.flows,
            evictions: health.evictions,
            agent_version: clip(&health.agent_version),
            paused: health.paused.as_ref().map(Into::into),
            brakes_set_time: health.brakes.as_ref().map(|set| time_to_wire(set.at)),
            brakes_set_reason: health.brakes.as_ref().map(|set| clip(&set.why)).unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::NodeHealth> for NodeHealth {
    type Error = WireError;

    fn try_from(health: wire::NodeHealth) -> Result<Self, WireError> {
        let version = health.policy_version;
        Ok(Self {
            at: time("time", health.time)?,
            mode: mode("mode", health.mode)?,
            policy: parsed_or_none("policy", &health.policy)?.map(|name| PolicyVersion { name, version }),
            tenants: health.tenants,
            measures: health.measures,
            vantages: health.vantages,
            frames_received: health.frames_received,
            frames_dropped: health.frames_dropped,
            malformed: health.malformed,
            flows: health.flows,
            evictions: health.evictions,
            agent_version: text("agent_version", health.agent_version)?,
            paused: health.paused.map(Pause::try_from).transpose().map_err(|error| error.within("paused"))?,
            brakes: match health.brakes_set_time {
                Some(at) => Some(BrakesSet {
                    at: time("brakes_set_time", Some(at))?,
                    why: text("brakes_set_reason", health.brakes_set_reason)?,
                }),
                None => None,
            },
        })
    }
}
