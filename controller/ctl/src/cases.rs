//! Cases: calls, and their answers shown.

use std::io::Read as _;

use reeve_policy::{Decision, Name, Origin};
use reeve_proto::operator::v1::{
    AddCaseNoteRequest, Case, CaseEntry, CaseEntryKind, CaseState, GetCaseRequest, GetCaseResponse,
    HoldCaseRequest, ListCasesRequest, MoveCaseRequest, SealCaseRequest,
};
use serde_json::{Value, json};

use crate::args::{CaseFilter, CasesCommand};
use crate::client::CallError;
use crate::commands::Call;
use crate::json::{self, at, own};
use crate::show::{cells, facts, table, when};

const NONE: CallError = CallError::Answer("it holds no case");
/// So many are asked for at once.
const PAGE: i32 = 500;
/// The longest note that is read, and one more byte, which is too long.
const MAX_NOTE: u64 = 10_001;

impl Call {
    pub(crate) async fn cases(
        &self,
        filter: CaseFilter,
        command: Option<CasesCommand>,
    ) -> Result<(), CallError> {
        let (id, state, time_limit, reason, (key, force)) = match command {
            None => return self.list_cases(filter).await,
            Some(CasesCommand::List { filter }) => return self.list_cases(filter).await,
            Some(CasesCommand::Show { id }) => {
                let request = self.request(GetCaseRequest { id: id.to_string() });
                let answer = self.controller.cases().get_case(request).await?.into_inner();
                let case = answer.case.clone().ok_or(NONE)?;
                return self.tell(|| story_json(&case, &answer), || story(&case, &answer));
            }
            Some(CasesCommand::Note { id, text, repeat }) => {
                let text = if text == "-" { read_note()? } else { text };
                let idempotency_key = repeat.request_key;
                let request = AddCaseNoteRequest { id: id.to_string(), text, idempotency_key };
                let answer = self.controller.cases().add_case_note(self.request(request)).await?.into_inner();
                return self.told(answer.case, "has another note");
            }
            Some(CasesCommand::Hold { id, reason, end }) => {
                let request = HoldCaseRequest { id: id.to_string(), reason, end };
                let answer = self.controller.cases().hold_case(self.request(request)).await?.into_inner();
                return self.told(answer.case, if end { "is kept no longer" } else { "is kept" });
            }
            Some(CasesCommand::Seal { id, reason }) => return self.seal_case(&id, reason, false).await,
            Some(CasesCommand::Unseal { id, reason }) => return self.seal_case(&id, reason, true).await,
            Some(CasesCommand::Export { id, output }) => return self.export_case(&id, &output).await,
            // It asks nobody.
            Some(CasesCommand::Verify { .. }) => return Ok(()),
            Some(CasesCommand::Wait { id, time_limit, reason, repeat }) => {
                (id, CaseState::Waiting, time_limit, reason, (repeat.request_key, false))
            }
            Some(CasesCommand::Open { id, reason, repeat }) => {
                (id, CaseState::Open, String::new(), reason, (repeat.request_key, false))
            }
            Some(CasesCommand::Close { id, reason, force, repeat }) => {
                (id, CaseState::Closed, String::new(), reason, (repeat.request_key, force))
            }
        };
        let request = MoveCaseRequest {
            id: id.to_string(),
            state: state.into(),
            time_limit,
            reason,
            idempotency_key: key,
            force,
        };
        let answer = self.controller.cases().move_case(self.request(request)).await?.into_inner();
        self.told(answer.case, "is moved")
    }

    async fn seal_case(&self, id: &Name, reason: String, end: bool) -> Result<(), CallError> {
        let request = SealCaseRequest { id: id.to_string(), reason, end };
        let answer = self.controller.cases().seal_case(self.request(request)).await?.into_inner();
        self.told(answer.case, if end { "is sealed no longer" } else { "is sealed" })
    }

