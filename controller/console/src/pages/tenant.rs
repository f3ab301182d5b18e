//! A tenant: where it stands and why, what holds it on which node until when, what happened, and what can be done about it.
//!
//! The page is made of a bounded number of calls, all of them at once: one a section, and one a month of traffic. Past measures are told by the notices of them:
//! the controller has no list of a tenant's measures.

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use prost_types::Timestamp as WireTime;
use reeve_policy::Month;
use reeve_proto::operator::v1::{
    Approval, Case, GetStandingRequest, GetStandingResponse, GrantedExemption, ListApprovalsRequest,
    ListApprovalsResponse, ListCasesRequest, ListExemptionsRequest, ListNoticesRequest,
    ListSuspensionsRequest, ListTenantsRequest, ListUsageRequest, ListUsageResponse, ListViolationsRequest,
    NoticeEntry, SuspensionEntry, UsageEntry, WaitingOrder,
};
use reeve_proto::status::v1::get_status_request::Subject;
use reeve_proto::status::v1::{GetStatusRequest, GetStatusResponse};
use reeve_proto::types::v1::{NoticeKind, Tenant as WireTenant, Violation};
use tonic::Status;

use super::tenant_acts;
use crate::App;
use crate::chart::{self, Column, Kind, Lane, Mark, Timeline};
use crate::error::Error;
use crate::page::{self, Base, address};
use crate::session::Session;
use crate::shown::{self, Badge, Decided};

/// How far the picture goes back, in seconds.
const SPAN: i64 = 90 * 86_400;
/// So many violations are drawn.
const DRAWN: i32 = 500;
/// So many rows are in a table; the rest is a link away.
const ROWS: usize = 15;
/// So many months of traffic are shown.
const MONTHS: usize = 6;
/// Addresses, ports and the like of a tenant that are shown; the rest is counted.
const SELECTORS: usize = 24;

/// Where it is.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/tenants/{id}", get(show)).merge(tenant_acts::routes())
}

/// Something that holds the tenant.
struct Hold {
    decided: Decided,
    since: Option<WireTime>,
    until: Option<WireTime>,
    nodes: Vec<String>,
}

/// A violation as a row.
struct Row {
    wire: Violation,
    badge: Badge,
    class: String,
    is_suspicion: bool,
}

/// Strikes under a rule.
struct Strikes {
    rule: String,
    count: u32,
    last: Option<WireTime>,
    nodes: String,
}

/// What it may do though a clause forbids it.
struct Exempt {
    /// The key, of one that operators granted.
    key: String,
    line: String,
    badge: Badge,
    holds: bool,
    reason: String,
    by: String,
    granted: Option<WireTime>,
}

/// A month of traffic.
struct Traffic {
    month: String,
    inward: String,
    outward: String,
    both: String,
    /// What of the plan is used; empty without one.
    share: String,
}

#[derive(Template)]
#[template(path = "tenant.html")]
struct Tenant {
    base: Base,
    id: String,
    status: GetStatusResponse,
    badge: Badge,
    tenant: WireTenant,
    holds: Vec<Hold>,
    waiting: Vec<WaitingOrder>,
    approvals: Vec<Approval>,
    timeline: String,
    is_quiet: bool,
    violations: Vec<Row>,
    /// How many of them the picture and the table are of, and whether there are more.
    counted: usize,
    is_more: bool,
    cases: Vec<(Case, Badge, bool)>,
    strikes: Vec<Strikes>,
    known_for: Vec<String>,
    exempt: Vec<Exempt>,
    traffic: Vec<Traffic>,
    traffic_picture: String,
    suspended: Option<(String, u32)>,
    notices: Vec<(NoticeEntry, &'static str)>,
    /// Keys of the forms on the page.
    key: String,
}

impl Tenant {
    /// A path below the tenant's own.
    fn at(&self, act: &str) -> String {
        address("/tenants", &[&self.id, act], &[])
    }

    /// A list of another page, of this tenant alone.
    fn list(&self, place: &str) -> String {
        address(place, &[], &[("tenant", &self.id)])
    }

    /// All its cases, those that are closed too.
    fn all_cases(&self) -> String {
        address("/cases", &[], &[("tenant", &self.id), ("state", "all")])
    }

