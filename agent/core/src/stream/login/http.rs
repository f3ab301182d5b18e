//! HTTP/1.1 (RFC 9110, section 11): 401 to a request that showed credentials, 407 likewise for proxies, and 401 or 403 to what is
//! posted to a page for logging in. The first 401 is a challenge: nothing was shown before it. Pages that answer 200 with "wrong
//! password" in them are not read.
//!
//! Requests may come before the answers to those before them (RFC 9112, section 9.3.2), so they wait in a queue. What is posted is a login if
//! it has the form of one ([`form`]); else its refusal is told as one of something that may be. To be let in at one place says nothing of
//! another of the same server: a *realm* is the first part of a path.

use std::collections::VecDeque;

use super::super::line::Line;
use super::super::order::Piece;
use super::credential::{self, Shown};
use super::form::Form;
use super::lines::{begins, find};
use super::speech::Next;
use super::{Credential, Login};

/// So much of what is posted is looked at.
const BODY_MAX: u32 = 512;
/// So many requests wait for their answers; of more, the oldest are given up.
const WAITING_MAX: usize = 32;
/// A status line up to its code.
const STATUS: &[u8; 7] = b"HTTP/1.";
const STATUS_LEN: usize = 12;
/// What pages for logging in are called.
const DOORS: [&[u8]; 9] =
    [b"login", b"logon", b"signin", b"sign_in", b"sign-in", b"auth", b"session", b"token", b"xmlrpc"];

/// What a request shows, from its first bytes: whether it is worth to be followed.
pub(super) fn shows(data: &[u8]) -> bool {
    is_to_a_door(data) || headers(data).any(|line| header_value(line).is_some())
}

/// The lines behind the first.
fn headers(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|byte| *byte == b'\n').skip(1).take_while(|line| line.len() > 1)
}

/// The path of a request, without what stands behind a question mark.
fn path(line: &[u8]) -> &[u8] {
    let rest = line.iter().position(|byte| *byte == b' ').map_or(&[][..], |blank| &line[blank + 1..]);
    let path = rest.split(|byte| matches!(byte, b' ' | b'?' | b'\r' | b'\n')).next().unwrap_or_default();
    &path[..path.len().min(256)]
}

/// Whether something is posted to a page for logging in.
fn is_to_a_door(data: &[u8]) -> bool {
    data.starts_with(b"POST ") && DOORS.iter().any(|door| find(path(data), door).is_some())
}

/// Some bits of the hash of a path's first part.
fn realm(line: &[u8]) -> u16 {
    let first = path(line).split(|byte| *byte == b'/').find(|part| !part.is_empty());
    match Shown::of(first.unwrap_or_default()).credential() {
        Credential::Known(bits) => bits,
        Credential::Hidden | Credential::Kept => 0,
    }
}

/// The value of a header that shows credentials.
fn header_value(line: &[u8]) -> Option<&[u8]> {
    let name: &[u8] = match line.first()? {
        b'A' | b'a' => b"Authorization:",
        b'P' | b'p' => b"Proxy-Authorization:",
        _ => return None,
    };
    begins(line, name).then(|| &line[name.len()..])
}

/// What was posted to a page for logging in.
#[derive(Clone, Copy, Debug, Default)]
struct Posted {
    shown: Shown,
    form: Form,
    looked_at: u32,
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug, Default)]
struct Request {
    realm: u16,
    shown: Option<Credential>,
    posted: Option<(Credential, bool)>,
}

/// What of a request is being said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Its first line and headers.
    #[default]
    Head,
    /// So many bytes of its body are to come.
    Body(u32),
    /// The length of a chunk, or the line behind one (RFC 9112, section 7.1).
    Size,
    /// So many bytes of a chunk are to come.
    Chunk(u32),
    /// What stands behind the last one.
    Trailer,
}

/// A session.
#[derive(Debug, Default)]
pub(super) struct Http {
    line: Line,
    state: State,
    request: Option<Request>,
    length: u32,
    is_chunked: bool,
    posted: Option<Box<Posted>>,
    waiting: VecDeque<Request>,
    status: Vec<u8>,
}

impl Http {
    /// The most bytes beside itself and a line that it takes.
    pub const HELD_BYTES: usize = size_of::<Posted>() + WAITING_MAX * size_of::<Request>() + STATUS_LEN;

    /// Takes what a side says.
    pub fn read(&mut self, from_client: bool, piece: Piece<'_>, say: &mut impl FnMut(Login)) -> Next {
        match (from_client, piece) {
            (true, Piece::Data(data)) => self.client(data),
            (true, Piece::Lost(len)) => self.lost(len),
            (false, Piece::Data(data)) => self.server(data, say),
            (false, Piece::Lost(_)) => self.status.clear(),
        }
        Next::GoOn
    }

