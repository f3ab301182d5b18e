//! `[approval]`: which acts take a second person.

use std::collections::BTreeSet;
use std::time::Duration;

use reeve_policy::reader::parse_duration;
use reeve_policy::{Name, TenantId};
use serde::Deserialize;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// How long an act may wait, and over how long acts are counted: at least and at most.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3_600);
/// The most that somebody may be allowed to do alone; from there on nothing is counted any more.
const MOST: u32 = 10_000;

/// Which acts take a second person. Without it in the settings none does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// How long an act waits.
    pub expires: Duration,
    /// Over how long acts are counted.
    pub window: Duration,
    /// How many tenants somebody may suspend, limit or block alone in that time.
    pub tenants: u32,
    /// How many tenants they may take away by imports alone in that time.
    pub removed: u32,
    /// How many nodes they may resume or release the brakes of alone in that time.
    pub nodes: u32,
    /// Tenants whom nobody suspends, limits or blocks alone.
    pub important: BTreeSet<TenantId>,
    /// Callers whose acts are not counted, such as `token.billing`; all else holds for them.
    pub uncounted: BTreeSet<Name>,
    /// Whether revoking somebody else's certificates or token takes a second person.
    pub revoke: bool,
}

impl Default for Approval {
    fn default() -> Self {
        Self {
            expires: DAY,
            window: HOUR,
            tenants: 20,
            removed: 20,
            nodes: 3,
            important: BTreeSet::new(),
            uncounted: BTreeSet::new(),
            revoke: false,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ApprovalText {
    expires: Option<String>,
    window: Option<String>,
    tenants: Option<u32>,
    removed: Option<u32>,
    nodes: Option<u32>,
    important: Vec<String>,
    uncounted: Vec<String>,
    revoke: Option<bool>,
}

impl TryFrom<ApprovalText> for Approval {
    type Error = String;

    fn try_from(read: ApprovalText) -> Result<Self, String> {
        let usual = Self::default();
        let span = |key: &str, text: Option<String>, usual| match text {
            None => Ok(usual),
            Some(text) => parse_duration(&text)
                .filter(|span| (SHORTEST..=LONGEST).contains(span))
                .ok_or_else(|| format!("approval.{key}: {text:.40?} is not 1m to 31d")),
        };
        let number = |key: &str, given: Option<u32>, usual| match given.unwrap_or(usual) {
            number if number <= MOST => Ok(number),
            number => Err(format!("approval.{key}: {number} is not 0 to {MOST}")),
        };
        let important = read
            .important
            .iter()
            .map(|text| text.parse().map_err(|error| format!("approval.important: {text:.60?}: {error}")));
        let uncounted = read
            .uncounted
            .iter()
            .map(|text| text.parse().map_err(|error| format!("approval.uncounted: {text:.60?}: {error}")));
        Ok(Self {
            expires: span("expires", read.expires, usual.expires)?,
            window: span("window", read.window, usual.window)?,
            tenants: number("tenants", read.tenants, usual.tenants)?,
            removed: number("removed", read.removed, usual.removed)?,
            nodes: number("nodes", read.nodes, usual.nodes)?,
            important: important.collect::<Result<_, String>>()?,
            uncounted: uncounted.collect::<Result<_, String>>()?,
            revoke: read.revoke.unwrap_or(usual.revoke),
        })
    }
}
