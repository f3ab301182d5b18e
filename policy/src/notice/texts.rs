//! The texts of a language: which there are, which places each has, and those that are compiled in.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::template::{Template, Values};
use crate::class::Class;
use crate::reader::{ConfigErrors, Document, Section};
use crate::tenant::Name;

/// The classes that have words of their own; others have those of their family. The last three are no classes: something that a
/// policy decided of which the class is not known, and what a person decided.
const SUBJECTS: &[&str] = &[
    "portscan",
    "flood",
    "flood.amplify",
    "udp_stream",
    "crash",
    "spam",
    "spam.mailbomb",
    "smtp_relay",
    "api_burst",
    "crawl",
    "bruteforce",
    "spoof.source",
    "spoof.arp",
    "spoof.nd",
    "spoof.routing",
    "malware",
    "quota",
    AUTOMATIC,
    BILLING,
    MANUAL,
];
/// The subject of what a policy decided, where nobody knows upon what.
pub(super) const AUTOMATIC: &str = "automatic";
/// The subject of a suspension until an invoice is paid.
pub(super) const BILLING: &str = "billing";
/// The subject of what a person decided.
pub(super) const MANUAL: &str = "manual";

const ACTIONS: &[&str] = &["observe", "notify", "limit", "block", "suspend"];

/// Keys that stand for themselves in a group, and the places that their texts may have.
type Row = (&'static [&'static str], &'static [&'static str]);

/// The texts of a language by group and key.
const GROUPS: &[(&str, &[Row])] = &[
    (
        "subject",
        &[
            (&["information", "warning", "final", "lifted"], &["tenant", "short", "provider", "reference"]),
            (&["immediate"], &["tenant", "short", "did_short", "provider", "reference"]),
            (&["quota"], &["tenant", "percent", "provider"]),
        ],
    ),
    (
        "frame",
        &[
            (&["opening", "parent"], &["tenant", "addresses", "provider"]),
            (&["facts"], &["facts"]),
            (&["customers"], &["short"]),
            (&["customers_number"], &["count", "customers"]),
            (&["customers_do"], &["do"]),
            (&["span"], &["from", "to"]),
            (&["number"], &["count", "what", "limit"]),
            (&["number_alone"], &["count", "what"]),
            (&["targets"], &["targets"]),
            (&["quota"], &["used", "limit", "percent"]),
            (&["staff"], &["reason"]),
            (&["final", "privacy", "closing", "still_held"], &["provider"]),
            (&["clause"], &["clause", "provider"]),
            (&["reference"], &["reference"]),
            (&["contact"], &["contact", "provider"]),
            (&["signature"], &["provider"]),
            (&["rate"], &["count", "unit", "per"]),
            (&["at_a_time"], &["rate", "count"]),
            (&["lifted"], &["short", "time"]),
        ],
    ),
    ("short", &[(SUBJECTS, &[])]),
    ("happened", &[(SUBJECTS, &[])]),
    ("did_short", &[(ACTIONS, &[])]),
    (
        "did",
        &[
            (&["observe", "notify", "suspend", "suspend_cut", "block_all", "block_forged"], &[]),
            (&["limit_all", "limit_forged"], &["rate"]),
            (&["limit_port"], &["rate", "port"]),
            (&["limit_targets"], &["rate", "targets"]),
            (&["limit_endpoint"], &["rate", "endpoint"]),
            (&["block_port"], &["port"]),
            (&["block_targets"], &["targets"]),
            (&["block_endpoint"], &["endpoint"]),
        ],
    ),
    (
        "until",
        &[
            (&["after"], &["time"]),
            (&["released", "verified", "paid"], &["contact"]),
            (&["grace"], &["deadline", "next"]),
            (&["next"], &["next"]),
        ],
    ),
    ("next", &[(ACTIONS, &[])]),
    ("do", &[(SUBJECTS, &["contact"])]),
    (
        "what",
        &[(
            &[
                "hosts",
                "targets",
                "ports",
                "packets",
                "packets_per_second",
                "bits_per_second",
                "connections_per_second",
                "messages",
                "servers",
                "refusals",
                "calls",
                "calls_per_second",
                "requests_per_second",
            ],
            &[],
        )],
    ),
    ("unit", &[(&["connections", "packets", "calls", "bytes"], &[])]),
    ("per", &[(&["second", "minute", "hour", "day"], &[])]),
];

/// Texts as a policy has them: by `group.key`.
pub type Own = BTreeMap<String, String>;

/// The texts of a language, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Texts(BTreeMap<String, Template>);

impl Texts {
    /// What stands under a key, with the values in their places.
    pub fn say(&self, group: &str, key: &str, values: &Values) -> String {
        self.0.get(&format!("{group}.{key}")).map(|text| text.render(values)).unwrap_or_default()
    }

    /// The same for a text without places.
    pub fn word(&self, group: &str, key: &str) -> String {
        self.say(group, key, &Values::new())
    }
}

/// The subject whose words a class has.
pub(super) fn subject(class: Class) -> &'static str {
    let is_one = |name: &&str| SUBJECTS.contains(name);
    [class.name(), class.family()].into_iter().find(is_one).unwrap_or(AUTOMATIC)
}

/// The texts that are compiled in, by language, as they are written.
pub const FILES: [(&str, &str); 3] = [
    ("en", include_str!("../../presets/notices/en.toml")),
    ("nl", include_str!("../../presets/notices/nl.toml")),
    ("da", include_str!("../../presets/notices/da.toml")),
];

static COMPILED_IN: LazyLock<BTreeMap<Name, Texts>> = LazyLock::new(|| {
    let read = |(_, text): (&str, &str)| {
        let (language, own) = read_file("notices", text, &|_| true)
            .unwrap_or_else(|errors| panic!("texts that are compiled in are sound: {errors}"));
        (language, texts(&own))
    };
    FILES.into_iter().map(read).collect()
});

