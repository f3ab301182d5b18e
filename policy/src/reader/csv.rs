//! Comma-separated values (RFC 4180), read into the same tables as TOML with the place of everything.
//!
//! The first line holds headings, which are keys; each line after it is one table. A cell is a text, several texts with `;` between
//! them, a number or a truth value, as its column has it. An empty cell is as if the key were not there.

use std::borrow::Cow;
use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// What stands in a column's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// A text.
    Text,
    /// Texts with `;` between them.
    List,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Flag,
}

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub at: usize,
    pub key: String,
    pub found: String,
    pub allowed: String,
}

/// Every line as a table.
pub(super) fn parse<'t>(text: &'t str, columns: &[(&str, Cell)]) -> Result<DeArray<'t>, Vec<Wrong>> {
    let mut wrong = Vec::new();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut record = csv::StringRecord::new();
    let mut headings: Option<Vec<(String, Cell)>> = None;
    let mut tables = DeArray::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                let at = error.position().map_or(0, |position| offset(position, text));
                let (found, allowed) = (error.to_string(), "CSV in UTF-8".to_owned());
                wrong.push(Wrong { at, key: String::new(), found, allowed });
                break;
            }
        }
        let start = record.position().map_or(0, |position| offset(position, text));
        let places = places(text, start, record.len());
        let Some(headings) = &headings else {
            headings = Some(read_headings(&record, &places, columns, &mut wrong));
            continue;
        };
        if record.len() != headings.len() {
            let found = format!("{} cells", record.len());
            let allowed = format!("as many as there are headings: {}", headings.len());
            wrong.push(Wrong {
                at: places.first().copied().unwrap_or(start),
                key: String::new(),
                found,
                allowed,
            });
            continue;
        }
        let mut table = DeTable::new();
        for (((key, kind), cell), at) in headings.iter().zip(&record).zip(&places) {
            if let Some(value) = value(text, cell, *kind, *at) {
                table.insert(Spanned::new(*at..*at, Cow::Owned(key.clone())), value);
            }
        }
        let first = places.first().copied().unwrap_or(start);
        tables.push(Spanned::new(first..first, DeValue::Table(table)));
    }
    if headings.is_none() && wrong.is_empty() {
        let allowed = "a line of headings".to_owned();
        wrong.push(Wrong { at: 0, key: String::new(), found: "nothing".to_owned(), allowed });
    }
    if wrong.is_empty() { Ok(tables) } else { Err(wrong) }
}

fn offset(position: &csv::Position, text: &str) -> usize {
    usize::try_from(position.byte()).unwrap_or(text.len())
}

/// The headings with what stands below them.
fn read_headings(
    record: &csv::StringRecord,
    places: &[usize],
    columns: &[(&str, Cell)],
    wrong: &mut Vec<Wrong>,
) -> Vec<(String, Cell)> {
    let mut seen = BTreeSet::new();
    let mut headings = Vec::new();
    for (heading, at) in record.iter().zip(places) {
        let heading = heading.trim();
        let known = columns.iter().find(|(name, _)| *name == heading);
        if known.is_none() || !seen.insert(heading.to_owned()) {
            let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
            let allowed = match known {
                None => format!("headings: {}", names.join(", ")),
                Some(_) => "each heading once".to_owned(),
            };
            let found = format!("{heading:?}");
            wrong.push(Wrong { at: *at, key: heading.to_owned(), found, allowed });
        }
        headings.push((heading.to_owned(), known.map_or(Cell::Text, |(_, kind)| *kind)));
    }
    headings
}

/// A cell's value; `None` of an empty one. What is no number or truth value stays a text, which its reader refuses by its name.
fn value<'t>(text: &'t str, cell: &str, kind: Cell, at: usize) -> Option<Spanned<DeValue<'t>>> {
    let blanks = cell.len() - cell.trim_start().len();
    let (at, cell) = (at + blanks, cell.trim());
    if cell.is_empty() {
        return None;
    }
    let owned = |text: &str| DeValue::String(Cow::Owned(text.to_owned()));
    let value = match kind {
        Cell::Text => owned(cell),
        Cell::Number => number(text, cell, at).unwrap_or_else(|| owned(cell)),
        Cell::Flag if matches!(cell, "true" | "false") => DeValue::Boolean(cell == "true"),
        Cell::Flag => owned(cell),
        Cell::List => {
            let mut items = DeArray::new();
            let mut from = at;
            for item in cell.split(';') {
                let begins = from + item.len() - item.trim_start().len();
                if !item.trim().is_empty() {
                    items.push(Spanned::new(begins..begins, owned(item.trim())));
                }
                from += item.len() + 1;
            }
            DeValue::Array(items)
        }
    };
    Some(Spanned::new(at..at, value))
}

