//! What a shard counts of what passes it.

use reeve_policy::{Loss, Timestamp};

use crate::meter::loss::LossMeter;
use crate::meter::tally::SECOND;
use crate::packet::Malformed;

/// What a shard has counted since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardCounters {
    /// Frames that reached it.
    pub frames: u64,
    /// Frames that were malformed, by [`Malformed::index`].
    pub malformed: [u64; Malformed::ALL.len()],
    /// IP packets of nobody's.
    pub unassigned: u64,
    /// Packets from a tenant's port with a source that is another's, or nobody's.
    pub spoofed: u64,
    /// Packets from a tenant's port with a source that slipped out: a private one behind it, or one that it had until just now.
    pub leaked: u64,
    /// Attempts of tenants with public addresses at addresses that nobody can have, which nobody answered.
    pub bogon_dials: u64,
    /// Frames older than the newest before them, which count as of then.
    pub behind: u64,
}

impl ShardCounters {
    /// The sums of two.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.frames += other.frames;
        self.unassigned += other.unassigned;
        self.spoofed += other.spoofed;
        self.leaked += other.leaked;
        self.bogon_dials += other.bogon_dials;
        self.behind += other.behind;
        for (sum, number) in self.malformed.iter_mut().zip(&other.malformed) {
            *sum += number;
        }
        self
    }
}

/// What the capture at one vantage received and lost.
#[derive(Debug, Default)]
pub(super) struct VantageLoss {
    pub meter: LossMeter,
    /// Frames that are not entered yet, and the second that they came in.
    received: u64,
    since: Timestamp,
    /// When the second at hand is over.
    until: Timestamp,
}

impl VantageLoss {
    /// Counts a frame. Seconds are entered whole, so that it does not show when somebody asks.
    pub fn receive(&mut self, at: Timestamp) {
        if at >= self.until {
            self.enter();
            (self.since, self.until) = (at, at.floor_to(SECOND) + SECOND);
        }
        self.received += 1;
    }

    pub fn enter(&mut self) {
        let received = std::mem::take(&mut self.received);
        self.meter.record(self.since, Loss { received, dropped: 0 });
    }
}
