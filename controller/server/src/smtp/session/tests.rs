use std::sync::Arc;

use super::*;

/// A session in which nothing goes wrong until the mail.
const OPENED: &str =
    "EHLO a.example\r\nMAIL FROM:<ann@reader.example>\r\nRCPT TO:<abuse@example.net>\r\nDATA\r\n";
const LF_ALONE: &str = "521 5.5.2 a line ends with CR and LF";
const CR_ALONE: &str = "521 5.5.2 CR comes before LF alone";

fn rules() -> Arc<Rules> {
    Arc::new(Rules {
        recipients: vec!["abuse@example.net".into(), "jörg@example.net".into()], kept: 1 << 20
    })
}

/// What a peer got that sent this in pieces of such a length: the answers, the mails, and whether it ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    answers: String,
    mails: Vec<Vec<u8>>,
    has_ended: bool,
}

/// A peer that waits for the answer to DATA, as it has to, and otherwise for none.
fn converse(bytes: &[u8], piece: usize) -> Heard {
    let (mut session, greeting) = Session::new(rules());
    let (mut answers, mut heard) = (greeting, Heard::default());
    let is_data = |at: &usize| bytes[..*at].ends_with(b"DATA\r\n");
    let data_ends: Vec<usize> = (1..=bytes.len()).filter(is_data).collect();
    let mut from = 0;
    while from < bytes.len() && !heard.has_ended {
        let data = data_ends.iter().find(|end| **end > from).copied();
        let until = bytes.len().min(from.saturating_add(piece)).min(data.unwrap_or(usize::MAX));
        let mut input = &bytes[from..until];
        from += input.len();
        while !input.is_empty() && !heard.has_ended {
            match session.read(&mut input, &mut answers) {
                Step::More => {}
                Step::Mail(mail) => {
                    heard.mails.push(mail);
                    session.answer(Outcome::Stored, &mut answers);
                }
                Step::End => heard.has_ended = true,
            }
        }
    }
    heard.answers = String::from_utf8(answers).unwrap();
    heard
}

/// The same whatever the pieces: byte by byte, in small ones, and as large as can be.
fn heard(bytes: impl AsRef<[u8]>) -> Heard {
    let whole = converse(bytes.as_ref(), usize::MAX);
    for piece in [1, 2, 3, 7, 64] {
        assert_eq!(converse(bytes.as_ref(), piece), whole, "in pieces of {piece}");
    }
    whole
}

fn codes(heard: &Heard) -> Vec<&str> {
    heard
        .answers
        .lines()
        .filter(|line| line.as_bytes().get(3) == Some(&b' '))
        .map(|line| &line[..3])
        .collect()
}

#[test]
fn a_mail_is_taken_for_whom_it_is_meant_and_for_nobody_else() {
    let mail = heard(format!("{OPENED}Subject: a\r\n\r\n..hidden\r\n.\r\nQUIT\r\n"));
    assert_eq!(codes(&mail), ["220", "250", "250", "250", "354", "250", "221"]);
    assert_eq!(mail.mails, [b"Return-Path: <ann@reader.example>\r\nSubject: a\r\n\r\n.hidden\r\n"]);
    assert!(mail.answers.contains("250-SIZE 10485760\r\n") && mail.has_ended);
    for (recipient, code) in [
        ("<ABUSE@Example.NET>", "250"),
        ("<JÖRG@example.net>", "250"),
        ("<abuse@example.net.evil.example>", "550"),
        ("<abuse@example.net%evil.example>", "550"),
        ("<evil.example!abuse@example.net>", "550"),
        ("<@evil.example:abuse@example.net>", "550"),
        ("<\"abuse@example.net\"@evil.example>", "550"),
        ("<victim@elsewhere.example>", "550"),
        ("<postmaster>", "550"),
        ("<>", "501"),
        ("abuse@example.net", "501"),
        ("<abuse@example.net", "501"),
        ("<abuse@example.net>x", "501"),
        ("<abuse@example.net> <victim@elsewhere.example>", "555"),
        ("<abuse@example.net> NOTIFY=NEVER", "555"),
    ] {
        let said = heard(format!("HELO a\r\nMAIL FROM:<>\r\nRCPT TO:{recipient}\r\n"));
        assert_eq!(codes(&said)[3], code, "{recipient}: {}", said.answers);
    }
    // Of several the ones that are taken are enough, and one mail is one.
    let two = "HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<x@y.example>\r\nRCPT TO:<abuse@example.net>\r\nRCPT TO:<jörg@example.net>\r\n\
               DATA\r\n\r\n.\r\n";
    assert_eq!(heard(two).mails, [b"Return-Path: <>\r\n\r\n"]);
}

