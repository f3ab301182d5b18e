//! How much of the traffic the capture missed, second by second, so that each alert can say it.

use reeve_policy::{Loss, Timestamp, Window};

use super::tally::SECOND;

const SECONDS: usize = 64;

/// Received and lost frames over the last minute.
#[derive(Debug)]
pub struct LossMeter {
    seconds: [(Timestamp, Loss); SECONDS],
}

impl Default for LossMeter {
    fn default() -> Self {
        Self { seconds: [(Timestamp::EPOCH, Loss::default()); SECONDS] }
    }
}

impl LossMeter {
    /// Adds what was received and lost at `at`.
    pub fn record(&mut self, at: Timestamp, loss: Loss) {
        let second = at.floor_to(SECOND);
        let slot = &mut self.seconds[(second.as_nanos() / 1_000_000_000) as usize % SECONDS];
        if slot.0 != second {
            *slot = (second, Loss::default());
        }
        slot.1.received = slot.1.received.saturating_add(loss.received);
        slot.1.dropped = slot.1.dropped.saturating_add(loss.dropped);
    }

    /// The loss in a window; of longer ones, in the last minute of it.
    #[must_use]
    pub fn over(&self, window: &Window) -> Loss {
        let start = window.start.floor_to(SECOND);
        let within = |&&(second, _): &&(Timestamp, Loss)| second >= start && second <= window.end;
        self.seconds.iter().filter(within).fold(Loss::default(), |sum, (_, loss)| Loss {
            received: sum.received.saturating_add(loss.received),
            dropped: sum.dropped.saturating_add(loss.dropped),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_sums_its_seconds() {
        let mut meter = LossMeter::default();
        for second in 100..300 {
            meter.record(Timestamp::from_secs(second), Loss { received: 10, dropped: second % 2 });
        }
        let window =
            |start, end| Window { start: Timestamp::from_secs(start), end: Timestamp::from_secs(end) };
        assert_eq!(meter.over(&window(290, 293)), Loss { received: 40, dropped: 2 });
        assert_eq!(meter.over(&window(400, 500)), Loss::default());
        assert_eq!(meter.over(&window(100, 299)).received, 640);
    }
}
