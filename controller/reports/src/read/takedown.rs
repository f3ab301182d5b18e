//! Whether somebody wants something to be taken down, what for, and until when: by words of letters in English, Dutch, German and Danish.

use crate::complaint::{Complaint, Deadline, MAX_LIST, Takedown};
use crate::kind::Kind;
use crate::words::{has_phrase, places};

/// Words that ask for it. A letter that has one of them, and something to take down, is a request.
const ASKS: [&str; 26] = [
    "takedown",
    "take down",
    "take-down",
    "taken down",
    "notice and action",
    "ntd",
    "dmca",
    "infringing",
    "infringement",
    "infringes",
    "removal order",
    "remove the content",
    "remove this content",
    "remove or disable",
    "disable access",
    "inbreuk",
    "inbreukmakend",
    "inbreukmakende",
    "verwijderen",
    "verwijder",
    "krænker",
    "krænkelse",
    "fjerne",
    "urheberrechtsverletzung",
    "rechtsverletzung",
    "entfernen",
];

/// What it may lean on: the short name, and the words for it.
const LEGAL: [(&str, &[&str]); 12] = [
    ("dmca", &["dmca", "digital millennium copyright act", "512(c)", "17 u.s.c"]),
    (
        "copyright",
        &[
            "copyright",
            "copyrighted",
            "auteursrecht",
            "ophavsret",
            "urheberrecht",
            "urheberrechtsverletzung",
            "neighbouring rights",
        ],
    ),
    ("trademark", &["trademark", "trade mark", "merkenrecht", "varemærke", "markenrecht", "counterfeit"]),
    ("dsa", &["digital services act", "2022/2065", "article 16 dsa", "art. 16 dsa", "dsa"]),
    ("terreg", &["2021/784", "terrorist content", "terroristische", "terrorindhold"]),
    ("e-commerce directive", &["2000/31", "e-commerce directive", "6:196c"]),
    (
        "ntd code",
        &["notice and takedown", "notice-and-takedown", "notice and take down", "gedragscode ntd", "ntd"],
    ),
    (
        "court order",
        &[
            "court order",
            "injunction",
            "gerechtelijk bevel",
            "vonnis",
            "kort geding",
            "retskendelse",
            "gerichtsbeschluss",
        ],
    ),
    ("data protection", &["gdpr", "2016/679", "avg", "right to erasure", "right to be forgotten", "dsgvo"]),
    ("defamation", &["defamation", "defamatory", "libel", "smaad", "laster", "injurier", "verleumdung"]),
    (
        "child protection",
        &[
            "csam",
            "child sexual abuse",
            "child pornography",
            "kinderporno",
            "kinderpornografie",
            "børneporno",
        ],
    ),
    ("criminal law", &["criminal code", "wetboek van strafrecht", "straffeloven", "strafgesetzbuch"]),
];

/// Words that say that it cannot wait.
const URGENT: [&str; 14] = [
    "urgent",
    "urgently",
    "immediately",
    "immediate",
    "without delay",
    "spoed",
    "dringend",
    "onmiddellijk",
    "per direct",
    "straks",
    "omgående",
    "unverzüglich",
    "asap",
    "as soon as possible",
];

/// A takedown for what is always one, whatever it says.
pub(crate) fn of_kind(complaint: &mut Complaint) {
    if matches!(complaint.kind, Kind::Copyright | Kind::Trademark | Kind::ChildAbuse | Kind::IllegalContent) {
        let said = complaint.text.to_lowercase();
        complaint.takedown = Some(takedown(complaint, &said));
    }
}

/// A takedown that a letter asks for. `said` is all of it in lower case.
pub(super) fn in_words(complaint: &mut Complaint, said: &str) {
    of_kind(complaint);
    let has_what = !complaint.urls.is_empty() || !complaint.hosts.is_empty() || complaint.source.is_some();
    if complaint.takedown.is_none() && has_what && ASKS.iter().any(|ask| has_phrase(said, ask)) {
        complaint.takedown = Some(takedown(complaint, said));
    }
}

