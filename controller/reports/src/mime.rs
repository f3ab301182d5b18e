//! A mail as its parts: header fields read, multiparts opened, bodies left as they are until somebody wants one.
//!
//! What every mail program does otherwise (header fields, encoded words, parameters, transfer encodings, charsets, HTML) is the `mail-parser`
//! crate's. The walk over the parts is our own, since nothing there bounds how deep it goes or how many there are; docs/adr/0017 says more.

use std::borrow::Cow;

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::html::html_to_text;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{Address, HeaderName, HeaderValue, Message, MessageParser};

use crate::complaint::{Field, MAX_FIELDS, MAX_LINE, Reporter};
use crate::{source, words};

/// How deep multiparts are opened.
const MAX_DEPTH: usize = 8;
/// How many parts a mail may have; further ones are not looked at.
const MAX_PARTS: usize = 64;
/// How much of a header is read. A header field of ours takes forty times what it takes in the mail, if it is as short as can be.
pub(crate) const MAX_HEADER_BYTES: usize = 256 << 10;
/// How much of a text is decoded.
const MAX_TEXT_BYTES: usize = 256 << 10;
/// How many links of a page are looked at.
const MAX_LINKS: usize = 200;
/// The longest boundary (RFC 2046, section 5.1.1, allows 70).
const MAX_BOUNDARY: usize = 200;

/// What a header says of a mail or part.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// `text/plain`, in lower case; what is not said is that (RFC 2045, section 5.2).
    pub kind: String,
    boundary: Option<String>,
    charset: Option<String>,
    encoding: String,
    /// The parameter `report-type` of a `multipart/report`, in lower case.
    pub report_type: String,
    /// The name of a file.
    pub name: String,
    /// The subject.
    pub subject: String,
    /// `Message-ID`, without its brackets.
    pub message_id: Option<String>,
    /// Whom it is from.
    pub from: Reporter,
    /// All fields, as many as are kept.
    pub fields: Vec<Field>,
}

impl Head {
    /// The header that `bytes` begin with, and where what follows it begins. `None` if there is no field.
    pub fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let end = header_end(bytes);
        let raw = &bytes[..end.min(MAX_HEADER_BYTES)];
        let parser = MessageParser::new()
            .with_mime_headers()
            .header_text(HeaderName::Subject)
            .header_address(HeaderName::From)
            .header_id(HeaderName::MessageId)
            .default_header_raw();
        let message = parser.parse_headers(raw)?;
        // RFC 5322, section 2.2: a name is of printable ASCII. Where there is none, nothing here is a header.
        let is_field = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        let has_fields = message.headers().iter().any(|header| is_field(header.name.as_str()));
        has_fields.then(|| (Self::of(&message), end))
    }

    /// That of a part that has none.
    fn none() -> Self {
        Self { kind: "text/plain".into(), ..Self::default() }
    }

    fn of(message: &Message<'_>) -> Self {
        let mut head = Self::none();
        for header in message.headers() {
            match (&header.name, &header.value) {
                (HeaderName::ContentType, HeaderValue::ContentType(kind)) => {
                    let sub = kind.subtype().unwrap_or_default();
                    head.kind = words::line(&format!("{}/{sub}", kind.ctype()), 200).to_ascii_lowercase();
                    head.boundary = kind
                        .attribute("boundary")
                        .map(|boundary| words::head(boundary, MAX_BOUNDARY).to_owned());
                    head.charset =
                        kind.attribute("charset").map(|charset| words::head(charset, 40).to_owned());
                    head.report_type = words::line(kind.attribute("report-type").unwrap_or_default(), 60)
                        .to_ascii_lowercase();
                    if let Some(name) = kind.attribute("name") {
                        head.name = words::line(name, 200);
                    }
                }
                (HeaderName::ContentDisposition, HeaderValue::ContentType(disposition)) => {
                    if let Some(name) = disposition.attribute("filename") {
                        head.name = words::line(name, 200);
                    }
                }
                (HeaderName::ContentTransferEncoding, HeaderValue::Text(encoding)) => {
                    head.encoding = words::line(encoding, 40).to_ascii_lowercase();
                }
                (HeaderName::Subject, HeaderValue::Text(subject)) => {
                    head.subject = words::line(subject, MAX_LINE)
                }
                (HeaderName::MessageId, HeaderValue::Text(id)) => head.message_id = words::some_line(id, 400),
                (HeaderName::From, HeaderValue::Address(from)) => head.from = reporter(from),
                _ => {}
            }
            // What was read as something else than text is kept as it was written.
            let value = match &header.value {
                HeaderValue::Text(value) => Cow::Borrowed(value.as_ref()),
                _ => {
                    let written =
                        message.raw_message.get(header.offset_start as usize..header.offset_end as usize);
                    String::from_utf8_lossy(written.unwrap_or_default())
                }
            };
            if head.fields.len() < 4 * MAX_FIELDS {
                let value = words::line(&value, MAX_LINE);
                head.fields.push(Field { name: words::line(header.name.as_str(), 80), value });
            }
        }
        head
    }

    /// The values of the fields of this name.
    pub fn values<'h, 'n>(&'h self, name: &'n str) -> impl Iterator<Item = &'h str> + use<'h, 'n> {
        self.fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value.as_str())
    }

    /// The first value of a field that is not empty.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name).find(|value| !value.is_empty())
    }
}

