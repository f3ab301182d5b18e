//! The ruleset as nft text: what people review, what snapshots hold, and what `nft -f` takes.
//!
//! It is written the way `nft list table` writes it, so that the two can be held against each other.

use std::fmt::Write as _;
use std::time::Duration;

use reeve_policy::Timestamp;
use reeve_policy::rate::{Rate, Unit};

use super::elements::objects;
use super::garden::{self, GardenRule};
use super::local::{FIRST_PORT, LocalRule, Logged, MAIL_PORT, NAMES_SENDER, OwnerSet, RAW};
use super::{
    Chain, ChainId, Element, Elements, Extras, Family, Field, HOST_BITS_6, LINK_HOPS, LOADED_ABOVE, Members,
    Rule, Ruleset, SET_SIZE, Set, SetId, TABLE, UPKEEP_BELOW, Upkeep, Verdict, Version,
};
use crate::frame::Owner;

/// Both tables with the elements as they stand at `now`.
#[must_use]
pub fn print_all(elements: &Elements, now: Timestamp) -> String {
    print_all_with(Extras::default(), elements, now)
}

/// The same on a node whose own processes are perhaps tenants'.
#[must_use]
pub fn print_all_with(extras: impl Into<Extras>, elements: &Elements, now: Timestamp) -> String {
    let extras = extras.into();
    Family::ALL.map(|family| print(&Ruleset::with_local(family, extras), elements, now)).concat()
}

/// One table with the elements as they stand at `now`.
#[must_use]
pub fn print(ruleset: &Ruleset, elements: &Elements, now: Timestamp) -> String {
    let mut text = format!("table {} {TABLE} {{\n", ruleset.family.name());
    for (name, rate) in objects(elements) {
        line(&mut text, 1, format_args!("limit {name} {{"));
        line(&mut text, 2, format_args!("{}", print_rate(rate)));
        line(&mut text, 1, format_args!("}}\n"));
    }
    for set in &ruleset.sets {
        print_set(&mut text, set, elements, now);
    }
    for chain in &ruleset.chains {
        print_chain(&mut text, chain);
    }
    // Blocks are set apart by an empty line; there is none before the end.
    text.truncate(text.trim_end().len());
    text.push_str("\n}\n");
    text
}

fn print_set(text: &mut String, set: &Set, elements: &Elements, now: Timestamp) {
    let types: Vec<&str> = set.key.iter().map(|field| type_name(*field)).collect();
    let (word, target) = match set.members {
        Members::Limits => ("map", " : limit"),
        Members::Owners => ("map", " : mark"),
        _ => ("set", ""),
    };
    line(text, 1, format_args!("{word} {} {{", set.id.name()));
    line(text, 2, format_args!("type {}{target}", types.join(" . ")));
    line(text, 2, format_args!("size {SET_SIZE}"));
    let mut flags = Vec::new();
    flags.extend(set.interval.then_some("interval"));
    let is_brought = matches!(set.members, Members::Taken | Members::Connections);
    flags.extend(is_brought.then_some("dynamic"));
    let is_lasting = matches!(set.members, Members::Plain | Members::Owners | Members::Connections);
    flags.extend((!is_lasting).then_some("timeout"));
    if !flags.is_empty() {
        line(text, 2, format_args!("flags {}", flags.join(",")));
    }
    if set.members == Members::Counted {
        line(text, 2, format_args!("counter"));
    }
    let mut members = elements.iter().filter(|(element, _)| element.set() == set.id).peekable();
    if members.peek().is_some() {
        let all: Vec<String> = members
            .map(|(element, hold)| {
                let timeout = hold.timeout(now).map(|timeout| format!(" timeout {}", seconds(timeout)));
                let object = hold.object(element).map(|object| format!(" : {object:?}"));
                let (timeout, object) = (timeout.unwrap_or_default(), object.unwrap_or_default());
                format!("{}{timeout}{object}", print_element(element))
            })
            .collect();
        line(text, 2, format_args!("elements = {{ {} }}", all.join(",\n\t\t\t     ")));
    }
    line(text, 1, format_args!("}}\n"));
}

