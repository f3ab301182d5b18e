//! Lists as the guidelines of Google's APIs have them: pages (AIP-158), filters (AIP-160), orders (AIP-132) and masks (AIP-157, AIP-161).
//!
//! A list says once which fields it can be filtered and ordered by ([`List`]). What is asked of it becomes a [`Plan`], which the store turns into
//! a statement whose text is the program's own and whose values are bound, or which is applied to what is in memory.
//!
//! Pages go by key: a page begins behind the last entry of the one before, so that what comes or goes in between moves nothing else.
//!
//! Left out: filters by what is inside of stored messages, which no index finds; functions and `has` (`:`) of AIP-160; more than one
//! field of an order.

mod filter;
mod mask;
mod token;

use std::cmp::Ordering;

use tonic::Status;

pub(crate) use filter::Filter;
pub(crate) use mask::Mask;
use token::Cursor;
pub use token::Pages;

use crate::refusal::Reason;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A text, compared byte by byte.
    Text,
    /// One of some words.
    Words(&'static [&'static str]),
    /// A count.
    Number,
    /// A point in time.
    Time,
    /// `true` or `false`.
    Flag,
}

/// A field by which a list is filtered, and perhaps ordered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub name: &'static str,
    pub kind: Kind,
    /// As SQL, never without a value; empty where the list is in memory.
    pub column: &'static str,
}

/// A value of a field: texts, and counts, times in nanoseconds and flags as numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
}

impl Value {
    pub fn text(text: impl ToString) -> Self {
        Self::Text(text.to_string())
    }

    pub fn number(number: impl TryInto<i64>) -> Self {
        Self::Number(number.try_into().unwrap_or(i64::MAX))
    }
}

/// A list.
#[derive(Debug)]
pub(crate) struct List {
    /// Its method.
    pub name: &'static str,
    /// By what it is filtered and ordered; by the first one it is where nothing else is said, and no two entries have the same there.
    pub fields: &'static [Field],
    /// Whether it is the other way round where nothing else is said.
    pub descending: bool,
    /// How many entries a page has where nothing is said, and the most.
    pub sizes: (u32, u32),
}

/// What is asked of a list, as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked<'r> {
    pub page_size: i32,
    pub page_token: &'r str,
    pub filter: &'r str,
    pub order_by: &'r str,
    /// What else narrows the list, in words: a token holds for the same question alone.
    pub also: String,
}

/// What is asked of a list.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub list: &'static List,
    pub filter: Filter,
    /// The place of the field that it is ordered by.
    pub order: usize,
    pub descending: bool,
    /// How many entries a page has.
    pub size: u32,
    after: Option<Cursor>,
    question: [u8; 8],
}

impl List {
    /// Reads what is asked.
    pub fn plan(&'static self, pages: &Pages, asked: &Asked<'_>) -> Result<Plan, Status> {
        let (usual, most) = self.sizes;
        let size = match u32::try_from(asked.page_size) {
            Ok(0) => usual,
            Ok(size) if size <= most => size,
            _ => {
                let text = format!("page_size: found {}; allowed: 0 to {most}", asked.page_size);
                return Err(Reason::InvalidField.status(text));
            }
        };
        let filter = filter::parse(asked.filter, self.fields).map_err(|wrong| {
            let at = wrong.at;
            let text = format!("filter: character {at}: found {}; allowed: {}", wrong.found, wrong.allowed);
            Reason::InvalidFilter.about(text, [("position", at.to_string()), ("allowed", self.names(","))])
        })?;
        let (order, descending) = self.order(asked.order_by)?;
        let question = token::question(&[self.name, asked.filter.trim(), asked.order_by.trim(), &asked.also]);
        let after = match asked.page_token {
            "" => None,
            text => Some(pages.open(text, question).ok_or_else(|| {
                let text =
                    "page_token: none that this list gave for this question; leave it out for the first page";
                Reason::InvalidPageToken.status(text)
            })?),
        };
        Ok(Plan { list: self, filter, order, descending, size, after, question })
    }

    fn names(&self, between: &str) -> String {
        self.fields.iter().map(|field| field.name).collect::<Vec<_>>().join(between)
    }

