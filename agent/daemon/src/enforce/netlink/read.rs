//! What the kernel holds, read back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use reeve_core::ruleset::{Element, Family, Field, Ruleset, SetId, Shape, TABLE, Version};
use reeve_policy::{MeasureCounters, Protocol};

use super::local;
use super::object::{self, Head, Member};
use super::print::{IFNAME_BYTES, encode, limit_object, named_set, octets, protocol_family};
use super::socket::{NetlinkError, Questions, Socket};

/// `NLM_F_DUMP` and `NLM_F_REQUEST`.
const DUMP: i32 = libc::NLM_F_DUMP | libc::NLM_F_REQUEST;

/// An element as the kernel holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How long it still stands; `None` for ever.
    pub remaining: Option<Duration>,
    /// What met it.
    pub counters: MeasureCounters,
    /// The limit that it leads to.
    pub object: Option<String>,
}

/// The members of all sets of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The limits, by name.
    pub limits: BTreeSet<String>,
    /// Those that are elements of ours.
    pub elements: BTreeMap<Element, Standing>,
    /// How many members there are that no element of ours could be.
    pub foreign: usize,
}

/// One of our tables as it stands: its flags, and who owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSeen {
    /// `NFT_TABLE_F_*`.
    pub flags: u32,
    /// The netlink port of its owner.
    pub owner: Option<u32>,
}

/// One of our tables, if it is there.
pub fn table(socket: &mut Socket, family: Family) -> Result<Option<TableSeen>, NetlinkError> {
    let found = std::cell::Cell::new(None);
    let head =
        Head { kind: libc::NFT_MSG_GETTABLE, flags: DUMP, sequence: 1, family: protocol_family(family) };
    socket.dump(
        "the tables",
        |scratch, out| scratch.bare(head, out),
        |message| {
            if let Some((name, flags, owner)) = object::Table::read(message)
                && name == TABLE
            {
                found.set(Some(TableSeen { flags, owner }));
            }
        },
        || found.set(None),
    )?;
    Ok(found.get())
}

