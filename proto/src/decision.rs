//! Decisions and measures.

use std::net::IpAddr;

use reeve_policy::{
    Action, Decision, DecisionId, LiftReason, Measure, MeasureCounters, Name, Origin, Scope, Target, Until,
    ViolationId,
};

use crate::MAX_SCOPE_TARGETS;
use crate::error::WireError;
use crate::generated::types::v1 as wire;
use crate::read::{
    choice, clip, duration, duration_to_wire, list, message, parsed, parsed_list, parsed_or_none, port,
    required, text, time, time_or_none, time_to_wire,
};
use crate::reckoning::reckoning;
use crate::tenant::mode;

/// The most addresses and ports of an endpoint.
const MAX_PLACES: usize = 16;

impl From<Action> for wire::Action {
    fn from(action: Action) -> Self {
        match action {
            Action::Observe => Self::Observe,
            Action::Notify => Self::Notify,
            Action::Limit => Self::Limit,
            Action::Block => Self::Block,
            Action::Suspend => Self::Suspend,
        }
    }
}

fn action(field: &str, value: i32) -> Result<Action, WireError> {
    choice(
        field,
        value,
        "1 (observe), 2 (notify), 3 (block), 4 (suspend) or 5 (limit)",
        |action| match action {
            wire::Action::Unspecified => None,
            wire::Action::Observe => Some(Action::Observe),
            wire::Action::Notify => Some(Action::Notify),
            wire::Action::Limit => Some(Action::Limit),
            wire::Action::Block => Some(Action::Block),
            wire::Action::Suspend => Some(Action::Suspend),
        },
    )
}

impl From<&Scope> for wire::Scope {
    fn from(scope: &Scope) -> Self {
        let scope = match scope {
            Scope::All => wire::scope::Scope::All(wire::scope::All { forged: false }),
            Scope::Forged => wire::scope::Scope::All(wire::scope::All { forged: true }),
            Scope::Port { protocol, port } => wire::scope::Scope::Port(wire::scope::Port {
                protocol: protocol.to_string(),
                port: (*port).into(),
            }),
            Scope::Destinations { addresses } => {
                wire::scope::Scope::Destinations(wire::scope::Destinations {
                    addresses: addresses.iter().take(MAX_SCOPE_TARGETS).map(ToString::to_string).collect(),
                })
            }
            Scope::DestinationPorts { targets } => {
                wire::scope::Scope::DestinationPorts(wire::scope::DestinationPorts {
                    targets: targets.iter().take(MAX_SCOPE_TARGETS).map(Into::into).collect(),
                })
            }
            Scope::Endpoint { name, addresses, ports } => {
                wire::scope::Scope::Endpoint(wire::scope::Endpoint {
                    name: name.to_string(),
                    addresses: addresses.iter().take(MAX_PLACES).map(ToString::to_string).collect(),
                    ports: ports.iter().take(MAX_PLACES).map(|port| u32::from(*port)).collect(),
                })
            }
        };
        Self { scope: Some(scope) }
    }
}

impl TryFrom<wire::Scope> for Scope {
    type Error = WireError;

    fn try_from(scope: wire::Scope) -> Result<Self, WireError> {
        Ok(match required("scope", scope.scope)? {
            wire::scope::Scope::All(wire::scope::All { forged: false }) => Self::All,
            wire::scope::Scope::All(wire::scope::All { forged: true }) => Self::Forged,
            wire::scope::Scope::Port(one) => Self::Port {
                protocol: parsed("port.protocol", &one.protocol)?,
                port: port("port.port", one.port)?,
            },
            wire::scope::Scope::Destinations(some) => {
                let mut addresses: Vec<IpAddr> =
                    parsed_list("destinations.addresses", &some.addresses, MAX_SCOPE_TARGETS)?;
                addresses.sort_unstable();
                addresses.dedup();
                Self::Destinations { addresses }
            }
            wire::scope::Scope::DestinationPorts(some) => {
                let field = "destination_ports.targets";
                let mut targets = list(field, some.targets, MAX_SCOPE_TARGETS, |target| {
                    let target = Target::try_from(target)?;
                    if target.port.is_some() { Ok(target) } else { Err(WireError::missing("port")) }
                })?;
                targets.sort_unstable();
                targets.dedup();
                Self::DestinationPorts { targets }
            }
            wire::scope::Scope::Endpoint(one) => Self::Endpoint {
                name: parsed("endpoint.name", &one.name)?,
                addresses: parsed_list("endpoint.addresses", &one.addresses, MAX_PLACES)?,
                ports: list("endpoint.ports", one.ports, MAX_PLACES, |number| {
                    port("endpoint.ports", number)
                })?,
            },
        })
    }
}

impl From<Until> for wire::Until {
    fn from(until: Until) -> Self {
        let until = match until {
            Until::After(span) => wire::until::Until::After(duration_to_wire(span)),
            Until::Released => wire::until::Until::Released(wire::until::Released {}),
            Until::Verified => wire::until::Until::Verified(wire::until::Verified {}),
            Until::Paid => wire::until::Until::Paid(wire::until::Paid {}),
            // No decision has it; a policy is no message.
            Until::MonthEnd => wire::until::Until::Released(wire::until::Released {}),
        };
        Self { until: Some(until) }
    }
}

impl TryFrom<wire::Until> for Until {
    type Error = WireError;

