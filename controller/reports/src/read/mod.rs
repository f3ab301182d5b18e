//! Reading reports: which format something has, and what becomes of it.

mod arf;
mod plain;
pub(crate) mod takedown;
mod xarf02;
mod xarf3;
mod xarf4;

use reeve_policy::Timestamp;

use crate::complaint::{Attachment, Complaint, Format, MAX_LINE, MAX_LIST, MAX_TEXT};
use crate::json::{self, Node};
use crate::mime::{self, Head, Mail, Part};
use crate::refused::{Reason, Refused};
use crate::sealed::Sealed;
use crate::{MAX_BYTES, words};

/// How many mails in a mail are looked into for a report, one in the other.
const MAX_FORWARDED: usize = 2;

/// What came of reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What was read, in order.
    pub complaints: Vec<Complaint>,
    /// What of several reports could not be read, in order, with why.
    pub refused: Vec<Refused>,
}

impl Reading {
    fn push(&mut self, read: Result<Complaint, Refused>) {
        match read {
            Ok(complaint) => self.complaints.push(complaint),
            Err(refused) => self.refused.push(refused),
        }
    }

    /// Itself if anything was read; else the first reason why not.
    fn or_refused(mut self) -> Result<Self, Refused> {
        if self.complaints.is_empty() && !self.refused.is_empty() {
            return Err(self.refused.swap_remove(0));
        }
        Ok(self)
    }
}

/// Reads a mail: ARF, XARF as a part of it, X-ARF, or a letter. `now` is when it was received.
///
/// # Errors
/// When nothing of it can be read; the first reason why.
pub fn read_mail(bytes: &[u8], now: Timestamp) -> Result<Reading, Refused> {
    let bytes = sized(bytes)?;
    if Sealed::is_bare(bytes) {
        return Err(Reason::Encrypted.with(""));
    }
    let mail = Mail::read(bytes).ok_or_else(|| Reason::NotMail.with(""))?;
    if let Some(reading) = structured(&mail, now, 0) {
        return reading;
    }
    if is_encrypted(&mail) {
        return Err(Reason::Encrypted.with(&mail.head.kind));
    }
    if Sealed::in_mail(&mail).is_some_and(|sealed| sealed.is_all()) {
        return Err(Reason::Encrypted.with("a text in the armour of OpenPGP"));
    }
    plain::read(&mail, now).map(|complaint| Reading { complaints: vec![complaint], refused: Vec::new() })
}

/// Reads XARF 4 or 3: one report, or an array of up to a thousand. `now` is when it was received.
///
/// # Errors
/// When it is no JSON, too much of it, or none of it is a report; the first reason why.
pub fn read_json(bytes: &[u8], now: Timestamp) -> Result<Reading, Refused> {
    let bytes = sized(bytes)?;
    let mut reading = Reading::default();
    match json::read(bytes, &mut |node| reading.push(report(&node, now))) {
        Ok(0) => Err(Reason::Empty.with("an array without a report")),
        Ok(_) => reading.or_refused(),
        Err(refused) => Err(refused),
    }
}

fn sized(bytes: &[u8]) -> Result<&[u8], Refused> {
    match bytes.len() {
        0 => Err(Reason::Empty.with("")),
        len if len > MAX_BYTES => {
            Err(Reason::TooLarge.with(format!("{len} bytes; at most {MAX_BYTES} are read")))
        }
        _ => Ok(bytes),
    }
}

/// One report of XARF, whichever version.
fn report(node: &Node, now: Timestamp) -> Result<Complaint, Refused> {
    if xarf4::is(node) {
        xarf4::read(node, now)
    } else if xarf3::is(node) {
        xarf3::read(node, now)
    } else {
        Err(Reason::NotXarf.with("neither xarf_version nor ReporterInfo and Report"))
    }
}

/// What programs wrote for programs in a mail, if there is such a thing.
fn structured(mail: &Mail<'_>, now: Timestamp, forwarded: usize) -> Option<Result<Reading, Refused>> {
    if let Some(part) = mail.of_kind(&["message/feedback-report"]).next() {
        return Some(arf::read(mail, part, now));
    }
    let mut reading = Reading::default();
    for part in mail.parts.iter().filter(|part| may_be_json(part)) {
        let before = reading.complaints.len();
        let read = json::read(&part.bytes(), &mut |node| reading.push(report(&node, now)));
        if let Err(refused) = read {
            reading.refused.push(refused);
        }
        reading.complaints[before..].iter_mut().for_each(|complaint| came_by(complaint, &mail.head));
    }
    // An attachment that is something else in JSON does not make a letter unreadable.
    let is_xarf = |refused: &Refused| !matches!(refused.reason, Reason::NotXarf | Reason::Empty);
    if !reading.complaints.is_empty() || reading.refused.iter().any(is_xarf) {
        reading.refused.retain(is_xarf);
        reading.refused.truncate(json::MAX_REPORTS);
        if reading.complaints.len() > json::MAX_REPORTS {
            reading.complaints.truncate(json::MAX_REPORTS);
            reading.refused.push(Reason::TooMany.with("in several parts; the first are taken"));
        }
        return Some(reading.or_refused());
    }
    if let Some(read) = xarf02::read(mail, now) {
        return Some(read.map(|complaint| Reading { complaints: vec![complaint], refused: Vec::new() }));
    }
    if forwarded < MAX_FORWARDED {
        for part in mail.of_kind(&["message/rfc822", "message/global"]).take(4) {
            let inner = part.bytes();
            let read = Mail::read(&inner).and_then(|inner| structured(&inner, now, forwarded + 1));
            if read.is_some() {
                return read;
            }
        }
    }
    None
}

