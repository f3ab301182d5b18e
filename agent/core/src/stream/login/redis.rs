//! Redis (RESP): `AUTH`, or `HELLO` with it, answered by `WRONGPASS`, or before version 6 by `ERR invalid password`, is refused; anything
//! but an error lets in. `NOAUTH` to other commands is no login.

use super::super::order::Piece;
use super::Login;
use super::credential::Shown;
use super::lines::{begins, find};
use super::speech::Next;

/// A command stands within so many bytes from the first.
const COMMAND_MAX: usize = 64;

/// Where plain words are meant for it; other protocols know the word as well.
const PORTS: std::ops::RangeInclusive<u16> = 6_379..=6_399;

/// Whether a client says who it is.
pub(super) fn is_auth(port: u16, data: &[u8]) -> bool {
    (PORTS.contains(&port) && begins(data, b"AUTH "))
        || (data.first() == Some(&b'*')
            && find(&data[..data.len().min(COMMAND_MAX)], b"\r\nAUTH\r\n").is_some())
}

/// A session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Redis {
    port: u16,
    shown: Option<Shown>,
}

impl Redis {
    /// One with a server at this port.
    pub const fn at(port: u16) -> Self {
        Self { port, shown: None }
    }

    /// Takes what a side says.
    pub fn read(&mut self, from_client: bool, piece: Piece<'_>, say: &mut impl FnMut(Login)) -> Next {
        let Piece::Data(data) = piece else { return Next::GoOn };
        if from_client {
            if is_auth(self.port, data) {
                self.shown = Some(Shown::of(data));
            }
            return Next::GoOn;
        }
        let Some(shown) = self.shown.take() else { return Next::GoOn };
        if begins(data, b"-WRONGPASS") || begins(data, b"-ERR invalid password") {
            say(Login::Refused(shown.credential()));
        } else if data.first() != Some(&b'-') {
            say(Login::Accepted);
            return Next::Done;
        }
        Next::GoOn
    }
}
