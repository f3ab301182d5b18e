//! Parser tests: frames by hand, an independent parser as oracle, and rubbish.

use std::net::Ipv4Addr;

use pnet_packet::Packet as _;
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::{ethernet, icmp, ipv4, ipv6, tcp, udp, vlan};
use proptest::prelude::*;

use super::*;
use crate::frame::LinkType;

/// Bytes from hexadecimal digits; white space is for people.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// One line about a packet.
fn describe(packet: &Packet<'_>) -> String {
    let vlan = packet.vlan.map_or(String::new(), |id| format!("vlan {id} "));
    let ip = match &packet.body {
        Body::Other(kind) => return format!("{vlan}other {kind:04x}"),
        Body::Arp(arp) => return format!("{vlan}arp {} {} for {}", arp.operation, arp.sender, arp.target),
        Body::Ip(ip) => ip,
    };
    let transport = match &ip.transport {
        Transport::Tcp(t) => {
            let options = if t.has_options { " options" } else { "" };
            format!(
                "{}>{} flags {:02x} +{}{options}",
                t.source_port, t.destination_port, t.flags.0, t.payload_len
            )
        }
        Transport::Udp(u) => format!("{}>{} +{}", u.source_port, u.destination_port, u.payload_len),
        Transport::Icmp(i) => match i.quoted {
            None => format!("{:?} id {}", i.kind, i.identifier),
            Some(q) => format!(
                "{:?} of {} {}:{}>{}:{}",
                i.kind, q.protocol, q.source, q.source_port, q.destination, q.destination_port
            ),
        },
        Transport::Sctp(s) => format!("{}>{} chunk {}", s.source_port, s.destination_port, s.first_chunk),
        Transport::Malformed(reason) => return format!("{vlan}{reason}"),
        Transport::Tiny { source_port, destination_port } => format!("{source_port}>{destination_port} tiny"),
        other => format!("{other:?}"),
    };
    let fragment = match ip.fragment {
        Fragment::No => String::new(),
        other => format!(" {other:?} fragment"),
    };
    let (headers, segments) = (ip.headers.len(), ip.segments);
    format!(
        "{vlan}{} {}>{} {transport}{fragment} [{} ext, {headers} of {}, x{segments}]",
        ip.protocol, ip.source, ip.destination, ip.extensions, ip.length
    )
}

/// Parses `bytes` as a frame that was `more` bytes longer on the wire.
fn check_cut(link: LinkType, bytes: &str, more: u32, expect: &str) {
    let bytes = hex(bytes);
    let told = match parse(link, &bytes, bytes.len() as u32 + more) {
        Ok(packet) => describe(&packet),
        Err(reason) => reason.to_string(),
    };
    assert_eq!(told, expect);
}

fn check(link: LinkType, bytes: &str, expect: &str) {
    check_cut(link, bytes, 0, expect);
}

const MACS: &str = "020000000001 020000000002 ";
const IP4: &str = "4500 0028 0000 0000 40 06 0000 0a000001 14000001 ";
const SYN: &str = "9c40 0016 00000001 00000000 5002 0400 0000 0000";
const TCP_LINE: &str = "tcp 10.0.0.1>20.0.0.1 40000>22 flags 02 +0 [0 ext, 40 of 40, x1]";

#[test]
fn link_headers_are_seen_through() {
    let ip = format!("{IP4}{SYN}");
    check(LinkType::Ethernet, &format!("{MACS}0800 {ip}"), TCP_LINE);
    check(LinkType::Ethernet, &format!("{MACS}0800 {ip} 000000000000"), TCP_LINE);
    check(LinkType::Ethernet, &format!("{MACS}8100 6064 0800 {ip}"), &format!("vlan 100 {TCP_LINE}"));
    check(LinkType::Ethernet, &format!("{MACS}88a8 0007 8100 0064 0800 {ip}"), &format!("vlan 7 {TCP_LINE}"));
    check(LinkType::Ethernet, &format!("{MACS}0040 aaaa03 000000 0800 {ip}"), TCP_LINE);
    check(LinkType::Ethernet, &format!("{MACS}8864 1100 0001 002a 0021 {ip}"), TCP_LINE);
    check(LinkType::Ethernet, &format!("{MACS}0026 424203 0000000000"), "other 0000");
    check(LinkType::Ethernet, &format!("{MACS}88cc 0000"), "other 88cc");
    check(LinkType::RawIp, &ip, TCP_LINE);
    check(LinkType::Null, &format!("02000000 {ip}"), TCP_LINE);
    check(LinkType::Null, &format!("00000002 {ip}"), TCP_LINE);
    check(LinkType::LinuxSll, &format!("0004 0001 0006 0200000000010000 0800 {ip}"), TCP_LINE);
    check(LinkType::LinuxSll2, &format!("0800 0000 00000002 0001 04 06 0200000000010000 {ip}"), TCP_LINE);
    check(
        LinkType::Ethernet,
        &format!("{MACS}0806 0001 0800 06 04 0001 020000000002 0a000001 000000000000 0a000002"),
        "arp 1 10.0.0.1 for 10.0.0.2",
    );
}

