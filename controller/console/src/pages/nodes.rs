//! The nodes, and one of them: how it sees, what it runs, and who stopped what it does by itself.

use askama::Template;
use axum::Router;
use axum::extract::{Path, Query};
use axum::response::Response;
use axum::routing::{get, post};
use prost_types::Timestamp;
use reeve_proto::operator::v1::{
    EventEntry, ListEventsRequest, ListNodesRequest, ListNodesResponse, Node, PauseRequest, PauseTarget,
    ReleaseBrakesRequest, ResumeRequest, pause_target,
};
use serde::Deserialize;
use tonic::Status;

use crate::App;
use crate::error::Error;
use crate::forms::Signed;
use crate::page::{self, Base, address};
use crate::session::Session;
use crate::shown;

/// As many of a page.
const PAGE: i32 = 100;
/// As many events of a node.
const EVENTS: i32 = 50;

/// Where it is.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/nodes", get(list))
        .route("/nodes/{name}", get(show))
        .route("/nodes/{name}/pause", post(pause))
        .route("/nodes/{name}/resume", post(resume))
        .route("/nodes/{name}/brakes", post(release_brakes))
        .route("/fleet/pause", post(pause_fleet))
        .route("/fleet/resume", post(resume_fleet))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    page: String,
    q: String,
    connected: String,
}

/// What a node tells of itself, as it is shown.
struct Row {
    name: String,
    connected: bool,
    seen: Option<Timestamp>,
    version: String,
    policy: String,
    tenants: u64,
    measures: u64,
    interfaces: u64,
    flows: u64,
    evictions: u64,
    malformed: u64,
    /// Part of the frames that were lost, in percent; empty before it told.
    loss: String,
    is_losing: bool,
    /// Who paused it and why; empty for nobody.
    paused: String,
    paused_since: Option<Timestamp>,
    /// Why its brakes are set; empty where they are not.
    braked: String,
    braked_since: Option<Timestamp>,
    pending: u64,
    refused: u64,
    /// Whether it may act, or only looks.
    enforces: bool,
    sampled: Option<Timestamp>,
}

impl Row {
    fn of(base: &Base, node: Node) -> Self {
        let told = node.health.is_some();
        let health = node.health.unwrap_or_default();
        let enforces = health.mode() == reeve_proto::types::v1::Mode::Enforce;
        let all = health.frames_received + health.frames_dropped;
        let lost = if all == 0 { 0.0 } else { health.frames_dropped as f64 * 100.0 / all as f64 };
        let pause = node.pause.or(health.paused);
        let why = |by: &str, reason: &str| {
            if reason.is_empty() { by.to_owned() } else { format!("{by}: {reason}") }
        };
        let is_braked = health.brakes_set_time.is_some();
        let braked = if is_braked && health.brakes_set_reason.is_empty() {
            base.t("now.braked").to_owned()
        } else {
            health.brakes_set_reason
        };
        Self {
            name: node.name,
            connected: node.connected,
            seen: node.last_seen_time,
            version: node.agent_version,
            policy: match health.policy.as_str() {
                "" => String::new(),
                policy => format!("{policy} {}", health.policy_version),
            },
            tenants: health.tenants,
            measures: health.measures,
            interfaces: health.vantages,
            flows: health.flows,
            evictions: health.evictions,
            malformed: health.malformed,
            loss: if told { format!("{lost:.2} %") } else { String::new() },
            is_losing: lost > 1.0,
            paused: pause.as_ref().map(|pause| why(&pause.by, &pause.reason)).unwrap_or_default(),
            paused_since: pause.and_then(|pause| pause.time),
            braked: if is_braked { braked } else { String::new() },
            braked_since: health.brakes_set_time,
            pending: node.orders_pending,
            refused: node.reports_refused,
            enforces,
            sampled: health.time,
        }
    }
}

#[derive(Template)]
#[template(path = "nodes.html")]
struct Nodes {
    base: Base,
    nodes: Vec<Row>,
    q: String,
    connected: String,
    /// Who paused all of them, and since when.
    pause: Option<(String, Option<Timestamp>)>,
    /// Where the next page is; empty on the last.
    next: String,
}