/// A table's chains, rules and sets as text, to be compared with how they once were. Empty where there is no table.
pub fn skeleton(socket: &mut Socket, family: Family) -> Result<BTreeSet<String>, NetlinkError> {
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
        let head = Head { kind, flags: DUMP, sequence: 1, family: protocol_family(family) };
        socket.dump(
            what,
            |scratch, out| scratch.bare(head, out),
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

/// The names of a table's limits.
fn limits(socket: &mut Socket, family: Family) -> Result<BTreeSet<String>, NetlinkError> {
    let names = std::cell::RefCell::new(BTreeSet::new());
    let head = Head { kind: libc::NFT_MSG_GETOBJ, flags: DUMP, sequence: 1, family: protocol_family(family) };
    socket.dump(
        "the limits",
        |scratch, out| scratch.bare(head, out),
        |message| {
            if let Some((table, name)) = object::Limit::read(message)
                && table == TABLE
            {
                names.borrow_mut().insert(name);
            }
        },
        || names.borrow_mut().clear(),
    )?;
    Ok(names.into_inner())
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

/// What is in one of our tables; nothing where there is none.
///
/// Connections of mail are no measures: they come and go unobserved.
pub fn observe(socket: &mut Socket, ruleset: &Ruleset) -> Result<Observed, NetlinkError> {
    let family = ruleset.family;
    let mut observed = Observed { limits: limits(socket, family)?, ..Observed::default() };
    let family = protocol_family(family);
    let is_told = |id: &SetId| !id.is_of_connections();
    for id in ruleset.sets.iter().map(|set| set.id).filter(is_told) {
        let members = std::cell::RefCell::new(Vec::new());
        let broken = std::cell::Cell::new(0);
        let result = socket.dump(
            &format!("set {}", id.name()),
            |scratch, out| {
                let head = Head { kind: libc::NFT_MSG_GETSETELEM, flags: DUMP, sequence: 1, family };
                named_set(id, family).write_request(scratch, head, out);
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

/// Which of these elements one of our tables holds, and how they stand: each is asked for by its key, whatever else there is.
pub fn look_up<'e>(
    socket: &mut Socket,
    family: Family,
    elements: impl Iterator<Item = &'e Element>,
) -> Result<Observed, NetlinkError> {
    let mut questions = Questions::default();
    let (mut asked, mut by_question) = (Vec::new(), Vec::new());
    for element in elements {
        let id = element.set();
        if !id.is_in(family) {
            continue;
        }
        let mut ask = |member: &Member, end: Option<Vec<u8>>| {
            by_question.push((asked.len(), end));
            let mut set = named_set(id, protocol_family(family));
            set.push(member);
            let what = format!("an element of set {}", id.name());
            questions.add(&what, libc::NFT_MSG_GETSETELEM, protocol_family(family), |scratch, head, out| {
                set.write_members(scratch, || head, out);
            });
        };
        for member in encode(element, None, None) {
            if member.ends_range {
                // Where the next range begins as this one ends, the kernel finds that alone.
                ask(&Member { key: member.key.clone(), ..Member::default() }, Some(member.key.clone()));
            }
            ask(&member, member.ends_range.then(|| member.key.clone()));
        }
        asked.push((element, Vec::new()));
    }
    socket.ask(questions, |question, message| {
        let Some((place, end)) = by_question.get(question) else { return };
        let Some((_, members)) = asked.get_mut(*place) else { return };
        let mut answer = Vec::new();
        object::Set::read_members(message, &mut answer);
        match end {
            None => members.append(&mut answer),
            Some(end) if members.iter().any(|member: &Member| member.ends_range && member.key == *end) => {}
            Some(end) => {
                let ends = answer.into_iter().filter(|member| member.key == *end);
                members.extend(ends.map(|member| Member {
                    key: member.key,
                    ends_range: true,
                    ..Member::default()
                }));
            }
        }
    })?;
    let mut found = Observed::default();
    for (element, members) in asked {
        let mut seen = Observed::default();
        decode(element.set(), members, &mut seen);
        // The kernel answers with the range that a key lies in, which may be another.
        if let Some(standing) = seen.elements.remove(element) {
            found.elements.insert(element.clone(), standing);
        }
    }
    Ok(found)
}

/// How many of these limits one of our tables lacks.
pub fn missing_limits<'l>(
    socket: &mut Socket,
    family: Family,
    names: impl Iterator<Item = &'l String>,
) -> Result<usize, NetlinkError> {
    let mut questions = Questions::default();
    let mut missing: BTreeSet<usize> = BTreeSet::new();
    for (number, name) in names.enumerate() {
        let object = limit_object(name, family);
        missing.insert(number);
        let what = format!("limit {name}");
        questions.add(&what, libc::NFT_MSG_GETOBJ, protocol_family(family), |scratch, head, out| {
            object.write(scratch, head, out);
        });
    }
    socket.ask(questions, |number, _| _ = missing.remove(&number))?;
    Ok(missing.len())
}

fn decode(id: SetId, members: Vec<Member>, observed: &mut Observed) {
    let one_field = |net: IpNet| match id {
        SetId::Protected(_) => Some(Element::Protected(net)),
        SetId::Own(_) => Some(Element::Own(net)),
        SetId::Suspended(_) => Some(Element::Suspended(net)),
        SetId::Cut(_) => Some(Element::Cut(net)),
        SetId::Held(_) => Some(Element::Held(net)),
        SetId::Limited(_) => Some(Element::Limited(net)),
        SetId::Cap(most, _) => Some(Element::Cap { most, source: net }),
        SetId::Limit(pace, Shape::Source, _) => {
            Some(Element::Limit { pace, source: net, destination: None, service: None })
        }
        _ => None,
    };
    if let [Field::Source(version) | Field::Destination(version)] = id.key().as_slice() {
        return ranges(members, *version, one_field, observed);
    }
    for member in members {
        match decode_one(id, &member) {
            Some(element) => {
                observed.elements.insert(element, standing(&member));
            }
            None => observed.foreign += 1,
        }
    }
}

fn standing(member: &Member) -> Standing {
    let (packets, bytes) = member.counters.unwrap_or_default();
    Standing {
        remaining: member.expires_ms.or(member.timeout_ms).map(Duration::from_millis),
        counters: MeasureCounters { packets, bytes },
        object: member.object.clone(),
    }
}

/// Pairs beginnings with ends. Where one range ends and the next begins, the end comes first.
fn ranges(
    mut members: Vec<Member>,
    version: Version,
    make: impl Fn(IpNet) -> Option<Element>,
    observed: &mut Observed,
) {
    members.sort_by(|a, b| (&a.key, !a.ends_range).cmp(&(&b.key, !b.ends_range)));
    let mut members = members.into_iter().peekable();
    while let Some(begin) = members.next() {
        if begin.ends_range {
            // nft itself puts an end at the lowest address.
            continue;
        }
        let end = members.next_if(|next| next.ends_range);
        let net = prefix(&begin.key, end.as_ref().map(|end| end.key.as_slice()), version);
        match net.and_then(&make) {
            Some(element) => {
                observed.elements.insert(element, standing(&begin));
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
    if let SetId::Owner(set) = id {
        return local::decode(set, member);
    }
    if id.is_of_ports() {
        return of_port(id, &member.key);
    }
    let (mut key, mut end) = (member.key.as_slice(), member.key_end.as_deref().unwrap_or(&member.key));
    if let SetId::Vouched(_) = id {
        let ((port, first), (port_end, last)) =
            (key.split_at_checked(IFNAME_BYTES)?, end.split_at_checked(IFNAME_BYTES)?);
        let source = between(first, last).filter(|_| port == port_end)?;
        return Some(Element::Vouched { port: interface(port)?, source });
    }
    let (mut nets, mut service) = (Vec::new(), None);
    for field in id.key() {
        let width = match field {
            Field::Source(Version::V4) | Field::Destination(Version::V4) => 4,
            Field::Source(Version::V6) | Field::Destination(Version::V6) => 16,
            _ => {
                // Protocol and port, each in four bytes, and no ranges of them.
                let &[protocol, _, _, _, high, low, _, _] = key else { return None };
                service = Some((Protocol::from_number(protocol), u16::from_be_bytes([high, low])))
                    .filter(|_| key == end);
                service?;
                break;
            }
        };
        let ((first, rest), (last, rest_end)) = (key.split_at_checked(width)?, end.split_at_checked(width)?);
        nets.push(between(first, last)?);
        (key, end) = (rest, rest_end);
    }
    let (source, destination) = (*nets.first()?, nets.get(1).copied());
    Some(match (id, destination, service) {
        (SetId::Limit(pace, ..), destination, service) => {
            Element::Limit { pace, source, destination, service }
        }
        (SetId::Capped(..), destination, service) => Element::Capped { source, destination, service },
        (SetId::Lifeline(_), Some(destination), _) => Element::Lifeline { source, destination },
        (SetId::BlockedPort(_), _, Some((protocol, port))) => Element::BlockedPort { source, protocol, port },
        (SetId::BlockedDestination(_), Some(destination), _) => {
            Element::BlockedDestination { source, destination }
        }
        (SetId::BlockedService(_), Some(destination), Some((protocol, port))) => {
            Element::BlockedService { source, destination, protocol, port }
        }
        _ => return None,
    })
}

/// An element that is nothing but an interface.
fn of_port(id: SetId, key: &[u8]) -> Option<Element> {
    let name = interface(key)?;
    Some(match id {
        SetId::SuspendedPort => Element::SuspendedPort(name),
        SetId::HeldPort => Element::HeldPort(name),
        SetId::VettedPort => Element::VettedPort(name),
        SetId::ForgedPort => Element::ForgedPort(name),
        SetId::ForgedLimit => Element::ForgedLimit(name),
        SetId::ForgedLimited => Element::ForgedLimited(name),
        _ => return None,
    })
}

/// The name of an interface, which ends with its first NUL.
fn interface(key: &[u8]) -> Option<std::sync::Arc<str>> {
    let end = key.iter().position(|byte| *byte == 0).unwrap_or(key.len());
    std::str::from_utf8(&key[..end]).ok().map(Into::into)
}

/// The prefix from one address to another; `None` where it is none.
pub(super) fn between(first: &[u8], last: &[u8]) -> Option<IpNet> {
    let number = |bytes: &[u8]| bytes.iter().fold(0_u128, |all, byte| all << 8 | u128::from(*byte));
    let host_bits = 128 - (number(first) ^ number(last)).leading_zeros();
    let net = net(address(first)?, u32::try_from(first.len() * 8).ok()?.checked_sub(host_bits)?)?;
    (octets(net.broadcast()) == last).then_some(net)
}
