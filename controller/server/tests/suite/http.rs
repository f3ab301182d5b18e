//! Status over HTTP, asked by curl; every answer is held against docs/openapi.json.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};

use crate::common::{Agent, Running, alice, execute, import};
use reeve_controller::auth::Role;
use reeve_controller::pki::{self, Wanted};
use reeve_proto::operator::v1::access_service_client::AccessServiceClient;
use reeve_proto::operator::v1::audit_service_client::AuditServiceClient;
use reeve_proto::operator::v1::complaint_service_client::ComplaintServiceClient;
use reeve_proto::operator::v1::{
    CreateTokenRequest, GetComplaintRequest, ListAuditRequest, RevokeRequest, RevokeTokenRequest,
    Role as WireRole, revoke_request,
};
use reeve_proto::status::v1::get_status_request::Subject;
use reeve_proto::status::v1::status_service_client::StatusServiceClient;
use reeve_proto::status::v1::{BatchGetStatusRequest, GetStatusRequest};
use serde_json::{Value, json};
use tonic::transport::Channel;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../../docs/openapi.json")).unwrap());

/// What curl is to show.
#[derive(Clone, Copy, Debug)]
enum As {
    Operator,
    Node,
    /// A program with a token of the role `status`.
    Portal,
    Nobody,
}

/// A controller with certificates, and curl before it.
struct House {
    dir: tempfile::TempDir,
    controller: Running,
    operator: Channel,
    agent: Agent,
    token: String,
    /// The answers that were seen: `get /v1/... 200`.
    seen: Mutex<BTreeSet<String>>,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next_back()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl House {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let wanted = Wanted {
            nodes: vec!["n1".parse().unwrap()],
            people: vec![(Role::Operator, "oncall".parse().unwrap()), (Role::Admin, "root".parse().unwrap())],
            ..Wanted::default()
        };
        pki::init(dir.path(), &wanted).unwrap();
        let controller = Running::start(dir.path()).await;
        let operator = controller.secure(dir.path(), &dir.path().join("operators"), "oncall").await;
        let node = controller.secure(dir.path(), &dir.path().join("nodes"), "n1").await;
        import(&operator, vec![alice()], true).await;
        let (agent, _) = Agent::greet(node, "n1", 1).await.unwrap();
        let admin = controller.secure(dir.path(), &dir.path().join("operators"), "root").await;
        let request =
            CreateTokenRequest { name: "portal".into(), role: WireRole::Status.into(), ..Default::default() };
        let mut access = AccessServiceClient::new(admin);
        let token = access.create_token(request).await.unwrap().into_inner().token;
        Self { dir, controller, operator, agent, token, seen: Mutex::default() }
    }

    fn curl(&self, who: As, path: &str, more: &[&str]) -> Command {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--cacert", &file("ca.crt")]);
        match who {
            As::Operator => {
                curl.args(["--cert", &file("operators/oncall.crt"), "--key", &file("operators/oncall.key")])
            }
            As::Node => curl.args(["--cert", &file("nodes/n1.crt"), "--key", &file("nodes/n1.key")]),
            As::Portal => curl.arg("--header").arg(format!("Authorization: Bearer {}", self.token)),
            As::Nobody => &mut curl,
        };
        curl.args(more).arg(format!("https://localhost:{}{path}", self.controller.http.port()));
        curl
    }

    /// Asks, and holds the answer against the document if the path is in it.
    fn ask_as(&self, who: As, path: &str, more: &[&str]) -> Answer {
        let head = self.dir.path().join("head");
        let mut curl = self.curl(who, path, more);
        let out = curl.arg("--dump-header").arg(&head).output().expect("curl is installed");
        assert!(out.status.success(), "{path}: {}", String::from_utf8_lossy(&out.stderr));
        let head = std::fs::read_to_string(head).unwrap();
        // After an interim answer (100) the last one counts.
        let head = head.trim_end().rsplit("\r\n\r\n").next().unwrap().to_owned();
        let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
        let answer = Answer { status, head, body: String::from_utf8(out.stdout).unwrap() };
        let method = more.iter().position(|arg| *arg == "--request").map_or("GET", |at| more[at + 1]);
        let method = if more.contains(&"--head") { "HEAD" } else { method };
        let method = if more.contains(&"--data-binary") { "POST" } else { method };
        self.hold_against_document(method, path, &answer);
        answer
    }

