//! The engines, and all in which they differ: how a database is opened, made, upgraded and checked.

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyPool, ConnectOptions as _};

use super::StoreError;

/// A connection to the database, whatever its engine.
pub type Connection = sqlx::AnyConnection;

/// The database's name in the state directory.
pub const FILE_NAME: &str = "reeve.db";

/// Connections that read. Answers to operators and orders for streams are short; status never asks the disk.
const READERS: u32 = 4;

static SQLITE: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// A database that was opened.
pub(super) struct Opened {
    /// What to call it in errors.
    pub place: String,
    /// The one connection that writes.
    pub writing: Connection,
    /// Those that read.
    pub readers: AnyPool,
}

/// Opens the SQLite file in `dir`, making or upgrading it where needed.
///
/// # Errors
/// Where the file is damaged, of another version, or may not be used.
pub(super) async fn open_file(dir: &Path) -> Result<Opened, StoreError> {
    sqlx::any::install_default_drivers();
    let path = dir.join(FILE_NAME);
    make_private(&path)?;
    let place = path.display().to_string();
    // A URL carries no more than the file and whether it may be written. Foreign keys are on and five seconds are waited for a lock
    // unless told otherwise; the rest is said to each connection.
    let options = SqliteConnectOptions::new().filename(&path);
    let url = |options: SqliteConnectOptions| {
        AnyConnectOptions::from_url(&options.to_url_lossy())
            .map(|options| options.disable_statement_logging())
    };
    let writing = url(options.clone())?;
    let mut writing = writing.connect().await.map_err(|error| opening(&place, error))?;
    // Every commit is on the disk before it is acknowledged to an agent, which then forgets.
    for setting in ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"] {
        sqlx::raw_sql(setting).execute(&mut writing).await.map_err(|error| opening(&place, error))?;
    }
    if let Err(source) = SQLITE.run(&mut writing).await {
        return Err(match source {
            sqlx::migrate::MigrateError::Execute(error) => opening(&place, error),
            source => StoreError::Migration { place, source },
        });
    }
    let readers = AnyPoolOptions::new()
        .max_connections(READERS)
        .connect_with(url(options.read_only(true))?)
        .await
        .map_err(|error| opening(&place, error))?;
    Ok(Opened { place, writing, readers })
}

/// Looks at every page of the database.
///
/// # Errors
/// Where something does not fit.
pub(super) async fn check(place: &str, readers: &AnyPool) -> Result<(), StoreError> {
    let found: Vec<(String,)> = sqlx::query_as("PRAGMA integrity_check(10)")
        .fetch_all(readers)
        .await
        .map_err(|error| opening(place, error))?;
    match found.as_slice() {
        [(only,)] if only == "ok" => Ok(()),
        found => {
            let detail = found.iter().map(|(line,)| line.as_str()).collect::<Vec<_>>().join("; ");
            Err(StoreError::Corrupt { place: place.to_owned(), detail })
        }
    }
}

/// SQLite's primary result codes (sqlite.org/rescode.html).
mod code {
    pub const PERM: i32 = 3;
    pub const READONLY: i32 = 8;
    pub const CORRUPT: i32 = 11;
    pub const CANTOPEN: i32 = 14;
    pub const AUTH: i32 = 23;
    pub const NOTADB: i32 = 26;
}

/// Turns an error met while opening into one that says what is wrong with the file.
fn opening(place: &str, error: sqlx::Error) -> StoreError {
    let primary = error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse::<i32>().ok())
        .map(|code| code & 0xff);
    match primary {
        Some(code::CORRUPT | code::NOTADB) => {
            StoreError::Corrupt { place: place.to_owned(), detail: error.to_string() }
        }
        Some(code::PERM | code::READONLY | code::CANTOPEN | code::AUTH) => {
            StoreError::Permission { place: place.to_owned(), source: error.into() }
        }
        _ => StoreError::Sql(error),
    }
}

/// Makes the file where it is missing, so that it is never readable by others, and mends its mode where it is.
///
/// SQLite gives the write-ahead log and its index the mode of the database.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::PermissionDenied => {
            StoreError::Permission { place: path.display().to_string(), source: source.into() }
        }
        _ => StoreError::Io { place: path.display().to_string(), source },
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)
}
