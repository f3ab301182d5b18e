//! IMAP (RFC 9051): a tagged `NO` to `LOGIN` or `AUTHENTICATE` refuses, `OK` lets in. Response codes (RFC 5530) may tell that it was not
//! the login.

use super::Login;
use super::credential::Shown;
use super::lines::{Dialect, begins, find, words};
use super::speech::Next;

/// Longer tags are not waited for; clients use a few letters and digits.
const TAG_MAX: usize = 32;

/// A session.
#[derive(Debug, Default)]
pub(super) struct Imap {
    tag: Vec<u8>,
    /// The login at hand: it grows line by line, since literals and answers to challenges stand on lines of their own.
    login: Option<Shown>,
    is_tls_asked: bool,
}

/// Not the login's fault.
const EXCUSES: [&[u8]; 6] =
    [b"[UNAVAILABLE]", b"[PRIVACYREQUIRED]", b"[INUSE]", b"[LIMIT]", b"[SERVERBUG]", b"[CONTACTADMIN]"];

impl Dialect for Imap {
    fn command(&mut self, line: &[u8], _say: &mut impl FnMut(Login)) -> Next {
        if let Some(shown) = &mut self.login {
            shown.add(line);
            return Next::GoOn;
        }
        let mut words = words(line);
        let (tag, command) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let shown = if command.eq_ignore_ascii_case(b"LOGIN") {
            let mut shown = Shown::default();
            words.for_each(|word| shown.add(word));
            Some(shown)
        } else if command.eq_ignore_ascii_case(b"AUTHENTICATE") {
            let mut shown = Shown::by(words.next().unwrap_or_default());
            words.for_each(|word| shown.add(word));
            Some(shown)
        } else {
            self.is_tls_asked |= command.eq_ignore_ascii_case(b"STARTTLS");
            None
        };
        if (shown.is_some() || self.is_tls_asked) && tag.len() <= TAG_MAX {
            self.tag.clear();
            self.tag.extend_from_slice(tag);
            self.login = shown;
        }
        Next::GoOn
    }

    fn reply(&mut self, line: &[u8], say: &mut impl FnMut(Login)) -> Next {
        let tagged = line.strip_prefix(self.tag.as_slice()).and_then(|rest| rest.strip_prefix(b" "));
        let Some(rest) = tagged.filter(|_| !self.tag.is_empty()) else { return Next::GoOn };
        let Some(shown) = self.login.take() else {
            let is_sealed = self.is_tls_asked && begins(rest, b"OK");
            return if is_sealed { Next::Seal } else { Next::GoOn };
        };
        if begins(rest, b"OK") {
            say(Login::Accepted);
            return Next::Done;
        }
        if begins(rest, b"NO") && !EXCUSES.iter().any(|excuse| find(rest, excuse).is_some()) {
            say(Login::Refused(shown.credential()));
        }
        Next::GoOn
    }
}
