//! HTTP/2 in the clear (RFC 9113), as programs speak it within a data centre, gRPC above all: prior knowledge, or `Upgrade: h2c`.
//!
//! Frames are followed in both directions. Headers that open a stream of the client's are a call; it is answered when the server's
//! first headers come, or either side resets the stream. What comes behind, messages of a stream of gRPC among it, is no call. Where
//! frames cannot be followed any more, since bytes were lost, reading goes on where a segment begins with headers as the client
//! would send them next, or holds two such frames one behind the other, as a client's do that has many to send; from then on calls
//! are counted and no longer told apart by path or host.

use super::super::order::Piece;
use super::hpack::{Asked, Decoder};

/// How a client begins (section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER: usize = 9;
// Types and flags of frames (section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// The flags that headers may have.
const HEADERS_FLAGS: u8 = END_STREAM | END_HEADERS | PADDED | PRIORITY;
/// The most bytes of one block of fields that are put together.
const BLOCK_MAX: usize = 8_192;
/// The most streams of which is known that they wait for an answer. Most servers allow between 100 and 250.
const OPEN_MAX: usize = 256;
/// How far ahead of the last stream one may be that is met after a loss. One further ahead is believed once another follows it.
const AHEAD_MAX: u32 = 2_000;

/// What is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// A call, and what it asks for where that can be read.
    Began(u32, Option<Asked>),
    /// The call of that stream was answered, or given up.
    Ended(u32),
}

/// A frame's header.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    left: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

/// One direction's frames.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; FRAME_HEADER],
    have: usize,
    frame: Frame,
    /// Whether it cannot be told where the next one begins.
    is_lost: bool,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Http2 {
    client: Frames,
    server: Frames,
    /// So much of the preface is still to come.
    preface_left: usize,
    /// `None` once the client's fields cannot be followed.
    decoder: Option<Decoder>,
    /// The block at hand, and the payload of the frame at hand that belongs to it.
    block: Vec<u8>,
    payload: Vec<u8>,
    /// Whether the block at hand opens a stream.
    opens: bool,
    last_stream: u32,
    /// After a loss: the last stream that a segment seemed to begin with, too far ahead to be believed by itself.
    ahead: Option<u32>,
    waiting: Vec<u32>,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            client: Frames::default(),
            server: Frames::default(),
            preface_left: PREFACE.len(),
            decoder: Some(Decoder::default()),
            block: Vec::new(),
            payload: Vec::new(),
            opens: false,
            last_stream: 0,
            ahead: None,
            waiting: Vec::new(),
        }
    }
}

impl Frame {
    fn parse(header: [u8; FRAME_HEADER]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = header;
        Self {
            left: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        }
    }

    fn is_headers(&self) -> bool {
        matches!(self.kind, HEADERS | CONTINUATION)
    }
}

impl Http2 {
    /// Takes what a side says next.
    pub fn take(&mut self, from_client: bool, piece: Piece<'_>, told: &mut impl FnMut(Told)) {
        match piece {
            Piece::Data(data) => self.data(from_client, data, told),
            Piece::Lost(len) => self.lost(from_client, len, told),
        }
    }

    fn data(&mut self, from_client: bool, mut data: &[u8], told: &mut impl FnMut(Told)) {
        if from_client && self.preface_left > 0 {
            let taken = self.preface_left.min(data.len());
            (self.preface_left, data) = (self.preface_left - taken, &data[taken..]);
        }
        let side = if from_client { &mut self.client } else { &mut self.server };
        if side.is_lost {
            let begin = if from_client { self.begins_again(data) } else { None };
            let Some(begin) = begin else { return };
            (self.client, data) = (Frames::default(), &data[begin..]);
        }
        while !data.is_empty() {
            let side = if from_client { &mut self.client } else { &mut self.server };
            if side.frame.left == 0 {
                let taken = data.len().min(FRAME_HEADER - side.have);
                side.header[side.have..side.have + taken].copy_from_slice(&data[..taken]);
                (side.have, data) = (side.have + taken, &data[taken..]);
                if side.have < FRAME_HEADER {
                    return;
                }
                side.have = 0;
                side.frame = Frame::parse(side.header);
                let frame = side.frame;
                self.begun(from_client, frame, told);
                if frame.left == 0 {
                    self.over(from_client, frame, told);
                }
                continue;
            }
            let taken = data.len().min(side.frame.left as usize);
            let frame = side.frame;
            if from_client && frame.is_headers() && self.payload.len() + taken <= BLOCK_MAX {
                self.payload.extend(&data[..taken]);
            } else if from_client && frame.is_headers() {
                self.decoder = None;
            }
            data = &data[taken..];
            self.pass(from_client, u32::try_from(taken).unwrap_or(u32::MAX), told);
        }
    }