fn reporter(from: &Address<'_>) -> Reporter {
    let first = match from {
        Address::List(list) => list.first(),
        Address::Group(groups) => groups.iter().find_map(|group| group.addresses.first()),
    };
    let email = first.and_then(|first| first.address.as_deref()).unwrap_or_default();
    let mut reporter = mailbox(email);
    reporter.org = words::line(first.and_then(|first| first.name.as_deref()).unwrap_or_default(), 200);
    reporter
}

/// Who has a mailbox, as far as its address says. What is no address is nobody's.
pub(crate) fn mailbox(email: &str) -> Reporter {
    let email = words::line(email.trim_matches(['<', '>', ' ']), 320);
    match email
        .rsplit_once('@')
        .and_then(|(local, domain)| source::host(domain).filter(|_| !local.is_empty()))
    {
        Some(domain) => Reporter { org: String::new(), email, domain },
        None => Reporter::default(),
    }
}

/// Where the header ends: behind its first empty line, or at the end.
pub(crate) fn header_end(bytes: &[u8]) -> usize {
    let mut start = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        start += line.len();
        // An empty line that comes first is none of a header.
        if start > line.len() && (line == b"\n" || line == b"\r\n") {
            return start;
        }
    }
    bytes.len()
}

/// A part that is no multipart.
#[derive(Debug)]
pub(crate) struct Part<'m> {
    /// Its header.
    pub head: Head,
    body: &'m [u8],
}

impl<'m> Part<'m> {
    /// How long it is, encoded.
    pub fn encoded_len(&self) -> usize {
        self.body.len()
    }

    /// What is in it, decoded. What cannot be decoded is left as it is.
    pub fn bytes(&self) -> Cow<'m, [u8]> {
        self.decoded(self.body.len())
    }

    /// The first bytes of it.
    pub fn first_bytes(&self) -> Cow<'m, [u8]> {
        self.decoded(MAX_TEXT_BYTES)
    }

    fn decoded(&self, max: usize) -> Cow<'m, [u8]> {
        let body = &self.body[..self.body.len().min(max)];
        let decoded = match self.head.encoding.as_str() {
            "base64" => base64_decode(body),
            "quoted-printable" => quoted_printable_decode(body),
            _ => None,
        };
        decoded.map_or(Cow::Borrowed(body), Cow::Owned)
    }

    /// Its first quarter of a megabyte as text.
    pub fn text(&self) -> String {
        let bytes = self.first_bytes();
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => {
                match self.head.charset.as_deref().and_then(|charset| charset_decoder(charset.as_bytes())) {
                    Some(decode) => decode(&bytes),
                    None => String::from_utf8_lossy(&bytes).into_owned(),
                }
            }
        };
        if self.head.kind == "text/html" { html_to_text(words::head(&text, MAX_TEXT_BYTES)) } else { text }
    }

    /// Where the links of a page lead, which its text does not tell.
    pub fn links(&self) -> Vec<String> {
        if self.head.kind != "text/html" {
            return Vec::new();
        }
        let page = self.first_bytes();
        let page = String::from_utf8_lossy(&page);
        let ends = |letter: char| matches!(letter, '"' | '\'' | '>') || letter.is_whitespace();
        page.match_indices("href=")
            .take(MAX_LINKS)
            .filter_map(|(at, mark)| {
                let rest =
                    words::head(&page[at + mark.len()..], 4 * MAX_LINE).trim_start_matches(['"', '\'']);
                rest.split(ends).next().map(|link| link.replace("&amp;", "&"))
            })
            .collect()
    }

    /// The header of a mail that is enclosed, or of which the header is.
    pub fn enclosed(&self) -> Option<Head> {
        Head::read(&self.first_bytes()).map(|(head, _)| head)
    }
}

/// A mail.
#[derive(Debug)]
pub(crate) struct Mail<'m> {
    /// Its own header.
    pub head: Head,
    /// Its parts that are no multiparts, in order; the first ones.
    pub parts: Vec<Part<'m>>,
}

impl<'m> Mail<'m> {
    /// Reads a mail; `None` if there is no header.
    pub fn read(bytes: &'m [u8]) -> Option<Self> {
        let (head, end) = Head::read(bytes)?;
        let mut parts = Vec::new();
        let body = &bytes[end..];
        match &head.boundary {
            Some(boundary) if head.kind.starts_with("multipart/") => open(body, boundary, 1, &mut parts),
            _ => parts.push(Part { head: Head::read(bytes)?.0, body }),
        }
        Some(Self { head, parts })
    }

    /// The parts of one of these types.
    pub fn of_kind<'a>(&'a self, kinds: &'a [&str]) -> impl Iterator<Item = &'a Part<'m>> {
        self.parts.iter().filter(|part| kinds.contains(&part.head.kind.as_str()))
    }
}

