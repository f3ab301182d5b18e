//! Rates: how much of something a limit lets through.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// New TCP connections, and every packet of protocols without connections.
    Connections,
    /// Packets.
    Packets,
    /// Bytes, from the network header on.
    Bytes,
    /// Calls: new connections, and segments with payload, each at this rate. The kernel cannot tell calls apart; this is exact
    /// for one call a connection and close for calls that follow each other in one.
    Calls,
}

/// So much in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Rate {
    /// How much. At least 1.
    pub amount: u32,
    /// Of what.
    pub unit: Unit,
    /// In how many seconds: 1, 60, 3,600 or 86,400.
    pub seconds: u32,
    /// How much at once after a pause. At least 1; of bytes at least the amount.
    pub burst: u32,
}

/// The spans that a rate may be over.
const SPANS: [(&str, u32); 4] = [("second", 1), ("minute", 60), ("hour", 3_600), ("day", 86_400)];

/// What may be counted, and how many of the unit's own each is.
const UNITS: [(&str, Unit, u32); 6] = [
    ("connections", Unit::Connections, 1),
    ("packets", Unit::Packets, 1),
    ("calls", Unit::Calls, 1),
    ("mbytes", Unit::Bytes, 1 << 20),
    ("kbytes", Unit::Bytes, 1 << 10),
    ("bytes", Unit::Bytes, 1),
];

impl Rate {
    /// What a rate may look like, for people.
    pub const SYNTAX: &str = "AMOUNT[ connections|packets|calls|bytes|kbytes|mbytes]/second|minute|hour|day[ burst AMOUNT], such as \"10/minute\"";

    /// What every rate looks like, as a regular expression.
    pub(crate) const PATTERN: &str = "^[0-9]+( (connections|packets|calls|bytes|kbytes|mbytes))?/(second|minute|hour|day)( burst [0-9]+)?$";

    /// Less than a full frame at once would let no full frame through.
    const SMALLEST_BURST_BYTES: u32 = 10 * 1_514;
    /// What slow rates let through at once.
    const SMALL_BURST: u32 = 3;
    /// A segment that is dropped comes again after a time that doubles: 0.2 s, 0.4 s, 0.8 s. What it waits longer than it has to is made good
    /// by the next one, if more than one may be saved.
    const SMALLEST_BURST_CALLS: u32 = 2;

    /// What is let through at once, where nobody said: what a second allows, or three of what is slow, but no more than a twentieth of what
    /// a minute allows, so that nobody gets much more in a minute than was asked for; of bytes what the whole time allows.
    fn default_burst(amount: u32, unit: Unit, seconds: u32) -> u32 {
        let of_minute = u32::try_from(u64::from(amount) * 3 / u64::from(seconds)).unwrap_or(u32::MAX);
        let few = of_minute.min((amount / seconds).max(Self::SMALL_BURST));
        match unit {
            Unit::Bytes => amount.max(Self::SMALLEST_BURST_BYTES),
            Unit::Calls => few.max(Self::SMALLEST_BURST_CALLS),
            Unit::Connections | Unit::Packets => few.max(1),
        }
    }

    /// The burst that nftables is to be told: of bytes it lets the amount through at once, and the burst beyond that.
    #[must_use]
    pub const fn kernel_burst(self) -> u32 {
        match self.unit {
            Unit::Bytes => self.burst.saturating_sub(self.amount),
            _ => self.burst,
        }
    }

    /// The mean time from one to the next.
    #[must_use]
    pub fn interval(self) -> Duration {
        Duration::from_secs(self.seconds.into()) / self.amount.max(1)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per =
            SPANS.iter().find(|(_, seconds)| *seconds == self.seconds).map_or("second", |(name, _)| name);
        let fits = |(_, unit, size): &&(&str, Unit, u32)| {
            *unit == self.unit && self.amount.is_multiple_of(*size) && self.amount >= *size
        };
        let (name, _, size) = UNITS.iter().find(fits).unwrap_or(&UNITS[0]);
        match self.unit {
            Unit::Connections => write!(f, "{}/{per}", self.amount)?,
            _ => write!(f, "{} {name}/{per}", self.amount / size)?,
        }
        if self.burst != Self::default_burst(self.amount, self.unit, self.seconds) {
            write!(f, " burst {}", self.burst)?;
        }
        Ok(())
    }
}

/// A text that is no rate.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no rate; {syntax}", syntax = Rate::SYNTAX)]
pub struct ParseRateError(String);

impl FromStr for Rate {
    type Err = ParseRateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| ParseRateError(text.chars().take(64).collect()))
    }
}

fn parse(text: &str) -> Option<Rate> {
    let (rate, burst) = match text.split_once(" burst ") {
        Some((rate, burst)) => (rate, Some(burst.parse::<u32>().ok().filter(|burst| *burst > 0)?)),
        None => (text, None),
    };
    let (much, per) = rate.split_once('/')?;
    let seconds = SPANS.iter().find(|(name, _)| *name == per)?.1;
    let (amount, unit, size) = match much.split_once(' ') {
        None => (much, Unit::Connections, 1),
        Some((amount, word)) => {
            let (_, unit, size) = UNITS.iter().find(|(name, ..)| *name == word)?;
            (amount, *unit, *size)
        }
    };
    let amount = amount.parse::<u32>().ok()?.checked_mul(size).filter(|amount| *amount > 0)?;
    let burst = burst.unwrap_or_else(|| Rate::default_burst(amount, unit, seconds));
    // The kernel counts a limit's bytes over the whole of its time.
    if unit == Unit::Bytes && burst < amount {
        return None;
    }
    Some(Rate { amount, unit, seconds, burst })
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl TryFrom<String> for Rate {
    type Error = ParseRateError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_come_back() {
        for (text, amount, unit, seconds, burst) in [
            ("1/second", 1, Unit::Connections, 1, 3),
            ("10/minute", 10, Unit::Connections, 60, 1),
            ("40/minute", 40, Unit::Connections, 60, 2),
            ("10/hour", 10, Unit::Connections, 3_600, 1),
            ("100/second", 100, Unit::Connections, 1, 100),
            ("4000000000 packets/second", 4_000_000_000, Unit::Packets, 1, 4_000_000_000),
            ("1 calls/second", 1, Unit::Calls, 1, 3),
            ("10 calls/minute", 10, Unit::Calls, 60, 2),
            ("1/second burst 1", 1, Unit::Connections, 1, 1),
            ("1000 packets/second", 1_000, Unit::Packets, 1, 1_000),
            ("1 mbytes/second", 1 << 20, Unit::Bytes, 1, 1 << 20),
            ("3 kbytes/minute", 3_072, Unit::Bytes, 60, 15_140),
            ("1 calls/second burst 10", 1, Unit::Calls, 1, 10),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate, Rate { amount, unit, seconds, burst });
            assert_eq!(rate.to_string(), text);
        }
        for bad in [
            "",
            "10",
            "/second",
            "0/second",
            "10/fortnight",
            "10 cows/second",
            "5000 mbytes/second",
            "9 bytes/second burst 8",
            "1/second burst 0",
            "-1/second",
        ] {
            assert!(bad.parse::<Rate>().is_err(), "{bad:?}");
        }
    }
}
