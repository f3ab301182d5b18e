//! The program is run by a small interpreter over frames that are built, together with the packet that a parser
//! must make of them, from one description.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use reeve_policy::Protocol;

use super::assembler::*;
use super::*;
use crate::frame::LinkType;
use crate::packet::{self, Arp, Ip, Packet, Tcp, Udp};

/// What the program returns for `frame` when the random word is `random`. Loads beyond the end drop the frame,
/// as in the kernel.
fn run(program: &[Instruction], frame: &[u8], random: u32) -> u32 {
    let (mut a, mut x, mut scratch, mut pc) = (0_u32, 0_u32, [0_u32; 16], 0_usize);
    let load = |offset: u32, len: usize| {
        let bytes = frame.get(offset as usize..offset as usize + len)?;
        Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    };
    loop {
        let Instruction { code, jt, jf, k } = program[pc];
        pc += 1;
        let loaded = match code {
            LD_W_ABS if k == RANDOM_OFFSET => Some(random),
            LD_H_ABS => load(k, 2),
            LD_B_ABS => load(k, 1),
            LD_H_IND => load(x + k, 2),
            LD_B_IND => load(x + k, 1),
            LD_W_IND => load(x.wrapping_add(k), 4),
            LD_W_ABS => load(k, 4),
            LD_W_LEN => Some(frame.len() as u32),
            LD_MEM => Some(scratch[k as usize]),
            _ => Some(a),
        };
        let Some(loaded) = loaded else { return 0 };
        a = loaded;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            LDX_IMM => x = k,
            ST => scratch[k as usize] = a,
            TAX => x = a,
            TXA => a = x,
            ALU_ADD_K => a = a.wrapping_add(k),
            ALU_SUB_K => a = a.wrapping_sub(k),
            ALU_SUB_X => a = a.wrapping_sub(x),
            ALU_AND_K => a &= k,
            ALU_MOD_K => a %= k,
            JMP_JA => pc += k as usize,
            JMP_JEQ_K => pc += jump(a == k),
            JMP_JGE_K => pc += jump(a >= k),
            JMP_JSET_K => pc += jump(a & k != 0),
            RET_K => return k,
            LD_W_ABS | LD_W_IND | LD_H_ABS | LD_B_ABS | LD_H_IND | LD_B_IND | LD_W_LEN | LD_MEM => {}
            other => panic!("no such instruction: {other:#x}"),
        }
    }
}

/// What the kernel does with a frame, whatever the random word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Sampled,
    Dropped,
}

fn fate(link: FilterLink, interest: &Interest, frame: &[u8]) -> Fate {
    let program = program(link, interest);
    let sampling = u32::from(interest.sampling.max(1));
    let hit = run(&program, frame, sampling * 12_345);
    let misses: Vec<u32> = (1..sampling).map(|rest| run(&program, frame, sampling * 777 + rest)).collect();
    let lens = [0, interest.keep(), interest.keep_to_read()];
    assert!(lens.contains(&hit), "the program returns a snap length or nothing");
    match (hit, misses.iter().all(|miss| *miss == 0), misses.iter().all(|miss| *miss == hit)) {
        (0, ..) => Fate::Dropped,
        (_, _, true) => Fate::Kept,
        (_, true, _) => Fate::Sampled,
        other => panic!("neither one nor the other: {other:?}"),
    }
}

/// A TCP packet in words, from which both its bytes and its parsed form are made.
#[derive(Clone, Debug)]
struct Described {
    raw: bool,
    six: bool,
    /// How many VLAN tags are left in the frame.
    tags: usize,
    flags: u8,
    ports: (u16, u16),
    tcp_options: usize,
    ip_options: usize,
    /// "More fragments" and the offset in units of eight bytes.
    fragment: (bool, u16),
    payload_len: usize,
    /// Bytes behind the IP packet that pad a short Ethernet frame.
    padding: usize,
    /// The length field says 0, as in the kernel's big segments.
    big: bool,
}

