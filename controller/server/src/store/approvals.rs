//! Acts that wait for a second person, on disk.

use reeve_policy::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

use super::query::Select;
use super::row::{nanos, time};
use super::{Connection, Store, StoreError};
use crate::approval::{Asked, Claim, Count, Decided, MAX_PENDING, MAX_PENDING_OF_PERSON, Record, State};
use crate::auth::Shown;

/// How long acts are known that are over.
const KNOWN_SECS: u64 = 30 * 86_400;
/// The most that are listed.
const MAX_LISTED: i64 = 1_000;

/// What became of an act that is to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It waits; the same request of the same person from before, if there is one.
    Waits {
        /// Its key.
        id: String,
        /// Until when.
        expires: Timestamp,
    },
    /// Too many wait.
    Full,
}

/// Keeps an act.
///
/// # Errors
/// Where the database fails.
pub async fn keep(conn: &mut Connection, asked: &Asked, seal: &[u8]) -> Result<Kept, StoreError> {
    let old = asked.at.minus(std::time::Duration::from_secs(KNOWN_SECS));
    sqlx::query("DELETE FROM approvals WHERE expires < $1").bind(nanos(old)).execute(&mut *conn).await?;
    let waiting = "SELECT id, expires FROM approvals WHERE state = 'pending' AND expires > $1 AND owner = $2 \
                   AND who = $3 AND method = $4 AND body = $5";
    let same: Option<(String, i64)> = sqlx::query_as(waiting)
        .bind(nanos(asked.at))
        .bind(asked.owner.as_str())
        .bind(asked.who.as_str())
        .bind(&asked.method)
        .bind(asked.body.as_slice())
        .fetch_optional(&mut *conn)
        .await?;
    if let Some((id, expires)) = same {
        return Ok(Kept::Waits { id, expires: time(expires) });
    }
    let (all, own): (i64, i64) = sqlx::query_as(
        "SELECT count(*), CAST(coalesce(sum(CASE WHEN owner = $2 THEN 1 ELSE 0 END), 0) AS BIGINT) FROM approvals \
         WHERE state = 'pending' AND expires > $1",
    )
    .bind(nanos(asked.at))
    .bind(asked.owner.as_str())
    .fetch_one(&mut *conn)
    .await?;
    if all >= MAX_PENDING || own >= MAX_PENDING_OF_PERSON {
        return Ok(Kept::Full);
    }
    sqlx::query(
        "INSERT INTO approvals (id, method, body, subject, asked, reason, rule, who, owner, role, shown, began, address, at, \
         expires, seal, state, decided_by, decided, note, outcome) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
         $13, $14, $15, $16, 'pending', '', NULL, '', '')",
    )
    .bind(&asked.id)
    .bind(&asked.method)
    .bind(asked.body.as_slice())
    .bind(&asked.subject)
    .bind(&asked.asked)
    .bind(&asked.reason)
    .bind(&asked.rule)
    .bind(asked.who.as_str())
    .bind(asked.owner.as_str())
    .bind(asked.role.as_str())
    .bind(asked.shown.as_str())
    .bind(asked.began.map(nanos))
    .bind(&asked.address)
    .bind(nanos(asked.at))
    .bind(nanos(asked.expires))
    .bind(seal)
    .execute(&mut *conn)
    .await?;
    Ok(Kept::Waits { id: asked.id.clone(), expires: asked.expires })
}

/// Ends the waiting of an act, if it still waits, is what was looked at, and is somebody else's; whether it did.
///
/// # Errors
/// Where the database fails.
pub async fn claim(conn: &mut Connection, claim: &Claim, now: Timestamp) -> Result<bool, StoreError> {
    decide(conn, &claim.decided, State::Approved, now).await
}

/// Rejects an act, if it still waits; whether it did. Who asked for it may take it back.
///
/// # Errors
/// Where the database fails.
pub async fn reject(conn: &mut Connection, decided: &Decided, now: Timestamp) -> Result<bool, StoreError> {
    decide(conn, decided, State::Rejected, now).await
}

