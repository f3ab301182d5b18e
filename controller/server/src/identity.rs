//! Who a certificate names, which the peer showed and our own authority signed.
//!
//! A certificate names one URI: `reeve://ROLE/NAME`, such as `reeve://node/hv-07` or `reeve://operator/oncall`. A controller
//! without certificates takes everybody for a local administrator, and listens on loopback only.

use reeve_policy::{Name, NodeId, Timestamp};
use tonic::{Request, Status};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::auth::{Caller, Role, Shown};

/// How peers are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Peers show certificates, or tokens.
    Certificates,
    /// Peers are on this machine, and whoever is may do everything.
    LoopbackOnly,
}

impl Protection {
    /// The name of whoever calls, as orders have it. That they may was seen to at the gate.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` for a node, which orders nothing; `UNAUTHENTICATED` where there was no gate.
    pub fn operator<T>(self, request: &Request<T>) -> Result<Name, Status> {
        let caller = Caller::of(request.extensions())?;
        match caller.role {
            Role::Node | Role::Stranger => {
                Err(Status::permission_denied(format!("{} {} gives no orders", caller.role, caller.name)))
            }
            _ => Ok(caller.name.clone()),
        }
    }

    /// The node that calls, by its certificate; `None` where the controller has no certificates.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` if something else than a node calls.
    pub fn check_node<T>(self, request: &Request<T>) -> Result<Option<NodeId>, Status> {
        let caller = Caller::of(request.extensions())?;
        match (caller.shown, caller.role) {
            (Shown::Local, _) => Ok(None),
            (Shown::Certificate, Role::Node) => Ok(Some(caller.name.clone())),
            _ => Err(Status::permission_denied(format!("{} {} is no node", caller.role, caller.name))),
        }
    }
}

/// Whom a certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// As what.
    pub role: Role,
    /// Who.
    pub name: Name,
    /// When the line of certificates began that it is of, by renewal after renewal; `None` of one from before that was written down.
    pub began: Option<Timestamp>,
    /// When the certificate ends.
    pub ends: Timestamp,
}

/// A certificate's serial number says when its line began, since what is revoked is told by that: `R`, nanoseconds since the epoch
/// (8 bytes), 8 random bytes. RFC 5280, 4.1.2.2 allows 20 bytes.
const SERIAL_BYTES: usize = 17;
const SERIAL_MARK: u8 = b'R';

/// The serial number of a certificate of a line that began at a time.
pub(crate) fn serial(began: Timestamp, random: [u8; 8]) -> [u8; SERIAL_BYTES] {
    let mut serial = [SERIAL_MARK; SERIAL_BYTES];
    serial[1..9].copy_from_slice(&began.as_nanos().to_be_bytes());
    serial[9..].copy_from_slice(&random);
    serial
}

fn began(serial: &[u8]) -> Option<Timestamp> {
    let nanos = serial.get(1..9).filter(|_| serial.len() == SERIAL_BYTES && serial[0] == SERIAL_MARK)?;
    Some(Timestamp::from_nanos(u64::from_be_bytes(nanos.try_into().ok()?)))
}

/// Whom a certificate (DER) names, and as what; `None` where it names nobody that we know.
#[must_use]
pub fn read(certificate: &[u8]) -> Option<Holder> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (role, name) = uris.find_map(parse)?;
    let ends = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(Holder { role, name, began: began(certificate.raw_serial()), ends: Timestamp::from_secs(ends) })
}

/// Whom a URI names.
pub(crate) fn parse(uri: &str) -> Option<(Role, Name)> {
    let (kind, name) = uri.strip_prefix("reeve://")?.split_once('/')?;
    let role = if kind == "node" { Role::Node } else { kind.parse().ok()? };
    let name: Name = name.parse().ok()?;
    // Nobody is to pass for a token, or for whoever is on the machine.
    let is_taken = name.as_str().starts_with(Caller::TOKEN)
        || [Caller::LOCAL, Caller::STRANGER].contains(&name.as_str());
    (role == Role::Node || !is_taken).then_some((role, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_uris_name_anybody() {
        assert_eq!(parse("reeve://node/n1"), Some((Role::Node, "n1".parse().unwrap())));
        assert_eq!(parse("reeve://operator/on.call"), Some((Role::Operator, "on.call".parse().unwrap())));
        assert_eq!(parse("reeve://admin/x"), Some((Role::Admin, "x".parse().unwrap())));
        for bad in [
            "reeve://node/",
            "reeve://node/a/b",
            "reeve://node/../x",
            "reeve://root/x",
            "reeve://operator/token.x",
            "reeve://admin/local",
            "https://node/n1",
            "reeve:node/n1",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
    #[test]
    fn a_serial_number_tells_when_its_line_began_and_others_tell_nothing() {
        let at = Timestamp::from_nanos(1_800_000_000_123_456_789);
        assert_eq!(began(&serial(at, [7; 8])), Some(at));
        for other in [&[][..], &[b'R'; 16], &[b'R'; 20], &[b'S'; 17]] {
            assert_eq!(began(other), None, "{other:?}");
        }
    }
}
