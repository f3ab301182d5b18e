//! The audit log's lines.

use reeve_audit::{Checkpoint, Entry, Hash, Line, Link, Signer};
use reeve_policy::Timestamp;

use super::query::Select;
use super::row::{count, nanos, uncount};
use super::{Connection, Store, StoreError};
use crate::audit::{Also, Draft};

/// Which entries to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this caller.
    pub who: Option<String>,
    /// Of this method.
    pub act: Option<String>,
    /// About this.
    pub subject: Option<String>,
    /// From this time on.
    pub since: Option<Timestamp>,
    /// With a number below.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

/// The last entry: its number and its hash.
async fn head(conn: &mut Connection) -> Result<(u64, Hash), StoreError> {
    let row: Option<(i64, String)> =
        sqlx::query_as("SELECT number, hash FROM audit WHERE checkpoint = 0 ORDER BY number DESC LIMIT 1")
            .fetch_optional(conn)
            .await?;
    match row {
        Some((number, hash)) => Ok((uncount(number), read_hash(&hash)?)),
        None => Ok((0, Hash::START)),
    }
}

fn read_hash(text: &str) -> Result<Hash, StoreError> {
    text.parse().map_err(|error: reeve_audit::HexError| unreadable(&error))
}

fn unreadable(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Body { kind: "line of the audit log", detail: error.to_string() }
}

fn written(line: &Line) -> Result<String, StoreError> {
    serde_json::to_string(line).map_err(|error| unreadable(&error))
}

/// Enters something behind the last entry; its number.
///
/// # Errors
/// Where the database fails.
pub async fn enter(conn: &mut Connection, draft: Draft, now: Timestamp) -> Result<u64, StoreError> {
    let (last, before) = head(conn).await?;
    let number = last + 1;
    let Draft { who, role, from, act, subject, asked, reason, outcome } = draft;
    let entry = Entry { number, at: now, who, role, from, act, subject, asked, reason, outcome };
    let link = entry.link(before);
    let line = written(&Line::Entry(link.clone()))?;
    let Link { entry, hash, .. } = link;
    insert(conn, (number, 0), now, [&entry.who, &entry.act, &entry.subject], (hash, &line)).await?;
    Ok(number)
}

/// Enters a call, and behind it one line for each of those that it is about besides, which names the call's. The call's number.
///
/// # Errors
/// Where the database fails.
pub async fn enter_all(
    conn: &mut Connection,
    draft: &Draft,
    also: &[Also],
    now: Timestamp,
) -> Result<u64, StoreError> {
    let number = enter(conn, draft.clone(), now).await?;
    for Also { subject, reason } in also {
        let (subject, reason) = (subject.clone(), reason.clone());
        let one = Draft { subject, reason, asked: format!("{{\"of\":{number}}}"), ..draft.clone() };
        enter(conn, one, now).await?;
    }
    Ok(number)
}

/// Signs the last entry, unless this key has signed it.
///
/// # Errors
/// Where the database fails.
pub async fn seal(conn: &mut Connection, signer: &Signer, now: Timestamp) -> Result<(), StoreError> {
    let (number, hash) = head(conn).await?;
    if number == 0 {
        return Ok(());
    }
    let over: Vec<(String, i64)> = sqlx::query_as(
        "SELECT who, checkpoint FROM audit WHERE number = $1 AND checkpoint > 0 ORDER BY checkpoint",
    )
    .bind(count(number))
    .fetch_all(&mut *conn)
    .await?;
    let key = signer.public().to_string();
    if over.iter().any(|(who, _)| *who == key) {
        return Ok(());
    }
    let place = over.last().map_or(0, |(_, place)| *place) + 1;
    let line = written(&Line::Checkpoint(Checkpoint::sign(signer, number, hash, now)))?;
    insert(conn, (number, place), now, [&key, "", ""], (hash, &line)).await
}

async fn insert(
    conn: &mut Connection,
    (number, checkpoint): (u64, i64),
    at: Timestamp,
    [who, act, subject]: [&str; 3],
    (hash, line): (Hash, &str),
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit (number, checkpoint, at, who, act, subject, hash, line) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(count(number))
    .bind(checkpoint)
    .bind(nanos(at))
    .bind(who)
    .bind(act)
    .bind(subject)
    .bind(hash.to_string())
    .bind(line)
    .execute(conn)
    .await?;
    Ok(())
}

