//! The token of whoever is logged in, in a file that nobody else can read.
//!
//! `$XDG_STATE_HOME/reeve/session-HOST-PORT`, one of each controller; without that, below `~/.local/state`.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::client::CallError;

/// Where the token of a controller is kept; `None` where there is neither a state folder nor a home.
pub fn file(controller: &str) -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    let authority = controller.split_once("://").map_or(controller, |(_, rest)| rest).trim_end_matches('/');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let name: String = authority.chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
    Some(state.join("reeve").join(format!("session-{name}")))
}

/// Keeps a token, in the place of the last.
pub fn keep(path: &Path, token: &str) -> Result<(), CallError> {
    let failed = |source| CallError::File { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    // Under another name first: never half of it, and never readable by others.
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let written = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        writeln!(file, "{token}")?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    written().inspect_err(|_| _ = std::fs::remove_file(&beside)).map_err(failed)
}

/// The file, if there is one that only its owner can read.
pub fn found(path: PathBuf) -> Result<Option<PathBuf>, CallError> {
    match std::fs::metadata(&path) {
        Ok(data) if data.permissions().mode() & 0o077 == 0 => Ok(Some(path)),
        Ok(_) => Err(CallError::OpenFile { path }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CallError::File { path, source }),
    }
}

/// Takes it away.
pub fn forget(path: &Path) -> Result<(), CallError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(CallError::File { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

    use super::*;

    #[test]
    fn a_token_is_its_owners_alone_and_goes_when_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reeve/session-a");
        assert_eq!(found(path.clone()).unwrap(), None);
        for token in ["reeve_session_1", "reeve_session_2"] {
            keep(&path, token).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{token}\n"));
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(folder.path().join("reeve")).unwrap().count(), 1);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(found(path.clone()), Err(CallError::OpenFile { .. })));
        forget(&path).unwrap();
        forget(&path).unwrap();
        assert_eq!(found(path).unwrap(), None);
    }

    #[test]
    fn each_controller_has_a_file_of_its_own() {
        let name = |url| file(url).unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(name("https://controller.example:7443"), "session-controller.example-7443");
        assert_eq!(name("https://[2001:db8::1]:7443/"), "session--2001-db8--1--7443");
        assert_eq!(name("https://../../x"), "session-..-..-x");
    }
}
