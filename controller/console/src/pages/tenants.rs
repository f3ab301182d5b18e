//! The tenants: searched by id, name, address or interface, filtered by where they stand, and several acted upon at once.
//!
//! The list is a page of the controller's memory; where those who are not clear stand and why is asked of all of them in one call.

use std::net::IpAddr;

use askama::Template;
use axum::Router;
use axum::extract::{Query, RawQuery};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use reeve_proto::operator::v1::batch_release_response::result::Outcome as ReleaseOutcome;
use reeve_proto::operator::v1::batch_suspend_response::result::Outcome as SuspendOutcome;
use reeve_proto::operator::v1::{
    BatchReleaseRequest, BatchSuspendRequest, ListCasesRequest, ListTenantsRequest, ListViolationsRequest,
    ReleaseRequest, SuspendRequest, TenantEntry,
};
use reeve_proto::status::v1::batch_get_status_response::answer::Answer;
use reeve_proto::status::v1::get_status_request::Subject;
use reeve_proto::status::v1::{BatchGetStatusRequest, GetStatusRequest, GetStatusResponse, State};
use serde::Deserialize;

use crate::App;
use crate::error::Error;
use crate::forms::Signed;
use crate::page::{self, Base, address};
use crate::session::Session;
use crate::shown::{self, Badge, Filter, quoted};

/// So many are on a page.
const PAGE: i32 = 50;
/// The most that one act is about, as the controller has it.
const MOST: usize = 500;
/// Addresses of a tenant that are shown in the list.
const ADDRESSES: usize = 2;

/// Where it is.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/tenants", get(list)).route("/tenants/bulk", get(ask).post(act))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    q: String,
    state: String,
    order: String,
    page: String,
}

/// A row of the list.
struct Row {
    id: String,
    name: String,
    badge: Badge,
    addresses: String,
    more_addresses: usize,
    parent: String,
    /// Why and since when, of those who are not clear.
    status: Option<GetStatusResponse>,
}

#[derive(Template)]
#[template(path = "tenants.html")]
struct Tenants {
    base: Base,
    asked: Asked,
    rows: Vec<Row>,
    /// Whether somebody searched for an address or a port that nobody has.
    is_nobodys: bool,
    next: String,
}

const STATES: [&str; 5] = ["suspended", "blocked", "limited", "warned", "clear"];
const ORDERS: [&str; 4] = ["id", "name", "state desc", "quota_bytes desc"];

impl Tenants {
    /// The states that one can choose, each with the key of its word.
    fn states(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let keys = ["shown.suspended", "shown.blocked", "shown.limited", "shown.warned", "shown.clear"];
        STATES.into_iter().zip(keys)
    }

    fn orders(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let keys = ["tenants.by_id", "tenants.by_name", "tenants.by_state", "tenants.by_plan"];
        ORDERS.into_iter().zip(keys)
    }

    /// Whether anything narrows the list.
    fn is_narrow(&self) -> bool {
        !self.asked.q.is_empty() || !self.asked.state.is_empty()
    }
}

async fn list(session: Session, Query(asked): Query<Asked>) -> Result<Response, Error> {
    let q = asked.q.trim();
    let mut is_nobodys = false;
    if !q.is_empty() {
        if let Some(subject) = subject(q) {
            match session.api().status().get_status(GetStatusRequest { subject: Some(subject) }).await {
                Ok(found) => return Ok(to_tenant(&found.get_ref().tenant)),
                Err(status) if shown::is_missing(&status) => is_nobodys = true,
                Err(status) if status.code() == tonic::Code::InvalidArgument => is_nobodys = true,
                Err(status) => return Err(status.into()),
            }
        } else if let Some(found) = elsewhere(&session, q).await? {
            return Ok(found);
        }
    }
    let request = ListTenantsRequest {
        page_size: PAGE,
        page_token: asked.page.clone(),
        filter: filter(&asked, if is_nobodys { "" } else { q }),
        order_by: asked.order.clone(),
        read_mask: Some(prost_types::FieldMask { paths: MASK.map(str::to_owned).to_vec() }),
        ..ListTenantsRequest::default()
    };
    // Nobody has what was looked for: the whole list would be no answer.
    let answer = match is_nobodys {
        true => Default::default(),
        false => session.api().operator().list_tenants(request).await?.into_inner(),
    };
    // Who has this id, or is alone in having this name, is who was looked for.
    if let [only] = answer.tenants.as_slice()
        && let Some(tenant) = &only.tenant
        && (tenant.id == q || tenant.name == q)
    {
        return Ok(to_tenant(&tenant.id));
    }
    let rows = rows(&session, answer.tenants).await?;
    let next = match answer.next_page_token.as_str() {
        "" => String::new(),
        token => {
            let query = [("q", q), ("state", &asked.state), ("order", &asked.order), ("page", token)];
            address("/tenants", &[], &query)
        }
    };
    Ok(page::html(&Tenants { base: session.base("tenants"), asked, rows, is_nobodys, next }))
}

