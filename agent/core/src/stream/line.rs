//! One line at a time, put together from the pieces that it comes in, and bounded.

/// The line at hand.
#[derive(Debug, Default)]
pub(super) struct Line {
    text: Vec<u8>,
    is_overlong: bool,
}

impl Line {
    /// Longer lines are passed over: commands have at most 512 bytes (RFC 5321, section 4.5.3.1), and what extensions and tokens add.
    pub const MAX: usize = 1_024;

    /// Takes what comes next, up to the end of the line; what follows it, and whether the line is whole.
    pub fn take<'a>(&mut self, data: &'a [u8]) -> (&'a [u8], bool) {
        let end = data.iter().position(|byte| *byte == b'\n');
        let (part, rest) = data.split_at(end.map_or(data.len(), |end| end + 1));
        if self.text.len() + part.len() > Self::MAX {
            self.is_overlong = true;
            self.text.clear();
        } else if !self.is_overlong {
            self.text.extend_from_slice(part);
        }
        (rest, end.is_some())
    }

    /// Takes the line out: what it says, `None` if it was too long. To be handed back by [`Line::reuse`], so that the next one
    /// finds its room.
    pub fn take_out(&mut self) -> Option<Vec<u8>> {
        let text = std::mem::take(&mut self.text);
        (!std::mem::take(&mut self.is_overlong)).then_some(text)
    }

    /// See [`Line::take_out`].
    pub fn reuse(&mut self, mut text: Vec<u8>) {
        text.clear();
        self.text = text;
    }

    /// Whether nothing of it has come.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && !self.is_overlong
    }

    /// Forgets what has come of it, but not that it was too long: its end is still to come.
    pub fn forget(&mut self) {
        self.text.clear();
    }

    /// Begins with another line.
    pub fn clear(&mut self) {
        *self = Self { text: std::mem::take(&mut self.text), is_overlong: false };
        self.text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that come of `text` in steps of `step`; `-` for one that was too long.
    fn lines(text: &[u8], step: usize) -> Vec<Vec<u8>> {
        let (mut line, mut told) = (Line::default(), Vec::new());
        for mut data in text.chunks(step) {
            while !data.is_empty() {
                let (rest, is_whole) = line.take(data);
                data = rest;
                if is_whole {
                    told.push(line.take_out().unwrap_or_else(|| b"-".to_vec()));
                    assert!(line.is_empty());
                }
            }
        }
        told
    }

    #[test]
    fn lines_come_out_however_they_are_cut_and_long_ones_do_not() {
        let long = [vec![b'x'; Line::MAX].as_slice(), b"\n"].concat();
        let text = [b"one\r\n\n".as_slice(), &long, &long[1..], b"two\nthr"].concat();
        for step in [1, 7, 1_023, 5_000] {
            let expect: [&[u8]; 5] = [b"one\r\n", b"\n", b"-", &long[1..], b"two\n"];
            assert_eq!(lines(&text, step), expect, "in steps of {step}");
        }
    }

    #[test]
    fn what_was_too_long_stays_so_until_another_begins() {
        let mut line = Line::default();
        line.take(&[b'x'; Line::MAX + 1]);
        line.forget();
        assert_eq!((line.take(b"rest\n"), line.take_out()), ((&[][..], true), None));
        line.take(&[b'x'; Line::MAX + 1]);
        line.clear();
        assert_eq!((line.take(b"new\n"), line.take_out()), ((&[][..], true), Some(b"new\n".to_vec())));
    }
}
