//! SIP over UDP (RFC 3261, section 22): 401, 403 or 407 to a `REGISTER` that showed credentials refuses, 200 lets in. The first 401 is a
//! challenge. 403 or 404 to one without is an account that is not there: trying many is the first step of guessing.

use super::credential::{self, Shown};
use super::lines::{begins, find};
use super::{Credential, Login};

/// So much of a message is looked at.
const HEADERS_MAX: usize = 2_048;

/// Whether a client wants to be registered.
pub(super) fn is_register(data: &[u8]) -> bool {
    data.starts_with(b"REGISTER ")
}

/// Whether it is an answer.
pub(super) fn is_answer(data: &[u8]) -> bool {
    data.starts_with(b"SIP/2.0 ")
}

/// What goes on between two sockets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sip {
    /// What the last request showed, and whose it was.
    shown: Option<Credential>,
    account: Option<Shown>,
}

impl Sip {
    /// Takes a message.
    pub fn read(&mut self, from_client: bool, data: &[u8]) -> Option<Login> {
        let data = &data[..data.len().min(HEADERS_MAX)];
        if from_client {
            let value = header(data, b"Authorization:").or_else(|| header(data, b"Proxy-Authorization:"));
            self.shown = value.and_then(credential::of_header);
            self.account = header(data, b"To:").or_else(|| header(data, b"t:")).map(Shown::of);
            return None;
        }
        let code = data.get(8..11)?;
        match code {
            b"401" | b"407" => self.shown.take().map(Login::Refused),
            b"403" | b"404" => {
                let account = self.account.take()?;
                Some(Login::Refused(self.shown.take().unwrap_or_else(|| account.credential())))
            }
            b"200" => self.shown.take().map(|_| Login::Accepted),
            _ => None,
        }
    }
}

/// The value of a header.
fn header<'a>(data: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let line = data.split(|byte| *byte == b'\n').skip(1).find(|line| begins(line, name))?;
    let value = line[name.len()..].trim_ascii();
    // A tag tells one request from another, not one account from another.
    Some(&value[..find(value, b";tag=").unwrap_or(value.len())])
}
