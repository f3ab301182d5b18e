//! Ruleset and elements, written as netlink messages.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use nftnl_sys as sys;
use reeve_core::engine::MailWord;
use reeve_core::packet::TcpFlags;
use reeve_core::ruleset::{
    Chain, ChainId, Element, Elements, Family, Field, HOST_BITS_6, LINK_HOPS, LOADED_ABOVE, Members, Rule,
    Ruleset, SET_SIZE, Set, SetId, TABLE, UPKEEP_BELOW, Upkeep, Verdict, Version,
};
use reeve_policy::rate::{Rate, Unit};
use reeve_policy::{Protocol, Timestamp};

use super::garden;
use super::local;
use super::object::{self, BRIDGE, Expression, INET, Member};
use super::socket::Batch;

/// nft's numbers of data types (its `enum datatypes`), kept in the set for its listings.
const TYPE_IPADDR: u32 = 7;
const TYPE_IP6ADDR: u32 = 8;
const TYPE_INET_PROTOCOL: u32 = 12;
const TYPE_INET_SERVICE: u32 = 13;
const TYPE_MARK: u32 = 19;
const TYPE_UID: u32 = 24;
const TYPE_IFNAME: u32 = 41;
const TYPE_CGROUPV2: u32 = 46;
/// Bits that each type of several takes.
const TYPE_BITS: u32 = 6;

/// `NFT_SET_CONCAT`: several fields, each a range of its own.
const SET_CONCAT: u32 = 0x80;
/// The first of sixteen registers of four bytes (`NFT_REG32_00`), and the one for verdicts.
pub(super) const REGISTER: u32 = 8;
const VERDICT_REGISTER: u32 = 0;

/// Keys of `meta`, bases of `payload`, kinds of `reject`, and verdicts (linux/netfilter/nf_tables.h).
const META_LEN: u32 = 0;
const META_PROTOCOL: u32 = 1;
pub(super) const META_MARK: u32 = 3;
pub(super) const META_IIFNAME: u32 = 6;
const META_SKUID: u32 = 10;
const META_NFPROTO: u32 = 15;
pub(super) const META_L4PROTO: u32 = 16;
const META_IIFKIND: u32 = 26;
const META_OIFKIND: u32 = 27;
/// The kind of a bridge (`IFLA_INFO_KIND`).
const BRIDGE_KIND: &[u8] = b"bridge";
const LINK_HEADER: u32 = 0;
const NETWORK_HEADER: u32 = 1;
pub(super) const TRANSPORT_HEADER: u32 = 2;
const REJECT_ICMPX: u32 = 2;
const ICMPX_ADMIN_PROHIBITED: u8 = 3;
const NF_DROP: i32 = 0;
const NF_ACCEPT: i32 = 1;
const NFT_JUMP: i32 = -3;
const NFT_GOTO: i32 = -4;
const NFT_RETURN: i32 = -5;
pub(super) const CMP_EQ: u32 = 0;
pub(super) const CMP_NEQ: u32 = 1;
const CMP_LT: u32 = 2;
const CMP_GT: u32 = 4;
const BYTEORDER_HTON: u32 = 1;
/// Hooks have the same numbers in both families; ordinary filters are not at the same place.
const HOOK_PREROUTING: i32 = 0;
const HOOK_INPUT: i32 = 1;
const HOOK_FORWARD: i32 = 2;
const HOOK_OUTPUT: i32 = 3;
const BRIDGE_FILTER_PRIORITY: i32 = -200;
/// `NFT_SET_OBJECT`, `NFT_OBJECT_LIMIT`, `NFT_LIMIT_F_INV`.
const SET_OBJECT: u32 = 0x40;
/// `NFT_SET_MAP` and `NFT_SET_EVAL`.
const SET_MAP: u32 = 0x8;
const SET_EVAL: u32 = 0x20;
/// `NFT_SOCKET_CGROUPV2`.
const SOCKET_CGROUPV2: u32 = 3;
const OBJECT_LIMIT: u32 = 4;
const LIMIT_OVER: u32 = 1;
/// `NFT_CONNLIMIT_F_INV` and `NFT_DYNSET_OP_ADD`.
const CONNLIMIT_OVER: u32 = 1;
const DYNSET_ADD: u32 = 0;
/// EtherTypes and protocols (IANA).
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
pub(super) const PROTOCOL_TCP: u8 = 6;
pub(super) const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_ICMPV6: u8 = 58;
/// Bytes of an interface's name in the kernel.
pub(super) const IFNAME_BYTES: usize = 16;

