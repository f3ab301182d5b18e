//! For how long tenants were suspended: told by nodes, counted once, and asked for by the month.

use std::time::Duration;

use crate::common::{Agent, Running};
use reeve_policy::{
    Action, Alert, Class, Decision, DecisionId, LiftReason, Loss, Measure, MeasureCounters, Mode, Origin,
    Report, Scope, Timestamp, Until, Violation, ViolationId, ViolationState, Window,
};
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{ImportTenantsRequest, ListSuspensionsRequest, SuspensionEntry};
use reeve_proto::types;
use tonic::Code;
use tonic::transport::Channel;

/// The first moment of November 2023 (UTC), and so many seconds behind it.
const NOVEMBER: u64 = 1_698_796_800;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(NOVEMBER.strict_add_signed(secs))
}

/// An episode at a node, and what it was answered with: the reports of both, and the decision.
fn answered(
    node: &str,
    tenant: &str,
    number: i64,
    action: Action,
    until: Until,
    mode: Mode,
) -> (Vec<Report>, Decision) {
    let (node, tenant, rule) = (node.parse().unwrap(), tenant.parse().unwrap(), "scan".parse().unwrap());
    let opened = at(number);
    let violation = Violation {
        id: ViolationId::new(&node, &tenant, &rule, opened),
        node,
        rule,
        clause: "p/scan".into(),
        opened,
        last_seen: opened,
        closed: None,
        state: ViolationState::Open,
        strike: 1,
        alerts: 1,
        evidence: Alert {
            class: Class::PortscanVertical,
            tenant: tenant.clone(),
            at: opened,
            window: Window { start: opened, end: opened },
            metrics: Vec::new(),
            confidence_percent: 90,
            targets: Vec::new(),
            samples: Vec::new(),
            loss: Loss::default(),
            is_suspicion: false,
        },
        tenant,
    };
    let origin =
        Origin::Policy { policy: "p".parse().unwrap(), version: 1, rule: violation.rule.clone(), step: 1 };
    let decision = Decision {
        id: DecisionId(format!("{}.1", violation.id).parse().unwrap()),
        tenant: violation.tenant.clone(),
        violation: Some(violation.id.clone()),
        clause: violation.clause.clone(),
        origin,
        action,
        scope: Scope::All,
        rate: None,
        until,
        at: opened,
        mode,
        reason: String::new(),
        connections: None,
        softened: None,
        reckoning: None,
    };
    (vec![Report::Violation(violation), Report::Decision(decision.clone())], decision)
}

fn stands(decision: &Decision, since: i64, expires: Option<i64>) -> Report {
    let measure = Measure { decision: decision.clone(), expires: expires.map(at) };
    Report::Standing { measure, at: at(since) }
}

fn lifted(decision: &Decision, when: i64) -> Report {
    let (tenant, counters) = (decision.tenant.clone(), MeasureCounters::default());
    Report::Lifted {
        decision: decision.id.clone(),
        tenant,
        reason: LiftReason::Released,
        at: at(when),
        counters,
    }
}

/// What is told of a month: `tenant seconds unpaid times standing`, page by page.
async fn told(
    channel: &Channel,
    month: &str,
    tenant: &str,
    page_size: i32,
) -> Result<Vec<String>, tonic::Status> {
    let line = |entry: SuspensionEntry| {
        let (all, unpaid) = (entry.suspended.unwrap().seconds, entry.unpaid.unwrap().seconds);
        format!("{} {all} {unpaid} {} {}", entry.tenant, entry.times, entry.standing)
    };
    let (mut lines, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListSuspensionsRequest {
            month: month.into(),
            tenant: tenant.into(),
            page_size,
            page_token,
            ..Default::default()
        };
        let answer =
            OperatorServiceClient::new(channel.clone()).list_suspensions(request).await?.into_inner();
        lines.extend(answer.entries.into_iter().map(line));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return Ok(lines);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn time_is_reckoned_by_the_month_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let tenants = ["a", "b", "c"].map(|id| types::v1::Tenant {
        id: id.into(),
        addresses: vec![format!("203.0.113.{}/32", id.as_bytes()[0])],
        interfaces: vec![format!("n1/tap-{id}"), format!("n2/tap-{id}")],
        ..Default::default()
    });
    let request = ImportTenantsRequest { tenants: tenants.into(), method: 2, ..Default::default() };
    OperatorServiceClient::new(channel.clone()).import_tenants(request).await.unwrap();
    let (mut first, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let (mut second, _) = Agent::greet(channel.clone(), "n2", 2).await.unwrap();

    let suspend =
        |node, tenant, number, until| answered(node, tenant, number, Action::Suspend, until, Mode::Enforce);
    let (mut of_first, abuse) = suspend("n1", "a", 1, Until::Released);
    of_first.extend([stands(&abuse, 1_000, None), lifted(&abuse, 2_000)]);
    let (reports, unpaid) = suspend("n1", "a", 2, Until::Paid);
    of_first.extend(reports);
    of_first.extend([stands(&unpaid, 1_500, None), lifted(&unpaid, 3_000)]);
    let (reports, begun_before) = suspend("n1", "b", 3, Until::Released);
    of_first.extend(reports);
    of_first.extend([stands(&begun_before, -500, None), lifted(&begun_before, 500)]);
    // Of this one nobody says that it ended.
    let (reports, over_by_itself) = suspend("n1", "b", 4, Until::After(Duration::from_secs(100)));
    of_first.extend(reports);
    of_first.push(stands(&over_by_itself, 700, Some(800)));
    let (reports, blocked) = answered("n1", "c", 5, Action::Block, Until::Released, Mode::Enforce);
    of_first.extend(reports);
    of_first.push(stands(&blocked, 0, None));
    let count = of_first.len() as u64;
    for (sequence, report) in (1..).zip(of_first) {
        first.report(sequence, report).await;
    }
    first.acknowledged(count).await;
    // At the same time on the other node as well, for a little longer.
    let (mut of_second, there) = suspend("n2", "a", 6, Until::Released);
    of_second.extend([stands(&there, 1_100, None), lifted(&there, 2_100)]);
    for (sequence, report) in (1..).zip(of_second) {
        second.report(sequence, report).await;
    }
    second.acknowledged(4).await;

    assert_eq!(told(&channel, "2023-11", "", 0).await.unwrap(), ["a 2000 900 1 false", "b 600 0 2 false"]);
    assert_eq!(told(&channel, "2023-11", "", 1).await.unwrap(), ["a 2000 900 1 false", "b 600 0 2 false"]);
    assert_eq!(told(&channel, "2023-10", "", 0).await.unwrap(), ["b 500 0 1 true"]);
    assert_eq!(told(&channel, "2023-11", "b", 0).await.unwrap(), ["b 600 0 2 false"]);
    assert!(told(&channel, "2023-12", "", 0).await.unwrap().is_empty());
    // One who was not suspended is something else than nobody.
    assert!(told(&channel, "2023-11", "c", 0).await.unwrap().is_empty());
    let error = told(&channel, "2023-11", "nobody", 0).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::NotFound, "there is no tenant nobody"));
    let error = told(&channel, "2023-13", "", 0).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    controller.stop().await;
}
