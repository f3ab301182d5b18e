//! What happens, as log servers are told: over UDP, TCP and TLS, and in a file.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::common::{Agent, Running, alice, import, set};
use reeve_controller::auth::Role;
use reeve_controller::pki::{self, Wanted};
use reeve_policy::{LiftReason, MeasureCounters, Report, Timestamp, ViolationState};
use reeve_proto::operator::v1::LoginRequest;
use reeve_proto::operator::v1::person_service_client::PersonServiceClient;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
/// Models of the schema's findings.
const PACKAGE: &str = "py-ocsf-models==0.10.0";

/// A Python that has the package, in an environment of its own under `target`, which is made once.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target folder");
        let (folder, own) = (target.join("ocsf-venv"), target.join(format!("ocsf-venv.{}", std::process::id())));
        let python = folder.join("bin/python");
        let is_ready = |python: &Path| {
            let ask = format!("import importlib.metadata as m; assert 'py-ocsf-models==' + m.version('py-ocsf-models') == '{PACKAGE}'");
            python.exists() && Command::new(python).args(["-c", &ask]).output().is_ok_and(|done| done.status.success())
        };
        if !is_ready(&python) {
            // Made aside and moved there whole: another test may look at the same time. Its own paths are not used.
            let _ = std::fs::remove_dir_all(&folder);
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&own));
            run(Command::new(own.join("bin/python")).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]));
            if std::fs::rename(&own, &folder).is_err() {
                let _ = std::fs::remove_dir_all(&own);
            }
            assert!(is_ready(&python), "{} has no {PACKAGE}", folder.display());
        }
        python
    })
}

fn run(command: &mut Command) {
    let done = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error} (./dev setup installs what is needed)"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Reads messages whose octets are counted until one holds `last`.
fn read_counted(stream: &mut impl std::io::Read, last: &str) -> Vec<String> {
    let mut messages = Vec::new();
    loop {
        let (mut length, mut one) = (0, [0]);
        loop {
            stream.read_exact(&mut one).unwrap();
            match one[0] {
                b' ' => break,
                digit => length = length * 10 + usize::from(digit - b'0'),
            }
        }
        let mut message = vec![0; length];
        stream.read_exact(&mut message).unwrap();
        let message = String::from_utf8(message).unwrap();
        let is_last = message.contains(last);
        messages.push(message);
        if is_last {
            return messages;
        }
    }
}

