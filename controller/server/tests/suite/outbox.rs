//! Notices leave: each to every place once, whatever fails and whatever restarts; and what comes of their links.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::{self, Agent, Running, set};
use reeve_policy::{
    Action, Alert, Class, Decision, DecisionId, Loss, Metric, Mode, Name, Origin, Report, Scope, Tenant,
    Timestamp, Until, Violation, ViolationId, ViolationState, Window,
};
use reeve_proto::operator::v1::audit_service_client::AuditServiceClient;
use reeve_proto::operator::v1::case_service_client::CaseServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{
    CaseEntryKind, CaseState, Delivery, DeliveryState, GetCaseRequest, ListAuditRequest, ListCasesRequest,
    ListDeliveriesRequest, MoveCaseRequest, ResendDeliveryRequest,
};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PATIENCE: Duration = Duration::from_secs(20);

/// A call as the program behind a webhook sees it.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    id: String,
    timestamp: String,
    signature: String,
    kind: String,
    body: String,
}

impl Heard {
    pub(super) fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Whether whoever has the secret signed it.
    fn is_signed(&self) -> bool {
        let secret = data_encoding::BASE64.decode(SECRET.trim_start_matches("whsec_").as_bytes()).unwrap();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
        let signature = self.signature.strip_prefix("v1,").unwrap();
        let signature = data_encoding::BASE64.decode(signature.as_bytes()).unwrap();
        let said = format!("{}.{}.{}", self.id, self.timestamp, self.body);
        ring::hmac::verify(&key, said.as_bytes(), &signature).is_ok()
    }
}

/// A program that is called, and answers with these statuses in turn, and then with 204.
#[derive(Clone, Default)]
pub(super) struct Program {
    answers: Arc<Mutex<VecDeque<u16>>>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Program {
    pub(super) async fn start(answers: &[u16]) -> (Self, u16) {
        let own =
            Self { answers: Arc::new(Mutex::new(answers.iter().copied().collect())), ..Self::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let program = own.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let program = program.clone();
                tokio::spawn(async move { program.answer(BufReader::new(stream)).await });
            }
        });
        (own, port)
    }

    async fn answer(self, mut stream: BufReader<tokio::net::TcpStream>) -> std::io::Result<()> {
        loop {
            let mut head: Vec<(String, String)> = Vec::new();
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                match line.trim_end().split_once(": ") {
                    Some((name, value)) => head.push((name.to_lowercase(), value.to_owned())),
                    None if line.trim_end().is_empty() => break,
                    None => {}
                }
            }
            let field = |name: &str| {
                let found = head.iter().find(|(known, _)| known == name);
                found.map(|(_, value)| value.clone()).unwrap_or_default()
            };
            let mut body = vec![0; field("content-length").parse().unwrap()];
            stream.read_exact(&mut body).await?;
            let heard = Heard {
                id: field("webhook-id"),
                timestamp: field("webhook-timestamp"),
                signature: field("webhook-signature"),
                kind: field("content-type"),
                body: String::from_utf8(body).unwrap(),
            };
            self.heard.lock().unwrap().push(heard);
            let status = self.answers.lock().unwrap().pop_front().unwrap_or(204);
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).await?;
        }
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits until it was called so often.
    pub(super) async fn called(&self, times: usize) -> Vec<Heard> {
        until(|| async { Some(self.heard()).filter(|heard| heard.len() >= times) }).await
    }
}

pub(super) async fn until<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "it did not come about in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(super) fn webhook(dir: &Path, port: u16) -> String {
    let secret = dir.join("webhook-secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    format!(
        "[[webhook]]\nname = \"portal\"\nurl = \"http://127.0.0.1:{port}/reeve\"\nsecret_file = \"{}\"\n",
        secret.display()
    )
}

pub(super) const LINKS: &str = "[links]\nlisten = \"127.0.0.1:0\"\nurl = \"https://abuse.example.net\"\n";

pub(super) fn alice(display: &str, contacts: &[&str]) -> Tenant {
    Tenant {
        name: display.into(),
        contacts: contacts.iter().map(|contact| contact.parse().unwrap()).collect(),
        addresses: vec!["203.0.113.1/32".parse().unwrap()],
        ..Tenant::new(name("alice"))
    }
}

