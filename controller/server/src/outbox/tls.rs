//! Whom connections to others are taken for.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::error::ControllerError;

/// The system's authorities, and those of a file.
///
/// # Errors
/// Where the file cannot be read, or holds no certificates.
pub(crate) fn client(ca_file: Option<&Path>) -> Result<ClientConfig, ControllerError> {
    let unusable = |detail: String| ControllerError::Tls { detail };
    let mut roots = RootCertStore::empty();
    // Some of a system's may be of a kind that is not understood; whoever is vouched for by others is none the worse.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in ca_file.map(certificates).transpose()?.unwrap_or_default() {
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| unusable(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ControllerError> {
    let bytes =
        std::fs::read(path).map_err(|source| ControllerError::File { path: path.to_owned(), source })?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let unusable = |detail: String| ControllerError::Tls { detail: format!("{}: {detail}", path.display()) };
    match read {
        Ok(all) if all.is_empty() => Err(unusable("it holds no certificates in PEM".into())),
        Ok(all) => Ok(all),
        Err(error) => Err(unusable(error.to_string())),
    }
}
