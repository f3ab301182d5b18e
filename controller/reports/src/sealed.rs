//! What of a message is encrypted by OpenPGP, and what the message is once somebody has opened that.
//!
//! PGP/MIME (RFC 3156) encrypts a whole entity, with its own header; other programs put the armour into the text, or into an attachment.
//! Whoever has the key opens it; here nothing is. What is only signed is no matter of this: it is read as it is, and the signature is not judged.

use crate::mime::{self, Head, Mail};
use crate::words;

const BEGIN: &[u8] = b"-----BEGIN PGP MESSAGE-----";
const END: &[u8] = b"-----END PGP MESSAGE-----";

/// What is encrypted in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    bytes: Vec<u8>,
    form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// The message is nothing else, and no mail.
    Bare,
    /// An entity of MIME.
    Entity,
    /// A piece of a text, with what stands around it.
    Text(String, String),
}

impl Sealed {
    /// What is encrypted in a message, if that is what it is about: a program's report that has something encrypted beside it is none.
    #[must_use]
    pub fn of(message: &[u8]) -> Option<Self> {
        if Self::is_bare(message) {
            let (_, bytes, _) = armour(message.trim_ascii_start())?;
            return Some(Self { bytes: bytes.to_vec(), form: Form::Bare });
        }
        Self::in_mail(&Mail::read(message)?)
    }

    /// Whether a message is something encrypted and nothing else, and so no mail.
    pub(crate) fn is_bare(message: &[u8]) -> bool {
        message.trim_ascii_start().starts_with(BEGIN)
    }

    pub(crate) fn in_mail(mail: &Mail<'_>) -> Option<Self> {
        let is_report = |part: &mime::Part<'_>| {
            part.head.kind == "message/feedback-report" || crate::read::may_be_json(part)
        };
        if mail.parts.iter().any(is_report) {
            return None;
        }
        // Some servers make another multipart of a `multipart/encrypted`; its parts stay what they are.
        let is_version = |part: &mime::Part<'_>| part.head.kind == "application/pgp-encrypted";
        let is_entity = mail.head.kind == "multipart/encrypted" || mail.parts.iter().any(is_version);
        if is_entity {
            let mut parts = mail.parts.iter().filter(|part| !is_version(part));
            let bytes = parts.find_map(|part| {
                let bytes = part.bytes();
                let is_it = armour(&bytes).is_some() || part.head.kind == "application/octet-stream";
                is_it.then(|| bytes.into_owned())
            })?;
            return Some(Self { bytes, form: Form::Entity });
        }
        mail.parts.iter().find_map(|part| {
            let name = part.head.name.to_ascii_lowercase();
            let is_named = [".asc", ".pgp", ".gpg"].iter().any(|end| name.ends_with(end));
            if part.head.kind != "text/plain" && !is_named {
                return None;
            }
            let whole = part.bytes();
            let (before, bytes, after) = armour(&whole)?;
            let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
            Some(Self { bytes: bytes.to_vec(), form: Form::Text(text(before), text(after)) })
        })
    }

    /// What is encrypted: in armour, or without.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether nothing can be read unless it is opened: it is not a letter that holds something encrypted further down.
    #[must_use]
    pub fn is_all(&self) -> bool {
        match &self.form {
            Form::Bare | Form::Entity => true,
            Form::Text(before, _) => before.trim().is_empty(),
        }
    }

    /// The message as it would have come if it were not encrypted.
    #[must_use]
    pub fn opened(&self, message: &[u8], content: &[u8]) -> Vec<u8> {
        match &self.form {
            Form::Bare => content.to_vec(),
            Form::Entity => {
                // The header of the entity comes last, and so its subject counts, and not the one that all could read.
                let mut mail = outer(message);
                if Head::read(content).is_none() {
                    mail.extend_from_slice(b"\r\n");
                }
                mail.extend_from_slice(content);
                mail
            }
            Form::Text(before, after) => {
                let mut mail = outer(message);
                mail.extend_from_slice(
                    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
                );
                let is_json = matches!(content.trim_ascii_start().first(), Some(b'{' | b'['));
                if is_json {
                    mail.extend_from_slice(content);
                } else {
                    let around = |text| words::head(text, 64 << 10).as_bytes();
                    [around(before), content, around(after)]
                        .iter()
                        .for_each(|piece| mail.extend_from_slice(piece));
                }
                mail
            }
        }
    }
}

/// What stands before the armour of a message, the armour, and what stands behind. Without its last line it goes to the end.
fn armour(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let line = |mark: &[u8], from: usize| {
        let found = text.get(from..)?.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark);
        found.map(|(at, _)| from + at).find(|at| *at == 0 || text[at - 1] == b'\n')
    };
    let begin = line(BEGIN, 0)?;
    let end = line(END, begin).map_or(text.len(), |at| at + END.len());
    Some((&text[..begin], &text[begin..end], &text[end..]))
}

