//! `reeve-controller doctor`, by the program itself: what it looks for is really so.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::common::{Agent, IS_ON_POSTGRES, Running, alice, call, execute, import, share};
use reeve_cluster::Cluster;
use reeve_controller::auth::Role;
use reeve_controller::pki::{self, Wanted};
use reeve_policy::{Mode, NodeHealth, Report, Timestamp};
use reeve_proto::operator::v1::SuspendRequest;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::session::Up;
use serde_json::Value;

/// What the doctor tells of a folder, and its exit code.
struct Told(Option<i32>, Value);

impl Told {
    fn of(dir: &Path) -> Self {
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_reeve-controller"));
        let out = doctor.args(["doctor", "--json", "--dir"]).arg(dir).output().unwrap();
        let json = serde_json::from_slice(&out.stdout);
        let json = json.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out.stderr)));
        Self(out.status.code(), json)
    }

    /// How a point stands whose finding holds `says`, and that there is advice where it is not well.
    fn expect(&self, point: &str, state: &str, says: &str) -> &Self {
        let points = self.1["points"].as_array().unwrap();
        let is_it = |one: &&Value| one["point"] == point && one["found"].as_str().unwrap().contains(says);
        let found =
            points.iter().find(is_it).unwrap_or_else(|| panic!("no {point} with {says}: {:#}", self.1));
        assert_eq!(found["state"], state, "{found:#}");
        assert_eq!(found["advice"].is_string(), state != "ok", "{found:#}");
        self
    }

    fn ends_with(&self, code: i32) {
        assert_eq!(self.0, Some(code), "{:#}", self.1);
        let worst = if self.1["errors"] != 0 { 2 } else { i32::from(self.1["warnings"] != 0) };
        assert_eq!(code, worst, "{:#}", self.1);
    }
}

