//! What the agent remembers over restarts, in one folder that one agent holds.
//!
//! The [`journal`] has measures in force, strikes, open episodes, and the reports that the controller does not have yet. The
//! tenants that the controller last sent have a file of their own, written whole: to a new file, synced, renamed over the old
//! one; so have the pauses ([`pause`]), the policy that it assigned ([`assigned`]), what tenants have sent and received ([`usage`]) and, without a controller, the last
//! violations ([`cases`]). There is never a half-written state. What cannot be read is set aside, not overwritten, so that nothing is lost unseen.

pub mod assigned;
pub mod cases;
pub mod journal;
pub mod pause;
mod usage;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use reeve_core::detect::quota::Tally;
use reeve_policy::{Assignment, Report, Tenant};
use serde::{Deserialize, Serialize};

use cases::Cases;
use journal::{Journal, Memory};
use pause::{ControllerPauses, LocalPause};

/// The layout of the tenants' file; another one is set aside.
const FORMAT: u32 = 1;

/// The tenants that the controller sent last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Roster {
    format: u32,
    /// Their version; 0 if it never sent any.
    pub version: u64,
    /// The tenants of that version.
    pub tenants: Vec<Tenant>,
}

impl Roster {
    /// The tenants of a version.
    #[must_use]
    pub fn new(version: u64, tenants: Vec<Tenant>) -> Self {
        Self { format: FORMAT, version, tenants }
    }
}

/// What an earlier run left.
#[derive(Debug)]
pub struct Left {
    /// The journal, to go on writing.
    pub journal: Journal,
    /// Measures, strikes and episodes.
    pub memory: Memory,
    /// Reports that the controller does not have, oldest first.
    pub unsent: Vec<(u64, Report)>,
    /// The tenants.
    pub roster: Roster,
    /// The controller's pauses.
    pub pauses: ControllerPauses,
    /// The policy that the controller assigned last and that was taken.
    pub assignment: Assignment,
    /// The node's own pause.
    pub local_pause: Option<LocalPause>,
    /// What tenants have sent and received.
    pub usage: Vec<Tally>,
    /// The last violations, where there is no controller.
    pub cases: Cases,
    /// What could not be read, for the log.
    pub troubles: Vec<String>,
}

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder is not there and cannot be made, or may not be entered.
    #[error("state folder {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("state file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another agent uses the folder.
    #[error("state folder {path} is in use by a running agent")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The file cannot be written: no room, no permission.
    #[error("state file {path} cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Where the state is kept. It is locked for as long as this value lives: one folder, one agent.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    _lock: File,
}

