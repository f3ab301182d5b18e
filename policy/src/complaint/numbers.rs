//! How numbers read: what was seen, and what is allowed beside it.

use crate::alert::Metric;

/// What a policy's number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Reaching it is too much.
    Reached,
    /// Only more than it is too much.
    Exceeded,
}

impl Limit {
    pub fn is_crossed(self, metric: &Metric) -> bool {
        metric.threshold.is_some_and(|limit| match self {
            Self::Reached => metric.value >= limit,
            Self::Exceeded => metric.value > limit,
        })
    }

    /// ` (allowed: fewer than 15)` where the number crossed it; nothing otherwise.
    pub fn beside(self, metric: &Metric, unit: fn(f64) -> String) -> String {
        let Some(limit) = metric.threshold.filter(|_| self.is_crossed(metric)) else { return String::new() };
        match self {
            Self::Exceeded => format!(" (allowed: at most {})", unit(limit)),
            Self::Reached if limit <= 1.0 => " (allowed: none)".to_owned(),
            Self::Reached => format!(" (allowed: fewer than {})", unit(limit)),
        }
    }
}

/// `43 hosts`, `1 host`.
pub(super) fn some(value: f64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1.0 { one } else { many })
}

/// `16,063`; two digits behind the point below 100 if it has any.
pub(super) fn count(value: f64) -> String {
    if value < 100.0 {
        return ((value * 100.0).round() / 100.0).to_string();
    }
    let digits = value.round().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share, 0 to 1: `95 %`. What is not all or nothing is not told as such.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent.round() {
        0.0 if percent > 0.0 => "less than 1 %".to_owned(),
        100.0 if percent < 100.0 => "more than 99 %".to_owned(),
        rounded => format!("{rounded} %"),
    }
}

/// `10.1 Mbit/s`.
pub(super) fn bits(value: f64) -> String {
    scaled(value, "bit/s")
}

/// `80.1 kB`, in powers of ten.
pub(super) fn bytes(value: f64) -> String {
    if value < 1_000.0 { some(value, "byte", "bytes") } else { scaled(value, "B") }
}

fn scaled(mut value: f64, unit: &str) -> String {
    for prefix in ["", "k", "M", "G", "T"] {
        // What would be rounded to a thousand is one of the next.
        if value < 999.95 {
            return format!("{} {prefix}{unit}", (value * 10.0).round() / 10.0);
        }
        value /= 1_000.0;
    }
    format!("{} P{unit}", (value * 10.0).round() / 10.0)
}

/// `45 seconds`, `10 minutes`.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        long if long >= 120.0 => some((long / 60.0).round(), "minute", "minutes"),
        short => some(short, "second", "seconds"),
    }
}
