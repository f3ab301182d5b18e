//! Answers as JSON, for programs. Every list is an array within an object, so that fields may be added beside it.

use std::path::Path;

use reeve_policy::{Decision, Evidence, Measure, NodeEvent, Pause, Timestamp, Violation};
use reeve_proto::operator::v1::watch_response::Event;
use reeve_proto::operator::v1::{
    EventEntry, GetViolationResponse, LiftResponse, ListNodesResponse, NodeOrder, NoticeEntry, PaidResponse,
    ReleaseResponse, ResumeResponse, SuspensionEntry, TenantEntry, UsageEntry, VerifyResponse, WatchResponse,
};
use reeve_proto::status::v1::{GetStatusResponse, Hold, PausedNode, State};
use reeve_proto::{time, types};
use serde_json::{Value, json};

use crate::acts::Row;
use crate::dossier::Told;
use crate::show::{self, node_order_word, state_word};

/// A time in RFC 3339, or nothing.
pub(crate) fn at(value: Option<prost_types::Timestamp>) -> Option<String> {
    time("time", value).ok().map(|at: Timestamp| at.to_string())
}

fn none_if_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// A domain value's own JSON, which is the one that `reeve-agent replay --json` writes too.
pub fn own<T: serde::Serialize>(value: Option<T>) -> Value {
    value.and_then(|value| serde_json::to_value(value).ok()).unwrap_or(Value::Null)
}

/// A violation with what people are told of it.
fn own_violation(wire: &types::v1::Violation, name: Option<&str>) -> Value {
    let Ok(violation) = Violation::try_from(wire.clone()) else { return Value::Null };
    let (complaint, sources) = (violation.evidence.complaint(name), violation.evidence.sources());
    let is_suspicion = violation.is_suspicion();
    let mut value = own(Some(violation));
    value["complaint"] = complaint.into();
    value["sources"] = json!(sources);
    value["suspected"] = is_suspicion.into();
    value
}

/// One alert that is kept.
fn kept(case: &Told, one: &Evidence) -> Value {
    json!({
        "decision": one.decision,
        "at": one.alert.at,
        "suspected": one.alert.is_suspicion,
        "complaint": case.complaint(one),
        "sources": one.alert.sources(),
        "forged_sources": one.alert.forged_sources(),
        "packets": one.alert.samples.len(),
        "evidence": own(Some(&one.alert)),
    })
}

pub fn evidence(case: &Told, told: &Evidence, file: Option<(usize, &Path)>) -> Value {
    let mut value = kept(case, told);
    value["violation"] = json!(case.violation.id);
    value["tenant"] = json!(case.violation.tenant);
    value["name"] = json!(case.name());
    value["clause"] = json!(case.violation.clause);
    value["file"] = json!(file.map(|(_, path)| path));
    value["packets_in_file"] = json!(file.map(|(packets, _)| packets));
    value["all"] = case.all().iter().map(|one| kept(case, one)).collect();
    value
}

pub fn status(status: &GetStatusResponse) -> Value {
    let scope = status.scope.clone().and_then(|scope| reeve_policy::Scope::try_from(scope).ok());
    json!({
        "tenant": status.tenant,
        "name": status.tenant_name,
        "state": state_word(status.state()),
        "scope": scope.map(|scope| scope.to_string()),
        "clause": none_if_empty(&status.clause),
        "reason": none_if_empty(&status.reason),
        "since": at(status.since),
        "until": match (at(status.until), status.state()) {
            (Some(until), _) => Some(until),
            (None, State::Blocked | State::Suspended | State::Limited) => {
                Some(status.holds.first().map_or("released", show::ended_by).to_owned())
            }
            (None, _) => None,
        },
        "lifted_by": none_if_empty(&status.lifted_by),
        "customer_reason": none_if_empty(&status.customer_reason),
        "customer_lifted_by": none_if_empty(&status.customer_lifted_by),
        "customer_language": none_if_empty(&status.customer_language),
        "holds": status.holds.iter().map(hold).collect::<Vec<_>>(),
        "violation": none_if_empty(&status.violation),
        "nodes": status.nodes,
        "stale_nodes": status.stale_nodes,
        "paused": status.paused.iter().map(paused_node).collect::<Vec<_>>(),
        "observed_action": status.observed.then(|| action_word(status.observed_action())),
    })
}

