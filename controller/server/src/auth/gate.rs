//! The gate: who calls, and may they?

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reeve_policy::{Name, Timestamp};
use tonic::Status;

use super::access::{self, Roles};
use super::book::{Book, Subject};
use super::caller::{Caller, Role, Shown};
use super::connections::{Credential, Peer};
use super::limits::Limits;
use super::secret::{Hash, Secret};
use crate::audit::{Kind, kind};
use crate::clock;
use crate::identity::{self, Protection};
use crate::settings::Sessions;

/// What a caller shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Presented<'a> {
    /// The connection that it comes over, if it can be cut.
    pub peer: Option<&'a Peer>,
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
    /// No session that the controller knows: it ended, or never was.
    #[error("the session is over: log in again (reevectl login)")]
    UnknownSession,
    /// A session that ended.
    #[error("the session of {name} is over: log in again (reevectl login)")]
    EndedSession {
        /// Whose.
        name: Name,
    },
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
    /// A certificate that was revoked.
    #[error("the certificates of {subject} were revoked at {at}")]
    RevokedCertificate {
        /// Whose.
        subject: Subject,
        /// When.
        at: Timestamp,
    },
    /// A certificate that ended, over a connection or a session from before.
    #[error("the certificate of {subject} ended at {at}")]
    EndedCertificate {
        /// Whose.
        subject: Subject,
        /// When.
        at: Timestamp,
    },
    /// Too many credentials over one connection.
    #[error("too many certificates and tokens were shown over this connection")]
    TooManyShown,
    /// More calls than are answered.
    #[error("too many calls; ask again in a second")]
    TooFast,
    /// More refusals than are told.
    #[error("too many calls from your address were refused; ask again in a second")]
    TooManyFailures,
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

impl Refusal {
    /// Whether it is one that somebody who guesses comes to.
    const fn is_failure(&self) -> bool {
        !matches!(self, Self::TooFast | Self::TooManyShown | Self::NoMethod | Self::Role { .. })
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::NoMethod => Self::unimplemented(text),
            Refusal::Nothing
            | Refusal::NotBearer
            | Refusal::UnknownToken
            | Refusal::UnknownSession
            | Refusal::EndedSession { .. }
            | Refusal::Expired { .. }
            | Refusal::RevokedCertificate { .. }
            | Refusal::EndedCertificate { .. }
            | Refusal::RevokedToken { .. } => Self::unauthenticated(text),
            Refusal::TooManyShown | Refusal::TooFast | Refusal::TooManyFailures => {
                Self::resource_exhausted(text)
            }
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
    allowed: Arc<AllowLists>,
    idle: Duration,
    limits: Arc<Limits>,
}

/// From where alone each role is taken; from everywhere if it is not in it.
pub type AllowLists = BTreeMap<Role, Vec<IpNet>>;

impl Gate {
    /// A gate for peers that are told apart in one way or another.
    #[must_use]
    pub fn new(protection: Protection, book: Book, allowed: AllowLists) -> Self {
        let idle = Sessions::default().idle;
        Self { protection, book, allowed: Arc::new(allowed), idle, limits: Arc::default() }
    }

    /// The same, where sessions may be silent for so long.
    #[must_use]
    pub fn with_idle(self, idle: Duration) -> Self {
        Self { idle, ..self }
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
        let admitted = self.look(method, presented);
        if let Err(refusal) = &admitted
            && refusal.is_failure()
            && self.limits.fail(presented.from)
        {
            return Err(Refusal::TooManyFailures);
        }
        admitted
    }

    /// Takes note of a refusal that a service came to.
    pub(crate) fn see_failure(&self, from: Option<IpAddr>) {
        self.limits.fail(from);
    }

    fn look(&self, method: &str, presented: &Presented<'_>) -> Result<Caller, Refusal> {
        let known = access::METHODS.iter().find(|(path, _)| *path == method);
        let caller = self.identify(presented)?;
        if !self.is_taken_from(caller.role, caller.from) {
            let from = told(caller.from);
            return Err(Refusal::Elsewhere { name: caller.name, from });
        }
        let is_stranger = caller.role == Role::Stranger;
        let unknown = if is_stranger { Refusal::Nothing } else { Refusal::NoMethod };
        let (method, allowed) = *known.ok_or(unknown)?;
        if caller.shown != Shown::Local && !allowed.contains(caller.role) {
            if is_stranger {
                return Err(Refusal::Nothing);
            }
            return Err(Refusal::Role { name: caller.name, role: caller.role, method, allowed });
        }
        // Not before: what is refused has no place for longer than a stranger has.
        if !is_stranger && let Some(peer) = presented.peer {
            peer.settle(&caller);
        }
        if !self.limits.take(&caller, kind(method) == Kind::Act) {
            return Err(Refusal::TooFast);
        }
        Ok(caller)
    }

    /// Whether a role is taken from an address.
    fn is_taken_from(&self, role: Role, from: Option<IpAddr>) -> bool {
        let Some(prefixes) = self.allowed.get(&role) else { return true };
        from.is_some_and(|from| prefixes.iter().any(|prefix| prefix.contains(&from)))
    }