pub(super) fn violation(number: u64, class: Class, state: ViolationState) -> Violation {
    let (node, tenant, rule) = (name("n1"), name("alice"), name("portscan"));
    let opened = Timestamp::from_secs(1_700_000_000 + number);
    let evidence = Alert {
        class,
        tenant: tenant.clone(),
        at: opened,
        window: Window { start: opened, end: opened },
        metrics: vec![Metric { name: "ports".into(), value: 20.0, threshold: Some(20.0) }],
        confidence_percent: 95,
        targets: Vec::new(),
        samples: Vec::new(),
        loss: Loss::default(),
        is_suspicion: false,
    };
    Violation {
        id: ViolationId::new(&node, &tenant, &rule, opened),
        node,
        tenant,
        rule,
        clause: "ours/portscan".into(),
        opened,
        last_seen: opened,
        closed: (state != ViolationState::Open).then_some(opened),
        state,
        strike: 1,
        alerts: 1,
        evidence,
    }
}

/// A warning upon a violation: its recipient is told.
pub(super) fn warning(violation: &Violation) -> Decision {
    Decision {
        id: DecisionId(name(&format!("{}.1", violation.id))),
        tenant: violation.tenant.clone(),
        violation: Some(violation.id.clone()),
        clause: violation.clause.clone(),
        origin: Origin::Policy { policy: name("ours"), version: 3, rule: name("portscan"), step: 1 },
        action: Action::Notify,
        scope: Scope::All,
        rate: None,
        until: Until::Released,
        at: violation.opened,
        mode: Mode::Enforce,
        reason: "portscan.vertical: ports 20 (limit 20)".into(),
        connections: None,
        softened: None,
        reckoning: None,
    }
}

pub(super) struct House {
    pub(super) running: Running,
    pub(super) channel: Channel,
    pub(super) agent: Agent,
    told: u64,
}

impl House {
    pub(super) async fn start(dir: &Path, tenant: Tenant) -> Self {
        let running = Running::start(dir).await;
        let channel = running.plain().await;
        common::import(&channel, vec![(&tenant).into()], true).await;
        let (agent, told) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
        Self { running, channel, agent, told }
    }

    pub(super) async fn report(&mut self, report: Report) {
        self.told += 1;
        self.agent.report(self.told, report).await;
        self.agent.acknowledged(self.told).await;
    }

    /// Warns the tenant of a violation.
    async fn warn(&mut self, number: u64, class: Class) -> Violation {
        let violation = violation(number, class, ViolationState::Open);
        self.report(Report::Violation(violation.clone())).await;
        self.report(Report::Decision(warning(&violation))).await;
        violation
    }

    fn operator(&self) -> OperatorServiceClient<Channel> {
        OperatorServiceClient::new(self.channel.clone())
    }

    async fn deliveries(&self, filter: &str) -> Vec<Delivery> {
        let request = ListDeliveriesRequest { filter: filter.into(), ..Default::default() };
        self.operator().list_deliveries(request).await.unwrap().into_inner().deliveries
    }

    /// Waits until so many deliveries are as the filter has them.
    async fn are(&self, filter: &str, count: usize) -> Vec<Delivery> {
        until(|| async { Some(self.deliveries(filter).await).filter(|all| all.len() == count) }).await
    }

