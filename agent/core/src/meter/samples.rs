//! The last packet headers of a tenant, as evidence. Payload never gets in: a sample ends with the transport header.

use reeve_policy::{Alert, HeaderSample, Timestamp};

/// Headers longer than this are cut; an IPv6 header with a TCP header and all its options has 100 bytes.
const MAX_HEADERS: usize = 112;

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Timestamp,
    wire_len: u32,
    len: u8,
    headers: [u8; MAX_HEADERS],
}

/// A ring of the last [`Alert::MAX_SAMPLES`] headers.
#[derive(Debug, Default)]
pub struct Samples {
    ring: Vec<Sample>,
    next: usize,
}

impl Samples {
    /// Bytes that a full ring takes.
    pub const BYTES: usize = Alert::MAX_SAMPLES * size_of::<Sample>();

    /// Keeps a packet's headers.
    pub fn record(&mut self, at: Timestamp, wire_len: u32, headers: &[u8]) {
        let len = headers.len().min(MAX_HEADERS);
        if self.ring.len() < Alert::MAX_SAMPLES {
            self.ring.push(Sample { at, wire_len, len: 0, headers: [0; MAX_HEADERS] });
            self.next = self.ring.len() - 1;
        }
        let sample = &mut self.ring[self.next];
        (sample.at, sample.wire_len) = (at, wire_len);
        sample.len = u8::try_from(len).expect("at most 112");
        sample.headers[..len].copy_from_slice(&headers[..len]);
        self.next = (self.next + 1) % Alert::MAX_SAMPLES;
    }

    /// What is kept, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<HeaderSample> {
        let start = if self.ring.len() < Alert::MAX_SAMPLES { 0 } else { self.next };
        let (newer, older) = self.ring.split_at(start.min(self.ring.len()));
        let copy = |sample: &Sample| HeaderSample {
            at: sample.at,
            wire_len: sample.wire_len,
            headers: sample.headers[..usize::from(sample.len)].to_vec(),
        };
        older.iter().chain(newer).map(copy).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_in_order() {
        let mut samples = Samples::default();
        assert!(samples.list().is_empty());
        for number in 0..100_u32 {
            samples.record(Timestamp::from_secs(number.into()), number, &[number as u8; 200]);
            let expected: Vec<u32> = ((number + 1).saturating_sub(64)..=number).collect();
            let lens: Vec<u32> = samples.list().iter().map(|sample| sample.wire_len).collect();
            assert_eq!(lens, expected);
        }
        assert_eq!(samples.list()[0].headers, vec![36; MAX_HEADERS]);
    }
}
