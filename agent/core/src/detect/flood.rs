//! `flood.syn`, `flood.udp`, `flood.icmp`: one-sided traffic at a high rate.
//!
//! **Measure.** Packets (wire segments) and bytes to one destination in one second, against what speaks for them: for SYN the
//! connections that were completed, for UDP the packets that came back. ICMP echo at such a rate has no such excuse.
//! After Mirkovic and Reiher, "D-WARD: A Source-End Defense against Flooding DDoS" (2005): a source network tells a flood
//! by its asymmetry, not by its volume.
//!
//! **Numbers.** 200 SYN/s to one host with under 10 % completed; UDP 1,000 packets/s or 50 Mbit/s to one host, or 20,000
//! packets/s in all, with under 2 % answered; ICMP 100/s to one destination for two seconds.
//!
//! **Look-alikes that stay silent.** Load tests and connection pools: they complete. QUIC, VPNs and calls: the other side
//! speaks too. Monitoring pings: a few a second. A host that is being flooded sends SYN-ACK, RST and ICMP errors by the
//! thousand: those are no SYN, no UDP and no echo request. A fast port scan of one host is a scan and not a flood as well.
//!
//! **Evasion.** Answering SYN-ACKs counts as completing, so a flood at an open port that never goes on is told by its
//! retransmissions only. Below the rates; spread over more destinations than the table holds (then the UDP total, or the scan
//! detectors, see it). Spoofed sources change nothing on a tenant's own port: the rates are the port's.

use std::time::Duration;

use reeve_policy::language::thresholds::{FloodIcmp, FloodSyn, FloodUdp};
use reeve_policy::{Class, Metric, Outcome, Protocol, Target, TargetSeen, Timestamp};

use super::{Finding, share};
use crate::meter::rates::{BUCKET, Bucket, RateTable};

/// While a flood goes on, its alert is repeated this often, so that its episode stays open.
pub const REPEAT: Duration = Duration::from_secs(10);

/// Judges the SYN buckets that are ready.
pub fn judge_syn(table: &mut RateTable, numbers: &FloodSyn, now: Timestamp, found: &mut Vec<Finding>) {
    while let Some(bucket) = table.take_ready(now) {
        let completed = part(bucket.counts.answered, bucket.counts.sent);
        // One SYN to each of many ports is a scan, however fast; `portscan.vertical` tells it.
        let over = bucket.counts.sent >= numbers.packets_per_second
            && completed < numbers.completed
            && !bucket.counts.is_scattered();
        let (_, since) = table.judge(&bucket, over);
        if over && table.alert_due(&bucket, now, REPEAT) {
            let metrics = vec![
                rate("packets_per_second", bucket.counts.sent, numbers.packets_per_second),
                share("completed", completed, Some(numbers.completed)),
            ];
            found.push(finding(Class::FloodSyn, Protocol::Tcp, &bucket, since, now, metrics));
        }
    }
}

/// Judges the UDP buckets that are ready.
pub fn judge_udp(table: &mut RateTable, numbers: &FloodUdp, now: Timestamp, found: &mut Vec<Finding>) {
    while let Some(bucket) = table.take_ready(now) {
        let answered = part(bucket.counts.answered, bucket.counts.sent);
        let bits = bucket.counts.sent_bytes.saturating_mul(8);
        let high = bucket.counts.sent >= numbers.packets_per_second || bits >= numbers.bits_per_second;
        let over = high && answered < numbers.answered;
        let (_, since) = table.judge(&bucket, over);
        if over && table.alert_due(&bucket, now, REPEAT) {
            let mut metrics = vec![
                rate("packets_per_second", bucket.counts.sent, numbers.packets_per_second),
                rate("bits_per_second", bits, numbers.bits_per_second),
            ];
            if bucket.counts.sent < numbers.packets_per_second {
                metrics.swap(0, 1);
            }
            metrics.push(share("answered", answered, Some(numbers.answered)));
            found.push(finding(Class::FloodUdp, Protocol::Udp, &bucket, since, now, metrics));
        }
    }
}

/// Judges the ICMP buckets that are ready.
pub fn judge_icmp(table: &mut RateTable, numbers: &FloodIcmp, now: Timestamp, found: &mut Vec<Finding>) {
    while let Some(bucket) = table.take_ready(now) {
        let over = bucket.counts.sent >= numbers.packets_per_second;
        let (streak, since) = table.judge(&bucket, over);
        if streak >= numbers.seconds && table.alert_due(&bucket, now, REPEAT) {
            let metrics = vec![
                rate("packets_per_second", bucket.counts.sent, numbers.packets_per_second),
                rate("seconds", streak.into(), numbers.seconds.into()),
            ];
            let protocol = if bucket.destination.is_ipv4() { Protocol::Icmp } else { Protocol::Icmpv6 };
            found.push(finding(Class::FloodIcmp, protocol, &bucket, since, now, metrics));
        }
    }
}

/// All UDP of one tenant, second by second: a flood that is spread over many destinations.
#[derive(Debug, Default)]
pub struct UdpTotal {
    start: Timestamp,
    sent: u64,
    received: u64,
    last_alert: Option<Timestamp>,
}

impl UdpTotal {
    /// Adds what the tenant sent; judges the second that this ends, if it does.
    pub fn sent(&mut self, numbers: &FloodUdp, at: Timestamp, packets: u64) -> Option<Finding> {
        let mut found = None;
        if at.since(self.start) >= BUCKET {
            found = self.judge(numbers, at);
            (self.start, self.sent, self.received) = (at, 0, 0);
        }
        self.sent += packets;
        found
    }

