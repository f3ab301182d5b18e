//! `docs/clauses.md` says what the presets say: each clause of the providers' policies, what it demands, the rules that answer for it, their
//! classes and steps, and what tests that. The clauses are in `policy/clauses.toml`, the rules' cases in `policy/tests/ladders`.
//!
//! A clause that nothing answers for, or that nothing tests, is an error; so is a test that is not there.
//!
//! After a change of any of them: `REEVE_UPDATE_DOCS=1 cargo test -p reeve-agent --test clauses`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod manual;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use reeve_policy::language::conditions::Grace;
use reeve_policy::language::{Policy, Rule};
use reeve_policy::reader::format_duration;
use serde::Deserialize;

/// A provider and the clauses of its policy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Provider {
    title: String,
    language: String,
    clause: Vec<Clause>,
}

/// A clause.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Clause {
    id: String,
    says: String,
    /// What serves it, where no rule does.
    served: Option<String>,
    /// What it waits for, where it is not served yet.
    workflow: Option<String>,
    /// Tests beside a rule's cases.
    #[serde(default)]
    tests: Vec<String>,
}

/// Where functions are defined, by file: the last two parts of its path.
struct Sources(Vec<(PathBuf, BTreeSet<String>)>);

#[test]
fn the_manual_of_the_clauses_says_what_the_presets_say() {
    manual::check("clauses", "clauses", &chapters());
}

#[test]
fn a_clause_without_an_answer_or_a_test_is_an_error() {
    let sources = Sources::read();
    let policy = Policy::preset("extin").unwrap();
    let clause = |id: &str, served: Option<&str>, workflow: Option<&str>, tests: &[&str]| Clause {
        id: id.into(),
        says: "x".into(),
        served: served.map(Into::into),
        workflow: workflow.map(Into::into),
        tests: tests.iter().map(ToString::to_string).collect(),
    };
    let check = |clause: Clause, cases: &str, expect: Option<&str>| {
        let told = row(&clause, &policy, &count(cases), &sources).err();
        assert_eq!(told.as_deref(), expect, "{clause:?}");
    };
    let here = "clauses.rs::a_clause_without_an_answer_or_a_test_is_an_error";
    check(clause("extin/relay", None, None, &[]), "relay | a | b", None);
    check(
        clause("extin/relay", None, None, &[]),
        "# relay | a | b",
        Some("extin/relay: rule `relay` has no case"),
    );
    check(
        clause("extin/none", None, None, &[]),
        "",
        Some("extin/none: no rule names it, nothing else serves it"),
    );
    check(clause("extin/none", Some("x"), None, &[]), "", Some("extin/none: nothing tests it"));
    check(clause("extin/none", Some("x"), None, &[here]), "", None);
    check(clause("extin/none", None, Some("x"), &[]), "", None);
    let gone = "clauses.rs::nothing_of_the_kind";
    let told = "extin/none: there is no test `clauses.rs::nothing_of_the_kind`";
    check(clause("extin/none", Some("x"), None, &[gone]), "", Some(told));
    let told = "extin/relay: a rule answers for it, and it says that it waits";
    check(clause("extin/relay", None, Some("x"), &[]), "relay | a | b", Some(told));
}

#[test]
fn rules_name_no_clause_that_is_not_listed() {
    let providers = providers();
    let listed: BTreeSet<&str> =
        providers.values().flat_map(|provider| &provider.clause).map(|clause| clause.id.as_str()).collect();
    for (name, _) in Policy::PRESETS {
        let policy = Policy::preset(name).unwrap();
        for rule in &policy.rules {
            for clause in std::iter::once(&rule.clause).chain(&rule.also) {
                let is_baseline = clause.starts_with("baseline/");
                assert!(is_baseline || listed.contains(clause.as_str()), "{name}: {clause}");
                assert!(is_baseline || clause.starts_with(&format!("{name}/")), "{name}: {clause}");
            }
        }
        if let Some(provider) = providers.get(name) {
            assert_eq!(policy.language.as_str(), provider.language, "{name}");
        }
    }
}

fn providers() -> BTreeMap<String, Provider> {
    toml::from_str(&fs::read_to_string(manual::root().join("policy/clauses.toml")).unwrap()).unwrap()
}

fn chapters() -> String {
    let (providers, sources) = (providers(), Sources::read());
    let mut text = String::new();
    for (name, _) in Policy::PRESETS {
        let Some(provider) = providers.get(name) else { continue };
        let policy = Policy::preset(name).unwrap();
        let cases = count(
            &fs::read_to_string(manual::root().join(format!("policy/tests/ladders/{name}.txt"))).unwrap(),
        );
        let _ = write!(text, "\n## {} (`{name}`)\n\n", provider.title);
        text.push_str("| clause | what it demands | rule: classes, answer | tests |\n|---|---|---|---|\n");
        for clause in &provider.clause {
            text.push_str(&row(clause, &policy, &cases, &sources).unwrap_or_else(|error| panic!("{error}")));
        }
        text.push_str(&rest(&policy));
    }
    text
}

