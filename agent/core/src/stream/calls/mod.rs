//! Calls to protected endpoints, in one connection over TCP.
//!
//! **HTTP/1.1** ([`http1`]): a head with a method is a request, one with a status is its answer; requests may be pipelined. Where
//! the capture cut requests off, their answers are counted instead. What a connection becomes by `Upgrade` or `CONNECT` is
//! one call. **HTTP/2 in the clear** ([`http2`]), gRPC among it: a stream of the client's is a call. **TLS** ([`sealed`]): turns of encrypted records.
//! **Anything else**: a call is a turn, in which the client speaks after the server did.
//!
//! A connection is a call in itself; its first request is that call. For which endpoint a call is ([`tally`]) its address tells, or
//! the name and path that it says: in the clear each request's own, in TLS that of the client's hello for all.
//! Bodies are passed over and not kept.

mod hpack;
mod http1;
mod http2;
mod sealed;
mod tally;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::order::Piece;
use super::sites::{Asked, Look};
use super::tls;
use http1::{After, Head, Kind, Messages};
use http2::{Http2, Told};
use sealed::{Sealed, Speaks};
pub(super) use tally::{Site, Tally};

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

/// The content type of a handshake's record, with which TLS begins.
const HANDSHAKE: u8 = 22;
/// The most requests of which is known that they wait for an answer.
const WAITING_MAX: usize = 256;

/// What a connection speaks.
#[derive(Debug, Default)]
enum Language {
    /// Nobody has said enough yet; what the client said.
    #[default]
    Unknown,
    /// What the client said does not tell yet.
    Begun(Vec<u8>),
    Http1(Box<Http1>),
    Http2(Box<Http2>, Vec<(u32, Option<usize>)>),
    /// Turns of encrypted records.
    Tls(Box<Sealed>),
    /// Turns of anything.
    Turns,
    /// Turns of TLS that was met in the middle.
    Middle,
    /// What was agreed upon in a call, which it belongs to.
    Agreed,
}

/// Both directions of HTTP/1.1.
#[derive(Debug)]
struct Http1 {
    client: Messages,
    server: Messages,
    waiting: VecDeque<Waiting>,
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    place: Option<usize>,
    is_head: bool,
    is_connect: bool,
}

/// One connection's calls.
#[derive(Debug)]
pub(super) struct CallStream {
    language: Language,
    tally: Tally,
    /// Whether the client has spoken since the server did.
    is_turn_taken: bool,
}

impl CallStream {
    pub fn new(look: Look) -> Self {
        Self { language: Language::Unknown, tally: Tally::new(look), is_turn_taken: false }
    }

    /// Whether nothing of the connection is of interest.
    pub fn is_nobodys(&self) -> bool {
        self.tally.is_nobodys()
    }

    /// The server answered the opening.
    pub fn opened(&mut self, say: &mut impl FnMut(usize, Call)) {
        if matches!(self.language, Language::Unknown) {
            self.tally.opened(say);
        }
    }

    /// Takes what a side says.
    pub fn read(
        &mut self,
        from_client: bool,
        piece: Piece<'_>,
        site: Site<'_>,
        say: &mut impl FnMut(usize, Call),
    ) {
        let begun: Vec<u8>;
        let mut piece = piece;
        if let (Language::Begun(before), Piece::Data(data), true) = (&mut self.language, piece, from_client) {
            before.extend(data);
            begun = std::mem::take(before);
            (self.language, piece) = (Language::Unknown, Piece::Data(&begun));
        }
        if matches!(self.language, Language::Unknown | Language::Begun(_)) {
            let Piece::Data(data) = piece else { return };
            self.language = language(from_client, data);
            match self.language {
                Language::Turns | Language::Middle => self.tally.settle(site, None, say),
                _ => {}
            }
        }
        let Self { language, tally, is_turn_taken } = self;
        let (speaks, further) = match language {
            Language::Unknown | Language::Begun(_) | Language::Agreed => return,
            Language::Http1(http1) => {
                if let Some((next, rest)) = http1.read(from_client, piece, site, tally, say) {
                    self.language = next;
                    if !rest.is_empty() {
                        self.read(from_client, Piece::Data(rest), site, say);
                    }
                }
                return;
            }
            Language::Http2(http2, places) => {
                http2.take(from_client, piece, &mut |told| stream(told, places, site, tally, say));
                return;
            }
            Language::Tls(sealed) => {
                if from_client && let Some(hello) = sealed.greet(piece) {
                    tally.settle(site, hello.name.as_deref(), say);
                }
                let heard = sealed.read(from_client, piece);
                if sealed.is_other() {
                    // What is said is no call any more, and answers what was.
                    *is_turn_taken = true;
                }
                (heard.speaks, heard.further)
            }
            Language::Turns => (Speaks::Turn, 0),
            Language::Middle => (Speaks::in_the_middle(piece.len()), 0),
        };
        self.turn(from_client, speaks, say);
        let place = self.tally.usual_place();
        for _ in 0..further {
            self.tally.begin(place, say);
            self.tally.answer(place, say);
        }
    }

