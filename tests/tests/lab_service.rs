//! The agent as a service: a user of its own with two capabilities, and what it tells the service manager.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use reeve_tests::house::{House, METRICS, READY, binary, text};
use reeve_tests::lab::addresses::{ALICE_PORT, BOB_PORT, VICTIM_V4};
use reeve_tests::lab::{Lab, Process};
use reeve_tests::wait::wait_until;

/// A user that owns nothing.
const NOBODY: u32 = 65_534;
const CAPABILITIES: &str = "-all,+net_admin,+net_raw";

fn units() -> [PathBuf; 2] {
    ["agent", "controller"].map(|name| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd");
        Path::new(folder).join(format!("reeve-{name}.service"))
    })
}

#[test]
fn the_units_are_sound_and_give_little_away() {
    let folder = tempfile::tempdir().unwrap();
    for unit in units() {
        let rated = Command::new("systemd-analyze")
            .args(["security", "--offline=yes", "--no-pager", "--threshold=30"])
            .arg(&unit)
            .output()
            .unwrap();
        assert!(rated.status.success(), "{}", String::from_utf8_lossy(&rated.stdout));
        // As installed, but for where the programs are.
        let built = binary("reeve-agent").unwrap().parent().unwrap().display().to_string();
        let here = folder.path().join(unit.file_name().unwrap());
        std::fs::write(&here, std::fs::read_to_string(&unit).unwrap().replace("/usr/bin", &built)).unwrap();
        let verified = Command::new("systemd-analyze").arg("verify").arg(&here).output().unwrap();
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(verified.status.success() && said.is_empty(), "{said}");
    }
}

/// The service manager's ear.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Self { socket, heard: Vec::new() }
    }

    /// Waits until it hears `what`, from now on.
    fn hear(&mut self, what: &str, process: &Process) {
        let (start, mut buffer) = (Instant::now(), [0; 1024]);
        while start.elapsed() < READY {
            let Ok(len) = self.socket.recv(&mut buffer) else { continue };
            let told = String::from_utf8_lossy(&buffer[..len]).into_owned();
            self.heard.push(told.clone());
            if told.lines().any(|line| line == what) {
                return;
            }
        }
        panic!("never heard {what}, only {:?}\n{}", self.heard, process.last_lines(20));
    }
}

#[test]
fn two_capabilities_are_enough_and_the_service_manager_is_told() {
    let lab = Lab::up().unwrap();
    // What a user without rights must reach lies open; the state is its own.
    let folder = tempfile::Builder::new().prefix("reeve-service-").tempdir().unwrap();
    let open = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    open(folder.path());
    let path = |name: &str| folder.path().join(name);
    std::fs::copy(binary("reeve-agent").unwrap(), path("reeve-agent")).unwrap();
    open(&path("reeve-agent"));
    std::fs::create_dir(path("state")).unwrap();
    chown(path("state"), Some(NOBODY), Some(NOBODY)).unwrap();
    let settings = format!(
        "node = \"rt\"\nmode = \"enforce\"\npolicy = \"baseline\"\ntenants = \"tenants.toml\"\nstate_dir = \"state\"\n\n\
         [[vantage]]\nkind = \"port\"\ninterfaces = [\"{ALICE_PORT}\", \"{BOB_PORT}\"]\n\n\
         [metrics]\nlisten = \"127.0.0.1:9464\"\n"
    );
    std::fs::write(path("agent.toml"), settings).unwrap();
    std::fs::write(path("tenants.toml"), reeve_tests::house::TENANTS).unwrap();

    let mut manager = Manager::listen(&path("notify"));
    let (socket, program, config) = (path("notify"), path("reeve-agent"), path("agent.toml"));
    let socket = format!("NOTIFY_SOCKET={}", text(&socket));
    let nobody = NOBODY.to_string();
    #[rustfmt::skip]
    let argv = [
        "setpriv", "--reuid", &nobody, "--regid", &nobody, "--clear-groups", "--no-new-privs",
        "--bounding-set", CAPABILITIES, "--inh-caps", CAPABILITIES, "--ambient-caps", CAPABILITIES,
        "env", &socket, "WATCHDOG_USEC=900000", text(&program), "run", "--config", text(&config),
    ];
    let agent = lab.rt.spawn(&argv).unwrap();
    manager.hear("READY=1", &agent);
    assert!(lab.rt.ruleset().unwrap().contains("table inet reeve"), "ready means that the table is there");
    manager.hear("WATCHDOG=1", &agent);

    let victim = VICTIM_V4.to_string();
    let scan = ["nmap", "-n", "-Pn", "-sS", "-p", "1-300", "--max-retries", "0", victim.as_str()];
    lab.alice.run(&scan, Duration::from_secs(60)).unwrap();
    let cut = || Ok(lab.rt.ruleset()?.contains("203.0.113.10"));
    wait_until("alice to be cut off", Duration::from_secs(5), cut).unwrap();

    let curl = ["curl", "--silent", "--fail", "http://127.0.0.1:9464/metrics"];
    let expected = [
        "reeve_agent_alerts_total{class=\"portscan.vertical\"} 1",
        "reeve_agent_decisions_total{action=\"suspend\",mode=\"enforce\",softened=\"no\"} 1",
        "reeve_agent_measures{action=\"suspend\"} 1",
        "reeve_agent_violations_total 1",
        "reeve_agent_tenants 2",
        "reeve_agent_vantages 2",
        "reeve_agent_kernel_behind 0",
        "# EOF",
    ];
    let mut told = String::new();
    let all = wait_until("the metrics to tell of it", Duration::from_secs(5), || {
        told = lab.rt.run(&curl, Duration::from_secs(5))?.success()?.stdout;
        Ok(expected.iter().all(|line| told.lines().any(|other| other == *line)))
    });
    assert!(all.is_ok(), "{told}");

    agent.signal(libc::SIGHUP).unwrap();
    manager.hear("RELOADING=1", &agent);
    manager.hear("READY=1", &agent);
    agent.signal(libc::SIGTERM).unwrap();
    manager.hear("STOPPING=1", &agent);
    agent.terminate(READY).unwrap().success().unwrap();
    assert!(cut().unwrap(), "measures stand when the service stops");
}

#[test]
fn the_controller_tells_its_metrics() {
    let house = House::open(Lab::up().unwrap()).unwrap();
    house.reevectl(&["suspend", "alice", "--reason", "test"]).unwrap().success().unwrap();
    house.status("alice").unwrap();
    let url = format!("http://{METRICS}/metrics");
    let curl = ["curl", "--silent", "--fail", url.as_str()];
    let told = house.lab.rt.run(&curl, Duration::from_secs(5)).unwrap().success().unwrap().stdout;
    for line in [
        "reeve_controller_nodes_connected 1",
        "reeve_controller_tenants 2",
        "reeve_controller_tenants_standing{state=\"suspended\"} 1",
        "reeve_controller_tenants_standing{state=\"blocked\"} 0",
        "reeve_controller_events_total{kind=\"measure_stands\"} 1",
        "reeve_controller_status_lookups_total 1",
    ] {
        assert!(told.lines().any(|other| other == line), "no {line} in\n{told}");
    }
}
