//! The command line as scripts and people on call meet it: exit codes, and what is said.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

#[path = "../../../tests/data/syns.rs"]
mod syns;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use syns::pcap;

fn agent(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reeve-agent")).args(arguments).output().unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32, words: &[&str]) {
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("tenants.toml", "[[tenant]]\nid = \"a\"\naddresses = [\"203.0.113.0/24\"]\n");
        folder
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// Settings with one blocklist, in line 10.
    fn with_list(&self) -> String {
        self.write(
            "agent.toml",
            "node = \"n1\"\ntenants = \"tenants.toml\"\nstate_dir = \"state\"\n\n[[vantage]]\nkind = \"port\"\n\
             interfaces = [\"lo\"]\n[[blocklist]]\nname = \"drop\"\nfile = \"drop.txt\"\n",
        )
    }
}

#[test]
fn a_policys_mistakes_are_told_with_their_place() {
    let folder = Folder::new();
    let settings = "node = \"n1\"\npolicy = \"p.toml\"\ntenants = \"tenants.toml\"\nstate_dir = \"state\"\n\
                    [[vantage]]\nkind = \"port\"\ninterfaces = [\"lo\"]\n";
    let config = folder.write("agent.toml", settings);
    let mistakes = include_str!("../../../policy/tests/mistakes.txt").split("=== ").skip(1);
    for mistake in mistakes.step_by(6) {
        let (_, rest) = mistake.split_once('\n').unwrap();
        let (policy, told) = rest.split_once("---\n").unwrap();
        let file = folder.write("p.toml", policy);
        let told = told.trim_end().replace("p.toml:", &format!("{file}:"));
        for command in ["check", "run", "thresholds"] {
            check(&agent(&[command, "--config", &config]), 78, &[&told]);
        }
    }
    // A policy that protects networks which nobody has named is good, and said to be idle in that.
    let warned = ["illegal-scan", "[networks] `own` names none"];
    folder.write("p.toml", "[policy]\nname = \"ours\"\nversion = 1\nextends = \"oxygis\"\n");
    check(&agent(&["check", "--files-only", "--config", &config]), 0, &warned);
    for preset in ["anycloud", "baseline", "cloudprovider", "extin", "intermax", "oxygis"] {
        let settings = settings.replace("p.toml", preset);
        let config = folder.write("agent.toml", settings);
        check(&agent(&["check", "--files-only", "--config", &config]), 0, &["good"]);
    }
}

