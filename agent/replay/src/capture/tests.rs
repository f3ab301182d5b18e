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

/// Writes pcapng blocks in one byte order.
#[derive(Clone, Copy)]
struct Ng {
    big_endian: bool,
}

const LITTLE: Ng = Ng { big_endian: false };
const BIG: Ng = Ng { big_endian: true };

impl Ng {
    fn half(self, number: u16) -> [u8; 2] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn words(self, numbers: &[u32]) -> Vec<u8> {
        let word = |number: &u32| if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        numbers.iter().flat_map(word).collect()
    }

    fn block(self, kind: u32, body: &[&[u8]]) -> Vec<u8> {
        let mut body = body.concat();
        body.resize(body.len().next_multiple_of(4), 0);
        let len = body.len() as u32 + 12;
        [self.words(&[kind, len]), body, self.words(&[len])].concat()
    }

    fn section(self) -> Vec<u8> {
        let version = [self.half(1), self.half(0)].concat();
        self.block(0x0a0d_0d0a, &[&self.words(&[0x1a2b_3c4d]), &version, &[0xff; 8]])
    }

    fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut option = [&self.half(code)[..], &self.half(value.len() as u16), value].concat();
        option.resize(option.len().next_multiple_of(4), 0);
        option
    }

    fn interface(self, link: u16, snap_len: u32, options: &[u8]) -> Vec<u8> {
        self.block(1, &[&self.half(link), &[0; 2], &self.words(&[snap_len]), options])
    }

    /// An enhanced packet block of 1,500 bytes on the wire.
    fn packet(self, interface: u32, ticks: u64, data: &[u8], options: &[u8]) -> Vec<u8> {
        let head = self.words(&[interface, (ticks >> 32) as u32, ticks as u32, data.len() as u32, 1_500]);
        let padding = vec![0; data.len().next_multiple_of(4) - data.len()];
        self.block(6, &[&head, data, &padding, options])
    }
}

/// A pcapng file with one Ethernet interface (microseconds) and one frame at 1,000.000002 s.
fn pcapng(ng: Ng) -> Vec<u8> {
    let unknown = ng.block(0xbad, &[&[1, 2, 3]]);
    [ng.section(), ng.interface(1, 0, &[]), unknown, ng.packet(0, 1_000_000_002, &FRAME, &[])].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// Reads everything: "seconds.nanos link captured/wire" a frame, with its passage if that is known, and the error in the
/// end if there is one.
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
            let passage = match frame.passage {
                Passage::Unknown => String::new(),
                known => format!(" {known:?}"),
            };
            let (link, captured, wire) = (frame.link, frame.data.len(), frame.wire_len);
            told.push(format!("{seconds}.{rest:09} {link:?} {captured}/{wire}{passage}"));
        };
        match source.poll(&mut sink) {
            Ok(Progress::Ended) => return told,
            Ok(_) => {}
            Err(error) => {
                told.push(cause(&error));
                return told;
            }
        }
    }
}

fn cause(error: &CaptureFileError) -> String {
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
        check(pcap(0xa1b2_c3d4, big_endian, 12, &one), &["1000.000002000 RawIp 14/14"]);
        check(pcap(0xa1b2_c3d4, big_endian, 113, &one), &["1000.000002000 LinuxSll 14/14"]);
        check(pcap(0xa1b2_c3d4, big_endian, 0, &one), &["1000.000002000 Null 14/14"]);
        check(
            pcap(0xa1b2_c3d4, big_endian, 1, &[(7, 0, &FRAME[..], 1_500)]),
            &["7.000000000 Ethernet 14/1500"],
        );
        check(pcap(0xa1b2_c3d4, big_endian, 1, &[]), &[]);
    }
}

#[test]
fn cooked_headers_say_which_way_a_frame_went() {
    let passages = [" In", " In", " In", " In", " Out", "", ""];
    for (packet_type, passage) in passages.into_iter().enumerate() {
        let mut sll = [0; 16];
        sll[1] = packet_type as u8;
        let file = pcap(0xa1b2_c3d4, false, 113, &[(1, 0, &sll, 16)]);
        check(file, &[&format!("1.000000000 LinuxSll 16/16{passage}")]);
        let mut sll2 = [0; 20];
        sll2[10] = packet_type as u8;
        let file = pcap(0xa1b2_c3d4, false, 276, &[(1, 0, &sll2, 20)]);
        check(file, &[&format!("1.000000000 LinuxSll2 20/20{passage}")]);
    }
    // Cut off before the packet type, and a type that does not exist.
    check(pcap(0xa1b2_c3d4, false, 276, &[(1, 0, &[0; 10], 60)]), &["1.000000000 LinuxSll2 10/60"]);
    check(pcap(0xa1b2_c3d4, false, 113, &[(1, 0, &[1; 16], 60)]), &["1.000000000 LinuxSll 16/60"]);
}

