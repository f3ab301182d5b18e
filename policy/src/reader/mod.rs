//! Reading configuration: TOML in, types out, and errors that a person can act on. What other programs write may be JSON or CSV; it is
//! read into the same tables, and by the same readers.
//!
//! Every error names the file, line, column and key, what was found there and what is allowed; all errors of a file are
//! told at once, and a key that nobody asked for is one of them, with the key that was probably meant. Policies, tenants
//! and the daemons' own settings are read through this, so that they all complain alike.
//!
//! Left out: opening files, which the caller does; and merging layers, which only policies do.

mod csv;
mod duration;
mod json;
mod schema;
mod section;
mod trace;

use std::cell::RefCell;
use std::fmt;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

pub use csv::Cell;
pub use duration::{about, format_duration, parse_duration};
pub use schema::Schema;
pub use section::Section;
pub use trace::Trace;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, counted from 1; 0 where it is about the file as a whole.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// The key with all that stand above it: `rule[2].ladder[1].until`. Empty where it is about no key.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub allowed: String,
    /// As much of the line's text as shows where it is; empty where it is about no line.
    pub source: String,
}

impl ConfigError {
    /// Of a line so many characters are shown.
    const SHOWN: usize = 160;

    /// The line, and under it a mark at the column; empty where there is none to show.
    #[must_use]
    pub fn excerpt(&self) -> String {
        if self.line == 0 || self.column == 0 {
            return String::new();
        }
        let (line, width) = (self.line, self.line.to_string().len());
        let before = self.column - 1 - Self::skipped(self.column);
        format!("  {line} | {}\n  {:width$} | {:before$}^", self.source, "", "")
    }

    /// A long line is shown from somewhat before the place on.
    const fn skipped(column: usize) -> usize {
        if column > Self::SHOWN { column - Self::SHOWN / 2 } else { 0 }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "`{}`: ", self.key)?;
        }
        write!(f, "found {}; allowed: {}", self.found, self.allowed)
    }
}

impl std::error::Error for ConfigError {}

