//! ArcSight's Common Event Format, version 0: a head of seven fields between bars, and pairs behind it.
//!
//! In the head a backslash and a bar are escaped, in a value a backslash and an equals sign, and what ends a line (CEF Implementation Standard,
//! "Character Encoding"). Other controls, which a terminal or a parser may obey, are left out.

use super::record::{Record, Severity, Sort};

/// The record as one line without its end.
pub(super) fn line(record: &Record) -> String {
    let severity = match record.severity {
        Severity::Informational => 1,
        Severity::Low => 3,
        Severity::Medium => 6,
        Severity::High => 8,
    };
    let mut line = format!(
        "CEF:0|Reeve|reeve-controller|{}|{}|{}|{severity}|",
        env!("CARGO_PKG_VERSION"),
        head(record.kind),
        head(&record.title),
    );
    let uid = match &record.sort {
        Sort::Finding { uid, .. } => uid.as_str(),
        Sort::Remediation { decision, .. } => decision.as_str(),
        Sort::SignIn { .. } | Sort::Call => "",
    };
    let millis = (record.at.as_nanos() / 1_000_000).to_string();
    let pairs = [
        ("rt", millis.as_str()),
        ("externalId", &record.uid),
        ("dvchost", &record.node),
        ("act", &record.action),
        ("outcome", &record.outcome),
        ("suser", &record.who),
        ("spriv", &record.role),
        ("src", &record.from),
        ("cs1", &record.tenant),
        ("cs2", &record.clause),
        ("cs3", &record.class),
        ("cs4", &record.scope),
        ("cs5", uid),
    ];
    const LABELS: [(&str, &str); 5] =
        [("cs1", "tenant"), ("cs2", "clause"), ("cs3", "class"), ("cs4", "scope"), ("cs5", "reference")];
    let mut gap = "";
    for (key, text) in pairs.into_iter().filter(|(_, text)| !text.is_empty()) {
        line.push_str(&format!("{gap}{key}={}", value(text)));
        gap = " ";
        if let Some((_, label)) = LABELS.iter().find(|(labelled, _)| *labelled == key) {
            line.push_str(&format!(" {key}Label={label}"));
        }
    }
    line
}

fn head(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | '|' => told.extend(['\\', letter]),
            '\r' | '\n' | '\t' => told.push(' '),
            letter if reeve_policy::pause::is_plain(letter) => told.push(letter),
            _ => {}
        }
    }
    told
}

fn value(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | '=' => told.extend(['\\', letter]),
            '\n' => told.push_str("\\n"),
            '\r' => told.push_str("\\r"),
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

    /// Reads a line as the standard has it: fields of the head, and the rest.
    fn fields(line: &str) -> (Vec<String>, String) {
        let (mut fields, mut field, mut letters) = (Vec::new(), String::new(), line.chars());
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => field.push(letters.next().unwrap()),
                '|' => fields.push(std::mem::take(&mut field)),
                letter => field.push(letter),
            }
            if fields.len() == 7 {
                break;
            }
        }
        (fields, letters.collect())
    }

    #[test]
    fn hostile_words_stay_in_their_field() {
        let line = line(&Record::of_entry(&hostile()));
        assert!(!line.chars().any(char::is_control) && !line.contains('\u{202e}'), "{line:?}");
        let (head, rest) = fields(&line);
        assert_eq!(head.len(), 7, "{line}");
        assert_eq!((head[0].as_str(), head[4].as_str(), head[6].as_str()), ("CEF:0", "audit", "3"));
        assert_eq!(head[5], "act x|y\\z=\"]  <0>1 - - CEF:0|a|b[31m é");
        let who = r#"x|y\\z\="]\r\n<0>1 - - CEF:0|a|b[31m é"#;
        let expect = format!(
            "rt=1700000000123 externalId=audit/7 act={who} outcome=done suser={who} spriv=operator src=192.0.2.1 \
             cs1={who} cs1Label=tenant"
        );
        assert_eq!(rest, expect);
    }
}
