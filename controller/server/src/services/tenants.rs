//! The provider's inventory is taken over.

use reeve_policy::language::{TenantDifference, check_tenants};
use reeve_policy::{Name, Tenant};
use reeve_proto::MAX_TENANTS;
use reeve_proto::operator::v1::{
    FieldChange, ImportTenantsRequest, ImportTenantsResponse, TenantChange, import_tenants_request,
    tenant_change,
};
use tonic::Status;

use super::{House, unsound, unwritable};
use crate::store::write::{Fate, ImportMethod, TenantChange as Change};
use crate::writer::Job;

/// Of what came and went in one field so many values are told.
const VALUES: usize = 100;

/// Takes over tenants, or tells what that would change.
pub(super) async fn import(
    house: &House,
    operator: Name,
    request: ImportTenantsRequest,
) -> Result<ImportTenantsResponse, Status> {
    let method = match import_tenants_request::Method::try_from(request.method) {
        Ok(import_tenants_request::Method::Replace) => ImportMethod::Replace,
        Ok(import_tenants_request::Method::Upsert) => ImportMethod::Upsert,
        _ => return Err(Status::invalid_argument("method: replace or upsert")),
    };
    if request.tenants.len() > MAX_TENANTS {
        return Err(Status::invalid_argument(format!("tenants: at most {MAX_TENANTS}")));
    }
    let is_dry = request.dry_run;
    let tenants = request.tenants.into_iter().enumerate().map(|(place, tenant)| {
        Tenant::try_from(tenant).map_err(|error| unsound(error.within(format_args!("tenants[{place}]"))))
    });
    let tenants = tenants.collect::<Result<Vec<Tenant>, Status>>()?;
    check_tenants(&tenants).map_err(|clash| Status::invalid_argument(clash.to_string()))?;
    let asked = house.writer.ask(|reply| Job::Import { tenants, method, is_dry, reply });
    let done = asked.await.map_err(unwritable)?;
    if !is_dry {
        tracing::info!(%operator, added = done.added, changed = done.changed, removed = done.removed, "tenants imported");
    }
    let told = done.changes.len() as u64;
    Ok(ImportTenantsResponse {
        added: done.added,
        changed: done.changed,
        removed: done.removed,
        unchanged: done.unchanged,
        version: done.version,
        changes_omitted: done.total().saturating_sub(told),
        changes: done.changes.into_iter().map(change).collect(),
    })
}

fn change(change: Change) -> TenantChange {
    let kind = match change.fate {
        Fate::Added => tenant_change::Kind::Added,
        Fate::Changed => tenant_change::Kind::Changed,
        Fate::Removed => tenant_change::Kind::Removed,
    };
    TenantChange {
        tenant: change.tenant.to_string(),
        kind: kind.into(),
        fields: change.differences.into_iter().map(field).collect(),
    }
}

fn field(difference: TenantDifference) -> FieldChange {
    let TenantDifference { key, mut removed, mut added } = difference;
    let more = removed.len().saturating_sub(VALUES) + added.len().saturating_sub(VALUES);
    removed.truncate(VALUES);
    added.truncate(VALUES);
    FieldChange { field: key.to_owned(), removed, added, omitted: u32::try_from(more).unwrap_or(u32::MAX) }
}