    fn ask(&self, path: &str, more: &[&str]) -> Answer {
        self.ask_as(As::Operator, path, more)
    }

    fn post(&self, body: &str) -> Answer {
        let file = self.dir.path().join("request.json");
        std::fs::write(&file, body).unwrap();
        let data = format!("@{}", file.display());
        self.ask(
            "/v1/status:batchGet",
            &["--data-binary", &data, "--header", "Content-Type: application/json"],
        )
    }

    fn hand_in_as(&self, who: As, media: &str, body: &[u8]) -> Answer {
        let file = self.dir.path().join("complaint");
        std::fs::write(&file, body).unwrap();
        let (data, media) = (format!("@{}", file.display()), format!("Content-Type: {media}"));
        self.ask_as(who, "/v1/complaints", &["--data-binary", &data, "--header", &media])
    }

    fn hand_in(&self, media: &str, body: &[u8]) -> Answer {
        self.hand_in_as(As::Operator, media, body)
    }

    fn hold_against_document(&self, method: &str, path: &str, answer: &Answer) {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        if answer.status >= 400 {
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
            if method != "HEAD" {
                let problem = answer.json();
                check(&schema("Problem"), &problem);
                assert_eq!(problem["status"], answer.status);
            }
        }
        let Some((template, operations)) = operations(path) else {
            assert_eq!(answer.status, 404, "{path} is not described, and answered");
            return;
        };
        let own = operations.as_object().unwrap().keys().next().unwrap();
        let method = method.to_ascii_lowercase();
        let asked = if method == "head" { "get" } else { method.as_str() };
        if asked != own {
            assert_eq!(answer.status, 405, "{method} {template} is not described, and answered");
        }
        let responses = &operations[own]["responses"];
        let described = resolved(&responses[answer.status.to_string()]);
        assert!(described.is_object(), "{method} {template}: {} is not described", answer.status);
        self.seen.lock().unwrap().insert(format!("{own} {template} {}", answer.status));
        for (name, _) in described["headers"].as_object().into_iter().flatten() {
            assert!(answer.header(name).is_some(), "{method} {template} {}: no {name}", answer.status);
        }
        match described["content"].as_object().and_then(|content| content.iter().next()) {
            None => assert_eq!(answer.body, "", "{method} {template} {}", answer.status),
            Some((media, content)) => {
                assert_eq!(answer.header("content-type"), Some(media.as_str()));
                if method != "head" && media.ends_with("json") {
                    check(&content["schema"], &answer.json());
                }
            }
        }
    }
}

fn operations(path: &str) -> Option<(&'static String, &'static Value)> {
    let path = path.split('?').next().unwrap();
    DOCUMENT["paths"].as_object().unwrap().iter().find(|(template, _)| {
        let (template, path) = (template.split('/'), path.split('/'));
        template.clone().count() == path.clone().count()
            && template.zip(path).all(|(one, other)| one.starts_with('{') || one == other)
    })
}

/// What a reference leads to, or the value itself.
fn resolved(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).expect(reference),
        None => value,
    }
}

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// Nothing may be in an answer that is not described, though the document allows readers no such surmise.
fn strict(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(strict);
            if members.contains_key("properties") {
                members.insert("additionalProperties".into(), false.into());
            }
        }
        Value::Array(all) => all.iter_mut().for_each(strict),
        _ => {}
    }
}