async fn decide(
    conn: &mut Connection,
    decided: &Decided,
    state: State,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let nobody = String::new();
    let not_by = if state == State::Approved { decided.owner.as_str() } else { &nobody };
    let done = sqlx::query(
        "UPDATE approvals SET state = $1, decided_by = $2, decided = $3, note = $4, body = $5 \
         WHERE id = $6 AND state = 'pending' AND expires > $3 AND seal = $7 AND owner <> $8",
    )
    .bind(state.as_str())
    .bind(&decided.by)
    .bind(nanos(now))
    .bind(&decided.note)
    .bind(Vec::<u8>::new())
    .bind(&decided.id)
    .bind(decided.seal.as_slice())
    .bind(not_by)
    .execute(&mut *conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Notes what came of an act that was approved.
///
/// # Errors
/// Where the database fails.
pub async fn outcome(conn: &mut Connection, id: &str, outcome: &str) -> Result<(), StoreError> {
    sqlx::query("UPDATE approvals SET outcome = $1 WHERE id = $2 AND state = 'approved' AND outcome = ''")
        .bind(outcome)
        .bind(id)
        .execute(&mut *conn)
        .await?;
    Ok(())
}

/// Counts what somebody does; whether they may do it alone. What they may not is not counted.
///
/// # Errors
/// Where the database fails.
pub async fn count(conn: &mut Connection, count: &Count, now: Timestamp) -> Result<bool, StoreError> {
    let limit = usize::try_from(count.limit).unwrap_or(usize::MAX);
    if count.subjects.len() > limit {
        return Ok(false);
    }
    sqlx::query("DELETE FROM acts_alone WHERE kind = $1 AND at <= $2")
        .bind(count.kind)
        .bind(nanos(count.since))
        .execute(&mut *conn)
        .await?;
    let known: Vec<(String,)> =
        sqlx::query_as("SELECT subject FROM acts_alone WHERE owner = $1 AND kind = $2")
            .bind(count.owner.as_str())
            .bind(count.kind)
            .fetch_all(&mut *conn)
            .await?;
    let mut all: std::collections::BTreeSet<&str> = known.iter().map(|(one,)| one.as_str()).collect();
    all.extend(count.subjects.iter().map(String::as_str));
    if all.len() > limit {
        return Ok(false);
    }
    for subject in &count.subjects {
        sqlx::query(
            "INSERT INTO acts_alone (owner, kind, subject, at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (owner, kind, subject) DO UPDATE SET at = excluded.at",
        )
        .bind(count.owner.as_str())
        .bind(count.kind)
        .bind(subject)
        .bind(nanos(now))
        .execute(&mut *conn)
        .await?;
    }
    Ok(true)
}

/// All columns, with the body or with none in its place.
const WHOLE: &str = "SELECT id, method, body, subject, asked, reason, rule, who, owner, role, shown, began, address, at, expires, \
                     seal, state, decided_by, decided, note, outcome FROM approvals";
const BARE: &str = "SELECT id, method, seal AS body, subject, asked, reason, rule, who, owner, role, shown, began, address, at, \
                    expires, seal, state, decided_by, decided, note, outcome FROM approvals";

/// A row as it is read.
struct Read(Record);

impl<'r> FromRow<'r, AnyRow> for Read {
    fn from_row(row: &'r AnyRow) -> Result<Self, sqlx::Error> {
        let wrong = |column: &str| sqlx::Error::Decode(format!("an approval's {column}").into());
        let text = |column: &str| row.try_get::<String, _>(column);
        let at = |column: &str| row.try_get::<i64, _>(column).map(time);
        let asked = Asked {
            id: text("id")?,
            method: text("method")?,
            body: row.try_get("body")?,
            subject: text("subject")?,
            asked: text("asked")?,
            reason: text("reason")?,
            rule: text("rule")?,
            who: text("who")?.parse().map_err(|_| wrong("who"))?,
            owner: text("owner")?.parse().map_err(|_| wrong("owner"))?,
            role: text("role")?.parse().map_err(|_| wrong("role"))?,
            shown: Shown::parse(&text("shown")?).ok_or_else(|| wrong("shown"))?,
            began: row.try_get::<Option<i64>, _>("began")?.map(time),
            address: text("address")?,
            at: at("at")?,
            expires: at("expires")?,
        };
        Ok(Self(Record {
            asked,
            seal: row.try_get("seal")?,
            state: State::parse(&text("state")?).ok_or_else(|| wrong("state"))?,
            decided_by: text("decided_by")?,
            decided: row.try_get::<Option<i64>, _>("decided")?.map(time),
            note: text("note")?,
            outcome: text("outcome")?,
        }))
    }
}

impl Store {
    /// Acts that wait, or all that are known, newest first, without their bodies.
    ///
    /// # Errors
    /// Where the database fails, or holds what cannot be read.
    pub async fn approvals(&self, waiting_at: Option<Timestamp>) -> Result<Vec<Record>, StoreError> {
        let mut query = Select::new(BARE);
        if let Some(now) = waiting_at {
            query.push(" WHERE state = 'pending' AND expires > ").push_bind(nanos(now));
        }
        query.push(" ORDER BY at DESC, id DESC LIMIT ").push_bind(MAX_LISTED);
        let rows: Vec<Read> = query.fetch_all(&self.readers).await?;
        let without_body = |Read(mut record): Read| {
            record.asked.body.clear();
            record
        };
        Ok(rows.into_iter().map(without_body).collect())
    }

    /// An act, whole.
    ///
    /// # Errors
    /// Where the database fails, or holds what cannot be read.
    pub async fn approval(&self, id: &str) -> Result<Option<Record>, StoreError> {
        let mut query = Select::new(WHOLE);
        query.push(" WHERE id = ").push_bind(id.to_owned());
        let rows: Vec<Read> = query.fetch_all(&self.readers).await?;
        Ok(rows.into_iter().next().map(|Read(record)| record))
    }
}
