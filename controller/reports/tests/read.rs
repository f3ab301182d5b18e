//! What is taken from reports of each format, case by case.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use reeve_policy::Timestamp;
use reeve_reports::{
    Complaint, Deadline, Format, Found, Kind, MAX_BYTES, MAX_REPORTS, Reason, read_json, read_mail,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const SEEN: &str = "Wed, 13 Jan 2027 10:00:00 +0100";
const SEEN_AT: Timestamp = Timestamp::from_secs(1_799_830_800);

fn mail(text: &str) -> Complaint {
    let mut all =
        read_mail(text.as_bytes(), NOW).unwrap_or_else(|refused| panic!("{refused}: {text}")).complaints;
    assert_eq!(all.len(), 1, "{text}");
    all.remove(0)
}

fn refused(text: &str) -> Reason {
    read_mail(text.as_bytes(), NOW).expect_err(text).reason
}

fn json(text: &str) -> Result<Complaint, Reason> {
    read_json(text.as_bytes(), NOW)
        .map(|mut read| read.complaints.remove(0))
        .map_err(|refused| refused.reason)
}

fn source(complaint: &Complaint) -> String {
    complaint.source.map(|source| source.addr().to_string()).unwrap_or_default()
}

/// An ARF mail with this report and this header of the mail that it is about.
fn arf(report: &str, enclosed: &str) -> String {
    format!(
        "From: Feedback <fbl@isp.example>\nSubject: FW: x\nMessage-ID: <m@isp.example>\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n\
         --b\n\nMail from 198.51.100.99 was called spam.\n--b\nContent-Type: message/feedback-report\n\n{report}\n\
         --b\nContent-Type: text/rfc822-headers\n\n{enclosed}\n--b--\n"
    )
}

#[test]
fn arf_is_read_with_all_its_fields() {
    let one = mail(&arf(
        &format!(
            "Feedback-Type: auth-failure\nVersion: 1\nSource-IP: 203.0.113.7\nSource-Port: 4711\nArrival-Date: {SEEN}\nIncidents: 3\n\
             Reported-Domain: Spam.example\nReported-URI: http://spam.example/x\nAuth-Failure: dmarc\nOriginal-Mail-From: <a@spam.example>"
        ),
        "Subject: buy\nTo: victim@isp.example\nReceived: from x ([198.51.100.1])",
    ));
    assert_eq!((one.format, one.kind, one.said.as_str()), (Format::Arf, Kind::AuthFailure, "auth-failure"));
    assert_eq!((source(&one).as_str(), one.found, one.port), ("203.0.113.7", Found::Stated, Some(4711)));
    assert_eq!((one.seen_at, one.incidents), (Some(SEEN_AT), Some(3)));
    assert_eq!(
        (one.hosts.as_slice(), one.urls.as_slice()),
        (&["spam.example".to_owned()][..], &["http://spam.example/x".to_owned()][..])
    );
    assert_eq!(
        (one.reporter.email.as_str(), one.reporter.domain.as_str()),
        ("fbl@isp.example", "isp.example")
    );
    assert_eq!(
        (one.message_id.as_deref(), one.text.as_str()),
        (Some("m@isp.example"), "Mail from 198.51.100.99 was called spam.")
    );
    let names: Vec<&str> = one.header.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["Subject", "Received", "Original-Mail-From", "Auth-Failure"], "and no recipient");
}

#[test]
fn arf_without_a_source_is_sought_where_the_reporter_wrote_it() {
    let received = "Received: from evil (HELO [203.0.113.8])\n by mx.isp.example ([192.0.2.1])\nReceived: from forged ([198.51.100.1])";
    let one = mail(&arf("Feedback-Type: abuse\nVersion: 7.5.x\nArrival-Date: yesterday", received));
    assert_eq!((source(&one).as_str(), one.found, one.seen_at), ("203.0.113.8", Found::InHeader, None));
    let one = mail(&arf("", "Subject: x"));
    assert_eq!((source(&one).as_str(), one.found, one.kind), ("198.51.100.99", Found::InText, Kind::Spam));
    let bare = arf("Feedback-Type: abuse", "").replace("Mail from 198.51.100.99", "It");
    assert_eq!(refused(&bare), Reason::NoSource);
}

