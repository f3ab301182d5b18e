//! The numbers of calls to protected endpoints, and of crawling. Read from a file.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Table, big_count, count, float_rate, share, span, steady};
use crate::language::rules_read::NAME;
use crate::language::thresholds::{ApiBurst, Crawl, Endpoint, EndpointKind, Host, Thresholds};
use crate::reader::Section;
use crate::tenant::Name;

/// Every packet is compared with endpoints, and they stand in the capture's filter.
const MAX_ENDPOINTS: usize = 32;
/// What all of them may have together.
const MAX_ADDRESSES: usize = 64;
/// See [`MAX_ADDRESSES`].
const MAX_PORTS: usize = 32;
/// What one endpoint may have of addresses, hosts, ports and paths.
const MAX_PLACES: usize = 16;
/// The longest beginning of a path.
const MAX_PATH: usize = 64;

pub(super) fn api_burst(table: &Table<'_, '_, '_>, numbers: &mut ApiBurst) {
    float_rate(table, "calls_per_second", 0.001..=1_000_000.0, &mut numbers.calls_per_second);
    big_count(table, "burst", &mut numbers.burst);
    big_count(table, "in_flight", &mut numbers.in_flight);
    span(table, "in_flight_window", 600, "\"10m\"", &mut numbers.in_flight_window);
    span(table, "continuous", 86_400, "\"1d\"", &mut numbers.continuous);
    count(table, "signups", &mut numbers.signups);
    span(table, "signup_window", 86_400, "\"1d\"", &mut numbers.signup_window);
}

pub(super) fn crawl(table: &Table<'_, '_, '_>, numbers: &mut Crawl) {
    count(table, "requests_per_second", &mut numbers.requests_per_second);
    steady(table, "seconds", &mut numbers.seconds);
    share(table, "distinct", &mut numbers.distinct);
    table.whole("bytes_per_request", 1..=1_000_000_000, false, &mut numbers.bytes_per_request);
}

/// Reads the `[[endpoint]]` tables of `root` into `numbers`: those with a name that is known replace it.
pub(in crate::language) fn endpoints(root: &Section<'_, '_>, numbers: &mut Thresholds) {
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
    let addresses: usize = numbers.endpoints.iter().map(|endpoint| endpoint.addresses.len()).sum();
    let ports: BTreeSet<u16> = numbers.endpoints.iter().flat_map(|endpoint| endpoint.ports.clone()).collect();
    if numbers.endpoints.len() > MAX_ENDPOINTS || addresses > MAX_ADDRESSES || ports.len() > MAX_PORTS {
        root.reject("endpoint", "at most 32 endpoints, with 64 addresses and 32 different ports in all");
    }
}

fn endpoint(section: &Section<'_, '_>, defaults: &ApiBurst) -> Option<Endpoint> {
    const WHERE: &str =
        "1 to 16 addresses like 192.0.2.1 or prefixes like 2001:db8::/48; or none, and `hosts`";
    let name: Option<Name> = section.required("name", NAME);
    let kind = section.one_of("kind", &EndpointKind::ALL);
    let hosts: Option<Vec<Host>> = if section.has("hosts") {
        places(section, "hosts", "1 to 16 host names like api.example or *.api.example")
    } else {
        Some(Vec::new())
    };
    let is_named = section.has("hosts") && !section.has("addresses");
    let place = |Place(net)| net;
    let addresses = if is_named {
        Some(Vec::new())
    } else {
        places(section, "addresses", WHERE).map(|all: Vec<Place>| all.into_iter().map(place).collect())
    };
    let ports = places(section, "ports", "1 to 16 ports, 1 to 65535");
    if ports.as_ref().is_some_and(|ports: &Vec<u16>| ports.contains(&0)) {
        section.reject("ports", "1 to 16 ports, 1 to 65535");
    }
    let paths: Option<Vec<String>> = if section.has("paths") {
        places(section, "paths", "1 to 16 beginnings of paths like /v1/")
    } else {
        Some(Vec::new())
    };
    let is_path = |path: &String| path.starts_with('/') && path.len() <= MAX_PATH && path.is_ascii();
    for (index, _) in paths.iter().flatten().enumerate().filter(|(_, path)| !is_path(path)) {
        section.reject_item("paths", index, "a path's beginning like /v1/, at most 64 letters");
    }
    let mut numbers = defaults.clone();
    api_burst(&Table::File(section), &mut numbers);
    Some(Endpoint {
        name: name?,
        kind: kind.unwrap_or_default(),
        addresses: addresses?,
        hosts: hosts?,
        ports: ports?,
        paths: paths?,
        numbers,
    })
}

/// A prefix, or an address as a prefix of its own.
struct Place(IpNet);

impl std::str::FromStr for Place {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map(Self)
    }
}

fn places<T: std::str::FromStr + 'static>(
    section: &Section<'_, '_>,
    key: &str,
    allowed: &str,
) -> Option<Vec<T>> {
    let list: Option<Vec<T>> = section.parsed_list(key, allowed);
    // What stands there and cannot be read has been told.
    if !section.has(key) || (list.is_some() && !(1..=MAX_PLACES).contains(&section.count(key))) {
        section.reject(key, allowed);
    }
    list
}
