//! The engines, and all in which they differ: how a database is opened, made, upgraded and checked.

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::postgres::PgListener;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyPool, ConnectOptions as _};
use tokio::sync::Notify;

use super::StoreError;
use crate::files;
use crate::settings::Server;

/// A connection to the database, whatever its engine.
pub type Connection = sqlx::AnyConnection;

/// The database's name in the state directory.
pub const FILE_NAME: &str = "reeve.db";

/// Connections that read. Answers to operators and orders for streams are short; status never asks the disk.
const READERS: u32 = 4;

/// For so long a database may be away before streams are broken for it: as long as a server takes to start anew, or another to take its place.
/// Then agents look for a controller that reaches it.
pub(crate) const OUTAGE: Duration = Duration::from_secs(10);

/// An answer waits this long for a connection to read by.
const ACQUIRE: Duration = Duration::from_secs(5);
/// A server that is there takes a connection within this time.
const CONNECT: Duration = Duration::from_secs(5);
/// After so long a database is listened to again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

static SQLITE: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
static POSTGRES: sqlx::migrate::Migrator = sqlx::migrate!("./migrations/postgres");

/// A database that was opened.
pub(super) struct Opened {
    /// The one connection that writes.
    pub writing: Writing,
    /// Those that read.
    pub readers: AnyPool,
}

/// The connection that writes, made again where it breaks.
pub struct Writing {
    connection: Option<Connection>,
    options: AnyConnectOptions,
    place: String,
    server: Option<Server>,
}

impl std::fmt::Debug for Writing {
    /// The options hold the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Writing").field(&self.place).finish()
    }
}

impl Writing {
    /// The connection; made again if the last one broke.
    ///
    /// # Errors
    /// Where the database cannot be reached.
    pub async fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.options, &self.place, self.server.is_some()).await?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Ends, with an error that says so, when a server has not been reached for as long as streams outlast that: whoever waits for an answer then
    /// waits in vain. Never, where the database is a file.
    pub fn silence(&self) -> impl Future<Output = StoreError> + Send + 'static {
        let server = self.server.is_some().then(|| self.options.clone());
        async move {
            let Some(options) = server else { return std::future::pending().await };
            let mut since = None;
            loop {
                tokio::time::sleep(CONNECT).await;
                match tokio::time::timeout(CONNECT, options.connect()).await {
                    // Any answer is one, also that there are too many connections.
                    Ok(Ok(probe)) => {
                        since = None;
                        let _ = tokio::time::timeout(CONNECT, sqlx::Connection::close(probe)).await;
                    }
                    Ok(Err(error)) if error.as_database_error().is_some() => since = None,
                    _ => {
                        let since = *since.get_or_insert_with(tokio::time::Instant::now);
                        if since.elapsed() + CONNECT >= OUTAGE {
                            return StoreError::Sql(sqlx::Error::Io(io::ErrorKind::TimedOut.into()));
                        }
                    }
                }
            }
        }
    }

    /// Takes the connection for broken.
    pub fn drop_connection(&mut self) {
        self.connection = None;
    }

    /// Whether other controllers may be on the same database.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.server.is_some()
    }

    /// Whether controllers tell each other when there is something to read.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.listens)
    }

    /// Closes the connection.
    pub async fn close(self) {
        if let Some(connection) = self.connection
            && let Err(error) = sqlx::Connection::close(connection).await
        {
            tracing::error!(%error, "closing the database failed");
        }
    }

    /// Tells `wake` when other controllers have written, for as long as it is polled. An engine without notifications is left
    /// to be looked at.
    pub fn listen(&self, wake: Arc<Notify>) -> impl Future<Output = ()> + Send + 'static {
        let server = self.server.clone().filter(|server| server.listens);
        async move {
            let Some(Server { url, place, .. }) = server else { return };
            loop {
                match hear(&url, &wake).await {
                    Ok(()) => {}
                    Err(error) if code_of(&error).as_deref() == Some("0A000") => {
                        tracing::info!(
                            place,
                            "the database has no notifications; it is looked at every second"
                        );
                        return;
                    }
                    Err(error) => tracing::debug!(place, %error, "the database cannot be listened to"),
                }
                tokio::time::sleep(LISTEN_AGAIN).await;
            }
        }
    }
}

