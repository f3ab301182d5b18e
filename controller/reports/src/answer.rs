//! Whether a program may answer a mail by itself, and to whom: RFC 3834, read by whoever would rather not answer.
//!
//! What comes to an address for abuse is forged more often than elsewhere, and written by programs most of the time. An answer to a forged
//! mail harasses somebody who wrote nothing, and two programs that answer each other never end. So a mail is answered only where everything about it says
//! that somebody wrote it, and waits for an answer: it came by a path that can be answered (`Return-Path`), from one address that is no program's, and
//! no field says that a program sent it, or to many.
//!
//! Left out: whether who it says it is from wrote it. The mail server knows that (SPF, DKIM, DMARC), and refuses it before.

use mail_parser::{Address, HeaderName, HeaderValue, MessageParser};
use reeve_policy::Mailbox;

use crate::complaint::{Complaint, Format, MAX_FIELDS};
use crate::mime::{Head, MAX_HEADER_BYTES};
use crate::words;

/// Why a mail is answered by no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// It has no header that can be read whole.
    #[error("its header cannot be read whole")]
    Header,
    /// It does not say which way it came.
    #[error("it has no `Return-Path`")]
    NoPath,
    /// It came from nobody: a message about another one that could not be delivered.
    #[error("its `Return-Path` is empty, or a program's")]
    NullPath,
    /// A field says that a program sent it, or to many.
    #[error("a field says that a program sent it, or to many")]
    Automatic,
    /// It reports in a form for programs: about delivery, reading, or of a feedback loop.
    #[error("it is a report in a form for programs")]
    Report,
    /// It says not, or not clearly, whom it is from.
    #[error("it is not from one address")]
    NotOne,
    /// It is from an address at which nobody reads.
    #[error("nobody reads at the address that it is from")]
    Robot,
}

/// Words of which an address has one whole between points, dashes, underscores and plus signs, where nobody reads at it.
const ROBOTS: [&str; 16] = [
    "mailer",
    "daemon",
    "postmaster",
    "noreply",
    "bounce",
    "bounces",
    "nobody",
    "root",
    "majordomo",
    "listserv",
    "mailman",
    "autoreply",
    "autoresponder",
    "donotreply",
    "owner",
    "request",
];
/// Texts that give an address away wherever they stand in it.
const GIVES_AWAY: [&str; 9] = [
    "no-reply",
    "no_reply",
    "no.reply",
    "noreply",
    "do-not-reply",
    "do_not_reply",
    "do.not.reply",
    "donotreply",
    "notreply",
];
/// What addresses begin with that a server made for the way back (SRS, BATV).
const REWRITTEN: [&str; 3] = ["srs0", "srs1", "prvs"];

/// To whom a mail may be answered by a program.
///
/// # Errors
/// Why to nobody.
pub fn answer_to(bytes: &[u8]) -> Result<Mailbox, Unanswerable> {
    let (head, end) = Head::read(bytes).ok_or(Unanswerable::Header)?;
    // Of a header that is cut the field may be missing that says not to.
    if end > MAX_HEADER_BYTES || head.fields.len() >= 4 * MAX_FIELDS {
        return Err(Unanswerable::Header);
    }
    let path = head.values("Return-Path").next().ok_or(Unanswerable::NoPath)?;
    let path: Mailbox = path.trim().trim_matches(['<', '>']).parse().map_err(|_| Unanswerable::NullPath)?;
    if is_robot(&path) {
        return Err(Unanswerable::NullPath);
    }
    if is_automatic(&head) {
        return Err(Unanswerable::Automatic);
    }
    let kind = head.kind.as_str();
    if kind == "multipart/report" || kind.starts_with("message/") {
        return Err(Unanswerable::Report);
    }
    let from = one_of(&bytes[..end])?;
    if may_be_answered(&from) { Ok(from) } else { Err(Unanswerable::Robot) }
}

/// Whether a person may read at this address, by its name.
#[must_use]
pub fn may_be_answered(mailbox: &Mailbox) -> bool {
    let text = mailbox.to_string().to_ascii_lowercase();
    !is_robot(mailbox) && !REWRITTEN.iter().any(|mark| text.starts_with(mark))
}

/// Whether a complaint that came by mail is one that is answered: it was written for people, or in XARF, and names what a provider has. Advertising
/// that comes to the address for abuse names hosts alone.
#[must_use]
pub fn is_answered(complaint: &Complaint) -> bool {
    match complaint.format {
        Format::Arf => false,
        Format::Plain => {
            complaint.source.is_some() || !complaint.others.is_empty() || complaint.takedown.is_some()
        }
        Format::Xarf4 | Format::Xarf3 | Format::XArf02 | Format::Form => true,
    }
}

