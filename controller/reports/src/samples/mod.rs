//! Reports by the thousand, made up: what each should come to is known, and they are the same every time.
//!
//! Model: an incident is what happened; a form of `forms` writes it down in one of a format's many manners. From there come copies
//! (the same incident in another manner), reports with something wrong in them, and reports that somebody sends who means harm. Nothing is
//! taken from others' samples; addresses are those that documentation may use (RFC 5737, RFC 3849).

mod forms;
mod harm;

use std::net::IpAddr;

use reeve_policy::Timestamp;

use crate::{Format, Reading, Reason, Refused, read_json, read_mail};

/// When the samples of [`all`] were received.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// What a sample should come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A complaint about this source.
    Source(IpAddr),
    /// A refusal for this reason.
    Refused(Reason),
    /// One or the other, in bounds: it is broken where nobody can say what is left.
    Anything,
}

/// A report as somebody might send it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What it is, for whoever looks for it.
    pub name: String,
    /// What it was written in.
    pub format: Format,
    /// Whether it is a mail; else it is JSON alone.
    pub is_mail: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What it should come to.
    pub expected: Expected,
    /// The place of the sample that it tells the same as, among all of them.
    pub copy_of: Option<usize>,
}

impl Sample {
    /// Reads it, as what it is.
    ///
    /// # Errors
    /// Those of [`read_mail`] and [`read_json`].
    pub fn read(&self) -> Result<Reading, Refused> {
        if self.is_mail { read_mail(&self.bytes, NOW) } else { read_json(&self.bytes, NOW) }
    }

    /// The source that should be found.
    #[must_use]
    pub const fn source(&self) -> Option<IpAddr> {
        match self.expected {
            Expected::Source(source) => Some(source),
            _ => None,
        }
    }
}

/// What happened: no two have the source, the hour and the reporter in common.
#[derive(Clone, Debug)]
struct Incident {
    number: usize,
    source: IpAddr,
    port: u16,
    at: Timestamp,
    /// When it is told of.
    now: Timestamp,
}

impl Incident {
    fn new(number: usize, now: Timestamp, random: &mut Random) -> Self {
        let low = u8::try_from(1 + number % 250).unwrap_or(1);
        let source = match number % 4 {
            0 => [203, 0, 113, low].into(),
            1 => [198, 51, 100, low].into(),
            2 => [192, 0, 2, low].into(),
            _ => [0x2001, 0xdb8, number as u16 % 0x7000 + 1, 0, 0, 0, 0, u16::from(low)].into(),
        };
        // Each in an hour of its own, the newest an hour ago.
        let at = Timestamp::from_secs(now.as_nanos() / 1_000_000_000 - 3_600 * (number as u64 + 1));
        Self { number, source, port: 1024 + (random.below(60_000) as u16), at, now }
    }

    /// A time that nobody may say.
    fn to_come(&self) -> Self {
        Self { at: Timestamp::from_secs(self.now.as_nanos() / 1_000_000_000 + 90 * 86_400), ..self.clone() }
    }

    fn from(&self, source: &str) -> Self {
        Self { source: source.parse().expect("it is an address"), ..self.clone() }
    }
}

/// How many incidents there are of each format.
const INCIDENTS: usize = 110;

/// All samples, more than a thousand: the same every time.
#[must_use]
pub fn all() -> Vec<Sample> {
    all_at(NOW)
}

/// The same samples as they would be received at the full hour before `now`, for whoever cannot turn the clock back; some hundred hours
/// of it must have been.
#[must_use]
pub fn all_at(now: Timestamp) -> Vec<Sample> {
    let secs = now.as_nanos() / 1_000_000_000;
    // Copies are known by the hour.
    let now = Timestamp::from_secs(secs - secs % 3_600);
    let mut random = Random(0x005e_ed0f_4eef);
    let mut all: Vec<Sample> = Vec::new();
    for format in Format::OF_MESSAGES {
        for own in 0..INCIDENTS {
            let place = Format::OF_MESSAGES.iter().position(|one| *one == format).unwrap_or_default();
            let incident = Incident::new(place * INCIDENTS + own, now, &mut random);
            let original = all.len();
            all.push(forms::write(format, &incident, &mut random));
            if own % 2 == 0 {
                let mut copy = forms::write(format, &incident, &mut random);
                copy.name.push_str(", copied");
                copy.copy_of = Some(original);
                all.push(copy);
            }
            harm::add(&mut all, format, &incident, own, &mut random);
        }
    }
    all
}

/// Random numbers that are the same every time: SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}
