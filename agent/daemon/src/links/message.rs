//! rtnetlink messages, as far as they tell of interfaces (RFC 3549; `linux/netlink.h`, `linux/rtnetlink.h`).
//!
//! Everything is in the machine's byte order and aligned to four bytes. What breaks off is left unread.

use macaddr::MacAddr6;

use super::{Hardware, Link};

/// `struct nlmsghdr`.
const HEADER_LEN: usize = 16;
/// `struct ifinfomsg`.
const INTERFACE_LEN: usize = 16;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;

const NLM_F_REQUEST: u16 = 0x01;
/// The list changed while it was being written.
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
/// The two uppermost bits of an attribute's type are flags.
const NLA_TYPE_MASK: u16 = 0x3fff;

const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 1 << 16;
/// Messages of this family speak of an interface as a bridge's port: "gone" means that it left the bridge.
const AF_BRIDGE: u8 = 7;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// An interface, new or changed.
    New(Link),
    /// An interface is no more.
    Gone { index: u32 },
    /// The end of a list.
    Done { interrupted: bool },
    /// A request was refused; the number is positive.
    Failed { errno: i32 },
    /// Nothing to us.
    Other,
}

/// A message's header and what follows it.
struct Raw<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn raw_messages(mut bytes: &[u8]) -> impl Iterator<Item = Raw<'_>> {
    std::iter::from_fn(move || {
        let len = usize::try_from(word(bytes, 0)?).ok()?;
        let message = bytes.get(..len)?;
        let body = message.get(HEADER_LEN..)?;
        let raw = Raw { kind: half(bytes, 4)?, flags: half(bytes, 6)?, sequence: word(bytes, 8)?, body };
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(raw)
    })
}

/// The messages of a datagram.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = Message> {
    raw_messages(datagram).map(|raw| decode(&raw).unwrap_or(Message::Other))
}

/// The messages of a datagram that answer request number `sequence`.
pub(super) fn messages_of(datagram: &[u8], sequence: u32) -> impl Iterator<Item = Message> {
    let answers = raw_messages(datagram).filter(move |raw| raw.sequence == sequence);
    answers.map(|raw| decode(&raw).unwrap_or(Message::Other))
}

/// Whether any message of a datagram says that the list changed while it was being written.
pub(super) fn is_interrupted(datagram: &[u8]) -> bool {
    raw_messages(datagram).any(|raw| raw.flags & NLM_F_DUMP_INTR != 0)
}

fn decode(raw: &Raw<'_>) -> Option<Message> {
    match raw.kind {
        NLMSG_DONE => Some(Message::Done { interrupted: raw.flags & NLM_F_DUMP_INTR != 0 }),
        NLMSG_ERROR => {
            // 0 would be an acknowledgment, which is not asked for.
            let errno = word(raw.body, 0)?.cast_signed();
            Some(if errno == 0 { Message::Other } else { Message::Failed { errno: errno.saturating_neg() } })
        }
        RTM_NEWLINK | RTM_DELLINK if raw.body.first() == Some(&AF_BRIDGE) => Some(Message::Other),
        RTM_NEWLINK => link(raw.body).map(Message::New),
        RTM_DELLINK => Some(Message::Gone { index: word(raw.body, 4)? }),
        _ => Some(Message::Other),
    }
}

/// `struct ifinfomsg` is: family (1), padding (1), type (2), index (4), flags (4), change mask (4).
fn link(body: &[u8]) -> Option<Link> {
    let (hardware, index, flags) = (half(body, 2)?, word(body, 4)?, word(body, 8)?);
    let (mut name, mut mac) = (None, None);
    for (kind, value) in attributes(body.get(INTERFACE_LEN..)?) {
        match kind {
            IFLA_IFNAME => name = std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok(),
            IFLA_ADDRESS => mac = <[u8; 6]>::try_from(value).ok().map(MacAddr6::from),
            _ => {}
        }
    }
    let (name, up, carrier) = (name?.to_owned(), flags & IFF_UP != 0, flags & IFF_LOWER_UP != 0);
    Some(Link { index, name, up, carrier, mac, hardware: Hardware::from_number(hardware) })
}

/// `struct rtattr` is: length with these four bytes (2), type (2), value, padding to four.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(half(bytes, 0)?);
        let kind = half(bytes, 2)? & NLA_TYPE_MASK;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A request for all interfaces.
pub(super) fn dump_request(sequence: u32) -> [u8; HEADER_LEN + INTERFACE_LEN] {
    let mut request = [0; HEADER_LEN + INTERFACE_LEN];
    request[0..4].copy_from_slice(&((HEADER_LEN + INTERFACE_LEN) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request[8..12].copy_from_slice(&sequence.to_ne_bytes());
    request
}