fn takedown(complaint: &Complaint, said: &str) -> Takedown {
    let deadline = deadline(said);
    let is_short = matches!(deadline, Some(Deadline::Within(hours)) if hours <= 24);
    let mut legal_basis: Vec<String> = LEGAL
        .iter()
        .filter(|(_, words)| words.iter().any(|word| has_phrase(said, word)))
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let of_itself = match complaint.kind {
        Kind::Copyright => Some("copyright"),
        Kind::Trademark => Some("trademark"),
        Kind::ChildAbuse => Some("child protection"),
        _ => None,
    };
    if let Some(name) = of_itself.filter(|name| !legal_basis.iter().any(|known| known == name)) {
        legal_basis.push(name.to_owned());
    }
    let is_grave = legal_basis.iter().any(|name| matches!(name.as_str(), "child protection" | "terreg"));
    Takedown {
        urls: complaint.urls.iter().take(MAX_LIST).cloned().collect(),
        deadline,
        legal_basis,
        is_urgent: is_short || is_grave || URGENT.iter().any(|word| has_phrase(said, word)),
    }
}

/// `within 24 hours`, `binnen twee werkdagen`, `inden for 3 dage`: the shortest that is asked for.
fn deadline(said: &str) -> Option<Deadline> {
    const BEFORE: [&str; 6] = ["within", "binnen", "inden for", "innerhalb von", "innerhalb", "in less than"];
    let hours = BEFORE
        .iter()
        .flat_map(|word| places(said, word).take(20).filter_map(|at| span(&said[at + word.len()..])))
        .min()?;
    Some(Deadline::Within(hours))
}

/// `24 hours`, `2 (two) business days`, `vijf dagen`, in hours.
fn span(rest: &str) -> Option<u32> {
    const NUMBERS: [(&str, u32); 24] = [
        ("one", 1),
        ("two", 2),
        ("three", 3),
        ("four", 4),
        ("five", 5),
        ("six", 6),
        ("seven", 7),
        ("ten", 10),
        ("fourteen", 14),
        ("een", 1),
        ("één", 1),
        ("twee", 2),
        ("drie", 3),
        ("vier", 4),
        ("vijf", 5),
        ("tien", 10),
        ("en", 1),
        ("to", 2),
        ("tre", 3),
        ("fire", 4),
        ("fem", 5),
        ("zwei", 2),
        ("drei", 3),
        ("the next", 1),
    ];
    const UNITS: [(&str, u32); 18] = [
        ("hour", 1),
        ("hours", 1),
        ("hrs", 1),
        ("uur", 1),
        ("time", 1),
        ("timer", 1),
        ("stunde", 1),
        ("stunden", 1),
        ("h", 1),
        ("day", 24),
        ("days", 24),
        ("dag", 24),
        ("dagen", 24),
        ("werkdagen", 24),
        ("dage", 24),
        ("hverdage", 24),
        ("tagen", 24),
        ("week", 168),
    ];
    let mut number = None;
    for word in rest.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).take(6) {
        let read = word
            .parse()
            .ok()
            .or_else(|| NUMBERS.iter().find(|(name, _)| *name == word).map(|(_, value)| *value));
        if number.is_none() {
            number = read;
        }
        if let Some((_, hours)) = UNITS.iter().find(|(name, _)| *name == word) {
            return number.unwrap_or(1).checked_mul(*hours).filter(|hours| (1..=24 * 366).contains(hours));
        }
        let glued = word.strip_suffix('h').and_then(|digits| digits.parse().ok());
        if glued.is_some() {
            return glued;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_as_letters_write_them() {
        let cases = [
            ("please remove it within 24 hours.", Some(24)),
            ("within 2 (two) business days of receipt", Some(48)),
            ("binnen vijf dagen", Some(120)),
            ("inden for 3 hverdage", Some(72)),
            ("within 48h", Some(48)),
            ("within a week, or within 1 hour", Some(1)),
            ("within our network", None),
            ("hours", None),
        ];
        for (said, hours) in cases {
            assert_eq!(deadline(said), hours.map(Deadline::Within), "{said}");
        }
    }
}