    async fn resend(&self, number: u64, again: bool) -> Result<Vec<Delivery>, tonic::Status> {
        let request = ResendDeliveryRequest { number, again, ..Default::default() };
        Ok(self.operator().resend_delivery(request).await?.into_inner().deliveries)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_leaves_by_every_way_once_and_not_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (program, port) = Program::start(&[]).await;
    let file = dir.path().join("notices.jsonl");
    set(dir.path(), &format!("{}[notice_file]\npath = \"{}\"\n", webhook(dir.path(), port), file.display()));
    let mut house = House::start(dir.path(), alice("Alice", &[])).await;
    let violation = house.warn(1, Class::PortscanVertical).await;
    let sent = house.are("state = sent", 2).await;
    assert_eq!(sent.iter().map(|one| one.attempts).collect::<Vec<_>>(), [1, 1]);
    let heard = program.heard();
    assert_eq!(heard.len(), 1);
    assert!(heard[0].is_signed(), "{:?}", heard[0]);
    assert_eq!(heard[0].kind, "application/cloudevents+json; charset=utf-8");
    let event = heard[0].event();
    assert_eq!(event["id"], heard[0].id.as_str());
    assert_eq!(
        (event["specversion"].as_str(), event["type"].as_str()),
        (Some("1.0"), Some("reeve.notice.v1"))
    );
    assert_eq!(event["data"]["tenant"], "alice");
    assert_eq!(event["data"]["kind"], "immediate");
    assert_eq!(event["data"]["violation"], violation.id.as_name().as_str());
    assert!(event["data"]["case"].as_str().unwrap().starts_with('C'), "{event}");
    let line = std::fs::read_to_string(&file).unwrap();
    assert_eq!(line.lines().count(), 1);
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["id"], event["id"]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // The same report again, and a controller that starts anew, tell nobody twice.
    house.running.stop().await;
    let mut house = House::start(dir.path(), alice("Alice", &[])).await;
    house.warn(1, Class::PortscanVertical).await;
    house.warn(2, Class::PortscanVertical).await;
    house.are("state = sent", 4).await;
    let ids: Vec<String> = program.called(2).await.into_iter().map(|heard| heard.id).collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
    assert_ne!(ids[0], ids[1]);
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 2);
    house.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_waits_what_is_refused_is_kept_and_both_are_sent_again_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let (program, port) = Program::start(&[500, 410]).await;
    set(dir.path(), &webhook(dir.path(), port));
    let mut house = House::start(dir.path(), alice("Alice", &[])).await;
    house.warn(1, Class::PortscanVertical).await;
    let heard = program.called(1).await;
    let waits = until(|| async {
        house.deliveries("state = pending").await.into_iter().find(|one| !one.detail.is_empty())
    })
    .await;
    assert!(waits.detail.starts_with("500"), "{waits:?}");
    let (tried, next) = (waits.tried_time.unwrap(), waits.next_time.unwrap());
    assert!((55..=65).contains(&(next.seconds - tried.seconds)), "{waits:?}");
    // By hand it goes at once, and is refused for good.
    house.resend(waits.number, false).await.unwrap();
    let dead = house.are("state = dead", 1).await.remove(0);
    assert!(dead.detail.starts_with("410"), "{dead:?}");
    assert!(dead.next_time.is_none());
    house.resend(dead.number, false).await.unwrap();
    let sent = house.are("state = sent", 1).await.remove(0);
    assert_eq!((sent.number, sent.attempts), (waits.number, 1));
    // Each attempt had the same key, by which it is known.
    let ids: Vec<String> = program.called(3).await.into_iter().map(|heard| heard.id).collect();
    assert!(ids.iter().all(|id| *id == heard[0].id), "{ids:?}");
    let refused = house.resend(sent.number, false).await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().reason, "DELIVERY_SENT");
    house.resend(sent.number, true).await.unwrap();
    assert_eq!(program.called(4).await[3].id, heard[0].id);
    let refused = house.resend(4_711, false).await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().reason, "DELIVERY_NOT_FOUND");
    house.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_without_an_address_is_kept_until_there_is_one_and_each_address_is_written_to() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody listens at the port of an address that was given back.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    set(
        dir.path(),
        &format!(
            "[mail]\nhost = \"127.0.0.1\"\nport = {closed}\ntls = \"none\"\nfrom = \"abuse@example.net\"\n"
        ),
    );
    let mut house = House::start(dir.path(), alice("Alice", &[])).await;
    house.warn(1, Class::PortscanVertical).await;
    let dead = house.are("state = dead", 1).await.remove(0);
    assert_eq!((dead.detail.as_str(), dead.target.as_str()), ("there is no address", ""));
    let refused = house.resend(dead.number, false).await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().reason, "DELIVERY_NOWHERE");
    let contacts = ["a@alice.example", "b@alice.example", "a@alice.example"];
    common::import(&house.channel, vec![(&alice("Alice", &contacts)).into()], true).await;
    let again = house.resend(dead.number, false).await.unwrap();
    let mut targets: Vec<&str> = again.iter().map(|one| one.target.as_str()).collect();
    targets.sort_unstable();
    assert_eq!(targets, ["a@alice.example", "b@alice.example"]);
    assert_eq!(house.deliveries("state = dead").await.len(), 0);
    let waits = until(|| async {
        let all = house.deliveries("channel = mail").await;
        Some(all).filter(|all| all.iter().all(|one| !one.detail.is_empty()))
    })
    .await;
    for one in waits {
        assert_eq!(one.state(), DeliveryState::Pending, "{one:?}");
        assert!(one.detail.contains("onnection"), "{one:?}");
    }
    // Agents are told of no address.
    let told = format!("{:?}", house.agent.next().await);
    assert!(!told.contains("alice.example"), "{told}");
    house.running.stop().await;
}

