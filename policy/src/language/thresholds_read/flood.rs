//! The numbers of the floods, and of reflectors. Read from a file.

use super::{Table, float, ports, rate, share, steady};
use crate::language::thresholds::{
    FloodAmplify, FloodConnect, FloodFrag, FloodIcmp, FloodOther, FloodSyn, FloodTcp, FloodUdp, FloodVolume,
    UdpStream,
};

pub(super) fn flood_syn(table: &Table<'_, '_, '_>, numbers: &mut FloodSyn) {
    rate(table, "packets_per_second", &mut numbers.packets_per_second);
    share(table, "completed", &mut numbers.completed);
    rate(table, "total_packets_per_second", &mut numbers.total_packets_per_second);
}

pub(super) fn flood_tcp(table: &Table<'_, '_, '_>, numbers: &mut FloodTcp) {
    rate(table, "packets_per_second", &mut numbers.packets_per_second);
    rate(table, "total_packets_per_second", &mut numbers.total_packets_per_second);
}

pub(super) fn flood_connect(table: &Table<'_, '_, '_>, numbers: &mut FloodConnect) {
    rate(table, "connections_per_second", &mut numbers.connections_per_second);
    share(table, "carried", &mut numbers.carried);
}

pub(super) fn flood_udp(table: &Table<'_, '_, '_>, numbers: &mut FloodUdp) {
    rate(table, "packets_per_second", &mut numbers.packets_per_second);
    rate(table, "bits_per_second", &mut numbers.bits_per_second);
    share(table, "answered", &mut numbers.answered);
    rate(table, "total_packets_per_second", &mut numbers.total_packets_per_second);
}

pub(super) fn flood_icmp(table: &Table<'_, '_, '_>, numbers: &mut FloodIcmp) {
    rate(table, "packets_per_second", &mut numbers.packets_per_second);
    steady(table, "seconds", &mut numbers.seconds);
    rate(table, "total_packets_per_second", &mut numbers.total_packets_per_second);
}

pub(super) fn flood_frag(table: &Table<'_, '_, '_>, numbers: &mut FloodFrag) {
    rate(table, "packets_per_second", &mut numbers.packets_per_second);
    share(table, "answered", &mut numbers.answered);
    rate(table, "total_packets_per_second", &mut numbers.total_packets_per_second);
}

pub(super) fn flood_other(table: &Table<'_, '_, '_>, numbers: &mut FloodOther) {
    rate(table, "packets_per_second", &mut numbers.packets_per_second);
    share(table, "answered", &mut numbers.answered);
    rate(table, "total_packets_per_second", &mut numbers.total_packets_per_second);
    rate(table, "link_messages_per_second", &mut numbers.link_messages_per_second);
    rate(table, "hardware_addresses_per_minute", &mut numbers.hardware_addresses_per_minute);
    rate(table, "dhcp_requests_per_minute", &mut numbers.dhcp_requests_per_minute);
}

pub(super) fn flood_volume(table: &Table<'_, '_, '_>, numbers: &mut FloodVolume) {
    rate(table, "bits_per_second", &mut numbers.bits_per_second);
    steady(table, "seconds", &mut numbers.seconds);
    share(table, "answered", &mut numbers.answered);
}

pub(super) fn flood_amplify(table: &Table<'_, '_, '_>, numbers: &mut FloodAmplify) {
    float(table, "factor", 1.0..=10_000.0, &mut numbers.factor);
    rate(table, "bits_per_second", &mut numbers.bits_per_second);
    rate(table, "packets_per_second", &mut numbers.packets_per_second);
    steady(table, "seconds", &mut numbers.seconds);
    ports(table, "ports", &mut numbers.ports);
}

pub(super) fn udp_stream(table: &Table<'_, '_, '_>, numbers: &mut UdpStream) {
    rate(table, "packets_per_second", &mut numbers.packets_per_second);
    rate(table, "bits_per_second", &mut numbers.bits_per_second);
    ports(table, "ports", &mut numbers.ports);
}