#[test]
fn a_blocklist_that_cannot_be_used_is_told_alike_everywhere() {
    let folder = Folder::new();
    let config = folder.with_list();
    let doctor = || -> (String, String) {
        let output = agent(&["doctor", "--json", "--config", &config]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let points = report["points"].as_array().unwrap();
        let finding = points.iter().find(|finding| finding["point"] == "blocklist").unwrap();
        (finding["state"].as_str().unwrap().to_owned(), finding["found"].as_str().unwrap().to_owned())
    };
    let good = "20.0.0.1\n".repeat(95);
    let of_24 = "20.0.1.50/24\n".repeat(11);
    for (text, code, state, words) in [
        (None, 78, "error", &["agent.toml:10:8: `blocklist[1].file`: found \"", "No such file"][..]),
        (
            Some("<html>\n".to_owned()),
            65,
            "error",
            &["drop.txt:1: found \"<html>\": no address, ", "nothing in the file"],
        ),
        (
            Some(format!("{good}{of_24}")),
            65,
            "error",
            &[
                "drop.txt: 11 of 106 lines cannot be read; the first is line 96",
                "allowed: 20.0.1.0/24 or 20.0.1.50",
            ],
        ),
        (Some(format!("{good}20.0.0.9-20.0.0.1\n")), 0, "warning", &["1 lines cannot be read", "95 entries"]),
        (Some(good.clone()), 0, "ok", &["drop: 95 entries"]),
    ] {
        match &text {
            Some(text) => drop(folder.write("drop.txt", text)),
            None => assert!(!folder.0.path().join("drop.txt").exists()),
        }
        let checked = agent(&["check", "--files-only", "--config", &config]);
        let (found_state, found) = doctor();
        assert_eq!(found_state, state, "{found}");
        let said =
            String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
        assert_eq!(checked.status.code(), Some(code), "{said}");
        if code != 0 {
            words.iter().for_each(|word| assert!(said.contains(word), "`{word}` is not in: {said}"));
        }
        words.iter().for_each(|word| assert!(found.contains(word), "`{word}` is not in: {found}"));
        if state == "warning" {
            let warning = said.lines().find(|line| line.starts_with("warning")).unwrap();
            assert!(
                warning.contains("drop.txt:96: found \"20.0.0.9-20.0.0.1\": a range that ends before"),
                "{said}"
            );
        }
    }
}

#[test]
fn check_says_in_json_what_is_good_and_what_is_not() {
    let folder = Folder::new();
    let config = folder.with_list();
    folder.write("drop.txt", "20.0.0.0/24\n10.0.0.1\n");
    let output = agent(&["check", "--files-only", "--json", "--config", &config]);
    check(&output, 0, &[]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&told["good"], &told["node"], &told["tenants"]),
        (&true.into(), &"n1".into(), &1.into()),
        "{told}"
    );
    let list = &told["blocklists"][0];
    assert_eq!((&list["entries"], &list["refused"]), (&1.into(), &1.into()), "{told}");
    assert!(list["warnings"][0].as_str().unwrap().contains("drop.txt:2: found \"10.0.0.1\""), "{told}");

    folder.write("agent.toml", "mod = \"enforce\"\n");
    let output = agent(&["check", "--json", "--config", &config]);
    assert_eq!(output.status.code(), Some(78));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["good"], false, "{told}");
    let errors = told["errors"].as_array().unwrap();
    assert!(errors.len() == 4 && errors[3].as_str().unwrap().contains("agent.toml:1:1: `mod`"), "{told}");
}

#[test]
fn a_policy_of_no_such_name_is_refused_alike_and_none_is_needed_to_see_numbers() {
    let folder = Folder::new();
    let capture = folder.write("a.pcap", pcap(3));
    let said = &["`--policy`: found \"nope\"; allowed: baseline", "or the path of a file"];
    check(&agent(&["thresholds", "--policy", "nope"]), 2, said);
    check(&agent(&["replay", &capture, "--tenant", "203.0.113.10", "--policy", "nope"]), 2, said);
    check(&agent(&["score", &capture, "--policy", "nope"]), 2, said);
    let nowhere = folder.0.path().join("nowhere.toml").display().to_string();
    check(
        &agent(&["thresholds", "--config", &nowhere]),
        78,
        &["--policy baseline goes without", "nowhere.toml: No such file"],
    );
    check(&agent(&["thresholds", "--policy", "baseline", "--class", "quota"]), 0, &["bytes_per_month"]);
}

#[test]
fn a_replay_says_when_nobody_was_there_and_reads_standard_input() {
    let folder = Folder::new();
    let capture = folder.write("a.pcap", pcap(40));
    let absent = agent(&["replay", &capture, "--tenant", "bob=198.51.100.1"]);
    check(&absent, 0, &["no packet of bob: is --tenant right?"]);
    let one = agent(&["replay", &capture, "--tenant", "a=203.0.113.10", "--tenant", "bob=198.51.100.1"]);
    check(&one, 0, &["no packet of bob: is --tenant right?"]);
    assert!(!String::from_utf8_lossy(&one.stderr).contains("no packet of a"));
    let empty = folder.write("none.toml", "");
    check(&agent(&["replay", &capture, "--tenants", &empty]), 0, &["none.toml names no tenant"]);

    let whole = agent(&["replay", &capture, "--tenant", "203.0.113.10"]);
    assert!(whole.stderr.is_empty(), "{}", String::from_utf8_lossy(&whole.stderr));
    let mut child = Command::new(env!("CARGO_BIN_EXE_reeve-agent"))
        .args(["replay", "-", "--tenant", "203.0.113.10"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&pcap(40)).unwrap();
    let piped = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&piped.stdout).contains("portscan.vertical"));
    assert_eq!(piped.stdout, whole.stdout);
}

