//! Trials: what a policy that nobody enforces yet would have come to, held against the one that runs.
//!
//! Both policies get what was recorded, each in an engine of its own that only plays its measures; nothing is enforced and nobody is
//! told. What each came to is its [`Course`]: who was hit, by which clause, by which steps, and how much traffic its measures would have
//! stood in the way of. The [`Comparison`] says who would be newly hit, who no longer, and who otherwise.
//!
//! Hits are compared by tenant and family of classes (`portscan`, `flood`), since clauses and rules may be named and cut otherwise in
//! another policy.
//!
//! **What a trial cannot know.** What is recorded went on as it did: of what a measure would have stopped nobody can tell what its
//! sender would have done then. Traffic *cut* is what was seen while the measure would have stood; of a limit, what it would have been
//! counted against, part of which it lets through.

mod compare;
mod course;
mod history;
mod table;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use reeve_policy::language::Policy;
use reeve_policy::{PolicyVersion, Timestamp};
use serde::Serialize;

use crate::capture::{CaptureFileError, FileError};
use crate::scene::{Scene, TAIL, each_frame, first_time};
pub use compare::{Change, Comparison, Differs};
pub use course::{Course, Cut, Hit, Step};
pub use history::{as_it_ran, history};
pub use table::table;

/// What a trial was made of, and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// The policy that was tried.
    pub candidate: PolicyVersion,
    /// The one that it was held against; `None` where that was what ran at the time, by version after version.
    pub against: Option<PolicyVersion>,
    /// How many frames were played.
    pub frames: u64,
    /// The first frame's time.
    pub from: Option<Timestamp>,
    /// The last one's.
    pub to: Option<Timestamp>,
    /// Who is hit otherwise.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// What whoever reads it should know.
    pub notes: Vec<String>,
}

impl Trial {
    /// Whether anybody is hit otherwise.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.comparison.differs()
    }
}

/// What is told of a policy.
#[must_use]
pub fn version(policy: &Policy) -> PolicyVersion {
    PolicyVersion { name: policy.name.clone(), version: policy.version }
}

/// Captures by their first frames' times, whatever order they were named in; those that tell none last, as they were named. Beside each its
/// time.
fn by_time(files: &[PathBuf]) -> Vec<(Option<Timestamp>, &PathBuf)> {
    let mut all: Vec<_> = files.iter().map(|file| (first_time(file), file)).collect();
    all.sort_by_key(|(first, _)| (first.is_none(), *first));
    all
}

/// Tries the scene's policy on captures, against another one. They are played by their times.
///
/// # Errors
/// When a file cannot be opened or is no capture. One that is cut off is played as far as it goes, and noted.
pub fn captures(scene: &Scene, against: &Arc<Policy>, files: &[PathBuf]) -> Result<Trial, CaptureFileError> {
    let before = Scene { policy: Arc::clone(against), ..scene.clone() };
    let engine = |scene: &Scene| {
        let mut engine = scene.engine();
        engine.pretend_measures();
        let mut course = Course::idle(None);
        course.go_on_in(engine);
        course
    };
    let (mut running, mut candidate) = (engine(&before), engine(scene));
    let (mut frames, mut span, mut notes) = (0, None, Vec::new());
    for (first, file) in by_time(files) {
        if let (Some(first), Some((_, last))) = (first, span)
            && first < last
        {
            notes.push(format!(
                "{} begins at {first}, before the capture ahead of it ends at {last}: one is played after the other",
                file.display()
            ));
        }
        let played = each_frame(file, |frame| {
            frames += 1;
            let (first, last) = span.unwrap_or((frame.at, frame.at));
            span = Some((frame.at.min(first), frame.at.max(last)));
            running.frame(frame);
            candidate.frame(frame);
        });
        match played {
            Err(error @ CaptureFileError { source: FileError::Truncated { .. }, .. }) => {
                notes.push(format!("{error}: {}", error.source));
            }
            result => result?,
        }
    }
    if let Some((_, last)) = span {
        running.tick(last + TAIL);
        candidate.tick(last + TAIL);
    }
    if !candidate.saw_anybody() {
        notes.push("no packet is of any of the tenants".to_owned());
    }
    Ok(Trial {
        candidate: version(&scene.policy),
        against: Some(version(against)),
        frames,
        from: span.map(|(first, _)| first),
        to: span.map(|(_, last)| last),
        comparison: Comparison::of(running.end(), candidate.end()),
        notes,
    })
}
