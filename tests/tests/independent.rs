//! The protocol spoken by somebody else: `tests/client`, in another language, made of the protocol files alone, plays the life of a
//! suspension before the real controller, over gRPC and with curl.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reeve_tests::house::{READY, binary};
use reeve_tests::wait::wait_until;

/// What the client tells when all went as it must, in this order.
const STEPS: &[&str] = &[
    "enrolled by a token and a certificate request",
    "a token is good once",
    "connected as an agent, and told the tenants",
    "a violation is reported, stored and read again as it was",
    "what is ordered is not told before a kernel holds it",
    "suspended: ordered, carried out, seen by gRPC and by curl",
    "released: ordered, carried out, seen by gRPC and by curl",
    "after an interruption nothing is lost and nothing counted twice",
    "wrong roles, strangers and unsound requests are refused, each by its own code",
    "a program's token lets it ask and nothing else, until it is revoked",
];
/// The client takes a few seconds; a busy machine may take longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// A program that runs until this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free(address: &str) -> SocketAddr {
    std::net::TcpListener::bind(address).unwrap().local_addr().unwrap()
}

/// Plays the story before a controller that listens at an address of this machine.
fn play(address: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (dir, log) = (folder.path().join("controller"), folder.path().join("controller.log"));
    let people = ["init", "--admin", "root", "--operator", "oncall", "--viewer", "auditor", "--dir"];
    let init = Command::new(binary("reeve-controller").unwrap()).args(people).arg(&dir).output().unwrap();
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    let (grpc, http) = (free(address), free(address));
    let mut run = Command::new(binary("reeve-controller").unwrap());
    run.arg("run").arg("--dir").arg(&dir);
    run.args(["--listen", &grpc.to_string(), "--http", &http.to_string()]);
    run.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
    let _controller = Running(run.spawn().unwrap());
    let listens = || Ok(fs::read_to_string(&log)?.contains("listening"));
    wait_until("the controller to listen", READY, listens).unwrap();

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let said = folder.path().join("said");
    let mut client = Command::new("/usr/bin/python3");
    // Nothing is written beside the sources.
    client.arg("-B").arg(root.join("client/story.py"));
    client.arg("--protocol").arg(root.join("../proto/proto")).arg("--house").arg(&dir);
    client.arg("--work").arg(folder.path().join("generated"));
    client.args(["--grpc", &grpc.to_string(), "--http", &http.to_string()]);
    client
        .stdout(fs::File::create(&said).unwrap())
        .stderr(fs::File::create(folder.path().join("wrong")).unwrap());
    let mut client = Running(client.spawn().expect("python3 is installed: ./dev setup"));
    let mut ended = None;
    let over = wait_until("the client to end", PATIENCE, || {
        ended = client.0.try_wait()?;
        Ok(ended.is_some())
    });
    let wrong = fs::read_to_string(folder.path().join("wrong")).unwrap();
    let log = fs::read_to_string(&log).unwrap();
    over.unwrap_or_else(|error| panic!("{error}: {wrong}\n{log}"));
    assert!(ended.is_some_and(|ended| ended.success()), "{wrong}\n{log}");
    let said = fs::read_to_string(&said).unwrap();
    assert_eq!(said.lines().collect::<Vec<_>>(), STEPS, "{wrong}");
}

#[test]
fn a_client_of_another_house_plays_the_whole_story_over_ipv4() {
    play("127.0.0.1:0");
}

#[test]
fn a_client_of_another_house_plays_the_whole_story_over_ipv6() {
    play("[::1]:0");
}
