//! QUIC to protected endpoints (RFC 9000; version 2: RFC 9369): whom a connection is for, and how often it is asked.
//!
//! **Whom.** A client's first packets are sealed with keys that everybody can derive from them (RFC 9001, section 5.2), so its TLS
//! hello can be read: packets are opened, and the pieces of the hello put together in whatever order and over however many
//! datagrams they come. At most [`INITIALS_MAX`] packets of a connection are opened, at most [`WORK_MAX`] of a tenant in a second. Their tag is not
//! checked: who forges a name lies about his own calls, and says them.
//!
//! **How often.** A connection that is answered is a call. Behind that, as inside TLS, a turn: a packet of the client's as long as a request's
//! headers make it, after one of the server's that is no mere acknowledgment. Longer packets are uploads and probes of the
//! path, shorter ones acknowledgments. The first turns belong to the opening. So more is missed than is counted: several requests
//! in a turn are one.
//!
//! Left out: versions that are not standards, connections that were met in the middle, and those that move to another address.

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use hkdf::Hkdf;
use sha2::Sha256;

use super::calls::{Call, Site, Tally};
use super::hello::{self, HELLO_MAX};
use super::sites::Look;

/// So many packets of a connection are opened to read a hello.
const INITIALS_MAX: u8 = 6;
/// So many packets of a tenant's are opened in a second.
pub(super) const WORK_MAX: u16 = 200;
/// A client's first datagrams are at least so long (RFC 9000, section 14.1).
const INITIAL_LEN: u32 = 1_200;
/// The longest connection id (RFC 9000, section 17.2).
const ID_MAX: usize = 20;
/// So many gaps a hello may have while it is put together.
const PARTS_MAX: usize = 48;
/// A datagram as long as this is no mere acknowledgment, with the longest ids and many gaps.
const SPOKEN: u32 = 90;
/// One that is longer is part of an upload, or a probe of the path.
const REQUEST_MAX: u32 = 1_150;
/// The client's turns that belong to the opening: its first request, and what it says of itself.
const OPENING_TURNS: u8 = 2;

/// What the versions differ in.
struct Version {
    number: u32,
    initial: u8,
    retry: u8,
    salt: [u8; 20],
    labels: [&'static [u8]; 3],
}

const VERSIONS: [Version; 2] = [
    // RFC 9001, section 5.2.
    Version {
        number: 1,
        initial: 0,
        retry: 3,
        salt: [
            0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad,
            0xcc, 0xbb, 0x7f, 0x0a,
        ],
        labels: [b"quic key", b"quic iv", b"quic hp"],
    },
    // RFC 9369, section 3.
    Version {
        number: 0x6b33_43cf,
        initial: 1,
        retry: 0,
        salt: [
            0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb,
            0xf9, 0xbd, 0x2e, 0xd9,
        ],
        labels: [b"quicv2 key", b"quicv2 iv", b"quicv2 hp"],
    },
];

/// A connection id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Id {
    bytes: [u8; ID_MAX],
    len: u8,
}

impl Id {
    fn new(bytes: &[u8]) -> Option<Self> {
        let mut id = Self { len: u8::try_from(bytes.len()).ok()?, ..Self::default() };
        id.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(id)
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.into()]
    }
}

/// The keys of a client's first packets.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Keys {
    key: [u8; 16],
    iv: [u8; 12],
    mask: [u8; 16],
}

impl Keys {
    fn derive(version: &Version, id: &Id) -> Self {
        let (secret, _) = Hkdf::<Sha256>::extract(Some(&version.salt), id.bytes());
        let client: [u8; 32] = expand(&secret, b"client in");
        let [key, iv, mask] = version.labels;
        Self { key: expand(&client, key), iv: expand(&client, iv), mask: expand(&client, mask) }
    }
}

/// HKDF-Expand-Label without context (RFC 8446, section 7.1).
fn expand<const N: usize>(secret: &[u8], label: &[u8]) -> [u8; N] {
    let mut made = [0; N];
    let len = [0, u8::try_from(N).expect("keys are short")];
    let label_len = [u8::try_from(6 + label.len()).expect("labels are short")];
    Hkdf::<Sha256>::from_prk(secret)
        .expect("a secret is as long as a hash")
        .expand_multi_info(&[&len, &label_len, b"tls13 ", label, &[0]], &mut made)
        .expect("keys are shorter than 255 hashes");
    made
}

/// The header of a long packet, and what stands behind it.
struct Long<'a> {
    version: &'static Version,
    kind: u8,
    to: Id,
    from: Id,
    /// From the token on.
    rest: &'a [u8],
}

