//! One direction of a connection, put in order: light, bounded reassembly.
//!
//! Segments that come as they should, nearly all, are handed on at once and not copied. One that comes early waits until the gap
//! before it is filled, or until too many wait: then the gap is told as lost. What was sent again is not read again; of two versions of
//! a byte the first counts, as with most receivers. Bytes that the capture cut off are told as lost too, so that what follows
//! is still read at its right place.
//!
//! **Numbers that do not fit.** Either end drops what lies outside its window (RFC 9293, section 3.10.7.4), and of resets all that do not
//! bear the very number that it waits for (RFC 5961, section 3). So does this reader ([`Order::fits`], [`Order::ends_at`]): otherwise one
//! packet that reaches nobody would take its eye off a connection. What the other end acknowledged ([`Order::acknowledge`])
//! tells whether a gap is one of the capture, or was never sent.
//!
//! **Versions that differ.** Where asked to ([`Order::compare`]), it remembers the last bytes and says whether some came twice and were
//! not the same: of these the other end may have seen one and this reader another.

use std::collections::VecDeque;

use crate::packet::{Tcp, TcpFlags};

/// The most segments that wait for one before them.
const HELD_MAX: usize = 64;
/// The most bytes that are kept of each.
const HELD_EACH: usize = 1_024;
/// The most bytes that are kept of all.
const HELD_ALL: usize = 8 * HELD_EACH;
/// So far off the number that is waited for a segment may be: more than windows are opened by as a rule.
const WINDOW: u32 = 4 << 20;
/// So many of the last bytes are remembered, where versions are compared.
const REMEMBERED: usize = 1_024;

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
    /// Up to which number the other end has acknowledged.
    acknowledged: Option<u32>,
    past: Option<Box<Past>>,
}

/// The last bytes that were handed on, so that they can be compared with what comes again.
#[derive(Debug, Default)]
struct Past {
    bytes: VecDeque<u8>,
    differs: bool,
    /// Whether what is no longer remembered is of no interest.
    is_at_ease: bool,
}

/// How far `a` is before `b`; numbers wrap (RFC 9293, section 3.4).
fn distance(a: u32, b: u32) -> i32 {
    b.wrapping_sub(a).cast_signed()
}

impl Order {
    /// The most bytes that wait, and those that are remembered.
    pub const HELD_BYTES: usize =
        HELD_ALL + (HELD_MAX + 1) * size_of::<Held>() + size_of::<Past>() + 2 * REMEMBERED;

    /// Whether a segment may belong here, by its number.
    pub fn fits(&self, tcp: &Tcp<'_>) -> bool {
        let near = |number: u32| distance(number, tcp.sequence).unsigned_abs() <= WINDOW;
        let mut known = [self.next, self.acknowledged].into_iter().flatten().peekable();
        known.peek().is_none() || known.any(near)
    }

    /// Whether what this side acknowledges may be something that the other, whose order `self` is, has said.
    pub fn may_be_acknowledged(&self, tcp: &Tcp<'_>) -> bool {
        !tcp.flags.any(TcpFlags::ACK)
            || self.next.is_none_or(|next| distance(next, tcp.acknowledgment).unsigned_abs() <= WINDOW)
    }

    /// Whether a reset at `sequence` is one that the other end heeds; where nothing is known of either, it is.
    pub fn ends_at(&self, sequence: u32) -> bool {
        let (next, acknowledged) = (self.next, self.acknowledged);
        let behind = self
            .held
            .iter()
            .map(|held| held.sequence.wrapping_add(held.len))
            .max_by_key(|end| next.map_or(0, |next| distance(next, *end)));
        let mut known =
            [next, self.end.map(|end| end.wrapping_add(1)), acknowledged, behind].into_iter().flatten();
        (next.is_none() && acknowledged.is_none()) || known.any(|number| number == sequence)
    }

    /// Takes note of what the other end acknowledged.
    pub fn acknowledge(&mut self, tcp: &Tcp<'_>) {
        if tcp.flags.any(TcpFlags::ACK) && !tcp.flags.any(TcpFlags::RST) {
            self.acknowledged = Some(tcp.acknowledgment);
        }
    }

