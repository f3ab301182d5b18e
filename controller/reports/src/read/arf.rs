//! ARF (RFC 5965), with the fields of RFC 6591 (authentication), RFC 6692 (ports) and what RFC 6590 redacts.
//!
//! Fields that are wrong do not make a report worthless: mail systems send ARF by the million, and nobody there reads an answer. Only the
//! source must be known, and where the field for it is missing it is sought in what the reporter's own server wrote on top of the mail
//! that is complained about, and in the report's words.

use std::net::IpAddr;

use ipnet::IpNet;
use reeve_policy::Timestamp;

use super::{Reading, attachments, begun, plain, prose, takedown, text};
use crate::complaint::{Complaint, Field, Format, Found, MAX_FIELDS, MAX_LIST};
use crate::kind::Kind;
use crate::mime::{self, Head, Mail, Part};
use crate::refused::{Reason, Refused};
use crate::{source, when, words};

/// The types of the third part, and those that are sent in its place.
const ENCLOSED: [&str; 5] = [
    "message/rfc822",
    "text/rfc822-headers",
    "message/rfc822-headers",
    "message/global",
    "message/global-headers",
];

/// How many servers of the reporter's a mail may have passed.
const MAX_HOPS: usize = 5;

/// Reads the report in `part`: one complaint for each source that it names.
pub(super) fn read(mail: &Mail<'_>, part: &Part<'_>, now: Timestamp) -> Result<Reading, Refused> {
    let bytes = part.first_bytes();
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(bytes.len());
    let report = Head::read(&bytes[start..]).map(|(head, _)| head).unwrap_or_default();
    let enclosed = mail.of_kind(&ENCLOSED).next().and_then(Part::enclosed).unwrap_or_default();
    let mut complaint = begun(Format::Arf, &mail.head);
    fields(&mut complaint, &report, now)?;
    complaint.text = text(&prose(mail));
    complaint.header = mime::kept(&enclosed);
    for name in ["Authentication-Results", "Original-Mail-From", "Auth-Failure", "Delivery-Result"] {
        for value in report.values(name).take(4) {
            complaint.header.push(Field { name: name.into(), value: value.to_owned() });
        }
    }
    let mut but = ENCLOSED.to_vec();
    but.push("message/feedback-report");
    complaint.header.truncate(MAX_FIELDS);
    complaint.evidence = attachments(mail, &but);
    takedown::of_kind(&mut complaint);
    let mut reading = Reading::default();
    for stated in report.values("Source-IP").take(MAX_LIST) {
        // Some write a comment behind it, or a list.
        let first = stated.split([' ', ',', ';', '(']).next().unwrap_or_default();
        reading.push(source::address(first).map(|(network, port)| Complaint {
            source: Some(network),
            found: Found::Stated,
            port: complaint.port.or(port),
            ..complaint.clone()
        }));
    }
    reading.complaints.dedup_by_key(|complaint| complaint.source);
    if reading.complaints.is_empty() && reading.refused.is_empty() {
        reading.push(unstated(complaint, &enclosed));
    }
    reading.or_refused()
}

fn fields(complaint: &mut Complaint, report: &Head, now: Timestamp) -> Result<(), Refused> {
    complaint.said = words::line(report.value("Feedback-Type").unwrap_or_default(), 60);
    // RFC 5965, section 7.3: what says nothing is about mail all the same.
    complaint.kind = match complaint.said.as_str() {
        "" => Kind::Spam,
        said => Kind::of_words(said),
    };
    complaint.protocol = "smtp".into();
    complaint.port = report.value("Source-Port").and_then(|port| port.parse().ok()).filter(|port| *port != 0);
    complaint.incidents = report.value("Incidents").and_then(|value| value.parse().ok());
    // RFC 5965, section 3.2: it had the other name before.
    let arrival = report.value("Arrival-Date").or_else(|| report.value("Received-Date"));
    match arrival.map(|arrival| when::field(arrival, now)) {
        Some(Ok(at)) => complaint.seen_at = Some(at),
        Some(Err(refused)) if refused.reason == Reason::Future => return Err(refused),
        _ => {}
    }
    for uri in report.values("Reported-URI").filter_map(source::url) {
        source::add(&mut complaint.urls, uri);
    }
    for host in report.values("Reported-Domain").filter_map(source::host) {
        source::add(&mut complaint.hosts, host);
    }
    Ok(())
}

/// A report that does not state its source.
fn unstated(mut complaint: Complaint, enclosed: &Head) -> Result<Complaint, Refused> {
    if let Some(network) = handed_over(enclosed) {
        (complaint.source, complaint.found) = (Some(network), Found::InHeader);
        return Ok(complaint);
    }
    let said = format!("{}\n{}", complaint.subject, complaint.text);
    plain::choose(&mut complaint, &said);
    if complaint.source.is_none() && complaint.urls.is_empty() && complaint.hosts.is_empty() {
        return Err(Reason::NoSource.with("no Source-IP, and nothing in its place"));
    }
    Ok(complaint)
}

/// Who handed a mail over, by what the reporter's servers wrote on top of it.
///
/// Fields are written from below, so those on top are the reporter's, and whoever sent the mail may have made up those further down: the
/// first counts that names an address of somebody else's network. Mail that is handed on within one has private addresses or none.
pub(super) fn handed_over(enclosed: &Head) -> Option<IpNet> {
    enclosed.values("Received").take(MAX_HOPS).find_map(|received| {
        let from = received.split(" by ").next().unwrap_or_default();
        plain::addresses(from).into_iter().find(|network| {
            let is_single = network.prefix_len() == network.max_prefix_len();
            is_single && !is_private(network.addr())
        })
    })
}

/// RFC 1918, RFC 4193 and what never leaves a host or link.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_unique_local() || address.is_loopback() || address.is_unicast_link_local()
        }
    }
}
