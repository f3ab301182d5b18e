//! Who may call, on disk.

use std::sync::Arc;

use ipnet::IpNet;
use reeve_policy::{Name, Timestamp};

use super::row::{name, nanos, time};
use super::{Connection, StoreError, people};
use crate::auth::{Caller, Change, Enrolment, Hash, Records, Revocation, Role, Subject, Taken, Token};

/// The most good tokens at a time.
const MAX_TOKENS: i64 = 10_000;
/// How long a token that ended is listed.
const REMEMBERED_SECS: u64 = 400 * 86_400;

type TokenRow = (Vec<u8>, String, String, String, i64, String, String, i64, Option<i64>, String);

/// All of it.
///
/// # Errors
/// Where the database fails, or holds what cannot be read.
pub async fn load(conn: &mut Connection) -> Result<Records, StoreError> {
    let rows: Vec<TokenRow> = sqlx::query_as(
        "SELECT hash, name, role, beginning, created, created_by, owner, expires, revoked, addresses FROM api_tokens",
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut records = Records::default();
    for row in rows {
        let token = token(row)?;
        records.tokens.insert(token.hash, Arc::new(token));
    }
    let rows: Vec<(Vec<u8>, String, i64, String, i64)> =
        sqlx::query_as("SELECT hash, node, created, created_by, expires FROM enrolments WHERE used IS NULL")
            .fetch_all(&mut *conn)
            .await?;
    for (hash, node, created, created_by, expires) in rows {
        let hash = read_hash("enrolment token", &hash)?;
        let node = name("enrolment token", &node)?;
        let enrolment = Enrolment { hash, node, created: time(created), created_by, expires: time(expires) };
        records.enrolments.insert(hash, Arc::new(enrolment));
    }
    let rows: Vec<(String, i64, String, String)> =
        sqlx::query_as("SELECT subject, at, author, reason FROM revocations").fetch_all(&mut *conn).await?;
    for (subject, at, by, reason) in rows {
        let wrong = || StoreError::Body { kind: "revocation", detail: format!("of `{subject}`") };
        let subject = Subject::parse(&subject).ok_or_else(wrong)?;
        records.revocations.insert(subject.clone(), Revocation { subject, at: time(at), by, reason });
    }
    // Those of whom was revoked before that ended tokens.
    for token in records.tokens.values_mut().filter(|token| token.revoked.is_none()) {
        let owner = token.owner.clone().map(Subject::Person);
        let revoked = owner.and_then(|owner| records.revocations.get(&owner)).map(|revocation| revocation.at);
        if let Some(at) = revoked.filter(|at| token.created <= *at) {
            Arc::make_mut(token).revoked = Some(at);
        }
    }
    people::load(conn, &mut records).await?;
    Ok(records)
}

fn token(row: TokenRow) -> Result<Token, StoreError> {
    let (hash, token_name, role, beginning, created, created_by, owner, expires, revoked, addresses) = row;
    let wrong = |detail: String| StoreError::Body { kind: "token", detail };
    let prefixes = addresses.split_whitespace().map(str::parse::<IpNet>).collect::<Result<Vec<_>, _>>();
    let is_of_a_token = created_by.starts_with(Caller::TOKEN);
    let owner = match owner.as_str() {
        "" if is_of_a_token => None,
        // From before owners were written down: a person made it.
        "" => created_by.parse().ok(),
        owner => Some(name("token", owner)?),
    };
    Ok(Token {
        hash: read_hash("token", &hash)?,
        name: name("token", &token_name)?,
        role: role.parse::<Role>().map_err(|error| wrong(error.to_string()))?,
        beginning,
        created: time(created),
        created_by,
        owner,
        expires: time(expires),
        revoked: revoked.map(time),
        addresses: prefixes.map_err(|error| wrong(error.to_string()))?,
    })
}

fn read_hash(kind: &'static str, bytes: &[u8]) -> Result<Hash, StoreError> {
    let detail = || format!("its hash has {} bytes", bytes.len());
    Hash::from_bytes(bytes).ok_or_else(|| StoreError::Body { kind, detail: detail() })
}

/// Makes a change.
///
/// # Errors
/// Where the database fails.
pub async fn change(conn: &mut Connection, change: &Change, now: Timestamp) -> Result<Taken, StoreError> {
    let taken = make(conn, change, now).await?;
    if let (Taken::Done, Some((name, at))) = (taken, change.ends_person()) {
        end_tokens(conn, name, at).await?;
    }
    Ok(taken)
}

async fn make(conn: &mut Connection, change: &Change, now: Timestamp) -> Result<Taken, StoreError> {
    match change {
        Change::TokenMade(token) => make_token(conn, token, now).await,
        Change::TokenRevoked { hash, at } => {
            let done = sqlx::query("UPDATE api_tokens SET revoked = $1 WHERE hash = $2 AND revoked IS NULL")
                .bind(nanos(*at))
                .bind(hash.as_bytes())
                .execute(&mut *conn)
                .await?;
            Ok(if done.rows_affected() == 0 { Taken::Gone } else { Taken::Done })
        }
        Change::PersonAdded(person) => people::add(conn, person).await,
        Change::PersonReset { name, invitation: (hash, until), invited_by, .. } => {
            people::reset(conn, name, (hash, *until), invited_by).await
        }
        Change::PersonRemoved { name, .. } => people::remove(conn, name).await,
        Change::PersonSetUp(set_up) => people::set_up(conn, set_up).await,
        Change::LoggedIn(logged) => people::log_in(conn, logged).await,
        Change::SessionEnded(hash) | Change::LoggedOut(hash) => people::end(conn, hash).await,
        Change::SessionsSeen(seen) => people::see(conn, seen).await,
        Change::EnrolmentMade(enrolment) => {
            forget_enrolments(conn, enrolment.node.as_str(), now).await?;
            sqlx::query(
                "INSERT INTO enrolments (hash, node, created, created_by, expires) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(enrolment.hash.as_bytes())
            .bind(enrolment.node.as_str())
            .bind(nanos(enrolment.created))
            .bind(&enrolment.created_by)
            .bind(nanos(enrolment.expires))
            .execute(&mut *conn)
            .await?;
            Ok(Taken::Done)
        }
        Change::EnrolmentUsed { hash, at } => {
            // Of two that come at once with one token, one finds it unused.
            let done = sqlx::query(
                "UPDATE enrolments SET used = $1 WHERE hash = $2 AND used IS NULL AND expires > $1",
            )
            .bind(nanos(*at))
            .bind(hash.as_bytes())
            .execute(&mut *conn)
            .await?;
            Ok(if done.rows_affected() == 0 { Taken::Gone } else { Taken::Done })
        }
        Change::Revoked(revocation) => {
            if let Subject::Node(node) = &revocation.subject {
                forget_enrolments(conn, node.as_str(), now).await?;
            }
            sqlx::query(
                "INSERT INTO revocations (subject, at, author, reason) VALUES ($1, $2, $3, $4) ON CONFLICT (subject) \
                 DO UPDATE SET at = excluded.at, author = excluded.author, reason = excluded.reason",
            )
            .bind(revocation.subject.to_string())
            .bind(nanos(revocation.at))
            .bind(&revocation.by)
            .bind(&revocation.reason)
            .execute(&mut *conn)
            .await?;
            Ok(Taken::Done)
        }
    }
}

/// A node enrols by the last token that was made for it; those of before go, and what is old of all nodes.
async fn forget_enrolments(conn: &mut Connection, node: &str, now: Timestamp) -> Result<(), StoreError> {
    let old = Timestamp::from_nanos(now.as_nanos().saturating_sub(REMEMBERED_SECS * 1_000_000_000));
    sqlx::query("DELETE FROM enrolments WHERE (node = $1 AND used IS NULL) OR expires < $2")
        .bind(node)
        .bind(nanos(old))
        .execute(&mut *conn)
        .await?;
    Ok(())
}

/// Ends the tokens that stand for somebody.
async fn end_tokens(conn: &mut Connection, whose: &Name, at: Timestamp) -> Result<(), StoreError> {
    // Before owners were written down, who made a token was, and was nobody's else unless a token did.
    sqlx::query(
        "UPDATE api_tokens SET revoked = $1 WHERE revoked IS NULL AND (owner = $2 OR (owner = '' AND created_by = $2))",
    )
    .bind(nanos(at))
    .bind(whose.as_str())
    .execute(&mut *conn)
    .await?;
    Ok(())
}

async fn make_token(conn: &mut Connection, token: &Token, now: Timestamp) -> Result<Taken, StoreError> {
    let old = Timestamp::from_nanos(now.as_nanos().saturating_sub(REMEMBERED_SECS * 1_000_000_000));
    sqlx::query("DELETE FROM api_tokens WHERE expires < $1 OR revoked < $1")
        .bind(nanos(old))
        .execute(&mut *conn)
        .await?;
    let good: Vec<(String,)> =
        sqlx::query_as("SELECT name FROM api_tokens WHERE revoked IS NULL AND expires > $1")
            .bind(nanos(now))
            .fetch_all(&mut *conn)
            .await?;
    if good.iter().any(|(name,)| name == token.name.as_str()) {
        return Ok(Taken::Exists);
    }
    if i64::try_from(good.len()).unwrap_or(i64::MAX) >= MAX_TOKENS {
        return Ok(Taken::Full);
    }
    if let Some(owner) = &token.owner {
        // Whoever makes it may have been revoked after they were let in.
        let revoked: Option<(i64,)> =
            sqlx::query_as("SELECT at FROM revocations WHERE subject = $1 AND at >= $2")
                .bind(Subject::Person(owner.clone()).to_string())
                .bind(nanos(token.created))
                .fetch_optional(&mut *conn)
                .await?;
        if revoked.is_some() {
            return Ok(Taken::Gone);
        }
    }
    let addresses: Vec<String> = token.addresses.iter().map(ToString::to_string).collect();
    sqlx::query(
        "INSERT INTO api_tokens (hash, name, role, beginning, created, created_by, expires, revoked, addresses, owner) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(token.hash.as_bytes())
    .bind(token.name.as_str())
    .bind(token.role.as_str())
    .bind(&token.beginning)
    .bind(nanos(token.created))
    .bind(&token.created_by)
    .bind(nanos(token.expires))
    .bind(token.revoked.map(nanos))
    .bind(addresses.join(" "))
    .bind(token.owner.as_ref().map(Name::as_str).unwrap_or_default())
    .execute(&mut *conn)
    .await?;
    Ok(Taken::Done)
}