    fn order(&self, text: &str) -> Result<(usize, bool), Status> {
        let wrong = |found: &str| {
            let found: String = found.chars().take(80).collect();
            let text = format!(
                "order_by: found {found:?}; allowed: one of {}, with asc or desc behind it",
                self.names(", ")
            );
            Reason::InvalidOrder.about(text, [("allowed", self.names(","))])
        };
        let mut words = text.split_whitespace();
        let Some(name) = words.next() else { return Ok((0, self.descending)) };
        let place = self.fields.iter().position(|field| field.name == name).ok_or_else(|| wrong(text))?;
        let descending = match (words.next(), words.next()) {
            (None | Some("asc"), None) => false,
            (Some("desc"), None) => true,
            _ => return Err(wrong(text)),
        };
        Ok((place, descending))
    }
}

impl Plan {
    /// The token of the page behind an entry, by what it is ordered by and its key.
    pub fn next(&self, pages: &Pages, order: Value, key: Value) -> String {
        pages.seal(&Cursor { order: (self.order > 0).then_some(order), key }, self.question)
    }

    /// What stands before this page: what it is ordered by, if that is not the key alone, and the key.
    pub fn after(&self) -> Option<(Option<&Value>, &Value)> {
        self.after.as_ref().map(|after| (after.order.as_ref(), &after.key))
    }

    /// Cuts what the store gave, one more than a page where there is another, to a page; the token of the next. `get` gives the field at a place;
    /// the first is the key.
    pub fn cut<T>(&self, pages: &Pages, rows: &mut Vec<T>, get: impl Fn(&T, usize) -> Value) -> String {
        let is_more = rows.len() > self.size as usize;
        rows.truncate(self.size as usize);
        match rows.last() {
            Some(last) if is_more => self.next(pages, get(last, self.order), get(last, 0)),
            _ => String::new(),
        }
    }

