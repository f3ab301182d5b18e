//! Cases over the wire: what opens them, what belongs to them, who moves them, and when they end.

use crate::common::{Agent, Running, alice, execute, import};
use reeve_policy::{
    Action, Alert, Class, Decision, DecisionId, LiftReason, Loss, Measure, MeasureCounters, Mode, Origin,
    Report, Scope, Timestamp, Until, Violation, ViolationId, ViolationState, Window,
};
use reeve_proto::operator::v1::case_service_client::CaseServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{
    AddCaseNoteRequest, Case, CaseEntryKind, CaseState, GetCaseRequest, GetCaseResponse, GetViolationRequest,
    HoldCaseRequest, ListCasesRequest, MoveCaseRequest, ReleaseRequest, SuspendRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + secs)
}

fn violation(rule: &str, opened: u64, closed: Option<u64>) -> Violation {
    let (node, tenant) = ("n1".parse().unwrap(), "alice".parse().unwrap());
    let clause = format!("p/{rule}");
    let rule = rule.parse().unwrap();
    Violation {
        id: ViolationId::new(&node, &tenant, &rule, at(opened)),
        node,
        rule,
        clause,
        opened: at(opened),
        last_seen: at(opened),
        closed: closed.map(at),
        state: if closed.is_some() { ViolationState::Quiet } else { ViolationState::Open },
        strike: 1,
        alerts: 1,
        evidence: Alert {
            class: Class::PortscanVertical,
            tenant: tenant.clone(),
            at: at(opened),
            window: Window { start: at(opened), end: at(opened) },
            metrics: Vec::new(),
            confidence_percent: 90,
            targets: Vec::new(),
            samples: Vec::new(),
            loss: Loss::default(),
            is_suspicion: false,
        },
        tenant,
    }
}

fn decision(violation: &Violation) -> Decision {
    Decision {
        id: DecisionId(format!("{}.1", violation.id).parse().unwrap()),
        tenant: violation.tenant.clone(),
        violation: Some(violation.id.clone()),
        clause: violation.clause.clone(),
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
        at: violation.opened,
        mode: Mode::Enforce,
        reason: "25 hosts on port 22".into(),
        connections: None,
        softened: None,
        reckoning: None,
    }
}

async fn list(channel: &Channel, request: ListCasesRequest) -> Vec<Case> {
    CaseServiceClient::new(channel.clone()).list_cases(request).await.unwrap().into_inner().cases
}

async fn show(channel: &Channel, id: &str) -> Result<GetCaseResponse, Status> {
    let request = GetCaseRequest { id: id.into() };
    Ok(CaseServiceClient::new(channel.clone()).get_case(request).await?.into_inner())
}

async fn move_to(
    channel: &Channel,
    id: &str,
    state: CaseState,
    limit: &str,
    why: &str,
) -> Result<Case, Status> {
    let request = MoveCaseRequest {
        id: id.into(),
        state: state.into(),
        time_limit: limit.into(),
        reason: why.into(),
        ..Default::default()
    };
    let answer = CaseServiceClient::new(channel.clone()).move_case(request).await?;
    Ok(answer.into_inner().case.unwrap())
}

async fn note(channel: &Channel, id: &str, text: &str, key: &str) -> Result<Case, Status> {
    let request = AddCaseNoteRequest { id: id.into(), text: text.into(), idempotency_key: key.into() };
    let answer = CaseServiceClient::new(channel.clone()).add_case_note(request).await?;
    Ok(answer.into_inner().case.unwrap())
}

async fn hold(channel: &Channel, id: &str, reason: &str, end: bool) -> Result<Case, Status> {
    let request = HoldCaseRequest { id: id.into(), reason: reason.into(), end };
    Ok(CaseServiceClient::new(channel.clone()).hold_case(request).await?.into_inner().case.unwrap())
}

fn reason(refused: &Status) -> String {
    refused.get_error_details().error_info().unwrap().reason.clone()
}

