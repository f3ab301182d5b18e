//! Policies from the command line: what is told of them, and by which exit code. No controller runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

#[path = "../../../tests/data/syns.rs"]
mod syns;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use syns::pcap;

const OURS: &str = "[policy]\nname = \"ours\"\nversion = 2\nextends = \"baseline\"\n\
                    [thresholds.\"flood.syn\"]\npackets_per_second = 900\n";

fn reevectl(argv: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reevectl"));
    // Nobody is there to be asked.
    command.args(argv).env("REEVE_CONTROLLER", "http://127.0.0.1:1").output().unwrap()
}

/// A file in a folder of its own, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("reevectl-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        text_of(&path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn text_of(path: &Path) -> String {
    path.display().to_string()
}

fn check(argv: &[&str], code: i32, stdout: &[&str], stderr: &[&str]) -> String {
    let output = reevectl(argv);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{argv:?}\n{out}\n{err}");
    for (text, parts) in [(&out, stdout), (&err, stderr)] {
        assert!(!parts.is_empty() || text.is_empty(), "{argv:?}: {text}");
        for part in parts {
            assert!(text.contains(part), "{argv:?}: {part} is not in\n{text}");
        }
    }
    out
}

#[test]
fn a_good_policy_is_told_so_and_a_bad_one_where_it_is_wrong() {
    let folder = Folder::new("check");
    let good = folder.file("good.toml", OURS);
    let bad =
        folder.file("bad.toml", &format!("{OURS}[[rule]]\nid = \"r\"\non = [\"flood.*\"]\nladder = []\n"));
    check(&["policy", "check", &good], 0, &["good.toml: policy ours@2, 14 rules: good"], &[]);
    let told = check(&["--json", "policy", "check", &good], 0, &["\"good\":true"], &[]);
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap()["version"], 2);
    let place = ["bad.toml:10:10: `rule[1].ladder`: found a list", "10 | ladder = []", "   |          ^"];
    check(&["policy", "check", &good, &bad], 65, &["good.toml: policy ours@2"], &place);
    check(&["policy", "check", "/nowhere.toml"], 74, &[], &["/nowhere.toml: No such file"]);
    check(&["policy", "check"], 2, &[], &["<FILE>"]);
}

/// All kinds of mistakes, each through the program.
#[test]
fn each_mistake_is_told_in_the_same_words() {
    let folder = Folder::new("mistakes");
    let all = include_str!("../../../policy/tests/mistakes.txt");
    for mistake in all.split("=== ").skip(1) {
        let (_, rest) = mistake.split_once('\n').unwrap();
        let (policy, told) = rest.split_once("---\n").unwrap();
        let file = folder.file("p.toml", policy);
        let told = told.trim_end().replace("p.toml:", &format!("{file}:"));
        check(&["policy", "check", &file], 65, &[], &[&told]);
    }
}

#[test]
fn presets_are_shown_and_checked_by_name() {
    let folder = Folder::new("presets");
    for name in ["anycloud", "baseline", "cloudprovider", "extin", "intermax", "oxygis"] {
        let shown = check(&["policy", "show", name], 0, &[&format!("name = \"{name}\"")], &[]);
        let file = folder.file("shown.toml", &shown);
        check(&["policy", "check", &file], 0, &["good"], &[]);
        check(&["policy", "diff", name, &file], 0, &[], &[]);
    }
}

#[test]
fn what_is_shown_is_a_policy_and_differs_by_nothing() {
    let folder = Folder::new("show");
    let ours = folder.file("ours.toml", OURS);
    let shown = check(&["policy", "show", &ours], 0, &["name = \"ours\"", "packets_per_second = 900"], &[]);
    assert!(!shown.contains("extends"), "what it extends is put in");
    let again = folder.file("again.toml", &shown);
    check(&["policy", "diff", &ours, &again], 0, &[], &[]);
    let policy = check(&["--json", "policy", "show", "baseline"], 0, &["\"name\":\"baseline\""], &[]);
    assert_eq!(serde_json::from_str::<Value>(&policy).unwrap()["version"], 1);
}