    /// Its violations under a rule.
    fn under(&self, rule: &str) -> String {
        address("/violations", &[], &[("tenant", &self.id), ("rule", rule)])
    }

    /// What tells its packets from others', each with the key of its word; long lists are cut.
    fn selectors(&self) -> Vec<(&'static str, String, usize)> {
        let lists = [
            ("tenant.addresses", &self.tenant.addresses),
            ("tenant.interfaces", &self.tenant.interfaces),
            ("tenant.macs", &self.tenant.macs),
            ("tenant.contacts", &self.tenant.contacts),
        ];
        let shown = |list: &Vec<String>| list.iter().take(SELECTORS).cloned().collect::<Vec<_>>().join(" ");
        lists
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(key, list)| (key, shown(list), list.len().saturating_sub(SELECTORS)))
            .collect()
    }

    /// Whether anything holds it, or is to.
    fn is_held(&self) -> bool {
        !self.holds.is_empty() || self.waiting.iter().any(|one| one.kind == "impose")
    }

    /// Whether an unpaid invoice is among what holds it.
    fn is_unpaid(&self) -> bool {
        use reeve_proto::status::v1::hold::Cause;
        self.status.holds.iter().any(|hold| hold.cause() == Cause::Billing)
    }
}

async fn show(session: Session, Path(id): Path<String>) -> Result<Response, Error> {
    let now = reeve_now();
    let api = session.api();
    let subject = GetStatusRequest { subject: Some(Subject::Tenant(id.clone())) };
    let entry = ListTenantsRequest { tenant: id.clone(), page_size: 1, ..ListTenantsRequest::default() };
    let standing = GetStandingRequest { tenant: id.clone() };
    let violations = ListViolationsRequest {
        tenant: id.clone(),
        since: Some(WireTime { seconds: now.saturating_sub(SPAN), nanos: 0 }),
        page_size: DRAWN,
        ..ListViolationsRequest::default()
    };
    let cases = ListCasesRequest {
        tenant: id.clone(),
        include_closed: true,
        page_size: ROWS as i32,
        ..ListCasesRequest::default()
    };
    let exemptions =
        ListExemptionsRequest { tenant: id.clone(), page_size: 100, ..ListExemptionsRequest::default() };
    let notices = ListNoticesRequest { tenant: id.clone(), page_size: 200, ..ListNoticesRequest::default() };
    let suspensions = ListSuspensionsRequest { tenant: id.clone(), ..ListSuspensionsRequest::default() };
    let months = months(now);
    let usage = |number: usize| {
        let month = months[number].clone();
        let mut client = api.operator();
        let request =
            ListUsageRequest { month, tenant: id.clone(), page_size: 1, ..ListUsageRequest::default() };
        async move { client.list_usage(request).await }
    };
    let (mut operator, mut lists, mut told) = (api.operator(), api.operator(), api.operator());
    let (mut more, mut status, mut standings) = (api.operator(), api.status(), api.standing());
    let (mut exempted, mut case_client, mut approvals) = (api.standing(), api.cases(), api.approvals());
    let answers = tokio::join!(
        status.get_status(subject),
        operator.list_tenants(entry),
        standings.get_standing(standing),
        lists.list_violations(violations),
        case_client.list_cases(cases),
        exempted.list_exemptions(exemptions),
        told.list_notices(notices),
        more.list_suspensions(suspensions),
        approvals.list_approvals(ListApprovalsRequest { all: false }),
        async { tokio::join!(usage(0), usage(1), usage(2), usage(3), usage(4), usage(5)) },
    );
    let (status, entry, standing, violations, cases, exemptions, notices, suspensions, approvals, usage) =
        answers;
    let status = status?.into_inner();
    let tenant = entry?.into_inner().tenants.pop().and_then(|entry| entry.tenant).unwrap_or_default();
    let standing = standing?.into_inner();
    let violations = violations?.into_inner();
    let notices = notices?.into_inner().notices;
    let base = session.base("tenants");
    let (u0, u1, u2, u3, u4, u5) = usage;
    let (traffic, traffic_picture) = traffic(&base, &months, [u0, u1, u2, u3, u4, u5], &tenant)?;
    let picture = timeline(&base, now, &violations.violations, &standing, &notices);
    let now_time = WireTime { seconds: now, nanos: 0 };
    let is_late = |case: &Case| case.deadline.as_ref().is_some_and(|at| at.seconds < now_time.seconds);
    let cases = cases?.into_inner().cases.into_iter();
    let suspended = suspensions?.into_inner().entries.pop().filter(|one| one.times > 0);
    let page = Tenant {
        badge: shown::standing(status.state()),
        holds: standing.holds.iter().map(|hold| held(&base, hold)).collect(),
        waiting: standing.waiting_orders.clone(),
        approvals: waiting_for(approvals?.into_inner(), &id),
        is_quiet: picture.is_empty(),
        timeline: picture.svg(),
        counted: violations.violations.len(),
        is_more: !violations.next_page_token.is_empty(),
        violations: violations.violations.into_iter().take(ROWS).map(|one| row(&base, one)).collect(),
        cases: cases.map(|case| (case.clone(), shown::case(case.state()), is_late(&case))).collect(),
        strikes: standing.strikes.iter().map(strikes).collect(),
        known_for: standing.known_offender.iter().map(|class| shown::class(&base, class)).collect(),
        exempt: exempt(&standing, exemptions?.into_inner().exemptions),
        suspended: suspended.map(|one: SuspensionEntry| {
            (shown::span_of(one.suspended.map_or(0, |span| span.seconds)), one.times)
        }),
        notices: notices.into_iter().take(ROWS).map(with_kind).collect(),
        key: shown::fresh_key(),
        base,
        id: status.tenant.clone(),
        status,
        tenant,
        traffic,
        traffic_picture,
    };
    Ok(page::html(&page))
}

