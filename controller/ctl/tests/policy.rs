//! Policies from the command line: what is told of them, and by which exit code. No controller runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

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
    check(&["policy", "check", &good], 0, &["good.toml: policy ours@2, 13 rules: good"], &[]);
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
