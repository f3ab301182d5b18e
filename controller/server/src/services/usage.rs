//! What tenants have sent and received, for operators and for whoever bills.

use std::time::Duration;

use reeve_policy::{Month, TenantId};
use reeve_proto::operator::v1::{
    ListSuspensionsRequest, ListSuspensionsResponse, ListUsageRequest, ListUsageResponse, SuspensionEntry,
    UsageEntry,
};
use reeve_proto::{duration_to_wire, time_to_wire};
use tonic::Status;

use super::operator::{page_size, parsed};
use super::{House, no_tenant, unreadable};
use crate::clock;
use crate::store::{Suspended, UsageFilter, UsageRow};

/// Lists what tenants used in a month.
pub(super) async fn list(house: &House, request: ListUsageRequest) -> Result<ListUsageResponse, Status> {
    let limit = page_size(request.page_size, 500, 1_000)?;
    let month = parsed("month", &request.month)?.unwrap_or_else(|| Month::of(clock::now()));
    let after: Option<TenantId> = parsed("page_token", &request.page_token)?;
    let tenant = parsed("tenant", &request.tenant)?;
    let filter = UsageFilter { month, tenant, after, limit: limit + 1 };
    let mut rows = house.store.usage(&filter).await.map_err(unreadable)?;
    let is_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_page_token = match rows.last() {
        Some(last) if is_more => last.tenant.to_string(),
        _ => String::new(),
    };
    let snapshot = house.directory.snapshot();
    // One that is gone has what it used until then; of one that never was nothing can be told.
    if let Some(tenant) = filter.tenant.as_ref().filter(|_| rows.is_empty() && filter.after.is_none())
        && snapshot.tenants.by_id(tenant).is_none()
    {
        return Err(no_tenant(&tenant));
    }
    let entry = |row: UsageRow| UsageEntry {
        quota_bytes: snapshot.tenants.by_id(&row.tenant).and_then(|tenant| tenant.quota_bytes),
        tenant: row.tenant.to_string(),
        bytes_in: row.received,
        bytes_out: row.sent,
        nodes: row.nodes,
        updated_time: Some(time_to_wire(row.updated)),
    };
    let entries = rows.into_iter().map(entry).collect();
    Ok(ListUsageResponse { month: month.to_string(), entries, next_page_token })
}

/// Tells who was suspended for how long in a month.
pub(super) async fn suspensions(
    house: &House,
    request: ListSuspensionsRequest,
) -> Result<ListSuspensionsResponse, Status> {
    let limit = page_size(request.page_size, 500, 1_000)? as usize;
    let now = clock::now();
    let month = parsed("month", &request.month)?.unwrap_or_else(|| Month::of(now));
    let after: Option<TenantId> = parsed("page_token", &request.page_token)?;
    let tenant: Option<TenantId> = parsed("tenant", &request.tenant)?;
    let all = house.store.suspensions(month, tenant.as_ref(), now).await.map_err(unreadable)?;
    if let Some(tenant) = tenant.filter(|_| all.is_empty())
        && house.directory.snapshot().tenants.by_id(&tenant).is_none()
    {
        return Err(no_tenant(&tenant));
    }
    let entry = |(tenant, suspended): (TenantId, Suspended)| SuspensionEntry {
        tenant: tenant.to_string(),
        suspended: Some(duration_to_wire(Duration::from_nanos(suspended.total))),
        unpaid: Some(duration_to_wire(Duration::from_nanos(suspended.unpaid))),
        times: suspended.times,
        standing: suspended.standing,
    };
    let mut rest = all.into_iter().filter(|(tenant, _)| after.as_ref().is_none_or(|after| tenant > after));
    let entries: Vec<SuspensionEntry> = rest.by_ref().take(limit).map(entry).collect();
    let last = entries.last().filter(|_| rest.next().is_some());
    let next_page_token = last.map(|last| last.tenant.clone()).unwrap_or_default();
    Ok(ListSuspensionsResponse { month: month.to_string(), entries, next_page_token })
}
