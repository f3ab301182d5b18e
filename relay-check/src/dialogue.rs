//! What is said to the server, and what its replies mean: no clock, no network.
//!
//! The order is greeting, EHLO, MAIL FROM, RCPT TO, RSET and QUIT (RFC 5321). A server that demands encryption first (reply 530) and
//! offers it gets STARTTLS, and all from EHLO on again (RFC 3207). There is no way from here to DATA, so that nothing is ever sent,
//! whatever the server says.

use std::fmt;
use std::net::IpAddr;

use reeve_policy::{CheckVerdict, Mailbox};

/// A server may say so many lines in a reply, and so many in all.
const REPLY_LINES_MAX: usize = 64;
/// Longer lines are none (RFC 5321, section 4.5.3.1.5, allows 512).
const LINE_MAX: usize = 2_048;

/// Who asks for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The sender: an address of the provider's own.
    pub from: Mailbox,
    /// The recipient: the provider's too, and at no domain that the asked server could take mail for.
    pub to: Mailbox,
}

/// Where the dialogue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The server's first words.
    Greeting,
    /// EHLO, or HELO where that is not known.
    Hello,
    /// The wish for encryption.
    StartTls,
    /// The sender.
    Sender,
    /// The recipient: the question.
    Recipient,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Greeting => "greeting",
            Self::Hello => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Sender => "MAIL FROM",
            Self::Recipient => "RCPT TO",
        })
    }
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Say this line.
    Say(String),
    /// The reply goes on.
    Listen,
    /// Encrypt, and go on with [`Dialogue::sealed`].
    Seal,
    /// It is known.
    Known(CheckVerdict),
}

/// One dialogue.
#[derive(Debug)]
pub struct Dialogue {
    question: Question,
    own: IpAddr,
    step: Step,
    has_stepped_back: bool,
    offers_tls: bool,
    is_sealed: bool,
    line: Vec<u8>,
    lines: usize,
    transcript: Vec<(Step, u16)>,
}

impl Dialogue {
    /// The beginning, asked from `own`.
    #[must_use]
    pub fn new(question: Question, own: IpAddr) -> Self {
        Self {
            question,
            own,
            step: Step::Greeting,
            has_stepped_back: false,
            offers_tls: false,
            is_sealed: false,
            line: Vec::new(),
            lines: 0,
            transcript: Vec::new(),
        }
    }

    /// Goes on after [`Next::Seal`], when all is encrypted: the line to say. What the server said before is forgotten.
    pub fn sealed(&mut self) -> String {
        (self.step, self.is_sealed, self.lines) = (Step::Hello, true, 0);
        self.line.clear();
        format!("EHLO {}", literal(self.own))
    }

    /// The codes so far.
    #[must_use]
    pub fn transcript(&self) -> &[(Step, u16)] {
        &self.transcript
    }

