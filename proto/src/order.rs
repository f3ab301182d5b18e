//! Orders and their results.

use reeve_policy::{
    AssignedPolicy, Assignment, DecisionId, Order, OrderFailure, OrderId, OrderResult, PolicyVersion,
    RelayAnswer, Tenant, TenantStanding,
};

use crate::error::WireError;
use crate::generated::agent::v1 as wire;
use crate::generated::agent::v1::order::{
    Forgive, Impose, LetGo, Lift, Order as Kind, Paid, Pause, Release, ReleaseBrakes, Resume, Standings,
    Tenants, TenantsChanged, Verify,
};
use crate::generated::agent::v1::order_result::{Done, Failure, FailureCode, Result as Outcome};
use crate::generated::types::v1 as types;
use crate::pause::pause_scope;
use crate::read::{choice, clip, list, message, parsed, parsed_or_none, required, text, time, time_to_wire};
use crate::{MAX_POLICY_BYTES, MAX_STANDINGS, MAX_TENANTS};

impl From<&Assignment> for wire::order::Policy {
    fn from(assignment: &Assignment) -> Self {
        let number = Self { assignment: assignment.number, ..Self::default() };
        match &assignment.policy {
            None => number,
            Some(AssignedPolicy { version, source }) => Self {
                name: version.name.to_string(),
                policy_version: version.version,
                source: source.clone(),
                ..number
            },
        }
    }
}

impl TryFrom<wire::order::Policy> for Assignment {
    type Error = WireError;

    fn try_from(wire: wire::order::Policy) -> Result<Self, WireError> {
        let number = wire.assignment;
        if wire.name.is_empty() {
            return Ok(Self { number, policy: None });
        }
        let (found, most) = (wire.source.len(), MAX_POLICY_BYTES);
        if found > most {
            return Err(WireError::new(
                "source",
                format_args!("{found} bytes"),
                format!("at most {most} bytes"),
            ));
        }
        let version = PolicyVersion { name: parsed("name", &wire.name)?, version: wire.policy_version };
        Ok(Self { number, policy: Some(AssignedPolicy { version, source: wire.source }) })
    }
}

impl From<&Order> for wire::Order {
    fn from(order: &Order) -> Self {
        let kind = match order {
            Order::Tenants { version, tenants } => Kind::Tenants(Tenants {
                version: *version,
                tenants: tenants.iter().map(Into::into).collect(),
            }),
            Order::TenantsChanged { from, version, changed, removed } => {
                Kind::TenantsChanged(TenantsChanged {
                    from_version: *from,
                    version: *version,
                    changed: changed.iter().map(Into::into).collect(),
                    removed: removed.iter().map(ToString::to_string).collect(),
                })
            }
            Order::Standings { standings } => {
                Kind::Standings(Standings { standings: standings.iter().map(Into::into).collect() })
            }
            Order::Policy(assignment) => Kind::Policy(assignment.into()),
            Order::Impose { id, decision } => {
                Kind::Impose(Impose { id: id.to_string(), decision: Some((&**decision).into()) })
            }
            Order::Release { id, tenant, by, reason, forgive } => Kind::Release(Release {
                id: id.to_string(),
                tenant: tenant.to_string(),
                operator: clip(by),
                reason: clip(reason),
                forgive: *forgive,
            }),
            Order::LetGo { id, tenant, decisions, by, reason } => Kind::LetGo(LetGo {
                id: id.to_string(),
                tenant: tenant.to_string(),
                decisions: decisions.iter().map(ToString::to_string).collect(),
                operator: clip(by),
                reason: clip(reason),
            }),
            Order::Paid { id, tenant, by, reason } => Kind::Paid(Paid {
                id: id.to_string(),
                tenant: tenant.to_string(),
                operator: clip(by),
                reason: clip(reason),
            }),
            Order::Pause { id, scope, pause, lift } => Kind::Pause(Pause {
                id: id.to_string(),
                scope: types::PauseScope::from(*scope).into(),
                pause: Some(pause.into()),
                lift: *lift,
            }),
            Order::Resume { id, scope, by, reason } => Kind::Resume(Resume {
                id: id.to_string(),
                scope: types::PauseScope::from(*scope).into(),
                operator: clip(by),
                reason: clip(reason),
            }),
            Order::Verify { id, tenant, by, answer } => Kind::Verify(Verify {
                id: id.to_string(),
                tenant: tenant.to_string(),
                operator: clip(by),
                answer: answer.as_ref().map(Into::into),
            }),
            Order::Forgive { id, tenant, rule, before, by, reason } => Kind::Forgive(Forgive {
                id: id.to_string(),
                tenant: tenant.to_string(),
                rule: rule.as_ref().map(ToString::to_string).unwrap_or_default(),
                before: Some(time_to_wire(*before)),
                operator: clip(by),
                reason: clip(reason),
            }),
            Order::ReleaseBrakes { id, by, reason } => Kind::ReleaseBrakes(ReleaseBrakes {
                id: id.to_string(),
                operator: clip(by),
                reason: clip(reason),
            }),
            Order::Lift { id, policy, since, by, reason } => Kind::Lift(Lift {
                id: id.to_string(),
                policy: policy.name.to_string(),
                policy_version: policy.version,
                since: Some(time_to_wire(*since)),
                operator: clip(by),
                reason: clip(reason),
            }),
        };
        Self { order: Some(kind) }
    }
}