    /// Compares from now on what comes twice.
    pub fn compare(mut self) -> Self {
        self.past = Some(Box::default());
        self
    }

    /// Says whether what cannot be compared matters: content may be as long as it likes, and nothing is read in it.
    pub fn set_at_ease(&mut self, is_at_ease: bool) {
        if let Some(past) = &mut self.past {
            past.is_at_ease = is_at_ease;
        }
    }

    /// Whether some bytes came twice and were not the same, or could not be compared.
    pub fn differs(&self) -> bool {
        self.past.as_ref().is_some_and(|past| past.differs)
    }

    /// Whether `sequence` is the next that is waited for.
    pub fn is_at(&self, sequence: u32) -> bool {
        self.next == Some(sequence)
    }

    /// The number of the next byte, if it has begun.
    pub fn next(&self) -> Option<u32> {
        self.next
    }

    /// Begins with `sequence`.
    pub fn begin(&mut self, sequence: u32) {
        self.next = Some(sequence);
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
            // The other end waits for what is missing, too: what came early is not what it takes next.
            if self.acknowledged.is_some_and(|acknowledged| distance(next, acknowledged) <= 0) {
                self.held.pop();
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
        if let Some(past) = &mut self.past
            && old > 0
        {
            past.check(old, len, data);
        }
        if old >= len {
            return;
        }
        let fresh = data.get(old as usize..).unwrap_or(&[]);
        let fresh = &fresh[..fresh.len().min((len - old) as usize)];
        if let Some(past) = &mut self.past {
            past.remember(fresh, (len - old) as usize - fresh.len());
        }
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
        if let Some(held) = self.held.get(place).filter(|held| held.sequence == tcp.sequence) {
            let same = held.data.iter().zip(tcp.payload).all(|(one, other)| one == other);
            if let Some(past) = &mut self.past {
                past.differs |= !same;
            }
            return;
        }
        let room = HELD_ALL - self.held.iter().map(|held| held.data.len()).sum::<usize>().min(HELD_ALL);
        let data = tcp.payload[..tcp.payload.len().min(HELD_EACH).min(room)].to_vec();
        self.held.insert(place, Held { sequence: tcp.sequence, len: tcp.payload_len, data });
    }
}

impl Past {
    /// Takes what is handed on, and how much of it nobody has seen.
    fn remember(&mut self, fresh: &[u8], missing: usize) {
        if missing > 0 || fresh.len() >= REMEMBERED {
            self.bytes.clear();
        }
        if missing == 0 {
            let fresh = &fresh[fresh.len().saturating_sub(REMEMBERED)..];
            let over = (self.bytes.len() + fresh.len()).saturating_sub(REMEMBERED);
            self.bytes.drain(..over);
            self.bytes.extend(fresh);
        }
    }

