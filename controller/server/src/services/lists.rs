//! The lists that operators ask for most: tenants, nodes, violations and events.

use std::sync::Arc;

use reeve_policy::{Tenant, ViolationState};
use reeve_proto::operator::v1::{
    EventEntry, ListEventsRequest, ListEventsResponse, ListNodesRequest, ListNodesResponse,
    ListTenantsRequest, ListTenantsResponse, ListViolationsRequest, ListViolationsResponse, Node,
    TenantEntry,
};
use reeve_proto::{time, time_to_wire, types};
use tonic::Status;

use super::operator::parsed;
use super::status::state_to_wire;
use super::{House, unreadable, unsound, watch};
use crate::clock;
use crate::directory::State;
use crate::identity::Protection;
use crate::listing::{Asked, Field, Kind, List, Mask, Value};
use crate::store::{EventFilter, EventRow, NodeRow, Sight, ViolationFilter};

static TENANTS: List = List {
    name: "ListTenants",
    fields: &[
        Field { name: "id", kind: Kind::Text, column: "" },
        Field { name: "name", kind: Kind::Text, column: "" },
        Field { name: "parent", kind: Kind::Text, column: "" },
        Field {
            name: "profile",
            kind: Kind::Words(&[
                "none",
                "web",
                "mail",
                "p2p",
                "crawler",
                "scanner",
                "federation",
                "monitoring",
            ]),
            column: "",
        },
        Field {
            name: "state",
            kind: Kind::Words(&["clear", "warned", "limited", "blocked", "suspended"]),
            column: "",
        },
        Field { name: "quota_bytes", kind: Kind::Number, column: "" },
        Field { name: "exempt", kind: Kind::Flag, column: "" },
        Field { name: "known_offender", kind: Kind::Flag, column: "" },
    ],
    descending: false,
    sizes: (500, 1_000),
};

static NODES: List = List {
    name: "ListNodes",
    fields: &[
        Field { name: "name", kind: Kind::Text, column: "" },
        Field { name: "connected", kind: Kind::Flag, column: "" },
        Field { name: "last_seen_time", kind: Kind::Time, column: "" },
        Field { name: "agent_version", kind: Kind::Text, column: "" },
        Field { name: "tenants_version", kind: Kind::Number, column: "" },
        Field { name: "orders_pending", kind: Kind::Number, column: "" },
        Field { name: "reports_refused", kind: Kind::Number, column: "" },
        Field { name: "paused", kind: Kind::Flag, column: "" },
    ],
    descending: false,
    sizes: (1_000, 1_000),
};

static VIOLATIONS: List = List {
    name: "ListViolations",
    fields: &[
        Field { name: "id", kind: Kind::Text, column: "id" },
        Field { name: "tenant", kind: Kind::Text, column: "tenant" },
        Field { name: "node", kind: Kind::Text, column: "node" },
        Field { name: "state", kind: Kind::Words(&["open", "quiet", "released"]), column: "state" },
        Field { name: "rule", kind: Kind::Text, column: "coalesce(rule, '')" },
        Field { name: "opened_time", kind: Kind::Time, column: "opened" },
        Field { name: "last_seen_time", kind: Kind::Time, column: "last_seen" },
        Field { name: "strike", kind: Kind::Number, column: "strike" },
    ],
    descending: true,
    sizes: (50, 500),
};

static EVENTS: List = List {
    name: "ListEvents",
    fields: &[
        Field { name: "number", kind: Kind::Number, column: "id" },
        Field { name: "node", kind: Kind::Text, column: "node" },
        Field { name: "kind", kind: Kind::Text, column: "kind" },
        Field { name: "time", kind: Kind::Time, column: "at" },
        Field { name: "received_time", kind: Kind::Time, column: "received" },
    ],
    descending: true,
    sizes: (100, 1_000),
};

