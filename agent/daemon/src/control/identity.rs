//! Who the node is to its controller: a certificate of the provider's own authority, and how it stays in its time.
//!
//! At two thirds of its life the agent asks its controller for the next one, over the link that it has, and writes it in the place
//! of the last, whole. The key stays: so there is one file to replace, and never a key without its certificate.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::KeyPair;
use reeve_proto::agent::v1::RenewRequest;
use reeve_proto::agent::v1::enrolment_service_client::EnrolmentServiceClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use super::{LinkError, enrol};
use crate::config::ControllerSettings;

/// The controller answers at once.
const PATIENCE: Duration = Duration::from_secs(15);
/// Where a renewal fails it is tried again after this part of what is left, and after an hour at most.
const TRIES: u32 = 8;
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

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

/// A certificate's time, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Validity {
    from: u64,
    to: u64,
}

impl Validity {
    fn of(settings: &ControllerSettings) -> Option<Self> {
        let bytes = std::fs::read(settings.certificate.as_ref()?).ok()?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(&bytes).ok()?;
        let validity = pem.parse_x509().ok()?.validity().clone();
        let secs = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
        Some(Self { from: secs(validity.not_before), to: secs(validity.not_after) })
    }

    /// How long to wait before it is renewed, or asked for again where that failed before.
    fn wait(self, now: u64, has_failed: bool) -> Duration {
        let due = self.from + self.to.saturating_sub(self.from) / 3 * 2;
        if !has_failed || now < due {
            return Duration::from_secs(due.saturating_sub(now));
        }
        (Duration::from_secs(self.to.saturating_sub(now)) / TRIES).clamp(SHORTEST_WAIT, LONGEST_WAIT)
    }
}

/// When the certificate of the settings ends, in seconds since the epoch; `None` where there is none.
pub fn end(settings: &ControllerSettings) -> Option<u64> {
    Validity::of(settings).map(|validity| validity.to)
}

/// How long to wait before the certificate of the settings is renewed; `None` where there is none to renew.
pub fn renewal(settings: &ControllerSettings, has_failed: bool) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(Validity::of(settings)?.wait(now.as_secs(), has_failed))
}

/// Fetches the next certificate over a link that the last one opened, and writes it in its place.
///
/// # Errors
/// Why it could not be had or written.
pub async fn renew(settings: ControllerSettings, channel: Channel) -> Result<(), String> {
    let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) else {
        return Err("the settings name no certificate and key".to_owned());
    };
    let text = std::fs::read_to_string(key).map_err(|error| format!("{}: {error}", key.display()))?;
    let pair = KeyPair::from_pem(&text).map_err(|error| format!("{}: {error}", key.display()))?;
    let certificate_request = enrol::certificate_request(&pair).map_err(|error| error.to_string())?;
    let mut client = EnrolmentServiceClient::new(channel);
    let asked = tokio::time::timeout(PATIENCE, client.renew(RenewRequest { certificate_request }));
    let answer = asked.await.map_err(|_| "the controller did not answer".to_owned())?;
    let renewed = answer.map_err(|status| status.message().to_owned())?.into_inner();
    enrol::write(certificate, &renewed.certificate, 0o644).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life_and_again_where_that_fails() {
        let year = Validity { from: 1_000, to: 1_000 + 300 * 86_400 };
        assert_eq!(year.wait(1_000, false), Duration::from_secs(200 * 86_400));
        assert_eq!(year.wait(1_000 + 250 * 86_400, false), Duration::ZERO, "one that is late at once");
        assert_eq!(year.wait(1_000 + 250 * 86_400, true), LONGEST_WAIT);
        assert_eq!(
            year.wait(1_000 + 299 * 86_400 + 86_000, true),
            Duration::from_secs(50),
            "more often towards the end"
        );
        assert_eq!(year.wait(u64::MAX, true), SHORTEST_WAIT);
    }
}
