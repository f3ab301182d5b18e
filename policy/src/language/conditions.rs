//! What decides which step of a ladder is taken: how grave it is, how often it happened, who does it to whom, and how much time there is
//! to mend it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Step;
use crate::reader::{format_duration, parse_duration};
use crate::tenant::Name;
use crate::time::Timestamp;

const SECONDS_A_DAY: i64 = 86_400;

/// Against whom a rule protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whose {
    /// The provider's own networks.
    Own,
    /// Everybody else.
    ThirdParty,
}

impl Whose {
    /// The word in policies and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::ThirdParty => "third-party",
        }
    }
}

/// From when on abuse is grave enough to begin higher on the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Severe {
    /// So many times the number that it was found by.
    pub times: f64,
    /// The step that is taken at once, counted from 0.
    pub step: usize,
}

/// How soon it must happen again to begin higher on the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeat {
    /// After the strike before.
    pub within: Duration,
    /// The step that is taken at once, counted from 0.
    pub step: usize,
}

/// From when on what a reseller's customers do is held against the reseller as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Escalation {
    /// Strikes of all its customers together.
    pub violations: u32,
    /// Customers with a strike.
    pub children: u32,
    /// Strikes no older than this count.
    pub within: Duration,
    /// The reseller's own steps. Not empty.
    pub ladder: Vec<Step>,
}

impl Escalation {
    /// What is behind a rule's key where it is about a reseller.
    pub const SUFFIX: &str = ".parent";
    /// The number that is told of what is held against a reseller: how many strikes its customers had.
    pub const COUNTED: &str = "violations_of_customers";

    /// The rule whose key is behind one that is about a reseller; `None` for a key that is not of that form.
    #[must_use]
    pub fn rule_behind(key: &Name) -> Option<Name> {
        key.as_str().strip_suffix(Self::SUFFIX)?.parse().ok()
    }
}

/// How long somebody has to mend something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grace {
    /// This long.
    Span(Duration),
    /// To the end of so many working days after the one on which they were told.
    WorkingDays(u16),
}

impl Grace {
    /// How it is written.
    pub const SYNTAX: &str =
        "a time such as \"10m\" or \"24h\", or working days such as \"2 working days\" (1 to 250)";

    /// What all of them look like, as a regular expression.
    pub(super) const PATTERN: &str = "^[0-9]+(ms|s|m|h|d| working days?)$";

    /// From what a policy says; `None` for anything that is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let days = text.strip_suffix(" working days").or_else(|| text.strip_suffix(" working day"));
        let Some(days) = days else { return parse_duration(text).map(Self::Span) };
        // Digits alone: a sign would do for the library.
        let is_number = !days.is_empty() && days.bytes().all(|byte| byte.is_ascii_digit());
        let days = days.parse::<u16>().ok().filter(|days| is_number && (1..=250).contains(days))?;
        Some(Self::WorkingDays(days))
    }

    /// When it is over for whoever was told at `at`.
    #[must_use]
    pub fn end(self, at: Timestamp, calendar: &Calendar) -> Timestamp {
        match self {
            Self::Span(span) => at + span,
            Self::WorkingDays(days) => calendar.after_working_days(at, days),
        }
    }
}

impl fmt::Display for Grace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Span(span) => f.write_str(&format_duration(*span)),
            Self::WorkingDays(1) => f.write_str("1 working day"),
            Self::WorkingDays(days) => write!(f, "{days} working days"),
        }
    }
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weekday {
    /// Monday.
    Monday,
    /// Tuesday.
    Tuesday,
    /// Wednesday.
    Wednesday,
    /// Thursday.
    Thursday,
    /// Friday.
    Friday,
    /// Saturday.
    Saturday,
    /// Sunday.
    Sunday,
}

impl Weekday {
    /// All of them with their words in policies.
    pub const ALL: [(&str, Self); 7] = [
        ("monday", Self::Monday),
        ("tuesday", Self::Tuesday),
        ("wednesday", Self::Wednesday),
        ("thursday", Self::Thursday),
        ("friday", Self::Friday),
        ("saturday", Self::Saturday),
        ("sunday", Self::Sunday),
    ];

