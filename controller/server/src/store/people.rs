//! Accounts of people and their sessions, on disk.

use std::sync::Arc;

use ipnet::IpNet;
use reeve_policy::{Name, Timestamp};

use super::row::{count, name, nanos, time, uncount};
use super::{Connection, StoreError};
use crate::auth::{
    Factors, Hash, LoggedIn, Password, Person, Records, Role, Second, Session, SetUp, Taken, with_network,
};

/// The most accounts.
const MAX_PEOPLE: i64 = 1_000;
/// The most sessions of one account at a time.
const MAX_SESSIONS: i64 = 100;

type PersonRow =
    (String, String, String, i64, String, String, Option<Vec<u8>>, i64, Vec<u8>, Vec<u8>, i64, String);
type SessionRow = (Vec<u8>, String, String, String, i64, i64, i64, String);

/// Accounts and sessions.
///
/// # Errors
/// Where the database fails, or holds what cannot be read.
pub async fn load(conn: &mut Connection, records: &mut Records) -> Result<(), StoreError> {
    let rows: Vec<PersonRow> = sqlx::query_as(
        "SELECT name, role, addresses, created, created_by, invited_by, invitation, invited_until, password, secret, last_step, \
         networks FROM people",
    )
    .fetch_all(&mut *conn)
    .await?;
    let codes: Vec<(String, i64)> =
        sqlx::query_as("SELECT person, count(*) FROM recovery_codes GROUP BY person")
            .fetch_all(&mut *conn)
            .await?;
    for row in rows {
        let mut person = person(row)?;
        let left = codes.iter().find(|(whose, _)| whose == person.name.as_str()).map_or(0, |(_, left)| *left);
        person.recovery_codes = u32::try_from(left).unwrap_or(u32::MAX);
        records.people.insert(person.name.clone(), Arc::new(person));
    }
    let rows: Vec<SessionRow> =
        sqlx::query_as("SELECT hash, id, person, role, created, expires, seen, address FROM sessions")
            .fetch_all(&mut *conn)
            .await?;
    for (hash, id, person, role, created, expires, seen, address) in rows {
        let hash = Hash::from_bytes(&hash).ok_or_else(|| wrong("a session's hash".to_owned()))?;
        let role: Role =
            role.parse().map_err(|error: crate::auth::ParseRoleError| wrong(error.to_string()))?;
        let person = name("session", &person)?;
        let (created, expires, seen) = (time(created), time(expires), time(seen));
        records.sessions.insert(hash, Session::new(hash, id, person, role, created, expires, address, seen));
    }
    Ok(())
}

fn wrong(detail: String) -> StoreError {
    StoreError::Body { kind: "account", detail }
}

fn prefixes(text: &str) -> Result<Vec<IpNet>, StoreError> {
    let all = text.split_whitespace().map(str::parse::<IpNet>).collect::<Result<Vec<_>, _>>();
    all.map_err(|error| wrong(error.to_string()))
}

