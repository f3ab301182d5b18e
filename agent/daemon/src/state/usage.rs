//! What tenants have sent and received, on disk: once a minute and at the end, in a file of its own.
//!
//! It is not in the journal, which is written whenever something happens: this changes all the time, and of an agent that is
//! killed a minute at most is lost.

use std::path::Path;
use std::{fs, io};

use reeve_core::detect::quota::Tally;
use serde::{Deserialize, Serialize};

/// The layout of the file; another one is set aside.
const FORMAT: u32 = 1;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept<T> {
    format: u32,
    tallies: T,
}

impl<'t> Kept<&'t [Tally]> {
    pub fn new(tallies: &'t [Tally]) -> Self {
        Self { format: FORMAT, tallies }
    }
}

/// What is in the file, nothing if there is no file, or why it cannot be read.
pub(super) fn read(path: &Path) -> io::Result<Result<Vec<Tally>, String>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(Vec::new())),
        Err(error) => return Err(error),
    };
    Ok(match serde_json::from_slice::<Kept<Vec<Tally>>>(&bytes) {
        Ok(kept) if kept.format == FORMAT => Ok(kept.tallies),
        Ok(kept) => Err(format!("it has layout {}, this agent reads {FORMAT}", kept.format)),
        Err(error) => Err(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use reeve_policy::Usage;

    use super::*;
    use crate::state::StateFolder;

    #[test]
    fn what_was_counted_outlasts_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert_eq!(state.load().unwrap().usage, []);
        let usage = Usage {
            tenant: "a".parse().unwrap(),
            month: "2026-11".parse().unwrap(),
            received: u64::MAX,
            sent: 7,
        };
        let tallies = [Tally { usage, told: 80 }];
        state.store_usage(&tallies).unwrap();
        assert_eq!(state.load().unwrap().usage, tallies);
        // A folder in the place of the new file makes every write fail, for root too.
        fs::create_dir(folder.path().join("usage.json.new")).unwrap();
        assert!(state.store_usage(&[]).is_err());
        assert_eq!(state.load().unwrap().usage, tallies);
    }

    #[test]
    fn rubbish_is_set_aside_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        for text in ["{\"format\": 1, ", "{\"format\": 2, \"tallies\": []}", ""] {
            fs::write(folder.path().join("usage.json"), text).unwrap();
            let left = state.load().unwrap();
            assert_eq!((left.usage.len(), left.troubles.len()), (0, 1), "{text}");
            assert_eq!(fs::read_to_string(folder.path().join("usage.json.unreadable")).unwrap(), text);
            assert!(state.load().unwrap().troubles.is_empty());
        }
    }
}
