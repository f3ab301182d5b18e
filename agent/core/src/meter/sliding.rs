//! A count over a sliding window, in `N` buckets of equal length.
//!
//! The window ends with the bucket at hand, so it is up to one bucket shorter than it says: never more is counted than there was.

use std::time::Duration;

use reeve_policy::Timestamp;

/// A count over the last `N` buckets.
#[derive(Clone, Debug)]
pub struct Sliding<const N: usize> {
    counts: [u32; N],
    /// The number of the newest bucket, counted from the epoch.
    newest: u64,
}

impl<const N: usize> Default for Sliding<N> {
    fn default() -> Self {
        Self { counts: [0; N], newest: 0 }
    }
}

impl<const N: usize> Sliding<N> {
    /// Counts `number` more at `at`. The length of a `bucket` is the same in every call.
    pub fn add(&mut self, at: Timestamp, bucket: Duration, number: u32) {
        self.advance(at, bucket);
        let place = &mut self.counts[(self.newest % N as u64) as usize];
        *place = place.saturating_add(number);
    }

    /// How many there were in the window that ends at `at`.
    pub fn sum(&mut self, at: Timestamp, bucket: Duration) -> u32 {
        self.advance(at, bucket);
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Takes back up to `number` of what was counted, the newest first.
    pub fn take_back(&mut self, mut number: u32) {
        for back in 0..(N as u64).min(self.newest + 1) {
            let place = &mut self.counts[((self.newest - back) % N as u64) as usize];
            let taken = number.min(*place);
            *place -= taken;
            number -= taken;
        }
    }

    fn advance(&mut self, at: Timestamp, bucket: Duration) {
        let nanos = u64::try_from(bucket.as_nanos()).unwrap_or(u64::MAX).max(1);
        let now = (at.as_nanos() / nanos).max(self.newest);
        for number in (self.newest + 1..=now).take(N) {
            self.counts[(number % N as u64) as usize] = 0;
        }
        if now >= self.newest + N as u64 {
            self.counts = [0; N];
        }
        self.newest = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let (mut sliding, second) = (Sliding::<3>::default(), Duration::from_secs(1));
        let at = |secs: u64| Timestamp::from_secs(1_000 + secs);
        for secs in [0, 1, 2] {
            sliding.add(at(secs), second, 1);
        }
        assert_eq!(sliding.sum(at(2), second), 3);
        assert_eq!(sliding.sum(at(3), second), 2);
        // Late counts as now.
        sliding.add(at(0), second, 5);
        assert_eq!(sliding.sum(at(3), second), 7);
        assert_eq!(sliding.sum(at(100), second), 0);
    }

    #[test]
    fn what_is_taken_back_is_the_newest() {
        let (mut sliding, second) = (Sliding::<3>::default(), Duration::from_secs(1));
        let at = |secs: u64| Timestamp::from_secs(1_000 + secs);
        for (secs, number) in [(0, 5), (1, 2), (2, 2)] {
            sliding.add(at(secs), second, number);
        }
        sliding.take_back(3);
        assert_eq!((sliding.sum(at(2), second), sliding.sum(at(3), second)), (6, 1));
        sliding.take_back(100);
        assert_eq!(sliding.sum(at(3), second), 0);
    }
}
