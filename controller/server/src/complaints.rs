//! Complaints that come in: read, and handed to the writer.
//!
//! A maildir is looked into every few seconds. A message goes from `new` to `cur` when what is in it is on disk; one that is seen twice, since
//! the controller died between the two, is known by its mark.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reeve_policy::Timestamp;
use reeve_reports::{Complaint, Reading, Reason, Refused, Sealed};
use ring::digest::{SHA256, digest};
use tokio::sync::Semaphore;

use crate::metrics::Metrics;
use crate::settings::Complaints as Settings;
use crate::smtp::{Outcome, Rules, Smtp};
use crate::store::write::{AnswerTo, Incoming, Submission, SubmissionTaken};
use crate::writer::{Job, WriteError, Writer};

/// The largest message, in bytes.
pub(crate) const MAX_MESSAGE: usize = 1 << 20;
/// How often the maildir is looked into.
const EVERY: Duration = Duration::from_secs(5);
/// How many messages of it are taken in one look.
const LOOK: usize = 200;
/// What is encrypted is opened by so many at once: it takes a core for a while, and memory. The others wait.
static OPENINGS: Semaphore = Semaphore::const_new(2);
/// What a message of a maildir came by.
const BY_MAIL: &str = "mail";

/// What is in a message: its complaints, or one that could not be read. What is told of the future cannot be right.
pub(crate) fn submission(
    via: &str,
    message: &[u8],
    is_json: Option<bool>,
    settings: &Settings,
    now: Timestamp,
) -> Submission {
    let complaints = match opened(message, is_json, settings, now) {
        Ok(reading) => {
            let taken = |complaint: Complaint| Incoming {
                mark: complaint.fingerprint().to_string(),
                read: Ok(Box::new(complaint)),
            };
            let refused = reading.refused.iter().enumerate();
            let refused = refused.map(|(number, refused)| unreadable(message, number, refused));
            reading.complaints.into_iter().map(taken).chain(refused).collect()
        }
        Err(refused) => vec![unreadable(message, 0, &refused)],
    };
    // What an operator hands in is an operator's to answer.
    let answer = (settings.acknowledge && via == BY_MAIL).then(|| answer(message)).flatten();
    Submission { via: via.to_owned(), complaints, settings: settings.clone(), answer }
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

/// The same, where others are not to wait for what it takes.
pub(crate) async fn read(
    via: &str,
    message: Vec<u8>,
    is_json: Option<bool>,
    settings: &Settings,
) -> Submission {
    let now = crate::clock::now();
    let _turn = match settings.openpgp.is_some().then(|| Sealed::of(&message)).flatten() {
        Some(_) => OPENINGS.acquire().await,
        None => return submission(via, &message, is_json, settings, now),
    };
    let (by, settings) = (via.to_owned(), settings.clone());
    let opening = tokio::task::spawn_blocking(move || submission(&by, &message, is_json, &settings, now));
    opening.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// One that cannot be read, of so many in the message.
fn unreadable(message: &[u8], number: usize, refused: &Refused) -> Incoming {
    let mark = data_encoding::HEXLOWER.encode(digest(&SHA256, message).as_ref());
    Incoming { mark: format!("message {mark} {number}"), read: Err((refused.to_string(), message.to_vec())) }
}

/// Takes mail that comes by SMTP for as long as it is polled.
pub(crate) async fn take_mail(smtp: Smtp, settings: Settings, writer: Writer, metrics: Metrics) {
    let rules = Rules { recipients: settings.smtp_recipients.clone(), kept: MAX_MESSAGE + 1 };
    let sink = move |message: Vec<u8>| {
        let (settings, writer) = (settings.clone(), writer.clone());
        async move {
            let submission = read(BY_MAIL, message, Some(false), &settings).await;
            match writer.ask(|reply| Job::Complaints { submission, reply }).await {
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
    loop {
        look.tick().await;
        match collect(&maildir, &settings, &writer).await {
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
async fn collect(maildir: &Path, settings: &Settings, writer: &Writer) -> Result<usize, Failed> {
    let (new, cur) = (maildir.join("new"), maildir.join("cur"));
    // Before anything is counted: what cannot be put away would come again at every look.
    drop(tokio::fs::read_dir(&cur).await.map_err(at(&cur))?);
    let listed = new.clone();
    let found = tokio::task::spawn_blocking(move || list(&listed)).await;
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
        let submission = read(BY_MAIL, message, Some(false), settings).await;
        match writer.ask(|reply| Job::Complaints { submission, reply }).await? {
            SubmissionTaken::Done(_) => {}
            SubmissionTaken::Full => {
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
fn list(new: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut oldest = std::collections::BinaryHeap::with_capacity(LOOK + 1);
    for entry in std::fs::read_dir(new)? {
        let entry = entry?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // No links: they could lead anywhere. What is gone is another controller's.
        if !is_hidden && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            oldest.push(entry.path());
            if oldest.len() > LOOK {
                oldest.pop();
            }
        }
    }
    Ok(oldest.into_sorted_vec())
}
