//! What people outside complain about: first what waits for a person, and each in the words of whoever complains.

use askama::Template;
use axum::Router;
use axum::extract::{Path, Query};
use axum::response::Response;
use axum::routing::{get, post};
use reeve_proto::operator::v1::{
    Complaint, ComplaintFormat, ComplaintState, GetComplaintRequest, ListComplaintsRequest,
    SettleComplaintRequest, SubmitComplaintsRequest,
};
use serde::Deserialize;
use serde_json::Value;

use crate::App;
use crate::error::Error;
use crate::forms::Signed;
use crate::page::{self, Base, Flash, address};
use crate::session::Session;
use crate::shown::{self, Badge, Filter};

/// So many are on a page.
const PAGE: i32 = 50;
/// Of a message that could not be read so much is shown, in bytes; the API has all that is kept.
const SHOWN: usize = 64 << 10;

/// Where it is.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/complaints", get(list))
        .route("/complaints/new", get(new).post(submit))
        .route("/complaints/{number}", get(show))
        .route("/complaints/{number}/settle", post(settle))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    state: String,
    tenant: String,
    kind: String,
    source: String,
    case: String,
    page: String,
}

struct Row {
    complaint: Complaint,
    badge: Badge,
}

#[derive(Template)]
#[template(path = "complaints.html")]
struct Complaints {
    base: Base,
    asked: Asked,
    rows: Vec<Row>,
    next: String,
}

/// What can be chosen, with the key of its word. The first is what is shown without a choice.
const STATES: [(&str, &str); 6] = [
    ("", "tenants.any"),
    ("waiting", "complaints.waiting"),
    ("filed", "complaints.filed"),
    ("unmatched", "complaints.unmatched"),
    ("unreadable", "complaints.unreadable"),
    ("dismissed", "complaints.dismissed"),
];

impl Complaints {
    fn states(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        STATES.into_iter()
    }
}

/// How far a complaint is.
const fn badge(state: ComplaintState) -> Badge {
    match state {
        ComplaintState::Unspecified => Badge { key: "shown.unknown", tone: "note" },
        ComplaintState::Filed => Badge { key: "complaints.filed", tone: "good" },
        ComplaintState::Unmatched => Badge { key: "complaints.unmatched", tone: "warn" },
        ComplaintState::Unreadable => Badge { key: "complaints.unreadable", tone: "warn" },
        ComplaintState::Dismissed => Badge { key: "complaints.dismissed", tone: "note" },
    }
}

fn request(asked: &Asked) -> ListComplaintsRequest {
    let mut filter = Filter::default();
    match asked.state.as_str() {
        state @ ("filed" | "unmatched" | "unreadable" | "dismissed") => {
            filter.also(format_args!("state = {state}"));
        }
        "waiting" => filter.also("(state = unmatched OR state = unreadable)"),
        _ => {}
    }
    filter.text("tenant", asked.tenant.trim());
    filter.text("kind", asked.kind.trim());
    filter.text("source", asked.source.trim());
    filter.text("case_id", asked.case.trim());
    ListComplaintsRequest { page_size: PAGE, page_token: asked.page.clone(), filter: filter.written() }
}

async fn list(session: Session, Query(asked): Query<Asked>) -> Result<Response, Error> {
    let answer = session.api().complaints().list_complaints(request(&asked)).await?.into_inner();
    let next = match answer.next_page_token.as_str() {
        "" => String::new(),
        token => {
            let query = [
                ("state", asked.state.as_str()),
                ("tenant", &asked.tenant),
                ("kind", &asked.kind),
                ("source", &asked.source),
                ("case", &asked.case),
                ("page", token),
            ];
            address("/complaints", &[], &query)
        }
    };
    let row = |complaint: Complaint| Row { badge: badge(complaint.state()), complaint };
    let rows = answer.complaints.into_iter().map(row).collect();
    Ok(page::html(&Complaints { base: session.base("complaints"), asked, rows, next }))
}

/// Something that a report says: in its own words.
struct Fact {
    name: String,
    said: String,
}

#[derive(Template)]
#[template(path = "complaint.html")]
struct Shown {
    base: Base,
    complaint: Complaint,
    badge: Badge,
    subject: String,
    text: String,
    facts: Vec<Fact>,
    /// Of one that could not be read: the message as it came.
    message: String,
    /// Whether it is in a case: then it can be taken out of it, and else be put in one.
    is_filed: bool,
    is_dismissed: bool,
    key: String,
}