/// Whoever follows a link, with a browser or without.
pub(super) struct Follower {
    client: reqwest::Client,
    base: String,
}

impl Follower {
    pub(super) fn new(house: &House) -> Self {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(
                tokio_rustls::rustls::ClientConfig::builder_with_provider(Arc::new(
                    tokio_rustls::rustls::crypto::ring::default_provider(),
                ))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(tokio_rustls::rustls::RootCertStore::empty())
                .with_no_client_auth(),
            )
            .build()
            .unwrap();
        Self { client, base: format!("http://{}", house.running.links.unwrap()) }
    }

    fn place(&self, url: &str) -> String {
        format!("{}{}", self.base, url.strip_prefix("https://abuse.example.net").unwrap())
    }

    pub(super) async fn get(&self, url: &str) -> (u16, reqwest::header::HeaderMap, String) {
        let asked = self.client.get(self.place(url)).header("accept", "text/html").send().await.unwrap();
        (asked.status().as_u16(), asked.headers().clone(), asked.text().await.unwrap())
    }

    pub(super) async fn post(&self, url: &str, body: &str) -> (u16, String) {
        let kind = "application/x-www-form-urlencoded";
        let request = self.client.post(self.place(url)).header("content-type", kind).body(body.to_owned());
        let asked = request.send().await.unwrap();
        (asked.status().as_u16(), asked.text().await.unwrap())
    }
}