/// Reads a file of texts: its language, and what it has of them; `is_whole` says of which languages it must have all.
pub(crate) fn read_file(
    file: &str,
    text: &str,
    is_whole: &dyn Fn(&Name) -> bool,
) -> Result<(Name, Own), ConfigErrors> {
    Document::read(file, text, |root| {
        let language: Option<Name> = root.required("language", "a language tag");
        let is_needed = language.as_ref().is_some_and(is_whole);
        let own = read(root, &|_, _| is_needed);
        Some((language?, own))
    })
}

fn texts(own: &Own) -> Texts {
    let parse = |(key, text): (&String, &String)| {
        let template = Template::parse(text, places(key)?).ok()?;
        Some((key.clone(), template))
    };
    Texts(own.iter().filter_map(parse).collect())
}

/// The places that the text of a key may have; `None` for a key that there is not.
fn places(key: &str) -> Option<&'static [&'static str]> {
    let (group, key) = key.split_once('.')?;
    let (_, rows) = GROUPS.iter().find(|(name, _)| *name == group)?;
    rows.iter().find(|(keys, _)| keys.contains(&key)).map(|(_, places)| *places)
}

/// Reads texts by group and key; `is_needed` says which must be there.
pub(crate) fn read(root: &Section<'_, '_>, is_needed: &dyn Fn(&str, &str) -> bool) -> Own {
    let mut own = Own::new();
    for (group, rows) in GROUPS {
        let section = root.section(group);
        for (key, places) in
            rows.iter().flat_map(|(keys, places)| keys.iter().map(move |key| (*key, *places)))
        {
            let text = section
                .as_ref()
                .map(|section| (section, section.text(key)))
                .filter(|(section, _)| section.has(key));
            match text {
                Some((section, Some(text))) => match Template::parse(text, places) {
                    Ok(_) => drop(own.insert(format!("{group}.{key}"), text.to_owned())),
                    Err(allowed) => section.reject(key, &allowed),
                },
                // It is no text, and was complained of.
                Some((_, None)) => {}
                None if is_needed(group, key) => match &section {
                    Some(section) => section.reject(key, "a text: a language of one's own needs all of them"),
                    None => root.reject(group, "a table: a language of one's own needs all texts"),
                },
                None => {}
            }
        }
        if let Some(section) = section {
            section.finish();
        }
    }
    own
}

/// Whether there are texts of a language that are compiled in.
pub(crate) fn is_compiled_in(language: &Name) -> bool {
    compiled_in(language).is_some()
}

/// The languages that are compiled in.
pub(crate) fn languages() -> impl Iterator<Item = &'static Name> {
    COMPILED_IN.keys()
}

/// The texts of a language that are compiled in, be it under a longer tag: `nl` for `nl-BE`.
fn compiled_in(language: &Name) -> Option<&'static Texts> {
    let main = language.as_str().split('-').next()?;
    COMPILED_IN.iter().find(|(name, _)| name.as_str().eq_ignore_ascii_case(main)).map(|(_, texts)| texts)
}

/// The texts of a language, with a policy's own in place of those that it has; `None` where there are none.
pub(super) fn of(language: &Name, own: &BTreeMap<Name, Own>) -> Option<Texts> {
    let base = compiled_in(language);
    let main = language.as_str().split('-').next().and_then(|main| main.parse::<Name>().ok());
    let own = own.get(language).or_else(|| own.get(&main?));
    if base.is_none() && own.is_none() {
        return None;
    }
    let mut all = base.cloned().unwrap_or_else(|| Texts(BTreeMap::new()));
    all.0.extend(own.map(texts).into_iter().flat_map(|texts| texts.0));
    Some(all)
}

/// Those that stand in for a language that there are none of.
pub(super) fn english() -> Texts {
    compiled_in(&"en".parse().expect("two letters are a name")).expect("English is compiled in").clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_every_text_and_every_class_has_words() {
        assert_eq!(languages().map(Name::as_str).collect::<Vec<_>>(), ["da", "en", "nl"]);
        let all: usize = GROUPS.iter().flat_map(|(_, rows)| rows.iter().map(|(keys, _)| keys.len())).sum();
        for texts in COMPILED_IN.values() {
            assert_eq!(texts.0.len(), all);
        }
        for class in Class::ALL {
            assert_ne!(subject(class), AUTOMATIC, "{class}");
        }
    }

    #[test]
    fn a_place_that_one_language_fills_every_language_fills() {
        let [first, rest @ ..] =
            COMPILED_IN.values().collect::<Vec<_>>().try_into().map(|all: [&Texts; 3]| all).unwrap();
        for (key, template) in &first.0 {
            let mut places: Vec<&str> = template.places().collect();
            places.sort_unstable();
            for other in rest {
                let mut others: Vec<&str> = other.0[key].places().collect();
                others.sort_unstable();
                assert_eq!(places, others, "{key}");
            }
        }
    }

    #[test]
    fn a_longer_tag_finds_its_language_and_own_texts_go_first() {
        let tag = |text: &str| text.parse::<Name>().unwrap();
        let own = BTreeMap::from([(tag("nl"), Own::from([("short.spam".to_owned(), "reclame".to_owned())]))]);
        let texts = of(&tag("nl-BE"), &own).unwrap();
        assert_eq!(
            (texts.word("short", "spam"), texts.word("per", "hour")),
            ("reclame".into(), "uur".into())
        );
        assert_eq!(of(&tag("da"), &own).unwrap().word("short", "spam"), "massemail");
        assert!(of(&tag("fr"), &own).is_none());
        assert_eq!(english().word("per", "day"), "day");
    }
}
