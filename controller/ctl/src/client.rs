//! The way to the controller, and what can go wrong on it.

use std::error::Error as _;
use std::path::{Path, PathBuf};

use reeve_proto::MAX_MESSAGE_BYTES;
use reeve_proto::operator::v1::access_service_client::AccessServiceClient;
use reeve_proto::operator::v1::approval_service_client::ApprovalServiceClient;
use reeve_proto::operator::v1::audit_service_client::AuditServiceClient;
use reeve_proto::operator::v1::case_service_client::CaseServiceClient;
use reeve_proto::operator::v1::complaint_service_client::ComplaintServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::person_service_client::PersonServiceClient;
use reeve_proto::operator::v1::policy_service_client::PolicyServiceClient;
use reeve_proto::operator::v1::standing_service_client::StandingServiceClient;
use reeve_proto::operator::v1::{ListNodesRequest, ListNodesResponse};
use reeve_proto::status::v1::status_service_client::StatusServiceClient;
use reeve_replay::FileError;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_health::pb::health_client::HealthClient;

use crate::args::Connection;
use crate::audit::AuditError;
use crate::session;

/// A controller that answers no keep-alive for this long is gone; `watch` would wait for ever.
const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(20);

/// The metadata of a refusal that names the approval which the act waits for.
const APPROVAL: &str = "reeve-approval";

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No alert is kept behind a decision of that number.
    #[error(
        "nothing is kept that decision {number} upon this violation rests on; without --decision all is listed"
    )]
    NoEvidence {
        /// The decision's number.
        number: u32,
    },
    /// An audit log was not found good.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Half of the credentials were given.
    #[error("--dir belongs with --as, --token-file or a session (reevectl login), and --as with --dir")]
    HalfCredentials,
    /// A file holds no token.
    #[error("{path} holds no token: one line that begins with `reeve_`", path = path.display())]
    NoToken {
        /// The file.
        path: PathBuf,
    },
    /// A file with a session that others can read.
    #[error("{path} can be read by others: chmod 600, or log in again after taking it away", path = path.display())]
    OpenFile {
        /// The file.
        path: PathBuf,
    },
    /// There is nowhere to keep a session.
    #[error("neither XDG_STATE_HOME nor HOME says where to keep a session")]
    NoState,
    /// What was typed does not do.
    #[error("{0}")]
    Typed(&'static str),
    /// A file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds no tenants. Taking that over would forget everybody.
    #[error("{path} holds no tenant", path = path.display())]
    NoTenants {
        /// The file.
        path: PathBuf,
    },
    /// A file of tenants, or of a policy, holds what it must not.
    #[error("{}", .0.with_excerpts())]
    Content(#[from] reeve_policy::reader::ConfigErrors),
    /// A policy writes no such letter.
    #[error("{0}: no letter is written: there is no such rule or clause, or nobody is told of it")]
    NoLetter(String),
    /// Two policies differ. They were told how.
    #[error("{number} differences")]
    Differ {
        /// In how many places.
        number: usize,
    },
    /// Two policies would have hit tenants differently. It was told whom.
    #[error("{newly} newly hit, {no_longer} no longer, {differently} otherwise")]
    Hits {
        /// How many by the candidate only.
        newly: usize,
        /// How many by the other only.
        no_longer: usize,
        /// How many by both, not in the same way.
        differently: usize,
    },
    /// Tenants of the command line and of a file share an address or a name.
    #[error("the tenants: {0}")]
    Clashing(String),
    /// A capture cannot be read.
    #[error("{0}: {source}", source = .0.source)]
    Capture(#[from] reeve_replay::CaptureFileError),
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
    /// The controller refused the tenants of a file.
    #[error("{}", describe(.0))]
    Import(Box<Status>),
    /// The controller ended a stream that never ends by itself.
    #[error("the controller ended the stream")]
    Ended,
    /// Some nodes did not do what was ordered.
    #[error("not done on every node")]
    NotDone,
    /// Of several tenants some are not there. Which, has been told.
    #[error("not done for {failed} of {of}")]
    NotForAll {
        /// For how many.
        failed: usize,
        /// Of how many.
        of: usize,
    },
    /// The order is stored, and not carried out everywhere yet.
    #[error("not done everywhere yet; the order is stored, and goes to each node when it is connected")]
    NotYet,
    /// A tenant's mail server takes mail of strangers for others, or what it does is not known.
    #[error("{0}")]
    Relay(CheckedRelay),
    /// A tenant has not one address, but several.
    #[error("which server? The tenant has more than one address; name one")]
    WhichServer,
    /// The controller's answer cannot be understood.
    #[error("the controller's answer cannot be understood: {0}")]
    Answer(&'static str),
    /// Something is not as it should be. What, has been told.
    #[error("{points} of {of} points are not as they should be")]
    Unwell {
        /// How many.
        points: usize,
        /// Of how many.
        of: usize,
        /// The exit code: 1 where all of them are warnings, 2 otherwise.
        code: u8,
    },
    /// Our own output cannot be written.
    #[error("writing: {0}")]
    Write(#[from] std::io::Error),
}

/// What a mail server that was asked did not say: that it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckedRelay {
    /// It takes mail of strangers for others.
    Open,
    /// It did not answer the question.
    Unknown,
}

impl std::fmt::Display for CheckedRelay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "an open relay",
            Self::Unknown => "it is not known whether this is an open relay",
        })
    }
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
            Self::HalfCredentials | Self::Typed(_) | Self::NoState => 2,
            Self::OpenFile { .. } => 77,
            Self::Unwell { code, .. } => *code,
            Self::NoEvidence { .. } => 3,
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => 77,
            Self::File { .. } | Self::Write(_) => 74,
            Self::Capture(error) => match &error.source {
                FileError::Read { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => 77,
                FileError::Read { .. } => 74,
                _ => 65,
            },
            Self::Content(_) | Self::NoToken { .. } | Self::NoTenants { .. } | Self::Clashing(_) => 65,
            Self::Address { .. } => 2,
            Self::Unreachable { .. } => 69,
            // It is stored, and waits for a second person.
            Self::Refused(status) if status.metadata().contains_key(APPROVAL) => 4,
            Self::Refused(status) => match status.code() {
                Code::NotFound => 3,
                Code::PermissionDenied | Code::Unauthenticated => 77,
                Code::Unavailable | Code::DeadlineExceeded => 69,
                Code::InvalidArgument => 2,
                // A handshake that the controller refuses shows at the first call only, as this.
                Code::Unknown if is_transport(status) => 77,
                _ => 1,
            },
            Self::Import(status) if status.code() == Code::InvalidArgument => 65,
            Self::Import(status) => Self::Refused(status.clone()).exit_code(),
            Self::NotYet => 4,
            Self::Relay(CheckedRelay::Open) => 1,
            Self::Relay(CheckedRelay::Unknown) | Self::WhichServer => 2,
            Self::NoLetter(_) => 66,
            Self::Ended => 69,
            Self::NotForAll { .. } => 1,
            Self::Audit(_) | Self::NotDone | Self::Answer(_) | Self::Differ { .. } | Self::Hits { .. } => 1,
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
    channel: Shown,
    address: String,
}

