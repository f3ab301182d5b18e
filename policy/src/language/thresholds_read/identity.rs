//! The numbers of forged sources and claims, of harmful packets and destinations, and of the month's traffic. Read from a file.

use super::{Table, bytes, count, count_to};
use crate::language::thresholds::{Claims, Crash, Malware, Quota, SpoofRouting, SpoofSource};

/// As many packets as are remembered one by one.
const REMEMBERED: std::ops::RangeInclusive<u64> = 1..=128;

pub(super) fn crash(table: &Table<'_, '_, '_>, numbers: &mut Crash) {
    count(table, "packets", &mut numbers.packets);
}

pub(super) fn spoof_source(table: &Table<'_, '_, '_>, numbers: &mut SpoofSource) {
    table.whole_32("packets", REMEMBERED, true, &mut numbers.packets);
}

pub(super) fn claims(table: &Table<'_, '_, '_>, numbers: &mut Claims) {
    count(table, "claims", &mut numbers.claims);
}

pub(super) fn spoof_routing(table: &Table<'_, '_, '_>, numbers: &mut SpoofRouting) {
    count(table, "packets", &mut numbers.packets);
}

pub(super) fn malware(table: &Table<'_, '_, '_>, numbers: &mut Malware) {
    count_to(table, "answered", 64, &mut numbers.answered);
    count_to(table, "silent", 64, &mut numbers.silent);
}

pub(super) fn quota(table: &Table<'_, '_, '_>, numbers: &mut Quota) {
    bytes(table, "bytes_per_month", &mut numbers.bytes_per_month);
}
