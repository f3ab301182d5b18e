//! What tenants have sent and received, for operators and for whoever bills.

use std::time::Duration;

use reeve_policy::{Month, TenantId};
use reeve_proto::operator::v1::{
    ListSuspensionsRequest, ListSuspensionsResponse, ListUsageRequest, ListUsageResponse, SuspensionEntry,
    UsageEntry,
};
use reeve_proto::{duration_to_wire, time_to_wire};
use tonic::Status;

use super::operator::parsed;
use super::{House, no_tenant, unreadable};
use crate::clock;
use crate::listing::{Asked, Field, Filter, Kind, List, Mask, Value};
use crate::store::{Suspended, UsageFilter, UsageRow};

static USAGE: List = List {
    name: "ListUsage",
    fields: &[
        Field { name: "tenant", kind: Kind::Text, column: "tenant" },
        Field { name: "bytes_in", kind: Kind::Number, column: "bytes_in" },
        Field { name: "bytes_out", kind: Kind::Number, column: "bytes_out" },
        Field { name: "nodes", kind: Kind::Number, column: "nodes" },
        Field { name: "updated_time", kind: Kind::Time, column: "updated" },
    ],
    descending: false,
    sizes: (500, 1_000),
};

static SUSPENSIONS: List = List {
    name: "ListSuspensions",
    fields: &[
        Field { name: "tenant", kind: Kind::Text, column: "" },
        Field { name: "suspended_seconds", kind: Kind::Number, column: "" },
        Field { name: "unpaid_seconds", kind: Kind::Number, column: "" },
        Field { name: "times", kind: Kind::Number, column: "" },
        Field { name: "standing", kind: Kind::Flag, column: "" },
    ],
    descending: false,
    sizes: (500, 1_000),
};

/// Lists what tenants used in a month.
pub(super) async fn list(house: &House, request: ListUsageRequest) -> Result<ListUsageResponse, Status> {
    let month = parsed("month", &request.month)?.unwrap_or_else(|| Month::of(clock::now()));
    let asked = Asked {
        page_size: request.page_size,
        page_token: &request.page_token,
        filter: &request.filter,
        order_by: &request.order_by,
        also: format!("{month} {}", request.tenant),
    };
    let plan = USAGE.plan(&house.pages, &asked)?;
    let mask = Mask::read("reeve.operator.v1.UsageEntry", request.read_mask)?;
    let filter = UsageFilter { month, tenant: parsed("tenant", &request.tenant)?, plan };
    let mut rows = house.store.usage(&filter).await.map_err(unreadable)?;
    let is_first = filter.plan.after().is_none() && filter.plan.filter == Filter::All;
    let next_page_token = filter.plan.cut(&house.pages, &mut rows, |row, field| match field {
        0 => Value::text(&row.tenant),
        1 => Value::number(row.received),
        2 => Value::number(row.sent),
        3 => Value::number(row.nodes),
        _ => Value::number(row.updated.as_nanos()),
    });
    let snapshot = house.directory.snapshot();
    // One that is gone has what it used until then; of one that never was nothing can be told.
    if let Some(tenant) = filter.tenant.as_ref().filter(|_| rows.is_empty() && is_first)
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
    let entries = rows.into_iter().map(entry).map(|entry| mask.apply(entry)).collect();
    Ok(ListUsageResponse { month: month.to_string(), entries, next_page_token })
}

/// Tells who was suspended for how long in a month.
pub(super) async fn suspensions(
    house: &House,
    request: ListSuspensionsRequest,
) -> Result<ListSuspensionsResponse, Status> {
    let now = clock::now();
    let month = parsed("month", &request.month)?.unwrap_or_else(|| Month::of(now));
    let asked = Asked {
        page_size: request.page_size,
        page_token: &request.page_token,
        filter: &request.filter,
        order_by: &request.order_by,
        also: format!("{month} {}", request.tenant),
    };
    let plan = SUSPENSIONS.plan(&house.pages, &asked)?;
    let mask = Mask::read("reeve.operator.v1.SuspensionEntry", request.read_mask)?;
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
    let seconds = |nanos: u64| Value::number(nanos / 1_000_000_000);
    let (page, next_page_token) =
        plan.page(&house.pages, all.into_iter(), |(tenant, suspended), field| match field {
            0 => Value::text(tenant),
            1 => seconds(suspended.total),
            2 => seconds(suspended.unpaid),
            3 => Value::number(suspended.times),
            _ => Value::number(i64::from(suspended.standing)),
        });
    let entries = page.into_iter().map(entry).map(|entry| mask.apply(entry)).collect();
    Ok(ListSuspensionsResponse { month: month.to_string(), entries, next_page_token })
}
