//! What the kernel holds, read back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use reeve_core::ruleset::{Element, SetId, TABLE, Version};
use reeve_policy::{MeasureCounters, Protocol};

use super::object::{self, Head, INET, Member};
use super::print::{named_set, octets};
use super::socket::{NetlinkError, Socket};

/// `NLM_F_DUMP` and `NLM_F_REQUEST`.
const DUMP: i32 = libc::NLM_F_DUMP | libc::NLM_F_REQUEST;

/// An element as the kernel holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How long it still stands; `None` for ever.
    pub remaining: Option<Duration>,
    /// What met it.
    pub counters: MeasureCounters,
}

/// The members of all sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Those that are elements of ours.
    pub elements: BTreeMap<Element, Standing>,
    /// How many members there are that no element of ours could be.
    pub foreign: usize,
}

/// The table's chains, rules and sets as text, to be compared with how they once were. Empty where there is no table.
pub fn skeleton(socket: &mut Socket) -> Result<BTreeSet<String>, NetlinkError> {
    let mut lines = BTreeSet::new();
    type Describe = fn(&object::Received) -> Option<(String, String)>;
    let kinds: [(&str, i32, Describe); 3] = [
        ("the chains", libc::NFT_MSG_GETCHAIN, object::Chain::describe),
        ("the rules", libc::NFT_MSG_GETRULE, object::Rule::describe),
        ("the sets", libc::NFT_MSG_GETSET, object::Set::describe),
    ];
    for (what, kind, describe) in kinds {
        let (mut of_kind, mut order) = (BTreeSet::new(), 0_u32);
        let of_kind = std::cell::RefCell::new((&mut of_kind, &mut order));
        socket.dump(
            what,
            |scratch, out| scratch.bare(Head { kind, flags: DUMP, sequence: 1, family: INET }, out),
            |message| {
                if let Some((table, line)) = describe(message)
                    && table == TABLE
                {
                    let mut state = of_kind.borrow_mut();
                    *state.1 += 1;
                    // The order of rules matters, and two may be alike.
                    let number = if kind == libc::NFT_MSG_GETRULE { *state.1 } else { 0 };
                    state.0.insert(format!("{number:03} {line}"));
                }
            },
            || {
                let mut state = of_kind.borrow_mut();
                state.0.clear();
                *state.1 = 0;
            },
        )?;
        lines.append(of_kind.into_inner().0);
    }
    Ok(lines)
}

/// The number of the ruleset's generation: every transaction of anybody's makes a new one.
pub fn generation(socket: &mut Socket) -> Result<Option<u32>, NetlinkError> {
    let number = std::cell::Cell::new(None);
    socket.dump(
        "the generation",
        |scratch, out| {
            let flags = libc::NLM_F_REQUEST;
            scratch
                .bare(Head { kind: libc::NFT_MSG_GETGEN, flags, sequence: 1, family: object::UNSPEC }, out);
        },
        |message| number.set(object::generation(message)),
        || {},
    )?;
    Ok(number.get())
}

/// The members of our sets; nothing where there is no table.
pub fn observe(socket: &mut Socket) -> Result<Observed, NetlinkError> {
    let mut observed = Observed::default();
    for id in SetId::all() {
        let members = std::cell::RefCell::new(Vec::new());
        let broken = std::cell::Cell::new(0);
        let result = socket.dump(
            &format!("set {}", id.name()),
            |scratch, out| {
                let head = Head { kind: libc::NFT_MSG_GETSETELEM, flags: DUMP, sequence: 1, family: INET };
                named_set(id).write_request(scratch, head, out);
            },
            |message| {
                if !object::Set::read_members(message, &mut members.borrow_mut()) {
                    broken.set(broken.get() + 1);
                }
            },
            || {
                members.borrow_mut().clear();
                broken.set(0);
            },
        );
        match result {
            Err(error) if error.errno() == Some(libc::ENOENT) => continue,
            result => result?,
        }
        observed.foreign += broken.get();
        decode(id, members.into_inner(), &mut observed);
    }
    Ok(observed)
}

fn decode(id: SetId, members: Vec<Member>, observed: &mut Observed) {
    match id {
        SetId::Protected(version) => ranges(members, version, Element::Protected, observed),
        SetId::Suspended(version) => ranges(members, version, Element::Suspended, observed),
        _ => {
            for member in members {
                match decode_one(id, &member) {
                    Some(element) => {
                        observed.elements.insert(element, standing(&member));
                    }
                    None => observed.foreign += 1,
                }
            }
        }
    }
}

