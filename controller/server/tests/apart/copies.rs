//! Copies of the database: made while the controller works, brought back, and as whole as what they were made of.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::{self, Agent, Running};
use reeve_cluster::Cluster;
use reeve_policy::{NodeEvent, NodeEventKind, Report, Timestamp};
use reeve_proto::operator::v1::access_service_client::AccessServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{CreateTokenRequest, ListEventsRequest, RevokeTokenRequest, Role};

fn controller(command: &str, dir: &Path, file: &Path) -> Output {
    let program = env!("CARGO_BIN_EXE_reeve-controller");
    Command::new(program).arg(command).arg("--dir").arg(dir).arg(file).output().unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32, words: &[&str]) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(output.status.code(), Some(code), "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{text}"));
}

/// Tells events of node n1 from one number to another.
async fn tell(running: &Running, from: u64, to: u64) {
    let (mut agent, known) = Agent::greet(running.plain().await, "n1", 1).await.unwrap();
    assert_eq!(known, from - 1);
    for number in from..=to {
        let at = Timestamp::from_secs(number);
        agent.report(number, Report::Event(NodeEvent::new(at, NodeEventKind::RulesetChanged, "x"))).await;
    }
    agent.acknowledged(to).await;
}

async fn count(running: &Running) -> usize {
    let mut client = OperatorServiceClient::new(running.plain().await);
    let page = client.list_events(ListEventsRequest { page_size: 1_000, ..Default::default() }).await;
    page.unwrap().into_inner().events.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_file_is_made_at_work_and_brought_back() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path()).await;
    tell(&running, 1, 20).await;
    let token = CreateTokenRequest {
        name: "leaked".to_owned(),
        role: Role::Viewer.into(),
        life: None,
        addresses: Vec::new(),
    };
    AccessServiceClient::new(running.plain().await).create_token(token).await.unwrap();
    let copy = dir.path().join("copy.db");
    check(&controller("backup", dir.path(), &copy), 0, &["copy.db"]);
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    // Nothing is overwritten.
    check(&controller("backup", dir.path(), &copy), 74, &["copy.db", "exists"]);
    tell(&running, 21, 30).await;
    // What is ended after the copy was made is begun again by it, which is told.
    let mut access = AccessServiceClient::new(running.plain().await);
    let leaked = RevokeTokenRequest { name: "leaked".to_owned() };
    access.revoke_token(leaked).await.unwrap();
    check(&controller("restore", dir.path(), &copy), 69, &["in use"]);
    running.stop().await;

    let readmitted = ["reeve.db.before-", "may call again", "token leaked (", "which was revoked"];
    check(&controller("restore", dir.path(), &copy), 0, &readmitted);
    let running = Running::start(dir.path()).await;
    assert_eq!(count(&running).await, 20);
    // An agent that was acknowledged more goes on from there.
    tell(&running, 21, 25).await;
    assert_eq!(count(&running).await, 25);
    running.stop().await;

    // What was there before the copy was brought back is whole as well.
    let kept = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let kept = kept.into_iter().find(|path| path.to_str().unwrap().contains("before-")).unwrap();
    let other = tempfile::tempdir().unwrap();
    check(&controller("restore", other.path(), &kept), 0, &[]);
    let running = Running::start(other.path()).await;
    assert_eq!(count(&running).await, 30);
    running.stop().await;
}

#[test]
fn a_check_makes_and_upgrades_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let look = || {
        let program = env!("CARGO_BIN_EXE_reeve-controller");
        Command::new(program).arg("check").arg("--dir").arg(dir.path()).output().unwrap()
    };
    check(&look(), 0, &["database      none yet"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let path = dir.path().join("reeve.db");
    std::fs::write(&path, []).unwrap();
    check(&look(), 0, &["empty; the controller lays it out"]);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    std::fs::write(&path, vec![0x5a; 20_000]).unwrap();
    check(&look(), 65, &["damaged"]);
}

#[test]
fn what_is_no_copy_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    check(&controller("restore", dir.path(), &path("none")), 74, &["none"]);
    std::fs::write(path("noise"), vec![0x5a; 20_000]).unwrap();
    check(&controller("restore", dir.path(), &path("noise")), 65, &["noise", "damaged"]);
    std::fs::write(path("empty"), []).unwrap();
    check(&controller("restore", dir.path(), &path("empty")), 65, &["empty", "no controller's state"]);
    assert!(!path("reeve.db").exists());
    check(&controller("backup", dir.path(), &path("copy")), 74, &["reeve.db"]);
    check(&controller("backup", &path("nowhere"), &path("copy")), 78, &["is no folder"]);
    assert!(!path("copy").exists());
    common::share(dir.path(), "postgres://u@localhost/d");
    check(&controller("backup", dir.path(), &path("copy")), 78, &["pg_dump"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_own_tools_copy_its_database() {
    let cluster = Cluster::of_this_process();
    let dir = tempfile::tempdir().unwrap();
    let from = cluster.database().unwrap();
    common::share(dir.path(), &from);
    let running = Running::start(dir.path()).await;
    tell(&running, 1, 20).await;
    let copy = dir.path().join("copy.dump");
    // As docs/database.md has it.
    let tool = |name: &str| Command::new(format!("/usr/lib/postgresql/15/bin/{name}"));
    let url = from.replace("postgres://", "postgresql://");
    check(
        &tool("pg_dump").args(["--format=custom", "--file"]).arg(&copy).arg(&url).output().unwrap(),
        0,
        &[],
    );
    tell(&running, 21, 30).await;
    running.stop().await;

    let to = cluster.database().unwrap();
    let restore =
        ["--single-transaction", "--no-owner", "--dbname", &to.replace("postgres://", "postgresql://")];
    check(&tool("pg_restore").args(restore).arg(&copy).output().unwrap(), 0, &[]);
    common::share(dir.path(), &to);
    let running = Running::start(dir.path()).await;
    assert_eq!(count(&running).await, 20);
    tell(&running, 21, 25).await;
    assert_eq!(count(&running).await, 25);
    running.stop().await;
}
