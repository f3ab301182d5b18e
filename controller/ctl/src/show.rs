//! Answers as text, for people: facts one a line, lists as tables, times absolute with how long ago beside.

mod brakes;
mod notices;
mod relay;
mod rows;
mod usage;

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brakes::pause_line;
pub use brakes::{events, lifted, pause, resumed};
use reeve_policy::evidence;
use reeve_policy::pause::is_plain;
use reeve_policy::reader::about;
use reeve_policy::{Decision, Evidence, Exemption, Explanation, NodeEvent, Scope, Timestamp, Violation};
use reeve_proto::operator::v1::watch_response::Event;
use reeve_proto::operator::v1::{
    GetViolationResponse, ListNodesResponse, NodeOrder, ReleaseResponse, TenantEntry, WatchResponse,
    node_order,
};
use reeve_proto::status::v1::{GetStatusResponse, State};
use reeve_proto::{time, types};

use crate::dossier::Told;
pub use notices::{cause_word, ended_by, notices, paid};
use relay::last_check;
pub use relay::{relay, verified};
pub use rows::rows;
pub use usage::{seconds, suspensions, suspensions_csv, usage, usage_csv};

/// Targets of a violation that are listed; all are in the JSON.
const TARGETS_SHOWN: usize = 12;

pub fn state_word(state: State) -> &'static str {
    match state {
        State::Unspecified => "unknown",
        State::Clear => "clear",
        State::Warned => "warned",
        State::Limited => "limited",
        State::Blocked => "blocked",
        State::Suspended => "suspended",
    }
}

pub fn node_order_word(state: node_order::State) -> &'static str {
    match state {
        node_order::State::Unspecified => "unknown",
        node_order::State::Sent => "sent",
        node_order::State::Stored => "stored",
        node_order::State::Done => "done",
        node_order::State::Failed => "failed",
        node_order::State::Superseded => "superseded",
    }
}