/// `NFPROTO_*` of a table.
#[must_use]
pub const fn protocol_family(family: Family) -> u16 {
    match family {
        Family::Inet => INET,
        Family::Bridge => BRIDGE,
    }
}

/// Adds what takes one of our tables away; it must be there.
pub fn remove(batch: &mut Batch, family: Family) {
    let mut table = object::Table::default();
    table.name(TABLE);
    let what = format!("table {} {TABLE}", family.name());
    batch.add(&what, libc::NFT_MSG_DELTABLE, 0, protocol_family(family), |scratch, head, out| {
        table.write(scratch, head(), out);
    });
}

/// Adds the skeleton of one table, with `NFT_TABLE_F_*` in `flags`.
pub fn install(batch: &mut Batch, ruleset: &Ruleset, flags: u32) {
    let (family, create) = (protocol_family(ruleset.family), libc::NLM_F_CREATE);
    let name = |what: &str| format!("{what} of table {} {TABLE}", ruleset.family.name());
    let mut table = object::Table::default();
    table.name(TABLE);
    table.flags(flags);
    let what = format!("table {} {TABLE}", ruleset.family.name());
    batch.add(&what, libc::NFT_MSG_NEWTABLE, create, family, |scratch, head, out| {
        table.write(scratch, head(), out);
    });
    for (number, set) in ruleset.sets.iter().enumerate() {
        let object = skeleton_set(set, number as u32 + 1, family);
        let what = name(&format!("set {}", set.id.name()));
        batch.add(&what, libc::NFT_MSG_NEWSET, create, family, |scratch, head, out| {
            object.write(scratch, head(), out);
        });
    }
    for chain in &ruleset.chains {
        let object = chain_object(chain, ruleset.family);
        let what = name(&format!("chain {}", chain.id.name()));
        batch.add(&what, libc::NFT_MSG_NEWCHAIN, create, family, |scratch, head, out| {
            object.write(scratch, head(), out);
        });
    }
    for chain in &ruleset.chains {
        for (number, rule) in chain.rules.iter().enumerate() {
            let object = rule_object(chain.id, rule, ruleset);
            let what = name(&format!("rule {} of chain {}", number + 1, chain.id.name()));
            let append = create | libc::NLM_F_APPEND;
            batch.add(&what, libc::NFT_MSG_NEWRULE, append, family, |scratch, head, out| {
                object.write(scratch, head(), out)
            });
        }
    }
}

/// Adds limits to one table.
pub fn add_limits<'l>(
    batch: &mut Batch,
    family: Family,
    limits: impl Iterator<Item = (&'l String, &'l Rate)>,
) {
    for (name, rate) in limits {
        let mut object = limit_object(name, family);
        object.long(sys::NFTNL_OBJ_LIMIT_RATE, rate.amount.into());
        object.long(sys::NFTNL_OBJ_LIMIT_UNIT, rate.seconds.into());
        object.number(sys::NFTNL_OBJ_LIMIT_BURST, rate.kernel_burst());
        object.number(sys::NFTNL_OBJ_LIMIT_TYPE, u32::from(rate.unit == Unit::Bytes));
        object.number(sys::NFTNL_OBJ_LIMIT_FLAGS, LIMIT_OVER);
        let create = libc::NLM_F_CREATE;
        batch.add(
            &format!("limit {name}"),
            libc::NFT_MSG_NEWOBJ,
            create,
            protocol_family(family),
            |scratch, head, out| {
                object.write(scratch, head(), out);
            },
        );
    }
}

/// Takes limits from one table. None of its elements may lead to them.
pub fn delete_limits<'l>(batch: &mut Batch, family: Family, names: impl Iterator<Item = &'l String>) {
    for name in names {
        let object = limit_object(name, family);
        batch.add(
            &format!("limit {name}"),
            libc::NFT_MSG_DELOBJ,
            0,
            protocol_family(family),
            |scratch, head, out| {
                object.write(scratch, head(), out);
            },
        );
    }
}

