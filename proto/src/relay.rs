//! What mail servers say that are asked whether they are open relays.

use reeve_policy::{CheckVerdict, RelayAnswer, RelayChecked};

use crate::error::WireError;
use crate::generated::types::v1 as wire;
use crate::read::{choice, clip, message, parsed, text, time, time_to_wire};

impl From<CheckVerdict> for wire::CheckVerdict {
    /// Who was not asked is not told of; as if there were no answer.
    fn from(verdict: CheckVerdict) -> Self {
        match verdict {
            CheckVerdict::Accepted => Self::Accepted,
            CheckVerdict::Refused => Self::Refused,
            CheckVerdict::Deferred => Self::Deferred,
            CheckVerdict::Unclear => Self::Unclear,
            CheckVerdict::Unreachable | CheckVerdict::NotAsked => Self::Unreachable,
        }
    }
}

fn verdict(value: i32) -> Result<CheckVerdict, WireError> {
    choice("verdict", value, "1 (accepted) to 5 (unreachable)", |verdict| match verdict {
        wire::CheckVerdict::Unspecified => None,
        wire::CheckVerdict::Accepted => Some(CheckVerdict::Accepted),
        wire::CheckVerdict::Refused => Some(CheckVerdict::Refused),
        wire::CheckVerdict::Deferred => Some(CheckVerdict::Deferred),
        wire::CheckVerdict::Unclear => Some(CheckVerdict::Unclear),
        wire::CheckVerdict::Unreachable => Some(CheckVerdict::Unreachable),
    })
}

impl From<&RelayAnswer> for wire::RelayAnswer {
    fn from(answer: &RelayAnswer) -> Self {
        Self {
            server: answer.server.to_string(),
            verdict: wire::CheckVerdict::from(answer.verdict).into(),
            outside: answer.is_outside,
        }
    }
}

impl TryFrom<wire::RelayAnswer> for RelayAnswer {
    type Error = WireError;

    fn try_from(answer: wire::RelayAnswer) -> Result<Self, WireError> {
        Ok(Self {
            server: parsed("server", &answer.server)?,
            verdict: verdict(answer.verdict)?,
            is_outside: answer.outside,
        })
    }
}

impl From<&RelayChecked> for wire::RelayChecked {
    fn from(checked: &RelayChecked) -> Self {
        Self {
            tenant: checked.tenant.to_string(),
            answer: Some((&checked.answer).into()),
            operator: clip(&checked.by),
            time: Some(time_to_wire(checked.at)),
        }
    }
}

impl TryFrom<wire::RelayChecked> for RelayChecked {
    type Error = WireError;

    fn try_from(checked: wire::RelayChecked) -> Result<Self, WireError> {
        Ok(Self {
            tenant: parsed("tenant", &checked.tenant)?,
            answer: message("answer", checked.answer)?,
            by: text("operator", checked.operator)?,
            at: time("time", checked.time)?,
        })
    }
}
