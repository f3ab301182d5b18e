//! Suspensions and releases of several tenants in one step: each with what became of it, all of it once.

use crate::common::{self, Agent, Running};
use reeve_policy::Order;
use reeve_proto::operator::v1::audit_service_client::AuditServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{
    BatchReleaseRequest, BatchReleaseResponse, BatchSuspendRequest, BatchSuspendResponse, ListAuditRequest,
    ReleaseRequest, SuspendRequest, batch_release_response, batch_suspend_response, node_order,
};
use reeve_proto::types::v1::Tenant;
use tonic::transport::Channel;
use tonic::{Code, Status};

fn tenants(ids: &[&str]) -> Vec<Tenant> {
    let tenant = |(number, id): (usize, &&str)| Tenant {
        id: (*id).to_owned(),
        addresses: vec![format!("203.0.113.{number}/32")],
        ..Tenant::default()
    };
    ids.iter().enumerate().map(tenant).collect()
}

fn suspensions(ids: &[&str]) -> BatchSuspendRequest {
    let one = |id: &&str| SuspendRequest {
        tenant: (*id).into(),
        reason: "sends spam".into(),
        ..SuspendRequest::default()
    };
    BatchSuspendRequest { requests: ids.iter().map(one).collect(), ..Default::default() }
}

fn releases(ids: &[&str]) -> BatchReleaseRequest {
    let one = |id: &&str| ReleaseRequest { tenant: (*id).into(), ..ReleaseRequest::default() };
    BatchReleaseRequest { requests: ids.iter().map(one).collect(), ..Default::default() }
}

async fn suspend(channel: &Channel, batch: BatchSuspendRequest) -> Result<BatchSuspendResponse, Status> {
    OperatorServiceClient::new(channel.clone()).batch_suspend(batch).await.map(tonic::Response::into_inner)
}

async fn release(channel: &Channel, batch: BatchReleaseRequest) -> Result<BatchReleaseResponse, Status> {
    OperatorServiceClient::new(channel.clone()).batch_release(batch).await.map(tonic::Response::into_inner)
}

/// What became of each: the order's key, or the reason why there is none.
fn told(answer: &BatchSuspendResponse) -> Vec<(String, Result<String, String>)> {
    use batch_suspend_response::result::Outcome;
    let one = |result: &batch_suspend_response::Result| match result.outcome.clone().unwrap() {
        Outcome::Ordered(ordered) => (result.tenant.clone(), Ok(ordered.order)),
        Outcome::Error(error) => (result.tenant.clone(), Err(error.reason)),
    };
    answer.results.iter().map(one).collect()
}

