//! Copies of the SQLite file, made while the controller works, and brought back while it does not.
//!
//! A database on a server is the server's to copy: `pg_dump` and `pg_restore` (docs/database.md).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sqlx::any::AnyConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::engine::{FILE_NAME, opening};
use super::{Connection, StoreError};

/// Writes a copy of the database in `dir` to a new file that only its owner reads. Whoever writes meanwhile is not held up; the copy is the
/// database at one moment.
///
/// # Errors
/// Where there is none, it is damaged, or the file is there already or cannot be written.
pub async fn backup(dir: &Path, file: &Path) -> Result<(), StoreError> {
    let source = dir.join(FILE_NAME);
    let mut conn = connect(&source).await?;
    // Made first and empty, which VACUUM INTO takes, so that it is never readable by others.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map_err(|source| failed(file, source))?;
    let written = write_into(&mut conn, &source, file).await;
    if written.is_err() {
        // Half of a copy is none; that it could be made was just seen.
        let _ = std::fs::remove_file(file);
    }
    let _ = conn.close().await;
    written
}

async fn write_into(conn: &mut Connection, source: &Path, file: &Path) -> Result<(), StoreError> {
    let path = file.to_str().ok_or_else(|| failed(file, io::Error::other("its name is no text")))?;
    let place = source.display().to_string();
    let copied = sqlx::query("VACUUM INTO $1").bind(path).execute(conn).await;
    copied.map_err(|error| opening(&place, error))?;
    check(file).await?;
    sync(file)
}

/// Puts a copy in the place of the database in `dir`, which must be nobody's at that time. What was there is kept beside it; its new
/// name.
///
/// # Errors
/// Where the copy is none of a controller's database, or damaged, and where files cannot be written.
pub async fn restore(dir: &Path, file: &Path) -> Result<Option<PathBuf>, StoreError> {
    check(file).await?;
    let (target, fresh) = (dir.join(FILE_NAME), dir.join(format!("{FILE_NAME}.new")));
    let mut from = File::open(file).map_err(|source| failed(file, source))?;
    let mut to = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(|source| failed(&fresh, source))?;
    io::copy(&mut from, &mut to).map_err(|source| failed(&fresh, source))?;
    sync(&fresh)?;
    let kept = keep(dir, &target).await?;
    std::fs::rename(&fresh, &target).map_err(|source| failed(&target, source))?;
    sync(dir)?;
    Ok(kept)
}

/// Moves what is there out of the way, with what its write-ahead log holds.
async fn keep(dir: &Path, target: &Path) -> Result<Option<PathBuf>, StoreError> {
    if !target.exists() {
        return Ok(None);
    }
    let stamp = crate::clock::now().as_nanos() / 1_000_000_000;
    let kept = dir.join(format!("{FILE_NAME}.before-{stamp}"));
    for end in ["", "-wal", "-shm"] {
        let with_end = |path: &Path| PathBuf::from(format!("{}{end}", path.display()));
        let (from, to) = (with_end(target), with_end(&kept));
        match std::fs::rename(&from, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && !end.is_empty() => {}
            Err(source) => return Err(failed(&to, source)),
        }
    }
    Ok(Some(kept))
}

/// Looks at every page of a file, and whether it is a controller's.
async fn check(file: &Path) -> Result<(), StoreError> {
    let place = file.display().to_string();
    let mut conn = connect(file).await?;
    let found: Result<Vec<(String,)>, _> =
        sqlx::query_as("PRAGMA integrity_check(10)").fetch_all(&mut conn).await;
    let found = found.map_err(|error| opening(&place, error))?;
    let corrupt = |detail: String| StoreError::Corrupt { place: place.clone(), detail };
    if found.len() != 1 || found.iter().any(|(line,)| line != "ok") {
        return Err(corrupt(found.into_iter().map(|(line,)| line).collect::<Vec<_>>().join("; ")));
    }
    let known: Result<Option<(i64,)>, _> =
        sqlx::query_as("SELECT value FROM meta WHERE key = 'commit'").fetch_optional(&mut conn).await;
    let is_ours = matches!(known, Ok(Some(_)));
    let _ = conn.close().await;
    if is_ours { Ok(()) } else { Err(corrupt("it holds no controller's state".to_owned())) }
}

async fn connect(file: &Path) -> Result<Connection, StoreError> {
    sqlx::any::install_default_drivers();
    if let Err(source) = File::open(file) {
        return Err(failed(file, source));
    }
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let options = AnyConnectOptions::from_url(&options.to_url_lossy())?.disable_statement_logging();
    options.connect().await.map_err(|error| opening(&file.display().to_string(), error))
}

fn sync(path: &Path) -> Result<(), StoreError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> StoreError {
    let place = path.display().to_string();
    match source.kind() {
        io::ErrorKind::PermissionDenied => StoreError::Permission { place, source: source.into() },
        _ => StoreError::Io { place, source },
    }
}
