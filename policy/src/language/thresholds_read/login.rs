//! The numbers of refused logins. Read from a file.

use super::{Table, count, count_to, span, steady};
use crate::language::thresholds::Bruteforce;

pub(super) fn bruteforce(table: &Table<'_, '_, '_>, numbers: &mut Bruteforce) {
    count(table, "refusals", &mut numbers.refusals);
    count_to(table, "hosts", 48, &mut numbers.hosts);
    steady(table, "refusals_each", &mut numbers.refusals_each);
    count(table, "refusals_same", &mut numbers.refusals_same);
    count(table, "sessions_alike", &mut numbers.sessions_alike);
    span(table, "window", 600, "\"10m\"", &mut numbers.window);
}