fn print_chain(text: &mut String, chain: &Chain) {
    line(text, 1, format_args!("chain {} {{", chain.id.name()));
    if let Some(priority) = chain.priority {
        let (kind, name, priority) = match chain.id {
            ChainId::Prerouting => ("nat", "dstnat", priority - garden::DSTNAT),
            _ if priority <= RAW + 10 => ("filter", "raw", priority - RAW),
            _ => ("filter", "filter", priority),
        };
        let sign = if priority < 0 { '-' } else { '+' };
        let distance = priority.unsigned_abs();
        let hook = chain.id.hook();
        line(
            text,
            2,
            format_args!("type {kind} hook {hook} priority {name} {sign} {distance}; policy accept;"),
        );
    }
    for rule in &chain.rules {
        match rule {
            Rule::Lookup { key, set, verdict } => {
                line(
                    text,
                    2,
                    format_args!("{} @{} {}", expressions(key), set.name(), verdict_text(*verdict)),
                );
            }
            Rule::Limit { key, map, is_loaded, source, count } => {
                let loaded =
                    if *is_loaded { format!("meta length > {LOADED_ABOVE} ") } else { String::new() };
                line(
                    text,
                    2,
                    format_args!(
                        "{loaded}limit name {} map @{} {} @{} drop",
                        expressions(key),
                        map.name(),
                        expressions(source),
                        count.name()
                    ),
                );
            }
            Rule::Cap { most, version } => {
                let source = expression(Field::Source(*version));
                let counted = match version {
                    Version::V4 => source.to_owned(),
                    Version::V6 => format!("{source} & {}", network_mask()),
                };
                let (cap, open) = (SetId::Cap(*most, *version).name(), SetId::Open(*most, *version).name());
                let count = SetId::Limited(*version).name();
                line(
                    text,
                    2,
                    format_args!(
                        "meta l4proto tcp {source} @{cap} add @{open} {{ {counted} ct count over {most} }} {source} @{count} drop"
                    ),
                );
            }
            Rule::DropUnreadable(set) => line(
                text,
                2,
                format_args!(
                    "iifname @{} meta protocol != ip meta protocol != ip6 meta protocol != arp drop",
                    set.name()
                ),
            ),
            Rule::ReturnUnlessOpening => line(text, 2, format_args!("tcp flags != syn / syn,ack return")),
            Rule::Upkeep { what, is_bridged, per_second, burst } => line(
                text,
                2,
                format_args!(
                    "{}{} limit rate {per_second}/second burst {burst} packets accept",
                    if *is_bridged { "meta iifkind \"bridge\" meta oifkind \"bridge\" " } else { "" },
                    match what {
                        Upkeep::Arp => "ether type arp".to_owned(),
                        Upkeep::Neighbours(kind) => {
                            let kind = neighbours(*kind);
                            format!(
                                "ip6 hoplimit {LINK_HOPS} meta length < {UPKEEP_BELOW} icmpv6 type {kind}"
                            )
                        }
                        Upkeep::DhcpAnswer(version) => {
                            let (client, server, _) = Upkeep::dhcp(*version);
                            format!("udp sport {server} udp dport {client}")
                        }
                        Upkeep::Dhcp(version) => {
                            let (client, server, all) = Upkeep::dhcp(*version);
                            let destination = expression(Field::Destination(*version));
                            format!("{destination} {all} udp sport {client} udp dport {server}")
                        }
                    }
                ),
            ),
            Rule::Reject { per_second, burst } => line(
                text,
                2,
                format_args!(
                    "limit rate {per_second}/second burst {burst} packets reject with icmpx admin-prohibited"
                ),
            ),
            Rule::Always(verdict) => line(text, 2, format_args!("{}", verdict_text(*verdict))),
            Rule::Garden(rule) => line(text, 2, format_args!("{}", garden_rule(*rule))),
            Rule::Local(rule) => line(text, 2, format_args!("{}", local_rule(rule))),
        }
    }
    line(text, 1, format_args!("}}\n"));
}

fn garden_rule(rule: GardenRule) -> String {
    let version = rule.version();
    let (word, protocol) = match version {
        Version::V4 => ("ip", "ipv4"),
        Version::V6 => ("ip6", "ipv6"),
    };
    match rule {
        GardenRule::Lead(to) => format!(
            "meta nfproto {protocol} tcp dport {} limit rate {}/second burst {} packets dnat {word} to {to}",
            garden::HTTP_PORT,
            garden::LED_PER_SECOND,
            garden::LED_BURST
        ),
        GardenRule::Enter(to) => format!(
            "{} {} tcp dport {} limit rate {}/second burst {} packets accept",
            expression(Field::Destination(version)),
            to.ip(),
            to.port(),
            garden::PACKETS_PER_SECOND,
            garden::PACKETS_BURST
        ),
        GardenRule::Answer(from) => {
            let source = expression(Field::Source(version));
            format!("{source} {} tcp sport {} return", from.ip(), from.port())
        }
    }
}

