//! `ApprovalService`: acts that wait for a second person.

use std::sync::Arc;

use reeve_proto::operator::v1::approval_service_server::ApprovalService;
use reeve_proto::operator::v1::{
    Approval, ApprovalState, ApproveRequest, ApproveResponse, GetApprovalRequest, GetApprovalResponse,
    ListApprovalsRequest, ListApprovalsResponse, RejectRequest, RejectResponse,
};
use reeve_proto::time_to_wire;
use tonic::codegen::http;
use tonic::{Code, Request, Response, Status};

use super::access::role_to_wire;
use super::orders::check_reason;
use super::{House, approvable, unreadable, unwritable};
use crate::approval::{Decided, Once, Record, State, framed};
use crate::audit::{self, Kind};
use crate::auth::{Caller, Vault, access};
use crate::clock;
use crate::writer::Job;

/// The longest key of an approval.
const MAX_ID: usize = 40;

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub house: House,
    pub vault: Arc<Vault>,
}

#[tonic::async_trait]
impl ApprovalService for Service {
    async fn list_approvals(
        &self,
        request: Request<ListApprovalsRequest>,
    ) -> Result<Response<ListApprovalsResponse>, Status> {
        let waiting_at = (!request.into_inner().all).then(clock::now);
        let records = self.house.store.approvals(waiting_at).await.map_err(unreadable)?;
        Ok(Response::new(ListApprovalsResponse { approvals: records.iter().map(to_wire).collect() }))
    }

    async fn get_approval(
        &self,
        request: Request<GetApprovalRequest>,
    ) -> Result<Response<GetApprovalResponse>, Status> {
        let record = self.find(&request.into_inner().id).await?;
        Ok(Response::new(GetApprovalResponse { approval: Some(to_wire(&record)) }))
    }

    async fn approve(&self, request: Request<ApproveRequest>) -> Result<Response<ApproveResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let ApproveRequest { id, reason } = request.into_inner();
        check_reason(&reason, false)?;
        let record = self.find(&id).await?;
        let decided = self.decided(&record, &caller, reason)?;
        self.check_approver(&record, &caller)?;
        tracing::warn!(%caller, id, method = record.asked.method, by = %record.asked.who, "an act is approved");
        // A caller that hangs up does not end what is half done.
        let (service, record) = (self.clone(), Box::new(record));
        let carried_out = tokio::spawn(async move { service.carry_out(*record, decided).await });
        carried_out
            .await
            .map_err(|_| Status::internal("carrying it out failed; the controller's log tells more"))??;
        let record = self.find(&id).await?;
        Ok(Response::new(ApproveResponse { approval: Some(to_wire(&record)) }))
    }

    async fn reject(&self, request: Request<RejectRequest>) -> Result<Response<RejectResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let RejectRequest { id, reason } = request.into_inner();
        check_reason(&reason, false)?;
        let record = self.find(&id).await?;
        let decided = self.decided(&record, &caller, reason)?;
        let rejected = self.house.writer.ask(|reply| Job::Reject { decided: Box::new(decided), reply });
        if !rejected.await.map_err(unwritable)? {
            return Err(over(&self.find(&id).await?));
        }
        tracing::warn!(%caller, id, method = record.asked.method, by = %record.asked.who, "an act is rejected");
        let record = self.find(&id).await?;
        Ok(Response::new(RejectResponse { approval: Some(to_wire(&record)) }))
    }
}

impl Service {
    async fn find(&self, id: &str) -> Result<Record, Status> {
        let is_id = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_id {
            return Err(Status::invalid_argument("id: an approval's key, as `reevectl approvals` lists it"));
        }
        let found = self.house.store.approval(id).await.map_err(unreadable)?;
        found.ok_or_else(|| Status::not_found(format!("there is no approval {id}")))
    }

    /// What somebody decides, if it still waits.
    fn decided(&self, record: &Record, caller: &Caller, note: String) -> Result<Decided, Status> {
        if state(record) != ApprovalState::Pending {
            return Err(over(record));
        }
        let Some(owner) = caller.owner.clone() else {
            let text = format!("whose token {} is nobody knows: make it anew", caller.name);
            return Err(Status::permission_denied(text));
        };
        let (id, seal) = (record.asked.id.clone(), record.seal.clone());
        Ok(Decided { id, seal, by: caller.name.to_string(), owner, note })
    }

