//! Ruleset and elements, written as netlink messages.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use nftnl_sys as sys;
use reeve_core::ruleset::{
    Chain, ChainId, Element, Elements, Field, Rule, Ruleset, SET_SIZE, Set, SetId, TABLE, Verdict, Version,
};
use reeve_policy::{Protocol, Timestamp};

use super::object::{self, Expression, INET, Member};
use super::socket::Batch;

/// nft's numbers of data types (its `enum datatypes`), kept in the set for its listings.
const TYPE_IPADDR: u32 = 7;
const TYPE_IP6ADDR: u32 = 8;
const TYPE_INET_PROTOCOL: u32 = 12;
const TYPE_INET_SERVICE: u32 = 13;
const TYPE_IFNAME: u32 = 41;
/// Bits that each type of several takes.
const TYPE_BITS: u32 = 6;

/// `NFT_SET_CONCAT`: several fields, each a range of its own.
const SET_CONCAT: u32 = 0x80;
/// The first of sixteen registers of four bytes (`NFT_REG32_00`), and the one for verdicts.
const REGISTER: u32 = 8;
const VERDICT_REGISTER: u32 = 0;

/// Keys of `meta`, bases of `payload`, kinds of `reject`, and verdicts (linux/netfilter/nf_tables.h).
const META_IIFNAME: u32 = 6;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const REJECT_ICMPX: u32 = 2;
const ICMPX_ADMIN_PROHIBITED: u8 = 3;
const NF_DROP: i32 = 0;
const NF_ACCEPT: i32 = 1;
const NFT_GOTO: i32 = -4;
const CMP_EQ: u32 = 0;
const NF_INET_FORWARD: i32 = 2;
/// Bytes of an interface's name in the kernel.
const IFNAME_BYTES: usize = 16;

/// Adds what takes our table away, be it there or not.
pub fn remove(batch: &mut Batch) {
    let mut table = object::Table::default();
    table.name(TABLE);
    // Deleting what is not there would fail, so it is made first. (NFT_MSG_DESTROYTABLE needs Linux 6.3.)
    let what = format!("table inet {TABLE}");
    for (kind, flags) in [(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE), (libc::NFT_MSG_DELTABLE, 0)] {
        batch.add(&what, kind, flags, INET, |scratch, head, out| table.write(scratch, head(), out));
    }
}

/// Adds the skeleton.
pub fn install(batch: &mut Batch, ruleset: &Ruleset) {
    let mut table = object::Table::default();
    table.name(TABLE);
    let create = libc::NLM_F_CREATE;
    batch.add(&format!("table inet {TABLE}"), libc::NFT_MSG_NEWTABLE, create, INET, |scratch, head, out| {
        table.write(scratch, head(), out);
    });
    for (number, set) in ruleset.sets.iter().enumerate() {
        let object = skeleton_set(set, number as u32 + 1);
        batch.add(
            &format!("set {}", set.id.name()),
            libc::NFT_MSG_NEWSET,
            create,
            INET,
            |scratch, head, out| {
                object.write(scratch, head(), out);
            },
        );
    }
    for chain in &ruleset.chains {
        let object = chain_object(chain);
        batch.add(
            &format!("chain {}", chain.id.name()),
            libc::NFT_MSG_NEWCHAIN,
            create,
            INET,
            |scratch, head, out| {
                object.write(scratch, head(), out);
            },
        );
    }
    for chain in &ruleset.chains {
        for (number, rule) in chain.rules.iter().enumerate() {
            let object = rule_object(chain.id, rule, ruleset);
            let what = format!("rule {} of chain {}", number + 1, chain.id.name());
            let flags = create | libc::NLM_F_APPEND;
            batch.add(&what, libc::NFT_MSG_NEWRULE, flags, INET, |scratch, head, out| {
                object.write(scratch, head(), out)
            });
        }
    }
}

/// Adds elements to their sets, with the timeouts that they have at `now`.
pub fn add(batch: &mut Batch, elements: &Elements, now: Timestamp) {
    let with_timeout =
        |(element, hold): (&Element, &reeve_core::ruleset::Hold)| (element.clone(), hold.timeout(now));
    members(batch, elements.iter().map(with_timeout), libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE);
}

/// Takes elements from their sets.
pub fn delete<'e>(batch: &mut Batch, elements: impl Iterator<Item = &'e Element>) {
    members(batch, elements.map(|element| (element.clone(), None)), libc::NFT_MSG_DELSETELEM, 0);
}

fn members(
    batch: &mut Batch,
    elements: impl Iterator<Item = (Element, Option<Duration>)>,
    kind: i32,
    flags: i32,
) {
    let mut by_set: BTreeMap<SetId, object::Set> = BTreeMap::new();
    for (element, timeout) in elements {
        let id = element.set();
        let set = by_set.entry(id).or_insert_with(|| named_set(id));
        // The kernel takes no timeout of nothing for "at once".
        let timeout = timeout.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1));
        for member in encode(&element, timeout) {
            set.push(&member);
        }
    }
    for (id, set) in by_set {
        let what = format!("elements of set {}", id.name());
        batch.add(&what, kind, flags, INET, |scratch, head, out| set.write_members(scratch, head, out));
    }
}

