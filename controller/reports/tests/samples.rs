//! More than a thousand reports: right sources, copies that are known as such, reasons for what is wrong, and bounds whatever comes.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test that cannot go on is to fail, and asks Python"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use reeve_reports::samples::{self, Expected, NOW, Sample};
use reeve_reports::{
    Complaint, Form, Found, Kind, MAX_BYTES, MAX_COMPLAINT_BYTES, MAX_FIELDS, MAX_LINE, MAX_LIST, MAX_TEXT,
    Reading, Refused, answer_to, may_be_answered, message_id, read_form, read_json, read_mail,
};

/// Texts that stand in bodies only: what is kept must not have them. Recipients neither.
const SECRETS: [&str; 2] = ["secret body", "user@reporter.example"];

fn check_bounds(name: &str, read: &Result<Reading, Refused>) {
    let complaints = match read {
        Ok(reading) => {
            assert!(!reading.complaints.is_empty(), "{name}: neither read nor refused");
            assert!(reading.complaints.len() + reading.refused.len() <= 2_000, "{name}");
            &reading.complaints
        }
        Err(refused) => {
            assert!(
                refused.detail.chars().count() <= 200 && !refused.detail.contains(char::is_control),
                "{name}: {refused}"
            );
            return;
        }
    };
    for one in complaints {
        assert!(one.bytes() <= MAX_COMPLAINT_BYTES, "{name}: {} bytes", one.bytes());
        assert!(one.text.chars().count() <= MAX_TEXT && one.header.len() <= MAX_FIELDS, "{name}");
        for list in [one.urls.len(), one.hosts.len(), one.others.len(), one.evidence.len()] {
            assert!(list <= MAX_LIST, "{name}: a list of {list}");
        }
        for line in lines(one) {
            assert!(line.chars().count() <= MAX_LINE && !line.contains(char::is_control), "{name}: {line:?}");
        }
        assert!(!one.text.contains(|letter: char| letter.is_control() && letter != '\n'), "{name}");
        let is_of_something = one.source.is_some() || !one.urls.is_empty() || !one.hosts.is_empty();
        assert!(is_of_something, "{name}: a complaint about nothing");
        assert_eq!(one.source.is_none(), one.found == Found::Nowhere, "{name}");
        let json = serde_json::to_string(one).unwrap();
        assert_eq!(serde_json::from_str::<Complaint>(&json).unwrap(), *one, "{name}");
    }
}

fn lines(one: &Complaint) -> impl Iterator<Item = &String> {
    [
        &one.said,
        &one.target,
        &one.protocol,
        &one.subject,
        &one.reporter.org,
        &one.reporter.email,
        &one.reporter.domain,
    ]
    .into_iter()
    .chain(&one.urls)
    .chain(&one.hosts)
    .chain(&one.reported_id)
    .chain(&one.message_id)
    .chain(one.header.iter().flat_map(|field| [&field.name, &field.value]))
    .chain(one.evidence.iter().flat_map(|one| [&one.content_type, &one.description, &one.hash]))
}

#[test]
fn a_thousand_samples_come_to_what_they_should() {
    let all = samples::all();
    assert!(all.len() > 1_200, "{}", all.len());
    let mut wrong = Vec::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut prints: BTreeMap<String, usize> = BTreeMap::new();
    for (place, sample) in all.iter().enumerate() {
        let read = sample.read();
        check_bounds(&sample.name, &read);
        let count = match (&sample.expected, &read) {
            (Expected::Source(source), Ok(reading)) => {
                let one = &reading.complaints[0];
                if one.source.map(|source| source.addr()) != Some(*source) || one.format != sample.format {
                    wrong.push(format!("{}: {} {:?}, not {source}", sample.name, one.format, one.source));
                }
                if one.seen_at.is_none() || one.reporter.domain.is_empty() || one.kind == Kind::Other {
                    wrong.push(format!("{}: {:?} {:?} {}", sample.name, one.seen_at, one.reporter, one.kind));
                }
                let json = serde_json::to_string(&reading.complaints).unwrap();
                if let Some(secret) = SECRETS.iter().find(|secret| json.contains(**secret)) {
                    wrong.push(format!("{}: keeps {secret:?}", sample.name));
                }
                // A copy has its original's fingerprint, and nobody else has it.
                let first = *prints.entry(one.fingerprint().to_string()).or_insert(place);
                if first != sample.copy_of.unwrap_or(place) {
                    wrong.push(format!("{}: fingerprint of {}", sample.name, all[first].name));
                }
                if sample.copy_of.is_some() { "copies" } else { "read" }
            }
            (Expected::Refused(reason), Err(refused)) if refused.reason == *reason => "refused",
            (Expected::Anything, Ok(_)) => "broken, read",
            (Expected::Anything, Err(_)) => "broken, refused",
            (expected, read) => {
                wrong.push(format!(
                    "{}: {expected:?}, but {:?}",
                    sample.name,
                    read.as_ref().map(|read| read.complaints.len())
                ));
                "wrong"
            }
        };
        *counts.entry(count).or_default() += 1;
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        all.len(),
        wrong[..wrong.len().min(40)].join("\n")
    );
    println!("{counts:?}");
    for (name, least) in
        [("read", 500), ("copies", 250), ("refused", 300), ("broken, read", 50), ("broken, refused", 50)]
    {
        assert!(counts.get(name).is_some_and(|count| *count >= least), "{counts:?}");
    }
    let reasons: BTreeSet<_> =
        all.iter().filter_map(|sample| sample.read().err()).map(|refused| refused.reason).collect();
    assert!(reasons.len() >= 8, "{reasons:?}");
}

