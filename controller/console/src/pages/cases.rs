//! The cases: first those that are ours to do, then those that wait for their customers, the nearest deadline first.

use askama::Template;
use axum::Router;
use axum::extract::Query;
use axum::response::Response;
use axum::routing::get;
use prost_types::Timestamp as WireTime;
use reeve_proto::operator::v1::{Case, ListCasesRequest};
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
    Router::new().route("/cases", get(list))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    state: String,
    tenant: String,
    clause: String,
    q: String,
    order: String,
    page: String,
}

struct Row {
    case: Case,
    badge: Badge,
    is_late: bool,
}

#[derive(Template)]
#[template(path = "cases.html")]
struct Cases {
    base: Base,
    asked: Asked,
    rows: Vec<Row>,
    next: String,
}

/// What can be chosen, with the key of its word. The first is what is shown without a choice.
const STATES: [(&str, &str); 6] = [
    ("", "cases.not_closed"),
    ("open", "shown.case_open"),
    ("waiting", "shown.case_waiting"),
    ("late", "cases.late_ones"),
    ("closed", "shown.case_closed"),
    ("all", "tenants.any"),
];
/// Those without a deadline are before those with one: they are ours to do.
const ORDERS: [(&str, &str); 4] = [
    ("deadline", "cases.by_deadline"),
    ("update_time desc", "cases.by_update"),
    ("open_time", "cases.by_age"),
    ("open_time desc", "cases.by_newest"),
];

impl Cases {
    fn states(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        STATES.into_iter()
    }

    fn orders(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        ORDERS.into_iter()
    }

    fn is_narrow(&self) -> bool {
        [&self.asked.state, &self.asked.tenant, &self.asked.clause, &self.asked.q]
            .into_iter()
            .any(|text| !text.is_empty())
    }
}

fn request(asked: &Asked, now: i64) -> ListCasesRequest {
    let mut filter = Filter::default();
    filter.text("clause", asked.clause.trim());
    match asked.state.as_str() {
        state @ ("open" | "waiting" | "closed") => filter.also(format_args!("state = {state}")),
        "late" => {
            // To the minute, so that the next page is one of the same question.
            let at = jiff::Timestamp::from_second(now.div_euclid(60) * 60).unwrap_or_default();
            filter.also(format_args!("state = waiting AND deadline < {}", shown::quoted(&at.to_string())));
        }
        _ => {}
    }
    let order = ORDERS.iter().find(|(order, _)| *order == asked.order).map_or("deadline", |(order, _)| order);
    ListCasesRequest {
        page_size: PAGE,
        page_token: asked.page.clone(),
        tenant: asked.tenant.trim().to_owned(),
        include_closed: matches!(asked.state.as_str(), "closed" | "all"),
        filter: filter.written(),
        order_by: order.to_owned(),
        query: asked.q.trim().to_owned(),
    }
}

/// Whether a case's deadline is over.
pub(super) fn is_late(deadline: Option<&WireTime>, now: i64) -> bool {
    deadline.is_some_and(|at| at.seconds < now)
}

async fn list(session: Session, Query(asked): Query<Asked>) -> Result<Response, Error> {
    let now = reeve_now();
    let answer = session.api().cases().list_cases(request(&asked, now)).await?.into_inner();
    let next = match answer.next_page_token.as_str() {
        "" => String::new(),
        token => {
            let query = [
                ("state", asked.state.as_str()),
                ("tenant", &asked.tenant),
                ("clause", &asked.clause),
                ("q", &asked.q),
                ("order", &asked.order),
                ("page", token),
            ];
            address("/cases", &[], &query)
        }
    };
    let row = |case: Case| Row {
        badge: shown::case(case.state()),
        is_late: is_late(case.deadline.as_ref(), now),
        case,
    };
    let rows = answer.cases.into_iter().map(row).collect();
    Ok(page::html(&Cases { base: session.base("cases"), asked, rows, next }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_becomes_a_question() {
        let asked = |state: &str| Asked { state: state.into(), ..Asked::default() };
        let told = |state: &str| {
            let request = request(&asked(state), 61);
            (request.filter, request.include_closed)
        };
        assert_eq!(told(""), (String::new(), false));
        assert_eq!(told("open"), ("state = open".into(), false));
        assert_eq!(told("closed"), ("state = closed".into(), true));
        assert_eq!(told("all"), (String::new(), true));
        assert_eq!(told("late"), ("state = waiting AND deadline < \"1970-01-01T00:01:00Z\"".into(), false));
        assert_eq!(told("open OR true"), (String::new(), false));
        assert_eq!(request(&Asked { order: "id desc".into(), ..Asked::default() }, 0).order_by, "deadline");
    }
}
