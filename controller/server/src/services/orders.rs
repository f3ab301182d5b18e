//! Suspensions and releases; how an order is given, stored, and waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use reeve_policy::pause::{MAX_REASON, is_plain};
use reeve_policy::rate::{Rate, Unit};
use reeve_policy::{
    Action, Decision, DecisionId, Mode, Name, NodeEventKind, NodeId, OrderId, Origin, RelayAnswer, Scope,
    TenantId, Timestamp, Until,
};
use reeve_proto::operator::v1::{
    ForgiveStrikesRequest, ForgiveStrikesResponse, ImposeRequest, ImposeResponse, NodeOrder, PaidRequest,
    PaidResponse, ReleaseRequest, ReleaseResponse, SuspendRequest, SuspendResponse, VerifyRequest,
    VerifyResponse, node_order,
};
use reeve_proto::types::v1::Action as WireAction;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tonic::Status;

use super::{House, no_node, no_tenant, unreadable, unwritable};
use crate::clock;
use crate::events::What;
use crate::refusal::Reason;
use crate::store::OrderRow;
use crate::store::write::{ForgiveAsked, OrderTaken, Requested, VerifyAsked};
use crate::writer::Job;

/// How long an answer waits for the nodes.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The longest key of a caller's choice, in bytes.
const MAX_KEY: usize = 200;

/// Suspends a tenant.
pub(super) async fn suspend(
    house: &House,
    operator: Name,
    request: SuspendRequest,
) -> Result<SuspendResponse, Status> {
    let until_paid = request.until_paid;
    let request = as_order(request)?;
    let ImposeResponse { order, decision, nodes } =
        order(house, operator, request, Action::Suspend, until_paid).await?;
    Ok(SuspendResponse { order, decision, nodes })
}

/// What a suspension decides, and what the request says, to tell it from others.
pub(super) fn suspension(operator: &Name, request: SuspendRequest) -> Result<(Decision, String), Status> {
    let until_paid = request.until_paid;
    decision(operator, &as_order(request)?, Action::Suspend, until_paid)
}

fn as_order(request: SuspendRequest) -> Result<ImposeRequest, Status> {
    if request.until_paid && request.duration.is_some() {
        return Err(Status::invalid_argument("duration: none where it lasts until an invoice is paid"));
    }
    Ok(ImposeRequest {
        tenant: request.tenant,
        action: WireAction::Suspend.into(),
        scope: Some((&Scope::All).into()),
        rate: String::new(),
        reason: request.reason,
        clause: request.clause,
        duration: request.duration,
        idempotency_key: request.idempotency_key,
        wait: request.wait,
    })
}

/// Limits or blocks some of a tenant's traffic.
pub(super) async fn impose(
    house: &House,
    operator: Name,
    request: ImposeRequest,
) -> Result<ImposeResponse, Status> {
    let action = match request.action() {
        WireAction::Limit => Action::Limit,
        WireAction::Block => Action::Block,
        _ => return Err(Status::invalid_argument("action: limit or block")),
    };
    order(house, operator, request, action, false).await
}

/// Which traffic is meant, and how much of it is let through.
fn extent(request: &ImposeRequest, action: Action) -> Result<(Scope, Option<Rate>), Status> {
    let wrong = |what: &str| Status::invalid_argument(what);
    let scope = request.scope.clone().ok_or_else(|| wrong("scope: it must be there"))?;
    let scope = Scope::try_from(scope).map_err(super::unsound)?;
    let is_empty = match &scope {
        Scope::Destinations { addresses } => addresses.is_empty(),
        Scope::DestinationPorts { targets } => targets.is_empty(),
        Scope::Endpoint { addresses, ports, .. } => addresses.is_empty() || ports.is_empty(),
        Scope::All | Scope::Port { .. } | Scope::Forged => false,
    };
    if is_empty {
        return Err(wrong("scope: it names nothing"));
    }
    if action == Action::Block && scope == Scope::All {
        return Err(wrong("scope: to block everything is to suspend"));
    }
    let rate = match request.rate.as_str() {
        "" => None,
        text => Some(text.parse::<Rate>().map_err(|error| wrong(&format!("rate: {error}")))?),
    };
    let is_service = matches!(scope, Scope::DestinationPorts { .. } | Scope::Endpoint { .. });
    match (action, rate) {
        (Action::Limit, None) => Err(wrong(&format!("rate: {}", Rate::SYNTAX))),
        (Action::Limit, Some(rate))
            if scope == Scope::Forged && !matches!(rate.unit, Unit::Packets | Unit::Bytes) =>
        {
            Err(wrong("rate: packets or bytes of what is forged"))
        }
        (Action::Limit, Some(rate)) if rate.unit == Unit::Calls && !is_service => {
            Err(wrong("rate: calls go to ports of destinations"))
        }
        (Action::Limit, rate) | (_, rate @ None) => Ok((scope, rate)),
        (_, Some(_)) => Err(wrong("rate: only a limit has one")),
    }
}

