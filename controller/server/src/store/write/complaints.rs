//! Complaints of people outside: taken once, matched to a tenant and to what was seen of it, and filed in a case. They never act by themselves.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::language::Grace;
use reeve_policy::{Name, OrderId, TenantId, Timestamp, Violation};
use reeve_reports::{Complaint, Kind, is_answered};
use ring::digest::{SHA256, digest};
use sqlx::Row as _;

use super::super::cases::EntryKind;
use super::super::complaints::{ComplaintRow, ComplaintState, marked, one};
use super::super::holders::{self, Holder};
use super::super::row::{Body, count, name, nanos};
use super::super::{Connection, StoreError};
use super::acknowledge::{AnswerTo, acknowledge};
use super::cases::{enter, file, put};
use super::orders::{remember, repeated};
use super::{Effects, OrderTaken, Requested, settle};
use crate::settings::Complaints as Settings;

/// So far apart clocks may be, and what a node calls the end of something from what others saw of it.
const SLACK: Duration = Duration::from_secs(3_600);
/// Where a report says no time, it is about what happened within this time before it came.
const LATELY: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The newest violations that are looked at.
const LOOKED_AT: i64 = 200;
/// So many that wait for a person are kept. More are not taken until somebody has looked.
const MOST_WAITING: i64 = 10_000;
/// And of a form so many: whoever fills in one after the other keeps out no mail.
const MOST_OF_FORM: i64 = 1_000;
/// What a form came by.
pub const BY_FORM: &str = "form";
/// So many complaints are entered in one case. More are filed and listed all the same: whoever sends them by the thousand is not to bury
/// what people write there.
const MOST_TOLD: i64 = 100;
/// Of a message that cannot be read no more is kept, in bytes.
pub const KEPT: usize = 64 << 10;
/// So often what differs from what was dismissed under its mark is looked for.
const MOST_DISMISSED: usize = 8;

/// One complaint of a message.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// What copies of it have in common.
    pub mark: String,
    /// What was read, or why nothing could be, and what came, as far as it is kept.
    pub read: Result<Box<Complaint>, (String, Vec<u8>)>,
}

/// A message that holds complaints.
#[derive(Clone, Debug)]
pub struct Submission {
    /// By which way it came.
    pub via: String,
    /// What is in it.
    pub complaints: Vec<Incoming>,
    /// By which clauses and times they are dealt with.
    pub settings: Settings,
    /// Whom to tell that it is here, if anybody.
    pub answer: Option<AnswerTo>,
    /// How many of it may wait for a person, each by itself; those above are passed over.
    pub may_wait: usize,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmissionTaken {
    /// Its complaints, also those that were known.
    Done(Vec<ComplaintRow>),
    /// Too many wait for a person.
    Full,
}

/// Whose matter a complaint is.
#[derive(Clone, Debug)]
pub struct SettleAsked {
    /// Its number.
    pub number: u64,
    /// Whose; nobody's.
    pub tenant: Option<TenantId>,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub by: String,
    /// By which clauses and times it is dealt with.
    pub settings: Settings,
}

/// What became of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettleTaken {
    /// It is so.
    Done(Box<ComplaintRow>),
    /// There is no such complaint.
    Unknown,
    /// There is no such tenant.
    NoTenant,
    /// It is another tenant's, and in a case.
    Filed(TenantId),
    /// The key of the request stands for another one.
    KeyInUse,
}

/// Whose matter something is, or why that is not known.
type Owner = Result<(TenantId, String), String>;

/// Where a complaint is filed.
struct Filed {
    tenant: TenantId,
    case: Name,
    violation: Option<Name>,
}

