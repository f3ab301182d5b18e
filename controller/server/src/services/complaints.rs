//! `ComplaintService`: what people outside complain about.

use reeve_policy::{Name, TenantId, ViolationId};
use reeve_proto::operator::v1::complaint_service_server::ComplaintService;
use reeve_proto::operator::v1::{
    Complaint, ComplaintFormat, ComplaintState as WireState, GetComplaintRequest, GetComplaintResponse,
    ListComplaintsRequest, ListComplaintsResponse, SettleComplaintRequest, SettleComplaintResponse,
    SubmitComplaintsRequest, SubmitComplaintsResponse,
};
use reeve_proto::time_to_wire;
use tonic::{Request, Response, Status};

use super::operator::parsed;
use super::orders::{check_key, check_reason, key_in_use};
use super::{House, unreadable, unwritable};
use crate::auth::Caller;
use crate::clock;
use crate::complaints::{MAX_MESSAGE, hand_over, read};
use crate::listing::{Asked, Field, Kind, List, Value};
use crate::refusal::Reason;
use crate::settings::Complaints;
use crate::store::write::{Requested, SettleAsked, SettleTaken, SubmissionTaken};
use crate::store::{ComplaintRow, ComplaintState, Sight};
use crate::writer::Job;

/// What was seen of one; of what is sealed nothing, so that nobody finds it by asking for it.
const SEEN: &str = "CASE WHEN EXISTS (SELECT 1 FROM violations sv JOIN cases s ON s.id = sv.case_id \
    WHERE sv.id = complaints.violation AND s.sealed_since IS NOT NULL) THEN '' ELSE coalesce(violation, '') END";

static COMPLAINTS: List = List {
    name: "ListComplaints",
    fields: &[
        Field { name: "number", kind: Kind::Number, column: "number" },
        Field { name: "state", kind: Kind::Words(ComplaintState::NAMES), column: "state" },
        Field { name: "tenant", kind: Kind::Text, column: "coalesce(tenant, '')" },
        Field { name: "case_id", kind: Kind::Text, column: "coalesce(case_id, '')" },
        Field { name: "violation", kind: Kind::Text, column: SEEN },
        Field { name: "kind", kind: Kind::Text, column: "kind" },
        Field { name: "format", kind: Kind::Text, column: "format" },
        Field { name: "source", kind: Kind::Text, column: "source" },
        Field { name: "reporter", kind: Kind::Text, column: "reporter" },
        Field { name: "via", kind: Kind::Text, column: "via" },
        Field { name: "receive_time", kind: Kind::Time, column: "received" },
        Field { name: "deadline", kind: Kind::Time, column: "coalesce(deadline, 0)" },
    ],
    descending: true,
    sizes: (50, 500),
};

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub house: House,
    pub settings: Complaints,
}

#[tonic::async_trait]
impl ComplaintService for Service {
    async fn submit_complaints(
        &self,
        request: Request<SubmitComplaintsRequest>,
    ) -> Result<Response<SubmitComplaintsResponse>, Status> {
        let operator = self.house.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        let request = request.into_inner();
        let (format, message) = (request.format(), request.message);
        if message.is_empty() || message.len() > MAX_MESSAGE {
            let allowed = format!("message: 1 to {MAX_MESSAGE} bytes");
            return Err(Reason::InvalidField.status(allowed));
        }
        let is_json = match format {
            ComplaintFormat::Unspecified => None,
            ComplaintFormat::Mail => Some(false),
            ComplaintFormat::Json => Some(true),
        };
        // Whoever hands it in answers who complained.
        let parcel = read(&operator.to_string(), message, is_json, &self.settings).await.unanswered();
        let taken = hand_over(&self.house.writer, parcel).await;
        match taken.map_err(unwritable)? {
            SubmissionTaken::Done(rows) => {
                let mut complaints = Vec::with_capacity(rows.len());
                for row in &rows {
                    complaints.push(self.told(row, sight).await?);
                }
                Ok(Response::new(SubmitComplaintsResponse { complaints }))
            }
            SubmissionTaken::Full => Err(Reason::PreconditionFailed.status(
                "as many complaints wait for a person as may: `reevectl complaints list --waiting` shows them",
            )),
        }
    }

    async fn list_complaints(
        &self,
        request: Request<ListComplaintsRequest>,
    ) -> Result<Response<ListComplaintsResponse>, Status> {
        self.house.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        let request = request.into_inner();
        let asked = Asked {
            page_size: request.page_size,
            page_token: &request.page_token,
            filter: &request.filter,
            order_by: "",
            also: String::new(),
        };
        let plan = COMPLAINTS.plan(&self.house.pages, &asked)?;
        let mut rows = self.house.store.complaints(&plan, sight).await.map_err(unreadable)?;
        let next_page_token = plan.cut(&self.house.pages, &mut rows, |row, _| Value::number(row.number));
        let mut complaints: Vec<Complaint> = rows.iter().map(to_wire).collect();
        if sight == Sight::Unsealed {
            // Those of sealed cases are not among them; but what was seen of one may be sealed though its case is not.
            let seen: Vec<&Name> = rows.iter().filter_map(|row| row.violation.as_ref()).collect();
            let sealed = self.house.store.under_seal(&seen).await.map_err(unreadable)?;
            let is_sealed = |complaint: &&mut Complaint| sealed.contains(complaint.violation.as_str());
            complaints.iter_mut().filter(is_sealed).for_each(|complaint| complaint.violation.clear());
        }
        Ok(Response::new(ListComplaintsResponse { complaints, next_page_token }))
    }

