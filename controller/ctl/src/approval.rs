//! Acts that wait for a second person: calls, and their answers shown.

use reeve_proto::operator::v1::{
    Approval, ApprovalState, ApproveRequest, GetApprovalRequest, ListApprovalsRequest, RejectRequest,
};
use serde_json::{Value, json};

use crate::access::role_word;
use crate::args::{ApprovalsCommand, Decide};
use crate::client::CallError;
use crate::commands::Call;
use crate::json::at;
use crate::show::{cells, facts, table, when};

const NONE: CallError = CallError::Answer("it holds no approval");

impl Call {
    pub(crate) async fn approvals(&self, command: Option<ApprovalsCommand>) -> Result<(), CallError> {
        let all = match command {
            Some(ApprovalsCommand::Show { id }) => {
                let request = self.request(GetApprovalRequest { id });
                let answer = self.controller.approvals().get_approval(request).await?.into_inner();
                let approval = answer.approval.ok_or(NONE)?;
                return self.tell(|| approval_json(&approval), || one(&approval));
            }
            Some(ApprovalsCommand::List { all }) => all,
            None => false,
        };
        let request = self.request(ListApprovalsRequest { all });
        let found = self.controller.approvals().list_approvals(request).await?.into_inner().approvals;
        let json = || json!({ "approvals": found.iter().map(approval_json).collect::<Vec<_>>() });
        self.tell(json, || list(&found, all))
    }

    pub(crate) async fn approve(&self, decide: Decide) -> Result<(), CallError> {
        let Decide { id, reason } = decide;
        let request = self.request(ApproveRequest { id, reason });
        let answer = self.controller.approvals().approve(request).await?.into_inner();
        let approval = answer.approval.ok_or(NONE)?;
        let text = format!(
            "{} of {} for {}: {}",
            act(&approval),
            about(&approval),
            approval.asked_by,
            approval.outcome
        );
        self.tell(|| approval_json(&approval), || text)?;
        // It was carried out once, and that is over: whoever approved is to know what came of it.
        if approval.outcome == "done" { Ok(()) } else { Err(CallError::NotDone) }
    }

    pub(crate) async fn reject(&self, decide: Decide) -> Result<(), CallError> {
        let Decide { id, reason } = decide;
        let request = self.request(RejectRequest { id, reason });
        let answer = self.controller.approvals().reject(request).await?.into_inner();
        let approval = answer.approval.ok_or(NONE)?;
        let text =
            format!("{} of {} for {} is rejected", act(&approval), about(&approval), approval.asked_by);
        self.tell(|| approval_json(&approval), || text)
    }
}

/// The method without its service.
fn act(approval: &Approval) -> &str {
    approval.method.rsplit('/').next().unwrap_or_default()
}

fn about(approval: &Approval) -> &str {
    if approval.subject.is_empty() { "all" } else { &approval.subject }
}

const fn state_word(state: ApprovalState) -> &'static str {
    match state {
        ApprovalState::Unspecified => "unknown",
        ApprovalState::Pending => "pending",
        ApprovalState::Approved => "approved",
        ApprovalState::Rejected => "rejected",
        ApprovalState::Expired => "expired",
    }
}

fn approval_json(approval: &Approval) -> Value {
    json!({
        "id": approval.id,
        "method": approval.method,
        "subject": approval.subject,
        "request": serde_json::from_str::<Value>(&approval.request).unwrap_or(Value::Null),
        "reason": approval.reason,
        "rule": approval.rule,
        "asked_by": approval.asked_by,
        "owner": approval.owner,
        "role": role_word(approval.role()),
        "address": approval.address,
        "ask_time": at(approval.ask_time),
        "expire_time": at(approval.expire_time),
        "state": state_word(approval.state()),
        "decided_by": approval.decided_by,
        "decide_time": at(approval.decide_time),
        "note": approval.note,
        "outcome": approval.outcome,
    })
}

fn list(approvals: &[Approval], all: bool) -> String {
    if approvals.is_empty() {
        return if all { "there are no approvals" } else { "nothing waits for a second person" }.to_owned();
    }
    let mut rows = vec![cells(["APPROVAL", "STATE", "ACT", "ABOUT", "ASKED BY", "WHEN", "UNTIL", "WHY"])];
    rows.extend(approvals.iter().map(|one| {
        vec![
            one.id.clone(),
            state_word(one.state()).to_owned(),
            act(one).to_owned(),
            about(one).to_owned(),
            one.asked_by.clone(),
            when(one.ask_time),
            when(one.expire_time),
            one.reason.clone(),
        ]
    }));
    table(&rows)
}

fn one(approval: &Approval) -> String {
    let mut all = vec![
        ("approval", approval.id.clone()),
        ("state", state_word(approval.state()).to_owned()),
        ("act", approval.method.trim_start_matches('/').to_owned()),
        ("about", about(approval).to_owned()),
        ("request", approval.request.clone()),
        ("why", approval.reason.clone()),
        ("waits because", approval.rule.clone()),
        ("asked by", format!("{} {} at {}", role_word(approval.role()), approval.asked_by, approval.address)),
        ("owner", approval.owner.clone()),
        ("when", when(approval.ask_time)),
        ("until", when(approval.expire_time)),
    ];
    if !approval.decided_by.is_empty() {
        all.push(("decided by", approval.decided_by.clone()));
        all.push(("when", when(approval.decide_time)));
        all.push(("note", approval.note.clone()));
        all.push(("came of it", approval.outcome.clone()));
    }
    facts(&all)
}
