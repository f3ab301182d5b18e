//! What pages say, in the languages of the people who read them.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The languages, as they are called in `lang` and by themselves. The first is the one that all words are known in.
pub(crate) const LANGUAGES: [(&str, &str); 3] = [("en", "English"), ("nl", "Nederlands"), ("da", "Dansk")];

macro_rules! sources {
    ($($page:literal),* $(,)?) => {
        /// The words of each page, by language in their order.
        const SOURCES: &[(&str, [&str; 3])] = &[$((
            $page,
            [
                include_str!(concat!("../words/", $page, ".en.toml")),
                include_str!(concat!("../words/", $page, ".nl.toml")),
                include_str!(concat!("../words/", $page, ".da.toml")),
            ],
        )),*];
    };
}

sources! {
    "common", "sign-in", "now", "nodes", "approvals", "audit", "tenants", "tenant", "violations", "violation", "cases",
    "case", "outbox", "policies", "policy", "letters", "complaints", "account",
}

type Book = HashMap<String, String>;

static BOOKS: LazyLock<[Book; 3]> = LazyLock::new(|| {
    std::array::from_fn(|language| {
        let mut book = Book::new();
        for (page, texts) in SOURCES {
            let table: toml::Table =
                toml::from_str(texts[language]).unwrap_or_else(|error| panic!("words/{page}: {error}"));
            flatten("", &table, &mut book);
        }
        book
    })
});

fn flatten(before: &str, table: &toml::Table, book: &mut Book) {
    for (key, value) in table {
        let key = if before.is_empty() { key.clone() } else { format!("{before}.{key}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, book),
            toml::Value::String(text) => _ = book.insert(key, text.clone()),
            other => panic!("words: `{key}` is {other}, and no text"),
        }
    }
}

/// A language's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Words(usize);

impl Words {
    /// The words of a language that was chosen, or that a browser asks for (`Accept-Language`); English else.
    pub fn of(chosen: Option<&str>, accepted: Option<&str>) -> Self {
        let known = |tag: &str| {
            let primary = tag.trim().split(['-', ';']).next().unwrap_or_default().trim().to_ascii_lowercase();
            LANGUAGES.iter().position(|(tag, _)| *tag == primary)
        };
        let mut asked: Vec<(u32, &str)> = accepted
            .unwrap_or_default()
            .split(',')
            .take(16)
            .map(|part| {
                let quality = part.split(";q=").nth(1).and_then(|quality| quality.trim().parse::<f32>().ok());
                (1000 - (quality.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u32, part)
            })
            .filter(|(unwanted, _)| *unwanted < 1000)
            .collect();
        asked.sort_by_key(|(unwanted, _)| *unwanted);
        let accepted = asked.into_iter().find_map(|(_, part)| known(part));
        Self(chosen.and_then(known).or(accepted).unwrap_or(0))
    }

    /// The language's tag.
    pub fn language(self) -> &'static str {
        LANGUAGES[self.0].0
    }

    /// The text of a key; the key itself where there is none, which a test does not let happen.
    pub fn t(self, key: &str) -> &str {
        let english = || BOOKS[0].get(key).map_or(key, String::as_str);
        // The books are there for ever; the key is only shown where a word is missing.
        BOOKS[self.0].get(key).map_or_else(english, String::as_str)
    }

    /// The text of a key with these values in place of its `{}`, one after the other.
    pub fn fill(self, key: &str, values: &[&dyn std::fmt::Display]) -> String {
        let mut parts = self.t(key).split("{}");
        let mut text = parts.next().unwrap_or_default().to_owned();
        let mut values = values.iter();
        for part in parts {
            if let Some(value) = values.next() {
                text.push_str(&value.to_string());
            }
            text.push_str(part);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The keys that templates and sources name in full.
    fn used() -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        for folder in ["templates", "src", "src/pages", "src/pages/now"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                if !path.is_file() || path.ends_with("words.rs") {
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for begin in [".t(\"", ".fill(\""] {
                    let found = text.split(begin).skip(1).filter_map(|rest| rest.split('"').next());
                    all.extend(found.map(str::to_owned));
                }
            }
        }
        all
    }

    #[test]
    fn every_language_has_the_same_words_and_none_is_missing() {
        let keys = |language: usize| BOOKS[language].keys().cloned().collect::<BTreeSet<_>>();
        let english = keys(0);
        for (number, (tag, _)) in LANGUAGES.iter().enumerate() {
            let own = keys(number);
            assert_eq!(own.difference(&english).next(), None, "only in {tag}");
            assert_eq!(english.difference(&own).next(), None, "missing in {tag}");
            for key in &own {
                let places = |book: &Book| book[key].matches("{}").count();
                assert_eq!(places(&BOOKS[number]), places(&BOOKS[0]), "{key} in {tag}");
                assert!(!BOOKS[number][key].trim().is_empty(), "{key} in {tag}");
            }
        }
        let missing: Vec<_> = used().difference(&english).cloned().collect();
        assert!(missing.is_empty(), "no words for {missing:?}");
    }

    #[test]
    fn a_language_is_chosen_or_asked_for() {
        assert_eq!(Words::of(None, None).language(), "en");
        assert_eq!(Words::of(Some("da"), Some("nl")).language(), "da");
        assert_eq!(Words::of(None, Some("de-DE,nl;q=0.8,en;q=0.7")).language(), "nl");
        assert_eq!(Words::of(None, Some("en;q=0.1,da-DK;q=0.9")).language(), "da");
        assert_eq!(Words::of(Some("xx"), Some("da;q=0")).language(), "en");
    }

    #[test]
    fn values_stand_where_their_places_are() {
        let text = Words::of(None, None).fill("common.page_of", &[&3_u32]);
        assert!(text.contains('3'), "{text}");
    }
}