/// A clause's line, or what is missing.
fn row(
    clause: &Clause,
    policy: &Policy,
    cases: &BTreeMap<String, usize>,
    sources: &Sources,
) -> Result<String, String> {
    let id = &clause.id;
    let names = |rule: &&Rule| rule.clause == *id || rule.also.contains(id);
    let rules: Vec<&Rule> = policy.rules.iter().filter(names).collect();
    let mut tests = Vec::new();
    for rule in &rules {
        let number =
            cases.get(rule.id.as_str()).ok_or_else(|| format!("{id}: rule `{}` has no case", rule.id))?;
        tests.push(format!("{number} of `{}`", rule.id));
    }
    if !tests.is_empty() {
        tests = vec![format!("cases: {}", tests.join(", "))];
    }
    for test in &clause.tests {
        if !sources.has(test) {
            return Err(format!("{id}: there is no test `{test}`"));
        }
        tests.push(format!("`{test}`"));
    }
    let answers: Vec<String> = rules.iter().map(|rule| answer(rule, rule.clause == *id)).collect();
    let answer = match (&clause.workflow, &clause.served, answers.is_empty()) {
        (Some(_), _, false) => return Err(format!("{id}: a rule answers for it, and it says that it waits")),
        (Some(what), ..) => format!("**workflow**: waits for {what}"),
        (None, None, true) => return Err(format!("{id}: no rule names it, nothing else serves it")),
        (None, served, _) => served.iter().cloned().chain(answers).collect::<Vec<_>>().join("<br>"),
    };
    if tests.is_empty() && clause.workflow.is_none() {
        return Err(format!("{id}: nothing tests it"));
    }
    Ok(format!("| `{id}` | {} | {answer} | {} |\n", clause.says, tests.join("<br>")))
}

/// What a rule does, in one line.
fn answer(rule: &Rule, is_main: bool) -> String {
    if !is_main {
        return format!("also `{}` ({})", rule.id, rule.clause);
    }
    let classes: Vec<String> = rule.on.iter().map(|class| format!("`{class}`")).collect();
    let mut text = format!("**`{}`**: {}", rule.id, classes.join(", "));
    if let Some(target) = rule.target {
        let _ = write!(text, ", of {} systems", target.name());
    }
    if let Some(kind) = rule.kind {
        let _ = write!(text, ", at endpoints of the kind `{}`", kind.name());
    }
    let mut ladder = String::new();
    for (place, step) in rule.ladder.iter().enumerate() {
        if place > 0 {
            let wait = rule.ladder[place - 1]
                .grace
                .or((!rule.ladder[place - 1].action.is_measure()).then_some(rule.grace));
            let wait = wait.unwrap_or(Grace::Span(Rule::AFTER_MEASURE));
            let _ = write!(ladder, " → (still seen after {wait}, or seen again) ");
        }
        let _ = write!(ladder, "`{}`", step.told());
    }
    let _ = write!(text, ": {ladder}");
    let step = |step: usize| {
        if step + 1 == rule.ladder.len() { "the last".into() } else { format!("step {}", step + 1) }
    };
    if let Some(severe) = rule.severe {
        let _ = write!(text, "; from {} times its number on: {}", severe.times, step(severe.step));
    }
    if let Some(repeat) = rule.repeat {
        let _ = write!(text, "; again within {}: {}", format_duration(repeat.within), step(repeat.step));
    }
    if let Some(known) = rule.known_offender {
        let _ = write!(text, "; known for it: {}", step(known));
    }
    if let Some(parent) = &rule.parent {
        let steps: Vec<String> = parent.ladder.iter().map(|step| format!("`{}`", step.told())).collect();
        let within = format_duration(parent.within);
        let _ = write!(
            text,
            "; held against the reseller from {} strikes of {} customers within {within} on: {}",
            parent.violations,
            parent.children,
            steps.join(" → ")
        );
    }
    if rule.memory != Rule::DEFAULT_MEMORY {
        let _ = write!(text, "; remembered for {}", format_duration(rule.memory));
    }
    text
}

/// What stays under the clauses of the policy that is extended.
fn rest(policy: &Policy) -> String {
    let own = format!("{}/", policy.name);
    let all: Vec<String> = policy
        .rules
        .iter()
        .filter(|rule| !rule.clause.starts_with(&own))
        .map(|rule| {
            format!(
                "`{}` ({})",
                rule.clause,
                rule.on.iter().map(|class| format!("`{class}`")).collect::<Vec<_>>().join(", ")
            )
        })
        .collect();
    if all.is_empty() {
        String::new()
    } else {
        format!("\nUnder the baseline's clauses: {}.\n", all.join(", "))
    }
}

/// How many cases of each rule a table has.
fn count(table: &str) -> BTreeMap<String, usize> {
    let mut cases = BTreeMap::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        if let Some((rule, _)) = line.split_once('|') {
            *cases.entry(rule.trim().to_owned()).or_default() += 1;
        }
    }
    cases
}

impl Sources {
    /// Those of the whole workspace.
    fn read() -> Self {
        let mut files = Vec::new();
        for folder in ["agent", "controller", "policy", "proto", "relay-check", "tests"] {
            list(&manual::root().join(folder), &mut files);
        }
        Self(files.into_iter().map(|path| (functions(&path), path)).map(|(all, path)| (path, all)).collect())
    }

    /// Whether `FILE::FUNCTION` is a test.
    fn has(&self, test: &str) -> bool {
        let Some((file, function)) = test.split_once("::") else { return false };
        self.0.iter().any(|(path, all)| path.ends_with(file) && all.contains(function))
    }
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The functions of a file that are marked as tests.
fn functions(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap();
    let (mut all, mut is_marked) = (BTreeSet::new(), false);
    for line in text.lines().map(str::trim) {
        let name = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "));
        match name.and_then(|rest| rest.split_once('(')) {
            Some((name, _)) if is_marked => drop(all.insert(name.to_owned())),
            _ => {}
        }
        is_marked = match line {
            "#[test]" => true,
            line if line.starts_with("#[tokio::test") => true,
            line if line.starts_with("#[") || line.starts_with("//") => is_marked,
            _ => false,
        };
    }
    all
}
