//! What who complained is told: that it is here, under which number, and what it is about.
//!
//! Nothing that they wrote comes back to them but an address: a letter that says what a stranger wants, to whomever that stranger says wrote, is what senders of
//! spam look for. And nothing is said of whose the address is, or of what was seen.

use crate::links::Words;
use crate::links::kinds;
use crate::store::Acknowledged;

/// A letter to who complained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acknowledgement {
    pub language: &'static str,
    /// One line.
    pub subject: String,
    pub text: String,
}

/// The words of a language.
struct Said {
    subject: &'static str,
    here: &'static str,
    about: &'static str,
    address: &'static str,
    read: &'static str,
    program: &'static str,
}

const ENGLISH: Said = Said {
    subject: "We have your complaint",
    here: "Thank you for telling us. Your complaint is here. Its reference is",
    about: "What it is about",
    address: "Address",
    read: "Somebody reads it. What comes of it stays between us and our customers, so you may hear no more of it. There is no need to send it again; \
        what you want to add, send with the reference.",
    program: "A program wrote this message.",
};

const DUTCH: Said = Said {
    subject: "Wij hebben uw klacht",
    here: "Dank u voor uw melding. Uw klacht is binnen. Het kenmerk is",
    about: "Waar het over gaat",
    address: "Adres",
    read: "De klacht wordt gelezen. Wat ervan komt blijft tussen ons en onze klanten, dus misschien hoort u er niets meer van. U hoeft hem niet opnieuw te \
        sturen; wat u wilt toevoegen, stuurt u met het kenmerk.",
    program: "Een programma schreef dit bericht.",
};

const DANISH: Said = Said {
    subject: "Vi har din klage",
    here: "Tak for din henvendelse. Din klage er modtaget. Dens reference er",
    about: "Hvad den handler om",
    address: "Adresse",
    read: "Klagen bliver læst. Hvad der kommer ud af den, bliver mellem os og vores kunder, så måske hører du ikke mere. Du behøver ikke at sende den igen; \
        har du noget at tilføje, så send det med referencen.",
    program: "Et program skrev denne besked.",
};

impl Acknowledgement {
    /// In the language that it is written in, or English.
    pub fn of(one: &Acknowledged, provider: &str) -> Self {
        let language = Words::of(&one.language).language;
        let said = match language {
            "nl" => &DUTCH,
            "da" => &DANISH,
            _ => &ENGLISH,
        };
        let about = kinds::name(language, one.complaint.kind);
        let mut text = format!("{} {}.\n\n{}: {about}\n", said.here, one.number, said.about);
        if let Some(source) = one.complaint.source {
            let is_one = source.prefix_len() == source.max_prefix_len();
            let source = if is_one { source.addr().to_string() } else { source.to_string() };
            text.push_str(&format!("{}: {source}\n", said.address));
        }
        text.push_str(&format!("\n{}\n\n{provider}\n\n{}\n", said.read, said.program));
        Self { language, subject: format!("{} [{}]", said.subject, one.number), text }
    }
}

#[cfg(test)]
mod tests {
    use reeve_policy::Timestamp;
    use reeve_reports::{Form, Kind, read_form};

    use super::*;

    #[test]
    fn only_the_number_the_kind_and_the_address_are_told() {
        let now = Timestamp::from_secs(1_800_000_000);
        let check = |about: &str, language: &str, words: &[&str]| {
            let form = Form {
                about,
                kind: Kind::Phishing,
                seen_at: None,
                text: "BUY http://pills.example",
                email: None,
            };
            let complaint = read_form(&form, now).unwrap();
            let one = Acknowledged { number: 17, complaint, made: now, language: language.into() };
            let said = Acknowledgement::of(&one, "Example Hosting");
            for word in words {
                assert!(said.text.contains(word), "{word}: {}", said.text);
            }
            assert!(said.subject.ends_with("[17]") && said.text.contains("Example Hosting"));
            assert!(!said.text.contains("pills") && !said.text.contains("http"), "{}", said.text);
        };
        check("203.0.113.7", "en", &["reference is 17.", "phishing", "Address: 203.0.113.7\n"]);
        check("203.0.113.0/24", "nl-BE", &["kenmerk is 17.", "Adres: 203.0.113.0/24\n"]);
        check("2001:db8::1", "da", &["reference er 17.", "Adresse: 2001:db8::1\n"]);
        check("http://evil.example/pills", "fr", &["reference is 17."]);
    }
}
