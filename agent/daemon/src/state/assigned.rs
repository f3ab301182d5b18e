//! The policy that the controller assigned last and that was taken: with it the next run begins, whether or not the controller is there.

use std::fs;
use std::io;
use std::path::Path;

use reeve_policy::Assignment;
use serde::{Deserialize, Serialize};

use super::StateError;

/// The layout of the file; another one is set aside.
const FORMAT: u32 = 1;
/// The file's name.
pub(super) const FILE: &str = "policy.json";

#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    assignment: Assignment,
}

/// Nothing was ever assigned.
#[must_use]
pub const fn none() -> Assignment {
    Assignment { number: 0, policy: None }
}

/// Writes it into a state folder that is this process's, whole or not at all.
///
/// # Errors
/// When there is no room or no permission; the one before stands then.
pub fn store(folder: &Path, assignment: &Assignment) -> Result<(), StateError> {
    let path = folder.join(FILE);
    let kept = Kept { format: FORMAT, assignment: assignment.clone() };
    super::write(folder, &path, &kept).map_err(|source| StateError::Write { path, source })
}

/// What is in a file, nothing if there is none, or why it cannot be read.
pub(super) fn read(path: &Path) -> io::Result<Result<Assignment, String>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(none())),
        Err(error) => return Err(error),
    };
    Ok(match serde_json::from_slice::<Kept>(&bytes) {
        Ok(kept) if kept.format == FORMAT => Ok(kept.assignment),
        Ok(kept) => Err(format!("it has layout {}, this agent reads {FORMAT}", kept.format)),
        Err(error) => Err(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use reeve_policy::{AssignedPolicy, PolicyVersion};

    use super::super::StateFolder;
    use super::*;

    #[test]
    fn what_was_assigned_outlasts_the_agent_and_is_whole_or_what_was_before() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert_eq!(state.load().unwrap().assignment, none());
        let version = PolicyVersion { name: "ours".parse().unwrap(), version: 3 };
        let policy = Some(AssignedPolicy { version, source: "[policy]\n".into() });
        let assignment = Assignment { number: 7, policy };
        store(folder.path(), &assignment).unwrap();
        assert_eq!(state.load().unwrap().assignment, assignment);
        // A folder in the place of the new file makes every write fail, for root too.
        fs::create_dir(folder.path().join("policy.json.new")).unwrap();
        assert!(store(folder.path(), &none()).is_err());
        assert_eq!(state.load().unwrap().assignment, assignment);
        fs::write(folder.path().join(FILE), b"{\"format\": 9}").unwrap();
        let left = state.load().unwrap();
        assert_eq!((left.assignment, left.troubles.len()), (none(), 1));
        assert!(folder.path().join("policy.json.unreadable").exists());
    }
}
