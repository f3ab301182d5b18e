//! The options of an interface description, as far as they bear on time.

/// `if_tsresol`, one byte.
const TIME_RESOLUTION: u16 = 9;
/// `if_tsoffset`, eight bytes, signed seconds.
const TIME_OFFSET: u16 = 14;
const END: u16 = 0;

/// The resolution as it is coded (6, microseconds, if it is not given) and the offset in seconds.
///
/// Options only add to a block, so a list that breaks off, or a value of the wrong length, is left unread.
pub(super) fn timing(mut list: &[u8], big_endian: bool) -> (u8, i64) {
    let (mut resolution, mut offset_s) = (6, 0);
    while let Some((head, rest)) = list.split_first_chunk::<4>() {
        let half =
            |bytes: [u8; 2]| if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
        let (code, len) = (half([head[0], head[1]]), usize::from(half([head[2], head[3]])));
        let Some(value) = rest.get(..len) else { break };
        match code {
            END => break,
            TIME_RESOLUTION => {
                if let [value] = value {
                    resolution = *value;
                }
            }
            TIME_OFFSET => {
                if let Ok(value) = value.try_into() {
                    offset_s = if big_endian { i64::from_be_bytes(value) } else { i64::from_le_bytes(value) };
                }
            }
            _ => {}
        }
        list = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    (resolution, offset_s)
}
