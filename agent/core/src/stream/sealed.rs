//! A mail session that nothing can be read of: what the lengths and turns of its records tell (RFC 8446, section 5.1).
//!
//! The client's *turn* is what it says until the server speaks. A message is a turn that is long; or a shorter one that comes when there
//! has been a greeting and an envelope; or one behind a turn of the shortest record of all, which is how `DATA` looks. Users'
//! clients say who they are first, and their tokens may be long, so that there a message comes third at the earliest. Recipients
//! are not counted: a message counts once.
//!
//! Left out: what is beyond lengths. A list of very many recipients in one turn looks like a message, and is as many at least.

use super::order::Piece;
use super::tls::Records;

/// Commands and their likes stay below this many bytes in a turn, and messages seldom do.
const LONG: u32 = 512;
/// From the third turn on this is enough: by then there was a greeting and an envelope, and one more envelope is shorter.
const LONG_LATER: u32 = 256;
/// The turn in which a message may come at the earliest, and where users say who they are first.
const FIRST_MESSAGE: u32 = 2;
const THIRD: u32 = 3;
/// A record of `DATA` takes no more: six bytes and at most 34 that the encryption adds.
const SHORT: u32 = 40;
/// What comes behind it is content if it is longer by so much.
const BEHIND_SHORT: u32 = 128;
/// The end of a handshake in TLS 1.3 looks like application data: a header, a hash of 32 or 48 bytes, a type and a tag.
const FINISHED: [u32; 2] = [53, 69];
/// What the encryption adds to a record is 17 to 24 bytes mostly.
const OVERHEAD: u32 = 20;

/// What is known of the client's turns.
#[derive(Debug)]
pub(super) struct Turns {
    records: Records,
    /// Whether users say who they are first.
    has_login: bool,
    /// Bytes of the turn at hand, its records, and the first of these.
    bytes: u32,
    pieces: u32,
    first: u32,
    /// The turns before.
    turns: u32,
    /// The shortest record that was a turn, if any, and whether the turn before was one of these.
    least: u32,
    was_least: bool,
    /// Whether it was asked for after the third turn.
    is_told: bool,
}

impl Turns {
    /// None yet.
    pub fn new(has_login: bool) -> Self {
        Self {
            records: Records::default(),
            has_login,
            bytes: 0,
            pieces: 0,
            first: 0,
            turns: 0,
            least: u32::MAX,
            was_least: false,
            is_told: false,
        }
    }

    /// Takes what the client says.
    pub fn client(&mut self, piece: Piece<'_>) {
        let (mut pieces, mut first) = (self.pieces, self.first);
        let bytes = self.records.take_each(piece, |len| {
            if pieces == 0 {
                first = len;
            }
            pieces = pieces.saturating_add(1);
        });
        (self.pieces, self.first) = (pieces, first);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// The server speaks: the length of the message that the client's turn was, if it was one.
    pub fn server(&mut self) -> Option<u32> {
        let (bytes, pieces) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.pieces));
        if bytes == 0 || (self.turns == 0 && pieces == 1 && FINISHED.contains(&self.first)) {
            return None;
        }
        self.turns = self.turns.saturating_add(1);
        let is_message = self.is_message(bytes);
        let is_single = pieces == 1 && self.first == bytes;
        self.was_least = is_single && bytes <= self.least.min(SHORT);
        if is_single {
            self.least = self.least.min(bytes);
        }
        is_message.then(|| bytes.saturating_sub(pieces.saturating_mul(OVERHEAD)))
    }

    /// The connection is over: the same of the last turn.
    pub fn ended(&mut self) -> Option<u32> {
        self.server()
    }

    /// Whether the client has said more than a greeting and a farewell, which is told once.
    pub fn says_much(&mut self) -> bool {
        self.turns >= THIRD && !std::mem::replace(&mut self.is_told, true)
    }

    fn is_message(&self, bytes: u32) -> bool {
        let earliest = if self.has_login { THIRD } else { FIRST_MESSAGE };
        (self.turns >= earliest && bytes >= LONG)
            || (self.turns > earliest && bytes >= LONG_LATER)
            || (self.was_least && bytes >= self.least.saturating_add(BEHIND_SHORT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, len: u16) -> Vec<u8> {
        [&[kind, 3, 3][..], &len.to_be_bytes(), &vec![0; len.into()]].concat()
    }

    /// Plays the client's turns, each of some records; the lengths of the messages, and after which turn it was told to say much.
    fn check(has_login: bool, turns: &[&[u16]], messages: &[u32], told: Option<usize>) {
        let (mut sealed, mut found, mut much) = (Turns::new(has_login), Vec::new(), None);
        sealed.client(Piece::Data(&record(22, 300)));
        assert_eq!(sealed.server(), None, "a handshake is no turn");
        for (number, turn) in turns.iter().enumerate() {
            for len in *turn {
                sealed.client(Piece::Data(&record(23, *len)));
            }
            found.extend(sealed.server());
            if sealed.says_much() {
                much = Some(number);
            }
        }
        assert_eq!((found, much), (messages.to_vec(), told), "{turns:?}");
    }

    #[test]
    fn a_message_is_told_from_commands() {
        // A greeting, a sender, a recipient, DATA, content, QUIT: a bot's, with TLS 1.3.
        check(false, &[&[53], &[40], &[60], &[55], &[23], &[200], &[23]], &[180], Some(3));
        // A server's that pipelines, with its farewell behind the content.
        check(false, &[&[53, 50], &[140], &[420, 24]], &[404], Some(2));
        // One that sends chunks, with the envelope before them.
        check(false, &[&[50], &[900]], &[880], None);
        // Large ones come in several records.
        check(false, &[&[50], &[140], &[16_401, 16_401, 5_000], &[23]], &[37_742], Some(2));
        // A second in the same session.
        check(false, &[&[50], &[140], &[700], &[140], &[700]], &[680, 680], Some(2));
    }

    #[test]
    fn what_is_none_is_not() {
        // A look at a server's certificate; one that was turned away.
        check(false, &[&[53], &[40], &[23]], &[], None);
        check(false, &[&[40], &[60], &[55], &[23]], &[], Some(2));
        // A long token, before a message.
        check(true, &[&[60], &[1_800], &[80], &[60], &[23], &[400]], &[380], Some(2));
        // A new envelope behind RSET.
        check(false, &[&[40], &[60], &[55], &[23], &[65], &[55], &[23]], &[], Some(2));
        check(false, &[], &[], None);
    }
}
