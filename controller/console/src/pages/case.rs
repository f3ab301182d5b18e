//! A case: what happened, in the order of time, who was told what and how it got there, and what can be done about it.
//!
//! The story is put together from what the controller tells of a case, the newest 500 of each list; the page shows its newest part, and all of it where that is
//! asked for.

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use prost_types::Timestamp as WireTime;
use reeve_proto::operator::v1::{
    AddCaseNoteRequest, Case as WireCase, CaseEntry, CaseEntryKind, CaseState, Delivery, ExportCaseRequest,
    GetCaseRequest, GetCaseResponse, HoldCaseRequest, ListDeliveriesRequest, MeasureRecord, MoveCaseRequest,
    NoticeEntry, SealCaseRequest,
};
use reeve_proto::types::v1::{Decision, Violation};
use serde::Deserialize;
use tokio_stream::StreamExt as _;

use super::cases::is_late;
use super::outbox;
use super::tenant::reeve_now;
use crate::App;
use crate::error::Error;
use crate::forms::Signed;
use crate::page::{self, Base, address};
use crate::session::Session;
use crate::shown::{self, Badge, Filter};

/// So much of the story is shown at first.
const NEWEST: usize = 60;
/// So many deliveries are asked for; a notice goes to few places.
const DELIVERIES: i32 = 1_000;

/// Where it is.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/cases/{id}", get(show))
        .route("/cases/{id}/note", post(note))
        .route("/cases/{id}/move", post(shift))
        .route("/cases/{id}/hold", post(hold))
        .route("/cases/{id}/seal", post(seal))
        .route("/cases/{id}/case.tar", get(export))
}

/// One thing in the story.
struct Told {
    at: Option<WireTime>,
    /// What kind of thing, the key of its word.
    what: &'static str,
    /// Who; empty where nobody did.
    by: String,
    text: String,
    /// Where more is said; empty for nowhere.
    href: String,
    /// How grave it is.
    tone: &'static str,
    /// How it got to those who were told.
    sent: Vec<Sent>,
}

/// How a notice got to one place.
struct Sent {
    number: u64,
    target: String,
    badge: Badge,
    detail: String,
    is_dead: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    all: String,
}

#[derive(Template)]
#[template(path = "case.html")]
struct Case {
    base: Base,
    case: WireCase,
    badge: Badge,
    is_late: bool,
    story: Vec<Told>,
    /// How much of it is not shown.
    left_out: usize,
    violations: usize,
    /// Where measures stand.
    standing: usize,
    open_violations: usize,
    key: String,
}

impl Case {
    fn at(&self, act: &str) -> String {
        address("/cases", &[&self.case.id, act], &[])
    }

    fn whole(&self) -> String {
        address("/cases", &[&self.case.id], &[("all", "1")])
    }

    fn is_open(&self) -> bool {
        self.case.state() == CaseState::Open
    }

    fn is_closed(&self) -> bool {
        self.case.state() == CaseState::Closed
    }
}

