//! The beginning of TLS as its client says it (RFC 8446, section 4.1.2): the name that it asks for (RFC 6066, section 3), and
//! whether it offers HTTP/2 (RFC 7301).
//!
//! A hello may be spread over several records and segments; it is put together up to [`HELLO_MAX`] bytes, and read as far as it
//! was seen. Values that mean nothing (GREASE, RFC 8701) are passed over like all that is not known. Where the client hides whom
//! it asks for (Encrypted Client Hello), the name is the outer one, which is that of the provider in front.

use super::order::Piece;

/// The most bytes of a hello that are put together: with keys that withstand quantum computers it has about 1,800.
pub(super) const HELLO_MAX: usize = 4_096;
/// The longest name (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 255;

const CLIENT_HELLO: u8 = 1;
/// A hello's type and length.
const HEADER: usize = 4;
const HANDSHAKE_RECORD: u8 = 22;
const RECORD_HEADER: usize = 5;
/// Extensions (IANA, "TLS ExtensionType Values").
const SERVER_NAME: u16 = 0;
const PROTOCOLS: u16 = 16;
const HOST_NAME: u8 = 0;

/// What a client's hello says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hello {
    /// Whom it asks for, if it says so.
    pub name: Option<Box<[u8]>>,
    /// Whether it offers HTTP/2.
    pub is_http2_offered: bool,
}

/// Takes bytes from the front of what is left.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, back) = self.0.split_at_checked(len)?;
        self.0 = back;
        Some(front)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|one| one[0])
    }

    fn word(&mut self) -> Option<u16> {
        self.take(2).map(|two| u16::from_be_bytes([two[0], two[1]]))
    }

    /// As much as there is of what has its length, a byte or a word, before it.
    fn part(&mut self, is_word: bool) -> Option<Self> {
        let len = if is_word { self.word()? } else { self.byte()?.into() };
        let (front, back) = self.0.split_at(usize::from(len).min(self.0.len()));
        self.0 = back;
        Some(Self(front))
    }
}

/// How many bytes the handshake message that begins in `data` has, if that can be told.
pub(super) fn message_len(data: &[u8]) -> Option<usize> {
    match data {
        [_, high, mid, low, ..] => Some(HEADER + u32::from_be_bytes([0, *high, *mid, *low]) as usize),
        _ => None,
    }
}

/// Reads a hello from the handshake message in `data`, as far as it is there; `None` if it is none.
pub(super) fn parse(data: &[u8]) -> Option<Hello> {
    if data.first() != Some(&CLIENT_HELLO) || data.len() < HEADER {
        return None;
    }
    let mut hello = Hello::default();
    // Where it ends early, what was read stands.
    let _ = extensions(&data[HEADER..], &mut hello);
    Some(hello)
}

fn extensions(data: &[u8], hello: &mut Hello) -> Option<()> {
    let mut rest = Bytes(data);
    // The version, what is random, the session, the ciphers, the compressions.
    rest.take(2 + 32)?;
    rest.part(false)?;
    rest.part(true)?;
    rest.part(false)?;
    let mut rest = rest.part(true)?;
    loop {
        let kind = rest.word()?;
        let body = rest.part(true)?;
        match kind {
            SERVER_NAME => hello.name = hello.name.take().or_else(|| name(body)),
            PROTOCOLS => hello.is_http2_offered |= offers_http2(body).unwrap_or(false),
            _ => {}
        }
    }
}

fn name(mut body: Bytes<'_>) -> Option<Box<[u8]>> {
    let mut list = body.part(true)?;
    loop {
        let kind = list.byte()?;
        let len = list.word()?;
        // Half a name is another one.
        let name = list.take(len.into())?;
        if kind == HOST_NAME {
            return (1..=NAME_MAX).contains(&name.len()).then(|| name.into());
        }
    }
}

fn offers_http2(mut body: Bytes<'_>) -> Option<bool> {
    let mut list = body.part(true)?;
    loop {
        if list.part(false)?.0 == b"h2" {
            return Some(true);
        }
    }
}

/// Puts a hello together from the records that it comes in.
#[derive(Debug, Default)]
pub(super) struct HelloReader {
    header: [u8; RECORD_HEADER],
    have: usize,
    left: usize,
    message: Vec<u8>,
    is_done: bool,
}

impl HelloReader {
    /// Takes what the client says next, until the hello is there: then it is told, once. What cannot be read any further is told
    /// as far as it was.
    pub fn take(&mut self, piece: Piece<'_>) -> Option<Hello> {
        if self.is_done {
            return None;
        }
        let is_over = match piece {
            Piece::Data(data) => self.data(data),
            Piece::Lost(_) => true,
        };
        if !is_over {
            return None;
        }
        self.is_done = true;
        let mut hello = parse(&std::mem::take(&mut self.message)).unwrap_or_default();
        // What was not seen may have offered it, as nearly every client does today.
        hello.is_http2_offered |= matches!(piece, Piece::Lost(_));
        Some(hello)
    }

