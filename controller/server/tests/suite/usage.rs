//! What tenants sent and received: told by nodes, added up, and asked for by operators.

use crate::common::{Agent, Running};
use reeve_policy::{Report, Usage};
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{ImportTenantsRequest, ListUsageRequest, ListUsageResponse};
use tonic::Code;
use tonic::transport::Channel;

fn usage(tallies: &[(&str, &str, u64, u64)]) -> Report {
    let one = |(tenant, month, received, sent): &(&str, &str, u64, u64)| Usage {
        tenant: tenant.parse().unwrap(),
        month: month.parse().unwrap(),
        received: *received,
        sent: *sent,
    };
    Report::Usage { tallies: tallies.iter().map(one).collect() }
}

async fn ask(channel: &Channel, request: ListUsageRequest) -> Result<ListUsageResponse, tonic::Status> {
    let mut client = OperatorServiceClient::new(channel.clone());
    Ok(client.list_usage(request).await?.into_inner())
}

/// Each line of a month as `tenant in out nodes quota`.
async fn lines(channel: &Channel, month: &str, tenant: &str) -> Vec<String> {
    let (month, tenant) = (month.to_owned(), tenant.to_owned());
    let request = ListUsageRequest { month, tenant, ..ListUsageRequest::default() };
    let line = |entry: reeve_proto::operator::v1::UsageEntry| {
        let quota = entry.quota_bytes.map_or("-".to_owned(), |quota| quota.to_string());
        assert!(entry.updated_time.is_some());
        format!("{} {} {} {} {quota}", entry.tenant, entry.bytes_in, entry.bytes_out, entry.nodes)
    };
    ask(channel, request).await.unwrap().entries.into_iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_only_grow_and_nodes_are_added_up() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let tenant = reeve_proto::types::v1::Tenant {
        id: "a".into(),
        addresses: vec!["203.0.113.1/32".into()],
        quota_bytes: Some(5_000),
        ..Default::default()
    };
    let mut client = OperatorServiceClient::new(channel.clone());
    client
        .import_tenants(ImportTenantsRequest { tenants: vec![tenant], method: 2, ..Default::default() })
        .await
        .unwrap();

    let (mut first, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let (mut second, _) = Agent::greet(channel.clone(), "n2", 1).await.unwrap();
    first
        .report(1, usage(&[("a", "2026-10", 7, 7), ("a", "2026-11", 100, 10), ("b", "2026-11", 1, 0)]))
        .await;
    first.report(2, usage(&[("a", "2026-11", 300, 30)])).await;
    // It comes twice, or late, or from an agent that lost its state: the greater holds.
    first.report(3, usage(&[("a", "2026-11", 200, 40)])).await;
    first.acknowledged(3).await;
    second.report(1, usage(&[("a", "2026-11", 1_000, 0)])).await;
    second.acknowledged(1).await;
    assert_eq!(lines(&channel, "2026-11", "").await, ["a 1300 40 2 5000", "b 1 0 1 -"]);
    assert_eq!(lines(&channel, "2026-11", "b").await, ["b 1 0 1 -"]);
    assert_eq!(lines(&channel, "2026-10", "").await, ["a 7 7 1 5000"]);
    assert!(lines(&channel, "2026-12", "").await.is_empty());

    // Nothing of somebody is something else than nobody.
    assert!(lines(&channel, "2026-12", "a").await.is_empty());
    let nobody = ListUsageRequest { tenant: "nobody".into(), ..ListUsageRequest::default() };
    let error = ask(&channel, nobody).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::NotFound, "there is no tenant nobody"));

    // More than SQLite can add up.
    second.report(2, usage(&[("b", "2026-11", u64::MAX, 0)])).await;
    second.acknowledged(2).await;
    let most = i64::MAX.to_string();
    assert_eq!(lines(&channel, "2026-11", "b").await, [format!("b {most} 0 2 -")]);

    drop((first, second));
    controller.stop().await;
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    assert_eq!(lines(&channel, "2026-11", "a").await, ["a 1300 40 2 5000"]);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_comes_in_pages_and_what_is_no_month_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    agent.report(1, usage(&["a", "b", "c"].map(|id| (id, "2026-11", 1, 1)))).await;
    agent.acknowledged(1).await;
    let page = |page_token: &str| ListUsageRequest {
        month: "2026-11".into(),
        page_size: 2,
        page_token: page_token.into(),
        ..ListUsageRequest::default()
    };
    let first = ask(&channel, page("")).await.unwrap();
    assert_eq!((first.entries.len(), first.entries[1].tenant.as_str()), (2, "b"));
    let last = ask(&channel, page(&first.next_page_token)).await.unwrap();
    assert_eq!((last.entries[0].tenant.as_str(), last.next_page_token.as_str()), ("c", ""));
    // Without a month it is the one at hand.
    let now = ask(&channel, ListUsageRequest::default()).await.unwrap();
    assert_eq!(now.month.len(), 7);
    for month in ["2026-13", "November", "2026"] {
        let request = ListUsageRequest { month: month.into(), ..ListUsageRequest::default() };
        assert_eq!(ask(&channel, request).await.unwrap_err().code(), Code::InvalidArgument, "{month}");
    }
    drop(agent);
    controller.stop().await;
}