async fn list(session: Session, Query(asked): Query<Asked>) -> Result<Response, Error> {
    let base = session.base("nodes");
    let mut filter: Vec<String> = Vec::new();
    if !asked.q.trim().is_empty() {
        filter.push(format!("name = {}", shown::quoted(asked.q.trim())));
    }
    match asked.connected.as_str() {
        "yes" => filter.push("connected = true".to_owned()),
        "no" => filter.push("connected = false".to_owned()),
        _ => {}
    }
    let request = ListNodesRequest {
        page_size: PAGE,
        page_token: asked.page,
        filter: filter.join(" AND "),
        ..ListNodesRequest::default()
    };
    let answer: ListNodesResponse = session.api().operator().list_nodes(request).await?.into_inner();
    let next = match answer.next_page_token.as_str() {
        "" => String::new(),
        token => address("/nodes", &[], &[("q", &asked.q), ("connected", &asked.connected), ("page", token)]),
    };
    let pause = answer.fleet_pause.map(|pause| {
        let why = if pause.reason.is_empty() { pause.by } else { format!("{}: {}", pause.by, pause.reason) };
        (why, pause.time)
    });
    let nodes = answer.nodes.into_iter().map(|node| Row::of(&base, node)).collect();
    Ok(page::html(&Nodes { base, nodes, q: asked.q, connected: asked.connected, pause, next }))
}

#[derive(Template)]
#[template(path = "node.html")]
struct One {
    base: Base,
    node: Row,
    events: Vec<EventEntry>,
}

impl One {
    /// What an event is, in the log's words.
    fn kind(entry: &EventEntry) -> String {
        let kind = entry.event.as_ref().map(|event| event.kind().as_str_name()).unwrap_or_default();
        kind.trim_start_matches("NODE_EVENT_KIND_").to_ascii_lowercase().replace('_', " ")
    }
}

async fn show(session: Session, Path(name): Path<String>) -> Result<Response, Error> {
    let base = session.base("nodes");
    let named = ListNodesRequest {
        filter: format!("name = {}", shown::quoted(&name)),
        ..ListNodesRequest::default()
    };
    let lately = ListEventsRequest { node: name.clone(), page_size: EVENTS, ..Default::default() };
    let (mut nodes, mut events) = (session.api().operator(), session.api().operator());
    let (nodes, events) = tokio::join!(nodes.list_nodes(named), events.list_events(lately));
    let node = nodes?.into_inner().nodes.into_iter().next().ok_or(Error::Nowhere)?;
    let node = Row::of(&base, node);
    Ok(page::html(&One { base, node, events: events?.into_inner().events }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Act {
    reason: String,
    lift: String,
    key: String,
}

fn one(name: String) -> Option<PauseTarget> {
    Some(PauseTarget { target: Some(pause_target::Target::Node(name)) })
}

const fn fleet() -> Option<PauseTarget> {
    Some(PauseTarget { target: Some(pause_target::Target::Fleet(true)) })
}

async fn pause_at(session: &Session, target: Option<PauseTarget>, act: Act) -> Result<(), Status> {
    let Act { reason, lift, key } = act;
    let request = PauseRequest { target, reason, lift: !lift.is_empty(), idempotency_key: key, wait: true };
    session.api().operator().pause(request).await.map(drop)
}

async fn resume_at(session: &Session, target: Option<PauseTarget>, act: Act) -> Result<(), Status> {
    let request = ResumeRequest { target, reason: act.reason, idempotency_key: act.key, wait: true };
    session.api().operator().resume(request).await.map(drop)
}

async fn pause(
    session: Session,
    Path(name): Path<String>,
    Signed(act): Signed<Act>,
) -> Result<Response, Error> {
    let back = address("/nodes", &[&name], &[]);
    session.done(pause_at(&session, one(name), act).await, &back, "nodes.was_paused")
}

async fn resume(
    session: Session,
    Path(name): Path<String>,
    Signed(act): Signed<Act>,
) -> Result<Response, Error> {
    let back = address("/nodes", &[&name], &[]);
    session.done(resume_at(&session, one(name), act).await, &back, "nodes.was_resumed")
}

async fn pause_fleet(session: Session, Signed(act): Signed<Act>) -> Result<Response, Error> {
    session.done(pause_at(&session, fleet(), act).await, "/nodes", "nodes.was_paused")
}

async fn resume_fleet(session: Session, Signed(act): Signed<Act>) -> Result<Response, Error> {
    session.done(resume_at(&session, fleet(), act).await, "/nodes", "nodes.was_resumed")
}

async fn release_brakes(
    session: Session,
    Path(name): Path<String>,
    Signed(act): Signed<Act>,
) -> Result<Response, Error> {
    let back = address("/nodes", &[&name], &[]);
    let request =
        ReleaseBrakesRequest { node: name, reason: act.reason, idempotency_key: act.key, wait: true };
    let came = session.api().operator().release_brakes(request).await;
    session.done(came, &back, "nodes.was_released")
}