async fn connect(
    options: &AnyConnectOptions,
    place: &str,
    is_shared: bool,
) -> Result<Connection, StoreError> {
    let failed = |error| opening(place, error);
    let connecting = tokio::time::timeout(CONNECT, options.connect()).await;
    let connecting = connecting.unwrap_or_else(|_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())));
    let mut connection = connecting.map_err(failed)?;
    if is_shared {
        for setting in SERVER_SETTINGS {
            // An engine that speaks PostgreSQL's protocol need not know all of them.
            if let Err(error) = sqlx::raw_sql(setting).execute(&mut connection).await {
                tracing::debug!(%error, setting, "the database does not take a setting");
            }
        }
    } else {
        for setting in FILE_SETTINGS {
            sqlx::raw_sql(setting).execute(&mut connection).await.map_err(failed)?;
        }
    }
    Ok(connection)
}

/// Listens until the connection breaks.
async fn hear(url: &str, wake: &Notify) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect(url).await?;
    listener.listen(super::share::CHANNEL).await?;
    // There may have been something before.
    wake.notify_one();
    while listener.try_recv().await?.is_some() {
        wake.notify_one();
    }
    Ok(())
}

/// Every commit is on the disk before it is acknowledged to an agent, which then forgets.
const FILE_SETTINGS: [&str; 2] = ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"];

/// The same for a server that was told otherwise; and a controller that is gone with its machine, in the middle of a transaction,
/// holds the others up for no longer than it is taken for alive. Whoever writes looks up by keys, some of a table at a time: plans that are right
/// while a table is small, and kept when it has grown until the server next counts it, would read all of it for each.
const SERVER_SETTINGS: [&str; 8] = [
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
    "SET idle_in_transaction_session_timeout = '15s'",
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3",
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "SET max_parallel_workers_per_gather = 0",
    "SET jit = off",
];

/// So many statements the writer keeps prepared. It has some two dozen that look up or write many rows, each in up to eight lengths; one that is
/// prepared anew costs two more ways to the server.
const STATEMENTS: (&str, &str) = ("statement-cache-capacity", "512");

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
    let writing = Writing { connection: None, options: url(options.clone())?, place, server: None };
    open(writing, url(options.read_only(true))?, &SQLITE).await
}

/// Opens a database on a server, laying it out or upgrading it where needed.
///
/// # Errors
/// Where the server cannot be reached, or the database is of another version.
pub(super) async fn open_server(server: &Server) -> Result<Opened, StoreError> {
    sqlx::any::install_default_drivers();
    let options = server.url.parse::<AnyConnectOptions>()?.disable_statement_logging();
    let place = server.place.clone();
    let mut own = options.clone();
    // Who says otherwise, as before a pooler that takes none, is right.
    if !own.database_url.query_pairs().any(|(key, _)| key == STATEMENTS.0) {
        own.database_url.query_pairs_mut().append_pair(STATEMENTS.0, STATEMENTS.1);
    }
    let writing = Writing { connection: None, options: own, place, server: Some(server.clone()) };
    open(writing, options, &POSTGRES).await
}

async fn open(
    mut writing: Writing,
    reading: AnyConnectOptions,
    migrations: &sqlx::migrate::Migrator,
) -> Result<Opened, StoreError> {
    let place = writing.place.clone();
    if let Err(source) = migrations.run(writing.connection().await?).await {
        return Err(match source {
            sqlx::migrate::MigrateError::Execute(error) => opening(&place, error),
            source => StoreError::Migration { place, source },
        });
    }
    let readers = AnyPoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(ACQUIRE)
        .connect_with(reading)
        .await
        .map_err(|error| opening(&place, error))?;
    Ok(Opened { writing, readers })
}

/// Looks at every page of the database.
///
/// # Errors
/// Where something does not fit.
pub(super) async fn check(place: &str, readers: &AnyPool, is_shared: bool) -> Result<(), StoreError> {
    if is_shared {
        // A server looks after its pages itself (data_checksums, pg_amcheck); that it answers is what can be asked of it.
        sqlx::query("SELECT count(*) FROM nodes").execute(readers).await?;
        return Ok(());
    }
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

/// The SQLite file in `dir` as it is, for one who reads and changes nothing.
///
/// # Errors
/// Where it cannot be opened.
pub(super) async fn look_at_file(dir: &Path) -> Result<(String, AnyPool), StoreError> {
    sqlx::any::install_default_drivers();
    let path = dir.join(FILE_NAME);
    let place = path.display().to_string();
    let options = SqliteConnectOptions::new().filename(&path).read_only(true);
    let pool = look(AnyConnectOptions::from_url(&options.to_url_lossy())?).await;
    Ok((place.clone(), pool.map_err(|error| opening(&place, error))?))
}

/// The database on a server as it is, likewise.
///
/// # Errors
/// Where it cannot be reached.
pub(super) async fn look_at_server(server: &Server) -> Result<AnyPool, StoreError> {
    sqlx::any::install_default_drivers();
    look(server.url.parse::<AnyConnectOptions>()?).await.map_err(|error| opening(&server.place, error))
}

async fn look(options: AnyConnectOptions) -> Result<AnyPool, sqlx::Error> {
    let options = options.disable_statement_logging();
    AnyPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE).connect_with(options).await
}

