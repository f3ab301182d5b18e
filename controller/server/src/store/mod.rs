//! What is on disk: one SQLite file in write-ahead mode, or a database on a PostgreSQL server, which several controllers may share.
//!
//! [`Store`] opens it and answers questions over a few reading connections; [`write`] holds the changes, each a
//! function over the one writing connection's transaction. Messages are kept whole as they came (protocol
//! buffers), beside the columns that are searched for.
//!
//! All of it speaks to a [`Connection`], whatever the engine behind it, in statements that SQLite and PostgreSQL read alike
//! (`query`). What differs between engines is in `engine` and in the migrations, and nowhere else.

pub(crate) mod access;
pub(crate) mod approvals;
pub(crate) mod audit;
pub mod backup;
mod cases;
mod complaints;
mod deliveries;
mod engine;
mod examine;
mod exemptions;
mod holders;
pub(crate) mod people;
pub(crate) mod policies;
mod query;
mod read;
mod rollout;
mod row;
mod seals;
pub(crate) mod secrets;
pub(crate) mod share;
mod suspensions;
pub mod write;

use std::io;
use std::path::Path;

use reeve_proto::WireError;
use sqlx::AnyPool;

use crate::settings::Database;

pub use audit::AuditFilter;
pub use cases::{CaseEntry, CaseRow, CaseState, EntryKind, Story};
pub(crate) use cases::{CaseFilter, CaseWord, Claim, TOLD};
pub use complaints::{ComplaintRow, ComplaintState};
pub(crate) use deliveries::DeliveryFilter;
pub use deliveries::{
    Acknowledged, Backlog, Channel, Channels, DeliveryRow, DeliveryState, Noticed, Outgoing, Told,
};
pub(crate) use engine::OUTAGE;
pub use engine::{Connection, FILE_NAME, Writing};
pub use examine::{Content, Examined, examine};
pub(crate) use exemptions::GrantFilter;
pub use exemptions::GrantRow;
pub use policies::Policies;
pub(crate) use read::snapshot;
pub(crate) use read::{EventFilter, NoticeFilter, UsageFilter, ViolationFilter};
pub use read::{EventRow, MeasureRow, NodeRow, NoticeRow, OrderRow, UsageRow};
pub use rollout::{ActRow, AssignmentRow, UploadedRow};
pub use seals::Sight;
pub use suspensions::Suspended;

/// Why the database would not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is no database, or is damaged.
    #[error("{place} is damaged or no database of the controller: {detail}")]
    Corrupt {
        /// The file, or the server and the database there.
        place: String,
        /// What was found.
        detail: String,
    },
    /// The file may not be read or written.
    #[error("{place} may not be read and written by this user")]
    Permission {
        /// The file, or the server and the database there.
        place: String,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file was written by a newer controller, or its history was altered.
    #[error("{place} does not fit this controller's version")]
    Migration {
        /// The file, or the server and the database there.
        place: String,
        /// What does not fit.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// The file system failed.
    #[error("{place} cannot be opened")]
    Io {
        /// The file, or the server and the database there.
        place: String,
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

/// The database, opened for reading. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    place: String,
    is_shared: bool,
    readers: AnyPool,
}

impl Store {
    /// Opens the database, a file in `dir` or one on a server, making or upgrading it where needed; gives it and its one
    /// writing connection.
    ///
    /// # Errors
    /// Where it is damaged, of another version, cannot be reached or may not be used.
    pub async fn open(database: &Database, dir: &Path) -> Result<(Self, Writing), StoreError> {
        let (place, opened) = match database {
            Database::File => (dir.join(FILE_NAME).display().to_string(), engine::open_file(dir).await?),
            Database::Server(server) => (server.place.clone(), engine::open_server(server).await?),
        };
        let is_shared = opened.writing.is_shared();
        Ok((Self { place, is_shared, readers: opened.readers }, opened.writing))
    }

    /// What the database is called in messages.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Looks at every page of the database, as far as that is ours to do.
    ///
    /// # Errors
    /// Where something does not fit.
    pub async fn check(&self) -> Result<(), StoreError> {
        engine::check(&self.place, &self.readers, self.is_shared).await
    }

    /// Asks the database whether it is there.
    ///
    /// # Errors
    /// Where it is not.
    pub async fn reach(&self) -> Result<(), StoreError> {
        engine::reach(&self.place, &self.readers, self.is_shared).await
    }

    /// Closes the reading connections.
    pub async fn close(&self) {
        self.readers.close().await;
    }
}
