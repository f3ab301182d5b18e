//! What there is about the node's own processes, written as netlink messages and read back.

use nftnl_sys as sys;
use reeve_core::Owner;
use reeve_core::engine::MailWord;
use reeve_core::packet::TcpFlags;
use reeve_core::ruleset::local::{FIRST_PORT, Logged, MAIL_PORT, NAMES_SENDER, Owned};
use reeve_core::ruleset::{Element, LocalRule, OwnerSet, Ruleset, SetId, Verdict, Version};
use reeve_policy::Protocol;

use super::object::{self, Expression, Member};
use super::print::{
    CMP_EQ, CMP_NEQ, META_IIFNAME, META_L4PROTO, META_MARK, PROTOCOL_TCP, PROTOCOL_UDP, REGISTER,
    TRANSPORT_HEADER, compare, limit_expression, lookup_expression, meta, octets, payload, push_key,
    push_protocol, service, verdict_expression,
};
use super::read::between;

/// `NFT_META_OIFNAME`, `NFT_CMP_GTE`, `NFT_REJECT_TCP_RST`, `NFT_PAYLOAD_INNER_HEADER` and `NFT_DYNSET_OP_DELETE`
/// (linux/netfilter/nf_tables.h).
const META_OIFNAME: u32 = 7;
const CMP_GTE: u32 = 5;
const REJECT_TCP_RESET: u32 = 1;
const INNER_HEADER: u32 = 3;
const DYNSET_DELETE: u32 = 2;
/// The loopback interface's name, with the end that makes it whole.
const LOOPBACK: &[u8; 16] = b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Writes one of the rules.
pub(super) fn push_rule(object: &mut object::Rule, rule: &LocalRule, ruleset: &Ruleset) {
    match rule {
        LocalRule::AcceptLoopback { has_arrived } => {
            object.push(meta(if *has_arrived { META_IIFNAME } else { META_OIFNAME }, REGISTER));
            object.push(compare(CMP_EQ, LOOPBACK));
            object.push(verdict_expression(Verdict::Accept));
        }
        LocalRule::JumpUnmarked(chain) => {
            push_mark(object, 0);
            object.push(verdict_expression(Verdict::Jump(*chain)));
        }
        LocalRule::JumpMailer(chain) => {
            push_mark(object, Owner::MAILER.0);
            object.push(verdict_expression(Verdict::Jump(*chain)));
        }
        LocalRule::ReturnUnmarked => {
            push_mark(object, 0);
            object.push(verdict_expression(Verdict::Return));
        }
        LocalRule::Mark(map) => {
            let map = SetId::Owner(*map);
            push_key(object, &map.key(), ruleset.family, true);
            object.push(lookup_expression(map, ruleset).number(sys::NFTNL_EXPR_LOOKUP_DREG, REGISTER));
            object.push(set_mark());
        }
        LocalRule::Unmark => {
            object.push(
                Expression::new(c"immediate")
                    .number(sys::NFTNL_EXPR_IMM_DREG, REGISTER)
                    .data(sys::NFTNL_EXPR_IMM_DATA, &[0; 4]),
            );
            object.push(set_mark());
        }
        LocalRule::Log { group, len, what } => {
            push_logged(object, *what, ruleset);
            object.push(
                Expression::new(c"log")
                    .short(sys::NFTNL_EXPR_LOG_GROUP, *group)
                    .number(sys::NFTNL_EXPR_LOG_SNAPLEN, *len),
            );
            if matches!(what, Logged::ToReadPorts | Logged::FromReadPorts) {
                object.push(verdict_expression(Verdict::Return));
            }
        }
        LocalRule::Reset { per_second, burst } => {
            push_protocol(object, PROTOCOL_TCP);
            object.push(limit_expression(*per_second, *burst));
            let reject = Expression::new(c"reject").number(sys::NFTNL_EXPR_REJECT_TYPE, REJECT_TCP_RESET);
            object.push(reject.byte(sys::NFTNL_EXPR_REJECT_CODE, 0));
        }
        LocalRule::JumpSenders(chain) => {
            let weighed = SetId::Owner(OwnerSet::MailWeighed);
            push_key(object, &weighed.key(), ruleset.family, true);
            object.push(lookup_expression(weighed, ruleset));
            push_port(object, 2, CMP_EQ, MAIL_PORT);
            let len = NAMES_SENDER.len() as u32;
            object.push(payload(INNER_HEADER, 0, len, REGISTER));
            object.push(compare(CMP_EQ, NAMES_SENDER));
            object.push(verdict_expression(Verdict::Jump(*chain)));
        }
        LocalRule::PassOnce(version) => {
            let set = SetId::Owner(OwnerSet::MailPassed(*version));
            push_key(object, &set.key(), ruleset.family, true);
            object.push(lookup_expression(set, ruleset));
            push_key(object, &set.key(), ruleset.family, false);
            object.push(
                Expression::new(c"dynset")
                    .number(sys::NFTNL_EXPR_DYNSET_SREG_KEY, REGISTER)
                    .number(sys::NFTNL_EXPR_DYNSET_OP, DYNSET_DELETE)
                    .text(sys::NFTNL_EXPR_DYNSET_SET_NAME, &set.name())
                    .number(sys::NFTNL_EXPR_DYNSET_SET_ID, ruleset.number(set)),
            );
            object.push(verdict_expression(Verdict::Return));
        }
    }
}