/// Events of a node: a violation, what was decided, a measure that stands and ends, and the end.
async fn happen(agent: &mut Agent) {
    let [violation, decision, standing] = super::brakes::answered(1_700_000_000, 1);
    let (Report::Violation(seen), Report::Standing { measure, .. }) = (&violation, &standing) else {
        panic!()
    };
    let over = reeve_policy::Violation {
        state: ViolationState::Quiet,
        closed: Some(Timestamp::from_secs(1_700_000_600)),
        ..seen.clone()
    };
    let lifted = Report::Lifted {
        decision: measure.decision.id.clone(),
        tenant: measure.decision.tenant.clone(),
        at: Timestamp::from_secs(1_700_000_500),
        reason: LiftReason::Expired,
        counters: MeasureCounters::default(),
    };
    for (number, report) in (1..).zip([violation, decision, standing, lifted, Report::Violation(over)]) {
        agent.report(number, report).await;
    }
    agent.acknowledged(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_servers_and_files_are_told_what_happens() {
    let dir = tempfile::tempdir().unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(PATIENCE)).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = dir.path().join("events.jsonl");
    let text = format!(
        "[[events]]\nname = 'cef'\nto = 'udp://{}'\nformat = 'cef'\n[[events]]\nname = 'ocsf'\nto = 'tcp://{}'\nformat = 'ocsf'\n\
         [[events]]\nname = 'file'\nto = 'file:{}'\nformat = 'ocsf'\n[[events]]\nname = 'nobody'\nto = 'tcp://127.0.0.1:1'\nformat = 'cef'\n",
        udp.local_addr().unwrap(),
        tcp.local_addr().unwrap(),
        file.display(),
    );
    set(dir.path(), &text);
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice()], true).await;
    let (mut agent, _) = Agent::greet(controller.plain().await, "n1", 1).await.unwrap();
    happen(&mut agent).await;

    let mut datagrams = Vec::new();
    let mut room = vec![0; 65_536];
    while !datagrams.iter().any(|one: &String| one.contains("violation_closed")) {
        let length = udp.recv(&mut room).unwrap();
        datagrams.push(String::from_utf8(room[..length].to_vec()).unwrap());
    }
    let opened = datagrams.iter().find(|one| one.contains("|violation_opened|")).unwrap();
    assert!(
        opened.starts_with("<108>1 2") && opened.contains("[reeve@32473 tenant=\"alice\" node=\"n1\""),
        "{opened}"
    );
    assert!(opened.contains("|portscan.vertical of alice began|6|rt="), "{opened}");
    assert!(opened.contains(" dvchost=n1 ") && opened.contains(" cs2=p/c cs2Label=clause"), "{opened}");

    // A log server that hangs up is told the rest at the next connection.
    let (mut first, _) = tcp.accept().unwrap();
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut counted = read_counted(&mut first, "violation_closed");
    drop(first);
    agent.suspend(&channel, "alice").await;
    let (mut second, _) = tcp.accept().unwrap();
    second.set_read_timeout(Some(PATIENCE)).unwrap();
    counted.extend(read_counted(&mut second, "measure_stands"));
    let events: Vec<Value> = counted
        .iter()
        .map(|one| serde_json::from_str(&one[one.find("] {").unwrap() + 2..]).unwrap())
        .collect();
    let classes: Vec<_> = events
        .iter()
        .map(|one| (one["metadata"]["event_code"].as_str().unwrap(), &one["type_uid"]))
        .collect();
    for expect in [
        ("violation_opened", &json!(200_401)),
        ("decided", &json!(200_402)),
        ("measure_stands", &json!(700_101)),
        ("measure_lifted", &json!(700_103)),
        ("violation_closed", &json!(200_403)),
    ] {
        assert!(classes.contains(&expect), "{expect:?} is not in {classes:?}");
    }

    // The file has each, may be moved away, and keeps no operator's words.
    let deadline = Instant::now() + PATIENCE;
    let told = loop {
        let told = std::fs::read_to_string(&file).unwrap_or_default();
        if told.contains("\"operation\":\"Suspend\"") {
            break told;
        }
        assert!(Instant::now() < deadline, "{told}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(!told.contains("30 hosts on port 22"), "{told}");
    let mut uids: Vec<Value> = told
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["metadata"]["uid"].clone())
        .collect();
    let count = uids.len();
    uids.sort_by_key(ToString::to_string);
    uids.dedup();
    assert_eq!(uids.len(), count, "{told}");
    let mut child = Command::new(python())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ocsf.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(told.as_bytes()).unwrap();
    let held = child.wait_with_output().unwrap();
    assert!(held.status.success());
    let held: u32 = String::from_utf8(held.stdout).unwrap().trim().parse().unwrap();
    assert!(held >= 3, "{held} findings");
    std::fs::rename(&file, dir.path().join("events.jsonl.1")).unwrap();
    agent.release(&channel, "alice").await;
    let deadline = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(&file).unwrap_or_default().contains("\"operation\":\"Release\"") {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    // Who is not let in: of whose account, if it is anybody's, and never what was shown.
    for name in ["nobody", "hunter2 in the wrong field"] {
        let request =
            LoginRequest { name: name.into(), password: "guess-12345".into(), code: "000000".into() };
        PersonServiceClient::new(channel.clone()).login(request).await.unwrap_err();
    }
    let deadline = Instant::now() + PATIENCE;
    let failed = loop {
        let told = std::fs::read_to_string(&file).unwrap_or_default();
        let failed: Vec<Value> = told
            .lines()
            .filter(|line| line.contains("login_failed"))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        if failed.len() == 2 {
            assert!(!told.contains("hunter2") && !told.contains("guess-12345"), "{told}");
            break failed;
        }
        assert!(Instant::now() < deadline, "{told}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!((&failed[0]["type_uid"], &failed[0]["status"]), (&json!(300_201), &json!("Failure")));
    assert_eq!(
        (&failed[0]["user"]["name"], &failed[0]["unmapped"]["outcome"]),
        (&json!("unknown"), &json!("failed"))
    );
    assert_ne!(failed[0]["metadata"]["uid"], failed[1]["metadata"]["uid"]);

    // One that is not there holds up nobody.
    let (_, metrics) = controller.beside_metrics("/metrics").await;
    assert!(metrics.contains("reeve_controller_export_dropped_total 0"), "{metrics}");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_server_over_tls_shows_who_it_is() {
    let dir = tempfile::tempdir().unwrap();
    pki::init(
        dir.path(),
        &Wanted { people: vec![(Role::Operator, "oncall".parse().unwrap())], ..Wanted::default() },
    )
    .unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let out = dir.path().join("told");
    let mut server = Command::new("socat")
        .arg("-u")
        .arg(format!(
            "OPENSSL-LISTEN:{port},bind=127.0.0.1,reuseaddr,verify=0,cert={dir}/server.crt,key={dir}/server.key",
            dir = dir.path().display()
        ))
        .arg(format!("OPEN:{},creat,append", out.display()))
        .spawn()
        .expect("socat is installed");
    let text = format!(
        "[[events]]\nname = 'siem'\nto = 'tls://localhost:{port}'\nformat = 'cef'\nca_file = '{}'\n",
        dir.path().join("ca.crt").display()
    );
    set(dir.path(), &text);
    let controller = Running::start(dir.path()).await;
    let operator = controller.secure(dir.path(), &dir.path().join("operators"), "oncall").await;
    // The log is read from where it is when the controller begins to tell.
    let deadline = Instant::now() + PATIENCE;
    let told = loop {
        import(&operator, vec![alice()], true).await;
        let mut told = String::new();
        if let Ok(mut file) = std::fs::File::open(&out) {
            file.read_to_string(&mut told).unwrap();
        }
        if told.contains("ImportTenants") {
            break told;
        }
        assert!(Instant::now() < deadline, "{told}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(
        told.contains("|audit|act ImportTenants|3|")
            && told.contains(" suser=oncall spriv=operator src=127.0.0.1"),
        "{told}"
    );
    controller.stop().await;
    let _ = server.kill();
    let _ = server.wait();
}
