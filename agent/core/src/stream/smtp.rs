//! SMTP: commands and replies (RFC 5321), pipelined (RFC 2920), with content in lines or chunks (RFC 3030), until TLS begins
//! (RFC 3207).
//!
//! Replies come in the order of the commands, so each command waits for its reply in a queue; only what the server made of a
//! recipient or message is told. The reply to a message ends it, even where the dot that should end its content was cut off by the
//! capture. After STARTTLS nothing can be read any more: turns of the client's are told from each other by their lengths ([`super::sealed`]).
//!
//! Privacy: an address becomes a hash when its line is read; content and passwords are passed over and never held. Of content its length is told.

mod domains;
mod words;

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use domains::{OwnDomains, Senders, named_sender};
use words::{behind, chunk, hash, inner, parameter, sender};

use super::line::Line;
use super::order::Piece;
use super::sealed::Turns;
use crate::topology::TenantIx;

/// The start of a reply tells all that is to be known: a code and whether more lines follow.
const REPLY_START: usize = 4;
/// A server must take 100 recipients (RFC 5321, section 4.5.3.1.8); those beyond are counted one by one all the same.
const RECIPIENTS_MAX: usize = 100;
/// The most commands that wait for their replies.
const PENDING_MAX: usize = 256;

/// The port with TLS from the start.
const PORT_SMTPS: u16 = 465;
/// Those where users say who they are first (RFC 6409, RFC 8314).
const PORTS_WITH_LOGIN: [u16; 3] = [465, 587, 2525];

/// A recipient, as far as it must be told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Recipient {
    /// The whole address.
    pub address: u64,
    /// Its domain.
    pub domain: u64,
    /// Whether the domain is among those that the tenant takes mail in for.
    pub is_own: bool,
}

/// What a server made of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It took it.
    Accepted,
    /// It asked to come again: greylisting, a full queue.
    Deferred,
    /// It refused it for good.
    Refused,
}

/// What is told of mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailEvent {
    /// The client wants to send: it named a sender, or was turned away before it could. Told once a connection; who only looks at a
    /// server's first words is not told of.
    Met {
        /// What the server made of it; a connection that it broke without a word is put off.
        answer: Answer,
        /// Whether the sender that it named is nobody.
        #[serde(default)]
        is_bounce: bool,
    },
    /// A recipient was named, and the server answered.
    Recipient {
        /// Who.
        recipient: Recipient,
        /// What became of it.
        answer: Answer,
        /// Whether the sender is nobody, as of bounces and of servers that ask whether a sender exists (RFC 5321, section 4.5.5).
        is_bounce: bool,
    },
    /// A message was handed over, and the server answered.
    Message {
        /// The recipients that had been accepted, at most a hundred.
        recipients: Vec<Recipient>,
        /// What became of it.
        answer: Answer,
        /// Whether the client had said who it is.
        is_authenticated: bool,
        /// Who sent it, by the envelope; `None` is nobody, as of bounces.
        sender: Option<u64>,
        /// Whether the sender's domain is none of those that the tenant takes mail in for, where these are known.
        #[serde(default)]
        is_foreign: bool,
        /// How long its content was, in bytes.
        size: u32,
        /// Whether it went to somebody whom nobody heard of: content was asked for, and no recipient had been read.
        #[serde(default)]
        is_unnamed: bool,
        /// Whether something was said in two versions in this connection, so that server and reader may have understood different
        /// recipients.
        #[serde(default)]
        is_doubtful: bool,
    },
    /// A client that nothing can be read of said more than a greeting.
    Sealed,
    /// What looks like a message went by, encrypted.
    SealedMessage {
        /// How long it was, in bytes, as well as that can be told.
        size: u32,
    },
}

/// What the client is saying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Commands.
    Commands,
    /// One line that answers a challenge.
    Secret,
    /// Content up to a line with a dot alone; so much of that end has been seen.
    Content(usize),
    /// A chunk of content with so many bytes to come.
    Chunk(u32),
    /// TLS.
    Sealed,
}

