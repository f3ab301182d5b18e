//! The numbers of calls to protected endpoints, and of crawling. Read from a file.

use super::{Table, big_count, count, float_rate, span, steady};
use crate::language::thresholds::{ApiBurst, Crawl};

pub(super) fn api_burst(table: &Table<'_, '_, '_>, numbers: &mut ApiBurst) {
    float_rate(table, "calls_per_second", 0.001..=1_000_000.0, &mut numbers.calls_per_second);
    big_count(table, "burst", &mut numbers.burst);
    big_count(table, "in_flight", &mut numbers.in_flight);
    span(table, "in_flight_window", 600, "\"10m\"", &mut numbers.in_flight_window);
    span(table, "continuous", 86_400, "\"1d\"", &mut numbers.continuous);
}

pub(super) fn crawl(table: &Table<'_, '_, '_>, numbers: &mut Crawl) {
    count(table, "requests_per_second", &mut numbers.requests_per_second);
    steady(table, "seconds", &mut numbers.seconds);
}
