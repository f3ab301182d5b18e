//! The flow table's index: from a hash to a slot, one cache line a look.
//!
//! Model: Bronson and Shi, "Open-sourcing F14 for faster, more memory-efficient hash tables" (2019). A chunk fills one cache
//! line: a tag of 15 bits and the slot for each of ten entries, and how many entries had to go on to the next chunk, so that a
//! look ends where it can and removal leaves no tombstones. At a capture's random access the memory is what costs: a look takes
//! one line here and one of the flow itself.
//!
//! It is made for few entries and doubles until it has the room that was asked for: what a node does not need would only spread
//! what it has over more memory than a core's caches hold. The last time costs some milliseconds, once.
//!
//! Left out: iteration, so that no order can show.

/// Entries of a chunk.
const WIDTH: usize = 10;
/// Entries that a chunk is meant to hold on average; a chunk in thirty overflows then.
const LOAD: usize = 6;
/// Set in every tag that is in use.
const USED: u16 = 0x8000;

/// One cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Chunk {
    tags: [u16; WIDTH],
    /// Entries that found this chunk full on their way, and are further on.
    passed: u16,
    slots: [u32; WIDTH],
}

const _: () = assert!(size_of::<Chunk>() == 64);

/// Bytes that one entry costs.
pub(super) const ENTRY_BYTES: usize = size_of::<Chunk>().div_ceil(LOAD);

/// An index with room for at most so many entries.
#[derive(Debug)]
pub(super) struct Index {
    chunks: Vec<Chunk>,
    entries: usize,
    capacity: usize,
}

/// For so many entries it is made.
const FIRST: usize = 4_096;

impl Index {
    /// An index for at most `capacity` entries.
    pub(super) fn new(capacity: usize) -> Self {
        Self { chunks: chunks(capacity.min(FIRST)), entries: 0, capacity }
    }

    /// Makes room for one more. `hash` tells what a slot was entered under.
    pub(super) fn reserve(&mut self, hash: impl Fn(u32) -> u64) {
        let room = self.chunks.len() * LOAD;
        if self.entries < room || room >= self.capacity {
            return;
        }
        let before = std::mem::replace(&mut self.chunks, chunks((room * 2).min(self.capacity)));
        self.entries = 0;
        for chunk in before {
            for (tag, slot) in chunk.tags.into_iter().zip(chunk.slots) {
                if tag != 0 {
                    self.insert(hash(slot), slot);
                }
            }
        }
    }

    /// The slot that was entered under `hash` and for which `is_it` holds.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        let mut place = self.home(hash);
        for _ in 0..self.chunks.len() {
            let chunk = &self.chunks[place];
            let mut matches = chunk.matches(tag);
            while matches != 0 {
                let slot = chunk.slots[matches.trailing_zeros() as usize];
                if is_it(slot) {
                    return Some(slot);
                }
                matches &= matches - 1;
            }
            if chunk.passed == 0 {
                return None;
            }
            place = self.next(place);
        }
        None
    }

    /// Enters a slot that is not in the index yet.
    ///
    /// # Panics
    /// When there are ten sixths of the capacity already; whoever fills it keeps to its own.
    pub(super) fn insert(&mut self, hash: u64, slot: u32) {
        let tag = tag(hash);
        let mut place = self.home(hash);
        self.entries += 1;
        for _ in 0..self.chunks.len() {
            let chunk = &mut self.chunks[place];
            let free = chunk.matches(0);
            if free != 0 {
                let entry = free.trailing_zeros() as usize;
                (chunk.tags[entry], chunk.slots[entry]) = (tag, slot);
                return;
            }
            // A count that has reached its end stays there: looks go on further than they had to, and find all the same.
            chunk.passed = chunk.passed.saturating_add(1);
            place = self.next(place);
        }
        unreachable!("the index has more room than the table");
    }

    /// Takes out a slot that was entered under `hash`.
    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        let (tag, home) = (tag(hash), self.home(hash));
        let mut place = home;
        for _ in 0..self.chunks.len() {
            let chunk = &mut self.chunks[place];
            let is_it = |&entry: &usize| chunk.tags[entry] == tag && chunk.slots[entry] == slot;
            if let Some(entry) = (0..WIDTH).find(is_it) {
                chunk.tags[entry] = 0;
                self.entries -= 1;
                break;
            }
            if chunk.passed == 0 {
                return;
            }
            place = self.next(place);
        }
        let mut passed = home;
        while passed != place {
            let chunk = &mut self.chunks[passed];
            if chunk.passed != u16::MAX {
                chunk.passed -= 1;
            }
            passed = self.next(passed);
        }
    }

    /// Where a look begins: the upper half of the hash, scaled to the number of chunks (Lemire, "Fast Random Integer
    /// Generation in an Interval", 2019).
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (((hash >> 32) * self.chunks.len() as u64) >> 32) as usize
    }

    fn next(&self, place: usize) -> usize {
        if place + 1 == self.chunks.len() { 0 } else { place + 1 }
    }
}

