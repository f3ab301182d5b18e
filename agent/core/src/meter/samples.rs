//! The last packet headers of a tenant, as evidence. Payload never gets in: a sample ends with the transport header.
//!
//! Attempts at connections, TCP that belongs to no connection, other TCP, and everything else are kept apart, so that a busy name
//! server's answers do not push out its scan; of what is kept an alert takes what it is about. What is said within a connection (ACK, PSH)
//! is left out: its beginning and its end are there.

use std::collections::VecDeque;
use std::net::IpAddr;

use reeve_policy::{Alert, Class, HeaderSample, Protocol, TargetSeen, Timestamp};

/// Headers longer than this are cut: IPv4 with a common SYN's options fits, and IPv6 with all of TCP but the options.
const MAX_HEADERS: usize = 67;
/// So many are kept in all.
const SLOTS: usize = 96;
const KINDS: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Timestamp,
    wire_len: u32,
    len: u8,
    headers: [u8; MAX_HEADERS],
}

/// The last headers. One kind alone may fill all slots; where several want them, the one that has most gives way.
#[derive(Debug, Default)]
pub struct Samples {
    slots: Vec<Sample>,
    /// The slots of each kind, oldest first.
    order: [VecDeque<u8>; KINDS],
}

impl Samples {
    /// Bytes that full slots take; a queue grows by doubling.
    pub const BYTES: usize = SLOTS * size_of::<Sample>() + KINDS * SLOTS.next_power_of_two();

    /// Keeps a packet's headers. `is_stray` says whether it is TCP that belongs to no connection and answers nobody.
    pub fn record(&mut self, at: Timestamp, wire_len: u32, headers: &[u8], is_stray: bool) {
        let mut sample = Sample { at, wire_len, len: 0, headers: [0; MAX_HEADERS] };
        let len = headers.len().min(MAX_HEADERS);
        sample.headers[..len].copy_from_slice(&headers[..len]);
        sample.len = u8::try_from(len).expect("at most 67");
        let slot = if self.slots.len() < SLOTS {
            self.slots.push(sample);
            u8::try_from(self.slots.len() - 1).expect("at most 96 slots")
        } else {
            let most = (0..KINDS).max_by_key(|kind| self.order[*kind].len()).unwrap_or(0);
            let slot = self.order[most].pop_front().expect("one of four has a quarter of the slots");
            self.slots[usize::from(slot)] = sample;
            slot
        };
        let kind = if is_stray { STRAY } else { kind(headers) };
        self.order[kind].push_back(slot);
    }

    /// The last ones that an alert of `class` about `targets` is about, oldest first, at most [`Alert::MAX_SAMPLES`].
    /// `is_foreign` says whether a source is not the tenant's.
    #[must_use]
    pub fn about(
        &self,
        class: Class,
        targets: &[TargetSeen],
        is_foreign: impl Fn(IpAddr) -> bool,
    ) -> Vec<HeaderSample> {
        let slots = self.order.iter().flatten().map(|slot| &self.slots[usize::from(*slot)]);
        let mut all: Vec<HeaderSample> = slots.map(copy).collect();
        all.retain(|sample| match class {
            Class::SpoofSource => sample.source().is_none_or(&is_foreign),
            _ => targets.is_empty() || is_about(class, targets, sample),
        });
        // The sort is stable, and each kind is in order.
        all.sort_by_key(|sample| sample.at);
        let late = all.len().saturating_sub(Alert::MAX_SAMPLES);
        let mut latest = all.split_off(late);
        for sample in &mut latest {
            sample.is_forged = sample.source().is_some_and(&is_foreign);
        }
        latest
    }
}

/// Whether a packet went to one of the targets; for a scan also whether it went to the same port of another host, since only some
/// of its targets are named.
fn is_about(class: Class, targets: &[TargetSeen], sample: &HeaderSample) -> bool {
    let Some(to) = sample.target() else { return false };
    let is_of_many = || targets.iter().any(|seen| seen.target.address != targets[0].target.address);
    let is_sweep = class == Class::PortscanHorizontal
        || (class == Class::PortscanSlow && to.port.is_some() && is_of_many());
    targets.iter().map(|seen| &seen.target).any(|target| {
        let is_likewise = is_sweep && target.port == to.port;
        // A scan over IP protocols names each; a later fragment has no port.
        let same_protocol = target.protocol == to.protocol || target.protocol == Protocol::Arp;
        // A lone ACK that asks whether a host is there is counted as an echo request is.
        let is_host_probe = matches!(target.protocol, Protocol::Icmp | Protocol::Icmpv6)
            && to.protocol == Protocol::Tcp
            && target.address == to.address;
        is_host_probe || (same_protocol && (target.address == to.address || is_likewise))
    })
}

fn copy(sample: &Sample) -> HeaderSample {
    HeaderSample {
        at: sample.at,
        wire_len: sample.wire_len,
        headers: sample.headers[..usize::from(sample.len)].to_vec(),
        is_forged: false,
    }
}