/// A command that waits for its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    /// The server's first words.
    Greeting,
    /// The sender, if it is not nobody, whether its domain is another's, and the tenant that it is where a server is shared.
    Mail(Option<u64>, bool, Option<TenantIx>),
    Recipient(Recipient),
    Data,
    /// The content of a message, or its last chunk.
    Content,
    StartTls,
    Auth,
    Reset,
    Other,
}

/// The end of content: a dot alone on its line.
const CONTENT_END: &[u8] = b"\r\n.\r\n";
/// How much of it the line break before the content stands for.
const AFTER_BREAK: usize = 2;

/// One session.
#[derive(Debug)]
pub(super) struct Smtp {
    own: Arc<OwnDomains>,
    phase: Phase,
    line: Line,
    reply: Vec<u8>,
    pending: VecDeque<Pending>,
    /// Bytes were lost, so that commands and replies do not fit each other: whether the server has spoken since.
    lost: Option<bool>,
    is_authenticated: bool,
    sender: Option<u64>,
    /// See [`MailEvent::Message`].
    is_foreign: bool,
    recipients: Vec<Recipient>,
    /// Whether the recipients of the message at hand were told of.
    is_named: bool,
    /// See [`Smtp::doubt`].
    is_doubtful: bool,
    /// Bytes of the content at hand.
    size: u32,
    /// Whether it was told that the client wants to send.
    is_met: bool,
    /// Whether the server has said anything.
    has_greeted: bool,
    sealed: Turns,
    /// Whose senders are, where a server is shared.
    senders: Option<Arc<Senders>>,
    /// On whose behalf the message at hand is sent there.
    behalf: Option<TenantIx>,
}

/// A sender that was not seen.
const UNKNOWN: Option<u64> = Some(0);

impl Smtp {
    /// The most bytes beside itself that a session takes.
    pub const HELD_BYTES: usize = Line::MAX
        + REPLY_START
        + PENDING_MAX * size_of::<Pending>()
        + RECIPIENTS_MAX * size_of::<Recipient>();

    /// A session of a tenant with these domains at this port of the server's.
    pub fn new(own: Arc<OwnDomains>, port: u16) -> Self {
        Self {
            own,
            phase: if port == PORT_SMTPS { Phase::Sealed } else { Phase::Commands },
            line: Line::default(),
            reply: Vec::new(),
            pending: VecDeque::from([Pending::Greeting]),
            lost: None,
            is_authenticated: false,
            sender: UNKNOWN,
            is_foreign: false,
            recipients: Vec::new(),
            is_named: false,
            is_doubtful: false,
            size: 0,
            is_met: false,
            has_greeted: false,
            sealed: Turns::new(PORTS_WITH_LOGIN.contains(&port)),
            senders: None,
            behalf: None,
        }
    }

    /// Says whose senders are, since the server is shared.
    pub fn set_senders(&mut self, senders: Arc<Senders>) {
        self.senders = Some(senders);
    }

    /// On whose behalf the message at hand is sent.
    pub fn behalf(&self) -> Option<TenantIx> {
        self.behalf
    }

    /// Takes what a side says.
    pub fn read(&mut self, from_client: bool, piece: Piece<'_>, say: &mut impl FnMut(MailEvent)) {
        if self.phase == Phase::Sealed {
            return self.sealed(from_client, piece, say);
        }
        match (from_client, piece) {
            (true, Piece::Data(data)) => self.client_data(data, say),
            (true, Piece::Lost(len)) => self.client_lost(len),
            (false, Piece::Data(data)) => self.server_data(data, say),
            (false, Piece::Lost(_)) => {
                self.reply.clear();
                self.lose();
            }
        }
    }

    /// Whether content goes by, in which nothing is read.
    pub fn is_in_content(&self) -> bool {
        matches!(self.phase, Phase::Content(_) | Phase::Chunk(_) | Phase::Sealed)
    }

    /// Takes note that the client's words came in two versions.
    pub fn doubt(&mut self) {
        self.is_doubtful = true;
    }

    /// Takes note that the server ended the connection before the client did.
    pub fn cut_off(&mut self, say: &mut impl FnMut(MailEvent)) {
        if !self.has_greeted && self.phase == Phase::Commands {
            self.meet(Answer::Deferred, false, say);
        }
    }

