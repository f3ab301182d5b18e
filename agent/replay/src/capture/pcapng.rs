//! The newer capture format: sections of blocks, several interfaces, each with a time resolution of its own.
//!
//! Read: section headers of either byte order and any number of them, interface descriptions, enhanced, simple
//! and obsolete packet blocks. Every other block is skipped by its length. A simple packet block has no time; it
//! gets that of the packet before it.
//!
//! See draft-ietf-opsawg-pcapng.

use reeve_core::{Frame, LinkType, Passage, VantageId};
use reeve_policy::Timestamp;

use super::{Defect, RECORD_LEN_MAX, Records, Refusal, Step, cooked_passage};

mod options;
mod units;

use units::Units;

/// The type of a section header block reads the same in both byte orders.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// The byte-order magic as it reads in the writer's byte order.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// How many interfaces a section may describe.
const INTERFACES_MAX: usize = 65_536;

/// What has been learned of a file so far.
#[derive(Debug, Default)]
pub(super) struct Reader {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// The time of the last packet that had one.
    latest: Timestamp,
}

/// An interface of the current section.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u16,
    /// The most bytes of a frame that were captured; 0 if all.
    snap_len: u32,
    units: Units,
}

/// Whether a file that begins so is of this format.
pub(super) fn is_pcapng(data: &[u8]) -> bool {
    data.starts_with(&SECTION_HEADER.to_be_bytes())
}