fn furnished() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let people = vec![(Role::Operator, "oncall".parse().unwrap())];
    pki::init(dir.path(), &Wanted { nodes: vec!["n1".parse().unwrap()], people, ..Wanted::default() })
        .unwrap();
    dir
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A certificate of nobody in particular that ends so many days from now.
fn certificate(days: i64) -> String {
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let today = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let at = |days: i64| {
        let secs = i64::try_from(today.as_secs()).unwrap() + days * 86_400;
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(secs.unsigned_abs())
    };
    (params.not_before, params.not_after) = (at(days - 100), at(days));
    let key = rcgen::KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().pem()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_at_work_is_well_and_one_that_is_not_is_missed() {
    let dir = furnished();
    let controller = Running::start(dir.path()).await;
    // Who is answered is so by one that has its database.
    let operator = controller.secure(dir.path(), &dir.path().join("operators"), "oncall").await;
    call(&operator, "/reeve.operator.v1.AccessService/WhoAmI", None).await.unwrap();
    let told = Told::of(dir.path());
    told.expect("controller", "ok", "one runs").expect("database", "ok", "layout").ends_with(0);
    if IS_ON_POSTGRES {
        told.expect("controllers", "ok", "1 at work").expect("clock skew", "ok", "ms between");
    } else {
        told.expect("integrity", "ok", "fits together");
    }
    controller.stop().await;
    let told = Told::of(dir.path());
    told.expect("controller", "warning", "none runs").ends_with(1);
    if IS_ON_POSTGRES {
        told.expect("controllers", "warning", "none is at work");
    }
    // Looking takes nothing: it starts as before.
    Running::start(dir.path()).await.stop().await;

    let text = Command::new(env!("CARGO_BIN_EXE_reeve-controller"))
        .args(["doctor", "--dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.lines().any(|line| line.starts_with("warning  controller")), "{text}");
    assert!(text.lines().any(|line| line.trim_start().starts_with("-> systemctl start")), "{text}");
}

#[test]
fn what_is_wrong_with_the_folder_is_told_point_by_point() {
    let dir = furnished();
    let path = |name: &str| dir.path().join(name);
    Told::of(&path("nowhere")).expect("folder", "error", "nowhere").ends_with(2);

    set_mode(dir.path(), 0o777);
    Told::of(dir.path()).expect("folder", "error", "777").ends_with(2);
    set_mode(dir.path(), 0o700);

    set_mode(&path("server.key"), 0o644);
    set_mode(&path("ca.key"), 0o640);
    let told = Told::of(dir.path());
    told.expect("key", "error", "server.key").expect("key", "error", "ca.key").ends_with(2);
    set_mode(&path("server.key"), 0o600);
    set_mode(&path("ca.key"), 0o600);

    let before = fs::read(path("server.crt")).unwrap();
    for (days, state) in [(-1, "error"), (5, "warning"), (90, "ok")] {
        fs::write(path("server.crt"), certificate(days)).unwrap();
        Told::of(dir.path()).expect("certificate", state, "server.crt");
    }
    fs::write(path("server.crt"), "nothing").unwrap();
    Told::of(dir.path()).expect("certificate", "error", "no certificate in PEM").ends_with(2);
    fs::write(path("server.crt"), before).unwrap();
    let key = fs::read(path("server.key")).unwrap();
    fs::remove_file(path("server.key")).unwrap();
    Told::of(dir.path()).expect("key", "error", "missing").ends_with(2);
    fs::write(path("server.key"), key).unwrap();
    set_mode(&path("server.key"), 0o600);

    // What was written lies in the future: the clock was set back.
    let file = fs::File::create(path("later")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(3_600)).unwrap();
    Told::of(dir.path()).expect("clock", "error", "set back").ends_with(2);
    fs::remove_file(path("later")).unwrap();

    Told::of(dir.path()).expect("database", "warning", "none yet").ends_with(1);
    fs::write(path("controller.toml"), "[database]\nurls = 1\n").unwrap();
    Told::of(dir.path()).expect("settings", "error", "line").ends_with(2);

    let empty = tempfile::tempdir().unwrap();
    Told::of(empty.path()).expect("certificate", "warning", "everybody on this machine").ends_with(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_damaged_away_or_of_another_version_is_told() {
    let dir = furnished();
    let server = IS_ON_POSTGRES.then(|| {
        let server = Cluster::start().unwrap();
        share(dir.path(), &server.database().unwrap());
        server
    });
    Running::start(dir.path()).await.stop().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 SELECT 999999, 'newer', success, checksum, 0 FROM _sqlx_migrations WHERE version = 10";
    let (store, mut writing) = {
        let settings = reeve_controller::settings::Settings::load(dir.path()).unwrap();
        reeve_controller::store::Store::open(&settings.database, dir.path()).await.unwrap()
    };
    let mut run = async |statement: &'static str| {
        let done = sqlx::query(statement).execute(writing.connection().await.unwrap()).await.unwrap();
        assert_eq!(done.rows_affected(), 1, "{statement}");
    };
    run(newer).await;
    Told::of(dir.path()).expect("database", "error", "layout 999999").ends_with(2);
    run("DELETE FROM _sqlx_migrations WHERE version = 999999").await;
    Told::of(dir.path()).expect("database", "ok", "layout");
    run("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)").await;
    Told::of(dir.path()).expect("database", "warning", "this program's is").ends_with(1);
    store.close().await;
    writing.close().await;

    if let Some(server) = server {
        server.crash().unwrap();
        Told::of(dir.path()).expect("database", "error", "failed").ends_with(2);
        return;
    }
    // Every page but the first is overwritten: the header says that it is a database.
    let path = dir.path().join("reeve.db");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_096..].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let told = Told::of(dir.path());
    let points = told.1["points"].as_array().unwrap();
    let is_told = |one: &Value| {
        one["state"] == "error" && ["integrity", "database"].contains(&one["point"].as_str().unwrap())
    };
    assert!(points.iter().any(is_told), "{:#}", told.1);
    told.ends_with(2);
    fs::write(&path, "this is no database, and was never meant to be one").unwrap();
    Told::of(dir.path()).expect("database", "error", "no database").ends_with(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_need_somebody_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice()], true).await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let health = NodeHealth {
        at: Timestamp::from_secs(1_000),
        mode: Mode::Enforce,
        policy: None,
        tenants: 1,
        measures: 0,
        vantages: 1,
        frames_received: 1_000,
        frames_dropped: 100,
        malformed: 0,
        flows: 0,
        evictions: 0,
        agent_version: "test".into(),
        paused: None,
        brakes: None,
    };
    agent.report(1, Report::Health(health)).await;
    let unreadable = Up::Report { sequence: 2, report: Err(reeve_proto::WireError::missing("report")) };
    agent.up.send((&unreadable).into()).await.unwrap();
    agent.acknowledged(2).await;
    let told = Told::of(dir.path());
    told.expect("loss", "warning", "n1")
        .expect("unreadable", "warning", "n1")
        .expect("versions", "warning", "n1");
    told.expect("orders", "ok", "0 wait").ends_with(1);
    assert!(!told.1.to_string().contains("silent"), "{:#}", told.1);

    let request = SuspendRequest { tenant: "alice".into(), reason: "r".into(), ..Default::default() };
    OperatorServiceClient::new(channel).suspend(request).await.unwrap();
    drop(agent);
    controller.stop().await;
    let hour = "3600000000000";
    assert_eq!(hour.parse(), Ok(Duration::from_secs(3_600).as_nanos()));
    assert_eq!(execute(dir.path(), "UPDATE orders SET created = created - 3600000000000").await, 1);
    assert_eq!(execute(dir.path(), "UPDATE nodes SET last_seen = last_seen - 3600000000000").await, 1);
    let told = Told::of(dir.path());
    told.expect("orders", "warning", "1 wait, the first since")
        .expect("silent", "warning", "n1")
        .ends_with(1);
}

/// A disk without room, of which there is one in a mount namespace alone; that takes root.
#[test]
fn a_full_disk_is_told() {
    let dir = furnished();
    let script =
        "mount -t tmpfs -o size=$2 none /mnt && cp -a \"$1\"/. /mnt && exec \"$0\" doctor --json --dir /mnt";
    for (size, state) in [("16m", "error"), ("300m", "warning"), ("1g", "ok")] {
        let out = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_reeve-controller")])
            .arg(dir.path())
            .arg(size)
            .output()
            .unwrap();
        let json = serde_json::from_slice(&out.stdout);
        let json = json.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out.stderr)));
        Told(out.status.code(), json).expect("disk", state, "MiB are free");
    }
}