/// A set by which members are added, deleted and listed.
pub fn named_set(id: SetId) -> object::Set {
    let mut set = object::Set::default();
    set.text(sys::NFTNL_SET_TABLE, TABLE);
    set.text(sys::NFTNL_SET_NAME, &id.name());
    set.number(sys::NFTNL_SET_FAMILY, u32::from(INET));
    set
}

fn skeleton_set(set: &Set, number: u32) -> object::Set {
    let mut object = named_set(set.id);
    let mut flags = 0;
    if set.interval {
        flags |= libc::NFT_SET_INTERVAL as u32;
    }
    if set.timed {
        flags |= libc::NFT_SET_TIMEOUT as u32;
        object.each(Expression::new(c"counter"));
    }
    let lens: Vec<u8> = set.key.iter().map(|field| field_len(*field)).collect();
    if set.key.len() > 1 {
        flags |= SET_CONCAT;
        object.data(sys::NFTNL_SET_DESC_CONCAT, &lens);
    }
    let key_type = set.key.iter().fold(0, |all, field| all << TYPE_BITS | type_number(*field));
    let key_len: u32 = lens.iter().map(|len| u32::from(*len).next_multiple_of(4)).sum();
    object.number(sys::NFTNL_SET_FLAGS, flags);
    object.number(sys::NFTNL_SET_KEY_TYPE, key_type);
    object.number(sys::NFTNL_SET_KEY_LEN, key_len);
    object.number(sys::NFTNL_SET_DESC_SIZE, SET_SIZE);
    object.number(sys::NFTNL_SET_ID, number);
    if set.id == SetId::SuspendedPort {
        // nft's own note that the key is in the processor's byte order; without it nft lists names as empty.
        object.data(sys::NFTNL_SET_USERDATA, &[0, 4, 1, 0, 0, 0]);
    }
    object
}

fn chain_object(chain: &Chain) -> object::Chain {
    let mut object = object::Chain::default();
    object.text(sys::NFTNL_CHAIN_TABLE, TABLE);
    object.text(sys::NFTNL_CHAIN_NAME, chain.id.name());
    if let Some(priority) = chain.priority {
        object.text(sys::NFTNL_CHAIN_TYPE, "filter");
        object.number(sys::NFTNL_CHAIN_HOOKNUM, NF_INET_FORWARD);
        object.number(sys::NFTNL_CHAIN_PRIO, priority);
        object.number(sys::NFTNL_CHAIN_POLICY, NF_ACCEPT);
    }
    object
}

fn rule_object(chain: ChainId, rule: &Rule, ruleset: &Ruleset) -> object::Rule {
    let mut object = object::Rule::default();
    object.text(sys::NFTNL_RULE_TABLE, TABLE);
    object.text(sys::NFTNL_RULE_CHAIN, chain.name());
    object.number(sys::NFTNL_RULE_FAMILY, u32::from(INET));
    match rule {
        Rule::Lookup { key, set, verdict } => {
            push_lookup(&mut object, key, *set, ruleset);
            object.push(verdict_expression(*verdict));
        }
        Rule::Reject { per_second, burst } => {
            let limit = Expression::new(c"limit")
                .long(sys::NFTNL_EXPR_LIMIT_RATE, (*per_second).into())
                .long(sys::NFTNL_EXPR_LIMIT_UNIT, 1)
                .number(sys::NFTNL_EXPR_LIMIT_BURST, *burst)
                .number(sys::NFTNL_EXPR_LIMIT_TYPE, 0)
                .number(sys::NFTNL_EXPR_LIMIT_FLAGS, 0);
            let reject = Expression::new(c"reject")
                .number(sys::NFTNL_EXPR_REJECT_TYPE, REJECT_ICMPX)
                .byte(sys::NFTNL_EXPR_REJECT_CODE, ICMPX_ADMIN_PROHIBITED);
            object.push(limit);
            object.push(reject);
        }
        Rule::Always(verdict) => object.push(verdict_expression(*verdict)),
    }
    object
}