/// What a request decides, and what it says, to tell it from others.
fn decision(
    operator: &Name,
    request: &ImposeRequest,
    action: Action,
    until_paid: bool,
) -> Result<(Decision, String), Status> {
    let tenant = tenant(&request.tenant)?;
    check_reason(&request.reason, true)?;
    check_key(&request.idempotency_key)?;
    let (scope, rate) = extent(request, action)?;
    let clause = clause(request.clause.clone())?;
    let until = match request.duration {
        None if until_paid => Until::Paid,
        None => Until::Released,
        Some(span) => {
            let span = reeve_proto::duration("duration", span).map_err(super::unsound)?;
            if span < Duration::from_secs(1) {
                return Err(Status::invalid_argument("duration: at least a second"));
            }
            Until::After(span)
        }
    };
    let now = clock::now();
    let decision = Decision {
        id: DecisionId(new_key(now)),
        tenant,
        violation: None,
        clause,
        origin: Origin::Operator { name: operator.to_string() },
        action,
        scope,
        rate,
        until,
        at: now,
        mode: Mode::Enforce,
        reason: request.reason.clone(),
        connections: None,
        softened: None,
        reckoning: None,
    };
    let meaning = format!(
        "{action} {} {:?} {:?} {until:?} {} {}",
        decision.tenant, decision.scope, decision.rate, decision.clause, request.reason
    );
    Ok((decision, meaning))
}

async fn order(
    house: &House,
    operator: Name,
    request: ImposeRequest,
    action: Action,
    until_paid: bool,
) -> Result<ImposeResponse, Status> {
    let (decision, meaning) = decision(&operator, &request, action, until_paid)?;
    let requested = Requested { key: request.idempotency_key, meaning };
    let mut events = house.events.subscribe();
    let asked = house.writer.ask(|reply| Job::Suspend { requested, decision: Box::new(decision), reply });
    let (id, decision) = taken(asked.await.map_err(unwritable)?, &request.tenant)?;
    let nodes = outcome(house, &id, request.wait, &mut events).await?;
    Ok(ImposeResponse {
        order: id.to_string(),
        decision: decision.map(|id| id.to_string()).unwrap_or_default(),
        nodes,
    })
}

/// Lets a tenant go.
pub(super) async fn release(
    house: &House,
    operator: Name,
    request: ReleaseRequest,
) -> Result<ReleaseResponse, Status> {
    let tenant = tenant(&request.tenant)?;
    check_reason(&request.reason, false)?;
    check_key(&request.idempotency_key)?;
    let meaning = meaning_of_release(&tenant, request.forgive, &request.reason);
    let requested = Requested { key: request.idempotency_key, meaning };
    let (forgive, whom) = (request.forgive, tenant.clone());
    let (id, by, reason) = (OrderId(new_key(clock::now())), operator.to_string(), request.reason);
    let mut events = house.events.subscribe();
    let asked = house.writer.ask(|reply| Job::Release { requested, id, tenant, by, reason, forgive, reply });
    let (done, released) = asked.await.map_err(unwritable)?;
    let (id, _) = taken(done, &request.tenant)?;
    let nodes = outcome(house, &id, request.wait, &mut events).await?;
    // Whoever lets an open relay go wants to know whether it was closed.
    let checked = house.store.relay_check(&whom).await.map_err(unreadable)?;
    Ok(ReleaseResponse {
        order: id.to_string(),
        nodes,
        relay_checked: checked.map(|(checked, _)| (&checked).into()),
        ended: released.map(|released| released.ended),
        forgiven: released.map(|released| released.forgiven),
    })
}

