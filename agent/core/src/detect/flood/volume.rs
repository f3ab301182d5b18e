//! `flood.volume`: more bytes a second, one-sided, than the plan allows.
//!
//! **Measure.** All bytes that the tenant sends in a second, for some seconds in a row, against the packets that reach it in the same time. Bulk TCP
//! counts as much as the interest filter's sample stands for.
//!
//! **Numbers.** 1 Gbit/s for ten seconds, with under 0.2 % as many packets in as out. `answered = 1` in a tenant's numbers makes it the plan's plain
//! limit, whoever answers.
//!
//! **Look-alikes that stay silent.** Speed tests, backups, mirrors: TCP is acknowledged, at the least once in a bundle of 64 KiB, which is one in
//! forty-four. QUIC and VPNs at line rate: likewise.
//!
//! **Evasion.** A two-sided transfer beside it; then the floods' own numbers per destination tell.

use reeve_policy::language::thresholds::FloodVolume;
use reeve_policy::{Class, Timestamp};

use super::{REPEAT, part, rate};
use crate::detect::{Finding, share};
use crate::meter::tally::{Limit, Pace, Tally};

/// All that the tenant sends.
#[derive(Debug, Default)]
pub struct Volume(Tally);

impl Volume {
    /// Adds what went out.
    #[inline]
    pub fn sent(&mut self, numbers: &FloodVolume, at: Timestamp, packets: u64, bytes: u64) {
        let limit = Limit { packets: u64::MAX, bytes: numbers.bits_per_second.div_ceil(8) };
        self.0.add(at, packets, bytes, limit, Pace::Sustained);
    }

    /// Adds what came in.
    #[inline]
    pub fn received(&mut self, packets: u64) {
        self.0.answer(packets);
    }

    /// When there is something to judge.
    #[must_use]
    pub const fn due(&self) -> Timestamp {
        self.0.due()
    }

    /// Judges what is ready.
    pub fn judge(&mut self, numbers: &FloodVolume, now: Timestamp, found: &mut Vec<Finding>) {
        let Some(second) = self.0.take_ready(now) else { return };
        let answered = part(second.answered, second.sent);
        let is_one_sided = answered < numbers.answered || numbers.answered >= 1.0;
        let (streak, since) = self.0.judge(&second, is_one_sided);
        if streak < numbers.seconds || !self.0.tell(now, REPEAT) {
            return;
        }
        found.push(Finding {
            class: Class::FloodVolume,
            start: since,
            at: now,
            metrics: vec![
                rate("bits_per_second", second.bytes.saturating_mul(8), numbers.bits_per_second),
                rate("seconds", streak.into(), numbers.seconds.into()),
                share("answered", answered, Some(numbers.answered).filter(|most| answered < *most)),
            ],
            confidence_percent: 80,
            targets: Vec::new(),
            is_suspicion: false,
        });
    }
}
