//! Score: labelled captures through the engine, and how it did.
//!
//! The manifest is a CSV file; each row names a capture, the tenant's addresses, the vantage and the label. An abusive
//! row is found when an alert of its class, or of one that is right too, names the tenant; a suspicion is enough where the
//! manifest says so. Alerts of other classes alone are the *wrong class*. A benign row is a false alarm when anything above
//! `observe` is decided.
//!
//! The *time to detect* is the capture's time from the first packet that the tenant sends to the first right alert: captures of
//! abuse begin with it, give or take. The *attempts used* are the number that the class is named for, as that alert has it.

mod marks;
mod sums;
mod table;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use reeve_core::engine::Output;
use reeve_core::topology::VantageKind;
use reeve_policy::language::Policy;
use reeve_policy::{Action, Class, Mode, Profile, Tenant, Timestamp};
use reeve_replay::{CaptureFileError, Scene, replay};
use serde::{Deserialize, Serialize};

pub use marks::{BelowMarks, Marks, MarksError};
pub use sums::{ClassSums, Summary};
pub use table::table;

/// What a manifest is.
const ALLOWED: &str =
    "a CSV file with the columns file, tenant, vantage, label, class, also and must, and a row a capture";

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
        allowed: String,
    },
    /// It is no manifest at all, or one of nothing.
    #[error("{file}: found {found}; allowed: {ALLOWED}")]
    NoManifest {
        /// What was named.
        file: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A capture could not be read.
    #[error(transparent)]
    Capture(#[from] CaptureFileError),
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
    /// Abuse that had to be found, and was not, nor anything else.
    Missed,
    /// Abuse that had to be found, and was only suspected.
    Suspected,
    /// Abuse that was taken for something else.
    WrongClass,
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
    /// Those that were only suspected.
    pub suspected: BTreeSet<Class>,
    /// Seconds of the capture from the tenant's first packet to the first right alert.
    pub detect_s: Option<f64>,
    /// The number that the class is named for, in that alert: targets, messages, calls, packets a second.
    pub attempts: Option<f64>,
    /// Decisions above `observe`.
    pub decisions: usize,
    /// Frames in it.
    pub frames: u64,
}

/// The whole result.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Score {
    /// The sums.
    pub summary: Summary,
    /// A row a capture, in the manifest's order.
    pub rows: Vec<RowScore>,
}

/// Scores every row of `manifest` by `policy`. All rows are read before the first capture is played.
///
/// # Errors
/// When the manifest or one of its captures cannot be read.
pub fn score(manifest: &Path, policy: &Arc<Policy>) -> Result<Score, ScoreError> {
    let folder = manifest.parent().unwrap_or(Path::new("."));
    let each = read(manifest)?;
    let rows: Result<Vec<RowScore>, ScoreError> =
        each.iter().map(|(row, expected)| score_row(row, expected, folder, policy)).collect();
    let rows = rows?;
    Ok(Score { summary: Summary::of(&rows), rows })
}

/// The rows of a manifest, with what they mean.
fn read(manifest: &Path) -> Result<Vec<(Row, Expected)>, ScoreError> {
    let none = |found| ScoreError::NoManifest { file: manifest.to_owned(), found };
    // A folder can be opened, and looks like an empty file to the reader.
    if manifest.is_dir() {
        return Err(none("a folder"));
    }
    let broken = |source| ScoreError::Manifest { file: manifest.to_owned(), source };
    let mut reader = csv::Reader::from_path(manifest).map_err(broken)?;
    let headers = reader.headers().map_err(broken)?.clone();
    let (mut record, mut rows) = (csv::StringRecord::new(), Vec::new());
    while reader.read_record(&mut record).map_err(broken)? {
        let line = record.position().map_or(0, csv::Position::line);
        let row: Row = record.deserialize(Some(&headers)).map_err(broken)?;
        let expected = expected(&row, manifest, line)?;
        rows.push((row, expected));
    }
    if rows.is_empty() {
        return Err(none("no row"));
    }
    Ok(rows)
}

/// What a row means.
struct Expected {
    kind: VantageKind,
    addresses: Vec<IpNet>,
    expectation: Expectation,
    profile: Profile,
}