#[test]
fn pcapng_in_either_order_with_blocks_that_nobody_knows() {
    for ng in [LITTLE, BIG] {
        check(pcapng(ng), &["1000.000002000 Ethernet 14/1500"]);
    }
    // A new section may turn the order round and forgets the interfaces of the last.
    check([pcapng(LITTLE), pcapng(BIG)].concat(), &["1000.000002000 Ethernet 14/1500"; 2]);
    let forgotten = [pcapng(LITTLE), BIG.section(), BIG.packet(0, 0, &FRAME, &[])].concat();
    assert!(read(forgotten)[1].contains("malformed"));
}

#[test]
fn pcapng_interfaces_have_times_and_links_of_their_own() {
    for ng in [LITTLE, BIG] {
        let offset = if ng.big_endian { 7_i64.to_be_bytes() } else { 7_i64.to_le_bytes() };
        let options = [ng.option(9, &[9]), ng.option(14, &offset), ng.option(0, &[])].concat();
        let file = [
            ng.section(),
            ng.interface(1, 0, &[]),
            ng.interface(101, 0, &options),
            ng.packet(1, 5_000_000_003, &[0x45; 20], &[]),
            ng.packet(0, 5_000_003, &FRAME, &[]),
        ];
        check(file.concat(), &["12.000000003 RawIp 20/1500", "5.000003000 Ethernet 14/1500"]);
    }
    // An interface of a link type that is not supported does no harm until it has a packet.
    let file = [LITTLE.section(), LITTLE.interface(105, 0, &[]), LITTLE.interface(1, 0, &[])].concat();
    check([&file[..], &LITTLE.packet(1, 0, &FRAME, &[])].concat(), &["0.000000000 Ethernet 14/1500"]);
    assert!(read([&file[..], &LITTLE.packet(0, 0, &FRAME, &[])].concat())[0].contains("link type 105"));
}

#[test]
fn pcapng_packets_without_a_time_and_obsolete_ones() {
    let ng = LITTLE;
    let simple = ng.block(3, &[&ng.words(&[1_500]), &FRAME[..8]]);
    let number = [ng.half(0), ng.half(0)].concat();
    let obsolete = ng.block(2, &[&number, &ng.words(&[0, 9, 14, 60]), &FRAME, &[0; 2]]);
    let file = [ng.section(), ng.interface(1, 8, &[]), obsolete, simple].concat();
    check(file, &["0.000009000 Ethernet 14/60", "0.000009000 Ethernet 8/1500"]);
}

#[test]
fn pcapng_flags_say_which_way_a_packet_went() {
    for (flags, passage) in [(0, ""), (1, " In"), (2, " Out"), (3, ""), (0x101, " In")] {
        for ng in [LITTLE, BIG] {
            // A comment goes before, and an end with rubbish behind it after.
            let value = ng.words(&[flags]);
            let options =
                [ng.option(1, b"why"), ng.option(2, &value), ng.option(0, &[]), vec![9; 7]].concat();
            let file = [ng.section(), ng.interface(1, 0, &[]), ng.packet(0, 0, &FRAME, &options)].concat();
            check(file, &[&format!("0.000000000 Ethernet 14/1500{passage}")]);
        }
    }
}

