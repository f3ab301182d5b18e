//! The interest filter: which frames the kernel hands to a capture ring at all.
//!
//! Purpose: bulk TCP is most of a hosting node's traffic and says almost nothing about abuse. A classic BPF
//! program on every ring keeps whatever can open, refuse or close a connection and everything that is not plain
//! TCP, and of the rest one packet in [`Interest::sampling`], so that an observed interface stays nearly as fast
//! as an unobserved one.
//!
//! Model: [`program`] writes the instructions, [`weight`] says of a parsed packet how many it stands for. The
//! two must agree to the packet: one that only the sampling branch can have kept stands for `sampling` packets,
//! any other for itself. They are tested against each other.
//!
//! Kept whole: ARP; every IP protocol but TCP; fragments; IPv4 with options and IPv6 with extension headers;
//! frames with more VLAN tags than are looked behind; TCP with SYN, FIN, RST or URG, or without ACK; TCP from or to a port in
//! [`Interest::whole_ports`] or [`Interest::read_ports`], or an address in [`Interest::read_addresses`]; bare acknowledgments without options (a scanner's ACK probe looks so, a modern
//! stack's acknowledgment carries a timestamp); headers that contradict themselves. Dropped: every EtherType but
//! ARP, IP and VLAN, and what is too short to have one. The kernel takes the outermost VLAN tag out of what it receives;
//! up to [`TAGS_MAX`] that are left are looked behind.
//!
//! Left out: state. Sampling picks packets, not flows, so a sampled payload is no complete stream; a flow map
//! would need eBPF. How instructions get into the kernel is the shell's part.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU32;

use ipnet::IpNet;
use reeve_policy::language::thresholds::Endpoint;

use crate::packet::{Body, Fragment, Ip, Packet, TcpFlags, Transport};
use crate::stream::MAIL_PORTS;

mod assembler;

pub use assembler::Instruction;
use assembler::{Assembler, Base, Label, Load};

/// What a ring's frames begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilterLink {
    /// An Ethernet header.
    Ethernet,
    /// An IPv4 or IPv6 header at once.
    RawIp,
}

/// What a ring is to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Of bulk TCP one packet in so many is kept; 0 and 1 keep all of it.
    pub sampling: u16,
    /// How many bytes of a frame are kept, counted from its first; 0 keeps it whole. Parsing needs 128.
    pub snap_len: u32,
    /// TCP ports, of either end, whose packets are all kept.
    pub whole_ports: Vec<u16>,
    /// TCP ports, of either end, whose packets are all kept so far that what is said in them can be read.
    pub read_ports: Vec<u16>,
    /// Addresses, of either end, whose TCP packets are kept likewise: protected endpoints.
    pub read_addresses: Vec<IpNet>,
    /// UDP ports of servers where QUIC is opened that is to be read: of packets to them that begin a connection as much is kept.
    pub quic_ports: Vec<u16>,
    /// How many bytes of those are kept; 0 keeps them whole.
    pub read_len: u32,
}

impl Default for Interest {
    /// One in 16, 192 bytes, and the ports of mail and logins.
    fn default() -> Self {
        Self {
            sampling: 16,
            snap_len: 192,
            // FTP, SSH, Telnet, POP3, IMAP, LDAP, SMB, FTPS, IMAPS, POP3S, MSSQL, SSH again, Telnet again, MySQL, RDP, PostgreSQL,
            // VNC, Redis, MongoDB.
            whole_ports: vec![
                21, 22, 23, 110, 143, 389, 445, 990, 993, 995, 1433, 2222, 2323, 3306, 3389, 5432, 5900,
                6379, 27017,
            ],
            read_ports: MAIL_PORTS.to_vec(),
            read_addresses: Vec::new(),
            quic_ports: Vec::new(),
            // A full frame, or the commands that stand at the beginning of a bundle of them.
            read_len: 2_048,
        }
    }
}

