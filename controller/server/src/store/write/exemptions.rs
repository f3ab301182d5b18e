//! Exemptions are granted and taken back. Either makes the tenants others than before, by which nodes and other controllers are told.

use reeve_policy::{Exemption, Name, OrderId, TenantId};

use super::super::exemptions::{GrantRow, KEPT, one};
use super::super::row::{Body, nanos, uncount};
use super::super::{Connection, StoreError};
use super::orders::{is_tenant, remember, repeated};
use super::tenants::renew;
use super::{Effects, OrderTaken, Requested};

/// An exemption to be granted.
#[derive(Clone, Debug)]
pub struct GrantAsked {
    /// To whom.
    pub tenant: TenantId,
    /// Its key, which it has as well.
    pub id: Name,
    /// It.
    pub exemption: Exemption,
    /// Who grants it.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantTaken {
    /// It is granted, now or when it was asked for before.
    Granted(Box<GrantRow>),
    /// The key of the request stands for another one.
    KeyInUse,
    /// There is no such tenant.
    UnknownTenant,
    /// The tenant has as many as one may have.
    Full,
}

/// An exemption to be taken back.
#[derive(Clone, Debug)]
pub struct RevokeAsked {
    /// Which.
    pub id: Name,
    /// Who takes it back.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Grants a tenant an exemption.
///
/// # Errors
/// Where the database fails.
pub async fn grant(
    conn: &mut Connection,
    requested: &Requested,
    asked: &GrantAsked,
    effects: &mut Effects,
) -> Result<GrantTaken, StoreError> {
    match repeated(conn, requested).await? {
        None => {}
        Some(OrderTaken::Ordered { id: OrderId(id), .. }) => {
            let known = one(conn, &id).await?;
            return Ok(known.map_or(GrantTaken::KeyInUse, |row| GrantTaken::Granted(Box::new(row))));
        }
        Some(_) => return Ok(GrantTaken::KeyInUse),
    }
    if !is_tenant(conn, &asked.tenant).await? {
        return Ok(GrantTaken::UnknownTenant);
    }
    // All that go with the tenant are counted, also those that are over: each is told to every node.
    let (there,): (i64,) = sqlx::query_as(
        "SELECT count(*) FROM exemptions WHERE tenant = $1 AND revoked IS NULL AND (ends IS NULL OR ends > $2)",
    )
    .bind(asked.tenant.as_str())
    .bind(nanos(effects.now.minus(KEPT)))
    .fetch_one(&mut *conn)
    .await?;
    if uncount(there) >= Exemption::MAX as u64 {
        return Ok(GrantTaken::Full);
    }
    sqlx::query(
        "INSERT INTO exemptions (id, tenant, body, ends, reason, granted, granted_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(asked.id.as_str())
    .bind(asked.tenant.as_str())
    .bind(asked.exemption.encode())
    .bind(asked.exemption.until.map(nanos))
    .bind(asked.reason.as_str())
    .bind(nanos(effects.now))
    .bind(asked.by.as_str())
    .execute(&mut *conn)
    .await?;
    remember(conn, requested, &OrderId(asked.id.clone()), None, effects.now).await?;
    renew_from_disk(conn, &asked.tenant, effects).await?;
    Ok(GrantTaken::Granted(Box::new(GrantRow {
        tenant: asked.tenant.clone(),
        exemption: asked.exemption.clone(),
        reason: asked.reason.clone(),
        granted: effects.now,
        by: asked.by.clone(),
        revoked: None,
    })))
}

/// Takes one back, unless that was done before; nothing where there is none.
///
/// # Errors
/// Where the database fails.
pub async fn revoke_exemption(
    conn: &mut Connection,
    asked: &RevokeAsked,
    effects: &mut Effects,
) -> Result<Option<GrantRow>, StoreError> {
    let Some(mut row) = one(conn, &asked.id).await? else { return Ok(None) };
    if row.revoked.is_some() {
        return Ok(Some(row));
    }
    sqlx::query("UPDATE exemptions SET revoked = $1, revoked_by = $2, revoke_reason = $3 WHERE id = $4")
        .bind(nanos(effects.now))
        .bind(asked.by.as_str())
        .bind(asked.reason.as_str())
        .bind(asked.id.as_str())
        .execute(&mut *conn)
        .await?;
    renew_from_disk(conn, &row.tenant, effects).await?;
    row.revoked = Some((effects.now, asked.by.clone(), asked.reason.clone()));
    Ok(Some(row))
}

/// Gives the tenants a new version; the one before may have been made in this very transaction.
async fn renew_from_disk(
    conn: &mut Connection,
    whom: &TenantId,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let before: Option<(i64,)> = sqlx::query_as("SELECT value FROM meta WHERE key = 'tenants_version'")
        .fetch_optional(&mut *conn)
        .await?;
    renew(conn, before.map_or(0, |(version,)| uncount(version)), &[whom], effects).await?;
    Ok(())
}
