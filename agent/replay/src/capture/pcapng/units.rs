//! Time units: ticks of any resolution to nanoseconds.

use reeve_policy::Timestamp;

const SECOND_NS: u64 = 1_000_000_000;

/// How an interface counts time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Units {
    tick: Tick,
    offset_s: i64,
}

/// The length of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tick {
    /// So many nanoseconds.
    Nanos(u64),
    /// A nanosecond divided by this.
    Fraction(u64),
    /// A second divided by two to this power.
    Binary(u32),
    /// Shorter than can be told from nothing: a nanosecond divided by more than 64 bits can count.
    Nothing,
}

impl Units {
    /// From `if_tsresol` (with the uppermost bit a negative power of two, else of ten) and `if_tsoffset`.
    pub fn new(resolution: u8, offset_s: i64) -> Self {
        let power = u32::from(resolution & 0x7f);
        let tick = match (resolution & 0x80 != 0, power) {
            (true, _) => Tick::Binary(power),
            (false, 0..=9) => Tick::Nanos(10_u64.pow(9 - power)),
            (false, _) => 10_u64.checked_pow(power - 9).map_or(Tick::Nothing, Tick::Fraction),
        };
        Self { tick, offset_s }
    }

    /// The time that `ticks` stand for, within what a timestamp can hold.
    pub fn timestamp(self, ticks: u64) -> Timestamp {
        let nanos = match self.tick {
            Tick::Nanos(nanos) => ticks.saturating_mul(nanos),
            Tick::Fraction(parts) => ticks / parts,
            Tick::Nothing => 0,
            Tick::Binary(power) => {
                // 64 bits of ticks times 30 bits of nanoseconds fit, and a shift beyond 127 does not occur.
                let nanos = (u128::from(ticks) * u128::from(SECOND_NS)) >> power;
                u64::try_from(nanos).unwrap_or(u64::MAX)
            }
        };
        let offset = self.offset_s.unsigned_abs().saturating_mul(SECOND_NS);
        Timestamp::from_nanos(match self.offset_s {
            0.. => nanos.saturating_add(offset),
            _ => nanos.saturating_sub(offset),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(resolution: u8, offset_s: i64, ticks: u64, expect_ns: u64) {
        assert_eq!(Units::new(resolution, offset_s).timestamp(ticks).as_nanos(), expect_ns);
    }

    #[test]
    fn resolutions() {
        check(0, 0, 5, 5 * SECOND_NS);
        check(3, 0, 1_500, 1_500_000_000);
        check(6, 0, 1_700_000_000_123_456, 1_700_000_000_123_456_000);
        check(9, 0, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789);
        check(12, 0, 1_234_567_890_123, 1_234_567_890);
        check(0x80 | 10, 0, 1_536, 1_500_000_000);
        check(0x80 | 32, 0, 1 << 31, 500_000_000);
        check(0x80, 0, 3, 3 * SECOND_NS);
    }

    #[test]
    fn offsets() {
        check(6, 3_600, 1_000_000, 3_601 * SECOND_NS);
        check(6, -1, 3_000_000, 2 * SECOND_NS);
        check(6, -10, 3_000_000, 0);
    }

    #[test]
    fn nonsense_saturates() {
        check(0, 0, u64::MAX, u64::MAX);
        check(28, 0, u64::MAX, 1);
        check(29, 0, u64::MAX, 0);
        check(0x7f, 0, u64::MAX, 0);
        check(0xff, 0, u64::MAX, 0);
        check(6, i64::MAX, 1, u64::MAX);
        check(6, i64::MIN, u64::MAX, 0);
    }
}
