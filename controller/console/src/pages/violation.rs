//! A violation with its evidence: what was counted, over which window, against which limit, at whom, and the headers of packets; what was decided upon it, where
//! that stands, and why it was this and nothing else.

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use prost_types::Timestamp as WireTime;
use reeve_policy::{Dossier, Explanation};
use reeve_proto::operator::v1::{
    Evidence, EvidenceHold, ExportEvidenceRequest, GetViolationRequest, GetViolationResponse,
    HoldEvidenceRequest, MeasureRecord,
};
use reeve_proto::types::v1::{self as types, Alert, Outcome, Violation};
use serde::Deserialize;
use tokio_stream::StreamExt as _;

use super::tenant_acts::verdict;
use crate::App;
use crate::error::Error;
use crate::forms::Signed;
use crate::page::{self, Base, Flash, address};
use crate::session::Session;
use crate::shown::{self, Badge, Decided};

/// Packet headers that are shown of each alert; all are in the file.
const SAMPLES: usize = 16;

/// Where it is.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/violations/{id}", get(show))
        .route("/violations/{id}/evidence.pcapng", get(download))
        .route("/violations/{id}/hold", post(hold))
}

/// A measured number beside its limit.
struct Number {
    name: String,
    seen: String,
    limit: String,
    is_over: bool,
    /// Who says so: the detector, the policy, the tenant's profile; empty where that is not told.
    from: &'static str,
}

/// One of those at whom it was aimed.
struct Aimed {
    target: String,
    outcome: &'static str,
    first: Option<WireTime>,
    last: Option<WireTime>,
}

/// The headers of a packet.
struct Sample {
    at: Option<WireTime>,
    from: String,
    to: String,
    bytes: u32,
    is_forged: bool,
}

/// An alert that is kept.
struct Seen {
    /// The key of the words for what it is: what opened the violation, what a decision rests on, or the latest.
    role: &'static str,
    decision: String,
    class: String,
    told: String,
    confidence: u32,
    is_suspicion: bool,
    from: Option<WireTime>,
    to: Option<WireTime>,
    seconds: String,
    lost: String,
    numbers: Vec<Number>,
    targets: Vec<Aimed>,
    samples: Vec<Sample>,
    more_samples: usize,
}

/// A decision, what it came to on the nodes, and why it was made.
struct Step {
    decided: Decided,
    measures: Vec<MeasureRecord>,
    why: Vec<(&'static str, String)>,
    otherwise: Vec<String>,
}

#[derive(Template)]
#[template(path = "violation.html")]
struct Shown {
    base: Base,
    violation: Violation,
    badge: Badge,
    class: String,
    is_suspicion: bool,
    tenant_name: String,
    case_id: String,
    hold: Option<EvidenceHold>,
    relay: Option<(String, &'static str, Option<WireTime>)>,
    seen: Vec<Seen>,
    steps: Vec<Step>,
    packets: usize,
    complaint: String,
}

impl Shown {
    fn at(&self, what: &str) -> String {
        address("/violations", &[&self.violation.id, what], &[])
    }

    /// All violations of the rule.
    fn of_rule(&self) -> String {
        address("/violations", &[], &[("rule", &self.violation.rule)])
    }

    /// Those of the tenant.
    fn of_tenant(&self) -> String {
        address("/violations", &[], &[("tenant", &self.violation.tenant), ("rule", &self.violation.rule)])
    }

    fn reason_word(&self, measure: &MeasureRecord) -> &'static str {
        match measure.lift_reason.as_str() {
            "expired" => "violation.lift_expired",
            "released" => "violation.lift_released",
            "departed" => "violation.lift_departed",
            "absent" => "violation.lift_absent",
            "verified" => "violation.lift_verified",
            _ => "shown.unknown",
        }
    }

