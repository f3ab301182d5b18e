//! What goes over the numbers of a class. The functions of this module's neighbours name every key once, with what it may be; a
//! [`Table`] decides what is done with it: read from a file, multiplied, listed for people, or replaced.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::language::numbers::{Number, Value};
use crate::reader::Section;

/// One way over the numbers of a class.
#[derive(Clone, Copy, Debug)]
pub(in crate::language) enum Table<'s, 'd, 't> {
    /// Takes what a file says.
    File(&'s Section<'d, 't>),
    /// Multiplies the counts and rates.
    Scale(f64),
    /// Lists every number.
    List(&'s RefCell<Vec<Number>>),
    /// Replaces those that are named.
    Put(&'s BTreeMap<String, Value>),
}

impl<'s, 'd, 't> Table<'s, 'd, 't> {
    /// A whole number. If it `scales`, a profile's factor multiplies it.
    pub(super) fn whole(&self, key: &'static str, range: RangeInclusive<u64>, scales: bool, place: &mut u64) {
        match self {
            Self::File(section) => replace(section.integer(key, range), place),
            // Nought is "no limit" wherever it is allowed at all, and stays so.
            Self::Scale(factor) if scales && *place > 0 => *place = scaled(*place, *factor),
            Self::Scale(_) => {}
            Self::List(list) => list.borrow_mut().push(Number {
                key,
                value: Value::Count(*place),
                allowed: allowed(&range),
                scales,
                most: Some(*range.end()),
            }),
            Self::Put(values) => {
                if let Some(Value::Count(number)) = values.get(key) {
                    *place = *number;
                }
            }
        }
    }

    /// The same in 32 bits, which the range must fit.
    pub(super) fn whole_32(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
        scales: bool,
        place: &mut u32,
    ) {
        let mut number = u64::from(*place);
        self.whole(key, range, scales, &mut number);
        *place = u32::try_from(number).unwrap_or(u32::MAX);
    }

    /// A number with a point in it.
    pub(super) fn number(
        &self,
        key: &'static str,
        range: RangeInclusive<f64>,
        scales: bool,
        place: &mut f64,
    ) {
        match self {
            Self::File(section) => replace(section.float(key, range), place),
            Self::Scale(factor) if scales => *place *= factor,
            Self::Scale(_) => {}
            Self::List(list) => list.borrow_mut().push(Number {
                key,
                value: Value::Number(*place),
                allowed: format!("{} to {}", range.start(), range.end()),
                scales,
                most: None,
            }),
            Self::Put(values) => {
                if let Some(Value::Number(number)) = values.get(key) {
                    *place = *number;
                }
            }
        }
    }

    /// A time from a second to `most_seconds`, which people write as `most`.
    pub(super) fn span(&self, key: &'static str, most_seconds: u64, most: &str, place: &mut Duration) {
        let allowed = || format!("\"1s\" to {most}");
        match self {
            Self::File(section) => {
                let is_good = |span: &Duration| (1..=most_seconds).contains(&span.as_secs());
                replace(section.span(key, &format!("a time from {}", allowed()), is_good), place);
            }
            Self::Scale(_) => {}
            Self::List(list) => {
                let value = Value::Span(*place);
                list.borrow_mut().push(Number { key, value, allowed: allowed(), scales: false, most: None });
            }
            Self::Put(values) => {
                if let Some(Value::Span(span)) = values.get(key) {
                    *place = *span;
                }
            }
        }
    }

    /// A list of port numbers.
    pub(super) fn ports(&self, key: &'static str, place: &mut Vec<u16>) {
        const ALLOWED: &str = "port numbers, 0 to 65535";
        match self {
            Self::File(section) => replace(section.parsed_list(key, ALLOWED), place),
            Self::Scale(_) => {}
            Self::List(list) => {
                let value = Value::Ports(place.clone());
                let allowed = ALLOWED.to_owned();
                list.borrow_mut().push(Number { key, value, allowed, scales: false, most: None });
            }
            Self::Put(values) => {
                if let Some(Value::Ports(ports)) = values.get(key) {
                    place.clone_from(ports);
                }
            }
        }
    }
}

/// What may stand there, in words; without an end that anybody reaches, none is told.
fn allowed(range: &RangeInclusive<u64>) -> String {
    match *range.end() {
        u64::MAX => format!("{} or more", range.start()),
        most => format!("{} to {most}", range.start()),
    }
}

fn replace<T>(read: Option<T>, place: &mut T) {
    if let Some(value) = read {
        *place = value;
    }
}

/// Rounded up, so that a factor below one never makes nothing of something.
fn scaled(number: u64, factor: f64) -> u64 {
    // A float's way to an integer saturates.
    (number as f64 * factor).ceil().max(1.0) as u64
}
