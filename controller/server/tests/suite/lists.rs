//! Lists: filtered, ordered, masked and in pages, each by every field that it has.

use crate::common::{Agent, Running, import};
use prost_types::FieldMask;
use reeve_policy::{
    Alert, Class, Loss, NodeEvent, NodeEventKind, Report, Timestamp, Usage, Violation, ViolationId,
    ViolationState, Window,
};
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{
    ListEventsRequest, ListNodesRequest, ListNoticesRequest, ListSuspensionsRequest, ListTenantsRequest,
    ListUsageRequest, ListViolationsRequest,
};
use reeve_proto::types::v1::{Profile, Tenant};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

fn client(channel: &Channel) -> OperatorServiceClient<Channel> {
    OperatorServiceClient::new(channel.clone())
}

fn tenant(id: &str, name: &str, profile: Profile) -> Tenant {
    let address = format!("203.0.113.{}/32", id.as_bytes()[0]);
    Tenant {
        id: id.into(),
        name: name.into(),
        profile: profile.into(),
        addresses: vec![address],
        ..Tenant::default()
    }
}

fn violation(node: &str, tenant: &str, rule: &str, opened: u64, strike: u32) -> Violation {
    let at = Timestamp::from_secs(opened);
    let (node, tenant) = (node.parse().unwrap(), tenant.parse::<reeve_policy::TenantId>().unwrap());
    let rule = rule.parse().unwrap();
    Violation {
        id: ViolationId::new(&node, &tenant, &rule, at),
        node,
        tenant: tenant.clone(),
        rule,
        clause: "p/c".into(),
        opened: at,
        // Whoever began first went on for longest.
        last_seen: Timestamp::from_secs(9_000 - opened),
        closed: None,
        state: ViolationState::Open,
        strike,
        alerts: 1,
        evidence: Alert {
            class: Class::PortscanVertical,
            tenant,
            at,
            window: Window { start: at, end: at },
            metrics: Vec::new(),
            confidence_percent: 90,
            targets: Vec::new(),
            samples: Vec::new(),
            loss: Loss::default(),
            is_suspicion: false,
        },
    }
}

/// A controller with three tenants, two nodes, and something of everything.
async fn house(dir: &std::path::Path) -> (Running, Channel) {
    let controller = Running::start(dir).await;
    let channel = controller.plain().await;
    let tenants = [("a", "Zoe", Profile::Web), ("b", "Yan", Profile::Mail), ("c", "Xia", Profile::Web)];
    import(&channel, tenants.map(|(id, name, profile)| tenant(id, name, profile)).to_vec(), true).await;
    let mut sequence = 0;
    for (node, epoch) in [("n1", 1), ("n2", 1)] {
        let (mut agent, _) = Agent::greet(channel.clone(), node, epoch).await.unwrap();
        sequence = 0;
        let mut reports = Vec::new();
        for (number, id) in ["a", "b", "c"].into_iter().enumerate() {
            let opened = 1_000 + 10 * number as u64 + u64::from(node == "n2");
            let rule = if number == 1 { "flood" } else { "portscan" };
            reports.push(Report::Violation(violation(node, id, rule, opened, 1 + number as u32)));
            let (at, detail) = (Timestamp::from_secs(opened), format!("{node} {id}"));
            let kind = NodeEventKind::ALL[number];
            reports.push(Report::Event(NodeEvent { at, kind, detail }));
        }
        let tally = |(tenant, bytes): (&str, u64)| Usage {
            tenant: tenant.parse().unwrap(),
            month: "2026-11".parse().unwrap(),
            received: bytes,
            sent: 10_000 - bytes,
        };
        reports.push(Report::Usage { tallies: [("a", 30), ("b", 20), ("c", 10)].map(tally).to_vec() });
        for report in reports {
            sequence += 1;
            agent.report(sequence, report).await;
        }
        agent.acknowledged(sequence).await;
        if node == "n1" {
            agent.suspend(&channel, "c").await;
        }
    }
    assert!(sequence > 0);
    (controller, channel)
}

