//! The detectors' numbers in a file: a table for each class, every key of it optional.

mod call;
mod flood;
mod identity;
mod login;
mod mail;
mod scan;
mod table;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::numbers::{Number, Value};
use super::thresholds::{ApiBurst, Thresholds};
use crate::class::Class;
use crate::reader::Section;
pub(super) use call::endpoints;
pub(in crate::language) use table::Table;

/// Counts of what a window of targets holds. What holds less has a range of its own: the detectors' tests compare these with their room.
const COUNT: std::ops::RangeInclusive<u64> = 1..=450;
const RATE: std::ops::RangeInclusive<u64> = 1..=1_000_000_000_000;
const SHARE: std::ops::RangeInclusive<f64> = 0.0..=1.0;

/// Reads what `section` says into `numbers` and leaves the rest.
pub(super) fn read(section: &Section<'_, '_>, numbers: &mut Thresholds) {
    section.is_a("thresholds");
    for class in Class::ALL {
        let Some(table) = section.section(class.name()) else { continue };
        visit(class, &Table::File(&table), numbers);
        table.finish();
    }
    unquoted(section);
    section.finish();
}

/// Tells of what is meant for a class and is none: without quotes the dot of its name makes two tables, and numbers are said class by
/// class.
fn unquoted(section: &Section<'_, '_>) {
    for key in section.keys() {
        if let Some(class) = key.strip_suffix(".*").and_then(first_of) {
            let allowed = format!(
                "one class at a time, such as \"{class}\"; a family has factors only, in [profile.NAME] and [tenant.\"ID\"]"
            );
            section.refuse(key, &allowed);
        }
    }
    unquoted_class(section);
}

/// The same where families are allowed.
pub(super) fn unquoted_class(section: &Section<'_, '_>) {
    for key in section.keys() {
        let is_part = |part: &str| Class::ALL.iter().any(|class| class.name() == format!("{key}.{part}"));
        if let Some(class) = first_of(key)
            && (Class::matching(key).is_empty() || section.holds_part(key, is_part))
        {
            section.refuse(key, &format!("the name of a class in quotes, such as \"{class}\""));
        }
    }
}

/// The first class of a family, by the family's name.
fn first_of(family: &str) -> Option<Class> {
    let begins = |class: &Class| class.name().strip_prefix(family).is_some_and(|rest| rest.starts_with('.'));
    Class::ALL.into_iter().find(begins)
}

/// The numbers of a class, key by key.
pub(super) fn list(class: Class, numbers: &Thresholds) -> Vec<Number> {
    let listed = RefCell::default();
    visit(class, &Table::List(&listed), &mut numbers.clone());
    listed.into_inner()
}

/// The numbers of one endpoint.
pub(super) fn list_endpoint(numbers: &ApiBurst) -> Vec<Number> {
    let listed = RefCell::default();
    call::api_burst(&Table::List(&listed), &mut numbers.clone());
    listed.into_inner()
}

/// Multiplies the counts and rates of a class; those of `api_burst` at every endpoint.
pub(super) fn scale(class: Class, factor: f64, numbers: &mut Thresholds) {
    change(class, &Table::Scale(factor), numbers);
}

/// Replaces numbers of a class; those of `api_burst` at every endpoint.
pub(super) fn put(class: Class, values: &BTreeMap<String, Value>, numbers: &mut Thresholds) {
    change(class, &Table::Put(values), numbers);
}

fn change(class: Class, table: &Table<'_, '_, '_>, numbers: &mut Thresholds) {
    visit(class, table, numbers);
    if class == Class::ApiBurst {
        numbers.endpoints.iter_mut().for_each(|endpoint| call::api_burst(table, &mut endpoint.numbers));
    }
}