#[test]
fn what_is_wrong_is_told() {
    let ip = |text: &str| text.to_owned();
    check(LinkType::Ethernet, "0200", "link-header");
    check(LinkType::Ethernet, &format!("{MACS}8100 60"), "link-header");
    check(LinkType::Null, "00000063 45", "address-family");
    check(LinkType::Ethernet, &format!("{MACS}0806 0001 0800 06 04 0001"), "arp");
    check(LinkType::RawIp, "", "ip-header");
    check(LinkType::RawIp, "55", "ip-header");
    check(LinkType::RawIp, "4500 0028", "ip-header");
    check(
        LinkType::Ethernet,
        &format!("{MACS}0800 6500 0028 0000 0000 40 06 0000 0a000001 14000001"),
        "ip-header",
    );
    check(LinkType::RawIp, &ip("4400 0014 0000 0000 40 06 0000 0a000001 14000001"), "ipv4-header-length");
    check(LinkType::RawIp, &ip("4600 0014 0000 0000 40 06 0000 0a000001 14000001"), "ipv4-header-length");
    check(LinkType::RawIp, &ip("4500 0015 0000 0000 40 06 0000 0a000001 14000001"), "ip-length");
    check(LinkType::RawIp, &ip("4500 0018 0000 0000 40 06 0000 0a000001 14000001 9c400016"), "tcp-header");
    check(LinkType::RawIp, &format!("{IP4}9c40 0016 00000001 00000000 4002 0400 0000 0000"), "tcp-header");
    check(LinkType::RawIp, &format!("{IP4}9c40 0016 00000001 00000000 6002 0400 0000 0000"), "tcp-header");
    check(
        LinkType::RawIp,
        &ip("4500 001c 0000 0000 40 11 0000 0a000001 14000001 0035 0035 0009 0000"),
        "udp-header",
    );
    check(
        LinkType::RawIp,
        &ip("4500 001c 0000 0000 40 11 0000 0a000001 14000001 0035 0035 0007 0000"),
        "udp-header",
    );
    check(LinkType::RawIp, &ip("4500 0018 0000 0000 40 01 0000 0a000001 14000001 08000000"), "icmp-header");
    check(LinkType::RawIp, &ip("4500 0018 0000 0000 40 84 0000 0a000001 14000001 08000000"), "sctp-header");
}

#[test]
fn a_capture_that_was_cut_short_is_not_malformed() {
    check_cut(
        LinkType::RawIp,
        &IP4[..IP4.len() - 1],
        20,
        "tcp 10.0.0.1>20.0.0.1 Absent [0 ext, 20 of 40, x1]",
    );
    check_cut(
        LinkType::RawIp,
        &format!("{IP4}9c40 0016 00000001"),
        12,
        "tcp 10.0.0.1>20.0.0.1 Absent [0 ext, 20 of 40, x1]",
    );
    check_cut(
        LinkType::RawIp,
        "4500 ffff 0000 0000 40 06 0000 0a000001 14000001 9c40 0016 00000001 00000001 5010 0400 0000 0000",
        65_495,
        "tcp 10.0.0.1>20.0.0.1 40000>22 flags 10 +65495 [0 ext, 40 of 65535, x46]",
    );
    // A big segment: the length does not fit the header and stands in the frame's alone.
    check_cut(
        LinkType::RawIp,
        "4500 0000 0000 0000 40 06 0000 0a000001 14000001 9c40 0016 00000001 00000001 5010 0400 0000 0000",
        144_800,
        "tcp 10.0.0.1>20.0.0.1 40000>22 flags 10 +144800 [0 ext, 40 of 144840, x100]",
    );
}

