//! What the agent remembers over restarts: measures in force, strikes, and the tenants the controller last sent.
//!
//! One JSON file, written whole: to a new file, synced, renamed over the old one, the folder synced. There is never a
//! half-written state. A file that cannot be read is set aside, not overwritten, so that nothing is lost unseen.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use reeve_policy::judge::Standing;
use reeve_policy::{DesiredState, Tenant};
use serde::{Deserialize, Serialize};

/// The layout of the file; another one is set aside.
const FORMAT: u32 = 1;

/// Everything that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub(crate) format: u32,
    /// Measures in force.
    pub desired: DesiredState,
    /// Strikes and open episodes.
    pub standing: Standing,
    /// The version and the tenants that the controller sent last; version 0 and none if it never did.
    pub tenants_version: u64,
    /// The tenants of that version.
    pub tenants: Vec<Tenant>,
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
pub struct StateFile {
    path: PathBuf,
    _lock: File,
}

/// What [`StateFile::load`] found.
#[derive(Debug)]
pub enum Loaded {
    /// No earlier run left anything.
    Nothing,
    /// An earlier run's state.
    State(Box<State>),
    /// A file that is no state of this layout; it was moved to the path given.
    SetAside {
        /// Where it is now.
        to: PathBuf,
        /// Why.
        reason: String,
    },
}

impl StateFile {
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
        let lock = lock.open(folder.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: folder.join("state.json"), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(StateError::InUse { path: folder.to_owned() }),
            Err(fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Reads what an earlier run left.
    ///
    /// # Errors
    /// When there is a file that cannot be read, or one that is no state and cannot be set aside.
    pub fn load(&self) -> Result<Loaded, StateError> {
        let failed = |source| StateError::Read { path: self.path.clone(), source };
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Nothing),
            Err(error) => return Err(failed(error)),
        };
        let reason = match serde_json::from_slice::<State>(&bytes) {
            Ok(state) if state.format == FORMAT => return Ok(Loaded::State(Box::new(state))),
            Ok(state) => format!("it has layout {}, this agent reads {FORMAT}", state.format),
            Err(error) => error.to_string(),
        };
        let to = self.path.with_extension("json.unreadable");
        fs::rename(&self.path, &to).map_err(failed)?;
        Ok(Loaded::SetAside { to, reason })
    }

    /// Writes the state, whole or not at all.
    ///
    /// # Errors
    /// When there is no room or no permission; the state before it stands then.
    pub fn store(&self, state: &State) -> Result<(), StateError> {
        self.write(state).map_err(|source| StateError::Write { path: self.path.clone(), source })
    }

    fn write(&self, state: &State) -> io::Result<()> {
        let new = self.path.with_extension("json.new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let with_format = State { format: FORMAT, ..state.clone() };
        file.write_all(&serde_json::to_vec(&with_format)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        File::open(folder)?.sync_all()
    }
}

/// What an agent left in `folder`, without a claim to it; `None` where there is nothing that can be read as state.
///
/// # Errors
/// When the file is there and the system does not let us read it.
pub fn read_only(folder: &Path) -> Result<Option<State>, StateError> {
    let path = folder.join("state.json");
    match fs::read(&path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok().filter(|state: &State| state.format == FORMAT)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Read { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_loaded_and_rubbish_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::open(&folder.path().join("a/b")).unwrap();
        assert!(matches!(file.load().unwrap(), Loaded::Nothing));
        let state = State { format: FORMAT, tenants_version: 7, ..State::default() };
        file.store(&state).unwrap();
        let Loaded::State(loaded) = file.load().unwrap() else { panic!("no state") };
        assert_eq!(*loaded, state);
        fs::write(&file.path, b"{\"format\": 1, ").unwrap();
        let Loaded::SetAside { to, .. } = file.load().unwrap() else { panic!("taken for a state") };
        assert_eq!(fs::read(to).unwrap(), b"{\"format\": 1, ");
        assert!(matches!(file.load().unwrap(), Loaded::Nothing));
    }

    #[test]
    fn one_folder_is_for_one_agent() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFile::open(folder.path()).unwrap();
        assert!(matches!(StateFile::open(folder.path()), Err(StateError::InUse { .. })));
        drop(first);
        StateFile::open(folder.path()).unwrap();
    }

    #[test]
    fn a_write_that_fails_leaves_the_state_before() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::open(folder.path()).unwrap();
        file.store(&State { tenants_version: 1, ..State::default() }).unwrap();
        // A folder in the place of the new file makes every write fail, for root too.
        fs::create_dir(folder.path().join("state.json.new")).unwrap();
        assert!(file.store(&State { tenants_version: 2, ..State::default() }).is_err());
        let Loaded::State(loaded) = file.load().unwrap() else { panic!("no state") };
        assert_eq!(loaded.tenants_version, 1);
    }
}