fn check(schema: &Value, value: &Value) {
    let mut whole = schema.clone();
    whole["components"] = DOCUMENT["components"].clone();
    strict(&mut whole["components"]["schemas"]);
    let validator = jsonschema::draft202012::new(&whole).unwrap();
    let wrong: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{value:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_curl_is_told_is_what_the_document_says() {
    let mut house = House::new().await;
    let keys = [
        "/v1/status/tenants/alice",
        "/v1/status/addresses/203.0.113.7",
        "/v1/status/addresses/2001:db8::7",
        "/v1/status/addresses/::ffff:203.0.113.7",
        "/v1/status/interfaces/n1/tap0",
    ];
    for path in keys {
        let answer = house.ask(path, &[]).json();
        assert_eq!(
            (&answer["tenant"], &answer["state"], &answer["nodes"]),
            (&json!("alice"), &json!("clear"), &json!([]))
        );
    }

    // An answer is asked for again by its tag, over both versions of HTTP, until it is another.
    let path = keys[0];
    let tag = house.ask(path, &["--http1.1"]).header("etag").unwrap().to_owned();
    let known = format!("If-None-Match: \"other\", {tag}");
    for version in ["--http1.1", "--http2"] {
        let answer = house.ask(path, &[version, "--header", &known]);
        assert_eq!((answer.status, answer.header("etag")), (304, Some(tag.as_str())));
        assert!(
            answer.head.starts_with(if version == "--http2" { "HTTP/2" } else { "HTTP/1.1" }),
            "{}",
            answer.head
        );
    }
    let operator = house.operator.clone();
    house.agent.suspend(&operator, "alice").await;
    let answer = house.ask(path, &["--header", &known]);
    assert_eq!(answer.status, 200);
    let told = answer.json();
    assert_eq!(
        (&told["state"], &told["ends_by"], &told["scope"]),
        (&json!("suspended"), &json!("released"), &json!("all"))
    );
    assert_eq!((&told["reason"], &told["nodes"]), (&json!("30 hosts on port 22"), &json!(["n1"])));
    assert_eq!(
        (told["holds"].as_array().unwrap().len(), &told["holds"][0]["ordered_by"]),
        (1, &json!("oncall"))
    );
    let head = house.ask(path, &["--head"]);
    assert_eq!((head.status, head.header("etag")), (200, answer.header("etag")));
    for key in &keys[1..] {
        house.ask(
            key,
            &["--header", &format!("If-None-Match: {}", house.ask(key, &[]).header("etag").unwrap())],
        );
    }

    // A program is told what may be told to the customer, and no more.
    let portal = house.ask_as(As::Portal, path, &[]).json();
    assert_eq!((&portal["state"], &portal["holds"][0]["action"]), (&json!("suspended"), &json!("suspend")));
    for secret in ["\"n1\"", "oncall", "\"nodes\"", "\"reason\"", "\"ordered_by\""] {
        assert!(told.to_string().contains(secret), "{secret}: {told}");
        assert!(!portal.to_string().contains(secret), "{secret}: {portal}");
    }
    assert_ne!(house.ask_as(As::Portal, path, &[]).header("etag"), answer.header("etag"));

    // What is not there, and what cannot be.
    let status = |path: &str, more: &[&str]| house.ask(path, more).status;
    for path in [
        "/v1/status/tenants/bob",
        "/v1/status/addresses/192.0.2.1",
        "/v1/status/interfaces/n1/tap9",
        "/",
        "/v1/status/tenants/%ff",
    ] {
        assert_eq!(status(path, &[]), 404, "{path}");
    }
    for path in [
        "/v1/status/tenants/a%20b",
        "/v1/status/addresses/here",
        "/v1/status/interfaces/n1/a%2Fb",
        "/v1/status:watch?resume=x",
        "/v1/status:watch?tenant=a+b",
    ] {
        assert_eq!(status(path, &[]), 400, "{path}");
    }
    for path in [keys[0], keys[1], keys[4], "/v1/openapi.json", "/v1/status:watch"] {
        assert_eq!(status(path, &["--request", "DELETE"]), 405, "{path}");
    }
    assert_eq!(house.ask("/v1/status:batchGet", &[]).header("allow"), Some("POST"));
    assert_eq!(house.ask(keys[0], &["--request", "PUT"]).header("allow"), Some("GET, HEAD"));

    // The document is there for everybody; the rest is for operators.
    let document = house.ask_as(As::Nobody, "/v1/openapi.json", &[]);
    assert_eq!(document.json(), *DOCUMENT);
    let known = format!("If-None-Match: {}", document.header("etag").unwrap());
    assert_eq!(house.ask_as(As::Nobody, "/v1/openapi.json", &["--header", &known]).status, 304);
    let post = ["--data-binary", "{}", "--header", "Content-Type: application/json"];
    for (path, more) in [keys[0], keys[1], keys[4], "/v1/status:watch"]
        .map(|path| (path, &[][..]))
        .into_iter()
        .chain([("/v1/status:batchGet", &post[..])])
    {
        assert_eq!(house.ask_as(As::Nobody, path, more).status, 401, "{path}");
        assert_eq!(house.ask_as(As::Node, path, more).status, 403, "{path}");
    }

    complaints_are_taken(&house).await;

    // Many at once.
    let batch = json!({ "subjects": [{ "tenant": "alice" }, { "address": "192.0.2.1" }, { "interface": "n1" }, { "interface": "n1/tap0" }] });
    let answers = house.post(&batch.to_string()).json();
    let told: Vec<_> = answers["answers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["status"]["state"], &one["problem"]["status"]))
        .collect();
    let null = Value::Null;
    assert_eq!(
        told,
        [
            (&json!("suspended"), &null),
            (&null, &json!(404)),
            (&null, &json!(400)),
            (&json!("suspended"), &null)
        ]
    );
    let many = |count: usize| json!({ "subjects": vec![json!({ "tenant": "alice" }); count] }).to_string();
    assert_eq!(house.post(&many(1_000)).json()["answers"].as_array().unwrap().len(), 1_000);
    let refused = house.post(&many(1_001));
    assert_eq!(
        (refused.status, &refused.json()["detail"]),
        (400, &json!("subjects: 1001; 1 to 1000 are allowed"))
    );
    for bad in [
        "",
        "{",
        "[]",
        "{\"subjects\":[]}",
        "{\"subjects\":[{}]}",
        "{\"subjects\":[{\"tenant\":\"a\",\"address\":\"b\"}]}",
        "{\"subjects\":[],\"x\":1}",
    ] {
        assert_eq!(house.post(bad).status, 400, "{bad}");
    }
    assert_eq!(house.post(&" ".repeat(300 << 10)).status, 413);
    let plain = ["--data-binary", "{}", "--header", "Content-Type: text/plain"];
    assert_eq!(house.ask("/v1/status:batchGet", &plain).status, 415);
    assert_eq!(
        house.ask("/v1/status:batchGet", &["--data-binary", "{}", "--header", "Content-Type:"]).status,
        415
    );

    // Who asks too much waits, whichever way the other questions came; the questions of a batch count each.
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let mut client = StatusServiceClient::new(house.operator.clone());
            tokio::spawn(async move {
                loop {
                    let subject = Some(Subject::Tenant("alice".into()));
                    let subjects = vec![GetStatusRequest { subject }; 1_000];
                    let _ = client.batch_get_status(BatchGetStatusRequest { subjects }).await;
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            })
        })
        .collect();
    let refused = (0..200).map(|_| house.post(&many(1_000))).find(|answer| answer.status == 429);
    assert_eq!(refused.expect("a bound").header("retry-after"), Some("1"));
    asking.iter().for_each(tokio::task::JoinHandle::abort);
    // And calls, whatever they ask for, as fast as they are answered.
    let asking: Vec<_> = (0..32)
        .map(|_| {
            let mut client = StatusServiceClient::new(house.operator.clone());
            tokio::spawn(async move {
                loop {
                    let subject = Some(Subject::Tenant("alice".into()));
                    let _ = client.get_status(GetStatusRequest { subject }).await;
                }
            })
        })
        .collect();
    let refused =
        (0..400).map(|_| house.hand_in("text/plain", b"nothing")).find(|answer| answer.status == 429);
    assert_eq!(refused.expect("a bound").header("retry-after"), Some("1"));
    asking.iter().for_each(tokio::task::JoinHandle::abort);

    // As many complaints wait as may. What is somebody's is taken all the same.
    house.controller.stop().await;
    execute(
        house.dir.path(),
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) \
         INSERT INTO complaints (mark, state, received, updated, times, via, format, kind, source, reporter, detail, body) \
         SELECT 'm' || i, 'unreadable', 1, 1, 1, '', '', '', '', '', '', '' FROM n",
    )
    .await;
    house.controller = Running::start(house.dir.path()).await;
    let full = house.hand_in("message/rfc822", b"nothing");
    assert_eq!((full.status, &full.json()["reason"]), (409, &json!("PRECONDITION_FAILED")));
    let told = house.hand_in("text/plain", b"A portscan came from 203.0.113.7, among others.");
    assert_eq!((told.status, &told.json()["complaints"][0]["tenant"]), (200, &json!("alice")));

    // All that is described was seen, but for what takes ten seconds, what has no end, and what takes more questions one by one than curl
    // has processes: the bound is one for all ways, and was seen above.
    let all = DOCUMENT["paths"].as_object().unwrap().iter().flat_map(|(path, operations)| {
        let (method, operation) = operations.as_object().unwrap().iter().next().unwrap();
        let responses = operation["responses"].as_object().unwrap().keys();
        responses.map(move |status| format!("{method} {path} {status}"))
    });
    let seen = house.seen.lock().unwrap().clone();
    let is_busy = |one: &String| one.starts_with("get ") && one.ends_with(" 429");
    let unseen: Vec<String> = all.filter(|one| !seen.contains(one) && !is_busy(one)).collect();
    let left = ["post /v1/complaints 408", "post /v1/status:batchGet 408", "get /v1/status:watch 200"];
    assert_eq!(unseen, left);
    house.controller.stop().await;
}

/// Complaints are taken from whom they are taken over gRPC, in each of three forms, and are on the record.
async fn complaints_are_taken(house: &House) {
    let xarf = |id: u32, source: &str| {
        let contact = r#"{"org":"CERT","contact":"cert@cert.example","domain":"cert.example"}"#;
        format!(
            r#"{{"xarf_version":"4.2.0","report_id":"5eed0000-0000-4000-8000-{id:012}","timestamp":"2026-01-02T03:04:05Z",
            "reporter":{contact},"sender":{contact},"source_identifier":"{source}","category":"connection","type":"port_scan",
            "protocol":"tcp","first_seen":"2026-01-02T03:04:05Z","destination_port":22}}"#
        )
    };
    let json = xarf(1, "203.0.113.7");
    let taken = house.hand_in("application/json", json.as_bytes());
    let told = taken.json()["complaints"][0].clone();
    assert_eq!((taken.status, &told["state"], &told["tenant"]), (200, &json!("filed"), &json!("alice")));
    assert_eq!(
        (&told["times"], &told["reason"], &told["source"]),
        (&json!(1), &Value::Null, &json!("203.0.113.7"))
    );
    assert!(told["case"].is_string() && taken.header("cache-control") == Some("no-store"), "{told}");
    // The same in a mail is the same, and what is nobody's waits.
    let mail = |body: &str| {
        format!(
            "From: robot@cert.example\r\nSubject: a report\r\nMIME-Version: 1.0\r\nContent-Type: application/json; name=xarf.json\r\n\r\n{body}\r\n"
        )
    };
    let copy = house.hand_in("message/rfc822", mail(&json).as_bytes()).json()["complaints"][0].clone();
    assert_eq!((&copy["number"], &copy["times"]), (&told["number"], &json!(2)));
    let both = format!("[{json},{}]", xarf(2, "192.0.2.9"));
    let both = house.hand_in("application/json; charset=utf-8", both.as_bytes());
    let told = both.json()["complaints"].clone();
    assert_eq!((both.status, &told[0]["times"], &told[1]["state"]), (202, &json!(3), &json!("unmatched")));
    assert_eq!(told[1]["reason"], "the address is no tenant's");
    // Words, whatever letters they are written in, and whatever they look like.
    let words = house.hand_in("text/plain", "Fra 203.0.113.7 kom en portscan, så vidt vi så.".as_bytes());
    assert_eq!((words.status, &words.json()["complaints"][0]["kind"]), (200, &json!("scan")));
    let other = b"Le serveur 203.0.113.7 fait un portscan, \xe9tait-ce voulu?";
    let words = house.hand_in("text/plain; charset=iso-8859-1", other);
    let number = words.json()["complaints"][0]["number"].as_u64().unwrap();
    let mut service = ComplaintServiceClient::new(house.operator.clone());
    let kept = service.get_complaint(GetComplaintRequest { number }).await.unwrap().into_inner();
    assert!(kept.report.contains("était-ce"), "{}", kept.report);
    assert_eq!(kept.complaint.unwrap().via, "oncall");
    let header = house.hand_in("text/plain", b"Return-Path: <>\r\n\r\nwhat is this");
    assert_eq!(header.json()["complaints"][0]["state"], "unreadable", "it is words, and no header");
    let broken = house.hand_in("application/json", b"{\"xarf_version\": ");
    assert!(broken.status == 202 && broken.body.contains("it is not JSON"), "{}", broken.body);

    // What is none, too much, or somebody's who may not.
    assert_eq!(house.hand_in("message/rfc822", b"").status, 400);
    assert_eq!(house.hand_in("text/html", b"<p>203.0.113.7").status, 415);
    for (media, most) in
        [("message/rfc822", 1 << 20), ("application/json", 1 << 20), ("text/plain", (1 << 20) - 200)]
    {
        assert_eq!(house.hand_in(media, &vec![b' '; (1 << 20) + 1]).status, 413, "{media}");
        assert_eq!(house.hand_in(media, &vec![b' '; most]).status, 202, "{media}");
    }
    for who in [As::Nobody, As::Node, As::Portal] {
        let status = if matches!(who, As::Nobody) { 401 } else { 403 };
        for body in [&b"a portscan from 203.0.113.7"[..], b"", &vec![b' '; 2 << 20]] {
            assert_eq!(house.hand_in_as(who, "text/plain", body).status, status, "{who:?}");
        }
    }
    for method in ["GET", "PUT", "DELETE"] {
        assert_eq!(house.ask("/v1/complaints", &["--request", method]).header("allow"), Some("POST"));
    }
    // A program's token is as good as a certificate, where it is an operator's.
    let admin = house.controller.secure(house.dir.path(), &house.dir.path().join("operators"), "root").await;
    let request =
        CreateTokenRequest { name: "reporter".into(), role: WireRole::Operator.into(), ..Default::default() };
    let token = AccessServiceClient::new(admin).create_token(request).await.unwrap().into_inner().token;
    let shown = format!("Authorization: Bearer {token}");
    let more = [
        "--data-binary",
        "A portscan from 192.0.2.3.",
        "--header",
        "Content-Type: text/plain",
        "--header",
        &shown,
    ];
    let taken = house.ask_as(As::Nobody, "/v1/complaints", &more);
    assert_eq!((taken.status, &taken.json()["complaints"][0]["state"]), (202, &json!("unmatched")));
    let number = taken.json()["complaints"][0]["number"].as_u64().unwrap();
    let kept = service.get_complaint(GetComplaintRequest { number }).await.unwrap().into_inner();
    assert_eq!(kept.complaint.unwrap().via, "token.reporter");

    // On the record, by its length alone, under the name of who did it.
    let root = house.controller.secure(house.dir.path(), &house.dir.path().join("operators"), "root").await;
    let mut audit = AuditServiceClient::new(root);
    let request = ListAuditRequest { page_size: 1_000, ..Default::default() };
    let entries = audit.list_audit(request).await.unwrap().into_inner().entries;
    let acts: Vec<_> = entries.iter().filter(|entry| entry.act == "SubmitComplaints").collect();
    assert!(
        acts.len() >= 16
            && acts.iter().all(|entry| ["oncall", "token.reporter"].contains(&entry.who.as_str())
                && entry.from == "127.0.0.1"),
        "{acts:?}"
    );
    assert!(acts.iter().any(|entry| entry.asked.contains("\"message\":")), "{acts:?}");
    assert!(!format!("{acts:?}").contains("203.0.113.7"), "{acts:?}");
}

