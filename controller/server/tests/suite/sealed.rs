//! Cases that are sealed: nobody is told of them, and nobody but administrators finds a trace of them.

use std::path::Path;
use std::time::Duration;

use crate::common::{self, Agent, Running, alice, import};
use reeve_controller::auth::Role;
use reeve_controller::pki::{self, Wanted};
use reeve_policy::{
    Action, Alert, Class, Decision, DecisionId, LiftReason, Loss, Measure, MeasureCounters, Mode, NodeEvent,
    NodeEventKind, Origin, Report, Scope, Timestamp, Until, Violation, ViolationId, ViolationState, Window,
};
use reeve_proto::operator::v1::case_service_client::CaseServiceClient;
use reeve_proto::operator::v1::complaint_service_client::ComplaintServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::standing_service_client::StandingServiceClient;
use reeve_proto::operator::v1::watch_response::Event as Told;
use reeve_proto::operator::v1::{
    AddCaseNoteRequest, CaseEntryKind, CaseState, ComplaintFormat, ExportCaseRequest, ExportEvidenceRequest,
    ExportReportRequest, GetCaseRequest, GetComplaintRequest, GetStandingRequest, GetViolationRequest,
    HoldCaseRequest, HoldEvidenceRequest, LiftRequest, ListCasesRequest, ListComplaintsRequest,
    ListDeliveriesRequest, ListEventsRequest, ListNoticesRequest, ListTenantsRequest, ListViolationsRequest,
    MoveCaseRequest, ResendDeliveryRequest, SealCaseRequest, SettleComplaintRequest, SubmitComplaintsRequest,
    WatchRequest,
};
use reeve_proto::status::v1::status_service_client::StatusServiceClient;
use reeve_proto::status::v1::{GetStatusRequest, State, get_status_request::Subject};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// What stands in everything that a seal hides.
const CLAUSE: &str = "p/hush";
const REASON: &str = "25 hushed hosts";
const OTHER: &str = "25 hosts";

fn ago(secs: u64) -> Timestamp {
    reeve_controller::clock::now().minus(Duration::from_secs(secs))
}

fn violation(rule: &str, opened: Timestamp) -> Violation {
    let (node, tenant) = ("n1".parse().unwrap(), "alice".parse().unwrap());
    let clause = format!("p/{rule}");
    let rule = rule.parse().unwrap();
    Violation {
        id: ViolationId::new(&node, &tenant, &rule, opened),
        node,
        rule,
        clause,
        opened,
        last_seen: opened,
        closed: None,
        state: ViolationState::Open,
        strike: 1,
        alerts: 1,
        evidence: Alert {
            class: Class::PortscanVertical,
            tenant: reeve_policy::TenantId::clone(&tenant),
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
    }
}

fn decision(violation: &Violation, action: Action) -> Decision {
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
        action,
        scope: Scope::All,
        rate: None,
        until: Until::Released,
        at: violation.opened,
        mode: Mode::Enforce,
        reason: if violation.clause == CLAUSE { REASON } else { OTHER }.into(),
        connections: None,
        softened: None,
        reckoning: None,
    }
}

struct House {
    dir: tempfile::TempDir,
    running: Running,
    agent: Agent,
    told: u64,
}