/// Lists tenants.
pub(super) fn tenants(
    house: &House,
    sight: Sight,
    request: ListTenantsRequest,
) -> Result<ListTenantsResponse, Status> {
    let asked = Asked {
        page_size: request.page_size,
        page_token: &request.page_token,
        filter: &request.filter,
        order_by: &request.order_by,
        also: request.tenant.clone(),
    };
    let plan = TENANTS.plan(&house.pages, &asked)?;
    let mask = Mask::read("reeve.operator.v1.TenantEntry", request.read_mask)?;
    let only = parsed("tenant", &request.tenant)?;
    let (snapshot, now) = (house.directory.snapshot(), clock::now());
    let state = |tenant: &Tenant| snapshot.seen_status(&tenant.id, sight, now).state;
    let get = |tenant: &&Arc<Tenant>, field: usize| match field {
        0 => Value::text(&tenant.id),
        1 => Value::text(&tenant.name),
        2 => Value::text(tenant.parent.as_ref().map(ToString::to_string).unwrap_or_default()),
        3 => Value::text(tenant.profile.name()),
        4 => Value::text(match state(tenant) {
            State::Clear => "clear",
            State::Warned => "warned",
            State::Limited => "limited",
            State::Blocked => "blocked",
            State::Suspended => "suspended",
        }),
        5 => Value::number(tenant.quota_bytes.unwrap_or_default()),
        6 => Value::Number(i64::from(!tenant.exemptions.is_empty())),
        _ => Value::Number(i64::from(!tenant.known_offender.is_empty())),
    };
    let all = snapshot.tenants.all();
    let chosen = all.values().filter(|tenant| only.as_ref().is_none_or(|only| tenant.id == *only));
    let (page, next_page_token) = plan.page(&house.pages, chosen, get);
    let entry = |tenant: &Arc<Tenant>| TenantEntry {
        tenant: Some((&**tenant).into()),
        state: state_to_wire(state(tenant)).into(),
    };
    let tenants = page.into_iter().map(|tenant| mask.apply(entry(tenant))).collect();
    Ok(ListTenantsResponse { tenants, next_page_token, version: snapshot.tenants.version() })
}

/// Lists nodes.
pub(super) async fn nodes(house: &House, request: ListNodesRequest) -> Result<ListNodesResponse, Status> {
    let asked = Asked {
        page_size: request.page_size,
        page_token: &request.page_token,
        filter: &request.filter,
        order_by: &request.order_by,
        also: String::new(),
    };
    let plan = NODES.plan(&house.pages, &asked)?;
    let mask = Mask::read("reeve.operator.v1.Node", request.read_mask)?;
    let rows = house.store.nodes().await.map_err(unreadable)?;
    let paused = Arc::clone(&house.directory.snapshot().paused);
    let get = |row: &NodeRow, field: usize| match field {
        0 => Value::text(&row.name),
        1 => Value::Number(i64::from(house.streams.is_connected(&row.name))),
        2 => Value::number(row.last_seen.as_nanos()),
        3 => Value::text(&row.agent_version),
        4 => Value::number(row.tenants_version),
        5 => Value::number(row.orders_pending),
        6 => Value::number(row.reports_refused),
        _ => Value::Number(i64::from(
            paused.fleet.is_some()
                || paused.ordered.contains_key(&row.name)
                || paused.nodes.contains_key(&row.name),
        )),
    };
    let (page, next_page_token) = plan.page(&house.pages, rows.into_iter(), get);
    let node = |row: NodeRow| Node {
        pause: paused.ordered.get(&row.name).map(Into::into),
        connected: house.streams.is_connected(&row.name),
        name: row.name.to_string(),
        last_seen_time: Some(time_to_wire(row.last_seen)),
        agent_version: row.agent_version,
        tenants_version: row.tenants_version,
        health: row.health.as_ref().map(Into::into),
        orders_pending: row.orders_pending,
        reports_refused: row.reports_refused,
    };
    Ok(ListNodesResponse {
        nodes: page.into_iter().map(node).map(|node| mask.apply(node)).collect(),
        protected: house.protection == Protection::Certificates,
        controller_version: env!("CARGO_PKG_VERSION").to_owned(),
        fleet_pause: paused.fleet.as_ref().map(Into::into),
        next_page_token,
    })
}