impl StateFolder {
    /// Opens the folder, making it if need be (mode 0700).
    ///
    /// # Errors
    /// When it cannot be made, or another agent uses it.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        use std::os::unix::fs::DirBuilderExt;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        let failed = |source| StateError::Folder { path: folder.to_owned(), source };
        made.map_err(failed)?;
        let mut options = fs::OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = lock.open(folder.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: folder.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(StateError::InUse { path: folder.to_owned() }),
            Err(fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Reads what an earlier run left, and opens the journal.
    ///
    /// # Errors
    /// When the system refuses. What is damaged is set aside and told in [`Left::troubles`].
    pub fn load(&self) -> Result<Left, StateError> {
        let path = self.path.join(JOURNAL);
        let opened = Journal::open(&path).map_err(|source| StateError::Read { path: path.clone(), source });
        let (journal, recovered) = opened?;
        let mut troubles: Vec<String> =
            recovered.trouble.into_iter().map(|trouble| format!("{}: {trouble}", path.display())).collect();
        let path = self.path.join(ROSTER);
        let failed = |source| StateError::Read { path: path.clone(), source };
        let roster = match read_roster(&path).map_err(failed)? {
            Ok(roster) => roster.unwrap_or_default(),
            Err(reason) => {
                let aside = path.with_extension("json.unreadable");
                fs::rename(&path, &aside).map_err(failed)?;
                troubles.push(format!("{}: {reason}; it is set aside", path.display()));
                Roster::default()
            }
        };
        let path = self.path.join(PAUSES);
        let failed = |source| StateError::Read { path: path.clone(), source };
        let pauses = match read_pauses(&path).map_err(failed)? {
            Ok(pauses) => pauses,
            Err(reason) => {
                let aside = path.with_extension("json.unreadable");
                fs::rename(&path, &aside).map_err(failed)?;
                troubles.push(format!(
                    "{}: {reason}; it is set aside, and the controller tells again who paused",
                    path.display()
                ));
                ControllerPauses::default()
            }
        };
        let path = self.path.join(USAGE);
        let failed = |source| StateError::Read { path: path.clone(), source };
        let usage = match usage::read(&path).map_err(failed)? {
            Ok(tallies) => tallies,
            Err(reason) => {
                fs::rename(&path, path.with_extension("json.unreadable")).map_err(failed)?;
                troubles.push(format!(
                    "{}: {reason}; it is set aside, and the month's traffic is counted from nothing",
                    path.display()
                ));
                Vec::new()
            }
        };
        let path = self.path.join(assigned::FILE);
        let failed = |source| StateError::Read { path: path.clone(), source };
        let assignment = match assigned::read(&path).map_err(failed)? {
            Ok(assignment) => assignment,
            Err(reason) => {
                fs::rename(&path, path.with_extension("json.unreadable")).map_err(failed)?;
                troubles.push(format!(
                    "{}: {reason}; it is set aside, and the controller assigns its policy again",
                    path.display()
                ));
                assigned::none()
            }
        };
        let path = self.path.join(CASES);
        let failed = |source| StateError::Read { path: path.clone(), source };
        let cases = match cases::read(&path).map_err(failed)? {
            Ok(cases) => cases,
            Err(reason) => {
                fs::rename(&path, path.with_extension("json.unreadable")).map_err(failed)?;
                troubles.push(format!("{}: {reason}; it is set aside", path.display()));
                Cases::default()
            }
        };
        let path = &self.path;
        let local_pause =
            pause::read(path).map_err(|source| StateError::Read { path: path.clone(), source })?;
        Ok(Left {
            journal,
            memory: recovered.memory,
            unsent: recovered.reports,
            roster,
            pauses,
            assignment,
            local_pause,
            usage,
            cases,
            troubles,
        })
    }

    /// Writes the tenants, whole or not at all.
    ///
    /// # Errors
    /// When there is no room or no permission; the tenants before stand then.
    pub fn store(&self, roster: &Roster) -> Result<(), StateError> {
        let path = self.path.join(ROSTER);
        self.write(&path, roster).map_err(|source| StateError::Write { path, source })
    }

    /// Writes the controller's pauses, whole or not at all.
    ///
    /// # Errors
    /// When there is no room or no permission; those before stand then.
    pub fn store_pauses(&self, pauses: &ControllerPauses) -> Result<(), StateError> {
        let path = self.path.join(PAUSES);
        self.write(&path, pauses).map_err(|source| StateError::Write { path, source })
    }

    /// Writes what tenants have sent and received, whole or not at all.
    ///
    /// # Errors
    /// When there is no room or no permission; what was written before stands then.
    pub fn store_usage(&self, tallies: &[Tally]) -> Result<(), StateError> {
        let path = self.path.join(USAGE);
        self.write(&path, &usage::Kept::new(tallies)).map_err(|source| StateError::Write { path, source })
    }

    /// The controller's pauses in `folder`, without a claim to it; none where none can be read.
    ///
    /// # Errors
    /// When a file is there and the system does not let us read it.
    pub fn peek_pauses(folder: &Path) -> Result<ControllerPauses, StateError> {
        let path = folder.join(PAUSES);
        let read = read_pauses(&path).map_err(|source| StateError::Read { path, source })?;
        Ok(read.unwrap_or_default())
    }

    /// Writes the last violations.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn store_cases(&self, cases: &Cases) -> Result<(), StateError> {
        let path = self.path.join(CASES);
        self.write(&path, cases).map_err(|source| StateError::Write { path, source })
    }

    /// The last violations, whether or not an agent runs.
    ///
    /// # Errors
    /// When the file cannot be read; one that holds something else is one without any.
    pub fn peek_cases(folder: &Path) -> Result<Cases, StateError> {
        let path = folder.join(CASES);
        let read = cases::read(&path).map_err(|source| StateError::Read { path, source })?;
        Ok(read.unwrap_or_default())
    }

    fn write(&self, path: &Path, value: &impl Serialize) -> io::Result<()> {
        write(&self.path, path, value)
    }
}

/// Writes a file of a folder, whole or not at all.
fn write(folder: &Path, path: &Path, value: &impl Serialize) -> io::Result<()> {
    let new = path.with_extension("json.new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

/// The journal's file.
pub const JOURNAL: &str = "journal";
const ROSTER: &str = "tenants.json";
const PAUSES: &str = "controller-pause.json";
const USAGE: &str = "usage.json";
const CASES: &str = "violations.json";
const LOCK: &str = "lock";

/// The controller's pauses in the file, none if there is no file, or why they cannot be read.
fn read_pauses(path: &Path) -> io::Result<Result<ControllerPauses, String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).map_err(|error| error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ok(ControllerPauses::default())),
        Err(error) => Err(error),
    }
}

