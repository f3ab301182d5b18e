//! The options of a block, as far as they bear on time (of an interface description) or direction (of a packet).
//!
//! Options only add to a block, so a list that breaks off, or a value of the wrong length, is left unread.

use reeve_core::Passage;

const END: u16 = 0;
/// `epb_flags` and `pack_flags`, four bytes.
const PACKET_FLAGS: u16 = 2;
/// `if_tsresol`, one byte.
const TIME_RESOLUTION: u16 = 9;
/// `if_tsoffset`, eight bytes, signed seconds.
const TIME_OFFSET: u16 = 14;

/// Code and value of each option in `list`, up to the one that ends it.
fn options(mut list: &[u8], big_endian: bool) -> impl Iterator<Item = (u16, &[u8])> {
    let half =
        move |bytes: [u8; 2]| if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
    std::iter::from_fn(move || {
        let (head, rest) = list.split_first_chunk::<4>()?;
        let (code, len) = (half([head[0], head[1]]), usize::from(half([head[2], head[3]])));
        let value = rest.get(..len).filter(|_| code != END)?;
        list = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    })
}

/// The resolution as it is coded (6, microseconds, if it is not given) and the offset in seconds.
pub(super) fn timing(list: &[u8], big_endian: bool) -> (u8, i64) {
    let (mut resolution, mut offset_s) = (6, 0);
    for (code, value) in options(list, big_endian) {
        match (code, value) {
            (TIME_RESOLUTION, [value]) => resolution = *value,
            (TIME_OFFSET, value) => {
                if let Ok(value) = value.try_into() {
                    offset_s = if big_endian { i64::from_be_bytes(value) } else { i64::from_le_bytes(value) };
                }
            }
            _ => {}
        }
    }
    (resolution, offset_s)
}

/// Which way a packet went, by the two lowest bits of its flags: 1 is inbound, 2 outbound.
pub(super) fn direction(list: &[u8], big_endian: bool) -> Passage {
    let flags = options(list, big_endian).find_map(|(code, value)| {
        let value = value.try_into().ok().filter(|_| code == PACKET_FLAGS)?;
        Some(if big_endian { u32::from_be_bytes(value) } else { u32::from_le_bytes(value) })
    });
    match flags.map(|flags| flags & 3) {
        Some(1) => Passage::In,
        Some(2) => Passage::Out,
        _ => Passage::Unknown,
    }
}
