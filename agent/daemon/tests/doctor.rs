//! `reeve-agent doctor` on the real kernel, each run in a network namespace of its own: what it finds, and how it ends.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on is to fail, and a skipped one to say so"
)]

mod common;

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use common::in_namespace;
use serde_json::Value;

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2 is installed");
    assert!(status.success(), "ip {arguments}");
}

/// The exit code, and what was printed.
fn doctor(config: &Path, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reeve-agent"));
    let output = command.arg("doctor").arg("--config").arg(config).args(more).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn in_json(config: &Path) -> (Option<i32>, Value) {
    let (code, text) = doctor(config, &["--json"]);
    (code, serde_json::from_str(&text).unwrap())
}

/// How a point stands whose finding holds `says`.
fn state<'a>(report: &'a Value, point: &str, says: &str) -> &'a str {
    let points = report["points"].as_array().unwrap();
    let is_it =
        |finding: &&Value| finding["point"] == point && finding["found"].as_str().unwrap().contains(says);
    let found = points.iter().find(is_it).unwrap_or_else(|| panic!("no {point} with {says}: {report:#}"));
    found["state"].as_str().unwrap()
}

#[test]
fn a_node_that_has_what_it_takes_is_well_and_what_it_lacks_is_told() {
    in_namespace(|| {
        ip("link set lo up");
        ip("link add tap1 type veth peer name far1");
        ip("link set tap1 up");
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("agent.toml");
        // A port that somebody listens on, and after that nobody: its owner knows.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = |interfaces: &str| {
            let controller = listener.local_addr().unwrap();
            let text = format!(
                "node = \"n1\"\nmode = \"enforce\"\nstate_dir = \"state\"\n[[vantage]]\nkind = \"port\"\n\
                 interfaces = [{interfaces}]\n[controller]\naddress = \"http://{controller}\"\n"
            );
            std::fs::write(&config, text).unwrap();
        };
        std::fs::create_dir(folder.path().join("state")).unwrap();

        settings("\"tap1\"");
        let (code, report) = in_json(&config);
        assert_eq!((code, &report["errors"]), (Some(0), &Value::from(0)), "{report:#}");
        for (point, says) in [
            ("settings", "mode enforce"),
            ("capabilities", "CAP_NET_ADMIN and CAP_NET_RAW"),
            ("nftables", "table inet reeve is not laid down"),
            ("interface", "tap1 can be captured on"),
            ("state folder", "can be written"),
            ("pause", "nobody"),
            ("controller", "answers at 127.0.0.1"),
            ("agent", "none is running"),
        ] {
            assert_eq!(state(&report, point, says), "ok");
        }
        assert_eq!(
            std::fs::read_dir(folder.path().join("state")).unwrap().count(),
            0,
            "nothing is left there"
        );
        let (code, table) = doctor(&config, &[]);
        assert_eq!(code, Some(0));
        assert!(table.lines().any(|line| line.starts_with("ok") && line.contains("tap1")), "{table}");

        // Somebody else has the agent's name, the controller goes away, an interface is missing.
        let name = std::os::unix::net::SocketAddr::from_abstract_name(b"reeve-agent").unwrap();
        let _agent = UnixDatagram::bind_addr(&name).unwrap();
        settings("\"tap1\", \"tap2\"");
        drop(listener);
        let (code, report) = in_json(&config);
        assert_eq!(code, Some(0), "{report:#}");
        assert_eq!(state(&report, "interface", "`tap2`"), "warning");
        assert_eq!(state(&report, "controller", "refused"), "warning");
        assert_eq!(state(&report, "agent", "one is running"), "ok");
    });
}

#[test]
fn an_error_ends_it_with_the_code_of_the_first() {
    in_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("agent.toml");
        let (code, report) = in_json(&config);
        assert_eq!(code, Some(78), "{report:#}");
        assert_eq!(state(&report, "settings", "agent.toml"), "error");

        std::fs::write(folder.path().join("tenants.toml"), "").unwrap();
        let text = "node = \"n1\"\ntenants = \"tenants.toml\"\nstate_dir = \"state\"\n[[vantage]]\nkind = \"port\"\ninterfaces = [\"tap1\"]\n";
        std::fs::write(&config, text).unwrap();
        let (code, report) = in_json(&config);
        assert_eq!((code, &report["errors"]), (Some(69), &Value::from(1)), "{report:#}");
        assert_eq!(state(&report, "interface", "`tap1`"), "error");
        assert_eq!(state(&report, "state folder", "not there yet"), "warning");
        assert!(!folder.path().join("state").exists(), "looking makes nothing");
        let (_, table) = doctor(&config, &[]);
        assert!(table.lines().any(|line| line.starts_with("ERROR    interface")), "{table}");
    });
}

/// An agent at work, until this is dropped.
struct AtWork(std::process::Child);

impl Drop for AtWork {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_agent_at_work_tells_how_it_fares() {
    in_namespace(|| {
        ip("link set lo up");
        ip("link add tap1 type veth peer name far1");
        ip("link set tap1 up");
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("agent.toml");
        std::fs::write(folder.path().join("tenants.toml"), "").unwrap();
        let settings = |port: u16| {
            let text = format!(
                "node = \"n1\"\ntenants = \"tenants.toml\"\nstate_dir = \"state\"\n[[vantage]]\nkind = \"port\"\n\
                 interfaces = [\"tap1\"]\n[metrics]\nlisten = \"127.0.0.1:{port}\"\n"
            );
            std::fs::write(&config, text).unwrap();
        };
        settings(9464);
        let mut run = Command::new(env!("CARGO_BIN_EXE_reeve-agent"));
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let _agent = AtWork(run.arg("run").arg("--config").arg(&config).stderr(log).spawn().unwrap());
        let ends = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let report = loop {
            let (_, report) = in_json(&config);
            let points = report["points"].as_array().unwrap();
            let is_well = |point: &Value| point["point"] == "at work" && point["state"] == "ok";
            if points.iter().any(is_well) {
                break report;
            }
            let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
            assert!(std::time::Instant::now() < ends, "{report:#}\n{log}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        };
        for (point, says) in [("capture", "0 of"), ("sets", "0 %"), ("spool", "0 reports wait")] {
            assert_eq!(state(&report, point, says), "ok");
        }
        // The settings name another port than the agent was started with.
        settings(9465);
        let (_, report) = in_json(&config);
        assert_eq!(state(&report, "at work", "does not tell at 127.0.0.1:9465"), "warning");
    });
}
