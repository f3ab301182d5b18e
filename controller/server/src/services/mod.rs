//! The services, each a thin layer between messages and the directory, the store and the writer.

pub(crate) mod access;
pub(crate) mod agent;
pub(crate) mod audit;
mod brakes;
pub(crate) mod enrolment;
mod holds;
mod notices;
pub(crate) mod operator;
pub(crate) mod orders;
pub(crate) mod status;
mod usage;
mod watch;

use std::sync::Arc;

use reeve_proto::WireError;
use tonic::Status;

use crate::auth::{Book, Gate};
use crate::config::Signing;
use crate::directory::Directory;
use crate::events::Events;
use crate::identity::Protection;
use crate::metrics::Metrics;
use crate::store::{Store, StoreError};
use crate::streams::Streams;
use crate::writer::{WriteError, Writer};

/// What the services share.
#[derive(Clone, Debug)]
pub(crate) struct House {
    pub protection: Protection,
    pub book: Book,
    pub gate: Gate,
    pub access: Arc<Signing>,
    pub directory: Arc<Directory>,
    pub store: Store,
    pub writer: Writer,
    pub events: Events,
    pub streams: Streams,
    pub metrics: Metrics,
}

pub(crate) fn unwritable(error: WriteError) -> Status {
    match error {
        WriteError::Clash(clash) => Status::invalid_argument(clash),
        WriteError::Held(_) => Status::failed_precondition(error.to_string()),
        WriteError::Stopping => Status::unavailable("the controller stops"),
        WriteError::Store(error) => {
            tracing::error!(%error, "the database failed");
            Status::unavailable("the database failed; the controller's log tells more")
        }
    }
}

pub(crate) fn unreadable(error: StoreError) -> Status {
    tracing::error!(%error, "the database failed");
    Status::internal("the database failed; the controller's log tells more")
}

pub(crate) fn unsound(error: WireError) -> Status {
    Status::invalid_argument(error.to_string())
}
