//! A scan as a capture file, for the tests of every program that reads one.

/// A pcap with `frames` SYNs of 203.0.113.10, one a second, to as many ports.
pub fn pcap(frames: u16) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        file.extend(word.to_le_bytes());
    }
    for number in 0..frames {
        for word in [1_700_000_000 + u32::from(number), 0, 40, 40] {
            file.extend(word.to_le_bytes());
        }
        let mut packet = [0_u8; 40];
        packet[..10].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6]);
        packet[12..20].copy_from_slice(&[203, 0, 113, 10, 20, 0, 0, 1]);
        packet[20..22].copy_from_slice(&40_000_u16.to_be_bytes());
        packet[22..24].copy_from_slice(&(1_000 + number).to_be_bytes());
        packet[32..34].copy_from_slice(&[0x50, 0x02]);
        file.extend(packet);
    }
    file
}