/// A whole number, whose type is made of the file's own text alone.
fn number<'t>(text: &'t str, cell: &str, at: usize) -> Option<DeValue<'t>> {
    let digits = text.get(at..at + cell.len()).filter(|digits| *digits == cell)?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let value = DeValue::parse(digits).ok().filter(|_| is_plain)?.into_inner();
    matches!(value, DeValue::Integer(_)).then_some(value)
}

/// Where the cells of a record begin that begins at `start`, behind a quote if there is one.
fn places(text: &str, start: usize, cells: usize) -> Vec<usize> {
    let bytes = text.as_bytes();
    // The reader takes empty lines for the beginning of the record behind them, and a byte order mark for that of the first.
    let mut at = start;
    if text.get(at..).is_some_and(|rest| rest.starts_with('\u{feff}')) {
        at += '\u{feff}'.len_utf8();
    }
    while matches!(bytes.get(at), Some(b'\n' | b'\r')) {
        at += 1;
    }
    let mut places = Vec::with_capacity(cells);
    for _ in 0..cells {
        let is_quoted = bytes.get(at) == Some(&b'"');
        at += usize::from(is_quoted);
        places.push(at.min(text.len()));
        let mut is_inside = is_quoted;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' if is_inside && bytes.get(at + 1) == Some(&b'"') => at += 1,
                b'"' => is_inside = false,
                b',' | b'\n' if !is_inside => break,
                _ => {}
            }
            at += 1;
        }
        at += 1;
    }
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: [(&str, Cell); 4] =
        [("id", Cell::Text), ("list", Cell::List), ("number", Cell::Number), ("flag", Cell::Flag)];

    /// What is read, a line a table, each value with its place.
    fn told(text: &str) -> Vec<String> {
        let tables = parse(text, &COLUMNS).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
        let value = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
            DeValue::String(text) => format!("{text}@{}", value.span().start),
            DeValue::Integer(number) => format!("{number}@{}", value.span().start),
            DeValue::Boolean(flag) => format!("{flag}@{}", value.span().start),
            DeValue::Array(items) => {
                let item = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
                    DeValue::String(text) => format!("{text}@{}", item.span().start),
                    other => panic!("{other:?}"),
                };
                items.iter().map(item).collect::<Vec<_>>().join("+")
            }
            other => panic!("{other:?}"),
        };
        let line = |table: &Spanned<DeValue<'_>>| match table.get_ref() {
            DeValue::Table(table) => {
                let pairs = table.iter().map(|(key, found)| format!("{}={}", key.get_ref(), value(found)));
                pairs.collect::<Vec<_>>().join(" ")
            }
            other => panic!("{other:?}"),
        };
        tables.iter().map(line).collect()
    }

    #[test]
    fn lines_are_tables_and_every_value_has_its_place() {
        assert_eq!(told("id,list\na,1.2.3.4\n"), ["id=a@8 list=1.2.3.4@10"]);
        assert_eq!(told("id,list\r\n\r\na,\"x; y;;z\"\r\n"), ["id=a@11 list=x@14+y@17+z@20"]);
        assert_eq!(
            told("id,number,flag\na, 17 ,true\nb,,\n"),
            ["flag=true@22 id=a@15 number=17@18", "id=b@27"]
        );
        assert_eq!(
            told("id,list\n\"a \"\"b\"\"\",\"x\ny\"\nc,d\n"),
            ["id=a \"b\"@9 list=x\ny@19", "id=c@24 list=d@26"]
        );
        assert_eq!(told("\u{feff}id\na\n"), ["id=a@6"]);
        // What is no number is left to whoever asks for one.
        assert_eq!(told("id,number\na,-3\n"), ["id=a@10 number=-3@12"]);
        assert_eq!(told("id\n"), Vec::<String>::new());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, at, found) in [
            ("", 0, "nothing"),
            ("id,name\n", 3, "\"name\""),
            ("id,id\n", 3, "\"id\""),
            ("id,list\na\n", 8, "1 cells"),
            ("id\na\nb,c\n", 5, "2 cells"),
        ] {
            let wrong = parse(text, &COLUMNS).expect_err(text);
            assert_eq!((wrong[0].at, wrong[0].found.as_str()), (at, found), "{text}");
        }
        // All of them at once.
        assert_eq!(parse("id\na,b\nc,d\n", &COLUMNS).unwrap_err().len(), 2);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(text in "(id,list,number\n)?[a-c0-9\",;\n\r \u{e9}]{0,60}") {
            match parse(&text, &COLUMNS) {
                Ok(tables) => {
                    let spans = tables.iter().map(|table| table.span().start);
                    prop_assert!(spans.into_iter().all(|at| at <= text.len()));
                }
                Err(wrong) => prop_assert!(wrong.iter().all(|wrong| wrong.at <= text.len())),
            }
        }
    }
}