pub(super) fn limit_object(name: &str, family: Family) -> object::Limit {
    let mut object = object::Limit::default();
    object.text(sys::NFTNL_OBJ_TABLE, TABLE);
    object.text(sys::NFTNL_OBJ_NAME, name);
    object.number(sys::NFTNL_OBJ_FAMILY, protocol_family(family).into());
    object.number(sys::NFTNL_OBJ_TYPE, OBJECT_LIMIT);
    object
}

/// Adds elements to the sets of one table, with the timeouts that they have at `now`.
pub fn add(batch: &mut Batch, family: Family, elements: &Elements, now: Timestamp) {
    let told =
        elements.iter().map(|(element, hold)| (element.clone(), hold.timeout(now), hold.object(element)));
    members(batch, family, told, libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE);
}

/// Adds connections of the shared mail server's to the sets of those that go on and of those that are cut. What of them nobody takes is gone
/// soon.
pub fn add_connections(batch: &mut Batch, words: &[MailWord]) {
    let mut by_set: BTreeMap<SetId, object::Set> = BTreeMap::new();
    for word in words {
        let (id, member) = local::connection(word);
        by_set.entry(id).or_insert_with(|| named_set(id, INET)).push(&member);
    }
    for (id, set) in by_set {
        let what = format!("elements of set {}", id.name());
        let (kind, flags) = (libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE);
        batch.add(&what, kind, flags, INET, |scratch, head, out| set.write_members(scratch, head, out));
    }
}

/// Takes elements from the sets of one table.
pub fn delete<'e>(batch: &mut Batch, family: Family, elements: impl Iterator<Item = &'e Element>) {
    let told = elements.map(|element| (element.clone(), None, None));
    members(batch, family, told, libc::NFT_MSG_DELSETELEM, 0);
}

fn members(
    batch: &mut Batch,
    family: Family,
    elements: impl Iterator<Item = (Element, Option<Duration>, Option<String>)>,
    kind: i32,
    flags: i32,
) {
    let (table, family) = (family, protocol_family(family));
    let mut by_set: BTreeMap<SetId, object::Set> = BTreeMap::new();
    for (element, timeout, object) in elements {
        let id = element.set();
        if !id.is_in(table) {
            continue;
        }
        let set = by_set.entry(id).or_insert_with(|| named_set(id, family));
        // The kernel takes no timeout of nothing for "at once".
        let timeout = timeout.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1));
        for member in encode(&element, timeout, object) {
            set.push(&member);
        }
    }
    for (id, set) in by_set {
        let what = format!("elements of set {}", id.name());
        batch.add(&what, kind, flags, family, |scratch, head, out| set.write_members(scratch, head, out));
    }
}

/// A set by which members are added, deleted and listed.
pub fn named_set(id: SetId, family: u16) -> object::Set {
    let mut set = object::Set::default();
    set.text(sys::NFTNL_SET_TABLE, TABLE);
    set.text(sys::NFTNL_SET_NAME, &id.name());
    set.number(sys::NFTNL_SET_FAMILY, u32::from(family));
    set
}