    /// What is to be told now that the connection is over.
    pub fn ended(&mut self) -> Option<MailEvent> {
        let size = self.sealed.ended()?;
        Some(MailEvent::SealedMessage { size })
    }

    fn meet(&mut self, answer: Answer, is_bounce: bool, say: &mut impl FnMut(MailEvent)) {
        if !std::mem::replace(&mut self.is_met, true) {
            say(MailEvent::Met { answer, is_bounce });
        }
    }

    fn sealed(&mut self, from_client: bool, piece: Piece<'_>, say: &mut impl FnMut(MailEvent)) {
        if from_client {
            self.sealed.client(piece);
            return;
        }
        let size = self.sealed.server();
        if self.sealed.says_much() {
            say(MailEvent::Sealed);
        }
        if let Some(size) = size {
            say(MailEvent::SealedMessage { size });
        }
    }

    fn client_data(&mut self, mut data: &[u8], say: &mut impl FnMut(MailEvent)) {
        while !data.is_empty() {
            match self.phase {
                Phase::Sealed => return self.sealed(true, Piece::Data(data), say),
                Phase::Chunk(left) => {
                    let taken = data.len().min(left as usize);
                    self.count(taken);
                    data = &data[taken..];
                    let left = left - u32::try_from(taken).unwrap_or(left);
                    self.phase = if left == 0 { Phase::Commands } else { Phase::Chunk(left) };
                }
                Phase::Content(seen) => data = self.content(data, seen),
                Phase::Commands | Phase::Secret => {
                    let (rest, is_whole) = self.line.take(data);
                    data = rest;
                    if is_whole {
                        self.command();
                    }
                }
            }
        }
    }

