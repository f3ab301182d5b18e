//! What is over is forgotten after its time, and what is still needed is not.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::common::{self, Agent, Running};
use reeve_controller::settings::Settings;
use reeve_controller::store::Store;
use reeve_controller::store::write::{Desk, Effects, Limits, retain};
use reeve_policy::{
    Action, Alert, Class, Decision, DecisionId, HeaderSample, LiftReason, Loss, Measure, MeasureCounters,
    Mode, NodeEvent, NodeEventKind, Origin, Report, Scope, Timestamp, Until, Violation, ViolationId,
    ViolationState, Window,
};
use reeve_proto::operator::v1::case_service_client::CaseServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{
    GetViolationRequest, GetViolationResponse, HoldCaseRequest, HoldEvidenceRequest, ImportTenantsRequest,
    ListCasesRequest, ListEventsRequest, ListViolationsRequest,
};
use reeve_proto::status::v1::status_service_client::StatusServiceClient;
use reeve_proto::status::v1::{GetStatusRequest, State, get_status_request::Subject};
use tonic::Code;
use tonic::transport::Channel;

/// Long ago.
const OPENED: u64 = 1_000;

/// What becomes of a violation of a tenant that has its name.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// It was only observed, and is over.
    Observed,
    /// It was answered, and all of it is over.
    Strike,
    /// It goes on.
    Open,
    /// Its measure stands.
    Standing,
}

fn violation(tenant: &str, is_open: bool) -> Violation {
    let at = Timestamp::from_secs(OPENED);
    let (node, tenant, rule) = ("n1".parse().unwrap(), tenant.parse().unwrap(), "portscan".parse().unwrap());
    let sample = HeaderSample { at, wire_len: 40, headers: vec![0x45; 20], is_forged: false };
    Violation {
        id: ViolationId::new(&node, &tenant, &rule, at),
        node,
        tenant: reeve_policy::TenantId::clone(&tenant),
        rule,
        clause: "p/c".into(),
        opened: at,
        last_seen: at,
        closed: (!is_open).then_some(at),
        state: if is_open { ViolationState::Open } else { ViolationState::Quiet },
        strike: 1,
        alerts: 1,
        evidence: Alert {
            class: Class::PortscanVertical,
            tenant,
            at,
            window: Window { start: at, end: at },
            metrics: Vec::new(),
            confidence_percent: 90,
            targets: Vec::new(),
            samples: vec![sample],
            loss: Loss::default(),
            is_suspicion: false,
        },
    }
}

fn reports(tenant: &str, kind: Kind) -> Vec<Report> {
    let violation = violation(tenant, kind == Kind::Open);
    let at = violation.opened;
    let decision = Decision {
        id: DecisionId(format!("{}.1", violation.id).parse().unwrap()),
        tenant: violation.tenant.clone(),
        violation: Some(violation.id.clone()),
        clause: "p/c".into(),
        origin: Origin::Policy {
            policy: "p".parse().unwrap(),
            version: 1,
            rule: violation.rule.clone(),
            step: 1,
        },
        action: Action::Suspend,
        scope: Scope::All,
        rate: None,
        until: Until::Released,
        at,
        mode: if kind == Kind::Observed { Mode::Observe } else { Mode::Enforce },
        reason: "scan".into(),
        connections: None,
        softened: None,
        reckoning: None,
    };
    let measure = Measure { decision: decision.clone(), expires: None };
    let lifted = Report::Lifted {
        decision: decision.id.clone(),
        tenant: decision.tenant.clone(),
        reason: LiftReason::Released,
        at,
        counters: MeasureCounters { packets: 1, bytes: 2 },
    };
    let mut all = vec![Report::Violation(violation), Report::Decision(decision)];
    if kind != Kind::Observed {
        all.push(Report::Standing { measure, at });
    }
    if kind == Kind::Strike {
        all.push(lifted);
    }
    all
}

/// Forgets what is older than these, and gives how many rows went at once each time.
async fn forget(dir: &Path, over: Timestamp, strikes: Timestamp) -> Vec<u64> {
    let settings = Settings::load(dir).unwrap();
    let (store, mut writing) = Store::open(&settings.database, dir).await.unwrap();
    let mut effects = Effects::new(reeve_controller::clock::now(), Desk::default());
    let mut counts = Vec::new();
    loop {
        let conn = writing.connection().await.unwrap();
        let (count, is_more) = retain(conn, &Limits { over, strikes }, &mut effects).await.unwrap();
        counts.push(count);
        if !is_more {
            break;
        }
    }
    store.close().await;
    writing.close().await;
    counts
}

/// The tenants of all violations.
async fn tenants(channel: &Channel) -> Vec<String> {
    let list =
        OperatorServiceClient::new(channel.clone()).list_violations(ListViolationsRequest::default()).await;
    let mut tenants: Vec<String> =
        list.unwrap().into_inner().violations.into_iter().map(|violation| violation.tenant).collect();
    tenants.sort_unstable();
    tenants
}

/// How many headers of packets are kept of a tenant's violation, and the whole answer.
async fn headers(channel: &Channel, tenant: &str) -> (usize, GetViolationResponse) {
    let id = violation(tenant, false).id.to_string();
    let asked = OperatorServiceClient::new(channel.clone()).get_violation(GetViolationRequest { id }).await;
    let answer = asked.unwrap().into_inner();
    let own = answer.violation.as_ref().unwrap().evidence.as_ref().unwrap().samples.len();
    let kept: usize = answer.evidence.iter().map(|kept| kept.alert.as_ref().unwrap().samples.len()).sum();
    (own.max(kept), answer)
}

