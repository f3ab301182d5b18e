//! The detectors' numbers in a file: a table for each class, every key of it optional.

use std::time::Duration;

use super::thresholds::{
    ApiBurst, Endpoint, FloodIcmp, FloodSyn, FloodUdp, Horizontal, Mailbomb, Relay, Spam, Stealth,
    Thresholds, Vertical,
};
use crate::class::Class;
use crate::reader::Section;
use crate::tenant::Name;

/// An endpoint is compared with every TCP packet, and stands in the capture's filter.
const MAX_ENDPOINTS: usize = 32;
/// What one endpoint may have of addresses and of ports.
const MAX_PLACES: usize = 16;

/// Counts that make no sense beyond what the windows hold.
const COUNT: std::ops::RangeInclusive<u64> = 1..=450;
const RATE: std::ops::RangeInclusive<u64> = 1..=1_000_000_000_000;
const SHARE: std::ops::RangeInclusive<f64> = 0.0..=1.0;

/// Reads what `section` says into `numbers` and leaves the rest.
pub(super) fn read(section: &Section<'_, '_>, numbers: &mut Thresholds) {
    for class in Class::ALL {
        let Some(table) = section.section(class.name()) else { continue };
        match class {
            Class::PortscanHorizontal => horizontal(&table, &mut numbers.horizontal),
            Class::PortscanVertical => vertical(&table, &mut numbers.vertical),
            Class::PortscanStealth => stealth(&table, &mut numbers.stealth),
            Class::FloodSyn => flood_syn(&table, &mut numbers.flood_syn),
            Class::FloodUdp => flood_udp(&table, &mut numbers.flood_udp),
            Class::FloodIcmp => flood_icmp(&table, &mut numbers.flood_icmp),
            Class::Spam => spam(&table, &mut numbers.spam),
            Class::SpamMailbomb => mailbomb(&table, &mut numbers.mailbomb),
            Class::SmtpRelay => relay(&table, &mut numbers.relay),
            Class::ApiBurst => api_burst(&table, &mut numbers.api),
        }
        table.finish();
    }
    section.finish();
}

fn count(table: &Section<'_, '_>, key: &str, place: &mut u32) {
    if let Some(number) = table.integer(key, COUNT) {
        *place = u32::try_from(number).expect("the range fits");
    }
}

fn rate(table: &Section<'_, '_>, key: &str, place: &mut u64) {
    if let Some(number) = table.integer(key, RATE) {
        *place = number;
    }
}

fn share(table: &Section<'_, '_>, key: &str, place: &mut f64) {
    if let Some(number) = table.float(key, SHARE) {
        *place = number;
    }
}

fn ports(table: &Section<'_, '_>, key: &str, place: &mut Vec<u16>) {
    if let Some(list) = table.parsed_list(key, "port numbers, 0 to 65535") {
        *place = list;
    }
}

/// A sliding window: from a second to ten minutes.
fn window(table: &Section<'_, '_>, place: &mut Duration) {
    span(table, "window", 600, "\"10m\"", place);
}

/// A time from a second to `most_seconds`, which people write as `most`.
fn span(table: &Section<'_, '_>, key: &str, most_seconds: u64, most: &str, place: &mut Duration) {
    if let Some(span) = table.duration(key) {
        if (1..=most_seconds).contains(&span.as_secs()) {
            *place = span;
        } else {
            table.reject(key, &format!("a time from \"1s\" to {most}"));
        }
    }
}

fn horizontal(table: &Section<'_, '_>, numbers: &mut Horizontal) {
    count(table, "hosts", &mut numbers.hosts);
    window(table, &mut numbers.window);
    share(table, "unanswered", &mut numbers.unanswered);
    count(table, "udp_factor", &mut numbers.udp_factor);
    count(table, "wide_hosts", &mut numbers.wide_hosts);
    ports(table, "intruder_ports", &mut numbers.intruder_ports);
    count(table, "intruder_hosts", &mut numbers.intruder_hosts);
    ports(table, "peer_ports", &mut numbers.peer_ports);
    count(table, "peer_hosts", &mut numbers.peer_hosts);
}

fn vertical(table: &Section<'_, '_>, numbers: &mut Vertical) {
    count(table, "ports", &mut numbers.ports);
    count(table, "low_ports", &mut numbers.low_ports);
    window(table, &mut numbers.window);
    share(table, "unanswered", &mut numbers.unanswered);
    count(table, "udp_factor", &mut numbers.udp_factor);
}

fn stealth(table: &Section<'_, '_>, numbers: &mut Stealth) {
    count(table, "probes", &mut numbers.probes);
    count(table, "ack_probes", &mut numbers.ack_probes);
    count(table, "protocols", &mut numbers.protocols);
    window(table, &mut numbers.window);
}

fn flood_syn(table: &Section<'_, '_>, numbers: &mut FloodSyn) {
    rate(table, "packets_per_second", &mut numbers.packets_per_second);
    share(table, "completed", &mut numbers.completed);
}

