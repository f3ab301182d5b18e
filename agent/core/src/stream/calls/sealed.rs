//! Calls inside TLS, by the turns and the lengths of records.
//!
//! A call is a turn in which the client speaks after the server did. Only records of application data count, and
//! those of TLS 1.3 that end the handshake do not: the client's `Finished`, known by its length, and the tickets that
//! the server sends then. HTTP/2 keeps a connection up by frames of few known lengths, shorter than most requests: they are no turn of the
//! client's, and the server's end none. Nor is what has the length of some window updates, which go out in one record while much is
//! fetched, where the client offered HTTP/2. A request that looks like that, since all its headers were sent before, is not seen either.
//!
//! **Several calls in one turn** are possible where HTTP/2 was offered. A request may take two records, of headers and of a body, and
//! an answer too; so of the records of a turn that are as long as a request's headers every other one behind the first is a call, or each if
//! they are of like length, as headers and bodies are not, and
//! no more of them than the server sent records back behind the first two. An upload is one, since its records are longer; a page is
//! fewer than it has parts.
//!
//! **Not HTTP.** Where no HTTP/2 was offered an answer has a status and some fields. A server that twice says less than that
//! speaks something else, as in a WebSocket or MQTT, and no further turns are calls.

use super::super::hello::{Hello, HelloReader};
use super::super::order::Piece;
use super::super::tls::{self, Records};

/// The shortest request of HTTP/1.1, with a host of one letter. Acknowledgments and pings of HTTP/2 are shorter.
const SHORTEST_CALL: u32 = 27;
/// The longest headers of a request that are taken for a further one of a turn. Records of a body are mostly longer.
const LONGEST_CALL: u32 = 600;
/// The shortest answer of HTTP/1.1 that servers give: a status, and a field or two.
const SHORTEST_ANSWER: u32 = 40;
/// The shortest request of HTTP/2 that is told from what keeps a connection up: its headers all but one were sent before.
const SHORTEST_STREAM: u32 = 19;
/// Records of requests that differ by no more are of like length: paths and numbers in them differ.
const LIKE: u32 = 24;
/// A window update of HTTP/2 (RFC 9113, section 6.9).
const UPDATE: u32 = 13;
/// An acknowledgment of settings, an update, a ping or a farewell (sections 6.5, 6.7 to 6.9).
const UPKEEP: [u32; 3] = [9, UPDATE, 17];
/// What TLS 1.3 puts around that: a type and a tag (RFC 8446, section 5.2); TLS 1.2 most often a nonce and a tag (RFC 5288).
const SEALED: &[u32] = &[1 + 16, 8 + 16];
/// See [`SEALED`]: with the record's header.
const RECORDS: &[u32] = &[tls::HEADER_LEN + 1 + 16, tls::HEADER_LEN + 8 + 16];
/// The record with the client's `Finished`, by the hash: 4 bytes of header, 32 or 48 of hash, a type, a tag (RFC 8446, section 4.4.4).
const FINISHED: [u32; 2] = [4 + 32 + 1 + 16, 4 + 48 + 1 + 16];
/// A server sends up to so many tickets once it has that, each in a record of up to so many bytes.
const TICKETS: u8 = 2;
/// See [`TICKETS`].
const TICKET_MAX: u32 = 512;
/// The most calls that are told of one turn, beside its first.
const FURTHER_MAX: u32 = 128;

/// What a piece is worth to the one who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Speaks {
    /// Nothing was said.
    Nothing,
    /// Something that is no turn: it may answer a call, and begins none.
    Little,
    /// A turn.
    Turn,
}

impl Speaks {
    /// By the length of something that is no turn if it may be upkeep of HTTP/2, with `around` put around it.
    fn by(len: u32, around: &[u32], may_be_updates: bool) -> Self {
        let inner = |around: &u32| len.checked_sub(*around);
        let is_stream = may_be_updates
            && around.first().and_then(inner).is_some_and(|rest| rest >= SHORTEST_STREAM)
            && !around.iter().filter_map(inner).any(is_upkeep);
        let is_short = len < SHORTEST_CALL + around.first().copied().unwrap_or(0) && !is_stream;
        let updates = |around: &u32| inner(around).is_some_and(|rest| rest % UPDATE == 0);
        if is_short || (may_be_updates && around.iter().any(updates)) { Self::Little } else { Self::Turn }
    }

    /// By the length of something in a connection of TLS that was met in the middle.
    pub fn in_the_middle(len: u32) -> Self {
        Self::by(len, RECORDS, true)
    }
}

/// Whether so many bytes may be one or two frames that keep a connection of HTTP/2 up.
fn is_upkeep(len: u32) -> bool {
    UPKEEP.iter().any(|one| len == *one || UPKEEP.iter().any(|other| len == one + other))
}

