//! The controller's own authority: certificates for itself, its nodes and its operators.
//!
//! Nothing is ever overwritten but the controller's own certificate, and that only when new host names are asked for:
//! running `init` again adds. Keys are readable by their owner alone. Certificates of nodes and people hold for a year.
//! A running controller signs what nodes ask for ([`Authority`]), if the authority's key is with it.

use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use reeve_policy::{Name, Timestamp};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::auth::Role;
use crate::{clock, files, identity};

/// How long the authority holds.
const CA_LIFE: Duration = Duration::from_secs(3_650 * DAY_SECS);
/// How long what it signs does, at most.
pub const LONGEST_LIFE: Duration = Duration::from_secs(365 * DAY_SECS);
const DAY_SECS: u64 = 86_400;

/// The authority's certificate, by which peers know the controller.
pub const CA: &str = "ca.crt";
/// Its key. Needed to sign, not to run: it may be kept elsewhere.
pub const CA_KEY: &str = "ca.key";
/// The controller's certificate.
pub const SERVER: &str = "server.crt";
/// Its key.
pub const SERVER_KEY: &str = "server.key";

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file or folder could not be made or read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The authority that is there cannot be used, or a name cannot stand in a certificate.
    #[error("{path}: {source}", path = path.display())]
    Certificate {
        /// Which file it is about.
        path: PathBuf,
        /// What is wrong.
        source: rcgen::Error,
    },
    /// Somebody has a certificate for another role than is wanted.
    #[error("{path} is for the role {found}, not {role}: remove it and its key first", path = path.display())]
    Role {
        /// The certificate.
        path: PathBuf,
        /// Its role.
        found: Role,
        /// The role that is wanted.
        role: Role,
    },
    /// A certificate request that cannot be read, or is not signed by the key in it.
    #[error("the certificate request: {0}")]
    Request(#[source] rcgen::Error),
    /// The system has no randomness to give.
    #[error("the system has no randomness")]
    Randomness,
    /// A name that nobody may have.
    #[error("`{name}` is what the controller calls others: `local`, and what begins with `token.`")]
    Name {
        /// The name.
        name: Name,
    },
    /// The authority's certificate is there, but not its key.
    #[error("{path} is missing: without the authority's key nothing can be signed", path = path.display())]
    NoKey {
        /// The key.
        path: PathBuf,
    },
}

/// What is to be there.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Names and addresses by which the controller is reached, beside `localhost` and loopback.
    pub hosts: Vec<String>,
    /// Nodes.
    pub nodes: Vec<Name>,
    /// People and programs, each with a role: operators most of all.
    pub people: Vec<(Role, Name)>,
}

/// Makes what is wanted and not there yet; returns what was made.
///
/// # Errors
/// When a file cannot be made, or the authority that is there cannot be used.
pub fn init(dir: &Path, wanted: &Wanted) -> Result<Vec<PathBuf>, PkiError> {
    make_dir(dir)?;
    let mut made = Vec::new();
    let authority = authority(dir, &mut made)?;
    if !wanted.hosts.is_empty() || !dir.join(SERVER).exists() {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        names.extend(known_hosts(&dir.join(SERVER)));
        names.extend(wanted.hosts.iter().cloned());
        names.sort();
        names.dedup();
        let mut params = certificate(&dir.join(SERVER), "Reeve controller", LONGEST_LIFE, clock::now())?;
        params.subject_alt_names = hosts(&dir.join(SERVER), &names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for file in [SERVER, SERVER_KEY] {
            remove(&dir.join(file))?;
        }
        sign(&authority, params, dir, SERVER, SERVER_KEY, &mut made)?;
    }
    for name in &wanted.nodes {
        client(&authority, &dir.join("nodes"), Role::Node, name, &mut made)?;
    }
    for (role, name) in &wanted.people {
        client(&authority, &dir.join("operators"), *role, name, &mut made)?;
    }
    Ok(made)
}

fn client(
    authority: &Issuer<'_, KeyPair>,
    folder: &Path,
    role: Role,
    name: &Name,
    made: &mut Vec<PathBuf>,
) -> Result<(), PkiError> {
    make_dir(folder)?;
    let (certificate_file, key_file) = (format!("{name}.crt"), format!("{name}.key"));
    let path = folder.join(&certificate_file);
    let uri = format!("reeve://{role}/{name}");
    if identity::parse(&uri).is_none() {
        return Err(PkiError::Name { name: name.clone() });
    }
    if path.exists() {
        let found = read_pem(&path).and_then(|der| identity::read(&der));
        return match found {
            Some(found) if found.role != role => Err(PkiError::Role { path, found: found.role, role }),
            _ => Ok(()),
        };
    }
    let params = client_params(&path, role, name, LONGEST_LIFE, clock::now())?;
    sign(authority, params, folder, &certificate_file, &key_file, made)
}

/// The authority, to sign what others ask for while the controller runs.
pub struct Authority {
    path: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl std::fmt::Debug for Authority {
    /// Keys are for nobody's log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// The authority of a folder.
    ///
    /// # Errors
    /// When its key is not there, or cannot be used.
    pub fn load(dir: &Path) -> Result<Self, PkiError> {
        let (path, key_path) = (dir.join(CA), dir.join(CA_KEY));
        if !key_path.exists() {
            return Err(PkiError::NoKey { path: key_path });
        }
        let key = KeyPair::from_pem(&read(&key_path)?)
            .map_err(|source| PkiError::Certificate { path: key_path.clone(), source })?;
        let certificate = read(&path)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)
            .map_err(|source| PkiError::Certificate { path: path.clone(), source })?;
        Ok(Self { path, issuer, certificate })
    }

    /// Signs the public key of a certificate request (DER), and nothing else that is in it; as PEM.
    ///
    /// # Errors
    /// When the request cannot be read or is not signed by its own key, or it cannot be signed.
    pub fn sign(
        &self,
        request: &[u8],
        role: Role,
        name: &Name,
        began: Timestamp,
        life: Duration,
    ) -> Result<String, PkiError> {
        let request =
            CertificateSigningRequestParams::from_der(&request.into()).map_err(PkiError::Request)?;
        let mut params = client_params(&self.path, role, name, life.min(LONGEST_LIFE), began)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(&request.public_key, &self.issuer);
        signed
            .map(|signed| signed.pem())
            .map_err(|source| PkiError::Certificate { path: self.path.clone(), source })
    }

    /// Its certificate, as PEM.
    #[must_use]
    pub fn into_certificate(self) -> String {
        self.certificate
    }
}

/// The SHA-256 of the first certificate of a text in PEM, by which an authority is known; `None` if there is none.
#[must_use]
pub fn fingerprint(pem: &[u8]) -> Option<[u8; 32]> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem).ok()?;
    digest(&SHA256, &pem.contents).as_ref().try_into().ok()
}