    /// Where in a segment the client's frames can be followed again.
    fn begins_again(&mut self, data: &[u8]) -> Option<usize> {
        let first = opening(data).filter(|first| first.stream > self.last_stream);
        if let Some(first) = first {
            let is_next = |last: u32| (1..=AHEAD_MAX).contains(&first.stream.saturating_sub(last));
            if is_next(self.last_stream) || self.ahead.is_some_and(is_next) {
                self.ahead = None;
                return Some(0);
            }
            self.ahead = Some(first.stream);
        }
        // A client with much to send cuts its bytes anywhere: two frames in a row, of a stream and the next, are no chance.
        (0..data.len().saturating_sub(2 * FRAME_HEADER)).find(|at| {
            let one = opening(&data[*at..]).filter(|one| one.stream > self.last_stream);
            let next = one.and_then(|one| {
                let behind = at + FRAME_HEADER + one.left as usize;
                opening(data.get(behind..)?).filter(|next| next.stream == one.stream + 2)
            });
            next.is_some()
        })
    }

    fn lost(&mut self, from_client: bool, len: u32, told: &mut impl FnMut(Told)) {
        let side = if from_client { &mut self.client } else { &mut self.server };
        let is_within = side.have == 0 && side.frame.left > 0 && len <= side.frame.left;
        let frame = side.frame;
        if from_client && (!is_within || frame.is_headers()) {
            self.decoder = None;
        }
        if is_within {
            return self.pass(from_client, len, told);
        }
        if frame.left > 0 {
            self.pass(from_client, frame.left, told);
        }
        let side = if from_client { &mut self.client } else { &mut self.server };
        side.is_lost = true;
        if !from_client {
            // Which of its answers were lost cannot be told; that all still wait would be worse than that none does.
            self.waiting.drain(..).for_each(|stream| told(Told::Ended(stream)));
        }
    }

    /// So many bytes of the frame at hand went by.
    fn pass(&mut self, from_client: bool, len: u32, told: &mut impl FnMut(Told)) {
        let side = if from_client { &mut self.client } else { &mut self.server };
        side.frame.left = side.frame.left.saturating_sub(len);
        if side.frame.left == 0 {
            let frame = side.frame;
            self.over(from_client, frame, told);
        }
    }

    /// A frame's header was read.
    fn begun(&mut self, from_client: bool, frame: Frame, told: &mut impl FnMut(Told)) {
        match (from_client, frame.kind) {
            (true, HEADERS) => {
                self.payload.clear();
                self.block.clear();
                // Streams of a client's are odd and grow (section 5.1.1); headers of an older one are trailers.
                self.opens = frame.stream % 2 == 1 && frame.stream > self.last_stream;
                if self.opens {
                    self.last_stream = frame.stream;
                }
            }
            (true, CONTINUATION) => self.payload.clear(),
            (_, RST_STREAM) | (false, HEADERS) => self.end(frame.stream, told),
            (false, DATA) if frame.flags & END_STREAM != 0 => self.end(frame.stream, told),
            _ => {}
        }
    }

    /// A frame is over.
    fn over(&mut self, from_client: bool, frame: Frame, told: &mut impl FnMut(Told)) {
        if !from_client || !frame.is_headers() {
            return;
        }
        let fragment = fragment(&self.payload, frame).unwrap_or(&[]);
        if self.block.len() + fragment.len() <= BLOCK_MAX {
            self.block.extend(fragment);
        } else {
            self.decoder = None;
        }
        self.payload.clear();
        if frame.flags & END_HEADERS == 0 {
            return;
        }
        let asked = self.decoder.as_mut().map(|decoder| decoder.read(&self.block));
        if matches!(asked, Some(Err(_))) {
            self.decoder = None;
        }
        self.block.clear();
        if std::mem::take(&mut self.opens) {
            told(Told::Began(frame.stream, asked.and_then(Result::ok)));
            if self.waiting.len() < OPEN_MAX && !self.server.is_lost {
                self.waiting.push(frame.stream);
            } else {
                told(Told::Ended(frame.stream));
            }
        }
    }