const MASK: [&str; 5] = ["tenant.id", "tenant.name", "tenant.parent", "tenant.addresses", "state"];

fn to_tenant(id: &str) -> Response {
    Redirect::to(&address("/tenants", &[id], &[])).into_response()
}

/// An address, or a port as `NODE/IFNAME` or `IFNAME@NODE`; `None` for an id or a name.
fn subject(q: &str) -> Option<Subject> {
    if q.parse::<IpAddr>().is_ok() {
        return Some(Subject::Address(q.to_owned()));
    }
    let is_port = |node: &str, port: &str| {
        let is_word = |word: &str| !word.is_empty() && !word.contains(char::is_whitespace);
        is_word(node) && is_word(port)
    };
    if let Some((node, port)) = q.split_once('/').filter(|(node, port)| is_port(node, port)) {
        return Some(Subject::Interface(format!("{node}/{port}")));
    }
    let (port, node) = q.split_once('@').filter(|(port, node)| is_port(node, port))?;
    Some(Subject::Interface(format!("{node}/{port}")))
}

/// A case or a violation of this key: they are looked up in lists, for whoever only searches has not looked at evidence.
async fn elsewhere(session: &Session, q: &str) -> Result<Option<Response>, Error> {
    let is_key =
        q.len() >= 16 && q.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter));
    if !is_key {
        return Ok(None);
    }
    let filter = format!("id = {}", quoted(q));
    let cases = ListCasesRequest {
        page_size: 1,
        include_closed: true,
        filter: filter.clone(),
        ..ListCasesRequest::default()
    };
    let violations = ListViolationsRequest { page_size: 1, filter, ..ListViolationsRequest::default() };
    let (mut case_client, mut client) = (session.api().cases(), session.api().operator());
    let (cases, violations) = tokio::join!(case_client.list_cases(cases), client.list_violations(violations));
    let to = |place: &str, id: &str| Some(Redirect::to(&address(place, &[id], &[])).into_response());
    if let Some(case) = cases?.get_ref().cases.first() {
        return Ok(to("/cases", &case.id));
    }
    Ok(violations?.get_ref().violations.first().and_then(|one| to("/violations", &one.id)))
}

/// Ids and names are compared byte by byte, and only as a whole or by order: what begins with a text stands between it and the last that does.
fn filter(asked: &Asked, q: &str) -> String {
    let mut filter = Filter::default();
    if !q.is_empty() {
        let (from, to) = (quoted(q), quoted(&format!("{q}\u{10ffff}")));
        filter.also(format_args!("((id >= {from} AND id <= {to}) OR (name >= {from} AND name <= {to}))"));
    }
    if STATES.contains(&asked.state.as_str()) {
        filter.also(format_args!("state = {}", asked.state));
    }
    filter.written()
}

async fn rows(session: &Session, entries: Vec<TenantEntry>) -> Result<Vec<Row>, Error> {
    let id = |entry: &TenantEntry| entry.tenant.as_ref().map(|tenant| tenant.id.clone()).unwrap_or_default();
    let held: Vec<GetStatusRequest> = entries
        .iter()
        .filter(|entry| entry.state() != State::Clear)
        .map(|entry| GetStatusRequest { subject: Some(Subject::Tenant(id(entry))) })
        .collect();
    let answers = match held.is_empty() {
        true => Vec::new(),
        false => {
            let request = BatchGetStatusRequest { subjects: held };
            session.api().status().batch_get_status(request).await?.into_inner().answers
        }
    };
    let mut told: std::collections::HashMap<String, GetStatusResponse> = answers
        .into_iter()
        .filter_map(|answer| match answer.answer? {
            Answer::Status(status) => Some((status.tenant.clone(), status)),
            Answer::Problem(_) => None,
        })
        .collect();
    let row = |entry: TenantEntry| {
        let state = entry.state();
        let tenant = entry.tenant.unwrap_or_default();
        let status = told.remove(&tenant.id);
        Row {
            badge: shown::standing(state),
            addresses: tenant
                .addresses
                .iter()
                .take(ADDRESSES)
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(" "),
            more_addresses: tenant.addresses.len().saturating_sub(ADDRESSES),
            id: tenant.id,
            name: tenant.name,
            parent: tenant.parent,
            status,
        }
    };
    Ok(entries.into_iter().map(row).collect())
}

/// What is asked before several are acted upon.
#[derive(Template)]
#[template(path = "tenants_bulk.html")]
struct Bulk {
    base: Base,
    /// `release` or `suspend`.
    act: &'static str,
    tenants: Vec<String>,
    key: String,
}

/// What became of it for one of them.
struct Outcome {
    tenant: String,
    is_wrong: bool,
    told: String,
}

#[derive(Template)]
#[template(path = "tenants_done.html")]
struct Done {
    base: Base,
    act: &'static str,
    outcomes: Vec<Outcome>,
    failed: usize,
}

fn act_named(name: &str) -> Result<&'static str, Error> {
    match name {
        "release" => Ok("release"),
        "suspend" => Ok("suspend"),
        other => Err(Error::Form(format!("act: {other}"))),
    }
}