fn client_params(
    path: &Path,
    role: Role,
    name: &Name,
    life: Duration,
    began: Timestamp,
) -> Result<CertificateParams, PkiError> {
    let mut params = certificate(path, &format!("{role} {name}"), life, began)?;
    let uri = format!("reeve://{role}/{name}").try_into();
    let uri = uri.map_err(|source| PkiError::Certificate { path: path.to_owned(), source })?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// The authority that is there, or a new one.
fn authority(dir: &Path, made: &mut Vec<PathBuf>) -> Result<Issuer<'static, KeyPair>, PkiError> {
    let (path, key_path) = (dir.join(CA), dir.join(CA_KEY));
    let wrong = |source| PkiError::Certificate { path: path.clone(), source };
    if path.exists() {
        if !key_path.exists() {
            return Err(PkiError::NoKey { path: key_path });
        }
        let key = KeyPair::from_pem(&read(&key_path)?)
            .map_err(|source| PkiError::Certificate { path: key_path.clone(), source })?;
        return Issuer::from_ca_cert_pem(&read(&path)?, key).map_err(wrong);
    }
    let key = KeyPair::generate().map_err(wrong)?;
    let mut params = certificate(&path, "Reeve authority", CA_LIFE, clock::now())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let signed = params.self_signed(&key).map_err(wrong)?;
    write(&key_path, &key.serialize_pem(), made)?;
    write(&path, &signed.pem(), made)?;
    Ok(Issuer::new(params, key))
}

fn sign(
    authority: &Issuer<'_, KeyPair>,
    mut params: CertificateParams,
    folder: &Path,
    file: &str,
    key_file: &str,
    made: &mut Vec<PathBuf>,
) -> Result<(), PkiError> {
    let path = folder.join(file);
    let wrong = |source| PkiError::Certificate { path: path.clone(), source };
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(wrong)?;
    let signed = params.signed_by(&key, authority).map_err(wrong)?;
    write(&folder.join(key_file), &key.serialize_pem(), made)?;
    write(&path, &signed.pem(), made)
}

/// A certificate of a line that began at a time. It begins a little earlier itself, a day for one that
/// holds for long, so that a clock that is behind does no harm.
fn certificate(
    path: &Path,
    name: &str,
    life: Duration,
    began: Timestamp,
) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::new(Vec::new())
        .map_err(|source| PkiError::Certificate { path: path.to_owned(), source })?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let mut random = [0; 8];
    SystemRandom::new().fill(&mut random).map_err(|_| PkiError::Randomness)?;
    params.serial_number = Some(SerialNumber::from_slice(&identity::serial(began, random)));
    let today = clock::now().as_nanos() / 1_000_000_000;
    let at = |secs: u64| date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(secs);
    params.not_before = at(today.saturating_sub(DAY_SECS.min(life.as_secs() / 10)));
    params.not_after = at(today + life.as_secs());
    Ok(params)
}

