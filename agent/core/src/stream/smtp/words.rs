//! The words of commands, read as leniently as servers do.

use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

/// Any seed does: hashes are compared with each other, and shown to nobody.
const HASHER: FixedState = FixedState::with_seed(0x6d61_696c);

/// What is kept of an address or a domain.
pub(super) fn hash(text: &[u8]) -> u64 {
    HASHER.hash_one(text)
}

/// What stands behind a command's verb, if `text` is that command. Servers take any number of blanks between words.
pub(super) fn behind<'a>(text: &'a [u8], verb: &[u8]) -> Option<&'a [u8]> {
    let (first, rest) =
        text.split_at_checked(verb.len()).filter(|(first, _)| first.eq_ignore_ascii_case(verb))?;
    let is_whole = first.len() == text.len() || rest.first().is_some_and(u8::is_ascii_whitespace);
    is_whole.then(|| rest.trim_ascii())
}

/// What stands behind the colon of a command as `MAIL FROM:`.
pub(super) fn parameter<'a>(text: &'a [u8], verb: &[u8], word: &[u8]) -> Option<&'a [u8]> {
    let (first, rest) = behind(text, verb)?.split_at_checked(word.len())?;
    first.eq_ignore_ascii_case(word).then(|| rest.trim_ascii_start().strip_prefix(b":"))?
}

/// What stands in a path (RFC 5321, section 4.1.2).
pub(super) fn inner(path: &[u8]) -> &[u8] {
    let path = path.trim_ascii_start();
    let (rest, end) = match path.strip_prefix(b"<") {
        Some(rest) => (rest, b'>'),
        None => (path, b' '),
    };
    rest.split(|byte| *byte == end).next().unwrap_or_default()
}

/// Who sends; `None` is nobody, as of bounces.
pub(super) fn sender(path: &[u8]) -> Option<u64> {
    let inner = inner(path).trim_ascii();
    (!inner.is_empty()).then(|| hash(&inner.to_ascii_lowercase()))
}

/// How long a chunk is, and whether it is the last.
pub(super) fn chunk(text: &[u8]) -> (u32, bool) {
    let mut words = text.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let len = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    let is_last = words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"LAST"));
    (len.unwrap_or(0), is_last)
}