    /// A page of what is in memory, in the order of its keys, and the token of the next. `get` gives the field at a place; the first is the key.
    pub fn page<T>(
        &self,
        pages: &Pages,
        all: impl Iterator<Item = T>,
        get: impl Fn(&T, usize) -> Value,
    ) -> (Vec<T>, String) {
        let get = &get;
        let place =
            |one: &T| (if self.order > 0 { get(one, self.order) } else { Value::Number(0) }, get(one, 0));
        let compare = |one: &(Value, Value), other: &(Value, Value)| match self.descending {
            false => one.cmp(other),
            true => other.cmp(one),
        };
        let after = self
            .after
            .as_ref()
            .map(|after| (after.order.clone().unwrap_or(Value::Number(0)), after.key.clone()));
        let chosen = all
            .filter(|one| after.as_ref().is_none_or(|after| compare(&place(one), after) == Ordering::Greater))
            .filter(|one| self.filter.matches(&|field| get(one, field)));
        let size = self.size as usize;
        let mut page: Vec<T> = if self.order == 0 && !self.descending {
            chosen.take(size + 1).collect()
        } else {
            let mut placed: Vec<((Value, Value), T)> = chosen.map(|one| (place(&one), one)).collect();
            placed.sort_by(|one, other| compare(&one.0, &other.0));
            placed.into_iter().take(size + 1).map(|(_, one)| one).collect()
        };
        let next = self.cut(pages, &mut page, get);
        (page, next)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    static FIELDS: [Field; 3] = [
        Field { name: "id", kind: Kind::Number, column: "id" },
        Field { name: "name", kind: Kind::Text, column: "name" },
        Field { name: "open", kind: Kind::Flag, column: "open" },
    ];
    static LIST: List = List { name: "L", fields: &FIELDS, descending: false, sizes: (2, 10) };

    fn get(one: &(i64, &str, bool), place: usize) -> Value {
        match place {
            0 => Value::Number(one.0),
            1 => Value::text(one.1),
            _ => Value::Number(i64::from(one.2)),
        }
    }

    /// All pages, one after the other.
    fn walk(
        all: &BTreeSet<(i64, &'static str, bool)>,
        filter: &str,
        order_by: &str,
        page_size: i32,
    ) -> Vec<i64> {
        let pages = Pages::of(&[7; 32]);
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let asked = Asked { page_size, page_token: &token, filter, order_by, also: String::new() };
            let plan = LIST.plan(&pages, &asked).unwrap();
            let (page, next) = plan.page(&pages, all.iter().copied(), get);
            assert!(page.len() <= plan.size as usize);
            found.extend(page.iter().map(|one| one.0));
            if next.is_empty() {
                return found;
            }
            token = next;
        }
    }

    #[test]
    fn pages_go_through_in_every_order() {
        let all = BTreeSet::from([
            (1, "c", true),
            (2, "a", false),
            (3, "b", true),
            (4, "a", true),
            (5, "b", false),
        ]);
        for (filter, order, expect) in [
            ("", "", vec![1, 2, 3, 4, 5]),
            ("", "id desc", vec![5, 4, 3, 2, 1]),
            ("", "name", vec![2, 4, 3, 5, 1]),
            ("", "name desc", vec![1, 5, 3, 4, 2]),
            ("open = true", "name asc", vec![4, 3, 1]),
            ("NOT open = true OR id = 1", "", vec![1, 2, 5]),
        ] {
            for size in [0, 1, 3, 10] {
                assert_eq!(walk(&all, filter, order, size), expect, "{filter} / {order} / {size}");
            }
        }
    }

    #[test]
    fn what_is_asked_wrongly_is_refused_with_what_is_allowed() {
        let pages = Pages::of(&[7; 32]);
        let refuse = |asked: Asked<'_>| LIST.plan(&pages, &asked).unwrap_err().message().to_owned();
        let size = refuse(Asked { page_size: 11, ..Asked::default() });
        assert_eq!(size, "page_size: found 11; allowed: 0 to 10");
        for order_by in ["nothing", "name up", "name desc id", "name, id"] {
            let told = refuse(Asked { order_by, ..Asked::default() });
            assert!(told.contains("allowed: one of id, name, open, with asc or desc"), "{told}");
        }
        let told = refuse(Asked { filter: "nme = \"a\"", ..Asked::default() });
        assert!(told.starts_with("filter: character 1: found `nme`; allowed: id, name, open"), "{told}");
    }

    #[test]
    fn a_token_is_good_for_its_question_alone() {
        let pages = Pages::of(&[7; 32]);
        let first = LIST.plan(&pages, &Asked { filter: "open = true", ..Asked::default() }).unwrap();
        let token = first.next(&pages, Value::Number(3), Value::Number(3));
        let ask = |pages: &Pages, page_token: &str, filter: &str, also: &str| {
            let asked = Asked { page_token, filter, also: also.into(), ..Asked::default() };
            LIST.plan(pages, &asked).map(|_| ())
        };
        assert!(ask(&pages, &token, "open = true", "").is_ok());
        assert!(ask(&pages, &token, "open = false", "").is_err());
        assert!(ask(&pages, &token, "open = true", "tenant=a").is_err());
        assert!(ask(&Pages::of(&[8; 32]), &token, "open = true", "").is_err());
        // No letter of it may be another.
        for at in 0..token.len() {
            let mut other = token.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert!(ask(&pages, &other, "open = true", "").is_err(), "{at}");
        }
    }

    proptest! {
        #[test]
        fn whoever_comes_between_two_pages_moves_nobody_else(
            first in proptest::collection::btree_set(0i64..100, 1..40),
            more in proptest::collection::btree_set(0i64..100, 0..20),
            descending: bool,
        ) {
            let pages = Pages::of(&[7; 32]);
            let order_by = if descending { "id desc" } else { "" };
            let (mut there, mut seen, mut token) = (first.clone(), Vec::new(), String::new());
            loop {
                let asked = Asked { page_token: &token, order_by, ..Asked::default() };
                let plan = LIST.plan(&pages, &asked).unwrap();
                let (page, next) = plan.page(&pages, there.iter().map(|id| (*id, "", true)), get);
                seen.extend(page.iter().map(|one| one.0));
                there.extend(more.iter().copied());
                if next.is_empty() { break; }
                token = next;
            }
            let once: BTreeSet<i64> = seen.iter().copied().collect();
            prop_assert_eq!(once.len(), seen.len(), "nobody is told twice");
            prop_assert!(first.is_subset(&once), "nobody who was there all the time is left out");
        }

        #[test]
        fn whatever_token_comes_is_refused(token in ".{0,80}") {
            let pages = Pages::of(&[7; 32]);
            let asked = Asked { page_token: &token, ..Asked::default() };
            prop_assert_eq!(LIST.plan(&pages, &asked).is_ok(), token.is_empty());
        }
    }
}
