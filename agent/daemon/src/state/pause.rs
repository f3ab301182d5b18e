//! Pauses on disk: the node's own, which its owner writes and takes away whether or not an agent runs, and the controller's,
//! which the agent writes so that they outlast it.
//!
//! A node's own pause is a file in the state folder, written whole and renamed into place. A file that is there and cannot be
//! understood is a pause too: a stop button that is damaged stops.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown, lchown};
use std::path::Path;

use reeve_policy::{HeldPause, OrderId, Pause, PauseScope, Timestamp};
use serde::{Deserialize, Serialize};

use super::{LOCK, StateError};

/// The file of the node's own pause.
const LOCAL: &str = "pause.json";
/// The file of somebody on the node who releases the brakes.
const RELEASE: &str = "release-brakes.json";
/// No pause is longer: a reason, a name and a time.
const MAX_BYTES: u64 = 16 << 10;

/// The node's own pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalPause {
    /// Who, why and since when.
    #[serde(flatten)]
    pub pause: Pause,
    /// Whether the measures that policy made are lifted too.
    #[serde(default)]
    pub lift: bool,
}

/// The controller's pauses, each with the order that it came by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControllerPauses {
    /// The whole fleet's.
    pub fleet: Option<HeldPause>,
    /// This node's.
    pub node: Option<HeldPause>,
}

impl ControllerPauses {
    /// The pause of a scope.
    pub fn of(&mut self, scope: PauseScope) -> &mut Option<HeldPause> {
        match scope {
            PauseScope::Fleet => &mut self.fleet,
            PauseScope::Node => &mut self.node,
        }
    }

    /// Those that there are, as a controller is told.
    #[must_use]
    pub fn held(&self) -> Vec<(PauseScope, OrderId)> {
        [(PauseScope::Fleet, &self.fleet), (PauseScope::Node, &self.node)]
            .into_iter()
            .filter_map(|(scope, held)| Some((scope, held.as_ref()?.order.clone())))
            .collect()
    }
}

/// The node's own pause in the state folder, if there is one.
///
/// # Errors
/// When the system does not let us look.
pub fn read(folder: &Path) -> io::Result<Option<LocalPause>> {
    let file = match File::open(folder.join(LOCAL)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let changed = file.metadata()?.modified().ok();
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX_BYTES), &mut bytes)?;
    let read = serde_json::from_slice::<LocalPause>(&bytes).ok();
    Ok(Some(match read {
        Some(LocalPause { pause, lift }) => {
            LocalPause { pause: Pause::new(&pause.by, &pause.reason, pause.at), lift }
        }
        None => {
            let since = changed.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            let at = Timestamp::EPOCH + since.unwrap_or_default();
            LocalPause {
                pause: Pause::new("whoever wrote pause.json, which cannot be read", "", at),
                lift: false,
            }
        }
    }))
}

/// Has the brakes released by the agent that runs, or the next one that does.
///
/// # Errors
/// When there is no room or no permission.
pub fn write_release(folder: &Path, person: &Pause) -> Result<(), StateError> {
    write_whole(folder, RELEASE, person)
}

/// Who has asked for the brakes to be released; it is taken away, for it is done once.
///
/// # Errors
/// When the system does not let us look or take it away.
pub fn take_release(folder: &Path) -> io::Result<Option<Pause>> {
    let path = folder.join(RELEASE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX_BYTES), &mut bytes)?;
    fs::remove_file(&path)?;
    // What cannot be understood releases nothing.
    let person = serde_json::from_slice::<Pause>(&bytes).ok();
    Ok(person.map(|person| Pause::new(&person.by, &person.reason, person.at)))
}

/// Writes the node's own pause, whole, for whom the folder belongs to. The folder is made if it is not there.
///
/// # Errors
/// When there is no room or no permission; what was there stays then.
pub fn write(folder: &Path, pause: &LocalPause) -> Result<(), StateError> {
    write_whole(folder, LOCAL, pause)
}

