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
use crate::files;

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

/// A copy that is the database now.
#[derive(Debug)]
pub struct Restored {
    /// What was there before, kept under another name.
    pub kept: Option<PathBuf>,
    /// Who may call again, since that was ended after the copy was made; `None` where what was there before does not tell.
    pub readmitted: Option<Vec<String>>,
}

/// Puts a copy in the place of the database in `dir`, which must be nobody's at that time. What was there is kept beside it.
///
/// # Errors
/// Where the copy is none of a controller's database, or damaged, and where files cannot be written.
pub async fn restore(dir: &Path, file: &Path) -> Result<Restored, StoreError> {
    check(file).await?;
    let database = dir.join(FILE_NAME);
    let had_log = with_end(&database, "-wal").exists();
    let readmitted = readmitted(&database, file).await.ok();
    if !had_log {
        // Who only reads makes an empty log, and does not take it away. That it is there does no harm.
        for end in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(with_end(&database, end));
        }
    }
    let (target, fresh) = (dir.join(FILE_NAME), dir.join(format!("{FILE_NAME}.new")));
    let mut from = File::open(file).map_err(|source| failed(file, source))?;
    // Of one that was broken off.
    match std::fs::remove_file(&fresh) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(failed(&fresh, source)),
        _ => {}
    }
    let mut to = files::make(&fresh).map_err(|source| failed(&fresh, source))?;
    io::copy(&mut from, &mut to).map_err(|source| failed(&fresh, source))?;
    sync(&fresh)?;
    let kept = keep(dir, &target).await?;
    std::fs::rename(&fresh, &target).map_err(|source| failed(&target, source))?;
    sync(dir)?;
    Ok(Restored { kept, readmitted })
}

/// Whom the copy lets in that the database did not: revocations, ended tokens and removed people are in what is left behind.
async fn readmitted(database: &Path, copy: &Path) -> Result<Vec<String>, StoreError> {
    if !database.exists() {
        return Ok(Vec::new());
    }
    let (mut before, mut after) = (connect(database).await?, connect(copy).await?);
    let revocations = "SELECT subject, at FROM revocations ORDER BY subject";
    let known: Vec<(String, i64)> = sqlx::query_as(revocations).fetch_all(&mut after).await?;
    let revoked: Vec<(String, i64)> = sqlx::query_as(revocations).fetch_all(&mut before).await?;
    let lost = revoked.into_iter().filter(|one| !known.contains(one));
    let mut all: Vec<String> = lost.map(|(subject, _)| format!("{subject}, who was revoked")).collect();
    let now = super::row::nanos(crate::clock::now());
    let tokens = "SELECT name, beginning FROM api_tokens WHERE revoked IS NULL AND expires > $1 ORDER BY name, beginning";
    let good: Vec<(String, String)> = sqlx::query_as(tokens).bind(now).fetch_all(&mut before).await?;
    let again: Vec<(String, String)> = sqlx::query_as(tokens).bind(now).fetch_all(&mut after).await?;
    let ended = again.into_iter().filter(|one| !good.contains(one));
    all.extend(ended.map(|(name, beginning)| format!("token {name} ({beginning}…), which was revoked")));
    let people = "SELECT name FROM people ORDER BY name";
    let there: Vec<(String,)> = sqlx::query_as(people).fetch_all(&mut before).await?;
    let again: Vec<(String,)> = sqlx::query_as(people).fetch_all(&mut after).await?;
    let removed = again.into_iter().filter(|one| !there.contains(one));
    all.extend(removed.map(|(name,)| format!("{name}, who was removed")));
    for conn in [before, after] {
        let _ = conn.close().await;
    }
    Ok(all)
}

/// A file that SQLite keeps beside a database.
fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// Moves what is there out of the way, with what its write-ahead log holds.
async fn keep(dir: &Path, target: &Path) -> Result<Option<PathBuf>, StoreError> {
    if !target.exists() {
        return Ok(None);
    }
    let stamp = crate::clock::now().as_nanos() / 1_000_000_000;
    let kept = dir.join(format!("{FILE_NAME}.before-{stamp}"));
    for end in ["", "-wal", "-shm"] {
        let (from, to) = (with_end(target, end), with_end(&kept, end));
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
