//! Suspensions and releases of several tenants in one step.
//!
//! What is wrong with a request refuses the whole batch before anything is done: that is a mistake of whoever wrote it. That there is no such
//! tenant does not: at three in the morning one that is mistyped must not leave the others on the network. It is told in its place.

use std::collections::{BTreeMap, HashSet};

use reeve_policy::{Name, NodeId, OrderId, TenantId};
use reeve_proto::operator::v1::batch_release_response::Result as ReleaseResult;
use reeve_proto::operator::v1::batch_release_response::result::Outcome as Release;
use reeve_proto::operator::v1::batch_suspend_response::Result as SuspendResult;
use reeve_proto::operator::v1::batch_suspend_response::result::Outcome as Suspension;
use reeve_proto::operator::v1::{
    BatchError, BatchReleaseRequest, BatchReleaseResponse, BatchSuspendRequest, BatchSuspendResponse,
    NodeOrder, ReleaseResponse, SuspendResponse, node_order,
};
use ring::digest::{SHA256, digest};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tonic::{Code, Response, Status};

use super::orders::{self, PATIENCE, check_key, check_reason, new_key, node_order};
use super::{House, unreadable, unwritable};
use crate::audit::Outcome;
use crate::clock;
use crate::events::{Event, What};
use crate::refusal::Reason;
use crate::store::write::{BatchTaken, Part, ReleaseAsked, Requested};
use crate::writer::Job;

/// The most requests that a batch may have.
pub(crate) const MAX_BATCH: usize = 500;
/// The most orders of nodes that one answer tells of: with ten thousand nodes all would be more than a message holds.
const MAX_NODES_TOLD: usize = 20_000;
/// The most tenants that the record names as not found.
const MAX_NAMED: usize = 20;

/// Whose a batch is, by their ids.
///
/// # Errors
/// Where there is none, there are too many, one is no id or is there twice: by all this the batch is refused.
pub(crate) fn check_batch<'a>(
    tenants: impl ExactSizeIterator<Item = &'a str>,
) -> Result<Vec<TenantId>, Status> {
    if !(1..=MAX_BATCH).contains(&tenants.len()) {
        return Err(Status::invalid_argument(format!("requests: 1 to {MAX_BATCH}, not {}", tenants.len())));
    }
    let mut seen = HashSet::new();
    let each = tenants.enumerate().map(|(index, text)| {
        let tenant: TenantId = orders::tenant(text).map_err(|status| at(index, status))?;
        if !seen.insert(tenant.clone()) {
            return Err(Status::invalid_argument(format!(
                "requests[{index}].tenant: {tenant} is there twice"
            )));
        }
        Ok(tenant)
    });
    each.collect()
}

/// What is wrong with one request, by its place.
fn at(index: usize, status: Status) -> Status {
    match status.code() {
        Code::InvalidArgument => Status::invalid_argument(format!("requests[{index}].{}", status.message())),
        _ => status,
    }
}

/// What goes with the whole batch alone.
fn check_one(index: usize, key: &str, wait: bool) -> Result<(), Status> {
    let is_the_batchs = |field: &str| {
        Err(Status::invalid_argument(format!("requests[{index}].{field}: it is given for the whole batch")))
    };
    match (key, wait) {
        ("", false) => Ok(()),
        ("", true) => is_the_batchs("wait"),
        _ => is_the_batchs("idempotency_key"),
    }
}

/// All that a batch asks for, in few bytes: no request holds a line's end.
fn requested(kind: &str, key: String, meanings: &[String]) -> Requested {
    let hash = data_encoding::HEXLOWER.encode(digest(&SHA256, meanings.join("\n").as_bytes()).as_ref());
    Requested { key, meaning: format!("{kind} {} {hash}", meanings.len()) }
}

