//! Near-identical messages: part of `spam`.
//!
//! **Measure.** Messages whose content is of like length (5 %, or 48 bytes), within an hour, and the distinct domains that they are for; where
//! the envelope is encrypted, the distinct servers. Who sends changes from message to message and is not asked. A campaign is
//! one text with a name in it; people's letters are of every length. Nothing of the content is read.
//!
//! **Numbers.** 100 messages to 40 domains in an hour, half as many messages where recipients are refused.
//!
//! **Look-alikes that stay silent.** A monitoring system, or a shop's receipts, through a smart host or to few domains; a club's
//! newsletter: its readers are at a dozen large providers. A newsletter to hundreds of companies has the profile `mail`.
//!
//! **Evasion.** Random padding of some hundred bytes; then the other numbers of `spam` are what is left.

use reeve_policy::Timestamp;

use super::HOUR;

/// So many lengths are watched.
pub(super) const KINDS_MAX: usize = 8;
/// So many domains of each: the most that a policy can ask for.
const SITES_MAX: usize = 64;
/// Lengths that differ by less than one in so many are alike, or by so many bytes.
const LIKE_SHARE: u32 = 20;
const LIKE_BYTES: u32 = 48;
/// Shorter content is no campaign, and all of it is alike.
const SIZE_LEAST: u32 = 64;

/// Messages of one length.
#[derive(Clone, Debug)]
struct Kind {
    size: u32,
    messages: u32,
    since: Timestamp,
    /// Half a hash of each domain.
    sites: Vec<u32>,
}

/// What is known of lengths.
#[derive(Debug, Default)]
pub(super) struct Alike(Vec<Kind>);

/// The kind that was sent most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Most {
    /// Messages.
    pub messages: u32,
    /// Domains.
    pub sites: u32,
}

impl Alike {
    /// The most bytes that it takes beside itself.
    pub const HELD_BYTES: usize = KINDS_MAX * (size_of::<Kind>() + SITES_MAX * size_of::<u32>());

    /// Takes a message of so many bytes to `site`.
    pub fn record(&mut self, size: u32, site: u64, at: Timestamp) {
        if size < SIZE_LEAST {
            return;
        }
        self.0.retain(|kind| !at.is_past(kind.since, HOUR));
        let place = self
            .0
            .iter()
            .position(|kind| kind.size.abs_diff(size) <= (kind.size / LIKE_SHARE).max(LIKE_BYTES));
        let place = place.unwrap_or_else(|| {
            if self.0.len() == KINDS_MAX {
                // The least sent makes room, and of those the oldest.
                let least =
                    (0..KINDS_MAX).min_by_key(|place| (self.0[*place].messages, self.0[*place].since));
                self.0.remove(least.unwrap_or(0));
            }
            self.0.push(Kind { size, messages: 0, since: at, sites: Vec::new() });
            self.0.len() - 1
        });
        let kind = &mut self.0[place];
        kind.messages = kind.messages.saturating_add(1);
        let site = (site ^ site >> 32) as u32;
        if kind.sites.len() < SITES_MAX && !kind.sites.contains(&site) {
            kind.sites.push(site);
        }
    }

    /// The kind with the most messages, of those that reach both numbers.
    pub fn most(&self, messages: u32, sites: u32, at: Timestamp) -> Option<Most> {
        self.0
            .iter()
            .filter(|kind| !at.is_past(kind.since, HOUR))
            .map(|kind| Most { messages: kind.messages, sites: super::number(kind.sites.len()) })
            .filter(|kind| kind.messages >= messages && kind.sites >= sites)
            .max_by_key(|kind| kind.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many messages, one every `step_secs`, each `grows` bytes longer than the one before, to so many domains; whether they are told.
    fn check(messages: u32, step_secs: u64, grows: u32, sites: u32, expect: bool) {
        let mut alike = Alike::default();
        let mut found = false;
        for number in 0..messages {
            let at = Timestamp::from_secs(10_000 + u64::from(number) * step_secs);
            alike.record(2_000 + number * grows, u64::from(number % sites) * 0x1_0000_0001_0001, at);
            found |= alike.most(100, 40, at).is_some();
            assert!(alike.0.len() <= KINDS_MAX);
        }
        assert_eq!(found, expect, "{messages} every {step_secs} s, +{grows}, to {sites}");
    }

    #[test]
    fn one_text_to_many_fires_at_its_numbers_and_not_below() {
        check(100, 30, 0, 40, true);
        check(99, 30, 0, 40, false);
        check(100, 30, 0, 39, false);
        // A name in it, now longer and now shorter.
        check(100, 30, 1, 90, true);
    }

    #[test]
    fn patience_letters_and_receipts_stay_silent() {
        check(2_000, 60, 0, 500, false);
        check(400, 5, 190, 300, false);
        check(400, 5, 0, 12, false);
    }

    #[test]
    fn memory_is_bounded() {
        check(5_000, 0, 500, 5_000, true);
        let mut alike = Alike::default();
        for site in 0..5_000_u64 {
            alike.record(1_000, site, Timestamp::from_secs(1));
        }
        assert_eq!(alike.most(1, 1, Timestamp::from_secs(1)), Some(Most { messages: 5_000, sites: 64 }));
    }
}