fn write_whole(folder: &Path, name: &str, value: &impl Serialize) -> Result<(), StateError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| StateError::Folder { path: folder.to_owned(), source })?;
    let path = folder.join(name);
    let written = (|| {
        let new = folder.join(format!("{name}.new"));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Made anew, never followed: the folder may belong to somebody with fewer rights than ours.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let owner = fs::metadata(folder)?;
        let own = file.metadata()?;
        if (owner.uid(), owner.gid()) != (own.uid(), own.gid()) {
            fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()
    })();
    written.map_err(|source| StateError::Write { path, source })
}

/// Takes the node's own pause away; whether there was one.
///
/// # Errors
/// When it cannot be taken away.
pub fn remove(folder: &Path) -> Result<bool, StateError> {
    let path = folder.join(LOCAL);
    match fs::remove_file(&path).and_then(|()| File::open(folder)?.sync_all()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(StateError::Write { path, source }),
    }
}

/// Whether an agent holds the folder. Nothing is made or changed.
#[must_use]
pub fn is_in_use(folder: &Path) -> bool {
    let lock = OpenOptions::new().write(true).open(folder.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

/// Gives a file of the folder to whom the folder belongs to, if another user wrote it.
///
/// # Errors
/// When that is not permitted.
pub fn give_to_owner(folder: &Path, name: &str) -> io::Result<()> {
    let (owner, path) = (fs::metadata(folder)?, folder.join(name));
    let own = fs::symlink_metadata(&path)?;
    if (owner.uid(), owner.gid()) == (own.uid(), own.gid()) {
        return Ok(());
    }
    lchown(&path, Some(owner.uid()), Some(owner.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(reason: &str) -> LocalPause {
        LocalPause { pause: Pause::new("root", reason, Timestamp::from_secs(7)), lift: true }
    }

    #[test]
    fn what_was_written_is_read_until_it_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("a/state");
        assert_eq!(read(&folder).unwrap(), None);
        write(&folder, &pause("first")).unwrap();
        write(&folder, &pause("second")).unwrap();
        assert_eq!(read(&folder).unwrap(), Some(pause("second")));
        assert_eq!(fs::metadata(folder.join(LOCAL)).unwrap().mode() & 0o777, 0o600);
        assert!(remove(&folder).unwrap() && !remove(&folder).unwrap());
        assert_eq!(read(&folder).unwrap(), None);
    }

    #[test]
    fn the_brakes_are_released_once_and_by_nobody_who_cannot_be_understood() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(take_release(folder.path()).unwrap(), None);
        let person = Pause::new("root", "looked", Timestamp::from_secs(7));
        write_release(folder.path(), &person).unwrap();
        assert_eq!(take_release(folder.path()).unwrap(), Some(person));
        assert_eq!(take_release(folder.path()).unwrap(), None);
        fs::write(folder.path().join(RELEASE), "{\"by\": ").unwrap();
        assert_eq!(take_release(folder.path()).unwrap(), None);
        assert!(!folder.path().join(RELEASE).exists());
    }

    #[test]
    fn a_file_that_cannot_be_understood_pauses() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "{\"by\": ", "[]"] {
            fs::write(folder.path().join(LOCAL), text).unwrap();
            let paused = read(folder.path()).unwrap().unwrap();
            assert!(paused.pause.by.contains("cannot be read") && !paused.lift, "{paused:?}");
        }
    }

    #[test]
    fn a_link_in_the_new_files_place_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "as before").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join("pause.json.new")).unwrap();
        write(folder.path(), &pause("")).unwrap();
        assert_eq!(fs::read_to_string(victim).unwrap(), "as before");
        assert!(fs::symlink_metadata(folder.path().join(LOCAL)).unwrap().is_file());
    }

    #[test]
    fn a_folder_that_an_agent_holds_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_in_use(folder.path()));
        let held = super::super::StateFolder::open(folder.path()).unwrap();
        assert!(is_in_use(folder.path()));
        drop(held);
        assert!(!is_in_use(folder.path()));
    }
}
