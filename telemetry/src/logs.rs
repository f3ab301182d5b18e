//! Logs, on standard error. An event is one line, whatever is in it: what others said may be, and neither begins a line nor steers the
//! terminal of whoever reads it.

use std::fmt::{self, Write as _};

use clap::ValueEnum;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs what `filter` lets through from now on: a level, or directives such as `reeve_agent::control=debug`.
///
/// # Errors
/// When the filter cannot be read.
pub fn init(filter: &str, format: LogFormat) -> Result<(), tracing_subscriber::filter::ParseError> {
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter)?)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(is_terminal);
    match format {
        LogFormat::Text => subscriber.fmt_fields(fields()).init(),
        // JSON escapes what would break a line.
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}

/// Fields as `name=value`, the message without its name.
fn fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    let field = |writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        if field.name() != "message" {
            write!(writer, "{}=", field.name())?;
        }
        write!(Plain(writer), "{value:?}")
    };
    debug_fn(field).delimited(" ")
}

/// Escapes what a terminal or a reader of lines obeys: control characters, other ends of lines, and what turns the direction of text.
struct Plain<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Plain<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_obeyed) {
            let (before, after) = rest.split_at(at);
            self.0.write_str(before)?;
            let mut letters = after.chars();
            if let Some(letter) = letters.next() {
                write!(self.0, "{}", letter.escape_default())?;
            }
            rest = letters.as_str();
        }
        self.0.write_str(rest)
    }
}

fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// What was logged.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    const EVIL: &str = "a\r\n2026-01-01T00:00:00Z  INFO all is well\u{1b}[2J\u{9b}2J\u{2028}\u{202e}b\0";

    fn say() {
        let (name, refusal) = (EVIL.to_owned(), EVIL);
        tracing::warn!(name, %refusal, debug = ?EVIL, number = 7, "it said {EVIL}");
    }

    #[test]
    fn an_event_is_one_line_of_text_whatever_is_in_it() {
        let kept = Kept::default();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(fields())
            .with_writer(kept.clone())
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, say);
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(is_obeyed), "{line:?}");
        for words in
            ["it said a\\r\\n2026", "name=\"a\\r\\n", "refusal=a\\r\\n", "\\u{1b}[2J\\u{9b}2J", "number=7"]
        {
            assert!(line.contains(words), "{words}: {line}");
        }
    }

    #[test]
    fn an_event_is_one_json_object_on_one_line() {
        let kept = Kept::default();
        let subscriber = tracing_subscriber::fmt().with_writer(kept.clone()).json().finish();
        tracing::subscriber::with_default(subscriber, say);
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["fields"]["refusal"], EVIL);
        assert_eq!((&object["level"], &object["fields"]["number"]), (&"WARN".into(), &7.into()));
    }
}