fn push_mark(object: &mut object::Rule, mark: u32) {
    object.push(meta(META_MARK, REGISTER));
    object.push(compare(CMP_EQ, &mark.to_ne_bytes()));
}

fn set_mark() -> Expression {
    Expression::new(c"meta")
        .number(sys::NFTNL_EXPR_META_KEY, META_MARK)
        .number(sys::NFTNL_EXPR_META_SREG, REGISTER)
}

/// TCP with a port, at so many bytes of its header, that compares so.
fn push_port(object: &mut object::Rule, offset: u32, operation: u32, port: u16) {
    push_protocol(object, PROTOCOL_TCP);
    object.push(payload(TRANSPORT_HEADER, offset, 2, REGISTER));
    object.push(compare(operation, &port.to_be_bytes()));
}

fn push_logged(object: &mut object::Rule, what: Logged, ruleset: &Ruleset) {
    let read_ports = SetId::Owner(OwnerSet::ReadPort);
    match what {
        Logged::All => {}
        Logged::ToReadPorts => {
            push_key(object, &read_ports.key(), ruleset.family, true);
            object.push(lookup_expression(read_ports, ruleset));
        }
        Logged::FromReadPorts => {
            push_protocol(object, PROTOCOL_TCP);
            object.push(payload(TRANSPORT_HEADER, 0, 2, REGISTER));
            object.push(lookup_expression(read_ports, ruleset));
        }
        Logged::ToMailPort => push_port(object, 2, CMP_EQ, MAIL_PORT),
        Logged::TcpEnds => {
            push_port(object, 2, CMP_GTE, FIRST_PORT);
            object.push(payload(TRANSPORT_HEADER, 13, 1, REGISTER));
            object.push(
                Expression::new(c"bitwise")
                    .number(sys::NFTNL_EXPR_BITWISE_SREG, REGISTER)
                    .number(sys::NFTNL_EXPR_BITWISE_DREG, REGISTER)
                    .number(sys::NFTNL_EXPR_BITWISE_LEN, 1)
                    .data(sys::NFTNL_EXPR_BITWISE_MASK, &[TcpFlags::FIN | TcpFlags::SYN | TcpFlags::RST])
                    .data(sys::NFTNL_EXPR_BITWISE_XOR, &[0]),
            );
            object.push(compare(CMP_NEQ, &[0]));
        }
        Logged::Datagrams => {
            push_protocol(object, PROTOCOL_UDP);
            object.push(payload(TRANSPORT_HEADER, 2, 2, REGISTER));
            object.push(compare(CMP_GTE, &FIRST_PORT.to_be_bytes()));
        }
        Logged::Others => {
            for protocol in [PROTOCOL_TCP, PROTOCOL_UDP] {
                object.push(meta(META_L4PROTO, REGISTER));
                object.push(compare(CMP_NEQ, &[protocol]));
            }
        }
    }
}

