//! How the controller is set up: a folder, what its settings say, and where to listen.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reeve_policy::Timestamp;

use crate::clock;
use crate::error::ControllerError;
use crate::identity::Protection;
use crate::pki::{self, CA, SERVER, SERVER_KEY};
use crate::settings::Settings;

/// Where the controller keeps everything, if nobody says otherwise.
pub const DEFAULT_DIR: &str = "/var/lib/reeve/controller";
/// Where it listens, if nobody says otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7443";

/// What the controller shows its peers.
#[derive(Clone)]
pub struct Credentials {
    /// The authority that signed its peers' certificates.
    pub ca: Vec<u8>,
    /// Its certificate, with the authority's behind it: a node that enrols knows that one by its fingerprint alone.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Credentials {
    /// Keys are for nobody's log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

/// A controller's set-up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its folder.
    pub dir: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// What it shows; `None` without certificates.
    pub credentials: Option<Credentials>,
    /// What `controller.toml` says.
    pub settings: Settings,
}

/// What it takes to sign certificates while running.
#[derive(Clone, Debug)]
pub(crate) struct Signing {
    /// The folder with the authority.
    pub dir: PathBuf,
    /// How long what is signed holds.
    pub certificate_life: Duration,
    /// By what nodes know the authority; `None` without certificates.
    pub fingerprint: Option<[u8; 32]>,
}

impl Config {
    /// The set-up of a folder.
    ///
    /// # Errors
    /// When the folder is not there, some but not all of the certificates are, the settings cannot be read, or one without is to listen to others than
    /// this machine.
    pub fn load(dir: &Path, listen: SocketAddr) -> Result<Self, ControllerError> {
        if !dir.is_dir() {
            return Err(ControllerError::NoFolder { path: dir.to_owned() });
        }
        let settings = Settings::load(dir)?;
        let credentials = credentials(dir)?;
        if credentials.is_none() && !listen.ip().is_loopback() {
            return Err(ControllerError::Unprotected { listen, dir: dir.to_owned() });
        }
        if credentials.is_none() && settings.approval.is_some() {
            return Err(ControllerError::NoPersons { dir: dir.to_owned() });
        }
        Ok(Self { dir: dir.to_owned(), listen, credentials, settings })
    }

    /// What it takes to sign certificates.
    pub(crate) fn signing(&self) -> Signing {
        let fingerprint = self.credentials.as_ref().and_then(|credentials| pki::fingerprint(&credentials.ca));
        let certificate_life = self.settings.access.certificate_life;
        Signing { dir: self.dir.clone(), certificate_life, fingerprint }
    }

    /// How peers are told apart.
    #[must_use]
    pub fn protection(&self) -> Protection {
        if self.credentials.is_some() { Protection::Certificates } else { Protection::LoopbackOnly }
    }
}

fn credentials(dir: &Path) -> Result<Option<Credentials>, ControllerError> {
    let files = [CA, SERVER, SERVER_KEY].map(|name| dir.join(name));
    let missing: Vec<&PathBuf> = files.iter().filter(|path| !path.exists()).collect();
    if missing.len() == files.len() {
        return Ok(None);
    }
    if let Some(path) = missing.first() {
        return Err(ControllerError::IncompleteCredentials { path: (*path).clone() });
    }
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| ControllerError::File { path: path.clone(), source })
    };
    let [ca, certificate, key] = &files;
    let mut credentials = Credentials { ca: read(ca)?, certificate: read(certificate)?, key: read(key)? };
    expiry(ca, &credentials.ca)?;
    expiry(certificate, &credentials.certificate)?;
    credentials.certificate.push(b'\n');
    credentials.certificate.extend_from_slice(&credentials.ca);
    Ok(Some(credentials))
}

/// When a certificate ends, if it holds now.
///
/// # Errors
/// When the file holds none, or one that holds no longer or not yet.
pub fn expiry(path: &Path, pem: &[u8]) -> Result<Timestamp, ControllerError> {
    let wrong = |reason: String| ControllerError::Certificate { path: path.to_owned(), reason };
    let (_, pem) =
        x509_parser::pem::parse_x509_pem(pem).map_err(|_| wrong("it holds no certificate in PEM".into()))?;
    let certificate = pem.parse_x509().map_err(|error| wrong(format!("it holds no certificate: {error}")))?;
    let validity = certificate.validity();
    let at = |time: x509_parser::time::ASN1Time| {
        Timestamp::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
    };
    let (from, to, now) = (at(validity.not_before), at(validity.not_after), clock::now());
    if now < from || now >= to {
        return Err(wrong(format!("the certificate holds from {from} to {to}, and it is {now}")));
    }
    Ok(to)
}
