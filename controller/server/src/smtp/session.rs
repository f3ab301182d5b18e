//! What is said in one session of SMTP (RFC 5321), at the end that takes mail. Pure: bytes go in, answers and mails come out.
//!
//! Only CR LF ends a line, and only CR LF "." CR LF ends a mail. A bare CR or LF ends the session: servers that disagree about where a mail
//! ends let strangers put a second one into it ("smuggling"), and none that means well sends one. All that grows has a bound.
//!
//! Deliberately absent: mail to anybody else, BDAT, logins, and TLS (a mail server on the same machine hands over what comes here).

/// The largest mail that is taken, in bytes; it is told senders (RFC 1870).
pub(crate) const MAX_MAIL: usize = 10 << 20;
/// Of what is larger so much is read to its end, for the sender to hear why; then the session ends.
const MAX_READ: usize = 4 * MAX_MAIL;
/// The longest line with a command, in bytes (RFC 5321, section 4.5.3.1.4, asks for 512, and extensions for more).
const MAX_LINE: usize = 2_048;
/// The longest address, in bytes (RFC 5321, section 4.5.3.1.3, has 256; its local part may be of four bytes a letter here).
const MAX_PATH: usize = 512;
/// Recipients of one mail (RFC 5321, section 4.5.3.1.8).
const MAX_RECIPIENTS: usize = 100;
/// Commands in one session, and mails.
const MAX_COMMANDS: usize = 1_000;
const MAX_MAILS: usize = 100;
/// Errors after which a session ends.
const MAX_ERRORS: usize = 10;
/// What it calls itself. Not the machine's name: to a mail server with the same name that would look like a loop.
const NAME: &str = "complaints.reeve.invalid";

/// Who gets mail here, and how much of one is kept.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// The only recipients, in lower case.
    pub recipients: Vec<String>,
    /// So many bytes of a mail are handed over; the rest is read and forgotten.
    pub kept: usize,
}

/// What came of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// They are used up; there are answers, or none.
    More,
    /// A mail has come. [`Session::answer`] comes before more is read.
    Mail(Vec<u8>),
    /// The session is over once the answers are sent.
    End,
}

/// What became of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is on disk.
    Stored,
    /// As many complaints wait as may.
    Full,
    /// The database is away, or the controller stops.
    Away,
}

#[derive(Debug)]
enum Mode {
    Command,
    Data(At),
    /// A mail is being stored.
    Storing,
    Ended,
}

/// Where in a line of a mail it is.
#[derive(Clone, Copy, Debug)]
enum At {
    Start,
    /// Behind a dot that a line begins with.
    Dot,
    /// Behind that dot and CR.
    DotReturn,
    Within,
    Return,
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    rules: std::sync::Arc<Rules>,
    mode: Mode,
    line: Vec<u8>,
    is_greeted: bool,
    /// Whom the mail is from; empty for those that answer nobody.
    sender: Option<String>,
    recipients: usize,
    mail: Vec<u8>,
    /// How long the mail is, also what of it is not kept.
    length: usize,
    commands: usize,
    mails: usize,
    errors: usize,
    refused: u64,
}

impl Session {
    /// A new one, and what is said first.
    pub fn new(rules: std::sync::Arc<Rules>) -> (Self, Vec<u8>) {
        let session = Self {
            rules,
            mode: Mode::Command,
            line: Vec::new(),
            is_greeted: false,
            sender: None,
            recipients: 0,
            mail: Vec::new(),
            length: 0,
            commands: 0,
            mails: 0,
            errors: 0,
            refused: 0,
        };
        (session, format!("220 {NAME} ESMTP\r\n").into_bytes())
    }

    /// Reads what came, up to the end of a mail or of the session; what is to be said goes to `answers`.
    pub fn read(&mut self, input: &mut &[u8], answers: &mut Vec<u8>) -> Step {
        while let [byte, rest @ ..] = *input {
            let step = match self.mode {
                Mode::Command => {
                    *input = rest;
                    self.command_byte(*byte, rest.is_empty(), answers)
                }
                Mode::Data(at) => {
                    *input = rest;
                    self.data_byte(at, *byte, answers)
                }
                Mode::Storing => return Step::More,
                Mode::Ended => return Step::End,
            };
            if step != Step::More {
                return step;
            }
        }
        if matches!(self.mode, Mode::Ended) { Step::End } else { Step::More }
    }

    /// Whether a mail is under way, which may take longer than a command.
    pub const fn is_in_mail(&self) -> bool {
        matches!(self.mode, Mode::Data(_))
    }

    /// How often a mail, a recipient or the whole session was refused since this was asked last.
    pub const fn take_refused(&mut self) -> u64 {
        std::mem::replace(&mut self.refused, 0)
    }

    /// Says what became of the mail.
    pub fn answer(&mut self, outcome: Outcome, answers: &mut Vec<u8>) {
        match outcome {
            Outcome::Stored => say(answers, "250 2.0.0 it is stored"),
            Outcome::Full => say(answers, "451 4.3.1 too many complaints wait for a person; try again"),
            Outcome::Away => say(answers, "451 4.3.0 it cannot be stored now; try again"),
        }
        self.mode = Mode::Command;
        self.forget();
    }