impl House {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let people = [
            (Role::Admin, "root"),
            (Role::Operator, "oncall"),
            (Role::Viewer, "auditor"),
            (Role::Status, "portal"),
        ];
        let wanted = Wanted {
            nodes: vec!["n1".parse().unwrap()],
            people: people.map(|(role, name)| (role, name.parse().unwrap())).to_vec(),
            ..Wanted::default()
        };
        pki::init(dir.path(), &wanted).unwrap();
        // Nobody takes mail there: what is to be sent waits.
        let settings = format!(
            "[mail]\nhost = \"127.0.0.1\"\nport = 1\ntls = \"none\"\nfrom = \"abuse@example.net\"\n\
             [notice_file]\npath = '{0}/notices.jsonl'\n[links]\nlisten = '127.0.0.1:0'\nurl = 'https://abuse.example.net'\n\
             [[events]]\nname = 'siem'\nto = 'file:{0}/events.jsonl'\nformat = 'ocsf'\n\
             [reports]\norganization = 'Example'\ncontact = 'abuse@example.net'\n",
            dir.path().display()
        );
        common::set(dir.path(), &settings);
        let running = Running::start(dir.path()).await;
        let own = |who: &'static str| running.secure(dir.path(), dir.path(), who);
        let tenant =
            reeve_proto::types::v1::Tenant { contacts: vec!["alice@customer.example".into()], ..alice() };
        import(&own("operators/oncall").await, vec![tenant], true).await;
        let (agent, told) = Agent::greet(own("nodes/n1").await, "n1", 1).await.unwrap();
        Self { dir, running, agent, told }
    }

    async fn channel(&self, who: &str) -> Channel {
        self.running.secure(self.dir.path(), self.dir.path(), &format!("operators/{who}")).await
    }

    async fn report(&mut self, report: Report) {
        self.told += 1;
        self.agent.report(self.told, report).await;
        self.agent.acknowledged(self.told).await;
    }

    /// Something is seen, and its tenant suspended for it.
    async fn suspend(&mut self, rule: &str, secs: u64) -> Violation {
        let seen = violation(rule, ago(secs));
        let decided = decision(&seen, Action::Suspend);
        let measure = Measure { decision: decided.clone(), expires: None };
        self.report(Report::Violation(seen.clone())).await;
        self.report(Report::Decision(decided)).await;
        self.report(Report::Standing { measure, at: ago(secs) }).await;
        seen
    }
}

async fn seal(channel: &Channel, id: &str, end: bool) -> Result<(), Status> {
    let request = SealCaseRequest { id: id.into(), reason: "court order 7".into(), end };
    CaseServiceClient::new(channel.clone()).seal_case(request).await.map(drop)
}

async fn case_of(channel: &Channel, clause: &str) -> Option<String> {
    let request = ListCasesRequest { include_closed: true, ..Default::default() };
    let all = CaseServiceClient::new(channel.clone()).list_cases(request).await.unwrap().into_inner().cases;
    all.into_iter().find(|case| case.clause == clause).map(|case| case.id)
}

/// Everything that is told to whoever looks at lists and standings, written out.
async fn all_that_is_told(channel: &Channel) -> String {
    let mut operator = OperatorServiceClient::new(channel.clone());
    let mut text = String::new();
    let mut add = |name: &str, told: String| text.push_str(&format!("{name}: {told}\n"));
    let cases = ListCasesRequest { include_closed: true, ..Default::default() };
    add("cases", format!("{:?}", CaseServiceClient::new(channel.clone()).list_cases(cases).await.unwrap()));
    let found = ListCasesRequest { query: "hush".into(), ..Default::default() };
    let found = CaseServiceClient::new(channel.clone()).list_cases(found).await.unwrap();
    add("found", format!("{:?}", found.into_inner()));
    add("tenants", format!("{:?}", operator.list_tenants(ListTenantsRequest::default()).await.unwrap()));
    add(
        "violations",
        format!("{:?}", operator.list_violations(ListViolationsRequest::default()).await.unwrap()),
    );
    add("notices", format!("{:?}", operator.list_notices(ListNoticesRequest::default()).await.unwrap()));
    add(
        "deliveries",
        format!("{:?}", operator.list_deliveries(ListDeliveriesRequest::default()).await.unwrap()),
    );
    let mut complaints = ComplaintServiceClient::new(channel.clone());
    add(
        "complaints",
        format!("{:?}", complaints.list_complaints(ListComplaintsRequest::default()).await.unwrap()),
    );
    add("events", format!("{:?}", operator.list_events(ListEventsRequest::default()).await.unwrap()));
    // Whoever only looks lifts nothing.
    let since = Some(reeve_proto::time_to_wire(Timestamp::EPOCH));
    let lift =
        LiftRequest { policy: "p".into(), policy_version: 1, since, dry_run: true, ..Default::default() };
    if let Ok(lift) = operator.lift(lift).await {
        add("lift", format!("{lift:?}"));
    }
    let standing = GetStandingRequest { tenant: "alice".into() };
    let standing = StandingServiceClient::new(channel.clone()).get_standing(standing).await.unwrap();
    add("standing", format!("{standing:?}"));
    add("status", format!("{:?}", status(channel).await));
    text
}