#[test]
fn arf_about_several_sources_is_several_complaints() {
    let text = arf(
        "Feedback-Type: abuse\nSource-IP: 203.0.113.7 (as seen)\nSource-IP: 0.0.0.0\nSource-IP: 2001:db8::7",
        "",
    );
    let read = read_mail(text.as_bytes(), NOW).unwrap();
    let sources: Vec<String> = read.complaints.iter().map(source).collect();
    assert_eq!(sources, ["203.0.113.7", "2001:db8::7"]);
    assert_eq!(read.refused.iter().map(|refused| refused.reason).collect::<Vec<_>>(), [Reason::AbsurdSource]);
    assert_ne!(read.complaints[0].fingerprint(), read.complaints[1].fingerprint());
    assert_eq!(refused(&arf("Source-IP: 239.1.1.1", "")), Reason::AbsurdSource);
    assert_eq!(refused(&arf("Source-IP: none", "")), Reason::BadSource);
    assert_eq!(source(&mail(&arf("Source-IP: 10.1.2.3", ""))), "10.1.2.3", "whose that is others know");
}

const XARF4: &str = r#""xarf_version": "4.2.0", "category": "connection", "type": "login_attack"
    , "reporter": {"org": "R", "contact": "r@r.example", "domain": "r.example"}"#;

