//! One direction of a connection, put in order: light, bounded reassembly.
//!
//! Segments that come as they should, nearly all, are handed on at once and not copied. One that comes early waits until the gap
//! before it is filled, or until too many wait: then the gap is told as lost. What was sent again is not read again; of two versions of
//! a byte the first counts, as with most receivers. Bytes that the capture cut off are told as lost too, so that what follows
//! is still read at its right place.

use crate::packet::{Tcp, TcpFlags};

/// The most segments that wait for one before them.
const HELD_MAX: usize = 8;
/// The most bytes that are kept of each.
const HELD_EACH: usize = 1_024;

/// What comes out, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Bytes.
    Data(&'a [u8]),
    /// So many bytes that nobody has seen.
    Lost(u32),
}

impl Piece<'_> {
    /// How many bytes it is about.
    pub fn len(&self) -> u32 {
        match self {
            Self::Data(data) => u32::try_from(data.len()).unwrap_or(u32::MAX),
            Self::Lost(len) => *len,
        }
    }
}

/// A segment that came too early.
#[derive(Debug)]
struct Held {
    sequence: u32,
    len: u32,
    data: Vec<u8>,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The sequence number of the next byte; `None` before the first segment.
    next: Option<u32>,
    held: Vec<Held>,
    /// The sequence number behind the last byte, once a FIN told it.
    end: Option<u32>,
}

/// How far `a` is before `b`; numbers wrap (RFC 9293, section 3.4).
fn distance(a: u32, b: u32) -> i32 {
    b.wrapping_sub(a).cast_signed()
}

impl Order {
    /// The most bytes that wait.
    pub const HELD_BYTES: usize = HELD_MAX * (HELD_EACH + size_of::<Held>());

    /// Whether `sequence` is the next that is waited for.
    pub fn is_at(&self, sequence: u32) -> bool {
        self.next == Some(sequence)
    }

    /// Whether it has begun.
    pub fn is_begun(&self) -> bool {
        self.next.is_some()
    }

    /// Whether a FIN was seen.
    pub fn is_ending(&self) -> bool {
        self.end.is_some()
    }

    /// Whether everything up to the FIN has come.
    pub fn is_closed(&self) -> bool {
        self.end.is_some() && self.end == self.next
    }