fn skeleton_set(set: &Set, number: u32, family: u16) -> object::Set {
    let mut object = named_set(set.id, family);
    let mut flags = 0;
    if set.interval {
        flags |= libc::NFT_SET_INTERVAL as u32;
    }
    if !matches!(set.members, Members::Plain | Members::Owners | Members::Connections) {
        flags |= libc::NFT_SET_TIMEOUT as u32;
    }
    match set.members {
        Members::Plain | Members::Timed => {}
        Members::Taken | Members::Connections => flags |= SET_EVAL,
        Members::Owners => {
            flags |= SET_MAP;
            object.number(sys::NFTNL_SET_DATA_TYPE, TYPE_MARK);
            object.number(sys::NFTNL_SET_DATA_LEN, 4);
        }
        Members::Counted => object.each(Expression::new(c"counter")),
        Members::Limits => {
            flags |= SET_OBJECT;
            object.number(sys::NFTNL_SET_OBJ_TYPE, OBJECT_LIMIT);
        }
    }
    let lens: Vec<u8> = set.key.iter().map(|field| field_len(*field)).collect();
    if set.key.len() > 1 && set.interval {
        flags |= SET_CONCAT;
        object.data(sys::NFTNL_SET_DESC_CONCAT, &lens);
    }
    let key_type = set.key.iter().fold(0, |all, field| all << TYPE_BITS | type_number(*field));
    let key_len: u32 = match lens.as_slice() {
        [only] => u32::from(*only),
        several => several.iter().map(|len| u32::from(*len).next_multiple_of(4)).sum(),
    };
    object.number(sys::NFTNL_SET_FLAGS, flags);
    object.number(sys::NFTNL_SET_KEY_TYPE, key_type);
    object.number(sys::NFTNL_SET_KEY_LEN, key_len);
    object.number(sys::NFTNL_SET_DESC_SIZE, SET_SIZE);
    object.number(sys::NFTNL_SET_ID, number);
    if matches!(set.key.as_slice(), [Field::Interface | Field::Owner | Field::User | Field::Group(_)]) {
        // nft's own note that key and data are in the processor's byte order; without it nft lists names as empty and numbers
        // backwards.
        let (key, data) = ([0, 4, 1, 0, 0, 0], [1, 4, 1, 0, 0, 0]);
        let of_data = if set.members == Members::Owners { &data[..] } else { &[] };
        object.data(sys::NFTNL_SET_USERDATA, &[&key[..], of_data].concat());
    }
    object
}

fn chain_object(chain: &Chain, family: Family) -> object::Chain {
    let mut object = object::Chain::default();
    object.text(sys::NFTNL_CHAIN_TABLE, TABLE);
    object.text(sys::NFTNL_CHAIN_NAME, chain.id.name());
    object.number(sys::NFTNL_CHAIN_FAMILY, protocol_family(family).into());
    if let Some(priority) = chain.priority {
        let hook = match chain.id {
            ChainId::Prerouting => HOOK_PREROUTING,
            ChainId::Input | ChainId::LocalInput => HOOK_INPUT,
            ChainId::Output | ChainId::LocalOutput => HOOK_OUTPUT,
            _ => HOOK_FORWARD,
        };
        let filter = if family == Family::Bridge { BRIDGE_FILTER_PRIORITY } else { 0 };
        let kind = if chain.id == ChainId::Prerouting { "nat" } else { "filter" };
        object.text(sys::NFTNL_CHAIN_TYPE, kind);
        object.number(sys::NFTNL_CHAIN_HOOKNUM, hook);
        object.number(sys::NFTNL_CHAIN_PRIO, filter + priority);
        object.number(sys::NFTNL_CHAIN_POLICY, NF_ACCEPT);
    }
    object
}

