//! What a report comes to, whatever format it had.

use std::fmt;

use ipnet::IpNet;
use reeve_policy::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::kind::Kind;

/// The longest [`Complaint::text`], in characters.
pub const MAX_TEXT: usize = 8_000;
/// The longest of all other texts, in characters.
pub const MAX_LINE: usize = 1_000;
/// The most of each list.
pub const MAX_LIST: usize = 32;
/// The most header fields that are kept of a mail that somebody complains about.
pub const MAX_FIELDS: usize = 64;

/// What a report was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// The Abuse Reporting Format, for mail (RFC 5965).
    Arf,
    /// XARF 4: JSON.
    Xarf4,
    /// XARF 1 to 3: JSON with `ReporterInfo` and `Report`.
    Xarf3,
    /// X-ARF 0.1 and 0.2: a mail with a part of YAML.
    XArf02,
    /// A letter.
    Plain,
    /// A form that somebody filled in.
    Form,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Arf, Self::Xarf4, Self::Xarf3, Self::XArf02, Self::Plain, Self::Form];

    /// Those that a message can be written in.
    pub const OF_MESSAGES: [Self; 5] = [Self::Arf, Self::Xarf4, Self::Xarf3, Self::XArf02, Self::Plain];

    /// As it is stored and counted.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arf => "arf",
            Self::Xarf4 => "xarf4",
            Self::Xarf3 => "xarf3",
            Self::XArf02 => "x_arf02",
            Self::Plain => "plain",
            Self::Form => "form",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the source came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// A field that is there for it says so.
    Stated,
    /// The header of the mail that is complained about says so: what the reporter's server wrote there.
    InHeader,
    /// Words say so, or an address stands among words: a person should look.
    InText,
    /// There is none; hosts or URLs say what it is about.
    Nowhere,
}

/// Who complains. What is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reporter {
    /// The organization, or a person's name.
    pub org: String,
    /// Where to write to.
    pub email: String,
    /// The domain, in lower case.
    pub domain: String,
}

/// A header field of a mail that is complained about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its name as it was written.
    pub name: String,
    /// Its value in one line.
    pub value: String,
}

/// Something that came as evidence, of which the content is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its type, such as `text/plain`.
    pub content_type: String,
    /// What whoever sent it says that it is.
    pub description: String,
    /// Its hash as `sha256:…`, where the report says it.
    pub hash: String,
    /// Its size in bytes, where that is known.
    pub size: Option<u64>,
}

/// Until when somebody asks for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deadline {
    /// So many hours after it was received. A working day counts as a day.
    Within(u32),
    /// A point in time.
    At(Timestamp),
}

/// That somebody wants something to be taken down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takedown {
    /// What.
    pub urls: Vec<String>,
    /// Until when.
    pub deadline: Option<Deadline>,
    /// What it leans on, in short names: `copyright`, `dmca`, `dsa`, `court order`.
    pub legal_basis: Vec<String>,
    /// Whether it cannot wait: it says so, or asks for a day or less, or it is about children or terror.
    pub is_urgent: bool,
}

/// A report of abuse. All texts are bounded and without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// What it was written in.
    pub format: Format,
    /// What it is about.
    pub kind: Kind,
    /// The category and type in the report's own words, such as `connection/port_scan` or `abuse`; of a letter empty.
    pub said: String,
    /// Where it came from: an address, or a network.
    pub source: Option<IpNet>,
    /// How the source came to be known.
    pub found: Found,
    /// Other addresses that stand in a letter, likeliest first: one of them may be the source.
    pub others: Vec<IpNet>,
    /// The source's port.
    pub port: Option<u16>,
    /// What was attacked: an address or host, where that is said.
    pub target: String,
    /// The port that was attacked.
    pub target_port: Option<u16>,
    /// The transport or service, such as `tcp` or `ssh`.
    pub protocol: String,
    /// Hosts that the source is named by.
    pub hosts: Vec<String>,
    /// URLs that it is about.
    pub urls: Vec<String>,
    /// When it was seen; the first time, if several are said.
    pub seen_at: Option<Timestamp>,
    /// How often it was seen, where that is said.
    pub incidents: Option<u64>,
    /// How sure the reporter is, 0 to 100.
    pub confidence_percent: Option<u8>,
    /// Who complains.
    pub reporter: Reporter,
    /// What the reporter calls this report.
    pub reported_id: Option<String>,
    /// The `Message-ID` of the mail that it came in, to answer to.
    pub message_id: Option<String>,
    /// The subject of that mail, or empty.
    pub subject: String,
    /// What the reporter says.
    pub text: String,
    /// Header fields of the mail that is complained about, without those that name its recipients. Its body is never kept.
    pub header: Vec<Field>,
    /// What came as evidence, without its content.
    pub evidence: Vec<Attachment>,
    /// What is to be taken down.
    pub takedown: Option<Takedown>,
}

