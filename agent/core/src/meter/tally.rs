//! One count, second by second, and when it is to be judged.
//!
//! A second begins with its own first packet, so a flood is never cut in two by a clock's edge. One that never reaches its limit is
//! forgotten without anybody having looked at it. One that does is judged as soon as what speaks for the traffic can be known:
//! a [`Pace::Answers`] is due its patience after the limit was reached, whatever the second still brings, and a
//! [`Pace::Sustained`] when the second is over.

use std::time::Duration;

use reeve_policy::Timestamp;

/// The length of a second, here.
pub const SECOND: Duration = Duration::from_secs(1);

/// How long answers on the way are waited for.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// Never.
const NEVER: Timestamp = Timestamp::from_nanos(u64::MAX);

/// What a second may hold without being looked at: one less than either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Packets, in wire segments.
    pub packets: u64,
    /// Bytes, from the network header on.
    pub bytes: u64,
}

impl Limit {
    /// Of packets alone.
    #[must_use]
    pub const fn packets(packets: u64) -> Self {
        Self { packets, bytes: u64::MAX }
    }
}

/// When a second that reached its limit is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// This long after the limit was reached: answers are evidence.
    Answers(Duration),
    /// When it is over: it is to last.
    Sustained,
}

/// A second that reached its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Second {
    /// When it began.
    pub start: Timestamp,
    /// What was sent in it, up to now or to its end: in wire segments.
    pub sent: u64,
    /// Of that, what had been sent when the limit was reached.
    pub basis: u64,
    /// Bytes.
    pub bytes: u64,
    /// What speaks for it.
    pub answered: u64,
}

/// The count. Numbers of packets stop at what 32 bits hold.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Tally {
    // Every packet touches these, so they stand together.
    start: Timestamp,
    bytes: u64,
    due: Timestamp,
    sent: u32,
    answered: u32,
    basis: u32,
    /// How many seconds in a row were over, since when, and until when.
    streak: u32,
    streak_start: Timestamp,
    streak_end: Timestamp,
    last_alert: Timestamp,
    /// When it was last found to be nothing, though it had reached its limit.
    cleared: Timestamp,
    /// What the second before held, and what spoke for it.
    last_sent: u32,
    last_answered: u32,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            start: Timestamp::EPOCH,
            bytes: 0,
            due: NEVER,
            sent: 0,
            answered: 0,
            basis: 0,
            streak: 0,
            streak_start: Timestamp::EPOCH,
            streak_end: Timestamp::EPOCH,
            last_alert: Timestamp::EPOCH,
            cleared: Timestamp::EPOCH,
            last_sent: 0,
            last_answered: 0,
        }
    }
}

impl Tally {
    /// Adds what was sent; whether a new second began with it.
    #[inline]
    pub fn add(&mut self, at: Timestamp, packets: u64, bytes: u64, limit: Limit, pace: Pace) -> bool {
        let is_past = at.is_past(self.start, SECOND);
        let is_new = is_past && self.due == NEVER;
        if is_new {
            if self.sent > 0 {
                (self.last_sent, self.last_answered) = (self.sent, self.answered);
            }
            (self.start, self.sent, self.bytes, self.answered) = (at, 0, 0, 0);
        } else if is_past {
            // It is waited for answers only.
            return false;
        }
        self.sent = self.sent.saturating_add(narrow(packets));
        self.bytes += bytes;
        if self.due == NEVER && (u64::from(self.sent) >= limit.packets || self.bytes >= limit.bytes) {
            self.basis = self.sent;
            self.due = match pace {
                Pace::Answers(patience) => at + patience,
                Pace::Sustained => self.start + SECOND,
            };
        }
        is_new
    }

    /// Adds what speaks for the traffic, as it comes.
    #[inline]
    pub fn answer(&mut self, number: u64) {
        self.answered = self.answered.saturating_add(narrow(number));
    }

    /// Adds what speaks for something that was sent at `sent`: only what led to the limit is asked for, where answers are waited
    /// for [`PATIENCE`] long.
    pub fn answer_to(&mut self, sent: Timestamp, number: u64) {
        let is_later = self.due != NEVER && sent + PATIENCE > self.due;
        if sent >= self.start && !is_later {
            self.answered = self.answered.saturating_add(narrow(number));
        }
    }

    /// Takes back what turned out not to be what it seemed.
    pub fn take_back(&mut self, packets: u64) {
        self.sent = self.sent.saturating_sub(narrow(packets));
    }

    /// When it is to be judged; a time that never comes if not.
    #[must_use]
    pub const fn due(&self) -> Timestamp {
        self.due
    }

    /// The second that is to be judged by `now`, if there is one; the next packet begins another.
    pub fn take_ready(&mut self, now: Timestamp) -> Option<Second> {
        if self.due > now {
            return None;
        }
        let Self { start, sent, bytes, answered, basis, .. } = *self;
        let second = Second {
            start,
            sent: sent.into(),
            basis: basis.min(sent).into(),
            bytes,
            answered: answered.into(),
        };
        (self.last_sent, self.last_answered) = (sent, self.answered);
        (self.due, self.sent, self.bytes, self.answered) = (NEVER, 0, 0, 0);
        // What comes now is another second's.
        self.start = Timestamp::EPOCH;
        Some(second)
    }