impl Interest {
    /// What rings are to see where one packet in `sampling` of bulk TCP is kept and these endpoints are protected.
    #[must_use]
    pub fn of(sampling: u16, endpoints: &[Endpoint]) -> Self {
        let read_addresses = endpoints.iter().flat_map(|endpoint| endpoint.addresses.iter().copied());
        // Whatever goes to a port where some endpoint is known by name only may go to it.
        let named = endpoints.iter().filter(|endpoint| endpoint.is_by_name());
        let ports = |endpoints: &mut dyn Iterator<Item = &Endpoint>| -> BTreeSet<u16> {
            endpoints.flat_map(|endpoint| endpoint.ports.iter().copied()).collect()
        };
        let usual = Self::default();
        let mut read_ports = usual.read_ports.clone();
        read_ports.extend(ports(&mut named.clone()).iter().filter(|port| !usual.read_ports.contains(port)));
        Self {
            sampling,
            read_addresses: IpNet::aggregate(&read_addresses.collect()),
            read_ports,
            quic_ports: ports(&mut endpoints.iter()).into_iter().collect(),
            ..usual
        }
    }

    /// The divisor of the sampling branch, if there is one.
    fn divisor(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(u32::from(self.sampling)).filter(|sampling| sampling.get() > 1)
    }

    /// What a kept frame's program returns: how many bytes to keep.
    const fn keep(&self) -> u32 {
        match self.snap_len {
            0 => u32::MAX,
            snap_len => snap_len,
        }
    }

    /// The same for one whose payload is read.
    const fn keep_to_read(&self) -> u32 {
        match self.read_len {
            0 => u32::MAX,
            read_len if self.snap_len == 0 || read_len < self.snap_len => self.keep(),
            read_len => read_len,
        }
    }

    /// Whether all packets of a TCP connection are kept.
    fn is_whole(&self, ip: &Ip<'_>, ports: [u16; 2]) -> bool {
        let is_named = |port: &u16| self.whole_ports.contains(port) || self.read_ports.contains(port);
        let is_read = |address: IpAddr| self.read_addresses.iter().any(|prefix| prefix.contains(&address));
        ports.iter().any(is_named) || is_read(ip.source) || is_read(ip.destination)
    }
}

// EtherTypes (IEEE 802 Numbers, IANA).
const ETHERTYPE_IPV4: u32 = 0x0800;
const ETHERTYPE_ARP: u32 = 0x0806;
const ETHERTYPE_IPV6: u32 = 0x86dd;
/// Customer tag, service tag, and the number used for the latter before IEEE 802.1ad.
const ETHERTYPES_VLAN: [u32; 3] = [0x8100, 0x88a8, 0x9100];
/// How many tags within a frame's bytes are looked behind: as many as the parser does.
const TAGS_MAX: u32 = 4;
const TAG_LEN: u32 = 4;
/// An Ethernet header without tags, and where its type stands.
const ETHERNET_LEN: u32 = 14;
const ETHERTYPE_AT: u32 = 12;

const PROTOCOL_TCP: u32 = 6;
const PROTOCOL_UDP: u32 = 17;
const UDP_HEADER_LEN: u32 = 8;
/// An IPv4 header without options, a TCP header without options (RFC 791, RFC 9293).
const IPV4_HEADER_LEN: u32 = 20;
const IPV6_HEADER_LEN: u32 = 40;
const TCP_HEADER_LEN: u32 = 20;

/// The flags that decide: of bulk, only ACK is set of these. PSH, ECE and CWR may be as they like.
const DECIDING_FLAGS: u8 = TcpFlags::FIN | TcpFlags::SYN | TcpFlags::RST | TcpFlags::ACK | TcpFlags::URG;

/// The scratch cell that holds the length of the TCP header and payload together.
const SEGMENT_LEN: u32 = 0;