/// How many decisions there are; the controller does not run.
async fn decisions(dir: &std::path::Path) -> u64 {
    common::execute(dir, "UPDATE decisions SET tenant = tenant").await
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_are_there_are_suspended_and_released_whoever_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    common::import(&channel, tenants(&["a", "b", "c"]), true).await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();

    let batch = BatchSuspendRequest { wait: true, ..suspensions(&["b", "nobody", "a"]) };
    let asked = tokio::spawn({
        let channel = channel.clone();
        async move { suspend(&channel, batch).await.unwrap() }
    });
    let mut imposed = Vec::new();
    for _ in 0..2 {
        let order = agent.order().await;
        let Order::Impose { decision, .. } = &order else { panic!("{order:?}") };
        imposed.push(decision.tenant.to_string());
        agent.done(&order).await;
    }
    imposed.sort();
    assert_eq!(imposed, ["a", "b"]);
    let answer = asked.await.unwrap();
    let all = told(&answer);
    assert_eq!(all.iter().map(|(tenant, _)| tenant.as_str()).collect::<Vec<_>>(), ["b", "nobody", "a"]);
    assert_eq!(all[1].1, Err("TENANT_NOT_FOUND".to_owned()));
    assert!(all[0].1.is_ok() && all[2].1.is_ok() && all[0].1 != all[2].1, "{all:?}");
    for result in &answer.results {
        if let Some(batch_suspend_response::result::Outcome::Ordered(ordered)) = &result.outcome {
            assert_eq!(ordered.nodes.len(), 1);
            assert_eq!(ordered.nodes[0].state(), node_order::State::Done, "{ordered:?}");
            assert_eq!(ordered.decision, ordered.order);
        }
    }

    let batch = BatchReleaseRequest { wait: true, ..releases(&["a", "b", "c", "nobody"]) };
    let asked = tokio::spawn({
        let channel = channel.clone();
        async move { release(&channel, batch).await.unwrap() }
    });
    for _ in 0..3 {
        let order = agent.order().await;
        assert!(matches!(order, Order::Release { .. }), "{order:?}");
        agent.done(&order).await;
    }
    let answer = asked.await.unwrap();
    let ended: Vec<Option<u32>> = answer
        .results
        .iter()
        .map(|result| match result.outcome.as_ref().unwrap() {
            batch_release_response::result::Outcome::Ordered(ordered) => {
                assert_eq!(ordered.nodes[0].state(), node_order::State::Done);
                ordered.ended
            }
            batch_release_response::result::Outcome::Error(error) => {
                assert_eq!(
                    (error.reason.as_str(), error.message.as_str()),
                    ("TENANT_NOT_FOUND", "there is no tenant nobody")
                );
                None
            }
        })
        .collect();
    assert_eq!(ended, [Some(1), Some(1), Some(0), None]);

    // Each is found in the record by whom it was about, and what came of it by the call.
    let mut audit = AuditServiceClient::new(channel.clone());
    let list = ListAuditRequest { subject: "tenant/a".into(), ..Default::default() };
    let found = audit.list_audit(list).await.unwrap().into_inner().entries;
    let acts: Vec<(&str, &str, &str)> =
        found.iter().map(|one| (one.act.as_str(), one.reason.as_str(), one.outcome.as_str())).collect();
    assert_eq!(acts, [("BatchRelease", "", "asked"), ("BatchSuspend", "sends spam", "asked")]);
    let list = ListAuditRequest { subject: "tenants/3".into(), ..Default::default() };
    let found = audit.list_audit(list).await.unwrap().into_inner().entries;
    let outcomes: Vec<&str> = found.iter().map(|one| one.outcome.as_str()).collect();
    assert_eq!(outcomes, ["done for 2 of 3: there is no tenant nobody", "asked"]);
    assert!(found[1].asked.contains(r#""tenant":"nobody""#), "{}", found[1].asked);
    controller.stop().await;
    assert_eq!(decisions(dir.path()).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_a_key_is_carried_out_once_over_a_restart_too() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    common::import(&channel, tenants(&["a", "b"]), true).await;
    let batch = BatchSuspendRequest { idempotency_key: "k1".into(), ..suspensions(&["a", "nobody", "b"]) };
    let first = told(&suspend(&channel, batch.clone()).await.unwrap());
    let again = told(&suspend(&channel, batch.clone()).await.unwrap());
    assert_eq!(first, again);
    controller.stop().await;
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    // A tenant that came since is not suspended by what was asked before.
    common::import(&channel, tenants(&["a", "b", "nobody"]), true).await;
    assert_eq!(told(&suspend(&channel, batch).await.unwrap()), first);
    let key = "k1".to_owned();
    let others = [
        suspend(&channel, BatchSuspendRequest { idempotency_key: key.clone(), ..suspensions(&["b", "a"]) })
            .await
            .map(drop),
        release(&channel, BatchReleaseRequest { idempotency_key: key.clone(), ..releases(&["a"]) })
            .await
            .map(drop),
        OperatorServiceClient::new(channel.clone())
            .suspend(SuspendRequest {
                idempotency_key: key,
                tenant: "a".into(),
                reason: "sends spam".into(),
                ..Default::default()
            })
            .await
            .map(drop),
    ];
    for other in others {
        assert_eq!(other.unwrap_err().code(), Code::AlreadyExists);
    }
    controller.stop().await;
    assert_eq!(decisions(dir.path()).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sound_refuses_the_whole_batch() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    common::import(&channel, tenants(&["a", "b"]), true).await;
    let with = |change: fn(&mut SuspendRequest)| {
        let mut batch = suspensions(&["a", "b"]);
        change(&mut batch.requests[1]);
        batch
    };
    let many: Vec<String> = (0..501).map(|number| format!("t{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (batch, field) in [
        (suspensions(&[]), "requests: "),
        (suspensions(&many), "requests: "),
        (suspensions(&["a", "b", "a"]), "requests[2].tenant: a is there twice"),
        (with(|one| one.reason.clear()), "requests[1].reason: "),
        (with(|one| one.clause = "no clause".into()), "requests[1].clause: "),
        (with(|one| one.wait = true), "requests[1].wait: "),
        (with(|one| one.idempotency_key = "x".into()), "requests[1].idempotency_key: "),
    ] {
        let refused = suspend(&channel, batch).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().starts_with(field), "{}", refused.message());
    }
    let refused = release(&channel, releases(&["a", "a"])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    controller.stop().await;
    assert_eq!(decisions(dir.path()).await, 0);
}
