//! People at their command line, by the programs themselves: invited, set up, logged in, held up for a second person, logged out.
//! On loopback; takes neither root nor an agent.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use data_encoding::BASE32_NOPAD;
use reeve_tests::house::binary;
use ring::hmac;

const PASSWORD: &str = "a horse, a battery";

/// The controller, until this is dropped.
struct House {
    folder: tempfile::TempDir,
    port: u16,
    controller: Option<Child>,
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(mut controller) = self.controller.take() {
            // It may have ended by itself.
            let _ = controller.kill();
            let _ = controller.wait();
        }
    }
}

impl House {
    fn open() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut house = Self { folder: tempfile::tempdir().unwrap(), port, controller: None };
        let dir = house.path("controller");
        let init = Command::new(binary("reeve-controller").unwrap())
            .args([
                "init",
                "--admin",
                "root",
                "--operator",
                "ben",
                "--billing",
                "cash",
                "--status",
                "portal",
                "--dir",
            ])
            .arg(&dir)
            .output()
            .unwrap();
        assert!(init.status.success(), "{}", said(&init));
        fs::write(dir.join("controller.toml"), "[approval]\nimportant = ['shop']\n").unwrap();
        let log = fs::File::create(house.path("log")).unwrap();
        let controller = Command::new(binary("reeve-controller").unwrap())
            .args(["run", "--listen", &format!("127.0.0.1:{port}"), "--dir"])
            .arg(&dir)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        house.controller = Some(controller.unwrap());
        let began = Instant::now();
        while !fs::read_to_string(house.path("log")).unwrap_or_default().contains("listening") {
            assert!(began.elapsed() < Duration::from_secs(30), "the controller listens");
            std::thread::sleep(Duration::from_millis(50));
        }
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command of somebody whose sessions are kept in a folder of theirs.
    fn command(&self, whose: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("reevectl").unwrap());
        command.env("XDG_STATE_HOME", self.path(whose)).env_remove("REEVE_AS").env_remove("REEVE_TOKEN_FILE");
        command.arg("--controller").arg(format!("https://127.0.0.1:{}", self.port));
        command.arg("--dir").arg(self.path("controller")).args(arguments);
        command
    }

    fn run(&self, whose: &str, arguments: &[&str]) -> Output {
        self.command(whose, arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// The same, with lines of standard input.
    fn typed(&self, whose: &str, arguments: &[&str], lines: &str) -> Output {
        let mut command = self.command(whose, arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Sets an account up as its holder does; the second factor's secret, and what is told at the end.
    fn set_up(&self, whose: &str, invitation: &str) -> (Vec<u8>, String) {
        let mut command = self.command(whose, &["set-up", "--json"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{invitation}").unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
        let secret = told.find_map(|line| Some(line.unwrap().split_once("type its secret: ")?.1.to_owned()));
        let secret = BASE32_NOPAD.decode(secret.expect("a secret is told").as_bytes()).unwrap();
        writeln!(stdin, "{PASSWORD}\n{}", code(&secret, step() - 1)).unwrap();
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert!(child.wait().unwrap().success(), "{out}");
        (secret, out)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

fn check(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
    words.iter().for_each(|word| assert!(said(output).contains(word), "{word}: {}", said(output)));
}

/// The step of now (RFC 6238), not so near to its end that it is another one soon.
fn step() -> u64 {
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        if now % 30 < 20 {
            return now / 30;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What an app shows.
fn code(secret: &[u8], step: u64) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret), &step.to_be_bytes());
    let at = usize::from(tag.as_ref()[19] & 15);
    let word = u32::from_be_bytes(tag.as_ref()[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", word % 1_000_000)
}

#[test]
fn somebody_logs_in_asks_and_is_approved_by_a_second_person() {
    let house = House::open();
    for name in ["cash", "portal"] {
        check(
            &house.run("x", &["--as", name, "whoami"]),
            0,
            &[if name == "cash" { "billing" } else { "status" }],
        );
    }
    let added = house.run("root", &["--as", "root", "person", "add", "ann", "--role", "operator"]);
    check(&added, 0, &["reeve_invitation_"]);
    let invitation = String::from_utf8(added.stdout).unwrap();
    let (secret, told) = house.set_up("ann", invitation.trim());
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["recovery_codes"].as_array().unwrap().len(), 10);

    // Nobody is anybody before they log in.
    check(&house.run("ann", &["whoami"]), 2, &["reevectl login"]);
    let wrong = house.typed("ann", &["login", "ann"], &format!("wrong\n{}\n", code(&secret, step())));
    check(&wrong, 77, &["is wrong"]);
    let right = house.typed("ann", &["login", "ann"], &format!("{PASSWORD}\n{}\n", code(&secret, step())));
    check(&right, 0, &["logged in as operator ann"]);
    let file = house.path("ann").join(format!("reeve/session-127.0.0.1-{}", house.port));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    check(&house.run("ann", &["whoami"]), 0, &["ann", "operator", "session"]);
    check(&house.run("ann", &["sessions"]), 0, &["operator ann"]);
    check(&house.run("ann", &["person", "list"]), 77, &["may not call"]);
    check(&house.run("ben", &["whoami"]), 2, &[]);

    // Not done before somebody else has looked at it.
    fs::write(house.path("tenants.toml"), "[[tenant]]\nid = \"shop\"\naddresses = [\"192.0.2.1\"]\n")
        .unwrap();
    let import = house.run("ann", &["tenants", "import", house.path("tenants.toml").to_str().unwrap()]);
    check(&import, 0, &[]);
    let asked = house.run("ann", &["suspend", "shop", "--reason", "an open relay"]);
    check(&asked, 4, &["not done yet", "shop is important", "reevectl approve A"]);
    let list = house.run("root", &["--as", "root", "approvals", "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    let id = list["approvals"][0]["id"].as_str().unwrap();
    check(&house.run("ann", &["approvals", "show", id]), 0, &["an open relay", "operator ann at 127.0.0.1"]);
    check(&house.run("ann", &["approve", id]), 77, &["it takes somebody else"]);
    // Who invited ann might have made her up.
    check(&house.run("root", &["--as", "root", "approve", id]), 77, &["was invited or reset by root"]);
    check(&house.run("ben", &["--as", "ben", "approve", id, "--reason", "seen"]), 0, &["for ann: done"]);
    check(&house.run("ben", &["--as", "ben", "approve", id]), 1, &["approved by ben already"]);

    check(&house.run("ann", &["logout"]), 0, &["logged out"]);
    assert!(!file.exists());
    check(&house.run("ann", &["whoami"]), 2, &[]);
    check(&house.run("root", &["--as", "root", "sessions"]), 0, &["nobody is logged in"]);
}
