//! Complaints that come in: read, and handed to the writer.
//!
//! A maildir is looked into every few seconds. A message goes from `new` to `cur` when what is in it is on disk; one that is seen twice, since
//! the controller died between the two, is known by its mark.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reeve_policy::Timestamp;
use reeve_reports::{Complaint, Reading, Reason, Refused, Sealed};
use ring::digest::{SHA256, digest};
use tokio::sync::Semaphore;

use crate::metrics::Metrics;
use crate::settings::Complaints as Settings;
use crate::smtp::{Outcome, Rules, Smtp};
use crate::store::write::{AnswerTo, Incoming, KEPT, Submission, SubmissionTaken};
use crate::writer::{Job, WriteError, Writer};

/// The largest message, in bytes.
pub(crate) const MAX_MESSAGE: usize = 1 << 20;
/// How often the maildir is looked into.
const EVERY: Duration = Duration::from_secs(5);
/// How many messages of it are taken in one look.
const LOOK: usize = 200;
/// What is encrypted is opened by so many at once: it takes a core for a while, and memory. The others wait.
static OPENINGS: Semaphore = Semaphore::const_new(2);
/// So many complaints are handed to the writer at once.
const TOGETHER: usize = 20;
/// Of one mail so many wait for a person, each by itself.
const MOST_OF_MAIL: usize = 50;
/// What is said of the others.
const TOO_MANY: &str = "more of this message wait than are kept one by one; they are in it";
/// What there was no room for is tried again after this long.
const AGAIN: Duration = Duration::from_secs(600);
/// Of so many messages it is remembered; those above hold up others again.
const MOST_REFUSED: usize = 100_000;
/// What a message of a maildir came by.
const BY_MAIL: &str = "mail";

/// What is in a message: its complaints, or one that could not be read. What is told of the future cannot be right.
pub(crate) fn submission(
    via: &str,
    message: &[u8],
    is_json: Option<bool>,
    settings: &Settings,
    now: Timestamp,
) -> Parcel {
    let complaints = match opened(message, is_json, settings, now) {
        Ok(reading) => {
            let taken = |complaint: Complaint| Incoming {
                mark: complaint.fingerprint().to_string(),
                read: Ok(Box::new(complaint)),
            };
            // Of several the first says why, and the message what: it is kept once.
            let refused = reading.refused.first().map(|first| match reading.refused.len() - 1 {
                0 => unreadable(message, "0", &first.to_string()),
                more => unreadable(message, "0", &format!("{first}; and {more} more of this message")),
            });
            reading.complaints.into_iter().map(taken).chain(refused).collect()
        }
        Err(refused) => vec![unreadable(message, "0", &refused.to_string())],
    };
    // What an operator hands in is an operator's to answer. What was encrypted is not told of in the clear, nor to whoever sends again what
    // somebody else encrypted: whose it is stands within, and whom to answer without.
    let is_told = settings.acknowledge && via == BY_MAIL && Sealed::of(message).is_none();
    let answer = is_told.then(|| answer(message)).flatten();
    // Operators answer for what they hand in; a stranger's mail does not take all the places that there are.
    let (may_wait, rest) = match via {
        BY_MAIL => (MOST_OF_MAIL, Some(unreadable(message, "rest", TOO_MANY))),
        _ => (usize::MAX, None),
    };
    let submission =
        Submission { via: via.to_owned(), complaints, settings: settings.clone(), answer, may_wait };
    Parcel { submission, rest }
}

/// Whom to tell that a mail is here, if a program may.
fn answer(message: &[u8]) -> Option<AnswerTo> {
    match reeve_reports::answer_to(message) {
        Ok(mailbox) => Some(AnswerTo { mailbox, language: None }),
        Err(why) => {
            tracing::debug!(%why, "who complained is told nothing");
            None
        }
    }
}

/// What is read of a message, opened if it is encrypted and there is a key. What was opened is kept nowhere but in what is read of it.
fn opened(
    message: &[u8],
    is_json: Option<bool>,
    settings: &Settings,
    now: Timestamp,
) -> Result<Reading, Refused> {
    let sealed = settings.openpgp.as_ref().and_then(|keys| Some((keys, Sealed::of(message)?)));
    let Some((keys, sealed)) = sealed else { return plain(message, is_json, now) };
    if message.len() > MAX_MESSAGE {
        // Of what is cut off nobody knows whether it was changed.
        return Err(Reason::NotOpened.with(format!("it is longer than {MAX_MESSAGE} bytes")));
    }
    match keys.open(sealed.bytes()) {
        Ok(content) => plain(&sealed.opened(message, &content), is_json, now),
        // A letter may quote what is encrypted to somebody else.
        Err(refused) if sealed.is_all() => Err(refused),
        Err(refused) => plain(message, is_json, now).map_err(|_| refused),
    }
}