    fn end(&mut self, stream: u32, told: &mut impl FnMut(Told)) {
        if let Some(place) = self.waiting.iter().position(|waiting| *waiting == stream) {
            self.waiting.swap_remove(place);
            told(Told::Ended(stream));
        }
    }
}

/// Whether a server begins so: some do not wait for the client's preface to send their settings (section 3.4).
pub(super) fn greets(data: &[u8]) -> bool {
    const SETTINGS: u8 = 4;
    data.first_chunk().is_some_and(|header| {
        let frame = Frame::parse(*header);
        frame.kind == SETTINGS
            && frame.flags == 0
            && frame.stream == 0
            && frame.left.is_multiple_of(6)
            && frame.left <= 96
    })
}

/// The fields in the payload of a frame of headers, without padding and priority (section 6.2).
fn fragment(payload: &[u8], frame: Frame) -> Option<&[u8]> {
    if frame.kind == CONTINUATION {
        return Some(payload);
    }
    let (padding, rest) = match frame.flags & PADDED {
        0 => (0, payload),
        _ => payload.split_first().map(|(len, rest)| (usize::from(*len), rest))?,
    };
    let rest = if frame.flags & PRIORITY == 0 { rest } else { rest.get(5..)? };
    rest.get(..rest.len().checked_sub(padding)?)
}

