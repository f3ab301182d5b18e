//! Complaints of people outside: calls, and their answers shown.

use std::io::Read as _;
use std::path::Path;

use reeve_proto::operator::v1::{
    Complaint, ComplaintFormat, ComplaintState, GetComplaintRequest, GetComplaintResponse,
    ListComplaintsRequest, SettleComplaintRequest, SubmitComplaintsRequest,
};
use serde_json::{Value, json};

use crate::args::{ComplaintFilter, ComplaintsCommand};
use crate::client::CallError;
use crate::commands::Call;
use crate::json::at;
use crate::show::{cells, facts, table, when};

/// No more is read of a file than is taken, and a byte that shows that there is more.
const MAX_MESSAGE: u64 = (1 << 20) + 1;

/// Those that wait for a person.
const WAITING: &str = "state = unmatched OR state = unreadable";

impl Call {
    pub(crate) async fn complaints(
        &self,
        filter: ComplaintFilter,
        command: Option<ComplaintsCommand>,
    ) -> Result<(), CallError> {
        match command {
            None => self.list_complaints(filter).await,
            Some(ComplaintsCommand::List { filter }) => self.list_complaints(filter).await,
            Some(ComplaintsCommand::Show { number }) => {
                let request = self.request(GetComplaintRequest { number });
                let found = self.controller.complaints().get_complaint(request).await?.into_inner();
                self.tell(|| whole(&found), || story(&found))
            }
            Some(ComplaintsCommand::Submit { files }) => self.submit_complaints(&files).await,
            Some(ComplaintsCommand::Assign { number, tenant, reason, repeat }) => {
                self.settle_complaint(number, tenant.to_string(), reason, repeat.request_key).await
            }
            Some(ComplaintsCommand::Dismiss { number, reason, repeat }) => {
                self.settle_complaint(number, String::new(), reason, repeat.request_key).await
            }
        }
    }

    async fn list_complaints(&self, asked: ComplaintFilter) -> Result<(), CallError> {
        let filter = match (asked.waiting, asked.filter.is_empty()) {
            (false, _) => asked.filter,
            (true, true) => WAITING.to_owned(),
            (true, false) => format!("({WAITING}) AND ({})", asked.filter),
        };
        let request = ListComplaintsRequest { page_size: asked.limit, filter, ..Default::default() };
        let answer = self.controller.complaints().list_complaints(self.request(request)).await?.into_inner();
        self.tell(|| all(&answer.complaints), || list(&answer.complaints))
    }

    async fn submit_complaints(&self, files: &[std::path::PathBuf]) -> Result<(), CallError> {
        let mut taken = Vec::new();
        for path in files {
            let message = read(path)?;
            let request = SubmitComplaintsRequest { message, format: ComplaintFormat::Unspecified.into() };
            let answer = self.controller.complaints().submit_complaints(self.request(request)).await?;
            taken.extend(answer.into_inner().complaints);
        }
        self.tell(|| all(&taken), || list(&taken))
    }

    async fn settle_complaint(
        &self,
        number: u64,
        tenant: String,
        reason: String,
        idempotency_key: String,
    ) -> Result<(), CallError> {
        let request = SettleComplaintRequest { number, tenant, reason, idempotency_key };
        let answer = self.controller.complaints().settle_complaint(self.request(request)).await?.into_inner();
        let complaint = answer.complaint.unwrap_or_default();
        let text = || match complaint.state() {
            ComplaintState::Filed => {
                format!("complaint {number} belongs to {}, case {}", complaint.tenant, complaint.case_id)
            }
            _ => format!("complaint {number} is {}", state_word(complaint.state())),
        };
        self.tell(|| one(&complaint), text)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CallError> {
    let failed = |source| CallError::File { path: path.to_owned(), source };
    let mut message = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_MESSAGE).read_to_end(&mut message).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MAX_MESSAGE).read_to_end(&mut message).map_err(failed)?;
    }
    Ok(message)
}

