//! MySQL and MariaDB (client/server protocol, connection phase): errors 1045 and 1698 to the client's answer to the greeting refuse, OK
//! lets in. The answer is scrambled anew each time. A program that names its own database is one that has a place there, and repeats
//! itself when its password was changed; guessing tools name none, or the server's own.

use super::super::order::Piece;
use super::speech::Next;
use super::{Credential, Login};

/// The bits of the client's abilities that matter here.
const WITH_DATABASE: u32 = 0x8;
const TLS: u32 = 0x800;
const LENGTH_BEFORE_SECRET: u32 = 0x0020_8000;
/// A request for TLS is the head of an answer alone.
const HEAD_LEN: usize = 32;
/// Access denied (`ER_ACCESS_DENIED_ERROR`, `ER_ACCESS_DENIED_NO_PASSWORD_ERROR`).
const DENIED: [u16; 2] = [1045, 1698];
/// A packet's header: its length and number.
const HEADER_LEN: usize = 4;

/// Whether a server's first words are its greeting (protocol 10).
pub(super) fn is_greeting(data: &[u8], len: u32) -> bool {
    matches!(data, [low, middle, 0, 0, 10, b'1'..=b'9', ..]
        if u32::from(u16::from_le_bytes([*low, *middle])) + 4 == len)
}

/// A session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mysql {
    shown: Option<Credential>,
}

impl Mysql {
    /// Takes what a side says.
    pub fn read(&mut self, from_client: bool, piece: Piece<'_>, say: &mut impl FnMut(Login)) -> Next {
        let Piece::Data(data) = piece else { return Next::GoOn };
        let Some(body) = data.get(HEADER_LEN..) else { return Next::GoOn };
        if from_client {
            if self.shown.is_none()
                && let Some(head) = body.first_chunk::<4>()
            {
                let abilities = u32::from_le_bytes(*head);
                if abilities & TLS != 0 && body.len() == HEAD_LEN {
                    return Next::Seal;
                }
                let is_own = abilities & WITH_DATABASE != 0 && names_own(body, abilities);
                self.shown = Some(if is_own { Credential::Kept } else { Credential::Hidden });
            }
            return Next::GoOn;
        }
        let Some(shown) = self.shown else { return Next::GoOn };
        match body {
            [0xff, low, high, ..] => {
                if DENIED.contains(&u16::from_le_bytes([*low, *high])) {
                    say(Login::Refused(shown));
                }
                Next::Done
            }
            [0, ..] => {
                say(Login::Accepted);
                Next::Done
            }
            // More is asked for.
            _ => Next::GoOn,
        }
    }
}

/// Whether the database that is named is one of the client's; where that was cut off, it is.
fn names_own(body: &[u8], abilities: u32) -> bool {
    let mut rest = body.get(HEAD_LEN..).unwrap_or_default().splitn(2, |byte| *byte == 0);
    let (_user, rest) = (rest.next(), rest.next().unwrap_or_default());
    let after = if abilities & LENGTH_BEFORE_SECRET == 0 {
        rest.iter().position(|byte| *byte == 0).map(|end| end + 1)
    } else {
        rest.first().map(|len| 1 + usize::from(*len))
    };
    let Some(rest) = after.and_then(|after| rest.get(after..)) else { return true };
    let name = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    !matches!(name, b"" | b"mysql" | b"information_schema" | b"test" | b"sys")
}
