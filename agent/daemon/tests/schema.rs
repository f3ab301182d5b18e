//! `docs/schema` has JSON Schemas of what people write: policies, files of tenants and the agent's settings. They are made of what the
//! readers ask for while they read the samples in `tests/schema`, so that there is no list of keys beside the readers.
//!
//! After a change of any of them: `REEVE_UPDATE_DOCS=1 cargo test -p reeve-agent --test schema`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::fs;
use std::path::Path;

use jsonschema::Validator;
use reeve_agent::config;
use reeve_policy::language::{Policy, parse_tenants, policy_schema, tenants_schema};
use reeve_policy::reader::Schema;
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const MISTAKES: &str = include_str!("../../../policy/tests/mistakes.txt");
const POLICY: &str = include_str!("schema/policy.toml");
const TENANTS: &str = include_str!("schema/tenants.toml");
const SETTINGS: &str = include_str!("schema/agent.toml");
const ALONE: &str = include_str!("schema/agent-alone.toml");

fn policies() -> Schema {
    let written = Policy::preset("baseline").unwrap().written();
    policy_schema(&["", POLICY, &written, include_str!("schema/policy-lacks.toml")]).unwrap()
}

fn tenants() -> Schema {
    tenants_schema(&[TENANTS, include_str!("schema/tenants-lacks.toml")]).unwrap()
}

fn settings() -> Schema {
    config::schema(&["", SETTINGS, ALONE, include_str!("schema/agent-lacks.toml")]).unwrap()
}

fn validator(schema: &Schema) -> Validator {
    let schema = serde_json::to_value(schema).unwrap();
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
    jsonschema::draft202012::new(&schema).unwrap()
}

/// What a schema has against a file.
fn told(validator: &Validator, text: &str) -> Vec<String> {
    let file: Value = toml::from_str(text).unwrap();
    validator.iter_errors(&file).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_schemas_are_what_the_readers_ask_for() {
    for (name, schema) in [("policy", policies()), ("tenants", tenants()), ("agent", settings())] {
        let path = Path::new(ROOT).join(format!("docs/schema/{name}.schema.json"));
        let made = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("REEVE_UPDATE_DOCS").is_some() {
            fs::write(&path, made).unwrap();
            continue;
        }
        let found = fs::read_to_string(&path).unwrap();
        let line = made.lines().zip(found.lines()).find(|(made, found)| made != found);
        assert!(
            made == found,
            "{}: not what the reader asks for, first here: {line:#?}\nREEVE_UPDATE_DOCS=1 cargo test -p reeve-agent --test schema",
            path.display()
        );
    }
}

#[test]
fn what_is_good_is_good_by_the_schemas() {
    let (by_policy, none) = (validator(&policies()), Vec::<String>::new());
    for (name, text) in Policy::PRESETS {
        assert_eq!(told(&by_policy, text), none, "{name}");
        assert_eq!(told(&by_policy, &Policy::preset(name).unwrap().written()), none, "{name}, written out");
    }
    let sample = Policy::parse("policy.toml", POLICY).unwrap();
    assert_eq!(told(&by_policy, POLICY), none);
    assert_eq!(told(&by_policy, &sample.written()), none);
    parse_tenants("tenants.toml", TENANTS).unwrap();
    assert_eq!(told(&validator(&tenants()), TENANTS), none);
    let by_settings = validator(&settings());
    let shipped = fs::read_to_string(Path::new(ROOT).join("systemd/debian/agent.toml")).unwrap();
    for text in [SETTINGS, ALONE, &shipped] {
        config::parse("agent.toml".as_ref(), text).unwrap();
        assert_eq!(told(&by_settings, text), none);
    }
}

#[test]
fn mistakes_that_a_schema_can_see_are_refused() {
    let validator = validator(&policies());
    let mistakes = MISTAKES.split("=== ").skip(1).map(|part| {
        let (what, rest) = part.split_once('\n').unwrap();
        (what, rest.split_once("---\n").unwrap().0)
    });
    let is_toml = |(_, policy): &(&str, &str)| policy.parse::<toml::Table>().is_ok();
    let (seen, not_seen): (Vec<_>, Vec<_>) =
        mistakes.filter(is_toml).partition(|(_, policy)| !told(&validator, policy).is_empty());
    let seen: Vec<&str> = seen.into_iter().map(|(what, _)| what).collect();
    for what in [
        "no table [policy]",
        "no name",
        "no version",
        "a version in quotes",
        "version 0",
        "a key that is misspelt",
        "a table that is misspelt",
        "a preset that there is not",
        "a mode that there is not",
        "a name with a space",
        "a rule without an id",
        "a rule on nothing",
        "a class that there is not",
    ] {
        assert!(seen.contains(&what), "{what} is not refused; these are: {seen:#?}");
    }
    let not_seen: Vec<&str> = not_seen.into_iter().map(|(what, _)| what).collect();
    assert!(seen.len() >= not_seen.len(), "{seen:#?}\nnot seen: {not_seen:#?}");
}

#[test]
fn what_no_reader_takes_is_refused() {
    let (by_tenants, by_settings) = (validator(&tenants()), validator(&settings()));
    for (validator, lines, expect) in [
        (&by_tenants, "[[tenant]]\naddresses = [\"192.0.2.1\"]", "id"),
        (&by_tenants, "[[tenant]]\nid = \"a\"\nprofile = \"post\"", "profile"),
        (&by_tenants, "[[tenant]]\nid = \"a\"\nadresses = []", "adresses"),
        (&by_tenants, "[[tenant]]\nid = \"a\"\nuids = [true]", "uids"),
        (&by_tenants, "[[tenant]]\nid = \"a\"\naddresses = [\"192.0.2.0/24 \"]", "addresses"),
        (&by_settings, "mode = \"observe\"", "node"),
        (&by_settings, "node = \"a\"\n[limits]\nring_mib = 3", "ring_mib"),
        (&by_settings, "node = \"a\"\n[history]\nkeep = \"a week\"", "keep"),
        (&by_settings, "node = \"a\"\n[metrics]", "listen"),
    ] {
        let told = told(validator, lines);
        assert!(told.len() == 1 && told[0].contains(expect), "{lines}\n{told:?}");
    }
}
