//! `docs/detectors.md` says what the code says: what each class sees, what looks like it and how it may be evaded are the detectors'
//! own module texts, and the tables hold the numbers of the baseline policy with the texts of their fields.
//!
//! After a change of either: `REEVE_UPDATE_DOCS=1 cargo test -p reeve-agent --test detectors`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod manual;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use reeve_policy::Class;
use reeve_policy::language::Policy;
use reeve_policy::language::numbers::Value;

#[test]
fn the_manual_of_the_detectors_says_what_the_code_says() {
    manual::check("detectors", "detectors", &chapters());
}

fn chapters() -> String {
    let (modules, meanings) = (modules(), meanings());
    let policy = Policy::preset("baseline").unwrap();
    let mut text = String::new();
    // What is said of two classes at once is said at the first.
    let mut told: BTreeMap<*const Module, Class> = BTreeMap::new();
    for class in Class::ALL {
        let _ = write!(text, "\n## `{class}`\n\n");
        let about: Vec<&Module> = modules.iter().filter(|module| module.is_about(class)).collect();
        for module in about {
            match told.get(&std::ptr::from_ref(module)) {
                Some(first) => {
                    let anchor = first.name().replace('.', "");
                    let _ =
                        write!(text, "What is said of [`{first}`](#{anchor}) is said of `{class}` too.\n\n");
                }
                None => text.push_str(&module.text()),
            }
            told.entry(std::ptr::from_ref(module)).or_insert(class);
        }
        let _ = writeln!(text, "| key | number | may be | profiles | meaning |\n|---|---|---|---|---|");
        for number in policy.thresholds.list(class) {
            let meaning = meanings.get(&(class.name().to_owned(), number.key.to_owned()));
            let meaning =
                meaning.unwrap_or_else(|| panic!("{class}: nothing says what `{}` means", number.key));
            let value = match &number.value {
                Value::Span(_) => number.value.to_string().trim_matches('"').to_owned(),
                _ => number.value.to_string(),
            };
            let scales = if number.scales { "×" } else { "" };
            let allowed = &number.allowed;
            let _ = writeln!(text, "| `{}` | {value} | {allowed} | {scales} | {meaning} |", number.key);
        }
    }
    text
}

/// A detector's own text.
struct Module {
    paragraphs: Vec<String>,
}

impl Module {
    fn is_about(&self, class: Class) -> bool {
        let name = format!("`{class}`");
        let says = |paragraph: &String| paragraph.contains(&name);
        self.paragraphs.first().is_some_and(says)
            || self.paragraphs.iter().any(|one| one.starts_with("**Abuse.**") && says(one))
    }

    /// All of it. The table has the numbers that have keys; the text tells of the others too.
    fn text(&self) -> String {
        self.paragraphs.iter().map(|one| format!("{one}\n\n")).collect()
    }
}

/// The module texts of all detectors, in the order of their files.
fn modules() -> Vec<Module> {
    let mut files = Vec::new();
    list(&manual::root().join("agent/core/src/detect"), &mut files);
    files.sort();
    let sources: Vec<(String, String)> = files
        .iter()
        .map(|path| {
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap())
        })
        .collect();
    // What measures nothing only holds others together.
    let is_detector = |source: &&(String, String)| source.1.contains("//! **Measure.**");
    let titles = sources.iter().map(|(name, source)| (name.clone(), title(source))).collect();
    sources.iter().filter(is_detector).map(|(_, source)| module(source, &titles)).collect()
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// What people call a module: the words before the colon of its first line.
fn title(source: &str) -> String {
    let first = source.lines().next().unwrap_or_default().trim_start_matches("//!").trim();
    let title = first.split(':').next().unwrap_or_default();
    let mut letters = title.chars();
    letters.next().map_or_else(String::new, |letter| letter.to_lowercase().chain(letters).collect())
}

fn module(source: &str, titles: &BTreeMap<String, String>) -> Module {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let (mut paragraphs, mut last) = (Vec::new(), String::new());
    for line in lines.chain([""]) {
        if line.is_empty() {
            if !last.is_empty() {
                paragraphs.push(unlinked(&std::mem::take(&mut last), source, titles));
            }
        } else {
            // A list keeps its lines; the rest is one.
            last.push_str(if last.is_empty() {
                ""
            } else if line.starts_with("- ") {
                "\n"
            } else {
                " "
            });
            last.push_str(line);
        }
    }
    Module { paragraphs }
}

