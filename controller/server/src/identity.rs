//! Who calls: read from the certificate that the peer showed and our own authority signed.
//!
//! A certificate names one URI: `reeve://node/NAME` or `reeve://operator/NAME`. A controller without certificates takes
//! everybody for the local operator, and listens on loopback only.

use reeve_policy::{Name, NodeId};
use tonic::{Request, Status};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The name of whoever calls a controller without certificates.
const LOCAL: &str = "local";

/// How peers are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Peers show certificates.
    Certificates,
    /// Peers are on this machine, and whoever is may do everything.
    LoopbackOnly,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Identity {
    Node(NodeId),
    Operator(Name),
}

impl Protection {
    /// The operator who calls.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` for anybody else.
    pub fn operator<T>(self, request: &Request<T>) -> Result<Name, Status> {
        match self {
            Self::LoopbackOnly => Ok(LOCAL.parse().expect("a fixed name is valid")),
            Self::Certificates => match identity(request)? {
                Identity::Operator(name) => Ok(name),
                Identity::Node(_) => {
                    Err(Status::permission_denied("a node's certificate is not an operator's"))
                }
            },
        }
    }

    /// Checks that the node that calls is the one that it says it is.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` if it is not.
    pub fn check_node<T>(self, request: &Request<T>) -> Result<Option<NodeId>, Status> {
        match self {
            Self::LoopbackOnly => Ok(None),
            Self::Certificates => match identity(request)? {
                Identity::Node(name) => Ok(Some(name)),
                Identity::Operator(_) => {
                    Err(Status::permission_denied("an operator's certificate is not a node's"))
                }
            },
        }
    }
}

fn identity<T>(request: &Request<T>) -> Result<Identity, Status> {
    let denied = || Status::permission_denied("the certificate names no node and no operator");
    let certificates = request.peer_certs().ok_or_else(denied)?;
    let first = certificates.first().ok_or_else(denied)?;
    let (_, certificate) = X509Certificate::from_der(first).map_err(|_| denied())?;
    let names = certificate.subject_alternative_name().map_err(|_| denied())?.ok_or_else(denied)?;
    let uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    uris.filter_map(parse).next().ok_or_else(denied)
}

fn parse(uri: &str) -> Option<Identity> {
    let (kind, name) = uri.strip_prefix("reeve://")?.split_once('/')?;
    match kind {
        "node" => name.parse().ok().map(Identity::Node),
        "operator" => name.parse().ok().map(Identity::Operator),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_uris_name_anybody() {
        assert_eq!(parse("reeve://node/n1"), Some(Identity::Node("n1".parse().unwrap())));
        assert_eq!(parse("reeve://operator/on.call"), Some(Identity::Operator("on.call".parse().unwrap())));
        for bad in
            ["reeve://node/", "reeve://node/a/b", "reeve://admin/x", "https://node/n1", "reeve:node/n1"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
