//! Calls to a protected endpoint, in one connection.
//!
//! **HTTP/1.1** (RFC 9112): a line that begins with a method is a request, one that begins with a status is its answer; requests may
//! be pipelined. Where the capture cut requests off, their answers are counted instead. **Anything else**, TLS included: a
//! call is a turn, in which the client speaks after the server did. What is multiplexed (HTTP/2) is thus underestimated.
//!
//! That it is never overestimated takes care with what is said beside calls. In TLS only records of application data count, and
//! those of TLS 1.3 that end the handshake do not: the client's `Finished`, known by its length, and the tickets that
//! the server sends then. HTTP/2 keeps a connection up by frames that are shorter than any request: they are no turn of the
//! client's, and the server's end none. Nor is what has the length of some window updates, which go out in one record while much is
//! fetched, where the client offered HTTP/2. A request that looks like that, since all its headers were sent before, is not seen either.
//!
//! A connection is a call in itself; its first request is that call. Bodies are looked over for lines and not kept.

use serde::{Deserialize, Serialize};

use super::order::Piece;
use super::tls::{self, Records};

/// Something about calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// A connection was opened, which counts as a call.
    Opened,
    /// A call began.
    Began {
        /// Whether it is another one than the opening of its connection.
        counts: bool,
    },
    /// A call was answered.
    Answered,
    /// So many calls will not be answered: their connection is over.
    Dropped(u32),
}

/// Methods of HTTP (RFC 9110, RFC 5789), with the space behind them.
const METHODS: [&[u8]; 9] =
    [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"PATCH ", b"OPTIONS ", b"CONNECT ", b"TRACE "];
const STATUS: &[u8] = b"HTTP/1.";
/// Enough of a line to know a method, or a status down to its class: `HTTP/1.1 1`.
const LINE_START: usize = 10;
/// The content type of a handshake's record, with which TLS begins.
const HANDSHAKE: u8 = 22;
/// How a client begins HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// How a client offers it in TLS (RFC 7301; RFC 9113, section 3.2).
const OFFER: &[u8] = b"\x02h2";
/// The shortest request of HTTP/1.1, with a host of one letter. Acknowledgments and pings of HTTP/2 are shorter.
const SHORTEST_CALL: u32 = 27;
/// A window update of HTTP/2 (RFC 9113, section 6.9).
const UPDATE: u32 = 13;
/// What is put around that, nothing or a record. TLS 1.3 adds a type and a tag (RFC 8446, section 5.2), TLS 1.2 most often a nonce
/// and a tag (RFC 5288).
const BARE: &[u32] = &[0];
/// See [`BARE`].
const SEALED: &[u32] = &[1 + 16, 8 + 16];
/// See [`BARE`]: with the record's header.
const RECORDS: &[u32] = &[tls::HEADER_LEN + 1 + 16, tls::HEADER_LEN + 8 + 16];
/// The record with the client's `Finished`, by the hash: 4 bytes of header, 32 or 48 of hash, a type, a tag (RFC 8446, section 4.4.4).
const FINISHED: [u32; 2] = [4 + 32 + 1 + 16, 4 + 48 + 1 + 16];
/// A server sends up to so many tickets once it has that, each in a record of up to so many bytes.
const TICKETS: u8 = 2;
/// See [`TICKETS`].
const TICKET_MAX: u32 = 512;

/// What a connection speaks.
#[derive(Debug, Default)]
enum Language {
    /// Nobody has spoken yet.
    #[default]
    Unknown,
    /// Requests and answers in lines.
    Http { client: LineStart, server: LineStart },
    /// Turns of encrypted records.
    Tls(Sealed),
    /// Turns of anything.
    Turns,
    /// Turns of what may be HTTP/2, with this put around it.
    Upkept(&'static [u32]),
}

/// Both directions of a TLS connection.
#[derive(Debug, Default)]
struct Sealed {
    client: Records,
    server: Records,
    /// So many tickets may still come, once the client's `Finished` was seen.
    tickets: Option<u8>,
    /// Whether the client offered to speak HTTP/2.
    is_http2_offered: bool,
}

/// What a piece is worth to the one who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Speaks {
    /// Nothing was said.
    Nothing,
    /// Something that is no turn: it may answer a call, and begins none.
    Little,
    /// A turn.
    Turn,
}

