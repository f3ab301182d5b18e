//! What people outside read on letters and pages: in the languages that texts are compiled in for. Whoever has another one reads English.

use super::What;

/// The words of a language.
#[derive(Debug)]
pub(crate) struct Words {
    /// Its tag.
    pub language: &'static str,
    pub case: &'static str,
    pub fixed: &'static str,
    pub statement: &'static str,
    /// How long links are of use.
    pub links_end: &'static str,
    pub what_you_were_told: &'static str,
    pub stands: &'static str,
    pub open: &'static str,
    pub over: &'static str,
    pub fixed_relay: &'static str,
    pub fixed_other: &'static str,
    pub check_again: &'static str,
    pub statement_asked: &'static str,
    pub statement_field: &'static str,
    pub send: &'static str,
    /// What a check came to.
    pub mended: &'static str,
    pub still_open: &'static str,
    pub no_answer: &'static str,
    pub noted: &'static str,
    pub still_seen: &'static str,
    /// How often, and when it is looked at again.
    pub so_often: &'static str,
    pub look_again: &'static str,
    pub let_go: &'static str,
    /// Of what was said to be mended before.
    pub waits: &'static str,
    pub seen_again: &'static str,
    pub statement_taken: &'static str,
    /// What was wrong.
    pub title_wrong: &'static str,
    pub wrong_link: &'static str,
    pub too_often: &'static str,
    pub wrong_statement: &'static str,
    pub not_now: &'static str,
}

const ENGLISH: Words = Words {
    language: "en",
    case: "Case",
    fixed: "I have fixed it",
    statement: "My statement",
    links_end: "These links are yours alone and work for 30 days. Whoever has them can answer for you.",
    what_you_were_told: "What we told you",
    stands: "What was done is still in force.",
    open: "We saw it lately: nothing is in force now, but the case is open.",
    over: "Nothing is in force any more.",
    fixed_relay: "We ask your mail server at once whether it still passes on mail of strangers. If it does not, what was done because of it is lifted.",
    fixed_other: "We look whether we have seen it since, and note on the case that you have mended it.",
    check_again: "I have fixed it: check now",
    statement_asked: "Is it a mistake, or is there something that we should know? What you write lands on the case and is read by a person.",
    statement_field: "Your statement (at most 4,000 characters)",
    send: "Send",
    mended: "Your mail server refused mail of strangers: it is mended. What was done because of it is being lifted, which takes a few seconds.",
    still_open: "Your mail server still passes on mail of strangers. What was done stays in force. Close it, and check again.",
    no_answer: "Your mail server could not be asked just now, or gave no clear answer. What was done stays in force. Try again in a few minutes.",
    noted: "Thank you. We have not seen it again since, and noted on the case that you have mended it. What is still in force a person will look at.",
    still_seen: "We still see it. Last at",
    so_often: "times seen in all",
    look_again: "What was done stays in force until it was silent for long enough. You need do nothing more: we look again by ourselves at",
    let_go: "It was silent for long enough. What our policy did because of it is being lifted, which takes a few seconds; what a person ordered stays.",
    waits: "You told us that it is mended. We look again by ourselves at",
    seen_again: "You told us that it is mended, but we saw it again. Tell us anew when it is. Last at",
    statement_taken: "Thank you. Your statement is on the case.",
    title_wrong: "This did not work",
    wrong_link: "This link is not valid, or its time is over. Answer to the message that it came with.",
    too_often: "That was too often. Wait a few minutes, and try again.",
    wrong_statement: "Write something, of at most 4,000 characters.",
    not_now: "This cannot be done just now. Try again in a few minutes.",
};