impl Default for Described {
    fn default() -> Self {
        Self {
            raw: false,
            six: false,
            tags: 0,
            flags: TcpFlags::ACK,
            ports: (40_000, 443),
            tcp_options: 0,
            ip_options: 0,
            fragment: (false, 0),
            payload_len: 100,
            padding: 0,
            big: false,
        }
    }
}

impl Described {
    fn link(&self) -> FilterLink {
        if self.raw { FilterLink::RawIp } else { FilterLink::Ethernet }
    }

    fn fragmented(&self) -> bool {
        self.fragment != (false, 0)
    }

    fn tcp_bytes(&self) -> Vec<u8> {
        let mut tcp = vec![0; 20 + self.tcp_options * 4 + self.payload_len];
        tcp[0..2].copy_from_slice(&self.ports.0.to_be_bytes());
        tcp[2..4].copy_from_slice(&self.ports.1.to_be_bytes());
        tcp[12] = ((5 + self.tcp_options) << 4) as u8 | 1;
        tcp[13] = self.flags;
        tcp
    }

    fn ip_bytes(&self) -> Vec<u8> {
        let tcp = self.tcp_bytes();
        let fragment = u16::from(self.fragment.0) << 13 | self.fragment.1;
        if self.six {
            let mut ip = vec![0; 40];
            ip[0] = 0x62;
            let next_header = 6;
            let mut extension = Vec::new();
            if self.fragmented() {
                // RFC 8200, 4.5: the offset stands in the upper 13 bits, "more" in the lowest.
                let field = self.fragment.1 << 3 | u16::from(self.fragment.0);
                extension = vec![next_header, 0, (field >> 8) as u8, field as u8, 0, 0, 0, 9];
                ip[6] = 44;
            } else if self.ip_options > 0 {
                // A destination options header of PadN.
                extension = vec![next_header, 0, 1, 4, 0, 0, 0, 0];
                ip[6] = 60;
            } else {
                ip[6] = next_header;
            }
            let len = if self.big { 0 } else { (extension.len() + tcp.len()) as u16 };
            ip[4..6].copy_from_slice(&len.to_be_bytes());
            return [ip, extension, tcp].concat();
        }
        let mut ip = vec![1; 20 + self.ip_options * 4];
        ip[0] = 0x45 + self.ip_options as u8;
        let len = if self.big { 0 } else { (ip.len() + tcp.len()) as u16 };
        ip[2..4].copy_from_slice(&len.to_be_bytes());
        // "Don't fragment" is set on nearly everything and must not look like a fragment.
        let field = if self.fragmented() { fragment } else { 0x4000 };
        ip[6..8].copy_from_slice(&field.to_be_bytes());
        ip[9] = 6;
        [ip, tcp].concat()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut ip = self.ip_bytes();
        if self.raw {
            return ip;
        }
        ip.resize(ip.len() + self.padding, 0);
        let mut frame = vec![2; 12];
        for tag in 0..self.tags {
            frame.extend([[0x88, 0xa8], [0x81, 0x00], [0x91, 0x00]][tag % 3]);
            frame.extend([0, 7]);
        }
        frame.extend(if self.six { [0x86, 0xdd] } else { [0x08, 0x00] });
        [frame, ip].concat()
    }

    /// What a parser makes of it. Only what [`weight`] looks at is filled in with care.
    fn packet(&self) -> Packet<'static> {
        let padding = if self.big && !self.raw { self.padding } else { 0 };
        let tcp = Tcp {
            source_port: self.ports.0,
            destination_port: self.ports.1,
            sequence: 0,
            acknowledgment: 0,
            flags: TcpFlags(self.flags),
            window: 0,
            has_options: self.tcp_options > 0,
            payload_len: (self.payload_len + padding) as u32,
            payload: &[],
        };
        let fragment = match self.fragment {
            (false, 0) => Fragment::No,
            (true, 0) => Fragment::First,
            _ => Fragment::Later,
        };
        let later = fragment == Fragment::Later;
        let six = self.six;
        ip_packet(
            (self.tags > 0 && !self.raw).then_some(7),
            Ip {
                protocol: Protocol::Tcp,
                fragment,
                extensions: u8::from(self.ip_options > 0 || six && self.fragmented()),
                length: self.ip_bytes().len() as u32,
                ..ip(six, if later { Transport::Absent } else { Transport::Tcp(tcp) })
            },
        )
    }
}

