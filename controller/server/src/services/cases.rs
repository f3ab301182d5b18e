//! `CaseService`: what happens with a tenant under one clause, kept together.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reeve_audit::Signer;
use reeve_policy::language::Grace;
use reeve_policy::pause::is_plain;
use reeve_policy::{Name, Tenant, TenantId, Timestamp};
use reeve_proto::operator::v1::case_service_server::CaseService;
use reeve_proto::operator::v1::{
    AddCaseNoteRequest, AddCaseNoteResponse, Case, CaseEntry, CaseEntryKind, CaseSeal,
    CaseState as WireState, EvidenceHold, ExportCaseRequest, ExportCaseResponse, GetCaseRequest,
    GetCaseResponse, HoldCaseRequest, HoldCaseResponse, ListCasesRequest, ListCasesResponse, MoveCaseRequest,
    MoveCaseResponse, NoticeEntry, SealCaseRequest, SealCaseResponse,
};
use reeve_proto::time_to_wire;
use ring::digest::{SHA256, digest};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::operator::{measure_record, parsed};
use super::orders::{check_key, check_reason, key_in_use};
use super::{House, bundle, unreadable, unwritable};
use crate::auth::Caller;
use crate::clock;
use crate::listing::{Asked, Field, Kind, List, Value};
use crate::refusal::Reason;
use crate::store::write::{CaseAct, CaseAsked, CaseTaken, Requested};
use crate::store::{self, CaseFilter, CaseRow, CaseState, CaseWord, EntryKind, Sight};
use crate::writer::Job;

/// The longest that is waited.
const MAX_WAIT: Duration = Duration::from_secs(366 * 24 * 3_600);
/// The longest note, in bytes.
const MAX_NOTE: usize = 10_000;
/// The most words that are looked for at once, and their bytes.
const MAX_WORDS: usize = 8;
const MAX_QUERY: usize = 200;
/// So many tenants are meant by one word; whoever means more says more.
const MAX_MEANT: usize = 500;

static CASES: List = List {
    name: "ListCases",
    fields: &[
        Field { name: "id", kind: Kind::Text, column: "id" },
        Field { name: "tenant", kind: Kind::Text, column: "tenant" },
        Field { name: "clause", kind: Kind::Text, column: "clause" },
        Field { name: "state", kind: Kind::Words(CaseState::NAMES), column: "state" },
        Field { name: "open_time", kind: Kind::Time, column: "opened" },
        Field { name: "update_time", kind: Kind::Time, column: "updated" },
        Field { name: "deadline", kind: Kind::Time, column: "coalesce(deadline, 0)" },
        Field { name: "close_time", kind: Kind::Time, column: "coalesce(closed, 0)" },
    ],
    descending: true,
    sizes: (50, 500),
};

#[derive(Clone, Debug)]
pub(crate) struct Service(pub House, pub Arc<Signer>);

#[tonic::async_trait]
impl CaseService for Service {
    async fn list_cases(
        &self,
        request: Request<ListCasesRequest>,
    ) -> Result<Response<ListCasesResponse>, Status> {
        self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        let request = request.into_inner();
        let asked = Asked {
            page_size: request.page_size,
            page_token: &request.page_token,
            filter: &request.filter,
            order_by: &request.order_by,
            also: format!("{} {} {}", request.tenant, request.include_closed, request.query),
        };
        let plan = CASES.plan(&self.0.pages, &asked)?;
        let tenant = parsed("tenant", &request.tenant)?;
        let words = words(&self.0, &request.query)?;
        let filter = CaseFilter { tenant, with_closed: request.include_closed, words, sight, plan };
        let mut rows = self.0.store.cases(&filter).await.map_err(unreadable)?;
        let next_page_token = filter.plan.cut(&self.0.pages, &mut rows, |row, field| {
            let time = |at: Option<Timestamp>| Value::number(at.map_or(0, Timestamp::as_nanos));
            match field {
                0 => Value::text(&row.id),
                1 => Value::text(&row.tenant),
                2 => Value::text(&row.clause),
                3 => Value::text(row.state.name()),
                4 => time(Some(row.opened)),
                5 => time(Some(row.updated)),
                6 => time(row.deadline),
                _ => time(row.closed),
            }
        });
        let cases = rows.iter().map(|row| case(&self.0, row)).collect();
        Ok(Response::new(ListCasesResponse { cases, next_page_token }))
    }

