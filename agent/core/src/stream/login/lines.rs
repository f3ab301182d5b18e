//! Lines of commands and replies, bounded.

use super::super::line::Line;
use super::super::order::Piece;
use super::Login;
use super::speech::Next;

/// One direction's lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Line,
}

impl Lines {
    /// The most bytes beside itself that it takes.
    pub const HELD_BYTES: usize = Line::MAX;

    /// Hands on each line that is whole now, without its end.
    pub fn feed(&mut self, piece: Piece<'_>, mut each: impl FnMut(&[u8])) {
        let mut data = match piece {
            Piece::Data(data) => data,
            // What the capture cut off most often ends with its line.
            Piece::Lost(_) => return self.line.clear(),
        };
        while !data.is_empty() {
            // Most lines are whole when they come, and need not be copied.
            if self.line.is_empty()
                && let Some(end) = data.iter().position(|byte| *byte == b'\n')
            {
                each(data[..end].trim_ascii_end());
                data = &data[end + 1..];
                continue;
            }
            let (rest, is_whole) = self.line.take(data);
            data = rest;
            if is_whole {
                let line = self.line.take_out();
                each(line.trim_ascii_end());
                self.line.reuse(line);
            }
        }
    }
}

/// A protocol of commands and replies in lines.
pub(super) trait Dialect: Default {
    /// Takes a line of the client's.
    fn command(&mut self, line: &[u8], say: &mut impl FnMut(Login)) -> Next;
    /// Takes a line of the server's.
    fn reply(&mut self, line: &[u8], say: &mut impl FnMut(Login)) -> Next;
}

/// A session of one.
#[derive(Debug, Default)]
pub(super) struct Text<D> {
    client: Lines,
    server: Lines,
    dialect: D,
}

impl<D: Dialect> Text<D> {
    /// What is spoken.
    pub const fn dialect(&self) -> &D {
        &self.dialect
    }

    /// Takes what a side says.
    pub fn read(&mut self, from_client: bool, piece: Piece<'_>, say: &mut impl FnMut(Login)) -> Next {
        let Self { client, server, dialect } = self;
        let lines = if from_client { client } else { server };
        let mut next = Next::GoOn;
        lines.feed(piece, |line| {
            if next == Next::GoOn {
                next = if from_client { dialect.command(line, say) } else { dialect.reply(line, say) };
            }
        });
        next
    }
}

/// Whether `text` begins with `word`, in whatever case.
pub(super) fn begins(text: &[u8], word: &[u8]) -> bool {
    text.len() >= word.len() && text[..word.len()].eq_ignore_ascii_case(word)
}

/// Where `word` stands in `text`, in whatever case.
pub(super) fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|part| part.eq_ignore_ascii_case(word))
}

/// The words of a line.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

/// The code that a reply begins with (RFC 959, RFC 5321), if no other line of it follows.
pub(super) fn code(line: &[u8]) -> Option<u16> {
    let (code, rest) = line.split_at_checked(3)?;
    if rest.first() == Some(&b'-') || !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(code).ok()?.parse().ok()
}