fn plain(message: &[u8], is_json: Option<bool>, now: Timestamp) -> Result<Reading, Refused> {
    // Some programs put a byte order mark before JSON.
    let written = message.strip_prefix("\u{feff}".as_bytes()).unwrap_or(message);
    let begins = written.iter().find(|byte| !byte.is_ascii_whitespace());
    let is_json = is_json.unwrap_or(matches!(begins, Some(b'{' | b'[')));
    if is_json { reeve_reports::read_json(message, now) } else { reeve_reports::read_mail(message, now) }
}

/// The same, where others are not to wait for what it takes: a long letter takes a core for as long as it is read.
pub(crate) async fn read(via: &str, message: Vec<u8>, is_json: Option<bool>, settings: &Settings) -> Parcel {
    let now = crate::clock::now();
    let (by, settings) = (via.to_owned(), settings.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let is_sealed = settings.openpgp.is_some() && Sealed::of(&message).is_some();
        let handle = tokio::runtime::Handle::current();
        let _turn = is_sealed.then(|| handle.block_on(OPENINGS.acquire()));
        submission(&by, &message, is_json, &settings, now)
    });
    reading.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// What a person has to read, and why; of one message it is told apart by `which`.
fn unreadable(message: &[u8], which: &str, why: &str) -> Incoming {
    let mark = data_encoding::HEXLOWER.encode(digest(&SHA256, message).as_ref());
    let kept = message[..message.len().min(KEPT)].to_vec();
    Incoming { mark: format!("message {mark} {which}"), read: Err((why.to_owned(), kept)) }
}

/// A message as it is handed to the writer.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// What is in it.
    pub submission: Submission,
    /// What is told of it where not all that had to wait is kept one by one.
    pub rest: Option<Incoming>,
}

impl Parcel {
    /// The same, of which nobody is told that it is here.
    pub fn unanswered(self) -> Self {
        Self { submission: Submission { answer: None, ..self.submission }, ..self }
    }
}

/// Hands a message to the writer, some of its complaints at a time, so that others' turns come in between. Those before one that there is no room for
/// are taken, and known when the message comes again.
pub(crate) async fn hand_over(writer: &Writer, parcel: Parcel) -> Result<SubmissionTaken, WriteError> {
    let Parcel { submission, rest } = parcel;
    let Submission { via, complaints, settings, mut answer, mut may_wait } = submission;
    let (mut rows, mut passed_over) = (Vec::with_capacity(complaints.len()), 0);
    let mut left = complaints.into_iter().peekable();
    while left.peek().is_some() {
        let complaints: Vec<Incoming> = left.by_ref().take(TOGETHER).collect();
        let asked = complaints.len();
        let submission = Submission {
            via: via.clone(),
            complaints,
            settings: settings.clone(),
            answer: answer.take(),
            may_wait,
        };
        match writer.ask(|reply| Job::Complaints { submission, reply }).await? {
            SubmissionTaken::Full => return Ok(SubmissionTaken::Full),
            SubmissionTaken::Done(taken) => {
                let waits = taken.iter().filter(|row| row.times == 1 && row.state.waits()).count();
                may_wait = may_wait.saturating_sub(waits);
                passed_over += asked - taken.len();
                rows.extend(taken);
            }
        }
    }
    if let Some(rest) = rest.filter(|_| passed_over > 0) {
        let submission = Submission { via, complaints: vec![rest], settings, answer: None, may_wait: 1 };
        match writer.ask(|reply| Job::Complaints { submission, reply }).await? {
            SubmissionTaken::Full => return Ok(SubmissionTaken::Full),
            SubmissionTaken::Done(taken) => rows.extend(taken),
        }
    }
    Ok(SubmissionTaken::Done(rows))
}

/// Takes mail that comes by SMTP for as long as it is polled.
pub(crate) async fn take_mail(smtp: Smtp, settings: Settings, writer: Writer, metrics: Metrics) {
    let rules = Rules { recipients: settings.smtp_recipients.clone(), kept: MAX_MESSAGE + 1 };
    let sink = move |message: Vec<u8>| {
        let (settings, writer) = (settings.clone(), writer.clone());
        async move {
            let parcel = read(BY_MAIL, message, Some(false), &settings).await;
            match hand_over(&writer, parcel).await {
                Ok(SubmissionTaken::Done(_)) => Outcome::Stored,
                Ok(SubmissionTaken::Full) => Outcome::Full,
                Err(error) => {
                    tracing::warn!(%error, "a complaint cannot be stored; whoever sends it is to try again");
                    Outcome::Away
                }
            }
        }
    };
    smtp.serve(rules, metrics, sink).await;
}

