//! Notices.

use reeve_policy::{DecisionId, Name, Notice, NoticeId, NoticeKind, ViolationId};

use crate::error::WireError;
use crate::generated::types::v1 as wire;
use crate::read::{choice, parsed, parsed_or_none, time, time_to_wire};

impl From<NoticeKind> for wire::NoticeKind {
    fn from(kind: NoticeKind) -> Self {
        match kind {
            // Nobody is told, so nothing is sent.
            NoticeKind::None => Self::Unspecified,
            NoticeKind::Information => Self::Information,
            NoticeKind::Warning => Self::Warning,
            NoticeKind::Immediate => Self::Immediate,
            NoticeKind::Final => Self::Final,
            NoticeKind::Lifted => Self::Lifted,
        }
    }
}

fn kind(value: i32) -> Result<NoticeKind, WireError> {
    choice("kind", value, "1 (information) to 5 (lifted)", |kind| {
        Some(match kind {
            wire::NoticeKind::Unspecified => return None,
            wire::NoticeKind::Information => NoticeKind::Information,
            wire::NoticeKind::Warning => NoticeKind::Warning,
            wire::NoticeKind::Immediate => NoticeKind::Immediate,
            wire::NoticeKind::Final => NoticeKind::Final,
            wire::NoticeKind::Lifted => NoticeKind::Lifted,
        })
    })
}

impl From<&Notice> for wire::Notice {
    fn from(notice: &Notice) -> Self {
        Self {
            id: notice.id.to_string(),
            recipient: notice.recipient.to_string(),
            tenant: notice.tenant.to_string(),
            decision: notice.decision.as_ref().map(ToString::to_string).unwrap_or_default(),
            violation: notice.violation.as_ref().map(ToString::to_string).unwrap_or_default(),
            kind: wire::NoticeKind::from(notice.kind).into(),
            language: notice.language.to_string(),
            time: Some(time_to_wire(notice.at)),
            subject: notice.subject.clone(),
            text: notice.text.clone(),
        }
    }
}

impl TryFrom<wire::Notice> for Notice {
    type Error = WireError;

    fn try_from(notice: wire::Notice) -> Result<Self, WireError> {
        let violation: Option<Name> = parsed_or_none("violation", &notice.violation)?;
        Ok(Self {
            id: NoticeId(notice.id),
            recipient: parsed("recipient", &notice.recipient)?,
            tenant: parsed("tenant", &notice.tenant)?,
            decision: parsed_or_none("decision", &notice.decision)?.map(DecisionId),
            violation: violation.map(ViolationId::from),
            kind: kind(notice.kind)?,
            language: parsed("language", &notice.language)?,
            at: time("time", notice.time)?,
            subject: notice.subject,
            text: notice.text,
        })
    }
}
