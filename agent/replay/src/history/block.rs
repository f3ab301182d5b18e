//! Blocks: entries packed so that they compress.
//!
//! A block stands for itself. Its entries are in two columns, heads (kinds, times, lengths, as numbers of variable length) and bodies (packet
//! headers, JSON); one compresses unlike the other. Times are differences, in nanoseconds, from the entry before. What a frame
//! came by (vantage, passage, link, VLAN, owner) is written once a block and named by its place.
//!
//! Before a block stand the lengths of it packed and unpacked, a checksum of what follows, and the times of its first and last entry.

use reeve_core::{Frame, LinkType, Owner, Passage, VantageId};
use reeve_policy::Timestamp;

/// Bytes before a block.
pub const HEAD: usize = 4 + 4 + 4 + 8 + 8;
/// No block is longer unpacked: it holds at most one large entry beyond what makes it full. Ten thousand tenants take some megabytes.
pub const MOST: usize = 256 << 20;
/// What makes a block full.
const FULL: usize = 512 << 10;
/// The most ways of coming that one block names.
const MOST_WAYS: usize = 4_096;
/// Fast, and of headers that repeat still a fifth.
const LEVEL: i32 = 1;

const FRAME: u64 = 0;
const TICK: u64 = 1;
const JSON: u64 = 2;

/// How a frame came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    vantage: VantageId,
    passage: Passage,
    link: LinkType,
    vlan: Option<u16>,
    owner: Option<Owner>,
}

/// A block in the making.
#[derive(Debug, Default)]
pub struct Block {
    heads: Vec<u8>,
    bodies: Vec<u8>,
    ways: Vec<Way>,
    /// The place of the last way: most frames come like the one before.
    way: usize,
    last: Timestamp,
    /// The first entry's time.
    base: Option<Timestamp>,
    span: Option<(Timestamp, Timestamp)>,
    frames: u64,
}

impl Block {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Whether it is time for the next one.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.heads.len() + self.bodies.len() >= FULL || self.ways.len() >= MOST_WAYS
    }

    /// How many frames are in it.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// The times of its first and last entry.
    #[must_use]
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        self.span
    }

    fn head(&mut self, kind: u64, at: Timestamp) {
        if self.base.is_none() {
            (self.base, self.last) = (Some(at), at);
        }
        let difference = at.as_nanos().wrapping_sub(self.last.as_nanos()).cast_signed();
        let zigzag = (difference << 1 ^ difference >> 63).cast_unsigned();
        // A step that needs the two highest bits is one of seventy years, which no clock makes.
        number(&mut self.heads, zigzag << 2 | kind);
        self.last = at;
        let (first, last) = self.span.unwrap_or((at, at));
        self.span = Some((first.min(at), last.max(at)));
    }

    /// Adds a frame, of which `data` is kept.
    pub fn frame(&mut self, frame: &Frame<'_>, data: &[u8]) {
        self.head(FRAME, frame.at);
        self.frames += 1;
        let Frame { vantage, passage, link, vlan, owner, wire_len, .. } = *frame;
        let way = Way { vantage, passage, link, vlan, owner };
        if self.ways.get(self.way) != Some(&way) {
            self.way = self.ways.iter().position(|one| *one == way).unwrap_or(self.ways.len());
        }
        number(&mut self.heads, self.way as u64);
        if self.way == self.ways.len() {
            self.ways.push(way);
            number(&mut self.heads, u64::from(vantage.0) << 2 | u64::from(code(passage)));
            number(&mut self.heads, u64::from(link.number()));
            number(&mut self.heads, vlan.map_or(0, |vlan| u64::from(vlan) + 1));
            number(&mut self.heads, owner.map_or(0, |Owner(owner)| u64::from(owner)));
        }
        number(&mut self.heads, data.len() as u64);
        number(&mut self.heads, u64::from(wire_len).saturating_sub(data.len() as u64));
        self.bodies.extend_from_slice(data);
    }

    /// Adds time alone.
    pub fn tick(&mut self, at: Timestamp) {
        self.head(TICK, at);
    }

    /// Adds something as JSON.
    pub fn json(&mut self, at: Timestamp, json: &[u8]) {
        self.head(JSON, at);
        number(&mut self.heads, json.len() as u64);
        self.bodies.extend_from_slice(json);
    }

    /// The block, packed, with what stands before it.
    ///
    /// # Errors
    /// When the packer refuses, which it does for want of memory alone.
    pub fn pack(&self) -> std::io::Result<Vec<u8>> {
        let mut raw = Vec::with_capacity(16 + self.heads.len() + self.bodies.len());
        raw.extend((self.heads.len() as u64).to_le_bytes());
        raw.extend(self.base.unwrap_or_default().as_nanos().to_le_bytes());
        raw.extend_from_slice(&self.heads);
        raw.extend_from_slice(&self.bodies);
        let packed = zstd::bulk::compress(&raw, LEVEL)?;
        let (first, last) = self.span.unwrap_or_default();
        let too_long = |_| std::io::Error::other("a block that is too long");
        let mut rest = Vec::with_capacity(HEAD + packed.len());
        rest.extend(u32::try_from(raw.len()).map_err(too_long)?.to_le_bytes());
        rest.extend(first.as_nanos().to_le_bytes());
        rest.extend(last.as_nanos().to_le_bytes());
        let len = u32::try_from(packed.len()).map_err(too_long)?;
        rest.extend_from_slice(&packed);
        let mut all = Vec::with_capacity(8 + rest.len());
        all.extend(len.to_le_bytes());
        all.extend(crc32fast::hash(&rest).to_le_bytes());
        all.extend(rest);
        Ok(all)
    }
}

