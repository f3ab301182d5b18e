//! `[cases]`: when cases end by themselves.

use std::time::Duration;

use serde::Deserialize;

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// The longest that may be asked for.
const MAX_DAYS: u32 = 3_650;
/// If nobody says otherwise.
const DAYS: u32 = 14;

/// When cases end by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cases {
    /// After nothing of them has gone on for so long; `None`: never.
    pub quiet: Option<Duration>,
}

impl Default for Cases {
    fn default() -> Self {
        Self { quiet: Some(DAY * DAYS) }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CasesText {
    close_after_days: u32,
}

impl Default for CasesText {
    fn default() -> Self {
        Self { close_after_days: DAYS }
    }
}

impl TryFrom<CasesText> for Cases {
    type Error = String;

    fn try_from(read: CasesText) -> Result<Self, String> {
        let days = read.close_after_days;
        if days > MAX_DAYS {
            return Err(format!("cases.close_after_days: {days} is not 0 to {MAX_DAYS} days"));
        }
        Ok(Self { quiet: (days > 0).then_some(DAY * days) })
    }
}
