//! The numbers of the scans. Read from a file.

use super::{Table, count, count_or_never, count_to, ports, share, span, steady};
use crate::language::thresholds::{Horizontal, Slow, Stealth, Vertical};

pub(super) fn horizontal(table: &Table<'_, '_, '_>, numbers: &mut Horizontal) {
    count(table, "hosts", &mut numbers.hosts);
    span(table, "window", 600, "\"10m\"", &mut numbers.window);
    share(table, "unanswered", &mut numbers.unanswered);
    steady(table, "udp_factor", &mut numbers.udp_factor);
    count_or_never(table, "wide_hosts", &mut numbers.wide_hosts);
    count_or_never(table, "wide_intruder_hosts", &mut numbers.wide_intruder_hosts);
    count(table, "block_targets", &mut numbers.block_targets);
    count(table, "walk_hosts", &mut numbers.walk_hosts);
    count_to(table, "link_hosts", 120, &mut numbers.link_hosts);
    ports(table, "intruder_ports", &mut numbers.intruder_ports);
    count(table, "intruder_hosts", &mut numbers.intruder_hosts);
    ports(table, "peer_ports", &mut numbers.peer_ports);
    count(table, "peer_hosts", &mut numbers.peer_hosts);
}

pub(super) fn vertical(table: &Table<'_, '_, '_>, numbers: &mut Vertical) {
    count(table, "ports", &mut numbers.ports);
    count_or_never(table, "low_ports", &mut numbers.low_ports);
    span(table, "window", 600, "\"10m\"", &mut numbers.window);
    share(table, "unanswered", &mut numbers.unanswered);
    steady(table, "udp_factor", &mut numbers.udp_factor);
}

pub(super) fn slow(table: &Table<'_, '_, '_>, numbers: &mut Slow) {
    count(table, "targets_per_hour", &mut numbers.targets_per_hour);
    count(table, "targets_per_day", &mut numbers.targets_per_day);
    share(table, "unanswered", &mut numbers.unanswered);
    steady(table, "udp_factor", &mut numbers.udp_factor);
}

pub(super) fn stealth(table: &Table<'_, '_, '_>, numbers: &mut Stealth) {
    count_to(table, "probes", 64, &mut numbers.probes);
    count_to(table, "ack_probes", 64, &mut numbers.ack_probes);
    count_to(table, "protocols", 24, &mut numbers.protocols);
    span(table, "window", 600, "\"10m\"", &mut numbers.window);
}