    async fn list_cases(&self, filter: CaseFilter) -> Result<(), CallError> {
        let (mut found, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListCasesRequest {
                page_size: PAGE,
                page_token,
                tenant: filter.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
                include_closed: filter.all,
                filter: filter.narrow.filter.clone(),
                order_by: filter.narrow.order_by.clone(),
                query: filter.search.clone(),
            };
            let page = self.controller.cases().list_cases(self.request(request)).await?.into_inner();
            found.extend(page.cases);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let json = || json!({ "cases": found.iter().map(case_json).collect::<Vec<_>>() });
        self.tell(json, || list(&found, filter.all))
    }

    fn told(&self, case: Option<Case>, what: &str) -> Result<(), CallError> {
        let case = case.ok_or(NONE)?;
        let text = || {
            let until = case.deadline.map_or_else(String::new, |at| format!(" until {}", when(Some(at))));
            format!("case {} of {} {what}: {}{until}", case.id, case.tenant, state_word(case.state()))
        };
        self.tell(|| case_json(&case), text)
    }
}

fn read_note() -> Result<String, CallError> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(MAX_NOTE).read_to_end(&mut bytes)?;
    // One that is too long may be cut inside of a letter, and is refused for its length.
    String::from_utf8(bytes).or_else(|error| match error.utf8_error().error_len() {
        None => Ok(String::from_utf8_lossy(error.as_bytes()).into_owned()),
        Some(_) => Err(CallError::Typed("the note is not UTF-8")),
    })
}

const fn state_word(state: CaseState) -> &'static str {
    match state {
        CaseState::Unspecified => "unknown",
        CaseState::Open => "open",
        CaseState::Waiting => "waiting",
        CaseState::Closed => "closed",
    }
}

const fn kind_word(kind: CaseEntryKind) -> &'static str {
    match kind {
        CaseEntryKind::Unspecified => "unknown",
        CaseEntryKind::Note => "note",
        CaseEntryKind::Move => "move",
        CaseEntryKind::Hold => "hold",
        CaseEntryKind::HoldEnd => "hold_end",
        CaseEntryKind::Statement => "statement",
        CaseEntryKind::Claim => "claim",
        CaseEntryKind::Complaint => "complaint",
        CaseEntryKind::Seal => "seal",
        CaseEntryKind::SealEnd => "seal_end",
    }
}

fn case_json(case: &Case) -> Value {
    json!({
        "id": case.id,
        "tenant": case.tenant,
        "tenant_name": case.tenant_name,
        "clause": case.clause,
        "state": state_word(case.state()),
        "open_time": at(case.open_time),
        "update_time": at(case.update_time),
        "deadline": at(case.deadline),
        "close_time": at(case.close_time),
        "hold": case.hold.as_ref().map(|hold| {
            json!({ "operator": hold.operator, "reason": hold.reason, "since": at(hold.since_time) })
        }),
        "seal": case.seal.as_ref().map(|seal| {
            json!({ "operator": seal.operator, "reason": seal.reason, "since": at(seal.since_time) })
        }),
    })
}

fn entry_json(entry: &CaseEntry) -> Value {
    let is_moved = entry.state() != CaseState::Unspecified;
    json!({
        "number": entry.number,
        "time": at(entry.time),
        "kind": kind_word(entry.kind()),
        "author": entry.author,
        "text": entry.text,
        "state": is_moved.then(|| state_word(entry.state())),
        "deadline": at(entry.deadline),
    })
}

fn story_json(case: &Case, answer: &GetCaseResponse) -> Value {
    let decisions = answer.decisions.iter().map(|one| own(Decision::try_from(one.clone()).ok()));
    let measures = answer.measures.iter().map(|one| {
        json!({
            "node": one.node,
            "decision": one.decision,
            "since": at(one.standing_time),
            "until": at(one.expire_time),
            "lift_time": at(one.lift_time),
            "lift_reason": one.lift_reason,
        })
    });
    let mut value = case_json(case);
    value["entries"] = answer.entries.iter().map(entry_json).collect();
    value["violations"] = json::violations(&answer.violations)["violations"].clone();
    value["decisions"] = decisions.collect();
    value["measures"] = measures.collect();
    value["notices"] = json::notices(&answer.notices)["notices"].clone();
    value
}

fn list(cases: &[Case], all: bool) -> String {
    if cases.is_empty() {
        return if all { "no case was found" } else { "no case was found that is not closed" }.to_owned();
    }
    let mut rows = vec![cells([
        "CASE",
        "TENANT",
        "CLAUSE",
        "STATE",
        "UNTIL",
        "OPENED",
        "CHANGED",
        "HELD BY",
        "SEALED BY",
    ])];
    rows.extend(cases.iter().map(|case| {
        vec![
            case.id.clone(),
            case.tenant.clone(),
            case.clause.clone(),
            state_word(case.state()).to_owned(),
            when(case.deadline),
            when(case.open_time),
            when(case.update_time),
            case.hold.as_ref().map(|hold| hold.operator.clone()).unwrap_or_default(),
            case.seal.as_ref().map(|seal| seal.operator.clone()).unwrap_or_default(),
        ]
    }));
    table(&rows)
}

