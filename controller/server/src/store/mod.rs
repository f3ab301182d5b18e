//! What is on disk: one SQLite file in write-ahead mode.
//!
//! [`Store`] opens it and answers questions over a few reading connections; [`write`] holds the changes, each a
//! function over the one writing connection's transaction. Messages are kept whole as they came (protocol
//! buffers), beside the columns that are searched for.

pub(crate) mod policies;
mod read;
mod row;
pub mod write;

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reeve_proto::WireError;
use sqlx::ConnectOptions;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};

pub use policies::Policies;
pub(crate) use read::snapshot;
pub use read::{
    EventFilter, EventRow, MeasureRow, NodeRow, NoticeFilter, NoticeRow, OrderRow, UsageFilter, UsageRow,
    ViolationFilter,
};

/// The database's name in the state directory.
pub const FILE_NAME: &str = "reeve.db";

/// Connections that read. Answers to operators and orders for streams are short; status never asks the disk.
const READERS: u32 = 4;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Why the database would not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is no database, or is damaged.
    #[error("{path} is damaged or no database of the controller: {detail}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        detail: String,
    },
    /// The file may not be read or written.
    #[error("{path} may not be read and written by this user")]
    Permission {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file was written by a newer controller, or its history was altered.
    #[error("{path} does not fit this controller's version")]
    Migration {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// The file system failed.
    #[error("{path} cannot be opened")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A statement failed: the disk is full, the file is gone.
    #[error("the database failed")]
    Sql(#[from] sqlx::Error),
    /// A stored message cannot be read back.
    #[error("the database holds a {kind} that cannot be read: {detail}")]
    Body {
        /// What kind of message.
        kind: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

impl StoreError {
    pub(crate) fn body(kind: &'static str, error: &WireError) -> Self {
        Self::Body { kind, detail: error.to_string() }
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
fn opening(path: &Path, error: sqlx::Error) -> StoreError {
    let primary = error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse::<i32>().ok())
        .map(|code| code & 0xff);
    match primary {
        Some(code::CORRUPT | code::NOTADB) => {
            StoreError::Corrupt { path: path.into(), detail: error.to_string() }
        }
        Some(code::PERM | code::READONLY | code::CANTOPEN | code::AUTH) => {
            StoreError::Permission { path: path.into(), source: error.into() }
        }
        _ => StoreError::Sql(error),
    }
}

/// The database, opened for reading. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    readers: SqlitePool,
}

impl Store {
    /// Opens the database in `dir`, making or upgrading it where needed; gives it and its one writing connection.
    ///
    /// # Errors
    /// Where the file is damaged, of another version, or may not be used.
    pub async fn open(dir: &Path) -> Result<(Self, SqliteConnection), StoreError> {
        let path = dir.join(FILE_NAME);
        make_private(&path)?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            // Every commit is on the disk before it is acknowledged to an agent, which then forgets.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .disable_statement_logging();
        let mut writing = options.connect().await.map_err(|error| opening(&path, error))?;
        if let Err(source) = MIGRATIONS.run(&mut writing).await {
            return Err(match source {
                sqlx::migrate::MigrateError::Execute(error) => opening(&path, error),
                source => StoreError::Migration { path, source },
            });
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true))
            .await
            .map_err(|error| opening(&path, error))?;
        Ok((Self { path, readers }, writing))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at every page of the database.
    ///
    /// # Errors
    /// Where something does not fit.
    pub async fn check(&self) -> Result<(), StoreError> {
        let found: Vec<(String,)> = sqlx::query_as("PRAGMA integrity_check(10)")
            .fetch_all(&self.readers)
            .await
            .map_err(|error| opening(&self.path, error))?;
        match found.as_slice() {
            [(only,)] if only == "ok" => Ok(()),
            found => {
                let detail = found.iter().map(|(line,)| line.as_str()).collect::<Vec<_>>().join("; ");
                Err(StoreError::Corrupt { path: self.path.clone(), detail })
            }
        }
    }

    /// Closes the reading connections.
    pub async fn close(&self) {
        self.readers.close().await;
    }
}

/// Makes the file where it is missing, so that it is never readable by others, and mends its mode where it is.
///
/// SQLite gives the write-ahead log and its index the mode of the database.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::PermissionDenied => {
            StoreError::Permission { path: path.into(), source: source.into() }
        }
        _ => StoreError::Io { path: path.into(), source },
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
