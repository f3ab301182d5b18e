//! Packets and bytes to the busiest destinations, second by second.
//!
//! Each destination's seconds begin with its own first packet, so a flood is never cut in two by a clock's edge. A
//! full table gives up the destination with the least traffic. Estimates are never above the truth: what is evicted
//! starts again from nothing, so a small flow among very many others can hide, and none is ever invented.

use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::Timestamp;

use crate::flow::table::{address, bits};

/// The length of one bucket.
pub const BUCKET: Duration = Duration::from_secs(1);

/// What went to a destination, and came back, in one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that the tenant sent, in wire segments.
    pub sent: u64,
    /// Their bytes, from the network header on.
    pub sent_bytes: u64,
    /// What speaks for the traffic: packets that came back, or attempts that were completed.
    pub answered: u64,
    /// Which of 64 classes of destination ports were seen, a bit each.
    ports: u64,
}

impl Counts {
    /// Whether it went to very many ports, as a scan does: half of 64 classes takes some forty-five distinct ones.
    #[must_use]
    pub const fn is_scattered(&self) -> bool {
        self.ports.count_ones() >= 32
    }
}

/// One destination with its current bucket and the streak of buckets over the threshold before it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    port: u16,
    start: Timestamp,
    counts: Counts,
    /// The bucket before, kept until late answers are in.
    previous: Option<(Timestamp, Counts)>,
    /// How many judged buckets in a row were over the threshold, and since when.
    streak: u32,
    streak_start: Timestamp,
    last_alert: Option<Timestamp>,
}

/// A full bucket, ready to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Where it went.
    pub destination: IpAddr,
    /// The destination port of its first packet; 0 where there are none.
    pub port: u16,
    /// When it began.
    pub start: Timestamp,
    /// What it holds.
    pub counts: Counts,
    index: usize,
}

/// The busiest destinations of one tenant for one kind of traffic.
#[derive(Debug, Default)]
pub struct RateTable {
    // The keys lie apart and close together: every packet is looked up among them.
    destinations: Vec<u128>,
    entries: Vec<Entry>,
    recent: usize,
    evictions: u64,
}

impl RateTable {
    /// The most destinations that are held.
    pub const CAPACITY: usize = 32;

    /// Bytes that a full table takes.
    pub const BYTES: usize = Self::CAPACITY * (size_of::<Entry>() + size_of::<u128>());

    /// How long after its end a bucket is judged: answers on the way are waited for.
    pub const PATIENCE: Duration = Duration::from_millis(500);

    /// Adds what the tenant sent.
    pub fn sent(&mut self, destination: IpAddr, port: u16, at: Timestamp, packets: u64, bytes: u64) {
        let key = bits(destination);
        let index = self.position(key).unwrap_or_else(|| self.make(key, port, at));
        let entry = &mut self.entries[index];
        if at.since(entry.start) >= BUCKET {
            // A bucket before this one that is still unjudged is given up: its time for judgement has long passed.
            entry.previous = (entry.counts.sent > 0).then_some((entry.start, entry.counts));
            (entry.start, entry.counts, entry.port) = (at, Counts::default(), port);
        }
        // Fibonacci hashing spreads neighbouring ports over the classes.
        entry.counts.ports |= 1 << (u64::from(port).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58);
        entry.counts.sent += packets;
        entry.counts.sent_bytes += bytes;
        self.recent = index;
    }

    /// Adds (or, with a negative number, takes back) what speaks for traffic that was sent at `opened`.
    pub fn answered(&mut self, destination: IpAddr, opened: Timestamp, number: i64) {
        let Some(index) = self.position(bits(destination)) else { return };
        let entry = &mut self.entries[index];
        let counts = if opened >= entry.start {
            &mut entry.counts
        } else if let Some((start, previous)) = &mut entry.previous
            && opened >= *start
        {
            previous
        } else {
            return;
        };
        counts.answered = counts.answered.saturating_add_signed(number);
    }