    async fn get_complaint(
        &self,
        request: Request<GetComplaintRequest>,
    ) -> Result<Response<GetComplaintResponse>, Status> {
        self.house.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        let number = request.into_inner().number;
        let found = self.house.store.complaint(number).await.map_err(unreadable)?;
        let (row, said) = found.ok_or_else(|| no_complaint(number))?;
        if self.is_hidden(&row, sight).await? {
            return Err(no_complaint(number));
        }
        Ok(Response::new(GetComplaintResponse {
            complaint: Some(self.told(&row, sight).await?),
            report: said.body,
            message: said.message,
        }))
    }

    async fn settle_complaint(
        &self,
        request: Request<SettleComplaintRequest>,
    ) -> Result<Response<SettleComplaintResponse>, Status> {
        let operator = self.house.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        let SettleComplaintRequest { number, tenant, reason, idempotency_key } = request.into_inner();
        let tenant: Option<TenantId> = parsed("tenant", &tenant)?;
        check_reason(&reason, true)?;
        check_key(&idempotency_key)?;
        // One without a key has one all the same, as acts upon cases have.
        let key = if idempotency_key.is_empty() {
            clock::key_of('A', clock::now()).to_string()
        } else {
            idempotency_key
        };
        let whose = tenant.as_ref().map_or("", |tenant| tenant.as_str());
        let requested = Requested { key, meaning: format!("settle complaint {number} {whose}") };
        let known = self.house.store.complaint(number).await.map_err(unreadable)?;
        if let Some((row, _)) = known
            && self.is_hidden(&row, sight).await?
        {
            return Err(no_complaint(number));
        }
        let settings = self.settings.clone();
        let asked = Box::new(SettleAsked { number, tenant, reason, by: operator.to_string(), settings });
        let taken = self.house.writer.ask(|reply| Job::SettleComplaint { requested, asked, reply }).await;
        match taken.map_err(unwritable)? {
            SettleTaken::Done(row) => {
                tracing::info!(%operator, number, state = row.state.name(), "an operator settles a complaint");
                let complaint = Some(self.told(&row, sight).await?);
                Ok(Response::new(SettleComplaintResponse { complaint }))
            }
            SettleTaken::Unknown => Err(no_complaint(number)),
            SettleTaken::NoTenant => Err(Reason::InvalidField.status("tenant: there is no such tenant")),
            SettleTaken::Filed(tenant) => {
                let text = format!("complaint {number} belongs to a case of {tenant}");
                Err(Reason::PreconditionFailed.about(text, [("tenant", tenant.to_string())]))
            }
            SettleTaken::KeyInUse => Err(key_in_use()),
        }
    }
}

impl Service {
    /// Whether it belongs to a case that the caller does not know of.
    async fn is_hidden(&self, row: &ComplaintRow, sight: Sight) -> Result<bool, Status> {
        match &row.case {
            Some(case) if sight == Sight::Unsealed => {
                self.house.store.is_sealed(case).await.map_err(unreadable)
            }
            _ => Ok(false),
        }
    }

    /// As the caller is told: without where it went, where that is hidden, though the caller gave it in or settled it; and without what was seen of
    /// it, where that is sealed though its case is not.
    async fn told(&self, row: &ComplaintRow, sight: Sight) -> Result<Complaint, Status> {
        let told = to_wire(row);
        let nothing = String::new;
        if self.is_hidden(row, sight).await? {
            return Ok(Complaint { tenant: nothing(), case_id: nothing(), violation: nothing(), ..told });
        }
        match &row.violation {
            Some(seen) if sight == Sight::Unsealed => {
                let seen = ViolationId::from(seen.clone());
                let is_sealed = self.house.store.is_under_seal(&seen).await.map_err(unreadable)?;
                Ok(if is_sealed { Complaint { violation: nothing(), ..told } } else { told })
            }
            _ => Ok(told),
        }
    }
}

fn no_complaint(number: u64) -> Status {
    let about = [("complaint", number.to_string())];
    Reason::ComplaintNotFound.about(format!("there is no complaint {number}"), about)
}

fn to_wire(row: &ComplaintRow) -> Complaint {
    let state = match row.state {
        ComplaintState::Filed => WireState::Filed,
        ComplaintState::Unmatched => WireState::Unmatched,
        ComplaintState::Unreadable => WireState::Unreadable,
        ComplaintState::Dismissed => WireState::Dismissed,
    };
    let name = |name: &Option<Name>| name.as_ref().map(ToString::to_string).unwrap_or_default();
    Complaint {
        number: row.number,
        state: state.into(),
        receive_time: Some(time_to_wire(row.received)),
        times: row.times,
        via: row.via.clone(),
        format: row.format.clone(),
        kind: row.kind.clone(),
        source: row.source.clone(),
        seen_time: row.seen.map(time_to_wire),
        reporter: row.reporter.clone(),
        tenant: row.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
        case_id: name(&row.case),
        violation: name(&row.violation),
        detail: row.detail.clone(),
        deadline: row.deadline.map(time_to_wire),
    }
}