/// Takes bytes from the front of what is left.
fn take<'a>(data: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (front, back) = data.split_at_checked(len)?;
    *data = back;
    Some(front)
}

/// An integer of one to eight bytes (RFC 9000, section 16).
fn varint(data: &mut &[u8]) -> Option<u64> {
    let len = 1 << (data.first()? >> 6);
    let bytes = take(data, len)?;
    Some(bytes[1..].iter().fold(u64::from(bytes[0] & 0x3f), |sum, byte| sum << 8 | u64::from(*byte)))
}

fn long(data: &[u8]) -> Option<Long<'_>> {
    let mut rest = data;
    let first = take(&mut rest, 1)?[0];
    if first & 0xc0 != 0xc0 {
        return None;
    }
    let number = u32::from_be_bytes(take(&mut rest, 4)?.try_into().ok()?);
    let version = VERSIONS.iter().find(|version| version.number == number)?;
    let mut id = || {
        let len = take(&mut rest, 1)?[0];
        Id::new(take(&mut rest, len.into())?)
    };
    let (to, from) = (id()?, id()?);
    Some(Long { version, kind: first >> 4 & 3, to, from, rest })
}

/// Whether a datagram of so many bytes opens a connection.
pub(super) fn opens(data: &[u8], len: u32) -> bool {
    len >= INITIAL_LEN && long(data).is_some_and(|long| long.kind == long.version.initial)
}

/// The pieces of a hello.
#[derive(Debug, Default)]
struct Parts {
    data: Vec<u8>,
    /// What of it is there, in order.
    there: Vec<(usize, usize)>,
}

impl Parts {
    fn add(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(HELLO_MAX);
        let bytes = &bytes[..bytes.len().min(HELLO_MAX - at)];
        let end = at + bytes.len();
        if bytes.is_empty() || self.there.len() >= PARTS_MAX {
            return;
        }
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        self.data[at..end].copy_from_slice(bytes);
        let place = self.there.partition_point(|(from, _)| *from < at);
        self.there.insert(place, (at, end));
        self.there.dedup_by(|later, earlier| {
            let meets = later.0 <= earlier.1;
            if meets {
                earlier.1 = earlier.1.max(later.1);
            }
            meets
        });
    }

    /// What is there from the beginning on.
    fn front(&self) -> &[u8] {
        match self.there.first() {
            Some((0, end)) => &self.data[..*end],
            _ => &[],
        }
    }

