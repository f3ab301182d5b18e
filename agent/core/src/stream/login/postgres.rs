//! PostgreSQL (protocol 3.0): errors 28P01 and 28000 refuse, `AuthenticationOk` lets in. A client that names a database of its own
//! repeats itself when it is refused, as with [`super::mysql`]; guessing tools name none, or those that every server has.

use super::super::order::Piece;
use super::credential::Shown;
use super::lines::find;
use super::speech::Next;
use super::{Credential, Login};

/// A request for TLS: its length, and a number that is no version.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// An error's code: invalid password, invalid authorization.
const REFUSALS: [&[u8]; 2] = [b"C28P01\0", b"C28000\0"];
/// Asks for the password in clear.
const IN_CLEAR: u32 = 3;

/// Whether a client's first words are those of this protocol.
pub(super) fn is_startup(data: &[u8], len: u32) -> bool {
    data == TLS_REQUEST
        || matches!(data, [0, 0, high, low, 0, 3, 0, 0, b'a'..=b'z', ..]
            if u32::from(u16::from_be_bytes([*high, *low])) == len)
}

/// A session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Postgres {
    is_tls_asked: bool,
    shown: Option<Credential>,
    is_in_clear: bool,
}

impl Postgres {
    /// Takes what a side says.
    pub fn read(&mut self, from_client: bool, piece: Piece<'_>, say: &mut impl FnMut(Login)) -> Next {
        let Piece::Data(data) = piece else { return Next::GoOn };
        if from_client {
            if data == TLS_REQUEST {
                self.is_tls_asked = true;
            } else if self.is_in_clear && data.first() == Some(&b'p') {
                self.shown = Some(Shown::of(data).credential());
            } else if self.shown.is_none() {
                self.shown = Some(if names_own(data) { Credential::Kept } else { Credential::Hidden });
            }
            return Next::GoOn;
        }
        if std::mem::take(&mut self.is_tls_asked) && data.len() == 1 {
            return if data == b"S" { Next::Seal } else { Next::GoOn };
        }
        let Some(shown) = self.shown else { return Next::GoOn };
        match data {
            [b'R', 0, 0, 0, _, kind @ ..] => {
                let kind = kind.first_chunk::<4>().map(|kind| u32::from_be_bytes(*kind));
                self.is_in_clear = kind == Some(IN_CLEAR);
                if kind == Some(0) {
                    say(Login::Accepted);
                    return Next::Done;
                }
            }
            [b'E', ..] => {
                if REFUSALS.iter().any(|code| find(data, code).is_some()) {
                    say(Login::Refused(shown));
                }
                return Next::Done;
            }
            _ => {}
        }
        Next::GoOn
    }
}

/// Whether a database is named that not every server has.
fn names_own(data: &[u8]) -> bool {
    let mut fields = data.get(8..).unwrap_or_default().split(|byte| *byte == 0);
    let mut user: &[u8] = b"";
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match name {
            b"user" => user = value,
            b"database" => {
                let is_common = matches!(value, b"" | b"postgres" | b"template0" | b"template1");
                return !is_common && value != user;
            }
            _ => {}
        }
    }
    false
}