    fn try_from(until: wire::Until) -> Result<Self, WireError> {
        Ok(match required("until", until.until)? {
            wire::until::Until::After(span) => Self::After(duration("after", span)?),
            wire::until::Until::Released(wire::until::Released {}) => Self::Released,
            wire::until::Until::Verified(wire::until::Verified {}) => Self::Verified,
            wire::until::Until::Paid(wire::until::Paid {}) => Self::Paid,
        })
    }
}

impl From<&Origin> for wire::Origin {
    fn from(origin: &Origin) -> Self {
        let origin = match origin {
            Origin::Policy { policy, version, rule, step } => {
                wire::origin::Origin::Policy(wire::origin::Policy {
                    policy: policy.to_string(),
                    version: *version,
                    rule: rule.to_string(),
                    step: *step,
                })
            }
            Origin::Operator { name } => {
                wire::origin::Origin::Operator(wire::origin::Operator { name: clip(name) })
            }
        };
        Self { origin: Some(origin) }
    }
}

impl TryFrom<wire::Origin> for Origin {
    type Error = WireError;

    fn try_from(origin: wire::Origin) -> Result<Self, WireError> {
        Ok(match required("origin", origin.origin)? {
            wire::origin::Origin::Policy(step) => Self::Policy {
                policy: parsed("policy.policy", &step.policy)?,
                version: step.version,
                rule: parsed("policy.rule", &step.rule)?,
                step: step.step,
            },
            wire::origin::Origin::Operator(person) => {
                Self::Operator { name: text("operator.name", person.name)? }
            }
        })
    }
}

impl From<&Decision> for wire::Decision {
    fn from(decision: &Decision) -> Self {
        Self {
            id: decision.id.to_string(),
            tenant: decision.tenant.to_string(),
            violation: decision.violation.as_ref().map(ToString::to_string).unwrap_or_default(),
            clause: clip(&decision.clause),
            origin: Some((&decision.origin).into()),
            action: wire::Action::from(decision.action).into(),
            scope: Some((&decision.scope).into()),
            until: Some(decision.until.into()),
            time: Some(time_to_wire(decision.at)),
            mode: wire::Mode::from(decision.mode).into(),
            reason: clip(&decision.reason),
            softened: decision.softened.as_deref().map(clip),
            rate: decision.rate.map(|rate| rate.to_string()).unwrap_or_default(),
            reckoning: decision.reckoning.as_deref().map(Into::into),
            connections: decision.connections.map_or(0, u32::from),
        }
    }
}

impl TryFrom<wire::Decision> for Decision {
    type Error = WireError;

    fn try_from(decision: wire::Decision) -> Result<Self, WireError> {
        Ok(Self {
            id: DecisionId(parsed("id", &decision.id)?),
            tenant: parsed("tenant", &decision.tenant)?,
            violation: parsed_or_none::<Name>("violation", &decision.violation)?.map(ViolationId::from),
            clause: text("clause", decision.clause)?,
            origin: message("origin", decision.origin)?,
            action: action("action", decision.action)?,
            scope: message("scope", decision.scope)?,
            until: message("until", decision.until)?,
            at: time("time", decision.time)?,
            mode: mode("mode", decision.mode)?,
            reason: text("reason", decision.reason)?,
            softened: decision.softened.map(|why| text("softened", why)).transpose()?,
            rate: parsed_or_none("rate", &decision.rate)?,
            reckoning: decision.reckoning.and_then(reckoning).map(Box::new),
            connections: match decision.connections {
                0 => None,
                number => Some(u8::try_from(number).map_err(|_| WireError::missing("connections"))?),
            },
        })
    }
}

impl From<&Measure> for wire::Measure {
    fn from(measure: &Measure) -> Self {
        Self { decision: Some((&measure.decision).into()), expire_time: measure.expires.map(time_to_wire) }
    }
}

impl TryFrom<wire::Measure> for Measure {
    type Error = WireError;

    fn try_from(measure: wire::Measure) -> Result<Self, WireError> {
        Ok(Self {
            decision: message("decision", measure.decision)?,
            expires: time_or_none("expire_time", measure.expire_time)?,
        })
    }
}

impl From<LiftReason> for wire::LiftReason {
    fn from(reason: LiftReason) -> Self {
        match reason {
            LiftReason::Expired => Self::Expired,
            LiftReason::Released => Self::Released,
            LiftReason::Departed => Self::Departed,
            LiftReason::Verified => Self::Verified,
        }
    }
}

/// Reads why a measure was lifted.
pub(crate) fn lift_reason(field: &str, value: i32) -> Result<LiftReason, WireError> {
    choice(field, value, "1 (expired) to 4 (verified)", |reason| match reason {
        wire::LiftReason::Unspecified => None,
        wire::LiftReason::Expired => Some(LiftReason::Expired),
        wire::LiftReason::Released => Some(LiftReason::Released),
        wire::LiftReason::Departed => Some(LiftReason::Departed),
        wire::LiftReason::Verified => Some(LiftReason::Verified),
    })
}

impl From<MeasureCounters> for wire::MeasureCounters {
    fn from(counters: MeasureCounters) -> Self {
        Self { packets: counters.packets, bytes: counters.bytes }
    }
}

impl From<wire::MeasureCounters> for MeasureCounters {
    fn from(counters: wire::MeasureCounters) -> Self {
        Self { packets: counters.packets, bytes: counters.bytes }
    }
}