/// A point of a case's story: when it was, to be ordered by and to be shown, who did it, and what.
type Point = ((i64, i32), String, String, String);

fn point(time: Option<prost_types::Timestamp>, who: &str, what: String) -> Point {
    let order = time.map_or((0, 0), |time| (time.seconds, time.nanos));
    (order, when(time), who.to_owned(), what)
}

fn story(case: &Case, answer: &GetCaseResponse) -> String {
    let name = format!("{} {}", case.tenant, case.tenant_name);
    let mut all = vec![
        ("case", case.id.clone()),
        ("tenant", name.trim_end().to_owned()),
        ("clause", case.clause.clone()),
        ("state", state_word(case.state()).to_owned()),
        ("opened", when(case.open_time)),
    ];
    let times = [("until", case.deadline), ("closed", case.close_time)];
    all.extend(times.into_iter().filter(|(_, at)| at.is_some()).map(|(what, at)| (what, when(at))));
    if let Some(hold) = &case.hold {
        all.push(("held by", format!("{} since {}: {}", hold.operator, when(hold.since_time), hold.reason)));
    }
    if let Some(seal) = &case.seal {
        let text = format!("{} since {}: {}", seal.operator, when(seal.since_time), seal.reason);
        all.push(("sealed by", text));
    }
    let mut points: Vec<Point> = answer.entries.iter().map(told_entry).collect();
    for violation in &answer.violations {
        let what = format!("violation {} of {}, strike {}", violation.id, violation.rule, violation.strike);
        points.push(point(violation.open_time, &violation.node, what));
        if violation.close_time.is_some() {
            let what = format!("violation {} is over", violation.id);
            points.push(point(violation.close_time, &violation.node, what));
        }
    }
    for wire in &answer.decisions {
        let Ok(decision) = Decision::try_from(wire.clone()) else { continue };
        let what = format!("decided: {} {}, {}", decision.action, decision.scope, decision.reason);
        let who = match &decision.origin {
            Origin::Policy { policy, version, .. } => format!("{policy} v{version}"),
            Origin::Operator { name } => name.clone(),
        };
        points.push(point(wire.time, &who, what));
    }
    for measure in &answer.measures {
        points.push(point(measure.standing_time, &measure.node, format!("{} stands", measure.decision)));
        if measure.lift_time.is_some() {
            let what = format!("{} is lifted: {}", measure.decision, measure.lift_reason);
            points.push(point(measure.lift_time, &measure.node, what));
        }
    }
    for entry in &answer.notices {
        let Some(notice) = &entry.notice else { continue };
        let what = format!("{} is told: {}", notice.recipient, notice.subject);
        points.push(point(entry.made_time, "controller", what));
    }
    points.sort_by_key(|(order, ..)| *order);
    let mut rows = vec![cells(["WHEN", "WHO", "WHAT"])];
    rows.extend(points.into_iter().map(|(_, when, who, what)| vec![when, who, what]));
    facts(&all) + &table(&rows)
}

fn told_entry(entry: &CaseEntry) -> Point {
    let author = if entry.author.is_empty() { "controller" } else { &entry.author };
    let what = match entry.kind() {
        CaseEntryKind::Note => format!("note: {}", entry.text),
        CaseEntryKind::Move => {
            let until = entry.deadline.map_or_else(String::new, |at| format!(" until {}", when(Some(at))));
            format!("{}{until}: {}", state_word(entry.state()), entry.text)
        }
        CaseEntryKind::Hold => format!("kept: {}", entry.text),
        CaseEntryKind::Statement => format!("statement: {}", entry.text),
        CaseEntryKind::Claim | CaseEntryKind::Complaint => entry.text.clone(),
        CaseEntryKind::HoldEnd => "kept no longer".to_owned(),
        CaseEntryKind::Seal => format!("sealed: {}", entry.text),
        CaseEntryKind::SealEnd => format!("sealed no longer: {}", entry.text),
        CaseEntryKind::Unspecified => entry.text.clone(),
    };
    point(entry.time, author, what.trim_end_matches([':', ' ', '\n']).replace('\n', " / "))
}