impl TryFrom<wire::Order> for Order {
    type Error = WireError;

    fn try_from(order: wire::Order) -> Result<Self, WireError> {
        Ok(match required("order", order.order)? {
            Kind::Tenants(snapshot) => Self::Tenants {
                version: snapshot.version,
                tenants: list("tenants.tenants", snapshot.tenants, MAX_TENANTS, Tenant::try_from)?,
            },
            Kind::TenantsChanged(change) => Self::TenantsChanged {
                from: change.from_version,
                version: change.version,
                changed: list("tenants_changed.changed", change.changed, MAX_TENANTS, Tenant::try_from)?,
                removed: list("tenants_changed.removed", change.removed, MAX_TENANTS, |id: String| {
                    parsed("id", &id)
                })?,
            },
            Kind::Standings(told) => Self::Standings {
                standings: list(
                    "standings.standings",
                    told.standings,
                    MAX_STANDINGS,
                    TenantStanding::try_from,
                )?,
            },
            Kind::Policy(assignment) => {
                Self::Policy(Assignment::try_from(assignment).map_err(|error| error.within("policy"))?)
            }
            Kind::Impose(impose) => Self::Impose {
                id: OrderId(parsed("impose.id", &impose.id)?),
                decision: Box::new(message("impose.decision", impose.decision)?),
            },
            Kind::Release(release) => Self::Release {
                id: OrderId(parsed("release.id", &release.id)?),
                tenant: parsed("release.tenant", &release.tenant)?,
                by: text("release.operator", release.operator)?,
                reason: text("release.reason", release.reason)?,
                forgive: release.forgive,
            },
            Kind::LetGo(let_go) => Self::LetGo {
                id: OrderId(parsed("let_go.id", &let_go.id)?),
                tenant: parsed("let_go.tenant", &let_go.tenant)?,
                decisions: list("let_go.decisions", let_go.decisions, Self::MAX_LET_GO, |id: String| {
                    parsed("decision", &id).map(DecisionId)
                })?
                .into_iter()
                .collect(),
                by: text("let_go.operator", let_go.operator)?,
                reason: text("let_go.reason", let_go.reason)?,
            },
            Kind::Paid(paid) => Self::Paid {
                id: OrderId(parsed("paid.id", &paid.id)?),
                tenant: parsed("paid.tenant", &paid.tenant)?,
                by: text("paid.operator", paid.operator)?,
                reason: text("paid.reason", paid.reason)?,
            },
            Kind::Pause(pause) => Self::Pause {
                id: OrderId(parsed("pause.id", &pause.id)?),
                scope: pause_scope("pause.scope", pause.scope)?,
                pause: message("pause.pause", pause.pause)?,
                lift: pause.lift,
            },
            Kind::Resume(resume) => Self::Resume {
                id: OrderId(parsed("resume.id", &resume.id)?),
                scope: pause_scope("resume.scope", resume.scope)?,
                by: text("resume.operator", resume.operator)?,
                reason: text("resume.reason", resume.reason)?,
            },
            Kind::Verify(verify) => Self::Verify {
                id: OrderId(parsed("verify.id", &verify.id)?),
                tenant: parsed("verify.tenant", &verify.tenant)?,
                by: text("verify.operator", verify.operator)?,
                answer: verify
                    .answer
                    .map(RelayAnswer::try_from)
                    .transpose()
                    .map_err(|error| error.within("verify.answer"))?,
            },
            Kind::Forgive(forgive) => Self::Forgive {
                id: OrderId(parsed("forgive.id", &forgive.id)?),
                tenant: parsed("forgive.tenant", &forgive.tenant)?,
                rule: parsed_or_none("forgive.rule", &forgive.rule)?,
                before: time("forgive.before", forgive.before)?,
                by: text("forgive.operator", forgive.operator)?,
                reason: text("forgive.reason", forgive.reason)?,
            },
            Kind::ReleaseBrakes(release) => Self::ReleaseBrakes {
                id: OrderId(parsed("release_brakes.id", &release.id)?),
                by: text("release_brakes.operator", release.operator)?,
                reason: text("release_brakes.reason", release.reason)?,
            },
            Kind::Lift(lift) => Self::Lift {
                id: OrderId(parsed("lift.id", &lift.id)?),
                policy: PolicyVersion {
                    name: parsed("lift.policy", &lift.policy)?,
                    version: lift.policy_version,
                },
                since: time("lift.since", lift.since)?,
                by: text("lift.operator", lift.operator)?,
                reason: text("lift.reason", lift.reason)?,
            },
        })
    }
}

