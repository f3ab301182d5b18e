//! ARF out of a violation by mail (RFC 5965).

use std::fmt::Write as _;

use reeve_policy::{Class, Timestamp};

use super::Facts;
use crate::words;

/// A report in ARF, with CRLF at line ends and without `To`: whoever sends it knows whom to. `None` for what is no abuse of mail.
///
/// Its third part is a header without the mail's own fields: nobody keeps those here.
#[must_use]
pub fn arf(facts: &Facts) -> Option<Vec<u8>> {
    if !matches!(facts.class, Class::Spam | Class::SpamMailbomb | Class::SmtpRelay) {
        return None;
    }
    let id = facts.uuid();
    let boundary = format!("report-{id}");
    let from = &facts.reporter;
    let behalf = facts.on_behalf_of.as_ref();
    let mut mail = String::new();
    let mut field = |name: &str, value: &str| {
        let _ = write!(mail, "{name}: {}\r\n", ascii(value, 700));
    };
    field("From", &format!("{} <{}>", phrase(&words::line(&from.org, 120)), from.email));
    field("Date", &date(facts.last_seen));
    field("Subject", &format!("Abuse report: {} from {}", facts.class, facts.source));
    field("Message-ID", &format!("<{id}@{}>", from.domain));
    field("Auto-Submitted", "auto-generated");
    field("MIME-Version", "1.0");
    field("Content-Type", &format!("multipart/report; report-type=feedback-report; boundary=\"{boundary}\""));
    let _ = write!(
        mail,
        "\r\n--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    );
    let _ = write!(mail, "This is a report of abuse by mail from {} ({}).", facts.source, facts.class);
    if let Some(behalf) = behalf {
        let _ = write!(mail, "\r\nIt is sent on behalf of {}.", words::line(&behalf.org, 200));
    }
    // RFC 5322, section 2.1.1: a line has at most 998 characters.
    for line in facts.evidence().lines() {
        for piece in chunks(line, 200) {
            let _ = write!(mail, "\r\n{piece}");
        }
    }
    let _ = write!(mail, "\r\n--{boundary}\r\nContent-Type: message/feedback-report\r\n\r\n");
    let mut field = |name: &str, value: &str| {
        let _ = write!(mail, "{name}: {}\r\n", ascii(value, 700));
    };
    field("Feedback-Type", "abuse");
    field("User-Agent", concat!("Reeve/", env!("CARGO_PKG_VERSION")));
    field("Version", "1");
    field("Source-IP", &facts.source.to_string());
    if let Some(port) = facts.source_port {
        field("Source-Port", &port.to_string());
    }
    field("Arrival-Date", &date(facts.first_seen));
    if let Some(sender) = facts.mail_from.as_deref() {
        field("Original-Mail-From", &format!("<{sender}>"));
    }
    if let Some(messages) = facts.count(&["messages"]) {
        field("Incidents", &(messages as u64).to_string());
    }
    let _ = write!(mail, "\r\n--{boundary}\r\nContent-Type: text/rfc822-headers\r\n\r\n");
    let _ = write!(mail, "Comments: The mail itself was not kept, only how many there were and when.\r\n");
    let _ = write!(mail, "\r\n--{boundary}--\r\n");
    Some(mail.into_bytes())
}

/// RFC 5322's form, in UTC.
fn date(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_nanosecond(i128::from(at.as_nanos())).unwrap_or(jiff::Timestamp::MAX);
    jiff::fmt::rfc2822::to_string(&at.to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_default()
}

/// A value for a header field: one line of ASCII.
fn ascii(text: &str, max: usize) -> String {
    words::line(text, max).chars().map(|letter| if letter.is_ascii() { letter } else { '?' }).collect()
}

/// A display name: quoted, or in words of RFC 2047 (section 2: each of at most 75 characters) where it is not ASCII.
fn phrase(name: &str) -> String {
    if name.is_ascii() {
        return format!("\"{}\"", name.replace(['"', '\\'], ""));
    }
    // Eleven characters are 44 bytes at most, and 60 in base64.
    let word = |piece: String| format!("=?utf-8?B?{}?=", data_encoding::BASE64.encode(piece.as_bytes()));
    chunks(name, 11).into_iter().map(word).collect::<Vec<_>>().join(" ")
}

/// `line` in pieces of at most `max` characters.
fn chunks(line: &str, max: usize) -> Vec<String> {
    let letters: Vec<char> = line.chars().collect();
    letters.chunks(max).map(|piece| piece.iter().collect()).collect()
}
