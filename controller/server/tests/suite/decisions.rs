//! What stands, as CrowdSec's bouncers read it: asked by one of theirs, which runs a program for each address, and by curl.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Agent, Running, alice, import};
use reeve_controller::auth::Role;
use reeve_controller::pki::{self, Wanted};
use reeve_proto::operator::v1::access_service_client::AccessServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{CreateTokenRequest, ImposeRequest, Role as WireRole, SuspendRequest};
use reeve_proto::types::v1::{Action as WireAction, Tenant};
use serde_json::{Value, json};
use tonic::transport::Channel;

const PATIENCE: Duration = Duration::from_secs(30);

/// A controller with people, tenants and a node.
struct House {
    asking: Asking,
    operator: Channel,
    agent: Agent,
}

/// A controller, and a bouncer's token.
struct Asking {
    dir: tempfile::TempDir,
    controller: Running,
    token: String,
}

fn initialised() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let wanted = Wanted {
        nodes: vec!["n1".parse().unwrap()],
        people: vec![(Role::Operator, "oncall".parse().unwrap()), (Role::Admin, "root".parse().unwrap())],
        ..Wanted::default()
    };
    pki::init(dir.path(), &wanted).unwrap();
    dir
}

async fn token(admin: &Channel, name: &str) -> String {
    let request =
        CreateTokenRequest { name: name.into(), role: WireRole::Status.into(), ..Default::default() };
    AccessServiceClient::new(admin.clone()).create_token(request).await.unwrap().into_inner().token
}

impl House {
    async fn new() -> Self {
        let dir = initialised();
        let controller = Running::start(dir.path()).await;
        let operator = controller.secure(dir.path(), &dir.path().join("operators"), "oncall").await;
        let node = controller.secure(dir.path(), &dir.path().join("nodes"), "n1").await;
        let (agent, _) = Agent::greet(node, "n1", 1).await.unwrap();
        let bob = Tenant { id: "bob".into(), addresses: vec!["192.0.2.9/32".into()], ..Default::default() };
        import(&operator, vec![alice(), bob], true).await;
        let admin = controller.secure(dir.path(), &dir.path().join("operators"), "root").await;
        let token = token(&admin, "bouncer").await;
        Self { asking: Asking { dir, controller, token }, operator, agent }
    }

    /// An operator's measure, carried out.
    async fn impose(&mut self, request: ImposeRequest) {
        let mut client = OperatorServiceClient::new(self.operator.clone());
        let request = ImposeRequest { reason: "secret words".into(), wait: true, ..request };
        let asked = tokio::spawn(async move { client.impose(request).await.unwrap() });
        let order = self.agent.order().await;
        self.agent.done(&order).await;
        asked.await.unwrap();
    }
}