/// Now, in seconds of Unix time.
pub(super) fn reeve_now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn row(base: &Base, wire: Violation) -> Row {
    let evidence = wire.evidence.as_ref();
    Row {
        badge: shown::violation(wire.state()),
        class: shown::class(base, evidence.map_or("", |alert| &alert.class)),
        is_suspicion: evidence.is_some_and(|alert| alert.suspicion),
        wire,
    }
}

fn with_kind(entry: NoticeEntry) -> (NoticeEntry, &'static str) {
    let kind = entry.notice.as_ref().map_or(NoticeKind::Unspecified, |notice| notice.kind());
    (entry, shown::notice(kind))
}

fn held(base: &Base, hold: &reeve_proto::operator::v1::StandingHold) -> Hold {
    Hold {
        decided: hold.decision.as_ref().map(|decision| shown::decided(base, decision)).unwrap_or_default(),
        since: hold.since_time,
        until: hold.until_time,
        nodes: hold.nodes.clone(),
    }
}

fn strikes(rule: &reeve_proto::operator::v1::StrikesByRule) -> Strikes {
    let mut nodes: Vec<&str> = rule.episodes.iter().map(|one| one.node.as_str()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    Strikes {
        rule: rule.rule.clone(),
        count: rule.strikes,
        last: rule.episodes.last().and_then(|one| one.open_time),
        nodes: nodes.join(" "),
    }
}

/// What the entry says and what operators granted, each once: of the latter the list knows by whom and why.
fn exempt(standing: &GetStandingResponse, granted: Vec<GrantedExemption>) -> Vec<Exempt> {
    let line = |wire: &reeve_proto::types::v1::Exemption| {
        let known = reeve_policy::Exemption::try_from(wire.clone());
        known.map_or_else(|_| wire.clause.clone(), |one| one.to_string())
    };
    let own = standing.exemptions.iter().filter_map(|one| {
        let wire = one.exemption.as_ref().filter(|wire| wire.id.is_empty())?;
        Some(Exempt {
            key: String::new(),
            line: line(wire),
            badge: shown::exemption(one.state()),
            holds: false,
            reason: String::new(),
            by: String::new(),
            granted: None,
        })
    });
    let granted = granted.into_iter().filter_map(|one| {
        use reeve_proto::operator::v1::ExemptionState;
        let wire = one.exemption.as_ref()?;
        Some(Exempt {
            key: wire.id.clone(),
            line: line(wire),
            badge: shown::exemption(one.state()),
            holds: matches!(one.state(), ExemptionState::InForce | ExemptionState::Pending),
            reason: one.reason.clone(),
            by: one.granted_by.clone(),
            granted: one.grant_time,
        })
    });
    own.chain(granted).collect()
}

/// The acts that wait for a second person and are about this tenant.
fn waiting_for(answer: ListApprovalsResponse, id: &str) -> Vec<Approval> {
    let subject = format!("tenant/{id}");
    answer.approvals.into_iter().filter(|one| one.subject == subject || one.subject == id).collect()
}

/// The months that are shown, the latest first, as `2026-11`.
fn months(now: i64) -> [String; MONTHS] {
    let mut at = reeve_policy::Timestamp::from_secs(u64::try_from(now).unwrap_or(0));
    std::array::from_fn(|_| {
        let month = Month::of(at);
        // A moment before a month begins is in the one before.
        at = month.start().minus(std::time::Duration::from_secs(1));
        month.to_string()
    })
}

fn traffic(
    base: &Base,
    months: &[String; MONTHS],
    answers: [Result<tonic::Response<ListUsageResponse>, Status>; MONTHS],
    tenant: &WireTenant,
) -> Result<(Vec<Traffic>, String), Error> {
    let mut found: Vec<(String, UsageEntry)> = Vec::new();
    for (month, answer) in months.iter().zip(answers) {
        if let Some(entry) = answer?.into_inner().entries.pop() {
            found.push((month.clone(), entry));
        }
    }
    let limit = tenant.quota_bytes.unwrap_or(0);
    let rows: Vec<Traffic> = found
        .iter()
        .map(|(month, entry)| {
            let both = entry.bytes_in.saturating_add(entry.bytes_out);
            let share = (both as f64 * 100.0 / limit.max(1) as f64).round();
            Traffic {
                month: month.clone(),
                inward: shown::bytes(entry.bytes_in),
                outward: shown::bytes(entry.bytes_out),
                both: shown::bytes(both),
                share: if limit == 0 { String::new() } else { format!("{share} %") },
            }
        })
        .collect();
    if rows.is_empty() {
        return Ok((rows, String::new()));
    }
    let column = |((month, entry), row): (&(String, UsageEntry), &Traffic)| Column {
        label: month.clone(),
        told: base.fill("tenant.traffic_told", &[month, &row.inward, &row.outward]),
        inward: entry.bytes_in,
        outward: entry.bytes_out,
    };
    // In a picture time goes to the right.
    let columns: Vec<Column> = found.iter().zip(&rows).rev().map(column).collect();
    let picture = chart::months(base.t("tenant.traffic"), base.t("tenant.traffic_desc"), &columns, 0);
    Ok((rows, picture))
}

/// What happened, by day: a lane for each class of violation, and one for each kind of measure.
fn timeline(
    base: &Base,
    now: i64,
    violations: &[Violation],
    standing: &GetStandingResponse,
    notices: &[NoticeEntry],
) -> Timeline {
    let seconds = |at: &Option<WireTime>| at.as_ref().map(|at| at.seconds);
    let mut lanes: Vec<Lane> = Vec::new();
    let mut add = |name: String, kind: Kind, mark: Mark| match lanes
        .iter_mut()
        .find(|lane| lane.name == name && lane.kind == kind)
    {
        Some(lane) => lane.marks.push(mark),
        None => lanes.push(Lane { name, kind, marks: vec![mark] }),
    };
    for one in violations.iter().rev() {
        let class = shown::class(base, one.evidence.as_ref().map_or("", |alert| &alert.class));
        let state = base.t(shown::violation(one.state()).key);
        let label = format!("{class} – {state} – {}", base.plain_time(&one.open_time));
        // What is closed ended when it was last seen, not when that was found out.
        let to = one.close_time.and(seconds(&one.last_seen_time));
        let href = address("/violations", &[&one.id], &[]);
        add(class, Kind::Violation, Mark { from: seconds(&one.open_time).unwrap_or(now), to, label, href });
    }
    for (decision, from, to, label, violation) in past_measures(notices, standing) {
        let href = if violation.is_empty() {
            address("/tenants", &[&standing.tenant], &[])
        } else {
            address("/violations", &[violation], &[])
        };
        let mark = Mark { from, to: Some(to), label: format!("{label} – {decision}"), href };
        add(base.t("tenant.measures_past").to_owned(), Kind::Measure, mark);
    }
    for hold in &standing.holds {
        let Some(decision) = &hold.decision else { continue };
        let what = shown::decided(base, decision).what;
        let label = format!("{what} – {}", base.plain_time(&hold.since_time));
        let href = match decision.violation.as_str() {
            "" => address("/tenants", &[&standing.tenant], &[]),
            violation => address("/violations", &[violation], &[]),
        };
        let from = seconds(&hold.since_time).unwrap_or(now);
        add(base.t("tenant.measures_now").to_owned(), Kind::Measure, Mark { from, to: None, label, href });
    }
    Timeline {
        title: base.t("tenant.timeline").to_owned(),
        description: base.t("tenant.timeline_desc").to_owned(),
        from: now.saturating_sub(SPAN),
        to: now,
        lanes,
    }
}

/// Measures that are over: what was told when they began, up to what was told when they ended.
fn past_measures<'a>(
    notices: &'a [NoticeEntry],
    standing: &GetStandingResponse,
) -> Vec<(&'a str, i64, i64, &'a str, &'a str)> {
    let stands = |decision: &str| {
        standing.holds.iter().filter_map(|hold| hold.decision.as_ref()).any(|one| one.id == decision)
    };
    let mut all: Vec<(&str, i64, i64, &str, &str)> = Vec::new();
    let told =
        notices.iter().filter_map(|entry| entry.notice.as_ref()).filter(|one| !one.decision.is_empty());
    let begun = told.clone().filter(|one| matches!(one.kind(), NoticeKind::Immediate | NoticeKind::Final));
    for begin in begun.filter(|one| !stands(&one.decision)) {
        let is_end = |one: &&reeve_proto::types::v1::Notice| {
            one.kind() == NoticeKind::Lifted
                && (one.decision == begin.decision
                    || (!one.violation.is_empty() && one.violation == begin.violation))
        };
        let (Some(from), Some(to)) =
            (begin.time, told.clone().filter(is_end).filter_map(|one| one.time).map(|at| at.seconds).max())
        else {
            continue;
        };
        let is_known = all.iter().any(|(decision, ..)| *decision == begin.decision.as_str());
        if !is_known && to >= from.seconds {
            let (decision, subject) = (begin.decision.as_str(), begin.subject.as_str());
            all.push((decision, from.seconds, to, subject, begin.violation.as_str()));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use reeve_proto::operator::v1::StandingHold;
    use reeve_proto::types::v1::{Decision, Notice};

    use super::*;

    fn notice(decision: &str, kind: NoticeKind, at: i64) -> NoticeEntry {
        let notice = Notice {
            decision: decision.into(),
            violation: format!("v-{decision}"),
            kind: kind.into(),
            time: Some(WireTime { seconds: at, nanos: 0 }),
            ..Notice::default()
        };
        NoticeEntry { notice: Some(notice), ..NoticeEntry::default() }
    }

    #[test]
    fn months_go_back_over_the_turn_of_the_year() {
        // 2026-02-28T23:59:59Z
        let told = months(1_772_323_199);
        assert_eq!(told, ["2026-02", "2026-01", "2025-12", "2025-11", "2025-10", "2025-09"]);
    }

    #[test]
    fn a_measure_that_is_over_is_told_from_its_first_notice_to_its_last() {
        let notices = [
            notice("b", NoticeKind::Immediate, 50),
            notice("a", NoticeKind::Lifted, 30),
            notice("a", NoticeKind::Immediate, 10),
            notice("a", NoticeKind::Immediate, 10),
            notice("c", NoticeKind::Warning, 10),
            notice("d", NoticeKind::Immediate, 40),
        ];
        let stands = StandingHold {
            decision: Some(Decision { id: "d".into(), ..Decision::default() }),
            ..StandingHold::default()
        };
        let standing = GetStandingResponse { holds: vec![stands], ..GetStandingResponse::default() };
        let told: Vec<_> =
            past_measures(&notices, &standing).into_iter().map(|(id, from, to, ..)| (id, from, to)).collect();
        assert_eq!(told, [("a", 10, 30)]);
    }

    #[test]
    fn only_what_is_about_the_tenant_waits_on_its_page() {
        let about = |subject: &str| Approval { subject: subject.into(), ..Approval::default() };
        let answer =
            ListApprovalsResponse { approvals: vec![about("tenant/a"), about("tenant/ab"), about("node/a")] };
        assert_eq!(waiting_for(answer, "a").len(), 1);
    }
}