    /// What is to be said of calls in flight now that the connection is over.
    pub fn ended(&self, say: impl FnMut(usize, Call)) {
        self.tally.ended(say);
    }

    fn turn(&mut self, from_client: bool, speaks: Speaks, say: &mut impl FnMut(usize, Call)) {
        let place = self.tally.usual_place();
        match (speaks, from_client) {
            (Speaks::Nothing, _) | (Speaks::Little, true) => {}
            (Speaks::Turn, true) => {
                if !std::mem::replace(&mut self.is_turn_taken, true) {
                    self.tally.begin(place, say);
                }
            }
            (speaks, false) => {
                self.is_turn_taken &= speaks == Speaks::Little;
                self.tally.answer(place, say);
            }
        }
    }
}

/// What is spoken in a connection in which `data` is said first.
fn language(from_client: bool, data: &[u8]) -> Language {
    let is_short = data.len() < 8;
    let http1 = || {
        let (client, server) = (Messages::new(Kind::Requests), Messages::new(Kind::Answers));
        Box::new(Http1 { client, server, waiting: VecDeque::new() })
    };
    if from_client && data.first() == Some(&HANDSHAKE) {
        Language::Tls(Box::default())
    } else if tls::is_record(data) {
        Language::Middle
    } else if !from_client && data.starts_with(b"HTTP/1.") {
        let mut met = http1();
        met.client.has_gaps = true;
        Language::Http1(met)
    } else if !from_client && http2::greets(data) {
        Language::Http2(Box::default(), Vec::new())
    } else if !from_client {
        Language::Turns
    } else if http1::is_request(data) {
        Language::Http1(http1())
    } else if data.starts_with(&http2::PREFACE[..8]) {
        Language::Http2(Box::default(), Vec::new())
    } else if is_short && (http1::may_be_request(data) || http2::PREFACE.starts_with(data)) {
        Language::Begun(data.to_vec())
    } else {
        Language::Turns
    }
}

/// Takes what was told of a stream of HTTP/2.
fn stream(
    told: Told,
    places: &mut Vec<(u32, Option<usize>)>,
    site: Site<'_>,
    tally: &mut Tally,
    say: &mut impl FnMut(usize, Call),
) {
    match told {
        Told::Began(id, asked) => {
            let place = match &asked {
                Some(asked) => {
                    let known = |text: &'_ Vec<u8>| !text.is_empty();
                    let host = Some(&asked.authority).filter(|text| known(text)).map(Vec::as_slice);
                    let path = Some(&asked.path).filter(|text| known(text)).map(Vec::as_slice);
                    let is_sending = Some(http1::is_sending(&asked.method));
                    tally.place_of(site, Asked { host, path, is_sending })
                }
                None => tally.usual_place(),
            };
            places.push((id, place));
            tally.begin(place, say);
        }
        Told::Ended(id) => {
            if let Some(at) = places.iter().position(|(known, _)| *known == id) {
                let (_, place) = places.swap_remove(at);
                tally.answer(place, say);
            }
        }
    }
}