/// The classic BPF program for frames that begin with `link`. It returns how many bytes to keep, 0 for none.
///
/// At most 4,096 instructions (the kernel's limit, `BPF_MAXINSNS`) as long as there are no more than 60 ports, 64 addresses, half of them of IPv6,
/// and 32 ports of QUIC; a policy that asks for more is refused.
///
/// There is a lane for every place where a header may begin: most frames have no tag, and the kernel's compiler makes a plain
/// read of a load from a fixed place and a call of every other. A lane costs instructions, and no time for those that take another.
#[must_use]
pub fn program(link: FilterLink, config: &Interest) -> Vec<Instruction> {
    let mut code = Assembler::default();
    let fixed = match link {
        FilterLink::Ethernet => Base::At(ETHERNET_LEN),
        FilterLink::RawIp => Base::At(0),
    };
    match link {
        FilterLink::Ethernet => {
            code.load(Load::Half(ETHERTYPE_AT));
            code.when_equal(ETHERTYPE_IPV4, Label::Ipv4(fixed), Label::Next);
            // What lies behind a list of ports may be too far for a conditional jump.
            code.when_equal(ETHERTYPE_IPV6, Label::Next, Label::AfterNext);
            code.jump(Label::Ipv6(fixed));
            for tag in ETHERTYPES_VLAN {
                code.when_equal(tag, Label::Tag, Label::Next);
            }
            code.ret_when_equal(ETHERTYPE_ARP, config.keep());
            code.ret(0);
            code.mark(Label::Tag);
            code.jump(Label::Tagged(1));
        }
        FilterLink::RawIp => {
            code.load(Load::Byte(fixed, 0));
            code.and(0xf0);
            code.when_equal(0x40, Label::Ipv4(fixed), Label::Next);
            code.when_equal(0x60, Label::Next, Label::AfterNext);
            code.jump(Label::Ipv6(fixed));
            code.ret(0);
        }
    }
    ipv4(&mut code, fixed, config);
    ipv6(&mut code, fixed, config);
    if link == FilterLink::Ethernet {
        tags(&mut code, config);
        ipv4(&mut code, Base::X, config);
        ipv6(&mut code, Base::X, config);
    }
    code.assemble()
}

/// Looks behind the tags of a frame that has one; leads on with the offset of the network header in X, or to a verdict.
fn tags(code: &mut Assembler, config: &Interest) {
    for tags in 1..=TAGS_MAX {
        code.mark(Label::Tagged(tags));
        code.load_x(ETHERNET_LEN + tags * TAG_LEN);
        code.load(Load::Half(ETHERTYPE_AT + tags * TAG_LEN));
        for tag in ETHERTYPES_VLAN {
            let behind = if tags < TAGS_MAX { Label::Tagged(tags + 1) } else { Label::TooMany };
            code.when_equal(tag, behind, Label::Next);
        }
        code.jump(Label::Network);
    }
    code.mark(Label::Network);
    code.when_equal(ETHERTYPE_IPV4, Label::Ipv4(Base::X), Label::Next);
    code.when_equal(ETHERTYPE_IPV6, Label::Next, Label::AfterNext);
    code.jump(Label::Ipv6(Base::X));
    code.ret_when_equal(ETHERTYPE_ARP, config.keep());
    code.ret(0);
    code.mark(Label::TooMany);
    code.ret(config.keep());
}

/// Loads how many bytes of the frame there are from `base` on. X is never beyond the end: what stands before was loaded.
fn load_rest_len(code: &mut Assembler, base: Base) {
    code.load(Load::FrameLen);
    match base {
        Base::At(0) => {}
        Base::At(offset) => code.subtract(offset),
        Base::X => code.subtract_x(),
    }
}

/// A frame that ends before `base` and this many bytes is kept: a load beyond its end would drop it, and one as short as
/// that is worth seeing.
fn when_shorter(code: &mut Assembler, base: Base, len: u32, keep: Label) {
    code.load(Load::FrameLen);
    match base {
        Base::At(offset) => code.when_at_least(offset + len, Label::Next, keep),
        Base::X => {
            code.subtract_x();
            code.when_at_least(len, Label::Next, keep);
        }
    }
}

