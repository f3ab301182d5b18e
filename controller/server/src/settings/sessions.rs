//! `[sessions]`: how long people are logged in.

use std::time::Duration;

use reeve_policy::reader::parse_duration;
use serde::Deserialize;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// How long people are logged in. That they show a second factor is no setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// How long a session may be silent.
    pub idle: Duration,
    /// How long one lasts, whatever is done.
    pub life: Duration,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { idle: MINUTE * 30, life: HOUR * 12 }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SessionsText {
    idle: Option<String>,
    life: Option<String>,
}

impl TryFrom<SessionsText> for Sessions {
    type Error = String;

    fn try_from(read: SessionsText) -> Result<Self, String> {
        let usual = Self::default();
        let span = |key: &str, text: Option<String>, usual| match text {
            None => Ok(usual),
            Some(text) => parse_duration(&text)
                .filter(|span| (MINUTE..=DAY).contains(span))
                .ok_or_else(|| format!("sessions.{key}: {text:.40?} is not 1m to 24h")),
        };
        Ok(Self { idle: span("idle", read.idle, usual.idle)?, life: span("life", read.life, usual.life)? })
    }
}