fn rule_object(chain: ChainId, rule: &Rule, ruleset: &Ruleset) -> object::Rule {
    let mut object = object::Rule::default();
    object.text(sys::NFTNL_RULE_TABLE, TABLE);
    object.text(sys::NFTNL_RULE_CHAIN, chain.name());
    object.number(sys::NFTNL_RULE_FAMILY, u32::from(protocol_family(ruleset.family)));
    match rule {
        Rule::Limit { key, map, is_loaded, source, count } => {
            if *is_loaded {
                object.push(meta(META_LEN, REGISTER));
                // Numbers in the processor's byte order are compared in the network's.
                object.push(byteorder(4));
                object.push(compare(CMP_GT, &LOADED_ABOVE.to_be_bytes()));
            }
            push_key(&mut object, key, ruleset.family, true);
            let number = ruleset.number(*map);
            object.push(
                Expression::new(c"objref")
                    .number(sys::NFTNL_EXPR_OBJREF_SET_SREG, REGISTER)
                    .text(sys::NFTNL_EXPR_OBJREF_SET_NAME, &map.name())
                    .number(sys::NFTNL_EXPR_OBJREF_SET_ID, number),
            );
            push_key(&mut object, source, ruleset.family, false);
            object.push(lookup_expression(*count, ruleset));
            object.push(verdict_expression(Verdict::Drop));
        }
        Rule::Cap { most, version } => push_cap(&mut object, *most, *version, ruleset),
        Rule::ReturnUnlessOpening => {
            object.push(meta(META_L4PROTO, REGISTER));
            object.push(compare(CMP_EQ, &[PROTOCOL_TCP]));
            object.push(payload(TRANSPORT_HEADER, 13, 1, REGISTER));
            object.push(
                Expression::new(c"bitwise")
                    .number(sys::NFTNL_EXPR_BITWISE_SREG, REGISTER)
                    .number(sys::NFTNL_EXPR_BITWISE_DREG, REGISTER)
                    .number(sys::NFTNL_EXPR_BITWISE_LEN, 1)
                    .data(sys::NFTNL_EXPR_BITWISE_MASK, &[TcpFlags::SYN | TcpFlags::ACK])
                    .data(sys::NFTNL_EXPR_BITWISE_XOR, &[0]),
            );
            object.push(compare(CMP_NEQ, &[TcpFlags::SYN]));
            let back = Expression::new(c"immediate").number(sys::NFTNL_EXPR_IMM_DREG, VERDICT_REGISTER);
            object.push(back.number(sys::NFTNL_EXPR_IMM_VERDICT, NFT_RETURN.cast_unsigned()));
        }
        Rule::DropUnreadable(set) => {
            push_key(&mut object, &set.key(), ruleset.family, false);
            object.push(lookup_expression(*set, ruleset));
            for ethertype in [ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP] {
                object.push(meta(META_PROTOCOL, REGISTER));
                object.push(compare(CMP_NEQ, &ethertype.to_be_bytes()));
            }
            object.push(verdict_expression(Verdict::Drop));
        }
        Rule::Upkeep { what, is_bridged, per_second, burst } => {
            if *is_bridged {
                let mut kind = [0; IFNAME_BYTES];
                kind[..BRIDGE_KIND.len()].copy_from_slice(BRIDGE_KIND);
                for key in [META_IIFKIND, META_OIFKIND] {
                    object.push(meta(key, REGISTER));
                    object.push(compare(CMP_EQ, &kind));
                }
            }
            push_upkeep(&mut object, *what, ruleset.family);
            object.push(limit_expression(*per_second, *burst));
            object.push(verdict_expression(Verdict::Accept));
        }
        Rule::Lookup { key, set, verdict } => {
            push_key(&mut object, key, ruleset.family, true);
            object.push(lookup_expression(*set, ruleset));
            object.push(verdict_expression(*verdict));
        }
        Rule::Reject { per_second, burst } => {
            let reject = Expression::new(c"reject")
                .number(sys::NFTNL_EXPR_REJECT_TYPE, REJECT_ICMPX)
                .byte(sys::NFTNL_EXPR_REJECT_CODE, ICMPX_ADMIN_PROHIBITED);
            object.push(limit_expression(*per_second, *burst));
            object.push(reject);
        }
        Rule::Always(verdict) => object.push(verdict_expression(*verdict)),
        Rule::Garden(rule) => garden::push_rule(&mut object, *rule, ruleset.family),
        Rule::Local(rule) => local::push_rule(&mut object, rule, ruleset),
    }
    object
}

fn push_cap(object: &mut object::Rule, most: u8, version: Version, ruleset: &Ruleset) {
    let source = [Field::Source(version)];
    push_protocol(object, PROTOCOL_TCP);
    push_key(object, &source, ruleset.family, true);
    object.push(lookup_expression(SetId::Cap(most, version), ruleset));
    push_key(object, &source, ruleset.family, false);
    if version == Version::V6 {
        let mask = (u128::MAX << HOST_BITS_6).to_be_bytes();
        object.push(
            Expression::new(c"bitwise")
                .number(sys::NFTNL_EXPR_BITWISE_SREG, REGISTER)
                .number(sys::NFTNL_EXPR_BITWISE_DREG, REGISTER)
                .number(sys::NFTNL_EXPR_BITWISE_LEN, 16)
                .data(sys::NFTNL_EXPR_BITWISE_MASK, &mask)
                .data(sys::NFTNL_EXPR_BITWISE_XOR, &[0; 16]),
        );
    }
    let open = SetId::Open(most, version);
    let count = Expression::new(c"connlimit")
        .number(sys::NFTNL_EXPR_CONNLIMIT_COUNT, most.into())
        .number(sys::NFTNL_EXPR_CONNLIMIT_FLAGS, CONNLIMIT_OVER);
    object.push(
        Expression::new(c"dynset")
            .number(sys::NFTNL_EXPR_DYNSET_SREG_KEY, REGISTER)
            .number(sys::NFTNL_EXPR_DYNSET_OP, DYNSET_ADD)
            .text(sys::NFTNL_EXPR_DYNSET_SET_NAME, &open.name())
            .number(sys::NFTNL_EXPR_DYNSET_SET_ID, ruleset.number(open))
            .inner(sys::NFTNL_EXPR_DYNSET_EXPRESSIONS, count),
    );
    push_key(object, &source, ruleset.family, false);
    object.push(lookup_expression(SetId::Limited(version), ruleset));
    object.push(verdict_expression(Verdict::Drop));
}