async fn show(
    session: Session,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Error> {
    let answer = session.api().cases().get_case(GetCaseRequest { id }).await?.into_inner();
    let deliveries = match deliveries_of(&answer) {
        None => Vec::new(),
        Some(request) => session.api().operator().list_deliveries(request).await?.into_inner().deliveries,
    };
    let base = session.base("cases");
    let case = answer.case.clone().unwrap_or_default();
    let mut story = story(&base, &answer, &deliveries);
    // The newest first: it is what somebody on call has not read yet.
    story.reverse();
    let left_out = if asked.all.is_empty() { story.len().saturating_sub(NEWEST) } else { 0 };
    story.truncate(story.len() - left_out);
    let page = Case {
        badge: shown::case(case.state()),
        is_late: is_late(case.deadline.as_ref(), reeve_now()),
        violations: answer.violations.len(),
        standing: answer.measures.iter().filter(|one| one.lift_time.is_none()).count(),
        open_violations: answer.violations.iter().filter(|one| one.close_time.is_none()).count(),
        key: shown::fresh_key(),
        base,
        case,
        story,
        left_out,
    };
    Ok(page::html(&page))
}

/// The deliveries of all its notices in one question: those about the tenant between the first number and the last.
fn deliveries_of(answer: &GetCaseResponse) -> Option<ListDeliveriesRequest> {
    let numbers = || answer.notices.iter().map(|one| one.number);
    let (first, last) = (numbers().min()?, numbers().max()?);
    let mut filter = Filter::default();
    filter.text("tenant", &answer.case.as_ref()?.tenant);
    filter.also(format_args!("notice >= {first} AND notice <= {last}"));
    Some(ListDeliveriesRequest {
        page_size: DELIVERIES,
        filter: filter.written(),
        ..ListDeliveriesRequest::default()
    })
}

/// All of it, oldest first.
fn story(base: &Base, answer: &GetCaseResponse, deliveries: &[Delivery]) -> Vec<Told> {
    let mut all: Vec<Told> = Vec::new();
    let case = answer.case.as_ref().map_or("", |case| case.id.as_str());
    all.extend(answer.entries.iter().map(|entry| of_entry(base, entry, case)));
    for violation in &answer.violations {
        all.push(of_violation(base, violation, "case.violation", violation.open_time));
        if violation.close_time.is_some() {
            all.push(of_violation(base, violation, "case.violation_over", violation.close_time));
        }
    }
    all.extend(answer.decisions.iter().map(|decision| of_decision(base, decision)));
    for measure in &answer.measures {
        all.push(of_measure(answer, measure, "case.stands", measure.standing_time));
        if measure.lift_time.is_some() {
            all.push(of_measure(answer, measure, "case.lifted", measure.lift_time));
        }
    }
    all.extend(answer.notices.iter().map(|entry| of_notice(base, entry, deliveries)));
    all.sort_by_key(|one| one.at.map_or((0, 0), |at| (at.seconds, at.nanos)));
    all
}

fn of_entry(base: &Base, entry: &CaseEntry, case: &str) -> Told {
    let (what, tone) = match entry.kind() {
        CaseEntryKind::Unspecified => ("shown.unknown", ""),
        CaseEntryKind::Note => ("case.note", ""),
        CaseEntryKind::Move => ("case.moved", "note"),
        CaseEntryKind::Hold => ("case.hold", "note"),
        CaseEntryKind::HoldEnd => ("case.hold_end", "note"),
        CaseEntryKind::Statement => ("case.statement", "warn"),
        CaseEntryKind::Claim => ("case.claim", "warn"),
        CaseEntryKind::Complaint => ("case.complaint", "warn"),
        CaseEntryKind::Seal => ("case.seal", "bad"),
        CaseEntryKind::SealEnd => ("case.seal_end", "note"),
    };
    let mut text = entry.text.clone();
    if entry.state() != CaseState::Unspecified {
        let to = base.t(shown::case(entry.state()).key);
        let until = base.plain_time(&entry.deadline);
        let moved = if until.is_empty() { to.to_owned() } else { base.fill("case.until", &[&to, &until]) };
        text = if text.is_empty() { moved } else { format!("{moved}: {text}") };
    }
    let by =
        if entry.author.is_empty() { base.t("case.controller").to_owned() } else { entry.author.clone() };
    let href = match entry.kind() {
        CaseEntryKind::Complaint => address("/complaints", &[], &[("case", case)]),
        _ => String::new(),
    };
    Told { at: entry.time, what, by, text, href, tone, sent: Vec::new() }
}

fn of_violation(base: &Base, violation: &Violation, what: &'static str, at: Option<WireTime>) -> Told {
    let class = violation.evidence.as_ref().map_or("", |alert| &alert.class);
    Told {
        at,
        what,
        by: violation.node.clone(),
        text: shown::class(base, class),
        href: address("/violations", &[&violation.id], &[]),
        tone: if what == "case.violation" { "bad" } else { "good" },
        sent: Vec::new(),
    }
}

fn of_decision(base: &Base, decision: &Decision) -> Told {
    let decided = shown::decided(base, decision);
    let until = if decided.until.is_empty() { String::new() } else { format!(", {}", decided.until) };
    let observed =
        if decided.is_observed { format!(" ({})", base.t("violation.observed")) } else { String::new() };
    Told {
        at: decided.time,
        what: "case.decided",
        by: decided.by,
        text: format!("{}{until}{observed}: {}", decided.what, decided.reason),
        href: match decided.violation.as_str() {
            "" => String::new(),
            violation => address("/violations", &[violation], &[]),
        },
        tone: "note",
        sent: Vec::new(),
    }
}

fn of_measure(
    answer: &GetCaseResponse,
    measure: &MeasureRecord,
    what: &'static str,
    at: Option<WireTime>,
) -> Told {
    let decision = answer.decisions.iter().find(|one| one.id == measure.decision);
    let text = decision.map(|one| shown::scope(one.scope.as_ref())).unwrap_or_default();
    Told {
        at,
        what,
        by: measure.node.clone(),
        text,
        href: address("/nodes", &[&measure.node], &[]),
        tone: if what == "case.stands" { "bad" } else { "good" },
        sent: Vec::new(),
    }
}

fn of_notice(base: &Base, entry: &NoticeEntry, deliveries: &[Delivery]) -> Told {
    let notice = entry.notice.clone().unwrap_or_default();
    let sent = deliveries.iter().filter(|one| one.notice == entry.number).map(|one| Sent {
        number: one.number,
        target: if one.target.is_empty() {
            base.t(outbox::channel(one.channel())).to_owned()
        } else {
            one.target.clone()
        },
        badge: outbox::state(one.state()),
        detail: one.detail.clone(),
        is_dead: outbox::is_dead(one),
    });
    Told {
        at: entry.made_time.or(notice.time),
        what: shown::notice(notice.kind()),
        by: notice.recipient,
        text: notice.subject,
        href: address("/outbox", &[], &[("notice", &entry.number.to_string())]),
        tone: "",
        sent: sent.collect(),
    }
}

/// A form about a case. What an act has no field for is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Act {
    text: String,
    reason: String,
    to: String,
    limit: String,
    force: String,
    end: String,
    key: String,
}