/// Keeps what is not plain TCP over IPv4; goes on to TCP with its length in the scratch cell.
fn ipv4(code: &mut Assembler, base: Base, config: &Interest) {
    let (headers_len, keep) = (IPV4_HEADER_LEN + TCP_HEADER_LEN, Label::Keep4(base));
    code.mark(Label::Ipv4(base));
    when_shorter(code, base, headers_len, keep);
    // Version 4, five words of header: no options.
    code.load(Load::Byte(base, 0));
    code.when_equal(0x45, Label::Next, keep);
    // "More fragments" and the fragment offset.
    code.load(Load::HalfFrom(base, 6));
    code.when_any(0x3fff, keep, Label::Next);
    quic(code, base, (9, IPV4_HEADER_LEN), config);
    code.load(Load::Byte(base, 9));
    code.when_equal(PROTOCOL_TCP, Label::Next, keep);
    code.load(Load::HalfFrom(base, 2));
    // The kernel writes 0 for bundles above 64 KiB ("BIG TCP"); then the frame's own length counts.
    code.when_equal(0, Label::Next, Label::Ipv4Length(base));
    load_rest_len(code, base);
    code.mark(Label::Ipv4Length(base));
    code.when_at_least(headers_len, Label::Next, keep);
    code.subtract(IPV4_HEADER_LEN);
    code.store(SEGMENT_LEN);
    let segment = advance(code, base, IPV4_HEADER_LEN);
    tcp(code, segment, (keep, Label::Ports4(base)), config, |prefix| matches!(prefix, IpNet::V4(_)));
}

/// As [`ipv4`], for IPv6.
fn ipv6(code: &mut Assembler, base: Base, config: &Interest) {
    let keep = Label::Keep6(base);
    code.mark(Label::Ipv6(base));
    when_shorter(code, base, IPV6_HEADER_LEN + TCP_HEADER_LEN, keep);
    code.load(Load::Byte(base, 0));
    code.and(0xf0);
    code.when_equal(0x60, Label::Next, keep);
    // Any extension header stands here in place of TCP.
    quic(code, base, (6, IPV6_HEADER_LEN), config);
    code.load(Load::Byte(base, 6));
    code.when_equal(PROTOCOL_TCP, Label::Next, keep);
    code.load(Load::HalfFrom(base, 4));
    code.when_equal(0, Label::Next, Label::Ipv6Length(base));
    load_rest_len(code, base);
    code.subtract(IPV6_HEADER_LEN);
    code.mark(Label::Ipv6Length(base));
    code.when_at_least(TCP_HEADER_LEN, Label::Next, keep);
    code.store(SEGMENT_LEN);
    let segment = advance(code, base, IPV6_HEADER_LEN);
    tcp(code, segment, (keep, Label::Ports6(base)), config, |prefix| matches!(prefix, IpNet::V6(_)));
}

/// Keeps as much as is read of a packet that may open a connection of QUIC to a port where that is read: UDP, of which the first byte says
/// that its header is a long one (RFC 9000, section 17.2). Other UDP is kept as ever. The protocol stands at `protocol_at`.
///
/// An IP and a TCP header's bytes are there, so those of UDP and the one behind it are.
fn quic(code: &mut Assembler, base: Base, (protocol_at, header_len): (u32, u32), config: &Interest) {
    if config.quic_ports.is_empty() {
        return;
    }
    let (other, shorter) = (code.fresh_label(), code.fresh_label());
    code.load(Load::Byte(base, protocol_at));
    code.when_equal(PROTOCOL_UDP, Label::AfterNext, Label::Next);
    code.jump(other);
    code.load(Load::Byte(base, header_len + UDP_HEADER_LEN));
    code.and(0xc0);
    code.when_equal(0xc0, Label::AfterNext, Label::Next);
    code.jump(shorter);
    code.load(Load::HalfFrom(base, header_len + 2));
    for port in &config.quic_ports {
        code.ret_when_equal(u32::from(*port), config.keep_to_read());
    }
    code.mark(shorter);
    code.ret(config.keep());
    code.mark(other);
}

/// Where the header behind one of `len` bytes begins.
fn advance(code: &mut Assembler, base: Base, len: u32) -> Base {
    match base {
        Base::At(offset) => Base::At(offset + len),
        Base::X => {
            code.advance_x(len);
            Base::X
        }
    }
}

