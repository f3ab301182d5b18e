//! The numbers of calls to protected endpoints, and of crawling. Read from a file.

use super::{big_count, count, float, span};
use crate::language::thresholds::{ApiBurst, Crawl};
use crate::reader::Section;

pub(super) fn api_burst(table: &Section<'_, '_>, numbers: &mut ApiBurst) {
    float(table, "calls_per_second", 0.001..=1_000_000.0, &mut numbers.calls_per_second);
    big_count(table, "burst", &mut numbers.burst);
    big_count(table, "in_flight", &mut numbers.in_flight);
    span(table, "in_flight_window", 600, "\"10m\"", &mut numbers.in_flight_window);
    span(table, "continuous", 86_400, "\"1d\"", &mut numbers.continuous);
}

pub(super) fn crawl(table: &Section<'_, '_>, numbers: &mut Crawl) {
    count(table, "requests_per_second", &mut numbers.requests_per_second);
    count(table, "seconds", &mut numbers.seconds);
}
