//! Times as strangers write them. What does not say its offset from UTC is not clear, and is none.

use jiff::fmt::rfc2822::DateTimeParser;
use reeve_policy::Timestamp;

use crate::refused::{Reason, Refused};
use crate::words;

/// How far a reporter's clock may be ahead of ours, in seconds: a day, for those who mistake their own zone as well.
const AHEAD_SECS: u64 = 86_400;

/// RFC 5322, section 4.3: zones by name have to be understood, and those without comment mean what they meant in 1982. Weekdays are
/// wrong so often that they are not looked at.
const MAIL: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);

/// Other forms that reports are seen with.
const FORMS: [&str; 10] = [
    "%Y-%m-%d %H:%M:%S %z",
    "%Y-%m-%d %H:%M:%S%z",
    "%Y-%m-%d %H:%M:%S %:z",
    "%Y-%m-%dT%H:%M:%S%z",
    "%Y-%m-%d %H:%M %z",
    "%Y/%m/%d %H:%M:%S %z",
    "%b %d %Y %H:%M:%S %z",
    "%a %b %d %H:%M:%S %Y %z",
    "%a, %d %b %Y %H:%M:%S %z",
    "%d/%b/%Y:%H:%M:%S %z",
];

/// A time, if `text` is one and clear.
pub(crate) fn read(text: &str) -> Option<Timestamp> {
    let text = words::line(text, 80);
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    if let Ok(at) = MAIL.parse_timestamp(&text) {
        return from_jiff(at);
    }
    // Without a comment behind it, such as `(CET)`, and with UTC as an offset.
    let bare = text.split('(').next().unwrap_or_default().trim();
    let zoned = ["UTC", "GMT", "Z"]
        .iter()
        .find_map(|zone| bare.strip_suffix(zone))
        .map(|bare| format!("{} +0000", bare.trim()));
    let bare = zoned.as_deref().unwrap_or(bare);
    if zoned_is_numeric(bare)
        && let Ok(at) = MAIL.parse_timestamp(bare)
    {
        return from_jiff(at);
    }
    FORMS.iter().find_map(|form| from_jiff(jiff::fmt::strtime::parse(form, bare).ok()?.to_timestamp().ok()?))
}

/// Whether it ends with an offset.
fn zoned_is_numeric(text: &str) -> bool {
    text.rsplit(' ').next().is_some_and(|last| last.starts_with(['+', '-']))
}

fn from_jiff(at: jiff::Timestamp) -> Option<Timestamp> {
    u64::try_from(at.as_nanosecond()).ok().map(Timestamp::from_nanos)
}

/// The time of a field: one that cannot be read is refused, as is one that is still to come.
pub(crate) fn field(text: &str, now: Timestamp) -> Result<Timestamp, Refused> {
    past(read(text).ok_or_else(|| Reason::BadTime.with(text))?, now)
}

/// A time that is not still to come.
pub(crate) fn past(at: Timestamp, now: Timestamp) -> Result<Timestamp, Refused> {
    if at.since(now).as_secs() > AHEAD_SECS {
        return Err(Reason::Future.with(at.to_string()));
    }
    Ok(at)
}

/// The first clear time in words, of the last ten years before `now`.
pub(crate) fn in_text(text: &str, now: Timestamp) -> Option<Timestamp> {
    const OLDEST_SECS: u64 = 10 * 366 * 86_400;
    let is_sound = |at: &Timestamp| *at <= now && now.since(*at).as_secs() < OLDEST_SECS;
    let mut tried = 0;
    for (start, _) in text.match_indices(|letter: char| letter.is_ascii_alphanumeric()) {
        let before = text[..start].chars().next_back();
        if before.is_some_and(char::is_alphanumeric) || !begins_like_time(&text[start..]) {
            continue;
        }
        tried += 1;
        if tried > 200 {
            break;
        }
        if let Some(at) = longest(words::head(&text[start..], 48)).filter(is_sound) {
            return Some(at);
        }
    }
    None
}

/// Whether a time may begin here: a year, a day with a month, or a weekday or month by name.
fn begins_like_time(text: &str) -> bool {
    const NAMES: [&str; 19] = [
        "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul",
        "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let bytes = text.as_bytes();
    if NAMES.iter().any(|name| text.starts_with(name)) {
        return true;
    }
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match digits {
        4 => matches!(bytes.get(4), Some(b'-' | b'/')) && bytes[0] == b'2',
        1 | 2 => {
            matches!(bytes.get(digits), Some(b' ' | b'/'))
                && bytes.get(digits + 1).is_some_and(u8::is_ascii_alphabetic)
        }
        _ => false,
    }
}

/// The longest beginning of `text` that is a time, cut where words end.
fn longest(text: &str) -> Option<Timestamp> {
    let line = text.lines().next().unwrap_or_default();
    let mut ends: Vec<usize> = line
        .char_indices()
        .filter(|(_, letter)| {
            !letter.is_ascii_alphanumeric() && !matches!(letter, ':' | '+' | '-' | '/' | '.')
        })
        .map(|(at, _)| at)
        .collect();
    ends.push(line.len());
    ends.into_iter()
        .rev()
        .filter(|end| *end >= 16)
        .find_map(|end| read(line[..end].trim_end_matches(['.', ':', ',', '-'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_reports_write_them() {
        let cases = [
            "2024-01-15T14:30:25Z",
            "2024-01-15T15:30:25+01:00",
            "Mon, 15 Jan 2024 14:30:25 +0000",
            "Fri, 15 Jan 2024 15:30:25 +0100 (CET)",
            "15 Jan 2024 14:30:25 GMT",
            "Jan 15 2024 15:30:25 +0100",
            "2024-01-15 14:30:25 UTC",
            "2024-01-15 15:30:25 +0100",
            "15/Jan/2024:14:30:25 +0000",
        ];
        for text in cases {
            assert_eq!(read(text), Some(Timestamp::from_secs(1_705_329_025)), "{text}");
            let said = format!("It was seen at {text}, and again.");
            let now = Timestamp::from_secs(1_710_000_000);
            assert_eq!(in_text(&said, now), Some(Timestamp::from_secs(1_705_329_025)), "{said}");
        }
        // RFC 5965, appendix B: on a wrong weekday, in a zone by name.
        assert_eq!(read("Thu, 8 Mar 2005 14:00:00 EDT"), "2005-03-08T18:00:00Z".parse().ok());
        for text in ["2024-01-15 14:30:25", "Jan 15 14:30:25", "yesterday", "", "2024-13-45T99:00:00Z"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_to_come_is_refused() {
        let now = Timestamp::from_secs(1_705_329_025);
        assert!(field("2024-01-16T10:00:00Z", now).is_ok());
        assert_eq!(field("2024-02-15T14:30:25Z", now).unwrap_err().reason, Reason::Future);
        assert_eq!(field("soon", now).unwrap_err().reason, Reason::BadTime);
        assert_eq!(in_text("by 2030-01-01T00:00:00Z at the latest", now), None);
    }
}
