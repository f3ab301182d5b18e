//! JSON (RFC 8259), read into the same tables as TOML with the place of everything, so that whatever is read of the one can be read of
//! the other and errors name the same line, column and key.
//!
//! What has no place in TOML is left out: `null` is as if the key were not there.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// Lists and tables may lie so deep in each other. Reading is recursive: this bounds the stack.
const DEPTH: usize = 32;

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub at: usize,
    pub found: String,
    pub allowed: &'static str,
}

type Value<'t> = Spanned<DeValue<'t>>;

/// The value that a text is.
pub(super) fn parse(text: &str) -> Result<Value<'_>, Wrong> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?.ok_or_else(|| reader.wrong("a list or an object"))?;
    reader.blanks();
    if reader.at < text.len() {
        return Err(reader.wrong("nothing behind the end"));
    }
    Ok(value)
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn wrong(&self, allowed: &'static str) -> Wrong {
        let found = match self.rest().chars().next() {
            Some(letter) => format!("{letter:?}"),
            None => "the end of the file".to_owned(),
        };
        Wrong { at: self.at, found, allowed }
    }

    /// Whether this comes next, after blanks; it is passed.
    fn takes(&mut self, letter: char) -> bool {
        self.blanks();
        let is_next = self.rest().starts_with(letter);
        self.at += if is_next { letter.len_utf8() } else { 0 };
        is_next
    }

    /// The value that comes next; `None` for `null`.
    fn value(&mut self, depth: usize) -> Result<Option<Value<'t>>, Wrong> {
        const ALLOWED: &str = "a text in double quotes, a number, true, false, null, a list or an object";
        self.blanks();
        let start = self.at;
        if depth > DEPTH {
            return Err(self.wrong("lists and objects at most 32 deep"));
        }
        let value = match self.rest().bytes().next() {
            Some(b'"') => DeValue::String(self.string()?),
            Some(b'[') => self.list(depth)?,
            Some(b'{') => DeValue::Table(self.object(depth)?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => {
                let word = self.rest().split(|letter: char| !letter.is_ascii_alphabetic()).next();
                let (word, value) = match word {
                    Some(word @ "true") => (word, Some(DeValue::Boolean(true))),
                    Some(word @ "false") => (word, Some(DeValue::Boolean(false))),
                    Some(word @ "null") => (word, None),
                    _ => return Err(self.wrong(ALLOWED)),
                };
                self.at += word.len();
                return Ok(value.map(|value| Spanned::new(start..self.at, value)));
            }
        };
        Ok(Some(Spanned::new(start..self.at, value)))
    }

    fn list(&mut self, depth: usize) -> Result<DeValue<'t>, Wrong> {
        self.at += 1;
        let mut items = DeArray::new();
        if self.takes(']') {
            return Ok(DeValue::Array(items));
        }
        loop {
            if let Some(item) = self.value(depth + 1)? {
                items.push(item);
            }
            if self.takes(']') {
                return Ok(DeValue::Array(items));
            }
            if !self.takes(',') {
                return Err(self.wrong("`,` or `]`"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<DeTable<'t>, Wrong> {
        self.at += 1;
        let mut table = DeTable::new();
        if self.takes('}') {
            return Ok(table);
        }
        loop {
            self.blanks();
            let start = self.at;
            if !self.rest().starts_with('"') {
                return Err(self.wrong("a key in double quotes"));
            }
            let key = self.string()?;
            if table.contains_key(&*key) {
                let found = format!("{key:?} for the second time");
                return Err(Wrong { at: start, found, allowed: "each key of an object once" });
            }
            let key = Spanned::new(start..self.at, key);
            if !self.takes(':') {
                return Err(self.wrong("`:`"));
            }
            if let Some(value) = self.value(depth + 1)? {
                table.insert(key, value);
            }
            if self.takes('}') {
                return Ok(table);
            }
            if !self.takes(',') {
                return Err(self.wrong("`,` or `}`"));
            }
        }
    }

    fn number(&mut self) -> Result<DeValue<'t>, Wrong> {
        let rest = self.rest();
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
        let len = rest.find(|letter: char| !is_part(letter)).unwrap_or(rest.len());
        // What TOML takes for a number is one here, but for its own additions.
        let text = &rest[..len];
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        let value = DeValue::parse(text).ok().filter(|_| is_plain).map(Spanned::into_inner);
        let value = value.filter(|value| matches!(value, DeValue::Integer(_) | DeValue::Float(_)));
        let Some(value) = value else {
            let found = format!("{:?}", text.chars().take(40).collect::<String>());
            return Err(Wrong { at: self.at, found, allowed: "a number" });
        };
        self.at += len;
        Ok(value)
    }

    fn string(&mut self) -> Result<Cow<'t, str>, Wrong> {
        self.at += 1;
        let plain = self.rest();
        let end = plain.find(['"', '\\']).filter(|end| !plain[..*end].contains(char::is_control));
        if let Some(end) = end.filter(|end| plain[*end..].starts_with('"')) {
            self.at += end + 1;
            return Ok(Cow::Borrowed(&plain[..end]));
        }
        let mut text = String::new();
        loop {
            let Some(letter) = self.rest().chars().next() else {
                return Err(self.wrong("`\"` at the end of a text"));
            };
            match letter {
                '"' => {
                    self.at += 1;
                    return Ok(Cow::Owned(text));
                }
                '\\' => text.push(self.escape()?),
                letter if letter < ' ' => return Err(self.wrong("control characters as escapes only")),
                letter => {
                    self.at += letter.len_utf8();
                    text.push(letter);
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Wrong> {
        const ALLOWED: &str =
            "an escape: \\\" \\\\ \\/ \\b \\f \\n \\r \\t or \\u and four hexadecimal digits";
        let start = self.at;
        let wrong = |reader: &Self| Wrong { at: start, found: reader.told(start), allowed: ALLOWED };
        let letter = self.rest().chars().nth(1).ok_or_else(|| wrong(self))?;
        if letter != 'u' {
            let meant = match letter {
                '"' | '\\' | '/' => letter,
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                _ => return Err(wrong(self)),
            };
            self.at += 2;
            return Ok(meant);
        }
        let first = self.unit().ok_or_else(|| wrong(self))?;
        // Above the basic plane a character is two units (RFC 8259, 7).
        let units = if (0xD800..0xDC00).contains(&first) {
            let second = self.unit().ok_or_else(|| wrong(self))?;
            vec![first, second]
        } else {
            vec![first]
        };
        char::decode_utf16(units).next().and_then(Result::ok).ok_or_else(|| wrong(self))
    }

    /// The `\uXXXX` that comes next.
    fn unit(&mut self) -> Option<u16> {
        let digits = self.rest().strip_prefix("\\u")?.get(..4)?;
        let unit = digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(digits)?;
        self.at += 6;
        u16::from_str_radix(unit, 16).ok()
    }

    fn told(&self, start: usize) -> String {
        let text: String = self.text.get(start..).unwrap_or_default().chars().take(6).collect();
        format!("{text:?}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A value as JSON again, as `serde_json` would have it.
    fn told(value: &DeValue<'_>) -> serde_json::Value {
        match value {
            DeValue::String(text) => text.as_ref().into(),
            DeValue::Integer(number) => number.as_str().parse::<i64>().unwrap().into(),
            DeValue::Float(number) => number.as_str().parse::<f64>().unwrap().into(),
            DeValue::Boolean(flag) => (*flag).into(),
            DeValue::Datetime(_) => panic!("JSON has no times"),
            DeValue::Array(items) => items.iter().map(|item| told(item.get_ref())).collect(),
            DeValue::Table(table) => {
                let pair = |(key, value): (&Spanned<Cow<'_, str>>, &Value<'_>)| {
                    (key.get_ref().clone().into_owned(), told(value.get_ref()))
                };
                serde_json::Value::Object(table.iter().map(pair).collect())
            }
        }
    }

    #[test]
    fn what_is_read_is_what_another_reader_reads() {
        for text in [
            "[]",
            " { } ",
            r#"{"a": [1, -2, 3.5, 1e3], "b": {"c": true, "d": false}}"#,
            r#"["\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00", "é😀", ""]"#,
            "[9007199254740991]",
        ] {
            let expect: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(told(parse(text).unwrap().get_ref()), expect, "{text}");
        }
        // A key whose value is null is not there.
        assert_eq!(told(parse(r#"{"a": null, "b": 1}"#).unwrap().get_ref()), serde_json::json!({"b": 1}));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, at, found) in [
            ("", 0, "the end of the file"),
            ("null", 4, "the end of the file"),
            ("[1,]", 3, "']'"),
            ("[1 2]", 3, "'2'"),
            ("{a: 1}", 1, "'a'"),
            (r#"{"a" 1}"#, 5, "'1'"),
            (r#"{"a":1,"a":2}"#, 7, "\"a\" for the second time"),
            ("[1] x", 4, "'x'"),
            ("[0x10]", 1, "\"0x10\""),
            ("[1_000]", 2, "'_'"),
            ("[01]", 1, "\"01\""),
            ("[2026-01-01]", 1, "\"2026-01-01\""),
            (r#"["a"#, 3, "the end of the file"),
            (r#"["\x"]"#, 2, "\"\\\\x\\\"]\""),
            (r#"["\ud800"]"#, 2, "\"\\\\ud800\""),
            ("[\"a\nb\"]", 3, "'\\n'"),
            ("[truE]", 1, "'t'"),
        ] {
            let wrong = parse(text).expect_err(text);
            assert_eq!((wrong.at, wrong.found.as_str()), (at, found), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(parse(&deep).unwrap_err().at, DEPTH + 1);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(text in r#"[\[\]{}",:\\a-fu0-9\. \n-]{0,60}"#) {
            match (parse(&text), serde_json::from_str::<serde_json::Value>(&text)) {
                // It takes nothing that is no JSON.
                (Ok(_), other) => prop_assert!(other.is_ok(), "{text}"),
                (Err(wrong), _) => prop_assert!(wrong.at <= text.len()),
            }
        }
    }
}
