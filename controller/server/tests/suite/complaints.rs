//! Complaints over the wire: whose matter they are, which case they go to, which wait for a person, and that they never act.

use std::collections::BTreeSet;

use crate::common::{Agent, Running, alice, execute, import};
use reeve_controller::auth::Role;
use reeve_controller::pki::{self, Wanted};
use reeve_policy::language::{Grace, Policy};
use reeve_policy::{Alert, Class, Loss, Report, Timestamp, Violation, ViolationId, ViolationState, Window};
use reeve_proto::operator::v1::audit_service_client::AuditServiceClient;
use reeve_proto::operator::v1::case_service_client::CaseServiceClient;
use reeve_proto::operator::v1::complaint_service_client::ComplaintServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::policy_service_client::PolicyServiceClient;
use reeve_proto::operator::v1::{
    ActivatePolicyRequest, CaseEntry, CaseEntryKind, CaseState, Complaint, ComplaintFormat, ComplaintState,
    GetCaseRequest, GetCaseResponse, GetComplaintRequest, GetComplaintResponse, ListAuditRequest,
    ListCasesRequest, ListComplaintsRequest, ListNoticesRequest, ListSuspensionsRequest, MoveCaseRequest,
    SettleComplaintRequest, SubmitComplaintsRequest, UploadPolicyRequest,
};
use reeve_proto::types::v1::Tenant;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const DAY: u64 = 86_400;

/// So many seconds ago.
pub(super) fn ago(secs: u64) -> Timestamp {
    reeve_controller::clock::now().minus(std::time::Duration::from_secs(secs))
}

fn violation(class: Class, rule: &str, opened: Timestamp) -> Violation {
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
        closed: Some(opened),
        state: ViolationState::Quiet,
        strike: 1,
        alerts: 1,
        evidence: Alert {
            class,
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

fn bob() -> Tenant {
    Tenant { id: "bob".into(), addresses: vec!["198.51.100.0/28".into()], ..Tenant::default() }
}

/// A report of XARF 4 about `source`, by its type, of something at a time.
pub(super) fn xarf(id: u32, kind: &str, source: &str, at: Timestamp) -> String {
    let (category, kind) = kind.split_once('/').unwrap();
    let contact = r#"{"org":"CERT","contact":"cert@cert.example","domain":"cert.example"}"#;
    format!(
        r#"{{"xarf_version":"4.2.0","report_id":"5eed0000-0000-4000-8000-{id:012}","timestamp":"{at}","reporter":{contact},
        "sender":{contact},"source_identifier":"{source}","category":"{category}","type":"{kind}","protocol":"tcp",
        "first_seen":"{at}","destination_port":22,"url":"http://site.example/x","infringing_url":"http://site.example/x"}}"#
    )
}

/// A letter.
fn letter(subject: &str, text: &str) -> String {
    format!("From: Ann <ann@reader.example>\nSubject: {subject}\nMessage-ID: <1@reader.example>\n\n{text}\n")
}

pub(super) async fn submit_as(
    channel: &Channel,
    format: ComplaintFormat,
    message: &[u8],
) -> Result<Vec<Complaint>, Status> {
    let request = SubmitComplaintsRequest { message: message.to_vec(), format: format.into() };
    let answer = ComplaintServiceClient::new(channel.clone()).submit_complaints(request).await?;
    Ok(answer.into_inner().complaints)
}

async fn submit(channel: &Channel, message: &str) -> Vec<Complaint> {
    submit_as(channel, ComplaintFormat::Unspecified, message.as_bytes()).await.unwrap()
}