    /// Compares the bytes of a segment that begins `old` bytes before the next. What is no longer remembered counts as different: who
    /// wants the two to differ would see to that. Those that the capture cut off say nothing.
    fn check(&mut self, old: u32, len: u32, data: &[u8]) {
        let (old, known) = (old as usize, self.bytes.len());
        let again = &data[..data.len().min(old).min(len as usize)];
        if old <= known {
            let start = known - old;
            self.differs |= !self.bytes.range(start..start + again.len()).eq(again);
        } else {
            // One byte that was said already is how a connection is kept alive (RFC 9293, section 3.8.4).
            self.differs |= len > 1 && !again.is_empty() && !self.is_at_ease;
        }
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
    fn segments_far_off_fit_nowhere_and_resets_only_at_their_place() {
        for isn in [7, u32::MAX - 2] {
            let (mut order, next) = (Order::default(), isn.wrapping_add(4));
            let reset = |offset: u32| segment(next.wrapping_add(offset), b"", 0, TcpFlags::RST);
            assert!(order.fits(&reset(1 << 30)) && order.ends_at(next), "nothing is known yet");
            order.take(&segment(isn, b"", 0, TcpFlags::SYN), |_| {});
            order.take(&segment(isn.wrapping_add(1), b"abc", 3, TcpFlags::ACK), |_| {});
            for (offset, fits, ends) in [
                (0, true, true),
                (1, true, false),
                (1_000, true, false),
                (1 << 30, false, false),
                (1 << 31, false, false),
            ] {
                let tcp = reset(offset);
                assert_eq!((order.fits(&tcp), order.ends_at(tcp.sequence)), (fits, ends), "{offset}");
                let back = reset(0_u32.wrapping_sub(offset));
                assert_eq!((order.fits(&back), order.ends_at(back.sequence)), (fits, ends), "-{offset}");
            }
        }
        // What the other end waits for, it heeds, though the beginning was not seen.
        let mut order = Order::default();
        order.acknowledge(&Tcp { acknowledgment: 500, ..segment(1, b"", 0, TcpFlags::ACK) });
        assert!(order.ends_at(500) && !order.ends_at(501));
    }

    #[test]
    fn what_was_never_sent_does_not_make_it_give_up() {
        let (mut order, mut told) = (Order::default(), Vec::new());
        order.take(&segment(0, b"", 0, TcpFlags::SYN), |_| {});
        let acknowledged = |number| Tcp { acknowledgment: number, ..segment(1, b"", 0, TcpFlags::ACK) };
        order.acknowledge(&acknowledged(1));
        for number in 0..5 * HELD_MAX as u32 {
            order.take(&segment(50 + 2 * number, b"zz", 2, TcpFlags::ACK), |piece| told.push(piece.len()));
        }
        assert!(told.is_empty() && order.held.len() <= HELD_MAX);
        order.take(&segment(1, b"abc", 3, TcpFlags::ACK), |piece| told.push(piece.len()));
        assert_eq!(told, [3]);
        // Once it was acknowledged, it was sent, and only the capture has missed it.
        order.acknowledge(&acknowledged(50));
        order.take(&segment(9_000, b"zz", 2, TcpFlags::ACK), |piece| told.push(piece.len()));
        assert_eq!(told[1], 46);
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut order, text) = (Order::default(), [b'x'; 4_000]);
        order.take(&segment(0, b"", 0, TcpFlags::SYN), |_| {});
        for number in 0..HELD_MAX as u32 {
            order.take(&segment(10 + 4_000 * number, &text, 4_000, TcpFlags::ACK), |_| {});
        }
        let bytes: usize = order.held.iter().map(|held| held.data.len()).sum();
        assert_eq!((order.held.len(), bytes), (HELD_MAX, HELD_ALL));
    }

    /// Whether versions differ after these segments (offset, text), the rest of `len` being cut off.
    fn differs(segments: &[(u32, &[u8], u32)], is_at_ease: bool) -> bool {
        let mut order = Order::default().compare();
        order.set_at_ease(is_at_ease);
        order.take(&segment(0, b"", 0, TcpFlags::SYN), |_| {});
        for (offset, text, len) in segments {
            order.take(&segment(1 + offset, text, *len, TcpFlags::ACK), |_| {});
        }
        let past = order.past.as_ref().unwrap();
        assert!(past.bytes.len() <= REMEMBERED);
        order.differs()
    }

    #[test]
    fn versions_that_differ_are_noticed() {
        let long = [b'x'; 3 * REMEMBERED];
        let long_len = long.len() as u32;
        for (segments, expect) in [
            (&[(0, &b"abc"[..], 3), (0, b"abc", 3), (1, b"bcdef", 5)][..], false),
            (&[(0, b"abc", 3), (0, b"abd", 3)], true),
            (&[(0, b"abcdef", 6), (2, b"cxy", 3)], true),
            (&[(3, b"def", 3), (3, b"dxf", 3), (0, b"abc", 3)], true),
            (&[(3, b"def", 3), (3, b"def", 3), (0, b"abcd", 4)], false),
            // Long ago; kept alive; not captured.
            (&[(0, &long, long_len), (0, &long[..9], 9)], true),
            (&[(0, &long, long_len), (0, b"x", 1)], false),
            (&[(0, b"abc", 900), (0, b"abc", 900)], true),
            (&[(0, b"abc", 3), (0, b"", 3)], false),
        ] {
            assert_eq!(differs(segments, false), expect, "{segments:?}");
        }
        assert!(!differs(&[(0, &long, long_len), (0, &long[..9], 9)], true));
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