fn expected(row: &Row, manifest: &Path, line: u64) -> Result<Expected, ScoreError> {
    let field = |column, found: &str, allowed: &str| ScoreError::Field {
        file: manifest.to_owned(),
        line,
        column,
        found: found.to_owned(),
        allowed: allowed.to_owned(),
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
        word => Profile::ALL.iter().find(|(name, _)| *name == word).map(|(_, profile)| *profile).ok_or_else(
            || field("profile", word, "none, web, mail, p2p, crawler, scanner, federation or monitoring"),
        )?,
    };
    match (expectation, row.class.as_str()) {
        (Expectation::Benign, "none" | "") => {}
        (Expectation::Benign, other) => return Err(field("class", other, "none, where label is benign")),
        (_, word) if !is_word(word) => return Err(field("class", word, &words().join(", "))),
        _ => {}
    }
    let also = row.also.split(';').filter(|word| !word.is_empty());
    if let Some(wrong) = also.into_iter().find(|word| !is_word(word)) {
        return Err(field("also", wrong, &words().join(", ")));
    }
    Ok(Expected { kind, addresses, expectation, profile })
}

fn score_row(
    row: &Row,
    expected: &Expected,
    folder: &Path,
    policy: &Arc<Policy>,
) -> Result<RowScore, ScoreError> {
    let Expected { kind, ref addresses, expectation, profile } = *expected;
    let addresses = addresses.clone();
    let tenant =
        Tenant { profile, addresses, ..Tenant::new("tenant".parse().expect("a fixed name is valid")) };
    let scene = Scene {
        tenants: vec![Arc::new(tenant)],
        kind,
        policy: Arc::clone(policy),
        mode: Mode::Enforce,
        shards: 1,
    };
    let right =
        |class: Class| is_right(class, &row.class) || row.also.split(';').any(|also| is_right(class, also));
    let mut seen = Seen::default();
    let replayed = replay(&scene, &[folder.join(&row.file)], |output| match output {
        Output::Alert(alert) => {
            let counts = !alert.is_suspicion || expectation == Expectation::Suspect;
            let place = if alert.is_suspicion { &mut seen.suspected } else { &mut seen.alerts };
            place.insert(alert.class);
            if counts && right(alert.class) && seen.first.is_none() {
                seen.first = Some((alert.at, alert.metrics.first().map(|metric| metric.value)));
            }
        }
        Output::Decision(decision) if decision.action > Action::Observe => seen.decisions += 1,
        _ => {}
    })?;
    let since = |at: Timestamp| replayed.first_sent.map(|first| at.since(first).as_secs_f64());
    Ok(RowScore {
        file: row.file.clone(),
        class: row.class.clone(),
        expectation,
        verdict: seen.verdict(expectation, &right),
        detect_s: seen.first.and_then(|(at, _)| since(at)),
        attempts: seen.first.and_then(|(_, attempts)| attempts),
        alerts: seen.alerts,
        suspected: seen.suspected,
        decisions: seen.decisions,
        frames: replayed.frames,
    })
}

/// What came of one capture.
#[derive(Debug, Default)]
struct Seen {
    alerts: BTreeSet<Class>,
    suspected: BTreeSet<Class>,
    decisions: usize,
    /// The first right alert, and its first number.
    first: Option<(Timestamp, Option<f64>)>,
}

impl Seen {
    fn verdict(&self, expectation: Expectation, right: &impl Fn(Class) -> bool) -> Verdict {
        match expectation {
            Expectation::Benign if self.decisions > 0 => Verdict::FalseAlarm,
            Expectation::Benign => Verdict::Silent,
            _ if self.first.is_some() => Verdict::Found,
            Expectation::Optional => Verdict::NotFound,
            _ if self.suspected.iter().any(|class| right(*class)) => Verdict::Suspected,
            _ if !self.alerts.is_empty() => Verdict::WrongClass,
            Expectation::Must | Expectation::Suspect => Verdict::Missed,
        }
    }
}

/// Whether an alert of `class` is what a manifest means by `expected`, which names families.
fn is_right(class: Class, expected: &str) -> bool {
    match expected {
        "amplification" => class.name() == "flood.amplify",
        "flood" => class.family() == "flood" && class.name() != "flood.amplify",
        other => class.family() == other || class.name() == other,
    }
}

