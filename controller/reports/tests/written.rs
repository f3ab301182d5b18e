//! What is written: XARF against its own schemas, and both formats against our own reader.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test that cannot go on is to fail, and asks Python"
)]

mod common;

use reeve_policy::{Class, Protocol, Target, Timestamp};
use reeve_reports::{Contact, Facts, Format, Found, Kind, Seen, arf, read_json, read_mail, xarf, xarf_type};
use serde_json::json;

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const NOW: Timestamp = Timestamp::from_secs(1_800_000_600);

fn contact(name: &str) -> Contact {
    Contact {
        org: format!("Økonomi & Søn, {name} B.V."),
        email: format!("abuse@{name}.example"),
        domain: format!("{name}.example"),
    }
}

fn facts(class: Class, protocol: Protocol) -> Facts {
    let has_ports = protocol.has_ports();
    let target =
        |last: u8| Target { address: [198, 51, 100, last].into(), protocol, port: has_ports.then_some(22) };
    Facts {
        id: format!("01J-{class}"),
        class,
        clause: "baseline/1".into(),
        source: "203.0.113.7".parse().unwrap(),
        source_port: has_ports.then_some(40_000),
        protocol,
        first_seen: START,
        last_seen: Timestamp::from_secs(1_800_000_300),
        confidence_percent: 95,
        counts: [
            ("packets_per_second", 90_000.0),
            ("bits_per_second", 7.0e8),
            ("requests", 4_000.0),
            ("messages", 300.0),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        targets: (1..4).map(|last| Seen { target: target(last), first: START, last: NOW }).collect(),
        summary: format!("203.0.113.7 (customer “é”) did {class}."),
        mail_from: None,
        reporter: contact("provider"),
        on_behalf_of: None,
    }
}

/// Facts of every class, with every protocol, with and without what may be missing.
fn all() -> Vec<Facts> {
    let protocols = [
        Protocol::Tcp,
        Protocol::Udp,
        Protocol::Icmp,
        Protocol::Icmpv6,
        Protocol::Sctp,
        Protocol::Other(47),
        Protocol::Arp,
    ];
    let mut all = Vec::new();
    for class in Class::ALL {
        for protocol in protocols {
            let whole = facts(class, protocol);
            let mut six = whole.clone();
            six.source = "2001:db8::7".parse().unwrap();
            six.on_behalf_of = Some(contact("customer"));
            six.mail_from = Some("news@spam.example".into());
            let mut bare = whole.clone();
            (bare.source_port, bare.counts, bare.targets) = (None, Vec::new(), Vec::new());
            let mut huge = whole.clone();
            huge.summary = "so much to say\r\n\u{7}\u{202e}".repeat(5_000);
            huge.clause = "x".repeat(5_000);
            huge.reporter.org = "y\r\nBcc: z@z.example".repeat(300);
            huge.counts = vec![("n".repeat(500), f64::NAN); 500];
            huge.targets = vec![whole.targets[0]; 500];
            all.extend([whole, six, bare, huge]);
        }
    }
    all
}

/// Recommended fields that are not there, since nobody knows them or there is none: senders' matters are not kept.
fn lacks(report: &serde_json::Value, facts: &Facts) -> Vec<&'static str> {
    let recommended: &[&str] = match (report["category"].as_str().unwrap(), report["type"].as_str().unwrap())
    {
        ("connection", "ddos") => {
            &["source_port", "destination_ip", "destination_port", "peak_pps", "peak_bps"]
        }
        ("connection", "scraping") => &["source_port", "destination_ip", "destination_port", "user_agent"],
        ("connection", _) => &["source_port", "destination_ip", "destination_port"],
        ("messaging", _) => &["source_port", "smtp_to", "subject", "message_id"],
        ("infrastructure", _) => &["source_port", "malware_family", "bot_capabilities", "c2_server"],
        _ => &["source_port"],
    };
    let is_known = |name: &&str| match *name {
        "user_agent" | "smtp_to" | "subject" | "message_id" | "malware_family" | "bot_capabilities" => false,
        "source_port" => facts.source_port.is_some(),
        "destination_ip" | "c2_server" => !facts.targets.is_empty(),
        "destination_port" => facts.targets.first().is_some_and(|seen| seen.target.port.is_some()),
        _ => facts.counts.first().is_some_and(|(_, value)| value.is_finite()),
    };
    recommended.iter().copied().filter(|name| !is_known(name)).collect()
}