    /// Whether nothing more will come.
    fn data(&mut self, mut data: &[u8]) -> bool {
        while !data.is_empty() {
            if self.left == 0 {
                let taken = data.len().min(RECORD_HEADER - self.have);
                self.header[self.have..self.have + taken].copy_from_slice(&data[..taken]);
                (self.have, data) = (self.have + taken, &data[taken..]);
                if self.have < RECORD_HEADER {
                    return false;
                }
                self.have = 0;
                self.left = u16::from_be_bytes([self.header[3], self.header[4]]).into();
                if self.header[0] != HANDSHAKE_RECORD || self.left == 0 {
                    return true;
                }
                continue;
            }
            let taken = data.len().min(self.left);
            self.message.extend(&data[..taken.min(HELLO_MAX - self.message.len())]);
            (self.left, data) = (self.left - taken, &data[taken..]);
            let is_whole = message_len(&self.message).is_some_and(|len| self.message.len() >= len);
            if is_whole || self.message.len() >= HELLO_MAX {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with_len(body: &[u8]) -> Vec<u8> {
        [&u16::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
    }

    /// A hello for `name` that offers `protocols`, among values that mean nothing, and one to make it long.
    pub(in super::super) fn client_hello(
        name: Option<&[u8]>,
        protocols: &[&[u8]],
        padding: usize,
    ) -> Vec<u8> {
        let mut extensions = [&[0x0a, 0x0a][..], &with_len(&[])].concat();
        if let Some(name) = name {
            let entry = [&[0][..], &with_len(name)].concat();
            extensions.extend([&[0, 0][..], &with_len(&with_len(&entry))].concat());
        }
        extensions.extend([&[0xfe, 0x0d][..], &with_len(&vec![7; padding])].concat());
        let list: Vec<u8> = protocols.iter().flat_map(|one| [&[one.len() as u8], *one].concat()).collect();
        extensions.extend([&[0, 16][..], &with_len(&with_len(&list))].concat());
        let mut body = vec![3, 3];
        body.extend([9; 32]);
        body.extend([&[32][..], &[8; 32], &with_len(&[0x1a, 0x1a, 0x13, 1]), &[1, 0]].concat());
        body.extend(with_len(&extensions));
        [&[1][..], &u32::try_from(body.len()).unwrap().to_be_bytes()[1..], &body].concat()
    }

    /// The same in records of at most `each` bytes.
    pub(in super::super) fn records(message: &[u8], each: usize) -> Vec<u8> {
        message.chunks(each).flat_map(|part| [&[22, 3, 1][..], &with_len(part)].concat()).collect()
    }

    #[test]
    fn a_name_and_an_offer_come_out_however_it_is_cut() {
        for (name, protocols, padding) in [
            (Some(&b"api.example"[..]), &[&b"h2"[..], b"http/1.1"][..], 10),
            (Some(b"api.example"), &[b"http/1.1"], 1_900),
            (None, &[b"\x0a\x0a", b"h2"], 600),
        ] {
            let message = client_hello(name, protocols, padding);
            let expect =
                Hello { name: name.map(Into::into), is_http2_offered: protocols.contains(&&b"h2"[..]) };
            for (record, step) in [(16_000, 16_000), (16_000, 1), (100, 7), (3, 1_000)] {
                let (mut reader, bytes) = (HelloReader::default(), records(&message, record));
                let told: Vec<Hello> =
                    bytes.chunks(step).filter_map(|part| reader.take(Piece::Data(part))).collect();
                assert_eq!(told, std::slice::from_ref(&expect), "records of {record}, steps of {step}");
            }
        }
    }

    #[test]
    fn what_was_lost_ends_it_with_what_was_seen() {
        let bytes = records(&client_hello(Some(b"api.example"), &[b"h2"], 900), 16_000);
        let mut reader = HelloReader::default();
        assert_eq!(reader.take(Piece::Data(&bytes[..200])), None);
        let told = reader.take(Piece::Lost(1_000)).unwrap();
        assert_eq!(told, Hello { name: Some((*b"api.example").into()), is_http2_offered: true });
        assert_eq!(reader.take(Piece::Data(&bytes)), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(data in prop::collection::vec(any::<u8>(), 0..600), at in 0_usize..100, cut in 0_usize..700) {
            let mut hello = records(&client_hello(Some(b"a.example"), &[b"h2"], 300), 16_000);
            let place = at.min(hello.len());
            let len = data.len().min(hello.len() - place);
            hello[place..place + len].copy_from_slice(&data[..len]);
            hello.truncate(cut);
            let _ = HelloReader::default().take(Piece::Data(&hello));
            let _ = parse(&data);
        }
    }
}
