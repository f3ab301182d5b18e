//! SSH (RFC 4253, RFC 4252): what the lengths of its encrypted messages tell.
//!
//! Once the client has said `NEWKEYS` everything is encrypted, and lengths remain. They suffice:
//! - The server's first answer is `SERVICE_ACCEPT`, 17 bytes of payload. `USERAUTH_SUCCESS` has 1, and with any cipher, blocks of 8 bytes
//!   or of 16, with or without the length inside of them, its message is exactly [`SUCCESS_LESS`] bytes shorter. No
//!   failure is: it names the ways that are left, at least one word of 8 letters.
//! - The client's `none`, with which most ask which ways there are, is at most [`NONE_MORE`] bytes longer than that answer; a
//!   password is longer, up to [`PASSWORD_MORE`]; an offered key or a signature is longer still (107 bytes and the name).
//! - OpenSSH's own client, and what was made of it, fills a password up to 64 bytes, and a long one to [`FILLED`]. Of keys only Ed25519's comes to
//!   as much, and only with a name of 9 letters or more, or blocks of 16. Who offers keys begins with `none`, and that tells how long the
//!   name is: without it, or with a name too short for a key to be as long, it is a password. What is left is taken for a key.
//!
//! So each password that is answered by the same length as the refusal before it is refused; the first one when the connection
//! ends or another follows. A connection in which only something long was refused counts once, as something that is kept.
//! The client is who does not answer an exchange of keys.
//!
//! Left out: messages that share a segment with others, as answers do whose sender waits. Who writes two attempts at once is seen as
//! one who wrote something long.

use super::super::order::Piece;
use super::speech::Next;
use super::{Credential, Login};

/// A message, its first bytes: the packet's length (32 bits), its padding's, its type (RFC 4253, section 6).
const NEWKEYS: u8 = 21;
/// Types by which a server answers an exchange of keys (RFC 4253, section 8; RFC 4419; RFC 5656).
const KEX_REPLIES: [u8; 2] = [31, 33];
/// How much shorter success is than the acceptance of the service.
const SUCCESS_LESS: u32 = 16;
/// Lengths that the acceptance may have: 24 bytes at least, and a tag of at most 64 after 32 and a length.
const ACCEPT: std::ops::RangeInclusive<u32> = 28..=104;
/// See above.
const NONE_MORE: u32 = 24;
/// See above.
const PASSWORD_MORE: u32 = 64;
/// A long password that is filled up, without length and tag.
const FILLED: u32 = 128;
/// The acceptance with ChaCha20-Poly1305, the one cipher in use whose blocks have 8 bytes, and its bytes without length and tag; and those
/// with blocks of 16.
const ACCEPT_OF_EIGHT: u32 = 44;
const ACCEPT_BODIES: [u32; 2] = [24, 32];
/// `none` is at most so much longer than that acceptance if the name has no more than four letters.
const SHORT_NAME_MORE: u32 = 16;
/// Longer answers are none to a login: a failure names all ways that there are in less than 100 bytes.
const FAILURE_MORE: u32 = 112;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Versions and keys, in clear.
    #[default]
    Keys,
    /// The service was asked for, or is about to be.
    Service,
    /// Logins; the length of the acceptance.
    Logins(u32),
}

/// What the client showed in the turn at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Showed {
    Nothing,
    Password,
    Long,
}

/// A session.
#[derive(Debug, Default)]
pub(super) struct Ssh {
    phase: Phase,
    /// Bytes of the client's turn at hand, and of the server's.
    client: u32,
    server: u32,
    /// How much longer than the acceptance `none` was, if it was asked for first.
    none: Option<u32>,
    /// How long a failure is, once one was met.
    failure: Option<u32>,
    /// A password of which it is not sure yet that it was refused, and the length of the answer.
    unsure: Option<u32>,
    /// Whether something long was refused.
    is_long_refused: bool,
}

impl Ssh {
    /// Takes what a side says.
    pub fn read(&mut self, from_client: bool, piece: Piece<'_>, say: &mut impl FnMut(Login)) -> Next {
        match self.phase {
            Phase::Keys => self.keys(from_client, piece),
            _ if from_client => self.client_turn(piece.len(), say),
            _ => self.server_turn(piece.len(), say),
        }
    }

    /// What the end tells.
    pub fn ended(&self) -> Option<Login> {
        let last = self.settled();
        if last == Some(Showed::Password) || self.unsure.is_some() {
            return Some(Login::Refused(Credential::Hidden));
        }
        let is_long = self.is_long_refused || last == Some(Showed::Long);
        is_long.then_some(Login::Refused(Credential::Kept))
    }