    /// Who calls. What a token may do is asked even where a certificate is shown, too.
    fn identify(&self, presented: &Presented<'_>) -> Result<Caller, Refusal> {
        let from = presented.from.map(|from| from.to_canonical());
        if let Some(header) = presented.authorization {
            return self.by_token(header, from, presented.peer);
        }
        let fixed = |shown, role, name: &str| {
            let name: Name = name.parse().expect("a fixed name is valid");
            Caller { shown, role, owner: Some(name.clone()), name, from, began: None }
        };
        match (self.protection, presented.certificate) {
            (Protection::LoopbackOnly, _) => Ok(fixed(Shown::Local, Role::Admin, Caller::LOCAL)),
            (Protection::Certificates, Some(certificate)) => {
                self.by_certificate(certificate, from, presented.peer)
            }
            (Protection::Certificates, None) => Ok(fixed(Shown::Nothing, Role::Stranger, Caller::STRANGER)),
        }
    }

    fn by_certificate(
        &self,
        certificate: &[u8],
        from: Option<IpAddr>,
        peer: Option<&Peer>,
    ) -> Result<Caller, Refusal> {
        let holder = match peer {
            Some(peer) => peer.holder(|| identity::read(certificate)).cloned(),
            None => identity::read(certificate),
        };
        let identity::Holder { role, name, began, ends } = holder.ok_or(Refusal::NamesNobody)?;
        let subject = Subject::of(role, &name);
        show(peer, || Credential::Certificate(subject.clone()))?;
        // A session that is resumed shows the certificate of its first handshake, which nobody looked at again.
        if clock::now() >= ends {
            return Err(Refusal::EndedCertificate { subject, at: ends });
        }
        match self.book.revoked(&subject, began) {
            Some(at) => Err(Refusal::RevokedCertificate { subject, at }),
            None => {
                let owner = Some(name.clone());
                Ok(Caller { shown: Shown::Certificate, role, name, owner, from, began })
            }
        }
    }

    fn by_token(&self, header: &[u8], from: Option<IpAddr>, peer: Option<&Peer>) -> Result<Caller, Refusal> {
        let text = std::str::from_utf8(header).map_err(|_| Refusal::NotBearer)?;
        // The scheme is compared as RFC 9110, 11.1 has it: whatever its case.
        let (scheme, shown) = text.split_once(' ').ok_or(Refusal::NotBearer)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::NotBearer);
        }
        let hash = Hash::of(shown.trim_ascii());
        if shown.trim_ascii().starts_with(Secret::SESSION) {
            return self.by_session(hash, from, peer);
        }
        if self.book.token(&hash).is_none() {
            return Err(Refusal::UnknownToken);
        }
        show(peer, || Credential::Token(hash))?;
        // Looked up again: it may have been revoked since, and whoever revokes it cuts what has shown it.
        let token = self.book.token(&hash).ok_or(Refusal::UnknownToken)?;
        let name = token.name.clone();
        if let Some(at) = token.revoked {
            return Err(Refusal::RevokedToken { name, at });
        }
        if clock::now() >= token.expires {
            return Err(Refusal::Expired { name, at: token.expires });
        }
        let is_taken = |from: IpAddr| token.addresses.iter().any(|prefix| prefix.contains(&from));
        if !token.addresses.is_empty() && !from.is_some_and(is_taken) {
            return Err(Refusal::Elsewhere { name, from: told(from) });
        }
        if let Some(peer) = peer {
            peer.ends_at(token.expires);
        }
        let name = format!("{}{name}", Caller::TOKEN).parse().map_err(|_| Refusal::UnknownToken)?;
        let owner = token.owner.clone();
        Ok(Caller { shown: Shown::Token, role: token.role, name, owner, from, began: None })
    }
}

impl Gate {
    fn by_session(&self, hash: Hash, from: Option<IpAddr>, peer: Option<&Peer>) -> Result<Caller, Refusal> {
        if self.book.session(&hash).is_none() {
            return Err(Refusal::UnknownSession);
        }
        show(peer, || Credential::Token(hash))?;
        // Looked up again, as tokens are.
        let session = self.book.session(&hash).ok_or(Refusal::UnknownSession)?;
        let (name, now) = (session.person.clone(), clock::now());
        let subject = Subject::Person(name.clone());
        let is_over = now >= session.expires || now >= session.seen() + self.idle;
        let person = self.book.person(&name);
        if is_over || person.is_none() || self.book.revoked(&subject, Some(session.created)).is_some() {
            return Err(Refusal::EndedSession { name });
        }
        if !person.is_some_and(|person| person.is_taken_from(from)) {
            return Err(Refusal::Elsewhere { name, from: told(from) });
        }
        session.see(now);
        if let Some(peer) = peer {
            peer.ends_at(session.expires);
        }
        let owner = Some(name.clone());
        let began = Some(session.created);
        Ok(Caller { shown: Shown::Session, role: session.role, name, owner, from, began })
    }
}

/// Remembers what was shown over a connection.
fn show(peer: Option<&Peer>, credential: impl FnOnce() -> Credential) -> Result<(), Refusal> {
    match peer {
        Some(peer) if !peer.show(&credential()) => Err(Refusal::TooManyShown),
        _ => Ok(()),
    }
}

fn told(from: Option<IpAddr>) -> String {
    from.map_or_else(|| "an unknown address".to_owned(), |from| from.to_string())
}