/// Loads the key's fields one behind the other. `asks` where it was not asked before which version the header is.
pub(super) fn push_key(rule: &mut object::Rule, key: &[Field], family: Family, asks: bool) {
    let version = key.iter().find_map(|field| match field {
        Field::Source(version) | Field::Destination(version) => Some(*version),
        _ => None,
    });
    if let Some(version) = version.filter(|_| asks) {
        push_version(rule, version, family);
    }
    let is_of_tcp = |field: &Field| matches!(field, Field::TcpSourcePort | Field::TcpDestinationPort);
    if asks && key.iter().any(is_of_tcp) {
        push_protocol(rule, PROTOCOL_TCP);
    }
    let mut register = REGISTER;
    for field in key {
        rule.push(match field {
            Field::Source(Version::V4) => payload(NETWORK_HEADER, 12, 4, register),
            Field::Destination(Version::V4) => payload(NETWORK_HEADER, 16, 4, register),
            Field::Source(Version::V6) => payload(NETWORK_HEADER, 8, 16, register),
            Field::Destination(Version::V6) => payload(NETWORK_HEADER, 24, 16, register),
            Field::Port | Field::TcpDestinationPort => payload(TRANSPORT_HEADER, 2, 2, register),
            Field::TcpSourcePort => payload(TRANSPORT_HEADER, 0, 2, register),
            Field::Owner => meta(META_MARK, register),
            Field::User => meta(META_SKUID, register),
            Field::Group(depth) => Expression::new(c"socket")
                .number(sys::NFTNL_EXPR_SOCKET_KEY, SOCKET_CGROUPV2)
                .number(sys::NFTNL_EXPR_SOCKET_LEVEL, u32::from(*depth))
                .number(sys::NFTNL_EXPR_SOCKET_DREG, register),
            Field::Protocol => meta(META_L4PROTO, register),
            Field::Interface => meta(META_IIFNAME, register),
        });
        if *field == Field::Owner && key.len() > 1 {
            // Among several fields nft, and so the sets' elements, have it in the network's byte order.
            rule.push(byteorder(4));
        }
        register += u32::from(field_len(*field)).div_ceil(4);
    }
}

pub(super) fn push_protocol(rule: &mut object::Rule, protocol: u8) {
    rule.push(meta(META_L4PROTO, REGISTER));
    rule.push(compare(CMP_EQ, &[protocol]));
}

/// The header is one of two, or in a bridge of many; which must be asked before it is read.
pub(super) fn push_version(rule: &mut object::Rule, version: Version, family: Family) {
    match family {
        Family::Inet => {
            let number = match version {
                Version::V4 => libc::NFPROTO_IPV4,
                Version::V6 => libc::NFPROTO_IPV6,
            };
            rule.push(meta(META_NFPROTO, REGISTER));
            rule.push(compare(CMP_EQ, &[number as u8]));
        }
        Family::Bridge => {
            let ethertype = match version {
                Version::V4 => ETHERTYPE_IPV4,
                Version::V6 => ETHERTYPE_IPV6,
            };
            rule.push(meta(META_PROTOCOL, REGISTER));
            rule.push(compare(CMP_EQ, &ethertype.to_be_bytes()));
        }
    }
}