/// Keeps what can open, refuse or close a connection, and bare acknowledgments; the ports decide about the rest. The lane's
/// verdict `keep` stands here, so that everything before it reaches it.
fn tcp(
    code: &mut Assembler,
    base: Base,
    (keep, rest): (Label, Label),
    config: &Interest,
    is_of_lane: impl Fn(&IpNet) -> bool,
) {
    code.load(Load::Byte(base, 13));
    code.and(u32::from(DECIDING_FLAGS));
    code.when_equal(u32::from(TcpFlags::ACK), Label::Next, keep);
    // The header's length in words is the high nibble; below five is impossible, above five are options.
    code.load(Load::Byte(base, 12));
    code.and(0xf0);
    code.when_at_least(0x50, Label::Next, keep);
    code.when_equal(0x50, Label::Next, rest);
    code.load(Load::Scratch(SEGMENT_LEN));
    code.when_equal(TCP_HEADER_LEN, keep, rest);
    code.mark(keep);
    code.ret(config.keep());
    code.mark(rest);
    ports(code, base, config, is_of_lane);
}

/// Keeps the ports that are wanted whole, and a sample of the others.
///
/// A verdict beside every comparison costs an instruction each and spares far jumps: a conditional one reaches
/// 255 instructions.
fn ports(code: &mut Assembler, base: Base, config: &Interest, is_of_lane: impl Fn(&IpNet) -> bool) {
    for offset in [0, 2] {
        code.load(Load::HalfFrom(base, offset));
        for port in &config.whole_ports {
            code.ret_when_equal(u32::from(*port), config.keep());
        }
        for port in &config.read_ports {
            code.ret_when_equal(u32::from(*port), config.keep_to_read());
        }
    }
    for prefix in config.read_addresses.iter().filter(|prefix| is_of_lane(prefix)) {
        address(code, base, prefix, config.keep_to_read());
    }
    let Some(divisor) = config.divisor() else {
        code.ret(config.keep());
        return;
    };
    code.load(Load::Random);
    code.modulo(divisor);
    code.ret_when_equal(0, config.keep());
    code.ret(0);
}

/// Keeps what is from or to an address in `prefix`. Addresses end right before the header behind them: the destination's
/// last, and the source's before it.
fn address(code: &mut Assembler, base: Base, prefix: &IpNet, keep: u32) {
    let (network, mask): (Vec<u8>, Vec<u8>) = match prefix {
        IpNet::V4(net) => (net.network().octets().to_vec(), net.netmask().octets().to_vec()),
        IpNet::V6(net) => (net.network().octets().to_vec(), net.netmask().octets().to_vec()),
    };
    let len = u32::try_from(network.len()).expect("an address is short");
    let word = |bytes: &[u8], at: u32| {
        let at = at as usize;
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    for back in [len, 2 * len] {
        let apart = code.fresh_label();
        for at in (0..len).step_by(4).filter(|at| word(&mask, *at) != 0) {
            code.load(Load::WordBefore(base, back - at));
            if word(&mask, at) != u32::MAX {
                code.and(word(&mask, at));
            }
            code.when_equal(word(&network, at), Label::Next, apart);
        }
        code.ret(keep);
        code.mark(apart);
    }
}

/// How many packets `packet` stands for, having passed [`program`] with the same `interest`: its `sampling`
/// where only the sampling branch can have kept it, 1 otherwise.
///
/// It holds for live rings only: in a capture file every packet stands for itself.
#[must_use]
pub fn weight(packet: &Packet<'_>, interest: &Interest) -> u32 {
    match interest.divisor() {
        Some(divisor) if is_bulk(packet, interest) => divisor.get(),
        _ => 1,
    }
}

/// Whether `packet` is plain TCP that neither opens, refuses nor closes anything, so that only the sampling branch can have
/// kept it.
#[must_use]
pub fn is_bulk(packet: &Packet<'_>, interest: &Interest) -> bool {
    let Body::Ip(ip) = &packet.body else { return false };
    let Transport::Tcp(tcp) = &ip.transport else { return false };
    let plain = ip.fragment == Fragment::No && ip.extensions == 0;
    let bare = tcp.payload_len == 0 && !tcp.has_options;
    plain
        && !bare
        && tcp.flags.0 & DECIDING_FLAGS == TcpFlags::ACK
        && !interest.is_whole(ip, [tcp.source_port, tcp.destination_port])
}

#[cfg(test)]
mod tests;
