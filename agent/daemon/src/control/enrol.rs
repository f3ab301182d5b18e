//! A node's first certificate: for a token that an administrator made.
//!
//! The token carries the fingerprint of the authority's certificate, so nothing has to be copied to the node beside it, and
//! nobody in between can pass for the controller: before the token is sent anywhere, a handshake shows the chain, and the one
//! certificate in it that has the fingerprint is from then on the only authority. The key is made here and never leaves the node.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use reeve_policy::NodeId;
use reeve_proto::agent::v1::EnrollRequest;
use reeve_proto::agent::v1::enrolment_service_client::EnrolmentServiceClient;
use ring::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Uri};

use crate::config::ControllerSettings;

/// Everything the controller does on the way takes no longer than this.
const PATIENCE: Duration = Duration::from_secs(15);
/// The port of HTTPS, where the address names none.
const PORT_HTTPS: u16 = 443;

/// Why a node has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A text that is no enrolment token.
    #[error("{path} holds no enrolment token, as `reevectl enroll-token create` prints it: reeve_enrol_... with a dot in it", path = path.display())]
    NoToken {
        /// The file.
        path: PathBuf,
    },
    /// The settings name no controller over TLS, or not where its files go.
    #[error("the settings have no [controller] with an https address, `ca`, `certificate` and `key`")]
    Settings,
    /// A file is there already.
    #[error("{path} is there already: remove it if the node is to have a new identity, or give --again", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Whoever answers does not show the authority that the token names, or cannot be reached.
    #[error("{address}: {reason}")]
    Controller {
        /// The address.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// The controller refused.
    #[error("the controller refused: {0}")]
    Refused(String),
    /// The token is another node's.
    #[error("the token is node {theirs}'s, and the settings are node {ours}'s")]
    OtherNode {
        /// Whose the token is.
        theirs: String,
        /// Whose the settings are.
        ours: NodeId,
    },
    /// A key or a request could not be made.
    #[error("a key could not be made: {0}")]
    Key(#[from] rcgen::Error),
}

/// Fetches the first certificate of `node` from the first controller of the settings that can be reached, and writes it, its key and the
/// authority's where the settings say. The address of that controller.
///
/// # Errors
/// When it cannot be had, or not be written.
pub async fn enrol(
    settings: &ControllerSettings,
    node: &NodeId,
    token_file: &Path,
    again: bool,
) -> Result<String, EnrolError> {
    let (Some(ca), Some(certificate), Some(key)) = (&settings.ca, &settings.certificate, &settings.key)
    else {
        return Err(EnrolError::Settings);
    };
    // Whatever can go wrong here does so before the token is spent.
    for path in [certificate, key].into_iter().filter(|_| !again) {
        if path.exists() {
            return Err(EnrolError::Exists { path: path.clone() });
        }
    }
    let text = fs::read_to_string(token_file)
        .map_err(|source| EnrolError::File { path: token_file.to_owned(), source })?;
    let token = text.trim();
    let pin = pin(token).ok_or_else(|| EnrolError::NoToken { path: token_file.to_owned() })?;
    let (address, authority) = reach(&settings.addresses, pin).await?;
    let failed = |reason: String| EnrolError::Controller { address: address.clone(), reason };

    let pair = KeyPair::generate()?;
    let request = certificate_request(&pair)?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority));
    let endpoint = Endpoint::from_shared(address.clone()).and_then(|endpoint| endpoint.tls_config(tls));
    let endpoint =
        endpoint.map_err(|error| failed(error.to_string()))?.connect_timeout(PATIENCE).timeout(PATIENCE);
    let channel = endpoint.connect().await.map_err(|error| failed(super::link::chain(&error)))?;
    // What can be seen to before the token is spent is: that the files can be written.
    for path in [ca, certificate, key] {
        make_folder(path)?;
    }
    let mut name = key.file_name().unwrap_or_default().to_owned();
    name.push(".waiting");
    let waiting = key.with_file_name(name);
    write(&waiting, &pair.serialize_pem(), 0o600)?;
    let request = EnrollRequest { token: token.to_owned(), certificate_request: request };
    let enrolled = EnrolmentServiceClient::new(channel).enroll(request).await;
    let enrolled = match enrolled {
        Ok(answer) => answer.into_inner(),
        Err(status) => {
            // Nobody has certified it.
            let _ = fs::remove_file(&waiting);
            return Err(EnrolError::Refused(status.message().to_owned()));
        }
    };
    if enrolled.node != node.as_str() {
        let _ = fs::remove_file(&waiting);
        return Err(EnrolError::OtherNode { theirs: enrolled.node, ours: node.clone() });
    }
    fs::rename(&waiting, key).map_err(|source| EnrolError::File { path: key.clone(), source })?;
    write(ca, &authority, 0o644)?;
    write(certificate, &enrolled.certificate, 0o644)?;
    Ok(address)
}