/// Suspends several tenants.
pub(super) async fn suspend(
    house: &House,
    operator: Name,
    batch: BatchSuspendRequest,
) -> Result<Response<BatchSuspendResponse>, Status> {
    check_key(&batch.idempotency_key)?;
    let tenants = check_batch(batch.requests.iter().map(|one| one.tenant.as_str()))?;
    let (mut decisions, mut meanings) = (Vec::new(), Vec::new());
    for (index, one) in batch.requests.into_iter().enumerate() {
        check_one(index, &one.idempotency_key, one.wait)?;
        let (decision, meaning) = orders::suspension(&operator, one).map_err(|status| at(index, status))?;
        decisions.push(decision);
        meanings.push(meaning);
    }
    let requested = requested("suspend", batch.idempotency_key, &meanings);
    let mut events = house.events.subscribe();
    let asked = house.writer.ask(|reply| Job::SuspendAll { requested, decisions, reply });
    let parts = parts(asked.await.map_err(unwritable)?)?;
    let mut all = settle(house, &parts, batch.wait, &mut events).await?;
    let results = tenants.iter().zip(&parts).map(|(tenant, part)| {
        let (nodes, nodes_omitted) = told(&mut all, part);
        let outcome = match &part.order {
            // A suspension's order has the key of its decision.
            Some(id) => Suspension::Ordered(SuspendResponse {
                order: id.to_string(),
                decision: id.to_string(),
                nodes,
            }),
            None => Suspension::Error(unknown(tenant)),
        };
        SuspendResult { tenant: tenant.to_string(), outcome: Some(outcome), nodes_omitted }
    });
    let results = results.collect();
    Ok(noted(BatchSuspendResponse { results }, &tenants, &parts))
}

/// Lets several tenants go.
pub(super) async fn release(
    house: &House,
    operator: Name,
    batch: BatchReleaseRequest,
) -> Result<Response<BatchReleaseResponse>, Status> {
    check_key(&batch.idempotency_key)?;
    let tenants = check_batch(batch.requests.iter().map(|one| one.tenant.as_str()))?;
    let (mut releases, mut meanings) = (Vec::new(), Vec::new());
    for (index, (one, tenant)) in batch.requests.into_iter().zip(&tenants).enumerate() {
        check_one(index, &one.idempotency_key, one.wait)?;
        check_reason(&one.reason, false).map_err(|status| at(index, status))?;
        meanings.push(orders::meaning_of_release(tenant, one.forgive, &one.reason));
        releases.push(ReleaseAsked {
            id: OrderId(new_key(clock::now())),
            tenant: tenant.clone(),
            by: operator.to_string(),
            reason: one.reason,
            forgive: one.forgive,
        });
    }
    let requested = requested("release", batch.idempotency_key, &meanings);
    let mut events = house.events.subscribe();
    let asked = house.writer.ask(|reply| Job::ReleaseAll { requested, releases, reply });
    let parts = parts(asked.await.map_err(unwritable)?)?;
    let mut all = settle(house, &parts, batch.wait, &mut events).await?;
    let mut results = Vec::with_capacity(parts.len());
    for (tenant, part) in tenants.iter().zip(&parts) {
        let (nodes, nodes_omitted) = told(&mut all, part);
        let outcome = match &part.order {
            Some(id) => {
                let checked = house.store.relay_check(tenant).await.map_err(unreadable)?;
                Release::Ordered(ReleaseResponse {
                    order: id.to_string(),
                    nodes,
                    relay_checked: checked.map(|(checked, _)| (&checked).into()),
                    ended: part.released.map(|released| released.ended),
                    forgiven: part.released.map(|released| released.forgiven),
                })
            }
            None => Release::Error(unknown(tenant)),
        };
        results.push(ReleaseResult { tenant: tenant.to_string(), outcome: Some(outcome), nodes_omitted });
    }
    Ok(noted(BatchReleaseResponse { results }, &tenants, &parts))
}

fn parts(taken: BatchTaken) -> Result<Vec<Part>, Status> {
    match taken {
        BatchTaken::Parts(parts) => Ok(parts),
        BatchTaken::KeyInUse => Err(orders::key_in_use()),
    }
}

fn unknown(tenant: &TenantId) -> BatchError {
    let reason = Reason::TenantNotFound.as_str().to_owned();
    BatchError { reason, message: format!("there is no tenant {tenant}") }
}

