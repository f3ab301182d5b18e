//! Who calls, and as what.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reeve_policy::{Name, Timestamp};
use tonic::{Extensions, Status};

use crate::store::Sight;

/// What a caller may do. What each comes to, method by method, is in [`super::access`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Somebody who has shown nothing yet: may enrol with a token.
    Stranger,
    /// A node's agent: its own stream.
    Node,
    /// Reads where tenants stand.
    Status,
    /// Reads where tenants stand; sets and lifts suspensions until an invoice is paid.
    Billing,
    /// Reads everything but who may call.
    Viewer,
    /// Reads everything but who may call, and orders.
    Operator,
    /// Does everything.
    Admin,
}

impl Role {
    /// The roles of people and programs, the least first.
    pub const OF_PEOPLE: [Self; 5] = [Self::Status, Self::Billing, Self::Viewer, Self::Operator, Self::Admin];

    /// Its name in certificates, settings and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Node => "node",
            Self::Status => "status",
            Self::Billing => "billing",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is no role of people and programs.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role: status, billing, viewer, operator or admin")]
pub struct ParseRoleError(String);

impl Role {
    /// Whether what is sealed is told to it.
    pub(crate) const fn sight(self) -> Sight {
        match self {
            Self::Admin => Sight::Whole,
            Self::Stranger | Self::Node | Self::Status | Self::Billing | Self::Viewer | Self::Operator => {
                Sight::Unsealed
            }
        }
    }
}

impl FromStr for Role {
    type Err = ParseRoleError;

    /// Reads a role of people and programs; a node's is not among them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::OF_PEOPLE.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| ParseRoleError(text.chars().take(40).collect()))
    }
}

/// By what the controller knows who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// A client certificate.
    Certificate,
    /// A token.
    Token,
    /// A session's token, of somebody who logged in.
    Session,
    /// Nothing, and need not: the controller has no certificates, and whoever is on this machine may do everything.
    Local,
}

impl Shown {
    /// Its name in answers and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Certificate => "certificate",
            Self::Token => "token",
            Self::Session => "session",
            Self::Local => "local",
        }
    }

    /// Reads its name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let all = [Self::Nothing, Self::Certificate, Self::Token, Self::Session, Self::Local];
        all.into_iter().find(|shown| shown.as_str() == text)
    }
}

/// Who calls, as what, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// By what it is known.
    pub shown: Shown,
    /// As what.
    pub role: Role,
    /// Who, as orders and the log name it. A token's begins with [`Caller::TOKEN`], so that nobody else has it.
    pub name: Name,
    /// The person behind that: whose certificate it is, or who made the token; `None` of a token of which that is not known.
    pub owner: Option<Name>,
    /// The address that the call came from; `None` where the transport has none.
    pub from: Option<IpAddr>,
    /// When the line of certificates began of which one was shown, if it says so.
    pub began: Option<Timestamp>,
}

impl Caller {
    /// What the names of tokens begin with.
    pub const TOKEN: &'static str = "token.";
    /// The name of whoever calls a controller without certificates.
    pub const LOCAL: &'static str = "local";
    /// The name of whoever has shown nothing.
    pub const STRANGER: &'static str = "stranger";

    /// The caller that the gate found, among a request's extensions.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` where the request came by no gate, which is a fault of ours: it is refused.
    pub fn of(extensions: &Extensions) -> Result<&Self, Status> {
        extensions.get().ok_or_else(|| Status::unauthenticated("nobody looked who calls"))
    }

    /// Whether what is sealed is told to the caller among a request's extensions.
    ///
    /// # Errors
    /// As [`Caller::of`].
    pub(crate) fn sight(extensions: &Extensions) -> Result<Sight, Status> {
        Ok(Self::of(extensions)?.role.sight())
    }
}

impl fmt::Display for Caller {
    /// For logs: `operator oncall (certificate) from 192.0.2.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.role, self.name, self.shown.as_str())?;
        match self.from {
            Some(from) => write!(f, " from {from}"),
            None => Ok(()),
        }
    }
}
