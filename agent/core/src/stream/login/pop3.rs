//! POP3 (RFC 1939, RFC 5034): `-ERR` to `PASS`, `APOP` or `AUTH` refuses, `+OK` lets in. A reply code (RFC 2449, RFC 3206) may tell that
//! it was not the login: the mailbox is in use, or comes too often, or the server is ill.

use std::collections::VecDeque;

use super::credential::Shown;
use super::lines::{Dialect, begins, find, words};
use super::speech::Next;
use super::{Credential, Login};

/// The most commands that wait for their replies before anybody is in.
const PENDING_MAX: usize = 16;

/// A command that waits for its reply.
#[derive(Clone, Copy, Debug)]
enum Pending {
    Other,
    Login(Credential),
    /// `AUTH`, and what was shown is still growing.
    Auth,
    Tls,
}

/// A session.
#[derive(Debug, Default)]
pub(super) struct Pop3 {
    user: Shown,
    auth: Shown,
    is_challenged: bool,
    pending: VecDeque<Pending>,
}

/// Not the login's fault.
const EXCUSES: [&[u8]; 4] = [b"[IN-USE]", b"[LOGIN-DELAY]", b"[SYS/", b"temporar"];

impl Dialect for Pop3 {
    fn command(&mut self, line: &[u8], _say: &mut impl FnMut(Login)) -> Next {
        if std::mem::take(&mut self.is_challenged) {
            self.auth.add(line);
            return Next::GoOn;
        }
        let pending = if begins(line, b"USER ") {
            self.user = Shown::of(&line[5..]);
            Pending::Other
        } else if begins(line, b"PASS ") {
            let mut shown = self.user;
            shown.add(&line[5..]);
            Pending::Login(shown.credential())
        } else if begins(line, b"APOP ") {
            Pending::Login(Credential::Hidden)
        } else if begins(line, b"AUTH ") {
            let mut words = words(line).skip(1);
            self.auth = Shown::by(words.next().unwrap_or_default());
            words.for_each(|word| self.auth.add(word));
            Pending::Auth
        } else if begins(line, b"STLS") {
            Pending::Tls
        } else {
            Pending::Other
        };
        if self.pending.len() < PENDING_MAX {
            self.pending.push_back(pending);
        }
        Next::GoOn
    }

    fn reply(&mut self, line: &[u8], say: &mut impl FnMut(Login)) -> Next {
        let (is_ok, is_error) = (begins(line, b"+OK"), begins(line, b"-ERR"));
        if line.first() == Some(&b'+') && !is_ok {
            self.is_challenged = matches!(self.pending.front(), Some(Pending::Auth));
        }
        if !is_ok && !is_error {
            return Next::GoOn;
        }
        let credential = match self.pending.pop_front() {
            Some(Pending::Login(credential)) => credential,
            Some(Pending::Auth) => self.auth.credential(),
            Some(Pending::Tls) if is_ok => return Next::Seal,
            _ => return Next::GoOn,
        };
        if is_ok {
            say(Login::Accepted);
            return Next::Done;
        }
        if !EXCUSES.iter().any(|excuse| find(line, excuse).is_some()) {
            say(Login::Refused(credential));
        }
        Next::GoOn
    }
}