    fn client(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if let State::Body(left) | State::Chunk(left) = self.state {
                let taken = data.len().min(left as usize);
                self.look_at(&data[..taken]);
                self.pass(u32::try_from(taken).unwrap_or(left));
                data = &data[taken..];
                continue;
            }
            let (rest, is_whole) = self.line.take(data);
            data = rest;
            if is_whole {
                let line = self.line.take_out();
                self.line(line.trim_ascii_end());
                self.line.reuse(line);
            }
        }
    }

    fn lost(&mut self, len: u32) {
        self.line.clear();
        match self.state {
            State::Body(left) | State::Chunk(left) if left > len => self.pass(len),
            // What follows most probably begins with another request, since what was lost ends with its segment.
            State::Body(_) | State::Chunk(_) | State::Size | State::Trailer => self.state = State::Head,
            State::Head => {
                self.wait();
            }
        }
    }

    /// So many bytes of a body have gone by.
    fn pass(&mut self, len: u32) {
        self.state = match self.state {
            State::Body(left) if left > len => State::Body(left - len),
            State::Body(_) => State::Head,
            State::Chunk(left) if left > len => State::Chunk(left - len),
            State::Chunk(_) => State::Size,
            other => other,
        };
    }

    /// Looks at what is posted, byte by byte, so that it does not matter how it was cut.
    fn look_at(&mut self, data: &[u8]) {
        let Some(posted) = &mut self.posted else { return };
        let left = BODY_MAX.saturating_sub(posted.looked_at) as usize;
        let data = &data[..data.len().min(left)];
        for byte in data {
            posted.shown.add(&[*byte]);
            posted.form.add(*byte);
        }
        posted.looked_at += u32::try_from(data.len()).unwrap_or(BODY_MAX);
        if let Some(request) = self.waiting.back_mut() {
            request.posted = Some((posted.shown.credential(), posted.form.is_login()));
        }
    }

    fn line(&mut self, line: &[u8]) {
        match self.state {
            State::Head => self.header(line),
            State::Trailer if line.is_empty() => self.state = State::Head,
            // The end of the chunk before.
            State::Size if line.is_empty() => {}
            State::Size => {
                let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
                let size =
                    std::str::from_utf8(digits).ok().and_then(|size| u32::from_str_radix(size, 16).ok());
                self.state = match size {
                    Some(0) => State::Trailer,
                    Some(size) => State::Chunk(size),
                    None => State::Head,
                };
            }
            State::Trailer | State::Body(_) | State::Chunk(_) => {}
        }
    }

    fn header(&mut self, line: &[u8]) {
        if line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0") {
            self.request = Some(Request { realm: realm(line), ..Request::default() });
            self.posted = is_to_a_door(line).then(Box::default);
            (self.length, self.is_chunked) = (0, false);
        } else if line.is_empty() {
            // Empty lines before a request are passed over.
            if self.wait() {
                self.state = match (self.is_chunked, self.length) {
                    (true, _) => State::Size,
                    (false, 0) => State::Head,
                    (false, length) => State::Body(length),
                };
            }
        } else if let Some(value) = header_value(line) {
            if let Some(request) = &mut self.request {
                request.shown = credential::of_header(value);
            }
        } else if begins(line, b"Content-Length:") {
            let value = std::str::from_utf8(line[15..].trim_ascii()).ok();
            self.length = value.and_then(|value| value.parse().ok()).unwrap_or(0);
        } else if begins(line, b"Transfer-Encoding:") {
            self.is_chunked = find(line, b"chunked").is_some();
        }
    }

    /// The request at hand waits for its answer; whether there is one.
    fn wait(&mut self) -> bool {
        let Some(mut request) = self.request.take() else { return false };
        request.posted = self.posted.as_ref().map(|posted| (posted.shown.credential(), false));
        if self.waiting.is_empty() {
            self.status.clear();
        }
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(request);
        true
    }

    /// Looks for the first lines of answers, wherever they begin: how long the one before is need not be known.
    fn server(&mut self, data: &[u8], say: &mut impl FnMut(Login)) {
        for byte in data {
            if self.waiting.is_empty() {
                return;
            }
            let len = self.status.len();
            let fits = match len {
                ..7 => *byte == STATUS[len],
                7 => byte.is_ascii_digit(),
                8 => *byte == b' ',
                _ => byte.is_ascii_digit(),
            };
            if !fits {
                self.status.clear();
                if *byte != STATUS[0] {
                    continue;
                }
            }
            self.status.push(*byte);
            if self.status.len() == STATUS_LEN {
                let code = [self.status[9], self.status[10], self.status[11]];
                self.status.clear();
                self.answered(code, say);
            }
        }
    }

    fn answered(&mut self, code: [u8; 3], say: &mut impl FnMut(Login)) {
        // Not yet the answer.
        if code[0] == b'1' {
            return;
        }
        let Some(request) = self.waiting.pop_front() else { return };
        let realm = request.realm;
        match (&code, request.shown, request.posted) {
            (b"401" | b"407", Some(credential), _) => say(Login::RefusedIn(credential, realm)),
            (b"401" | b"403", None, Some((credential, true))) => say(Login::RefusedIn(credential, realm)),
            (b"401" | b"403", None, Some((credential, false))) => say(Login::TurnedAway(credential)),
            ([b'2' | b'3', ..], Some(_), _) => say(Login::AcceptedIn(realm)),
            _ => {}
        }
    }
}
