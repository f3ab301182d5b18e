//! The engine's time: kernel stamps on a scale that does not step.
//!
//! The kernel stamps frames by CLOCK_REALTIME, which an operator or NTP may set forward or back at any moment.
//! Windows and deadlines must survive that. So engine time is the real time at start plus the monotonic time
//! since; a stamp is moved by how far the two clocks have come apart since then.
//!
//! Model: [`Clock`] is the scale, cheap to copy; [`Steps`] is the pure arithmetic of stamps across steps, with
//! time as an argument; [`StampScale`] measures and applies. CLOCK_MONOTONIC is slewed together with
//! CLOCK_REALTIME, so that the distance changes by steps alone.
//!
//! Left out: leap seconds (Linux steps back by one; that is a step as any other) and what a stamp was worth
//! before the program started.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reeve_policy::Timestamp;

/// Engine time: monotonic, and equal to UTC when the clock was started.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_at: Timestamp,
}

impl Clock {
    /// A scale that agrees with real time now.
    #[must_use]
    pub fn start() -> Self {
        let reading = Reading::take();
        Self { started: reading.monotonic, started_at: reading.realtime }
    }

    /// The time on this scale.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// What this scale said at `instant`.
    fn at(&self, instant: Instant) -> Timestamp {
        self.started_at + instant.saturating_duration_since(self.started)
    }
}

/// Both clocks, read as close together as could be done.
#[derive(Clone, Copy, Debug)]
struct Reading {
    monotonic: Instant,
    realtime: Timestamp,
    /// How far apart the two may have been read.
    blur: Duration,
}

impl Reading {
    /// A preempted thread reads the clocks milliseconds apart, so the closest of a few tries counts.
    fn take() -> Self {
        let first = Self::take_once();
        (0..4).fold(first, |best, _| {
            if best.blur <= BLUR_MAX {
                return best;
            }
            let next = Self::take_once();
            if next.blur < best.blur { next } else { best }
        })
    }

    fn take_once() -> Self {
        let before = Instant::now();
        let realtime = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let blur = before.elapsed();
        Self { monotonic: before + blur / 2, realtime: Timestamp::EPOCH + realtime, blur }
    }
}

/// Readings further apart than this tell nothing, and smaller steps do no harm.
const BLUR_MAX: Duration = Duration::from_micros(20);
/// The clocks have come apart by a step if by more than this.
const STEP_MIN_NS: u64 = 50_000;
/// A stamp cannot be later than the moment it is looked at, but for what measuring leaves uncertain.
const AHEAD_MAX: Duration = Duration::from_millis(1);
/// A stamp older than this is suspected to be from across a step that has not been noticed.
const AGE_SUSPECT: Duration = Duration::from_secs(1);
/// How long frames stamped before a step may still lie in a ring.
const STEP_MEMORY: Duration = Duration::from_secs(1);

/// How far real time is ahead of engine time, now and before the last step. In nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    ahead_ns: i64,
    /// The distance before the last step, and when on the engine's scale it was noticed.
    before: Option<(i64, Timestamp)>,
}

impl Steps {
    /// Takes note that the real-time clock says `realtime` at `now`; tells whether it has stepped.
    pub fn observe(&mut self, realtime: Timestamp, now: Timestamp) -> bool {
        let ahead_ns = realtime.as_nanos().wrapping_sub(now.as_nanos()).cast_signed();
        let stepped = ahead_ns.abs_diff(self.ahead_ns) > STEP_MIN_NS;
        if stepped {
            self.before = Some((self.ahead_ns, now));
            self.ahead_ns = ahead_ns;
        }
        stepped
    }

    /// Whether `stamp`, looked at `now`, can be placed without another look at the clocks.
    #[must_use]
    pub fn is_plausible(&self, stamp: Timestamp, now: Timestamp) -> bool {
        let at = self.place(stamp, now);
        at <= now + AHEAD_MAX && now.since(at) <= AGE_SUSPECT
    }

    /// The engine time of a real-time `stamp` that is looked at `now`.
    ///
    /// Shortly after a step frames from both sides of it are read. The right side is the one that makes the
    /// frame the younger without placing it in the future; that errs only if a frame waited longer than the
    /// step was wide, and then by the step's width at most.
    #[must_use]
    pub fn place(&self, stamp: Timestamp, now: Timestamp) -> Timestamp {
        let current = shift(stamp, self.ahead_ns);
        let Some((before_ns, noticed)) = self.before else { return current };
        if now.since(noticed) > STEP_MEMORY {
            return current;
        }
        let before = shift(stamp, before_ns);
        let limit = now + AHEAD_MAX;
        match (current <= limit, before <= limit) {
            (true, true) => current.max(before),
            (false, true) => before,
            _ => current,
        }
    }
}

/// `stamp` moved back by `ahead_ns`, within what a timestamp can hold.
fn shift(stamp: Timestamp, ahead_ns: i64) -> Timestamp {
    let nanos = stamp.as_nanos();
    Timestamp::from_nanos(match ahead_ns {
        0.. => nanos.saturating_sub(ahead_ns.unsigned_abs()),
        _ => nanos.saturating_add(ahead_ns.unsigned_abs()),
    })
}

/// Moves kernel stamps to engine time, watching for steps of the real-time clock.
#[derive(Debug)]
pub struct StampScale {
    clock: Clock,
    steps: Steps,
    measured: Instant,
}