/// An event as it is read from curl: its name, id and data.
#[derive(Debug, PartialEq)]
struct Event(String, Option<String>, Value);

struct Watching(Child, BufReader<std::process::ChildStdout>);

impl Watching {
    fn start(house: &House, path: &str, more: &[&str]) -> Self {
        Self::start_as(house, As::Operator, path, more)
    }

    fn start_as(house: &House, who: As, path: &str, more: &[&str]) -> Self {
        let mut curl = house.curl(who, path, more);
        let mut child = curl.arg("--no-buffer").stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self(child, out)
    }

    fn next(&mut self) -> Event {
        let mut event = Event(String::new(), None, Value::Null);
        loop {
            let mut line = String::new();
            assert!(self.1.read_line(&mut line).unwrap() > 0, "the stream ended");
            match line.trim_end().split_once(": ") {
                Some(("event", name)) => event.0 = name.to_owned(),
                Some(("id", id)) => event.1 = Some(id.to_owned()),
                Some(("data", data)) => event.2 = serde_json::from_str(data).unwrap(),
                Some(("retry", _)) => {}
                None if event.0.is_empty() => {}
                None => return event,
                Some(other) => panic!("{other:?}"),
            }
        }
    }

    /// That the stream is cut, with nothing more on it; curl's exit code.
    fn until_cut(mut self) -> Option<i32> {
        let mut rest = String::new();
        self.1.read_to_string(&mut rest).unwrap();
        assert_eq!(rest.trim(), "");
        self.0.wait().unwrap().code()
    }