    async fn get_case(&self, request: Request<GetCaseRequest>) -> Result<Response<GetCaseResponse>, Status> {
        self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        let id = key(&request.into_inner().id)?;
        let row = self.0.store.case(&id).await.map_err(unreadable)?;
        let row = row.filter(|row| sight == Sight::Whole || row.sealed.is_none());
        let row = row.ok_or_else(|| no_case(&id))?;
        let story = self.0.store.story(&id, store::TOLD).await.map_err(unreadable)?;
        let notice = |row: &store::NoticeRow| NoticeEntry {
            number: row.number,
            notice: Some((&row.notice).into()),
            made_time: Some(time_to_wire(row.made)),
        };
        Ok(Response::new(GetCaseResponse {
            case: Some(case(&self.0, &row)),
            entries: story.entries.iter().map(entry).collect(),
            violations: story.violations.iter().map(Into::into).collect(),
            decisions: story.decisions.iter().map(Into::into).collect(),
            measures: story.measures.into_iter().map(measure_record).collect(),
            notices: story.notices.iter().map(notice).collect(),
        }))
    }

    async fn add_case_note(
        &self,
        request: Request<AddCaseNoteRequest>,
    ) -> Result<Response<AddCaseNoteResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        let request = request.into_inner();
        let (id, text) = (key(&request.id)?, request.text.replace("\r\n", "\n"));
        let is_sound = |letter: char| matches!(letter, '\n' | '\t') || is_plain(letter);
        if text.trim().is_empty() || text.len() > MAX_NOTE || !text.chars().all(is_sound) {
            let allowed = format!("text: 1 to {MAX_NOTE} bytes, and nothing but line ends that is not shown");
            return Err(Reason::InvalidField.status(allowed));
        }
        let case = self.act((operator, sight), id, CaseAct::Note(text), request.idempotency_key).await?;
        Ok(Response::new(AddCaseNoteResponse { case: Some(case) }))
    }

    async fn move_case(
        &self,
        request: Request<MoveCaseRequest>,
    ) -> Result<Response<MoveCaseResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        let request = request.into_inner();
        let wrong = |text: &str| Reason::InvalidField.status(text);
        let id = key(&request.id)?;
        let to = match request.state() {
            WireState::Unspecified => return Err(wrong("state: open, waiting or closed")),
            WireState::Open => CaseState::Open,
            WireState::Waiting => CaseState::Waiting,
            WireState::Closed => CaseState::Closed,
        };
        let time_limit =
            match (to, request.time_limit.as_str()) {
                (CaseState::Waiting, text) => {
                    let read = Grace::parse(text).filter(
                        |limit| !matches!(limit, Grace::Span(time) if time.is_zero() || *time > MAX_WAIT),
                    );
                    Some(read.ok_or_else(|| {
                        wrong(&format!("time_limit: {}; no more than a year", Grace::SYNTAX))
                    })?)
                }
                (_, "") => None,
                _ => return Err(wrong("time_limit: only where the customer is waited for")),
            };
        check_reason(&request.reason, to == CaseState::Closed)?;
        if request.force && to != CaseState::Closed {
            return Err(wrong("force: only where the case is closed"));
        }
        let act = CaseAct::Move(to, time_limit, request.reason, request.force);
        let case = self.act((operator, sight), id, act, request.idempotency_key).await?;
        Ok(Response::new(MoveCaseResponse { case: Some(case) }))
    }

    async fn hold_case(
        &self,
        request: Request<HoldCaseRequest>,
    ) -> Result<Response<HoldCaseResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        let HoldCaseRequest { id, reason, end } = request.into_inner();
        let id = key(&id)?;
        check_reason(&reason, !end)?;
        let act = CaseAct::Hold((!end).then_some(reason));
        let case = self.act((operator, sight), id, act, String::new()).await?;
        Ok(Response::new(HoldCaseResponse { case: Some(case) }))
    }

    async fn seal_case(
        &self,
        request: Request<SealCaseRequest>,
    ) -> Result<Response<SealCaseResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        let SealCaseRequest { id, reason, end } = request.into_inner();
        let id = key(&id)?;
        check_reason(&reason, true)?;
        let act = if end { CaseAct::Unseal(reason) } else { CaseAct::Seal(reason) };
        let case = self.act((operator, sight), id, act, String::new()).await?;
        Ok(Response::new(SealCaseResponse { case: Some(case) }))
    }

    type ExportCaseStream = Pin<Box<dyn Stream<Item = Result<ExportCaseResponse, Status>> + Send>>;

    async fn export_case(
        &self,
        request: Request<ExportCaseRequest>,
    ) -> Result<Response<Self::ExportCaseStream>, Status> {
        self.0.protection.operator(&request)?;
        let id = key(&request.into_inner().id)?;
        let row = self.0.store.case(&id).await.map_err(unreadable)?.ok_or_else(|| no_case(&id))?;
        Ok(Response::new(Box::pin(bundle::export(&self.0, &self.1, row).await?)))
    }
}

