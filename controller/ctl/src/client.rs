//! The way to the controller, and what can go wrong on it.

use std::error::Error as _;
use std::path::{Path, PathBuf};

use reeve_proto::MAX_MESSAGE_BYTES;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::status::v1::status_service_client::StatusServiceClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use crate::args::Connection;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Half of the credentials were given.
    #[error("--dir and --as belong together")]
    HalfCredentials,
    /// A file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file of tenants holds what it must not.
    #[error("{0}")]
    Tenants(#[from] reeve_policy::reader::ConfigErrors),
    /// The address cannot be used.
    #[error("{address}: {reason}")]
    Address {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
    /// Nobody answers.
    #[error("the controller at {address} cannot be reached: {reason}")]
    Unreachable {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
    /// The controller refused.
    #[error("{}", describe(.0))]
    Refused(Box<Status>),
    /// Some nodes did not do what was ordered.
    #[error("not done on every node")]
    NotDone,
    /// The controller's answer cannot be understood.
    #[error("the controller's answer cannot be understood: {0}")]
    Answer(&'static str),
    /// Our own output cannot be written.
    #[error("writing: {0}")]
    Write(#[from] std::io::Error),
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl CallError {
    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::HalfCredentials => 2,
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => 77,
            Self::File { .. } | Self::Write(_) => 74,
            Self::Tenants(_) => 65,
            Self::Address { .. } => 2,
            Self::Unreachable { .. } => 69,
            Self::Refused(status) => match status.code() {
                Code::NotFound => 3,
                Code::PermissionDenied | Code::Unauthenticated => 77,
                Code::Unavailable | Code::DeadlineExceeded => 69,
                Code::InvalidArgument => 65,
                // A handshake that the controller refuses shows at the first call only, as this.
                Code::Unknown if is_transport(status) => 77,
                _ => 1,
            },
            Self::NotDone | Self::Answer(_) => 1,
        }
    }
}

fn is_transport(status: &Status) -> bool {
    status.source().is_some()
}

fn describe(status: &Status) -> String {
    if status.code() == Code::Unknown && is_transport(status) {
        let cause = status.source().map(chain).unwrap_or_default();
        return format!(
            "the controller ended the connection: is the certificate one of its own authority's? ({cause})"
        );
    }
    if status.message().is_empty() {
        status.code().description().to_owned()
    } else {
        status.message().to_owned()
    }
}

/// An error with everything that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// A connection to the controller.
pub struct Controller {
    channel: Channel,
}

impl Controller {
    /// Connects.
    pub async fn connect(connection: &Connection) -> Result<Self, CallError> {
        let tls = credentials(connection)?;
        let address = connection.controller.clone().unwrap_or_else(|| {
            let scheme = if tls.is_some() { "https" } else { "http" };
            format!("{scheme}://127.0.0.1:7443")
        });
        let bad = |error: tonic::transport::Error| CallError::Address {
            address: address.clone(),
            reason: chain(&error),
        };
        if tls.is_none() && address.starts_with("https:") {
            let reason = "https takes credentials: give --dir and --as".to_owned();
            return Err(CallError::Address { address, reason });
        }
        let mut endpoint =
            Endpoint::from_shared(address.clone()).map_err(bad)?.connect_timeout(connection.timeout);
        if let Some(tls) = tls {
            endpoint = endpoint.tls_config(tls).map_err(bad)?;
        }
        let unreachable = |error: tonic::transport::Error| CallError::Unreachable {
            address: address.clone(),
            reason: chain(&error),
        };
        Ok(Self { channel: endpoint.connect().await.map_err(unreachable)? })
    }

    /// Asks where tenants stand.
    pub fn status(&self) -> StatusServiceClient<Channel> {
        StatusServiceClient::new(self.channel.clone())
    }

    /// Steers.
    pub fn operator(&self) -> OperatorServiceClient<Channel> {
        OperatorServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

fn credentials(connection: &Connection) -> Result<Option<ClientTlsConfig>, CallError> {
    let (dir, name) = match (&connection.dir, &connection.operator) {
        (None, None) => return Ok(None),
        (Some(dir), Some(name)) => (dir, name),
        _ => return Err(CallError::HalfCredentials),
    };
    let operators = dir.join("operators");
    let ca = read(&dir.join("ca.crt"))?;
    let certificate = read(&operators.join(format!("{name}.crt")))?;
    let key = read(&operators.join(format!("{name}.key")))?;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca))
        .identity(Identity::from_pem(certificate, key));
    Ok(Some(tls))
}

fn read(path: &Path) -> Result<Vec<u8>, CallError> {
    std::fs::read(path).map_err(|source| CallError::File { path: path.to_owned(), source })
}
