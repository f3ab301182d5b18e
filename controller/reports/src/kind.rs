//! Kinds of abuse that people complain about, whatever format they do it in.

use std::fmt;
use std::str::FromStr;

use reeve_policy::Class;
use serde::{Deserialize, Serialize};

use Class as C;

macro_rules! kinds {
    ($($variant:ident, $name:literal, $meaning:literal, [$($class:expr),*];)*) => {
        /// What a complaint is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub enum Kind {
            $(#[doc = $meaning] $variant,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As it is stored, compared and counted.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it says.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }

            /// The classes that an agent finds it by: what a complaint of this kind is compared with. Empty where no traffic tells.
            #[must_use]
            pub const fn classes(self) -> &'static [Class] {
                match self { $(Self::$variant => &[$($class),*],)* }
            }
        }
    };
}

// docs/reports.md has the same table; a test compares.
kinds! {
    Scan, "scan", "ports or hosts were scanned", [C::PortscanHorizontal, C::PortscanVertical, C::PortscanSlow, C::PortscanStealth];
    LoginAttack, "login_attack", "logins were tried", [C::Bruteforce];
    Flood, "flood", "a denial of service", [C::FloodSyn, C::FloodTcp, C::FloodConnect, C::FloodUdp, C::FloodIcmp, C::FloodFrag, C::FloodOther, C::FloodVolume, C::FloodAmplify, C::UdpStream, C::Crash];
    WebAttack, "web_attack", "a site was probed or attacked", [C::PortscanHorizontal, C::PortscanSlow, C::Bruteforce, C::Crawl];
    Scraping, "scraping", "pages or calls were fetched by the thousand", [C::Crawl, C::ApiBurst];
    Spam, "spam", "mail or messages that nobody asked for", [C::Spam, C::SpamMailbomb, C::SmtpRelay];
    OpenService, "open_service", "a service is open to abuse, such as a resolver or a relay", [C::FloodAmplify, C::SmtpRelay];
    Vulnerability, "vulnerability", "something is vulnerable, and nobody abused it yet", [];
    Phishing, "phishing", "a page or mail that asks for others' credentials", [C::Spam];
    Fraud, "fraud", "a fraud of another kind", [C::Spam];
    Malware, "malware", "harmful programs are spread", [C::Malware];
    Botnet, "botnet", "a host is part of a botnet, or steers one", [C::Malware, C::Bruteforce, C::PortscanHorizontal, C::PortscanSlow];
    Compromised, "compromised", "a server or site was broken into", [C::Malware, C::Bruteforce, C::Spam];
    Copyright, "copyright", "works of others are offered or shared", [];
    Trademark, "trademark", "a brand is imitated", [];
    ChildAbuse, "child_abuse", "sexual abuse or exploitation of children", [];
    IllegalContent, "illegal_content", "content that is against the law in another way", [];
    ExposedData, "exposed_data", "data are open that should not be", [];
    Spoofing, "spoofing", "addresses or senders are forged", [C::SpoofSource];
    AuthFailure, "auth_failure", "mail failed authentication, which is no abuse by itself", [];
    Listed, "listed", "a list or feed has the source on it", [];
    NotAbuse, "not_abuse", "what was reported before is none", [];
    Other, "other", "something else, or nothing that is said", [];
}

impl Kind {
    /// The kind of a category and type of XARF 4.
    pub(crate) fn of_xarf4(category: &str, kind: &str) -> Self {
        match (fold(category).as_str(), fold(kind).as_str()) {
            ("messaging", _) => Self::Spam,
            ("connection", "vulnerabilityscan" | "vulnscanning" | "reconnaissance" | "sqlinjection") => {
                Self::WebAttack
            }
            ("connection", "loginattack" | "authfailure") => Self::LoginAttack,
            ("connection", "scraping") => Self::Scraping,
            ("connection", "infectedhost" | "bot") => Self::Botnet,
            ("copyright", _) => Self::Copyright,
            ("reputation", _) => Self::Listed,
            ("vulnerability", "openservice" | "open") => Self::OpenService,
            ("vulnerability", _) => Self::Vulnerability,
            ("infrastructure", "compromisedserver") => Self::Compromised,
            ("infrastructure", _) => Self::Botnet,
            (_, other) => Self::of_words(other),
        }
    }