/// Opens a multipart.
fn open<'m>(body: &'m [u8], boundary: &str, depth: usize, parts: &mut Vec<Part<'m>>) {
    for piece in pieces(body, boundary) {
        if parts.len() >= MAX_PARTS {
            return;
        }
        let (head, end) = match piece {
            // Without a header: a part begins with the empty line behind it (RFC 2046, section 5.1).
            [b'\n', ..] => (Head::none(), 1),
            [b'\r', b'\n', ..] => (Head::none(), 2),
            _ => Head::read(piece).unwrap_or_else(|| (Head::none(), 0)),
        };
        let inner = &piece[end..];
        match &head.boundary {
            Some(boundary) if head.kind.starts_with("multipart/") && depth < MAX_DEPTH => {
                open(inner, boundary, depth + 1, parts);
            }
            _ => parts.push(Part { head, body: inner }),
        }
    }
}

/// What stands between the lines of a boundary. Without the last of them the rest is the last part.
fn pieces<'m>(body: &'m [u8], boundary: &str) -> Vec<&'m [u8]> {
    let mut pieces = Vec::new();
    let (mut start, mut at) = (None, 0);
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let rest = line.strip_prefix(b"--").and_then(|rest| rest.strip_prefix(boundary.as_bytes()));
        // A longer boundary may begin with this one.
        if let Some(rest) = rest
            && !boundary.is_empty()
            && (rest.starts_with(b"--") || rest.iter().all(u8::is_ascii_whitespace))
        {
            if let Some(start) = start {
                pieces.push(without_end(&body[start..at]));
            }
            if rest.starts_with(b"--") || pieces.len() >= MAX_PARTS {
                return pieces;
            }
            start = Some(at + line.len());
        }
        at += line.len();
    }
    if let Some(start) = start {
        pieces.push(&body[start..]);
    }
    pieces
}

/// Without the line end that belongs to the boundary behind it.
fn without_end(piece: &[u8]) -> &[u8] {
    let piece = piece.strip_suffix(b"\n").unwrap_or(piece);
    piece.strip_suffix(b"\r").unwrap_or(piece)
}

/// The fields of a mail that is complained about, without those that name who got it: whoever complains is not to be told to
/// the one complained about.
pub(crate) fn kept(head: &Head) -> Vec<Field> {
    const RECIPIENTS: [&str; 18] = [
        "to",
        "cc",
        "bcc",
        "delivered-to",
        "x-delivered-to",
        "original-recipient",
        "original-rcpt-to",
        "x-original-to",
        "envelope-to",
        "x-envelope-to",
        "apparently-to",
        "x-apparently-to",
        "x-rcpt-to",
        "x-real-to",
        "resent-to",
        "resent-cc",
        "resent-bcc",
        "x-forwarded-to",
    ];
    let names_recipient =
        |field: &&Field| RECIPIENTS.iter().any(|name| field.name.eq_ignore_ascii_case(name));
    head.fields.iter().filter(|field| !names_recipient(field)).take(MAX_FIELDS).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiparts_are_opened_and_bodies_decoded() {
        let mail = b"From: =?utf-8?q?J=C3=B6rg?= <j@Example.net>\r\nSubject: =?iso-8859-1?q?=E4?=\r\n folded\r\nMessage-ID: <1@x>\r\n\
            Content-Type: multipart/mixed; boundary=\"b b\"\r\n\r\npreamble\r\n--b b\r\n\r\nno header\r\n--b b\r\n\
            Content-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\
            Content-Transfer-Encoding: quoted-printable\r\n\r\nb=E4r=\r\n!\r\n--c\r\nContent-Type: text/html\r\n\
            Content-Transfer-Encoding: base64\r\n\r\nPGI+aGk8L2I+\r\n--c--\r\n--b b\r\nContent-Type: message/rfc822\r\n\r\n\
            Subject: inner\r\nTo: victim@x.example\r\n\r\nbody";
        let mail = Mail::read(mail).unwrap();
        assert_eq!((mail.head.subject.as_str(), mail.head.message_id.as_deref()), ("ä folded", Some("1@x")));
        assert_eq!((mail.head.from.org.as_str(), mail.head.from.domain.as_str()), ("Jörg", "example.net"));
        let texts: Vec<String> = mail.parts.iter().map(Part::text).collect();
        assert_eq!((texts[0].as_str(), texts[1].as_str(), texts[2].trim()), ("no header", "bär!", "hi"));
        let enclosed = mail.of_kind(&["message/rfc822"]).next().unwrap().enclosed().unwrap();
        assert_eq!(kept(&enclosed), [Field { name: "Subject".into(), value: "inner".into() }]);
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let mut deep = String::from("Subject: x\n");
        for level in 0..200 {
            deep.push_str(&format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n"));
        }
        assert!(Mail::read(deep.as_bytes()).unwrap().parts.len() <= MAX_PARTS);
        let wide = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\nx\n".repeat(5_000));
        assert_eq!(Mail::read(wide.as_bytes()).unwrap().parts.len(), MAX_PARTS);
        assert!(Mail::read(b"").is_none());
    }
}