fn hold(hold: &Hold) -> Value {
    let scope = hold.scope.clone().and_then(|scope| reeve_policy::Scope::try_from(scope).ok());
    json!({
        "cause": show::cause_word(hold.cause()),
        "action": action_word(hold.action()),
        "scope": scope.map(|scope| scope.to_string()),
        "rate": none_if_empty(&hold.rate),
        "connections": (hold.connections > 0).then_some(hold.connections),
        "ordered_by": none_if_empty(&hold.ordered_by),
        "clause": none_if_empty(&hold.clause),
        "reason": none_if_empty(&hold.reason),
        "since": at(hold.since),
        "until": at(hold.until).unwrap_or_else(|| show::ended_by(hold).to_owned()),
        "decision": hold.decision,
        "violation": none_if_empty(&hold.violation),
        "nodes": hold.nodes,
    })
}

pub fn paid(tenant: &str, answer: &PaidResponse) -> Value {
    let mut value = order(tenant, &answer.order, &answer.nodes);
    value["decisions"] = answer.decisions.into();
    value["ended"] = answer.ended.into();
    value
}

pub fn notices(entries: &[NoticeEntry]) -> Value {
    json!({ "notices": entries.iter().map(notice).collect::<Vec<_>>() })
}

fn notice(entry: &NoticeEntry) -> Value {
    let mut value = own(entry.notice.clone().and_then(|notice| reeve_policy::Notice::try_from(notice).ok()));
    if let Some(object) = value.as_object_mut() {
        object.insert("number".into(), entry.number.into());
        object.insert("made".into(), at(entry.made_time).into());
    }
    value
}

fn pause(pause: Option<&types::v1::Pause>) -> Value {
    own(pause.and_then(|pause| Pause::try_from(pause.clone()).ok()))
}

fn paused_node(paused: &PausedNode) -> Value {
    json!({ "node": paused.node, "pause": pause(paused.pause.as_ref()) })
}

fn action_word(action: types::v1::Action) -> &'static str {
    match action {
        types::v1::Action::Unspecified => "unknown",
        types::v1::Action::Observe => "observe",
        types::v1::Action::Notify => "notify",
        types::v1::Action::Limit => "limit",
        types::v1::Action::Block => "block",
        types::v1::Action::Suspend => "suspend",
    }
}

pub fn tenants(entries: &[TenantEntry], version: u64) -> Value {
    let one = |entry: &TenantEntry| {
        let tenant = entry.tenant.clone().unwrap_or_default();
        let mut value = own(reeve_policy::Tenant::try_from(tenant).ok());
        if let Some(object) = value.as_object_mut() {
            object.insert("state".into(), state_word(entry.state()).into());
        }
        value
    };
    json!({ "version": version, "tenants": entries.iter().map(one).collect::<Vec<_>>() })
}

pub fn nodes(nodes: &ListNodesResponse) -> Value {
    let one = |node: &reeve_proto::operator::v1::Node| {
        json!({
            "name": node.name,
            "connected": node.connected,
            "last_seen": at(node.last_seen_time),
            "agent_version": node.agent_version,
            "tenants_version": node.tenants_version,
            "orders_pending": node.orders_pending,
            "reports_refused": node.reports_refused,
            "pause": pause(node.pause.as_ref()),
            "health": own(node.health.clone().and_then(|health| reeve_policy::NodeHealth::try_from(health).ok())),
        })
    };
    json!({
        "controller_version": nodes.controller_version,
        "protected": nodes.protected,
        "fleet_pause": pause(nodes.fleet_pause.as_ref()),
        "nodes": nodes.nodes.iter().map(one).collect::<Vec<_>>(),
    })
}

pub fn violations(violations: &[types::v1::Violation]) -> Value {
    let each = violations.iter().map(|one| own_violation(one, None));
    json!({ "violations": each.collect::<Vec<_>>() })
}

