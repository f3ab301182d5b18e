//! The sensor's lines in the log. Each that is about a tenant has it as a field, and the violation where there is one.

use std::collections::BTreeMap;
use std::sync::Arc;

use reeve_core::engine::Output;
use reeve_policy::language::Policy;
use reeve_policy::notice::{Office, QUOTA_MARKS};
use reeve_policy::{
    Alert, Class, Decision, LiftReason, Mode, Month, Notice, Tenant, TenantId, Usage, ViolationId,
};
use tracing::field::{DisplayValue, display};

/// The violation behind a decision, for the log; an operator's has none.
pub(in crate::run) fn behind(decision: &Decision) -> Option<DisplayValue<&ViolationId>> {
    decision.violation.as_ref().map(display)
}

/// A line in the log for what people on call want to know.
pub(super) fn log(output: &Output) {
    match output {
        Output::Alert(alert) => tracing::info!(tenant = %alert.tenant, "{}", alert.summary()),
        Output::Violation(violation) if violation.alerts <= 1 || violation.closed.is_some() => {
            let suspected = if violation.is_suspicion() { "suspected " } else { "" };
            // Without a controller this is where the line for a mail is found.
            tracing::info!(
                tenant = %violation.tenant, violation = %violation.id, clause = violation.clause, strike = violation.strike,
                "{suspected}violation {}: {}", violation.state.name(), violation.evidence.complaint(None)
            )
        }
        Output::Violation(_) => {}
        Output::Decision(decision) if decision.mode == Mode::Observe => tracing::info!(
            tenant = %decision.tenant, violation = behind(decision), decision = %decision.id, clause = decision.clause,
            "observing only; it would be: {} {}: {}", decision.action, decision.scope, decision.reason
        ),
        Output::Decision(decision) => tracing::warn!(
            tenant = %decision.tenant, violation = behind(decision), decision = %decision.id, clause = decision.clause,
            softened = decision.softened,
            "{} {}: {}", decision.action, decision.scope, decision.reason
        ),
        Output::Excused(excused) => {
            tracing::info!(tenant = %excused.tenant, clause = excused.clause, "{excused}")
        }
        Output::BrakesSet(set) => tracing::error!(
            "THE BRAKES ARE SET, policy holds nobody else until a person releases them: {set}"
        ),
        Output::Imposed(_) => {}
        Output::Lifted { measure, reason, .. } => tracing::info!(
            tenant = %measure.decision.tenant, violation = behind(&measure.decision),
            decision = %measure.decision.id, "{} lifted: {}",
            measure.decision.action, reason.name()
        ),
        Output::CheckRelay { tenant, server, .. } => {
            tracing::info!(%tenant, %server, "a mail server is asked whether it is an open relay");
        }
        Output::RelayChecked(checked) => {
            let (server, by) = (checked.answer.server, Some(&checked.by).filter(|by| !by.is_empty()));
            tracing::info!(tenant = %checked.tenant, %server, by, "checked: {}", checked.answer.sentence());
        }
        Output::Degraded { degraded: true, .. } => {
            tracing::warn!(
                "answers to several tenants collapsed together, or the way out is gone: silence is no evidence until they are back"
            );
        }
        Output::Degraded { degraded: false, .. } => {
            tracing::info!("answers are back; silence is evidence again")
        }
    }
}

/// Who is to be told what, where there is no controller that keeps it: somebody has to write to them.
pub(super) fn log_notices(output: &Output, policy: &Policy, tenants: &[Arc<Tenant>]) {
    let tells = match output {
        Output::Decision(decision) => decision.mode == Mode::Enforce,
        Output::Alert(alert) => alert.class == Class::Quota && alert.is_suspicion,
        Output::Lifted { reason, .. } => *reason != LiftReason::Departed,
        _ => false,
    };
    if !tells {
        return;
    }
    let people: BTreeMap<&TenantId, &Tenant> = tenants.iter().map(|tenant| (&tenant.id, &**tenant)).collect();
    let find = |id: &TenantId| people.get(id).copied();
    let office = Office { policy, tenants: &find };
    let notices = match output {
        Output::Decision(decision) => office.of_decision(decision, None),
        Output::Alert(alert) => nearly_used_up(office, alert),
        Output::Lifted { measure, at, .. } => office.of_end(&measure.decision, None, *at, false),
        _ => Vec::new(),
    };
    for Notice { recipient, tenant, decision, kind, language, .. } in notices {
        let decision = decision.as_ref().map(display);
        tracing::info!(%recipient, %tenant, decision, %kind, %language, "notice: {recipient} is to be told");
    }
}

/// Of a month's plan the first part is used up, which is decided upon by nobody.
fn nearly_used_up(office: Office<'_>, alert: &Alert) -> Vec<Notice> {
    let month = Month::of(alert.window.start);
    let usage = Usage { tenant: alert.tenant.clone(), month, received: 0, sent: 0 };
    let limit = alert.metrics.first().and_then(|metric| metric.threshold).unwrap_or_default();
    office.of_usage(&usage, QUOTA_MARKS[0], limit as u64, alert.at)
}