const DUTCH: Words = Words {
    language: "nl",
    case: "Dossier",
    fixed: "Ik heb het verholpen",
    statement: "Mijn verklaring",
    links_end: "Deze links zijn alleen voor u en werken 30 dagen. Wie ze heeft, kan namens u antwoorden.",
    what_you_were_told: "Wat wij u schreven",
    stands: "De maatregel is nog van kracht.",
    open: "Wij hebben het onlangs nog gezien: er is nu geen maatregel van kracht, maar het dossier is open.",
    over: "Er is geen maatregel meer van kracht.",
    fixed_relay: "Wij vragen uw mailserver meteen of hij nog post van vreemden doorstuurt. Doet hij dat niet, dan wordt de maatregel opgeheven.",
    fixed_other: "Wij kijken of wij het sindsdien nog hebben gezien, en noteren in het dossier dat u het hebt verholpen.",
    check_again: "Ik heb het verholpen: controleer nu",
    statement_asked: "Is het een vergissing, of is er iets dat wij moeten weten? Wat u schrijft komt in het dossier en wordt door een medewerker gelezen.",
    statement_field: "Uw verklaring (ten hoogste 4.000 tekens)",
    send: "Versturen",
    mended: "Uw mailserver weigerde post van vreemden: het is verholpen. De maatregel wordt opgeheven; dat duurt enkele seconden.",
    still_open: "Uw mailserver stuurt nog steeds post van vreemden door. De maatregel blijft van kracht. Sluit hem af en controleer opnieuw.",
    no_answer: "Uw mailserver was nu niet te bevragen of gaf geen duidelijk antwoord. De maatregel blijft van kracht. Probeer het over enkele minuten opnieuw.",
    noted: "Dank u. Wij hebben het sindsdien niet meer gezien en hebben in het dossier genoteerd dat u het hebt verholpen. Naar wat nog van kracht is kijkt een medewerker.",
    still_seen: "Wij zien het nog steeds. Voor het laatst om",
    so_often: "keer gezien in totaal",
    look_again: "De maatregel blijft van kracht tot het lang genoeg stil is geweest. U hoeft niets meer te doen: wij kijken zelf opnieuw om",
    let_go: "Het is lang genoeg stil geweest. Wat ons beleid daarom deed wordt opgeheven; dat duurt enkele seconden. Wat een medewerker heeft opgelegd blijft.",
    waits: "U hebt ons laten weten dat het is verholpen. Wij kijken zelf opnieuw om",
    seen_again: "U hebt ons laten weten dat het is verholpen, maar wij hebben het opnieuw gezien. Meld het ons weer als het zover is. Voor het laatst om",
    statement_taken: "Dank u. Uw verklaring staat in het dossier.",
    title_wrong: "Dit is niet gelukt",
    wrong_link: "Deze link is niet geldig of verlopen. Antwoord op het bericht waar hij in stond.",
    too_often: "Dat was te vaak. Wacht enkele minuten en probeer het opnieuw.",
    wrong_statement: "Schrijf iets, van ten hoogste 4.000 tekens.",
    not_now: "Dit kan nu even niet. Probeer het over enkele minuten opnieuw.",
};