fn local_rule(rule: &LocalRule) -> String {
    match rule {
        LocalRule::AcceptLoopback { has_arrived: true } => "iifname \"lo\" accept".to_owned(),
        LocalRule::AcceptLoopback { has_arrived: false } => "oifname \"lo\" accept".to_owned(),
        LocalRule::JumpUnmarked(chain) => format!("meta mark 0x00000000 jump {}", chain.name()),
        LocalRule::Mark(map) => {
            let map = SetId::Owner(*map);
            format!("meta mark set {} map @{}", expressions(&map.key()), map.name())
        }
        LocalRule::JumpMailer(chain) => format!("meta mark {:#010x} jump {}", Owner::MAILER.0, chain.name()),
        LocalRule::ReturnUnmarked => "meta mark 0x00000000 return".to_owned(),
        LocalRule::Unmark => "meta mark set 0x00000000".to_owned(),
        LocalRule::Log { group, len, what } => {
            let ports = SetId::Owner(OwnerSet::ReadPort).name();
            let (which, then) = match what {
                Logged::All => (String::new(), ""),
                Logged::ToReadPorts => (format!("th dport @{ports} "), " return"),
                Logged::ToMailPort => (format!("tcp dport {MAIL_PORT} "), ""),
                Logged::FromReadPorts => (format!("tcp sport @{ports} "), " return"),
                Logged::TcpEnds => (format!("tcp dport >= {FIRST_PORT} tcp flags fin,syn,rst "), ""),
                Logged::Datagrams => (format!("udp dport >= {FIRST_PORT} "), ""),
                Logged::Others => ("meta l4proto != tcp meta l4proto != udp ".to_owned(), ""),
            };
            format!("{which}log group {group} snaplen {len}{then}")
        }
        LocalRule::Reset { per_second, burst } => format!(
            "meta l4proto tcp limit rate {per_second}/second burst {burst} packets reject with tcp reset"
        ),
        LocalRule::JumpSenders(chain) => {
            let weighed = SetId::Owner(OwnerSet::MailWeighed);
            let word: String = NAMES_SENDER.iter().map(|byte| format!("{byte:02x}")).collect();
            format!(
                "meta mark @{} tcp dport {MAIL_PORT} @ih,0,{} 0x{word} jump {}",
                weighed.name(),
                NAMES_SENDER.len() * 8,
                chain.name()
            )
        }
        LocalRule::PassOnce(version) => {
            let set = SetId::Owner(OwnerSet::MailPassed(*version));
            let (key, name) = (expressions(&set.key()), set.name());
            format!("{key} @{name} delete @{name} {{ {key} }} return")
        }
    }
}

fn line(text: &mut String, depth: usize, content: std::fmt::Arguments<'_>) {
    text.extend(std::iter::repeat_n('\t', depth));
    text.write_fmt(content).expect("writing to a String cannot fail");
    text.push('\n');
}

fn expressions(key: &[Field]) -> String {
    let all: Vec<&str> = key.iter().map(|field| expression(*field)).collect();
    all.join(" . ")
}

/// What connections of IPv6 are counted by.
fn network_mask() -> std::net::Ipv6Addr {
    std::net::Ipv6Addr::from_bits(u128::MAX << HOST_BITS_6)
}

/// nft's words for types of neighbour discovery.
fn neighbours(kind: u8) -> String {
    match kind {
        133 => "nd-router-solicit".to_owned(),
        135 => "nd-neighbor-solicit".to_owned(),
        136 => "nd-neighbor-advert".to_owned(),
        other => other.to_string(),
    }
}

/// A limit in nft's units: bytes in the largest that is whole, packets with a burst that is not the usual one.
fn print_rate(rate: Rate) -> String {
    let per = match rate.seconds {
        1 => "second",
        60 => "minute",
        3_600 => "hour",
        _ => "day",
    };
    if rate.unit == Unit::Bytes {
        let burst = match rate.kernel_burst() {
            0 => String::new(),
            burst => format!(" burst {}", bytes(burst)),
        };
        return format!("rate over {}/{per}{burst}", bytes(rate.amount));
    }
    let burst = match rate.burst {
        USUAL_BURST => String::new(),
        burst => format!(" burst {burst} packets"),
    };
    format!("rate over {}/{per}{burst}", rate.amount)
}

/// The burst that nft does not mention.
const USUAL_BURST: u32 = 5;

fn bytes(number: u32) -> String {
    let (mut number, mut unit) = (number, "bytes");
    for larger in ["kbytes", "mbytes"] {
        if number == 0 || !number.is_multiple_of(1_024) {
            break;
        }
        (number, unit) = (number / 1_024, larger);
    }
    format!("{number} {unit}")
}

fn type_name(field: Field) -> &'static str {
    match field {
        Field::Source(Version::V4) | Field::Destination(Version::V4) => "ipv4_addr",
        Field::Source(Version::V6) | Field::Destination(Version::V6) => "ipv6_addr",
        Field::Protocol => "inet_proto",
        Field::Port => "inet_service",
        Field::Interface => "ifname",
        Field::Owner => "mark",
        Field::User => "uid",
        Field::Group(_) => "cgroupsv2",
        Field::TcpSourcePort | Field::TcpDestinationPort => "inet_service",
    }
}