/// Loads the key's fields one behind the other and looks them up.
fn push_lookup(rule: &mut object::Rule, key: &[Field], set: SetId, ruleset: &Ruleset) {
    let version = key.iter().find_map(|field| match field {
        Field::Source(version) | Field::Destination(version) => Some(*version),
        Field::Protocol | Field::Port | Field::Interface => None,
    });
    // In an inet table the header is one of two; which must be asked before it is read.
    if let Some(version) = version {
        let number = match version {
            Version::V4 => libc::NFPROTO_IPV4,
            Version::V6 => libc::NFPROTO_IPV6,
        };
        rule.push(meta(META_NFPROTO, REGISTER));
        let compare = Expression::new(c"cmp")
            .number(sys::NFTNL_EXPR_CMP_SREG, REGISTER)
            .number(sys::NFTNL_EXPR_CMP_OP, CMP_EQ)
            .data(sys::NFTNL_EXPR_CMP_DATA, &[number as u8]);
        rule.push(compare);
    }
    let mut register = REGISTER;
    for field in key {
        rule.push(match field {
            Field::Source(Version::V4) => payload(NETWORK_HEADER, 12, 4, register),
            Field::Destination(Version::V4) => payload(NETWORK_HEADER, 16, 4, register),
            Field::Source(Version::V6) => payload(NETWORK_HEADER, 8, 16, register),
            Field::Destination(Version::V6) => payload(NETWORK_HEADER, 24, 16, register),
            Field::Port => payload(TRANSPORT_HEADER, 2, 2, register),
            Field::Protocol => meta(META_L4PROTO, register),
            Field::Interface => meta(META_IIFNAME, register),
        });
        register += u32::from(field_len(*field)).div_ceil(4);
    }
    let number = ruleset.sets.iter().position(|other| other.id == set).unwrap_or(0) as u32 + 1;
    let lookup = Expression::new(c"lookup")
        .text(sys::NFTNL_EXPR_LOOKUP_SET, &set.name())
        .number(sys::NFTNL_EXPR_LOOKUP_SREG, REGISTER)
        .number(sys::NFTNL_EXPR_LOOKUP_SET_ID, number);
    rule.push(lookup);
}

fn meta(key: u32, register: u32) -> Expression {
    Expression::new(c"meta").number(sys::NFTNL_EXPR_META_KEY, key).number(sys::NFTNL_EXPR_META_DREG, register)
}

fn payload(base: u32, offset: u32, len: u32, register: u32) -> Expression {
    Expression::new(c"payload")
        .number(sys::NFTNL_EXPR_PAYLOAD_BASE, base)
        .number(sys::NFTNL_EXPR_PAYLOAD_OFFSET, offset)
        .number(sys::NFTNL_EXPR_PAYLOAD_LEN, len)
        .number(sys::NFTNL_EXPR_PAYLOAD_DREG, register)
}

fn verdict_expression(verdict: Verdict) -> Expression {
    let immediate = Expression::new(c"immediate").number(sys::NFTNL_EXPR_IMM_DREG, VERDICT_REGISTER);
    let code = |code: i32| immediate.number(sys::NFTNL_EXPR_IMM_VERDICT, code.cast_unsigned());
    match verdict {
        Verdict::Accept => code(NF_ACCEPT),
        Verdict::Drop => code(NF_DROP),
        Verdict::Goto(chain) => code(NFT_GOTO).text(sys::NFTNL_EXPR_IMM_CHAIN, chain.name()),
    }
}

fn type_number(field: Field) -> u32 {
    match field {
        Field::Source(Version::V4) | Field::Destination(Version::V4) => TYPE_IPADDR,
        Field::Source(Version::V6) | Field::Destination(Version::V6) => TYPE_IP6ADDR,
        Field::Protocol => TYPE_INET_PROTOCOL,
        Field::Port => TYPE_INET_SERVICE,
        Field::Interface => TYPE_IFNAME,
    }
}

/// Bytes of a field; each is padded to four in a key.
fn field_len(field: Field) -> u8 {
    match field {
        Field::Source(Version::V4) | Field::Destination(Version::V4) => 4,
        Field::Source(Version::V6) | Field::Destination(Version::V6) => 16,
        Field::Protocol => 1,
        Field::Port => 2,
        Field::Interface => IFNAME_BYTES as u8,
    }
}

/// The members that an element is in the kernel: a range in a set with one field is its beginning and its end.
fn encode(element: &Element, timeout_ms: Option<u64>) -> Vec<Member> {
    let member = |key: Vec<u8>| Member { key, timeout_ms, ..Member::default() };
    let ranged = |source: &IpNet, rest: Vec<u8>| {
        let (first, last) = (octets(source.network()), octets(source.broadcast()));
        let key_end = Some([last, rest.clone()].concat());
        vec![Member { key_end, ..member([first, rest].concat()) }]
    };
    match element {
        Element::Protected(net) | Element::Suspended(net) => {
            let mut members = vec![member(octets(net.network()))];
            // The range that ends with the last address of all has no end.
            if let Some(behind) = successor(octets(net.broadcast())) {
                members.push(Member { key: behind, ends_range: true, ..Member::default() });
            }
            members
        }
        Element::SuspendedPort(name) => {
            let mut key = vec![0; IFNAME_BYTES];
            let len = name.len().min(IFNAME_BYTES - 1);
            key[..len].copy_from_slice(&name.as_bytes()[..len]);
            vec![member(key)]
        }
        Element::BlockedPort { source, protocol, port } => ranged(source, service(*protocol, *port)),
        Element::BlockedDestination { source, destination } => ranged(source, octets(*destination)),
        Element::BlockedService { source, destination, protocol, port } => {
            ranged(source, [octets(*destination), service(*protocol, *port)].concat())
        }
    }
}

fn service(protocol: Protocol, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![protocol.number().unwrap_or(0), 0, 0, 0, high, low, 0, 0]
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The address behind another; `None` behind the last.
fn successor(mut address: Vec<u8>) -> Option<Vec<u8>> {
    for byte in address.iter_mut().rev() {
        let (next, wrapped) = byte.overflowing_add(1);
        *byte = next;
        if !wrapped {
            return Some(address);
        }
    }
    None
}