    /// Whether somebody may approve an act: somebody else, who could do it themselves.
    fn check_approver(&self, record: &Record, caller: &Caller) -> Result<(), Status> {
        let asked = &record.asked;
        if !asked.is_sealed(&self.vault, &record.seal) {
            tracing::error!(id = asked.id, "WHAT IS STORED OF AN APPROVAL IS NOT WHAT WAS ASKED FOR");
            let text = "what is stored is not what was asked for, or another controller's secrets.key differs: reject it, and ask anew";
            return Err(Status::failed_precondition(text));
        }
        if caller.owner.as_ref() == Some(&asked.owner) {
            return Err(Status::permission_denied(format!(
                "{} is {}, who asked for it: it takes somebody else",
                caller.name, asked.owner
            )));
        }
        // Whoever invited somebody could have made them up, and whoever those invited: of such two, one may be the other.
        if let Some(owner) = &caller.owner {
            let book = &self.house.book;
            let is_invited = book.line(caller.shown, owner).contains(&asked.owner);
            if is_invited || book.line(asked.shown, &asked.owner).contains(owner) {
                let (invited, by) = if is_invited { (owner, &asked.owner) } else { (&asked.owner, owner) };
                return Err(Status::permission_denied(format!(
                    "{invited} was invited or reset by {by}, or by whom {by} invited, and {} asked for it: it takes somebody else, or a certificate",
                    asked.owner
                )));
            }
        }
        match access::roles(&asked.method) {
            Some(roles) if roles.contains(caller.role) && roles.contains(asked.role) => {}
            roles => {
                let allowed = roles.map_or_else(|| "nobody".to_owned(), |roles| roles.to_string());
                let text = format!("{} {} could not do it: it takes {allowed}", caller.role, caller.name);
                return Err(Status::permission_denied(text));
            }
        }
        if !self.house.book.is_still(&asked.caller(), clock::now()) {
            return Err(Status::failed_precondition(format!(
                "{} asked for it, and may not call any more by the same {}: reject it",
                asked.who,
                asked.shown.as_str()
            )));
        }
        Ok(())
    }

    /// Carries an act out as if who asked called now.
    async fn carry_out(&self, record: Record, decided: Decided) -> Result<(), Status> {
        let asked = record.asked;
        let approved = format!(", approved by {} (approval {})", decided.by, asked.id);
        let (once, claim) = Once::new(decided);
        let house = House { writer: self.house.writer.claiming(once), ..self.house.clone() };
        let mut request = http::Request::post(asked.method.as_str())
            .header(http::header::CONTENT_TYPE, "application/grpc")
            .header("te", "trailers")
            .body(framed(&asked.body))
            .map_err(|error| Status::internal(error.to_string()))?;
        request.extensions_mut().insert(asked.caller());
        let routes = approvable(&house);
        let writer = self.house.writer.clone();
        let answer = audit::audited(writer, routes, request, Kind::Act, &approved).await?;
        let refused = Status::from_header_map(answer.headers()).filter(|status| status.code() != Code::Ok);
        if !claim.is_taken() {
            // Nothing was written: it waits on, or somebody else was faster.
            return Err(refused.unwrap_or_else(|| Status::internal("it was not carried out")));
        }
        let outcome = match &refused {
            None => answer
                .extensions()
                .get::<audit::Outcome>()
                .map_or_else(|| "done".to_owned(), |audit::Outcome(outcome)| outcome.clone()),
            Some(status) => format!("refused: {}", status.message()),
        };
        let noted = self.house.writer.ask(|reply| Job::Outcome { id: asked.id.clone(), outcome, reply });
        if let Err(error) = noted.await {
            // It is done, and that it was approved is on disk.
            tracing::error!(%error, id = asked.id, "what came of an approved act could not be noted");
        }
        Ok(())
    }
}

/// Where it stands now.
fn state(record: &Record) -> ApprovalState {
    match record.state {
        State::Pending if record.asked.expires <= clock::now() => ApprovalState::Expired,
        State::Pending => ApprovalState::Pending,
        State::Approved => ApprovalState::Approved,
        State::Rejected => ApprovalState::Rejected,
    }
}

/// Why nothing can be decided about it any more.
fn over(record: &Record) -> Status {
    let asked = &record.asked;
    let text = match record.state {
        State::Pending => format!("{} ended at {} undecided: ask anew", asked.id, asked.expires),
        State::Approved => format!("{} was approved by {} already", asked.id, record.decided_by),
        State::Rejected => format!("{} was rejected by {} already", asked.id, record.decided_by),
    };
    Status::failed_precondition(text)
}

fn to_wire(record: &Record) -> Approval {
    let asked = &record.asked;
    Approval {
        id: asked.id.clone(),
        method: asked.method.clone(),
        subject: asked.subject.clone(),
        request: asked.asked.clone(),
        reason: asked.reason.clone(),
        rule: asked.rule.clone(),
        asked_by: asked.who.to_string(),
        owner: asked.owner.to_string(),
        role: role_to_wire(asked.role).into(),
        address: asked.address.clone(),
        ask_time: Some(time_to_wire(asked.at)),
        expire_time: Some(time_to_wire(asked.expires)),
        state: state(record).into(),
        decided_by: record.decided_by.clone(),
        decide_time: record.decided.map(time_to_wire),
        note: record.note.clone(),
        outcome: record.outcome.clone(),
    }
}