/// The first of the controllers that shows the authority that the token names, and the authority's certificate (PEM).
async fn reach(addresses: &[String], pin: [u8; 32]) -> Result<(String, String), EnrolError> {
    let mut failed = EnrolError::Settings;
    for address in addresses {
        let reached = tokio::time::timeout(PATIENCE, authority(address, pin)).await;
        match reached.unwrap_or_else(|_| Err("no handshake in time".to_owned())) {
            Ok(authority) => return Ok((address.clone(), authority)),
            Err(reason) => failed = EnrolError::Controller { address: address.clone(), reason },
        }
    }
    Err(failed)
}

/// The fingerprint that a token carries.
fn pin(token: &str) -> Option<[u8; 32]> {
    let (secret, pin) = token.strip_prefix("reeve_enrol_")?.split_once('.')?;
    BASE64URL_NOPAD.decode(secret.as_bytes()).ok().filter(|secret| secret.len() == 32)?;
    BASE64URL_NOPAD.decode(pin.as_bytes()).ok()?.try_into().ok()
}

/// A certificate request (DER) that says nothing but whose key it is: the name is the controller's to give.
pub(super) fn certificate_request(pair: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(pair)?.der().to_vec())
}

/// The certificate of the authority (PEM) that has the fingerprint, if whoever answers at the address is vouched for by it.
async fn authority(address: &str, pin: [u8; 32]) -> Result<String, String> {
    let uri: Uri = address.parse().map_err(|error| format!("{error}"))?;
    let host = uri.host().ok_or("the address has no host")?.trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(PORT_HTTPS);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pinned = Arc::new(Pinned { pin, provider: Arc::clone(&provider), found: std::sync::OnceLock::new() });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&pinned) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| error.to_string())?;
    let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    handshake.map_err(|error| error.to_string())?;
    pinned.found.get().cloned().ok_or_else(|| "no certificate was shown".to_owned())
}

/// Takes a chain in which the authority stands that has a fingerprint, and that one vouches for.
#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
    /// The authority's certificate, as PEM.
    found: std::sync::OnceLock<String>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let is_pinned = |shown: &&CertificateDer<'_>| digest(&SHA256, shown).as_ref() == self.pin;
        let authority = intermediates.iter().find(is_pinned).ok_or_else(|| {
            rustls::Error::General(
                "whoever answers does not show the authority that the token names".to_owned(),
            )
        })?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider));
        let verifier = verifier.build().map_err(|error| rustls::Error::General(error.to_string()))?;
        let verified = verifier.verify_server_cert(end_entity, &[], server_name, ocsp, now)?;
        let _ = self.found.set(pem(authority));
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// RFC 7468, with lines of 64 characters.
fn pem(certificate: &[u8]) -> String {
    let text = BASE64.encode(certificate);
    let lines: Vec<String> =
        text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// Makes the folder of a file where there is none. It belongs to whoever the folder above belongs to.
fn make_folder(path: &Path) -> Result<(), EnrolError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    if folder.is_dir() {
        return Ok(());
    }
    make_folder(folder)?;
    let failed = |source| EnrolError::File { path: folder.to_owned(), source };
    fs::DirBuilder::new().mode(0o750).create(folder).map_err(failed)?;
    hand_over(folder).map_err(failed)
}

/// Gives a file or folder to whoever the folder that it is in belongs to: the agent, which is to renew it, and not root.
fn hand_over(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let (own, above) = (fs::metadata(path)?, fs::metadata(folder)?);
    if (own.uid(), own.gid()) == (above.uid(), above.gid()) {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(above.uid()), Some(above.gid()))
}

/// Writes a file whole or not at all.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> Result<(), EnrolError> {
    let failed = |source| EnrolError::File { path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        hand_over(&new)?;
        file.sync_all()?;
        fs::rename(&new, path)
    });
    written.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_carries_a_fingerprint() {
        let (secret, pinned) = (BASE64URL_NOPAD.encode(&[1; 32]), BASE64URL_NOPAD.encode(&[2; 32]));
        assert_eq!(pin(&format!("reeve_enrol_{secret}.{pinned}")), Some([2; 32]));
        for wrong in [
            format!("reeve_{secret}"),
            format!("reeve_enrol_{secret}"),
            format!("reeve_enrol_{secret}."),
            format!("reeve_enrol_{secret}.{pinned}A"),
            format!("reeve_enrol_.{pinned}"),
            String::new(),
        ] {
            assert_eq!(pin(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn files_are_written_whole_and_keys_are_for_nobody_else() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/n1.key");
        make_folder(&path).unwrap();
        fs::write(path.with_file_name("n1.key.new"), "left by a crash").unwrap();
        write(&path, "one", 0o600).unwrap();
        write(&path, "two", 0o600).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