async fn note(session: Session, Path(id): Path<String>, Signed(act): Signed<Act>) -> Result<Response, Error> {
    let back = address("/cases", &[&id], &[]);
    // Browsers end lines with both signs.
    let text = act.text.replace("\r\n", "\n");
    let request = AddCaseNoteRequest { id, text, idempotency_key: act.key };
    let came = session.api().cases().add_case_note(request).await;
    session.done(came, &back, "case.noted")
}

async fn shift(
    session: Session,
    Path(id): Path<String>,
    Signed(act): Signed<Act>,
) -> Result<Response, Error> {
    let back = address("/cases", &[&id], &[]);
    let (state, time_limit) = match act.to.as_str() {
        "waiting" => (CaseState::Waiting, act.limit.trim().to_owned()),
        "open" => (CaseState::Open, String::new()),
        "closed" => (CaseState::Closed, String::new()),
        other => return Err(Error::Form(format!("to: {other}"))),
    };
    let request = MoveCaseRequest {
        id,
        state: state.into(),
        time_limit,
        reason: act.reason,
        idempotency_key: act.key,
        force: state == CaseState::Closed && !act.force.is_empty(),
    };
    let came = session.api().cases().move_case(request).await;
    session.done(came, &back, "case.is_moved")
}

async fn hold(session: Session, Path(id): Path<String>, Signed(act): Signed<Act>) -> Result<Response, Error> {
    let back = address("/cases", &[&id], &[]);
    let end = !act.end.is_empty();
    let came = session.api().cases().hold_case(HoldCaseRequest { id, reason: act.reason, end }).await;
    session.done(came, &back, if end { "case.is_let_go" } else { "case.is_held" })
}

async fn seal(session: Session, Path(id): Path<String>, Signed(act): Signed<Act>) -> Result<Response, Error> {
    let back = address("/cases", &[&id], &[]);
    let end = !act.end.is_empty();
    let came = session.api().cases().seal_case(SealCaseRequest { id, reason: act.reason, end }).await;
    session.done(came, &back, if end { "case.is_unsealed" } else { "case.is_sealed" })
}

/// The file that can be given away, as it comes.
async fn export(session: Session, Path(id): Path<String>) -> Result<Response, Error> {
    let name: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
    let chunks = session.api().cases().export_case(ExportCaseRequest { id }).await?.into_inner();
    // What fails in the middle breaks the download off, so that nobody takes a part for the whole.
    let body = Body::from_stream(chunks.map(|chunk| chunk.map(|part| part.chunk)));
    let headers = [
        (header::CONTENT_TYPE, "application/x-tar".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"reeve-case-{name}.tar\"")),
    ];
    Ok((headers, body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_asked_for_in_one_question() {
        let notice = |number| NoticeEntry { number, ..NoticeEntry::default() };
        let case = WireCase { tenant: "a".into(), ..WireCase::default() };
        let mut answer = GetCaseResponse { case: Some(case), ..GetCaseResponse::default() };
        assert!(deliveries_of(&answer).is_none());
        answer.notices = vec![notice(9), notice(4), notice(7)];
        let request = deliveries_of(&answer).unwrap();
        assert_eq!(request.filter, "tenant = \"a\" AND notice >= 4 AND notice <= 9");
    }
}
