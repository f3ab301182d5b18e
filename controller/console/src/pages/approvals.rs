//! What waits for a second person: who asked for what, why it waits, and yes or no.

use askama::Template;
use axum::Router;
use axum::extract::{Path, Query};
use axum::response::Response;
use axum::routing::{get, post};
use reeve_proto::operator::v1::{
    Approval, ApprovalState, ApproveRequest, GetApprovalRequest, ListApprovalsRequest, RejectRequest,
};
use serde::Deserialize;

use crate::App;
use crate::error::Error;
use crate::forms::Signed;
use crate::page::{self, Base, Flash, address};
use crate::session::Session;
use crate::shown::Badge;

/// Where it is.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/approvals", get(list))
        .route("/approvals/{id}", get(show))
        .route("/approvals/{id}/approve", post(approve))
        .route("/approvals/{id}/reject", post(reject))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    all: String,
}

struct Row {
    approval: Approval,
    badge: Badge,
    act: String,
}

#[derive(Template)]
#[template(path = "approvals.html")]
struct Approvals {
    base: Base,
    is_all: bool,
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "approval.html")]
struct Shown {
    base: Base,
    approval: Approval,
    badge: Badge,
    act: String,
    /// Where what it is about is shown; empty for nowhere.
    href: String,
    /// What was asked for, laid out to be read.
    request: String,
    is_pending: bool,
    /// Whether whoever looks asked for it: they may take it back, and nothing else.
    is_own: bool,
}

/// Where an approval stands.
const fn badge(state: ApprovalState) -> Badge {
    match state {
        ApprovalState::Unspecified => Badge { key: "shown.unknown", tone: "note" },
        ApprovalState::Pending => Badge { key: "approvals.pending", tone: "warn" },
        ApprovalState::Approved => Badge { key: "approvals.approved", tone: "good" },
        ApprovalState::Rejected => Badge { key: "approvals.rejected", tone: "bad" },
        ApprovalState::Expired => Badge { key: "approvals.expired", tone: "note" },
    }
}

/// The method without its service.
fn act(approval: &Approval) -> String {
    approval.method.rsplit('/').next().unwrap_or_default().to_owned()
}

/// The page of a subject of the log's, such as `tenant/a`.
pub(super) fn subject_href(subject: &str) -> String {
    let Some((kind, key)) = subject.split_once('/').filter(|(_, key)| !key.is_empty()) else {
        return String::new();
    };
    match kind {
        "tenant" => address("/tenants", &[key], &[]),
        "node" => address("/nodes", &[key], &[]),
        "violation" => address("/violations", &[key], &[]),
        "case" => address("/cases", &[key], &[]),
        "complaint" => address("/complaints", &[key], &[]),
        "approval" => address("/approvals", &[key], &[]),
        "delivery" => address("/outbox", &[], &[("number", key)]),
        _ => String::new(),
    }
}

/// JSON with lines and indents; as it is where it is none.
pub(super) fn laid_out(json: &str) -> String {
    let read: Result<serde_json::Value, _> = serde_json::from_str(json);
    read.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| json.to_owned())
}

async fn list(session: Session, Query(asked): Query<Asked>) -> Result<Response, Error> {
    let is_all = !asked.all.is_empty();
    let answer = session.api().approvals().list_approvals(ListApprovalsRequest { all: is_all }).await?;
    let row = |approval: Approval| Row { badge: badge(approval.state()), act: act(&approval), approval };
    let rows = answer.into_inner().approvals.into_iter().map(row).collect();
    Ok(page::html(&Approvals { base: session.base("approvals"), is_all, rows }))
}

async fn show(session: Session, Path(id): Path<String>) -> Result<Response, Error> {
    let answer = session.api().approvals().get_approval(GetApprovalRequest { id }).await?.into_inner();
    let approval = answer.approval.unwrap_or_default();
    let is_own = approval.owner == session.name() || approval.asked_by == session.name();
    let page = Shown {
        badge: badge(approval.state()),
        act: act(&approval),
        href: subject_href(&approval.subject),
        request: laid_out(&approval.request),
        is_pending: approval.state() == ApprovalState::Pending,
        is_own,
        base: session.base("approvals"),
        approval,
    };
    Ok(page::html(&page))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Decided {
    reason: String,
}

async fn approve(
    session: Session,
    Path(id): Path<String>,
    Signed(decided): Signed<Decided>,
) -> Result<Response, Error> {
    let back = address("/approvals", &[&id], &[]);
    let request = ApproveRequest { id, reason: decided.reason };
    let answer = match session.api().approvals().approve(request).await {
        Ok(answer) => answer.into_inner().approval.unwrap_or_default(),
        Err(status) => return session.done(Err::<(), _>(status), &back, "shown.done"),
    };
    // It was approved, and carried out; what came of it may still be no.
    let base = session.base("");
    let is_wrong = answer.outcome != "done";
    let text = if is_wrong {
        base.fill("approvals.not_done", &[&answer.outcome])
    } else {
        base.t("approvals.was_done").to_owned()
    };
    Ok(session.back(&back, &Flash { is_wrong, text }))
}

async fn reject(
    session: Session,
    Path(id): Path<String>,
    Signed(decided): Signed<Decided>,
) -> Result<Response, Error> {
    let back = address("/approvals", &[&id], &[]);
    let came = session.api().approvals().reject(RejectRequest { id, reason: decided.reason }).await;
    session.done(came, &back, "approvals.was_rejected")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_is_about_leads_to_its_page() {
        for (subject, expect) in [
            ("tenant/a/b", "/tenants/a%2Fb"),
            ("node/n1", "/nodes/n1"),
            ("delivery/7", "/outbox?number=7"),
            ("tenant/", ""),
            ("fleet", ""),
            ("other/x", ""),
        ] {
            assert_eq!(subject_href(subject), expect, "{subject}");
        }
    }

    #[test]
    fn what_is_no_json_is_shown_as_it_is() {
        assert_eq!(laid_out("{\"a\":1}"), "{\n  \"a\": 1\n}");
        assert_eq!(laid_out("<b>"), "<b>");
    }
}