#[test]
fn the_largest_that_is_read_is_read_in_bounds() {
    let head = |kind: &str| format!("From: a@b.example\nContent-Type: {kind}\n\n");
    let nested = |level| format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n");
    let cases = [
        (true, head("text/plain"), "x://".to_owned()),
        (true, head("text/plain"), "203[.]0[.]113[.]7/99, within ".to_owned()),
        (true, head("text/plain"), "copyright 2027-01-01 ".to_owned()),
        (true, head("text/html"), "<a href=x>&#1;".to_owned()),
        (true, head("message/feedback-report"), "Source-IP: 203.0.113.7\n".to_owned()),
        (true, head("multipart/mixed; boundary=b"), "--b\n\nx\n".to_owned()),
        (true, String::new(), "a:\n".to_owned()),
        (true, "Subject:".to_owned(), " =?utf-8?q?a?=".to_owned()),
        (true, String::new(), (0..50_000).map(nested).collect()),
        (false, "[0".to_owned(), ",0".to_owned()),
        (false, "{\"xarf_version\":\"4.0.0\",\"a\":[0".to_owned(), ",0".to_owned()),
        (false, String::new(), "[".to_owned()),
    ];
    for (is_mail, start, again) in cases {
        let mut bytes = start.into_bytes();
        while bytes.len() + again.len() <= MAX_BYTES {
            bytes.extend(again.as_bytes());
        }
        let name: String = again.chars().take(40).collect();
        check_bounds(&name, &if is_mail { read_mail(&bytes, NOW) } else { read_json(&bytes, NOW) });
    }
}

#[test]
fn samples_are_the_same_every_time() {
    let bytes = |all: Vec<Sample>| all.into_iter().map(|sample| sample.bytes).collect::<Vec<_>>();
    assert!(bytes(samples::all()) == bytes(samples::all()));
}

#[test]
fn examples_that_the_schemas_bring_are_read_alone_and_in_mails() {
    let (is_content, said) = common::script("examples", b"");
    assert!(is_content, "{said}");
    let mut examples: Vec<serde_json::Value> = serde_json::from_str(&said).unwrap();
    // Those of the schema of all are fragments.
    examples.retain(|example| example["source_identifier"].is_string());
    assert!(examples.len() >= 20, "{}", examples.len());
    for example in &examples {
        let text = serde_json::to_string_pretty(example).unwrap();
        let stated = example["source_identifier"].as_str().unwrap();
        let name = format!("{}/{}", example["category"], example["type"]);
        let alone = read_json(text.as_bytes(), NOW).unwrap_or_else(|refused| panic!("{name}: {refused}"));
        let one = &alone.complaints[0];
        match stated.parse::<std::net::IpAddr>() {
            Ok(source) => assert_eq!(one.source.map(|network| network.addr()), Some(source), "{name}"),
            Err(_) => {
                assert!(one.hosts.iter().any(|host| stated.contains(host.as_str())), "{name}: {stated}")
            }
        }
        assert_ne!(one.kind, Kind::Other, "{name}");
        assert_eq!(one.reported_id.as_deref(), example["report_id"].as_str(), "{name}");
        let mail =
            format!("From: a@x.example\r\nContent-Type: application/json; name=xarf.json\r\n\r\n{text}");
        let mailed = read_mail(mail.as_bytes(), NOW).unwrap();
        assert_eq!(mailed.complaints[0].fingerprint(), one.fingerprint(), "{name}");
        for end in (0..text.len()).step_by(37) {
            check_bounds(&name, &read_json(&text.as_bytes()[..end], NOW));
        }
    }
    let array = serde_json::to_vec(&examples).unwrap();
    let reading = read_json(&array, NOW).unwrap();
    assert_eq!((reading.complaints.len(), reading.refused.len()), (examples.len(), 0));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_comes_is_read_or_refused(bytes: Vec<u8>, text in "(?s).{0,400}") {
        for bytes in [&bytes[..], text.as_bytes(), format!("From: a@b.example\n\n{text}").as_bytes()] {
            check_bounds("made up", &read_mail(bytes, NOW));
            check_bounds("made up", &read_json(bytes, NOW));
            // Whom it may be answered, if anybody, is an address and nothing else.
            if let Ok(mailbox) = answer_to(bytes) {
                assert!(may_be_answered(&mailbox) && mailbox.to_string().bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
        let form = Form { about: &text, kind: Kind::Other, seen_at: None, text: &text, email: None };
        let read = read_form(&form, NOW).map(|complaint| Reading { complaints: vec![complaint], refused: Vec::new() });
        check_bounds("made up", &read);
        if let Some(id) = message_id(&text) {
            assert!(id.bytes().all(|byte| byte.is_ascii_graphic()) && id.len() <= 202, "{id}");
        }
    }
}
