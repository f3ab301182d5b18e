//! Packet headers as a capture that every analyser opens: pcapng (draft-ietf-opsawg-pcapng), one section, one interface of raw IP,
//! nanoseconds, with the lengths that the packets had on the wire, and a comment that says what they are evidence of.
//!
//! Left out: reading, which is the shell's.

use crate::alert::HeaderSample;

/// The type of a section header block reads the same in both byte orders.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// As it reads in the writer's byte order.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// LINKTYPE_RAW: the packet begins with its IPv4 or IPv6 header.
const LINK_RAW: u16 = 101;
const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
/// shb_userappl.
const OPTION_APPLICATION: u16 = 4;
/// if_tsresol: the negative power of ten.
const OPTION_RESOLUTION: u16 = 9;

/// The capture. `comment` stands at its head.
#[must_use]
pub fn capture(comment: &str, samples: &[HeaderSample]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut head = Vec::new();
    head.extend(BYTE_ORDER_MAGIC.to_le_bytes());
    // Version 1.0; the length of the section is not told.
    head.extend([1, 0, 0, 0]);
    head.extend([0xff; 8]);
    option(&mut head, OPTION_COMMENT, comment.as_bytes());
    option(&mut head, OPTION_APPLICATION, b"Reeve");
    option(&mut head, OPTION_END, &[]);
    block(&mut bytes, SECTION_HEADER, &head);
    let mut interface = Vec::new();
    interface.extend(LINK_RAW.to_le_bytes());
    // Reserved; then 0: no limit was set by the writer, each packet tells what it has.
    interface.extend([0; 6]);
    option(&mut interface, OPTION_COMMENT, b"headers only: payload is never kept");
    option(&mut interface, OPTION_RESOLUTION, &[9]);
    option(&mut interface, OPTION_END, &[]);
    block(&mut bytes, INTERFACE_DESCRIPTION, &interface);
    for sample in samples {
        block(&mut bytes, ENHANCED_PACKET, &packet(sample));
    }
    bytes
}

fn packet(sample: &HeaderSample) -> Vec<u8> {
    let nanos = sample.at.as_nanos();
    let captured = u32::try_from(sample.headers.len()).unwrap_or(u32::MAX);
    let mut bytes = vec![0; 4];
    bytes.extend(((nanos >> 32) as u32).to_le_bytes());
    bytes.extend(((nanos & 0xffff_ffff) as u32).to_le_bytes());
    bytes.extend(captured.to_le_bytes());
    bytes.extend(sample.wire_len.max(captured).to_le_bytes());
    bytes.extend(&sample.headers);
    pad(&mut bytes);
    bytes
}

fn option(bytes: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    bytes.extend(code.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(&value[..usize::from(length)]);
    pad(bytes);
}

/// Blocks and options end on 32 bits.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A block: its type, its length, what is in it, and its length again.
fn block(bytes: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = u32::try_from(body.len() + 12).expect("what is written here is small").to_le_bytes();
    bytes.extend(kind.to_le_bytes());
    bytes.extend(length);
    bytes.extend(body);
    bytes.extend(length);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn a_capture_is_made_as_the_draft_says() {
        let headers = vec![0x45, 1, 2, 3, 4];
        let sample = HeaderSample {
            at: Timestamp::from_nanos(0x0102_0304_0506_0708),
            wire_len: 1_500,
            headers,
            is_forged: false,
        };
        let bytes = capture("ab", &[sample]);
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((word(0), word(8)), (SECTION_HEADER, BYTE_ORDER_MAGIC));
        let mut blocks = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let length = word(at + 4) as usize;
            assert_eq!(word(at + length - 4) as usize, length, "at {at}");
            blocks.push((word(at), at, length));
            at += length;
        }
        let kinds: Vec<u32> = blocks.iter().map(|(kind, ..)| *kind).collect();
        assert_eq!(kinds, [SECTION_HEADER, INTERFACE_DESCRIPTION, ENHANCED_PACKET]);
        let at = blocks[2].1;
        assert_eq!((word(at + 12), word(at + 16)), (0x0102_0304, 0x0506_0708));
        assert_eq!((word(at + 20), word(at + 24)), (5, 1_500));
        assert_eq!(bytes[at + 28..at + 36], [0x45, 1, 2, 3, 4, 0, 0, 0]);
    }
}