fn push_upkeep(rule: &mut object::Rule, what: Upkeep, family: Family) {
    match what {
        Upkeep::Arp => {
            rule.push(payload(LINK_HEADER, 12, 2, REGISTER));
            rule.push(compare(CMP_EQ, &ETHERTYPE_ARP.to_be_bytes()));
        }
        Upkeep::Neighbours(kind) => {
            push_version(rule, Version::V6, family);
            rule.push(payload(NETWORK_HEADER, 7, 1, REGISTER));
            rule.push(compare(CMP_EQ, &[LINK_HOPS]));
            rule.push(meta(META_LEN, REGISTER));
            rule.push(byteorder(4));
            rule.push(compare(CMP_LT, &UPKEEP_BELOW.to_be_bytes()));
            rule.push(meta(META_L4PROTO, REGISTER));
            rule.push(compare(CMP_EQ, &[PROTOCOL_ICMPV6]));
            rule.push(payload(TRANSPORT_HEADER, 0, 1, REGISTER));
            rule.push(compare(CMP_EQ, &[kind]));
        }
        Upkeep::DhcpAnswer(version) => {
            let (client, server, _) = Upkeep::dhcp(version);
            rule.push(meta(META_L4PROTO, REGISTER));
            rule.push(compare(CMP_EQ, &[PROTOCOL_UDP]));
            rule.push(payload(TRANSPORT_HEADER, 0, 4, REGISTER));
            rule.push(compare(CMP_EQ, &[server.to_be_bytes(), client.to_be_bytes()].concat()));
        }
        Upkeep::Dhcp(version) => {
            let (client, server, all) = Upkeep::dhcp(version);
            push_key(rule, &[Field::Destination(version)], family, true);
            rule.push(compare(CMP_EQ, &octets(all)));
            rule.push(meta(META_L4PROTO, REGISTER));
            rule.push(compare(CMP_EQ, &[PROTOCOL_UDP]));
            rule.push(payload(TRANSPORT_HEADER, 0, 4, REGISTER));
            rule.push(compare(CMP_EQ, &[client.to_be_bytes(), server.to_be_bytes()].concat()));
        }
    }
}

pub(super) fn lookup_expression(set: SetId, ruleset: &Ruleset) -> Expression {
    Expression::new(c"lookup")
        .text(sys::NFTNL_EXPR_LOOKUP_SET, &set.name())
        .number(sys::NFTNL_EXPR_LOOKUP_SREG, REGISTER)
        .number(sys::NFTNL_EXPR_LOOKUP_SET_ID, ruleset.number(set))
}

pub(super) fn limit_expression(per_second: u32, burst: u32) -> Expression {
    Expression::new(c"limit")
        .long(sys::NFTNL_EXPR_LIMIT_RATE, per_second.into())
        .long(sys::NFTNL_EXPR_LIMIT_UNIT, 1)
        .number(sys::NFTNL_EXPR_LIMIT_BURST, burst)
        .number(sys::NFTNL_EXPR_LIMIT_TYPE, 0)
        .number(sys::NFTNL_EXPR_LIMIT_FLAGS, 0)
}

pub(super) fn compare(operation: u32, data: &[u8]) -> Expression {
    Expression::new(c"cmp")
        .number(sys::NFTNL_EXPR_CMP_SREG, REGISTER)
        .number(sys::NFTNL_EXPR_CMP_OP, operation)
        .data(sys::NFTNL_EXPR_CMP_DATA, data)
}

pub(super) fn byteorder(len: u32) -> Expression {
    Expression::new(c"byteorder")
        .number(sys::NFTNL_EXPR_BYTEORDER_SREG, REGISTER)
        .number(sys::NFTNL_EXPR_BYTEORDER_DREG, REGISTER)
        .number(sys::NFTNL_EXPR_BYTEORDER_OP, BYTEORDER_HTON)
        .number(sys::NFTNL_EXPR_BYTEORDER_LEN, len)
        .number(sys::NFTNL_EXPR_BYTEORDER_SIZE, len)
}

pub(super) fn meta(key: u32, register: u32) -> Expression {
    Expression::new(c"meta").number(sys::NFTNL_EXPR_META_KEY, key).number(sys::NFTNL_EXPR_META_DREG, register)
}

