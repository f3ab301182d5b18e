//! Who the node is to its controller: a certificate of the provider's own authority.

use std::path::Path;

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::LinkError;
use crate::config::ControllerSettings;

/// The credentials of the settings; `None` where the address takes none.
pub fn read(settings: &ControllerSettings) -> Result<Option<ClientTlsConfig>, LinkError> {
    let (Some(ca), Some(certificate), Some(key)) = (&settings.ca, &settings.certificate, &settings.key)
    else {
        return Ok(None);
    };
    let ca = pem(ca, "CERTIFICATE")?;
    let certificate = pem(certificate, "CERTIFICATE")?;
    let key = pem(key, "PRIVATE KEY")?;
    let config = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca))
        .identity(Identity::from_pem(certificate, key));
    Ok(Some(config))
}

fn pem(path: &Path, expected: &'static str) -> Result<Vec<u8>, LinkError> {
    let bytes =
        std::fs::read(path).map_err(|source| LinkError::Credential { path: path.to_owned(), source })?;
    let has_block = String::from_utf8_lossy(&bytes)
        .lines()
        .any(|line| line.starts_with("-----BEGIN ") && line.trim_end_matches('-').ends_with(expected));
    if has_block { Ok(bytes) } else { Err(LinkError::NotPem { path: path.to_owned(), expected }) }
}
