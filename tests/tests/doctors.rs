//! `reevectl doctor`, by the programs themselves: what it looks for is really so. On loopback; the agent captures there, which takes root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use reeve_tests::house::{READY, binary};
use reeve_tests::wait::wait_until;
use serde_json::Value;

/// A program that runs until this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct House {
    folder: tempfile::TempDir,
    port: u16,
}

/// What the doctor tells, and its exit code.
struct Told(Option<i32>, Value);

impl Told {
    fn state(&self, point: &str, says: &str) -> Option<&str> {
        let is_it = |one: &&Value| {
            one["point"] == point && one["found"].as_str().is_some_and(|found| found.contains(says))
        };
        self.1["points"].as_array().unwrap().iter().find(is_it)?["state"].as_str()
    }

    /// That a point stands so whose finding holds `says`, and what it ends with.
    fn expect(&self, point: &str, state: &str, says: &str) -> &Self {
        assert_eq!(self.state(point, says), Some(state), "{point}, {says}: {:#}", self.1);
        self
    }

    fn ends_with(&self, code: i32) {
        assert_eq!(self.0, Some(code), "{:#}", self.1);
    }
}

impl House {
    fn new() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let house = Self { folder: tempfile::tempdir().unwrap(), port };
        let people = [
            "init",
            "--admin",
            "root",
            "--operator",
            "oncall",
            "--viewer",
            "auditor",
            "--node",
            "n1",
            "--dir",
        ];
        let init =
            Command::new(binary("reeve-controller").unwrap()).args(people).arg(house.dir()).output().unwrap();
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn dir(&self) -> PathBuf {
        self.path("controller")
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    fn start(&self, program: &str, log: &str, arguments: &[&str]) -> Running {
        let file = fs::File::create(self.path(log)).unwrap();
        let mut command = Command::new(binary(program).unwrap());
        command.args(arguments).stdout(Stdio::null()).stderr(file);
        Running(command.spawn().unwrap())
    }

    fn start_controller(&self, dir: &Path) -> Running {
        let listen = format!("127.0.0.1:{}", self.port);
        let running = self.start(
            "reeve-controller",
            "controller.log",
            &["run", "--dir", dir.to_str().unwrap(), "--listen", &listen],
        );
        let listens = || Ok(fs::read_to_string(self.path("controller.log"))?.contains("listening"));
        wait_until("the controller to listen", READY, listens).unwrap();
        running
    }

    fn start_agent(&self) -> Running {
        let (dir, url) = (self.dir(), self.url());
        let settings = format!(
            "node = \"n1\"\nstate_dir = \"state\"\n[[vantage]]\nkind = \"port\"\ninterfaces = [\"lo\"]\n[controller]\naddress = \"{url}\"\n\
             ca = \"{0}/ca.crt\"\ncertificate = \"{0}/nodes/n1.crt\"\nkey = \"{0}/nodes/n1.key\"\n",
            dir.display()
        );
        fs::write(self.path("agent.toml"), settings).unwrap();
        self.start(
            "reeve-agent",
            "agent.log",
            &["run", "--config", self.path("agent.toml").to_str().unwrap()],
        )
    }

    fn reevectl(&self, who: &str, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(binary("reevectl").unwrap());
        command.args(["--controller", &self.url(), "--as", who, "--timeout", "5s", "--dir"]).arg(self.dir());
        command.args(arguments).output().unwrap()
    }

    fn ordered(&self, arguments: &[&str]) -> String {
        let done = self.reevectl("root", arguments);
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    fn doctor(&self) -> Told {
        told(&self.reevectl("oncall", &["doctor", "--json"]))
    }

    /// What the doctor tells when a point has come to stand so.
    fn until(&self, point: &str, state: &str, says: &str) -> Told {
        let mut last = self.doctor();
        let come = wait_until(says, READY, || {
            last = self.doctor();
            Ok(last.state(point, says) == Some(state))
        });
        come.unwrap_or_else(|error| panic!("{error}: {:#}", last.1));
        last
    }
}

fn told(output: &std::process::Output) -> Told {
    let json = serde_json::from_slice(&output.stdout);
    let json = json.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    Told(output.status.code(), json)
}

#[test]
fn the_way_to_the_controller_is_looked_over() {
    let house = House::new();
    house
        .doctor()
        .expect("controller", "error", "cannot be reached")
        .expect("certificate", "ok", "oncall")
        .ends_with(2);
    let controller = house.start_controller(&house.dir());
    let well = house.doctor();
    well.expect("controller", "ok", "it answers")
        .expect("health", "ok", "can do its work")
        .expect("role", "ok", "operator");
    well.expect("clock skew", "ok", "agree")
        .expect("version", "ok", "here and there")
        .expect("nodes", "ok", "all 0")
        .ends_with(0);

    let key = house.dir().join("operators/oncall.key");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    house.doctor().expect("secret", "warning", "644").ends_with(1);
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();

    // A token for billing may look at less.
    let token = house.ordered(&["token", "create", "bridge", "--role", "billing"]);
    fs::write(house.path("token"), token.trim()).unwrap();
    fs::set_permissions(house.path("token"), Permissions::from_mode(0o600)).unwrap();
    let path = house.path("token");
    let shown = ["--token-file", path.to_str().unwrap(), "doctor", "--json"];
    told(&house.reevectl("oncall", &shown)).expect("role", "warning", "billing").ends_with(1);
    house.ordered(&["token", "revoke", "bridge"]);
    told(&house.reevectl("oncall", &shown)).expect("controller", "error", "revoked").ends_with(2);

    // The file is where it was, and is not: the database is away.
    let database = house.dir().join("reeve.db");
    fs::rename(&database, house.path("aside")).unwrap();
    house.until("health", "error", "cannot do its work").ends_with(2);
    fs::rename(house.path("aside"), &database).unwrap();
    house.until("health", "ok", "can do its work").ends_with(0);

    // Another authority's certificate, which ends soon at that.
    let (certificate, key) =
        (house.dir().join("operators/auditor.crt"), house.dir().join("operators/auditor.key"));
    let made = Command::new("openssl")
        .args(["req", "-new", "-x509", "-days", "10", "-subj", "/CN=auditor", "-key"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let other = told(&house.reevectl("auditor", &["doctor", "--json"]));
    other.expect("certificate", "warning", "auditor.crt").expect("controller", "error", "").ends_with(2);
    fs::write(&certificate, "nothing").unwrap();
    told(&house.reevectl("auditor", &["doctor", "--json"]))
        .expect("certificate", "error", "no certificate")
        .ends_with(2);

    // A controller without certificates is warned of.
    drop(controller);
    let bare = house.path("bare");
    fs::create_dir(&bare).unwrap();
    let _controller = house.start_controller(&bare);
    let mut command = Command::new(binary("reevectl").unwrap());
    command.args(["--controller", &format!("http://127.0.0.1:{}", house.port), "doctor", "--json"]);
    told(&command.output().unwrap())
        .expect("certificates", "warning", "everybody on its machine")
        .ends_with(1);
}

#[test]
fn nodes_that_need_somebody_are_told() {
    let house = House::new();
    let _controller = house.start_controller(&house.dir());
    let agent = house.start_agent();
    house.until("nodes", "ok", "all 1 are connected");
    house.ordered(&["pause", "--node", "n1", "--reason", "maintenance"]);
    house.until("paused", "warning", "n1").ends_with(1);
    house.ordered(&["resume", "--node", "n1"]);
    house.ordered(&["pause", "--fleet", "--reason", "all hands"]);
    house.until("pause", "warning", "root has paused the whole fleet: all hands").ends_with(1);
    house.ordered(&["resume", "--fleet"]);
    drop(agent);
    house.until("nodes", "error", "1 of 1 are not connected: n1").ends_with(2);
    let table = house.reevectl("oncall", &["doctor"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.lines().any(|line| line.starts_with("ERROR    nodes")), "{table}");
}
