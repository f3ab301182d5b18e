//! The examples for billing systems (docs/billing.md), called by a controller, in PHP and in Python.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::common::{Agent, Running, import, set};
use reeve_proto::types::v1::Tenant;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

struct Hook(Child);

impl Drop for Hook {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Suspends tenants that are services and one that is none, and reads what the example kept of it.
async fn check(command: impl Fn(u16) -> Command) {
    let dir = tempfile::tempdir().unwrap();
    let (secret, inbox) = (dir.path().join("secret"), dir.path().join("inbox"));
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    std::fs::create_dir(&inbox).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = command(port);
    let _hook = Hook(
        command
            .env("REEVE_SECRET_FILE", &secret)
            .env("REEVE_INBOX", &inbox)
            .spawn()
            .expect("it is installed (./dev setup)"),
    );
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nobody listens");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let url = format!("http://127.0.0.1:{port}/");
    // Who has not the secret is not listened to.
    let forged = Command::new("curl")
        .args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--data", "{}", &url])
        .args([
            "--header",
            "webhook-id: x",
            "--header",
            "webhook-timestamp: 1",
            "--header",
            "webhook-signature: v1,x",
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(forged.stdout).unwrap(), "401");

    set(
        dir.path(),
        &format!("[[webhook]]\nname = 'billing'\nurl = '{url}'\nsecret_file = '{}'\n", secret.display()),
    );
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let tenant = |id: &str, address: &str| Tenant {
        id: id.into(),
        addresses: vec![address.into()],
        interfaces: vec![format!("n1/{id}")],
        ..Default::default()
    };
    import(&channel, vec![tenant("other", "192.0.2.1/32"), tenant("whmcs-4711", "192.0.2.2/32")], true).await;
    let (mut agent, _) = Agent::greet(controller.plain().await, "n1", 1).await.unwrap();
    for tenant in ["other", "whmcs-4711"] {
        agent.suspend(&channel, tenant).await;
    }
    agent.release(&channel, "whmcs-4711").await;
    let kept = || -> Vec<Value> {
        let files = std::fs::read_dir(&inbox).unwrap().map(|entry| entry.unwrap().path());
        let whole = files.filter(|path| path.extension().is_none());
        whole.map(|path| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()).collect()
    };
    let deadline = Instant::now() + PATIENCE;
    while kept().len() < 2 {
        assert!(Instant::now() < deadline, "{:?}", kept());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let kept = kept();
    assert!(kept.iter().all(|one| one["service"] == json!(4711)), "{kept:?}");
    let kinds: std::collections::BTreeSet<_> = kept.iter().map(|one| one["kind"].to_string()).collect();
    assert!(kinds.contains("\"lifted\"") && kinds.len() == 2, "{kinds:?}");
    controller.stop().await;
}

fn example(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples").join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_php_takes_notices() {
    check(|port| {
        let mut php = Command::new("php");
        php.args(["-q", "-S", &format!("127.0.0.1:{port}")]).arg(example("webhook.php"));
        php
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_python_takes_notices() {
    check(|port| {
        let mut python = Command::new("python3");
        python.arg(example("webhook.py")).arg(port.to_string());
        python
    })
    .await;
}
