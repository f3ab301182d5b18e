//! `doctor`: the node looked over, point by point, with what to do where a point is not as it must be.
//!
//! [`probe`] looks at the machine and changes nothing on it; [`judge`] says what the findings mean, and is pure. `check` tells
//! whether the settings can be used and stops at the first thing that is wrong; this goes on to the end.
//!
//! Left out: flowtables of others, which would lead packets past every forward chain (`docs/enforcement.md`): they are in
//! tables that the agent never reads.

mod judge;
mod probe;
mod told;

use std::fmt::Write as _;
use std::io::Write as _;

use reeve_policy::Mode;
use serde::Serialize;

use super::DoctorArgs;
use crate::config::{self, Loaded};

/// How a point stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it must be.
    Ok,
    /// The agent works, but not all that it could, or not for long.
    Warning,
    /// The agent does not work, or leaves out what the settings ask for.
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
    /// The exit code, if this is the worst there is.
    #[serde(skip)]
    pub code: u8,
}

/// Some points are not as they must be; which, has been told.
#[derive(Debug, thiserror::Error)]
#[error("{errors} of {points} points are not as they must be")]
pub struct Unwell {
    errors: usize,
    points: usize,
    /// The exit code of the first.
    pub code: u8,
}

/// Looks the node over and tells.
///
/// # Errors
/// [`Unwell`] when a point is an error, and when the findings cannot be written.
pub fn doctor(args: &DoctorArgs) -> anyhow::Result<()> {
    let findings = examine(args);
    let text = if args.json { json(&findings)? } else { table(&findings) };
    writeln!(std::io::stdout(), "{text}")?;
    let mut errors = findings.iter().filter(|finding| finding.state == State::Error);
    match errors.next() {
        None => Ok(()),
        Some(first) => {
            Err(Unwell { errors: errors.count() + 1, points: findings.len(), code: first.code }.into())
        }
    }
}

fn examine(args: &DoctorArgs) -> Vec<Finding> {
    let loaded = config::load(&args.config);
    let mut findings = vec![judge::settings(&args.config, &loaded)];
    let release = probe::kernel_release();
    let mode = loaded.as_ref().map_or(Mode::Observe, |loaded| loaded.settings.mode);
    findings.extend(judge::kernel(&release));
    findings.push(judge::capabilities(probe::effective_capabilities(), mode));
    findings.push(judge::nftables(&probe::nftables(), mode));
    findings.push(judge::bridge(&probe::bridge_calls()));
    findings.push(judge::another_agent(probe::another_agent()));
    findings.push(judge::clock(&probe::clock()));
    if let Ok(loaded) = &loaded {
        findings.extend(of_settings(loaded));
    }
    findings
}

/// What only the settings tell where to look for.
fn of_settings(loaded: &Loaded) -> Vec<Finding> {
    let settings = &loaded.settings;
    let mut findings = match probe::interfaces(settings) {
        Ok(seen) => judge::interfaces(settings, &seen),
        Err(error) => vec![judge::no_interfaces(&error)],
    };
    for list in &settings.blocklists {
        let (read, age) = probe::blocklist(list, &loaded.policy.protected_destinations);
        findings.push(judge::blocklist(&list.name, &read, age));
    }
    findings.push(judge::state_folder(&settings.state_dir, &probe::folder(&settings.state_dir)));
    findings.push(judge::pauses(&probe::pauses(&settings.state_dir)));
    // Where none is running there is nobody to tell, which is a point of its own.
    if let (Some(listen), Ok(true)) = (settings.metrics, probe::another_agent()) {
        findings.extend(judge::running(listen, &told::ask(listen)));
    }
    if let Some(controller) = &settings.controller {
        let each = controller.addresses.iter();
        findings.extend(each.map(|address| judge::controller(address, &probe::connect(address))));
        let now = probe::now();
        for path in [&controller.ca, &controller.certificate].into_iter().flatten() {
            findings.push(judge::certificate(path, &probe::read(path), now));
        }
        findings.extend(controller.key.as_ref().map(|path| judge::key(path, &probe::key(path))));
    }
    findings
}

/// A line a point, and below it what to do.
fn table(findings: &[Finding]) -> String {
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

fn json(findings: &[Finding]) -> serde_json::Result<String> {
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    serde_json::to_string(&serde_json::json!({
        "errors": count(State::Error),
        "warnings": count(State::Warning),
        "points": findings,
    }))
}

impl Finding {
    fn ok(point: &'static str, found: impl Into<String>) -> Self {
        Self { point, state: State::Ok, found: found.into(), advice: None, code: 0 }
    }

    fn warning(point: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { point, state: State::Warning, found: found.into(), advice: Some(advice.into()), code: 0 }
    }

    fn error(point: &'static str, code: u8, found: impl Into<String>, advice: impl Into<String>) -> Self {
        debug_assert_ne!(code, 0);
        Self { point, state: State::Error, found: found.into(), advice: Some(advice.into()), code }
    }
}