pub(super) fn payload(base: u32, offset: u32, len: u32, register: u32) -> Expression {
    Expression::new(c"payload")
        .number(sys::NFTNL_EXPR_PAYLOAD_BASE, base)
        .number(sys::NFTNL_EXPR_PAYLOAD_OFFSET, offset)
        .number(sys::NFTNL_EXPR_PAYLOAD_LEN, len)
        .number(sys::NFTNL_EXPR_PAYLOAD_DREG, register)
}

pub(super) fn verdict_expression(verdict: Verdict) -> Expression {
    let immediate = Expression::new(c"immediate").number(sys::NFTNL_EXPR_IMM_DREG, VERDICT_REGISTER);
    let code = |code: i32| immediate.number(sys::NFTNL_EXPR_IMM_VERDICT, code.cast_unsigned());
    match verdict {
        Verdict::Accept => code(NF_ACCEPT),
        Verdict::Drop => code(NF_DROP),
        Verdict::Return => code(NFT_RETURN),
        Verdict::Goto(chain) => code(NFT_GOTO).text(sys::NFTNL_EXPR_IMM_CHAIN, chain.name()),
        Verdict::Jump(chain) => code(NFT_JUMP).text(sys::NFTNL_EXPR_IMM_CHAIN, chain.name()),
    }
}

fn type_number(field: Field) -> u32 {
    match field {
        Field::Source(Version::V4) | Field::Destination(Version::V4) => TYPE_IPADDR,
        Field::Source(Version::V6) | Field::Destination(Version::V6) => TYPE_IP6ADDR,
        Field::Protocol => TYPE_INET_PROTOCOL,
        Field::Port => TYPE_INET_SERVICE,
        Field::Interface => TYPE_IFNAME,
        Field::Owner => TYPE_MARK,
        Field::User => TYPE_UID,
        Field::Group(_) => TYPE_CGROUPV2,
        Field::TcpSourcePort | Field::TcpDestinationPort => TYPE_INET_SERVICE,
    }
}

/// Bytes of a field; each is padded to four in a key.
fn field_len(field: Field) -> u8 {
    match field {
        Field::Source(Version::V4) | Field::Destination(Version::V4) => 4,
        Field::Source(Version::V6) | Field::Destination(Version::V6) => 16,
        Field::Protocol => 1,
        Field::Port | Field::TcpSourcePort | Field::TcpDestinationPort => 2,
        Field::Owner | Field::User => 4,
        Field::Group(_) => 8,
        Field::Interface => IFNAME_BYTES as u8,
    }
}

/// The members that an element is in the kernel: a range in a set with one field is its beginning and its end.
pub(super) fn encode(element: &Element, timeout_ms: Option<u64>, object: Option<String>) -> Vec<Member> {
    let member = |key: Vec<u8>| Member { key, timeout_ms, object: object.clone(), ..Member::default() };
    if let Some(name) = element.port() {
        let mut key = vec![0; IFNAME_BYTES];
        let len = name.len().min(IFNAME_BYTES - 1);
        key[..len].copy_from_slice(&name.as_bytes()[..len]);
        let Element::Vouched { source, .. } = element else { return vec![member(key)] };
        let key_end = [key.clone(), octets(source.broadcast())].concat();
        key.extend(octets(source.network()));
        return vec![Member { key_end: Some(key_end), ..member(key) }];
    }
    if let Some(own) = local::encode(element) {
        return vec![Member { timeout_ms, object, ..own }];
    }
    let place = element.place();
    let (first, last) = (octets(place.first.network()), octets(place.first.broadcast()));
    if place.destination.is_none() && place.service.is_none() {
        let mut members = vec![member(first)];
        // The range that ends with the last address of all has no end.
        if let Some(behind) = successor(last) {
            members.push(Member { key: behind, ends_range: true, ..Member::default() });
        }
        return members;
    }
    let (mut key, mut key_end) = (first, last);
    if let Some(destination) = place.destination {
        key.extend(octets(destination.network()));
        key_end.extend(octets(destination.broadcast()));
    }
    if let Some((protocol, port)) = place.service {
        key.extend(service(protocol, port));
        key_end.extend(service(protocol, port));
    }
    vec![Member { key_end: Some(key_end), ..member(key) }]
}

pub(super) fn service(protocol: Protocol, port: u16) -> Vec<u8> {
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
