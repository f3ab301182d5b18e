//! The head that log servers expect before a message (RFC 5424).

use super::record::{Record, Severity};

/// Log audit (RFC 5424, 6.2.1).
const FACILITY: u8 = 13;
/// Who names the fields of our own: the number that is reserved for whoever has none (RFC 5612).
const OWN: &str = "reeve@32473";

/// The message with its head. `host` is what this machine calls itself.
pub(super) fn message(record: &Record, host: &str, text: &str) -> String {
    let severity = match record.severity {
        Severity::Informational => 6,
        Severity::Low => 5,
        Severity::Medium => 4,
        Severity::High => 3,
    };
    let fields =
        [("tenant", &record.tenant), ("node", &record.node), ("who", &record.who), ("uid", &record.uid)];
    let fields = fields.into_iter().filter(|(_, text)| !text.is_empty());
    let fields: String = fields.map(|(key, text)| format!(" {key}=\"{}\"", value(text))).collect();
    format!(
        "<{}>1 {} {} reeve-controller {} {} [origin software=\"reeve-controller\" swVersion=\"{}\"][{OWN}{fields}] {text}",
        FACILITY * 8 + severity,
        time(&record.at.to_string()),
        name(host),
        std::process::id(),
        name(record.kind),
        value(env!("CARGO_PKG_VERSION")),
    )
}

/// A name of the head: printable ASCII without spaces, 32 letters at most, as the shortest of them may have.
fn name(text: &str) -> String {
    let told: String = text.chars().filter(char::is_ascii_graphic).take(32).collect();
    if told.is_empty() { "-".to_owned() } else { told }
}

/// A time, of which at most microseconds are told (6.2.3).
fn time(text: &str) -> String {
    match text.trim_end_matches('Z').split_once('.') {
        Some((seconds, fraction)) => format!("{seconds}.{}Z", &fraction[..fraction.len().min(6)]),
        None => text.to_owned(),
    }
}

/// A value between quotes (6.3.3).
fn value(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | '"' | ']' => told.extend(['\\', letter]),
            '\r' | '\n' | '\t' => told.push(' '),
            letter if reeve_policy::pause::is_plain(letter) => told.push(letter),
            _ => {}
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::hostile;
    use super::*;

    #[test]
    fn hostile_words_end_neither_value_nor_line() {
        let message = message(&Record::of_entry(&hostile()), "host name\n", "text");
        assert!(!message.chars().any(char::is_control), "{message:?}");
        let who = r#"x|y\\z=\"\]  <0>1 - - CEF:0|a|b[31m é"#;
        let expect = format!(
            "<109>1 2023-11-14T22:13:20.123456Z hostname reeve-controller {} audit [origin software=\"reeve-controller\" \
             swVersion=\"{}\"][reeve@32473 tenant=\"{who}\" who=\"{who}\" uid=\"audit/7\"] text",
            std::process::id(),
            env!("CARGO_PKG_VERSION"),
        );
        assert_eq!(message, expect);
    }

    #[test]
    fn times_have_microseconds_at_most() {
        assert_eq!(time("2023-11-14T22:13:20Z"), "2023-11-14T22:13:20Z");
        assert_eq!(time("2023-11-14T22:13:20.5Z"), "2023-11-14T22:13:20.5Z");
        assert_eq!(name(""), "-");
    }
}