impl Http1 {
    /// Takes what a side says. If that agrees on something else: what, and what is said in it already.
    fn read<'d>(
        &mut self,
        from_client: bool,
        piece: Piece<'d>,
        site: Site<'_>,
        tally: &mut Tally,
        say: &mut impl FnMut(usize, Call),
    ) -> Option<(Language, &'d [u8])> {
        let Self { client, server, waiting } = self;
        if from_client {
            client.take(piece, |head| {
                let place = tally.place_of(site, asked(head));
                tally.begin(place, say);
                if waiting.len() < WAITING_MAX {
                    let Head { is_head, is_connect, .. } = *head;
                    waiting.push_back(Waiting { place, is_head, is_connect });
                } else {
                    tally.answer(place, say);
                }
                After::Body
            });
            return None;
        }
        let (has_gaps, mut is_http2) = (client.has_gaps, false);
        let rest = server.take(piece, |head| {
            // RFC 9110, section 15.2: what is not the last answer.
            if matches!(head.status, 100 | 102..=199) {
                return After::Nothing;
            }
            let asked = waiting.pop_front();
            if asked.is_none() && has_gaps {
                // An answer to a request that nobody saw.
                tally.begin(tally.usual_place(), say);
            }
            tally.answer(asked.map_or_else(|| tally.usual_place(), |asked| asked.place), say);
            let (is_head, is_connect) =
                asked.map_or((false, false), |asked| (asked.is_head, asked.is_connect));
            match head.status {
                101 => {
                    is_http2 = head.upgrades_to_http2;
                    After::Other
                }
                200..=299 if is_connect => After::Other,
                204 | 304 => After::Nothing,
                _ if is_head => After::Nothing,
                _ => After::Body,
            }
        })?;
        let next = if is_http2 { Language::Http2(Box::default(), Vec::new()) } else { Language::Agreed };
        Some((next, rest))
    }
}