    /// Ends it from this side, for a reason of ours.
    pub fn end(&mut self, reason: &str, answers: &mut Vec<u8>) -> Step {
        say(answers, reason);
        self.refused += u64::from(!reason.starts_with('2'));
        self.mode = Mode::Ended;
        Step::End
    }

    /// Forgets the mail under way.
    fn forget(&mut self) {
        self.sender = None;
        self.recipients = 0;
        self.mail = Vec::new();
        self.length = 0;
    }

    fn command_byte(&mut self, byte: u8, is_last: bool, answers: &mut Vec<u8>) -> Step {
        let is_behind_return = self.line.last() == Some(&b'\r');
        match (byte, is_behind_return) {
            (b'\n', true) => {
                self.line.pop();
                let line = std::mem::take(&mut self.line);
                self.commands += 1;
                if self.commands > MAX_COMMANDS {
                    return self.end("421 4.7.0 too many commands", answers);
                }
                let step = self.command(&line, is_last, answers);
                if step == Step::More && self.errors >= MAX_ERRORS {
                    return self.end("421 4.7.0 too many errors", answers);
                }
                step
            }
            (b'\n', false) => {
                self.end("521 5.5.2 a line ends with CR and LF, and not with LF alone", answers)
            }
            (_, true) => self.end("521 5.5.2 CR comes before LF alone", answers),
            _ if self.line.len() >= MAX_LINE => self.end("500 5.5.2 the line is too long", answers),
            _ => {
                self.line.push(byte);
                Step::More
            }
        }
    }