/// Links within the code become what they stand for: a constant its value, a detector what it is called. One in parentheses by itself is for
/// whoever reads the code, and is left out.
fn unlinked(text: &str, source: &str, titles: &BTreeMap<String, String>) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((path, behind)) = link.split_once("`]") else { break };
        let name = path.rsplit("::").next().unwrap_or(path);
        // A link with words of its own.
        let behind =
            behind.strip_prefix('(').and_then(|link| link.split_once(')')).map_or(behind, |(_, after)| after);
        let is_constant = name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_');
        let bare = before.strip_suffix("(see ").or_else(|| before.strip_suffix('('));
        if let (false, Some(bare), Some(after)) = (is_constant, bare, behind.strip_prefix(')')) {
            plain.push_str(bare.trim_end());
            rest = after;
            continue;
        }
        plain.push_str(before);
        if is_constant {
            plain.push_str(&value(name, source));
        } else {
            let title = titles.get(name).unwrap_or_else(|| panic!("an operator knows no `{path}`: {text}"));
            plain.push_str(title);
        }
        rest = behind;
    }
    plain + rest
}

/// The value of a constant, as people write it.
fn value(name: &str, source: &str) -> String {
    let line = source.lines().find(|line| line.contains(&format!("const {name}: ")));
    let line = line.unwrap_or_else(|| panic!("`{name}` is no constant of the file that speaks of it"));
    let value = line.split_once(" = ").unwrap().1.trim_end_matches(';');
    let span = value.strip_prefix("Duration::from_secs(").and_then(|value| value.strip_suffix(')'));
    match span.map(|span| span.replace('_', "").parse::<u64>().unwrap()) {
        Some(secs) if secs >= 120 && secs % 60 == 0 => format!("{} min", secs / 60),
        Some(secs) => format!("{secs} s"),
        None => {
            let number: u64 = value.replace('_', "").parse().unwrap_or_else(|_| panic!("{line}: no number"));
            number.to_string()
        }
    }
}

/// What each number means, by class and key: the texts of the fields.
fn meanings() -> BTreeMap<(String, String), String> {
    let mut files = Vec::new();
    list(&manual::root().join("policy/src/language/thresholds"), &mut files);
    // (structure, field) to its text and type.
    let mut fields: BTreeMap<(String, String), (String, String)> = BTreeMap::new();
    for path in files {
        let (mut structure, mut doc) = (String::new(), String::new());
        for line in fs::read_to_string(path).unwrap().lines().map(str::trim) {
            if let Some(text) = line.strip_prefix("///") {
                doc = format!("{doc} {}", text.trim()).trim().to_owned();
            } else if let Some(name) = line.strip_prefix("pub struct ") {
                structure = name.trim_end_matches(" {").to_owned();
                doc.clear();
            } else if let Some((name, kind)) =
                line.strip_prefix("pub ").and_then(|line| line.split_once(": "))
            {
                let place = (structure.clone(), name.to_owned());
                fields.insert(place, (std::mem::take(&mut doc), kind.trim_end_matches(',').to_owned()));
            } else if !line.starts_with('#') {
                doc.clear();
            }
        }
    }
    let classes = fields.iter().filter(|((structure, _), _)| structure == "Thresholds");
    let mut meanings = BTreeMap::new();
    for (_, (doc, kind)) in classes {
        let class = doc.split('`').nth(1).unwrap_or_default();
        for ((_, key), (meaning, _)) in fields.iter().filter(|((structure, _), _)| structure == kind) {
            meanings.insert((class.to_owned(), key.clone()), meaning.clone());
        }
    }
    meanings
}

#[test]
fn module_texts_are_read_as_paragraphs_without_links() {
    let source = "//! `spam`: mail.\n//!\n//! **Measure.** As in [`super::alike`],\n//! and ([`crate::y`]) for [`X::LONG`]\n\
                  //! - of [`MOST`] (see [`crate::shard`]).\n\nuse a;\n//! no\n\
                  const LONG: Duration = Duration::from_secs(300);\npub const MOST: usize = 1_000;\n";
    let titles = BTreeMap::from([("alike".to_owned(), title("//! Alike mail: by size.\n//! More."))]);
    let module = module(source, &titles);
    assert_eq!(
        module.paragraphs,
        ["`spam`: mail.", "**Measure.** As in alike mail, and for 5 min\n- of 1000."]
    );
    assert!(module.is_about(Class::Spam) && !module.is_about(Class::SpamMailbomb));
}
