//! Text from strangers, made harmless: of bounded length and without characters that do something to a terminal, a log or a page.

/// `text` in one line of at most `max` characters: whatever is blank or a control character becomes one blank, what changes the
/// direction of writing goes.
pub(crate) fn line(text: &str, max: usize) -> String {
    let mut out = String::new();
    let (mut count, mut gap) = (0, false);
    for letter in text.chars() {
        if letter.is_whitespace() || letter.is_control() {
            gap = count > 0;
        } else if !is_trick(letter) {
            let taken = 1 + usize::from(gap);
            if count + taken > max {
                break;
            }
            if gap {
                out.push(' ');
            }
            out.push(letter);
            (count, gap) = (count + taken, false);
        }
    }
    out
}

/// `text` with its lines, at most `max` characters: no control characters but line feeds, no more than one empty line in a row.
pub(crate) fn lines(text: &str, max: usize) -> String {
    let mut out = String::new();
    let (mut count, mut feeds) = (0, 0);
    for letter in text.chars() {
        match letter {
            '\n' => feeds += 1,
            '\r' => {}
            _ if is_trick(letter) => {}
            _ => {
                let breaks = if count == 0 { 0 } else { feeds.min(2) };
                if count + breaks + 1 > max {
                    break;
                }
                for _ in 0..breaks {
                    out.push('\n');
                }
                out.push(if letter.is_control() || letter.is_whitespace() { ' ' } else { letter });
                (count, feeds) = (count + breaks + 1, 0);
            }
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// The first `max` bytes of `text`, less where a character would be cut.
pub(crate) fn head(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Marks that nobody sees and that make a text look like another one: of direction (Unicode TR36, section 3.1), of width zero.
fn is_trick(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A line that is not empty; `None` else.
pub(crate) fn some_line(text: &str, max: usize) -> Option<String> {
    Some(line(text, max)).filter(|line| !line.is_empty())
}

/// Whether `phrase` stands in `text` as a word of its own. Both are lower case.
pub(crate) fn has_phrase(text: &str, phrase: &str) -> bool {
    places(text, phrase).next().is_some()
}

/// Where `phrase` stands in `text` as a word of its own.
pub(crate) fn places<'t>(text: &'t str, phrase: &'t str) -> impl Iterator<Item = usize> + 't {
    text.match_indices(phrase).map(|(at, _)| at).filter(move |&at| {
        let before = text[..at].chars().next_back();
        let after = text[at + phrase.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_what_does_something_and_keep_what_is_read() {
        assert_eq!(line("  a\r\n\tb\u{1b}[31m\u{202e}c  ", 100), "a b [31mc");
        assert_eq!(line("ééééé", 3), "ééé");
        assert_eq!(line("aa bb", 3), "aa");
        assert_eq!(lines("\n\na\r\n\r\n\r\n\r\nb\u{0}c\n\n", 100), "a\n\nb c");
        assert_eq!(lines("abc\ndef", 4), "abc");
        assert_eq!(head("aé", 2), "a");
    }

    #[test]
    fn phrases_are_words() {
        assert!(has_phrase("an open relay.", "open relay"));
        assert!(!has_phrase("reopen relays", "open relay"));
    }
}
