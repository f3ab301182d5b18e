//! A table of a file: asked key by key, and told at the end what nobody asked for.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::schema::{Bound, Schema};
use super::{Document, Trace, parse_duration, trace};

type Value<'t> = Spanned<DeValue<'t>>;

/// One table.
#[derive(Debug)]
pub struct Section<'d, 't> {
    document: &'d Document<'t>,
    path: String,
    table: &'d DeTable<'t>,
    /// Where it begins; the place of what is missing in it.
    start: usize,
    asked: RefCell<BTreeSet<String>>,
    /// Keys whose absence was complained of.
    missed: RefCell<BTreeSet<String>>,
    /// Its place in the document's trace, if there is one.
    traced: Cell<usize>,
}

impl<'d, 't> Section<'d, 't> {
    pub(super) fn root(document: &'d Document<'t>, table: &'d DeTable<'t>) -> Self {
        Self {
            document,
            path: String::new(),
            table,
            start: 0,
            asked: RefCell::default(),
            missed: RefCell::default(),
            traced: Cell::default(),
        }
    }

    /// The keys that stand here, for tables whose keys are names.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.table.keys().map(|key| key.get_ref().as_ref())
    }

    /// The same for a table whose keys may be any names.
    #[must_use]
    pub fn free_keys(&self) -> Vec<String> {
        self.traced(Trace::note_free);
        self.keys().map(str::to_owned).collect()
    }

    /// Says that this table is one of those called `name`, which all have the same keys. Before anything is asked of it.
    pub fn is_a(&self, name: &'static str) {
        self.traced(|trace, table| trace.note_name(table, name));
    }

    /// Says what texts under `key`, or in the list there, look like: as a regular expression that is true of all that may stand there, and
    /// in words. Only schemas need it; what may not stand there is still the reader's to reject.
    pub fn looks_like(&self, key: &str, pattern: &'static str, allowed: &'static str) {
        self.traced(|trace, table| trace.note_pattern(table, key, (pattern, allowed)));
    }

    /// The same of texts that are among some words.
    pub fn is_among(&self, key: &str, words: impl IntoIterator<Item = impl Into<String>>) {
        self.traced(|trace, table| {
            trace.note_words(table, key, words.into_iter().map(Into::into).collect());
        });
    }

    /// Says that the other keys are of no account: what stands here cannot be read at all.
    pub fn leave(&self) {
        let all: Vec<String> = self.keys().map(str::to_owned).collect();
        self.asked.borrow_mut().extend(all);
    }

    /// Whether `key` stands here.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.traced(|trace, table| trace.note_asked(table, key));
        self.asked.borrow_mut().insert(key.to_owned());
        self.table.contains_key(key)
    }

    /// Whether a text stands under `key`.
    #[must_use]
    pub fn is_text(&self, key: &str) -> bool {
        self.value(key).is_some_and(|value| value.get_ref().as_str().is_some())
    }

    /// A text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&'d str> {
        self.note(key, || Schema::of("string"));
        let value = self.value(key)?;
        self.text_of(value, &self.key(key), "a text in quotes")
    }

    /// A text, or a date or time as TOML has them without quotes.
    #[must_use]
    pub fn moment(&self, key: &str) -> Option<String> {
        self.note(key, || Schema::text("a date or time"));
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Datetime(time) => Some(time.to_string()),
            _ => {
                self.text_of(value, &self.key(key), "a date or time, or a text in quotes").map(str::to_owned)
            }
        }
    }

    /// A text that must be there.
    #[must_use]
    pub fn required_text(&self, key: &str, allowed: &str) -> Option<&'d str> {
        self.note(key, || Schema::text(allowed));
        if !self.has(key) {
            self.missing(key, allowed);
            return None;
        }
        self.text(key)
    }

    /// A text that means a `T`.
    #[must_use]
    pub fn parsed<T: FromStr + 'static>(&self, key: &str, allowed: &str) -> Option<T> {
        self.note(key, || trace::written::<T>(allowed));
        let value = self.value(key)?;
        self.parse(value, &self.key(key), allowed)
    }

    /// A text that means a `T` and must be there.
    #[must_use]
    pub fn required<T: FromStr + 'static>(&self, key: &str, allowed: &str) -> Option<T> {
        self.note(key, || trace::written::<T>(allowed));
        if !self.has(key) {
            self.missing(key, allowed);
            return None;
        }
        self.parsed(key, allowed)
    }

    /// A list of texts (or numbers) that each mean a `T`. Those that do not are reported and left out.
    #[must_use]
    pub fn parsed_list<T: FromStr + 'static>(&self, key: &str, allowed: &str) -> Option<Vec<T>> {
        self.note(key, || Schema::list(trace::written::<T>(allowed)));
        let items = self.array(key, &format!("a list of {allowed}"))?;
        let each = items.iter().enumerate();
        Some(each.filter_map(|(n, item)| self.parse(item, &self.item_key(key, n), allowed)).collect())
    }

    /// How many there are in the list under `key`, whatever they are.
    #[must_use]
    pub fn count(&self, key: &str) -> usize {
        match self.table.get(key).map(Spanned::get_ref) {
            Some(DeValue::Array(items)) => items.len(),
            _ => 0,
        }
    }

    /// One of some words.
    #[must_use]
    pub fn one_of<T: Clone>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        self.note(key, || Schema {
            words: words.iter().map(|(word, _)| (*word).to_owned()).collect(),
            ..Schema::of("string")
        });
        let value = self.value(key)?;
        let found = match value.get_ref() {
            DeValue::String(text) => words.iter().find(|(word, _)| *word == text.as_ref()),
            _ => None,
        };
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.wrong(value, &self.key(key), &all.join(", "));
        }
        found.map(|(_, meaning)| meaning.clone())
    }

    /// A whole number.
    #[must_use]
    pub fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.note(key, || Schema {
            minimum: Some(Bound::Whole(*range.start())),
            maximum: Some(*range.end()).filter(|most| *most != u64::MAX).map(Bound::Whole),
            ..Schema::of("integer")
        });
        let value = self.value(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let good = number.filter(|number| range.contains(number));
        if good.is_none() {
            let allowed = match *range.end() {
                u64::MAX => format!("a whole number, {} or more", range.start()),
                most => format!("a whole number from {} to {most}", range.start()),
            };
            self.wrong(value, &self.key(key), &allowed);
        }
        good
    }

    /// A number.
    #[must_use]
    pub fn float(&self, key: &str, range: RangeInclusive<f64>) -> Option<f64> {
        self.note(key, || Schema {
            minimum: Some(Bound::Number(*range.start())),
            maximum: Some(Bound::Number(*range.end())),
            ..Schema::of("number")
        });
        let value = self.value(key)?;
        let number = match value.get_ref() {
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::Integer(number) => number.as_str().parse().ok(),
            _ => None,
        };
        let good = number.filter(|number| range.contains(number));
        if good.is_none() {
            let allowed = format!("a number from {} to {}", range.start(), range.end());
            self.wrong(value, &self.key(key), &allowed);
        }
        good
    }

    /// `true` or `false`.
    #[must_use]
    pub fn boolean(&self, key: &str) -> Option<bool> {
        self.note(key, || Schema::of("boolean"));
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => {
                self.wrong(value, &self.key(key), "true, false");
                None
            }
        }
    }

    /// A time such as `"60s"`.
    #[must_use]
    pub fn duration(&self, key: &str) -> Option<Duration> {
        self.span(key, "a time like \"500ms\", \"60s\", \"15m\", \"72h\" or \"180d\"", |_| true)
    }

    /// A time that `is_good`; `allowed` says which are.
    #[must_use]
    pub fn span(&self, key: &str, allowed: &str, is_good: impl Fn(&Duration) -> bool) -> Option<Duration> {
        self.note(key, || Schema { pattern: Some(trace::DURATION), ..Schema::text(allowed) });
        let value = self.value(key)?;
        let span = match value.get_ref() {
            DeValue::String(text) => parse_duration(text).filter(is_good),
            _ => None,
        };
        if span.is_none() {
            self.wrong(value, &self.key(key), allowed);
        }
        span
    }

    /// The table under `key`.
    #[must_use]
    pub fn section(&self, key: &str) -> Option<Self> {
        let traced =
            self.document.trace.as_ref().map(|trace| trace.note_table(self.traced.get(), key, false));
        let value = self.value(key)?;
        self.section_of(value, self.key(key), traced)
    }

    /// The tables under `key` (`[[key]]`, or a list of inline tables).
    #[must_use]
    pub fn sections(&self, key: &str) -> Vec<Self> {
        let traced = self.document.trace.as_ref().map(|trace| trace.note_table(self.traced.get(), key, true));
        let items = self.array(key, "a list of tables").unwrap_or_default();
        let each = items.iter().enumerate();
        each.filter_map(|(n, item)| self.section_of(item, self.item_key(key, n), traced)).collect()
    }

    /// Where `key` stands, as errors say it: file, line, column and the key with all that stand above it.
    #[must_use]
    pub fn place(&self, key: &str) -> String {
        let offset = self.table.get(key).map_or(self.start, |value| value.span().start);
        self.document.told_place(offset, &self.key(key))
    }

    /// Says that what stands under `key` is wrong in a way that only the caller can tell.
    pub fn reject(&self, key: &str, allowed: &str) {
        match self.table.get(key) {
            Some(value) => self.wrong(value, &self.key(key), allowed),
            None => self.missing(key, allowed),
        }
    }

    /// Says that a key cannot stand here at all, and what is meant instead.
    pub fn refuse(&self, key: &str, allowed: &str) {
        self.asked.borrow_mut().insert(key.to_owned());
        if let Some((name, _)) = self.table.iter().find(|(name, _)| name.get_ref().as_ref() == key) {
            self.document.report(Some(name.span().start), &self.key(key), "a key that is not known", allowed);
        }
    }

    /// Whether a table stands under `key`, one of whose keys is `wanted`.
    #[must_use]
    pub fn holds_part(&self, key: &str, wanted: impl Fn(&str) -> bool) -> bool {
        match self.table.get(key).map(Spanned::get_ref) {
            Some(DeValue::Table(table)) => table.keys().any(|key| wanted(key.get_ref())),
            _ => false,
        }
    }

    /// Says that the item at `index` (counted from 0) of the list under `key` is wrong.
    pub fn reject_item(&self, key: &str, index: usize, allowed: &str) {
        if let Some(DeValue::Array(items)) = self.table.get(key).map(Spanned::get_ref)
            && let Some(item) = items.get(index)
        {
            self.wrong(item, &self.item_key(key, index), allowed);
        }
    }

    /// Ends the reading of this table: every key that nobody asked for is an error.
    pub fn finish(&self) {
        let asked = self.asked.borrow();
        self.traced(|trace, table| {
            let missed = self.missed.borrow();
            for key in asked.iter().filter(|key| !self.table.contains_key(key.as_str())) {
                trace.note_absent(table, key, missed.contains(key));
            }
        });
        for (key, _) in self.table.iter().filter(|(key, _)| !asked.contains(key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            let all: Vec<&str> = asked.iter().map(String::as_str).collect();
            let near = all.iter().map(|word| (distance(name, word), *word)).min();
            let hint = match near {
                Some((steps, word)) if steps <= 2 => format!(" (did you mean `{word}`?)"),
                _ => String::new(),
            };
            let allowed = if all.is_empty() { "no keys".to_owned() } else { all.join(", ") + &hint };
            self.document.report(
                Some(key.span().start),
                &self.key(name),
                "a key that is not known",
                &allowed,
            );
        }
    }

    fn value(&self, key: &str) -> Option<&'d Value<'t>> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.table.get(key)
    }

    fn array(&self, key: &str, allowed: &str) -> Option<&'d [Value<'t>]> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Array(items) => Some(items),
            _ => {
                self.wrong(value, &self.key(key), allowed);
                None
            }
        }
    }

    fn section_of(&self, value: &'d Value<'t>, path: String, traced: Option<usize>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(table) => {
                let section = Self {
                    document: self.document,
                    path,
                    table,
                    start: value.span().start,
                    asked: RefCell::default(),
                    missed: RefCell::default(),
                    traced: Cell::new(traced.unwrap_or_default()),
                };
                section.traced(Trace::note_read);
                Some(section)
            }
            _ => {
                self.wrong(value, &path, "a table");
                None
            }
        }
    }

    fn text_of(&self, value: &'d Value<'t>, key: &str, allowed: &str) -> Option<&'d str> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.as_ref()),
            _ => {
                self.wrong(value, key, allowed);
                None
            }
        }
    }

    fn parse<T: FromStr>(&self, value: &'d Value<'t>, key: &str, allowed: &str) -> Option<T> {
        let parsed = match value.get_ref() {
            DeValue::String(text) => text.parse().ok(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            _ => None,
        };
        if parsed.is_none() {
            self.wrong(value, key, allowed);
        }
        parsed
    }

    fn wrong(&self, value: &Value<'_>, key: &str, allowed: &str) {
        self.document.report(Some(value.span().start), key, &describe(value.get_ref()), allowed);
    }

    fn traced(&self, note: impl FnOnce(&Trace, usize)) {
        if let Some(trace) = &self.document.trace {
            note(trace, self.traced.get());
        }
    }

    fn note(&self, key: &str, kind: impl FnOnce() -> Schema) {
        self.traced(|trace, table| trace.note(table, key, kind()));
    }

    fn missing(&self, key: &str, allowed: &str) {
        if self.document.trace.is_some() {
            self.missed.borrow_mut().insert(key.to_owned());
        }
        self.document.report(Some(self.start), &self.key(key), "nothing", allowed);
    }

    fn key(&self, key: &str) -> String {
        let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        let key = if plain { key.to_owned() } else { format!("{key:?}") };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    fn item_key(&self, key: &str, index: usize) -> String {
        format!("{}[{}]", self.key(key), index + 1)
    }
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// Levenshtein's distance, in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = before + usize::from(x != *y);
            before = row[j + 1];
            row[j + 1] = replaced.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