    /// Of a day, counted from 1 January 1970, which was a Thursday.
    fn of(day: i64) -> Self {
        let place = usize::try_from((day + 3).rem_euclid(7)).expect("below seven");
        Self::ALL[place].1
    }
}

/// On which days people work, where the provider is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    /// How far the provider's clocks are ahead of UTC, in seconds. Summer time is left out: it moves the end of a day by an hour.
    pub offset_seconds: i32,
    /// Days of the week on which nobody works.
    pub weekend: BTreeSet<Weekday>,
    /// Other days on which nobody works, counted from 1 January 1970.
    pub holidays: BTreeSet<i64>,
}

impl Default for Calendar {
    /// UTC, Saturday and Sunday, no holidays.
    fn default() -> Self {
        let weekend = BTreeSet::from([Weekday::Saturday, Weekday::Sunday]);
        Self { offset_seconds: 0, weekend, holidays: BTreeSet::new() }
    }
}

impl Calendar {
    /// The end of the `days`th working day after the day of `at`. Where there is none within ten years, that long after.
    #[must_use]
    pub fn after_working_days(&self, at: Timestamp, days: u16) -> Timestamp {
        const TEN_YEARS: i64 = 3_653;
        let seconds = i64::try_from(at.as_nanos() / 1_000_000_000).unwrap_or(i64::MAX - SECONDS_A_DAY);
        let told = (seconds + i64::from(self.offset_seconds)).div_euclid(SECONDS_A_DAY);
        let working = (told + 1..=told + TEN_YEARS).filter(|day| self.is_working_day(*day));
        let last = working.take(days.into()).last().unwrap_or(told);
        let end = (last + 1) * SECONDS_A_DAY - i64::from(self.offset_seconds);
        Timestamp::from_secs(u64::try_from(end).unwrap_or_default()).max(at)
    }

    fn is_working_day(&self, day: i64) -> bool {
        !self.weekend.contains(&Weekday::of(day)) && !self.holidays.contains(&day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn day(text: &str) -> i64 {
        i64::try_from(at(&format!("{text}T00:00:00Z")).as_nanos() / 1_000_000_000).unwrap() / SECONDS_A_DAY
    }

    #[test]
    fn working_days_leave_out_weekends_and_holidays() {
        let calendar = Calendar {
            offset_seconds: 3_600,
            holidays: ["2026-12-25", "2026-12-26", "2027-01-01"].map(day).into(),
            ..Calendar::default()
        };
        for (told, days, expect) in [
            // A Tuesday; two working days are over at midnight after Thursday, in the provider's zone.
            ("2026-11-24T10:00:00Z", 2, "2026-11-26T23:00:00Z"),
            // On a Friday, at night: in the provider's zone it is Saturday.
            ("2026-11-27T23:30:00Z", 1, "2026-11-30T23:00:00Z"),
            ("2026-11-27T22:30:00Z", 1, "2026-11-30T23:00:00Z"),
            // Christmas is a Friday and a Saturday.
            ("2026-12-24T08:00:00Z", 1, "2026-12-28T23:00:00Z"),
            ("2026-12-31T08:00:00Z", 2, "2027-01-05T23:00:00Z"),
        ] {
            let end = Grace::WorkingDays(days).end(at(told), &calendar);
            assert_eq!(end, at(expect), "{days} after {told}: {end}");
        }
        let never = Calendar { weekend: Weekday::ALL.map(|(_, day)| day).into(), ..Calendar::default() };
        assert_eq!(never.after_working_days(at("2026-11-24T10:00:00Z"), 2), at("2026-11-25T00:00:00Z"));
    }

    #[test]
    fn grace_is_a_time_or_working_days() {
        for (text, expect) in [
            ("10m", Some(Grace::Span(Duration::from_secs(600)))),
            ("1 working day", Some(Grace::WorkingDays(1))),
            ("2 working days", Some(Grace::WorkingDays(2))),
            ("0 working days", None),
            ("251 working days", None),
            ("+2 working days", None),
            ("2 days", None),
            ("", None),
        ] {
            assert_eq!(Grace::parse(text), expect, "{text}");
            if let Some(grace) = expect {
                assert_eq!(Grace::parse(&grace.to_string()), expect);
            }
        }
    }
}