/// The one in a message.
pub(super) async fn one(channel: &Channel, message: &str) -> Complaint {
    let mut all = submit(channel, message).await;
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// All that a filter leaves, in pages of a few.
pub(super) async fn list(channel: &Channel, filter: &str) -> Vec<Complaint> {
    let mut client = ComplaintServiceClient::new(channel.clone());
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListComplaintsRequest { page_size: 100, page_token, filter: filter.into() };
        let answer = client.list_complaints(request).await.unwrap().into_inner();
        all.extend(answer.complaints);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

pub(super) async fn get(channel: &Channel, number: u64) -> Result<GetComplaintResponse, Status> {
    let request = GetComplaintRequest { number };
    Ok(ComplaintServiceClient::new(channel.clone()).get_complaint(request).await?.into_inner())
}

async fn settle(
    channel: &Channel,
    number: u64,
    tenant: &str,
    why: &str,
    key: &str,
) -> Result<Complaint, Status> {
    let request = SettleComplaintRequest {
        number,
        tenant: tenant.into(),
        reason: why.into(),
        idempotency_key: key.into(),
    };
    let answer = ComplaintServiceClient::new(channel.clone()).settle_complaint(request).await?;
    Ok(answer.into_inner().complaint.unwrap())
}

async fn case(channel: &Channel, id: &str) -> GetCaseResponse {
    let request = GetCaseRequest { id: id.into() };
    CaseServiceClient::new(channel.clone()).get_case(request).await.unwrap().into_inner()
}

/// What a case was told of complaints.
pub(super) async fn told(channel: &Channel, id: &str) -> Vec<CaseEntry> {
    let entries = case(channel, id).await.entries;
    entries.into_iter().filter(|entry| entry.kind() == CaseEntryKind::Complaint).collect()
}

async fn clause(channel: &Channel, complaint: &Complaint) -> String {
    case(channel, &complaint.case_id).await.case.unwrap().clause
}

fn reason(refused: &Status) -> String {
    refused.get_error_details().error_info().unwrap().reason.clone()
}

/// A controller that knows alice and bob.
async fn start(dir: &std::path::Path) -> (Running, Channel) {
    let controller = Running::start(dir).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice(), bob()], true).await;
    (controller, channel)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complaint_goes_to_the_case_of_what_was_seen_of_it_and_never_acts() {
    let dir = tempfile::tempdir().unwrap();
    let (_controller, channel) = start(dir.path()).await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let (long_ago, early, late) = (ago(3 * DAY), ago(2 * DAY), ago(2 * DAY - 1_800));
    let all = [
        violation(Class::PortscanVertical, "old", long_ago),
        violation(Class::PortscanVertical, "scan", early),
        violation(Class::Bruteforce, "login", early),
        violation(Class::PortscanSlow, "slow", late),
    ];
    for (number, one) in (1..).zip(all.clone()) {
        agent.report(number, Report::Violation(one)).await;
    }
    agent.acknowledged(4).await;
    let [old, scan, login, slow] = all.map(|one| one.id.to_string());

    // The right class, and of that the one that is nearest to the time.
    let near = ago(2 * DAY - 60);
    for (id, kind, at, violation, of) in [
        (1, "connection/port_scan", near, &scan, "p/scan"),
        (2, "connection/login_attack", near, &login, "p/login"),
        (3, "connection/port_scan", ago(2 * DAY - 2_000), &slow, "p/slow"),
        (4, "connection/port_scan", long_ago, &old, "p/old"),
        // Nothing was seen of these: of another class, and at another time.
        (5, "messaging/spam", near, &String::new(), "complaint/spam"),
        (6, "connection/port_scan", ago(DAY), &String::new(), "complaint/scan"),
        (7, "connection/login_attack", ago(DAY), &String::new(), "complaint/login-attack"),
    ] {
        let taken = one(&channel, &xarf(id, kind, "203.0.113.7", at)).await;
        assert_eq!((taken.state(), taken.tenant.as_str()), (ComplaintState::Filed, "alice"), "{taken:?}");
        assert_eq!(&taken.violation, violation, "{kind} at {at}");
        assert_eq!(clause(&channel, &taken).await, of, "{kind} at {at}");
        assert_eq!((taken.format.as_str(), taken.via.is_empty(), taken.times), ("xarf4", false, 1));
        let entries = told(&channel, &taken.case_id).await;
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].author, "CERT");
        let begins = format!("complaint {}: ", taken.number);
        assert!(
            entries[0].text.starts_with(&begins) && entries[0].text.contains("203.0.113.7"),
            "{entries:?}"
        );
    }
    // One without a time is about what was seen last.
    let bare = one(&channel, &letter("portscan", "A portscan came from 203.0.113.7.")).await;
    assert_eq!(bare.violation, slow, "{bare:?}");
    // What is seen next of that kind is its case: a second one is filed there.
    let again = one(&channel, &xarf(8, "messaging/spam", "2001:db8::5", near)).await;
    assert_eq!(clause(&channel, &again).await, "complaint/spam");
    assert_eq!(told(&channel, &again.case_id).await.len(), 2);
    // A case that is closed is not opened: another one is.
    let request = MoveCaseRequest {
        id: again.case_id.clone(),
        state: CaseState::Closed.into(),
        reason: "she mended it".into(),
        ..Default::default()
    };
    CaseServiceClient::new(channel.clone()).move_case(request).await.unwrap();
    let next = one(&channel, &xarf(9, "messaging/spam", "203.0.113.7", near)).await;
    assert_ne!(next.case_id, again.case_id);
    assert_eq!(clause(&channel, &next).await, "complaint/spam");

    // Nobody was held or told anything.
    let mut operator = OperatorServiceClient::new(channel.clone());
    let notices = operator.list_notices(ListNoticesRequest::default()).await.unwrap().into_inner().notices;
    let held = operator.list_suspensions(ListSuspensionsRequest::default()).await.unwrap().into_inner();
    assert!(notices.is_empty() && held.entries.is_empty(), "{notices:?} {held:?}");
    for found in CaseServiceClient::new(channel.clone())
        .list_cases(ListCasesRequest::default())
        .await
        .unwrap()
        .into_inner()
        .cases
    {
        let story = case(&channel, &found.id).await;
        assert!(story.decisions.is_empty() && story.measures.is_empty() && story.notices.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_counted_and_not_filed_again() {
    let dir = tempfile::tempdir().unwrap();
    let (_controller, channel) = start(dir.path()).await;
    let json = xarf(1, "connection/port_scan", "203.0.113.7", ago(DAY));
    let mail = format!(
        "From: robot@elsewhere.example\nSubject: a report\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n\
         --b\n\nSee there.\n--b\nContent-Type: application/json; name=xarf.json\n\n{json}\n--b--\n"
    );
    let forms = [
        json.clone(),
        format!("[{json}]"),
        format!("\u{feff}{json}"),
        mail.clone(),
        mail.replace('\n', "\r\n"),
    ];
    let mut calls = tokio::task::JoinSet::new();
    for form in forms.iter().cycle().take(40) {
        let form = form.clone();
        let channel = channel.clone();
        calls.spawn(async move { one(&channel, &form).await.number });
    }
    let numbers: BTreeSet<u64> = calls.join_all().await.into_iter().collect();
    assert_eq!(numbers.len(), 1, "{numbers:?}");
    let all = list(&channel, "").await;
    assert_eq!((all.len(), all[0].times), (1, 40), "{all:?}");
    assert_eq!(told(&channel, &all[0].case_id).await.len(), 1);
    // Several in one message, of which one is known and one comes twice.
    let other = xarf(2, "connection/port_scan", "198.51.100.3", ago(DAY));
    let several = submit(&channel, &format!("[{json},{other},{other},{{\"a\":1}}]")).await;
    let states: Vec<(ComplaintState, u64)> = several.iter().map(|one| (one.state(), one.times)).collect();
    use ComplaintState::{Filed, Unreadable};
    assert_eq!(states, [(Filed, 41), (Filed, 1), (Filed, 2), (Unreadable, 1)]);
    assert_eq!(several[1].tenant, "bob");
    assert_eq!(list(&channel, "").await.len(), 3);
    // What cannot be read is known, too, where it is the same.
    for times in 1..=3 {
        assert_eq!(one(&channel, "no mail and no JSON").await.times, times);
    }
    assert_eq!(list(&channel, "state = unreadable").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dismissed_says_nothing_of_what_is_not_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (_controller, channel) = start(dir.path()).await;
    // Somebody knows the number of a report that is to come, and sends what an operator throws away.
    let number = 7;
    let forgery = xarf(number, "messaging/spam", "203.0.113.7", ago(30 * DAY));
    let forged = one(&channel, &forgery).await;
    settle(&channel, forged.number, "", "nothing of ours", "").await.unwrap();
    let true_one = xarf(number, "connection/port_scan", "203.0.113.7", ago(DAY));
    let filed = one(&channel, &true_one).await;
    assert_ne!(filed.number, forged.number);
    assert_eq!((filed.state(), filed.times), (ComplaintState::Filed, 1));
    let copy = one(&channel, &true_one).await;
    assert_eq!((copy.number, copy.times), (filed.number, 2));
    // However many are forged, of which each says something else.
    let other = |days: u64| xarf(8, "messaging/spam", "203.0.113.7", ago(days * DAY));
    for days in 20..32 {
        let forged = one(&channel, &other(days)).await;
        assert_eq!(forged.times, 1, "{days}");
        settle(&channel, forged.number, "", "nothing of ours", "").await.unwrap();
    }
    let true_one = xarf(8, "connection/port_scan", "203.0.113.7", ago(2 * DAY));
    let filed = one(&channel, &true_one).await;
    assert_eq!((filed.state(), filed.times), (ComplaintState::Filed, 1));
    assert_eq!(one(&channel, &true_one).await.times, 2);
    // And what was dismissed stays so, when it comes again.
    let again = one(&channel, &forgery).await;
    assert_eq!((again.number, again.state()), (forged.number, ComplaintState::Dismissed));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unreadable_or_nobodys_waits_until_a_person_settles_it() {
    let dir = tempfile::tempdir().unwrap();
    let (controller, channel) = start(dir.path()).await;
    let yesterday = ago(DAY);
    // Kept with a reason, and of what cannot be read the message.
    let broken = one(&channel, "{\"xarf_version\": ").await;
    assert_eq!(broken.state(), ComplaintState::Unreadable);
    assert!(broken.detail.contains("it is not JSON"), "{}", broken.detail);
    let shown = get(&channel, broken.number).await.unwrap();
    assert_eq!((shown.message.as_slice(), shown.report.as_str()), (&b"{\"xarf_version\": "[..], ""));
    let huge = format!("From: a@b.example\nSubject: hello\n\n{}", "x".repeat(1_000_000));
    let huge = one(&channel, &huge).await;
    assert_eq!(get(&channel, huge.number).await.unwrap().message.len(), 64 << 10, "no more is kept");
    let nobodys = one(&channel, &xarf(1, "connection/port_scan", "192.0.2.9", yesterday)).await;
    assert_eq!(nobodys.state(), ComplaintState::Unmatched);
    assert!(nobodys.detail.contains("no tenant's"), "{}", nobodys.detail);
    assert!(get(&channel, nobodys.number).await.unwrap().report.contains("192.0.2.9"));
    let both = one(&channel, &letter("portscan", "Seen from 203.0.113.7 and also from 198.51.100.3.")).await;
    assert!(both.detail.contains("several tenants"), "{both:?}");
    let wide = one(&channel, &xarf(2, "connection/port_scan", "203.0.113.0/24", yesterday)).await;
    assert_eq!(wide.state(), ComplaintState::Unmatched, "both ends are to be one tenant's: {wide:?}");
    let own = one(&channel, &xarf(3, "connection/port_scan", "203.0.113.0/28", yesterday)).await;
    assert_eq!(own.tenant, "alice");
    let host = one(&channel, &xarf(4, "content/phishing", "shop.example", yesterday)).await;
    assert!(host.detail.contains("no address"), "{host:?}");
    assert_eq!(list(&channel, "state = unmatched OR state = unreadable").await.len(), 6);

    // Who watches is told, at the next look.
    let since = nobodys.receive_time.unwrap().seconds.min(broken.receive_time.unwrap().seconds);
    let lines = [
        "reeve_controller_complaints_waiting{state=\"unmatched\"} 4".to_owned(),
        "reeve_controller_complaints_waiting{state=\"unreadable\"} 2".to_owned(),
        format!("reeve_controller_complaints_waiting_since_timestamp_seconds {since}"),
    ];
    let looked = std::time::Instant::now();
    loop {
        let (_, text) = controller.beside_metrics("/metrics").await;
        if lines.iter().all(|line| text.lines().any(|told| told == line)) {
            break;
        }
        assert!(looked.elapsed() < std::time::Duration::from_secs(60), "{text}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }

    // What is no message is an error.
    let nothing = submit_as(&channel, ComplaintFormat::Mail, b"").await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);
    let large = submit_as(&channel, ComplaintFormat::Mail, &vec![b'x'; (1 << 20) + 1]).await.unwrap_err();
    assert_eq!(large.code(), Code::InvalidArgument);
    // As what it is called, not as what it looks like.
    let called = submit_as(&channel, ComplaintFormat::Json, letter("a", "b").as_bytes()).await.unwrap();
    assert!(called[0].detail.contains("not JSON"), "{called:?}");

    // A person says whose they are: once for each key.
    for (number, tenant, why, code) in [
        (nobodys.number, "alice", "", Code::InvalidArgument),
        (nobodys.number, "alice", "two\nlines", Code::InvalidArgument),
        (nobodys.number, "carol", "by the invoice", Code::InvalidArgument),
        (nobodys.number, "no tenant", "by the invoice", Code::InvalidArgument),
        (4_711, "alice", "by the invoice", Code::NotFound),
        (u64::MAX, "alice", "by the invoice", Code::NotFound),
    ] {
        let refused = settle(&channel, number, tenant, why, "").await.unwrap_err();
        assert_eq!(refused.code(), code, "{number} {tenant} {why:?}: {refused}");
    }
    for _ in 0..2 {
        let settled = settle(&channel, nobodys.number, "alice", "by the invoice", "k1").await.unwrap();
        assert_eq!((settled.state(), settled.tenant.as_str()), (ComplaintState::Filed, "alice"));
        assert_eq!(settled.detail, "by the invoice");
        assert_eq!(told(&channel, &settled.case_id).await.len(), 2, "with that of her own network");
        assert_eq!(clause(&channel, &settled).await, "complaint/scan");
    }
    let other = settle(&channel, nobodys.number, "bob", "by the invoice", "k1").await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    let filed = settle(&channel, nobodys.number, "bob", "a mistake", "k2").await.unwrap_err();
    assert_eq!((filed.code(), reason(&filed).as_str()), (Code::FailedPrecondition, "PRECONDITION_FAILED"));
    assert!(filed.message().contains("alice"), "{filed}");
    let read = settle(&channel, broken.number, "bob", "it is about his shop", "").await.unwrap();
    assert_eq!(clause(&channel, &read).await, "complaint/other");
    assert!(told(&channel, &read.case_id).await[0].text.contains("could not be read"));

    // Or that there is nothing to do, which the case is told of, and which can be taken back.
    let dismissed = settle(&channel, huge.number, "", "advertising", "").await.unwrap();
    assert_eq!((dismissed.state(), dismissed.detail.as_str()), (ComplaintState::Dismissed, "advertising"));
    assert!(get(&channel, huge.number).await.unwrap().message.is_empty(), "nobody needs it any more");
    let dismissed = settle(&channel, nobodys.number, "", "withdrawn", "").await.unwrap();
    assert_eq!(dismissed.state(), ComplaintState::Dismissed);
    let entries = told(&channel, &dismissed.case_id).await;
    assert!(entries.iter().any(|entry| entry.text.ends_with("is dismissed: withdrawn")), "{entries:?}");
    let back = settle(&channel, nobodys.number, "alice", "not withdrawn", "").await.unwrap();
    assert_eq!((back.state(), back.case_id), (ComplaintState::Filed, dismissed.case_id));
    assert_eq!(get(&channel, 4_711).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_taken_down_has_a_time_by_the_calendar_of_the_policy() {
    let dir = tempfile::tempdir().unwrap();
    crate::common::set(dir.path(), "[complaints]\ntakedown_clause = \"ours/ntd\"\n");
    let (_controller, channel) = start(dir.path()).await;
    let limit = |taken: &Complaint, limit: Grace, policy: &Policy| {
        let (at, end) = (taken.receive_time.unwrap(), taken.deadline.unwrap());
        let at = Timestamp::from_secs(at.seconds as u64);
        let nanos = limit.end(at, &policy.calendar).as_nanos();
        (nanos / 1_000_000_000) as i64 - end.seconds
    };
    let (two, one_day) = (Grace::WorkingDays(2), Grace::WorkingDays(1));
    let usual = Policy::preset("baseline").unwrap();
    let film = xarf(1, "copyright/copyright", "203.0.113.7", ago(DAY));
    let film = one(&channel, &film).await;
    assert_eq!(limit(&film, two, &usual), 0, "{film:?}");
    assert_eq!(clause(&channel, &film).await, "ours/ntd");
    let text =
        "The page http://site.example/x on 203.0.113.7 infringes our copyright. Remove it within 24 hours.";
    let urgent = one(&channel, &letter("urgent takedown", text)).await;
    assert_eq!(limit(&urgent, one_day, &usual), 0, "{urgent:?}");
    assert_eq!(urgent.case_id, film.case_id);
    // What waits for a person has its time, too: it runs from when it came, not from when somebody looked.
    let nobodys = one(&channel, &xarf(2, "copyright/copyright", "192.0.2.9", ago(DAY))).await;
    assert_eq!(limit(&nobodys, two, &usual), 0);
    let settled = settle(&channel, nobodys.number, "bob", "by the invoice", "").await.unwrap();
    assert_eq!(settled.deadline, nobodys.deadline);
    assert_eq!(clause(&channel, &settled).await, "ours/ntd");
    assert!(settle(&channel, nobodys.number, "", "withdrawn", "").await.unwrap().deadline.is_none());
    assert!(one(&channel, &xarf(3, "messaging/spam", "203.0.113.7", ago(DAY))).await.deadline.is_none());

    // Another calendar: of a policy that is active.
    let source = "[policy]\nname = \"ours\"\nversion = 1\nextends = \"baseline\"\n[calendar]\nutc_offset = \"+05:30\"\n\
                  weekend = [\"monday\", \"wednesday\", \"friday\"]\n";
    let mut policies = PolicyServiceClient::new(channel.clone());
    let request = UploadPolicyRequest { source: source.into(), ..Default::default() };
    policies.upload_policy(request).await.unwrap();
    let request = ActivatePolicyRequest { name: "ours".into(), policy_version: 1, ..Default::default() };
    policies.activate_policy(request).await.unwrap();
    let other = one(&channel, &xarf(4, "copyright/copyright", "203.0.113.7", ago(DAY))).await;
    let ours = Policy::parse("ours", source).unwrap();
    assert_eq!(limit(&other, two, &ours), 0, "{other:?}");
    assert_ne!(limit(&other, two, &usual), 0, "it is another calendar");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_take_and_settle_viewers_look_and_all_of_it_is_on_the_record() {
    let dir = tempfile::tempdir().unwrap();
    let people = [
        (Role::Admin, "root"),
        (Role::Operator, "oncall"),
        (Role::Viewer, "auditor"),
        (Role::Billing, "cash"),
    ];
    let people = people.map(|(role, name)| (role, name.parse().unwrap())).to_vec();
    pki::init(dir.path(), &Wanted { people, ..Wanted::default() }).unwrap();
    let controller = Running::start(dir.path()).await;
    let operators = dir.path().join("operators");
    let [root, oncall, auditor, cash] = [
        controller.secure(dir.path(), &operators, "root").await,
        controller.secure(dir.path(), &operators, "oncall").await,
        controller.secure(dir.path(), &operators, "auditor").await,
        controller.secure(dir.path(), &operators, "cash").await,
    ];
    import(&root, vec![alice()], true).await;
    let waits = one(&oncall, &letter("portscan", "secret words about 192.0.2.9")).await;
    assert!(waits.via.contains("oncall"), "{waits:?}");
    let denied = Code::PermissionDenied;
    for channel in [&auditor, &cash] {
        let code = submit_as(channel, ComplaintFormat::Mail, b"x").await.unwrap_err().code();
        assert_eq!(code, denied);
        assert_eq!(settle(channel, waits.number, "alice", "hers", "").await.unwrap_err().code(), denied);
    }
    assert_eq!(get(&auditor, waits.number).await.unwrap().complaint.unwrap().number, waits.number);
    assert_eq!(get(&cash, waits.number).await.unwrap_err().code(), denied);
    assert_eq!(list(&auditor, "").await.len(), 1);
    settle(&oncall, waits.number, "alice", "hers", "").await.unwrap();
    let request = ListAuditRequest::default();
    let entries =
        AuditServiceClient::new(root.clone()).list_audit(request).await.unwrap().into_inner().entries;
    let acts: Vec<String> = entries
        .iter()
        .rev()
        .filter(|entry| entry.act.contains("Complaint") && !entry.asked.contains("\"of\""))
        .map(|entry| format!("{} {} {}", entry.who, entry.act, entry.reason))
        .collect();
    assert_eq!(acts.len(), 3, "{acts:?}");
    for (act, who, what) in [
        (&acts[0], "oncall", "SubmitComplaints"),
        (&acts[1], "auditor", "GetComplaint"),
        (&acts[2], "oncall", "SettleComplaint"),
    ] {
        assert!(act.contains(who) && act.contains(what), "{act}");
    }
    assert!(acts[2].ends_with(" hers"));
    let words = data_encoding::BASE64.encode(b"secret words");
    let text = format!("{entries:?}");
    assert!(
        !text.contains("secret words") && !text.contains(&words[..8]),
        "what is kept for ever tells a letter: {text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_narrowed_and_paged_and_hostile_texts_do_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_controller, channel) = start(dir.path()).await;
    let evil =
        "a\u{202e}b'); DROP TABLE complaints;-- \"<script>alert(1)</script>\\u0000\\r\\nBcc: x@y.example";
    let long = "x".repeat(100_000);
    for (id, what) in [(1, evil), (2, "%s%n$1 OR 1=1"), (3, long.as_str())] {
        let json = serde_json::json!({
            "xarf_version": "4.2.0", "report_id": format!("{what}{id}"), "timestamp": ago(DAY).to_string(),
            "reporter": {"org": what, "contact": format!("{what}@cert.example"), "domain": what},
            "source_identifier": "203.0.113.7", "category": "connection", "type": "port_scan", "protocol": what,
            "description": what, "destination_ip": what, "tags": [what], "evidence": [{"content_type": what, "description": what}],
        });
        let taken = one(&channel, &json.to_string()).await;
        assert_eq!(taken.state(), ComplaintState::Filed, "{taken:?}");
        let entry = told(&channel, &taken.case_id).await.pop().unwrap();
        let report = get(&channel, taken.number).await.unwrap().report;
        for text in [&taken.reporter, &taken.kind, &entry.author, &entry.text, &report] {
            let is_bad = |letter: char| letter.is_control() || letter == '\u{202e}';
            assert!(!text.contains(is_bad) && text.len() < 100_000, "{text:.200}");
        }
    }
    for broken in
        ["\0\0\0", "From: \0a@b.example\nSubject: \0'\n\n\0 203.0.113.7 portscan \0", "{\"\\u0000\": '"]
    {
        let taken = submit(&channel, broken).await;
        assert!(!taken[0].detail.contains('\0') && !taken[0].reporter.contains('\0'), "{taken:?}");
        let shown = get(&channel, taken[0].number).await.unwrap();
        assert!(!shown.report.contains('\0'));
    }
    let why = "'); DROP TABLE complaints;-- <b>";
    let waits = list(&channel, "state = unreadable").await;
    assert_eq!(settle(&channel, waits[0].number, "bob", why, "'\"k").await.unwrap().detail, why);
    let code = settle(&channel, waits[0].number, "bob", "a\0b", "").await.unwrap_err().code();
    assert_eq!(code, Code::InvalidArgument);
    let code = settle(&channel, waits[0].number, "bob", "x", "a\0b").await.unwrap_err().code();
    assert_eq!(code, Code::InvalidArgument, "a key that PostgreSQL would not store");

    let before = list(&channel, "").await.len();
    for id in 100..350 {
        let source = if id % 2 == 0 { "203.0.113.7" } else { "198.51.100.3" };
        one(&channel, &xarf(id, "connection/port_scan", source, ago(DAY + u64::from(id)))).await;
    }
    let all = list(&channel, "").await;
    assert_eq!(all.len(), before + 250);
    assert!(all.windows(2).all(|two| two[0].number > two[1].number), "those first that came last");
    let first = &all[0];
    for (filter, count) in [
        ("tenant = bob AND kind = scan", 125),
        ("source = \"198.51.100.3\"", 125),
        ("state = filed AND format = xarf4 AND reporter = CERT", 250),
        ("tenant = carol", 0),
        ("deadline > \"2020-01-01T00:00:00Z\"", 0),
        ("receive_time < \"2020-01-01T00:00:00Z\"", 0),
        (&format!("number = {}", first.number), 1),
        (&format!("case_id = \"{}\" AND tenant = bob", first.case_id), 125),
    ] {
        assert_eq!(list(&channel, filter).await.len(), count, "{filter}");
    }
    for filter in ["body = x", "state = lost", "number = many", "message = x", "mark = x"] {
        let request = ListComplaintsRequest { filter: filter.into(), ..Default::default() };
        let refused = ComplaintServiceClient::new(channel.clone()).list_complaints(request).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument, "{filter}");
    }
    // However many come, a case is told of some: the rest is in the list.
    let entries = told(&channel, &first.case_id).await;
    assert_eq!(entries.len(), 100);
    assert!(entries[99].text.contains("more that are not entered"), "{:?}", entries[99]);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_wait_as_may_and_what_is_over_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (controller, channel) = start(dir.path()).await;
    let [gone, kept] =
        [1, 2].map(|id| xarf(id, "connection/port_scan", "192.0.2.9", ago(DAY * u64::from(id))));
    let (gone, kept) = (one(&channel, &gone).await, one(&channel, &kept).await);
    settle(&channel, gone.number, "", "nothing", "").await.unwrap();
    let cased = one(&channel, &xarf(3, "connection/port_scan", "203.0.113.7", ago(DAY))).await;
    let stays = one(&channel, &xarf(4, "messaging/spam", "203.0.113.7", ago(DAY))).await;
    let request = MoveCaseRequest {
        id: cased.case_id.clone(),
        state: CaseState::Closed.into(),
        reason: "mended".into(),
        ..Default::default()
    };
    CaseServiceClient::new(channel.clone()).move_case(request).await.unwrap();
    controller.stop().await;
    execute(dir.path(), "UPDATE complaints SET updated = 1, received = 1").await;
    execute(dir.path(), "UPDATE cases SET closed = 1 WHERE closed IS NOT NULL").await;
    // The case first, and at the next turn what was in it.
    forget(dir.path()).await;
    forget(dir.path()).await;
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let left: BTreeSet<u64> = list(&channel, "").await.into_iter().map(|one| one.number).collect();
    assert_eq!(
        left,
        BTreeSet::from([kept.number, stays.number]),
        "what waits, and what is in a case that is kept"
    );
    controller.stop().await;

    execute(
        dir.path(),
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) \
         INSERT INTO complaints (mark, state, received, updated, times, via, format, kind, source, reporter, detail, body) \
         SELECT 'm' || i, 'unreadable', 1, 1, 1, '', '', '', '', '', '', '' FROM n",
    )
    .await;
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let full = submit_as(&channel, ComplaintFormat::Mail, b"nothing").await.unwrap_err();
    assert_eq!(full.code(), Code::FailedPrecondition);
    // What is somebody's, or known, is taken all the same.
    let json = xarf(5, "messaging/spam", "203.0.113.7", ago(DAY));
    assert_eq!(one(&channel, &json).await.state(), ComplaintState::Filed);
    assert_eq!(one(&channel, &xarf(2, "connection/port_scan", "192.0.2.9", ago(2 * DAY))).await.times, 2);
    settle(&channel, kept.number, "", "nothing", "").await.unwrap();
    assert_eq!(one(&channel, "nothing").await.state(), ComplaintState::Unreadable);
}

/// Forgets whatever is over.
pub(super) async fn forget(dir: &std::path::Path) {
    use reeve_controller::store::write::{Desk, Effects, Limits, retain};
    let settings = reeve_controller::settings::Settings::load(dir).unwrap();
    let (store, mut writing) = reeve_controller::store::Store::open(&settings.database, dir).await.unwrap();
    let now = reeve_controller::clock::now();
    let limits = Limits { over: ago(60), strikes: ago(60) };
    let mut effects = Effects::new(now, Desk::default());
    while retain(writing.connection().await.unwrap(), &limits, &mut effects).await.unwrap().1 {}
    store.close().await;
    writing.close().await;
}
