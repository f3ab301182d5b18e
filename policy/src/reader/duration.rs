//! Times as people write them in configuration: one number and one unit.

use std::time::Duration;

/// Units, largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The longest time that can be written: a hundred years.
const MAX_MS: u64 = 36_525 * 86_400_000;

/// From `500ms`, `60s`, `15m`, `72h`, `180d`; `None` for anything else, and for more than a hundred years.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let millis = number.parse::<u64>().ok()?.checked_mul(*millis)?;
    (millis <= MAX_MS).then(|| Duration::from_millis(millis))
}

/// The way back, in the largest unit that is exact: `90s`, `2h`.
#[must_use]
pub fn format_duration(span: Duration) -> String {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let exact = UNITS.iter().find(|(_, unit)| millis != 0 && millis % unit == 0);
    match exact {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

/// As people say how long something is, in the largest unit of which there are two, so that nobody has to reckon: `90 s`, `3 h`.
#[must_use]
pub fn about(span: Duration) -> String {
    let secs = span.as_secs();
    match secs {
        0..120 => format!("{secs} s"),
        120..7_200 => format!("{} min", secs / 60),
        7_200..172_800 => format!("{} h", secs / 3_600),
        _ => format!("{} days", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back() {
        for text in ["500ms", "60s", "15m", "72h", "180d", "0ms"] {
            let span = parse_duration(text).unwrap();
            assert_eq!(parse_duration(&format_duration(span)), Some(span), "{text}");
        }
        assert_eq!(format_duration(Duration::from_secs(90)), "90s");
        for bad in ["", "5", "s", "-1s", "1 s", "1.5h", "1w", "99999999999d", "1h30m", "٣s"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn people_need_not_reckon() {
        for (secs, told) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_800, "2 days")]
        {
            assert_eq!(about(Duration::from_secs(secs)), told);
        }
    }
}