#[test]
fn frames_are_of_the_vantage_that_is_told() {
    let source = FileSource::from_reader(Cursor::new(pcapng(LITTLE)), Path::new("f")).unwrap();
    let mut source = source.at_vantage(VantageId(7));
    let mut vantages = Vec::new();
    while source.poll(&mut |frame| vantages.push(frame.vantage)).unwrap() != Progress::Ended {}
    assert_eq!(vantages, [VantageId(7)]);
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

/// How many frames were delivered, and how many the error says came before the cut.
fn cut(file: Vec<u8>) -> (u64, u64) {
    let mut delivered = 0;
    let mut source = match FileSource::from_reader(Cursor::new(file), Path::new("f")) {
        Ok(source) => source,
        Err(CaptureFileError { source: FileError::Truncated { frames, .. }, .. }) => return (0, frames),
        Err(other) => panic!("{other:?}"),
    };
    loop {
        match source.poll(&mut |_| delivered += 1) {
            Ok(Progress::Frames(_)) => {}
            Err(CaptureFileError { source: FileError::Truncated { frames, .. }, .. }) => {
                assert_eq!(source.poll(&mut |_| ()).unwrap(), Progress::Ended);
                return (delivered, frames);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_cut_file_yields_what_stood_before_the_cut_and_says_how_much() {
    let two = pcap(0xa1b2_c3d4, false, 1, &[(1, 0, &FRAME[..], 14), (2, 0, &FRAME[..], 14)]);
    // The header, the first record, the second.
    for len in (4..two.len()).filter(|len| ![24, 54].contains(len)) {
        let expect = u64::from(len > 54);
        assert_eq!(cut(two[..len].to_vec()), (expect, expect), "{len}");
    }
    let ng = pcapng(LITTLE);
    assert_eq!(cut(ng[..ng.len() - 1].to_vec()), (0, 0));
    assert_eq!(cut([&ng[..], &ng[..10]].concat()), (1, 1));
    // More frames than the buffer holds at once.
    let many = pcap(0xa1b2_c3d4, false, 1, &vec![(1, 0, &[0; 1_000][..], 1_000); 1_000]);
    assert_eq!(cut(many[..many.len() - 1].to_vec()), (999, 999));
    // What was packed is cut off as well; how much of the end can be unpacked is the unpacker's.
    let packed = gzip(&many);
    let (delivered, told) = cut(packed[..packed.len() / 2].to_vec());
    assert_eq!(delivered, told);
    assert!(delivered < 1_000);
}

#[test]
fn a_damaged_archive_says_so() {
    let mut packed = gzip(&pcap(0xa1b2_c3d4, false, 1, &[(1, 0, &FRAME[..], 14)]));
    let checksum = packed.len() - 8;
    packed[checksum] ^= 1;
    assert!(read(packed).last().unwrap().contains("gzip stream is damaged"));
}

#[test]
fn lengths_that_cannot_be_are_refused_without_taking_memory() {
    let mut file = pcap(0xa1b2_c3d4, false, 1, &[(1, 0, &FRAME[..], 14)]);
    for len in [RECORD_LEN_MAX + 1, u32::MAX] {
        file[32..36].copy_from_slice(&len.to_le_bytes());
        assert!(read(file.clone())[0].contains("malformed"), "{len}");
    }
    let whole = [LITTLE.section(), LITTLE.interface(1, 0, &[])].concat();
    for len in [0, 8, 13, RECORD_LEN_MAX + 4, u32::MAX - 3] {
        let block = LITTLE.words(&[6, len, 0, 0]);
        assert!(read([&whole[..], &block].concat())[0].contains("malformed"), "{len}");
    }
    // A block of a kind that is skipped may be as long as it likes.
    let block = LITTLE.words(&[0xbad, u32::MAX - 3, 0, 0]);
    assert_eq!(cut([&whole[..], &block].concat()), (0, 0));
}

#[test]
fn fewer_bytes_on_the_wire_than_captured_cannot_be() {
    check(pcap(0xa1b2_c3d4, false, 1, &[(1, 0, &FRAME[..], 3)]), &["1.000000000 Ethernet 14/14"]);
}

/// A file with everything in it that is read.
fn rich(kind: u8) -> Vec<u8> {
    let two = [(1, 0, &FRAME[..], 14), (2, 0, &FRAME[..], 14)];
    match kind {
        0 => pcap(0xa1b2_c3d4, false, 1, &two),
        1 => pcap(0xa1b2_cd34, true, 113, &two),
        _ => {
            let ng = Ng { big_endian: kind == 3 };
            let options = ng.option(2, &ng.words(&[1]));
            let simple = ng.block(3, &[&ng.words(&[14]), &FRAME]);
            let timing = [ng.option(9, &[0x8a]), ng.option(14, &[0xff; 8])].concat();
            let more = [ng.interface(113, 0, &timing), ng.packet(1, 77, &FRAME, &options), simple].concat();
            [pcapng(ng), more].concat()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    /// Whatever is done to a file, reading it ends, frames are never longer on record than on the wire, and what is told
    /// of a cut is what was delivered.
    #[test]
    fn mutated_files_do_no_harm(
        kind in 0_u8..4,
        packed in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut file = if packed { gzip(&rich(kind)) } else { rich(kind) };
        for (place, value) in changes {
            let place = place.index(file.len());
            file[place] = value;
        }
        if keep.index(2) == 0 {
            file.truncate(keep.index(file.len()));
        }
        let Ok(mut source) = FileSource::from_reader(Cursor::new(file), Path::new("f")) else { return Ok(()) };
        let (mut sane, mut delivered) = (true, 0);
        loop {
            let mut sink = |frame: Frame<'_>| {
                sane &= frame.data.len() as u64 <= u64::from(frame.wire_len);
                delivered += 1;
            };
            match source.poll(&mut sink) {
                Ok(Progress::Frames(_)) => {}
                Ok(Progress::Ended) => break,
                Err(CaptureFileError { source: FileError::Truncated { frames, .. }, .. }) => {
                    prop_assert_eq!(frames, delivered);
                    break;
                }
                Err(_) => break,
            }
        }
        prop_assert!(sane);
    }
}