#[test]
fn options_and_fragments_are_told() {
    check(
        LinkType::RawIp,
        &format!("4600 002c 0000 0000 40 06 0000 0a000001 14000001 94040000 {SYN}"),
        "tcp 10.0.0.1>20.0.0.1 40000>22 flags 02 +0 [1 ext, 44 of 44, x1]",
    );
    check(
        LinkType::RawIp,
        &format!("4500 0028 0001 2000 40 06 0000 0a000001 14000001 {SYN}"),
        "tcp 10.0.0.1>20.0.0.1 40000>22 flags 02 +0 First fragment [0 ext, 40 of 40, x1]",
    );
    check(
        LinkType::RawIp,
        "4500 001c 0001 2000 40 06 0000 0a000001 14000001 9c400016 00000001",
        "tcp 10.0.0.1>20.0.0.1 40000>22 tiny First fragment [0 ext, 24 of 28, x1]",
    );
    check(
        LinkType::RawIp,
        "4500 001c 0001 0001 40 06 0000 0a000001 14000001 9c400016 00000001",
        "tcp 10.0.0.1>20.0.0.1 Absent Later fragment [0 ext, 20 of 28, x1]",
    );
    // All of the transport header is in the second fragment.
    for (number, name) in [("06", "tcp"), ("11", "udp"), ("3a", "icmpv6")] {
        check(
            LinkType::RawIp,
            &format!("6000 0000 0010 2c 40 {IP6} 3c 00 0001 00000007 {number} 00 0104 00000000"),
            &format!("{name} fd00::1>fd00::2 0>0 tiny First fragment [2 ext, 56 of 56, x1]"),
        );
    }
}

const IP6: &str = "fd000000000000000000000000000001 fd000000000000000000000000000002 ";

#[test]
fn extension_headers_are_walked() {
    let udp = "0035 0035 0008 0000";
    let line = |rest: &str| format!("udp fd00::1>fd00::2 53>53 +0{rest}");
    check(LinkType::RawIp, &format!("60000000 0008 11 40 {IP6}{udp}"), &line(" [0 ext, 48 of 48, x1]"));
    check(
        LinkType::RawIp,
        &format!("60000000 0018 00 40 {IP6} 3c00 010400000000 1100 010400000000 {udp}"),
        &line(" [2 ext, 64 of 64, x1]"),
    );
    check(
        LinkType::RawIp,
        &format!("60000000 0010 2c 40 {IP6} 1100 0001 00000007 {udp}"),
        &line(" First fragment [1 ext, 56 of 56, x1]"),
    );
    check(
        LinkType::RawIp,
        &format!("60000000 0010 2c 40 {IP6} 1100 0009 00000007 {udp}"),
        "udp fd00::1>fd00::2 Absent Later fragment [1 ext, 48 of 56, x1]",
    );
    check(
        LinkType::RawIp,
        &format!("60000000 0010 2c 40 {IP6} 1100 0000 00000007 {udp}"),
        &line(" [1 ext, 56 of 56, x1]"),
    );
    check(LinkType::RawIp, &format!("60000000 0008 00 40 {IP6} 3c01 010400000000"), "ipv6-extension");
    check(LinkType::RawIp, &format!("60000000 0004 00 40 {IP6} 3c00 0104"), "ipv6-extension");
    // Hosts walk as far as the packet goes.
    let many = "3c00 010400000000 ".repeat(39);
    check(
        LinkType::RawIp,
        &format!("60000000 0148 3c 40 {IP6}{many} 1100 010400000000 {udp}"),
        &line(" [40 ext, 368 of 368, x1]"),
    );
    let many = "3c00 010400000000 ".repeat(256);
    check(LinkType::RawIp, &format!("60000000 0800 3c 40 {IP6}{many}"), "ipv6-extensions");
    check(
        LinkType::RawIp,
        &format!("60000000 0000 3b 40 {IP6}"),
        "ip-59 fd00::1>fd00::2 Other [0 ext, 40 of 40, x1]",
    );
}