/// One connection's calls.
#[derive(Debug, Default)]
pub(super) struct CallStream {
    language: Language,
    /// Whether the connection was counted, and its first request is still to come.
    is_prepaid: bool,
    /// Whether the client has spoken since the server did.
    is_turn_taken: bool,
    in_flight: u32,
}

impl CallStream {
    /// The server answered the opening.
    pub fn opened(&mut self, say: &mut impl FnMut(Call)) {
        if !self.is_prepaid && matches!(self.language, Language::Unknown) {
            self.is_prepaid = true;
            say(Call::Opened);
        }
    }

    /// Takes what a side says.
    pub fn read(&mut self, from_client: bool, piece: Piece<'_>, say: &mut impl FnMut(Call)) {
        if matches!(self.language, Language::Unknown) {
            let Piece::Data(data) = piece else { return };
            self.language = if from_client && data.first() == Some(&HANDSHAKE) {
                Language::Tls(Sealed::default())
            } else if tls::is_record(data) {
                // Met in the middle.
                Language::Upkept(RECORDS)
            } else if !from_client {
                Language::Turns
            } else if METHODS.iter().any(|method| data.starts_with(method)) {
                Language::Http { client: LineStart::default(), server: LineStart::default() }
            } else if data.starts_with(PREFACE) {
                Language::Upkept(BARE)
            } else {
                Language::Turns
            };
        }
        let speaks = match &mut self.language {
            Language::Unknown => return,
            Language::Http { client, server } => {
                let (requests, answers) =
                    if from_client { (client.requests(piece), 0) } else { (0, server.answers(piece)) };
                (0..requests).for_each(|_| self.begin(say));
                (0..answers).for_each(|_| self.answer(say));
                return;
            }
            Language::Tls(sealed) => sealed.read(from_client, piece),
            Language::Turns => Speaks::Turn,
            Language::Upkept(around) => Speaks::by(piece.len(), around, true),
        };
        match (speaks, from_client) {
            (Speaks::Nothing, _) | (Speaks::Little, true) => {}
            (Speaks::Turn, true) => {
                if !std::mem::replace(&mut self.is_turn_taken, true) {
                    self.begin(say);
                }
            }
            (speaks, false) => {
                self.is_turn_taken &= speaks == Speaks::Little;
                if self.in_flight > 0 {
                    self.answer(say);
                }
            }
        }
    }

    /// What is to be said of calls in flight now that the connection is over.
    pub fn ended(&self) -> Option<Call> {
        (self.in_flight > 0).then_some(Call::Dropped(self.in_flight))
    }

    fn begin(&mut self, say: &mut impl FnMut(Call)) {
        self.in_flight += 1;
        say(Call::Began { counts: !std::mem::replace(&mut self.is_prepaid, false) });
    }

    fn answer(&mut self, say: &mut impl FnMut(Call)) {
        // An answer to a request that nobody saw.
        if self.in_flight == 0 {
            self.begin(say);
        }
        self.in_flight -= 1;
        say(Call::Answered);
    }
}

impl Speaks {
    /// By the length of something that is no turn if it may be upkeep of HTTP/2, with `around` put around it.
    fn by(len: u32, around: &[u32], may_be_updates: bool) -> Self {
        let is_short = len < SHORTEST_CALL + around.first().copied().unwrap_or(0);
        let updates = |around: &u32| len.checked_sub(*around).is_some_and(|rest| rest % UPDATE == 0);
        if is_short || (may_be_updates && around.iter().any(updates)) { Self::Little } else { Self::Turn }
    }
}

impl Sealed {
    fn read(&mut self, from_client: bool, piece: Piece<'_>) -> Speaks {
        let Self { client, server, tickets, is_http2_offered } = self;
        if from_client
            && tickets.is_none()
            && let Piece::Data(data) = piece
        {
            *is_http2_offered |= data.windows(OFFER.len()).any(|window| window == OFFER);
        }
        let may_be_updates = *is_http2_offered;
        let records = if from_client { client } else { server };
        if records.is_lost() {
            return Speaks::by(piece.len(), RECORDS, may_be_updates);
        }
        let mut speaks = Speaks::Nothing;
        let bytes = records.take_each(piece, |len| match tickets {
            None if from_client && FINISHED.contains(&len) => *tickets = Some(TICKETS),
            Some(left) if !from_client && *left > 0 && len <= TICKET_MAX => {
                *left -= 1;
                speaks = speaks.max(Speaks::Little);
            }
            _ => speaks = speaks.max(Speaks::by(len, SEALED, may_be_updates)),
        });
        // The rest of a record that began before is no turn of its own.
        if bytes > 0 && !from_client { speaks.max(Speaks::Little) } else { speaks }
    }
}

