//! Why the controller cannot work, and the exit code for it (sysexits.h).

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use reeve_audit::KeyError;

use crate::auth::VaultError;
use crate::pki::PkiError;
use crate::store::StoreError;

/// Why the controller cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The folder is not there.
    #[error("{path} is no folder: make one with `reeve-controller init`", path = path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Some certificates are there, others are not.
    #[error("{path} is missing beside other certificates: `reeve-controller init` completes them", path = path.display())]
    IncompleteCredentials {
        /// The first that is missing.
        path: PathBuf,
    },
    /// Without certificates everybody who reaches the port may give orders.
    #[error(
        "{dir} holds no certificates, so only a loopback address may be listened on, not {listen}: \
         make them with `reeve-controller init --dir {dir} --host {host}`",
        dir = dir.display(), host = listen.ip()
    )]
    Unprotected {
        /// Where it was to listen.
        listen: SocketAddr,
        /// The folder.
        dir: PathBuf,
    },
    /// The machine has no more threads.
    #[error("no thread could be started for the writer: {0}")]
    Thread(#[source] std::io::Error),
    /// Another controller uses the folder.
    #[error("{path} is in use by a running controller", path = path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// What is asked for is done by the database's server.
    #[error(
        "the database is not in a file of ours, but {place}: copy it with pg_dump and bring it back with pg_restore"
    )]
    OnServer {
        /// Where.
        place: String,
    },
    /// The settings say what is not understood.
    #[error("{path}: {reason}", path = path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// Where, what, and what is allowed.
        reason: String,
    },
    /// A certificate is none, or holds no longer.
    #[error("{path}: {reason}", path = path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no key to sign the audit log with.
    #[error("the audit log cannot be signed: {0}")]
    AuditKey(#[from] KeyError),
    /// There is no key for what the database is to keep secret, or unchanged.
    #[error("there is no key for secrets: {0}")]
    Vault(#[from] VaultError),
    /// Without certificates nobody is told from anybody else.
    #[error("{dir} holds no certificates, so no two persons are told apart: take [approval] out of controller.toml, or make certificates with `reeve-controller init`", dir = dir.display())]
    NoPersons {
        /// The folder.
        dir: PathBuf,
    },
    /// A file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The port cannot be had.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// Where.
        listen: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The certificates cannot be used, or the transport failed.
    #[error("the transport failed")]
    Transport(#[from] tonic::transport::Error),
    /// The certificates cannot be used for HTTP.
    #[error("the certificates cannot be used: {detail}")]
    Tls {
        /// Why.
        detail: String,
    },
    /// The protocol's own description cannot be read, which is a fault of ours.
    #[error("the protocol cannot be described: {detail}")]
    Reflection {
        /// Why.
        detail: String,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Certificates cannot be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The system refused a signal handler.
    #[error("signal handler: {0}")]
    Signal(#[source] io::Error),
}

impl ControllerError {
    /// The exit code: 65 data, 69 unavailable, 74 I/O, 77 permission, 78 configuration, 1 anything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let of_io = |error: &io::Error, otherwise| match error.kind() {
            io::ErrorKind::PermissionDenied => 77,
            _ => otherwise,
        };
        match self {
            Self::NoFolder { .. } | Self::IncompleteCredentials { .. } | Self::Unprotected { .. } => 78,
            Self::NoPersons { .. } | Self::Vault(VaultError::Key { .. }) => 78,
            Self::Vault(VaultError::File { source, .. }) => of_io(source, 74),
            Self::Certificate { .. } | Self::OnServer { .. } | Self::Setting { .. } => 78,
            Self::InUse { .. } => 69,
            Self::File { source, .. } => of_io(source, 74),
            Self::Listen { source, .. } => of_io(source, 69),
            Self::Transport(_) | Self::Tls { .. } => 78,
            Self::Store(
                StoreError::Corrupt { .. } | StoreError::Migration { .. } | StoreError::Body { .. },
            ) => 65,
            Self::Store(StoreError::Permission { .. }) => 77,
            Self::Store(StoreError::Io { source, .. }) => of_io(source, 74),
            Self::Store(error @ StoreError::Sql(_)) if error.is_disconnected() => 69,
            Self::Store(StoreError::Sql(_)) => 74,
            Self::Pki(PkiError::File { source, .. }) => of_io(source, 74),
            Self::Pki(PkiError::Name { .. } | PkiError::Request(_)) => 2,
            Self::Pki(PkiError::Randomness) => 69,
            Self::Pki(PkiError::Certificate { .. } | PkiError::NoKey { .. } | PkiError::Role { .. }) => 78,
            Self::AuditKey(KeyError::File { source, .. }) => of_io(source, 74),
            Self::AuditKey(KeyError::Key { .. }) => 78,
            Self::AuditKey(KeyError::Random) | Self::Vault(VaultError::Random) => 1,
            Self::Signal(_) | Self::Thread(_) | Self::Reflection { .. } => 1,
        }
    }
}