#[test]
fn errors_say_what_they_are_about() {
    let quoted = "4500 0028 0000 0000 40 06 0000 0a000001 14000001 9c400016 00000001";
    let icmp = |head: &str| format!("4500 0038 0000 0000 40 01 0000 14000001 0a000001 {head} {quoted}");
    check(
        LinkType::RawIp,
        &icmp("0301 0000 00000000"),
        "icmp 20.0.0.1>10.0.0.1 Unreachable of tcp 10.0.0.1:40000>20.0.0.1:22 [0 ext, 28 of 56, x1]",
    );
    check(
        LinkType::RawIp,
        &icmp("0304 0000 00000000"),
        "icmp 20.0.0.1>10.0.0.1 PacketTooBig of tcp 10.0.0.1:40000>20.0.0.1:22 [0 ext, 28 of 56, x1]",
    );
    check(
        LinkType::RawIp,
        &icmp("0b00 0000 00000000"),
        "icmp 20.0.0.1>10.0.0.1 TimeExceeded of tcp 10.0.0.1:40000>20.0.0.1:22 [0 ext, 28 of 56, x1]",
    );
    check(
        LinkType::RawIp,
        &icmp("0800 0000 00070001"),
        "icmp 20.0.0.1>10.0.0.1 Request id 7 [0 ext, 28 of 56, x1]",
    );
    check(
        LinkType::RawIp,
        &format!(
            "60000000 0038 3a 40 {IP6} 0104 0000 00000000 60000000 0008 11 40 {IP6} 0035 0036 0008 0000"
        ),
        "icmpv6 fd00::1>fd00::2 Unreachable of udp fd00::1:53>fd00::2:54 [0 ext, 48 of 96, x1]",
    );
    check(
        LinkType::RawIp,
        &format!("60000000 0008 3a 40 {IP6} 8700 0000 00000000"),
        "icmpv6 fd00::1>fd00::2 Neighbour id 0 [0 ext, 48 of 48, x1]",
    );
}

/// Holds what this parser says of a frame against what an independent one says.
fn agrees(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(packet) = parse(LinkType::Ethernet, bytes, bytes.len() as u32) else { return Ok(()) };
    let frame = ethernet::EthernetPacket::new(bytes).unwrap();
    let (mut kind, mut rest) = (frame.get_ethertype(), frame.payload().to_vec());
    while kind == ethernet::EtherTypes::Vlan {
        let tag = vlan::VlanPacket::new(&rest).unwrap();
        (kind, rest) = (tag.get_ethertype(), tag.payload().to_vec());
    }
    let Body::Ip(ip) = &packet.body else { return Ok(()) };
    let (next, payload) = match kind {
        ethernet::EtherTypes::Ipv4 => {
            let other = ipv4::Ipv4Packet::new(&rest).unwrap();
            prop_assert_eq!(ip.source, IpAddr::from(other.get_source()));
            prop_assert_eq!(ip.destination, IpAddr::from(other.get_destination()));
            prop_assert_eq!(ip.ttl, other.get_ttl());
            if other.get_total_length() != 0 {
                prop_assert_eq!(ip.length, u32::from(other.get_total_length()));
            }
            let start = usize::from(other.get_header_length()) * 4;
            (other.get_next_level_protocol(), rest[start..].to_vec())
        }
        ethernet::EtherTypes::Ipv6 if ip.extensions == 0 => {
            let other = ipv6::Ipv6Packet::new(&rest).unwrap();
            prop_assert_eq!(ip.source, IpAddr::from(other.get_source()));
            prop_assert_eq!(ip.destination, IpAddr::from(other.get_destination()));
            prop_assert_eq!(ip.ttl, other.get_hop_limit());
            (other.get_next_header(), rest[40..].to_vec())
        }
        _ => return Ok(()),
    };
    prop_assert_eq!(ip.protocol.number(), Some(next.0));
    match &ip.transport {
        Transport::Tcp(mine) => {
            prop_assert_eq!(next, IpNextHeaderProtocols::Tcp);
            let other = tcp::TcpPacket::new(&payload).unwrap();
            prop_assert_eq!(mine.source_port, other.get_source());
            prop_assert_eq!(mine.destination_port, other.get_destination());
            prop_assert_eq!(mine.sequence, other.get_sequence());
            prop_assert_eq!(mine.acknowledgment, other.get_acknowledgement());
            prop_assert_eq!(mine.flags.0, other.get_flags());
            prop_assert_eq!(mine.window, other.get_window());
        }
        Transport::Udp(mine) => {
            let other = udp::UdpPacket::new(&payload).unwrap();
            prop_assert_eq!(mine.source_port, other.get_source());
            prop_assert_eq!(mine.destination_port, other.get_destination());
        }
        Transport::Icmp(mine) if next == IpNextHeaderProtocols::Icmp => {
            let other = icmp::IcmpPacket::new(&payload).unwrap();
            prop_assert_eq!(mine.icmp_type, other.get_icmp_type().0);
            prop_assert_eq!(mine.code, other.get_icmp_code().0);
        }
        _ => {}
    }
    Ok(())
}

