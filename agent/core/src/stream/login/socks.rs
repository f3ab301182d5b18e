//! SOCKS 5 with a name and a password (RFC 1928, RFC 1929): status 0 lets in, any other refuses.

use super::super::order::Piece;
use super::Login;
use super::credential::Shown;
use super::speech::Next;

/// Whether a client's first words offer a name and a password.
pub(super) fn is_offer(data: &[u8], len: u32) -> bool {
    matches!(data, [5, number, methods @ ..]
        if usize::from(*number) == methods.len() && len as usize == data.len() && methods.contains(&2))
}

/// A session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Socks {
    is_asked: bool,
    shown: Option<Shown>,
}

impl Socks {
    /// Takes what a side says.
    pub fn read(&mut self, from_client: bool, piece: Piece<'_>, say: &mut impl FnMut(Login)) -> Next {
        let Piece::Data(data) = piece else { return Next::GoOn };
        match (from_client, data) {
            (true, [1, ..]) if self.is_asked => self.shown = Some(Shown::of(data)),
            (true, _) => {}
            (false, [5, 2]) => self.is_asked = true,
            (false, [1, status]) if self.shown.is_some() => {
                let shown = self.shown.unwrap_or_default();
                say(if *status == 0 { Login::Accepted } else { Login::Refused(shown.credential()) });
                return Next::Done;
            }
            (false, _) => return Next::Done,
        }
        Next::GoOn
    }
}
