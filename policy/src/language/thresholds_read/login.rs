//! The numbers of refused logins. Read from a file.

use super::{count, span};
use crate::language::thresholds::Bruteforce;
use crate::reader::Section;

pub(super) fn bruteforce(table: &Section<'_, '_>, numbers: &mut Bruteforce) {
    count(table, "refusals", &mut numbers.refusals);
    count(table, "hosts", &mut numbers.hosts);
    count(table, "refusals_each", &mut numbers.refusals_each);
    span(table, "window", 600, "\"10m\"", &mut numbers.window);
}
