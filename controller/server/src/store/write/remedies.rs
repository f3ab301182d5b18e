//! What bouncers are told: what began and ended since they asked last.
//!
//! Both are numbered by the commit that wrote it down, so neither a clock nor a controller's life is in it: whichever controller answers, and
//! however often they were restarted, a bouncer is told what lies behind what it was told before. Where it stood before that counts, so
//! each change is told twice, and an answer that was lost is made up for; to bouncers it is one whether they hear something once or twice.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;
use reeve_policy::Measure;

use super::super::query::{Select, write_rows};
use super::super::row::{Body, count, name, nanos, time};
use super::super::{Connection, StoreError, seals, share};
use super::Effects;
use crate::directory::veiled;
use crate::remedy::{Kind, Remedy, remedies};

/// The most that is told at once.
pub const MOST: usize = 65_536;
/// What is over, and who asked last, is forgotten after this long.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// For how many prefixes one statement ends what is done about them.
const TOGETHER: usize = 128;

/// What is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulled {
    /// What is to be done, as far as it is new.
    pub new: Vec<Remedy>,
    /// What is to be done no more.
    pub deleted: Vec<Remedy>,
}

type Columns = (String, String, String, String, Option<i64>, String);

fn remedy((value, kind, origin, scenario, until, decision): Columns) -> Result<Remedy, StoreError> {
    let bad = || StoreError::Body { kind: "remedy", detail: format!("{value}, {kind}") };
    Ok(Remedy {
        value: value.parse().map_err(|_| bad())?,
        kind: Kind::read(&kind).ok_or_else(bad)?,
        origin,
        scenario,
        until: until.map(time),
        decision,
    })
}

/// Writes down what began and ended.
///
/// # Errors
/// Where the database fails.
pub async fn note_remedies(conn: &mut Connection, effects: &Effects) -> Result<(), StoreError> {
    let number = count(share::last(conn).await?);
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT tenant, body FROM measures WHERE lifted IS NULL ORDER BY tenant, decision, node",
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut held: BTreeMap<String, Vec<Measure>> = BTreeMap::new();
    for (tenant, body) in rows {
        held.entry(tenant).or_default().push(Measure::decode(&body)?);
    }
    let mut wanted: BTreeMap<IpNet, Remedy> = BTreeMap::new();
    let seals = seals::seals(conn, None).await?;
    for (id, mut measures) in held {
        if let Some(tenant) = effects.desk.people.by_id(&name("tenant", &id)?) {
            let sealed = seals.get(&tenant.id);
            let is_sealed = |measure: &&mut Measure| {
                sealed.is_some_and(|clauses| clauses.contains(&measure.decision.clause))
            };
            measures.iter_mut().filter(is_sealed).for_each(|one| one.decision = veiled(&one.decision));
            let all = remedies(tenant, measures.iter(), effects.now);
            wanted.extend(all.into_iter().map(|remedy| (remedy.value, remedy)));
        }
    }
    if wanted.len() > MOST {
        tracing::error!(prefixes = wanted.len(), most = MOST, "more is held than bouncers are told of");
        wanted = wanted.into_iter().take(MOST).collect();
    }
    let known = in_force(conn, -1).await?;
    let mut over = Vec::new();
    for remedy in &known {
        if wanted.get(&remedy.value) == Some(remedy) {
            wanted.remove(&remedy.value);
        } else {
            over.push(remedy.value.to_string());
        }
    }
    for some in over.chunks(TOGETHER) {
        let mut query = Select::new("UPDATE remedies SET ended = ");
        query.push_bind(number).push(", gone = ").push_bind(nanos(effects.now));
        query.push(" WHERE ended IS NULL AND value IN ").push_list(some.iter().map(String::as_str));
        query.execute(&mut *conn).await?;
    }
    let new: Vec<Remedy> = wanted.into_values().collect();
    let values = |query: &mut Select, remedy: &Remedy| {
        query.push_bind(remedy.value.to_string()).push(", ").push_bind(remedy.kind.name()).push(", ");
        query.push_bind(remedy.origin.clone()).push(", ").push_bind(remedy.scenario.clone()).push(", ");
        query.push_bind(remedy.until.map(nanos)).push(", ").push_bind(remedy.decision.clone()).push(", ");
        query.push_bind(number);
    };
    let into = "INSERT INTO remedies (value, kind, origin, scenario, until, decision, began)";
    write_rows(conn, into, &new, values, "").await
}

/// What is in force that began after the commit `after`.
async fn in_force(conn: &mut Connection, after: i64) -> Result<Vec<Remedy>, StoreError> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT value, kind, origin, scenario, until, decision FROM remedies WHERE ended IS NULL AND began > $1 ORDER BY number",
    )
    .bind(after)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(remedy).collect()
}

/// What a bouncer is told: everything at its start, then what changed. `name` is its own, and no other's.
///
/// # Errors
/// Where the database fails.
pub async fn pull(
    conn: &mut Connection,
    name: &str,
    is_start: bool,
    effects: &Effects,
) -> Result<Pulled, StoreError> {
    let since = nanos(effects.now.minus(KEPT));
    sqlx::query("DELETE FROM bouncers WHERE asked < $1").bind(since).execute(&mut *conn).await?;
    sqlx::query("DELETE FROM remedies WHERE ended IS NOT NULL AND gone < $1")
        .bind(since)
        .execute(&mut *conn)
        .await?;
    let known: Option<(i64, i64)> = sqlx::query_as("SELECT told, earlier FROM bouncers WHERE name = $1")
        .bind(name)
        .fetch_optional(&mut *conn)
        .await?;
    if is_start || known.is_none() {
        // Nobody may have asked for long, and nothing been written down.
        note_remedies(conn, effects).await?;
    }
    // Of this commit there may be more to come.
    let number = count(share::last(conn).await?) - 1;
    let known = known.filter(|_| !is_start);
    let (told, after) = known.unwrap_or((number, -1));
    let mut pulled = Pulled { new: in_force(conn, after).await?, deleted: Vec::new() };
    let mut query = Select::new(
        "SELECT value, kind, origin, scenario, until, decision FROM remedies WHERE ended IS NOT NULL AND ended > ",
    );
    query.push_bind(after).push(" ORDER BY ended DESC, number DESC LIMIT ");
    query.push_bind(i64::try_from(MOST).unwrap_or(i64::MAX));
    let rows: Vec<Columns> = query.fetch_all(&mut *conn).await?;
    pulled.deleted = rows.into_iter().map(remedy).collect::<Result<_, _>>()?;
    sqlx::query(
        "INSERT INTO bouncers (name, told, earlier, asked) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO UPDATE SET \
         told = excluded.told, earlier = excluded.earlier, asked = excluded.asked",
    )
    .bind(name)
    .bind(number)
    .bind(told)
    .bind(nanos(effects.now))
    .execute(conn)
    .await?;
    Ok(pulled)
}