impl Asking {
    /// What curl is told, with a status of HTTP.
    fn curl(&self, path: &str, more: &[&str]) -> (u16, String) {
        let out = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--max-time",
                "20",
                "--write-out",
                "\n%{http_code}",
                "--cacert",
            ])
            .arg(self.dir.path().join("ca.crt"))
            .args(more)
            .arg(format!("https://localhost:{}{path}", self.controller.http.port()))
            .output()
            .expect("curl is installed");
        let text = String::from_utf8(out.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    fn ask(&self, path: &str) -> Value {
        let key = format!("X-Api-Key: {}", self.token);
        let (status, body) = self.curl(path, &["--header", &key]);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The values and types of what is new, and the values of what is over, that a stream tells.
    fn stream(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let told = self.ask(&format!("/v1/decisions/stream?{query}"));
        let list = |name: &str, with_type: bool| {
            let all = told[name].as_array().cloned().unwrap_or_else(|| {
                assert!(told[name].is_null(), "{told}");
                Vec::new()
            });
            let mut all: Vec<String> = all
                .iter()
                .map(|one| {
                    let kind =
                        if with_type { format!("{} ", one["type"].as_str().unwrap()) } else { String::new() };
                    format!("{kind}{}", one["value"].as_str().unwrap())
                })
                .collect();
            all.sort();
            all
        };
        (list("new", true), list("deleted", false))
    }
}

/// One of CrowdSec's own: it runs a program with each address that comes or goes.
struct Bouncer {
    child: Child,
    told: PathBuf,
}

impl Bouncer {
    fn start(house: &Asking, folder: &Path) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::create_dir_all(folder).unwrap();
        let (told, program, config) =
            (folder.join("told"), folder.join("note.sh"), folder.join("bouncer.yaml"));
        std::fs::write(&program, format!("#!/bin/sh\necho \"$1 $2\" >> {}\n", told.display())).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let text = format!(
            "bin_path: {}\nfeed_via_stdin: false\npiddir: {dir}\nupdate_frequency: 1s\ncache_retention_duration: 1s\n\
             daemonize: false\nlog_mode: file\nlog_dir: {dir}\nlog_level: info\napi_url: https://localhost:{}/\napi_key: {}\n\
             prometheus:\n  enabled: false\n",
            program.display(),
            house.controller.http.port(),
            house.token,
            dir = folder.display(),
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("crowdsec-custom-bouncer")
            .arg("-c")
            .arg(&config)
            .env("SSL_CERT_FILE", house.dir.path().join("ca.crt"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("crowdsec-custom-bouncer is installed (./dev setup)");
        Self { child, told }
    }

    /// Waits until it ran the program for all of these; what was told twice stands once.
    fn until(&mut self, expect: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = std::fs::read_to_string(&self.told).unwrap_or_default();
            if expect.iter().all(|line| told.lines().any(|one| one == *line)) {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", self.log());
            assert!(Instant::now() < deadline, "{expect:?} is not all in\n{told}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self) -> String {
        let folder = self.told.parent().unwrap();
        let logs = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let logs = logs.filter(|path| path.extension().is_some_and(|end| end == "log"));
        logs.map(|path| std::fs::read_to_string(path).unwrap()).collect()
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bouncer_hears_what_begins_and_ends() {
    let mut house = House::new().await;
    let folder = house.asking.dir.path().join("bouncer");
    let mut bouncer = Bouncer::start(&house.asking, &folder);
    let operator = house.operator.clone();
    house.agent.suspend(&operator, "alice").await;
    bouncer.until(&["add 203.0.113.0/28", "add 2001:db8::/48"]);
    // The tenant gets another address while it is held.
    let moved = Tenant { addresses: vec!["198.51.100.7/32".into(), "2001:db8::/48".into()], ..alice() };
    import(&operator, vec![moved], false).await;
    bouncer.until(&["del 203.0.113.0/28", "add 198.51.100.7"]);
    house.agent.release(&operator, "alice").await;
    bouncer.until(&["del 198.51.100.7", "del 2001:db8::/48"]);
    let told = std::fs::read_to_string(&bouncer.told).unwrap();
    assert!(!told.contains("192.0.2.9"), "{told}");
    house.asking.controller.stop().await;
}

/// Waits until a condition holds.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_is_told_over_lost_answers_and_restarts() {
    let mut house = House::new().await;
    let nothing = (Vec::new(), Vec::new());
    assert_eq!(
        house.asking.ask("/v1/decisions/stream?startup=true"),
        json!({ "new": null, "deleted": null })
    );
    assert_eq!(house.asking.ask("/v1/decisions?ip=203.0.113.7"), Value::Null);
    let key = format!("X-Api-Key: {}", house.asking.token);
    house
        .impose(ImposeRequest {
            tenant: "bob".into(),
            action: WireAction::Limit.into(),
            scope: Some((&reeve_policy::Scope::All).into()),
            rate: "10/minute".into(),
            ..Default::default()
        })
        .await;
    // Twice, whoever lost the first answer, and then no more. To ask with HEAD is not to be told.
    assert_eq!(house.asking.curl("/v1/decisions/stream", &["--head", "--header", &key]).0, 200);
    let throttled = until("it is told", || {
        let told = house.asking.stream("startup=false");
        (told != nothing).then_some(told)
    });
    assert_eq!(throttled, (vec!["throttle 192.0.2.9".to_owned()], vec![]));
    assert_eq!(house.asking.stream("startup=false"), throttled);
    assert_eq!(house.asking.stream("startup=false"), nothing);
    let operator = house.operator.clone();
    house.agent.suspend(&operator, "bob").await;
    let banned = until("it is told", || {
        let told = house.asking.stream("startup=false");
        (told != nothing).then_some(told)
    });
    assert_eq!(banned, (vec!["ban 192.0.2.9".to_owned()], vec!["192.0.2.9".to_owned()]));

    // One address at a time, and nothing of what is an operator's to know.
    let asked = house.asking.ask("/v1/decisions?ip=192.0.2.9");
    let one = &asked[0];
    assert_eq!(
        (&one["origin"], &one["type"], &one["scope"], &one["value"], &one["simulated"], &one["duration"]),
        (
            &json!("reeve"),
            &json!("ban"),
            &json!("Ip"),
            &json!("192.0.2.9"),
            &json!(false),
            &json!("8760h0m0s")
        )
    );
    let streamed = house.asking.ask("/v1/decisions/stream?startup=true");
    assert_eq!((&streamed["new"][0]["id"], &streamed["new"][0]["uuid"]), (&one["id"], &one["uuid"]));
    assert_eq!(house.asking.ask("/v1/decisions").as_array().unwrap().len(), 1);
    assert_eq!(house.asking.ask("/v1/decisions?ip=192.0.2.9&origins=cscli"), Value::Null);
    for secret in ["secret", "oncall", "n1", "bob"] {
        assert!(!streamed.to_string().contains(secret), "{streamed}");
    }

    // Unpaid invoices are of another origin, and can be left out.
    let mut client = OperatorServiceClient::new(house.operator.clone());
    let request = SuspendRequest {
        tenant: "alice".into(),
        reason: "unpaid".into(),
        until_paid: true,
        wait: true,
        ..Default::default()
    };
    let asked = tokio::spawn(async move { client.suspend(request).await });
    let order = house.agent.order().await;
    house.agent.done(&order).await;
    asked.await.unwrap().unwrap();
    until("alice is held for an invoice", || {
        let (new, _) = house.asking.stream("startup=true&origins=reeve-billing");
        (new == ["ban 2001:db8::/48", "ban 203.0.113.0/28"]).then_some(())
    });

    // A controller that comes back goes on where the last one was; what ended meanwhile is told.
    until("all is told", || (house.asking.stream("startup=false") == nothing).then_some(()));
    let Asking { dir, controller, token } = house.asking;
    controller.stop().await;
    let controller = Running::start(dir.path()).await;
    let operator = controller.secure(dir.path(), &dir.path().join("operators"), "oncall").await;
    let house = Asking { dir, controller, token };
    assert_eq!(house.stream("startup=false"), nothing);
    let moved = Tenant { id: "bob".into(), addresses: vec!["198.51.100.9/32".into()], ..Default::default() };
    import(&operator, vec![moved], false).await;
    let told = until("bob's other address is told", || {
        let told = house.stream("startup=false");
        (told != nothing).then_some(told)
    });
    assert_eq!(told, (vec!["ban 198.51.100.9".to_owned()], vec!["192.0.2.9".to_owned()]));

    // Who shows nothing, or nothing good, is told nothing.
    assert_eq!(house.curl("/v1/decisions/stream?startup=true", &[]).0, 401);
    assert_eq!(house.curl("/v1/decisions", &["--header", "X-Api-Key: x"]).0, 401);
    assert_eq!(house.curl("/v1/decisions?ip=here", &["--header", &key]).0, 400);
    assert_eq!(house.curl("/v1/decisions", &["--request", "DELETE", "--header", &key]).0, 405);
    assert_eq!(house.curl("/v1/alerts", &["--header", &key]).0, 404);
    house.controller.stop().await;
}