/// Takes what comes to the maildir for as long as it is polled.
pub(crate) async fn keep(settings: Settings, writer: Writer) {
    let Some(maildir) = settings.maildir.clone() else { return };
    let mut look = tokio::time::interval(EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut complained = false;
    // What there was no room for, by name: it holds up nothing behind it.
    let (mut refused, mut since) = (HashSet::new(), Instant::now());
    loop {
        look.tick().await;
        if since.elapsed() > AGAIN {
            refused.clear();
            since = Instant::now();
        }
        match collect(&maildir, &settings, &writer, &mut refused).await {
            Ok(0) => complained = false,
            Ok(taken) => {
                complained = false;
                tracing::info!(taken, "complaints came by mail");
            }
            Err(error) if complained => tracing::debug!(%error, "the maildir of complaints"),
            Err(error) => {
                complained = true;
                tracing::error!(maildir = %maildir.display(), %error, "complaints cannot be taken from the maildir; they wait there");
            }
        }
    }
}

/// Why the maildir could not be emptied.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{0}")]
    Write(#[from] WriteError),
    #[error("as many complaints wait for a person as may (reevectl complaints list --waiting)")]
    Full,
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Failed + '_ {
    move |source| Failed::File { path: path.display().to_string(), source }
}

/// Takes the oldest messages; how many it were. What cannot be read, or is not taken, holds up nothing behind it: it stays, and of the
/// first such it is told why.
async fn collect(
    maildir: &Path,
    settings: &Settings,
    writer: &Writer,
    refused: &mut HashSet<OsString>,
) -> Result<usize, Failed> {
    let (new, cur) = (maildir.join("new"), maildir.join("cur"));
    // Before anything is counted: what cannot be put away would come again at every look.
    drop(tokio::fs::read_dir(&cur).await.map_err(at(&cur))?);
    let (listed, passed) = (new.clone(), refused.clone());
    let found = tokio::task::spawn_blocking(move || list(&listed, &passed)).await;
    let found = found.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(at(&new))?;
    let (mut count, mut failed) = (0, None);
    for path in found {
        let message = match message(&path).await {
            Ok(message) => message,
            // Another controller has taken it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                failed.get_or_insert(at(&path)(error));
                continue;
            }
        };
        let parcel = read(BY_MAIL, message, Some(false), settings).await;
        match hand_over(writer, parcel).await? {
            SubmissionTaken::Done(_) => {}
            SubmissionTaken::Full => {
                if let Some(name) = path.file_name().filter(|_| refused.len() < MOST_REFUSED) {
                    refused.insert(name.to_owned());
                }
                failed.get_or_insert(Failed::Full);
                continue;
            }
        }
        put_away(&path, &cur).await?;
        count += 1;
    }
    failed.map_or(Ok(count), Err)
}

/// What is in a file, as much as is read of a message and a byte more.
async fn message(path: &Path) -> std::io::Result<Vec<u8>> {
    use tokio::io::AsyncReadExt as _;
    let mut message = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(MAX_MESSAGE as u64 + 1).read_to_end(&mut message).await?;
    Ok(message)
}

/// Puts a message to those that somebody has read.
async fn put_away(path: &Path, cur: &Path) -> Result<(), Failed> {
    let Some(name) = path.file_name() else { return Ok(()) };
    let mut seen = name.to_owned();
    // As maildir says that. Flags are not of what is new, but there are programs that move it back with them.
    if !seen.as_encoded_bytes().windows(3).any(|part| part == b":2,") {
        seen.push(":2,S");
    }
    match tokio::fs::rename(path, cur.join(seen)).await {
        // Another controller took it at the same time, and knew it by its mark.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        moved => moved.map_err(at(path)),
    }
}

/// The messages that came, by name: which begins with the time. The oldest ones, however many there are.
fn list(new: &Path, passed: &HashSet<OsString>) -> std::io::Result<Vec<PathBuf>> {
    let mut oldest = std::collections::BinaryHeap::with_capacity(LOOK + 1);
    for entry in std::fs::read_dir(new)? {
        let entry = entry?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // No links: they could lead anywhere. What is gone is another controller's.
        let is_passed = passed.contains(&entry.file_name());
        if !is_hidden && !is_passed && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            oldest.push(entry.path());
            if oldest.len() > LOOK {
                oldest.pop();
            }
        }
    }
    Ok(oldest.into_sorted_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_was_encrypted_nobody_is_told_in_the_clear() {
        let settings = Settings { acknowledge: true, ..Settings::default() };
        let head = "Received: from mx.reader.example\nReturn-Path: <ann@reader.example>\nFrom: ann@reader.example\n\
                    To: abuse@provider.example\nMessage-ID: <1@reader.example>\nSubject: a scan\n";
        let answered = |message: &str| {
            let now = Timestamp::from_secs(1_800_000_000);
            submission(BY_MAIL, message.as_bytes(), Some(false), &settings, now).submission.answer.is_some()
        };
        assert!(answered(&format!("{head}\nA scan came from 203.0.113.7.\n")));
        let armor = "-----BEGIN PGP MESSAGE-----\n\nhQEMA1234567890ab\n=abcd\n-----END PGP MESSAGE-----\n";
        assert!(!answered(&format!("{head}\n{armor}")));
        let wrapped = format!(
            "{head}MIME-Version: 1.0\nContent-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\n\n\
             --b\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n--b\nContent-Type: application/octet-stream\n\n{armor}\n--b--\n"
        );
        assert!(!answered(&wrapped));
    }
}
