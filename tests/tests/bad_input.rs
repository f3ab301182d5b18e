//! Wrong settings, files and surroundings: a clear error, the exit code for it, and never a panic.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

#[path = "../data/syns.rs"]
mod syns;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reeve_tests::house::binary;
use syns::pcap;

/// Runs a binary until it ends by itself, ten seconds at most.
fn run(name: &str, arguments: &[&str]) -> Output {
    let program = binary(name).unwrap();
    Command::new("timeout").arg("10").arg(program).args(arguments).output().unwrap()
}

/// Expects an exit code and words in what was said.
fn check(output: &Output, code: i32, words: &[&str]) {
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

const TENANTS: &str = "[[tenant]]\nid = \"a\"\naddresses = [\"203.0.113.0/24\"]\n";

/// Settings for the loopback interface, with lines in front.
fn settings(lines: &str) -> String {
    let vantage = "[[vantage]]\nkind = \"port\"\ninterfaces = [\"lo\"]\n";
    format!("{lines}\nnode = \"n1\"\ntenants = \"tenants.toml\"\nstate_dir = \"state\"\n{vantage}")
}

#[test]
fn settings_that_cannot_be_used_name_the_place() {
    let folder = Folder::new();
    folder.write("tenants.toml", TENANTS);
    for (lines, words) in [
        ("mod = \"enforce\"", ["agent.toml:1:1", "`mod`", "did you mean `mode`?"]),
        ("mode = 5", ["agent.toml:1:8", "`mode`", "observe, enforce"]),
        ("policy = \"strict\"", ["agent.toml:1:10", "\"strict\"", "baseline"]),
        ("mode = \"enforce", ["agent.toml:1:", "no TOML", "allowed: TOML"]),
        ("state_dir = 3", ["agent.toml:", "found", "TOML"]),
    ] {
        let config = folder.write("agent.toml", settings(lines));
        for command in ["check", "run"] {
            check(&run("reeve-agent", &[command, "--config", &config]), 78, &words);
        }
    }
    let missing = folder.path("nowhere.toml").display().to_string();
    check(&run("reeve-agent", &["check", "--config", &missing]), 78, &["nowhere.toml", "No such file"]);
}

#[test]
fn tenants_that_overlap_are_refused() {
    let folder = Folder::new();
    let config = folder.write("agent.toml", settings(""));
    let overlap = format!("{TENANTS}[[tenant]]\nid = \"b\"\naddresses = [\"203.0.113.64/26\"]\n");
    folder.write("tenants.toml", &overlap);
    check(
        &run("reeve-agent", &["check", "--config", &config]),
        78,
        &["tenants.toml:6:14", "203.0.113.64/26", "tenant `a`"],
    );
    let file = folder.path("tenants.toml").display().to_string();
    check(&run("reevectl", &["tenants", "import", &file]), 65, &["tenants.toml:6:14", "tenant `a`"]);
    folder.write("tenants.toml", "[[tenant]]\nid = \"a b\"\n");
    check(&run("reeve-agent", &["check", "--config", &config]), 78, &["tenants.toml:2:6", "`tenant[1].id`"]);
}

#[test]
fn a_missing_interface_is_named() {
    let folder = Folder::new();
    folder.write("tenants.toml", TENANTS);
    let config = folder.write("agent.toml", settings("").replace("\"lo\"", "\"nowhere0\""));
    check(&run("reeve-agent", &["check", "--config", &config]), 69, &["nowhere0"]);
    check(&run("reeve-agent", &["run", "--config", &config]), 69, &["nowhere0"]);
    check(&run("reeve-agent", &["check", "--files-only", "--config", &config]), 0, &["good"]);
}

/// As `nobody`, who may not capture, and without the capability to change the ruleset.
#[test]
fn without_permission_it_says_what_is_missing() {
    let folder = Folder::new();
    folder.write("tenants.toml", TENANTS);
    let config = folder.write("agent.toml", settings(""));
    let state = folder.path("state");
    std::fs::create_dir(&state).unwrap();
    let program = binary("reeve-agent").unwrap();
    let as_root_without = |capability: &str, arguments: &[&str]| {
        let mut command = Command::new("timeout");
        command.args([
            "10",
            "setpriv",
            "--bounding-set",
            &format!("-{capability}"),
            "--inh-caps",
            &format!("-{capability}"),
        ]);
        command.arg("--").arg(&program).args(arguments).output().unwrap()
    };
    if !is_root() {
        check(&run("reeve-agent", &["run", "--config", &config]), 77, &["CAP_NET_RAW"]);
        return;
    }
    check(&as_root_without("net_raw", &["run", "--config", &config]), 77, &["CAP_NET_RAW"]);
    let config = folder.write("agent.toml", settings("mode = \"enforce\""));
    check(&as_root_without("net_admin", &["run", "--config", &config]), 77, &["CAP_NET_ADMIN"]);
    check(&as_root_without("net_admin", &["check", "--config", &config]), 77, &["CAP_NET_ADMIN"]);
    check(&as_root_without("net_admin", &["clear", "--config", &config]), 77, &["CAP_NET_ADMIN"]);
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}

#[test]
fn without_nftables_it_says_so() {
    // A kernel without nftables answers as one whose netlink family is denied to the process.
    let folder = Folder::new();
    folder.write("tenants.toml", TENANTS);
    let config = folder.write("agent.toml", settings("mode = \"enforce\""));
    let program = binary("reeve-agent").unwrap();
    let filter = include_str!("deny_netfilter.py");
    let output = Command::new("timeout")
        .args(["10", "python3", "-c", filter])
        .arg(program)
        .args(["run", "--config", &config])
        .output();
    let output = output.unwrap();
    if output.status.code() == Some(99) {
        // Only where the sandbox of the test itself forbids filters.
        assert!(std::env::var_os("CI").is_none(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    check(&output, 69, &["nftables"]);
}

#[test]
fn a_controller_that_cannot_run_says_why() {
    let folder = Folder::new();
    let dir = folder.path("c").display().to_string();
    check(&run("reeve-controller", &["run", "--dir", &dir]), 78, &["is no folder", "init"]);
    check(&run("reeve-controller", &["init", "--dir", &dir]), 0, &["ca.crt"]);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check(&run("reeve-controller", &["run", "--dir", &dir, "--listen", &address]), 69, &[&address, "in use"]);

    std::fs::write(folder.path("c/reeve.db"), vec![0x5a; 20_000]).unwrap();
    for command in ["run", "check"] {
        let listen: &[&str] = if command == "run" { &["--listen", "127.0.0.1:0"] } else { &[] };
        let output = run("reeve-controller", &[&[command, "--dir", &dir], listen].concat());
        check(&output, 65, &["reeve.db", "damaged"]);
    }

    let bare = folder.path("bare");
    std::fs::create_dir(&bare).unwrap();
    let bare = bare.display().to_string();
    check(
        &run("reeve-controller", &["run", "--dir", &bare, "--listen", "0.0.0.0:0"]),
        78,
        &["loopback", "init"],
    );
    std::fs::remove_file(folder.path("c/server.key")).unwrap();
    check(&run("reeve-controller", &["run", "--dir", &dir]), 78, &["server.key"]);
}

#[test]
fn nobody_at_the_other_end_is_told_with_the_address() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    check(&run("reevectl", &["--controller", &url, "status", "a"]), 69, &[&url]);
    check(&run("reevectl", &["--dir", "/nowhere", "--as", "x", "status", "a"]), 74, &["/nowhere/ca.crt"]);
    check(&run("reevectl", &["--as", "x", "status", "a"]), 2, &["--as with --dir"]);
    check(&run("reevectl", &["status"]), 2, &["Usage"]);
    check(&run("reeve-agent", &["replay"]), 2, &["Usage"]);
}

#[test]
fn captures_that_are_cut_or_are_none_say_so() {
    let folder = Folder::new();
    let whole = pcap(40);
    let tenant = ["--tenant", "alice=203.0.113.10", "--vantage", "port"];
    let file = folder.write("whole.pcap", &whole);
    let arguments = [&["replay", file.as_str()], &tenant[..]].concat();
    check(&run("reeve-agent", &arguments), 0, &["portscan.vertical", "suspend all", "40 frames"]);
    let file = folder.write("cut.pcap", &whole[..whole.len() - 7]);
    let arguments = [&["replay", file.as_str()], &tenant[..]].concat();
    check(&run("reeve-agent", &arguments), 65, &["portscan.vertical", "39 frames", "cut.pcap", "truncated"]);
    let file = folder.write("none.pcap", "I am no capture");
    check(
        &run("reeve-agent", &[&["replay", file.as_str()], &tenant[..]].concat()),
        65,
        &["none.pcap", "no capture"],
    );
    let file = folder.path("missing.pcap").display().to_string();
    check(&run("reeve-agent", &[&["replay", file.as_str()], &tenant[..]].concat()), 74, &["missing.pcap"]);
    let manifest = folder.write("m.csv", "file,tenant\n");
    check(&run("reeve-agent", &["score", &manifest]), 65, &["m.csv", "found no row"]);
    let manifest =
        folder.write("m.csv", "file,tenant,vantage,label,class,also,must\nx,1.2.3.4,tap,abuse,flood,,yes\n");
    check(&run("reeve-agent", &["score", &manifest]), 65, &["m.csv:2", "vantage", "port or mirror"]);
}

#[test]
fn the_same_capture_gives_the_same_output_byte_for_byte() {
    let folder = Folder::new();
    let file = folder.write("whole.pcap", pcap(200));
    let arguments = ["replay", file.as_str(), "--tenant", "203.0.113.10", "--vantage", "port", "--json"];
    let (first, second) = (run("reeve-agent", &arguments), run("reeve-agent", &arguments));
    assert!(!first.stdout.is_empty());
    assert_eq!(first.stdout, second.stdout);
    let _ = Path::new(&file);
}
