//! HTTP/1.1 (RFC 9110, RFC 9112), one direction: the heads of messages, and where their bodies end.
//!
//! A head is read line by line: its first line, and of its fields the few that tell whom it is for and how long its body is. Bodies are
//! passed over by their length or chunk by chunk, so that nothing in them is taken for a message. Where something was lost, or is
//! not HTTP, nothing is read until a segment begins with a message again: most do.

use super::super::order::Piece;

/// As much of a line as is kept: a path's beginning, a host and their like stand within that.
const LINE_MAX: usize = 512;
/// The longest host name (RFC 1035, section 2.3.4), and a port behind it.
const HOST_MAX: usize = 255 + 6;
/// As much of a path as a policy may name.
const PATH_MAX: usize = 64;

/// Methods (RFC 9110, RFC 5789; RFC 4918 and others of WebDAV are left out).
const METHODS: [&[u8]; 9] =
    [b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"PATCH", b"OPTIONS", b"CONNECT", b"TRACE"];
const VERSION: &[u8] = b"HTTP/1.";

/// Whether a message may begin here.
pub(super) fn is_request(data: &[u8]) -> bool {
    METHODS.iter().any(|method| data.strip_prefix(*method).is_some_and(|rest| rest.first() == Some(&b' ')))
}

/// Whether `data` may become the beginning of one.
pub(super) fn may_be_request(data: &[u8]) -> bool {
    METHODS.iter().any(|method| method.starts_with(data))
}

/// Whether a request sends something rather than asks.
pub(super) fn is_sending(method: &[u8]) -> bool {
    matches!(method, b"POST" | b"PUT" | b"PATCH")
}

/// A message's head.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Whether its first line was read.
    is_begun: bool,
    /// Of a request: its method, the beginning of its path, its host.
    pub is_head: bool,
    pub is_connect: bool,
    pub is_sending: bool,
    pub path: Vec<u8>,
    pub host: Vec<u8>,
    /// Of an answer: its status.
    pub status: u16,
    /// Whether another protocol is agreed upon, and whether it is HTTP/2.
    pub upgrades_to_http2: bool,
    length: Option<u64>,
    is_chunked: bool,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// What its fields say.
    Body,
    /// No body, whatever its fields say.
    Nothing,
    /// Something else than HTTP/1.1.
    Other,
}

/// Which messages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Requests,
    Answers,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    Fields,
    Body(u64),
    ChunkSize,
    Chunk(u64),
    Trailer,
    ToTheEnd,
    /// Waiting for a segment that begins with a message.
    Astray,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Messages {
    kind: Kind,
    state: State,
    /// The line at hand, as far as it came in segments before.
    line: Vec<u8>,
    head: Head,
    /// Whether some message may not have been seen.
    pub has_gaps: bool,
}

impl Messages {
    pub fn new(kind: Kind) -> Self {
        Self { kind, state: State::Start, line: Vec::new(), head: Head::default(), has_gaps: false }
    }

