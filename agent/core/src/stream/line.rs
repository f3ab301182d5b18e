//! One line at a time, put together from the pieces that it comes in, and bounded.

/// The line at hand.
#[derive(Debug, Default)]
pub(super) struct Line {
    text: Vec<u8>,
}

impl Line {
    /// Of longer lines the beginning is kept, as servers do that take them at all: commands have at most 512 bytes (RFC 5321, section
    /// 4.5.3.1), and what extensions and tokens add.
    pub const MAX: usize = 1_024;

    /// Takes what comes next, up to the end of the line; what follows it, and whether the line is whole.
    pub fn take<'a>(&mut self, data: &'a [u8]) -> (&'a [u8], bool) {
        let end = data.iter().position(|byte| *byte == b'\n');
        let (part, rest) = data.split_at(end.map_or(data.len(), |end| end + 1));
        self.text.extend_from_slice(&part[..part.len().min(Self::MAX - self.text.len())]);
        (rest, end.is_some())
    }

    /// Takes the line out: what it says, or the first [`Line::MAX`] bytes of that. To be handed back by [`Line::reuse`], so that
    /// the next one finds its room.
    pub fn take_out(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text)
    }

    /// See [`Line::take_out`].
    pub fn reuse(&mut self, mut text: Vec<u8>) {
        text.clear();
        self.text = text;
    }

    /// Whether nothing of it has come.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Begins with another line.
    pub fn clear(&mut self) {
        self.text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that come of `text` in steps of `step`.
    fn lines(text: &[u8], step: usize) -> Vec<Vec<u8>> {
        let (mut line, mut told) = (Line::default(), Vec::new());
        for mut data in text.chunks(step) {
            while !data.is_empty() {
                let (rest, is_whole) = line.take(data);
                data = rest;
                if is_whole {
                    told.push(line.take_out());
                    assert!(line.is_empty());
                }
            }
        }
        told
    }

    #[test]
    fn lines_come_out_however_they_are_cut_and_of_long_ones_the_beginning() {
        let long = [vec![b'x'; 3 * Line::MAX].as_slice(), b"\n"].concat();
        let fits = [&long[..Line::MAX - 1], b"\n"].concat();
        let text = [b"one\r\n\n".as_slice(), &long, &fits, b"two\nthr"].concat();
        for step in [1, 7, 1_023, 5_000] {
            let expect: [&[u8]; 5] = [b"one\r\n", b"\n", &long[..Line::MAX], &fits, b"two\n"];
            assert_eq!(lines(&text, step), expect, "in steps of {step}");
        }
    }

    #[test]
    fn what_was_begun_can_be_let_go() {
        let mut line = Line::default();
        line.take(&[b'x'; Line::MAX + 1]);
        line.clear();
        assert_eq!((line.take(b"new\n"), line.take_out()), ((&[][..], true), b"new\n".to_vec()));
    }
}