fn is_robot(mailbox: &Mailbox) -> bool {
    let text = mailbox.to_string().to_ascii_lowercase();
    let local = text.rsplit_once('@').map_or(text.as_str(), |(local, _)| local);
    local.split(['.', '-', '_', '+', '=']).any(|word| ROBOTS.contains(&word))
        || GIVES_AWAY.iter().any(|mark| local.contains(mark))
}

/// Whether a field says that a program sent it, or to many.
fn is_automatic(head: &Head) -> bool {
    // RFC 3834, section 5: `no`, perhaps with a comment or parameters behind it.
    let is_no = |value: &str| {
        let word = value.split([';', '(', ' ']).next().unwrap_or_default();
        word.eq_ignore_ascii_case("no")
    };
    let says = |name: &str, marks: &[&str]| {
        head.values(name).any(|value| {
            let value = value.to_ascii_lowercase();
            marks.iter().any(|mark| value.contains(mark))
        })
    };
    let is_any = |names: &[&str]| {
        head.fields.iter().any(|field| names.iter().any(|name| field.name.eq_ignore_ascii_case(name)))
    };
    let is_list = |name: &str| name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("list-"));
    head.values("Auto-Submitted").any(|value| !is_no(value))
        || says("Precedence", &["bulk", "list", "junk", "auto"])
        || says("X-Auto-Response-Suppress", &["all", "oof", "autoreply"])
        || is_any(&[
            "X-Autoreply",
            "X-Autorespond",
            "X-Autoresponder",
            "X-Loop",
            "X-Failed-Recipients",
            "Feedback-ID",
            "X-Mailing-List",
            "Mailing-List",
            "X-BeenThere",
        ])
        || head.fields.iter().any(|field| is_list(&field.name))
}

/// The one address that answers go to: of `Reply-To`, else of `From`.
fn one_of(header: &[u8]) -> Result<Mailbox, Unanswerable> {
    let parser = MessageParser::new()
        .header_address(HeaderName::From)
        .header_address(HeaderName::ReplyTo)
        .default_header_ignore();
    let message = parser.parse_headers(header).ok_or(Unanswerable::Header)?;
    let all = |name: &HeaderName<'_>| -> Vec<String> {
        let fields = message.headers().iter().filter(|header| header.name == *name);
        fields
            .flat_map(|header| match &header.value {
                HeaderValue::Address(Address::List(list)) => {
                    list.iter().map(|one| one.address.as_deref().unwrap_or_default().to_owned()).collect()
                }
                // A group, or nothing that is an address: it is not one.
                _ => vec![String::new(), String::new()],
            })
            .collect()
    };
    let (from, reply) = (all(&HeaderName::From), all(&HeaderName::ReplyTo));
    // Whatever is answered to: a mail is from one.
    let (1, 0 | 1) = (from.len(), reply.len()) else { return Err(Unanswerable::NotOne) };
    let from: Mailbox = from[0].parse().map_err(|_| Unanswerable::NotOne)?;
    if !may_be_answered(&from) {
        return Err(Unanswerable::Robot);
    }
    match reply.first() {
        Some(reply) => reply.parse().map_err(|_| Unanswerable::NotOne),
        None => Ok(from),
    }
}