    /// Takes what comes next, and tells of each head when it is over. What `told` says follows; after [`After::Other`] the rest
    /// of the bytes is handed back.
    pub fn take<'d>(&mut self, piece: Piece<'d>, mut told: impl FnMut(&Head) -> After) -> Option<&'d [u8]> {
        let mut data = match piece {
            Piece::Data(data) => data,
            Piece::Lost(len) => {
                self.lost(len.into(), &mut told);
                return None;
            }
        };
        if self.state == State::Astray {
            if !self.begins(data) {
                return None;
            }
            self.state = State::Start;
        }
        while !data.is_empty() {
            match &mut self.state {
                State::Body(left) | State::Chunk(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
                    data = &data[taken..];
                    self.pass(taken as u64);
                }
                State::ToTheEnd | State::Astray => return None,
                State::Start | State::Fields | State::ChunkSize | State::Trailer => {
                    let (part, rest, is_whole) = match data.iter().position(|byte| *byte == b'\n') {
                        Some(end) => (&data[..end], &data[end + 1..], true),
                        None => (data, &data[data.len()..], false),
                    };
                    data = rest;
                    if !is_whole || !self.line.is_empty() {
                        self.line.extend(&part[..part.len().min(LINE_MAX - self.line.len())]);
                    }
                    if !is_whole {
                        if self.state == State::Start && !self.may_begin() {
                            self.go_astray();
                        }
                        return None;
                    }
                    let kept = std::mem::take(&mut self.line);
                    let line = if kept.is_empty() { &part[..part.len().min(LINE_MAX)] } else { &kept };
                    let after = self.take_line(line.strip_suffix(b"\r").unwrap_or(line), &mut told);
                    self.line = kept;
                    self.line.clear();
                    if after == Some(After::Other) {
                        return Some(data);
                    }
                }
            }
        }
        None
    }

    /// Whether a message begins with `data`.
    fn begins(&self, data: &[u8]) -> bool {
        match self.kind {
            Kind::Requests => is_request(data),
            Kind::Answers => data.starts_with(VERSION),
        }
    }

    /// Whether the line at hand may still become a message's first.
    fn may_begin(&self) -> bool {
        let line = &self.line;
        let fits = |word: &[u8]| word.starts_with(line) || line.starts_with(word);
        line.starts_with(b"\r")
            || match self.kind {
                Kind::Requests => METHODS.iter().any(|method| fits(&[*method, b" "].concat())),
                Kind::Answers => fits(VERSION),
            }
    }

    fn go_astray(&mut self) {
        self.line.clear();
        self.head = Head::default();
        self.state = State::Astray;
        self.has_gaps = true;
    }

    fn pass(&mut self, len: u64) {
        self.state = match self.state {
            State::Body(left) if left > len => State::Body(left - len),
            State::Body(_) => State::Start,
            State::Chunk(left) if left > len => State::Chunk(left - len),
            State::Chunk(_) => State::ChunkSize,
            other => other,
        };
    }

    fn lost(&mut self, len: u64, told: &mut impl FnMut(&Head) -> After) {
        match self.state {
            State::Body(left) | State::Chunk(left) if len <= left => self.pass(len),
            State::ToTheEnd => {}
            _ => {
                // Of a head that was cut off it is known that it was there.
                if self.state == State::Fields {
                    told(&self.head);
                }
                self.go_astray();
            }
        }
    }

    fn take_line(&mut self, line: &[u8], told: &mut impl FnMut(&Head) -> After) -> Option<After> {
        match self.state {
            // Empty lines before a message are allowed.
            State::Start if line.is_empty() => None,
            State::Start => {
                self.head = Head::default();
                let is_one = match self.kind {
                    Kind::Requests => self.head.request(line),
                    Kind::Answers => self.head.answer(line),
                };
                if is_one {
                    self.state = State::Fields
                } else {
                    self.go_astray()
                }
                None
            }
            State::Fields if line.is_empty() => {
                let after = told(&self.head);
                self.state = self.behind_head(after);
                Some(after)
            }
            State::Fields => {
                self.head.field(line);
                None
            }
            State::ChunkSize => {
                let digits = line.split(|byte| matches!(byte, b';' | b' ')).next().unwrap_or(&[]);
                let size =
                    std::str::from_utf8(digits).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
                self.state = match size {
                    Some(0) => State::Trailer,
                    // With the end of line behind it.
                    Some(size) => State::Chunk(size.saturating_add(2)),
                    None => State::Astray,
                };
                None
            }
            State::Trailer => {
                if line.is_empty() {
                    self.state = State::Start;
                }
                None
            }
            State::Body(_) | State::Chunk(_) | State::ToTheEnd | State::Astray => None,
        }
    }

    /// RFC 9112, section 6.3.
    fn behind_head(&self, after: After) -> State {
        match after {
            After::Nothing | After::Other => State::Start,
            After::Body if self.head.is_chunked => State::ChunkSize,
            After::Body => match (self.head.length, self.kind) {
                (Some(0), _) | (None, Kind::Requests) => State::Start,
                (Some(length), _) => State::Body(length),
                (None, Kind::Answers) => State::ToTheEnd,
            },
        }
    }
}

