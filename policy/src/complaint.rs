//! What was seen, in one plain English sentence that can be pasted into a mail: when, who, what, how much beside what is allowed,
//! examples, and what the sensor lost meanwhile.

use std::fmt::Write as _;
use std::time::Duration;

use crate::alert::{Alert, Metric};
use crate::class::Class;
use crate::net::{Protocol, Target};
use crate::time::Timestamp;

/// Targets and sources that are named.
const EXAMPLES: usize = 3;

impl Alert {
    /// The sentence.
    #[must_use]
    pub fn complaint(&self) -> String {
        let mut text = format!("{} UTC: {}", self.span(), self.subject());
        if self.is_suspicion {
            text.push_str(" is suspected to have");
        }
        let _ = write!(text, " {}", self.deed());
        for metric in self.metrics.iter().skip(1) {
            let _ = write!(text, ", {}", told(metric, None));
        }
        if !self.targets.is_empty() {
            let named = self.targets.iter().take(EXAMPLES);
            let named: Vec<String> = named.map(|seen| self.example(seen)).collect();
            let _ = write!(text, "; for example {}", named.join(", "));
        }
        match self.loss.share() * 100.0 {
            0.0 => text.push_str("; no packets were lost by the sensor"),
            share => {
                let _ = write!(text, "; the sensor lost {} % of the packets in that time", round(share));
            }
        }
        text
    }

    /// `2026-11-21 14:03:10–14:03:58`.
    fn span(&self) -> String {
        let ((from_day, from), (to_day, to)) =
            (day_and_time(self.window.start), day_and_time(self.window.end));
        match (from_day == to_day, from == to) {
            (true, true) => format!("{from_day} {from}"),
            (true, false) => format!("{from_day} {from}–{to}"),
            (false, _) => format!("{from_day} {from} – {to_day} {to}"),
        }
    }

    /// The addresses that did it, if samples tell and they are the tenant's.
    fn subject(&self) -> String {
        let sources = self.sources();
        if sources.is_empty() || self.class == Class::SpoofSource {
            return format!("customer {}", self.tenant);
        }
        let named: Vec<String> = sources.iter().take(EXAMPLES).map(ToString::to_string).collect();
        let more = sources.len().saturating_sub(EXAMPLES);
        let more =
            if more > 0 { format!(" and {more} more addresses of the same customer") } else { String::new() };
        format!("{}{more}", named.join(", "))
    }

    /// What was done. Every verb is its own participle, so that a suspicion reads well too.
    fn deed(&self) -> String {
        let first =
            |noun| self.metrics.first().map_or_else(|| "something".to_owned(), |metric| told(metric, noun));
        let to = self.victim();
        let numbers = first(None);
        match self.class {
            Class::PortscanHorizontal => format!("tried {} on {}", self.what_port(), first(Some("hosts"))),
            Class::PortscanVertical => match self.targets.first() {
                Some(seen) => format!("tried {} of {}", first(Some("ports")), seen.target.address),
                None => format!("tried {} of one host", first(Some("ports"))),
            },
            Class::PortscanSlow => format!("tried hosts and ports one after the other, patiently: {numbers}"),
            Class::PortscanStealth => format!("sent probes that belong to no connection{to}: {numbers}"),
            Class::FloodSyn => format!("sent a flood of TCP connection requests{to}: {numbers}"),
            Class::FloodTcp => format!("sent a flood of TCP packets outside any connection{to}: {numbers}"),
            Class::FloodConnect => {
                format!("sent a flood of TCP connections that carry nothing{to}: {numbers}")
            }
            Class::FloodUdp => format!("sent a flood of UDP packets{to}: {numbers}"),
            Class::FloodIcmp => format!("sent a flood of ICMP packets{to}: {numbers}"),
            Class::FloodFrag => format!("sent a flood of IP fragments{to}: {numbers}"),
            Class::FloodOther => format!("sent a flood of packets of unusual IP protocols{to}: {numbers}"),
            Class::FloodVolume => {
                format!("sent more traffic than is allowed, to which nobody answered{to}: {numbers}")
            }
            Class::FloodAmplify => {
                format!("sent large answers to forged requests (a reflection attack){to}: {numbers}")
            }
            Class::UdpStream => format!("sent a stream of UDP packets that nobody answered{to}: {numbers}"),
            Class::Crash => format!("sent packets made to crash what receives them{to}: {numbers}"),
            Class::Spam => format!("sent mail in bulk: {numbers}"),
            Class::SpamMailbomb => format!("sent very many messages to one recipient{to}: {numbers}"),
            Class::SmtpRelay => {
                format!("passed on strangers' mail to others, as an open relay does: {numbers}")
            }
            Class::ApiBurst => {
                format!("called a protected service more often than is allowed{to}: {numbers}")
            }
            Class::Crawl => format!("fetched pages of one site at a high rate{to}: {numbers}"),
            Class::Bruteforce => format!("tried logins that were refused again and again{to}: {numbers}"),
            Class::SpoofSource => {
                format!("sent packets with source addresses that are not its own: {numbers}")
            }
            Class::SpoofArp => format!("claimed addresses of others by ARP: {numbers}"),
            Class::SpoofNd => format!("claimed addresses of others by neighbour discovery: {numbers}"),
            Class::SpoofRouting => {
                format!("sent what only routers and servers of the provider may send: {numbers}")
            }
            Class::Malware => format!("contacted hosts that are on blocklists: {numbers}"),
            Class::Quota => format!("used more traffic than the plan includes: {numbers}"),
        }
    }