#[test]
fn differences_are_told_and_show_in_the_exit_code() {
    let folder = Folder::new("diff");
    let ours = folder.file("ours.toml", OURS);
    let told = [
        "name: \"baseline\" -> \"ours\"",
        "version: 1 -> 2",
        "thresholds flood.syn: packets_per_second: 200 -> 900",
    ];
    let out = check(&["policy", "diff", "baseline", &ours], 1, &told, &["3 differences"]);
    assert_eq!(out.lines().count(), 3, "{out}");
    let out =
        check(&["--json", "policy", "diff", "baseline", &ours], 1, &["differences"], &["3 differences"]);
    let all = serde_json::from_str::<Value>(&out).unwrap();
    assert_eq!(all["differences"][2]["after"], "900");
}

#[test]
fn a_policy_is_tried_on_a_capture_and_held_against_another() {
    let folder = Folder::new("try");
    let path = folder.0.join("scan.pcap");
    std::fs::write(&path, pcap(55)).unwrap();
    let capture = text_of(&path);
    let tenants =
        folder.file("tenants.toml", "[[tenant]]\nid = \"t-1\"\naddresses = [\"203.0.113.10/32\"]\n");
    let lax = "[policy]\nname = \"lax\"\nversion = 3\nextends = \"baseline\"\n\
               [thresholds.\"portscan.vertical\"]\nports = 400\nlow_ports = 400\n";
    let lax = folder.file("lax.toml", lax);
    let with = ["--pcap", &capture, "--tenants", &tenants];
    let argv = |candidate: &'static str| [&["policy", "try", candidate][..], &with].concat();
    check(&argv("baseline"), 0, &["baseline@1 against baseline@1: 55 frames", "1 hit in the same way"], &[]);
    let hits = [
        "NEWLY HIT\n  t-1  portscan\n    extin/portscan, 1 violation",
        "suspend all until released",
        "cuts ",
    ];
    let argv = [&argv("extin")[..], &["--against", &lax]].concat();
    check(&argv, 1, &hits, &["1 newly hit, 0 no longer, 0 otherwise"]);
    let told = check(&[&["--json"][..], &argv].concat(), 1, &["\"newly\""], &["newly hit"]);
    let told = serde_json::from_str::<Value>(&told).unwrap();
    assert_eq!(told["newly"][0]["after"]["steps"][0]["action"], "suspend");
    assert_eq!((&told["candidate"]["name"], &told["frames"]), (&"extin".into(), &55.into()));
    let argv =
        ["policy", "try", &lax, "--against", "extin", "--pcap", &capture, "--tenant", "a=203.0.113.10"];
    check(&argv, 1, &["NO LONGER HIT\n  a  portscan"], &["0 newly hit, 1 no longer"]);
    check(&["policy", "try", "baseline", "--pcap", &capture], 2, &[], &["--tenants <FILE>"]);
    let rubbish = folder.file("rubbish.pcap", "rubbish");
    check(
        &["policy", "try", "baseline", "--pcap", &rubbish, "--tenant", "203.0.113.10"],
        65,
        &[],
        &["it is no capture"],
    );
    check(
        &["policy", "try", "baseline", "--pcap", "/nowhere", "--tenant", "203.0.113.10"],
        74,
        &[],
        &["/nowhere"],
    );
    let twice = ["--tenant", "a=203.0.113.10", "--tenant", "b=203.0.113.10"];
    check(
        &[&["policy", "try", "baseline", "--pcap", &capture][..], &twice].concat(),
        65,
        &[],
        &["the tenants: "],
    );
}

#[test]
fn schemas_are_printed_for_editors() {
    for (of, key) in [("policy", "rule"), ("tenants", "tenant"), ("settings", "vantage")] {
        let schema: Value =
            serde_json::from_str(&check(&["policy", "schema", "--of", of], 0, &["\"properties\""], &[]))
                .unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(schema["properties"][key].is_object(), "{of}");
    }
    check(&["policy", "schema"], 0, &["A policy of Reeve's"], &[]);
}