    fn is_whole(&self) -> bool {
        let front = self.front();
        front.len() >= HELLO_MAX || hello::message_len(front).is_some_and(|len| front.len() >= len)
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Quic {
    tally: Tally,
    /// What the client called the server first, and what that calls itself.
    first: Id,
    server: Option<Id>,
    keys: Option<Keys>,
    parts: Parts,
    initials: u8,
    is_answered: bool,
    turns: u8,
    is_turn_taken: bool,
}

impl Quic {
    /// The connection that a client opens with `data`.
    pub fn new(look: Look, data: &[u8]) -> Self {
        Self {
            tally: Tally::new(look),
            first: long(data).map(|long| long.to).unwrap_or_default(),
            server: None,
            keys: None,
            parts: Parts::default(),
            initials: 0,
            is_answered: false,
            turns: 0,
            is_turn_taken: false,
        }
    }

    /// Whether nothing of the connection is of interest.
    pub fn is_nobodys(&self) -> bool {
        self.tally.is_nobodys()
    }

    /// Whether a client's datagram, in the same flow, opens another connection.
    pub fn is_another(&self, data: &[u8], len: u32) -> bool {
        opens(data, len)
            && long(data).is_some_and(|long| long.to != self.first && Some(long.to) != self.server)
    }

    /// Takes a datagram, of which `data` was captured. `work` is asked before a packet is opened.
    pub fn read(
        &mut self,
        from_client: bool,
        (data, len): (&[u8], u32),
        site: Site<'_>,
        work: impl FnOnce() -> bool,
        say: &mut impl FnMut(usize, Call),
    ) {
        match (from_client, long(data)) {
            (true, Some(long))
                if long.kind == long.version.initial
                    && !self.tally.is_settled()
                    && self.initials < INITIALS_MAX
                    && work() =>
            {
                self.initial(&long, data, site, say);
            }
            (false, Some(long)) => {
                self.server = Some(long.from);
                if long.kind == long.version.retry {
                    self.keys = None;
                } else if !std::mem::replace(&mut self.is_answered, true) {
                    self.tally.opened(say);
                }
            }
            _ if data.first().is_some_and(|first| first & 0xc0 == 0x40) => self.turn(from_client, len, say),
            _ => {}
        }
    }

    /// What is to be said of calls in flight now that the connection is over.
    pub fn ended(&self, say: impl FnMut(usize, Call)) {
        self.tally.ended(say);
    }

    /// Reads a client's first packet.
    fn initial(&mut self, long: &Long<'_>, data: &[u8], site: Site<'_>, say: &mut impl FnMut(usize, Call)) {
        self.initials += 1;
        // Behind a Retry keys come from what the server called itself there (RFC 9001, section 5.2).
        let keys = self.keys.get_or_insert_with(|| Keys::derive(long.version, &long.to));
        if let Some(plain) = open(keys, long, data) {
            crypto(&plain, |at, bytes| self.parts.add(at, bytes));
        }
        // A name is told as soon as it is there: the capture may have cut off what follows.
        let name = hello::parse(self.parts.front()).and_then(|hello| hello.name);
        if name.is_some() || self.parts.is_whole() || self.initials == INITIALS_MAX {
            (self.keys, self.parts) = (None, Parts::default());
            self.tally.settle(site, name.as_deref(), say);
        }
    }

    fn turn(&mut self, from_client: bool, len: u32, say: &mut impl FnMut(usize, Call)) {
        if len < SPOKEN {
            return;
        }
        let place = self.tally.usual_place();
        if !from_client {
            self.is_turn_taken = false;
            self.tally.answer(place, say);
        } else if len <= REQUEST_MAX && !std::mem::replace(&mut self.is_turn_taken, true) {
            self.turns = self.turns.saturating_add(1);
            if self.turns == 1 || self.turns > OPENING_TURNS {
                self.tally.begin(place, say);
            }
        }
    }
}

/// Takes a client's first packet out of its protection (RFC 9001, sections 5.3 and 5.4), as far as it was captured.
fn open(keys: &Keys, long: &Long<'_>, data: &[u8]) -> Option<Vec<u8>> {
    const TAG: usize = 16;
    let mut rest = long.rest;
    let token = usize::try_from(varint(&mut rest)?).ok()?;
    take(&mut rest, token)?;
    let len = usize::try_from(varint(&mut rest)?).ok()?;
    let mut sample: [u8; 16] = rest.get(4..20)?.try_into().ok()?;
    Aes128::new(&keys.mask.into()).encrypt_block((&mut sample).into());
    let number_len = usize::from((data.first()? ^ sample[0] & 0x0f) & 3) + 1;
    let mut number = 0;
    for (byte, mask) in take(&mut rest, number_len)?.iter().zip(&sample[1..]) {
        number = number << 8 | u64::from(byte ^ mask);
    }
    let sealed = &rest[..rest.len().min(len.checked_sub(number_len + TAG)?)];
    let mut block = [0; 16];
    block[..12].copy_from_slice(&keys.iv);
    for (byte, mask) in block[4..12].iter_mut().zip(number.to_be_bytes()) {
        *byte ^= mask;
    }
    // AES in counter mode; the first block is the tag's (NIST SP 800-38D, section 7.1).
    let cipher = Aes128::new(&keys.key.into());
    let mut plain = sealed.to_vec();
    for (part, counter) in plain.chunks_mut(16).zip(2_u32..) {
        block[12..].copy_from_slice(&counter.to_be_bytes());
        let mut stream = block;
        cipher.encrypt_block((&mut stream).into());
        part.iter_mut().zip(stream).for_each(|(byte, mask)| *byte ^= mask);
    }
    Some(plain)
}

/// Hands on what of a hello is in a packet's frames (RFC 9000, section 19).
fn crypto(mut frames: &[u8], mut hand_on: impl FnMut(u64, &[u8])) -> Option<()> {
    loop {
        match varint(&mut frames)? {
            // Padding, ping.
            0 | 1 => {}
            // Acknowledgments: the largest, a delay, how many ranges, the first; then a gap and a length each.
            kind @ 2..=3 => {
                varint(&mut frames)?;
                varint(&mut frames)?;
                let ranges = varint(&mut frames)?;
                varint(&mut frames)?;
                let more = ranges.saturating_mul(2).saturating_add(if kind == 3 { 3 } else { 0 });
                for _ in 0..more {
                    varint(&mut frames)?;
                }
            }
            6 => {
                let at = varint(&mut frames)?;
                let len = usize::try_from(varint(&mut frames)?).ok()?;
                let (bytes, rest) = frames.split_at(len.min(frames.len()));
                frames = rest;
                hand_on(at, bytes);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests;
