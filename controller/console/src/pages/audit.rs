//! What was asked for, by whom, and what came of it.

use std::fmt::Write as _;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::Query;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use jiff::civil::Date;
use prost_types::Timestamp as WireTime;
use reeve_proto::operator::v1::{AuditEntry, ExportAuditRequest, ListAuditRequest};
use serde::Deserialize;
use tokio_stream::StreamExt as _;

use super::approvals::{laid_out, subject_href};
use crate::App;
use crate::error::Error;
use crate::page::{self, Base, address};
use crate::session::Session;

/// So many are on a page.
const PAGE: i32 = 100;

/// Where it is.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/audit", get(list)).route("/audit/export", get(export))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    who: String,
    act: String,
    subject: String,
    since: String,
    page: String,
}

struct Row {
    entry: AuditEntry,
    href: String,
    asked: String,
    /// How it ended, as a class of the style sheet.
    tone: &'static str,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct Audit {
    base: Base,
    asked: Asked,
    rows: Vec<Row>,
    key: String,
    next: String,
}

fn row(entry: AuditEntry) -> Row {
    let tone = match entry.outcome.as_str() {
        "asked" => "",
        "done" => "good",
        _ => "warn",
    };
    Row { href: subject_href(&entry.subject), asked: laid_out(&entry.asked), tone, entry }
}

/// The beginning of a day in the zone of whoever looks.
fn since(base: &Base, day: &str) -> Result<Option<WireTime>, Error> {
    if day.trim().is_empty() {
        return Ok(None);
    }
    let day: Date = day.trim().parse().map_err(|error| Error::Form(format!("since: {error}")))?;
    let begin = base.begin_of(day).map_err(|error| Error::Form(format!("since: {error}")))?;
    Ok(Some(WireTime { seconds: begin.as_second(), nanos: 0 }))
}

async fn list(session: Session, Query(asked): Query<Asked>) -> Result<Response, Error> {
    let base = session.base("audit");
    let request = ListAuditRequest {
        who: asked.who.trim().to_owned(),
        act: asked.act.trim().to_owned(),
        subject: asked.subject.trim().to_owned(),
        since: since(&base, &asked.since)?,
        page_size: PAGE,
        page_token: asked.page.clone(),
    };
    let answer = session.api().audit().list_audit(request).await?.into_inner();
    let next = match answer.next_page_token.as_str() {
        "" => String::new(),
        token => {
            let query = [
                ("who", asked.who.as_str()),
                ("act", &asked.act),
                ("subject", &asked.subject),
                ("since", &asked.since),
                ("page", token),
            ];
            address("/audit", &[], &query)
        }
    };
    let rows = answer.entries.into_iter().map(row).collect();
    Ok(page::html(&Audit { base, asked, rows, key: answer.key, next }))
}

/// The chain, byte for byte as it is verified.
async fn export(session: Session) -> Result<Response, Error> {
    let lines = session.api().audit().export_audit(ExportAuditRequest { from: 0 }).await?.into_inner();
    let lines = lines.map(|line| {
        line.map(|line| {
            let mut text = line.line;
            // Writing to a text cannot fail.
            _ = writeln!(text);
            text
        })
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"reeve-audit.jsonl\""),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}