impl Complaint {
    /// One that says nothing yet.
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            kind: Kind::Other,
            said: String::new(),
            source: None,
            found: Found::Nowhere,
            others: Vec::new(),
            port: None,
            target: String::new(),
            target_port: None,
            protocol: String::new(),
            hosts: Vec::new(),
            urls: Vec::new(),
            seen_at: None,
            incidents: None,
            confidence_percent: None,
            reporter: Reporter::default(),
            reported_id: None,
            message_id: None,
            subject: String::new(),
            text: String::new(),
            header: Vec::new(),
            evidence: Vec::new(),
            takedown: None,
        }
    }

    /// What two copies of one report have in common, and two reports have not.
    ///
    /// Where the reporter names reports: who, which, and about what source. Else who complains of what kind of abuse by which source (or
    /// hosts and URLs) in which hour; and where not even the time is said, in which words.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            // With its length before it, so that no two lists of texts are one string.
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        add("reeve-complaint-v1");
        add(&self.reporter.domain);
        add(&self.source.map(|source| source.to_string()).unwrap_or_default());
        if self.source.is_none() {
            self.hosts.iter().chain(&self.urls).for_each(|name| add(name));
        }
        if let Some(id) = &self.reported_id {
            add("id");
            add(id);
        } else {
            add("hour");
            add(&self.reporter.email.to_ascii_lowercase());
            add(self.kind.name());
            match self.seen_at {
                Some(at) => add(&(at.as_nanos() / HOUR_NANOS).to_string()),
                None => add(&self.text),
            }
        }
        Fingerprint(hash.finalize().into())
    }

    /// The bytes of all texts in it: bounded, however large the report was ([`MAX_COMPLAINT_BYTES`](crate::MAX_COMPLAINT_BYTES)).
    #[must_use]
    pub fn bytes(&self) -> usize {
        let lists: usize = [&self.hosts, &self.urls].into_iter().flatten().map(String::len).sum();
        let takedown =
            self.takedown.iter().flat_map(|takedown| takedown.urls.iter().chain(&takedown.legal_basis));
        let header = self.header.iter().map(|field| field.name.len() + field.value.len());
        let evidence =
            self.evidence.iter().map(|one| one.content_type.len() + one.description.len() + one.hash.len());
        let reporter = &self.reporter;
        let texts = [
            &self.said,
            &self.target,
            &self.protocol,
            &self.subject,
            &self.text,
            &reporter.org,
            &reporter.email,
        ]
        .into_iter()
        .chain([&reporter.domain])
        .chain(&self.reported_id)
        .chain(&self.message_id)
        .chain(takedown);
        lists + texts.map(String::len).sum::<usize>() + header.sum::<usize>() + evidence.sum::<usize>()
    }
}

const HOUR_NANOS: u64 = 3_600_000_000_000;

/// What copies of one report have in common: a SHA-256 hash, written in hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Complaint {
        let mut one = Complaint::new(Format::Arf);
        one.source = Some("203.0.113.7/32".parse().unwrap());
        one.reporter.domain = "example.net".into();
        one.kind = Kind::Spam;
        one.seen_at = Some(Timestamp::from_secs(1_700_000_000));
        one
    }

    #[test]
    fn copies_have_one_fingerprint_and_others_have_not() {
        let first = one();
        let mut copy = one();
        copy.text = "worded otherwise".into();
        copy.seen_at = Some(Timestamp::from_secs(1_700_000_000 + 60));
        assert_eq!(first.fingerprint(), copy.fingerprint());
        let changes: [fn(&mut Complaint); 5] = [
            |one| one.source = Some("203.0.113.8/32".parse().unwrap()),
            |one| one.reporter.domain = "example.org".into(),
            |one| one.kind = Kind::Scan,
            |one| one.seen_at = Some(Timestamp::from_secs(1_700_003_700)),
            |one| one.reported_id = Some("7".into()),
        ];
        for change in changes {
            let mut other = one();
            change(&mut other);
            assert_ne!(first.fingerprint(), other.fingerprint());
        }
        let (mut named, mut again) = (one(), one());
        named.reported_id = Some("7".into());
        (again.reported_id, again.seen_at) = (Some("7".into()), None);
        assert_eq!(named.fingerprint(), again.fingerprint());
        assert_eq!(first.fingerprint().to_string().len(), 64);
    }

    #[test]
    fn a_complaint_comes_back_from_json() {
        let mut one = one();
        one.takedown = Some(Takedown { deadline: Some(Deadline::Within(24)), ..Takedown::default() });
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Complaint>(&text).unwrap(), one);
    }
}