impl Chunk {
    /// Which entries have this tag, a bit each.
    #[inline]
    fn matches(&self, tag: u16) -> u32 {
        let mut bits = 0;
        for (entry, &other) in self.tags.iter().enumerate() {
            bits |= u32::from(other == tag) << entry;
        }
        bits
    }
}

/// Chunks for so many entries.
fn chunks(entries: usize) -> Vec<Chunk> {
    vec![Chunk::default(); entries.div_ceil(LOAD).max(2)]
}

/// What an entry is known by in its chunk: the lower bits of the hash, which do not say where its chunk is.
fn tag(hash: u64) -> u16 {
    hash as u16 | USED
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_doubles_up_to_what_was_asked_for_and_loses_nothing() {
        let hash = |slot: u32| crate::meter::hash::mix(slot.into());
        let capacity = FIRST * 5;
        let mut index = Index::new(capacity);
        let mut sizes = Vec::new();
        for slot in 0..capacity as u32 {
            index.reserve(hash);
            index.insert(hash(slot), slot);
            sizes.push(index.chunks.len() * LOAD);
            // Some come and go.
            if slot % 3 == 0 {
                index.remove(hash(slot), slot);
                index.insert(hash(slot), slot);
            }
        }
        assert!((0..capacity as u32).all(|slot| index.find(hash(slot), |other| other == slot) == Some(slot)));
        sizes.dedup();
        assert_eq!(sizes.len(), 4, "{sizes:?}");
        assert!(*sizes.last().unwrap() < capacity + LOAD);
    }

    proptest! {
        // Few chunks and hashes, so that entries collide, overflow and wrap around.
        #[test]
        fn it_holds_what_a_map_holds(steps in prop::collection::vec((0_u64..12, any::<bool>()), 0..400)) {
            let mut index = Index::new(24);
            let mut known: BTreeMap<u32, u64> = BTreeMap::new();
            let mut next = 0;
            for (home, adds) in steps {
                let hash = home << 60 | home & 1;
                if adds && known.len() < 24 {
                    index.insert(hash, next);
                    known.insert(next, hash);
                    next += 1;
                } else if let Some((&slot, &hash)) = known.iter().nth(home as usize % known.len().max(1)) {
                    index.remove(hash, slot);
                    known.remove(&slot);
                }
                for (&slot, &hash) in &known {
                    prop_assert_eq!(index.find(hash, |other| other == slot), Some(slot));
                }
                for slot in (0..next).filter(|slot| !known.contains_key(slot)) {
                    prop_assert_eq!(index.find(hash, |other| other == slot), None);
                }
            }
            for (slot, hash) in known {
                index.remove(hash, slot);
            }
            prop_assert!(index.chunks.iter().all(|chunk| chunk.tags == [0; WIDTH] && chunk.passed == 0));
        }
    }
}