#[test]
fn what_the_controller_is_asked_for_is_sound_before_it_is_asked() {
    let folder = Folder::new("rollout");
    let good = folder.file("good.toml", OURS);
    let bad = folder.file("bad.toml", &format!("{OURS}colour = 1\n"));
    check(
        &["policy", "upload", &bad],
        65,
        &[],
        &["bad.toml:7:1: ", "found a key that is not known", "7 | colour = 1"],
    );
    check(&["policy", "upload", "/nowhere.toml"], 74, &[], &["/nowhere.toml: No such file"]);
    check(&["policy", "stage", "ours@2"], 2, &[], &["<--percent <NUMBER>|--node <NAME>>"]);
    check(&["policy", "stage", "ours@2", "--percent", "100"], 2, &[], &["100 is not in 1..=99"]);
    check(&["policy", "activate", "ours"], 2, &[], &["a policy's name and version, such as baseline@1"]);
    // Nobody is there to be asked.
    for argv in [
        &["policy", "upload", &good][..],
        &["policy", "list"],
        &["policy", "get", "ours@2"],
        &["policy", "stage", "ours@2", "--node", "a", "--node", "b"],
        &["policy", "activate", "ours@2"],
        &["policy", "rollback"],
        &["policy", "rollout"],
        &["policy", "diff", "ours@2", &good],
    ] {
        check(argv, 69, &[], &["cannot be reached"]);
    }
    // A file goes before what the controller may have.
    let named = folder.file("ours@2", OURS);
    check(&["policy", "diff", &good, &named], 0, &[], &[]);
}

#[test]
fn letters_are_shown_before_anybody_reads_them_and_texts_are_tried_with_their_mistakes() {
    let folder = Folder::new("letters");
    let out = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    let wrong = |output: &Output| String::from_utf8(output.stderr.clone()).unwrap();
    let compiled_in = out(&reevectl(&["policy", "texts", "da"]));
    let own = folder.file("own.toml", &compiled_in.replace("warning = \"Se venligst", "warning = \"PAS PÅ"));
    let shown = reevectl(&[
        "policy",
        "letters",
        "anycloud",
        "--language",
        "da",
        "--clause",
        "anycloud/22.1.ix",
        "--texts",
        &own,
    ]);
    assert_eq!(shown.status.code(), Some(0), "{}", wrong(&shown));
    let told = out(&shown);
    assert!(
        told.starts_with("--- anycloud/22.1.ix, rule scan, step 1: immediate to example-customer (da)\n"),
        "{told}"
    );
    assert!(told.contains("203.0.113.10/32") && !told.contains('{'), "{told}");
    // Another language than the policy writes in is told of, beside the letter that would be sent.
    let other = reevectl(&["--json", "policy", "letters", "oxygis", "--language", "da", "--clause", "api"]);
    assert_eq!(other.status.code(), Some(0));
    assert!(wrong(&other).contains("does not write in da"), "{}", wrong(&other));
    for line in out(&other).lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!((line["language"].as_str(), line["rule"].as_str()), (Some("nl"), Some("api")));
    }
    let bad = folder.file("bad.toml", "language = \"da\"\n[subject]\nwarning = \"{tennant}\"\n");
    let refused = reevectl(&["policy", "letters", "anycloud", "--texts", &bad]);
    assert_eq!(refused.status.code(), Some(65));
    assert!(wrong(&refused).contains("bad.toml:3:11: `subject.warning`"), "{}", wrong(&refused));
    assert!(wrong(&refused).contains("places are {tenant}"), "{}", wrong(&refused));
    let none = reevectl(&["policy", "letters", "anycloud", "--clause", "anycloud/none"]);
    assert_eq!(none.status.code(), Some(66));
}
