//! JSON of strangers, in bounded memory: of a report so many values are kept, of a text its beginning and its length.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::refused::{Reason, Refused};
use crate::words;

/// The most reports of one array.
pub(crate) const MAX_REPORTS: usize = 1_000;
/// The most values of one report; further ones are passed over.
const MAX_NODES: u32 = 2_000;
/// How deep values are looked at.
const MAX_DEPTH: u8 = 10;
/// How much of a text is kept, in bytes: a header of a mail in base64.
const MAX_TEXT_BYTES: usize = 32 << 10;

/// A value.
#[derive(Debug, PartialEq)]
pub(crate) enum Node {
    /// Nothing, or what was passed over.
    Null,
    /// A flag.
    Bool(bool),
    /// A number.
    Number(f64),
    /// The beginning of a text, and how long all of it is in bytes.
    Text(String, usize),
    /// Values in order.
    List(Vec<Node>),
    /// Values by name, in the order of the report.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value of that name, whatever its case: XARF 3 was written in several.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, node)| node)
    }

    /// The first of these names that has a value.
    pub fn first(&self, names: &[&str]) -> Option<&Self> {
        names.iter().find_map(|name| self.get(name).filter(|node| **node != Self::Null))
    }

    /// A text, or a number as one.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Text(text, _) => Some(text.clone()),
            Self::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The text of the first of these names that has one which is not empty.
    pub fn text_of(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.get(name)?.text().filter(|text| !text.trim().is_empty()))
    }

    /// A whole number, or a text that is one.
    pub fn count_of(&self, names: &[&str]) -> Option<u64> {
        names.iter().find_map(|name| match self.get(name)? {
            // Larger ones are not exact any more (IEEE 754).
            Self::Number(number) if (0.0..9.0e15).contains(number) => Some(*number as u64),
            Self::Text(text, _) => text.trim().parse().ok(),
            _ => None,
        })
    }

    /// A port.
    pub fn port_of(&self, names: &[&str]) -> Option<u16> {
        u16::try_from(self.count_of(names)?).ok().filter(|port| *port != 0)
    }

    /// The values of a list, or the value itself.
    pub fn each(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            one => std::slice::from_ref(one),
        }
    }
}

/// Reads a report or an array of them, and gives each to `each`. How many there were.
pub(crate) fn read(bytes: &[u8], each: &mut dyn FnMut(Node)) -> Result<usize, Refused> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Reason::Empty.with(""));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut top = Top { each, count: 0, is_too_many: false };
    let done = reader.deserialize_any(&mut top).and_then(|()| reader.end());
    let (count, is_too_many) = (top.count, top.is_too_many);
    match done {
        _ if is_too_many => Err(Reason::TooMany.with(format!("more than {MAX_REPORTS}"))),
        Err(error) if error.is_data() => Err(Reason::NotXarf.with(error.to_string())),
        Err(error) => Err(Reason::NotJson.with(error.to_string())),
        Ok(()) => Ok(count),
    }
}

struct Top<'e> {
    each: &'e mut dyn FnMut(Node),
    count: usize,
    is_too_many: bool,
}

impl<'de> Visitor<'de> for &mut Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a report or an array of reports")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        loop {
            if self.count == MAX_REPORTS {
                return match seq.next_element::<IgnoredAny>()? {
                    None => Ok(()),
                    Some(_) => {
                        self.is_too_many = true;
                        Err(A::Error::custom("too many"))
                    }
                };
            }
            let left = Cell::new(MAX_NODES);
            let Some(node) = seq.next_element_seed(Seed { left: &left, depth: 1 })? else { return Ok(()) };
            self.count += 1;
            (self.each)(node);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let left = Cell::new(MAX_NODES);
        let node = Seed { left: &left, depth: 0 }.visit_map(map)?;
        self.count = 1;
        (self.each)(node);
        Ok(())
    }
}

/// Reads a value while there are some left.
#[derive(Clone, Copy)]
struct Seed<'l> {
    left: &'l Cell<u32>,
    depth: u8,
}

impl Seed<'_> {
    fn deeper(self) -> Option<Self> {
        let left = self.left.get().checked_sub(1)?;
        self.left.set(left);
        (self.depth < MAX_DEPTH).then_some(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Node, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(words::head(value, MAX_TEXT_BYTES).to_owned(), value.len()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(deeper) = self.deeper() {
            match seq.next_element_seed(deeper)? {
                Some(node) => list.push(node),
                None => return Ok(Node::List(list)),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut pairs = Vec::new();
        while let Some(deeper) = self.deeper() {
            match map.next_key::<std::borrow::Cow<'de, str>>()? {
                Some(key) => {
                    let node = map.next_value_seed(deeper)?;
                    pairs.push((words::head(&key, 100).to_owned(), node));
                }
                None => return Ok(Node::Map(pairs)),
            }
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Node::Map(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Node>, Refused> {
        let mut nodes = Vec::new();
        read(bytes, &mut |node| nodes.push(node))?;
        Ok(nodes)
    }

    #[test]
    fn values_are_kept_in_bounds_and_errors_say_where() {
        let nodes = all(br#"{"a": {"B": ["x", 7, null, true]}, "n": "12"}"#).unwrap();
        assert_eq!(nodes[0].get("A").and_then(|a| a.get("b")).map(|b| b.each().len()), Some(4));
        assert_eq!(nodes[0].count_of(&["n"]), Some(12));
        let long = format!("[\"{}\"]", "x".repeat(1 << 20));
        assert!(
            matches!(&all(long.as_bytes()).unwrap()[0], Node::Text(text, 1_048_576) if text.len() == MAX_TEXT_BYTES)
        );
        let wide = format!("{{\"a\":[{}0]}}", "0,".repeat(100_000));
        assert!(all(wide.as_bytes()).unwrap()[0].get("a").unwrap().each().len() <= MAX_NODES as usize);
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(all(deep.as_bytes()).unwrap().len(), 1);
        let many = format!("[{}0]", "0,".repeat(1_000));
        assert_eq!(all(many.as_bytes()).unwrap_err().reason, Reason::TooMany);
        let broken = all(b"{\n \"a\": 1,\n    x}").unwrap_err();
        assert_eq!((broken.reason, broken.detail.contains("line 3 column 5")), (Reason::NotJson, true));
        let endless = "[".repeat(1 << 16);
        assert_eq!(all(endless.as_bytes()).unwrap_err().reason, Reason::NotJson);
        assert_eq!(all(b"7").unwrap_err().reason, Reason::NotXarf);
        assert_eq!(all(b" ").unwrap_err().reason, Reason::Empty);
        assert_eq!(all(b"{} x").unwrap_err().reason, Reason::NotJson);
    }
}