/// A frame that is sound in most of its parts, so that the parser gets deep into it.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop::sample::select(vec![0x0800_u16, 0x86dd, 0x8100, 0x0806, 0x8864, 0x0100]);
    let protocols = prop::sample::select(vec![1_u8, 6, 17, 58, 132, 0, 43, 44, 51, 60, 59, 47]);
    (kinds, protocols, prop::collection::vec(any::<u8>(), 0..160), any::<bool>(), 5_u8..16).prop_map(
        |(kind, protocol, mut rest, fix_length, words)| {
            let mut frame = vec![2; 12];
            frame.extend(kind.to_be_bytes());
            let mut inner = kind;
            if kind == 0x8100 {
                frame.extend([0, 7, 8, 0]);
                inner = 0x0800;
            }
            if inner == 0x0800 && rest.len() >= 20 {
                rest[0] = 0x40 | words;
                rest[9] = protocol;
                if fix_length {
                    let len = rest.len() as u16;
                    rest[2..4].copy_from_slice(&len.to_be_bytes());
                    rest[6..8].copy_from_slice(&[0, 0]);
                }
            }
            if inner == 0x86dd && rest.len() >= 40 {
                rest[0] = 0x60;
                rest[6] = protocol;
                if fix_length {
                    let len = rest.len() as u16 - 40;
                    rest[4..6].copy_from_slice(&len.to_be_bytes());
                }
            }
            frame.extend(rest);
            frame
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_independent_parser_agrees(bytes in frames()) {
        agrees(&bytes)?;
    }

    #[test]
    fn rubbish_of_any_length_and_link_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0_u32..3_000) {
        for link in [LinkType::Ethernet, LinkType::RawIp, LinkType::Null, LinkType::LinuxSll, LinkType::LinuxSll2] {
            if let Ok(Packet { body: Body::Ip(ip), .. }) = parse(link, &bytes, bytes.len() as u32 + cut) {
                prop_assert!(ip.segments >= 1);
                prop_assert!(ip.headers.len() as u32 <= ip.length);
            }
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_read_as_far_as_it_goes(bytes in frames(), cut in 0_usize..200) {
        let whole = parse(LinkType::Ethernet, &bytes, bytes.len() as u32);
        let short = parse(LinkType::Ethernet, &bytes[..bytes.len().min(cut)], bytes.len() as u32);
        if let (Ok(Packet { body: Body::Ip(whole), .. }), Ok(Packet { body: Body::Ip(short), .. })) = (whole, short) {
            prop_assert_eq!(whole.source, short.source);
            prop_assert_eq!(whole.length, short.length);
        }
    }
}

#[test]
fn addresses_are_in_network_order() {
    let bytes = hex(&format!("{IP4}{SYN}"));
    let Ok(Packet { body: Body::Ip(ip), .. }) = parse(LinkType::RawIp, &bytes, 40) else {
        panic!("not read")
    };
    assert_eq!(ip.source, IpAddr::from(Ipv4Addr::new(10, 0, 0, 1)));
}

/// An IPv4 or IPv6 packet with `rest` behind its header.
fn packet_of(is_v6: bool, protocol: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = if is_v6 {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
        bytes[4..6].copy_from_slice(&(rest.len() as u16).to_be_bytes());
        bytes.extend([0x20; 32]);
        bytes
    } else {
        let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 198, 51, 100, 9, 203, 0, 113, 10];
        bytes[2..4].copy_from_slice(&(20 + rest.len() as u16).to_be_bytes());
        bytes
    };
    bytes.extend(rest);
    bytes
}

/// A transport header, right or wrong, with `text` behind it.
fn transport_of(kind: u8, wrong: u8, text: &[u8]) -> (u8, Vec<u8>) {
    let ports = [19, 136, 0, 25];
    let (protocol, header) = match kind {
        0 => (
            6,
            [
                &ports[..],
                &[0, 0, 0, 1, 0, 0, 0, 2, if wrong == 0 { 0x50 } else { wrong << 4 }, 24, 0, 9, 0, 0, 0, 0],
            ]
            .concat(),
        ),
        1 => (
            17,
            [
                &ports[..],
                &((8 + text.len() as u16).wrapping_add(u16::from(wrong) << 9)).to_be_bytes(),
                &[0, 0],
            ]
            .concat(),
        ),
        2 => (132, [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0]].concat()),
        3 => (1, vec![8, 0, 0, 0, 0, 7, 0, 1]),
        4 => (58, vec![128, 0, 0, 0, 0, 7, 0, 1]),
        5 => (253, Vec::new()),
        _ => (50, Vec::new()),
    };
    (protocol, [&header[..], text].concat())
}

