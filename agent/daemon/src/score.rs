//! Score: labelled captures through the engine, and how it did.
//!
//! The manifest is a CSV file; each row names a capture, the tenant's addresses, the vantage and the label. An abusive
//! row is found when an alert of its class, or of one that is right too, names the tenant. A benign row is a false alarm
//! when anything above `observe` is decided.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use reeve_core::engine::Output;
use reeve_core::topology::VantageKind;
use reeve_policy::language::Policy;
use reeve_policy::{Action, Class, Mode, Profile, Tenant};
use serde::{Deserialize, Serialize};

use crate::capture::CaptureError;
use crate::replay::{Scene, replay};

/// Why a manifest could not be scored.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// The manifest is not there or not readable, or a row is not as it should be.
    #[error("{file}: {source}")]
    Manifest {
        /// The manifest.
        file: PathBuf,
        /// What is wrong, and in which line.
        source: csv::Error,
    },
    /// A field of a row holds something that it may not.
    #[error("{file}:{line}: {column}: found {found:?}; allowed: {allowed}")]
    Field {
        /// The manifest.
        file: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The column.
        column: &'static str,
        /// What stands there.
        found: String,
        /// What may stand there.
        allowed: &'static str,
    },
    /// A capture could not be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
}

/// A row of the manifest, as far as scoring needs it.
#[derive(Clone, Debug, Deserialize)]
struct Row {
    file: String,
    tenant: String,
    vantage: String,
    /// What the tenant is expected to do; nothing in particular if left out.
    #[serde(default)]
    profile: String,
    label: String,
    class: String,
    also: String,
    must: String,
}

/// What a capture is expected to yield.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expectation {
    /// Abuse that must be found.
    Must,
    /// Abuse of which a suspicion is enough.
    Suspect,
    /// Abuse at the edge of the numbers: reported, not counted.
    Optional,
    /// Nothing above `observe`.
    Benign,
}

/// How one capture did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Abuse, and recognised.
    Found,
    /// Abuse that had to be found, and was not.
    Missed,
    /// Abuse that need not be found, and was not.
    NotFound,
    /// Benign, and left alone.
    Silent,
    /// Benign, and acted upon.
    FalseAlarm,
}

/// One capture's result.
#[derive(Clone, Debug, Serialize)]
pub struct RowScore {
    /// The capture, as the manifest names it.
    pub file: String,
    /// The class expected; `none` for benign ones.
    pub class: String,
    /// What was expected.
    pub expectation: Expectation,
    /// How it did.
    pub verdict: Verdict,
    /// The classes that were alerted.
    pub alerts: BTreeSet<Class>,
    /// Decisions above `observe`.
    pub decisions: usize,
    /// Frames in it.
    pub frames: u64,
}

/// The sums.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Abusive captures that must (or may be suspected to) be found, and were.
    pub found: usize,
    /// Those that were not.
    pub missed: usize,
    /// Benign captures that were acted upon.
    pub false_alarms: usize,
    /// Optional ones that were found.
    pub optional_found: usize,
}

/// The whole result.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Score {
    /// The sums.
    pub summary: Summary,
    /// A row a capture, in the manifest's order.
    pub rows: Vec<RowScore>,
}

/// Scores every row of `manifest` by `policy`.
///
/// # Errors
/// When the manifest or one of its captures cannot be read.
pub fn score(manifest: &Path, policy: &Arc<Policy>) -> Result<Score, ScoreError> {
    let broken = |source| ScoreError::Manifest { file: manifest.to_owned(), source };
    let mut reader = csv::Reader::from_path(manifest).map_err(broken)?;
    let folder = manifest.parent().unwrap_or(Path::new("."));
    let mut score = Score::default();
    for row in reader.deserialize() {
        let row: Row = row.map_err(broken)?;
        let line = score.rows.len() as u64 + 2;
        let row = score_row(&row, folder, policy, manifest, line)?;
        match row.verdict {
            Verdict::Found if row.expectation == Expectation::Optional => score.summary.optional_found += 1,
            Verdict::Found => score.summary.found += 1,
            Verdict::Missed => score.summary.missed += 1,
            Verdict::FalseAlarm => score.summary.false_alarms += 1,
            Verdict::NotFound | Verdict::Silent => {}
        }
        score.rows.push(row);
    }
    Ok(score)
}