/// Where TCP outside any connection is kept.
const STRAY: usize = 3;

/// 0 for a connection's first packet, 1 for other TCP, 2 for the rest. Behind IPv6 extension headers is the rest, too.
fn kind(headers: &[u8]) -> usize {
    let (protocol, transport) = match headers {
        [first, ..] if first >> 4 == 6 => (headers.get(6), 40),
        [first, ..] => (headers.get(9), usize::from(first & 0x0f) * 4),
        [] => (None, 0),
    };
    if protocol != Some(&6) {
        return 2;
    }
    // SYN, without ACK and RST.
    let opens = |flags: &u8| flags & 0x16 == 0x02;
    usize::from(!headers.get(transport + 13).is_some_and(opens))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_policy::{Outcome, Target};

    fn header(protocol: u8, host: u8, port: u8, flags: u8) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0, 203, 0, 113, 10, 20, 0, 0, host];
        bytes.extend([0, 9, 0, port, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    fn seen(protocol: Protocol, host: u8, port: Option<u16>) -> TargetSeen {
        let target = Target { address: [20, 0, 0, host].into(), protocol, port };
        let at = Timestamp::EPOCH;
        TargetSeen { target, first: at, last: at, outcome: Outcome::Silent }
    }

    /// SYNs to port 22 of ten hosts, then a thousand datagrams and a hundred ACKs; how many are evidence.
    fn check(class: Class, targets: &[TargetSeen], expect: usize) {
        let mut samples = Samples::default();
        let mut now = 0;
        let mut record = |headers: &[u8]| {
            now += 1;
            let is_stray = headers[9] == 6 && headers[33] == 0x10;
            samples.record(Timestamp::from_secs(now), 60, headers, is_stray);
        };
        (0..10).for_each(|host| record(&header(6, host, 22, 0x02)));
        (0..1_000_u32).for_each(|number| record(&header(17, (number % 7) as u8, 53, 0)));
        (0..100).for_each(|_| record(&header(6, 1, 80, 0x10)));
        let list = samples.about(class, targets, |source| source != IpAddr::from([203, 0, 113, 10]));
        assert_eq!(list.len(), expect, "{class} {targets:?}");
        assert!(list.is_sorted_by_key(|sample| sample.at));
    }

    #[test]
    fn an_alert_takes_what_it_is_about() {
        check(Class::PortscanHorizontal, &[seen(Protocol::Tcp, 3, Some(22))], 10);
        check(Class::PortscanVertical, &[seen(Protocol::Tcp, 3, Some(22))], 1);
        check(Class::FloodUdp, &[seen(Protocol::Udp, 200, Some(53))], 0);
        check(Class::FloodTcp, &[seen(Protocol::Tcp, 1, None)], 44);
        check(Class::FloodUdp, &[], 64);
        check(Class::SpoofSource, &[], 0);
        // A lone ACK that asks for a host; a patient scan of a port, of which other hosts are named, and of one host's ports.
        check(Class::PortscanHorizontal, &[seen(Protocol::Icmp, 1, None)], 44);
        check(
            Class::PortscanSlow,
            &[seen(Protocol::Tcp, 100, Some(22)), seen(Protocol::Tcp, 101, Some(22))],
            10,
        );
        check(Class::PortscanSlow, &[seen(Protocol::Tcp, 3, Some(22))], 1);
    }

    #[test]
    fn each_says_whether_its_source_is_forged() {
        let mut samples = Samples::default();
        let mut forged = header(6, 1, 22, 0x02);
        forged[12] = 20;
        samples.record(Timestamp::EPOCH, 40, &header(6, 1, 22, 0x02), false);
        samples.record(Timestamp::EPOCH, 40, &forged, false);
        let list = samples.about(Class::FloodSyn, &[], |source| source != IpAddr::from([203, 0, 113, 10]));
        let told: Vec<bool> = list.iter().map(|sample| sample.is_forged).collect();
        assert_eq!(told, [false, true]);
    }

    #[test]
    fn the_last_ones_are_kept_in_order_and_cut() {
        let mut samples = Samples::default();
        assert!(samples.about(Class::FloodUdp, &[], |_| true).is_empty());
        for number in 0..100_u32 {
            let mut headers = header(6, 0, 22, 0x02);
            headers.resize(200, number as u8);
            samples.record(Timestamp::from_secs(number.into()), number, &headers, false);
            let expected: Vec<u32> = ((number + 1).saturating_sub(64)..=number).collect();
            let list = samples.about(Class::FloodSyn, &[], |_| true);
            let lens: Vec<u32> = list.iter().map(|sample| sample.wire_len).collect();
            assert_eq!(lens, expected);
            assert!(list.iter().all(|sample| sample.headers.len() == MAX_HEADERS));
        }
        for bytes in [&[][..], &[0x45], &[0x6f; 50], &[0x4f; 41]] {
            samples.record(Timestamp::EPOCH, 1, bytes, false);
        }
    }
}
