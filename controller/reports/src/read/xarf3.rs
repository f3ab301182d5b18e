//! XARF 1 to 3: JSON with `ReporterInfo` and `Report`, in the spelling of the schemas of 3 and of the samples that are older or newer.

use reeve_policy::Timestamp;

use super::{evidence, takedown, text, xarf4};
use crate::complaint::{Complaint, Field, Format, MAX_LINE, Reporter};
use crate::json::Node;
use crate::kind::Kind;
use crate::mime;
use crate::refused::{Reason, Refused};
use crate::{source, when, words};

/// Whether it has what all of them have.
pub(super) fn is(node: &Node) -> bool {
    node.get("Report").is_some() && (node.get("ReporterInfo").is_some() || node.get("Version").is_some())
}

/// Reads one report.
pub(super) fn read(node: &Node, now: Timestamp) -> Result<Complaint, Refused> {
    let report = node.get("Report").filter(|report| matches!(report, Node::Map(_)));
    let report = report.ok_or_else(|| Reason::FieldMissing.with("Report"))?;
    let more = report.get("AdditionalInfo").unwrap_or(&Node::Null);
    let from = report.get("Source").unwrap_or(&Node::Null);
    let mut complaint = Complaint::new(Format::Xarf3);
    let kind = report.text_of(&["ReportType"]).ok_or_else(|| Reason::FieldMissing.with("ReportType"))?;
    let class = report.text_of(&["ReportClass"]).unwrap_or_default();
    complaint.kind = Kind::of_words(&kind);
    complaint.said = words::line(&format!("{class}/{kind}"), 120);
    let urls = [
        report.text_of(&["Url", "SourceUrl", "InfringingUrl"]),
        from.text_of(&["URL"]),
        more.text_of(&["URL"]),
    ];
    for url in urls.iter().flatten().filter_map(|url| source::url(url)) {
        source::add(&mut complaint.urls, url);
    }
    let stated = report.text_of(&["SourceIp", "Source"]).or_else(|| from.text_of(&["IP", "Ip", "URL"]));
    xarf4::source_of(&mut complaint, stated)?;
    let port = from.port_of(&["Port"]).or_else(|| report.port_of(&["SourcePort"]));
    complaint.port = port.or(complaint.port);
    let target = report.text_of(&["DestinationIp"]).or_else(|| more.text_of(&["DestinationIP"]));
    complaint.target = words::line(&target.unwrap_or_default(), 253);
    complaint.target_port =
        report.port_of(&["DestinationPort"]).or_else(|| more.port_of(&["DestinationPort"]));
    let protocol = report.text_of(&["Protocol"]).or_else(|| more.text_of(&["Protocol"]));
    complaint.protocol = words::line(&protocol.unwrap_or_default(), 60);
    let time = report.text_of(&["Date", "FirstSeen", "LastSeen"]);
    complaint.seen_at = time.map(|time| when::field(&time, now)).transpose()?;
    complaint.incidents = report.count_of(&["AttackCount", "Occurrences"]);
    let info = node.get("ReporterInfo").unwrap_or(&Node::Null);
    complaint.reporter = reporter(info);
    let id =
        report.text_of(&["ReportId", "ReportID", "Id"]).or_else(|| node.text_of(&["ReportId", "ReportID"]));
    complaint.reported_id = id.and_then(|id| words::some_line(&id, 400));
    let said = report.text_of(&["AttackDescription", "Description", "InfringedMaterial", "AdditionalInfo"]);
    complaint.text = text(&said.unwrap_or_default());
    evidence(&mut complaint, report.first(&["Samples", "Attachment"]));
    let sender = report.text_of(&["SmtpMailFromAddress"]).or_else(|| more.text_of(&["SMTPFrom"]));
    let subject = report.text_of(&["SmtpMessageSubject"]).or_else(|| more.text_of(&["Subject"]));
    for (name, value) in [("Return-Path", sender), ("Subject", subject)] {
        let is_there = complaint.header.iter().any(|field| field.name.eq_ignore_ascii_case(name));
        if let Some(value) = value.filter(|_| !is_there) {
            complaint.header.push(Field { name: name.into(), value: words::line(&value, MAX_LINE) });
        }
    }
    takedown::of_kind(&mut complaint);
    Ok(complaint)
}

fn reporter(info: &Node) -> Reporter {
    let mailbox =
        mime::mailbox(&info.text_of(&["ReporterContactEmail", "ReporterOrgEmail"]).unwrap_or_default());
    let domain = info.text_of(&["ReporterOrgDomain"]).and_then(|domain| source::host(&domain));
    Reporter {
        org: words::line(&info.text_of(&["ReporterOrg"]).unwrap_or_default(), 200),
        email: mailbox.email,
        domain: domain.unwrap_or(mailbox.domain),
    }
}
