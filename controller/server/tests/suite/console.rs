//! The console over HTTP: who gets in, what stands before every page and form, and that what strangers write stays text.

use std::net::SocketAddr;

use crate::common::{self, Agent, Running, alice, import};
use data_encoding::BASE32_NOPAD;
use reeve_controller::auth::Role;
use reeve_controller::auth::password::{code_at, step_at};
use reeve_controller::clock;
use reeve_controller::pki::{self, Wanted};
use reeve_policy::{
    Action, Alert, Class, Decision, DecisionId, Loss, Measure, Metric, Mode, NodeEvent, NodeEventKind,
    NodeId, Origin, Report, Scope, TenantId, Until, Violation, ViolationId, ViolationState, Window,
};
use reeve_proto::operator::v1::case_service_client::CaseServiceClient;
use reeve_proto::operator::v1::complaint_service_client::ComplaintServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::person_service_client::PersonServiceClient;
use reeve_proto::operator::v1::{
    AddCaseNoteRequest, AddPersonRequest, ListCasesRequest, PauseRequest, PauseTarget, Role as WireRole,
    SubmitComplaintsRequest, SuspendRequest, pause_target,
};

use reeve_proto::status::v1::get_status_request::Subject;
use reeve_proto::status::v1::status_service_client::StatusServiceClient;
use reeve_proto::status::v1::{GetStatusRequest, State};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::transport::Channel;

const URL: &str = "http://localhost:8088";
const PASSWORD: &str = "a horse, a battery";
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What a browser gets.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// What is kept under a cookie's name.
    fn cookie(&self, name: &str) -> Option<String> {
        let begin = format!("{name}=");
        let found = self.header("set-cookie").into_iter().find_map(|cookie| cookie.strip_prefix(&begin));
        found.map(|rest| rest.split(';').next().unwrap().to_owned())
    }

    /// The mark of the page's forms.
    fn mark(&self) -> String {
        let rest =
            self.body.split("name=\"csrf\" value=\"").nth(1).unwrap_or_else(|| panic!("{}", self.body));
        rest.split('"').next().unwrap().to_owned()
    }
}

/// One request of a browser; `head` are more lines of its head.
async fn ask(console: SocketAddr, method: &str, path: &str, head: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = tokio::net::TcpStream::connect(console).await.unwrap();
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: console.test\r\nConnection: close\r\n");
    for (name, value) in head {
        text += &format!("{name}: {value}\r\n");
    }
    if method == "POST" {
        text +=
            &format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", body.len());
    }
    text += &format!("\r\n{body}");
    // Who is refused early may be cut off; what was said until then counts.
    _ = stream.write_all(text.as_bytes()).await;
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn encoded(fields: &[(&str, &str)]) -> String {
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    pairs.join("&")
}

/// Somebody's browser.
struct Browser {
    console: SocketAddr,
    cookie: String,
    mark: String,
}

impl Browser {
    async fn get(&self, path: &str) -> Answer {
        ask(self.console, "GET", path, &[("Cookie", &self.cookie)], "").await
    }

    async fn post_with(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        mark: &str,
        head: &[(&str, &str)],
    ) -> Answer {
        let all = [&[("csrf", mark)], fields].concat();
        let head = [&[("Cookie", self.cookie.as_str())], head].concat();
        ask(self.console, "POST", path, &head, &encoded(&all)).await
    }

    /// As its own page does.
    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.post_with(path, fields, &self.mark, &[("Origin", URL), ("Sec-Fetch-Site", "same-origin")]).await
    }
}

/// A controller with a console, and its administrator.
struct House {
    dir: tempfile::TempDir,
    controller: Running,
    admin: Channel,
}

impl House {
    async fn open(url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let people = vec![(Role::Admin, "root".parse().unwrap())];
        pki::init(dir.path(), &Wanted { people, nodes: vec!["n1".parse().unwrap()], ..Wanted::default() })
            .unwrap();
        common::set(dir.path(), &format!("[console]\nlisten = \"127.0.0.1:0\"\nurl = \"{url}\"\n"));
        let controller = Running::start(dir.path()).await;
        let admin = controller.secure(dir.path(), &dir.path().join("operators"), "root").await;
        Self { dir, controller, admin }
    }

    fn console(&self) -> SocketAddr {
        self.controller.console.unwrap()
    }

    async fn node(&self) -> Agent {
        let channel = self.controller.secure(self.dir.path(), &self.dir.path().join("nodes"), "n1").await;
        Agent::greet(channel, "n1", 1).await.unwrap().0
    }

