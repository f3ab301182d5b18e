//! Whose an address was at an earlier time. What others tell of is over when they tell it, and addresses go from one customer to another.
//!
//! Kept is only what changed: with each import the prefixes that had another holder until then, or none.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use reeve_policy::{Tenant, TenantId, Timestamp};

use super::query::{Select, write_rows};
use super::row::{name, nanos};
use super::{Connection, StoreError};
use crate::directory::Tenants;

/// Inventories are told of a new customer some time after the customer has the address: what was nobody's this long before is whose it was next.
const LAG: Duration = Duration::from_secs(24 * 3_600);

/// So many customers do not come at once: an import that brings more prefixes that nobody had is an inventory that is new here.
const MANY: usize = 10_000;

/// Whose an address was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This one's; until when, where it is not any more.
    Tenant(TenantId, Option<Timestamp>),
    /// Nobody's.
    Nobody,
}

/// Writes down who had what of the tenants that an import changes, adds or takes away (`whom`), where somebody else has it now.
///
/// # Errors
/// Where the database fails.
pub(super) async fn note(
    conn: &mut Connection,
    current: &Tenants,
    wanted: &BTreeMap<TenantId, Tenant>,
    whom: &[&TenantId],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut before: HashMap<IpNet, &TenantId> = HashMap::new();
    let mut after: HashMap<IpNet, &TenantId> = HashMap::new();
    for id in whom {
        let had = current.by_id(id).into_iter().flat_map(|tenant| &tenant.addresses);
        before.extend(had.map(|prefix| (prefix.trunc(), *id)));
        let has = wanted.get(*id).into_iter().flat_map(|tenant| &tenant.addresses);
        after.extend(has.map(|prefix| (prefix.trunc(), *id)));
    }
    let left = before.iter().filter(|(prefix, holder)| after.get(*prefix) != Some(*holder));
    let left = left.map(|(prefix, holder)| (prefix.to_string(), Some(holder.as_str())));
    let new: Vec<&IpNet> = after.keys().filter(|prefix| !before.contains_key(*prefix)).collect();
    let new = new.iter().filter(|_| new.len() <= MANY).map(|prefix| (prefix.to_string(), None));
    let rows: Vec<(String, Option<&str>)> = left.chain(new).collect();
    let values = |query: &mut Select, (prefix, holder): &(String, Option<&str>)| {
        query.push_bind(prefix.as_str()).and(nanos(now)).and(*holder);
    };
    // Of two changes at one moment the first tells who had it until then.
    let conflict = " ON CONFLICT (prefix, until) DO NOTHING";
    write_rows(conn, "INSERT INTO holders (prefix, until, tenant)", &rows, values, conflict).await
}

/// Whose an address was at a time: of the prefixes that hold it and were anybody's then, the longest one's.
///
/// # Errors
/// Where the database fails.
pub(super) async fn at(
    conn: &mut Connection,
    current: &Tenants,
    address: IpAddr,
    time: Timestamp,
) -> Result<Holder, StoreError> {
    let address = address.to_canonical();
    // By length of their prefixes; and whether they are told of later than they had it.
    let mut holders: BTreeMap<u8, (Holder, bool)> = current
        .holding(address)
        .map(|(length, tenant)| (length, (Holder::Tenant(tenant.id.clone(), None), false)))
        .collect();
    for (length, until, tenant) in changes(conn, address, time).await? {
        let until = super::row::time(until);
        match tenant {
            Some(tenant) => {
                let holder = Holder::Tenant(name("tenant", &tenant)?, Some(until));
                holders.insert(length, (holder, false));
            }
            None if until > time + LAG => _ = holders.insert(length, (Holder::Nobody, false)),
            None => _ = holders.entry(length).and_modify(|(_, is_late)| *is_late = true),
        }
    }
    let anybodys: Vec<(Holder, bool)> =
        holders.into_values().rev().filter(|(holder, _)| *holder != Holder::Nobody).collect();
    // Whoever had it by the inventory of that time goes before who came next.
    let known = anybodys.iter().find(|(_, is_late)| !is_late).or(anybodys.first());
    Ok(match known {
        // It has another prefix now, and the address all the time.
        Some((Holder::Tenant(id, Some(_)), _))
            if current.by_address(address).is_some_and(|now| now.id == *id) =>
        {
            Holder::Tenant(id.clone(), None)
        }
        Some((holder, _)) => holder.clone(),
        None => Holder::Nobody,
    })
}

/// What changed of an address since a time, the last first: of each prefix the earliest comes last.
async fn changes(
    conn: &mut Connection,
    address: IpAddr,
    time: Timestamp,
) -> Result<Vec<(u8, i64, Option<String>)>, StoreError> {
    let (any,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM (SELECT 1 FROM holders WHERE until > $1 LIMIT 1) h")
            .bind(nanos(time))
            .fetch_one(&mut *conn)
            .await?;
    if any == 0 {
        return Ok(Vec::new());
    }
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefixes: Vec<String> = (0..=most)
        .filter_map(|length| IpNet::new(address, length).ok())
        .map(|prefix| prefix.trunc().to_string())
        .collect();
    let mut query = Select::new("SELECT prefix, until, tenant FROM holders WHERE until > ");
    query.push_bind(nanos(time)).push(" AND prefix IN ");
    query.push_list(prefixes.iter().map(String::as_str)).push(" ORDER BY until DESC");
    let rows: Vec<(String, i64, Option<String>)> = query.fetch_all(&mut *conn).await?;
    let length = |prefix: &str| prefix.parse().map(|prefix: IpNet| prefix.prefix_len());
    Ok(rows
        .into_iter()
        .filter_map(|(prefix, until, tenant)| Some((length(&prefix).ok()?, until, tenant)))
        .collect())
}