#[test]
fn commands_have_an_order_and_parameters_a_meaning() {
    for (said, expected) in [
        ("MAIL FROM:<a@b>\r\n", "503"),
        ("HELO\r\n", "501"),
        ("EHLO a\r\nRCPT TO:<abuse@example.net>\r\n", "503"),
        ("EHLO a\r\nDATA\r\n", "503"),
        ("EHLO a\r\nMAIL FROM:<a@b>\r\nDATA\r\n", "554"),
        ("EHLO a\r\nMAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\n", "503"),
        ("EHLO a\r\nMAIL FROM:<a@b>\r\nRSET\r\nRCPT TO:<abuse@example.net>\r\n", "503"),
        ("EHLO a\r\nMAIL FROM:<a@b>\r\nEHLO a\r\nRCPT TO:<abuse@example.net>\r\n", "503"),
        ("EHLO a\r\nmail from: <a@b> size=10485760 body=8bitmime SMTPUTF8\r\n", "250"),
        ("EHLO a\r\nMAIL FROM:<\"a b>\\\"\"@b>\r\n", "250"),
        ("EHLO a\r\nMAIL FROM:<a@b> SIZE=10485761\r\n", "552"),
        ("EHLO a\r\nMAIL FROM:<a@b> SIZE=99999999999999999999\r\n", "555"),
        ("EHLO a\r\nMAIL FROM:<a@b> BODY=BINARYMIME\r\n", "555"),
        ("EHLO a\r\nMAIL FROM:<a@b> AUTH=<>\r\n", "555"),
        ("EHLO a\r\nMAIL FROM:<a b@c>\r\n", "501"),
        ("EHLO a\r\nMAIL FROM:a@b\r\n", "501"),
        ("EHLO a\r\nMAILFROM\r\n", "500"),
        ("VRFY root\r\n", "252"),
        ("NOOP x\r\n", "250"),
        ("EXPN list\r\n", "502"),
        ("BDAT 5 LAST\r\n", "502"),
        ("STARTTLS\r\n", "502"),
        ("\u{1b}[2J\r\n", "500"),
        ("\r\n", "500"),
        ("POST / HTTP/1.1\r\n", "521"),
    ] {
        let all = heard(said);
        assert_eq!(codes(&all).last().unwrap(), &expected, "{said:?}: {}", all.answers);
    }
    assert_eq!(codes(&heard(b"\xff\xfe\r\n".as_slice())), ["220", "500"]);
}

#[test]
fn nothing_but_a_dot_between_two_line_ends_ends_a_mail() {
    let second = "MAIL FROM:<root@example.net>\r\nRCPT TO:<abuse@example.net>\r\nDATA\r\nsecond\r\n.\r\n";
    // Whatever somebody else takes for the end of a mail: here it is refused with all that is behind it.
    for (ends, answer) in [
        ("\n.\n", LF_ALONE),
        ("\n.\r\n", LF_ALONE),
        ("\r\n.\n", LF_ALONE),
        ("\r.\r", CR_ALONE),
        ("\r\n.\r", CR_ALONE),
        ("\r.\r\n", CR_ALONE),
        ("\r\r\n.\r\n", CR_ALONE),
        ("\r\n.\r\r\n", CR_ALONE),
        ("\r\n\0.\n", LF_ALONE),
    ] {
        let all = heard(format!("{OPENED}first{ends}{second}"));
        assert!(all.has_ended && all.mails.is_empty(), "{ends:?}: {all:?}");
        assert!(all.answers.lines().last().unwrap().starts_with(answer), "{ends:?}: {}", all.answers);
    }
    // These are text.
    for text in ["\r\n..\r\n", "\r\n.x\r\n", "\r\n. \r\n", "x.\r\n", "\r\n.\0\r\n"] {
        let all = heard(format!("{OPENED}first{text}{second}\r\n.\r\n"));
        assert_eq!((all.mails.len(), all.has_ended), (1, false), "{text:?}: {all:?}");
    }
    let first = heard(format!("{OPENED}.\r\n"));
    assert_eq!(first.mails, [b"Return-Path: <ann@reader.example>\r\n"]);
    // Nor does a line of a command end otherwise.
    for (line, answer) in
        [("NOOP\nNOOP\r\n", LF_ALONE), ("NOOP\rNOOP\r\n", CR_ALONE), ("NOOP\r\r\n", CR_ALONE)]
    {
        assert!(heard(line).answers.lines().last().unwrap().starts_with(answer), "{line:?}");
    }
    // Who sends the mail before it is asked for is no mail server.
    let (mut session, _) = Session::new(rules());
    let (mut input, mut answers) = (OPENED.as_bytes(), Vec::new());
    let early = format!("{OPENED}Subject: x\r\n\r\nx\r\n.\r\n");
    assert_eq!(session.read(&mut input, &mut answers), Step::More);
    let (mut session, _) = Session::new(rules());
    let mut input = early.as_bytes();
    assert_eq!(session.read(&mut input, &mut answers), Step::End);
    assert!(String::from_utf8(answers).unwrap().ends_with("503 5.5.1 wait for the answer to DATA\r\n"));
}