#[test]
fn xarf_is_what_its_schemas_require() {
    let mut cases = Vec::new();
    for (number, facts) in all().iter().enumerate() {
        match xarf(facts) {
            Some(report) => {
                let name = format!("{number} {} {}", facts.class, facts.protocol);
                cases.push(json!({ "name": name, "lacks": lacks(&report, facts), "report": report }));
            }
            None => assert_eq!(facts.class, Class::Quota),
        }
    }
    assert!(cases.len() > 700);
    let (is_content, said) = common::script("check", &serde_json::to_vec(&cases).unwrap());
    assert!(is_content, "{said}");
    assert!(said.contains(&format!("{} checked", cases.len())), "{said}");
}

#[test]
fn what_is_wrong_is_seen_by_that_test() {
    let facts = facts(Class::PortscanVertical, Protocol::Tcp);
    let mut report = xarf(&facts).unwrap();
    report["source_port"] = json!(0);
    report["made_up"] = json!(1);
    let cases = json!([{ "name": "n", "lacks": [], "report": report }]);
    let (is_content, said) = common::script("check", &serde_json::to_vec(&cases).unwrap());
    assert!(!is_content && said.contains("made_up") && said.contains("source_port"), "{said}");
}

#[test]
fn our_own_reports_come_back() {
    for facts in all() {
        let Some(report) = xarf(&facts) else { continue };
        let bytes = serde_json::to_vec(&report).unwrap();
        assert!(bytes.len() < 64 << 10, "{} bytes", bytes.len());
        let complaint = read_json(&bytes, NOW).unwrap().complaints.remove(0);
        assert_eq!((complaint.format, complaint.found), (Format::Xarf4, Found::Stated));
        assert_eq!(complaint.source.map(|source| source.addr()), Some(facts.source));
        assert_eq!(complaint.seen_at, Some(facts.last_seen));
        assert_eq!(complaint.confidence_percent, Some(95));
        let of = if facts.on_behalf_of.is_some() { "customer.example" } else { "provider.example" };
        assert_eq!(complaint.reporter.domain, of);
        let is_own = xarf_type(facts.class).is_some_and(|own| own.is_own);
        if is_own && complaint.kind != Kind::Listed {
            assert!(complaint.kind.classes().contains(&facts.class), "{} is {}", facts.class, complaint.kind);
        }
        let again = read_json(&bytes, NOW).unwrap().complaints.remove(0);
        assert_eq!(again.fingerprint(), complaint.fingerprint());
        let Some(mail) = arf(&facts) else {
            assert!(!facts.class.name().starts_with("spam") && facts.class != Class::SmtpRelay);
            continue;
        };
        assert!(mail.len() < 64 << 10);
        for line in mail.split(|byte| *byte == b'\n') {
            assert!(line.len() <= 999, "a line of {} bytes", line.len());
        }
        let complaint = read_mail(&mail, NOW).unwrap().complaints.remove(0);
        assert_eq!(
            (complaint.format, complaint.kind, complaint.found),
            (Format::Arf, Kind::Spam, Found::Stated)
        );
        assert_eq!(complaint.source.map(|source| source.addr()), Some(facts.source));
        assert_eq!(complaint.seen_at, Some(facts.first_seen));
        assert_eq!(complaint.reporter.email, "abuse@provider.example");
        assert!(complaint.reporter.org.starts_with(if facts.reporter.org.starts_with('Ø') {
            "Økonomi & Søn, prov"
        } else {
            "y"
        }));
        assert!(complaint.text.contains("This is a report of abuse"), "{}", complaint.text);
    }
}

#[test]
fn nobody_is_told_of_a_plan_that_is_used_up() {
    let facts = facts(Class::Quota, Protocol::Tcp);
    assert!(xarf(&facts).is_none() && arf(&facts).is_none() && xarf_type(Class::Quota).is_none());
}