async fn status(channel: &Channel) -> reeve_proto::status::v1::GetStatusResponse {
    let request = GetStatusRequest { subject: Some(Subject::Tenant("alice".into())) };
    StatusServiceClient::new(channel.clone()).get_status(request).await.unwrap().into_inner()
}

/// What stands around a text.
fn around<'t>(told: &'t str, text: &str) -> &'t str {
    let at = told.find(text).unwrap_or_default();
    &told[told.floor_char_boundary(at.saturating_sub(300))..told.ceil_char_boundary(at + 300)]
}

/// The link of the first notice in the file.
fn link(dir: &Path) -> String {
    let begun = std::time::Instant::now();
    loop {
        let text = std::fs::read_to_string(dir.join("notices.jsonl")).unwrap_or_default();
        if let Some(line) = text.lines().next() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            return event["data"]["links"]["statement"].as_str().unwrap().to_owned();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no notice was written");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The status of a page of the site that links lead to.
fn page(house: &House, link: &str) -> u16 {
    let path = link.strip_prefix("https://abuse.example.net").unwrap();
    let url = format!("http://{}{path}", house.running.links.unwrap());
    let out = std::process::Command::new("curl")
        .args(["--silent", "--max-time", "20", "--output", "/dev/null", "--write-out", "%{http_code}", &url])
        .output()
        .unwrap();
    String::from_utf8(out.stdout).unwrap().parse().unwrap()
}

/// A letter that names alice's address.
async fn complain(channel: &Channel, number: u32) -> reeve_proto::operator::v1::Complaint {
    let at = ago(60);
    let contact = r#"{"org":"CERT","contact":"cert@cert.example","domain":"cert.example"}"#;
    let message = format!(
        r#"{{"xarf_version":"4.2.0","report_id":"5eed0000-0000-4000-8000-{number:012}","timestamp":"{at}","reporter":{contact},
        "sender":{contact},"source_identifier":"203.0.113.5","category":"connection","type":"port_scan","protocol":"tcp",
        "first_seen":"{at}","destination_port":22}}"#
    );
    let request =
        SubmitComplaintsRequest { message: message.into_bytes(), format: ComplaintFormat::Json.into() };
    let answer = ComplaintServiceClient::new(channel.clone()).submit_complaints(request).await.unwrap();
    answer.into_inner().complaints.remove(0)
}