/// The answer, with what the record is to say of it: for how many it was done, and for whom not.
fn noted<T>(answer: T, tenants: &[TenantId], parts: &[Part]) -> Response<T> {
    let each = tenants.iter().zip(parts);
    let missing: Vec<&str> =
        each.filter(|(_, part)| part.order.is_none()).map(|(tenant, _)| tenant.as_str()).collect();
    let mut response = Response::new(answer);
    if !missing.is_empty() {
        let (done, of) = (parts.len() - missing.len(), parts.len());
        let named = missing[..missing.len().min(MAX_NAMED)].join(", ");
        let more = missing.len().saturating_sub(MAX_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let text = format!("done for {done} of {of}: there is no tenant {named}{more}");
        response.extensions_mut().insert(Outcome(text));
    }
    response
}

/// What became of each order, by its key; asked to wait, when the connected nodes have answered.
type Told = BTreeMap<OrderId, (Vec<NodeOrder>, u32)>;

fn told(all: &mut Told, part: &Part) -> (Vec<NodeOrder>, u32) {
    part.order.as_ref().and_then(|id| all.remove(id)).unwrap_or_default()
}

async fn settle(
    house: &House,
    parts: &[Part],
    wait: bool,
    events: &mut Receiver<Event>,
) -> Result<Told, Status> {
    let orders: Vec<OrderId> = parts.iter().filter_map(|part| part.order.clone()).collect();
    if wait {
        let end = tokio::time::Instant::now() + PATIENCE;
        // Those who have not answered in time are told as they are.
        let _ = tokio::time::timeout_at(end, answered(house, &orders, events)).await;
    }
    let most = MAX_NODES_TOLD / parts.len().max(1);
    let mut all = Told::new();
    for id in orders {
        let rows = house.store.order(&id).await.map_err(unreadable)?;
        let mut nodes: Vec<NodeOrder> =
            rows.values().map(|row| node_order(row, house.streams.is_connected(&row.node))).collect();
        let omitted = nodes.len().saturating_sub(most);
        if omitted > 0 {
            nodes.sort_by_key(|node| node.state() == node_order::State::Done);
            nodes.truncate(most);
        }
        all.insert(id, (nodes, u32::try_from(omitted).unwrap_or(u32::MAX)));
    }
    Ok(all)
}

/// Waits until no connected node has any of these orders before it.
async fn answered(house: &House, orders: &[OrderId], events: &mut Receiver<Event>) {
    let ours: HashSet<&OrderId> = orders.iter().collect();
    loop {
        let Ok(mut waiting) = house.store.orders_unanswered(orders).await else { return };
        waiting.retain(|node, _| house.streams.is_connected(node));
        if waiting.is_empty() {
            return;
        }
        // What was answered before it was looked for is told here once more: hence it is looked for again at the end.
        while !waiting.is_empty() {
            match events.recv().await.map(|event| event.what) {
                Ok(What::OrderAnswered { order, row, .. }) if ours.contains(&order) => {
                    less(&mut waiting, &row.node);
                }
                Ok(What::NodeDown { node, .. }) => _ = waiting.remove(&node),
                Ok(_) => {}
                // What was missed is in the store.
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return,
            }
        }
    }
}

/// A node has one order fewer before it.
fn less(waiting: &mut BTreeMap<NodeId, u64>, node: &NodeId) {
    if let Some(left) = waiting.get_mut(node) {
        *left = left.saturating_sub(1);
        if *left == 0 {
            waiting.remove(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_names_each_tenant_once_and_not_too_many() {
        let check = |ids: &[&str]| {
            check_batch(ids.iter().copied())
                .map(|all| all.len())
                .map_err(|status| status.message().to_owned())
        };
        assert_eq!(check(&["a", "b"]), Ok(2));
        assert!(check(&[]).unwrap_err().starts_with("requests: 1 to 500"));
        assert!(check(&["a"; 501]).unwrap_err().starts_with("requests: 1 to 500"));
        assert_eq!(check(&["a", "b", "a"]).unwrap_err(), "requests[2].tenant: a is there twice");
        assert!(check(&["a", "../b"]).unwrap_err().starts_with("requests[1].tenant: "));
    }

    #[test]
    fn a_key_stands_for_the_batch_in_its_order() {
        let meaning = |all: &[&str]| {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            requested("suspend", String::new(), &all).meaning
        };
        assert_eq!(meaning(&["a", "b"]), meaning(&["a", "b"]));
        assert_ne!(meaning(&["a", "b"]), meaning(&["b", "a"]));
        assert_ne!(meaning(&["a", "b"]), meaning(&["ab"]));
    }
}
