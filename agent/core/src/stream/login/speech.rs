//! What is spoken in a connection, once that is known.

use std::time::Duration;

use super::super::order::Piece;
use super::greeted::Greeted;
use super::lines::{Lines, Text};
use super::sealed::{Sealed, Shape};
use super::verdict::Asked;
use super::{Login, Service, http, imap, mysql, pop3, postgres, redis, sip, socks, ssh, telnet, vnc};

/// Whether a connection is worth to be followed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Yes.
    GoOn,
    /// No: somebody is in, or nothing can be told any more.
    Done,
    /// What follows is TLS.
    Seal,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// How long after it was recognised.
    pub lasted: Duration,
    /// Whether the server was the first to say so.
    pub is_server_first: bool,
}

/// What is spoken.
#[derive(Debug)]
pub(super) enum Speech {
    /// A server said `220`: FTP or SMTP.
    Greeted(Box<Text<Greeted>>),
    Pop3(Box<Text<pop3::Pop3>>),
    Imap(Box<Text<imap::Imap>>),
    Http(Box<http::Http>),
    Telnet(Box<telnet::Telnet>),
    Ssh(Box<ssh::Ssh>),
    Mysql(mysql::Mysql),
    Postgres(postgres::Postgres),
    Redis(redis::Redis),
    Vnc(vnc::Vnc),
    Socks(socks::Socks),
    Sip(sip::Sip),
    Sealed(Service, Box<Sealed>),
    /// Something was asked of a server whose answer tells all by itself.
    Asked(Asked),
}

impl Speech {
    /// The most bytes beside itself that it takes: two lines and what stands around them.
    pub const HELD_BYTES: usize = 2 * Lines::HELD_BYTES + 1_024 + http::Http::HELD_BYTES;

    pub fn ssh() -> Self {
        Self::Ssh(Box::default())
    }

    pub fn sip() -> Self {
        Self::Sip(sip::Sip::default())
    }

    pub fn sealed(service: Service) -> Self {
        Self::Sealed(service, Box::default())
    }

    /// At a server's port.
    pub fn asked(port: u16) -> Self {
        Self::Asked(Asked::at(port))
    }

    /// What it is spoken to.
    fn service(&self) -> Service {
        match self {
            Self::Greeted(text) if text.dialect().is_mail() => Service::Smtp,
            Self::Greeted(_) => Service::Ftp,
            Self::Pop3(_) => Service::Pop3,
            Self::Imap(_) => Service::Imap,
            Self::Http(_) => Service::Http,
            Self::Telnet(_) => Service::Telnet,
            Self::Ssh(_) => Service::Ssh,
            Self::Mysql(_) => Service::Mysql,
            Self::Postgres(_) => Service::Postgres,
            Self::Redis(_) => Service::Redis,
            Self::Vnc(_) => Service::Vnc,
            Self::Socks(_) => Service::Socks,
            Self::Sip(_) => Service::Sip,
            Self::Sealed(service, _) => *service,
            // Its answers say so.
            Self::Asked(_) => Service::Tls,
        }
    }

    /// Takes what a side says.
    pub fn read(
        &mut self,
        from_client: bool,
        piece: Piece<'_>,
        say: &mut impl FnMut(Service, Login),
    ) -> Next {
        if let Self::Asked(asked) = self {
            return asked.read(from_client, piece, say);
        }
        let service = self.service();
        let say = &mut |login| say(service, login);
        let next = match self {
            Self::Sip(_) | Self::Asked(_) => Next::GoOn,
            Self::Greeted(text) => text.read(from_client, piece, say),
            Self::Pop3(text) => text.read(from_client, piece, say),
            Self::Imap(text) => text.read(from_client, piece, say),
            Self::Http(http) => http.read(from_client, piece, say),
            Self::Telnet(telnet) => telnet.read(from_client, piece, say),
            Self::Ssh(ssh) => ssh.read(from_client, piece, say),
            Self::Mysql(mysql) => mysql.read(from_client, piece, say),
            Self::Postgres(postgres) => postgres.read(from_client, piece, say),
            Self::Redis(redis) => redis.read(from_client, piece, say),
            Self::Vnc(vnc) => vnc.read(from_client, piece, say),
            Self::Socks(socks) => socks.read(from_client, piece, say),
            Self::Sealed(_, sealed) => {
                sealed.read(from_client, piece);
                Next::GoOn
            }
        };
        if next == Next::Seal {
            *self = Self::sealed(self.service());
            return Next::GoOn;
        }
        next
    }

    /// What the end of the connection tells.
    pub fn ended(&self, end: &End, mut say: impl FnMut(Service, Login)) {
        let login = match self {
            Self::Ssh(ssh) => ssh.ended(),
            Self::Sealed(service @ (Service::Mysql | Service::Postgres), sealed) => {
                return sealed.turned_away(end).into_iter().for_each(|login| say(*service, login));
            }
            Self::Sealed(Service::Rdp, sealed) => sealed.left_at_the_door(end),
            Self::Sealed(_, sealed) => sealed.shape(end).map(|Shape(shape)| Login::Sealed(shape)),
            _ => None,
        };
        let service = if matches!(login, Some(Login::Sealed(_))) { Service::Tls } else { self.service() };
        login.into_iter().for_each(|login| say(service, login));
    }
}
