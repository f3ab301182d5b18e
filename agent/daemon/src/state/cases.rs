//! The last violations with what decisions upon them rest on, for a node without a controller: nobody else would keep them.
//!
//! One file, written whole a second after something happened: of an agent that is killed the last second at most is lost, and no measure
//! or strike with it, which are in the journal. At most [`MAX_CASES`] violations and [`MAX_ALERTS`] alerts; the oldest go first.

use std::collections::VecDeque;
use std::path::Path;
use std::{fs, io};

use reeve_policy::{Dossier, Report, Violation};
use serde::{Deserialize, Serialize};

/// The layout of the file; another one is set aside.
const FORMAT: u32 = 1;
/// The most violations that are kept.
pub const MAX_CASES: usize = 64;
/// The most alerts that are kept of all of them: some 20 KiB each on disk.
pub const MAX_ALERTS: usize = 256;

/// Violations, those that were opened first in front.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cases {
    format: u32,
    cases: VecDeque<Dossier>,
}

impl Default for Cases {
    fn default() -> Self {
        Self { format: FORMAT, cases: VecDeque::new() }
    }
}

impl Cases {
    /// All of them, those that were opened first in front.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Dossier> {
        self.cases.iter()
    }

    /// Takes what happened; whether it was something to keep.
    pub fn take(&mut self, report: &Report) -> bool {
        match report {
            Report::Violation(violation) => self.see(violation),
            Report::Decision(decision) => {
                let is_it = |case: &&mut Dossier| decision.violation.as_ref() == Some(&case.violation.id);
                let Some(case) = self.cases.iter_mut().rev().find(is_it) else { return false };
                case.decide(decision);
            }
            _ => return false,
        }
        let alerts = |cases: &VecDeque<Dossier>| cases.iter().map(Dossier::alerts).sum::<usize>();
        while self.cases.len() > MAX_CASES || (self.cases.len() > 1 && alerts(&self.cases) > MAX_ALERTS) {
            self.cases.pop_front();
        }
        true
    }

    fn see(&mut self, violation: &Violation) {
        match self.cases.iter_mut().rev().find(|case| case.violation.id == violation.id) {
            Some(case) => case.see(violation),
            None => self.cases.push_back(Dossier::new(violation.clone())),
        }
    }
}

/// What is in the file, nothing if there is no file, or why it cannot be read.
pub(super) fn read(path: &Path) -> io::Result<Result<Cases, String>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(Cases::default())),
        Err(error) => return Err(error),
    };
    Ok(match serde_json::from_slice::<Cases>(&bytes) {
        Ok(kept) if kept.format == FORMAT => Ok(kept),
        Ok(kept) => Err(format!("it has layout {}, this agent reads {FORMAT}", kept.format)),
        Err(error) => Err(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::spool::tests::told;
    use crate::state::StateFolder;

    #[test]
    fn what_happened_outlasts_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert_eq!(state.load().unwrap().cases, Cases::default());
        let mut cases = Cases::default();
        for (second, is_decision) in [(1, false), (1, true), (2, false)] {
            assert!(cases.take(&told(second, is_decision)));
        }
        assert!(!cases.take(&Report::Counters(Default::default())));
        state.store_cases(&cases).unwrap();
        let left = state.load().unwrap();
        assert_eq!(left.cases, cases);
        assert_eq!(StateFolder::peek_cases(folder.path()).unwrap(), cases);
        let kept: Vec<bool> =
            left.cases.all().next().unwrap().all().iter().map(|one| one.decision.is_some()).collect();
        assert_eq!(kept, [true, false], "what was decided upon, and the latest");
        fs::write(folder.path().join("violations.json"), b"{").unwrap();
        let left = state.load().unwrap();
        assert_eq!((left.cases, left.troubles.len()), (Cases::default(), 1));
    }

    #[test]
    fn the_oldest_make_room() {
        let mut cases = Cases::default();
        let other = |number: u64| {
            let Report::Violation(mut violation) = told(number, false) else { unreachable!() };
            violation.id = format!("V{number}").parse::<reeve_policy::Name>().unwrap().into();
            Report::Violation(violation)
        };
        (0..MAX_CASES as u64 + 3).for_each(|number| assert!(cases.take(&other(number))));
        assert_eq!(cases.all().count(), MAX_CASES);
        assert_eq!(cases.all().next().unwrap().violation.id.to_string(), "V3");
        // One with many decisions pushes out the others in time, and never itself.
        for second in 1_000..2_000 {
            cases.take(&told(second, false));
            cases.take(&told(second, true));
        }
        let alerts: usize = cases.all().map(Dossier::alerts).sum();
        assert!(alerts <= MAX_ALERTS, "{alerts}");
        assert_eq!(cases.all().next_back().unwrap().violation.id.to_string(), "V");
    }
}