    fn expect(&mut self, name: &str) -> Event {
        let event = self.next();
        assert_eq!(event.0, name, "{event:?}");
        event
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_on_where_they_were_cut_off() {
    let mut house = House::new().await;
    let operator = house.operator.clone();
    for version in ["--http1.1", "--http2"] {
        let mut watching = Watching::start(&house, "/v1/status:watch", &[version]);
        assert_eq!(watching.expect("reset").1, None);
        assert!(watching.expect("synced").1.is_some());
        house.agent.suspend(&operator, "alice").await;
        let event = watching.expect("status");
        check(&schema("Status"), &event.2);
        assert_eq!(event.2["state"], "suspended");
        let token = event.1.unwrap();
        drop(watching);
        house.agent.release(&operator, "alice").await;
        // As an EventSource comes back, whatever the address says; and by the address alone.
        let last = format!("Last-Event-ID: {token}");
        for (path, more) in [
            ("/v1/status:watch?resume=0-0".to_owned(), vec!["--header", last.as_str()]),
            (format!("/v1/status:watch?tenant=alice&resume={token}"), vec![]),
        ] {
            let mut watching = Watching::start(&house, &path, &more);
            let event = watching.expect("status");
            assert_eq!((&event.2["state"], event.1.is_some()), (&json!("clear"), true));
            watching.expect("synced");
        }
        let mut narrow = Watching::start(&house, &format!("/v1/status:watch?tenant=bob&resume={token}"), &[]);
        narrow.expect("synced");
    }
    house.controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_is_cut_at_once() {
    let mut house = House::new().await;
    let admin = house.controller.secure(house.dir.path(), &house.dir.path().join("operators"), "root").await;
    let mut access = AccessServiceClient::new(admin);
    let path = "/v1/status:watch";
    let watch = |who: As, version: &'static str| {
        let mut watching = Watching::start_as(&house, who, path, &[version]);
        watching.expect("reset");
        watching.expect("synced");
        watching
    };
    let versions = ["--http1.1", "--http2"];
    let of_portal = versions.map(|version| watch(As::Portal, version));
    let mut of_operator = versions.map(|version| watch(As::Operator, version));
    // 20 s is curl's own patience, of which it tells by another code (28).
    let is_in_time =
        |code: Option<i32>| assert!(code.is_some_and(|code| code != 0 && code != 28), "{code:?}");

    access.revoke_token(RevokeTokenRequest { name: "portal".into() }).await.unwrap();
    of_portal.into_iter().for_each(|watching| is_in_time(watching.until_cut()));
    assert_eq!(house.ask_as(As::Portal, "/v1/status/tenants/alice", &[]).status, 401);

    // The others go on.
    let operator = house.operator.clone();
    house.agent.suspend(&operator, "alice").await;
    for watching in &mut of_operator {
        assert_eq!(watching.expect("status").2["state"], "suspended");
    }
    let request = RevokeRequest {
        subject: Some(revoke_request::Subject::Person("oncall".into())),
        reason: "gone".into(),
    };
    let cut = access.revoke(request).await.unwrap().into_inner().connections_cut;
    assert!(cut >= 2, "{cut}: two over HTTP, beside what there is over gRPC");
    of_operator.into_iter().for_each(|watching| is_in_time(watching.until_cut()));
    assert_eq!(house.ask("/v1/status/tenants/alice", &[]).status, 401);
    house.controller.stop().await;
}

#[test]
fn the_document_is_sound() {
    // Read as what it is by those who read such documents.
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json"))
        .unwrap();
    let spec = oas3::from_json(&text).unwrap();
    assert!(spec.validate_version().unwrap().to_string().starts_with("3.1."));
    let mut ids = BTreeSet::new();
    for (path, _, operation) in spec.operations() {
        assert!(ids.insert(operation.operation_id.clone().unwrap()), "{path}");
        let named: BTreeSet<String> = operation
            .parameters(&spec)
            .unwrap()
            .into_iter()
            .filter(|one| one.location == oas3::spec::ParameterIn::Path)
            .map(|one| one.name)
            .collect();
        let in_path: BTreeSet<String> = path
            .split('/')
            .filter_map(|part| Some(part.strip_prefix('{')?.strip_suffix('}')?.to_owned()))
            .collect();
        assert_eq!(named, in_path, "{path}");
    }
    // Its schemas are JSON Schemas, and every reference leads somewhere.
    for (name, schema) in DOCUMENT["components"]["schemas"].as_object().unwrap() {
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{name}");
    }
    fn references(value: &'static Value) {
        resolved(value);
        match value {
            Value::Object(members) => members.values().for_each(references),
            Value::Array(all) => all.iter().for_each(references),
            _ => {}
        }
    }
    references(&DOCUMENT);
}
