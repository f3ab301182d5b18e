//! What operators allowed tenants though a clause forbids it: read, and put beside what stands in the tenants' own entries.

use std::collections::BTreeMap;
use std::time::Duration;

use reeve_policy::{Exemption, Name, Tenant, TenantId, Timestamp};

use super::query::Select;
use super::row::{Body, name, nanos, time};
use super::{Connection, Store, StoreError};
use crate::listing::Plan;

/// So long after its end an exemption goes with its tenant: whoever reads why a decision was made is told that one had ended.
pub(super) const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// An exemption that an operator granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRow {
    /// Whose.
    pub tenant: TenantId,
    /// It, with its key.
    pub exemption: Exemption,
    /// Why.
    pub reason: String,
    /// When.
    pub granted: Timestamp,
    /// By whom.
    pub by: String,
    /// When it was taken back, by whom and why, if it was.
    pub revoked: Option<(Timestamp, String, String)>,
}

impl GrantRow {
    /// Its key.
    #[must_use]
    pub fn id(&self) -> &str {
        self.exemption.id.as_ref().map_or("", Name::as_str)
    }
}

/// Which exemptions to list.
#[derive(Clone, Debug)]
pub(crate) struct GrantFilter {
    /// Only of this tenant.
    pub tenant: Option<TenantId>,
    /// Only those that neither ended before this nor were taken back.
    pub still_at: Option<Timestamp>,
    /// Which page.
    pub plan: Plan,
}

type Row = (String, Vec<u8>, String, i64, String, Option<i64>, String, String);

fn row(row: Row) -> Result<GrantRow, StoreError> {
    let (tenant, body, reason, granted, by, revoked, revoked_by, why) = row;
    Ok(GrantRow {
        tenant: name("tenant", &tenant)?,
        exemption: Exemption::decode(&body)?,
        reason,
        granted: time(granted),
        by,
        revoked: revoked.map(|at| (time(at), revoked_by, why)),
    })
}

/// One of them.
///
/// # Errors
/// Where the database fails.
pub(super) async fn one(conn: &mut Connection, id: &Name) -> Result<Option<GrantRow>, StoreError> {
    let found: Option<Row> = sqlx::query_as(
        "SELECT tenant, body, reason, granted, granted_by, revoked, revoked_by, revoke_reason FROM exemptions \
         WHERE id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(conn)
    .await?;
    found.map(row).transpose()
}

/// Puts what operators granted behind what stands in the tenants' own entries. What that is follows from the version of the tenants and what was
/// granted alone, not from when it is asked, so that all controllers tell the same.
///
/// # Errors
/// Where the database fails.
pub(super) async fn put_in(
    conn: &mut Connection,
    tenants: &mut [Tenant],
    version: u64,
) -> Result<(), StoreError> {
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT tenant, body FROM exemptions WHERE revoked IS NULL AND (ends IS NULL OR ends > $1) ORDER BY id",
    )
    .bind(nanos(cut(version)))
    .fetch_all(conn)
    .await?;
    let mut granted: BTreeMap<TenantId, Vec<Exemption>> = BTreeMap::new();
    for (tenant, body) in rows {
        granted.entry(name("tenant", &tenant)?).or_default().push(Exemption::decode(&body)?);
    }
    if granted.is_empty() {
        return Ok(());
    }
    for tenant in tenants {
        tenant.exemptions.append(&mut granted.remove(&tenant.id).unwrap_or_default());
    }
    Ok(())
}

/// What ended before this does not go with a version of the tenants. Versions are milliseconds of the clock.
fn cut(version: u64) -> Timestamp {
    Timestamp::from_nanos(version.saturating_mul(1_000_000)).minus(KEPT)
}

impl Store {
    /// What operators granted, page by page.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn exemptions(&self, filter: &GrantFilter) -> Result<Vec<GrantRow>, StoreError> {
        let mut query = Select::new(
            "SELECT tenant, body, reason, granted, granted_by, revoked, revoked_by, revoke_reason FROM exemptions \
             WHERE 1 = 1",
        );
        if let Some(tenant) = &filter.tenant {
            query.push(" AND tenant = ").push_bind(tenant.as_str());
        }
        if let Some(at) = filter.still_at {
            query.push(" AND revoked IS NULL AND (ends IS NULL OR ends > ").push_bind(nanos(at)).push(")");
        }
        query.page(&filter.plan);
        let rows: Vec<Row> = query.fetch_all(&self.readers).await?;
        rows.into_iter().map(row).collect()
    }
}
