//! FTP and SMTP begin alike: the server says 220. The client's first command tells them apart.

use super::Login;
use super::ftp::{self, Ftp};
use super::lines::Dialect;
use super::smtp::{self, Smtp};
use super::speech::Next;

/// A session.
#[derive(Debug, Default)]
pub(super) enum Greeted {
    /// The client has said nothing yet.
    #[default]
    Unknown,
    Ftp(Ftp),
    Smtp(Smtp),
}

impl Greeted {
    /// Whether it takes mail.
    pub const fn is_mail(&self) -> bool {
        matches!(self, Self::Smtp(_))
    }
}

impl Dialect for Greeted {
    fn command(&mut self, line: &[u8], say: &mut impl FnMut(Login)) -> Next {
        if matches!(self, Self::Unknown) {
            *self = if smtp::is_command(line) {
                Self::Smtp(Smtp::default())
            } else if ftp::is_command(line) {
                Self::Ftp(Ftp::default())
            } else {
                return Next::Done;
            };
        }
        match self {
            Self::Unknown => Next::GoOn,
            Self::Ftp(ftp) => ftp.command(line, say),
            Self::Smtp(smtp) => smtp.command(line, say),
        }
    }

    fn reply(&mut self, line: &[u8], say: &mut impl FnMut(Login)) -> Next {
        match self {
            Self::Unknown => Next::GoOn,
            Self::Ftp(ftp) => ftp.reply(line, say),
            Self::Smtp(smtp) => smtp.reply(line, say),
        }
    }
}
