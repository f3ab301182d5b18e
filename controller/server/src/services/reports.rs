//! Violations as reports to others, in the formats of `reeve_reports`.
//!
//! Told is what the alert behind the latest decision measured. Left out is what the customer is called, by us or by itself: whoever reads a
//! report knows an address and not whose it is.

use std::net::IpAddr;

use reeve_policy::{Alert, Class, Dossier, Protocol};
use reeve_proto::operator::v1::export_report_request::Format;
use reeve_proto::operator::v1::{ExportReportRequest, ExportReportResponse};
use reeve_reports::{Contact, Facts, Seen, arf, xarf};
use tonic::Status;

use super::House;
use super::evidence::{Whole, whole};
use crate::refusal::Reason;
use crate::store::Sight;

/// What whoever did it is called in a report.
const SOMEBODY: &str = "of ours";
/// What is said where the source is an address that nobody saw.
const NO_PACKET: &str =
    " No packet of the customer's own was kept: the source that is named is the first of its addresses.";
/// The number that no protocol has (IANA: reserved), for what was seen without headers and targets.
const NO_PROTOCOL: Protocol = Protocol::Other(255);

/// A violation, as a report.
pub(super) async fn export(
    house: &House,
    sight: Sight,
    request: ExportReportRequest,
) -> Result<ExportReportResponse, Status> {
    let format = Format::try_from(request.format);
    let format = format.map_err(|_| Reason::InvalidField.status("format: xarf or arf"))?;
    let Whole { dossier, .. } = whole(house, "violation", &request.violation, sight).await?;
    let cannot = |text: String| Reason::PreconditionFailed.status(text);
    let reporter = house.reporter.as_deref().ok_or_else(|| {
        cannot("the controller's settings do not say who reports ([reports] in controller.toml)".to_owned())
    })?;
    let facts = facts(house, &dossier, reporter).ok_or_else(|| {
        cannot(format!("no address of {} is known, so nothing can be reported", dossier.violation.tenant))
    })?;
    let class = facts.class;
    let (report, media_type) = match format {
        Format::Unspecified | Format::Xarf => {
            let report = xarf(&facts).and_then(|report| serde_json::to_vec_pretty(&report).ok());
            let report = report.ok_or_else(|| cannot(format!("nobody is told of `{class}`")))?;
            (report, "application/json")
        }
        Format::Arf => {
            let report = arf(&facts);
            let report = report
                .ok_or_else(|| cannot(format!("ARF is about mail, and `{class}` is not: ask for XARF")))?;
            (report, "message/rfc822")
        }
    };
    Ok(ExportReportResponse { report, media_type: media_type.to_owned() })
}

/// What is told to others; `None` where no address is known.
fn facts(house: &House, dossier: &Dossier, reporter: &Contact) -> Option<Facts> {
    let violation = &dossier.violation;
    let alert = dossier.chosen().alert;
    let mut kept = dossier.all();
    kept.reverse();
    let told: Vec<&Alert> = std::iter::once(&alert).chain(kept.iter().map(|one| &one.alert)).collect();
    let source = told.iter().find_map(|alert| alert.sources().first().copied());
    let sample = source.and_then(|source| {
        let from = |alert: &&Alert| {
            let mut samples = alert.samples.iter();
            samples.find(|sample| !sample.is_forged && sample.source() == Some(source)).cloned()
        };
        told.iter().find_map(from)
    });
    let mut summary = alert.complaint(Some(SOMEBODY));
    let source = match source {
        Some(source) => source,
        None => {
            summary.push_str(NO_PACKET);
            own_address(house, dossier)?
        }
    };
    let seen = sample.as_ref().and_then(reeve_policy::HeaderSample::target).map(|target| target.protocol);
    let tried = alert.targets.first().map(|seen| seen.target.protocol);
    let protocol = seen.or(tried).unwrap_or(match alert.class {
        Class::Spam | Class::SpamMailbomb | Class::SmtpRelay => Protocol::Tcp,
        _ => NO_PROTOCOL,
    });
    let counts = alert.metrics.iter().map(|metric| (metric.name.to_string(), metric.value)).collect();
    let targets = alert.targets.iter();
    let targets = targets.map(|seen| Seen { target: seen.target, first: seen.first, last: seen.last });
    Some(Facts {
        id: violation.id.to_string(),
        class: alert.class,
        clause: violation.clause.clone(),
        source,
        source_port: sample.and_then(|sample| sample.source_port()),
        protocol,
        first_seen: violation.opened.min(alert.window.start),
        last_seen: violation.last_seen.max(alert.window.end),
        confidence_percent: alert.confidence_percent,
        counts,
        targets: targets.collect(),
        summary,
        mail_from: None,
        reporter: reporter.clone(),
        on_behalf_of: None,
    })
}

/// The first of a tenant's addresses, a single one before those of prefixes.
fn own_address(house: &House, dossier: &Dossier) -> Option<IpAddr> {
    let snapshot = house.directory.snapshot();
    let tenant = snapshot.tenants.by_id(&dossier.violation.tenant)?;
    let single = tenant.addresses.iter().find(|one| one.prefix_len() == one.max_prefix_len());
    single.or(tenant.addresses.first()).map(ipnet::IpNet::addr)
}
