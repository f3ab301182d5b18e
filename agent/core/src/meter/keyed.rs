//! A few things by key, of which every packet asks for one: a look is over one cache line of digests, and then the thing itself.
//!
//! When there is no room, somebody who hardly counts gives up its place, by turns; only where all count are they compared. So who
//! hardly counts may be forgotten and come again, and who counts keeps its place however many others come.

use super::hash::digest;

/// At most `CAPACITY` things, no more than 32.
#[derive(Debug)]
pub struct Keyed<T, const CAPACITY: usize> {
    /// Two bytes of each key's hash. What stands behind the last entry is of none.
    digests: [u16; CAPACITY],
    entries: Vec<Entry<T>>,
    recent: usize,
    /// A bit for each entry that hardly counted when that was last looked at, and has not been asked for its place since.
    spare: u32,
    evictions: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    value: T,
    key: u128,
}

impl<T, const CAPACITY: usize> Default for Keyed<T, CAPACITY> {
    fn default() -> Self {
        const { assert!(CAPACITY <= u32::BITS as usize) };
        Self { digests: [0; CAPACITY], entries: Vec::new(), recent: 0, spare: 0, evictions: 0 }
    }
}

impl<T, const CAPACITY: usize> Keyed<T, CAPACITY> {
    /// Bytes that it takes when full, beside the value itself.
    pub const BYTES: usize = CAPACITY * size_of::<Entry<T>>();

    /// The place of a key.
    #[inline]
    #[must_use]
    pub fn position(&self, key: u128) -> Option<usize> {
        let digest = digest(key);
        let digests = self.digests.iter().enumerate();
        let mut alike =
            digests.fold(0_u32, |bits, (index, other)| bits | u32::from(*other == digest) << index);
        while alike != 0 {
            let index = alike.trailing_zeros() as usize;
            if self.entries.get(index).is_some_and(|entry| entry.key == key) {
                return Some(index);
            }
            alike &= alike - 1;
        }
        None
    }

    /// What stands under a key.
    #[inline]
    #[must_use]
    pub fn find(&self, key: u128) -> Option<&T> {
        self.position(key).map(|index| &self.entries[index].value)
    }

    /// What stands under a key, to change.
    #[inline]
    pub fn find_mut(&mut self, key: u128) -> Option<&mut T> {
        self.position(key).map(|index| &mut self.entries[index].value)
    }

    /// What stands under a key, or else a new one. Who makes room for it is told by their ranks: below `counts` by turns, and if there is
    /// none, whose is least.
    #[inline]
    pub fn find_or_make<R: Ord>(
        &mut self,
        key: u128,
        new: impl FnOnce() -> T,
        counts: R,
        rank: impl Fn(&T) -> R,
    ) -> &mut T {
        let index = match self.position(key) {
            Some(index) => index,
            None => self.make(Entry { key, value: new() }, counts, rank),
        };
        self.recent = index;
        &mut self.entries[index].value
    }

    /// What was last made, or found by [`Keyed::find_or_make`].
    #[inline]
    pub fn recent_mut(&mut self) -> Option<&mut T> {
        self.entries.get_mut(self.recent).map(|entry| &mut entry.value)
    }

    /// What stands at a place.
    ///
    /// # Panics
    /// When nothing does.
    #[must_use]
    pub fn at_mut(&mut self, place: usize) -> &mut T {
        &mut self.entries[place].value
    }

    /// All with their keys, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (u128, &T)> {
        self.entries.iter().map(|entry| (entry.key, &entry.value))
    }

    /// The same, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u128, &mut T)> {
        self.entries.iter_mut().map(|entry| (entry.key, &mut entry.value))
    }

    /// How many had to make room.
    #[must_use]
    pub const fn evictions(&self) -> u64 {
        self.evictions
    }

    #[inline(never)]
    fn make<R: Ord>(&mut self, new: Entry<T>, counts: R, rank: impl Fn(&T) -> R) -> usize {
        let digest = digest(new.key);
        let index = if self.entries.len() < CAPACITY {
            self.entries.push(new);
            self.entries.len() - 1
        } else {
            self.evictions += 1;
            let index = self.victim(counts, rank);
            self.entries[index] = new;
            index
        };
        self.digests[index] = digest;
        index
    }

    fn victim<R: Ord>(&mut self, counts: R, rank: impl Fn(&T) -> R) -> usize {
        let entries = &self.entries;
        let rank = |index: usize| rank(&entries[index].value);
        if self.spare == 0 {
            let all = 0..entries.len();
            self.spare = all.filter(|index| rank(*index) < counts).fold(0, |bits, index| bits | 1 << index);
        }
        while self.spare != 0 {
            let index = self.spare.trailing_zeros() as usize;
            self.spare &= self.spare - 1;
            if rank(index) < counts {
                return index;
            }
        }
        (0..entries.len()).min_by_key(|index| rank(*index)).expect("a full table has entries")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Few = Keyed<u32, 4>;

    fn enter(few: &mut Few, key: u128, value: u32) {
        *few.find_or_make(key, || 0, 10, |value| *value) = value;
    }

    fn check(values: [u32; 4], newcomers: &[u128], expect: [u128; 4]) {
        let mut few = Few::default();
        values.iter().zip(0_u128..).for_each(|(value, key)| enter(&mut few, key, *value));
        newcomers.iter().for_each(|key| enter(&mut few, *key, 1));
        assert_eq!(few.iter().map(|(key, _)| key).collect::<Vec<_>>(), expect, "{values:?} {newcomers:?}");
        assert_eq!(few.evictions(), newcomers.len() as u64);
        for (key, value) in few.iter() {
            assert_eq!(few.find(key), Some(value));
        }
    }

    #[test]
    fn who_hardly_counts_makes_room_by_turns_and_who_counts_stays() {
        check([20, 1, 9, 30], &[10], [0, 10, 2, 3]);
        check([20, 1, 9, 30], &[10, 11], [0, 10, 11, 3]);
        check([20, 1, 9, 30], &[10, 11, 12], [0, 12, 11, 3]);
        // All count: the least of them goes.
        check([20, 11, 19, 30], &[10], [0, 10, 2, 3]);
        check([20, 21, 19, 30], &[10, 11], [0, 1, 11, 3]);
    }

    #[test]
    fn who_has_come_to_count_since_it_was_looked_at_stays() {
        let mut few = Few::default();
        (0..4).for_each(|key| enter(&mut few, key, 1));
        enter(&mut few, 10, 1);
        enter(&mut few, 1, 50);
        enter(&mut few, 11, 1);
        assert_eq!(few.iter().map(|(key, _)| key).collect::<Vec<_>>(), [10, 1, 11, 3]);
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let few = Few::default();
        assert_eq!(few.find(0), None);
        assert_eq!(few.position(u128::MAX), None);
    }
}