    /// Takes a segment and hands on what is in order now.
    pub fn take(&mut self, tcp: &Tcp<'_>, mut hand_on: impl FnMut(Piece<'_>)) {
        if tcp.flags.any(TcpFlags::SYN) {
            self.next.get_or_insert(tcp.sequence.wrapping_add(1));
            return;
        }
        if tcp.flags.any(TcpFlags::FIN) {
            self.end = Some(tcp.sequence.wrapping_add(tcp.payload_len));
        }
        if tcp.payload_len == 0 {
            self.next.get_or_insert(tcp.sequence);
            return;
        }
        let next = *self.next.get_or_insert(tcp.sequence);
        if distance(next, tcp.sequence) > 0 {
            self.hold(tcp);
            if self.held.len() <= HELD_MAX {
                return;
            }
            // What is missing will not come any more.
            let first = self.held.first().map_or(next, |held| held.sequence);
            hand_on(Piece::Lost(first.wrapping_sub(next)));
            self.next = Some(first);
        } else {
            self.pass(tcp.sequence, tcp.payload_len, tcp.payload, &mut hand_on);
        }
        while let Some(held) = self.held.first()
            && let Some(next) = self.next
            && distance(next, held.sequence) <= 0
        {
            let held = self.held.remove(0);
            self.pass(held.sequence, held.len, &held.data, &mut hand_on);
        }
    }

    /// Hands on what is new of a segment that begins at or before the next byte.
    fn pass(&mut self, sequence: u32, len: u32, data: &[u8], hand_on: &mut impl FnMut(Piece<'_>)) {
        let Some(next) = self.next else { return };
        let old = distance(sequence, next).max(0).cast_unsigned();
        if old >= len {
            return;
        }
        let fresh = data.get(old as usize..).unwrap_or(&[]);
        let fresh = &fresh[..fresh.len().min((len - old) as usize)];
        if !fresh.is_empty() {
            hand_on(Piece::Data(fresh));
        }
        let missing = len - old - u32::try_from(fresh.len()).unwrap_or(u32::MAX).min(len - old);
        if missing > 0 {
            hand_on(Piece::Lost(missing));
        }
        self.next = Some(sequence.wrapping_add(len));
    }

    /// Keeps a segment that came too early, in order.
    fn hold(&mut self, tcp: &Tcp<'_>) {
        let place = self.held.partition_point(|held| distance(held.sequence, tcp.sequence) > 0);
        if self.held.get(place).is_some_and(|held| held.sequence == tcp.sequence) {
            return;
        }
        let data = tcp.payload[..tcp.payload.len().min(HELD_EACH)].to_vec();
        self.held.insert(place, Held { sequence: tcp.sequence, len: tcp.payload_len, data });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(sequence: u32, text: &[u8], len: u32, flags: u8) -> Tcp<'_> {
        Tcp {
            source_port: 1,
            destination_port: 25,
            sequence,
            acknowledgment: 0,
            flags: TcpFlags(flags),
            window: 0,
            has_options: false,
            payload_len: len,
            payload: text,
        }
    }

    /// Plays segments (offset, text, bytes that were cut off) from a SYN on; what comes out, with losses as `<n>`.
    fn check(isn: u32, segments: &[(u32, &str, u32)], expect: &str) {
        let (mut order, mut told) = (Order::default(), String::new());
        order.take(&segment(isn, b"", 0, TcpFlags::SYN), |_| panic!("a SYN says nothing"));
        for (offset, text, cut) in segments {
            let sequence = isn.wrapping_add(1).wrapping_add(*offset);
            let tcp = segment(sequence, text.as_bytes(), text.len() as u32 + cut, TcpFlags::ACK);
            order.take(&tcp, |piece| match piece {
                Piece::Data(data) => told.push_str(std::str::from_utf8(data).unwrap()),
                Piece::Lost(len) => told.push_str(&format!("<{len}>")),
            });
            assert!(order.held.len() <= HELD_MAX);
        }
        assert_eq!(told, expect, "{segments:?}");
    }

    #[test]
    fn segments_come_out_in_order_and_once() {
        for isn in [0, u32::MAX, u32::MAX - 5] {
            check(isn, &[(0, "abc", 0), (3, "def", 0)], "abcdef");
            check(isn, &[(3, "def", 0), (0, "abc", 0)], "abcdef");
            check(isn, &[(0, "abc", 0), (0, "abc", 0), (2, "cde", 0)], "abcde");
            check(isn, &[(6, "ghi", 0), (3, "def", 0), (6, "xxx", 0), (0, "abc", 0)], "abcdefghi");
            check(isn, &[(0, "abcdef", 0), (1, "XYZ", 0)], "abcdef");
        }
    }

    #[test]
    fn what_nobody_saw_is_told_and_what_follows_is_read() {
        check(7, &[(0, "abc", 4), (7, "hij", 0)], "abc<4>hij");
        let texts: Vec<(u32, &str, u32)> = (0..=HELD_MAX as u32).map(|n| (5 + n * 2, "xy", 0)).collect();
        check(7, &texts, &format!("<5>{}", "xy".repeat(HELD_MAX + 1)));
    }

    #[test]
    fn a_fin_closes_when_all_before_it_has_come() {
        let mut order = Order::default();
        order.take(&segment(0, b"", 0, TcpFlags::SYN), |_| {});
        order.take(&segment(4, b"", 0, TcpFlags::FIN | TcpFlags::ACK), |_| {});
        assert!(!order.is_closed());
        order.take(&segment(1, b"abc", 3, TcpFlags::ACK), |_| {});
        assert!(order.is_closed());
    }
}
