//! Marks: what a score must reach at least. A small file beside the tests, in which numbers only ever get better.
//!
//! ```toml
//! false_alarms = 0            # at most
//! wrong_class = 2             # at most
//! [found]                     # at least, by the manifest's class
//! portscan = 31
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reeve_policy::reader::{ConfigErrors, Document, Section};

use super::{Score, is_word, words};

/// What must be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// At most so many benign captures are acted upon.
    pub false_alarms: usize,
    /// At most so many abusive ones are taken for something else.
    pub wrong_class: usize,
    /// At least so many are found, by class.
    pub found: BTreeMap<String, usize>,
}

/// Why marks cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MarksError {
    /// The file is not there or not readable.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It holds what it must not.
    #[error(transparent)]
    Content(#[from] ConfigErrors),
}

/// A score that does not reach its marks.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("below the marks: {}", .0.join("; "))]
pub struct BelowMarks(pub Vec<String>);

impl Marks {
    /// Reads a file of marks.
    ///
    /// # Errors
    /// When it cannot be read, or holds what it must not.
    pub fn load(path: &Path) -> Result<Self, MarksError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| MarksError::Read { path: path.to_owned(), source })?;
        Ok(Self::parse(&path.display().to_string(), &text)?)
    }

    fn parse(file: &str, text: &str) -> Result<Self, ConfigErrors> {
        Document::read(file, text, |root| {
            let mut found = BTreeMap::new();
            if let Some(section) = root.section("found") {
                // All that may stand there is asked for, so that what may not is told with it.
                for word in words() {
                    let _ = section.has(word);
                }
                for class in section.keys().filter(|class| is_word(class)) {
                    if let Some(number) = number(&section, class) {
                        found.insert(class.to_owned(), number);
                    }
                }
                section.finish();
            }
            let (false_alarms, wrong_class) = (number(root, "false_alarms"), number(root, "wrong_class"));
            Some(Self {
                false_alarms: false_alarms.unwrap_or_default(),
                wrong_class: wrong_class.unwrap_or_default(),
                found,
            })
        })
    }

    /// Whether `score` reaches them.
    ///
    /// # Errors
    /// What it does not reach.
    pub fn check(&self, score: &Score) -> Result<(), BelowMarks> {
        let sums = &score.summary;
        let mut below = Vec::new();
        if sums.false_alarms > self.false_alarms {
            below.push(format!("{} false alarms, at most {}", sums.false_alarms, self.false_alarms));
        }
        if sums.wrong_class > self.wrong_class {
            below.push(format!("{} under a wrong class, at most {}", sums.wrong_class, self.wrong_class));
        }
        for (class, least) in &self.found {
            let found = sums.classes.get(class).map_or(0, |sums| sums.found);
            if found < *least {
                below.push(format!("{class}: {found} found, at least {least}"));
            }
        }
        if below.is_empty() { Ok(()) } else { Err(BelowMarks(below)) }
    }
}

fn number(section: &Section<'_, '_>, key: &str) -> Option<usize> {
    section.integer(key, 0..=1_000_000).and_then(|number| usize::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::{ClassSums, Summary};

    fn check(text: &str, found: usize, false_alarms: usize, expect: &[&str]) {
        let marks = Marks::parse("m.toml", text).unwrap();
        let classes = BTreeMap::from([("spam".to_owned(), ClassSums { found, ..ClassSums::default() })]);
        let score = Score { summary: Summary { false_alarms, classes, ..Summary::default() }, rows: vec![] };
        let told = marks.check(&score).err().map_or_else(Vec::new, |below| below.0);
        assert_eq!(told, expect);
    }

    #[test]
    fn what_is_not_reached_is_named() {
        check("[found]\nspam = 3", 3, 0, &[]);
        check("[found]\nspam = 3", 2, 1, &["1 false alarms, at most 0", "spam: 2 found, at least 3"]);
        check("false_alarms = 1\n[found]\nflood = 1", 2, 1, &["flood: 0 found, at least 1"]);
        let error = Marks::parse("m.toml", "flase_alarms = 0").unwrap_err().to_string();
        assert!(error.contains("did you mean `false_alarms`?"), "{error}");
        let error = Marks::parse("m.toml", "[found]\nportscn = 3").unwrap_err().to_string();
        assert!(
            error.starts_with("m.toml:2:1: `found.portscn`: found a key that is not known; allowed: "),
            "{error}"
        );
        assert!(error.ends_with("(did you mean `portscan`?)"), "{error}");
    }
}
