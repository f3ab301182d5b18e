//! The tenants change.

use std::collections::{BTreeMap, BTreeSet};

use reeve_policy::language::{TenantDifference, tenant_differences};
use reeve_policy::{Exemption, Tenant, TenantId};

use super::super::holders;
use super::super::query::{Select, write_rows};
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

/// What became of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is new.
    Added,
    /// It is another.
    Changed,
    /// It is gone.
    Removed,
}

/// What an import does to one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantChange {
    /// Which.
    pub tenant: TenantId,
    /// What becomes of it.
    pub fate: Fate,
    /// Of one that is another, in what.
    pub differences: Vec<TenantDifference>,
}

/// The most changes that are told one by one.
const CHANGES: usize = 5_000;
/// The most values that they hold together; of tenants with thousands of addresses there are fewer.
const VALUES: usize = 20_000;

/// What an import changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// The first of the changes, by id.
    pub changes: Vec<TenantChange>,
}

impl Imported {
    /// What an import comes to that makes these tenants of those that there are.
    fn of(current: &Tenants, wanted: &BTreeMap<TenantId, Tenant>) -> Self {
        let mut done = Self { version: current.version(), ..Self::default() };
        let mut values = 0;
        let gone = current.all().keys().filter(|id| !wanted.contains_key(*id));
        let all: BTreeSet<&TenantId> = gone.chain(wanted.keys()).collect();
        for id in all {
            let (before, after) = (current.by_id(id), wanted.get(id));
            let fate = match (before, after) {
                (Some(before), Some(after)) if **before == *after => {
                    done.unchanged += 1;
                    continue;
                }
                (Some(_), Some(_)) => Fate::Changed,
                (_, Some(_)) => Fate::Added,
                (_, None) => Fate::Removed,
            };
            match fate {
                Fate::Added => done.added += 1,
                Fate::Changed => done.changed += 1,
                Fate::Removed => done.removed += 1,
            }
            if done.changes.len() >= CHANGES || values >= VALUES {
                continue;
            }
            let differences = match (before, after) {
                (Some(before), Some(after)) => tenant_differences(before, after),
                _ => Vec::new(),
            };
            values += differences.iter().map(|one| one.removed.len() + one.added.len()).sum::<usize>();
            done.changes.push(TenantChange { tenant: id.clone(), fate, differences });
        }
        done
    }

    /// How many tenants are other than before.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.added + self.changed + self.removed
    }
}

/// Takes over tenants that were checked together with those that stay (`wanted` is all of them); where it `is_dry`, it is only told what
/// that would change.
///
/// # Errors
/// Where the database fails.
pub async fn import_tenants(
    conn: &mut Connection,
    current: &Tenants,
    wanted: &BTreeMap<TenantId, Tenant>,
    is_dry: bool,
    effects: &mut Effects,
) -> Result<Imported, StoreError> {
    let mut done = Imported::of(current, wanted);
    if is_dry {
        return Ok(done);
    }
    let is_other = |id: &TenantId, tenant: &Tenant| current.by_id(id).is_none_or(|known| **known != *tenant);
    let other: Vec<(&TenantId, &Tenant)> =
        wanted.iter().filter(|(id, tenant)| is_other(id, tenant)).collect();
    let values = |query: &mut Select, (id, tenant): &(&TenantId, &Tenant)| {
        // What operators granted is kept apart, where no import takes it away.
        let own = Tenant { exemptions: own(tenant).cloned().collect(), ..(*tenant).clone() };
        query.push_bind(id.as_str()).and(own.encode());
    };
    let conflict = " ON CONFLICT (id) DO UPDATE SET body = excluded.body";
    write_rows(conn, "INSERT INTO tenants (id, body)", &other, values, conflict).await?;
    // What was before the first import nobody knows.
    if current.version() > 0 {
        let gone = current.all().keys().filter(|id| !wanted.contains_key(*id));
        let whom: Vec<&TenantId> = other.iter().map(|(id, _)| *id).chain(gone).collect();
        holders::note(conn, current, wanted, &whom, effects.now).await?;
    }
    for id in current.all().keys().filter(|id| !wanted.contains_key(*id)) {
        sqlx::query("DELETE FROM tenants WHERE id = $1").bind(id.as_str()).execute(&mut *conn).await?;
    }
    // The first import counts even if it is empty: from then on the controller answers for the tenants.
    let first = current.version() == 0;
    if first || done.total() > 0 {
        let gone = current.all().keys().filter(|id| !wanted.contains_key(*id));
        let whom: Vec<&TenantId> = other.iter().map(|(id, _)| *id).chain(gone).collect();
        done.version = renew(conn, current.version(), &whom, effects).await?;
    }
    Ok(done)
}

/// What an import comes to say of a tenant: what operators granted stays as it is, whatever the import has of that, such as a list that was told
/// before one of them was revoked.
pub fn keep_grants(imported: &Tenant, known: Option<&Tenant>) -> Tenant {
    let grants = known.into_iter().flat_map(|tenant| tenant.exemptions.iter().filter(|one| one.id.is_some()));
    Tenant { exemptions: own(imported).chain(grants).cloned().collect(), ..imported.clone() }
}

/// What stands in the tenant's own entry.
fn own(tenant: &Tenant) -> impl Iterator<Item = &Exemption> {
    tenant.exemptions.iter().filter(|one| one.id.is_none())
}

/// Gives the tenants a new version, as some are others than before, new or gone; which.
pub(super) async fn renew(
    conn: &mut Connection,
    before: u64,
    whom: &[&TenantId],
    effects: &mut Effects,
) -> Result<u64, StoreError> {
    // Milliseconds of the clock, so that versions move forward even past a database that was made anew.
    let millis = effects.now.as_nanos() / 1_000_000;
    let version = millis.max(before + 1);
    sqlx::query(
        "INSERT INTO meta (key, value) VALUES ('tenants_version', $1) \
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .bind(count(version))
    .execute(&mut *conn)
    .await?;
    let values = |query: &mut Select, id: &&TenantId| {
        query.push_bind(id.as_str()).and(count(version));
    };
    let conflict = " ON CONFLICT (id) DO UPDATE SET version = excluded.version";
    write_rows(conn, "INSERT INTO tenant_versions (id, version)", whom, values, conflict).await?;
    effects.tenants_changed = true;
    Ok(version)
}