/// A frame with `text` where nobody's headers are, told by some numbers.
fn frame_with(text: &[u8], [kind, wrong, shape, quoting]: [u8; 4], is_v6: bool) -> (LinkType, Vec<u8>) {
    let (protocol, rest) = transport_of(kind % 7, wrong, text);
    let mut packet = packet_of(is_v6, protocol, &rest);
    match quoting % 4 {
        // An error that quotes it, by the same version of IP.
        0 => {
            let error = if is_v6 { [1, 4, 0, 0, 0, 0, 0, 0] } else { [3, 3, 0, 0, 0, 0, 0, 0] };
            packet = packet_of(is_v6, if is_v6 { 58 } else { 1 }, &[&error[..], &packet].concat());
        }
        // A later fragment has no header.
        1 if !is_v6 => (packet[6], packet[7]) = (0, 9),
        _ => {}
    }
    let kind = if is_v6 { 0x86dd_u16 } else { 0x0800 }.to_be_bytes();
    let macs = [2; 12];
    match shape % 6 {
        0 => (LinkType::Ethernet, [&macs[..], &[0x81, 0, 0, 5], &kind, &packet].concat()),
        // Kinds of frames that are not read, and what is no IP at all.
        1 => (LinkType::Ethernet, [&macs[..], &[0x88, 0x47], text].concat()),
        2 => (LinkType::Ethernet, [&macs[..], &[0, 40], text].concat()),
        3 => (LinkType::Ethernet, [&macs[..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[7; 20], text].concat()),
        4 => (LinkType::RawIp, packet),
        _ => (LinkType::Ethernet, [&macs[..], &kind, &packet].concat()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// What somebody says, is quoted as having said, or hides behind a header that is wrong, is in no record and no sample; and
    /// what is kept tells the same as the whole.
    #[test]
    fn nothing_but_headers_is_kept(
        before in 0_usize..90,
        numbers in any::<[u8; 4]>(),
        is_right in any::<bool>(),
        is_v6 in any::<bool>(),
    ) {
        const MARKER: &[u8] = b"hunter2hunter2";
        let text = [&vec![b'.'; before][..], MARKER].concat();
        let numbers = if is_right { [numbers[0], 0, numbers[2], numbers[3]] } else { numbers };
        let (link, frame) = frame_with(&text, numbers, is_v6);
        let wire_len = frame.len() as u32;
        let kept = &frame[..headers_len(link, &frame, wire_len)];
        // Four bytes of it in a row are no chance.
        let has = |bytes: &[u8]| bytes.windows(4).any(|part| MARKER.windows(4).any(|marker| part == marker));
        let is_wrong_tcp = numbers[0] % 7 == 0 && numbers[1] % 16 > 5;
        // A header of TCP that says that it is longer has options there.
        if !is_wrong_tcp || before >= 60 {
            prop_assert!(!has(kept), "{link:?} {:02x?} of {:02x?}", kept, frame);
            if let Ok(Packet { body: Body::Ip(ip), .. }) = parse(link, &frame, wire_len) {
                prop_assert!(!has(ip.headers));
            }
        }
        let (whole, of_kept) = (parse(link, &frame, wire_len), parse(link, kept, wire_len));
        match (whole, of_kept) {
            (Ok(Packet { body: Body::Ip(one), .. }), Ok(Packet { body: Body::Ip(other), .. })) => {
                prop_assert_eq!(one.headers, other.headers);
                prop_assert_eq!(
                    describe(&parse(link, &frame, wire_len).unwrap()),
                    describe(&parse(link, kept, wire_len).unwrap())
                );
            }
            (one, other) => prop_assert_eq!(one, other),
        }
    }

    #[test]
    fn what_is_kept_tells_the_same(bytes in frames(), more in 0_u32..3_000) {
        let wire_len = bytes.len() as u32 + more;
        for link in [LinkType::Ethernet, LinkType::RawIp, LinkType::LinuxSll2, LinkType::Null] {
            let kept = &bytes[..headers_len(link, &bytes, wire_len)];
            let told = |bytes: &[u8]| parse(link, bytes, wire_len).map(|packet| describe(&packet));
            prop_assert_eq!(told(&bytes), told(kept));
        }
    }
}