fn is_missing<T: std::fmt::Debug>(answer: Result<T, Status>) {
    assert_eq!(answer.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_sealed_case_lesser_roles_find_no_trace() {
    let mut house = House::start().await;
    let (admin, operator) = (house.channel("root").await, house.channel("oncall").await);
    let (viewer, portal) = (house.channel("auditor").await, house.channel("portal").await);
    let hushed = house.suspend("hush", 100).await;
    let other = house.suspend("loud", 90).await;
    let complaint = complain(&operator, 1).await;
    assert_eq!(complaint.violation, other.id.to_string(), "the nearest one is meant: {complaint:?}");
    let case = case_of(&admin, CLAUSE).await.unwrap();
    let about = link(house.dir.path());
    assert_eq!(page(&house, &about), 200);
    for channel in [&operator, &viewer] {
        let told = all_that_is_told(channel).await;
        for secret in [CLAUSE, &case, REASON, hushed.id.as_name().as_str()] {
            assert!(told.contains(secret), "{secret} is known before: {told}");
        }
    }
    for channel in [&operator, &viewer, &portal] {
        assert_eq!(seal(channel, &case, false).await.unwrap_err().code(), Code::PermissionDenied);
    }
    let refused = SealCaseRequest { id: case.clone(), ..Default::default() };
    let refused = CaseServiceClient::new(admin.clone()).seal_case(refused).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    let mut watches = Vec::new();
    for channel in [&admin, &operator, &viewer] {
        let watch = OperatorServiceClient::new(channel.clone()).watch(WatchRequest::default()).await.unwrap();
        watches.push(watch.into_inner());
    }
    seal(&admin, &case, false).await.unwrap();
    // What happens from then on: more under the clause, a complaint, and something beside it.
    let again = house.suspend("hush", 50).await;
    house.suspend("late", 40).await;
    let braked =
        |whom: &str| NodeEvent::new(ago(30), NodeEventKind::Braked, &format!("{whom} was not measured"));
    house.report(Report::Event(braked("alice"))).await;
    house.report(Report::Event(NodeEvent { at: ago(29), ..braked("bob") })).await;
    // What was seen of a complaint may be sealed though its own case is not.
    let moved =
        format!("UPDATE complaints SET violation = '{}' WHERE number = {}", hushed.id, complaint.number);
    common::execute(house.dir.path(), moved.leak()).await;
    for channel in [&operator, &viewer] {
        let told = all_that_is_told(channel).await;
        // The key of a decision begins with its violation's: that something was decided is seen, where it stands.
        let keys = [&hushed, &again].map(|one| format!("\"{}\"", one.id));
        for secret in [CLAUSE, "hush", &case, &keys[0], &keys[1], "court"] {
            assert!(!told.contains(secret), "{secret}: {}", around(&told, secret));
        }
        assert!(told.contains("p/loud") && told.contains("p/late"), "{told}");
        assert!(told.contains("bob was not measured") && !told.contains("alice was not measured"), "{told}");
        let mut complaints = ComplaintServiceClient::new(channel.clone());
        let request = GetComplaintRequest { number: complaint.number };
        let found = complaints.get_complaint(request).await.unwrap().into_inner().complaint.unwrap();
        assert_eq!((&*found.violation, &*found.case_id), ("", &*complaint.case_id));
        let filter = format!("violation = \"{}\"", hushed.id);
        let found = ListComplaintsRequest { filter, ..Default::default() };
        assert!(complaints.list_complaints(found).await.unwrap().into_inner().complaints.is_empty());
        let mut operator = OperatorServiceClient::new(channel.clone());
        let key = hushed.id.to_string();
        is_missing(operator.get_violation(GetViolationRequest { id: key.clone() }).await);
        let evidence = ExportEvidenceRequest { violation: key.clone(), ..Default::default() };
        is_missing(operator.export_evidence(evidence).await);
        let report = ExportReportRequest { violation: key, ..Default::default() };
        is_missing(operator.export_report(report).await);
        is_missing(
            CaseServiceClient::new(channel.clone()).get_case(GetCaseRequest { id: case.clone() }).await,
        );
    }
    let mut cases = CaseServiceClient::new(operator.clone());
    let note = AddCaseNoteRequest { id: case.clone(), text: "x".into(), ..Default::default() };
    is_missing(cases.add_case_note(note).await);
    is_missing(cases.hold_case(HoldCaseRequest { id: case.clone(), reason: "x".into(), end: false }).await);
    let close = MoveCaseRequest {
        id: case.clone(),
        state: CaseState::Closed.into(),
        reason: "x".into(),
        force: true,
        ..Default::default()
    };
    is_missing(cases.move_case(close.clone()).await);
    let hold = HoldEvidenceRequest { violation: hushed.id.to_string(), reason: "x".into(), end: false };
    is_missing(OperatorServiceClient::new(operator.clone()).hold_evidence(hold).await);

    // That something stands everybody sees, and of what is sealed not why.
    for channel in [&operator, &portal] {
        let status = status(channel).await;
        assert_eq!((status.state(), status.holds.len()), (State::Suspended, 4), "{status:?}");
        let text = format!("{status:?}");
        for secret in ["hush", &format!("\"{}\"", hushed.id)] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    let told = all_that_is_told(&admin).await;
    for secret in
        [CLAUSE, &case, REASON, hushed.id.as_name().as_str(), again.id.as_name().as_str(), "court order 7"]
    {
        assert!(told.contains(secret), "an administrator is told {secret}: {told}");
    }

    // Whoever watches.
    let mut seen = Vec::new();
    for watch in &mut watches {
        let mut texts = Vec::new();
        loop {
            let next = tokio::time::timeout(Duration::from_secs(20), watch.message()).await.unwrap();
            let event = next.unwrap().unwrap();
            let is_last = matches!(&event.event, Some(Told::MeasureStands(stands))
                if format!("{stands:?}").contains("p/late"));
            texts.push(format!("{event:?}"));
            if is_last {
                break;
            }
        }
        seen.push(texts.join("\n"));
    }
    assert!(seen[0].contains("hush"), "{}", seen[0]);
    for text in &seen[1..] {
        assert!(!text.contains("hush") && text.contains("MeasureStands"), "{text}");
    }

    // Nobody is told: nothing waits to be sent of it, a link says nothing, and the file has no more than before.
    let dead = ListDeliveriesRequest::default();
    let all = OperatorServiceClient::new(admin.clone())
        .list_deliveries(dead)
        .await
        .unwrap()
        .into_inner()
        .deliveries;
    let pending =
        all.iter().filter(|one| one.channel() == reeve_proto::operator::v1::DeliveryChannel::Mail).count();
    assert_eq!(pending, 2, "letters about the others alone: {all:?}");
    assert_eq!(page(&house, &about), 404);
    let sent = all.iter().find(|one| one.notice == 1).unwrap();
    let resend = ResendDeliveryRequest { number: sent.number, again: true, ..Default::default() };
    is_missing(OperatorServiceClient::new(operator.clone()).resend_delivery(resend.clone()).await);
    let refused = OperatorServiceClient::new(admin.clone()).resend_delivery(resend).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);

    // A complaint that belongs to it comes in and is not found again.
    let hidden = complain(&operator, 2).await;
    assert_eq!((hidden.tenant.as_str(), hidden.case_id.as_str(), hidden.violation.as_str()), ("", "", ""));
    let request = GetComplaintRequest { number: hidden.number };
    is_missing(ComplaintServiceClient::new(operator.clone()).get_complaint(request).await);
    let request = SettleComplaintRequest { number: hidden.number, reason: "x".into(), ..Default::default() };
    is_missing(ComplaintServiceClient::new(operator.clone()).settle_complaint(request).await);
    let request = GetComplaintRequest { number: hidden.number };
    let known = ComplaintServiceClient::new(admin.clone()).get_complaint(request).await.unwrap().into_inner();
    assert_eq!(known.complaint.unwrap().case_id, case);

    // Log servers.
    let events = std::fs::read_to_string(house.dir.path().join("events.jsonl")).unwrap();
    let before = events.matches("p/hush").count();
    house.suspend("hush", 30).await;
    house.suspend("beacon", 20).await;
    let begun = std::time::Instant::now();
    let events = loop {
        let events = std::fs::read_to_string(house.dir.path().join("events.jsonl")).unwrap();
        if events.contains("p/beacon") {
            break events;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the file has: {events}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(events.matches("p/hush").count(), before);
    assert!(!events.contains("SealCase") && !events.contains("court order"), "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_lasts_until_it_is_ended_and_tells_nobody_afterwards() {
    let mut house = House::start().await;
    let (admin, operator) = (house.channel("root").await, house.channel("oncall").await);
    let hushed = house.suspend("hush", 100).await;
    let case = case_of(&admin, CLAUSE).await.unwrap();
    link(house.dir.path());
    seal(&admin, &case, false).await.unwrap();
    // Whoever sealed first has sealed.
    seal(&admin, &case, false).await.unwrap();
    let show = || async {
        let request = GetCaseRequest { id: case.clone() };
        CaseServiceClient::new(admin.clone()).get_case(request).await.unwrap().into_inner()
    };
    let told = show().await;
    assert_eq!(told.case.as_ref().unwrap().seal.as_ref().unwrap().operator, "root");
    assert_eq!(told.entries.iter().filter(|one| one.kind() == CaseEntryKind::Seal).count(), 1);

    // It is not closed while something of it stands, be it by force.
    let close = |force: bool| MoveCaseRequest {
        id: case.clone(),
        state: CaseState::Closed.into(),
        reason: "over".into(),
        force,
        ..Default::default()
    };
    for force in [false, true] {
        let refused = CaseServiceClient::new(admin.clone()).move_case(close(force)).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    }
    // What is sealed lasts over a restart, in memory too.
    let notices = || std::fs::read_to_string(house.dir.path().join("notices.jsonl")).unwrap().lines().count();
    let known = notices();
    let House { dir, running, told, .. } = house;
    running.stop().await;
    let running = Running::start(dir.path()).await;
    let node = running.secure(dir.path(), dir.path(), "nodes/n1").await;
    let decided = decision(&hushed, Action::Suspend);
    let standing = vec![Measure { decision: decided.clone(), expires: None }];
    let (agent, told) = {
        let _ = told;
        Agent::greet_naming(node, "n1", 1, standing).await.unwrap()
    };
    let mut house = House { dir, running, agent, told };
    let (admin, operator_again) = (house.channel("root").await, house.channel("oncall").await);
    drop(operator);
    let operator = operator_again;
    let told = all_that_is_told(&operator).await;
    assert!(!told.contains("hush"), "{told}");
    assert_eq!(status(&operator).await.state(), State::Suspended);

    // The end of the measure is told to nobody either; then it may be closed, and stays sealed.
    let over = Violation { state: ViolationState::Quiet, closed: Some(ago(10)), ..hushed.clone() };
    house
        .report(Report::Lifted {
            decision: decided.id.clone(),
            tenant: decided.tenant.clone(),
            reason: LiftReason::Released,
            at: ago(10),
            counters: MeasureCounters::default(),
        })
        .await;
    house.report(Report::Violation(over)).await;
    let mut cases = CaseServiceClient::new(admin.clone());
    cases.move_case(close(false)).await.unwrap();
    let told = all_that_is_told(&operator).await;
    assert!(!told.contains("hush"), "{told}");
    let mut export = cases.export_case(ExportCaseRequest { id: case.clone() }).await.unwrap().into_inner();
    let mut file = Vec::new();
    while let Some(chunk) = export.message().await.unwrap() {
        file.extend(chunk.chunk);
    }
    assert!(String::from_utf8_lossy(&file).contains("court order 7"));

    // What happens under the clause then is another case, which nobody sealed.
    seal(&admin, &case, true).await.unwrap();
    assert!(all_that_is_told(&operator).await.contains(&case));
    let request = GetCaseRequest { id: case.clone() };
    let told = CaseServiceClient::new(operator.clone()).get_case(request).await.unwrap().into_inner();
    assert!(told.case.unwrap().seal.is_none());
    let end = told.entries.iter().find(|one| one.kind() == CaseEntryKind::SealEnd).unwrap();
    assert_eq!((end.author.as_str(), end.text.as_str()), ("root", "court order 7"));
    house.suspend("loud", 5).await;
    let begun = std::time::Instant::now();
    let lines = || std::fs::read_to_string(house.dir.path().join("notices.jsonl")).unwrap();
    while lines().lines().count() == known {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody is told of what is not sealed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(lines().lines().filter(|line| line.contains("hush")).count(), known);
}
