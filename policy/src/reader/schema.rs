//! The part of JSON Schema (draft 2020-12) that says what a file may hold.

use std::collections::BTreeMap;

use serde::Serialize;

/// What a value may be. As JSON it is a schema that editors understand.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Schema {
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    pub(super) dialect: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    #[serde(rename = "$ref", skip_serializing_if = "Option::is_none")]
    pub(super) reference: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    #[serde(rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub(super) words: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pattern: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) minimum: Option<Bound>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) maximum: Option<Bound>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) items: Option<Box<Self>>,
    #[serde(rename = "anyOf", skip_serializing_if = "Vec::is_empty")]
    pub(super) any_of: Vec<Self>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) required: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) properties: BTreeMap<String, Self>,
    #[serde(rename = "patternProperties", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) free: BTreeMap<&'static str, Self>,
    #[serde(rename = "additionalProperties", skip_serializing_if = "Option::is_none")]
    pub(super) others: Option<bool>,
    #[serde(rename = "$defs", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) named: BTreeMap<&'static str, Self>,
    /// The table that it stands for, by its place among those of a trace.
    #[serde(skip)]
    pub(super) table: Option<usize>,
}

/// The end of a range.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(untagged)]
pub(super) enum Bound {
    Whole(u64),
    Number(f64),
}

impl Schema {
    pub(super) fn of(kind: &'static str) -> Self {
        Self { kind: Some(kind), ..Self::default() }
    }

    pub(super) fn text(description: &str) -> Self {
        Self { description: Some(description.to_owned()), ..Self::of("string") }
    }

    pub(super) fn table(table: usize) -> Self {
        Self { table: Some(table), ..Self::default() }
    }

    pub(super) fn list(item: Self) -> Self {
        Self { items: Some(Box::new(item)), ..Self::of("array") }
    }

    /// One of all of them.
    pub(super) fn any(mut all: Vec<Self>) -> Self {
        match all.len() {
            1 => all.remove(0),
            _ => Self { any_of: all, ..Self::default() },
        }
    }

    /// Takes in what the same key was asked for elsewhere; whether it could.
    pub(super) fn takes_in(&mut self, other: &Self) -> bool {
        if self.kind != other.kind || self.table != other.table {
            return false;
        }
        match (&mut self.items, &other.items) {
            (Some(own), Some(others)) => return own.takes_in(others),
            (None, None) => {}
            _ => return false,
        }
        // Where the ends are not fixed, those of all are allowed.
        if other.minimum < self.minimum {
            self.minimum = other.minimum;
        }
        if self.maximum.is_some() && (other.maximum.is_none() || other.maximum > self.maximum) {
            self.maximum = other.maximum;
        }
        for word in &other.words {
            if !self.words.contains(word) {
                self.words.push(word.clone());
            }
        }
        self.pattern = self.pattern.or(other.pattern);
        self.description = self.description.take().or_else(|| other.description.clone());
        true
    }

    /// The text in it, by itself or as what a list holds.
    pub(super) fn text_within(&mut self) -> Option<&mut Self> {
        if self.items.is_some() {
            return self.items.as_mut().and_then(|items| items.text_within());
        }
        (self.kind == Some("string")).then_some(self)
    }
}
