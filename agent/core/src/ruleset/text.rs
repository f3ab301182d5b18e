//! The ruleset as nft text: what people review, what snapshots hold, and what `nft -f` takes.
//!
//! It is written the way `nft list table` writes it, so that the two can be held against each other.

use std::fmt::Write as _;
use std::time::Duration;

use reeve_policy::Timestamp;

use super::{Chain, Element, Elements, Field, Rule, Ruleset, SET_SIZE, Set, TABLE, Verdict, Version};

/// The skeleton with the elements as they stand at `now`.
#[must_use]
pub fn print(ruleset: &Ruleset, elements: &Elements, now: Timestamp) -> String {
    let mut text = format!("table inet {TABLE} {{\n");
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
    line(text, 1, format_args!("set {} {{", set.id.name()));
    line(text, 2, format_args!("type {}", types.join(" . ")));
    line(text, 2, format_args!("size {SET_SIZE}"));
    let mut flags = Vec::new();
    flags.extend(set.interval.then_some("interval"));
    flags.extend(set.timed.then_some("timeout"));
    if !flags.is_empty() {
        line(text, 2, format_args!("flags {}", flags.join(",")));
    }
    if set.timed {
        line(text, 2, format_args!("counter"));
    }
    let mut members = elements.iter().filter(|(element, _)| element.set() == set.id).peekable();
    if members.peek().is_some() {
        let all: Vec<String> = members
            .map(|(element, hold)| match hold.timeout(now) {
                Some(timeout) => format!("{} timeout {}", print_element(element), seconds(timeout)),
                None => print_element(element),
            })
            .collect();
        line(text, 2, format_args!("elements = {{ {} }}", all.join(",\n\t\t\t     ")));
    }
    line(text, 1, format_args!("}}\n"));
}

fn print_chain(text: &mut String, chain: &Chain) {
    line(text, 1, format_args!("chain {} {{", chain.id.name()));
    if let Some(priority) = chain.priority {
        let sign = if priority < 0 { '-' } else { '+' };
        let distance = priority.unsigned_abs();
        let hook = chain.id.name();
        line(
            text,
            2,
            format_args!("type filter hook {hook} priority filter {sign} {distance}; policy accept;"),
        );
    }
    for rule in &chain.rules {
        match rule {
            Rule::Lookup { key, set, verdict } => {
                let key: Vec<&str> = key.iter().map(|field| expression(*field)).collect();
                line(text, 2, format_args!("{} @{} {}", key.join(" . "), set.name(), verdict_text(*verdict)));
            }
            Rule::Reject { per_second, burst } => line(
                text,
                2,
                format_args!(
                    "limit rate {per_second}/second burst {burst} packets reject with icmpx admin-prohibited"
                ),
            ),
            Rule::Always(verdict) => line(text, 2, format_args!("{}", verdict_text(*verdict))),
        }
    }
    line(text, 1, format_args!("}}\n"));
}

fn line(text: &mut String, depth: usize, content: std::fmt::Arguments<'_>) {
    text.extend(std::iter::repeat_n('\t', depth));
    text.write_fmt(content).expect("writing to a String cannot fail");
    text.push('\n');
}

fn type_name(field: Field) -> &'static str {
    match field {
        Field::Source(Version::V4) | Field::Destination(Version::V4) => "ipv4_addr",
        Field::Source(Version::V6) | Field::Destination(Version::V6) => "ipv6_addr",
        Field::Protocol => "inet_proto",
        Field::Port => "inet_service",
        Field::Interface => "ifname",
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
    }
}

fn verdict_text(verdict: Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".into(),
        Verdict::Drop => "drop".into(),
        Verdict::Goto(chain) => format!("goto {}", chain.name()),
    }
}

fn print_element(element: &Element) -> String {
    let net = |net: &ipnet::IpNet| {
        if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
    };
    match element {
        Element::Protected(prefix) | Element::Suspended(prefix) => net(prefix),
        Element::SuspendedPort(name) => format!("{name:?}"),
        Element::BlockedPort { source, protocol, port } => format!("{} . {protocol} . {port}", net(source)),
        Element::BlockedDestination { source, destination } => format!("{} . {destination}", net(source)),
        Element::BlockedService { source, destination, protocol, port } => {
            format!("{} . {destination} . {protocol} . {port}", net(source))
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
    use crate::ruleset::{Hold, Lasting};

    #[test]
    fn the_skeleton_reads_as_nft_writes_it() {
        insta::assert_snapshot!(print(&Ruleset::new(), &Elements::new(), Timestamp::EPOCH));
    }

    #[test]
    fn elements_are_listed_in_their_sets() {
        let now = Timestamp::from_secs(1_000);
        let until =
            |secs| Hold { lasting: Lasting::Until(now + Duration::from_secs(secs)), decisions: Vec::new() };
        let mut elements = Elements::new();
        elements.insert(Element::Suspended("203.0.113.10/32".parse().unwrap()), until(3_600));
        elements.insert(
            Element::Suspended("203.0.113.64/26".parse().unwrap()),
            Hold { lasting: Lasting::Lease, decisions: Vec::new() },
        );
        elements.insert(
            Element::Protected("192.0.2.1/32".parse().unwrap()),
            Hold { lasting: Lasting::Always, decisions: Vec::new() },
        );
        elements.insert(Element::SuspendedPort("tap0".into()), until(61));
        let source = "2001:db8:10::/48".parse().unwrap();
        let protocol = reeve_policy::Protocol::Tcp;
        elements.insert(Element::BlockedPort { source, protocol, port: 25 }, until(1));
        let destination = "2001:db8:f000::1".parse().unwrap();
        elements.insert(Element::BlockedDestination { source, destination }, until(1));
        elements.insert(Element::BlockedService { source, destination, protocol, port: 25 }, until(1));
        let text = print(&Ruleset::new(), &elements, now);
        let listed: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| line.contains("elements") || line.contains("timeout "))
            .collect();
        insta::assert_snapshot!(listed.join("\n"));
    }
}
