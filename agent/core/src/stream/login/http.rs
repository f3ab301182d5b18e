//! HTTP/1.1 (RFC 9110, section 11): 401 to a request that showed credentials, 407 likewise for proxies, and 401 or 403 to what is
//! posted to a page for logging in. The first 401 is a challenge: nothing was shown before it. Pages that answer 200 with "wrong
//! password" in them are not read.

use super::super::line::Line;
use super::super::order::Piece;
use super::credential::{self, Shown};
use super::lines::{begins, find};
use super::speech::Next;
use super::{Credential, Login};

/// So much of what is posted is looked at.
const BODY_MAX: u32 = 512;
/// Enough of a status line.
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

/// Whether something is posted to a page for logging in.
fn is_to_a_door(data: &[u8]) -> bool {
    let Some(rest) = data.strip_prefix(b"POST ") else { return false };
    let path = rest.split(|byte| matches!(byte, b' ' | b'?' | b'\r' | b'\n')).next().unwrap_or_default();
    let path = &path[..path.len().min(256)];
    DOORS.iter().any(|door| find(path, door).is_some())
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

/// A session.
#[derive(Debug, Default)]
pub(super) struct Http {
    line: Line,
    /// Bytes of the body at hand that are to come.
    body: u32,
    length: u32,
    /// How much of it was looked at.
    looked_at: u32,
    /// What was posted, if to a page for logging in.
    posted: Option<Shown>,
    shown: Option<Credential>,
    status: Vec<u8>,
    is_status_read: bool,
}

impl Http {
    /// Takes what a side says.
    pub fn read(&mut self, from_client: bool, piece: Piece<'_>, say: &mut impl FnMut(Login)) -> Next {
        match (from_client, piece) {
            (true, Piece::Data(data)) => self.client(data),
            (true, Piece::Lost(len)) => {
                self.body = self.body.saturating_sub(len);
                self.line.clear();
            }
            (false, Piece::Data(data)) => self.server(data, say),
            (false, Piece::Lost(_)) => {}
        }
        Next::GoOn
    }

    fn client(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.body > 0 {
                let taken = data.len().min(self.body as usize);
                if let Some(posted) = &mut self.posted {
                    // Byte by byte, so that it does not matter how it was cut.
                    let looked_at = taken.min(BODY_MAX.saturating_sub(self.looked_at) as usize);
                    data[..looked_at].iter().for_each(|byte| posted.add(&[*byte]));
                    self.looked_at += u32::try_from(looked_at).unwrap_or(BODY_MAX);
                }
                self.body -= u32::try_from(taken).unwrap_or(self.body);
                data = &data[taken..];
                continue;
            }
            let (rest, is_whole) = self.line.take(data);
            data = rest;
            if is_whole && let Some(line) = self.line.take_out() {
                self.header(line.trim_ascii_end());
                self.line.reuse(line);
            }
        }
    }

    fn header(&mut self, line: &[u8]) {
        if line.is_empty() {
            self.body = std::mem::take(&mut self.length);
            self.looked_at = 0;
        } else if line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0") {
            self.shown = None;
            self.posted = is_to_a_door(line).then(Shown::default);
            self.length = 0;
            self.is_status_read = false;
            self.status.clear();
        } else if let Some(value) = header_value(line) {
            self.shown = credential::of_header(value);
        } else if begins(line, b"Content-Length:") {
            let value = std::str::from_utf8(line[15..].trim_ascii()).ok();
            self.length = value.and_then(|value| value.parse().ok()).unwrap_or(0);
        }
    }

    fn server(&mut self, data: &[u8], say: &mut impl FnMut(Login)) {
        if self.is_status_read {
            return;
        }
        let taken = data.len().min(STATUS_LEN - self.status.len());
        self.status.extend_from_slice(&data[..taken]);
        if self.status.len() < STATUS_LEN {
            return;
        }
        self.is_status_read = true;
        if !self.status.starts_with(b"HTTP/1.") {
            return;
        }
        let code = &self.status[9..12];
        if code == b"100" {
            // Not yet the answer.
            self.is_status_read = false;
            self.status.clear();
            return;
        }
        let posted = self.posted.map(Shown::credential);
        match (code, self.shown.take(), posted) {
            (b"401" | b"407", Some(credential), _) | (b"401" | b"403", None, Some(credential)) => {
                say(Login::Refused(credential));
            }
            ([b'2' | b'3', ..], Some(_), _) => say(Login::Accepted),
            _ => {}
        }
    }
}
