//! XARF 4.2 out of a violation (schemas: github.com/xarf/xarf-spec, tag v4.2.0).

use reeve_policy::{Class, Protocol};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{Contact, Facts};
use crate::words;

/// What a class is in XARF 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XarfType {
    /// The category, such as `connection`.
    pub category: &'static str,
    /// The type within it, such as `port_scan`.
    pub kind: &'static str,
    /// Whether it is what the class is; else XARF has none for it, and this comes nearest.
    pub is_own: bool,
}

/// What a class is in XARF 4. `None` if nobody is told of it.
///
/// Those of category `connection` that ask for the source's port become `reputation/threat_intelligence` where there is none, as with
/// ICMP: the schemas require it with an address, and a port that nobody saw is not made up.
#[must_use]
pub const fn xarf_type(class: Class) -> Option<XarfType> {
    let (category, kind, is_own) = match class {
        Class::PortscanHorizontal
        | Class::PortscanVertical
        | Class::PortscanSlow
        | Class::PortscanStealth => ("connection", "port_scan", true),
        Class::FloodSyn
        | Class::FloodTcp
        | Class::FloodConnect
        | Class::FloodUdp
        | Class::FloodIcmp
        | Class::FloodFrag
        | Class::FloodOther
        | Class::FloodVolume => ("connection", "ddos", true),
        Class::UdpStream | Class::Crash | Class::ApiBurst => ("connection", "ddos", false),
        // Whoever reflects is no attacker: the service that does is open to everybody.
        Class::FloodAmplify | Class::SmtpRelay => ("vulnerability", "open_service", true),
        Class::Spam => ("messaging", "spam", true),
        Class::SpamMailbomb => ("messaging", "spam", false),
        Class::Crawl => ("connection", "scraping", true),
        Class::Bruteforce => ("connection", "login_attack", true),
        Class::SpoofSource | Class::SpoofArp | Class::SpoofNd | Class::SpoofRouting => {
            ("reputation", "threat_intelligence", false)
        }
        Class::Malware => ("infrastructure", "botnet", true),
        // More traffic than the plan has is a matter of the bill.
        Class::Quota => return None,
    };
    Some(XarfType { category, kind, is_own })
}

/// A report in XARF 4; `None` for a class of which nobody is told ([`Class::Quota`]).
#[must_use]
pub fn xarf(facts: &Facts) -> Option<Value> {
    let XarfType { category, kind, .. } = xarf_type(facts.class)?;
    let mut report = Map::new();
    let evidence = facts.evidence();
    let hash = Sha256::digest(evidence.as_bytes());
    let reporter = facts.on_behalf_of.as_ref().unwrap_or(&facts.reporter);
    let mut description = words::line(&facts.summary, 900);
    if !facts.clause.is_empty() {
        description =
            words::line(&format!("{description} (clause {})", words::line(&facts.clause, 80)), 1_000);
    }
    for (name, value) in [
        ("xarf_version", json!("4.2.0")),
        ("report_id", json!(facts.uuid())),
        ("timestamp", json!(facts.last_seen.to_string())),
        ("reporter", contact(reporter)),
        ("sender", contact(&facts.reporter)),
        ("source_identifier", json!(facts.source.to_string())),
        ("category", json!(category)),
        ("type", json!(kind)),
        ("evidence_source", json!("flow_analysis")),
        ("confidence", json!(f64::from(facts.confidence_percent.min(100)) / 100.0)),
        ("description", json!(description)),
        (
            "evidence",
            json!([{
                "content_type": "text/plain",
                "description": "What was measured, and the targets that weigh most",
                "payload": data_encoding::BASE64.encode(evidence.as_bytes()),
                "hash": format!("sha256:{}", data_encoding::HEXLOWER.encode(&hash)),
                "size": evidence.len(),
            }]),
        ),
        ("tags", json!([format!("reeve:{}", facts.class.name().replace('.', "_"))])),
    ] {
        report.insert(name.to_owned(), value);
    }
    if let Some(port) = facts.source_port.filter(|port| *port != 0) {
        report.insert("source_port".to_owned(), json!(port));
    }
    let is_told = match (category, kind) {
        ("connection", "scraping") => scraping(&mut report, facts),
        ("connection", _) => connection(&mut report, facts, kind),
        ("messaging", _) => messaging(&mut report, facts),
        ("vulnerability", _) => {
            report.insert("service".to_owned(), json!(service(facts)));
            true
        }
        ("infrastructure", _) => {
            botnet(&mut report, facts);
            true
        }
        _ => false,
    };
    if !is_told {
        for name in ["destination_ip", "destination_port", "protocol", "first_seen", "last_seen"] {
            report.remove(name);
        }
        report.insert("category".to_owned(), json!("reputation"));
        report.insert("type".to_owned(), json!("threat_intelligence"));
        report.insert("threat_type".to_owned(), json!(facts.class.name()));
    }
    Some(Value::Object(report))
}

fn contact(contact: &Contact) -> Value {
    json!({
        "org": words::line(&contact.org, 200),
        "contact": words::line(&contact.email, 320),
        "domain": words::line(&contact.domain, 253),
    })
}