/// All pages of violations, of two each.
async fn violations(channel: &Channel, filter: &str, order_by: &str) -> Result<Vec<String>, Status> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListViolationsRequest {
            page_size: 2,
            page_token,
            filter: filter.into(),
            order_by: order_by.into(),
            ..Default::default()
        };
        let page = client(channel).list_violations(request).await?.into_inner();
        assert!(page.violations.len() <= 2);
        all.extend(page.violations.into_iter().map(|one| format!("{} {}", one.node, one.tenant)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

#[tokio::test]
async fn violations_are_filtered_and_ordered_by_every_field() {
    let dir = tempfile::tempdir().unwrap();
    let (controller, channel) = house(dir.path()).await;
    for (filter, order, expect) in [
        ("", "opened_time", "n1 a,n2 a,n1 b,n2 b,n1 c,n2 c"),
        ("", "opened_time desc", "n2 c,n1 c,n2 b,n1 b,n2 a,n1 a"),
        ("", "last_seen_time", "n2 c,n1 c,n2 b,n1 b,n2 a,n1 a"),
        ("node = n2", "tenant desc", "n2 c,n2 b,n2 a"),
        ("rule = flood", "node", "n1 b,n2 b"),
        ("node = n1 AND (strike >= 2 AND NOT tenant = c)", "", "n1 b"),
        ("tenant = a OR tenant = c AND node = n1", "tenant", "n1 a,n1 c"),
        ("opened_time >= 1970-01-01T00:16:51Z AND node != n2", "tenant", "n1 c"),
        ("opened_time > 1970-01-01T00:16:59Z AND state = open AND node = n1", "strike", "n1 c"),
        ("tenant = \"a' OR '1' = '1\"", "", ""),
        ("state = quiet", "", ""),
    ] {
        let expect: Vec<&str> = expect.split(',').filter(|one| !one.is_empty()).collect();
        assert_eq!(violations(&channel, filter, order).await.unwrap(), expect, "{filter} / {order}");
    }
    // Whatever it is ordered by, everybody comes once.
    let refused = violations(&channel, "", "nothing").await.unwrap_err();
    let details = refused.get_error_details();
    let fields = details.error_info().unwrap().metadata["allowed"].clone();
    assert!(fields.split(',').count() > 5, "{fields}");
    for field in fields.split(',') {
        for way in ["asc", "desc"] {
            let mut all = violations(&channel, "", &format!("{field} {way}")).await.unwrap();
            all.sort();
            assert_eq!(all, ["n1 a", "n1 b", "n1 c", "n2 a", "n2 b", "n2 c"], "{field} {way}");
        }
    }
    controller.stop().await;
}

#[tokio::test]
async fn every_other_list_is_filtered_and_ordered_too() {
    let dir = tempfile::tempdir().unwrap();
    let (controller, channel) = house(dir.path()).await;
    let both = |filter: &str, order: &str| (filter.to_owned(), order.to_owned());

    for (filter, order, expect) in [
        ("profile = web", "name", vec!["c", "a"]),
        ("", "id desc", vec!["c", "b", "a"]),
        ("state = suspended", "", vec!["c"]),
        ("NOT state = suspended AND name < Zoe", "", vec!["b"]),
        ("exempt = true OR known_offender = true", "", vec![]),
    ] {
        let (filter, order_by) = both(filter, order);
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let (filter, order_by) = (filter.clone(), order_by.clone());
            let request =
                ListTenantsRequest { page_size: 1, page_token, filter, order_by, ..Default::default() };
            let page = client(&channel).list_tenants(request).await.unwrap().into_inner();
            all.extend(page.tenants.into_iter().map(|entry| entry.tenant.unwrap().id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(all, expect, "{filter} / {order_by}");
    }
    for (filter, order, expect) in [
        ("", "name desc", vec!["n2", "n1"]),
        ("name > n1 AND paused = false", "", vec!["n2"]),
        ("reports_refused > 0", "", vec![]),
        ("agent_version = test", "last_seen_time", vec!["n1", "n2"]),
    ] {
        let (filter, order_by) = both(filter, order);
        let request = ListNodesRequest { filter, order_by, ..Default::default() };
        let page = client(&channel).list_nodes(request).await.unwrap().into_inner();
        assert_eq!(page.nodes.into_iter().map(|node| node.name).collect::<Vec<_>>(), expect);
    }
    for (filter, order, expect) in [
        ("node = n2", "time", vec!["n2 a", "n2 b", "n2 c"]),
        ("node = n1", "kind", vec![]),
        ("number > 0 AND NOT node = n1", "time desc", vec!["n2 c", "n2 b", "n2 a"]),
        ("received_time < 1970-01-02T00:00:00Z", "received_time", vec![]),
    ] {
        let (filter, order_by) = both(filter, order);
        let request = ListEventsRequest { filter: filter.clone(), order_by, ..Default::default() };
        let page = client(&channel).list_events(request).await.unwrap().into_inner();
        let told: Vec<String> = page.events.into_iter().map(|entry| entry.event.unwrap().detail).collect();
        if order == "kind" {
            assert_eq!(told.len(), 3);
        } else {
            assert_eq!(told, expect, "{filter}");
        }
    }
    for (filter, order, expect) in [
        ("", "bytes_in", vec!["c", "b", "a"]),
        ("", "bytes_out", vec!["a", "b", "c"]),
        ("bytes_in >= 40 AND nodes = 2", "tenant desc", vec!["b", "a"]),
        ("updated_time < 1970-01-02T00:00:00Z", "", vec![]),
    ] {
        let (filter, order_by) = both(filter, order);
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let (filter, order_by, month) = (filter.clone(), order_by.clone(), "2026-11".into());
            let request =
                ListUsageRequest { page_size: 1, page_token, filter, order_by, month, ..Default::default() };
            let page = client(&channel).list_usage(request).await.unwrap().into_inner();
            all.extend(page.entries.into_iter().map(|entry| entry.tenant));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(all, expect, "{filter} / {order_by}");
    }
    for filter in
        ["number >= 0 AND kind = lifted", "made_time < 1970-01-02T00:00:00Z", "recipient = x OR tenant = y"]
    {
        let request = ListNoticesRequest { filter: filter.into(), ..Default::default() };
        assert!(client(&channel).list_notices(request).await.unwrap().into_inner().notices.is_empty());
    }
    let filter = "times >= 0 AND suspended_seconds >= 0 AND unpaid_seconds = 0".into();
    let request = ListSuspensionsRequest { filter, order_by: "standing desc".into(), ..Default::default() };
    client(&channel).list_suspensions(request).await.unwrap();
    controller.stop().await;
}

#[tokio::test]
async fn masks_tell_what_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (controller, channel) = house(dir.path()).await;
    let mask = |paths: &[&str]| Some(FieldMask { paths: paths.iter().map(ToString::to_string).collect() });
    let request = ListTenantsRequest { read_mask: mask(&["tenant.id"]), ..Default::default() };
    let page = client(&channel).list_tenants(request).await.unwrap().into_inner();
    let all: Vec<Tenant> = page.tenants.into_iter().filter_map(|entry| entry.tenant).collect();
    let only = |id: &str| Tenant { id: id.into(), ..Tenant::default() };
    assert_eq!(all, [only("a"), only("b"), only("c")]);
    let request =
        ListViolationsRequest { read_mask: mask(&["tenant", "evidence.class"]), ..Default::default() };
    let page = client(&channel).list_violations(request).await.unwrap().into_inner();
    assert!(page.violations.iter().all(|one| one.node.is_empty() && !one.tenant.is_empty()));
    let request = ListEventsRequest { read_mask: mask(&["nde"]), ..Default::default() };
    let refused = client(&channel).list_events(request).await.unwrap_err();
    assert_eq!(refused.message(), "read_mask: found \"nde\"; allowed: node, event, received_time");
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "INVALID_READ_MASK");
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "read_mask");
    controller.stop().await;
}

#[tokio::test]
async fn a_token_outlives_the_controller_and_no_other_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (controller, channel) = house(dir.path()).await;
    let ask = async |channel: &Channel, page_token: &str, filter: &str| {
        let (page_token, filter) = (page_token.to_owned(), filter.to_owned());
        let request = ListTenantsRequest { page_size: 2, page_token, filter, ..Default::default() };
        client(channel).list_tenants(request).await.map(tonic::Response::into_inner)
    };
    let token = ask(&channel, "", "").await.unwrap().next_page_token;
    // Who comes in between moves nobody, and comes in its place.
    import(&channel, vec![tenant("0", "First", Profile::Web), tenant("d", "Last", Profile::Web)], false)
        .await;
    controller.stop().await;
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let rest = ask(&channel, &token, "").await.unwrap();
    let rest: Vec<String> = rest.tenants.into_iter().map(|entry| entry.tenant.unwrap().id).collect();
    assert_eq!(rest, ["c", "d"]);

    let mut other = token.clone();
    other.replace_range(..1, if token.starts_with('A') { "B" } else { "A" });
    for (token, filter) in [(other.as_str(), ""), ("b", ""), ("AAAA", ""), (&token, "profile = web")] {
        let refused = ask(&channel, token, filter).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let details = refused.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "INVALID_PAGE_TOKEN", "{token} {filter}");
    }
    let refused = ask(&channel, "", "profle = web").await.unwrap_err();
    let details = refused.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.metadata["position"].as_str()), ("INVALID_FILTER", "1"));
    assert!(info.metadata["allowed"].contains("profile"), "{info:?}");
    controller.stop().await;
}