#[test]
fn a_score_of_nothing_is_no_success() {
    let folder = Folder::new();
    let nothing = folder.write("m.csv", "file,tenant,vantage,label,class,also,must\n");
    let marks = folder.write("marks.toml", "false_alarms = 0\n");
    check(&agent(&["score", &nothing, "--fail-below", &marks]), 65, &["m.csv: found no row; allowed: "]);
    let here = folder.0.path().display().to_string();
    check(&agent(&["score", &here]), 65, &["found a folder; allowed: "]);
    let marks = folder.write("marks.toml", "[found]\nportscn = 1\n");
    check(
        &agent(&["score", &nothing, "--fail-below", &marks]),
        65,
        &["marks.toml:2:1", "did you mean `portscan`?"],
    );
}

/// The keys are the agent's own: those that it names where one is not known.
#[test]
fn every_key_of_the_settings_stands_in_the_manual_and_in_the_packaged_file() {
    let folder = Folder::new();
    let text = "x = 1\n[[vantage]]\nx = 1\n[protected]\nx = 1\n[enforcement]\nx = 1\n[controller]\nx = 1\n[[blocklist]]\nx = 1\n[limits]\nx = 1\n[history]\nx = 1\n[metrics]\nx = 1\n";
    let config = folder.write("agent.toml", text);
    let output = agent(&["check", "--config", &config]);
    let said = String::from_utf8(output.stderr).unwrap();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let read = |path: &str| std::fs::read_to_string(format!("{root}/{path}")).unwrap();
    let (manual, packaged) = (read("docs/settings.md"), read("systemd/debian/agent.toml"));
    let unknown: Vec<&str> = said.lines().filter(|line| line.contains("a key that is not known")).collect();
    assert_eq!(unknown.len(), 9, "{said}");
    for line in unknown {
        let (place, keys) = line.split_once(": found a key that is not known; allowed: ").unwrap();
        let is_root = place.ends_with("`x`");
        for key in keys.split(" (did").next().unwrap().split(", ") {
            let is_table = is_root && !manual.contains(&format!("| `{key}`"));
            let told = if is_table { format!("[{key}]") } else { format!("| `{key}`") };
            assert!(manual.contains(&told), "docs/settings.md has no {told}");
            let shown = if is_table { format!("[{key}]") } else { format!("{key} = ") };
            assert!(packaged.contains(&shown), "systemd/debian/agent.toml has no {shown}");
        }
    }
}

/// Comments begin with a capital letter or are a setting that is left out.
#[test]
fn what_is_left_out_of_the_packaged_file_can_be_put_in() {
    let folder = Folder::new();
    let packaged = concat!(env!("CARGO_MANIFEST_DIR"), "/../../systemd/debian/agent.toml");
    let whole: Vec<String> = std::fs::read_to_string(packaged)
        .unwrap()
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if rest.starts_with('[')
                    || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) =>
            {
                rest.to_owned()
            }
            _ => line.to_owned(),
        })
        .collect();
    let config = folder.write("agent.toml", whole.join("\n"));
    folder.write("drop.txt", "");
    let authority = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    for file in ["ca.crt", "node-1.crt", "node-1.key"] {
        folder.write(file, authority);
    }
    let said = agent(&["check", "--files-only", "--json", "--config", &config]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(!said.contains("agent.toml:"), "no setting is refused: {said}");
}