    /// Adds what came back.
    pub fn received(&mut self, packets: u64) {
        self.received += packets;
    }

    fn judge(&mut self, numbers: &FloodUdp, now: Timestamp) -> Option<Finding> {
        let answered = part(self.received, self.sent);
        let over = self.sent >= numbers.total_packets_per_second && answered < numbers.answered;
        if !over || self.last_alert.is_some_and(|last| now.since(last) < REPEAT) {
            return None;
        }
        self.last_alert = Some(now);
        Some(Finding {
            class: Class::FloodUdp,
            start: self.start,
            at: now,
            metrics: vec![
                rate("total_packets_per_second", self.sent, numbers.total_packets_per_second),
                share("answered", answered, Some(numbers.answered)),
            ],
            confidence_percent: 90,
            is_suspicion: false,
            targets: Vec::new(),
        })
    }
}

fn finding(
    class: Class,
    protocol: Protocol,
    bucket: &Bucket,
    since: Timestamp,
    now: Timestamp,
    metrics: Vec<Metric>,
) -> Finding {
    let port = protocol.has_ports().then_some(bucket.port);
    let target = Target { address: bucket.destination, protocol, port };
    let last = bucket.start + BUCKET;
    let seen = TargetSeen { target, first: since, last, outcome: Outcome::Unknown };
    Finding {
        class,
        start: since,
        at: now,
        metrics,
        confidence_percent: 95,
        is_suspicion: false,
        targets: vec![seen],
    }
}

/// `a` of `b` as a share, 0 to 1 and beyond; 1 where `b` is nothing.
fn part(a: u64, b: u64) -> f64 {
    if b == 0 { 1.0 } else { a as f64 / b as f64 }
}

fn rate(name: &'static str, value: u64, threshold: u64) -> Metric {
    Metric { name: name.into(), value: value as f64, threshold: Some(threshold as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000_000 + millis * 1_000_000)
    }

    /// Sends `per_second` packets of `bytes` to each of `hosts` hosts for `seconds`, `answered` of each second's
    /// coming back; how many alerts `class` raises by the end.
    fn check(
        class: Class,
        (per_second, bytes, hosts, seconds): (u64, u64, u8, u64),
        answered: i64,
        expect: usize,
    ) {
        let (mut table, mut found) = (RateTable::default(), Vec::new());
        for second in 0..seconds {
            for host in 0..hosts {
                let (host, sent) = ([20, 0, 0, host].into(), at(second * 1_000));
                table.sent(host, 80, sent, per_second, bytes * per_second);
                table.answered(host, sent, answered);
            }
            judge(class, &mut table, at(second * 1_000 + 999), &mut found);
        }
        judge(class, &mut table, at(seconds * 1_000 + 600), &mut found);
        assert_eq!(
            found.len(),
            expect,
            "{class}: {per_second}/s to {hosts} hosts for {seconds} s, {answered} answered"
        );
        assert!(found.iter().all(|finding| finding.class == class));
    }

    fn judge(class: Class, table: &mut RateTable, now: Timestamp, found: &mut Vec<Finding>) {
        match class {
            Class::FloodSyn => judge_syn(table, &FloodSyn::default(), now, found),
            Class::FloodUdp => judge_udp(table, &FloodUdp::default(), now, found),
            _ => judge_icmp(table, &FloodIcmp::default(), now, found),
        }
    }

    #[test]
    fn each_fires_at_its_threshold_and_not_below() {
        check(Class::FloodSyn, (200, 60, 1, 1), 0, 1);
        check(Class::FloodSyn, (199, 60, 1, 5), 0, 0);
        check(Class::FloodUdp, (1_000, 60, 1, 1), 0, 1);
        check(Class::FloodUdp, (999, 60, 1, 5), 0, 0);
        check(Class::FloodUdp, (500, 12_500, 1, 1), 0, 1);
        check(Class::FloodUdp, (499, 12_500, 1, 5), 0, 0);
        check(Class::FloodIcmp, (100, 84, 1, 2), 0, 1);
        check(Class::FloodIcmp, (99, 84, 1, 5), 0, 0);
        check(Class::FloodIcmp, (5_000, 84, 1, 1), 0, 0);
    }

    #[test]
    fn two_sided_traffic_stays_silent() {
        check(Class::FloodSyn, (5_000, 60, 1, 5), 500, 0);
        check(Class::FloodUdp, (50_000, 1_200, 1, 5), 1_000, 0);
    }

    #[test]
    fn each_destination_is_told_apart_and_told_again_after_a_pause() {
        check(Class::FloodSyn, (300, 60, 3, 5), 0, 3);
        check(Class::FloodSyn, (300, 60, 1, 12), 0, 2);
    }

    #[test]
    fn a_spread_udp_flood_is_seen_in_the_total() {
        let numbers = FloodUdp::default();
        for (per_second, received, expect) in [(20_000, 0, true), (19_999, 0, false), (50_000, 1_000, false)]
        {
            let mut total = UdpTotal::default();
            assert_eq!(total.sent(&numbers, at(0), per_second), None);
            total.received(received);
            assert_eq!(total.sent(&numbers, at(1_000), 1).is_some(), expect);
        }
    }
}