    fn command(&mut self, line: &[u8], is_last: bool, answers: &mut Vec<u8>) -> Step {
        let line = std::str::from_utf8(line).ok().filter(|line| !line.chars().any(char::is_control));
        let Some(line) = line else { return self.wrong("500 5.5.2 no such command", answers) };
        let line = line.trim_end_matches(' ');
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "HELO" | "EHLO" if rest.is_empty() => self.wrong("501 5.5.4 say who you are", answers),
            "HELO" => {
                self.greet();
                say(answers, &format!("250 {NAME}"));
                Step::More
            }
            "EHLO" => {
                self.greet();
                for word in [NAME, "PIPELINING", &format!("SIZE {MAX_MAIL}"), "8BITMIME", "SMTPUTF8"] {
                    say(answers, &format!("250-{word}"));
                }
                say(answers, "250 ENHANCEDSTATUSCODES");
                Step::More
            }
            "MAIL" => self.mail_from(rest, answers),
            "RCPT" => self.recipient(rest, answers),
            "DATA" => self.data(rest, is_last, answers),
            "RSET" => {
                self.forget();
                say(answers, "250 2.0.0 forgotten");
                Step::More
            }
            "NOOP" => {
                say(answers, "250 2.0.0 nothing done");
                Step::More
            }
            "VRFY" => {
                say(answers, "252 2.5.0 send it, and see");
                Step::More
            }
            "QUIT" => self.end("221 2.0.0 good-bye", answers),
            "EXPN" | "HELP" | "TURN" | "ETRN" | "AUTH" | "BDAT" | "STARTTLS" => {
                self.wrong("502 5.5.1 that is not done here", answers)
            }
            // A browser that was led here, with a mail in its form: nothing of it is a command.
            "GET" | "POST" | "PUT" | "HEAD" | "OPTIONS" | "CONNECT" => {
                self.end("521 5.5.1 no web server", answers)
            }
            _ => self.wrong("500 5.5.2 no such command", answers),
        }
    }

    fn wrong(&mut self, answer: &str, answers: &mut Vec<u8>) -> Step {
        self.errors += 1;
        self.refused += u64::from(answer.starts_with("55"));
        say(answers, answer);
        Step::More
    }

    fn greet(&mut self) {
        self.is_greeted = true;
        self.forget();
    }

    fn mail_from(&mut self, rest: &str, answers: &mut Vec<u8>) -> Step {
        if !self.is_greeted {
            return self.wrong("503 5.5.1 EHLO comes first", answers);
        }
        if self.sender.is_some() {
            return self.wrong("503 5.5.1 another mail is under way", answers);
        }
        if self.mails >= MAX_MAILS {
            return self.end("421 4.7.0 enough mails in one session; come again", answers);
        }
        let Some((sender, parameters)) = path("FROM:", rest) else {
            return self.wrong("501 5.1.7 MAIL FROM:<address> is expected", answers);
        };
        for parameter in parameters.split_ascii_whitespace() {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let is_known = match key.to_ascii_uppercase().as_str() {
                "SIZE" => match value.parse::<u64>() {
                    Ok(size) if size > MAX_MAIL as u64 => return self.wrong(TOO_LARGE, answers),
                    size => size.is_ok(),
                },
                "BODY" => value.eq_ignore_ascii_case("7BIT") || value.eq_ignore_ascii_case("8BITMIME"),
                "SMTPUTF8" => value.is_empty(),
                _ => false,
            };
            if !is_known {
                return self.wrong("555 5.5.4 that parameter is not known", answers);
            }
        }
        self.sender = Some(sender.to_owned());
        say(answers, "250 2.1.0 go on");
        Step::More
    }

    fn recipient(&mut self, rest: &str, answers: &mut Vec<u8>) -> Step {
        if self.sender.is_none() {
            return self.wrong("503 5.5.1 MAIL comes first", answers);
        }
        match path("TO:", rest) {
            None | Some(("", _)) => self.wrong("501 5.1.3 RCPT TO:<address> is expected", answers),
            Some((_, parameters)) if !parameters.trim().is_empty() => {
                self.wrong("555 5.5.4 that parameter is not known", answers)
            }
            Some((to, _)) if !self.rules.recipients.contains(&to.to_lowercase()) => {
                self.wrong("550 5.7.1 no mail is taken for anybody else", answers)
            }
            Some(_) if self.recipients >= MAX_RECIPIENTS => {
                self.wrong("452 4.5.3 too many recipients", answers)
            }
            Some(_) => {
                self.recipients += 1;
                say(answers, "250 2.1.5 go on");
                Step::More
            }
        }
    }

    fn data(&mut self, rest: &str, is_last: bool, answers: &mut Vec<u8>) -> Step {
        if !rest.is_empty() {
            return self.wrong("501 5.5.4 DATA stands alone", answers);
        }
        let Some(sender) = &self.sender else {
            return self.wrong("503 5.5.1 MAIL comes first", answers);
        };
        if self.recipients == 0 {
            return self.wrong("554 5.5.1 there is no recipient", answers);
        }
        // RFC 2920, section 3.1: DATA is the last of what is sent at once. Whoever does not wait is no mail server.
        if !is_last {
            return self.end("503 5.5.1 wait for the answer to DATA", answers);
        }
        // As whoever delivers a mail says whom it was from (RFC 5321, section 4.4).
        self.mail = format!("Return-Path: <{sender}>\r\n").into_bytes();
        self.length = 0;
        self.mode = Mode::Data(At::Start);
        say(answers, "354 end it with a dot on a line of its own");
        Step::More
    }

    fn data_byte(&mut self, at: At, byte: u8, answers: &mut Vec<u8>) -> Step {
        let next = match (at, byte) {
            (At::Start, b'.') => At::Dot,
            (At::Dot, b'\r') => At::DotReturn,
            (At::DotReturn, b'\n') => return self.mail_ends(answers),
            (At::Start | At::Within, b'\r') => At::Return,
            (At::Return, b'\n') => {
                self.keep(b"\r\n");
                At::Start
            }
            (At::Start | At::Dot | At::Within, b'\n') => {
                return self.end("521 5.5.2 a line ends with CR and LF, and not with LF alone", answers);
            }
            (At::Return | At::DotReturn, _) => {
                return self.end("521 5.5.2 CR comes before LF alone", answers);
            }
            // Of what begins with a dot the first one is the sender's addition (RFC 5321, section 4.5.2).
            (At::Start | At::Dot | At::Within, _) => {
                self.keep(&[byte]);
                At::Within
            }
        };
        if self.length > MAX_READ {
            return self.end(TOO_LARGE, answers);
        }
        self.mode = Mode::Data(next);
        Step::More
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.length < self.rules.kept {
            self.mail.extend_from_slice(bytes);
        }
        self.length += bytes.len();
    }

    fn mail_ends(&mut self, answers: &mut Vec<u8>) -> Step {
        self.mails += 1;
        let mail = std::mem::take(&mut self.mail);
        if self.length > MAX_MAIL {
            self.forget();
            self.mode = Mode::Command;
            return self.wrong(TOO_LARGE, answers);
        }
        self.mode = Mode::Storing;
        Step::Mail(mail)
    }
}

const TOO_LARGE: &str = "552 5.3.4 it is larger than what is taken";

fn say(answers: &mut Vec<u8>, line: &str) {
    answers.extend_from_slice(line.as_bytes());
    answers.extend_from_slice(b"\r\n");
}

/// The address in angle brackets behind a word, and what stands behind it. `None` if it is not written so, or holds spaces.
fn path<'l>(word: &str, rest: &'l str) -> Option<(&'l str, &'l str)> {
    let is_word = rest.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
    let rest = rest.get(word.len()..).filter(|_| is_word)?.trim_start_matches(' ').strip_prefix('<')?;
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, letter) in rest.char_indices() {
        match letter {
            _ if at > MAX_PATH => return None,
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '>' if !is_quoted => {
                let behind = &rest[at + 1..];
                return (behind.is_empty() || behind.starts_with(' ')).then(|| (&rest[..at], behind));
            }
            ' ' | '<' if !is_quoted => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
