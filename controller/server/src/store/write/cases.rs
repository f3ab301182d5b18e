//! Cases: opened by what happens, moved by people, and by the controller where a deadline is over or nothing goes on any more.

use std::time::Duration;

use reeve_policy::language::Grace;
use reeve_policy::{Name, OrderId, TenantId, Timestamp};

use super::super::cases::{CaseRow, CaseState, EntryKind, goes_on, one};
use super::super::query::Select;
use super::super::row::nanos;
use super::super::seals::Sight;
use super::super::{Connection, StoreError};
use super::orders::{remember, repeated};
use super::{Effects, OrderTaken, Requested};
use crate::clock;

/// The most that whoever was told says in one case.
const MAX_SAID: i64 = 100;
/// The most entries of one case.
const MAX_ENTRIES: i64 = 10_000;
/// How many cases are looked at in one transaction.
const BATCH: i64 = 200;
/// Notes alone are counted: a case that is full of them can still be moved.
const NOTES: &str = "note";

/// What is to be done about a case.
#[derive(Clone, Debug)]
pub enum CaseAct {
    /// Something is written down.
    Note(String),
    /// It is moved: where to, until when, and why; whether it is closed although something goes on.
    Move(CaseState, Option<Grace>, String, bool),
    /// It is kept past its time, and why; `None`: no longer.
    Hold(Option<String>),
    /// Nobody but administrators knows of it, and why.
    Seal(String),
    /// Whoever may see cases sees it again, and why.
    Unseal(String),
    /// Whoever was told says something.
    Said(EntryKind, String),
}

