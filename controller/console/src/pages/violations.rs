//! The violations: filtered, a page at a time; and the way from a clause to its policy.

use askama::Template;
use axum::Router;
use axum::extract::Query;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use prost_types::Timestamp as WireTime;
use reeve_proto::operator::v1::{GetRolloutRequest, ListPoliciesRequest, ListViolationsRequest};
use reeve_proto::types::v1::Violation;
use serde::Deserialize;

use super::tenant::reeve_now;
use crate::App;
use crate::error::Error;
use crate::page::{self, Base, address};
use crate::session::Session;
use crate::shown::{self, Badge, Filter};

/// So many are on a page.
const PAGE: i32 = 50;

/// Where it is.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/violations", get(list)).route("/clauses", get(clause))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    tenant: String,
    node: String,
    rule: String,
    state: String,
    /// The last so many days.
    days: String,
    strike: String,
    order: String,
    page: String,
}

struct Row {
    wire: Violation,
    badge: Badge,
    class: String,
    summary: String,
    is_suspicion: bool,
}

#[derive(Template)]
#[template(path = "violations.html")]
struct Violations {
    base: Base,
    asked: Asked,
    rows: Vec<Row>,
    next: String,
}

const STATES: [(&str, &str); 3] =
    [("open", "shown.open"), ("quiet", "shown.quiet"), ("released", "shown.released")];
const DAYS: [(&str, &str); 4] = [
    ("1", "violations.last_day"),
    ("7", "violations.last_week"),
    ("30", "violations.last_month"),
    ("90", "violations.last_quarter"),
];
const ORDERS: [(&str, &str); 3] = [
    ("", "violations.newest"),
    ("last_seen_time desc", "violations.seen_last"),
    ("strike desc", "violations.most_strikes"),
];

impl Violations {
    fn states(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        STATES.into_iter()
    }

    fn days(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        DAYS.into_iter()
    }

    fn orders(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        ORDERS.into_iter()
    }

    fn is_narrow(&self) -> bool {
        let all = [&self.asked.tenant, &self.asked.node, &self.asked.rule, &self.asked.state];
        all.into_iter().chain([&self.asked.days, &self.asked.strike]).any(|text| !text.is_empty())
    }
}

fn request(asked: &Asked, now: i64) -> ListViolationsRequest {
    let mut filter = Filter::default();
    filter.text("node", asked.node.trim());
    filter.text("rule", asked.rule.trim());
    if STATES.iter().any(|(state, _)| *state == asked.state) {
        filter.also(format_args!("state = {}", asked.state));
    }
    if let Ok(strike) = asked.strike.trim().parse::<u32>() {
        filter.also(format_args!("strike >= {strike}"));
    }
    let days = DAYS.iter().find(|(days, _)| *days == asked.days);
    let since = days.and_then(|(days, _)| days.parse::<i64>().ok()).map(|days| {
        // To the hour, so that the next page is one of the same question.
        WireTime { seconds: (now - days * 86_400).div_euclid(3_600) * 3_600, nanos: 0 }
    });
    let order = ORDERS.iter().find(|(order, _)| *order == asked.order).map_or("", |(order, _)| order);
    ListViolationsRequest {
        tenant: asked.tenant.trim().to_owned(),
        since,
        page_size: PAGE,
        page_token: asked.page.clone(),
        filter: filter.written(),
        order_by: order.to_owned(),
        ..ListViolationsRequest::default()
    }
}

async fn list(session: Session, Query(asked): Query<Asked>) -> Result<Response, Error> {
    let answer = session.api().operator().list_violations(request(&asked, reeve_now())).await?.into_inner();
    let base = session.base("violations");
    let next = match answer.next_page_token.as_str() {
        "" => String::new(),
        token => {
            let query = [
                ("tenant", asked.tenant.as_str()),
                ("node", &asked.node),
                ("rule", &asked.rule),
                ("state", &asked.state),
                ("days", &asked.days),
                ("strike", &asked.strike),
                ("order", &asked.order),
                ("page", token),
            ];
            address("/violations", &[], &query)
        }
    };
    let row = |wire: Violation| {
        let alert = wire.evidence.as_ref();
        Row {
            badge: shown::violation(wire.state()),
            class: shown::class(&base, alert.map_or("", |alert| &alert.class)),
            summary: alert.map(summary).unwrap_or_default(),
            is_suspicion: alert.is_some_and(|alert| alert.suspicion),
            wire,
        }
    };
    let rows = answer.violations.into_iter().map(row).collect();
    Ok(page::html(&Violations { rows, asked, next, base }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Clause {
    of: String,
}

/// Leads from a clause to the policy that it stands in: the one that is active where the clause is written in its name, else the newest of that name, else whatever
/// is active, for a policy may extend another one and keep its clauses.
async fn clause(session: Session, Query(Clause { of }): Query<Clause>) -> Result<Response, Error> {
    let name = of.split('/').next().unwrap_or_default();
    let (mut rollouts, mut policies) = (session.api().policies(), session.api().policies());
    let (rollout, all) = tokio::join!(
        rollouts.get_rollout(GetRolloutRequest {}),
        policies.list_policies(ListPoliciesRequest {})
    );
    let active = rollout?.into_inner().active.map(|active| (active.name, active.policy_version));
    let all = all?.into_inner().policies;
    let newest = all.into_iter().filter(|one| one.name == name).max_by_key(|one| one.policy_version);
    let named = active.clone().filter(|(active, _)| active == name);
    let found = named.or_else(|| newest.map(|one| (one.name, one.policy_version))).or(active);
    let to = match found {
        None => "/policies".to_owned(),
        Some((name, version)) => address("/policies", &[&name, &version.to_string()], &[("clause", &of)]),
    };
    Ok(Redirect::to(&to).into_response())
}

/// The number by which it was found, beside its limit.
fn summary(alert: &reeve_proto::types::v1::Alert) -> String {
    let Some(first) = alert.metrics.first() else { return String::new() };
    let name = first.name.replace('_', " ");
    match first.threshold {
        Some(limit) => format!("{name} {} / {}", shown::number(first.value), shown::number(limit)),
        None => format!("{name} {}", shown::number(first.value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_a_filter_and_what_is_none_is_left_out() {
        let asked = Asked {
            node: " hv-07 ".into(),
            rule: "a\" OR id != \"".into(),
            state: "all".into(),
            strike: "2".into(),
            days: "7".into(),
            order: "id; drop".into(),
            ..Asked::default()
        };
        let told = request(&asked, 700_001);
        assert_eq!(told.filter, "node = \"hv-07\" AND rule = \"a\\\" OR id != \\\"\" AND strike >= 2");
        assert_eq!(told.order_by, "");
        assert_eq!(told.since.map(|at| at.seconds), Some(93_600));
        let again = request(&asked, 700_500);
        assert_eq!(again.since, told.since, "the next page is one of the same question");
    }
}