const fn state_word(state: ComplaintState) -> &'static str {
    match state {
        ComplaintState::Unspecified => "unknown",
        ComplaintState::Filed => "filed",
        ComplaintState::Unmatched => "unmatched",
        ComplaintState::Unreadable => "unreadable",
        ComplaintState::Dismissed => "dismissed",
    }
}

fn one(complaint: &Complaint) -> Value {
    json!({
        "number": complaint.number,
        "state": state_word(complaint.state()),
        "receive_time": at(complaint.receive_time),
        "times": complaint.times,
        "via": complaint.via,
        "format": complaint.format,
        "kind": complaint.kind,
        "source": complaint.source,
        "seen_time": at(complaint.seen_time),
        "reporter": complaint.reporter,
        "tenant": complaint.tenant,
        "case_id": complaint.case_id,
        "violation": complaint.violation,
        "detail": complaint.detail,
        "deadline": at(complaint.deadline),
    })
}

fn all(complaints: &[Complaint]) -> Value {
    json!({ "complaints": complaints.iter().map(one).collect::<Vec<_>>() })
}

fn whole(found: &GetComplaintResponse) -> Value {
    let report: Value = serde_json::from_str(&found.report).unwrap_or_default();
    json!({
        "complaint": found.complaint.as_ref().map(one),
        "report": report,
        "message": String::from_utf8_lossy(&found.message),
    })
}

/// A dash for nothing.
fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn list(complaints: &[Complaint]) -> String {
    if complaints.is_empty() {
        return "no complaints".to_owned();
    }
    let headings =
        ["NUMBER", "CAME", "TIMES", "ABOUT", "SOURCE", "BY", "STATE", "TENANT", "CASE", "UNTIL", "WHY"];
    let mut rows = vec![cells(headings)];
    rows.extend(complaints.iter().map(|complaint| {
        vec![
            complaint.number.to_string(),
            when(complaint.receive_time),
            complaint.times.to_string(),
            or_dash(&complaint.kind),
            or_dash(&complaint.source),
            or_dash(&complaint.reporter),
            state_word(complaint.state()).to_owned(),
            or_dash(&complaint.tenant),
            or_dash(&complaint.case_id),
            complaint.deadline.map_or_else(|| "-".to_owned(), |at| when(Some(at))),
            complaint.detail.clone(),
        ]
    }));
    table(&rows)
}

fn story(found: &GetComplaintResponse) -> String {
    let complaint = found.complaint.clone().unwrap_or_default();
    let report: Value = serde_json::from_str(&found.report).unwrap_or_default();
    let said = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
    let mut told = vec![
        ("complaint", complaint.number.to_string()),
        ("state", state_word(complaint.state()).to_owned()),
        (
            "came",
            format!("{}, {} times, by {}", when(complaint.receive_time), complaint.times, complaint.via),
        ),
        ("about", or_dash(&complaint.kind)),
        ("source", or_dash(&complaint.source)),
        ("seen", complaint.seen_time.map_or_else(|| "-".to_owned(), |at| when(Some(at)))),
        ("by", or_dash(&complaint.reporter)),
        ("tenant", or_dash(&complaint.tenant)),
        ("case", or_dash(&complaint.case_id)),
        ("violation", or_dash(&complaint.violation)),
    ];
    if complaint.deadline.is_some() {
        told.push(("until", when(complaint.deadline)));
    }
    if !complaint.detail.is_empty() {
        told.push(("why", complaint.detail.clone()));
    }
    if !said("subject").is_empty() {
        told.push(("subject", said("subject")));
    }
    let mut text = facts(&told);
    if !said("text").is_empty() {
        text.push_str(&format!("\n\n{}", said("text")));
    }
    if !found.message.is_empty() {
        text.push_str(&format!("\n\n{}", plain(&String::from_utf8_lossy(&found.message))));
    }
    text
}

/// What a stranger wrote, without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().filter(|letter| matches!(letter, '\n' | '\t') || !letter.is_control()).collect()
}
