//! What ends or undoes what the machine did: pauses, their ends, and lifts of what a policy did. And what nodes told of themselves.

use reeve_policy::{Decision, Lift, Measure, Name, NodeId, OrderId, Pause, PolicyVersion};
use reeve_proto::operator::v1::lift_response::Lifted;
use reeve_proto::operator::v1::{
    LiftRequest, LiftResponse, PauseRequest, PauseResponse, PauseTarget, ReleaseBrakesRequest,
    ReleaseBrakesResponse, ResumeRequest, ResumeResponse, pause_target,
};
use reeve_proto::status::v1::PausedNode;
use reeve_proto::time;
use reeve_proto::types::v1::Measure as WireMeasure;
use tonic::Status;

use super::orders::{check_key, check_reason, new_key, outcome, taken};
use super::{House, no_node, unreadable, unsound, unwritable};
use crate::clock;
use crate::directory::{Paused, veiled};
use crate::store::Sight;
use crate::store::write::{Asked, LiftAsked, Requested};
use crate::writer::Job;

/// The most measures that an answer tells of; it says how many there are.
const MAX_LISTED: usize = 10_000;

/// Ends what policy does by itself.
pub(super) async fn pause(
    house: &House,
    operator: Name,
    request: PauseRequest,
) -> Result<PauseResponse, Status> {
    let PauseRequest { target, reason, lift, idempotency_key: key, wait } = request;
    let target = read_target(target)?;
    check_reason(&reason, false)?;
    check_key(&key)?;
    let requested = Requested { key, meaning: format!("pause {target:?} {lift} {reason}") };
    let name = target_name(&target);
    let id = OrderId(new_key(clock::now()));
    let asked = Box::new(Asked { id, target, by: operator.to_string(), reason, lift });
    let mut events = house.events.subscribe();
    let done = house.writer.ask(|reply| Job::Pause { requested, asked, reply });
    let (id, _) = taken(done.await.map_err(unwritable)?, &name)?;
    let nodes = outcome(house, &id, wait, &mut events).await?;
    Ok(PauseResponse { order: id.to_string(), nodes })
}

/// Lets policy act by itself again.
pub(super) async fn resume(
    house: &House,
    operator: Name,
    request: ResumeRequest,
) -> Result<ResumeResponse, Status> {
    let ResumeRequest { target, reason, idempotency_key: key, wait } = request;
    let target = read_target(target)?;
    check_reason(&reason, false)?;
    check_key(&key)?;
    let requested = Requested { key, meaning: format!("resume {target:?} {reason}") };
    let name = target_name(&target);
    let before = house.directory.snapshot();
    let ended = match &target {
        None => before.paused.fleet.clone(),
        Some(node) => before.paused.ordered.get(node).cloned(),
    };
    let id = OrderId(new_key(clock::now()));
    let asked = Box::new(Asked { id, target, by: operator.to_string(), reason, lift: false });
    let mut events = house.events.subscribe();
    let done = house.writer.ask(|reply| Job::Resume { requested, asked, reply });
    let (done, was_paused) = done.await.map_err(unwritable)?;
    let (id, _) = taken(done, &name)?;
    let nodes = outcome(house, &id, wait, &mut events).await?;
    let paused = &house.directory.snapshot().paused;
    let still_paused =
        nodes.iter().filter_map(|node| still_paused(paused, &node.node, ended.as_ref())).collect();
    Ok(ResumeResponse { order: id.to_string(), nodes, still_paused, was_paused })
}

/// The pause that a node has all the same: the other one of the controller's, or its own, as far as it has told. Its newest
/// health sample may be older than the end of the pause that `ended`.
fn still_paused(paused: &Paused, node: &str, ended: Option<&Pause>) -> Option<PausedNode> {
    let node: NodeId = node.parse().ok()?;
    let ordered = paused.fleet.as_ref().or_else(|| paused.ordered.get(&node));
    let told = || paused.nodes.get(&node).filter(|told| Some(*told) != ended);
    let pause = ordered.or_else(told)?;
    Some(PausedNode { node: node.to_string(), pause: Some(pause.into()) })
}

