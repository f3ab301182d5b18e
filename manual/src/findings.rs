//! What a `doctor` finds, point by point, and how it is told: a line a point, with what to do below it, or JSON.

use std::fmt::Write as _;

use serde::Serialize;

/// How a point stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it must be.
    Ok,
    /// It works, but not all that could, or not for long.
    Warning,
    /// It does not work.
    Error,
}

/// One point, looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub point: &'static str,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do; nothing if all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    /// A point that is as it must be.
    pub fn ok(point: &'static str, found: impl Into<String>) -> Self {
        Self::new(point, State::Ok, found.into(), None)
    }

    /// A point that somebody should look after.
    pub fn warning(point: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(point, State::Warning, found.into(), Some(advice.into()))
    }

    /// A point that is not as it must be.
    pub fn error(point: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(point, State::Error, found.into(), Some(advice.into()))
    }

    fn new(point: &'static str, state: State, found: String, advice: Option<String>) -> Self {
        Self { point, state, found: plain(&found), advice: advice.as_deref().map(plain) }
    }
}

/// What was found may hold what others said; a terminal is not to obey it.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// The worst of all, as an exit code: 0 all is well, 1 there are warnings, 2 something is not as it must be.
#[must_use]
pub fn exit_code(findings: &[Finding]) -> u8 {
    findings.iter().map(|finding| finding.state).max().map_or(0, |worst| worst as u8)
}

/// A line a point, and below it what to do.
#[must_use]
pub fn table(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.point.len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let state = match finding.state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Error => "ERROR",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{state:7}  {:width$}  {}", finding.point, finding.found);
        if let Some(advice) = &finding.advice {
            let _ = writeln!(text, "{:7}  {:width$}  -> {advice}", "", "");
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// All of them for programs: `errors`, `warnings` and `points`.
#[must_use]
pub fn json(findings: &[Finding]) -> serde_json::Value {
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    serde_json::json!({
        "errors": count(State::Error),
        "warnings": count(State::Warning),
        "points": findings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts_and_what_others_said_cannot_steer_a_terminal() {
        assert_eq!(exit_code(&[]), 0);
        let mut all = vec![Finding::ok("clock", "kept")];
        assert_eq!(exit_code(&all), 0);
        all.push(Finding::warning("node", "n1: version \u{1b}[2J\n9", "look"));
        assert_eq!(exit_code(&all), 1);
        all.push(Finding::error("database", "gone", "bring it back"));
        assert_eq!(exit_code(&all), 2);
        let table = table(&all);
        assert_eq!(table.lines().count(), 5, "{table}");
        assert!(table.contains("version \u{fffd}[2J\u{fffd}9") && !table.contains('\u{1b}'), "{table}");
        let json = json(&all);
        assert_eq!((&json["errors"], &json["warnings"]), (&1.into(), &1.into()));
        assert!(json["points"][0].get("advice").is_none() && json["points"][2]["state"] == "error");
    }
}
