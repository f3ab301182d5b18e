//! What answered and made room in a full window, by port.

use std::time::Duration;

use reeve_policy::Timestamp;

use super::Version;
use crate::meter::sliding::Sliding;

/// Answered targets that made room, on the ports where there were most.
#[derive(Debug, Default)]
pub(super) struct Pushed {
    slots: [(PushedKey, Sliding<4>); 8],
}

/// Protocol, port, and whether it is IPv6.
pub(super) type PushedKey = (u8, u16, bool);

impl Pushed {
    /// A quarter of a minute: the window of the counts that this corrects is one.
    const BUCKET: Duration = Duration::from_secs(15);

    pub fn add(&mut self, key: PushedKey, at: Timestamp) {
        let place = self.slots.iter().position(|(other, _)| *other == key).unwrap_or_else(|| {
            let sums = self.slots.iter_mut().enumerate();
            let fewest = sums.map(|(index, (_, count))| (count.sum(at, Self::BUCKET), index)).min();
            let place = fewest.map_or(0, |(_, index)| index);
            self.slots[place] = (key, Sliding::default());
            place
        });
        self.slots[place].1.add(at, Self::BUCKET, 1);
    }

    pub fn sum_of(
        &self,
        (protocol, version): (u8, Version),
        is_left_out: impl Fn(u16) -> bool,
        at: Timestamp,
    ) -> u32 {
        let counts = |((code, port, six), _): &&(PushedKey, Sliding<4>)| {
            *code == protocol && (!*six || version == Version::Six) && !is_left_out(*port)
        };
        self.slots.iter().filter(counts).map(|(_, count)| count.clone().sum(at, Self::BUCKET)).sum()
    }
}