/// What a release says, to tell it from others.
pub(super) fn meaning_of_release(tenant: &TenantId, forgive: bool, reason: &str) -> String {
    format!("release{} {tenant} {reason}", if forgive { " forgive" } else { "" })
}

/// Takes a tenant's strikes back.
pub(super) async fn forgive(
    house: &House,
    operator: Name,
    request: ForgiveStrikesRequest,
) -> Result<ForgiveStrikesResponse, Status> {
    let tenant = tenant(&request.tenant)?;
    let rule: Option<Name> = super::operator::parsed("rule", &request.rule)?;
    check_reason(&request.reason, true)?;
    check_key(&request.idempotency_key)?;
    let meaning = format!("forgive {tenant} {} {}", request.rule, request.reason);
    let requested = Requested { key: request.idempotency_key, meaning };
    let (id, by, reason) = (OrderId(new_key(clock::now())), operator.to_string(), request.reason);
    let asked = Box::new(ForgiveAsked { id, tenant, rule, by, reason });
    let mut events = house.events.subscribe();
    let done = house.writer.ask(|reply| Job::Forgive { requested, asked, reply });
    let (done, forgiven) = done.await.map_err(unwritable)?;
    let (id, _) = taken(done, &request.tenant)?;
    let nodes = outcome(house, &id, request.wait, &mut events).await?;
    Ok(ForgiveStrikesResponse { order: id.to_string(), nodes, forgiven })
}

/// Has a tenant's mail server asked whether it is an open relay still, or passes on what the operator was told by it.
pub(crate) async fn verify(
    house: &House,
    operator: Name,
    request: VerifyRequest,
) -> Result<VerifyResponse, Status> {
    let tenant = tenant(&request.tenant)?;
    check_key(&request.idempotency_key)?;
    let answer = request.answer.map(RelayAnswer::try_from).transpose().map_err(super::unsound)?;
    let requested =
        Requested { key: request.idempotency_key, meaning: format!("verify {tenant} {answer:?}") };
    let now = clock::now();
    let asked =
        VerifyAsked { id: OrderId(new_key(now)), tenant: tenant.clone(), by: operator.to_string(), answer };
    let mut events = house.events.subscribe();
    let mut answers = house.events.subscribe();
    let ordered = house.writer.ask(|reply| Job::Verify { requested, asked: Box::new(asked), reply });
    let (id, _) = taken(ordered.await.map_err(unwritable)?, &request.tenant)?;
    let end = tokio::time::Instant::now() + PATIENCE;
    let nodes = outcome(house, &id, request.wait, &mut events).await?;
    let is_asked = nodes.iter().any(|node| node.state() == node_order::State::Done);
    let mut checked = None;
    while request.wait && is_asked && checked.is_none() {
        let known = house.store.relay_check(&tenant).await.map_err(unreadable)?;
        checked = known.filter(|(_, received)| *received >= now).map(|(checked, _)| (&checked).into());
        if checked.is_none() && tokio::time::timeout_at(end, next_check(&mut answers)).await.is_err() {
            break;
        }
    }
    Ok(VerifyResponse { order: id.to_string(), nodes, relay_checked: checked })
}

