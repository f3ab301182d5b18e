//! What ends or undoes what policy did, and what happened on nodes, as text.

use std::fmt::Write as _;

use reeve_policy::{Measure, NodeEvent, Pause};
use reeve_proto::operator::v1::{EventEntry, LiftResponse, NodeOrder, ResumeResponse};
use reeve_proto::types;

use super::{cells, now, order, plain, table, when_from};

/// `hv-07 by oncall since 2026-01-31T12:00:00Z (5 min ago): why`.
pub(super) fn pause_line(whom: &str, pause: Option<&types::v1::Pause>) -> String {
    let Some(pause) = pause.cloned().and_then(|pause| Pause::try_from(pause).ok()) else {
        return whom.to_owned();
    };
    let reason = if pause.reason.is_empty() { String::new() } else { format!(": {}", pause.reason) };
    format!("{whom} by {} since {}{reason}", pause.by, when_from(pause.at, now()))
}

pub fn pause(target: &str, nodes: &[NodeOrder]) -> String {
    if nodes.is_empty() {
        return format!("{target}: stored; no node has ever connected, and those that come are paused");
    }
    order(target, "paused", nodes)
}

pub fn resumed(target: &str, answer: &ResumeResponse) -> String {
    let mut text = if answer.nodes.is_empty() {
        format!("{target}: resumed; no node has ever connected")
    } else if answer.was_paused == Some(false) {
        super::nothing_done(target, "it was not paused", &answer.nodes)
    } else {
        order(target, "resumed", &answer.nodes)
    };
    for one in &answer.still_paused {
        let line = pause_line(&format!("{} is still paused", one.node), one.pause.as_ref());
        let _ = write!(text, "\n{}", plain(&line));
    }
    text
}

pub fn lifted(policy: &str, dry_run: bool, answer: &LiftResponse) -> String {
    let mut rows = vec![cells(["NODE", "TENANT", "WHAT", "CLAUSE", "DECIDED", "VIOLATION"])];
    for one in &answer.measures {
        let Some(measure) = one.measure.clone().and_then(|measure| Measure::try_from(measure).ok()) else {
            continue;
        };
        let decision = measure.decision;
        rows.push(vec![
            one.node.clone(),
            decision.tenant.to_string(),
            format!("{} {}", decision.action, decision.scope),
            decision.clause,
            when_from(decision.at, now()),
            decision.violation.map(|violation| violation.to_string()).unwrap_or_default(),
        ]);
    }
    let shown = rows.len() - 1;
    let list = if shown == 0 { String::new() } else { table(&rows) };
    let more = (answer.total).saturating_sub(shown as u64);
    let more = if more == 0 { String::new() } else { format!("and {more} more\n") };
    let what = match answer.total {
        1 => format!("1 measure of {policy}"),
        total => format!("{total} measures of {policy}"),
    };
    if dry_run {
        return format!("{list}{more}{what} would be lifted");
    }
    format!("{list}{more}{}", order(&what, "lifted", &answer.nodes))
}

pub fn events(entries: &[EventEntry]) -> String {
    let mut rows = vec![cells(["TIME", "NODE", "EVENT", "DETAIL"])];
    for entry in entries {
        let Some(event) = entry.event.clone().and_then(|event| NodeEvent::try_from(event).ok()) else {
            continue;
        };
        rows.push(vec![
            when_from(event.at, now()),
            entry.node.clone(),
            event.kind.name().to_owned(),
            event.detail,
        ]);
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use reeve_policy::pause::is_plain;
    use reeve_proto::operator::v1::watch_response::Event;
    use reeve_proto::operator::v1::{WatchResponse, node_order};

    use super::*;

    #[test]
    fn what_a_node_tells_steers_no_terminal() {
        let event = EventEntry {
            node: "n1".into(),
            event: Some(types::v1::NodeEvent {
                time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
                kind: types::v1::NodeEventKind::Braked.into(),
                detail: "a\u{1b}[2Jb\u{202e}c\rd".into(),
            }),
            received_time: None,
        };
        let table = events(std::slice::from_ref(&event));
        let watched = crate::show::event(&WatchResponse { time: None, event: Some(Event::NodeEvent(event)) });
        for text in [table.lines().last().unwrap(), &watched] {
            assert!(text.contains("braked") && text.chars().all(is_plain), "{text:?}");
        }
    }

    #[test]
    fn a_resumption_tells_of_other_pauses() {
        let done =
            NodeOrder { node: "n1".into(), state: node_order::State::Done.into(), detail: String::new() };
        let pause = types::v1::Pause { by: "root".into(), reason: "disk".into(), time: None };
        let still = reeve_proto::status::v1::PausedNode { node: "n1".into(), pause: Some(pause) };
        let answer = ResumeResponse {
            order: "o".into(),
            nodes: vec![done],
            still_paused: vec![still],
            was_paused: None,
        };
        assert_eq!(resumed("the fleet", &answer), "the fleet: resumed on n1\nn1 is still paused");
        let again = ResumeResponse { was_paused: Some(false), ..answer };
        assert_eq!(resumed("the fleet", &again), "the fleet: it was not paused\nn1 is still paused");
    }
}
