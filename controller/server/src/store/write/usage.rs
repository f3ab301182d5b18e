//! What tenants used, as nodes tell it.

use reeve_policy::{Month, NodeId, TenantId, Usage};

use super::super::row::{count, nanos};
use super::super::{Connection, StoreError};
use super::{Effects, Refusal, follow, notices};

/// Stores what tenants used on a node. Sums only grow: what comes twice, or late, changes nothing. Of tenants that cannot be there nothing is
/// taken but what their month there grew to; the rest of the report holds all the same.
pub(super) async fn store(
    conn: &mut Connection,
    node: &NodeId,
    tallies: &[Usage],
    effects: &mut Effects,
) -> Result<Result<(), Refusal>, StoreError> {
    let mut taken = Ok(());
    for Usage { tenant, month, received, sent } in tallies {
        if !follow::may_tell(effects, node, tenant) && !has_used(conn, node, tenant, *month).await? {
            taken = Err(Refusal::OtherTenant);
            continue;
        }
        let done = sqlx::query(
            "INSERT INTO usage (node, tenant, month, bytes_in, bytes_out, updated) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (node, tenant, month) DO UPDATE SET updated = excluded.updated, \
             bytes_in = CASE WHEN excluded.bytes_in > usage.bytes_in THEN excluded.bytes_in ELSE usage.bytes_in END, \
             bytes_out = CASE WHEN excluded.bytes_out > usage.bytes_out THEN excluded.bytes_out ELSE usage.bytes_out END \
             WHERE excluded.bytes_in > usage.bytes_in OR excluded.bytes_out > usage.bytes_out",
        )
        .bind(node.as_str())
        .bind(tenant.as_str())
        .bind(month.to_string())
        .bind(count(*received))
        .bind(count(*sent))
        .bind(nanos(effects.now))
        .execute(&mut *conn)
        .await?;
        if done.rows_affected() > 0 {
            notices::tell_usage(conn, node, tenant, *month, effects).await?;
        }
    }
    Ok(taken)
}

/// Whether it is known that a tenant used something on a node in a month: it was there then, and moved away.
async fn has_used(
    conn: &mut Connection,
    node: &NodeId,
    tenant: &TenantId,
    month: Month,
) -> Result<bool, StoreError> {
    let row: Option<(i64,)> =
        sqlx::query_as("SELECT 1 FROM usage WHERE node = $1 AND tenant = $2 AND month = $3")
            .bind(node.as_str())
            .bind(tenant.as_str())
            .bind(month.to_string())
            .fetch_optional(conn)
            .await?;
    Ok(row.is_some())
}