/// What all of `connection` have in common. Whether it has what its schema requires: a protocol that XARF knows.
fn attempt(report: &mut Map<String, Value>, facts: &Facts, known: &[&str]) -> bool {
    let protocol = match facts.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
        Protocol::Icmp | Protocol::Icmpv6 => "icmp",
        Protocol::Arp | Protocol::Other(_) => return false,
    };
    report.insert("protocol".to_owned(), json!(protocol));
    report.insert("first_seen".to_owned(), json!(facts.first_seen.to_string()));
    report.insert("last_seen".to_owned(), json!(facts.last_seen.to_string()));
    if let Some(seen) = facts.targets.first() {
        report.insert("destination_ip".to_owned(), json!(seen.target.address.to_string()));
        if let Some(port) = seen.target.port.filter(|port| *port != 0) {
            report.insert("destination_port".to_owned(), json!(port));
        }
    }
    known.contains(&protocol)
}

fn connection(report: &mut Map<String, Value>, facts: &Facts, kind: &str) -> bool {
    let is_sound =
        attempt(report, facts, &["tcp", "udp", "sctp", "icmp"]) && report.contains_key("source_port");
    if is_sound && kind == "ddos" {
        let vector = match facts.class {
            Class::FloodSyn => "syn_flood",
            Class::FloodTcp => "tcp_flood",
            Class::FloodConnect => "connection_flood",
            Class::FloodUdp => "udp_flood",
            Class::FloodIcmp => "icmp_flood",
            Class::FloodFrag => "fragment_flood",
            Class::FloodVolume => "volumetric",
            Class::UdpStream => "udp_stream",
            Class::Crash => "malformed_packets",
            Class::ApiBurst => "http_flood",
            _ => "protocol_flood",
        };
        report.insert("attack_vector".to_owned(), json!(vector));
        let seconds = facts.last_seen.since(facts.first_seen).as_secs();
        for (name, value) in [
            ("peak_pps", facts.count(&["packets_per_second", "pps"])),
            ("peak_bps", facts.count(&["bits_per_second", "bps"])),
            ("duration_seconds", Some(seconds as f64).filter(|seconds| *seconds >= 1.0)),
        ] {
            if let Some(value) = value {
                report.insert(name.to_owned(), json!(value as u64));
            }
        }
    }
    is_sound
}

fn scraping(report: &mut Map<String, Value>, facts: &Facts) -> bool {
    let requests = facts.count(&["requests"]);
    let is_sound = attempt(report, facts, &["tcp", "udp"]) && requests.is_some();
    if let Some(requests) = requests.filter(|_| is_sound) {
        report.insert("total_requests".to_owned(), json!(requests as u64));
        report.insert("scraping_pattern".to_owned(), json!("breadth_first"));
        report.insert("target_content".to_owned(), json!("general_content"));
        if let Some(rate) = facts.count(&["requests_per_second"]) {
            report.insert("request_rate".to_owned(), json!(rate));
        }
    }
    is_sound
}

/// Where the sender is not known the protocol is `other`: with `smtp` the schema requires the sender.
fn messaging(report: &mut Map<String, Value>, facts: &Facts) -> bool {
    let sender = facts
        .mail_from
        .as_deref()
        .filter(|sender| sender.contains('@') && report.contains_key("source_port"));
    report.insert("evidence_source".to_owned(), json!("automated_filter"));
    match sender {
        Some(sender) => {
            report.insert("protocol".to_owned(), json!("smtp"));
            report.insert("smtp_from".to_owned(), json!(words::line(sender, 320)));
        }
        None => {
            report.insert("protocol".to_owned(), json!("other"));
            if let Some(Value::Array(tags)) = report.get_mut("tags") {
                tags.push(json!("protocol:smtp"));
            }
        }
    }
    if let Some(recipients) = facts.count(&["recipients"]) {
        report.insert("recipient_count".to_owned(), json!(recipients as u64));
    }
    true
}

/// The service that is open, by what it answers from (IANA's port numbers).
fn service(facts: &Facts) -> String {
    if facts.class == Class::SmtpRelay {
        return "smtp relay".to_owned();
    }
    let name = match facts.source_port {
        Some(17) => "qotd",
        Some(19) => "chargen",
        Some(53) => "dns resolver",
        Some(69) => "tftp",
        Some(111) => "portmapper",
        Some(123) => "ntp",
        Some(137) => "netbios",
        Some(161) => "snmp",
        Some(389) => "cldap",
        Some(427) => "slp",
        Some(1900) => "ssdp",
        Some(3702) => "ws-discovery",
        Some(5353) => "mdns",
        Some(11211) => "memcached",
        Some(port) => return format!("{} port {port}", facts.protocol),
        None => return format!("{} reflector", facts.protocol),
    };
    name.to_owned()
}

fn botnet(report: &mut Map<String, Value>, facts: &Facts) {
    report.insert("compromise_evidence".to_owned(), json!("Traffic to destinations on a blocklist"));
    if let Some(seen) = facts.targets.first() {
        report.insert("c2_server".to_owned(), json!(seen.target.address.to_string()));
    }
    let protocol = match facts.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        _ => "custom",
    };
    report.insert("c2_protocol".to_owned(), json!(protocol));
}