/// The fields of a mail's header that do not say what its body is.
fn outer(message: &[u8]) -> Vec<u8> {
    let header = &message[..mime::header_end(message)];
    let (mut kept, mut is_kept) = (Vec::with_capacity(header.len()), false);
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        if line.trim_ascii().is_empty() {
            continue;
        }
        if !matches!(line[0], b' ' | b'\t') {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default().to_ascii_lowercase();
            is_kept = !name.starts_with(b"content-") && name != b"mime-version";
        }
        if is_kept {
            kept.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
            kept.push(b'\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: &str = "-----BEGIN PGP MESSAGE-----\n\nhQEMA\n-----END PGP MESSAGE-----";

    fn mail(kind: &str, body: &str) -> String {
        format!(
            "From: a@reader.example\nSubject: ...\nMIME-Version: 1.0\nContent-Type: {kind}\nX-Long: a\n b\n\n{body}"
        )
    }

    fn opened(message: &str, content: &str) -> Option<String> {
        let sealed = Sealed::of(message.as_bytes())?;
        assert!(sealed.bytes().starts_with(BEGIN) && sealed.bytes().ends_with(END), "{sealed:?}");
        Some(String::from_utf8(sealed.opened(message.as_bytes(), content.as_bytes())).unwrap())
    }

    #[test]
    fn what_is_encrypted_is_found_and_its_place_taken() {
        let outer = "From: a@reader.example\nSubject: ...\nX-Long: a\n b\n";
        let version = "Content-Type: application/pgp-encrypted\n\nVersion: 1\n";
        let parts = format!("--b\n{version}--b\nContent-Type: application/octet-stream\n\n{BOX}\n--b--\n");
        let entity = "Subject: the real one\nContent-Type: text/plain\n\nhello";
        // As it is to be, and as one mail server is known to break it.
        for kind in [
            "multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b",
            "multipart/mixed; boundary=b",
        ] {
            assert_eq!(opened(&mail(kind, &parts), entity).unwrap(), format!("{outer}{entity}"), "{kind}");
        }
        let bare = opened(&mail("multipart/encrypted; boundary=b", &parts), "no header").unwrap();
        assert_eq!(bare, format!("{outer}\r\nno header"));
        let text = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n";
        let inline = mail("text/plain", &format!("Hello,\n{BOX}\n-- \nme"));
        assert_eq!(
            opened(&inline, "it is 203.0.113.7").unwrap(),
            format!("{outer}{text}Hello,\nit is 203.0.113.7\n-- \nme")
        );
        assert!(!Sealed::of(inline.as_bytes()).unwrap().is_all());
        assert_eq!(opened(&inline, "{\"a\":1}").unwrap(), format!("{outer}{text}{{\"a\":1}}"));
        assert!(Sealed::of(mail("text/plain", &format!("\n\n{BOX}")).as_bytes()).unwrap().is_all());
        let attached = mail(
            "multipart/mixed; boundary=b",
            &format!(
                "--b\n\nsee there\n--b\nContent-Type: application/octet-stream; name=x.txt.asc\n\n{BOX}\n--b--\n"
            ),
        );
        assert_eq!(opened(&attached, "x").unwrap(), format!("{outer}{text}x"));
        assert_eq!(opened(&format!("\n{BOX}"), "anything").unwrap(), "anything");
    }

    #[test]
    fn what_is_signed_or_quoted_or_beside_a_report_is_not_encrypted() {
        for (kind, body) in [
            ("text/plain", "hello".to_owned()),
            ("text/plain", format!("> {}", BOX.replace('\n', "\n> "))),
            ("text/plain", "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nhello".to_owned()),
            (
                "multipart/signed; boundary=b",
                "--b\n\nhello\n--b\nContent-Type: application/pgp-signature\n\nx\n--b--".to_owned(),
            ),
            (
                "multipart/mixed; boundary=b",
                format!(
                    "--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n--b\n\n{BOX}\n--b--"
                ),
            ),
            (
                "multipart/mixed; boundary=b",
                format!("--b\nContent-Type: message/rfc822\n\nSubject: x\n\n{BOX}\n--b--"),
            ),
            ("multipart/encrypted; boundary=b", String::new()),
        ] {
            assert_eq!(Sealed::of(mail(kind, &body).as_bytes()), None, "{kind}: {body}");
        }
        assert_eq!(Sealed::of(b""), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_it(bytes: Vec<u8>, cut in 0_usize..400) {
            let whole = mail("multipart/encrypted; boundary=b", &format!("--b\nContent-Type: application/pgp-encrypted\n\n--b\n\n{BOX}\n"));
            let cut = &whole.as_bytes()[..cut.min(whole.len())];
            for message in [bytes.as_slice(), cut, &[cut, &bytes].concat()] {
                if let Some(sealed) = Sealed::of(message) {
                    let mail = sealed.opened(message, &bytes);
                    let _ = Sealed::of(&mail);
                }
            }
        }
    }
}
