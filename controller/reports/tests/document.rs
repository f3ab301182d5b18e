//! docs/reports.md holds what there is: reasons, kinds, and what the classes are in XARF.

use std::fmt::Write as _;

use reeve_policy::Class;
use reeve_reports::{Format, Kind, Reason, XarfType, xarf_type};

const DOCUMENT: &str = include_str!("../../../docs/reports.md");

/// The rows of the table that begins with this line of heads.
fn rows(head: &str) -> Vec<&'static str> {
    let table = DOCUMENT.lines().skip_while(|line| *line != head).skip(2);
    table.take_while(|line| line.starts_with('|')).collect()
}

fn check(head: &str, expected: &[String]) {
    let found = rows(head);
    let mut wrong = String::new();
    for row in expected.iter().filter(|row| !found.contains(&row.as_str())) {
        let _ = writeln!(wrong, "lacks: {row}");
    }
    for row in found.iter().filter(|row| !expected.iter().any(|own| own == *row)) {
        let _ = writeln!(wrong, "has what there is not: {row}");
    }
    assert!(wrong.is_empty(), "docs/reports.md, {head}\n{wrong}");
}

fn list(classes: &[Class]) -> String {
    classes.iter().map(|class| format!("`{class}`")).collect::<Vec<_>>().join(", ")
}

#[test]
fn reasons_are_those_that_there_are() {
    let row = |reason: &Reason| format!("| `{reason}` | {} |", reason.meaning());
    check("| reason | what it says |", &Reason::ALL.iter().map(row).collect::<Vec<_>>());
}

#[test]
fn kinds_are_those_that_there_are() {
    let row = |kind: &Kind| format!("| `{kind}` | {} | {} |", kind.meaning(), list(kind.classes()));
    check("| kind | what it is about | compared with |", &Kind::ALL.iter().map(row).collect::<Vec<_>>());
}

#[test]
fn classes_are_what_they_are_in_xarf() {
    let row = |class: &Class| match xarf_type(*class) {
        Some(XarfType { category, kind, is_own }) => {
            let own = if is_own { "its own" } else { "none; this is used instead" };
            format!("| `{class}` | `{category}/{kind}` | {own} |")
        }
        None => format!("| `{class}` | | none; nobody is told |"),
    };
    check("| class | XARF 4 | type |", &Class::ALL.iter().map(row).collect::<Vec<_>>());
}

#[test]
fn formats_are_told_of() {
    for format in Format::ALL {
        assert!(DOCUMENT.contains(&format!("`{format}`")), "{format}");
    }
}
