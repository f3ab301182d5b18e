//! What a client shows to be let in, as a hash that grows line by line.

use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

use super::Credential;
use super::lines::begins;

/// Any seed does, and the same in every run: what is told of a record is told again.
const HASHER: FixedState = FixedState::with_seed(0x6c6f_6769);

/// SASL mechanisms that show the same for the same credential (RFC 4616, RFC 7628). The others answer a challenge.
const PLAIN: [&[u8]; 4] = [b"PLAIN", b"LOGIN", b"XOAUTH2", b"OAUTHBEARER"];

/// What was shown so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    hash: u64,
    is_hidden: bool,
}

impl Shown {
    /// By a SASL mechanism.
    pub fn by(mechanism: &[u8]) -> Self {
        Self { hash: 0, is_hidden: !PLAIN.iter().any(|plain| plain.eq_ignore_ascii_case(mechanism)) }
    }

    /// All of this at once.
    pub fn of(text: &[u8]) -> Self {
        let mut shown = Self::default();
        shown.add(text);
        shown
    }

    /// And this.
    pub fn add(&mut self, text: &[u8]) {
        self.hash = HASHER.hash_one((self.hash, text));
    }

    /// What it is told as.
    pub const fn credential(self) -> Credential {
        if self.is_hidden { Credential::Hidden } else { Credential::Known(self.hash as u16) }
    }
}

/// What a header of HTTP or SIP shows (RFC 9110, section 11), and whether more is needed to be let in: the first message of NTLM
/// asks for a challenge and shows nothing.
pub(super) fn of_header(value: &[u8]) -> Option<Credential> {
    let value = value.trim_ascii();
    if begins(value, b"Basic ") || begins(value, b"Bearer ") || begins(value, b"Token ") {
        return Some(Shown::of(value).credential());
    }
    // "NTLMSSP", a NUL and the number of the message, in base64.
    let is_first = begins(value, b"NTLM TlRMTVNTUAAB") || begins(value, b"Negotiate TlRMTVNTUAAB");
    (!is_first).then_some(Credential::Hidden)
}