/// What a report says besides its subject and text, as names and values.
fn facts(before: &str, value: &Value, facts: &mut Vec<Fact>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_above = before.is_empty() && matches!(name.as_str(), "subject" | "text");
                if !is_above {
                    let name = name.replace('_', " ");
                    let name = if before.is_empty() { name } else { format!("{before} {name}") };
                    self::facts(&name, value, facts);
                }
            }
        }
        Value::Array(values) if values.iter().any(|value| value.is_object()) => {
            values.iter().for_each(|value| self::facts(before, value, facts));
        }
        Value::Array(values) => {
            let all: Vec<String> = values.iter().map(plain).collect();
            facts.push(Fact { name: before.to_owned(), said: all.join("\n") });
        }
        other => facts.push(Fact { name: before.to_owned(), said: plain(other) }),
    }
    facts.retain(|fact| !fact.said.is_empty());
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

async fn show(session: Session, Path(number): Path<u64>) -> Result<Response, Error> {
    let found = session.api().complaints().get_complaint(GetComplaintRequest { number }).await?.into_inner();
    let complaint = found.complaint.unwrap_or_default();
    let report: Value = serde_json::from_str(&found.report).unwrap_or_default();
    let text = |name: &str| report.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut said = Vec::new();
    facts("", &report, &mut said);
    let message = &found.message[..found.message.len().min(SHOWN)];
    let page = Shown {
        badge: badge(complaint.state()),
        subject: text("subject"),
        text: text("text"),
        facts: said,
        message: String::from_utf8_lossy(message).into_owned(),
        is_filed: complaint.state() == ComplaintState::Filed,
        is_dismissed: complaint.state() == ComplaintState::Dismissed,
        key: shown::fresh_key(),
        base: session.base("complaints"),
        complaint,
    };
    Ok(page::html(&page))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Settled {
    tenant: String,
    reason: String,
    key: String,
    /// Which button was pressed: `assign` or `dismiss`.
    act: String,
}

async fn settle(
    session: Session,
    Path(number): Path<u64>,
    Signed(settled): Signed<Settled>,
) -> Result<Response, Error> {
    let back = address("/complaints", &[&number.to_string()], &[]);
    let tenant = match settled.act.as_str() {
        "dismiss" => String::new(),
        // Without a tenant it would be dismissed, which nobody asked for.
        "assign" if settled.tenant.trim().is_empty() => return Err(Error::Form("tenant".to_owned())),
        "assign" => settled.tenant.trim().to_owned(),
        other => return Err(Error::Form(format!("act: {other}"))),
    };
    let (reason, idempotency_key) = (settled.reason, settled.key);
    let request = SettleComplaintRequest { number, tenant, reason, idempotency_key };
    let came = session.api().complaints().settle_complaint(request).await;
    shown::told(&session, came, &back, |base, answer| match answer.complaint.as_ref() {
        Some(one) if one.state() == ComplaintState::Filed => {
            base.fill("complaints.was_filed", &[&one.tenant, &one.case_id])
        }
        _ => base.t("complaints.was_dismissed").to_owned(),
    })
}

#[derive(Template)]
#[template(path = "complaint_new.html")]
struct New {
    base: Base,
}

async fn new(session: Session) -> Result<Response, Error> {
    Ok(page::html(&New { base: session.base("complaints") }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Written {
    message: String,
}

async fn submit(session: Session, Signed(written): Signed<Written>) -> Result<Response, Error> {
    let request = SubmitComplaintsRequest {
        message: written.message.into_bytes(),
        format: ComplaintFormat::Unspecified.into(),
    };
    let answer = match session.api().complaints().submit_complaints(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return session.done(Err::<(), _>(status), "/complaints/new", "shown.done"),
    };
    let base = session.base("");
    let to = match answer.complaints.as_slice() {
        [one] => address("/complaints", &[&one.number.to_string()], &[]),
        _ => "/complaints".to_owned(),
    };
    let text = base.fill("complaints.taken", &[&answer.complaints.len()]);
    Ok(session.back(&to, &Flash { is_wrong: false, text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_told_in_its_own_words() {
        let report = serde_json::json!({
            "subject": "s", "text": "t", "source": "192.0.2.1", "port": 25, "takedown": null, "hosts": [],
            "reporter": { "org": "O", "email": "" }, "urls": ["a", "b"],
            "header": [{ "name": "From", "value": "x" }],
        });
        let mut told = Vec::new();
        facts("", &report, &mut told);
        let mut told: Vec<String> = told.iter().map(|fact| format!("{}={}", fact.name, fact.said)).collect();
        told.sort();
        assert_eq!(
            told,
            [
                "header name=From",
                "header value=x",
                "port=25",
                "reporter org=O",
                "source=192.0.2.1",
                "urls=a\nb"
            ]
        );
    }

    #[test]
    fn a_choice_becomes_a_question() {
        let asked = Asked { state: "waiting".into(), tenant: " a\" ".into(), ..Asked::default() };
        assert_eq!(
            request(&asked).filter,
            "(state = unmatched OR state = unreadable) AND tenant = \"a\\\"\""
        );
        assert_eq!(request(&Asked { state: "x OR y".into(), ..Asked::default() }).filter, "");
    }
}
