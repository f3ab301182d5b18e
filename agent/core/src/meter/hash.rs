//! Numbers made of other numbers, so that they fall evenly. They are the same on every machine, and keep no secret.

/// The golden ratio in 64 bits.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014).
#[must_use]
pub const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The same of several words, in their order.
#[must_use]
pub fn mix_all(words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(GOLDEN, |state, word| mix(state ^ word))
}

/// The bit of one of 64 classes of numbers. Fibonacci hashing spreads neighbours over them.
#[must_use]
pub const fn class_bit(number: u64) -> u64 {
    1 << (number.wrapping_mul(GOLDEN) >> 58)
}

/// Enough bits of an address, or of another key, to tell a few hundred apart.
#[inline]
#[must_use]
pub const fn fold(key: u128) -> u64 {
    ((key >> 64) as u64 ^ (key as u64).rotate_left(32)).wrapping_mul(GOLDEN) >> 16
}

/// Few bits of it that tell most apart. Whoever makes them alike makes only the look longer.
#[inline]
#[must_use]
pub const fn digest(key: u128) -> u16 {
    (fold(key) >> 32) as u16
}
