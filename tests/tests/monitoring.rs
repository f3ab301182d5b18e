//! The rules and the dashboard that are handed out, held against the list of metrics in docs/monitoring.md. That list is held against the
//! programs by tests of their own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Labels that Prometheus gives.
const GIVEN: [&str; 2] = ["job", "instance"];

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// The metrics that are listed, with their labels.
fn listed() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(docs("monitoring.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `reeve_"));
    let of = |row: &str| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let labels = cells[2].split(", ").map(|label| label.trim_matches('`').to_owned());
        (cells[0].trim_matches('`').to_owned(), labels.filter(|label| !label.is_empty()).collect())
    };
    rows.map(of).collect()
}

/// What is wrong with an expression of PromQL: metrics that are not listed, labels that its metrics do not have.
fn wrong(expression: &str, listed: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut labels: BTreeSet<&str> = GIVEN.into();
    let mut metrics = 0;
    let words = || expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    for word in words().filter(|word| word.starts_with("reeve_")) {
        metrics += 1;
        match listed.get(word) {
            Some(own) => labels.extend(own.iter().map(String::as_str)),
            None => wrong.push(format!("{word} is not listed")),
        }
    }
    if metrics == 0 && !words().any(|word| word == "up") {
        wrong.push("it asks for no metric of Reeve's".to_owned());
    }
    let inside = |open: &str, close: char| -> Vec<&str> {
        let parts = expression.split(open).skip(1);
        parts.filter_map(|part| part.split(close).next()).flat_map(|inside| inside.split(',')).collect()
    };
    let selected = inside("{", '}').into_iter().filter_map(|pair| pair.split(['=', '!']).next());
    let grouped = inside("by (", ')').into_iter();
    for label in selected.chain(grouped).map(str::trim).filter(|label| !labels.contains(label)) {
        wrong.push(format!("no metric in it has the label {label}"));
    }
    if expression.matches('(').count() != expression.matches(')').count() {
        wrong.push("its parentheses do not match".to_owned());
    }
    wrong
}

#[test]
fn wrong_expressions_are_known_for_what_they_are() {
    let listed = listed();
    assert!(listed.len() > 40, "{listed:?}");
    for good in ["up{job=\"x\"} == 0", "sum by (state) (reeve_controller_tenants_standing{state=\"warned\"})"]
    {
        assert_eq!(wrong(good, &listed), Vec::<String>::new(), "{good}");
    }
    for bad in [
        "reeve_agent_frames",
        "sum by (tenant) (reeve_agent_measures)",
        "reeve_agent_measures{tenant=\"x\"}",
        "time()",
        "sum(reeve_agent_measures",
    ] {
        assert_ne!(wrong(bad, &listed), Vec::<String>::new(), "{bad}");
    }
}

#[test]
fn every_rule_asks_for_metrics_that_there_are_and_says_what_to_do() {
    let listed = listed();
    let read = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let out = Command::new("/usr/bin/python3")
        .args(["-c", read])
        .arg(docs("monitoring/alerts.yaml"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let rules: Value = serde_json::from_slice(&out.stdout).unwrap();
    let mut names = BTreeSet::new();
    let groups = rules["groups"].as_array().unwrap();
    for rule in groups.iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        let name = rule["alert"].as_str().unwrap();
        assert!(names.insert(name), "{name} is there twice");
        assert_eq!(wrong(rule["expr"].as_str().unwrap(), &listed), Vec::<String>::new(), "{name}");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["info", "warning", "critical"].contains(&severity), "{name}: {severity}");
        for words in ["summary", "description"] {
            assert!(
                rule["annotations"][words].as_str().is_some_and(|text| text.ends_with(['.', '?'])),
                "{name}: {words}"
            );
        }
        let wait = rule["for"].as_str().unwrap_or("0m");
        assert!(
            wait.ends_with(['m', 'h']) && wait[..wait.len() - 1].parse::<u32>().is_ok(),
            "{name}: {wait}"
        );
    }
    assert!(names.len() >= 15, "{names:?}");
}

#[test]
fn every_panel_asks_for_metrics_that_there_are() {
    let listed = listed();
    let text = std::fs::read_to_string(docs("monitoring/grafana.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut ids = BTreeSet::new();
    let (mut taken, mut expressions) = (BTreeSet::new(), 0);
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        let place = &panel["gridPos"];
        let at = |key: &str| place[key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title} is wider than the dashboard");
        for (x, y) in
            (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            assert!(taken.insert((x, y)), "{title} covers another panel");
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m");
            assert_eq!(wrong(&expression, &listed), Vec::<String>::new(), "{title}: {expression}");
            expressions += 1;
        }
    }
    assert!(expressions >= 25, "{expressions}");
}
