//! XARF 4: one JSON object, in seven categories. Fields that none of its schemas requires may be missing or of another type; those that say
//! what it is about may not.

use reeve_policy::Timestamp;

use super::{evidence, takedown, text};
use crate::complaint::{Complaint, Field, Format, Found, MAX_LINE, MAX_LIST, Reporter};
use crate::json::Node;
use crate::kind::Kind;
use crate::mime;
use crate::refused::{Reason, Refused};
use crate::{source, when, words};

/// Fields with URLs of what is complained about; those of victims and of originals are not among them.
const URLS: [&str; 5] = ["url", "urls", "infringing_url", "infringing_urls", "submission_url"];

/// Whether it says that it is XARF 4. Drafts of it had `class` for the category.
pub(super) fn is(node: &Node) -> bool {
    node.get("xarf_version").is_some()
        || (node.get("source_identifier").is_some() && node.get("type").is_some())
}

/// Reads one report.
pub(super) fn read(node: &Node, now: Timestamp) -> Result<Complaint, Refused> {
    let version = node.text_of(&["xarf_version"]).unwrap_or_default();
    if !version.is_empty() && !version.starts_with('4') {
        return Err(Reason::NotXarf.with(format!("version {version}")));
    }
    let mut complaint = Complaint::new(Format::Xarf4);
    let missing = |name| Reason::FieldMissing.with(name);
    let category = node.text_of(&["category", "class"]).ok_or_else(|| missing("category"))?;
    let kind = node.text_of(&["type"]).ok_or_else(|| missing("type"))?;
    complaint.kind = Kind::of_xarf4(&category, &kind);
    complaint.said = words::line(&format!("{category}/{kind}"), 120);
    for url in URLS.iter().filter_map(|name| node.get(name)).flat_map(Node::each).filter_map(Node::text) {
        if let Some(url) = source::url(&url) {
            source::add(&mut complaint.urls, url);
        }
    }
    source_of(&mut complaint, node.text_of(&["source_identifier"]))?;
    complaint.port = node.port_of(&["source_port"]).or(complaint.port);
    complaint.target =
        words::line(&node.text_of(&["destination_ip", "destination"]).unwrap_or_default(), 253);
    complaint.target_port = node.port_of(&["destination_port"]);
    complaint.protocol =
        words::line(&node.text_of(&["protocol", "service", "p2p_protocol"]).unwrap_or_default(), 60);
    let time = node.text_of(&["timestamp", "first_seen"]);
    complaint.seen_at = time.map(|time| when::field(&time, now)).transpose()?;
    complaint.incidents = node.count_of(&[
        "attempt_count",
        "attack_count",
        "total_requests",
        "total_probes",
        "recipient_count",
    ]);
    complaint.confidence_percent = match node.get("confidence") {
        Some(Node::Number(share)) if (0.0..=1.0).contains(share) => Some((share * 100.0).round() as u8),
        _ => None,
    };
    complaint.reporter = node.get("reporter").or_else(|| node.get("sender")).map(contact).unwrap_or_default();
    complaint.reported_id = node.text_of(&["report_id"]).and_then(|id| words::some_line(&id, 400));
    complaint.text = text(&node.text_of(&["description"]).unwrap_or_default());
    evidence(&mut complaint, node.get("evidence"));
    for (name, key) in [("Return-Path", "smtp_from"), ("Subject", "subject"), ("Message-ID", "message_id")] {
        let is_there = complaint.header.iter().any(|field| field.name.eq_ignore_ascii_case(name));
        if let Some(value) = node.text_of(&[key]).filter(|_| !is_there) {
            complaint.header.push(Field { name: name.into(), value: words::line(&value, MAX_LINE) });
        }
    }
    takedown::of_kind(&mut complaint);
    Ok(complaint)
}

/// What `source_identifier` of XARF 4, and its like in XARF 3, say; without one a URL does.
pub(super) fn source_of(complaint: &mut Complaint, stated: Option<String>) -> Result<(), Refused> {
    match stated {
        Some(stated) => match source::address(&stated) {
            Ok((network, port)) => {
                (complaint.source, complaint.port, complaint.found) = (Some(network), port, Found::Stated);
            }
            Err(refused) if refused.reason != Reason::BadSource => return Err(refused),
            Err(refused) => named(complaint, &stated).ok_or(refused)?,
        },
        None if complaint.urls.is_empty() => return Err(Reason::NoSource.with("")),
        None => {
            let address = complaint.urls.iter().find_map(|url| source::address_of_url(url));
            (complaint.source, complaint.found) =
                (address, address.map_or(Found::Nowhere, |_| Found::Stated));
            let hosts: Vec<_> =
                complaint.urls.iter().filter_map(|url| source::host(source::authority(url)?)).collect();
            hosts.into_iter().for_each(|host| source::add(&mut complaint.hosts, host));
        }
    }
    complaint.urls.truncate(MAX_LIST);
    Ok(())
}

/// A source that is named by a URL, a host or a mailbox; `None` if it is neither.
pub(super) fn named(complaint: &mut Complaint, text: &str) -> Option<()> {
    if let Some(url) = source::url(text) {
        complaint.source = source::address_of_url(&url);
        complaint.found = complaint.source.map_or(Found::Nowhere, |_| Found::Stated);
        if let Some(host) = source::authority(&url).and_then(source::host) {
            source::add(&mut complaint.hosts, host);
        }
        source::add(&mut complaint.urls, url);
        return Some(());
    }
    let host = text.rsplit('@').next().and_then(source::host)?;
    source::add(&mut complaint.hosts, host);
    Some(())
}

/// A contact: `org`, `contact`, `domain`.
fn contact(node: &Node) -> Reporter {
    let mailbox = mime::mailbox(&node.text_of(&["contact", "email"]).unwrap_or_default());
    let domain = node.text_of(&["domain"]).and_then(|domain| source::host(&domain)).unwrap_or(mailbox.domain);
    Reporter {
        org: words::line(&node.text_of(&["org"]).unwrap_or_default(), 200),
        email: mailbox.email,
        domain,
    }
}