    /// `TCP port 22`, or what stands for a port.
    fn what_port(&self) -> String {
        match self.targets.first().map(|seen| seen.target) {
            Some(Target { protocol, port: Some(port), .. }) => format!("{} port {port}", capital(protocol)),
            Some(Target { protocol: Protocol::Arp, .. }) => "ARP requests".to_owned(),
            Some(Target { protocol: Protocol::Icmp | Protocol::Icmpv6, .. }) => {
                "ICMP echo requests".to_owned()
            }
            Some(Target { protocol, .. }) => capital(protocol),
            None => "one port".to_owned(),
        }
    }

    /// ` to ADDRESS`, where it was one.
    fn victim(&self) -> String {
        let mut addresses: Vec<_> = self.targets.iter().map(|seen| seen.target.address).collect();
        addresses.dedup();
        match addresses.as_slice() {
            [only] => format!(" to {only}"),
            _ => String::new(),
        }
    }

    fn example(&self, seen: &crate::alert::TargetSeen) -> String {
        let (_, time) = day_and_time(seen.last);
        let what = match (self.class, seen.target.port) {
            (Class::PortscanHorizontal, _) | (_, None) => seen.target.address.to_string(),
            (Class::PortscanVertical, Some(port)) => format!("{} port {port}", capital(seen.target.protocol)),
            (_, Some(port)) => {
                format!("{} {} port {port}", seen.target.address, capital(seen.target.protocol))
            }
        };
        format!("{what} at {time} ({})", seen.outcome)
    }
}

/// `43 hosts (limit 15)`, `95 % without an answer`.
fn told(metric: &Metric, noun: Option<&str>) -> String {
    let is_share = metric.name == "unanswered"
        || matches!(&*metric.name, "completed" | "answered" | "rejected") && metric.value <= 1.0;
    if is_share {
        let what = if metric.name == "unanswered" { "without an answer" } else { &metric.name };
        return format!("{} % {what}", (metric.value * 100.0).round());
    }
    let name = metric.name.replace('_', " ");
    let noun = noun.unwrap_or(&name);
    let limit = metric.threshold.map(|limit| format!(" (limit {})", round(limit))).unwrap_or_default();
    format!("{} {noun}{limit}", round(metric.value))
}

fn capital(protocol: Protocol) -> String {
    match protocol {
        Protocol::Other(number) => format!("IP protocol {number}"),
        known => known.to_string().to_uppercase(),
    }
}

/// The day and the time of day, to the second.
fn day_and_time(at: Timestamp) -> (String, String) {
    let text = at.floor_to(Duration::from_secs(1)).to_string();
    match text.trim_end_matches('Z').split_once('T') {
        Some((day, time)) => (day.to_owned(), time.to_owned()),
        None => (text, String::new()),
    }
}

