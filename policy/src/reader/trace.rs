//! What readers ask for, taken down while they read samples: the keys of a language, with what each may hold, as a JSON Schema. There is
//! no second list of keys that could be wrong.
//!
//! A reader asks for the keys of a table only where there is the table. Samples must therefore hold every table; one that none of them
//! holds is told. A key is required where the reader complained of every table without it.

use std::any::TypeId;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::str::FromStr;

use super::schema::{Bound, Schema};
use super::{ConfigErrors, Document, Section};
use crate::rate::Rate;
use crate::tenant::Name;

pub(super) const DURATION: &str = "^[0-9]+(ms|s|m|h|d)$";
const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";

/// Takes down what is asked for.
#[derive(Clone, Debug, Default)]
pub struct Trace(Rc<RefCell<Tables>>);

#[derive(Debug, Default)]
struct Tables {
    /// The first is the file itself.
    all: Vec<Table>,
    named: BTreeMap<&'static str, usize>,
}

#[derive(Debug, Default)]
struct Table {
    keys: BTreeMap<String, Key>,
    /// What stands under keys that are names.
    free: Option<Key>,
    is_read: bool,
    /// The table that has all of this one's keys.
    same_as: Option<usize>,
}

#[derive(Debug, Default)]
struct Key {
    kinds: Vec<Schema>,
    /// What its text looks like, and that in words.
    pattern: Option<(&'static str, &'static str)>,
    words: Vec<String>,
    /// Whether a table without it was complained of.
    is_missed: bool,
    /// Whether one was not.
    is_spared: bool,
}

impl Key {
    fn schema(&self) -> Vec<Schema> {
        let mut kinds = self.kinds.clone();
        for text in kinds.iter_mut().filter_map(Schema::text_within) {
            text.words.extend(self.words.iter().cloned());
            if let Some((pattern, description)) = self.pattern {
                text.pattern = Some(pattern);
                text.description = Some(description.to_owned());
            }
        }
        kinds
    }
}

impl Trace {
    /// Reads a sample, sound or not.
    ///
    /// # Errors
    /// All that is wrong with the sample; what was asked for up to then is taken down all the same.
    pub fn read<T>(
        &self,
        text: &str,
        read: impl FnOnce(&Section<'_, '_>) -> Option<T>,
    ) -> Result<T, ConfigErrors> {
        let mut tables = self.0.borrow_mut();
        if tables.all.is_empty() {
            tables.all.push(Table { is_read: true, ..Table::default() });
        }
        drop(tables);
        Document::read_traced("sample", text, Some(self.clone()), read)
    }

    /// What a file may hold.
    ///
    /// # Errors
    /// The tables that no sample holds, and the keys of which nothing was asked but whether they are there.
    pub fn schema(&self, title: &str) -> Result<Schema, Vec<String>> {
        let tables = self.0.borrow();
        let mut unknown = Vec::new();
        let mut schema = tables.schema(0, title, &mut unknown);
        for (name, table) in &tables.named {
            schema.named.insert(name, tables.schema(*table, name, &mut unknown));
        }
        schema.dialect = Some("https://json-schema.org/draft/2020-12/schema");
        schema.title = Some(title.to_owned());
        if unknown.is_empty() { Ok(schema) } else { Err(unknown) }
    }

    pub(super) fn note(&self, table: usize, key: &str, kind: Schema) {
        self.with_key(table, key, |key| {
            if !key.kinds.iter_mut().any(|known| known.takes_in(&kind)) {
                key.kinds.push(kind);
            }
        });
    }

    pub(super) fn note_asked(&self, table: usize, key: &str) {
        self.with_key(table, key, |_| ());
    }

    pub(super) fn note_pattern(&self, table: usize, key: &str, pattern: (&'static str, &'static str)) {
        self.with_key(table, key, |key| key.pattern = Some(pattern));
    }

    pub(super) fn note_words(&self, table: usize, key: &str, words: Vec<String>) {
        self.with_key(table, key, |key| {
            key.words.extend(words);
            let mut seen = std::collections::BTreeSet::new();
            key.words.retain(|word| seen.insert(word.clone()));
        });
    }

    /// Takes down that a table, or a list of them, may stand under `key`; the table's place.
    pub(super) fn note_table(&self, table: usize, key: &str, is_list: bool) -> usize {
        let mut known = None;
        self.with_key(table, key, |key| {
            let of = |kind: &Schema| if is_list { kind.items.as_ref()?.table } else { kind.table };
            known = key.kinds.iter().find_map(of);
        });
        known.unwrap_or_else(|| {
            let mut tables = self.0.borrow_mut();
            tables.all.push(Table::default());
            let new = tables.all.len() - 1;
            drop(tables);
            let schema = Schema::table(new);
            self.note(table, key, if is_list { Schema::list(schema) } else { schema });
            new
        })
    }