fn standing(member: &Member) -> Standing {
    let (packets, bytes) = member.counters.unwrap_or_default();
    Standing {
        remaining: member.expires_ms.or(member.timeout_ms).map(Duration::from_millis),
        counters: MeasureCounters { packets, bytes },
    }
}

/// Pairs beginnings with ends. Where one range ends and the next begins, the end comes first.
fn ranges(mut members: Vec<Member>, version: Version, make: fn(IpNet) -> Element, observed: &mut Observed) {
    members.sort_by(|a, b| (&a.key, !a.ends_range).cmp(&(&b.key, !b.ends_range)));
    let mut members = members.into_iter().peekable();
    while let Some(begin) = members.next() {
        if begin.ends_range {
            // nft itself puts an end at the lowest address.
            continue;
        }
        let end = members.next_if(|next| next.ends_range);
        let net = prefix(&begin.key, end.as_ref().map(|end| end.key.as_slice()), version);
        match net {
            Some(net) => {
                observed.elements.insert(make(net), standing(&begin));
            }
            None => observed.foreign += 1,
        }
    }
}

/// The prefix from `first` to the address before `behind`, or to the last of all; `None` where it is none.
fn prefix(first: &[u8], behind: Option<&[u8]>, version: Version) -> Option<IpNet> {
    let number = |bytes: &[u8]| bytes.iter().fold(0_u128, |all, byte| all << 8 | u128::from(*byte));
    let bits: u32 = if version == Version::V4 { 32 } else { 128 };
    let first_number = number(first);
    let size = match behind {
        Some(behind) => number(behind).checked_sub(first_number)?,
        None if bits == 32 => (1 << 32_u128) - first_number,
        // The whole of IPv6 wraps to nothing.
        None => 0_u128.wrapping_sub(first_number),
    };
    let host_bits = match size {
        0 if first_number == 0 && bits == 128 => 128,
        size if size.is_power_of_two() => size.trailing_zeros(),
        _ => return None,
    };
    net(address(first)?, bits.checked_sub(host_bits)?)
}

fn net(address: IpAddr, len: u32) -> Option<IpNet> {
    IpNet::new(address, u8::try_from(len).ok()?).ok().filter(|net| net.network() == address)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

fn decode_one(id: SetId, member: &Member) -> Option<Element> {
    let version = match id {
        SetId::SuspendedPort => {
            let end = member.key.iter().position(|byte| *byte == 0).unwrap_or(member.key.len());
            return Some(Element::SuspendedPort(std::str::from_utf8(&member.key[..end]).ok()?.into()));
        }
        SetId::BlockedPort(version) | SetId::BlockedDestination(version) | SetId::BlockedService(version) => {
            version
        }
        SetId::Protected(_) | SetId::Suspended(_) => return None,
    };
    let width = if version == Version::V4 { 4 } else { 16 };
    let (first, rest) = member.key.split_at_checked(width)?;
    let end = member.key_end.as_deref().unwrap_or(&member.key);
    let (last, rest_end) = end.split_at_checked(width)?;
    if rest != rest_end {
        return None;
    }
    let number = |bytes: &[u8]| bytes.iter().fold(0_u128, |all, byte| all << 8 | u128::from(*byte));
    let host_bits = 128 - (number(first) ^ number(last)).leading_zeros();
    let source = net(address(first)?, u32::try_from(width * 8).ok()? - host_bits)?;
    let source = (octets(source.broadcast()) == last).then_some(source)?;
    let service = |bytes: &[u8]| match bytes {
        [protocol, _, _, _, high, low, _, _] => {
            Some((Protocol::from_number(*protocol), u16::from_be_bytes([*high, *low])))
        }
        _ => None,
    };
    Some(match id {
        SetId::BlockedPort(_) => {
            let (protocol, port) = service(rest)?;
            Element::BlockedPort { source, protocol, port }
        }
        SetId::BlockedDestination(_) => Element::BlockedDestination { source, destination: address(rest)? },
        _ => {
            let (destination, rest) = rest.split_at_checked(width)?;
            let (protocol, port) = service(rest)?;
            Element::BlockedService { source, destination: address(destination)?, protocol, port }
        }
    })
}