/// What a node without a controller has kept of a scan in a capture.
fn keep_a_scan(folder: &Folder, policy: &str) -> reeve_policy::ViolationId {
    use reeve_core::engine::Output;
    use reeve_policy::{Mode, Report};
    use reeve_replay::{Scene, replay};

    let capture = folder.write("scan.pcap", pcap(40));
    let tenant = "a=203.0.113.0/24".parse().unwrap();
    let policy = reeve_policy::language::Policy::parse("p.toml", policy).unwrap();
    let scene = Scene { policy: policy.into(), mode: Mode::Enforce, ..Scene::bench(&[tenant]) };
    let mut cases = reeve_agent::state::cases::Cases::default();
    let mut id = None;
    replay(&scene, &[capture.into()], |output| match output {
        Output::Violation(violation) => {
            id = Some(violation.id.clone());
            cases.take(&Report::Violation(violation));
        }
        Output::Decision(decision) => drop(cases.take(&Report::Decision(decision))),
        _ => {}
    })
    .unwrap();
    let state = reeve_agent::state::StateFolder::open(&folder.0.path().join("state")).unwrap();
    state.store_cases(&cases).unwrap();
    id.unwrap()
}

#[test]
fn a_node_alone_explains_what_it_did() {
    let folder = Folder::new();
    let config = folder.with_list();
    folder.write("drop.txt", "20.0.0.1\n");
    let head = "[policy]\nname = \"own\"\nversion = 3\nextends = \"baseline\"\n";
    let id = keep_a_scan(
        &folder,
        &format!("{head}[tenant.a.thresholds.\"portscan.vertical\"]\nports = 30\nlow_ports = 100\n"),
    );
    let id = id.to_string();
    let told = agent(&["explain", &id, "--config", &config]);
    check(
        &told,
        0,
        &[
            "clause baseline/portscan",
            "portscan.vertical: ports 30 in 60 s, limit 30: the tenant's own (the policy's is 20)",
            "ports below 30 in 60 s: nothing by this number",
        ],
    );
    let told = agent(&["explain", &id, "--json", "--config", &config]);
    let value: Value = serde_json::from_slice(&told.stdout).unwrap();
    let reckoning = &value["decisions"][0]["reckoning"];
    assert_eq!(reckoning["numbers"][0]["from"], "tenant");
    assert_eq!(reckoning["history"]["strikes"], 1);
    check(&agent(&["explain", "01NONE", "--config", &config]), 1, &["no violation 01NONE is kept here"]);
}

#[test]
fn a_policy_is_tried_before_it_is_enforced() {
    let folder = Folder::new();
    let capture = folder.write("scan.pcap", pcap(50));
    let lax = "[policy]\nname = \"lax\"\nversion = 1\nextends = \"baseline\"\n\
               [thresholds.\"portscan.vertical\"]\nports = 400\nlow_ports = 400\n";
    let lax = folder.write("lax.toml", lax);
    folder.write("tenants.toml", "[[tenant]]\nid = \"t-1\"\naddresses = [\"203.0.113.10/32\"]\n");
    let config = "node = \"n1\"\npolicy = \"lax.toml\"\ntenants = \"tenants.toml\"\n\
                  [[vantage]]\nkind = \"uplink\"\ninterfaces = [\"eth0\"]\n[protected]\nsources = [\"t-2\"]\n";
    let config = folder.write("agent.toml", config);
    let tried = |argv: &[&str], code: i32| {
        let output = agent(&[&["try"], argv].concat());
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{argv:?}\n{out}\n{err}");
        out.into_owned()
    };
    // Against what the settings say, and of their tenants.
    let told = tried(&["extin", "--pcap", &capture, "--config", &config], 1);
    assert!(told.contains("extin@1 against lax@1") && told.contains("NEWLY HIT\n  t-1  portscan"), "{told}");
    let told = tried(&[&lax, "--pcap", &capture, "--config", &config], 0);
    assert!(told.contains("nobody is hit otherwise"), "{told}");
    // Without any settings.
    let given = ["extin", "--pcap", &capture, "--against", "extin", "--tenant", "a=203.0.113.10", "--json"];
    let told: Value = serde_json::from_str(&tried(&given, 0)).unwrap();
    assert_eq!((&told["same"], &told["frames"]), (&1.into(), &50.into()));
    tried(&["nosuch", "--pcap", &capture, "--config", &config], 2);
    tried(&["extin", "--pcap", &config, "--config", &config], 65);
    tried(&["extin", "--pcap", &capture, "--config", "/nowhere.toml"], 78);
}