pub fn violation(violation: &types::v1::Violation, answer: &GetViolationResponse) -> Value {
    let measure = |measure: &reeve_proto::operator::v1::MeasureRecord| {
        let counters = measure.counters.unwrap_or_default();
        json!({
            "node": measure.node,
            "decision": measure.decision,
            "since": at(measure.standing_time),
            "expires": at(measure.expire_time),
            "lifted": at(measure.lift_time),
            "lift_reason": none_if_empty(&measure.lift_reason),
            "packets": counters.packets,
            "bytes": counters.bytes,
        })
    };
    let case = Told::read(answer);
    let kept: Vec<Value> =
        case.iter().flat_map(|case| case.all().into_iter().map(|one| self::kept(case, &one))).collect();
    let decisions = answer.decisions.iter().map(|one| own(Decision::try_from(one.clone()).ok()));
    json!({
        "violation": own_violation(violation, Some(&answer.tenant_name)),
        "evidence": kept,
        "decisions": decisions.collect::<Vec<_>>(),
        "measures": answer.measures.iter().map(measure).collect::<Vec<_>>(),
        "relay_checked": answer.relay_checked.as_ref().map_or(Value::Null, relay_checked),
        "hold": answer.hold.as_ref().map(|hold| json!({
            "operator": hold.operator,
            "reason": hold.reason,
            "since": at(hold.since_time),
        })),
        "case": none_if_empty(&answer.case_id),
    })
}

/// Whether a violation is kept past its time now, and was not so before.
pub fn evidence_hold(violation: &str, is_held: bool, is_changed: bool) -> Value {
    json!({ "violation": violation, "held": is_held, "changed": is_changed })
}

pub fn order(tenant: &str, order: &str, nodes: &[NodeOrder]) -> Value {
    json!({ "tenant": tenant, "order": order, "nodes": nodes.iter().map(node_order).collect::<Vec<_>>() })
}

/// What became of an act on several tenants, one each: an order, or why there is none.
pub fn rows(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        let mut value = order(&row.tenant, &row.order, &row.nodes);
        value["nodes_omitted"] = row.nodes_omitted.into();
        value["ended"] = row.ended.into();
        value["forgiven"] = row.forgiven.into();
        value["error"] = match &row.error {
            Some((reason, message)) => json!({ "reason": reason, "message": message }),
            None => Value::Null,
        };
        value
    };
    json!({ "results": rows.iter().map(row).collect::<Vec<_>>() })
}

pub fn node_order_of(target: &str, order: &str, nodes: &[NodeOrder]) -> Value {
    json!({ "target": target, "order": order, "nodes": nodes.iter().map(node_order).collect::<Vec<_>>() })
}

pub fn resumed(target: &str, answer: &ResumeResponse) -> Value {
    let mut value = node_order_of(target, &answer.order, &answer.nodes);
    value["was_paused"] = answer.was_paused.into();
    value["still_paused"] = answer.still_paused.iter().map(paused_node).collect();
    value
}

pub fn lifted(policy: &str, dry_run: bool, answer: &LiftResponse) -> Value {
    let measure = |one: &reeve_proto::operator::v1::lift_response::Lifted| {
        let measure = one.measure.clone().and_then(|measure| Measure::try_from(measure).ok());
        json!({ "node": one.node, "measure": own(measure) })
    };
    json!({
        "policy": policy,
        "dry_run": dry_run,
        "order": none_if_empty(&answer.order),
        "nodes": answer.nodes.iter().map(node_order).collect::<Vec<_>>(),
        "measures": answer.measures.iter().map(measure).collect::<Vec<_>>(),
        "total": answer.total,
    })
}

pub fn events(entries: &[EventEntry]) -> Value {
    json!({ "events": entries.iter().map(entry).collect::<Vec<_>>() })
}

pub fn usage(month: &str, entries: &[UsageEntry]) -> Value {
    let one = |entry: &UsageEntry| {
        json!({
            "tenant": entry.tenant,
            "bytes_in": entry.bytes_in,
            "bytes_out": entry.bytes_out,
            "nodes": entry.nodes,
            "quota_bytes": entry.quota_bytes,
            "updated": at(entry.updated_time),
        })
    };
    json!({ "month": month, "usage": entries.iter().map(one).collect::<Vec<_>>() })
}

pub fn suspensions(month: &str, entries: &[SuspensionEntry]) -> Value {
    let one = |entry: &SuspensionEntry| {
        json!({
            "tenant": entry.tenant,
            "suspended_seconds": show::seconds(entry.suspended),
            "unpaid_seconds": show::seconds(entry.unpaid),
            "times": entry.times,
            "standing": entry.standing,
        })
    };
    json!({ "month": month, "suspensions": entries.iter().map(one).collect::<Vec<_>>() })
}