    /// Passes over content; what follows it.
    fn content<'a>(&mut self, data: &'a [u8], mut seen: usize) -> &'a [u8] {
        for (place, byte) in data.iter().enumerate() {
            seen = match byte {
                byte if *byte == CONTENT_END[seen] => seen + 1,
                b'\r' => 1,
                _ => 0,
            };
            if seen == CONTENT_END.len() {
                self.phase = Phase::Commands;
                self.count(place + 1);
                self.wait_for(Pending::Content);
                return &data[place + 1..];
            }
        }
        self.count(data.len());
        self.phase = Phase::Content(seen);
        &[]
    }

    fn count(&mut self, len: usize) {
        self.size = self.size.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
    }

    fn client_lost(&mut self, len: u32) {
        if matches!(self.phase, Phase::Chunk(_) | Phase::Content(_)) {
            self.size = self.size.saturating_add(len);
        }
        match self.phase {
            Phase::Chunk(left) if left > len => self.phase = Phase::Chunk(left - len),
            Phase::Chunk(left) if left == len => self.phase = Phase::Commands,
            Phase::Content(_) => self.phase = Phase::Content(0),
            _ => {
                self.phase = Phase::Commands;
                self.line.clear();
                self.lose();
            }
        }
    }

    fn lose(&mut self) {
        self.pending.clear();
        self.lost = Some(false);
    }

    fn wait_for(&mut self, pending: Pending) {
        if self.pending.len() == PENDING_MAX {
            self.lose();
        } else if self.lost.is_none() {
            self.pending.push_back(pending);
        }
    }

    /// Reads the line at hand as a command.
    fn command(&mut self) {
        let line = self.line.take_out();
        match self.lost {
            // Whether this belongs to what was lost cannot be told.
            Some(false) => return self.line.reuse(line),
            Some(true) => self.lost = None,
            None => {}
        }
        if self.phase == Phase::Secret {
            self.phase = Phase::Commands;
            self.line.reuse(line);
            return self.wait_for(Pending::Auth);
        }
        let text = line.trim_ascii();
        let pending = if let Some(path) = parameter(text, b"MAIL", b"FROM") {
            let whose = self.senders.as_ref().and_then(|senders| senders.find(path));
            Pending::Mail(sender(path), self.is_foreign(path), whose)
        } else if let Some(path) = parameter(text, b"RCPT", b"TO") {
            self.recipient(path).map_or(Pending::Other, Pending::Recipient)
        } else if behind(text, b"DATA").is_some_and(<[u8]>::is_empty) {
            Pending::Data
        } else if let Some(rest) = behind(text, b"BDAT") {
            let (len, is_last) = chunk(rest);
            if len > 0 {
                self.phase = Phase::Chunk(len);
            }
            if is_last { Pending::Content } else { Pending::Other }
        } else if behind(text, b"STARTTLS").is_some_and(<[u8]>::is_empty) {
            Pending::StartTls
        } else if behind(text, b"AUTH").is_some() {
            Pending::Auth
        } else if [&b"RSET"[..], b"EHLO", b"HELO"].iter().any(|word| behind(text, word).is_some()) {
            Pending::Reset
        } else {
            Pending::Other
        };
        self.wait_for(pending);
        self.line.reuse(line);
    }

    fn forget_recipients(&mut self) {
        self.recipients.clear();
        self.is_named = false;
    }

    /// The address of a path (RFC 5321, section 4.1.2), without a route before it.
    fn recipient(&self, path: &[u8]) -> Option<Recipient> {
        let inner = inner(path);
        let address = match (inner.starts_with(b"@"), inner.iter().position(|byte| *byte == b':')) {
            (true, Some(colon)) => &inner[colon + 1..],
            _ => inner,
        };
        let address = address.to_ascii_lowercase();
        let at = address.iter().rposition(|byte| *byte == b'@')?;
        let domain = &address[at + 1..];
        (at > 0 && !domain.is_empty()).then(|| Recipient {
            address: hash(&address),
            domain: hash(domain),
            is_own: self.own.hold(domain),
        })
    }

    /// Whether the sender in a path is of a domain that is not the tenant's.
    fn is_foreign(&self, path: &[u8]) -> bool {
        let address = inner(path).trim_ascii().to_ascii_lowercase();
        let domain = address.iter().rposition(|byte| *byte == b'@').map(|at| &address[at + 1..]);
        !self.own.is_empty() && domain.is_some_and(|domain| !self.own.hold(domain))
    }

    fn server_data(&mut self, data: &[u8], say: &mut impl FnMut(MailEvent)) {
        self.has_greeted = true;
        for byte in data {
            if *byte != b'\n' {
                if self.reply.len() < REPLY_START {
                    self.reply.push(*byte);
                }
                continue;
            }
            let more = self.reply.get(3) == Some(&b'-');
            let code =
                self.reply.get(..3).and_then(|code| std::str::from_utf8(code).ok()?.parse::<u16>().ok());
            self.reply.clear();
            if let Some(code) = code.filter(|_| !more) {
                self.replied(code, say);
            }
            // What follows is TLS.
            if self.phase == Phase::Sealed {
                return;
            }
        }
    }

    fn replied(&mut self, code: u16, say: &mut impl FnMut(MailEvent)) {
        if let Some(has_spoken) = &mut self.lost {
            *has_spoken = true;
            if code == 354 {
                self.lost = None;
                self.recipients.clear();
                (self.sender, self.is_foreign, self.size) = (UNKNOWN, false, 0);
                self.phase = Phase::Content(AFTER_BREAK);
            }
            return;
        }
        let mut pending = self.pending.pop_front();
        if pending.is_none() && matches!(self.phase, Phase::Content(_)) {
            // The end of the content was not seen.
            self.phase = Phase::Commands;
            pending = Some(Pending::Content);
        }
        let answer = match code {
            200..=299 => Answer::Accepted,
            500..=599 => Answer::Refused,
            _ => Answer::Deferred,
        };
        match pending {
            Some(Pending::Greeting) if answer != Answer::Accepted => self.meet(answer, false, say),
            Some(Pending::Reset) => self.forget_recipients(),
            Some(Pending::Mail(sender, is_foreign, whose)) => {
                self.forget_recipients();
                self.behalf = whose;
                // Where TLS or a login is asked for first, nothing was refused.
                let answer = if code == NEEDS_MORE { Answer::Deferred } else { answer };
                (self.sender, self.is_foreign) = (sender, is_foreign);
                self.meet(answer, sender.is_none(), say);
            }
            Some(Pending::Recipient(recipient)) => {
                if answer == Answer::Accepted && self.recipients.len() < RECIPIENTS_MAX {
                    self.recipients.push(recipient);
                }
                self.is_named |= answer == Answer::Accepted;
                say(MailEvent::Recipient { recipient, answer, is_bounce: self.sender.is_none() });
            }
            // Whatever it was that the server answers so, content follows.
            Some(Pending::Data | Pending::Other) if code == 354 => {
                self.size = 0;
                self.phase = Phase::Content(AFTER_BREAK);
            }
            Some(Pending::Content) => {
                let recipients = std::mem::take(&mut self.recipients);
                let (is_authenticated, sender) = (self.is_authenticated, self.sender);
                let is_foreign = self.is_foreign;
                let size = std::mem::take(&mut self.size);
                let is_unnamed = !std::mem::take(&mut self.is_named);
                let is_doubtful = self.is_doubtful;
                say(MailEvent::Message {
                    recipients,
                    answer,
                    is_authenticated,
                    sender,
                    is_foreign,
                    size,
                    is_unnamed,
                    is_doubtful,
                });
            }
            Some(Pending::StartTls) if code == 220 => self.phase = Phase::Sealed,
            Some(Pending::Auth) if code == 334 => self.phase = Phase::Secret,
            Some(Pending::Auth) => self.is_authenticated |= code == 235,
            _ => {}
        }
    }
}