fn expression(field: Field) -> &'static str {
    match field {
        Field::Source(Version::V4) => "ip saddr",
        Field::Source(Version::V6) => "ip6 saddr",
        Field::Destination(Version::V4) => "ip daddr",
        Field::Destination(Version::V6) => "ip6 daddr",
        Field::Protocol => "meta l4proto",
        Field::Port => "th dport",
        Field::Interface => "iifname",
        Field::Owner => "meta mark",
        Field::User => "meta skuid",
        Field::Group(1) => "socket cgroupv2 level 1",
        Field::Group(2) => "socket cgroupv2 level 2",
        Field::Group(3) => "socket cgroupv2 level 3",
        Field::Group(_) => "socket cgroupv2 level 4",
        Field::TcpSourcePort => "tcp sport",
        Field::TcpDestinationPort => "tcp dport",
    }
}

fn verdict_text(verdict: Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".into(),
        Verdict::Drop => "drop".into(),
        Verdict::Return => "return".into(),
        Verdict::Goto(chain) => format!("goto {}", chain.name()),
        Verdict::Jump(chain) => format!("jump {}", chain.name()),
    }
}

fn print_element(element: &Element) -> String {
    let net = |net: &ipnet::IpNet| {
        if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
    };
    match element {
        Element::Vouched { port, source } => format!("{port:?} . {}", net(source)),
        Element::SuspendedPort(name)
        | Element::HeldPort(name)
        | Element::VettedPort(name)
        | Element::ForgedPort(name)
        | Element::ForgedLimit(name)
        | Element::ForgedLimited(name) => format!("{name:?}"),
        Element::User { uid, owner } => format!("{uid} : {owner:#010x}"),
        // nft takes and shows a path; the kernel knows this.
        Element::Group { id, owner, .. } => format!("{id} : {owner:#010x}"),
        Element::ReadPort(port) => port.to_string(),
        Element::Owned { owner, what } => {
            let (destination, service) = what.place();
            let mut parts = vec![format!("{owner:#010x}")];
            parts.extend(destination.map(net));
            parts.extend(service.map(|(protocol, port)| format!("{protocol} . {port}")));
            parts.join(" . ")
        }
        other => {
            let place = other.place();
            let mut parts = vec![net(place.first)];
            parts.extend(place.destination.map(net));
            parts.extend(place.service.map(|(protocol, port)| format!("{protocol} . {port}")));
            parts.join(" . ")
        }
    }
}

/// Whole seconds, rounded up, in nft's units.
fn seconds(span: Duration) -> String {
    let mut left = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    let mut text = String::new();
    for (unit, size) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if left >= size {
            write!(text, "{}{unit}", left / size).expect("writing to a String cannot fail");
            left %= size;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::{Hold, Lasting, Pace};

    #[test]
    fn the_skeleton_reads_as_nft_writes_it() {
        insta::assert_snapshot!(print_all(&Elements::new(), Timestamp::EPOCH));
    }

    #[test]
    fn elements_are_listed_in_their_sets() {
        let now = Timestamp::from_secs(1_000);
        let until = |secs| Hold::new(Lasting::Until(now + Duration::from_secs(secs)));
        let mut elements = Elements::new();
        elements.insert(Element::Suspended("203.0.113.10/32".parse().unwrap()), until(3_600));
        elements.insert(Element::Suspended("203.0.113.64/26".parse().unwrap()), Hold::new(Lasting::Lease));
        elements.insert(Element::Protected("192.0.2.1/32".parse().unwrap()), Hold::new(Lasting::Always));
        elements.insert(Element::SuspendedPort("tap0".into()), until(61));
        let source = "2001:db8:10::/48".parse().unwrap();
        let protocol = reeve_policy::Protocol::Tcp;
        elements.insert(Element::BlockedPort { source, protocol, port: 25 }, until(1));
        let destination = "2001:db8:f000::1/128".parse().unwrap();
        elements.insert(Element::BlockedDestination { source, destination }, until(1));
        elements.insert(Element::BlockedService { source, destination, protocol, port: 25 }, until(1));
        let mut limited = until(60);
        limited.decisions.push(reeve_policy::DecisionId("v.1".parse().unwrap()));
        limited.rate = Some("3 kbytes/second".parse().unwrap());
        let traffic =
            Element::Limit { pace: Pace::Traffic, source, destination: None, service: Some((protocol, 25)) };
        elements.insert(traffic, limited.clone());
        limited.rate = Some("10/minute".parse().unwrap());
        let openings = Element::Limit { pace: Pace::Openings, source, destination: None, service: None };
        elements.insert(openings, limited);
        let text = print(&Ruleset::new(Family::Inet), &elements, now);
        let listed: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| {
                line.contains("elements") || line.contains("timeout ") || line.contains("rate over")
            })
            .collect();
        insta::assert_snapshot!(listed.join("\n"));
    }
}