    /// Lets somebody in, who sets an account up on the console's pages; its second factor's secret.
    async fn account(&self, name: &str, role: WireRole) -> Vec<u8> {
        let request = AddPersonRequest { name: name.into(), role: role.into(), addresses: Vec::new() };
        let answer = PersonServiceClient::new(self.admin.clone()).add_person(request).await.unwrap();
        let invitation = answer.into_inner().invitation;
        let console = self.console();
        let page = ask(console, "POST", "/set-up", &[], &encoded(&[("invitation", &invitation)])).await;
        assert_eq!(page.status, 200, "{page:?}");
        let secret = page.body.split("class=\"secret\">").nth(1).unwrap().split('<').next().unwrap();
        let secret = BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
        let code = code_at(&secret, step().await - 1);
        let fields = [("invitation", invitation.as_str()), ("password", PASSWORD), ("code", &code)];
        let page = ask(console, "POST", "/set-up", &[], &encoded(&fields)).await;
        assert!(page.status == 200 && page.body.contains("class=\"codes\""), "{page:?}");
        secret
    }

    /// Signs somebody in who has no account yet.
    async fn browser(&self, name: &str, role: WireRole) -> Browser {
        let secret = self.account(name, role).await;
        let page = sign_in(self.console(), name, &code_at(&secret, step().await), &[]).await;
        assert_eq!((page.status, page.header("location")), (303, vec!["/"]), "{page:?}");
        let token = page.cookie("reeve").unwrap();
        let mut browser =
            Browser { console: self.console(), cookie: format!("reeve={token}"), mark: String::new() };
        browser.mark = browser.get("/").await.mark();
        browser
    }

    async fn state(&self, tenant: &str) -> State {
        let request = GetStatusRequest { subject: Some(Subject::Tenant(tenant.into())) };
        StatusServiceClient::new(self.admin.clone()).get_status(request).await.unwrap().into_inner().state()
    }
}