/// Begins or ends a hold; whether anything is other than before.
async fn hold(channel: &Channel, tenant: &str, reason: &str, end: bool) -> Result<bool, Code> {
    let violation = violation(tenant, false).id.to_string();
    let request = HoldEvidenceRequest { violation, reason: reason.into(), end };
    let answer = OperatorServiceClient::new(channel.clone()).hold_evidence(request).await;
    answer.map(|answer| answer.into_inner().changed).map_err(|status| status.code())
}

async fn state(channel: &Channel, tenant: &str) -> State {
    let request = GetStatusRequest { subject: Some(Subject::Tenant(tenant.into())) };
    StatusServiceClient::new(channel.clone()).get_status(request).await.unwrap().into_inner().state()
}

/// Has the case of a tenant kept past its time.
async fn hold_case(channel: &Channel, tenant: &str) {
    let mut client = CaseServiceClient::new(channel.clone());
    let request = ListCasesRequest { tenant: tenant.into(), ..Default::default() };
    let case = client.list_cases(request).await.unwrap().into_inner().cases.remove(0);
    let request = HoldCaseRequest { id: case.id, reason: "a complaint".into(), end: false };
    client.hold_case(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_goes_and_what_is_needed_stays() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let kinds = BTreeMap::from([
        ("cased", Kind::Observed),
        ("held", Kind::Strike),
        ("observed", Kind::Observed),
        ("open", Kind::Open),
        ("standing", Kind::Standing),
        ("strike", Kind::Strike),
    ]);
    let tenant = |id: &&str| reeve_proto::types::v1::Tenant {
        id: (*id).into(),
        interfaces: vec![format!("n1/tap-{id}")],
        ..Default::default()
    };
    let request =
        ImportTenantsRequest { tenants: kinds.keys().map(tenant).collect(), method: 2, ..Default::default() };
    OperatorServiceClient::new(channel.clone()).import_tenants(request).await.unwrap();
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let all: Vec<Report> = kinds.iter().flat_map(|(tenant, kind)| reports(tenant, *kind)).collect();
    let last = all.len() as u64;
    for (number, report) in (1..).zip(all) {
        agent.report(number, report).await;
    }
    agent.acknowledged(last).await;
    assert_eq!(tenants(&channel).await.len(), 6);
    hold_case(&channel, "cased").await;
    assert_eq!(headers(&channel, "strike").await.0, 1);
    assert_eq!(hold(&channel, "held", "a complaint", false).await, Ok(true));
    assert_eq!(hold(&channel, "held", "another", false).await, Ok(false));
    assert_eq!(hold(&channel, "strike", "", false).await, Err(Code::InvalidArgument));
    assert_eq!(hold(&channel, "nobody", "a complaint", false).await, Err(Code::NotFound));
    assert_eq!(hold(&channel, "strike", "a mistake", false).await, Ok(true));
    assert_eq!(hold(&channel, "strike", "", true).await, Ok(true));
    assert_eq!(hold(&channel, "strike", "", true).await, Ok(false));
    assert_eq!(headers(&channel, "held").await.1.hold.unwrap().reason, "a complaint");
    assert!(headers(&channel, "strike").await.1.hold.is_none());
    drop(agent);
    controller.stop().await;

    let (day, before) = (Duration::from_secs(86_400), Timestamp::from_secs(1));
    let now = reeve_controller::clock::now();
    // Nothing is that old.
    assert_eq!(forget(dir.path(), before, before).await, [0]);
    assert!(forget(dir.path(), now.minus(day), before).await[0] > 0);
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    assert_eq!(tenants(&channel).await, ["cased", "held", "open", "standing", "strike"]);
    for (tenant, kept) in [("held", 1), ("open", 1), ("standing", 1), ("strike", 0)] {
        let (headers, answer) = headers(&channel, tenant).await;
        assert_eq!((headers, answer.decisions.len(), answer.measures.len()), (kept, 1, 1), "{tenant}");
    }
    assert_eq!(state(&channel, "standing").await, State::Suspended);
    controller.stop().await;

    // Again changes nothing; and strikes have their time too.
    assert_eq!(forget(dir.path(), now.minus(day), before).await, [0]);
    assert!(forget(dir.path(), now.minus(day), now.minus(day)).await[0] > 0);
    let controller = Running::start(dir.path()).await;
    assert_eq!(tenants(&controller.plain().await).await, ["cased", "held", "open", "standing"]);
    controller.stop().await;
    for gone in [
        "UPDATE decisions SET made = made WHERE tenant IN ('strike', 'observed')",
        "UPDATE measures SET since = since WHERE tenant IN ('strike', 'observed')",
        "UPDATE evidence SET raised = raised WHERE violation NOT IN (SELECT id FROM violations)",
    ] {
        assert_eq!(common::execute(dir.path(), gone).await, 0, "{gone}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_little_goes_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let (mut agent, _) = Agent::greet(controller.plain().await, "n1", 1).await.unwrap();
    for number in 1..=450 {
        let event = NodeEvent::new(Timestamp::from_secs(number), NodeEventKind::RulesetChanged, "x");
        agent.report(number, Report::Event(event)).await;
    }
    agent.acknowledged(450).await;
    drop(agent);
    controller.stop().await;
    let now = reeve_controller::clock::now();
    let old = "UPDATE node_events SET received = 5 WHERE at < 440000000000";
    assert_eq!(common::execute(dir.path(), old).await, 439);
    let day = now.minus(Duration::from_secs(86_400));
    assert_eq!(forget(dir.path(), day, day).await, [200, 200, 39]);
    let controller = Running::start(dir.path()).await;
    let mut client = OperatorServiceClient::new(controller.plain().await);
    let page = client.list_events(ListEventsRequest { page_size: 1_000, ..Default::default() }).await;
    assert_eq!(page.unwrap().into_inner().events.len(), 11);
    controller.stop().await;
}