pub fn now() -> Timestamp {
    Timestamp::EPOCH + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `2026-01-31T12:00:00Z (5 min ago)`, or a dash.
pub fn when(value: Option<prost_types::Timestamp>) -> String {
    match time("time", value) {
        Ok(at) => when_from(at, now()),
        Err(_) => "-".to_owned(),
    }
}

fn when_from(at: Timestamp, now: Timestamp) -> String {
    let whole = at.floor_to(Duration::from_secs(1));
    if at <= now {
        format!("{whole} ({} ago)", about(now.since(at)))
    } else {
        format!("{whole} (in {})", about(at.since(now)))
    }
}

/// Columns as wide as their widest cell.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{:<width$}", plain(cell))).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// What others wrote does not steer the terminal.
fn plain(cell: &str) -> String {
    cell.chars().map(|c| if is_plain(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

pub fn cells<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Facts, the names of which stand in a column.
pub fn facts(facts: &[(&str, String)]) -> String {
    let rows: Vec<Vec<String>> = facts
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| vec![(*name).to_owned(), value.clone()])
        .collect();
    table(&rows)
}

pub fn status(status: &GetStatusResponse) -> String {
    let is_stopped = matches!(status.state(), State::Blocked | State::Suspended | State::Limited);
    let scope = status.scope.clone().and_then(|scope| Scope::try_from(scope).ok());
    let until = match status.until {
        Some(until) => when(Some(until)),
        None if !is_stopped => String::new(),
        None => match status.holds.first().map(ended_by) {
            Some("paid") => "an invoice is paid".to_owned(),
            Some("verified") => "a check finds it mended, or released by an operator".to_owned(),
            _ => "released by an operator".to_owned(),
        },
    };
    let observed = match status.observed_action() {
        types::v1::Action::Suspend if status.observed => "it would have been suspended; nothing was done",
        types::v1::Action::Limit if status.observed => {
            "some of its traffic would have been limited; nothing was done"
        }
        types::v1::Action::Block if status.observed => {
            "some of its traffic would have been blocked; nothing was done"
        }
        _ if status.observed => "it would have been told; nothing was done",
        _ => "",
    };
    let unconfirmed = match status.stale_nodes.as_slice() {
        [] => String::new(),
        nodes => format!("{} not connected: this is the last that was told", nodes.join(", ")),
    };
    let mut all = vec![
        ("tenant", format!("{} {}", status.tenant, status.tenant_name).trim_end().to_owned()),
        ("state", state_word(status.state()).to_owned()),
        ("scope", scope.filter(|_| is_stopped).map(|scope| scope.to_string()).unwrap_or_default()),
        ("clause", status.clause.clone()),
        ("reason", status.reason.clone()),
        ("told", status.customer_reason.clone()),
        ("observed", observed.to_owned()),
        ("since", status.since.map(|since| when(Some(since))).unwrap_or_default()),
        ("until", until),
        ("violation", status.violation.clone()),
        ("nodes", status.nodes.join(", ")),
        ("unconfirmed", unconfirmed),
        (
            "paused",
            status
                .paused
                .iter()
                .map(|one| pause_line(&one.node, one.pause.as_ref()))
                .collect::<Vec<_>>()
                .join("; "),
        ),
    ];
    all.extend(notices::holds(&status.holds));
    facts(&all)
}

pub fn tenants(entries: &[TenantEntry]) -> String {
    let mut rows = vec![cells(["TENANT", "STATE", "NAME", "ADDRESSES", "INTERFACES"])];
    for entry in entries {
        let tenant = entry.tenant.clone().unwrap_or_default();
        rows.push(vec![
            tenant.id,
            state_word(entry.state()).to_owned(),
            tenant.name,
            tenant.addresses.join(" "),
            tenant.interfaces.join(" "),
        ]);
    }
    let permitted = entries.iter().filter_map(|entry| entry.tenant.as_ref()).flat_map(|tenant| {
        let known = tenant.exemptions.iter().filter_map(|one| Exemption::try_from(one.clone()).ok());
        known.map(|one| format!("{} is exempt from {}\n", plain(&tenant.id), plain(&one.to_string())))
    });
    table(&rows) + &permitted.collect::<String>()
}

pub fn nodes(nodes: &ListNodesResponse) -> String {
    let mut rows = vec![cells([
        "NODE",
        "LINK",
        "MODE",
        "WATCHED",
        "POLICY",
        "TENANTS",
        "MEASURES",
        "LOSS",
        "LAST SEEN",
        "AGENT",
    ])];
    for node in &nodes.nodes {
        let health = node.health.clone().unwrap_or_default();
        let frames = health.frames_received + health.frames_dropped;
        let loss = if frames == 0 { 0.0 } else { health.frames_dropped as f64 * 100.0 / frames as f64 };
        let policy = match health.policy.as_str() {
            "" => "-".to_owned(),
            name => format!("{name} v{}", health.policy_version),
        };
        let mode = match health.mode() {
            types::v1::Mode::Enforce => "enforce",
            types::v1::Mode::Observe => "observe",
            types::v1::Mode::Unspecified => "-",
        };
        rows.push(vec![
            node.name.clone(),
            if node.connected { "up" } else { "DOWN" }.to_owned(),
            match (health.paused.is_some(), health.brakes_set_time.is_some()) {
                (true, _) => format!("{mode}, PAUSED"),
                (_, true) => format!("{mode}, BRAKED"),
                _ => mode.to_owned(),
            },
            if health.vantages == 0 { "NOTHING".to_owned() } else { format!("{} ports", health.vantages) },
            policy,
            health.tenants.to_string(),
            health.measures.to_string(),
            format!("{loss:.2} %"),
            when(node.last_seen_time),
            node.agent_version.clone(),
        ]);
    }
    let warning = if nodes.protected {
        ""
    } else {
        "\nThe controller has no certificates: everybody on its machine may give orders."
    };
    let mut paused = Vec::new();
    if let Some(pause) = &nodes.fleet_pause {
        paused.push(pause_line("the fleet", Some(pause)));
    }
    for node in &nodes.nodes {
        let told = node.health.as_ref().and_then(|health| health.paused.as_ref());
        let is_the_fleets = told.is_some() && told == nodes.fleet_pause.as_ref();
        if let Some(told) = told.filter(|_| !is_the_fleets) {
            paused.push(pause_line(&node.name, Some(told)));
        }
        if let Some(ordered) = node.pause.as_ref().filter(|ordered| told != Some(*ordered)) {
            let line = pause_line(&node.name, Some(ordered));
            let untold = if told.is_none() { " (it has not told yet that it is)" } else { "" };
            paused.push(format!("{line}{untold}"));
        }
    }
    let mut text = table(&rows);
    for line in paused {
        let _ = writeln!(text, "PAUSED: {}", plain(&line));
    }
    for node in &nodes.nodes {
        let health = node.health.clone().unwrap_or_default();
        if let Some(since) = health.brakes_set_time {
            let (name, why) = (&node.name, &health.brakes_set_reason);
            let line = format!(
                "{name} since {}: {why}; to hold others, look and say: reevectl brakes release --node {name}",
                when(Some(since))
            );
            let _ = writeln!(text, "BRAKES SET: {}", plain(&line));
        }
    }
    for node in nodes.nodes.iter().filter(|node| node.orders_pending > 0) {
        let (name, count) = (&node.name, node.orders_pending);
        let orders = if count == 1 { "1 order".to_owned() } else { format!("{count} orders") };
        let why = if node.connected { "" } else { ": it is away" };
        let _ = writeln!(text, "WAITING: {}", plain(&format!("{name} has not carried out {orders}{why}")));
    }
    text + warning
}

pub fn violations(violations: &[types::v1::Violation]) -> String {
    let mut rows =
        vec![cells(["VIOLATION", "TENANT", "STATE", "CLAUSE", "STRIKE", "NODE", "OPENED", "WHAT"])];
    for wire in violations {
        let Ok(violation) = Violation::try_from(wire.clone()) else { continue };
        rows.push(vec![
            violation.id.to_string(),
            violation.tenant.to_string(),
            violation.state.name().to_owned(),
            violation.clause.clone(),
            strike(&violation),
            violation.node.to_string(),
            when_from(violation.opened, now()),
            violation.evidence.class.to_string(),
        ]);
    }
    table(&rows)
}

pub fn violation(wire: &types::v1::Violation, answer: &GetViolationResponse) -> String {
    let Ok(violation) = Violation::try_from(wire.clone()) else { return "it cannot be read".to_owned() };
    let now = now();
    let mut text = facts(&[
        ("violation", violation.id.to_string()),
        ("tenant", violation.tenant.to_string()),
        ("state", violation.state.name().to_owned()),
        ("clause", violation.clause.clone()),
        ("rule", violation.rule.to_string()),
        ("strike", strike(&violation)),
        ("node", violation.node.to_string()),
        ("opened", when_from(violation.opened, now)),
        ("last seen", when_from(violation.last_seen, now)),
        ("closed", violation.closed.map(|at| when_from(at, now)).unwrap_or_default()),
        ("alerts", violation.alerts.to_string()),
        ("case", answer.case_id.clone()),
    ]);
    match Told::read(answer) {
        Some(case) => numbers(&mut text, &case),
        None => text.push_str("\nIts evidence cannot be read.\n"),
    }
    decisions(&mut text, answer);
    if let Some(hold) = &answer.hold {
        let since = time("since_time", hold.since_time).map(|at| when_from(at, now)).unwrap_or_default();
        let _ = writeln!(text, "\nHeld by {} since {since}: {}", plain(&hold.operator), plain(&hold.reason));
    }
    if let Some(checked) = &answer.relay_checked {
        let _ = writeln!(text, "\n{}", last_check(checked));
    }
    text
}

/// Whether a violation is kept past its time now.
pub fn evidence_hold(violation: &str, is_held: bool, is_changed: bool) -> String {
    let again = if is_changed { "" } else { ", as before" };
    match is_held {
        true => format!("{} is kept until it is released{again}\n", plain(violation)),
        false => format!("{} is forgotten in its time{again}\n", plain(violation)),
    }
}

/// Which strike it is; what nothing confirms yet is none.
fn strike(violation: &Violation) -> String {
    if violation.is_suspicion() { "suspected".to_owned() } else { violation.strike.to_string() }
}

/// The line for a mail, where the packets went, and what else is kept.
pub fn evidence(case: &Told, told: &Evidence, lists: bool, file: Option<(usize, &Path)>) -> String {
    let mut text = format!("{}\n", plain(&case.complaint(told)));
    if let Some((packets, path)) = file {
        let _ = writeln!(text, "{packets} packet headers in {}", path.display());
    }
    let others: Vec<Evidence> =
        if lists { case.all().into_iter().filter(|one| one != told).collect() } else { Vec::new() };
    if !others.is_empty() {
        let _ = writeln!(text, "\nAlso kept of violation {}:", case.violation.id);
    }
    for one in &others {
        let what = match &one.decision {
            Some(id) => format!("decision {id}"),
            None if one.alert.at == case.violation.evidence.at => "latest".to_owned(),
            None => "opening".to_owned(),
        };
        let _ = writeln!(text, "  {what}: {}", plain(&case.complaint(one)));
    }
    text
}

/// Why a violation led to what it led to.
pub fn explanation(explanation: &Explanation<'_>) -> String {
    let text = explanation.to_string();
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// What the latest decision rests on, in full.
fn numbers(text: &mut String, case: &Told) {
    let told = case.chosen();
    let alert = &told.alert;
    let suspected = if alert.is_suspicion { "only suspected, " } else { "" };
    let _ = writeln!(text, "\nEvidence: {} ({suspected}{} % sure)", alert.class, alert.confidence_percent);
    let _ = writeln!(text, "  {}", plain(&case.complaint(&told)));
    let mut rows = vec![cells(["  NUMBER", "SEEN", "LIMIT"])];
    for metric in &alert.metrics {
        let round = |number: f64| ((number * 100.0).round() / 100.0).to_string();
        let allowed = metric.threshold.map_or_else(|| "-".to_owned(), round);
        rows.push(vec![format!("  {}", metric.name), round(metric.value), allowed]);
    }
    text.push_str(&table(&rows));
    let loss = alert.loss.share() * 100.0;
    let seconds = alert.window.end.since(alert.window.start).as_secs_f64();
    let _ = writeln!(text, "  within {seconds:.1} s; {loss:.1} % of the frames were lost");
    if !alert.targets.is_empty() {
        let mut rows = vec![cells(["  TARGET", "OUTCOME", "FIRST TRIED", "LAST TRIED"])];
        for seen in alert.targets.iter().take(TARGETS_SHOWN) {
            rows.push(vec![
                format!("  {}", seen.target),
                seen.outcome.to_string(),
                seen.first.to_string(),
                seen.last.to_string(),
            ]);
        }
        text.push_str(&table(&rows));
        let more = alert.targets.len().saturating_sub(TARGETS_SHOWN);
        if more > 0 {
            let _ = writeln!(text, "  and {more} more: --json");
        }
    }
    let (all, id) = (case.all(), &case.violation.id);
    let packets = evidence::packets(&all).len();
    if packets > 0 {
        let _ = writeln!(text, "  {packets} packet headers: reevectl evidence {id} --pcapng FILE");
    }
    if all.len() > 1 {
        let _ = writeln!(text, "  and {} more alerts are kept: reevectl evidence {id}", all.len() - 1);
    }
}

fn decisions(text: &mut String, answer: &GetViolationResponse) {
    for wire in &answer.decisions {
        let Ok(decision) = Decision::try_from(wire.clone()) else { continue };
        let _ = writeln!(text, "\nDecision {}: {}", decision.id, plain(&decision_line(&decision)));
        for measure in answer.measures.iter().filter(|measure| measure.decision == wire.id) {
            let counters = measure.counters.unwrap_or_default();
            let end = match (measure.lift_time, measure.expire_time) {
                (Some(at), _) => format!("lifted {} ({})", when(Some(at)), measure.lift_reason),
                (None, Some(at)) => format!("stands until {}", when(Some(at))),
                (None, None) => "stands until released".to_owned(),
            };
            let since = when(measure.standing_time);
            let _ = writeln!(
                text,
                "  on {} since {since}, {end}; stopped {} packets",
                measure.node, counters.packets
            );
        }
    }
}

fn decision_line(decision: &Decision) -> String {
    let until = if decision.action.is_measure() { format!(" {}", decision.until) } else { String::new() };
    let mode = if decision.mode == reeve_policy::Mode::Observe { " (observed only)" } else { "" };
    let softened = decision.softened.as_ref().map(|why| format!(" (softened: {why})")).unwrap_or_default();
    format!("{} {}{until}{mode}{softened}: {}", decision.action, decision.scope, decision.reason)
}

pub fn order(tenant: &str, done: &str, nodes: &[NodeOrder]) -> String {
    if nodes.is_empty() {
        return format!("{tenant}: stored; no node has ever connected");
    }
    if nodes.iter().all(|node| node.state() == node_order::State::Done) {
        let names: Vec<&str> = nodes.iter().map(|node| node.node.as_str()).collect();
        return format!("{tenant}: {done} on {}", names.join(", "));
    }
    let mut rows = vec![cells(["NODE", "ORDER", ""])];
    for node in nodes {
        let detail = match node.state() {
            node_order::State::Stored => "not connected: done when it is".to_owned(),
            node_order::State::Sent => "no answer yet".to_owned(),
            _ => node.detail.clone(),
        };
        rows.push(vec![node.node.clone(), node_order_word(node.state()).to_owned(), detail]);
    }
    format!("{tenant}:\n{}", table(&rows))
}

/// What became of an order that ends something, where there was nothing to end: the nodes are told all the same.
pub fn nothing_done(whom: &str, what: &str, nodes: &[NodeOrder]) -> String {
    if nodes.iter().all(|node| node.state() == node_order::State::Done) {
        return format!("{whom}: {what}");
    }
    format!("{}\n{what}", order(whom, "told", nodes).trim_end())
}

/// What became of a release, and of the strikes.
pub fn released(tenant: &str, forgive: bool, answer: &ReleaseResponse) -> String {
    let mut text = if answer.ended == Some(0) {
        nothing_done(tenant, "nothing held it", &answer.nodes)
    } else {
        order(tenant, "released", &answer.nodes)
    };
    let strikes = match (forgive, answer.forgiven) {
        (true, None) => "the strikes of what it ended are taken back",
        (true, Some(0)) => "no strike is taken back: it ended nothing that counts as one",
        (true, Some(1)) => "1 strike is taken back",
        (true, Some(many)) => &format!("{many} strikes are taken back"),
        (false, _) if answer.ended == Some(0) => "",
        (false, _) => "strikes stay; --forgive takes them back",
    };
    if !strikes.is_empty() {
        let _ = write!(text, "\n{strikes}");
    }
    if let Some(checked) = &answer.relay_checked {
        let _ = write!(text, "\n{}", last_check(checked));
    }
    text
}

pub fn event(event: &WatchResponse) -> String {
    let at = time("time", event.time)
        .map(|at| at.floor_to(Duration::from_millis(1)).to_string())
        .unwrap_or_default();
    let what = match &event.event {
        None => "something that this version does not know".to_owned(),
        Some(Event::ViolationOpened(wire)) => violation_line("violation of", wire),
        Some(Event::ViolationClosed(wire)) => violation_line("end of the violation of", wire),
        Some(Event::Decision(wire)) => match Decision::try_from(wire.clone()) {
            Ok(decision) => format!("{}  {}", decision.tenant, decision_line(&decision)),
            Err(error) => error.to_string(),
        },
        Some(Event::MeasureStands(one)) => {
            let decision = one.measure.clone().and_then(|measure| measure.decision).unwrap_or_default();
            format!("{}  stands on {}: {}", decision.tenant, one.node, decision.id)
        }
        Some(Event::MeasureLifted(one)) => {
            let packets = one.counters.unwrap_or_default().packets;
            format!(
                "{}  lifted on {} ({}): {}, which stopped {packets} packets",
                one.tenant, one.node, one.reason, one.decision
            )
        }
        Some(Event::NodeUp(one)) => format!("node {} connected", one.node),
        Some(Event::NodeDown(one)) => format!("node {} disconnected: {}", one.node, one.reason),
        Some(Event::OrderAnswered(one)) => {
            let node = one.node.clone().unwrap_or_default();
            let whom = if one.tenant.is_empty() { String::new() } else { format!("{}  ", one.tenant) };
            let kind = if one.kind.is_empty() { "order" } else { one.kind.as_str() };
            format!(
                "{whom}{kind} {} on {}: {} {}",
                one.order,
                node.node,
                node_order_word(node.state()),
                node.detail
            )
        }
        Some(Event::NodeEvent(one)) => match one.event.clone().map(NodeEvent::try_from) {
            Some(Ok(event)) => format!("node {} {}: {}", one.node, event.kind.name(), event.detail),
            _ => format!("node {}: something that this version does not know", one.node),
        },
        Some(Event::Notice(one)) => notices::line(&one.notice.clone().unwrap_or_default()),
        Some(Event::Missed(one)) => format!("{} events were missed", one.events),
    };
    format!("{at}  {}", plain(what.trim_end()))
}

fn violation_line(what: &str, wire: &types::v1::Violation) -> String {
    match Violation::try_from(wire.clone()) {
        Ok(one) => {
            let strike =
                if one.is_suspicion() { "suspected".to_owned() } else { format!("strike {}", one.strike) };
            let summary = one.evidence.summary();
            format!("{}  {what} {} ({strike}, {}): {summary}", one.tenant, one.clause, one.id)
        }
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_both_ways() {
        let now = Timestamp::from_secs(1_700_000_000);
        let check = |secs: i64, expect: &str| {
            let at = Timestamp::from_secs(1_700_000_000_u64.saturating_add_signed(secs));
            assert!(when_from(at, now).ends_with(expect), "{}", when_from(at, now));
        };
        check(-5, "(5 s ago)");
        check(-119, "(119 s ago)");
        check(-120, "(2 min ago)");
        check(-7_200, "(2 h ago)");
        check(900, "(in 15 min)");
        check(-864_000, "(10 days ago)");
    }

    #[test]
    fn what_a_tenant_is_exempt_from_stands_below_the_list() {
        let exemption = types::v1::Exemption {
            clause: "oxygis/illegal-scan".into(),
            targets: vec!["192.0.2.0/24".into()],
            reference: "letter 7".into(),
            ..types::v1::Exemption::default()
        };
        let tenant = types::v1::Tenant {
            id: "alice".into(),
            exemptions: vec![exemption],
            ..types::v1::Tenant::default()
        };
        let told = super::tenants(&[TenantEntry { tenant: Some(tenant), ..TenantEntry::default() }]);
        let expect =
            "alice is exempt from oxygis/illegal-scan to 192.0.2.0/24, by letter 7, until it is revoked\n";
        assert!(told.ends_with(expect), "{told}");
    }

    #[test]
    fn a_suspension_reads_at_a_glance() {
        let status = GetStatusResponse {
            tenant: "alice".into(),
            tenant_name: "Alice B.V.".into(),
            state: State::Suspended.into(),
            clause: "baseline/portscan".into(),
            reason: "portscan.vertical: ports 20 (allowed 20)".into(),
            nodes: vec!["rt".into()],
            ..GetStatusResponse::default()
        };
        insta::assert_snapshot!(super::status(&status), @r"
        tenant  alice Alice B.V.
        state   suspended
        clause  baseline/portscan
        reason  portscan.vertical: ports 20 (allowed 20)
        until   released by an operator
        nodes   rt
        ");
        let clear = GetStatusResponse {
            tenant: "bob".into(),
            state: State::Clear.into(),
            ..GetStatusResponse::default()
        };
        insta::assert_snapshot!(super::status(&clear), @r"
        tenant  bob
        state   clear
        ");
    }

    #[test]
    fn an_order_says_what_is_still_to_come() {
        let node = |name: &str, state: node_order::State, detail: &str| NodeOrder {
            node: name.into(),
            state: state.into(),
            detail: detail.into(),
        };
        assert_eq!(order("a", "released", &[node("n1", node_order::State::Done, "")]), "a: released on n1");
        let nodes = vec![node("n1", node_order::State::Done, "")];
        let mut done = ReleaseResponse { order: "O1".into(), nodes, ..ReleaseResponse::default() };
        assert_eq!(
            super::released("a", false, &done),
            "a: released on n1\nstrikes stay; --forgive takes them back"
        );
        assert!(super::released("a", true, &done).ends_with("\nthe strikes of what it ended are taken back"));
        let ended = |ended, forgiven| {
            let (ended, forgiven) = (Some(ended), Some(forgiven));
            ReleaseResponse { ended, forgiven, ..done.clone() }
        };
        assert_eq!(super::released("a", false, &ended(0, 0)), "a: nothing held it");
        assert_eq!(
            super::released("a", true, &ended(0, 0)),
            "a: nothing held it\nno strike is taken back: it ended nothing that counts as one"
        );
        assert_eq!(super::released("a", true, &ended(1, 2)), "a: released on n1\n2 strikes are taken back");
        let away = [node("n1", node_order::State::Stored, "")];
        assert!(super::nothing_done("a", "nothing held it", &away).ends_with("is\nnothing held it"));
        let checked = reeve_policy::RelayChecked {
            tenant: "a".parse().unwrap(),
            answer: reeve_policy::RelayAnswer {
                server: [203, 0, 113, 10].into(),
                verdict: reeve_policy::CheckVerdict::Accepted,
                is_outside: true,
            },
            by: String::new(),
            at: now(),
        };
        done.relay_checked = Some((&checked).into());
        assert!(
            super::released("a", false, &done).ends_with("a: mail server 203.0.113.10 still an open relay")
        );
        insta::assert_snapshot!(
            order("a", "released", &[
                node("n1", node_order::State::Failed, "the node only observes"),
                node("n2", node_order::State::Stored, ""),
            ]),
            @r"
        a:
        NODE  ORDER
        n1    failed  the node only observes
        n2    stored  not connected: done when it is
        "
        );
    }
}