/// The reply to a client that is to begin TLS, or say who it is, before anything else (RFC 3207, RFC 4954).
const NEEDS_MORE: u16 = 530;

#[cfg(test)]
mod tests {
    use reeve_policy::Domain;

    use super::*;

    fn domains(names: &[&str]) -> Vec<Domain> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    /// Plays a session, `C:` and `S:` lines by turns and `C-`/`S-` for lost bytes; what is told.
    fn check(said: &[&str], expect: &[&str]) {
        for step in [1, 3, 1_000] {
            let own = Arc::new(OwnDomains::new(&domains(&["local.example"]), &domains(&["partner.example"])));
            let (mut smtp, mut told) = (Smtp::new(own, 25), Vec::new());
            let mut say = |event: MailEvent| {
                told.push(match event {
                    MailEvent::Met { answer: Answer::Accepted, .. } => return,
                    MailEvent::Met { answer, .. } => format!("turned away {answer:?}"),
                    MailEvent::Recipient { recipient, answer, is_bounce } => {
                        let own = if recipient.is_own { "own " } else { "" };
                        format!("{}to {own}{answer:?}", if is_bounce { "bounce " } else { "" })
                    }
                    MailEvent::Message {
                        recipients,
                        answer,
                        is_authenticated,
                        sender,
                        is_foreign,
                        size,
                        is_unnamed,
                        is_doubtful,
                    } => {
                        assert!(!is_doubtful);
                        let who = if is_foreign { " in another's name" } else { "" };
                        assert!(!is_unnamed || recipients.is_empty());
                        let who = if is_authenticated { " by a user" } else { who };
                        let what = if sender.is_none() { "bounce" } else { "message" };
                        format!("{what} of {size} to {} {answer:?}{who}", recipients.len())
                    }
                    MailEvent::Sealed => "sealed".into(),
                    MailEvent::SealedMessage { size } => format!("sealed message of {size}"),
                });
            };
            for line in said {
                let (who, text) = line.split_at(2);
                let text = format!("{text}\r\n");
                match who {
                    "C-" => smtp.read(true, Piece::Lost(50), &mut say),
                    "S-" => smtp.read(false, Piece::Lost(50), &mut say),
                    who => {
                        for part in text.as_bytes().chunks(step) {
                            smtp.read(who == "C:", Piece::Data(part), &mut say);
                        }
                    }
                }
            }
            assert_eq!(told, expect, "in steps of {step}: {said:#?}");
        }
    }

    const OPEN: [&str; 4] = ["S:220 mx ESMTP", "C:EHLO a", "S:250-mx", "S:250 PIPELINING"];

