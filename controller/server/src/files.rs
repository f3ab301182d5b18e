//! Files of the controller's folder.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

/// Makes a file that is not there yet, for the folder's owner alone: also where root makes it, since the service is not root.
///
/// # Errors
/// Where there is one, or it cannot be made.
pub(crate) fn make(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    give(&file, path)?;
    Ok(file)
}

/// Makes a folder that is not there yet, likewise; the folder that it is in is there.
///
/// # Errors
/// Where it cannot be made.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        // Whoever owns the folder above can put something else in its place: it is opened for what it is, not for what it points to.
        Ok(()) => {
            let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW;
            let made = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
            give(&made, path)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives what was made to the owner of the folder that it is in, where another may do that: root alone.
fn give(made: &File, path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let owner = |found: &Metadata| (found.uid(), found.gid());
    let ((own, _), (uid, gid)) = (owner(&made.metadata()?), owner(&std::fs::metadata(folder)?));
    if own != 0 || uid == 0 { Ok(()) } else { fchown(made, Some(uid), Some(gid)) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_root_makes_belongs_to_the_folders_owner() {
        let dir = tempfile::tempdir().unwrap();
        let is_root = std::fs::metadata(dir.path()).unwrap().uid() == 0;
        let whose = if is_root { 4_321 } else { std::fs::metadata(dir.path()).unwrap().uid() };
        if is_root {
            std::os::unix::fs::chown(dir.path(), Some(whose), Some(4_322)).unwrap();
        }
        make(&dir.path().join("one")).unwrap();
        make_folder(&dir.path().join("folder")).unwrap();
        make(&dir.path().join("folder/two")).unwrap();
        for (name, mode) in [("one", 0o600), ("folder", 0o700), ("folder/two", 0o600)] {
            let found = std::fs::metadata(dir.path().join(name)).unwrap();
            assert_eq!((found.uid(), found.permissions().mode() & 0o777), (whose, mode), "{name}");
        }
        assert_eq!(make(&dir.path().join("one")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        make_folder(&dir.path().join("folder")).unwrap();
        assert!(make_folder(&dir.path().join("one")).is_err());
    }
}