#[test]
fn all_that_grows_has_an_end() {
    // A line without one.
    let (mut session, _) = Session::new(rules());
    let long = vec![b'x'; 1 << 20];
    let (mut input, mut answers) = (long.as_slice(), Vec::new());
    assert_eq!(session.read(&mut input, &mut answers), Step::End);
    assert!(input.len() > (1 << 20) - 2 * MAX_LINE && session.line.capacity() <= 4 * MAX_LINE);
    // Errors, commands and mails of one session.
    for (flood, most) in [("DATA\r\n", MAX_ERRORS), ("what\r\n", MAX_ERRORS), ("NOOP\r\n", MAX_COMMANDS)] {
        let all = converse(flood.repeat(5_000).as_bytes(), 4_096);
        assert!(all.has_ended, "{flood}");
        assert_eq!(all.answers.lines().count(), most + 2, "{flood}");
        assert!(all.answers.lines().last().unwrap().starts_with("421 4.7.0"), "{flood}");
    }
    let many = "MAIL FROM:<>\r\nRCPT TO:<abuse@example.net>\r\nDATA\r\n.\r\n".repeat(150);
    let all = converse(format!("HELO a\r\n{many}").as_bytes(), usize::MAX);
    assert_eq!((all.mails.len(), all.has_ended), (MAX_MAILS, true));
    let many = "RCPT TO:<abuse@example.net>\r\n".repeat(101);
    let all = heard(format!("HELO a\r\nMAIL FROM:<>\r\n{many}"));
    assert_eq!(codes(&all).iter().filter(|code| **code == "452").count(), 1);
    assert_eq!(path("FROM:", &format!("FROM:<{}@b>", "x".repeat(600))), None);
}

#[test]
fn of_a_large_mail_the_beginning_is_kept_and_too_large_a_one_is_refused() {
    let line = format!("{}\r\n", "x".repeat(998)).into_bytes();
    for (bytes, expected) in [(MAX_MAIL - 2_000, "250"), (MAX_MAIL + 2_000, "552")] {
        let mut all = OPENED.as_bytes().to_vec();
        line.iter().cycle().take(bytes / line.len() * line.len()).for_each(|byte| all.push(*byte));
        all.extend_from_slice(b".\r\nNOOP\r\n");
        let all = converse(&all, 16 << 10);
        assert_eq!(codes(&all)[5..], [expected, "250"], "{bytes}");
        assert!(all.mails.iter().all(|mail| mail.len() < (1 << 20) + 100));
    }
    // One that never ends.
    let (mut session, _) = Session::new(rules());
    let mut answers = Vec::new();
    session.read(&mut OPENED.as_bytes(), &mut answers);
    let block = vec![b'x'; 1 << 20];
    let ends = (0..64).find(|_| session.read(&mut block.as_slice(), &mut answers) == Step::End);
    assert_eq!(ends, Some(40), "after four times what is taken");
    assert!(session.mail.len() < (1 << 20) + 100);
    assert!(String::from_utf8(answers).unwrap().ends_with("552 5.3.4 it is larger than what is taken\r\n"));
}

#[test]
fn what_cannot_be_stored_is_to_come_again() {
    for (outcome, code) in
        [(Outcome::Full, "451 4.3.1"), (Outcome::Away, "451 4.3.0"), (Outcome::Stored, "250 2.0.0")]
    {
        let (mut session, _) = Session::new(rules());
        let mut answers = Vec::new();
        session.read(&mut OPENED.as_bytes(), &mut answers);
        let mut input: &[u8] = b"x\r\n.\r\nMAIL FROM:<>\r\n";
        assert!(matches!(session.read(&mut input, &mut answers), Step::Mail(_)));
        answers.clear();
        // What follows waits until it is said.
        assert_eq!(session.read(&mut input, &mut answers), Step::More);
        assert!(answers.is_empty() && !input.is_empty());
        session.answer(outcome, &mut answers);
        session.read(&mut input, &mut answers);
        let answers = String::from_utf8(answers).unwrap();
        assert!(answers.starts_with(code) && answers.ends_with("250 2.1.0 go on\r\n"), "{answers}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_break_it_and_pieces_do_not_matter(
        bytes in proptest::collection::vec(proptest::prop_oneof![
            3 => proptest::sample::select(vec![
                &b"\r\n"[..], b".", b"\r", b"\n", b"DATA\r\n", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<abuse@example.net>\r\n", b"RSET\r\n",
                b"EHLO a\r\n", b"HELO ", b"<", b">", b"\"", b"\\", b" ", b"\0", b"\xff", b"x",
            ]),
            1 => proptest::sample::select(vec![&b"QUIT\r\n"[..], b"\r\n.\r\n", b"SIZE=", b"TO:", b"FROM:"]),
        ], 0..60),
        piece in 1_usize..40,
    ) {
        let bytes = bytes.concat();
        proptest::prop_assert_eq!(converse(&bytes, piece), converse(&bytes, usize::MAX));
    }
}