/// What came of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub speaks: Speaks,
    /// Calls of this turn beside its first, of which it is known now that they were answered.
    pub further: u32,
}

/// Both directions of a TLS connection.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    hello: HelloReader,
    client: Records,
    server: Records,
    /// So many tickets may still come, once the client's `Finished` was seen.
    tickets: Option<u8>,
    /// Whether the client offered to speak HTTP/2.
    is_http2_offered: bool,
    turn: Turn,
    /// How many answers in a row were shorter than any of HTTP/1.1.
    short_answers: u8,
}

/// What was said since the client began to speak.
#[derive(Debug, Default)]
struct Turn {
    is_answered: bool,
    /// Records of the client's that may be a request each.
    requests: Requests,
    /// Records of the server's.
    records: u32,
    /// Bytes of the server's.
    bytes: u32,
    told: u32,
}

/// Records that may be a request each.
#[derive(Clone, Copy, Debug, Default)]
struct Requests {
    number: u32,
    /// How long the shortest and the longest of them are.
    lengths: Option<(u32, u32)>,
}

impl Requests {
    fn take(&mut self, len: u32) {
        self.add(Self { number: 1, lengths: Some((len, len)) });
    }

    fn add(&mut self, other: Self) {
        self.number = self.number.saturating_add(other.number);
        self.lengths = match (self.lengths, other.lengths) {
            (Some(one), Some(more)) => Some((one.0.min(more.0), one.1.max(more.1))),
            (one, more) => one.or(more),
        };
    }

    /// How many calls they are, beside the first.
    fn further(&self) -> u32 {
        let behind = self.number.saturating_sub(1);
        let are_alike = self.lengths.is_some_and(|(shortest, longest)| longest - shortest <= LIKE);
        if are_alike { behind } else { behind / 2 }
    }
}

impl Sealed {
    /// Reads the client's hello, and tells it when it is there.
    pub fn greet(&mut self, piece: Piece<'_>) -> Option<Hello> {
        let hello = self.hello.take(piece)?;
        self.is_http2_offered = hello.is_http2_offered;
        Some(hello)
    }

    /// Whether what is spoken is not HTTP.
    pub fn is_other(&self) -> bool {
        self.short_answers > 1
    }

    pub fn read(&mut self, from_client: bool, piece: Piece<'_>) -> Heard {
        let may_be_updates = self.is_http2_offered;
        let Self { client, server, tickets, .. } = self;
        let records = if from_client { client } else { server };
        if records.is_lost() {
            return Heard { speaks: Speaks::by(piece.len(), RECORDS, may_be_updates), further: 0 };
        }
        let (mut speaks, mut begun, mut requests) = (Speaks::Nothing, 0, Requests::default());
        let bytes = records.take_each(piece, |len| match tickets {
            None if from_client && FINISHED.contains(&len) => *tickets = Some(TICKETS),
            Some(left) if !from_client && *left > 0 && len <= TICKET_MAX => {
                *left -= 1;
                speaks = speaks.max(Speaks::Little);
            }
            _ => {
                let one = Speaks::by(len, SEALED, may_be_updates);
                begun += u32::from(one == Speaks::Turn);
                if one == Speaks::Turn && len <= LONGEST_CALL + SEALED[0] {
                    requests.take(len);
                }
                speaks = speaks.max(one);
            }
        });
        if from_client {
            self.asked(speaks, requests);
            return Heard { speaks, further: 0 };
        }
        self.turn.is_answered |= speaks == Speaks::Turn;
        self.turn.records = self.turn.records.saturating_add(begun);
        self.turn.bytes = self.turn.bytes.saturating_add(bytes);
        // The rest of a record that began before is no turn of its own.
        let speaks = if bytes > 0 { speaks.max(Speaks::Little) } else { speaks };
        Heard { speaks, further: self.further() }
    }

    /// The client said something.
    fn asked(&mut self, speaks: Speaks, requests: Requests) {
        if speaks != Speaks::Turn {
            return;
        }
        if self.turn.is_answered {
            let is_short = self.turn.bytes < SHORTEST_ANSWER + SEALED[0] && !self.is_http2_offered;
            self.short_answers = if is_short || self.is_other() { self.short_answers + 1 } else { 0 }.min(2);
            self.turn = Turn::default();
        }
        self.turn.requests.add(requests);
    }

    fn further(&mut self) -> u32 {
        let Turn { requests, records, .. } = self.turn;
        if !self.is_http2_offered {
            return 0;
        }
        let all = requests.further().min(records.saturating_sub(2)).min(FURTHER_MAX);
        let fresh = all.saturating_sub(self.turn.told);
        self.turn.told += fresh;
        fresh
    }
}