    /// The kind of a word that XARF 3, X-ARF or ARF have for it, however it is written: `Port-Scan`, `portscan`, `PortScan`.
    pub(crate) fn of_words(word: &str) -> Self {
        match fold(word).as_str() {
            "portscan" | "scan" | "scanning" | "probe" | "portprobe" | "networkscan" | "horizontalscan" => {
                Self::Scan
            }
            "loginattack" | "authfail" | "authfailures" | "bruteforce" | "ssh" | "failedlogin"
            | "authattack" => Self::LoginAttack,
            "ddos" | "dos" | "dosattack" | "ddosattack" | "flood" | "synflood" | "ddosamplification"
            | "amplification" => Self::Flood,
            "webhack" | "webattack" | "sqlinjection" | "exploit" | "exploitattack" | "rfiattack"
            | "harvesting" | "badbot" | "regbot" | "commentspam" | "vulnerabilityscan" | "hacking"
            | "attack" => Self::WebAttack,
            "scraping" | "crawling" | "crawler" => Self::Scraping,
            "abuse" | "spam" | "bulkmessaging" | "ube" | "uce" | "mailattack" | "spamvertized"
            | "spamvertised" | "miscategorized" | "optout" | "optoutlist" => Self::Spam,
            "openservice" | "openrelay" | "relay" | "openresolver" | "openproxy" | "proxy" | "rpzrewrite" => {
                Self::OpenService
            }
            "vulnerability" | "cve" | "misconfiguration" | "vulnerableservice" => Self::Vulnerability,
            "phishing" | "phish" => Self::Phishing,
            "fraud" | "scam" | "suspiciousregistration" => Self::Fraud,
            "malware" | "malwareattack" | "virus" | "malwaredistribution" => Self::Malware,
            "botnet" | "bot" | "infection" | "botinfection" | "infectedhost" | "malwareinfection" | "cc"
            | "c2" => Self::Botnet,
            "compromisedserver" | "remotecompromise" | "defacement" | "compromised" | "webshell"
            | "hackedsite" => Self::Compromised,
            "copyright"
            | "dmca"
            | "copyrightinfringement"
            | "p2p"
            | "cyberlocker"
            | "linksite"
            | "usenet"
            | "ugcplatform" => Self::Copyright,
            "trademark" | "brandinfringement" | "counterfeit" | "brand" => Self::Trademark,
            "childabuse" | "csam" | "csem" | "childexploitation" => Self::ChildAbuse,
            "illegalcontent" | "ncii" | "terrorism" | "hatespeech" | "defamation" | "harassment"
            | "doxing" => Self::IllegalContent,
            "exposeddata" | "dataleak" | "leak" => Self::ExposedData,
            "ipspoof" | "spoofing" | "spoof" => Self::Spoofing,
            "authfailure" | "dmarc" => Self::AuthFailure,
            "blocklist" | "blacklist" | "threatintelligence" | "trap" | "trapping" => Self::Listed,
            "notspam" => Self::NotAbuse,
            _ => Self::Other,
        }
    }
}

/// Letters and digits in lower case, the first 48: as words are compared.
fn fold(word: &str) -> String {
    word.chars()
        .filter(char::is_ascii_alphanumeric)
        .take(48)
        .map(|letter| letter.to_ascii_lowercase())
        .collect()
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no kind of abuse.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no kind of complaint")]
pub struct ParseKindError(String);

impl FromStr for Kind {
    type Err = ParseKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let kind = Self::ALL.iter().copied().find(|kind| kind.name() == text);
        kind.ok_or_else(|| ParseKindError(crate::words::line(text, 64)))
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> Self {
        kind.name().to_owned()
    }
}

impl TryFrom<String> for Kind {
    type Error = ParseKindError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_spellings_are_one() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(*kind));
        }
        for word in ["Port-Scan", "portscan", "PortScan", "port_scan"] {
            assert_eq!(Kind::of_words(word), Kind::Scan, "{word}");
        }
        assert_eq!(Kind::of_xarf4("content", "phishing"), Kind::Phishing);
        assert_eq!(Kind::of_xarf4("connection", "login_attack"), Kind::LoginAttack);
        assert_eq!(Kind::of_xarf4("connection", "auth_failure"), Kind::LoginAttack);
        assert_eq!(Kind::of_words("auth-failure"), Kind::AuthFailure);
        assert_eq!(Kind::of_xarf4("made up", "thing"), Kind::Other);
    }
}
