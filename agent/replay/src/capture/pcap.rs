//! The classic capture format: a file header of 24 bytes, then records.
//!
//! Read: both byte orders, microseconds and nanoseconds, the swapped lengths of writers before version 2.4, and
//! Alexey Kuznetzov's modified format, whose records have eight more bytes. The header's time zone and accuracy
//! are ignored, as everybody ignores them.
//!
//! See draft-ietf-opsawg-pcap.

use reeve_core::{Frame, LinkType, VantageId};
use reeve_policy::Timestamp;

use super::{Defect, RECORD_LEN_MAX, Records, Refusal, Step, cooked_passage};

/// Magic numbers as they read in the writer's byte order.
const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
const MAGIC_MODIFIED: u32 = 0xa1b2_cd34;

/// The length of the file header.
pub(super) const HEADER_LEN: usize = 24;

/// How a file's records read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    big_endian: bool,
    /// How many nanoseconds the fraction counts in.
    fraction_ns: u64,
    record_header_len: usize,
    /// Some writers before version 2.4 stored the two lengths the other way round.
    lengths_in_doubt: bool,
    link: LinkType,
}

fn word(bytes: &[u8], at: usize, big_endian: bool) -> Option<u32> {
    let bytes = *bytes.get(at..)?.first_chunk()?;
    Some(if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
}

/// Whether a file that begins so is of this format, and if so whether in big-endian order.
pub(super) fn byte_order(data: &[u8]) -> Option<bool> {
    let known = |magic: u32| matches!(magic, MAGIC_MICROS | MAGIC_NANOS | MAGIC_MODIFIED);
    [false, true].into_iter().find(|big_endian| word(data, 0, *big_endian).is_some_and(known))
}

impl Reader {
    /// From the file header; `None` if it is too short or not of this format.
    pub fn new(header: &[u8]) -> Option<Result<Self, Refusal>> {
        let big_endian = byte_order(header)?;
        let header: &[u8; HEADER_LEN] = header.first_chunk()?;
        let word = |at: usize| word(header, at, big_endian).expect("the header has six words");
        let versions = word(4);
        let (first, second) = (versions as u16, (versions >> 16) as u16);
        let (major, minor) = if big_endian { (second, first) } else { (first, second) };
        if major != 2 {
            return Some(Err(Refusal::Version { major, minor }));
        }
        // The upper six bits tell of a frame check sequence, which lies behind what the IP header counts.
        let number = word(20) & 0x03ff_ffff;
        let Some(link) = LinkType::from_number(number) else {
            return Some(Err(Refusal::Link { interface: 0, number }));
        };
        Some(Ok(Self {
            big_endian,
            fraction_ns: if word(0) == MAGIC_NANOS { 1 } else { 1_000 },
            record_header_len: if word(0) == MAGIC_MODIFIED { 24 } else { 16 },
            lengths_in_doubt: minor < 4,
            link,
        }))
    }
}

impl Records for Reader {
    fn step<'a>(&mut self, data: &'a [u8]) -> Result<Step<'a>, Refusal> {
        let Some(header) = data.first_chunk::<16>() else { return Ok(Step::Need(self.record_header_len)) };
        let word = |at: usize| word(header, at, self.big_endian).expect("the header has four words");
        let (mut captured, mut original) = (word(8), word(12));
        if self.lengths_in_doubt && captured > original {
            (captured, original) = (original, captured);
        }
        if captured > RECORD_LEN_MAX {
            return Err(Defect::RecordTooLong { len: captured }.into());
        }
        let len = self.record_header_len + captured as usize;
        let Some(record) = data.get(..len) else { return Ok(Step::Need(len)) };
        let nanos = u64::from(word(0)) * 1_000_000_000 + u64::from(word(4)) * self.fraction_ns;
        let data = &record[self.record_header_len..];
        let frame = Frame {
            at: Timestamp::from_nanos(nanos),
            vantage: VantageId(0),
            passage: cooked_passage(self.link, data),
            owner: None,
            link: self.link,
            vlan: None,
            data,
            wire_len: original.max(captured),
        };
        Ok(Step::Frame(frame, len))
    }
}