/// A `Message-ID` as it can stand in a field of an answer, in its brackets; nothing where it could be anything else.
#[must_use]
pub fn message_id(id: &str) -> Option<String> {
    let is_sound = id.len() <= 200
        && id.split('@').filter(|part| !part.is_empty()).count() == 2
        && id.split('@').count() == 2
        && id.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>(),;:\\\"[]".contains(&byte));
    is_sound.then(|| format!("<{}>", words::line(id, 200)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "Return-Path: <ann@reader.example>\r\nFrom: Ann <Ann@reader.example>\r\nSubject: scan\r\n";

    fn check(header: &str, expect: Result<&str, Unanswerable>) {
        let mail = format!("{header}\r\nA portscan came from 203.0.113.7.\r\n");
        let found = answer_to(mail.as_bytes()).map(|mailbox| mailbox.to_string());
        assert_eq!(found, expect.map(str::to_owned), "{header}");
    }

    #[test]
    fn a_letter_is_answered_to_whoever_it_says() {
        check(PLAIN, Ok("Ann@reader.example"));
        check(&format!("{PLAIN}Auto-Submitted: no\r\nPrecedence: normal\r\n"), Ok("Ann@reader.example"));
        check(&format!("{PLAIN}auto-submitted: No (a person)\r\n"), Ok("Ann@reader.example"));
        check(&format!("{PLAIN}Reply-To: desk@cert.example\r\n"), Ok("desk@cert.example"));
        // As a maildir has it.
        check(&PLAIN.replace('\r', ""), Ok("Ann@reader.example"));
    }

    #[test]
    fn what_a_program_sent_is_not_answered() {
        use Unanswerable::{Automatic, Header, NoPath, NullPath, Report};
        for (path, why) in [
            ("", NoPath),
            ("Return-Path: <>\r\n", NullPath),
            ("Return-Path:\r\n", NullPath),
            ("Return-Path: <MAILER-DAEMON@mx.example>\r\n", NullPath),
            ("Return-Path: <x-bounces+ann=reader.example@lists.example>\r\n", NullPath),
            ("Return-Path: not an address\r\n", NullPath),
            // The one on top counts, which the last server wrote.
            ("Return-Path: <>\r\nReturn-Path: <ann@reader.example>\r\n", NullPath),
        ] {
            check(&PLAIN.replace("Return-Path: <ann@reader.example>\r\n", path), Err(why));
        }
        for field in [
            "Auto-Submitted: auto-generated",
            "Auto-Submitted: auto-replied; owner=x",
            "Auto-Submitted:",
            "Auto-Submitted: no\r\nAuto-Submitted: auto-replied",
            "Auto-Submitted: nobody",
            "precedence: Bulk",
            "Precedence: list",
            "Precedence: junk",
            "List-Id: <x.lists.example>",
            "LIST-UNSUBSCRIBE: <mailto:x@lists.example>",
            "X-Auto-Response-Suppress: OOF, AutoReply",
            "X-Loop: abuse@example.net",
            "Feedback-ID: 1:2:3:x",
        ] {
            check(&format!("{PLAIN}{field}\r\n"), Err(Automatic));
        }
        for kind in [
            "multipart/report; report-type=feedback-report; boundary=b",
            "multipart/report; report-type=delivery-status; boundary=b",
            "multipart/report",
            "message/delivery-status",
        ] {
            check(&format!("{PLAIN}Content-Type: {kind}\r\n"), Err(Report));
        }
        // Behind so many fields nobody looks what the others say.
        check(&format!("{PLAIN}{}", "Received: from a\r\n".repeat(300)), Err(Header));
        check(&format!("{PLAIN}X-Long: {}\r\n", "x ".repeat(MAX_HEADER_BYTES)), Err(Header));
    }

    #[test]
    fn nobody_else_is_named_and_nothing_is_smuggled_in() {
        use Unanswerable::{NotOne, Robot};
        let with = |from: &str| format!("Return-Path: <ann@reader.example>\r\n{from}\r\n");
        for from in [
            "Subject: no sender",
            "From: ann@reader.example, ben@reader.example",
            "From: ann@reader.example\r\nFrom: ben@reader.example",
            "From: team: ann@reader.example, ben@reader.example;",
            "From: Ann",
            "From: \"a b\"@reader.example",
            "From: ann@[192.0.2.1]",
            "From: ann@localhost\r\nReply-To: x",
            "From: ann@reader.example\r\nReply-To: a@b.example, c@d.example",
            "From: ann@reader.example\r\nReply-To: <a@b.example>\r\nReply-To: <c@d.example>",
            "From: =?utf-8?q?ann=40reader.example=0d=0aBcc=3a?=",
            "From: änn@reader.example",
            "From: ann@reader.example%0d%0aBcc:x@y.example",
        ] {
            let mail = format!("{}\r\nx", with(from));
            let found = answer_to(mail.as_bytes());
            assert!(found.is_err(), "{from}: {found:?}");
        }
        check(&with("From: ann@reader.example, ben@reader.example"), Err(NotOne));
        for from in [
            "MAILER-DAEMON@a.example",
            "postmaster@a.example",
            "no-reply@a.example",
            "NoReply+7@a.example",
            "team.donotreply@a.example",
            "abuse_noreply@a.example",
            "bounces+ann=b.example@a.example",
            "owner-list@a.example",
            "list-request@a.example",
            "srs0=x=y=b.example=ann@a.example",
            "prvs=123=ann@a.example",
        ] {
            check(&with(&format!("From: <{from}>")), Err(Robot));
            check(&with(&format!("From: ann@reader.example\r\nReply-To: <{from}>")), Err(Robot));
        }
    }

    #[test]
    fn an_id_is_one_or_none() {
        assert_eq!(message_id("1.a@reader.example").as_deref(), Some("<1.a@reader.example>"));
        let long = format!("{}@b", "x".repeat(200));
        for bad in ["", "a", "@", "a@", "@b", "a@b@c", "a b@c", "a@b>\r\nBcc: <x@y", "a@é", "a@b>", &long] {
            assert_eq!(message_id(bad), None, "{bad}");
        }
    }
}