/// Undoes what a policy did.
pub(super) async fn lift(
    house: &House,
    (operator, sight): (Name, Sight),
    request: LiftRequest,
) -> Result<LiftResponse, Status> {
    let name: Name =
        request.policy.parse().map_err(|error| Status::invalid_argument(format!("policy: {error}")))?;
    let policy = PolicyVersion { name, version: request.policy_version };
    let since = time("since", request.since).map_err(unsound)?;
    check_reason(&request.reason, false)?;
    check_key(&request.idempotency_key)?;
    let node = node(&request.node)?;
    let node_name = request.node;
    if request.dry_run {
        if let Some(node) = &node
            && !house.store.is_node(node).await.map_err(unreadable)?
        {
            return Err(no_node(&node));
        }
        let lift = Lift::of(policy, since);
        let found = house.store.liftable(&lift, node.as_ref(), MAX_LISTED).await.map_err(unreadable)?;
        return Ok(LiftResponse {
            order: String::new(),
            nodes: Vec::new(),
            measures: found.0.iter().map(|one| lifted(one, house, sight)).collect(),
            total: found.1,
        });
    }
    let requested = Requested {
        key: request.idempotency_key,
        meaning: format!("lift {} {} {since} {node_name} {}", policy.name, policy.version, request.reason),
    };
    let asked = Box::new(LiftAsked {
        id: OrderId(new_key(clock::now())),
        policy,
        since,
        node,
        by: operator.to_string(),
        reason: request.reason,
        limit: MAX_LISTED,
    });
    let mut events = house.events.subscribe();
    let done = house.writer.ask(|reply| Job::Lift { requested, asked, reply }).await.map_err(unwritable)?;
    let (id, _) = taken(done.taken, &node_name)?;
    let nodes = outcome(house, &id, request.wait, &mut events).await?;
    let (measures, total) = done.measures;
    let measures = measures.iter().map(|one| lifted(one, house, sight)).collect();
    Ok(LiftResponse { order: id.to_string(), nodes, measures, total })
}

/// One of them; of what is sealed no more than that it stands.
fn lifted((node, measure): &(NodeId, Measure), house: &House, sight: Sight) -> Lifted {
    let Decision { tenant, clause, .. } = &measure.decision;
    let is_sealed = sight == Sight::Unsealed && house.directory.glance().is_sealed(tenant, clause);
    let measure: WireMeasure = if is_sealed {
        (&Measure { decision: veiled(&measure.decision), ..measure.clone() }).into()
    } else {
        measure.into()
    };
    Lifted { node: node.to_string(), measure: Some(measure) }
}

/// Releases a node's brakes.
pub(super) async fn release(
    house: &House,
    operator: Name,
    request: ReleaseBrakesRequest,
) -> Result<ReleaseBrakesResponse, Status> {
    let ReleaseBrakesRequest { node: name, reason, idempotency_key: key, wait } = request;
    let node = node(&name)?.ok_or_else(|| Status::invalid_argument("node: the name of one"))?;
    check_reason(&reason, false)?;
    check_key(&key)?;
    let requested = Requested { key, meaning: format!("release-brakes {node} {reason}") };
    let (id, by) = (OrderId(new_key(clock::now())), operator.to_string());
    let mut events = house.events.subscribe();
    let done = house.writer.ask(|reply| Job::ReleaseBrakes { requested, id, node, by, reason, reply });
    let (id, _) = taken(done.await.map_err(unwritable)?, &name)?;
    let nodes = outcome(house, &id, wait, &mut events).await?;
    Ok(ReleaseBrakesResponse { order: id.to_string(), nodes })
}

fn read_target(target: Option<PauseTarget>) -> Result<Option<NodeId>, Status> {
    match target.and_then(|target| target.target) {
        Some(pause_target::Target::Fleet(true)) => Ok(None),
        Some(pause_target::Target::Node(name)) if !name.is_empty() => node(&name),
        _ => Err(Status::invalid_argument("target: the fleet, or a node")),
    }
}

fn target_name(target: &Option<NodeId>) -> String {
    target.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn node(text: &str) -> Result<Option<NodeId>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| Status::invalid_argument(format!("node: {error}")))
}
