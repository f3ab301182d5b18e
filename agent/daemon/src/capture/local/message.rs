//! The messages of NFLOG (linux/netfilter/nfnetlink_log.h), read and written by hand: two requests, and five attributes of a packet.

use reeve_core::{Owner, Passage};

/// `NFNL_SUBSYS_ULOG << 8` with `NFULNL_MSG_PACKET` and `NFULNL_MSG_CONFIG`.
const MSG_PACKET: u16 = 4 << 8;
const MSG_CONFIG: u16 = 4 << 8 | 1;
const NLMSG_ERROR: u16 = 2;
/// `NLM_F_REQUEST` and `NLM_F_ACK`.
const FLAGS: u16 = 1 | 4;
const NLMSG_HEADER: usize = 16;
/// struct nfgenmsg.
const FAMILY_HEADER: usize = 4;

/// Attributes of a request: `NFULA_CFG_*`.
const CFG_CMD: u16 = 1;
const CFG_MODE: u16 = 2;
const CFG_NLBUFSIZ: u16 = 3;
const CFG_TIMEOUT: u16 = 4;
const CFG_QTHRESH: u16 = 5;
const CFG_FLAGS: u16 = 6;
const CMD_BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
const FLAG_SEQ: u16 = 1;

/// Attributes of a packet: `NFULA_*`.
const PACKET_HDR: u16 = 1;
const MARK: u16 = 2;
const PAYLOAD: u16 = 9;
const SEQ: u16 = 12;
/// What of an attribute's type is not its number (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const TYPE_MASK: u16 = 0x3fff;
/// `NF_INET_LOCAL_IN` and `NF_INET_LOCAL_OUT`.
const HOOK_INPUT: u8 = 1;
const HOOK_OUTPUT: u8 = 3;

/// A packet that was logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Logged<'b> {
    /// Which way it went.
    pub passage: Passage,
    /// The number of the tenant whose process sent it.
    pub owner: Option<Owner>,
    /// Its number among all that were logged to the group.
    pub number: Option<u32>,
    /// It, from its IP header on, cut off.
    pub payload: &'b [u8],
}

/// How the kernel is to hand packets over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub copy: u32,
    pub datagram_bytes: u32,
    pub batch: u32,
    pub flush_centiseconds: u32,
}

/// Asks for a group's packets.
pub(super) fn listen(group: u16) -> Vec<u8> {
    request(group, &[(CFG_CMD, &[CMD_BIND])])
}

/// Says how they are to come.
pub(super) fn configure(group: u16, settings: Settings) -> Vec<u8> {
    let mut mode = settings.copy.to_be_bytes().to_vec();
    mode.extend([COPY_PACKET, 0]);
    request(
        group,
        &[
            (CFG_MODE, &mode),
            (CFG_NLBUFSIZ, &settings.datagram_bytes.to_be_bytes()),
            (CFG_TIMEOUT, &settings.flush_centiseconds.to_be_bytes()),
            (CFG_QTHRESH, &settings.batch.to_be_bytes()),
            (CFG_FLAGS, &FLAG_SEQ.to_be_bytes()),
        ],
    )
}

fn request(group: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; NLMSG_HEADER];
    // Family and version are nothing here; the group is in the network's byte order.
    bytes.extend([0, 0]);
    bytes.extend(group.to_be_bytes());
    for (kind, value) in attributes {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        bytes.extend(len.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(*value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&len.to_ne_bytes());
    bytes[4..6].copy_from_slice(&MSG_CONFIG.to_ne_bytes());
    bytes[6..8].copy_from_slice(&FLAGS.to_ne_bytes());
    bytes
}

/// The error number of an answer, 0 where all went well; `None` for what is no answer.
pub(super) fn answer(datagram: &[u8]) -> Option<i32> {
    messages(datagram).find_map(|(kind, body)| {
        let code: &[u8; 4] = (kind == NLMSG_ERROR).then(|| body.first_chunk())??;
        Some(i32::from_ne_bytes(*code).saturating_neg())
    })
}

/// The packets of one read.
pub(super) fn packets(datagram: &[u8]) -> impl Iterator<Item = Logged<'_>> {
    messages(datagram).filter_map(|(kind, body)| if kind == MSG_PACKET { packet(body) } else { None })
}

fn packet(body: &[u8]) -> Option<Logged<'_>> {
    let mut rest = body.get(FAMILY_HEADER..)?;
    let (mut passage, mut owner, mut number, mut payload) = (None, None, None, None);
    while let Some(&[len_low, len_high, kind_low, kind_high]) = rest.first_chunk() {
        let len = usize::from(u16::from_ne_bytes([len_low, len_high]));
        let value = rest.get(4..len)?;
        match u16::from_ne_bytes([kind_low, kind_high]) & TYPE_MASK {
            // struct nfulnl_msg_packet_hdr: a protocol of two bytes, and the hook.
            PACKET_HDR => {
                passage = match *value.get(2)? {
                    HOOK_INPUT => Some(Passage::In),
                    HOOK_OUTPUT => Some(Passage::Out),
                    _ => None,
                };
            }
            MARK => owner = value.first_chunk().map(|mark| u32::from_be_bytes(*mark)),
            SEQ => number = value.first_chunk().map(|number| u32::from_be_bytes(*number)),
            PAYLOAD => payload = Some(value),
            _ => {}
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    let owner = owner.filter(|mark| *mark != 0).map(Owner);
    Some(Logged { passage: passage?, owner, number, payload: payload? })
}

/// The messages of one read: their type and what follows the header.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header: &[u8; NLMSG_HEADER] = datagram.first_chunk()?;
        let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let body = datagram.get(NLMSG_HEADER..len)?;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, body))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message about a packet, as the kernel writes it.
    fn logged(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = request(30, attributes);
        bytes[4..6].copy_from_slice(&MSG_PACKET.to_ne_bytes());
        bytes
    }

    #[test]
    fn packets_are_read() {
        let all: [(u16, &[u8]); 5] = [
            (PACKET_HDR, &[8, 0, HOOK_OUTPUT, 0]),
            (MARK, &7_u32.to_be_bytes()),
            (11, &1_001_u32.to_be_bytes()),
            (SEQ, &9_u32.to_be_bytes()),
            (PAYLOAD, b"odd"),
        ];
        let mut two = logged(&all);
        two.extend(logged(&[(PACKET_HDR, &[8, 0, HOOK_INPUT, 0]), (PAYLOAD, b"in")]));
        let told: Vec<Logged<'_>> = packets(&two).collect();
        let out = Logged { passage: Passage::Out, owner: Some(Owner(7)), number: Some(9), payload: b"odd" };
        let arrived = Logged { passage: Passage::In, owner: None, number: None, payload: b"in" };
        assert_eq!(told, [out, arrived]);
    }

    #[test]
    fn what_is_cut_or_nonsense_does_no_harm() {
        let whole = logged(&[(PACKET_HDR, &[8, 0, HOOK_OUTPUT, 0]), (PAYLOAD, b"four")]);
        for len in 0..whole.len() {
            let _ = packets(&whole[..len]).count();
            let _ = answer(&whole[..len]);
        }
        for place in 0..whole.len() {
            for value in [0, 1, 3, 0x7f, 0xff] {
                let mut odd = whole.clone();
                odd[place] = value;
                let _ = packets(&odd).count();
                let _ = answer(&odd);
            }
        }
        assert_eq!(packets(&logged(&[(PAYLOAD, b"x")])).count(), 0, "of no known hook");
    }
}
