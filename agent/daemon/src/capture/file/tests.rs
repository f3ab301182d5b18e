//! Capture files by hand in both formats, cut and mutated, and the whole way through gzip.

use std::io::{Cursor, Write as _};

use proptest::prelude::*;

use super::*;

const FRAME: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xcc];

/// A pcap file with frames at whole seconds and a fraction.
fn pcap(magic: u32, big_endian: bool, link: u32, frames: &[(u32, u32, &[u8], u32)]) -> Vec<u8> {
    let word = |number: u32| if big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
    let half = |number: u16| if big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
    let mut file = Vec::new();
    file.extend(word(magic));
    file.extend(half(2));
    file.extend(half(4));
    for number in [0, 0, 65_535, link] {
        file.extend(word(number));
    }
    for (seconds, fraction, data, wire_len) in frames {
        for number in [*seconds, *fraction, data.len() as u32, *wire_len] {
            file.extend(word(number));
        }
        file.extend(*data);
    }
    file
}

/// A pcapng block.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let len = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &len, &body, &len].concat()
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// A pcapng file with one Ethernet interface (microseconds) and one frame at 1,000.000002 s.
fn pcapng() -> Vec<u8> {
    let section = [words(&[0x1a2b_3c4d, 1]), vec![0xff; 8]].concat();
    let interface = words(&[1, 0]);
    let micros = 1_000_000_002_u64;
    let packet = [words(&[0, (micros >> 32) as u32, micros as u32, 14, 1_500]), FRAME.to_vec()].concat();
    [block(0x0a0d_0d0a, &section), block(1, &interface), block(0xbad, &[1, 2, 3]), block(6, &packet)].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// Reads everything: "seconds.nanos link captured/wire" a frame, and the error in the end if there is one.
fn read(file: Vec<u8>) -> Vec<String> {
    let mut told = Vec::new();
    let mut source = match FileSource::from_reader(Cursor::new(file), Path::new("f")) {
        Ok(source) => source,
        Err(error) => return vec![cause(&error)],
    };
    loop {
        let mut sink = |frame: Frame<'_>| {
            let nanos = frame.at.as_nanos();
            let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
            told.push(format!(
                "{seconds}.{rest:09} {:?} {}/{}",
                frame.link,
                frame.data.len(),
                frame.wire_len
            ));
        };
        match source.poll(Duration::ZERO, &mut sink) {
            Ok(Progress::Ended) => return told,
            Ok(_) => {}
            Err(error) => {
                told.push(cause(&error));
                return told;
            }
        }
    }
}

fn cause(error: &CaptureError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn check(file: Vec<u8>, expect: &[&str]) {
    assert_eq!(read(gzip(&file)), expect, "packed");
    assert_eq!(read(file), expect);
}

#[test]
fn pcap_of_every_order_resolution_and_link() {
    for big_endian in [false, true] {
        let one = [(1_000, 2, &FRAME[..], 14)];
        check(pcap(0xa1b2_c3d4, big_endian, 1, &one), &["1000.000002000 Ethernet 14/14"]);
        check(pcap(0xa1b2_3c4d, big_endian, 1, &one), &["1000.000000002 Ethernet 14/14"]);
        check(pcap(0xa1b2_c3d4, big_endian, 101, &one), &["1000.000002000 RawIp 14/14"]);
        check(pcap(0xa1b2_c3d4, big_endian, 113, &one), &["1000.000002000 LinuxSll 14/14"]);
        check(pcap(0xa1b2_c3d4, big_endian, 276, &one), &["1000.000002000 LinuxSll2 14/14"]);
        check(pcap(0xa1b2_c3d4, big_endian, 0, &one), &["1000.000002000 Null 14/14"]);
        check(
            pcap(0xa1b2_c3d4, big_endian, 1, &[(7, 0, &FRAME[..], 1_500)]),
            &["7.000000000 Ethernet 14/1500"],
        );
        check(pcap(0xa1b2_c3d4, big_endian, 1, &[]), &[]);
    }
}

#[test]
fn pcapng_with_blocks_that_nobody_knows() {
    check(pcapng(), &["1000.000002000 Ethernet 14/1500"]);
}

#[test]
fn what_is_no_capture_says_so() {
    check(
        b"hello, I am no capture at all".to_vec(),
        &["it is no capture file: it begins neither as pcap nor as pcapng, packed with gzip or not"],
    );
    assert_eq!(read(Vec::new()).len(), 1);
    let told = read(pcap(0xa1b2_c3d4, false, 105, &[]));
    assert!(told[0].contains("link type 105"), "{told:?}");
}

#[test]
fn a_cut_file_yields_what_stood_before_the_cut() {
    let two = pcap(0xa1b2_c3d4, false, 1, &[(1, 0, &FRAME[..], 14), (2, 0, &FRAME[..], 14)]);
    for cut in 1..30 {
        let told = read(two[..two.len() - cut].to_vec());
        assert_eq!(told[0], "1.000000000 Ethernet 14/14");
        assert!(told[1].contains("truncated"), "{told:?}");
    }
    let ng = pcapng();
    let told = read(ng[..ng.len() - 1].to_vec());
    assert!(told.last().unwrap().contains("truncated"), "{told:?}");
}

#[test]
fn lengths_that_cannot_be_are_refused_without_taking_memory() {
    let mut file = pcap(0xa1b2_c3d4, false, 1, &[(1, 0, &FRAME[..], 14)]);
    file[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(read(file)[0].contains("malformed"));
}

proptest! {
    /// Whatever is done to a file, reading it ends, and frames are never longer on record than on the wire.
    #[test]
    fn mutated_files_do_no_harm(
        ng in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = if ng { pcapng() } else { pcap(0xa1b2_c3d4, false, 1, &[(1, 0, &FRAME[..], 14), (2, 0, &FRAME[..], 14)]) };
        for (place, value) in changes {
            let place = place.index(file.len());
            file[place] = value;
        }
        let Ok(mut source) = FileSource::from_reader(Cursor::new(file), Path::new("f")) else { return Ok(()) };
        let mut sane = true;
        while let Ok(Progress::Frames(_) | Progress::Idle) =
            source.poll(Duration::ZERO, &mut |frame| sane &= frame.data.len() as u64 <= u64::from(frame.wire_len)) {}
        prop_assert!(sane);
    }
}
