//! What happens, told to log servers (SIEM) and files: `[[events]]` in the settings.
//!
//! A task for each of them. Events wait for it where they wait for every watcher (`events`), so none holds up the controller, and what a slow one
//! misses is counted. Entries of the audit log are read from the database, behind the last that was told, so they wait as long as the
//! controller runs. What is told of each is [`record`]'s; how it looks is in [`cef`] and [`ocsf`], and what stands before it in [`syslog`].
//!
//! Left out: what was told before a restart is not known. Several controllers on one database tell the same, under the same `uid`.

mod cef;
mod ocsf;
mod record;
mod send;
mod syslog;

use std::sync::Arc;
use std::time::Duration;

use reeve_audit::Entry;
use reeve_policy::{Name, ViolationId};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::auth::Failed;
use crate::directory::Directory;
use crate::error::ControllerError;
use crate::events::{Event, Events};
use crate::metrics::Metrics;
use crate::services::watch::unsealed;
use crate::settings::{Format, Place, Sink};
use crate::store::{Sight, Store};
use record::Record;
use send::Sender;

/// How often is looked for new entries of the audit log.
const LOOK: Duration = Duration::from_secs(1);
/// How many of them are read at once.
const ENTRIES: u32 = 256;
/// How long is waited after an attempt that failed: at first, and at most.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// One of those who are told.
#[derive(Debug)]
pub(crate) struct Export {
    sink: Sink,
    sender: Sender,
    host: String,
    events: broadcast::Receiver<Event>,
    failed: broadcast::Receiver<Failed>,
    directory: Arc<Directory>,
    store: Store,
    metrics: Metrics,
}

impl Export {
    /// Whoever tells, from now on.
    ///
    /// # Errors
    /// Where certificates that are named cannot be used.
    pub fn new(
        sink: Sink,
        (events, failed): (&Events, broadcast::Receiver<Failed>),
        directory: Arc<Directory>,
        store: Store,
        metrics: Metrics,
    ) -> Result<Self, ControllerError> {
        let sender = Sender::new(&sink)?;
        // Where the kernel does not tell it, log servers go by the address.
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Ok(Self { sink, sender, host, events: events.subscribe(), failed, directory, store, metrics })
    }

    /// Tells for as long as it is polled.
    pub async fn run(mut self) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = None;
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Ok(event) => {
                        // Who reads a log server is not known here.
                        let event = unsealed(event, &self.directory, Sight::Unsealed);
                        if let Some(record) = event.and_then(|event| Record::of_event(&event)) {
                            self.tell(&record).await;
                        }
                    }
                    Err(RecvError::Lagged(missed)) => self.metrics.see_dropped(missed),
                    Err(RecvError::Closed) => return,
                },
                failed = self.failed.recv() => match failed {
                    Ok(failed) => self.tell(&Record::of_failed(&failed)).await,
                    Err(RecvError::Lagged(missed)) => self.metrics.see_dropped(missed),
                    Err(RecvError::Closed) => return,
                },
                _ = look.tick() => last = self.tell_entries(last).await,
            }
        }
    }

    /// Tells the entries behind the last that was told; the last now. At first those count as told that are there.
    async fn tell_entries(&mut self, last: Option<u64>) -> Option<u64> {
        let read = match last {
            None => self.store.audit_last().await.map(|last| (Vec::new(), Some(last))),
            Some(last) => self.store.audit_behind(last, ENTRIES).await.map(|entries| (entries, Some(last))),
        };
        let (entries, mut last) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::debug!(%error, "the audit log cannot be read for a log server");
                return last;
            }
        };
        for entry in entries {
            if !is_sealed(&self.store, &entry).await {
                self.tell(&Record::of_entry(&entry)).await;
            }
            last = Some(entry.number);
        }
        last
    }

    /// Tells a record, however long that takes; others wait meanwhile where they are bounded.
    async fn tell(&mut self, record: &Record) {
        let text = match self.sink.format {
            Format::Cef => cef::line(record),
            Format::Ocsf => ocsf::event(record).to_string(),
        };
        let message = match self.sink.to {
            Place::File(_) => text,
            _ => syslog::message(record, &self.host, &text),
        };
        let mut pause = PAUSE;
        loop {
            match self.sender.send(&message).await {
                Ok(()) => return self.metrics.see_exported(),
                Err(error) if self.sender.is_lossy() => {
                    tracing::debug!(sink = %self.sink.name, %error, "an event was lost");
                    return self.metrics.see_dropped(1);
                }
                Err(error) => {
                    tracing::warn!(sink = %self.sink.name, %error, "events cannot be told; tried again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST);
                }
            }
        }
    }
}

/// Whether an entry is about what is sealed, or about a seal.
async fn is_sealed(store: &Store, entry: &Entry) -> bool {
    if entry.act.ends_with("/SealCase") {
        return true;
    }
    let Some((kind, key)) = entry.subject.split_once('/') else { return false };
    let Ok(key) = key.parse::<Name>() else { return false };
    let found = match kind {
        "case" => store.is_sealed(&key).await,
        "violation" | "evidence" => store.is_under_seal(&ViolationId::from(key)).await,
        _ => Ok(false),
    };
    // What cannot be looked up is not told, which is the lesser fault.
    found.unwrap_or(true)
}