    fn with(rest: &[&'static str]) -> Vec<&'static str> {
        OPEN.iter().chain(rest).copied().collect()
    }

    #[test]
    fn a_message_in_turns_and_pipelined() {
        let turns = with(&[
            "C:MAIL FROM:<a@local.example>",
            "S:250 ok",
            "C:RCPT TO:<x@local.example>",
            "S:250 ok",
            "C:rcpt to: <y@c.example> NOTIFY=NEVER",
            "S:550 no",
            "C:DATA",
            "S:354 go",
            "C:Subject: x",
            "C:RCPT TO:<z@c.example>",
            "C:..",
            "C:.",
            "S:250 queued",
            "C:QUIT",
            "S:221 bye",
        ]);
        let told = ["to own Accepted", "to Refused", "message of 42 to 1 Accepted"];
        check(&turns, &told);
        let pipelined = with(&[
            "C:MAIL FROM:<a@local.example>\r\nRCPT TO:<x@local.example>\r\nRCPT TO:<y@c.example>\r\nDATA",
            "S:250 ok\r\n250 ok\r\n550 no\r\n354 go",
            "C:text\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<@r.example:u@x.partner.example>",
            "S:250 queued\r\n250 ok\r\n451 later",
        ]);
        let told = ["to own Accepted", "to Refused", "message of 9 to 1 Accepted", "bounce to own Deferred"];
        check(&pipelined, &told);
    }

    #[test]
    fn what_servers_tolerate_is_read() {
        let long = format!("C:RCPT TO:<x@c.example>{}", " ".repeat(3_000));
        let mut said = OPEN.to_vec();
        said.extend([
            "C:  MAIL   FROM :  <a@local.example>",
            "S:250 ok",
            "C:RCPT\tTO:<x@c.example>",
            "S:250 ok",
            &long,
            "S:250 ok",
        ]);
        said.extend(["C:DATA  ", "S:354 go", "C:text", "C:.", "S:250 ok"]);
        check(&said, &["to Accepted", "to Accepted", "message of 9 to 2 Accepted"]);
        // Whatever it was that the server took for an envelope.
        let odd = [
            "C:MAIL FROM=<a@local.example>",
            "S:250 ok",
            "C:RCPT=x",
            "S:250 ok",
            "C:DATA now",
            "S:354 go",
            "C:text",
            "C:.",
            "S:250 ok",
        ];
        check(&with(&odd), &["message of 9 to 0 Accepted"]);
    }

    #[test]
    fn chunks_are_passed_over() {
        check(
            &with(&[
                "C:MAIL FROM:<a@local.example>",
                "S:250 ok",
                "C:RCPT TO:<x@c.example>",
                "S:250 ok",
                "C:BDAT 6\r\nRCPT",
                "S:250 ok",
                "C:BDAT 4 LAST\r\nab",
                "S:250 ok",
            ]),
            &["to Accepted", "message of 10 to 1 Accepted"],
        );
    }

    #[test]
    fn users_are_told_from_strangers_and_their_secrets_are_not_read() {
        check(
            &with(&[
                "C:AUTH LOGIN",
                "S:334 x",
                "C:RCPT TO:<secret@c.example>",
                "S:334 y",
                "C:DATA",
                "S:235 in",
                "C:MAIL FROM:<a@local.example>",
                "S:250 ok",
                "C:RCPT TO:<x@c.example>",
                "S:250 ok",
                "C:DATA",
                "S:354 go",
                "C:.",
                "S:250 ok",
            ]),
            &["to Accepted", "message of 3 to 1 Accepted by a user"],
        );
    }

    #[test]
    fn what_was_lost_does_not_confuse_what_follows() {
        check(
            &with(&[
                "C-",
                "S:250 ok",
                "C:RCPT TO:<x@c.example>",
                "S:250 ok",
                "C:DATA",
                "S:354 go",
                "C:text",
                "C-",
                "S:250 queued",
                "C:MAIL FROM:<>",
                "S:250 ok",
            ]),
            &["to Accepted", "message of 56 to 1 Accepted"],
        );
        check(&with(&["C-", "S:354 go", "C:text", "C:.", "S:554 no"]), &["message of 9 to 0 Refused"]);
        check(&with(&["S-", "C:RCPT TO:<x@c.example>", "S:250 ok", "C:NOOP", "S:250 ok"]), &[]);
    }

    #[test]
    fn who_wants_to_send_is_told_once_and_who_only_looks_is_not() {
        let met = |said: &[(bool, &str)], is_cut_off: bool| {
            let (mut smtp, mut told) = (Smtp::new(Arc::default(), 25), Vec::new());
            let mut say = |event| told.push(event);
            for (from_client, text) in said {
                smtp.read(*from_client, Piece::Data(text.as_bytes()), &mut say);
            }
            if is_cut_off {
                smtp.cut_off(&mut say);
            }
            told.retain(|event| matches!(event, MailEvent::Met { .. }));
            told
        };
        let greeting = (false, "220 mx\r\n");
        let twice = "MAIL FROM:<a@local.example>\r\nRSET\r\nMAIL FROM:<a@b.example>\r\n";
        let accepted = [MailEvent::Met { answer: Answer::Accepted, is_bounce: false }];
        assert_eq!(
            met(&[greeting, (true, twice), (false, "250 ok\r\n250 ok\r\n250 ok\r\n")], true),
            accepted
        );
        assert_eq!(
            met(&[greeting, (true, "EHLO a\r\n"), (false, "250 mx\r\n"), (true, "QUIT\r\n")], true),
            []
        );
        let refused = [MailEvent::Met { answer: Answer::Refused, is_bounce: false }];
        assert_eq!(met(&[(false, "554-no\r\n554 listed\r\n")], true), refused);
        let later = [MailEvent::Met { answer: Answer::Deferred, is_bounce: false }];
        assert_eq!(met(&[(false, "421 busy\r\n")], false), later);
        assert_eq!(met(&[], true), later, "broken without a word");
        let login_first = [greeting, (true, "MAIL FROM:<a@local.example>\r\n"), (false, "530 TLS first\r\n")];
        assert_eq!(met(&login_first, false), later);
    }

    #[test]
    fn tls_ends_the_reading_and_not_the_counting() {
        let mut smtp = Smtp::new(Arc::default(), 25);
        let mut told = Vec::new();
        let mut say = |event| told.push(event);
        let record =
            |kind: u8, len: u16| [&[kind, 3, 3][..], &len.to_be_bytes(), &vec![0; len.into()]].concat();
        smtp.read(false, Piece::Data(b"220 mx\r\n"), &mut say);
        smtp.read(true, Piece::Data(b"STARTTLS\r\n"), &mut say);
        smtp.read(false, Piece::Data(b"220 go\r\n"), &mut say);
        for (from_client, kind, len) in [
            (true, 22, 1_500),
            (false, 22, 3_000),
            (true, 20, 1),
            (true, 23, 60),
            (false, 23, 200),
            (true, 23, 120),
            (false, 23, 60),
            (true, 23, 700),
            (false, 23, 60),
            (true, 23, 30),
            (false, 23, 30),
        ] {
            smtp.read(from_client, Piece::Data(&record(kind, len)), &mut say);
        }
        assert_eq!(told, [MailEvent::Sealed, MailEvent::SealedMessage { size: 680 }]);
    }

    #[test]
    fn a_sender_in_anothers_name_is_told_of() {
        let letter = |from: &'static str| {
            with(&[
                from,
                "S:250 ok",
                "C:RCPT TO:<x@far.example>",
                "S:250 ok",
                "C:DATA",
                "S:354 go",
                "C:hi",
                "C:.",
                "S:250 ok",
            ])
        };
        let own = "message of 7 to 1 Accepted";
        check(&letter("C:MAIL FROM:<me@mail.Local.example>"), &["to Accepted", own]);
        check(&letter("C:MAIL FROM:<root>"), &["to Accepted", own]);
        check(
            &letter("C:MAIL FROM:<you@bank.example>"),
            &["to Accepted", "message of 7 to 1 Accepted in another's name"],
        );
        check(&letter("C:MAIL FROM:<>"), &["bounce to Accepted", "bounce of 7 to 1 Accepted"]);
    }

    #[test]
    fn domains_hold_what_is_below_them() {
        let own = OwnDomains::new(&domains(&["a.example"]), &[]);
        for (domain, expect) in
            [("a.example", true), ("x.y.a.example", true), ("ba.example", false), ("example", false)]
        {
            assert_eq!(own.hold(domain.as_bytes()), expect, "{domain}");
        }
        assert!(!OwnDomains::default().hold(b"a.example"));
    }
}