fn visit(class: Class, table: &Table<'_, '_, '_>, numbers: &mut Thresholds) {
    match class {
        Class::PortscanHorizontal => scan::horizontal(table, &mut numbers.horizontal),
        Class::PortscanVertical => scan::vertical(table, &mut numbers.vertical),
        Class::PortscanSlow => scan::slow(table, &mut numbers.slow),
        Class::PortscanStealth => scan::stealth(table, &mut numbers.stealth),
        Class::FloodSyn => flood::flood_syn(table, &mut numbers.flood_syn),
        Class::FloodTcp => flood::flood_tcp(table, &mut numbers.flood_tcp),
        Class::FloodConnect => flood::flood_connect(table, &mut numbers.flood_connect),
        Class::FloodUdp => flood::flood_udp(table, &mut numbers.flood_udp),
        Class::FloodIcmp => flood::flood_icmp(table, &mut numbers.flood_icmp),
        Class::FloodFrag => flood::flood_frag(table, &mut numbers.flood_frag),
        Class::FloodOther => flood::flood_other(table, &mut numbers.flood_other),
        Class::FloodVolume => flood::flood_volume(table, &mut numbers.flood_volume),
        Class::FloodAmplify => flood::flood_amplify(table, &mut numbers.flood_amplify),
        Class::UdpStream => flood::udp_stream(table, &mut numbers.udp_stream),
        Class::Crash => identity::crash(table, &mut numbers.crash),
        Class::Spam => mail::spam(table, &mut numbers.spam),
        Class::SpamMailbomb => mail::mailbomb(table, &mut numbers.mailbomb),
        Class::SmtpRelay => mail::relay(table, &mut numbers.relay),
        Class::ApiBurst => call::api_burst(table, &mut numbers.api),
        Class::Crawl => call::crawl(table, &mut numbers.crawl),
        Class::Bruteforce => login::bruteforce(table, &mut numbers.bruteforce),
        Class::SpoofSource => identity::spoof_source(table, &mut numbers.spoof_source),
        Class::SpoofArp => identity::claims(table, &mut numbers.spoof_arp),
        Class::SpoofNd => identity::claims(table, &mut numbers.spoof_nd),
        Class::SpoofRouting => identity::spoof_routing(table, &mut numbers.spoof_routing),
        Class::Malware => identity::malware(table, &mut numbers.malware),
        Class::Quota => identity::quota(table, &mut numbers.quota),
    }
}

/// A count of what a window holds.
fn count(table: &Table<'_, '_, '_>, key: &'static str, place: &mut u32) {
    table.whole_32(key, COUNT, true, place);
}

/// A count of what there is room for `most` of.
fn count_to(table: &Table<'_, '_, '_>, key: &'static str, most: u64, place: &mut u32) {
    table.whole_32(key, 1..=most, true, place);
}

/// A count of what a window holds; 0 is "never".
fn count_or_never(table: &Table<'_, '_, '_>, key: &'static str, place: &mut u32) {
    table.whole_32(key, 0..=*COUNT.end(), true, place);
}

/// A whole number that is no count of what a tenant does: seconds, or times as much. No profile multiplies it.
fn steady(table: &Table<'_, '_, '_>, key: &'static str, place: &mut u32) {
    table.whole_32(key, COUNT, false, place);
}

fn rate(table: &Table<'_, '_, '_>, key: &'static str, place: &mut u64) {
    table.whole(key, RATE, true, place);
}

fn share(table: &Table<'_, '_, '_>, key: &'static str, place: &mut f64) {
    table.number(key, SHARE, false, place);
}

fn ports(table: &Table<'_, '_, '_>, key: &'static str, place: &mut Vec<u16>) {
    table.ports(key, place);
}

/// A time from a second to `most_seconds`, which people write as `most`.
fn span(table: &Table<'_, '_, '_>, key: &'static str, most_seconds: u64, most: &str, place: &mut Duration) {
    table.span(key, most_seconds, most, place);
}

/// A proportion; no profile multiplies it.
fn float(
    table: &Table<'_, '_, '_>,
    key: &'static str,
    range: std::ops::RangeInclusive<f64>,
    place: &mut f64,
) {
    table.number(key, range, false, place);
}

/// A rate that may be less than one.
fn float_rate(
    table: &Table<'_, '_, '_>,
    key: &'static str,
    range: std::ops::RangeInclusive<f64>,
    place: &mut f64,
) {
    table.number(key, range, true, place);
}

/// An amount; 0 is none.
fn bytes(table: &Table<'_, '_, '_>, key: &'static str, place: &mut u64) {
    table.whole(key, 0..=u64::MAX, true, place);
}

/// Messages and calls come in greater numbers than hosts.
fn big_count(table: &Table<'_, '_, '_>, key: &'static str, place: &mut u32) {
    table.whole_32(key, 1..=1_000_000, true, place);
}

/// As many as the memory of a relay holds.
fn few(table: &Table<'_, '_, '_>, key: &'static str, place: &mut u32) {
    table.whole_32(key, 1..=32, true, place);
}