#[test]
fn xarf_says_what_is_missing_or_wrong() {
    let one = |more: &str| json(&format!("{{{XARF4}, {more}}}"));
    assert_eq!(
        source(&one(r#""source_identifier": "203.0.113.7", "source_port": "22""#).unwrap()),
        "203.0.113.7"
    );
    assert_eq!(one(r#""source_identifier": "bad.example""#).unwrap().hosts, ["bad.example"]);
    assert_eq!(source(&one(r#""source_identifier": "http://203.0.113.7/x""#).unwrap()), "203.0.113.7");
    assert_eq!(one(r#""source_port": 22"#), Err(Reason::NoSource));
    assert_eq!(one(r#""source_identifier": "who knows""#), Err(Reason::BadSource));
    assert_eq!(one(r#""source_identifier": "203.0.0.0/9""#), Err(Reason::SourceTooWide));
    assert_eq!(one(r#""source_identifier": "203.0.113.7", "timestamp": "noon""#), Err(Reason::BadTime));
    assert_eq!(
        one(r#""source_identifier": "203.0.113.7", "timestamp": "2027-03-01T00:00:00Z""#),
        Err(Reason::Future)
    );
    assert_eq!(
        json(r#"{"xarf_version": "4.0.0", "source_identifier": "203.0.113.7"}"#),
        Err(Reason::FieldMissing)
    );
    assert_eq!(json(r#"{"xarf_version": "5.0.0"}"#), Err(Reason::NotXarf));
    assert_eq!(json(r#"{"Report": {}, "ReporterInfo": {}}"#), Err(Reason::FieldMissing));
    assert_eq!(json("[]"), Err(Reason::Empty));
}

#[test]
fn of_evidence_the_content_is_not_kept() {
    let payload = data_encoding::BASE64.encode(b"Subject: hi\r\nTo: victim@x.example\r\n\r\nsecret");
    let one = json(&format!(
        r#"{{{XARF4}, "source_identifier": "203.0.113.7", "evidence": [
            {{"content_type": "message/rfc822", "description": "it", "payload": "{payload}", "hash": "sha256:00"}},
            {{"content_type": "text/plain", "payload": "c2VjcmV0"}}]}}"#
    ))
    .unwrap();
    assert_eq!(one.evidence.len(), 2);
    assert_eq!((one.evidence[0].hash.as_str(), one.evidence[1].size), ("sha256:00", Some(6)));
    assert_eq!(one.header.iter().map(|field| field.value.as_str()).collect::<Vec<_>>(), ["hi"]);
    let kept = serde_json::to_string(&one).unwrap();
    assert!(!kept.contains("secret") && !kept.contains(&payload[..20]) && !kept.contains("victim"), "{kept}");
}

#[test]
fn of_an_array_what_can_be_read_is_read() {
    let good = format!(r#"{{{XARF4}, "source_identifier": "203.0.113.7"}}"#);
    let read = read_json(format!("[{good}, {{}}, {good}]").as_bytes(), NOW).unwrap();
    assert_eq!((read.complaints.len(), read.refused.len()), (2, 1));
    let many = |count| format!("[{}]", vec![good.as_str(); count].join(","));
    assert_eq!(read_json(many(MAX_REPORTS).as_bytes(), NOW).unwrap().complaints.len(), MAX_REPORTS);
    assert_eq!(json(&many(MAX_REPORTS + 1)), Err(Reason::TooMany));
    assert_eq!(json(&" ".repeat(MAX_BYTES + 1)), Err(Reason::TooLarge));
}

#[test]
fn x_arf_is_read_whatever_its_source_is() {
    let x_arf = |keys: &str| {
        format!(
            "From: a@r.example\nX-XARF: PLAIN\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nHello.\n--b\n\
             Content-Type: text/plain; name=\"report.txt\"\n\n{keys}\n--b\nContent-Type: message/rfc822\n\nSubject: s\n\nsecret\n--b--\n"
        )
    };
    let keys = "---\nReported-From: desk@r.example\nReport-Type: login-attack\nReport-ID: '7@r'\nService: ssh\nPort: 22\n";
    let one = mail(&x_arf(&format!("{keys}Date: {SEEN}\nSource: 203.0.113.7\n")));
    assert_eq!((one.format, one.kind, one.seen_at), (Format::XArf02, Kind::LoginAttack, Some(SEEN_AT)));
    assert_eq!(
        (one.reported_id.as_deref(), one.target_port, one.protocol.as_str()),
        (Some("7@r"), Some(22), "ssh")
    );
    assert_eq!(
        (one.reporter.email.as_str(), one.text.as_str(), one.header.len()),
        ("desk@r.example", "Hello.", 1)
    );
    assert_eq!(
        mail(&x_arf(&format!("{keys}Source-Type: uri\nSource: http://bad.example/x\n"))).hosts,
        ["bad.example"]
    );
    assert_eq!(
        mail(&x_arf(&format!("{keys}Source-Type: email\nSource: a@bad.example\n"))).hosts,
        ["bad.example"]
    );
    assert_eq!(
        refused(&x_arf(&format!("{keys}Source-Type: ip-address\nSource: bad.example\n"))),
        Reason::BadSource
    );
    assert_eq!(refused(&x_arf(&format!("{keys}Source:\n"))), Reason::NoSource);
    assert_eq!(refused(&x_arf(&format!("{keys}Date: later\nSource: 203.0.113.7\n"))), Reason::BadTime);
    assert_eq!(
        refused("X-XARF: SECURE\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n"),
        Reason::Encrypted
    );
}

#[test]
fn reports_that_are_forwarded_are_found() {
    let inner = arf("Source-IP: 203.0.113.7", "");
    let outer = format!(
        "From: me@own.example\nContent-Type: multipart/mixed; boundary=o\n\n--o\n\nFYI\n--o\nContent-Type: message/rfc822\n\n{inner}\n--o--\n"
    );
    let one = mail(&outer);
    assert_eq!((one.format, one.reporter.domain.as_str()), (Format::Arf, "isp.example"));
}

#[test]
fn a_mail_that_is_forwarded_without_a_word_is_spam() {
    let forwarded = |received: &str| {
        format!(
            "From: a@b.example\nSubject: FW\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n\
             {received}Subject: buy\n\nsecret 198.51.100.77\n--b--\n"
        )
    };
    let hops = "Received: from lmtp (unix) by store\nReceived: from mx ([10.0.0.1]) by store\n\
                Received: from evil ([203.0.113.7]) by mx ([192.0.2.1])\nReceived: from forged ([198.51.100.1]) by evil\n";
    let one = mail(&forwarded(hops));
    assert_eq!((source(&one).as_str(), one.found, one.kind), ("203.0.113.7", Found::InHeader, Kind::Spam));
    assert_eq!(refused(&forwarded("")), Reason::NoSource);
}

#[test]
fn letters_are_weighed_by_their_words() {
    let one = mail(
        "From: Jan <jan@victim.example>\nSubject: portscan\n\nHello,\n\nour server 192.0.2.1 and 192.0.2.2 were scanned from\n\
         203[.]0[.]113[.]7 at 2027-01-13 10:00:00 +0100 (UTC+1). See 198.51.100.5.\n\n-----Original Message-----\nTo: somebody else\nsecret\n",
    );
    assert_eq!((one.format, one.kind, one.found), (Format::Plain, Kind::Scan, Found::InText));
    assert_eq!((one.seen_at, one.reporter.org.as_str()), (Some(SEEN_AT), "Jan"));
    let others: Vec<String> = one.others.iter().map(|other| other.addr().to_string()).collect();
    assert_eq!(source(&one), "203.0.113.7");
    assert_eq!(others, ["198.51.100.5", "192.0.2.1", "192.0.2.2"], "own servers are the least likely");
    assert!(one.text.ends_with("See 198.51.100.5.") && one.takedown.is_none(), "{}", one.text);
    let one = mail("From: a@b.example\nSubject: Abuse from 203.0.113.7\n\nDestination: 192.0.2.1\n");
    assert_eq!(source(&one), "203.0.113.7");
    let page = mail("From: a@b.example\nContent-Type: text/html\n\n<p>spam from <b>203.0.113.7</b></p>");
    assert_eq!((source(&page).as_str(), page.kind), ("203.0.113.7", Kind::Spam));
    let page = mail(
        "From: a@b.example\nContent-Type: text/html\n\n<p>phishing <a href=\"http://bad.example/?a=1&amp;b=2\">here</a></p>",
    );
    assert_eq!((page.found, page.urls[0].as_str()), (Found::Nowhere, "http://bad.example/?a=1&b=2"));
}

#[test]
fn requests_to_take_down_say_what_why_and_until_when() {
    let one = mail(
        "From: Legal <legal@rights.example>\nSubject: Notice of claimed infringement\n\nUnder the DMCA, 17 U.S.C. 512(c), remove\n\
         hxxps://site[.]example/film.mp4 and <http://203.0.113.7/x>, which infringe our copyright, within 2 (two) business days.\n",
    );
    let takedown = one.takedown.unwrap();
    assert_eq!(takedown.urls, ["https://site.example/film.mp4", "http://203.0.113.7/x"]);
    assert_eq!((takedown.deadline, takedown.is_urgent), (Some(Deadline::Within(48)), false));
    assert_eq!(takedown.legal_basis, ["dmca", "copyright"]);
    assert_eq!((one.kind, one.hosts[0].as_str()), (Kind::Copyright, "site.example"));
    let one = mail(
        "From: a@recht.example\nContent-Type: text/plain; charset=utf-8\n\nNotice-and-takedown: wij verzoeken u deze pagina \
         https://site.example/ binnen 24 uur te verwijderen wegens inbreuk op het merkenrecht.\n",
    );
    let takedown = one.takedown.unwrap();
    assert_eq!((takedown.deadline, takedown.is_urgent), (Some(Deadline::Within(24)), true));
    assert_eq!(takedown.legal_basis, ["trademark", "ntd code"]);
    let one = json(r#"{"xarf_version": "4.2.0", "category": "content", "type": "csam", "source_identifier": "203.0.113.7", "url": "http://x.example/"}"#).unwrap();
    assert!(one.kind == Kind::ChildAbuse && one.takedown.unwrap().is_urgent);
}

#[test]
fn notices_with_acns_are_read_by_their_tags() {
    let one = mail(
        "From: a@rights.example\nSubject: Notice ID 77\n\nDear ISP, see below.\n<?xml version=\"1.0\"?>\n\
         <Infringement xmlns=\"http://www.acns.net/ACNS\"><Case><ID>77</ID></Case><Source><TimeStamp>2027-01-13T09:00:00Z</TimeStamp>\
         <IP_Address>203.0.113.7</IP_Address><Port>51413</Port><Type>BitTorrent</Type></Source></Infringement>\n",
    );
    assert_eq!((source(&one).as_str(), one.port, one.found), ("203.0.113.7", Some(51413), Found::Stated));
    assert_eq!(
        (one.reported_id.as_deref(), one.seen_at, one.kind),
        (Some("77"), Some(SEEN_AT), Kind::Copyright)
    );
    assert!(one.urls.is_empty() && one.text == "Dear ISP, see below.\n<?xml version=\"1.0\"?>", "{one:?}");
}