/// Whether a part may be a report in JSON: by its type, its name, or how a text begins.
pub(crate) fn may_be_json(part: &Part<'_>) -> bool {
    let kind = part.head.kind.as_str();
    if kind.starts_with("application/") && kind.contains("json") {
        return true;
    }
    if part.head.name.to_ascii_lowercase().ends_with(".json") {
        return true;
    }
    if !matches!(kind, "text/plain" | "text/json" | "application/octet-stream") {
        return false;
    }
    let first = part.first_bytes();
    let first = first.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&first).trim_ascii_start();
    let says = |word: &[u8]| first.windows(word.len()).any(|window| window == word);
    matches!(first.first(), Some(b'{' | b'[')) && (says(b"\"xarf_version\"") || says(b"\"ReporterInfo\""))
}

fn is_encrypted(mail: &Mail<'_>) -> bool {
    let kind = mail.head.kind.as_str();
    let is_secure = mail.head.value("X-XARF").is_some_and(|value| value.eq_ignore_ascii_case("secure"));
    is_secure
        || kind == "multipart/encrypted"
        || matches!(kind, "application/pkcs7-mime" | "application/x-pkcs7-mime")
}

/// What the mail says that a report came in.
fn came_by(complaint: &mut Complaint, head: &Head) {
    complaint.message_id.clone_from(&head.message_id);
    complaint.subject = words::line(&head.subject, MAX_LINE);
    if complaint.reporter.email.is_empty() {
        let org = std::mem::take(&mut complaint.reporter.org);
        complaint.reporter.clone_from(&head.from);
        if !org.is_empty() {
            complaint.reporter.org = org;
        }
    }
}

/// The parts that a letter or a program's report explains itself with.
fn prose(mail: &Mail<'_>) -> String {
    let of = |kind: &'static str| mail.parts.iter().filter(move |part| part.head.kind == kind);
    // What has a name is attached, if there is anything else.
    let plain = of("text/plain").find(|part| part.head.name.is_empty()).or_else(|| of("text/plain").next());
    let plain = plain.map(Part::text).filter(|text| !text.trim().is_empty());
    plain.or_else(|| of("text/html").next().map(Part::text)).unwrap_or_default()
}

/// Parts that are evidence: their type, name and size.
fn attachments(mail: &Mail<'_>, but: &[&str]) -> Vec<Attachment> {
    let is_evidence = |part: &&Part<'_>| {
        !but.contains(&part.head.kind.as_str())
            && (!part.head.name.is_empty() || !part.head.kind.starts_with("text/"))
    };
    mail.parts
        .iter()
        .filter(is_evidence)
        .take(MAX_LIST)
        .map(|part| Attachment {
            content_type: part.head.kind.clone(),
            description: part.head.name.clone(),
            hash: String::new(),
            size: u64::try_from(part.encoded_len()).ok(),
        })
        .collect()
}

/// Evidence of XARF, and the header of a mail among it.
fn evidence(complaint: &mut Complaint, list: Option<&Node>) {
    for one in list.map(Node::each).unwrap_or_default().iter().take(MAX_LIST) {
        let kind = one.text_of(&["content_type", "ContentType"]).unwrap_or_default();
        let kind = words::line(&kind, 100).to_ascii_lowercase();
        let payload = one.first(&["payload", "Payload", "Data"]);
        let is_plain = one.get("Base64Encoded") == Some(&Node::Bool(false));
        let (kept, len) = match payload {
            Some(Node::Text(kept, len)) => (kept.as_str(), *len as u64),
            _ => ("", 0),
        };
        let size = one.count_of(&["size"]).or((len > 0).then_some(if is_plain { len } else { len / 4 * 3 }));
        complaint.evidence.push(Attachment {
            description: words::line(&one.text_of(&["description", "Description"]).unwrap_or_default(), 500),
            hash: words::line(&one.text_of(&["hash"]).unwrap_or_default(), 160),
            size,
            content_type: kind.clone(),
        });
        let is_mail = matches!(
            kind.as_str(),
            "message/rfc822" | "text/email" | "text/rfc822-headers" | "message/rfc822-headers"
        );
        if is_mail && complaint.header.is_empty() {
            let decoded = mail_parser::decoders::base64::base64_decode(kept.as_bytes()).filter(|_| !is_plain);
            let head = Head::read(decoded.as_deref().unwrap_or(kept.as_bytes()));
            complaint.header = head.map(|(head, _)| mime::kept(&head)).unwrap_or_default();
        }
    }
}

/// The text of a complaint.
fn text(text: &str) -> String {
    words::lines(text, MAX_TEXT)
}

/// A complaint of this format that came in this mail.
fn begun(format: Format, head: &Head) -> Complaint {
    let mut complaint = Complaint::new(format);
    came_by(&mut complaint, head);
    complaint
}
