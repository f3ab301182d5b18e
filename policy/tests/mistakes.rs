//! What is told of mistakes in policies: `mistakes.txt` has one kind of mistake a paragraph, `=== what it is`, the policy, `---`, and what is
//! told of it word for word, with the line and a mark at the place.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::collections::BTreeSet;

use reeve_policy::language::Policy;

const MISTAKES: &str = include_str!("mistakes.txt");

/// A kind of mistake, the policy that has it, and what is told.
fn mistakes() -> Vec<(&'static str, &'static str, &'static str)> {
    let parts = MISTAKES.split("=== ").skip(1);
    let parsed = parts.map(|part| {
        let (what, rest) = part.split_once('\n').unwrap();
        let (policy, told) = rest.split_once("---\n").unwrap();
        (what, policy, told.trim_end())
    });
    parsed.collect()
}

#[test]
fn each_mistake_is_told_with_its_place_what_was_found_and_what_is_allowed() {
    let mut wrong = Vec::new();
    for (what, policy, expect) in mistakes() {
        match Policy::parse("p.toml", policy) {
            Ok(_) => wrong.push(format!("=== {what}: no mistake")),
            Err(errors) if errors.with_excerpts() != expect => {
                wrong.push(format!("=== {what}\n{}", errors.with_excerpts()));
            }
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_mark_stands_under_what_was_found() {
    for (what, policy, _) in mistakes() {
        for error in Policy::parse("p.toml", policy).unwrap_err().0 {
            assert!(error.line > 0 && !error.allowed.is_empty(), "{what}: {error}");
            let line = policy.lines().nth(error.line - 1).unwrap_or_default();
            let here: String = line.chars().skip(error.column - 1).collect();
            // What is not there is told of where the table begins, and of a list only that it is one.
            let is_shown = match error.found.as_str() {
                "nothing" => here.starts_with(['[', '{']),
                "a list" => here.starts_with('['),
                "a key that is not known" => {
                    error.key.ends_with(here.split([' ', ']', '=']).next().unwrap().trim_matches('"'))
                }
                found if found.starts_with("text that is no TOML") => true,
                found => here.starts_with(found),
            };
            assert!(is_shown, "{what}: {error}: {here}");
        }
    }
}

#[test]
fn there_are_many_kinds_and_none_twice() {
    let kinds: BTreeSet<&str> = mistakes().iter().map(|(what, ..)| *what).collect();
    let policies: BTreeSet<&str> = mistakes().iter().map(|(_, policy, _)| *policy).collect();
    assert_eq!((kinds.len(), policies.len()), (mistakes().len(), mistakes().len()));
    assert!(kinds.len() >= 70, "{}", kinds.len());
}