/// The frame that `data` begins with, where it is headers that may open a stream of a client's.
fn opening(data: &[u8]) -> Option<Frame> {
    let frame = Frame::parse(*data.first_chunk()?);
    let opens = frame.kind == HEADERS
        && frame.flags & !HEADERS_FLAGS == 0
        && frame.left <= BLOCK_MAX as u32
        && frame.stream % 2 == 1;
    opens.then_some(frame)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame.
    pub(in super::super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// The fields of `GET path` at `authority`, none of them kept.
    pub(in super::super) fn fields(method: u8, authority: &str, path: &str) -> Vec<u8> {
        let text = |index: u8, text: &str| [&[index, text.len() as u8], text.as_bytes()].concat();
        [&[method, 0x86][..], &text(0x01, authority), &text(0x04, path)].concat()
    }

    const GET: u8 = 0x82;

    fn play(said: &[(bool, Piece<'_>)]) -> String {
        let (mut http2, mut text) = (Http2::default(), String::new());
        for (from_client, piece) in said {
            http2.take(*from_client, *piece, &mut |told| match told {
                Told::Began(stream, asked) => {
                    let path = asked.map_or("?".into(), |asked| String::from_utf8(asked.path).unwrap());
                    text.push_str(&format!("+{stream}{path} "));
                }
                Told::Ended(stream) => text.push_str(&format!("-{stream} ")),
            });
        }
        text
    }

    fn session() -> (Vec<u8>, Vec<u8>) {
        let ask = |stream, path: &str| frame(HEADERS, END_HEADERS, stream, &fields(GET, "a.example", path));
        let padded = [&[3][..], &[0, 0, 0, 0, 16], &fields(GET, "a.example", "/p"), &[0; 3]].concat();
        let parts = fields(GET, "a.example", "/continued");
        let client = [
            PREFACE.to_vec(),
            frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]),
            ask(1, "/v1/a"),
            frame(DATA, END_STREAM, 1, b"body with PRI and \0\0\x05\x01\x04\0\0\0\x09aaaaa"),
            frame(HEADERS, END_HEADERS | PADDED | PRIORITY | END_STREAM, 3, &padded),
            frame(HEADERS, END_STREAM, 5, &parts[..6]),
            frame(CONTINUATION, END_HEADERS, 5, &parts[6..]),
            // Trailers, upkeep, and a call that is given up.
            frame(HEADERS, END_HEADERS | END_STREAM, 3, &fields(GET, "a", "/trailer")),
            frame(6, 0, 0, &[0; 8]),
            frame(8, 0, 1, &[0, 0, 1, 0]),
            ask(7, "/given-up"),
            frame(RST_STREAM, 0, 7, &[0, 0, 0, 8]),
        ];
        let server = [
            frame(4, 0, 0, &[]),
            frame(HEADERS, END_HEADERS, 1, &[0x88]),
            frame(DATA, 0, 1, &[7; 600]),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x88]),
            frame(HEADERS, END_HEADERS | END_STREAM, 5, &[0x88]),
            frame(RST_STREAM, 0, 3, &[0; 4]),
        ];
        (client.concat(), server.concat())
    }

    #[test]
    fn streams_are_calls_and_what_is_in_them_is_not() {
        let (client, server) = session();
        for step in [1, 5, 9, 100, 10_000] {
            let said: Vec<(bool, Piece<'_>)> = client
                .chunks(step)
                .map(|part| (true, Piece::Data(part)))
                .chain(server.chunks(step).map(|part| (false, Piece::Data(part))))
                .collect();
            assert_eq!(play(&said), "+1/v1/a +3/p +5/continued +7/given-up -7 -1 -5 -3 ", "steps of {step}");
        }
    }

    #[test]
    fn calls_are_counted_though_something_was_lost() {
        let ask = |stream| frame(HEADERS, END_HEADERS, stream, &fields(GET, "a.example", "/v1/"));
        let begin = [PREFACE.to_vec(), ask(1), frame(DATA, 0, 1, &[1; 500])].concat();
        let (first, next) = (begin.len() - 400, [ask(3), ask(5)].concat());
        let (client, next) = (Piece::Data(&begin[..first]), Piece::Data(&next));
        // Within a frame, nothing is lost; beyond it, fields cannot be followed.
        assert_eq!(play(&[(true, client), (true, Piece::Lost(400)), (true, next)]), "+1/v1/ +3/v1/ +5/v1/ ");
        let middle = [7; 300];
        let astray = Piece::Data(&middle);
        let said = [(true, client), (true, Piece::Lost(900)), (true, astray), (true, next)];
        assert_eq!(play(&said), "+1/v1/ +3? +5? ");
        let said = [(true, client), (false, Piece::Lost(900)), (true, Piece::Lost(400)), (true, next)];
        assert_eq!(play(&said), "+1/v1/ -1 +3/v1/ -3 +5/v1/ -5 ");
    }

    #[test]
    fn a_client_in_a_hurry_is_followed_again_after_any_loss() {
        let ask = |stream| frame(HEADERS, END_HEADERS, stream, &fields(GET, "a.example", "/v1/"));
        let begin = [PREFACE.to_vec(), ask(1)].concat();
        let counted = |segments: &[&[u8]]| {
            let said = [(true, Piece::Data(&begin)), (true, Piece::Lost(900_000))];
            let segments = segments.iter().map(|segment| (true, Piece::Data(segment)));
            play(&said.into_iter().chain(segments).collect::<Vec<_>>()).matches('?').count()
        };
        // Ten thousand calls were lost, and segments end anywhere in a frame.
        let many: Vec<u8> = (10_001..10_101).step_by(2).flat_map(ask).collect();
        for cut in 1..60 {
            let calls = counted(&[&many[cut..1_000], &many[1_000..]]);
            assert!((47..=50).contains(&calls), "{calls} calls, cut at {cut}");
        }
        // One call a segment: the second is believed.
        assert_eq!(counted(&[&ask(20_001), &ask(20_003), &ask(20_005)]), 2);
        // What only looks like one is not, and streams do not go back.
        assert_eq!(counted(&[&ask(20_001), &ask(90_001), &ask(30_001)]), 0);
        assert_eq!(counted(&[&[&[9, 9][..], &ask(9), &[7; 40]].concat()]), 0);
        assert_eq!(counted(&[&[ask(1), ask(1)].concat(), &ask(1)]), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(
            pieces in prop::collection::vec((any::<bool>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..80)), 0..40),
            at in 0_usize..200,
        ) {
            let (mut http2, (client, _)) = (Http2::default(), session());
            http2.take(true, Piece::Data(&client[..at]), &mut |_| ());
            for (from_client, is_lost, data) in pieces {
                let len = data.len() as u32;
                let piece = if is_lost { Piece::Lost(len) } else { Piece::Data(&data) };
                http2.take(from_client, piece, &mut |_| ());
                prop_assert!(http2.waiting.len() <= OPEN_MAX && http2.block.len() <= BLOCK_MAX);
            }
        }
    }
}
