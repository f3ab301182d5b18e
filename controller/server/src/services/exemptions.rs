//! Exemptions that operators grant, and take back.

use reeve_policy::{Exemption, Name, Timestamp};
use reeve_proto::operator::v1::{
    CreateExemptionRequest, ExemptionState, GrantedExemption, ListExemptionsRequest, ListExemptionsResponse,
    RevokeExemptionRequest,
};
use reeve_proto::time_to_wire;
use tonic::Status;

use super::operator::parsed;
use super::orders::{check_key, check_reason, tenant};
use super::{House, no_exemption, no_tenant, unreadable, unsound, unwritable};
use crate::clock;
use crate::listing::{Asked, Field, Kind, List, Value};
use crate::refusal::Reason;
use crate::store::write::{GrantAsked, GrantTaken, Requested, RevokeAsked};
use crate::store::{GrantFilter, GrantRow};
use crate::writer::Job;

static EXEMPTIONS: List = List {
    name: "ListExemptions",
    fields: &[
        Field { name: "id", kind: Kind::Text, column: "id" },
        Field { name: "tenant", kind: Kind::Text, column: "tenant" },
        Field { name: "grant_time", kind: Kind::Time, column: "granted" },
        Field { name: "granted_by", kind: Kind::Text, column: "granted_by" },
    ],
    descending: true,
    sizes: (100, 1_000),
};

/// Grants one.
pub(super) async fn grant(
    house: &House,
    operator: Name,
    request: CreateExemptionRequest,
) -> Result<GrantedExemption, Status> {
    let tenant = tenant(&request.tenant)?;
    check_reason(&request.reason, true)?;
    check_key(&request.idempotency_key)?;
    let now = clock::now();
    let mut exemption = sound(&request, now)?;
    let requested = Requested {
        key: request.idempotency_key,
        meaning: format!("exempt {tenant} {exemption:?} {}", request.reason),
    };
    let id = clock::key_of('E', now);
    exemption.id = Some(id.clone());
    let (by, reason, whom) = (operator.to_string(), request.reason, tenant.clone());
    let asked = Box::new(GrantAsked { tenant, id, exemption, by, reason });
    let done = house.writer.ask(|reply| Job::Grant { requested, asked, reply }).await;
    match done.map_err(unwritable)? {
        GrantTaken::Granted(row) => {
            tracing::warn!(%operator, tenant = %row.tenant, exemption = %row.exemption, reason = row.reason, "an operator grants an exemption");
            Ok(told(&row, now))
        }
        GrantTaken::KeyInUse => {
            Err(Reason::RequestKeyReused.status("idempotency_key: it stands for another request"))
        }
        GrantTaken::UnknownTenant => Err(no_tenant(&whom)),
        GrantTaken::Full => {
            let text = format!(
                "operators granted {whom} {} exemptions, and no more go with a tenant: revoke one; those that are over count for 30 days",
                Exemption::MAX
            );
            Err(Reason::TooManyExemptions.about(text, [("tenant", whom.to_string())]))
        }
    }
}

/// The exemption of a request, if it can be granted `now`.
fn sound(request: &CreateExemptionRequest, now: Timestamp) -> Result<Exemption, Status> {
    let wrong = |text: &str| Reason::InvalidField.status(text);
    let exemption = request.exemption.clone().ok_or_else(|| wrong("exemption: it must be there"))?;
    if !exemption.id.is_empty() {
        return Err(wrong("exemption.id: nothing; the controller gives it one"));
    }
    let exemption = Exemption::try_from(exemption).map_err(|error| unsound(error.within("exemption")))?;
    match exemption.until {
        None if !request.until_revoked => {
            Err(wrong("exemption.until: when it ends; or until_revoked, if it lasts until it is taken back"))
        }
        Some(_) if request.until_revoked => Err(wrong("until_revoked: only where exemption.until is absent")),
        Some(until) if until <= now => {
            Err(wrong(&format!("exemption.until: found {until}, which is over; allowed: a time to come")))
        }
        _ => Ok(exemption),
    }
}

/// Takes one back.
pub(super) async fn revoke(
    house: &House,
    operator: Name,
    request: RevokeExemptionRequest,
) -> Result<GrantedExemption, Status> {
    check_reason(&request.reason, false)?;
    let id: Option<Name> = parsed("id", &request.id)?;
    let id = id.ok_or_else(|| Reason::InvalidField.status("id: an exemption's key"))?;
    let (by, reason) = (operator.to_string(), request.reason);
    let asked = RevokeAsked { id: id.clone(), by, reason };
    let done = house.writer.ask(|reply| Job::RevokeExemption { asked, reply }).await.map_err(unwritable)?;
    let row = done.ok_or_else(|| no_exemption(&id))?;
    tracing::warn!(%operator, tenant = %row.tenant, exemption = %id, "an operator takes an exemption back");
    Ok(told(&row, clock::now()))
}

/// Lists them.
pub(super) async fn list(
    house: &House,
    request: ListExemptionsRequest,
) -> Result<ListExemptionsResponse, Status> {
    let asked = Asked {
        page_size: request.page_size,
        page_token: &request.page_token,
        filter: &request.filter,
        order_by: &request.order_by,
        also: format!("{} {}", request.tenant, request.include_over),
    };
    let plan = EXEMPTIONS.plan(&house.pages, &asked)?;
    let now = clock::now();
    let still_at = (!request.include_over).then_some(now);
    let filter = GrantFilter { tenant: parsed("tenant", &request.tenant)?, still_at, plan };
    let mut rows = house.store.exemptions(&filter).await.map_err(unreadable)?;
    let next_page_token = filter.plan.cut(&house.pages, &mut rows, |row, field| match field {
        0 => Value::text(row.id()),
        1 => Value::text(&row.tenant),
        2 => Value::number(row.granted.as_nanos()),
        _ => Value::text(&row.by),
    });
    let exemptions = rows.iter().map(|row| told(row, now)).collect();
    Ok(ListExemptionsResponse { exemptions, next_page_token })
}

fn told(row: &GrantRow, now: Timestamp) -> GrantedExemption {
    let (at, by, why) = match &row.revoked {
        Some((at, by, why)) => (Some(*at), by.clone(), why.clone()),
        None => (None, String::new(), String::new()),
    };
    let state = if at.is_some() { ExemptionState::Revoked } else { state(&row.exemption, now) };
    GrantedExemption {
        tenant: row.tenant.to_string(),
        exemption: Some((&row.exemption).into()),
        state: state.into(),
        reason: row.reason.clone(),
        grant_time: Some(time_to_wire(row.granted)),
        granted_by: row.by.clone(),
        revoke_time: at.map(time_to_wire),
        revoked_by: by,
        revoke_reason: why,
    }
}

/// Whether one that was not taken back holds.
pub(super) fn state(exemption: &Exemption, now: Timestamp) -> ExemptionState {
    if exemption.is_over(now) {
        ExemptionState::Over
    } else if exemption.is_in_force(now) {
        ExemptionState::InForce
    } else {
        ExemptionState::Pending
    }
}