/// The step of now, not so near to its end that it is another one soon.
async fn step() -> u64 {
    while clock::now().as_nanos() / 1_000_000_000 % 30 > 20 {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    step_at(clock::now())
}

async fn sign_in(console: SocketAddr, name: &str, code: &str, head: &[(&str, &str)]) -> Answer {
    let fields = [("name", name), ("password", PASSWORD), ("code", code), ("next", "/")];
    ask(console, "POST", "/sign-in", head, &encoded(&fields)).await
}

/// What the browser is told of every page.
fn ensure_guarded(page: &Answer) {
    assert_eq!(page.header("content-security-policy"), [POLICY], "{page:?}");
    assert_eq!(page.header("x-frame-options"), ["DENY"]);
    assert_eq!(page.header("x-content-type-options"), ["nosniff"]);
    assert_eq!(page.header("referrer-policy"), ["same-origin"]);
    assert_eq!(page.header("cross-origin-opener-policy"), ["same-origin"]);
    assert_eq!(page.header("cache-control"), ["no-store"]);
    // Nothing that the policy would have to allow.
    for inline in ["<script>", "<style", " style=\"", " onclick=", "javascript:"] {
        assert!(!page.body.contains(inline), "{inline}: {page:?}");
    }
}

#[tokio::test]
async fn a_session_begins_with_a_second_factor_and_ends_when_it_is_said() {
    let house = House::open(URL).await;
    let console = house.console();
    let page = ask(console, "GET", "/tenants?q=a", &[], "").await;
    assert_eq!((page.status, page.header("location")), (303, vec!["/sign-in?next=%2Ftenants%3Fq%3Da"]));
    for path in ["/sign-in", "/set-up", "/nothing"] {
        ensure_guarded(&ask(console, "GET", path, &[], "").await);
    }

    let secret = house.account("eva", WireRole::Operator).await;
    let wrong = sign_in(console, "eva", "000000", &[]).await;
    assert_eq!((wrong.status, wrong.cookie("reeve")), (401, None), "{wrong:?}");
    // Neither another site signs somebody in, nor does what it put there before become the session.
    let forced =
        sign_in(console, "eva", &code_at(&secret, step().await), &[("Origin", "http://evil.example")]).await;
    assert_eq!((forced.status, forced.cookie("reeve")), (403, None), "{forced:?}");
    let planted = "reeve_session_0000000000000000000000000000000000000000000";
    let cookie = format!("reeve={planted}");
    let page = sign_in(console, "eva", &code_at(&secret, step().await), &[("Cookie", &cookie)]).await;
    let token = page.cookie("reeve").unwrap();
    assert_ne!(token, planted);
    let kept = page.header("set-cookie").into_iter().find(|kept| kept.starts_with("reeve=")).unwrap();
    assert!(
        kept.contains("; HttpOnly") && kept.contains("; SameSite=Strict") && kept.contains("; Path=/"),
        "{kept}"
    );
    let fixed = ask(console, "GET", "/", &[("Cookie", &cookie)], "").await;
    assert_eq!(fixed.status, 303, "what was planted is nobody's session");

    let own = Browser { console, cookie: format!("reeve={token}"), mark: String::new() };
    let page = own.get("/").await;
    assert_eq!(page.status, 200, "{page:?}");
    ensure_guarded(&page);
    let own = Browser { mark: page.mark(), ..own };
    let out = own.post("/sign-out", &[]).await;
    assert_eq!((out.status, out.header("location")), (303, vec!["/sign-in"]));
    assert_eq!(out.cookie("reeve").as_deref(), Some(""));
    // It is over at the controller, and not only forgotten by the browser.
    assert_eq!(own.get("/").await.status, 303);
    // A part of a page is not renewed by the sign-in page; the whole page goes there, and back to no other host.
    for (current, to) in [
        (format!("{URL}/?a=b"), "/sign-in?next=%2F%3Fa%3Db"),
        ("http://evil.example/".to_owned(), "/sign-in"),
    ] {
        let head = [("Cookie", own.cookie.as_str()), ("HX-Request", "true"), ("HX-Current-URL", &current)];
        let led = ask(console, "GET", "/now/board", &head, "").await;
        assert_eq!((led.status, led.header("hx-redirect")), (204, vec![to]), "{led:?}");
    }
    house.controller.stop().await;
}

#[tokio::test]
async fn over_tls_a_cookie_is_of_one_host_and_of_tls() {
    let house = House::open("https://console.test").await;
    let secret = house.account("eva", WireRole::Viewer).await;
    let page = sign_in(house.console(), "eva", &code_at(&secret, step().await), &[]).await;
    let token = page.cookie("__Host-reeve").unwrap_or_else(|| panic!("{page:?}"));
    let kept = page.header("set-cookie").into_iter().find(|kept| kept.starts_with("__Host-reeve=")).unwrap();
    assert!(kept.contains("; Secure") && !kept.contains("Domain"), "{kept}");
    assert_eq!(page.header("strict-transport-security").len(), 1);
    let asked = |name: &str| format!("{name}={token}");
    let seen = ask(house.console(), "GET", "/", &[("Cookie", &asked("__Host-reeve"))], "").await;
    assert_eq!(seen.status, 200);
    // One that another host of the same domain could have set.
    assert_eq!(ask(house.console(), "GET", "/", &[("Cookie", &asked("reeve"))], "").await.status, 303);
    house.controller.stop().await;
}

#[tokio::test]
async fn an_act_comes_from_a_page_of_the_same_session_or_is_not_done() {
    let house = House::open(URL).await;
    import(&house.admin, vec![alice()], true).await;
    let mut node = house.node().await;
    node.suspend(&house.admin, "alice").await;
    assert_eq!(house.state("alice").await, State::Suspended);
    let eva = house.browser("eva", WireRole::Operator).await;
    let bob = house.browser("bob", WireRole::Operator).await;
    let vera = house.browser("vera", WireRole::Viewer).await;
    let (path, fields) = ("/tenants/alice/release", [("reason", "mended")]);

    // From nowhere, from somebody else's page, from another site.
    for (mark, head) in [
        ("", vec![]),
        ("AAAA", vec![]),
        (bob.mark.as_str(), vec![]),
        (eva.mark.as_str(), vec![("Origin", "http://evil.example")]),
        (eva.mark.as_str(), vec![("Origin", "null")]),
        (eva.mark.as_str(), vec![("Sec-Fetch-Site", "cross-site")]),
        (eva.mark.as_str(), vec![("Sec-Fetch-Site", "same-site")]),
    ] {
        let refused = eva.post_with(path, &fields, mark, &head).await;
        assert_eq!(refused.status, 403, "{mark} {head:?}: {refused:?}");
        ensure_guarded(&refused);
    }
    assert_eq!(
        ask(house.console(), "POST", path, &[], &encoded(&fields)).await.status,
        303,
        "to the sign-in"
    );
    // So it is with every other act, whether there is what it is about or not.
    for path in [
        "/sign-out",
        "/approvals/x/approve",
        "/approvals/x/reject",
        "/cases/x/note",
        "/cases/x/move",
        "/cases/x/hold",
        "/complaints/new",
        "/complaints/1/settle",
        "/nodes/n1/pause",
        "/nodes/n1/resume",
        "/nodes/n1/brakes",
        "/fleet/pause",
        "/fleet/resume",
        "/outbox/resend",
        "/policies/new",
        "/policies/rollback",
        "/policies/p/1/stage",
        "/policies/p/1/activate",
        "/policies/p/1/delete",
        "/policies/baseline/1/letters",
        "/tenants/alice/paid",
        "/tenants/alice/verify",
        "/tenants/alice/suspend",
        "/tenants/alice/limit",
        "/tenants/alice/exempt",
        "/tenants/alice/forgive",
        "/tenants/alice/revoke",
        "/tenants/bulk",
        "/violations/x/hold",
    ] {
        for (mark, origin) in
            [("", URL), (bob.mark.as_str(), URL), (eva.mark.as_str(), "http://evil.example")]
        {
            let refused = eva.post_with(path, &fields, mark, &[("Origin", origin)]).await;
            assert_eq!(refused.status, 403, "{path} {mark} {origin}: {refused:?}");
        }
    }
    // By a link nothing is done at all.
    assert_eq!(eva.get("/tenants/alice/release?reason=x").await.status, 405);
    // A viewer sees no act, and does none.
    let page = vera.get("/tenants/alice").await;
    assert!(page.status == 200 && !page.body.contains("/tenants/alice/release"), "{page:?}");
    assert!(eva.get("/tenants/alice").await.body.contains("/tenants/alice/release"));
    let refused = vera.post(path, &fields).await;
    let told = vera.get("/tenants/alice").await;
    assert!(refused.status == 303 || refused.status == 403, "{refused:?}");
    assert_eq!((told.status, house.state("alice").await), (200, State::Suspended));
    for path in ["/audit", "/audit/export"] {
        assert_eq!(eva.get(path).await.status, 403, "the log is for administrators");
    }

    let done = eva.post(path, &fields).await;
    assert_eq!((done.status, done.header("location")), (303, vec!["/tenants/alice"]), "{done:?}");
    let order = node.order().await;
    node.done(&order).await;
    house.controller.stop().await;
}

#[tokio::test]
async fn what_is_too_large_or_leads_elsewhere_is_refused() {
    let house = House::open(URL).await;
    let eva = house.browser("eva", WireRole::Operator).await;
    let large = "x".repeat(3 << 20);
    let refused = eva.post("/tenants/alice/release", &[("reason", &large)]).await;
    assert!((400..500).contains(&refused.status), "{}", refused.head);
    for path in [
        "/assets/../Cargo.toml",
        "/assets/%2e%2e/Cargo.toml",
        "/assets/..%2fserver.key",
        "/tenants/..%2f..%2faudit",
        "/nodes/%00",
    ] {
        let answer = eva.get(path).await;
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        ensure_guarded(&answer);
    }
    let page = ask(house.console(), "GET", "/sign-in?next=//evil.example/", &[], "").await;
    assert!(!page.body.contains("evil.example"), "{page:?}");
    for next in ["//evil.example/", "https://evil.example/", "/\\evil.example"] {
        let fields = [("language", "nl"), ("back", next)];
        let answer = eva.post("/language", &fields).await;
        assert_eq!(answer.header("location"), ["/"], "{next}");
    }
    // A name cannot put a header or a line into an answer.
    let split = eva.get("/tenants?q=a%0d%0aSet-Cookie:%20x=y").await;
    assert!(split.header("set-cookie").iter().all(|cookie| !cookie.starts_with("x=")), "{split:?}");
    house.controller.stop().await;
}

/// What would become an element, an attribute, or a script if it were not text.
const HOSTILE: &str = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}&lt;b&gt;";