impl Head {
    /// Reads a request's first line; whether it is one.
    fn request(&mut self, line: &[u8]) -> bool {
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return false };
        if !METHODS.contains(&method) {
            return false;
        }
        (self.is_begun, self.is_head, self.is_connect) = (true, method == b"HEAD", method == b"CONNECT");
        self.is_sending = is_sending(method);
        let (host, path) = if self.is_connect {
            (target, &[][..])
        } else {
            match target.iter().position(|byte| *byte == b':') {
                // The absolute form (RFC 9112, section 3.2.2) goes before the field.
                Some(colon) if target[..colon].is_ascii() && target[colon..].starts_with(b"://") => {
                    let rest = &target[colon + 3..];
                    rest.split_at(rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len()))
                }
                _ => (&[][..], target),
            }
        };
        self.host.extend(&host[..host.len().min(HOST_MAX)]);
        self.path.extend(&path[..path.len().min(PATH_MAX)]);
        true
    }

    /// Reads an answer's first line; whether it is one.
    fn answer(&mut self, line: &[u8]) -> bool {
        let Some(rest) = line.strip_prefix(VERSION) else { return false };
        let [_, b' ', status @ ..] = rest else { return false };
        let [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', ..] = status else { return false };
        let digit = |byte: &u8| u16::from(byte - b'0');
        self.status = digit(a) * 100 + digit(b) * 10 + digit(c);
        self.is_begun = true;
        true
    }

    fn field(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // By its length first: most fields mean nothing here.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") && self.host.is_empty() => {
                self.host.extend(&value[..value.len().min(HOST_MAX)]);
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrades_to_http2 = value.eq_ignore_ascii_case(b"h2c");
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                self.length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.is_chunked = value.to_ascii_lowercase().ends_with(b"chunked");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is told of `text`, cut into pieces of `step`.
    fn read(kind: Kind, text: &[u8], step: usize) -> Vec<String> {
        let (mut messages, mut told) = (Messages::new(kind), Vec::new());
        for part in text.chunks(step) {
            let left = messages.take(Piece::Data(part), |head| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                told.push(match kind {
                    Kind::Requests => format!("{} {}", text(&head.host), text(&head.path)),
                    Kind::Answers => head.status.to_string(),
                });
                match head.status {
                    100..=199 | 204 | 304 => After::Nothing,
                    _ => After::Body,
                }
            });
            assert_eq!(left, None);
        }
        told
    }

    const REQUESTS: &[u8] = b"GET /v1/a HTTP/1.1\r\nUser-Agent: x\r\nhost: api.example\r\n\r\n\
        POST /v1/b HTTP/1.1\r\nHost: api.example\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n\
        POST /c HTTP/1.1\r\nHost: a:80\r\nTransfer-Encoding: gzip, chunked\r\n\r\n8;x=y\r\n\r\nGET / \r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n\
        \r\nGET http://b.example/d HTTP/1.1\nHost: c.example\n\n\
        CONNECT d.example:443 HTTP/1.1\r\nHost: e\r\n\r\n";
    const ANSWERS: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\nHTTP/1.1 500 No\r\n\r\n\
        HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\nHTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHTTP/\r\n0\r\n\r\n\
        HTTP/1.0 404 Not Found\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";

    #[test]
    fn heads_are_told_and_bodies_are_not() {
        for step in [1, 2, 3, 7, 50, 10_000] {
            assert_eq!(
                read(Kind::Requests, REQUESTS, step),
                ["api.example /v1/a", "api.example /v1/b", "a:80 /c", "b.example /d", "d.example:443 "],
                "{step}"
            );
            assert_eq!(read(Kind::Answers, ANSWERS, step), ["100", "200", "304", "200", "404"], "{step}");
        }
    }

    #[test]
    fn what_is_lost_in_a_body_matters_not_and_elsewhere_costs_a_message() {
        let (mut messages, mut told) = (Messages::new(Kind::Requests), 0);
        let post = b"POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n0123456789";
        let mut take = |piece| {
            messages.take(piece, |_| {
                told += 1;
                After::Body
            });
            (told, messages.has_gaps)
        };
        assert_eq!(take(Piece::Data(post)), (1, false));
        assert_eq!(take(Piece::Lost(4_990)), (1, false));
        assert_eq!(take(Piece::Data(b"GET /a HTTP/1.1\r\nHost")), (1, false));
        // The head at hand is told as it is.
        assert_eq!(take(Piece::Lost(100)), (2, true));
        assert_eq!(take(Piece::Data(b"x\r\n\r\nGET /b HTTP/1.1\r\n\r\n")), (2, true));
        assert_eq!(take(Piece::Data(b"GET /c HTTP/1.1\r\n\r\n")), (3, true));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(data in prop::collection::vec(any::<u8>(), 0..400), step in 1_usize..50, at in 0_usize..300) {
            let mut text = REQUESTS.to_vec();
            let len = data.len().min(text.len() - at);
            text[at..at + len].copy_from_slice(&data[..len]);
            read(Kind::Requests, &text, step);
            read(Kind::Answers, &data, step);
        }
    }
}