/// Something to be done about a case.
#[derive(Clone, Debug)]
pub struct CaseAsked {
    /// Which.
    pub id: Name,
    /// Who.
    pub by: String,
    /// Whether they know of what is sealed.
    pub sight: Sight,
    /// What.
    pub act: CaseAct,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseTaken {
    /// It is so, now or when it was asked for before.
    Done(Box<CaseRow>),
    /// There is no such case.
    Unknown,
    /// The key of the request stands for another one.
    KeyInUse,
    /// So many of its violations are open, and so many of its measures stand.
    GoesOn(u64, u64),
    /// This one of the same tenant and clause is not closed; `None`: one that the asker does not know of.
    Beside(Option<Name>),
    /// It is sealed: it is not closed while a measure stands.
    Sealed,
    /// It has as many entries as one may have.
    Full,
    /// It is closed, and nobody says why it is opened again.
    NoReason,
}

/// A case that is opened, as it is written.
#[derive(Clone, Debug)]
pub(super) struct NewCase {
    pub id: Name,
    pub tenant: TenantId,
    pub clause: String,
}

/// The case of a tenant and a clause that is not closed: the one that there is, to which something is added, or a new one.
pub(super) async fn file(
    conn: &mut Connection,
    tenant: &TenantId,
    clause: &str,
    effects: &mut Effects,
) -> Result<Name, StoreError> {
    if let Some(id) = effects.seen.case(conn, tenant, clause).await? {
        effects.seen.unwritten.news.insert(id.clone());
        return Ok(id);
    }
    let drawn = || clock::short_key_of('C', effects.now);
    let is_taken = |id: &Name| effects.seen.unwritten.cases.iter().any(|case| case.id == *id);
    // Of those that are opened in one transaction none is another's.
    let id = std::iter::repeat_with(drawn).find(|id| !is_taken(id)).expect("chance does not run out");
    effects.seen.put_case(NewCase { id: id.clone(), tenant: tenant.clone(), clause: clause.to_owned() });
    Ok(id)
}

/// Whether the customer has said as much of a case as is kept.
///
/// # Errors
/// Where the database fails.
pub(super) async fn is_said_enough(conn: &mut Connection, id: &str) -> Result<bool, StoreError> {
    let (said,): (i64,) = sqlx::query_as(
        "SELECT count(*) FROM case_entries WHERE case_id = $1 AND kind IN ('statement', 'claim')",
    )
    .bind(id)
    .fetch_one(conn)
    .await?;
    Ok(said >= MAX_SAID)
}

/// Does something about a case.
///
/// # Errors
/// Where the database fails.
pub async fn act_on_case(
    conn: &mut Connection,
    requested: &Requested,
    asked: &CaseAsked,
    effects: &mut Effects,
) -> Result<CaseTaken, StoreError> {
    let id = asked.id.as_str();
    let is_repeated = match repeated(conn, requested).await? {
        None => false,
        Some(OrderTaken::Ordered { id, .. }) if id.0 == asked.id => true,
        Some(_) => return Ok(CaseTaken::KeyInUse),
    };
    let known = one(conn, id).await?.filter(|row| asked.sight == Sight::Whole || row.sealed.is_none());
    let Some(mut row) = known else { return Ok(CaseTaken::Unknown) };
    if is_repeated {
        return Ok(CaseTaken::Done(Box::new(row)));
    }
    let entry = match &asked.act {
        CaseAct::Note(text) => Some((EntryKind::Note, text.as_str())),
        CaseAct::Move(to, _, reason, _)
            if row.state == CaseState::Closed && *to != CaseState::Closed && reason.is_empty() =>
        {
            return Ok(CaseTaken::NoReason);
        }
        CaseAct::Move(to, time_limit, reason, is_forced) => {
            match moved(conn, &mut row, (*to, asked.sight), (*time_limit, *is_forced), effects).await? {
                Some(refused) => return Ok(refused),
                None => Some((EntryKind::Move, reason.as_str())),
            }
        }
        CaseAct::Said(kind, text) => {
            if is_said_enough(conn, id).await? {
                return Ok(CaseTaken::Full);
            }
            // Somebody is to read it.
            if *kind == EntryKind::Statement && beside(conn, &row).await?.is_none() {
                (row.state, row.deadline, row.closed) = (CaseState::Open, None, None);
            }
            Some((*kind, text.as_str()))
        }
        CaseAct::Hold(Some(_)) if row.held.is_some() => None,
        CaseAct::Hold(Some(reason)) => {
            row.held = Some((asked.by.clone(), reason.clone(), effects.now));
            Some((EntryKind::Hold, reason.as_str()))
        }
        CaseAct::Hold(None) => row.held.take().map(|_| (EntryKind::HoldEnd, "")),
        CaseAct::Seal(_) if row.sealed.is_some() => None,
        CaseAct::Seal(reason) => {
            row.sealed = Some((asked.by.clone(), reason.clone(), effects.now));
            withhold(conn, id).await?;
            Some((EntryKind::Seal, reason.as_str()))
        }
        CaseAct::Unseal(reason) => row.sealed.take().map(|_| (EntryKind::SealEnd, reason.as_str())),
    };
    if let Some((kind, text)) = entry {
        row.updated = effects.now;
        if row.sealed.is_some() || kind == EntryKind::SealEnd {
            // What is sealed of a tenant is kept where it stands.
            effects.touched.insert(row.tenant.clone());
            effects.sealed = None;
        }
        if !enter(conn, &row, (kind, &asked.by, text)).await? {
            return Ok(CaseTaken::Full);
        }
        put(conn, &row).await?;
    }
    remember(conn, requested, &OrderId(asked.id.clone()), None, effects.now).await?;
    Ok(CaseTaken::Done(Box::new(row)))
}

/// Moves a case; why not, if it cannot be.
async fn moved(
    conn: &mut Connection,
    row: &mut CaseRow,
    (to, sight): (CaseState, Sight),
    (time_limit, is_forced): (Option<Grace>, bool),
    effects: &mut Effects,
) -> Result<Option<CaseTaken>, StoreError> {
    if to == CaseState::Closed && row.state != CaseState::Closed && (!is_forced || row.sealed.is_some()) {
        let (open, stand) = goes_on(conn, row.id.as_str(), effects.now).await?;
        // What stands of one that is closed would be told again.
        if is_forced && stand > 0 {
            return Ok(Some(CaseTaken::Sealed));
        }
        if !is_forced && open + stand > 0 {
            return Ok(Some(CaseTaken::GoesOn(open, stand)));
        }
    }
    if row.state == CaseState::Closed
        && to != CaseState::Closed
        && let Some(beside) = beside(conn, row).await?
    {
        let is_known = sight == Sight::Whole || beside.sealed.is_none();
        return Ok(Some(CaseTaken::Beside(is_known.then_some(beside.id))));
    }
    row.deadline = match time_limit {
        Some(limit) => {
            let policy = effects.desk.policies.clone().latest(conn, None).await?;
            Some(limit.end(effects.now, &policy.calendar))
        }
        None => None,
    };
    row.state = to;
    row.closed = (to == CaseState::Closed).then(|| row.closed.unwrap_or(effects.now));
    Ok(None)
}

/// Another case of the same tenant and clause that is not closed.
async fn beside(conn: &mut Connection, row: &CaseRow) -> Result<Option<CaseRow>, StoreError> {
    let beside: Option<(String,)> = sqlx::query_as(
        "SELECT id FROM cases WHERE tenant = $1 AND clause = $2 AND state <> 'closed' AND id <> $3",
    )
    .bind(row.tenant.as_str())
    .bind(row.clause.as_str())
    .bind(row.id.as_str())
    .fetch_optional(&mut *conn)
    .await?;
    match beside {
        Some((beside,)) => one(conn, &beside).await,
        None => Ok(None),
    }
}

/// What was to be sent about a case is not sent any more. What is on its way at this moment arrives.
async fn withhold(conn: &mut Connection, id: &str) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM deliveries WHERE state = 'pending' AND notice IN (\
         SELECT n.number FROM violations v JOIN notices n ON n.violation = v.id WHERE v.case_id = $1 \
         UNION SELECT n.number FROM decisions d JOIN notices n ON n.decision = d.id WHERE d.case_id = $1)",
    )
    .bind(id)
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes an entry, at the time that the case says; whether there was room.
pub(super) async fn enter(
    conn: &mut Connection,
    row: &CaseRow,
    (kind, author, text): (EntryKind, &str, &str),
) -> Result<bool, StoreError> {
    let is_move = kind == EntryKind::Move;
    let done = sqlx::query(
        "INSERT INTO case_entries (case_id, number, at, kind, author, text, state, deadline) \
         SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4, $5, $6, $7 FROM case_entries WHERE case_id = $1 \
         HAVING coalesce(max(number), 0) < $8 OR $3 <> $9",
    )
    .bind(row.id.as_str())
    .bind(nanos(row.updated))
    .bind(kind.name())
    .bind(author)
    .bind(text)
    .bind(is_move.then(|| row.state.name()))
    .bind(row.deadline.filter(|_| is_move).map(nanos))
    .bind(MAX_ENTRIES)
    .bind(NOTES)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

pub(super) async fn put(conn: &mut Connection, row: &CaseRow) -> Result<(), StoreError> {
    let (held, sealed) = (row.held.as_ref(), row.sealed.as_ref());
    sqlx::query(
        "UPDATE cases SET state = $1, updated = $2, deadline = $3, closed = $4, held_by = $5, held_reason = $6, \
         held_since = $7, sealed_by = $8, sealed_reason = $9, sealed_since = $10 WHERE id = $11",
    )
    .bind(row.state.name())
    .bind(nanos(row.updated))
    .bind(row.deadline.map(nanos))
    .bind(row.closed.map(nanos))
    .bind(held.map(|(by, ..)| by.as_str()))
    .bind(held.map(|(_, reason, _)| reason.as_str()))
    .bind(held.map(|(.., since)| nanos(*since)))
    .bind(sealed.map(|(by, ..)| by.as_str()))
    .bind(sealed.map(|(_, reason, _)| reason.as_str()))
    .bind(sealed.map(|(.., since)| nanos(*since)))
    .bind(row.id.as_str())
    .execute(conn)
    .await?;
    Ok(())
}

/// Cases whose deadline is over are open again; how many it was.
///
/// # Errors
/// Where the database fails.
pub async fn end_waiting(conn: &mut Connection, effects: &mut Effects) -> Result<u64, StoreError> {
    let overdue: Vec<(String,)> = sqlx::query_as(
        "SELECT id FROM cases WHERE state = 'waiting' AND deadline <= $1 ORDER BY deadline LIMIT $2",
    )
    .bind(nanos(effects.now))
    .bind(BATCH)
    .fetch_all(&mut *conn)
    .await?;
    let mut moved = 0;
    for (id,) in overdue {
        moved += tend(conn, &id, CaseState::Open, "the deadline is over", effects.now).await?;
    }
    Ok(moved)
}

/// Which case was looked at last: when it was added to, and its key.
pub type Place = (i64, String);

/// Cases of which nothing goes on, and to which nothing was added for `quiet`, are closed, some at a time. How many it were, and behind which
/// the next are, if there are any. One that somebody holds or has sealed stays: what comes yet is to be held, or sealed, too.
///
/// # Errors
/// Where the database fails.
pub async fn close_quiet(
    conn: &mut Connection,
    quiet: Duration,
    behind: &Place,
    effects: &mut Effects,
) -> Result<(u64, Option<Place>), StoreError> {
    let since = nanos(effects.now.minus(quiet));
    let still: Vec<(i64, String)> = sqlx::query_as(
        "SELECT updated, id FROM cases WHERE state = 'open' AND updated < $1 AND (updated, id) > ($2, $3) \
         AND held_by IS NULL AND sealed_since IS NULL ORDER BY updated, id LIMIT $4",
    )
    .bind(since)
    .bind(behind.0)
    .bind(behind.1.as_str())
    .bind(BATCH)
    .fetch_all(&mut *conn)
    .await?;
    let next = still.last().cloned().filter(|_| i64::try_from(still.len()).is_ok_and(|count| count >= BATCH));
    let mut query = Select::new("SELECT c.id FROM cases c WHERE c.id IN ");
    query.push_list(still.iter().map(|(_, id)| id.as_str()));
    query.push(" AND NOT EXISTS (SELECT 1 FROM violations v WHERE v.case_id = c.id AND (v.state = 'open' OR v.last_seen >= ");
    query.push_bind(since).push(" OR v.closed >= ").push_bind(since);
    query.push(")) AND NOT EXISTS (SELECT 1 FROM violations v JOIN decisions d ON d.violation = v.id ");
    query.push(
        "JOIN measures m ON m.decision = d.id WHERE v.case_id = c.id AND (m.lifted IS NULL OR m.lifted >= ",
    );
    query.push_bind(since);
    query.push(")) AND NOT EXISTS (SELECT 1 FROM decisions d JOIN measures m ON m.decision = d.id ");
    query.push("WHERE d.case_id = c.id AND (m.lifted IS NULL OR m.lifted >= ").push_bind(since);
    query.push(")) AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.case_id = c.id AND d.released IS NULL ");
    query.push("AND (d.expires IS NULL OR d.expires > ").push_bind(nanos(effects.now));
    query.push(")) AND NOT EXISTS (SELECT 1 FROM complaints p WHERE p.case_id = c.id AND (p.deadline > ");
    query.push_bind(nanos(effects.now)).push(" OR p.updated >= ").push_bind(since).push("))");
    let over: Vec<(String,)> =
        if still.is_empty() { Vec::new() } else { query.fetch_all(&mut *conn).await? };
    let mut moved = 0;
    for (id,) in over {
        moved += tend(conn, &id, CaseState::Closed, "nothing of it has gone on for some time", effects.now)
            .await?;
    }
    Ok((moved, next))
}

async fn tend(
    conn: &mut Connection,
    id: &str,
    to: CaseState,
    why: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let Some(mut row) = one(conn, id).await? else { return Ok(0) };
    (row.state, row.deadline, row.updated) = (to, None, now);
    row.closed = (to == CaseState::Closed).then_some(now);
    enter(conn, &row, (EntryKind::Move, "", why)).await?;
    put(conn, &row).await?;
    Ok(1)
}