#[tokio::test]
async fn what_strangers_write_stays_text_on_every_page() {
    let house = House::open(URL).await;
    let tenant = reeve_proto::types::v1::Tenant { name: HOSTILE.into(), ..alice() };
    import(&house.admin, vec![tenant], true).await;
    let mut node = house.node().await;
    let (violation, decision) = hostile();
    let measure = Measure { decision: decision.clone(), expires: None };
    let event = NodeEvent { at: clock::now(), kind: NodeEventKind::ALL[0], detail: HOSTILE.into() };
    let reports = [
        Report::Violation(violation.clone()),
        Report::Decision(decision),
        Report::Standing { measure, at: clock::now() },
        Report::Event(event),
    ];
    for (number, report) in (1..).zip(reports) {
        node.report(number, report).await;
        node.acknowledged(number).await;
    }
    // A suspension's reason, a pause's, a note, and complaints in two formats.
    let mut operator = OperatorServiceClient::new(house.admin.clone());
    let suspend = SuspendRequest { tenant: "alice".into(), reason: HOSTILE.into(), ..Default::default() };
    let refused = operator.suspend(suspend).await;
    let order = if refused.is_ok() { Some(node.order().await) } else { None };
    if let Some(order) = order {
        node.done(&order).await;
    }
    let target = Some(PauseTarget { target: Some(pause_target::Target::Node("n1".into())) });
    _ = operator.pause(PauseRequest { target, reason: HOSTILE.into(), ..Default::default() }).await;
    let mut cases = CaseServiceClient::new(house.admin.clone());
    let all = cases.list_cases(ListCasesRequest::default()).await.unwrap().into_inner().cases;
    let case = all.first().unwrap().id.clone();
    let note = AddCaseNoteRequest { id: case.clone(), text: HOSTILE.into(), idempotency_key: String::new() };
    cases.add_case_note(note).await.unwrap();
    let letter = format!(
        "From: {HOSTILE} <a@example.net>\r\nTo: abuse@example.org\r\nSubject: {HOSTILE}\r\nMessage-ID: <1@example.net>\r\n\
         Content-Type: text/html; charset=utf-8\r\n\r\n<p>A port scan came from 203.0.113.5. {HOSTILE}</p>"
    );
    let json = serde_json::json!({
        "xarf_version": "4.0.0", "report_id": "b9ae0d6c-6a0f-4f6a-9c2b-0d3f4d9b1a11", "timestamp": "2026-11-20T10:00:00Z",
        "reporter": { "org": HOSTILE, "contact": "a@example.net", "domain": "example.net" },
        "sender": { "org": HOSTILE, "contact": "a@example.net", "domain": "example.net" },
        "source_identifier": "203.0.113.5", "category": "connection", "type": "port_scan", "description": HOSTILE,
        "evidence": [{ "content_type": HOSTILE, "payload": "aGk=", "description": HOSTILE }], "tags": [HOSTILE],
    });
    let mut complaints = ComplaintServiceClient::new(house.admin.clone());
    let mut numbers = Vec::new();
    for message in [letter, json.to_string(), HOSTILE.to_owned()] {
        let request = SubmitComplaintsRequest { message: message.into_bytes(), format: 0 };
        let taken = complaints.submit_complaints(request).await.unwrap().into_inner().complaints;
        numbers.extend(taken.iter().map(|one| one.number));
    }
    assert_eq!(numbers.len(), 3);

    let admin = house.browser("eva", WireRole::Admin).await;
    let mut paths: Vec<String> = [
        "/",
        "/now/board",
        "/tenants",
        "/tenants/alice",
        "/tenants/alice/suspend",
        "/tenants/alice/limit",
        "/tenants/alice/exempt",
        "/violations?state=all",
        "/cases?state=all",
        "/complaints",
        "/nodes",
        "/nodes/n1",
        "/policies",
        "/policies/baseline/1/letters",
        "/outbox",
        "/approvals?all=1",
        "/audit",
        "/tenants/bulk?act=release&tenant=alice",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.push(format!("/violations/{}", violation.id));
    paths.push(format!("/cases/{case}?all=1"));
    paths.extend(numbers.iter().map(|number| format!("/complaints/{number}")));
    // And what stands in the address.
    let typed: String = HOSTILE.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for list in [
        "/tenants?q=x",
        "/violations?tenant=",
        "/cases?clause=",
        "/complaints?kind=",
        "/audit?who=",
        "/outbox?target=",
        "/policies/baseline/1/letters?clause=",
        "/policies/baseline/1/letters?language=",
        "/sign-in?next=/",
    ] {
        paths.push(format!("{list}{typed}"));
    }
    let mut shown = 0;
    for path in &paths {
        let page = admin.get(path).await;
        assert!(page.status == 200 || page.status == 400, "{path}: {page:?}");
        ensure_guarded(&page);
        for live in ["<img", "<script>", "onerror=alert(1)>", "<b>"] {
            assert!(!page.body.contains(live), "{path}: {live} in {}", page.body);
        }
        shown += usize::from(page.body.contains("&#60;img") || page.body.contains("&lt;img"));
    }
    assert!(shown >= 12, "what strangers wrote is on {shown} pages");
    // In a file's name it ends no header.
    let capture = admin.get(&format!("/violations/{}/evidence.pcapng", violation.id)).await;
    assert!(capture.header("content-disposition").iter().all(|name| !name.contains('<')), "{}", capture.head);
    house.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outbox_leads_to_the_complaint_that_is_acknowledged() {
    let mut house = House::open(URL).await;
    let mut admin = house.browser("ada", WireRole::Admin).await;
    let request = SubmitComplaintsRequest {
        message: b"From: ann@reader.example\n\nA portscan came from 192.0.2.9.\n".to_vec(),
        ..Default::default()
    };
    let taken = ComplaintServiceClient::new(house.admin.clone()).submit_complaints(request).await.unwrap();
    let number = taken.into_inner().complaints[0].number;
    house.controller.stop().await;
    common::execute(
        house.dir.path(),
        "INSERT INTO deliveries (complaint, language, channel, target, state, made, due, attempts, detail) \
         SELECT number, 'en', 'mail', 'ann@reader.example', 'dead', received, received, 1, '550 <b>no</b>' FROM complaints",
    )
    .await;
    house.controller = Running::start(house.dir.path()).await;
    admin.console = house.console();
    let page = admin.get("/outbox").await;
    ensure_guarded(&page);
    assert!(page.body.contains(&format!("href=\"/complaints/{number}\"")), "{}", page.body);
    assert!(page.body.contains("ann@reader.example") && page.body.contains("&#60;b&#62;no"), "{}", page.body);
    assert!(!page.body.contains("href=\"/tenants/\""), "it is no tenant's: {}", page.body);
    house.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_shown_before_anybody_gets_them_and_texts_of_ones_own_with_their_mistakes() {
    let house = House::open(URL).await;
    let viewer = house.browser("eva", WireRole::Viewer).await;
    let here = "/policies/oxygis/2/letters";
    let count = |page: &Answer| page.body.matches("data-letter").count();
    let page = viewer.get(&format!("{here}?language=da&clause=oxygis/api")).await;
    ensure_guarded(&page);
    assert!(count(&page) > 0 && page.body.contains("Example Customer"), "{}", page.body);
    let all = viewer.get(here).await;
    assert!(count(&all) > count(&page), "{}", all.body);
    assert_eq!(count(&viewer.get(&format!("{here}?clause=oxygis/none")).await), 0);
    // What is compiled in is where one begins.
    let begun = viewer.get(&format!("{here}?language=en&begin=1")).await;
    assert!(begun.body.contains("[subject]"), "{}", begun.body);
    // One's own are tried, and nothing is markup in them.
    let texts = "language = \"en\"\r\n[subject]\r\nwarning = \"{tenant}, <b>mend</b> it\"\r\ninformation = \"<i>Look</i>\"\r\n";
    let tried = viewer.post(here, &[("language", "en"), ("texts", texts)]).await;
    assert_eq!(tried.status, 200, "{tried:?}");
    assert!(tried.body.contains("Example Customer, &#60;b&#62;mend"), "{}", tried.body);
    assert!(!tried.body.contains("<b>mend") && !tried.body.contains("<i>Look"), "{}", tried.body);
    let wrong =
        viewer.post(here, &[("texts", "language = \"en\"\n[subject]\nwarning = \"{tennant}\"\n")]).await;
    assert!(wrong.body.contains("texts:3:") && wrong.body.contains("{tennant}"), "{}", wrong.body);
    // They are kept nowhere.
    let after = viewer.get(&format!("{here}?language=en")).await;
    assert!(!after.body.contains("mend&#60;") && !after.body.contains("<b>mend"), "{}", after.body);
    house.controller.stop().await;
}

/// A violation and a decision whose every text is hostile.
fn hostile() -> (Violation, Decision) {
    let (node, tenant): (NodeId, TenantId) = ("n1".parse().unwrap(), "alice".parse().unwrap());
    let (rule, at) = ("portscan".parse().unwrap(), clock::now());
    let id = ViolationId::new(&node, &tenant, &rule, at);
    let metric = |name: String| Metric { name: name.into(), value: 25.0, threshold: Some(20.0) };
    let violation = Violation {
        id: id.clone(),
        node,
        rule: rule.clone(),
        clause: "p/portscan".into(),
        opened: at,
        last_seen: at,
        closed: None,
        state: ViolationState::Open,
        strike: 1,
        alerts: 1,
        evidence: Alert {
            class: Class::ApiBurst,
            tenant: tenant.clone(),
            at,
            window: Window { start: at, end: at },
            metrics: vec![metric(HOSTILE.into()), metric(format!("{}{HOSTILE}", Alert::CALLS_AT))],
            confidence_percent: 90,
            targets: Vec::new(),
            samples: Vec::new(),
            loss: Loss::default(),
            is_suspicion: false,
        },
        tenant: tenant.clone(),
    };
    let decision = Decision {
        id: DecisionId(format!("{id}.1").parse().unwrap()),
        tenant,
        violation: Some(id),
        clause: "p/portscan".into(),
        origin: Origin::Policy { policy: "p".parse().unwrap(), version: 1, rule, step: 1 },
        action: Action::Block,
        scope: Scope::All,
        rate: None,
        connections: None,
        until: Until::Released,
        at,
        mode: Mode::Enforce,
        reason: HOSTILE.into(),
        softened: Some(HOSTILE.into()),
        reckoning: None,
    };
    (violation, decision)
}

#[tokio::test]
async fn who_says_nothing_is_hung_up_on_and_who_waits_for_news_is_not() {
    use tokio::io::AsyncReadExt as _;
    let house = House::open(URL).await;
    let eva = house.browser("eva", WireRole::Operator).await;
    let mut silent = tokio::net::TcpStream::connect(house.console()).await.unwrap();
    // The first bytes of a browser of HTTP/2, which are not all.
    let mut halting = tokio::net::TcpStream::connect(house.console()).await.unwrap();
    halting.write_all(b"PRI * HTTP").await.unwrap();
    let mut feed = tokio::net::TcpStream::connect(house.console()).await.unwrap();
    let ask = format!("GET /live HTTP/1.1\r\nHost: console.test\r\nCookie: {}\r\n\r\n", eva.cookie);
    feed.write_all(ask.as_bytes()).await.unwrap();
    let begun = std::time::Instant::now();
    let mut bytes = Vec::new();
    for stream in [&mut silent, &mut halting] {
        let end = tokio::time::timeout(std::time::Duration::from_secs(60), stream.read_to_end(&mut bytes));
        _ = end.await.expect("it is hung up on");
    }
    let waited = begun.elapsed();
    let mut some = [0; 64];
    assert!(feed.read(&mut some).await.unwrap() > 0, "the head of the feed");
    assert!(some.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&some));
    // It goes on for as long as those were waited for, and longer.
    tokio::time::sleep(waited.min(std::time::Duration::from_secs(15))).await;
    let mut rest = vec![0; 1 << 16];
    let more = tokio::time::timeout(std::time::Duration::from_millis(200), async {
        while feed.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    });
    assert!(more.await.is_err(), "the feed goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_signed_in_sees_and_ends_their_sessions_and_turns_keys_off() {
    let house = House::open(URL).await;
    let (eva, chief) =
        (house.browser("eva", WireRole::Operator).await, house.browser("chief", WireRole::Admin).await);
    // Administrators see everybody's elsewhere; here one's own alone are shown.
    let own = chief.get("/account").await;
    assert_eq!((own.status, own.body.matches("/end\"").count()), (200, 1), "{own:?}");
    let own = eva.get("/account").await;
    let session = own.body.split("/account/sessions/").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let end = format!("/account/sessions/{session}/end");
    let mut stolen = Browser { mark: "x".into(), ..eva };
    assert_eq!(stolen.post(&end, &[]).await.status, 403, "no page of this session sent that");
    stolen.mark = own.mark();
    let eva = stolen;

    let off = eva.post("/account/keys", &[("off", "1")]).await;
    assert_eq!(off.cookie("reeve-keys").as_deref(), Some("off"));
    let head = [("Cookie", format!("{}; reeve-keys=off", eva.cookie))];
    let head: Vec<(&str, &str)> = head.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let page = ask(house.console(), "GET", "/account", &head, "").await;
    assert!(page.body.contains("<body data-keys=\"off\">"), "{page:?}");
    let on = eva.post("/account/keys", &[]).await;
    assert_eq!(on.cookie("reeve-keys").as_deref(), Some(""));

    // What came to nothing keeps the way to the other pages, for those alone who are signed in.
    let lost = eva.get("/violations/nothing").await;
    assert!(lost.status == 404 && lost.body.contains("class=\"places\""), "{lost:?}");
    ensure_guarded(&lost);
    let stranger = ask(house.console(), "GET", "/nothing", &[], "").await;
    assert!(stranger.status == 404 && !stranger.body.contains("class=\"places\""), "{stranger:?}");

    let ended = eva.post(&end, &[]).await;
    assert_eq!(ended.status, 303, "{ended:?}");
    assert_eq!(eva.get("/account").await.header("location"), ["/sign-in?next=%2Faccount"]);
    assert_eq!(chief.get("/account").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_seals_a_case_and_writes_it_out() {
    let house = House::open(URL).await;
    let mut agent = house.node().await;
    let (violation, _) = hostile();
    agent.report(1, Report::Violation(violation.clone())).await;
    agent.acknowledged(1).await;
    let (eva, chief) =
        (house.browser("eva", WireRole::Operator).await, house.browser("chief", WireRole::Admin).await);
    let list = eva.get("/cases").await;
    let case = list.body.split("href=\"/cases/").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let (page, seal, file) =
        (format!("/cases/{case}"), format!("/cases/{case}/seal"), format!("/cases/{case}/case.tar"));
    let shown = eva.get(&page).await;
    assert!(shown.status == 200 && !shown.body.contains("/seal\"") && !shown.body.contains("case.tar"));
    eva.post(&seal, &[("reason", "no")]).await;
    assert_eq!(eva.get(&page).await.status, 200, "it is as it was");
    assert_eq!(eva.get(&file).await.status, 403);

    let shown = chief.get(&page).await;
    assert!(shown.body.contains("/seal\"") && shown.body.contains("case.tar"), "{shown:?}");
    let done = chief.post(&seal, &[("reason", "<b>order 7</b>")]).await;
    assert_eq!(done.status, 303, "{done:?}");
    let shown = chief.get(&page).await;
    assert!(
        shown.body.contains("&#60;b&#62;order 7") || shown.body.contains("&lt;b&gt;order 7"),
        "{shown:?}"
    );
    assert_eq!(eva.get(&page).await.status, 404);
    let violation = format!("/violations/{}", violation.id);
    assert_eq!((eva.get(&violation).await.status, chief.get(&violation).await.status), (404, 200));
    for path in ["/", "/cases?state=all", "/violations", "/outbox"] {
        let shown = eva.get(path).await;
        assert!(shown.status == 200 && !shown.body.contains(&case), "{path}: {shown:?}");
    }
    let tar = chief.get(&file).await;
    assert_eq!((tar.status, tar.header("content-type")), (200, vec!["application/x-tar"]));
    assert!(tar.body.contains("case.json") && tar.body.contains("manifest.sig"));

    let done = chief.post(&seal, &[("reason", "over"), ("end", "1")]).await;
    assert_eq!(done.status, 303, "{done:?}");
    assert_eq!(eva.get(&page).await.status, 200);
}

#[tokio::test]
async fn a_second_person_approves_what_one_asked_for() {
    let house = {
        let dir = tempfile::tempdir().unwrap();
        let people = vec![(Role::Admin, "root".parse().unwrap())];
        pki::init(dir.path(), &Wanted { people, nodes: vec!["n1".parse().unwrap()], ..Wanted::default() })
            .unwrap();
        let settings =
            format!("[console]\nlisten = \"127.0.0.1:0\"\nurl = \"{URL}\"\n[approval]\ntenants = 1\n");
        common::set(dir.path(), &settings);
        let controller = Running::start(dir.path()).await;
        let admin = controller.secure(dir.path(), &dir.path().join("operators"), "root").await;
        House { dir, controller, admin }
    };
    let bob = |id: &str, net: &str| reeve_proto::types::v1::Tenant {
        id: id.into(),
        addresses: vec![net.into()],
        ..Default::default()
    };
    import(&house.admin, vec![bob("a", "192.0.2.1/32"), bob("b", "192.0.2.2/32")], true).await;
    let eva = house.browser("eva", WireRole::Operator).await;
    let other = house.browser("otto", WireRole::Operator).await;
    let page = eva.get("/tenants/bulk?act=suspend&tenant=a&tenant=b").await;
    assert_eq!(page.status, 200, "{page:?}");
    let fields = [
        ("act", "suspend"),
        ("tenants", "a\r\nb"),
        ("reason", "a flood"),
        ("clause", ""),
        ("sure", "yes"),
        ("key", "k1"),
    ];
    let waits = eva.post("/tenants/bulk", &fields).await;
    assert!(waits.status == 303 || waits.status == 200, "{waits:?}");
    assert_eq!(house.state("a").await, State::Clear, "nobody else has said yes");
    let list = other.get("/approvals").await;
    let id = list.body.split("href=\"/approvals/").nth(1).unwrap_or_else(|| panic!("{list:?}"));
    let id = id.split('"').next().unwrap().to_owned();
    // Who asked cannot say yes, whatever they send.
    let own = eva.get(&format!("/approvals/{id}")).await;
    assert!(own.status == 200 && !own.body.contains(&format!("/approvals/{id}/approve")), "{own:?}");
    eva.post(&format!("/approvals/{id}/approve"), &[("reason", "")]).await;
    assert!(other.get("/approvals").await.body.contains(&id), "it waits still");
    let done = other.post(&format!("/approvals/{id}/approve"), &[("reason", "seen it")]).await;
    assert_eq!(done.status, 303, "{done:?}");
    let told = other.get(&format!("/approvals/{id}")).await;
    assert!(told.body.contains("otto") && told.body.contains("seen it"), "{told:?}");
    assert!(!other.get("/approvals").await.body.contains(&id));
    house.controller.stop().await;
}
