//! Pauses.

use reeve_policy::{Pause, PauseScope};

use crate::error::WireError;
use crate::generated::types::v1 as types;
use crate::read::{choice, text, time, time_to_wire};

impl From<&Pause> for types::Pause {
    fn from(pause: &Pause) -> Self {
        Self { by: pause.by.clone(), reason: pause.reason.clone(), time: Some(time_to_wire(pause.at)) }
    }
}

impl TryFrom<types::Pause> for Pause {
    type Error = WireError;

    /// Texts are cut to their bounds.
    fn try_from(pause: types::Pause) -> Result<Self, WireError> {
        let (by, reason) = (text("by", pause.by)?, text("reason", pause.reason)?);
        Ok(Self::new(&by, &reason, time("time", pause.time)?))
    }
}

impl From<PauseScope> for types::PauseScope {
    fn from(scope: PauseScope) -> Self {
        match scope {
            PauseScope::Fleet => Self::Fleet,
            PauseScope::Node => Self::Node,
        }
    }
}

pub(crate) fn pause_scope(field: &str, value: i32) -> Result<PauseScope, WireError> {
    choice(field, value, "1 (fleet) or 2 (node)", |scope| match scope {
        types::PauseScope::Unspecified => None,
        types::PauseScope::Fleet => Some(PauseScope::Fleet),
        types::PauseScope::Node => Some(PauseScope::Node),
    })
}