/// A block's fields, in the byte order of its section.
#[derive(Clone, Copy)]
struct Fields<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl<'a> Fields<'a> {
    fn half(self, at: usize) -> Result<u16, Defect> {
        let bytes = *self.bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(Defect::BlockTooShort)?;
        Ok(if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn word(self, at: usize) -> Result<u32, Defect> {
        let bytes = *self.bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(Defect::BlockTooShort)?;
        Ok(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// The bytes from `at` on.
    fn rest(self, at: usize) -> Result<&'a [u8], Defect> {
        self.bytes.get(at..).ok_or(Defect::BlockTooShort)
    }
}

impl Records for Reader {
    fn step<'a>(&mut self, data: &'a [u8]) -> Result<Step<'a>, Refusal> {
        let Some(start) = data.first_chunk::<12>() else { return Ok(Step::Need(12)) };
        let start = Fields { bytes: start, big_endian: self.big_endian };
        let kind = start.word(0)?;
        let big_endian = match kind {
            SECTION_HEADER => section_order(start.rest(8)?)?,
            _ => self.big_endian,
        };
        let total_len = Fields { big_endian, ..start }.word(4)?;
        if total_len < 12 || total_len % 4 != 0 {
            return Err(Defect::BlockLength { len: total_len }.into());
        }
        let known =
            matches!(kind, SECTION_HEADER | INTERFACE_DESCRIPTION | PACKET | SIMPLE_PACKET | ENHANCED_PACKET);
        if !known {
            return Ok(Step::Skip(u64::from(total_len)));
        }
        if total_len > RECORD_LEN_MAX {
            return Err(Defect::RecordTooLong { len: total_len }.into());
        }
        let len = total_len as usize;
        let Some(block) = data.get(..len) else { return Ok(Step::Need(len)) };
        let whole = Fields { bytes: block, big_endian };
        let trailer = whole.word(len - 4)?;
        if trailer != total_len {
            return Err(Defect::BlockTrailer { len: total_len, trailer }.into());
        }
        let body = Fields { bytes: &block[8..len - 4], big_endian };
        self.block(kind, body, len)
    }
}

/// The byte order of the section that begins with this magic.
fn section_order(magic: &[u8]) -> Result<bool, Defect> {
    let in_order = |big_endian| Fields { bytes: magic, big_endian }.word(0);
    match (in_order(false)?, in_order(true)?) {
        (BYTE_ORDER_MAGIC, _) => Ok(false),
        (_, BYTE_ORDER_MAGIC) => Ok(true),
        (other, _) => Err(Defect::ByteOrder { magic: other }),
    }
}

impl Reader {
    fn block<'a>(&mut self, kind: u32, body: Fields<'a>, len: usize) -> Result<Step<'a>, Refusal> {
        let frame = match kind {
            SECTION_HEADER => {
                self.section(body)?;
                return Ok(Step::Skip(len as u64));
            }
            INTERFACE_DESCRIPTION => {
                self.interface(body)?;
                return Ok(Step::Skip(len as u64));
            }
            ENHANCED_PACKET => self.packet(body, body.word(0)?)?,
            PACKET => self.packet(body, u32::from(body.half(0)?))?,
            _ => self.simple_packet(body)?,
        };
        Ok(Step::Frame(frame, len))
    }

    /// A new section forgets the interfaces of the last.
    fn section(&mut self, body: Fields<'_>) -> Result<(), Refusal> {
        let (major, minor) = (body.half(4)?, body.half(6)?);
        // 1.2 is what some writers put where they mean 1.0; libpcap takes it too.
        if major != 1 || !matches!(minor, 0 | 2) {
            return Err(Refusal::Version { major, minor });
        }
        self.big_endian = body.big_endian;
        self.interfaces.clear();
        Ok(())
    }

    fn interface(&mut self, body: Fields<'_>) -> Result<(), Defect> {
        if self.interfaces.len() >= INTERFACES_MAX {
            return Err(Defect::TooManyInterfaces);
        }
        let (link, snap_len) = (body.half(0)?, body.word(4)?);
        let (resolution, offset_s) = options::timing(body.rest(8)?, body.big_endian);
        self.interfaces.push(Interface { link, snap_len, units: Units::new(resolution, offset_s) });
        Ok(())
    }

    /// An enhanced packet block, or an obsolete one, which differs in how the interface's number is stored.
    fn packet<'a>(&mut self, body: Fields<'a>, interface: u32) -> Result<Frame<'a>, Refusal> {
        let (described, link) = self.described(interface)?;
        let ticks = u64::from(body.word(4)?) << 32 | u64::from(body.word(8)?);
        let (captured, original) = (body.word(12)?, body.word(16)?);
        let captured = captured as usize;
        let rest = body.rest(20)?;
        let data = rest.get(..captured).ok_or(Defect::BlockTooShort)?;
        let options = rest.get(captured.next_multiple_of(4)..).unwrap_or_default();
        self.latest = described.units.timestamp(ticks);
        let mut frame = self.frame(link, data, original);
        match options::direction(options, body.big_endian) {
            Passage::Unknown => {}
            said => frame.passage = said,
        }
        Ok(frame)
    }

    /// A simple packet block is of the section's first interface.
    fn simple_packet<'a>(&self, body: Fields<'a>) -> Result<Frame<'a>, Refusal> {
        let (described, link) = self.described(0)?;
        let original = body.word(0)?;
        let captured = match described.snap_len {
            0 => original,
            snap_len => original.min(snap_len),
        };
        let data = body.rest(4)?.get(..captured as usize).ok_or(Defect::BlockTooShort)?;
        Ok(self.frame(link, data, original))
    }

    fn described(&self, interface: u32) -> Result<(Interface, LinkType), Refusal> {
        let found = usize::try_from(interface).ok().and_then(|index| self.interfaces.get(index));
        let described = *found.ok_or(Defect::UnknownInterface { interface })?;
        let number = u32::from(described.link);
        let link = LinkType::from_number(number).ok_or(Refusal::Link { interface, number })?;
        Ok((described, link))
    }

    fn frame<'a>(&self, link: LinkType, data: &'a [u8], original: u32) -> Frame<'a> {
        let captured = u32::try_from(data.len()).unwrap_or(u32::MAX);
        Frame {
            at: self.latest,
            vantage: VantageId(0),
            passage: cooked_passage(link, data),
            owner: None,
            link,
            vlan: None,
            data,
            wire_len: original.max(captured),
        }
    }
}
