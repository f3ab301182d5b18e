//! Where a tenant stands, as JSON. The same words as `reevectl status --json`, described in docs/openapi.json.

use std::convert::Infallible;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY};
use hyper::{Response, StatusCode};
use reeve_policy::{Scope, Timestamp};
use reeve_proto::status::v1::{GetStatusResponse, Hold, PausedNode, State, hold};
use reeve_proto::types::v1::{Action, Until, until};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Body;
use crate::services::status::View;

/// Where a tenant stands. What is empty in the message is `null` here.
#[derive(Debug, Serialize)]
pub(super) struct StatusJson {
    tenant: String,
    name: Option<String>,
    state: &'static str,
    scope: Option<String>,
    clause: Option<String>,
    since: Option<String>,
    until: Option<String>,
    /// What ends it: `time`, `released`, `verified` or `paid`.
    ends_by: Option<&'static str>,
    violation: Option<String>,
    customer_reason: Option<String>,
    customer_lifted_by: Option<String>,
    customer_language: Option<String>,
    holds: Vec<HoldJson>,
    /// What operators alone are told; the members are missing for others.
    #[serde(flatten)]
    operators: Option<OperatorsJson>,
}

#[derive(Debug, Serialize)]
struct OperatorsJson {
    reason: Option<String>,
    lifted_by: Option<String>,
    nodes: Vec<String>,
    stale_nodes: Vec<String>,
    paused: Vec<PausedJson>,
    observed_action: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct HoldJson {
    cause: &'static str,
    action: &'static str,
    scope: Option<String>,
    rate: Option<String>,
    connections: Option<u32>,
    clause: Option<String>,
    since: Option<String>,
    until: Option<String>,
    ends_by: &'static str,
    decision: String,
    violation: Option<String>,
    #[serde(flatten)]
    operators: Option<OperatorsHoldJson>,
}

#[derive(Debug, Serialize)]
struct OperatorsHoldJson {
    reason: Option<String>,
    nodes: Vec<String>,
    ordered_by: Option<String>,
}

#[derive(Debug, Serialize)]
struct PausedJson {
    node: String,
    by: String,
    reason: Option<String>,
    since: Option<String>,
}

impl StatusJson {
    pub fn new(status: GetStatusResponse, view: View) -> Self {
        let state = status.state();
        let observed_action = status.observed.then(|| action_word(status.observed_action()));
        let until = at(status.until);
        let is_held = matches!(state, State::Limited | State::Blocked | State::Suspended);
        let ends_by = is_held.then(|| match (&until, status.holds.first()) {
            (None, Some(first)) => ends_by(first),
            (None, None) => "released",
            (Some(_), _) => "time",
        });
        let operators = view.is_of_operators().then(|| OperatorsJson {
            reason: text(status.reason),
            lifted_by: text(status.lifted_by),
            nodes: status.nodes,
            stale_nodes: status.stale_nodes,
            paused: status.paused.into_iter().map(paused).collect(),
            observed_action,
        });
        Self {
            tenant: status.tenant,
            name: text(status.tenant_name),
            state: state_word(state),
            scope: status.scope.and_then(scope),
            clause: text(status.clause),
            since: at(status.since),
            until,
            ends_by,
            violation: text(status.violation),
            customer_reason: text(status.customer_reason),
            customer_lifted_by: text(status.customer_lifted_by),
            customer_language: text(status.customer_language),
            holds: status.holds.into_iter().map(|hold| held(hold, view)).collect(),
            operators,
        }
    }
}

fn held(hold: Hold, view: View) -> HoldJson {
    let (cause, action, ends_by) = (hold.cause(), hold.action(), ends_by(&hold));
    let operators = view.is_of_operators().then(|| OperatorsHoldJson {
        reason: text(hold.reason),
        nodes: hold.nodes,
        ordered_by: text(hold.ordered_by),
    });
    HoldJson {
        cause: if cause == hold::Cause::Billing { "billing" } else { "abuse" },
        action: action_word(action),
        scope: hold.scope.and_then(scope),
        rate: text(hold.rate),
        connections: (hold.connections > 0).then_some(hold.connections),
        clause: text(hold.clause),
        since: at(hold.since),
        until: at(hold.until),
        ends_by,
        decision: hold.decision,
        violation: text(hold.violation),
        operators,
    }
}

fn paused(paused: PausedNode) -> PausedJson {
    let pause = paused.pause.unwrap_or_default();
    PausedJson { node: paused.node, by: pause.by, reason: text(pause.reason), since: at(pause.time) }
}

/// What ends a hold by its decision; a time, where one is set.
fn ends_by(hold: &Hold) -> &'static str {
    match (&hold.until, &hold.decided_until) {
        (Some(_), _) | (None, Some(Until { until: Some(until::Until::After(_)) })) => "time",
        (None, Some(Until { until: Some(until::Until::Verified(_)) })) => "verified",
        (None, Some(Until { until: Some(until::Until::Paid(_)) })) => "paid",
        (None, _) => "released",
    }
}

pub(super) fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// A time in RFC 3339.
pub(super) fn at(wire: Option<prost_types::Timestamp>) -> Option<String> {
    reeve_proto::time("time", wire).ok().map(|at: Timestamp| at.to_string())
}

fn scope(wire: reeve_proto::types::v1::Scope) -> Option<String> {
    Scope::try_from(wire).ok().map(|scope| scope.to_string())
}

const fn state_word(state: State) -> &'static str {
    match state {
        State::Unspecified | State::Clear => "clear",
        State::Warned => "warned",
        State::Limited => "limited",
        State::Blocked => "blocked",
        State::Suspended => "suspended",
    }
}

const fn action_word(action: Action) -> &'static str {
    match action {
        Action::Unspecified | Action::Observe => "observe",
        Action::Notify => "notify",
        Action::Limit => "limit",
        Action::Block => "block",
        Action::Suspend => "suspend",
    }
}

/// A body that is there already.
pub(super) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// An answer that may be asked for again: its tag is made of its bytes, so it is another whenever anything in it is, and 304 is
/// answered to whoever has it.
pub(super) fn tagged(content: Bytes, content_type: HeaderValue, asked: &HeaderMap) -> Response<Body> {
    let digest = Sha256::digest(&content);
    let tag: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let is_known = asked.get_all(IF_NONE_MATCH).iter().any(|header| matches_tag(header, &tag));
    let mut response = Response::new(if is_known { whole(Bytes::new()) } else { whole(content) });
    let headers = response.headers_mut();
    if !is_known {
        headers.insert(CONTENT_TYPE, content_type);
    }
    // A tag is letters and digits in quotes.
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(VARY, HeaderValue::from_static("Authorization"));
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response
}

/// Whether a tag is in the header, compared weakly (RFC 9110, 13.1.2).
fn matches_tag(header: &HeaderValue, tag: &str) -> bool {
    let Ok(header) = header.to_str() else { return false };
    header.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_as_the_rfc_has_it() {
        let check = |header: &str, expected: bool| {
            assert_eq!(matches_tag(&HeaderValue::from_str(header).unwrap(), "\"ab\""), expected, "{header}");
        };
        check("\"ab\"", true);
        check("W/\"ab\"", true);
        check("\"x\", \"ab\"", true);
        check("*", true);
        check("ab", false);
        check("\"abc\"", false);
    }
}
