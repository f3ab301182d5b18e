//! Whom another policy would treat otherwise, by what nodes saw.

use std::sync::Arc;
use std::time::Duration;

use reeve_policy::Tenant;
use reeve_policy::language::Policy;
use reeve_proto::operator::v1::{PolicyTrialChange, PolicyTrialStep, TryPolicyResponse};
use reeve_proto::time_to_wire;
use tokio::sync::Semaphore;
use tonic::Status;

use super::{House, unreadable};
use crate::clock;
use crate::store::Sight;
use crate::trial::{Change, Seen, Step, compare};

/// The most violations that are played.
const MOST: usize = 20_000;
/// The most changes that are told.
const CHANGES: usize = 500;
const DAY: Duration = Duration::from_secs(24 * 3_600);
const DAYS: u32 = 7;
const MOST_DAYS: u32 = 30;

/// One at a time: it takes a core for a moment.
static ROOM: Semaphore = Semaphore::const_new(1);

/// Plays what was seen in so many days by the one policy and by the other. Who they are is for the caller to add.
pub(super) async fn play(
    house: &House,
    policies: [Arc<Policy>; 2],
    days: u32,
    sight: Sight,
) -> Result<TryPolicyResponse, Status> {
    let days = if days == 0 { DAYS } else { days };
    if days > MOST_DAYS {
        return Err(Status::invalid_argument(format!("days: found {days}; allowed: 1 to {MOST_DAYS}")));
    }
    let room = ROOM
        .try_acquire()
        .map_err(|_| Status::resource_exhausted("another policy is being tried; try again in a moment"))?;
    let since = clock::now().minus(DAY * days);
    let (kept, is_cut) = house.store.seen_since(since, MOST, sight).await.map_err(unreadable)?;
    let violations = kept.len() as u64;
    let snapshot = house.directory.snapshot();
    let played = tokio::task::spawn_blocking(move || {
        // It goes on when whoever asked has gone, and nobody else's begins before it is over.
        let _room = room;
        let mut seen: Vec<Seen> = Vec::new();
        for of in kept {
            let (node, violation) = (of.node, of.violation);
            let own = of.alerts.into_iter().filter(|alert| alert.at >= since);
            seen.extend(own.map(|alert| Seen { node: node.clone(), violation: violation.clone(), alert }));
        }
        seen.sort_by(|one, other| (one.alert.at, &one.violation).cmp(&(other.alert.at, &other.violation)));
        let tenant = |id: &_| {
            snapshot
                .tenants
                .by_id(id)
                .cloned()
                .unwrap_or_else(|| Arc::new(Tenant::new(reeve_policy::TenantId::clone(id))))
        };
        let [before, candidate] = &policies;
        (seen.len(), compare(before, candidate, &seen, tenant))
    });
    let (alerts, all) = played.await.map_err(|error| Status::internal(error.to_string()))?;
    let count = |list: &[Change]| list.len() as u64;
    let (newly, no_longer, differently) = (count(&all.newly), count(&all.no_longer), count(&all.differently));
    let changes = all.newly.iter().chain(&all.no_longer).chain(&all.differently).take(CHANGES).map(told);
    Ok(TryPolicyResponse {
        candidate: None,
        against: None,
        from_time: Some(time_to_wire(since)),
        violations,
        alerts: alerts as u64,
        is_cut,
        same: all.same as u64,
        newly,
        no_longer,
        differently,
        changes: changes.collect(),
    })
}

fn told(change: &Change) -> PolicyTrialChange {
    let steps = |steps: &[Step]| steps.iter().map(step).collect();
    PolicyTrialChange {
        tenant: change.tenant.to_string(),
        family: change.family.to_owned(),
        before: steps(&change.before),
        after: steps(&change.after),
        violation: change.violation.to_string(),
    }
}

fn step(step: &Step) -> PolicyTrialStep {
    PolicyTrialStep {
        time: Some(time_to_wire(step.at)),
        told: step.told.clone(),
        clause: step.clause.clone(),
        step: step.step,
    }
}