/// A controller that knows alice, and her node's agent.
async fn start(dir: &std::path::Path) -> (Running, Channel, Agent) {
    let controller = Running::start(dir).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice()], true).await;
    let (agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    (controller, channel, agent)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_takes_in_what_happens_under_its_clause_until_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (_controller, channel, mut agent) = start(dir.path()).await;
    let (first, second) = (violation("scan", 10, None), violation("scan", 500, Some(600)));
    let other = violation("spam", 20, None);
    let decided = decision(&first);
    let standing = Measure { decision: decided.clone(), expires: None };
    let reports = [
        Report::Violation(first.clone()),
        Report::Decision(decided.clone()),
        Report::Standing { measure: standing, at: at(11) },
        Report::Violation(other),
        Report::Violation(second.clone()),
    ];
    let told = reports.len() as u64;
    for (number, report) in (1..).zip(reports) {
        agent.report(number, report).await;
    }
    agent.acknowledged(told).await;

    let cases = list(&channel, ListCasesRequest::default()).await;
    let clauses: Vec<&str> = cases.iter().map(|case| case.clause.as_str()).collect();
    assert_eq!(clauses.len(), 2, "{clauses:?}");
    let scan = cases.iter().find(|case| case.clause == "p/scan").unwrap();
    assert_eq!((scan.tenant.as_str(), scan.state()), ("alice", CaseState::Open));
    let found = show(&channel, &scan.id).await.unwrap();
    let ids: Vec<String> = found.violations.iter().map(|one| one.id.clone()).collect();
    assert_eq!(ids, [first.id.to_string(), second.id.to_string()]);
    assert_eq!((found.decisions.len(), found.measures.len()), (1, 1));
    assert!(!found.notices.is_empty(), "alice is told of her suspension");
    let request = GetViolationRequest { id: first.id.to_string() };
    let told_of = OperatorServiceClient::new(channel.clone()).get_violation(request).await.unwrap();
    assert_eq!(told_of.into_inner().case_id, scan.id);

    // What goes on is not closed.
    let refused = move_to(&channel, &scan.id, CaseState::Closed, "", "looks fine").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "CASE_GOES_ON"));
    let lifted = Report::Lifted {
        decision: decided.id.clone(),
        tenant: decided.tenant.clone(),
        reason: LiftReason::Released,
        at: at(90),
        counters: MeasureCounters::default(),
    };
    let over = Violation { state: ViolationState::Quiet, closed: Some(at(95)), ..first.clone() };
    agent.report(told + 1, lifted).await;
    agent.report(told + 2, Report::Violation(over)).await;
    agent.acknowledged(told + 2).await;
    let closed = move_to(&channel, &scan.id, CaseState::Closed, "", "she removed it").await.unwrap();
    assert_eq!(closed.state(), CaseState::Closed);
    assert!(closed.close_time.is_some());
    assert_eq!(list(&channel, ListCasesRequest::default()).await.len(), 1);
    let all = ListCasesRequest { include_closed: true, ..Default::default() };
    assert_eq!(list(&channel, all.clone()).await.len(), 2);

    // What happens then is another case, and while that is not closed the first is not opened again.
    agent.report(told + 3, Report::Violation(violation("scan", 900, None))).await;
    agent.acknowledged(told + 3).await;
    assert_eq!(list(&channel, all).await.len(), 3);
    let refused = move_to(&channel, &scan.id, CaseState::Open, "", "she denies it").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("not closed"), "{refused}");
    // A report that comes again changes nothing of where it belongs.
    agent.report(told + 4, Report::Violation(second.clone())).await;
    agent.acknowledged(told + 4).await;
    assert_eq!(show(&channel, &scan.id).await.unwrap().violations.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_is_found_by_the_words_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let (controller, channel, mut agent) = start(dir.path()).await;
    for (number, rule) in (1..).zip(["portscan", "spam"]) {
        agent.report(number, Report::Violation(violation(rule, 100, None))).await;
        agent.acknowledged(number).await;
    }
    let all = list(&channel, ListCasesRequest::default()).await;
    let id = |clause: &str| all.iter().find(|case| case.clause == clause).unwrap().id.clone();
    let (scan, spam) = (id("p/portscan"), id("p/spam"));
    note(&channel, &scan, "100% sure: the_customer RANG", "k1").await.unwrap();
    let found = async |query: &str| -> Vec<String> {
        let request = ListCasesRequest { query: query.into(), ..Default::default() };
        list(&channel, request).await.into_iter().map(|case| case.id).collect()
    };
    for query in
        ["portscan", "PORTSCAN alice", "rang", "100% the_cust", "203.0.113.5 scan", &scan.to_lowercase()]
    {
        assert_eq!(found(query).await, std::slice::from_ref(&scan), "{query}");
    }
    // Each word is to stand there, and none is a pattern.
    for query in ["portscan spam", "100_", "the%customer", "203.0.113.200", "\' OR 1=1", "!"] {
        assert_eq!(found(query).await, [""; 0], "{query}");
    }
    let mut both = found("alice").await;
    both.sort();
    let mut known = vec![scan, spam];
    known.sort();
    assert_eq!((both, found("  ").await.len()), (known, 2));
    let request = |query: String| ListCasesRequest { query, ..Default::default() };
    for query in ["x ".repeat(9), "x".repeat(201)] {
        let refused = CaseServiceClient::new(channel.clone()).list_cases(request(query)).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_FIELD");
    }
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_write_wait_and_keep() {
    let dir = tempfile::tempdir().unwrap();
    let (controller, channel, agent) = start(dir.path()).await;
    let mut agent = agent;
    agent.report(1, Report::Violation(violation("scan", 10, Some(20)))).await;
    agent.acknowledged(1).await;
    let id = list(&channel, ListCasesRequest::default()).await[0].id.clone();

    for _ in 0..2 {
        note(&channel, &id, "called her\nshe calls back", "k1").await.unwrap();
    }
    assert_eq!(note(&channel, &id, "something else", "k1").await.unwrap_err().code(), Code::AlreadyExists);
    for bad in ["", " \n", "\u{1b}[2J", &"x".repeat(10_001)] {
        assert_eq!(
            note(&channel, &id, bad, "").await.unwrap_err().code(),
            Code::InvalidArgument,
            "{bad:.20}"
        );
    }
    for unknown in ["C0", "../x", ""] {
        let code = show(&channel, unknown).await.unwrap_err().code();
        assert!([Code::NotFound, Code::InvalidArgument].contains(&code), "{unknown}: {code:?}");
    }
    for (state, limit, why) in [
        (CaseState::Unspecified, "", "x"),
        (CaseState::Waiting, "", "x"),
        (CaseState::Waiting, "soon", "x"),
        (CaseState::Waiting, "0s", "x"),
        (CaseState::Waiting, "36525d", "x"),
        (CaseState::Open, "24h", "x"),
        (CaseState::Closed, "", ""),
    ] {
        let refused = move_to(&channel, &id, state, limit, why).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{state:?} {limit} {why}");
    }
    let waiting = move_to(&channel, &id, CaseState::Waiting, "2 working days", "asked her").await.unwrap();
    let limit = waiting.deadline.unwrap().seconds - waiting.update_time.unwrap().seconds;
    // To the end of the second working day: at least a day and a half, and a weekend at the most.
    assert!((86_400..=5 * 86_400).contains(&limit), "{limit}");

    assert_eq!(hold(&channel, &id, "", false).await.unwrap_err().code(), Code::InvalidArgument);
    let held = hold(&channel, &id, "police, ticket 9", false).await.unwrap();
    assert_eq!(held.hold.unwrap().reason, "police, ticket 9");
    let still = hold(&channel, &id, "another reason", false).await.unwrap();
    assert_eq!(still.hold.unwrap().reason, "police, ticket 9", "whoever held first holds");
    assert!(hold(&channel, &id, "", true).await.unwrap().hold.is_none());
    assert!(hold(&channel, &id, "", true).await.unwrap().hold.is_none());

    let kinds: Vec<CaseEntryKind> =
        show(&channel, &id).await.unwrap().entries.iter().map(|entry| entry.kind()).collect();
    use CaseEntryKind::{Hold, HoldEnd, Move, Note};
    assert_eq!(kinds, [Note, Move, Hold, HoldEnd]);

    // A deadline that is over makes it the people on call's again, whoever sees to that.
    controller.stop().await;
    execute(dir.path(), "UPDATE cases SET deadline = 1").await;
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let open = loop {
        let case = list(&channel, ListCasesRequest::default()).await.remove(0);
        if case.state() == CaseState::Open {
            break case;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(open.deadline.is_none());
    let last = show(&channel, &id).await.unwrap().entries.pop().unwrap();
    assert_eq!((last.author.as_str(), last.text.as_str()), ("", "the deadline is over"));

    // And one of which nothing has gone on for long is closed, but not while somebody holds it.
    hold(&channel, &id, "police, ticket 9", false).await.unwrap();
    controller.stop().await;
    execute(dir.path(), "UPDATE cases SET updated = 1").await;
    execute(dir.path(), "INSERT INTO cases (id, tenant, clause, state, opened, updated) VALUES ('C0', 'alice', 'p/other', 'open', 1, 1)").await;
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    while list(&channel, ListCasesRequest::default()).await.len() > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(show(&channel, &id).await.unwrap().case.unwrap().state(), CaseState::Open);
    hold(&channel, &id, "", true).await.unwrap();
    controller.stop().await;
    execute(dir.path(), "UPDATE cases SET updated = 1").await;
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    while !list(&channel, ListCasesRequest::default()).await.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let closed = show(&channel, &id).await.unwrap().case.unwrap();
    assert_eq!(closed.state(), CaseState::Closed);
    // It is opened again for a reason.
    let refused = move_to(&channel, &id, CaseState::Open, "", "").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    move_to(&channel, &id, CaseState::Open, "", "she called").await.unwrap();
    // What goes on is closed by force alone, such as on a node that never comes back.
    let (mut agent, told) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    agent.report(told + 1, Report::Violation(violation("scan", 30, None))).await;
    agent.acknowledged(told + 1).await;
    let refused = move_to(&channel, &id, CaseState::Closed, "", "gone").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let forced = MoveCaseRequest {
        id: id.clone(),
        state: CaseState::Closed.into(),
        reason: "gone".into(),
        force: true,
        ..Default::default()
    };
    let closed = CaseServiceClient::new(channel.clone()).move_case(forced).await.unwrap().into_inner();
    assert_eq!(closed.case.unwrap().state(), CaseState::Closed);
    // What names no clause is thrown away, and holds up nothing.
    let long = Violation { clause: format!("p/{}", "x".repeat(4_000)), ..violation("scan", 40, None) };
    agent.report(told + 2, Report::Violation(long)).await;
    agent.report(told + 3, Report::Violation(violation("scan", 50, None))).await;
    agent.acknowledged(told + 3).await;
    let open = list(&channel, ListCasesRequest::default()).await;
    assert_eq!(open.iter().map(|case| case.clause.as_str()).collect::<Vec<_>>(), ["p/scan"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_imposes_by_a_clause_is_a_case_and_an_invoice_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let (_controller, channel, mut agent) = start(dir.path()).await;
    let suspend = |clause: &str, until_paid: bool| SuspendRequest {
        tenant: "alice".into(),
        reason: "phishing, ticket 4711".into(),
        clause: clause.into(),
        until_paid,
        ..Default::default()
    };
    let mut operator = OperatorServiceClient::new(channel.clone());
    operator.suspend(suspend("p/illegal", false)).await.unwrap();
    let order = agent.order().await;
    agent.done(&order).await;
    operator.suspend(suspend("p/illegal", true)).await.unwrap();
    let cases = list(&channel, ListCasesRequest::default()).await;
    let [case] = &cases[..] else { panic!("{cases:?}") };
    assert_eq!(case.clause, "p/illegal");
    let found = show(&channel, &case.id).await.unwrap();
    assert_eq!((found.violations.len(), found.decisions.len()), (0, 1));
    // What is ordered goes on, wherever it stands, until it is taken back.
    let refused = move_to(&channel, &case.id, CaseState::Closed, "", "done").await.unwrap_err();
    assert_eq!(reason(&refused), "CASE_GOES_ON");
    let release = ReleaseRequest { tenant: "alice".into(), reason: "done".into(), ..Default::default() };
    operator.release(release).await.unwrap();
    // The suspension for the invoice, and the release, which it stands through.
    for _ in 0..2 {
        let order = agent.order().await;
        agent.done(&order).await;
    }
    while move_to(&channel, &case.id, CaseState::Closed, "", "done").await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    move_to(&channel, &case.id, CaseState::Open, "", "not yet").await.unwrap();
    // The list is narrowed and ordered as the others are.
    let narrowed = |filter: &str| ListCasesRequest { filter: filter.into(), ..Default::default() };
    assert_eq!(list(&channel, narrowed("state = open AND tenant = alice")).await.len(), 1);
    assert_eq!(list(&channel, narrowed("clause = \"p/other\"")).await.len(), 0);
    assert_eq!(
        list(&channel, ListCasesRequest { tenant: "bob".into(), ..Default::default() }).await.len(),
        0
    );
}
