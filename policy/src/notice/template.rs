//! Templates: text with places for values, `{name}` each. There is nothing else to them: no conditions, no loops, no escapes.

use std::collections::BTreeMap;

/// What goes into the places.
pub(super) type Values = BTreeMap<&'static str, String>;

/// A text with places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(String),
}

impl Template {
    /// The longest that a template may be, in bytes.
    pub const MAX_LEN: usize = 2_000;

    /// A template whose places are all among `known`; otherwise, in words, what is allowed.
    pub fn parse(text: &str, known: &[&str]) -> Result<Self, String> {
        let allowed = || match known {
            [] => "a text without places: no { and no }".to_owned(),
            some => {
                format!("a text in which places are {{{}}} and no other {{ or }} stands", some.join("}, {"))
            }
        };
        let is_plain = text.chars().all(|letter| !letter.is_control());
        if text.trim().is_empty() || text.len() > Self::MAX_LEN || !is_plain {
            return Err(format!("1 to {} bytes on one line", Self::MAX_LEN));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (place, behind) = after.split_once('}').ok_or_else(allowed)?;
            if before.contains('}') || !known.contains(&place) {
                return Err(allowed());
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Place(place.to_owned()));
            rest = behind;
        }
        if rest.contains('}') {
            return Err(allowed());
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// The text with the values in their places; a place without a value is left empty.
    pub fn render(&self, values: &Values) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Place(name) => values.get(name.as_str()).cloned().unwrap_or_default(),
        };
        self.0.iter().map(part).collect()
    }

    /// The names of its places.
    #[cfg(test)]
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Place(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_nothing_else_is_read() {
        let template = Template::parse("{a} and {b}, {a}.", &["a", "b"]).unwrap();
        let values = Values::from([("a", "{b}".to_owned()), ("b", "2".to_owned())]);
        assert_eq!(template.render(&values), "{b} and 2, {b}.", "what is put in is not read again");
        assert_eq!(template.places().collect::<Vec<_>>(), ["a", "b", "a"]);
        for bad in ["{c}", "{a", "a}", "}{a}", "{}", "{ a }", "{{a}}", "", " ", "a\nb", &"x".repeat(2_001)] {
            assert!(Template::parse(bad, &["a", "b"]).is_err(), "{bad:?}");
        }
        assert!(Template::parse("{c}", &["a", "b"]).unwrap_err().contains("{a}, {b}"));
    }
}