    /// When a bucket next becomes ready.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let ready = |start: Timestamp| start + BUCKET + Self::PATIENCE;
        self.entries
            .iter()
            .flat_map(|entry| {
                let current = (entry.counts.sent > 0).then(|| ready(entry.start));
                entry.previous.map(|(start, _)| ready(start)).or(current)
            })
            .min()
    }

    /// Takes a bucket whose time has come, in the order in which destinations were first seen.
    pub fn take_ready(&mut self, now: Timestamp) -> Option<Bucket> {
        let ready = |start: Timestamp| start + BUCKET + Self::PATIENCE <= now;
        for (index, entry) in self.entries.iter_mut().enumerate() {
            let taken = match entry.previous {
                Some((start, counts)) if ready(start) => {
                    entry.previous = None;
                    Some((start, counts))
                }
                None if entry.counts.sent > 0 && ready(entry.start) => {
                    let counts = std::mem::take(&mut entry.counts);
                    Some((entry.start, counts))
                }
                _ => None,
            };
            if let Some((start, counts)) = taken {
                return Some(Bucket {
                    destination: address(self.destinations[index]),
                    port: entry.port,
                    start,
                    counts,
                    index,
                });
            }
        }
        None
    }

    /// Says whether a bucket was over the threshold; returns how many in a row have been, and since when.
    pub fn judge(&mut self, bucket: &Bucket, over: bool) -> (u32, Timestamp) {
        let entry = &mut self.entries[bucket.index];
        if !over {
            entry.streak = 0;
        } else {
            if entry.streak == 0 {
                entry.streak_start = bucket.start;
            }
            entry.streak = entry.streak.saturating_add(1);
        }
        (entry.streak, entry.streak_start)
    }

    /// Whether an alert about this destination is due, given that one is raised at most every `pause`; notes it.
    pub fn alert_due(&mut self, bucket: &Bucket, now: Timestamp, pause: Duration) -> bool {
        let entry = &mut self.entries[bucket.index];
        let due = entry.last_alert.is_none_or(|last| now.since(last) >= pause);
        if due {
            entry.last_alert = Some(now);
        }
        due
    }

    /// How many destinations had to make room.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    fn position(&self, key: u128) -> Option<usize> {
        match self.destinations.get(self.recent) {
            Some(&destination) if destination == key => Some(self.recent),
            _ => self.destinations.iter().position(|&destination| destination == key),
        }
    }

    fn make(&mut self, destination: u128, port: u16, at: Timestamp) -> usize {
        let entry = Entry {
            port,
            start: at,
            counts: Counts::default(),
            previous: None,
            streak: 0,
            streak_start: at,
            last_alert: None,
        };
        if self.entries.len() < Self::CAPACITY {
            self.entries.push(entry);
            self.destinations.push(destination);
            return self.entries.len() - 1;
        }
        let weight = |entry: &Entry| {
            let current = if at.since(entry.start) < 2 * BUCKET { entry.counts.sent } else { 0 };
            (entry.streak, entry.previous.map_or(0, |(_, counts)| counts.sent).max(current))
        };
        let lightest = (0..self.entries.len()).min_by_key(|&index| weight(&self.entries[index]));
        let index = lightest.expect("a full table has entries");
        (self.entries[index], self.destinations[index]) = (entry, destination);
        self.evictions += 1;
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000_000 + millis * 1_000_000)
    }

    fn host(number: u8) -> IpAddr {
        [20, 0, 0, number].into()
    }

    #[test]
    fn a_bucket_begins_with_the_first_packet_and_is_judged_when_answers_are_in() {
        let mut table = RateTable::default();
        table.sent(host(1), 53, at(700), 2, 100);
        table.sent(host(1), 53, at(1_699), 3, 100);
        table.answered(host(1), at(800), 1);
        assert_eq!(table.next_due(), Some(at(2_200)));
        assert_eq!(table.take_ready(at(2_199)), None);
        let bucket = table.take_ready(at(2_200)).unwrap();
        assert_eq!((bucket.destination, bucket.start), (host(1), at(700)));
        assert_eq!((bucket.counts.sent, bucket.counts.sent_bytes, bucket.counts.answered), (5, 200, 1));
        assert_eq!(table.take_ready(at(9_000)), None);
        assert_eq!(table.next_due(), None);
    }

    #[test]
    fn late_answers_reach_the_bucket_before() {
        let mut table = RateTable::default();
        table.sent(host(1), 53, at(0), 1, 1);
        table.sent(host(1), 53, at(1_000), 1, 1);
        table.answered(host(1), at(0), 1);
        table.answered(host(1), at(1_000), 2);
        table.answered(host(1), at(1_000), -1);
        assert_eq!(table.take_ready(at(1_500)).unwrap().counts.answered, 1);
        assert_eq!(table.take_ready(at(2_500)).unwrap().counts.answered, 1);
    }

    #[test]
    fn streaks_and_pauses_are_per_destination() {
        let mut table = RateTable::default();
        table.sent(host(1), 0, at(0), 9, 9);
        let first = table.take_ready(at(1_500)).unwrap();
        assert_eq!(table.judge(&first, true), (1, at(0)));
        assert!(table.alert_due(&first, at(1_500), BUCKET));
        assert!(!table.alert_due(&first, at(1_600), BUCKET));
        table.sent(host(1), 0, at(1_550), 9, 9);
        let second = table.take_ready(at(4_000)).unwrap();
        assert_eq!(table.judge(&second, true), (2, at(0)));
        assert_eq!(table.judge(&second, false).0, 0);
    }

    #[test]
    fn a_full_table_gives_up_the_least() {
        let mut table = RateTable::default();
        for number in 0..=RateTable::CAPACITY as u8 {
            table.sent(host(number), 0, at(0), if number == 5 { 1 } else { 10 }, 1);
        }
        assert_eq!(table.evictions(), 1);
        assert_eq!(table.position(bits(host(5))), None);
        assert_eq!(table.entries.len(), RateTable::CAPACITY);
    }
}
