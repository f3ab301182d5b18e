//! Telnet and its likes (RFC 854): prompts for a name and a password, and words that say no.
//!
//! There is no code to go by, so it is bounded: only what follows a prompt for a password is looked at, at most
//! [`ANSWER_MAX`] bytes of it. Words of refusal, or a prompt for a name again, refuse; a shell's prompt, or more than that, lets in.

use super::super::order::Piece;
use super::Login;
use super::credential::Shown;
use super::lines::find;
use super::speech::Next;

/// So much of what the server said last is kept.
const RECENT_MAX: usize = 96;
/// So much is said to somebody who was let in, and less to who was not.
const ANSWER_MAX: u32 = 2_048;
/// Interpret as command (RFC 854).
const IAC: u8 = 255;

const NAMES: [&[u8]; 4] = [b"ogin:", b"sername:", b"ser name:", b"account:"];
const NO: [&[u8]; 7] =
    [b"incorrect", b"failed", b"failure", b"denied", b"invalid", b"bad password", b"wrong password"];
/// How shells ask for a command.
const SHELLS: [u8; 4] = [b'$', b'#', b'>', b'%'];

/// A session.
#[derive(Debug, Default)]
pub(super) struct Telnet {
    recent: Vec<u8>,
    shown: Shown,
    /// Whether a password was asked for, and how much was said since.
    answer: Option<u32>,
    has_typed: bool,
}

impl Telnet {
    /// Takes what a side says.
    pub fn read(&mut self, from_client: bool, piece: Piece<'_>, say: &mut impl FnMut(Login)) -> Next {
        let Piece::Data(data) = piece else { return Next::GoOn };
        if from_client {
            if data.first() != Some(&IAC) {
                // Typed letter by letter or sent as a line, it comes to the same.
                data.iter().for_each(|byte| self.shown.add(&[*byte]));
                self.has_typed = true;
            }
            return Next::GoOn;
        }
        self.server(data, say)
    }

    fn server(&mut self, data: &[u8], say: &mut impl FnMut(Login)) -> Next {
        let tail = &data[data.len().saturating_sub(RECENT_MAX)..];
        let over = (self.recent.len() + tail.len()).saturating_sub(RECENT_MAX);
        self.recent.drain(..over);
        self.recent.extend(tail.iter().map(u8::to_ascii_lowercase));
        let said = self.recent.trim_ascii_end();
        let is_name = NAMES.iter().any(|name| said.ends_with(name)) && !said.ends_with(b"last login:");
        let is_password = said.ends_with(b"assword:") || said.ends_with(b"asscode:");
        if let Some(len) = &mut self.answer
            && self.has_typed
        {
            *len = len.saturating_add(u32::try_from(data.len()).unwrap_or(u32::MAX));
            if is_name || is_password || NO.iter().any(|no| find(said, no).is_some()) {
                say(Login::Refused(self.shown.credential()));
                self.answer = None;
                self.recent.clear();
            } else if *len > ANSWER_MAX || said.last().is_some_and(|last| SHELLS.contains(last)) {
                say(Login::Accepted);
                return Next::Done;
            }
        }
        if is_name {
            self.shown = Shown::default();
            self.recent.clear();
        } else if is_password {
            self.answer = Some(0);
            self.has_typed = false;
            self.recent.clear();
        }
        Next::GoOn
    }
}
