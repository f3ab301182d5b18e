//! What goes on now: what needs somebody, who is held, what just happened, and how the fleet fares. What happens comes as it happens.

mod feed;

use askama::Template;
use axum::Router;
use axum::response::Response;
use axum::routing::get;
use prost_types::{FieldMask, Timestamp};
use reeve_proto::operator::v1::{
    ApprovalState, Case, ListApprovalsRequest, ListCasesRequest, ListComplaintsRequest, ListNodesRequest,
    ListTenantsRequest, ListViolationsRequest, Node, TenantEntry,
};
use reeve_proto::types::v1::{Violation, ViolationState};

use crate::App;
use crate::error::Error;
use crate::page::{self, Base};
use crate::session::Session;

pub(crate) use feed::Feeds;

/// Of each list the first so many are shown; the rest is a link away.
const SHOWN: i32 = 25;
/// A node that loses more than this part of what it should see is told of.
const LOSS: f64 = 0.01;

/// Where it is.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/", get(show)).route("/now/board", get(board)).route("/live", get(feed::serve))
}

/// How the fleet fares.
#[derive(Debug, Default)]
struct Fleet {
    connected: usize,
    away: Vec<String>,
    /// Nodes that are paused, by whom and why.
    paused: Vec<(String, String)>,
    /// Nodes whose brakes are set, and why.
    braked: Vec<(String, String)>,
    /// Nodes that lose what they should see, in percent.
    losing: Vec<(String, String)>,
    /// Who paused all of them, why, and since when.
    pause: Option<(String, String, Option<Timestamp>)>,
    has_more: bool,
}

/// What changes while one looks.
struct Board {
    approvals: usize,
    /// Complaints that wait for a person; of more than a page the first.
    complaints: usize,
    /// Cases whose customers did not answer in time.
    late: usize,
    cases: Vec<Case>,
    held: Vec<TenantEntry>,
    violations: Vec<Violation>,
    fleet: Fleet,
}

impl Board {
    /// Whether there is nothing that anybody has to do.
    fn is_quiet(&self) -> bool {
        let fleet = &self.fleet;
        self.approvals == 0
            && self.complaints == 0
            && self.late == 0
            && self.cases.is_empty()
            && fleet.away.is_empty()
            && fleet.paused.is_empty()
            && fleet.braked.is_empty()
            && fleet.losing.is_empty()
            && fleet.pause.is_none()
    }
}

#[derive(Template)]
#[template(path = "now.html")]
struct Now {
    base: Base,
    board: Board,
}

#[derive(Template)]
#[template(path = "now_board.html")]
struct Fragment {
    base: Base,
    board: Board,
}

async fn show(session: Session) -> Result<Response, Error> {
    let board = look(&session).await?;
    Ok(page::html(&Now { base: session.base("now"), board }))
}

async fn board(session: Session) -> Result<Response, Error> {
    let board = look(&session).await?;
    Ok(page::html(&Fragment { base: session.base("now"), board }))
}

async fn look(session: &Session) -> Result<Board, Error> {
    let api = session.api();
    let (mut operator, mut second, mut third) = (api.operator(), api.operator(), api.operator());
    let (mut cases, mut approvals) = (api.cases(), api.approvals());
    let (mut others, mut complaints) = (api.cases(), api.complaints());
    let now = jiff::Timestamp::now().round(jiff::Unit::Minute).unwrap_or_default();
    let late = ListCasesRequest {
        page_size: SHOWN,
        filter: format!("state = waiting AND deadline < \"{now}\""),
        ..Default::default()
    };
    let unread = ListComplaintsRequest {
        page_size: SHOWN,
        filter: "state = unmatched OR state = unreadable".to_owned(),
        ..Default::default()
    };
    let held = ListTenantsRequest {
        page_size: SHOWN,
        filter: "state != clear".to_owned(),
        read_mask: mask(&["tenant.id", "tenant.name", "state"]),
        ..Default::default()
    };
    let open =
        ListViolationsRequest { state: ViolationState::Open.into(), page_size: SHOWN, ..Default::default() };
    let oldest = ListCasesRequest {
        page_size: SHOWN,
        filter: "state = open".to_owned(),
        order_by: "open_time".to_owned(),
        ..Default::default()
    };
    let (held, violations, nodes, cases, approvals, late, complaints) = tokio::join!(
        operator.list_tenants(held),
        second.list_violations(open),
        third.list_nodes(ListNodesRequest::default()),
        cases.list_cases(oldest),
        approvals.list_approvals(ListApprovalsRequest { all: false }),
        others.list_cases(late),
        complaints.list_complaints(unread),
    );
    let nodes = nodes?.into_inner();
    let pause = nodes.fleet_pause.map(|pause| (pause.by, pause.reason, pause.time));
    let has_more = !nodes.next_page_token.is_empty();
    let waiting = approvals?.into_inner().approvals;
    Ok(Board {
        approvals: waiting.iter().filter(|one| one.state() == ApprovalState::Pending).count(),
        complaints: complaints?.into_inner().complaints.len(),
        late: late?.into_inner().cases.len(),
        cases: cases?.into_inner().cases,
        held: held?.into_inner().tenants,
        violations: violations?.into_inner().violations,
        fleet: Fleet { pause, has_more, ..fleet(nodes.nodes) },
    })
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

fn fleet(nodes: Vec<Node>) -> Fleet {
    let mut fleet = Fleet::default();
    for node in nodes {
        if !node.connected {
            fleet.away.push(node.name);
            continue;
        }
        fleet.connected += 1;
        let health = node.health.unwrap_or_default();
        if let Some(pause) = node.pause.or(health.paused) {
            let why =
                if pause.reason.is_empty() { pause.by } else { format!("{}: {}", pause.by, pause.reason) };
            fleet.paused.push((node.name.clone(), why));
        }
        if health.brakes_set_time.is_some() {
            fleet.braked.push((node.name.clone(), health.brakes_set_reason));
        }
        let all = health.frames_received + health.frames_dropped;
        let lost = if all == 0 { 0.0 } else { health.frames_dropped as f64 / all as f64 };
        if lost > LOSS {
            fleet.losing.push((node.name, format!("{:.1} %", lost * 100.0)));
        }
    }
    fleet
}

#[cfg(test)]
mod tests {
    use reeve_proto::agent::v1::NodeHealth;

    use super::*;

    #[test]
    fn the_fleet_tells_of_nodes_that_need_somebody() {
        let health = NodeHealth { frames_received: 90, frames_dropped: 10, ..Default::default() };
        let named = |name: &str, connected, health| Node {
            name: name.to_owned(),
            connected,
            health,
            ..Default::default()
        };
        let told = fleet(vec![
            named("n1", true, Some(NodeHealth::default())),
            named("n2", false, None),
            named("n3", true, Some(health)),
        ]);
        assert_eq!((told.connected, told.away.as_slice()), (2, ["n2".to_owned()].as_slice()));
        assert_eq!(told.losing, [("n3".to_owned(), "10.0 %".to_owned())]);
    }
}