const DANISH: Words = Words {
    language: "da",
    case: "Sag",
    fixed: "Jeg har rettet det",
    statement: "Min udtalelse",
    links_end: "Disse links er kun til dig og virker i 30 dage. Den, der har dem, kan svare på dine vegne.",
    what_you_were_told: "Det skrev vi til dig",
    stands: "Tiltaget er stadig i kraft.",
    open: "Vi har set det for nylig: intet tiltag er i kraft nu, men sagen er åben.",
    over: "Intet tiltag er længere i kraft.",
    fixed_relay: "Vi spørger straks din mailserver, om den stadig videresender fremmedes post. Gør den ikke det, ophæves tiltaget.",
    fixed_other: "Vi ser efter, om vi har set det siden, og noterer på sagen, at du har rettet det.",
    check_again: "Jeg har rettet det: kontrollér nu",
    statement_asked: "Er det en fejl, eller er der noget, vi bør vide? Det, du skriver, kommer på sagen og læses af en medarbejder.",
    statement_field: "Din udtalelse (højst 4.000 tegn)",
    send: "Send",
    mended: "Din mailserver afviste fremmedes post: det er rettet. Tiltaget ophæves; det tager nogle sekunder.",
    still_open: "Din mailserver videresender stadig fremmedes post. Tiltaget forbliver i kraft. Luk den, og kontrollér igen.",
    no_answer: "Din mailserver kunne ikke spørges lige nu eller gav intet klart svar. Tiltaget forbliver i kraft. Prøv igen om nogle minutter.",
    noted: "Tak. Vi har ikke set det siden og har noteret på sagen, at du har rettet det. En medarbejder ser på det, der stadig er i kraft.",
    still_seen: "Vi ser det stadig. Senest kl.",
    so_often: "gange set i alt",
    look_again: "Tiltaget forbliver i kraft, til der har været stille længe nok. Du behøver ikke gøre mere: vi ser selv efter igen kl.",
    let_go: "Der har været stille længe nok. Det, vores politik gjorde på grund af det, ophæves; det tager nogle sekunder. Det, en medarbejder har pålagt, bliver stående.",
    waits: "Du har fortalt os, at det er rettet. Vi ser selv efter igen kl.",
    seen_again: "Du har fortalt os, at det er rettet, men vi har set det igen. Sig det igen, når det er det. Senest kl.",
    statement_taken: "Tak. Din udtalelse er på sagen.",
    title_wrong: "Det lykkedes ikke",
    wrong_link: "Dette link er ugyldigt eller udløbet. Svar på den besked, det stod i.",
    too_often: "Det var for tit. Vent nogle minutter, og prøv igen.",
    wrong_statement: "Skriv noget, højst 4.000 tegn.",
    not_now: "Det kan ikke lade sig gøre lige nu. Prøv igen om nogle minutter.",
};

impl Words {
    /// The words for whoever reads this language: `nl-BE` is `nl`.
    pub fn of(language: &str) -> &'static Self {
        let main = language.split('-').next().unwrap_or_default();
        let all: [&'static Self; 2] = [&DUTCH, &DANISH];
        all.into_iter().find(|words| words.language.eq_ignore_ascii_case(main)).unwrap_or(&ENGLISH)
    }

    /// The words that whoever asks likes best (RFC 9110, 12.5.4): of the languages that there are the one with the most weight, and of several the first.
    pub fn accepted(asked: &str) -> &'static Self {
        let all: [&'static Self; 3] = [&ENGLISH, &DUTCH, &DANISH];
        let mut best: Option<(&'static Self, u32)> = None;
        for one in asked.split(',').take(32) {
            let mut parts = one.split(';').map(str::trim);
            let main = parts.next().unwrap_or_default().split('-').next().unwrap_or_default();
            let weight =
                parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
            // Three digits behind the point are all that there may be.
            let weight = (f32::clamp(weight, 0.0, 1.0) * 1_000.0) as u32;
            let found = all.into_iter().find(|words| words.language.eq_ignore_ascii_case(main));
            if let Some(words) = found.filter(|_| weight > best.map_or(0, |(_, weight)| weight)) {
                best = Some((words, weight));
            }
        }
        best.map_or(&ENGLISH, |(words, _)| words)
    }

    /// What a way to answer is called.
    pub const fn way(&self, what: What) -> &'static str {
        match what {
            What::Fixed => self.fixed,
            What::Statement => self.statement,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_reads_what_they_like_best_of_what_there_is() {
        let check =
            |asked: &str, language: &str| assert_eq!(Words::accepted(asked).language, language, "{asked}");
        check("", "en");
        check("nl", "nl");
        check("nl-BE,nl;q=0.9,en;q=0.8", "nl");
        check("fr-FR, da;q=0.3, nl;q=0.7", "nl");
        check("de, *;q=0.5", "en");
        check("EN-us;q=0.2, DA", "da");
        check("da;q=0", "en");
        check("nl;q=x, da;q=NaN", "en");
    }
}
