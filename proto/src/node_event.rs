//! Node events.

use reeve_policy::{NodeEvent, NodeEventKind};

use crate::error::WireError;
use crate::generated::types::v1 as types;
use crate::read::{choice, text, time, time_to_wire};

impl From<NodeEventKind> for types::NodeEventKind {
    fn from(kind: NodeEventKind) -> Self {
        match kind {
            NodeEventKind::RulesetChanged => Self::RulesetChanged,
            NodeEventKind::Degraded => Self::Degraded,
            NodeEventKind::DegradedOver => Self::DegradedOver,
            NodeEventKind::JournalBehind => Self::JournalBehind,
            NodeEventKind::JournalBack => Self::JournalBack,
            NodeEventKind::CaptureBlind => Self::CaptureBlind,
            NodeEventKind::CaptureBack => Self::CaptureBack,
            NodeEventKind::CaptureLoss => Self::CaptureLoss,
            NodeEventKind::Braked => Self::Braked,
            NodeEventKind::Paused => Self::Paused,
            NodeEventKind::Resumed => Self::Resumed,
            NodeEventKind::Lifted => Self::Lifted,
            NodeEventKind::Excused => Self::Excused,
            NodeEventKind::ExemptionEnds => Self::ExemptionEnds,
            NodeEventKind::BrakesSet => Self::BrakesSet,
            NodeEventKind::BrakesReleased => Self::BrakesReleased,
            NodeEventKind::RelayChecked => Self::RelayChecked,
        }
    }
}

fn kind(value: i32) -> Result<NodeEventKind, WireError> {
    choice("kind", value, "1 (ruleset changed) to 17 (relay checked)", |kind| {
        Some(match kind {
            types::NodeEventKind::Unspecified => return None,
            types::NodeEventKind::RulesetChanged => NodeEventKind::RulesetChanged,
            types::NodeEventKind::Degraded => NodeEventKind::Degraded,
            types::NodeEventKind::DegradedOver => NodeEventKind::DegradedOver,
            types::NodeEventKind::JournalBehind => NodeEventKind::JournalBehind,
            types::NodeEventKind::JournalBack => NodeEventKind::JournalBack,
            types::NodeEventKind::CaptureBlind => NodeEventKind::CaptureBlind,
            types::NodeEventKind::CaptureBack => NodeEventKind::CaptureBack,
            types::NodeEventKind::CaptureLoss => NodeEventKind::CaptureLoss,
            types::NodeEventKind::Braked => NodeEventKind::Braked,
            types::NodeEventKind::Paused => NodeEventKind::Paused,
            types::NodeEventKind::Resumed => NodeEventKind::Resumed,
            types::NodeEventKind::Lifted => NodeEventKind::Lifted,
            types::NodeEventKind::Excused => NodeEventKind::Excused,
            types::NodeEventKind::ExemptionEnds => NodeEventKind::ExemptionEnds,
            types::NodeEventKind::BrakesSet => NodeEventKind::BrakesSet,
            types::NodeEventKind::BrakesReleased => NodeEventKind::BrakesReleased,
            types::NodeEventKind::RelayChecked => NodeEventKind::RelayChecked,
        })
    })
}

impl From<&NodeEvent> for types::NodeEvent {
    fn from(event: &NodeEvent) -> Self {
        Self {
            time: Some(time_to_wire(event.at)),
            kind: types::NodeEventKind::from(event.kind).into(),
            detail: event.detail.clone(),
        }
    }
}

impl TryFrom<types::NodeEvent> for NodeEvent {
    type Error = WireError;

    /// The line is cut to its bound.
    fn try_from(event: types::NodeEvent) -> Result<Self, WireError> {
        let detail = text("detail", event.detail)?;
        Ok(Self::new(time("time", event.time)?, kind(event.kind)?, &detail))
    }
}