/// Takes a message.
///
/// # Errors
/// Where the database fails.
pub async fn submit(
    conn: &mut Connection,
    submission: &Submission,
    effects: &mut Effects,
) -> Result<SubmissionTaken, StoreError> {
    // What nodes told in this transaction may be what a complaint is about.
    settle(conn, effects).await?;
    let (waiting,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM complaints WHERE state IN ('unmatched', 'unreadable')")
            .fetch_one(&mut *conn)
            .await?;
    let mut room = MOST_WAITING - waiting;
    if submission.via == BY_FORM {
        room = room.min(MOST_OF_FORM - waiting_of_form(conn).await?);
    }
    let (mut answer, mut may_wait) = (submission.answer.as_ref(), submission.may_wait);
    let mut rows = Vec::with_capacity(submission.complaints.len());
    for incoming in &submission.complaints {
        let (mark, known) = known(conn, incoming).await?;
        if let Some(mut known) = known {
            known.times += 1;
            sqlx::query("UPDATE complaints SET times = $1 WHERE number = $2")
                .bind(count(known.times))
                .bind(count(known.number))
                .execute(&mut *conn)
                .await?;
            rows.push(known);
            continue;
        }
        let owner = match &incoming.read {
            Ok(complaint) => Some(owner(conn, complaint, effects).await?),
            Err(_) => None,
        };
        if !matches!(owner, Some(Ok(_))) {
            if may_wait == 0 {
                continue;
            }
            may_wait -= 1;
            if room <= 0 {
                // What was taken before it is known when it comes again.
                return Ok(SubmissionTaken::Full);
            }
            room -= 1;
        }
        let row = take(conn, submission, (incoming, &mark), owner, effects).await?;
        // Of several in a message the first that may be: who sent them sent one message.
        if let (Some(to), Ok(complaint)) = (answer, &incoming.read)
            && is_answered(complaint)
        {
            acknowledge(conn, count(row.number), to, effects).await?;
            answer = None;
        }
        rows.push(row);
    }
    Ok(SubmissionTaken::Done(rows))
}

/// The one that a complaint is a copy of, if it is one, and the mark by which it is known. What was dismissed says nothing of what is not the
/// same but for its mark: whoever forges one in somebody's name is not to have what that one says passed over.
async fn known(
    conn: &mut Connection,
    incoming: &Incoming,
) -> Result<(String, Option<ComplaintRow>), StoreError> {
    let mut mark = incoming.mark.clone();
    let mut found = marked(conn, &mark).await?;
    let Ok(complaint) = &incoming.read else { return Ok((mark, found)) };
    for _ in 0..MOST_DISMISSED {
        let Some(row) = found.as_ref().filter(|row| row.state == ComplaintState::Dismissed) else { break };
        let (body,): (String,) = sqlx::query_as("SELECT body FROM complaints WHERE number = $1")
            .bind(count(row.number))
            .fetch_one(&mut *conn)
            .await?;
        let is_same = serde_json::from_str::<Complaint>(&body).is_ok_and(|before| before == **complaint);
        if is_same {
            return Ok((mark, found));
        }
        mark = format!("{} behind {}", incoming.mark, row.number);
        found = marked(conn, &mark).await?;
    }
    if found.as_ref().is_some_and(|row| row.state == ComplaintState::Dismissed) {
        // So many were forged: it is known by all that it says.
        let body = serde_json::to_string(complaint).unwrap_or_default();
        let all = data_encoding::HEXLOWER.encode(digest(&SHA256, body.as_bytes()).as_ref());
        mark = format!("{} {all}", incoming.mark);
        found = marked(conn, &mark).await?;
    }
    Ok((mark, found))
}

/// How many wait that anybody filled in.
async fn waiting_of_form(conn: &mut Connection) -> Result<i64, StoreError> {
    let (waiting,): (i64,) = sqlx::query_as(
        "SELECT count(*) FROM complaints WHERE state IN ('unmatched', 'unreadable') AND via = $1",
    )
    .bind(BY_FORM)
    .fetch_one(conn)
    .await?;
    Ok(waiting)
}

async fn take(
    conn: &mut Connection,
    submission: &Submission,
    (incoming, mark): (&Incoming, &str),
    owner: Option<Owner>,
    effects: &mut Effects,
) -> Result<ComplaintRow, StoreError> {
    let complaint = incoming.read.as_ref().ok();
    let filed = match (&complaint, &owner) {
        (Some(complaint), Some(Ok((tenant, _)))) => {
            let received = effects.now;
            Some(place(conn, complaint, tenant, (&submission.settings, received), effects).await?)
        }
        _ => None,
    };
    // It runs from when it came, whoever finds out whose matter it is.
    let deadline = match complaint {
        Some(complaint) => deadline(conn, complaint, (&submission.settings, effects.now), effects).await?,
        None => None,
    };
    let (state, detail) = match (&incoming.read, owner) {
        (Err((why, _)), _) => (ComplaintState::Unreadable, why.clone()),
        (Ok(_), Some(Err(why))) => (ComplaintState::Unmatched, why),
        (Ok(_), Some(Ok((_, remark)))) => (ComplaintState::Filed, remark),
        (Ok(_), None) => (ComplaintState::Filed, String::new()),
    };
    let message = incoming.read.as_ref().err().map(|(_, message)| {
        let kept = message.len().min(KEPT);
        message[..kept].to_vec()
    });
    let body = complaint.map(serde_json::to_string).transpose();
    let body = body
        .map_err(|error| StoreError::Body { kind: "complaint", detail: error.to_string() })?
        .unwrap_or_default();
    let text = |text: Option<String>| text.unwrap_or_default();
    let source = complaint.and_then(|complaint| complaint.source);
    let row = sqlx::query(
        "INSERT INTO complaints (mark, state, received, updated, times, via, format, kind, source, seen, reporter, tenant, \
         case_id, violation, detail, deadline, body, message) VALUES \
         ($1, $2, $3, $3, 1, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) RETURNING number",
    )
    .bind(mark)
    .bind(state.name())
    .bind(nanos(effects.now))
    .bind(submission.via.as_str())
    .bind(text(complaint.map(|complaint| complaint.format.name().to_owned())))
    .bind(text(complaint.map(|complaint| complaint.kind.name().to_owned())))
    .bind(text(source.map(shown)))
    .bind(complaint.and_then(|complaint| complaint.seen_at).map(nanos))
    .bind(text(complaint.map(|complaint| reporter(complaint))))
    .bind(filed.as_ref().map(|filed| filed.tenant.as_str().to_owned()))
    .bind(filed.as_ref().map(|filed| filed.case.to_string()))
    .bind(filed.as_ref().and_then(|filed| filed.violation.as_ref()).map(ToString::to_string))
    .bind(detail)
    .bind(deadline.map(nanos))
    .bind(body)
    .bind(message)
    .fetch_one(&mut *conn)
    .await?;
    let number: i64 = row.try_get("number")?;
    if let (Some(filed), Some(complaint)) = (&filed, complaint) {
        tell_case(conn, number, Some(complaint), &filed.case, effects).await?;
    }
    let row = one(conn, number).await?;
    row.ok_or_else(|| StoreError::Body { kind: "complaint", detail: "it is gone".to_owned() })
}

/// Whose matter a complaint is: whose the address that it names was at its time, if it was one tenant's; and what is to be said of that where it is
/// another's now.
async fn owner(conn: &mut Connection, complaint: &Complaint, effects: &Effects) -> Result<Owner, StoreError> {
    let people = &effects.desk.people;
    let named: Vec<_> = complaint.source.iter().chain(&complaint.others).collect();
    if named.is_empty() {
        let why = "no address is named; whose hosts or URLs these are a person has to find out";
        return Ok(Err(why.to_owned()));
    }
    let is_anybodys = named.iter().any(|source| people.by_address(source.network()).is_some());
    let mut owners: BTreeMap<TenantId, Option<Timestamp>> = BTreeMap::new();
    for source in named {
        // Of a network both ends are to be one tenant's.
        let first = then(conn, source.network(), complaint.seen_at, effects).await?;
        let last = match source.network() == source.broadcast() {
            true => first.clone(),
            false => then(conn, source.broadcast(), complaint.seen_at, effects).await?,
        };
        if let (Holder::Tenant(owner, until), Holder::Tenant(other, _)) = (first, last)
            && owner == other
        {
            let known = owners.entry(owner).or_default();
            *known = until.max(*known);
        }
    }
    Ok(match (owners.len(), owners.into_iter().next()) {
        (1, Some((owner, None))) => Ok((owner, String::new())),
        (1, Some((owner, Some(until)))) if people.by_id(&owner).is_none() => {
            Err(format!("the address was {owner}'s until {until}, who is no tenant any more"))
        }
        (1, Some((owner, Some(until)))) => {
            Ok((owner, format!("the address was this tenant's until {until}")))
        }
        (0, _) if is_anybodys => Err("the address was no one tenant's at that time".to_owned()),
        (0, _) => Err("the address is no tenant's".to_owned()),
        _ => Err("addresses of several tenants are named".to_owned()),
    })
}

/// Whose an address was at a time, or is where none is told.
async fn then(
    conn: &mut Connection,
    address: IpAddr,
    time: Option<Timestamp>,
    effects: &Effects,
) -> Result<Holder, StoreError> {
    holders::at(conn, &effects.desk.people, address, time.unwrap_or(effects.now)).await
}

/// Who complains.
fn reporter(complaint: &Complaint) -> String {
    let reporter = &complaint.reporter;
    let names = [&reporter.org, &reporter.email, &reporter.domain];
    names.into_iter().find(|name| !name.is_empty()).cloned().unwrap_or_default()
}

/// A network of one address as an address.
fn shown(source: ipnet::IpNet) -> String {
    if source.prefix_len() == source.max_prefix_len() {
        source.addr().to_string()
    } else {
        source.to_string()
    }
}

/// The case of a complaint: of what was seen of it, or one of its own kind.
async fn place(
    conn: &mut Connection,
    complaint: &Complaint,
    tenant: &TenantId,
    (settings, received): (&Settings, Timestamp),
    effects: &mut Effects,
) -> Result<Filed, StoreError> {
    let seen = evidence(conn, complaint, tenant, received).await?;
    let clause = match (&complaint.takedown, &seen) {
        (Some(_), _) => settings.takedown_clause.clone(),
        (None, Some(violation)) => violation.clause.clone(),
        (None, None) => clause_of(complaint.kind),
    };
    let case = file(conn, tenant, &clause, effects).await?;
    // It is there before anything is written about it.
    settle(conn, effects).await?;
    let violation = seen.map(|violation| violation.id.as_name().clone());
    Ok(Filed { tenant: tenant.clone(), case, violation })
}

/// Until when one that came at `received` is to be answered: by the calendar of the policy in force, where it asks for something to be taken down.
async fn deadline(
    conn: &mut Connection,
    complaint: &Complaint,
    (settings, received): (&Settings, Timestamp),
    effects: &Effects,
) -> Result<Option<Timestamp>, StoreError> {
    let Some(takedown) = &complaint.takedown else { return Ok(None) };
    let policy = effects.desk.policies.clone().latest(conn, None).await?;
    let limit: Grace = if takedown.is_urgent { settings.urgent } else { settings.takedown };
    Ok(Some(limit.end(received, &policy.calendar)))
}

/// The clause of complaints that nothing was seen of.
fn clause_of(kind: Kind) -> String {
    format!("complaint/{}", kind.name().replace('_', "-"))
}

/// What nodes saw of what is complained about: of its classes the violation that is nearest to its time, or the newest.
async fn evidence(
    conn: &mut Connection,
    complaint: &Complaint,
    tenant: &TenantId,
    received: Timestamp,
) -> Result<Option<Violation>, StoreError> {
    let classes = complaint.kind.classes();
    if classes.is_empty() {
        return Ok(None);
    }
    let (since, until) = match complaint.seen_at {
        Some(at) => (at.minus(SLACK), at + SLACK),
        None => (received.minus(LATELY), received),
    };
    let rows: Vec<(Vec<u8>,)> = sqlx::query_as(
        "SELECT body FROM violations WHERE tenant = $1 AND opened <= $2 AND last_seen >= $3 ORDER BY id DESC LIMIT $4",
    )
    .bind(tenant.as_str())
    .bind(nanos(until))
    .bind(nanos(since))
    .bind(LOOKED_AT)
    .fetch_all(conn)
    .await?;
    // How far it is from the time, in nanoseconds: it may have begun after, or be over before.
    let distance = |violation: &Violation| {
        let at = complaint.seen_at.map_or(0, Timestamp::as_nanos);
        let (from, to) = (violation.opened.as_nanos(), violation.last_seen.as_nanos());
        if complaint.seen_at.is_some() { from.saturating_sub(at) + at.saturating_sub(to) } else { 0 }
    };
    let mut nearest: Option<Violation> = None;
    for (body,) in &rows {
        let violation = Violation::decode(body)?;
        let is_nearer = nearest.as_ref().is_none_or(|nearest| distance(&violation) < distance(nearest));
        if classes.contains(&violation.evidence.class) && is_nearer {
            nearest = Some(violation);
        }
    }
    Ok(nearest)
}

/// Enters a complaint in the case that it was filed in; one that could not be read without a word of it.
async fn tell_case(
    conn: &mut Connection,
    number: i64,
    complaint: Option<&Complaint>,
    case: &Name,
    effects: &Effects,
) -> Result<(), StoreError> {
    let Some(mut row) = super::super::cases::one(conn, case.as_str()).await? else { return Ok(()) };
    row.updated = effects.now;
    let (told,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM case_entries WHERE case_id = $1 AND kind = 'complaint'")
            .bind(case.as_str())
            .fetch_one(&mut *conn)
            .await?;
    let text = match complaint {
        _ if told + 1 == MOST_TOLD => {
            format!(
                "complaint {number}, and more that are not entered here: they are in the list of complaints"
            )
        }
        Some(complaint) => {
            let about =
                complaint.source.map(|source| format!(" about {}", shown(source))).unwrap_or_default();
            format!("complaint {number}: {}{about} ({})", complaint.kind.name(), complaint.format.name())
        }
        None => format!("complaint {number}, which could not be read"),
    };
    let author = complaint.map(reporter).unwrap_or_default();
    if told < MOST_TOLD {
        enter(conn, &row, (EntryKind::Complaint, &author, &text)).await?;
    }
    put(conn, &row).await
}

/// Says whose matter a complaint is.
///
/// # Errors
/// Where the database fails.
pub async fn settle_complaint(
    conn: &mut Connection,
    requested: &Requested,
    asked: &SettleAsked,
    effects: &mut Effects,
) -> Result<SettleTaken, StoreError> {
    let number = count(asked.number);
    let is_repeated = match repeated(conn, requested).await? {
        None => false,
        Some(OrderTaken::Ordered { .. }) => true,
        Some(_) => return Ok(SettleTaken::KeyInUse),
    };
    let Some(row) = one(conn, number).await? else { return Ok(SettleTaken::Unknown) };
    if is_repeated {
        return Ok(SettleTaken::Done(Box::new(row)));
    }
    match &asked.tenant {
        None => dismiss(conn, &row, asked, effects).await?,
        Some(tenant) => {
            if let Some(other) = row.tenant.as_ref().filter(|other| row.case.is_some() && *other != tenant) {
                return Ok(SettleTaken::Filed(other.clone()));
            }
            if effects.desk.people.by_id(tenant).is_none() {
                return Ok(SettleTaken::NoTenant);
            }
            // One that was dismissed by mistake comes back.
            if row.case.is_none() || row.state == ComplaintState::Dismissed {
                assign(conn, &row, tenant, asked, effects).await?;
            }
        }
    }
    let id: Name = name("complaint", &format!("complaint-{number}"))?;
    remember(conn, requested, &OrderId(id), None, effects.now).await?;
    let row = one(conn, number).await?;
    Ok(row.map_or(SettleTaken::Unknown, |row| SettleTaken::Done(Box::new(row))))
}

/// Nobody has anything to do about it any more. A case that it was filed in is told why.
async fn dismiss(
    conn: &mut Connection,
    row: &ComplaintRow,
    asked: &SettleAsked,
    effects: &Effects,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE complaints SET state = 'dismissed', updated = $1, detail = $2, deadline = NULL, message = NULL \
         WHERE number = $3",
    )
    .bind(nanos(effects.now))
    .bind(asked.reason.as_str())
    .bind(count(row.number))
    .execute(&mut *conn)
    .await?;
    let Some(id) = row.case.as_ref().filter(|_| row.state != ComplaintState::Dismissed) else {
        return Ok(());
    };
    let Some(mut case) = super::super::cases::one(conn, id.as_str()).await? else { return Ok(()) };
    case.updated = effects.now;
    let text = format!("complaint {} is dismissed: {}", row.number, asked.reason);
    enter(conn, &case, (EntryKind::Complaint, &asked.by, &text)).await?;
    put(conn, &case).await
}

/// Files it as a matter of this tenant.
async fn assign(
    conn: &mut Connection,
    row: &ComplaintRow,
    tenant: &TenantId,
    asked: &SettleAsked,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let number = count(row.number);
    let (body,): (String,) = sqlx::query_as("SELECT body FROM complaints WHERE number = $1")
        .bind(number)
        .fetch_one(&mut *conn)
        .await?;
    // Nothing is kept of what could not be read.
    let complaint: Option<Complaint> = (!body.is_empty())
        .then(|| serde_json::from_str(&body))
        .transpose()
        .map_err(|error| StoreError::Body { kind: "complaint", detail: error.to_string() })?;
    settle(conn, effects).await?;
    let filed = match &complaint {
        Some(complaint) => place(conn, complaint, tenant, (&asked.settings, row.received), effects).await?,
        None => {
            let case = file(conn, tenant, &clause_of(Kind::Other), effects).await?;
            settle(conn, effects).await?;
            Filed { tenant: tenant.clone(), case, violation: None }
        }
    };
    let deadline = match &complaint {
        Some(complaint) => deadline(conn, complaint, (&asked.settings, row.received), effects).await?,
        None => None,
    };
    sqlx::query(
        "UPDATE complaints SET state = 'filed', updated = $1, tenant = $2, case_id = $3, violation = $4, \
         detail = $5, deadline = $6 WHERE number = $7",
    )
    .bind(nanos(effects.now))
    .bind(tenant.as_str())
    .bind(filed.case.as_str())
    .bind(filed.violation.as_ref().map(Name::as_str))
    .bind(asked.reason.as_str())
    .bind(deadline.map(nanos))
    .bind(number)
    .execute(&mut *conn)
    .await?;
    tell_case(conn, number, complaint.as_ref(), &filed.case, effects).await
}
