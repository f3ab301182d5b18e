//! Calls to a protected endpoint, in one connection.
//!
//! **HTTP/1.1** (RFC 9112): a line that begins with a method is a request, one that begins with a status is its answer; requests may
//! be pipelined. Where the capture cut requests off, their answers are counted instead. **Anything else**, TLS included: a
//! call is a turn, in which the client speaks after the server did; in TLS only application data counts. What is multiplexed (HTTP/2)
//! is thus underestimated, never overestimated.
//!
//! A connection is a call in itself; its first request is that call. Bodies are looked over for lines and not kept.

use serde::{Deserialize, Serialize};

use super::order::Piece;
use super::tls::Records;

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

/// What a connection speaks.
#[derive(Debug, Default)]
enum Language {
    /// Nobody has spoken yet.
    #[default]
    Unknown,
    /// Requests and answers in lines.
    Http { client: LineStart, server: LineStart },
    /// Turns of encrypted records.
    Tls { client: Records, server: Records },
    /// Turns of anything.
    Turns,
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
            if !from_client {
                self.language = Language::Turns;
            } else if data.first() == Some(&HANDSHAKE) {
                self.language = Language::Tls { client: Records::default(), server: Records::default() };
            } else if METHODS.iter().any(|method| data.starts_with(method)) {
                self.language = Language::Http { client: LineStart::default(), server: LineStart::default() };
            } else {
                self.language = Language::Turns;
            }
        }
        let spoke = match &mut self.language {
            Language::Unknown => return,
            Language::Http { client, server } => {
                let (requests, answers) =
                    if from_client { (client.requests(piece), 0) } else { (0, server.answers(piece)) };
                (0..requests).for_each(|_| self.begin(say));
                (0..answers).for_each(|_| self.answer(say));
                return;
            }
            Language::Tls { client, server } => {
                let records = if from_client { client } else { server };
                records.take(piece) > 0 || records.is_lost()
            }
            Language::Turns => true,
        };
        match (spoke, from_client) {
            (false, _) => {}
            (true, true) if !self.is_turn_taken => {
                self.is_turn_taken = true;
                self.begin(say);
            }
            (true, true) => {}
            (true, false) => {
                self.is_turn_taken = false;
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

/// The beginnings of lines.
#[derive(Debug, Default)]
struct LineStart {
    start: [u8; LINE_START],
    have: usize,
    /// Whether enough of the line at hand was seen.
    is_known: bool,
}

impl LineStart {
    /// How many requests begin in what comes next.
    fn requests(&mut self, piece: Piece<'_>) -> u32 {
        self.count(piece, |start| {
            let is_one = METHODS.iter().any(|method| start.starts_with(method));
            (is_one, is_one || !METHODS.iter().any(|method| method.starts_with(start)))
        })
    }

    /// How many final answers begin in it; 1xx are none (RFC 9110, section 15.2).
    fn answers(&mut self, piece: Piece<'_>) -> u32 {
        self.count(piece, |start| {
            let may_be = STATUS.starts_with(start) || start.starts_with(STATUS);
            let is_whole = start.len() == LINE_START;
            (may_be && is_whole && start[LINE_START - 1] != b'1', !may_be || is_whole)
        })
    }

    /// Counts lines of which `judge` says that they are meant, as soon as it says that it knows.
    fn count(&mut self, piece: Piece<'_>, judge: impl Fn(&[u8]) -> (bool, bool)) -> u32 {
        let Piece::Data(data) = piece else {
            // What comes next is most often the next message.
            (self.have, self.is_known) = (0, false);
            return 0;
        };
        // A body need not end with a line, and most messages begin with a segment.
        if self.is_known {
            (self.have, self.is_known) = (0, false);
        }
        let (mut found, mut rest) = (0, data);
        while !rest.is_empty() {
            if self.is_known {
                let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
                rest = &rest[end + 1..];
                (self.have, self.is_known) = (0, false);
                continue;
            }
            self.start[self.have] = rest[0];
            self.have += 1;
            let ends = rest[0] == b'\n';
            rest = &rest[1..];
            let (is_one, is_known) = judge(&self.start[..self.have]);
            found += u32::from(is_one);
            self.is_known = (is_known || self.have == LINE_START) && !ends;
            if ends {
                self.have = 0;
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
    }

    #[test]
    fn answers_stand_for_requests_that_were_cut_off() {
        check(&[('>', GET), ('x', b""), ('<', OK), ('y', b""), ('<', OK), ('<', OK)], "obaBaBa");
    }

    #[test]
    fn turns_are_calls_where_nothing_can_be_read() {
        let hello: &[u8] = &[22, 3, 1, 0, 2, 1, 1];
        let data: &[u8] = &[23, 3, 3, 0, 2, 1, 1];
        check(
            &[('>', hello), ('<', hello), ('>', data), ('>', data), ('<', data), ('<', data), ('>', data)],
            "obaBd",
        );
        check(&[('<', b"hello"), ('>', b"a"), ('>', b"b"), ('<', b"c"), ('>', b"d")], "obaBd");
        check(&[], "o");
    }
}
