//! Usage: how much a tenant sent and received in a calendar month.
//!
//! Months are those of UTC: a month must begin everywhere at once, and mean the same on every node of a fleet.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::tenant::TenantId;
use crate::time::Timestamp;

/// A calendar month in UTC, from 1970 to 2554.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Month {
    year: u16,
    /// 1 to 12.
    month: u8,
}

const YEARS: std::ops::RangeInclusive<u16> = 1970..=2554;

impl Month {
    /// The month that a time lies in.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        let (year, month) = civil(at.as_nanos() / 1_000_000_000 / SECONDS_PER_DAY);
        Self { year, month }
    }

    /// Its first moment.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp::from_secs(days(self.year, self.month) * SECONDS_PER_DAY)
    }

    /// The first moment after it.
    #[must_use]
    pub fn end(self) -> Timestamp {
        match self.month {
            12 => Self { year: self.year + 1, month: 1 }.start(),
            month => Self { year: self.year, month: month + 1 }.start(),
        }
    }
}

const SECONDS_PER_DAY: u64 = 86_400;
/// Days in 400 years of the Gregorian calendar, after which it repeats itself.
const DAYS_PER_ERA: u64 = 146_097;
/// Days from the 1st of March of the year 0 to the Unix epoch.
const EPOCH_DAY: u64 = 719_468;

/// Days from the Unix epoch to the first of a month. Years are reckoned from March, so that a leap day is a year's last.
fn days(year: u16, month: u8) -> u64 {
    let year = u64::from(year) - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let from_march = (u64::from(month) + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5;
    era * DAYS_PER_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - EPOCH_DAY
}

/// Year and month of a day, counted from the Unix epoch; the inverse of [`days`].
fn civil(day: u64) -> (u16, u8) {
    let day = day + EPOCH_DAY;
    let (era, day_of_era) = (day / DAYS_PER_ERA, day % DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / (DAYS_PER_ERA - 1)) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = ((5 * day_of_year + 2) / 153 + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (u16::try_from(year).unwrap_or(u16::MAX), u8::try_from(month).unwrap_or(12))
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// A text that is no month.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a month like 2026-01 between 1970 and 2554")]
pub struct ParseMonthError(String);

impl FromStr for Month {
    type Err = ParseMonthError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = |part: &str, len: usize| {
            (part.len() == len && part.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| part.parse().ok())?
        };
        let read = || -> Option<Self> {
            let (year, month) = text.split_once('-')?;
            let (year, month): (u16, u16) = (digits(year, 4)?, digits(month, 2)?);
            let good = YEARS.contains(&year) && (1..=12).contains(&month);
            good.then(|| Self { year, month: u8::try_from(month).unwrap_or(12) })
        };
        read().ok_or_else(|| ParseMonthError(text.chars().take(32).collect()))
    }
}

impl From<Month> for String {
    fn from(month: Month) -> Self {
        month.to_string()
    }
}

impl TryFrom<String> for Month {
    type Error = ParseMonthError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// What a tenant sent and received in a month. It only grows: of two of the same tenant and month the greater numbers hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Usage {
    /// The tenant.
    pub tenant: TenantId,
    /// The month.
    pub month: Month,
    /// Bytes to the tenant.
    #[serde(rename = "in")]
    pub received: u64,
    /// Bytes from the tenant.
    #[serde(rename = "out")]
    pub sent: u64,
}

impl Usage {
    /// Whose it is, and of which month.
    #[must_use]
    pub const fn key(&self) -> (&TenantId, Month) {
        (&self.tenant, self.month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The month of a time, and its edges.
    fn check(at: &str, month: &str, start: &str, end: &str) {
        let of = Month::of(at.parse().unwrap());
        assert_eq!(of.to_string(), month, "{at}");
        assert_eq!(
            (of.start().to_string(), of.end().to_string()),
            (start.to_owned(), end.to_owned()),
            "{at}"
        );
        assert_eq!(month.parse(), Ok(of));
    }

    #[test]
    fn a_time_lies_in_its_month() {
        check("1970-01-01T00:00:00Z", "1970-01", "1970-01-01T00:00:00Z", "1970-02-01T00:00:00Z");
        check("2024-02-29T23:59:59.999999999Z", "2024-02", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z");
        check("2024-03-01T00:00:00Z", "2024-03", "2024-03-01T00:00:00Z", "2024-04-01T00:00:00Z");
        check("2026-12-31T23:59:59Z", "2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
        check("2100-02-28T12:00:00Z", "2100-02", "2100-02-01T00:00:00Z", "2100-03-01T00:00:00Z");
        let last = Month::of(Timestamp::from_nanos(u64::MAX));
        assert_eq!(last.to_string(), "2554-07");
    }

    #[test]
    fn months_follow_each_other_without_a_gap() {
        let mut month = Month::of(Timestamp::EPOCH);
        while month.end() < Timestamp::from_secs(10_000_000_000) {
            let next = Month::of(month.end());
            assert_eq!(Month::of(Timestamp::from_nanos(month.end().as_nanos() - 1)), month);
            assert!(next > month && next.start() == month.end());
            month = next;
        }
        assert_eq!(month.to_string(), "2286-11");
    }

    #[test]
    fn what_is_no_month_is_refused() {
        for bad in ["", "2026", "2026-13", "2026-00", "26-01", "2026-1", "+026-01", "1969-12", "2555-01"] {
            assert!(bad.parse::<Month>().is_err(), "{bad}");
        }
    }
}
