//! FTP (RFC 959): `USER` and `PASS`, refused by 530, 430 or 532; 230 lets in. `AUTH TLS` (RFC 4217) hides what follows.

use super::Login;
use super::credential::Shown;
use super::lines::{Dialect, begins, code};
use super::speech::Next;

/// Commands that may come first.
const FIRST: [&[u8]; 10] =
    [b"USER", b"AUTH ", b"FEAT", b"SYST", b"HOST", b"CLNT", b"OPTS", b"PBSZ", b"QUIT", b"NOOP"];

/// Names with which servers let anybody in.
const ANYBODY: [&[u8]; 2] = [b"anonymous", b"ftp"];

/// Whether a client speaks so.
pub(super) fn is_command(data: &[u8]) -> bool {
    FIRST.iter().any(|first| begins(data, first))
}

/// A session.
#[derive(Debug, Default)]
pub(super) struct Ftp {
    shown: Shown,
    /// Whether the server is to answer a login.
    is_pending: bool,
    /// Whether anybody may log in so (RFC 1635).
    is_anonymous: bool,
    is_tls_asked: bool,
}

impl Dialect for Ftp {
    fn command(&mut self, line: &[u8], _say: &mut impl FnMut(Login)) -> Next {
        if begins(line, b"USER ") {
            self.shown = Shown::of(&line[5..]);
            let name = line[5..].trim_ascii();
            self.is_anonymous = ANYBODY.iter().any(|anybody| name.eq_ignore_ascii_case(anybody));
            self.is_pending = true;
        } else if begins(line, b"PASS") {
            self.shown.add(line.get(5..).unwrap_or_default());
            self.is_pending = true;
        } else if begins(line, b"AUTH ") {
            self.is_tls_asked = true;
        }
        Next::GoOn
    }

    fn reply(&mut self, line: &[u8], say: &mut impl FnMut(Login)) -> Next {
        match code(line) {
            Some(530 | 430 | 532) if std::mem::take(&mut self.is_pending) => {
                say(Login::Refused(self.shown.credential()));
                Next::GoOn
            }
            // That tells nothing of whoever tries other names here.
            Some(230 | 232) if self.is_pending && self.is_anonymous => {
                self.is_pending = false;
                Next::GoOn
            }
            Some(230 | 232) if self.is_pending => {
                say(Login::Accepted);
                Next::Done
            }
            Some(234) if self.is_tls_asked => Next::Seal,
            _ => Next::GoOn,
        }
    }
}