/// Waits until some mail server was asked.
async fn next_check(events: &mut broadcast::Receiver<crate::events::Event>) {
    loop {
        match events.recv().await.map(|event| event.what) {
            Ok(What::NodeEvent { event, .. }) if event.kind != NodeEventKind::RelayChecked => {}
            // Whatever was missed is in the store.
            Ok(What::NodeEvent { .. }) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Takes note that an invoice is paid.
pub(super) async fn paid(
    house: &House,
    operator: Name,
    request: PaidRequest,
) -> Result<PaidResponse, Status> {
    let tenant = tenant(&request.tenant)?;
    check_reason(&request.reason, false)?;
    check_key(&request.idempotency_key)?;
    let requested =
        Requested { key: request.idempotency_key, meaning: format!("paid {tenant} {}", request.reason) };
    let (id, by, reason) = (OrderId(new_key(clock::now())), operator.to_string(), request.reason);
    let mut events = house.events.subscribe();
    let asked = house.writer.ask(|reply| Job::Paid { requested, id, tenant, by, reason, reply });
    let (done, paid) = asked.await.map_err(unwritable)?;
    let (id, _) = taken(done, &request.tenant)?;
    let nodes = outcome(house, &id, request.wait, &mut events).await?;
    Ok(PaidResponse {
        order: id.to_string(),
        nodes,
        decisions: paid.map_or(0, |paid| paid.decisions),
        ended: paid.map(|paid| paid.ended),
    })
}

pub(super) fn tenant(text: &str) -> Result<TenantId, Status> {
    text.parse().map_err(|error| Status::invalid_argument(format!("tenant: {error}")))
}

pub(super) fn check_reason(reason: &str, needed: bool) -> Result<(), Status> {
    let has_controls = !reason.chars().all(is_plain);
    if (needed && reason.trim().is_empty()) || reason.len() > MAX_REASON || has_controls {
        let least = if needed { 1 } else { 0 };
        return Err(Status::invalid_argument(format!("reason: {least} to {MAX_REASON} bytes on one line")));
    }
    Ok(())
}

pub(super) fn check_key(key: &str) -> Result<(), Status> {
    // PostgreSQL stores no NUL in a text.
    if key.len() > MAX_KEY || key.contains('\0') {
        return Err(Status::invalid_argument(format!(
            "idempotency_key: at most {MAX_KEY} bytes without NUL"
        )));
    }
    Ok(())
}

fn clause(text: String) -> Result<String, Status> {
    let is_name = |part: &str| part.parse::<Name>().is_ok();
    let is_clause = text.split_once('/').is_some_and(|(policy, clause)| is_name(policy) && is_name(clause));
    if text.is_empty() || is_clause {
        Ok(text)
    } else {
        Err(Status::invalid_argument("clause: POLICY/CLAUSE, both of them names, or nothing"))
    }
}

pub(super) fn key_in_use() -> Status {
    Reason::RequestKeyReused.status("idempotency_key: it stands for another request")
}

pub(super) fn taken(taken: OrderTaken, whom: &str) -> Result<(OrderId, Option<DecisionId>), Status> {
    match taken {
        OrderTaken::Ordered { id, decision } => Ok((id, decision)),
        OrderTaken::KeyInUse => Err(key_in_use()),
        OrderTaken::UnknownTenant => Err(no_tenant(&whom)),
        OrderTaken::UnknownNode => Err(no_node(&whom)),
    }
}

/// What became of an order on each node; asked to wait, when the connected ones have answered.
pub(super) async fn outcome(
    house: &House,
    id: &OrderId,
    wait: bool,
    events: &mut tokio::sync::broadcast::Receiver<crate::events::Event>,
) -> Result<Vec<NodeOrder>, Status> {
    let end = tokio::time::Instant::now() + PATIENCE;
    let mut rows = house.store.order(id).await.map_err(unreadable)?;
    while wait && rows.values().any(|row| row.is_pending() && house.streams.is_connected(&row.node)) {
        let is_ours = async {
            loop {
                match events.recv().await {
                    Ok(event) => match event.what {
                        What::OrderAnswered { order, .. } if order == *id => return,
                        // A node that leaves is not waited for.
                        What::NodeDown { .. } => return,
                        _ => {}
                    },
                    Err(_) => return,
                }
            }
        };
        if tokio::time::timeout_at(end, is_ours).await.is_err() {
            break;
        }
        rows = house.store.order(id).await.map_err(unreadable)?;
    }
    Ok(to_wire(house, rows))
}

fn to_wire(house: &House, rows: BTreeMap<NodeId, OrderRow>) -> Vec<NodeOrder> {
    rows.into_values().map(|row| node_order(&row, house.streams.is_connected(&row.node))).collect()
}

/// A row as it is sent.
pub(super) fn node_order(row: &OrderRow, is_connected: bool) -> NodeOrder {
    let state = match row.state.as_str() {
        "done" => node_order::State::Done,
        "failed" => node_order::State::Failed,
        "superseded" => node_order::State::Superseded,
        _ if is_connected => node_order::State::Sent,
        _ => node_order::State::Stored,
    };
    NodeOrder { node: row.node.to_string(), state: state.into(), detail: row.detail.clone() }
}

/// A key that sorts by time: milliseconds, and chance.
pub(super) fn new_key(now: Timestamp) -> Name {
    clock::key_of('O', now)
}
