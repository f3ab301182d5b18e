use super::*;
use crate::alert::{HeaderSample, Loss, Metric, Window};
use crate::net::Target;

type Number = (&'static str, f64, Option<f64>);

const SEEN: &str = " Seen in packet headers only; the sensor lost no packets.";
const HEARD: &str =
    " Seen in packet headers and protocol commands, no content was kept; the sensor lost no packets.";

fn alert(class: Class, numbers: &[Number], targets: &[&str]) -> Alert {
    let start = "2026-11-21T14:03:10.2Z".parse().unwrap();
    let end = "2026-11-21T14:03:58.9Z".parse().unwrap();
    let seen = |target: &&str| TargetSeen {
        target: self::target(target),
        first: start,
        last: start + Duration::from_secs(2),
        outcome: Outcome::Silent,
    };
    Alert {
        class,
        tenant: "t-1".parse().unwrap(),
        at: end,
        window: Window { start, end },
        metrics: numbers
            .iter()
            .map(|&(name, value, threshold)| Metric { name: name.into(), value, threshold })
            .collect(),
        confidence_percent: 95,
        targets: targets.iter().map(seen).collect(),
        samples: vec![sample([203, 0, 113, 10], false)],
        loss: Loss { received: 100, dropped: 0 },
        is_suspicion: false,
    }
}

/// `198.51.100.7 tcp/22`, `198.51.100.7 icmp`.
fn target(text: &str) -> Target {
    let (address, what) = text.split_once(' ').unwrap();
    let (protocol, port) =
        what.split_once('/').map_or((what, None), |(protocol, port)| (protocol, Some(port)));
    Target {
        address: address.parse().unwrap(),
        protocol: protocol.parse().unwrap(),
        port: port.map(|port| port.parse().unwrap()),
    }
}

fn sample(source: [u8; 4], is_forged: bool) -> HeaderSample {
    let mut headers = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    headers.extend(source);
    headers.extend([198, 51, 100, 7, 1, 2, 0, 22]);
    HeaderSample { at: Timestamp::from_secs(1), wire_len: 40, headers, is_forged }
}

fn check(class: Class, numbers: &[Number], targets: &[&str], expect: &str) {
    let seen = if alert(class, &[], &[]).how_seen().contains("commands") { HEARD } else { SEEN };
    let seen = if class == Class::Quota { "" } else { seen };
    assert_eq!(
        alert(class, numbers, targets).complaint(Some("Acme BV")),
        format!("2026-11-21 14:03:10–14:03:58 UTC: 203.0.113.10 (customer Acme BV) {expect}{seen}"),
        "{class}"
    );
}

const WEB: &str = "198.51.100.7 tcp/80";
const SSH: &str = "198.51.100.7 tcp/22";

#[test]
fn scans_read_as_an_abuse_desk_writes() {
    use Class::{PortscanHorizontal, PortscanSlow, PortscanStealth, PortscanVertical};
    let unanswered = ("unanswered", 0.953, Some(0.6));
    let hosts = [SSH, "198.51.100.8 tcp/22", SSH];
    check(
        PortscanHorizontal,
        &[("intruder_hosts", 43.0, Some(15.0)), unanswered],
        &hosts,
        "tried TCP port 22 on 43 hosts (allowed: fewer than 15); 95 % of them did not answer. For example \
         198.51.100.7 at 14:03:12 (no answer), 198.51.100.8 at 14:03:12 (no answer).",
    );
    check(
        PortscanHorizontal,
        &[("wide_hosts", 1_250.0, Some(250.0)), ("unanswered", 0.0, None)],
        &hosts[..1],
        "tried TCP port 22 on 1,250 hosts (allowed: fewer than 250), most of which did not answer or were told nothing.",
    );
    check(
        PortscanHorizontal,
        &[("block_targets", 60.0, Some(60.0)), ("unanswered", 1.0, Some(0.6)), ("hosts", 6.0, None)],
        &["20.9.9.1 tcp/25", "20.9.9.1 tcp/80", "20.9.9.1 tcp/25", "20.9.9.2 tcp/25"],
        "tried 60 ports of 6 hosts in all (allowed: fewer than 60); none of them answered. For example \
         20.9.9.1 TCP port 25 at 14:03:12 (no answer), 20.9.9.1 TCP port 80 at 14:03:12 (no answer), \
         20.9.9.2 TCP port 25 at 14:03:12 (no answer).",
    );
    check(
        PortscanHorizontal,
        &[("walk_hosts", 14.0, Some(14.0)), ("unanswered", 0.997, Some(0.6))],
        &["20.9.9.1 tcp/8080", "20.9.9.2 tcp/22", "20.9.9.3 tcp/80"],
        "tried TCP ports 22, 80 and 8080 on 14 hosts (allowed: fewer than 14), one after the other; more than 99 % of them \
         did not answer. For example 20.9.9.1 TCP port 8080 at 14:03:12 (no answer), 20.9.9.2 TCP port 22 at 14:03:12 \
         (no answer), 20.9.9.3 TCP port 80 at 14:03:12 (no answer).",
    );
    check(
        PortscanHorizontal,
        &[("link_hosts", 50.0, Some(50.0)), ("unanswered", 1.0, Some(0.6))],
        &["20.9.9.1 arp", "20.9.9.2 arp"],
        "asked its local network for 50 neighbours (allowed: fewer than 50); none of them answered. For example \
         20.9.9.1 at 14:03:12 (no answer), 20.9.9.2 at 14:03:12 (no answer).",
    );
    check(
        PortscanHorizontal,
        &[("hosts", 25.0, Some(25.0)), unanswered],
        &["20.9.9.1 icmp", "20.9.9.2 icmp"],
        "sent ICMP echo requests to 25 hosts (allowed: fewer than 25); 95 % of them did not answer. For example \
         20.9.9.1 at 14:03:12 (no answer), 20.9.9.2 at 14:03:12 (no answer).",
    );
    let ports = [SSH, WEB];
    let of_ports = " For example TCP port 22 at 14:03:12 (no answer), TCP port 80 at 14:03:12 (no answer).";
    check(
        PortscanVertical,
        &[("ports", 20.0, Some(20.0)), ("low_ports", 15.0, Some(15.0)), unanswered],
        &ports,
        &format!(
            "tried 20 TCP ports of 198.51.100.7 (allowed: fewer than 20); 95 % of them did not answer.{of_ports}"
        ),
    );
    check(
        PortscanVertical,
        &[("low_ports", 15.0, Some(15.0)), ("ports", 15.0, Some(20.0)), ("unanswered", 0.1, None)],
        &ports,
        &format!("tried 15 TCP ports below 1024 of 198.51.100.7 (allowed: fewer than 15).{of_ports}"),
    );
    check(
        PortscanSlow,
        &[("targets_per_hour", 60.0, Some(60.0)), unanswered],
        &hosts,
        "tried 60 targets within an hour (allowed: fewer than 60) on port 22; 95 % of them did not answer. \
         For example 198.51.100.7 TCP port 22 at 14:03:12 (no answer), 198.51.100.8 TCP port 22 at 14:03:12 (no answer).",
    );
    check(
        PortscanStealth,
        &[("probes", 5.0, Some(5.0))],
        &ports,
        &format!(
            "sent TCP packets that no connection begins with (a stealth scan) to 5 ports of 198.51.100.7 \
             (allowed: fewer than 5).{of_ports}"
        ),
    );
    check(
        PortscanStealth,
        &[("ack_probes", 21.0, Some(20.0))],
        &hosts,
        "sent TCP acknowledgements that belong to no connection to 21 targets (allowed: fewer than 20). For example \
         198.51.100.7 TCP port 22 at 14:03:12 (no answer), 198.51.100.8 TCP port 22 at 14:03:12 (no answer).",
    );
    check(
        PortscanStealth,
        &[("protocols", 8.0, Some(8.0))],
        &["198.51.100.7 ip-47", "198.51.100.7 ip-50"],
        "tried 8 IP protocols of 198.51.100.7 (allowed: fewer than 8). For example IP protocol 47 at 14:03:12 (no answer), \
         IP protocol 50 at 14:03:12 (no answer).",
    );
}

#[test]
fn floods_tell_what_went_where_and_only_the_limits_that_were_crossed() {
    use Class::*;
    let rate = |value, limit| ("packets_per_second", value, Some(limit));
    let plain = |what: &str| {
        format!(
            "sent a flood of {what} to 198.51.100.7 (TCP port 80): 9,000 packets per second (allowed: fewer than 500)."
        )
    };
    check(
        FloodSyn,
        &[rate(9_000.0, 200.0), ("completed", 0.0, Some(0.1))],
        &[WEB],
        "sent a flood of TCP connection requests to 198.51.100.7 (TCP port 80): 9,000 packets per second (allowed: fewer than 200); \
         none of them led to a connection.",
    );
    check(FloodTcp, &[rate(9_000.0, 500.0)], &[WEB], &plain("TCP packets outside any connection"));
    check(
        FloodConnect,
        &[("connections_per_second", 242.0, Some(200.0)), ("carried", 0.042, Some(0.1))],
        &[WEB],
        "sent a flood of TCP connections that carry nothing to 198.51.100.7 (TCP port 80): 242 connections per second \
         (allowed: fewer than 200); 4 % of them carried anything.",
    );
    check(
        FloodUdp,
        &[
            ("bits_per_second", 60_000_000.0, Some(50_000_000.0)),
            rate(900.0, 1_000.0),
            ("answered", 0.0, Some(0.02)),
        ],
        &["198.51.100.7 udp/53"],
        "sent a flood of UDP packets to 198.51.100.7 (UDP port 53): 60 Mbit/s (allowed: less than 50 Mbit/s); none of them had an answer.",
    );
    check(
        FloodUdp,
        &[("total_packets_per_second", 20_000.0, Some(20_000.0)), ("answered", 0.0, Some(0.02))],
        &[],
        "sent a flood of UDP packets: 20,000 packets per second in all (allowed: fewer than 20,000); none of them had an answer.",
    );
    check(
        FloodIcmp,
        &[rate(1_076.0, 100.0), ("seconds", 2.0, Some(2.0))],
        &["198.51.100.7 icmp"],
        "sent a flood of ICMP packets to 198.51.100.7: 1,076 packets per second (allowed: fewer than 100) for at least 2 seconds.",
    );
    check(
        FloodIcmp,
        &[rate(15_000.0, 100.0), ("seconds", 1.0, Some(2.0))],
        &["198.51.100.7 icmp"],
        "sent a flood of ICMP packets to 198.51.100.7: 15,000 packets per second (allowed: fewer than 100).",
    );
    check(FloodFrag, &[rate(9_000.0, 500.0)], &[WEB], &plain("IP fragments"));
    check(FloodOther, &[rate(9_000.0, 500.0)], &[WEB], &plain("packets of unusual IP protocols"));
    // A number below its own limit is told without it.
    check(
        FloodOther,
        &[rate(300.0, 500.0)],
        &[WEB],
        "sent a flood of packets of unusual IP protocols to 198.51.100.7 (TCP port 80): 300 packets per second.",
    );
    check(
        FloodVolume,
        &[("bits_per_second", 2e9, Some(1e9)), ("seconds", 130.0, Some(10.0)), ("answered", 0.01, Some(0.1))],
        &["198.51.100.7 udp/53", "198.51.100.8 udp/53"],
        "sent more one-sided traffic than is allowed: 2 Gbit/s (allowed: less than 1 Gbit/s) for at least 2 minutes; \
         1 % of them had an answer. For example 198.51.100.7 UDP port 53 at 14:03:12, 198.51.100.8 UDP port 53 at 14:03:12.",
    );
    check(
        FloodAmplify,
        &[("bits_per_second", 4e5, Some(5e5)), rate(1_220.0, 200.0), ("factor", 42.128, Some(5.0))],
        &["198.51.100.7 udp/5000"],
        "sent large answers to forged requests to 198.51.100.7 (UDP port 5000) (a reflection attack): 1,220 packets per second \
         (allowed: fewer than 200) and 42.13 times as much as was asked for (allowed: fewer than 5).",
    );
    check(
        UdpStream,
        &[rate(40_000.0, 20_000.0), ("bits_per_second", 1.0, Some(2.0)), ("answered", 0.0, Some(0.02))],
        &["198.51.100.7 udp/514"],
        "sent a stream of UDP packets to 198.51.100.7 (UDP port 514): 40,000 packets per second (allowed: fewer than 20,000); \
         none of them had an answer.",
    );
    check(
        Crash,
        &[("packets", 1.0, Some(1.0)), ("ping_of_death", 1.0, None)],
        &["198.51.100.7 icmp"],
        "sent 1 packet (allowed: none) made to crash its receiver, longer than IP allows when put together \
         (\"ping of death\") to 198.51.100.7.",
    );
}

#[test]
fn mail_calls_and_logins_tell_what_was_refused_or_too_much() {
    use Class::*;
    let mx = ["198.51.100.7 tcp/25", "198.51.100.8 tcp/25"];
    let of_mx = " For example 198.51.100.7 TCP port 25 at 14:03:12, 198.51.100.8 TCP port 25 at 14:03:12.";
    check(
        Spam,
        &[
            ("exchangers", 20.0, Some(15.0)),
            ("messages_per_hour", 10.0, Some(250.0)),
            ("messages_per_minute", 10.0, Some(30.0)),
            ("rejected", 0.4, Some(0.2)),
            ("senders", 12.0, None),
            ("foreign_sender_messages", 8.0, None),
        ],
        &mx,
        &format!(
            "sent mail in bulk: mail to 20 mail servers within 10 minutes (allowed: fewer than 15); the receiving servers refused \
             40 % of the recipients; 8 messages bore a sender of a domain that is not its own.{of_mx}"
        ),
    );
    check(
        Spam,
        &[
            ("alike_messages", 100.0, Some(100.0)),
            ("alike_sites", 40.0, Some(40.0)),
            ("rejected", 0.0, Some(0.2)),
        ],
        &mx,
        &format!(
            "sent mail in bulk: 100 messages that are alike within an hour (allowed: fewer than 100) and to 40 different sites \
             (allowed: fewer than 40).{of_mx}"
        ),
    );
    let to_one = " For example 198.51.100.7 TCP port 25 at 14:03:12.";
    check(
        SpamMailbomb,
        &[("messages", 100.0, Some(100.0))],
        &mx[..1],
        &format!("sent 100 messages (allowed: fewer than 100) to one recipient.{to_one}"),
    );
    check(
        SpamMailbomb,
        &[("site_messages", 600.0, Some(500.0))],
        &mx[..1],
        &format!("sent 600 messages (allowed: fewer than 500) to recipients of one site.{to_one}"),
    );
    let relayed = [("messages", 3.0, Some(3.0)), ("domains", 4.0, Some(3.0)), ("next_hops", 5.0, Some(3.0))];
    check(
        SmtpRelay,
        &relayed,
        &mx,
        &format!(
            "passed on 3 messages of strangers (allowed: fewer than 3) to 4 domains over 5 mail servers, as an open relay does.{of_mx}"
        ),
    );
    check(
        SmtpRelay,
        &[
            ("accepted_by_check", 1.0, Some(1.0)),
            ("sealed_messages", 8.0, Some(8.0)),
            ("next_hops", 5.0, Some(3.0)),
        ],
        &mx,
        &format!(
            "passed on 8 encrypted messages that came in from others shortly before (allowed: fewer than 8) over 5 mail servers, \
             as an open relay does; asked by us, its mail server agreed to pass on a stranger's mail.{of_mx}"
        ),
    );
    let called = |first: Number| [first, ("in_flight", 0.0, Some(8.0)), ("calls_at_api", 104.0, None)];
    let at = " For example 198.51.100.7 TCP port 80 at 14:03:12.";
    check(
        ApiBurst,
        &called(("calls_per_second", 114.0, Some(50.0))),
        &[WEB],
        &format!("called the protected service \"api\" 114 times per second (allowed: at most 50).{at}"),
    );
    check(
        ApiBurst,
        &called(("calls_per_second", 45.0, Some(50.0))),
        &[WEB],
        &format!("called the protected service \"api\" in larger bursts than is allowed: 104 calls.{at}"),
    );
    check(
        ApiBurst,
        &called(("in_flight", 20.0, Some(8.0))),
        &[WEB],
        &format!("made 20 calls at a time to the protected service \"api\" (allowed: at most 8).{at}"),
    );
    check(
        ApiBurst,
        &called(("continuous_seconds", 601.2, Some(600.0))),
        &[WEB],
        &format!(
            "called the protected service \"api\" for 10 minutes without a pause (allowed: less than 10 minutes).{at}"
        ),
    );
    check(
        ApiBurst,
        &[("signups", 6.0, Some(5.0)), ("seconds", 60.0, None), ("calls_at_join", 6.0, None)],
        &[WEB],
        &format!("made 6 sign-ups at the protected service \"join\" (allowed: at most 5).{at}"),
    );
    check(
        Crawl,
        &[
            ("requests_per_second", 12.4, Some(10.0)),
            ("seconds", 60.0, Some(60.0)),
            ("distinct", 0.95, Some(0.5)),
            ("bytes_per_request", 900.0, None),
        ],
        &[WEB],
        &format!(
            "fetched pages of one site at 198.51.100.7 at 12.4 requests per second (allowed: fewer than 10) for 60 seconds; \
             95 % of them were for different pages.{at}"
        ),
    );
    let ssh = " For example 198.51.100.7 TCP port 22 at 14:03:12.";
    check(
        Bruteforce,
        &[("refusals", 30.0, Some(30.0)), ("refusals_same", 30.0, Some(300.0)), ("ftp", 1.0, None)],
        &[SSH],
        &format!(
            "tried 30 FTP logins with different credentials at 198.51.100.7 (allowed: fewer than 30); all of them were refused.{ssh}"
        ),
    );
    check(
        Bruteforce,
        &[("refusals_same", 300.0, Some(300.0)), ("refusals", 1.0, Some(30.0)), ("postgres", 1.0, None)],
        &[SSH],
        &format!(
            "tried 300 PostgreSQL logins at 198.51.100.7 (allowed: fewer than 300); all of them were refused.{ssh}"
        ),
    );
    check(
        Bruteforce,
        &[("hosts", 10.0, Some(10.0)), ("refusals_each", 3.0, None), ("ssh", 1.0, None)],
        &[SSH, "198.51.100.8 tcp/22"],
        "tried SSH logins on 10 hosts (allowed: fewer than 10), each of which refused at least 3 times. For example \
         198.51.100.7 TCP port 22 at 14:03:12, 198.51.100.8 TCP port 22 at 14:03:12.",
    );
    check(
        Bruteforce,
        &[("sessions_alike", 40.0, Some(30.0))],
        &[SSH],
        &format!(
            "made 40 sessions at 198.51.100.7 that look like refused logins (allowed: fewer than 30).{ssh}"
        ),
    );
}

#[test]
fn identity_lists_and_plans_have_their_sentences() {
    use Class::*;
    check(
        SpoofArp,
        &[("claims", 2.0, Some(1.0))],
        &["198.51.100.7 arp"],
        "claimed the address 198.51.100.7 of another by ARP 2 times (allowed: none).",
    );
    check(
        SpoofNd,
        &[("contested", 3.0, Some(3.0))],
        &["2001:db8::7 icmpv6"],
        "claimed the address 2001:db8::7 by neighbour discovery in turn with another machine, 3 times.",
    );
    check(
        SpoofRouting,
        &[("packets", 1.0, Some(1.0)), ("dhcp_answers", 1.0, None)],
        &["255.255.255.255 udp/68"],
        "sent 1 DHCP answer (allowed: none), which only routers and servers of the provider may send.",
    );
    check(
        SpoofRouting,
        &[("packets", 3.0, Some(1.0)), ("ospf", 1.0, None)],
        &["224.0.0.5 ip-89"],
        "sent 3 OSPF messages (allowed: none), which only routers and servers of the provider may send.",
    );
    let listed = " For example 198.51.100.7 TCP port 80 at 14:03:12 (no answer).";
    check(
        Malware,
        &[("answered", 1.0, Some(1.0)), ("on_list_feodo", 1.0, None)],
        &[WEB],
        &format!("contacted 1 host (allowed: none) that is on the blocklist \"feodo\" and answered.{listed}"),
    );
    check(
        Malware,
        &[("silent", 5.0, Some(5.0)), ("on_list_a", 4.0, None), ("on_list_b", 1.0, None)],
        &[WEB],
        &format!(
            "contacted 5 hosts (allowed: fewer than 5) on the blocklists \"a\" and \"b\" without an answer.{listed}"
        ),
    );
    let used = |total, percent| {
        [
            ("bytes", total, Some(100_000.0)),
            ("bytes_in", 20_063.0, None),
            ("bytes_out", 60_000.0, None),
            ("percent", percent, Some(80.0)),
        ]
    };
    check(
        Quota,
        &used(80_063.0, 80.0),
        &[],
        "has used 80 % of the traffic that its plan includes this month: 80.1 kB of 100 kB, 20.1 kB of them received and 60 kB sent.",
    );
    let mut early = alert(Quota, &used(80_063.0, 80.0), &[]);
    (early.is_suspicion, early.samples) = (true, Vec::new());
    let text = early.complaint(None);
    assert!(text.contains("UTC: customer t-1 has used 80 % of") && !text.contains("suspected"), "{text}");
}

#[test]
fn what_is_forged_is_nobodys() {
    let mut flood = alert(Class::FloodSyn, &[("packets_per_second", 9_000.0, Some(200.0))], &[WEB]);
    flood.samples = (1..=5).map(|host| sample([192, 0, 2, host], true)).collect();
    let deed = "sent a flood of TCP connection requests to 198.51.100.7 (TCP port 80): 9,000 packets per second (allowed: fewer than 200).";
    let when = "2026-11-21 14:03:10–14:03:58 UTC:";
    assert_eq!(
        flood.complaint(Some("")),
        format!(
            "{when} customer t-1 {deed} The source addresses were forged, for example 192.0.2.1, 192.0.2.2, 192.0.2.3.{SEEN}"
        )
    );
    assert!(flood.sources().is_empty());
    flood.samples.push(sample([203, 0, 113, 10], false));
    assert_eq!(
        flood.complaint(None),
        format!(
            "{when} 203.0.113.10 (customer t-1) {deed} Some of the source addresses were forged, for example 192.0.2.1, 192.0.2.2, \
             192.0.2.3.{SEEN}"
        )
    );
    flood.samples = (1..=5).map(|host| sample([203, 0, 113, host], false)).collect();
    let text = flood.complaint(None);
    assert!(text.contains("203.0.113.1, 203.0.113.2, 203.0.113.3 and 2 more (customer t-1) sent"), "{text}");
    let mut spoof =
        alert(Class::SpoofSource, &[("packets", 80.0, Some(20.0)), ("sources", 1.0, None)], &[WEB]);
    // As samples were before it was noted of each.
    spoof.samples = vec![sample([192, 0, 2, 1], false)];
    assert_eq!(
        spoof.complaint(None),
        format!(
            "{when} customer t-1 sent 80 packets (allowed: fewer than 20) with forged source addresses to 198.51.100.7 \
             (TCP port 80). Forged addresses were for example 192.0.2.1.{SEEN}"
        )
    );
}

#[test]
fn suspicion_loss_and_days_are_told() {
    let mut scan = alert(Class::PortscanHorizontal, &[("hosts", 43.0, Some(15.0))], &[SSH]);
    scan.is_suspicion = true;
    scan.loss.dropped = 25;
    scan.samples.clear();
    scan.window.start = "2026-11-20T23:59:59Z".parse().unwrap();
    assert_eq!(
        scan.complaint(None),
        "2026-11-20 23:59:59 – 2026-11-21 14:03:58 UTC: customer t-1 is suspected to have tried TCP port 22 on 43 hosts \
         (allowed: fewer than 15). Seen in packet headers only; the sensor lost 20 % of the packets in that time."
    );
}

#[test]
fn every_class_has_its_sentence_whatever_its_numbers_and_none_breaks_a_line() {
    let numbers: [&[Number]; 4] = [
        &[],
        &[("packets", 3.0, Some(1.0))],
        &[("unheard_of", 0.0, None)],
        &[("hosts", 1e30, Some(f64::NAN))],
    ];
    for class in Class::ALL {
        for targets in [&[][..], &["2001:db8::1 ip-99"]] {
            for numbers in numbers {
                let text = alert(class, numbers, targets).complaint(None);
                let who = if class == Class::SpoofSource {
                    "customer t-1 "
                } else {
                    "203.0.113.10 (customer t-1) "
                };
                assert!(text.starts_with(&format!("2026-11-21 14:03:10–14:03:58 UTC: {who}")), "{text}");
                assert!(text.ends_with('.') && !text.contains(['\n', '_']) && !text.contains("  "), "{text}");
                assert!(!text.contains(class.name()) || class == Class::Crash, "{text}");
            }
        }
    }
}

#[test]
fn only_what_took_longer_than_a_minute_was_patient() {
    let mut scan =
        alert(Class::PortscanSlow, &[("targets_per_hour", 60.0, Some(60.0))], &["198.51.100.7 tcp/22"]);
    assert!(!scan.complaint(None).contains("patiently"), "{}", scan.complaint(None));
    scan.window.start = "2026-11-21T13:14:00Z".parse().unwrap();
    assert!(scan.complaint(None).contains("patiently tried 60 targets"), "{}", scan.complaint(None));
}