pub(super) async fn entries(
    channel: &Channel,
    id: &str,
) -> (CaseState, Vec<(CaseEntryKind, String, String)>) {
    let mut cases = CaseServiceClient::new(channel.clone());
    let told = cases.get_case(GetCaseRequest { id: id.into() }).await.unwrap().into_inner();
    let entries = told.entries.iter().map(|entry| (entry.kind(), entry.author.clone(), entry.text.clone()));
    let entries = entries.collect();
    (told.case.unwrap().state(), entries)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_told_can_answer_by_a_link_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (program, port) = Program::start(&[]).await;
    set(dir.path(), &format!("{}{LINKS}", webhook(dir.path(), port)));
    let mut house = House::start(dir.path(), alice("<b>Alice</b> & \"sons\"", &[])).await;
    let violation = house.warn(1, Class::PortscanVertical).await;
    let event = program.called(1).await[0].event();
    let case = event["data"]["case"].as_str().unwrap().to_owned();
    let (fixed, statement) = (
        event["data"]["links"]["fixed"].as_str().unwrap().to_owned(),
        event["data"]["links"]["statement"].as_str().unwrap().to_owned(),
    );
    let follower = Follower::new(&house);
    // To look at it changes nothing, whoever looks at every link of a letter.
    for url in [&fixed, &statement] {
        let (status, headers, page) = follower.get(url).await;
        assert_eq!(status, 200, "{page}");
        assert!(!page.contains("<b>"), "{page}");
        assert!(page.contains("&#60;b&#62;Alice") && page.contains(&case), "{page}");
        assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert_eq!(headers["cache-control"], "no-store");
        assert!(
            !page.contains("<script") && !page.contains(" style=") && !page.contains("onclick"),
            "{page}"
        );
    }
    assert_eq!(entries(&house.channel, &case).await, (CaseState::Open, vec![]));
    // It is still seen; then it is not.
    let (status, text) = follower.post(&fixed, "").await;
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("We still see it. Last at 2023-11-14T22:13:21Z."), "{text}");
    let over =
        Violation { state: ViolationState::Quiet, closed: Some(violation.opened), ..violation.clone() };
    house.report(Report::Violation(over)).await;
    let (status, text) = follower.post(&fixed, "").await;
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("noted on the case"), "{text}");
    // A statement is the case's, which is somebody's turn again.
    let closed = MoveCaseRequest {
        id: case.clone(),
        state: CaseState::Closed.into(),
        reason: "done".into(),
        ..Default::default()
    };
    CaseServiceClient::new(house.channel.clone()).move_case(closed).await.unwrap();
    let (status, text) = follower.post(&statement, "text=It+was%0D%0Aa+%3Cscript%3E%1B%5B31m+test").await;
    assert_eq!(status, 200, "{text}");
    let (state, said) = entries(&house.channel, &case).await;
    assert_eq!(state, CaseState::Open);
    let said: Vec<_> = said.into_iter().filter(|(kind, ..)| *kind != CaseEntryKind::Move).collect();
    assert_eq!(
        said.iter().map(|(kind, ..)| *kind).collect::<Vec<_>>(),
        [CaseEntryKind::Claim, CaseEntryKind::Claim, CaseEntryKind::Statement]
    );
    assert!(said.iter().all(|(_, author, _)| author == "alice"), "{said:?}");
    assert_eq!(said[2].2, "It was\na <script> [31m test");
    // What is no statement is not kept.
    for body in ["", "text=", "text=%20%0A", &format!("text={}", "a".repeat(4_001)), "\u{0}\u{1}%zz"] {
        let (status, text) = follower.post(&statement, body).await;
        assert_eq!(status, 422, "{body:.40} {text}");
    }
    assert_eq!(follower.post(&statement, &"a".repeat(70_000)).await.0, 422);
    // Nobody makes one up, or does more with one than it is for.
    let token = fixed.rsplit('/').nth(1).unwrap();
    let mut other = token.to_owned().into_bytes();
    other[3] = if other[3] == b'A' { b'B' } else { b'A' };
    let other = String::from_utf8(other).unwrap();
    for url in [
        fixed.replace(token, &other),
        fixed.replace(token, &token[..token.len() - 4]),
        fixed.replace(token, ""),
        fixed.replace(token, "..%2F..%2Fetc"),
        fixed.replace("/fixed", "/release"),
        fixed.replace("/fixed", ""),
    ] {
        assert_eq!(follower.get(&url).await.0, 404, "{url}");
        assert_eq!(follower.post(&url, "text=x").await.0, 404, "{url}");
    }
    // Too often is too often, and is not kept either.
    let before = entries(&house.channel, &case).await.1.len();
    let mut last = 0;
    for _ in 0..4 {
        last = follower.post(&fixed, "").await.0;
    }
    assert_eq!(last, 429);
    assert!(entries(&house.channel, &case).await.1.len() <= before + 3);
    // All of it is on the record.
    let request = ListAuditRequest { page_size: 100, ..Default::default() };
    let told = AuditServiceClient::new(house.channel.clone()).list_audit(request).await.unwrap().into_inner();
    let acts: Vec<(String, String)> =
        told.entries.iter().map(|entry| (entry.act.clone(), entry.who.clone())).collect();
    assert!(acts.contains(&("/links/fixed".into(), "alice".into())), "{acts:?}");
    assert!(acts.contains(&("/links/statement".into(), "alice".into())), "{acts:?}");
    let cases = CaseServiceClient::new(house.channel.clone()).list_cases(ListCasesRequest::default()).await;
    assert_eq!(cases.unwrap().into_inner().cases.len(), 1);
    house.running.stop().await;
}