/// Whether a manifest may expect that: a family or a class.
fn is_word(word: &str) -> bool {
    Class::ALL.iter().any(|class| is_right(*class, word))
}

/// All that it may expect, the families first.
fn words() -> Vec<&'static str> {
    let families = Class::ALL.iter().map(|class| class.family());
    let mut words: Vec<&str> = Vec::new();
    for word in families.chain(["amplification"]).chain(Class::ALL.iter().map(|class| class.name())) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        expectation: Expectation,
        alerts: &[Class],
        suspected: &[Class],
        decisions: usize,
        expect: Verdict,
    ) {
        let right = |class| is_right(class, "portscan");
        let first = alerts.iter().any(|class| right(*class))
            || expectation == Expectation::Suspect && suspected.iter().any(|class| right(*class));
        let seen = Seen {
            alerts: alerts.iter().copied().collect(),
            suspected: suspected.iter().copied().collect(),
            decisions,
            first: first.then_some((Timestamp::EPOCH, None)),
        };
        assert_eq!(seen.verdict(expectation, &right), expect, "{expectation:?} {alerts:?} {suspected:?}");
    }

    #[test]
    fn what_is_told_is_held_against_what_was_expected() {
        let (scan, flood) = (Class::PortscanSlow, Class::FloodSyn);
        check(Expectation::Must, &[scan], &[], 1, Verdict::Found);
        check(Expectation::Must, &[scan, flood], &[], 1, Verdict::Found);
        check(Expectation::Must, &[], &[scan], 0, Verdict::Suspected);
        check(Expectation::Suspect, &[], &[scan], 0, Verdict::Found);
        check(Expectation::Must, &[flood], &[], 1, Verdict::WrongClass);
        check(Expectation::Must, &[], &[], 0, Verdict::Missed);
        check(Expectation::Optional, &[flood], &[], 1, Verdict::NotFound);
        check(Expectation::Benign, &[], &[scan], 0, Verdict::Silent);
        check(Expectation::Benign, &[scan], &[], 1, Verdict::FalseAlarm);
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_its_line() {
        const HEADER: &str = "file,tenant,vantage,label,class,also,must\n";
        let folder = tempfile::tempdir().unwrap();
        let policy = Arc::new(Policy::preset("baseline").unwrap());
        let error = |path: &Path| score(path, &policy).unwrap_err().to_string();
        assert!(error(folder.path()).contains("found a folder; allowed: a CSV file"));
        let file = folder.path().join("m.csv");
        let good = "a.pcap,192.0.2.1,port,abuse,portscan,,yes\n";
        for (rows, expect) in [
            ("", "m.csv: found no row; allowed: a CSV file"),
            (
                "a.pcap,192.0.2.1,port,abuse,portscann,,yes\n",
                "m.csv:3: class: found \"portscann\"; allowed: portscan, flood, ",
            ),
            (
                "a.pcap,192.0.2.1,port,abuse,spam,flod,yes\n",
                "m.csv:3: also: found \"flod\"; allowed: portscan, flood, ",
            ),
            ("a.pcap,192.0.2.1,port,benign,spam,,yes\n", "m.csv:3: class: found \"spam\"; allowed: none"),
            (
                "a.pcap,192.0.2.1,tap,abuse,spam,,yes\n",
                "m.csv:3: vantage: found \"tap\"; allowed: port or mirror",
            ),
        ] {
            let before = if rows.is_empty() { "" } else { good };
            std::fs::write(&file, format!("{HEADER}{before}{rows}")).unwrap();
            let told = error(&file);
            assert!(told.contains(expect), "{told}");
        }
    }

    #[test]
    fn a_manifests_words_name_classes() {
        assert!(is_right(Class::FloodAmplify, "amplification") && !is_right(Class::FloodAmplify, "flood"));
        assert!(is_right(Class::FloodSyn, "flood") && !is_right(Class::FloodSyn, "amplification"));
        assert!(is_right(Class::SpamMailbomb, "spam") && is_right(Class::ApiBurst, "api_burst"));
        assert!(!is_right(Class::Spam, ""));
        assert!(words().iter().all(|word| is_word(word)) && !is_word("portscann") && !is_word("none"));
    }
}
