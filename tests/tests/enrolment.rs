//! A node's certificate from its first to its last day, by the programs themselves: enrolled by a token, renewed by the running
//! agent while the link holds, revoked. On loopback; the agent captures there, which takes root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use reeve_tests::house::binary;

/// How long the certificates hold here. The agent renews at two thirds of it.
const LIFE: Duration = Duration::from_secs(12);

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

impl House {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self, program: &str, log: &str, arguments: &[&str]) -> Running {
        let file = fs::File::create(self.path(log)).unwrap();
        let mut command = Command::new(binary(program).unwrap());
        command.args(arguments).stdout(Stdio::null()).stderr(file);
        Running(command.spawn().unwrap())
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn reevectl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary("reevectl").unwrap());
        command.arg("--controller").arg(format!("https://127.0.0.1:{}", self.port));
        command.arg("--dir").arg(self.path("controller")).args(["--as", "root"]).args(arguments);
        command.output().unwrap()
    }

    fn enroll(&self, token: &str, more: &[&str]) -> Output {
        fs::write(self.path("token"), token).unwrap();
        let mut command = Command::new(binary("reeve-agent").unwrap());
        command.arg("enroll").arg("--config").arg(self.path("agent.toml"));
        command.arg("--token-file").arg(self.path("token")).args(more);
        command.output().unwrap()
    }

    fn new_token(&self, node: &str) -> String {
        let made = self.reevectl(&["enroll-token", "create", "--node", node]);
        assert!(made.status.success(), "{}", said(&made));
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }

    fn is_connected(&self) -> bool {
        let nodes = self.reevectl(&["nodes", "--json"]);
        assert!(nodes.status.success(), "{}", said(&nodes));
        let nodes: serde_json::Value = serde_json::from_slice(&nodes.stdout).unwrap();
        nodes["nodes"].as_array().unwrap().iter().any(|node| node["connected"] == true)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}: not in time");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn open() -> (House, Running) {
    let house = House { folder: tempfile::tempdir().unwrap(), port: free_port() };
    let dir = house.path("controller");
    let init = Command::new(binary("reeve-controller").unwrap())
        .args(["init", "--admin", "root", "--dir"])
        .arg(&dir)
        .output()
        .unwrap();
    assert!(init.status.success(), "{}", said(&init));
    fs::write(dir.join("controller.toml"), format!("[access]\ncertificate_life = \"{}s\"\n", LIFE.as_secs()))
        .unwrap();
    let settings = format!(
        "node = \"n1\"\nstate_dir = \"state\"\n\n[[vantage]]\nkind = \"port\"\ninterfaces = [\"lo\"]\n\n[controller]\n\
         address = \"https://127.0.0.1:{}\"\nca = \"state/identity/ca.crt\"\ncertificate = \"state/identity/n1.crt\"\n\
         key = \"state/identity/n1.key\"\n",
        house.port
    );
    fs::write(house.path("agent.toml"), settings).unwrap();
    let listen = format!("127.0.0.1:{}", house.port);
    let controller = house.start(
        "reeve-controller",
        "controller.log",
        &["run", "--dir", dir.to_str().unwrap(), "--listen", &listen],
    );
    until("the controller to listen", || house.log("controller.log").contains("listening"));
    (house, controller)
}

#[test]
fn a_node_is_enrolled_renews_its_certificate_by_itself_and_is_revoked() {
    let (house, _controller) = open();
    let token = house.new_token("n1");

    // Whoever passes for the controller, with another authority, is not told the token: here the token names another one.
    let (secret, pin) = token.split_once('.').unwrap();
    // Only its first letter differs: in base64 not every letter may stand at the end.
    let other = format!("{}{}", if pin.starts_with('A') { 'B' } else { 'A' }, &pin[1..]);
    let refused = house.enroll(&format!("{secret}.{other}"), &[]);
    assert_eq!(refused.status.code(), Some(69), "{}", said(&refused));
    assert!(said(&refused).contains("authority"), "{}", said(&refused));
    let unsound = house.enroll("reeve_x", &[]);
    assert_eq!(unsound.status.code(), Some(65), "{}", said(&unsound));

    let enrolled = house.enroll(&token, &[]);
    assert!(enrolled.status.success(), "{}", said(&enrolled));
    let (certificate, key) = (house.path("state/identity/n1.crt"), house.path("state/identity/n1.key"));
    assert_eq!((mode(&key), mode(&certificate)), (0o600, 0o644));
    let first = fs::read(&certificate).unwrap();
    // The token is spent, and what is there is not replaced unasked.
    assert_eq!(house.enroll(&token, &[]).status.code(), Some(78));
    assert_eq!(house.enroll(&token, &["--again"]).status.code(), Some(77));
    assert_eq!(fs::read(&certificate).unwrap(), first, "a refusal leaves what was there");

    let config = house.path("agent.toml");
    let _agent = house.start("reeve-agent", "agent.log", &["run", "--config", config.to_str().unwrap()]);
    until("the agent to be linked", || house.log("agent.log").contains("linked to the controller"));

    // For longer than two lives the node is there: it may be seen between two streams, but never twice in a row.
    let began = Instant::now();
    let (mut renewals, mut last, mut away) = (0, first, 0);
    while began.elapsed() < LIFE * 2 + Duration::from_secs(4) {
        away = if house.is_connected() { 0 } else { away + 1 };
        assert!(away < 2, "the node is away: {}", house.log("agent.log"));
        let now = fs::read(&certificate).unwrap();
        if now != last {
            (renewals, last) = (renewals + 1, now);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(renewals >= 2, "{renewals} renewals: {}", house.log("agent.log"));
    assert!(!house.log("agent.log").contains("WARN"), "{}", house.log("agent.log"));

    let revoked = house.reevectl(&["revoke", "--node", "n1", "--reason", "stolen"]);
    assert!(revoked.status.success() && said(&revoked).contains("connections cut: 1"), "{}", said(&revoked));
    until("the node to be away", || !house.is_connected());
    until("the agent to say why", || house.log("agent.log").contains("were revoked"));
    assert!(said(&house.reevectl(&["revocations"])).contains("node/n1"));
}