/// Lists violations.
pub(super) async fn violations(
    house: &House,
    sight: Sight,
    request: ListViolationsRequest,
) -> Result<ListViolationsResponse, Status> {
    let state = match types::v1::ViolationState::try_from(request.state) {
        Ok(types::v1::ViolationState::Unspecified) => None,
        Ok(types::v1::ViolationState::Open) => Some(ViolationState::Open),
        Ok(types::v1::ViolationState::Quiet) => Some(ViolationState::Quiet),
        Ok(types::v1::ViolationState::Released) => Some(ViolationState::Released),
        Err(_) => return Err(Status::invalid_argument("state: open, quiet or released")),
    };
    let since = request.since.map(|since| time("since", Some(since))).transpose().map_err(unsound)?;
    let asked = Asked {
        page_size: request.page_size,
        page_token: &request.page_token,
        filter: &request.filter,
        order_by: &request.order_by,
        also: format!("{} {state:?} {since:?}", request.tenant),
    };
    let plan = VIOLATIONS.plan(&house.pages, &asked)?;
    let mask = Mask::read("reeve.types.v1.Violation", request.read_mask)?;
    let filter = ViolationFilter { tenant: parsed("tenant", &request.tenant)?, state, since, sight, plan };
    let mut rows = house.store.violations(&filter).await.map_err(unreadable)?;
    let next_page_token = filter.plan.cut(&house.pages, &mut rows, |row, field| match field {
        0 => Value::text(row.id.as_name()),
        1 => Value::text(&row.tenant),
        2 => Value::text(&row.node),
        3 => Value::text(row.state.name()),
        4 => Value::text(&row.rule),
        5 => Value::number(row.opened.as_nanos()),
        6 => Value::number(row.last_seen.as_nanos()),
        _ => Value::number(row.strike),
    });
    let violations = rows.iter().map(|violation| mask.apply(watch::without_evidence(violation))).collect();
    Ok(ListViolationsResponse { violations, next_page_token })
}

/// Lists what happened on nodes.
pub(super) async fn events(
    house: &House,
    sight: Sight,
    request: ListEventsRequest,
) -> Result<ListEventsResponse, Status> {
    let since = request.since.map(|since| time("since", Some(since))).transpose().map_err(unsound)?;
    let asked = Asked {
        page_size: request.page_size,
        page_token: &request.page_token,
        filter: &request.filter,
        order_by: &request.order_by,
        also: format!("{} {since:?}", request.node),
    };
    let plan = EVENTS.plan(&house.pages, &asked)?;
    let mask = Mask::read("reeve.operator.v1.EventEntry", request.read_mask)?;
    let filter = EventFilter { node: parsed("node", &request.node)?, since, plan };
    let mut rows = house.store.events(&filter).await.map_err(unreadable)?;
    let next_page_token = filter.plan.cut(&house.pages, &mut rows, |row, field| match field {
        0 => Value::number(row.id),
        1 => Value::text(&row.node),
        2 => Value::text(row.event.kind.name()),
        3 => Value::number(row.event.at.as_nanos()),
        _ => Value::number(row.received.as_nanos()),
    });
    if sight == Sight::Unsealed {
        let sealed = house.store.sealed_tenants().await.map_err(unreadable)?;
        rows.retain(|row| !row.event.names(|tenant| sealed.contains(tenant)));
    }
    let entry = |row: EventRow| EventEntry {
        node: row.node.to_string(),
        event: Some((&row.event).into()),
        received_time: Some(time_to_wire(row.received)),
    };
    let events = rows.into_iter().map(entry).map(|entry| mask.apply(entry)).collect();
    Ok(ListEventsResponse { events, next_page_token })
}
