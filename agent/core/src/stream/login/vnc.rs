//! VNC (RFC 6143, section 7.1.3): the result after 16 bytes that answer a challenge: 0 lets in; 1, and 2 for too many attempts, refuse.

use super::super::order::Piece;
use super::speech::Next;
use super::{Credential, Login};

/// The client's answer to a challenge (RFC 6143, section 7.2.2).
const RESPONSE_LEN: usize = 16;

/// Whether a server's first words are those of this protocol.
pub(super) fn is_greeting(data: &[u8], len: u32) -> bool {
    len == 12 && data.starts_with(b"RFB 00")
}

/// A session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Vnc {
    has_answered: bool,
}

impl Vnc {
    /// Takes what a side says.
    pub fn read(&mut self, from_client: bool, piece: Piece<'_>, say: &mut impl FnMut(Login)) -> Next {
        let Piece::Data(data) = piece else { return Next::GoOn };
        if from_client {
            self.has_answered |= data.len() == RESPONSE_LEN;
            return Next::GoOn;
        }
        if !self.has_answered {
            return Next::GoOn;
        }
        match data {
            [0, 0, 0, 0, ..] => say(Login::Accepted),
            [0, 0, 0, 1 | 2, ..] => say(Login::Refused(Credential::Hidden)),
            _ => {}
        }
        Next::Done
    }
}