impl Service {
    /// Does something about a case; the case then.
    async fn act(
        &self,
        (operator, sight): (Name, Sight),
        id: Name,
        act: CaseAct,
        request: String,
    ) -> Result<Case, Status> {
        check_key(&request)?;
        // One without a key has one all the same: a transaction whose answer is lost is tried again, and is not to do it twice.
        let key = if request.is_empty() { clock::key_of('A', clock::now()).to_string() } else { request };
        let act_hash =
            data_encoding::HEXLOWER.encode(digest(&SHA256, format!("{act:?}").as_bytes()).as_ref());
        let requested = Requested { key, meaning: format!("case {id} {act_hash}") };
        let asked = Box::new(CaseAsked { id: id.clone(), by: operator.to_string(), sight, act });
        let taken = self.0.writer.ask(|reply| Job::Case { requested, asked, reply }).await;
        match taken.map_err(unwritable)? {
            CaseTaken::Done(row) => {
                tracing::info!(%operator, case = %id, tenant = %row.tenant, "an operator works on a case");
                Ok(case(&self.0, &row))
            }
            CaseTaken::Unknown => Err(no_case(&id)),
            CaseTaken::KeyInUse => Err(key_in_use()),
            CaseTaken::GoesOn(violations, measures) => {
                let text = format!(
                    "case {id} goes on: {violations} of its violations are open, and {measures} of its measures stand or are ordered"
                );
                let counts = [("violations", violations.to_string()), ("measures", measures.to_string())];
                Err(Reason::CaseGoesOn.about(text, counts))
            }
            CaseTaken::Sealed => Err(Reason::PreconditionFailed.status(format!(
                "case {id} is sealed, and a measure of it stands: release that first, or end the seal"
            ))),
            CaseTaken::Beside(None) => {
                Err(Reason::PreconditionFailed.status(format!("case {id} cannot be opened again now")))
            }
            CaseTaken::Beside(Some(beside)) => {
                let text =
                    format!("case {beside} of the same tenant and clause is not closed: work on that one");
                Err(Reason::PreconditionFailed.about(text, [("case", beside.to_string())]))
            }
            CaseTaken::NoReason => {
                Err(Reason::InvalidField.status("reason: a case that is closed is opened again for a reason"))
            }
            CaseTaken::Full => {
                Err(Reason::PreconditionFailed
                    .status(format!("case {id} has as many entries as one may have")))
            }
        }
    }
}

