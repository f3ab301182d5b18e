//! X-ARF 0.1 and 0.2: a mail with `X-XARF: PLAIN` (or `X-ARF: YES`), of which the second part is a list of keys in YAML.
//!
//! Nobody writes more of YAML into it than `key: value` on a line, so nothing more is read: no YAML library, and none of what may be done to one.

use reeve_policy::Timestamp;

use super::{attachments, begun, prose, takedown, text};
use crate::complaint::{Complaint, Format, Found};
use crate::kind::Kind;
use crate::mime::{self, Mail, Part};
use crate::refused::{Reason, Refused};
use crate::{source, when, words};

/// How many lines are read.
const MAX_LINES: usize = 200;

/// Reads the report in this mail; `None` if there is none.
pub(super) fn read(mail: &Mail<'_>, now: Timestamp) -> Option<Result<Complaint, Refused>> {
    let is_marked = ["X-XARF", "X-ARF"].iter().any(|name| mail.head.value(name).is_some());
    let parts = mail.parts.iter().filter(|part| part.head.kind.starts_with("text/"));
    let mut keys = parts.map(keys).filter(|keys| keys.has("report-type") && keys.has("source"));
    let found = keys.next();
    // Other letters may have lines that begin with the same words; the two together, and who reports, they have not.
    let keys = found.filter(|keys| is_marked || keys.has("reported-from") || keys.has("schema-url"));
    // Whoever marks a mail and has no report in it wrote a letter, as far as anybody can tell.
    keys.map(|keys| complaint(mail, &keys, now))
}

fn complaint(mail: &Mail<'_>, keys: &Keys, now: Timestamp) -> Result<Complaint, Refused> {
    let mut complaint = begun(Format::XArf02, &mail.head);
    let kind = keys.get("report-type").unwrap_or_default();
    complaint.kind = match Kind::of_words(kind) {
        Kind::Other => Kind::of_words(keys.get("category").unwrap_or_default()),
        known => known,
    };
    complaint.said = words::line(&format!("{}/{kind}", keys.get("category").unwrap_or("abuse")), 120);
    stated(
        &mut complaint,
        keys.get("source").unwrap_or_default(),
        keys.get("source-type").unwrap_or_default(),
    )?;
    complaint.seen_at = keys.get("date").map(|date| when::field(date, now)).transpose()?;
    complaint.protocol = words::line(keys.get("service").unwrap_or_default(), 60);
    // The port of 0.2 is that of the service which was attacked.
    complaint.target_port = keys.get("port").and_then(|port| port.parse().ok()).filter(|port| *port != 0);
    complaint.target = words::line(keys.get("destination").unwrap_or_default(), 253);
    complaint.incidents = keys.get("occurrences").and_then(|count| count.parse().ok());
    complaint.reported_id = keys.get("report-id").and_then(|id| words::some_line(id, 400));
    let reporter = mime::mailbox(keys.get("reported-from").unwrap_or_default());
    if !reporter.domain.is_empty() {
        let org = std::mem::take(&mut complaint.reporter.org);
        complaint.reporter = crate::Reporter { org, ..reporter };
    }
    complaint.text = text(&prose(mail));
    complaint.evidence = attachments(mail, &[]);
    let enclosed = mail.of_kind(&["message/rfc822", "text/rfc822-headers"]).next().and_then(Part::enclosed);
    complaint.header = enclosed.map(|head| mime::kept(&head)).unwrap_or_default();
    takedown::of_kind(&mut complaint);
    Ok(complaint)
}

/// The source: an address, a URL, a host, or somebody's mailbox.
fn stated(complaint: &mut Complaint, text: &str, kind: &str) -> Result<(), Refused> {
    if text.is_empty() {
        return Err(Reason::NoSource.with("Source is empty"));
    }
    match source::address(text) {
        Ok((network, port)) => {
            (complaint.source, complaint.port, complaint.found) = (Some(network), port, Found::Stated);
        }
        Err(refused) if refused.reason != Reason::BadSource || kind.starts_with("ip") => return Err(refused),
        Err(refused) => super::xarf4::named(complaint, text).ok_or(refused)?,
    }
    Ok(())
}

/// Keys in lower case, with their values.
struct Keys(Vec<(String, String)>);

impl Keys {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == key).map(|(_, value)| value.as_str())
    }

    fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }
}

fn keys(part: &Part<'_>) -> Keys {
    let text = part.text();
    let pairs = text.lines().take(MAX_LINES).filter_map(|line| {
        let (key, value) = line.split_once(':')?;
        let key = key.trim();
        let is_key = (1..=40).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let value = value.trim();
        let bare = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        // Behind a blank a number sign begins a comment (YAML 1.2, section 6.6).
        let value = bare.unwrap_or_else(|| value.split(" #").next().unwrap_or_default().trim_end());
        is_key.then(|| (key.to_ascii_lowercase(), words::line(value, 500)))
    });
    Keys(pairs.collect())
}