/// The member that an element is, if it is one of these. A tenant's number alone, users and groups are in the processor's byte
/// order; among other fields the number is in the network's, since those may be ranges.
pub(super) fn encode(element: &Element) -> Option<Member> {
    let map = |key: &[u8], owner: u32| Member {
        key: key.to_vec(),
        data: Some(owner.to_ne_bytes().to_vec()),
        ..Member::default()
    };
    Some(match element {
        Element::User { uid, owner } => map(&uid.to_ne_bytes(), *owner),
        Element::Group { id, owner, .. } => map(&id.to_ne_bytes(), *owner),
        Element::ReadPort(port) => Member { key: port.to_be_bytes().to_vec(), ..Member::default() },
        Element::Owned { owner, what } => {
            let (destination, port) = what.place();
            if destination.is_none() && port.is_none() {
                return Some(Member { key: owner.to_ne_bytes().to_vec(), ..Member::default() });
            }
            let mut key = owner.to_be_bytes().to_vec();
            let mut key_end = key.clone();
            if let Some(net) = destination {
                key.extend(octets(net.network()));
                key_end.extend(octets(net.broadcast()));
            }
            if let Some((protocol, port)) = port {
                key.extend(service(protocol, port));
                key_end.extend(service(protocol, port));
            }
            Member { key, key_end: Some(key_end), ..Member::default() }
        }
        _ => return None,
    })
}

/// TCP sends a segment that waits again within this time.
const CONNECTION_MS: u64 = 10_000;

/// A connection as a member of the set that says what becomes of it.
pub(super) fn connection(word: &MailWord) -> (SetId, Member) {
    let version = if word.local.0.is_ipv4() { Version::V4 } else { Version::V6 };
    let set = if word.passes { OwnerSet::MailPassed(version) } else { OwnerSet::MailCut(version) };
    let mut key = Vec::new();
    for (address, port) in [word.local, word.remote] {
        key.extend(octets(address));
        key.extend(port.to_be_bytes());
        key.extend([0; 2]);
    }
    (SetId::Owner(set), Member { key, timeout_ms: Some(CONNECTION_MS), ..Member::default() })
}

/// The element that a member of such a set is.
pub(super) fn decode(set: OwnerSet, member: &Member) -> Option<Element> {
    let key = member.key.as_slice();
    let target = || Some(u32::from_ne_bytes(member.data.as_deref()?.try_into().ok()?));
    match set {
        OwnerSet::User => {
            return Some(Element::User { uid: u32::from_ne_bytes(key.try_into().ok()?), owner: target()? });
        }
        OwnerSet::Group(depth) => {
            let id = u64::from_ne_bytes(key.try_into().ok()?);
            return Some(Element::Group { depth, id, owner: target()? });
        }
        OwnerSet::ReadPort => return Some(Element::ReadPort(u16::from_be_bytes(key.try_into().ok()?))),
        _ => {}
    }
    if set.key().len() == 1 {
        let owner = u32::from_ne_bytes(key.try_into().ok()?);
        let what = match set {
            OwnerSet::Suspended => Owned::Suspended,
            OwnerSet::Held => Owned::Held,
            OwnerSet::Limited => Owned::Limited,
            OwnerSet::MailWeighed => Owned::Weighed,
            OwnerSet::Limit(pace, ..) => Owned::Limit { pace, destination: None, service: None },
            _ => return None,
        };
        return Some(Element::Owned { owner, what });
    }
    let end = member.key_end.as_deref().unwrap_or(key);
    let ((owner, mut key), (owner_end, mut end)) = (key.split_first_chunk()?, end.split_first_chunk()?);
    let owner = (owner == owner_end).then(|| u32::from_be_bytes(*owner))?;
    let version = match set {
        OwnerSet::Lifeline(version)
        | OwnerSet::BlockedDestination(version)
        | OwnerSet::BlockedService(version) => Some(version),
        OwnerSet::Limit(_, _, version) => version,
        _ => None,
    };
    let mut destination = None;
    if let Some(version) = version {
        let width = if version == Version::V4 { 4 } else { 16 };
        let ((first, rest), (last, rest_end)) = (key.split_at_checked(width)?, end.split_at_checked(width)?);
        destination = Some(between(first, last)?);
        (key, end) = (rest, rest_end);
    }
    let service = match key {
        [] => None,
        &[protocol, _, _, _, high, low, _, _] if key == end => {
            Some((Protocol::from_number(protocol), u16::from_be_bytes([high, low])))
        }
        _ => return None,
    };
    let what = match (set, destination) {
        (OwnerSet::Lifeline(_), Some(net)) => Owned::Lifeline(net),
        (OwnerSet::Limit(pace, ..), destination) => Owned::Limit { pace, destination, service },
        (
            OwnerSet::BlockedPort | OwnerSet::BlockedDestination(_) | OwnerSet::BlockedService(_),
            destination,
        ) => Owned::Blocked { destination, service },
        _ => return None,
    };
    Some(Element::Owned { owner, what })
}