    pub(super) fn note_read(&self, table: usize) {
        self.with(table, |table| table.is_read = true);
    }

    pub(super) fn note_free(&self, table: usize) {
        self.with(table, |table| {
            table.free.get_or_insert_default();
        });
    }

    /// Takes down that a table is one of those called `name`, which all have the same keys.
    pub(super) fn note_name(&self, table: usize, name: &'static str) {
        let tables = &mut *self.0.borrow_mut();
        let named = *tables.named.entry(name).or_insert(table);
        if named != table {
            tables.all[table].same_as = Some(named);
            tables.all[named].is_read = true;
        }
    }

    /// Takes down that `key` is not there, and whether that was complained of.
    pub(super) fn note_absent(&self, table: usize, key: &str, is_missed: bool) {
        self.with(table, |table| {
            if let Some(key) = table.keys.get_mut(key) {
                key.is_missed |= is_missed;
                key.is_spared |= !is_missed;
            }
        });
    }

    fn with(&self, table: usize, change: impl FnOnce(&mut Table)) {
        let tables = &mut *self.0.borrow_mut();
        let table = tables.all[table].same_as.unwrap_or(table);
        change(&mut tables.all[table]);
    }

    fn with_key(&self, table: usize, key: &str, change: impl FnOnce(&mut Key)) {
        self.with(table, |table| match &mut table.free {
            Some(free) => change(free),
            None => change(table.keys.entry(key.to_owned()).or_default()),
        });
    }
}

impl Tables {
    fn schema(&self, table: usize, path: &str, unknown: &mut Vec<String>) -> Schema {
        let table = &self.all[table];
        if !table.is_read {
            unknown.push(format!("{path}: no sample holds this table"));
        }
        let mut schema = Schema { others: Some(false), ..Schema::of("object") };
        for (name, key) in &table.keys {
            schema.properties.insert(name.clone(), self.key(key, &format!("{path}.{name}"), unknown));
            if key.is_missed && !key.is_spared {
                schema.required.push(name.clone());
            }
        }
        if let Some(free) = &table.free {
            schema.free.insert(NAME, self.key(free, &format!("{path}.*"), unknown));
        }
        schema
    }

    fn key(&self, key: &Key, path: &str, unknown: &mut Vec<String>) -> Schema {
        if key.kinds.is_empty() {
            unknown.push(format!("{path}: no sample shows what it may be"));
        }
        let kinds = key.schema();
        Schema::any(kinds.into_iter().map(|kind| self.resolved(kind, path, unknown)).collect())
    }

    /// With the tables put in that it stands for.
    fn resolved(&self, mut kind: Schema, path: &str, unknown: &mut Vec<String>) -> Schema {
        if let Some(items) = kind.items.take() {
            kind.items = Some(Box::new(self.resolved(*items, path, unknown)));
        }
        let Some(table) = kind.table else { return kind };
        let table = self.all[table].same_as.unwrap_or(table);
        match self.named.iter().find(|(_, named)| **named == table) {
            Some((name, _)) => Schema { reference: Some(format!("#/$defs/{name}")), ..Schema::default() },
            None => self.schema(table, path, unknown),
        }
    }
}

/// What a `T` is written as.
pub(super) fn written<T: FromStr + 'static>(allowed: &str) -> Schema {
    let kind = TypeId::of::<T>();
    let text = Schema::text(allowed);
    let whole = |most: u64| Schema {
        minimum: Some(Bound::Whole(0)),
        maximum: Some(Bound::Whole(most)),
        description: Some(allowed.to_owned()),
        ..Schema::of("integer")
    };
    if kind == TypeId::of::<u16>() {
        return whole(u16::MAX.into());
    }
    if kind == TypeId::of::<u32>() {
        return whole(u32::MAX.into());
    }
    if kind == TypeId::of::<Name>() {
        return Schema { pattern: Some(NAME), ..text };
    }
    if kind == TypeId::of::<Rate>() {
        return Schema { pattern: Some(Rate::PATTERN), ..text };
    }
    // What is no text of any kind and yet may be a number, such as a user or several.
    if "7".parse::<T>().is_ok() && "a".parse::<T>().is_err() {
        return Schema { any_of: vec![Schema::of("integer"), text], ..Schema::default() };
    }
    text
}
