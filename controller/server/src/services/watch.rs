//! What happens, as messages to whoever watches.

use std::sync::Arc;

use reeve_policy::{Measure, TenantId, Violation};
use reeve_proto::operator::v1::watch_response::{
    Event as Told, MeasureLifted, MeasureStands, Missed, NodeChange, OrderAnswered,
};
use reeve_proto::operator::v1::{EventEntry, NoticeEntry, WatchResponse};
use reeve_proto::{time_to_wire, types};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

use super::orders::node_order;
use crate::clock;
use crate::directory::{Directory, veiled};
use crate::events::{Event, What};
use crate::store::Sight;

/// Events from now on, of one tenant or all.
pub(super) fn stream(
    events: broadcast::Receiver<Event>,
    tenant: Option<TenantId>,
    directory: Arc<Directory>,
    sight: Sight,
) -> impl Stream<Item = Result<WatchResponse, Status>> {
    BroadcastStream::new(events).filter_map(move |event| match event {
        Ok(event) => {
            let about = event.what.tenant();
            let wanted = about.is_none() || tenant.is_none() || about == tenant.as_ref();
            let event = if wanted { unsealed(event, &directory, sight) } else { None };
            event.map(|event| Ok(to_wire(event)))
        }
        Err(BroadcastStreamRecvError::Lagged(events)) => Some(Ok(WatchResponse {
            time: Some(time_to_wire(clock::now())),
            event: Some(Told::Missed(Missed { events })),
        })),
    })
}

/// What is told of an event; of what is sealed no more than that a measure stands.
pub(crate) fn unsealed(event: Event, directory: &Directory, sight: Sight) -> Option<Event> {
    if sight == Sight::Whole {
        return Some(event);
    }
    let snapshot = directory.glance();
    match &event.what {
        What::ViolationOpened(violation) | What::ViolationClosed(violation) => {
            (!snapshot.is_sealed(&violation.tenant, &violation.clause)).then_some(event)
        }
        What::Decided(decision) => (!snapshot.is_sealed(&decision.tenant, &decision.clause)).then_some(event),
        What::MeasureStands { node, measure }
            if snapshot.is_sealed(&measure.decision.tenant, &measure.decision.clause) =>
        {
            let measure = Measure { decision: veiled(&measure.decision), ..Measure::clone(measure) };
            Some(Event {
                at: event.at,
                what: What::MeasureStands { node: node.clone(), measure: measure.into() },
            })
        }
        What::NodeEvent { event: told, .. } => {
            let has_seals = |name: &str| {
                let id: Option<TenantId> = name.parse().ok();
                id.and_then(|id| snapshot.standings.get(&id)).is_some_and(|standing| standing.has_seals())
            };
            (!told.names(has_seals)).then_some(event)
        }
        _ => Some(event),
    }
}

fn to_wire(event: Event) -> WatchResponse {
    let told = match event.what {
        What::ViolationOpened(violation) => Told::ViolationOpened(without_evidence(&violation)),
        What::ViolationClosed(violation) => Told::ViolationClosed(without_evidence(&violation)),
        What::Decided(decision) => Told::Decision((&*decision).into()),
        What::MeasureStands { node, measure } => {
            Told::MeasureStands(MeasureStands { node: node.to_string(), measure: Some((&*measure).into()) })
        }
        What::MeasureLifted { node, decision, tenant, reason, counters } => {
            Told::MeasureLifted(MeasureLifted {
                node: node.to_string(),
                decision: decision.to_string(),
                tenant: tenant.to_string(),
                reason: reason.to_owned(),
                counters: Some(counters.into()),
            })
        }
        What::NodeUp { node } => Told::NodeUp(NodeChange { node: node.to_string(), reason: String::new() }),
        What::NodeDown { node, reason } => Told::NodeDown(NodeChange { node: node.to_string(), reason }),
        What::OrderAnswered { order, kind, tenant, row } => Told::OrderAnswered(OrderAnswered {
            order: order.to_string(),
            tenant: tenant.map(|tenant| tenant.to_string()).unwrap_or_default(),
            kind: kind.to_owned(),
            node: Some(node_order(&row, true)),
        }),
        What::Notice { number, notice } => Told::Notice(NoticeEntry {
            number,
            notice: Some((&*notice).into()),
            made_time: Some(time_to_wire(event.at)),
        }),
        What::NodeEvent { node, event: happened } => Told::NodeEvent(EventEntry {
            node: node.to_string(),
            event: Some((&*happened).into()),
            received_time: Some(time_to_wire(event.at)),
        }),
    };
    WatchResponse { time: Some(time_to_wire(event.at)), event: Some(told) }
}

/// A violation for lists: its numbers stay, its targets and samples are asked for one by one.
pub(super) fn without_evidence(violation: &Violation) -> types::v1::Violation {
    let mut wire = types::v1::Violation::from(violation);
    if let Some(evidence) = &mut wire.evidence {
        evidence.targets.clear();
        evidence.samples.clear();
    }
    wire
}
