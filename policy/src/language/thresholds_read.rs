//! The detectors' numbers in a file: a table for each class, every key of it optional.

use super::thresholds::{FloodIcmp, FloodSyn, FloodUdp, Horizontal, Stealth, Thresholds, Vertical};
use crate::class::Class;
use crate::reader::Section;

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
fn window(table: &Section<'_, '_>, place: &mut std::time::Duration) {
    if let Some(span) = table.duration("window") {
        if (1..=600).contains(&span.as_secs()) {
            *place = span;
        } else {
            table.reject("window", "a time from \"1s\" to \"10m\"");
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