/// To two digits behind the point.
fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{HeaderSample, Loss, Outcome, TargetSeen, Window};

    fn metric(name: &'static str, value: f64, threshold: Option<f64>) -> Metric {
        Metric { name: name.into(), value, threshold }
    }

    fn alert(class: Class, metrics: Vec<Metric>, targets: &[(&str, Option<u16>)]) -> Alert {
        let start = "2026-11-21T14:03:10.2Z".parse().unwrap();
        let end = "2026-11-21T14:03:58.9Z".parse().unwrap();
        let seen = |(address, port): &(&str, Option<u16>)| TargetSeen {
            target: Target { address: address.parse().unwrap(), protocol: Protocol::Tcp, port: *port },
            first: start,
            last: start + Duration::from_secs(2),
            outcome: Outcome::Silent,
        };
        let mut headers = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
        headers.extend([203, 0, 113, 10, 198, 51, 100, 7, 1, 2, 0, 22]);
        Alert {
            class,
            tenant: "t-1".parse().unwrap(),
            at: end,
            window: Window { start, end },
            metrics,
            confidence_percent: 95,
            targets: targets.iter().map(seen).collect(),
            samples: vec![HeaderSample { at: start, wire_len: 40, headers }],
            loss: Loss { received: 100, dropped: 0 },
            is_suspicion: false,
        }
    }

    fn check(alert: &Alert, expect: &str) {
        assert_eq!(alert.complaint(), expect);
    }

    #[test]
    fn a_scan_reads_as_an_abuse_desk_writes() {
        let metrics =
            vec![metric("intruder_hosts", 43.0, Some(15.0)), metric("unanswered", 0.953, Some(0.6))];
        let mut scan = alert(
            Class::PortscanHorizontal,
            metrics,
            &[("198.51.100.7", Some(22)), ("198.51.100.8", Some(22))],
        );
        check(
            &scan,
            "2026-11-21 14:03:10–14:03:58 UTC: 203.0.113.10 tried TCP port 22 on 43 hosts (limit 15), \
             95 % without an answer; for example 198.51.100.7 at 14:03:12 (silent), 198.51.100.8 at 14:03:12 (silent); \
             no packets were lost by the sensor",
        );
        scan.is_suspicion = true;
        scan.loss.dropped = 25;
        scan.samples.clear();
        scan.targets.truncate(1);
        scan.window.start = "2026-11-20T23:59:59Z".parse().unwrap();
        check(
            &scan,
            "2026-11-20 23:59:59 – 2026-11-21 14:03:58 UTC: customer t-1 is suspected to have tried TCP port 22 on \
             43 hosts (limit 15), 95 % without an answer; for example 198.51.100.7 at 14:03:12 (silent); \
             the sensor lost 20 % of the packets in that time",
        );
    }

    #[test]
    fn a_vertical_scan_and_a_flood_name_their_victim() {
        let targets = [("198.51.100.7", Some(22)), ("198.51.100.7", Some(80))];
        check(
            &alert(Class::PortscanVertical, vec![metric("ports", 40.0, Some(20.0))], &targets),
            "2026-11-21 14:03:10–14:03:58 UTC: 203.0.113.10 tried 40 ports (limit 20) of 198.51.100.7; \
             for example TCP port 22 at 14:03:12 (silent), TCP port 80 at 14:03:12 (silent); \
             no packets were lost by the sensor",
        );
        let metrics =
            vec![metric("packets_per_second", 9_000.0, Some(200.0)), metric("completed", 0.0, Some(0.1))];
        check(
            &alert(Class::FloodSyn, metrics, &[("198.51.100.7", Some(80))]),
            "2026-11-21 14:03:10–14:03:58 UTC: 203.0.113.10 sent a flood of TCP connection requests to 198.51.100.7: \
             9000 packets per second (limit 200), 0 % completed; for example 198.51.100.7 TCP port 80 at 14:03:12 \
             (silent); no packets were lost by the sensor",
        );
    }

    #[test]
    fn every_class_has_its_sentence_and_none_breaks_a_line() {
        for class in Class::ALL {
            for targets in [&[][..], &[("2001:db8::1", None)]] {
                for metrics in [vec![], vec![metric("packets", 3.0, Some(1.0))]] {
                    let text = alert(class, metrics, targets).complaint();
                    assert!(text.starts_with("2026-11-21 14:03:10–14:03:58 UTC: "), "{text}");
                    assert!(
                        !text.contains('\n') && !text.contains(class.name()) || class.name() == "crash",
                        "{text}"
                    );
                }
            }
        }
    }
}
