//! The tenants change.

use std::collections::BTreeMap;

use reeve_policy::{Tenant, TenantId};

use super::super::row::{Body, count};
use super::super::{Connection, StoreError};
use super::Effects;
use crate::directory::Tenants;

/// What becomes of tenants that an import does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportMethod {
    /// They are forgotten.
    Replace,
    /// They stay.
    Upsert,
}

/// What an import changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// How many are new.
    pub added: u64,
    /// How many differ.
    pub changed: u64,
    /// How many are gone.
    pub removed: u64,
    /// How many are as before.
    pub unchanged: u64,
    /// The version now.
    pub version: u64,
}

/// Takes over tenants that were checked together with those that stay (`wanted` is all of them).
///
/// # Errors
/// Where the database fails.
pub async fn import_tenants(
    conn: &mut Connection,
    current: &Tenants,
    wanted: &BTreeMap<TenantId, Tenant>,
    effects: &mut Effects,
) -> Result<Imported, StoreError> {
    let mut done = Imported { version: current.version(), ..Imported::default() };
    for (id, tenant) in wanted {
        match current.by_id(id) {
            Some(known) if **known == *tenant => {
                done.unchanged += 1;
                continue;
            }
            Some(_) => done.changed += 1,
            None => done.added += 1,
        }
        sqlx::query(
            "INSERT INTO tenants (id, body) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
        )
        .bind(id.as_str())
        .bind(tenant.encode())
        .execute(&mut *conn)
        .await?;
    }
    for id in current.all().keys().filter(|id| !wanted.contains_key(*id)) {
        sqlx::query("DELETE FROM tenants WHERE id = $1").bind(id.as_str()).execute(&mut *conn).await?;
        done.removed += 1;
    }
    // The first import counts even if it is empty: from then on the controller answers for the tenants.
    let first = current.version() == 0;
    if first || done.added + done.changed + done.removed > 0 {
        // Milliseconds of the clock, so that versions move forward even past a database that was made anew.
        let millis = effects.now.as_nanos() / 1_000_000;
        done.version = millis.max(current.version() + 1);
        sqlx::query(
            "INSERT INTO meta (key, value) VALUES ('tenants_version', $1) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(count(done.version))
        .execute(&mut *conn)
        .await?;
        effects.tenants_changed = true;
    }
    Ok(done)
}