fn joined(prefixes: &[IpNet]) -> String {
    prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn line(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(" ")
}

fn person(row: PersonRow) -> Result<Person, StoreError> {
    let (
        text,
        role,
        addresses,
        created,
        created_by,
        invited_by,
        invitation,
        until,
        password,
        secret,
        step,
        networks,
    ) = row;
    let invitation = invitation
        .map(|hash| Hash::from_bytes(&hash).ok_or_else(|| wrong("an invitation's hash".to_owned())))
        .transpose()?;
    let factors = match password.as_slice() {
        [] => None,
        kept => {
            let password = Password::from_bytes(kept).ok_or_else(|| wrong("a password's hash".to_owned()))?;
            Some(Factors { password, secret, last_step: uncount(step) })
        }
    };
    Ok(Person {
        name: name("account", &text)?,
        role: role.parse().map_err(|error: crate::auth::ParseRoleError| wrong(error.to_string()))?,
        addresses: prefixes(&addresses)?,
        created: time(created),
        created_by,
        invited_by: invited_by
            .split_whitespace()
            .map(|inviter| name("account", inviter))
            .collect::<Result<_, _>>()?,
        invitation: invitation.map(|hash| (hash, time(until))),
        factors,
        networks: prefixes(&networks)?,
        recovery_codes: 0,
    })
}

/// Adds an account.
///
/// # Errors
/// Where the database fails.
pub async fn add(conn: &mut Connection, person: &Person) -> Result<Taken, StoreError> {
    let (all,): (i64,) = sqlx::query_as("SELECT count(*) FROM people").fetch_one(&mut *conn).await?;
    if all >= MAX_PEOPLE {
        return Ok(Taken::Full);
    }
    let invitation = person.invitation.as_ref();
    let done = sqlx::query(
        "INSERT INTO people (name, role, addresses, created, created_by, invited_by, invitation, invited_until, password, \
         secret, last_step, networks) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, 0, '') ON CONFLICT (name) DO NOTHING",
    )
    .bind(person.name.as_str())
    .bind(person.role.as_str())
    .bind(joined(&person.addresses))
    .bind(nanos(person.created))
    .bind(&person.created_by)
    .bind(line(&person.invited_by))
    .bind(invitation.map(|(hash, _)| hash.as_bytes().to_vec()))
    .bind(invitation.map_or(0, |(_, until)| nanos(*until)))
    .bind(Vec::<u8>::new())
    .execute(&mut *conn)
    .await?;
    Ok(if done.rows_affected() == 0 { Taken::Exists } else { Taken::Done })
}

/// Takes all from an account but its name, and invites its holder anew.
///
/// # Errors
/// Where the database fails.
pub async fn reset(
    conn: &mut Connection,
    whose: &Name,
    (invitation, until): (&Hash, Timestamp),
    invited_by: &[Name],
) -> Result<Taken, StoreError> {
    forget(conn, whose).await?;
    let done = sqlx::query(
        "UPDATE people SET invitation = $1, invited_until = $2, invited_by = $3, password = $4, secret = $4, networks = '' \
         WHERE name = $5",
    )
    .bind(invitation.as_bytes())
    .bind(nanos(until))
    .bind(line(invited_by))
    .bind(Vec::<u8>::new())
    .bind(whose.as_str())
    .execute(&mut *conn)
    .await?;
    Ok(if done.rows_affected() == 0 { Taken::Gone } else { Taken::Done })
}

/// Removes an account.
///
/// # Errors
/// Where the database fails.
pub async fn remove(conn: &mut Connection, whose: &Name) -> Result<Taken, StoreError> {
    forget(conn, whose).await?;
    let done =
        sqlx::query("DELETE FROM people WHERE name = $1").bind(whose.as_str()).execute(&mut *conn).await?;
    Ok(if done.rows_affected() == 0 { Taken::Gone } else { Taken::Done })
}

async fn forget(conn: &mut Connection, whose: &Name) -> Result<(), StoreError> {
    for statement in
        ["DELETE FROM sessions WHERE person = $1", "DELETE FROM recovery_codes WHERE person = $1"]
    {
        sqlx::query(statement).bind(whose.as_str()).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Sets an account up, if its invitation still waits.
///
/// # Errors
/// Where the database fails.
pub async fn set_up(conn: &mut Connection, set_up: &SetUp) -> Result<Taken, StoreError> {
    let factors = &set_up.factors;
    // Of two that come at once with one invitation, one finds it gone.
    let done = sqlx::query(
        "UPDATE people SET invitation = NULL, password = $1, secret = $2, last_step = $3 \
         WHERE name = $4 AND invitation = $5 AND invited_until > $6",
    )
    .bind(factors.password.as_bytes())
    .bind(factors.secret.as_slice())
    .bind(count(factors.last_step))
    .bind(set_up.name.as_str())
    .bind(set_up.invitation.as_bytes())
    .bind(nanos(set_up.at))
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(Taken::Gone);
    }
    forget(conn, &set_up.name).await?;
    for hash in &set_up.recovery {
        sqlx::query("INSERT INTO recovery_codes (person, hash) VALUES ($1, $2)")
            .bind(set_up.name.as_str())
            .bind(hash.as_bytes())
            .execute(&mut *conn)
            .await?;
    }
    Ok(Taken::Done)
}

/// Begins a session, if the second factor was not used before.
///
/// # Errors
/// Where the database fails.
pub async fn log_in(conn: &mut Connection, logged: &LoggedIn) -> Result<Taken, StoreError> {
    let session = &logged.session;
    let (whose, now) = (session.person.as_str(), nanos(session.created));
    sqlx::query("DELETE FROM sessions WHERE expires <= $1").bind(now).execute(&mut *conn).await?;
    let (open,): (i64,) = sqlx::query_as("SELECT count(*) FROM sessions WHERE person = $1")
        .bind(whose)
        .fetch_one(&mut *conn)
        .await?;
    if open >= MAX_SESSIONS {
        return Ok(Taken::Full);
    }
    let known: Option<(String,)> =
        sqlx::query_as("SELECT networks FROM people WHERE name = $1 AND password = $2")
            .bind(whose)
            .bind(logged.password.as_bytes())
            .fetch_optional(&mut *conn)
            .await?;
    let Some((known,)) = known else { return Ok(Taken::Gone) };
    let networks = joined(&with_network(&prefixes(&known)?, logged.network));
    // A code is good once, at whichever controller.
    let step = match logged.second {
        Second::Code(step) => count(step),
        Second::Recovery(hash) => {
            let used = sqlx::query("DELETE FROM recovery_codes WHERE person = $1 AND hash = $2")
                .bind(whose)
                .bind(hash.as_bytes())
                .execute(&mut *conn)
                .await?;
            if used.rows_affected() == 0 {
                return Ok(Taken::Gone);
            }
            0
        }
    };
    let used = sqlx::query(
        "UPDATE people SET networks = $1, last_step = CASE WHEN $2 = 0 THEN last_step ELSE $2 END \
         WHERE name = $3 AND ($2 = 0 OR last_step < $2)",
    )
    .bind(networks)
    .bind(step)
    .bind(whose)
    .execute(&mut *conn)
    .await?;
    if used.rows_affected() == 0 {
        return Ok(Taken::Gone);
    }
    sqlx::query(
        "INSERT INTO sessions (hash, id, person, role, created, expires, seen, address) \
         VALUES ($1, $2, $3, $4, $5, $6, $5, $7)",
    )
    .bind(session.hash.as_bytes())
    .bind(&session.id)
    .bind(whose)
    .bind(session.role.as_str())
    .bind(now)
    .bind(nanos(session.expires))
    .bind(&session.address)
    .execute(&mut *conn)
    .await?;
    Ok(Taken::Done)
}

/// Ends a session.
///
/// # Errors
/// Where the database fails.
pub async fn end(conn: &mut Connection, hash: &Hash) -> Result<Taken, StoreError> {
    let done =
        sqlx::query("DELETE FROM sessions WHERE hash = $1").bind(hash.as_bytes()).execute(&mut *conn).await?;
    Ok(if done.rows_affected() == 0 { Taken::Gone } else { Taken::Done })
}

/// Notes when sessions were used last.
///
/// # Errors
/// Where the database fails.
pub async fn see(conn: &mut Connection, seen: &[(Hash, Timestamp)]) -> Result<Taken, StoreError> {
    for (hash, at) in seen {
        sqlx::query("UPDATE sessions SET seen = $1 WHERE hash = $2 AND seen < $1")
            .bind(nanos(*at))
            .bind(hash.as_bytes())
            .execute(&mut *conn)
            .await?;
    }
    Ok(Taken::Done)
}