    fn keys(&mut self, from_client: bool, piece: Piece<'_>) -> Next {
        let Piece::Data(data) = piece else { return Next::GoOn };
        if !from_client {
            return Next::GoOn;
        }
        let Some([0, 0, high, low, _, kind]) = data.first_chunk::<6>() else { return Next::GoOn };
        if KEX_REPLIES.contains(kind) {
            return Next::Done;
        }
        if *kind == NEWKEYS && *high == 0 {
            self.phase = Phase::Service;
            let len = 4 + usize::from(*low);
            self.client = u32::try_from(data.len().saturating_sub(len)).unwrap_or(0);
        }
        Next::GoOn
    }

    fn client_turn(&mut self, len: u32, say: &mut impl FnMut(Login)) -> Next {
        if self.server > 0 {
            let next = self.settle(say);
            self.client = 0;
            self.server = 0;
            if next == Next::Done {
                return next;
            }
        }
        self.client = self.client.saturating_add(len);
        Next::GoOn
    }

    fn server_turn(&mut self, len: u32, say: &mut impl FnMut(Login)) -> Next {
        if self.client == 0 {
            // What a server says on its own account comes with its keys.
            return Next::GoOn;
        }
        if let Phase::Logins(accept) = self.phase
            && (len + SUCCESS_LESS == accept || self.server + len + SUCCESS_LESS == accept)
        {
            say(Login::Accepted);
            return Next::Done;
        }
        self.server = self.server.saturating_add(len);
        // A refusal that is like the one before need not wait for the next turn.
        if let (Phase::Logins(accept), Some(failure)) = (self.phase, self.failure.or(self.unsure))
            && self.server == failure
            && self.showed(accept) == Showed::Password
        {
            if self.unsure.take().is_some() {
                say(Login::Refused(Credential::Hidden));
            }
            say(Login::Refused(Credential::Hidden));
            self.failure = Some(failure);
            self.client = 0;
            self.server = 0;
        }
        Next::GoOn
    }

    fn showed(&self, accept: u32) -> Showed {
        match self.client.checked_sub(accept) {
            Some(more) if more > PASSWORD_MORE && !self.is_filled(accept, more) => Showed::Long,
            Some(more) if more > NONE_MORE => Showed::Password,
            _ => Showed::Nothing,
        }
    }

    /// Whether what is so much longer than the acceptance is a password that was filled up, and no key.
    fn is_filled(&self, accept: u32, more: u32) -> bool {
        let is_of_eight = accept == ACCEPT_OF_EIGHT;
        let [eight, sixteen] = ACCEPT_BODIES;
        let body = more + if is_of_eight { eight } else { sixteen };
        body == FILLED && self.none.is_none_or(|none| is_of_eight && none <= SHORT_NAME_MORE)
    }

    /// What the turn at hand showed, if its answer may be a failure.
    fn settled(&self) -> Option<Showed> {
        let Phase::Logins(accept) = self.phase else { return None };
        let is_failure = self.server > 0
            && self.server <= accept + FAILURE_MORE
            && self.failure.is_none_or(|failure| self.server <= failure);
        is_failure.then(|| self.showed(accept))
    }

    /// Makes up its mind about a turn that is over, now that the client goes on.
    fn settle(&mut self, say: &mut impl FnMut(Login)) -> Next {
        let Phase::Logins(accept) = self.phase else {
            if !ACCEPT.contains(&self.server) {
                return Next::Done;
            }
            self.phase = Phase::Logins(self.server);
            return Next::GoOn;
        };
        if self.server > accept + FAILURE_MORE {
            // A banner, or the key that may sign, which is shorter than what offered it; or somebody is in, and it was not seen.
            self.unsure = None;
            let is_login = self.client <= accept + NONE_MORE || self.server < self.client;
            return if is_login { Next::GoOn } else { Next::Done };
        }
        match self.showed(accept) {
            Showed::Nothing => {
                self.none = self.none.or(self.client.checked_sub(accept));
                self.failure = Some(self.failure.unwrap_or(self.server));
            }
            Showed::Password => match self.unsure.replace(self.server) {
                Some(before) if before == self.server => {
                    self.unsure = None;
                    self.failure = Some(self.server);
                    say(Login::Refused(Credential::Hidden));
                    say(Login::Refused(Credential::Hidden));
                }
                // Two that differ: it is not known what either says.
                Some(_) => self.unsure = None,
                None => {}
            },
            Showed::Long => self.is_long_refused |= self.failure == Some(self.server),
        }
        Next::GoOn
    }
}