fn score_row(
    row: &Row,
    folder: &Path,
    policy: &Arc<Policy>,
    manifest: &Path,
    line: u64,
) -> Result<RowScore, ScoreError> {
    let field = |column, found: &str, allowed| ScoreError::Field {
        file: manifest.to_owned(),
        line,
        column,
        found: found.to_owned(),
        allowed,
    };
    let kind = match row.vantage.as_str() {
        "port" => VantageKind::Port,
        "mirror" => VantageKind::Mirror,
        other => return Err(field("vantage", other, "port or mirror")),
    };
    let addresses = parse_addresses(&row.tenant)
        .map_err(|found| field("tenant", &found, "addresses or prefixes, `;` between them"))?;
    let expectation = match (row.label.as_str(), row.must.as_str()) {
        ("benign", _) => Expectation::Benign,
        ("abuse", "yes") => Expectation::Must,
        ("abuse", "suspect") => Expectation::Suspect,
        ("abuse", "optional") => Expectation::Optional,
        ("abuse", other) => return Err(field("must", other, "yes, suspect or optional")),
        (other, _) => return Err(field("label", other, "abuse or benign")),
    };
    let profile = match row.profile.as_str() {
        "" => Profile::None,
        word => {
            Profile::ALL.iter().find(|(name, _)| *name == word).map(|(_, profile)| *profile).ok_or_else(
                || field("profile", word, "none, web, mail, p2p, crawler, scanner or federation"),
            )?
        }
    };
    let tenant =
        Tenant { profile, addresses, ..Tenant::new("tenant".parse().expect("a fixed name is valid")) };
    let scene = Scene {
        tenants: vec![Arc::new(tenant)],
        kind,
        policy: Arc::clone(policy),
        mode: Mode::Enforce,
        shards: 1,
    };
    let (mut alerts, mut decisions) = (BTreeSet::new(), 0);
    let replayed = replay(&scene, &[folder.join(&row.file)], |output| match output {
        Output::Alert(alert) => {
            alerts.insert(alert.class);
        }
        Output::Decision(decision) if decision.action > Action::Observe => decisions += 1,
        _ => {}
    })?;
    let right = |class: &Class| {
        is_right(*class, &row.class) || row.also.split(';').any(|also| is_right(*class, also))
    };
    let verdict = match expectation {
        Expectation::Benign if decisions > 0 => Verdict::FalseAlarm,
        Expectation::Benign => Verdict::Silent,
        _ if alerts.iter().any(right) => Verdict::Found,
        Expectation::Optional => Verdict::NotFound,
        Expectation::Must | Expectation::Suspect => Verdict::Missed,
    };
    Ok(RowScore {
        file: row.file.clone(),
        class: row.class.clone(),
        expectation,
        verdict,
        alerts,
        decisions,
        frames: replayed.frames,
    })
}

/// Whether an alert of `class` is what a manifest means by `expected`, which names families.
fn is_right(class: Class, expected: &str) -> bool {
    match expected {
        "amplification" => class.name() == "flood.amplify",
        "flood" => class.family() == "flood" && class.name() != "flood.amplify",
        other => class.family() == other || class.name() == other,
    }
}

fn parse_addresses(text: &str) -> Result<Vec<IpNet>, String> {
    text.split(';')
        .map(|part| {
            let part = part.trim();
            part.parse::<IpNet>()
                .or_else(|_| part.parse::<std::net::IpAddr>().map(IpNet::from))
                .map_err(|_| part.to_owned())
        })
        .collect()
}

/// The result as a table for people: sums per class, then every row that is not as it should be.
#[must_use]
pub fn table(score: &Score) -> String {
    let mut text = String::new();
    let mut classes: Vec<&str> = score.rows.iter().map(|row| row.class.as_str()).collect();
    classes.sort_unstable();
    classes.dedup();
    let put = |text: &mut String, line: std::fmt::Arguments<'_>| {
        text.write_fmt(line).expect("writing to a String cannot fail");
        text.push('\n');
    };
    put(
        &mut text,
        format_args!("{:<16}{:>9}{:>8}{:>8}{:>10}", "class", "captures", "found", "missed", "optional"),
    );
    for class in classes.iter().filter(|class| **class != "none") {
        let of = |wanted: &dyn Fn(&RowScore) -> bool| {
            score.rows.iter().filter(|row| row.class == *class && wanted(row)).count()
        };
        let optional = |row: &RowScore| row.expectation == Expectation::Optional;
        put(
            &mut text,
            format_args!(
                "{class:<16}{:>9}{:>8}{:>8}{:>10}",
                of(&|_| true),
                of(&|row| row.verdict == Verdict::Found && !optional(row)),
                of(&|row| row.verdict == Verdict::Missed),
                of(&|row| row.verdict == Verdict::Found && optional(row)),
            ),
        );
    }
    let benign = score.rows.iter().filter(|row| row.expectation == Expectation::Benign).count();
    put(
        &mut text,
        format_args!("{:<16}{benign:>9}{:>18} false alarms", "benign", score.summary.false_alarms),
    );
    for row in &score.rows {
        if matches!(row.verdict, Verdict::Missed | Verdict::FalseAlarm | Verdict::NotFound) {
            let word = match row.verdict {
                Verdict::Missed => "missed",
                Verdict::FalseAlarm => "false alarm",
                _ => "not found",
            };
            let alerts: Vec<&str> = row.alerts.iter().map(|class| class.name()).collect();
            put(&mut text, format_args!("{word:<12} {:<14} {} {}", row.class, row.file, alerts.join(" ")));
        }
    }
    let Summary { found, missed, false_alarms, optional_found } = score.summary;
    put(
        &mut text,
        format_args!(
            "found {found}, missed {missed}, false alarms {false_alarms}, optional found {optional_found}"
        ),
    );
    text
}