/// What is looked for, and whom each word may mean.
fn words(house: &House, query: &str) -> Result<Vec<CaseWord>, Status> {
    let words: Vec<String> = query.split_whitespace().map(str::to_ascii_lowercase).collect();
    if query.len() > MAX_QUERY || words.len() > MAX_WORDS {
        let text = format!("query: at most {MAX_WORDS} words, {MAX_QUERY} bytes in all");
        return Err(Reason::InvalidField.status(text));
    }
    let snapshot = house.directory.snapshot();
    let whom = |word: &str| -> Vec<TenantId> {
        if let Ok(address) = word.parse::<IpAddr>() {
            return snapshot
                .tenants
                .by_address(address)
                .map(|tenant| tenant.id.clone())
                .into_iter()
                .collect();
        }
        let is_meant = |tenant: &Tenant| {
            let holds = |text: &str| text.to_ascii_lowercase().contains(word);
            holds(tenant.id.as_str()) || holds(&tenant.name)
        };
        let meant = snapshot.tenants.all().values().filter(|tenant| is_meant(tenant));
        meant.take(MAX_MEANT).map(|tenant| tenant.id.clone()).collect()
    };
    Ok(words.into_iter().map(|text| CaseWord { tenants: whom(&text), text }).collect())
}

fn key(text: &str) -> Result<Name, Status> {
    let id: Option<Name> = parsed("id", text)?;
    id.ok_or_else(|| Reason::InvalidField.status("id: a case's key"))
}

fn no_case(id: &Name) -> Status {
    Reason::CaseNotFound.about(format!("there is no case {id}"), [("case", id.to_string())])
}

const fn state(state: CaseState) -> WireState {
    match state {
        CaseState::Open => WireState::Open,
        CaseState::Waiting => WireState::Waiting,
        CaseState::Closed => WireState::Closed,
    }
}

/// A case as it is sent.
fn case(house: &House, row: &CaseRow) -> Case {
    let snapshot = house.directory.snapshot();
    let tenant = snapshot.tenants.by_id(&row.tenant);
    let hold = row.held.clone().map(|(operator, reason, since)| EvidenceHold {
        operator,
        reason,
        since_time: Some(time_to_wire(since)),
    });
    let seal = row.sealed.clone().map(|(operator, reason, since)| CaseSeal {
        operator,
        reason,
        since_time: Some(time_to_wire(since)),
    });
    Case {
        id: row.id.to_string(),
        tenant: row.tenant.to_string(),
        tenant_name: tenant.map(|tenant| tenant.name.clone()).unwrap_or_default(),
        clause: row.clause.clone(),
        state: state(row.state).into(),
        open_time: Some(time_to_wire(row.opened)),
        update_time: Some(time_to_wire(row.updated)),
        deadline: row.deadline.map(time_to_wire),
        close_time: row.closed.map(time_to_wire),
        hold,
        seal,
    }
}

fn entry(entry: &store::CaseEntry) -> CaseEntry {
    let kind = match entry.kind {
        None => CaseEntryKind::Unspecified,
        Some(EntryKind::Note) => CaseEntryKind::Note,
        Some(EntryKind::Move) => CaseEntryKind::Move,
        Some(EntryKind::Hold) => CaseEntryKind::Hold,
        Some(EntryKind::HoldEnd) => CaseEntryKind::HoldEnd,
        Some(EntryKind::Statement) => CaseEntryKind::Statement,
        Some(EntryKind::Claim) => CaseEntryKind::Claim,
        Some(EntryKind::Complaint) => CaseEntryKind::Complaint,
        Some(EntryKind::Seal) => CaseEntryKind::Seal,
        Some(EntryKind::SealEnd) => CaseEntryKind::SealEnd,
    };
    CaseEntry {
        number: u32::try_from(entry.number).unwrap_or(u32::MAX),
        time: Some(time_to_wire(entry.at)),
        kind: kind.into(),
        author: entry.author.clone(),
        text: entry.text.clone(),
        state: entry.state.map_or(WireState::Unspecified, state).into(),
        deadline: entry.deadline.map(time_to_wire),
    }
}