    /// Says whether a second was over; how many in a row have been, and since when.
    pub fn judge(&mut self, second: &Second, over: bool) -> (u32, Timestamp) {
        if !over {
            self.streak = 0;
            return (0, second.start);
        }
        if self.streak == 0 || second.start.is_past(self.streak_end, SECOND) {
            (self.streak, self.streak_start) = (0, second.start);
        }
        self.streak = self.streak.saturating_add(1);
        self.streak_end = second.start + SECOND;
        (self.streak, self.streak_start)
    }

    /// Whether an alert is due, given that one is raised at most every `pause`; notes it.
    pub fn tell(&mut self, now: Timestamp, pause: Duration) -> bool {
        let due = !self.was_told(now, pause);
        if due {
            self.last_alert = now;
        }
        due
    }

    /// Whether an alert was raised less than `pause` ago.
    #[must_use]
    pub fn was_told(&self, now: Timestamp, pause: Duration) -> bool {
        self.last_alert != Timestamp::EPOCH && !now.is_past(self.last_alert, pause)
    }

    /// How much there is to lose if it is forgotten at `at`.
    #[must_use]
    pub fn weight(&self, at: Timestamp) -> (bool, u64) {
        let is_live = !at.is_past(self.start, 2 * SECOND);
        let was_over = self.streak > 0 && !at.is_past(self.streak_end, 2 * SECOND);
        (was_over || self.due != NEVER, if is_live { self.sent.into() } else { 0 })
    }

    /// What was sent in a second of late, and what spoke for it.
    #[must_use]
    pub fn recent(&self, at: Timestamp) -> (u64, u64) {
        if at.is_past(self.start, 2 * SECOND) && at.is_past(self.streak_end.max(self.cleared), 2 * SECOND) {
            return (0, 0);
        }
        (self.sent.max(self.last_sent).into(), self.answered.max(self.last_answered).into())
    }

    /// Notes that it was found to be nothing.
    pub fn clear(&mut self, now: Timestamp) {
        self.cleared = now;
    }

    /// Whether it was found to be nothing of late.
    #[must_use]
    pub fn was_cleared(&self, now: Timestamp) -> bool {
        self.cleared != Timestamp::EPOCH && !now.is_past(self.cleared, 2 * SECOND)
    }
}

/// In 32 bits, or as much as they hold.
#[inline]
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000_000 + millis * 1_000_000)
    }

    const ANSWERS: Pace = Pace::Answers(PATIENCE);

    #[test]
    fn a_second_begins_with_the_first_packet_and_is_judged_when_answers_are_in() {
        let mut tally = Tally::default();
        let limit = Limit::packets(5);
        tally.add(at(700), 2, 100, limit, ANSWERS);
        assert_eq!(tally.due(), NEVER);
        tally.add(at(1_699), 3, 100, limit, ANSWERS);
        tally.answer(1);
        assert_eq!(tally.due(), at(2_199));
        // What comes while answers are waited for is not counted.
        tally.add(at(2_000), 1, 10, limit, ANSWERS);
        assert_eq!(tally.take_ready(at(2_198)), None);
        let second = tally.take_ready(at(2_199)).unwrap();
        assert_eq!((second.start, second.sent, second.basis), (at(700), 5, 5));
        assert_eq!((second.bytes, second.answered), (200, 1));
        assert_eq!(tally.take_ready(at(9_000)), None);
        // Four in the next second are not looked at.
        tally.add(at(2_300), 4, 0, limit, ANSWERS);
        tally.add(at(3_300), 4, 0, limit, ANSWERS);
        assert_eq!(tally.due(), NEVER);
    }

    #[test]
    fn only_answers_to_what_reached_the_limit_speak_for_it() {
        let mut tally = Tally::default();
        tally.add(at(0), 4, 0, Limit::packets(5), ANSWERS);
        tally.add(at(10), 1, 0, Limit::packets(5), ANSWERS);
        for sent in [0, 5, 10, 11, 400] {
            tally.answer_to(at(sent), 1);
        }
        assert_eq!(tally.take_ready(at(510)).unwrap().answered, 3);
    }

    #[test]
    fn what_is_to_last_is_judged_second_by_second() {
        let mut tally = Tally::default();
        for (begin, streak) in [(0, 1), (1_000, 2), (2_500, 3), (4_600, 1)] {
            tally.add(at(begin), 9, 0, Limit::packets(5), Pace::Sustained);
            assert_eq!(tally.due(), at(begin + 1_000));
            let second = tally.take_ready(at(begin + 1_000)).unwrap();
            assert_eq!(tally.judge(&second, true).0, streak, "{begin}");
        }
        assert!(tally.tell(at(9_000), SECOND));
        assert!(!tally.tell(at(9_999), SECOND));
        assert!(tally.tell(at(10_000), SECOND));
    }
}