/// The tenants in the file, none if there is no file, or why they cannot be read.
fn read_roster(path: &Path) -> io::Result<Result<Option<Roster>, String>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(None)),
        Err(error) => return Err(error),
    };
    Ok(match serde_json::from_slice::<Roster>(&bytes) {
        Ok(roster) if roster.format == FORMAT => Ok(Some(roster)),
        Ok(roster) => Err(format!("it has layout {}, this agent reads {FORMAT}", roster.format)),
        Err(error) => Err(error.to_string()),
    })
}

/// What an agent left in `folder`, without a claim to it; nothing where nothing can be read.
///
/// # Errors
/// When a file is there and the system does not let us read it.
pub fn peek(folder: &Path) -> Result<(Memory, Roster), StateError> {
    let path = folder.join(JOURNAL);
    let failed = |source| StateError::Read { path: path.clone(), source };
    let memory = journal::peek(&path).map_err(failed)?.unwrap_or_default();
    let path = folder.join(ROSTER);
    let failed = |source| StateError::Read { path: path.clone(), source };
    let roster = read_roster(&path).map_err(failed)?;
    Ok((memory, roster.ok().flatten().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_that_were_stored_are_loaded_and_rubbish_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let state = StateFolder::open(&path).unwrap();
        assert_eq!(state.load().unwrap().roster, Roster::default());
        let roster = Roster::new(7, Vec::new());
        state.store(&roster).unwrap();
        assert_eq!(state.load().unwrap().roster, roster);
        assert_eq!(peek(&path).unwrap().1, roster);
        fs::write(path.join(ROSTER), b"{\"format\": 1, ").unwrap();
        let left = state.load().unwrap();
        assert_eq!((left.roster, left.troubles.len()), (Roster::default(), 1));
        assert_eq!(fs::read(path.join("tenants.json.unreadable")).unwrap(), b"{\"format\": 1, ");
        assert!(state.load().unwrap().troubles.is_empty());
    }

    #[test]
    fn the_controllers_pauses_outlast_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let pause = reeve_policy::Pause::new("oncall", "look", reeve_policy::Timestamp::from_secs(1));
        let order = reeve_policy::OrderId("O1".parse().unwrap());
        let mut pauses = ControllerPauses::default();
        *pauses.of(reeve_policy::PauseScope::Fleet) = Some(reeve_policy::HeldPause { order, pause });
        state.store_pauses(&pauses).unwrap();
        assert_eq!(state.load().unwrap().pauses, pauses);
        assert_eq!(pauses.held().len(), 1);
        fs::write(folder.path().join(PAUSES), b"{").unwrap();
        let left = state.load().unwrap();
        assert_eq!((left.pauses, left.troubles.len()), (ControllerPauses::default(), 1));
    }

    #[test]
    fn one_folder_is_for_one_agent() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFolder::open(folder.path()).unwrap();
        assert!(matches!(StateFolder::open(folder.path()), Err(StateError::InUse { .. })));
        drop(first);
        StateFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn a_write_that_fails_leaves_the_tenants_before() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        state.store(&Roster::new(1, Vec::new())).unwrap();
        // A folder in the place of the new file makes every write fail, for root too.
        fs::create_dir(folder.path().join("tenants.json.new")).unwrap();
        assert!(state.store(&Roster::new(2, Vec::new())).is_err());
        assert_eq!(state.load().unwrap().roster.version, 1);
    }
}
