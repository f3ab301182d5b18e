//! What a decision of policy was reckoned from: written down when it is made and kept with it, so that it can be explained later, by
//! another version and under another policy, without guessing.
//!
//! Left out: what it looks like to people ([`crate::explain`]), and the making of it (the judge's).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::class::Class;
use crate::language::{Begin, History};
use crate::tenant::Profile;
use crate::time::Timestamp;

/// Where a number is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whence {
    /// The detector's default, which the policy leaves as it is.
    Detector,
    /// The policy, or what it extends.
    Policy,
    /// Multiplied or replaced for the tenant's profile.
    Profile,
    /// Said of the tenant alone: in the policy, or in its own entry.
    Tenant,
    /// Made by the detector of its numbers, as twice as many for UDP.
    Made,
}

impl Whence {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Detector, Self::Policy, Self::Profile, Self::Tenant, Self::Made];

    /// The word in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detector => "detector",
            Self::Policy => "policy",
            Self::Profile => "profile",
            Self::Tenant => "tenant",
            Self::Made => "made",
        }
    }
}

/// A number that was crossed, and where it is from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldTo {
    /// What was measured.
    pub name: String,
    /// What was seen.
    pub seen: f64,
    /// What is allowed.
    pub limit: f64,
    /// Where that is from.
    pub from: Whence,
    /// What the policy allows whoever nothing is said of; `None` where that is the same or not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common: Option<f64>,
}

/// What made it this step of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The episode begins there: for the number of strikes.
    Strikes,
    /// ... because it happened again soon.
    Repeat,
    /// ... because the tenant is known for it.
    KnownOffender,
    /// ... because it is grave.
    Severe,
    /// It became grave in the midst of the episode.
    Worsened,
    /// It went on after the patience of the step before was over.
    WentOn,
    /// It went on after the step's measure had run out.
    RanOut,
    /// It went on where the step's measures do not reach.
    Elsewhere,
    /// The step was only told before, and may be carried out now.
    MayActNow,
    /// The step was softened before, and is tried again.
    TriedAgain,
    /// The step before had nothing to aim at.
    NothingToAimAt,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Strikes,
        Self::Repeat,
        Self::KnownOffender,
        Self::Severe,
        Self::Worsened,
        Self::WentOn,
        Self::RanOut,
        Self::Elsewhere,
        Self::MayActNow,
        Self::TriedAgain,
        Self::NothingToAimAt,
    ];

    /// The word in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strikes => "strikes",
            Self::Repeat => "repeat",
            Self::KnownOffender => "known-offender",
            Self::Severe => "severe",
            Self::Worsened => "worsened",
            Self::WentOn => "went-on",
            Self::RanOut => "ran-out",
            Self::Elsewhere => "elsewhere",
            Self::MayActNow => "may-act-now",
            Self::TriedAgain => "tried-again",
            Self::NothingToAimAt => "nothing-to-aim-at",
        }
    }

    /// Whether the episode begins with it.
    #[must_use]
    pub const fn is_beginning(self) -> bool {
        matches!(self, Self::Strikes | Self::Repeat | Self::KnownOffender | Self::Severe)
    }
}

impl From<Begin> for Cause {
    fn from(begin: Begin) -> Self {
        match begin {
            Begin::Strikes => Self::Strikes,
            Begin::Repeat => Self::Repeat,
            Begin::KnownOffender => Self::KnownOffender,
            Begin::Severe => Self::Severe,
        }
    }
}

/// Something that was otherwise, or might be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Condition {
    /// Less than the limit of the first number had been seen.
    Below,
    /// The tenant had another profile, and with it another limit.
    Profile {
        /// Which.
        profile: Profile,
        /// The first number's limit with it.
        limit: f64,
    },
    /// It were the first strike.
    FirstStrike,
    /// The strike before were longer ago.
    NotSoon {
        /// Than this.
        within: Duration,
    },
    /// The tenant were not known for it.
    NotKnown,
    /// It were less than so many times the limit.
    Milder {
        /// How many times.
        times: f64,
    },
    /// It were at least so many times the limit.
    Graver {
        /// How many times.
        times: f64,
    },
    /// It had ended before the patience of the step before was over.
    Ended,
    /// Nothing had softened it.
    NotSoftened,
    /// Everybody concerned let it be enforced.
    Enforced,
    /// It is the next strike.
    NextStrike,
}

/// What would have come of it otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Otherwise {
    /// If this were so.
    #[serde(rename = "if")]
    pub condition: Condition,
    /// The step that would have been taken, counted from 1; `None` for none.
    pub step: Option<u32>,
}

/// A step that was taken before in the same episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Which, counted from 1.
    pub step: u32,
    /// When.
    pub at: Timestamp,
}

/// Why an exemption of the tenant's did not excuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum WhyNot {
    /// It had ended.
    Over {
        /// When.
        at: Timestamp,
    },
    /// It had not begun.
    NotYet {
        /// When it does.
        at: Timestamp,
    },
    /// It is for other targets or ports.
    NotListed {
        /// So many of those that the alert names are listed.
        listed: u32,
        /// So many does it name.
        named: u32,
    },
    /// It is for some targets, and the class is about none.
    NoTargets,
    /// It is from another clause.
    OtherClause,
}

/// An exemption that nearly applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Near {
    /// It in one line: from what, for whom, by which permission, how long.
    pub exemption: String,
    /// Why it did not apply.
    pub why: WhyNot,
    /// Whether it would have excused all of it, had it not been for that alone.
    pub would_do: bool,
}

/// What a decision of policy was reckoned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reckoning {
    /// What was seen.
    pub class: Class,
    /// What the tenant was expected to do.
    pub profile: Profile,
    /// The numbers that have a limit, the one that it was found by first.
    pub numbers: Vec<HeldTo>,
    /// The time in which they are counted; zero for rates.
    pub window: Duration,
    /// The clauses that the rule serves beside the decision's.
    #[serde(default)]
    pub also: Vec<String>,
    /// What was known of the tenant when it became a strike.
    pub history: History,
    /// Strikes that ceased to count with this one: they are beyond the rule's memory, or have faded.
    pub faded: u32,
    /// How long a strike counts.
    pub memory: Duration,
    /// The rule's steps in words.
    pub ladder: Vec<String>,
    /// What made it this step.
    pub cause: Cause,
    /// The step that was taken before in the same episode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    /// When the next step is taken if it goes on; `None` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// Who lets it be told only: `node`, `policy`, `rule`, `tenant`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed_by: Vec<String>,
    /// Protected destinations that were taken out of its scope.
    #[serde(default)]
    pub spared: u32,
    /// The tenant's exemptions that nearly applied, those from the same clause first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub near: Vec<Near>,
    /// What would have come of it otherwise.
    #[serde(default)]
    pub otherwise: Vec<Otherwise>,
}