fn entry(entry: &EventEntry) -> Value {
    let event = entry.event.clone().and_then(|event| NodeEvent::try_from(event).ok());
    json!({
        "node": entry.node,
        "time": event.as_ref().map(|event| event.at.to_string()),
        "kind": event.as_ref().map(|event| event.kind.name()),
        "detail": event.as_ref().map(|event| event.detail.as_str()),
        "received": at(entry.received_time),
    })
}

fn node_order(node: &NodeOrder) -> Value {
    json!({ "node": node.node, "state": node_order_word(node.state()), "detail": none_if_empty(&node.detail) })
}

pub fn event(event: &WatchResponse) -> Value {
    let (kind, mut value) = match &event.event {
        None => ("unknown", json!({})),
        Some(Event::ViolationOpened(one)) => {
            ("violation-opened", json!({ "violation": own_violation(one, None) }))
        }
        Some(Event::ViolationClosed(one)) => {
            ("violation-closed", json!({ "violation": own_violation(one, None) }))
        }
        Some(Event::Decision(one)) => {
            ("decision", json!({ "decision": own(Decision::try_from(one.clone()).ok()) }))
        }
        Some(Event::MeasureStands(one)) => {
            let measure = one.measure.clone().and_then(|measure| Measure::try_from(measure).ok());
            ("measure-stands", json!({ "node": one.node, "measure": own(measure) }))
        }
        Some(Event::MeasureLifted(one)) => {
            let counters = one.counters.unwrap_or_default();
            let value = json!({
                "node": one.node, "decision": one.decision, "tenant": one.tenant, "reason": one.reason,
                "packets": counters.packets, "bytes": counters.bytes,
            });
            ("measure-lifted", value)
        }
        Some(Event::NodeUp(one)) => ("node-up", json!({ "node": one.node })),
        Some(Event::NodeDown(one)) => ("node-down", json!({ "node": one.node, "reason": one.reason })),
        Some(Event::OrderAnswered(one)) => {
            let node = one.node.as_ref().map(node_order);
            (
                "order-answered",
                json!({ "order": one.order, "kind": one.kind, "tenant": one.tenant, "node": node }),
            )
        }
        Some(Event::NodeEvent(one)) => ("node-event", json!({ "node_event": entry(one) })),
        Some(Event::Notice(one)) => ("notice", json!({ "notice": notice(one) })),
        Some(Event::Missed(one)) => ("missed", json!({ "events": one.events })),
    };
    if let Some(object) = value.as_object_mut() {
        object.insert("event".into(), kind.into());
        object.insert("time".into(), at(event.time).into());
    }
    value
}

pub fn relay(
    tenant: &str,
    server: std::net::IpAddr,
    verdict: reeve_policy::CheckVerdict,
    steps: &[(String, u16)],
    trouble: Option<&str>,
    is_told: bool,
) -> Value {
    let codes: Vec<Value> = steps.iter().map(|(step, code)| json!({ "step": step, "code": code })).collect();
    json!({ "tenant": tenant, "server": server.to_string(), "verdict": verdict.name(), "codes": codes, "trouble": trouble, "told": is_told })
}

pub fn released(tenant: &str, answer: &ReleaseResponse) -> Value {
    let mut value = order(tenant, &answer.order, &answer.nodes);
    value["ended"] = answer.ended.into();
    value["forgiven"] = answer.forgiven.into();
    value["relay_checked"] = answer.relay_checked.as_ref().map_or(Value::Null, relay_checked);
    value
}

pub fn verified(tenant: &str, answer: &VerifyResponse) -> Value {
    let mut value = order(tenant, &answer.order, &answer.nodes);
    value["relay_checked"] = answer.relay_checked.as_ref().map_or(Value::Null, relay_checked);
    value
}

/// What a mail server said when it was last asked.
fn relay_checked(wire: &types::v1::RelayChecked) -> Value {
    match reeve_policy::RelayChecked::try_from(wire.clone()) {
        Ok(checked) => json!({
            "server": checked.answer.server.to_string(),
            "verdict": checked.answer.verdict.name(),
            "outside": checked.answer.is_outside,
            "by": checked.by,
            "at": checked.at.to_string(),
            "is_open": checked.answer.is_open(),
            "is_mended": checked.answer.is_mended(),
        }),
        Err(_) => Value::Null,
    }
}