/// A channel over which a token is shown with each call, if there is one.
type Shown = InterceptedService<Channel, Bearer>;

/// Shows a token.
#[derive(Clone)]
pub struct Bearer(Option<AsciiMetadataValue>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl Controller {
    /// Connects. Who is logged in shows their session, where nothing else is shown; who `is_coming` to log in shows none.
    pub async fn connect(connection: &Connection, is_coming: bool) -> Result<Self, CallError> {
        let address = connection.controller.clone().unwrap_or_else(|| {
            let scheme = if connection.dir.is_some() { "https" } else { "http" };
            format!("{scheme}://127.0.0.1:7443")
        });
        let shows_nothing = connection.token_file.is_none() && connection.operator.is_none();
        let kept = session::file(&address).filter(|_| shows_nothing && !is_coming);
        let kept = kept.map(session::found).transpose()?.flatten();
        let shown = connection.token_file.as_deref().or(kept.as_deref());
        let tls = credentials(connection, is_coming || shown.is_some())?;
        let bearer = Bearer(shown.map(token).transpose()?);
        let bad = |error: tonic::transport::Error| CallError::Address {
            address: address.clone(),
            reason: chain(&error),
        };
        if tls.is_none() && address.starts_with("http:") && !is_on_this_machine(&address) {
            let reason =
                "without credentials only a controller on this machine is reached: give --dir, and --as or --token-file"
                    .to_owned();
            return Err(CallError::Address { address, reason });
        }
        if tls.is_none() && address.starts_with("https:") {
            let reason = "https takes credentials: give --dir, and --as or --token-file".to_owned();
            return Err(CallError::Address { address, reason });
        }
        let mut endpoint = Endpoint::from_shared(address.clone())
            .map_err(bad)?
            .connect_timeout(connection.timeout)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        if let Some(tls) = tls {
            endpoint = endpoint.tls_config(tls).map_err(bad)?;
        }
        let unreachable = |error: tonic::transport::Error| CallError::Unreachable {
            address: address.clone(),
            reason: chain(&error),
        };
        let channel = endpoint.connect().await.map_err(unreachable)?;
        Ok(Self { channel: InterceptedService::new(channel, bearer), address })
    }

    /// Keeps a session's token; where.
    pub fn keep_session(&self, token: &str) -> Result<PathBuf, CallError> {
        let path = session::file(&self.address).ok_or(CallError::NoState)?;
        session::keep(&path, token)?;
        Ok(path)
    }

    /// Forgets a session's token; where it was.
    pub fn forget_session(&self) -> Result<PathBuf, CallError> {
        let path = session::file(&self.address).ok_or(CallError::NoState)?;
        session::forget(&path)?;
        Ok(path)
    }

    /// Accounts and sessions.
    pub fn people(&self) -> PersonServiceClient<Shown> {
        PersonServiceClient::new(self.channel.clone())
    }

    /// Asks where tenants stand.
    pub fn status(&self) -> StatusServiceClient<Shown> {
        StatusServiceClient::new(self.channel.clone())
    }

    /// Says who may call.
    pub fn access(&self) -> AccessServiceClient<Shown> {
        AccessServiceClient::new(self.channel.clone())
    }

    /// Approves and rejects.
    pub fn approvals(&self) -> ApprovalServiceClient<Shown> {
        ApprovalServiceClient::new(self.channel.clone())
    }

    /// Keeps together what happens with tenants.
    pub fn cases(&self) -> CaseServiceClient<Shown> {
        CaseServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Takes what people outside complain about.
    pub fn complaints(&self) -> ComplaintServiceClient<Shown> {
        ComplaintServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Tells what was done.
    pub fn audit(&self) -> AuditServiceClient<Shown> {
        AuditServiceClient::new(self.channel.clone())
    }

    /// Tells whether the controller can do its work.
    pub fn health(&self) -> HealthClient<Shown> {
        HealthClient::new(self.channel.clone())
    }

    /// Says which policies nodes run.
    pub fn policies(&self) -> PolicyServiceClient<Shown> {
        PolicyServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Tells what is held against tenants, and grants exemptions.
    pub fn standing(&self) -> StandingServiceClient<Shown> {
        StandingServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Steers.
    pub fn operator(&self) -> OperatorServiceClient<Shown> {
        OperatorServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

impl Controller {
    /// All nodes that are asked for, page by page, each page within `timeout`.
    pub async fn all_nodes(
        &self,
        mut asked: ListNodesRequest,
        timeout: std::time::Duration,
    ) -> Result<ListNodesResponse, Status> {
        let mut all: Option<ListNodesResponse> = None;
        loop {
            let mut request = Request::new(asked.clone());
            request.set_timeout(timeout);
            let mut page = self.operator().list_nodes(request).await?.into_inner();
            asked.page_token = std::mem::take(&mut page.next_page_token);
            let all = match &mut all {
                None => all.insert(page),
                Some(all) => {
                    all.nodes.append(&mut page.nodes);
                    all
                }
            };
            if asked.page_token.is_empty() {
                return Ok(std::mem::take(all));
            }
        }
    }
}

/// Whether a URL's host is this machine's loopback.
fn is_on_this_machine(address: &str) -> bool {
    let authority = address.split_once("://").map_or(address, |(_, rest)| rest).trim_end_matches('/');
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What TLS takes. Who shows no certificate needs the authority's alone, if `is_bare` holds: they show a token, or come to log in.
fn credentials(connection: &Connection, is_bare: bool) -> Result<Option<ClientTlsConfig>, CallError> {
    let (dir, name) = match (&connection.dir, &connection.operator) {
        (None, None) => return Ok(None),
        (Some(dir), None) if is_bare => {
            let ca = Certificate::from_pem(read(&dir.join("ca.crt"))?);
            return Ok(Some(ClientTlsConfig::new().ca_certificate(ca)));
        }
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

/// The token of a file, as it is shown.
fn token(path: &Path) -> Result<AsciiMetadataValue, CallError> {
    let none = || CallError::NoToken { path: path.to_owned() };
    let text = String::from_utf8(read(path)?).map_err(|_| none())?;
    let text = text.trim();
    let is_token = text.starts_with("reeve_") && text.bytes().all(|byte| byte.is_ascii_graphic());
    let mut shown: AsciiMetadataValue =
        is_token.then(|| format!("Bearer {text}").parse().ok()).flatten().ok_or_else(none)?;
    shown.set_sensitive(true);
    Ok(shown)
}

fn read(path: &Path) -> Result<Vec<u8>, CallError> {
    std::fs::read(path).map_err(|source| CallError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_their_codes() {
        let check = |status: Status, code| assert_eq!(CallError::from(status).exit_code(), code);
        check(Status::not_found(""), 3);
        check(Status::permission_denied(""), 77);
        check(Status::unavailable(""), 69);
        check(Status::invalid_argument(""), 2);
        check(Status::internal(""), 1);
        check(Status::failed_precondition(""), 1);
        let mut waits = Status::failed_precondition("it takes a second person");
        waits.metadata_mut().insert(APPROVAL, "A1".parse().unwrap());
        check(waits, 4);
        assert_eq!(CallError::Import(Box::new(Status::invalid_argument("twice"))).exit_code(), 65);
        assert_eq!(CallError::Import(Box::new(Status::unavailable(""))).exit_code(), 69);
    }

    #[test]
    fn only_loopback_is_this_machine() {
        for (address, expected) in [
            ("http://127.0.0.1:7443", true),
            ("http://[::1]:7443/", true),
            ("http://localhost:7443", true),
            ("http://192.0.2.1:7443", false),
            ("http://127.0.0.1.example.net:7443", false),
        ] {
            assert_eq!(is_on_this_machine(address), expected, "{address}");
        }
    }
}