/// The beginnings of lines.
#[derive(Debug, Default)]
struct LineStart {
    start: [u8; LINE_START],
    have: usize,
    /// Whether enough of the line at hand was seen.
    is_known: bool,
    /// Whether it follows one with something in it, in the same segment.
    is_continued: bool,
}

impl LineStart {
    /// How many requests begin in what comes next. Those that are pipelined follow the empty line that ends the one before; what looks
    /// like one within other lines is content, such as a log of requests.
    fn requests(&mut self, piece: Piece<'_>) -> u32 {
        self.count(piece, false, |start| {
            let is_one = METHODS.iter().any(|method| start.starts_with(method));
            (is_one, is_one || !METHODS.iter().any(|method| method.starts_with(start)))
        })
    }

    /// How many final answers begin in it; 1xx are none (RFC 9110, section 15.2).
    fn answers(&mut self, piece: Piece<'_>) -> u32 {
        self.count(piece, true, |start| {
            let may_be = STATUS.starts_with(start) || start.starts_with(STATUS);
            let is_whole = start.len() == LINE_START;
            (may_be && is_whole && start[LINE_START - 1] != b'1', !may_be || is_whole)
        })
    }

    /// Counts lines of which `judge` says that they are meant, as soon as it says that it knows; `anywhere`, or not behind
    /// others.
    fn count(&mut self, piece: Piece<'_>, anywhere: bool, judge: impl Fn(&[u8]) -> (bool, bool)) -> u32 {
        let Piece::Data(data) = piece else {
            // What comes next is most often the next message.
            *self = Self::default();
            return 0;
        };
        // A body need not end with a line, and most messages begin with a segment.
        if self.is_known || self.have == 0 {
            *self = Self::default();
        }
        let (mut found, mut rest) = (0, data);
        while !rest.is_empty() {
            if self.is_known {
                let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
                rest = &rest[end + 1..];
                let is_empty = end == 0 && self.start[..self.have] == *b"\r";
                (self.have, self.is_known, self.is_continued) = (0, false, !is_empty);
                continue;
            }
            self.start[self.have] = rest[0];
            self.have += 1;
            let ends = rest[0] == b'\n';
            rest = &rest[1..];
            let (is_one, is_known) = judge(&self.start[..self.have]);
            found += u32::from(is_one && (anywhere || !self.is_continued));
            self.is_known = (is_known || self.have == LINE_START) && !ends;
            if ends {
                (self.have, self.is_continued) = (0, self.have > 1);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays what each side says (`>` client, `<` server, `x` bytes lost by the client, `y` by the server); what is told.
    fn check(said: &[(char, &[u8])], expect: &str) {
        let (mut calls, mut told) = (CallStream::default(), String::new());
        let mut say = |call| {
            told.push(match call {
                Call::Opened => 'o',
                Call::Began { counts: true } => 'B',
                Call::Began { counts: false } => 'b',
                Call::Answered => 'a',
                Call::Dropped(_) => 'd',
            });
        };
        calls.opened(&mut say);
        for (who, data) in said {
            let piece = match who {
                '>' | '<' => Piece::Data(data),
                _ => Piece::Lost(100),
            };
            calls.read(matches!(who, '>' | 'x'), piece, &mut say);
        }
        calls.ended().into_iter().for_each(say);
        assert_eq!(told, expect);
    }

    const GET: &[u8] = b"GET /v1/items HTTP/1.1\r\nHost: api.example\r\n\r\n";
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    #[test]
    fn http_requests_and_answers() {
        check(&[('>', GET), ('<', OK), ('>', GET), ('<', OK)], "obaBa");
        check(&[('>', &[GET, GET, GET].concat()), ('<', OK)], "obBBad");
        check(&[('>', b"GE"), ('>', b"T / HTTP/1.1\r\n\r\n")], "obd");
        check(
            &[
                ('>', b"POST / HTTP/1.1\r\n\r\n{\"x\":\n1}"),
                ('<', b"HTTP/1.1 100 Continue\r\n\r\n"),
                ('<', OK),
            ],
            "oba",
        );
        check(&[('>', GET), ('<', b"HTTP/1.1 200 OK\r\n\r\nHTTP/2\nGET /\n")], "oba");
        // A log of requests is shipped.
        let log = [b"POST /logs HTTP/1.1\r\nHost: a\r\n\r\n2 lines\n", GET.trim_ascii_end(), b"\n", GET, GET];
        check(&[('>', &log.concat()), ('<', OK)], "obBad");
    }

    #[test]
    fn answers_stand_for_requests_that_were_cut_off() {
        check(&[('>', GET), ('x', b""), ('<', OK), ('y', b""), ('<', OK), ('<', OK)], "obaBaBa");
    }

    #[test]
    fn turns_are_calls_where_nothing_can_be_read() {
        let (hello, ask, tell) = (record(22, 500), record(23, 100), record(23, 300));
        check(
            &[
                ('>', &hello),
                ('<', &hello),
                ('>', &ask),
                ('>', &ask),
                ('<', &tell),
                ('<', &tell),
                ('>', &ask),
            ],
            "obaBd",
        );
        check(&[('<', b"hello"), ('>', b"a"), ('>', b"b"), ('<', b"c"), ('>', b"d")], "obaBd");
        check(&[], "o");
    }

    /// A record of TLS with so many bytes.
    fn record(kind: u8, len: u16) -> Vec<u8> {
        [&[kind, 3, 3][..], &len.to_be_bytes(), &vec![7; len.into()]].concat()
    }

    #[test]
    fn the_end_of_a_handshake_is_no_call() {
        let data = |len| record(23, len);
        for finished in [53, 69] {
            let (hello, end) = (record(22, 500), data(finished));
            let greeting = [record(22, 122), data(900), data(finished)].concat();
            let (tickets, ask, tell) = ([data(234), data(234)].concat(), data(100), data(300));
            let hands = [('>', &hello[..]), ('<', &greeting)];
            let play = |said: &[(char, &[u8])], expect: &str| check(&[&hands[..], said].concat(), expect);
            // The client waits for what comes after its last word, or does not, or is still asking.
            play(&[('>', &end), ('<', &tickets), ('>', &ask), ('<', &tell)], "oba");
            let both = [end.clone(), ask.clone()].concat();
            play(&[('>', &both), ('<', &tickets), ('<', &tell), ('>', &ask)], "obaBd");
            play(&[('>', &both), ('<', &tickets), ('>', &data(16_401)), ('<', &tell)], "oba");
            // Without tickets, long answers are told as such.
            play(&[('>', &both), ('<', &data(900)), ('>', &ask), ('<', &data(900))], "obaBa");
        }
    }

    #[test]
    fn what_keeps_http2_up_is_no_call() {
        let data = |len| record(23, len);
        let mut hello = record(22, 500);
        hello[300..303].copy_from_slice(OFFER);
        let (ask, body, little, updates) = (data(120), data(8_000), data(26), data(17 + 9 * 13));
        let begin = [('>', &hello[..]), ('<', &hello), ('>', &ask), ('<', &little), ('>', &little)];
        let down = [('<', &body[..]), ('>', &updates), ('<', &body), ('>', &little), ('<', &body)];
        check(&[&begin[..], &down].concat(), "oba");
        check(&[&begin[..], &down, &[('>', &ask), ('<', &body)]].concat(), "obaBa");
        let up = [('>', &body[..]), ('<', &little), ('>', &body), ('<', &little), ('>', &body), ('<', &ask)];
        check(&[&begin[..], &up].concat(), "oba");
        // Who offers nothing speaks HTTP/1.1, at any length.
        let plain = [('>', &record(22, 500)[..]), ('<', &ask), ('>', &ask), ('<', &body)];
        check(&[&plain[..], &[('>', &updates), ('<', &body)]].concat(), "obaBa");
        // The same in the clear, and in a connection that was met in the middle.
        let open = [PREFACE, &[0; 80]].concat();
        let clear = [('>', &open[..]), ('<', &[0; 30]), ('>', &[0; 9]), ('<', &[0; 900]), ('>', &[0; 39])];
        check(&[&clear[..], &[('<', &[0; 900]), ('>', &[0; 60])]].concat(), "obaBd");
        check(
            &[('<', &body), ('>', &updates), ('<', &body), ('>', &little), ('<', &body), ('>', &ask)],
            "obd",
        );
    }
}
