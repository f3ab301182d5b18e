//! The numbers of the mail classes. Read from a file.

use super::{Table, big_count, count_to, few, share, span};
use crate::language::thresholds::{Mailbomb, Relay, Spam};

pub(super) fn spam(table: &Table<'_, '_, '_>, numbers: &mut Spam) {
    big_count(table, "messages_per_minute", &mut numbers.messages_per_minute);
    big_count(table, "messages_per_hour", &mut numbers.messages_per_hour);
    count_to(table, "exchangers", 320, &mut numbers.exchangers);
    share(table, "rejected", &mut numbers.rejected);
    big_count(table, "alike_messages", &mut numbers.alike_messages);
    // As many as are remembered of each kind of message.
    table.whole_32("alike_sites", 1..=64, false, &mut numbers.alike_sites);
    big_count(table, "bounces_per_hour", &mut numbers.bounces_per_hour);
}

pub(super) fn mailbomb(table: &Table<'_, '_, '_>, numbers: &mut Mailbomb) {
    big_count(table, "messages", &mut numbers.messages);
    big_count(table, "site_messages", &mut numbers.site_messages);
    span(table, "window", 600, "\"10m\"", &mut numbers.window);
}

pub(super) fn relay(table: &Table<'_, '_, '_>, numbers: &mut Relay) {
    few(table, "messages", &mut numbers.messages);
    few(table, "domains", &mut numbers.domains);
    few(table, "next_hops", &mut numbers.next_hops);
    // Half of what is remembered.
    table.whole_32("sealed_messages", 1..=48, true, &mut numbers.sealed_messages);
    span(table, "window", 3_600, "\"1h\"", &mut numbers.window);
}