fn ip<'a>(six: bool, transport: Transport<'a>) -> Ip<'a> {
    let address: IpAddr = if six { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    Ip {
        source: address,
        destination: address,
        protocol: Protocol::Udp,
        ttl: 64,
        fragment: Fragment::No,
        extensions: 0,
        length: 0,
        segments: 1,
        headers: &[],
        transport,
    }
}

fn ip_packet(vlan: Option<u16>, ip: Ip<'_>) -> Packet<'_> {
    Packet { source_mac: None, destination_mac: None, vlan, body: Body::Ip(ip) }
}

fn expected_weight(fate: Fate, interest: &Interest) -> u32 {
    match fate {
        Fate::Sampled => u32::from(interest.sampling),
        Fate::Kept => 1,
        Fate::Dropped => panic!("no packet comes of it"),
    }
}

/// Runs the program over a described packet, and holds the weight against what it did.
fn check(described: Described, expect: Fate) {
    for (raw, six) in [(false, false), (false, true), (true, false), (true, true)] {
        let described = Described { raw, six, ..described.clone() };
        if described.raw && described.tags > 0 {
            continue;
        }
        let interest = Interest::default();
        let fate = fate(described.link(), &interest, &described.bytes());
        assert_eq!(fate, expect, "{described:?}");
        assert_eq!(weight(&described.packet(), &interest), expected_weight(fate, &interest), "{described:?}");
    }
}

#[test]
fn bulk_is_sampled() {
    check(Described::default(), Fate::Sampled);
    check(Described { flags: TcpFlags::ACK | TcpFlags::PSH, ..Described::default() }, Fate::Sampled);
    // ECN does not change a packet's role.
    check(Described { flags: TcpFlags::ACK | 0xc0, ..Described::default() }, Fate::Sampled);
    check(Described { payload_len: 1, ..Described::default() }, Fate::Sampled);
    check(Described { payload_len: 0, tcp_options: 3, ..Described::default() }, Fate::Sampled);
    check(Described { payload_len: 1400, tcp_options: 10, ..Described::default() }, Fate::Sampled);
    check(Described { payload_len: 1400, big: true, ..Described::default() }, Fate::Sampled);
}

#[test]
fn tags_change_nothing() {
    for tags in 1..=4 {
        check(Described { tags, ..Described::default() }, Fate::Sampled);
        check(Described { tags, flags: TcpFlags::SYN, ..Described::default() }, Fate::Kept);
        check(Described { tags, payload_len: 0, padding: 6, ..Described::default() }, Fate::Kept);
        check(Described { tags, ports: (50_000, 25), ..Described::default() }, Fate::Kept);
        check(Described { tags, ip_options: 1, ..Described::default() }, Fate::Kept);
    }
    // Behind more of them the parser does not look either.
    let many = Described { tags: 5, ..Described::default() }.bytes();
    assert_eq!(fate(FilterLink::Ethernet, &Interest::default(), &many), Fate::Kept);
}

#[test]
fn what_opens_refuses_or_closes_is_kept() {
    for flags in 0..=255_u8 {
        let bulk = flags & 0x37 == TcpFlags::ACK;
        let expect = if bulk { Fate::Sampled } else { Fate::Kept };
        check(Described { flags, ..Described::default() }, expect);
    }
}

#[test]
fn bare_acknowledgments_are_kept_even_when_padded() {
    check(Described { payload_len: 0, ..Described::default() }, Fate::Kept);
    check(Described { payload_len: 0, padding: 6, ..Described::default() }, Fate::Kept);
    check(Described { payload_len: 0, big: true, ..Described::default() }, Fate::Kept);
}

#[test]
fn odd_packets_are_kept() {
    check(Described { ip_options: 1, ..Described::default() }, Fate::Kept);
    check(Described { fragment: (true, 0), ..Described::default() }, Fate::Kept);
    check(Described { fragment: (true, 185), ..Described::default() }, Fate::Kept);
    check(Described { fragment: (false, 1), ..Described::default() }, Fate::Kept);
}

#[test]
fn ports_wanted_whole_are_kept_from_either_end() {
    let interest = Interest::default();
    for port in interest.whole_ports.into_iter().chain(interest.read_ports) {
        check(Described { ports: (port, 50_000), ..Described::default() }, Fate::Kept);
        check(Described { ports: (50_000, port), ..Described::default() }, Fate::Kept);
    }
    check(Described { ports: (26, 8080), ..Described::default() }, Fate::Sampled);
}

#[test]
fn what_is_read_is_kept_further() {
    let interest = Interest {
        read_addresses: vec!["1.1.1.0/24".parse().unwrap(), "::/16".parse().unwrap()],
        ..Interest::default()
    };
    for (ports, six, tags, expect) in [
        ((50_000, 25), false, 0, interest.read_len),
        ((587, 50_000), true, 2, interest.read_len),
        ((50_000, 22), false, 0, interest.snap_len),
        // The addresses of a described packet are ones, or zeros in IPv6.
        ((50_000, 443), false, 0, interest.read_len),
        ((50_000, 443), true, 0, interest.read_len),
        ((50_000, 443), true, 3, interest.read_len),
        ((50_000, 443), false, 1, interest.read_len),
    ] {
        let described = Described { ports, six, tags, ..Described::default() };
        let program = program(described.link(), &interest);
        assert_eq!(run(&program, &described.bytes(), 1), expect, "{described:?}");
    }
    let elsewhere = Interest {
        read_addresses: vec!["1.1.2.0/24".parse().unwrap(), "1::/16".parse().unwrap()],
        ..Interest::default()
    };
    for (six, tags) in [(false, 0), (true, 0), (false, 1), (true, 2)] {
        let described = Described { six, tags, ..Described::default() };
        assert_eq!(fate(described.link(), &elsewhere, &described.bytes()), Fate::Sampled, "{described:?}");
    }
}

#[test]
fn what_opens_quic_is_kept_further() {
    let interest = Interest { quic_ports: vec![443, 8443], ..Interest::default() };
    for (six, tags) in [(false, 0), (true, 0), (false, 2), (true, 1)] {
        let check = |port: u16, first: u8, protocol: u8, expect: u32| {
            let mut frame = Described { six, tags, ports: (40_000, port), ..Described::default() }.bytes();
            let ip = 14 + 4 * tags;
            let (at, header) = if six { (6, 40) } else { (9, 20) };
            frame[ip + at] = protocol;
            frame[ip + header + 8] = first;
            let program = program(FilterLink::Ethernet, &interest);
            assert_eq!(run(&program, &frame, 1), expect, "{port} {first:#x} {protocol}");
        };
        check(443, 0xc3, 17, interest.read_len);
        check(8443, 0xff, 17, interest.read_len);
        check(443, 0x43, 17, interest.snap_len);
        check(444, 0xc3, 17, interest.snap_len);
        check(443, 0xc3, 132, interest.snap_len);
        check(443, 0xc3, 6, 0);
    }
}

#[test]
fn without_sampling_everything_stands_for_itself() {
    for sampling in [0, 1] {
        let interest = Interest { sampling, ..Interest::default() };
        let bulk = Described::default();
        assert_eq!(fate(FilterLink::Ethernet, &interest, &bulk.bytes()), Fate::Kept);
        assert_eq!(weight(&bulk.packet(), &interest), 1);
    }
}

#[test]
fn a_snap_length_of_zero_keeps_frames_whole() {
    let interest = Interest { snap_len: 0, ..Interest::default() };
    let frame = Described { flags: TcpFlags::SYN, ..Described::default() }.bytes();
    assert_eq!(run(&program(FilterLink::Ethernet, &interest), &frame, 1), u32::MAX);
}

#[test]
fn many_ports_stay_within_the_kernels_limit() {
    let read_addresses = (0..32_u8).flat_map(|n| {
        [IpNet::from(IpAddr::from([20, 0, 0, n])), format!("2001:db8:{n:x}::/48").parse().unwrap()]
    });
    let interest = Interest {
        whole_ports: (142..=201).filter(|port| *port != 201).collect(),
        read_addresses: read_addresses.collect(),
        quic_ports: (1_000..1_032).collect(),
        ..Interest::default()
    };
    let len = program(FilterLink::Ethernet, &interest).len();
    assert!(len <= 4096, "{len}");
    let far = Described { ports: (199, 60_000), ..Described::default() };
    assert_eq!(fate(FilterLink::Ethernet, &interest, &far.bytes()), Fate::Kept);
    let none = Described { ports: (201, 60_000), ..Described::default() };
    assert_eq!(fate(FilterLink::Ethernet, &interest, &none.bytes()), Fate::Sampled);
    for (six, tags) in [(true, 0), (false, 1), (true, 2)] {
        let lane = Described { six, tags, ports: (60_000, 201), ..Described::default() };
        assert_eq!(fate(FilterLink::Ethernet, &interest, &lane.bytes()), Fate::Sampled, "{lane:?}");
    }
}

#[test]
fn what_is_not_tcp_is_kept_and_what_is_not_ip_is_dropped() {
    let interest = Interest::default();
    let ethernet = |ethertype: u16, payload: &[u8]| {
        let frame = [&[2; 12][..], &ethertype.to_be_bytes(), payload].concat();
        fate(FilterLink::Ethernet, &interest, &frame)
    };
    assert_eq!(ethernet(0x0806, &[0; 28]), Fate::Kept);
    for tag in [0x8100, 0x88a8, 0x9100] {
        assert_eq!(ethernet(tag, &[0, 1, 8, 6, 0, 1]), Fate::Kept);
        assert_eq!(ethernet(tag, &[0, 1, 8, 0]), Fate::Kept, "cut off where IP begins");
        assert_eq!(ethernet(tag, &[0, 1, 8]), Fate::Dropped, "cut off where the type would be");
        assert_eq!(ethernet(tag, &[0, 1, 0x88, 0xcc, 0, 0]), Fate::Dropped);
    }
    for other in [0x88cc, 0x0026, 0x8863, 0x8847, 0] {
        assert_eq!(ethernet(other, &[0; 50]), Fate::Dropped, "{other:#x}");
    }
    for protocol in (0..=255_u8).filter(|protocol| *protocol != 6) {
        let mut four = Described::default().ip_bytes();
        four[9] = protocol;
        assert_eq!(ethernet(0x0800, &four), Fate::Kept);
        assert_eq!(fate(FilterLink::RawIp, &interest, &four), Fate::Kept);
        let mut six = Described { six: true, ..Described::default() }.ip_bytes();
        six[6] = protocol;
        assert_eq!(ethernet(0x86dd, &six), Fate::Kept);
        assert_eq!(fate(FilterLink::RawIp, &interest, &six), Fate::Kept);
    }
    assert_eq!(fate(FilterLink::RawIp, &interest, &[0; 60]), Fate::Dropped);
}

#[test]
fn headers_that_contradict_themselves_are_kept() {
    let interest = Interest::default();
    let spoil = |six: bool, at: usize, byte: u8| {
        let mut frame = Described { six, ..Described::default() }.bytes();
        frame[at] = byte;
        fate(FilterLink::Ethernet, &interest, &frame)
    };
    assert_eq!(spoil(false, 14, 0x44), Fate::Kept, "an IPv4 header of four words");
    assert_eq!(spoil(false, 14, 0x65), Fate::Kept, "version 6 where the EtherType says 4");
    assert_eq!(spoil(true, 14, 0x40), Fate::Kept, "version 4 where the EtherType says 6");
    assert_eq!(spoil(false, 17, 30), Fate::Kept, "a total length below the headers'");
    assert_eq!(spoil(true, 19, 19), Fate::Kept, "a payload length below the header's");
    assert_eq!(spoil(false, 46, 0x40), Fate::Kept, "a TCP header of four words");
    // The claim counts, not the frame: the parser goes by the header too.
    assert_eq!(spoil(false, 16, 0x7f), Fate::Sampled);
}

#[test]
fn frames_cut_short_are_kept_as_soon_as_they_are_ip() {
    for six in [false, true] {
        let whole = Described { six, payload_len: 0, tcp_options: 2, ..Described::default() }.bytes();
        let headers = if six { 14 + 60 } else { 14 + 40 };
        for len in 0..=whole.len() {
            let expect = match len {
                0..14 => Fate::Dropped,
                len if len < headers => Fate::Kept,
                _ => Fate::Sampled,
            };
            assert_eq!(fate(FilterLink::Ethernet, &Interest::default(), &whole[..len]), expect, "{len}");
        }
    }
}

#[test]
fn what_is_not_tcp_stands_for_itself() {
    let interest = Interest::default();
    let udp = Udp { source_port: 1, destination_port: 2, payload_len: 9, payload: &[] };
    for transport in [Transport::Udp(udp), Transport::Other, Transport::Absent] {
        assert_eq!(weight(&ip_packet(None, ip(false, transport)), &interest), 1);
    }
    let (sender_mac, address) = (macaddr::MacAddr6::nil(), Ipv4Addr::LOCALHOST);
    let arp = Body::Arp(Arp { operation: 1, sender_mac, sender: address, target: address });
    for body in [arp, Body::Other(0x88cc)] {
        let packet = Packet { source_mac: None, destination_mac: None, vlan: None, body };
        assert_eq!(weight(&packet, &interest), 1);
    }
}

fn described() -> impl Strategy<Value = Described> {
    let port = prop_oneof![Just(22_u16), Just(25), Just(443), any::<u16>()];
    let fragment = prop_oneof![4 => Just((false, 0)), 1 => (any::<bool>(), 0_u16..0x1fff)];
    let mostly_none = |max: usize| prop_oneof![3 => Just(0_usize), 1 => 0..=max];
    let shape = (any::<bool>(), any::<bool>(), prop_oneof![6 => Just(0_usize), 1 => 1_usize..=4]);
    let tcp = (any::<u8>(), port.clone(), port, mostly_none(10));
    let rest = (mostly_none(10), fragment, mostly_none(1400), mostly_none(6), any::<bool>());
    (shape, tcp, rest).prop_map(|((raw, six, tags), (flags, from, to, tcp_options), rest)| {
        let (ip_options, fragment, payload_len, padding, big) = rest;
        let tags = if raw { 0 } else { tags };
        let ports = (from, to);
        Described {
            raw,
            six,
            tags,
            flags,
            ports,
            tcp_options,
            ip_options,
            fragment,
            payload_len,
            padding,
            big,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn program_and_weight_agree(described in described(), power in 0_u32..9) {
        let interest = Interest { sampling: 1 << power, ..Interest::default() };
        let (link, bytes) = (described.link(), described.bytes());
        let expect = expected_weight(fate(link, &interest, &bytes), &interest);
        prop_assert_eq!(weight(&described.packet(), &interest), expect);
        // The parser as it is, of as much as is captured; what it refuses counts for nothing.
        let link = if described.raw { LinkType::RawIp } else { LinkType::Ethernet };
        let captured = &bytes[..bytes.len().min(192)];
        let is_malformed = |packet: &Packet<'_>| {
            matches!(packet.body, Body::Ip(Ip { transport: Transport::Malformed(_), .. }))
        };
        if let Ok(packet) = packet::parse(link, captured, bytes.len() as u32)
            && !is_malformed(&packet)
        {
            prop_assert_eq!(weight(&packet, &interest), expect, "{:?}", packet);
        }
    }

    #[test]
    fn any_bytes_end_in_a_verdict(frame in proptest::collection::vec(any::<u8>(), 0..200), random: u32) {
        for link in [FilterLink::Ethernet, FilterLink::RawIp] {
            let verdict = run(&program(link, &Interest::default()), &frame, random);
            prop_assert!([0, Interest::default().snap_len, Interest::default().read_len].contains(&verdict));
        }
    }
}