fn entry((line,): (String,)) -> Result<Entry, StoreError> {
    match serde_json::from_str(&line) {
        Ok(Line::Entry(link)) => Ok(link.entry),
        Ok(Line::Checkpoint(_)) => Err(unreadable(&"a checkpoint in an entry's place")),
        Err(error) => Err(unreadable(&error)),
    }
}

impl Store {
    /// Entries, newest first.
    ///
    /// # Errors
    /// Where the database fails, or holds what cannot be read.
    pub async fn audit(&self, filter: &AuditFilter) -> Result<Vec<Entry>, StoreError> {
        let mut query = Select::new("SELECT line FROM audit WHERE checkpoint = 0");
        for (column, wanted) in
            [(" AND who = ", &filter.who), (" AND act = ", &filter.act), (" AND subject = ", &filter.subject)]
        {
            if let Some(wanted) = wanted {
                query.push(column).push_bind(wanted.clone());
            }
        }
        if let Some(since) = filter.since {
            query.push(" AND at >= ").push_bind(nanos(since));
        }
        if let Some(before) = filter.before {
            query.push(" AND number < ").push_bind(count(before));
        }
        query.push(" ORDER BY number DESC LIMIT ").push_bind(i64::from(filter.limit));
        let rows: Vec<(String,)> = query.fetch_all(&self.readers).await?;
        rows.into_iter().map(entry).collect()
    }

    /// The number of the last entry; 0 where there is none.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn audit_last(&self) -> Result<u64, StoreError> {
        let (last,): (i64,) =
            sqlx::query_as("SELECT coalesce(max(number), 0) FROM audit WHERE checkpoint = 0")
                .fetch_one(&self.readers)
                .await?;
        Ok(uncount(last))
    }

    /// Entries behind a number, oldest first.
    ///
    /// # Errors
    /// Where the database fails, or holds what cannot be read.
    pub(crate) async fn audit_behind(&self, number: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT line FROM audit WHERE checkpoint = 0 AND number > $1 ORDER BY number LIMIT $2",
        )
        .bind(count(number))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter().map(entry).collect()
    }

    /// Lines as they are verified, behind this place, oldest first: each with its place, which is a number and the checkpoint's over it.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn audit_lines(
        &self,
        (number, checkpoint): (u64, i64),
        limit: u32,
    ) -> Result<Vec<((u64, i64), String)>, StoreError> {
        let rows: Vec<(i64, i64, String)> = sqlx::query_as(
            "SELECT number, checkpoint, line FROM audit WHERE (number, checkpoint) > ($1, $2) \
             ORDER BY number, checkpoint LIMIT $3",
        )
        .bind(count(number))
        .bind(checkpoint)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        Ok(rows.into_iter().map(|(number, place, line)| ((uncount(number), place), line)).collect())
    }

    /// The last checkpoint that a key has signed: its number, and its line.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn audit_checkpoint(&self, key: &str) -> Result<Option<(u64, String)>, StoreError> {
        let row: Option<(i64, String)> = sqlx::query_as(
            "SELECT number, line FROM audit WHERE checkpoint > 0 AND who = $1 ORDER BY number DESC, checkpoint DESC LIMIT 1",
        )
        .bind(key)
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.map(|(number, line)| (uncount(number), line)))
    }

    /// The lines of entries about these, and about a tenant within a time, up to an entry: the newest so many, oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn audit_about(
        &self,
        subjects: &[String],
        (tenant, from, to): (&str, Timestamp, Timestamp),
        (last, most): (u64, i64),
    ) -> Result<Vec<String>, StoreError> {
        let mut query = Select::new("SELECT number, line FROM audit WHERE checkpoint = 0 AND number <= ");
        query.push_bind(count(last)).push(" AND (subject IN ");
        query.push_list(subjects.iter().map(String::as_str));
        query.push(" OR (subject = ").push_bind(tenant).push(" AND at >= ").push_bind(nanos(from));
        query.push(" AND at <= ").push_bind(nanos(to)).push(")) ORDER BY number DESC LIMIT ").push_bind(most);
        let rows: Vec<(i64, String)> = query.fetch_all(&self.readers).await?;
        Ok(rows.into_iter().rev().map(|(_, line)| line).collect())
    }
}