/// Asks whether it is meant: nothing is done by looking at this page.
async fn ask(session: Session, RawQuery(query): RawQuery) -> Result<Response, Error> {
    let query = query.unwrap_or_default();
    let (mut act, mut tenants) = (String::new(), Vec::new());
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "act" => act = value.into_owned(),
            "tenant" if tenants.len() < MOST => tenants.push(value.into_owned()),
            _ => {}
        }
    }
    let act = act_named(&act)?;
    Ok(page::html(&Bulk { base: session.base("tenants"), act, tenants, key: shown::fresh_key() }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Order {
    act: String,
    tenants: String,
    reason: String,
    clause: String,
    forgive: String,
    sure: String,
    key: String,
}

async fn act(session: Session, Signed(order): Signed<Order>) -> Result<Response, Error> {
    let act = act_named(&order.act)?;
    if order.sure.is_empty() {
        return Err(Error::Form(session.base("").t("tenants.not_sure").to_owned()));
    }
    let mut named: Vec<&str> = order.tenants.split_whitespace().collect();
    named.sort_unstable();
    named.dedup();
    let mut client = session.api().operator();
    let base = session.base("tenants");
    let outcomes: Vec<Outcome> = if act == "release" {
        let one = |tenant: &&str| ReleaseRequest {
            tenant: (*tenant).to_owned(),
            reason: order.reason.clone(),
            forgive: !order.forgive.is_empty(),
            ..ReleaseRequest::default()
        };
        let requests = named.iter().map(one).collect();
        let request = BatchReleaseRequest { requests, idempotency_key: order.key, wait: true };
        match client.batch_release(request).await {
            Err(status) => return session.done(Err::<(), _>(status), "/tenants", "shown.done"),
            Ok(answer) => answer.into_inner().results.into_iter().map(|one| released(&base, one)).collect(),
        }
    } else {
        let one = |tenant: &&str| SuspendRequest {
            tenant: (*tenant).to_owned(),
            reason: order.reason.clone(),
            clause: order.clause.trim().to_owned(),
            ..SuspendRequest::default()
        };
        let requests = named.iter().map(one).collect();
        let request = BatchSuspendRequest { requests, idempotency_key: order.key, wait: true };
        match client.batch_suspend(request).await {
            Err(status) => return session.done(Err::<(), _>(status), "/tenants", "shown.done"),
            Ok(answer) => answer.into_inner().results.into_iter().map(|one| suspended(&base, one)).collect(),
        }
    };
    let failed = outcomes.iter().filter(|one| one.is_wrong).count();
    Ok(page::html(&Done { base, act, outcomes, failed }))
}

fn released(base: &Base, one: reeve_proto::operator::v1::batch_release_response::Result) -> Outcome {
    let (is_wrong, told) = match one.outcome {
        Some(ReleaseOutcome::Ordered(done)) => (false, shown::ordered(base, &done.nodes)),
        Some(ReleaseOutcome::Error(error)) => (true, error.message),
        None => (true, base.t("shown.unknown").to_owned()),
    };
    Outcome { tenant: one.tenant, is_wrong, told }
}

fn suspended(base: &Base, one: reeve_proto::operator::v1::batch_suspend_response::Result) -> Outcome {
    let (is_wrong, told) = match one.outcome {
        Some(SuspendOutcome::Ordered(done)) => (false, shown::ordered(base, &done.nodes)),
        Some(SuspendOutcome::Error(error)) => (true, error.message),
        None => (true, base.t("shown.unknown").to_owned()),
    };
    Outcome { tenant: one.tenant, is_wrong, told }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for_is_told_from_its_form() {
        let port = |text: &str| Some(Subject::Interface(text.to_owned()));
        assert_eq!(subject("203.0.113.7"), Some(Subject::Address("203.0.113.7".into())));
        assert_eq!(subject("2001:db8::7"), Some(Subject::Address("2001:db8::7".into())));
        assert_eq!(subject("hv-07/tap10"), port("hv-07/tap10"));
        assert_eq!(subject("tap10@hv-07"), port("hv-07/tap10"));
        for name in ["alice", "Alice B.V.", "a / b", "@", "x@", "/"] {
            assert_eq!(subject(name), None, "{name}");
        }
    }

    #[test]
    fn what_somebody_types_cannot_leave_its_quotes() {
        let asked = Asked { state: "open OR true".into(), ..Asked::default() };
        assert_eq!(filter(&asked, ""), "");
        let asked = Asked { state: "blocked".into(), ..Asked::default() };
        let written = filter(&asked, "x\") OR (id != \"");
        assert!(written.contains("id >= \"x\\\") OR (id != \\\"\""), "{written}");
        assert!(written.ends_with(" AND state = blocked"), "{written}");
    }

    #[test]
    fn only_acts_that_there_are_can_be_asked_for() {
        assert!(act_named("release").is_ok() && act_named("suspend").is_ok());
        assert!(act_named("delete").is_err());
    }
}