impl StampScale {
    /// How often the clocks are compared, unless a stamp looks wrong.
    pub const MEASURE_EVERY: Duration = Duration::from_millis(100);

    /// A scale that has not seen a step yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let mut scale = Self { clock, steps: Steps::default(), measured: Instant::now() };
        scale.measure();
        scale
    }

    /// Compares the clocks if that was last done more than [`Self::MEASURE_EVERY`] ago. To be called now and then.
    pub fn keep_watch(&mut self) {
        if self.measured.elapsed() >= Self::MEASURE_EVERY {
            self.measure();
        }
    }

    /// Begins a batch of stamps, all of which were taken before this call.
    pub fn batch(&mut self) -> StampBatch<'_> {
        StampBatch { now: self.clock.now(), scale: self, may_measure: true }
    }

    fn measure(&mut self) {
        let reading = Reading::take();
        self.measured = reading.monotonic;
        if reading.blur <= BLUR_MAX && self.steps.observe(reading.realtime, self.clock.at(reading.monotonic))
        {
            tracing::warn!(ahead_ns = self.steps.ahead_ns, "the real-time clock was stepped");
        }
    }
}

/// Stamps that are looked at together.
#[derive(Debug)]
pub struct StampBatch<'a> {
    scale: &'a mut StampScale,
    now: Timestamp,
    may_measure: bool,
}

impl StampBatch<'_> {
    /// The engine time of `stamp`: never after the batch was begun.
    #[inline]
    pub fn place(&mut self, stamp: Timestamp) -> Timestamp {
        // One look at the clocks is enough for a batch: a frame may really be as old as it seems.
        if self.may_measure && !self.scale.steps.is_plausible(stamp, self.now) {
            self.may_measure = false;
            self.scale.measure();
        }
        self.scale.steps.place(stamp, self.now).min(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;
    const START_NS: u64 = 1_700_000_000 * SECOND_NS;

    fn at(offset_ms: i64) -> Timestamp {
        Timestamp::from_nanos(START_NS.saturating_add_signed(offset_ms * 1_000_000))
    }

    /// Real time steps by `step_ms` at engine time 10 s, noticed 40 ms later. A frame of `frame_ms` is stamped by
    /// the clock of its moment and read at `read_ms`.
    fn check(step_ms: i64, frame_ms: i64, read_ms: i64, expect_ms: i64) {
        let mut steps = Steps::default();
        assert!(!steps.observe(at(5_000), at(5_000)));
        let noticed_ms = 10_040;
        if read_ms >= noticed_ms {
            assert!(steps.observe(at(noticed_ms + step_ms), at(noticed_ms)));
            assert!(!steps.observe(at(noticed_ms + 1 + step_ms), at(noticed_ms + 1)), "no second step");
        }
        let stamp_ms = if frame_ms < 10_000 { frame_ms } else { frame_ms + step_ms };
        let placed = steps.place(at(stamp_ms), at(read_ms)).min(at(read_ms));
        assert_eq!(placed, at(expect_ms), "step {step_ms}, frame {frame_ms}, read {read_ms}");
    }

    #[test]
    fn frames_on_either_side_of_a_step_are_placed_right() {
        for step_ms in [3_600_000, 500, 100, -100, -500, -3_600_000] {
            check(step_ms, 9_990, 9_995, 9_990);
            check(step_ms, 9_995, 10_045, 9_995);
            check(step_ms, 10_030, 10_045, 10_030);
            check(step_ms, 10_500, 10_510, 10_500);
            check(step_ms, 60_000, 60_010, 60_000);
        }
    }

    #[test]
    fn a_step_not_noticed_yet_shows_in_the_stamps() {
        let mut steps = Steps::default();
        assert!(steps.is_plausible(at(10_000), at(10_010)));
        assert!(!steps.is_plausible(at(3_610_000), at(10_010)), "forward");
        assert!(!steps.is_plausible(at(-3_590_000), at(10_010)), "back");
        assert!(steps.observe(at(-3_590_000), at(10_010)));
        assert!(steps.is_plausible(at(-3_590_000), at(10_010)));
    }

    #[test]
    fn measuring_noise_is_no_step() {
        let mut steps = Steps::default();
        assert!(!steps.observe(Timestamp::from_nanos(START_NS + 40_000), at(0)));
        assert!(!steps.observe(Timestamp::from_nanos(START_NS - 40_000), at(0)));
        assert_eq!(steps, Steps::default());
    }

    #[test]
    fn the_far_ends_saturate() {
        let mut steps = Steps::default();
        assert!(steps.observe(at(0), Timestamp::EPOCH));
        assert_eq!(steps.place(Timestamp::EPOCH, at(0)), Timestamp::EPOCH);
        let mut steps = Steps::default();
        assert!(steps.observe(Timestamp::EPOCH, at(0)));
        let last = Timestamp::from_nanos(u64::MAX);
        assert_eq!(steps.place(last, at(5_000)), last);
    }

    #[test]
    fn live_stamps_are_never_ahead_and_hardly_behind() {
        let clock = Clock::start();
        let mut scale = StampScale::new(clock);
        for _ in 0..1_000 {
            let realtime = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let before = clock.now();
            scale.keep_watch();
            let mut batch = scale.batch();
            let placed = batch.place(Timestamp::EPOCH + realtime);
            assert!(placed <= clock.now());
            assert!(before.since(placed) < Duration::from_millis(1), "{before} {placed}");
        }
    }
}