    fn stopped(&self, measure: &MeasureRecord) -> String {
        let counters = measure.counters.unwrap_or_default();
        self.base.fill("violation.stopped", &[&counters.packets, &shown::bytes(counters.bytes)])
    }
}

async fn show(session: Session, Path(id): Path<String>) -> Result<Response, Error> {
    let answer = session.api().operator().get_violation(GetViolationRequest { id }).await?.into_inner();
    Ok(page::html(&page_of(session.base("violations"), answer)))
}

fn page_of(base: Base, answer: GetViolationResponse) -> Shown {
    let violation = answer.violation.clone().unwrap_or_default();
    let dossier = dossier(&answer);
    let alert = violation.evidence.clone().unwrap_or_default();
    let relay = answer.relay_checked.as_ref().and_then(|checked| {
        let told = checked.answer.as_ref()?;
        Some((told.server.clone(), verdict(told.verdict()), checked.time))
    });
    let complaint = dossier.as_ref().map(|dossier| {
        let name = Some(answer.tenant_name.as_str()).filter(|name| !name.is_empty());
        dossier.chosen().alert.complaint(name)
    });
    Shown {
        badge: shown::violation(violation.state()),
        class: shown::class(&base, &alert.class),
        is_suspicion: alert.suspicion,
        tenant_name: answer.tenant_name.clone(),
        case_id: answer.case_id.clone(),
        hold: answer.hold.clone(),
        relay,
        packets: answer
            .evidence
            .iter()
            .filter_map(|one| one.alert.as_ref())
            .map(|one| one.samples.len())
            .sum(),
        complaint: complaint.unwrap_or_default(),
        seen: seen(&base, &answer),
        steps: steps(&base, &answer, dossier.as_ref()),
        base,
        violation,
    }
}

/// The same in the vocabulary, for its sentences; `None` where it cannot be read.
fn dossier(answer: &GetViolationResponse) -> Option<Dossier> {
    let violation = reeve_policy::Violation::try_from(answer.violation.clone()?).ok()?;
    let kept = answer.evidence.iter().filter_map(|wire| {
        let decision = match wire.decision.as_str() {
            "" => None,
            id => Some(reeve_policy::DecisionId(id.parse().ok()?)),
        };
        Some(reeve_policy::Evidence { decision, alert: wire.alert.clone()?.try_into().ok()? })
    });
    let mut dossier = Dossier::from_kept(violation, kept.collect());
    let decisions =
        answer.decisions.iter().filter_map(|wire| reeve_policy::Decision::try_from(wire.clone()).ok());
    decisions.for_each(|decision| dossier.decide(&decision));
    Some(dossier)
}

/// What is kept of it, the latest first: that is what somebody on call asks for.
fn seen(base: &Base, answer: &GetViolationResponse) -> Vec<Seen> {
    let latest = answer.violation.as_ref().and_then(|violation| violation.evidence.as_ref());
    let mut kept: Vec<Evidence> = answer.evidence.clone();
    // A controller that keeps nothing tells the latest alert.
    if let (true, Some(alert)) = (kept.is_empty(), latest) {
        kept.push(Evidence { decision: String::new(), alert: Some(alert.clone()) });
    }
    let last = kept.len().saturating_sub(1);
    let with_role = |(number, one): (usize, &Evidence)| {
        let role = match (one.decision.is_empty(), number) {
            (false, _) => "violation.behind",
            (true, number) if number == last => "violation.latest",
            (true, 0) => "violation.opening",
            _ => "violation.later",
        };
        let decision = answer.decisions.iter().find(|decision| decision.id == one.decision);
        one.alert.as_ref().map(|alert| alert_of(base, role, alert, one, decision))
    };
    let mut all: Vec<Seen> = kept.iter().enumerate().filter_map(with_role).collect();
    all.reverse();
    all
}

fn alert_of(
    base: &Base,
    role: &'static str,
    alert: &Alert,
    kept: &Evidence,
    decision: Option<&types::Decision>,
) -> Seen {
    let span = match (alert.window_start_time, alert.window_end_time) {
        (Some(from), Some(to)) => {
            (to.seconds - from.seconds) as f64 + f64::from(to.nanos - from.nanos) / 1_000_000_000.0
        }
        _ => 0.0,
    };
    let loss = alert.loss.unwrap_or_default();
    let frames = loss.received.saturating_add(loss.dropped).max(1);
    let known = reeve_policy::Alert::try_from(alert.clone());
    Seen {
        role,
        decision: kept.decision.clone(),
        class: shown::class(base, &alert.class),
        told: known.map(|alert| alert.summary()).unwrap_or_default(),
        confidence: alert.confidence_percent,
        is_suspicion: alert.suspicion,
        from: alert.window_start_time,
        to: alert.window_end_time,
        seconds: shown::number(span),
        lost: shown::number(loss.dropped as f64 * 100.0 / frames as f64),
        numbers: alert.metrics.iter().map(|metric| number(metric, decision)).collect(),
        targets: alert.targets.iter().map(aimed).collect(),
        samples: alert.samples.iter().rev().take(SAMPLES).map(sample).collect(),
        more_samples: alert.samples.len().saturating_sub(SAMPLES),
    }
}

fn number(metric: &types::Metric, decision: Option<&types::Decision>) -> Number {
    let reckoned = decision.and_then(|decision| decision.reckoning.as_ref());
    let held = reckoned.and_then(|reckoning| reckoning.numbers.iter().find(|one| one.name == metric.name));
    let from = match held.map_or("", |held| held.from.as_str()) {
        "detector" => "violation.from_detector",
        "policy" => "violation.from_policy",
        "profile" => "violation.from_profile",
        "tenant" => "violation.from_tenant",
        "made" => "violation.from_made",
        _ => "",
    };
    Number {
        name: metric.name.replace('_', " "),
        seen: shown::number(metric.value),
        limit: metric.threshold.map(shown::number).unwrap_or_default(),
        is_over: metric.threshold.is_some_and(|limit| metric.value >= limit),
        from,
    }
}

fn aimed(wire: &types::TargetSeen) -> Aimed {
    let target = wire.target.clone().unwrap_or_default();
    let at = match (target.port, target.address.contains(':')) {
        (Some(port), true) => format!("[{}]:{port}/{}", target.address, target.protocol),
        (Some(port), false) => format!("{}:{port}/{}", target.address, target.protocol),
        (None, _) => format!("{} {}", target.address, target.protocol),
    };
    let outcome = match wire.outcome() {
        Outcome::Unspecified | Outcome::Unknown => "violation.outcome_unknown",
        Outcome::Answered => "violation.outcome_answered",
        Outcome::Productive => "violation.outcome_productive",
        Outcome::Empty => "violation.outcome_empty",
        Outcome::Aborted => "violation.outcome_aborted",
        Outcome::Refused => "violation.outcome_refused",
        Outcome::Silent => "violation.outcome_silent",
    };
    Aimed { target: at, outcome, first: wire.first_time, last: wire.last_time }
}

fn sample(wire: &types::HeaderSample) -> Sample {
    let known = reeve_policy::HeaderSample::try_from(wire.clone()).ok();
    let ends = known.as_ref().map(|one| (one.source(), one.target()));
    let (source, target) = ends.unwrap_or_default();
    Sample {
        at: wire.time,
        from: source.map(|source| source.to_string()).unwrap_or_default(),
        to: target.map(|target| target.to_string()).unwrap_or_default(),
        bytes: wire.wire_bytes,
        is_forged: wire.forged,
    }
}

fn steps(base: &Base, answer: &GetViolationResponse, dossier: Option<&Dossier>) -> Vec<Step> {
    let explanation = dossier.map(|dossier| Explanation::new(&dossier.violation, dossier.decisions()));
    let step = |wire: &types::Decision| {
        let explained = explanation
            .as_ref()
            .and_then(|all| all.decisions.iter().find(|one| one.decision.0.as_str() == wire.id));
        Step {
            decided: shown::decided(base, wire),
            measures: answer.measures.iter().filter(|one| one.decision == wire.id).cloned().collect(),
            why: explained
                .map(|one| one.told.iter().map(|line| (line.about, line.text.clone())).collect())
                .unwrap_or_default(),
            otherwise: explained.map(|one| one.otherwise.clone()).unwrap_or_default(),
        }
    };
    answer.decisions.iter().map(step).collect()
}

/// The packet headers as a file, as they come from the controller: nothing is gathered here.
async fn download(session: Session, Path(id): Path<String>) -> Result<Response, Error> {
    let request = ExportEvidenceRequest { violation: id.clone(), ..ExportEvidenceRequest::default() };
    let mut stream = session.api().operator().export_evidence(request).await?.into_inner();
    // What is refused is told on a page, and is no file.
    let first = stream.message().await?.unwrap_or_default();
    let chunks = tokio_stream::iter([Ok(first)]).chain(stream).map(|one| one.map(|part| part.chunk));
    // Keys are letters, digits and a few signs; whatever else stands there does not leave the header.
    let name: String =
        id.chars().filter(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(*letter)).collect();
    let headers = [
        (header::CONTENT_TYPE, "application/x-pcapng".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"reeve-{name}.pcapng\"")),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Keep {
    reason: String,
    end: String,
}

async fn hold(
    session: Session,
    Path(id): Path<String>,
    Signed(keep): Signed<Keep>,
) -> Result<Response, Error> {
    let back = address("/violations", &[&id], &[]);
    let end = !keep.end.is_empty();
    if !end && keep.reason.trim().is_empty() {
        let text = session.base("").t("shown.reason_needed").to_owned();
        return Ok(session.back(&back, &Flash { is_wrong: true, text }));
    }
    let request = HoldEvidenceRequest { violation: id, reason: keep.reason, end };
    let came = session.api().operator().hold_evidence(request).await;
    session.done(came, &back, if end { "violation.is_let_go" } else { "violation.is_held" })
}
