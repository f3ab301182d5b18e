//! Who a certificate names, which the peer showed and our own authority signed.
//!
//! A certificate names one URI: `reeve://ROLE/NAME`, such as `reeve://node/hv-07` or `reeve://operator/oncall`. A controller
//! without certificates takes everybody for a local administrator, and listens on loopback only.

use reeve_policy::{Name, NodeId};
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
            Role::Node => Err(Status::permission_denied("a node's certificate is not an operator's")),
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

/// Whom a certificate (DER) names, and as what; `None` where it names nobody that we know.
#[must_use]
pub fn read(certificate: &[u8]) -> Option<(Role, Name)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    uris.find_map(parse)
}

/// Whom a URI names.
pub(crate) fn parse(uri: &str) -> Option<(Role, Name)> {
    let (kind, name) = uri.strip_prefix("reeve://")?.split_once('/')?;
    let role = if kind == "node" { Role::Node } else { kind.parse().ok()? };
    let name: Name = name.parse().ok()?;
    // Nobody is to pass for a token, or for whoever is on the machine.
    let is_taken = name.as_str().starts_with(Caller::TOKEN) || name.as_str() == Caller::LOCAL;
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
}