/// What a request says of itself.
fn asked(head: &Head) -> Asked<'_> {
    Asked {
        host: Some(head.host.as_slice()).filter(|host| !host.is_empty()),
        path: Some(head.path.as_slice()).filter(|path| !path.is_empty()),
        is_sending: Some(head.is_sending),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::hello::tests::{client_hello, records};
    use super::super::sites::Sites;
    use super::http2::tests::{fields, frame};
    use super::*;

    /// Plays what each side says (`>` client, `<` server, `x` bytes lost by the client, `y` by the server); what is told.
    fn check(said: &[(char, &[u8])], expect: &str) {
        let (mut calls, mut told) = (CallStream::new(Look::Certain(0)), String::new());
        let (sites, remote) = (Sites::default(), (IpAddr::from([20, 0, 0, 1]), 80));
        let site = Site { sites: &sites, remote };
        let mut say = |place, call| {
            assert_eq!(place, 0);
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
            calls.read(matches!(who, '>' | 'x'), piece, site, &mut say);
        }
        calls.ended(say);
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
        // A log of requests is shipped, and one of answers fetched; without a length nothing is read till the next segment.
        let log = [GET, GET].concat();
        let post = format!("POST /logs HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", log.len());
        check(&[('>', &[post.as_bytes(), &log, GET].concat()), ('<', OK), ('<', OK)], "obBaa");
        check(
            &[('>', &[b"POST /logs HTTP/1.1\r\n\r\n2 lines\n", GET].concat()), ('<', OK), ('>', GET)],
            "obaBd",
        );
        let answers = [b"HTTP/1.1 200 OK\r\n\r\n", OK, OK].concat();
        check(&[('>', GET), ('<', &answers)], "oba");
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
        let hello = records(&client_hello(None, &[b"h2", b"http/1.1"], 200), 16_000);
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
        // In a connection that was met in the middle.
        check(
            &[('<', &body), ('>', &updates), ('<', &body), ('>', &little), ('<', &body), ('>', &ask)],
            "obd",
        );
    }

    #[test]
    fn what_a_call_agrees_upon_belongs_to_it() {
        let ask = b"GET /chat HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let agree = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi";
        check(&[('>', ask), ('<', agree), ('>', b"\x81\x82aaaahi"), ('<', b"\x81\x02hi"), ('>', GET)], "oba");
        let connect = b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n";
        check(&[('>', connect), ('<', b"HTTP/1.1 200 OK\r\n\r\n"), ('>', GET), ('<', OK), ('>', GET)], "oba");
        // The answer to HEAD has a length and no body, that to GET in two segments has one.
        let head = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
        let long = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n";
        check(&[('>', head), ('<', long), ('>', GET), ('<', OK)], "obaBa");
        check(&[('>', GET), ('<', long), ('<', OK), ('>', GET), ('y', b"")], "obaBd");
    }

    /// What is told of HTTP/2 in the clear, agreed upon or known before.
    #[test]
    fn streams_of_http2_are_calls() {
        let ask = |id| frame(1, 4, id, &fields(0x82, "api.example", "/v1/items"));
        let (tell, message) = (|id| frame(1, 4, id, &[0x88]), |id| frame(0, 0, id, &[0; 40]));
        let begin = [http2::PREFACE, &frame(4, 0, 0, &[]), &ask(1), &ask(3)].concat();
        check(&[('>', &begin), ('<', &[tell(1), tell(3)].concat()), ('>', &ask(5))], "obBaaBd");
        // A server that does not wait for its client.
        check(&[('<', &frame(4, 0, 0, &[0; 12])), ('>', &begin), ('<', &tell(1)), ('<', &tell(3))], "obBaa");
        // Messages that go to and fro in one stream are one call.
        let chat: Vec<(char, Vec<u8>)> =
            (0..20).flat_map(|_| [('>', message(1)), ('<', message(1))]).collect();
        let begin = [http2::PREFACE, &ask(1)].concat();
        let mut said: Vec<(char, &[u8])> = vec![('>', &begin), ('<', b"")];
        let first = tell(1);
        said[1] = ('<', &first);
        said.extend(chat.iter().map(|(who, data)| (*who, data.as_slice())));
        check(&said, "oba");
        let upgrade = b"GET /v1/items HTTP/1.1\r\nHost: api.example\r\nUpgrade: h2c\r\n\r\n";
        let agree = [&b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"[..], &tell(1)].concat();
        let then = [http2::PREFACE, &ask(3)].concat();
        check(&[('>', upgrade), ('<', &agree), ('>', &then), ('<', &tell(3))], "obaBa");
    }

    #[test]
    fn several_calls_of_one_turn_are_told_where_they_are_answered() {
        let data = |len| record(23, len);
        let hello = records(&client_hello(Some(b"api.example"), &[b"h2"], 0), 16_000);
        let count = |said: &[(char, &[u8])]| {
            let (sites, remote) = (Sites::default(), (IpAddr::from([20, 0, 0, 1]), 443));
            let (mut calls, mut number) = (CallStream::new(Look::Certain(0)), 0);
            for (who, bytes) in [('>', &hello[..]), ('<', &hello)].iter().chain(said) {
                calls.read(
                    *who == '>',
                    Piece::Data(bytes),
                    Site { sites: &sites, remote },
                    &mut |_, call| {
                        number += u32::from(matches!(call, Call::Began { .. }));
                    },
                );
            }
            number
        };
        let (ask, tell) = (data(90), data(300));
        let (asks, tells) = (ask.repeat(20), tell.repeat(20));
        // All but two, since answers of two records each would look so too.
        assert_eq!(count(&[('>', &asks), ('<', &tells)]), 19);
        assert_eq!(count(&[('>', &asks), ('<', &tell)]), 1);
        // Headers and bodies by turns.
        let posted = [data(60), data(200)].concat().repeat(10);
        assert_eq!(count(&[('>', &posted), ('<', &tells)]), 10);
        // A few bytes of headers, the others having been sent before; acknowledgments, updates and pings beside.
        let short = data(17 + 23).repeat(10);
        assert_eq!(count(&[('>', &short), ('<', &tells)]), 10);
        let upkeep: Vec<u8> = [9, 13, 17, 22, 26].iter().flat_map(|len| data(17 + len)).collect();
        assert_eq!(count(&[('>', &ask), ('<', &tells), ('>', &upkeep), ('<', &tells), ('>', &upkeep)]), 1);
        // One that posts, in records of headers and a body, however often.
        let post = [data(120), data(200)].concat();
        let posts = [('>', &post[..]), ('<', &tells)].repeat(5);
        assert_eq!(count(&posts), 5);
        // An upload, and a download with its upkeep.
        let upload = data(1_400).repeat(30);
        assert_eq!(count(&[('>', &ask), ('>', &upload), ('<', &tells)]), 1);
        let updates = data(17 + 13).repeat(30);
        assert_eq!(count(&[('>', &ask), ('<', &tells), ('>', &updates), ('<', &tells), ('>', &updates)]), 1);
    }

    #[test]
    fn messages_of_something_else_inside_tls_are_no_calls() {
        let (hello, data) = (records(&client_hello(None, &[b"http/1.1"], 0), 16_000), |len| record(23, len));
        let (ask, agree, message, short) = (data(300), data(200), data(80), data(50));
        let mut said: Vec<(char, &[u8])> = vec![('>', &hello), ('<', &hello), ('>', &ask), ('<', &agree)];
        for _ in 0..50 {
            said.extend([('>', &message[..]), ('<', &short)]);
        }
        // The first ones may still be requests.
        check(&said, "obaBaBa");
    }

    proptest::proptest! {
        /// However both sides' bytes are cut, the same calls are told, in whatever is spoken.
        #[test]
        fn cuts_do_not_matter(steps in proptest::collection::vec(1_usize..90, 1..30), which in 0_usize..3) {
            let ask = |id| frame(1, 4, id, &fields(0x82, "api.example", "/v1/items"));
            let post = b"POST /v1/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nGET \r\n0\r\n\r\n";
            let (client, server, expect) = match which {
                0 => ([GET, post, GET].concat(), OK.repeat(3), 3),
                1 => ([http2::PREFACE, &ask(1), &ask(3), &frame(0, 1, 3, &[0; 300]), &ask(5)].concat(),
                      [frame(1, 4, 1, &[0x88]), frame(1, 5, 5, &[0x88]), frame(3, 0, 3, &[0; 4])].concat(), 3),
                _ => ([records(&client_hello(None, &[b"h2"], 40), 90), record(23, 90)].concat(), record(23, 300), 1),
            };
            let (sites, remote) = (Sites::default(), (IpAddr::from([20, 0, 0, 1]), 80));
            let site = Site { sites: &sites, remote };
            let (mut calls, mut begun, mut answered) = (CallStream::new(Look::Certain(0)), 0, 0);
            let mut say = |_, call| match call {
                Call::Began { .. } => begun += 1,
                Call::Answered => answered += 1,
                other => panic!("{other:?}"),
            };
            for (from_client, mut rest) in [(true, &client[..]), (false, &server[..])] {
                for step in steps.iter().cycle() {
                    let (part, left) = rest.split_at((*step).min(rest.len()));
                    calls.read(from_client, Piece::Data(part), site, &mut say);
                    rest = left;
                    if rest.is_empty() {
                        break;
                    }
                }
            }
            proptest::prop_assert_eq!((begun, answered), (expect, expect));
        }

        #[test]
        fn any_bytes_are_read(
            pieces in proptest::collection::vec((proptest::bool::ANY, proptest::collection::vec(proptest::num::u8::ANY, 0..60)), 0..30),
            begin in 0_usize..4,
        ) {
            let begins = [b"GET / HTTP/1.1\r\n".to_vec(), http2::PREFACE.to_vec(), record(22, 60), Vec::new()];
            let (sites, remote) = (Sites::default(), (IpAddr::from([20, 0, 0, 1]), 80));
            let site = Site { sites: &sites, remote };
            let mut calls = CallStream::new(Look::Certain(0));
            calls.read(true, Piece::Data(&begins[begin]), site, &mut |_, _| ());
            for (from_client, data) in pieces {
                let piece = if data.len() == 7 { Piece::Lost(900) } else { Piece::Data(&data) };
                calls.read(from_client, piece, site, &mut |_, _| ());
            }
        }
    }
}
