//! SMTP AUTH (RFC 4954), beside what [`super::super::smtp`] reads of mail: 535 refuses and 235 lets in. 454, 530, 534 and 538 say that
//! another time or another way is wanted. What begins a message without a login is no login.

use super::Login;
use super::credential::Shown;
use super::lines::{Dialect, begins, code, words};
use super::speech::Next;

/// Whether a client speaks so.
pub(super) fn is_command(data: &[u8]) -> bool {
    [&b"EHLO"[..], b"HELO", b"LHLO", b"STARTTLS", b"AUTH PLAIN", b"AUTH LOGIN"]
        .iter()
        .any(|first| begins(data, first))
}

/// A session.
#[derive(Debug, Default)]
pub(super) struct Smtp {
    /// The login at hand.
    login: Option<Shown>,
    /// Whether the client's next line answers a challenge.
    is_challenged: bool,
    is_tls_asked: bool,
}

impl Dialect for Smtp {
    fn command(&mut self, line: &[u8], _say: &mut impl FnMut(Login)) -> Next {
        if std::mem::take(&mut self.is_challenged) {
            if let Some(shown) = &mut self.login {
                shown.add(line);
            }
        } else if begins(line, b"AUTH ") {
            let mut words = words(line).skip(1);
            let mut shown = Shown::by(words.next().unwrap_or_default());
            words.for_each(|word| shown.add(word));
            self.login = Some(shown);
        } else if begins(line, b"STARTTLS") {
            self.is_tls_asked = true;
        } else if begins(line, b"MAIL ") {
            return Next::Done;
        }
        Next::GoOn
    }

    fn reply(&mut self, line: &[u8], say: &mut impl FnMut(Login)) -> Next {
        match code(line) {
            Some(334) if self.login.is_some() => self.is_challenged = true,
            Some(220) if self.is_tls_asked => return Next::Seal,
            Some(code @ (200..=299 | 400..=599)) => {
                let login = self.login.take();
                self.is_challenged = false;
                match (code, login) {
                    (535, Some(shown)) => say(Login::Refused(shown.credential())),
                    (235, _) => {
                        say(Login::Accepted);
                        return Next::Done;
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Next::GoOn
    }
}