fn flood_udp(table: &Section<'_, '_>, numbers: &mut FloodUdp) {
    rate(table, "packets_per_second", &mut numbers.packets_per_second);
    rate(table, "bits_per_second", &mut numbers.bits_per_second);
    share(table, "answered", &mut numbers.answered);
    rate(table, "total_packets_per_second", &mut numbers.total_packets_per_second);
}

fn flood_icmp(table: &Section<'_, '_>, numbers: &mut FloodIcmp) {
    rate(table, "packets_per_second", &mut numbers.packets_per_second);
    count(table, "seconds", &mut numbers.seconds);
}

fn spam(table: &Section<'_, '_>, numbers: &mut Spam) {
    big_count(table, "messages_per_minute", &mut numbers.messages_per_minute);
    big_count(table, "messages_per_hour", &mut numbers.messages_per_hour);
    count(table, "exchangers", &mut numbers.exchangers);
    share(table, "rejected", &mut numbers.rejected);
    count(table, "mail_factor", &mut numbers.mail_factor);
}

fn mailbomb(table: &Section<'_, '_>, numbers: &mut Mailbomb) {
    big_count(table, "messages", &mut numbers.messages);
    window(table, &mut numbers.window);
}

fn relay(table: &Section<'_, '_>, numbers: &mut Relay) {
    few(table, "messages", &mut numbers.messages);
    few(table, "domains", &mut numbers.domains);
    few(table, "next_hops", &mut numbers.next_hops);
    span(table, "window", 3_600, "\"1h\"", &mut numbers.window);
}

fn api_burst(table: &Section<'_, '_>, numbers: &mut ApiBurst) {
    if let Some(rate) = table.float("calls_per_second", 0.001..=1_000_000.0) {
        numbers.calls_per_second = rate;
    }
    big_count(table, "burst", &mut numbers.burst);
    big_count(table, "in_flight", &mut numbers.in_flight);
    span(table, "in_flight_window", 600, "\"10m\"", &mut numbers.in_flight_window);
    span(table, "continuous", 86_400, "\"1d\"", &mut numbers.continuous);
}

/// Messages and calls come in greater numbers than hosts.
fn big_count(table: &Section<'_, '_>, key: &str, place: &mut u32) {
    if let Some(number) = table.integer(key, 1..=1_000_000) {
        *place = u32::try_from(number).expect("the range fits");
    }
}

/// As many as the memory of a relay holds.
fn few(table: &Section<'_, '_>, key: &str, place: &mut u32) {
    if let Some(number) = table.integer(key, 1..=32) {
        *place = u32::try_from(number).expect("the range fits");
    }
}

/// Reads the `[[endpoint]]` tables of `root` into `numbers`: those with a name that is known replace it.
pub(super) fn endpoints(root: &Section<'_, '_>, numbers: &mut Thresholds) {
    let mut own: Vec<Endpoint> = Vec::new();
    for section in root.sections("endpoint") {
        if let Some(endpoint) = endpoint(&section, &numbers.api) {
            if own.iter().any(|other| other.name == endpoint.name) {
                section.reject("name", "a name that no endpoint above has");
            }
            own.push(endpoint);
        }
        section.finish();
    }
    numbers.endpoints.retain(|known| own.iter().all(|new| new.name != known.name));
    numbers.endpoints.extend(own);
    if numbers.endpoints.len() > MAX_ENDPOINTS {
        root.reject("endpoint", "at most 32 endpoints");
    }
}

fn endpoint(section: &Section<'_, '_>, defaults: &ApiBurst) -> Option<Endpoint> {
    let name: Option<Name> = section
        .required("name", "a name: 1 to 64 letters, digits, `.`, `_` or `-`, the first a letter or digit");
    let addresses = places(section, "addresses", "1 to 16 prefixes like 192.0.2.0/24 or 192.0.2.1/32");
    let ports = places(section, "ports", "1 to 16 TCP ports, 1 to 65535");
    if ports.as_ref().is_some_and(|ports: &Vec<u16>| ports.contains(&0)) {
        section.reject("ports", "1 to 16 TCP ports, 1 to 65535");
    }
    let mut numbers = defaults.clone();
    api_burst(section, &mut numbers);
    Some(Endpoint { name: name?, addresses: addresses?, ports: ports?, numbers })
}

fn places<T: std::str::FromStr>(section: &Section<'_, '_>, key: &str, allowed: &str) -> Option<Vec<T>> {
    let list: Option<Vec<T>> = section.parsed_list(key, allowed);
    // What stands there and cannot be read has been told.
    let written = section.parsed_list::<String>(key, allowed).map_or(0, |texts| texts.len());
    if !section.has(key) || (list.is_some() && !(1..=MAX_PLACES).contains(&written)) {
        section.reject(key, allowed);
    }
    list
}