/// What stands before a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes packed, which follow.
    pub packed: usize,
    checksum: u32,
    unpacked: usize,
    /// The time of its first entry.
    pub first: Timestamp,
    /// The time of its last.
    pub last: Timestamp,
}

impl Head {
    /// From its bytes; `None` if no block is so long.
    #[must_use]
    pub fn read(bytes: &[u8; HEAD]) -> Option<Self> {
        let word = |at: usize| bytes[at..at + 4].try_into().map(u32::from_le_bytes).ok();
        let long = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let (packed, unpacked) = (word(0)? as usize, word(8)? as usize);
        let (first, last) = (Timestamp::from_nanos(long(12)?), Timestamp::from_nanos(long(20)?));
        let is_sane = unpacked <= MOST && packed <= MOST && packed > 0;
        is_sane.then_some(Self { packed, checksum: word(4)?, unpacked, first, last })
    }

    /// Whether `bytes`, which follow the head's own, are whole.
    #[must_use]
    pub fn fits(&self, head: &[u8; HEAD], bytes: &[u8]) -> bool {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&head[8..]);
        hasher.update(bytes);
        bytes.len() == self.packed && hasher.finalize() == self.checksum
    }
}

/// One entry of a block that is read.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A frame.
    Frame(Frame<'a>),
    /// Time alone.
    Tick(Timestamp),
    /// Something as JSON.
    Json(Timestamp, &'a [u8]),
}

/// Unpacks a block whose checksum fits, and hands over its entries; `false` if it holds what it cannot.
pub fn unpack(head: &Head, packed: &[u8], sink: &mut dyn FnMut(Entry<'_>) -> bool) -> bool {
    let Ok(raw) = zstd::bulk::decompress(packed, head.unpacked) else { return false };
    let Some((len, rest)) = raw.split_first_chunk() else { return false };
    let Ok(len) = usize::try_from(u64::from_le_bytes(*len)) else { return false };
    let Some((base, rest)) = rest.split_first_chunk() else { return false };
    let last = Timestamp::from_nanos(u64::from_le_bytes(*base));
    let Some((heads, bodies)) = rest.split_at_checked(len) else { return false };
    let mut reader = Reader { heads, bodies, ways: Vec::new(), last };
    while !reader.heads.is_empty() {
        match reader.entry() {
            Some(entry) if sink(entry) => {}
            _ => return false,
        }
    }
    reader.bodies.is_empty()
}

struct Reader<'a> {
    heads: &'a [u8],
    bodies: &'a [u8],
    ways: Vec<Way>,
    last: Timestamp,
}

impl<'a> Reader<'a> {
    fn entry(&mut self) -> Option<Entry<'a>> {
        let head = self.number()?;
        let zigzag = head >> 2;
        let difference = (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed());
        self.last = Timestamp::from_nanos(self.last.as_nanos().wrapping_add_signed(difference));
        match head & 3 {
            FRAME => self.frame(),
            TICK => Some(Entry::Tick(self.last)),
            JSON => {
                let len = self.number()?;
                Some(Entry::Json(self.last, self.body(len)?))
            }
            _ => None,
        }
    }

    fn frame(&mut self) -> Option<Entry<'a>> {
        let place = usize::try_from(self.number()?).ok()?;
        if place == self.ways.len() && place < MOST_WAYS {
            let way = self.way()?;
            self.ways.push(way);
        }
        let Way { vantage, passage, link, vlan, owner } = *self.ways.get(place)?;
        let (len, more) = (self.number()?, self.number()?);
        let data = self.body(len)?;
        let wire_len = u32::try_from(len.checked_add(more)?).ok()?;
        Some(Entry::Frame(Frame { at: self.last, vantage, passage, owner, link, vlan, data, wire_len }))
    }

    fn way(&mut self) -> Option<Way> {
        let first = self.number()?;
        let vantage = VantageId(u16::try_from(first >> 2).ok()?);
        let passage = match first & 3 {
            0 => Passage::In,
            1 => Passage::Out,
            2 => Passage::Unknown,
            _ => return None,
        };
        let link = LinkType::from_number(u32::try_from(self.number()?).ok()?)?;
        let vlan = match self.number()? {
            0 => None,
            vlan => Some(u16::try_from(vlan - 1).ok()?),
        };
        let owner = match self.number()? {
            0 => None,
            owner => Some(Owner(u32::try_from(owner).ok()?)),
        };
        Some(Way { vantage, passage, link, vlan, owner })
    }

    fn body(&mut self, len: u64) -> Option<&'a [u8]> {
        let (body, rest) = self.bodies.split_at_checked(usize::try_from(len).ok()?)?;
        self.bodies = rest;
        Some(body)
    }

    /// LEB128.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for place in 0..10 {
            let (&byte, rest) = self.heads.split_first()?;
            self.heads = rest;
            number |= u64::from(byte & 0x7f).checked_shl(7 * place)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

fn number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

const fn code(passage: Passage) -> u8 {
    match passage {
        Passage::In => 0,
        Passage::Out => 1,
        Passage::Unknown => 2,
    }
}
