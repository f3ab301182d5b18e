//! The gate: who calls, and may they?

use std::net::IpAddr;

use reeve_policy::{Name, Timestamp};
use tonic::Status;

use super::access::{self, Roles};
use super::book::Book;
use super::caller::{Caller, Role, Shown};
use super::secret::Hash;
use crate::clock;
use crate::identity::{self, Protection};

/// What a caller shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Presented<'a> {
    /// The address that the call comes from.
    pub from: Option<IpAddr>,
    /// The certificate (DER) that the transport found to be of our own authority and in its time.
    pub certificate: Option<&'a [u8]>,
    /// The header `authorization`, whole.
    pub authorization: Option<&'a [u8]>,
}

/// Why somebody is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such method.
    #[error("there is no such method")]
    NoMethod,
    /// Neither certificate nor token.
    #[error(
        "show a client certificate of the controller's authority, or a token as `authorization: Bearer reeve_...`"
    )]
    Nothing,
    /// Something else than a bearer token.
    #[error("`authorization` is to be `Bearer reeve_...`")]
    NotBearer,
    /// No token that the controller knows.
    #[error("the token is not known")]
    UnknownToken,
    /// A token that ended.
    #[error("the token {name} ended at {at}")]
    Expired {
        /// Its name.
        name: Name,
        /// When.
        at: Timestamp,
    },
    /// A token that was revoked.
    #[error("the token {name} was revoked at {at}")]
    RevokedToken {
        /// Its name.
        name: Name,
        /// When.
        at: Timestamp,
    },
    /// From another address than it is taken from.
    #[error("{name} is not taken from {from}")]
    Elsewhere {
        /// Whose.
        name: Name,
        /// From where it came.
        from: String,
    },
    /// A certificate of ours that names nobody.
    #[error("the certificate names no node and nobody with a role")]
    NamesNobody,
    /// A role that may not call the method.
    #[error("{role} {name} may not call {method}: it takes {allowed}")]
    Role {
        /// Who.
        name: Name,
        /// As what.
        role: Role,
        /// What.
        method: &'static str,
        /// Who may.
        allowed: Roles,
    },
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::NoMethod => Self::unimplemented(text),
            Refusal::Nothing
            | Refusal::NotBearer
            | Refusal::UnknownToken
            | Refusal::Expired { .. }
            | Refusal::RevokedToken { .. } => Self::unauthenticated(text),
            Refusal::Elsewhere { .. } | Refusal::NamesNobody | Refusal::Role { .. } => {
                Self::permission_denied(text)
            }
        }
    }
}

/// Says who calls, and who may. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    protection: Protection,
    book: Book,
}

impl Gate {
    /// A gate for peers that are told apart in one way or another.
    #[must_use]
    pub const fn new(protection: Protection, book: Book) -> Self {
        Self { protection, book }
    }

    /// Who may call.
    #[must_use]
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// Who calls, if they may call `method`: a path of [`access::METHODS`].
    ///
    /// # Errors
    /// Why they may not.
    pub fn admit(&self, method: &str, presented: &Presented<'_>) -> Result<Caller, Refusal> {
        let known = access::METHODS.iter().find(|(path, _)| *path == method);
        let caller = self.identify(presented)?;
        let (method, allowed) = *known.ok_or(Refusal::NoMethod)?;
        if caller.shown == Shown::Local || allowed.contains(caller.role) {
            return Ok(caller);
        }
        Err(Refusal::Role { name: caller.name, role: caller.role, method, allowed })
    }

    /// Who calls. What a token may do is asked even where a certificate is shown, too.
    fn identify(&self, presented: &Presented<'_>) -> Result<Caller, Refusal> {
        let from = presented.from.map(|from| from.to_canonical());
        if let Some(header) = presented.authorization {
            return self.by_token(header, from);
        }
        match (self.protection, presented.certificate) {
            (Protection::LoopbackOnly, _) => Ok(Caller {
                shown: Shown::Local,
                role: Role::Admin,
                name: Caller::LOCAL.parse().expect("a fixed name is valid"),
                from,
            }),
            (Protection::Certificates, Some(certificate)) => {
                let (role, name) = identity::read(certificate).ok_or(Refusal::NamesNobody)?;
                Ok(Caller { shown: Shown::Certificate, role, name, from })
            }
            (Protection::Certificates, None) => Err(Refusal::Nothing),
        }
    }

    fn by_token(&self, header: &[u8], from: Option<IpAddr>) -> Result<Caller, Refusal> {
        let text = std::str::from_utf8(header).map_err(|_| Refusal::NotBearer)?;
        // The scheme is compared as RFC 9110, 11.1 has it: whatever its case.
        let (scheme, shown) = text.split_once(' ').ok_or(Refusal::NotBearer)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::NotBearer);
        }
        let token = self.book.token(&Hash::of(shown.trim_ascii())).ok_or(Refusal::UnknownToken)?;
        let name = token.name.clone();
        if let Some(at) = token.revoked {
            return Err(Refusal::RevokedToken { name, at });
        }
        if clock::now() >= token.expires {
            return Err(Refusal::Expired { name, at: token.expires });
        }
        let is_taken = |from: IpAddr| token.addresses.iter().any(|prefix| prefix.contains(&from));
        if !token.addresses.is_empty() && !from.is_some_and(is_taken) {
            let from = from.map_or_else(|| "an unknown address".to_owned(), |from| from.to_string());
            return Err(Refusal::Elsewhere { name, from });
        }
        let name = format!("{}{name}", Caller::TOKEN).parse().map_err(|_| Refusal::UnknownToken)?;
        Ok(Caller { shown: Shown::Token, role: token.role, name, from })
    }
}