impl From<&OrderFailure> for Failure {
    fn from(failure: &OrderFailure) -> Self {
        let (code, detail) = match failure {
            OrderFailure::UnknownTenant => (FailureCode::UnknownTenant, ""),
            OrderFailure::ObserveOnly => (FailureCode::ObserveOnly, ""),
            // An older controller reads the code alone, and tells what it has words for.
            OrderFailure::TenantObserved => (FailureCode::ObserveOnly, "the tenant"),
            OrderFailure::Protected => (FailureCode::Protected, ""),
            OrderFailure::ProtectedDestinations { detail } => (FailureCode::Protected, detail.as_str()),
            OrderFailure::Kernel { detail } => (FailureCode::Kernel, detail.as_str()),
            OrderFailure::State { detail } => (FailureCode::State, detail.as_str()),
            OrderFailure::NotAsked { detail } => (FailureCode::NotAsked, detail.as_str()),
            OrderFailure::Unsupported => (FailureCode::Unsupported, ""),
        };
        Self { code: code.into(), detail: clip(detail) }
    }
}

impl TryFrom<Failure> for OrderFailure {
    type Error = WireError;

    fn try_from(failure: Failure) -> Result<Self, WireError> {
        let detail = text("detail", failure.detail)?;
        choice("code", failure.code, "1 (unknown tenant) to 7 (not asked)", |code| {
            Some(match code {
                FailureCode::Unspecified => return None,
                FailureCode::UnknownTenant => Self::UnknownTenant,
                FailureCode::ObserveOnly if detail.is_empty() => Self::ObserveOnly,
                FailureCode::ObserveOnly => Self::TenantObserved,
                FailureCode::Protected if detail.is_empty() => Self::Protected,
                FailureCode::Protected => Self::ProtectedDestinations { detail: detail.clone() },
                FailureCode::Kernel => Self::Kernel { detail: detail.clone() },
                FailureCode::State => Self::State { detail: detail.clone() },
                FailureCode::Unsupported => Self::Unsupported,
                FailureCode::NotAsked => Self::NotAsked { detail: detail.clone() },
            })
        })
    }
}

impl From<&OrderResult> for wire::OrderResult {
    fn from(result: &OrderResult) -> Self {
        let outcome = match &result.result {
            Ok(()) => Outcome::Done(Done {}),
            Err(failure) => Outcome::Failure(failure.into()),
        };
        Self { id: result.id.to_string(), time: Some(time_to_wire(result.at)), result: Some(outcome) }
    }
}

impl TryFrom<wire::OrderResult> for OrderResult {
    type Error = WireError;

    fn try_from(result: wire::OrderResult) -> Result<Self, WireError> {
        Ok(Self {
            id: OrderId(parsed("id", &result.id)?),
            at: time("time", result.time)?,
            result: match required("result", result.result)? {
                Outcome::Done(Done {}) => Ok(()),
                Outcome::Failure(failure) => {
                    Err(OrderFailure::try_from(failure).map_err(|error| error.within("failure"))?)
                }
            },
        })
    }
}