/// All errors of one reading, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// All of them for a person, each with the line that it is about and a mark at the place.
    #[must_use]
    pub fn with_excerpts(&self) -> String {
        let both = |error: &ConfigError| match error.excerpt() {
            excerpt if excerpt.is_empty() => error.to_string(),
            excerpt => format!("{error}\n{excerpt}"),
        };
        self.0.iter().map(both).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(error, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A file being read.
#[derive(Debug)]
pub struct Document<'t> {
    file: String,
    text: &'t str,
    errors: RefCell<Vec<ConfigError>>,
    /// What is asked for is taken down there.
    trace: Option<Trace>,
}

impl<'t> Document<'t> {
    /// The most bytes of a file that are read; tenants of a large provider fit many times over.
    pub const MAX_BYTES: usize = 64 << 20;

    /// Reads `text` by `read`, which asks a [`Section`] for what it wants and may return `None` where an error stands in
    /// the way. The result is `Ok` only if no error was found anywhere.
    ///
    /// # Errors
    /// All that is wrong with the text.
    pub fn read<T>(
        file: &str,
        text: &'t str,
        read: impl FnOnce(&Section<'_, 't>) -> Option<T>,
    ) -> Result<T, ConfigErrors> {
        Self::read_traced(file, text, None, read)
    }

    fn read_traced<T>(
        file: &str,
        text: &'t str,
        trace: Option<Trace>,
        read: impl FnOnce(&Section<'_, 't>) -> Option<T>,
    ) -> Result<T, ConfigErrors> {
        let document = Self { trace, ..Self::begin(file, text)? };
        let (table, broken) = DeTable::parse_recoverable(text);
        for error in broken {
            let start = error.span().map(|span| span.start);
            document.report(start, "", &format!("text that is no TOML ({})", error.message()), "TOML 1.0");
        }
        document.finish(table.get_ref(), read)
    }

    /// Reads `text` that is JSON: an object of what a TOML file has at its top, or, where it is a list, what would stand there as `[[list]]`.
    ///
    /// # Errors
    /// All that is wrong with the text.
    pub fn read_json<T>(
        file: &str,
        text: &'t str,
        list: &'static str,
        read: impl FnOnce(&Section<'_, 't>) -> Option<T>,
    ) -> Result<T, ConfigErrors> {
        let document = Self::begin(file, text)?;
        let table = match json::parse(text).map(Spanned::into_inner) {
            Ok(DeValue::Table(table)) => table,
            Ok(DeValue::Array(items)) => top(list, items),
            Ok(_) => {
                document.report(Some(0), "", "a value by itself", "a list or an object");
                DeTable::new()
            }
            Err(wrong) => {
                let found = format!("{} in what is to be JSON", wrong.found);
                document.report(Some(wrong.at), "", &found, wrong.allowed);
                DeTable::new()
            }
        };
        document.finish(&table, read)
    }

    /// Reads `text` that is CSV: a line of headings, which are among `columns`, and below it a line for each table of `[[list]]`.
    ///
    /// # Errors
    /// All that is wrong with the text.
    pub fn read_csv<T>(
        file: &str,
        text: &'t str,
        (list, columns): (&'static str, &[(&str, Cell)]),
        read: impl FnOnce(&Section<'_, 't>) -> Option<T>,
    ) -> Result<T, ConfigErrors> {
        let document = Self::begin(file, text)?;
        let table = match csv::parse(text, columns) {
            Ok(items) => top(list, items),
            Err(all) => {
                for wrong in all {
                    document.report(Some(wrong.at), &wrong.key, &wrong.found, &wrong.allowed);
                }
                DeTable::new()
            }
        };
        document.finish(&table, read)
    }

    fn begin(file: &str, text: &'t str) -> Result<Self, ConfigErrors> {
        let document = Self { file: file.to_owned(), text, errors: RefCell::default(), trace: None };
        if text.len() > Self::MAX_BYTES {
            let allowed = format!("at most {} bytes", Self::MAX_BYTES);
            document.report(None, "", &format!("{} bytes", text.len()), &allowed);
            return Err(document.into_errors());
        }
        Ok(document)
    }

    /// Reads what a file holds, unless something was wrong with it already.
    fn finish<T>(
        self,
        table: &DeTable<'t>,
        read: impl FnOnce(&Section<'_, 't>) -> Option<T>,
    ) -> Result<T, ConfigErrors> {
        if !self.errors.borrow().is_empty() {
            return Err(self.into_errors());
        }
        let root = Section::root(&self, table);
        let result = read(&root);
        root.finish();
        match result {
            Some(value) if self.errors.borrow().is_empty() => Ok(value),
            _ => Err(self.into_errors()),
        }
    }

    /// Takes note of an error at a place in the text.
    pub(crate) fn report(&self, offset: Option<usize>, key: &str, found: &str, allowed: &str) {
        let (line, column) = offset.map_or((0, 0), |offset| self.place(offset));
        let error = ConfigError {
            file: self.file.clone(),
            line,
            column,
            key: key.to_owned(),
            found: found.chars().take(200).collect(),
            allowed: allowed.to_owned(),
            source: self.shown(line, column),
        };
        self.errors.borrow_mut().push(error);
    }

    pub(crate) fn told_place(&self, offset: usize, key: &str) -> String {
        let (line, column) = self.place(offset);
        format!("{}:{line}:{column}: `{key}`", self.file)
    }

    fn place(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// As much of a line as is shown.
    fn shown(&self, line: usize, column: usize) -> String {
        let text = line.checked_sub(1).and_then(|line| self.text.lines().nth(line)).unwrap_or_default();
        let shown = text.chars().skip(ConfigError::skipped(column)).take(ConfigError::SHOWN);
        let visible: String = shown.map(|c| if c.is_control() { ' ' } else { c }).collect();
        visible.trim_end().to_owned()
    }

    fn into_errors(self) -> ConfigErrors {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|error| (error.line, error.column));
        if errors.is_empty() {
            // Whoever reads must report before giving up; this keeps the promise of "at least one" all the same.
            errors.push(ConfigError {
                file: self.file,
                line: 0,
                column: 0,
                key: String::new(),
                found: "something that cannot be used".into(),
                allowed: "see the manual".into(),
                source: String::new(),
            });
        }
        ConfigErrors(errors)
    }
}

/// What a list is in a file: the one table at its top holds it.
fn top<'t>(list: &'static str, items: DeArray<'t>) -> DeTable<'t> {
    let mut table = DeTable::new();
    table.insert(Spanned::new(0..0, list.into()), Spanned::new(0..0, DeValue::Array(items)));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one of everything; what is wrong, a line an error without the file.
    fn check(text: &str, expect: &[&str]) {
        let result = Document::read("f.toml", text, |root| {
            let number = root.integer("number", 1..=10);
            let _ = root.integer("large", 0..=u64::MAX);
            let ratio = root.float("ratio", 0.0..=1.0);
            let time = root.duration("time");
            let word = root.one_of("word", &[("on", true), ("off", false)]);
            let net = root.parsed::<ipnet::IpNet>("net", "an address prefix like 192.0.2.0/24");
            let list = root.parsed_list::<u16>("list", "port numbers");
            let inner = root.section("inner").map(|inner| {
                let flag = inner.boolean("flag");
                inner.finish();
                flag
            });
            for item in root.sections("item") {
                let _ = item.required_text("id", "a text");
                item.finish();
            }
            Some((number, ratio, time, word, net, list, inner))
        });
        let told: Vec<String> = match result {
            Ok(_) => Vec::new(),
            Err(errors) => errors.0.iter().map(|e| e.to_string().replace("f.toml:", "")).collect(),
        };
        assert_eq!(told, expect, "{text}");
    }

    #[test]
    fn good_files_are_read_and_errors_name_everything() {
        check("", &[]);
        check(
            "number = 3\nratio = 0.5\ntime = \"5m\"\nword = \"on\"\nnet = \"10.0.0.0/8\"\nlist = [1]\n\
             [inner]\nflag = true\n[[item]]\nid = \"x\"",
            &[],
        );
        check("number = 11", &["1:10: `number`: found 11; allowed: a whole number from 1 to 10"]);
        check("large = -1", &["1:9: `large`: found -1; allowed: a whole number, 0 or more"]);
        check("number = \"3\"", &["1:10: `number`: found \"3\"; allowed: a whole number from 1 to 10"]);
        check("ratio = nan", &["1:9: `ratio`: found nan; allowed: a number from 0 to 1"]);
        check(
            "time = 5",
            &["1:8: `time`: found 5; allowed: a time like \"500ms\", \"60s\", \"15m\", \"72h\" or \"180d\""],
        );
        check("word = \"maybe\"", &["1:8: `word`: found \"maybe\"; allowed: on, off"]);
        check("net = \"x\"", &["1:7: `net`: found \"x\"; allowed: an address prefix like 192.0.2.0/24"]);
        check("list = [1, 99999]", &["1:12: `list[2]`: found 99999; allowed: port numbers"]);
        check("inner = 3", &["1:9: `inner`: found 3; allowed: a table"]);
        check(
            "[inner]\nflug = true",
            &["2:1: `inner.flug`: found a key that is not known; allowed: flag (did you mean `flag`?)"],
        );
        check("[[item]]\n", &["1:1: `item[1].id`: found nothing; allowed: a text"]);
    }

    #[test]
    fn all_errors_are_told_in_order() {
        check(
            "zzz = 1\nnumber = 0\n",
            &[
                "1:1: `zzz`: found a key that is not known; allowed: inner, item, large, list, net, number, ratio, time, word",
                "2:10: `number`: found 0; allowed: a whole number from 1 to 10",
            ],
        );
    }

    #[test]
    fn a_person_sees_the_line_and_the_place() {
        let check = |text: &str, expect: &str| {
            let result = Document::read("f.toml", text, |root| root.integer("number", 1..=10));
            assert_eq!(result.unwrap_err().with_excerpts(), expect);
        };
        let told = "`number`: found 11; allowed: a whole number from 1 to 10";
        check(
            "# one\nnumber = 11 # too many\n",
            &format!("f.toml:2:10: {told}\n  2 | number = 11 # too many\n    |          ^"),
        );
        let tabbed = format!("f.toml:10:11: {told}\n  10 |  number = 11\n     |           ^");
        check(&format!("{}\tnumber = 11", "\n".repeat(9)), &tabbed);
        // Of a line that is too long the part with the place is shown.
        let long = format!("'{}' = 1\n", "x".repeat(300));
        let result = Document::read(
            "f.toml",
            &format!("a = {{ {} b = 11 }}", long.trim_end().to_owned() + ","),
            |root| root.section("a").and_then(|a| a.integer("b", 1..=10)),
        );
        let told = result.unwrap_err().with_excerpts();
        let shown: Vec<&str> = told.lines().rev().filter(|line| line.contains(" | ")).collect();
        assert_eq!(shown.len(), 2, "{told}");
        assert!(shown[1].chars().count() < 180, "{told}");
        assert_eq!(shown[1].chars().nth(shown[0].chars().count() - 1), Some('1'), "{told}");
    }

    #[test]
    fn what_is_no_toml_says_where() {
        let Err(errors) = Document::read("f.toml", "a = 1\nb = = 2\n", |_| Some(())) else { panic!("read") };
        assert_eq!((errors.0[0].line, errors.0[0].column), (2, 5));
    }
}
