//! What complaints are about, in the words of whoever complains.

use reeve_reports::Kind;

/// The kinds that a form offers, the likeliest first. Others come of reports by programs.
pub(super) const OFFERED: [Kind; 16] = [
    Kind::Spam,
    Kind::Phishing,
    Kind::Malware,
    Kind::LoginAttack,
    Kind::Scan,
    Kind::Flood,
    Kind::WebAttack,
    Kind::Scraping,
    Kind::Fraud,
    Kind::Compromised,
    Kind::Copyright,
    Kind::Trademark,
    Kind::ExposedData,
    Kind::IllegalContent,
    Kind::ChildAbuse,
    Kind::Other,
];

/// What a kind is called in a language, or in English.
pub(crate) const fn name(language: &str, kind: Kind) -> &'static str {
    let (english, dutch, danish) = names(kind);
    match language.as_bytes() {
        b"nl" => dutch,
        b"da" => danish,
        _ => english,
    }
}

const fn names(kind: Kind) -> (&'static str, &'static str, &'static str) {
    match kind {
        Kind::Scan => (
            "scanning of ports or hosts",
            "scannen van poorten of machines",
            "scanning af porte eller maskiner",
        ),
        Kind::LoginAttack => ("attempts to log in", "pogingen om in te loggen", "forsøg på at logge ind"),
        Kind::Flood => (
            "denial of service (flood)",
            "overbelasting (denial of service)",
            "overbelastningsangreb (denial of service)",
        ),
        Kind::WebAttack => ("attack on a site", "aanval op een site", "angreb på et websted"),
        Kind::Scraping => {
            ("mass fetching of pages", "massaal ophalen van pagina's", "massehentning af sider")
        }
        Kind::Spam => (
            "unsolicited mail or messages (spam)",
            "ongevraagde mail of berichten (spam)",
            "uopfordrede mails eller beskeder (spam)",
        ),
        Kind::OpenService => (
            "a service that is open to abuse",
            "een dienst die te misbruiken is",
            "en tjeneste, der kan misbruges",
        ),
        Kind::Vulnerability => ("something vulnerable", "iets kwetsbaars", "noget sårbart"),
        Kind::Phishing => ("phishing", "phishing", "phishing"),
        Kind::Fraud => ("fraud", "oplichting", "svindel"),
        Kind::Malware => (
            "malware (harmful programs)",
            "malware (schadelijke programma's)",
            "malware (skadelige programmer)",
        ),
        Kind::Botnet => ("part of a botnet", "deel van een botnet", "del af et botnet"),
        Kind::Compromised => (
            "a server or site that was broken into",
            "een gekraakte server of site",
            "en hacket server eller et hacket websted",
        ),
        Kind::Copyright => ("copyright", "auteursrecht", "ophavsret"),
        Kind::Trademark => ("trademark", "merkrecht", "varemærke"),
        Kind::ChildAbuse => {
            ("sexual abuse of children", "seksueel misbruik van kinderen", "seksuelt misbrug af børn")
        }
        Kind::IllegalContent => {
            ("other illegal content", "andere onwettige inhoud", "andet ulovligt indhold")
        }
        Kind::ExposedData => (
            "personal or secret data in the open",
            "persoonlijke of geheime gegevens op straat",
            "personlige eller hemmelige data frit fremme",
        ),
        Kind::Spoofing => (
            "forged addresses or senders",
            "vervalste adressen of afzenders",
            "forfalskede adresser eller afsendere",
        ),
        Kind::AuthFailure => (
            "mail that failed authentication",
            "mail die niet te verifiëren was",
            "mail, der ikke kunne verificeres",
        ),
        Kind::Listed => ("an entry on a list", "een vermelding op een lijst", "en optagelse på en liste"),
        Kind::NotAbuse => ("a report taken back", "een ingetrokken melding", "en tilbagekaldt anmeldelse"),
        Kind::Other => ("something else", "iets anders", "noget andet"),
    }
}