/// The first certificate of a file, as DER.
fn read_pem(path: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(path).ok()?;
    Some(x509_parser::pem::parse_x509_pem(&bytes).ok()?.1.contents)
}

/// The names that the controller's certificate has now.
fn known_hosts(path: &Path) -> Vec<String> {
    use x509_parser::extensions::GeneralName;
    let Ok(bytes) = fs::read(path) else { return Vec::new() };
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(&bytes) else { return Vec::new() };
    let Ok(certificate) = pem.parse_x509() else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|four| IpAddr::from(four).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|sixteen| IpAddr::from(sixteen).to_string()),
            _ => None,
        },
        _ => None,
    };
    names.value.general_names.iter().filter_map(host).collect()
}

/// Whether a text can be the name of a host (RFC 1123) or an address.
#[must_use]
pub fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.parse::<IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(is_label))
}

fn hosts(path: &Path, names: &[String]) -> Result<Vec<SanType>, PkiError> {
    let one = |name: &String| match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => name.clone().try_into().map(SanType::DnsName),
    };
    let all: Result<Vec<SanType>, rcgen::Error> = names.iter().map(one).collect();
    all.map_err(|source| PkiError::Certificate { path: path.to_owned(), source })
}

fn make_dir(dir: &Path) -> Result<(), PkiError> {
    // The folder itself is made with those above it; what is in it is its owner's.
    let made = match dir.parent() {
        Some(above) if above.is_dir() => files::make_folder(dir),
        _ => fs::DirBuilder::new().recursive(true).mode(0o700).create(dir),
    };
    made.map_err(|source| PkiError::File { path: dir.to_owned(), source })
}

fn read(path: &Path) -> Result<String, PkiError> {
    fs::read_to_string(path).map_err(|source| PkiError::File { path: path.to_owned(), source })
}

fn remove(path: &Path) -> Result<(), PkiError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(PkiError::File { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Writes a new file that only its owner may read. One that is there is an error, never overwritten.
fn write(path: &Path, text: &str, made: &mut Vec<PathBuf>) -> Result<(), PkiError> {
    let failed = |source| PkiError::File { path: path.to_owned(), source };
    let mut file = files::make(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    made.push(path.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn running_it_again_adds_and_changes_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = Wanted { nodes: vec!["n1".parse().unwrap()], ..Wanted::default() };
        assert_eq!(init(dir.path(), &wanted).unwrap().len(), 6);
        let before = fs::read(dir.path().join(CA)).unwrap();
        assert_eq!(init(dir.path(), &wanted).unwrap(), Vec::<PathBuf>::new());
        let more = Wanted { people: vec![(Role::Operator, "oncall".parse().unwrap())], ..wanted };
        assert_eq!(init(dir.path(), &more).unwrap().len(), 2);
        let raised = Wanted { people: vec![(Role::Admin, "oncall".parse().unwrap())], ..Wanted::default() };
        assert!(matches!(init(dir.path(), &raised), Err(PkiError::Role { found: Role::Operator, .. })));
        for name in ["local", "token.x"] {
            let taken = Wanted { people: vec![(Role::Admin, name.parse().unwrap())], ..Wanted::default() };
            assert!(matches!(init(dir.path(), &taken), Err(PkiError::Name { .. })), "{name}");
        }
        assert_eq!(fs::read(dir.path().join(CA)).unwrap(), before);
        for key in [CA_KEY, SERVER_KEY, "nodes/n1.key", "operators/oncall.key"] {
            let mode = fs::metadata(dir.path().join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }

    #[test]
    fn hosts_are_added_to_those_of_before() {
        let dir = tempfile::tempdir().unwrap();
        for host in ["controller.example.net", "192.0.2.2"] {
            let wanted = Wanted { hosts: vec![host.to_owned()], ..Wanted::default() };
            assert_eq!(
                init(dir.path(), &wanted).unwrap().iter().filter(|path| path.ends_with(SERVER)).count(),
                1
            );
        }
        let mut known = known_hosts(&dir.path().join(SERVER));
        known.sort();
        assert_eq!(known, ["127.0.0.1", "192.0.2.2", "::1", "controller.example.net", "localhost"]);
        for (text, expected) in
            [("a.example", true), ("::1", true), ("https://a", false), ("a:7443", false), ("", false)]
        {
            assert_eq!(is_host(text), expected, "{text}");
        }
    }

    #[test]
    fn a_lost_key_is_told() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &Wanted::default()).unwrap();
        fs::remove_file(dir.path().join(CA_KEY)).unwrap();
        assert!(matches!(init(dir.path(), &Wanted::default()), Err(PkiError::NoKey { .. })));
    }
}