    /// Takes what the server says, up to where it is our turn; how many of `bytes` that were.
    pub fn hear(&mut self, bytes: &[u8]) -> (usize, Next) {
        for (place, byte) in bytes.iter().enumerate() {
            if *byte != b'\n' {
                if self.line.len() == LINE_MAX {
                    return (place, Next::Known(CheckVerdict::Unclear));
                }
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            match self.reply(line.trim_ascii_end()) {
                Next::Listen => {}
                next => return (place + 1, next),
            }
        }
        (bytes.len(), Next::Listen)
    }

    fn reply(&mut self, line: &[u8]) -> Next {
        let code = line.get(..3).filter(|code| code.iter().all(u8::is_ascii_digit));
        let Some(code) = code.and_then(|code| std::str::from_utf8(code).ok()?.parse::<u16>().ok()) else {
            return Next::Known(CheckVerdict::Unclear);
        };
        let words = line.get(4..).unwrap_or_default().trim_ascii();
        self.offers_tls |= self.step == Step::Hello && words.eq_ignore_ascii_case(b"STARTTLS");
        if line.get(3) == Some(&b'-') {
            self.lines += 1;
            return if self.lines > REPLY_LINES_MAX {
                Next::Known(CheckVerdict::Unclear)
            } else {
                Next::Listen
            };
        }
        self.lines = 0;
        self.transcript.push((self.step, code));
        self.replied(code)
    }

    fn replied(&mut self, code: u16) -> Next {
        let is_good = (200..300).contains(&code);
        match self.step {
            Step::Greeting if is_good => {
                self.step = Step::Hello;
                Next::Say(format!("EHLO {}", literal(self.own)))
            }
            Step::Hello if is_good => {
                self.step = Step::Sender;
                Next::Say(format!("MAIL FROM:<{}>", self.question.from))
            }
            // Old servers know HELO only.
            Step::Hello if (500..=502).contains(&code) && !self.has_stepped_back => {
                self.has_stepped_back = true;
                Next::Say(format!("HELO {}", literal(self.own)))
            }
            Step::Sender if is_good => {
                self.step = Step::Recipient;
                Next::Say(format!("RCPT TO:<{}>", self.question.to))
            }
            Step::Recipient if is_good => Next::Known(CheckVerdict::Accepted),
            // It wants a login or TLS first: a login is a refusal to strangers, TLS is none, and the code is the same.
            Step::Sender | Step::Recipient if code == 530 && self.offers_tls && !self.is_sealed => {
                self.step = Step::StartTls;
                Next::Say("STARTTLS".to_owned())
            }
            Step::StartTls if code == 220 => Next::Seal,
            Step::Recipient if (500..600).contains(&code) && code != 530 => {
                Next::Known(CheckVerdict::Refused)
            }
            _ if (400..500).contains(&code) => Next::Known(CheckVerdict::Deferred),
            // Whom it turns away before the question it has not answered.
            _ => Next::Known(CheckVerdict::Unclear),
        }
    }
}

/// An address as a name in EHLO (RFC 5321, section 4.1.3).
fn literal(own: IpAddr) -> String {
    match own {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        let mailbox = |text: &str| text.parse().expect("a mailbox");
        Question { from: mailbox("probe@asker.example"), to: mailbox("probe@elsewhere.example") }
    }

    /// A dialogue with a server that says so, however it is cut; what was said to it, and what came of it.
    fn check(replies: &[&str], said: &[&str], verdict: Option<CheckVerdict>) {
        for step in [1, 7, 1_000] {
            let mut dialogue = Dialogue::new(question(), [192, 0, 2, 1].into());
            let (mut told, mut known) = (Vec::new(), None);
            for reply in replies {
                let bytes = reply.as_bytes();
                let mut from = 0;
                while from < bytes.len() && known.is_none() {
                    let to = (from + step).min(bytes.len());
                    let (taken, next) = dialogue.hear(&bytes[from..to]);
                    from += taken;
                    match next {
                        // What is said before it is its turn again is let go.
                        Next::Say(line) => {
                            told.push(line);
                            break;
                        }
                        Next::Seal => {
                            told.push(dialogue.sealed());
                            break;
                        }
                        Next::Listen => {}
                        Next::Known(verdict) => known = Some(verdict),
                    }
                }
            }
            assert_eq!(
                (told.as_slice(), known),
                (&said.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()[..], verdict),
                "{replies:?}"
            );
            assert!(told.iter().all(|line| !line.contains("DATA") && !line.contains('\n')));
        }
    }

    const HELLO: &str = "EHLO [192.0.2.1]";
    const FROM: &str = "MAIL FROM:<probe@asker.example>";
    const TO: &str = "RCPT TO:<probe@elsewhere.example>";

    #[test]
    fn the_reply_to_the_recipient_decides() {
        let before = ["220-hello\r\n220 mx\r\n", "250-mx\r\n250-PIPELINING\r\n250 HELP\r\n", "250 ok\r\n"];
        for (reply, verdict) in [
            ("250 ok\r\n", CheckVerdict::Accepted),
            ("251 will forward\r\n", CheckVerdict::Accepted),
            ("554 5.7.1 relay access denied\r\n", CheckVerdict::Refused),
            ("550-no\r\n550 no\r\n", CheckVerdict::Refused),
            ("450 4.2.0 greylisted\r\n", CheckVerdict::Deferred),
            ("530 must issue STARTTLS first\r\n", CheckVerdict::Unclear),
            ("what?\r\n", CheckVerdict::Unclear),
        ] {
            let replies = [&before[..], &[reply]].concat();
            check(&replies, &[HELLO, FROM, TO], Some(verdict));
        }
    }

    #[test]
    fn a_server_that_demands_encryption_is_asked_in_it() {
        let before = ["220 mx\r\n", "250-mx\r\n250-starttls\r\n250 HELP\r\n", "530 5.7.0 STARTTLS first\r\n"];
        let after = ["220 go ahead\r\n", "250 mx\r\n", "250 ok\r\n", "554 no\r\n"];
        let all = [HELLO, FROM, "STARTTLS", HELLO, FROM, TO];
        check(&[before, ["220 go\r\n", "250 mx\r\n", "250 ok\r\n"]].concat(), &all, None);
        check(&[&before[..], &after].concat(), &all, Some(CheckVerdict::Refused));
        // It does not do what it offered, wants something else yet, or offers nothing.
        let unclear = Some(CheckVerdict::Unclear);
        check(&[&before[..], &["502 no\r\n"]].concat(), &all[..3], unclear);
        let again = ["220 go\r\n", "250 STARTTLS\r\n", "530 log in\r\n"];
        check(&[&before[..], &again].concat(), &all[..5], unclear);
        check(&["220 STARTTLS\r\n", "250 mx\r\n", "530 no\r\n"], &all[..2], unclear);
        // What was said in the clear behind its assent is not taken for said in private (RFC 3207, section 5).
        check(&[&before[..], &["220 go\r\n25"], &after[1..]].concat(), &all, Some(CheckVerdict::Refused));
    }

    #[test]
    fn whoever_is_turned_away_before_knows_nothing() {
        check(&["554 listed\r\n"], &[], Some(CheckVerdict::Unclear));
        check(&["421 busy\r\n"], &[], Some(CheckVerdict::Deferred));
        check(&["220 mx\r\n", "502 what\r\n", "250 mx\r\n"], &[HELLO, "HELO [192.0.2.1]", FROM], None);
        check(
            &["220 mx\r\n", "250 mx\r\n", "550 no such sender\r\n"],
            &[HELLO, FROM],
            Some(CheckVerdict::Unclear),
        );
    }

    #[test]
    fn a_server_that_does_not_end_is_left() {
        check(&[&"220-more\r\n".repeat(100)], &[], Some(CheckVerdict::Unclear));
        check(&[&"2".repeat(5_000)], &[], Some(CheckVerdict::Unclear));
    }
}