/// What is damaged of a database, as far as that is ours to look at: of a file each page, but not whether indices are whole.
pub(super) async fn damage(readers: &AnyPool, is_shared: bool) -> Result<Vec<String>, sqlx::Error> {
    if is_shared {
        return Ok(Vec::new());
    }
    let found: Vec<(String,)> = sqlx::query_as("PRAGMA quick_check(10)").fetch_all(readers).await?;
    Ok(found.into_iter().map(|(line,)| line).filter(|line| line != "ok").collect())
}

/// The version of a database's layout; 0 where nobody has laid it out.
pub(super) async fn layout(readers: &AnyPool, is_shared: bool) -> Result<i64, sqlx::Error> {
    let table = if is_shared {
        "SELECT count(*) FROM information_schema.tables WHERE table_name = '_sqlx_migrations'"
    } else {
        "SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'"
    };
    let (tables,): (i64,) = sqlx::query_as(table).fetch_one(readers).await?;
    if tables == 0 {
        return Ok(0);
    }
    let newest = "SELECT CAST(coalesce(max(version), 0) AS BIGINT) FROM _sqlx_migrations";
    let (version,): (i64,) = sqlx::query_as(newest).fetch_one(readers).await?;
    Ok(version)
}

/// The version of this program's layout.
pub(super) fn own_layout(is_shared: bool) -> i64 {
    let migrations = if is_shared { &POSTGRES } else { &SQLITE };
    migrations.iter().map(|one| one.version).max().unwrap_or(0)
}

/// Asks the database whether it is there. A file that was taken away is still read by whoever has it open, and gone all the same.
///
/// # Errors
/// Where it is not.
pub(super) async fn reach(place: &str, readers: &AnyPool, is_shared: bool) -> Result<(), StoreError> {
    if !is_shared {
        let there = tokio::fs::metadata(place).await;
        there.map_err(|source| StoreError::Io { place: place.to_owned(), source })?;
    }
    sqlx::query("SELECT 1").execute(readers).await?;
    Ok(())
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

fn code_of(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(std::borrow::Cow::into_owned)
}

impl StoreError {
    /// Whether the same may go well if it is tried again: another transaction came first (SQLSTATE 40001, 40P01).
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Sql(error) if matches!(code_of(error).as_deref(), Some("40001" | "40P01")))
    }

    /// Whether the connection is gone: the network, or a server that ends, begins, or lost patience (SQLSTATE classes 08 and 57P,
    /// and 25P03).
    pub(crate) fn is_disconnected(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        let is_transport = matches!(
            error,
            sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::PoolTimedOut
        );
        is_transport
            || code_of(error).is_some_and(|code| {
                code.len() == 5 && (code.starts_with("08") || code.starts_with("57P") || code == "25P03")
            })
    }

    /// Whether it is what was to be stored that does not fit, so that it never will: SQLSTATE classes 22, 23 and 54, SQLite's CONSTRAINT
    /// and MISMATCH, and messages that cannot be read back.
    pub(crate) fn is_about_data(&self) -> bool {
        match self {
            Self::Body { .. } => true,
            Self::Sql(sqlx::Error::Encode(_)) => true,
            Self::Sql(error) => code_of(error).is_some_and(|code| match code.len() {
                5 => ["22", "23", "54"].iter().any(|class| code.starts_with(class)),
                _ => code.parse::<i32>().is_ok_and(|code| [19, 20].contains(&(code & 0xff))),
            }),
            _ => false,
        }
    }
}

/// Turns an error met while opening into one that says what is wrong with the file.
pub(super) fn opening(place: &str, error: sqlx::Error) -> StoreError {
    // PostgreSQL's codes have five places, of which few are numbers; none that it tells on opening is one of these.
    let primary = code_of(&error).filter(|code| code.len() < 5).and_then(|code| code.parse::<i32>().ok());
    match primary.map(|code| code & 0xff) {
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
    let file = match files::make(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().read(true).write(true).open(path)
        }
        made => made,
    };
    let file = file.map_err(failed)?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)
}
