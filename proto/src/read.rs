//! Reading and writing single fields within their bounds.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use reeve_policy::Timestamp;

use crate::MAX_TEXT_BYTES;
use crate::error::WireError;

/// The longest span that the protocol carries: ten thousand years, as `google.protobuf.Duration` says.
const MAX_SPAN: Duration = Duration::from_secs(315_576_000_000);

/// A field that must be there.
pub(crate) fn required<T>(field: &str, value: Option<T>) -> Result<T, WireError> {
    value.ok_or_else(|| WireError::missing(field))
}

/// A message in a field that must be there.
pub(crate) fn message<W, D>(field: &str, value: Option<W>) -> Result<D, WireError>
where
    D: TryFrom<W, Error = WireError>,
{
    D::try_from(required(field, value)?).map_err(|error| error.within(field))
}

/// A text of at most [`MAX_TEXT_BYTES`].
pub(crate) fn text(field: &str, value: String) -> Result<String, WireError> {
    if value.len() <= MAX_TEXT_BYTES {
        Ok(value)
    } else {
        Err(WireError::new(
            field,
            format_args!("{} bytes", value.len()),
            format!("at most {MAX_TEXT_BYTES} bytes"),
        ))
    }
}

/// A text in a form of its own: a key, an address, a class.
pub(crate) fn parsed<T>(field: &str, value: &str) -> Result<T, WireError>
where
    T: FromStr,
    T::Err: Display,
{
    value.parse().map_err(|error: T::Err| {
        // The parser's own message says best what it wants.
        WireError::new(field, format_args!("`{value}`"), format!("what can be read ({error})"))
    })
}

/// Like [`parsed`], where an empty text stands for nothing.
pub(crate) fn parsed_or_none<T>(field: &str, value: &str) -> Result<Option<T>, WireError>
where
    T: FromStr,
    T::Err: Display,
{
    if value.is_empty() { Ok(None) } else { parsed(field, value).map(Some) }
}

/// A list of at most `max` entries, each read by `entry`, whose errors get the place in the list.
pub(crate) fn list<W, D>(
    field: &str,
    values: Vec<W>,
    max: usize,
    entry: impl Fn(W) -> Result<D, WireError>,
) -> Result<Vec<D>, WireError> {
    if values.len() > max {
        return Err(WireError::new(
            field,
            format_args!("{} entries", values.len()),
            format!("at most {max} entries"),
        ));
    }
    values
        .into_iter()
        .enumerate()
        .map(|(place, value)| entry(value).map_err(|error| error.within(format_args!("{field}[{place}]"))))
        .collect()
}

/// A list of texts in a form of their own.
pub(crate) fn parsed_list<T>(field: &str, values: &[String], max: usize) -> Result<Vec<T>, WireError>
where
    T: FromStr,
    T::Err: Display,
{
    if values.len() > max {
        return Err(WireError::new(
            field,
            format_args!("{} entries", values.len()),
            format!("at most {max} entries"),
        ));
    }
    values.iter().enumerate().map(|(place, value)| parsed(&format!("{field}[{place}]"), value)).collect()
}

/// A port.
pub(crate) fn port(field: &str, value: u32) -> Result<u16, WireError> {
    u16::try_from(value).map_err(|_| WireError::new(field, value, "0 to 65535"))
}

/// An enum value: known, and not the unspecified one, for which `read` gives `None`.
pub(crate) fn choice<W, D>(
    field: &str,
    value: i32,
    allowed: &'static str,
    read: impl Fn(W) -> Option<D>,
) -> Result<D, WireError>
where
    W: TryFrom<i32>,
{
    W::try_from(value).ok().and_then(read).ok_or_else(|| WireError::new(field, value, allowed))
}

/// A point in time from a message's `field`.
///
/// # Errors
/// Where it is missing, malformed, before 1970 or after 2554.
pub fn time(field: &str, value: Option<prost_types::Timestamp>) -> Result<Timestamp, WireError> {
    let value = required(field, value)?;
    let allowed = "1970 to 2554, nanos 0 to 999999999";
    let bad = || WireError::new(field, format_args!("{} s {} ns", value.seconds, value.nanos), allowed);
    let seconds = u64::try_from(value.seconds).map_err(|_| bad())?;
    let nanos = u64::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000_000).ok_or_else(bad)?;
    let whole =
        seconds.checked_mul(1_000_000_000).and_then(|whole| whole.checked_add(nanos)).ok_or_else(bad)?;
    Ok(Timestamp::from_nanos(whole))
}

/// A point in time that may be absent.
pub(crate) fn time_or_none(
    field: &str,
    value: Option<prost_types::Timestamp>,
) -> Result<Option<Timestamp>, WireError> {
    value.map(|value| time(field, Some(value))).transpose()
}

/// A point in time for a message.
#[must_use]
pub fn time_to_wire(at: Timestamp) -> prost_types::Timestamp {
    let nanos = at.as_nanos();
    prost_types::Timestamp {
        seconds: i64::try_from(nanos / 1_000_000_000).expect("u64::MAX nanoseconds are 1.8e10 seconds"),
        nanos: i32::try_from(nanos % 1_000_000_000).expect("a remainder below 1e9 fits"),
    }
}

/// A span from a message's `field`.
///
/// # Errors
/// Where it is malformed, negative or over ten thousand years.
pub fn duration(field: &str, value: prost_types::Duration) -> Result<Duration, WireError> {
    let seconds = u64::try_from(value.seconds).ok();
    let nanos = u32::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    match seconds.zip(nanos).map(|(seconds, nanos)| Duration::new(seconds, nanos)) {
        Some(span) if span <= MAX_SPAN => Ok(span),
        _ => Err(WireError::new(
            field,
            format_args!("{} s {} ns", value.seconds, value.nanos),
            "0 to 315576000000 s, nanos 0 to 999999999",
        )),
    }
}

/// A span for a message, clipped to ten thousand years.
#[must_use]
pub fn duration_to_wire(span: Duration) -> prost_types::Duration {
    let span = span.min(MAX_SPAN);
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).expect("clipped to 3.2e11 s"),
        nanos: i32::try_from(span.subsec_nanos()).expect("a fraction of a second is below 1e9 ns"),
    }
}

/// A text clipped to [`MAX_TEXT_BYTES`], at a character's end.
#[must_use]
pub fn clip(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT_BYTES)].to_owned()
}
